//! The calls that write.

use super::AwsRegion;
use crate::{convert, fault, grants};
use aws_sdk_lakeformation::types as lake;
use twinlake_core::catalog::{Linkable as _, Part, PartKey, PartitionIndex};
use twinlake_core::grant::{Entry, EntryResource};
use twinlake_core::{
    Database, Fault, Function, FunctionId, Name, Partition, Subject, Table, TableId,
};
use twinlake_engine::WriteRegion;
use twinlake_engine::ports::{EntryResults, SettingsChange};

impl AwsRegion {
    /// Gives the other writers ALL on a database and on every table in it; on a
    /// resource link, what can be granted there and is needed to delete it (LF-24).
    async fn share(&self, database: &Database) -> Result<(), Fault> {
        let itself = EntryResource::Database(database.name.clone());
        let (resources, permission) = match database.is_link() {
            true => (vec![itself], "DROP"),
            false => {
                let tables = EntryResource::TableWildcard(database.name.clone());
                (vec![itself, tables], "ALL")
            }
        };
        let all = std::collections::BTreeSet::from([permission.to_owned()]);
        let entries: Vec<Entry> = self
            .writers
            .iter()
            .flat_map(|writer| {
                resources.iter().map(|resource| Entry {
                    principal: twinlake_core::Principal(writer.clone()),
                    resource: resource.clone(),
                    permissions: all.clone(),
                    grantable: std::collections::BTreeSet::new(),
                    condition: None,
                })
            })
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let sent: Vec<&Entry> = entries.iter().collect();
        // Nobody comes back for this later, so what passes is waited out here.
        for pause in [200, 1000, 3000] {
            let shared = self.grant(&sent).await;
            let shared = shared.and_then(|all| all.into_iter().collect::<Result<(), Fault>>());
            match shared {
                Err(fault) if fault.kind.is_passing() => {
                    tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                }
                shared => return shared,
            }
        }
        self.grant(&sent).await?.into_iter().collect()
    }

    fn batch(
        &self,
        call: &str,
        entries: &[&Entry],
    ) -> Result<Vec<lake::BatchPermissionsRequestEntry>, Fault> {
        let built = entries.iter().enumerate();
        built
            .map(|(at, entry)| grants::batch_entry(at, entry, &self.account))
            .collect::<Result<_, _>>()
            .map_err(|e| fault::unbuildable(call, &self.region, &e))
    }

    /// One result for each entry; a failure names its entry by the id.
    fn entry_results(
        &self,
        call: &str,
        count: usize,
        failures: Option<Vec<lake::BatchPermissionsFailureEntry>>,
    ) -> EntryResults {
        let mut results: EntryResults = vec![Ok(()); count];
        for failure in failures.unwrap_or_default() {
            let error = failure.error;
            let (code, message) = match error {
                Some(error) => (
                    error.error_code.unwrap_or_default(),
                    error.error_message.unwrap_or_default(),
                ),
                None => (String::new(), "a failure without a reason".to_owned()),
            };
            let found = Err(fault::of_code(call, &self.region, &code, &message));
            let id = failure.request_entry.map(|entry| entry.id);
            match id
                .and_then(|id| id.parse().ok())
                .and_then(|at: usize| results.get_mut(at))
            {
                Some(result) => *result = found,
                // A failure of nobody knows whom is a failure of all.
                None => results.fill(found),
            }
        }
        results
    }

    /// One result for each partition; an error names its partition by the values.
    fn partition_results(
        &self,
        call: &str,
        sent: &[&[String]],
        errors: Vec<(
            Option<Vec<String>>,
            Option<aws_sdk_glue::types::ErrorDetail>,
        )>,
    ) -> EntryResults {
        let mut results: EntryResults = vec![Ok(()); sent.len()];
        for (values, detail) in errors {
            let (code, message) = match detail {
                Some(detail) => (
                    detail.error_code.unwrap_or_default(),
                    detail.error_message.unwrap_or_default(),
                ),
                None => (String::new(), "an error without a reason".to_owned()),
            };
            let found = Err(fault::of_code(call, &self.region, &code, &message));
            let values = values.unwrap_or_default();
            match sent.iter().position(|one| *one == values.as_slice()) {
                Some(at) => {
                    if let Some(result) = results.get_mut(at) {
                        *result = found;
                    }
                }
                None => results.fill(found),
            }
        }
        results
    }
}

