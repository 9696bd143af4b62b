//! One handler for each kind of message.

use crate::account::Work;
use crate::start::Start;
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use std::collections::BTreeSet;
use tracing::{info, warn};
use twinlake_core::event::{Heard, Listener, parse};
use twinlake_core::ledger::Role;
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::scope::Look;
use twinlake_core::{
    Alert, AlertKind, Fault, FaultKind, Lake, Name, Scope, Subject, Timestamp, render,
};
use twinlake_engine::alerts::{self, Looked};
use twinlake_engine::batch::{self, Received};
use twinlake_engine::message::{Message, Part};
use twinlake_engine::observe::Prefetched;
use twinlake_engine::reconcile::Reconciled;
use twinlake_engine::resync::{Progress, Report};
use twinlake_engine::role::{Standing, Unready};
use twinlake_engine::{Clock as _, Outcome};

/// What a handler answers: the messages that are to be delivered again.
pub type Handled = Result<SqsBatchResponse, Error>;

/// So long before its end a function stops taking up new work.
const MARGIN_SECS: i64 = 10;

pub(crate) fn received(event: SqsEvent) -> Vec<Received> {
    let records = event.records.into_iter();
    records
        .map(|record| Received {
            id: record.message_id.unwrap_or_default(),
            body: record.body.unwrap_or_default().into_bytes(),
        })
        .collect()
}

pub(crate) fn answer(failed: impl IntoIterator<Item = String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for id in failed {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        response.batch_item_failures.push(failure);
    }
    response
}

pub(crate) fn stop_at(deadline_millis: u64) -> Timestamp {
    let deadline = Timestamp(i64::try_from(deadline_millis).unwrap_or(i64::MAX));
    deadline.plus_secs(-MARGIN_SECS)
}

/// Catalog and permission events, and scopes of our own.
///
/// # Errors
/// The ledger is out of reach: the whole batch is delivered again.
pub async fn catalog_changes(start: &Start, event: LambdaEvent<SqsEvent>) -> Handled {
    let (event, invocation) = event.into_parts();
    let account = start.begin();
    let received = received(event);
    let standing = match may_apply(start).await? {
        May::Apply(standing) => standing,
        May::Drop => return Ok(answer([])),
        May::Wait => return Ok(answer(received.into_iter().map(|message| message.id))),
    };
    let stop_at = stop_at(invocation.deadline);
    let context = start.context(&standing.policy, standing.epoch, stop_at);
    let ports = (&start.outbox, &start.alerts);
    let listener = start.listener(&standing.policy, standing.epoch);
    let done = batch::run(&context, ports, &listener, &received, stop_at).await;
    for (message, reason) in &done.dropped {
        info!(id = message, reason = render::escape(reason), "dropped");
    }
    for fault in &done.faults {
        warn!(fault = render::escape(&fault.to_string()), "a call failed");
    }
    let applied = done.applied();
    for one in &done.reconciled {
        log_one(one);
    }
    info!(
        messages = received.len(),
        reconciled = done.reconciled.len(),
        applied,
        waiting = done.waiting,
        failed = done.failed.len(),
        "batch"
    );
    let work = Work {
        reconciled: done.reconciled.len(),
        applied,
        vetoed: done.vetoed,
    };
    account.end(work.points(), work.counts()).await;
    Ok(answer(done.failed))
}

/// A resync: the whole of it when a schedule asks, a part of it from the queue.
///
/// # Errors
/// The ledger or the queue is out of reach.
pub async fn resync(start: &Start, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (event, invocation) = event.into_parts();
    let stop_at = stop_at(invocation.deadline);
    let standing = match may_apply(start).await? {
        May::Apply(standing) => standing,
        May::Drop => return Ok(Value::Null),
        May::Wait => return Err("this Region may not apply; see the alert".into()),
    };
    if event.get("Records").is_none() {
        run(start, &standing, None, stop_at).await?;
        return Ok(Value::Null);
    }
    let batch: SqsEvent = serde_json::from_value(event)?;
    let mut failed = Vec::new();
    for message in received(batch) {
        let Some(ours) = Message::parse(&message.body) else {
            let refused = tell_refused(start, "a message of the resync's queue is not ours");
            if let Err(fault) = refused.await {
                warn!(fault = render::escape(&fault.to_string()), "not told");
                failed.push(message.id);
            }
            continue;
        };
        let part = ours.part.as_ref().map(|part| (part, &ours.scope));
        if let Err(fault) = run(start, &standing, part, stop_at).await {
            warn!(fault = render::escape(&fault.to_string()), "resync failed");
            failed.push(message.id);
        }
    }
    Ok(serde_json::to_value(answer(failed))?)
}

