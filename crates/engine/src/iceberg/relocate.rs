//! Relocates a table: rewrites what names files, from the delete files up to metadata.json.

mod arrival;
mod rewriting;

use super::held_files::{HeldFiles, MAX_HELD_BYTES};
use super::relocation_memory::{RelocationMemory, RewrittenFiles};
use super::{FileProgress, IcebergError};
use crate::ports::TableFiles;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_iceberg::{
    FileFormat, FileLocations, OwnPrefix, PathMap, RelocatedFile, RelocatedKind, TableFinding,
    TableFindingKind, TableMetadata, relocate_metadata,
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
    /// The location of the table as the primary's entry has it. Metadata, manifests and delete files outside
    /// it are refused: whoever can write one table's metadata must not have files of another one copied.
    /// `None` if the person who asks may read all files themselves.
    pub table_location: Option<String>,
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
    /// The path of the replica of the metadata file before it, as its log says.
    pub previous_metadata: Option<String>,
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
    /// Time ran out. A repetition goes on from there.
    Unfinished {
        /// The number of manifests and delete files that are known and left.
        left: usize,
    },
}

/// What bounds the work on a table.
#[derive(Clone, Copy)]
pub struct WorkLimits<'a> {
    /// Whether to leave the rest for another call.
    pub is_late: &'a dyn Fn() -> bool,
    /// The files in memory, also of other tables.
    pub held: &'a HeldFiles,
}

/// The work on one table.
struct Relocator<'a, F, P> {
    files: &'a F,
    progress: &'a P,
    map: &'a PathMap,
    source: RelocationSource,
    confinement: &'a Confinement<'a>,
    own: OwnPrefix,
    /// What stands in the own prefix, with the sizes.
    existing: BTreeMap<String, u64>,
    /// What was rewritten earlier.
    memory: &'a mut RelocationMemory,
    /// Whether time ran out.
    is_late: &'a dyn Fn() -> bool,
    held: &'a HeldFiles,
}

/// What the manifests of a table name.
#[derive(Default)]
struct NamedFiles {
    rewritten: RewrittenFiles,
    /// By the source path of a manifest, the files that it names, that are not rewritten and must be there:
    /// the path in the standby and the size.
    needed: BTreeMap<String, Vec<(String, u64)>>,
    pending: Vec<PendingFile>,
    written: usize,
    kept: usize,
    /// Files that were left out because time ran out.
    left: usize,
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
    /// It is rewritten once the files that it names are, or was rewritten earlier.
    Later,
    /// Time ran out, or the file is being removed as one that was not needed any more.
    Left,
}

/// A file of position deletes, as its manifest describes it.
#[derive(Clone, Copy)]
struct DeleteFile {
    format: FileFormat,
    /// In bytes.
    size: Option<u64>,
}

/// A manifest that was read.
struct SurveyedManifest {
    path: String,
    /// The live files that are not rewritten, by their path in the standby, with their sizes.
    needed: Vec<(String, u64)>,
    /// The live files of position deletes that were not rewritten earlier.
    deletes: BTreeMap<String, DeleteFile>,
    /// All live files of position deletes.
    names: Vec<String>,
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
    let mut memory = RelocationMemory::default();
    let limits = WorkLimits {
        is_late: &|| false,
        held: &HeldFiles::new(MAX_HELD_BYTES),
    };
    relocate_with_memory(files, request, &mut memory, limits, progress).await
}

/// As [`relocate_table`], with the memory of earlier relocations of the table: files that were rewritten
/// earlier are not read again, and files that were found earlier are not looked for again. The result is
/// the same as without a memory. The limits say when to leave the rest for another call.
///
/// The memory is to be stored whatever the result is, also if the future is dropped before its end.
///
/// # Errors
/// As [`relocate_table`].
pub async fn relocate_with_memory(
    files: &impl TableFiles,
    request: &RelocationRequest,
    memory: &mut RelocationMemory,
    limits: WorkLimits<'_>,
    progress: &impl FileProgress,
) -> Result<RelocationOutcome, IcebergError> {
    let map = &request.map;
    let path = &request.metadata_path;
    let source_path = match map.map(path) {
        Some(_) => path.clone(),
        None => map.source_of(path).ok_or_else(|| outside(path, path))?,
    };
    let confinement = Confinement::new(request.table_location.as_deref(), &source_path)?;
    confinement.check(&source_path)?;
    let read_at = read_path(map, request.source, &source_path)?;
    let Some(bytes) = files.get(&read_at).await? else {
        return Ok(RelocationOutcome::Pending(vec![missing(&read_at)]));
    };
    let metadata = TableMetadata::parse(&source_path, &bytes)?;
    confinement.check_location(&source_path, &metadata.location)?;
    let location = map.map(&metadata.location);
    let location = location.ok_or_else(|| outside(&source_path, &metadata.location))?;
    let pairing_id = request.pairing_id.as_ref().or(metadata.table_uuid.as_ref());
    let own = OwnPrefix::new(&location, pairing_id.map_or("table", String::as_str), map)?;
    let mut existing = BTreeMap::new();
    let mut visit = |path: &str, size| {
        existing.insert(path.to_owned(), size);
    };
    files.list(own.as_str(), &mut visit).await?;
    // The work may be given up at any await: what it remembers stays with the caller.
    *memory = std::mem::take(memory).of(own.as_str(), map, &existing);
    memory.want(&source_path);
    let mut relocator = Relocator {
        files,
        progress,
        map,
        source: request.source,
        confinement: &confinement,
        own,
        existing,
        memory,
        is_late: limits.is_late,
        held: limits.held,
    };
    relocator
        .run(&metadata, (&source_path, &bytes), &location)
        .await
}

