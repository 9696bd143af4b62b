//! Decides the steps that make the standby equal to the primary.
//!
//! [`plan`] is a pure function of the two snapshots, the policy and the ledger. What it cannot
//! decide becomes a [`Finding`]; a [`SubjectOutcome`] records the resulting state of each subject.

mod absence;
mod administrators;
mod all_tables_grants;
mod attachment;
mod column_visibility;
mod columns;
mod database;
mod excluded_steps;
mod extra_access;
mod function;
mod grants;
mod iceberg;
mod lakeformation;
mod lf_item_rights;
mod lf_tag_assignment;
mod lf_tag_policy_grants;
mod link;
mod obstacle;
mod opt_ins;
mod partitions;
mod remarks;
mod requirements;
mod settings;
mod table;
mod table_logs;
mod writer_roles;

use crate::catalog::{Attachment, MaybeLink, Observed, PrincipalPermissions, digest};
use crate::desired::Translator;
use crate::grant::{OwnRoles, PermissionGrant, Principal};
use crate::ledger::{LedgerRows, Pairing, SubjectState};
use crate::policy::Policy;
use crate::scope::{Facet, Scope, Subject};
use crate::snapshot::Snapshot;
use crate::step::{RevokeCause, Step};
use crate::topology::{BySite, Epoch};
pub use excluded_steps::ExcludedSteps;
pub use lf_tag_assignment::{LfTagChange, drops_columns, lf_tag_change};
pub use remarks::MissingRights;
use requirements::InStandby;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that a plan is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The subjects that were read, and why.
    pub scope: &'a Scope,
    /// The epoch, which says which site is primary.
    pub epoch: Epoch,
    /// The policy.
    pub policy: &'a Policy,
    /// What was read in the primary.
    pub primary: &'a Snapshot,
    /// What was read in the standby.
    pub standby: &'a Snapshot,
    /// The ledger rows of the subjects.
    pub rows: &'a LedgerRows,
    /// Twinlake's own roles. They hold implicit grants on everything that Twinlake creates, so
    /// their grants are not compared (LF-06).
    pub own_roles: &'a OwnRoles,
    /// Twinlake's role in the primary. Its SELECT grants decide which columns it can see there.
    pub reader_role: &'a Principal,
    /// What is not to be written in this plan.
    pub excluded_steps: &'a ExcludedSteps,
}

/// The ordered changes to make in the standby, and the findings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The epoch that the plan was made for.
    pub epoch: Epoch,
    /// The digest of the policy that it was made under.
    pub policy_digest: String,
    /// The changes, in the order in which they are applied.
    pub steps: Vec<Step>,
    /// For each step, the positions of the steps that must have succeeded before it. They are
    /// lower than its own.
    #[serde(default)]
    pub requires: Vec<Vec<usize>>,
    /// What is not replicated, or only with a reservation.
    pub findings: BTreeSet<Finding>,
    /// The outcome of each subject that was planned.
    #[serde(with = "crate::scope::pairs")]
    pub subject_outcomes: BTreeMap<Subject, SubjectOutcome>,
    /// The number of revokes that were left out because no event names them and not all grants
    /// were read. If it is not 0, all grants have to be read.
    #[serde(default)]
    pub needs_full_grant_read: usize,
    /// What else has to be read before everything can be planned: facets by subject. While it is not
    /// empty, nothing is applied.
    #[serde(skip)]
    pub needs: BTreeMap<Subject, Facets>,
    /// Subjects that wait for a change elsewhere to complete, and have to be read again.
    #[serde(default)]
    pub waiting_subjects: BTreeSet<Subject>,
    /// The number of objects that exist in both Regions and that the ledger does not pair yet.
    #[serde(default)]
    pub new_pairings: usize,
    /// The rights that Twinlake's role lacks to see everything, as far as the reads show it.
    #[serde(default)]
    pub missing_rights: Option<MissingRights>,
}

