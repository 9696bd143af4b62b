//! The ledger of a command: the deployed one, one in a file, or none.

use crate::CliError;
use crate::files::write_json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
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
    /// The file of an in-memory ledger.
    file: Option<PathBuf>,
    /// The deployed ledger of the primary.
    primary: Option<DynamoLedger>,
}

/// The fence before the writes of a command.
pub(crate) type CommandFence = WriteFence<DynamoLedger, SystemClock>;

#[derive(Debug)]
enum Store {
    Deployed(DynamoLedger),
    InMemory(Box<InMemoryLedger>),
}

impl CommandLedger {
    /// The ledger that is deployed in the standby, and that of the primary.
    pub(crate) fn deployed(ledger: DynamoLedger, primary: DynamoLedger) -> Self {
        Self {
            store: Store::Deployed(ledger),
            file: None,
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
    pub(crate) fn in_file(file: PathBuf, ledger: InMemoryLedger) -> Self {
        let store = Store::InMemory(Box::new(ledger));
        let file = Some(file);
        let primary = None;
        Self {
            store,
            file,
            primary,
        }
    }

    /// No ledger: objects that are equal in both Regions count as paired, and nothing is kept.
    pub(crate) fn none() -> Self {
        Self {
            store: Store::InMemory(Box::default()),
            file: None,
            primary: None,
        }
    }

    /// What the command shares a ceiling of calls through with the functions, if they are deployed.
    pub(crate) fn shared_ceiling(&self) -> Option<Arc<dyn SharedCeiling>> {
        match &self.store {
            Store::Deployed(ledger) => Some(Arc::new(ledger.clone())),
            Store::InMemory(_) => None,
        }
    }

    /// Whether it is deployed. Then the monitor function measures the lag.
    pub(crate) fn is_deployed(&self) -> bool {
        matches!(self.store, Store::Deployed(_))
    }

    /// Writes the ledger to its file, if it is one in a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self) -> Result<(), CliError> {
        match (&self.store, &self.file) {
            (Store::InMemory(ledger), Some(file)) => write_json(file, &ledger.contents()),
            (Store::InMemory(_), None) | (Store::Deployed(_), _) => Ok(()),
        }
    }
}

impl ConditionalWrites for CommandLedger {
    async fn wait_after_conflict(&self, attempt: u32) {
        match &self.store {
            Store::Deployed(ledger) => ledger.wait_after_conflict(attempt).await,
            Store::InMemory(ledger) => ledger.wait_after_conflict(attempt).await,
        }
    }
}

impl DocumentStore for CommandLedger {
    async fn documents(&self, family: &str) -> Result<BTreeMap<String, (String, u64)>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.documents(family).await,
            Store::InMemory(ledger) => ledger.documents(family).await,
        }
    }

    async fn document(&self, family: &str, id: &str) -> Result<Option<(String, u64)>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.document(family, id).await,
            Store::InMemory(ledger) => ledger.document(family, id).await,
        }
    }

    async fn put_document(
        &self,
        family: &str,
        id: &str,
        document: Option<&str>,
        expected: Option<u64>,
    ) -> Result<bool, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_document(family, id, document, expected).await,
            Store::InMemory(ledger) => ledger.put_document(family, id, document, expected).await,
        }
    }
}

