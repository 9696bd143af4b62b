//! Scans of the catalog, and of all partitions of a table, that events request: how often they are
//! made, and which are made later.
//!
//! A scan that is made later is in the queue before the ledger says so: an event counts as covered
//! only by a scan that will be made.

use super::jobs::Job;
use crate::ports::{Clock, Environment, Ledger, RetryQueue};
use crate::reconcile::Context;
use crate::retry_message::RetryMessage;
use crate::versioned_item::{self, ItemUpdate, RowItem};
use std::collections::BTreeSet;
use twinlake_core::ledger::{ScanDecision, ScanTarget};
use twinlake_core::scope::ReadRequest;
use twinlake_core::{CallError, Facet, LedgerRow, Scope, Subject, SubjectState, Timestamp};

/// How often a schedule is read again that other functions change.
const MAX_ATTEMPTS: u32 = 4;

/// Decides on a scan that an event requests. `send` queues a scan for a time and returns whether it
/// is queued; what cannot be queued is scanned now.
async fn request_scan<L: Ledger>(
    ledger: &L,
    target: &ScanTarget,
    now: Timestamp,
    send: impl AsyncFn(Timestamp) -> bool,
) -> Result<ScanDecision, CallError> {
    let mut sent_for = None;
    for _ in 0..MAX_ATTEMPTS {
        let current = ledger.scan_schedule(target).await?;
        let (decision, updated) = current.request(now, target.interval_secs());
        match (decision, sent_for) {
            (ScanDecision::Covered(_), _) => return Ok(decision),
            (ScanDecision::At(at), None) => {
                if !send(at).await {
                    return Ok(ScanDecision::Now);
                }
                sent_for = Some(at);
            }
            (ScanDecision::At(_), Some(_)) | (ScanDecision::Now, _) => {}
        }
        if ledger.put_scan_schedule(target, current, updated).await? {
            return Ok(decision);
        }
    }
    // A scan too many is harmless.
    Ok(sent_for.map_or(ScanDecision::Now, ScanDecision::At))
}

/// Whether another scan of the whole catalog covers the job. Events that name no object cause one
/// scan at once and one after the interval, however many they are: the content of an event is
/// chosen by whoever makes the call. A scan that has to wait is queued.
pub(super) async fn is_catalog_scan_covered<E: Environment, O: RetryQueue>(
    context: &Context<'_, E>,
    retry_queue: &O,
    job: &Job,
    resent: &mut usize,
) -> Result<bool, CallError> {
    let scope = job.scope();
    if !job.is_requested_by_events_only(&Subject::Catalog) || !scope.named_revokes.is_empty() {
        return Ok(false);
    }
    let now = context.clock.now();
    let send = async |at| send_later(retry_queue, job, &scope, (now, at)).await;
    let decision = request_scan(context.ledger, &ScanTarget::Catalog, now, send).await?;
    Ok(match decision {
        ScanDecision::Now => false,
        ScanDecision::Covered(_) => true,
        ScanDecision::At(_) => {
            *resent += 1;
            true
        }
    })
}

/// Queues a scope that is due at a time. Returns whether it is queued.
async fn send_later<O: RetryQueue>(
    retry_queue: &O,
    job: &Job,
    scope: &Scope,
    (now, at): (Timestamp, Timestamp),
) -> bool {
    let message = RetryMessage::new(scope.clone(), job.latest_deadline_from(at));
    let sent = retry_queue.send(&message, delay_secs(now, at)).await;
    sent.is_ok()
}

/// The delay of a message that is due at a time, as far as the queue allows.
fn delay_secs(now: Timestamp, at: Timestamp) -> u16 {
    let secs = at.secs().saturating_sub(now.secs()).clamp(0, 900);
    u16::try_from(secs).unwrap_or(900)
}

