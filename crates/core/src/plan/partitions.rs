//! Plans the partitions of a table.

use super::{FindingKind, PlanBuilder, extra_access, finding_kind};
use crate::catalog::{Comparable as _, Partition, differences};
use crate::desired::Withheld;
use crate::ledger::SubjectState;
use crate::name::TableId;
use crate::policy::DeletionPolicy;
use crate::render::one_or_many;
use crate::scope::Subject;
use crate::snapshot::{Observation, Partitions};
use crate::step::Step;
use std::collections::BTreeSet;

pub(super) fn plan(builder: &mut PlanBuilder<'_>, id: &TableId, subject: &Subject) {
    let inputs = builder.inputs;
    let no_partitions = Observation::Present(Partitions::empty());
    let Some(primary) = inputs.primary.partitions.get(id) else {
        return;
    };
    // A table that is about to be created has no partitions yet.
    let standby = inputs.standby.partitions.get(id).unwrap_or(&no_partitions);
    let (wanted, existing) = match (primary, standby) {
        (Observation::Present(wanted), Observation::Present(existing)) => (wanted, existing),
        (Observation::Unknown(error), _) | (_, Observation::Unknown(error)) => {
            let pairing = builder
                .subject_outcomes
                .get(subject)
                .and_then(|outcome| outcome.pairing.clone());
            builder.mark_unread(subject, error);
            if let Some(outcome) = builder.subject_outcomes.get_mut(subject) {
                outcome.pairing = pairing;
            }
            return;
        }
        (Observation::Absent(_), _) | (_, Observation::Absent(_)) => return,
    };
    let mut held_reasons = Vec::new();
    let mut writes = Vec::new();
    let mut notes = wanted.notes.clone();
    for (values, partition) in &wanted.to_compare {
        match builder.translator.partition(partition) {
            Ok(desired) => {
                // If all partitions were read, their notes have already been counted.
                if let (Some(note), None) = (desired.notes.into_iter().next(), wanted.total()) {
                    notes.get_or_insert((0, note)).0 += 1;
                }
                let step = partition_step(id, desired.object, existing.to_compare.get(values));
                writes.extend(step);
            }
            // Partitions are never withheld for this.
            Err(Withheld::NotRelocated) => {}
            Err(Withheld::OnHold(reason) | Withheld::Unsupported(reason)) => {
                held_reasons.push(reason);
            }
        }
    }
    match notes {
        Some((1, note)) => builder.add_finding(FindingKind::Note, subject, note),
        Some((count, note)) => {
            let detail = format!("{count} of its partitions; for the first one: {note}");
            builder.add_finding(FindingKind::Note, subject, detail);
        }
        None => {}
    }
    if let Some(outcome) = builder.subject_outcomes.get_mut(subject) {
        outcome.partitions = existing.total();
        if let Some(first) = held_reasons.first() {
            let reason = format!(
                "{} of its partitions {} not replicated: {first}",
                held_reasons.len(),
                one_or_many(held_reasons.len(), "is", "are")
            );
            outcome.add_problem(SubjectState::OnHold, reason.clone());
            builder.add_finding(FindingKind::OnHold, subject, reason);
        }
    }
    write(builder, id, subject, writes);
    plan_partition_deletions(builder, id, subject, (wanted, existing));
    report_unread(builder, subject, (wanted, existing));
}

/// Plans the new and changed partitions. They wait while somebody could see them who cannot in the
/// primary.
fn write(builder: &mut PlanBuilder<'_>, id: &TableId, subject: &Subject, writes: Vec<Step>) {
    if writes.is_empty() {
        return;
    }
    match extra_access::obstacle(builder, id) {
        None => builder.steps.extend(writes),
        Some(reason) => {
            let (state, kind) = (SubjectState::OutOfSync, FindingKind::Unreadable);
            set_not_in_sync(builder, subject, state, kind, reason);
        }
    }
}

