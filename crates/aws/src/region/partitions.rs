//! Reads partitions: page by page, or by their values.

use super::AwsRegion;
use crate::{convert, fault};
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types::{PartitionValueList, Segment};
use twinlake_core::{Fault, FaultKind, Partition, TableId};
use twinlake_engine::ports::SEGMENTS;

impl AwsRegion {
    pub(super) async fn partition_page(
        &self,
        id: &TableId,
        segment: Option<usize>,
        token: Option<String>,
    ) -> Result<(Vec<Partition>, Option<String>), Fault> {
        const CALL: &str = "GetPartitions";
        let number = |n: usize| i32::try_from(n).unwrap_or_default();
        let segment = segment.map(|segment| {
            let built = Segment::builder().segment_number(number(segment));
            built.total_segments(number(SEGMENTS)).build()
        });
        let segment = segment
            .transpose()
            .map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let call = self.glue.get_partitions();
        let call = call.database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str()).max_results(1000);
        let call = call.set_segment(segment).set_next_token(token);
        let page = call.send().await;
        let page = page.map_err(|e| fault::of(CALL, &self.region, &e))?;
        let partitions = page.partitions.unwrap_or_default().into_iter();
        let next = page.next_token.filter(|token| !token.is_empty());
        Ok((partitions.map(convert::partition).collect(), next))
    }

    pub(super) async fn partition_batch(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<Vec<Partition>, Fault> {
        const CALL: &str = "BatchGetPartition";
        /// Each time some of what was asked for is answered, unless the service is in
        /// trouble.
        const TRIES: usize = 8;
        let keys = values.iter().map(|values| {
            let key = PartitionValueList::builder();
            key.set_values(Some(values.to_vec())).build()
        });
        let keys: Result<Vec<PartitionValueList>, BuildError> = keys.collect();
        let mut left = keys.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let mut found = Vec::new();
        for _ in 0..TRIES {
            let call = self.glue.batch_get_partition();
            let call = call.database_name(id.database.as_str());
            let call = call.table_name(id.table.as_str());
            let answer = call.set_partitions_to_get(Some(left)).send().await;
            let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
            let some = answer.partitions.unwrap_or_default().into_iter();
            found.extend(some.map(convert::partition));
            left = answer.unprocessed_keys.unwrap_or_default();
            if left.is_empty() {
                return Ok(found);
            }
        }
        let message = format!("{} partitions stayed unprocessed", left.len());
        Err(Fault::new(
            FaultKind::Unavailable,
            CALL,
            &self.region,
            message,
        ))
    }
}
