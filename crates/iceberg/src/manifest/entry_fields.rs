//! The fields of an entry of a manifest, as they are read.

use crate::avro::cursor::Cursor;
use crate::avro::fields::{ArraySpan, Spanned, known_id};
use crate::avro::schema::{AvroError, Schema, TypeId};

const STATUS: i64 = 0;
const SNAPSHOT_ID: i64 = 1;
const SEQUENCE_NUMBER: i64 = 3;
const DATA_FILE: i64 = 2;
const ENTRY_FIELDS: [(i64, &str); 4] = [
    (STATUS, "status"),
    (SNAPSHOT_ID, "snapshot_id"),
    (SEQUENCE_NUMBER, "sequence_number"),
    (DATA_FILE, "data_file"),
];

const CONTENT: i64 = 134;
const FILE_PATH: i64 = 100;
const FILE_FORMAT: i64 = 101;
const RECORD_COUNT: i64 = 103;
const FILE_SIZE: i64 = 104;
const COLUMN_SIZES: i64 = 108;
const LOWER_BOUNDS: i64 = 125;
const UPPER_BOUNDS: i64 = 128;
const KEY_METADATA: i64 = 131;
const SPLIT_OFFSETS: i64 = 132;
const REFERENCED_DATA_FILE: i64 = 143;
const CONTENT_OFFSET: i64 = 144;
const CONTENT_SIZE: i64 = 145;
const FILE_FIELDS: [(i64, &str); 13] = [
    (CONTENT, "content"),
    (FILE_PATH, "file_path"),
    (FILE_FORMAT, "file_format"),
    (RECORD_COUNT, "record_count"),
    (FILE_SIZE, "file_size_in_bytes"),
    (COLUMN_SIZES, "column_sizes"),
    (LOWER_BOUNDS, "lower_bounds"),
    (UPPER_BOUNDS, "upper_bounds"),
    (KEY_METADATA, "key_metadata"),
    (SPLIT_OFFSETS, "split_offsets"),
    (REFERENCED_DATA_FILE, "referenced_data_file"),
    (CONTENT_OFFSET, "content_offset"),
    (CONTENT_SIZE, "content_size_in_bytes"),
];

/// The values of an entry as they are read.
#[derive(Default)]
pub(super) struct RawEntry<'a> {
    pub(super) status: Option<i64>,
    pub(super) snapshot_id: Option<i64>,
    pub(super) sequence_number: Option<i64>,
    pub(super) content: Option<i64>,
    pub(super) path: Option<Spanned<&'a str>>,
    pub(super) format: Option<&'a str>,
    pub(super) record_count: Option<i64>,
    pub(super) size: Option<Spanned<i64>>,
    pub(super) column_sizes: Option<ArraySpan>,
    pub(super) split_offsets: Option<ArraySpan>,
    pub(super) bounds: [Option<ArraySpan>; 2],
    pub(super) is_encrypted: bool,
    pub(super) referenced: Option<Spanned<&'a str>>,
    pub(super) offset: Option<i64>,
    pub(super) length: Option<i64>,
}

pub(super) fn parse_entry<'a>(
    schema: &Schema,
    cursor: &mut Cursor<'a>,
) -> Result<RawEntry<'a>, AvroError> {
    let mut raw = RawEntry::default();
    let mut has_file = false;
    for field in schema.fields(schema.root())? {
        let id = field.type_id;
        match known_id(field, &ENTRY_FIELDS) {
            Some(STATUS) => raw.status = cursor.number(schema, id)?.map(|n| n.value),
            Some(SNAPSHOT_ID) => raw.snapshot_id = cursor.number(schema, id)?.map(|n| n.value),
            Some(SEQUENCE_NUMBER) => {
                raw.sequence_number = cursor.number(schema, id)?.map(|n| n.value);
            }
            Some(DATA_FILE) => {
                let id = cursor.enter(schema, id)?.ok_or("data_file is null")?;
                for field in schema.fields(id)? {
                    raw.read_field(schema, cursor, known_id(field, &FILE_FIELDS), field.type_id)?;
                }
                has_file = true;
            }
            Some(_) | None => cursor.skip(schema, id)?,
        }
    }
    has_file.then_some(raw).ok_or("it has no data_file")
}

impl<'a> RawEntry<'a> {
    fn read_field(
        &mut self,
        schema: &Schema,
        cursor: &mut Cursor<'a>,
        known: Option<i64>,
        id: TypeId,
    ) -> Result<(), AvroError> {
        let [lower, upper] = &mut self.bounds;
        match known {
            Some(CONTENT) => self.content = cursor.number(schema, id)?.map(|n| n.value),
            Some(FILE_PATH) => self.path = cursor.text(schema, id)?,
            Some(FILE_FORMAT) => self.format = cursor.text(schema, id)?.map(|text| text.value),
            Some(RECORD_COUNT) => self.record_count = cursor.number(schema, id)?.map(|n| n.value),
            Some(FILE_SIZE) => self.size = cursor.number(schema, id)?,
            Some(COLUMN_SIZES) => self.column_sizes = cursor.array_span(schema, id)?,
            Some(LOWER_BOUNDS) => *lower = cursor.array_span(schema, id)?,
            Some(UPPER_BOUNDS) => *upper = cursor.array_span(schema, id)?,
            Some(SPLIT_OFFSETS) => self.split_offsets = cursor.array_span(schema, id)?,
            Some(KEY_METADATA) => {
                let key = cursor.binary(schema, id)?;
                self.is_encrypted = key.is_some_and(|key| !key.value.is_empty());
            }
            Some(REFERENCED_DATA_FILE) => self.referenced = cursor.text(schema, id)?,
            Some(CONTENT_OFFSET) => self.offset = cursor.number(schema, id)?.map(|n| n.value),
            Some(CONTENT_SIZE) => self.length = cursor.number(schema, id)?.map(|n| n.value),
            Some(_) | None => cursor.skip(schema, id)?,
        }
        Ok(())
    }
}
