//! Incidents: which alerts belong together, when an alert is repeated, and when it is resolved.
//!
//! The ledger keeps one incident for each [`Alert::key`]. Whoever detects the problem records the
//! alert in the incident. If a message is due, the same writer claims it, sends it, and confirms it
//! with [`Incident::mark_sent`]. The message that reports the resolution is claimed, sent and
//! confirmed ([`Incident::mark_resolved`]) in the same way. A claim that is not confirmed, because
//! its function was stopped, expires after a minute, so a message is sent at least once, under the
//! same key.

use super::{Alert, AlertKind, AlertState, MAX_AFFECTED, Severity, listed_subjects};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One problem from its first alert to its resolution, as stored in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The newest alert.
    pub alert: Alert,
    /// Number of messages sent.
    pub messages_sent: u32,
    /// When the last message was sent.
    pub last_sent: Option<Timestamp>,
    /// When a writer claimed the next message.
    pub claimed_at: Option<Timestamp>,
    /// When a writer claimed the message that reports the resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution_claimed_at: Option<Timestamp>,
    /// Number of occurrences since the last message.
    pub unreported: usize,
    /// Whether more subjects were affected than the alert can list.
    pub overflowed: bool,
    /// When each affected subject was last detected.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_found: BTreeMap<String, Timestamp>,
    /// Objects that are not replicated, and when each was last detected; for the daily digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_replicated: BTreeMap<String, Timestamp>,
    /// Whether the incident is a copy of the peer Region's: the peer sends its messages and
    /// resolves it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_peer: bool,
}

/// What to do with a changed incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncidentUpdate {
    /// Store the incident, and send no message.
    Store(Incident),
    /// Store the incident with its claim, then send the message and confirm the claim.
    Send(Incident, Box<Alert>),
}

/// Seconds after which an unconfirmed claim expires.
const CLAIM_SECS: i64 = 60;
/// Maximum number of objects that an incident lists as not replicated.
const MAX_NOT_REPLICATED: usize = 200;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Minimum seconds between one message and the next, by the number of messages sent; the last one
/// applies to all further messages.
const REPEAT_INTERVALS_SECS: [i64; 4] = [HOUR, 3 * HOUR, 8 * HOUR, DAY];

impl Incident {
    /// Records an alert in its incident, or opens a new incident if there is none. Claims a message
    /// if one is due.
    #[must_use]
    pub fn record(existing: Option<Self>, alert: &Alert, now: Timestamp) -> IncidentUpdate {
        let existing = existing.filter(|existing| !existing.is_resolved_copy());
        let mut incident = match existing {
            Some(existing) => existing.merge(alert),
            None => Self {
                alert: Alert {
                    total: alert.count,
                    since: alert.detected_at,
                    ..alert.clone()
                },
                messages_sent: 0,
                last_sent: None,
                claimed_at: None,
                resolution_claimed_at: None,
                unreported: alert.count,
                overflowed: alert.affected.len() >= MAX_AFFECTED,
                last_found: BTreeMap::new(),
                not_replicated: BTreeMap::new(),
                from_peer: false,
            },
        };
        let affected = incident
            .alert
            .affected
            .intersection(&alert.affected)
            .cloned();
        incident
            .last_found
            .extend(affected.map(|subject| (subject, alert.detected_at)));
        if alert.kind == AlertKind::NotReplicated {
            incident.record_not_replicated(alert);
        }
        if alert.kind == AlertKind::NotReplicated || !incident.is_due(now) {
            return IncidentUpdate::Store(incident);
        }
        incident.resolution_claimed_at = None;
        let (incident, message) = incident.claim(now);
        IncidentUpdate::Send(incident, Box::new(message))
    }

