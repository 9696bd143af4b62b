//! The in-memory ledger: for tests, and for the command line, which stores it in a file.

mod documents;
mod stats;
#[cfg(test)]
mod tests;

use crate::ports::{
    ConditionalWrites, Ledger, StatCounters, next_version, next_version_of_permanent_item,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use twinlake_core::canary::CanaryState;
use twinlake_core::failover::EpochRecord;
use twinlake_core::heartbeat::{Channel, ChannelHealth, LagSample};
use twinlake_core::ledger::{
    DeletionLog, LedgerRows, LfTagLease, ObjectCounts, PendingObjects, ResyncRun, ScanSchedule,
    ScanTarget, VerifiedRun, format,
};
use twinlake_core::readiness::ReadinessRecord;
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, Incident, LedgerRow, LfSubject, Name, Subject, TableId, Timestamp};

/// The contents of a ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerFile {
    /// The format of the file.
    #[serde(default = "ledger_format")]
    pub format: u32,
    /// The epoch.
    #[serde(default)]
    pub epoch: Epoch,
    /// The epoch with the journal of the last failover and its version, once a failover wrote it. Its epoch
    /// is that of `epoch`.
    #[serde(default)]
    pub epoch_record: Option<(EpochRecord, u64)>,
    /// The policy document.
    #[serde(default)]
    pub policy: Option<String>,
    /// The operation document.
    #[serde(default)]
    pub operation: Option<String>,
    /// The rows, by subject.
    #[serde(default, with = "twinlake_core::scope::pairs")]
    pub rows: LedgerRows,
    /// The number of paired objects, as last counted.
    #[serde(default)]
    pub paired_counts: ObjectCounts,
    /// The deletions of the last hour, with the version of the record.
    #[serde(default)]
    pub deletions: Option<(DeletionLog, u64)>,
    /// The lease on changes of access by LF-Tags, with its version.
    #[serde(default)]
    pub lf_tag_lease: Option<(LfTagLease, u64)>,
    /// The resync runs that are not complete, by ID.
    #[serde(default)]
    pub resync_runs: BTreeMap<String, ResyncRun>,
    /// The last complete resync run.
    #[serde(default)]
    pub verified_run: Option<VerifiedRun>,
    /// The schedule of scans of the whole catalog that events requested.
    #[serde(default)]
    pub catalog_scan: ScanSchedule,
    /// The schedules of scans of all partitions that events requested, by table.
    #[serde(default, with = "twinlake_core::scope::pairs")]
    pub partition_scans: BTreeMap<TableId, ScanSchedule>,
    /// The incidents with their versions, by alert key.
    #[serde(default)]
    pub incidents: BTreeMap<String, (Incident, u64)>,
    /// The heartbeats that were received, by channel.
    #[serde(default)]
    pub heartbeats: BTreeMap<Channel, ChannelHealth>,
    /// The canaries.
    #[serde(default)]
    pub canaries: Option<CanaryState>,
    /// The lag samples, in order of time.
    #[serde(default)]
    pub lag_samples: Vec<LagSample>,
    /// The reserved calls by Region and second.
    #[serde(default)]
    pub reserved_calls: BTreeMap<String, BTreeMap<Timestamp, u32>>,
    /// The counters of the daily statistics, by hour.
    #[serde(default)]
    pub hourly_counters: BTreeMap<String, StatCounters>,
    /// The results of the checks of the readiness, with their version.
    #[serde(default)]
    pub readiness: Option<(ReadinessRecord, u64)>,
    /// The missing objects with their versions, by table.
    #[serde(default, with = "twinlake_core::scope::pairs")]
    pub pending_objects: BTreeMap<TableId, (PendingObjects, u64)>,
    /// The documents with their versions, by family and id.
    #[serde(default)]
    pub documents: BTreeMap<String, BTreeMap<String, (String, u64)>>,
    /// What relocations of Iceberg tables remember with their versions, by table.
    #[serde(default, with = "twinlake_core::scope::pairs")]
    pub relocation_memories: BTreeMap<TableId, (String, u64)>,
}