/// Removes those scans of all partitions of a table that another scan will cover, and queues those
/// that have to wait. One scan in five minutes is enough for any number of events on a table.
pub(super) async fn throttle_partition_scans<E: Environment, O: RetryQueue>(
    context: &Context<'_, E>,
    retry_queue: &O,
    job: &Job,
    resent: &mut usize,
) -> Result<Scope, CallError> {
    let requested = job.scope();
    let mut scope = requested.clone();
    let now = context.clock.now();
    for (subject, request) in &requested.read_requests {
        let Subject::Table(id) = subject else {
            continue;
        };
        // A table that was created or re-created is always read completely.
        let is_full_read = request.facets.contains(&Facet::Indexes);
        let is_throttled = job.is_requested_by_events_only(subject) && !is_full_read;
        if !is_throttled || !request.facets.contains(&Facet::Partitions) {
            continue;
        }
        if is_left_to_resync(context, subject, now).await? {
            remove_partition_scan(&mut scope, subject, request);
            continue;
        }
        let mut later = Scope::default();
        later.add(subject.clone(), request.clone());
        let send = async |at| send_later(retry_queue, job, &later, (now, at)).await;
        let target = ScanTarget::Partitions(id.clone());
        match request_scan(context.ledger, &target, now, &send).await? {
            ScanDecision::Now => continue,
            ScanDecision::At(_) => *resent += 1,
            // A deletion that the event names must not be lost.
            ScanDecision::Covered(at) if request.unnamed_partitions_deleted => {
                if !send(at).await {
                    continue;
                }
                *resent += 1;
            }
            ScanDecision::Covered(_) => {}
        }
        remove_partition_scan(&mut scope, subject, request);
    }
    Ok(scope)
}

/// Removes the scan of all partitions of a subject from a scope. Other facets stay.
fn remove_partition_scan(scope: &mut Scope, subject: &Subject, request: &ReadRequest) {
    let mut rest = ReadRequest {
        unnamed_partitions_deleted: false,
        ..request.clone()
    };
    rest.facets.remove(&Facet::Partitions);
    scope.read_requests.remove(subject);
    let has_other_facets = rest.facets != BTreeSet::from([Facet::Definition]);
    if has_other_facets || !rest.partition_values.is_empty() {
        scope.add(subject.clone(), rest);
    }
}

/// The maximum number of partitions that are listed because of an event. Listing more takes longer
/// than the timeout of the event functions.
const MAX_PARTITIONS_LISTED: usize = 200_000;

/// Whether a table has too many partitions to list them because of an event. If so, marks its row
/// as out of sync until the resync.
async fn is_left_to_resync<E: Environment>(
    context: &Context<'_, E>,
    subject: &Subject,
    now: Timestamp,
) -> Result<bool, CallError> {
    let rows = context
        .ledger
        .rows(&BTreeSet::from([subject.clone()]))
        .await?;
    let Some(row) = rows
        .get(subject)
        .filter(|row| row.partitions > MAX_PARTITIONS_LISTED)
    else {
        return Ok(false);
    };
    let reason = format!(
        "an event changed partitions without naming all of them; the next resync compares its {} \
         partitions",
        row.partitions
    );
    let item = RowItem {
        ledger: context.ledger,
        subject,
    };
    let known = row.version.map(|version| (row.clone(), version));
    versioned_item::update(&item, known, |stored| match stored {
        Some(row) if row.state == SubjectState::InSync => {
            let out_of_sync = LedgerRow {
                state: SubjectState::OutOfSync,
                since: now,
                reason: Some(reason.clone()),
                problem_facets: BTreeSet::from([Facet::Partitions]),
                ..row
            };
            ItemUpdate::Put(out_of_sync, ())
        }
        // The problem that it has already may end before its partitions are read.
        Some(mut row) => match row.problem_facets.insert(Facet::Partitions) {
            true => ItemUpdate::Put(row, ()),
            false => ItemUpdate::Keep(()),
        },
        None => ItemUpdate::Keep(()),
    })
    .await?;
    Ok(true)
}
