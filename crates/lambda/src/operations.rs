//! What happens around the lake in this Region.

use crate::handle::{Handled, answer, received};
use crate::start::Start;
use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::LambdaEvent;
use tracing::{info, warn};
use twinlake_core::event::{Hand, Operation, parse_operation};
use twinlake_core::ledger::Role;
use twinlake_core::{Alert, AlertKind, Fault, Timestamp, render};
use twinlake_engine::alerts;
use twinlake_engine::message::Message;
use twinlake_engine::ports::Counts;
use twinlake_engine::{Outbox as _, hands};

/// How long a look that somebody's change asks for is tried.
const TRIES_SECS: i64 = 3600;

/// What fails around the lake in this Region and what no longer does, other people's changes
/// in the standby, and what the primary's functions have told.
///
/// # Errors
/// None: a message that cannot be handled is answered as failed.
pub async fn operations(start: &Start, event: LambdaEvent<SqsEvent>) -> Handled {
    let account = start.begin();
    let messages = received(event.payload);
    let listener = start.own_listener();
    let mut heard = Heard::default();
    for message in &messages {
        match parse_operation(&message.body, &listener) {
            Ok(Operation::Tell(alert)) => heard.told.push(*alert),
            Ok(Operation::Over(kind, subject, at)) => heard.over.push((kind, subject, at)),
            Ok(Operation::Hand(hand)) => heard.hands.push(hand),
            Ok(Operation::Told(alert)) => heard.theirs.push(*alert),
            Ok(Operation::Nothing(reason)) => {
                info!(id = message.id, reason = render::escape(&reason), "dropped");
            }
            Err(refused) => {
                let reason = render::escape(&refused.0);
                warn!(id = message.id, reason, "refused");
            }
        }
    }
    let alerts = heard.told.len();
    let done = conclude(start, heard, &listener).await;
    info!(messages = messages.len(), alerts, "operations");
    account.end(Vec::new(), Counts::new()).await;
    match done {
        Ok(()) => Ok(answer([])),
        Err(fault) => {
            warn!(fault = render::escape(&fault.to_string()), "not handled");
            Ok(answer(messages.into_iter().map(|message| message.id)))
        }
    }
}

/// What a batch told of.
#[derive(Default)]
struct Heard {
    told: Vec<Alert>,
    over: Vec<(AlertKind, String, Timestamp)>,
    hands: Vec<Hand>,
    theirs: Vec<Alert>,
}

async fn conclude(
    start: &Start,
    mut heard: Heard,
    listener: &twinlake_core::event::Listener,
) -> Result<(), Fault> {
    let now = listener.now;
    let standing = start.standing().await.ok();
    let role = standing.as_ref().map(|standing| standing.role);
    for alert in &heard.theirs {
        alerts::learn(&start.ledger, alert).await?;
    }
    if let Some(standing) = standing.filter(|standing| standing.role == Role::Standby) {
        for hand in &heard.hands {
            let found = hands::of_hand(&start.ledger, hand, &listener.region, &standing.policy);
            let Some((alert, scope)) = found.await? else {
                continue;
            };
            heard.told.push(alert);
            let message = Message {
                scope,
                attempt: 0,
                deadline: now.plus_secs(TRIES_SECS),
                part: None,
            };
            start.outbox.send(&message, 0).await?;
        }
    }
    let topic = start.topic(role);
    let looked = alerts::newest(&mut heard.told, heard.over);
    alerts::heal(&topic, &start.ledger, &looked, now).await?;
    alerts::publish(&topic, &start.ledger, &heard.told, now).await?;
    Ok(())
}
