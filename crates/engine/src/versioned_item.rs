//! Items of the ledger that several functions change at the same time: the row of a subject, the
//! deletions of the last hour, an incident, the missing objects of a table. One loop changes them: read, compute, and write on the condition that nobody
//! wrote meanwhile; else again.

use crate::ports::{ConditionalWrites, Ledger, StatsStore};
use std::collections::BTreeSet;
use twinlake_core::ledger::{DeletionLog, LfTagLease, PendingObjects};
use twinlake_core::{
    CallError, CallErrorKind, Incident, LedgerRow, LfSubject, Subject, SubjectState, TableId,
    Timestamp,
};

/// The maximum number of attempts. Of the writers that compete in one round, one succeeds; the
/// others pause for a random time first, so that few compete in the next.
const MAX_ATTEMPTS: u32 = 16;

/// An item with a version, which each write increments.
pub(crate) trait VersionedItem {
    /// The content of the item.
    type Value;

    /// What the item is, for the error message.
    fn description(&self) -> String;

    /// Reads the item and its version; `None` if it does not exist.
    async fn read(&self) -> Result<Option<(Self::Value, u64)>, CallError>;

    /// Writes the item, or deletes it if `value` is `None`, if its version is still
    /// `expected_version`. Returns whether it did.
    async fn write(
        &self,
        value: Option<&Self::Value>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError>;

    /// Waits before the next attempt.
    async fn wait_after_conflict(&self, attempt: u32);
}

/// What to do with an item, and the result of [`update`].
pub(crate) enum ItemUpdate<T, R> {
    /// Leave the item as it is.
    Keep(R),
    /// Write the item.
    Put(T, R),
    /// Delete the item.
    Delete(R),
}

/// Changes an item by the function `next` of its current value. `next` is called again with the
/// newer value when another run wrote meanwhile. `known` is a value that was read before, with
/// its version.
///
/// # Errors
/// The ledger is out of reach; [`CallErrorKind::Contended`] if other functions wrote first in each
/// attempt.
pub(crate) async fn update<I: VersionedItem, R>(
    item: &I,
    known: Option<(I::Value, u64)>,
    mut next: impl FnMut(Option<I::Value>) -> ItemUpdate<I::Value, R>,
) -> Result<R, CallError> {
    let mut known = known.map(Some);
    for attempt in 0..MAX_ATTEMPTS {
        let stored = match known.take() {
            Some(stored) => stored,
            None => item.read().await?,
        };
        let (value, version) = stored.unzip();
        let (written, result) = match next(value) {
            ItemUpdate::Keep(result) => return Ok(result),
            ItemUpdate::Put(value, result) => (item.write(Some(&value), version).await?, result),
            ItemUpdate::Delete(result) => (item.write(None, version).await?, result),
        };
        if written {
            return Ok(result);
        }
        item.wait_after_conflict(attempt).await;
    }
    let message = format!("concurrent writers keep changing {}", item.description());
    let kind = CallErrorKind::Contended;
    Err(CallError::new(kind, "ledger", "this Region", message))
}

/// The row of a subject.
pub(crate) struct RowItem<'a, L> {
    pub(crate) ledger: &'a L,
    pub(crate) subject: &'a Subject,
}

impl<L: Ledger> VersionedItem for RowItem<'_, L> {
    type Value = LedgerRow;

    fn description(&self) -> String {
        format!("the row of {}", self.subject)
    }

    async fn read(&self) -> Result<Option<(LedgerRow, u64)>, CallError> {
        let subjects = BTreeSet::from([self.subject.clone()]);
        let row = self.ledger.rows(&subjects).await?.remove(self.subject);
        Ok(row.and_then(|row| row.version.map(|version| (row, version))))
    }

    async fn write(
        &self,
        value: Option<&LedgerRow>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let deleted = LedgerRow::new(
            self.subject.clone(),
            SubjectState::InSync,
            Timestamp::default(),
        );
        let row = LedgerRow {
            version: expected_version,
            ..value.unwrap_or(&deleted).clone()
        };
        let changed = match value {
            Some(_) => self.ledger.put_rows(&[row]).await?,
            None => self.ledger.delete_rows(&[row]).await?,
        };
        Ok(changed.is_empty())
    }

    async fn wait_after_conflict(&self, attempt: u32) {
        ConditionalWrites::wait_after_conflict(self.ledger, attempt).await;
    }
}

