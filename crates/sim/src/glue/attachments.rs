//! Operations on partition indexes, column statistics and Glue tags.

use super::{ApiResult, error_detail};
use crate::answer_style::UnusualAnswer;
use crate::api::{array_field, parse_field, required_text, table_id};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::{SimState, StoredIndex};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twinlake_core::catalog::{ColumnStatistics, IndexStatus, PartitionIndex};
use twinlake_core::{Name, Subject, TableId};

/// The number of reads after which the creation or deletion of an index completes.
const INDEX_TRANSITION_READS: u8 = 2;

impl SimState {
    /// Returns the indexes of a table. Each read advances the creations and deletions in progress.
    pub(crate) fn get_indexes(
        &mut self,
        caller: Caller<'_>,
        id: &TableId,
    ) -> Result<Vec<(PartitionIndex, IndexStatus)>, ApiError> {
        let observed = self.get_table(caller, id)?;
        if observed.object.view_definition.is_some() {
            return Err(ApiError::unsupported(
                "Operation not supported on Multi Dialect Views",
            ));
        }
        let id = self.resolved_id(caller, id);
        let region = self.region_mut(caller.region)?;
        let indexes = region.indexes.entry(id).or_default();
        for index in indexes.iter_mut() {
            index.reads_left = index.reads_left.saturating_sub(1);
        }
        indexes.retain(|index| !(index.is_deleting && index.reads_left == 0));
        let shown = indexes.iter().map(|stored| {
            let index_status = match stored.is_deleting {
                true => IndexStatus::Deleting,
                false => IndexStatus::Present,
            };
            (stored.index.clone(), index_status)
        });
        Ok(shown.collect())
    }

    pub(super) fn get_partition_indexes(
        &mut self,
        caller: Caller<'_>,
        request: &Value,
    ) -> ApiResult {
        let id = table_id(request, "TableName")?;
        let keys = self.get_table(caller, &id)?.object.partition_keys;
        let kind = |name: &String| keys.iter().find(|k| k.name == *name)?.kind.clone();
        let listed: Vec<Value> = self
            .get_indexes(caller, &id)?
            .into_iter()
            .map(|(index, index_status)| {
                let described = index
                    .keys
                    .iter()
                    .map(|name| json!({"Name": name, "Type": kind(name).unwrap_or_default()}));
                let status = match index_status {
                    IndexStatus::Present => "ACTIVE",
                    IndexStatus::Deleting => "DELETING",
                    IndexStatus::Failed => "FAILED",
                };
                json!({
                    "IndexName": index.index_name, "IndexStatus": status,
                    "Keys": described.collect::<Vec<_>>(),
                })
            })
            .collect();
        Ok(json!({ "PartitionIndexDescriptorList": listed }))
    }

    pub(super) fn create_table_indexes(
        &mut self,
        id: &TableId,
        region: &str,
        request: &Value,
    ) -> ApiResult {
        let indexes: Vec<PartitionIndex> = match request.get("PartitionIndexes") {
            None | Some(Value::Null) => Vec::new(),
            Some(_) => parse_field(request, "PartitionIndexes")?,
        };
        if indexes.len() > 3 {
            return Err(ApiError::invalid("at most 3 partition indexes"));
        }
        for index in indexes {
            self.add_index(region, id, index, 0)?;
        }
        Ok(json!({}))
    }

    fn add_index(
        &mut self,
        region: &str,
        id: &TableId,
        index: PartitionIndex,
        reads_left: u8,
    ) -> ApiResult {
        let is_asynchronous = self.has(Quirk::PartitionIndexesAreAsynchronous);
        let known = self
            .region_mut(region)?
            .indexes
            .entry(id.clone())
            .or_default();
        if is_asynchronous && reads_left > 0 && known.iter().any(|other| other.reads_left > 0) {
            return Err(ApiError::concurrent_index_change());
        }
        if known.len() >= 3 {
            return Err(ApiError::too_many_indexes());
        }
        if known
            .iter()
            .any(|k| !k.is_deleting && k.index.keys == index.keys)
        {
            return Err(ApiError::already_exists("Partition index"));
        }
        let same = known
            .iter()
            .find(|k| k.index.index_name == index.index_name);
        match same {
            Some(same) if same.is_deleting => {
                return Err(ApiError::conflict("the index is being deleted"));
            }
            Some(_) => return Err(ApiError::already_exists("Partition index")),
            None => {}
        }
        known.push(StoredIndex {
            index,
            reads_left,
            is_deleting: false,
        });
        Ok(json!({}))
    }

