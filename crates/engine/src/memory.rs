//! A ledger in memory: for tests, and for the command line, which keeps it in a
//! file.

mod journal;

use crate::ports::{Counts, Ledger};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use twinlake_core::heartbeat::{Channel, Pulse, Sample};
use twinlake_core::ledger::{Epoch, Pending, Rows, Run, Sweeping, Sweeps, Tally};
use twinlake_core::{Episode, Fault, Lake, Name, Row, State, Subject, TableId, Timestamp};

/// All that a ledger holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    /// The epoch.
    #[serde(default)]
    pub epoch: Epoch,
    /// The policy document.
    #[serde(default)]
    pub policy: Option<String>,
    /// Rows by subject.
    #[serde(default, with = "twinlake_core::scope::pairs")]
    pub rows: Rows,
    /// How many objects are paired, as last counted.
    #[serde(default)]
    pub paired: Tally,
    /// Deletions, each time with its count.
    #[serde(default)]
    pub spent: Vec<(Timestamp, Tally)>,
    /// Runs that are not complete.
    #[serde(default)]
    pub runs: BTreeMap<String, Run>,
    /// The start of the last complete resync.
    #[serde(default)]
    pub verified_at: Option<Timestamp>,
    /// When all partitions of a table are looked at, because of events.
    #[serde(default, with = "twinlake_core::scope::pairs")]
    pub sweeps: BTreeMap<TableId, Sweeps>,
    /// When each alert was last sent.
    #[serde(default)]
    pub alerts: BTreeMap<String, (Episode, u64)>,
    /// Heartbeats by channel.
    #[serde(default)]
    pub pulses: BTreeMap<Channel, Pulse>,
    /// Lags, in order.
    #[serde(default)]
    pub samples: Vec<Sample>,
    /// Numbers by hour.
    #[serde(default)]
    pub hours: BTreeMap<String, Counts>,
    /// Tables whose objects are missing.
    #[serde(default, with = "twinlake_core::scope::pairs")]
    pub pendings: BTreeMap<TableId, (Pending, u64)>,
}

/// A [`Book`] behind the ledger's port.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<Book>);

/// The budget of deletions is counted over so long.
const BUDGET_SECS: i64 = 3600;

impl MemoryLedger {
    /// A ledger that holds a book.
    #[must_use]
    pub fn new(book: Book) -> Self {
        Self(Mutex::new(book))
    }

    /// What the ledger holds now.
    #[must_use]
    pub fn book(&self) -> Book {
        self.open().clone()
    }

    /// Sets the epoch.
    pub fn set_epoch(&self, epoch: Epoch) {
        self.open().epoch = epoch;
    }

    fn some(&self, wanted: impl Fn(&Subject) -> bool) -> Rows {
        let book = self.open();
        let rows = book.rows.iter().filter(|(subject, _)| wanted(subject));
        rows.map(|(subject, row)| (subject.clone(), row.clone()))
            .collect()
    }

    fn open(&self) -> MutexGuard<'_, Book> {
        // A poisoned lock still holds a whole book: no call leaves one half written.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Ledger for MemoryLedger {
    async fn epoch(&self) -> Result<Epoch, Fault> {
        Ok(self.open().epoch)
    }

    async fn policy(&self) -> Result<Option<String>, Fault> {
        Ok(self.open().policy.clone())
    }

    async fn put_policy(&self, text: &str) -> Result<(), Fault> {
        self.open().policy = Some(text.to_owned());
        Ok(())
    }

    async fn rows(&self, subjects: &BTreeSet<Subject>) -> Result<Rows, Fault> {
        let book = self.open();
        let rows = subjects.iter().filter_map(|subject| {
            let row = book.rows.get(subject)?;
            Some((subject.clone(), row.clone()))
        });
        Ok(rows.collect())
    }

    async fn database_rows(&self) -> Result<Rows, Fault> {
        Ok(self.some(|subject| matches!(subject, Subject::Database(_))))
    }

    async fn rows_in(&self, database: &Name) -> Result<Rows, Fault> {
        Ok(self.some(|subject| subject.database() == Some(database)))
    }

