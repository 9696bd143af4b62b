//! Partitions go in batches of one kind and one table.

use crate::ports::{CREATE_BATCH, DELETE_BATCH, EntryResults, UPDATE_BATCH, WriteRegion};
use twinlake_core::{Fault, Partition, Step, TableId};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BatchKind {
    Create,
    Update,
    Delete,
}

impl BatchKind {
    pub(super) fn limit(self) -> usize {
        match self {
            Self::Create => CREATE_BATCH,
            Self::Update => UPDATE_BATCH,
            Self::Delete => DELETE_BATCH,
        }
    }
}

pub(super) fn batch_of(step: &Step) -> Option<(&TableId, BatchKind)> {
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
        | Step::PutPart { .. }
        | Step::PutSettings { .. }
        | Step::RemovePart { .. }
        | Step::Grant { .. }
        | Step::Revoke { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => None,
    }
}

pub(super) struct Batch<'a> {
    pub(super) id: &'a TableId,
    pub(super) kind: BatchKind,
    pub(super) steps: Vec<usize>,
}

impl Batch<'_> {
    pub(super) async fn send<S: WriteRegion>(
        &self,
        steps: &[Step],
        secondary: &S,
    ) -> Result<EntryResults, Fault> {
        let mine = || self.steps.iter().filter_map(|&at| steps.get(at));
        let partitions = || -> Vec<&Partition> {
            mine()
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
            BatchKind::Create => secondary.create_partitions(self.id, &partitions()).await,
            BatchKind::Update => secondary.update_partitions(self.id, &partitions()).await,
            BatchKind::Delete => {
                let values: Vec<&[String]> = mine()
                    .filter_map(|step| {
                        if let Step::DeletePartition { values, .. } = step {
                            Some(values.as_slice())
                        } else {
                            None
                        }
                    })
                    .collect();
                secondary.delete_partitions(self.id, &values).await
            }
        }
    }
}
