//! Batches of partition writes of one kind and one table, and the division of a batch that fails
//! as a whole.

use super::{Calls, per_entry};
use crate::ports::{
    EntryResults, MAX_PARTITIONS_PER_CREATE, MAX_PARTITIONS_PER_DELETE, MAX_PARTITIONS_PER_UPDATE,
    WriteRegion,
};
use futures_util::FutureExt as _;
use std::collections::BTreeMap;
use twinlake_core::{CallError, CallErrorKind, Partition, Step, TableId};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BatchKind {
    Create,
    Update,
    Delete,
}

impl BatchKind {
    pub(super) fn limit(self) -> usize {
        match self {
            Self::Create => MAX_PARTITIONS_PER_CREATE,
            Self::Update => MAX_PARTITIONS_PER_UPDATE,
            Self::Delete => MAX_PARTITIONS_PER_DELETE,
        }
    }
}

pub(super) fn partition_batch_key(step: &Step) -> Option<(&TableId, BatchKind)> {
    match step {
        Step::CreatePartition { id, .. } => Some((id, BatchKind::Create)),
        Step::UpdatePartition { id, .. } => Some((id, BatchKind::Update)),
        Step::DeletePartition { id, .. } => Some((id, BatchKind::Delete)),
        Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreateTable { .. }
        | Step::UpdateTable { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutAttachment { .. }
        | Step::PutSettings { .. }
        | Step::RemoveAttachment { .. }
        | Step::Grant { .. }
        | Step::Revoke { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => None,
    }
}

pub(super) struct PartitionBatch<'a> {
    pub(super) id: &'a TableId,
    pub(super) kind: BatchKind,
    pub(super) steps: Vec<usize>,
}

/// Returns the calls for steps on partitions, in batches of one kind and one table.
pub(super) fn calls<'a, S: WriteRegion>(
    steps: &'a [Step],
    positions: &[usize],
    standby: &'a S,
) -> Vec<Calls<'a>> {
    let mut batches: Vec<PartitionBatch<'a>> = Vec::new();
    let mut open_batches: BTreeMap<(&TableId, BatchKind), usize> = BTreeMap::new();
    for &position in positions {
        let Some((id, kind)) = steps.get(position).and_then(partition_batch_key) else {
            continue;
        };
        let slot = open_batches.get(&(id, kind)).copied();
        let has_room = |batch: &&mut PartitionBatch<'_>| batch.steps.len() < kind.limit();
        match slot.and_then(|slot| batches.get_mut(slot)).filter(has_room) {
            Some(batch) => batch.steps.push(position),
            None => {
                open_batches.insert((id, kind), batches.len());
                batches.push(PartitionBatch {
                    id,
                    kind,
                    steps: vec![position],
                });
            }
        }
    }
    let calls = batches.into_iter().map(|batch| {
        let of_batch = async move {
            let result = batch.send(steps, standby).await;
            per_entry(&batch.steps, result)
        };
        of_batch.boxed_local()
    });
    calls.collect()
}

impl PartitionBatch<'_> {
    /// Sends the batch, and in parts if a call fails as a whole. Returns one result for each step
    /// of the batch.
    pub(super) async fn send<S: WriteRegion>(
        &self,
        steps: &[Step],
        standby: &S,
    ) -> Result<EntryResults, CallError> {
        let mut division = BatchDivision::new(&self.steps);
        while let Some(part) = division.next_part() {
            let result = self.send_part(&part, steps, standby).await;
            division.record(&part, result);
        }
        Ok(division.into_results(&self.steps))
    }

    async fn send_part<S: WriteRegion>(
        &self,
        part: &[usize],
        steps: &[Step],
        standby: &S,
    ) -> Result<EntryResults, CallError> {
        let own_steps = || part.iter().filter_map(|&index| steps.get(index));
        let partitions = || -> Vec<&Partition> {
            own_steps()
                .filter_map(|step| {
                    if let Step::CreatePartition { partition, .. }
                    | Step::UpdatePartition { partition, .. } = step
                    {
                        Some(partition)
                    } else {
                        None
                    }
                })
                .collect()
        };
        match self.kind {
            BatchKind::Create => standby.create_partitions(self.id, &partitions()).await,
            BatchKind::Update => standby.update_partitions(self.id, &partitions()).await,
            BatchKind::Delete => {
                let values: Vec<&[String]> = own_steps()
                    .filter_map(|step| {
                        if let Step::DeletePartition { values, .. } = step {
                            Some(values.as_slice())
                        } else {
                            None
                        }
                    })
                    .collect();
                standby.delete_partitions(self.id, &values).await
            }
        }
    }
}

/// After this many entries failed alone and none succeeded, an error that usually concerns every
/// entry (a missing permission, a missing table) is taken to concern the rest of the batch, too.
const MAX_ENTRIES_DENIED_ALONE: usize = 8;

/// Divides a batch whose call fails as a whole. The error does not say which entry caused it, so
/// the batch is sent again in halves until the entry that the service rejects stands alone and the
/// others have succeeded.
pub(super) struct BatchDivision {
    /// Parts that are still to be sent, in reverse order.
    unsent: Vec<Vec<usize>>,
    /// The result of each entry that was sent, by the index of its step.
    results: BTreeMap<usize, Result<(), CallError>>,
    /// Number of entries that failed in a call of their own.
    failed_alone: usize,
    has_success: bool,
}

