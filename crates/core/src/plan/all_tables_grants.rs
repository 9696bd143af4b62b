//! Plans grants on all tables of a database. They apply to every existing and future table.

use super::administrators::{Ignored, ignored};
use super::column_visibility::PlannedTables;
use super::{FindingKind, PlanBuilder, extra_access};
use crate::ledger::SubjectState;
use crate::scope::{Facet, Subject};
use crate::snapshot::Observation;
use crate::step::Step;

/// Plans the missing grants on all tables of a database, once its tables have been planned. A grant
/// waits while the standby has a table or column that the primary lacks, since it would give
/// access to it.
pub(super) fn plan(builder: &mut PlanBuilder<'_>) {
    for (database, grant, grantable) in std::mem::take(&mut builder.all_tables_grants) {
        match obstacle_to_all_tables_grant(builder, &database) {
            None => builder.steps.push(Step::Grant { grant, grantable }),
            Some(reason) => {
                let is_listed = [builder.inputs.primary, builder.inputs.standby]
                    .iter()
                    .all(|snapshot| snapshot.table_names.contains_key(&database));
                let subject = Subject::Database(database);
                let reason = format!("{grant} waits: {reason}");
                // If all tables are in scope, later reads will not change the result.
                let request = builder.inputs.scope.read_requests.get(&subject);
                let is_whole_database_asked_for = builder
                    .inputs
                    .scope
                    .read_requests
                    .contains_key(&Subject::Catalog)
                    || request.is_some_and(|request| request.facets.contains(&Facet::Contents));
                let (state, kind) = match is_whole_database_asked_for && is_listed {
                    true => (SubjectState::Blocked, FindingKind::Unmanaged),
                    false => (SubjectState::OutOfSync, FindingKind::Unreadable),
                };
                builder.plan_facet(&subject, Facet::Grants, |builder| {
                    builder.mark_not_in_sync(&subject, state, kind, reason);
                });
            }
        }
    }
}

/// Returns the reason why a grant on all tables of the database waits, if it has to.
pub(super) fn obstacle_to_all_tables_grant(
    builder: &mut PlanBuilder<'_>,
    database: &crate::Name,
) -> Option<String> {
    if let Some(reason) = extra_access::extra_database_grant(builder, database) {
        return Some(reason);
    }
    let creates = |step: &Step| matches!(step, Step::CreateDatabase { database: created } if created.name == *database);
    let inputs = builder.inputs;
    let Some(in_standby) = inputs.standby.table_names.get(database) else {
        if builder.steps.iter().any(creates) {
            return None;
        }
        builder.read_or_ask(&Subject::Database(database.clone()), Facet::Contents);
        return Some("the standby's tables were not listed".to_owned());
    };
    let Some(in_primary) = inputs.primary.table_names.get(database) else {
        builder.read_or_ask(&Subject::Database(database.clone()), Facet::Contents);
        return Some("the primary's tables were not listed".to_owned());
    };
    let is_deleted = |name: &crate::Name| {
        let of = |id: &crate::TableId| id.database == *database && id.table == *name;
        let deletes = |step: &Step| matches!(step, Step::DeleteTable { id } if of(id));
        builder.steps.iter().any(deletes)
    };
    let mut names = in_standby.iter();
    let extra = names.find(|name| !in_primary.contains(*name) && !is_deleted(name));
    let extra =
        extra.map(|name| format!("the standby has the table {name}, which the primary lacks"));
    extra.or_else(|| obstacle_of_extra_column(builder, database))
}

/// Returns the reason if a table of the standby keeps a column that the primary dropped, or if that is
/// not known.
fn obstacle_of_extra_column(
    builder: &mut PlanBuilder<'_>,
    database: &crate::Name,
) -> Option<String> {
    let names = builder.inputs.standby.table_names.get(database)?;
    let planned = PlannedTables::of(builder);
    let mut unread = 0;
    for name in names {
        let id = crate::TableId::new(database.clone(), name.clone());
        let subject = Subject::Table(id.clone());
        if planned.deleted.contains(&id) {
            continue;
        }
        let is_read = builder.read_or_ask(&subject, Facet::Definition);
        let Some(columns) = planned.columns(builder, &id).filter(|_| is_read) else {
            unread += 1;
            continue;
        };
        if let Some(column) = columns.only_in_standby() {
            return Some(format!(
                "{name} in the standby keeps the column {column}, which the primary dropped"
            ));
        }
    }
    (unread > 0).then(|| format!("the columns of {unread} of its tables were not read"))
}

/// Returns the reason why no table may be created or get columns in the database, if the standby
/// has a grant on all of its tables that the primary lacks: the grant would apply to them. If the
/// grants of the database itself are in scope, this plan revokes the grant first.
pub(super) fn obstacle_of_extra_grant(
    builder: &PlanBuilder<'_>,
    database: &crate::Name,
) -> Option<String> {
    let inputs = builder.inputs;
    let in_standby = match inputs.standby.all_tables_grants.get(database)? {
        Observation::Present(in_standby) => in_standby,
        Observation::Absent(_) | Observation::Unknown(_) => {
            return Some("the grants on all tables of its database were not read".to_owned());
        }
    };
    let in_primary = inputs.primary.all_tables_grants.get(database);
    let in_primary = in_primary.and_then(Observation::present);
    let ignored = ignored(builder).unwrap_or(Ignored::own_roles_only(inputs.own_roles));
    let extra_grant = in_standby.iter().find(|(grant, grantable)| {
        let allowed = in_primary.and_then(|in_primary| in_primary.get(*grant));
        !ignored.contains(grant) && !allowed.is_some_and(|allowed| *allowed || !**grantable)
    });
    extra_grant.map(|(grant, _)| format!("it waits until {grant} is revoked in the standby"))
}
