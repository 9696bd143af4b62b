//! Lists the versions of the objects in the buckets of a Region.

use crate::call_error;
use crate::clients::Clients;
use crate::pages::next_token;
use aws_sdk_s3::primitives::DateTime;
use twinlake_core::divergence::ListedVersion;
use twinlake_core::{CallError, CallErrorKind, Timestamp};
use twinlake_engine::ports::{ObjectVersions, VersionMarker, VersionsPage};

/// `x-amz-replication-status` of an object that S3 made as a replica.
const REPLICA: &str = "REPLICA";

/// The buckets of a Region, which are only read.
#[derive(Clone, Debug)]
pub struct S3ObjectVersions {
    region: String,
    s3: aws_sdk_s3::Client,
}

impl S3ObjectVersions {
    /// The buckets of a Region.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            region: clients.region().to_owned(),
            s3: clients.s3(),
        }
    }
}

impl ObjectVersions for S3ObjectVersions {
    async fn versions_page(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<VersionMarker>,
    ) -> Result<VersionsPage, CallError> {
        let (key_marker, version_marker) = after.unzip();
        let call = self.s3.list_object_versions().bucket(bucket).prefix(prefix);
        let call = call
            .set_key_marker(key_marker)
            .set_version_id_marker(version_marker.flatten());
        let page = call.send().await;
        let page =
            page.map_err(|e| call_error::from_sdk("ListObjectVersions", &self.region, &e))?;
        let mut versions = Vec::new();
        for listed in page.versions() {
            let e_tag = listed.e_tag().map(str::to_owned);
            let time = listed.last_modified();
            let version = version(listed.version_id(), time, e_tag, false, listed.is_latest());
            versions.push(self.complete(listed.key(), version)?);
        }
        for listed in page.delete_markers() {
            let time = listed.last_modified();
            let version = version(listed.version_id(), time, None, true, listed.is_latest());
            versions.push(self.complete(listed.key(), version)?);
        }
        let marker = (page.next_key_marker, page.next_version_id_marker);
        Ok(VersionsPage {
            versions,
            next: next_marker(&self.region, page.is_truncated, marker)?,
        })
    }

    async fn is_replica(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<bool, CallError> {
        let call = self.s3.head_object().bucket(bucket).key(key);
        let found = call.version_id(version_id).send().await;
        let found = found.map_err(|e| call_error::from_sdk("HeadObject", &self.region, &e))?;
        let status = found.replication_status();
        Ok(status.is_some_and(|status| status.as_str() == REPLICA))
    }
}

impl S3ObjectVersions {
    /// A listed version with its key. One that lacks its key, its time or whether it is current makes the location
    /// unreadable: it would be missing in the report.
    fn complete(
        &self,
        key: Option<&str>,
        version: Option<ListedVersion>,
    ) -> Result<(String, ListedVersion), CallError> {
        key.map(str::to_owned).zip(version).ok_or_else(|| {
            let message = "a listed version has no key, no time or no IsLatest";
            CallError::new(
                CallErrorKind::Invalid,
                "ListObjectVersions",
                &self.region,
                message,
            )
        })
    }
}

/// A listed version; `None` if the listing does not say when it was written, or whether it is current.
fn version(
    version_id: Option<&str>,
    modified_at: Option<&DateTime>,
    e_tag: Option<String>,
    is_delete_marker: bool,
    is_latest: Option<bool>,
) -> Option<ListedVersion> {
    Some(ListedVersion {
        // A bucket that never had versioning lists its objects with this id.
        version_id: version_id.unwrap_or("null").to_owned(),
        modified_at: Timestamp::from_secs(modified_at?.secs()),
        e_tag,
        is_delete_marker,
        is_latest: is_latest?,
    })
}

/// The marker of the next page of `ListObjectVersions`; `None` after the last one.
///
/// # Errors
/// The answer says that there are more versions, and not after which key.
pub(crate) fn next_marker(
    region: &str,
    is_truncated: Option<bool>,
    (key, version): (Option<String>, Option<String>),
) -> Result<Option<VersionMarker>, CallError> {
    let listing = ("ListObjectVersions", region);
    next_token(
        listing,
        is_truncated == Some(true),
        key.map(|key| (key, version)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_versions_without_a_marker_are_an_error() {
        let key = || (Some("k".to_owned()), Some("v".to_owned()));
        let next = |is_truncated, marker| next_marker("us-east-1", is_truncated, marker);
        assert_eq!(
            next(Some(true), key()),
            Ok(Some(("k".to_owned(), Some("v".to_owned()))))
        );
        assert_eq!(next(Some(false), key()), Ok(None));
        assert_eq!(next(None, (None, None)), Ok(None));
        assert!(next(Some(true), (None, Some("v".to_owned()))).is_err());
    }
}
