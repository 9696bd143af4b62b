//! The processing of a batch of queue messages: parses them, merges them into one job for each
//! subject, reconciles each job, and queues what has to be retried.

use crate::alerts::{self, CheckedSubjects};
use crate::observe::Prefetched;
use crate::ports::{
    Alerts, Clock, Environment, Ledger, ReadRegion, RetryQueue, StatsStore, WriteRegion,
};
use crate::reconcile::{Context, ReconcileLogEntry, ReconcileTimer, reconcile};
use crate::resync;
use crate::retry_message::RetryMessage;
use crate::versioned_item::{self, ItemUpdate, RowItem};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::event::{EventContext, Parsed, parse};
use twinlake_core::heartbeat::Heartbeat;
use twinlake_core::ledger::ScanDecision;
use twinlake_core::scope::ReadRequest;
use twinlake_core::{
    Alert, AlertKind, CallError, Facet, LedgerRow, Scope, Subject, SubjectState, Timestamp,
};

/// One message of a batch.
#[derive(Clone, Debug)]
pub struct QueueMessage {
    /// The SQS message ID.
    pub id: String,
    /// The body: an event, or a [`RetryMessage`].
    pub body: Vec<u8>,
}

/// The result of a batch.
#[derive(Clone, Debug, Default)]
pub struct BatchResult {
    /// IDs of messages that SQS must deliver again, because a call for them failed.
    pub failed: BTreeSet<String>,
    /// The reconciliations, in order.
    pub reconciled: Vec<ReconcileLogEntry>,
    /// The number of rejected plans.
    pub rejected_plans: usize,
    /// The number of scopes that were queued for later.
    pub resent: usize,
    /// The errors for which messages are delivered again, and those of steps that failed
    /// permanently.
    pub errors: Vec<CallError>,
    /// IDs of messages that require no action, with the reason.
    pub ignored: Vec<(String, String)>,
    /// The subjects that each reconciliation checked.
    checked: Vec<CheckedSubjects>,
}

impl BatchResult {
    /// Returns the number of applied steps.
    #[must_use]
    pub fn applied(&self) -> usize {
        self.reconciled.iter().map(|entry| entry.steps).sum()
    }
}

/// How long a scope is retried before it is left to the resync.
const RETRY_WINDOW_SECS: i64 = 3600;

/// How long a revoke may fail before an alert is published. IAM changes take at most two minutes to
/// propagate (LF-11).
const REVOKE_ALERT_DELAY_SECS: i64 = 300;

/// A scope with the messages that requested it, and the number of earlier attempts.
#[derive(Debug, Default)]
struct Job {
    scope: Scope,
    messages: BTreeSet<String>,
    attempt: u32,
    deadline: Timestamp,
    /// All messages of the job are events; none is a [`RetryMessage`].
    is_event: bool,
}

/// Processes a batch: one reconciliation for each distinct subject.
///
/// After `stop_at`, the remaining jobs are queued unchanged.
pub async fn run<E: Environment<Standby: WriteRegion>, O, A>(
    context: &Context<'_, E>,
    ports: (&O, &A),
    event_context: &EventContext,
    messages: &[QueueMessage],
    stop_at: Timestamp,
) -> BatchResult
where
    O: RetryQueue,
    A: Alerts,
{
    let started = context.clock.now();
    let mut batch_result = BatchResult::default();
    let (jobs, rejected_events) = merge_into_jobs(
        messages,
        event_context,
        (context.standby.region(), started),
        &mut batch_result,
    );
    for (alert, message) in rejected_events {
        let result = alerts::publish(ports.1, context.ledger, &[alert], context.clock.now()).await;
        if let Err(error) = result {
            batch_result.failed.insert(message);
            batch_result.errors.push(error);
        }
    }
    for job in jobs {
        let is_late = context.clock.now() >= stop_at;
        let result = match is_late {
            true => resend(ports.0, &job, &job.scope, &mut batch_result).await,
            false => process_job(context, ports, &job, &mut batch_result).await,
        };
        if let Err(error) = result {
            batch_result.failed.extend(job.messages);
            batch_result.errors.push(error);
        }
    }
    let checked: CheckedSubjects = std::mem::take(&mut batch_result.checked)
        .into_iter()
        .collect();
    let checked = checked.with_healthy(alerts::POLICY_SUBJECT, started);
    // Incidents that cannot be resolved now are resolved by a later check.
    if let Err(error) =
        alerts::resolve_incidents(ports.1, context.ledger, &checked, context.clock.now()).await
    {
        batch_result.errors.push(error);
    }
    batch_result
}

