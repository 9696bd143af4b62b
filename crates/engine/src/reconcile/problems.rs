//! Why subjects are not in sync after a session, and which reads show later that they are.

use super::paging::deferred_reason;
use super::session::Session;
use crate::ports::Environment;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::audit::AuditRule;
use twinlake_core::catalog::MaybeLink as _;
use twinlake_core::ledger::LedgerRows;
use twinlake_core::ledger::MAX_PROBLEM_PARTITIONS;
use twinlake_core::plan::SubjectOutcome;
use twinlake_core::scope::{Facet, WHOLE_DATABASE, WHOLE_TABLE};
use twinlake_core::snapshot::{Observation, Snapshot};
use twinlake_core::step::StepTarget;
use twinlake_core::{LedgerRow, Plan, Subject, SubjectState, Timestamp};

/// Why a subject is not in sync. Of several problems, the worst state is kept with its reason; of
/// equal ones the first.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) state: SubjectState,
    pub(super) reason: String,
    /// The facets that the problems were found in.
    facets: BTreeSet<Facet>,
    /// The values of the partitions that the problems are about.
    partitions: BTreeSet<Vec<String>>,
}

/// The problem of each subject.
pub(super) type Problems = BTreeMap<Subject, Problem>;

impl Problem {
    fn of_facets(state: SubjectState, reason: String, facets: BTreeSet<Facet>) -> Self {
        Self {
            state,
            reason,
            facets,
            partitions: BTreeSet::new(),
        }
    }

    fn of_target(state: SubjectState, reason: String, target: &StepTarget) -> Self {
        let mut problem = Self::of_facets(state, reason, BTreeSet::new());
        match partition_of(target) {
            Some(values) => drop(problem.partitions.insert(values.clone())),
            None => problem.facets = target.facets(),
        }
        problem
    }
}

fn add(problems: &mut Problems, subject: Subject, problem: Problem) {
    match problems.entry(subject) {
        Entry::Vacant(vacant) => drop(vacant.insert(problem)),
        Entry::Occupied(mut known) => {
            let known = known.get_mut();
            known.facets.extend(problem.facets);
            known.partitions.extend(problem.partitions);
            if problem.state > known.state {
                known.state = problem.state;
                known.reason = problem.reason;
            }
        }
    }
}

/// The values of the partition that a target is.
pub(super) fn partition_of(target: &StepTarget) -> Option<&Vec<String>> {
    match target {
        StepTarget::Partition(_, values) => Some(values),
        StepTarget::Object(_)
        | StepTarget::TableDefaults(_)
        | StepTarget::Deletion(_)
        | StepTarget::Attachment(..)
        | StepTarget::Grant(_)
        | StepTarget::Revoke(_)
        | StepTarget::Settings
        | StepTarget::NarrowedSettings => None,
    }
}

/// The problem of a ledger row, as far as it tells one problem from another.
pub(super) type StoredProblem = (
    SubjectState,
    Timestamp,
    BTreeSet<Facet>,
    BTreeSet<Vec<String>>,
);

fn stored_problem(row: &LedgerRow) -> StoredProblem {
    let (facets, partitions) = (&row.problem_facets, &row.problem_partitions);
    (row.state, row.since, facets.clone(), partitions.clone())
}

