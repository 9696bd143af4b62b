//! Applies an approved plan, phase after phase, and tells the outcome of every
//! step.
//!
//! A step whose subject could not be narrowed is skipped, and so is everything
//! below a database or a table that could not be made: stopping there is safe,
//! since every prefix of a plan is.

mod batch;
mod kinds;
mod parts;
mod permissions;

use crate::ports::{DefaultsChange, EntryResults, SettingsChange, WriteRegion};
use batch::{Batch, BatchKind, batch_of};
use futures_util::{StreamExt as _, stream};
use kinds::{Kind, bears, is_by_tags, is_done_all_the_same, is_revoke, kind_of};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::PartitionIndex;
use twinlake_core::step::Phase;
use twinlake_core::{ApprovedPlan, Fault, FaultKind, Name, Step, Subject, TableId};

/// What came of one step.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// It is so now.
    Applied,
    /// It was so before: nothing was left to revoke or to delete.
    WasSo,
    /// Not done, since something that it rests on failed.
    Skipped,
    /// Not done, for this reason.
    Failed(Fault),
}

/// What came of a plan: one outcome for each step, in the plan's order.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The outcomes.
    pub outcomes: Vec<Option<Done>>,
}

struct Apply<'a, S> {
    secondary: &'a S,
    steps: &'a [Step],
    outcomes: Vec<Option<Done>>,
    failed: BTreeSet<Subject>,
    /// Databases in which a step that others rest on did not come about.
    broken: BTreeSet<Name>,
    /// Every step so far came about: what is granted by LF-Tags rests on all of them.
    is_whole: bool,
    parallel: usize,
}

/// Applies the steps. `parallel` is how many calls are under way at once; grants
/// go one batch after the other, since two writers of one principal and resource
/// clash (LF-12).
pub async fn apply<S: WriteRegion>(
    secondary: &S,
    approved: &ApprovedPlan,
    parallel: usize,
) -> Applied {
    let steps = approved.steps();
    let mut apply = Apply {
        secondary,
        steps,
        outcomes: vec![None; steps.len()],
        failed: BTreeSet::new(),
        broken: BTreeSet::new(),
        is_whole: true,
        parallel: parallel.max(1),
    };
    // One place after the other. Never dependent entries in one batch: their order is
    // not known.
    let mut places: BTreeMap<(Phase, u8), Vec<usize>> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        places.entry(step.place()).or_default().push(at);
    }
    for ((phase, _), ids) in places {
        if phase == Phase::Wildcards {
            apply.is_whole = apply.all_came_about();
        }
        let ids = |kind: Kind| -> Vec<usize> {
            let all = ids.iter().copied();
            all.filter(|at| steps.get(*at).is_some_and(|step| kind_of(step) == kind))
                .collect()
        };
        apply.objects(&ids(Kind::Object)).await;
        apply.parts(&ids(Kind::Part)).await;
        apply.partitions(&ids(Kind::Partition)).await;
        apply.permissions(&ids(Kind::Permission)).await;
    }
    Applied {
        outcomes: apply.outcomes,
    }
}

