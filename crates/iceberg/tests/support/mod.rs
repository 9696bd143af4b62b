//! Encoders of small files, written from the specifications and independent of the crate.

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::{ListAccessor as _, RowAccessor as _};
use parquet::schema::parser::parse_message_type;
use std::io::Write as _;
use std::sync::Arc;
use twinlake_iceberg::PathMap;

const SYNC: &[u8; 16] = b"0123456789abcdef";

pub(crate) fn forth() -> PathMap {
    PathMap::new([("s3://primary/wh", "s3://standby/lake")]).unwrap()
}

pub(crate) fn back() -> PathMap {
    PathMap::new([("s3://standby/lake", "s3://primary/wh")]).unwrap()
}

fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = u128::from((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
    loop {
        let low = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        out.push(if rest == 0 { low } else { low + 128 });
        if rest == 0 {
            return;
        }
    }
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    long(out, i64::try_from(value.len()).unwrap());
    out.extend_from_slice(value);
}

fn optional(out: &mut Vec<u8>, value: Option<impl FnOnce(&mut Vec<u8>)>) {
    match value {
        None => long(out, 0),
        Some(write) => {
            long(out, 1);
            write(out);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Data,
    PositionDeletes,
    EqualityDeletes,
}

/// An entry of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub status: i64,
    pub snapshot: i64,
    pub sequence: Option<i64>,
    pub kind: FileKind,
    /// Instead of that of the kind.
    pub content: Option<i64>,
    pub path: String,
    pub format: String,
    pub partition: String,
    pub bounds: Vec<(i64, String)>,
    pub path_bounds: Option<(String, String)>,
    /// Blocks of arrays carry their size.
    pub sized_blocks: bool,
    pub key_metadata: Vec<u8>,
    pub referenced: Option<String>,
    pub unknown: [u8; 4],
}

impl Default for Entry {
    fn default() -> Self {
        Self::sample()
    }
}

impl Entry {
    pub(crate) fn sample() -> Self {
        Self {
            status: 1,
            snapshot: 7,
            sequence: None,
            kind: FileKind::Data,
            content: None,
            path: "s3://primary/wh/t/data/a.parquet".to_owned(),
            format: "PARQUET".to_owned(),
            partition: "s3://primary/wh/t".to_owned(),
            bounds: vec![(3, "s3://primary/wh/t/data/a".to_owned())],
            path_bounds: None,
            sized_blocks: false,
            key_metadata: Vec::new(),
            referenced: None,
            unknown: *b"\0\xff\0\xff",
        }
    }

    fn map(&self, out: &mut Vec<u8>, pairs: &[(i64, Vec<u8>)]) {
        let mut items = Vec::new();
        for (key, value) in pairs {
            long(&mut items, *key);
            bytes(&mut items, value);
        }
        let count = i64::try_from(pairs.len()).unwrap();
        if count > 0 {
            long(out, if self.sized_blocks { -count } else { count });
            if self.sized_blocks {
                long(out, i64::try_from(items.len()).unwrap());
            }
            out.extend_from_slice(&items);
        }
        long(out, 0);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        long(out, self.status);
        optional(out, Some(|out: &mut Vec<u8>| long(out, self.snapshot)));
        optional(
            out,
            self.sequence.map(|n| move |out: &mut Vec<u8>| long(out, n)),
        );
        long(out, self.content.unwrap_or(self.kind as i64));
        bytes(out, self.path.as_bytes());
        bytes(out, self.format.as_bytes());
        bytes(out, self.partition.as_bytes());
        long(out, 10);
        long(out, 1234);
        for upper in [false, true] {
            let mut pairs: Vec<_> = self
                .bounds
                .iter()
                .map(|(key, value)| (*key, value.clone().into_bytes()))
                .collect();
            if let Some((low, high)) = &self.path_bounds {
                pairs.push((
                    2_147_483_546,
                    if upper { high } else { low }.clone().into_bytes(),
                ));
            }
            optional(out, Some(|out: &mut Vec<u8>| self.map(out, &pairs)));
        }
        let key = (!self.key_metadata.is_empty())
            .then_some(|out: &mut Vec<u8>| bytes(out, &self.key_metadata));
        optional(out, key);
        optional(
            out,
            self.referenced
                .as_ref()
                .map(|path| |out: &mut Vec<u8>| bytes(out, path.as_bytes())),
        );
        out.extend_from_slice(&self.unknown);
    }
}

/// A manifest.
pub(crate) struct ManifestFile {
    pub entries: Vec<Entry>,
    /// Entries in a block.
    pub block: usize,
    pub codec: &'static str,
    pub version: &'static str,
}

impl Default for ManifestFile {
    fn default() -> Self {
        Self {
            entries: vec![Entry::sample()],
            block: 2,
            codec: "null",
            version: "2",
        }
    }
}

fn container(schema: &str, codec: &str, version: &str, blocks: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"Obj\x01".to_vec();
    let header = [
        ("avro.schema", schema),
        ("avro.codec", codec),
        ("format-version", version),
        ("odd", "\u{1}"),
    ];
    long(&mut out, 4);
    for (key, value) in header {
        bytes(&mut out, key.as_bytes());
        bytes(&mut out, value.as_bytes());
    }
    long(&mut out, 0);
    out.extend_from_slice(SYNC);
    for (count, block) in blocks {
        long(&mut out, i64::try_from(*count).unwrap());
        let compressed = match codec {
            "deflate" => {
                let mut encoder =
                    flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(block).unwrap();
                encoder.finish().unwrap()
            }
            "snappy" => {
                let mut compressed = snap::raw::Encoder::new().compress_vec(block).unwrap();
                compressed.extend_from_slice(&crc32fast::hash(block).to_be_bytes());
                compressed
            }
            "zstandard" => zstd::encode_all(block.as_slice(), 1).unwrap(),
            _ => block.clone(),
        };
        bytes(&mut out, &compressed);
        out.extend_from_slice(SYNC);
    }
    out
}

const ENTRY_SCHEMA: &str = r#"{"type":"record","name":"manifest_entry","fields":[
 {"name":"status","type":"int","field-id":0},{"name":"snapshot_id","type":["null","long"],"field-id":1},
 {"name":"sequence_number","type":["null","long"],"field-id":3},
 {"name":"data_file","field-id":2,"type":{"type":"record","name":"r2","fields":[
  {"name":"content","type":"int","field-id":134},{"name":"file_path","type":"string","field-id":100},
  {"name":"file_format","type":"string","field-id":101},
  {"name":"partition","field-id":102,"type":{"type":"record","name":"r102","fields":[{"name":"p","type":"string","field-id":1000}]}},
  {"name":"record_count","type":"long","field-id":103},{"name":"file_size_in_bytes","type":"long","field-id":104},
  {"name":"lower_bounds","field-id":125,"type":["null",{"type":"array","logicalType":"map","items":{"type":"record","name":"k126","fields":[
   {"name":"key","type":"int","field-id":126},{"name":"value","type":"bytes","field-id":127}]}}]},
  {"name":"upper_bounds","field-id":128,"type":["null",{"type":"array","logicalType":"map","items":{"type":"record","name":"k129","fields":[
   {"name":"key","type":"int","field-id":129},{"name":"value","type":"bytes","field-id":130}]}}]},
  {"name":"key_metadata","type":["null","bytes"],"field-id":131},
  {"name":"referenced_data_file","type":["null","string"],"field-id":143},
  {"name":"unknown","type":{"type":"fixed","name":"four","size":4},"field-id":990}]}}]}"#;

