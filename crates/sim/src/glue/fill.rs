//! Many tables and partitions at once, for measuring.

use crate::error::ApiError;
use crate::state::World;
use serde_json::json;
use std::collections::BTreeMap;
use twinlake_core::catalog::Seen;
use twinlake_core::{Database, Name, Partition, StorageDescriptor, Table, TableId};

impl World {
    /// Makes a database and in it tables, where there are none, and gives each so many
    /// partitions; all of their places lie under a root. Nothing is told of it.
    pub(crate) fn fill(
        &mut self,
        region: &str,
        database: &str,
        root: &str,
        (tables, partitions): (usize, usize),
    ) -> Result<(), ApiError> {
        let bad = |e: serde_json::Error| ApiError::invalid(e.to_string());
        let name = Name::new(database).map_err(|e| ApiError::invalid(e.to_string()))?;
        let created = Some(self.tick());
        let input = json!({"Name": database, "CreateTableDefaultPermissions": []});
        let seen: Seen<Database> = Seen {
            object: serde_json::from_value(input).map_err(bad)?,
            created,
            version: None,
        };
        self.show_to_reader(region, &name);
        let region = self.region_mut(region)?;
        region.databases.entry(name.clone()).or_insert(seen);
        let keys = match partitions {
            0 => json!([]),
            _ => json!([{"Name": "dt", "Type": "string"}]),
        };
        for number in 0..tables {
            let table = format!("t{number}");
            let place = format!("{root}/{database}/{table}");
            let input = json!({
                "Name": table, "PartitionKeys": keys, "StorageDescriptor": {
                    "Columns": [{"Name": "id", "Type": "int"}], "Location": format!("{place}/"),
                },
            });
            let table: Table = serde_json::from_value(input).map_err(bad)?;
            let id = TableId::new(name.clone(), table.name.clone());
            let mut all = BTreeMap::new();
            for number in 0..partitions {
                let mut partition = Partition::named(vec![format!("{number:07}")]);
                partition.storage_descriptor = Some(StorageDescriptor {
                    location: Some(format!("{place}/{number}/")),
                    ..StorageDescriptor::default()
                });
                all.insert(partition.values.clone(), partition);
            }
            let seen = Seen {
                object: table,
                created,
                version: Some("1".to_owned()),
            };
            region.tables.entry(id.clone()).or_insert(seen);
            region.partitions.insert(id, all);
        }
        Ok(())
    }
}
