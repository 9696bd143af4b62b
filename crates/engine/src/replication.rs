//! Objects that S3 does not replicate: whose they are, and when they have arrived after all.

use crate::alerts::Looked;
use crate::ports::{Clock, Journal, Replicas};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::event::{Happened, Notice, replication_subject};
use twinlake_core::ledger::{Epoch, Pending, Replica};
use twinlake_core::location::{Location, Mapped};
use twinlake_core::{AlertKind, Fault, FaultKind, Policy, TableId, Timestamp};

/// So often a change of what is pending is tried against others.
const TRIES: usize = 8;

/// Finds the table that each object belongs to: the one whose files lie in the nearest
/// folder around it. Objects beyond every table's place have none.
///
/// # Errors
/// The ledger is out of reach.
pub async fn map_to_tables<L: Journal>(
    ledger: &L,
    notices: Vec<Notice>,
) -> Result<Vec<(Notice, Option<TableId>)>, Fault> {
    let mut known: BTreeMap<(String, String), Option<TableId>> = BTreeMap::new();
    let mut mapped = Vec::new();
    for notice in notices {
        let mut found = None;
        let mut passed = Vec::new();
        for folder in notice.folders() {
            let place = (notice.bucket.clone(), folder.to_owned());
            if let Some(table) = known.get(&place) {
                found.clone_from(table);
                break;
            }
            // Of several tables in one place the first speaks for all.
            let tables = ledger.tables_at(&notice.bucket, folder).await?;
            passed.push(place);
            if let Some(table) = tables.into_iter().next() {
                found = Some(table);
                break;
            }
        }
        known.extend(passed.into_iter().map(|place| (place, found.clone())));
        mapped.push((notice, found));
    }
    Ok(mapped)
}

/// A notice with the bucket where its object ought to be: if S3 did not tell it, that of the
/// policy's places.
#[must_use]
pub fn placed(mut notice: Notice, policy: &Policy, epoch: Epoch) -> Notice {
    if notice.destination.is_none() {
        let here = format!("s3://{}/{}", notice.bucket, notice.key);
        if let Ok(Mapped::To(there)) = policy.locations.map(&here, epoch.first_is_primary()) {
            let there = Location::parse(&there).ok();
            notice.destination = there.map(|there| there.bucket().to_owned());
        }
    }
    notice
}

/// Writes down what is missing of each table, and takes back what came late. Answers the
/// troubles that are over by it.
///
/// # Errors
/// The ledger is out of reach.
pub async fn note<L: Journal>(
    ledger: &L,
    mapped: &[(Notice, Option<TableId>)],
    now: Timestamp,
) -> Result<Looked, Fault> {
    let mut missing: BTreeMap<&TableId, Pending> = BTreeMap::new();
    let mut arrived: BTreeMap<(&TableId, String), BTreeSet<Replica>> = BTreeMap::new();
    for (notice, table) in mapped {
        // What cannot be looked for is told, and not waited for.
        let Some((table, replica)) = table.as_ref().zip(notice.replica()) else {
            continue;
        };
        let reason = replication_subject(notice, Some(table));
        if notice.happened == Happened::Late {
            arrived.entry((table, reason)).or_default().insert(replica);
        } else {
            let pending = missing.entry(table).or_default();
            pending.add(&reason, replica, notice.at);
        }
    }
    for (table, more) in missing {
        change(ledger, table, |known| known.absorb(&more)).await?;
    }
    let mut over = BTreeSet::new();
    for ((table, reason), came) in arrived {
        let mut is_over = false;
        change(ledger, table, |known| is_over = known.came(&reason, &came)).await?;
        over.extend(is_over.then_some(reason));
    }
    still_over(ledger, over, now).await
}

/// Changes what is pending of a table.
async fn change<L: Journal>(
    ledger: &L,
    table: &TableId,
    mut then: impl FnMut(&mut Pending),
) -> Result<(), Fault> {
    for _ in 0..TRIES {
        let (known, was) = ledger.pending(table).await?.unzip();
        let mut next = known.unwrap_or_default();
        then(&mut next);
        let left = (!next.reasons.is_empty()).then_some(&next);
        if left.is_none() && was.is_none() {
            return Ok(());
        }
        if ledger.put_pending(table, left, was).await? {
            return Ok(());
        }
    }
    let message = format!("others keep changing what is pending of {table}");
    Err(Fault::new(FaultKind::Busy, "ledger", "here", message))
}

