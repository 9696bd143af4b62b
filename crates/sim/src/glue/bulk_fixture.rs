//! Bulk creation of tables, partitions and grants, for benchmarks.

use crate::error::ApiError;
use crate::state::{SimState, StoredResource};
use serde_json::json;
use std::collections::BTreeMap;
use twinlake_core::catalog::Observed;
use twinlake_core::{Database, Name, Partition, StorageDescriptor, Table, TableId};

/// How much a bulk creation creates.
#[derive(Clone, Copy, Debug, Default)]
pub struct BulkSize {
    /// The tables, `t0`, `t1` and so on.
    pub tables: usize,
    /// The partitions of each table.
    pub partitions_per_table: usize,
    /// The grants on each table: DESCRIBE, to the roles `R0`, `R1` and so on.
    pub grants_per_table: usize,
}

impl SimState {
    /// Creates a database and tables, unless they exist, replaces the partitions of each table, and grants
    /// permissions on it. All locations are below `root_location`. Emits no events.
    ///
    /// # Errors
    /// The name of the database is not valid, or there is no such Region.
    pub fn bulk_create(
        &mut self,
        region: &str,
        database: &str,
        root_location: &str,
        size: BulkSize,
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
        self.bulk_grant(region, &name, size)?;
        let region = self.region_mut(region)?;
        region.databases.entry(name.clone()).or_insert(observed);
        let keys = match size.partitions_per_table {
            0 => json!([]),
            _ => json!([{"Name": "dt", "Type": "string"}]),
        };
        for number in 0..size.tables {
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
            for number in 0..size.partitions_per_table {
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

    fn bulk_grant(
        &mut self,
        region: &str,
        database: &Name,
        size: BulkSize,
    ) -> Result<(), ApiError> {
        let account = self.account.clone();
        for number in 0..size.tables {
            let table = Name::new(&format!("t{number}"));
            let table = table.map_err(|e| ApiError::invalid(e.to_string()))?;
            let id = TableId::new(database.clone(), table);
            for role in 0..size.grants_per_table {
                let role = format!("arn:aws:iam::{account}:role/R{role}");
                self.store_grant(
                    region,
                    &role,
                    StoredResource::Table(id.clone()),
                    "DESCRIBE",
                    false,
                );
            }
        }
        Ok(())
    }
}
