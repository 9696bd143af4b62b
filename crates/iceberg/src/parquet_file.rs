//! Parquet files of others: opened without panics, without reads outside the file, and without memory for lengths that
//! the file only claims.

mod claims;

use crate::table_finding::{TableFinding, TableFindingKind};
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use std::collections::BTreeMap;

/// The most values of a column of which a file may have one byte. A run of equal values takes a few bytes, however long it
/// is, and all values of a column of delete files are in memory together: a run of positions in blocks of 128 of 5 bytes,
/// compressed, has fewer.
const MAX_VALUES_PER_BYTE: usize = 1024;
/// As many values a file may have however short it is.
const MIN_VALUES_LIMIT: usize = 1 << 20;

/// Runs the Parquet library, which panics at some damaged pages, and makes a finding of it. Without this, one
/// damaged file would end the function that reads it, and with it the messages of all other tables of the batch.
/// No validation before the call can do it: whether a page decodes is known once it is decoded.
pub(crate) fn contain_panics<T>(
    path: &str,
    run: impl FnOnce() -> Result<T, TableFinding>,
) -> Result<T, TableFinding> {
    #[cfg(panic = "abort")]
    compile_error!(
        "a damaged Parquet file ends a process that does not unwind: see contain_panics"
    );
    // What the closure owns is dropped with the panic, and what it borrows is only read.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    result.unwrap_or_else(|_| {
        let problem = "its pages are damaged: the Parquet library cannot read them";
        Err(TableFinding::malformed(path, problem))
    })
}

/// Opens a file.
pub(crate) fn open(path: &str, bytes: Bytes) -> Result<SerializedFileReader<Bytes>, TableFinding> {
    if bytes.ends_with(b"PARE") {
        let problem = "the footer of the Parquet file is encrypted";
        return Err(TableFinding::new(
            TableFindingKind::Encrypted,
            path,
            problem,
        ));
    }
    let not_parquet =
        |e: ParquetError| TableFinding::malformed(path, format!("it is no Parquet file: {e}"));
    let damaged =
        |problem: &str| TableFinding::malformed(path, format!("it is damaged: {problem}"));
    if bytes.ends_with(b"PAR1") {
        claims::check_footer(&bytes).map_err(damaged)?;
    }
    let reader = SerializedFileReader::new(bytes.clone()).map_err(not_parquet)?;
    if !has_valid_chunks(reader.metadata(), bytes.len()) {
        let problem = "a column chunk lies outside the Parquet file";
        return Err(TableFinding::malformed(path, problem));
    }
    check_claims(reader.metadata(), &bytes).map_err(damaged)?;
    Ok(reader)
}

/// Compares what row groups, column chunks and pages claim with each other, and with what a file of this length can hold.
fn check_claims(metadata: &ParquetMetaData, bytes: &[u8]) -> Result<(), &'static str> {
    let most = bytes.len().saturating_mul(MAX_VALUES_PER_BYTE);
    let most = i64::try_from(most.max(MIN_VALUES_LIMIT)).unwrap_or(i64::MAX);
    let mut columns: BTreeMap<usize, i64> = BTreeMap::new();
    for group in metadata.row_groups() {
        for (index, chunk) in group.columns().iter().enumerate() {
            let of_column = columns.entry(index).or_default();
            *of_column = of_column.saturating_add(chunk.num_values());
            if chunk.num_values() < 0 || *of_column > most {
                return Err("it claims more values than a file of its length holds");
            }
            let (start, length) = chunk.byte_range();
            let start = usize::try_from(start).map_err(|_| "a chunk lies outside it")?;
            let length = usize::try_from(length).map_err(|_| "a chunk lies outside it")?;
            let end = start.saturating_add(length);
            // A dictionary has values of its own, at most as many as the column.
            let values = chunk.num_values().saturating_mul(2);
            claims::check_pages(bytes, start..end, values)?;
        }
    }
    Ok(())
}

/// Whether all column chunks lie in a file of this length. The library panics at negative offsets.
fn has_valid_chunks(metadata: &ParquetMetaData, length: usize) -> bool {
    let mut chunks = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    chunks.all(|chunk| {
        let start = chunk
            .dictionary_page_offset()
            .unwrap_or_else(|| chunk.data_page_offset());
        let end = start.checked_add(chunk.compressed_size());
        let end = end.and_then(|end| usize::try_from(end).ok());
        start >= 0 && chunk.compressed_size() >= 0 && end.is_some_and(|end| end <= length)
    })
}
