//! Reads and writes of partition indexes, column statistics and Glue tags.

use super::{SimRegion, entry_results, lakeformation};
use serde_json::{Value, json};
use twinlake_core::catalog::{Attachment, AttachmentKey, IndexStatus, ObservedAttachment};
use twinlake_core::{CallError, CallErrorKind, Facet, Subject, TableId};
use twinlake_engine::ports::EntryResults;

fn present(attachment: Attachment) -> ObservedAttachment {
    ObservedAttachment {
        attachment,
        index_status: IndexStatus::Present,
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
                let answer = match self.call("GetTags", &request).await {
                    // Where Glue does not support tags on tables, the call is invalid.
                    Err(error)
                        if error.kind == CallErrorKind::Invalid
                            && matches!(subject, Subject::Table(_)) =>
                    {
                        let kind = CallErrorKind::Unsupported;
                        return Err(CallError { kind, ..error });
                    }
                    answer => answer?,
                };
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

    pub(super) async fn write_attachments(
        &self,
        subject: &Subject,
        attachments: &[&Attachment],
        may_replace: bool,
    ) -> Result<EntryResults, CallError> {
        if attachments
            .iter()
            .any(|attachment| lakeformation::is_lakeformation_attachment(&attachment.key()))
        {
            return self
                .put_lakeformation_attachments(subject, attachments, may_replace)
                .await;
        }
        let mut results = EntryResults::new();
        let mut statistics = Vec::new();
        let mut tags = serde_json::Map::new();
        for attachment in attachments {
            let result = match (subject, attachment) {
                (Subject::Table(id), Attachment::Index(index)) => {
                    let request = with_field(table_request(id), "PartitionIndex", json!(index));
                    self.write("CreatePartitionIndex", request).await
                }
                (Subject::Table(_), Attachment::Statistics(one)) => {
                    statistics.push((results.len(), one));
                    Ok(())
                }
                (_, Attachment::GlueTag { key, value }) => {
                    tags.insert(key.clone(), value.clone().into());
                    Ok(())
                }
                (
                    _,
                    Attachment::Index(_)
                    | Attachment::Statistics(_)
                    | Attachment::DataCellsFilter(_)
                    | Attachment::LfTagAssignment { .. }
                    | Attachment::OptIn(_)
                    | Attachment::LfTagValue { .. }
                    | Attachment::NamedExpression(_)
                    | Attachment::Registration(_),
                ) => Err(self.unsupported_attachment("put_attachments")),
            };
            results.push(result);
        }
        if let (Subject::Table(id), false) = (subject, statistics.is_empty()) {
            let call = "UpdateColumnStatisticsForTable";
            let list: Vec<_> = statistics.iter().map(|(_, one)| one).collect();
            let request = with_field(table_request(id), "ColumnStatisticsList", json!(list));
            let answer = self.call(call, &request).await?;
            let errors = answer.get("Errors").and_then(Value::as_array);
            let failures = errors.into_iter().flatten().map(|error| {
                let named = error.get("ColumnStatistics");
                let named = named.and_then(|named| named.get("ColumnName")?.as_str());
                let mut columns = statistics.iter().map(|(_, one)| one.column_name.as_str());
                let index = columns.position(|column| named == Some(column));
                (index, self.entry_error(call, error.get("Error")))
            });
            let written = entry_results(statistics.len(), failures)?;
            for ((index, _), written) in statistics.iter().zip(written) {
                if let Some(result) = results.get_mut(*index) {
                    *result = written;
                }
            }
        }
        if !tags.is_empty() {
            let request = json!({"ResourceArn": self.arn(subject), "TagsToAdd": tags});
            self.write("TagResource", request).await?;
        }
        Ok(results)
    }

    /// The error for an attachment of a kind that the subject cannot have.
    pub(super) fn unsupported_attachment(&self, call: &str) -> CallError {
        let message = "the subject has no attachments of this kind";
        CallError::new(CallErrorKind::Invalid, call, &self.region, message)
    }

    pub(super) async fn delete_attachments(
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
            let result = match (subject, key) {
                (Subject::Table(id), AttachmentKey::Index(name)) => {
                    let request = with_field(table_request(id), "IndexName", json!(name));
                    self.write("DeletePartitionIndex", request).await
                }
                (Subject::Table(id), AttachmentKey::Statistics(column)) => {
                    let request = with_field(table_request(id), "ColumnName", json!(column));
                    self.write("DeleteColumnStatisticsForTable", request).await
                }
                (_, AttachmentKey::GlueTag(key)) => {
                    tags.push(key);
                    Ok(())
                }
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
                ) => Err(self.unsupported_attachment("remove_attachments")),
            };
            results.push(result);
        }
        if !tags.is_empty() {
            let request = json!({"ResourceArn": self.arn(subject), "TagsToRemove": tags});
            self.write("UntagResource", request).await?;
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Sim, SimState, run_until_killed};
    use twinlake_core::catalog::{Attachment, AttachmentKey, PartitionIndex};
    use twinlake_core::{Name, Subject, TableId};
    use twinlake_engine::ports::EntryResults;

    fn index(name: &str) -> Attachment {
        Attachment::Index(PartitionIndex {
            keys: vec!["dt".to_owned()],
            index_name: name.to_owned(),
        })
    }

    fn put(subject: &Subject, attachments: &[&Attachment]) -> EntryResults {
        let sim = Sim::new(SimState::new("111122223333", &["us-east-1"]));
        let region = sim.region("us-east-1", "role");
        let put = run_until_killed(&sim, region.write_attachments(subject, attachments, true));
        put.unwrap().unwrap()
    }

    fn orders() -> Subject {
        let name = |text| Name::new(text).unwrap();
        Subject::Table(TableId::new(name("sales"), name("orders")))
    }

    #[test]
    fn every_written_attachment_has_a_result() {
        let (a, b) = (index("a"), index("b"));
        let on_missing_table = put(&orders(), &[&a, &b]);
        assert_eq!(on_missing_table.len(), 2);
        assert!(on_missing_table.iter().all(Result::is_err));
    }

    #[test]
    fn an_attachment_that_the_subject_cannot_have_is_an_error() {
        let a = index("a");
        let results = put(&Subject::Catalog, &[&a]);
        assert!(matches!(results.as_slice(), [Err(_)]), "{results:?}");
    }

    #[test]
    fn every_removed_attachment_has_a_result() {
        let sim = Sim::new(SimState::new("111122223333", &["us-east-1"]));
        let region = sim.region("us-east-1", "role");
        let (a, statistics) = (index("a").key(), AttachmentKey::Statistics("id".to_owned()));
        for subject in [orders(), Subject::Catalog] {
            let keys = [&a, &statistics];
            let removal = region.delete_attachments(&subject, &keys);
            let results = run_until_killed(&sim, removal).unwrap().unwrap();
            assert_eq!(results.len(), 2);
            assert!(results.iter().all(Result::is_err), "{results:?}");
        }
    }
}
