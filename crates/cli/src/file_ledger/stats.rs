//! The statistics of a ledger in a file.

use super::FileLedger;
use super::ledger::{kept_in_memory, stored_at_once};
use super::tables::ROWS;
use redb::ReadableTable as _;
use std::collections::BTreeMap;
use twinlake_core::canary::CanaryState;
use twinlake_core::heartbeat::{Channel, ChannelHealth, Heartbeat, LagSample};
use twinlake_core::ledger::{LedgerRows, PendingObjects};
use twinlake_core::location::Location;
use twinlake_core::readiness::ReadinessRecord;
use twinlake_core::{CallError, LedgerRow, Subject, SubjectState, TableId, Timestamp};
use twinlake_engine::StatsStore;
use twinlake_engine::ports::StatCounters;

/// The family of the items that hold objects that S3 has not replicated.
pub(super) const PENDING_OBJECTS: &str = "pending_objects";
/// The family of the items that hold what relocations of Iceberg tables remember.
pub(super) const RELOCATIONS: &str = "relocations";

impl FileLedger {
    /// The id of the items of a table.
    pub(super) fn table_key(&self, table: &TableId) -> Result<String, CallError> {
        serde_json::to_string(table).map_err(|error| self.call_error("item", &error))
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, text: &str) -> Result<T, CallError> {
        serde_json::from_str(text).map_err(|error| self.call_error("item", &error))
    }
}

impl StatsStore for FileLedger {
    kept_in_memory! {
        fn canaries() -> Option<CanaryState>;
        fn lag_samples(since: Timestamp) -> Vec<LagSample>;
        fn reserved_calls(region: &str, since: Timestamp) -> BTreeMap<Timestamp, u32>;
        fn counters_since(since: Timestamp) -> StatCounters;
        fn readiness() -> Option<(ReadinessRecord, u64)>;
    }

    stored_at_once! {
        fn channel_health(channel: Channel, now: Timestamp) -> ChannelHealth;
        fn record_heartbeat(channel: Channel, heartbeat: Heartbeat) -> ();
        fn put_canaries(state: &CanaryState) -> ();
        fn put_lag_sample(sample: &LagSample) -> ();
        fn add_counters(at: Timestamp, counters: &StatCounters) -> ();
        fn put_readiness(record: &ReadinessRecord, expected: Option<u64>) -> bool;
    }

    async fn rows_not_in_sync(&self) -> Result<LedgerRows, CallError> {
        let is_not_in_sync = |row: &LedgerRow| row.state != SubjectState::InSync;
        let first = (0, "", "");
        self.rows_from("rows_not_in_sync", first, |_| true, is_not_in_sync)
    }

    async fn state_counts(&self) -> Result<BTreeMap<SubjectState, usize>, CallError> {
        let mut counts: BTreeMap<SubjectState, usize> =
            SubjectState::NOT_IN_SYNC.map(|state| (state, 0)).into();
        for row in self.rows_not_in_sync().await?.values() {
            *counts.entry(row.state).or_default() += 1;
        }
        Ok(counts)
    }

    async fn all_pending_objects(
        &self,
    ) -> Result<BTreeMap<TableId, (PendingObjects, u64)>, CallError> {
        let items = self.items(PENDING_OBJECTS)?.into_iter();
        items
            .map(|(id, (text, version))| Ok((self.parse(&id)?, (self.parse(&text)?, version))))
            .collect()
    }

    async fn pending_objects(
        &self,
        table: &TableId,
    ) -> Result<Option<(PendingObjects, u64)>, CallError> {
        let item = self.item(PENDING_OBJECTS, &self.table_key(table)?)?;
        item.map(|(text, version)| Ok((self.parse(&text)?, version)))
            .transpose()
    }

    async fn put_pending_objects(
        &self,
        table: &TableId,
        pending: Option<&PendingObjects>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let text = pending.map(serde_json::to_string).transpose();
        let text = text.map_err(|error| self.call_error("put_pending_objects", &error))?;
        let key = self.table_key(table)?;
        self.put_item((PENDING_OBJECTS, &key), text.as_deref(), expected_version)
    }

    async fn relocation_memory(&self, table: &TableId) -> Result<Option<(String, u64)>, CallError> {
        self.item(RELOCATIONS, &self.table_key(table)?)
    }

    async fn put_relocation_memory(
        &self,
        table: &TableId,
        memory: &str,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let key = self.table_key(table)?;
        self.put_item((RELOCATIONS, &key), Some(memory), expected_version)
    }

    async fn tables_at_location(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<TableId>, CallError> {
        self.read("tables_at_location", |transaction| {
            let mut found = Vec::new();
            for entry in transaction.open_table(ROWS)?.iter()? {
                let row: LedgerRow = serde_json::from_str(entry?.1.value())?;
                let location = row.source_location.as_deref().map(Location::parse);
                let is_at =
                    |location: Location| location.bucket() == bucket && location.prefix() == prefix;
                if let (Subject::Table(id), Some(Ok(location))) = (row.subject, location)
                    && is_at(location)
                {
                    found.push(id);
                }
            }
            Ok(found)
        })
    }
}
