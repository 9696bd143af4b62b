//! Plans grants by LF-Tag policies. They apply to every resource that has the LF-Tags.

use super::column_visibility::PlannedTables;
use super::columns::root_column;
use super::obstacle::Obstacle;
use super::{FindingKind, PlanBuilder, administrators};
use crate::catalog::{Attachment, AttachmentKey, digest};
use crate::grant::{Grants, LfTagExpression, LfTagPolicy, LfTagPolicyTarget, PermissionGrant};
use crate::ledger::SubjectState;
use crate::name::{Name, TableId};
use crate::render::one_or_many;
use crate::scope::{Facet, LfSubject, Subject};
use crate::snapshot::{LfTaggedResource, LfTags, Observation, Snapshot};
use crate::step::{RevokeCause, Step};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the grants by LF-Tag policies of a Region, if they were read.
pub(super) fn policy_grants(snapshot: &Snapshot) -> Option<&Grants> {
    let permissions = snapshot
        .grants
        .get(&Subject::LakeFormation(LfSubject::Permissions));
    let all = permissions.and_then(Observation::present);
    let by_policies = snapshot
        .lf_tag_policy_grants
        .as_ref()
        .and_then(Observation::present);
    all.or_else(|| by_policies.map(|tags| &tags.grants))
}

/// Whether a set of LF-Tags satisfies an expression.
pub(super) fn satisfies(expression: &LfTagExpression, tags: &LfTags) -> bool {
    expression.iter().all(|(key, values)| {
        let value = tags.get(key);
        value.is_some_and(|value| values.contains(value) || values.contains("*"))
    })
}

/// Returns a named LF-Tag expression of a Region, if it was read.
pub(super) fn named_expression<'r>(
    snapshot: &'r Snapshot,
    name: &str,
) -> Option<&'r LfTagExpression> {
    let facet_key = (
        Subject::LakeFormation(LfSubject::LfTagExpressions),
        Facet::Items,
    );
    let listed = snapshot
        .attachments
        .get(&facet_key)
        .and_then(Observation::present);
    let listed = listed.and_then(|all| all.get(&AttachmentKey::NamedExpression(name.to_owned())));
    if let Some(Attachment::NamedExpression(named)) = listed.map(|observed| &observed.attachment) {
        return Some(&named.expression);
    }
    let tags = snapshot
        .lf_tag_policy_grants
        .as_ref()
        .and_then(Observation::present)?;
    tags.expressions.get(name)
}

/// Plans the grants by LF-Tag policies that are missing, or whose named expression changes, once the
/// tables have been planned. A grant waits while it would give access in the standby that it does
/// not give in the primary.
pub(super) fn plan(builder: &mut PlanBuilder<'_>) {
    let planned = PlannedTables::of(builder);
    for (grant, grantable) in std::mem::take(&mut builder.lf_tag_policy_grants) {
        let obstacle = match covers_the_same(builder, &grant) {
            true => None,
            false => opens_more_than_primary(builder, &planned, &grant),
        };
        match obstacle {
            None if builder.makes(&grant) => {}
            None => builder.steps.push(Step::Grant { grant, grantable }),
            Some(obstacle) => hold_grant(builder, &grant, obstacle),
        }
    }
}

/// The grant by an LF-Tag policy that a step makes.
pub(super) fn made_policy_grant(step: &Step) -> Option<PermissionGrant> {
    if let Step::Grant { grant, .. } = step
        && policy_of(grant).is_some()
    {
        return Some(grant.clone());
    }
    None
}

/// Holds the new grants that would give extra access after the steps that are planned now. Returns whether
/// there is one.
pub(super) fn hold_unsafe_grants(builder: &mut PlanBuilder<'_>) -> bool {
    let planned = PlannedTables::of(builder);
    let made = builder.steps.iter().filter_map(made_policy_grant);
    let new: Vec<PermissionGrant> = made.filter(|grant| !is_held(builder, grant)).collect();
    let mut is_any = false;
    for grant in new {
        if let Some(obstacle) = opens_more_than_primary(builder, &planned, &grant) {
            hold_grant(builder, &grant, obstacle);
            is_any = true;
        }
    }
    is_any
}

