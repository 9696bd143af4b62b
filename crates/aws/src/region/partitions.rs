//! Reads partitions: by page, or by their values.

use super::{AwsRegion, missing_object};
use crate::{call_error, glue_convert};
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types::{PartitionValueList, Segment};
use futures_util::{StreamExt as _, stream};
use twinlake_core::{CallError, CallErrorKind, Partition, TableId};
use twinlake_engine::ports::{PARTITION_SEGMENTS, PartitionsByValues};

/// `GetPartition` calls of one batch that run at the same time.
const MAX_CONCURRENT_SINGLE_READS: usize = 8;

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
        Ok((
            partitions.map(glue_convert::from_sdk_partition).collect(),
            next,
        ))
    }

    /// Reads partitions by their values. The service may leave keys unprocessed for as long as it
    /// is asked, among them those of partitions that do not exist (F-2): these are read one by one.
    pub(super) async fn read_partition_batch(
        &self,
        id: &TableId,
        values: &[&[String]],
    ) -> Result<PartitionsByValues, CallError> {
        const CALL: &str = "BatchGetPartition";
        let keys = values.iter().map(|values| {
            let key = PartitionValueList::builder();
            key.set_values(Some(values.to_vec())).build()
        });
        let keys: Result<Vec<PartitionValueList>, BuildError> = keys.collect();
        let keys = keys.map_err(|e| call_error::from_build_error(CALL, &self.region, &e))?;
        let mut named = PartitionsByValues::default();
        let mut unsent = vec![keys];
        let mut single = Vec::new();
        while let Some(part) = unsent.pop().filter(|part| !part.is_empty()) {
            match self.get_partition_batch(CALL, id, part.clone()).await {
                Ok((found, unprocessed)) => {
                    // Another call helps only if this one returned something and left less.
                    match !found.is_empty() && unprocessed.len() < part.len() {
                        true if unprocessed.is_empty() => {}
                        true => unsent.push(unprocessed),
                        false => single.extend(unprocessed),
                    }
                    named.found.extend(found);
                }
                // One invalid key fails the whole call.
                Err(error) if error.kind == CallErrorKind::Invalid && part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    unsent.push(first.to_vec());
                    unsent.push(second.to_vec());
                }
                Err(error) if error.kind == CallErrorKind::Invalid => single.extend(part),
                Err(error) => return Err(error),
            }
        }
        let reads = single.into_iter().map(|key| async move {
            let read = self.read_partition(id, &key.values).await;
            (key.values, read)
        });
        let reads: Vec<(Vec<String>, Result<Partition, CallError>)> = stream::iter(reads)
            .buffer_unordered(MAX_CONCURRENT_SINGLE_READS)
            .collect()
            .await;
        for (values, read) in reads {
            match read {
                Ok(partition) => named.found.push(partition),
                Err(error) if error.kind == CallErrorKind::NotFound => {}
                Err(error) => {
                    named.unread.insert(values, error);
                }
            }
        }
        Ok(named)
    }

    /// Sends one `BatchGetPartition`. Returns the partitions and the unprocessed keys.
    async fn get_partition_batch(
        &self,
        call: &str,
        id: &TableId,
        keys: Vec<PartitionValueList>,
    ) -> Result<(Vec<Partition>, Vec<PartitionValueList>), CallError> {
        let request = self.glue.batch_get_partition();
        let request = request.database_name(id.database.as_str());
        let request = request.table_name(id.table.as_str());
        let response = request.set_partitions_to_get(Some(keys)).send().await;
        let response = response.map_err(|e| call_error::from_sdk(call, &self.region, &e))?;
        let partitions = response.partitions.unwrap_or_default().into_iter();
        Ok((
            partitions.map(glue_convert::from_sdk_partition).collect(),
            response.unprocessed_keys.unwrap_or_default(),
        ))
    }

    async fn read_partition(
        &self,
        id: &TableId,
        values: &[String],
    ) -> Result<Partition, CallError> {
        const CALL: &str = "GetPartition";
        let call = self.glue.get_partition();
        let call = call.database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str());
        let call = call.set_partition_values(Some(values.to_vec()));
        let response = call.send().await;
        let response = response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
        response
            .partition
            .map(glue_convert::from_sdk_partition)
            .ok_or_else(|| missing_object(CALL, &self.region))
    }
}
