//! What S3 tells of objects that it does not replicate.

use crate::handle::{answer, received};
use crate::start::Start;
use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use tracing::{info, warn};
use twinlake_aws::S3Replicas;
use twinlake_core::event::{
    HANDED_ON, Notice, Notified, parse_replication, replication_alerts, unwrapped,
};
use twinlake_core::ledger::Role;
use twinlake_core::location::{Location, Mapped};
use twinlake_core::{Fault, Policy, Timestamp, render};
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
    let standing = start.standing().await.ok();
    let answered = if event.payload.get("Records").is_some() {
        let batch: SqsEvent = serde_json::from_value(event.payload)?;
        let mut failed = Vec::new();
        for message in received(batch) {
            if let Err(fault) = one(start, standing.as_ref(), &message.body).await {
                warn!(fault = render::escape(&fault.to_string()), "not handled");
                failed.push(message.id);
            }
        }
        serde_json::to_value(answer(failed))?
    } else {
        if standing.is_some_and(|standing| standing.role == Role::Standby) {
            look_again(start).await?;
        }
        Value::Null
    };
    account.end(Vec::new(), Counts::new()).await;
    Ok(answered)
}

async fn one(start: &Start, standing: Option<&Standing>, body: &[u8]) -> Result<(), Fault> {
    let now = start.clock.now();
    let notices = match parse_replication(body, now) {
        Ok(Notified::Objects(notices)) => notices,
        Ok(Notified::Test) => return Ok(()),
        Err(refused) => {
            warn!(reason = render::escape(&refused.0), "refused");
            return Ok(());
        }
    };
    info!(objects = notices.len(), "replication");
    match (standing, unwrapped(body)) {
        (Some(standing), Some(detail)) if standing.role == Role::Primary => {
            start.peer.tell(HANDED_ON, &detail).await
        }
        (Some(standing), _) if standing.role == Role::Standby => {
            let notices = notices.into_iter();
            let notices = notices.map(|notice| placed(notice, &standing.policy, standing));
            let mapped = replication::map_to_tables(&start.ledger, notices.collect()).await?;
            let looked = replication::note(&start.ledger, &mapped).await?;
            let found = replication_alerts(&mapped);
            alerts::conclude(&start.alerts, &start.ledger, (&found, &looked), now).await
        }
        // Nobody knows whose they are, which is no reason to be silent.
        _ => {
            let unmapped: Vec<_> = notices.into_iter().map(|notice| (notice, None)).collect();
            let found = replication_alerts(&unmapped);
            alerts::publish(&start.alerts, &start.ledger, &found, now)
                .await
                .map(drop)
        }
    }
}

/// A notice that does not tell where its object ought to be: by the policy's places.
fn placed(mut notice: Notice, policy: &Policy, standing: &Standing) -> Notice {
    if notice.destination.is_none() {
        let here = format!("s3://{}/{}", notice.bucket, notice.key);
        let to_second = standing.epoch.first_is_primary();
        if let Ok(Mapped::To(there)) = policy.locations.map(&here, to_second) {
            let there = Location::parse(&there).ok();
            notice.destination = there.map(|there| there.bucket().to_owned());
        }
    }
    notice
}

async fn look_again(start: &Start) -> Result<(), Fault> {
    let now: Timestamp = start.clock.now();
    let replicas = S3Replicas::connect(&start.config.region).await;
    let (left, looked, faults) = replication::look_again(&start.ledger, &replicas).await?;
    for fault in &faults {
        warn!(
            fault = render::escape(&fault.to_string()),
            "a replica could not be asked for"
        );
    }
    info!(tables = left, faults = faults.len(), "data-pending");
    alerts::heal(&start.alerts, &start.ledger, &looked, now)
        .await
        .map(drop)
}
