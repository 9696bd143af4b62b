//! Reads and writes the attachments of databases and tables: partition indexes, column statistics
//! and Glue tags. Those of Lake Formation are in [`super::lakeformation`].

use super::lakeformation::is_lakeformation;
use super::write::set_entry_error;
use super::{AwsRegion, all_pages};
use crate::{call_error, glue_convert};
use aws_sdk_glue::types as glue;
use twinlake_core::catalog::{
    Attachment, AttachmentKey, IndexStatus, ObservedAttachment, PartitionIndex,
};
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
            // A multi-dialect view has no indexes, and the call fails (GL-04). Whether the table is
            // one is read, since only the text of the error says so.
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
                index_status: IndexStatus::Active,
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
            // Where Glue does not support tags on tables, the call is invalid.
            (Err(error), Subject::Table(_)) if error.kind == CallErrorKind::Invalid => {
                return Ok(Vec::new());
            }
            (response, _) => response?,
        };
        let tags = response.tags.unwrap_or_default().into_iter();
        // Only AWS can set tags with the prefix `aws:`.
        let user_tags = tags.filter(|(key, _)| !key.starts_with("aws:"));
        Ok(user_tags
            .map(|(key, value)| ObservedAttachment {
                attachment: Attachment::GlueTag { key, value },
                index_status: IndexStatus::Active,
            })
            .collect())
    }

    /// The Glue ARN of a subject in this Region.
    fn glue_arn(&self, subject: &Subject) -> String {
        let partition = match self.region.split('-').next() {
            Some("cn") => "aws-cn",
            Some("us") if self.region.starts_with("us-gov-") => "aws-us-gov",
            Some(_) | None => "aws",
        };
        let path = match subject {
            Subject::Catalog | Subject::LakeFormation(_) => "catalog".to_owned(),
            Subject::Database(name) => format!("database/{name}"),
            Subject::Table(id) => format!("table/{}/{}", id.database, id.table),
            Subject::Function(id) => {
                format!("userDefinedFunction/{}/{}", id.database, id.function)
            }
        };
        format!(
            "arn:{partition}:glue:{}:{}:{path}",
            self.region, self.account
        )
    }

    pub(super) async fn write_attachments(
        &self,
        subject: &Subject,
        attachments: &[&Attachment],
    ) -> Result<EntryResults, CallError> {
        if attachments
            .iter()
            .any(|attachment| is_lakeformation(&attachment.key()))
        {
            return self.write_lf_attachments(subject, attachments).await;
        }
        let mut indexes = Vec::new();
        let mut statistics = Vec::new();
        let mut tags = Vec::new();
        for attachment in attachments {
            match attachment {
                Attachment::Index(index) => indexes.push(index),
                Attachment::Statistics(column) => statistics.push(column.as_ref()),
                Attachment::GlueTag { key, value } => {
                    tags.push((key.clone(), value.clone()));
                }
                Attachment::DataCellsFilter(_)
                | Attachment::LfTagAssignment { .. }
                | Attachment::OptIn(_)
                | Attachment::LfTagValue { .. }
                | Attachment::NamedExpression(_)
                | Attachment::Registration(_) => {}
            }
        }
        if let Subject::Table(id) = subject {
            if !statistics.is_empty() {
                return self.put_statistics(id, &statistics).await;
            }
            let mut results = EntryResults::new();
            for index in indexes {
                results.push(self.create_index(id, index).await);
            }
            if !results.is_empty() {
                return Ok(results);
            }
        }
        let call = self
            .glue
            .tag_resource()
            .resource_arn(self.glue_arn(subject));
        let response = call
            .set_tags_to_add(Some(tags.into_iter().collect()))
            .send()
            .await;
        response.map_err(|e| call_error::from_sdk("TagResource", &self.region, &e))?;
        Ok(vec![Ok(()); attachments.len()])
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
            match (subject, key) {
                (Subject::Table(id), AttachmentKey::Index(name)) => {
                    results.push(self.delete_index(id, name).await);
                }
                (Subject::Table(id), AttachmentKey::Statistics(column)) => {
                    results.push(self.delete_statistics(id, column).await);
                }
                (_, AttachmentKey::GlueTag(key)) => tags.push(key.clone()),
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
        if tags.is_empty() {
            return Ok(results);
        }
        let call = self
            .glue
            .untag_resource()
            .resource_arn(self.glue_arn(subject));
        let response = call.set_tags_to_remove(Some(tags)).send().await;
        response.map_err(|e| call_error::from_sdk("UntagResource", &self.region, &e))?;
        Ok(vec![Ok(()); keys.len()])
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
