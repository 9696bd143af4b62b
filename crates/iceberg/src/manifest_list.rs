//! Manifest lists: the manifests of a snapshot (Iceberg specification, "Manifest Lists").

use crate::avro::container::{Container, SpanEdits};
use crate::avro::cursor::Cursor;
use crate::avro::fields::{Spanned, known_id};
use crate::avro::schema::{AvroError, Schema};
use crate::relocations::Relocations;
use crate::table_finding::{TableFinding, TableFindingKind};
use std::ops::Range;

const MANIFEST_PATH: i64 = 500;
const MANIFEST_LENGTH: i64 = 501;
const CONTENT: i64 = 517;
const SEQUENCE_NUMBER: i64 = 515;
const ADDED_FILES: i64 = 504;
const EXISTING_FILES: i64 = 505;
const DELETED_FILES: i64 = 506;
const KEY_METADATA: i64 = 519;
const FIRST_ROW_ID: i64 = 520;

/// The fields that are read. Version 1 named the counts `added_data_files_count` and so on.
const KNOWN: [(i64, &str); 9] = [
    (MANIFEST_PATH, "manifest_path"),
    (MANIFEST_LENGTH, "manifest_length"),
    (CONTENT, "content"),
    (SEQUENCE_NUMBER, "sequence_number"),
    (ADDED_FILES, "added_files_count"),
    (EXISTING_FILES, "existing_files_count"),
    (DELETED_FILES, "deleted_files_count"),
    (KEY_METADATA, "key_metadata"),
    (FIRST_ROW_ID, "first_row_id"),
];

/// What the entries of a manifest are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestContent {
    /// Data files.
    Data,
    /// Delete files.
    Deletes,
}

/// An entry of a manifest list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedManifest {
    /// The path of the manifest.
    pub path: String,
    /// The length of the manifest in bytes.
    pub length: i64,
    /// What its entries are about.
    pub content: ManifestContent,
    /// The sequence number of the commit that added it; 0 in version 1.
    pub sequence_number: i64,
    /// The numbers of its entries: added, existing, deleted; each `None` if the list does not say.
    pub counts: [Option<i64>; 3],
    /// The row id of its first row, in version 3.
    pub first_row_id: Option<i64>,
}

struct ListEntry {
    manifest: ListedManifest,
    path: Range<usize>,
    length: Spanned<i64>,
    is_encrypted: bool,
}

/// The manifests of a list, in their order.
///
/// # Errors
/// The file is no manifest list, or a manifest is encrypted.
pub fn read_manifest_list(path: &str, bytes: &[u8]) -> Result<Vec<ListedManifest>, TableFinding> {
    let container = Container::parse(path, bytes)?;
    let mut manifests = Vec::new();
    container.read(|index, cursor| {
        manifests.push(read_entry(path, &container.schema, index, cursor)?.manifest);
        Ok(())
    })?;
    Ok(manifests)
}

/// The list with the paths and the lengths of the rewritten manifests.
///
/// # Errors
/// The file is no manifest list, a manifest is encrypted, or one was not relocated.
pub fn relocate_manifest_list(
    path: &str,
    bytes: &[u8],
    relocations: &Relocations,
) -> Result<Vec<u8>, TableFinding> {
    let container = Container::parse(path, bytes)?;
    container.rewrite(|index, cursor, edits: &mut SpanEdits| {
        let entry = read_entry(path, &container.schema, index, cursor)?;
        let relocated = relocations.get(&entry.manifest.path).ok_or_else(|| {
            let problem = format!("the manifest {} was not relocated", entry.manifest.path);
            TableFinding::new(TableFindingKind::OutsidePairs, path, problem).at(entry_label(index))
        })?;
        edits.replace_string(entry.path, &relocated.path);
        let length = i64::try_from(relocated.length).unwrap_or(i64::MAX);
        edits.replace_long(entry.length.span, length);
        Ok(())
    })
}

pub(crate) fn entry_label(index: usize) -> String {
    format!("entry {index}")
}

fn read_entry(
    path: &str,
    schema: &Schema,
    index: usize,
    cursor: &mut Cursor<'_>,
) -> Result<ListEntry, TableFinding> {
    let entry = parse_entry(schema, cursor)
        .map_err(|problem| TableFinding::malformed(path, problem).at(entry_label(index)))?;
    match entry.is_encrypted {
        true => Err(TableFinding::new(
            TableFindingKind::Encrypted,
            path,
            format!("the manifest {} has key metadata", entry.manifest.path),
        )
        .at(entry_label(index))),
        false => Ok(entry),
    }
}

fn parse_entry(schema: &Schema, cursor: &mut Cursor<'_>) -> Result<ListEntry, AvroError> {
    let (mut path, mut length) = (None, None);
    let (mut content, mut sequence_number, mut first_row_id) = (None, None, None);
    let mut counts = [None; 3];
    let mut is_encrypted = false;
    for field in schema.fields(schema.root())? {
        let id = field.type_id;
        match known_id(field, &KNOWN) {
            Some(MANIFEST_PATH) => path = cursor.text(schema, id)?,
            Some(MANIFEST_LENGTH) => length = cursor.number(schema, id)?,
            Some(CONTENT) => content = cursor.number(schema, id)?,
            Some(SEQUENCE_NUMBER) => sequence_number = cursor.number(schema, id)?,
            Some(FIRST_ROW_ID) => first_row_id = cursor.number(schema, id)?,
            Some(known @ ADDED_FILES..=DELETED_FILES) => {
                let number = cursor.number(schema, id)?;
                let slot = usize::try_from(known - ADDED_FILES).unwrap_or_default();
                if let Some(slot) = counts.get_mut(slot) {
                    *slot = number.map(|number| number.value);
                }
            }
            Some(KEY_METADATA) => {
                is_encrypted = cursor
                    .binary(schema, id)?
                    .is_some_and(|key| !key.value.is_empty());
            }
            Some(_) | None => cursor.skip(schema, id)?,
        }
    }
    let path = path.ok_or("it has no manifest_path")?;
    let length = length.ok_or("it has no manifest_length")?;
    let content = match content.map(|content| content.value) {
        None | Some(0) => ManifestContent::Data,
        Some(1) => ManifestContent::Deletes,
        Some(_) => return Err("the content of a manifest is neither data nor deletes"),
    };
    Ok(ListEntry {
        manifest: ListedManifest {
            path: path.value.to_owned(),
            length: length.value,
            content,
            sequence_number: sequence_number.map_or(0, |number| number.value),
            counts,
            first_row_id: first_row_id.map(|number| number.value),
        },
        path: path.span,
        length,
        is_encrypted,
    })
}