async fn run(
    start: &Start,
    standing: &Standing,
    part: Option<(&Part, &twinlake_core::Scope)>,
    stop_at: Timestamp,
) -> Result<(), Fault> {
    let account = start.begin();
    let began = start.clock.now();
    let context = start.context(&standing.policy, standing.epoch, stop_at);
    let outbox = Some(&start.outbox);
    let progress = Logged::default();
    let report = twinlake_engine::resync::resync(&context, part, outbox, &progress).await?;
    log(&report);
    let now = start.clock.now();
    let found = alerts::of_report(&report, &start.config.region, now);
    let looked = Looked::of(&report.outcome, began).and(alerts::READY, began);
    let told = alerts::conclude(&start.alerts, &start.ledger, (&found, &looked), now).await;
    let outcome = &report.outcome;
    let applied = outcome.counts.total();
    let work = Work {
        reconciled: progress.0.get(),
        applied,
        vetoed: usize::from(!outcome.vetoes.is_empty()),
    };
    let mut counts = work.counts();
    let drift = if report.first { 0 } else { applied };
    let floor = report.floor.map_or(0, |floor| floor as u64);
    counts.extend([
        ("drift".to_owned(), drift as u64),
        ("resync.calls".to_owned(), report.calls),
        ("resync.floor".to_owned(), floor),
        ("resyncs".to_owned(), u64::from(report.floor.is_some())),
    ]);
    account.end(work.points(), counts).await;
    told
}

/// Logs each reconciliation of a resync, and counts them.
#[derive(Default)]
struct Logged(std::cell::Cell<usize>);

impl Progress for Logged {
    fn total(&self, _: usize) {}
    fn database(&self, _: &Name) {}
    fn reconciled(&self, one: &Reconciled) {
        self.0.set(self.0.get() + 1);
        log_one(one);
    }
}

/// One line for each reconciliation: names, and nothing else of a grant.
fn log_one(one: &Reconciled) {
    info!(
        subject = render::escape(&one.subject),
        cause = one.cause,
        rounds = one.rounds,
        steps = one.steps,
        calls = one.calls,
        milliseconds = one.milliseconds,
        outcome = one.outcome,
        "reconciled"
    );
}

fn log(report: &Report) {
    info!(
        databases = report.databases,
        applied = report.outcome.counts.total(),
        findings = report.outcome.findings.len(),
        vetoes = report.outcome.vetoes.len(),
        failed = report.outcome.failed.len(),
        handed_on = report.handed_on,
        verified_at = report.verified_at.map(|at| at.to_string()),
        "resync"
    );
}

/// Our roles' standing in this Region: in the primary the reading roles are granted what
/// lets them be shown every column, in the standby the settings follow the policy.
///
/// # Errors
/// The ledger, the topic or Lake Formation is out of reach.
pub async fn standing(start: &Start, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (event, invocation) = event.into_parts();
    let stop_at = stop_at(invocation.deadline);
    let ready = match start.standing().await {
        Ok(ready) => ready,
        // The other functions tell people of it.
        Err(unready) => return Err(unready.to_string().into()),
    };
    match ready.role {
        Role::Primary => show_all(start, &ready, &event).await?,
        // Databases that are made in a standby are ours, and tell nothing.
        Role::Standby if event.get("Records").is_some() => {}
        Role::Standby => keep_settings(start, &ready, stop_at).await?,
        Role::Fenced => info!("fenced, so nothing is changed"),
    }
    Ok(Value::Null)
}

