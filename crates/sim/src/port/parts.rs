//! Partition indexes, column statistics and tags.

use super::{SimRegion, lake};
use serde_json::{Value, json};
use twinlake_core::catalog::{Part, PartKey, Progress, SeenPart};
use twinlake_core::{Facet, Fault, Subject, TableId};
use twinlake_engine::ports::EntryResults;

fn there(part: Part) -> SeenPart {
    SeenPart {
        part,
        progress: Progress::There,
    }
}

fn of(id: &TableId) -> Value {
    json!({"DatabaseName": id.database.as_str(), "TableName": id.table.as_str()})
}

fn with(mut request: Value, key: &str, value: Value) -> Value {
    if let Some(object) = request.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
    request
}

impl SimRegion {
    pub(super) async fn list_parts(
        &self,
        subject: &Subject,
        facet: Facet,
        columns: &[String],
    ) -> Result<Vec<SeenPart>, Fault> {
        match (subject, facet) {
            (Subject::Table(id), Facet::Indexes) => {
                let listed = self.one_mut("GetPartitionIndexes", |world, caller| {
                    world.get_indexes(caller, id)
                });
                let indexes = listed.await?.into_iter();
                let seen = indexes.map(|(index, progress)| SeenPart {
                    part: Part::Index(index),
                    progress,
                });
                Ok(seen.collect())
            }
            (Subject::Table(id), Facet::Statistics) => {
                let mut all = Vec::new();
                for names in columns.chunks(100) {
                    let call = "GetColumnStatisticsForTable";
                    let some = self.one(call, |world, caller| {
                        world.get_statistics(caller, id, names)
                    });
                    let some = some.await?.into_iter();
                    all.extend(some.map(|one| there(Part::Statistics(Box::new(one)))));
                }
                Ok(all)
            }
            (Subject::Table(id), Facet::Filters) => self.list_filters(id).await,
            (Subject::Database(_) | Subject::Table(_), Facet::Assigned) => {
                self.list_assigned(subject).await
            }
            (Subject::Lake(lake), Facet::Items) => self.list_items(*lake).await,
            (_, Facet::Tags) => {
                let request = json!({"ResourceArn": self.arn(subject)});
                let answer = self.call("GetTags", &request).await?;
                let tags = answer.get("Tags").and_then(Value::as_object);
                let tags = tags.into_iter().flatten().filter_map(|(key, value)| {
                    let (key, value) = (key.clone(), value.as_str()?.to_owned());
                    Some(there(Part::Tag { key, value }))
                });
                Ok(tags.collect())
            }
            (
                Subject::Catalog
                | Subject::Lake(_)
                | Subject::Database(_)
                | Subject::Table(_)
                | Subject::Function(_),
                _,
            ) => Ok(Vec::new()),
        }
    }

    fn arn(&self, subject: &Subject) -> String {
        let path = match subject {
            Subject::Catalog | Subject::Lake(_) => "catalog".to_owned(),
            Subject::Database(name) => format!("database/{name}"),
            Subject::Table(id) => format!("table/{}/{}", id.database, id.table),
            Subject::Function(id) => {
                format!("userDefinedFunction/{}/{}", id.database, id.function)
            }
        };
        format!("arn:aws:glue:{}:0:{path}", self.region)
    }

    pub(super) async fn put_some(
        &self,
        subject: &Subject,
        parts: &[&Part],
    ) -> Result<EntryResults, Fault> {
        if parts.iter().any(|part| lake::is_of_lake(&part.key())) {
            return self.put_of_lake(subject, parts).await;
        }
        let mut results = EntryResults::new();
        let mut statistics = Vec::new();
        let mut tags = serde_json::Map::new();
        for part in parts {
            match (subject, part) {
                (Subject::Table(id), Part::Index(index)) => {
                    let request = with(of(id), "PartitionIndex", json!(index));
                    results.push(self.write("CreatePartitionIndex", request).await);
                }
                (
                    _,
                    Part::Index(_)
                    | Part::Filter(_)
                    | Part::Assigned { .. }
                    | Part::OptIn(_)
                    | Part::TagValue { .. }
                    | Part::Expression(_)
                    | Part::Registration(_),
                ) => {}
                (_, Part::Statistics(one)) => statistics.push(one),
                (_, Part::Tag { key, value }) => {
                    tags.insert(key.clone(), value.clone().into());
                }
            }
        }
        if let (Subject::Table(id), false) = (subject, statistics.is_empty()) {
            let call = "UpdateColumnStatisticsForTable";
            let request = with(of(id), "ColumnStatisticsList", json!(statistics));
            let answer = self.call(call, &request).await?;
            let errors = answer.get("Errors").and_then(Value::as_array);
            let errors: &[Value] = errors.map(Vec::as_slice).unwrap_or_default();
            let of_one = |column: &str| {
                let failed = errors.iter().find(|error| {
                    let named = error
                        .get("ColumnStatistics")
                        .and_then(|s| s.get("ColumnName"));
                    named.and_then(Value::as_str) == Some(column)
                });
                match failed {
                    Some(error) => Err(self.entry_fault(call, error.get("Error"))),
                    None => Ok(()),
                }
            };
            results.extend(statistics.iter().map(|one| of_one(&one.column_name)));
        }
        if !tags.is_empty() {
            let request = json!({"ResourceArn": self.arn(subject), "TagsToAdd": tags});
            self.write("TagResource", request).await?;
            results = vec![Ok(()); parts.len()];
        }
        Ok(results)
    }

    pub(super) async fn remove_some(
        &self,
        subject: &Subject,
        keys: &[&PartKey],
    ) -> Result<EntryResults, Fault> {
        if keys.iter().any(|key| lake::is_of_lake(key)) {
            return self.remove_of_lake(subject, keys).await;
        }
        let mut results = EntryResults::new();
        let mut tags = Vec::new();
        for key in keys {
            match (subject, key) {
                (Subject::Table(id), PartKey::Index(name)) => {
                    let request = with(of(id), "IndexName", json!(name));
                    results.push(self.write("DeletePartitionIndex", request).await);
                }
                (Subject::Table(id), PartKey::Statistics(column)) => {
                    let request = with(of(id), "ColumnName", json!(column));
                    results.push(self.write("DeleteColumnStatisticsForTable", request).await);
                }
                (_, PartKey::Tag(key)) => tags.push(key),
                (
                    _,
                    PartKey::Index(_)
                    | PartKey::Statistics(_)
                    | PartKey::Filter(_)
                    | PartKey::Assigned { .. }
                    | PartKey::OptIn(_)
                    | PartKey::TagValue { .. }
                    | PartKey::Expression(_)
                    | PartKey::Registration(_),
                ) => results.push(Ok(())),
            }
        }
        if !tags.is_empty() {
            let request = json!({"ResourceArn": self.arn(subject), "TagsToRemove": tags});
            self.write("UntagResource", request).await?;
            results = vec![Ok(()); keys.len()];
        }
        Ok(results)
    }
}
