//! Relocates Apache Iceberg tables: rewrites the paths in a table's metadata and delete files, so that a
//! copy of the table's files in another location is a table of its own. Reads the logs of Delta and Hudi tables, of
//! which nothing has to be rewritten ([`table_log`]).
//!
//! Each file is a function of its bytes: bytes in, bytes out. What is not a path, or a length or a
//! statistic of a rewritten file, keeps its bytes. The order is that of the dependencies: delete files,
//! manifests, manifest lists, metadata.json; [`Relocations`] carries the new paths and lengths upwards.
//!
//! | file | function |
//! |---|---|
//! | position deletes in Parquet | [`relocate_position_deletes`] |
//! | deletion vectors in Puffin | [`relocate_deletion_vectors`] |
//! | manifest | [`relocate_manifest`], [`read_and_relocate_manifest`] |
//! | manifest list | [`relocate_manifest_list`] |
//! | metadata.json | [`relocate_metadata`] |
//!
//! Data files and equality deletes name no other file: they are not rewritten.
//!
//! Source: the Iceberg specification, versions 1 to 3, and the Puffin specification
//! (<https://iceberg.apache.org/spec/>, <https://iceberg.apache.org/puffin-spec/>).
//!
//! # Invariants
//!
//! - No I/O, no async code, no clock, no environment, no randomness, no AWS crate.
//! - What the crate does not know is a [`TableFinding`], and never passes: a format version, an encrypted
//!   file, a codec, a kind of file, a path outside the pairs.
//! - User data is never a path: bounds of the table's columns, partition values, defaults and free text
//!   stay, whatever they look like.

mod avro;
mod compression;
mod json_spans;
pub mod manifest;
pub mod manifest_list;
pub mod metadata;
mod own_prefix;
mod parquet_file;
mod path_map;
mod position_deletes;
mod puffin;
mod relocations;
pub mod replica_check;
mod table_finding;
pub mod table_log;

pub use manifest::{
    EntryStatus, FileContent, FileFormat, Manifest, ManifestEntry, RelocatedManifest,
    read_and_relocate_manifest, read_manifest, relocate_manifest,
};
pub use manifest_list::{
    ListedManifest, ManifestContent, read_manifest_list, relocate_manifest_list,
};
pub use metadata::{RelocatedMetadata, TableMetadata, TableSnapshot, relocate_metadata};
pub use own_prefix::{OWN_DIRECTORY, OwnPrefix, OwnPrefixError, PairingIdError};
pub use path_map::{FileLocations, PathMap, PathMapError, bucket_and_key, local_path};
pub use position_deletes::{
    PositionDeleteRows, RelocatedPositionDeletes, read_position_deletes, relocate_position_deletes,
};
pub use puffin::{DeletionVector, read_deletion_vectors, relocate_deletion_vectors};
pub use relocations::{PositionDeleteFacts, RelocatedFile, RelocatedKind, Relocations};
pub use table_finding::{TableFinding, TableFindingKind};
