//! Plans what opt-ins decide. Beside a grant to `IAM_ALLOWED_PRINCIPALS`, IAM policies decide on
//! the access of every principal without an opt-in (hybrid access mode, LF-29).
//!
//! Three kinds of steps may therefore open access: a grant to `IAM_ALLOWED_PRINCIPALS`, the creation
//! of a table that such a grant covers, and the removal of an opt-in. Each waits for the opt-ins
//! of the primary that have to be there before it.

use super::obstacle::Obstacle;
use super::{PlanBuilder, all_tables_grants, extra_access, lf_tag_policy_grants};
use crate::catalog::{Attachment, AttachmentKey, OptIn};
use crate::grant::{ListedResource, PermissionGrant, Principal, Resource};
use crate::name::{Name, TableId};
use crate::scope::{Facet, LfSubject, Subject, subject_of_grant, subject_of_opt_in};
use crate::snapshot::{AbsenceProof, Observation, UnmappedOptIn};
use crate::step::{RevokeCause, Step};
use std::collections::BTreeSet;

/// Leaves out the steps that would give a principal the access that IAM allows, where the primary
/// limits it by an opt-in. Runs once all subjects are planned.
pub(super) fn hold_back_widening_steps(builder: &mut PlanBuilder<'_>) {
    for id in created_tables(builder) {
        if let Some(wait) = suspend_iam_grants_for_creation(builder, &id) {
            let subject = Subject::Table(id);
            builder
                .steps
                .retain(|step| step.subject() != subject || matches!(step, Step::Revoke { .. }));
            wait.record(builder, &subject, Facet::OptIns);
        }
    }
    let may_wait = |step: &&Step| iam_grant(step).is_some() || removed_opt_in(step).is_some();
    let steps: Vec<Step> = builder.steps.iter().filter(may_wait).cloned().collect();
    for step in steps {
        let wait = match (iam_grant(&step), removed_opt_in(&step)) {
            (Some(grant), _) => obstacle_to_iam_allowed_grant(builder, grant),
            (None, Some(opt_in)) => obstacle_to_opt_in_removal(builder, &step.subject(), opt_in),
            (None, None) => None,
        };
        if let Some(wait) = wait {
            let subject = step.subject();
            builder.steps.retain(|other| *other != step);
            wait.record(builder, &subject, Facet::OptIns);
        }
    }
}

fn created_tables(builder: &PlanBuilder<'_>) -> BTreeSet<TableId> {
    let created = builder.steps.iter().filter_map(|step| {
        if let Step::CreateTable { id, .. } = step {
            return Some(id.clone());
        }
        None
    });
    created.collect()
}

fn iam_grant(step: &Step) -> Option<&PermissionGrant> {
    if let Step::Grant { grant, .. } = step
        && grant.principal == Principal::iam_allowed()
    {
        return Some(grant);
    }
    None
}

fn removed_opt_in(step: &Step) -> Option<&OptIn> {
    if let Step::RemoveAttachment {
        key: AttachmentKey::OptIn(opt_in),
        ..
    } = step
    {
        return Some(opt_in);
    }
    None
}

