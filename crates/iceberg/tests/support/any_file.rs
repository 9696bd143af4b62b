//! Files of arbitrary bytes of each kind, and what holds whatever is in them: they are refused, or read without a panic;
//! and of a file that was relocated, nothing names the primary's location any more. Property tests and fuzz targets share it.

use crate::support::{
    self, Entry, FileKind, ListEntry, ManifestFile, back, encode_list, encode_position_deletes,
    encode_puffin, forth,
};
use bytes::Bytes;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;
use std::sync::Arc;
use twinlake_iceberg::table_log::symlink::read_symlink_manifest;
use twinlake_iceberg::table_log::{LogFileContent, delta, hudi};
use twinlake_iceberg::{
    EntryStatus, FileContent, FileFormat, PositionDeleteFacts, RelocatedFile, RelocatedKind,
    Relocations, TableMetadata, read_and_relocate_manifest, read_deletion_vectors, read_manifest,
    read_manifest_list, read_position_deletes, relocate_deletion_vectors, relocate_manifest,
    relocate_manifest_list, relocate_metadata, relocate_position_deletes,
};

/// The file that an input stands for: its bytes, or a sound file with edits, each of four bytes. The first byte chooses.
pub(crate) fn file_of(input: &[u8], sound: &[Vec<u8>]) -> Vec<u8> {
    let Some((choice, rest)) = input.split_first() else {
        return Vec::new();
    };
    let Some(file) = sound.get(usize::from(*choice) % (sound.len() + 1)) else {
        return rest.to_vec();
    };
    let mut file = file.clone();
    for edit in rest.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % (file.len() + 1);
        match edit[2] % 4 {
            0 if at < file.len() => file[at] = edit[3],
            1 => file.insert(at, edit[3]),
            2 => drop(file.drain(at..(at + usize::from(edit[3] % 9)).min(file.len()))),
            3 if edit[3] == 0 => file.truncate(at),
            _ => {}
        }
    }
    file
}

/// Asserts that a path does not lie in the primary's location.
fn assert_moved(path: &str, what: &str) {
    assert_eq!(forth().map(path), None, "{what} names the primary: {path}");
}

fn own(index: usize, kind: RelocatedKind, source_length: u64) -> RelocatedFile {
    RelocatedFile {
        path: format!("s3://standby/lake/t/_twinlake/p/{index}"),
        source_length,
        length: 4711,
        kind,
    }
}

pub(crate) fn sound_metadata() -> Vec<Vec<u8>> {
    let text = r#"{"format-version":2,"table-uuid":"u","location":"s3://primary/wh/t","current-snapshot-id":1,
        "snapshots":[{"snapshot-id":1,"manifest-list":"s3://primary/wh/t/l"},{"snapshot-id":2,"manifests":["s3://primary/wh/t/m"]}],
        "properties":{"write.data.path":"s3a://primary/wh/d","c":"s3://primary/wh"},"refs":{"main":{"snapshot-id":1,"type":"branch"}},
        "statistics":[{"snapshot-id":1,"statistics-path":"s3://primary/wh/t/s","file-size-in-bytes":9,"file-footer-size-in-bytes":1,
            "blob-metadata":[{"type":"apache-datasketches-theta-v1","snapshot-id":1,"sequence-number":1,"fields":[1]}]}],
        "partition-statistics":[{"snapshot-id":1,"statistics-path":"s3://primary/wh/t/ps","file-size-in-bytes":9}],
        "metadata-log":[{"metadata-file":"s3://primary/wh/t/v1","timestamp-ms":1}]}"#;
    vec![
        text.as_bytes().to_vec(),
        text.replace(": 2", ":3").into_bytes(),
        br#"{"format-version":1,"location":"s3n://primary/wh/t"}"#.to_vec(),
    ]
}

