//! The handlers of the functions: one for each kind of message.

pub(crate) mod canary;
pub(crate) mod operations;
pub(crate) mod query;
pub(crate) mod readiness;
pub(crate) mod replication;
pub(crate) mod scheduled;
pub(crate) mod takeover;

use crate::runtime::Runtime;
use crate::telemetry::ReconcileCounts;
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use std::collections::BTreeSet;
use tracing::{info, warn};
use twinlake_core::event::{EventContext, Parsed, parse};
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::scope::ReadRequest;
use twinlake_core::topology::RegionRole;
use twinlake_core::{
    Alert, AlertKind, CallError, CallErrorKind, LfSubject, Name, Scope, Subject, TableId,
    Timestamp, render,
};
use twinlake_engine::alerts::{self, CheckedSubjects};
use twinlake_engine::event_batch::{self, QueueMessage};
use twinlake_engine::iceberg::NextCheck;
use twinlake_engine::observe::Prefetched;
use twinlake_engine::reconcile::ReconcileLogEntry;
use twinlake_engine::region_authority::{NotReady, RegionAuthority};
use twinlake_engine::resync::ResyncDepth;
use twinlake_engine::resync::{ResyncProgress, ResyncReport};
use twinlake_engine::retry_message::{LAST_LOOK_DELAY_SECS, ResyncPart, RetryMessage};
use twinlake_engine::{Clock as _, ReconcileOutcome, RetryQueue as _};

/// The response of a handler to an SQS batch: the messages that SQS must deliver again.
pub type BatchResponse = Result<SqsBatchResponse, Error>;

/// A function starts no new work this long before its timeout. Jobs of a batch that run on are given up
/// [`event_batch::GRACE_SECS`] later, so that Lambda does not end the function with all messages of the batch.
const SHUTDOWN_MARGIN_SECS: i64 = 10;

/// The same for a resync, which hands on the rest. It covers a whole call of Lake Formation with its repetitions: a
/// part that Lambda ends is invisible in its queue for 90 minutes.
const RESYNC_SHUTDOWN_MARGIN_SECS: i64 = 110;

pub(crate) fn queue_messages(event: SqsEvent) -> Vec<QueueMessage> {
    let records = event.records.into_iter();
    records
        .map(|record| QueueMessage {
            is_redelivered: is_redelivered(&record),
            id: record.message_id.unwrap_or_default(),
            body: record.body.unwrap_or_default().into_bytes(),
        })
        .collect()
}

/// Whether a message was delivered before: by its queue, or before `twinlake redrive` sent it back from a
/// dead-letter queue.
fn is_redelivered(record: &SqsMessage) -> bool {
    let count = record.attributes.get("ApproximateReceiveCount");
    count.is_some_and(|count| count != "1")
        || record
            .message_attributes
            .contains_key(event_batch::REDRIVEN_ATTRIBUTE)
}

pub(crate) fn batch_response(failed: impl IntoIterator<Item = String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for id in failed {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        response.batch_item_failures.push(failure);
    }
    response
}

pub(crate) fn stop_at(deadline_millis: u64) -> Timestamp {
    before(deadline_millis, SHUTDOWN_MARGIN_SECS)
}

fn before(deadline_millis: u64, secs: i64) -> Timestamp {
    let deadline = Timestamp::from_millis(i64::try_from(deadline_millis).unwrap_or(i64::MAX));
    deadline.plus_secs(-secs)
}