impl Plan {
    /// Whether the plan changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Something that is not replicated, or not unchanged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The kind of the finding.
    pub kind: FindingKind,
    /// The subject concerned.
    pub subject: Subject,
    /// A description for the operator.
    pub detail: String,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Twinlake's role lacks a permission, or may no longer see everything.
    Denied,
    /// Twinlake's role has no SELECT on the whole table in the primary, so columns may be hidden.
    HiddenColumns,
    /// A read failed, or what the decision depends on was not read.
    Unreadable,
    /// The standby has another object, which Twinlake does not manage, under the name.
    Unmanaged,
    /// The standby's default permissions would give access to the object on creation.
    DefaultsOpen,
    /// The policy, or an operator decision that is pending, holds the change back.
    OnHold,
    /// The newest commit of an Iceberg table is not in the standby yet.
    DataPending,
    /// It is not, for longer than the objective.
    DataOverdue,
    /// Files of the commit that the standby shows exist no more.
    DataLost,
    /// The standby's object is not what the primary's is, and stays so until somebody changes one of them.
    ChangeRequired,
    /// Twinlake does not replicate this kind of object or change.
    Unsupported,
    /// The object is replicated, with a reservation.
    Note,
}

impl FindingKind {
    /// Whether something is held back or could not be read, so that somebody has to look at it.
    #[must_use]
    pub fn needs_attention(self) -> bool {
        match self {
            Self::Denied
            | Self::HiddenColumns
            | Self::Unreadable
            | Self::Unmanaged
            | Self::DefaultsOpen
            | Self::OnHold
            | Self::DataPending
            | Self::DataOverdue
            | Self::DataLost
            | Self::ChangeRequired => true,
            Self::Unsupported | Self::Note => false,
        }
    }

    /// Whether something could not be read.
    #[must_use]
    pub const fn is_failed_read(self) -> bool {
        match self {
            Self::Denied | Self::HiddenColumns | Self::Unreadable => true,
            Self::Unmanaged
            | Self::DefaultsOpen
            | Self::OnHold
            | Self::DataPending
            | Self::DataOverdue
            | Self::DataLost
            | Self::ChangeRequired
            | Self::Unsupported
            | Self::Note => false,
        }
    }

    /// The kind as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::HiddenColumns => "hidden-columns",
            Self::Unreadable => "unreadable",
            Self::Unmanaged => "unmanaged",
            Self::DefaultsOpen => "defaults-open",
            Self::OnHold => "on-hold",
            Self::DataPending => "data-pending",
            Self::DataOverdue => "data-overdue",
            Self::DataLost => "data-lost",
            Self::ChangeRequired => "change-required",
            Self::Unsupported => "unsupported",
            Self::Note => "note",
        }
    }
}

/// The state of a subject that results from a plan, once its steps are applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectOutcome {
    /// The state.
    pub state: SubjectState,
    /// The reason, unless the subject is in sync.
    pub reason: Option<String>,
    /// The facets that its problems were found in; [`Facet::Definition`] is always one of them.
    pub problem_facets: Facets,
    /// The number of problems that were found. The state and the reason are those of the worst.
    pub problems: usize,
    /// The pairing, as far as the snapshots show it.
    pub pairing: Option<Pairing>,
    /// For a database: the primary's default permissions for new tables.
    pub table_default: Option<Vec<PrincipalPermissions>>,
    /// The number of partitions in the standby, if all were read.
    pub partitions: Option<usize>,
    /// For a Lake Formation subject that was read: short keys of the paired items.
    pub managed_keys: Option<BTreeSet<String>>,
    /// The subject exists in neither Region, so its ledger row is deleted.
    pub gone: bool,
}

impl SubjectOutcome {
    fn new(state: SubjectState, reason: Option<String>) -> Self {
        Self {
            state,
            reason,
            problem_facets: Facets::from([Facet::Definition]),
            problems: 0,
            pairing: None,
            table_default: None,
            partitions: None,
            managed_keys: None,
            gone: false,
        }
    }

    fn gone() -> Self {
        Self {
            gone: true,
            ..Self::new(SubjectState::InSync, None)
        }
    }

    /// Adds a problem. Of several, the worst state is kept with its reason; of equal ones the first.
    fn add_problem(&mut self, state: SubjectState, reason: String) {
        self.problems += 1;
        if state > self.state {
            self.state = state;
            self.reason = Some(reason);
        }
    }
}

