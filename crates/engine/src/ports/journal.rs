//! What is remembered of how it goes, for people.

use std::collections::BTreeMap;
use twinlake_core::heartbeat::{Beat, Channel, Pulse, Sample};
use twinlake_core::ledger::{Pending, Rows};
use twinlake_core::{Fault, State, TableId, Timestamp};

/// Numbers by their names.
pub type Counts = BTreeMap<String, u64>;

/// What a Region's Twinlake remembers of how it goes. Kept where the
/// [`Ledger`](super::Ledger) is.
pub trait Journal {
    /// What is known of a channel. One that nobody has asked for before is watched from
    /// then on.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn pulse(&self, channel: Channel, now: Timestamp) -> Result<Pulse, Fault>;

    /// Notes a heartbeat; the newest one counts, in whatever order they come.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn hear(&self, channel: Channel, beat: Beat) -> Result<(), Fault>;

    /// Notes the lag of one minute.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn put_sample(&self, sample: &Sample) -> Result<(), Fault>;

    /// The lags since a time, in order; they are kept for a week.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn samples(&self, since: Timestamp) -> Result<Vec<Sample>, Fault>;

    /// The rows of all subjects that are not current, without reading the others. They may
    /// be some seconds old.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn troubles(&self) -> Result<Rows, Fault>;

    /// How many subjects are in each state that needs eyes. They may be some seconds old.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn trouble_counts(&self) -> Result<BTreeMap<State, usize>, Fault>;

    /// Adds to the numbers of the hour of a time.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn count(&self, at: Timestamp, counts: &Counts) -> Result<(), Fault>;

    /// The numbers of the hour of a time and of all hours since.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn counted(&self, since: Timestamp) -> Result<Counts, Fault>;

    /// Tables whose objects S3 has not replicated, each with the version of what is known.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn pendings(&self) -> Result<BTreeMap<TableId, (Pending, u64)>, Fault>;

    /// What S3 has not replicated of a table, with the version of what is known.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn pending(&self, table: &TableId) -> Result<Option<(Pending, u64)>, Fault>;

    /// Stores what is pending of a table, or that nothing is, if it is of the version that
    /// was read, or if none is there where none was. Answers whether it was.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn put_pending(
        &self,
        table: &TableId,
        pending: Option<&Pending>,
        was: Option<u64>,
    ) -> Result<bool, Fault>;

    /// The tables whose files lie at just this place in the primary: a bucket, and a prefix
    /// that is empty or ends in a slash.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn tables_at(&self, bucket: &str, prefix: &str) -> Result<Vec<TableId>, Fault>;
}
