//! Sends alerts by the book: once, again at widening intervals, and when it is over.
//!
//! # Guarantees
//! - What is found is counted in the ledger before its message is acknowledged.
//! - A message is sent at least once, under the same key however often.
//! - With the ledger out of reach it is sent rather than lost.

use super::over::{Looked, heal};
use crate::ports::{Alerts, Ledger};
use std::collections::BTreeMap;
use twinlake_core::alert::News;
use twinlake_core::{Alert, AlertKind, AlertState, Episode, Fault, FaultKind, Timestamp};

/// Several functions may note the same trouble at once; so often one of them tries.
const TRIES: usize = 12;

/// Notes what was found, and sends what is due. Answers how many messages were sent.
///
/// # Errors
/// A message could not be sent, or what was found could not be counted.
pub async fn publish<A: Alerts, L: Ledger>(
    topic: &A,
    ledger: &L,
    alerts: &[Alert],
    now: Timestamp,
) -> Result<usize, Fault> {
    let mut due = Vec::new();
    for alert in alerts {
        match note(ledger, alert, now).await {
            Ok(found) => due.extend(found),
            Err(fault) if fault.kind == FaultKind::Busy => return Err(fault),
            // Told twice is better than not at all.
            Err(_) => due.push(alert.clone()),
        }
    }
    let mut sent = 0;
    for (message, spoken_for) in together(due) {
        topic.publish(&message).await?;
        sent += 1;
        for alert in spoken_for {
            topic.spoke_for(&alert).await;
            // An unsettled claim is told once more, which harms less than an error here.
            let _ = settle(ledger, &alert, now).await;
        }
    }
    Ok(sent)
}

async fn note<L: Ledger>(
    ledger: &L,
    alert: &Alert,
    now: Timestamp,
) -> Result<Option<Alert>, Fault> {
    let key = alert.key();
    for _ in 0..TRIES {
        let known = ledger.episode(&key).await?;
        let was = known.as_ref().map(|(_, version)| *version);
        let (episode, message) = match Episode::note(known.map(|known| known.0), alert, now) {
            News::Keep(episode) => (episode, None),
            News::Send(episode, message) => (episode, Some(*message)),
            News::End(message) => return Ok(Some(*message)),
        };
        if ledger.put_episode(&key, Some(&episode), was).await? {
            return Ok(message);
        }
    }
    Err(busy(&key))
}

async fn settle<L: Ledger>(ledger: &L, alert: &Alert, now: Timestamp) -> Result<(), Fault> {
    let key = alert.key();
    for _ in 0..TRIES {
        let Some((episode, version)) = ledger.episode(&key).await? else {
            return Ok(());
        };
        let told = episode.told(alert.count, now);
        if ledger.put_episode(&key, Some(&told), Some(version)).await? {
            return Ok(());
        }
    }
    Err(busy(&key))
}

fn busy(key: &str) -> Fault {
    let message = format!("others keep changing the episode {key}");
    Fault::new(FaultKind::Busy, "ledger", "here", message)
}

/// Messages, each with the alerts that it speaks for: what has one cause is mostly found
/// in many places at once.
pub(super) fn together(due: Vec<Alert>) -> Vec<(Alert, Vec<Alert>)> {
    let mut by_kind: BTreeMap<(AlertKind, AlertState), Vec<Alert>> = BTreeMap::new();
    for alert in due {
        by_kind
            .entry((alert.kind, alert.state))
            .or_default()
            .push(alert);
    }
    let mut messages = Vec::new();
    for mut alerts in by_kind.into_values() {
        alerts.sort_by(|one, other| one.subject.cmp(&other.subject));
        match alerts.split_first() {
            Some((first, more)) if !more.is_empty() => {
                messages.push((merged(first, more), alerts.clone()));
            }
            Some((only, _)) => messages.push((only.clone(), alerts.clone())),
            None => {}
        }
    }
    messages
}

fn merged(first: &Alert, more: &[Alert]) -> Alert {
    let all = || std::iter::once(first).chain(more);
    let count = all().map(|alert| alert.count).sum();
    Alert {
        databases: all().flat_map(|alert| alert.databases.clone()).collect(),
        subject: format!("{} and {} more", first.subject, more.len()),
        group: "many".to_owned(),
        what: format!("{} In {} more places likewise.", first.what, more.len()),
        count,
        total: all().map(|alert| alert.total).sum(),
        since: all().map(|alert| alert.since).min().unwrap_or(first.since),
        samples: all()
            .flat_map(|alert| alert.samples.iter().cloned())
            .take(2 * super::SAMPLES)
            .collect(),
        ..first.clone()
    }
}

/// Tells what was found by a look, and what was over by it.
///
/// # Errors
/// As [`publish`] and [`heal`].
pub async fn conclude<A: Alerts, L: Ledger>(
    topic: &A,
    ledger: &L,
    (found, looked): (&[Alert], &Looked),
    now: Timestamp,
) -> Result<(), Fault> {
    publish(topic, ledger, found, now).await?;
    heal(topic, ledger, looked, now).await.map(drop)
}
