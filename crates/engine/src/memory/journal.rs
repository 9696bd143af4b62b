//! What is remembered of how it goes, in memory.

use super::MemoryLedger;
use crate::ports::{Counts, Journal};
use std::collections::BTreeMap;
use twinlake_core::heartbeat::{Beat, Channel, Pulse, Sample};
use twinlake_core::ledger::{Pending, Rows};
use twinlake_core::location::Location;
use twinlake_core::{Fault, State, Subject, TableId, Timestamp};

/// Lags are kept for so long.
const KEPT_SECS: i64 = 7 * 86_400;

impl Journal for MemoryLedger {
    async fn pulse(&self, channel: Channel, now: Timestamp) -> Result<Pulse, Fault> {
        let mut book = self.open();
        let fresh = Pulse {
            since: now,
            last: None,
        };
        Ok(*book.pulses.entry(channel).or_insert(fresh))
    }

    async fn hear(&self, channel: Channel, beat: Beat) -> Result<(), Fault> {
        let mut book = self.open();
        let fresh = Pulse {
            since: beat.done,
            last: None,
        };
        let pulse = book.pulses.entry(channel).or_insert(fresh);
        *pulse = pulse.hear(beat);
        Ok(())
    }

    async fn put_sample(&self, sample: &Sample) -> Result<(), Fault> {
        let mut book = self.open();
        let oldest = sample.at.plus_secs(-KEPT_SECS);
        book.samples.retain(|kept| kept.at > oldest);
        book.samples.push(*sample);
        Ok(())
    }

    async fn samples(&self, since: Timestamp) -> Result<Vec<Sample>, Fault> {
        let book = self.open();
        let later = book.samples.iter().filter(|sample| sample.at >= since);
        Ok(later.copied().collect())
    }

    async fn troubles(&self) -> Result<Rows, Fault> {
        let book = self.open();
        let ill = book
            .rows
            .iter()
            .filter(|(_, row)| row.state != State::Current);
        Ok(ill
            .map(|(subject, row)| (subject.clone(), row.clone()))
            .collect())
    }

    async fn trouble_counts(&self) -> Result<BTreeMap<State, usize>, Fault> {
        let mut counts: BTreeMap<State, usize> = State::TROUBLES.map(|state| (state, 0)).into();
        for row in self.troubles().await?.values() {
            *counts.entry(row.state).or_default() += 1;
        }
        Ok(counts)
    }

    async fn count(&self, at: Timestamp, counts: &Counts) -> Result<(), Fault> {
        let mut book = self.open();
        let hour = book.hours.entry(at.hour()).or_default();
        for (name, count) in counts {
            *hour.entry(name.clone()).or_default() += count;
        }
        Ok(())
    }

    async fn counted(&self, since: Timestamp) -> Result<Counts, Fault> {
        let book = self.open();
        let mut sum = Counts::new();
        for (name, count) in book.hours.range(since.hour()..).flat_map(|(_, hour)| hour) {
            *sum.entry(name.clone()).or_default() += count;
        }
        Ok(sum)
    }

    async fn pendings(&self) -> Result<BTreeMap<TableId, (Pending, u64)>, Fault> {
        Ok(self.open().pendings.clone())
    }

    async fn pending(&self, table: &TableId) -> Result<Option<(Pending, u64)>, Fault> {
        Ok(self.open().pendings.get(table).cloned())
    }

    async fn put_pending(
        &self,
        table: &TableId,
        pending: Option<&Pending>,
        was: Option<u64>,
    ) -> Result<bool, Fault> {
        let mut book = self.open();
        let version = book.pendings.get(table).map(|(_, version)| *version);
        if version != was {
            return Ok(false);
        }
        match pending {
            Some(pending) => {
                let kept = (pending.clone(), was.map_or(0, |was| was + 1));
                book.pendings.insert(table.clone(), kept);
            }
            None => {
                book.pendings.remove(table);
            }
        }
        Ok(true)
    }

    async fn tables_at(&self, bucket: &str, prefix: &str) -> Result<Vec<TableId>, Fault> {
        let book = self.open();
        let tables = book.rows.iter().filter_map(|(subject, row)| {
            let Subject::Table(id) = subject else {
                return None;
            };
            let place = Location::parse(row.place.as_deref()?).ok()?;
            (place.bucket() == bucket && place.prefix() == prefix).then(|| id.clone())
        });
        Ok(tables.collect())
    }
}
