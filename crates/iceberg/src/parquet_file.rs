//! Parquet files of others: opened without panics, and without reads outside the file.

use crate::table_finding::{TableFinding, TableFindingKind};
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

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
    let length = bytes.len();
    let reader = SerializedFileReader::new(bytes).map_err(not_parquet)?;
    if !has_valid_chunks(reader.metadata(), length) {
        let problem = "a column chunk lies outside the Parquet file";
        return Err(TableFinding::malformed(path, problem));
    }
    Ok(reader)
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