async fn show_all(start: &Start, ready: &Standing, event: &Value) -> Result<(), Error> {
    let began = start.clock.now();
    let listener = start.local_listener(&ready.policy, ready.epoch);
    let named = databases_of(event, &listener);
    let granted =
        twinlake_engine::standing::grant_readers(&start.secondary, start.ours(), named.as_ref());
    match granted.await {
        Ok(granted) => {
            info!(grants = granted.len(), "readers");
            let looked = Looked::default().and(&Subject::Catalog.to_string(), began);
            Ok(tell(start, ready.role, (&[], &looked)).await?)
        }
        Err(fault) => {
            let finding = Finding {
                kind: match fault.kind {
                    FaultKind::Denied => FindingKind::Denied,
                    FaultKind::Absent
                    | FaultKind::AlreadyDone
                    | FaultKind::Busy
                    | FaultKind::NotYet
                    | FaultKind::Invalid
                    | FaultKind::Unsupported
                    | FaultKind::Unavailable => FindingKind::Unreadable,
                },
                subject: Subject::Catalog,
                detail: format!("our roles could not be granted SELECT on all tables: {fault}"),
            };
            let outcome = Outcome {
                findings: [finding].into(),
                ..Outcome::default()
            };
            let found = alerts::of_outcome(&outcome, &start.config.region, start.clock.now());
            tell(start, ready.role, (&found, &Looked::default())).await?;
            Err(fault.into())
        }
    }
}

/// The databases that the records of a batch name; none if it is no batch, or if one of
/// them names none.
fn databases_of(event: &Value, listener: &Listener) -> Option<BTreeSet<Name>> {
    let batch: SqsEvent = serde_json::from_value(event.clone()).ok()?;
    let mut names = BTreeSet::new();
    for message in received(batch) {
        let Ok(Heard::Look(scope)) = parse(&message.body, listener) else {
            continue;
        };
        for subject in scope.looks.keys() {
            names.insert(subject.database()?.clone());
        }
    }
    (!names.is_empty()).then_some(names)
}

async fn keep_settings(start: &Start, ready: &Standing, stop_at: Timestamp) -> Result<(), Error> {
    let began = start.clock.now();
    let mut context = start.context(&ready.policy, ready.epoch, stop_at);
    context.writes_settings = true;
    let subject = Subject::Lake(Lake::Settings);
    let mut scope = Scope::default();
    scope.look(subject, Look::at(Lake::Settings.facets()));
    let outcome = twinlake_engine::reconcile(&context, &scope, &Prefetched::default()).await?;
    info!(applied = outcome.counts.total(), "settings");
    let found = alerts::of_outcome(&outcome, &start.config.region, start.clock.now());
    let looked = Looked::of(&outcome, began);
    tell(start, ready.role, (&found, &looked)).await?;
    Ok(())
}

/// Tells what was found and what is over, the standby too.
async fn tell(start: &Start, role: Role, told: (&[Alert], &Looked)) -> Result<(), Fault> {
    let topic = start.topic(Some(role));
    alerts::conclude(&topic, &start.ledger, told, start.clock.now()).await
}

/// Tells that a message made no sense.
pub(crate) async fn tell_refused(start: &Start, reason: &str) -> Result<(), Fault> {
    let now = start.clock.now();
    let alert = alerts::of_refusal(reason, &start.config.region, now);
    alerts::publish(&start.alerts, &start.ledger, &[alert], now)
        .await
        .map(drop)
}

enum May {
    /// This Region is the standby.
    Apply(Box<Standing>),
    /// It is not, so what it hears is not for it.
    Drop,
    /// It cannot know until a person helps; nothing may be lost meanwhile.
    Wait,
}

async fn may_apply(start: &Start) -> Result<May, Error> {
    match start.standing().await {
        Ok(standing) if standing.role == Role::Standby => Ok(May::Apply(Box::new(standing))),
        Ok(standing) => {
            info!(role = standing.role.to_string(), "not the standby");
            Ok(May::Drop)
        }
        Err(Unready::Ledger(fault)) => Err(fault.into()),
        Err(unready) => {
            let alert = of_unready(&unready, start);
            let now = start.clock.now();
            alerts::publish(&start.alerts, &start.ledger, &[alert], now).await?;
            Ok(May::Wait)
        }
    }
}

pub(crate) fn of_unready(unready: &Unready, start: &Start) -> Alert {
    let sentences = [
        format!("Nothing is applied: {unready}."),
        "The secondary is as it was; messages wait, and go to the dead-letter queue in the end."
            .to_owned(),
        "Push one valid policy to both Regions with `twinlake policy push`.".to_owned(),
    ];
    let region = &start.config.region;
    let now = start.clock.now();
    Alert::new(AlertKind::Vetoed, region, alerts::READY, sentences, now)
}
