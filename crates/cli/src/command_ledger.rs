//! The ledger of a command: the deployed one, one in a file, or none.

use crate::file_ledger::FileLedger;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use twinlake_aws::{DynamoLedger, SharedCeiling, SystemClock};
use twinlake_core::canary::CanaryState;
use twinlake_core::failover::EpochRecord;
use twinlake_core::heartbeat::{Channel, ChannelHealth, Heartbeat, LagSample};
use twinlake_core::ledger::{
    DeletionLog, LedgerRows, LfTagLease, ObjectCounts, PendingObjects, ResyncRun, ScanSchedule,
    ScanTarget, VerifiedRun,
};
use twinlake_core::readiness::ReadinessRecord;
use twinlake_core::topology::{Epoch, RegionRole};
use twinlake_core::{
    CallError, Incident, LedgerRow, LfSubject, Name, Subject, SubjectState, TableId, Timestamp,
};
use twinlake_engine::ports::{ConditionalWrites, DocumentStore, StatCounters};
use twinlake_engine::write_fence::{WriteFence, WriterRole};
use twinlake_engine::{InMemoryLedger, Ledger, StatsStore};

/// The ledger of a command.
#[derive(Debug)]
pub(crate) struct CommandLedger {
    store: Store,
    /// The deployed ledger of the primary.
    primary: Option<DynamoLedger>,
}

/// The fence before the writes of a command.
pub(crate) type CommandFence = WriteFence<DynamoLedger, SystemClock>;

#[derive(Debug)]
enum Store {
    Deployed(DynamoLedger),
    InFile(Box<FileLedger>),
    InMemory(Box<InMemoryLedger>),
}

/// Makes a call to the ledger, whichever it is.
macro_rules! each_store {
    ($self:ident, $ledger:ident => $call:expr) => {
        match &$self.store {
            Store::Deployed($ledger) => $call,
            Store::InFile($ledger) => $call,
            Store::InMemory($ledger) => $call,
        }
    };
}

impl CommandLedger {
    /// The ledger that is deployed in the standby, and that of the primary.
    pub(crate) fn deployed(ledger: DynamoLedger, primary: DynamoLedger) -> Self {
        Self {
            store: Store::Deployed(ledger),
            primary: Some(primary),
        }
    }

    /// The fence before writes to the standby, which the role of the standby by the deployed ledgers opens;
    /// `None` if no ledger is deployed.
    pub(crate) fn write_fence(&self, epoch: Epoch) -> Option<Arc<CommandFence>> {
        let Store::Deployed(ledger) = &self.store else {
            return None;
        };
        let fence = WriteFence::new(ledger.clone(), self.primary.clone(), SystemClock);
        let writer = WriterRole {
            site: epoch.standby(),
            epoch,
            role: RegionRole::Standby,
        };
        fence.allow(writer, None);
        Some(Arc::new(fence))
    }

    /// A ledger in a file.
    pub(crate) fn in_file(ledger: FileLedger) -> Self {
        Self {
            store: Store::InFile(Box::new(ledger)),
            primary: None,
        }
    }

    /// No ledger: objects that are equal in both Regions count as paired, and nothing is kept.
    pub(crate) fn none() -> Self {
        Self {
            store: Store::InMemory(Box::default()),
            primary: None,
        }
    }

    /// What the command shares a ceiling of calls through with the functions, if they are deployed.
    pub(crate) fn shared_ceiling(&self) -> Option<Arc<dyn SharedCeiling>> {
        match &self.store {
            Store::Deployed(ledger) => Some(Arc::new(ledger.clone())),
            Store::InFile(_) | Store::InMemory(_) => None,
        }
    }

    /// Whether it is deployed. Then the monitor function measures the lag.
    pub(crate) fn is_deployed(&self) -> bool {
        matches!(self.store, Store::Deployed(_))
    }
}

impl ConditionalWrites for CommandLedger {
    async fn wait_after_conflict(&self, attempt: u32) {
        each_store!(self, ledger => ledger.wait_after_conflict(attempt).await);
    }
}

impl DocumentStore for CommandLedger {
    async fn documents(&self, family: &str) -> Result<BTreeMap<String, (String, u64)>, CallError> {
        each_store!(self, ledger => ledger.documents(family).await)
    }

    async fn document(&self, family: &str, id: &str) -> Result<Option<(String, u64)>, CallError> {
        each_store!(self, ledger => ledger.document(family, id).await)
    }

    async fn put_document(
        &self,
        family: &str,
        id: &str,
        document: Option<&str>,
        expected: Option<u64>,
    ) -> Result<bool, CallError> {
        each_store!(self, ledger => ledger.put_document(family, id, document, expected).await)
    }
}

