//! Reads the buckets, encryption keys and trails of a Region.

mod buckets;
mod trails;

use crate::call_error;
use crate::clients::Clients;
use twinlake_core::CallError;
use twinlake_core::readiness::{BucketReadings, KmsKey, ObjectSample, ReplicationRule, Trail};
use twinlake_engine::ports::ReadInfrastructure;

/// The buckets, encryption keys and trails of a Region.
#[derive(Clone, Debug)]
pub struct AwsInfrastructure {
    region: String,
    s3: aws_sdk_s3::Client,
    kms: aws_sdk_kms::Client,
    cloudtrail: aws_sdk_cloudtrail::Client,
}

impl AwsInfrastructure {
    /// The infrastructure of a Region.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            region: clients.region().to_owned(),
            s3: clients.s3(),
            kms: clients.kms(),
            cloudtrail: clients.cloudtrail(),
        }
    }
}

impl ReadInfrastructure for AwsInfrastructure {
    async fn bucket(&self, bucket: &str) -> BucketReadings {
        buckets::read(&self.s3, &self.region, bucket).await
    }

    async fn replication_rules(&self, bucket: &str) -> Result<Vec<ReplicationRule>, CallError> {
        buckets::rules(&self.s3, &self.region, bucket).await
    }

    async fn bucket_region(&self, bucket: &str) -> Result<Option<String>, CallError> {
        buckets::region_of(&self.s3, &self.region, bucket).await
    }

    async fn object(&self, bucket: &str, key: &str) -> Result<Option<ObjectSample>, CallError> {
        buckets::object(&self.s3, &self.region, bucket, key).await
    }

    async fn sample_objects(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<ObjectSample>, CallError> {
        buckets::sample_objects(&self.s3, &self.region, bucket, prefix).await
    }

    async fn kms_key(&self, key: &str) -> Result<KmsKey, CallError> {
        let found = self.kms.describe_key().key_id(key).send().await;
        let found = found.map_err(|e| call_error::from_sdk("DescribeKey", &self.region, &e))?;
        let metadata = found.key_metadata;
        let state = metadata.as_ref().and_then(|metadata| metadata.key_state());
        Ok(KmsKey {
            state: state.map_or("unknown", |state| state.as_str()).to_owned(),
            arn: metadata
                .and_then(|metadata| metadata.arn)
                .unwrap_or_else(|| key.to_owned()),
        })
    }

    async fn trails(&self) -> Result<Vec<Trail>, CallError> {
        trails::read(&self.cloudtrail, &self.region).await
    }
}
