//! The handler for S3 replication notifications: objects that S3 did not replicate, or replicated
//! late.

use crate::handlers::{batch_response, publish_unrecognized_event, queue_messages, stop_at};
use crate::runtime::Runtime;
use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use tracing::{info, warn};
use twinlake_aws::{Clients, S3Replicas};
use twinlake_core::event::{
    ParsedNotifications, ReplicationNotice, S3_REPLICATION_DETAIL_TYPE, parse_replication,
    replication_alerts, unwrap_notification,
};
use twinlake_core::topology::RegionRole;
use twinlake_core::{Alert, AlertKind, CallError, CallErrorKind, Timestamp, render};
use twinlake_engine::event_batch::QueueMessage;
use twinlake_engine::ports::{EventBus as _, StatCounters};
use twinlake_engine::region_authority::RegionAuthority;
use twinlake_engine::{Clock as _, alerts, s3_replication};

/// Handles S3 replication notifications from the queue, and the hourly check for missing objects.
///
/// In the primary, notifications are forwarded to the standby, whose ledger maps locations to
/// tables.
///
/// # Errors
/// The hourly check fails if the ledger or the topic is out of reach. A message that cannot be
/// handled is returned as a batch item failure.
pub async fn replication_notices(
    runtime: &Runtime,
    event: LambdaEvent<Value>,
) -> Result<Value, Error> {
    let telemetry = runtime.start_telemetry();
    let (event, invocation) = event.into_parts();
    let stop_at = stop_at(invocation.deadline);
    // The role decides which Region maps objects to tables, so messages are retried until it is
    // known.
    let authority = runtime
        .authority()
        .await
        .map_err(|not_ready| not_ready.call_error(&runtime.config.region));
    let response = if event.get("Records").is_some() {
        let messages = queue_messages(serde_json::from_value::<SqsEvent>(event)?);
        serde_json::to_value(batch_response(
            process_messages(runtime, &authority, messages).await,
        ))?
    } else {
        if authority?.role == RegionRole::Standby {
            recheck_pending(runtime, stop_at).await?;
        }
        Value::Null
    };
    telemetry.finish(Vec::new(), StatCounters::new()).await;
    Ok(response)
}

/// Processes the messages of a batch. Returns the IDs of those that failed.
async fn process_messages(
    runtime: &Runtime,
    authority: &Result<RegionAuthority, CallError>,
    messages: Vec<QueueMessage>,
) -> Vec<String> {
    let authority = match authority {
        Ok(authority) => authority,
        Err(error) => {
            log_messages_deferred(error);
            return messages.into_iter().map(|message| message.id).collect();
        }
    };
    let mut failed = Vec::new();
    let mut accepted = Vec::new();
    let mut notices = Vec::new();
    for message in messages {
        match receive(runtime, authority, &message.body).await {
            Ok(received) => {
                accepted.push(message.id);
                notices.extend(received);
            }
            Err(error) => {
                log_messages_deferred(&error);
                failed.push(message.id);
            }
        }
    }
    // The ledger's items and the alerts are written once for the whole batch.
    if let Err(error) = record(runtime, authority, notices).await {
        log_messages_deferred(&error);
        failed.extend(accepted);
    }
    failed
}

fn log_messages_deferred(error: &CallError) {
    warn!(
        error = render::escape(&error.to_string()),
        "messages failed; SQS delivers them again"
    );
}

/// Parses a message, and forwards it if this Region is the primary. Returns the notices that this
/// Region must record.
async fn receive(
    runtime: &Runtime,
    authority: &RegionAuthority,
    body: &[u8],
) -> Result<Vec<ReplicationNotice>, CallError> {
    let now = runtime.clock.now();
    let (notices, rejected) = match parse_replication(body, now) {
        Ok(ParsedNotifications::Notices(notices, rejected)) => (notices, rejected),
        Ok(ParsedNotifications::TestEvent) => return Ok(Vec::new()),
        Err(rejected) => {
            publish_unrecognized_event(runtime, &rejected.0).await?;
            return Ok(Vec::new());
        }
    };
    info!(
        objects = notices.len(),
        rejected = rejected.len(),
        "replication notifications"
    );
    // The primary forwards all records, and the standby publishes this alert for them.
    if let (Some(first), true) = (rejected.first(), authority.role != RegionRole::Primary) {
        publish_unrecognized_event(runtime, &first.0).await?;
    }
    if let (RegionRole::Primary, Some(detail)) = (authority.role, unwrap_notification(body)) {
        let bus = &runtime.default_bus;
        bus.send(S3_REPLICATION_DETAIL_TYPE, &detail).await?;
        return Ok(Vec::new());
    }
    Ok(notices)
}