/// Parses messages and merges their scopes into one job for each subject. Returns the jobs, and an
/// alert with its message ID for each message that cannot be parsed.
fn merge_into_jobs(
    messages: &[QueueMessage],
    event_context: &EventContext,
    (region, now): (&str, Timestamp),
    batch_result: &mut BatchResult,
) -> (Vec<Job>, Vec<(Alert, String)>) {
    let mut jobs: BTreeMap<Subject, Job> = BTreeMap::new();
    let mut rejected_events = Vec::new();
    for message in messages {
        let retry_message = RetryMessage::parse(&message.body);
        let is_event = retry_message.is_none();
        let (scope, attempt, deadline) = match retry_message {
            Some(retry_message) => (
                retry_message.scope,
                retry_message.attempt,
                retry_message.deadline,
            ),
            None => match parse(&message.body, event_context) {
                Ok(Parsed::Scope(scope)) => (scope, 0, now.plus_secs(RETRY_WINDOW_SECS)),
                Ok(Parsed::Ignored(reason)) => {
                    batch_result.ignored.push((message.id.clone(), reason));
                    continue;
                }
                Err(error) => {
                    // Delivering the message again cannot help, so an alert is published.
                    let alert = alerts::from_unrecognized_event(&error.0, region, now);
                    rejected_events.push((alert, message.id.clone()));
                    batch_result
                        .ignored
                        .push((message.id.clone(), error.to_string()));
                    continue;
                }
            },
        };
        for part in scope.split() {
            let Some(subject) = part.read_requests.keys().next().cloned() else {
                continue;
            };
            let job = jobs.entry(subject).or_insert_with(|| Job {
                is_event: true,
                ..Job::default()
            });
            job.is_event &= is_event;
            job.scope.merge(part);
            job.messages.insert(message.id.clone());
            job.attempt = job.attempt.max(attempt);
            job.deadline = job.deadline.max(deadline);
        }
    }
    (jobs.into_values().collect(), rejected_events)
}

/// Reconciles one job. Publishes its alerts, and queues what has to be retried.
async fn process_job<E: Environment<Standby: WriteRegion>, O, A>(
    context: &Context<'_, E>,
    (retry_queue, topic): (&O, &A),
    job: &Job,
    batch_result: &mut BatchResult,
) -> Result<(), CallError>
where
    O: RetryQueue,
    A: Alerts,
{
    if job.scope.read_requests.contains_key(&Subject::Catalog) {
        if is_catalog_scan_covered(context, retry_queue, job, batch_result).await? {
            return Ok(());
        }
        return fan_out(context, retry_queue, job, batch_result).await;
    }
    let scope = throttle_partition_scans(context, retry_queue, job, batch_result).await?;
    if scope.is_empty() {
        return Ok(());
    }
    let started = context.clock.now();
    let timer = ReconcileTimer::begin(context);
    let outcome = reconcile(context, &scope, &Prefetched::default()).await?;
    let cause = if job.is_event { "event" } else { "retry" };
    let entry = timer.end(context, &scope, cause, &outcome);
    batch_result.reconciled.push(entry);
    batch_result.rejected_plans += usize::from(!outcome.rejections.is_empty());
    let errors = outcome.failed.iter().map(|(_, error)| error.clone());
    batch_result.errors.extend(errors);
    let now = context.clock.now();
    if outcome.is_settled() && outcome.is_fully_read() {
        for (channel, sent) in &job.scope.heartbeats {
            let heartbeat = Heartbeat {
                sent: *sent,
                done: now,
            };
            context.ledger.record_heartbeat(*channel, heartbeat).await?;
        }
    }
    let region = context.standby.region();
    let is_unread = outcome
        .findings
        .iter()
        .any(|finding| finding.kind == twinlake_core::plan::FindingKind::Unreadable);
    let waiting = outcome
        .waiting
        .clone()
        .or_else(|| is_unread.then(|| (scope.clone(), "it could not be read".to_owned())));
    let mut alerts = alerts::from_outcome(&outcome, region, now);
    if let Some((scope, reason)) = waiting {
        let is_expired = now >= job.deadline;
        if is_expired {
            alerts.extend(alerts::from_abandoned_scope(&outcome, &reason, region, now));
        } else {
            // Suppresses transient read failures until the deadline.
            alerts.retain(|alert| alert.kind != AlertKind::ReadFailed);
            if now
                >= job
                    .deadline
                    .plus_secs(REVOKE_ALERT_DELAY_SECS - RETRY_WINDOW_SECS)
            {
                alerts.extend(alerts::from_unrevoked(&outcome, region, now));
            }
            resend(retry_queue, job, &scope, batch_result).await?;
        }
    }
    alerts::publish(topic, context.ledger, &alerts, now).await?;
    batch_result
        .checked
        .push(CheckedSubjects::from_outcome(&outcome, started));
    Ok(())
}

