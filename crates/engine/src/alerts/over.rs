//! When a trouble is over: found well by a look, told by an event, or gone quiet.

use super::AN_EVENT;
use super::tell::{claim, send};
use crate::ports::{Alerts, Journal, Ledger};
use crate::reconcile::Outcome;
use crate::replication::Awaited;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::alert::Severity;
use twinlake_core::{
    Alert, AlertKind, AlertState, Episode, Fault, Name, State, Subject, Timestamp,
};

/// What was looked at, and what of it was left in trouble. Each look has its beginning: a
/// trouble that was found later is not over by it.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Subjects that were looked at, by name.
    subjects: BTreeMap<String, Timestamp>,
    /// Databases that were looked at with all that is in them.
    whole: BTreeMap<Name, Timestamp>,
    /// Subjects that were mended by the look.
    mended: BTreeSet<String>,
    /// How subjects were left that are not in step.
    ill: BTreeMap<String, State>,
    /// Troubles that are over since then.
    over: BTreeMap<(AlertKind, String), Timestamp>,
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
    /// What a reconciliation, or a resync, looked at that began then.
    #[must_use]
    pub fn of(outcome: &Outcome, began: Timestamp) -> Self {
        let mut ill: BTreeMap<String, State> = outcome
            .ill
            .iter()
            .map(|(subject, state)| (subject.to_string(), *state))
            .collect();
        let whole = outcome.whole.iter();
        let mut whole: BTreeMap<Name, Timestamp> =
            whole.map(|name| (name.clone(), began)).collect();
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
            subjects: outcome
                .looked
                .iter()
                .map(|subject| (subject.to_string(), began))
                .collect(),
            whole,
            ill,
            mended: outcome
                .applied
                .iter()
                .map(|step| step.subject().to_string())
                .collect(),
            over: BTreeMap::new(),
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
        later(&mut self.subjects, subjects);
        later(&mut self.whole, whole);
        later(&mut self.over, over);
        self.ill.extend(ill);
        self.mended.extend(mended);
    }

    /// Adds something that was found well by a look that began then.
    #[must_use]
    pub fn and(mut self, subject: &str, began: Timestamp) -> Self {
        later(&mut self.subjects, [(subject.to_owned(), began)]);
        self
    }

    /// Adds a trouble that is over since then.
    #[must_use]
    pub fn and_over(mut self, kind: AlertKind, subject: &str, at: Timestamp) -> Self {
        later(&mut self.over, [((kind, subject.to_owned()), at)]);
        self
    }

    fn is_empty(&self) -> bool {
        self.subjects.is_empty() && self.whole.is_empty() && self.over.is_empty()
    }

    /// Whether a subject was looked at after a trouble of this kind was last found, and is
    /// not in it.
    fn is_well(&self, kind: AlertKind, subject: &str, found: Timestamp) -> bool {
        let over = self.over.get(&(kind, subject.to_owned()));
        if over.is_some_and(|at| *at >= found) {
            return true;
        }
        // What was mended just now is what people were told of.
        let just_told = kind == AlertKind::Drift && self.mended.contains(subject);
        if !OF_STATE.contains(&kind) || just_told {
            return false;
        }
        let database = super::database_in(subject).and_then(|name| Name::new(name).ok());
        let whole = database.and_then(|database| self.whole.get(&database));
        let looked = self.subjects.get(subject).max(whole);
        if looked.is_none_or(|began| *began < found) {
            return false;
        }
        match self.ill.get(subject) {
            Some(State::Behind) => false,
            // Somebody else's object is in the way, which is told as diverged.
            Some(State::Blocked) => kind != AlertKind::Diverged,
            // What the brake holds was refused, and still is.
            Some(State::Held) => kind != AlertKind::Vetoed,
            Some(State::Current | State::DataPending) | None => true,
        }
    }

    /// Whether all of a group, which is a database, is well: what is not remembered of a
    /// trouble lies in it.
    fn is_all_well(&self, kind: AlertKind, group: &str, found: Timestamp) -> bool {
        let Ok(name) = Name::new(group) else {
            return false;
        };
        let whole = self.whole.get(&name);
        if !OF_STATE.contains(&kind) || whole.is_none_or(|began| *began < found) {
            return false;
        }
        let mut in_trouble = self.ill.keys().chain(&self.mended);
        !in_trouble.any(|subject| {
            super::database_in(subject) == Some(name.as_str())
                && !self.is_well(kind, subject, found)
        })
    }
}

