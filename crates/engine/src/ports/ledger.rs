//! The ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use twinlake_core::failover::EpochRecord;
use twinlake_core::ledger::{
    DeletionLog, LedgerRows, LfTagLease, ObjectCounts, ResyncRun, ScanSchedule, ScanTarget,
    VerifiedRun,
};
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, Incident, LedgerRow, LfSubject, Name, Subject, Timestamp};

/// A store with conditional writes, which fail if another run wrote first.
pub trait ConditionalWrites {
    /// Waits before a conditional write is tried again, longer and for a random time with each
    /// `attempt` from 0 on, so that competing functions separate. Does nothing by default.
    async fn wait_after_conflict(&self, _attempt: u32) {}
}

/// The version that an item gets by a write on the condition that it has the version `expected`, where `None`
/// expects no item.
///
/// The first version of an item that may be deleted is a random number: made again, it must not get a version that
/// it had before, else a write that rests on the deleted item would succeed. It is below 2^53, so that each reader
/// of JSON keeps it.
#[must_use]
pub fn next_version(expected: Option<u64>) -> u64 {
    let first = || RandomState::new().build_hasher().finish() >> 11;
    expected.map_or_else(first, |version| version + 1)
}

/// The same of an item that is never deleted: its versions begin at 0.
#[must_use]
pub fn next_version_of_permanent_item(expected: Option<u64>) -> u64 {
    expected.map_or(0, |version| version + 1)
}

/// JSON documents in the ledger, by family and id, each with a version.
pub trait DocumentStore: ConditionalWrites {
    /// The documents of a family with their versions.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn documents(&self, family: &str) -> Result<BTreeMap<String, (String, u64)>, CallError>;

    /// One document with its version.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn document(&self, family: &str, id: &str) -> Result<Option<(String, u64)>, CallError>;

    /// Stores a document, or deletes it if `None`, if the stored version is still `expected_version`, where
    /// `None` expects no document. Returns whether it did.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_document(
        &self,
        family: &str,
        id: &str,
        document: Option<&str>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError>;
}

/// The persistent state of one Region's Twinlake.
pub trait Ledger: DocumentStore {
    /// The epoch that this ledger holds; a new ledger holds 0.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn epoch(&self) -> Result<Epoch, CallError>;

    /// The epoch with the journal of the last failover, and the version of the record; `None` if nobody
    /// wrote it yet.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn epoch_record(&self) -> Result<Option<(EpochRecord, u64)>, CallError>;

