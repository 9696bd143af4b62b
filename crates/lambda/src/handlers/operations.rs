//! The handler for operations events of this Region: failed jobs and crawlers, refused access,
//! out-of-band changes in the standby, and alerts that the peer Region mirrors.

use crate::handlers::{BatchResponse, batch_response, queue_messages};
use crate::runtime::Runtime;
use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::LambdaEvent;
use std::collections::BTreeSet;
use std::fmt::Display;
use tracing::{info, warn};
use twinlake_core::event::{
    EventContext, OperationalEvent, OutOfBandChange, parse_operational_event,
};
use twinlake_core::topology::RegionRole;
use twinlake_core::{Alert, AlertKind, CallError, Scope, Timestamp, render};
use twinlake_engine::ports::StatCounters;
use twinlake_engine::region_authority::RegionAuthority;
use twinlake_engine::retry_message::RetryMessage;
use twinlake_engine::{RetryQueue as _, alerts, out_of_band_changes};

/// How long the reconciliation after an out-of-band change is retried before it is left to the
/// resync.
const RETRY_WINDOW_SECS: i64 = 3600;

/// Publishes alerts for failures in this Region, resolves the incidents of what succeeds again,
/// reconciles subjects that somebody else changed in the standby, and records alerts that the
/// peer Region has published.
///
/// # Errors
/// None: a message that cannot be handled is returned as a batch item failure.
pub async fn operations(runtime: &Runtime, event: LambdaEvent<SqsEvent>) -> BatchResponse {
    let telemetry = runtime.start_telemetry();
    let messages = queue_messages(event.payload);
    let event_context = runtime.operations_event_context();
    let mut parsed = ParsedBatch::default();
    for message in &messages {
        let id = || message.id.clone();
        match parse_operational_event(&message.body, &event_context) {
            Ok(OperationalEvent::Alert(alert)) => parsed.alerts.push((id(), *alert)),
            Ok(OperationalEvent::Resolved(kind, subject, at)) => {
                parsed.resolved.push((id(), (kind, subject, at)));
            }
            Ok(OperationalEvent::OutOfBandChange(change)) => parsed.changes.push((id(), change)),
            Ok(OperationalEvent::PeerAlert(alert)) => parsed.peer_alerts.push((id(), *alert)),
            Ok(OperationalEvent::Ignored(reason)) => {
                info!(
                    id = message.id,
                    reason = render::escape(&reason),
                    "message ignored"
                );
            }
            Err(rejected) => {
                let alert = alerts::from_unrecognized_event(
                    &rejected.0,
                    &event_context.region,
                    event_context.now,
                );
                parsed.alerts.push((id(), alert));
            }
        }
    }
    let alert_count = parsed.alerts.len();
    let failed = parsed.process(runtime, &event_context).await;
    info!(
        messages = messages.len(),
        alerts = alert_count,
        failed = failed.len(),
        "operations batch completed"
    );
    telemetry.finish(Vec::new(), StatCounters::new()).await;
    Ok(batch_response(failed))
}

/// The parsed messages of a batch, each with its message ID.
#[derive(Default)]
struct ParsedBatch {
    alerts: Vec<(String, Alert)>,
    resolved: Vec<(String, (AlertKind, String, Timestamp))>,
    changes: Vec<(String, OutOfBandChange)>,
    peer_alerts: Vec<(String, Alert)>,
}

impl ParsedBatch {
    /// Processes the messages. Returns the IDs of those that SQS must deliver again.
    async fn process(
        mut self,
        runtime: &Runtime,
        event_context: &EventContext,
    ) -> BTreeSet<String> {
        let now = event_context.now;
        let mut failed = BTreeSet::new();
        let mut to_reconcile = Vec::new();
        let authority = runtime.authority().await;
        let role = authority.as_ref().ok().map(|authority| authority.role);
        for (id, change) in std::mem::take(&mut self.changes) {
            let result = match &authority {
                Ok(authority) => {
                    assess_out_of_band_change(runtime, &change, authority, event_context).await
                }
                // Without a valid policy, or the ledger, nobody can tell what Twinlake manages: the
                // message is kept.
                Err(not_ready) => {
                    failed.extend(log_failed_messages(not_ready, [id]));
                    continue;
                }
            };
            match result {
                Ok(Some((alert, scope))) => {
                    self.alerts.push((id.clone(), alert));
                    to_reconcile.push((id, scope));
                }
                Ok(None) => {}
                Err(error) => failed.extend(log_failed_messages(&error, [id])),
            }
        }
        let (resolved_ids, resolved): (Vec<_>, Vec<_>) = self.resolved.into_iter().unzip();
        let (alert_ids, mut alerts): (Vec<_>, Vec<_>) = self.alerts.into_iter().unzip();
        let checked = alerts::keep_newest(&mut alerts, resolved);
        let topic = runtime.topic(role);
        // New alerts are published first: the other updates stay in the ledger and can wait.
        if let Err(error) = alerts::publish(&topic, &runtime.ledger, &alerts, now).await {
            failed.extend(log_failed_messages(&error, alert_ids));
        }
        // Work is queued once its alert is published: if that failed, the message is delivered again.
        to_reconcile.retain(|(id, _)| !failed.contains(id));
        for (id, scope) in to_reconcile {
            if let Err(error) = queue_reconciliation(runtime, scope, now).await {
                failed.extend(log_failed_messages(&error, [id]));
            }
        }
        if let Err(error) = alerts::resolve_incidents(&topic, &runtime.ledger, &checked, now).await
        {
            failed.extend(log_failed_messages(&error, resolved_ids));
        }
        for (id, alert) in &self.peer_alerts {
            if let Err(error) = alerts::mirror_peer_alert(&runtime.ledger, alert).await {
                failed.extend(log_failed_messages(&error, [id.clone()]));
            }
        }
        failed
    }
}

fn log_failed_messages<I: IntoIterator<Item = String>>(error: &impl Display, ids: I) -> I {
    warn!(
        error = render::escape(&error.to_string()),
        "messages failed; SQS delivers them again"
    );
    ids
}

/// Returns the alert for an out-of-band change in the standby and the scope to reconcile, or `None` if
/// it concerns nothing that Twinlake manages.
async fn assess_out_of_band_change(
    runtime: &Runtime,
    change: &OutOfBandChange,
    authority: &RegionAuthority,
    event_context: &EventContext,
) -> Result<Option<(Alert, Scope)>, CallError> {
    if authority.role != RegionRole::Standby {
        return Ok(None);
    }
    out_of_band_changes::assess(
        &runtime.ledger,
        change,
        &event_context.region,
        &authority.policy,
    )
    .await
}

async fn queue_reconciliation(
    runtime: &Runtime,
    scope: Scope,
    now: Timestamp,
) -> Result<(), CallError> {
    let message = RetryMessage::new(scope, now.plus_secs(RETRY_WINDOW_SECS));
    runtime.retry_queue.send(&message, 0).await
}