/// What is over and was not told of anew meanwhile.
async fn still_over<L: Journal>(
    ledger: &L,
    over: BTreeSet<String>,
    at: Timestamp,
) -> Result<Looked, Fault> {
    let mut looked = Looked::default();
    if over.is_empty() {
        return Ok(looked);
    }
    let missing = Awaited::of(&ledger.pendings().await?);
    for reason in over.difference(&missing.reasons) {
        for kind in [AlertKind::ReplicationFailed, AlertKind::ReplicationLate] {
            looked = looked.and_over(kind, reason, at);
        }
    }
    Ok(looked)
}

/// What a look for missing objects came to.
#[derive(Debug, Default)]
pub struct LookedAgain {
    /// Tables that were looked at.
    pub tables: usize,
    /// What is over.
    pub looked: Looked,
    /// Buckets that answered.
    pub answered: BTreeSet<String>,
    /// Buckets that could not be asked.
    pub faults: BTreeMap<String, Fault>,
}

/// Looks in the secondary's buckets for the objects that are missing, until time runs out; in
/// each hour it begins with another table. A bucket that cannot be asked leaves its tables as
/// they are.
///
/// # Errors
/// The ledger is out of reach.
pub async fn look_again<L: Journal, R: Replicas>(
    ledger: &L,
    replicas: &R,
    clock: &impl Clock,
    stop_at: Timestamp,
) -> Result<LookedAgain, Fault> {
    let mut came_to = LookedAgain::default();
    let mut over = BTreeSet::new();
    let began = clock.now();
    let mut pendings: Vec<_> = ledger.pendings().await?.into_iter().collect();
    let hour = usize::try_from(began.secs() / 3600).unwrap_or_default();
    let turn = hour % pendings.len().max(1);
    pendings.rotate_left(turn);
    for (table, (pending, _)) in pendings {
        if clock.now() >= stop_at {
            break;
        }
        came_to.tables += 1;
        let mut there = BTreeSet::new();
        let mut reasons = pending.reasons.values();
        let is_unsampled = reasons.any(|missing| missing.samples.is_empty());
        for sample in pending
            .reasons
            .values()
            .flat_map(|missing| &missing.samples)
        {
            // Of one that was noted without its time, the time of the table's trouble counts.
            let mut replica = sample.clone();
            replica.made = match replica.made == Timestamp::default() {
                true => pending.since,
                false => replica.made,
            };
            match replicas.has_arrived(&replica).await {
                Ok(has_arrived) => {
                    came_to.answered.insert(sample.bucket.clone());
                    if has_arrived {
                        there.insert(sample.clone());
                    }
                }
                Err(fault) => {
                    came_to.faults.insert(sample.bucket.clone(), fault);
                }
            }
        }
        if is_unsampled || !there.is_empty() {
            let is_there = |sample: &Replica| there.contains(sample);
            change(ledger, &table, |known| {
                over.extend(known.take_out(is_there));
            })
            .await?;
        }
    }
    for bucket in came_to.faults.keys() {
        // One that answers only of what it lacks is shut, too.
        came_to.answered.remove(bucket);
    }
    came_to.looked = still_over(ledger, over, began).await?;
    Ok(came_to)
}

/// What is waited for.
#[derive(Debug, Default)]
pub struct Awaited {
    /// What people were told of it.
    pub reasons: BTreeSet<String>,
    /// Where it is looked for.
    pub buckets: BTreeSet<String>,
}

impl Awaited {
    /// What is pending of all tables.
    #[must_use]
    pub fn of(pendings: &BTreeMap<TableId, (Pending, u64)>) -> Self {
        let mut awaited = Self::default();
        for (pending, _) in pendings.values() {
            for (reason, missing) in &pending.reasons {
                awaited.reasons.insert(reason.clone());
                let buckets = missing.samples.iter().map(|sample| sample.bucket.clone());
                awaited.buckets.extend(buckets);
            }
        }
        awaited
    }
}

/// When a table's objects were first missed, and how many for what, for a person.
#[must_use]
pub fn told(pending: &Pending) -> (Timestamp, String) {
    let reasons: Vec<&str> = pending.reasons.keys().map(String::as_str).collect();
    let reason = format!(
        "{} objects have not arrived: {}",
        pending.count(),
        reasons.join("; ")
    );
    (pending.since, reason)
}
