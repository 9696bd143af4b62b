//! One trouble from its first message to its last: what is grouped, when it is told
//! again, when it is over.
//!
//! The ledger keeps one episode for each [`Alert::key`]. Whoever finds the trouble notes
//! it there; the one whose turn it is claims the message, sends it, and settles the claim.
//! Whoever finds it over claims and settles that message in the same way. A claim that was
//! not settled, since its function died, is free again after a minute, so that a message is
//! sent at least once, under the same key.

use super::{ABOUT, Alert, AlertKind, AlertState, Severity};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the ledger keeps of a trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// The alert as it was last found.
    pub alert: Alert,
    /// How many messages were sent.
    pub messages: u32,
    /// When the last one was sent.
    pub sent: Option<Timestamp>,
    /// When somebody took it on to send one.
    pub claimed: Option<Timestamp>,
    /// When somebody took it on to say that it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Timestamp>,
    /// What was found since the last message.
    pub untold: usize,
    /// More subjects were in trouble than are remembered.
    pub overflowed: bool,
    /// When each of the subjects was last found in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub found: BTreeMap<String, Timestamp>,
    /// What is not replicated, and when each was last found; for the digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gathered: BTreeMap<String, Timestamp>,
    /// The other Region's functions tell people of it, and say when it is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub theirs: bool,
}

/// What is to be done about an episode that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It is kept, and nobody is told.
    Keep(Episode),
    /// It is kept with its claim, and once it is, this is sent and the claim settled.
    Send(Episode, Box<Alert>),
}

/// A claim that was not settled is free again after so long.
const CLAIM_SECS: i64 = 60;
/// So many things that are not replicated are kept by name for each database.
const GATHERED: usize = 200;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// How long after each message the next one may come; the last one for all that follow.
const INTERVALS: [i64; 4] = [HOUR, 3 * HOUR, 8 * HOUR, DAY];

impl Episode {
    /// Takes an alert in that was found, with what was known of its trouble.
    #[must_use]
    pub fn note(known: Option<Self>, found: &Alert, now: Timestamp) -> News {
        let mut episode = match known {
            Some(known) => known.seen_again(found),
            None => Self {
                alert: Alert {
                    total: found.count,
                    since: found.at,
                    ..found.clone()
                },
                messages: 0,
                sent: None,
                claimed: None,
                ending: None,
                untold: found.count,
                overflowed: found.about.len() >= ABOUT,
                found: BTreeMap::new(),
                gathered: BTreeMap::new(),
                theirs: false,
            },
        };
        let about = episode.alert.about.intersection(&found.about).cloned();
        episode
            .found
            .extend(about.map(|subject| (subject, found.at)));
        if found.kind == AlertKind::Unsupported {
            episode.gather(found);
        }
        if found.kind == AlertKind::Unsupported || !episode.is_due(now) {
            return News::Keep(episode);
        }
        episode.ending = None;
        let (episode, message) = episode.claim(now);
        News::Send(episode, Box::new(message))
    }

    /// Tells again of what lasts, or what was found since the last message, when that is due.
    #[must_use]
    pub fn remind(self, lasts: bool, now: Timestamp) -> News {
        let gathers = matches!(self.alert.kind.severity(), Severity::Digest);
        if gathers || (!lasts && self.untold == 0) || !self.is_due(now) {
            return News::Keep(self);
        }
        let (episode, message) = self.claim(now);
        News::Send(episode, Box::new(message))
    }

    /// Takes on to tell what was not told yet.
    fn claim(mut self, now: Timestamp) -> (Self, Alert) {
        self.claimed = Some(now);
        let alert = Alert {
            state: match self.messages {
                0 => AlertState::New,
                _ => AlertState::Again,
            },
            count: self.untold,
            ..self.alert.clone()
        };
        (self, alert)
    }

    /// What the other Region's functions have told of.
    #[must_use]
    pub fn theirs(alert: Alert) -> Self {
        Self {
            messages: 1,
            sent: Some(alert.at),
            claimed: None,
            ending: None,
            untold: 0,
            overflowed: false,
            found: BTreeMap::new(),
            gathered: BTreeMap::new(),
            theirs: true,
            alert,
        }
    }

    /// When a subject was last found in it.
    #[must_use]
    pub fn found(&self, subject: &str) -> Timestamp {
        let found = self.found.get(subject).copied();
        found.unwrap_or(self.alert.at)
    }

    /// Settles a claim: a message that spoke for so many was sent.
    #[must_use]
    pub fn told(mut self, count: usize, now: Timestamp) -> Self {
        self.messages = self.messages.saturating_add(1);
        self.sent = Some(now);
        self.claimed = None;
        self.untold = self.untold.saturating_sub(count);
        self
    }