    fn index_transition_reads(&self) -> u8 {
        match self.has(Quirk::PartitionIndexesAreAsynchronous) {
            true => INDEX_TRANSITION_READS,
            false => 0,
        }
    }

    pub(super) fn create_index(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let id = table_id(request, "TableName")?;
        self.get_table(caller, &id)?;
        let index: PartitionIndex = parse_field(request, "PartitionIndex")?;
        self.tick();
        let id = self.resolved_id(caller, &id);
        let reads_left = self.index_transition_reads();
        self.add_index(caller.region, &id, index, reads_left)
    }

    pub(super) fn delete_index(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let id = table_id(request, "TableName")?;
        let name = required_text(request, "IndexName")?.to_owned();
        self.tick();
        let id = self.resolved_id(caller, &id);
        let transition_reads = self.index_transition_reads();
        let indexes = self
            .region_mut(caller.region)?
            .indexes
            .entry(id)
            .or_default();
        let index = indexes.iter_mut().find(|k| k.index.index_name == name);
        let index = index.ok_or_else(ApiError::not_found)?;
        if index.reads_left > 0 {
            return Err(ApiError::conflict("the index is being created or deleted"));
        }
        index.is_deleting = true;
        index.reads_left = transition_reads;
        indexes.retain(|index| !(index.is_deleting && index.reads_left == 0));
        Ok(json!({}))
    }

    fn resolved_id(&self, caller: Caller<'_>, id: &TableId) -> TableId {
        let (_, database) = self.resolve_database(caller.region, &id.database);
        TableId::new(database, id.table.clone())
    }

    pub(crate) fn get_statistics(
        &self,
        caller: Caller<'_>,
        id: &TableId,
        columns: &[String],
    ) -> Result<Vec<ColumnStatistics>, ApiError> {
        self.get_table(caller, id)?;
        if columns.len() > 100 {
            return Err(ApiError::invalid("at most 100 column names"));
        }
        let id = self.resolved_id(caller, id);
        let all = self.region(caller.region)?.statistics.get(&id);
        let all = all.into_iter().flat_map(BTreeMap::values);
        let asked = all.filter(|one| columns.contains(&one.column_name));
        Ok(asked.cloned().collect())
    }

    pub(super) fn get_column_statistics_for_table(
        &self,
        caller: Caller<'_>,
        request: &Value,
    ) -> ApiResult {
        let id = table_id(request, "TableName")?;
        let columns: Vec<String> = parse_field(request, "ColumnNames")?;
        let found = self.get_statistics(caller, &id, &columns)?;
        let missing = columns
            .iter()
            .filter(|name| found.iter().all(|one| one.column_name != **name));
        let errors: Vec<Value> = missing
            .map(|name| json!({"ColumnName": name, "Error": error_detail(&ApiError::not_found())}))
            .collect();
        Ok(json!({"ColumnStatisticsList": found, "Errors": errors}))
    }

    pub(super) fn update_statistics(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let id = table_id(request, "TableName")?;
        let observed = self.get_table(caller, &id)?;
        let sent: Vec<ColumnStatistics> = parse_field(request, "ColumnStatisticsList")?;
        if sent.len() > 25 {
            return Err(ApiError::invalid("at most 25 column statistics"));
        }
        let columns: Vec<String> = observed.object.columns().map(|c| c.name.clone()).collect();
        self.tick();
        let id = self.resolved_id(caller, &id);
        let all = self
            .region_mut(caller.region)?
            .statistics
            .entry(id)
            .or_default();
        let mut errors = Vec::new();
        for one in sent {
            if columns.contains(&one.column_name) {
                all.insert(one.column_name.clone(), one);
            } else {
                let error = error_detail(&ApiError::invalid("the table has no such column"));
                errors.push(json!({"ColumnStatistics": one, "Error": error}));
            }
        }
        Ok(json!({ "Errors": errors }))
    }

