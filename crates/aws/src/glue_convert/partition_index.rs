//! Converts partition indexes.

use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types as glue;
use twinlake_core::catalog::{IndexStatus, PartitionIndex};

/// Converts a partition index with its status.
#[must_use]
pub fn from_sdk_partition_index(
    from: glue::PartitionIndexDescriptor,
) -> (PartitionIndex, IndexStatus) {
    let index_status = match from.index_status {
        glue::PartitionIndexStatus::Deleting => IndexStatus::Deleting,
        glue::PartitionIndexStatus::Failed => IndexStatus::Failed,
        // An index that is being created counts as present, as does a status that a later SDK
        // version adds.
        glue::PartitionIndexStatus::Active | glue::PartitionIndexStatus::Creating | _ => {
            IndexStatus::Present
        }
    };
    let index = PartitionIndex {
        keys: from.keys.into_iter().map(|key| key.name).collect(),
        index_name: from.index_name,
    };
    (index, index_status)
}

/// Converts a partition index to the SDK's type.
///
/// # Errors
/// A required field is missing.
pub fn to_sdk_partition_index(from: &PartitionIndex) -> Result<glue::PartitionIndex, BuildError> {
    glue::PartitionIndex::builder()
        .index_name(&from.index_name)
        .set_keys(Some(from.keys.clone()))
        .build()
}