    /// Claims a repeated message if one is due and the problem persists or occurred again since the
    /// last message.
    #[must_use]
    pub fn renotify(self, persists: bool, now: Timestamp) -> IncidentUpdate {
        let is_digest = matches!(self.alert.kind.severity(), Severity::Digest);
        if is_digest || (!persists && self.unreported == 0) || !self.is_due(now) {
            return IncidentUpdate::Store(self);
        }
        let (incident, message) = self.claim(now);
        IncidentUpdate::Send(incident, Box::new(message))
    }

    /// Claims the message that reports all unreported occurrences.
    fn claim(mut self, now: Timestamp) -> (Self, Alert) {
        self.claimed_at = Some(now);
        let alert = Alert {
            state: match self.messages_sent {
                0 => AlertState::New,
                _ => AlertState::Repeated,
            },
            count: self.unreported,
            ..self.alert.clone()
        };
        (self, alert)
    }

    /// Creates the local copy of an incident whose alert the peer Region has sent.
    #[must_use]
    pub fn mirror_peer(alert: Alert) -> Self {
        Self {
            messages_sent: 1,
            last_sent: Some(alert.detected_at),
            claimed_at: None,
            resolution_claimed_at: None,
            unreported: 0,
            overflowed: false,
            last_found: BTreeMap::new(),
            not_replicated: BTreeMap::new(),
            from_peer: true,
            alert,
        }
    }

    /// Whether this is the copy of an incident that the peer Region has resolved. It is kept for a while and is no
    /// open incident: the peer's messages arrive in any order, and more than once.
    #[must_use]
    pub fn is_resolved_copy(&self) -> bool {
        self.from_peer && self.alert.state == AlertState::Resolved
    }

    /// Whether this copy of the peer Region's incident is as new as a message of the peer about it: the message adds
    /// nothing, or is about an earlier incident.
    #[must_use]
    pub fn supersedes(&self, message: &Alert) -> bool {
        let known = &self.alert;
        if known.since != message.since {
            return known.since > message.since;
        }
        self.is_resolved_copy() || known.detected_at > message.detected_at
    }

    /// Returns when a subject was last detected in this incident.
    #[must_use]
    pub fn last_found(&self, subject: &str) -> Timestamp {
        let last_found = self.last_found.get(subject).copied();
        last_found.unwrap_or(self.alert.detected_at)
    }

    /// Confirms a claim: a message that reports `count` occurrences was sent.
    #[must_use]
    pub fn mark_sent(mut self, count: usize, now: Timestamp) -> Self {
        self.messages_sent = self.messages_sent.saturating_add(1);
        self.last_sent = Some(now);
        self.claimed_at = None;
        self.unreported = self.unreported.saturating_sub(count);
        self
    }

    /// Removes the subjects that are in order again. `all` states that everything the incident
    /// could affect was checked. If no affected subject is left, claims the message that reports
    /// the resolution, unless another writer has claimed it.
    #[must_use]
    pub fn resolve(
        mut self,
        resolved: &BTreeSet<String>,
        all: bool,
        now: Timestamp,
    ) -> IncidentUpdate {
        let mut unresolved = self.alert.affected.difference(resolved);
        if !all && (self.overflowed || unresolved.next().is_some()) {
            self.alert
                .affected
                .retain(|subject| !resolved.contains(subject));
            self.last_found
                .retain(|subject, _| !resolved.contains(subject));
            return IncidentUpdate::Store(self);
        }
        if is_claim_active(self.resolution_claimed_at, now) {
            return IncidentUpdate::Store(self);
        }
        // The affected subjects stay until the message is sent, so that a later check can resolve
        // the incident if this message is lost.
        self.resolution_claimed_at = Some(now);
        let mut alert = self.alert.clone();
        alert.summary = format!("The problem reported since {} is resolved.", alert.since);
        "A check verified that no affected object is left.".clone_into(&mut alert.current_state);
        "Nothing.".clone_into(&mut alert.action);
        alert.state = AlertState::Resolved;
        alert.detected_at = now;
        alert.count = alert.total;
        alert.samples.clear();
        IncidentUpdate::Send(self, Box::new(alert))
    }

