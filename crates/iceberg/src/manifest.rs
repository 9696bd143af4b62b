//! Manifests: data files or delete files (Iceberg specification, "Manifests").

mod entry_fields;

use crate::avro::container::{Container, SpanEdits};
use crate::avro::cursor::Cursor;
use crate::avro::fields::{ArraySpan, MapChange};
use crate::avro::schema::{AvroError, Schema};
use crate::manifest_list::{ManifestContent, entry_label};
use crate::path_map::PathMap;
use crate::relocations::{PositionDeleteFacts, RelocatedKind, Relocations};
use crate::table_finding::{TableFinding, TableFindingKind};
use entry_fields::{RawEntry, parse_entry};
use std::collections::BTreeMap;
use std::ops::Range;

/// The id of the column `file_path` of a position delete file (specification, "Reserved Field IDs").
pub(crate) const DELETED_FILE_PATH: i64 = 2_147_483_546;
/// The id of the column `pos` of a position delete file.
pub(crate) const DELETED_POSITION: i64 = 2_147_483_545;

/// What an entry says about its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryStatus {
    /// The file was there before.
    Existing,
    /// The snapshot of the manifest added the file.
    Added,
    /// The snapshot of the manifest removed the file. Nobody reads it, and it may be gone.
    Deleted,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// Rows.
    Data,
    /// Positions of deleted rows: a file of rows, or a deletion vector.
    PositionDeletes,
    /// Values of deleted rows.
    EqualityDeletes,
}

/// The format of a data file or a delete file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Apache Parquet.
    Parquet,
    /// Apache Avro.
    Avro,
    /// Apache ORC.
    Orc,
    /// Puffin, for deletion vectors.
    Puffin,
}

/// An entry of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Whether the file was added, stays, or was removed.
    pub status: EntryStatus,
    /// The snapshot that added or removed the file; `None` if it is inherited from the manifest.
    pub snapshot_id: Option<i64>,
    /// The data sequence number; `None` if it is inherited.
    pub sequence_number: Option<i64>,
    /// What the file holds.
    pub content: FileContent,
    /// The format of the file.
    pub format: FileFormat,
    /// The path of the file.
    pub path: String,
    /// The size of the file in bytes.
    pub size: i64,
    /// The number of rows, or of deleted positions.
    pub record_count: i64,
    /// The data file that all deletes are for.
    pub referenced_data_file: Option<String>,
    /// Where a deletion vector begins in its file, and how many bytes it has.
    pub vector: Option<(i64, i64)>,
    /// The bounds of the column `file_path` of a position delete file: lower, upper. Either may be cut.
    pub path_bounds: [Option<Vec<u8>>; 2],
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The format version of the manifest; 1 if it does not say.
    pub format_version: i64,
    /// The entries in their order.
    pub entries: Vec<ManifestEntry>,
}

/// A manifest that was read, and rewritten if that was possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelocatedManifest {
    /// What it says, with the paths of the primary.
    pub manifest: Manifest,
    /// With the paths of the standby. `None` if it names live position deletes that were not relocated.
    pub bytes: Option<Vec<u8>>,
}

/// An entry with the positions of what may be edited.
struct EntrySpans {
    entry: ManifestEntry,
    path: Range<usize>,
    size: Range<usize>,
    referenced: Option<Range<usize>>,
    column_sizes: Option<ArraySpan>,
    split_offsets: Option<ArraySpan>,
    bounds: [Option<ArraySpan>; 2],
    is_encrypted: bool,
}

/// The entries of a manifest.
///
/// # Errors
/// The file is no manifest, or names something that this crate does not know.
pub fn read_manifest(path: &str, bytes: &[u8]) -> Result<Manifest, TableFinding> {
    let container = Container::parse(path, bytes)?;
    let format_version = check_version(path, &container)?;
    let mut entries = Vec::new();
    container.read(|index, cursor| {
        entries.push(read_entry(path, &container.schema, index, cursor)?.entry);
        Ok(())
    })?;
    Ok(Manifest {
        format_version,
        entries,
    })
}

