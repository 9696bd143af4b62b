//! Tables and their partitions.

use super::{Draft, Facets, FindingKind, database::leave_withheld, grants};
use crate::catalog::{DRIFTING_PARAMETER, Partition, Seen, Table, differences, digest};
use crate::ledger::{Pairing, Row, State};
use crate::name::TableId;
use crate::policy::Deletions;
use crate::reading::{Observation, Partitions, Proof};
use crate::scope::{Facet, Subject};
use crate::step::Step;
use crate::translate::{Desired, Withheld};
use std::collections::BTreeSet;

pub(super) fn plan(draft: &mut Draft<'_>, id: &TableId, facets: &Facets) {
    let subject = Subject::Table(id.clone());
    let inputs = draft.inputs;
    let (Some(primary), Some(secondary)) = (
        inputs.primary.tables.get(id),
        inputs.secondary.tables.get(id),
    ) else {
        return;
    };
    if !inputs.policy.covers_table(id) {
        return;
    }
    match (primary, secondary) {
        (Observation::Unknown(fault), _) | (_, Observation::Unknown(fault)) => {
            draft.leave_unread(&subject, fault);
        }
        (Observation::Absent(proof), Observation::Absent(_)) => {
            let standing = draft.forget(&subject, proof);
            draft.standings.insert(subject, standing);
        }
        (Observation::Absent(proof), Observation::Present(there)) => {
            delete(draft, id, &subject, proof, there);
        }
        (Observation::Present(wanted), observed) => {
            if let Some((state, kind, reason)) = parent_trouble(draft, id) {
                draft.leave(&subject, state, kind, reason);
                let row = draft.inputs.rows.get(&subject);
                if observed
                    .present()
                    .is_some_and(|there| is_paired(row, there))
                {
                    grants::plan_revokes_only(draft, &subject);
                }
                return;
            }
            match draft.translator.table(&wanted.object) {
                Ok(desired) => {
                    settle(draft, id, facets, wanted, desired, observed.present());
                }
                Err(withheld) => withhold(draft, &subject, withheld, observed.present()),
            }
        }
    }
}

/// Keeps a table back. What was copied of it earlier stays, and its grants go on
/// being narrowed with the primary's.
fn withhold(
    draft: &mut Draft<'_>,
    subject: &Subject,
    withheld: Withheld,
    observed: Option<&Seen<Table>>,
) {
    leave_withheld(draft, subject, withheld);
    let row = draft.inputs.rows.get(subject);
    if observed.is_some_and(|there| is_paired(row, there)) {
        grants::plan_revokes_only(draft, subject);
    }
}

/// Why nothing may be written into the table's database, if so, and how that leaves
/// the table.
fn parent_trouble(draft: &Draft<'_>, id: &TableId) -> Option<(State, FindingKind, String)> {
    let parent = Subject::Database(id.database.clone());
    let foreign = |reason: String| Some((State::Blocked, FindingKind::Foreign, reason));
    let unread = |reason: &str| {
        let reason = reason.to_owned();
        Some((State::Behind, FindingKind::Unreadable, reason))
    };
    if let Some(standing) = draft.standings.get(&parent) {
        return match (&standing.reason, standing.gone) {
            (None, false) => None,
            (reason, _) => foreign(format!(
                "its database is not replicated: {}",
                reason.as_deref().unwrap_or("it is gone")
            )),
        };
    }
    let row = draft.inputs.rows.get(&parent);
    let Some(pairing) = row.and_then(|row| row.pairing.as_ref()) else {
        return foreign("its database is not paired with one in the secondary".to_owned());
    };
    match draft.inputs.secondary.databases.get(&id.database) {
        // Not asked for: nothing is made or deleted in it by this plan.
        None => None,
        Some(Observation::Present(seen)) if seen.object.target_database.is_some() => {
            foreign("its database is a resource link in the secondary".to_owned())
        }
        Some(Observation::Present(seen)) if seen.created != pairing.secondary_created => {
            unread("its database was made anew in the secondary")
        }
        Some(Observation::Present(_)) => None,
        Some(Observation::Absent(_)) => unread("its database is gone from the secondary"),
        Some(Observation::Unknown(_)) => unread("its database in the secondary was not read"),
    }
}

fn settle(
    draft: &mut Draft<'_>,
    id: &TableId,
    facets: &Facets,
    wanted: &Seen<Table>,
    desired: Desired<Table>,
    observed: Option<&Seen<Table>>,
) {
    let subject = Subject::Table(id.clone());
    let row = draft.inputs.rows.get(&subject);
    for note in &desired.notes {
        draft.find(FindingKind::Note, &subject, note.clone());
    }
    let mut standing = draft.keep(&subject, State::Current, None);
    let mut change = None;
    match observed {
        None => {
            change = Some(Step::CreateTable {
                id: id.clone(),
                table: desired.object,
            });
        }
        Some(there) => {
            if let Err(reason) = is_ours(row, there, &desired.object) {
                draft.leave(&subject, State::Blocked, FindingKind::Foreign, reason);
                return;
            }
            let now = comparable(&there.object);
            standing.pairing = Some(Pairing {
                primary_created: wanted.created,
                secondary_created: there.created,
                digest: digest(&now),
            });
            if now != desired.object {
                change = Some(Step::UpdateTable {
                    id: id.clone(),
                    changes: differences(&now, &desired.object),
                    table: desired.object,
                    version: there.version.clone(),
                });
            }
        }
    }
    draft.standings.insert(subject.clone(), standing);
    let opened = change.as_ref().filter(|step| shows_more(step, observed));
    if let Some(reason) = opened.and_then(|_| grants::wildcard_beyond(draft, &id.database)) {
        draft.leave(&subject, State::Behind, FindingKind::Unreadable, reason);
        // What is not there yet is granted nothing, and what is there only loses.
        if observed.is_some() {
            grants::plan_revokes_only(draft, &subject);
        }
        return;
    }
    let read = draft.inputs.primary.grants.contains_key(&subject);
    let narrowed = match (facets.contains(&Facet::Grants) || read, &change) {
        (true, _) => grants::plan(draft, &subject),
        (false, change) => change
            .as_ref()
            .is_none_or(|step| !shows_more(step, observed)),
    };
    match change {
        // Whoever holds a stale grant on the table would see what is new in it, too.
        Some(_) if !narrowed => {
            let reason = "it is changed once grants that the primary no longer shows are \
                          proven to be gone there"
                .to_owned();
            draft.leave(&subject, State::Behind, FindingKind::Unreadable, reason);
        }
        Some(step) => draft.steps.push(step),
        None => {}
    }
    if facets.contains(&Facet::Partitions) && draft.is_settled(&subject) {
        plan_partitions(draft, id, &subject);
    }
}