/// Suspends the grants to `IAM_ALLOWED_PRINCIPALS` on all tables of the database while a table is
/// created on which the primary has an opt-in: the opt-in can only be made once the table exists.
/// Returns why the creation has to wait, if it does.
fn suspend_iam_grants_for_creation(
    builder: &mut PlanBuilder<'_>,
    id: &TableId,
) -> Option<Obstacle> {
    let grants = iam_grants_on_all_tables(builder, &id.database);
    let by_policies = iam_allowed_lf_tag_policy_grants(builder);
    if grants.is_empty() && by_policies.is_empty() {
        return None;
    }
    let subject = Subject::Table(id.clone());
    if !builder.read_or_ask(&subject, Facet::OptIns) {
        return Some(Obstacle::until_read("the opt-ins on it were not read"));
    }
    let Some((in_primary, in_standby)) = listed(builder) else {
        return Some(Obstacle::until_read("the opt-ins were not listed"));
    };
    let decides_before_creation = |opt_in: &&OptIn| {
        let is_on_database = matches!(
            opt_in.resource,
            ListedResource::TableWildcard(_) | ListedResource::Database(_)
        );
        is_on_database && in_standby.contains(*opt_in)
    };
    if let Some(obstacle) = unmapped_opt_in(builder, &subject, None) {
        return Some(obstacle);
    }
    let mut on_table = in_primary
        .iter()
        .filter(|opt_in| subject_of_opt_in(opt_in).overlaps(&subject));
    let opt_in = on_table.find(|opt_in| !decides_before_creation(opt_in))?;
    // No grant is suspended unless all can be.
    for (grant, _) in &grants {
        let obstacle = match obstacle_to_iam_allowed_grant(builder, grant) {
            Some(wait) => Some(wait),
            None => all_tables_grants::obstacle_to_all_tables_grant(builder, &id.database)
                .map(Obstacle::until_read),
        };
        if let Some(wait) = obstacle {
            let (principal, reason) = (&opt_in.principal, wait.reason);
            let reason = format!(
                "{grant} would give {principal} access to it before its opt-in is made, and cannot \
                 be suspended: {reason}"
            );
            return Some(Obstacle { reason, ..wait });
        }
    }
    for (grant, grantable) in by_policies {
        lf_tag_policy_grants::suspend(builder, &grant, grantable, grantable);
    }
    for (grant, grantable) in grants {
        builder.steps.push(Step::Grant {
            grant: grant.clone(),
            grantable,
        });
        builder.steps.push(Step::Revoke {
            grant,
            grantable,
            cause: RevokeCause::Replace,
        });
    }
    None
}

/// Returns the grants to `IAM_ALLOWED_PRINCIPALS` on all tables of a database in the standby that no
/// step revokes, with the grant option that they keep.
fn iam_grants_on_all_tables(
    builder: &PlanBuilder<'_>,
    database: &Name,
) -> Vec<(PermissionGrant, bool)> {
    let standby = builder.inputs.standby;
    let of_database = standby.grants.get(&Subject::Database(database.clone()));
    let all = of_database
        .or_else(|| standby.all_tables_grants.get(database))
        .and_then(Observation::present);
    let is_on_all_tables = |grant: &PermissionGrant| matches!(&grant.resource, Resource::AllTables(name) if name == database);
    let all = all.into_iter().flatten();
    all.filter(|(grant, _)| grant.principal == Principal::iam_allowed() && is_on_all_tables(grant))
        .filter(|(grant, _)| !builder.revokes(grant))
        .map(|(grant, grantable)| (grant.clone(), *grantable))
        .collect()
}

/// Returns the grants to `IAM_ALLOWED_PRINCIPALS` by LF-Tag policies in the standby that no step
/// revokes: they may cover any table.
fn iam_allowed_lf_tag_policy_grants(builder: &PlanBuilder<'_>) -> Vec<(PermissionGrant, bool)> {
    let held = lf_tag_policy_grants::policy_grants(builder.inputs.standby);
    let all = held.into_iter().flatten();
    all.filter(|(grant, _)| {
        grant.principal == Principal::iam_allowed()
            && lf_tag_policy_grants::policy_of(grant).is_some()
            && !builder.revokes(grant)
    })
    .map(|(grant, grantable)| (grant.clone(), *grantable))
    .collect()
}

/// Returns why a grant to `IAM_ALLOWED_PRINCIPALS` has to wait: an opt-in of the primary on what it
/// covers would be missing.
fn obstacle_to_iam_allowed_grant(
    builder: &mut PlanBuilder<'_>,
    grant: &PermissionGrant,
) -> Option<Obstacle> {
    let subject = subject_of_grant(grant);
    let obstacle = missing_opt_in(builder, &subject, &|_| true)
        .map(Obstacle::until_read)
        .or_else(|| unmapped_opt_in(builder, &subject, None))?;
    let reason = format!("{grant} waits: {}", obstacle.reason);
    Some(Obstacle { reason, ..obstacle })
}

