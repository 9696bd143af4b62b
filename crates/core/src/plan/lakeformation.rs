//! Plans what Lake Formation keeps for the catalog as a whole: LF-Tags, named LF-Tag expressions,
//! registered locations, settings, and the grants that are on no database.
//!
//! The policy pairs the two catalogs. Twinlake manages an item of the standby if it was paired
//! before (the ledger row has its short key) or equals the primary's. Other items, and the grants
//! on them, are not changed.

use super::absence::unproven_sight;
use super::{
    Facets, FindingKind, PlanBuilder, attachment, grants, lf_item_rights, lf_tag_policy_grants,
    settings,
};
use crate::catalog::{Attachment, AttachmentKey, digest};
use crate::grant::{LfTagPolicy, PermissionGrant, Resource};
use crate::ledger::{SubjectState, managed_item_key};
use crate::policy::DeletionPolicy;
use crate::scope::{Facet, LfSubject, Subject};
use crate::snapshot::{Attachments, Observation, Snapshot};
use crate::step::Step;
use std::collections::BTreeSet;

/// The maximum number of short keys that one ledger row keeps: more would not fit into an item of
/// the ledger. Items beyond it are never removed.
const MAX_MANAGED_KEYS: usize = 20_000;

pub(super) fn plan(builder: &mut PlanBuilder<'_>, subject_kind: LfSubject, facets: &Facets) {
    let subject = Subject::LakeFormation(subject_kind);
    let outcome = builder.outcome_with_pairing(&subject, SubjectState::InSync, None);
    builder.subject_outcomes.insert(subject.clone(), outcome);
    if subject_kind == LfSubject::Settings {
        return settings::plan(builder, &subject);
    }
    if facets.contains(&Facet::Grants) {
        builder.plan_facet(&subject, Facet::Grants, |builder| {
            grants::plan(builder, &subject);
        });
    }
    if facets.contains(&Facet::Items) {
        builder.plan_facet(&subject, Facet::Items, |builder| items(builder, &subject));
    }
    if facets.contains(&Facet::OptIns) {
        attachment::plan_all(builder, &subject);
    }
}

/// Whether a Region's LF-Tag expression of this name has the LF-Tag of this key, or was not read.
pub(super) fn expression_uses(snapshot: &Snapshot, name: &str, key: &str) -> bool {
    let facet_key = (
        Subject::LakeFormation(LfSubject::LfTagExpressions),
        Facet::Items,
    );
    let expressions = snapshot.attachments.get(&facet_key);
    let Some(expressions) = expressions.and_then(Observation::present) else {
        return true;
    };
    let saved = expressions.get(&AttachmentKey::NamedExpression(name.to_owned()));
    saved.is_some_and(|saved| {
        matches!(&saved.attachment, Attachment::NamedExpression(saved) if saved.expression.contains_key(key))
    })
}

/// Plans the items of one Lake Formation subject.
fn items(builder: &mut PlanBuilder<'_>, subject: &Subject) {
    let facet_key = (subject.clone(), Facet::Items);
    let (primary, standby) = (builder.inputs.primary, builder.inputs.standby);
    let (Some(in_primary), Some(in_standby)) = (
        primary.attachments.get(&facet_key),
        standby.attachments.get(&facet_key),
    ) else {
        return;
    };
    let (in_primary, in_standby) = match (in_primary, in_standby) {
        (Observation::Present(in_primary), Observation::Present(in_standby)) => {
            (in_primary, in_standby)
        }
        (Observation::Unknown(error), _) | (_, Observation::Unknown(error)) => {
            return builder.mark_unread(subject, error);
        }
        (Observation::Absent(_), _) | (_, Observation::Absent(_)) => return,
    };
    let row = builder.inputs.rows.get(subject);
    let managed = row.map(|row| row.managed_keys.clone()).unwrap_or_default();
    // What Twinlake made there stays managed: a later answer shows it.
    if let (Subject::LakeFormation(lf_subject), false) = (subject, managed.is_empty())
        && let Some(error) = standby.unsupported_items.get(lf_subject)
    {
        return builder.mark_unread(subject, error);
    }
    let mut managed_keys = BTreeSet::new();
    for (key, wanted) in in_primary {
        let is_new = |existing: Option<&crate::catalog::ObservedAttachment>| existing.is_none();
        let existing = in_standby.get(key);
        let same = existing
            .is_some_and(|existing| digest(&existing.attachment) == digest(&wanted.attachment));
        if !is_new(existing) && !same && !managed.contains(&managed_item_key(key)) {
            let reason = format!("the standby has another {key}, which Twinlake did not make");
            builder.mark_not_in_sync(
                subject,
                SubjectState::Blocked,
                FindingKind::Unmanaged,
                reason,
            );
            continue;
        }
        if managed_keys.len() < MAX_MANAGED_KEYS {
            managed_keys.insert(managed_item_key(key));
        }
        if !same {
            put(builder, subject, &wanted.attachment, existing.is_some());
        }
    }
    managed_keys.extend(removals(builder, subject, in_primary, in_standby, &managed));
    if let Some(outcome) = builder.subject_outcomes.get_mut(subject) {
        outcome.managed_keys = Some(managed_keys);
    }
}

