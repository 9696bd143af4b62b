//! Steps that are not to be written, and the steps that require them.

use super::requirements::{InStandby, Requirements, TableChanges, requirements};
use super::{PlanBuilder, SubjectState};
use crate::catalog::AttachmentKey;
use crate::grant::{LfTagPolicy, PermissionGrant, Principal, Resource};
use crate::scope::{LfSubject, Subject, subject_of_grant};
use crate::snapshot::Observation;
use crate::step::{RevokeCause, Step, StepTarget};
use std::collections::{BTreeMap, BTreeSet};

/// What is not to be written: steps that failed, that wait, or that the audit rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExcludedSteps {
    /// The targets of the steps, each with the reason.
    pub targets: BTreeMap<StepTarget, String>,
    /// The reason why nothing that may open access is written, if so.
    pub widening: Option<String>,
    /// Twinlake's role may not write the data lake settings.
    pub settings: bool,
}

impl ExcludedSteps {
    fn reason(&self, step: &Step) -> Option<String> {
        if self.settings && matches!(step, Step::PutSettings { .. }) {
            return Some("the role may not write the data lake settings".to_owned());
        }
        let reason = self.targets.get(&step.target());
        reason
            .or(self.widening.as_ref().filter(|_| !step.only_narrows()))
            .cloned()
    }
}

/// Why a step is removed from a plan.
struct Removal {
    reason: String,
    subject: Subject,
    /// What the step would have shown stays hidden, so only steps on its subject wait for it.
    hides: bool,
}

/// Removes the held steps of a plan and what requires them. Returns the requirements of the
/// steps that are left.
pub(super) fn remove_held(
    builder: &mut PlanBuilder<'_>,
    standby: InStandby<'_>,
) -> Vec<Vec<usize>> {
    loop {
        let requires = requirements(&builder.steps, standby, Requirements::Necessary);
        let mut removed = steps_to_remove(
            (&builder.steps, &requires),
            builder.inputs.excluded_steps,
            standby.table_changes,
        );
        let mut pointless = regrants_without_change(&builder.steps, &removed);
        pointless.extend(unjustified_revokes(builder, &removed));
        for position in pointless {
            let Some(subject) = builder.steps.get(position).map(Step::subject) else {
                continue;
            };
            let removal = Removal {
                reason: String::new(),
                subject,
                hides: true,
            };
            removed.insert(position, removal);
        }
        if removed.is_empty() {
            return requirements(&builder.steps, standby, Requirements::WithOrder);
        }
        record_removed(builder, &removed);
        let mut positions = 0..builder.steps.len();
        builder.steps.retain(|_| {
            let position = positions.next();
            position.is_none_or(|position| !removed.contains_key(&position))
        });
    }
}

/// The steps to remove, by position.
fn steps_to_remove(
    (steps, requires): (&[Step], &[Vec<usize>]),
    held: &ExcludedSteps,
    table_changes: TableChanges<'_>,
) -> BTreeMap<usize, Removal> {
    let mut removed: BTreeMap<usize, Removal> = BTreeMap::new();
    let mut not_created: BTreeSet<Subject> = BTreeSet::new();
    let mut indexed: BTreeSet<Subject> = created_tables(steps);
    let created = indexed.clone();
    for (position, step) in steps.iter().enumerate() {
        let subject = step.subject();
        let database = subject.database().cloned().map(Subject::Database);
        let parents = [Some(subject.clone()), database];
        let is_own = |removal: &Removal| parents.contains(&Some(removal.subject.clone()));
        let required = requires.get(position).into_iter().flatten();
        let mut required = required.filter_map(|required| removed.get(required));
        let blocked_by = required.find(|removal| !removal.hides || is_own(removal));
        let reason = held.reason(step);
        // One index of a table at a time (GL-06), except those that CreateTable creates.
        let waits_for_index =
            is_index(step) && !created.contains(&subject) && !indexed.insert(subject.clone());
        let reason = match (reason, blocked_by) {
            (Some(reason), _) => reason,
            (None, Some(blocked_by)) => blocked_by.reason.clone(),
            (None, None) if waits_for_index => String::new(),
            (None, None) => continue,
        };
        let mut hides = parents
            .iter()
            .flatten()
            .any(|parent| not_created.contains(parent));
        match step {
            Step::CreateDatabase { .. } | Step::CreateTable { .. } => {
                hides = true;
                not_created.insert(subject.clone());
            }
            Step::UpdateTable { id, table, .. } => hides |= !table_changes(id, table).drops,
            Step::UpdateDatabase { .. }
            | Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeleteFunction { .. }
            | Step::PutAttachment { .. }
            | Step::RemoveAttachment { .. }
            | Step::Grant { .. }
            | Step::Revoke { .. }
            | Step::DeletePartition { .. }
            | Step::DeleteTable { .. }
            | Step::PutSettings { .. }
            | Step::DeleteDatabase { .. } => {}
        }
        let removal = Removal {
            reason,
            subject,
            hides,
        };
        removed.insert(position, removal);
    }
    removed
}

