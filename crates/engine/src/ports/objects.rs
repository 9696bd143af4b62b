//! Port of the files of tables.

use twinlake_core::CallError;

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
