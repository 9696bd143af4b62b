//! Parquet files of position deletes: each row names a data file and the position of a deleted row
//! (Iceberg specification, "Position Delete Files").
//!
//! The paths in the rows are replaced, and the rows stay sorted by path and position. Schema, field ids,
//! codecs, key-value metadata, row groups and the other columns stay.

mod columns;

use crate::manifest::{DELETED_FILE_PATH, DELETED_POSITION};
use crate::parquet_file::{self, contain_panics};
use crate::path_map::PathMap;
use crate::relocations::PositionDeleteFacts;
use crate::table_finding::{TableFinding, TableFindingKind};
use bytes::Bytes;
use columns::ColumnValues;
use parquet::basic::Compression;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A rewritten file, with what its entry says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelocatedPositionDeletes {
    /// The content.
    pub bytes: Vec<u8>,
    /// What the entry says.
    pub facts: PositionDeleteFacts,
}

/// What is in a file of position deletes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PositionDeleteRows {
    /// The number of rows.
    pub rows: u64,
    /// They are sorted by path and position.
    pub is_sorted: bool,
    /// Both columns carry the field ids of the specification.
    pub has_field_ids: bool,
    /// The least path.
    pub lower_path: Option<String>,
    /// The greatest path.
    pub upper_path: Option<String>,
    /// The first row whose path is not accepted, with the path.
    pub rejected: Option<(u64, String)>,
}

struct DeleteFile<'a> {
    path: &'a str,
    reader: SerializedFileReader<Bytes>,
    path_column: usize,
    position_column: usize,
    has_field_ids: bool,
}

/// A row of a file, as it is sorted.
type DeletedRow = (String, i64);

/// Reads the rows. `accepts` judges each path.
///
/// # Errors
/// The file is no Parquet file of position deletes, or is encrypted or compressed in an unsupported way.
pub fn read_position_deletes(
    path: &str,
    bytes: Bytes,
    accepts: impl Fn(&str) -> bool,
) -> Result<PositionDeleteRows, TableFinding> {
    contain_panics(path, || read_rows(path, bytes, accepts))
}

fn read_rows(
    path: &str,
    bytes: Bytes,
    accepts: impl Fn(&str) -> bool,
) -> Result<PositionDeleteRows, TableFinding> {
    let file = DeleteFile::open(path, bytes)?;
    let mut rows = PositionDeleteRows {
        is_sorted: true,
        has_field_ids: file.has_field_ids,
        ..PositionDeleteRows::default()
    };
    let mut last: Option<DeletedRow> = None;
    file.each_row(|path, position| {
        if last.as_ref().is_none_or(|(last, _)| last != path) {
            if rows.rejected.is_none() && !accepts(path) {
                rows.rejected = Some((rows.rows, path.to_owned()));
            }
            rows.include(path);
        }
        rows.is_sorted &= extend_order(&mut last, path, position);
        rows.rows += 1;
        Ok(())
    })?;
    Ok(rows)
}

/// The file with the standby's paths in its rows.
///
/// # Errors
/// As [`read_position_deletes`]; or a path lies outside the pairs.
pub fn relocate_position_deletes(
    path: &str,
    bytes: Bytes,
    map: &PathMap,
) -> Result<RelocatedPositionDeletes, TableFinding> {
    contain_panics(path, || relocate_rows(path, bytes, map))
}