impl LedgerFile {
    /// The record of the epoch with its version, as the item of a ledger in DynamoDB has both: whichever site an epoch
    /// names, it has a record, also one that no takeover wrote. `None` if no epoch was ever set.
    fn stored_epoch(&self) -> Option<(EpochRecord, u64)> {
        let epoch = self.epoch;
        match &self.epoch_record {
            Some((record, version)) => {
                let record = record.clone();
                Some((EpochRecord { epoch, ..record }, *version))
            }
            None if epoch == Epoch::INITIAL => None,
            None => {
                let record = EpochRecord {
                    epoch,
                    ..EpochRecord::default()
                };
                Some((record, 0))
            }
        }
    }
}

fn ledger_format() -> u32 {
    format::LEDGER
}

impl Default for LedgerFile {
    fn default() -> Self {
        Self {
            format: format::LEDGER,
            epoch: Epoch::INITIAL,
            epoch_record: None,
            policy: None,
            operation: None,
            rows: LedgerRows::new(),
            paired_counts: ObjectCounts::default(),
            deletions: None,
            lf_tag_lease: None,
            resync_runs: BTreeMap::new(),
            verified_run: None,
            catalog_scan: ScanSchedule::default(),
            partition_scans: BTreeMap::new(),
            incidents: BTreeMap::new(),
            heartbeats: BTreeMap::new(),
            canaries: None,
            lag_samples: Vec::new(),
            reserved_calls: BTreeMap::new(),
            hourly_counters: BTreeMap::new(),
            readiness: None,
            pending_objects: BTreeMap::new(),
            documents: BTreeMap::new(),
            relocation_memories: BTreeMap::new(),
        }
    }
}

/// A [`Ledger`] that keeps its contents in a [`LedgerFile`] in memory.
#[derive(Debug, Default)]
pub struct InMemoryLedger(Mutex<LedgerFile>);

impl InMemoryLedger {
    /// Creates a ledger with the given contents.
    #[must_use]
    pub fn new(contents: LedgerFile) -> Self {
        Self(Mutex::new(contents))
    }

    /// Returns a copy of the current contents.
    #[must_use]
    pub fn contents(&self) -> LedgerFile {
        self.lock().clone()
    }

    /// Sets the contents.
    pub fn set_contents(&self, contents: LedgerFile) {
        *self.lock() = contents;
    }

    /// Sets the epoch.
    pub fn set_epoch(&self, epoch: Epoch) {
        self.lock().epoch = epoch;
    }

