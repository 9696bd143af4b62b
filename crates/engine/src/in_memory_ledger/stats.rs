//! The statistics of the in-memory ledger.

use super::InMemoryLedger;
use crate::ports::{StatCounters, StatsStore, next_version};
use std::collections::BTreeMap;
use twinlake_core::canary::CanaryState;
use twinlake_core::heartbeat::{Channel, ChannelHealth, Heartbeat, LagSample};
use twinlake_core::ledger::{LedgerRows, PendingObjects};
use twinlake_core::location::Location;
use twinlake_core::readiness::ReadinessRecord;
use twinlake_core::{CallError, Subject, SubjectState, TableId, Timestamp};

/// How long lag samples are kept.
const SAMPLE_RETENTION_SECS: i64 = 7 * 86_400;

impl StatsStore for InMemoryLedger {
    async fn channel_health(
        &self,
        channel: Channel,
        now: Timestamp,
    ) -> Result<ChannelHealth, CallError> {
        let mut contents = self.lock();
        let initial = ChannelHealth {
            since: now,
            last: None,
        };
        Ok(*contents.heartbeats.entry(channel).or_insert(initial))
    }

    async fn record_heartbeat(
        &self,
        channel: Channel,
        heartbeat: Heartbeat,
    ) -> Result<(), CallError> {
        let mut contents = self.lock();
        let initial = ChannelHealth {
            since: heartbeat.done,
            last: None,
        };
        let health = contents.heartbeats.entry(channel).or_insert(initial);
        *health = health.record(heartbeat);
        Ok(())
    }

    async fn canaries(&self) -> Result<Option<CanaryState>, CallError> {
        Ok(self.lock().canaries.clone())
    }

    async fn put_canaries(&self, state: &CanaryState) -> Result<(), CallError> {
        self.lock().canaries = Some(state.clone());
        Ok(())
    }

    async fn put_lag_sample(&self, sample: &LagSample) -> Result<(), CallError> {
        let mut contents = self.lock();
        let oldest = sample.at.plus_secs(-SAMPLE_RETENTION_SECS);
        contents.lag_samples.retain(|stored| stored.at > oldest);
        contents.lag_samples.push(*sample);
        Ok(())
    }

    async fn lag_samples(&self, since: Timestamp) -> Result<Vec<LagSample>, CallError> {
        let contents = self.lock();
        let later = contents
            .lag_samples
            .iter()
            .filter(|sample| sample.at >= since);
        Ok(later.copied().collect())
    }

    async fn reserved_calls(
        &self,
        region: &str,
        since: Timestamp,
    ) -> Result<BTreeMap<Timestamp, u32>, CallError> {
        let contents = self.lock();
        let reserved = contents.reserved_calls.get(region);
        let reserved = reserved.into_iter().flat_map(|calls| calls.range(since..));
        Ok(reserved.map(|(second, calls)| (*second, *calls)).collect())
    }

    async fn rows_not_in_sync(&self) -> Result<LedgerRows, CallError> {
        let contents = self.lock();
        let rows = contents
            .rows
            .iter()
            .filter(|(_, row)| row.state != SubjectState::InSync);
        Ok(rows
            .map(|(subject, row)| (subject.clone(), row.clone()))
            .collect())
    }

    async fn state_counts(&self) -> Result<BTreeMap<SubjectState, usize>, CallError> {
        let mut counts: BTreeMap<SubjectState, usize> =
            SubjectState::NOT_IN_SYNC.map(|state| (state, 0)).into();
        for row in self.rows_not_in_sync().await?.values() {
            *counts.entry(row.state).or_default() += 1;
        }
        Ok(counts)
    }

    async fn add_counters(&self, at: Timestamp, counts: &StatCounters) -> Result<(), CallError> {
        let mut contents = self.lock();
        let hour = contents.hourly_counters.entry(at.hour()).or_default();
        for (name, count) in counts {
            *hour.entry(name.clone()).or_default() += count;
        }
        Ok(())
    }

    async fn counters_since(&self, since: Timestamp) -> Result<StatCounters, CallError> {
        let contents = self.lock();
        let mut sum = StatCounters::new();
        for (name, count) in contents
            .hourly_counters
            .range(since.hour()..)
            .flat_map(|(_, hour)| hour)
        {
            *sum.entry(name.clone()).or_default() += count;
        }
        Ok(sum)
    }

    async fn readiness(&self) -> Result<Option<(ReadinessRecord, u64)>, CallError> {
        Ok(self.lock().readiness.clone())
    }

    async fn put_readiness(
        &self,
        record: &ReadinessRecord,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let mut contents = self.lock();
        let version = contents.readiness.as_ref().map(|(_, version)| *version);
        if version != expected_version {
            return Ok(false);
        }
        let next = next_version(version);
        contents.readiness = Some((record.clone(), next));
        Ok(true)
    }

    async fn all_pending_objects(
        &self,
    ) -> Result<BTreeMap<TableId, (PendingObjects, u64)>, CallError> {
        Ok(self.lock().pending_objects.clone())
    }

    async fn pending_objects(
        &self,
        table: &TableId,
    ) -> Result<Option<(PendingObjects, u64)>, CallError> {
        Ok(self.lock().pending_objects.get(table).cloned())
    }

    async fn relocation_memory(&self, table: &TableId) -> Result<Option<(String, u64)>, CallError> {
        Ok(self.lock().relocation_memories.get(table).cloned())
    }

    async fn put_relocation_memory(
        &self,
        table: &TableId,
        memory: &str,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let mut contents = self.lock();
        let stored = contents.relocation_memories.get(table);
        if stored.map(|(_, version)| *version) != expected_version {
            return Ok(false);
        }
        let stored = (memory.to_owned(), next_version(expected_version));
        contents.relocation_memories.insert(table.clone(), stored);
        Ok(true)
    }

    async fn put_pending_objects(
        &self,
        table: &TableId,
        pending: Option<&PendingObjects>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let mut contents = self.lock();
        let version = contents
            .pending_objects
            .get(table)
            .map(|(_, version)| *version);
        if version != expected_version {
            return Ok(false);
        }
        match pending {
            Some(pending) => {
                let stored = (pending.clone(), next_version(expected_version));
                contents.pending_objects.insert(table.clone(), stored);
            }
            None => {
                contents.pending_objects.remove(table);
            }
        }
        Ok(true)
    }

    async fn tables_at_location(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<TableId>, CallError> {
        let contents = self.lock();
        let tables = contents.rows.iter().filter_map(|(subject, row)| {
            let Subject::Table(id) = subject else {
                return None;
            };
            let location = Location::parse(row.source_location.as_deref()?).ok()?;
            (location.bucket() == bucket && location.prefix() == prefix).then(|| id.clone())
        });
        Ok(tables.collect())
    }
}