    async fn mark(
        &self,
        lake: Lake,
        add: &BTreeSet<String>,
        drop: &BTreeSet<String>,
    ) -> Result<(), Fault> {
        let subject = Subject::Lake(lake);
        let mut book = self.open();
        let row = book.rows.entry(subject.clone());
        let row = row.or_insert_with(|| Row::new(subject, State::Current, Timestamp::default()));
        row.owned.extend(add.iter().cloned());
        row.owned.retain(|mark| !drop.contains(mark));
        Ok(())
    }

    async fn put_rows(&self, rows: &[Row]) -> Result<(), Fault> {
        let mut book = self.open();
        for row in rows {
            let known = book.rows.get(&row.subject);
            let owned = known.map(|known| known.owned.clone()).unwrap_or_default();
            let row = Row {
                owned,
                ..row.clone()
            };
            book.rows.insert(row.subject.clone(), row);
        }
        Ok(())
    }

    async fn forget(&self, subjects: &[Subject]) -> Result<(), Fault> {
        let mut book = self.open();
        for subject in subjects {
            book.rows.remove(subject);
        }
        Ok(())
    }

    async fn paired(&self) -> Result<Tally, Fault> {
        Ok(self.open().paired)
    }

    async fn put_paired(&self, tally: &Tally) -> Result<(), Fault> {
        self.open().paired = *tally;
        Ok(())
    }

    async fn spent(&self, now: Timestamp) -> Result<Tally, Fault> {
        let mut sum = Tally::default();
        let since = now.plus_secs(-BUDGET_SECS);
        for (_, tally) in self.open().spent.iter().filter(|(at, _)| *at > since) {
            sum.databases += tally.databases;
            sum.tables += tally.tables;
            sum.partitions += tally.partitions;
        }
        Ok(sum)
    }

    async fn spend(&self, now: Timestamp, tally: &Tally) -> Result<(), Fault> {
        let mut book = self.open();
        let since = now.plus_secs(-BUDGET_SECS);
        book.spent.retain(|(at, _)| *at > since);
        book.spent.push((now, *tally));
        Ok(())
    }

    async fn begin_run(&self, run: &Run) -> Result<(), Fault> {
        self.open().runs.insert(run.id.clone(), run.clone());
        Ok(())
    }

    async fn add_part(&self, run: &str, part: &str) -> Result<(), Fault> {
        if let Some(run) = self.open().runs.get_mut(run) {
            run.outstanding.insert(part.to_owned());
        }
        Ok(())
    }

    async fn end_part(&self, run: &str, part: &str, unread: bool) -> Result<Option<Run>, Fault> {
        let mut book = self.open();
        let Some(open) = book.runs.get_mut(run) else {
            return Ok(None);
        };
        open.outstanding.remove(part);
        open.unread |= unread;
        let ended = open.clone();
        if ended.outstanding.is_empty() {
            book.runs.remove(run);
        }
        Ok(Some(ended))
    }

    async fn verified_at(&self) -> Result<Option<Timestamp>, Fault> {
        Ok(self.open().verified_at)
    }

    async fn put_verified_at(&self, at: Timestamp) -> Result<(), Fault> {
        let mut book = self.open();
        book.verified_at = book.verified_at.max(Some(at));
        Ok(())
    }

    async fn ask_sweep(&self, table: &TableId, now: Timestamp) -> Result<Sweeping, Fault> {
        let mut book = self.open();
        let sweeps = book.sweeps.entry(table.clone()).or_default();
        let (what, then) = sweeps.ask(now);
        *sweeps = then;
        Ok(what)
    }

    async fn episode(&self, key: &str) -> Result<Option<(Episode, u64)>, Fault> {
        Ok(self.open().alerts.get(key).cloned())
    }

    async fn episodes(&self) -> Result<BTreeMap<String, (Episode, u64)>, Fault> {
        Ok(self.open().alerts.clone())
    }

    async fn put_episode(
        &self,
        key: &str,
        episode: Option<&Episode>,
        was: Option<u64>,
    ) -> Result<bool, Fault> {
        let mut book = self.open();
        let version = book.alerts.get(key).map(|(_, version)| *version);
        if version != was {
            return Ok(false);
        }
        match episode {
            Some(episode) => {
                let kept = (episode.clone(), was.map_or(0, |was| was + 1));
                book.alerts.insert(key.to_owned(), kept);
            }
            None => {
                book.alerts.remove(key);
            }
        }
        Ok(true)
    }
}
