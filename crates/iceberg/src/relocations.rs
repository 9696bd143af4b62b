//! What was rewritten: the memory of a relocation.
//!
//! A file of a table never changes once it is written, so a file that was relocated is not read again: a
//! later relocation takes its new path and its new length from here.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the entry of a position delete file says about its content, after the rows were rewritten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionDeleteFacts {
    /// Where the row groups begin.
    pub split_offsets: Vec<i64>,
    /// The size of each column in bytes, by field id.
    pub column_sizes: BTreeMap<i64, i64>,
    /// The least `file_path` of the rows; `None` if there are none.
    pub lower_path: Option<String>,
    /// The greatest `file_path` of the rows.
    pub upper_path: Option<String>,
}

/// What kind of file was rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelocatedKind {
    /// A metadata.json.
    Metadata,
    /// A list of manifests.
    ManifestList,
    /// A manifest of data files or of delete files.
    Manifest,
    /// A Parquet file of position deletes.
    PositionDeletes(PositionDeleteFacts),
    /// A Puffin file of deletion vectors.
    DeletionVectors,
}

/// A file that was rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelocatedFile {
    /// The path of the rewritten file.
    pub path: String,
    /// The length of the source file in bytes.
    pub source_length: u64,
    /// The length of the rewritten file in bytes.
    pub length: u64,
    /// What it is.
    pub kind: RelocatedKind,
}

/// The rewritten files of a table, by the path of the source file as the table's metadata has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocations(BTreeMap<String, RelocatedFile>);

impl Relocations {
    /// The rewritten file of a source path.
    #[must_use]
    pub fn get(&self, source_path: &str) -> Option<&RelocatedFile> {
        self.0.get(source_path)
    }

    /// Records a rewritten file.
    pub fn insert(&mut self, source_path: String, file: RelocatedFile) {
        self.0.insert(source_path, file);
    }

    /// Keeps the rewritten files that a predicate of their source path and themselves selects.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&str, &RelocatedFile) -> bool) {
        self.0.retain(|path, file| is_kept(path, file));
    }

    /// The rewritten files in the order of their source paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RelocatedFile)> {
        self.0.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// The number of rewritten files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was rewritten.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
