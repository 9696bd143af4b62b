//! Iceberg tables by their files: relocates a table to another location, and checks a copy of a table.
//!
//! What to rewrite is decided by `twinlake_iceberg`, which does no I/O; this module reads and writes.

mod check;
mod fenced_files;
mod follow;
mod held_files;
mod relocate;
mod relocation_memory;
mod survey;

pub use check::{ReplicaReport, check_replica};
pub use fenced_files::FencedTableFiles;
pub use follow::{Follower, LOOK_INTERVAL_SECS, NextCheck, STOP_MARGIN_SECS};
pub(crate) use follow::{
    OVERDUE_SECS, SLOW_LOOK_INTERVAL_SECS, SLOW_LOOKS_AFTER_SECS, found_with, path_map,
};
pub use held_files::{HeldFiles, MAX_HELD_BYTES};
pub use relocate::{
    PendingFile, RelocationOutcome, RelocationRequest, RelocationSource, TableRelocation,
    WorkLimits, relocate_table, relocate_with_memory,
};
pub use relocation_memory::{REMOVAL_SECS, RelocationMemory, UNNEEDED_GRACE_SECS};
pub use survey::{SnapshotSummary, TableSummary, summarize_table};

use twinlake_core::CallError;
use twinlake_iceberg::{OwnPrefixError, PairingIdError, TableFinding, TableFindingKind};

/// Files that are read or written at the same time.
pub(crate) const CONCURRENT_FILES: usize = 8;

/// Why a table could not be relocated or checked.
#[derive(Debug, thiserror::Error)]
pub enum IcebergError {
    /// A file of the table is refused.
    #[error("{0}")]
    Refused(#[from] TableFinding),
    /// A file could not be read or written.
    #[error("{0}")]
    Call(#[from] CallError),
    /// The id of the pairing is not valid.
    #[error("{0}")]
    PairingId(#[from] PairingIdError),
}

impl From<OwnPrefixError> for IcebergError {
    fn from(error: OwnPrefixError) -> Self {
        match error {
            OwnPrefixError::PairingId(error) => Self::PairingId(error),
            OwnPrefixError::Location(finding) => Self::Refused(finding),
        }
    }
}

/// Receives the progress of work on the files of a table.
pub trait FileProgress {
    /// This many more files are to be read or written.
    fn files_expected(&self, count: usize);
    /// One of them is done.
    fn file_finished(&self);
}

/// The newest metadata file of a table by its name: in `<location>/metadata/`, the one with the highest
/// version. `None` if there is none.
///
/// Two files of one version come from writers that raced; only the catalog knows which one won. Then this
/// is an error that names both.
///
/// # Errors
/// The listing failed, or two files have the highest version.
pub async fn newest_metadata(
    files: &impl crate::ports::TableFiles,
    location: &str,
) -> Result<Option<String>, IcebergError> {
    let prefix = format!("{}/metadata/", location.trim_end_matches('/'));
    let mut newest: Option<(u64, Vec<String>)> = None;
    let mut visit = |path: &str, _: u64| {
        let Some(version) = path.strip_prefix(&prefix).and_then(metadata_version) else {
            return;
        };
        match &mut newest {
            Some((best, _)) if *best > version => {}
            Some((best, paths)) if *best == version => paths.push(path.to_owned()),
            Some(_) | None => newest = Some((version, vec![path.to_owned()])),
        }
    };
    files.list(&prefix, &mut visit).await?;
    match newest {
        None => Ok(None),
        Some((_, mut paths)) if paths.len() == 1 => Ok(paths.pop()),
        Some((_, paths)) => Err(TableFinding::new(
            TableFindingKind::Malformed,
            location,
            format!("several metadata files have the highest version: {}; name the one that the catalog names", paths.join(", ")),
        )
        .into()),
    }
}

/// The version in the name of a metadata file: `00003-<uuid>.metadata.json`, `v3.metadata.json`, each also
/// compressed.
fn metadata_version(name: &str) -> Option<u64> {
    let is_metadata = name.ends_with(".metadata.json") || name.ends_with(".metadata.json.gz");
    if name.contains('/') || !is_metadata {
        return None;
    }
    let end = name.find(['-', '.'])?;
    let digits = name.get(..end)?;
    digits.strip_prefix('v').unwrap_or(digits).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_both_kinds_of_names() {
        assert_eq!(metadata_version("00012-1b2c.metadata.json"), Some(12));
        assert_eq!(metadata_version("v3.gz.metadata.json"), Some(3));
        assert_eq!(metadata_version("v3.metadata.json.gz"), Some(3));
        for other in [
            "snap-1.avro",
            "x.metadata.json",
            "a/v1.metadata.json",
            "v1.stats",
        ] {
            assert_eq!(metadata_version(other), None, "{other}");
        }
    }
}