/// Reports the partitions that could not be read. The others are planned.
fn report_unread(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    (wanted, existing): (&Partitions, &Partitions),
) {
    let mut unread = wanted.unread.clone();
    unread.extend(existing.unread.clone());
    let Some((values, error)) = unread.first_key_value() else {
        return;
    };
    let reason = format!(
        "{} of its partitions could not be read; the first is {values:?}: {error}",
        unread.len()
    );
    let kind = finding_kind(error);
    set_not_in_sync(builder, subject, SubjectState::OutOfSync, kind, reason);
}

fn partition_step(id: &TableId, desired: Partition, existing: Option<&Partition>) -> Option<Step> {
    let id = id.clone();
    let Some(existing) = existing else {
        return Some(Step::CreatePartition {
            id,
            partition: desired,
        });
    };
    let current = existing.clone().into_comparable();
    let wanted_fields = desired.clone().into_comparable();
    (current != wanted_fields).then(|| Step::UpdatePartition {
        id,
        changes: differences(&current, &wanted_fields),
        partition: desired,
    })
}

/// Plans the deletion of partitions that the primary lacks. If the primary lists no partition at
/// all, that proves nothing, unless an event named a deletion or the table was recreated.
fn plan_partition_deletions(
    builder: &mut PlanBuilder<'_>,
    id: &TableId,
    subject: &Subject,
    (wanted, existing): (&Partitions, &Partitions),
) {
    let request = builder.inputs.scope.read_requests.get(subject);
    let may_delete = |values: &Vec<String>| {
        request.is_some_and(|request| request.deletable_partitions.contains(values))
    };
    // A partition that was only looked up by its values is deleted only if the scope allows it.
    let missing = existing
        .to_compare
        .keys()
        .filter(|values| !wanted.to_compare.contains_key(*values) && may_delete(values));
    let deleted: BTreeSet<&Vec<String>> = existing.extra.iter().chain(missing).collect();
    if deleted.is_empty() {
        return;
    }
    let is_deletion_named = request.is_some_and(|request| request.unnamed_partitions_deleted)
        || deleted.iter().all(|values| may_delete(values));
    if wanted.total() == Some(0)
        && !is_deletion_named
        && !is_recreated_in_primary(builder, id, subject)
    {
        let reason = match deleted.len() {
            1 => "the primary does not list its partition, and no event named the deletion"
                .to_owned(),
            count => format!(
                "the primary lists none of its {count} partitions, and no event named their deletion"
            ),
        };
        set_not_in_sync(
            builder,
            subject,
            SubjectState::OutOfSync,
            FindingKind::Denied,
            reason,
        );
    } else if builder.inputs.policy.deletions == DeletionPolicy::Retain {
        let reason = format!(
            "the policy retains {} of its partitions, which the primary lacks",
            deleted.len()
        );
        set_not_in_sync(
            builder,
            subject,
            SubjectState::OnHold,
            FindingKind::OnHold,
            reason,
        );
    } else {
        for values in deleted {
            builder.steps.push(Step::DeletePartition {
                id: id.clone(),
                values: values.clone(),
            });
        }
    }
}

/// Whether the primary's table was recreated since it was paired. A recreated table does not have
/// the partitions of the old one.
fn is_recreated_in_primary(builder: &PlanBuilder<'_>, id: &TableId, subject: &Subject) -> bool {
    let row = builder.inputs.rows.get(subject);
    let paired_created = row
        .and_then(|row| row.pairing.as_ref())
        .and_then(|pairing| pairing.created_in(builder.inputs.epoch.primary()));
    let table = builder.inputs.primary.tables.get(id);
    let current_created = table
        .and_then(Observation::present)
        .and_then(|table| table.created);
    paired_created.is_some() && current_created.is_some() && paired_created != current_created
}

fn set_not_in_sync(
    builder: &mut PlanBuilder<'_>,
    subject: &Subject,
    state: SubjectState,
    kind: FindingKind,
    reason: String,
) {
    builder.add_finding(kind, subject, reason.clone());
    if let Some(outcome) = builder.subject_outcomes.get_mut(subject) {
        outcome.add_problem(state, reason);
    }
}