/// Whether the standby has a grant, and the plan does not change the expression that it is by: it only
/// loses its grant option.
fn covers_the_same(builder: &PlanBuilder<'_>, grant: &PermissionGrant) -> bool {
    let changes = match policy_of(grant) {
        Some((_, LfTagPolicy::NamedExpression(name))) => builder.puts_expression(name),
        Some((_, LfTagPolicy::Expression(_))) | None => false,
    };
    is_held(builder, grant) && !changes
}

fn is_held(builder: &PlanBuilder<'_>, grant: &PermissionGrant) -> bool {
    policy_grants(builder.inputs.standby).is_some_and(|held| held.contains_key(grant))
}

/// Records that a grant waits. If it was to be revoked and granted again, it is revoked only.
pub(super) fn hold_grant(
    builder: &mut PlanBuilder<'_>,
    held: &PermissionGrant,
    obstacle: Obstacle,
) {
    builder
        .steps
        .retain(|step| !matches!(step, Step::Grant { grant, .. } if grant == held));
    for step in &mut builder.steps {
        if let Step::Revoke { grant, cause, .. } = step
            && grant == held
            && *cause == RevokeCause::Replace
        {
            *cause = RevokeCause::ExpressionChanged;
        }
    }
    let subject = Subject::LakeFormation(LfSubject::Permissions);
    let reason = format!("{held} waits: {}", obstacle.reason);
    Obstacle { reason, ..obstacle }.record(builder, &subject, Facet::Grants);
}

/// Returns the outcome of the subject if a grant by an LF-Tag policy has to wait: it must give no
/// access in the standby that the same grant does not give in the primary.
fn opens_more_than_primary(
    builder: &mut PlanBuilder<'_>,
    planned: &PlannedTables,
    grant: &PermissionGrant,
) -> Option<Obstacle> {
    let (target, policy) = policy_of(grant)?;
    let inputs = builder.inputs;
    if let LfTagPolicy::NamedExpression(name) = policy
        && let Some(obstacle) = expression_obstacle(builder, name)
    {
        return Some(obstacle);
    }
    let search = (target, policy.clone());
    let [in_primary, in_standby] = [inputs.primary, inputs.standby].map(|snapshot| {
        let found = snapshot.lf_tagged_resources.get(&search);
        found.and_then(Observation::present)
    });
    let (Some(in_primary), Some(in_standby)) = (in_primary, in_standby) else {
        // What was found is forgotten after each change; it is searched with the grants.
        let permissions = Subject::LakeFormation(LfSubject::Permissions);
        builder.ask(permissions, Facet::Grants);
        return Some(Obstacle::until_read(
            "the resources that it applies to were not read",
        ));
    };
    let expression = match policy {
        LfTagPolicy::Expression(expression) => Some(expression),
        LfTagPolicy::NamedExpression(name) => named_expression(inputs.primary, name),
    };
    let Some(expression) = expression else {
        let expressions = Subject::LakeFormation(LfSubject::LfTagExpressions);
        builder.ask(expressions, Facet::Items);
        return Some(Obstacle::until_read("its LF-Tag expression was not read"));
    };
    let before = match policy {
        LfTagPolicy::NamedExpression(name) if is_held(builder, grant) => {
            named_expression(inputs.standby, name)
        }
        LfTagPolicy::NamedExpression(_) | LfTagPolicy::Expression(_) => None,
    };
    let by_name = in_primary.iter();
    let by_name = by_name.map(|one| ((one.database.as_str(), one.table.as_deref()), one));
    let coverage = Coverage {
        planned,
        expression,
        before,
        in_primary: by_name.collect(),
    };
    let mut unread = 0;
    for resource in in_standby {
        match extra_resource(builder, &coverage, resource) {
            Extra::Nothing => {}
            Extra::Unread => unread += 1,
            Extra::Found(obstacle) => return Some(obstacle),
        }
    }
    let were = one_or_many(unread, "was", "were");
    (unread > 0).then(|| Obstacle::until_read(format!("{unread} of its tables {were} not read")))
}

