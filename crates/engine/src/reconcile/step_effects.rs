//! Which facets to read again after each step, and which failures are permanent.

use twinlake_core::catalog::AttachmentKey;
use twinlake_core::scope::{DATABASE_ITSELF, Facet, TABLE_ITSELF};
use twinlake_core::{CallError, CallErrorKind, FunctionId, Step, Subject, TableId};

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
        Step::PutAttachment { attachment, .. } => facet_of(&attachment.key()),
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
    if let Step::PutAttachment {
        subject,
        attachment,
        ..
    } = step
    {
        return is_isolated(&attachment.key())
            .then(|| IsolatedStep::Attachment(subject.clone(), attachment.key()));
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