    /// Confirms the claim of the message that reported the resolution after `total` occurrences.
    /// Returns `None` if the incident can be deleted. If the problem occurred again after that
    /// message was claimed, returns a new incident with a claimed message.
    #[must_use]
    pub fn mark_resolved(self, total: usize, now: Timestamp) -> Option<(Self, Alert)> {
        let detected_at = self.alert.detected_at;
        let is_newer = self
            .resolution_claimed_at
            .is_some_and(|claimed_at| detected_at > claimed_at);
        let occurrences = match self.alert.kind.count_is_measured() && is_newer {
            true => self.alert.total,
            false => self.alert.total.saturating_sub(total),
        };
        if occurrences == 0 {
            return None;
        }
        let is_found_again = |subject: &&String| {
            self.resolution_claimed_at
                .is_none_or(|claimed_at| self.last_found(subject) >= claimed_at)
        };
        let affected = self.alert.affected.iter().filter(is_found_again);
        let affected = affected.cloned().collect();
        let reopened = Self {
            alert: Alert {
                affected,
                total: occurrences,
                since: detected_at,
                ..self.alert
            },
            messages_sent: 0,
            last_sent: None,
            claimed_at: None,
            resolution_claimed_at: None,
            unreported: occurrences,
            ..self
        };
        Some(reopened.claim(now))
    }

    /// Releases the claim of a message that could not be sent, so that the next writer can claim
    /// it.
    #[must_use]
    pub fn release_claim(mut self, state: AlertState) -> Self {
        match state {
            AlertState::New | AlertState::Repeated => self.claimed_at = None,
            AlertState::Resolved => self.resolution_claimed_at = None,
        }
        self
    }

    /// Adds the occurrences of a repeated alert, which becomes the newest alert.
    fn merge(self, alert: &Alert) -> Self {
        let mut affected = self.alert.affected;
        affected.extend(alert.affected.iter().cloned());
        let overflowed = self.overflowed || affected.len() >= MAX_AFFECTED;
        let affected = listed_subjects(affected.iter().map(String::as_str));
        let mut databases = self.alert.databases;
        databases.extend(alert.databases.iter().cloned());
        let add_count = |previous: usize| match alert.kind.count_is_measured() {
            true => alert.count,
            false => previous.saturating_add(alert.count),
        };
        Self {
            unreported: add_count(self.unreported),
            alert: Alert {
                affected,
                databases,
                since: self.alert.since,
                total: add_count(self.alert.total),
                detected_at: self.alert.detected_at.max(alert.detected_at),
                ..alert.clone()
            },
            overflowed,
            ..self
        }
    }

    /// Adds the objects of an alert to those that are not replicated, because one scan sees only
    /// some of them. Objects that the alert counts without a name are not added.
    fn record_not_replicated(&mut self, alert: &Alert) {
        let names = alert.samples.iter().cloned();
        self.not_replicated
            .extend(names.map(|name| (name, alert.detected_at)));
        while self.not_replicated.len() > MAX_NOT_REPLICATED {
            let oldest = self.not_replicated.iter().min_by_key(|(_, at)| **at);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                return;
            };
            self.not_replicated.remove(&oldest);
        }
    }

    /// Whether a message is due: none is claimed, and the interval since the last one has passed.
    fn is_due(&self, now: Timestamp) -> bool {
        if is_claim_active(self.claimed_at, now) || is_claim_active(self.resolution_claimed_at, now)
        {
            return false;
        }
        let Some(last_sent) = self.last_sent else {
            return true;
        };
        let interval = match self.alert.kind.severity() {
            Severity::Digest => DAY,
            Severity::Page | Severity::Warn => {
                let sent = usize::try_from(self.messages_sent).unwrap_or(usize::MAX);
                let interval = REPEAT_INTERVALS_SECS.get(sent.saturating_sub(1));
                interval.copied().unwrap_or(DAY)
            }
        };
        now >= last_sent.plus_secs(interval)
    }
}

