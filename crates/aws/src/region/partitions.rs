//! Reads partitions: by page, or by their values.

use super::AwsRegion;
use crate::{call_error, convert};
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types::{PartitionValueList, Segment};
use twinlake_core::{CallError, CallErrorKind, Partition, TableId};
use twinlake_engine::ports::PARTITION_SEGMENTS;

impl AwsRegion {
    pub(super) async fn read_partition_page(
        &self,
        id: &TableId,
        segment: Option<usize>,
        token: Option<String>,
    ) -> Result<(Vec<Partition>, Option<String>), CallError> {
        const CALL: &str = "GetPartitions";
        let number = |n: usize| i32::try_from(n).unwrap_or_default();
        let segment = segment.map(|segment| {
            let built = Segment::builder().segment_number(number(segment));
            built.total_segments(number(PARTITION_SEGMENTS)).build()
        });
        let segment = segment
            .transpose()
            .map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let call = self.glue.get_partitions();
        let call = call.database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str()).max_results(1000);
        let call = call.set_segment(segment).set_next_token(token);
        let page = call.send().await;
        let page = page.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        let partitions = page.partitions.unwrap_or_default().into_iter();
        let next = page.next_token.filter(|token| !token.is_empty());
        Ok((partitions.map(convert::partition).collect(), next))
    }

    pub(super) async fn read_partition_batch(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<Vec<Partition>, CallError> {
        const CALL: &str = "BatchGetPartition";
        /// Each call returns at least some of the partitions, unless the service fails.
        const MAX_CALLS: usize = 8;
        let keys = values.iter().map(|values| {
            let key = PartitionValueList::builder();
            key.set_values(Some(values.to_vec())).build()
        });
        let keys: Result<Vec<PartitionValueList>, BuildError> = keys.collect();
        let mut unprocessed =
            keys.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let mut found = Vec::new();
        for _ in 0..MAX_CALLS {
            let call = self.glue.batch_get_partition();
            let call = call.database_name(id.database.as_str());
            let call = call.table_name(id.table.as_str());
            let response = call.set_partitions_to_get(Some(unprocessed)).send().await;
            let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            let partitions = response.partitions.unwrap_or_default().into_iter();
            found.extend(partitions.map(convert::partition));
            unprocessed = response.unprocessed_keys.unwrap_or_default();
            if unprocessed.is_empty() {
                return Ok(found);
            }
        }
        let message = format!(
            "the service left {} partitions unprocessed",
            unprocessed.len()
        );
        Err(CallError::new(
            CallErrorKind::Unavailable,
            CALL,
            &self.region,
            message,
        ))
    }
}
