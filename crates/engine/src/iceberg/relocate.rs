//! Relocates a table: rewrites what names files, from the delete files up to metadata.json.

use super::{CONCURRENT_FILES, FileProgress, IcebergError};
use crate::ports::TableFiles;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::CallError;
use twinlake_iceberg::{
    EntryStatus, FileContent, FileFormat, Manifest, ManifestEntry, OwnPrefix, PathMap,
    RelocatedFile, RelocatedKind, Relocations, TableFinding, TableFindingKind, TableMetadata,
    read_manifest, read_manifest_list, relocate_deletion_vectors, relocate_manifest,
    relocate_manifest_list, relocate_metadata, relocate_position_deletes,
};

/// Where the files of a table are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocationSource {
    /// Their replicas, at the mapped paths.
    Replica,
    /// The originals, at the paths in the metadata.
    Original,
}

/// What to relocate.
#[derive(Clone, Debug)]
pub struct RelocationRequest {
    /// The metadata.json: its path in the primary, or that of its replica.
    pub metadata_path: String,
    /// Which path of the primary is which path of the standby.
    pub map: PathMap,
    /// The directory in `_twinlake`; the id of the table if `None`.
    pub pairing_id: Option<String>,
    /// Where the files are read.
    pub source: RelocationSource,
}

/// A file that the standby does not hold yet, or holds with another size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingFile {
    /// The path in the standby.
    pub path: String,
    /// The size that the metadata gives; `None` for a file of the metadata itself.
    pub expected: Option<u64>,
    /// The size of the file that is there; `None` if there is none.
    pub found: Option<u64>,
}

/// A relocated table.
#[derive(Clone, Debug, Default)]
pub struct TableRelocation {
    /// The path of the relocated metadata.json.
    pub metadata_path: String,
    /// The location of the table in the standby.
    pub location: String,
    /// The number of files that were written now.
    pub written: usize,
    /// The number of rewritten files that were there already.
    pub kept: usize,
    /// What was left out, or may surprise.
    pub notes: Vec<String>,
}

/// How a relocation ended.
#[derive(Clone, Debug)]
pub enum RelocationOutcome {
    /// The relocated metadata.json is there, and all that it names.
    Relocated(TableRelocation),
    /// Files are missing in the standby. No metadata.json was written.
    Pending(Vec<PendingFile>),
}

/// The work on one table.
struct Relocator<'a, F, P> {
    files: &'a F,
    progress: &'a P,
    map: &'a PathMap,
    source: RelocationSource,
    own: OwnPrefix,
    /// What stands in the own prefix, with the sizes.
    existing: BTreeMap<String, u64>,
}

/// What the manifests of a table name.
#[derive(Default)]
struct NamedFiles {
    relocations: Relocations,
    /// Files that are not rewritten and must be there, by their path in the standby.
    needed: BTreeMap<String, u64>,
    pending: Vec<PendingFile>,
    written: usize,
}

/// What became of a file that is rewritten.
enum Relocated {
    File {
        /// The path in the primary.
        source: String,
        file: RelocatedFile,
        is_new: bool,
    },
    /// It is not there.
    Missing(PendingFile),
    /// It is rewritten once the files that it names are.
    Later,
}

/// A manifest that was read.
struct SurveyedManifest {
    path: String,
    /// The live files that are not rewritten, by their path in the standby, with their sizes.
    needed: Vec<(String, u64)>,
    /// The live files of position deletes.
    deletes: BTreeMap<String, FileFormat>,
    relocated: Relocated,
}

/// A file of the metadata that is read; its path in the standby if it is missing.
enum Fetched {
    Bytes(Vec<u8>),
    Missing(PendingFile),
}

