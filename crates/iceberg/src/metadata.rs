//! Table metadata: metadata.json (Iceberg specification, "Table Metadata").

use crate::compression::{gunzip, gzip, is_gzip, is_gzip_name};
use crate::json_spans::{JsonEdits, elements, members, quoted, string};
use crate::path_map::PathMap;
use crate::relocations::Relocations;
use crate::table_finding::{TableFinding, TableFindingKind};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The highest format version whose files are rewritten.
pub const MAX_FORMAT_VERSION: i64 = 3;

/// Properties that are locations for an engine: `TableProperties` of Iceberg has all four. The last two
/// are deprecated there, and still read. Other properties are free text for engines, and stay.
pub const LOCATION_PROPERTIES: [&str; 4] = [
    "write.data.path",
    "write.metadata.path",
    "write.object-storage.path",
    "write.folder-storage.path",
];

/// Puffin blobs of statistics that name no file (Puffin specification; Presto's and Trino's statistics
/// writers).
const PATHLESS_BLOBS: [&str; 2] = [
    "apache-datasketches-theta-v1",
    "presto-sum-data-size-bytes-v1",
];

/// A list or a map that may be `null`.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A snapshot, as far as it names files or is shown.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub struct TableSnapshot {
    /// The id.
    pub snapshot_id: i64,
    /// The snapshot before it.
    pub parent_snapshot_id: Option<i64>,
    /// When it was made, in milliseconds since 1970.
    #[serde(default)]
    pub timestamp_ms: i64,
    /// The path of its manifest list.
    pub manifest_list: Option<String>,
    /// The paths of its manifests, if it has no list (version 1 only).
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<String>,
    /// What the commit did: `operation` and counts.
    #[serde(default, deserialize_with = "null_as_default")]
    pub summary: BTreeMap<String, String>,
    /// The row id of its first new row (version 3).
    pub first_row_id: Option<i64>,
    /// The key that encrypts its manifest list (version 3).
    pub key_id: Option<String>,
}

/// A branch or a tag.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub struct TableReference {
    /// The snapshot it names.
    pub snapshot_id: i64,
    /// `branch` or `tag`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A file of table statistics or of partition statistics.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub struct TableStatisticsFile {
    /// The snapshot it is about.
    pub snapshot_id: i64,
    /// The path.
    pub statistics_path: String,
    /// The size in bytes.
    pub file_size_in_bytes: u64,
}

/// An earlier metadata file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub struct MetadataLogEntry {
    /// The path.
    pub metadata_file: String,
}

/// What a metadata.json says about the files of its table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub struct TableMetadata {
    /// 1, 2 or 3.
    pub format_version: i64,
    /// The id of the table; may be missing in version 1.
    pub table_uuid: Option<String>,
    /// Where the table lies.
    pub location: String,
    /// When the file was written, in milliseconds since 1970.
    #[serde(default)]
    pub last_updated_ms: i64,
    /// The newest snapshot; -1 for none in some writers.
    pub current_snapshot_id: Option<i64>,
    /// All snapshots.
    #[serde(default, deserialize_with = "null_as_default")]
    pub snapshots: Vec<TableSnapshot>,
    /// Branches and tags.
    #[serde(default, deserialize_with = "null_as_default")]
    pub refs: BTreeMap<String, TableReference>,
    /// Statistics of snapshots.
    #[serde(default, deserialize_with = "null_as_default")]
    pub statistics: Vec<TableStatisticsFile>,
    /// Statistics of partitions.
    #[serde(default, deserialize_with = "null_as_default")]
    pub partition_statistics: Vec<TableStatisticsFile>,
    /// Earlier metadata files.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata_log: Vec<MetadataLogEntry>,
    /// Properties.
    #[serde(default, deserialize_with = "null_as_default")]
    pub properties: BTreeMap<String, String>,
}

/// A rewritten metadata.json.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelocatedMetadata {
    /// The content, compressed as the source was.
    pub bytes: Vec<u8>,
    /// What was left out, or left as it is, and may surprise.
    pub notes: Vec<String>,
}

/// The text of a metadata file.
fn text_of<'b>(path: &str, bytes: &'b [u8]) -> Result<Cow<'b, str>, TableFinding> {
    if is_gzip(bytes) != is_gzip_name(path) {
        let problem = match is_gzip(bytes) {
            true => {
                "the content is gzip, and the name does not end with .gz.metadata.json: no engine reads it"
            }
            false => "the name says that the content is gzip, and it is not: no engine reads it",
        };
        return Err(TableFinding::new(
            TableFindingKind::NameContradictsContent,
            path,
            problem,
        ));
    }
    let malformed = |problem: String| TableFinding::malformed(path, problem);
    match gunzip(bytes).map_err(malformed)? {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed),
        Cow::Owned(bytes) => {
            return String::from_utf8(bytes)
                .map(Cow::Owned)
                .map_err(|e| malformed(e.to_string()));
        }
    }
    .map_err(|e| malformed(e.to_string()))
}

