//! Objects that S3 does not replicate: whose they are, and when they have arrived after all.

use crate::alerts::Looked;
use crate::ports::{Journal, Replicas};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::event::{Happened, Notice, replication_subject};
use twinlake_core::ledger::{LOOKED_FOR, Pending};
use twinlake_core::{AlertKind, Fault, FaultKind, TableId, Timestamp};

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

/// Writes down what is missing of each table, and takes back what came late. Answers the
/// troubles that are over by it.
///
/// # Errors
/// The ledger is out of reach.
pub async fn note<L: Journal>(
    ledger: &L,
    mapped: &[(Notice, Option<TableId>)],
) -> Result<Looked, Fault> {
    let mut missing: BTreeMap<&TableId, Pending> = BTreeMap::new();
    let mut arrived: BTreeMap<&TableId, BTreeSet<&str>> = BTreeMap::new();
    for (notice, table) in mapped {
        let Some(table) = table else {
            continue;
        };
        if notice.happened == Happened::Late {
            arrived.entry(table).or_default().insert(&notice.key);
            continue;
        }
        // What nobody can look for is told, and not waited for.
        let Some(replica) = notice.replica() else {
            continue;
        };
        let one = Pending {
            since: notice.at,
            count: 1,
            reasons: BTreeSet::from([replication_subject(notice, Some(table))]),
            samples: vec![replica],
        };
        let known = missing.remove(table);
        missing.insert(table, Pending::with(known, one));
    }
    for (table, more) in missing {
        change(ledger, table, |known| {
            Some(Pending::with(known, more.clone()))
        })
        .await?;
    }
    let mut looked = Looked::default();
    for (table, keys) in arrived {
        let was = change(ledger, table, |known| {
            without(known, |sample| keys.contains(sample.key.as_str()))
        });
        looked = over(looked, was.await?);
    }
    Ok(looked)
}

/// What is left of a pending once some objects are there; nothing if none is.
fn without(
    known: Option<Pending>,
    is_there: impl Fn(&twinlake_core::ledger::Replica) -> bool,
) -> Option<Pending> {
    let mut left = known?;
    let before = left.samples.len();
    left.samples.retain(|sample| !is_there(sample));
    left.count = left.count.saturating_sub(before - left.samples.len());
    (!left.samples.is_empty()).then_some(left)
}

/// Changes what is pending of a table; answers what it was, if nothing is left of it.
async fn change<L: Journal>(
    ledger: &L,
    table: &TableId,
    then: impl Fn(Option<Pending>) -> Option<Pending>,
) -> Result<Option<Pending>, Fault> {
    for _ in 0..TRIES {
        let known = ledger.pendings().await?.remove(table);
        let (known, was) = known.unzip();
        let next = then(known.clone());
        if next.is_none() && known.is_none() {
            return Ok(None);
        }
        if ledger.put_pending(table, next.as_ref(), was).await? {
            return Ok(known.filter(|_| next.is_none()));
        }
    }
    let message = format!("others keep changing what is pending of {table}");
    Err(Fault::new(FaultKind::Busy, "ledger", "here", message))
}

fn over(mut looked: Looked, ended: Option<Pending>) -> Looked {
    for reason in ended.into_iter().flat_map(|ended| ended.reasons) {
        for kind in [AlertKind::ReplicationFailed, AlertKind::ReplicationLate] {
            looked = looked.and_over(kind, &reason);
        }
    }
    looked
}

/// Looks in the secondary's buckets for the objects that are missing. Answers how many
/// tables still miss some, and the troubles that are over. A bucket that cannot be asked
/// leaves its tables as they are.
///
/// # Errors
/// The ledger is out of reach.
pub async fn look_again<L: Journal, R: Replicas>(
    ledger: &L,
    replicas: &R,
) -> Result<(usize, Looked, Vec<Fault>), Fault> {
    let mut looked = Looked::default();
    let mut faults = Vec::new();
    let mut left = 0;
    for (table, (pending, _)) in ledger.pendings().await? {
        let mut there = BTreeSet::new();
        for sample in pending.samples.iter().take(LOOKED_FOR) {
            match replicas.has_arrived(sample, pending.since).await {
                Ok(true) => {
                    there.insert(sample.clone());
                }
                Ok(false) => {}
                Err(fault) => faults.push(fault),
            }
        }
        if there.is_empty() {
            left += 1;
            continue;
        }
        let was = change(ledger, &table, |known| {
            without(known, |sample| there.contains(sample))
        });
        let ended = was.await?;
        left += usize::from(ended.is_none());
        looked = over(looked, ended);
    }
    Ok((left, looked, faults))
}

/// When a table's objects were first missed, for a person.
#[must_use]
pub fn told(pending: &Pending) -> (Timestamp, String) {
    let reasons: Vec<&str> = pending.reasons.iter().map(String::as_str).collect();
    let reason = format!(
        "{} objects have not arrived: {}",
        pending.count,
        reasons.join("; ")
    );
    (pending.since, reason)
}
