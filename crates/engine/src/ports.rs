//! Traits for everything outside the engine: Regions, ledger, queues, alerts, clock. The AWS
//! adapters and the simulator implement them.

mod canaries;
mod clock;
mod iam;
mod infrastructure;
mod lakeformation;
mod ledger;
mod messaging;
mod monitoring;
mod objects;
mod page_tokens;
mod query;
pub(crate) mod region_calls;
mod stats;
mod warehouses;

pub use canaries::CanaryBuckets;
pub use clock::Clock;
pub use iam::ReadIam;
pub use infrastructure::ReadInfrastructure;
pub use lakeformation::{
    DefaultPermissionsChange, GrantFilter, PermissionResourceType, SettingsChange,
};
pub use ledger::{
    ConditionalWrites, DocumentStore, Ledger, next_version, next_version_of_permanent_item,
};
pub use messaging::{AddressParameter, AlertTopic, RetryQueue};
pub use monitoring::{DeadLetterQueues, EventBus, StandbyObjects};
pub use objects::{ObjectVersions, TableFiles, VersionMarker, VersionsPage};
pub use page_tokens::PageTokens;
pub use query::{ReadQueryRegion, WakeTools, WriteQueryRegion, external_schema_call};
pub use stats::{StatCounters, StatsStore};
pub use warehouses::{ReadWarehouses, StatementDescription, StatementStatus, WriteWarehouses};

use std::collections::BTreeMap;
use twinlake_core::catalog::{
    Attachment, AttachmentKey, Observed, ObservedAttachment, OptIn, PartitionIndex,
};
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget, ListedPermission};
use twinlake_core::snapshot::{LfTaggedResource, ObservedSettings};
use twinlake_core::{
    CallError, Database, Facet, Function, FunctionId, Name, Partition, Subject, Table, TableId,
};

/// Everything outside the engine that a reconciliation uses: AWS, or the simulator.
pub trait Environment {
    /// The primary Region.
    type Primary: ReadRegion;
    /// The standby Region. Functions that write require [`WriteRegion`] as well.
    type Standby: ReadRegion;
    /// The standby's ledger.
    type Ledger: Ledger + StatsStore;
    /// The clock.
    type Clock: Clock;
}

/// What a Region holds that Twinlake does not replicate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreplicatedInventory {
    /// Number of objects of each kind that is not replicated.
    pub kinds: BTreeMap<String, usize>,
    /// Catalog-wide settings that are compared but never written, by name. The text is equal
    /// in both Regions if the settings agree.
    pub settings: BTreeMap<String, String>,
    /// The kinds and settings that could not be read, with the errors.
    pub unread: BTreeMap<String, String>,
}

/// Partitions that were read by their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionsByValues {
    /// The partitions that exist.
    pub found: Vec<Partition>,
    /// The values of the partitions of which it is not known whether they exist, with the error of
    /// the read.
    pub unread: BTreeMap<Vec<String>, CallError>,
}

/// Reads one Region's catalog and permissions. Listings are complete: either every page was
/// read, or the call fails. No entry is left out because of its name: names are taken over by
/// [`Name::from_service`], which refuses none.
pub trait ReadRegion {
    /// The Region, as in `us-east-1`.
    fn region(&self) -> &str;

    /// Number of calls that this process has made to Glue and Lake Formation, retries included.
    fn call_count(&self) -> u64 {
        0
    }

    /// `GetDatabase`.
    ///
    /// # Errors
    /// `NotFound` if the service does not know the name.
    async fn database(&self, name: &Name) -> Result<Observed<Database>, CallError>;

    /// `GetDatabases`, every page.
    ///
    /// # Errors
    /// Any page failed.
    async fn databases(&self) -> Result<Vec<Observed<Database>>, CallError>;

    /// `GetTable`.
    ///
    /// # Errors
    /// `NotFound` if the service does not know the name.
    async fn table(&self, id: &TableId) -> Result<Observed<Table>, CallError>;

    /// `GetTables`, every page.
    ///
    /// # Errors
    /// Any page failed; `NotFound` if the service does not know the database.
    async fn tables(&self, database: &Name) -> Result<Vec<Observed<Table>>, CallError>;

    /// One page of `GetPartitions` with the token of the next page, for [`PageTokens`]: of all partitions, or of
    /// one of [`PARTITION_SEGMENTS`] segments.
    ///
    /// # Errors
    /// The call failed.
    async fn partitions_page(
        &self,
        id: &TableId,
        segment: Option<usize>,
        token: Option<String>,
    ) -> Result<(Vec<Partition>, Option<String>), CallError>;