impl TableMetadata {
    /// Parses a metadata.json. A file whose name says gzip is decompressed.
    ///
    /// # Errors
    /// The file is no table metadata, its name contradicts its content, its format version is not
    /// supported, or the table is encrypted.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, TableFinding> {
        let text = text_of(path, bytes)?;
        check_version(path, &text)?;
        let parsed: Self = serde_json::from_str(&text)
            .map_err(|e| TableFinding::malformed(path, format!("it is no table metadata: {e}")))?;
        for snapshot in &parsed.snapshots {
            if snapshot.key_id.is_some() {
                return Err(TableFinding::new(
                    TableFindingKind::Encrypted,
                    path,
                    "the manifest list of the snapshot is encrypted",
                )
                .at(format!("snapshot {}", snapshot.snapshot_id)));
            }
        }
        Ok(parsed)
    }
}

/// Refuses versions that are not known before anything else of the file is interpreted.
fn check_version(path: &str, text: &str) -> Result<(), TableFinding> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Version {
        format_version: i64,
    }
    let version = serde_json::from_str::<Version>(text)
        .map_err(|e| TableFinding::malformed(path, format!("it is no table metadata: {e}")))?
        .format_version;
    let problem = match version {
        1..=MAX_FORMAT_VERSION => return Ok(()),
        4 => {
            "format version 4 names files by paths relative to the table: the replicated files need no \
             rewriting, only the catalog entry moves"
                .to_owned()
        }
        other => format!("format version {other} is not known; 1 to {MAX_FORMAT_VERSION} are"),
    };
    Err(TableFinding::new(TableFindingKind::UnsupportedFormat, path, problem).at("format-version"))
}

/// The metadata with the paths of the standby. All manifest lists, and the manifests that snapshots of
/// version 1 name themselves, must be in `relocations`.
///
/// Earlier metadata files get the path of their replica, or that of their relocation if they were
/// relocated. Statistics whose content this crate does not know are left out, with a note.
///
/// # Errors
/// As [`TableMetadata::parse`]; or a path lies outside the pairs.
pub fn relocate_metadata(
    path: &str,
    bytes: &[u8],
    map: &PathMap,
    relocations: &Relocations,
) -> Result<RelocatedMetadata, TableFinding> {
    TableMetadata::parse(path, bytes)?;
    let text = text_of(path, bytes)?;
    let editor = MetadataEditor {
        path,
        map,
        relocations,
    };
    let (edited, notes) = editor.edit(&text)?;
    let bytes = match is_gzip(bytes) {
        true => gzip(edited.as_bytes()).map_err(|e| TableFinding::malformed(path, e))?,
        false => edited.into_bytes(),
    };
    Ok(RelocatedMetadata { bytes, notes })
}

struct MetadataEditor<'a> {
    path: &'a str,
    map: &'a PathMap,
    relocations: &'a Relocations,
}

