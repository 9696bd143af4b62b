//! The known ways in which a copy of a table is wrong, whatever tool made it.
//!
//! Each function judges one file against what names it. Engines notice few of these faults: a stale
//! `manifest_length` drops files in Trino, an old path in a position delete file brings deleted rows back.

use crate::avro::container::Container;
use crate::avro::schema::{AvroType, Schema, TypeId};
use crate::manifest::{
    EntryStatus, FileContent, FileFormat, Manifest, ManifestEntry, header_content,
    missing_header_keys, read_manifest,
};
use crate::manifest_list::{ListedManifest, ManifestContent, entry_label, read_manifest_list};
use crate::metadata::{LOCATION_PROPERTIES, TableMetadata, TableSnapshot};
use crate::path_map::FileLocations;
use crate::position_deletes::read_position_deletes;
use crate::puffin::read_deletion_vectors;
use crate::table_finding::{TableFinding, TableFindingKind};
use bytes::Bytes;

fn foreign(locations: &FileLocations, file: &str, entry: &str, path: &str) -> Option<TableFinding> {
    let problem = || format!("{path} lies outside the locations of the table");
    (!locations.covers(path))
        .then(|| TableFinding::new(TableFindingKind::ForeignPath, file, problem()).at(entry))
}

/// The paths in a metadata.json that lie outside the locations of the table.
#[must_use]
pub fn check_metadata(
    path: &str,
    metadata: &TableMetadata,
    locations: &FileLocations,
) -> Vec<TableFinding> {
    let mut findings = Vec::new();
    let mut check =
        |entry: &str, named: &str| findings.extend(foreign(locations, path, entry, named));
    check("location", &metadata.location);
    for (index, snapshot) in metadata.snapshots.iter().enumerate() {
        for named in snapshot.manifest_list.iter().chain(&snapshot.manifests) {
            check(&format!("snapshots[{index}]"), named);
        }
    }
    for (index, logged) in metadata.metadata_log.iter().enumerate() {
        check(&format!("metadata-log[{index}]"), &logged.metadata_file);
    }
    for (list, files) in [
        ("statistics", &metadata.statistics),
        ("partition-statistics", &metadata.partition_statistics),
    ] {
        for (index, file) in files.iter().enumerate() {
            check(&format!("{list}[{index}]"), &file.statistics_path);
        }
    }
    for key in LOCATION_PROPERTIES {
        if let Some(value) = metadata.properties.get(key) {
            check(&format!("properties.{key}"), value);
        }
    }
    findings
}

/// The manifests of a list, and what is wrong with the list.
///
/// # Errors
/// The file is no manifest list, or a manifest is encrypted.
pub fn check_manifest_list(
    path: &str,
    bytes: &[u8],
    snapshot: &TableSnapshot,
    locations: &FileLocations,
) -> Result<(Vec<ListedManifest>, Vec<TableFinding>), TableFinding> {
    let container = Container::parse(path, bytes)?;
    let mut findings = check_schema(path, &container, &[500, 501]);
    let manifests = read_manifest_list(path, bytes)?;
    for (index, manifest) in manifests.iter().enumerate() {
        findings.extend(foreign(
            locations,
            path,
            &entry_label(index),
            &manifest.path,
        ));
        let needs_row_id =
            snapshot.first_row_id.is_some() && manifest.content == ManifestContent::Data;
        if needs_row_id && manifest.first_row_id.is_none() {
            let problem = "the snapshot has row ids, and the manifest has no first_row_id";
            let finding = TableFinding::new(TableFindingKind::LostFirstRowId, path, problem);
            findings.push(finding.at(entry_label(index)));
        }
    }
    Ok((manifests, findings))
}

/// A manifest, and what is wrong with it. The lengths of manifest and list are compared elsewhere.
///
/// # Errors
/// The file is no manifest, or names something that this crate does not know.
pub fn check_manifest(
    path: &str,
    bytes: &[u8],
    listed: &ListedManifest,
    locations: &FileLocations,
) -> Result<(Manifest, Vec<TableFinding>), TableFinding> {
    let container = Container::parse(path, bytes)?;
    let mut findings = check_schema(path, &container, &[0, 2, 100, 104]);
    let missing = missing_header_keys(&container);
    findings.extend(missing.into_iter().map(|key| {
        let problem = format!("the header has no key {key:?}");
        TableFinding::new(TableFindingKind::LostHeaderKey, path, problem).at("header")
    }));
    if container.header.contains_key("content") && header_content(&container) != listed.content {
        let problem = format!(
            "the header says {:?}, and the manifest list says {:?}",
            header_content(&container),
            listed.content
        );
        findings.push(TableFinding::new(TableFindingKind::WrongCounts, path, problem).at("header"));
    }
    let manifest = read_manifest(path, bytes)?;
    for (index, entry) in manifest.entries.iter().enumerate() {
        findings.extend(check_entry(
            path,
            index,
            entry,
            manifest.format_version,
            locations,
        ));
    }
    findings.extend(check_counts(path, listed, &manifest));
    Ok((manifest, findings))
}

