//! Writes attachments in batches of one subject and kind.

use super::{Apply, per_entry};
use crate::ports::{
    EntryResults, MAX_INDEXES_PER_CREATE_TABLE, MAX_LF_TAGS_PER_CALL, MAX_STATISTICS_PER_UPDATE,
    WriteRegion,
};
use futures_util::{StreamExt as _, stream};
use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use twinlake_core::catalog::{Attachment, AttachmentKey, PartitionIndex};
use twinlake_core::{CallError, Step, Subject};

/// A partition index that is created together with its table, and the index of its step.
pub(super) type IndexWithTable<'a> = (usize, &'a PartitionIndex);

/// Steps on attachments of one kind.
type Batch = (Discriminant<AttachmentKey>, Vec<usize>);

/// The partition indexes that the `CreateTable` call of a step creates, too (GL-06).
pub(super) fn indexes_created_with_table(steps: &[Step], index: usize) -> Vec<IndexWithTable<'_>> {
    let Some(Step::CreateTable { id, .. }) = steps.get(index) else {
        return Vec::new();
    };
    let table = Subject::Table(id.clone());
    let indexes = steps.iter().enumerate().filter_map(|(index, step)| {
        if let Step::PutAttachment {
            subject,
            part: Attachment::Index(partition_index),
            ..
        } = step
            && *subject == table
        {
            return Some((index, partition_index));
        }
        None
    });
    indexes.take(MAX_INDEXES_PER_CREATE_TABLE).collect()
}

impl<S: WriteRegion> Apply<'_, S> {
    /// Applies steps on attachments that are not done yet.
    pub(super) async fn apply_attachments(&mut self, indices: &[usize]) {
        let is_open = |index: &usize| self.results.get(*index).is_some_and(Option::is_none);
        let indices: Vec<usize> = indices.iter().copied().filter(is_open).collect();
        let indices = self.runnable(&indices);
        let mut groups: BTreeMap<&Subject, Vec<Batch>> = BTreeMap::new();
        for index in indices {
            let (subject, key) = match self.steps.get(index) {
                Some(Step::PutAttachment { subject, part, .. }) => (subject, part.key()),
                Some(Step::RemoveAttachment { subject, key }) => (subject, key.clone()),
                Some(_) | None => continue,
            };
            let batches = groups.entry(subject).or_default();
            let kind = discriminant(&key);
            match batches
                .iter_mut()
                .find(|(other, indices)| *other == kind && indices.len() < batch_limit(&key))
            {
                Some((_, indices)) => indices.push(index),
                None => batches.push((kind, vec![index])),
            }
        }
        let (steps, standby) = (self.steps, self.standby);
        let batches = groups.into_iter().flat_map(|(subject, batches)| {
            let batches = batches.into_iter();
            batches.map(move |(_, indices)| (subject, indices))
        });
        let calls = batches.map(|(subject, batch)| async move {
            let result = send(steps, &batch, subject, standby).await;
            (batch, result)
        });
        let results: Vec<(Vec<usize>, Result<EntryResults, CallError>)> = stream::iter(calls)
            .buffer_unordered(self.max_concurrent_calls)
            .collect()
            .await;
        let results = results
            .into_iter()
            .flat_map(|(batch, result)| per_entry(&batch, result));
        for (index, result) in results.collect::<Vec<_>>() {
            self.record_result(index, result);
        }
    }
}

/// Most attachments of a kind in one batch.
fn batch_limit(key: &AttachmentKey) -> usize {
    match key {
        AttachmentKey::LfTagValue { .. } | AttachmentKey::LfTagAssignment { .. } => {
            MAX_LF_TAGS_PER_CALL
        }
        AttachmentKey::Index(_)
        | AttachmentKey::Statistics(_)
        | AttachmentKey::GlueTag(_)
        | AttachmentKey::DataCellsFilter(_)
        | AttachmentKey::OptIn(_)
        | AttachmentKey::NamedExpression(_)
        | AttachmentKey::Registration(_) => MAX_STATISTICS_PER_UPDATE,
    }
}

/// Sends a batch: all of its steps put attachments, or all remove attachments.
async fn send<S: WriteRegion>(
    steps: &[Step],
    batch: &[usize],
    subject: &Subject,
    standby: &S,
) -> Result<EntryResults, CallError> {
    let mut attachments = Vec::new();
    let mut keys = Vec::new();
    for step in batch.iter().filter_map(|&index| steps.get(index)) {
        if let Step::PutAttachment { part, .. } = step {
            attachments.push(part);
        }
        if let Step::RemoveAttachment { key, .. } = step {
            keys.push(key);
        }
    }
    match keys.is_empty() {
        true => standby.put_attachments(subject, &attachments).await,
        false => standby.remove_attachments(subject, &keys).await,
    }
}