impl WriteRegion for AwsRegion {
    async fn create_database(&self, database: &Database) -> Result<(), Fault> {
        const CALL: &str = "CreateDatabase";
        let input = convert::database_input(database);
        let input = input.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let answer = self
            .glue
            .create_database()
            .database_input(input)
            .send()
            .await;
        answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
        self.share(database).await
    }

    async fn update_database(&self, database: &Database) -> Result<(), Fault> {
        const CALL: &str = "UpdateDatabase";
        let input = convert::database_input(database);
        let input = input.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let call = self.glue.update_database().name(database.name.as_str());
        let answer = call.database_input(input).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of(CALL, &self.region, &e))
    }

    async fn delete_database(&self, name: &Name) -> Result<(), Fault> {
        let answer = self.glue.delete_database().name(name.as_str()).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("DeleteDatabase", &self.region, &e))
    }

    async fn create_table(
        &self,
        database: &Name,
        table: &Table,
        indexes: &[&PartitionIndex],
    ) -> Result<(), Fault> {
        const CALL: &str = "CreateTable";
        let input = convert::table_input(table);
        let input = input.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let indexes: Result<Vec<_>, _> = indexes.iter().map(|i| convert::index_back(i)).collect();
        let indexes = indexes.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let call = self.glue.create_table().database_name(database.as_str());
        let call = call.set_partition_indexes(Some(indexes).filter(|all| !all.is_empty()));
        let answer = call.table_input(input).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of(CALL, &self.region, &e))
    }

    async fn update_table(
        &self,
        database: &Name,
        table: &Table,
        version: Option<&str>,
    ) -> Result<(), Fault> {
        const CALL: &str = "UpdateTable";
        let input = convert::table_input(table);
        let input = input.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let call = self.glue.update_table().database_name(database.as_str());
        let call = call
            .table_input(input)
            .set_version_id(version.map(str::to_owned));
        // A view's update says what it does to each dialect; that its tables look
        // otherwise here is no reason to refuse it.
        let of_view = table.view_definition.is_some();
        let action = aws_sdk_glue::types::ViewUpdateAction::AddOrReplace;
        let call = call
            .set_view_update_action(of_view.then_some(action))
            .set_force(of_view.then_some(true));
        // Every update would archive a version otherwise, until the quota is full.
        let answer = call.skip_archive(true).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of(CALL, &self.region, &e))
    }

    async fn delete_table(&self, id: &TableId) -> Result<(), Fault> {
        let call = self.glue.delete_table().database_name(id.database.as_str());
        let answer = call.name(id.table.as_str()).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("DeleteTable", &self.region, &e))
    }

    async fn create_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, Fault> {
        const CALL: &str = "BatchCreatePartition";
        let inputs = partitions.iter().map(|one| convert::partition_input(one));
        let inputs = inputs.collect::<Result<Vec<_>, _>>();
        let inputs = inputs.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let call = self
            .glue
            .batch_create_partition()
            .database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str());
        let answer = call.set_partition_input_list(Some(inputs)).send().await;
        let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
        let errors = answer.errors.unwrap_or_default().into_iter();
        let errors = errors
            .map(|e| (e.partition_values, e.error_detail))
            .collect();
        let sent: Vec<&[String]> = partitions.iter().map(|p| p.values.as_slice()).collect();
        Ok(self.partition_results(CALL, &sent, errors))
    }

    async fn update_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, Fault> {
        const CALL: &str = "BatchUpdatePartition";
        let entries = partitions.iter().map(|one| {
            let input = convert::partition_input(one)?;
            aws_sdk_glue::types::BatchUpdatePartitionRequestEntry::builder()
                .set_partition_value_list(Some(one.values.clone()))
                .partition_input(input)
                .build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let call = self
            .glue
            .batch_update_partition()
            .database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str());
        let answer = call.set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
        let errors = answer.errors.unwrap_or_default().into_iter();
        let errors = errors
            .map(|e| (e.partition_value_list, e.error_detail))
            .collect();
        let sent: Vec<&[String]> = partitions.iter().map(|p| p.values.as_slice()).collect();
        Ok(self.partition_results(CALL, &sent, errors))
    }

    async fn delete_partitions(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<EntryResults, Fault> {
        const CALL: &str = "BatchDeletePartition";
        let lists = values.iter().map(|values| {
            aws_sdk_glue::types::PartitionValueList::builder()
                .set_values(Some(values.to_vec()))
                .build()
        });
        let lists = lists.collect::<Result<Vec<_>, _>>();
        let lists = lists.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let call = self
            .glue
            .batch_delete_partition()
            .database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str());
        let answer = call.set_partitions_to_delete(Some(lists)).send().await;
        let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
        let errors = answer.errors.unwrap_or_default().into_iter();
        let errors = errors
            .map(|e| (e.partition_values, e.error_detail))
            .collect();
        Ok(self.partition_results(CALL, values, errors))
    }

    async fn create_function(&self, id: &FunctionId, function: &Function) -> Result<(), Fault> {
        let call = self.glue.create_user_defined_function();
        let call = call.database_name(id.database.as_str());
        let input = convert::function_input(function);
        let answer = call.function_input(input).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("CreateUserDefinedFunction", &self.region, &e))
    }

    async fn update_function(&self, id: &FunctionId, function: &Function) -> Result<(), Fault> {
        let call = self.glue.update_user_defined_function();
        let call = call.database_name(id.database.as_str());
        let call = call.function_name(id.function.as_str());
        let input = convert::function_input(function);
        let answer = call.function_input(input).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("UpdateUserDefinedFunction", &self.region, &e))
    }

    async fn delete_function(&self, id: &FunctionId) -> Result<(), Fault> {
        let call = self.glue.delete_user_defined_function();
        let call = call.database_name(id.database.as_str());
        let answer = call.function_name(id.function.as_str()).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("DeleteUserDefinedFunction", &self.region, &e))
    }

    async fn put_parts(&self, subject: &Subject, parts: &[&Part]) -> Result<EntryResults, Fault> {
        self.put_some(subject, parts).await
    }

    async fn remove_parts(
        &self,
        subject: &Subject,
        keys: &[&PartKey],
    ) -> Result<EntryResults, Fault> {
        self.remove_some(subject, keys).await
    }

    async fn put_settings(&self, change: &SettingsChange) -> Result<(), Fault> {
        self.change_settings(change).await
    }

    async fn grant(&self, entries: &[&Entry]) -> Result<EntryResults, Fault> {
        const CALL: &str = "BatchGrantPermissions";
        let batch = self.batch(CALL, entries)?;
        let call = self.lake.batch_grant_permissions().set_entries(Some(batch));
        let answer = call
            .send()
            .await
            .map_err(|e| fault::of(CALL, &self.region, &e))?;
        Ok(self.entry_results(CALL, entries.len(), answer.failures))
    }

    async fn revoke(&self, entries: &[&Entry]) -> Result<EntryResults, Fault> {
        const CALL: &str = "BatchRevokePermissions";
        let batch = self.batch(CALL, entries)?;
        let call = self
            .lake
            .batch_revoke_permissions()
            .set_entries(Some(batch));
        let answer = call
            .send()
            .await
            .map_err(|e| fault::of(CALL, &self.region, &e))?;
        Ok(self.entry_results(CALL, entries.len(), answer.failures))
    }
}
