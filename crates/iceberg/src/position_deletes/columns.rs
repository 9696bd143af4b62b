//! The values of a Parquet column with their levels: read, reordered by rows, and written as they are.

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{
    BoolType, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type,
    Int64Type, Int96Type,
};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedColumnWriter;
use parquet::schema::types::ColumnDescriptor;

/// Records that are read at a time.
const BATCH_RECORDS: usize = 8192;

/// The values of a column of one physical type. The levels are empty if the column has none.
pub(super) struct TypedValues<T: DataType> {
    pub values: Vec<T::T>,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    /// The level of a value that is there; 0 if the column has no definition levels.
    max_definition: i16,
    records: usize,
}

/// The values of a column.
pub(super) enum ColumnValues {
    Bool(TypedValues<BoolType>),
    Int32(TypedValues<Int32Type>),
    Int64(TypedValues<Int64Type>),
    Int96(TypedValues<Int96Type>),
    Float(TypedValues<FloatType>),
    Double(TypedValues<DoubleType>),
    ByteArray(TypedValues<ByteArrayType>),
    FixedLenByteArray(TypedValues<FixedLenByteArrayType>),
}

impl Default for ColumnValues {
    fn default() -> Self {
        Self::Bool(TypedValues::empty(0))
    }
}

impl<T: DataType> TypedValues<T> {
    const fn empty(max_definition: i16) -> Self {
        Self {
            values: Vec::new(),
            definitions: Vec::new(),
            repetitions: Vec::new(),
            max_definition,
            records: 0,
        }
    }

    fn read(mut reader: ColumnReaderImpl<T>, max_definition: i16) -> Result<Self, ParquetError> {
        let mut all = Self::empty(max_definition);
        loop {
            let (records, ..) = reader.read_records(
                BATCH_RECORDS,
                Some(&mut all.definitions),
                Some(&mut all.repetitions),
                &mut all.values,
            )?;
            all.records += records;
            if records == 0 {
                return Ok(all);
            }
        }
    }

    fn append(&mut self, mut other: Self) {
        self.values.append(&mut other.values);
        self.definitions.append(&mut other.definitions);
        self.repetitions.append(&mut other.repetitions);
        self.records += other.records;
    }

    /// The number of levels; of values if there are no levels.
    fn slots(&self) -> usize {
        let levels = self.definitions.len().max(self.repetitions.len());
        if levels == 0 {
            self.values.len()
        } else {
            levels
        }
    }

    fn is_present(&self, slot: usize) -> bool {
        self.definitions
            .get(slot)
            .is_none_or(|level| *level == self.max_definition)
    }

    /// Where each record begins: among the levels, and among the values. One more than there are records.
    fn starts(&self) -> Vec<(usize, usize)> {
        let mut starts = Vec::with_capacity(self.records + 1);
        let mut values = 0;
        let slots = self.slots();
        for slot in 0..slots {
            if self.repetitions.get(slot).is_none_or(|level| *level == 0) {
                starts.push((slot, values));
            }
            values += usize::from(self.is_present(slot));
        }
        starts.push((slots, values));
        starts
    }

    fn select(&self, rows: &[usize]) -> Self {
        let starts = self.starts();
        let mut selected = Self::empty(self.max_definition);
        for &row in rows {
            let (Some(&(slot, value)), Some(&(slot_end, value_end))) =
                (starts.get(row), starts.get(row + 1))
            else {
                continue;
            };
            let values = self.values.get(value..value_end).unwrap_or_default();
            selected.values.extend_from_slice(values);
            let levels = self.definitions.get(slot..slot_end).unwrap_or_default();
            selected.definitions.extend_from_slice(levels);
            let levels = self.repetitions.get(slot..slot_end).unwrap_or_default();
            selected.repetitions.extend_from_slice(levels);
            selected.records += 1;
        }
        selected
    }

    fn write(
        &self,
        writer: &mut SerializedColumnWriter<'_>,
        column: &ColumnDescriptor,
    ) -> Result<(), ParquetError> {
        let definitions = (column.max_def_level() > 0).then_some(self.definitions.as_slice());
        let repetitions = (column.max_rep_level() > 0).then_some(self.repetitions.as_slice());
        writer
            .typed::<T>()
            .write_batch(&self.values, definitions, repetitions)?;
        Ok(())
    }
}

/// The same expression for the values of each type.
macro_rules! each_type {
    ($column:expr, $values:ident => $expression:expr) => {
        match $column {
            ColumnValues::Bool($values) => $expression,
            ColumnValues::Int32($values) => $expression,
            ColumnValues::Int64($values) => $expression,
            ColumnValues::Int96($values) => $expression,
            ColumnValues::Float($values) => $expression,
            ColumnValues::Double($values) => $expression,
            ColumnValues::ByteArray($values) => $expression,
            ColumnValues::FixedLenByteArray($values) => $expression,
        }
    };
}

/// Defines the functions that go from one type of a column to the same type.
macro_rules! same_type {
    ($($variant:ident, $reader:ident;)*) => {
        /// Reads a whole column chunk.
        pub(super) fn read(reader: ColumnReader, max_definition: i16) -> Result<Self, ParquetError> {
            match reader {
                $(ColumnReader::$reader(reader) => {
                    TypedValues::read(reader, max_definition).map(Self::$variant)
                })*
            }
        }

        /// Appends the values of the same column in the next row group.
        pub(super) fn append(&mut self, other: Self) -> Result<(), ParquetError> {
            match (self, other) {
                $((Self::$variant(values), Self::$variant(other)) => {
                    values.append(other);
                    Ok(())
                })*
                _ => Err(ParquetError::General("a column changes its type between row groups".to_owned())),
            }
        }

        /// The values of some rows, in that order.
        pub(super) fn select(&self, rows: &[usize]) -> Self {
            match self {
                $(Self::$variant(values) => Self::$variant(values.select(rows)),)*
            }
        }
    };
}

impl ColumnValues {
    same_type! {
        Bool, BoolColumnReader;
        Int32, Int32ColumnReader;
        Int64, Int64ColumnReader;
        Int96, Int96ColumnReader;
        Float, FloatColumnReader;
        Double, DoubleColumnReader;
        ByteArray, ByteArrayColumnReader;
        FixedLenByteArray, FixedLenByteArrayColumnReader;
    }

    /// The number of rows.
    pub(super) fn records(&self) -> usize {
        each_type!(self, values => values.records)
    }

    /// Writes the values as a column chunk.
    pub(super) fn write(
        &self,
        writer: &mut SerializedColumnWriter<'_>,
        column: &ColumnDescriptor,
    ) -> Result<(), ParquetError> {
        each_type!(self, values => values.write(writer, column))
    }
}
