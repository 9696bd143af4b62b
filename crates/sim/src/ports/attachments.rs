//! Reads and writes of partition indexes, column statistics and Glue tags.

use super::{SimRegion, lakeformation};
use serde_json::{Value, json};
use twinlake_core::catalog::{Attachment, AttachmentKey, IndexStatus, ObservedAttachment};
use twinlake_core::{CallError, Facet, Subject, TableId};
use twinlake_engine::ports::EntryResults;

fn present(attachment: Attachment) -> ObservedAttachment {
    ObservedAttachment {
        attachment,
        index_status: IndexStatus::Active,
    }
}

fn table_request(id: &TableId) -> Value {
    json!({"DatabaseName": id.database.as_str(), "TableName": id.table.as_str()})
}

fn with_field(mut request: Value, key: &str, value: Value) -> Value {
    if let Some(object) = request.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
    request
}

impl SimRegion {
    pub(super) async fn list_attachments(
        &self,
        subject: &Subject,
        facet: Facet,
        columns: &[String],
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        match (subject, facet) {
            (Subject::Table(id), Facet::Indexes) => {
                let listed = self.read_one_mut("GetPartitionIndexes", |state, caller| {
                    state.get_indexes(caller, id)
                });
                let indexes = listed.await?.into_iter();
                let observed = indexes.map(|(index, index_status)| ObservedAttachment {
                    attachment: Attachment::Index(index),
                    index_status,
                });
                Ok(observed.collect())
            }
            (Subject::Table(id), Facet::Statistics) => {
                let mut all = Vec::new();
                for names in columns.chunks(100) {
                    let call = "GetColumnStatisticsForTable";
                    let batch = self.read_one(call, |state, caller| {
                        state.get_statistics(caller, id, names)
                    });
                    let batch = batch.await?.into_iter();
                    all.extend(batch.map(|one| present(Attachment::Statistics(Box::new(one)))));
                }
                Ok(all)
            }
            (Subject::Table(id), Facet::DataCellsFilters) => self.list_filters(id).await,
            (Subject::Database(_) | Subject::Table(_), Facet::LfTagAssignments) => {
                self.list_assigned(subject).await
            }
            (Subject::LakeFormation(lake), Facet::Items) => self.list_items(*lake).await,
            (_, Facet::GlueTags) => {
                let request = json!({"ResourceArn": self.arn(subject)});
                let answer = self.call("GetTags", &request).await?;
                let tags = answer.get("Tags").and_then(Value::as_object);
                let tags = tags.into_iter().flatten().filter_map(|(key, value)| {
                    let (key, value) = (key.clone(), value.as_str()?.to_owned());
                    Some(present(Attachment::GlueTag { key, value }))
                });
                Ok(tags.collect())
            }
            (
                Subject::Catalog
                | Subject::LakeFormation(_)
                | Subject::Database(_)
                | Subject::Table(_)
                | Subject::Function(_),
                _,
            ) => Ok(Vec::new()),
        }
    }

    fn arn(&self, subject: &Subject) -> String {
        let path = match subject {
            Subject::Catalog | Subject::LakeFormation(_) => "catalog".to_owned(),
            Subject::Database(name) => format!("database/{name}"),
            Subject::Table(id) => format!("table/{}/{}", id.database, id.table),
            Subject::Function(id) => {
                format!("userDefinedFunction/{}/{}", id.database, id.function)
            }
        };
        format!("arn:aws:glue:{}:0:{path}", self.region)
    }

    pub(super) async fn put_attachments(
        &self,
        subject: &Subject,
        attachments: &[&Attachment],
    ) -> Result<EntryResults, CallError> {
        if attachments
            .iter()
            .any(|attachment| lakeformation::is_lakeformation_attachment(&attachment.key()))
        {
            return self
                .put_lakeformation_attachments(subject, attachments)
                .await;
        }
        let mut results = EntryResults::new();
        let mut statistics = Vec::new();
        let mut tags = serde_json::Map::new();
        for attachment in attachments {
            match (subject, attachment) {
                (Subject::Table(id), Attachment::Index(index)) => {
                    let request = with_field(table_request(id), "PartitionIndex", json!(index));
                    results.push(self.write("CreatePartitionIndex", request).await);
                }
                (
                    _,
                    Attachment::Index(_)
                    | Attachment::DataCellsFilter(_)
                    | Attachment::LfTagAssignment { .. }
                    | Attachment::OptIn(_)
                    | Attachment::LfTagValue { .. }
                    | Attachment::NamedExpression(_)
                    | Attachment::Registration(_),
                ) => {}
                (_, Attachment::Statistics(one)) => statistics.push(one),
                (_, Attachment::GlueTag { key, value }) => {
                    tags.insert(key.clone(), value.clone().into());
                }
            }
        }
        if let (Subject::Table(id), false) = (subject, statistics.is_empty()) {
            let call = "UpdateColumnStatisticsForTable";
            let request = with_field(table_request(id), "ColumnStatisticsList", json!(statistics));
            let answer = self.call(call, &request).await?;
            let errors = answer.get("Errors").and_then(Value::as_array);
            let errors: &[Value] = errors.map(Vec::as_slice).unwrap_or_default();
            let result_of = |column: &str| {
                let failed = errors.iter().find(|error| {
                    let named = error
                        .get("ColumnStatistics")
                        .and_then(|s| s.get("ColumnName"));
                    named.and_then(Value::as_str) == Some(column)
                });
                match failed {
                    Some(error) => Err(self.entry_error(call, error.get("Error"))),
                    None => Ok(()),
                }
            };
            results.extend(statistics.iter().map(|one| result_of(&one.column_name)));
        }
        if !tags.is_empty() {
            let request = json!({"ResourceArn": self.arn(subject), "TagsToAdd": tags});
            self.write("TagResource", request).await?;
            results = vec![Ok(()); attachments.len()];
        }
        Ok(results)
    }

    pub(super) async fn remove_attachments(
        &self,
        subject: &Subject,
        keys: &[&AttachmentKey],
    ) -> Result<EntryResults, CallError> {
        if keys
            .iter()
            .any(|key| lakeformation::is_lakeformation_attachment(key))
        {
            return self.remove_lakeformation_attachments(subject, keys).await;
        }
        let mut results = EntryResults::new();
        let mut tags = Vec::new();
        for key in keys {
            match (subject, key) {
                (Subject::Table(id), AttachmentKey::Index(name)) => {
                    let request = with_field(table_request(id), "IndexName", json!(name));
                    results.push(self.write("DeletePartitionIndex", request).await);
                }
                (Subject::Table(id), AttachmentKey::Statistics(column)) => {
                    let request = with_field(table_request(id), "ColumnName", json!(column));
                    results.push(self.write("DeleteColumnStatisticsForTable", request).await);
                }
                (_, AttachmentKey::GlueTag(key)) => tags.push(key),
                (
                    _,
                    AttachmentKey::Index(_)
                    | AttachmentKey::Statistics(_)
                    | AttachmentKey::DataCellsFilter(_)
                    | AttachmentKey::LfTagAssignment { .. }
                    | AttachmentKey::OptIn(_)
                    | AttachmentKey::LfTagValue { .. }
                    | AttachmentKey::NamedExpression(_)
                    | AttachmentKey::Registration(_),
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
