//! The trait for what lies around a Region's catalog: buckets, encryption keys, trails.

use twinlake_core::CallError;
use twinlake_core::readiness::{BucketReadings, KmsKey, ObjectSample, ReplicationRule, Trail};

/// Reads the buckets, encryption keys and trails of a Region.
pub trait ReadInfrastructure {
    /// The configuration of a bucket, without its objects. Each part that cannot be read says so.
    async fn bucket(&self, bucket: &str) -> BucketReadings;

    /// The replication rules of a bucket; none if it has no replication configuration.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn replication_rules(&self, bucket: &str) -> Result<Vec<ReplicationRule>, CallError>;

    /// The Region of a bucket, which may be another one; `None` if there is no such bucket.
    ///
    /// # Errors
    /// `HeadBucket` failed or was denied.
    async fn bucket_region(&self, bucket: &str) -> Result<Option<String>, CallError>;

    /// An object (`HeadObject`); `None` if there is no such object.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn object(&self, bucket: &str, key: &str) -> Result<Option<ObjectSample>, CallError>;

    /// The oldest and the newest of the first objects under a prefix, without markers of directories.
    ///
    /// # Errors
    /// The listing, or the read of an object, failed.
    async fn sample_objects(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<ObjectSample>, CallError>;

    /// `DescribeKey`, of the ARN or ID of a key or of an alias.
    ///
    /// # Errors
    /// The call failed; `NotFound` if there is no such key.
    async fn kms_key(&self, key: &str) -> Result<KmsKey, CallError>;

    /// The trails that record calls of this Region, those that are managed from another Region
    /// included.
    ///
    /// # Errors
    /// `DescribeTrails` failed.
    async fn trails(&self) -> Result<Vec<Trail>, CallError>;
}