fn put(builder: &mut PlanBuilder<'_>, subject: &Subject, attachment: &Attachment, replaces: bool) {
    let names_expression = |policy: &LfTagPolicy| matches!((policy, attachment), (LfTagPolicy::NamedExpression(name), Attachment::NamedExpression(saved)) if *name == saved.name);
    let obstacle = match attachment {
        Attachment::NamedExpression(saved) => lf_item_rights::obstacle(builder, subject, &|on| {
            lf_item_rights::is_on_expression(on, &saved.name)
        })
        .or_else(|| lf_tag_policy_grants::suspend_grants(builder, &names_expression)),
        Attachment::LfTagValue { key, value } => {
            lf_item_rights::obstacle(builder, subject, &|on| {
                lf_item_rights::is_on_value(on, key, value)
            })
        }
        Attachment::Index(_)
        | Attachment::Statistics(_)
        | Attachment::GlueTag { .. }
        | Attachment::DataCellsFilter(_)
        | Attachment::LfTagAssignment { .. }
        | Attachment::OptIn(_)
        | Attachment::Registration(_) => None,
    };
    if let Some(reason) = obstacle {
        builder.waiting_subjects.insert(subject.clone());
        let (state, kind) = (SubjectState::OutOfSync, FindingKind::Unreadable);
        return builder.mark_not_in_sync(subject, state, kind, reason);
    }
    builder.steps.push(Step::PutAttachment {
        subject: subject.clone(),
        attachment: attachment.clone(),
        replaces,
        before_object_changes: false,
    });
}

/// Plans the removal of paired items that the primary lacks. Returns the short keys of all of
/// them.
fn removals(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    in_primary: &Attachments,
    in_standby: &Attachments,
    managed: &BTreeSet<String>,
) -> Vec<String> {
    let is_extra = |key: &&AttachmentKey| {
        !in_primary.contains_key(*key) && managed.contains(&managed_item_key(key))
    };
    let extra: Vec<&AttachmentKey> = in_standby.keys().filter(is_extra).collect();
    if extra.is_empty() {
        return Vec::new();
    }
    let requests = &builder.inputs.scope.read_requests;
    let request = requests.get(subject);
    let is_any_named =
        request.is_some_and(|request| request.deletion_named || !request.deleted_items.is_empty());
    // A scope of items alone creates and updates: what names an item may not have been removed yet.
    let permissions = Subject::LakeFormation(LfSubject::Permissions);
    let with_grants = request.is_some_and(|request| request.facets.contains(&Facet::Grants));
    if !with_grants || !(is_any_named || requests.contains_key(&permissions)) {
        return extra.into_iter().map(managed_item_key).collect();
    }
    // An empty listing proves the absence only of what an event or a person named.
    let is_named = |key: &AttachmentKey| {
        request.is_some_and(|request| {
            request.deletion_named
                || request
                    .deleted_items
                    .iter()
                    .any(|item| key.is_named_by(item))
        })
    };
    let (proven, unproven): (Vec<&AttachmentKey>, Vec<&AttachmentKey>) =
        extra.iter().copied().partition(|key| {
            builder.inputs.primary.is_administrator && (is_named(key) || !in_primary.is_empty())
        });
    if let Some(first) = unproven.first() {
        let (kind, why) = unproven_sight(builder.inputs.primary).unwrap_or((
            FindingKind::Denied,
            "the primary shows none of them, and no event named the deletion",
        ));
        let reason = format!(
            "its {first} was not found in the primary, and its deletion is not proven: {why}"
        );
        builder.mark_not_in_sync(subject, SubjectState::OutOfSync, kind, reason);
    }
    if let (Some(first), DeletionPolicy::Retain) = (proven.first(), builder.inputs.policy.deletions)
    {
        let reason = format!("the policy retains its {first}, which the primary lacks");
        builder.mark_not_in_sync(subject, SubjectState::OnHold, FindingKind::OnHold, reason);
    } else {
        for key in proven {
            builder.steps.push(Step::RemoveAttachment {
                subject: subject.clone(),
                key: key.clone(),
            });
        }
    }
    // A scope of items alone plans no removals, so it does not find the subject in sync.
    builder.add_problem_facet(subject, Facet::Grants);
    // An item that is not removed in this round stays managed in the next one.
    extra.into_iter().map(managed_item_key).collect()
}

