//! The processing of a batch of queue messages: parses them, merges them into jobs, reconciles each
//! job, and queues what has to be retried.

mod jobs;
mod scans;

use crate::alerts::{self, CheckedSubjects};
use crate::iceberg::{Follower, HeldFiles, MAX_HELD_BYTES, NextCheck, STOP_MARGIN_SECS};
use crate::monitor::CLOCK_SKEW_SECS;
use crate::observe::Prefetched;
use crate::ports::{
    AlertTopic, Clock, Environment, Ledger, ReadRegion, RetryQueue, StatsStore, TableFiles,
    WriteRegion,
};
use crate::reconcile::{
    Context, DueTable, ReconcileLogEntry, ReconcileOutcome, ReconcileTimer, reconcile,
};
use crate::resync;
use crate::retry_message::RetryMessage;
use crate::time_limit;
use futures_util::stream::{self, StreamExt as _};
use jobs::{Job, into_waves, merge_into_jobs};
use scans::{is_catalog_scan_covered, throttle_partition_scans};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::audit::{AuditRule, Rejection};
use twinlake_core::event::EventContext;
use twinlake_core::heartbeat::Heartbeat;
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::scope::ReadRequest;
use twinlake_core::step::{Step, StepTarget};
use twinlake_core::{
    Alert, AlertKind, CallError, Facet, PermissionGrant, Scope, Subject, TableId, Timestamp,
};

/// One message of a batch.
#[derive(Clone, Debug)]
pub struct QueueMessage {
    /// The SQS message ID.
    pub id: String,
    /// The body: an event, or a [`RetryMessage`].
    pub body: Vec<u8>,
    /// Whether it was delivered before: the function may have ended after a write.
    pub is_redelivered: bool,
}

/// The message attribute by which `twinlake redrive` marks what it sends back from a dead-letter queue: SQS
/// counts its deliveries anew.
pub const REDRIVEN_ATTRIBUTE: &str = "twinlake-redriven";

/// The result of a batch.
#[derive(Clone, Debug, Default)]
pub struct BatchResult {
    /// IDs of messages that SQS must deliver again, because a call for them failed.
    pub failed: BTreeSet<String>,
    /// The reconciliations, in order.
    pub reconciled: Vec<ReconcileLogEntry>,
    /// Tables whose files are to be relocated or looked at by a function that has them.
    pub unrelocated: BTreeSet<TableId>,
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
    /// The tables that each job found due, with its messages.
    due_tables: Vec<(BTreeMap<TableId, DueTable>, BTreeSet<String>)>,
}

impl BatchResult {
    /// Returns the number of applied steps.
    #[must_use]
    pub fn applied(&self) -> usize {
        self.reconciled.iter().map(|entry| entry.steps).sum()
    }

    fn merge(&mut self, of_job: Self) {
        self.failed.extend(of_job.failed);
        self.reconciled.extend(of_job.reconciled);
        self.unrelocated.extend(of_job.unrelocated);
        self.rejected_plans += of_job.rejected_plans;
        self.resent += of_job.resent;
        self.errors.extend(of_job.errors);
        self.ignored.extend(of_job.ignored);
        self.checked.extend(of_job.checked);
        self.due_tables.extend(of_job.due_tables);
    }
}

/// How long a revoke may fail before an alert is published. IAM changes take at most two minutes to
/// propagate (LF-11).
const REVOKE_ALERT_DELAY_SECS: i64 = 300;

/// Most jobs of a batch that are reconciled at the same time. Each holds what was read of it in memory.
const MAX_CONCURRENT_JOBS: usize = 8;

/// A job that still runs this long after `stop_at` is given up. What is left until the timeout of the function is for
/// what follows the jobs.
pub const GRACE_SECS: i64 = 5;

