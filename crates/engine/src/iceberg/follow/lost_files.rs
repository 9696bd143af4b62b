//! Which files of the commit that the standby shows exist no more.

use crate::iceberg::{CONCURRENT_FILES, IcebergError};
use crate::ports::TableFiles;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::BTreeSet;
use twinlake_iceberg::{EntryStatus, TableMetadata, read_manifest, read_manifest_list};

/// The files of the current snapshot that do not exist, by a listing of the table's place; what lies
/// elsewhere is looked for singly. Where a list or a manifest is gone, what it names is not known. `None` if
/// time ran out.
pub(super) async fn lost_files(
    files: &impl TableFiles,
    metadata_path: &str,
    is_late: &dyn Fn() -> bool,
) -> Result<Option<Vec<String>>, IcebergError> {
    let Some(bytes) = files.get(metadata_path).await? else {
        return Ok(Some(vec![metadata_path.to_owned()]));
    };
    let metadata = TableMetadata::parse(metadata_path, &bytes)?;
    let current = metadata.current_snapshot_id;
    let mut snapshots = metadata.snapshots.iter();
    let Some(snapshot) = snapshots.find(|one| Some(one.snapshot_id) == current) else {
        return Ok(Some(Vec::new()));
    };
    let mut lost = Vec::new();
    let mut manifests = snapshot.manifests.clone();
    if let Some(list) = &snapshot.manifest_list {
        match files.get(list).await? {
            Some(bytes) => {
                let listed = read_manifest_list(list, &bytes)?;
                manifests.extend(listed.into_iter().map(|one| one.path));
            }
            None => lost.push(list.clone()),
        }
    }
    let mut named: BTreeSet<String> = BTreeSet::new();
    let mut reads = stream::iter(manifests.iter().map(|path| async move {
        let Some(bytes) = files.get(path).await? else {
            return Ok::<_, IcebergError>((Some(path.clone()), Vec::new()));
        };
        let entries = read_manifest(path, &bytes)?.entries.into_iter();
        let live = entries.filter(|entry| entry.status != EntryStatus::Deleted);
        Ok((None, live.map(|entry| entry.path).collect::<Vec<_>>()))
    }))
    .buffer_unordered(CONCURRENT_FILES);
    while let Some((missing, paths)) = reads.try_next().await? {
        if is_late() {
            return Ok(None);
        }
        lost.extend(missing);
        named.extend(paths);
    }
    drop(reads);
    let prefix = format!("{}/", metadata.location.trim_end_matches('/'));
    let mut visit = |path: &str, _: u64| {
        named.remove(path);
    };
    files.list(&prefix, &mut visit).await?;
    for path in named {
        if is_late() {
            return Ok(None);
        }
        // What lies there was listed, unless it is missing.
        if path.starts_with(&prefix) || files.size(&path).await?.is_none() {
            lost.push(path);
        }
    }
    Ok(Some(lost))
}
