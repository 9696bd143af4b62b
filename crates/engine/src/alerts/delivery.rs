//! Publishes alerts through the incidents of the ledger: once, again at growing intervals, and when
//! the incident is resolved.
//!
//! # Guarantees
//! - An alert is recorded in the ledger before the queue message that caused it is acknowledged.
//! - An alert message is sent at least once. Repeated messages have the same key.
//! - If the ledger is out of reach, the message is sent rather than lost.

use crate::ports::{AlertTopic, Ledger};
use crate::versioned_item::{self, IncidentItem, ItemUpdate};
use std::collections::BTreeMap;
use twinlake_core::alert::IncidentUpdate;
use twinlake_core::{Alert, AlertKind, AlertState, CallError, CallErrorKind, Incident, Timestamp};

/// Records alerts in the ledger and sends the messages that are due. Returns the number of messages
/// sent.
///
/// # Errors
/// A message could not be sent, or an alert could not be recorded because of contention.
pub async fn publish<A: AlertTopic, L: Ledger>(
    topic: &A,
    ledger: &L,
    alerts: &[Alert],
    now: Timestamp,
) -> Result<usize, CallError> {
    let mut due = Vec::new();
    let mut contended = None;
    for alert in alerts {
        match record_alert(ledger, alert, now).await {
            Ok(message) => due.extend(message),
            Err(error) if error.kind == CallErrorKind::Contended => contended = Some(error),
            // A duplicate message is better than none.
            Err(_) => due.push(alert.clone()),
        }
    }
    let sent = send(topic, ledger, due, now).await?;
    contended.map_or(Ok(sent), Err)
}

/// Sends claimed messages and settles their claims. Returns the number of messages sent.
///
/// # Errors
/// A message could not be sent. The claims of all unsent messages are released, so that another
/// invocation can send them.
pub(super) async fn send<A: AlertTopic, L: Ledger>(
    topic: &A,
    ledger: &L,
    mut due: Vec<Alert>,
    now: Timestamp,
) -> Result<usize, CallError> {
    let mut sent = 0;
    while !due.is_empty() {
        let mut messages = group_by_kind(std::mem::take(&mut due)).into_iter();
        while let Some((message, included)) = messages.next() {
            if let Err(error) = topic.publish(&message).await {
                let unsent = messages.flat_map(|(_, more)| more).chain(included);
                for alert in unsent.chain(std::mem::take(&mut due)) {
                    // If this fails, the claim expires a minute later.
                    let release =
                        |incident: Incident| Some((incident.release_claim(alert.state), None));
                    let _ = update_incident(ledger, &alert, release).await;
                }
                return Err(error);
            }
            sent += 1;
            for alert in included {
                topic.after_publish(&alert).await;
                // An unsettled claim leads to one duplicate message, which is less harmful than
                // an error at this point.
                let reopened = settle_claim(ledger, &alert, now).await.unwrap_or_default();
                due.extend(reopened);
            }
        }
    }
    Ok(sent)
}

/// Records an alert in its incident. Returns the message, if one is due.
async fn record_alert<L: Ledger>(
    ledger: &L,
    alert: &Alert,
    now: Timestamp,
) -> Result<Option<Alert>, CallError> {
    let key = &alert.key();
    versioned_item::update(&IncidentItem { ledger, key }, None, |stored| {
        put(Incident::record(stored, alert, now))
    })
    .await
}

/// Stores an incident. Its result is the message, if one is due.
fn put(update: IncidentUpdate) -> ItemUpdate<Incident, Option<Alert>> {
    match update {
        IncidentUpdate::Store(incident) => ItemUpdate::Put(incident, None),
        IncidentUpdate::Send(incident, message) => ItemUpdate::Put(incident, Some(*message)),
    }
}

/// Settles the claim of a sent message. Returns the message of an incident that was detected again
/// while its `resolved` message was being sent.
async fn settle_claim<L: Ledger>(
    ledger: &L,
    alert: &Alert,
    now: Timestamp,
) -> Result<Option<Alert>, CallError> {
    update_incident(ledger, alert, |incident| match alert.state {
        AlertState::New | AlertState::Repeated => {
            Some((incident.mark_sent(alert.count, now), None))
        }
        AlertState::Resolved => {
            let reopened = incident.mark_resolved(alert.total, now);
            reopened.map(|(reopened, message)| (reopened, Some(message)))
        }
    })
    .await
}

/// Updates the incident of an alert, or removes it if `next` returns `None`. Returns the message
/// that `next` returned.
async fn update_incident<L: Ledger>(
    ledger: &L,
    alert: &Alert,
    next: impl Fn(Incident) -> Option<(Incident, Option<Alert>)>,
) -> Result<Option<Alert>, CallError> {
    let key = &alert.key();
    versioned_item::update(&IncidentItem { ledger, key }, None, |stored| {
        let Some(incident) = stored else {
            return ItemUpdate::Keep(None);
        };
        match next(incident) {
            Some((incident, message)) => ItemUpdate::Put(incident, message),
            None => ItemUpdate::Delete(None),
        }
    })
    .await
}

