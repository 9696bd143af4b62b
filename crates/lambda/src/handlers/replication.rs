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
    ParsedNotifications, S3_REPLICATION_DETAIL_TYPE, parse_replication, replication_alerts,
    unwrap_notification,
};
use twinlake_core::topology::RegionRole;
use twinlake_core::{Alert, AlertKind, CallError, CallErrorKind, Timestamp, render};
use twinlake_engine::ports::{PeerEventBus as _, StatCounters};
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
        let batch: SqsEvent = serde_json::from_value(event)?;
        let mut failed = Vec::new();
        for message in queue_messages(batch) {
            let result = match &authority {
                Ok(authority) => process_notification(runtime, authority, &message.body).await,
                Err(error) => Err(error.clone()),
            };
            if let Err(error) = result {
                warn!(
                    error = render::escape(&error.to_string()),
                    "message failed; SQS delivers it again"
                );
                failed.push(message.id);
            }
        }
        serde_json::to_value(batch_response(failed))?
    } else {
        if authority?.role == RegionRole::Standby {
            recheck_pending(runtime, stop_at).await?;
        }
        Value::Null
    };
    telemetry.finish(Vec::new(), StatCounters::new()).await;
    Ok(response)
}

async fn process_notification(
    runtime: &Runtime,
    authority: &RegionAuthority,
    body: &[u8],
) -> Result<(), CallError> {
    let now = runtime.clock.now();
    let (notifications, rejected) = match parse_replication(body, now) {
        Ok(ParsedNotifications::Notices(notifications, rejected)) => (notifications, rejected),
        Ok(ParsedNotifications::TestEvent) => return Ok(()),
        Err(rejected) => return publish_unrecognized_event(runtime, &rejected.0).await,
    };
    info!(
        objects = notifications.len(),
        rejected = rejected.len(),
        "replication notifications"
    );
    // The primary forwards all records, and the standby publishes this alert for them.
    if let (Some(first), true) = (rejected.first(), authority.role != RegionRole::Primary) {
        publish_unrecognized_event(runtime, &first.0).await?;
    }
    match (authority.role, unwrap_notification(body)) {
        (RegionRole::Primary, Some(detail)) => {
            runtime
                .peer_bus
                .send(S3_REPLICATION_DETAIL_TYPE, &detail)
                .await
        }
        (RegionRole::Standby, _) => {
            let notifications = notifications.into_iter();
            let (policy, epoch) = (&authority.policy, authority.epoch);
            let notifications = notifications
                .map(|notification| s3_replication::with_destination(notification, policy, epoch));
            let mapped =
                s3_replication::map_to_tables(&runtime.ledger, notifications.collect()).await?;
            let scan = s3_replication::record_failures(&runtime.ledger, &mapped, now).await?;
            let found = replication_alerts(&mapped);
            alerts::publish_and_resolve(&runtime.alert_topic, &runtime.ledger, (&found, &scan), now)
                .await
        }
        // A fenced Region does not map objects to tables, because its ledger is not up to date.
        (RegionRole::Primary | RegionRole::Fenced, _) => {
            let unmapped: Vec<_> = notifications
                .into_iter()
                .map(|notification| (notification, None))
                .collect();
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
    let mut scan = result.scan;
    for bucket in &result.reachable_buckets {
        scan = scan.with_resolved(
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
        bucket_errors = result.bucket_errors.len(),
        "rechecked pending objects"
    );
    alerts::publish_and_resolve(&runtime.alert_topic, &runtime.ledger, (&found, &scan), now).await
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