impl ManifestFile {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let blocks: Vec<_> = self
            .entries
            .chunks(self.block)
            .map(|entries| {
                let mut block = Vec::new();
                entries.iter().for_each(|entry| entry.encode(&mut block));
                (entries.len(), block)
            })
            .collect();
        container(ENTRY_SCHEMA, self.codec, self.version, &blocks)
    }
}

/// An entry of a manifest list.
pub(crate) struct ListEntry {
    pub path: String,
    pub length: i64,
    pub summary: String,
    pub rows: Option<i64>,
}

pub(crate) fn encode_list(entries: &[ListEntry], codec: &str) -> Vec<u8> {
    let schema = r#"{"type":"record","name":"manifest_file","fields":[
     {"name":"manifest_path","type":"string","field-id":500},{"name":"manifest_length","type":"long","field-id":501},
     {"name":"content","type":"int","field-id":517},{"name":"summary","type":"string","field-id":510},
     {"name":"added_files_count","type":["long","null"],"field-id":504}]}"#;
    let mut block = Vec::new();
    for entry in entries {
        bytes(&mut block, entry.path.as_bytes());
        long(&mut block, entry.length);
        long(&mut block, 0);
        bytes(&mut block, entry.summary.as_bytes());
        match entry.rows {
            Some(rows) => {
                long(&mut block, 0);
                long(&mut block, rows);
            }
            None => long(&mut block, 1),
        }
    }
    let blocks = if entries.is_empty() {
        Vec::new()
    } else {
        vec![(entries.len(), block)]
    };
    container(schema, codec, "2", &blocks)
}