fn created_tables(steps: &[Step]) -> BTreeSet<Subject> {
    let created = steps
        .iter()
        .filter(|step| matches!(step, Step::CreateTable { .. }));
    created.map(Step::subject).collect()
}

fn is_index(step: &Step) -> bool {
    match step.target() {
        StepTarget::Attachment(_, AttachmentKey::Index(_)) => true,
        StepTarget::Attachment(..)
        | StepTarget::Object(_)
        | StepTarget::TableDefaults(_)
        | StepTarget::Deletion(_)
        | StepTarget::Partition(..)
        | StepTarget::Grant(_)
        | StepTarget::Revoke(_)
        | StepTarget::Settings
        | StepTarget::NarrowedSettings => false,
    }
}

/// Subjects of removed steps are not in sync: the ledger must not record the steps as done. A
/// partition that is held itself is not a problem of all partitions.
fn record_removed(builder: &mut PlanBuilder<'_>, removed: &BTreeMap<usize, Removal>) {
    let held = builder.inputs.excluded_steps;
    for (position, Removal { reason, .. }) in removed {
        let Some(step) = builder.steps.get(*position) else {
            continue;
        };
        let target = step.target();
        let is_held_partition =
            matches!(target, StepTarget::Partition(..)) && held.targets.contains_key(&target);
        if let Some(outcome) = builder.subject_outcomes.get_mut(&step.subject())
            && !reason.is_empty()
        {
            outcome.add_problem(SubjectState::OutOfSync, reason.clone());
            if !is_held_partition {
                outcome.problem_facets.extend(target.facets());
            }
        }
    }
}

/// Revokes that only another step justifies, which is not in the plan: the deletion of the object,
/// or the new grant of what they revoke.
fn unjustified_revokes(
    builder: &PlanBuilder<'_>,
    removed: &BTreeMap<usize, Removal>,
) -> BTreeSet<usize> {
    let left = || {
        let steps = builder.steps.iter().enumerate();
        steps.filter(|(position, _)| !removed.contains_key(position))
    };
    let targets: BTreeSet<StepTarget> = left().map(|(_, step)| step.target()).collect();
    let loses_grant_option = |grant: &PermissionGrant| {
        let primary = builder.inputs.primary.grants.get(&subject_of_grant(grant));
        let primary = primary.and_then(Observation::present);
        primary.and_then(|grants| grants.get(grant)) == Some(&false)
    };
    let is_justified = |step: &Step| {
        let Step::Revoke {
            grant,
            grantable,
            cause,
        } = step
        else {
            return true;
        };
        match cause {
            RevokeCause::Deletion => targets.contains(&StepTarget::Deletion(step.subject())),
            RevokeCause::Replace => {
                targets.contains(&StepTarget::Grant(grant.clone()))
                    || (*grantable && loses_grant_option(grant))
            }
            RevokeCause::ExpressionChanged => {
                changed_expression_of(grant).is_some_and(|expression| targets.contains(&expression))
            }
            RevokeCause::NotInPrimary | RevokeCause::NamedByEvent | RevokeCause::ColumnDropped => {
                true
            }
        }
    };
    left()
        .filter(|(_, step)| !is_justified(step))
        .map(|(position, _)| position)
        .collect()
}

