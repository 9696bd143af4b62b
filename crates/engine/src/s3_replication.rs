//! Objects that S3 has not replicated: maps them to tables, and checks whether they have arrived in
//! the standby's buckets.

use crate::alerts::CheckedSubjects;
use crate::ports::{Clock, Ledger, StandbyObjects, StatsStore};
use crate::time_limit;
use crate::versioned_item::{self, ItemUpdate, PendingObjectsItem};
use futures_util::stream::{self, StreamExt as _};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::event::{ReplicationEventType, ReplicationNotice, replication_alert_subject};
use twinlake_core::ledger::{ExpectedReplica, PendingObjects};
use twinlake_core::location::{Location, Mapped};
use twinlake_core::render::{counted, one_or_many};
use twinlake_core::topology::Epoch;
use twinlake_core::{AlertKind, CallError, Policy, Subject, SubjectState, TableId, Timestamp};

/// Maps each object to its table: the one whose location is the longest key prefix of the object.
/// Objects outside the location of every table, and canaries, have none.
///
/// # Errors
/// The ledger is out of reach.
pub async fn map_to_tables<L: StatsStore>(
    ledger: &L,
    notices: Vec<ReplicationNotice>,
) -> Result<Vec<(ReplicationNotice, Option<TableId>)>, CallError> {
    let mut cache: BTreeMap<(String, String), Option<TableId>> = BTreeMap::new();
    let mut mapped = Vec::new();
    for notice in notices {
        if notice.is_of_canary() {
            mapped.push((notice, None));
            continue;
        }
        let mut owner = None;
        let mut visited = Vec::new();
        for prefix in notice.key_prefixes() {
            let location = (notice.bucket.clone(), prefix.to_owned());
            if let Some(table) = cache.get(&location) {
                owner.clone_from(table);
                break;
            }
            // Of several tables with the same location, the first represents all.
            let tables = ledger.tables_at_location(&notice.bucket, prefix).await?;
            visited.push(location);
            if let Some(table) = tables.into_iter().next() {
                owner = Some(table);
                break;
            }
        }
        cache.extend(
            visited
                .into_iter()
                .map(|location| (location, owner.clone())),
        );
        mapped.push((notice, owner));
    }
    Ok(mapped)
}

/// Returns a notice with the bucket in which the replica is expected. If S3 did not send it, it is
/// derived from the locations in the policy.
#[must_use]
pub fn with_destination(
    mut notice: ReplicationNotice,
    policy: &Policy,
    epoch: Epoch,
) -> ReplicationNotice {
    if notice.destination.is_none() {
        let source = format!("s3://{}/{}", notice.bucket, notice.key);
        if let Ok(Mapped::To(replica)) = policy.locations.counterpart_from(epoch.primary(), &source)
        {
            let replica = Location::parse(&replica).ok();
            notice.destination = replica.map(|replica| replica.bucket().to_owned());
        }
    }
    notice
}

/// The most objects that are looked for because of one batch of notices.
const MAX_LOOKS_PER_BATCH: usize = 200;

/// Records the missing objects of each table in the ledger, and removes those that have arrived
/// late. A notice of an arrival only says where to look, whoever sent it: an object counts as
/// arrived if it is found in the standby's bucket. Returns the incidents that are resolved by that.
///
/// # Errors
/// The ledger is out of reach.
pub async fn record_failures<L: StatsStore, R: StandbyObjects>(
    ledger: &L,
    replicas: &R,
    mapped: &[(ReplicationNotice, Option<TableId>)],
    now: Timestamp,
) -> Result<CheckedSubjects, CallError> {
    let mut missing: BTreeMap<&TableId, PendingObjects> = BTreeMap::new();
    let mut arrived: BTreeMap<(&TableId, String), BTreeSet<ExpectedReplica>> = BTreeMap::new();
    for (notice, table) in mapped {
        // An object that cannot be checked for causes an alert, but is not recorded as pending.
        let Some((table, replica)) = table.as_ref().zip(notice.replica()) else {
            continue;
        };
        let alert_subject = replication_alert_subject(notice, Some(table));
        if notice.event_type == ReplicationEventType::ReplicatedAfterThreshold {
            let named = arrived.entry((table, alert_subject)).or_default();
            named.insert(replica);
        } else {
            let pending = missing.entry(table).or_default();
            pending.add(&alert_subject, replica, notice.event_time);
        }
    }
    for (table, added) in missing {
        update_pending(ledger, table, |known| known.merge(&added)).await?;
    }
    let mut resolved = BTreeSet::new();
    let mut looks = MAX_LOOKS_PER_BATCH;
    for ((table, alert_subject), named) in arrived {
        let arrived_replicas =
            arrived_replicas(ledger, replicas, (table, &alert_subject), named, &mut looks).await?;
        if arrived_replicas.is_empty() {
            continue;
        }
        let mut is_resolved = false;
        update_pending(ledger, table, |known| {
            is_resolved = known.record_arrivals(&alert_subject, &arrived_replicas);
        })
        .await?;
        resolved.extend(is_resolved.then_some(alert_subject));
    }
    confirm_resolved(ledger, resolved, now).await
}