    /// Stores the epoch with the journal if the stored version is still `expected_version`, where `None`
    /// expects no record. Returns whether it did.
    ///
    /// # Errors
    /// The ledger cannot be reached. The record may be stored.
    async fn put_epoch_record(
        &self,
        record: &EpochRecord,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError>;

    /// The policy document, if one was pushed.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn policy(&self) -> Result<Option<String>, CallError>;

    /// Stores the policy document. The next resync run reads everything
    /// ([`Self::forget_verified_policy`]).
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_policy(&self, text: &str) -> Result<(), CallError>;

    /// Returns the operation document, if one was pushed.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn operation_document(&self) -> Result<Option<String>, CallError>;

    /// Stores the operation document.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn put_operation_document(&self, text: &str) -> Result<(), CallError>;

    /// The rows of these subjects; subjects without a row are missing from the result.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn rows(&self, subjects: &BTreeSet<Subject>) -> Result<LedgerRows, CallError>;

    /// The rows of every database.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn database_rows(&self) -> Result<LedgerRows, CallError>;

    /// The rows of a database and of every table in it.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn rows_in_database(&self, database: &Name) -> Result<LedgerRows, CallError>;

    /// Replaces the keys of paired items in the row of a Lake Formation subject, on the condition that they still
    /// have this version ([`LedgerRow::managed_keys_version`]), where `None` expects that they were never stored.
    /// Returns whether it did. They are never deleted.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_managed_keys(
        &self,
        subject: LfSubject,
        keys: &BTreeSet<String>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError>;

    /// Stores rows. Each replaces the row of its subject except its managed keys, on the condition
    /// that the stored row still has [`LedgerRow::version`]; then the stored version is
    /// [`LedgerRow::next_version`]. Returns the subjects whose row another run changed; their
    /// rows are not written.
    ///
    /// # Errors
    /// The ledger cannot be reached. Some of the rows may be written.
    async fn put_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError>;

    /// Deletes rows, each on the condition of its version. Returns the subjects whose row another
    /// function changed; their rows are not deleted.
    ///
    /// # Errors
    /// The ledger cannot be reached. Some of the rows may be deleted.
    async fn delete_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError>;

    /// Number of paired objects by kind, as of the last count.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn paired_counts(&self) -> Result<ObjectCounts, CallError>;

    /// Stores the number of paired objects by kind.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_paired_counts(&self, counts: &ObjectCounts) -> Result<(), CallError>;

    /// The lease on changes of access by LF-Tags, and its version; `None` if nobody took it yet.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn lf_tag_lease(&self) -> Result<Option<(LfTagLease, u64)>, CallError>;

    /// Stores the lease if the stored version is still `expected_version`, where `None` expects no
    /// lease. Returns whether it did.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_lf_tag_lease(
        &self,
        lease: &LfTagLease,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError>;

    /// The deletions that count against the deletion limit, and the version of the record; `None`
    /// if there were none yet.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn deletion_log(&self) -> Result<Option<(DeletionLog, u64)>, CallError>;

    /// Stores the deletions if the stored version is still `expected_version`, where `None` expects
    /// no record. Returns whether it did.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_deletion_log(
        &self,
        log: &DeletionLog,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError>;

    /// Opens a resync run with its first part outstanding.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn begin_resync_run(&self, run: &ResyncRun) -> Result<(), CallError>;

    /// Adds a part to a run, before the part that it was split from ends.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn add_run_part(&self, run: &str, part: &str) -> Result<(), CallError>;

    /// Ends a part of a run and returns the run after that. Idempotent.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn end_run_part(
        &self,
        run: &str,
        part: &str,
        unread: bool,
    ) -> Result<Option<ResyncRun>, CallError>;

    /// The last complete resync run.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn verified_run(&self) -> Result<Option<VerifiedRun>, CallError>;

    /// The start of the last complete resync run.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn verified_at(&self) -> Result<Option<Timestamp>, CallError> {
        let run = self.verified_run().await?;
        Ok(run.map(|run| run.started_at))
    }

    /// Removes the policy from the last complete resync run: the next run reads everything.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn forget_verified_policy(&self) -> Result<(), CallError>;

    /// Stores a complete resync run, unless a stored one began later.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_verified_run(&self, run: &VerifiedRun, now: Timestamp) -> Result<(), CallError>;

    /// The schedule of the scans of a target that events request.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn scan_schedule(&self, target: &ScanTarget) -> Result<ScanSchedule, CallError>;

    /// Stores a schedule of scans if the stored one is still `current`. Returns whether it did.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_scan_schedule(
        &self,
        target: &ScanTarget,
        current: ScanSchedule,
        updated: ScanSchedule,
    ) -> Result<bool, CallError>;

    /// The open incident with an alert's key, and its version.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn incident(&self, key: &str) -> Result<Option<(Incident, u64)>, CallError>;

    /// Every open incident by its alert's key, each with its version. What cannot be parsed is left out:
    /// [`Self::unreadable_incidents`].
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn incidents(&self) -> Result<BTreeMap<String, (Incident, u64)>, CallError>;

    /// The items among the incidents that cannot be parsed: by key, how to remove each. One of them stops
    /// neither the others nor a new alert with its key, which replaces it.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn unreadable_incidents(&self) -> Result<BTreeMap<String, String>, CallError> {
        Ok(BTreeMap::new())
    }

    /// Stores an incident, or deletes it if `None`. A conditional write: it happens only if
    /// the stored version is `expected_version`, where `None` expects no stored incident.
    /// Returns whether it happened.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    async fn put_incident(
        &self,
        key: &str,
        incident: Option<&Incident>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError>;
}
