//! The subjects that reconciliations checked, and what they found in sync or not.

use crate::reconcile::ReconcileOutcome;
use crate::resync::{CompleteRun, ResyncReport};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::alert::database_in;
use twinlake_core::{Alert, AlertKind, Name, Subject, SubjectState, Timestamp};

/// The subjects that reconciliations checked, and those that they left not in sync. Each entry has
/// the start time of its check: a check does not resolve an incident that was detected after it
/// started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedSubjects {
    /// Subjects that were read in both Regions, by name.
    checked: BTreeMap<String, Timestamp>,
    /// Databases that were read with all their objects.
    fully_checked: BTreeMap<Name, Timestamp>,
    /// All databases that exist, as the check listed them.
    listed_databases: Option<(Timestamp, BTreeSet<Name>)>,
    /// Subjects that the check's reconciliation changed.
    repaired: BTreeSet<String>,
    /// The states of the subjects that are not in sync, as each check found them.
    not_in_sync: BTreeMap<String, BTreeSet<SubjectState>>,
    /// Incidents that were resolved, with the time of the resolution.
    resolved: BTreeMap<(AlertKind, String), Timestamp>,
    /// Problems that the check found, by the kind of their alert and the subject.
    found: BTreeSet<(AlertKind, String)>,
    /// What all parts of a resync run together checked, if the check was the last of them.
    complete_run: Option<CompleteRun>,
}

/// The kinds of alerts that are resolved when their subjects are in sync again.
const STATE_KINDS: [AlertKind; 10] = [
    AlertKind::ExcessAccess,
    AlertKind::PlanRejected,
    AlertKind::PolicyUnusable,
    AlertKind::DeletionsHeld,
    AlertKind::TwinlakeAccessDenied,
    AlertKind::Conflict,
    AlertKind::ReadFailed,
    AlertKind::Drift,
    AlertKind::DataPending,
    AlertKind::DataLost,
];

impl CheckedSubjects {
    /// Returns what a reconciliation or a resync checked that started at `started`.
    #[must_use]
    pub fn from_outcome(outcome: &ReconcileOutcome, started: Timestamp) -> Self {
        let mut not_in_sync: BTreeMap<String, BTreeSet<SubjectState>> = outcome
            .not_in_sync
            .iter()
            .map(|(subject, state)| (subject.to_string(), BTreeSet::from([*state])))
            .collect();
        let mut add = |subject: &Subject, state: SubjectState| {
            let states = not_in_sync.entry(subject.to_string()).or_default();
            states.insert(state);
        };
        let fully_checked = outcome.fully_scanned.iter();
        let mut fully_checked: BTreeMap<Name, Timestamp> =
            fully_checked.map(|name| (name.clone(), started)).collect();
        let waiting = outcome.waiting.iter();
        let left = waiting.flat_map(|(scope, _)| scope.read_requests.keys().cloned());
        let left = left.chain(outcome.oversized.iter().cloned().map(Subject::Table));
        let left = left.chain(outcome.left_to_parts.iter().cloned());
        for subject in left {
            if let Some(database) = subject.database() {
                fully_checked.remove(database);
            }
            add(&subject, SubjectState::OutOfSync);
        }
        // What a problem was found in was not read again.
        for subject in &outcome.not_fully_read {
            add(subject, SubjectState::OutOfSync);
        }
        let unrevoked = outcome.unrevoked.iter();
        let unrevoked =
            unrevoked.map(|(step, _)| (AlertKind::ExcessAccess, step.subject().to_string()));
        let findings = outcome.findings.iter().filter(|finding| {
            super::kind_of_finding(finding).is_some_and(|kind| STATE_KINDS.contains(&kind))
        });
        for finding in findings {
            let subject = finding.subject.to_string();
            let states = not_in_sync.entry(subject);
            states.or_insert_with(|| BTreeSet::from([SubjectState::OutOfSync]));
        }
        Self {
            checked: outcome
                .scanned
                .iter()
                .map(|subject| (subject.to_string(), started))
                .collect(),
            fully_checked,
            listed_databases: outcome
                .listed_databases
                .clone()
                .map(|names| (started, names)),
            not_in_sync,
            repaired: outcome
                .applied
                .iter()
                .map(|step| step.subject().to_string())
                .collect(),
            resolved: BTreeMap::new(),
            found: super::problems(outcome)
                .into_iter()
                .map(|(kind, subject, _)| (kind, subject))
                .chain(unrevoked)
                .collect(),
            complete_run: None,
        }
    }