/// Handles catalog and permission events, and scopes that Twinlake queued for a retry.
///
/// # Errors
/// The ledger, the topic or the queue is out of reach. SQS delivers the whole batch again.
pub async fn catalog_changes(runtime: &Runtime, event: LambdaEvent<SqsEvent>) -> BatchResponse {
    let (event, invocation) = event.into_parts();
    let telemetry = runtime.start_telemetry();
    let messages = queue_messages(event);
    let authority = match decide_writes(runtime).await? {
        WriteDecision::Apply(authority) => authority,
        WriteDecision::Discard => return Ok(batch_response([])),
        WriteDecision::Defer => {
            return Ok(batch_response(
                messages.into_iter().map(|message| message.id),
            ));
        }
    };
    let stop_at = stop_at(invocation.deadline);
    let context = runtime.context(&authority.policy, authority.epoch, stop_at);
    let ports = (&runtime.retry_queue, &runtime.alert_topic);
    let event_context = runtime.peer_event_context(&authority.policy, authority.epoch);
    let files = runtime.table_files.as_ref();
    let result = event_batch::run(&context, ports, files, &event_context, &messages, stop_at).await;
    request_relocations(runtime, &result.unrelocated).await?;
    for (message, reason) in &result.ignored {
        info!(
            id = message,
            reason = render::escape(reason),
            "message ignored"
        );
    }
    for error in &result.errors {
        warn!(
            error = render::escape(&error.to_string()),
            "API call failed"
        );
    }
    let applied = result.applied();
    for entry in &result.reconciled {
        log_reconciliation(entry);
    }
    info!(
        messages = messages.len(),
        reconciled = result.reconciled.len(),
        applied,
        resent = result.resent,
        failed = result.failed.len(),
        "batch completed"
    );
    let reconcile_counts = ReconcileCounts {
        reconciled: result.reconciled.len(),
        applied,
        rejected_plans: result.rejected_plans,
    };
    telemetry
        .finish(reconcile_counts.points(), reconcile_counts.counts())
        .await;
    Ok(batch_response(result.failed))
}

/// Queues the relocation of Iceberg tables for the function that can read their files. If that fails, the
/// messages of the batch are delivered again.
async fn request_relocations<'t>(
    runtime: &Runtime,
    tables: impl IntoIterator<Item = &'t TableId>,
) -> Result<(), CallError> {
    for id in tables {
        let message = NextCheck::AtOnce.message(id, runtime.clock.now());
        if let Some((message, delay)) = message {
            runtime.catalog_queue.send(&message, delay).await?;
        }
    }
    Ok(())
}

/// Runs a resync: of everything when the schedule invokes it, of one part for each queue message.
///
/// # Errors
/// The ledger or the queue is out of reach.
pub async fn resync(runtime: &Runtime, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (event, invocation) = event.into_parts();
    let stop_at = before(invocation.deadline, RESYNC_SHUTDOWN_MARGIN_SECS);
    let authority = match decide_writes(runtime).await? {
        WriteDecision::Apply(authority) => authority,
        WriteDecision::Discard => return Ok(Value::Null),
        WriteDecision::Defer => {
            return Err(
                "the role of this Region cannot be determined; see the published alert".into(),
            );
        }
    };
    if event.get("Records").is_none() {
        // The query tools are read beside the catalog: neither waits for the other, or fails with it.
        let catalog = run_resync(runtime, &authority, None, stop_at);
        let query = query::keep_query_tools_equal(runtime, &authority, stop_at);
        let (catalog, query) = futures_util::future::join(catalog, query).await;
        catalog?;
        query?;
        return Ok(Value::Null);
    }
    let batch: SqsEvent = serde_json::from_value(event)?;
    let mut failed = Vec::new();
    for message in queue_messages(batch) {
        let Some(retry_message) = RetryMessage::parse(&message.body) else {
            let rejected = publish_unrecognized_event(
                runtime,
                "a message in the resync queue was not sent by Twinlake",
            );
            if let Err(error) = rejected.await {
                warn!(
                    error = render::escape(&error.to_string()),
                    "the alert was not published"
                );
                failed.push(message.id);
            }
            continue;
        };
        let part = retry_message
            .part
            .as_ref()
            .map(|part| (part, &retry_message.scope));
        let result = run_resync(runtime, &authority, part, stop_at).await;
        let look_again =
            retry_message.after_redelivery(message.is_redelivered, runtime.clock.now());
        let result = match (result, look_again) {
            (Ok(()), Some(again)) => {
                let delay = LAST_LOOK_DELAY_SECS;
                runtime.retry_queue.send(&again, delay).await
            }
            (result, _) => result,
        };
        if let Err(error) = result {
            warn!(error = render::escape(&error.to_string()), "resync failed");
            failed.push(message.id);
        }
    }
    Ok(serde_json::to_value(batch_response(failed))?)
}

