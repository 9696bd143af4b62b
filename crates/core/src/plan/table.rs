//! Plans tables.

use super::absence::unproven_deletion;
use super::columns::TableChange;
use super::link::{self, LinkConflict};
use super::{
    Facets, FindingKind, Inputs, PlanBuilder, all_tables_grants, attachment, column_visibility,
    database::mark_withheld, extra_access, grants, iceberg, pairing, partitions,
};
use crate::catalog::{Comparable as _, MaybeLink as _, Observed, Table, differences, digest};
use crate::desired::Desired;
use crate::grant::{Grants, Resource};
use crate::ledger::{LedgerRow, Pairing, SubjectState};
use crate::name::{Name, TableId};
use crate::policy::DeletionPolicy;
use crate::scope::{Facet, Subject};
use crate::snapshot::{AbsenceProof, Observation};
use crate::step::Step;
use crate::topology::Epoch;
use std::collections::BTreeSet;

pub(super) fn plan(builder: &mut PlanBuilder<'_>, id: &TableId, facets: &Facets) {
    let subject = Subject::Table(id.clone());
    let inputs = builder.inputs;
    let (Some(primary), Some(standby)) =
        (inputs.primary.tables.get(id), inputs.standby.tables.get(id))
    else {
        return;
    };
    if !inputs.policy.covers_table(id) {
        return;
    }
    // The tables that a resource link shows belong to its target.
    let snapshots = [inputs.primary, inputs.standby];
    if snapshots
        .iter()
        .any(|snapshot| link::is_database_link(snapshot, &id.database))
    {
        let missing = primary.present().is_some() && is_link_in_standby_only(inputs, id);
        if missing || inputs.rows.contains_key(&subject) {
            let reason = "its database is a resource link".to_owned();
            builder.mark_not_in_sync(
                &subject,
                SubjectState::Blocked,
                FindingKind::Unmanaged,
                reason,
            );
        }
        let row = inputs.rows.get(&subject);
        let is_managed_in_standby = !link::is_database_link(inputs.standby, &id.database)
            && standby
                .present()
                .is_some_and(|existing| is_paired(builder.inputs.epoch, row, existing));
        if is_managed_in_standby {
            grants::plan_revokes_only(builder, &subject);
        }
        return;
    }
    match (primary, standby) {
        (Observation::Unknown(error), _) | (_, Observation::Unknown(error)) => {
            builder.mark_unread(&subject, error);
            narrow(builder, id, standby.present(), grants::plan_own_revokes);
        }
        (Observation::Absent(in_primary), Observation::Absent(in_standby)) => {
            builder.plan_absent(&subject, in_primary, in_standby);
        }
        (Observation::Absent(proof), Observation::Present(existing)) => {
            plan_absent_in_primary(builder, id, &subject, proof, existing);
        }
        (Observation::Present(wanted), existing) => {
            if let Observation::Absent(proof) = existing
                && builder.mark_if_hidden(&subject, proof)
            {
                return;
            }
            if let Some((state, kind, reason)) = database_obstacle(builder, &id.database) {
                builder.mark_not_in_sync(&subject, state, kind, reason);
                narrow(builder, id, existing.present(), grants::plan_revokes_only);
                return;
            }
            let commit = iceberg::commit_of(builder, id, wanted);
            match builder.translator.table_at_commit(&wanted.object, commit) {
                Ok(desired) => {
                    reconcile(builder, id, facets, wanted, desired, existing.present());
                }
                // What was replicated of it earlier stays.
                Err(withheld) => {
                    mark_withheld(builder, &subject, withheld);
                    narrow(builder, id, existing.present(), grants::plan_revokes_only);
                }
            }
        }
    }
}

/// Whether the table's database is a resource link in the standby only.
fn is_link_in_standby_only(inputs: Inputs<'_>, id: &TableId) -> bool {
    link::is_database_link(inputs.standby, &id.database)
        && !link::is_database_link(inputs.primary, &id.database)
}