impl Ledger for CommandLedger {
    async fn epoch(&self) -> Result<Epoch, CallError> {
        each_store!(self, ledger => ledger.epoch().await)
    }

    async fn epoch_record(&self) -> Result<Option<(EpochRecord, u64)>, CallError> {
        each_store!(self, ledger => ledger.epoch_record().await)
    }

    async fn put_epoch_record(
        &self,
        record: &EpochRecord,
        expected: Option<u64>,
    ) -> Result<bool, CallError> {
        each_store!(self, ledger => ledger.put_epoch_record(record, expected).await)
    }

    async fn policy(&self) -> Result<Option<String>, CallError> {
        each_store!(self, ledger => ledger.policy().await)
    }

    async fn put_policy(&self, text: &str) -> Result<(), CallError> {
        each_store!(self, ledger => ledger.put_policy(text).await)
    }

    async fn operation_document(&self) -> Result<Option<String>, CallError> {
        each_store!(self, ledger => ledger.operation_document().await)
    }

    async fn put_operation_document(&self, text: &str) -> Result<(), CallError> {
        each_store!(self, ledger => ledger.put_operation_document(text).await)
    }

    async fn rows(&self, subjects: &BTreeSet<Subject>) -> Result<LedgerRows, CallError> {
        each_store!(self, ledger => ledger.rows(subjects).await)
    }

    async fn database_rows(&self) -> Result<LedgerRows, CallError> {
        each_store!(self, ledger => ledger.database_rows().await)
    }

    async fn rows_in_database(&self, database: &Name) -> Result<LedgerRows, CallError> {
        each_store!(self, ledger => ledger.rows_in_database(database).await)
    }

    async fn put_managed_keys(
        &self,
        subject: LfSubject,
        keys: &BTreeSet<String>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        each_store!(self, ledger => ledger.put_managed_keys(subject, keys, expected_version).await)
    }

    async fn put_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        each_store!(self, ledger => ledger.put_rows(rows).await)
    }

    async fn delete_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        each_store!(self, ledger => ledger.delete_rows(rows).await)
    }

    async fn paired_counts(&self) -> Result<ObjectCounts, CallError> {
        each_store!(self, ledger => ledger.paired_counts().await)
    }

    async fn put_paired_counts(&self, counts: &ObjectCounts) -> Result<(), CallError> {
        each_store!(self, ledger => ledger.put_paired_counts(counts).await)
    }

    async fn lf_tag_lease(&self) -> Result<Option<(LfTagLease, u64)>, CallError> {
        each_store!(self, ledger => ledger.lf_tag_lease().await)
    }

    async fn put_lf_tag_lease(
        &self,
        lease: &LfTagLease,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        each_store!(self, ledger => ledger.put_lf_tag_lease(lease, expected_version).await)
    }

    async fn deletion_log(&self) -> Result<Option<(DeletionLog, u64)>, CallError> {
        each_store!(self, ledger => ledger.deletion_log().await)
    }

    async fn put_deletion_log(
        &self,
        log: &DeletionLog,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        each_store!(self, ledger => ledger.put_deletion_log(log, expected_version).await)
    }

    async fn begin_resync_run(&self, run: &ResyncRun) -> Result<(), CallError> {
        each_store!(self, ledger => ledger.begin_resync_run(run).await)
    }

    async fn add_run_part(&self, run: &str, part: &str) -> Result<(), CallError> {
        each_store!(self, ledger => ledger.add_run_part(run, part).await)
    }

    async fn end_run_part(
        &self,
        run: &str,
        part: &str,
        unread: bool,
    ) -> Result<Option<ResyncRun>, CallError> {
        each_store!(self, ledger => ledger.end_run_part(run, part, unread).await)
    }

    async fn verified_run(&self) -> Result<Option<VerifiedRun>, CallError> {
        each_store!(self, ledger => ledger.verified_run().await)
    }

    async fn forget_verified_policy(&self) -> Result<(), CallError> {
        each_store!(self, ledger => ledger.forget_verified_policy().await)
    }

    async fn put_verified_run(&self, run: &VerifiedRun, now: Timestamp) -> Result<(), CallError> {
        each_store!(self, ledger => ledger.put_verified_run(run, now).await)
    }

    async fn scan_schedule(&self, target: &ScanTarget) -> Result<ScanSchedule, CallError> {
        each_store!(self, ledger => ledger.scan_schedule(target).await)
    }

    async fn put_scan_schedule(
        &self,
        target: &ScanTarget,
        current: ScanSchedule,
        updated: ScanSchedule,
    ) -> Result<bool, CallError> {
        each_store!(self, ledger => ledger.put_scan_schedule(target, current, updated).await)
    }

    async fn incident(&self, key: &str) -> Result<Option<(Incident, u64)>, CallError> {
        each_store!(self, ledger => ledger.incident(key).await)
    }

    async fn incidents(&self) -> Result<BTreeMap<String, (Incident, u64)>, CallError> {
        each_store!(self, ledger => ledger.incidents().await)
    }

    async fn unreadable_incidents(&self) -> Result<BTreeMap<String, String>, CallError> {
        each_store!(self, ledger => ledger.unreadable_incidents().await)
    }

    async fn put_incident(
        &self,
        key: &str,
        incident: Option<&Incident>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        each_store!(self, ledger => ledger.put_incident(key, incident, expected_version).await)
    }
}