/// Pairs of a revoke and a new grant of one permission that were planned around a change which is
/// not in the plan.
fn regrants_without_change(steps: &[Step], removed: &BTreeMap<usize, Removal>) -> BTreeSet<usize> {
    let is_left = |position: &usize| !removed.contains_key(position);
    let left = || {
        steps
            .iter()
            .enumerate()
            .filter(|(position, _)| is_left(position))
    };
    let restores = |step: &Step, suspended: (&PermissionGrant, bool)| matches!(step, Step::Grant { grant, grantable } if (grant, *grantable) == suspended);
    let suspended: BTreeSet<&PermissionGrant> = left()
        .filter_map(|(_, step)| suspended_grant(step))
        .filter(|one| left().any(|(_, step)| restores(step, *one)))
        .map(|(grant, _)| grant)
        .filter(|grant| !left().any(|(_, step)| changes_access_through(step, &grant.resource)))
        .collect();
    left()
        .filter(|(_, step)| match step {
            Step::Grant { grant, .. } => suspended.contains(grant),
            Step::Revoke { .. } => {
                suspended_grant(step).is_some_and(|(grant, _)| suspended.contains(grant))
            }
            Step::CreateDatabase { .. }
            | Step::UpdateDatabase { .. }
            | Step::CreateTable { .. }
            | Step::UpdateTable { .. }
            | Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeleteFunction { .. }
            | Step::PutAttachment { .. }
            | Step::RemoveAttachment { .. }
            | Step::DeletePartition { .. }
            | Step::DeleteTable { .. }
            | Step::PutSettings { .. }
            | Step::DeleteDatabase { .. } => false,
        })
        .map(|(position, _)| position)
        .collect()
}

/// The grant that a step revokes only while something that it covers changes, and its grant option.
/// A revoke that removes the grant option is followed by a grant without it.
fn suspended_grant(step: &Step) -> Option<(&PermissionGrant, bool)> {
    let Step::Revoke {
        grant,
        grantable,
        cause: RevokeCause::Replace,
    } = step
    else {
        return None;
    };
    let depends_on_change = match grant.resource {
        Resource::LfTagPolicy { .. } | Resource::DataCellsFilter(..) => true,
        Resource::AllTables(_) => grant.principal == Principal::iam_allowed(),
        Resource::Database(_)
        | Resource::Table(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::Catalog
        | Resource::DataLocation(_)
        | Resource::LfTag { .. }
        | Resource::LfTagExpression(_) => false,
    };
    depends_on_change.then_some((grant, *grantable))
}

/// Whether a step changes what a grant on this LF-Tag policy, data cells filter or all tables of a
/// database covers.
fn changes_access_through(step: &Step, resource: &Resource) -> bool {
    let is_lf_tag_policy = matches!(resource, Resource::LfTagPolicy { .. });
    if let (Step::CreateTable { id, .. }, Resource::AllTables(database)) = (step, resource) {
        return id.database == *database;
    }
    if matches!(step, Step::CreateTable { .. } | Step::UpdateTable { .. }) {
        return is_lf_tag_policy;
    }
    let StepTarget::Attachment(_, key) = step.target() else {
        return false;
    };
    match key {
        AttachmentKey::NamedExpression(_) | AttachmentKey::LfTagAssignment { .. } => {
            is_lf_tag_policy
        }
        AttachmentKey::DataCellsFilter(name) => {
            matches!(resource, Resource::DataCellsFilter(_, granted) if *granted == name)
        }
        AttachmentKey::Index(_)
        | AttachmentKey::Statistics(_)
        | AttachmentKey::GlueTag(_)
        | AttachmentKey::OptIn(_)
        | AttachmentKey::LfTagValue { .. }
        | AttachmentKey::Registration(_) => false,
    }
}

/// The target of the step that writes the named LF-Tag expression of a grant.
fn changed_expression_of(grant: &PermissionGrant) -> Option<StepTarget> {
    let Resource::LfTagPolicy {
        policy: LfTagPolicy::NamedExpression(name),
        ..
    } = &grant.resource
    else {
        return None;
    };
    Some(StepTarget::Attachment(
        Subject::LakeFormation(LfSubject::LfTagExpressions),
        AttachmentKey::NamedExpression(name.clone()),
    ))
}
