//! Grants of the standby that the primary lacks and that decide who sees what a table shows.

use super::PlanBuilder;
use super::administrators::{Ignored, ignored};
use super::lakeformation::{are_items_read, is_managed_resource};
use super::lf_tag_policy_grants::{
    named_expression, policy_grants, policy_of, revoke_extra, satisfies,
};
use crate::catalog::Attachment;
use crate::grant::{Grants, LfTagPolicy, LfTagPolicyTarget, PermissionGrant, Resource};
use crate::name::TableId;
use crate::scope::{Facet, Subject, subject_of_grant};
use crate::snapshot::{LfTags, Observation, Snapshot};
use std::collections::BTreeMap;

/// Returns the reason why a table of the standby must not show other data: the standby has a grant
/// on all tables or by an LF-Tag policy that covers the table, the primary lacks it, and this plan
/// does not revoke it. Judges the grants that were read; the grants on the table itself are planned
/// with it.
pub(super) fn obstacle(builder: &mut PlanBuilder<'_>, id: &TableId) -> Option<String> {
    // Which other grants cover a new table is decided with its LF-Tags.
    let exists = builder.inputs.standby.tables.get(id)?.present().is_some();
    if !exists {
        return extra_database_grant(builder, &id.database);
    }
    let extra = extra_grants(builder, id);
    for (grant, grantable) in &extra {
        if builder.revokes(grant) {
            continue;
        }
        let obstacle = match policy_of(grant) {
            Some(_) if !are_items_read(builder) => Some(format!(
                "the LF-Tags were not read, which say whose {grant} is"
            )),
            Some(_) if is_managed_resource(builder, &grant.resource) => {
                revoke_extra(builder, grant, *grantable)
            }
            // A grant by LF-Tags of somebody else stays.
            Some(_) if !are_lf_tags_read(builder, id) => Some(format!(
                "the LF-Tags that decide whether {grant} covers it were not read"
            )),
            Some(_) => Some(waits_for(grant)),
            None => {
                ask_for_grants(builder, Subject::Database(id.database.clone()));
                Some(waits_for(grant))
            }
        };
        if obstacle.is_some() {
            return obstacle;
        }
    }
    None
}

/// Returns the reason why a database must not get a table, or a grant on all of them: the standby has a grant
/// on the database that the primary lacks. The plan asks for the grants of the database, and then revokes it.
pub(super) fn extra_database_grant(
    builder: &mut PlanBuilder<'_>,
    database: &crate::Name,
) -> Option<String> {
    let inputs = builder.inputs;
    let subject = Subject::Database(database.clone());
    let [in_primary, in_standby] = [inputs.primary, inputs.standby]
        .map(|snapshot| snapshot.grants.get(&subject).and_then(Observation::present));
    let ignored = ignored(builder).unwrap_or(Ignored::own_roles_only(inputs.own_roles));
    let is_extra = |grant: &PermissionGrant, grantable: bool| {
        let allowed = in_primary.and_then(|grants| grants.get(grant));
        !allowed.is_some_and(|allowed| *allowed || !grantable)
            && !ignored.contains(grant)
            && !builder.revokes(grant)
    };
    let read = in_standby.into_iter().flatten();
    let read = read.map(|(grant, grantable)| (grant, *grantable));
    let of_iam = inputs.standby.extra_iam_grants.iter().flatten();
    let of_iam = of_iam.filter(|grant| subject_of_grant(grant) == subject);
    let mut all = read.chain(of_iam.map(|grant| (grant, false)));
    let extra = all.find(|(grant, grantable)| is_extra(grant, *grantable));
    let reason = extra.map(|(grant, _)| waits_for(grant));
    if reason.is_some() {
        ask_for_grants(builder, subject);
    }
    reason
}

/// Asks for the grants on a subject, and for the definition without which they are not planned.
fn ask_for_grants(builder: &mut PlanBuilder<'_>, subject: Subject) {
    builder.read_or_ask(&subject, Facet::Definition);
    builder.ask(subject, Facet::Grants);
}

fn waits_for(grant: &PermissionGrant) -> String {
    format!("it waits until {grant} is revoked in the standby")
}

