//! The trait for what lies around a Region's catalog: buckets, encryption keys, trails.

use twinlake_core::readiness::{
    BucketReadings, KmsKey, ObjectSample, ReplicationRule, ServiceQuota, TableOptimizer, Trail,
};
use twinlake_core::{CallError, TableId};

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

    /// The value of a quota (`GetServiceQuota`, `GetAWSDefaultServiceQuota`); `None` if Service Quotas
    /// does not list it in this Region.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn service_quota(&self, quota: &ServiceQuota) -> Result<Option<f64>, CallError>;

    /// The instance of Identity Center that Lake Formation is connected to
    /// (`DescribeLakeFormationIdentityCenterConfiguration`); `None` if it is to none.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn identity_center_instance(&self) -> Result<Option<String>, CallError>;

    /// The optimizers that are enabled on these tables of the catalog of an account
    /// (`BatchGetTableOptimizer`). Tables that do not exist have none.
    ///
    /// # Errors
    /// A call, or the read of a table, failed or was denied.
    async fn enabled_optimizers(
        &self,
        account: &str,
        tables: &[TableId],
    ) -> Result<Vec<TableOptimizer>, CallError>;
}