/// The deletions that count against the deletion limit.
pub(crate) struct DeletionLogItem<'a, L> {
    pub(crate) ledger: &'a L,
}

impl<L: Ledger> VersionedItem for DeletionLogItem<'_, L> {
    type Value = DeletionLog;

    fn description(&self) -> String {
        "the deletions of the last hour".to_owned()
    }

    async fn read(&self) -> Result<Option<(DeletionLog, u64)>, CallError> {
        self.ledger.deletion_log().await
    }

    async fn write(
        &self,
        value: Option<&DeletionLog>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let empty = DeletionLog::default();
        let log = value.unwrap_or(&empty);
        self.ledger.put_deletion_log(log, expected_version).await
    }

    async fn wait_after_conflict(&self, attempt: u32) {
        ConditionalWrites::wait_after_conflict(self.ledger, attempt).await;
    }
}

/// The lease on changes of access by LF-Tags.
pub(crate) struct LfTagLeaseItem<'a, L> {
    pub(crate) ledger: &'a L,
}

impl<L: Ledger> VersionedItem for LfTagLeaseItem<'_, L> {
    type Value = LfTagLease;

    fn description(&self) -> String {
        "the lease on changes of access by LF-Tags".to_owned()
    }

    async fn read(&self) -> Result<Option<(LfTagLease, u64)>, CallError> {
        self.ledger.lf_tag_lease().await
    }

    async fn write(
        &self,
        value: Option<&LfTagLease>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let none = LfTagLease::default();
        let lease = value.unwrap_or(&none);
        self.ledger.put_lf_tag_lease(lease, expected_version).await
    }

    async fn wait_after_conflict(&self, attempt: u32) {
        ConditionalWrites::wait_after_conflict(self.ledger, attempt).await;
    }
}

/// The managed keys of a Lake Formation subject.
pub(crate) struct ManagedKeysItem<'a, L> {
    pub(crate) ledger: &'a L,
    pub(crate) lf_subject: LfSubject,
}

impl<L: Ledger> VersionedItem for ManagedKeysItem<'_, L> {
    type Value = BTreeSet<String>;

    fn description(&self) -> String {
        format!("the managed keys of {}", self.lf_subject)
    }

    async fn read(&self) -> Result<Option<(BTreeSet<String>, u64)>, CallError> {
        let subject = Subject::LakeFormation(self.lf_subject);
        let subjects = BTreeSet::from([subject.clone()]);
        let row = self.ledger.rows(&subjects).await?.remove(&subject);
        let stored = row.map(|row| (row.managed_keys_version, row.managed_keys));
        Ok(stored.and_then(|(version, keys)| Some((keys, version?))))
    }

    async fn write(
        &self,
        value: Option<&BTreeSet<String>>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let none = BTreeSet::new();
        let (ledger, keys) = (self.ledger, value.unwrap_or(&none));
        ledger
            .put_managed_keys(self.lf_subject, keys, expected_version)
            .await
    }

    async fn wait_after_conflict(&self, attempt: u32) {
        ConditionalWrites::wait_after_conflict(self.ledger, attempt).await;
    }
}

/// The open incident with an alert's key.
pub(crate) struct IncidentItem<'a, L> {
    pub(crate) ledger: &'a L,
    pub(crate) key: &'a str,
}

