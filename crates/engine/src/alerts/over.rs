//! When a trouble is over: found well by a look, told by an event, or gone quiet.

use super::tell::{claim, send};
use crate::batch::AN_EVENT;
use crate::ports::{Alerts, Journal, Ledger};
use crate::reconcile::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::{
    Alert, AlertKind, AlertState, Episode, Fault, Name, State, Subject, Timestamp,
};

/// What was looked at, and what of it was left in trouble.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Subjects that were looked at, by name.
    subjects: BTreeSet<String>,
    /// Databases that were looked at with all that is in them.
    whole: BTreeSet<Name>,
    /// Subjects that were mended by the look.
    mended: BTreeSet<String>,
    /// How subjects were left that are not in step.
    ill: BTreeMap<String, State>,
    /// Troubles that an event says are over.
    over: BTreeSet<(AlertKind, String)>,
}

/// The kinds that are over when what they are about is in step again.
const OF_STATE: [AlertKind; 6] = [
    AlertKind::Widening,
    AlertKind::Vetoed,
    AlertKind::Denied,
    AlertKind::Diverged,
    AlertKind::Unreadable,
    AlertKind::Drift,
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
            mended: outcome
                .applied
                .iter()
                .map(|step| step.subject().to_string())
                .collect(),
            over: BTreeSet::new(),
        }
    }

    /// Adds what another look saw.
    fn join(&mut self, other: Self) {
        let Self {
            subjects,
            whole,
            ill,
            mended,
            over,
        } = other;
        self.subjects.extend(subjects);
        self.whole.extend(whole);
        self.ill.extend(ill);
        self.mended.extend(mended);
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

    fn is_empty(&self) -> bool {
        self.subjects.is_empty() && self.whole.is_empty() && self.over.is_empty()
    }

    /// Whether a subject was looked at and is not in a trouble of this kind.
    fn is_well(&self, kind: AlertKind, subject: &str) -> bool {
        if self.over.contains(&(kind, subject.to_owned())) {
            return true;
        }
        if !OF_STATE.contains(&kind) {
            return false;
        }
        // What was mended just now is what people were told of.
        if kind == AlertKind::Drift && self.mended.contains(subject) {
            return false;
        }
        match self.ill.get(subject) {
            Some(State::Behind) => false,
            // Somebody else's object is in the way, which is told as diverged.
            Some(State::Blocked) => kind != AlertKind::Diverged,
            // What the brake holds was refused, and still is.
            Some(State::Held) => kind != AlertKind::Vetoed,
            Some(State::Current | State::DataPending) => true,
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
) -> Result<(), Fault> {
    if looked.is_empty() {
        return Ok(());
    }
    let mut over = Vec::new();
    for (key, known) in ledger.episodes().await? {
        let episode = &known.0;
        if episode.theirs {
            continue;
        }
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
            let in_trouble = looked.ill.keys().chain(&looked.mended);
            let ill = in_trouble.into_iter().any(|subject| {
                super::database_in(subject) == Some(name.as_str()) && !looked.is_well(kind, subject)
            });
            looked.whole.contains(&name) && !ill
        });
        if well.is_empty() && !all {
            continue;
        }
        let heal = |episode: Episode| episode.heal(&well, all, now);
        over.extend(claim(ledger, &key, known, heal).await?);
    }
    send(topic, ledger, over, now).await.map(drop)
}

/// Of what failed and what went well in one batch, in whatever order it came, only the newest
/// of each subject counts.
#[must_use]
pub fn newest(told: &mut Vec<Alert>, over: Vec<(AlertKind, String, Timestamp)>) -> Looked {
    let mut looked = Looked::default();
    for (kind, subject, at) in over {
        let same = |alert: &Alert| alert.kind == kind && alert.subject == subject;
        // Of one second it is not known which was first: told too often is better.
        if !told.iter().any(|alert| same(alert) && alert.at >= at) {
            told.retain(|alert| !same(alert));
            looked = looked.and_over(kind, &subject);
        }
    }
    looked
}

/// What no look can find to be over, such as a refusal: whether it counts as over when it has
/// not come again for a while. While objects are missing, that is looked at.
fn fades(alert: &Alert, missing: &BTreeSet<String>) -> bool {
    match alert.kind {
        AlertKind::Unauthorized => true,
        AlertKind::ReplicationFailed | AlertKind::ReplicationLate => {
            alert.about.is_disjoint(missing)
        }
        AlertKind::Unreadable => alert.subject == AN_EVENT,
        AlertKind::Widening
        | AlertKind::Vetoed
        | AlertKind::Denied
        | AlertKind::Diverged
        | AlertKind::Drift
        | AlertKind::JobFailed
        | AlertKind::DeadLetters
        | AlertKind::Alarm
        | AlertKind::Lagging
        | AlertKind::Silent
        | AlertKind::Unsupported
        | AlertKind::Digest => false,
    }
}

/// What the other Region has not told of again for so long is over there.
const THEIRS_SECS: i64 = 26 * 3600;

/// Tells that troubles are over which have not come again for so many seconds, and which no
/// look can find to be over.
///
/// # Errors
/// The ledger or the topic is out of reach.
pub async fn fade<A: Alerts, L: Ledger + Journal>(
    topic: &A,
    ledger: &L,
    quiet_secs: i64,
    now: Timestamp,
) -> Result<(), Fault> {
    let mut over = Vec::new();
    let missing = crate::replication::reasons(&ledger.pendings().await?);
    for (key, (episode, version)) in ledger.episodes().await? {
        let last = episode.alert.at.max(episode.sent.unwrap_or_default());
        if episode.theirs {
            // While it lasts they tell of it at least daily; that it is over may be lost.
            if now >= last.plus_secs(THEIRS_SECS) {
                ledger.put_episode(&key, None, Some(version)).await?;
            }
            continue;
        }
        if !fades(&episode.alert, &missing) || now < last.plus_secs(quiet_secs) {
            continue;
        }
        let heal = |episode: Episode| episode.heal(&BTreeSet::new(), true, now);
        let ended = claim(ledger, &key, (episode, version), heal).await?;
        over.extend(ended.map(|message| Alert {
            now: format!("It has not come again since {last}."),
            ..message
        }));
    }
    send(topic, ledger, over, now).await.map(drop)
}

/// Takes in what the other Region's functions have told people of: it is shown here, and
/// told nobody again.
///
/// # Errors
/// The ledger is out of reach.
pub async fn learn<L: Ledger>(ledger: &L, alert: &Alert) -> Result<(), Fault> {
    let key = alert.key();
    let known = ledger.episode(&key).await?;
    let was = known.as_ref().map(|(_, version)| *version);
    if known.is_some_and(|(known, _)| !known.theirs) {
        return Ok(());
    }
    let episode = Episode::theirs(alert.clone());
    let open = (alert.state != AlertState::Resolved).then_some(&episode);
    if open.is_some() || was.is_some() {
        // Whoever was faster has learnt of it, too.
        ledger.put_episode(&key, open, was).await?;
    }
    Ok(())
}
