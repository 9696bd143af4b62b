//! Writes, reads and deletes canaries in the buckets of a Region.

use crate::call_error;
use crate::clients::Clients;
use crate::infrastructure::buckets;
use crate::pages::all_pages;
use crate::s3_object_versions::next_marker;
use aws_sdk_s3::primitives::ByteStream;
use twinlake_core::canary::{Canary, CanaryObject, CanaryVersion};
use twinlake_core::readiness::{ObjectEncryption, ReplicationRule};
use twinlake_core::{CallError, CallErrorKind, Timestamp};
use twinlake_engine::ports::{CanaryBuckets, VersionMarker};

/// The metadata that says when a canary was written, in milliseconds since the Unix epoch.
const WRITTEN_AT: &str = "twinlake-written-at";

/// The content of a canary, for whoever finds one. Like data, it is not empty.
const CONTENT: &str = "Twinlake writes this object every five minutes and looks for its replica, to prove that S3 \
                       replicates.\n";

/// The buckets of a Region.
#[derive(Clone, Debug)]
pub struct S3Canaries {
    region: String,
    s3: aws_sdk_s3::Client,
}

impl S3Canaries {
    /// The buckets of a Region.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            region: clients.region().to_owned(),
            s3: clients.s3(),
        }
    }
}

impl CanaryBuckets for S3Canaries {
    async fn replication_rules(&self, bucket: &str) -> Result<Vec<ReplicationRule>, CallError> {
        buckets::rules(&self.s3, &self.region, bucket).await
    }

    async fn default_encryption(&self, bucket: &str) -> Result<ObjectEncryption, CallError> {
        buckets::encryption(&self.s3, &self.region, bucket).await
    }

    async fn put(&self, canary: &Canary, written_at: Timestamp) -> Result<(), CallError> {
        let call = self
            .s3
            .put_object()
            .bucket(&canary.bucket)
            .key(&canary.key)
            .metadata(WRITTEN_AT, written_at.millis().to_string())
            .content_type("text/plain")
            .body(ByteStream::from_static(CONTENT.as_bytes()));
        let written = call.send().await;
        written
            .map(drop)
            .map_err(|e| call_error::from_sdk("PutObject", &self.region, &e))
    }

    async fn versions(&self, bucket: &str, key: &str) -> Result<Vec<CanaryVersion>, CallError> {
        const CALL: &str = "ListObjectVersions";
        let listing = (CALL, self.region.as_str());
        let listed = all_pages(listing, |after: Option<VersionMarker>| async {
            let (key_marker, version_marker) = after.unzip();
            let call = self.s3.list_object_versions().bucket(bucket).prefix(key);
            let call = call
                .set_key_marker(key_marker)
                .set_version_id_marker(version_marker.flatten());
            let page = call.send().await;
            let page = page.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            let marker = (page.next_key_marker, page.next_version_id_marker);
            let next = next_marker(&self.region, page.is_truncated, marker)?;
            Ok((page.versions.unwrap_or_default(), next))
        });
        // Other keys may begin with this one.
        let listed = listed.await?.into_iter();
        let listed = listed.filter(|listed| listed.key() == Some(key));
        let versions = listed.filter_map(|listed| {
            Some(CanaryVersion {
                version_id: listed.version_id()?.to_owned(),
                created_at: listed.last_modified().map(timestamp)?,
                is_latest: listed.is_latest() == Some(true),
            })
        });
        Ok(versions.collect())
    }

    async fn object(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<Option<CanaryObject>, CallError> {
        let call = self.s3.head_object().bucket(bucket).key(key);
        let found = match call.version_id(version_id).send().await {
            Ok(found) => found,
            Err(error) => return buckets::missing_or_failed(&self.region, &error),
        };
        let written_at = found
            .metadata()
            .and_then(|metadata| metadata.get(WRITTEN_AT))
            .and_then(|millis| millis.parse().ok());
        Ok(Some(CanaryObject {
            created_at: found
                .last_modified()
                .map(timestamp)
                .ok_or_else(|| self.without_time())?,
            written_at: written_at.map(Timestamp::from_millis),
            replication_status: found
                .replication_status()
                .map(|status| status.as_str().to_owned()),
            encryption: buckets::object_encryption(
                found.server_side_encryption(),
                found.ssekms_key_id(),
            ),
        }))
    }

    async fn delete_version(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<(), CallError> {
        let call = self.s3.delete_object().bucket(bucket).key(key);
        let deleted = call.version_id(version_id).send().await;
        deleted
            .map(drop)
            .map_err(|e| call_error::from_sdk("DeleteObject", &self.region, &e))
    }
}

impl S3Canaries {
    fn without_time(&self) -> CallError {
        let message = "the response has no Last-Modified";
        CallError::new(CallErrorKind::Invalid, "HeadObject", &self.region, message)
    }
}

fn timestamp(time: &aws_sdk_s3::primitives::DateTime) -> Timestamp {
    Timestamp::from_secs(time.secs())
}
