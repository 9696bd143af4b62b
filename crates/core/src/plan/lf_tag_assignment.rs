//! Keeps LF-Tag assignments from giving access in the middle of a plan.
//!
//! A table inherits the LF-Tags of its database, and a column those of its table, unless it has
//! its own. A new table, a new column or a changed LF-Tag may therefore match a grant between two
//! steps that it matches neither before nor after the plan. Such a grant is suspended: revoked at
//! the start of the plan and granted again at its end. Steps that would give extra access after
//! the plan are left out.

mod tag_timeline;

use super::lf_tag_policy_grants::{
    self, made_policy_grant, policy_grants, policy_of, revoke_extra,
};
use super::obstacle::Obstacle;
use super::{PlanBuilder, administrators, lakeformation};
use crate::catalog::{Attachment, Table};
use crate::grant::{Grants, PermissionGrant};
use crate::name::{Name, TableId};
use crate::scope::{Facet, LfSubject, Subject};
use crate::snapshot::{Observation, Snapshot};
use crate::step::{RevokeCause, Step};
use std::collections::{BTreeMap, BTreeSet};
use tag_timeline::{OpenedAccess, TagTimeline};

pub(super) fn plan(builder: &mut PlanBuilder<'_>) {
    let mut has_left_out = false;
    loop {
        builder
            .steps
            .sort_by_key(|step| (step.phase(), step.rank()));
        match suspend_or_defer(builder) {
            // Grants by LF-Tags were planned for the tables as the steps make them that are left out now.
            None if has_left_out && lf_tag_policy_grants::hold_unsafe_grants(builder) => {}
            None => return,
            Some(LeftOut::Steps(deferred)) => {
                has_left_out = true;
                defer(builder, deferred);
            }
            Some(LeftOut::Grant(grant, obstacle)) => {
                lf_tag_policy_grants::hold_grant(builder, &grant, obstacle);
            }
        }
    }
}

/// A subject whose steps are left out, and the reason.
struct DeferredSubject {
    subject: Subject,
    reason: String,
    /// Everything was read, so waiting changes nothing.
    is_final: bool,
}

impl DeferredSubject {
    fn unread(subject: &Subject, reason: &str) -> Self {
        Self {
            subject: subject.clone(),
            reason: reason.to_owned(),
            is_final: false,
        }
    }
}

/// What a plan leaves out.
enum LeftOut {
    /// Steps that would give extra access by a grant that the standby has.
    Steps(DeferredSubject),
    /// A grant that the plan makes, with the reason.
    Grant(PermissionGrant, Obstacle),
}

fn defer(builder: &mut PlanBuilder<'_>, deferred: DeferredSubject) {
    let is_database = matches!(deferred.subject, Subject::Database(_));
    builder.steps.retain(|step| {
        let is_dropped = match is_database {
            true => changes_lf_tags(step),
            false => !matches!(step, Step::Revoke { .. }),
        };
        !(is_dropped && step.subject() == deferred.subject)
    });
    let obstacle = match deferred.is_final {
        true => Obstacle::unmanaged(deferred.reason),
        false => Obstacle::until_read(deferred.reason),
    };
    if !deferred.is_final {
        builder.waiting_subjects.insert(deferred.subject.clone());
    }
    obstacle.record(builder, &deferred.subject, Facet::LfTagAssignments);
}

/// Whether a step assigns or removes an LF-Tag.
fn changes_lf_tags(step: &Step) -> bool {
    if let Step::PutAttachment { attachment, .. } = step {
        return attachment.key().facet() == Facet::LfTagAssignments;
    }
    matches!(step, Step::RemoveAttachment { key, .. } if key.facet() == Facet::LfTagAssignments)
}