    fn rows_where(&self, is_selected: impl Fn(&Subject) -> bool) -> LedgerRows {
        let contents = self.lock();
        let rows = contents
            .rows
            .iter()
            .filter(|(subject, _)| is_selected(subject));
        rows.map(|(subject, row)| (subject.clone(), row.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, LedgerFile> {
        // The contents behind a poisoned lock are consistent: no call leaves them half written.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl ConditionalWrites for InMemoryLedger {}

impl Ledger for InMemoryLedger {
    async fn epoch(&self) -> Result<Epoch, CallError> {
        Ok(self.lock().epoch)
    }

    async fn epoch_record(&self) -> Result<Option<(EpochRecord, u64)>, CallError> {
        Ok(self.lock().stored_epoch())
    }

    async fn put_epoch_record(
        &self,
        record: &EpochRecord,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let mut contents = self.lock();
        let version = contents.stored_epoch().map(|(_, version)| version);
        if version != expected_version {
            return Ok(false);
        }
        contents.epoch = record.epoch;
        let next = version.map_or(0, |version| version + 1);
        contents.epoch_record = Some((record.clone(), next));
        Ok(true)
    }

    async fn policy(&self) -> Result<Option<String>, CallError> {
        Ok(self.lock().policy.clone())
    }

    async fn put_policy(&self, text: &str) -> Result<(), CallError> {
        self.lock().policy = Some(text.to_owned());
        self.forget_verified_policy().await
    }

    async fn operation_document(&self) -> Result<Option<String>, CallError> {
        Ok(self.lock().operation.clone())
    }

    async fn put_operation_document(&self, text: &str) -> Result<(), CallError> {
        self.lock().operation = Some(text.to_owned());
        Ok(())
    }

    async fn rows(&self, subjects: &BTreeSet<Subject>) -> Result<LedgerRows, CallError> {
        let contents = self.lock();
        let rows = subjects.iter().filter_map(|subject| {
            let row = contents.rows.get(subject)?;
            Some((subject.clone(), row.clone()))
        });
        Ok(rows.collect())
    }

    async fn database_rows(&self) -> Result<LedgerRows, CallError> {
        Ok(self.rows_where(|subject| matches!(subject, Subject::Database(_))))
    }

    async fn rows_in_database(&self, database: &Name) -> Result<LedgerRows, CallError> {
        Ok(self.rows_where(|subject| subject.database() == Some(database)))
    }

    async fn put_managed_keys(
        &self,
        lf_subject: LfSubject,
        keys: &BTreeSet<String>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let subject = Subject::LakeFormation(lf_subject);
        let mut contents = self.lock();
        let row = contents.rows.entry(subject.clone());
        let row = row.or_insert_with(|| LedgerRow::of_managed_keys(lf_subject, BTreeSet::new()));
        let is_expected = row.managed_keys_version == expected_version;
        if is_expected {
            row.managed_keys.clone_from(keys);
            row.managed_keys_version = Some(next_version_of_permanent_item(expected_version));
        }
        Ok(is_expected)
    }

    async fn put_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        let mut contents = self.lock();
        let mut changed = BTreeSet::new();
        for row in rows {
            let stored = contents.rows.get(&row.subject);
            if stored.and_then(|stored| stored.version) != row.version {
                changed.insert(row.subject.clone());
                continue;
            }
            let row = LedgerRow {
                version: Some(row.next_version()),
                ..row.clone().with_managed_keys_of(stored)
            };
            contents.rows.insert(row.subject.clone(), row);
        }
        Ok(changed)
    }

    async fn delete_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        let mut contents = self.lock();
        let mut changed = BTreeSet::new();
        for row in rows {
            let stored = contents.rows.get(&row.subject);
            match stored.and_then(|stored| stored.version) == row.version {
                true => {
                    let removed = contents.rows.remove(&row.subject);
                    let kept = removed.as_ref().and_then(LedgerRow::managed_keys_only);
                    contents
                        .rows
                        .extend(kept.map(|kept| (kept.subject.clone(), kept)));
                }
                false => drop(changed.insert(row.subject.clone())),
            }
        }
        Ok(changed)
    }

    async fn paired_counts(&self) -> Result<ObjectCounts, CallError> {
        Ok(self.lock().paired_counts)
    }

    async fn put_paired_counts(&self, counts: &ObjectCounts) -> Result<(), CallError> {
        self.lock().paired_counts = *counts;
        Ok(())
    }

    async fn lf_tag_lease(&self) -> Result<Option<(LfTagLease, u64)>, CallError> {
        Ok(self.lock().lf_tag_lease.clone())
    }

    async fn put_lf_tag_lease(
        &self,
        lease: &LfTagLease,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let mut contents = self.lock();
        let version = contents.lf_tag_lease.as_ref().map(|(_, version)| *version);
        if version != expected_version {
            return Ok(false);
        }
        let next = version.map_or(0, |version| version + 1);
        contents.lf_tag_lease = Some((lease.clone(), next));
        Ok(true)
    }

    async fn deletion_log(&self) -> Result<Option<(DeletionLog, u64)>, CallError> {
        Ok(self.lock().deletions.clone())
    }

    async fn put_deletion_log(
        &self,
        log: &DeletionLog,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let mut contents = self.lock();
        let version = contents.deletions.as_ref().map(|(_, version)| *version);
        if version != expected_version {
            return Ok(false);
        }
        let next = version.map_or(0, |version| version + 1);
        contents.deletions = Some((log.clone(), next));
        Ok(true)
    }

    async fn begin_resync_run(&self, run: &ResyncRun) -> Result<(), CallError> {
        self.lock().resync_runs.insert(run.id.clone(), run.clone());
        Ok(())
    }

    async fn add_run_part(&self, run: &str, part: &str) -> Result<(), CallError> {
        if let Some(run) = self.lock().resync_runs.get_mut(run) {
            run.outstanding_parts.insert(part.to_owned());
        }
        Ok(())
    }

    async fn end_run_part(
        &self,
        run: &str,
        part: &str,
        is_unread: bool,
    ) -> Result<Option<ResyncRun>, CallError> {
        let mut contents = self.lock();
        let Some(stored) = contents.resync_runs.get_mut(run) else {
            return Ok(None);
        };
        stored.outstanding_parts.remove(part);
        stored.has_unread_part |= is_unread;
        let updated = stored.clone();
        if updated.outstanding_parts.is_empty() {
            contents.resync_runs.remove(run);
        }
        Ok(Some(updated))
    }

    async fn verified_run(&self) -> Result<Option<VerifiedRun>, CallError> {
        Ok(self.lock().verified_run.clone())
    }

    async fn forget_verified_policy(&self) -> Result<(), CallError> {
        if let Some(run) = &mut self.lock().verified_run {
            run.policy_digest.clear();
        }
        Ok(())
    }

    async fn put_verified_run(&self, run: &VerifiedRun, now: Timestamp) -> Result<(), CallError> {
        let mut contents = self.lock();
        let stored = contents.verified_run.as_ref().map(|run| run.started_at);
        if stored.is_none_or(|stored| stored < run.started_at || stored > now) {
            contents.verified_run = Some(run.clone());
        }
        Ok(())
    }

    async fn scan_schedule(&self, target: &ScanTarget) -> Result<ScanSchedule, CallError> {
        let contents = self.lock();
        Ok(match target {
            ScanTarget::Catalog => contents.catalog_scan,
            ScanTarget::Partitions(table) => {
                let schedule = contents.partition_scans.get(table);
                schedule.copied().unwrap_or_default()
            }
        })
    }

    async fn put_scan_schedule(
        &self,
        target: &ScanTarget,
        current: ScanSchedule,
        updated: ScanSchedule,
    ) -> Result<bool, CallError> {
        let mut contents = self.lock();
        let stored = match target {
            ScanTarget::Catalog => &mut contents.catalog_scan,
            ScanTarget::Partitions(table) => {
                contents.partition_scans.entry(table.clone()).or_default()
            }
        };
        let is_current = *stored == current;
        if is_current {
            *stored = updated;
        }
        Ok(is_current)
    }

    async fn incident(&self, key: &str) -> Result<Option<(Incident, u64)>, CallError> {
        Ok(self.lock().incidents.get(key).cloned())
    }

    async fn incidents(&self) -> Result<BTreeMap<String, (Incident, u64)>, CallError> {
        Ok(self.lock().incidents.clone())
    }

    async fn put_incident(
        &self,
        key: &str,
        incident: Option<&Incident>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        let mut contents = self.lock();
        let version = contents.incidents.get(key).map(|(_, version)| *version);
        if version != expected_version {
            return Ok(false);
        }
        match incident {
            Some(incident) => {
                let stored = (incident.clone(), next_version(expected_version));
                contents.incidents.insert(key.to_owned(), stored);
            }
            None => {
                contents.incidents.remove(key);
            }
        }
        Ok(true)
    }
}
