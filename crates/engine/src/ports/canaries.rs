//! The port for canaries: objects of this Region's buckets.

use twinlake_core::canary::{Canary, CanaryObject, CanaryVersion};
use twinlake_core::readiness::{ObjectEncryption, ReplicationRule};
use twinlake_core::{CallError, Timestamp};

/// Writes, reads and deletes canaries in the buckets of the local Region. Nothing else is written or
/// deleted, and no call makes a delete marker.
pub trait CanaryBuckets {
    /// The replication rules of a bucket; none if it has no replication configuration.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn replication_rules(&self, bucket: &str) -> Result<Vec<ReplicationRule>, CallError>;

    /// How the bucket encrypts new objects.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn default_encryption(&self, bucket: &str) -> Result<ObjectEncryption, CallError>;

    /// Writes a canary in its source bucket, with the bucket's default encryption and with the time in
    /// its metadata.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn put(&self, canary: &Canary, written_at: Timestamp) -> Result<(), CallError>;

    /// All versions of exactly this key, without delete markers.
    ///
    /// # Errors
    /// The listing failed or was denied.
    async fn versions(&self, bucket: &str, key: &str) -> Result<Vec<CanaryVersion>, CallError>;

    /// A version of an object (`HeadObject`); `None` if it is not there.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn object(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<Option<CanaryObject>, CallError>;

    /// Deletes one version of a canary by its id.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn delete_version(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<(), CallError>;
}
