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
    let mut busy = None;
    for alert in alerts {
        match note(ledger, alert, now).await {
            Ok(found) => due.extend(found),
            Err(fault) if fault.kind == FaultKind::Busy => busy = Some(fault),
            // Told twice is better than not at all.
            Err(_) => due.push(alert.clone()),
        }
    }
    let sent = send(topic, ledger, due, now).await?;
    busy.map_or(Ok(sent), Err)
}

/// Sends messages that were claimed, and settles their claims. Answers how many were sent.
///
/// # Errors
/// A message could not be sent; what was not sent may be claimed by whoever comes next.
pub(super) async fn send<A: Alerts, L: Ledger>(
    topic: &A,
    ledger: &L,
    mut due: Vec<Alert>,
    now: Timestamp,
) -> Result<usize, Fault> {
    let mut sent = 0;
    while !due.is_empty() {
        let mut messages = together(std::mem::take(&mut due)).into_iter();
        while let Some((message, spoken_for)) = messages.next() {
            if let Err(fault) = topic.publish(&message).await {
                for alert in messages.flat_map(|(_, more)| more).chain(spoken_for) {
                    // A claim that is not given back is free a minute later.
                    let given = |episode: Episode| Some((episode.unclaimed(alert.state), None));
                    let _ = change(ledger, &alert, given).await;
                }
                return Err(fault);
            }
            sent += 1;
            for alert in spoken_for {
                topic.spoke_for(&alert).await;
                // An unsettled claim is told once more, which harms less than an error here.
                let anew = settle(ledger, &alert, now).await.unwrap_or_default();
                due.extend(anew);
            }
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
        };
        if ledger.put_episode(&key, Some(&episode), was).await? {
            return Ok(message);
        }
    }
    Err(busy(&key))
}

/// Settles the claim of a message that was sent. Answers what was found anew while people
/// were told that it is over.
async fn settle<L: Ledger>(
    ledger: &L,
    alert: &Alert,
    now: Timestamp,
) -> Result<Option<Alert>, Fault> {
    change(ledger, alert, |episode| match alert.state {
        AlertState::New | AlertState::Again => Some((episode.told(alert.count, now), None)),
        AlertState::Resolved => {
            let begun = episode.ended(alert.total, now);
            begun.map(|(begun, message)| (begun, Some(message)))
        }
    })
    .await
}

/// Changes the episode of an alert, or forgets it. Answers what is to be sent then.
async fn change<L: Ledger>(
    ledger: &L,
    alert: &Alert,
    next: impl Fn(Episode) -> Option<(Episode, Option<Alert>)>,
) -> Result<Option<Alert>, Fault> {
    let key = alert.key();
    for _ in 0..TRIES {
        let Some((episode, version)) = ledger.episode(&key).await? else {
            return Ok(None);
        };
        let (episode, message) = next(episode).unzip();
        if ledger
            .put_episode(&key, episode.as_ref(), Some(version))
            .await?
        {
            return Ok(message.flatten());
        }
    }
    Err(busy(&key))
}

/// Changes an episode that was read: it is over in part, or as a whole, or told of again.
/// Answers what is to be sent, if nobody else is about to send it.
///
/// # Errors
/// The ledger is out of reach, or others keep changing the episode.
pub(super) async fn claim<L: Ledger>(
    ledger: &L,
    key: &str,
    (mut episode, mut version): (Episode, u64),
    then: impl Fn(Episode) -> News,
) -> Result<Option<Alert>, Fault> {
    let of = |episode: &Episode| (episode.alert.total, episode.alert.at);
    let found = of(&episode);
    for _ in 0..TRIES {
        let (kept, message) = match then(episode.clone()) {
            News::Keep(kept) => (kept, None),
            News::Send(kept, message) => (kept, Some(*message)),
        };
        if kept == episode || ledger.put_episode(key, Some(&kept), Some(version)).await? {
            return Ok(message);
        }
        match ledger.episode(key).await? {
            Some(changed) if of(&changed.0) == found => (episode, version) = changed,
            // It was found anew meanwhile, or people were told that it is over.
            Some(_) | None => return Ok(None),
        }
    }
    Err(busy(key))
}

fn busy(key: &str) -> Fault {
    let message = format!("others keep changing the episode {key}");
    Fault::new(FaultKind::Busy, "ledger", "here", message)
}

/// Messages, each with the alerts that it speaks for: what has one cause is mostly found
/// in many places at once.
fn together(due: Vec<Alert>) -> Vec<(Alert, Vec<Alert>)> {
    let mut messages = Vec::new();
    let mut by_kind: BTreeMap<(AlertKind, AlertState), Vec<Alert>> = BTreeMap::new();
    for alert in due {
        if alert.kind.is_told_together() {
            let alike = by_kind.entry((alert.kind, alert.state)).or_default();
            alike.push(alert);
        } else {
            messages.push((alert.clone(), vec![alert]));
        }
    }
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

/// One message under the first one's key, with the keys of all.
fn merged(first: &Alert, more: &[Alert]) -> Alert {
    let all = || std::iter::once(first).chain(more);
    let count = all().map(|alert| alert.count).sum();
    let samples = all().flat_map(|alert| match alert.samples.is_empty() {
        true => vec![alert.what.clone()],
        false => alert.samples.clone(),
    });
    Alert {
        databases: all().flat_map(|alert| alert.databases.clone()).collect(),
        subject: format!("{} and {} more", first.subject, more.len()),
        about: all().flat_map(|alert| alert.about.clone()).collect(),
        what: format!("{} In {} more places likewise.", first.what, more.len()),
        count,
        total: all().map(|alert| alert.total).sum(),
        since: all().map(|alert| alert.since).min().unwrap_or(first.since),
        samples: samples.take(2 * super::SAMPLES).collect(),
        keys: all().map(Alert::key).collect(),
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
    heal(topic, ledger, looked, now).await
}