    /// Returns what a resync, or a part of one, checked that started at `started`. The last part of
    /// a run adds what all its parts together checked.
    #[must_use]
    pub fn from_resync_report(report: &ResyncReport, started: Timestamp) -> Self {
        Self {
            complete_run: report.complete_run.clone(),
            ..Self::from_outcome(&report.outcome, started)
        }
    }

    /// Adds the entries of another check.
    pub(crate) fn join(&mut self, other: Self) {
        let Self {
            checked,
            fully_checked,
            listed_databases,
            not_in_sync,
            repaired,
            resolved,
            found,
            complete_run,
        } = other;
        merge_latest(&mut self.checked, checked);
        merge_latest(&mut self.fully_checked, fully_checked);
        merge_latest(&mut self.resolved, resolved);
        self.listed_databases = listed_databases.max(self.listed_databases.take());
        for (subject, states) in not_in_sync {
            self.not_in_sync.entry(subject).or_default().extend(states);
        }
        self.repaired.extend(repaired);
        self.found.extend(found);
        self.complete_run = complete_run.max(self.complete_run.take());
    }

    /// Adds a subject that a check found in sync.
    #[must_use]
    pub fn with_healthy(mut self, subject: &str, started: Timestamp) -> Self {
        merge_latest(&mut self.checked, [(subject.to_owned(), started)]);
        self
    }

    /// Adds problems that a check found, by the kind of their alert and the subject.
    #[must_use]
    pub fn with_found(mut self, found: impl IntoIterator<Item = (AlertKind, String)>) -> Self {
        self.found.extend(found);
        self
    }

    /// Adds an incident that was resolved at `at`.
    #[must_use]
    pub fn with_resolved(mut self, kind: AlertKind, subject: &str, at: Timestamp) -> Self {
        merge_latest(&mut self.resolved, [((kind, subject.to_owned()), at)]);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.checked.is_empty()
            && self.fully_checked.is_empty()
            && self.listed_databases.is_none()
            && self.resolved.is_empty()
            && self.complete_run.is_none()
    }

    /// Whether an incident of this kind is resolved for a subject: the subject was checked after
    /// `detected_at` and does not have the problem.
    pub(super) fn is_resolved(
        &self,
        kind: AlertKind,
        subject: &str,
        detected_at: Timestamp,
    ) -> bool {
        let resolved = self.resolved.get(&(kind, subject.to_owned()));
        if resolved.is_some_and(|at| *at >= detected_at) {
            return true;
        }
        if self.found.contains(&(kind, subject.to_owned())) {
            return false;
        }
        // The change that this check made is the one that the alert is about.
        let just_reported = kind == AlertKind::Drift && self.repaired.contains(subject);
        if !STATE_KINDS.contains(&kind) || just_reported {
            return false;
        }
        let database = database_in(subject);
        let fully_checked = database.and_then(|database| self.database_checked_at(&database));
        let checked = self.checked.get(subject).copied().max(fully_checked);
        if checked.is_none_or(|started| started < detected_at) {
            return false;
        }
        let mut states = self.not_in_sync.get(subject).into_iter().flatten();
        states.all(|state| match state {
            SubjectState::OutOfSync => false,
            // An object that Twinlake does not manage has the same name: a conflict.
            SubjectState::Blocked => kind != AlertKind::Conflict,
            // Its deletion is still held.
            SubjectState::OnHold => kind != AlertKind::DeletionsHeld,
            SubjectState::InSync | SubjectState::DataPending => true,
        })
    }

    /// When a database was read with all its objects, or found to exist nowhere.
    fn database_checked_at(&self, name: &Name) -> Option<Timestamp> {
        let fully_checked = self.fully_checked.get(name).copied();
        let listed = self.listed_databases.as_ref();
        let gone = listed.filter(|(_, names)| !names.contains(name));
        fully_checked.max(gone.map(|(started, _)| *started))
    }