fn relocate_rows(
    path: &str,
    bytes: Bytes,
    map: &PathMap,
) -> Result<RelocatedPositionDeletes, TableFinding> {
    let file = DeleteFile::open(path, bytes)?;
    let mut seen = PositionDeleteRows::default();
    let mut is_sorted = true;
    let mut last: Option<DeletedRow> = None;
    // The mapped path of the last row: rows of one file follow each other.
    let mut mapped = (String::new(), String::new());
    file.each_row(|source, position| {
        if mapped.0 != source || seen.rows == 0 {
            mapped = (source.to_owned(), file.map_path(map, source, seen.rows)?);
            seen.include(&mapped.1);
        }
        is_sorted &= extend_order(&mut last, &mapped.1, position);
        seen.rows += 1;
        Ok(())
    })?;
    let (bytes, metadata) = file.write(map, is_sorted)?;
    let (split_offsets, column_sizes) = layout(&metadata);
    Ok(RelocatedPositionDeletes {
        bytes,
        facts: PositionDeleteFacts {
            split_offsets,
            column_sizes,
            lower_path: seen.lower_path,
            upper_path: seen.upper_path,
        },
    })
}

impl PositionDeleteRows {
    fn include(&mut self, path: &str) {
        if self.lower_path.as_deref().is_none_or(|lower| path < lower) {
            self.lower_path = Some(path.to_owned());
        }
        if self.upper_path.as_deref().is_none_or(|upper| path > upper) {
            self.upper_path = Some(path.to_owned());
        }
    }
}

/// Whether the row is not before the last one; makes it the last one.
fn extend_order(last: &mut Option<DeletedRow>, path: &str, position: i64) -> bool {
    match last {
        Some((last_path, last_position)) if last_path == path => {
            let is_sorted = *last_position <= position;
            *last_position = position;
            is_sorted
        }
        Some(_) | None => {
            let is_sorted = last.as_ref().is_none_or(|(last, _)| last.as_str() < path);
            *last = Some((path.to_owned(), position));
            is_sorted
        }
    }
}

/// Where the row groups begin, and the sizes of the columns by field id.
fn layout(metadata: &ParquetMetaData) -> (Vec<i64>, BTreeMap<i64, i64>) {
    let mut split_offsets = Vec::new();
    let mut sizes = BTreeMap::new();
    for group in metadata.row_groups() {
        if let Some(first) = group.columns().first() {
            split_offsets.push(i64::try_from(first.byte_range().0).unwrap_or(i64::MAX));
        }
        for column in group.columns() {
            let basic = column.column_descr().self_type().get_basic_info();
            if basic.has_id() {
                *sizes.entry(i64::from(basic.id())).or_insert(0) += column.compressed_size();
            }
        }
    }
    (split_offsets, sizes)
}

/// The column with a field id, or with a name if it has no id.
fn column_of(schema: &SchemaDescriptor, id: i64, name: &str) -> Option<(usize, bool)> {
    let mut named = None;
    for (index, column) in schema.columns().iter().enumerate() {
        let basic = column.self_type().get_basic_info();
        if column.path().parts().len() != 1 {
            continue;
        }
        if basic.has_id() && i64::from(basic.id()) == id {
            return Some((index, true));
        }
        if !basic.has_id() && column.name() == name {
            named = Some((index, false));
        }
    }
    named
}

impl<'a> DeleteFile<'a> {
    fn open(path: &'a str, bytes: Bytes) -> Result<Self, TableFinding> {
        let reader = parquet_file::open(path, bytes)?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let found = column_of(schema, DELETED_FILE_PATH, "file_path").zip(column_of(
            schema,
            DELETED_POSITION,
            "pos",
        ));
        let Some(((path_column, path_id), (position_column, position_id))) = found else {
            let problem = "it has no columns file_path and pos: it holds no position deletes";
            return Err(TableFinding::malformed(path, problem));
        };
        Ok(Self {
            path,
            path_column,
            position_column,
            has_field_ids: path_id && position_id,
            reader,
        })
    }

    fn failed(&self, error: &ParquetError) -> TableFinding {
        TableFinding::malformed(
            self.path,
            format!("the Parquet file cannot be read: {error}"),
        )
    }

    fn map_path(&self, map: &PathMap, path: &str, row: u64) -> Result<String, TableFinding> {
        map.map(path).ok_or_else(|| {
            let problem = format!("no location pair covers {path}");
            TableFinding::new(TableFindingKind::OutsidePairs, self.path, problem)
                .at(format!("row {row}"))
        })
    }