/// Returns why the removal of an opt-in has to wait: another opt-in of the principal that replaces it
/// in the primary would be missing, or the standby may have a grant to `IAM_ALLOWED_PRINCIPALS` that
/// the primary lacks.
fn obstacle_to_opt_in_removal(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    removed: &OptIn,
) -> Option<Obstacle> {
    let is_of_principal = |opt_in: &OptIn| opt_in.principal == removed.principal;
    if let Some(reason) = missing_opt_in(builder, subject, &is_of_principal) {
        let reason = format!("its opt-in of {} stays: {reason}", removed.principal);
        return Some(Obstacle::until_read(reason));
    }
    if let Some(obstacle) = unmapped_opt_in(builder, subject, Some(&removed.principal)) {
        let reason = format!(
            "its opt-in of {} stays: {}",
            removed.principal, obstacle.reason
        );
        return Some(Obstacle { reason, ..obstacle });
    }
    let database = subject.database().cloned().map(Subject::Database);
    let policies = Subject::LakeFormation(LfSubject::Permissions);
    let deciding: BTreeSet<Subject> = database
        .into_iter()
        .chain([subject.clone(), policies])
        .collect();
    let unread = deciding
        .iter()
        .filter(|one| !builder.read_or_ask(one, Facet::Grants))
        .count();
    let reason = match unread {
        0 if let Subject::Table(id) = subject => {
            match extra_access::extra_database_grant(builder, &id.database) {
                Some(reason) => reason,
                None => obstacle_of_extra_iam_allowed_grant(builder)?,
            }
        }
        0 => match extra_iam_grant(builder, subject) {
            Some(reason) => reason,
            None => extra_table_below_iam_grant(builder, subject)?,
        },
        _ => "the grants beside it were not read".to_owned(),
    };
    let reason = format!("its opt-in of {} stays: {reason}", removed.principal);
    Some(Obstacle::until_read(reason))
}

/// Returns the reason if a grant to `IAM_ALLOWED_PRINCIPALS` covers a table that only the standby has:
/// only the opt-in keeps its principal out of it. Grants may outlive their table, so the
/// primary may still list the grant.
fn extra_table_below_iam_grant(builder: &mut PlanBuilder<'_>, subject: &Subject) -> Option<String> {
    let database = subject.database()?.clone();
    if !builder.read_or_ask(subject, Facet::Contents) {
        return Some("the tables of the database were not listed".to_owned());
    }
    let grants = iam_grants_on_all_tables(builder, &database);
    if !grants.is_empty() || !iam_allowed_lf_tag_policy_grants(builder).is_empty() {
        return all_tables_grants::obstacle_to_all_tables_grant(builder, &database);
    }
    let inputs = builder.inputs;
    let in_standby = inputs.standby.table_names.get(&database)?;
    let in_primary = inputs.primary.table_names.get(&database);
    let is_open = |id: &TableId| {
        let grants = inputs.standby.grants.get(&Subject::Table(id.clone()));
        let grants = grants.and_then(Observation::present).into_iter().flatten();
        let deletes =
            |step: &Step| matches!(step, Step::DeleteTable { id: deleted } if deleted == id);
        grants
            .into_iter()
            .any(|(grant, _)| grant.principal == Principal::iam_allowed())
            && !builder.steps.iter().any(deletes)
    };
    let extra = in_standby
        .iter()
        .filter(|name| !in_primary.is_some_and(|names| names.contains(*name)));
    let mut extra = extra.map(|name| TableId::new(database.clone(), name.clone()));
    let first = extra.find(is_open)?;
    Some(format!(
        "the standby has the table {first}, which the primary lacks"
    ))
}