pub(crate) fn encode_puffin(vectors: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"PFA1".to_vec();
    let mut blobs = Vec::new();
    for (path, bitmap) in vectors {
        let mut content = b"\xd1\xd3\x39\x64".to_vec();
        content.extend_from_slice(bitmap);
        let offset = out.len();
        out.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&content);
        out.extend_from_slice(&crc32fast::hash(&content).to_be_bytes());
        blobs.push(format!(
            "{{\"type\":\"deletion-vector-v1\", \"offset\":{offset},\"length\":{},\"properties\":{{\"referenced-data-file\":\"{path}\"}}}}",
            out.len() - offset
        ));
    }
    let footer = format!("{{ \"blobs\":[{}]}}", blobs.join(" , "));
    out.extend_from_slice(b"PFA1");
    out.extend_from_slice(footer.as_bytes());
    out.extend_from_slice(&u32::try_from(footer.len()).unwrap().to_le_bytes());
    out.extend_from_slice(b"\0\0\0\0PFA1");
    out
}

/// The values of the repeated column of a row.
pub(crate) fn tags_of(row: usize) -> Vec<i32> {
    (0..row % 3)
        .map(|n| i32::try_from(row * 10 + n).unwrap())
        .collect()
}

pub(crate) fn encode_position_deletes(
    rows: &[(String, i64)],
    group: usize,
    with_ids: bool,
) -> Vec<u8> {
    let ids = if with_ids {
        ["= 2147483546", "= 2147483545"]
    } else {
        ["", ""]
    };
    let schema = format!(
        "message table {{ required binary file_path (STRING) {}; required int64 pos {}; \
         optional group tags (LIST) = 4 {{ repeated group list {{ required int32 element = 5; }} }} }}",
        ids[0], ids[1]
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for (at, rows) in rows.chunks(group).enumerate() {
        let mut groups = writer.next_row_group().unwrap();
        let mut index = 0;
        while let Some(mut column) = groups.next_column().unwrap() {
            match column.untyped() {
                ColumnWriter::ByteArrayColumnWriter(typed) => {
                    let paths: Vec<_> = rows
                        .iter()
                        .map(|(path, _)| ByteArray::from(path.as_str()))
                        .collect();
                    typed.write_batch(&paths, None, None).unwrap();
                }
                ColumnWriter::Int64ColumnWriter(typed) => {
                    let positions: Vec<_> = rows.iter().map(|(_, position)| *position).collect();
                    typed.write_batch(&positions, None, None).unwrap();
                }
                ColumnWriter::Int32ColumnWriter(typed) => {
                    let (mut values, mut definitions, mut repetitions) =
                        (Vec::new(), Vec::new(), Vec::new());
                    for row in at * group..at * group + rows.len() {
                        let tags = tags_of(row);
                        repetitions.push(0);
                        definitions.push(if tags.is_empty() { 1 } else { 2 });
                        for _ in tags.iter().skip(1) {
                            repetitions.push(1);
                            definitions.push(2);
                        }
                        values.extend(tags);
                    }
                    typed
                        .write_batch(&values, Some(&definitions), Some(&repetitions))
                        .unwrap();
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

pub(crate) fn decode_position_deletes(file: &[u8]) -> Vec<(String, i64, Vec<i32>)> {
    let reader = SerializedFileReader::new(bytes::Bytes::copy_from_slice(file)).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        let row = row.unwrap();
        let tags = row.get_list(2).unwrap();
        let tags = (0..tags.len())
            .map(|at| tags.get_int(at).unwrap())
            .collect();
        (
            row.get_string(0).unwrap().clone(),
            row.get_long(1).unwrap(),
            tags,
        )
    });
    rows.collect()
}

/// One file of each kind but Parquet.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let list = [ListEntry {
        path: "s3://primary/wh/t/m".to_owned(),
        length: 5,
        summary: String::new(),
        rows: Some(1),
    }];
    let metadata = r#"{"format-version":2,"location":"s3://primary/wh/t","snapshots":[{"snapshot-id":1,"manifests":["s3://primary/wh/t/m"]}],
        "properties":{"a":"b"},"statistics":[],"metadata-log":[{"metadata-file":"s3://primary/wh/t/v1"}]}"#;
    vec![
        ManifestFile {
            codec: "deflate",
            ..ManifestFile::default()
        }
        .encode(),
        encode_list(&list, "snappy"),
        metadata.as_bytes().to_vec(),
        encode_puffin(&[("s3://primary/wh/t/a".to_owned(), vec![1, 2, 3])]),
    ]
}
