//! Statistics for status, reports and monitoring.

use super::ConditionalWrites;
use std::collections::BTreeMap;
use twinlake_core::canary::CanaryState;
use twinlake_core::heartbeat::{Channel, ChannelHealth, Heartbeat, LagSample};
use twinlake_core::ledger::{LedgerRows, PendingObjects};
use twinlake_core::readiness::ReadinessRecord;
use twinlake_core::{CallError, SubjectState, TableId, Timestamp};

/// Counters by name.
pub type StatCounters = BTreeMap<String, u64>;

/// Statistics of one Region's Twinlake: heartbeats, lag, counters, pending objects. Kept in the
/// same store as the [`Ledger`](super::Ledger).
pub trait StatsStore: ConditionalWrites {
    /// The health of an event channel. The first request for a channel starts its monitoring
    /// at `now`.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn channel_health(
        &self,
        channel: Channel,
        now: Timestamp,
    ) -> Result<ChannelHealth, CallError>;

    /// Records a heartbeat. The newest one counts, in whatever order they arrive.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn record_heartbeat(
        &self,
        channel: Channel,
        heartbeat: Heartbeat,
    ) -> Result<(), CallError>;

    /// The canaries that the Region sends and receives; `None` before the first run of the function.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn canaries(&self) -> Result<Option<CanaryState>, CallError>;

    /// Stores the canaries that the Region sends and receives.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_canaries(&self, state: &CanaryState) -> Result<(), CallError>;

    /// Stores the lag of one minute.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_lag_sample(&self, sample: &LagSample) -> Result<(), CallError>;

    /// The lag samples since a time, in order. They are kept for a week.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn lag_samples(&self, since: Timestamp) -> Result<Vec<LagSample>, CallError>;

    /// The calls to a Region that were reserved below its ceiling since a time, by second. They are kept
    /// for an hour; without a ceiling none is reserved.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn reserved_calls(
        &self,
        region: &str,
        since: Timestamp,
    ) -> Result<BTreeMap<Timestamp, u32>, CallError>;

    /// The rows of all subjects that are not in sync, without reading the others. The result
    /// may be some seconds old.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn rows_not_in_sync(&self) -> Result<LedgerRows, CallError>;

    /// The number of subjects in each state other than in sync. The result may be some seconds old.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn state_counts(&self) -> Result<BTreeMap<SubjectState, usize>, CallError>;

    /// Adds to the counters of the hour that contains `at`.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn add_counters(&self, at: Timestamp, counters: &StatCounters) -> Result<(), CallError>;

    /// The sums of the counters from the hour that contains `since` to now.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn counters_since(&self, since: Timestamp) -> Result<StatCounters, CallError>;

    /// The results of the scheduled checks of the readiness, with the stored version. Results that this
    /// version cannot parse count as none.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn readiness(&self) -> Result<Option<(ReadinessRecord, u64)>, CallError>;

    /// Stores the results of the checks if the stored version is still `expected_version`, where `None`
    /// expects none. Returns whether it did.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_readiness(
        &self,
        record: &ReadinessRecord,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError>;

    /// The tables with objects that S3 has not replicated, each with its stored version.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn all_pending_objects(
        &self,
    ) -> Result<BTreeMap<TableId, (PendingObjects, u64)>, CallError>;

    /// The objects of a table that S3 has not replicated, with the stored version.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn pending_objects(
        &self,
        table: &TableId,
    ) -> Result<Option<(PendingObjects, u64)>, CallError>;

    /// Stores the pending objects of a table, or deletes them if `None`. A conditional write:
    /// it happens only if the stored version is `expected_version`, where `None` expects no
    /// stored entry. Returns whether it happened.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_pending_objects(
        &self,
        table: &TableId,
        pending: Option<&PendingObjects>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError>;

    /// What relocations of an Iceberg table remember, a JSON text, with the stored version.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn relocation_memory(&self, table: &TableId) -> Result<Option<(String, u64)>, CallError>;

    /// Stores what relocations of a table remember if the stored version is still `expected_version`, where
    /// `None` expects none. Returns whether it did.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_relocation_memory(
        &self,
        table: &TableId,
        memory: &str,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError>;

    /// The tables whose files are in the primary at exactly this location: a bucket and a prefix
    /// that is empty or ends in a slash.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn tables_at_location(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<TableId>, CallError>;
}
