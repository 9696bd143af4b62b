//! Reads and writes the attachments of databases and tables: partition indexes, column statistics
//! and Glue tags. Those of Lake Formation are in [`super::lakeformation`].

use super::AwsRegion;
use super::lakeformation::is_lakeformation;
use super::write::set_entry_error;
use crate::pages::all_pages;
use crate::{call_error, glue_convert};
use aws_sdk_glue::types as glue;
use twinlake_core::catalog::{
    Attachment, AttachmentKey, IndexStatus, ObservedAttachment, PartitionIndex,
};
use twinlake_core::topology::AwsPartition;
use twinlake_core::{CallError, CallErrorKind, Facet, Subject, TableId};
use twinlake_engine::ReadRegion as _;
use twinlake_engine::ports::EntryResults;

/// Columns per `GetColumnStatisticsForTable` call (Glue's limit).
const COLUMNS_PER_CALL: usize = 100;

impl AwsRegion {
    pub(super) async fn read_attachments(
        &self,
        subject: &Subject,
        facet: Facet,
        columns: &[String],
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        match (subject, facet) {
            (Subject::Table(id), Facet::Indexes) => self.read_indexes(id).await,
            (Subject::Table(id), Facet::Statistics) => self.read_statistics(id, columns).await,
            (Subject::Table(_) | Subject::Database(_), Facet::GlueTags) => {
                self.read_glue_tags(subject).await
            }
            (Subject::Table(id), Facet::DataCellsFilters) => self.read_data_cells_filters(id).await,
            (Subject::Table(_) | Subject::Database(_), Facet::LfTagAssignments) => {
                self.read_lf_tag_assignments(subject).await
            }
            (Subject::LakeFormation(lf_subject), Facet::Items) => {
                self.read_lf_subject_items(*lf_subject).await
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

    async fn read_indexes(&self, id: &TableId) -> Result<Vec<ObservedAttachment>, CallError> {
        const CALL: &str = "GetPartitionIndexes";
        let listed: Result<Vec<_>, CallError> = all_pages((CALL, &self.region), |token| async {
            let call = self.glue.get_partition_indexes();
            let call = call.database_name(id.database.as_str());
            let call = call.table_name(id.table.as_str()).set_next_token(token);
            let page = call.send().await;
            let page = page.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            let listed = page.partition_index_descriptor_list.unwrap_or_default();
            Ok((listed, page.next_token))
        })
        .await;
        let listed = match listed {
            // A multi-dialect view has no indexes, and the call fails (GL-04). Only the message of the error says that
            // this is the cause, so the table is read to see whether it is a view.
            Err(error)
                if matches!(
                    error.kind,
                    CallErrorKind::Unsupported | CallErrorKind::Invalid
                ) =>
            {
                match self.table(id).await?.object.is_view() {
                    true => Vec::new(),
                    false => return Err(error),
                }
            }
            listed => listed?,
        };
        let indexes = listed
            .into_iter()
            .map(glue_convert::from_sdk_partition_index);
        Ok(indexes
            .map(|(index, index_status)| ObservedAttachment {
                attachment: Attachment::Index(index),
                index_status,
            })
            .collect())
    }

    async fn read_statistics(
        &self,
        id: &TableId,
        columns: &[String],
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        const CALL: &str = "GetColumnStatisticsForTable";
        let mut all = Vec::new();
        for names in columns.chunks(COLUMNS_PER_CALL) {
            let call = self.glue.get_column_statistics_for_table();
            let call = call.database_name(id.database.as_str());
            let call = call.table_name(id.table.as_str());
            let response = call.set_column_names(Some(names.to_vec())).send().await;
            let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            for error in response.errors.unwrap_or_default() {
                let found = self.entry_error(CALL, error.error);
                // A column without statistics is also returned as an error.
                if found.kind != CallErrorKind::NotFound {
                    return Err(found);
                }
            }
            all.extend(response.column_statistics_list.unwrap_or_default());
        }
        let statistics = all
            .into_iter()
            .map(glue_convert::from_sdk_column_statistics);
        Ok(statistics
            .map(|statistics| ObservedAttachment {
                attachment: Attachment::Statistics(Box::new(statistics)),
                index_status: IndexStatus::Present,
            })
            .collect())
    }

    async fn read_glue_tags(
        &self,
        subject: &Subject,
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        let call = self.glue.get_tags().resource_arn(self.glue_arn(subject));
        let response = call.send().await;
        let response = response.map_err(|e| call_error::from_sdk("GetTags", &self.region, &e));
        let response = match (response, subject) {
            // Where Glue does not support tags on tables, the call is invalid. It may be for other reasons too.
            (Err(error), Subject::Table(_)) if error.kind == CallErrorKind::Invalid => {
                let kind = CallErrorKind::Unsupported;
                return Err(CallError { kind, ..error });
            }
            (response, _) => response?,
        };
        let tags = response.tags.unwrap_or_default().into_iter();
        // Only AWS can set tags with the prefix `aws:`.
        let user_tags = tags.filter(|(key, _)| !key.starts_with("aws:"));
        Ok(user_tags
            .map(|(key, value)| ObservedAttachment {
                attachment: Attachment::GlueTag { key, value },
                index_status: IndexStatus::Present,
            })
            .collect())
    }

    /// The Glue ARN of a subject in this Region.
    fn glue_arn(&self, subject: &Subject) -> String {
        let (region, account) = (&self.region, &self.account);
        let partition = AwsPartition::of_region(region);
        let path = match subject {
            Subject::Catalog | Subject::LakeFormation(_) => "catalog".to_owned(),
            Subject::Database(name) => format!("database/{name}"),
            Subject::Table(id) => format!("table/{}/{}", id.database, id.table),
            Subject::Function(id) => {
                format!("userDefinedFunction/{}/{}", id.database, id.function)
            }
        };
        format!("arn:{partition}:glue:{region}:{account}:{path}")
    }

    /// The error for an attachment of a kind that the subject cannot have, or that this call does not write.
    pub(super) fn unsupported_attachment(&self, call: &str) -> CallError {
        let message = "the subject has no attachments of this kind";
        CallError::new(CallErrorKind::Invalid, call, &self.region, message)
    }

    /// Creates or replaces attachments. Column statistics share a call, and so do Glue tags; each partition index takes
    /// one. Attachments of Lake Formation are not written with others: the others are errors then.
    pub(super) async fn write_attachments(
        &self,
        subject: &Subject,
        attachments: &[&Attachment],
        may_replace: bool,
    ) -> Result<EntryResults, CallError> {
        if attachments
            .iter()
            .any(|attachment| is_lakeformation(&attachment.key()))
        {
            return self
                .write_lf_attachments(subject, attachments, may_replace)
                .await;
        }
        let mut results = EntryResults::new();
        let (mut statistics, mut tags) = (Vec::new(), Vec::new());
        for attachment in attachments {
            let result = match (subject, attachment) {
                (Subject::Table(id), Attachment::Index(index)) => {
                    self.create_index(id, index).await
                }
                (Subject::Table(id), Attachment::Statistics(column)) => {
                    statistics.push((results.len(), (id, column.as_ref())));
                    Ok(())
                }
                (_, Attachment::GlueTag { key, value }) => {
                    tags.push((results.len(), (key.clone(), value.clone())));
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
        let (indexes, columns): (Vec<usize>, Vec<_>) = statistics.into_iter().unzip();
        if let Some((id, _)) = columns.first() {
            let columns: Vec<_> = columns.iter().map(|(_, column)| *column).collect();
            let written = self.put_statistics(id, &columns).await;
            set_results(&mut results, &indexes, written)?;
        }
        let (indexes, tags): (Vec<usize>, Vec<_>) = tags.into_iter().unzip();
        if !tags.is_empty() {
            let written = self.add_glue_tags(subject, tags).await;
            let written = written.map(|()| vec![Ok(()); indexes.len()]);
            set_results(&mut results, &indexes, written)?;
        }
        Ok(results)
    }

    async fn add_glue_tags(
        &self,
        subject: &Subject,
        tags: Vec<(String, String)>,
    ) -> Result<(), CallError> {
        let call = self.glue.tag_resource();
        let call = call.resource_arn(self.glue_arn(subject));
        let call = call.set_tags_to_add(Some(tags.into_iter().collect()));
        let response = call.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("TagResource", &self.region, &e))
    }

    async fn remove_glue_tags(
        &self,
        subject: &Subject,
        keys: Vec<String>,
    ) -> Result<(), CallError> {
        let call = self.glue.untag_resource();
        let call = call.resource_arn(self.glue_arn(subject));
        let response = call.set_tags_to_remove(Some(keys)).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("UntagResource", &self.region, &e))
    }

    async fn create_index(&self, id: &TableId, index: &PartitionIndex) -> Result<(), CallError> {
        const CALL: &str = "CreatePartitionIndex";
        let index = glue_convert::to_sdk_partition_index(index);
        let index = index.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let call = self.glue.create_partition_index();
        let call = call.database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str()).partition_index(index);
        let response = call.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
    }

    async fn put_statistics(
        &self,
        id: &TableId,
        statistics: &[&twinlake_core::catalog::ColumnStatistics],
    ) -> Result<EntryResults, CallError> {
        const CALL: &str = "UpdateColumnStatisticsForTable";
        let built = statistics
            .iter()
            .map(|column| glue_convert::to_sdk_column_statistics(column));
        let built: Result<Vec<glue::ColumnStatistics>, _> = built.collect();
        let built = built.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let call = self.glue.update_column_statistics_for_table();
        let call = call.database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str());
        let response = call.set_column_statistics_list(Some(built)).send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let mut results: EntryResults = vec![Ok(()); statistics.len()];
        for error in response.errors.unwrap_or_default() {
            let column = error
                .column_statistics
                .map(|statistics| statistics.column_name);
            let index = statistics
                .iter()
                .position(|sent| Some(&sent.column_name) == column.as_ref());
            set_entry_error(&mut results, index, self.entry_error(CALL, error.error))?;
        }
        Ok(results)
    }

    /// Removes attachments. Glue tags share a call; each of the others takes one. Attachments of Lake Formation are not
    /// removed with others: the others are errors then.
    pub(super) async fn delete_attachments(
        &self,
        subject: &Subject,
        keys: &[&AttachmentKey],
    ) -> Result<EntryResults, CallError> {
        if keys.iter().any(|key| is_lakeformation(key)) {
            return self.delete_lf_attachments(subject, keys).await;
        }
        let mut tags = Vec::new();
        let mut results = EntryResults::new();
        for key in keys {
            let result = match (subject, key) {
                (Subject::Table(id), AttachmentKey::Index(name)) => {
                    self.delete_index(id, name).await
                }
                (Subject::Table(id), AttachmentKey::Statistics(column)) => {
                    self.delete_statistics(id, column).await
                }
                (_, AttachmentKey::GlueTag(key)) => {
                    tags.push((results.len(), key.clone()));
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
        let (indexes, tags): (Vec<usize>, Vec<String>) = tags.into_iter().unzip();
        if !tags.is_empty() {
            let removed = self.remove_glue_tags(subject, tags).await;
            let removed = removed.map(|()| vec![Ok(()); indexes.len()]);
            set_results(&mut results, &indexes, removed)?;
        }
        Ok(results)
    }

    async fn delete_index(&self, id: &TableId, name: &str) -> Result<(), CallError> {
        let call = self.glue.delete_partition_index();
        let call = call.database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str()).index_name(name);
        let response = call.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("DeletePartitionIndex", &self.region, &e))
    }

    async fn delete_statistics(&self, id: &TableId, column: &str) -> Result<(), CallError> {
        let call = self.glue.delete_column_statistics_for_table();
        let call = call.database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str()).column_name(column);
        let response = call.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("DeleteColumnStatisticsForTable", &self.region, &e))
    }

    /// Converts the error of one entry of a response.
    fn entry_error(&self, call: &str, detail: Option<glue::ErrorDetail>) -> CallError {
        let (code, message) = match detail {
            Some(detail) => (
                detail.error_code.unwrap_or_default(),
                detail.error_message.unwrap_or_default(),
            ),
            None => (
                String::new(),
                "the response contains an error without a reason".to_owned(),
            ),
        };
        call_error::from_code(call, &self.region, &code, &message)
    }
}

/// Stores the results of one call at the indexes that its entries have in the batch.
///
/// # Errors
/// The call failed as a whole, and the batch has no other entries.
fn set_results(
    results: &mut EntryResults,
    indexes: &[usize],
    called: Result<EntryResults, CallError>,
) -> Result<(), CallError> {
    let of_call = match called {
        Err(error) if indexes.len() == results.len() => return Err(error),
        Err(error) => vec![Err(error); indexes.len()],
        Ok(of_call) => of_call,
    };
    for (index, result) in indexes.iter().zip(of_call) {
        if let Some(slot) = results.get_mut(*index) {
            *slot = result;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_glue::config::{BehaviorVersion, Credentials, Region};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_types::body::SdkBody;
    use std::sync::{Arc, Mutex};
    use twinlake_core::Name;

    /// Answers each call of Glue, and keeps their names. Partition indexes are not found.
    #[derive(Clone, Debug, Default)]
    struct GlueCalls(Arc<Mutex<Vec<String>>>);

    impl HttpConnector for GlueCalls {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let call = target.rsplit('.').next().unwrap_or_default().to_owned();
            let status: u16 = match call.as_str() {
                "DeletePartitionIndex" => 404,
                _ => 200,
            };
            self.0.lock().unwrap().push(call);
            HttpConnectorFuture::ready(Ok(HttpResponse::new(
                status.try_into().unwrap(),
                SdkBody::from("{}"),
            )))
        }
    }

    fn region(name: &str) -> (AwsRegion, GlueCalls) {
        let calls = GlueCalls::default();
        let connector = SharedHttpConnector::new(calls.clone());
        let client = http_client_fn(move |_, _| connector.clone());
        let credentials = || Credentials::new("a", "b", None, None, "test");
        let glue = aws_sdk_glue::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(name.to_owned()))
            .credentials_provider(credentials())
            .http_client(client.clone())
            .build();
        let lakeformation = aws_sdk_lakeformation::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(name.to_owned()))
            .credentials_provider(credentials())
            .http_client(client)
            .build();
        let region = AwsRegion {
            region: name.to_owned(),
            account: "111122223333".to_owned(),
            glue: aws_sdk_glue::Client::from_conf(glue),
            lakeformation: aws_sdk_lakeformation::Client::from_conf(lakeformation),
            function_pattern: Arc::default(),
        };
        (region, calls)
    }