impl<E: Environment> Session<'_, E> {
    /// Records the problems that the ledger has of subjects before this session reads them, but for
    /// problems with permissions newer than `listed_since`: its listings are older than these.
    pub(super) fn know_problems(&mut self, rows: &LedgerRows, listed_since: Option<Timestamp>) {
        for (subject, row) in rows {
            let is_listing_older = listed_since
                .is_some_and(|listed_since| row.since > listed_since)
                && row.problem_facets.iter().any(|facet| facet.is_permission());
            if !is_listing_older {
                let known = self.known_problems.entry(subject.clone());
                known.or_insert_with(|| stored_problem(row));
            }
        }
    }

    /// Records the problem that this session itself is about to store, unless another run stored one since.
    pub(super) fn record_own_problem(&mut self, old: Option<&LedgerRow>, new: &LedgerRow) {
        if !old.is_some_and(|old| self.is_newer_problem(old)) {
            self.known_problems
                .insert(new.subject.clone(), stored_problem(new));
        }
    }

    /// Whether another run recorded the problem of a row after this session had begun to read the
    /// subject: what was read may be older.
    pub(super) fn is_newer_problem(&self, row: &LedgerRow) -> bool {
        row.state != SubjectState::InSync
            && self.known_problems.get(&row.subject) != Some(&stored_problem(row))
    }

    /// The subjects that are not in sync because of this session's steps or reads.
    pub(super) fn problems(&self, plan: &Plan) -> Problems {
        let mut problems = Problems::new();
        for (target, rule) in &self.rejected {
            let state = match rule {
                AuditRule::DeletionLimit => SubjectState::OnHold,
                AuditRule::WiderAccess
                | AuditRule::Unproven
                | AuditRule::NotManaged
                | AuditRule::Altered
                | AuditRule::OtherPolicyOrEpoch
                | AuditRule::Order => SubjectState::OutOfSync,
            };
            let reason = self.excluded_steps.targets.get(target).cloned();
            let problem = Problem::of_target(state, reason.unwrap_or_default(), target);
            add(&mut problems, target.subject(), problem);
        }
        self.add_waiting(plan, &mut problems);
        self.add_unread(plan, &mut problems);
        for (step, reason) in &self.postponed {
            let (state, reason) = (SubjectState::OutOfSync, reason.clone());
            let problem = Problem::of_target(state, reason, &step.target());
            add(&mut problems, step.subject(), problem);
        }
        for (step, error) in &self.outcome.failed {
            let (state, reason) = (SubjectState::Blocked, error.to_string());
            let problem = Problem::of_target(state, reason, &step.target());
            add(&mut problems, step.subject(), problem);
        }
        problems
    }

    /// Adds what has to wait for another message: steps of the last plan, and unfinished subjects.
    fn add_waiting(&self, plan: &Plan, problems: &mut Problems) {
        let state = SubjectState::OutOfSync;
        let Some((scope, reason)) = &self.outcome.waiting else {
            return;
        };
        for step in &plan.steps {
            let problem = Problem::of_target(state, reason.clone(), &step.target());
            add(problems, step.subject(), problem);
        }
        if self.outcome.out_of_time {
            for (subject, request) in &scope.read_requests {
                let facets = request.facets.clone();
                let problem = Problem::of_facets(state, reason.clone(), facets);
                add(problems, subject.clone(), problem);
            }
        }
    }

    /// Adds what was not read: deferred partitions, problems of pages before the last, failed reads.
    fn add_unread(&self, plan: &Plan, problems: &mut Problems) {
        let partitions = || BTreeSet::from([Facet::Partitions]);
        for (id, deferred) in &self.snapshots.deferred {
            let (state, reason) = (SubjectState::OutOfSync, deferred_reason(deferred));
            let problem = Problem::of_facets(state, reason, partitions());
            add(problems, Subject::Table(id.clone()), problem);
        }
        for (subject, (state, reason)) in &self.partition_problems {
            let problem = Problem::of_facets(*state, reason.clone(), partitions());
            add(problems, subject.clone(), problem);
        }
        let failed_reads = plan.findings.iter();
        for finding in failed_reads.filter(|finding| finding.kind.is_failed_read()) {
            let outcome = plan.subject_outcomes.get(&finding.subject);
            if outcome.is_some_and(|outcome| outcome.state == SubjectState::InSync) {
                let facets = self.planned_facets(&finding.subject);
                let (state, reason) = (SubjectState::OutOfSync, finding.detail.clone());
                let problem = Problem::of_facets(state, reason, facets);
                add(problems, finding.subject.clone(), problem);
            }
        }
    }

    /// Keeps the problems of earlier sessions that this one did not read again: only a read of all
    /// facets and partitions that they were found in finds the subject in sync.
    pub(super) fn keep_earlier_problems(
        &self,
        old: Option<&LedgerRow>,
        (outcome, problem): (&SubjectOutcome, Option<&Problem>),
        row: &mut LedgerRow,
    ) {
        row.problem_facets.clear();
        row.problem_partitions.clear();
        if row.state != SubjectState::InSync {
            row.problem_facets.insert(Facet::Definition);
        }
        if outcome.state != SubjectState::InSync {
            row.problem_facets.extend(&outcome.problem_facets);
        }
        if let Some(problem) = problem {
            row.problem_facets.extend(&problem.facets);
            row.problem_partitions.clone_from(&problem.partitions);
        }
        self.add_requested_of_unseen_object(row);
        let is_kept = |old: &&LedgerRow| self.has_unread_problem(old) || self.is_newer_problem(old);
        if let Some(old) = old.filter(is_kept) {
            row.problem_facets.extend(&old.problem_facets);
            let partitions = old.problem_partitions.iter().cloned();
            row.problem_partitions.extend(partitions);
            row.over_deletion_limit |= old.over_deletion_limit;
            if old.state > row.state {
                row.state = old.state;
                row.since = old.since;
                row.reason.clone_from(&old.reason);
            }
        }
        if row.problem_partitions.len() > MAX_PROBLEM_PARTITIONS {
            row.problem_partitions.clear();
            row.problem_facets.insert(Facet::Partitions);
        }
    }

    /// Adds everything that was requested of an object that is not in sync and that the primary did not
    /// show: none of it was read.
    fn add_requested_of_unseen_object(&self, row: &mut LedgerRow) {
        let primary = &self.snapshots.primary;
        let is_seen = match &row.subject {
            Subject::Database(name) => is_present(primary.databases.get(name)),
            Subject::Table(id) => is_present(primary.tables.get(id)),
            Subject::Function(id) => is_present(primary.functions.get(id)),
            Subject::Catalog | Subject::LakeFormation(_) => true,
        };
        let request = self.requested_scope.read_requests.get(&row.subject);
        if let Some(request) = request
            && row.state != SubjectState::InSync
            && !is_seen
        {
            row.problem_facets.extend(&request.facets);
            let values = request.partition_values.iter().cloned();
            row.problem_partitions.extend(values);
        }
    }

    /// Whether a row has a problem that was found in something that this session did not read.
    pub(super) fn has_unread_problem(&self, row: &LedgerRow) -> bool {
        let read = self.facets_that_were_read(&row.subject);
        let are_partitions_read = || {
            let named = self.partitions_that_were_read(&row.subject);
            read.contains(&Facet::Partitions) || row.problem_partitions.is_subset(&named)
        };
        row.state != SubjectState::InSync
            && !(row.problem_facets.is_subset(&read) && are_partitions_read())
    }

    /// The facets of a subject that this session planned and read completely in both Regions.
    fn facets_that_were_read(&self, subject: &Subject) -> BTreeSet<Facet> {
        let mut facets = self.planned_facets(subject);
        facets.retain(|facet| {
            self.is_read(subject, *facet) && !self.is_left_to_schedule(subject, *facet)
        });
        facets
    }

    /// Whether this session did not read a facet because its scan is not due.
    fn is_left_to_schedule(&self, subject: &Subject, facet: Facet) -> bool {
        let left = match subject {
            Subject::Table(id) => self.snapshots.left_to_schedule.get(id),
            Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Database(_)
            | Subject::Function(_) => None,
        };
        left.is_some_and(|left| left.contains(&facet))
    }

    /// The facets of a subject that this session planned. A read of single partitions by value is not
    /// one of `Facet::Partitions`.
    pub(super) fn planned_facets(&self, subject: &Subject) -> BTreeSet<Facet> {
        let requests = &self.scope.read_requests;
        let database = subject.database().cloned().map(Subject::Database);
        let has_contents = |database: &Subject| {
            let request = requests.get(database);
            request.is_some_and(|request| request.facets.contains(&Facet::Contents))
        };
        if requests.contains_key(&Subject::Catalog)
            || database.is_some_and(|database| has_contents(&database))
        {
            return WHOLE_TABLE.into_iter().chain(WHOLE_DATABASE).collect();
        }
        let request = requests.get(subject);
        let mut facets = request
            .map(|request| request.facets.clone())
            .unwrap_or_default();
        if matches!(subject, Subject::LakeFormation(_)) {
            // A Lake Formation subject has no definition to read.
            facets.insert(Facet::Definition);
        }
        facets
    }

    /// Whether no read of a planned facet failed, in either Region. Facets that a subject cannot have
    /// are read.
    pub(super) fn is_read(&self, subject: &Subject, facet: Facet) -> bool {
        let snapshots = [&self.snapshots.primary, &self.snapshots.standby];
        if let (Facet::Partitions, Subject::Table(id)) = (facet, subject) {
            let is_partitioned = has_partitions(&self.snapshots.primary, subject);
            return !is_partitioned
                || (self.partition_counts.contains_key(id)
                    && !self.snapshots.deferred.contains_key(id));
        }
        if let (Facet::Contents, Subject::Database(name)) = (facet, subject) {
            let are_functions_listed =
                |snapshot: &Snapshot| !matches!(snapshot.function_listings.get(name), Some(Err(_)));
            let mut oversized = self.outcome.oversized.iter();
            return snapshots.into_iter().all(|snapshot| {
                are_functions_listed(snapshot) && !is_unknown(snapshot.databases.get(name))
            }) && oversized.all(|table| table.database != *name);
        }
        snapshots
            .into_iter()
            .all(|snapshot| match (facet, subject) {
                (Facet::Definition, Subject::Database(name)) => {
                    !is_unknown(snapshot.databases.get(name))
                }
                (Facet::Definition, Subject::Table(id)) => !is_unknown(snapshot.tables.get(id)),
                (Facet::Definition, Subject::Function(id)) => {
                    !is_unknown(snapshot.functions.get(id))
                }
                (Facet::Definition, Subject::Catalog | Subject::LakeFormation(_)) => true,
                (Facet::Grants, _) => {
                    may_see_all_permissions(snapshot) && !is_unknown(snapshot.grants.get(subject))
                }
                (
                    Facet::DataCellsFilters
                    | Facet::LfTagAssignments
                    | Facet::OptIns
                    | Facet::Items,
                    _,
                ) => {
                    let owner = (subject.clone(), facet);
                    may_see_all_permissions(snapshot)
                        && !is_unknown(snapshot.attachments.get(&owner))
                }
                (
                    Facet::Partitions
                    | Facet::Contents
                    | Facet::Indexes
                    | Facet::Statistics
                    | Facet::GlueTags,
                    _,
                ) => !is_unknown(snapshot.attachments.get(&(subject.clone(), facet))),
            })
    }

    /// The values of the partitions of a table that this session read by name in both Regions.
    fn partitions_that_were_read(&self, subject: &Subject) -> BTreeSet<Vec<String>> {
        let (Subject::Table(id), Some(request)) =
            (subject, self.requested_scope.read_requests.get(subject))
        else {
            return BTreeSet::new();
        };
        let mut values = request.partition_values.clone();
        for snapshot in [&self.snapshots.primary, &self.snapshots.standby] {
            match snapshot.partitions.get(id) {
                Some(Observation::Unknown(_)) => values.clear(),
                Some(Observation::Present(read)) => {
                    values.retain(|values| !read.unread.contains_key(values));
                }
                Some(Observation::Absent(_)) | None => {}
            }
        }
        values
    }
}