    /// Takes in that some subjects are well again. `all` says that whatever the trouble was
    /// about was looked at. What is over by it is claimed, unless somebody is about to say so.
    #[must_use]
    pub fn heal(mut self, well: &BTreeSet<String>, all: bool, now: Timestamp) -> News {
        let mut ill = self.alert.about.difference(well);
        if !all && (self.overflowed || ill.next().is_some()) {
            self.alert.about.retain(|subject| !well.contains(subject));
            self.found.retain(|subject, _| !well.contains(subject));
            return News::Keep(self);
        }
        if is_held(self.ending, now) {
            return News::Keep(self);
        }
        // What it was about stays until people have been told, so that a later look can end it.
        self.ending = Some(now);
        let mut alert = self.alert.clone();
        alert.what = format!("What was told of since {} is over.", alert.since);
        "It was looked at again, and nothing of it is left.".clone_into(&mut alert.now);
        "Nothing.".clone_into(&mut alert.todo);
        alert.state = AlertState::Resolved;
        alert.at = now;
        alert.count = alert.total;
        alert.samples.clear();
        News::Send(self, Box::new(alert))
    }

    /// Settles the claim of a message that said it is over, after so many had been found in
    /// all. What was found meanwhile is a trouble of its own, claimed to be told; nothing is
    /// left otherwise.
    #[must_use]
    pub fn ended(self, total: usize, now: Timestamp) -> Option<(Self, Alert)> {
        let at = self.alert.at;
        let more = self.alert.total.saturating_sub(total);
        let anew = match self.alert.kind.is_level() && self.ending.is_some_and(|end| at > end) {
            true => self.alert.total,
            false => more,
        };
        if anew == 0 {
            return None;
        }
        let since_then =
            |subject: &String| self.ending.is_none_or(|end| self.found(subject) >= end);
        let about = self
            .alert
            .about
            .iter()
            .filter(|subject| since_then(subject));
        let about = about.cloned().collect();
        let begun = Self {
            alert: Alert {
                about,
                total: anew,
                since: at,
                ..self.alert
            },
            messages: 0,
            sent: None,
            claimed: None,
            ending: None,
            untold: anew,
            ..self
        };
        Some(begun.claim(now))
    }

    /// Gives the claim of a message back: it could not be sent, and whoever comes next may.
    #[must_use]
    pub fn unclaimed(mut self, state: AlertState) -> Self {
        match state {
            AlertState::New | AlertState::Again => self.claimed = None,
            AlertState::Resolved => self.ending = None,
        }
        self
    }

    fn seen_again(self, found: &Alert) -> Self {
        let mut about = self.alert.about;
        about.extend(found.about.iter().cloned());
        let overflowed = self.overflowed || about.len() >= ABOUT;
        let about = about.into_iter().take(ABOUT).collect();
        let sum = |known: usize| match found.kind.is_level() {
            true => found.count,
            false => known.saturating_add(found.count),
        };
        Self {
            untold: sum(self.untold),
            alert: Alert {
                about,
                since: self.alert.since,
                total: sum(self.alert.total),
                at: self.alert.at.max(found.at),
                ..found.clone()
            },
            overflowed,
            ..self
        }
    }

    /// Keeps what is not replicated by name, since one look sees only some of it.
    fn gather(&mut self, found: &Alert) {
        // What an alert does not name is counted in it, and is not gathered.
        let named = found.samples.iter().cloned();
        self.gathered.extend(named.map(|name| (name, found.at)));
        while self.gathered.len() > GATHERED {
            let oldest = self.gathered.iter().min_by_key(|(_, at)| **at);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                return;
            };
            self.gathered.remove(&oldest);
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        if is_held(self.claimed, now) || is_held(self.ending, now) {
            return false;
        }
        let Some(sent) = self.sent else {
            return true;
        };
        let wait = match self.alert.kind.severity() {
            Severity::Digest => DAY,
            Severity::Page | Severity::Warn => {
                let nth = usize::try_from(self.messages).unwrap_or(usize::MAX);
                let nth = INTERVALS.get(nth.saturating_sub(1));
                nth.copied().unwrap_or(DAY)
            }
        };
        now >= sent.plus_secs(wait)
    }
}