/// Whether another scan of the whole catalog covers the job. Events that name no object cause one
/// scan at once and one after the interval, however many they are: the content of an event is
/// chosen by whoever makes the call. A scan that has to wait is queued.
async fn is_catalog_scan_covered<E: Environment, O>(
    context: &Context<'_, E>,
    retry_queue: &O,
    job: &Job,
    batch_result: &mut BatchResult,
) -> Result<bool, CallError>
where
    O: RetryQueue,
{
    if !job.is_event || !job.scope.named_revokes.is_empty() {
        return Ok(false);
    }
    let now = context.clock.now();
    let at = match context.ledger.request_catalog_scan(now).await? {
        ScanDecision::Now => return Ok(false),
        ScanDecision::Covered(_) => return Ok(true),
        ScanDecision::At(at) => at,
    };
    let message = RetryMessage {
        scope: job.scope.clone(),
        attempt: 0,
        deadline: job.deadline.max(at.plus_secs(RETRY_WINDOW_SECS)),
        part: None,
    };
    // If the scan cannot be queued, it is done now.
    let is_queued = retry_queue
        .send(&message, delay_secs(now, at))
        .await
        .is_ok();
    batch_result.resent += usize::from(is_queued);
    Ok(is_queued)
}

/// The delay of a message that is due at a time, as far as the queue allows.
fn delay_secs(now: Timestamp, at: Timestamp) -> u16 {
    let secs = at.secs().saturating_sub(now.secs()).clamp(0, 900);
    u16::try_from(secs).unwrap_or(900)
}

/// Expands an event that names no object to the whole catalog, with one message for each database:
/// a function with a timeout of one minute cannot read all of them.
async fn fan_out<E: Environment, O>(
    context: &Context<'_, E>,
    retry_queue: &O,
    job: &Job,
    batch_result: &mut BatchResult,
) -> Result<(), CallError>
where
    O: RetryQueue,
{
    let mut expanded = resync::expand(context, &job.scope).await?;
    expanded.named_revokes.clone_from(&job.scope.named_revokes);
    for scope in expanded.split() {
        let message = RetryMessage {
            scope,
            attempt: 0,
            deadline: job.deadline,
            part: None,
        };
        retry_queue.send(&message, 0).await?;
        batch_result.resent += 1;
    }
    Ok(())
}

/// Removes those scans of all partitions of a table that another scan will cover, and queues those
/// that have to wait. One scan in five minutes is enough for any number of events on a table.
async fn throttle_partition_scans<E: Environment, O>(
    context: &Context<'_, E>,
    retry_queue: &O,
    job: &Job,
    batch_result: &mut BatchResult,
) -> Result<Scope, CallError>
where
    O: RetryQueue,
{
    let mut scope = job.scope.clone();
    if !job.is_event {
        return Ok(scope);
    }
    let now = context.clock.now();
    for (subject, request) in &job.scope.read_requests {
        let Subject::Table(id) = subject else {
            continue;
        };
        // A table that was created or re-created is always read completely.
        let is_full_read = request.facets.contains(&Facet::Indexes);
        if is_full_read || !request.facets.contains(&Facet::Partitions) {
            continue;
        }
        if is_left_to_resync(context, subject, now).await? {
            remove_partition_scan(&mut scope, subject, request);
            continue;
        }
        let at = match context.ledger.request_partition_scan(id, now).await? {
            ScanDecision::Now => continue,
            ScanDecision::At(at) => Some(at),
            // A deletion that the event names must not be lost.
            ScanDecision::Covered(at) => request.partition_deletion_named.then_some(at),
        };
        if let Some(at) = at {
            let mut later = Scope::default();
            later.add(subject.clone(), request.clone());
            let message = RetryMessage {
                scope: later,
                attempt: 0,
                deadline: job.deadline.max(at.plus_secs(RETRY_WINDOW_SECS)),
                part: None,
            };
            let result = retry_queue.send(&message, delay_secs(now, at));
            if result.await.is_err() {
                // If the scan cannot be queued, it is done now.
                continue;
            }
            batch_result.resent += 1;
        }
        remove_partition_scan(&mut scope, subject, request);
    }
    Ok(scope)
}

/// Removes the scan of all partitions of a subject from a scope. Other facets stay.
fn remove_partition_scan(scope: &mut Scope, subject: &Subject, request: &ReadRequest) {
    let mut rest = ReadRequest {
        partition_deletion_named: false,
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
                detected_by: BTreeSet::from([Facet::Partitions]),
                ..row
            };
            ItemUpdate::Put(out_of_sync, ())
        }
        Some(_) | None => ItemUpdate::Keep(()),
    })
    .await?;
    Ok(true)
}

/// Queues a scope for the next attempt, with exponential backoff.
async fn resend<O: RetryQueue>(
    retry_queue: &O,
    job: &Job,
    scope: &Scope,
    batch_result: &mut BatchResult,
) -> Result<(), CallError> {
    let message = RetryMessage {
        scope: scope.clone(),
        attempt: job.attempt + 1,
        deadline: job.deadline,
        part: None,
    };
    let previous_attempt = RetryMessage {
        attempt: job.attempt,
        ..message.clone()
    };
    retry_queue
        .send(&message, previous_attempt.delay_secs())
        .await?;
    batch_result.resent += 1;
    Ok(())
}