    fn table() -> Subject {
        let name = |name: &str| Name::new(name).unwrap();
        Subject::Table(TableId::new(name("sales"), name("orders")))
    }

    #[test]
    fn an_arn_has_the_partition_of_its_region() {
        let arn = |name: &str| region(name).0.glue_arn(&table());
        assert_eq!(
            arn("eusc-de-east-1"),
            "arn:aws-eusc:glue:eusc-de-east-1:111122223333:table/sales/orders"
        );
        assert!(arn("us-iso-east-1").starts_with("arn:aws-iso:"));
        assert!(arn("us-gov-west-1").starts_with("arn:aws-us-gov:"));
        assert!(arn("us-east-1").starts_with("arn:aws:"));
    }

    #[tokio::test]
    async fn each_attachment_of_several_kinds_is_written_or_removed_and_has_a_result_of_its_own() {
        let (region, calls) = region("us-east-1");
        let index = Attachment::Index(PartitionIndex {
            index_name: "by_day".to_owned(),
            keys: vec!["day".to_owned()],
        });
        let tag = Attachment::GlueTag {
            key: "team".to_owned(),
            value: "a".to_owned(),
        };
        let both = [&index, &tag];
        let written = region
            .write_attachments(&table(), &both, true)
            .await
            .unwrap();
        assert_eq!(written, [Ok(()), Ok(())]);
        let made: Vec<String> = std::mem::take(&mut *calls.0.lock().unwrap());
        assert_eq!(made, ["CreatePartitionIndex", "TagResource"]);

        let keys = both.map(Attachment::key);
        let keys: Vec<&AttachmentKey> = keys.iter().collect();
        let removed = region.delete_attachments(&table(), &keys).await.unwrap();
        assert!(removed[0].is_err(), "{removed:?}");
        assert_eq!(removed[1], Ok(()));

        let of_database = Subject::Database(Name::new("sales").unwrap());
        let refused = region
            .write_attachments(&of_database, &both, true)
            .await
            .unwrap();
        assert!(refused[0].is_err() && refused[1].is_ok(), "{refused:?}");
        let location = AttachmentKey::Registration("arn:aws:s3:::lake/raw".to_owned());
        let mixed = [keys[1], &location];
        let mixed = region
            .delete_attachments(&of_database, &mixed)
            .await
            .unwrap();
        assert!(
            mixed[0].is_err(),
            "a Glue tag is not removed with others: {mixed:?}"
        );
    }
}
