//! Which steps go together, and what rests on them.

use twinlake_core::catalog::Part;
use twinlake_core::{Fault, FaultKind, Resource, Step};

/// How a step is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// By a call of its own.
    Object,
    /// With others of its owner and kind.
    Part,
    /// In batches, table by table.
    Partition,
    /// In batches, one after the other.
    Permission,
}

pub(super) fn kind_of(step: &Step) -> Kind {
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
        | Step::DeleteDatabase { .. } => Kind::Object,
        Step::PutPart { .. } | Step::RemovePart { .. } => Kind::Part,
        Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::DeletePartition { .. } => Kind::Partition,
        Step::Grant { .. } | Step::Revoke { .. } => Kind::Permission,
    }
}

pub(super) fn is_revoke(step: &Step) -> bool {
    matches!(step, Step::Revoke { .. })
}

/// Whether a step gives what opens by LF-Tags.
pub(super) fn is_by_tags(step: &Step) -> bool {
    matches!(step, Step::Grant { atom, .. } if matches!(atom.resource, Resource::TagPolicy { .. }))
}

/// Whether something rests on a step.
pub(super) fn bears(step: &Step) -> bool {
    match step {
        // Who holds a filter would be granted it as it was before, and what IAM alone
        // decides would be open to whom an opt-in keeps to his grants.
        Step::PutPart {
            part: Part::Filter(_) | Part::OptIn(_),
            ..
        } => true,
        Step::PutPart { .. }
        | Step::PutSettings { .. }
        | Step::RemovePart { .. }
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

/// Whether a failed call has the effect that a step was for.
pub(super) fn is_done_all_the_same(step: &Step, fault: &Fault) -> bool {
    match step {
        Step::Revoke { .. } => matches!(fault.kind, FaultKind::Absent | FaultKind::AlreadyDone),
        Step::DeletePartition { .. }
        | Step::RemovePart { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteFunction { .. }
        | Step::DeleteDatabase { .. } => fault.kind == FaultKind::Absent,
        Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreateTable { .. }
        | Step::UpdateTable { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::PutPart { .. }
        | Step::PutSettings { .. }
        | Step::Grant { .. } => false,
    }
}