    pub(super) fn delete_statistics(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let id = table_id(request, "TableName")?;
        let column = required_text(request, "ColumnName")?.to_owned();
        self.tick();
        let id = self.resolved_id(caller, &id);
        let all = self
            .region_mut(caller.region)?
            .statistics
            .entry(id)
            .or_default();
        let removed = all.remove(&column);
        removed.map(|_| json!({})).ok_or_else(ApiError::not_found)
    }

    pub(super) fn glue_tags_call(
        &mut self,
        caller: Caller<'_>,
        call: &str,
        request: &Value,
    ) -> ApiResult {
        let owner = parse_owner_arn(required_text(request, "ResourceArn")?)?;
        match &owner {
            Subject::Database(name) => drop(self.get_database(caller, name)?),
            Subject::Table(id) => drop(self.get_table(caller, id)?),
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => {
                return Err(ApiError::invalid("this resource type has no tags"));
            }
        }
        if call == "GetTags" {
            let refuses = self.answers(caller.region, UnusualAnswer::RefusesTagsOfTables);
            if refuses && matches!(owner, Subject::Table(_)) {
                return Err(ApiError::invalid("This resource type has no tags."));
            }
            let tags = self.region(caller.region)?.glue_tags.get(&owner).cloned();
            return Ok(json!({ "Tags": tags.unwrap_or_default() }));
        }
        self.tick();
        let tags = self
            .region_mut(caller.region)?
            .glue_tags
            .entry(owner)
            .or_default();
        if call == "TagResource" {
            let added: BTreeMap<String, String> = parse_field(request, "TagsToAdd")?;
            tags.extend(added);
        } else {
            for key in array_field(request, "TagsToRemove")
                .iter()
                .filter_map(Value::as_str)
            {
                tags.remove(key);
            }
        }
        Ok(json!({}))
    }

    /// Deletes what belongs to deleted databases and tables: indexes, statistics, tags, LF-Tag assignments,
    /// opt-ins, filters and functions.
    pub(super) fn remove_dependents(&mut self, region: &str, matches: impl Fn(&Subject) -> bool) {
        if let Ok(region) = self.region_mut(region) {
            region
                .indexes
                .retain(|id, _| !matches(&Subject::Table(id.clone())));
            region
                .statistics
                .retain(|id, _| !matches(&Subject::Table(id.clone())));
            region.glue_tags.retain(|owner, _| !matches(owner));
            region.lf_tag_assignments.retain(|owner, _| !matches(owner));
            region.opt_ins.retain(|one| {
                let owner = twinlake_core::scope::subject_of_resource(&one.resource);
                !owner.is_some_and(|owner| matches(&owner))
            });
            region
                .data_cells_filters
                .retain(|id, _| !matches(&Subject::Table(id.clone())));
            region
                .functions
                .retain(|id, _| !matches(&Subject::Function(id.clone())));
        }
    }
}

fn parse_owner_arn(arn: &str) -> Result<Subject, ApiError> {
    let named = |text: &str| Name::new(text).map_err(|e| ApiError::invalid(e.to_string()));
    let path = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let mut words = path.split('/');
    match (words.next(), words.next(), words.next()) {
        (Some("database"), Some(name), None) => Ok(Subject::Database(named(name)?)),
        (Some("table"), Some(database), Some(table)) => Ok(Subject::Table(TableId::new(
            named(database)?,
            named(table)?,
        ))),
        _ => Err(ApiError::invalid(format!(
            "{arn} is not the ARN of a Glue database or table"
        ))),
    }
}
