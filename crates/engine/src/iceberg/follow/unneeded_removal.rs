//! Removes rewritten files that no commit needs any more.
//!
//! Two functions may look at a table at the same time. So a removal is stored in the memory before a file is
//! touched: a function that relied on the file has an older memory, which it cannot store any more, and what it
//! found is not recorded; a later one sees the removal, and uses the file only once nobody can be at it.

use super::stored_memory::StoredMemory;
use crate::iceberg::{CONCURRENT_FILES, IcebergError};
use crate::ports::TableFiles;
use futures_util::stream::{self, StreamExt as _};
use std::collections::BTreeSet;
use twinlake_core::Timestamp;
use twinlake_core::iceberg_replica::IcebergReplica;
use twinlake_iceberg::{OWN_DIRECTORY, TableMetadata};

/// Records that the files which are due are removed, and returns them. They may be once the memory is stored.
///
/// Nothing is due unless the entry in the standby shows what Twinlake relocated, and the memory knows each
/// manifest list that the shown metadata.json names. Its log names replicas of the primary's metadata files, or
/// files of an earlier epoch, which are never due; if it names a relocated one of this epoch, nothing is. Besides, only
/// files below the `unshared` table locations are: what another entry may show stays.
pub(super) async fn begin_removal(
    files: &impl TableFiles,
    stored: &mut StoredMemory,
    replica: &IcebergReplica,
    standby_pointer: Option<&str>,
    (now, unshared): (Timestamp, &BTreeSet<String>),
) -> Result<Vec<String>, IcebergError> {
    let shown = replica.shown.as_ref();
    let Some(pointer) = shown
        .map(|commit| commit.metadata_location.as_str())
        .filter(|shown| Some(*shown) == standby_pointer)
    else {
        return Ok(Vec::new());
    };
    let memory = &mut stored.memory;
    // The memory has completed another commit than the entry shows: of this one, nothing is known.
    if memory.is_unneeded(pointer) {
        return Ok(Vec::new());
    }
    memory.record_shown(now);
    let may_be_removed =
        |path: &str| table_location(path).is_some_and(|location| unshared.contains(location));
    if !memory.due_removals(now).any(may_be_removed) {
        return Ok(Vec::new());
    }
    let Some(bytes) = files.get(pointer).await? else {
        return Ok(Vec::new());
    };
    let metadata = TableMetadata::parse(pointer, &bytes)?;
    let log = metadata.metadata_log.iter();
    let log: BTreeSet<&str> = log.map(|logged| logged.metadata_file.as_str()).collect();
    if memory.names_own_files(&log) {
        return Ok(Vec::new());
    }
    let mut named = BTreeSet::new();
    for snapshot in &metadata.snapshots {
        match &snapshot.manifest_list {
            Some(list) => drop(named.insert(list.as_str())),
            None => named.extend(snapshot.manifests.iter().map(String::as_str)),
        }
    }
    let due = memory.begin_removal(&named, now, may_be_removed);
    let gone = gone_files(files, memory.elsewhere(&due)).await;
    memory.forget_removed(&gone);
    Ok(due
        .into_iter()
        .filter(|path| !gone.contains(path))
        .collect())
}

/// The location of the table that a rewritten file was written for; `None` if the path is not one of a rewritten file.
pub(super) fn table_location(path: &str) -> Option<&str> {
    let (directory, _) = path.rsplit_once('/')?;
    let (own_directory, _) = directory.rsplit_once('/')?;
    own_directory.strip_suffix(OWN_DIRECTORY)?.strip_suffix('/')
}

/// Those of the paths where no file is: an earlier look removed it. A path that cannot be asked for is not among them.
async fn gone_files(files: &impl TableFiles, paths: Vec<String>) -> BTreeSet<String> {
    let asked = stream::iter(paths).map(|path| async move {
        let is_gone = matches!(files.size(&path).await, Ok(None));
        is_gone.then_some(path)
    });
    let asked = asked.buffer_unordered(CONCURRENT_FILES);
    asked.filter_map(|gone| async { gone }).collect().await
}

/// Removes files. One that could not be removed is removed by a later look.
pub(super) async fn remove(files: &impl TableFiles, paths: &[String], is_late: &dyn Fn() -> bool) {
    stream::iter(paths)
        .for_each_concurrent(CONCURRENT_FILES, |path| async move {
            if !is_late() {
                let _ = files.remove(path).await;
            }
        })
        .await;
}