/// The manifest with the paths of the standby. Its live position delete files and deletion vectors must be in
/// `relocations`.
///
/// Entries of removed files keep their size: nobody reads these files, and they may be gone.
///
/// # Errors
/// The file is no manifest, names something that this crate does not know, a path lies outside the pairs, or a
/// position delete file or deletion vector is not in `relocations`.
pub fn relocate_manifest(
    path: &str,
    bytes: &[u8],
    map: &PathMap,
    relocations: &Relocations,
) -> Result<Vec<u8>, TableFinding> {
    let container = Container::parse(path, bytes)?;
    check_version(path, &container)?;
    let schema = &container.schema;
    container.rewrite(|index, cursor, edits| {
        let start = *cursor;
        let spans = read_entry(path, schema, index, cursor)?;
        let editor = EntryEditor {
            manifest: path,
            index,
            schema,
            map,
            cursor: start,
        };
        editor.edit(&spans, relocations, edits)
    })
}

/// As [`read_manifest`] and [`relocate_manifest`] one after the other, in one pass. A manifest with live position
/// deletes that are not in `relocations` is read, and not rewritten.
///
/// # Errors
/// As [`relocate_manifest`].
pub fn read_and_relocate_manifest(
    path: &str,
    bytes: &[u8],
    map: &PathMap,
    relocations: &Relocations,
) -> Result<RelocatedManifest, TableFinding> {
    let container = Container::parse(path, bytes)?;
    let format_version = check_version(path, &container)?;
    let schema = &container.schema;
    let mut entries = Vec::new();
    let mut waits = false;
    let rewritten = container.rewrite_while(|index, cursor, edits| {
        let start = *cursor;
        let spans = read_entry(path, schema, index, cursor)?;
        let entry = &spans.entry;
        waits |= entry.content == FileContent::PositionDeletes
            && entry.status != EntryStatus::Deleted
            && relocations.get(&entry.path).is_none();
        if !waits {
            let editor = EntryEditor {
                manifest: path,
                index,
                schema,
                map,
                cursor: start,
            };
            editor.edit(&spans, relocations, edits)?;
        }
        entries.push(spans.entry);
        Ok(!waits)
    })?;
    Ok(RelocatedManifest {
        manifest: Manifest {
            format_version,
            entries,
        },
        bytes: rewritten,
    })
}

/// The keys that engines need in the header of a manifest, and that are missing.
#[must_use]
pub(crate) fn missing_header_keys(container: &Container<'_>) -> Vec<&'static str> {
    let is_version_1 = container
        .header_text("format-version")
        .is_none_or(|text| text == "1");
    let needed: &[&str] = match is_version_1 {
        true => &["schema", "partition-spec"],
        false => &[
            "schema",
            "partition-spec",
            "partition-spec-id",
            "format-version",
            "content",
        ],
    };
    let is_missing = |key: &&&str| !container.header.contains_key(**key);
    needed.iter().filter(is_missing).copied().collect()
}

/// What the header of a manifest says about its entries.
pub(crate) fn header_content(container: &Container<'_>) -> ManifestContent {
    match container.header_text("content") {
        Some("deletes") => ManifestContent::Deletes,
        Some(_) | None => ManifestContent::Data,
    }
}

fn check_version(path: &str, container: &Container<'_>) -> Result<i64, TableFinding> {
    let text = container.header_text("format-version").unwrap_or("1");
    match text.parse() {
        Ok(version @ 1..=3) => Ok(version),
        Ok(_) | Err(_) => Err(TableFinding::new(
            TableFindingKind::UnsupportedFormat,
            path,
            format!("the manifest has format version {text:?}; 1, 2 and 3 are supported"),
        )
        .at("header")),
    }
}

/// Rewrites one entry.
struct EntryEditor<'a> {
    manifest: &'a str,
    index: usize,
    schema: &'a Schema,
    map: &'a PathMap,
    cursor: Cursor<'a>,
}

