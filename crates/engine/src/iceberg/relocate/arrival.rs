//! Which files of a table have arrived in the standby.

use super::{NamedFiles, PendingFile, Relocator, outside};
use crate::iceberg::{CONCURRENT_FILES, FileProgress, IcebergError};
use crate::ports::TableFiles;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::BTreeMap;
use twinlake_core::CallError;
use twinlake_iceberg::TableMetadata;

/// Most files that are looked for one by one.
const MAX_SINGLE_LOOKS: usize = 1000;

impl<F: TableFiles, P: FileProgress> Relocator<'_, F, P> {
    /// Adds the files of statistics to those that are needed, under the path of the metadata.
    pub(super) fn add_statistics(
        &self,
        metadata: &TableMetadata,
        source_path: &str,
        named: &mut NamedFiles,
    ) -> Result<(), IcebergError> {
        let needed = named.needed.entry(source_path.to_owned()).or_default();
        for file in metadata
            .statistics
            .iter()
            .chain(&metadata.partition_statistics)
        {
            let path = &file.statistics_path;
            let mapped = self
                .map
                .map(path)
                .ok_or_else(|| outside(&metadata.location, path))?;
            needed.push((mapped, file.file_size_in_bytes));
        }
        Ok(())
    }

    /// The files that are missing, or have another size. Where the table was never relocated, and where
    /// many files are new, by a listing of the table's place; what is not there, and few new files, singly.
    pub(super) async fn missing_files(
        &self,
        location: &str,
        needed: &BTreeMap<String, Vec<(String, u64)>>,
    ) -> Result<Vec<PendingFile>, CallError> {
        let files = needed.values().flatten();
        let mut open: BTreeMap<&str, u64> =
            files.map(|(path, size)| (path.as_str(), *size)).collect();
        let mut pending = Vec::new();
        let is_first = self.memory.snapshots.is_empty();
        if is_first || open.len() > MAX_SINGLE_LOOKS {
            let prefix = format!("{}/", location.trim_end_matches('/'));
            let mut visit = |path: &str, size: u64| {
                if let Some(expected) = open.remove(path)
                    && expected != size
                {
                    pending.push(PendingFile {
                        path: path.to_owned(),
                        expected: Some(expected),
                        found: Some(size),
                    });
                }
            };
            self.files.list(&prefix, &mut visit).await?;
        }
        self.progress.files_expected(open.len());
        let mut sizes = stream::iter(open.iter().map(|(path, expected)| async move {
            let found = self.files.size(path).await?;
            self.progress.file_finished();
            Ok::<_, CallError>((*path, *expected, found))
        }))
        .buffer_unordered(CONCURRENT_FILES);
        while let Some((path, expected, found)) = sizes.try_next().await? {
            if found != Some(expected) {
                pending.push(PendingFile {
                    path: path.to_owned(),
                    expected: Some(expected),
                    found,
                });
            }
        }
        pending.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(pending)
    }
}
