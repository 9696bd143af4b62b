//! A batch of queue messages: parsed, merged to one look for each subject,
//! reconciled, and what has to wait sent again.

use crate::alerts::{self, Looked};
use crate::message::Message;
use crate::observe::Prefetched;
use crate::ports::{Alerts, Clock, Journal, Ledger, Outbox, ReadRegion, WriteRegion};
use crate::reconcile::{Context, Measure, Reconciled, reconcile};
use crate::resync;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::event::{Heard, Listener, parse};
use twinlake_core::heartbeat::Beat;
use twinlake_core::ledger::Sweeping;
use twinlake_core::scope::Look;
use twinlake_core::{Alert, AlertKind, Facet, Fault, Row, Scope, State, Subject, Timestamp};

/// One message of a batch.
#[derive(Clone, Debug)]
pub struct Received {
    /// Names the message in the answer.
    pub id: String,
    /// Its body: an event, or a scope of our own.
    pub body: Vec<u8>,
}

/// What came of a batch.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Messages to deliver again: what crashed or could not be reached.
    pub failed: BTreeSet<String>,
    /// Reconciliations made.
    pub reconciled: Vec<Reconciled>,
    /// Plans that were refused.
    pub vetoed: usize,
    /// Scopes sent again, to wait.
    pub waiting: usize,
    /// Why messages are to be delivered again, and why steps failed for good.
    pub faults: Vec<Fault>,
    /// Messages that asked for nothing, with the reason.
    pub dropped: Vec<(String, String)>,
    /// What was looked at, and what of it was left in trouble.
    pub looked: Vec<Looked>,
}

impl Answer {
    /// Steps that were applied.
    #[must_use]
    pub fn applied(&self) -> usize {
        self.reconciled.iter().map(|one| one.steps).sum()
    }
}

/// How long a scope is tried before it is left to the resync.
const TRIES_SECS: i64 = 3600;

/// How long a revoke may wait before people are told: IAM takes two minutes at most to
/// propagate (LF-11).
const PATIENCE_SECS: i64 = 300;

/// A scope with the messages that asked for it and how often it was tried.
#[derive(Debug, Default)]
struct Job {
    scope: Scope,
    messages: BTreeSet<String>,
    attempt: u32,
    deadline: Timestamp,
    /// Events asked for it, and no message of our own.
    is_event: bool,
}

/// Handles a batch: one reconciliation for each distinct subject.
///
/// `stop_at` is when to stop: what is left is sent again as it is.
pub async fn run<P, S, L, C, O, A>(
    context: &Context<'_, P, S, L, C>,
    ports: (&O, &A),
    listener: &Listener,
    received: &[Received],
    stop_at: Timestamp,
) -> Answer
where
    P: ReadRegion,
    S: WriteRegion,
    L: Ledger + Journal,
    C: Clock,
    O: Outbox,
    A: Alerts,
{
    let began = context.clock.now();
    let mut answer = Answer::default();
    let (jobs, told) = sort(
        received,
        listener,
        (context.secondary.region(), began),
        &mut answer,
    );
    for (alert, message) in told {
        let sent = alerts::publish(ports.1, context.ledger, &[alert], context.clock.now()).await;
        if let Err(fault) = sent {
            answer.failed.insert(message);
            answer.faults.push(fault);
        }
    }
    for job in jobs {
        let late = context.clock.now() >= stop_at;
        let result = match late {
            true => resend(ports.0, &job, &job.scope, &mut answer).await,
            false => settle(context, ports, &job, &mut answer).await,
        };
        if let Err(fault) = result {
            answer.failed.extend(job.messages);
            answer.faults.push(fault);
        }
    }
    let looked: Looked = std::mem::take(&mut answer.looked).into_iter().collect();
    let looked = looked.and(alerts::READY, began);
    // What is over and could not be told is told by a later look.
    if let Err(fault) = alerts::heal(ports.1, context.ledger, &looked, context.clock.now()).await {
        answer.faults.push(fault);
    }
    answer
}

