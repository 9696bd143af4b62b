//! A Region to which a process writes only while it holds the lease of its [`WriteFence`].

use crate::ports::{
    Clock, EntryResults, GrantFilter, PartitionsByValues, ReadRegion, SettingsChange,
    UnreplicatedInventory, WriteRegion,
};
use crate::write_fence::{EpochSource, WriteFence};
use std::sync::Arc;
use twinlake_core::catalog::{
    Attachment, AttachmentKey, Observed, ObservedAttachment, OptIn, PartitionIndex,
};
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget, ListedPermission};
use twinlake_core::snapshot::{LfTaggedResource, ObservedSettings};
use twinlake_core::{
    CallError, Database, Facet, Function, FunctionId, Name, Partition, Subject, Table, TableId,
};

/// A Region whose calls that write ask a fence first. Reads ask nobody.
#[derive(Debug)]
pub struct FencedRegion<R, L, C> {
    region: R,
    fence: Option<Arc<WriteFence<L, C>>>,
}

impl<R, L, C> FencedRegion<R, L, C> {
    /// Puts a fence before the writes to a Region. `None` is for a Region that no function writes to,
    /// because its ledger is kept in a file.
    #[must_use]
    pub const fn new(region: R, fence: Option<Arc<WriteFence<L, C>>>) -> Self {
        Self { region, fence }
    }
}

macro_rules! delegated {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        async fn $name(&self, $($argument: $type),*) -> $result {
            self.region.$name($($argument),*).await
        }
    )*};
}

macro_rules! fenced {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        async fn $name(&self, $($argument: $type),*) -> $result {
            if let Some(fence) = &self.fence {
                fence.check(self.region.region()).await?;
            }
            self.region.$name($($argument),*).await
        }
    )*};
}

impl<R: ReadRegion, L: EpochSource, C: Clock> ReadRegion for FencedRegion<R, L, C> {
    fn region(&self) -> &str {
        self.region.region()
    }

    fn call_count(&self) -> u64 {
        self.region.call_count()
    }

    delegated! {
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

impl<R: WriteRegion, L: EpochSource, C: Clock> WriteRegion for FencedRegion<R, L, C> {
    fenced! {
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
