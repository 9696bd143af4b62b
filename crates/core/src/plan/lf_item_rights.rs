//! Grants on LF-Tags and on LF-Tag expressions. They are rights to assign the values and to grant by
//! them, so a value or an expression that the primary lacks widens them as a table widens a grant on
//! all tables.

use super::PlanBuilder;
use super::administrators::ignored;
use super::lf_tag_policy_grants::named_expression;
use super::obstacle::Obstacle;
use crate::catalog::AttachmentKey;
use crate::grant::{Grants, Resource};
use crate::ledger::managed_item_key;
use crate::scope::{Facet, LfSubject, Subject, subject_of_grant};
use crate::snapshot::{Attachments, Observation, Snapshot};
use crate::step::Step;

/// Whether a grant on the resource gives rights on a value of an LF-Tag.
pub(super) fn is_on_value(resource: &Resource, tag: &str, tag_value: &str) -> bool {
    matches!(resource, Resource::LfTag { key, value } if key == tag && (value == "*" || value == tag_value))
}

/// Whether a grant on the resource gives rights on an LF-Tag expression.
pub(super) fn is_on_expression(resource: &Resource, expression: &str) -> bool {
    matches!(resource, Resource::LfTagExpression(name) if name == expression)
}

/// Returns the reason why an LF-Tag value or an expression must not be written: the standby has a
/// grant on it that the primary lacks and that this plan does not revoke, or that is not known.
pub(super) fn obstacle(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    is_affected: &dyn Fn(&Resource) -> bool,
) -> Option<String> {
    let unread = || Some("the grants on it were not read".to_owned());
    if !is_planned(builder, subject, Facet::Grants) {
        return unread();
    }
    let inputs = builder.inputs;
    let [in_primary, in_standby] = [inputs.primary, inputs.standby].map(|snapshot| {
        let grants = snapshot.grants.get(subject);
        grants.and_then(Observation::present)
    });
    let (Some(in_primary), Some(in_standby)) = (in_primary, in_standby) else {
        return unread();
    };
    let affected = in_standby
        .iter()
        .filter(|(grant, _)| is_affected(&grant.resource));
    let affected: Grants = affected.map(|(grant, own)| (grant.clone(), *own)).collect();
    if affected.is_empty() {
        return None;
    }
    let ignored = ignored(builder).unwrap_or_default();
    let mut extra = affected.into_iter().filter(|(grant, grantable)| {
        let allowed = in_primary.get(grant);
        !allowed.is_some_and(|allowed| *allowed || !grantable) && !ignored.contains(grant)
    });
    let kept = extra.find(|(grant, _)| !builder.revokes(grant));
    kept.map(|(grant, _)| format!("it waits until {grant} is revoked in the standby"))
}

/// Whether this plan plans a facet of a subject. If not, the plan asks for it.
fn is_planned(builder: &mut PlanBuilder<'_>, subject: &Subject, facet: Facet) -> bool {
    let request = builder.inputs.scope.read_requests.get(subject);
    let is_planned = request.is_some_and(|request| request.facets.contains(&facet));
    if !is_planned {
        let needs = builder.needs.entry(subject.clone()).or_default();
        needs.insert(facet);
    }
    is_planned
}

/// Plans the missing grants, once the items have been planned. A grant on all values of an LF-Tag
/// waits while the standby has a value that the primary lacks, and a grant on an expression until it
/// equals the primary's.
pub(super) fn plan(builder: &mut PlanBuilder<'_>) {
    for (grant, grantable) in std::mem::take(&mut builder.lf_item_grants) {
        let Some(obstacle) = item_obstacle(builder, &grant.resource) else {
            builder.steps.push(Step::Grant { grant, grantable });
            continue;
        };
        let subject = subject_of_grant(&grant);
        let reason = format!("{grant} waits: {}", obstacle.reason);
        match builder.is_in_sync(&subject) {
            true => Obstacle { reason, ..obstacle }.record(builder, &subject, Facet::Grants),
            // The item itself waits, and its reason tells more.
            false => builder.add_finding(obstacle.kind, &subject, reason),
        }
        builder.add_problem_facet(&subject, Facet::Grants);
    }
}

fn item_obstacle(builder: &mut PlanBuilder<'_>, resource: &Resource) -> Option<Obstacle> {
    match resource {
        Resource::LfTag { key, value } if value == "*" => extra_value(builder, key),
        Resource::LfTagExpression(name) => other_expression(builder, name),
        Resource::LfTag { .. }
        | Resource::Database(_)
        | Resource::AllTables(_)
        | Resource::Table(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::DataCellsFilter(..)
        | Resource::Catalog
        | Resource::DataLocation(_)
        | Resource::LfTagPolicy { .. } => None,
    }
}

fn items(snapshot: &Snapshot, lf_subject: LfSubject) -> Option<&Attachments> {
    let facet_key = (Subject::LakeFormation(lf_subject), Facet::Items);
    snapshot.attachments.get(&facet_key)?.present()
}

fn is_managed(builder: &PlanBuilder<'_>, lf_subject: LfSubject, key: &AttachmentKey) -> bool {
    let row = builder.inputs.rows.get(&Subject::LakeFormation(lf_subject));
    row.is_some_and(|row| row.managed_keys.contains(&managed_item_key(key)))
}

/// A value of an LF-Tag that only the standby has.
fn extra_value(builder: &mut PlanBuilder<'_>, tag: &str) -> Option<Obstacle> {
    let inputs = builder.inputs;
    let [in_primary, in_standby] =
        [inputs.primary, inputs.standby].map(|snapshot| items(snapshot, LfSubject::LfTags));
    let (Some(in_primary), Some(in_standby)) = (in_primary, in_standby) else {
        builder.ask(Subject::LakeFormation(LfSubject::LfTags), Facet::Items);
        return Some(Obstacle::until_read("the LF-Tags were not read"));
    };
    let of_tag =
        |item: &&AttachmentKey| matches!(item, AttachmentKey::LfTagValue { key, .. } if key == tag);
    let extra: Vec<&AttachmentKey> = in_standby
        .keys()
        .filter(of_tag)
        .filter(|item| !in_primary.contains_key(*item))
        .collect();
    let foreign = extra
        .iter()
        .find(|item| !is_managed(builder, LfSubject::LfTags, item));
    let first = foreign.or(extra.first())?;
    let reason = format!("the standby has the {first}, which the primary lacks");
    match foreign {
        Some(_) => Some(Obstacle::unmanaged(reason)),
        None => Some(Obstacle::until_read(reason)),
    }
}

/// Whether the standby's expression differs from the primary's and no step makes it equal.
fn other_expression(builder: &mut PlanBuilder<'_>, name: &str) -> Option<Obstacle> {
    let inputs = builder.inputs;
    let wanted = named_expression(inputs.primary, name);
    let existing = named_expression(inputs.standby, name);
    let key = AttachmentKey::NamedExpression(name.to_owned());
    if wanted.is_some() && (wanted == existing || builder.puts_expression(name)) {
        return None;
    }
    let subject = Subject::LakeFormation(LfSubject::LfTagExpressions);
    let is_foreign = existing.is_some() && !is_managed(builder, LfSubject::LfTagExpressions, &key);
    if is_planned(builder, &subject, Facet::Items) && is_foreign {
        let reason = format!("the standby's {key} differs from the primary's");
        return Some(Obstacle::unmanaged(reason));
    }
    Some(Obstacle::until_read(format!(
        "the {key} does not equal the primary's yet"
    )))
}
