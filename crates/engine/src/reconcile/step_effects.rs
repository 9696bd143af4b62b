//! Which facets to read again after each step, and which failures are permanent.

use twinlake_core::catalog::AttachmentKey;
use twinlake_core::scope::{DATABASE_ITSELF, Facet, TABLE_ITSELF};
use twinlake_core::step::RevokeCause;
use twinlake_core::{
    CallError, CallErrorKind, FunctionId, PermissionGrant, Resource, Step, Subject, TableId,
};

/// Whether the same step fails in every later round and attempt.
pub(super) fn is_permanent(error: &CallError) -> bool {
    match error.kind {
        CallErrorKind::Denied | CallErrorKind::Invalid | CallErrorKind::Unsupported => true,
        CallErrorKind::NotFound
        | CallErrorKind::AlreadyInState
        | CallErrorKind::Contended
        | CallErrorKind::NotPropagated
        | CallErrorKind::Unavailable => false,
    }
}

/// The facets that a step may have changed and that the next round reads again.
pub(super) fn facets_after(step: &Step) -> &'static [Facet] {
    match step {
        Step::CreateDatabase { .. } | Step::DeleteDatabase { .. } => &DATABASE_ITSELF,
        Step::UpdateDatabase { .. } | Step::UpdateTable { .. } => &[Facet::Definition],
        Step::CreateTable { .. } | Step::DeleteTable { .. } => &TABLE_ITSELF,
        Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::DeletePartition { .. } => &[],
        Step::CreateFunction { .. } | Step::UpdateFunction { .. } | Step::DeleteFunction { .. } => {
            &[Facet::Definition]
        }
        Step::PutAttachment { part, .. } => facet_of(&part.key()),
        Step::RemoveAttachment { key, .. } => facet_of(key),
        Step::PutSettings { .. } => &[Facet::Items],
        Step::Grant { .. } | Step::Revoke { .. } => &[Facet::Grants],
    }
}

/// The target of a step on which no other step depends: an attachment, a function, one
/// partition. If such a step fails permanently, only this step is given up.
#[derive(PartialEq)]
pub(super) enum IsolatedStep<'a> {
    Attachment(Subject, AttachmentKey),
    Function(&'a FunctionId),
    Partition(&'a TableId, &'a [String]),
}

/// The target of a step on which no other step depends; `None` for other steps.
pub(super) fn isolated_step(step: &Step) -> Option<IsolatedStep<'_>> {
    if let Step::PutAttachment { subject, part, .. } = step {
        return is_isolated(&part.key())
            .then(|| IsolatedStep::Attachment(subject.clone(), part.key()));
    }
    if let Step::RemoveAttachment { subject, key } = step {
        return is_isolated(key).then(|| IsolatedStep::Attachment(subject.clone(), key.clone()));
    }
    if let Step::CreateFunction { id, .. } | Step::UpdateFunction { id, .. } = step {
        return Some(IsolatedStep::Function(id));
    }
    if let Step::CreatePartition { id, .. }
    | Step::UpdatePartition { id, .. }
    | Step::DeletePartition { id, .. } = step
    {
        return partition_values_of(step).map(|values| IsolatedStep::Partition(id, values));
    }
    None
}

/// Whether no other step depends on an attachment. Permissions depend on data cells filters,
/// assigned LF-Tags and opt-ins.
fn is_isolated(key: &AttachmentKey) -> bool {
    match key {
        AttachmentKey::DataCellsFilter(_)
        | AttachmentKey::LfTagAssignment { .. }
        | AttachmentKey::OptIn(_) => false,
        AttachmentKey::Index(_)
        | AttachmentKey::Statistics(_)
        | AttachmentKey::GlueTag(_)
        | AttachmentKey::LfTagValue { .. }
        | AttachmentKey::NamedExpression(_)
        | AttachmentKey::Registration(_) => true,
    }
}