    /// Whether everything that an incident is about was checked and does not have the problem, also
    /// what the incident does not list: that is in its databases.
    pub(super) fn is_all_resolved(&self, alert: &Alert) -> bool {
        let (kind, detected_at) = (alert.kind, alert.detected_at);
        if !STATE_KINDS.contains(&kind) || alert.databases.is_empty() {
            return false;
        }
        let are_checked = alert.databases.iter().all(|name| {
            let checked = self.database_checked_at(name);
            checked.is_some_and(|started| started >= detected_at)
        });
        let candidates = self.not_in_sync.keys().chain(&self.repaired);
        let mut candidates = candidates.filter(|subject| is_in_databases_of(alert, subject));
        are_checked
            && candidates.all(|subject| self.is_resolved(kind, subject, detected_at))
            && self.is_resolved_outside_databases(alert)
    }

    /// Whether the parts of a complete resync run together checked the databases of an incident,
    /// also what the incident does not list, and left them in sync. `last_reported` is when an alert of
    /// the kind about one of the databases was last recorded.
    pub(super) fn is_all_resolved_by_run(&self, alert: &Alert, last_reported: Timestamp) -> bool {
        let Some(run) = &self.complete_run else {
            return false;
        };
        // No row tells that another part corrected drift, and its alert may not be recorded yet. The
        // alerts of the run before are.
        let since = match alert.kind == AlertKind::Drift {
            true => run.previous_started_at,
            false => Some(run.started_at),
        };
        STATE_KINDS.contains(&alert.kind)
            && !alert.databases.is_empty()
            && since.is_some_and(|since| last_reported < since)
            && alert.databases.is_disjoint(&run.not_in_sync)
            && self.is_resolved_outside_databases(alert)
    }

    /// Whether no subject that an incident lists outside its databases has the problem.
    fn is_resolved_outside_databases(&self, alert: &Alert) -> bool {
        let affected = alert.affected.iter();
        let mut outside = affected.filter(|subject| !is_in_databases_of(alert, subject));
        outside.all(|subject| self.is_resolved(alert.kind, subject, alert.detected_at))
    }
}

/// Whether a subject is, or belongs to, one of the databases of an incident.
fn is_in_databases_of(alert: &Alert, subject: &str) -> bool {
    database_in(subject).is_some_and(|database| alert.databases.contains(&database))
}

/// Merges times into a map. Of two times for one key, the later one is kept.
fn merge_latest<K: Ord>(
    known: &mut BTreeMap<K, Timestamp>,
    more: impl IntoIterator<Item = (K, Timestamp)>,
) {
    for (key, at) in more {
        let known = known.entry(key).or_insert(at);
        *known = at.max(*known);
    }
}

impl FromIterator<Self> for CheckedSubjects {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        let mut joined = Self::default();
        all.into_iter().for_each(|one| joined.join(one));
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::TableId;

    #[test]
    fn a_database_of_which_a_table_is_left_to_another_message_is_not_fully_checked() {
        let database = Name::new("sales").unwrap();
        let table = TableId::new(database.clone(), Name::new("orders").unwrap());
        let mut outcome = ReconcileOutcome::default();
        outcome.fully_scanned.insert(database.clone());
        let started = Timestamp::from_millis(1);
        let checked = CheckedSubjects::from_outcome(&outcome, started);
        assert!(checked.fully_checked.contains_key(&database));
        outcome.left_to_parts.insert(Subject::Table(table));
        let checked = CheckedSubjects::from_outcome(&outcome, started);
        assert!(!checked.fully_checked.contains_key(&database));
    }

    /// An alert about `subjects`, detected at second 1.
    fn drift(subjects: &[&str]) -> Alert {
        let affected: BTreeSet<String> = subjects.iter().map(|&text| text.to_owned()).collect();
        let databases = subjects.iter().filter_map(|text| database_in(text));
        Alert {
            databases: databases.collect(),
            affected,
            group: "a".to_owned(),
            ..Alert::new(
                AlertKind::Drift,
                "us-east-1",
                "a",
                Default::default(),
                Timestamp::from_millis(1),
            )
        }
    }