/// Takes times in; of one thing the later one counts.
fn later<K: Ord>(
    known: &mut BTreeMap<K, Timestamp>,
    more: impl IntoIterator<Item = (K, Timestamp)>,
) {
    for (key, at) in more {
        let known = known.entry(key).or_insert(at);
        *known = at.max(*known);
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
            .filter(|subject| looked.is_well(kind, subject, episode.found(subject)))
            .cloned()
            .collect();
        let all = looked.is_all_well(kind, &episode.alert.group, episode.alert.at);
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
            looked = looked.and_over(kind, &subject, at);
        }
    }
    looked
}

/// How the subject of a bucket begins in which missing objects are looked for.
pub const REPLICAS: &str = "replica bucket ";

/// What no look can find to be over, such as a refusal: whether it counts as over when it has
/// not come again for a while. While objects are missing, they are looked for.
fn fades(alert: &Alert, missing: &Awaited) -> bool {
    match alert.kind {
        AlertKind::Unauthorized => true,
        AlertKind::ReplicationFailed | AlertKind::ReplicationLate => {
            alert.about.is_disjoint(&missing.reasons)
        }
        AlertKind::Unreadable => alert.subject == AN_EVENT,
        // A bucket where nothing is looked for any more.
        AlertKind::Denied => {
            let bucket = alert.subject.strip_prefix(REPLICAS);
            bucket.is_some_and(|bucket| !missing.buckets.contains(bucket))
        }
        AlertKind::Widening
        | AlertKind::Vetoed
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

/// What nobody has found again for so long is given up: it may be of a job that is no more.
const GIVEN_UP_SECS: i64 = 14 * 86_400;

/// Tells that troubles are over which have not come again for so many seconds, and which no
/// look can find to be over; and gives up what nobody has found again for two weeks.
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
    let missing = Awaited::of(&ledger.pendings().await?);
    for (key, (episode, version)) in ledger.episodes().await? {
        let last = episode.alert.at.max(episode.sent.unwrap_or_default());
        if episode.theirs {
            // While it lasts they tell of it at least daily; that it is over may be lost.
            if now >= last.plus_secs(THEIRS_SECS) {
                ledger.put_episode(&key, None, Some(version)).await?;
            }
            continue;
        }
        let (kind, found) = (episode.alert.kind, episode.alert.at);
        let fades = fades(&episode.alert, &missing);
        let quiet_at = match fades {
            true => last.plus_secs(quiet_secs),
            false => found.plus_secs(GIVEN_UP_SECS),
        };
        // While objects are missing that is known without being told again.
        let gathers = kind.severity() == Severity::Digest;
        let waits = matches!(
            kind,
            AlertKind::ReplicationFailed | AlertKind::ReplicationLate
        );
        if now < quiet_at || gathers || (waits && !fades) {
            continue;
        }
        let heal = |episode: Episode| episode.heal(&BTreeSet::new(), true, now);
        let ended = claim(ledger, &key, (episode, version), heal).await?;
        over.extend(ended.map(|message| match fades {
            true => Alert {
                now: format!("It has not come again since {last}."),
                ..message
            },
            false => Alert {
                what: format!("What was told of since {} is given up.", message.since),
                now: format!("Nobody has found it again since {found}, nor that it is over."),
                ..message
            },
        }));
    }
    send(topic, ledger, over, now).await.map(drop)
}

/// Tells again of what lasts, and of what was found since people were last told, when the
/// interval is over: nobody else may find it once more.
///
/// # Errors
/// The ledger or the topic is out of reach.
pub async fn remind<A: Alerts, L: Ledger + Journal>(
    topic: &A,
    ledger: &L,
    now: Timestamp,
) -> Result<(), Fault> {
    let mut due = Vec::new();
    let missing = Awaited::of(&ledger.pendings().await?);
    for (key, known) in ledger.episodes().await? {
        let alert = &known.0.alert;
        // What was mended is over, though no look has seen that yet.
        let lasts = !fades(alert, &missing) && alert.kind != AlertKind::Drift;
        if !known.0.theirs {
            let remind = |episode: Episode| episode.remind(lasts, now);
            due.extend(claim(ledger, &key, known, remind).await?);
        }
    }
    send(topic, ledger, due, now).await.map(drop)
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
