//! Batches of partition writes of one kind and one table.

use crate::ports::{
    EntryResults, MAX_PARTITIONS_PER_CREATE, MAX_PARTITIONS_PER_DELETE, MAX_PARTITIONS_PER_UPDATE,
    WriteRegion,
};
use twinlake_core::{CallError, Partition, Step, TableId};

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

impl PartitionBatch<'_> {
    pub(super) async fn send<S: WriteRegion>(
        &self,
        steps: &[Step],
        standby: &S,
    ) -> Result<EntryResults, CallError> {
        let own_steps = || self.steps.iter().filter_map(|&index| steps.get(index));
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