/// Whether the LF-Tags and LF-Tag expressions of both Regions were read, on which
/// [`is_managed_resource`] rests; else the plan asks for them.
pub(super) fn are_items_read(builder: &mut PlanBuilder<'_>) -> bool {
    let subjects = [LfSubject::LfTags, LfSubject::LfTagExpressions];
    let read = subjects.map(|subject| {
        let subject = Subject::LakeFormation(subject);
        builder.read_or_ask(&subject, Facet::Items)
    });
    read == [true, true]
}

/// Whether Twinlake manages grants on a resource. Grants on LF-Tags and LF-Tag expressions are
/// managed if the primary has the item that they name, or had it when it was paired. For
/// databases and tables, this function returns true and their pairing decides.
pub(super) fn is_managed_resource(builder: &PlanBuilder<'_>, resource: &Resource) -> bool {
    let inputs = builder.inputs;
    let is_known =
        |subject_kind: LfSubject, fits: &dyn Fn(&AttachmentKey) -> bool, key: &AttachmentKey| {
            let subject = Subject::LakeFormation(subject_kind);
            let facet_key = (subject.clone(), Facet::Items);
            let in_primary = inputs
                .primary
                .attachments
                .get(&facet_key)
                .and_then(Observation::present);
            let row = inputs.rows.get(&subject);
            in_primary.is_some_and(|in_primary| in_primary.keys().any(fits))
                || row.is_some_and(|row| row.managed_keys.contains(&managed_item_key(key)))
        };
    let tag = |key: &str, value: &str| {
        let fits = |item: &AttachmentKey| matches!(item, AttachmentKey::LfTagValue { key: other, .. } if other == key);
        let (key, value) = (key.to_owned(), value.to_owned());
        is_known(
            LfSubject::LfTags,
            &fits,
            &AttachmentKey::LfTagValue { key, value },
        )
    };
    let expression = |name: &String| {
        let key = AttachmentKey::NamedExpression(name.clone());
        is_known(LfSubject::LfTagExpressions, &|item| *item == key, &key)
    };
    match resource {
        Resource::Database(_)
        | Resource::AllTables(_)
        | Resource::Table(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::DataCellsFilter(..)
        | Resource::Catalog
        | Resource::DataLocation(_) => true,
        Resource::LfTag { key, value } => tag(key, value),
        Resource::LfTagPolicy {
            policy: LfTagPolicy::Expression(rule),
            ..
        } => rule
            .iter()
            .all(|(key, values)| values.iter().any(|value| tag(key, value))),
        Resource::LfTagPolicy {
            policy: LfTagPolicy::NamedExpression(name),
            ..
        }
        | Resource::LfTagExpression(name) => expression(name),
    }
}

/// Returns the reason why a grant cannot be created, if the primary lacks the LF-Tag or the
/// expression that it names.
pub(super) fn missing_target(builder: &PlanBuilder<'_>, grant: &PermissionGrant) -> Option<String> {
    let items = |subject_kind: LfSubject| {
        let facet_key = (Subject::LakeFormation(subject_kind), Facet::Items);
        let all = builder.inputs.primary.attachments.get(&facet_key);
        all.and_then(Observation::present)
    };
    let lacks = |subject_kind: LfSubject, key: &AttachmentKey| {
        let is_present = items(subject_kind).is_none_or(|all| all.contains_key(key));
        (!is_present).then(|| format!("the primary has no {key}"))
    };
    let tag = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        lacks(LfSubject::LfTags, &AttachmentKey::LfTagValue { key, value })
    };
    match &grant.resource {
        Resource::Database(_)
        | Resource::AllTables(_)
        | Resource::Table(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::DataCellsFilter(..)
        | Resource::Catalog
        | Resource::DataLocation(_) => None,
        Resource::LfTag { value, .. } if value == "*" => None,
        Resource::LfTag { key, value } => tag(key, value),
        Resource::LfTagPolicy {
            policy: LfTagPolicy::Expression(rule),
            ..
        } => rule.iter().find_map(|(key, values)| {
            let named = values.iter().filter(|value| *value != "*");
            named.into_iter().find_map(|value| tag(key, value))
        }),
        Resource::LfTagPolicy {
            policy: LfTagPolicy::NamedExpression(name),
            ..
        }
        | Resource::LfTagExpression(name) => lacks(
            LfSubject::LfTagExpressions,
            &AttachmentKey::NamedExpression(name.clone()),
        ),
    }
}
