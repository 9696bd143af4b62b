//! What happens around the lake in this Region.

use crate::handle::{Handled, answer, received};
use crate::start::Start;
use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::LambdaEvent;
use std::collections::BTreeSet;
use tracing::{info, warn};
use twinlake_core::event::{Hand, Listener, Operation, parse_operation};
use twinlake_core::ledger::Role;
use twinlake_core::{Alert, AlertKind, Fault, Timestamp, render};
use twinlake_engine::message::Message;
use twinlake_engine::ports::Counts;
use twinlake_engine::role::{Standing, Unready};
use twinlake_engine::{Outbox as _, alerts, hands};

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
        let id = || message.id.clone();
        match parse_operation(&message.body, &listener) {
            Ok(Operation::Tell(alert)) => heard.told.push((id(), *alert)),
            Ok(Operation::Over(kind, subject, at)) => heard.over.push((id(), (kind, subject, at))),
            Ok(Operation::Hand(hand)) => heard.hands.push((id(), hand)),
            Ok(Operation::Told(alert)) => heard.theirs.push((id(), *alert)),
            Ok(Operation::Nothing(reason)) => {
                info!(id = message.id, reason = render::escape(&reason), "dropped");
            }
            Err(refused) => {
                let alert = alerts::of_refusal(&refused.0, &listener.region, listener.now);
                heard.told.push((id(), alert));
            }
        }
    }
    let alerts = heard.told.len();
    let failed = heard.conclude(start, &listener).await;
    info!(
        messages = messages.len(),
        alerts,
        failed = failed.len(),
        "operations"
    );
    account.end(Vec::new(), Counts::new()).await;
    Ok(answer(failed))
}

/// What a batch told of, each with the message that told it.
#[derive(Default)]
struct Heard {
    told: Vec<(String, Alert)>,
    over: Vec<(String, (AlertKind, String, Timestamp))>,
    hands: Vec<(String, Hand)>,
    theirs: Vec<(String, Alert)>,
}

impl Heard {
    /// Does what was heard. Answers the messages that are to be delivered again.
    async fn conclude(mut self, start: &Start, listener: &Listener) -> BTreeSet<String> {
        let now = listener.now;
        let mut failed = BTreeSet::new();
        let standing = start.standing().await;
        let role = standing.as_ref().ok().map(|standing| standing.role);
        for (id, hand) in std::mem::take(&mut self.hands) {
            let done = match &standing {
                Ok(standing) => look_after(start, &hand, standing, listener).await,
                // Whose hands count is known to the ledger alone.
                Err(Unready::Ledger(fault)) => Err(fault.clone()),
                // Nothing is applied meanwhile, which the lag function tells; the resync after
                // it sees what was changed.
                Err(
                    Unready::NoPolicy(_)
                    | Unready::Policy(_)
                    | Unready::Mismatch(..)
                    | Unready::Stranger(..),
                ) => Ok(None),
            };
            match done {
                Ok(alert) => self.told.extend(alert.map(|alert| (id, alert))),
                Err(fault) => failed.extend(not_handled(&fault, [id])),
            }
        }
        let (over_ids, over): (Vec<_>, Vec<_>) = self.over.into_iter().unzip();
        let (told_ids, mut told): (Vec<_>, Vec<_>) = self.told.into_iter().unzip();
        let looked = alerts::newest(&mut told, over);
        let topic = start.topic(role);
        // What goes wrong is told first: all else waits in the ledger.
        if let Err(fault) = alerts::publish(&topic, &start.ledger, &told, now).await {
            failed.extend(not_handled(&fault, told_ids));
        }
        if let Err(fault) = alerts::heal(&topic, &start.ledger, &looked, now).await {
            failed.extend(not_handled(&fault, over_ids));
        }
        for (id, alert) in &self.theirs {
            if let Err(fault) = alerts::learn(&start.ledger, alert).await {
                failed.extend(not_handled(&fault, [id.clone()]));
            }
        }
        failed
    }
}

fn not_handled<I: IntoIterator<Item = String>>(fault: &Fault, ids: I) -> I {
    warn!(fault = render::escape(&fault.to_string()), "not handled");
    ids
}

/// Looks after somebody's change in the standby. Answers what people are to be told of it.
async fn look_after(
    start: &Start,
    hand: &Hand,
    standing: &Standing,
    listener: &Listener,
) -> Result<Option<Alert>, Fault> {
    if standing.role != Role::Standby {
        return Ok(None);
    }
    let found = hands::of_hand(&start.ledger, hand, &listener.region, &standing.policy);
    let Some((alert, scope)) = found.await? else {
        return Ok(None);
    };
    let message = Message {
        scope,
        attempt: 0,
        deadline: listener.now.plus_secs(TRIES_SECS),
        part: None,
    };
    start.outbox.send(&message, 0).await?;
    Ok(Some(alert))
}
