//! A Region with a limit of calls under way: one limit for everything that a process does there,
//! however many databases, tables and facets it works on at once.

use crate::ports::{
    EntryResults, GrantFilter, PartitionsByValues, ReadRegion, SettingsChange,
    UnreplicatedInventory, WriteRegion,
};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};
use twinlake_core::catalog::{
    Attachment, AttachmentKey, Observed, ObservedAttachment, OptIn, PartitionIndex,
};
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget, ListedPermission};
use twinlake_core::snapshot::{LfTaggedResource, ObservedSettings};
use twinlake_core::{
    CallError, Database, Facet, Function, FunctionId, Name, Partition, Subject, Table, TableId,
};

/// A Region that waits before a call while as many as its limit are under way. A listing counts as
/// one call: its pages are read one after the other. Clones share the limit.
#[derive(Clone, Debug)]
pub struct LimitedRegion<R> {
    region: R,
    permits: Arc<Semaphore>,
}

impl<R> LimitedRegion<R> {
    /// Limits a Region to `max_concurrent_calls` calls under way, and to one if that is 0.
    #[must_use]
    pub fn new(region: R, max_concurrent_calls: usize) -> Self {
        Self {
            region,
            permits: Arc::new(Semaphore::new(max_concurrent_calls.max(1))),
        }
    }

    /// Waits for a permit. The semaphore is never closed, so there is always one to wait for.
    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }
}

macro_rules! limited {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        async fn $name(&self, $($argument: $type),*) -> $result {
            let _permit = self.permit().await;
            // The state of an SDK call is large, and a run holds many calls.
            Box::pin(self.region.$name($($argument),*)).await
        }
    )*};
}

impl<R: ReadRegion> ReadRegion for LimitedRegion<R> {
    fn region(&self) -> &str {
        self.region.region()
    }

    fn call_count(&self) -> u64 {
        self.region.call_count()
    }

    limited! {
        fn database(name: &Name) -> Result<Observed<Database>, CallError>;
        fn databases() -> Result<Vec<Observed<Database>>, CallError>;
        fn table(id: &TableId) -> Result<Observed<Table>, CallError>;
        fn tables(database: &Name) -> Result<Vec<Observed<Table>>, CallError>;
        fn partitions_page(
            id: &TableId, segment: Option<usize>, token: Option<String>
        ) -> Result<(Vec<Partition>, Option<String>), CallError>;
        fn partitions_by_values(
            id: &TableId, values: &[&[String]]
        ) -> Result<PartitionsByValues, CallError>;
        fn functions(
            database: Option<&Name>
        ) -> Result<Vec<(FunctionId, Observed<Function>)>, CallError>;
        fn function(id: &FunctionId) -> Result<Observed<Function>, CallError>;
        fn attachments(
            subject: &Subject, facet: Facet, columns: &[String]
        ) -> Result<Vec<ObservedAttachment>, CallError>;
        fn grants_on(filter: &GrantFilter) -> Result<Vec<ListedPermission>, CallError>;
        fn all_grants() -> Result<Vec<ListedPermission>, CallError>;
        fn opt_ins() -> Result<Vec<OptIn>, CallError>;
        fn search_by_lf_tags(
            target: LfTagPolicyTarget, expression: &LfTagExpression
        ) -> Result<Vec<LfTaggedResource>, CallError>;
        fn settings() -> Result<ObservedSettings, CallError>;
        fn unreplicated_inventory() -> UnreplicatedInventory;
        fn optimizer_count(tables: &[TableId]) -> Result<usize, CallError>;
    }
}

impl<R: WriteRegion> WriteRegion for LimitedRegion<R> {
    limited! {
        fn create_database(database: &Database) -> Result<(), CallError>;
        fn update_database(database: &Database) -> Result<(), CallError>;
        fn delete_database(name: &Name) -> Result<(), CallError>;
        fn create_table(
            database: &Name, table: &Table, indexes: &[&PartitionIndex]
        ) -> Result<(), CallError>;
        fn update_table(
            database: &Name, table: &Table, version: Option<&str>
        ) -> Result<(), CallError>;
        fn delete_table(id: &TableId) -> Result<(), CallError>;
        fn create_partitions(
            id: &TableId, partitions: &[&Partition]
        ) -> Result<EntryResults, CallError>;
        fn update_partitions(
            id: &TableId, partitions: &[&Partition]
        ) -> Result<EntryResults, CallError>;
        fn delete_partitions(
            id: &TableId, values: &[&[String]]
        ) -> Result<EntryResults, CallError>;
        fn create_function(id: &FunctionId, function: &Function) -> Result<(), CallError>;
        fn update_function(id: &FunctionId, function: &Function) -> Result<(), CallError>;
        fn delete_function(id: &FunctionId) -> Result<(), CallError>;
        fn put_attachments(
            subject: &Subject, attachments: &[&Attachment]
        ) -> Result<EntryResults, CallError>;
        fn remove_attachments(
            subject: &Subject, keys: &[&AttachmentKey]
        ) -> Result<EntryResults, CallError>;
        fn put_settings(change: &SettingsChange) -> Result<(), CallError>;
        fn grant(entries: &[&ListedPermission]) -> Result<EntryResults, CallError>;
        fn revoke(entries: &[&ListedPermission]) -> Result<EntryResults, CallError>;
    }
}
