//! Which files of the commit that the standby shows exist no more.

use crate::iceberg::{CONCURRENT_FILES, HeldFiles, IcebergError};
use crate::ports::TableFiles;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use twinlake_core::CallError;
use twinlake_core::iceberg_replica::LostFiles;
use twinlake_iceberg::{
    EntryStatus, ManifestEntry, TableMetadata, read_manifest, read_manifest_list,
};

/// The most paths of lost files that are kept.
const MAX_LOST_SAMPLES: usize = 5;

/// The files of a location by hashes of their paths and sizes: a table may have a million.
struct ListedFiles {
    prefix: String,
    hashes: BTreeSet<u64>,
}

impl ListedFiles {
    async fn list(files: &impl TableFiles, location: &str) -> Result<Self, CallError> {
        let prefix = format!("{}/", location.trim_end_matches('/'));
        let mut hashes = BTreeSet::new();
        let mut visit = |path: &str, size: u64| {
            hashes.insert(hash_of(path, size));
        };
        files.list(&prefix, &mut visit).await?;
        Ok(Self { prefix, hashes })
    }

    /// Whether a file is there with this size; `None` if it lies elsewhere.
    fn holds(&self, path: &str, size: u64) -> Option<bool> {
        let is_listed = path.starts_with(&self.prefix);
        is_listed.then(|| self.hashes.contains(&hash_of(path, size)))
    }
}

fn hash_of(path: &str, size: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (path, size).hash(&mut hasher);
    hasher.finish()
}

/// Adds a file to those that are lost. Several entries may name one file.
fn add(lost: &mut LostFiles, counted: &mut BTreeSet<u64>, path: String) {
    if counted.insert(hash_of(&path, 0)) {
        lost.missing += 1;
        lost.samples.push(path);
        lost.samples.sort();
        lost.samples.truncate(MAX_LOST_SAMPLES);
    }
}

/// The files of the current snapshot that do not exist, or have another size, by a listing of the table's location;
/// what lies elsewhere is looked for singly. Where a list or a manifest is gone, what it names is not known.
/// `None` if time ran out.
pub(super) async fn lost_files(
    files: &impl TableFiles,
    metadata_path: &str,
    held: &HeldFiles,
    is_late: &dyn Fn() -> bool,
) -> Result<Option<LostFiles>, IcebergError> {
    let mut lost = LostFiles::default();
    let mut counted = BTreeSet::new();
    let Some(bytes) = files.get(metadata_path).await? else {
        add(&mut lost, &mut counted, metadata_path.to_owned());
        return Ok(Some(lost));
    };
    let metadata = TableMetadata::parse(metadata_path, &bytes)?;
    let current = metadata.current_snapshot_id;
    let mut snapshots = metadata.snapshots.iter();
    let Some(snapshot) = snapshots.find(|one| Some(one.snapshot_id) == current) else {
        return Ok(Some(lost));
    };
    if is_late() {
        return Ok(None);
    }
    // All files of the commit existed before, so a listing that begins now shows them.
    let listed = ListedFiles::list(files, &metadata.location).await?;
    let inline = snapshot.manifests.iter();
    let mut manifests: Vec<(String, Option<u64>)> =
        inline.map(|path| (path.clone(), None)).collect();
    if let Some(list) = &snapshot.manifest_list {
        match files.get(list).await? {
            Some(bytes) => {
                let named = read_manifest_list(list, &bytes)?.into_iter();
                manifests.extend(named.map(|one| (one.path, u64::try_from(one.length).ok())));
            }
            None => add(&mut lost, &mut counted, list.clone()),
        }
    }
    let check = ManifestCheck {
        files,
        listed: &listed,
        held,
        is_late,
    };
    let checks = manifests.iter().map(|manifest| check.lost_of(manifest));
    let mut checks = stream::iter(checks).buffer_unordered(CONCURRENT_FILES);
    while let Some(of_manifest) = checks.try_next().await? {
        let Some(of_manifest) = of_manifest else {
            return Ok(None);
        };
        of_manifest
            .into_iter()
            .for_each(|path| add(&mut lost, &mut counted, path));
    }
    Ok(Some(lost))
}

/// What manifests are checked with.
struct ManifestCheck<'a, F> {
    files: &'a F,
    listed: &'a ListedFiles,
    held: &'a HeldFiles,
    is_late: &'a dyn Fn() -> bool,
}

impl<F: TableFiles> ManifestCheck<'_, F> {
    /// The manifest if it is missing, or the live files that it names and that are; `None` if time ran out.
    async fn lost_of(
        &self,
        (path, length): &(String, Option<u64>),
    ) -> Result<Option<Vec<String>>, IcebergError> {
        let _held = self.held.hold(*length).await;
        if (self.is_late)() {
            return Ok(None);
        }
        let Some(bytes) = self.files.get(path).await? else {
            return Ok(Some(vec![path.clone()]));
        };
        let mut lost = Vec::new();
        for entry in read_manifest(path, &bytes)?.entries {
            if entry.status == EntryStatus::Deleted {
                continue;
            }
            let Some(is_there) = self.is_there(&entry).await? else {
                return Ok(None);
            };
            if !is_there {
                lost.push(entry.path);
            }
        }
        Ok(Some(lost))
    }

    async fn is_there(&self, entry: &ManifestEntry) -> Result<Option<bool>, CallError> {
        let size = u64::try_from(entry.size).unwrap_or_default();
        if let Some(is_there) = self.listed.holds(&entry.path, size) {
            return Ok(Some(is_there));
        }
        if (self.is_late)() {
            return Ok(None);
        }
        Ok(Some(self.files.size(&entry.path).await? == Some(size)))
    }
}
