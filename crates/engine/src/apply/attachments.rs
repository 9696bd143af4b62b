//! Writes attachments in batches of one subject and kind.

use super::Apply;
use super::partition_batches::BatchDivision;
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

/// What the entries of one call share: whether they are removed, their kind, and the column or the
/// LF-Tag that the call names.
type CallKey = (bool, Discriminant<AttachmentKey>, Option<String>);

/// Steps that one call carries.
type Batch = (CallKey, Vec<usize>);

/// The partition indexes that the `CreateTable` call of a step creates, too (GL-06).
pub(super) fn indexes_created_with_table(steps: &[Step], index: usize) -> Vec<IndexWithTable<'_>> {
    let Some(Step::CreateTable { id, .. }) = steps.get(index) else {
        return Vec::new();
    };
    let table = Subject::Table(id.clone());
    let indexes = steps.iter().enumerate().filter_map(|(index, step)| {
        if let Step::PutAttachment {
            subject,
            attachment: Attachment::Index(partition_index),
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
            let (subject, key, removes) = match self.steps.get(index) {
                Some(Step::PutAttachment {
                    subject,
                    attachment,
                    ..
                }) => (subject, attachment.key(), false),
                Some(Step::RemoveAttachment { subject, key, .. }) => (subject, key.clone(), true),
                Some(_) | None => continue,
            };
            let batches = groups.entry(subject).or_default();
            let call_key = (removes, discriminant(&key), shared_target(&key));
            match batches
                .iter_mut()
                .find(|(other, indices)| *other == call_key && indices.len() < batch_limit(&key))
            {
                Some((_, indices)) => indices.push(index),
                None => batches.push((call_key, vec![index])),
            }
        }
        let (steps, standby) = (self.steps, self.standby);
        // One subject's batches are sent one after the other: concurrent Lake Formation writes on one
        // table conflict (LF-12).
        let calls = groups.into_iter().map(|(subject, batches)| async move {
            let mut of_subject = Vec::new();
            for (_, batch) in batches {
                let results = send_divided(steps, &batch, subject, standby).await;
                of_subject.push((batch, results));
            }
            of_subject
        });
        let results: Vec<Vec<(Vec<usize>, EntryResults)>> = stream::iter(calls)
            .buffer_unordered(self.max_concurrent_calls)
            .collect()
            .await;
        for (batch, results) in results.into_iter().flatten() {
            for (index, result) in batch.into_iter().zip(results) {
                self.record_result(index, result);
            }
        }
    }
}

/// The column of an assigned LF-Tag, or the LF-Tag of a value: one call names only one of them.
fn shared_target(key: &AttachmentKey) -> Option<String> {
    match key {
        AttachmentKey::LfTagAssignment { column, .. } => column.as_ref().map(ToString::to_string),
        AttachmentKey::LfTagValue { key, .. } => Some(key.clone()),
        AttachmentKey::Index(_)
        | AttachmentKey::Statistics(_)
        | AttachmentKey::GlueTag(_)
        | AttachmentKey::DataCellsFilter(_)
        | AttachmentKey::OptIn(_)
        | AttachmentKey::NamedExpression(_)
        | AttachmentKey::Registration(_) => None,
    }
}

/// Sends a batch, and in parts if a call fails as a whole. Returns one result for each step.
async fn send_divided<S: WriteRegion>(
    steps: &[Step],
    batch: &[usize],
    subject: &Subject,
    standby: &S,
) -> EntryResults {
    let mut division = BatchDivision::new(batch);
    while let Some(part) = division.next_part() {
        let result = send(steps, &part, subject, standby).await;
        division.record(&part, result);
    }
    division.into_results(batch)
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
        if let Step::PutAttachment { attachment, .. } = step {
            attachments.push(attachment);
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
