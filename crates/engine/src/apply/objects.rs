//! Sends steps that take one call each.

use super::{Calls, StepResults};
use crate::ports::{
    DefaultPermissionsChange, MAX_INDEXES_PER_CREATE_TABLE, SettingsChange, WriteRegion,
};
use futures_util::FutureExt as _;
use std::collections::BTreeMap;
use twinlake_core::catalog::{Attachment, PartitionIndex};
use twinlake_core::{CallError, CallErrorKind, Step, Subject, TableId};

/// A partition index that is created together with its table, and the position of its step.
type IndexWithTable<'a> = (usize, &'a PartitionIndex);

/// Returns one call for each step.
pub(super) fn calls<'a, S: WriteRegion>(
    steps: &'a [Step],
    positions: &[usize],
    standby: &'a S,
) -> Vec<Calls<'a>> {
    let mut indexes = indexes_of_new_tables(steps, positions);
    let calls = positions.iter().filter_map(|&position| {
        let step = steps.get(position)?;
        let with_table = match step {
            Step::CreateTable { id, .. } => indexes.remove(id).unwrap_or_default(),
            Step::CreateDatabase { .. }
            | Step::UpdateDatabase { .. }
            | Step::UpdateTable { .. }
            | Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeleteFunction { .. }
            | Step::PutAttachment { .. }
            | Step::PutSettings { .. }
            | Step::RemoveAttachment { .. }
            | Step::Grant { .. }
            | Step::Revoke { .. }
            | Step::DeletePartition { .. }
            | Step::DeleteTable { .. }
            | Step::DeleteDatabase { .. } => Vec::new(),
        };
        Some(send_with_indexes(step, position, with_table, standby).boxed_local())
    });
    calls.collect()
}

/// The partition indexes that each `CreateTable` call creates, too (GL-06).
fn indexes_of_new_tables<'a>(
    steps: &'a [Step],
    positions: &[usize],
) -> BTreeMap<&'a TableId, Vec<IndexWithTable<'a>>> {
    let mut indexes: BTreeMap<&TableId, Vec<IndexWithTable<'_>>> = BTreeMap::new();
    for step in positions.iter().filter_map(|position| steps.get(*position)) {
        if let Step::CreateTable { id, .. } = step {
            indexes.insert(id, Vec::new());
        }
    }
    if indexes.is_empty() {
        return indexes;
    }
    for (position, step) in steps.iter().enumerate() {
        if let Step::PutAttachment {
            subject: Subject::Table(id),
            attachment: Attachment::Index(partition_index),
            ..
        } = step
            && let Some(of_table) = indexes.get_mut(id)
            && of_table.len() < MAX_INDEXES_PER_CREATE_TABLE
        {
            of_table.push((position, partition_index));
        }
    }
    indexes
}

async fn send_with_indexes<S: WriteRegion>(
    step: &Step,
    position: usize,
    mut with_table: Vec<IndexWithTable<'_>>,
    standby: &S,
) -> StepResults {
    let indexes: Vec<&PartitionIndex> = with_table.iter().map(|(_, index)| *index).collect();
    let mut result = send(step, &indexes, standby).await;
    let is_invalid = |error: &CallError| error.kind == CallErrorKind::Invalid;
    if result.as_ref().is_err_and(is_invalid) && !with_table.is_empty() {
        // Glue may have rejected an index: create the table without indexes; they follow as
        // separate steps.
        with_table.clear();
        result = send(step, &[], standby).await;
    }
    let mut results = vec![(position, result.clone())];
    if result.is_ok() {
        results.extend(
            with_table
                .into_iter()
                .map(|(position, _)| (position, Ok(()))),
        );
    }
    results
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
            removed_read_only_admins,
            other_settings,
            kept_admins,
            kept_read_only_admins,
            only_narrows: _,
        } => {
            let change = SettingsChange {
                added_admins: added_admins.clone(),
                added_read_only_admins: added_read_only_admins.clone(),
                removed_admins: removed_admins.clone(),
                removed_read_only_admins: removed_read_only_admins.clone(),
                default_permissions: DefaultPermissionsChange::Clear,
                other_settings: other_settings.clone(),
                kept_admins: kept_admins.clone(),
                kept_read_only_admins: kept_read_only_admins.clone(),
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