impl Ledger for CommandLedger {
    async fn epoch(&self) -> Result<Epoch, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.epoch().await,
            Store::InMemory(ledger) => ledger.epoch().await,
        }
    }

    async fn epoch_record(&self) -> Result<Option<(EpochRecord, u64)>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.epoch_record().await,
            Store::InMemory(ledger) => ledger.epoch_record().await,
        }
    }

    async fn put_epoch_record(
        &self,
        record: &EpochRecord,
        expected: Option<u64>,
    ) -> Result<bool, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_epoch_record(record, expected).await,
            Store::InMemory(ledger) => ledger.put_epoch_record(record, expected).await,
        }
    }

    async fn policy(&self) -> Result<Option<String>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.policy().await,
            Store::InMemory(ledger) => ledger.policy().await,
        }
    }

    async fn put_policy(&self, text: &str) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_policy(text).await,
            Store::InMemory(ledger) => ledger.put_policy(text).await,
        }
    }

    async fn operation_document(&self) -> Result<Option<String>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.operation_document().await,
            Store::InMemory(ledger) => ledger.operation_document().await,
        }
    }

    async fn put_operation_document(&self, text: &str) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_operation_document(text).await,
            Store::InMemory(ledger) => ledger.put_operation_document(text).await,
        }
    }

    async fn rows(&self, subjects: &BTreeSet<Subject>) -> Result<LedgerRows, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.rows(subjects).await,
            Store::InMemory(ledger) => ledger.rows(subjects).await,
        }
    }

    async fn database_rows(&self) -> Result<LedgerRows, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.database_rows().await,
            Store::InMemory(ledger) => ledger.database_rows().await,
        }
    }

    async fn rows_in_database(&self, database: &Name) -> Result<LedgerRows, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.rows_in_database(database).await,
            Store::InMemory(ledger) => ledger.rows_in_database(database).await,
        }
    }

    async fn update_managed_keys(
        &self,
        subject: LfSubject,
        added: &BTreeSet<String>,
        removed: &BTreeSet<String>,
    ) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.update_managed_keys(subject, added, removed).await,
            Store::InMemory(ledger) => ledger.update_managed_keys(subject, added, removed).await,
        }
    }

    async fn put_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_rows(rows).await,
            Store::InMemory(ledger) => ledger.put_rows(rows).await,
        }
    }

    async fn delete_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.delete_rows(rows).await,
            Store::InMemory(ledger) => ledger.delete_rows(rows).await,
        }
    }

    async fn paired_counts(&self) -> Result<ObjectCounts, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.paired_counts().await,
            Store::InMemory(ledger) => ledger.paired_counts().await,
        }
    }

    async fn put_paired_counts(&self, counts: &ObjectCounts) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_paired_counts(counts).await,
            Store::InMemory(ledger) => ledger.put_paired_counts(counts).await,
        }
    }

    async fn lf_tag_lease(&self) -> Result<Option<(LfTagLease, u64)>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.lf_tag_lease().await,
            Store::InMemory(ledger) => ledger.lf_tag_lease().await,
        }
    }

    async fn put_lf_tag_lease(
        &self,
        lease: &LfTagLease,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_lf_tag_lease(lease, expected_version).await,
            Store::InMemory(ledger) => ledger.put_lf_tag_lease(lease, expected_version).await,
        }
    }

    async fn deletion_log(&self) -> Result<Option<(DeletionLog, u64)>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.deletion_log().await,
            Store::InMemory(ledger) => ledger.deletion_log().await,
        }
    }

    async fn put_deletion_log(
        &self,
        log: &DeletionLog,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_deletion_log(log, expected_version).await,
            Store::InMemory(ledger) => ledger.put_deletion_log(log, expected_version).await,
        }
    }

    async fn begin_resync_run(&self, run: &ResyncRun) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.begin_resync_run(run).await,
            Store::InMemory(ledger) => ledger.begin_resync_run(run).await,
        }
    }

    async fn add_run_part(&self, run: &str, part: &str) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.add_run_part(run, part).await,
            Store::InMemory(ledger) => ledger.add_run_part(run, part).await,
        }
    }

    async fn end_run_part(
        &self,
        run: &str,
        part: &str,
        unread: bool,
    ) -> Result<Option<ResyncRun>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.end_run_part(run, part, unread).await,
            Store::InMemory(ledger) => ledger.end_run_part(run, part, unread).await,
        }
    }

    async fn verified_run(&self) -> Result<Option<VerifiedRun>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.verified_run().await,
            Store::InMemory(ledger) => ledger.verified_run().await,
        }
    }

    async fn forget_verified_policy(&self) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.forget_verified_policy().await,
            Store::InMemory(ledger) => ledger.forget_verified_policy().await,
        }
    }

    async fn put_verified_run(&self, run: &VerifiedRun, now: Timestamp) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_verified_run(run, now).await,
            Store::InMemory(ledger) => ledger.put_verified_run(run, now).await,
        }
    }

    async fn scan_schedule(&self, target: &ScanTarget) -> Result<ScanSchedule, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.scan_schedule(target).await,
            Store::InMemory(ledger) => ledger.scan_schedule(target).await,
        }
    }

    async fn put_scan_schedule(
        &self,
        target: &ScanTarget,
        current: ScanSchedule,
        updated: ScanSchedule,
    ) -> Result<bool, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_scan_schedule(target, current, updated).await,
            Store::InMemory(ledger) => ledger.put_scan_schedule(target, current, updated).await,
        }
    }

    async fn incident(&self, key: &str) -> Result<Option<(Incident, u64)>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.incident(key).await,
            Store::InMemory(ledger) => ledger.incident(key).await,
        }
    }

    async fn incidents(&self) -> Result<BTreeMap<String, (Incident, u64)>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.incidents().await,
            Store::InMemory(ledger) => ledger.incidents().await,
        }
    }

    async fn put_incident(
        &self,
        key: &str,
        incident: Option<&Incident>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_incident(key, incident, expected_version).await,
            Store::InMemory(ledger) => ledger.put_incident(key, incident, expected_version).await,
        }
    }
}