/// Records missing objects and publishes the alerts about them.
async fn record(
    runtime: &Runtime,
    authority: &RegionAuthority,
    notices: Vec<ReplicationNotice>,
) -> Result<(), CallError> {
    if notices.is_empty() {
        return Ok(());
    }
    let now = runtime.clock.now();
    match authority.role {
        RegionRole::Standby => {
            let (policy, epoch) = (&authority.policy, authority.epoch);
            let notices = notices.into_iter();
            let notices = notices
                .map(|notice| s3_replication::with_destination(notice, policy, epoch))
                .collect();
            let mapped = s3_replication::map_to_tables(&runtime.ledger, notices).await?;
            let replicas = S3Replicas::new(&Clients::connect(&runtime.config.region).await);
            let ledger = &runtime.ledger;
            let checked = s3_replication::record_failures(ledger, &replicas, &mapped, now).await?;
            let found = replication_alerts(&mapped);
            alerts::publish_and_resolve(
                &runtime.alert_topic,
                &runtime.ledger,
                (&found, &checked),
                now,
            )
            .await
        }
        // A fenced Region does not map objects to tables, because its ledger is not up to date.
        RegionRole::Primary | RegionRole::Fenced => {
            let unmapped: Vec<_> = notices.into_iter().map(|notice| (notice, None)).collect();
            let found = replication_alerts(&unmapped);
            let topic = runtime.topic(Some(authority.role));
            alerts::publish(&topic, &runtime.ledger, &found, now)
                .await
                .map(drop)
        }
    }
}

async fn recheck_pending(runtime: &Runtime, stop_at: Timestamp) -> Result<(), CallError> {
    let region = runtime.config.region.as_str();
    let replicas = S3Replicas::new(&Clients::connect(region).await);
    let result =
        s3_replication::recheck_pending(&runtime.ledger, &replicas, &runtime.clock, stop_at)
            .await?;
    let now = runtime.clock.now();
    let mut checked = result.checked;
    for bucket in &result.reachable_buckets {
        checked = checked.with_resolved(
            AlertKind::TwinlakeAccessDenied,
            &bucket_subject(bucket),
            now,
        );
    }
    let mut found = Vec::new();
    for (bucket, error) in &result.bucket_errors {
        warn!(
            error = render::escape(&error.to_string()),
            "the replica could not be checked"
        );
        if error.kind == CallErrorKind::Denied {
            found.push(bucket_denied_alert(bucket, error, region, now));
        }
    }
    info!(
        tables = result.tables,
        tables_left = result.tables_left,
        bucket_errors = result.bucket_errors.len(),
        "rechecked pending objects"
    );
    alerts::publish_and_resolve(
        &runtime.alert_topic,
        &runtime.ledger,
        (&found, &checked),
        now,
    )
    .await
}

fn bucket_subject(bucket: &str) -> String {
    format!("{}{bucket}", alerts::REPLICA_BUCKET_PREFIX)
}

fn bucket_denied_alert(bucket: &str, error: &CallError, region: &str, now: Timestamp) -> Alert {
    let sentences = [
        format!("Twinlake cannot check bucket {bucket} for missing objects: {error}."),
        "Tables in this bucket stay `data-pending`, whether or not their objects have arrived."
            .to_owned(),
        "Add the bucket to the stack parameters ReplicaBucketArns and ReplicaObjectArns."
            .to_owned(),
    ];
    Alert::new(
        AlertKind::TwinlakeAccessDenied,
        region,
        &bucket_subject(bucket),
        sentences,
        now,
    )
}