/// Whether a claim exists and has not expired.
fn is_claim_active(claimed_at: Option<Timestamp>, now: Timestamp) -> bool {
    claimed_at.is_some_and(|at| now < at.plus_secs(CLAIM_SECS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn alert_about(kind: AlertKind, subjects: &[&str], secs: i64) -> Alert {
        let sentences = ["a", "b", "c"].map(str::to_owned);
        Alert {
            affected: subjects.iter().map(|s| (*s).to_owned()).collect(),
            count: subjects.len(),
            ..Alert::new(kind, "r", "d", sentences, at(secs))
        }
    }

    /// Records an alert, and confirms the message if there is one.
    fn record(existing: Option<Incident>, alert: &Alert, secs: i64) -> (Incident, Option<Alert>) {
        match Incident::record(existing, alert, at(secs)) {
            IncidentUpdate::Store(incident) => (incident, None),
            IncidentUpdate::Send(incident, sent) => {
                let incident = incident.mark_sent(sent.count, at(secs));
                (incident, Some(*sent))
            }
        }
    }

    #[test]
    fn messages_repeat_at_increasing_intervals_and_no_count_is_lost() {
        let mut incident = None;
        let mut sent = Vec::new();
        for hour in 0..=72 {
            let alert = alert_about(AlertKind::TwinlakeAccessDenied, &["x"], hour * HOUR);
            let (updated, message) = record(incident, &alert, hour * HOUR);
            incident = Some(updated);
            sent.extend(message.map(|m| (hour, m.state, m.count)));
        }
        let (new, repeated) = (AlertState::New, AlertState::Repeated);
        let expected = [
            (0, new, 1),
            (1, repeated, 1),
            (4, repeated, 3),
            (12, repeated, 8),
            (36, repeated, 24),
            (60, repeated, 24),
        ];
        assert_eq!(sent, expected);
        let incident = incident.unwrap();
        assert_eq!((incident.unreported, incident.alert.total), (12, 73));
        assert_eq!(incident.alert.since, at(0));
    }

    #[test]
    fn not_replicated_alerts_are_stored_and_not_sent() {
        let alert = alert_about(AlertKind::NotReplicated, &["x"], 0);
        let IncidentUpdate::Store(incident) = Incident::record(None, &alert, at(0)) else {
            panic!("only the digest reports it");
        };
        assert_eq!(incident.alert.total, 1);
    }

    #[test]
    fn a_claim_prevents_other_writers_from_sending_until_it_expires() {
        let alert = alert_about(AlertKind::PlanRejected, &["x"], 0);
        let IncidentUpdate::Send(claimed, _) = Incident::record(None, &alert, at(0)) else {
            panic!("the first alert is sent");
        };
        let IncidentUpdate::Store(waiting) = Incident::record(Some(claimed), &alert, at(59)) else {
            panic!("another writer sends it");
        };
        let IncidentUpdate::Send(_, message) = Incident::record(Some(waiting), &alert, at(60))
        else {
            panic!("the claim has expired");
        };
        assert_eq!((message.state, message.count), (AlertState::New, 3));
    }

    fn set(subjects: &[&str]) -> BTreeSet<String> {
        subjects.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn an_incident_is_resolved_with_its_last_affected_subject() {
        let alert = alert_about(AlertKind::TwinlakeAccessDenied, &["x", "y"], 0);
        let (incident, _) = record(None, &alert, 0);
        let IncidentUpdate::Store(incident) = incident.resolve(&set(&["x"]), false, at(1)) else {
            panic!("y is still affected");
        };
        let IncidentUpdate::Send(_, message) = incident.resolve(&set(&["y"]), false, at(2)) else {
            panic!("no subject is affected");
        };
        assert_eq!((message.state, message.total), (AlertState::Resolved, 2));
        assert_eq!(message.key(), alert.key());
    }

    #[test]
    fn resolving_a_subject_resolves_all_of_its_occurrences() {
        let alert = Alert {
            count: 10_000,
            ..alert_about(AlertKind::ReplicationFailed, &["x"], 0)
        };
        let (incident, _) = record(None, &alert, 0);
        let update = incident.resolve(&set(&["x"]), false, at(1));
        assert!(matches!(update, IncidentUpdate::Send(_, message) if message.total == 10_000));
    }

    #[test]
    fn an_overflowed_incident_is_resolved_only_when_everything_was_checked() {
        let names: Vec<String> = (0..=MAX_AFFECTED).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (first, _) = record(
            None,
            &alert_about(AlertKind::TwinlakeAccessDenied, &names[..1], 0),
            0,
        );
        let (incident, _) = record(
            Some(first),
            &alert_about(AlertKind::TwinlakeAccessDenied, &names, 1),
            1,
        );
        assert_eq!(incident.alert.affected.len(), MAX_AFFECTED);
        let IncidentUpdate::Store(incident) = incident.resolve(&set(&names), false, at(2)) else {
            panic!("an unlisted subject may be affected");
        };
        let update = incident.resolve(&BTreeSet::new(), true, at(3));
        assert!(matches!(update, IncidentUpdate::Send(..)));
    }

    #[test]
    fn an_incident_names_the_databases_of_all_its_alerts_and_lists_what_is_outside_them_first() {
        let in_database = |name: &str, subjects: &[&str]| Alert {
            databases: BTreeSet::from([Name::new(name).unwrap()]),
            ..alert_about(AlertKind::Drift, subjects, 0)
        };
        let (first, _) = record(None, &in_database("a", &["the LF-Tags"]), 0);
        let tables: Vec<String> = (0..=MAX_AFFECTED).map(|n| format!("table b.{n}")).collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let (merged, _) = record(Some(first), &in_database("b", &tables), 1);
        assert_eq!(merged.alert.databases.len(), 2);
        assert_eq!(merged.alert.affected.len(), MAX_AFFECTED);
        assert!(merged.alert.affected.contains("the LF-Tags"));
    }

    #[test]
    fn a_resolution_claim_prevents_other_writers_from_sending_until_it_expires() {
        let alert = alert_about(AlertKind::TwinlakeAccessDenied, &["x"], 0);
        let (incident, _) = record(None, &alert, 0);
        let IncidentUpdate::Send(resolving, _) = incident.resolve(&set(&["x"]), false, at(1))
        else {
            panic!("the incident is resolved");
        };
        let IncidentUpdate::Store(resolving) = resolving.resolve(&set(&["x"]), false, at(60))
        else {
            panic!("another writer sends the resolution");
        };
        let update = resolving.clone().resolve(&set(&["x"]), false, at(61));
        assert!(
            matches!(update, IncidentUpdate::Send(..)),
            "the claim has expired"
        );
        assert_eq!(resolving.mark_resolved(1, at(2)), None);
    }

    #[test]
    fn a_problem_that_recurs_during_the_resolution_opens_a_new_incident() {
        let alert = alert_about(AlertKind::TwinlakeAccessDenied, &["x"], 0);
        let (incident, _) = record(None, &alert, 0);
        let IncidentUpdate::Send(resolving, resolution) =
            incident.resolve(&set(&["x"]), false, at(1))
        else {
            panic!("the incident is resolved");
        };
        let IncidentUpdate::Store(resolving) = Incident::record(
            Some(resolving),
            &alert_about(AlertKind::TwinlakeAccessDenied, &["y"], 2),
            at(2),
        ) else {
            panic!("the writer of the resolution reports the recurrence");
        };
        let Some((reopened, message)) = resolving.mark_resolved(resolution.total, at(3)) else {
            panic!("the problem recurred");
        };
        assert_eq!((message.state, message.count), (AlertState::New, 1));
        assert_eq!((message.since, message.total), (at(2), 1));
        assert_eq!(reopened.alert.affected, set(&["y"]));
    }
}