fn check_entry(
    manifest: &str,
    index: usize,
    entry: &ManifestEntry,
    format_version: i64,
    locations: &FileLocations,
) -> Vec<TableFinding> {
    let at = entry_label(index);
    let mut findings = Vec::new();
    findings.extend(foreign(locations, manifest, &at, &entry.path));
    if let Some(referenced) = &entry.referenced_data_file {
        findings.extend(foreign(
            locations,
            manifest,
            &format!("{at}, referenced_data_file"),
            referenced,
        ));
    }
    let may_inherit = entry.status == EntryStatus::Added;
    if format_version >= 2 && entry.sequence_number.is_none() && !may_inherit {
        let problem = "the entry is not new and has no sequence number";
        findings.push(
            TableFinding::new(TableFindingKind::LostSequenceNumber, manifest, problem).at(at),
        );
    }
    findings
}

fn check_counts(path: &str, listed: &ListedManifest, manifest: &Manifest) -> Vec<TableFinding> {
    let statuses = [
        (EntryStatus::Added, "added"),
        (EntryStatus::Existing, "existing"),
        (EntryStatus::Deleted, "deleted"),
    ];
    let mut findings = Vec::new();
    for ((status, name), expected) in statuses.into_iter().zip(listed.counts) {
        let found = manifest
            .entries
            .iter()
            .filter(|entry| entry.status == status)
            .count();
        if let Some(expected) = expected
            && i64::try_from(found) != Ok(expected)
        {
            let entries = if found == 1 { "entry" } else { "entries" };
            let problem = format!(
                "it has {found} {entries} with the status {name}; the manifest list says {expected}"
            );
            findings.push(TableFinding::new(
                TableFindingKind::WrongCounts,
                path,
                problem,
            ));
        }
    }
    findings
}

/// Attributes of the schema that engines need.
fn check_schema(path: &str, container: &Container<'_>, needed: &[i64]) -> Vec<TableFinding> {
    let schema = &container.schema;
    let mut ids = Vec::new();
    let mut without_logical_type = Vec::new();
    walk_schema(
        schema,
        schema.root(),
        0,
        &mut ids,
        &mut without_logical_type,
    );
    let mut findings = Vec::new();
    for id in needed {
        if !ids.contains(id) {
            let problem = format!("the schema has no field with the id {id}");
            findings.push(
                TableFinding::new(TableFindingKind::LostFieldIds, path, problem).at("header"),
            );
        }
    }
    for name in without_logical_type {
        let problem = format!("the field {name} is a map and has no logicalType \"map\"");
        findings
            .push(TableFinding::new(TableFindingKind::LostLogicalType, path, problem).at("header"));
    }
    findings
}

/// Collects the field ids, and the fields that are arrays of a record of `key` and `value` and no map.
fn walk_schema(
    schema: &Schema,
    id: TypeId,
    depth: usize,
    ids: &mut Vec<i64>,
    without_logical_type: &mut Vec<String>,
) {
    if depth > 8 {
        return;
    }
    for field in schema.fields(id).unwrap_or_default() {
        ids.extend(field.id);
        let value = schema.value_type(field.type_id).unwrap_or(field.type_id);
        if let Ok(AvroType::Array {
            items,
            is_map: false,
        }) = schema.get(value)
        {
            let names = schema
                .fields(*items)
                .unwrap_or_default()
                .iter()
                .map(|field| field.name.as_str());
            if names.eq(["key", "value"]) {
                without_logical_type.push(field.name.clone());
            }
        }
        walk_schema(schema, value, depth + 1, ids, without_logical_type);
    }
}

/// Whether the content of the file of an entry is checked.
#[must_use]
pub fn is_checked_content(entry: &ManifestEntry) -> bool {
    entry.status != EntryStatus::Deleted && entry.content == FileContent::PositionDeletes
}

/// What is wrong with a file of position deletes or deletion vectors, against its entry. The size is
/// compared elsewhere.
#[must_use]
pub fn check_delete_file(
    entry: &ManifestEntry,
    bytes: Bytes,
    locations: &FileLocations,
) -> Vec<TableFinding> {
    let checked = match entry.format {
        FileFormat::Parquet => check_position_deletes(entry, bytes, locations),
        FileFormat::Puffin => check_vectors(entry, &bytes, locations),
        FileFormat::Avro | FileFormat::Orc => Err(TableFinding::new(
            TableFindingKind::UnsupportedDeleteFile,
            &entry.path,
            format!(
                "position deletes in {:?} are not read, so it is not known whether they are right",
                entry.format
            ),
        )),
    };
    checked.unwrap_or_else(|finding| vec![finding])
}