impl StatsStore for CommandLedger {
    async fn channel_health(
        &self,
        channel: Channel,
        now: Timestamp,
    ) -> Result<ChannelHealth, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.channel_health(channel, now).await,
            Store::InMemory(ledger) => ledger.channel_health(channel, now).await,
        }
    }

    async fn record_heartbeat(
        &self,
        channel: Channel,
        heartbeat: Heartbeat,
    ) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.record_heartbeat(channel, heartbeat).await,
            Store::InMemory(ledger) => ledger.record_heartbeat(channel, heartbeat).await,
        }
    }

    async fn canaries(&self) -> Result<Option<CanaryState>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.canaries().await,
            Store::InMemory(ledger) => ledger.canaries().await,
        }
    }

    async fn put_canaries(&self, state: &CanaryState) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_canaries(state).await,
            Store::InMemory(ledger) => ledger.put_canaries(state).await,
        }
    }

    async fn put_lag_sample(&self, sample: &LagSample) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_lag_sample(sample).await,
            Store::InMemory(ledger) => ledger.put_lag_sample(sample).await,
        }
    }

    async fn lag_samples(&self, since: Timestamp) -> Result<Vec<LagSample>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.lag_samples(since).await,
            Store::InMemory(ledger) => ledger.lag_samples(since).await,
        }
    }

    async fn reserved_calls(
        &self,
        region: &str,
        since: Timestamp,
    ) -> Result<BTreeMap<Timestamp, u32>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.reserved_calls(region, since).await,
            Store::InMemory(ledger) => ledger.reserved_calls(region, since).await,
        }
    }

    async fn rows_not_in_sync(&self) -> Result<LedgerRows, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.rows_not_in_sync().await,
            Store::InMemory(ledger) => ledger.rows_not_in_sync().await,
        }
    }

    async fn state_counts(&self) -> Result<BTreeMap<SubjectState, usize>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.state_counts().await,
            Store::InMemory(ledger) => ledger.state_counts().await,
        }
    }

    async fn add_counters(&self, at: Timestamp, counters: &StatCounters) -> Result<(), CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.add_counters(at, counters).await,
            Store::InMemory(ledger) => ledger.add_counters(at, counters).await,
        }
    }

    async fn counters_since(&self, since: Timestamp) -> Result<StatCounters, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.counters_since(since).await,
            Store::InMemory(ledger) => ledger.counters_since(since).await,
        }
    }

    async fn readiness(&self) -> Result<Option<(ReadinessRecord, u64)>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.readiness().await,
            Store::InMemory(ledger) => ledger.readiness().await,
        }
    }

    async fn put_readiness(
        &self,
        record: &ReadinessRecord,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.put_readiness(record, expected_version).await,
            Store::InMemory(ledger) => ledger.put_readiness(record, expected_version).await,
        }
    }

    async fn all_pending_objects(
        &self,
    ) -> Result<BTreeMap<TableId, (PendingObjects, u64)>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.all_pending_objects().await,
            Store::InMemory(ledger) => ledger.all_pending_objects().await,
        }
    }

    async fn pending_objects(
        &self,
        table: &TableId,
    ) -> Result<Option<(PendingObjects, u64)>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.pending_objects(table).await,
            Store::InMemory(ledger) => ledger.pending_objects(table).await,
        }
    }

    async fn put_pending_objects(
        &self,
        table: &TableId,
        pending: Option<&PendingObjects>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        match &self.store {
            Store::Deployed(ledger) => {
                ledger
                    .put_pending_objects(table, pending, expected_version)
                    .await
            }
            Store::InMemory(ledger) => {
                ledger
                    .put_pending_objects(table, pending, expected_version)
                    .await
            }
        }
    }

    async fn relocation_memory(&self, table: &TableId) -> Result<Option<(String, u64)>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.relocation_memory(table).await,
            Store::InMemory(ledger) => ledger.relocation_memory(table).await,
        }
    }

    async fn put_relocation_memory(
        &self,
        table: &TableId,
        memory: &str,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        match &self.store {
            Store::Deployed(ledger) => {
                ledger
                    .put_relocation_memory(table, memory, expected_version)
                    .await
            }
            Store::InMemory(ledger) => {
                ledger
                    .put_relocation_memory(table, memory, expected_version)
                    .await
            }
        }
    }

    async fn tables_at_location(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<TableId>, CallError> {
        match &self.store {
            Store::Deployed(ledger) => ledger.tables_at_location(bucket, prefix).await,
            Store::InMemory(ledger) => ledger.tables_at_location(bucket, prefix).await,
        }
    }
}
