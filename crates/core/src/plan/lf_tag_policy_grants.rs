//! Plans grants by LF-Tag policies. They apply to every resource that has the LF-Tags.

use super::{FindingKind, PlanBuilder, grants};
use crate::catalog::{Attachment, AttachmentKey, digest};
use crate::grant::{Grants, LfTagExpression, LfTagPolicy, LfTagPolicyTarget, PermissionGrant};
use crate::ledger::SubjectState;
use crate::name::dotted;
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

/// Returns the outcome of the subject if a grant by an LF-Tag policy has to wait: it must give no
/// access in the standby that the same grant does not give in the primary.
pub(super) fn opens_more_than_primary(
    builder: &PlanBuilder<'_>,
    target: LfTagPolicyTarget,
    policy: &LfTagPolicy,
) -> Option<(SubjectState, FindingKind, String)> {
    let inputs = builder.inputs;
    let not_in_sync = |reason: &str| {
        Some((
            SubjectState::OutOfSync,
            FindingKind::Unreadable,
            reason.to_owned(),
        ))
    };
    if let LfTagPolicy::NamedExpression(name) = policy {
        let key = AttachmentKey::NamedExpression(name.clone());
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
        let puts = |step: &Step| matches!(step, Step::PutAttachment { attachment, .. } if attachment.key() == key);
        if in_primary.is_none() {
            let reason = format!("the primary has no LF-Tag expression {name}");
            return Some((SubjectState::OnHold, FindingKind::OnHold, reason));
        }
        if in_primary != in_standby && !builder.steps.iter().any(puts) {
            return not_in_sync("its LF-Tag expression does not equal the primary's yet");
        }
    }
    let search = (target, policy.clone());
    let [in_primary, in_standby] = [inputs.primary, inputs.standby].map(|snapshot| {
        let found = snapshot.lf_tagged_resources.get(&search);
        found.and_then(Observation::present)
    });
    let (Some(in_primary), Some(in_standby)) = (in_primary, in_standby) else {
        return not_in_sync("the resources that it applies to were not read");
    };
    let expression = match policy {
        LfTagPolicy::Expression(expression) => Some(expression),
        LfTagPolicy::NamedExpression(name) => named_expression(inputs.primary, name),
    };
    let Some(expression) = expression else {
        return not_in_sync("its LF-Tag expression was not read");
    };
    let columns = tagged_columns(&[in_primary, in_standby]);
    let in_primary = matching_resources(in_primary, expression, &columns);
    let in_standby = matching_resources(in_standby, expression, &columns);
    let extra = in_standby.difference(&in_primary).next()?;
    let reason =
        format!("it would give access to {extra} in the standby, and does not in the primary");
    Some((SubjectState::OutOfSync, FindingKind::Unreadable, reason))
}

/// The columns with LF-Tags of their own in either Region, by table. In the other Region they may
/// only inherit those of the table.
fn tagged_columns(found: &[&Vec<LfTaggedResource>]) -> BTreeMap<String, BTreeSet<String>> {
    let mut columns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for resource in found.iter().copied().flatten() {
        if let Some(table) = &resource.table {
            let of_table = columns.entry(dotted([resource.database.as_str(), table.as_str()]));
            of_table
                .or_default()
                .extend(resource.on_columns.keys().cloned());
        }
    }
    columns
}

/// Returns the databases, tables and columns of a search result whose LF-Tags satisfy an
/// expression.
fn matching_resources(
    found: &[LfTaggedResource],
    expression: &LfTagExpression,
    columns: &BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<String> {
    let mut matching = BTreeSet::new();
    for resource in found {
        let mut tags = resource.on_database.clone();
        let Some(table) = &resource.table else {
            if satisfies(expression, &tags) {
                matching.insert(resource.database.clone());
            }
            continue;
        };
        tags.extend(resource.on_table.clone());
        let table = dotted([resource.database.as_str(), table.as_str()]);
        if satisfies(expression, &tags) {
            matching.insert(table.clone());
        }
        for column in columns.get(&table).into_iter().flatten() {
            let mut tags = tags.clone();
            tags.extend(resource.on_columns.get(column).cloned().unwrap_or_default());
            if satisfies(expression, &tags) {
                matching.insert(format!("{table}.{column}"));
            }
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
        return Some("the grants by LF-Tag policies were not read".to_owned());
    };
    let ignored = grants::ignored(builder).unwrap_or_default();
    let affected = in_standby
        .iter()
        .filter(|(grant, _)| !ignored.contains(&grant.principal))
        .filter(|(grant, _)| policy_of(grant).is_some_and(|(_, policy)| is_affected(policy)));
    for (grant, grantable) in affected {
        match in_primary.get(grant) {
            Some(primary_grantable) => {
                suspend(builder, grant.clone(), *grantable && *primary_grantable);
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
    let is_planned =
        |step: &Step| matches!(step, Step::Revoke { grant: other, .. } if other == grant);
    if builder.steps.iter().any(is_planned) {
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

/// Revokes a grant by an LF-Tag policy and grants it again later in the plan.
pub(super) fn suspend(builder: &mut PlanBuilder<'_>, grant: PermissionGrant, grantable: bool) {
    let is_planned =
        |step: &Step| matches!(step, Step::Revoke { grant: other, .. } if *other == grant);
    if builder.steps.iter().any(is_planned) {
        return;
    }
    let grants_it =
        |step: &Step| matches!(step, Step::Grant { grant: other, .. } if *other == grant);
    if !builder.steps.iter().any(grants_it) {
        builder.steps.push(Step::Grant {
            grant: grant.clone(),
            grantable,
        });
    }
    builder.steps.push(Step::Revoke {
        grant,
        grantable,
        cause: RevokeCause::Replace,
    });
}