/// Plans the changes that remove the differences between the two snapshots.
#[must_use]
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let mut builder = PlanBuilder {
        inputs: *inputs,
        translator: Translator::new(inputs.policy, inputs.epoch),
        steps: Vec::new(),
        findings: BTreeSet::new(),
        subject_outcomes: BTreeMap::new(),
        attachment_outcomes: BTreeMap::new(),
        all_tables_grants: Vec::new(),
        lf_tag_policy_grants: Vec::new(),
        lf_item_grants: Vec::new(),
        needs_full_grant_read: 0,
        needs: BTreeMap::new(),
        waiting_subjects: BTreeSet::new(),
    };
    for (subject, facets) in facets_by_subject(inputs) {
        match &subject {
            Subject::Catalog => {}
            Subject::LakeFormation(lake) => lakeformation::plan(&mut builder, *lake, &facets),
            Subject::Database(name) => database::plan(&mut builder, name, &facets),
            Subject::Table(id) => table::plan(&mut builder, id, &facets),
            Subject::Function(id) => function::plan(&mut builder, id),
        }
    }
    database::plan_deletions(&mut builder);
    all_tables_grants::plan(&mut builder);
    lf_item_rights::plan(&mut builder);
    lf_tag_policy_grants::plan(&mut builder);
    opt_ins::hold_back_widening_steps(&mut builder);
    lf_tag_assignment::plan(&mut builder);
    for (subject, outcome) in std::mem::take(&mut builder.attachment_outcomes) {
        let is_otherwise_in_sync = builder.is_in_sync(&subject);
        if is_otherwise_in_sync {
            builder.subject_outcomes.insert(subject, outcome);
        }
    }
    iceberg::mark_older_commits(&mut builder);
    table_logs::mark_log_findings(&mut builder);
    builder
        .steps
        .sort_by_key(|step| (step.phase(), step.rank()));
    deduplicate_revokes(&mut builder.steps);
    let table_changes =
        |id: &crate::TableId, table: &crate::Table| table::table_change(inputs, id, table);
    let expression_uses =
        |name: &str, key: &str| lakeformation::expression_uses(inputs.standby, name, key);
    let in_standby = InStandby {
        table_changes: &table_changes,
        expression_uses: &expression_uses,
    };
    let requires = excluded_steps::remove_held(&mut builder, in_standby);
    Plan {
        new_pairings: remarks::new_pairings(inputs, &builder.subject_outcomes),
        missing_rights: remarks::missing_rights(inputs, &builder.findings),
        requires,
        epoch: inputs.epoch,
        policy_digest: inputs.policy.digest().to_owned(),
        steps: builder.steps,
        findings: builder.findings,
        subject_outcomes: builder.subject_outcomes,
        needs_full_grant_read: builder.needs_full_grant_read,
        needs: builder.needs,
        waiting_subjects: builder.waiting_subjects,
    }
}

/// Keeps one revoke of each grant. If one of its revokes is permanent, that one is kept.
fn deduplicate_revokes(steps: &mut Vec<Step>) {
    let mut causes: BTreeMap<PermissionGrant, RevokeCause> = BTreeMap::new();
    for step in steps.iter() {
        if let Step::Revoke { grant, cause, .. } = step {
            let cause_of_grant = causes.entry(grant.clone()).or_insert(*cause);
            if *cause_of_grant == RevokeCause::Replace {
                *cause_of_grant = *cause;
            }
        }
    }
    let mut kept = BTreeSet::new();
    steps.retain(|step| {
        let Step::Revoke { grant, cause, .. } = step else {
            return true;
        };
        causes.get(grant) == Some(cause) && kept.insert(grant.clone())
    });
}

/// The facets of a subject that the scope covers.
pub type Facets = BTreeSet<Facet>;

/// Returns the facets to plan by subject: the subjects of the scope and, where a whole database
/// or the catalog is in scope, what was read below them. Parents sort before their children.
fn facets_by_subject(inputs: &Inputs<'_>) -> BTreeMap<Subject, Facets> {
    let mut facets_by_subject: BTreeMap<Subject, Facets> = BTreeMap::new();
    let snapshots = [inputs.primary, inputs.standby];
    let mut whole_databases: BTreeSet<&crate::Name> = BTreeSet::new();
    for (subject, request) in &inputs.scope.read_requests {
        match subject {
            Subject::Catalog => {
                whole_databases.extend(
                    snapshots
                        .iter()
                        .flat_map(|snapshot| snapshot.databases.keys()),
                );
            }
            Subject::Database(name) if request.facets.contains(&Facet::Contents) => {
                whole_databases.insert(name);
            }
            Subject::LakeFormation(_)
            | Subject::Database(_)
            | Subject::Table(_)
            | Subject::Function(_) => {
                facets_by_subject
                    .entry(subject.clone())
                    .or_default()
                    .extend(&request.facets);
            }
        }
    }
    for name in whole_databases {
        facets_by_subject
            .entry(Subject::Database(name.clone()))
            .or_default()
            .extend(&crate::scope::WHOLE_DATABASE);
        let tables = snapshots.iter().flat_map(|snapshot| snapshot.tables.keys());
        let functions = snapshots
            .iter()
            .flat_map(|snapshot| snapshot.functions.keys());
        for id in functions.filter(|id| id.database == *name) {
            facets_by_subject
                .entry(Subject::Function(id.clone()))
                .or_default();
        }
        for id in tables.filter(|id| id.database == *name) {
            facets_by_subject
                .entry(Subject::Table(id.clone()))
                .or_default()
                .extend(&crate::scope::WHOLE_TABLE);
        }
    }
    facets_by_subject
}

