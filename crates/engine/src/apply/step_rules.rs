//! How each step is sent, which steps block others, and which failures count as success.

use twinlake_core::catalog::Attachment;
use twinlake_core::{CallError, CallErrorKind, Resource, Step};

/// How a step is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StepKind {
    /// In a call of its own.
    Object,
    /// In a batch with attachments of the same subject and kind.
    Attachment,
    /// In a batch of partitions of one table.
    Partition,
    /// In batches of permissions, one batch after the other.
    Permission,
}

pub(super) fn kind_of(step: &Step) -> StepKind {
    match step {
        Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreateTable { .. }
        | Step::UpdateTable { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutSettings { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => StepKind::Object,
        Step::PutAttachment { .. } | Step::RemoveAttachment { .. } => StepKind::Attachment,
        Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::DeletePartition { .. } => StepKind::Partition,
        Step::Grant { .. } | Step::Revoke { .. } => StepKind::Permission,
    }
}

pub(super) fn is_revoke(step: &Step) -> bool {
    matches!(step, Step::Revoke { .. })
}

/// Whether a step grants permissions through an LF-Tag policy.
pub(super) fn grants_through_lf_tags(step: &Step) -> bool {
    matches!(step, Step::Grant { grant, .. } if matches!(grant.resource, Resource::LfTagPolicy { .. }))
}

/// Whether the failure of a step blocks other steps.
pub(super) fn blocks_dependents(step: &Step) -> bool {
    match step {
        // Without a filter update, principals would be granted access through the old filter.
        // Without an opt-in, IAM alone would decide for a principal who is limited to Lake
        // Formation grants.
        Step::PutAttachment {
            part: Attachment::DataCellsFilter(_) | Attachment::OptIn(_),
            ..
        } => true,
        Step::PutAttachment { .. }
        | Step::PutSettings { .. }
        | Step::RemoveAttachment { .. }
        | Step::Grant { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. } => false,
        Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreateTable { .. }
        | Step::UpdateTable { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::DeleteFunction { .. }
        | Step::Revoke { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => true,
    }
}

/// Whether the intended effect of a step exists although its call failed.
pub(super) fn has_intended_effect(step: &Step, error: &CallError) -> bool {
    match step {
        Step::Revoke { .. } => matches!(
            error.kind,
            CallErrorKind::NotFound | CallErrorKind::AlreadyInState
        ),
        Step::DeletePartition { .. }
        | Step::RemoveAttachment { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteFunction { .. }
        | Step::DeleteDatabase { .. } => error.kind == CallErrorKind::NotFound,
        Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreateTable { .. }
        | Step::UpdateTable { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::PutAttachment { .. }
        | Step::PutSettings { .. }
        | Step::Grant { .. } => false,
    }
}
