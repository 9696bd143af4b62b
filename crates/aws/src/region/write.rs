//! Implements the engine's write port, [`WriteRegion`], over the AWS SDK.
//!
//! Attachments are what belongs to a database, table or the like and has API calls of its own, such
//! as partition indexes and LF-Tag assignments: see [`Attachment`].

use super::AwsRegion;
use crate::{call_error, glue_convert, permission_convert};
use aws_sdk_lakeformation::types as lakeformation;
use twinlake_core::catalog::{Attachment, AttachmentKey, PartitionIndex};
use twinlake_core::grant::ListedPermission;
use twinlake_core::{
    CallError, CallErrorKind, Database, Function, FunctionId, Name, Partition, Subject, Table,
    TableId,
};
use twinlake_engine::WriteRegion;
use twinlake_engine::ports::{EntryResults, SettingsChange};

impl AwsRegion {
    fn to_sdk_batch(
        &self,
        call: &str,
        entries: &[&ListedPermission],
    ) -> Result<Vec<lakeformation::BatchPermissionsRequestEntry>, CallError> {
        let built = entries.iter().enumerate();
        built
            .map(|(index, entry)| {
                permission_convert::to_sdk_batch_entry(index, entry, &self.account)
            })
            .collect::<Result<_, _>>()
            .map_err(|e| call_error::from_build_error(call, &self.region, &e))
    }

    /// Returns one result for each entry; the entry id of a failure is its index in the batch.
    ///
    /// # Errors
    /// A failure names none of several entries: the result of each of them is unknown.
    fn entry_results(
        &self,
        call: &str,
        count: usize,
        failures: Option<Vec<lakeformation::BatchPermissionsFailureEntry>>,
    ) -> Result<EntryResults, CallError> {
        let mut results: EntryResults = vec![Ok(()); count];
        for failure in failures.unwrap_or_default() {
            let error = failure.error;
            let (code, message) = match error {
                Some(error) => (
                    error.error_code.unwrap_or_default(),
                    error.error_message.unwrap_or_default(),
                ),
                None => (
                    String::new(),
                    "the response contains a failure without a reason".to_owned(),
                ),
            };
            let error = call_error::from_code(call, &self.region, &code, &message);
            let id = failure.request_entry.map(|entry| entry.id);
            let index = id.and_then(|id| id.parse().ok());
            set_entry_error(&mut results, index, error)?;
        }
        Ok(results)
    }

    /// Returns one result for each partition; an error names its partition by the values.
    ///
    /// # Errors
    /// An error names none of several partitions: the result of each of them is unknown.
    fn partition_results(
        &self,
        call: &str,
        sent: &[&[String]],
        errors: Vec<(
            Option<Vec<String>>,
            Option<aws_sdk_glue::types::ErrorDetail>,
        )>,
    ) -> Result<EntryResults, CallError> {
        let mut results: EntryResults = vec![Ok(()); sent.len()];
        for (values, detail) in errors {
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
            let error = call_error::from_code(call, &self.region, &code, &message);
            let values = values.unwrap_or_default();
            let index = sent.iter().position(|sent| *sent == values.as_slice());
            set_entry_error(&mut results, index, error)?;
        }
        Ok(results)
    }
}

/// Adds to the denial of a view which permissions writing one needs (F-4). For display only.
fn with_view_advice(mut error: CallError, table: &Table) -> CallError {
    let view = table.view_definition.as_ref();
    let definer = view.and_then(|view| view.definer.as_deref());
    if let (CallErrorKind::Denied, Some(definer)) = (error.kind, definer) {
        let advice = format!(
            "; for a Data Catalog view, Twinlake's role needs iam:PassRole on its definer {definer} \
             to glue.amazonaws.com and lakeformation.amazonaws.com, and glue:PassConnection if it \
             has a validation connection"
        );
        error.message.push_str(&advice);
    }
    error
}

/// Stores the error of one entry of a batch call. An error that names no entry belongs to the only
/// entry of its call.
///
/// # Errors
/// The error names no entry and the call has several: it may belong to any of them.
pub(super) fn set_entry_error(
    results: &mut EntryResults,
    index: Option<usize>,
    error: CallError,
) -> Result<(), CallError> {
    let index = match (index, results.len()) {
        (Some(index), _) => Some(index),
        (None, 1) => Some(0),
        (None, _) => None,
    };
    match index.and_then(|index| results.get_mut(index)) {
        Some(result) => {
            *result = Err(error);
            Ok(())
        }
        None => Err(error),
    }
}