/// Whether listings of permissions are not known to be incomplete: to a role that is no
/// administrator, Lake Formation lists only a part, without an error.
fn may_see_all_permissions(snapshot: &Snapshot) -> bool {
    let settings = snapshot.settings.as_ref();
    settings.and_then(Observation::present).is_none() || snapshot.is_administrator
}

fn is_present<T>(observed: Option<&Observation<T>>) -> bool {
    observed.and_then(Observation::present).is_some()
}

fn is_unknown<T>(observed: Option<&Observation<T>>) -> bool {
    matches!(observed, Some(Observation::Unknown(_)))
}

/// Whether a Region has the table, with partition keys and not as a resource link.
fn has_partitions(snapshot: &Snapshot, subject: &Subject) -> bool {
    let Subject::Table(id) = subject else {
        return false;
    };
    let table = snapshot.tables.get(id).and_then(Observation::present);
    table.is_some_and(|observed| !observed.object.partition_keys.is_empty() && !observed.is_link())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_problems_the_worst_is_kept_and_the_facets_of_all() {
        let mut problems = Problems::new();
        for (state, reason, facet) in [
            (SubjectState::OutOfSync, "first", Facet::Grants),
            (SubjectState::OnHold, "held", Facet::Partitions),
            (SubjectState::OnHold, "held too", Facet::Indexes),
            (SubjectState::OutOfSync, "last", Facet::Statistics),
        ] {
            let problem = Problem::of_facets(state, reason.to_owned(), [facet].into());
            add(&mut problems, Subject::Catalog, problem);
        }
        let problem = &problems[&Subject::Catalog];
        assert_eq!(
            (problem.state, problem.reason.as_str()),
            (SubjectState::OnHold, "held")
        );
        assert_eq!(problem.facets.len(), 4);
    }
}
