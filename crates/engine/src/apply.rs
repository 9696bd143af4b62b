//! Applies an approved plan, in its order, and returns the result of every step.
//!
//! A step is applied only if every step that it requires succeeded. What is applied is therefore one
//! of the sets of steps that the audit has checked.

mod attachments;
mod partition_batches;
mod permissions;
mod step_rules;

use crate::ports::{DefaultPermissionsChange, EntryResults, SettingsChange, WriteRegion};
use futures_util::{StreamExt as _, stream};
use partition_batches::{BatchKind, PartitionBatch, partition_batch_key};
use std::collections::{BTreeMap, BTreeSet};
use step_rules::{StepKind, has_intended_effect, kind_of};
use twinlake_core::catalog::PartitionIndex;
use twinlake_core::step::Phase;
use twinlake_core::{ApprovedPlan, CallError, CallErrorKind, Step, TableId};

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
    requires: &'a [Vec<usize>],
    /// The steps that others require.
    required: BTreeSet<usize>,
    results: Vec<Option<StepResult>>,
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
        requires: &approved.plan().requires,
        required: approved.plan().requires.iter().flatten().copied().collect(),
        results: vec![None; steps.len()],
        max_concurrent_calls: max_concurrent_calls.max(1),
    };
    // One position after the other: the order of entries within a batch is not defined, so
    // dependent entries are never in one batch.
    let mut positions: BTreeMap<(Phase, u8), Vec<usize>> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        positions.entry(step.order()).or_default().push(index);
    }
    for indices in positions.into_values() {
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
            Err(error) if has_intended_effect(step, &error, self.required.contains(&index)) => {
                StepResult::AlreadyDone
            }
            Err(error) => StepResult::Failed(error),
        };
        if let Some(slot) = self.results.get_mut(index) {
            *slot = Some(result);
        }
    }

    /// Returns the steps whose requirements succeeded, and marks the others as skipped.
    fn runnable(&mut self, indices: &[usize]) -> Vec<usize> {
        let mut runnable = Vec::new();
        for &index in indices {
            let mut required = self.requires.get(index).into_iter().flatten();
            let is_done = required.all(|required| {
                let result = self.results.get(*required).and_then(Option::as_ref);
                matches!(result, Some(StepResult::Applied | StepResult::AlreadyDone))
            });
            if is_done {
                runnable.push(index);
            } else if let Some(result) = self.results.get_mut(index) {
                *result = Some(StepResult::Skipped);
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
            added_admins,
            added_read_only_admins,
            removed_admins,
            other_settings,
        } => {
            let change = SettingsChange {
                added_admins: added_admins.clone(),
                added_read_only_admins: added_read_only_admins.clone(),
                removed_admins: removed_admins.clone(),
                default_permissions: DefaultPermissionsChange::Clear,
                other_settings: Some(other_settings.clone()),
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
