//! How each step is sent, and which failures count as success.

use twinlake_core::catalog::AttachmentKey;
use twinlake_core::step::RevokeCause;
use twinlake_core::{CallError, CallErrorKind, Step};

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

/// Whether the intended effect of a step exists although its call failed. An error is no proof of an
/// effect that other steps rely on: of a grant that the standby lists, and of an attachment that
/// affects access, the next read decides. `is_required` says whether another step relies on it.
pub(super) fn has_intended_effect(step: &Step, error: &CallError, is_required: bool) -> bool {
    match step {
        // The service does not know the grant. The listing did not show it either, or shows it
        // although it was revoked (LF-07).
        Step::Revoke { cause, .. } => {
            (*cause == RevokeCause::NamedByEvent || !is_required)
                && matches!(
                    error.kind,
                    CallErrorKind::NotFound | CallErrorKind::AlreadyInState
                )
        }
        Step::RemoveAttachment { key, .. } => {
            let affects_access = match key {
                AttachmentKey::Index(_)
                | AttachmentKey::Statistics(_)
                | AttachmentKey::GlueTag(_) => false,
                AttachmentKey::DataCellsFilter(_)
                | AttachmentKey::LfTagAssignment { .. }
                | AttachmentKey::OptIn(_)
                | AttachmentKey::LfTagValue { .. }
                | AttachmentKey::NamedExpression(_)
                | AttachmentKey::Registration(_) => true,
            };
            !affects_access && error.kind == CallErrorKind::NotFound
        }
        Step::DeletePartition { .. }
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