/// Returns the kind of finding that a failed read becomes.
fn finding_kind(error: &crate::CallError) -> FindingKind {
    match error.kind {
        crate::CallErrorKind::Denied => FindingKind::Denied,
        crate::CallErrorKind::NotFound
        | crate::CallErrorKind::AlreadyInState
        | crate::CallErrorKind::Contended
        | crate::CallErrorKind::NotPropagated
        | crate::CallErrorKind::Invalid
        | crate::CallErrorKind::Unsupported
        | crate::CallErrorKind::Unavailable => FindingKind::Unreadable,
    }
}

/// Returns the pairing of two existing objects.
fn pairing<T: MaybeLink + Serialize>(
    epoch: Epoch,
    wanted: &Observed<T>,
    existing: &Observed<T>,
    comparable: &T,
) -> Pairing {
    Pairing {
        created: BySite::from_roles(epoch, wanted.created, existing.created),
        digest: BySite::from_roles(epoch, None, Some(digest(comparable))),
        link: existing.is_link(),
    }
}

struct PlanBuilder<'a> {
    inputs: Inputs<'a>,
    translator: Translator<'a>,
    steps: Vec<Step>,
    findings: BTreeSet<Finding>,
    subject_outcomes: BTreeMap<Subject, SubjectOutcome>,
    /// Outcomes of databases that are not in sync only because of their attachments.
    attachment_outcomes: BTreeMap<Subject, SubjectOutcome>,
    /// Missing grants on all tables of a database: the database, the grant, its grant option.
    all_tables_grants: Vec<(crate::Name, crate::PermissionGrant, bool)>,
    /// Missing grants by LF-Tag policies, with their grant option.
    lf_tag_policy_grants: Vec<(crate::PermissionGrant, bool)>,
    /// Missing grants on all values of an LF-Tag and on LF-Tag expressions, with their grant option.
    lf_item_grants: Vec<(crate::PermissionGrant, bool)>,
    /// See [`Plan::needs_full_grant_read`].
    needs_full_grant_read: usize,
    /// See [`Plan::needs`].
    needs: BTreeMap<Subject, Facets>,
    /// See [`Plan::waiting_subjects`].
    waiting_subjects: BTreeSet<Subject>,
}

