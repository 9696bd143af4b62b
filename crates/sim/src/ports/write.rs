//! Implements the engine's write port, [`WriteRegion`], over the simulator.
//!
//! Attachments are what belongs to a database, table or the like and has API calls of its own, such
//! as partition indexes and LF-Tag assignments: see [`Attachment`].

use super::SimRegion;
use serde_json::{Value, json};
use twinlake_core::catalog::{Attachment, AttachmentKey, PartitionIndex};
use twinlake_core::grant::ListedPermission;
use twinlake_core::{
    CallError, Database, Function, FunctionId, Name, Partition, Subject, Table, TableId,
};
use twinlake_engine::WriteRegion;
use twinlake_engine::ports::{EntryResults, SettingsChange};

impl WriteRegion for SimRegion {
    async fn create_database(&self, database: &Database) -> Result<(), CallError> {
        self.write("CreateDatabase", json!({ "DatabaseInput": database }))
            .await
    }

    async fn update_database(&self, database: &Database) -> Result<(), CallError> {
        let request = json!({"Name": database.name.as_str(), "DatabaseInput": database});
        self.write("UpdateDatabase", request).await
    }

    async fn delete_database(&self, name: &Name) -> Result<(), CallError> {
        self.write("DeleteDatabase", json!({"Name": name.as_str()}))
            .await
    }

    async fn create_table(
        &self,
        database: &Name,
        table: &Table,
        indexes: &[&PartitionIndex],
    ) -> Result<(), CallError> {
        let request = json!({
            "DatabaseName": database.as_str(),
            "TableInput": table.clone().into_view_input(),
            "PartitionIndexes": indexes,
        });
        self.write("CreateTable", request).await
    }

    async fn update_table(
        &self,
        database: &Name,
        table: &Table,
        version: Option<&str>,
    ) -> Result<(), CallError> {
        let request = json!({
            "DatabaseName": database.as_str(),
            "TableInput": table.clone().into_view_input(),
            "SkipArchive": true, "VersionId": version,
        });
        self.write("UpdateTable", request).await
    }

    async fn delete_table(&self, id: &TableId) -> Result<(), CallError> {
        let request = json!({"DatabaseName": id.database.as_str(), "Name": id.table.as_str()});
        self.write("DeleteTable", request).await
    }

    async fn create_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, CallError> {
        let request = json!({
            "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(),
            "PartitionInputList": partitions,
        });
        let values = partitions.iter().map(|p| p.values.as_slice()).collect();
        self.partition_batch("BatchCreatePartition", request, values)
            .await
    }

    async fn update_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, CallError> {
        let entries: Vec<Value> = partitions
            .iter()
            .map(|p| json!({"PartitionValueList": p.values, "PartitionInput": p}))
            .collect();
        let request = json!({
            "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(),
            "Entries": entries,
        });
        let values = partitions.iter().map(|p| p.values.as_slice()).collect();
        self.partition_batch("BatchUpdatePartition", request, values)
            .await
    }

    async fn delete_partitions(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<EntryResults, CallError> {
        let entries: Vec<Value> = values.iter().map(|v| json!({ "Values": v })).collect();
        let request = json!({
            "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(),
            "PartitionsToDelete": entries,
        });
        self.partition_batch("BatchDeletePartition", request, values.to_vec())
            .await
    }

    async fn create_function(&self, id: &FunctionId, function: &Function) -> Result<(), CallError> {
        let request = json!({"DatabaseName": id.database.as_str(), "FunctionInput": function});
        self.write("CreateUserDefinedFunction", request).await
    }

    async fn update_function(&self, id: &FunctionId, function: &Function) -> Result<(), CallError> {
        let request = json!({
            "DatabaseName": id.database.as_str(), "FunctionName": id.function.as_str(),
            "FunctionInput": function,
        });
        self.write("UpdateUserDefinedFunction", request).await
    }

    async fn delete_function(&self, id: &FunctionId) -> Result<(), CallError> {
        let request = json!({
            "DatabaseName": id.database.as_str(), "FunctionName": id.function.as_str(),
        });
        self.write("DeleteUserDefinedFunction", request).await
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
        self.change_settings(change).await
    }

    async fn grant(&self, entries: &[&ListedPermission]) -> Result<EntryResults, CallError> {
        self.permission_batch("BatchGrantPermissions", entries)
            .await
    }

    async fn revoke(&self, entries: &[&ListedPermission]) -> Result<EntryResults, CallError> {
        self.permission_batch("BatchRevokePermissions", entries)
            .await
    }
}
