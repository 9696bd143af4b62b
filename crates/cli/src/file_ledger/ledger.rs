//! The [`Ledger`] of a file.

use super::FileLedger;
use super::tables::{
    DATABASE_RANK, FUNCTION_RANK, ROWS, TABLE_RANK, add_rows_from, row_at, row_key,
};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::failover::EpochRecord;
use twinlake_core::ledger::{
    DeletionLog, LedgerRows, LfTagLease, ObjectCounts, ResyncRun, ScanSchedule, ScanTarget,
    VerifiedRun,
};
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, Incident, LedgerRow, LfSubject, Name, Subject, Timestamp};
use twinlake_engine::Ledger;
use twinlake_engine::ports::{ConditionalWrites, DocumentStore, next_version_of_permanent_item};

/// Methods that read what a ledger has once.
macro_rules! kept_in_memory {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        async fn $name(&self, $($argument: $type),*) -> Result<$result, CallError> {
            self.rest.$name($($argument),*).await
        }
    )*};
}

/// Methods that change what a ledger has once.
macro_rules! stored_at_once {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        async fn $name(&self, $($argument: $type),*) -> Result<$result, CallError> {
            self.change(stringify!($name), self.rest.$name($($argument),*)).await
        }
    )*};
}

pub(super) use {kept_in_memory, stored_at_once};

impl ConditionalWrites for FileLedger {}

/// The family of the items that hold the documents of a family.
pub(super) fn document_family(family: &str) -> String {
    format!("documents#{family}")
}

impl DocumentStore for FileLedger {
    async fn documents(&self, family: &str) -> Result<BTreeMap<String, (String, u64)>, CallError> {
        self.items(&document_family(family))
    }

    async fn document(&self, family: &str, id: &str) -> Result<Option<(String, u64)>, CallError> {
        self.item(&document_family(family), id)
    }

    async fn put_document(
        &self,
        family: &str,
        id: &str,
        document: Option<&str>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        self.put_item((&document_family(family), id), document, expected_version)
    }
}

impl Ledger for FileLedger {
    kept_in_memory! {
        fn epoch() -> Epoch;
        fn epoch_record() -> Option<(EpochRecord, u64)>;
        fn policy() -> Option<String>;
        fn operation_document() -> Option<String>;
        fn paired_counts() -> ObjectCounts;
        fn lf_tag_lease() -> Option<(LfTagLease, u64)>;
        fn deletion_log() -> Option<(DeletionLog, u64)>;
        fn verified_run() -> Option<VerifiedRun>;
        fn scan_schedule(target: &ScanTarget) -> ScanSchedule;
        fn incident(key: &str) -> Option<(Incident, u64)>;
        fn incidents() -> BTreeMap<String, (Incident, u64)>;
    }

    stored_at_once! {
        fn put_epoch_record(record: &EpochRecord, expected: Option<u64>) -> bool;
        fn put_policy(text: &str) -> ();
        fn put_operation_document(text: &str) -> ();
        fn put_paired_counts(counts: &ObjectCounts) -> ();
        fn put_lf_tag_lease(lease: &LfTagLease, expected: Option<u64>) -> bool;
        fn put_deletion_log(log: &DeletionLog, expected: Option<u64>) -> bool;
        fn begin_resync_run(run: &ResyncRun) -> ();
        fn add_run_part(run: &str, part: &str) -> ();
        fn end_run_part(run: &str, part: &str, is_unread: bool) -> Option<ResyncRun>;
        fn forget_verified_policy() -> ();
        fn put_verified_run(run: &VerifiedRun, now: Timestamp) -> ();
        fn put_scan_schedule(target: &ScanTarget, current: ScanSchedule, updated: ScanSchedule) -> bool;
        fn put_incident(key: &str, incident: Option<&Incident>, expected: Option<u64>) -> bool;
    }

    async fn rows(&self, subjects: &BTreeSet<Subject>) -> Result<LedgerRows, CallError> {
        self.read("rows", |transaction| {
            let rows = transaction.open_table(ROWS)?;
            let mut found = LedgerRows::new();
            for subject in subjects {
                let row = row_at(&rows, row_key(subject))?;
                found.extend(row.map(|row| (subject.clone(), row)));
            }
            Ok(found)
        })
    }

    async fn database_rows(&self) -> Result<LedgerRows, CallError> {
        let is_database = |(rank, _, _): (u8, &str, &str)| rank == DATABASE_RANK;
        let first = (DATABASE_RANK, "", "");
        self.rows_from("database_rows", first, is_database, |_| true)
    }

    async fn rows_in_database(&self, database: &Name) -> Result<LedgerRows, CallError> {
        self.read("rows_in_database", |transaction| {
            let rows = transaction.open_table(ROWS)?;
            let mut found = LedgerRows::new();
            for rank in [DATABASE_RANK, FUNCTION_RANK, TABLE_RANK] {
                let is_in_it = |key: (u8, &str, &str)| (key.0, key.1) == (rank, database.as_str());
                let first = (rank, database.as_str(), "");
                add_rows_from(&rows, first, is_in_it, |_| true, &mut found)?;
            }
            Ok(found)
        })
    }

    async fn put_managed_keys(
        &self,
        lf_subject: LfSubject,
        keys: &BTreeSet<String>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let subject = Subject::LakeFormation(lf_subject);
        self.write("put_managed_keys", |transaction| {
            let mut rows = transaction.open_table(ROWS)?;
            let stored = row_at(&rows, row_key(&subject))?;
            let mut row =
                stored.unwrap_or_else(|| LedgerRow::of_managed_keys(lf_subject, BTreeSet::new()));
            if row.managed_keys_version != expected_version {
                return Ok(false);
            }
            row.managed_keys.clone_from(keys);
            row.managed_keys_version = Some(next_version_of_permanent_item(expected_version));
            rows.insert(row_key(&subject), serde_json::to_string(&row)?.as_str())?;
            Ok(true)
        })
    }

    async fn put_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        self.write("put_rows", |transaction| {
            let mut table = transaction.open_table(ROWS)?;
            let mut changed = BTreeSet::new();
            for row in rows {
                let key = row_key(&row.subject);
                let stored = row_at(&table, key)?;
                let version = stored.as_ref().and_then(|stored| stored.version);
                if version != row.version {
                    changed.insert(row.subject.clone());
                    continue;
                }
                let row = LedgerRow {
                    version: Some(row.next_version()),
                    ..row.clone().with_managed_keys_of(stored.as_ref())
                };
                table.insert(key, serde_json::to_string(&row)?.as_str())?;
            }
            Ok(changed)
        })
    }

    async fn delete_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        self.write("delete_rows", |transaction| {
            let mut table = transaction.open_table(ROWS)?;
            let mut changed = BTreeSet::new();
            for row in rows {
                let key = row_key(&row.subject);
                let stored = row_at(&table, key)?;
                if stored.as_ref().and_then(|stored| stored.version) != row.version {
                    changed.insert(row.subject.clone());
                    continue;
                }
                match stored.and_then(|stored| stored.managed_keys_only()) {
                    Some(kept) => {
                        drop(table.insert(key, serde_json::to_string(&kept)?.as_str())?);
                    }
                    None => drop(table.remove(key)?),
                }
            }
            Ok(changed)
        })
    }
}