impl MetadataEditor<'_> {
    fn edit(&self, text: &str) -> Result<(String, Vec<String>), TableFinding> {
        let mut edits = JsonEdits::new(text);
        let mut notes = Vec::new();
        for (key, value) in self.members(text, "")? {
            match key.as_str() {
                "location" => {
                    self.replace(&mut edits, value, "location", |path| self.map.map(path))?;
                }
                "snapshots" => self.edit_snapshots(&mut edits, value)?,
                "metadata-log" => self.edit_metadata_log(&mut edits, value)?,
                "statistics" | "partition-statistics" => {
                    self.edit_statistics(&mut edits, &key, value, &mut notes)?;
                }
                "properties" => self.edit_properties(&mut edits, value, &mut notes)?,
                _ => {}
            }
        }
        let edited = edits
            .apply()
            .ok_or_else(|| self.malformed("", "the edits do not fit"))?;
        Ok((edited, notes))
    }

    fn edit_snapshots(
        &self,
        edits: &mut JsonEdits<'_>,
        value: &RawValue,
    ) -> Result<(), TableFinding> {
        for (index, snapshot) in self.elements(value, "snapshots")?.into_iter().enumerate() {
            let entry = format!("snapshots[{index}]");
            for (key, value) in self.members(snapshot.get(), &entry)? {
                let entry = format!("{entry}.{key}");
                match key.as_str() {
                    "manifest-list" => {
                        self.replace(edits, value, &entry, |path| self.relocated(path))?;
                    }
                    "manifests" => {
                        for manifest in self.elements(value, &entry)? {
                            self.replace(edits, manifest, &entry, |path| self.relocated(path))?;
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn relocated(&self, path: &str) -> Option<String> {
        self.relocations.get(path).map(|file| file.path.clone())
    }

    fn edit_metadata_log(
        &self,
        edits: &mut JsonEdits<'_>,
        value: &RawValue,
    ) -> Result<(), TableFinding> {
        for (index, logged) in self
            .elements(value, "metadata-log")?
            .into_iter()
            .enumerate()
        {
            let entry = format!("metadata-log[{index}]");
            for (key, value) in self.members(logged.get(), &entry)? {
                if key == "metadata-file" {
                    self.replace(edits, value, &entry, |path| {
                        self.relocated(path).or_else(|| self.map.map(path))
                    })?;
                }
            }
        }
        Ok(())
    }

    fn edit_statistics(
        &self,
        edits: &mut JsonEdits<'_>,
        list: &str,
        value: &RawValue,
        notes: &mut Vec<String>,
    ) -> Result<(), TableFinding> {
        let mut kept = Vec::new();
        let mut is_complete = true;
        for (index, file) in self.elements(value, list)?.into_iter().enumerate() {
            let entry = format!("{list}[{index}]");
            let mut own_edits = JsonEdits::new(file.get());
            let mut unknown = None;
            for (key, value) in self.members(file.get(), &entry)? {
                match key.as_str() {
                    "statistics-path" => {
                        self.replace(&mut own_edits, value, &entry, |path| self.map.map(path))?;
                    }
                    "blob-metadata" => unknown = self.unknown_blob(value, &entry)?,
                    _ => {}
                }
            }
            if let Some(blob) = unknown {
                is_complete = false;
                notes.push(format!(
                    "{entry} is left out: it has a blob of the type {blob:?}, whose content is not known"
                ));
                continue;
            }
            let edited = own_edits.apply();
            kept.push((
                file,
                edited.ok_or_else(|| self.malformed(&entry, "the edits do not fit"))?,
            ));
        }
        if is_complete {
            for (file, edited) in kept {
                edits.replace(file, edited);
            }
        } else {
            let kept: Vec<String> = kept.into_iter().map(|(_, edited)| edited).collect();
            edits.replace(value, format!("[{}]", kept.join(",")));
        }
        Ok(())
    }

    /// The type of the first blob whose content is not known.
    fn unknown_blob(&self, value: &RawValue, entry: &str) -> Result<Option<String>, TableFinding> {
        for blob in self.elements(value, entry)? {
            let mut blob_type = None;
            for (key, value) in self.members(blob.get(), entry)? {
                if key == "type" {
                    blob_type = self.string(value, entry)?;
                }
            }
            let blob_type = blob_type.unwrap_or_default();
            if !PATHLESS_BLOBS.contains(&blob_type.as_str()) {
                return Ok(Some(blob_type));
            }
        }
        Ok(None)
    }

    fn edit_properties(
        &self,
        edits: &mut JsonEdits<'_>,
        value: &RawValue,
        notes: &mut Vec<String>,
    ) -> Result<(), TableFinding> {
        if value.get() == "null" {
            return Ok(());
        }
        for (key, value) in self.members(value.get(), "properties")? {
            let entry = format!("properties.{key}");
            if LOCATION_PROPERTIES.contains(&key.as_str()) {
                self.replace(edits, value, &entry, |path| self.map.map(path))?;
            } else if self
                .string(value, &entry)?
                .is_some_and(|text| self.map.map(&text).is_some())
            {
                notes.push(format!(
                    "{entry} names a location of the primary; it is no location that engines read, and stays"
                ));
            }
        }
        Ok(())
    }

    /// Replaces a path; `null` stays.
    fn replace(
        &self,
        edits: &mut JsonEdits<'_>,
        value: &RawValue,
        entry: &str,
        new_path: impl FnOnce(&str) -> Option<String>,
    ) -> Result<(), TableFinding> {
        let Some(path) = self.string(value, entry)? else {
            return Ok(());
        };
        let new = new_path(&path).ok_or_else(|| {
            let problem = match self.map.is_mapped(&path) {
                true => format!(
                    "{path} lies in the standby already: this metadata was relocated before"
                ),
                false => format!("no location pair covers {path}"),
            };
            TableFinding::new(TableFindingKind::OutsidePairs, self.path, problem).at(entry)
        })?;
        edits.replace(value, quoted(&new));
        Ok(())
    }

    fn malformed(&self, entry: &str, problem: &str) -> TableFinding {
        TableFinding::malformed(self.path, problem).at(entry)
    }

    fn members<'t>(
        &self,
        text: &'t str,
        entry: &str,
    ) -> Result<Vec<(String, &'t RawValue)>, TableFinding> {
        members(text).map_err(|e| self.malformed(entry, &e.to_string()))
    }

    fn elements<'t>(
        &self,
        value: &'t RawValue,
        entry: &str,
    ) -> Result<Vec<&'t RawValue>, TableFinding> {
        elements(value.get()).map_err(|e| self.malformed(entry, &e.to_string()))
    }

    fn string(&self, value: &RawValue, entry: &str) -> Result<Option<String>, TableFinding> {
        string(value).map_err(|e| self.malformed(entry, &e.to_string()))
    }
}