    /// `BatchGetPartition`, and `GetPartition` for keys that it leaves unprocessed. Partitions that
    /// do not exist are missing from the result.
    ///
    /// # Errors
    /// A batch call failed.
    async fn partitions_by_values(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<PartitionsByValues, CallError>;

    /// `GetUserDefinedFunctions`, every page: of one database, or of all databases.
    ///
    /// # Errors
    /// Any page failed; `NotFound` if the service does not know the database; `Unsupported` if the
    /// listing of all databases does not say which database a function is in.
    async fn functions(
        &self,
        database: Option<&Name>,
    ) -> Result<Vec<(FunctionId, Observed<Function>)>, CallError>;

    /// `GetUserDefinedFunction`.
    ///
    /// # Errors
    /// `NotFound` if the service does not know the name.
    async fn function(&self, id: &FunctionId) -> Result<Observed<Function>, CallError>;

    /// The attachments of one kind, by facet: `GetPartitionIndexes`,
    /// `GetColumnStatisticsForTable` for these columns, `GetTags`, `ListDataCellsFilter`,
    /// `GetResourceLFTags` (assigned LF-Tags only); for a Lake Formation subject `ListLFTags`,
    /// `ListLFTagExpressions`, `ListResources`. Other facets have no attachments.
    ///
    /// # Errors
    /// Any page failed.
    async fn attachments(
        &self,
        subject: &Subject,
        facet: Facet,
        columns: &[String],
    ) -> Result<Vec<ObservedAttachment>, CallError>;

    /// `ListPermissions`, every page: with a resource, with a resource type, or without both. `receive` is called with
    /// the entries of each page as it comes: a Region may have a million.
    ///
    /// # Errors
    /// Any page failed. What was received before is not complete.
    async fn list_grants(
        &self,
        filter: Option<&GrantFilter>,
        receive: &mut dyn FnMut(Vec<ListedPermission>),
    ) -> Result<(), CallError>;

    /// The entries of all pages of `ListPermissions` with a filter.
    ///
    /// # Errors
    /// Any page failed.
    async fn grants_on(&self, filter: &GrantFilter) -> Result<Vec<ListedPermission>, CallError> {
        let mut all = Vec::new();
        let mut receive = |page| all.extend::<Vec<ListedPermission>>(page);
        self.list_grants(Some(filter), &mut receive).await?;
        Ok(all)
    }

    /// The entries of all pages of `ListPermissions` without a filter.
    ///
    /// # Errors
    /// Any page failed.
    async fn all_grants(&self) -> Result<Vec<ListedPermission>, CallError> {
        let mut all = Vec::new();
        let mut receive = |page| all.extend::<Vec<ListedPermission>>(page);
        self.list_grants(None, &mut receive).await?;
        Ok(all)
    }

    /// `ListLakeFormationOptIns`, every page; never filtered by principal (LF-04).
    ///
    /// # Errors
    /// Any page failed.
    async fn opt_ins(&self) -> Result<Vec<OptIn>, CallError>;

    /// `SearchDatabasesByLFTags` or `SearchTablesByLFTags`, every page.
    ///
    /// # Errors
    /// Any page failed.
    async fn search_by_lf_tags(
        &self,
        target: LfTagPolicyTarget,
        expression: &LfTagExpression,
    ) -> Result<Vec<LfTaggedResource>, CallError>;

    /// `GetDataLakeSettings`.
    ///
    /// # Errors
    /// The call failed.
    async fn settings(&self) -> Result<ObservedSettings, CallError>;

    /// Counts what Twinlake does not replicate.
    async fn unreplicated_inventory(&self) -> UnreplicatedInventory;

    /// Number of table optimizers of these tables (`BatchGetTableOptimizer`).
    ///
    /// # Errors
    /// A call failed.
    async fn optimizer_count(&self, tables: &[TableId]) -> Result<usize, CallError>;
}

/// The result of each entry of a batch call, in the order of the entries. Single entries can
/// fail although the batch call succeeds (LF-13).
pub type EntryResults = Vec<Result<(), CallError>>;

/// Writes one Region's catalog and permissions.
pub trait WriteRegion: ReadRegion {
    /// `CreateDatabase`.
    ///
    /// # Errors
    /// `AlreadyInState` if an object with this name exists, whether equal or not.
    async fn create_database(&self, database: &Database) -> Result<(), CallError>;

    /// `UpdateDatabase`; replaces the whole input.
    ///
    /// # Errors
    /// The call failed.
    async fn update_database(&self, database: &Database) -> Result<(), CallError>;

    /// `DeleteDatabase`.
    ///
    /// # Errors
    /// `NotFound` if it does not exist.
    async fn delete_database(&self, name: &Name) -> Result<(), CallError>;

    /// `CreateTable`, with up to [`MAX_INDEXES_PER_CREATE_TABLE`] partition indexes.
    ///
    /// # Errors
    /// `AlreadyInState` if an object with this name exists, whether equal or not.
    async fn create_table(
        &self,
        database: &Name,
        table: &Table,
        indexes: &[&PartitionIndex],
    ) -> Result<(), CallError>;