/// Returns the reason if the standby has a grant to `IAM_ALLOWED_PRINCIPALS` by an LF-Tag policy that
/// the primary lacks and no step revokes.
fn obstacle_of_extra_iam_allowed_grant(builder: &PlanBuilder<'_>) -> Option<String> {
    let in_primary = lf_tag_policy_grants::policy_grants(builder.inputs.primary);
    let is_extra = |grant: &PermissionGrant| {
        !in_primary.is_some_and(|in_primary| in_primary.contains_key(grant))
    };
    let held = iam_allowed_lf_tag_policy_grants(builder);
    let (extra, _) = held.into_iter().find(|(grant, _)| is_extra(grant))?;
    Some(format!("it waits until {extra} is revoked in the standby"))
}

/// Returns the reason if the standby may have a grant to `IAM_ALLOWED_PRINCIPALS` below a subject
/// that the primary lacks and no step revokes. Only a listing of all grants tells.
fn extra_iam_grant(builder: &mut PlanBuilder<'_>, subject: &Subject) -> Option<String> {
    let Some(extra) = &builder.inputs.standby.extra_iam_grants else {
        builder.needs_full_grant_read += 1;
        return Some("not all grants were read".to_owned());
    };
    let is_managed = |on: &Subject| match on {
        Subject::Table(id) => builder.inputs.policy.covers_table(id),
        Subject::Catalog
        | Subject::LakeFormation(_)
        | Subject::Database(_)
        | Subject::Function(_) => true,
    };
    let extra: Vec<&PermissionGrant> = extra
        .iter()
        .filter(|grant| {
            let on = subject_of_grant(grant);
            on.overlaps(subject) && is_managed(&on) && !builder.revokes(grant)
        })
        .collect();
    for grant in &extra {
        ask_for(builder, &subject_of_grant(grant), Facet::Grants);
    }
    let first = extra.first()?;
    Some(format!("it waits until {first} is revoked in the standby"))
}

/// Returns the reason if an opt-in of the primary that may decide on a subject is not in the standby,
/// and no step makes it. What does not exist in the standby needs no opt-in.
fn missing_opt_in(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    is_relevant: &dyn Fn(&OptIn) -> bool,
) -> Option<String> {
    let own = match subject {
        Subject::Database(_) | Subject::Table(_) => subject.clone(),
        Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => {
            Subject::LakeFormation(LfSubject::Permissions)
        }
    };
    let is_read = builder.read_or_ask(&own, Facet::OptIns);
    let Some((in_primary, in_standby)) = listed(builder).filter(|_| is_read) else {
        return Some("the opt-ins were not read".to_owned());
    };
    let missing: Vec<&OptIn> = in_primary
        .iter()
        .filter(|opt_in| is_relevant(opt_in) && !in_standby.contains(*opt_in))
        .filter(|opt_in| {
            let on = subject_of_opt_in(opt_in);
            on.overlaps(subject) && !is_absent_in_standby(builder, &on) && !is_put(builder, opt_in)
        })
        .collect();
    for opt_in in &missing {
        ask_for(builder, &subject_of_opt_in(opt_in), Facet::OptIns);
    }
    let first = missing.first()?;
    let (principal, on) = (&first.principal, subject_of_opt_in(first));
    Some(format!(
        "the opt-in of {principal} on {on} is not in the standby yet"
    ))
}

