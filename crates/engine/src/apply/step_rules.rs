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

/// Whether the intended effect of a step exists although its call failed. An error alone does not
/// prove it where the effect decides about access: for a grant that the standby lists, an
/// attachment that affects access, and a deletion that another step requires (`is_required`), the
/// next read decides.
pub(super) fn has_intended_effect(step: &Step, error: &CallError, is_required: bool) -> bool {
    match step {
        // The service does not know the grant, and the listing did not show it either.
        Step::Revoke { cause, .. } => {
            *cause == RevokeCause::NamedByEvent
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
        | Step::DeleteDatabase { .. } => !is_required && error.kind == CallErrorKind::NotFound,
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

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::{Permission, PermissionGrant, Principal, Resource};

    #[test]
    fn an_unknown_grant_counts_as_revoked_only_if_no_listing_showed_it() {
        let revoke = |cause| Step::Revoke {
            grant: PermissionGrant {
                principal: Principal("arn:aws:iam::111122223333:role/Analyst".to_owned()),
                resource: Resource::Catalog,
                permission: Permission::CreateDatabase,
                condition: None,
            },
            grantable: false,
            cause,
        };
        let unknown = CallError::new(CallErrorKind::NotFound, "BatchRevokePermissions", "x", "");
        assert!(has_intended_effect(
            &revoke(RevokeCause::NamedByEvent),
            &unknown,
            false
        ));
        for cause in [
            RevokeCause::NotInPrimary,
            RevokeCause::Replace,
            RevokeCause::Deletion,
            RevokeCause::ColumnDropped,
        ] {
            assert!(
                !has_intended_effect(&revoke(cause), &unknown, false),
                "{cause:?}"
            );
        }
    }
}
