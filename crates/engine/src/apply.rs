//! Applies an approved plan, phase after phase, and returns the result of every step.
//!
//! A step is skipped if a step that it depends on failed: an earlier step on its subject or its
//! database; for the deletion of a database and for broad grants, any step in the database; for
//! grants through LF-Tags, any step at all. Stopping early is safe, since every prefix of a plan
//! is safe.

mod attachments;
mod partition_batches;
mod permissions;
mod step_rules;

use crate::ports::{DefaultsChange, EntryResults, SettingsChange, WriteRegion};
use futures_util::{StreamExt as _, stream};
use partition_batches::{BatchKind, PartitionBatch, partition_batch_key};
use std::collections::{BTreeMap, BTreeSet};
use step_rules::{
    StepKind, blocks_dependents, grants_through_lf_tags, has_intended_effect, is_revoke, kind_of,
};
use twinlake_core::catalog::PartitionIndex;
use twinlake_core::step::Phase;
use twinlake_core::{ApprovedPlan, CallError, CallErrorKind, Name, Step, Subject, TableId};

/// The result of one step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepResult {
    /// The step took effect.
    Applied,
    /// There was nothing left to revoke or delete.
    AlreadyDone,
    /// Not attempted, since a step that it depends on failed.
    Skipped,
    /// Failed with this error.
    Failed(CallError),
}

/// The results of a plan: one for each step, in the plan's order.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The results; `None` for steps that were not reached.
    pub results: Vec<Option<StepResult>>,
}

struct Apply<'a, S> {
    standby: &'a S,
    steps: &'a [Step],
    results: Vec<Option<StepResult>>,
    /// Subjects with a failed step on which others depend.
    failed: BTreeSet<Subject>,
    /// Databases in which a step on which others depend did not succeed.
    incomplete_databases: BTreeSet<Name>,
    /// Whether every step so far succeeded: grants by LF-Tags depend on all of them.
    all_succeeded_so_far: bool,
    max_concurrent_calls: usize,
}

/// Applies the steps with at most `max_concurrent_calls` calls at a time. Grants and revokes are
/// sent one batch after the other, since concurrent writes for one principal and resource
/// conflict (LF-12).
pub async fn apply<S: WriteRegion>(
    standby: &S,
    approved: &ApprovedPlan,
    max_concurrent_calls: usize,
) -> Applied {
    let steps = approved.steps();
    let mut apply = Apply {
        standby,
        steps,
        results: vec![None; steps.len()],
        failed: BTreeSet::new(),
        incomplete_databases: BTreeSet::new(),
        all_succeeded_so_far: true,
        max_concurrent_calls: max_concurrent_calls.max(1),
    };
    // One position after the other: the order of entries within a batch is not defined, so
    // dependent entries are never in one batch.
    let mut positions: BTreeMap<(Phase, u8), Vec<usize>> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        positions.entry(step.order()).or_default().push(index);
    }
    for ((phase, _), indices) in positions {
        if phase == Phase::BroadGrants {
            apply.all_succeeded_so_far = apply.all_succeeded();
        }
        let indices = |kind: StepKind| -> Vec<usize> {
            let all = indices.iter().copied();
            all.filter(|index| steps.get(*index).is_some_and(|step| kind_of(step) == kind))
                .collect()
        };
        apply.apply_objects(&indices(StepKind::Object)).await;
        apply
            .apply_attachments(&indices(StepKind::Attachment))
            .await;
        apply.apply_partitions(&indices(StepKind::Partition)).await;
        apply
            .apply_permissions(&indices(StepKind::Permission))
            .await;
    }
    Applied {
        results: apply.results,
    }
}