async fn run_resync(
    runtime: &Runtime,
    authority: &RegionAuthority,
    part: Option<(&ResyncPart, &twinlake_core::Scope)>,
    stop_at: Timestamp,
) -> Result<(), CallError> {
    let telemetry = runtime.start_telemetry();
    let started = runtime.clock.now();
    let context = runtime.context(&authority.policy, authority.epoch, stop_at);
    let retry_queue = Some(&runtime.retry_queue);
    let progress = LoggedProgress::default();
    let report = twinlake_engine::resync::resync(
        &context,
        ResyncDepth::Scheduled,
        part,
        retry_queue,
        &progress,
    )
    .await?;
    log_resync(&report);
    let left = request_relocations(runtime, report.outcome.unrelocated.keys()).await;
    let now = runtime.clock.now();
    let found = alerts::from_resync_report(&report, &runtime.config.region, now);
    let checked = CheckedSubjects::from_resync_report(&report, started)
        .with_healthy(alerts::POLICY_SUBJECT, started);
    let published = alerts::publish_and_resolve(
        &runtime.alert_topic,
        &runtime.ledger,
        (&found, &checked),
        now,
    )
    .await;
    let outcome = &report.outcome;
    let applied = outcome.counts.total();
    let reconcile_counts = ReconcileCounts {
        reconciled: progress.0.get(),
        applied,
        rejected_plans: usize::from(!outcome.rejections.is_empty()),
    };
    let mut counts = reconcile_counts.counts();
    let drift = if report.is_initial_sync { 0 } else { applied };
    let lower_bound = report.api_call_lower_bound.map_or(0, |calls| calls as u64);
    counts.extend([
        ("drift".to_owned(), drift as u64),
        ("resync.calls".to_owned(), report.api_calls),
        ("resync.lower_bound".to_owned(), lower_bound),
        (
            "resyncs".to_owned(),
            u64::from(report.api_call_lower_bound.is_some()),
        ),
    ]);
    telemetry.finish(reconcile_counts.points(), counts).await;
    published.and(left)?;
    report.interrupted_by.map_or(Ok(()), Err)
}

/// Logs and counts the reconciliations of a resync.
#[derive(Default)]
struct LoggedProgress(std::cell::Cell<usize>);

impl ResyncProgress for LoggedProgress {
    fn started(&self, _: usize) {}
    fn database_finished(&self, _: &Name) {}
    fn reconciled(&self, entry: &ReconcileLogEntry) {
        self.0.set(self.0.get() + 1);
        log_reconciliation(entry);
    }
}

/// Writes one log line for a reconciliation, and one for each reason for which it is not settled.
fn log_reconciliation(entry: &ReconcileLogEntry) {
    for reason in &entry.reasons {
        let (subject, reason) = (render::escape(&entry.subject), render::escape(reason));
        warn!(subject, reason, "not settled");
    }
    info!(
        subject = render::escape(&entry.subject),
        cause = entry.cause,
        rounds = entry.rounds,
        steps = entry.steps,
        calls = entry.calls,
        milliseconds = entry.milliseconds,
        outcome = entry.outcome,
        "reconciled"
    );
}

fn log_resync(report: &ResyncReport) {
    info!(
        databases = report.databases,
        applied = report.outcome.counts.total(),
        findings = report.outcome.findings.len(),
        rejections = report.outcome.rejections.len(),
        failed = report.outcome.failed.len(),
        deferred = report.deferred,
        verified_at = report.verified_at.map(|at| at.to_string()),
        "resync"
    );
}

/// Maintains the Lake Formation access of Twinlake's roles in this Region. In the primary, it
/// grants the reader roles what they need to be shown every column. In the standby, it applies the
/// data lake settings of the policy.
///
/// # Errors
/// The ledger, the topic or Lake Formation is out of reach.
pub async fn own_access(runtime: &Runtime, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (event, invocation) = event.into_parts();
    let stop_at = stop_at(invocation.deadline);
    let authority = match runtime.authority().await {
        Ok(authority) => authority,
        // The other functions publish the alert for this.
        Err(not_ready) => return Err(not_ready.to_string().into()),
    };
    match authority.role {
        RegionRole::Primary => grant_reader_roles(runtime, &authority, &event).await?,
        // Databases that are created in the standby are Twinlake's own and need no grants.
        RegionRole::Standby if event.get("Records").is_some() => {}
        RegionRole::Standby => reconcile_settings(runtime, &authority, stop_at).await?,
        RegionRole::Fenced => info!("this Region is fenced; nothing is changed"),
    }
    Ok(Value::Null)
}