/// Parses and merges: scopes that meet in a subject become one job.
fn sort(
    received: &[Received],
    listener: &Listener,
    (region, now): (&str, Timestamp),
    answer: &mut Answer,
) -> (Vec<Job>, Vec<(Alert, String)>) {
    let mut jobs: BTreeMap<Subject, Job> = BTreeMap::new();
    let mut told = Vec::new();
    for message in received {
        let ours = Message::parse(&message.body);
        let is_event = ours.is_none();
        let (scope, attempt, deadline) = match ours {
            Some(ours) => (ours.scope, ours.attempt, ours.deadline),
            None => match parse(&message.body, listener) {
                Ok(Heard::Look(scope)) => (scope, 0, now.plus_secs(TRIES_SECS)),
                Ok(Heard::Nothing(reason)) => {
                    answer.dropped.push((message.id.clone(), reason));
                    continue;
                }
                Err(refused) => {
                    // Redelivery cannot help, so people are told instead.
                    let alert = alerts::of_refusal(&refused.0, region, now);
                    told.push((alert, message.id.clone()));
                    answer
                        .dropped
                        .push((message.id.clone(), refused.to_string()));
                    continue;
                }
            },
        };
        for part in scope.split() {
            let Some(subject) = part.looks.keys().next().cloned() else {
                continue;
            };
            let job = jobs.entry(subject).or_insert_with(|| Job {
                is_event: true,
                ..Job::default()
            });
            job.is_event &= is_event;
            job.scope.absorb(part);
            job.messages.insert(message.id.clone());
            job.attempt = job.attempt.max(attempt);
            job.deadline = job.deadline.max(deadline);
        }
    }
    (jobs.into_values().collect(), told)
}

async fn settle<P, S, L, C, O, A>(
    context: &Context<'_, P, S, L, C>,
    (outbox, topic): (&O, &A),
    job: &Job,
    answer: &mut Answer,
) -> Result<(), Fault>
where
    P: ReadRegion,
    S: WriteRegion,
    L: Ledger + Journal,
    C: Clock,
    O: Outbox,
    A: Alerts,
{
    if job.scope.looks.contains_key(&Subject::Catalog) {
        return hand_out(context, outbox, job, answer).await;
    }
    let scope = space_out(context, outbox, job, answer).await?;
    if scope.is_empty() {
        return Ok(());
    }
    let began = context.clock.now();
    let measure = Measure::begin(context);
    let outcome = reconcile(context, &scope, &Prefetched::default()).await?;
    let cause = if job.is_event { "event" } else { "again" };
    let done = measure.end(context, &scope, cause, &outcome);
    answer.reconciled.push(done);
    answer.vetoed += usize::from(!outcome.vetoes.is_empty());
    let faults = outcome.failed.iter().map(|(_, fault)| fault.clone());
    answer.faults.extend(faults);
    let now = context.clock.now();
    if outcome.is_settled() && outcome.is_read() {
        for (channel, sent) in &job.scope.beats {
            let beat = Beat {
                sent: *sent,
                done: now,
            };
            context.ledger.hear(*channel, beat).await?;
        }
    }
    let region = context.secondary.region();
    let unread = outcome
        .findings
        .iter()
        .any(|finding| finding.kind == twinlake_core::plan::FindingKind::Unreadable);
    let waiting = outcome
        .waiting
        .clone()
        .or_else(|| unread.then(|| (scope.clone(), "it could not be read".to_owned())));
    let mut alerts = alerts::of_outcome(&outcome, region, now);
    if let Some((scope, reason)) = waiting {
        let expired = now >= job.deadline;
        if expired {
            alerts.extend(alerts::of_giving_up(&outcome, &reason, region, now));
        } else {
            // A passing trouble is nobody's business until it lasts.
            alerts.retain(|alert| alert.kind != AlertKind::Unreadable);
            if now >= job.deadline.plus_secs(PATIENCE_SECS - TRIES_SECS) {
                alerts.extend(alerts::of_unrevoked(&outcome, region, now));
            }
            resend(outbox, job, &scope, answer).await?;
        }
    }
    alerts::publish(topic, context.ledger, &alerts, now).await?;
    answer.looked.push(Looked::of(&outcome, began));
    Ok(())
}

/// An event that names nothing is a look at everything: one message for each
/// database, since a function of a minute cannot look at all of them.
async fn hand_out<P, S, L, C, O>(
    context: &Context<'_, P, S, L, C>,
    outbox: &O,
    job: &Job,
    answer: &mut Answer,
) -> Result<(), Fault>
where
    P: ReadRegion,
    S: WriteRegion,
    L: Ledger,
    O: Outbox,
{
    let mut everything = resync::expand(context, &job.scope).await?;
    everything.suspects.clone_from(&job.scope.suspects);
    for scope in everything.split() {
        let message = Message {
            scope,
            attempt: 0,
            deadline: job.deadline,
            part: None,
        };
        outbox.send(&message, 0).await?;
        answer.waiting += 1;
    }
    Ok(())
}