/// Plans the revokes on a table of which nothing else is planned. On the paired table, `revoke`
/// plans them. If somebody replaced that table, only revokes that an event named are planned: they
/// were done in the primary, which refuses to revoke what is not there (LF-10). So the primary had
/// those grants under this name, and Twinlake made them. Any other grant may belong to whoever made
/// the new table.
fn narrow(
    builder: &mut PlanBuilder<'_>,
    id: &TableId,
    existing: Option<&Observed<Table>>,
    revoke: fn(&mut PlanBuilder<'_>, &Subject),
) {
    let subject = Subject::Table(id.clone());
    let Some(existing) = existing else {
        return;
    };
    let row = builder.inputs.rows.get(&subject);
    if is_paired(builder.inputs.epoch, row, existing) {
        revoke(builder, &subject);
        narrow_definition(builder, id, existing);
        attachment::plan_narrower_filters(builder, id);
    } else if grants::is_replaced(row, existing)
        && !link::is_database_link(builder.inputs.standby, &id.database)
    {
        grants::plan_named_revokes_only(builder, &subject);
    }
}

/// Plans the update of a paired table of which nothing else is planned, if it only drops columns.
fn narrow_definition(builder: &mut PlanBuilder<'_>, id: &TableId, existing: &Observed<Table>) {
    let in_primary = builder.inputs.primary.tables.get(id);
    let Some(wanted) = in_primary.and_then(Observation::present) else {
        return;
    };
    let commit = iceberg::commit_of(builder, id, wanted);
    let Ok(desired) = builder.translator.table_at_commit(&wanted.object, commit) else {
        return;
    };
    let change = TableChange::of(&existing.object, &desired.object);
    let is_visible = column_visibility::are_all_columns_visible(builder.inputs, id);
    let is_narrower = change.drops && !change.adds && !change.reveals && is_visible;
    let action = decide(builder, id, wanted, desired.object, Some(existing));
    if let (TableAction::Write(step, _), true) = (action, is_narrower) {
        builder.steps.push(*step);
    }
}

/// Returns the outcome of a table or function if nothing may be written into its database, and
/// `None` if the database is in sync, or is paired and was not read for this plan.
pub(super) fn database_obstacle(
    builder: &PlanBuilder<'_>,
    database: &Name,
) -> Option<(SubjectState, FindingKind, String)> {
    let parent = Subject::Database(database.clone());
    let foreign = |reason: String| Some((SubjectState::Blocked, FindingKind::Unmanaged, reason));
    let unread = |reason: &str| {
        let reason = reason.to_owned();
        Some((SubjectState::OutOfSync, FindingKind::Unreadable, reason))
    };
    if let Some(outcome) = builder.subject_outcomes.get(&parent) {
        return match (&outcome.reason, outcome.gone) {
            (None, false) if outcome.state == SubjectState::InSync => None,
            (None, false) => unread("its database is about to be recreated"),
            (reason, _) => foreign(format!(
                "its database is not replicated: {}",
                reason.as_deref().unwrap_or("it does not exist")
            )),
        };
    }
    let row = builder.inputs.rows.get(&parent);
    let Some(pairing) = row.and_then(|row| row.pairing.as_ref()) else {
        // An unpaired database that existed when the read began would have been read too.
        return unread("its database is not paired yet");
    };
    match builder.inputs.standby.databases.get(database) {
        // The database was not read, so this plan neither creates nor deletes it.
        None => None,
        Some(Observation::Present(observed))
            if observed.created != pairing.created_in(builder.inputs.epoch.standby()) =>
        {
            unread("its database was recreated in the standby")
        }
        Some(Observation::Present(_)) => None,
        Some(Observation::Absent(_)) => unread("its database does not exist in the standby"),
        Some(Observation::Unknown(_)) => unread("its database in the standby was not read"),
    }
}

/// The action on the table itself.
enum TableAction {
    /// No change.
    Keep(Option<Pairing>),
    /// Create or update the table.
    Write(Box<Step>, Option<Pairing>),
    /// Delete a resource link that Twinlake made; the next round creates the wanted object.
    Replace,
    /// No change, and the table is not in sync.
    Leave(SubjectState, FindingKind, String),
}

fn decide(
    builder: &PlanBuilder<'_>,
    id: &TableId,
    wanted: &Observed<Table>,
    desired: Table,
    existing: Option<&Observed<Table>>,
) -> TableAction {
    let row = builder.inputs.rows.get(&Subject::Table(id.clone()));
    let id = id.clone();
    let Some(existing) = existing else {
        let table = desired;
        return TableAction::Write(Box::new(Step::CreateTable { id, table }), None);
    };
    if existing.is_link() || desired.is_link() {
        return match link::check_link_conflict(builder.inputs.epoch, row, &desired, existing) {
            LinkConflict::Same => TableAction::Keep(Some(pairing(
                builder.inputs.epoch,
                wanted,
                existing,
                &existing.object,
            ))),
            LinkConflict::Replace => TableAction::Replace,
            LinkConflict::Foreign(reason) => {
                TableAction::Leave(SubjectState::Blocked, FindingKind::Unmanaged, reason)
            }
        };
    }
    let wanted_fields = desired.clone().into_comparable();
    if let Err(reason) = check_managed(builder.inputs.epoch, row, existing, &wanted_fields) {
        return TableAction::Leave(SubjectState::Blocked, FindingKind::Unmanaged, reason);
    }
    let database = builder.inputs.standby.databases.get(&id.database);
    if !is_paired(builder.inputs.epoch, row, existing)
        && database.and_then(Observation::present).is_none()
    {
        // If the database is a resource link, the table belongs to the link's target.
        let reason = "its database in the standby was not read".to_owned();
        return TableAction::Leave(SubjectState::OutOfSync, FindingKind::Unreadable, reason);
    }
    if let Some(reason) = extra_view_dialect(&existing.object, &desired) {
        return TableAction::Leave(SubjectState::Blocked, FindingKind::ChangeRequired, reason);
    }
    if let Some(reason) = hidden_view(&existing.object, &desired) {
        return TableAction::Leave(SubjectState::OutOfSync, FindingKind::Unreadable, reason);
    }
    let current = comparable(&existing.object, &wanted_fields);
    let pairing = Some(pairing(builder.inputs.epoch, wanted, existing, &current));
    if current == wanted_fields {
        return TableAction::Keep(pairing);
    }
    let step = Step::UpdateTable {
        id,
        changes: differences(&current, &wanted_fields),
        table: desired,
        version: existing.version.clone(),
    };
    TableAction::Write(Box::new(step), pairing)
}

fn reconcile(
    builder: &mut PlanBuilder<'_>,
    id: &TableId,
    facets: &Facets,
    wanted: &Observed<Table>,
    desired: Desired<Table>,
    existing: Option<&Observed<Table>>,
) {
    let subject = Subject::Table(id.clone());
    for note in &desired.notes {
        builder.add_finding(FindingKind::Note, &subject, note.clone());
    }
    let (change, pairing) = match decide(builder, id, wanted, desired.object, existing) {
        TableAction::Keep(pairing) => (None, pairing),
        TableAction::Write(step, pairing) => (Some(*step), pairing),
        TableAction::Replace => return plan_deletion(builder, id, &subject),
        TableAction::Leave(state, kind, reason) => {
            builder.mark_not_in_sync(&subject, state, kind, reason);
            narrow(builder, id, existing, grants::plan_revokes_only);
            return;
        }
    };
    let mut outcome = builder.outcome_with_pairing(&subject, SubjectState::InSync, None);
    outcome.pairing = pairing.or(outcome.pairing);
    builder.subject_outcomes.insert(subject.clone(), outcome);
    builder.plan_facet(&subject, Facet::Grants, |builder| {
        write(builder, id, facets, change, existing);
    });
    if builder.is_in_sync(&subject) {
        builder.plan_facet(&subject, Facet::Partitions, |builder| {
            partitions::plan(builder, id, &subject);
        });
        attachment::plan_all(builder, &subject);
    } else {
        attachment::plan_narrower_filters(builder, id);
    }
}

/// Plans the grants and the change of the table. The change is left out if it could give access
/// to somebody who does not have it in the primary.
fn write(
    builder: &mut PlanBuilder<'_>,
    id: &TableId,
    facets: &Facets,
    step: Option<Step>,
    existing: Option<&Observed<Table>>,
) {
    let subject = Subject::Table(id.clone());
    // The database's default permissions for new tables apply to the new table.
    let database = Subject::Database(id.database.clone());
    if matches!(step, Some(Step::CreateTable { .. }))
        && !builder.read_or_ask(&database, Facet::Definition)
    {
        return;
    }
    let change = step.as_ref().map(|step| change_by(step, existing));
    let reveals = change.is_some_and(|change| change.reveals);
    let extra_grant =
        reveals.then(|| all_tables_grants::obstacle_of_extra_grant(builder, &id.database));
    let may_miss_columns = change.is_some_and(|change| change.adds || change.drops)
        && !column_visibility::are_all_columns_visible(builder.inputs, id);
    let reason = match may_miss_columns {
        true => Some(column_visibility::REASON.to_owned()),
        false => extra_grant.flatten().or_else(|| match reveals {
            true => extra_access::obstacle(builder, id),
            false => None,
        }),
    };
    if let Some(reason) = reason {
        if may_miss_columns {
            builder.waiting_subjects.insert(subject.clone());
        }
        let kind = match may_miss_columns {
            true => FindingKind::HiddenColumns,
            false => FindingKind::Unreadable,
        };
        builder.mark_not_in_sync(&subject, SubjectState::OutOfSync, kind, reason);
        // A table that does not exist yet has no grants; on an existing one, revokes are safe.
        if existing.is_some() {
            grants::plan_revokes_only(builder, &subject);
        }
        return;
    }
    let read = builder.inputs.primary.grants.contains_key(&subject);
    let are_revokes_complete = match facets.contains(&Facet::Grants) || read {
        true => grants::plan(builder, &subject),
        false => !reveals || builder.read_or_ask(&subject, Facet::Grants),
    };
    let Some(step) = step else {
        return;
    };
    if reveals && existing.is_some() && has_filter_grants(builder, &subject) {
        builder.read_or_ask(&subject, Facet::DataCellsFilters);
    }
    // A holder of a grant that is still to be revoked would also see what the change shows.
    if reveals && !are_revokes_complete {
        let reason = "its change waits until it is proven that the grants missing in the primary \
                      were revoked there";
        return mark_waiting(builder, &subject, reason.to_owned());
    }
    builder.steps.push(step);
}

/// Whether the standby has grants on data cells filters of a table.
fn has_filter_grants(builder: &PlanBuilder<'_>, subject: &Subject) -> bool {
    let grants = builder.inputs.standby.grants.get(subject);
    let grants = grants.and_then(Observation::present);
    let mut grants = grants.into_iter().flat_map(Grants::keys);
    grants.any(|grant| matches!(grant.resource, Resource::DataCellsFilter(..)))
}

fn mark_waiting(builder: &mut PlanBuilder<'_>, subject: &Subject, reason: String) {
    let (state, kind) = (SubjectState::OutOfSync, FindingKind::Unreadable);
    builder.mark_not_in_sync(subject, state, kind, reason);
}

fn change_by(step: &Step, existing: Option<&Observed<Table>>) -> TableChange {
    if let (Step::UpdateTable { table, .. }, Some(existing)) = (step, existing) {
        return TableChange::of(&existing.object, table);
    }
    TableChange::CREATION
}

/// Returns how the written definition of a table changes the standby's. A table that was not read
/// may gain and lose any columns.
pub(super) fn table_change(inputs: &Inputs<'_>, id: &TableId, written: &Table) -> TableChange {
    let existing = inputs.standby.tables.get(id).and_then(Observation::present);
    existing.map_or(TableChange::CREATION, |existing| {
        TableChange::of(&existing.object, written)
    })
}

fn comparable(table: &Table, desired: &Table) -> Table {
    table.clone().into_comparable().comparable_view(desired)
}

fn is_paired(epoch: Epoch, row: Option<&LedgerRow>, existing: &Observed<Table>) -> bool {
    let paired = row
        .and_then(|row| row.pairing.as_ref())
        .is_some_and(|pairing| pairing.is_of_object(epoch.standby(), existing.created));
    match existing.is_link() {
        true => link::is_managed_link(epoch, row, existing),
        false => paired,
    }
}

/// Returns the reason why a view cannot be updated if the primary dropped one of its dialects:
/// `UpdateTable` adds and replaces dialects, and removes none.
fn extra_view_dialect(existing: &Table, desired: &Table) -> Option<String> {
    let dialects = |table: &Table| -> BTreeSet<String> {
        let views = table.view_definition.iter();
        let all = views.flat_map(|view| &view.representations);
        all.filter_map(|representation| representation.dialect.clone())
            .collect()
    };
    let dropped = dialects(existing)
        .difference(&dialects(desired))
        .next()
        .cloned()?;
    Some(format!(
        "the primary's view dropped the dialect {dropped}; drop it in the standby manually"
    ))
}

/// Returns the reason why a view of the standby cannot be compared.
fn hidden_view(existing: &Table, desired: &Table) -> Option<String> {
    let is_hidden = desired.has_derived_storage() && existing.view_obstacle().is_some();
    is_hidden.then(|| {
        "Glue does not show the SQL of the view in the standby, so it is not compared: its \
         validation is under way, or it failed; GetTable with IncludeStatusDetails shows which"
            .to_owned()
    })
}

fn check_managed(
    epoch: Epoch,
    row: Option<&LedgerRow>,
    existing: &Observed<Table>,
    desired: &Table,
) -> Result<(), String> {
    let current = comparable(&existing.object, desired);
    let intended = row.is_some_and(|row| row.intends(&digest(&current)));
    if is_paired(epoch, row, existing) || intended || current == *desired {
        return Ok(());
    }
    let fields: Vec<String> = differences(&current, desired)
        .into_iter()
        .map(|change| change.field)
        .collect();
    Err(format!(
        "the standby has another table under this name, which Twinlake did not make; \
         it differs in {}",
        fields.join(", ")
    ))
}

fn plan_absent_in_primary(
    builder: &mut PlanBuilder<'_>,
    id: &TableId,
    subject: &Subject,
    proof: &AbsenceProof,
    existing: &Observed<Table>,
) {
    if !is_paired(
        builder.inputs.epoch,
        builder.inputs.rows.get(subject),
        existing,
    ) {
        narrow(builder, id, Some(existing), grants::plan_own_revokes);
        return;
    }
    if let Some((kind, why)) = unproven_deletion(builder.inputs.primary, proof) {
        let reason =
            format!("it was not found in the primary, and its deletion is not proven: {why}");
        builder.mark_not_in_sync(subject, SubjectState::OutOfSync, kind, reason);
        grants::plan_own_revokes(builder, subject);
    } else if builder.inputs.policy.deletions == DeletionPolicy::Retain {
        let reason = "it was deleted in the primary, and the policy retains it".to_owned();
        builder.mark_not_in_sync(subject, SubjectState::OnHold, FindingKind::OnHold, reason);
        grants::plan_named_revokes_only(builder, subject);
    } else {
        plan_deletion(builder, id, subject);
    }
}

fn plan_deletion(builder: &mut PlanBuilder<'_>, id: &TableId, subject: &Subject) {
    // Grants may outlive their table, and would apply to a new table of the same name.
    if !grants::revoke_all(builder, subject) {
        return;
    }
    builder.steps.push(Step::DeleteTable { id: id.clone() });
    let outcome = builder.outcome_with_pairing(subject, SubjectState::OutOfSync, None);
    builder.subject_outcomes.insert(subject.clone(), outcome);
}