impl EntryEditor<'_> {
    fn edit(
        &self,
        spans: &EntrySpans,
        relocations: &Relocations,
        edits: &mut SpanEdits,
    ) -> Result<(), TableFinding> {
        let entry = &spans.entry;
        let is_read = entry.status != EntryStatus::Deleted;
        match entry.content {
            FileContent::PositionDeletes if is_read => {
                self.edit_deletes(spans, relocations, edits)?;
            }
            FileContent::PositionDeletes => {
                edits.replace_string(spans.path.clone(), &self.mapped(&entry.path)?);
                self.edit_bounds(spans, self.mapped_bounds(entry), edits)?;
            }
            FileContent::Data | FileContent::EqualityDeletes => {
                edits.replace_string(spans.path.clone(), &self.mapped(&entry.path)?);
            }
        }
        if let (Some(span), Some(path)) = (&spans.referenced, &entry.referenced_data_file) {
            edits.replace_string(span.clone(), &self.mapped(path)?);
        }
        Ok(())
    }

    fn edit_deletes(
        &self,
        spans: &EntrySpans,
        relocations: &Relocations,
        edits: &mut SpanEdits,
    ) -> Result<(), TableFinding> {
        let entry = &spans.entry;
        let relocated = relocations.get(&entry.path).ok_or_else(|| {
            let problem = format!("the delete file {} was not relocated", entry.path);
            self.finding(TableFindingKind::DeleteFileNotRelocated, problem)
        })?;
        edits.replace_string(spans.path.clone(), &relocated.path);
        let length = i64::try_from(relocated.length).unwrap_or(i64::MAX);
        edits.replace_long(spans.size.clone(), length);
        let bounds = match &relocated.kind {
            RelocatedKind::PositionDeletes(facts) => {
                self.edit_facts(spans, facts, edits)?;
                [facts.lower_path.clone(), facts.upper_path.clone()]
            }
            RelocatedKind::DeletionVectors => match &entry.referenced_data_file {
                Some(path) => {
                    let path = self.mapped(path)?;
                    [Some(path.clone()), Some(path)]
                }
                None => self.mapped_bounds(entry),
            },
            RelocatedKind::Metadata | RelocatedKind::ManifestList | RelocatedKind::Manifest => {
                let problem = format!("{} is no delete file", entry.path);
                return Err(self.finding(TableFindingKind::UnknownFileType, problem));
            }
        };
        self.edit_bounds(spans, bounds, edits)
    }

    fn edit_facts(
        &self,
        spans: &EntrySpans,
        facts: &PositionDeleteFacts,
        edits: &mut SpanEdits,
    ) -> Result<(), TableFinding> {
        if let Some(sizes) = &spans.column_sizes {
            let changes = facts.column_sizes.iter();
            let changes = changes
                .map(|(id, size)| (*id, MapChange::Long(*size)))
                .collect();
            self.edit_map(sizes, &changes, edits)?;
        }
        if let Some(offsets) = &spans.split_offsets {
            edits.replace(
                offsets.span.clone(),
                &ArraySpan::encode_numbers(&facts.split_offsets),
            );
        }
        Ok(())
    }

    /// The bounds where they are whole paths. A bound that is cut is left out: without a bound, a reader skips nothing.
    fn mapped_bounds(&self, entry: &ManifestEntry) -> [Option<String>; 2] {
        let mapped = |bound: &Option<Vec<u8>>| {
            let text = std::str::from_utf8(bound.as_deref()?).ok()?;
            self.map.map(text)
        };
        let [lower, upper] = &entry.path_bounds;
        // Only equal bounds are certainly whole paths.
        match lower == upper {
            true => [mapped(lower), mapped(upper)],
            false => [None, None],
        }
    }

    fn edit_bounds(
        &self,
        spans: &EntrySpans,
        bounds: [Option<String>; 2],
        edits: &mut SpanEdits,
    ) -> Result<(), TableFinding> {
        for (array, bound) in spans.bounds.iter().zip(bounds) {
            let change = match bound {
                Some(path) => MapChange::Bytes(path.into_bytes()),
                None => MapChange::Remove,
            };
            if let Some(array) = array {
                self.edit_map(array, &BTreeMap::from([(DELETED_FILE_PATH, change)]), edits)?;
            }
        }
        Ok(())
    }

    fn edit_map(
        &self,
        array: &ArraySpan,
        changes: &BTreeMap<i64, MapChange>,
        edits: &mut SpanEdits,
    ) -> Result<(), TableFinding> {
        let edited = array.with_changes(self.cursor, self.schema, changes);
        let edited =
            edited.map_err(|problem| self.finding(TableFindingKind::Malformed, problem))?;
        if let Some(edited) = edited {
            edits.replace(array.span.clone(), &edited);
        }
        Ok(())
    }

    fn mapped(&self, path: &str) -> Result<String, TableFinding> {
        self.map.map(path).ok_or_else(|| {
            let problem = format!("no location pair covers {path}");
            self.finding(TableFindingKind::OutsidePairs, problem)
        })
    }

    fn finding(&self, kind: TableFindingKind, problem: impl Into<String>) -> TableFinding {
        TableFinding::new(kind, self.manifest, problem).at(entry_label(self.index))
    }
}

