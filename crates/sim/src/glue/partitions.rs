//! Partitions, one by one and in batches.

use super::{Answer, detail};
use crate::api::{Caller, input, items, table_id, to_json};
use crate::error::ApiError;
use crate::state::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twinlake_core::{Partition, TableId};

impl World {
    pub(crate) fn get_partitions(
        &self,
        c: Caller<'_>,
        id: &TableId,
    ) -> Result<Vec<Partition>, ApiError> {
        self.get_table(c, id)?;
        let (region, database) = self.resolve(c.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        let partitions = self.region(&region)?.partitions.get(&id);
        Ok(partitions
            .into_iter()
            .flat_map(|all| all.values().cloned())
            .collect())
    }

    pub(super) fn get_partition(&self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_id(r, "TableName")?;
        let values: Vec<String> = input(r, "PartitionValues")?;
        let all = self.get_partitions(c, &id)?;
        let found = all.iter().find(|p| p.values == values);
        let found = found.ok_or_else(ApiError::not_found)?;
        Ok(json!({"Partition": self.partition_json(&id, found)}))
    }

    pub(super) fn partitions_of(
        &mut self,
        c: Caller<'_>,
        r: &Value,
    ) -> Result<&mut BTreeMap<Vec<String>, Partition>, ApiError> {
        let id = table_id(r, "TableName")?;
        let (region, database) = self.resolve(c.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        self.tick();
        let found = self.region_mut(&region)?.partitions.get_mut(&id);
        found.ok_or_else(ApiError::not_found)
    }

    pub(super) fn create_partition(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let partition: Partition = input(r, "PartitionInput")?;
        let partitions = self.partitions_of(c, r)?;
        if partitions.contains_key(&partition.values) {
            return Err(ApiError::already_exists("Partition"));
        }
        partitions.insert(partition.values.clone(), partition);
        Ok(json!({}))
    }

    pub(super) fn batch_create_partition(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        limit(r, "PartitionInputList", 100)?;
        let inputs: Vec<Partition> = input(r, "PartitionInputList")?;
        let partitions = self.partitions_of(c, r)?;
        let mut errors = Vec::new();
        for partition in inputs {
            if partitions.contains_key(&partition.values) {
                let error = ApiError::already_exists("Partition");
                errors.push(
                    json!({"PartitionValues": partition.values, "ErrorDetail": detail(&error)}),
                );
            } else {
                partitions.insert(partition.values.clone(), partition);
            }
        }
        Ok(json!({ "Errors": errors }))
    }

    pub(super) fn update_partition(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let values: Vec<String> = input(r, "PartitionValueList")?;
        let partition: Partition = input(r, "PartitionInput")?;
        let partitions = self.partitions_of(c, r)?;
        partitions.remove(&values).ok_or_else(ApiError::not_found)?;
        partitions.insert(partition.values.clone(), partition);
        Ok(json!({}))
    }

    pub(super) fn batch_update_partition(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        limit(r, "Entries", 100)?;
        let mut errors = Vec::new();
        for entry in items(r, "Entries") {
            let values: Vec<String> = input(entry, "PartitionValueList")?;
            let partition: Partition = input(entry, "PartitionInput")?;
            let partitions = self.partitions_of(c, r)?;
            if partitions.remove(&values).is_some() {
                partitions.insert(partition.values.clone(), partition);
            } else {
                let error = ApiError::not_found();
                errors.push(json!({"PartitionValueList": values, "ErrorDetail": detail(&error)}));
            }
        }
        Ok(json!({ "Errors": errors }))
    }

    pub(super) fn delete_partition(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let values: Vec<String> = input(r, "PartitionValues")?;
        let gone = self.partitions_of(c, r)?.remove(&values);
        gone.ok_or_else(ApiError::not_found)?;
        Ok(json!({}))
    }

    pub(super) fn batch_delete_partition(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        limit(r, "PartitionsToDelete", 25)?;
        let mut errors = Vec::new();
        for entry in items(r, "PartitionsToDelete") {
            let values: Vec<String> = input(entry, "Values")?;
            if self.partitions_of(c, r)?.remove(&values).is_none() {
                let error = ApiError::not_found();
                errors.push(json!({"PartitionValues": values, "ErrorDetail": detail(&error)}));
            }
        }
        Ok(json!({ "Errors": errors }))
    }

    pub(super) fn partition_json(&self, id: &TableId, partition: &Partition) -> Value {
        let mut json = to_json(partition);
        if let Some(object) = json.as_object_mut() {
            object.insert("DatabaseName".to_owned(), id.database.as_str().into());
            object.insert("TableName".to_owned(), id.table.as_str().into());
            object.insert("CatalogId".to_owned(), self.account.clone().into());
        }
        json
    }
}

fn limit(request: &Value, key: &str, most: usize) -> Result<(), ApiError> {
    let count = items(request, key).len();
    if count <= most {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "{key} has {count} entries, and at most {most} are taken"
    )))
}
