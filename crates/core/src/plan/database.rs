//! Plans databases.

use super::absence::unproven_deletion;
use super::link::{self, LinkConflict};
use super::{
    Facets, FindingKind, PlanBuilder, attachment, finding_kind, grants, iceberg, opt_ins, pairing,
    writer_roles,
};
use crate::catalog::{Comparable as _, Database, MaybeLink as _, Observed, differences, digest};
use crate::desired::{Desired, Withheld};
use crate::grant::{Permission, PermissionGrant, Principal, Resource};
use crate::ledger::{LedgerRow, SubjectState};
use crate::name::Name;
use crate::policy::DeletionPolicy;
use crate::scope::{Facet, Subject};
use crate::snapshot::Observation;
use crate::step::Step;
use crate::topology::Epoch;

pub(super) fn plan(builder: &mut PlanBuilder<'_>, name: &Name, facets: &Facets) {
    let subject = Subject::Database(name.clone());
    let inputs = builder.inputs;
    let (Some(primary), Some(standby)) = (
        inputs.primary.databases.get(name),
        inputs.standby.databases.get(name),
    ) else {
        return;
    };
    if !inputs.policy.covers_database(name) {
        return;
    }
    match (primary, standby) {
        (Observation::Unknown(error), _) | (_, Observation::Unknown(error)) => {
            builder.mark_unread(&subject, error);
        }
        (Observation::Absent(in_primary), Observation::Absent(in_standby)) => {
            builder.plan_absent(&subject, in_primary, in_standby);
        }
        // `plan_deletions` decides, once every table of the database has been planned.
        (Observation::Absent(_), Observation::Present(_)) => {}
        (Observation::Present(_), Observation::Absent(proof))
            if builder.mark_if_hidden(&subject, proof) => {}
        (Observation::Present(wanted), existing) => {
            match builder.translator.database(&wanted.object) {
                Ok(desired) => reconcile(builder, &subject, wanted, desired, existing.present()),
                Err(withheld) => mark_withheld(builder, &subject, withheld),
            }
            record_table_default(builder, &subject, &wanted.object);
        }
    }
    for snapshot in [inputs.primary, inputs.standby] {
        if let Some(Err(error)) = snapshot.function_listings.get(name) {
            let detail = format!("its functions could not be listed: {error}");
            builder.add_finding(finding_kind(error), &subject, detail);
        }
    }
    if builder.is_in_sync(&subject) && !link::is_link_on_either_side(builder, &subject) {
        // The tables of the database are planned even if its attachments are not in sync.
        let own_outcome = builder.subject_outcomes.get(&subject).cloned();
        attachment::plan_all(builder, &subject);
        let with_attachments = builder.subject_outcomes.get(&subject).cloned();
        if let (Some(own_outcome), Some(with_attachments)) = (own_outcome, with_attachments)
            && own_outcome != with_attachments
        {
            builder
                .subject_outcomes
                .insert(subject.clone(), own_outcome);
            builder
                .attachment_outcomes
                .insert(subject.clone(), with_attachments);
        }
    }
    if !facets.contains(&Facet::Grants) {
        return;
    }
    if builder.is_in_sync(&subject) {
        grants::plan(builder, &subject);
        writer_roles::plan(builder, name);
        return;
    }
    match primary {
        Observation::Present(_) => narrow(builder, name, grants::plan_revokes_only),
        Observation::Unknown(_) => narrow(builder, name, grants::plan_own_revokes),
        // `plan_deletions` decides.
        Observation::Absent(_) => {}
    }
}

/// Records the default permissions for new tables that the primary's database has, whatever becomes of the rest of
/// it: by the newest ones a takeover opens the standby's database, or leaves it closed.
fn record_table_default(builder: &mut PlanBuilder<'_>, subject: &Subject, in_primary: &Database) {
    if let Some(outcome) = builder.subject_outcomes.get_mut(subject) {
        let defaults = in_primary.create_table_default_permissions.clone();
        outcome.table_default = Some(defaults.unwrap_or_default());
    }
}

/// Plans the revokes on a database of which nothing else is planned: by `revoke` on the paired
/// database, and the named ones on a database by which somebody replaced it.
fn narrow(builder: &mut PlanBuilder<'_>, name: &Name, revoke: fn(&mut PlanBuilder<'_>, &Subject)) {
    let subject = Subject::Database(name.clone());
    let existing = builder.inputs.standby.databases.get(name);
    let Some(existing) = existing.and_then(Observation::present) else {
        return;
    };
    let row = builder.inputs.rows.get(&subject);
    if is_managed(builder, row, existing) {
        revoke(builder, &subject);
    } else if grants::is_replaced(row, existing) {
        grants::plan_named_revokes_only(builder, &subject);
    }
}

