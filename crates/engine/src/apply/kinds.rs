//! Which steps go together, and what rests on them.

use twinlake_core::{Fault, FaultKind, Step};

pub(super) fn is_database(step: &Step) -> bool {
    matches!(
        step,
        Step::CreateDatabase { .. } | Step::UpdateDatabase { .. }
    )
}

pub(super) fn is_table(step: &Step) -> bool {
    matches!(step, Step::CreateTable { .. } | Step::UpdateTable { .. })
}

pub(super) fn is_partition(step: &Step) -> bool {
    matches!(
        step,
        Step::CreatePartition { .. } | Step::UpdatePartition { .. }
    )
}

pub(super) fn is_revoke(step: &Step) -> bool {
    matches!(step, Step::Revoke { .. })
}

pub(super) fn is_first_grant(step: &Step) -> bool {
    matches!(step, Step::Grant { atom, .. } if atom.turn() == 0)
}

pub(super) fn is_second_grant(step: &Step) -> bool {
    matches!(step, Step::Grant { atom, .. } if atom.turn() == 1)
}

pub(super) fn is_last_grant(step: &Step) -> bool {
    matches!(step, Step::Grant { atom, .. } if atom.turn() > 1)
}

pub(super) fn is_partition_deletion(step: &Step) -> bool {
    matches!(step, Step::DeletePartition { .. })
}

pub(super) fn is_function(step: &Step) -> bool {
    matches!(
        step,
        Step::CreateFunction { .. } | Step::UpdateFunction { .. }
    )
}

pub(super) fn is_part(step: &Step) -> bool {
    matches!(step, Step::PutPart { .. })
}

pub(super) fn is_part_removal(step: &Step) -> bool {
    matches!(step, Step::RemovePart { .. })
}

pub(super) fn is_table_deletion(step: &Step) -> bool {
    matches!(step, Step::DeleteTable { .. } | Step::DeleteFunction { .. })
}

pub(super) fn is_database_deletion(step: &Step) -> bool {
    matches!(step, Step::DeleteDatabase { .. })
}

/// Whether something rests on a step.
pub(super) fn bears(step: &Step) -> bool {
    match step {
        Step::PutPart { .. }
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
        | Step::Grant { .. } => false,
    }
}
