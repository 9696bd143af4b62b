//! Checkpoints of a Delta table in Parquet: the paths in them are read, column by column.

use super::CountedPaths;
use super::log_file::{LogFileContent, add_path, add_vector};
use crate::parquet_file;
use crate::table_finding::TableFinding;
use bytes::Bytes;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};

/// Records that are read at a time.
const BATCH_RECORDS: usize = 4096;

/// Reads the paths of a checkpoint, or of a sidecar.
pub(super) fn read(path: &str, bytes: Bytes) -> Result<LogFileContent, TableFinding> {
    parquet_file::contain_panics(path, || {
        let reader = parquet_file::open(path, bytes)?;
        read_columns(&reader).map_err(|error| {
            TableFinding::malformed(path, format!("the Parquet file cannot be read: {error}"))
        })
    })
}

fn read_columns(reader: &SerializedFileReader<Bytes>) -> Result<LogFileContent, ParquetError> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let is_known = |path: &[&str]| {
        schema
            .columns()
            .iter()
            .any(|one| one.path().parts() == path)
    };
    let known = [["add", "path"], ["remove", "path"], ["sidecar", "path"]];
    if !known.iter().any(|path| is_known(path)) {
        let problem = "it has neither files nor sidecars: it is no checkpoint";
        return Err(ParquetError::General(problem.to_owned()));
    }
    let mut content = LogFileContent::default();
    for index in 0..reader.num_row_groups() {
        let group = reader.get_row_group(index)?;
        for action in ["add", "remove"] {
            if let Some(mut paths) = TextColumn::open(group.as_ref(), &[action, "path"])? {
                while let Some(batch) = paths.next_batch()? {
                    let paths = batch.iter().flatten();
                    paths.for_each(|path| add_path(&mut content.absolute, path));
                }
            }
            read_vectors(group.as_ref(), action, &mut content.absolute)?;
        }
        read_sidecars(group.as_ref(), &mut content)?;
    }
    Ok(content)
}

/// The deletion vectors of the added or removed files. The columns are read side by side: a value has the storage
/// type of its row.
fn read_vectors(
    group: &dyn RowGroupReader,
    action: &str,
    absolute: &mut CountedPaths,
) -> Result<(), ParquetError> {
    let column = |name| TextColumn::open(group, &[action, "deletionVector", name]);
    let (Some(mut kinds), Some(mut paths)) = (column("storageType")?, column("pathOrInlineDv")?)
    else {
        return Ok(());
    };
    while let (Some(kinds), Some(paths)) = (kinds.next_batch()?, paths.next_batch()?) {
        let vectors = kinds.iter().zip(&paths);
        let vectors = vectors.filter_map(|(kind, path)| kind.as_ref().zip(path.as_ref()));
        for (kind, path) in vectors {
            add_vector(absolute, kind, path).map_err(ParquetError::General)?;
        }
    }
    Ok(())
}

fn read_sidecars(
    group: &dyn RowGroupReader,
    content: &mut LogFileContent,
) -> Result<(), ParquetError> {
    let Some(mut paths) = TextColumn::open(group, &["sidecar", "path"])? else {
        return Ok(());
    };
    let path = ["sidecar", "sizeInBytes"];
    let mut sizes = match column_reader(group, &path)? {
        Some((ColumnReader::Int64ColumnReader(reader), definition)) => {
            Some(OptionalColumn::<Int64Type>::new(reader, definition))
        }
        Some(_) => return Err(unexpected(&path)),
        None => None,
    };
    while let Some(batch) = paths.next_batch()? {
        let of_batch = match &mut sizes {
            Some(sizes) => sizes.next_batch()?.unwrap_or_default(),
            None => Vec::new(),
        };
        for (row, path) in batch.iter().enumerate() {
            if let Some(path) = path {
                let size = of_batch.get(row).copied().flatten();
                content.add_sidecar(path, size.unwrap_or_default());
            }
        }
    }
    Ok(())
}

/// The reader of the column with this path, with its definition level; `None` if there is none.
fn column_reader(
    group: &dyn RowGroupReader,
    path: &[&str],
) -> Result<Option<(ColumnReader, i16)>, ParquetError> {
    let schema = group.metadata().schema_descr_ptr();
    for (index, column) in schema.columns().iter().enumerate() {
        if column.path().parts() == path {
            if column.max_rep_level() > 0 {
                return Err(unexpected(path));
            }
            let reader = group.get_column_reader(index)?;
            return Ok(Some((reader, column.max_def_level())));
        }
    }
    Ok(None)
}

/// The column with this path is not what the protocol says: what is in it is not passed over.
fn unexpected(path: &[&str]) -> ParquetError {
    ParquetError::General(format!("the column {} has another type", path.join(".")))
}

/// A column with at most one value in a row.
struct OptionalColumn<T: DataType> {
    reader: ColumnReaderImpl<T>,
    definition: i16,
    left: bool,
}

impl<T: DataType> OptionalColumn<T> {
    const fn new(reader: ColumnReaderImpl<T>, definition: i16) -> Self {
        Self {
            reader,
            definition,
            left: true,
        }
    }