impl<F: TableFiles, P: FileProgress> Relocator<'_, F, P> {
    async fn run(
        &mut self,
        metadata: &TableMetadata,
        (source_path, bytes): (&str, &[u8]),
        location: &str,
    ) -> Result<RelocationOutcome, IcebergError> {
        let mut named = NamedFiles::default();
        named.rewritten.relocations = self.memory.relocations.clone();
        named.rewritten.names.insert(
            source_path.to_owned(),
            rewritten_files(metadata).into_iter().cloned().collect(),
        );
        let result = self.relocate_manifests(metadata, &mut named).await;
        self.memory.remember(&named.rewritten, &named.needed);
        let is_rewritten = result?;
        if !is_rewritten {
            return Ok(RelocationOutcome::Unfinished { left: named.left });
        }
        self.add_statistics(metadata, source_path, &mut named)?;
        let arrival = self.missing_files(location, &named.needed).await?;
        let missing = arrival.pending.iter().map(|file| file.path.as_str());
        let unknown = arrival.unknown.iter().map(String::as_str);
        let not_found = missing.chain(unknown).collect();
        self.memory.record_found(&named.needed, &not_found);
        let left = named.left + arrival.unknown.len();
        if left > 0 {
            return Ok(RelocationOutcome::Unfinished { left });
        }
        named.pending.extend(arrival.pending);
        if !named.pending.is_empty() {
            return Ok(RelocationOutcome::Pending(named.pending));
        }
        self.relocate_lists(metadata, &mut named).await?;
        self.memory.remember(&named.rewritten, &BTreeMap::new());
        if named.left > 0 {
            return Ok(RelocationOutcome::Unfinished { left: named.left });
        }
        // The log names the replicas of earlier metadata files, and never what was rewritten of them.
        let mut relocations = named.rewritten.relocations.clone();
        relocations.retain(|_, file| file.kind != RelocatedKind::Metadata);
        let relocated = relocate_metadata(source_path, bytes, self.map, &relocations)?;
        let notes = relocated.notes;
        let kind = RelocatedKind::Metadata;
        let written = self.put(source_path, bytes, relocated.bytes, kind).await?;
        let metadata_path = match &written {
            Relocated::File { file, .. } => file.path.clone(),
            Relocated::Missing(_) | Relocated::Later | Relocated::Left => {
                return Ok(RelocationOutcome::Unfinished { left: 1 });
            }
        };
        named.add(written);
        self.memory.remember(&named.rewritten, &BTreeMap::new());
        self.memory.complete(metadata);
        let previous = metadata.metadata_log.last();
        Ok(RelocationOutcome::Relocated(TableRelocation {
            metadata_path,
            previous_metadata: previous.and_then(|logged| self.map.map(&logged.metadata_file)),
            location: location.to_owned(),
            written: named.written,
            kept: named.kept,
            notes,
        }))
    }
}

/// The location of the table's entry, in which the files lie that are read and written for the table.
struct Confinement<'a>(Option<(&'a str, FileLocations)>);

impl<'a> Confinement<'a> {
    fn new(location: Option<&'a str>, metadata_path: &str) -> Result<Self, TableFinding> {
        let Some(location) = location else {
            return Ok(Self(None));
        };
        let covered = locations_of(
            location,
            metadata_path,
            "the location of the table's entry in the catalog",
        )?;
        Ok(Self(Some((location, covered))))
    }

    fn check(&self, path: &str) -> Result<(), TableFinding> {
        match &self.0 {
            Some((_, covered)) if !covered.covers(path) => Err(TableFinding::new(
                TableFindingKind::OutsideTable,
                path,
                "the file lies outside the location of the table's entry in the catalog".to_owned(),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// The relocated files are written below the location that metadata.json has: it has to be that of the entry.
    fn check_location(&self, metadata_path: &str, location: &str) -> Result<(), TableFinding> {
        let Some((of_entry, covered)) = &self.0 else {
            return Ok(());
        };
        let of_metadata = locations_of(location, metadata_path, "the location in it")?;
        if covered.covers(location) && of_metadata.covers(of_entry) {
            return Ok(());
        }
        let detail = format!(
            "the location in it is {location}, and that of the table's entry in the catalog is {of_entry}"
        );
        Err(TableFinding::new(
            TableFindingKind::OutsideTable,
            metadata_path,
            detail,
        ))
    }
}

fn locations_of(
    location: &str,
    metadata_path: &str,
    what: &str,
) -> Result<FileLocations, TableFinding> {
    FileLocations::new([location]).map_err(|error| {
        let detail = format!("{what} is invalid: {error}");
        TableFinding::new(TableFindingKind::OutsideTable, metadata_path, detail)
    })
}

/// The manifest lists of all snapshots, and the manifests of those without a list.
fn rewritten_files(metadata: &TableMetadata) -> BTreeSet<&String> {
    let snapshots = metadata.snapshots.iter();
    snapshots
        .flat_map(|snapshot| match &snapshot.manifest_list {
            Some(list) => std::slice::from_ref(list),
            None => &snapshot.manifests,
        })
        .collect()
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

impl NamedFiles {
    fn add(&mut self, relocated: Relocated) {
        match relocated {
            Relocated::File {
                source,
                file,
                is_new,
            } => {
                if is_new {
                    self.rewritten.created.insert(file.path.clone());
                }
                self.rewritten.relocations.insert(source, file);
                self.written += usize::from(is_new);
                self.kept += usize::from(!is_new);
            }
            Relocated::Missing(file) => self.pending.push(file),
            Relocated::Later => {}
            Relocated::Left => self.left += 1,
        }
    }
}