/// Returns those of the named objects that are found in the standby's bucket. What is not looked
/// for, or cannot be read, stays pending until the hourly check, which also reports the error.
async fn arrived_replicas<L: StatsStore, R: StandbyObjects>(
    ledger: &L,
    replicas: &R,
    (table, alert_subject): (&TableId, &str),
    named: BTreeSet<ExpectedReplica>,
    looks: &mut usize,
) -> Result<BTreeSet<ExpectedReplica>, CallError> {
    let pending = ledger.pending_objects(table).await?;
    let missing = pending.and_then(|(mut pending, _)| pending.reasons.remove(alert_subject));
    let Some(missing) = missing else {
        return Ok(BTreeSet::new());
    };
    let mut found = BTreeSet::new();
    for replica in named {
        let Some(left) = looks.checked_sub(1) else {
            break;
        };
        *looks = left;
        // The age of a sample is that of its first notice, which an arrival cannot change.
        let mut samples = missing.samples.iter();
        let sample = samples.find(|sample| sample.is_same_object(&replica));
        if let Ok(true) = replicas.has_arrived(sample.unwrap_or(&replica)).await {
            found.insert(replica);
        }
    }
    Ok(found)
}

/// Updates the pending objects of a table.
async fn update_pending<L: StatsStore>(
    ledger: &L,
    table: &TableId,
    mut change: impl FnMut(&mut PendingObjects),
) -> Result<(), CallError> {
    let item = PendingObjectsItem { ledger, table };
    versioned_item::update(&item, None, |known| {
        let is_stored = known.is_some();
        let mut updated = known.unwrap_or_default();
        change(&mut updated);
        match updated.reasons.is_empty() {
            false => ItemUpdate::Put(updated, ()),
            true if is_stored => ItemUpdate::Delete(()),
            true => ItemUpdate::Keep(()),
        }
    })
    .await
}

/// Returns those incidents as resolved that did not occur again meanwhile.
async fn confirm_resolved<L: StatsStore>(
    ledger: &L,
    resolved: BTreeSet<String>,
    at: Timestamp,
) -> Result<CheckedSubjects, CallError> {
    let mut checked = CheckedSubjects::default();
    if resolved.is_empty() {
        return Ok(checked);
    }
    let missing = AwaitedObjects::of(&ledger.all_pending_objects().await?);
    for alert_subject in resolved.difference(&missing.alert_subjects) {
        for kind in [AlertKind::ReplicationFailed, AlertKind::ReplicationLate] {
            checked = checked.with_resolved(kind, alert_subject, at);
        }
    }
    Ok(checked)
}

/// The result of a check for missing objects.
#[derive(Debug, Default)]
pub struct PendingRecheck {
    /// The number of tables checked.
    pub tables: usize,
    /// The number of tables for which no time was left.
    pub tables_left: usize,
    /// The incidents that this check resolved.
    pub checked: CheckedSubjects,
    /// Buckets in which every object was checked for and every check succeeded.
    pub reachable_buckets: BTreeSet<String>,
    /// Buckets in which a check failed, with the last error.
    pub bucket_errors: BTreeMap<String, CallError>,
}

/// Most objects that the hourly check looks for at the same time.
const MAX_CONCURRENT_LOOKS: usize = 16;