/// Relocates bytes as metadata.json. Returns whether they were.
pub(crate) fn check_metadata(bytes: &[u8]) -> bool {
    let name = match bytes.starts_with(&[0x1f, 0x8b]) {
        true => "v1.gz.metadata.json",
        false => "v1.metadata.json",
    };
    let parsed = TableMetadata::parse(name, bytes);
    let mut relocations = Relocations::default();
    for (index, snapshot) in parsed
        .iter()
        .flat_map(|one| one.snapshots.iter().enumerate())
    {
        let lists = snapshot.manifest_list.iter();
        for path in lists.chain(&snapshot.manifests) {
            relocations.insert(path.clone(), own(index, RelocatedKind::ManifestList, 1));
        }
    }
    let Ok(relocated) = relocate_metadata(name, bytes, &forth(), &relocations) else {
        return false;
    };
    assert!(parsed.is_ok(), "what is relocated can be read");
    TableMetadata::parse(name, &relocated.bytes).expect("the relocated metadata is read");
    if name == "v1.metadata.json" {
        let value: Value = serde_json::from_slice(&relocated.bytes).expect("it is JSON");
        check_metadata_values(&value);
    }
    true
}

/// Looks at the JSON of relocated metadata without the crate's reader.
fn check_metadata_values(value: &Value) {
    let mut paths = vec![&value["location"]];
    for list in [
        "snapshots",
        "statistics",
        "partition-statistics",
        "metadata-log",
    ] {
        for item in value[list].as_array().into_iter().flatten() {
            for key in ["manifest-list", "statistics-path", "metadata-file"] {
                paths.push(&item[key]);
            }
            if list == "snapshots" {
                paths.extend(item["manifests"].as_array().into_iter().flatten());
            }
        }
    }
    let properties = ["data", "metadata", "object-storage", "folder-storage"];
    let keys = properties.map(|kind| format!("write.{kind}.path"));
    paths.extend(keys.iter().map(|key| &value["properties"][key]));
    for path in paths.into_iter().filter_map(Value::as_str) {
        assert_moved(path, "metadata.json");
    }
}

pub(crate) fn sound_manifests() -> Vec<Vec<u8>> {
    let path = "s3://primary/wh/t/data/d.parquet".to_owned();
    let deletes = Entry {
        kind: FileKind::PositionDeletes,
        path_bounds: Some((path.clone(), path.clone())),
        referenced: Some(path),
        sized_blocks: true,
        ..Entry::sample()
    };
    let removed = Entry {
        status: 2,
        ..deletes.clone()
    };
    let list = [
        ("s3://primary/wh/t/m0", Some(1)),
        ("s3a://primary/wh/t/m1", None),
    ];
    let list = list.map(|(path, rows)| ListEntry {
        path: path.to_owned(),
        length: 700,
        summary: path.to_owned(),
        rows,
    });
    let mut files = Vec::new();
    for codec in ["null", "snappy", "zstandard"] {
        let manifest = ManifestFile {
            entries: vec![Entry::sample(), deletes.clone(), removed.clone()],
            codec,
            ..ManifestFile::default()
        };
        files.push(manifest.encode());
        files.push(encode_list(&list, codec));
    }
    files
}

/// Relocates bytes as a manifest and as a manifest list. Returns whether they were one of both.
pub(crate) fn check_manifest(bytes: &[u8]) -> bool {
    let is_manifest = check_entries(bytes);
    let listed = read_manifest_list("l", bytes);
    let mut relocations = Relocations::default();
    for (index, one) in listed.iter().flatten().enumerate() {
        let length = u64::try_from(one.length).unwrap_or_default();
        relocations.insert(
            one.path.clone(),
            own(index, RelocatedKind::Manifest, length),
        );
    }
    let Ok(moved) = relocate_manifest_list("l", bytes, &relocations) else {
        return is_manifest;
    };
    let after = read_manifest_list("l", &moved).expect("the relocated list is read");
    let before = listed.expect("what is relocated can be read");
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_moved(&after.path, "the manifest list");
        let expected = relocations.get(&before.path).map(|file| file.path.as_str());
        assert_eq!((expected, after.length), (Some(after.path.as_str()), 4711));
        assert_eq!(before.content, after.content);
    }
    true
}