/// Whether the LF-Tags of a table and of its database were read; else the plan asks for them.
fn are_lf_tags_read(builder: &mut PlanBuilder<'_>, id: &TableId) -> bool {
    let owners = [
        Subject::Table(id.clone()),
        Subject::Database(id.database.clone()),
    ];
    let read = owners.map(|owner| builder.read_or_ask(&owner, Facet::LfTagAssignments));
    read == [true, true]
}

/// The extra grants that cover a table, with their grant option.
fn extra_grants(builder: &PlanBuilder<'_>, id: &TableId) -> Grants {
    let inputs = builder.inputs;
    let ignored = ignored(builder).unwrap_or(Ignored::own_roles_only(inputs.own_roles));
    let [in_primary, in_standby] = [inputs.primary, inputs.standby].map(|s| grants_near(s, id));
    let mut extra = Grants::new();
    let of_iam = inputs.standby.extra_iam_grants.iter().flatten();
    let of_iam: Grants = of_iam.map(|grant| (grant.clone(), false)).collect();
    let in_standby = in_standby.into_iter().chain([&of_iam]);
    for (grant, grantable) in in_standby.flatten() {
        let allowed = in_primary.iter().find_map(|grants| grants.get(grant));
        let is_allowed = allowed.is_some_and(|allowed| *allowed || !grantable);
        if !is_allowed && !ignored.contains(grant) && covers(inputs.standby, &grant.resource, id) {
            extra.insert(grant.clone(), *grantable);
        }
    }
    extra
}

/// The grants of a Region that may cover a table, as far as they were read.
fn grants_near<'r>(snapshot: &'r Snapshot, id: &TableId) -> Vec<&'r Grants> {
    let database = snapshot.grants.get(&Subject::Database(id.database.clone()));
    let on_all = snapshot.all_tables_grants.get(&id.database);
    let read = [database, on_all].into_iter().flatten();
    let read = read.filter_map(Observation::present);
    read.chain(policy_grants(snapshot)).collect()
}

fn covers(standby: &Snapshot, resource: &Resource, id: &TableId) -> bool {
    match resource {
        Resource::AllTables(database) => *database == id.database,
        Resource::LfTagPolicy { target, policy } => {
            *target == LfTagPolicyTarget::Table && may_match(standby, policy, id)
        }
        Resource::Database(_)
        | Resource::Table(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::DataCellsFilter(..)
        | Resource::Catalog
        | Resource::DataLocation(_)
        | Resource::LfTag { .. }
        | Resource::LfTagExpression(_) => false,
    }
}

/// Whether the LF-Tags of a table or of one of its columns satisfy a policy, or may.
fn may_match(standby: &Snapshot, policy: &LfTagPolicy, id: &TableId) -> bool {
    let expression = match policy {
        LfTagPolicy::Expression(expression) => Some(expression),
        LfTagPolicy::NamedExpression(name) => named_expression(standby, name),
    };
    let database = lf_tags_by_column(standby, Subject::Database(id.database.clone()));
    let table = lf_tags_by_column(standby, Subject::Table(id.clone()));
    let (Some(expression), Some(database), Some(table)) = (expression, database, table) else {
        return true;
    };
    let mut inherited = database.get(&None).cloned().unwrap_or_default();
    inherited.extend(table.get(&None).cloned().unwrap_or_default());
    let of_columns = table.into_values().map(|own| {
        let mut tags = inherited.clone();
        tags.extend(own);
        tags
    });
    let mut all = of_columns.chain([inherited.clone()]);
    all.any(|tags| satisfies(expression, &tags))
}

/// The assigned LF-Tags of a subject (`None`) and of its columns, if they were read.
fn lf_tags_by_column(
    standby: &Snapshot,
    subject: Subject,
) -> Option<BTreeMap<Option<String>, LfTags>> {
    let read = standby.attachments.get(&(subject, Facet::LfTagAssignments));
    let mut by_column: BTreeMap<Option<String>, LfTags> = BTreeMap::new();
    for observed in read.and_then(Observation::present)?.values() {
        if let Attachment::LfTagAssignment { column, key, value } = &observed.attachment {
            let column = column.as_ref().map(|column| column.as_str().to_owned());
            let tags = by_column.entry(column).or_default();
            tags.insert(key.clone(), value.clone());
        }
    }
    Some(by_column)
}