/// Checks whether missing objects have arrived in the standby's buckets, until `stop_at`. Tables take turns: those
/// that were looked at longest ago come first. The objects in a bucket that cannot be checked stay.
///
/// # Errors
/// The ledger is out of reach.
pub async fn recheck_pending<L: StatsStore, R: StandbyObjects>(
    ledger: &L,
    replicas: &R,
    clock: &impl Clock,
    stop_at: Timestamp,
) -> Result<PendingRecheck, CallError> {
    let mut recheck = PendingRecheck::default();
    let mut resolved = BTreeSet::new();
    let mut unchecked_buckets = BTreeSet::new();
    let started = clock.now();
    for (table, pending) in by_last_look(ledger.all_pending_objects().await?, started) {
        let now = clock.now();
        let looked = match now < stop_at {
            true => time_limit::within(look_for(replicas, &pending), stop_at, now).await,
            false => None,
        };
        let is_looked_at = looked.is_some();
        let mut arrived = BTreeSet::new();
        for (sample, result) in looked.unwrap_or_default() {
            match result {
                Ok(has_arrived) => {
                    recheck.reachable_buckets.insert(sample.bucket.clone());
                    arrived.extend(has_arrived.then_some(sample));
                }
                Err(error) => {
                    recheck.bucket_errors.insert(sample.bucket, error);
                }
            }
        }
        if is_looked_at {
            recheck.tables += 1;
        } else {
            recheck.tables_left += 1;
            let samples = pending.reasons.values().flat_map(|one| &one.samples);
            unchecked_buckets.extend(samples.map(|sample| sample.bucket.clone()));
        }
        // A table that takes all the time that is left has had its turn.
        if now < stop_at {
            update_pending(ledger, &table, |known| {
                known.looked_at = Some(started);
                if is_looked_at {
                    resolved.extend(known.remove_arrived(|sample| arrived.contains(sample)));
                }
            })
            .await?;
        }
    }
    for bucket in recheck.bucket_errors.keys().chain(&unchecked_buckets) {
        // S3 can deny access to one object and answer for another in the same bucket. A bucket with
        // any error counts as unreachable.
        recheck.reachable_buckets.remove(bucket);
    }
    recheck.checked = confirm_resolved(ledger, resolved, started).await?;
    Ok(recheck)
}

/// The tables in the order of their turns. A look later than now is of a clock that was ahead, and counts as none.
fn by_last_look(
    pending: BTreeMap<TableId, (PendingObjects, u64)>,
    now: Timestamp,
) -> Vec<(TableId, PendingObjects)> {
    let tables = pending.into_iter();
    let mut tables: Vec<_> = tables.map(|(table, (known, _))| (table, known)).collect();
    tables.sort_by_key(|(_, pending)| pending.looked_at.filter(|at| *at <= now));
    tables
}

/// Looks for the samples of the missing objects of a table.
async fn look_for<R: StandbyObjects>(
    replicas: &R,
    pending: &PendingObjects,
) -> Vec<(ExpectedReplica, Result<bool, CallError>)> {
    let samples = pending.reasons.values().flat_map(|one| &one.samples);
    let looks = samples.map(async |sample| {
        // If the time of the object is unknown, the time of the table's first missing object is used.
        let mut replica = sample.clone();
        replica.created_at = match replica.created_at == Timestamp::default() {
            true => pending.since,
            false => replica.created_at,
        };
        (sample.clone(), replicas.has_arrived(&replica).await)
    });
    stream::iter(looks)
        .buffered(MAX_CONCURRENT_LOOKS)
        .collect()
        .await
}

/// The missing objects of all tables.
#[derive(Debug, Default)]
pub struct AwaitedObjects {
    /// The subjects of the alerts about them.
    pub alert_subjects: BTreeSet<String>,
    /// The buckets that are checked for them.
    pub buckets: BTreeSet<String>,
}

impl AwaitedObjects {
    /// Collects the pending objects of all tables.
    #[must_use]
    pub fn of(pending_by_table: &BTreeMap<TableId, (PendingObjects, u64)>) -> Self {
        let mut awaited = Self::default();
        for (pending, _) in pending_by_table.values() {
            for (alert_subject, missing) in &pending.reasons {
                awaited.alert_subjects.insert(alert_subject.clone());
                let buckets = missing.samples.iter().map(|sample| sample.bucket.clone());
                awaited.buckets.extend(buckets);
            }
        }
        awaited
    }
}

/// The tables of which objects are missing and whose entries are in sync. A table in any other state has that state.
///
/// # Errors
/// The ledger is out of reach.
pub async fn tables_that_only_await_objects<L: Ledger + StatsStore>(
    ledger: &L,
) -> Result<BTreeSet<TableId>, CallError> {
    let pending = ledger.all_pending_objects().await?.into_keys();
    let subjects: BTreeSet<Subject> = pending.map(Subject::Table).collect();
    if subjects.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = ledger.rows(&subjects).await?.into_iter();
    let in_sync = rows.filter(|(_, row)| row.state == SubjectState::InSync);
    Ok(in_sync
        .filter_map(|(subject, _)| match subject {
            Subject::Table(table) => Some(table),
            Subject::Catalog
            | Subject::Database(_)
            | Subject::Function(_)
            | Subject::LakeFormation(_) => None,
        })
        .collect())
}

/// Returns the time of a table's first missing object, and a description of what is missing.
#[must_use]
pub fn describe_pending(pending: &PendingObjects) -> (Timestamp, String) {
    let reasons: Vec<&str> = pending.reasons.keys().map(String::as_str).collect();
    let reason = format!(
        "{} {} not arrived: {}",
        counted(pending.count(), "object"),
        one_or_many(pending.count(), "has", "have"),
        reasons.join("; ")
    );
    (pending.since, reason)
}
