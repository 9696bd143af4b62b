//! What is remembered, who is told, and what time it is.

use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::ledger::{Epoch, Rows, Run, Sweeping, Tally};
use twinlake_core::{Alert, Episode, Fault, Lake, Name, Row, Subject, TableId, Timestamp};

/// What a Region's Twinlake remembers.
pub trait Ledger {
    /// The epoch that this ledger holds; a new ledger holds 0.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn epoch(&self) -> Result<Epoch, Fault>;

    /// The policy document, if one was pushed.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn policy(&self) -> Result<Option<String>, Fault>;

    /// Stores the policy document.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn put_policy(&self, text: &str) -> Result<(), Fault>;

    /// The rows of these subjects; those without a row are left out.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn rows(&self, subjects: &BTreeSet<Subject>) -> Result<Rows, Fault>;

    /// The rows of every database.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn database_rows(&self) -> Result<Rows, Fault>;

    /// The rows of a database and of every table in it.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn rows_in(&self, database: &Name) -> Result<Rows, Fault>;

    /// Marks what is paired of a subject of the lake, and no longer is. Several handlers
    /// may do so at once: what one of them adds, another one that knows nothing of it does
    /// not take away.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn mark(
        &self,
        lake: Lake,
        add: &BTreeSet<String>,
        drop: &BTreeSet<String>,
    ) -> Result<(), Fault>;

    /// Stores rows, each replacing the one of its subject, but for its marks.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn put_rows(&self, rows: &[Row]) -> Result<(), Fault>;

    /// Forgets subjects.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn forget(&self, subjects: &[Subject]) -> Result<(), Fault>;

    /// How many objects are paired, as last counted.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn paired(&self) -> Result<Tally, Fault>;

    /// Stores how many objects are paired.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn put_paired(&self, tally: &Tally) -> Result<(), Fault>;

    /// How many deletions were made in the hour before a time.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn spent(&self, now: Timestamp) -> Result<Tally, Fault>;

    /// Adds deletions to the budget, before they are made.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn spend(&self, now: Timestamp, tally: &Tally) -> Result<(), Fault>;

    /// Opens a resync run with its first part outstanding.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn begin_run(&self, run: &Run) -> Result<(), Fault>;

    /// Adds a part to a run, before the part that it was split from ends.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn add_part(&self, run: &str, part: &str) -> Result<(), Fault>;

    /// Ends a part of a run, and answers the run as it stands then. Ending a part
    /// twice is the same as once.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn end_part(&self, run: &str, part: &str, unread: bool) -> Result<Option<Run>, Fault>;

    /// The start of the last complete resync.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn verified_at(&self) -> Result<Option<Timestamp>, Fault>;

    /// Stores the start of a complete resync; an earlier one never replaces it.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn put_verified_at(&self, at: Timestamp) -> Result<(), Fault>;

    /// Asks for a look at all partitions of a table, because of an event.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn ask_sweep(&self, table: &TableId, now: Timestamp) -> Result<Sweeping, Fault>;

    /// The open trouble of an alert's key, and its version.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn episode(&self, key: &str) -> Result<Option<(Episode, u64)>, Fault>;

    /// Every open trouble by its alert's key, and its version.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn episodes(&self) -> Result<BTreeMap<String, (Episode, u64)>, Fault>;

    /// Stores a trouble, or forgets it, if it is of the version that was read, or if none
    /// is there where none was. Answers whether it was.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn put_episode(
        &self,
        key: &str,
        episode: Option<&Episode>,
        was: Option<u64>,
    ) -> Result<bool, Fault>;
}

/// Tells people.
pub trait Alerts {
    /// Publishes one alert.
    ///
    /// # Errors
    /// It could not be published.
    async fn publish(&self, alert: &Alert) -> Result<(), Fault>;

    /// Hears of each alert that a published message spoke for, one by one.
    async fn spoke_for(&self, _: &Alert) {}
}

/// The queue that a function sends its own leftovers to.
pub trait Outbox {
    /// Sends a message, visible after a delay of at most 900 seconds.
    ///
    /// # Errors
    /// It could not be sent.
    async fn send(&self, message: &crate::Message, delay_secs: u16) -> Result<(), Fault>;
}

/// Tells the time.
pub trait Clock {
    /// Now.
    fn now(&self) -> Timestamp;
}