/// Applies a transition to an incident that was read before: resolves it in part or as a whole, or
/// repeats its alert. Returns the message to send, unless another invocation has claimed it.
///
/// # Errors
/// The ledger is out of reach, or other invocations keep changing the incident.
pub(super) async fn claim_notification<L: Ledger>(
    ledger: &L,
    key: &str,
    known: (Incident, u64),
    transition: impl Fn(Incident) -> IncidentUpdate,
) -> Result<Option<Alert>, CallError> {
    let detection = |incident: &Incident| (incident.alert.total, incident.alert.detected_at);
    let initial = detection(&known.0);
    versioned_item::update(&IncidentItem { ledger, key }, Some(known), |stored| {
        // It may have been detected again meanwhile, or its `resolved` message sent.
        let Some(incident) = stored.filter(|stored| detection(stored) == initial) else {
            return ItemUpdate::Keep(None);
        };
        match transition(incident.clone()) {
            IncidentUpdate::Store(updated) if updated == incident => ItemUpdate::Keep(None),
            update @ (IncidentUpdate::Store(_) | IncidentUpdate::Send(..)) => put(update),
        }
    })
    .await
}

/// Combines alerts of one kind and state into one message each, because one cause is often
/// detected for many objects at once. Returns each message with the alerts that it includes.
fn group_by_kind(due: Vec<Alert>) -> Vec<(Alert, Vec<Alert>)> {
    let mut messages = Vec::new();
    let mut by_kind: BTreeMap<(AlertKind, AlertState), Vec<Alert>> = BTreeMap::new();
    for alert in due {
        if alert.kind.is_combined() {
            let same_kind = by_kind.entry((alert.kind, alert.state)).or_default();
            same_kind.push(alert);
        } else {
            messages.push((alert.clone(), vec![alert]));
        }
    }
    for mut alerts in by_kind.into_values() {
        alerts.sort_by(|one, other| one.subject.cmp(&other.subject));
        match alerts.split_first() {
            Some((first, more)) if !more.is_empty() => {
                messages.push((merge_alerts(first, more), alerts.clone()));
            }
            Some((only, _)) => messages.push((only.clone(), alerts.clone())),
            None => {}
        }
    }
    messages
}

/// Returns one message with the key of the first alert, which lists the keys of all.
fn merge_alerts(first: &Alert, more: &[Alert]) -> Alert {
    let all = || std::iter::once(first).chain(more);
    let count = all().map(|alert| alert.count).sum();
    let merged = match more.len() {
        1 => "1 more alert of this kind, on another database, object or caller, is".to_owned(),
        others => format!(
            "{others} more alerts of this kind, on other databases, objects or callers, are"
        ),
    };
    let samples = all().flat_map(|alert| match alert.samples.is_empty() {
        true => vec![alert.summary.clone()],
        false => alert.samples.clone(),
    });
    let has_other_action = more.iter().any(|alert| alert.action != first.action);
    let action = match has_other_action {
        true => format!(
            "For {}: {} For the others, see {} in the runbook.",
            first.subject, first.action, first.kind
        ),
        false => first.action.clone(),
    };
    Alert {
        databases: all().flat_map(|alert| alert.databases.clone()).collect(),
        subject: format!("{} and {} more", first.subject, more.len()),
        affected: all().flat_map(|alert| alert.affected.clone()).collect(),
        action,
        summary: format!("{} {merged} merged into this message.", first.summary),
        count,
        total: all().map(|alert| alert.total).sum(),
        since: all().map(|alert| alert.since).min().unwrap_or(first.since),
        samples: samples.take(2 * super::MAX_SAMPLES).collect(),
        keys: all().map(Alert::key).collect(),
        ..first.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(subject: &str, action: &str) -> Alert {
        let sentences = [
            "denied".to_owned(),
            "unchanged".to_owned(),
            action.to_owned(),
        ];
        let now = Timestamp::from_secs(0);
        Alert::new(
            AlertKind::TwinlakeAccessDenied,
            "r",
            subject,
            sentences,
            now,
        )
    }

    #[test]
    fn a_merged_message_says_which_alert_its_action_is_for() {
        let first = denied("canaries in b", "Grant s3:PutObject.");
        let same = merge_alerts(&first, &[denied("canaries in c", "Grant s3:PutObject.")]);
        assert_eq!(same.action, "Grant s3:PutObject.");
        let other = merge_alerts(&first, &[denied("table d.t", "Run bootstrap.")]);
        assert_eq!(
            other.action,
            "For canaries in b: Grant s3:PutObject. For the others, see twinlake-access-denied in the runbook."
        );
    }
}