    #[test]
    fn an_incident_about_several_databases_is_resolved_when_all_of_them_were_checked() {
        let check = |databases: &[&str], not_in_sync: &[&str]| {
            let names = databases.iter().map(|name| Name::new(name).unwrap());
            CheckedSubjects {
                fully_checked: names
                    .map(|name| (name, Timestamp::from_millis(2)))
                    .collect(),
                not_in_sync: not_in_sync
                    .iter()
                    .map(|text| ((*text).to_owned(), [SubjectState::OutOfSync].into()))
                    .collect(),
                ..CheckedSubjects::default()
            }
        };
        let alert = drift(&["database a", "table b.t"]);
        assert!(!check(&["a"], &[]).is_all_resolved(&alert));
        assert!(check(&["a", "b"], &[]).is_all_resolved(&alert));
        let unlisted = check(&["a", "b"], &["table b.u"]);
        assert!(!unlisted.is_all_resolved(&alert));
        let alert = drift(&["database a", "catalog"]);
        let both = check(&["a"], &[]);
        assert!(!both.is_all_resolved(&alert), "the catalog was not checked");
        let both = both.with_healthy("catalog", Timestamp::from_millis(2));
        assert!(both.is_all_resolved(&alert));
    }

    /// The last check of a run that began at second 3, after one that began at `previous`.
    fn last_check(previous: Option<i64>, not_in_sync: &[&str]) -> CheckedSubjects {
        let not_in_sync = not_in_sync.iter().map(|name| Name::new(name).unwrap());
        CheckedSubjects {
            complete_run: Some(CompleteRun {
                started_at: Timestamp::from_millis(3),
                previous_started_at: previous.map(Timestamp::from_millis),
                not_in_sync: not_in_sync.collect(),
            }),
            ..CheckedSubjects::default()
        }
    }

    #[test]
    fn a_complete_run_resolves_what_its_parts_left_in_sync_and_what_was_not_reported_since() {
        let drift = drift(&["table a.t", "table b.t"]);
        let alert = Alert {
            kind: AlertKind::Conflict,
            ..drift.clone()
        };
        let checked = last_check(None, &["c"]);
        assert!(!checked.is_empty());
        assert!(checked.is_all_resolved_by_run(&alert, Timestamp::from_millis(2)));
        assert!(
            !checked.is_all_resolved_by_run(&alert, Timestamp::from_millis(3)),
            "a part may have reported it"
        );
        assert!(
            !last_check(None, &["b"]).is_all_resolved_by_run(&alert, Timestamp::from_millis(2))
        );
        let no_run =
            CheckedSubjects::default().with_healthy("table a.t", Timestamp::from_millis(3));
        assert!(!no_run.is_all_resolved_by_run(&alert, Timestamp::from_millis(2)));
        // Drift is gone when a run after it was complete, and the next one, too.
        assert!(!checked.is_all_resolved_by_run(&drift, Timestamp::from_millis(1)));
        let second = last_check(Some(2), &["c"]);
        assert!(second.is_all_resolved_by_run(&drift, Timestamp::from_millis(1)));
        assert!(!second.is_all_resolved_by_run(&drift, Timestamp::from_millis(2)));
    }

    #[test]
    fn a_complete_run_does_not_resolve_what_was_not_checked_outside_databases() {
        let alert = Alert {
            kind: AlertKind::Conflict,
            ..drift(&["table a.t", "catalog"])
        };
        let checked = last_check(None, &[]);
        assert!(!checked.is_all_resolved_by_run(&alert, Timestamp::from_millis(2)));
        let checked = checked.with_healthy("catalog", Timestamp::from_millis(3));
        assert!(checked.is_all_resolved_by_run(&alert, Timestamp::from_millis(2)));
        let other_kind = Alert {
            kind: AlertKind::JobFailed,
            ..alert
        };
        assert!(!checked.is_all_resolved_by_run(&other_kind, Timestamp::from_millis(2)));
    }

    #[test]
    fn of_two_complete_runs_the_later_one_is_kept() {
        let older = CheckedSubjects {
            complete_run: Some(CompleteRun {
                started_at: Timestamp::from_millis(1),
                previous_started_at: None,
                not_in_sync: BTreeSet::new(),
            }),
            ..CheckedSubjects::default()
        };
        let later = last_check(None, &["a"]);
        for order in [[&older, &later], [&later, &older]] {
            let joined: CheckedSubjects = order.into_iter().cloned().collect();
            assert_eq!(joined, later);
        }
    }
}