/// Whether the ledger pairs the database, or the resource link, with the one in the standby.
fn is_managed(
    builder: &PlanBuilder<'_>,
    row: Option<&LedgerRow>,
    existing: &Observed<Database>,
) -> bool {
    let epoch = builder.inputs.epoch;
    match existing.is_link() {
        true => link::is_managed_link(epoch, row, existing),
        false => row
            .and_then(|row| row.pairing.as_ref())
            .is_some_and(|pairing| pairing.is_of_object(epoch.standby(), existing.created)),
    }
}

pub(super) fn mark_withheld(builder: &mut PlanBuilder<'_>, subject: &Subject, withheld: Withheld) {
    match withheld {
        Withheld::OnHold(reason) => {
            builder.mark_not_in_sync(subject, SubjectState::OnHold, FindingKind::OnHold, reason);
        }
        Withheld::Unsupported(kind) => {
            builder.mark_not_in_sync(
                subject,
                SubjectState::Blocked,
                FindingKind::Unsupported,
                kind,
            );
        }
        Withheld::NotRelocated => iceberg::mark_not_relocated(builder, subject),
    }
}

fn reconcile(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    wanted: &Observed<Database>,
    desired: Desired<Database>,
    existing: Option<&Observed<Database>>,
) {
    for note in &desired.notes {
        builder.add_finding(FindingKind::Note, subject, note.clone());
    }
    let mut outcome = builder.outcome_with_pairing(subject, SubjectState::InSync, None);
    match existing {
        None => {
            if let Some(reason) = opens_on_creation(builder, &desired.object.name) {
                builder.mark_not_in_sync(
                    subject,
                    SubjectState::Blocked,
                    FindingKind::DefaultsOpen,
                    reason,
                );
                return;
            }
            let database = desired.object;
            builder.steps.push(Step::CreateDatabase { database });
        }
        Some(existing) if existing.is_link() || desired.object.is_link() => {
            let row = builder.inputs.rows.get(subject);
            match link::check_link_conflict(builder.inputs.epoch, row, &desired.object, existing) {
                LinkConflict::Same => {
                    outcome.pairing = Some(pairing(
                        builder.inputs.epoch,
                        wanted,
                        existing,
                        &existing.object,
                    ));
                }
                LinkConflict::Replace => {
                    delete_link(builder, &desired.object.name, subject);
                    return;
                }
                LinkConflict::Foreign(reason) => {
                    builder.mark_not_in_sync(
                        subject,
                        SubjectState::Blocked,
                        FindingKind::Unmanaged,
                        reason,
                    );
                    return;
                }
            }
        }
        Some(existing) => {
            let current = existing.object.clone().into_comparable();
            let wanted_fields = desired.object.clone().into_comparable();
            if let Err(reason) = check_managed(
                builder.inputs.epoch,
                builder.inputs.rows.get(subject),
                existing,
                &wanted_fields,
            ) {
                builder.mark_not_in_sync(
                    subject,
                    SubjectState::Blocked,
                    FindingKind::Unmanaged,
                    reason,
                );
                return;
            }
            outcome.pairing = Some(pairing(builder.inputs.epoch, wanted, existing, &current));
            if current != wanted_fields {
                builder.steps.push(Step::UpdateDatabase {
                    clears_default_permissions: current.create_table_default_permissions
                        != Some(Vec::new()),
                    changes: differences(&current, &wanted_fields),
                    database: desired.object,
                });
            }
        }
    }
    builder.subject_outcomes.insert(subject.clone(), outcome);
}

/// Checks that the database in the standby is paired, was about to be created by Twinlake, or
/// equals the desired one, of which `desired` has the compared fields. The default permissions for new tables are not compared, since they
/// are cleared on adoption.
///
/// # Errors
/// The reason why Twinlake does not manage it.
fn check_managed(
    epoch: Epoch,
    row: Option<&LedgerRow>,
    existing: &Observed<Database>,
    desired: &Database,
) -> Result<(), String> {
    let mut current = existing.object.clone().into_comparable();
    let paired = row
        .and_then(|row| row.pairing.as_ref())
        .is_some_and(|pairing| pairing.is_of_object(epoch.standby(), existing.created));
    let intended = row.is_some_and(|row| row.intends(&digest(&current)));
    current.create_table_default_permissions = Some(Vec::new());
    if paired || intended || current == *desired {
        return Ok(());
    }
    let fields: Vec<String> = differences(&current, desired)
        .into_iter()
        .map(|change| change.field)
        .collect();
    Err(format!(
        "the standby has another object under this name, which Twinlake did not make; \
         it differs in {}",
        fields.join(", ")
    ))
}