    fn rows_of(&self, group: usize) -> Result<usize, TableFinding> {
        let rows = self
            .reader
            .metadata()
            .row_groups()
            .get(group)
            .map(|group| group.num_rows());
        rows.and_then(|rows| usize::try_from(rows).ok())
            .ok_or_else(|| {
                TableFinding::malformed(self.path, "the number of rows of a row group is negative")
            })
    }

    fn column(&self, group: usize, column: usize) -> Result<ColumnValues, TableFinding> {
        let read = || {
            let schema = self.reader.metadata().file_metadata().schema_descr();
            let reader = self
                .reader
                .get_row_group(group)?
                .get_column_reader(column)?;
            ColumnValues::read(reader, schema.column(column).max_def_level())
        };
        let values = read().map_err(|error| self.failed(&error))?;
        match values.records() == self.rows_of(group)? {
            true => Ok(values),
            false => Err(TableFinding::malformed(
                self.path,
                "a column has not as many rows as its row group",
            )),
        }
    }

    /// The paths and positions of one row group.
    fn rows(&self, group: usize) -> Result<(Vec<ByteArray>, Vec<i64>), TableFinding> {
        let paths = self.column(group, self.path_column)?;
        let positions = self.column(group, self.position_column)?;
        match (paths, positions) {
            (ColumnValues::ByteArray(paths), ColumnValues::Int64(positions))
                if paths.values.len() == positions.values.len()
                    && paths.values.len() == self.rows_of(group)? =>
            {
                Ok((paths.values, positions.values))
            }
            _ => Err(TableFinding::malformed(
                self.path,
                "file_path and pos are not a string and a long in each row",
            )),
        }
    }

    fn each_row(
        &self,
        mut visit: impl FnMut(&str, i64) -> Result<(), TableFinding>,
    ) -> Result<(), TableFinding> {
        for group in 0..self.reader.num_row_groups() {
            let (paths, positions) = self.rows(group)?;
            for (path, position) in paths.iter().zip(positions) {
                let text = path.as_utf8().map_err(|error| self.failed(&error))?;
                visit(text, position)?;
            }
        }
        Ok(())
    }

    /// Writes the file with mapped paths: row group by row group if the rows stay sorted, else sorted again
    /// as a whole.
    fn write(
        &self,
        map: &PathMap,
        is_sorted: bool,
    ) -> Result<(Vec<u8>, ParquetMetaData), TableFinding> {
        let file_metadata = self.reader.metadata().file_metadata();
        let schema = file_metadata.schema_descr();
        let mut out = Vec::new();
        let properties = Arc::new(self.properties()?);
        let failed = |error: ParquetError| self.failed(&error);
        let writer = SerializedFileWriter::new(&mut out, schema.root_schema_ptr(), properties);
        let mut writer = writer.map_err(failed)?;
        let mut sorted = match is_sorted {
            true => None,
            false => Some(self.sort(map)?),
        };
        for group in 0..self.reader.num_row_groups() {
            let rows = self.rows_of(group)?;
            let order = sorted.as_mut().map(|sorted| sorted.next_rows(rows));
            let mut group_writer = writer.next_row_group().map_err(failed)?;
            for (index, column) in schema.columns().iter().enumerate() {
                let values = match (&order, &sorted) {
                    (Some(order), Some(sorted)) => sorted.select(index, order),
                    (Some(_) | None, _) if index == self.path_column => {
                        self.mapped_column(map, group)?
                    }
                    (Some(_) | None, _) => self.column(group, index)?,
                };
                let next = group_writer.next_column().map_err(failed)?;
                let mut next = next.ok_or_else(|| {
                    TableFinding::malformed(
                        self.path,
                        "a row group has more columns than the schema",
                    )
                })?;
                values.write(&mut next, column).map_err(failed)?;
                next.close().map_err(failed)?;
            }
            group_writer.close().map_err(failed)?;
        }
        let metadata = writer.close().map_err(failed)?;
        Ok((out, metadata))
    }

