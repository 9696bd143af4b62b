//! Reads and rewrites the files of a table that name other files.

use super::{
    DeleteFile, Fetched, NamedFiles, PendingFile, Relocated, Relocator, SurveyedManifest, missing,
    outside, read_path,
};
use crate::iceberg::{CONCURRENT_FILES, FileProgress, IcebergError};
use crate::ports::TableFiles;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::render::counted;
use twinlake_iceberg::{
    EntryStatus, FileContent, FileFormat, Manifest, ManifestEntry, RelocatedFile, RelocatedKind,
    RelocatedManifest, Relocations, TableFinding, TableFindingKind, TableMetadata,
    read_and_relocate_manifest, read_manifest, read_manifest_list, relocate_deletion_vectors,
    relocate_manifest, relocate_manifest_list, relocate_position_deletes,
};

/// Manifests by their paths, with the lengths that the lists give.
type ListedLengths = BTreeMap<String, Option<u64>>;

impl<F: TableFiles, P: FileProgress> Relocator<'_, F, P> {
    async fn fetch(&self, path: &str) -> Result<Fetched, IcebergError> {
        self.confinement.check(path)?;
        let read_at = read_path(self.map, self.source, path)?;
        Ok(match self.files.get(&read_at).await? {
            Some(bytes) => Fetched::Bytes(bytes),
            None => Fetched::Missing(missing(&read_at)),
        })
    }

    /// Writes a rewritten file, unless it is there.
    pub(super) async fn put(
        &self,
        source_path: &str,
        source: &[u8],
        relocated: Vec<u8>,
        kind: RelocatedKind,
    ) -> Result<Relocated, IcebergError> {
        let path = self.own.path_of(source_path, source, &relocated);
        if self.memory.is_being_removed(&path) {
            return Ok(Relocated::Left);
        }
        let length = u64::try_from(relocated.len()).unwrap_or(u64::MAX);
        let is_new = match self.existing.get(&path) {
            Some(size) if *size == length => false,
            Some(size) => {
                let problem = format!(
                    "it has {} and should have {length}: something else wrote it",
                    counted(*size, "byte")
                );
                return Err(
                    TableFinding::new(TableFindingKind::WrongFileSize, &path, problem).into(),
                );
            }
            None => self.files.create(&path, relocated).await?,
        };
        let file = RelocatedFile {
            path,
            source_length: u64::try_from(source.len()).unwrap_or(u64::MAX),
            length,
            kind,
        };
        Ok(Relocated::File {
            source: source_path.to_owned(),
            file,
            is_new,
        })
    }

    /// The manifests of all snapshots whose lists were not rewritten earlier: their paths, and their
    /// lengths as the lists have them.
    async fn manifests(
        &self,
        metadata: &TableMetadata,
        named: &mut NamedFiles,
    ) -> Result<ListedLengths, IcebergError> {
        let mut manifests = BTreeMap::new();
        for snapshot in metadata
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.manifest_list.is_none())
        {
            let named = snapshot.manifests.iter().cloned();
            manifests.extend(named.map(|path| (path, None)));
        }
        let mut lists = manifest_lists(metadata);
        lists.retain(|path| named.rewritten.relocations.get(path).is_none());
        self.progress.files_expected(lists.len());
        let mut fetched = stream::iter(lists.iter().map(|path| async move {
            let fetched = self.fetch(path).await?;
            self.progress.file_finished();
            Ok::<_, IcebergError>((path, fetched))
        }))
        .buffer_unordered(CONCURRENT_FILES);
        while let Some((path, fetched)) = fetched.try_next().await? {
            match fetched {
                Fetched::Bytes(bytes) => {
                    let listed = read_manifest_list(path, &bytes)?;
                    let paths = listed.iter().map(|one| one.path.clone()).collect();
                    named.rewritten.names.insert((*path).clone(), paths);
                    let listed = listed.into_iter();
                    let length = |length| u64::try_from(length).ok();
                    manifests.extend(listed.map(|one| (one.path, length(one.length))));
                }
                Fetched::Missing(file) => named.pending.push(file),
            }
        }
        Ok(manifests)
    }

    /// Rewrites the new manifests and the delete files that they name; then reads those that were rewritten
    /// earlier and whose files are still to be looked for. Returns whether everything is rewritten.
    pub(super) async fn relocate_manifests(
        &self,
        metadata: &TableMetadata,
        named: &mut NamedFiles,
    ) -> Result<bool, IcebergError> {
        let manifests = self.manifests(metadata, named).await?;
        let (known, new): (ListedLengths, ListedLengths) = manifests
            .into_iter()
            .partition(|(path, _)| named.rewritten.relocations.get(path).is_some());
        self.rewrite_manifests(&new, named).await?;
        if named.left > 0 {
            return Ok(false);
        }
        let is_unchecked = |(path, _): &(String, Option<u64>)| {
            self.memory.unchecked.contains(path) && !named.needed.contains_key(path)
        };
        let unchecked = known.into_iter().filter(is_unchecked).collect();
        self.survey_manifests(&unchecked, named).await?;
        Ok(true)
    }

    /// Reads manifests, and rewrites those that can be. Returns those that name position deletes, which are
    /// rewritten after these, and the files of position deletes.
    async fn survey_manifests(
        &self,
        manifests: &ListedLengths,
        named: &mut NamedFiles,
    ) -> Result<(Vec<String>, BTreeMap<String, DeleteFile>), IcebergError> {
        self.progress.files_expected(manifests.len());
        let (mut deletes, mut later) = (BTreeMap::new(), Vec::new());
        let mut surveyed = stream::iter(
            manifests
                .iter()
                .map(|(path, length)| self.survey_manifest(path, *length)),
        )
        .buffer_unordered(CONCURRENT_FILES);
        while let Some(surveyed) = surveyed.try_next().await? {
            if matches!(
                surveyed.relocated,
                Relocated::File { .. } | Relocated::Later
            ) {
                let (path, needed) = (&surveyed.path, surveyed.needed);
                named.needed.insert(path.clone(), needed);
                named.rewritten.names.insert(path.clone(), surveyed.names);
            }
            named.add(surveyed.relocated);
            if !surveyed.deletes.is_empty() {
                deletes.extend(surveyed.deletes);
                later.push(surveyed.path);
            }
        }
        Ok((later, deletes))
    }

    /// Rewrites manifests and the delete files that they name.
    async fn rewrite_manifests(
        &self,
        manifests: &ListedLengths,
        named: &mut NamedFiles,
    ) -> Result<(), IcebergError> {
        let (later, deletes) = self.survey_manifests(manifests, named).await?;
        self.progress.files_expected(deletes.len() + later.len());
        let mut relocated = stream::iter(
            deletes
                .iter()
                .map(|(path, file)| self.relocate_deletes(path, *file)),
        )
        .buffer_unordered(CONCURRENT_FILES);
        while let Some(relocated) = relocated.try_next().await? {
            named.add(relocated);
        }
        drop(relocated);
        if !named.pending.is_empty() || named.left > 0 {
            // They are read again with the next call.
            later
                .iter()
                .for_each(|path| drop(named.needed.remove(path)));
            return Ok(());
        }
        let relocations = &named.rewritten.relocations;
        let relocated: Vec<_> = stream::iter(
            later
                .iter()
                .map(|path| (path, manifests.get(path).copied().flatten()))
                .map(|(path, length)| self.relocate_manifest(path, length, relocations)),
        )
        .buffer_unordered(CONCURRENT_FILES)
        .try_collect()
        .await?;
        relocated
            .into_iter()
            .for_each(|relocated| named.add(relocated));
        Ok(())
    }

    /// Reads a manifest, and rewrites it if it names no position deletes that are still to be rewritten.
    async fn survey_manifest(
        &self,
        path: &str,
        length: Option<u64>,
    ) -> Result<SurveyedManifest, IcebergError> {
        let mut surveyed = SurveyedManifest {
            path: path.to_owned(),
            needed: Vec::new(),
            deletes: BTreeMap::new(),
            names: Vec::new(),
            relocated: Relocated::Left,
        };
        let _held = self.held.hold(length).await;
        if (self.is_late)() {
            return Ok(surveyed);
        }
        let bytes = match self.fetch(path).await? {
            Fetched::Bytes(bytes) => bytes,
            Fetched::Missing(file) => {
                surveyed.relocated = Relocated::Missing(file);
                return Ok(surveyed);
            }
        };
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length.is_some_and(|length| length != found) {
            surveyed.relocated = Relocated::Missing(PendingFile {
                path: read_path(self.map, self.source, path)?,
                expected: length,
                found: Some(found),
            });
            return Ok(surveyed);
        }
        let earlier = &self.memory.relocations;
        let RelocatedManifest {
            manifest: Manifest { entries, .. },
            bytes: relocated,
        } = match earlier.get(path) {
            Some(_) => RelocatedManifest {
                manifest: read_manifest(path, &bytes)?,
                bytes: None,
            },
            None => read_and_relocate_manifest(path, &bytes, self.map, earlier)?,
        };
        let is_live = |entry: &ManifestEntry| entry.status != EntryStatus::Deleted;
        let live = entries.iter().enumerate();
        for (index, entry) in live.filter(|(_, entry)| is_live(entry)) {
            self.survey_entry(&mut surveyed, index, entry)?;
        }
        surveyed.relocated = Relocated::Later;
        if let Some(relocated) = relocated {
            surveyed.relocated = self
                .put(path, &bytes, relocated, RelocatedKind::Manifest)
                .await?;
        }
        self.progress.file_finished();
        Ok(surveyed)
    }

    /// Adds the file of a live entry to what is needed or is to be rewritten.
    fn survey_entry(
        &self,
        surveyed: &mut SurveyedManifest,
        index: usize,
        entry: &ManifestEntry,
    ) -> Result<(), TableFinding> {
        let manifest = &surveyed.path;
        match entry.content {
            FileContent::PositionDeletes => {
                check_delete_format(manifest, index, entry)?;
                surveyed.names.push(entry.path.clone());
                if self.memory.relocations.get(&entry.path).is_none() {
                    let file = DeleteFile {
                        format: entry.format,
                        size: u64::try_from(entry.size).ok(),
                    };
                    surveyed.deletes.insert(entry.path.clone(), file);
                }
            }
            FileContent::Data | FileContent::EqualityDeletes => {
                let mapped = self.map.map(&entry.path);
                let mapped = mapped
                    .ok_or_else(|| outside(manifest, &entry.path).at(format!("entry {index}")))?;
                // The file was found when the snapshot that added it was relocated.
                let is_found = entry.status == EntryStatus::Existing
                    && (entry.snapshot_id).is_some_and(|id| self.memory.snapshots.contains(&id));
                if !is_found {
                    let size = u64::try_from(entry.size).unwrap_or_default();
                    surveyed.needed.push((mapped, size));
                }
            }
        }
        Ok(())
    }

    async fn relocate_deletes(
        &self,
        path: &str,
        file: DeleteFile,
    ) -> Result<Relocated, IcebergError> {
        let _held = self.held.hold(file.size).await;
        if (self.is_late)() {
            return Ok(Relocated::Left);
        }
        let bytes = match self.fetch(path).await? {
            Fetched::Bytes(bytes) => bytes,
            Fetched::Missing(file) => return Ok(Relocated::Missing(file)),
        };
        let (relocated, kind) = match file.format {
            FileFormat::Puffin => {
                let relocated = relocate_deletion_vectors(path, &bytes, self.map)?;
                (relocated, RelocatedKind::DeletionVectors)
            }
            FileFormat::Parquet | FileFormat::Avro | FileFormat::Orc => {
                let relocated = relocate_position_deletes(path, bytes.clone().into(), self.map)?;
                (
                    relocated.bytes,
                    RelocatedKind::PositionDeletes(relocated.facts),
                )
            }
        };
        let relocated = self.put(path, &bytes, relocated, kind).await?;
        self.progress.file_finished();
        Ok(relocated)
    }

    async fn relocate_manifest(
        &self,
        path: &str,
        length: Option<u64>,
        relocations: &Relocations,
    ) -> Result<Relocated, IcebergError> {
        let _held = self.held.hold(length).await;
        let bytes = self.fetch_again(path).await?;
        let relocated = relocate_manifest(path, &bytes, self.map, relocations)?;
        let relocated = self
            .put(path, &bytes, relocated, RelocatedKind::Manifest)
            .await?;
        self.progress.file_finished();
        Ok(relocated)
    }

    async fn relocate_list(
        &self,
        path: &str,
        relocations: &Relocations,
    ) -> Result<Relocated, IcebergError> {
        if (self.is_late)() {
            return Ok(Relocated::Left);
        }
        let bytes = self.fetch_again(path).await?;
        let relocated = relocate_manifest_list(path, &bytes, relocations)?;
        let relocated = self
            .put(path, &bytes, relocated, RelocatedKind::ManifestList)
            .await?;
        self.progress.file_finished();
        Ok(relocated)
    }

    pub(super) async fn relocate_lists(
        &self,
        metadata: &TableMetadata,
        named: &mut NamedFiles,
    ) -> Result<(), IcebergError> {
        let mut lists = manifest_lists(metadata);
        lists.retain(|path| named.rewritten.relocations.get(path).is_none());
        self.progress.files_expected(lists.len());
        let relocations = &named.rewritten.relocations;
        let relocated: Vec<_> = stream::iter(
            lists
                .iter()
                .map(|path| self.relocate_list(path, relocations)),
        )
        .buffer_unordered(CONCURRENT_FILES)
        .try_collect()
        .await?;
        relocated
            .into_iter()
            .for_each(|relocated| named.add(relocated));
        Ok(())
    }

    /// Reads a file that was read before.
    async fn fetch_again(&self, path: &str) -> Result<Vec<u8>, IcebergError> {
        match self.fetch(path).await? {
            Fetched::Bytes(bytes) => Ok(bytes),
            Fetched::Missing(file) => {
                let problem = "it was there a moment ago, and is gone";
                Err(TableFinding::new(TableFindingKind::MissingFile, &file.path, problem).into())
            }
        }
    }
}

/// The manifest lists of all snapshots.
fn manifest_lists(metadata: &TableMetadata) -> BTreeSet<&String> {
    metadata
        .snapshots
        .iter()
        .filter_map(|snapshot| snapshot.manifest_list.as_ref())
        .collect()
}

/// Position deletes whose rows cannot be rewritten.
fn check_delete_format(
    manifest: &str,
    index: usize,
    entry: &ManifestEntry,
) -> Result<(), TableFinding> {
    match entry.format {
        FileFormat::Parquet | FileFormat::Puffin => Ok(()),
        FileFormat::Avro | FileFormat::Orc => {
            let problem = format!(
                "{} holds position deletes in {:?}: its rows cannot be rewritten",
                entry.path, entry.format
            );
            let finding =
                TableFinding::new(TableFindingKind::UnsupportedDeleteFile, manifest, problem);
            Err(finding.at(format!("entry {index}")))
        }
    }
}
