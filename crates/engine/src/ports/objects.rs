//! Ports of the files of tables, and of the versions of objects.

use twinlake_core::CallError;
use twinlake_core::divergence::ListedVersion;

/// Reads and adds files of tables, in S3 or in a directory. Paths are as in a table's metadata.
pub trait TableFiles {
    /// The content of a file; `None` if it does not exist.
    ///
    /// # Errors
    /// The file could not be read. A denied read is an error.
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, CallError>;

    /// The size of a file in bytes; `None` if it does not exist.
    ///
    /// # Errors
    /// As [`Self::get`].
    async fn size(&self, path: &str) -> Result<Option<u64>, CallError>;

    /// Calls `visit` with the path and the size of each file whose path begins with the prefix, which ends
    /// with a slash. Paths begin as the prefix does.
    ///
    /// # Errors
    /// The listing is not complete.
    async fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64)) -> Result<(), CallError>;

    /// Adds a file. A file that exists is left as it is. Returns whether the file was added.
    ///
    /// # Errors
    /// It is not known whether the file exists now.
    async fn create(&self, path: &str, content: Vec<u8>) -> Result<bool, CallError>;

    /// Removes a file that Twinlake added. A file that does not exist is no error.
    ///
    /// # Errors
    /// It is not known whether the file exists.
    async fn remove(&self, path: &str) -> Result<(), CallError>;
}

/// A page of `ListObjectVersions`: each version with its key, and where the next page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionsPage {
    /// The versions and delete markers, each with its key.
    pub versions: Vec<(String, ListedVersion)>,
    /// The key and the version id after which the next page begins; `None` for the last page.
    pub next: Option<VersionMarker>,
}

/// `KeyMarker` and `VersionIdMarker`.
pub type VersionMarker = (String, Option<String>);

/// Lists the versions of the objects in the buckets of a Region. Nothing is written.
pub trait ObjectVersions {
    /// One page of `ListObjectVersions`, delete markers included.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn versions_page(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<VersionMarker>,
    ) -> Result<VersionsPage, CallError>;

    /// Whether S3 made a version as a replica of one in another bucket (`HeadObject`).
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn is_replica(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<bool, CallError>;
}