fn check_position_deletes(
    entry: &ManifestEntry,
    bytes: Bytes,
    locations: &FileLocations,
) -> Result<Vec<TableFinding>, TableFinding> {
    let path = &entry.path;
    let rows = read_position_deletes(path, bytes, |named| locations.covers(named))?;
    let mut findings = Vec::new();
    let mut add = |kind, at: String, problem: String| {
        findings.push(TableFinding::new(kind, path, problem).at(at));
    };
    if let Some((row, named)) = &rows.rejected {
        let problem =
            format!("{named} lies outside the locations of the table: the deleted rows come back");
        add(
            TableFindingKind::ForeignDeleteRows,
            format!("row {row}"),
            problem,
        );
    }
    if !rows.is_sorted {
        let problem = "the rows are not sorted by file_path and pos".to_owned();
        add(TableFindingKind::UnsortedDeleteRows, String::new(), problem);
    }
    if !rows.has_field_ids {
        let problem =
            "the columns file_path and pos have not the field ids of the specification".to_owned();
        add(TableFindingKind::LostFieldIds, "schema".to_owned(), problem);
    }
    if i64::try_from(rows.rows) != Ok(entry.record_count) {
        let noun = if rows.rows == 1 { "row" } else { "rows" };
        let problem = format!(
            "it has {} {noun}; the entry says {}",
            rows.rows, entry.record_count
        );
        add(TableFindingKind::WrongRecordCount, String::new(), problem);
    }
    if let (Some(lower), Some(upper)) = (&rows.lower_path, &rows.upper_path) {
        let [lower_bound, upper_bound] = &entry.path_bounds;
        // A lower bound may be cut; an upper bound that was cut is greater than what it bounds.
        let is_wrong = lower_bound
            .as_deref()
            .is_some_and(|bound| bound > lower.as_bytes())
            || upper_bound
                .as_deref()
                .is_some_and(|bound| bound < upper.as_bytes())
            || lower_bound
                .as_deref()
                .is_some_and(|bound| !is_near(bound, lower));
        if is_wrong {
            let problem = format!(
                "the bounds of file_path in the entry do not fit the rows, which are from {lower} to {upper}"
            );
            add(
                TableFindingKind::WrongDeleteBounds,
                "bounds".to_owned(),
                problem,
            );
        }
        if let Some(referenced) = &entry.referenced_data_file
            && (referenced != lower || referenced != upper)
        {
            let problem =
                format!("the entry names {referenced}, and the rows are from {lower} to {upper}");
            add(
                TableFindingKind::WrongReferencedFile,
                "referenced_data_file".to_owned(),
                problem,
            );
        }
    }
    Ok(findings)
}

/// Whether a lower bound is the path, or the beginning of it.
fn is_near(bound: &[u8], path: &str) -> bool {
    path.as_bytes().starts_with(bound)
}

fn check_vectors(
    entry: &ManifestEntry,
    bytes: &[u8],
    locations: &FileLocations,
) -> Result<Vec<TableFinding>, TableFinding> {
    let path = &entry.path;
    let vectors = read_deletion_vectors(path, bytes)?;
    let mut findings = Vec::new();
    for (index, vector) in vectors.iter().enumerate() {
        let at = format!("blob {index}");
        findings.extend(foreign(locations, path, &at, &vector.referenced_data_file));
    }
    let found = vectors
        .iter()
        .find(|vector| Some((vector.offset, vector.length)) == entry.vector);
    let wrong =
        |problem: String| TableFinding::new(TableFindingKind::WrongDeletionVector, path, problem);
    let Some(vector) = found else {
        findings.push(wrong(format!(
            "the footer has no vector at the entry's offset and length {:?}",
            entry.vector
        )));
        return Ok(findings);
    };
    if !vector.is_intact {
        findings.push(wrong(format!("the vector at {} is damaged", vector.offset)));
    }
    if entry.referenced_data_file.as_ref() != Some(&vector.referenced_data_file) {
        let problem = format!(
            "the entry names {:?}, and the footer {}",
            entry.referenced_data_file, vector.referenced_data_file
        );
        findings.push(TableFinding::new(
            TableFindingKind::WrongReferencedFile,
            path,
            problem,
        ));
    }
    if let Some(cardinality) = vector.cardinality
        && cardinality != entry.record_count
    {
        let noun = if cardinality == 1 { "row" } else { "rows" };
        let problem = format!(
            "the footer says {cardinality} {noun}; the entry says {}",
            entry.record_count
        );
        findings.push(TableFinding::new(
            TableFindingKind::WrongRecordCount,
            path,
            problem,
        ));
    }
    Ok(findings)
}
