//! Operations on single partitions and batches of partitions.

use super::{ApiResult, MAX_PARTITIONS_PER_PAGE, error_detail};
use crate::api::{array_field, parse_field, table_id, to_json};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::SimState;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Bound;
use twinlake_core::{Partition, TableId};

impl SimState {
    pub(crate) fn get_partitions(
        &self,
        caller: Caller<'_>,
        id: &TableId,
    ) -> Result<Vec<Partition>, ApiError> {
        self.get_table(caller, id)?;
        let (region, database) = self.resolve_database(caller.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        let partitions = self.region(&region)?.partitions.get(&id);
        Ok(partitions
            .into_iter()
            .flat_map(|all| all.values().cloned())
            .collect())
    }

    /// Returns one page of a table's partitions and the next token. `segment` is a segment number
    /// and the number of segments. A token holds the values of the last partition of the page
    /// that it came with.
    pub(crate) fn partition_page(
        &self,
        caller: Caller<'_>,
        id: &TableId,
        segment: Option<(usize, usize)>,
        token: Option<&str>,
    ) -> Result<(Vec<Partition>, Option<String>), ApiError> {
        self.get_table(caller, id)?;
        let (region, database) = self.resolve_database(caller.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        let Some(all) = self.region(&region)?.partitions.get(&id) else {
            return Ok((Vec::new(), None));
        };
        let after: Option<Vec<String>> = token
            .map(serde_json::from_str)
            .transpose()
            .map_err(|_| ApiError::invalid("NextToken is invalid"))?;
        let from = match after {
            Some(values) => Bound::Excluded(values),
            None => Bound::Unbounded,
        };
        let is_in_segment = |values: &[String]| {
            segment.is_none_or(|(number, total)| segment_hash(values) % total.max(1) == number)
        };
        let rest = all.range((from, Bound::Unbounded));
        let mut rest = rest
            .filter(|(values, _)| is_in_segment(values))
            .map(|(_, p)| p);
        let page: Vec<Partition> = rest
            .by_ref()
            .take(MAX_PARTITIONS_PER_PAGE)
            .cloned()
            .collect();
        let next = match rest.next() {
            Some(_) => page.last().map(|last| to_json(&last.values).to_string()),
            None => None,
        };
        let repeated = token.filter(|_| self.repeats_page_tokens);
        Ok((page, repeated.map(str::to_owned).or(next)))
    }

    pub(super) fn list_partitions(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let id = table_id(request, "TableName")?;
        let number = |key: &str| {
            let number = request.get("Segment").and_then(|s| s.get(key))?.as_u64()?;
            usize::try_from(number).ok()
        };
        let segment = number("SegmentNumber").zip(number("TotalSegments"));
        let token = request.get("NextToken").and_then(Value::as_str);
        let (page, next) = self.partition_page(caller, &id, segment, token)?;
        let listed: Vec<Value> = page.iter().map(|p| self.partition_json(&id, p)).collect();
        Ok(json!({ "Partitions": listed, "NextToken": next }))
    }

    /// Returns the partitions with these values, and the values of unprocessed ones: with
    /// [`Quirk::MissingPartitionsStayUnprocessed`] or the unusual answer style, those of every partition
    /// that does not exist (F-2).
    pub(crate) fn partitions_by_values(
        &self,
        caller: Caller<'_>,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<(Vec<Partition>, Vec<Vec<String>>), ApiError> {
        if values.len() > 1000 {
            return Err(ApiError::invalid("at most 1000 partitions"));
        }
        self.get_table(caller, id)?;
        let (region, database) = self.resolve_database(caller.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        let all = self.region(&region)?.partitions.get(&id);
        let leaves_missing = self.has(Quirk::MissingPartitionsStayUnprocessed)
            || self.answer_style.leaves_missing_partitions_unprocessed();
        let (mut found, mut unprocessed) = (Vec::new(), Vec::new());
        for values in values {
            match all.and_then(|all| all.get(*values)) {
                Some(partition) => found.push(partition.clone()),
                None if leaves_missing => unprocessed.push(values.to_vec()),
                None => {}
            }
        }
        Ok((found, unprocessed))
    }

    pub(crate) fn partition_by_values(
        &self,
        caller: Caller<'_>,
        id: &TableId,
        values: &[String],
    ) -> Result<Partition, ApiError> {
        let all = self.get_partitions(caller, id)?;
        let found = all.into_iter().find(|partition| partition.values == values);
        found.ok_or_else(ApiError::not_found)
    }

    pub(super) fn batch_get_partition(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let id = table_id(request, "TableName")?;
        let keys = array_field(request, "PartitionsToGet").iter();
        let values: Result<Vec<Vec<String>>, ApiError> =
            keys.map(|k| parse_field(k, "Values")).collect();
        let values = values?;
        let values: Vec<&[String]> = values.iter().map(Vec::as_slice).collect();
        let (found, unprocessed) = self.partitions_by_values(caller, &id, &values)?;
        let found: Vec<Value> = found.iter().map(|p| self.partition_json(&id, p)).collect();
        let unprocessed: Vec<Value> = unprocessed
            .iter()
            .map(|values| json!({ "Values": values }))
            .collect();
        Ok(json!({ "Partitions": found, "UnprocessedKeys": unprocessed }))
    }

    pub(super) fn get_partition(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let id = table_id(request, "TableName")?;
        let values: Vec<String> = parse_field(request, "PartitionValues")?;
        let found = self.partition_by_values(caller, &id, &values)?;
        Ok(json!({"Partition": self.partition_json(&id, &found)}))
    }

    pub(super) fn partitions_mut(
        &mut self,
        caller: Caller<'_>,
        request: &Value,
    ) -> Result<&mut BTreeMap<Vec<String>, Partition>, ApiError> {
        let id = table_id(request, "TableName")?;
        let (region, database) = self.resolve_database(caller.region, &id.database);
        let id = TableId::new(database, id.table.clone());
        self.tick();
        let found = self.region_mut(&region)?.partitions.get_mut(&id);
        found.ok_or_else(ApiError::not_found)
    }

    pub(super) fn create_partition(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let partition: Partition = parse_field(request, "PartitionInput")?;
        let partitions = self.partitions_mut(caller, request)?;
        if partitions.contains_key(&partition.values) {
            return Err(ApiError::already_exists("Partition"));
        }
        partitions.insert(partition.values.clone(), partition);
        Ok(json!({}))
    }

    pub(super) fn batch_create_partition(
        &mut self,
        caller: Caller<'_>,
        request: &Value,
    ) -> ApiResult {
        check_max_entries(request, "PartitionInputList", 100)?;
        let inputs: Vec<Partition> = parse_field(request, "PartitionInputList")?;
        self.check_value_counts(caller, request, &inputs)?;
        let rejected = self.region(caller.region)?.rejected_partitions.clone();
        let partitions = self.partitions_mut(caller, request)?;
        let mut errors = Vec::new();
        for partition in inputs {
            if rejected.contains(&partition.values) {
                let error = ApiError::invalid("the partition is set to be rejected");
                errors.push(
                    json!({"PartitionValues": partition.values, "ErrorDetail": error_detail(&error)}),
                );
            } else if partitions.contains_key(&partition.values) {
                let error = ApiError::already_exists("Partition");
                errors.push(
                    json!({"PartitionValues": partition.values, "ErrorDetail": error_detail(&error)}),
                );
            } else {
                partitions.insert(partition.values.clone(), partition);
            }
        }
        Ok(json!({ "Errors": errors }))
    }

    /// With [`Quirk::InvalidPartitionFailsBatch`], fails a batch that contains a partition whose number of
    /// values differs from the number of partition keys (F-19).
    fn check_value_counts(
        &self,
        caller: Caller<'_>,
        request: &Value,
        partitions: &[Partition],
    ) -> Result<(), ApiError> {
        if !self.has(Quirk::InvalidPartitionFailsBatch) {
            return Ok(());
        }
        let table = self.get_table(caller, &table_id(request, "TableName")?)?;
        let keys = table.object.partition_keys.len();
        match partitions.iter().all(|one| one.values.len() == keys) {
            true => Ok(()),
            false => Err(ApiError::invalid(
                "The number of partition keys do not match the number of partition values",
            )),
        }
    }

    pub(super) fn update_partition(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let values: Vec<String> = parse_field(request, "PartitionValueList")?;
        let partition: Partition = parse_field(request, "PartitionInput")?;
        let partitions = self.partitions_mut(caller, request)?;
        partitions.remove(&values).ok_or_else(ApiError::not_found)?;
        partitions.insert(partition.values.clone(), partition);
        Ok(json!({}))
    }

    pub(super) fn batch_update_partition(
        &mut self,
        caller: Caller<'_>,
        request: &Value,
    ) -> ApiResult {
        check_max_entries(request, "Entries", 100)?;
        let entries = array_field(request, "Entries").iter();
        let inputs: Result<Vec<Partition>, ApiError> = entries
            .map(|entry| parse_field(entry, "PartitionInput"))
            .collect();
        self.check_value_counts(caller, request, &inputs?)?;
        let mut errors = Vec::new();
        for entry in array_field(request, "Entries") {
            let values: Vec<String> = parse_field(entry, "PartitionValueList")?;
            let partition: Partition = parse_field(entry, "PartitionInput")?;
            let partitions = self.partitions_mut(caller, request)?;
            if partitions.remove(&values).is_some() {
                partitions.insert(partition.values.clone(), partition);
            } else {
                let error = ApiError::not_found();
                errors.push(
                    json!({"PartitionValueList": values, "ErrorDetail": error_detail(&error)}),
                );
            }
        }
        Ok(json!({ "Errors": errors }))
    }

    pub(super) fn delete_partition(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let values: Vec<String> = parse_field(request, "PartitionValues")?;
        let removed = self.partitions_mut(caller, request)?.remove(&values);
        removed.ok_or_else(ApiError::not_found)?;
        Ok(json!({}))
    }

    pub(super) fn batch_delete_partition(
        &mut self,
        caller: Caller<'_>,
        request: &Value,
    ) -> ApiResult {
        check_max_entries(request, "PartitionsToDelete", 25)?;
        let mut errors = Vec::new();
        for entry in array_field(request, "PartitionsToDelete") {
            let values: Vec<String> = parse_field(entry, "Values")?;
            if self
                .partitions_mut(caller, request)?
                .remove(&values)
                .is_none()
            {
                let error = ApiError::not_found();
                errors
                    .push(json!({"PartitionValues": values, "ErrorDetail": error_detail(&error)}));
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

fn check_max_entries(request: &Value, key: &str, max_entries: usize) -> Result<(), ApiError> {
    let count = array_field(request, key).len();
    if count <= max_entries {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "{key} has {count} entries; the maximum is {max_entries}"
    )))
}

/// Assigns partitions to segments: the segment is this value modulo the number of segments.
fn segment_hash(values: &[String]) -> usize {
    let bytes = values.iter().flat_map(|value| value.bytes());
    bytes.map(usize::from).sum()
}
