//! What a step leaves behind: what to read again, and what not to try again.

use twinlake_core::catalog::PartKey;
use twinlake_core::scope::{DATABASE_ITSELF, Facet, TABLE_ITSELF};
use twinlake_core::step::RevokeCause;
use twinlake_core::{Atom, Fault, FaultKind, FunctionId, Resource, Step, Subject, TableId};

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
        Step::PutSettings { .. } => &[Facet::Items],
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
    if let Step::PutPart { subject, part, .. } = step {
        return is_by_itself(&part.key()).then(|| Alone::Part(subject.clone(), part.key()));
    }
    if let Step::RemovePart { subject, key } = step {
        return is_by_itself(key).then(|| Alone::Part(subject.clone(), key.clone()));
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

/// Whether nothing rests on a part. Who may do what rests on filters, LF-Tags and
/// opt-ins.
fn is_by_itself(key: &PartKey) -> bool {
    match key {
        PartKey::Filter(_) | PartKey::Assigned { .. } | PartKey::OptIn(_) => false,
        PartKey::Index(_)
        | PartKey::Statistics(_)
        | PartKey::Tag(_)
        | PartKey::TagValue { .. }
        | PartKey::Expression(_)
        | PartKey::Registration(_) => true,
    }
}

/// Grants that would be taken away and given back for a change that is no longer in the
/// plan are left as they are.
pub(super) fn drop_idle(steps: &mut Vec<Step>) {
    let is_aside = |step: &Step| {
        let Step::Revoke {
            atom,
            cause: RevokeCause::Replace,
            ..
        } = step
        else {
            return None;
        };
        let kind = matches!(
            atom.resource,
            Resource::TagPolicy { .. } | Resource::Filter(..)
        );
        kind.then(|| atom.clone())
    };
    let idle: Vec<Atom> = steps
        .iter()
        .filter_map(is_aside)
        .filter(|atom| !steps.iter().any(|step| moves(step, &atom.resource)))
        .collect();
    steps.retain(|step| {
        let gives = |atom: &Atom| matches!(step, Step::Grant { atom: given, .. } if given == atom);
        let takes = is_aside(step);
        !idle
            .iter()
            .any(|atom| gives(atom) || takes.as_ref() == Some(atom))
    });
}

/// Whether a step changes what a grant by LF-Tags or through a filter opens.
fn moves(step: &Step, of: &Resource) -> bool {
    let by_tags = matches!(of, Resource::TagPolicy { .. });
    if matches!(step, Step::CreateTable { .. } | Step::UpdateTable { .. }) {
        return by_tags;
    }
    let Some(key) = key_of(step) else {
        return false;
    };
    match key {
        PartKey::Expression(_) | PartKey::Assigned { .. } => by_tags,
        PartKey::Filter(name) => matches!(of, Resource::Filter(_, held) if *held == name),
        PartKey::Index(_)
        | PartKey::Statistics(_)
        | PartKey::Tag(_)
        | PartKey::OptIn(_)
        | PartKey::TagValue { .. }
        | PartKey::Registration(_) => false,
    }
}

/// The part that a step is about.
fn key_of(step: &Step) -> Option<PartKey> {
    if let Step::PutPart { part, .. } = step {
        return Some(part.key());
    }
    if let Step::RemovePart { key, .. } = step {
        return Some(key.clone());
    }
    None
}

fn facet_of(key: &PartKey) -> &'static [Facet] {
    match key {
        PartKey::Index(_) => &[Facet::Indexes],
        PartKey::Statistics(_) => &[Facet::Statistics],
        PartKey::Tag(_) => &[Facet::Tags],
        PartKey::Filter(_) => &[Facet::Filters],
        PartKey::Assigned { .. } => &[Facet::Assigned],
        PartKey::OptIn(_) => &[Facet::OptIns],
        PartKey::TagValue { .. } | PartKey::Expression(_) | PartKey::Registration(_) => {
            &[Facet::Items]
        }
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