fn read_entry(
    path: &str,
    schema: &Schema,
    index: usize,
    cursor: &mut Cursor<'_>,
) -> Result<EntrySpans, TableFinding> {
    let finding =
        |kind, problem: String| TableFinding::new(kind, path, problem).at(entry_label(index));
    let start = *cursor;
    let raw = parse_entry(schema, cursor);
    let raw = raw.map_err(|e| finding(TableFindingKind::Malformed, e.to_owned()))?;
    let spans = interpret(raw).map_err(|(kind, problem)| finding(kind, problem))?;
    if spans.is_encrypted {
        let problem = format!("{} has key metadata", spans.entry.path);
        return Err(finding(TableFindingKind::Encrypted, problem));
    }
    with_path_bounds(spans, start, schema)
        .map_err(|e| finding(TableFindingKind::Malformed, e.to_owned()))
}

/// Reads the bounds of `file_path` of a position delete file. Those of other files belong to columns of
/// the table, and are not looked at.
fn with_path_bounds(
    mut spans: EntrySpans,
    cursor: Cursor<'_>,
    schema: &Schema,
) -> Result<EntrySpans, AvroError> {
    if spans.entry.content == FileContent::PositionDeletes {
        for (array, slot) in spans.bounds.iter().zip(&mut spans.entry.path_bounds) {
            if let Some(array) = array {
                *slot = array
                    .bytes_of(cursor, schema, DELETED_FILE_PATH)?
                    .map(<[u8]>::to_vec);
            }
        }
    }
    Ok(spans)
}

/// # Errors
/// A required field is missing, or has a value that the specification does not name.
fn interpret(raw: RawEntry<'_>) -> Result<EntrySpans, (TableFindingKind, String)> {
    let unknown = |problem: String| (TableFindingKind::UnknownFileType, problem);
    let missing = |field: &str| (TableFindingKind::Malformed, format!("it has no {field}"));
    let status = match raw.status {
        Some(0) => EntryStatus::Existing,
        Some(1) => EntryStatus::Added,
        Some(2) => EntryStatus::Deleted,
        Some(other) => {
            let problem = format!("its status is {other}; 0, 1 and 2 are known");
            return Err(unknown(problem));
        }
        None => return Err(missing("status")),
    };
    let content = match raw.content {
        None | Some(0) => FileContent::Data,
        Some(1) => FileContent::PositionDeletes,
        Some(2) => FileContent::EqualityDeletes,
        Some(other) => {
            let problem = format!("its content is {other}; 0, 1 and 2 are known");
            return Err(unknown(problem));
        }
    };
    let name = raw.format.ok_or_else(|| missing("file_format"))?;
    let formats = [
        ("parquet", FileFormat::Parquet),
        ("avro", FileFormat::Avro),
        ("orc", FileFormat::Orc),
        ("puffin", FileFormat::Puffin),
    ];
    let format = formats
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known));
    let Some((_, format)) = format else {
        return Err(unknown(format!("its file format {name:?} is not known")));
    };
    if *format == FileFormat::Puffin && content != FileContent::PositionDeletes {
        let problem = "it is a Puffin file and holds no position deletes".to_owned();
        return Err(unknown(problem));
    }
    let path = raw.path.ok_or_else(|| missing("file_path"))?;
    let size = raw.size.ok_or_else(|| missing("file_size_in_bytes"))?;
    Ok(EntrySpans {
        entry: ManifestEntry {
            status,
            snapshot_id: raw.snapshot_id,
            sequence_number: raw.sequence_number,
            content,
            format: *format,
            path: path.value.to_owned(),
            size: size.value,
            record_count: raw.record_count.unwrap_or_default(),
            referenced_data_file: (raw.referenced.as_ref()).map(|path| path.value.to_owned()),
            vector: raw.offset.zip(raw.length),
            path_bounds: [None, None],
        },
        path: path.span,
        size: size.span,
        referenced: raw.referenced.map(|path| path.span),
        column_sizes: raw.column_sizes,
        split_offsets: raw.split_offsets,
        bounds: raw.bounds,
        is_encrypted: raw.is_encrypted,
    })
}