    /// `UpdateTable` with `SkipArchive`; replaces the whole input.
    ///
    /// # Errors
    /// `Contended` if the table's version is no longer `version`.
    async fn update_table(
        &self,
        database: &Name,
        table: &Table,
        version: Option<&str>,
    ) -> Result<(), CallError>;

    /// `DeleteTable`.
    ///
    /// # Errors
    /// `NotFound` if it does not exist.
    async fn delete_table(&self, id: &TableId) -> Result<(), CallError>;

    /// `BatchCreatePartition`, at most [`MAX_PARTITIONS_PER_CREATE`] at a time.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn create_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, CallError>;

    /// `BatchUpdatePartition`, at most [`MAX_PARTITIONS_PER_UPDATE`] at a time.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn update_partitions(
        &self,
        id: &TableId,
        partitions: &[&Partition],
    ) -> Result<EntryResults, CallError>;

    /// `BatchDeletePartition`, at most [`MAX_PARTITIONS_PER_DELETE`] at a time.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn delete_partitions(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<EntryResults, CallError>;

    /// `CreateUserDefinedFunction`.
    ///
    /// # Errors
    /// `AlreadyInState` if an object with this name exists, whether equal or not.
    async fn create_function(&self, id: &FunctionId, function: &Function) -> Result<(), CallError>;

    /// `UpdateUserDefinedFunction`; replaces the whole input.
    ///
    /// # Errors
    /// The call failed.
    async fn update_function(&self, id: &FunctionId, function: &Function) -> Result<(), CallError>;

    /// `DeleteUserDefinedFunction`.
    ///
    /// # Errors
    /// `NotFound` if it does not exist.
    async fn delete_function(&self, id: &FunctionId) -> Result<(), CallError>;

    /// Creates or replaces attachments of a subject; of column statistics at most
    /// [`MAX_STATISTICS_PER_UPDATE`] at a time. Without `may_replace`, a registration or a named expression that exists
    /// and differs is left as it is: it was made since the plan read that there was none, so it is somebody's.
    ///
    /// # Errors
    /// The call as a whole failed. `Contended` for an attachment that was left as it is.
    async fn put_attachments(
        &self,
        subject: &Subject,
        attachments: &[&Attachment],
        may_replace: bool,
    ) -> Result<EntryResults, CallError>;

    /// Removes attachments of one kind.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn remove_attachments(
        &self,
        subject: &Subject,
        keys: &[&AttachmentKey],
    ) -> Result<EntryResults, CallError>;

    /// `PutDataLakeSettings`: reads the settings, applies the change, writes them and reads
    /// them back. AWS offers no conditional write.
    ///
    /// # Errors
    /// A call failed; `Contended` if the settings read back differ from those written.
    async fn put_settings(&self, change: &SettingsChange) -> Result<(), CallError>;

    /// `BatchGrantPermissions`, at most [`MAX_PERMISSIONS_PER_BATCH`] at a time.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn grant(&self, entries: &[&ListedPermission]) -> Result<EntryResults, CallError>;

    /// `BatchRevokePermissions`, at most [`MAX_PERMISSIONS_PER_BATCH`] at a time.
    ///
    /// # Errors
    /// The call as a whole failed.
    async fn revoke(&self, entries: &[&ListedPermission]) -> Result<EntryResults, CallError>;
}

/// Segments that `GetPartitions` can read in parallel (Glue's limit).
pub const PARTITION_SEGMENTS: usize = 10;
/// Entries of a `BatchGetPartition` call (Glue's limit).
pub const MAX_PARTITIONS_PER_GET: usize = 1000;
/// Entries of a `BatchCreatePartition` call (Glue's limit).
pub const MAX_PARTITIONS_PER_CREATE: usize = 100;
/// Entries of a `BatchUpdatePartition` call (Glue's limit).
pub const MAX_PARTITIONS_PER_UPDATE: usize = 100;
/// Entries of a `BatchDeletePartition` call (Glue's limit).
pub const MAX_PARTITIONS_PER_DELETE: usize = 25;
/// Entries of an `UpdateColumnStatisticsForTable` call (Glue's limit).
pub const MAX_STATISTICS_PER_UPDATE: usize = 25;
/// Values of an LF-Tag, or LF-Tags of a resource, in one call (LF-25).
pub const MAX_LF_TAGS_PER_CALL: usize = 50;
/// Partition indexes in one `CreateTable` call (GL-06).
pub const MAX_INDEXES_PER_CREATE_TABLE: usize = 3;
/// Entries of a `BatchGrantPermissions` or `BatchRevokePermissions` call (documented in the
/// API reference only).
pub const MAX_PERMISSIONS_PER_BATCH: usize = 20;