impl<L: Ledger> VersionedItem for IncidentItem<'_, L> {
    type Value = Incident;

    fn description(&self) -> String {
        format!("the incident {}", self.key)
    }

    async fn read(&self) -> Result<Option<(Incident, u64)>, CallError> {
        self.ledger.incident(self.key).await
    }

    async fn write(
        &self,
        value: Option<&Incident>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let ledger = self.ledger;
        ledger.put_incident(self.key, value, expected_version).await
    }

    async fn wait_after_conflict(&self, attempt: u32) {
        ConditionalWrites::wait_after_conflict(self.ledger, attempt).await;
    }
}

/// The objects of a table that S3 has not replicated.
pub(crate) struct PendingObjectsItem<'a, L> {
    pub(crate) ledger: &'a L,
    pub(crate) table: &'a TableId,
}

impl<L: StatsStore> VersionedItem for PendingObjectsItem<'_, L> {
    type Value = PendingObjects;

    fn description(&self) -> String {
        format!("the pending objects of {}", self.table)
    }

    async fn read(&self) -> Result<Option<(PendingObjects, u64)>, CallError> {
        self.ledger.pending_objects(self.table).await
    }

    async fn write(
        &self,
        value: Option<&PendingObjects>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let ledger = self.ledger;
        ledger
            .put_pending_objects(self.table, value, expected_version)
            .await
    }

    async fn wait_after_conflict(&self, attempt: u32) {
        ConditionalWrites::wait_after_conflict(self.ledger, attempt).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::cell::{Cell, RefCell};

    /// A number that another writer changes before each of the first `conflicts` writes.
    struct Counter {
        stored: Cell<Option<(u64, u64)>>,
        conflicts: Cell<u32>,
        pauses: RefCell<Vec<u32>>,
    }

    impl Counter {
        fn new(conflicts: u32) -> Self {
            Self {
                stored: Cell::new(None),
                conflicts: Cell::new(conflicts),
                pauses: RefCell::default(),
            }
        }
    }

    impl VersionedItem for Counter {
        type Value = u64;

        fn description(&self) -> String {
            "the counter".to_owned()
        }

        async fn read(&self) -> Result<Option<(u64, u64)>, CallError> {
            Ok(self.stored.get())
        }

        async fn write(
            &self,
            value: Option<&u64>,
            expected: Option<u64>,
        ) -> Result<bool, CallError> {
            let next = |version: Option<u64>| version.map_or(0, |version| version + 1);
            if let Some(left) = self.conflicts.get().checked_sub(1) {
                self.conflicts.set(left);
                let (value, version) = self.stored.get().unzip();
                let value = value.unwrap_or_default() + 100;
                self.stored.set(Some((value, next(version))));
            }
            let current = self.stored.get().map(|(_, version)| version);
            if current != expected {
                return Ok(false);
            }
            self.stored.set(value.map(|value| (*value, next(expected))));
            Ok(true)
        }

        async fn wait_after_conflict(&self, attempt: u32) {
            self.pauses.borrow_mut().push(attempt);
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("nothing here waits")
    }

    fn add_one(value: Option<u64>) -> ItemUpdate<u64, u64> {
        let value = value.unwrap_or_default() + 1;
        ItemUpdate::Put(value, value)
    }

    #[test]
    fn no_write_of_another_is_lost_and_each_conflict_is_followed_by_a_longer_pause() {
        let counter = Counter::new(3);
        assert_eq!(run(update(&counter, None, add_one)), Ok(301));
        assert_eq!(counter.stored.get(), Some((301, 3)));
        assert_eq!(*counter.pauses.borrow(), [0, 1, 2]);
    }

    #[test]
    fn a_stale_known_value_is_read_again() {
        let counter = Counter::new(0);
        counter.stored.set(Some((7, 4)));
        assert_eq!(run(update(&counter, Some((1, 2)), add_one)), Ok(8));
    }

    #[test]
    fn an_item_that_others_keep_changing_is_an_error_that_names_it() {
        let counter = Counter::new(u32::MAX);
        let Err(error) = run(update(&counter, None, add_one)) else {
            panic!("the update did not fail");
        };
        assert_eq!(error.kind, CallErrorKind::Contended);
        assert!(error.to_string().contains("the counter"), "{error}");
    }
}
