//! Partition indexes, column statistics and tags.

use super::{Answer, detail};
use crate::api::{Caller, input, items, table_id, text};
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twinlake_core::catalog::{ColumnStatistics, PartitionIndex, Progress};
use twinlake_core::{Name, Subject, TableId};

/// A partition index, and what the service is doing with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredIndex {
    pub(crate) index: PartitionIndex,
    /// Reads until it is made, or gone.
    pub(crate) busy: u8,
    pub(crate) leaving: bool,
}

/// How many reads an index takes to come or to go.
const INDEX_TAKES: u8 = 2;

impl World {
    /// The indexes of a table. Each read brings those on their way nearer.
    pub(crate) fn get_indexes(
        &mut self,
        c: Caller<'_>,
        id: &TableId,
    ) -> Result<Vec<(PartitionIndex, Progress)>, ApiError> {
        let seen = self.get_table(c, id)?;
        if seen.object.view_definition.is_some() {
            return Err(ApiError::unsupported(
                "Operation not supported on Multi Dialect Views",
            ));
        }
        let id = self.place(c, id);
        let region = self.region_mut(c.region)?;
        let indexes = region.indexes.entry(id).or_default();
        for index in indexes.iter_mut() {
            index.busy = index.busy.saturating_sub(1);
        }
        indexes.retain(|index| !(index.leaving && index.busy == 0));
        let shown = indexes.iter().map(|stored| {
            let progress = match stored.leaving {
                true => Progress::Leaving,
                false => Progress::There,
            };
            (stored.index.clone(), progress)
        });
        Ok(shown.collect())
    }

    pub(super) fn list_indexes(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_id(r, "TableName")?;
        let keys = self.get_table(c, &id)?.object.partition_keys;
        let kind = |name: &String| keys.iter().find(|k| k.name == *name)?.kind.clone();
        let listed: Vec<Value> = self
            .get_indexes(c, &id)?
            .into_iter()
            .map(|(index, progress)| {
                let described = index
                    .keys
                    .iter()
                    .map(|name| json!({"Name": name, "Type": kind(name).unwrap_or_default()}));
                let status = match progress {
                    Progress::There => "ACTIVE",
                    Progress::Leaving => "DELETING",
                    Progress::Failed => "FAILED",
                };
                json!({
                    "IndexName": index.index_name, "IndexStatus": status,
                    "Keys": described.collect::<Vec<_>>(),
                })
            })
            .collect();
        Ok(json!({ "PartitionIndexDescriptorList": listed }))
    }

    pub(super) fn make_indexes(&mut self, id: &TableId, region: &str, r: &Value) -> Answer {
        let indexes: Vec<PartitionIndex> = match r.get("PartitionIndexes") {
            None | Some(Value::Null) => Vec::new(),
            Some(_) => input(r, "PartitionIndexes")?,
        };
        if indexes.len() > 3 {
            return Err(ApiError::invalid("at most three partition indexes"));
        }
        for index in indexes {
            self.add_index(region, id, index, 0)?;
        }
        Ok(json!({}))
    }

    fn add_index(&mut self, region: &str, id: &TableId, index: PartitionIndex, busy: u8) -> Answer {
        let one_by_one = self.has(Quirk::IndexesTakeTheirTime);
        let known = self
            .region_mut(region)?
            .indexes
            .entry(id.clone())
            .or_default();
        if one_by_one && busy > 0 && known.iter().any(|other| other.busy > 0) {
            return Err(ApiError::one_index_at_a_time());
        }
        if known.len() >= 3 {
            return Err(ApiError::too_many_indexes());
        }
        if known
            .iter()
            .any(|k| !k.leaving && k.index.keys == index.keys)
        {
            return Err(ApiError::already_exists("Partition index"));
        }
        let same = known
            .iter()
            .find(|k| k.index.index_name == index.index_name);
        match same {
            Some(same) if same.leaving => return Err(ApiError::conflict("index is being deleted")),
            Some(_) => return Err(ApiError::already_exists("Partition index")),
            None => {}
        }
        known.push(StoredIndex {
            index,
            busy,
            leaving: false,
        });
        Ok(json!({}))
    }

    fn takes_time(&self) -> u8 {
        match self.has(Quirk::IndexesTakeTheirTime) {
            true => INDEX_TAKES,
            false => 0,
        }
    }

    pub(super) fn create_index(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_id(r, "TableName")?;
        self.get_table(c, &id)?;
        let index: PartitionIndex = input(r, "PartitionIndex")?;
        self.tick();
        let id = self.place(c, &id);
        let busy = self.takes_time();
        self.add_index(c.region, &id, index, busy)
    }

    pub(super) fn delete_index(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_id(r, "TableName")?;
        let name = text(r, "IndexName")?.to_owned();
        self.tick();
        let id = self.place(c, &id);
        let takes = self.takes_time();
        let indexes = self.region_mut(c.region)?.indexes.entry(id).or_default();
        let index = indexes.iter_mut().find(|k| k.index.index_name == name);
        let index = index.ok_or_else(ApiError::not_found)?;
        if index.busy > 0 {
            return Err(ApiError::conflict("index is in transition"));
        }
        index.leaving = true;
        index.busy = takes;
        indexes.retain(|index| !(index.leaving && index.busy == 0));
        Ok(json!({}))
    }