/// A change of the access that LF-Tags give, which rests on other LF-Tags and on the grants by them:
/// nobody else may change these meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LfTagChange {
    /// LF-Tags of objects, or objects that inherit LF-Tags. It rests on the grants by LF-Tags, and on
    /// nothing of other databases.
    Assignments,
    /// Grants by LF-Tags, or named expressions. It rests on the LF-Tags of all objects.
    Grants,
}

/// Returns how a step changes the access that LF-Tags give; `None` if it does not.
#[must_use]
pub fn lf_tag_change(step: &Step, standby: &Snapshot) -> Option<LfTagChange> {
    let has_policy_grants = || policy_grants(standby).is_some_and(|grants| !grants.is_empty());
    let assignments = |is_change: bool| is_change.then_some(LfTagChange::Assignments);
    let grants = |is_change: bool| is_change.then_some(LfTagChange::Grants);
    match step {
        Step::PutAttachment { attachment, .. } => {
            let is_expression = matches!(attachment, Attachment::NamedExpression(_));
            grants(is_expression).or_else(|| assignments(changes_lf_tags(step)))
        }
        // Nothing is inherited by a database, so its tables and columns only lose what they inherit: whatever
        // others change meanwhile, this opens nothing.
        Step::RemoveAttachment {
            subject: Subject::Database(_),
            ..
        } => None,
        Step::RemoveAttachment { .. } => assignments(changes_lf_tags(step)),
        Step::CreateTable { .. } => assignments(has_policy_grants()),
        Step::UpdateTable { .. } => assignments(adds_columns(step, standby) && has_policy_grants()),
        Step::Grant { grant, .. } => grants(policy_of(grant).is_some()),
        Step::Revoke { grant, cause, .. } => {
            let is_temporary = match cause {
                RevokeCause::Replace | RevokeCause::ExpressionChanged => true,
                RevokeCause::NotInPrimary
                | RevokeCause::NamedByEvent
                | RevokeCause::Deletion
                | RevokeCause::ColumnDropped => false,
            };
            grants(is_temporary && policy_of(grant).is_some())
        }
        Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutSettings { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => None,
    }
}

/// Whether a step may give access through LF-Tags.
fn may_widen_access(step: &Step, inputs: &super::Inputs<'_>) -> bool {
    match step {
        Step::PutAttachment { attachment, .. } => {
            attachment.key().facet() == Facet::LfTagAssignments
        }
        Step::RemoveAttachment { key, .. } => key.facet() == Facet::LfTagAssignments,
        Step::CreateTable { .. } => true,
        Step::UpdateTable { .. } => adds_columns(step, inputs.standby),
        Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutSettings { .. }
        | Step::Grant { .. }
        | Step::Revoke { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => false,
    }
}

/// Whether a step drops columns, and so ends access that an LF-Tag gave.
#[must_use]
pub fn drops_columns(step: &Step, standby: &Snapshot) -> bool {
    column_change(step, standby).is_some_and(|(before, after)| !before.is_subset(&after))
}

/// Whether a step gives a table new columns.
fn adds_columns(step: &Step, standby: &Snapshot) -> bool {
    column_change(step, standby).is_some_and(|(before, after)| !after.is_subset(&before))
}

/// Returns the columns of a table before and after a step that updates it.
fn column_change(step: &Step, standby: &Snapshot) -> Option<(BTreeSet<Name>, BTreeSet<Name>)> {
    let Step::UpdateTable { id, table, .. } = step else {
        return None;
    };
    let before = standby.tables.get(id);
    let before = before
        .and_then(Observation::present)
        .map(|observed| &observed.object);
    Some((columns(before), columns(Some(table))))
}

fn columns(table: Option<&Table>) -> BTreeSet<Name> {
    let all = table.into_iter().flat_map(Table::columns);
    all.map(|column| Name::from_service(&column.name)).collect()
}

/// Suspends the grants that would give extra access during the plan. Returns the first thing that has
/// to be left out.
fn suspend_or_defer(builder: &mut PlanBuilder<'_>) -> Option<LeftOut> {
    let inputs = &builder.inputs;
    let first = builder
        .steps
        .iter()
        .find(|step| may_widen_access(step, inputs))?;
    let first = first.subject();
    let mut steps: BTreeMap<Subject, Vec<Step>> = BTreeMap::new();
    let is_relevant =
        |step: &&Step| may_widen_access(step, inputs) || drops_columns(step, inputs.standby);
    for step in builder.steps.iter().filter(is_relevant) {
        steps.entry(step.subject()).or_default().push(step.clone());
    }
    let Some(in_standby) = policy_grants(builder.inputs.standby) else {
        let permissions = Subject::LakeFormation(LfSubject::Permissions);
        builder.ask(permissions, Facet::Grants);
        let reason = "the grants by LF-Tag policies were not read";
        return Some(LeftOut::Steps(DeferredSubject::unread(&first, reason)));
    };
    let held = held_policy_grants(builder, in_standby);
    let made: Vec<PermissionGrant> = builder.steps.iter().filter_map(made_policy_grant).collect();
    if held.is_empty() && made.is_empty() {
        return None;
    }
    if let Some(deferred) = first_unread(builder, &first, &steps, &held) {
        return Some(LeftOut::Steps(deferred));
    }
    let is_managed = |grant: &PermissionGrant| {
        !is_extra(builder, grant) || lakeformation::is_managed_resource(builder, &grant.resource)
    };
    let mut suspended: BTreeSet<PermissionGrant> = BTreeSet::new();
    for subject in affected_subjects(builder, &steps) {
        let timeline = match TagTimeline::of(builder, &subject, &steps) {
            Ok(timeline) => timeline,
            Err(deferred) => {
                ask_for_database_lf_tags(builder, &subject);
                return Some(LeftOut::Steps(deferred));
            }
        };
        let opening = |grant: &&PermissionGrant| timeline.is_opened_by_new(builder, grant);
        if let Some(grant) = made.iter().find(opening) {
            let reason =
                format!("it would give access to {subject} that it does not give in the primary");
            let obstacle = match timeline.is_known {
                true => Obstacle::unmanaged(reason),
                false => Obstacle::until_read(reason),
            };
            return Some(LeftOut::Grant(grant.clone(), obstacle));
        }
        for (grant, _) in &held {
            match timeline.opened_access(builder, grant) {
                OpenedAccess::Nothing => {}
                OpenedAccess::Temporarily if is_managed(grant) => {
                    suspended.insert(grant.clone());
                }
                OpenedAccess::Permanently if is_managed(grant) && is_extra(builder, grant) => {
                    suspended.insert(grant.clone());
                }
                // A grant by LF-Tags of somebody else stays.
                OpenedAccess::Temporarily | OpenedAccess::Permanently => {
                    let reason = format!(
                        "{grant} would give access to {subject} that it does not give in the primary"
                    );
                    return Some(LeftOut::Steps(DeferredSubject {
                        subject: timeline.deferred_subject,
                        reason,
                        is_final: timeline.is_known,
                    }));
                }
            }
        }
    }
    suspend_grants(builder, &first, &held, &suspended).map(LeftOut::Steps)
}

/// Returns what has to wait because something was not read on which the access by LF-Tags rests. The plan
/// asks for it.
fn first_unread(
    builder: &mut PlanBuilder<'_>,
    first: &Subject,
    steps: &BTreeMap<Subject, Vec<Step>>,
    held: &[(PermissionGrant, bool)],
) -> Option<DeferredSubject> {
    let mut extra = held.iter().filter(|(grant, _)| is_extra(builder, grant));
    if extra.next().is_some() && !lakeformation::are_items_read(builder) {
        let reason = "the LF-Tags were not read, which say whose the grants by them are";
        return Some(DeferredSubject::unread(first, reason));
    }
    let mut subjects = steps.keys();
    let database = subjects.find(|one| !has_listed_tables(builder, one))?;
    builder.read_or_ask(database, Facet::Contents);
    let reason = "its tables were not listed, which inherit its LF-Tags";
    Some(DeferredSubject::unread(database, reason))
}

/// The grants of the standby by LF-Tag policies that decide about access, with their grant option.
fn held_policy_grants(
    builder: &PlanBuilder<'_>,
    in_standby: &Grants,
) -> Vec<(PermissionGrant, bool)> {
    let ignored = administrators::ignored(builder).unwrap_or_default();
    let held = in_standby
        .iter()
        .filter(|(grant, _)| policy_of(grant).is_some() && !ignored.contains(grant));
    held.map(|(grant, grantable)| (grant.clone(), *grantable))
        .collect()
}

/// Revokes the grants that would give extra access during the plan. Those that the primary lacks
/// are revoked permanently, if their absence is proven.
fn suspend_grants(
    builder: &mut PlanBuilder<'_>,
    first: &Subject,
    held: &[(PermissionGrant, bool)],
    suspended: &BTreeSet<PermissionGrant>,
) -> Option<DeferredSubject> {
    for (grant, grantable) in held.iter().filter(|(grant, _)| suspended.contains(grant)) {
        let in_primary = policy_grants(builder.inputs.primary).and_then(|all| all.get(grant));
        if let Some(in_primary) = in_primary {
            let kept = *grantable && *in_primary;
            lf_tag_policy_grants::suspend(builder, grant, *grantable, kept);
            continue;
        }
        if let Some(reason) = revoke_extra(builder, grant, *grantable) {
            return Some(DeferredSubject {
                subject: first.clone(),
                reason,
                is_final: false,
            });
        }
    }
    None
}

/// Whether a grant of the standby allows more than the primary's: the primary lacks it, or its grant
/// option.
fn is_extra(builder: &PlanBuilder<'_>, grant: &PermissionGrant) -> bool {
    let grantable = |snapshot| {
        policy_grants(snapshot)
            .and_then(|all| all.get(grant))
            .copied()
    };
    let in_primary = grantable(builder.inputs.primary);
    let in_standby = grantable(builder.inputs.standby).unwrap_or_default();
    in_primary.is_none_or(|in_primary| in_standby && !in_primary)
}

/// Asks for the LF-Tags of the database of a subject. One that does not exist yet has none to read.
fn ask_for_database_lf_tags(builder: &mut PlanBuilder<'_>, subject: &Subject) {
    let Some(name) = subject.database() else {
        return;
    };
    let in_standby = builder.inputs.standby.databases.get(name);
    if !matches!(in_standby, Some(Observation::Absent(_))) {
        builder.ask(Subject::Database(name.clone()), Facet::LfTagAssignments);
    }
}

/// Whether the tables are known that inherit the LF-Tags of a subject: of a database that the standby
/// has, only a listing of the standby tells.
fn has_listed_tables(builder: &PlanBuilder<'_>, subject: &Subject) -> bool {
    let Subject::Database(name) = subject else {
        return true;
    };
    let standby = builder.inputs.standby;
    let exists = standby.databases.get(name).and_then(Observation::present);
    exists.is_none() || standby.table_names.contains_key(name)
}

/// Returns the databases and tables whose LF-Tags or columns change, and the tables that inherit
/// from such a database.
fn affected_subjects(
    builder: &PlanBuilder<'_>,
    steps: &BTreeMap<Subject, Vec<Step>>,
) -> BTreeSet<Subject> {
    let mut all: BTreeSet<Subject> = steps.keys().cloned().collect();
    for subject in steps.keys() {
        if let Subject::Database(name) = subject {
            let listed = builder.inputs.standby.table_names.get(name);
            let tables = listed.into_iter().flatten();
            all.extend(
                tables.map(|table| Subject::Table(TableId::new(name.clone(), table.clone()))),
            );
        }
    }
    all
}