/// Removes pairs of a revoke and a regrant of one permission that were planned around a change
/// which is no longer in the plan.
pub(super) fn drop_noop_regrants(steps: &mut Vec<Step>) {
    let temporarily_revoked = |step: &Step| {
        let Step::Revoke {
            grant,
            cause: RevokeCause::Replace,
            ..
        } = step
        else {
            return None;
        };
        let depends_on_change = matches!(
            grant.resource,
            Resource::LfTagPolicy { .. } | Resource::DataCellsFilter(..)
        );
        depends_on_change.then(|| grant.clone())
    };
    let noop: Vec<PermissionGrant> = steps
        .iter()
        .filter_map(temporarily_revoked)
        .filter(|grant| {
            let mut steps = steps.iter();
            !steps.any(|step| changes_access_through(step, &grant.resource))
        })
        .collect();
    steps.retain(|step| {
        let grants = |grant: &PermissionGrant| matches!(step, Step::Grant { grant: other, .. } if other == grant);
        let revoked = temporarily_revoked(step);
        !noop
            .iter()
            .any(|grant| grants(grant) || revoked.as_ref() == Some(grant))
    });
}

/// Whether a step changes what a grant on this LF-Tag policy or data cells filter gives access
/// to.
fn changes_access_through(step: &Step, resource: &Resource) -> bool {
    let is_lf_tag_policy = matches!(resource, Resource::LfTagPolicy { .. });
    if matches!(step, Step::CreateTable { .. } | Step::UpdateTable { .. }) {
        return is_lf_tag_policy;
    }
    let Some(key) = attachment_of(step) else {
        return false;
    };
    match key {
        AttachmentKey::NamedExpression(_) | AttachmentKey::LfTagAssignment { .. } => {
            is_lf_tag_policy
        }
        AttachmentKey::DataCellsFilter(name) => {
            matches!(resource, Resource::DataCellsFilter(_, granted) if *granted == name)
        }
        AttachmentKey::Index(_)
        | AttachmentKey::Statistics(_)
        | AttachmentKey::GlueTag(_)
        | AttachmentKey::OptIn(_)
        | AttachmentKey::LfTagValue { .. }
        | AttachmentKey::Registration(_) => false,
    }
}

/// The attachment that a step changes.
fn attachment_of(step: &Step) -> Option<AttachmentKey> {
    if let Step::PutAttachment { part, .. } = step {
        return Some(part.key());
    }
    if let Step::RemoveAttachment { key, .. } = step {
        return Some(key.clone());
    }
    None
}

fn facet_of(key: &AttachmentKey) -> &'static [Facet] {
    match key {
        AttachmentKey::Index(_) => &[Facet::Indexes],
        AttachmentKey::Statistics(_) => &[Facet::Statistics],
        AttachmentKey::GlueTag(_) => &[Facet::GlueTags],
        AttachmentKey::DataCellsFilter(_) => &[Facet::DataCellsFilters],
        AttachmentKey::LfTagAssignment { .. } => &[Facet::LfTagAssignments],
        AttachmentKey::OptIn(_) => &[Facet::OptIns],
        AttachmentKey::LfTagValue { .. }
        | AttachmentKey::NamedExpression(_)
        | AttachmentKey::Registration(_) => &[Facet::Items],
    }
}

/// The values of the partition that a step changes.
pub(super) fn partition_values_of(step: &Step) -> Option<&[String]> {
    if let Step::CreatePartition { partition, .. } | Step::UpdatePartition { partition, .. } = step
    {
        return Some(&partition.values);
    }
    if let Step::DeletePartition { values, .. } = step {
        return Some(values);
    }
    None
}

/// Whether a step creates a table.
pub(super) fn is_table_creation(step: &Step) -> bool {
    matches!(step, Step::CreateTable { .. })
}

/// Whether a step creates or removes a partition index.
pub(super) fn is_index(step: &Step) -> bool {
    match isolated_step(step) {
        Some(IsolatedStep::Attachment(_, AttachmentKey::Index(_))) => true,
        Some(
            IsolatedStep::Attachment(..) | IsolatedStep::Function(_) | IsolatedStep::Partition(..),
        )
        | None => false,
    }
}