/// Relocates a table, and writes the rewritten files beside its replica. A repetition writes only what is
/// missing. The catalog is not changed.
///
/// # Errors
/// A file is refused, or could not be read or written. Nothing that was written is named by a
/// metadata.json then.
pub async fn relocate_table(
    files: &impl TableFiles,
    request: &RelocationRequest,
    progress: &impl FileProgress,
) -> Result<RelocationOutcome, IcebergError> {
    let map = &request.map;
    let path = &request.metadata_path;
    let source_path = match map.map(path) {
        Some(_) => path.clone(),
        None => map.source_of(path).ok_or_else(|| outside(path, path))?,
    };
    let read_at = read_path(map, request.source, &source_path)?;
    let Some(bytes) = files.get(&read_at).await? else {
        return Ok(RelocationOutcome::Pending(vec![missing(&read_at)]));
    };
    let metadata = TableMetadata::parse(&source_path, &bytes)?;
    let location = map.map(&metadata.location);
    let location = location.ok_or_else(|| outside(&source_path, &metadata.location))?;
    let pairing_id = request.pairing_id.as_ref().or(metadata.table_uuid.as_ref());
    let own = OwnPrefix::new(&location, pairing_id.map_or("table", String::as_str), map)?;
    let mut existing = BTreeMap::new();
    let mut visit = |path: &str, size| {
        existing.insert(path.to_owned(), size);
    };
    files.list(own.as_str(), &mut visit).await?;
    let relocator = Relocator {
        files,
        progress,
        map,
        source: request.source,
        own,
        existing,
    };
    let mut named = relocator.relocate_manifests(&metadata).await?;
    relocator.add_statistics(&metadata, &mut named)?;
    named
        .pending
        .extend(relocator.missing_files(&location, &named.needed).await?);
    if !named.pending.is_empty() {
        return Ok(RelocationOutcome::Pending(named.pending));
    }
    relocator.relocate_lists(&metadata, &mut named).await?;
    let relocated = relocate_metadata(&source_path, &bytes, map, &named.relocations)?;
    let notes = relocated.notes;
    named.add(
        relocator
            .put(
                &source_path,
                &bytes,
                relocated.bytes,
                RelocatedKind::Metadata,
            )
            .await?,
    );
    let metadata_path = named
        .relocations
        .get(&source_path)
        .map(|file| file.path.clone());
    Ok(RelocationOutcome::Relocated(TableRelocation {
        metadata_path: metadata_path.unwrap_or_default(),
        location,
        written: named.written,
        kept: named.relocations.len() - named.written,
        notes,
    }))
}

fn outside(file: &str, path: &str) -> TableFinding {
    TableFinding::new(
        TableFindingKind::OutsidePairs,
        file,
        format!("no location pair covers {path}"),
    )
}

fn missing(path: &str) -> PendingFile {
    PendingFile {
        path: path.to_owned(),
        expected: None,
        found: None,
    }
}

fn read_path(map: &PathMap, source: RelocationSource, path: &str) -> Result<String, TableFinding> {
    match source {
        RelocationSource::Original => Ok(path.to_owned()),
        RelocationSource::Replica => map.map(path).ok_or_else(|| outside(path, path)),
    }
}

