//! What a step leaves behind: what to read again, and what not to try again.

use twinlake_core::catalog::PartKey;
use twinlake_core::scope::{DATABASE_ITSELF, Facet, TABLE_ITSELF};
use twinlake_core::{Fault, FaultKind, FunctionId, Step, Subject, TableId};

/// Whether no other round and no later try can make the same step succeed.
pub(super) fn is_for_good(fault: &Fault) -> bool {
    match fault.kind {
        FaultKind::Denied | FaultKind::Invalid | FaultKind::Unsupported => true,
        FaultKind::Absent
        | FaultKind::AlreadyDone
        | FaultKind::Busy
        | FaultKind::NotYet
        | FaultKind::Unavailable => false,
    }
}

/// What a step may have changed, and so has to be read again.
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
        Step::PutPart { part, .. } => facet_of(&part.key()),
        Step::RemovePart { key, .. } => facet_of(key),
        Step::Grant { .. } | Step::Revoke { .. } => &[Facet::Grants],
    }
}

/// What a step is about where nothing else rests on it: a part, a function, one
/// partition. If it fails for good, only it is given up.
#[derive(PartialEq)]
pub(super) enum Alone<'a> {
    Part(Subject, PartKey),
    Function(&'a FunctionId),
    Partition(&'a TableId, &'a [String]),
}

pub(super) fn alone(step: &Step) -> Option<Alone<'_>> {
    if let Step::PutPart { subject, part } = step {
        return Some(Alone::Part(subject.clone(), part.key()));
    }
    if let Step::RemovePart { subject, key } = step {
        return Some(Alone::Part(subject.clone(), key.clone()));
    }
    if let Step::CreateFunction { id, .. } | Step::UpdateFunction { id, .. } = step {
        return Some(Alone::Function(id));
    }
    if let Step::CreatePartition { id, .. }
    | Step::UpdatePartition { id, .. }
    | Step::DeletePartition { id, .. } = step
    {
        return values_of(step).map(|values| Alone::Partition(id, values));
    }
    None
}

fn facet_of(key: &PartKey) -> &'static [Facet] {
    match key {
        PartKey::Index(_) => &[Facet::Indexes],
        PartKey::Statistics(_) => &[Facet::Statistics],
        PartKey::Tag(_) => &[Facet::Tags],
    }
}

/// The partition that a step changed, by its values.
pub(super) fn values_of(step: &Step) -> Option<&[String]> {
    if let Step::CreatePartition { partition, .. } | Step::UpdatePartition { partition, .. } = step
    {
        return Some(&partition.values);
    }
    if let Step::DeletePartition { values, .. } = step {
        return Some(values);
    }
    None
}

/// Whether a step makes a table.
pub(super) fn is_creation(step: &Step) -> bool {
    matches!(step, Step::CreateTable { .. })
}

/// Whether a step puts or removes a partition index.
pub(super) fn is_index(step: &Step) -> bool {
    match alone(step) {
        Some(Alone::Part(_, PartKey::Index(_))) => true,
        Some(Alone::Part(..) | Alone::Function(_) | Alone::Partition(..)) | None => false,
    }
}