/// Returns the obstacle if the primary has an opt-in that may decide on a subject, and for this principal if one is
/// given, and that cannot be made in the standby. What does not exist in the standby needs no opt-in.
fn unmapped_opt_in(
    builder: &PlanBuilder<'_>,
    subject: &Subject,
    principal: Option<&Principal>,
) -> Option<Obstacle> {
    let mut all = builder.inputs.primary.unmapped_opt_ins.iter();
    let may_be_of = |opt_in: &UnmappedOptIn| match (principal, &opt_in.principal) {
        (Some(wanted), Some(own)) => own == wanted,
        (None, _) | (_, None) => true,
    };
    let found = all.find(|opt_in| {
        opt_in.subject.overlaps(subject)
            && may_be_of(opt_in)
            && !is_absent_in_standby(builder, &opt_in.subject)
    })?;
    Some(Obstacle::unmanaged(format!(
        "in the primary, an opt-in limits access, and Twinlake cannot make it in the standby: that of {}; delete \
         it there, or leave the grant to IAM_ALLOWED_PRINCIPALS out of the standby",
        found.description
    )))
}

/// Asks for a facet, and for the definition without which it is not planned.
fn ask_for(builder: &mut PlanBuilder<'_>, subject: &Subject, facet: Facet) {
    builder.read_or_ask(subject, facet);
    if matches!(subject, Subject::Database(_) | Subject::Table(_)) {
        builder.read_or_ask(subject, Facet::Definition);
    }
}

fn is_put(builder: &PlanBuilder<'_>, opt_in: &OptIn) -> bool {
    let puts = |step: &Step| matches!(step, Step::PutAttachment { attachment: Attachment::OptIn(put), .. } if **put == *opt_in);
    builder.steps.iter().any(puts)
}

/// Whether a database or table provably does not exist in the standby, and no step creates it.
fn is_absent_in_standby(builder: &PlanBuilder<'_>, subject: &Subject) -> bool {
    let standby = builder.inputs.standby;
    let creates = |step: &Step| {
        matches!(step, Step::CreateTable { .. } | Step::CreateDatabase { .. })
            && step.subject() == *subject
    };
    // An administrator who sees no other object of the parent sees this one all the same.
    let is_proven = |proof: &AbsenceProof| {
        let proof = AbsenceProof {
            sibling_seen: true,
            ..proof.clone()
        };
        proof.is_complete()
    };
    let is_absent = match subject {
        Subject::Database(name) => {
            matches!(standby.databases.get(name), Some(Observation::Absent(proof)) if is_proven(proof))
        }
        Subject::Table(id) => match standby.tables.get(id) {
            Some(Observation::Absent(proof)) if is_proven(proof) => true,
            Some(Observation::Present(_) | Observation::Unknown(_)) => false,
            Some(Observation::Absent(_)) | None => standby
                .table_names
                .get(&id.database)
                .is_some_and(|names| !names.contains(&id.table)),
        },
        Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => false,
    };
    is_absent && !builder.steps.iter().any(creates)
}

/// Returns the opt-ins of the primary and of the standby, if they were listed.
fn listed<'a>(builder: &PlanBuilder<'a>) -> Option<(&'a BTreeSet<OptIn>, &'a BTreeSet<OptIn>)> {
    let inputs = builder.inputs;
    Some((
        inputs.primary.opt_ins.as_ref()?.present()?,
        inputs.standby.opt_ins.as_ref()?.present()?,
    ))
}

/// Returns the reason why a database cannot be created under open default permissions: the primary
/// limits a principal by an opt-in that can only be made once the database exists.
pub(super) fn obstacle_to_open_creation(
    builder: &mut PlanBuilder<'_>,
    name: &Name,
) -> Option<String> {
    let subject = Subject::Database(name.clone());
    let is_read = builder.read_or_ask(&subject, Facet::OptIns);
    let Some((in_primary, _)) = listed(builder).filter(|_| is_read) else {
        return Some("the opt-ins on it were not read".to_owned());
    };
    if let Some(obstacle) = unmapped_opt_in(builder, &subject, None) {
        return Some(obstacle.reason);
    }
    let mut all = in_primary.iter();
    let opt_in = all.find(|opt_in| subject_of_opt_in(opt_in).overlaps(&subject))?;
    Some(format!(
        "in the primary, the access of {} to it is limited by an opt-in",
        opt_in.principal
    ))
}
