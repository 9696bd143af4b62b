//! Partitions, one by one and in batches.

use super::{Answer, PARTITION_PAGE, detail};
use crate::api::{Caller, input, items, table_id, to_json};
use crate::error::ApiError;
use crate::state::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Bound;
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

    /// One page of a table's partitions, or of one of so many segments. The token is
    /// the values that the page before ended with.
    pub(crate) fn partition_page(
        &self,
        c: Caller<'_>,
        id: &TableId,
        segment: Option<(usize, usize)>,
        token: Option<&str>,
    ) -> Result<(Vec<Partition>, Option<String>), ApiError> {
        self.get_table(c, id)?;
        let (region, database) = self.resolve(c.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        let Some(all) = self.region(&region)?.partitions.get(&id) else {
            return Ok((Vec::new(), None));
        };
        let after: Option<Vec<String>> = token
            .map(serde_json::from_str)
            .transpose()
            .map_err(|_| ApiError::invalid("NextToken"))?;
        let from = match after {
            Some(values) => Bound::Excluded(values),
            None => Bound::Unbounded,
        };
        let mine =
            |values: &[String]| segment.is_none_or(|(n, of)| number_of(values) % of.max(1) == n);
        let rest = all.range((from, Bound::Unbounded));
        let mut rest = rest.filter(|(values, _)| mine(values)).map(|(_, p)| p);
        let page: Vec<Partition> = rest.by_ref().take(PARTITION_PAGE).cloned().collect();
        let next = match rest.next() {
            Some(_) => page.last().map(|last| to_json(&last.values).to_string()),
            None => None,
        };
        Ok((page, next))
    }

    pub(super) fn list_partitions(&self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_id(r, "TableName")?;
        let number = |key: &str| {
            let number = r.get("Segment").and_then(|s| s.get(key))?.as_u64()?;
            usize::try_from(number).ok()
        };
        let segment = number("SegmentNumber").zip(number("TotalSegments"));
        let token = r.get("NextToken").and_then(Value::as_str);
        let (page, next) = self.partition_page(c, &id, segment, token)?;
        let listed: Vec<Value> = page.iter().map(|p| self.partition_json(&id, p)).collect();
        Ok(json!({ "Partitions": listed, "NextToken": next }))
    }

    pub(crate) fn partitions_by_values(
        &self,
        c: Caller<'_>,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<Vec<Partition>, ApiError> {
        if values.len() > 1000 {
            return Err(ApiError::invalid("at most 1000 partitions"));
        }
        self.get_table(c, id)?;
        let (region, database) = self.resolve(c.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        let all = self.region(&region)?.partitions.get(&id);
        let found = values
            .iter()
            .filter_map(|values| all?.get(*values).cloned());
        Ok(found.collect())
    }

    pub(super) fn batch_get_partition(&self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_id(r, "TableName")?;
        let keys = items(r, "PartitionsToGet").iter();
        let values: Result<Vec<Vec<String>>, ApiError> = keys.map(|k| input(k, "Values")).collect();
        let values = values?;
        let values: Vec<&[String]> = values.iter().map(Vec::as_slice).collect();
        let found = self.partitions_by_values(c, &id, &values)?;
        let found: Vec<Value> = found.iter().map(|p| self.partition_json(&id, p)).collect();
        Ok(json!({ "Partitions": found, "UnprocessedKeys": [] }))
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
        let refused = self.region(c.region)?.refused_partitions.clone();
        let partitions = self.partitions_of(c, r)?;
        let mut errors = Vec::new();
        for partition in inputs {
            if refused.contains(&partition.values) {
                let error = ApiError::invalid("this one is refused");
                errors.push(
                    json!({"PartitionValues": partition.values, "ErrorDetail": detail(&error)}),
                );
            } else if partitions.contains_key(&partition.values) {
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

/// A number that spreads partitions over segments.
fn number_of(values: &[String]) -> usize {
    let bytes = values.iter().flat_map(|value| value.bytes());
    bytes.map(usize::from).sum()
}