async fn grant_reader_roles(
    runtime: &Runtime,
    authority: &RegionAuthority,
    event: &Value,
) -> Result<(), Error> {
    let started = runtime.clock.now();
    let event_context = runtime.local_event_context(&authority.policy, authority.epoch);
    let databases = databases_in_events(event, &event_context);
    let granted = twinlake_engine::own_access::grant_readers(
        &runtime.local,
        runtime.own_roles(),
        databases.as_ref(),
    );
    match granted.await {
        Ok(granted) => {
            info!(grants = granted.len(), "reader roles granted");
            // What the grants on some databases say nothing about is not resolved by them.
            let checked = match databases {
                None => {
                    CheckedSubjects::default().with_healthy(&Subject::Catalog.to_string(), started)
                }
                Some(_) => CheckedSubjects::default(),
            };
            Ok(publish_and_resolve(runtime, authority.role, (&[], &checked)).await?)
        }
        Err(error) => {
            let finding = Finding {
                kind: match error.kind {
                    CallErrorKind::Denied => FindingKind::Denied,
                    CallErrorKind::NotFound
                    | CallErrorKind::AlreadyInState
                    | CallErrorKind::Contended
                    | CallErrorKind::NotPropagated
                    | CallErrorKind::Invalid
                    | CallErrorKind::Unsupported
                    | CallErrorKind::Unavailable => FindingKind::Unreadable,
                },
                subject: Subject::Catalog,
                detail: format!(
                    "Twinlake's roles could not be granted DESCRIBE on all databases, and DESCRIBE \
                     and SELECT on all tables: \
                     {error}"
                ),
            };
            let outcome = ReconcileOutcome {
                findings: [finding].into(),
                ..ReconcileOutcome::default()
            };
            let found = alerts::from_outcome(&outcome, &runtime.config.region, runtime.clock.now());
            publish_and_resolve(
                runtime,
                authority.role,
                (&found, &CheckedSubjects::default()),
            )
            .await?;
            Err(error.into())
        }
    }
}

/// Returns the databases that the events of a batch name. Returns `None`, which means all
/// databases, if the input is not a batch, or if one of its events is about no database. An event that cannot be
/// parsed, or is no scope, is left out.
fn databases_in_events(event: &Value, event_context: &EventContext) -> Option<BTreeSet<Name>> {
    let batch: SqsEvent = serde_json::from_value(event.clone()).ok()?;
    let mut names = BTreeSet::new();
    for message in queue_messages(batch) {
        let Ok(Parsed::Scope(scope)) = parse(&message.body, event_context) else {
            continue;
        };
        for subject in scope.read_requests.keys() {
            names.insert(subject.database()?.clone());
        }
    }
    (!names.is_empty()).then_some(names)
}

async fn reconcile_settings(
    runtime: &Runtime,
    authority: &RegionAuthority,
    stop_at: Timestamp,
) -> Result<(), Error> {
    let started = runtime.clock.now();
    let mut context = runtime.context(&authority.policy, authority.epoch, stop_at);
    context.may_write_settings = true;
    let subject = Subject::LakeFormation(LfSubject::Settings);
    let mut scope = Scope::default();
    scope.add(
        subject,
        ReadRequest::for_facets(LfSubject::Settings.facets()),
    );
    let outcome = twinlake_engine::reconcile(&context, &scope, &Prefetched::default()).await?;
    info!(
        applied = outcome.counts.total(),
        "data lake settings reconciled"
    );
    let found = alerts::from_outcome(&outcome, &runtime.config.region, runtime.clock.now());
    let checked = CheckedSubjects::from_outcome(&outcome, started);
    publish_and_resolve(runtime, authority.role, (&found, &checked)).await?;
    Ok(())
}