/// Whether a claim is somebody's who may still be at work.
fn is_held(claim: Option<Timestamp>, now: Timestamp) -> bool {
    claim.is_some_and(|at| now < at.plus_secs(CLAIM_SECS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn found(kind: AlertKind, subjects: &[&str], secs: i64) -> Alert {
        let words = ["a", "b", "c"].map(str::to_owned);
        Alert {
            about: subjects.iter().map(|s| (*s).to_owned()).collect(),
            count: subjects.len(),
            ..Alert::new(kind, "r", "d", words, at(secs))
        }
    }

    /// Notes an alert, and settles the message if there is one.
    fn note(known: Option<Episode>, alert: &Alert, secs: i64) -> (Episode, Option<Alert>) {
        match Episode::note(known, alert, at(secs)) {
            News::Keep(episode) => (episode, None),
            News::Send(episode, sent) => {
                let episode = episode.told(sent.count, at(secs));
                (episode, Some(*sent))
            }
        }
    }

    #[test]
    fn repeats_come_at_widening_intervals_and_no_count_is_lost() {
        let mut known = None;
        let mut sent = Vec::new();
        for hour in 0..=72 {
            let alert = found(AlertKind::Denied, &["x"], hour * HOUR);
            let (episode, message) = note(known, &alert, hour * HOUR);
            known = Some(episode);
            sent.extend(message.map(|m| (hour, m.state, m.count)));
        }
        let (new, again) = (AlertState::New, AlertState::Again);
        let expected = [
            (0, new, 1),
            (1, again, 1),
            (4, again, 3),
            (12, again, 8),
            (36, again, 24),
            (60, again, 24),
        ];
        assert_eq!(sent, expected);
        let known = known.unwrap();
        assert_eq!((known.untold, known.alert.total), (12, 73));
        assert_eq!(known.alert.since, at(0));
    }

    #[test]
    fn what_is_for_the_digest_is_kept_and_not_sent() {
        let alert = found(AlertKind::Unsupported, &["x"], 0);
        let News::Keep(episode) = Episode::note(None, &alert, at(0)) else {
            panic!("it waits for the digest");
        };
        assert_eq!(episode.alert.total, 1);
    }

    #[test]
    fn a_claim_keeps_others_from_sending_until_its_function_must_be_dead() {
        let alert = found(AlertKind::Vetoed, &["x"], 0);
        let News::Send(claimed, _) = Episode::note(None, &alert, at(0)) else {
            panic!("the first one is sent");
        };
        let News::Keep(waiting) = Episode::note(Some(claimed), &alert, at(59)) else {
            panic!("somebody else sends it");
        };
        let News::Send(_, message) = Episode::note(Some(waiting), &alert, at(60)) else {
            panic!("the claim is free");
        };
        assert_eq!((message.state, message.count), (AlertState::New, 3));
    }

    fn well(subjects: &[&str]) -> BTreeSet<String> {
        subjects.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn it_is_over_when_the_last_subject_is_well() {
        let alert = found(AlertKind::Denied, &["x", "y"], 0);
        let (episode, _) = note(None, &alert, 0);
        let News::Keep(episode) = episode.heal(&well(&["x"]), false, at(1)) else {
            panic!("y is not well");
        };
        let News::Send(_, message) = episode.heal(&well(&["y"]), false, at(2)) else {
            panic!("all are well");
        };
        assert_eq!((message.state, message.total), (AlertState::Resolved, 2));
        assert_eq!(message.key(), alert.key());
    }

    #[test]
    fn many_things_of_one_subject_are_over_with_it() {
        let alert = Alert {
            count: 10_000,
            ..found(AlertKind::ReplicationFailed, &["x"], 0)
        };
        let (episode, _) = note(None, &alert, 0);
        let end = episode.heal(&well(&["x"]), false, at(1));
        assert!(matches!(end, News::Send(_, message) if message.total == 10_000));
    }

    #[test]
    fn more_than_is_remembered_is_over_only_when_all_was_looked_at() {
        let names: Vec<String> = (0..=ABOUT).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (first, _) = note(None, &found(AlertKind::Denied, &names[..1], 0), 0);
        let (episode, _) = note(Some(first), &found(AlertKind::Denied, &names, 1), 1);
        assert_eq!(episode.alert.about.len(), ABOUT);
        let News::Keep(episode) = episode.heal(&well(&names), false, at(2)) else {
            panic!("one may be left");
        };
        let end = episode.heal(&BTreeSet::new(), true, at(3));
        assert!(matches!(end, News::Send(..)));
    }

    #[test]
    fn only_one_says_that_it_is_over_until_its_function_must_be_dead() {
        let alert = found(AlertKind::Denied, &["x"], 0);
        let (episode, _) = note(None, &alert, 0);
        let News::Send(ending, _) = episode.heal(&well(&["x"]), false, at(1)) else {
            panic!("it is over");
        };
        let News::Keep(ending) = ending.heal(&well(&["x"]), false, at(60)) else {
            panic!("somebody else says so");
        };
        let end = ending.clone().heal(&well(&["x"]), false, at(61));
        assert!(matches!(end, News::Send(..)), "the claim is free");
        assert_eq!(ending.ended(1, at(2)), None);
    }

    #[test]
    fn what_is_found_while_people_are_told_that_it_is_over_is_told_anew() {
        let alert = found(AlertKind::Denied, &["x"], 0);
        let (episode, _) = note(None, &alert, 0);
        let News::Send(ending, over) = episode.heal(&well(&["x"]), false, at(1)) else {
            panic!("it is over");
        };
        let News::Keep(ending) =
            Episode::note(Some(ending), &found(AlertKind::Denied, &["y"], 2), at(2))
        else {
            panic!("who says that it is over tells of it");
        };
        let Some((begun, message)) = ending.ended(over.total, at(3)) else {
            panic!("it was found anew");
        };
        assert_eq!((message.state, message.count), (AlertState::New, 1));
        assert_eq!((message.since, message.total), (at(2), 1));
        assert_eq!(begun.alert.about, well(&["y"]));
    }
}