/// Returns the reason why creating the database could give access that the primary does not: the
/// standby's settings grant every new database to `IAM_ALLOWED_PRINCIPALS`.
fn opens_on_creation(builder: &mut PlanBuilder<'_>, name: &Name) -> Option<String> {
    let settings = match &builder.inputs.standby.settings {
        Some(Observation::Present(settings)) => settings,
        Some(Observation::Absent(_) | Observation::Unknown(_)) | None => {
            return Some("the standby's data lake settings could not be read".to_owned());
        }
    };
    if !settings.database_defaults_open {
        return None;
    }
    let open_grant = PermissionGrant {
        principal: Principal::iam_allowed(),
        resource: Resource::Database(name.clone()),
        permission: Permission::All,
        condition: None,
    };
    let subject = Subject::Database(name.clone());
    let grants = builder.inputs.primary.grants.get(&subject);
    let is_open_in_primary = grants
        .and_then(Observation::present)
        .is_some_and(|grants| grants.contains_key(&open_grant));
    let obstacle = match is_open_in_primary {
        true => opt_ins::obstacle_to_open_creation(builder, name)?,
        false => "the primary's database has no such grant".to_owned(),
    };
    Some(format!(
        "the standby's data lake settings grant every new database to IAM_ALLOWED_PRINCIPALS, and \
         {obstacle}; clear CreateDatabaseDefaultPermissions in the standby"
    ))
}

/// Plans the databases that no longer exist in the primary: they are deleted if every table and
/// function in them is.
pub(super) fn plan_deletions(builder: &mut PlanBuilder<'_>) {
    let inputs = builder.inputs;
    for (name, primary) in &inputs.primary.databases {
        let Observation::Absent(proof) = primary else {
            continue;
        };
        let subject = Subject::Database(name.clone());
        let Some(existing) = inputs
            .standby
            .databases
            .get(name)
            .and_then(Observation::present)
        else {
            continue;
        };
        if !is_managed(builder, inputs.rows.get(&subject), existing) {
            narrow(builder, name, grants::plan_named_revokes_only);
            continue;
        }
        if let Some((kind, why)) = unproven_deletion(inputs.primary, proof) {
            let reason =
                format!("it was not found in the primary, and its deletion is not proven: {why}");
            builder.mark_not_in_sync(&subject, SubjectState::OutOfSync, kind, reason);
            grants::plan_own_revokes(builder, &subject);
        } else if inputs.policy.deletions == DeletionPolicy::Retain {
            let reason = "it was deleted in the primary, and the policy retains it".to_owned();
            builder.mark_not_in_sync(&subject, SubjectState::OnHold, FindingKind::OnHold, reason);
            if let Some(outcome) = builder.subject_outcomes.get_mut(&subject) {
                outcome.table_default = Some(Vec::new());
            }
            grants::plan_named_revokes_only(builder, &subject);
        } else if existing.is_link() {
            delete_link(builder, name, &subject);
        } else {
            delete(builder, name, &subject);
        }
    }
}

/// Plans the deletion of a resource link that Twinlake made; its target stays.
fn delete_link(builder: &mut PlanBuilder<'_>, name: &Name, subject: &Subject) {
    if !grants::revoke_all(builder, subject) {
        return;
    }
    let name = name.clone();
    builder.steps.push(Step::DeleteDatabase { name });
    let outcome = builder.outcome_with_pairing(subject, SubjectState::OutOfSync, None);
    builder.subject_outcomes.insert(subject.clone(), outcome);
}

fn delete(builder: &mut PlanBuilder<'_>, name: &Name, subject: &Subject) {
    let standby = builder.inputs.standby;
    let functions = standby.function_listings.get(name);
    if !standby.table_names.contains_key(name) || !functions.is_some_and(Result::is_ok) {
        let reason = "its tables or functions in the standby were not listed".to_owned();
        builder.mark_not_in_sync(
            subject,
            SubjectState::OutOfSync,
            FindingKind::Unreadable,
            reason,
        );
        grants::plan_own_revokes(builder, subject);
        return;
    }
    let is_deleted = |id: &crate::TableId| {
        let deletes =
            |step: &Step| matches!(step, Step::DeleteTable { id: deleted } if deleted == id);
        builder.steps.iter().any(deletes)
    };
    let mut tables = standby.tables.iter();
    let remaining = tables.find(|(id, observed)| {
        id.database == *name && observed.present().is_some() && !is_deleted(id)
    });
    let remaining_function = standby.functions.iter().find(|(id, observed)| {
        let deletes =
            |step: &Step| matches!(step, Step::DeleteFunction { id: deleted } if deleted == *id);
        id.database == *name && observed.present().is_some() && !builder.steps.iter().any(deletes)
    });
    let remaining = remaining.map(|(id, _)| id.table.to_string());
    let remaining =
        remaining.or(remaining_function.map(|(id, _)| format!("function {}", id.function)));
    if let Some(remaining) = remaining {
        let reason =
            format!("it was deleted in the primary, and {remaining} remains in it in the standby");
        builder.mark_not_in_sync(
            subject,
            SubjectState::Blocked,
            FindingKind::Unmanaged,
            reason,
        );
        grants::plan_revokes_only(builder, subject);
        return;
    }
    if !grants::revoke_all(builder, subject) {
        return;
    }
    builder
        .steps
        .push(Step::DeleteDatabase { name: name.clone() });
    let outcome = builder.outcome_with_pairing(subject, SubjectState::OutOfSync, None);
    builder.subject_outcomes.insert(subject.clone(), outcome);
}