impl PlanBuilder<'_> {
    /// Whether a facet of a subject was read in both Regions. If not, the plan asks for the read.
    fn read_or_ask(&mut self, subject: &Subject, facet: Facet) -> bool {
        let snapshots = [self.inputs.primary, self.inputs.standby];
        let is_read = snapshots.iter().all(|snapshot| match (facet, subject) {
            (Facet::Grants, _) => snapshot.grants.contains_key(subject),
            (Facet::Definition, Subject::Database(name)) => snapshot.databases.contains_key(name),
            (Facet::Definition, Subject::Table(id)) => snapshot.tables.contains_key(id),
            (Facet::Contents, Subject::Database(name)) => snapshot.table_names.contains_key(name),
            (
                Facet::Definition
                | Facet::Partitions
                | Facet::Contents
                | Facet::Indexes
                | Facet::Statistics
                | Facet::GlueTags
                | Facet::DataCellsFilters
                | Facet::LfTagAssignments
                | Facet::OptIns
                | Facet::Items,
                _,
            ) => snapshot.attachments.contains_key(&(subject.clone(), facet)),
        });
        if !is_read {
            self.ask(subject.clone(), facet);
        }
        is_read
    }

    /// Asks for a read.
    fn ask(&mut self, subject: Subject, facet: Facet) {
        self.needs.entry(subject).or_default().insert(facet);
    }

    /// Whether a step revokes a grant.
    fn revokes(&self, grant: &PermissionGrant) -> bool {
        let is_revoke =
            |step: &Step| matches!(step, Step::Revoke { grant: revoked, .. } if revoked == grant);
        self.steps.iter().any(is_revoke)
    }

    /// Whether a step makes a grant.
    fn makes(&self, grant: &PermissionGrant) -> bool {
        let is_grant =
            |step: &Step| matches!(step, Step::Grant { grant: made, .. } if made == grant);
        self.steps.iter().any(is_grant)
    }

    /// Whether a step writes a named LF-Tag expression.
    fn puts_expression(&self, name: &str) -> bool {
        let is_put = |step: &Step| matches!(step, Step::PutAttachment { attachment: Attachment::NamedExpression(put), .. } if put.name == name);
        self.steps.iter().any(is_put)
    }

    fn add_finding(&mut self, kind: FindingKind, subject: &Subject, detail: impl Into<String>) {
        self.findings.insert(Finding {
            kind,
            subject: subject.clone(),
            detail: detail.into(),
        });
    }

    /// Returns an outcome that keeps the pairing of the ledger row.
    fn outcome_with_pairing(
        &self,
        subject: &Subject,
        state: SubjectState,
        reason: Option<String>,
    ) -> SubjectOutcome {
        let row = self.inputs.rows.get(subject);
        SubjectOutcome {
            pairing: row.and_then(|row| row.pairing.clone()),
            ..SubjectOutcome::new(state, reason)
        }
    }

    /// Records that a subject is not in sync, with the finding that says why.
    fn mark_not_in_sync(
        &mut self,
        subject: &Subject,
        state: SubjectState,
        kind: FindingKind,
        reason: String,
    ) {
        self.add_finding(kind, subject, reason.clone());
        let mut outcome = self.outcome_with_pairing(subject, SubjectState::InSync, None);
        if let Some(previous) = self.subject_outcomes.get(subject) {
            outcome.pairing = previous.pairing.clone().or(outcome.pairing);
            outcome.table_default.clone_from(&previous.table_default);
            outcome.state = previous.state;
            outcome.reason.clone_from(&previous.reason);
            outcome.problem_facets.clone_from(&previous.problem_facets);
            outcome.problems = previous.problems;
        }
        outcome.add_problem(state, reason);
        self.subject_outcomes.insert(subject.clone(), outcome);
    }

    /// Records that a subject is out of sync because a read failed.
    fn mark_unread(&mut self, subject: &Subject, error: &crate::CallError) {
        let kind = finding_kind(error);
        self.mark_not_in_sync(subject, SubjectState::OutOfSync, kind, error.to_string());
    }

    /// Plans a facet of a subject. Every problem that this adds counts as found in the facet: only a
    /// read of it can find the subject in sync again.
    fn plan_facet(&mut self, subject: &Subject, facet: Facet, plan: impl FnOnce(&mut Self)) {
        let problems = |builder: &Self| {
            let outcome = builder.subject_outcomes.get(subject);
            outcome.map_or(0, |outcome| outcome.problems)
        };
        let before = problems(self);
        plan(self);
        if problems(self) > before {
            self.add_problem_facet(subject, facet);
        }
    }

    /// Adds a facet that problems of a subject were found in, if it is not in sync.
    fn add_problem_facet(&mut self, subject: &Subject, facet: Facet) {
        if let Some(outcome) = self.subject_outcomes.get_mut(subject)
            && outcome.state != SubjectState::InSync
        {
            outcome.problem_facets.insert(facet);
        }
    }

    fn is_in_sync(&self, subject: &Subject) -> bool {
        self.subject_outcomes
            .get(subject)
            .is_some_and(|outcome| outcome.state == SubjectState::InSync && !outcome.gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_keeps_the_worst_of_several_problems() {
        let mut outcome = SubjectOutcome::new(SubjectState::InSync, None);
        for (state, reason) in [
            (SubjectState::OnHold, "held"),
            (SubjectState::OutOfSync, "unread"),
            (SubjectState::OnHold, "held too"),
        ] {
            outcome.add_problem(state, reason.to_owned());
        }
        assert_eq!(outcome.state, SubjectState::OnHold);
        assert_eq!(outcome.reason.as_deref(), Some("held"));
        assert_eq!(outcome.problems, 3);
    }
}
