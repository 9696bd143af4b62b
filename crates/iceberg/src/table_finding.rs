//! What is wrong with a file of a table, or why it is not relocated.

use serde::Serialize;
use std::fmt;

/// Why a file is refused, or what is wrong with a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableFindingKind {
    /// A format version that this crate does not know.
    UnsupportedFormat,
    /// Metadata or files are encrypted.
    Encrypted,
    /// A file format, a content or a status that the specification does not name.
    UnknownFileType,
    /// An Avro or Parquet codec that is not supported.
    UnsupportedCodec,
    /// Position deletes in a file format whose rows are not rewritten.
    UnsupportedDeleteFile,
    /// A live position delete file or deletion vector of a manifest was not relocated before the manifest.
    DeleteFileNotRelocated,
    /// A Puffin blob or footer that is not supported.
    UnsupportedPuffin,
    /// A path that no location pair covers.
    OutsidePairs,
    /// The entry of the catalog has another location than the metadata, or the table's metadata, a manifest or
    /// a delete file lies outside the location of the entry.
    OutsideTable,
    /// The keys of rewritten files would be longer than S3 allows.
    KeyTooLong,
    /// A path of another location than the table's.
    ForeignPath,
    /// A file is not what its specification says.
    Malformed,
    /// The content of metadata.json is compressed and its name does not say so, or the reverse.
    NameContradictsContent,
    /// A file that an entry names does not exist.
    MissingFile,
    /// `manifest_length` of a manifest list is not the length of the manifest.
    WrongManifestLength,
    /// `file_size_in_bytes` is not the size of the file.
    WrongFileSize,
    /// Rows of a position delete file name files of another location.
    ForeignDeleteRows,
    /// Rows of a position delete file are not sorted by file and position.
    UnsortedDeleteRows,
    /// The bounds of `file_path` exclude rows of the position delete file.
    WrongDeleteBounds,
    /// `referenced_data_file` of an entry is not the file that the deletes are for.
    WrongReferencedFile,
    /// The footer of a Puffin file has no deletion vector where the entry says.
    WrongDeletionVector,
    /// The number of rows of a delete file is not the entry's `record_count`.
    WrongRecordCount,
    /// Field ids are missing in a schema.
    LostFieldIds,
    /// `logicalType` is missing in the schema of a manifest.
    LostLogicalType,
    /// A key is missing in the header of a manifest.
    LostHeaderKey,
    /// The counts of a manifest list are not those of the entries of the manifest.
    WrongCounts,
    /// A first row id is missing.
    LostFirstRowId,
    /// The sequence number of an entry that is not new is missing.
    LostSequenceNumber,
    /// The size of a statistics file is not the metadata's.
    StaleStatistics,
}

impl TableFindingKind {
    /// The name, as it is printed and as `--json` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedFormat => "unsupported-format",
            Self::Encrypted => "encrypted",
            Self::UnknownFileType => "unknown-file-type",
            Self::UnsupportedCodec => "unsupported-codec",
            Self::UnsupportedDeleteFile => "unsupported-delete-file",
            Self::DeleteFileNotRelocated => "delete-file-not-relocated",
            Self::UnsupportedPuffin => "unsupported-puffin",
            Self::OutsidePairs => "outside-pairs",
            Self::OutsideTable => "outside-table",
            Self::KeyTooLong => "key-too-long",
            Self::ForeignPath => "foreign-path",
            Self::Malformed => "malformed",
            Self::NameContradictsContent => "name-contradicts-content",
            Self::MissingFile => "missing-file",
            Self::WrongManifestLength => "wrong-manifest-length",
            Self::WrongFileSize => "wrong-file-size",
            Self::ForeignDeleteRows => "foreign-delete-rows",
            Self::UnsortedDeleteRows => "unsorted-delete-rows",
            Self::WrongDeleteBounds => "wrong-delete-bounds",
            Self::WrongReferencedFile => "wrong-referenced-file",
            Self::WrongDeletionVector => "wrong-deletion-vector",
            Self::WrongRecordCount => "wrong-record-count",
            Self::LostFieldIds => "lost-field-ids",
            Self::LostLogicalType => "lost-logical-type",
            Self::LostHeaderKey => "lost-header-key",
            Self::WrongCounts => "wrong-counts",
            Self::LostFirstRowId => "lost-first-row-id",
            Self::LostSequenceNumber => "lost-sequence-number",
            Self::StaleStatistics => "stale-statistics",
        }
    }
}

/// What is wrong with a file of a table, with the position in the file. As an error it is the reason for
/// which the file is not relocated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableFinding {
    /// What is wrong.
    pub kind: TableFindingKind,
    /// The path of the file.
    pub file: String,
    /// The position in the file: a key of JSON, an entry or a row. Empty if it concerns the whole file.
    pub entry: String,
    /// What is there, and what was expected.
    pub detail: String,
}

impl TableFinding {
    /// A finding about a whole file.
    #[must_use]
    pub fn new(kind: TableFindingKind, file: &str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            file: file.to_owned(),
            entry: String::new(),
            detail: detail.into(),
        }
    }

    /// The same finding, at a position in the file.
    #[must_use]
    pub fn at(mut self, entry: impl Into<String>) -> Self {
        self.entry = entry.into();
        self
    }

    pub(crate) fn malformed(file: &str, detail: impl Into<String>) -> Self {
        Self::new(TableFindingKind::Malformed, file, detail)
    }
}

impl fmt::Display for TableFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.file)?;
        if !self.entry.is_empty() {
            write!(f, ", {}", self.entry)?;
        }
        write!(f, ": {}", self.detail)
    }
}

impl std::error::Error for TableFinding {}