/// Returns the outcome of the subject if a named LF-Tag expression of the standby does not equal the
/// primary's, and no step makes it equal.
fn expression_obstacle(builder: &PlanBuilder<'_>, name: &str) -> Option<Obstacle> {
    let inputs = builder.inputs;
    let key = AttachmentKey::NamedExpression(name.to_owned());
    let facet_key = (
        Subject::LakeFormation(LfSubject::LfTagExpressions),
        Facet::Items,
    );
    let [in_primary, in_standby] = [inputs.primary, inputs.standby].map(|snapshot| {
        let all = snapshot
            .attachments
            .get(&facet_key)
            .and_then(Observation::present)?;
        all.get(&key).map(|observed| digest(&observed.attachment))
    });
    if in_primary.is_none() {
        return Some(Obstacle {
            state: SubjectState::OnHold,
            kind: FindingKind::OnHold,
            reason: format!("the primary has no LF-Tag expression {name}"),
        });
    }
    let differs = in_primary != in_standby && !builder.puts_expression(name);
    differs.then(|| Obstacle::until_read("its LF-Tag expression does not equal the primary's yet"))
}

/// What an LF-Tag expression matches in the standby and not in the primary.
enum Extra {
    Nothing,
    /// What the decision needs was not read.
    Unread,
    Found(Obstacle),
}

/// What decides on the access by a grant.
struct Coverage<'a> {
    planned: &'a PlannedTables,
    /// The LF-Tag expression after the plan.
    expression: &'a LfTagExpression,
    /// The LF-Tag expression of the standby before the plan, if the grant was there.
    before: Option<&'a LfTagExpression>,
    /// What the LF-Tag expression matches in the primary, by database and table.
    in_primary: BTreeMap<(&'a str, Option<&'a str>), &'a LfTaggedResource>,
}

/// Compares what an LF-Tag expression matches of one database or table of the standby with the
/// primary. A column without LF-Tags of its own inherits those of its table, so all columns of both
/// Regions are compared.
fn extra_resource(
    builder: &mut PlanBuilder<'_>,
    coverage: &Coverage<'_>,
    found: &LfTaggedResource,
) -> Extra {
    let Coverage {
        planned,
        expression,
        before,
        in_primary,
    } = coverage;
    let counterpart = in_primary.get(&(found.database.as_str(), found.table.as_deref()));
    let database = Name::from_service(&found.database);
    let subject = match &found.table {
        None => Subject::Database(database),
        Some(table) => Subject::Table(TableId::new(database, Name::from_service(table))),
    };
    let mut columns = (BTreeSet::new(), BTreeSet::new());
    if let Subject::Table(id) = &subject {
        if planned.deleted.contains(id) {
            return Extra::Nothing;
        }
        let is_read = builder.read_or_ask(&subject, Facet::Definition);
        let Some(read) = planned.columns(builder, id).filter(|_| is_read) else {
            return Extra::Unread;
        };
        columns = (read.in_standby, read.in_primary);
    }
    let in_standby = matching_resources(found, expression, &columns.0);
    let allowed = counterpart.map(|other| matching_resources(other, expression, &columns.1));
    let mut allowed = allowed.unwrap_or_default();
    if let Some(before) = before {
        allowed.extend(matching_resources(found, before, &columns.0));
    }
    let Some(extra) = in_standby.difference(&allowed).next() else {
        return Extra::Nothing;
    };
    if !builder.read_or_ask(&subject, Facet::Definition) {
        return Extra::Unread;
    }
    let primary = builder.inputs.primary;
    let is_final = match &subject {
        Subject::Table(id) if !builder.inputs.policy.covers_table(id) => true,
        Subject::Table(id) => match (extra, primary.tables.get(id)) {
            (_, Some(Observation::Absent(_))) => true,
            (Some(column), _) => !columns.1.contains(column),
            (None, _) => false,
        },
        Subject::Database(name) => {
            matches!(primary.databases.get(name), Some(Observation::Absent(_)))
        }
        Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => false,
    };
    let column = extra.as_ref().map(|column| format!("column {column} of "));
    let column = column.unwrap_or_default();
    let reason = format!(
        "it would give access to {column}{subject} in the standby, and does not in the primary"
    );
    match is_final {
        true => Extra::Found(Obstacle::unmanaged(reason)),
        false => Extra::Found(Obstacle::until_read(reason)),
    }
}

/// Returns what of a search result has LF-Tags that satisfy an expression: the database or table
/// itself (`None`), and its columns in lower case.
fn matching_resources(
    found: &LfTaggedResource,
    expression: &LfTagExpression,
    columns: &BTreeSet<String>,
) -> BTreeSet<Option<String>> {
    let mut tags = found.on_database.clone();
    tags.extend(found.on_table.clone());
    let mut matching = BTreeSet::new();
    if satisfies(expression, &tags) {
        matching.insert(None);
    }
    let own_tags: BTreeMap<String, &LfTags> = found
        .on_columns
        .iter()
        .map(|(column, tags)| (column.to_lowercase(), tags))
        .collect();
    for column in columns {
        let mut tags = tags.clone();
        let own_tags = own_tags.get(root_column(column)).copied();
        tags.extend(own_tags.cloned().unwrap_or_default());
        if satisfies(expression, &tags) {
            matching.insert(Some(column.clone()));
        }
    }
    matching
}

