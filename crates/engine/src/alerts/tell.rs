//! Sends alerts by the book: once, again at widening intervals, and when it is over.
//!
//! # Guarantees
//! - What is found is counted in the ledger before its message is acknowledged.
//! - A message is sent at least once, under the same key however often.
//! - With the ledger out of reach it is sent rather than lost.

use crate::ports::{Alerts, Ledger};
use crate::reconcile::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::alert::News;
use twinlake_core::{Alert, AlertKind, Episode, Fault, FaultKind, Name, State, Subject, Timestamp};

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
fn together(due: Vec<Alert>) -> Vec<(Alert, Vec<Alert>)> {
    let mut by_kind: BTreeMap<(AlertKind, twinlake_core::AlertState), Vec<Alert>> = BTreeMap::new();
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

/// What was looked at, and what of it was left in trouble.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Subjects that were looked at, by name.
    subjects: BTreeSet<String>,
    /// Databases that were looked at with all that is in them.
    whole: BTreeSet<Name>,
    /// How subjects were left that are not in step.
    ill: BTreeMap<String, State>,
    /// Troubles that an event says are over.
    over: BTreeSet<(AlertKind, String)>,
}

/// The kinds that are over when what they are about is in step again.
const OF_STATE: [AlertKind; 5] = [
    AlertKind::Widening,
    AlertKind::Vetoed,
    AlertKind::Denied,
    AlertKind::Diverged,
    AlertKind::Unreadable,
];

impl Looked {
    /// What a reconciliation, or a resync, looked at.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let mut ill: BTreeMap<String, State> = outcome
            .ill
            .iter()
            .map(|(subject, state)| (subject.to_string(), *state))
            .collect();
        let mut whole = outcome.whole.clone();
        let waiting = outcome.waiting.iter();
        let left = waiting.flat_map(|(scope, _)| scope.looks.keys().cloned());
        let left = left.chain(outcome.too_many.iter().cloned().map(Subject::Table));
        for subject in left {
            if let Some(database) = subject.database() {
                whole.remove(database);
            }
            ill.insert(subject.to_string(), State::Behind);
        }
        let findings = outcome.findings.iter().filter(|finding| {
            super::of_finding(finding).is_some_and(|kind| OF_STATE.contains(&kind))
        });
        for finding in findings {
            let subject = finding.subject.to_string();
            ill.entry(subject).or_insert(State::Behind);
        }
        Self {
            subjects: outcome.looked.iter().map(ToString::to_string).collect(),
            whole,
            ill,
            over: BTreeSet::new(),
        }
    }

    /// Adds what another look saw.
    fn join(&mut self, other: Self) {
        let Self {
            subjects,
            whole,
            ill,
            over,
        } = other;
        self.subjects.extend(subjects);
        self.whole.extend(whole);
        self.ill.extend(ill);
        self.over.extend(over);
    }

    /// Adds something that was looked at and found well.
    #[must_use]
    pub fn and(mut self, subject: &str) -> Self {
        self.subjects.insert(subject.to_owned());
        self
    }

    /// Adds a trouble that an event says is over.
    #[must_use]
    pub fn and_over(mut self, kind: AlertKind, subject: &str) -> Self {
        self.over.insert((kind, subject.to_owned()));
        self
    }

    /// Whether a subject was looked at and is not in a trouble of this kind.
    fn is_well(&self, kind: AlertKind, subject: &str) -> bool {
        if !OF_STATE.contains(&kind) {
            return self.over.contains(&(kind, subject.to_owned()));
        }
        match self.ill.get(subject) {
            Some(State::Behind) => false,
            // Somebody else's object is in the way, which is told as diverged.
            Some(State::Blocked) => kind != AlertKind::Diverged,
            Some(State::Current | State::Held | State::DataPending) => true,
            None => {
                let database = super::database_in(subject).and_then(|name| Name::new(name).ok());
                self.subjects.contains(subject)
                    || database.is_some_and(|database| self.whole.contains(&database))
            }
        }
    }
}

impl FromIterator<Self> for Looked {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        let mut joined = Self::default();
        all.into_iter().for_each(|one| joined.join(one));
        joined
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

/// Tells that troubles are over whose subjects were looked at and are well. Answers how
/// many are.
///
/// # Errors
/// The ledger or the topic is out of reach; what is over is told by a later look.
pub async fn heal<A: Alerts, L: Ledger>(
    topic: &A,
    ledger: &L,
    looked: &Looked,
    now: Timestamp,
) -> Result<usize, Fault> {
    let mut over = Vec::new();
    let mut ended = Vec::new();
    for (key, (episode, version)) in ledger.episodes().await? {
        let kind = episode.alert.kind;
        let about = episode.alert.about.iter();
        let well: BTreeSet<String> = about
            .filter(|subject| looked.is_well(kind, subject))
            .cloned()
            .collect();
        // What is not remembered lies in the same database.
        let group = Name::new(&episode.alert.group);
        let all = group.is_ok_and(|name| {
            if !OF_STATE.contains(&kind) {
                return false;
            }
            let ill = looked.ill.keys().any(|subject| {
                super::database_in(subject) == Some(name.as_str()) && !looked.is_well(kind, subject)
            });
            looked.whole.contains(&name) && !ill
        });
        if well.is_empty() && !all {
            continue;
        }
        match episode.heal(&well, all, now) {
            News::Keep(episode) | News::Send(episode, _) => {
                // Whoever changed it meanwhile has found it anew.
                ledger
                    .put_episode(&key, Some(&episode), Some(version))
                    .await?;
            }
            News::End(message) => {
                ended.push((key, version));
                over.push(*message);
            }
        }
    }
    for (message, _) in together(over) {
        topic.publish(&message).await?;
    }
    // Only what was told is forgotten: told twice is better than not at all.
    for (key, version) in &ended {
        ledger.put_episode(key, None, Some(*version)).await?;
    }
    Ok(ended.len())
}