fn check_entries(bytes: &[u8]) -> bool {
    let before = read_manifest("m", bytes);
    let mut relocations = Relocations::default();
    for (index, entry) in before.iter().flat_map(|one| one.entries.iter().enumerate()) {
        let is_live = entry.status != EntryStatus::Deleted;
        if is_live && entry.content == FileContent::PositionDeletes {
            let kind = match entry.format {
                FileFormat::Puffin => RelocatedKind::DeletionVectors,
                FileFormat::Parquet | FileFormat::Avro | FileFormat::Orc => {
                    RelocatedKind::PositionDeletes(PositionDeleteFacts::default())
                }
            };
            let length = u64::try_from(entry.size).unwrap_or_default();
            relocations.insert(entry.path.clone(), own(index, kind, length));
        }
    }
    let at_once = read_and_relocate_manifest("m", bytes, &forth(), &relocations);
    let Ok(moved) = relocate_manifest("m", bytes, &forth(), &relocations) else {
        assert!(at_once.is_err(), "what is refused is refused in one pass");
        return false;
    };
    let at_once = at_once.expect("what is relocated is relocated in one pass");
    assert_eq!(
        (Ok(at_once.manifest), at_once.bytes.as_ref()),
        (before.clone(), Some(&moved))
    );
    let after = read_manifest("m", &moved).expect("the relocated manifest is read");
    let before = before.expect("what is relocated can be read");
    assert_eq!(before.entries.len(), after.entries.len());
    for (before, after) in before.entries.iter().zip(&after.entries) {
        assert_moved(&after.path, "the manifest");
        let referenced = after.referenced_data_file.as_deref();
        assert_moved(referenced.unwrap_or_default(), "a referenced file");
        for bound in after.path_bounds.iter().flatten() {
            assert_moved(&String::from_utf8_lossy(bound), "a bound");
        }
        let kept = |entry: &twinlake_iceberg::ManifestEntry| {
            let numbers = (entry.snapshot_id, entry.sequence_number, entry.vector);
            (
                entry.status,
                entry.content,
                entry.format,
                numbers,
                entry.record_count,
            )
        };
        assert_eq!(kept(before), kept(after));
    }
    true
}

pub(crate) fn sound_puffin_files() -> Vec<Vec<u8>> {
    let vectors = ["a", "b"].map(|name| (format!("s3://primary/wh/t/{name}"), vec![1, 2, 3]));
    vec![encode_puffin(&vectors), encode_puffin(&[])]
}

/// Relocates bytes as a Puffin file. Returns whether they were.
pub(crate) fn check_puffin(bytes: &[u8]) -> bool {
    let before = read_deletion_vectors("p", bytes);
    let Ok(moved) = relocate_deletion_vectors("p", bytes, &forth()) else {
        return false;
    };
    let before = before.expect("what is relocated can be read");
    let after = read_deletion_vectors("p", &moved).expect("the relocated file is read");
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_moved(&after.referenced_data_file, "the footer");
        assert_eq!((before.offset, before.length), (after.offset, after.length));
        assert_eq!(before.is_intact, after.is_intact);
    }
    true
}

pub(crate) fn sound_position_deletes() -> Vec<Vec<u8>> {
    let rows: Vec<(String, i64)> = (0..9)
        .map(|row| (format!("s3://primary/wh/t/{}", row / 3), row))
        .collect();
    vec![
        encode_position_deletes(&rows, 4, true),
        encode_position_deletes(&rows, 9, false),
        encode_position_deletes(&[], 1, true),
    ]
}

/// Relocates bytes as a Parquet file of position deletes. Returns whether they were.
pub(crate) fn check_position_deletes(bytes: &[u8]) -> bool {
    let source = Bytes::copy_from_slice(bytes);
    let before = read_position_deletes("d", source.clone(), |_| true);
    let Ok(moved) = relocate_position_deletes("d", source, &forth()) else {
        return false;
    };
    let before = before.expect("what is relocated can be read");
    let accepts = |path: &str| forth().map(path).is_none() && back().map(path).is_some();
    let after = read_position_deletes("d", moved.bytes.into(), accepts);
    let after = after.expect("the relocated file is read");
    assert_eq!(after.rejected, None, "a row names the primary");
    assert_eq!((before.rows, true), (after.rows, after.is_sorted));
    let bounds = (after.lower_path, after.upper_path);
    assert_eq!((moved.facts.lower_path, moved.facts.upper_path), bounds);
    true
}