/// Publishes alerts, and resolves the incidents of checked subjects; in the primary, both are
/// mirrored to the standby.
async fn publish_and_resolve(
    runtime: &Runtime,
    role: RegionRole,
    (found, checked): (&[Alert], &CheckedSubjects),
) -> Result<(), CallError> {
    let topic = runtime.topic(Some(role));
    alerts::publish_and_resolve(
        &topic,
        &runtime.ledger,
        (found, checked),
        runtime.clock.now(),
    )
    .await
}

/// Publishes an alert for a message that could not be parsed.
pub(crate) async fn publish_unrecognized_event(
    runtime: &Runtime,
    reason: &str,
) -> Result<(), CallError> {
    let now = runtime.clock.now();
    let alert = alerts::from_unrecognized_event(reason, &runtime.config.region, now);
    alerts::publish(&runtime.alert_topic, &runtime.ledger, &[alert], now)
        .await
        .map(drop)
}

/// Whether this Region may apply changes now.
enum WriteDecision {
    /// This Region is the standby: process the messages.
    Apply(Box<RegionAuthority>),
    /// This Region is not the standby: discard the messages.
    Discard,
    /// The role is unknown until an operator corrects the policy: keep the messages.
    Defer,
}

async fn decide_writes(runtime: &Runtime) -> Result<WriteDecision, Error> {
    match runtime.authority().await {
        Ok(authority) if authority.role == RegionRole::Standby => {
            Ok(WriteDecision::Apply(Box::new(authority)))
        }
        Ok(authority) => {
            info!(
                role = authority.role.to_string(),
                "messages discarded: this Region is not the standby"
            );
            Ok(WriteDecision::Discard)
        }
        Err(NotReady::Ledger(error)) => Err(error.into()),
        Err(not_ready) => {
            let alert = not_ready_alert(&not_ready, runtime);
            let now = runtime.clock.now();
            alerts::publish(&runtime.alert_topic, &runtime.ledger, &[alert], now).await?;
            Ok(WriteDecision::Defer)
        }
    }
}

pub(crate) fn not_ready_alert(not_ready: &NotReady, runtime: &Runtime) -> Alert {
    let region = &runtime.config.region;
    let sentences = [
        format!("Twinlake's functions in {region} apply no changes: {not_ready}."),
        format!(
            "If {region} is the standby, it stays unchanged. Messages wait in their queues, and \
             move to the dead-letter queues when their retries are used up."
        ),
        match not_ready {
            NotReady::UnknownRegion(..) | NotReady::StackDiffers { .. } => format!(
                "If the policy names the wrong Regions or account, correct it and store it with \
                 `twinlake policy push FILE`. If the stacks are the wrong ones, deploy stacks for \
                 the policy's Regions, and uninstall this one. Then run `twinlake redrive --region {region}`."
            ),
            NotReady::NoPolicy(_)
            | NotReady::Policy(_)
            | NotReady::PoliciesDiffer(..)
            | NotReady::Ledger(_) => format!(
                "Store one valid policy in both Regions with `twinlake policy push FILE`, then run `twinlake \
                 redrive --region {region}`."
            ),
        },
    ];
    let now = runtime.clock.now();
    Alert::new(
        AlertKind::PolicyUnusable,
        region,
        alerts::POLICY_SUBJECT,
        sentences,
        now,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_was_delivered_before_if_sqs_or_a_redrive_says_so() {
        let received = |count: &str, attributes: Value| {
            let event = serde_json::json!({"Records": [{
                "messageId": "1", "body": "{}",
                "attributes": {"ApproximateReceiveCount": count},
                "messageAttributes": attributes,
            }]});
            let messages = queue_messages(serde_json::from_value(event).unwrap());
            messages[0].is_redelivered
        };
        let marked = serde_json::json!({
            event_batch::REDRIVEN_ATTRIBUTE: {"stringValue": "true", "dataType": "String"},
        });
        let other = serde_json::json!({"other": {"stringValue": "true", "dataType": "String"}});
        assert!(!received("1", serde_json::json!({})));
        assert!(!received("1", other));
        assert!(received("2", serde_json::json!({})));
        assert!(received("1", marked));
    }
}
