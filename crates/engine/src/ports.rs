//! What the loop needs from outside.

mod journal;
mod lake;
mod ledger;
mod watched;

pub use journal::{Counts, Journal};
pub use lake::{DefaultsChange, GrantFilter, GrantType, SettingsChange};
pub use ledger::{Alerts, Clock, Ledger, Outbox};
pub use watched::{Letters, Peer, Replicas};

use std::collections::BTreeMap;
use twinlake_core::catalog::{OptIn, Part, PartKey, PartitionIndex, Seen, SeenPart};
use twinlake_core::grant::{Entry, TagExpression, TagTarget};
use twinlake_core::reading::{Settings, Tagged};
use twinlake_core::{
    Database, Facet, Fault, Function, FunctionId, Name, Partition, Subject, Table, TableId,
};

/// What a Region has beside the objects that are replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Kinds that are not replicated, counted.
    pub kinds: BTreeMap<String, usize>,
    /// Settings of the catalog as a whole, which are compared and not written: each
    /// by its name, as text that is equal in both Regions if they agree.
    pub settings: BTreeMap<String, String>,
}

/// Reads one Region's catalog and permissions. Listings are complete: every page
/// was read, or the call failed.
pub trait ReadRegion {
    /// The Region, as in `us-east-1`.
    fn region(&self) -> &str;

    /// How many calls this process has made to Glue and Lake Formation, repeats counted.
    fn calls(&self) -> u64 {
        0
    }

    /// `GetDatabase`.
    ///
    /// # Errors
    /// `Absent` when the service does not know the name.
    async fn database(&self, name: &Name) -> Result<Seen<Database>, Fault>;

    /// `GetDatabases`, every page.
    ///
    /// # Errors
    /// Any page failed.
    async fn databases(&self) -> Result<Vec<Seen<Database>>, Fault>;

    /// `GetTable`.
    ///
    /// # Errors
    /// `Absent` when the service does not know the name.
    async fn table(&self, id: &TableId) -> Result<Seen<Table>, Fault>;

    /// `GetTables`, every page.
    ///
    /// # Errors
    /// Any page failed; `Absent` when the database is not known.
    async fn tables(&self, database: &Name) -> Result<Vec<Seen<Table>>, Fault>;

    /// One page of `GetPartitions`: of all, or of one segment of [`SEGMENTS`]; with the
    /// token of the next page.
    ///
    /// # Errors
    /// The call failed.
    async fn partitions(
        &self,
        id: &TableId,
        segment: Option<usize>,
        token: Option<String>,
    ) -> Result<(Vec<Partition>, Option<String>), Fault>;

    /// `BatchGetPartition`, asked again for what it left unprocessed. What is not there
    /// is not in the answer.
    ///
    /// # Errors
    /// A call failed.
    async fn partitions_named(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<Vec<Partition>, Fault>;

    /// `GetUserDefinedFunctions`, every page: of one database, or of all.
    ///
    /// # Errors
    /// Any page failed; `Absent` when the database is not known.
    async fn functions(
        &self,
        database: Option<&Name>,
    ) -> Result<Vec<(FunctionId, Seen<Function>)>, Fault>;

    /// `GetUserDefinedFunction`.
    ///
    /// # Errors
    /// `Absent` when the service does not know the name.
    async fn function(&self, id: &FunctionId) -> Result<Seen<Function>, Fault>;

    /// The parts of one kind: `GetPartitionIndexes`, `GetColumnStatisticsForTable`
    /// for these columns, `GetTags`, `ListDataCellsFilter`, `GetResourceLFTags` (assigned
    /// ones only); of the lake, `ListLFTags`, `ListLFTagExpressions`, `ListResources`.
    /// Other facets have none.
    ///
    /// # Errors
    /// Any page failed.
    async fn parts(
        &self,
        subject: &Subject,
        facet: Facet,
        columns: &[String],
    ) -> Result<Vec<SeenPart>, Fault>;

    /// `ListPermissions` with a resource, every page.
    ///
    /// # Errors
    /// Any page failed.
    async fn grants_on(&self, filter: &GrantFilter) -> Result<Vec<Entry>, Fault>;

    /// `ListPermissions` without a filter, every page.
    ///
    /// # Errors
    /// Any page failed.
    async fn all_grants(&self) -> Result<Vec<Entry>, Fault>;

    /// `ListLakeFormationOptIns`, every page; never with a principal (LF-04).
    ///
    /// # Errors
    /// Any page failed.
    async fn opt_ins(&self) -> Result<Vec<OptIn>, Fault>;

    /// `SearchDatabasesByLFTags` or `SearchTablesByLFTags`, every page.
    ///
    /// # Errors
    /// Any page failed.
    async fn search(
        &self,
        target: TagTarget,
        expression: &TagExpression,
    ) -> Result<Vec<Tagged>, Fault>;

    /// `GetDataLakeSettings`.
    ///
    /// # Errors
    /// The call failed.
    async fn settings(&self) -> Result<Settings, Fault>;

    /// What there is beside the catalog's objects. What cannot be told is left out.
    async fn survey(&self) -> Survey;

    /// How many optimizers these tables have (`BatchGetTableOptimizer`).
    ///
    /// # Errors
    /// A call failed.
    async fn optimizers(&self, tables: &[TableId]) -> Result<usize, Fault>;
}

/// What came of each entry of a batch call, in the order of the entries. A batch
/// call that succeeds says nothing of its entries (LF-13).
pub type EntryResults = Vec<Result<(), Fault>>;

/// Writes one Region's catalog and permissions.
pub trait WriteRegion: ReadRegion {
    /// `CreateDatabase`.
    ///
    /// # Errors
    /// `AlreadyDone` when the name is taken, by whatever.
    async fn create_database(&self, database: &Database) -> Result<(), Fault>;