pub(crate) fn sound_logs() -> Vec<Vec<u8>> {
    let add = r#"{"commitInfo":{"operation":"WRITE"}}
{"protocol":{"minReaderVersion":3,"minWriterVersion":7}}
{"add":{"path":"p=1/a%20b.parquet","size":5,"deletionVector":{"storageType":"u","pathOrInlineDv":"ab^-aqEH.-t@S}K{vb[*k^","offset":4,"sizeInBytes":40}}}
{"remove":{"path":"s3://primary/wh/t/x.parquet","deletionVector":{"storageType":"p","pathOrInlineDv":"s3://primary/wh/t/v.bin"}}}
{"cdc":{"path":"_change_data/c.parquet","size":7}}"#;
    let checkpoint = r#"{"checkpointMetadata":{"version":3}}
{"sidecar":{"path":"a.parquet","sizeInBytes":9,"modificationTime":1}}"#;
    vec![
        add.as_bytes().to_vec(),
        checkpoint.as_bytes().to_vec(),
        br#"{"version":5,"size":9,"parts":3}"#.to_vec(),
        b"s3://primary/wh/t/p0.parquet\nq0.parquet".to_vec(),
    ]
}

/// Whether a log that has this path leads out of the table: those that leave no doubt.
fn is_absolute(path: &str) -> bool {
    let schemes = ["/", "s3://", "s3a://", "file:/", "hdfs://"];
    schemes.iter().any(|scheme| path.starts_with(scheme))
}

/// The number of absolute paths that the lines of a log have, read without the crate's reader.
fn absolute_in(bytes: &[u8], actions: &[&str]) -> usize {
    let mut count = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        let line: Value = serde_json::from_slice(line).unwrap_or_default();
        for action in actions.iter().map(|name| &line[name]) {
            let path = action["path"].as_str().unwrap_or_default();
            let vector = action["deletionVector"]["storageType"] == "p";
            count += usize::from(is_absolute(path)) + usize::from(vector);
        }
    }
    count
}

/// Reads bytes as a commit of a Delta log, as what names a checkpoint, and as a manifest of a symlink table. Returns
/// whether they are a commit.
pub(crate) fn check_delta_log(bytes: &[u8]) -> bool {
    let mut log = delta::DeltaLog::default();
    let text = String::from_utf8_lossy(bytes);
    text.lines().for_each(|name| log.add(name, 1));
    let _ = (log.checkpoint(), log.missing_versions(), log.is_empty());
    assert!(log.newest_commits(2, 5).len() <= 5);
    let _ = delta::read_last_checkpoint("l", bytes);
    if let Ok(paths) = read_symlink_manifest("m", bytes) {
        assert!(!paths.iter().any(|path| path.is_empty()));
    }
    let checkpoint = delta::read_checkpoint_file("c.json", bytes.to_vec());
    if let Ok(content) = checkpoint {
        assert!(content.absolute.count >= absolute_in(bytes, &["add", "remove"]));
    }
    let mut actions = delta::DeltaActions::default();
    let Ok(content) = actions.read_commit("c", bytes) else {
        return false;
    };
    assert!(content.absolute.count >= absolute_in(bytes, &["add", "remove", "cdc"]));
    let added = actions.added_files();
    assert!(added.iter().all(|file| !is_absolute(&file.path)));
    true
}

/// An action of a checkpoint: a path, and a deletion vector by storage type and path.
#[derive(Clone, Debug)]
pub(crate) enum CheckpointRow {
    Add(String, Option<(String, String)>),
    Remove(String),
    Sidecar(String, i64),
}

const CHECKPOINT_SCHEMA: &str = "message spark_schema {
    optional group add {
        required binary path (STRING);
        optional group deletionVector {
            required binary storageType (STRING);
            required binary pathOrInlineDv (STRING);
        }
    }
    optional group remove { optional binary path (STRING); }
    optional group sidecar { required binary path (STRING); required int64 sizeInBytes; }
}";

