//! Bulk creation of tables and partitions, for benchmarks.

use crate::error::ApiError;
use crate::state::SimState;
use serde_json::json;
use std::collections::BTreeMap;
use twinlake_core::catalog::Observed;
use twinlake_core::{Database, Name, Partition, StorageDescriptor, Table, TableId};

impl SimState {
    /// Creates a database and tables, unless they exist, and replaces the partitions of each table.
    /// All locations are below `root_location`. Emits no events.
    pub(crate) fn bulk_create(
        &mut self,
        region: &str,
        database: &str,
        root_location: &str,
        (tables, partitions): (usize, usize),
    ) -> Result<(), ApiError> {
        let invalid = |e: serde_json::Error| ApiError::invalid(e.to_string());
        let name = Name::new(database).map_err(|e| ApiError::invalid(e.to_string()))?;
        let created = Some(self.tick());
        let input = json!({"Name": database, "CreateTableDefaultPermissions": []});
        let observed: Observed<Database> = Observed {
            object: serde_json::from_value(input).map_err(invalid)?,
            created,
            updated: None,
            version: None,
        };
        self.grant_to_reader_role(region, &name);
        let region = self.region_mut(region)?;
        region.databases.entry(name.clone()).or_insert(observed);
        let keys = match partitions {
            0 => json!([]),
            _ => json!([{"Name": "dt", "Type": "string"}]),
        };
        for number in 0..tables {
            let table = format!("t{number}");
            let table_location = format!("{root_location}/{database}/{table}");
            let input = json!({
                "Name": table, "PartitionKeys": keys, "StorageDescriptor": {
                    "Columns": [{"Name": "id", "Type": "int"}], "Location": format!("{table_location}/"),
                },
            });
            let table: Table = serde_json::from_value(input).map_err(invalid)?;
            let id = TableId::new(name.clone(), table.name.clone());
            let mut all_partitions = BTreeMap::new();
            for number in 0..partitions {
                let mut partition = Partition::named(vec![format!("{number:07}")]);
                partition.storage_descriptor = Some(StorageDescriptor {
                    location: Some(format!("{table_location}/{number}/")),
                    ..StorageDescriptor::default()
                });
                all_partitions.insert(partition.values.clone(), partition);
            }
            let observed = Observed {
                object: table,
                created,
                updated: created,
                version: Some("1".to_owned()),
            };
            region.tables.entry(id.clone()).or_insert(observed);
            region.partitions.insert(id, all_partitions);
        }
        Ok(())
    }
}