impl WriteRegion for AwsRegion {
    async fn create_database(&self, database: &Database) -> Result<(), CallError> {
        const CALL: &str = "CreateDatabase";
        let input = glue_convert::to_sdk_database(database);
        let input = input.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let response = self
            .glue
            .create_database()
            .database_input(input)
            .send()
            .await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
    }

    async fn update_database(&self, database: &Database) -> Result<(), CallError> {
        const CALL: &str = "UpdateDatabase";
        let input = glue_convert::to_sdk_database(database);
        let input = input.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let call = self.glue.update_database().name(database.name.as_str());
        let response = call.database_input(input).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
    }

    async fn delete_database(&self, name: &Name) -> Result<(), CallError> {
        let response = self.glue.delete_database().name(name.as_str()).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("DeleteDatabase", &self.region, &e))
    }

    async fn create_table(
        &self,
        database: &Name,
        table: &Table,
        indexes: &[&PartitionIndex],
    ) -> Result<(), CallError> {
        const CALL: &str = "CreateTable";
        let input = glue_convert::to_sdk_table(&table.clone().into_view_input());
        let input = input.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let indexes: Result<Vec<_>, _> = indexes
            .iter()
            .map(|i| glue_convert::to_sdk_partition_index(i))
            .collect();
        let indexes = indexes.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let call = self.glue.create_table().database_name(database.as_str());
        let call = call.set_partition_indexes(Some(indexes).filter(|all| !all.is_empty()));
        let response = call.table_input(input).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
            .map_err(|error| with_view_advice(error, table))
    }

    async fn update_table(
        &self,
        database: &Name,
        table: &Table,
        version: Option<&str>,
    ) -> Result<(), CallError> {
        const CALL: &str = "UpdateTable";
        let input = glue_convert::to_sdk_table(&table.clone().into_view_input());
        let input = input.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let call = self.glue.update_table().database_name(database.as_str());
        let call = call
            .table_input(input)
            .set_version_id(version.map(str::to_owned));
        // An update of a multi-dialect view names its action on the dialects. Force: the update is
        // not rejected because the view's tables differ in this Region.
        let is_view = table.view_definition.is_some();
        let action = aws_sdk_glue::types::ViewUpdateAction::AddOrReplace;
        let call = call
            .set_view_update_action(is_view.then_some(action))
            .set_force(is_view.then_some(true));
        // Otherwise every update archives a version, until the quota of versions is exhausted.
        let response = call.skip_archive(true).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
            .map_err(|error| with_view_advice(error, table))
    }

    async fn delete_table(&self, id: &TableId) -> Result<(), CallError> {
        let call = self.glue.delete_table().database_name(id.database.as_str());
        let response = call.name(id.table.as_str()).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("DeleteTable", &self.region, &e))
    }

    async fn create_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, CallError> {
        const CALL: &str = "BatchCreatePartition";
        let inputs = partitions
            .iter()
            .map(|partition| glue_convert::to_sdk_partition(partition));
        let inputs = inputs.collect::<Result<Vec<_>, _>>();
        let inputs = inputs.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let call = self
            .glue
            .batch_create_partition()
            .database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str());
        let response = call.set_partition_input_list(Some(inputs)).send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let errors = response.errors.unwrap_or_default().into_iter();
        let errors = errors
            .map(|e| (e.partition_values, e.error_detail))
            .collect();
        let sent: Vec<&[String]> = partitions.iter().map(|p| p.values.as_slice()).collect();
        self.partition_results(CALL, &sent, errors)
    }

    async fn update_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, CallError> {
        const CALL: &str = "BatchUpdatePartition";
        let entries = partitions.iter().map(|partition| {
            let input = glue_convert::to_sdk_partition(partition)?;
            aws_sdk_glue::types::BatchUpdatePartitionRequestEntry::builder()
                .set_partition_value_list(Some(partition.values.clone()))
                .partition_input(input)
                .build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let call = self
            .glue
            .batch_update_partition()
            .database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str());
        let response = call.set_entries(Some(entries)).send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let errors = response.errors.unwrap_or_default().into_iter();
        let errors = errors
            .map(|e| (e.partition_value_list, e.error_detail))
            .collect();
        let sent: Vec<&[String]> = partitions.iter().map(|p| p.values.as_slice()).collect();
        self.partition_results(CALL, &sent, errors)
    }

    async fn delete_partitions(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<EntryResults, CallError> {
        const CALL: &str = "BatchDeletePartition";
        let lists = values.iter().map(|values| {
            aws_sdk_glue::types::PartitionValueList::builder()
                .set_values(Some(values.to_vec()))
                .build()
        });
        let lists = lists.collect::<Result<Vec<_>, _>>();
        let lists = lists.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let call = self
            .glue
            .batch_delete_partition()
            .database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str());
        let response = call.set_partitions_to_delete(Some(lists)).send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let errors = response.errors.unwrap_or_default().into_iter();
        let errors = errors
            .map(|e| (e.partition_values, e.error_detail))
            .collect();
        self.partition_results(CALL, values, errors)
    }

    async fn create_function(&self, id: &FunctionId, function: &Function) -> Result<(), CallError> {
        let call = self.glue.create_user_defined_function();
        let call = call.database_name(id.database.as_str());
        let input = glue_convert::to_sdk_function(function);
        let response = call.function_input(input).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("CreateUserDefinedFunction", &self.region, &e))
    }

    async fn update_function(&self, id: &FunctionId, function: &Function) -> Result<(), CallError> {
        let call = self.glue.update_user_defined_function();
        let call = call.database_name(id.database.as_str());
        let call = call.function_name(id.function.as_listed());
        let input = glue_convert::to_sdk_function(function);
        let response = call.function_input(input).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("UpdateUserDefinedFunction", &self.region, &e))
    }

    async fn delete_function(&self, id: &FunctionId) -> Result<(), CallError> {
        let call = self.glue.delete_user_defined_function();
        let call = call.database_name(id.database.as_str());
        let response = call.function_name(id.function.as_listed()).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("DeleteUserDefinedFunction", &self.region, &e))
    }

    async fn put_attachments(
        &self,
        subject: &Subject,
        attachments: &[&Attachment],
        may_replace: bool,
    ) -> Result<EntryResults, CallError> {
        self.write_attachments(subject, attachments, may_replace)
            .await
    }

    async fn remove_attachments(
        &self,
        subject: &Subject,
        keys: &[&AttachmentKey],
    ) -> Result<EntryResults, CallError> {
        self.delete_attachments(subject, keys).await
    }

    async fn put_settings(&self, change: &SettingsChange) -> Result<(), CallError> {
        self.write_data_lake_settings(change).await
    }

    async fn grant(&self, entries: &[&ListedPermission]) -> Result<EntryResults, CallError> {
        const CALL: &str = "BatchGrantPermissions";
        let batch = self.to_sdk_batch(CALL, entries)?;
        let call = self
            .lakeformation
            .batch_grant_permissions()
            .set_entries(Some(batch));
        let response = call
            .send()
            .await
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        self.entry_results(CALL, entries.len(), response.failures)
    }

    async fn revoke(&self, entries: &[&ListedPermission]) -> Result<EntryResults, CallError> {
        const CALL: &str = "BatchRevokePermissions";
        let batch = self.to_sdk_batch(CALL, entries)?;
        let call = self
            .lakeformation
            .batch_revoke_permissions()
            .set_entries(Some(batch));
        let response = call
            .send()
            .await
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        self.entry_results(CALL, entries.len(), response.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_a_name_belongs_to_the_only_entry_or_makes_all_unknown() {
        let error = || CallError::new(CallErrorKind::Invalid, "BatchCreatePartition", "r", "no");
        let mut results: EntryResults = vec![Ok(()), Ok(())];
        assert_eq!(set_entry_error(&mut results, Some(1), error()), Ok(()));
        assert!(results[0].is_ok() && results[1].is_err());
        assert_eq!(set_entry_error(&mut results, None, error()), Err(error()));
        assert_eq!(
            set_entry_error(&mut results, Some(2), error()),
            Err(error())
        );
        let mut results: EntryResults = vec![Ok(())];
        assert_eq!(set_entry_error(&mut results, None, error()), Ok(()));
        assert!(results[0].is_err());
    }
}
