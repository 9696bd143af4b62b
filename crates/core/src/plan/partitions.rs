//! Partitions of a table.

use super::{Draft, FindingKind};
use crate::catalog::{DRIFTING_PARAMETER, Partition, differences};
use crate::ledger::State;
use crate::name::TableId;
use crate::policy::Deletions;
use crate::reading::{Observation, Partitions};
use crate::scope::Subject;
use crate::step::Step;
use crate::translate::Withheld;
use std::collections::BTreeSet;

pub(super) fn plan(draft: &mut Draft<'_>, id: &TableId, subject: &Subject) {
    let inputs = draft.inputs;
    let none = Observation::Present(Partitions::none());
    let Some(primary) = inputs.primary.partitions.get(id) else {
        return;
    };
    // A table that is about to be made has none yet.
    let secondary = inputs.secondary.partitions.get(id).unwrap_or(&none);
    let (wanted, there) = match (primary, secondary) {
        (Observation::Present(wanted), Observation::Present(there)) => (wanted, there),
        (Observation::Unknown(fault), _) | (_, Observation::Unknown(fault)) => {
            let pairing = draft
                .standings
                .get(subject)
                .and_then(|standing| standing.pairing.clone());
            draft.leave_unread(subject, fault);
            if let Some(standing) = draft.standings.get_mut(subject) {
                standing.pairing = pairing;
            }
            return;
        }
        (Observation::Absent(_), _) | (_, Observation::Absent(_)) => return,
    };
    let mut held = Vec::new();
    let mut noted = wanted.noted.clone();
    for (values, partition) in &wanted.shown {
        match draft.translator.partition(partition) {
            Ok(desired) => {
                // A look at all of them has counted the notes of each already.
                if let (Some(note), None) = (desired.notes.into_iter().next(), wanted.total()) {
                    noted.get_or_insert((0, note)).0 += 1;
                }
                let step = partition_step(id, desired.object, there.shown.get(values));
                draft.steps.extend(step);
            }
            Err(Withheld::Held(reason) | Withheld::Unsupported(reason)) => held.push(reason),
        }
    }
    match noted {
        Some((1, note)) => draft.find(FindingKind::Note, subject, note),
        Some((count, note)) => {
            let detail = format!("{count} of its partitions, the first one: {note}");
            draft.find(FindingKind::Note, subject, detail);
        }
        None => {}
    }
    if let Some(standing) = draft.standings.get_mut(subject) {
        standing.partitions = there.total();
        if let Some(first) = held.first() {
            standing.state = State::Held;
            let reason = format!("{} of its partitions are held back: {first}", held.len());
            standing.reason = Some(reason.clone());
            draft.find(FindingKind::Held, subject, reason);
        }
    }
    plan_partition_deletions(draft, id, subject, (wanted, there));
}

fn comparable_partition(partition: &Partition) -> Partition {
    let mut partition = partition.clone();
    partition.parameters.remove(DRIFTING_PARAMETER);
    partition
}

fn partition_step(id: &TableId, desired: Partition, there: Option<&Partition>) -> Option<Step> {
    let id = id.clone();
    match there.map(comparable_partition) {
        None => Some(Step::CreatePartition {
            id,
            partition: desired,
        }),
        Some(now) if now == desired => None,
        Some(now) => Some(Step::UpdatePartition {
            id,
            changes: differences(&now, &desired),
            partition: desired,
        }),
    }
}

/// Partitions that the primary's complete listing lacks. An empty listing where
/// there was a full one proves nothing, unless an event named a deletion.
fn plan_partition_deletions(
    draft: &mut Draft<'_>,
    id: &TableId,
    subject: &Subject,
    (wanted, there): (&Partitions, &Partitions),
) {
    let look = draft.inputs.scope.looks.get(subject);
    let may_go = |values: &Vec<String>| look.is_some_and(|look| look.deletable.contains(values));
    // By name alone nothing is gone, unless something else says so.
    let lacking = there
        .shown
        .keys()
        .filter(|v| !wanted.shown.contains_key(*v) && may_go(v));
    let gone: BTreeSet<&Vec<String>> = there.extra.iter().chain(lacking).collect();
    if gone.is_empty() {
        return;
    }
    let named = look.is_some_and(|look| look.partition_deletion_named)
        || gone.iter().all(|values| may_go(values));
    if wanted.total() == Some(0) && !named && !is_remade(draft, id, subject) {
        let reason = format!(
            "the primary shows none of its {} partitions, and no event named their deletion",
            gone.len()
        );
        unsettle(draft, subject, State::Behind, FindingKind::Denied, reason);
    } else if draft.inputs.policy.deletions == Deletions::Retain {
        let reason = format!(
            "{} of its partitions are retained by the policy",
            gone.len()
        );
        unsettle(draft, subject, State::Held, FindingKind::Held, reason);
    } else {
        for values in gone {
            draft.steps.push(Step::DeletePartition {
                id: id.clone(),
                values: values.clone(),
            });
        }
    }
}

/// Whether the primary's table is another one than the one that was paired: then it
/// does not have the partitions of that one.
fn is_remade(draft: &Draft<'_>, id: &TableId, subject: &Subject) -> bool {
    let row = draft.inputs.rows.get(subject);
    let before = row
        .and_then(|row| row.pairing.as_ref())
        .and_then(|pairing| pairing.primary_created);
    let now = draft.inputs.primary.tables.get(id);
    let now = now
        .and_then(Observation::present)
        .and_then(|seen| seen.created);
    before.is_some() && now.is_some() && before != now
}

fn unsettle(
    draft: &mut Draft<'_>,
    subject: &Subject,
    state: State,
    kind: FindingKind,
    reason: String,
) {
    draft.find(kind, subject, reason.clone());
    if let Some(standing) = draft.standings.get_mut(subject) {
        standing.state = state;
        standing.reason = Some(reason);
    }
}