    fn mapped_column(&self, map: &PathMap, group: usize) -> Result<ColumnValues, TableFinding> {
        let mut column = self.column(group, self.path_column)?;
        let mut last: Option<(ByteArray, ByteArray)> = None;
        if let ColumnValues::ByteArray(paths) = &mut column {
            for (row, value) in (0..).zip(&mut paths.values) {
                let mapped = match &last {
                    Some((source, mapped)) if source == value => mapped.clone(),
                    Some(_) | None => {
                        let text = value.as_utf8().map_err(|error| self.failed(&error))?;
                        ByteArray::from(self.map_path(map, text, row)?.into_bytes())
                    }
                };
                let source = std::mem::replace(value, mapped.clone());
                last = Some((source, mapped));
            }
        }
        Ok(column)
    }

    /// All columns with mapped paths, and the order of the rows.
    fn sort(&self, map: &PathMap) -> Result<SortedRows, TableFinding> {
        let mut columns: Vec<ColumnValues> = Vec::new();
        for group in 0..self.reader.num_row_groups() {
            for index in 0..self
                .reader
                .metadata()
                .file_metadata()
                .schema_descr()
                .num_columns()
            {
                let values = match index == self.path_column {
                    true => self.mapped_column(map, group)?,
                    false => self.column(group, index)?,
                };
                match columns.get_mut(index) {
                    Some(column) => column.append(values).map_err(|error| self.failed(&error))?,
                    None => columns.push(values),
                }
            }
        }
        let keys = columns
            .get(self.path_column)
            .zip(columns.get(self.position_column));
        let Some((ColumnValues::ByteArray(paths), ColumnValues::Int64(positions))) = keys else {
            return Ok(SortedRows::default());
        };
        let keys = paths.values.iter().zip(&positions.values);
        let keys: Vec<(&[u8], i64)> = keys
            .map(|(path, position)| (path.data(), *position))
            .collect();
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|row| keys.get(*row));
        Ok(SortedRows {
            order,
            taken: 0,
            columns,
        })
    }

    fn properties(&self) -> Result<WriterProperties, TableFinding> {
        let metadata = self.reader.metadata();
        let mut builder = WriterProperties::builder()
            .set_key_value_metadata(metadata.file_metadata().key_value_metadata().cloned())
            // A cut bound would be exact only for readers that know that it is cut.
            .set_statistics_truncate_length(None)
            .set_max_row_group_row_count(None);
        let first = metadata.row_groups().first();
        builder =
            builder.set_sorting_columns(first.and_then(|group| group.sorting_columns().cloned()));
        for column in first.map(|group| group.columns()).unwrap_or_default() {
            let compression = column.compression();
            if matches!(compression, Compression::BROTLI(_) | Compression::LZO) {
                let problem = format!(
                    "the column {} is compressed with {compression}, which is not supported",
                    column.column_path()
                );
                return Err(TableFinding::new(
                    TableFindingKind::UnsupportedCodec,
                    self.path,
                    problem,
                ));
            }
            builder = builder.set_column_compression(column.column_path().clone(), compression);
        }
        Ok(builder.build())
    }
}

/// The columns of a file, and the order in which its rows are written.
#[derive(Default)]
struct SortedRows {
    order: Vec<usize>,
    taken: usize,
    columns: Vec<ColumnValues>,
}

impl SortedRows {
    /// The rows of the next row group.
    fn next_rows(&mut self, count: usize) -> Vec<usize> {
        let end = (self.taken + count).min(self.order.len());
        let rows = self.order.get(self.taken..end).unwrap_or_default().to_vec();
        self.taken = end;
        rows
    }

    fn select(&self, column: usize, rows: &[usize]) -> ColumnValues {
        self.columns
            .get(column)
            .map(|values| values.select(rows))
            .unwrap_or_default()
    }
}