impl<F: TableFiles, P: FileProgress> Relocator<'_, F, P> {
    async fn fetch(&self, path: &str) -> Result<Fetched, IcebergError> {
        let read_at = read_path(self.map, self.source, path)?;
        Ok(match self.files.get(&read_at).await? {
            Some(bytes) => Fetched::Bytes(bytes),
            None => Fetched::Missing(missing(&read_at)),
        })
    }

    /// Writes a rewritten file, unless it is there.
    async fn put(
        &self,
        source_path: &str,
        source: &[u8],
        relocated: Vec<u8>,
        kind: RelocatedKind,
    ) -> Result<Relocated, IcebergError> {
        let path = self.own.path_of(source_path, source, &relocated);
        let length = u64::try_from(relocated.len()).unwrap_or(u64::MAX);
        let is_new = match self.existing.get(&path) {
            Some(size) if *size == length => false,
            Some(size) => {
                let problem = format!(
                    "it has {size} bytes and should have {length}: something else wrote it"
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

    /// The paths of the manifests of all snapshots.
    async fn manifests(
        &self,
        metadata: &TableMetadata,
        named: &mut NamedFiles,
    ) -> Result<BTreeSet<String>, IcebergError> {
        let mut manifests = BTreeSet::new();
        for snapshot in metadata
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.manifest_list.is_none())
        {
            manifests.extend(snapshot.manifests.iter().cloned());
        }
        let lists = manifest_lists(metadata);
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
                    manifests.extend(listed.into_iter().map(|manifest| manifest.path));
                }
                Fetched::Missing(file) => named.pending.push(file),
            }
        }
        Ok(manifests)
    }

    /// Rewrites the manifests and the delete files that they name.
    async fn relocate_manifests(
        &self,
        metadata: &TableMetadata,
    ) -> Result<NamedFiles, IcebergError> {
        let mut named = NamedFiles::default();
        let manifests = self.manifests(metadata, &mut named).await?;
        self.progress.files_expected(manifests.len());
        // Manifests that name position deletes are rewritten after these.
        let (mut deletes, mut later) = (BTreeMap::new(), Vec::new());
        let none = Relocations::default();
        let mut surveyed = stream::iter(
            manifests
                .iter()
                .map(|path| self.survey_manifest(path, &none)),
        )
        .buffer_unordered(CONCURRENT_FILES);
        while let Some(surveyed) = surveyed.try_next().await? {
            named.needed.extend(surveyed.needed);
            named.add(surveyed.relocated);
            if !surveyed.deletes.is_empty() {
                deletes.extend(surveyed.deletes);
                later.push(surveyed.path);
            }
        }
        drop(surveyed);
        self.progress.files_expected(deletes.len() + later.len());
        let mut relocated = stream::iter(
            deletes
                .iter()
                .map(|(path, format)| self.relocate_deletes(path, *format)),
        )
        .buffer_unordered(CONCURRENT_FILES);
        while let Some(relocated) = relocated.try_next().await? {
            named.add(relocated);
        }
        drop(relocated);
        if !named.pending.is_empty() {
            return Ok(named);
        }
        let relocations = &named.relocations;
        let relocated: Vec<_> = stream::iter(
            later
                .iter()
                .map(|path| self.relocate_manifest(path, relocations)),
        )
        .buffer_unordered(CONCURRENT_FILES)
        .try_collect()
        .await?;
        relocated
            .into_iter()
            .for_each(|relocated| named.add(relocated));
        Ok(named)
    }

    /// Reads a manifest, and rewrites it if it names no position deletes.
    async fn survey_manifest(
        &self,
        path: &str,
        none: &Relocations,
    ) -> Result<SurveyedManifest, IcebergError> {
        let mut surveyed = SurveyedManifest {
            path: path.to_owned(),
            needed: Vec::new(),
            deletes: BTreeMap::new(),
            relocated: Relocated::Later,
        };
        let bytes = match self.fetch(path).await? {
            Fetched::Bytes(bytes) => bytes,
            Fetched::Missing(file) => {
                surveyed.relocated = Relocated::Missing(file);
                return Ok(surveyed);
            }
        };
        let Manifest { entries, .. } = read_manifest(path, &bytes)?;
        let live = |(_, entry): &(usize, &ManifestEntry)| entry.status != EntryStatus::Deleted;
        for (index, entry) in entries.iter().enumerate().filter(live) {
            match entry.content {
                FileContent::PositionDeletes => {
                    check_delete_format(path, index, entry)?;
                    surveyed.deletes.insert(entry.path.clone(), entry.format);
                }
                FileContent::Data | FileContent::EqualityDeletes => {
                    let mapped = self.map.map(&entry.path);
                    let mapped = mapped
                        .ok_or_else(|| outside(path, &entry.path).at(format!("entry {index}")))?;
                    surveyed
                        .needed
                        .push((mapped, u64::try_from(entry.size).unwrap_or_default()));
                }
            }
        }
        if surveyed.deletes.is_empty() {
            let relocated = relocate_manifest(path, &bytes, self.map, none)?;
            surveyed.relocated = self
                .put(path, &bytes, relocated, RelocatedKind::Manifest)
                .await?;
        }
        self.progress.file_finished();
        Ok(surveyed)
    }

    async fn relocate_deletes(
        &self,
        path: &str,
        format: FileFormat,
    ) -> Result<Relocated, IcebergError> {
        let bytes = match self.fetch(path).await? {
            Fetched::Bytes(bytes) => bytes,
            Fetched::Missing(file) => return Ok(Relocated::Missing(file)),
        };
        let (relocated, kind) = match format {
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
        relocations: &Relocations,
    ) -> Result<Relocated, IcebergError> {
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
        let bytes = self.fetch_again(path).await?;
        let relocated = relocate_manifest_list(path, &bytes, relocations)?;
        let relocated = self
            .put(path, &bytes, relocated, RelocatedKind::ManifestList)
            .await?;
        self.progress.file_finished();
        Ok(relocated)
    }

    async fn relocate_lists(
        &self,
        metadata: &TableMetadata,
        named: &mut NamedFiles,
    ) -> Result<(), IcebergError> {
        let lists = manifest_lists(metadata);
        self.progress.files_expected(lists.len());
        let relocations = &named.relocations;
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

    fn add_statistics(
        &self,
        metadata: &TableMetadata,
        named: &mut NamedFiles,
    ) -> Result<(), IcebergError> {
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
            named.needed.insert(mapped, file.file_size_in_bytes);
        }
        Ok(())
    }

    /// The files that are missing, or have another size: by a listing of the table's place, and singly
    /// outside of it.
    async fn missing_files(
        &self,
        location: &str,
        needed: &BTreeMap<String, u64>,
    ) -> Result<Vec<PendingFile>, CallError> {
        let mut open = needed.clone();
        let mut pending = Vec::new();
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
        self.progress.files_expected(open.len());
        let mut sizes = stream::iter(open.iter().map(|(path, expected)| async move {
            let found = self.files.size(path).await?;
            self.progress.file_finished();
            Ok::<_, CallError>((path, *expected, found))
        }))
        .buffer_unordered(CONCURRENT_FILES);
        while let Some((path, expected, found)) = sizes.try_next().await? {
            if found != Some(expected) {
                pending.push(PendingFile {
                    path: path.clone(),
                    expected: Some(expected),
                    found,
                });
            }
        }
        pending.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(pending)
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

impl NamedFiles {
    fn add(&mut self, relocated: Relocated) {
        match relocated {
            Relocated::File {
                source,
                file,
                is_new,
            } => {
                self.relocations.insert(source, file);
                self.written += usize::from(is_new);
            }
            Relocated::Missing(file) => self.pending.push(file),
            Relocated::Later => {}
        }
    }
}