    /// The values of the next rows; `None` at the end.
    fn next_batch(&mut self) -> Result<Option<Vec<Option<T::T>>>, ParquetError> {
        if !self.left {
            return Ok(None);
        }
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let levels_wanted = (self.definition > 0).then_some(&mut levels);
        let (records, ..) =
            self.reader
                .read_records(BATCH_RECORDS, levels_wanted, None, &mut values)?;
        self.left = records > 0;
        if records == 0 {
            return Ok(None);
        }
        let mut values = values.into_iter();
        if self.definition == 0 {
            return Ok(Some(values.map(Some).collect()));
        }
        let slots = levels.iter().map(|level| match *level == self.definition {
            true => values.next(),
            false => None,
        });
        Ok(Some(slots.collect()))
    }
}

/// A column of texts.
struct TextColumn(OptionalColumn<ByteArrayType>);

impl TextColumn {
    /// Opens the column with this path; `None` if there is none.
    fn open(group: &dyn RowGroupReader, path: &[&str]) -> Result<Option<Self>, ParquetError> {
        Ok(match column_reader(group, path)? {
            Some((ColumnReader::ByteArrayColumnReader(reader), definition)) => {
                Some(Self(OptionalColumn::new(reader, definition)))
            }
            Some(_) => return Err(unexpected(path)),
            None => None,
        })
    }

    fn next_batch(&mut self) -> Result<Option<Vec<Option<String>>>, ParquetError> {
        let batch = self.0.next_batch()?;
        let text = |value: parquet::data_type::ByteArray| {
            String::from_utf8_lossy(value.data()).into_owned()
        };
        Ok(batch.map(|batch| batch.into_iter().map(|value| value.map(text)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::data_type::ByteArray;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use std::sync::Arc;

    const SCHEMA: &str = "message spark_schema {
        optional group add {
            optional binary path (STRING);
            optional int64 size;
            optional group deletionVector {
                optional binary storageType (STRING);
                optional binary pathOrInlineDv (STRING);
            }
        }
        optional group remove { optional binary path (STRING); }
        optional group sidecar { optional binary path (STRING); optional int64 sizeInBytes; }
    }";

    /// A column: a definition level in each row, and the values of those that have one.
    enum Column {
        Text(Vec<i16>, Vec<&'static str>),
        Long(Vec<i16>, Vec<i64>),
    }

    fn encode(columns: Vec<Column>) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for column in columns {
            let mut writer = group.next_column().unwrap().unwrap();
            match column {
                Column::Text(levels, values) => {
                    let values: Vec<ByteArray> = values.into_iter().map(ByteArray::from).collect();
                    let writer = writer.typed::<ByteArrayType>();
                    writer.write_batch(&values, Some(&levels), None).unwrap();
                }
                Column::Long(levels, values) => {
                    let writer = writer.typed::<Int64Type>();
                    writer.write_batch(&values, Some(&levels), None).unwrap();
                }
            }
            writer.close().unwrap();
        }
        group.close().unwrap();
        writer.into_inner().unwrap()
    }

    /// Five rows: two added files, the second with a vector of an absolute path, an added file with an inline
    /// vector, a removed file, and a sidecar.
    fn checkpoint() -> Vec<u8> {
        encode(vec![
            Column::Text(vec![2, 2, 2, 0, 0], vec!["s3://lake-us/t/p0", "p1", "p2"]),
            Column::Long(vec![2, 2, 2, 0, 0], vec![1, 2, 3]),
            Column::Text(vec![1, 3, 3, 0, 0], vec!["p", "i"]),
            Column::Text(vec![1, 3, 3, 0, 0], vec!["s3://lake-us/t/v.bin", "s3://x"]),
            Column::Text(vec![0, 0, 0, 2, 0], vec!["file%3A/t/p3"]),
            Column::Text(vec![0, 0, 0, 0, 2], vec!["1.parquet"]),
            Column::Long(vec![0, 0, 0, 0, 2], vec![99]),
        ])
    }

    #[test]
    fn paths_vectors_and_sidecars_are_read_row_by_row() {
        let content = read("c.parquet", Bytes::from(checkpoint())).unwrap();
        let expected = ["s3://lake-us/t/p0", "s3://lake-us/t/v.bin", "file%3A/t/p3"];
        assert_eq!(content.absolute.count, 3, "{content:?}");
        assert_eq!(content.absolute.samples, expected);
        assert_eq!(content.sidecars, [("1.parquet".to_owned(), 99)]);
    }

    #[test]
    fn a_damaged_checkpoint_is_a_finding_or_is_read() {
        let whole = checkpoint();
        assert!(read("c.parquet", Bytes::from(whole[..whole.len() / 2].to_vec())).is_err());
        std::panic::set_hook(Box::new(|_| {}));
        for index in 0..whole.len() {
            for bit in [1, 0x80] {
                let mut damaged = whole.clone();
                damaged[index] ^= bit;
                let _ = read("c.parquet", Bytes::from(damaged));
            }
        }
        let _ = std::panic::take_hook();
    }
}