/// A checkpoint in Parquet.
pub(crate) fn encode_checkpoint(rows: &[CheckpointRow], group: usize) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(CHECKPOINT_SCHEMA).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    for rows in rows.chunks(group) {
        let mut groups = writer.next_row_group().unwrap();
        let mut index = 0;
        while let Some(mut column) = groups.next_column().unwrap() {
            // A definition level in each row, and a value where it is the highest.
            let cells = rows.iter().map(|row| cell(row, index));
            let (levels, values): (Vec<i16>, Vec<Option<String>>) = cells.unzip();
            let values = values.into_iter().flatten();
            match column.untyped() {
                ColumnWriter::ByteArrayColumnWriter(typed) => {
                    let values: Vec<_> =
                        values.map(|text| ByteArray::from(text.as_str())).collect();
                    typed.write_batch(&values, Some(&levels), None).unwrap();
                }
                ColumnWriter::Int64ColumnWriter(typed) => {
                    let values: Vec<i64> = values.map(|text| text.parse().unwrap()).collect();
                    typed.write_batch(&values, Some(&levels), None).unwrap();
                }
                _ => panic!("column {index}"),
            }
            column.close().unwrap();
            index += 1;
        }
        groups.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// The definition level and the value of a column in a row.
fn cell(row: &CheckpointRow, column: usize) -> (i16, Option<String>) {
    let text = |text: &str| Some(text.to_owned());
    match (row, column) {
        (CheckpointRow::Add(path, _), 0) => (1, text(path)),
        (CheckpointRow::Add(_, Some((storage, _))), 1) => (2, text(storage)),
        (CheckpointRow::Add(_, Some((_, path))), 2) => (2, text(path)),
        (CheckpointRow::Add(_, None), 1 | 2) => (1, None),
        (CheckpointRow::Remove(path), 3) => (2, text(path)),
        (CheckpointRow::Sidecar(path, _), 4) => (1, text(path)),
        (CheckpointRow::Sidecar(_, size), 5) => (1, Some(size.to_string())),
        _ => (0, None),
    }
}

pub(crate) fn sound_checkpoints() -> Vec<Vec<u8>> {
    let path = "s3://primary/wh/t/a".to_owned();
    let vector = ("p".to_owned(), format!("{path}.bin"));
    let rows = [
        CheckpointRow::Add("a.parquet".to_owned(), None),
        CheckpointRow::Add(path.clone(), Some(vector)),
        CheckpointRow::Remove(path),
        CheckpointRow::Sidecar("s.parquet".to_owned(), 9),
    ];
    vec![encode_checkpoint(&rows, 9), encode_checkpoint(&rows, 2)]
}

/// Reads bytes as a checkpoint of a Delta table in Parquet. Returns what is in it if they are.
pub(crate) fn check_delta_checkpoint(bytes: &[u8]) -> Option<LogFileContent> {
    let content = delta::read_checkpoint_file("c.parquet", bytes.to_vec()).ok()?;
    assert!(content.absolute.samples.len() <= content.absolute.count);
    Some(content)
}

pub(crate) fn sound_timelines() -> Vec<Vec<u8>> {
    let properties = "#x\nhoodie.table.version=6\nhoodie.timeline.path=timeline\nhoodie.bootstrap.base.path=s3\\://primary/wh/b\n";
    let instant = r#"{"partitionToWriteStats":{"p":[{"fileId":"f","path":"p/f_1.parquet","fileSizeInBytes":5},
        {"fileId":"g","path":"s3://primary/wh/t/g"},{"path":"p/.h_1.log.1_0"}]},
        "partitionToReplaceFileIds":{"p":["f"]},"extraMetadata":{"schema":"{}"}}"#;
    vec![
        properties.as_bytes().to_vec(),
        instant.as_bytes().to_vec(),
        b"20240101.commit\n20240102_20240103.deltacommit\ntimeline/1_2.replacecommit".to_vec(),
        support::samples().swap_remove(0),
    ]
}

/// Reads bytes as a file of a Hudi timeline. Returns whether they are an instant.
pub(crate) fn check_hudi_timeline(bytes: &[u8]) -> bool {
    let properties = hudi::read_hudi_properties("p", bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    let base = "hoodie.bootstrap.base.path=s3://";
    if std::str::from_utf8(bytes).is_ok() && text.lines().any(|line| line.starts_with(base)) {
        assert!(properties.absolute.count > 0, "{text}");
    }
    let mut timeline = hudi::HudiTimeline::default();
    text.lines()
        .for_each(|name| timeline.add(name, 1, &properties));
    assert!(timeline.newest_instants(5).len() <= 5);
    let _ = hudi::InstantEncoding::of(bytes);
    let mut files = hudi::HudiFiles::default();
    let Ok(absolute) = files.read_instant("i", bytes) else {
        return false;
    };
    // Of members that it does not know, the reader passes over some that are no JSON.
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let partitions = value["partitionToWriteStats"].as_object();
    let stats = partitions.into_iter().flat_map(|map| map.values());
    let paths = stats.flat_map(|stats| stats.as_array().into_iter().flatten());
    let paths = paths.filter_map(|stat| stat["path"].as_str());
    assert!(absolute.count >= paths.filter(|path| is_absolute(path)).count());
    assert!(!files.newest_files().any(|file| is_absolute(&file.path)));
    true
}