impl StatsStore for CommandLedger {
    async fn channel_health(
        &self,
        channel: Channel,
        now: Timestamp,
    ) -> Result<ChannelHealth, CallError> {
        each_store!(self, ledger => ledger.channel_health(channel, now).await)
    }

    async fn record_heartbeat(
        &self,
        channel: Channel,
        heartbeat: Heartbeat,
    ) -> Result<(), CallError> {
        each_store!(self, ledger => ledger.record_heartbeat(channel, heartbeat).await)
    }

    async fn canaries(&self) -> Result<Option<CanaryState>, CallError> {
        each_store!(self, ledger => ledger.canaries().await)
    }

    async fn put_canaries(&self, state: &CanaryState) -> Result<(), CallError> {
        each_store!(self, ledger => ledger.put_canaries(state).await)
    }

    async fn put_lag_sample(&self, sample: &LagSample) -> Result<(), CallError> {
        each_store!(self, ledger => ledger.put_lag_sample(sample).await)
    }

    async fn lag_samples(&self, since: Timestamp) -> Result<Vec<LagSample>, CallError> {
        each_store!(self, ledger => ledger.lag_samples(since).await)
    }

    async fn reserved_calls(
        &self,
        region: &str,
        since: Timestamp,
    ) -> Result<BTreeMap<Timestamp, u32>, CallError> {
        each_store!(self, ledger => ledger.reserved_calls(region, since).await)
    }

    async fn rows_not_in_sync(&self) -> Result<LedgerRows, CallError> {
        each_store!(self, ledger => ledger.rows_not_in_sync().await)
    }

    async fn state_counts(&self) -> Result<BTreeMap<SubjectState, usize>, CallError> {
        each_store!(self, ledger => ledger.state_counts().await)
    }

    async fn add_counters(&self, at: Timestamp, counters: &StatCounters) -> Result<(), CallError> {
        each_store!(self, ledger => ledger.add_counters(at, counters).await)
    }

    async fn counters_since(&self, since: Timestamp) -> Result<StatCounters, CallError> {
        each_store!(self, ledger => ledger.counters_since(since).await)
    }

    async fn readiness(&self) -> Result<Option<(ReadinessRecord, u64)>, CallError> {
        each_store!(self, ledger => ledger.readiness().await)
    }

    async fn put_readiness(
        &self,
        record: &ReadinessRecord,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        each_store!(self, ledger => ledger.put_readiness(record, expected_version).await)
    }

    async fn all_pending_objects(
        &self,
    ) -> Result<BTreeMap<TableId, (PendingObjects, u64)>, CallError> {
        each_store!(self, ledger => ledger.all_pending_objects().await)
    }

    async fn pending_objects(
        &self,
        table: &TableId,
    ) -> Result<Option<(PendingObjects, u64)>, CallError> {
        each_store!(self, ledger => ledger.pending_objects(table).await)
    }

    async fn put_pending_objects(
        &self,
        table: &TableId,
        pending: Option<&PendingObjects>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        each_store!(self, ledger => ledger.put_pending_objects(table, pending, expected_version).await)
    }

    async fn relocation_memory(&self, table: &TableId) -> Result<Option<(String, u64)>, CallError> {
        each_store!(self, ledger => ledger.relocation_memory(table).await)
    }

    async fn put_relocation_memory(
        &self,
        table: &TableId,
        memory: &str,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        each_store!(self, ledger => ledger.put_relocation_memory(table, memory, expected_version).await)
    }

    async fn tables_at_location(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<TableId>, CallError> {
        each_store!(self, ledger => ledger.tables_at_location(bucket, prefix).await)
    }
}