impl<S: WriteRegion> Apply<'_, S> {
    fn record_result(&mut self, index: usize, result: Result<(), CallError>) {
        let Some(step) = self.steps.get(index) else {
            return;
        };
        let result = match result {
            Ok(()) => StepResult::Applied,
            Err(error) if has_intended_effect(step, &error) => StepResult::AlreadyDone,
            Err(error) => {
                if blocks_dependents(step) {
                    self.failed.insert(step.subject());
                    self.incomplete_databases
                        .extend(step.subject().database().cloned());
                }
                StepResult::Failed(error)
            }
        };
        if let Some(slot) = self.results.get_mut(index) {
            *slot = Some(result);
        }
    }

    fn all_succeeded(&self) -> bool {
        let results = self.results.iter().flatten();
        results
            .into_iter()
            .all(|result| matches!(result, StepResult::Applied | StepResult::AlreadyDone))
    }

    /// Returns the steps that do not depend on a failed step, and marks the others as skipped.
    fn runnable(&mut self, indices: &[usize]) -> Vec<usize> {
        let mut runnable = Vec::new();
        for &index in indices {
            let Some(step) = self.steps.get(index) else {
                continue;
            };
            let subject = step.subject();
            let parent = subject.database().cloned().map(Subject::Database);
            // The deletion of a database and broad grants depend on every step in the database.
            let depends_on_database =
                matches!(step, Step::DeleteDatabase { .. }) || step.phase() == Phase::BroadGrants;
            let is_incomplete = subject
                .database()
                .is_some_and(|database| self.incomplete_databases.contains(database));
            let is_blocked = self.failed.contains(&subject)
                || parent.is_some_and(|parent| self.failed.contains(&parent))
                || (depends_on_database && is_incomplete)
                || (grants_through_lf_tags(step) && !self.all_succeeded_so_far);
            if is_blocked && !is_revoke(step) {
                if !matches!(step, Step::Grant { .. }) {
                    self.incomplete_databases
                        .extend(subject.database().cloned());
                }
                if let Some(result) = self.results.get_mut(index) {
                    *result = Some(StepResult::Skipped);
                }
            } else {
                runnable.push(index);
            }
        }
        runnable
    }

    /// Applies steps that take one call each.
    async fn apply_objects(&mut self, indices: &[usize]) {
        let indices = self.runnable(indices);
        let (steps, standby) = (self.steps, self.standby);
        let calls = indices.iter().map(|&index| {
            let mut with_table = attachments::indexes_created_with_table(steps, index);
            async move {
                let indexes: Vec<&PartitionIndex> = with_table
                    .iter()
                    .map(|(_, partition_index)| *partition_index)
                    .collect();
                let mut result = match steps.get(index) {
                    Some(step) => send(step, &indexes, standby).await,
                    None => Ok(()),
                };
                let is_invalid = |error: &CallError| error.kind == CallErrorKind::Invalid;
                if let (Some(step), true, false) = (
                    steps.get(index),
                    result.as_ref().is_err_and(is_invalid),
                    with_table.is_empty(),
                ) {
                    // Glue may have rejected an index: create the table without indexes; they
                    // follow as separate steps.
                    with_table.clear();
                    result = send(step, &[], standby).await;
                }
                (index, with_table, result)
            }
        });
        let results: Vec<(
            usize,
            Vec<attachments::IndexWithTable<'_>>,
            Result<(), CallError>,
        )> = stream::iter(calls)
            .buffer_unordered(self.max_concurrent_calls)
            .collect()
            .await;
        for (index, with_table, result) in results {
            if result.is_ok() {
                for (index, _) in with_table {
                    self.record_result(index, Ok(()));
                }
            }
            self.record_result(index, result);
        }
    }

    /// Applies steps on partitions, in batches of one kind and one table.
    async fn apply_partitions(&mut self, indices: &[usize]) {
        let indices = self.runnable(indices);
        let mut batches: Vec<PartitionBatch<'_>> = Vec::new();
        let mut open_batches: BTreeMap<(&TableId, BatchKind), usize> = BTreeMap::new();
        for index in indices {
            let Some((id, kind)) = self.steps.get(index).and_then(partition_batch_key) else {
                continue;
            };
            let slot = open_batches.get(&(id, kind)).copied();
            let has_room = |batch: &&mut PartitionBatch<'_>| batch.steps.len() < kind.limit();
            match slot.and_then(|slot| batches.get_mut(slot)).filter(has_room) {
                Some(batch) => batch.steps.push(index),
                None => {
                    open_batches.insert((id, kind), batches.len());
                    batches.push(PartitionBatch {
                        id,
                        kind,
                        steps: vec![index],
                    });
                }
            }
        }
        let (steps, standby) = (self.steps, self.standby);
        let calls = batches.iter().map(|batch| async move {
            let result = batch.send(steps, standby).await;
            (batch, result)
        });
        let results: Vec<(&PartitionBatch<'_>, Result<EntryResults, CallError>)> =
            stream::iter(calls)
                .buffer_unordered(self.max_concurrent_calls)
                .collect()
                .await;
        let results: Vec<(usize, Result<(), CallError>)> = results
            .into_iter()
            .flat_map(|(batch, result)| per_entry(&batch.steps, result))
            .collect();
        for (index, result) in results {
            self.record_result(index, result);
        }
    }
}

async fn send<S: WriteRegion>(
    step: &Step,
    indexes: &[&PartitionIndex],
    standby: &S,
) -> Result<(), CallError> {
    match step {
        Step::CreateDatabase { database } => standby.create_database(database).await,
        Step::UpdateDatabase { database, .. } => standby.update_database(database).await,
        Step::DeleteDatabase { name } => standby.delete_database(name).await,
        Step::CreateTable { id, table } => {
            let call = standby.create_table(&id.database, table, indexes);
            call.await
        }
        Step::CreateFunction { id, function } => standby.create_function(id, function).await,
        Step::UpdateFunction { id, function, .. } => standby.update_function(id, function).await,
        Step::DeleteFunction { id } => standby.delete_function(id).await,
        Step::UpdateTable {
            id, table, version, ..
        } => {
            let version = version.as_deref();
            standby.update_table(&id.database, table, version).await
        }
        Step::DeleteTable { id } => standby.delete_table(id).await,
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
            standby.put_settings(&change).await
        }
        // Sent in batches.
        Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::DeletePartition { .. }
        | Step::PutAttachment { .. }
        | Step::RemoveAttachment { .. }
        | Step::Grant { .. }
        | Step::Revoke { .. } => Ok(()),
    }
}

/// Returns one result per entry. If the whole call failed, every entry gets its error.
fn per_entry(
    steps: &[usize],
    result: Result<EntryResults, CallError>,
) -> Vec<(usize, Result<(), CallError>)> {
    match result {
        Ok(results) => steps.iter().copied().zip(results).collect(),
        Err(error) => steps
            .iter()
            .map(|&index| (index, Err(error.clone())))
            .collect(),
    }
}