/// Revokes the grants by the affected policies: those that the primary has are granted again at
/// the end of the plan, the others are revoked permanently. Returns the reason why the change of
/// the policy has to wait, if a revoke is not proven.
pub(super) fn suspend_grants(
    builder: &mut PlanBuilder<'_>,
    is_affected: &dyn Fn(&LfTagPolicy) -> bool,
) -> Option<String> {
    let [in_primary, in_standby] =
        [builder.inputs.primary, builder.inputs.standby].map(policy_grants);
    let (Some(in_primary), Some(in_standby)) = (in_primary, in_standby) else {
        builder.ask(
            Subject::LakeFormation(LfSubject::Permissions),
            Facet::Grants,
        );
        return Some("the grants by LF-Tag policies were not read".to_owned());
    };
    let ignored = administrators::ignored(builder).unwrap_or_default();
    let affected = in_standby
        .iter()
        .filter(|(grant, _)| !ignored.contains(grant))
        .filter(|(grant, _)| policy_of(grant).is_some_and(|(_, policy)| is_affected(policy)));
    for (grant, grantable) in affected {
        match in_primary.get(grant) {
            // What the changed expression covers decides whether it is granted again.
            Some(primary_grantable) => {
                let kept = *grantable && *primary_grantable;
                builder.lf_tag_policy_grants.push((grant.clone(), kept));
                push_revoke(builder, grant.clone(), *grantable);
            }
            None => {
                if let Some(reason) = revoke_extra(builder, grant, *grantable) {
                    return Some(reason);
                }
            }
        }
    }
    None
}

/// Revokes a grant that the primary lacks. Returns the reason why that has to wait, if the absence
/// is not proven.
pub(super) fn revoke_extra(
    builder: &mut PlanBuilder<'_>,
    grant: &PermissionGrant,
    grantable: bool,
) -> Option<String> {
    if builder.revokes(grant) {
        return None;
    }
    let primary = builder.inputs.primary;
    if !has_full_grant_read(primary) || !primary.is_administrator {
        builder.needs_full_grant_read += 1;
        return Some(format!("it waits until {grant} is revoked in the standby"));
    }
    builder.steps.push(Step::Revoke {
        grant: grant.clone(),
        grantable,
        cause: RevokeCause::NotInPrimary,
    });
    None
}

fn has_full_grant_read(snapshot: &Snapshot) -> bool {
    let tags = snapshot
        .lf_tag_policy_grants
        .as_ref()
        .and_then(Observation::present);
    let permissions = Subject::LakeFormation(LfSubject::Permissions);
    tags.is_some_and(|tags| tags.from_full_read)
        || snapshot.nonempty_full_grant_reads.contains(&permissions)
}

/// Returns the LF-Tag policy of a grant, if it is by one.
pub(super) fn policy_of(grant: &PermissionGrant) -> Option<(LfTagPolicyTarget, &LfTagPolicy)> {
    if let crate::Resource::LfTagPolicy { target, policy } = &grant.resource {
        return Some((*target, policy));
    }
    None
}

/// Revokes a grant by an LF-Tag policy and grants it again later in the plan, with the grant option if
/// that is kept.
pub(super) fn suspend(
    builder: &mut PlanBuilder<'_>,
    grant: &PermissionGrant,
    grantable: bool,
    keeps_grant_option: bool,
) {
    if !builder.makes(grant) && !builder.revokes(grant) {
        builder.steps.push(Step::Grant {
            grant: grant.clone(),
            grantable: keeps_grant_option,
        });
    }
    push_revoke(builder, grant.clone(), grantable);
}

fn push_revoke(builder: &mut PlanBuilder<'_>, grant: PermissionGrant, grantable: bool) {
    if !builder.revokes(&grant) {
        builder.steps.push(Step::Revoke {
            grant,
            grantable,
            cause: RevokeCause::Replace,
        });
    }
}