/// Processes a batch: one reconciliation for the subjects that may rest on each other. Others are
/// reconciled at the same time.
///
/// After `stop_at`, the remaining jobs are queued unchanged, and the messages of those that run on for more than
/// [`GRACE_SECS`] are delivered again: the other messages of the batch are done.
///
/// With `table_files`, the files of the tables that the jobs find due are rewritten or looked at after all jobs,
/// until then. Without them, a later message or resync of a function that has them does.
pub async fn run<E: Environment<Standby: WriteRegion>, O, A, F>(
    context: &Context<'_, E>,
    ports: (&O, &A),
    table_files: Option<&F>,
    event_context: &EventContext,
    messages: &[QueueMessage],
    stop_at: Timestamp,
) -> BatchResult
where
    O: RetryQueue,
    A: AlertTopic,
    F: TableFiles,
{
    let started = context.clock.now();
    let mut batch_result = BatchResult::default();
    let parsed = merge_into_jobs(messages, event_context, started);
    let region = context.standby.region();
    batch_result.ignored = parsed.ignored;
    for (message, reason) in parsed.rejected {
        // Delivering the message again cannot help, so an alert is published.
        let now = context.clock.now();
        let alert = alerts::from_unrecognized_event(&reason, region, now);
        let result = alerts::publish(ports.1, context.ledger, &[alert], now).await;
        batch_result.ignored.push((message.clone(), reason));
        if let Err(error) = result {
            batch_result.failed.insert(message);
            batch_result.errors.push(error);
        }
    }
    for wave in into_waves(parsed.jobs) {
        let process = |job: Job| async move {
            let now = context.clock.now();
            let messages = job.messages.clone();
            let work = async {
                let mut of_job = BatchResult::default();
                let result = match now >= stop_at {
                    true => send(ports.0, job.messages_not_attempted(), &mut of_job).await,
                    false => process_job(context, ports, &job, &mut of_job).await,
                };
                if let Err(error) = result {
                    of_job.failed.extend(job.messages);
                    of_job.errors.push(error);
                }
                of_job
            };
            or_given_up(work, messages, stop_at.plus_secs(GRACE_SECS), now).await
        };
        let jobs = stream::iter(wave.into_iter().map(process));
        let results: Vec<BatchResult> = jobs.buffered(MAX_CONCURRENT_JOBS).collect().await;
        results
            .into_iter()
            .for_each(|of_job| batch_result.merge(of_job));
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
    let due_tables = std::mem::take(&mut batch_result.due_tables);
    match table_files {
        Some(files) => {
            let due = by_table(due_tables);
            let followed = follow_tables(context, ports.0, files, due, stop_at).await;
            batch_result.merge(followed);
        }
        None => {
            let tables = due_tables.into_iter().flat_map(|(tables, _)| tables);
            batch_result.unrelocated.extend(tables.map(|(id, _)| id));
        }
    }
    batch_result
}

/// The result of a job. If it does not end before `give_up_at`, its messages are delivered again.
async fn or_given_up(
    work: impl Future<Output = BatchResult>,
    messages: BTreeSet<String>,
    give_up_at: Timestamp,
    now: Timestamp,
) -> BatchResult {
    let of_job = time_limit::within(work, give_up_at, now).await;
    of_job.unwrap_or_else(|| BatchResult {
        failed: messages,
        ..BatchResult::default()
    })
}

/// Reconciles one job. Publishes its alerts, and then queues what has to be retried: if one of both
/// fails, the messages are delivered again, and neither an alert nor work is lost.
async fn process_job<E: Environment<Standby: WriteRegion>, O, A>(
    context: &Context<'_, E>,
    (retry_queue, topic): (&O, &A),
    job: &Job,
    batch_result: &mut BatchResult,
) -> Result<(), CallError>
where
    O: RetryQueue,
    A: AlertTopic,
{
    let resent = &mut batch_result.resent;
    if job.scope().read_requests.contains_key(&Subject::Catalog) {
        if is_catalog_scan_covered(context, retry_queue, job, resent).await? {
            return Ok(());
        }
        return fan_out(context, retry_queue, job, batch_result).await;
    }
    let scope = throttle_partition_scans(context, retry_queue, job, resent).await?;
    if scope.is_empty() {
        return Ok(());
    }
    let started = context.clock.now();
    let timer = ReconcileTimer::begin(context);
    let outcome = reconcile(context, &scope, &Prefetched::default()).await?;
    let cause = match job.has_only_events() {
        true => "event",
        false => "retry",
    };
    let entry = timer.end(context, &scope, cause, &outcome);
    batch_result.reconciled.push(entry);
    batch_result.rejected_plans += usize::from(!outcome.rejections.is_empty());
    let errors = outcome.failed.iter().map(|(_, error)| error.clone());
    batch_result.errors.extend(errors);
    let now = context.clock.now();
    if outcome.is_settled() && outcome.is_fully_read() {
        // A time ahead of the clock would keep every later heartbeat from being recorded.
        let latest = now.plus_secs(CLOCK_SKEW_SECS);
        let sent_until_now = scope.heartbeats.iter().filter(|(_, sent)| **sent <= latest);
        for (channel, sent) in sent_until_now {
            let heartbeat = Heartbeat {
                sent: *sent,
                done: now,
            };
            context.ledger.record_heartbeat(*channel, heartbeat).await?;
        }
    }
    let (alerts, messages) = conclude(job, &scope, &outcome, (context.standby.region(), now));
    alerts::publish(topic, context.ledger, &alerts, now).await?;
    send(retry_queue, messages, batch_result).await?;
    batch_result
        .checked
        .push(CheckedSubjects::from_outcome(&outcome, started));
    let due = (outcome.unrelocated, job.messages.clone());
    batch_result.due_tables.push(due);
    Ok(())
}

/// Most tables of a batch that are relocated or looked at at the same time.
const MAX_CONCURRENT_TABLES: usize = 4;

/// Tables that are due, each with the messages to deliver again if it cannot be followed.
type DueTables = BTreeMap<TableId, (DueTable, BTreeSet<String>)>;

/// The tables that jobs found due; of one that several found, what the last one read.
fn by_table(of_jobs: Vec<(BTreeMap<TableId, DueTable>, BTreeSet<String>)>) -> DueTables {
    let mut due = DueTables::new();
    for (tables, messages) in of_jobs {
        for (id, table) in tables {
            let (_, mut all) = due.remove(&id).unwrap_or((table.clone(), BTreeSet::new()));
            all.extend(messages.iter().cloned());
            due.insert(id, (table, all));
        }
    }
    due
}

/// Looks at the files of tables, and queues what follows: the reconciliation of a table whose newest
/// commit is complete now, or the next look. Tables for which no time is left are queued.
async fn follow_tables<E: Environment, O: RetryQueue, F: TableFiles>(
    context: &Context<'_, E>,
    retry_queue: &O,
    files: &F,
    tables: DueTables,
    stop_at: Timestamp,
) -> BatchResult {
    let follower = Follower {
        files,
        ledger: context.ledger,
        clock: context.clock,
        held: &HeldFiles::new(MAX_HELD_BYTES),
        policy: context.policy,
        epoch: context.epoch,
    };
    let follower = &follower;
    let looks = tables.iter().map(|(id, (table, messages))| async move {
        let mut of_table = BatchResult::default();
        let result = follow_table(follower, retry_queue, (id, table), stop_at).await;
        match result {
            Ok(sent) => of_table.resent += sent,
            Err(error) => {
                of_table.failed.clone_from(messages);
                of_table.errors.push(error);
            }
        }
        of_table
    });
    let mut looks = stream::iter(looks).buffer_unordered(MAX_CONCURRENT_TABLES);
    let mut followed = BatchResult::default();
    while let Some(of_table) = looks.next().await {
        followed.merge(of_table);
    }
    followed
}

/// Looks at one table, and queues what follows. Returns the number of messages.
async fn follow_table<F: TableFiles, L: Ledger + StatsStore, C: Clock, O: RetryQueue>(
    follower: &Follower<'_, F, L, C>,
    retry_queue: &O,
    (id, table): (&TableId, &DueTable),
    stop_at: Timestamp,
) -> Result<usize, CallError> {
    let is_late = follower.clock.now().plus_secs(STOP_MARGIN_SECS) >= stop_at;
    let next = match is_late {
        true => NextCheck::AtOnce,
        false => match table {
            DueTable::Iceberg(table) => follower.look(id, table, stop_at).await?,
            DueTable::Logged(table) => follower.look_at_log(id, table, stop_at).await?,
        },
    };
    let message = next.message(id, follower.clock.now());
    let Some((message, delay)) = message else {
        return Ok(0);
    };
    retry_queue.send(&message, delay).await?;
    Ok(1)
}

/// Whether a plan from later reads may pass where the audit rejected one: somebody else may have changed
/// what was read in between.
const fn may_pass_later(rejection: &Rejection) -> bool {
    match rejection.rule {
        AuditRule::WiderAccess
        | AuditRule::Unproven
        | AuditRule::NotManaged
        | AuditRule::Altered
        | AuditRule::OtherPolicyOrEpoch
        | AuditRule::Order => true,
        // It waits for an approval.
        AuditRule::DeletionLimit => false,
    }
}

/// The alerts of a reconciled job, and the messages for what has to be retried.
fn conclude(
    job: &Job,
    scope: &Scope,
    outcome: &ReconcileOutcome,
    (region, now): (&str, Timestamp),
) -> (Vec<Alert>, Vec<(RetryMessage, u16)>) {
    let (waiting, is_sent_again) = with_unread_and_rejected(scope, outcome);
    let waiting_scope = waiting.as_ref().map(|(scope, _)| scope);
    let look_again = job.look_again(&outcome.relisted_revokes, waiting_scope, now);
    let Some((waiting, reason)) = waiting else {
        let alerts = alerts::from_outcome(outcome, region, now);
        return (alerts, look_again.messages);
    };
    let waiting = job.split_waiting(&waiting, &look_again, now);
    // Suppresses transient read failures until the deadline, and rejections until a plan from later reads is
    // rejected too. What is not sent again is told at once.
    let (is_first, is_open) = (job.is_first_attempt(), waiting.expired.is_empty());
    let mut alerts = alerts::from_problems(outcome, region, now, |kind, subject| {
        let is_suppressed = match kind == AlertKind::PlanRejected {
            true => is_first,
            false => kind == AlertKind::ReadFailed,
        };
        !(is_open && is_suppressed && is_sent_again.contains(subject))
    });
    if !is_open {
        let expired = &waiting.expired;
        alerts.extend(alerts::from_abandoned_subjects(
            expired, &reason, region, now,
        ));
    }
    let alert_at = |since: Timestamp| since.plus_secs(REVOKE_ALERT_DELAY_SECS);
    let is_due = |since: Timestamp| alert_at(since) <= now;
    if !is_open || waiting.permissions_wait_since.is_some_and(is_due) {
        alerts.extend(alerts::from_unrevoked(outcome, region, now));
    }
    let messages = waiting.messages.into_iter();
    let messages = messages.flat_map(|message| with_delays(message, &outcome.narrowing_waits));
    (alerts, messages.chain(look_again.messages).collect())
}

/// Whether an event named a revoke that was not made.
fn has_open_revokes(part: &Scope, outcome: &ReconcileOutcome) -> bool {
    let is_revoked = |grant: &PermissionGrant| {
        let mut applied = outcome.applied.iter();
        applied.any(|step| matches!(step, Step::Revoke { grant: revoked, .. } if revoked == grant))
    };
    !part.named_revokes.keys().all(is_revoked)
}

/// What waits after a reconciliation: what the outcome says, what could not be read, and what the audit rejected,
/// also if no message requested it. Returns besides which subjects of such problems are sent again, as alerts name
/// them.
fn with_unread_and_rejected(
    scope: &Scope,
    outcome: &ReconcileOutcome,
) -> (Option<(Scope, String)>, BTreeSet<String>) {
    const REJECTED: &str = "the audit rejected its plan";
    let mut waiting = outcome.waiting.clone();
    let failed = outcome.findings.iter();
    let failed = failed.filter(|finding| finding.kind.is_failed_read());
    let (denied, unread): (Vec<&Finding>, Vec<&Finding>) =
        failed.partition(|finding| finding.kind == FindingKind::Denied);
    let [denied, unread] = [denied, unread].map(|findings| -> BTreeSet<Subject> {
        let subjects = findings.into_iter().map(|finding| &finding.subject);
        subjects.cloned().collect()
    });
    let rejected = outcome.rejections.iter().filter(|one| may_pass_later(one));
    let rejected: Vec<&Rejection> = rejected.collect();
    let is_any_whole = rejected.iter().any(|one| one.targets.is_empty());
    let targets: BTreeSet<&StepTarget> = rejected.iter().flat_map(|one| &one.targets).collect();
    let rejected: BTreeSet<Subject> = targets.iter().map(|target| target.subject()).collect();
    let rests_on = |part: &Scope, subjects: &BTreeSet<Subject>| {
        let mut requested = part.read_requests.keys();
        requested.any(|subject| subjects.iter().any(|one| one.overlaps(subject)))
    };
    let parts = scope.clone().split();
    let is_requested = |subject: &Subject| {
        let mut requested = scope.read_requests.keys();
        requested.any(|requested| requested.overlaps(subject))
    };
    for part in parts {
        let reason = match is_any_whole || rests_on(&part, &rejected) {
            true => REJECTED,
            false if rests_on(&part, &unread) => "it could not be read",
            // Only the event says that a grant is revoked which the standby may not list any more.
            false if has_open_revokes(&part, outcome) && rests_on(&part, &denied) => {
                "a right of Twinlake's role is missing"
            }
            false => continue,
        };
        let (all, _) = waiting.get_or_insert_with(|| (Scope::default(), reason.to_owned()));
        all.merge(part);
    }
    // A message of its own holds it on its row, and tells of it.
    for target in targets {
        let subject = target.subject();
        if is_requested(&subject) {
            continue;
        }
        let (all, _) = waiting.get_or_insert_with(|| (Scope::default(), REJECTED.to_owned()));
        all.add(subject, read_of(target));
    }
    let unread = unread.into_iter().filter(is_requested);
    let sent_again = unread.chain(rejected).map(|subject| subject.to_string());
    let whole = is_any_whole.then(|| alerts::WHOLE_PLAN.to_owned());
    (waiting, sent_again.chain(whole).collect())
}

/// What has to be read of a subject to plan a step on it again.
fn read_of(target: &StepTarget) -> ReadRequest {
    if let StepTarget::Partition(_, values) = target {
        return ReadRequest::for_partitions(BTreeSet::from([values.clone()]), false);
    }
    let mut facets = target.facets();
    facets.insert(Facet::Definition);
    ReadRequest {
        facets,
        ..ReadRequest::default()
    }
}

/// The message of the attempt before, whose delay comes before this attempt.
fn previous_attempt(message: &RetryMessage) -> RetryMessage {
    RetryMessage {
        attempt: message.attempt.saturating_sub(1),
        ..message.clone()
    }
}

/// The messages for the next attempt at a scope, each with its delay in seconds: exponential backoff, but for
/// what may take access away, which has a message and a short delay of its own.
fn with_delays(
    message: RetryMessage,
    narrowing_waits: &BTreeSet<Subject>,
) -> Vec<(RetryMessage, u16)> {
    let (narrowing, rest) = message.scope.clone().divide(narrowing_waits);
    let message = |scope| RetryMessage {
        scope,
        ..message.clone()
    };
    let (narrowing, rest) = (message(narrowing), message(rest));
    let delays = [
        previous_attempt(&narrowing).narrowing_delay_secs(),
        previous_attempt(&rest).delay_secs_after(),
    ];
    let messages = [narrowing, rest].into_iter().zip(delays);
    messages.filter(|(one, _)| !one.scope.is_empty()).collect()
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
    let requested = job.scope();
    let mut expanded = resync::expand(context, &requested).await?;
    expanded.named_revokes = requested.named_revokes;
    expanded.grant_calls = requested.grant_calls;
    // This invocation makes no grant, so a delivery before it left none to look at again.
    for scope in expanded.split() {
        let message = RetryMessage {
            looks_left: job.looks_left(),
            ..RetryMessage::new(scope, job.latest_deadline())
        };
        retry_queue.send(&message, 0).await?;
        batch_result.resent += 1;
    }
    Ok(())
}

/// Queues messages, each with its delay in seconds.
async fn send<O: RetryQueue>(
    retry_queue: &O,
    messages: Vec<(RetryMessage, u16)>,
    batch_result: &mut BatchResult,
) -> Result<(), CallError> {
    for (message, delay) in messages {
        retry_queue.send(&message, delay).await?;
        batch_result.resent += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::iceberg_replica::{DueIcebergTable, IcebergEntry};
    use twinlake_core::plan::Finding;
    use twinlake_core::{Name, Permission, PermissionGrant, Principal, Resource};

    fn now() -> Timestamp {
        Timestamp::from_secs(10_000)
    }

    fn table(name: &str) -> TableId {
        TableId::new(Name::new("sales").unwrap(), Name::new(name).unwrap())
    }

    #[tokio::test]
    async fn a_job_that_runs_on_gives_its_messages_back_and_one_that_ends_does_not() {
        let messages = BTreeSet::from(["1".to_owned(), "2".to_owned()]);
        let give_up_at = now().plus_secs(-1);
        let work = std::future::pending();
        let given_up = or_given_up(work, messages.clone(), give_up_at, now()).await;
        assert_eq!((given_up.failed, given_up.resent), (messages.clone(), 0));
        let work = async {
            BatchResult {
                resent: 1,
                ..BatchResult::default()
            }
        };
        let ended = or_given_up(work, messages, give_up_at, now()).await;
        assert_eq!((ended.failed.len(), ended.resent), (0, 1));
    }

    /// The job of a message about a table.
    fn job(attempt: u32) -> Job {
        let message = RetryMessage {
            attempt,
            ..RetryMessage::new(Scope::table(table("orders")), now().plus_secs(3000))
        };
        job_of(&message, false, now())
    }

    /// The job of one message that is received at a time.
    fn job_of(message: &RetryMessage, is_redelivered: bool, at: Timestamp) -> Job {
        let message = QueueMessage {
            id: "1".to_owned(),
            body: message.body().into_bytes(),
            is_redelivered,
        };
        let parsed = merge_into_jobs(&[message], &EventContext::default(), at);
        let [job] = <[Job; 1]>::try_from(parsed.jobs).unwrap();
        job
    }

    /// An event that names a revoke on a table, as a message.
    fn revoke_event() -> RetryMessage {
        let mut scope = Scope::default();
        let request = ReadRequest::for_facets(&[Facet::Definition, Facet::Grants]);
        scope.add(Subject::Table(table("orders")), request);
        let grant = PermissionGrant {
            principal: Principal("role".to_owned()),
            resource: Resource::Table(table("orders")),
            permission: Permission::Select,
            condition: None,
        };
        scope.named_revokes.insert(grant, false);
        RetryMessage {
            is_event: true,
            ..RetryMessage::new(scope, now().plus_secs(3600))
        }
    }

    /// The primary still lists the grant that the event names as revoked.
    fn relisted(is_readable: bool) -> ReconcileOutcome {
        let unread = Finding {
            kind: FindingKind::Unreadable,
            subject: Subject::Table(table("orders")),
            detail: "throttled".to_owned(),
        };
        ReconcileOutcome {
            relisted_revokes: revoke_event().scope,
            findings: (!is_readable).then_some(unread).into_iter().collect(),
            ..ReconcileOutcome::default()
        }
    }

    /// Handles an event and what follows it, each message alone, until `until` seconds after it. Returns the seconds at
    /// which messages were handled, and the most messages that were under way.
    fn handled(
        event: RetryMessage,
        is_redelivered: bool,
        until: i64,
        outcome: impl Fn(i64) -> ReconcileOutcome,
    ) -> (Vec<i64>, usize) {
        let mut queue = vec![(0, event)];
        let (mut handled, mut most) = (Vec::new(), 0);
        while let Some(next) = (0..queue.len()).min_by_key(|index| queue[*index].0) {
            most = queue.len().max(most);
            assert!(most < 100, "messages multiply: {handled:?}");
            let (secs, message) = queue.remove(next);
            if secs > until {
                break;
            }
            handled.push(secs);
            let at = now().plus_secs(secs);
            let job = job_of(&message, is_redelivered, at);
            let (_, sent) = conclude(&job, &job.scope(), &outcome(secs), ("ap-south-1", at));
            let sent = sent.into_iter();
            queue.extend(sent.map(|(message, delay)| (secs + i64::from(delay), message)));
        }
        (handled, most)
    }

    #[test]
    fn a_revoke_of_a_table_that_stays_unreadable_is_followed_by_one_message_at_a_time() {
        for is_redelivered in [false, true] {
            let (handled, most) = handled(revoke_event(), is_redelivered, 4 * 3600, |_| {
                relisted(false)
            });
            assert_eq!(most, 1, "redelivered: {is_redelivered}");
            assert!(handled.len() > 180, "it is attempted for an hour");
        }
    }

    #[test]
    fn a_grant_that_stays_listed_after_its_revoke_is_read_twice_more_however_long_a_read_failed() {
        let (at_once, _) = handled(revoke_event(), false, 7200, |_| relisted(true));
        assert_eq!(at_once, [0, 80, 720]);
        let (later, most) = handled(revoke_event(), false, 7200, |secs| relisted(secs > 300));
        let first_read = later.iter().position(|secs| *secs > 300).unwrap();
        let looks: Vec<i64> = later[first_read..]
            .iter()
            .map(|secs| secs - later[first_read])
            .collect();
        assert_eq!((looks.as_slice(), most), ([0, 80, 720].as_slice(), 1));
    }

    #[test]
    fn a_message_that_was_delivered_before_is_read_twice_more_after_it_was_sent_on_unattempted() {
        let settled = |_| ReconcileOutcome::default();
        let first = job_of(&revoke_event(), true, now());
        let [(sent_on, _)] = <[_; 1]>::try_from(first.messages_not_attempted()).unwrap();
        assert!(sent_on.is_event && sent_on.attempt == 0, "{sent_on:?}");
        let (looks, most) = handled(sent_on.clone(), false, 7200, settled);
        assert_eq!((looks.as_slice(), most), ([0, 80, 720].as_slice(), 1));
        let again = job_of(&sent_on, false, now()).messages_not_attempted();
        assert_eq!(again[0].0, sent_on, "however often it is sent on");
        // Its permissions wait at first: the attempts read them, and the looks follow.
        let waiting = |secs| match secs < 40 {
            true => relisted(false),
            false => ReconcileOutcome::default(),
        };
        let (handled, most) = handled(sent_on, false, 7200, waiting);
        let last = &handled[handled.len() - 3..];
        assert_eq!((last[2] - last[1], last[1] - last[0], most), (640, 80, 1));
    }

    fn rejected(rule: AuditRule, targets: &[StepTarget]) -> ReconcileOutcome {
        ReconcileOutcome {
            rejections: vec![Rejection {
                rule,
                detail: "x".to_owned(),
                targets: targets.iter().cloned().collect(),
            }],
            ..ReconcileOutcome::default()
        }
    }

    /// The kinds of the alerts, and the delays of the messages.
    fn concluded(attempt: u32, outcome: &ReconcileOutcome) -> (Vec<AlertKind>, Vec<u16>) {
        let job = job(attempt);
        let (alerts, messages) = conclude(&job, &job.scope(), outcome, ("ap-south-1", now()));
        let kinds = alerts.iter().map(|alert| alert.kind).collect();
        (kinds, messages.iter().map(|(_, delay)| *delay).collect())
    }

    #[test]
    fn a_rejection_is_an_alert_once_a_plan_from_later_reads_is_rejected_too() {
        let on_table = [StepTarget::Object(Subject::Table(table("orders")))];
        let rules = [
            AuditRule::WiderAccess,
            AuditRule::Unproven,
            AuditRule::NotManaged,
            AuditRule::Altered,
            AuditRule::OtherPolicyOrEpoch,
            AuditRule::Order,
        ];
        for rule in rules {
            for targets in [&on_table[..], &[]] {
                let outcome = rejected(rule, targets);
                assert_eq!(concluded(0, &outcome), (vec![], vec![5]), "{rule:?}");
                let again = (vec![AlertKind::PlanRejected], vec![10]);
                assert_eq!(concluded(1, &outcome), again, "{rule:?}");
            }
        }
    }

    #[test]
    fn a_rejection_of_something_that_no_message_requested_is_held_and_told_like_any_other() {
        let items = Subject::Table(table("items"));
        let other = [StepTarget::Object(items.clone())];
        let unread = Finding {
            kind: FindingKind::Unreadable,
            subject: Subject::Table(table("orders")),
            detail: "throttled".to_owned(),
        };
        let alone = rejected(AuditRule::WiderAccess, &other);
        let beside = ReconcileOutcome {
            findings: [unread].into(),
            ..alone.clone()
        };
        for outcome in [alone, beside] {
            let job = job(0);
            let region = ("ap-south-1", now());
            let (alerts, messages) = conclude(&job, &job.scope(), &outcome, region);
            assert_eq!(alerts, vec![], "a later plan may pass");
            let mut sent = messages.iter();
            let (message, _) = sent
                .find(|(message, _)| message.scope.read_requests.contains_key(&items))
                .unwrap();
            let mut parts = message.scope.clone().split().into_iter();
            let of_items = RetryMessage {
                scope: parts
                    .find(|part| part.read_requests.contains_key(&items))
                    .unwrap(),
                ..message.clone()
            };
            let job = job_of(&of_items, false, now());
            let on_items = rejected(AuditRule::WiderAccess, &other);
            let (alerts, _) = conclude(&job, &job.scope(), &on_items, region);
            let kinds: Vec<AlertKind> = alerts.iter().map(|alert| alert.kind).collect();
            assert_eq!(kinds, [AlertKind::PlanRejected]);
        }
    }

    #[test]
    fn a_failed_read_of_something_that_is_not_sent_again_is_told_at_once() {
        let unread = |name: &str| Finding {
            kind: FindingKind::Unreadable,
            subject: Subject::Table(table(name)),
            detail: "throttled".to_owned(),
        };
        let outcome = ReconcileOutcome {
            findings: [unread("orders"), unread("items")].into(),
            ..ReconcileOutcome::default()
        };
        let job = job(0);
        let (alerts, _) = conclude(&job, &job.scope(), &outcome, ("ap-south-1", now()));
        let told: Vec<&str> = alerts.iter().map(|alert| alert.subject.as_str()).collect();
        assert_eq!(told, ["table sales.items"]);
    }

    #[test]
    fn a_deletion_over_the_limit_waits_for_an_approval() {
        let on_table = [StepTarget::Deletion(Subject::Table(table("orders")))];
        let (kinds, delays) = concluded(0, &rejected(AuditRule::DeletionLimit, &on_table));
        assert_eq!((kinds.len(), delays), (1, vec![]));
    }

    #[test]
    fn what_may_take_access_away_has_a_message_and_a_short_delay_of_its_own() {
        let [orders, items] = ["orders", "items"].map(|name| Scope::table(table(name)));
        let mut scope = orders.clone();
        scope.merge(items.clone());
        let message = RetryMessage {
            attempt: 9,
            ..RetryMessage::new(scope, now())
        };
        let narrowing = BTreeSet::from([Subject::Table(table("orders"))]);
        let messages = with_delays(message, &narrowing);
        let [(first, delay), (second, 900)] = messages.as_slice() else {
            panic!("{messages:?}");
        };
        assert_eq!((&first.scope, &second.scope), (&orders, &items));
        assert!((10..=20).contains(delay), "{delay}");
    }

    #[test]
    fn a_table_that_several_jobs_found_due_is_looked_at_once_for_all_their_messages() {
        let due_table = |source: &str| {
            DueTable::Iceberg(DueIcebergTable {
                entry: IcebergEntry {
                    source: source.to_owned(),
                    location: String::new(),
                    columns: String::new(),
                    created: None,
                },
                standby_pointer: None,
            })
        };
        let found = |source: &str, message: &str| {
            let tables = BTreeMap::from([(table("orders"), due_table(source))]);
            (tables, BTreeSet::from([message.to_owned()]))
        };
        let due = by_table(vec![found("old", "1"), found("new", "2")]);
        let messages = BTreeSet::from(["1".to_owned(), "2".to_owned()]);
        let expected = BTreeMap::from([(table("orders"), (due_table("new"), messages))]);
        assert_eq!(due, expected);
    }
}
