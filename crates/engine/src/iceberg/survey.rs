//! What a metadata.json says about a table: its snapshots, and which of their files are relocated.

use super::IcebergError;
use crate::ports::TableFiles;
use twinlake_iceberg::{
    OWN_DIRECTORY, TableFinding, TableFindingKind, TableMetadata, read_manifest_list,
};

/// A snapshot of a table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SnapshotSummary {
    /// The id.
    pub id: i64,
    /// When it was made, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// What the commit did.
    pub operation: String,
    /// The branches and tags that name it.
    pub references: Vec<String>,
    /// It is the current one.
    pub is_current: bool,
    /// The number of its manifests, and of those that a relocation wrote; `None` if its manifest list does
    /// not exist.
    pub manifests: Option<(usize, usize)>,
}

/// A table by one of its metadata files.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableSummary {
    /// The format version.
    pub format_version: i64,
    /// The id of the table.
    pub uuid: String,
    /// Where the table lies.
    pub location: String,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotSummary>,
}

/// Reads a metadata.json and the manifest lists of its snapshots.
///
/// # Errors
/// The metadata or a list is refused, does not exist, or could not be read.
pub async fn summarize_table(
    files: &impl TableFiles,
    metadata_path: &str,
) -> Result<TableSummary, IcebergError> {
    let bytes = files.get(metadata_path).await?.ok_or_else(|| {
        TableFinding::new(
            TableFindingKind::MissingFile,
            metadata_path,
            "it does not exist",
        )
    })?;
    let metadata = TableMetadata::parse(metadata_path, &bytes)?;
    let mut snapshots = Vec::new();
    for snapshot in &metadata.snapshots {
        let names = metadata
            .refs
            .iter()
            .filter(|(_, found)| found.snapshot_id == snapshot.snapshot_id);
        let references = names
            .map(|(name, found)| format!("{} {name}", found.kind))
            .collect();
        let manifests = match &snapshot.manifest_list {
            None => Some(count_own(&snapshot.manifests)),
            Some(path) => match files.get(path).await? {
                None => None,
                Some(bytes) => {
                    let listed = read_manifest_list(path, &bytes)?;
                    let paths: Vec<String> =
                        listed.into_iter().map(|manifest| manifest.path).collect();
                    Some(count_own(&paths))
                }
            },
        };
        snapshots.push(SnapshotSummary {
            id: snapshot.snapshot_id,
            timestamp_ms: snapshot.timestamp_ms,
            operation: snapshot
                .summary
                .get("operation")
                .cloned()
                .unwrap_or_default(),
            references,
            is_current: metadata.current_snapshot_id == Some(snapshot.snapshot_id),
            manifests,
        });
    }
    Ok(TableSummary {
        format_version: metadata.format_version,
        uuid: metadata.table_uuid.unwrap_or_default(),
        location: metadata.location,
        snapshots,
    })
}

/// The number of paths, and of those in the directory of relocations.
fn count_own(paths: &[String]) -> (usize, usize) {
    let own = format!("/{OWN_DIRECTORY}/");
    (
        paths.len(),
        paths.iter().filter(|path| path.contains(&own)).count(),
    )
}