    /// `UpdateDatabase`; replaces the whole input.
    ///
    /// # Errors
    /// The call failed.
    async fn update_database(&self, database: &Database) -> Result<(), Fault>;

    /// `DeleteDatabase`.
    ///
    /// # Errors
    /// `Absent` when it is gone already.
    async fn delete_database(&self, name: &Name) -> Result<(), Fault>;

    /// `CreateTable`, with up to [`INDEXES_AT_CREATION`] partition indexes.
    ///
    /// # Errors
    /// `AlreadyDone` when the name is taken, by whatever.
    async fn create_table(
        &self,
        database: &Name,
        table: &Table,
        indexes: &[&PartitionIndex],
    ) -> Result<(), Fault>;

    /// `UpdateTable` with `SkipArchive`; replaces the whole input.
    ///
    /// # Errors
    /// `Busy` when the version is no longer the one that was read.
    async fn update_table(
        &self,
        database: &Name,
        table: &Table,
        version: Option<&str>,
    ) -> Result<(), Fault>;

    /// `DeleteTable`.
    ///
    /// # Errors
    /// `Absent` when it is gone already.
    async fn delete_table(&self, id: &TableId) -> Result<(), Fault>;

    /// `BatchCreatePartition`, at most [`CREATE_BATCH`] at a time.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn create_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, Fault>;

    /// `BatchUpdatePartition`, at most [`UPDATE_BATCH`] at a time.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn update_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, Fault>;

    /// `BatchDeletePartition`, at most [`DELETE_BATCH`] at a time.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn delete_partitions(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<EntryResults, Fault>;

    /// `CreateUserDefinedFunction`.
    ///
    /// # Errors
    /// `AlreadyDone` when the name is taken, by whatever.
    async fn create_function(&self, id: &FunctionId, function: &Function) -> Result<(), Fault>;

    /// `UpdateUserDefinedFunction`; replaces the whole input.
    ///
    /// # Errors
    /// The call failed.
    async fn update_function(&self, id: &FunctionId, function: &Function) -> Result<(), Fault>;

    /// `DeleteUserDefinedFunction`.
    ///
    /// # Errors
    /// `Absent` when it is gone already.
    async fn delete_function(&self, id: &FunctionId) -> Result<(), Fault>;

    /// Makes or replaces parts of one kind, at most [`STATISTICS_BATCH`] at a time.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn put_parts(&self, subject: &Subject, parts: &[&Part]) -> Result<EntryResults, Fault>;

    /// Takes parts of one kind away.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn remove_parts(
        &self,
        subject: &Subject,
        keys: &[&PartKey],
    ) -> Result<EntryResults, Fault>;

    /// `PutDataLakeSettings`: reads, changes, writes and reads back. There is no lock
    ///
    ///
    /// # Errors
    /// A call failed, or `Busy` where what is read back is not what was written.
    async fn put_settings(&self, change: &SettingsChange) -> Result<(), Fault>;

    /// `BatchGrantPermissions`, at most [`GRANT_BATCH`] at a time.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn grant(&self, entries: &[&Entry]) -> Result<EntryResults, Fault>;

    /// `BatchRevokePermissions`, at most [`GRANT_BATCH`] at a time.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn revoke(&self, entries: &[&Entry]) -> Result<EntryResults, Fault>;
}

/// Segments that a table's partitions are listed in, side by side (Glue's limit).
pub const SEGMENTS: usize = 10;
/// Entries of a `BatchGetPartition` call (Glue's limit).
pub const GET_BATCH: usize = 1000;
/// Entries of a `BatchCreatePartition` call (Glue's limit).
pub const CREATE_BATCH: usize = 100;
/// Entries of a `BatchUpdatePartition` call (Glue's limit).
pub const UPDATE_BATCH: usize = 100;
/// Entries of a `BatchDeletePartition` call (Glue's limit).
pub const DELETE_BATCH: usize = 25;
/// Entries of an `UpdateColumnStatisticsForTable` call (Glue's limit).
pub const STATISTICS_BATCH: usize = 25;
/// Values of an LF-Tag, or LF-Tags of a resource, in one call (LF-25).
pub const TAG_BATCH: usize = 50;
/// Partition indexes that a `CreateTable` takes (GL-06).
pub const INDEXES_AT_CREATION: usize = 3;
/// Entries of a `BatchGrantPermissions` or `BatchRevokePermissions` call (the
/// limit stands in the API reference only).
pub const GRANT_BATCH: usize = 20;
