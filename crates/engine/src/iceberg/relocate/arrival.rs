//! Which files of a table have arrived in the standby.

use super::{NamedFiles, PendingFile, Relocator, outside};
use crate::iceberg::{CONCURRENT_FILES, FileProgress, IcebergError};
use crate::ports::TableFiles;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::CallError;
use twinlake_iceberg::TableMetadata;

/// Most files that are looked for one by one.
const MAX_SINGLE_LOOKS: usize = 1000;
/// The files that are looked for even if time ran out: what a fraction of the margin of a look suffices for.
const LATE_LOOKS: usize = 200;

/// Which of the files that were looked for are not there.
#[derive(Default)]
pub(super) struct Arrival {
    /// Files that are missing, or have another size.
    pub(super) pending: Vec<PendingFile>,
    /// Files that were not looked for: time ran out.
    pub(super) unknown: Vec<String>,
}

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

    /// The files that are missing, or have another size: where many are open, by a listing of the table's
    /// location; few, and those elsewhere, singly. Once time ran out, nothing is listed, and only the first
    /// files are looked for: so each call gets on.
    pub(super) async fn missing_files(
        &self,
        location: &str,
        needed: &BTreeMap<String, Vec<(String, u64)>>,
    ) -> Result<Arrival, CallError> {
        let files = needed.values().flatten();
        let mut open: BTreeMap<&str, u64> =
            files.map(|(path, size)| (path.as_str(), *size)).collect();
        let mut arrival = Arrival::default();
        if open.len() > MAX_SINGLE_LOOKS && !(self.is_late)() {
            arrival.pending = self.list_location(location, &mut open).await?;
        }
        self.progress.files_expected(open.len());
        // Manifest by manifest: one of which all files were found is not looked at again.
        let files = needed.values().flatten();
        let mut looked_for = BTreeSet::new();
        let files = files.filter(|(path, _)| {
            open.contains_key(path.as_str()) && looked_for.insert(path.as_str())
        });
        let mut sizes = stream::iter(files.enumerate().map(
            |(index, (path, expected))| async move {
                if index >= LATE_LOOKS && (self.is_late)() {
                    return Ok((path, *expected, None));
                }
                let found = self.files.size(path).await?;
                self.progress.file_finished();
                Ok::<_, CallError>((path, *expected, Some(found)))
            },
        ))
        .buffer_unordered(CONCURRENT_FILES);
        while let Some((path, expected, found)) = sizes.try_next().await? {
            match found {
                None => arrival.unknown.push(path.clone()),
                Some(found) if found != Some(expected) => arrival.pending.push(PendingFile {
                    path: path.clone(),
                    expected: Some(expected),
                    found,
                }),
                Some(_) => {}
            }
        }
        arrival.pending.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(arrival)
    }

    /// Lists the table's location, and removes its files from `open`. Returns those that are missing there, or
    /// have another size: a listing shows each file that exists.
    async fn list_location(
        &self,
        location: &str,
        open: &mut BTreeMap<&str, u64>,
    ) -> Result<Vec<PendingFile>, CallError> {
        let prefix = format!("{}/", location.trim_end_matches('/'));
        let mut pending = Vec::new();
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
        let is_listed = |path: &str| path.starts_with(&prefix);
        let missing = open.iter().filter(|(path, _)| is_listed(path));
        pending.extend(missing.map(|(path, expected)| PendingFile {
            path: (*path).to_owned(),
            expected: Some(*expected),
            found: None,
        }));
        open.retain(|path, _| !is_listed(path));
        Ok(pending)
    }
}