/// Leaves out the looks at all partitions of a table that are made later anyway, and
/// sends those that have to wait: of many events on a large table, one look in five
/// minutes sees what all of them changed.
async fn space_out<P, S, L, C, O>(
    context: &Context<'_, P, S, L, C>,
    outbox: &O,
    job: &Job,
    answer: &mut Answer,
) -> Result<Scope, Fault>
where
    L: Ledger,
    C: Clock,
    O: Outbox,
{
    let mut scope = job.scope.clone();
    if !job.is_event {
        return Ok(scope);
    }
    let now = context.clock.now();
    for (subject, look) in &job.scope.looks {
        let Subject::Table(id) = subject else {
            continue;
        };
        // Of what is new or re-made everything is looked at, whoever asks.
        let all = look.facets.contains(&Facet::Indexes);
        if all || !look.facets.contains(&Facet::Partitions) {
            continue;
        }
        if is_left_to_resync(context, subject, now).await? {
            leave_out(&mut scope, subject, look);
            continue;
        }
        let at = match context.ledger.ask_sweep(id, now).await? {
            Sweeping::Now => continue,
            Sweeping::At(at) => Some(at),
            // What an event says of a deletion must not be lost.
            Sweeping::Covered(at) => look.partition_deletion_named.then_some(at),
        };
        if let Some(at) = at {
            let mut later = Scope::default();
            later.look(subject.clone(), look.clone());
            let message = Message {
                scope: later,
                attempt: 0,
                deadline: job.deadline.max(at.plus_secs(TRIES_SECS)),
                part: None,
            };
            let wait = at.secs().saturating_sub(now.secs()).clamp(0, 900);
            let sent = outbox.send(&message, u16::try_from(wait).unwrap_or(900));
            if sent.await.is_err() {
                // Better now than never.
                continue;
            }
            answer.waiting += 1;
        }
        leave_out(&mut scope, subject, look);
    }
    Ok(scope)
}

/// Takes a look at all partitions out of a scope; what else was asked for stays.
fn leave_out(scope: &mut Scope, subject: &Subject, look: &Look) {
    let mut rest = Look {
        partition_deletion_named: false,
        ..look.clone()
    };
    rest.facets.remove(&Facet::Partitions);
    scope.looks.remove(subject);
    let is_more = rest.facets != BTreeSet::from([Facet::Definition]);
    if is_more || !rest.values.is_empty() {
        scope.look(subject.clone(), rest);
    }
}

/// More partitions than this are not listed because of an event: it takes longer than
/// a function has that hears events.
const MOST_LISTED: usize = 200_000;

/// Whether a table is too large to be listed here; its row says so until the resync.
async fn is_left_to_resync<P, S, L: Ledger, C>(
    context: &Context<'_, P, S, L, C>,
    subject: &Subject,
    now: Timestamp,
) -> Result<bool, Fault> {
    let rows = context
        .ledger
        .rows(&BTreeSet::from([subject.clone()]))
        .await?;
    let Some(row) = rows.get(subject).filter(|row| row.partitions > MOST_LISTED) else {
        return Ok(false);
    };
    if row.state == State::Current {
        let reason = format!(
            "an event changed partitions without naming them all; the next resync looks at \
             its {}",
            row.partitions
        );
        let behind = Row {
            state: State::Behind,
            since: now,
            reason: Some(reason),
            by: BTreeSet::from([Facet::Partitions]),
            ..row.clone()
        };
        context.ledger.put_rows(&[behind]).await?;
    }
    Ok(true)
}

async fn resend<O: Outbox>(
    outbox: &O,
    job: &Job,
    scope: &Scope,
    answer: &mut Answer,
) -> Result<(), Fault> {
    let message = Message {
        scope: scope.clone(),
        attempt: job.attempt + 1,
        deadline: job.deadline,
        part: None,
    };
    let wait = Message {
        attempt: job.attempt,
        ..message.clone()
    };
    outbox.send(&message, wait.delay_secs()).await?;
    answer.waiting += 1;
    Ok(())
}