    fn place(&self, c: Caller<'_>, id: &TableId) -> TableId {
        let (_, database) = self.resolve(c.region, &id.database);
        TableId::new(database, id.table.clone())
    }

    pub(crate) fn get_statistics(
        &self,
        c: Caller<'_>,
        id: &TableId,
        columns: &[String],
    ) -> Result<Vec<ColumnStatistics>, ApiError> {
        self.get_table(c, id)?;
        if columns.len() > 100 {
            return Err(ApiError::invalid("at most 100 column names"));
        }
        let id = self.place(c, id);
        let all = self.region(c.region)?.statistics.get(&id);
        let all = all.into_iter().flat_map(BTreeMap::values);
        let asked = all.filter(|one| columns.contains(&one.column_name));
        Ok(asked.cloned().collect())
    }

    pub(super) fn list_statistics(&self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_id(r, "TableName")?;
        let columns: Vec<String> = input(r, "ColumnNames")?;
        let found = self.get_statistics(c, &id, &columns)?;
        let missing = columns
            .iter()
            .filter(|name| found.iter().all(|one| one.column_name != **name));
        let errors: Vec<Value> = missing
            .map(|name| json!({"ColumnName": name, "Error": detail(&ApiError::not_found())}))
            .collect();
        Ok(json!({"ColumnStatisticsList": found, "Errors": errors}))
    }

    pub(super) fn update_statistics(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_id(r, "TableName")?;
        let seen = self.get_table(c, &id)?;
        let sent: Vec<ColumnStatistics> = input(r, "ColumnStatisticsList")?;
        if sent.len() > 25 {
            return Err(ApiError::invalid("at most 25 column statistics"));
        }
        let columns: Vec<String> = seen.object.columns().map(|c| c.name.clone()).collect();
        self.tick();
        let id = self.place(c, &id);
        let all = self.region_mut(c.region)?.statistics.entry(id).or_default();
        let mut errors = Vec::new();
        for one in sent {
            if columns.contains(&one.column_name) {
                all.insert(one.column_name.clone(), one);
            } else {
                let error = detail(&ApiError::invalid("no such column"));
                errors.push(json!({"ColumnStatistics": one, "Error": error}));
            }
        }
        Ok(json!({ "Errors": errors }))
    }

    pub(super) fn delete_statistics(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let id = table_id(r, "TableName")?;
        let column = text(r, "ColumnName")?.to_owned();
        self.tick();
        let id = self.place(c, &id);
        let all = self.region_mut(c.region)?.statistics.entry(id).or_default();
        let gone = all.remove(&column);
        gone.map(|_| json!({})).ok_or_else(ApiError::not_found)
    }

    pub(super) fn tags_call(&mut self, c: Caller<'_>, call: &str, r: &Value) -> Answer {
        let owner = owner(text(r, "ResourceArn")?)?;
        match &owner {
            Subject::Database(name) => drop(self.get_database(c, name)?),
            Subject::Table(id) => drop(self.get_table(c, id)?),
            Subject::Catalog | Subject::Lake(_) | Subject::Function(_) => {
                return Err(ApiError::invalid("this resource has no tags"));
            }
        }
        if call == "GetTags" {
            let tags = self.region(c.region)?.glue_tags.get(&owner).cloned();
            return Ok(json!({ "Tags": tags.unwrap_or_default() }));
        }
        self.tick();
        let tags = self
            .region_mut(c.region)?
            .glue_tags
            .entry(owner)
            .or_default();
        if call == "TagResource" {
            let added: BTreeMap<String, String> = input(r, "TagsToAdd")?;
            tags.extend(added);
        } else {
            for key in items(r, "TagsToRemove").iter().filter_map(Value::as_str) {
                tags.remove(key);
            }
        }
        Ok(json!({}))
    }

    /// Parts go with their table, and with their database.
    pub(super) fn drop_parts(&mut self, region: &str, goes: impl Fn(&Subject) -> bool) {
        if let Ok(region) = self.region_mut(region) {
            region
                .indexes
                .retain(|id, _| !goes(&Subject::Table(id.clone())));
            region
                .statistics
                .retain(|id, _| !goes(&Subject::Table(id.clone())));
            region.glue_tags.retain(|owner, _| !goes(owner));
            region.assigned.retain(|owner, _| !goes(owner));
            region.opt_ins.retain(|one| {
                let home = twinlake_core::scope::home_of(&one.resource);
                !home.is_some_and(|home| goes(&home))
            });
            region
                .filters
                .retain(|id, _| !goes(&Subject::Table(id.clone())));
            region
                .functions
                .retain(|id, _| !goes(&Subject::Function(id.clone())));
        }
    }
}

fn owner(arn: &str) -> Result<Subject, ApiError> {
    let named = |text: &str| Name::new(text).map_err(|e| ApiError::invalid(e.to_string()));
    let path = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let mut words = path.split('/');
    match (words.next(), words.next(), words.next()) {
        (Some("database"), Some(name), None) => Ok(Subject::Database(named(name)?)),
        (Some("table"), Some(database), Some(table)) => Ok(Subject::Table(TableId::new(
            named(database)?,
            named(table)?,
        ))),
        _ => Err(ApiError::invalid(format!("{arn} is no ARN of Glue"))),
    }
}