impl<S: WriteRegion> Apply<'_, S> {
    fn settle(&mut self, at: usize, result: Result<(), Fault>) {
        let Some(step) = self.steps.get(at) else {
            return;
        };
        let done = match result {
            Ok(()) => Done::Applied,
            Err(fault) if is_done_all_the_same(step, &fault) => Done::WasSo,
            Err(fault) => {
                if bears(step) {
                    self.failed.insert(step.subject());
                    self.broken.extend(step.subject().database().cloned());
                }
                Done::Failed(fault)
            }
        };
        if let Some(outcome) = self.outcomes.get_mut(at) {
            *outcome = Some(done);
        }
    }

    fn all_came_about(&self) -> bool {
        let outcomes = self.outcomes.iter().flatten();
        outcomes
            .into_iter()
            .all(|done| matches!(done, Done::Applied | Done::WasSo))
    }

    /// Those of the steps that may go on; the others are marked as skipped.
    fn runnable(&mut self, ids: &[usize]) -> Vec<usize> {
        let mut runnable = Vec::new();
        for &at in ids {
            let Some(step) = self.steps.get(at) else {
                continue;
            };
            let subject = step.subject();
            let parent = subject.database().cloned().map(Subject::Database);
            // What is on all tables of a database, or ends it, rests on every step in it.
            let rests_on_all =
                matches!(step, Step::DeleteDatabase { .. }) || step.phase() == Phase::Wildcards;
            let is_broken = subject
                .database()
                .is_some_and(|database| self.broken.contains(database));
            let blocked = self.failed.contains(&subject)
                || parent.is_some_and(|parent| self.failed.contains(&parent))
                || (rests_on_all && is_broken)
                || (is_by_tags(step) && !self.is_whole);
            if blocked && !is_revoke(step) {
                if !matches!(step, Step::Grant { .. }) {
                    self.broken.extend(subject.database().cloned());
                }
                if let Some(outcome) = self.outcomes.get_mut(at) {
                    *outcome = Some(Done::Skipped);
                }
            } else {
                runnable.push(at);
            }
        }
        runnable
    }

    /// Steps that are one call each.
    async fn objects(&mut self, ids: &[usize]) {
        let ids = self.runnable(ids);
        let (steps, secondary) = (self.steps, self.secondary);
        let calls = ids.iter().map(|&at| {
            let mut along = parts::made_along(steps, at);
            async move {
                let indexes: Vec<&PartitionIndex> = along.iter().map(|(_, index)| *index).collect();
                let mut result = match steps.get(at) {
                    Some(step) => send(step, &indexes, secondary).await,
                    None => Ok(()),
                };
                let invalid = |fault: &Fault| fault.kind == FaultKind::Invalid;
                if let (Some(step), true, false) = (
                    steps.get(at),
                    result.as_ref().is_err_and(invalid),
                    along.is_empty(),
                ) {
                    // It may be an index that is refused: they follow by themselves.
                    along.clear();
                    result = send(step, &[], secondary).await;
                }
                (at, along, result)
            }
        });
        let results: Vec<(usize, Vec<parts::Along<'_>>, Result<(), Fault>)> = stream::iter(calls)
            .buffer_unordered(self.parallel)
            .collect()
            .await;
        for (at, along, result) in results {
            if result.is_ok() {
                for (with, _) in along {
                    self.settle(with, Ok(()));
                }
            }
            self.settle(at, result);
        }
    }

    async fn partitions(&mut self, ids: &[usize]) {
        let ids = self.runnable(ids);
        let mut batches: Vec<Batch<'_>> = Vec::new();
        let mut open: BTreeMap<(&TableId, BatchKind), usize> = BTreeMap::new();
        for at in ids {
            let Some((id, kind)) = self.steps.get(at).and_then(batch_of) else {
                continue;
            };
            let slot = open.get(&(id, kind)).copied();
            let has_room = |batch: &&mut Batch<'_>| batch.steps.len() < kind.limit();
            match slot.and_then(|slot| batches.get_mut(slot)).filter(has_room) {
                Some(batch) => batch.steps.push(at),
                None => {
                    open.insert((id, kind), batches.len());
                    batches.push(Batch {
                        id,
                        kind,
                        steps: vec![at],
                    });
                }
            }
        }
        let (steps, secondary) = (self.steps, self.secondary);
        let calls = batches.iter().map(|batch| async move {
            let result = batch.send(steps, secondary).await;
            (batch, result)
        });
        let results: Vec<(&Batch<'_>, Result<EntryResults, Fault>)> = stream::iter(calls)
            .buffer_unordered(self.parallel)
            .collect()
            .await;
        let settled: Vec<(usize, Result<(), Fault>)> = results
            .into_iter()
            .flat_map(|(batch, result)| spread(&batch.steps, result))
            .collect();
        for (at, result) in settled {
            self.settle(at, result);
        }
    }
}

async fn send<S: WriteRegion>(
    step: &Step,
    indexes: &[&PartitionIndex],
    secondary: &S,
) -> Result<(), Fault> {
    match step {
        Step::CreateDatabase { database } => secondary.create_database(database).await,
        Step::UpdateDatabase { database, .. } => secondary.update_database(database).await,
        Step::DeleteDatabase { name } => secondary.delete_database(name).await,
        Step::CreateTable { id, table } => {
            let made = secondary.create_table(&id.database, table, indexes);
            made.await
        }
        Step::CreateFunction { id, function } => secondary.create_function(id, function).await,
        Step::UpdateFunction { id, function, .. } => secondary.update_function(id, function).await,
        Step::DeleteFunction { id } => secondary.delete_function(id).await,
        Step::UpdateTable {
            id, table, version, ..
        } => {
            let version = version.as_deref();
            secondary.update_table(&id.database, table, version).await
        }
        Step::DeleteTable { id } => secondary.delete_table(id).await,
        Step::PutSettings {
            add,
            add_readers,
            drop,
            rest,
        } => {
            let change = SettingsChange {
                add: add.clone(),
                add_readers: add_readers.clone(),
                drop: drop.clone(),
                defaults: DefaultsChange::Close,
                rest: Some(rest.clone()),
            };
            secondary.put_settings(&change).await
        }
        // Sent in batches.
        Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::DeletePartition { .. }
        | Step::PutPart { .. }
        | Step::RemovePart { .. }
        | Step::Grant { .. }
        | Step::Revoke { .. } => Ok(()),
    }
}

/// One outcome for each entry; where the call as a whole failed, that for all.
fn spread(steps: &[usize], result: Result<EntryResults, Fault>) -> Vec<(usize, Result<(), Fault>)> {
    match result {
        Ok(results) => steps.iter().copied().zip(results).collect(),
        Err(fault) => steps.iter().map(|&at| (at, Err(fault.clone()))).collect(),
    }
}
