//! What S3 tells of objects that it does not replicate.

use crate::handle::{answer, received, stop_at, tell_refused};
use crate::start::Start;
use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use tracing::{info, warn};
use twinlake_aws::S3Replicas;
use twinlake_core::event::{HANDED_ON, Notified, parse_replication, replication_alerts, unwrapped};
use twinlake_core::ledger::Role;
use twinlake_core::{Alert, AlertKind, Fault, FaultKind, Timestamp, render};
use twinlake_engine::ports::{Counts, Peer as _};
use twinlake_engine::role::Standing;
use twinlake_engine::{Clock as _, alerts, replication};

/// S3 replication notifications from the queue, and the hourly look for objects that were
/// missing.
///
/// In the primary they are handed on to the standby, whose ledger knows the tables.
///
/// # Errors
/// The look for objects: the ledger or the topic is out of reach. A message that cannot be
/// handled is answered as failed.
pub async fn replication_notices(start: &Start, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let account = start.begin();
    let (event, invocation) = event.into_parts();
    let stop_at = stop_at(invocation.deadline);
    // Whose objects they are is known only by it, so messages wait for it.
    let standing = start
        .standing()
        .await
        .map_err(|unready| unready.fault(&start.config.region));
    let answered = if event.get("Records").is_some() {
        let batch: SqsEvent = serde_json::from_value(event)?;
        let mut failed = Vec::new();
        for message in received(batch) {
            let done = match &standing {
                Ok(standing) => one(start, standing, &message.body).await,
                Err(fault) => Err(fault.clone()),
            };
            if let Err(fault) = done {
                warn!(fault = render::escape(&fault.to_string()), "not handled");
                failed.push(message.id);
            }
        }
        serde_json::to_value(answer(failed))?
    } else {
        if standing?.role == Role::Standby {
            look_again(start, stop_at).await?;
        }
        Value::Null
    };
    account.end(Vec::new(), Counts::new()).await;
    Ok(answered)
}

async fn one(start: &Start, standing: &Standing, body: &[u8]) -> Result<(), Fault> {
    let now = start.clock.now();
    let (notices, refused) = match parse_replication(body, now) {
        Ok(Notified::Objects(notices, refused)) => (notices, refused),
        Ok(Notified::Test) => return Ok(()),
        Err(refused) => return tell_refused(start, &refused.0).await,
    };
    info!(
        objects = notices.len(),
        refused = refused.len(),
        "replication"
    );
    // The other Region is handed all records, and says so, too.
    if let (Some(first), true) = (refused.first(), standing.role != Role::Primary) {
        tell_refused(start, &first.0).await?;
    }
    match (standing.role, unwrapped(body)) {
        (Role::Primary, Some(detail)) => start.peer.tell(HANDED_ON, &detail).await,
        (Role::Standby, _) => {
            let notices = notices.into_iter();
            let (policy, epoch) = (&standing.policy, standing.epoch);
            let notices = notices.map(|notice| replication::placed(notice, policy, epoch));
            let mapped = replication::map_to_tables(&start.ledger, notices.collect()).await?;
            let looked = replication::note(&start.ledger, &mapped, now).await?;
            let found = replication_alerts(&mapped);
            alerts::conclude(&start.alerts, &start.ledger, (&found, &looked), now).await
        }
        // Of a Region that is fenced nobody follows the tables.
        (Role::Primary | Role::Fenced, _) => {
            let unmapped: Vec<_> = notices.into_iter().map(|notice| (notice, None)).collect();
            let found = replication_alerts(&unmapped);
            let topic = start.topic(Some(standing.role));
            alerts::publish(&topic, &start.ledger, &found, now)
                .await
                .map(drop)
        }
    }
}

async fn look_again(start: &Start, stop_at: Timestamp) -> Result<(), Fault> {
    let region = start.config.region.as_str();
    let replicas = S3Replicas::connect(region).await;
    let done = replication::look_again(&start.ledger, &replicas, &start.clock, stop_at).await?;
    let now = start.clock.now();
    let mut looked = done.looked;
    for bucket in &done.answered {
        looked = looked.and_over(AlertKind::Denied, &subject(bucket), now);
    }
    let mut found = Vec::new();
    for (bucket, fault) in &done.faults {
        warn!(
            fault = render::escape(&fault.to_string()),
            "a replica could not be asked for"
        );
        if fault.kind == FaultKind::Denied {
            found.push(denied(bucket, fault, region, now));
        }
    }
    info!(
        tables = done.tables,
        faults = done.faults.len(),
        "data-pending"
    );
    alerts::conclude(&start.alerts, &start.ledger, (&found, &looked), now).await
}

fn subject(bucket: &str) -> String {
    format!("{}{bucket}", alerts::REPLICAS)
}

fn denied(bucket: &str, fault: &Fault, region: &str, now: Timestamp) -> Alert {
    let sentences = [
        format!("Missing objects cannot be looked for in {bucket}: {fault}."),
        "Its tables stay data-pending, whether their objects have arrived or not.".to_owned(),
        "Name the bucket in the stack's parameters ReplicaBuckets and ReplicaObjects.".to_owned(),
    ];
    Alert::new(AlertKind::Denied, region, &subject(bucket), sentences, now)
}