fn shows_more(step: &Step, observed: Option<&Seen<Table>>) -> bool {
    let Step::UpdateTable { table, .. } = step else {
        return true;
    };
    let now: BTreeSet<&str> = observed
        .iter()
        .flat_map(|there| there.object.columns())
        .map(|column| column.name.as_str())
        .collect();
    table.columns().any(|c| !now.contains(c.name.as_str()))
}

fn comparable(table: &Table) -> Table {
    let mut table = table.clone();
    table.parameters.remove(DRIFTING_PARAMETER);
    table
}

fn comparable_partition(partition: &Partition) -> Partition {
    let mut partition = partition.clone();
    partition.parameters.remove(DRIFTING_PARAMETER);
    partition
}

fn is_paired(row: Option<&Row>, there: &Seen<Table>) -> bool {
    let paired = row
        .and_then(|row| row.pairing.as_ref())
        .is_some_and(|pairing| pairing.secondary_created == there.created);
    paired && there.object.target_table.is_none()
}

fn is_ours(row: Option<&Row>, there: &Seen<Table>, desired: &Table) -> Result<(), String> {
    if there.object.target_table.is_some() || there.object.name != desired.name {
        return Err("the secondary has a resource link under this name".to_owned());
    }
    let now = comparable(&there.object);
    let intended = row
        .and_then(|row| row.intended.as_ref())
        .is_some_and(|intended| *intended == digest(&now));
    if is_paired(row, there) || intended || now == *desired {
        return Ok(());
    }
    let fields: Vec<String> = differences(&now, desired)
        .into_iter()
        .map(|change| change.field)
        .collect();
    Err(format!(
        "the secondary has another table under this name, which Twinlake did not make; \
         it differs in {}",
        fields.join(", ")
    ))
}

fn delete(
    draft: &mut Draft<'_>,
    id: &TableId,
    subject: &Subject,
    proof: &Proof,
    there: &Seen<Table>,
) {
    if !is_paired(draft.inputs.rows.get(subject), there) {
        return;
    }
    if !proof.is_complete() {
        let why = if proof.administrator {
            "no event named the deletion, and nothing else was seen in its database"
        } else {
            "our role is no longer a data lake administrator there"
        };
        let reason = format!("it seems gone from the primary, and that is not proven: {why}");
        draft.leave(subject, State::Behind, FindingKind::Denied, reason);
        grants::plan_suspects_only(draft, subject);
    } else if draft.inputs.policy.deletions == Deletions::Retain {
        let reason = "it is gone from the primary, and the policy retains it".to_owned();
        draft.leave(subject, State::Held, FindingKind::Held, reason);
        grants::plan_suspects_only(draft, subject);
    } else {
        // Grants may outlive the table they are on, and would open a
        // table made anew under its name.
        if !grants::revoke_all(draft, subject) {
            return;
        }
        draft.steps.push(Step::DeleteTable { id: id.clone() });
        let standing = draft.keep(subject, State::Behind, None);
        draft.standings.insert(subject.clone(), standing);
    }
}

fn plan_partitions(draft: &mut Draft<'_>, id: &TableId, subject: &Subject) {
    let inputs = draft.inputs;
    let none = Observation::Present(Partitions::new());
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
    for (values, partition) in wanted {
        match draft.translator.partition(partition) {
            Ok(desired) => {
                for note in &desired.notes {
                    draft.find(FindingKind::Note, subject, note.clone());
                }
                let step = partition_step(id, desired.object, there.get(values));
                draft.steps.extend(step);
            }
            Err(Withheld::Held(reason) | Withheld::Unsupported(reason)) => held.push(reason),
        }
    }
    if let Some(standing) = draft.standings.get_mut(subject) {
        standing.partitions = Some(there.len());
        if let Some(first) = held.first() {
            standing.state = State::Held;
            let reason = format!("{} of its partitions are held back: {first}", held.len());
            standing.reason = Some(reason.clone());
            draft.find(FindingKind::Held, subject, reason);
        }
    }
    plan_partition_deletions(draft, id, subject, (wanted, there));
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
    let gone: Vec<&Vec<String>> = there.keys().filter(|v| !wanted.contains_key(*v)).collect();
    if gone.is_empty() {
        return;
    }
    let named = draft
        .inputs
        .scope
        .looks
        .get(subject)
        .is_some_and(|look| look.partition_deletion_named);
    if wanted.is_empty() && !named && !is_remade(draft, id, subject) {
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