impl BatchDivision {
    /// The entries of one batch, by the indices of their steps.
    pub(super) fn new(entries: &[usize]) -> Self {
        Self {
            unsent: vec![entries.to_vec()],
            results: BTreeMap::new(),
            failed_alone: 0,
            has_success: false,
        }
    }

    /// The entries of the next call.
    pub(super) fn next_part(&mut self) -> Option<Vec<usize>> {
        let part = self.unsent.pop();
        part.filter(|part| !part.is_empty())
    }

    /// Records the result of a call, and divides the part if one of its entries may be the only
    /// cause of the failure.
    pub(super) fn record(&mut self, part: &[usize], result: Result<EntryResults, CallError>) {
        let error = match result {
            Ok(results) => {
                self.has_success |= results.iter().any(Result::is_ok);
                self.results.extend(part.iter().copied().zip(results));
                return;
            }
            Err(error) => error,
        };
        if part.len() > 1 && self.divides(&error) {
            let (first, second) = part.split_at(part.len() / 2);
            self.unsent.push(second.to_vec());
            self.unsent.push(first.to_vec());
            return;
        }
        self.failed_alone += usize::from(part.len() == 1);
        let failed = part.iter().map(|&index| (index, Err(error.clone())));
        self.results.extend(failed);
    }

    fn divides(&self, error: &CallError) -> bool {
        match error.kind {
            CallErrorKind::Invalid | CallErrorKind::Unsupported | CallErrorKind::AlreadyInState => {
                true
            }
            CallErrorKind::NotFound | CallErrorKind::Denied | CallErrorKind::NotPropagated => {
                self.has_success || self.failed_alone < MAX_ENTRIES_DENIED_ALONE
            }
            // A later attempt sends the whole batch again.
            CallErrorKind::Contended | CallErrorKind::Unavailable => false,
        }
    }

    /// The result of each entry, in the order of the batch.
    pub(super) fn into_results(mut self, entries: &[usize]) -> EntryResults {
        entries
            .iter()
            .map(|index| {
                self.results.remove(index).unwrap_or_else(|| {
                    let message = "the response has no result for this entry";
                    Err(CallError::new(
                        CallErrorKind::Unavailable,
                        "batch call",
                        "",
                        message,
                    ))
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: CallErrorKind) -> CallError {
        CallError::new(kind, "BatchCreatePartition", "ap-south-1", "no")
    }

    /// Sends entries 0 to `count`; a call that contains one of `bad` fails as a whole. Returns the
    /// entries that failed and the number of calls.
    fn send(count: usize, bad: &[usize], kind: CallErrorKind) -> (Vec<usize>, usize) {
        let entries: Vec<usize> = (0..count).collect();
        let mut division = BatchDivision::new(&entries);
        let mut calls = 0;
        while let Some(part) = division.next_part() {
            calls += 1;
            let result = match part.iter().any(|entry| bad.contains(entry)) {
                true => Err(error(kind)),
                false => Ok(vec![Ok(()); part.len()]),
            };
            division.record(&part, result);
        }
        let results = division.into_results(&entries);
        let failed = results.iter().enumerate().filter(|(_, r)| r.is_err());
        (failed.map(|(index, _)| index).collect(), calls)
    }

    #[test]
    fn one_bad_entry_stands_alone_and_its_neighbours_succeed() {
        let (failed, calls) = send(100, &[63], CallErrorKind::Invalid);
        assert_eq!(failed, [63]);
        assert!(calls <= 15, "{calls} calls");
    }

    #[test]
    fn several_bad_entries_are_found_wherever_they_are() {
        let bad = [0, 1, 49, 50, 99];
        assert_eq!(send(100, &bad, CallErrorKind::Invalid).0, bad);
        assert_eq!(send(25, &[24], CallErrorKind::AlreadyInState).0, [24]);
        assert_eq!(send(1, &[0], CallErrorKind::Invalid), (vec![0], 1));
    }

    #[test]
    fn a_denied_entry_stands_alone_and_a_denied_role_costs_few_calls() {
        assert_eq!(send(100, &[3], CallErrorKind::Denied).0, [3]);
        let all: Vec<usize> = (0..100).collect();
        let (failed, calls) = send(100, &all, CallErrorKind::Denied);
        assert_eq!(failed, all);
        assert!(calls < 40, "{calls} calls");
    }

    #[test]
    fn a_transient_failure_is_left_to_a_later_attempt() {
        let all: Vec<usize> = (0..100).collect();
        assert_eq!(send(100, &[7], CallErrorKind::Contended), (all, 1));
    }

    #[test]
    fn an_entry_without_a_result_did_not_succeed() {
        let mut division = BatchDivision::new(&[4, 5]);
        let part = division.next_part().unwrap();
        division.record(&part, Ok(vec![Ok(())]));
        let results = division.into_results(&[4, 5]);
        assert!(results[0].is_ok() && results[1].is_err());
    }
}
