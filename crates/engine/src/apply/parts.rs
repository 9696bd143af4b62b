//! Parts go by their owner and kind.

use super::{Apply, spread};
use crate::ports::{EntryResults, INDEXES_AT_CREATION, STATISTICS_BATCH, TAG_BATCH, WriteRegion};
use futures_util::{StreamExt as _, stream};
use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use twinlake_core::catalog::{Part, PartKey, PartitionIndex};
use twinlake_core::{Fault, Step, Subject};

/// A partition index that is made along with its table, and the step that it is.
pub(super) type Along<'a> = (usize, &'a PartitionIndex);

/// Steps on parts of one kind.
type Group = (Discriminant<PartKey>, Vec<usize>);

/// The partition indexes that the creation of a table takes with it (GL-06).
pub(super) fn made_along(steps: &[Step], at: usize) -> Vec<Along<'_>> {
    let Some(Step::CreateTable { id, .. }) = steps.get(at) else {
        return Vec::new();
    };
    let table = Subject::Table(id.clone());
    let indexes = steps.iter().enumerate().filter_map(|(at, step)| {
        if let Step::PutPart {
            subject,
            part: Part::Index(index),
            ..
        } = step
            && *subject == table
        {
            return Some((at, index));
        }
        None
    });
    indexes.take(INDEXES_AT_CREATION).collect()
}

impl<S: WriteRegion> Apply<'_, S> {
    pub(super) async fn parts(&mut self, ids: &[usize]) {
        let open = |at: &usize| self.outcomes.get(*at).is_some_and(Option::is_none);
        let ids: Vec<usize> = ids.iter().copied().filter(open).collect();
        let ids = self.runnable(&ids);
        let mut groups: BTreeMap<&Subject, Vec<Group>> = BTreeMap::new();
        for at in ids {
            let (subject, key) = match self.steps.get(at) {
                Some(Step::PutPart { subject, part, .. }) => (subject, part.key()),
                Some(Step::RemovePart { subject, key }) => (subject, key.clone()),
                Some(_) | None => continue,
            };
            let kinds = groups.entry(subject).or_default();
            let kind = discriminant(&key);
            match kinds
                .iter_mut()
                .find(|(known, all)| *known == kind && all.len() < limit(&key))
            {
                Some((_, all)) => all.push(at),
                None => kinds.push((kind, vec![at])),
            }
        }
        let (steps, secondary) = (self.steps, self.secondary);
        let batches = groups.into_iter().flat_map(|(subject, kinds)| {
            let batches = kinds.into_iter();
            batches.map(move |(_, steps)| (subject, steps))
        });
        let calls = batches.map(|(subject, batch)| async move {
            let result = send(steps, &batch, subject, secondary).await;
            (batch, result)
        });
        let results: Vec<(Vec<usize>, Result<EntryResults, Fault>)> = stream::iter(calls)
            .buffer_unordered(self.parallel)
            .collect()
            .await;
        let settled = results
            .into_iter()
            .flat_map(|(batch, result)| spread(&batch, result));
        for (at, result) in settled.collect::<Vec<_>>() {
            self.settle(at, result);
        }
    }
}

/// How many parts of a kind go together.
fn limit(key: &PartKey) -> usize {
    match key {
        PartKey::TagValue { .. } | PartKey::Assigned { .. } => TAG_BATCH,
        PartKey::Index(_)
        | PartKey::Statistics(_)
        | PartKey::Tag(_)
        | PartKey::Filter(_)
        | PartKey::OptIn(_)
        | PartKey::Expression(_)
        | PartKey::Registration(_) => STATISTICS_BATCH,
    }
}

async fn send<S: WriteRegion>(
    steps: &[Step],
    batch: &[usize],
    subject: &Subject,
    secondary: &S,
) -> Result<EntryResults, Fault> {
    let mut parts = Vec::new();
    let mut keys = Vec::new();
    for step in batch.iter().filter_map(|&at| steps.get(at)) {
        if let Step::PutPart { part, .. } = step {
            parts.push(part);
        }
        if let Step::RemovePart { key, .. } = step {
            keys.push(key);
        }
    }
    match keys.is_empty() {
        true => secondary.put_parts(subject, &parts).await,
        false => secondary.remove_parts(subject, &keys).await,
    }
}
