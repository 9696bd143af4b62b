//! Which versions of a canary are deleted: nothing else does it, since a deletion by version id is not
//! replicated.

use crate::timestamp::Timestamp;

/// A version of a canary, as `ListObjectVersions` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryVersion {
    /// `VersionId`; `null` for an object that was written without versioning.
    pub version_id: String,
    /// `LastModified`: a replica has that of its source (S3 user guide, "What does Amazon S3 replicate?").
    pub created_at: Timestamp,
    /// `IsLatest`.
    pub is_latest: bool,
}

/// The version that S3 gives to objects that are written without versioning. A write replaces it, and so
/// it is never one of many.
const NULL_VERSION: &str = "null";

/// Versions stay this long, since S3 may still replicate them.
const MIN_AGE_SECS: i64 = 3600;

/// The most versions of a canary that one run deletes.
const MAX_DELETIONS: usize = 50;

/// The newest version.
#[must_use]
pub fn newest_version(versions: &[CanaryVersion]) -> Option<&CanaryVersion> {
    versions
        .iter()
        .max_by_key(|version| (version.created_at, version.is_latest))
}

/// The versions to delete, the oldest first: all but the newest one, from an hour after they were written.
#[must_use]
pub fn expired_versions(versions: &[CanaryVersion], now: Timestamp) -> Vec<&CanaryVersion> {
    let newest = newest_version(versions);
    let mut expired: Vec<&CanaryVersion> = versions
        .iter()
        .filter(|version| newest != Some(version) && version.version_id != NULL_VERSION)
        .filter(|version| version.created_at.plus_secs(MIN_AGE_SECS) <= now)
        .collect();
    expired.sort_by_key(|version| version.created_at);
    expired.truncate(MAX_DELETIONS);
    expired
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(id: &str, secs: i64) -> CanaryVersion {
        CanaryVersion {
            version_id: id.to_owned(),
            created_at: Timestamp::from_secs(secs),
            is_latest: false,
        }
    }

    fn expired(versions: &[CanaryVersion], now: i64) -> Vec<&str> {
        let expired = expired_versions(versions, Timestamp::from_secs(now));
        expired
            .iter()
            .map(|version| version.version_id.as_str())
            .collect()
    }

    #[test]
    fn old_versions_are_deleted_the_oldest_first_but_never_the_newest() {
        let versions = [version("b", 300), version("new", 4200), version("a", 0)];
        assert_eq!(expired(&versions, 3599), [""; 0]);
        assert_eq!(expired(&versions, 3600), ["a"]);
        assert_eq!(expired(&versions, 1_000_000), ["a", "b"]);
    }

    #[test]
    fn of_two_versions_of_one_second_the_latest_stays() {
        let mut latest = version("latest", 0);
        latest.is_latest = true;
        assert_eq!(expired(&[latest.clone(), version("a", 0)], 9999), ["a"]);
        assert_eq!(expired(&[version("a", 0), latest], 9999), ["a"]);
    }

    #[test]
    fn an_object_without_versioning_is_never_deleted() {
        let versions = [version("null", 0), version("new", 9000)];
        assert_eq!(expired(&versions, 100_000), [""; 0]);
    }

    #[test]
    fn one_run_deletes_a_limited_number() {
        let many: Vec<_> = (0..400)
            .map(|i| version(&format!("{i:03}"), i * 300))
            .collect();
        let expired = expired(&many, 1_000_000);
        assert_eq!((expired.len(), expired[0], expired[49]), (50, "000", "049"));
    }
}
