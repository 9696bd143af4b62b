//! Checks a copy of a table, whatever tool made it: every file that the metadata names, and its size.

use super::{CONCURRENT_FILES, FileProgress, IcebergError};
use crate::ports::TableFiles;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::BTreeMap;
use twinlake_core::CallError;
use twinlake_core::render::counted;
use twinlake_iceberg::replica_check::{
    check_delete_file, check_manifest, check_manifest_list, check_metadata, is_checked_content,
};
use twinlake_iceberg::{
    EntryStatus, FileLocations, ListedManifest, ManifestContent, ManifestEntry, TableFinding,
    TableFindingKind, TableMetadata, TableSnapshot,
};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaReport {
    /// What is wrong.
    pub findings: Vec<TableFinding>,
    /// The number of snapshots.
    pub snapshots: usize,
    /// The number of manifests.
    pub manifests: usize,
    /// The number of live data files.
    pub data_files: usize,
    /// The number of live delete files.
    pub delete_files: usize,
}

struct Checker<'a, F, P> {
    files: &'a F,
    progress: &'a P,
    locations: &'a FileLocations,
}

/// The size of a file that an entry gives, with the position of the entry.
struct ExpectedSize {
    size: u64,
    manifest: String,
    entry: usize,
}

/// What a manifest names.
#[derive(Default)]
struct CheckedManifest {
    findings: Vec<TableFinding>,
    data: Vec<(String, ExpectedSize)>,
    deletes: Vec<(String, ExpectedSize)>,
    /// Delete files whose content is checked.
    content: Vec<ManifestEntry>,
}

/// Checks the copy of a table that a metadata.json describes: all its snapshots. `locations` are where its
/// files may lie; what lies elsewhere is a finding, and is not read.
///
/// # Errors
/// The metadata.json is refused or does not exist, or a file could not be read. What is wrong with another
/// file is a finding.
pub async fn check_replica(
    files: &impl TableFiles,
    metadata_path: &str,
    locations: &FileLocations,
    progress: &impl FileProgress,
) -> Result<ReplicaReport, IcebergError> {
    let bytes = files.get(metadata_path).await?;
    let bytes = bytes.ok_or_else(|| missing(metadata_path, ""))?;
    let metadata = TableMetadata::parse(metadata_path, &bytes)?;
    let checker = Checker {
        files,
        progress,
        locations,
    };
    let mut report = ReplicaReport {
        findings: check_metadata(metadata_path, &metadata, locations),
        snapshots: metadata.snapshots.len(),
        ..ReplicaReport::default()
    };
    checker
        .check_statistics(metadata_path, &metadata, &mut report)
        .await?;
    let manifests = checker.check_lists(&metadata, &mut report).await?;
    report.manifests = manifests.len();
    checker
        .check_manifests(&metadata, &manifests, &mut report)
        .await?;
    report
        .findings
        .sort_by(|a, b| (&a.file, &a.entry, a.kind).cmp(&(&b.file, &b.entry, b.kind)));
    report.findings.dedup();
    Ok(report)
}

fn missing(path: &str, named_by: &str) -> TableFinding {
    TableFinding::new(TableFindingKind::MissingFile, path, "it does not exist").at(named_by)
}

impl<F: TableFiles, P: FileProgress> Checker<'_, F, P> {
    async fn check_statistics(
        &self,
        metadata_path: &str,
        metadata: &TableMetadata,
        report: &mut ReplicaReport,
    ) -> Result<(), CallError> {
        let files = metadata
            .statistics
            .iter()
            .chain(&metadata.partition_statistics);
        for file in files.filter(|file| self.locations.covers(&file.statistics_path)) {
            let path = &file.statistics_path;
            match self.files.size(path).await? {
                Some(size) if size == file.file_size_in_bytes => {}
                Some(size) => report.findings.push(TableFinding::new(
                    TableFindingKind::StaleStatistics,
                    path,
                    format!(
                        "it has {}; {metadata_path} says {}",
                        counted(size, "byte"),
                        file.file_size_in_bytes
                    ),
                )),
                None => report.findings.push(missing(path, metadata_path)),
            }
        }
        Ok(())
    }

    /// The manifests of all snapshots, with the entries that list them: a manifest is listed by each
    /// snapshot that reads it.
    async fn check_lists(
        &self,
        metadata: &TableMetadata,
        report: &mut ReplicaReport,
    ) -> Result<BTreeMap<String, Vec<ListedManifest>>, CallError> {
        let mut manifests: BTreeMap<String, Vec<ListedManifest>> = BTreeMap::new();
        self.progress.files_expected(metadata.snapshots.len());
        let mut checked = stream::iter(
            metadata
                .snapshots
                .iter()
                .map(|snapshot| self.check_list(snapshot)),
        )
        .buffer_unordered(CONCURRENT_FILES);
        while let Some((listed, findings)) = checked.try_next().await? {
            report.findings.extend(findings);
            for manifest in listed {
                let entries = manifests.entry(manifest.path.clone()).or_default();
                if !entries.contains(&manifest) {
                    entries.push(manifest);
                }
            }
        }
        Ok(manifests)
    }

    async fn check_list(
        &self,
        snapshot: &TableSnapshot,
    ) -> Result<(Vec<ListedManifest>, Vec<TableFinding>), CallError> {
        let Some(path) = &snapshot.manifest_list else {
            let listed = |path: &String| ListedManifest {
                path: path.clone(),
                length: -1,
                content: ManifestContent::Data,
                sequence_number: 0,
                counts: [None; 3],
                first_row_id: None,
            };
            return Ok((snapshot.manifests.iter().map(listed).collect(), Vec::new()));
        };
        if !self.locations.covers(path) {
            return Ok((Vec::new(), Vec::new()));
        }
        let bytes = self.files.get(path).await?;
        self.progress.file_finished();
        let Some(bytes) = bytes else {
            let named_by = format!("the manifest list of snapshot {}", snapshot.snapshot_id);
            return Ok((Vec::new(), vec![missing(path, &named_by)]));
        };
        let checked = check_manifest_list(path, &bytes, snapshot, self.locations);
        Ok(checked.unwrap_or_else(|finding| (Vec::new(), vec![finding])))
    }

    async fn check_manifests(
        &self,
        metadata: &TableMetadata,
        manifests: &BTreeMap<String, Vec<ListedManifest>>,
        report: &mut ReplicaReport,
    ) -> Result<(), CallError> {
        let (mut data, mut deletes) = (BTreeMap::new(), BTreeMap::new());
        let mut contents = Vec::new();
        self.progress.files_expected(manifests.len());
        let mut checked = stream::iter(
            manifests
                .iter()
                .map(|(path, listed)| self.check_one(path, listed)),
        )
        .buffer_unordered(CONCURRENT_FILES);
        while let Some(manifest) = checked.try_next().await? {
            report.findings.extend(manifest.findings);
            data.extend(manifest.data);
            deletes.extend(manifest.deletes);
            contents.extend(manifest.content);
        }
        drop(checked);
        report.data_files = data.len();
        report.delete_files = deletes.len();
        data.append(&mut deletes);
        report
            .findings
            .extend(self.check_sizes(&metadata.location, data).await?);
        self.progress.files_expected(contents.len());
        let mut checked = stream::iter(contents.iter().map(|entry| self.check_content(entry)))
            .buffer_unordered(CONCURRENT_FILES);
        while let Some(findings) = checked.try_next().await? {
            report.findings.extend(findings);
        }
        Ok(())
    }

    async fn check_one(
        &self,
        path: &str,
        listed: &[ListedManifest],
    ) -> Result<CheckedManifest, CallError> {
        let mut checked = CheckedManifest::default();
        if !self.locations.covers(path) {
            return Ok(checked);
        }
        let bytes = self.files.get(path).await?;
        self.progress.file_finished();
        let Some(bytes) = bytes else {
            checked.findings.push(missing(path, "a manifest"));
            return Ok(checked);
        };
        for entry in listed {
            // Of a manifest that the metadata names itself (version 1), no length is known.
            if entry.length >= 0 && i64::try_from(bytes.len()) != Ok(entry.length) {
                let problem = format!(
                    "it has {}; a manifest list says {}: readers that trust it drop files",
                    counted(bytes.len(), "byte"),
                    entry.length
                );
                let finding =
                    TableFinding::new(TableFindingKind::WrongManifestLength, path, problem);
                checked.findings.push(finding);
            }
            match check_manifest(path, &bytes, entry, self.locations) {
                Ok((manifest, findings)) => {
                    checked.findings.extend(findings);
                    checked.add_entries(path, manifest.entries, self.locations);
                }
                Err(finding) => checked.findings.push(finding),
            }
        }
        Ok(checked)
    }

    /// Compares the sizes of files with those of their entries: by a listing of the table's location, and
    /// singly outside of it.
    async fn check_sizes(
        &self,
        location: &str,
        expected: BTreeMap<String, ExpectedSize>,
    ) -> Result<Vec<TableFinding>, CallError> {
        let mut open = expected;
        let mut findings = Vec::new();
        let prefix = format!("{}/", location.trim_end_matches('/'));
        let mut visit = |path: &str, size: u64| {
            if let Some(expected) = open.remove(path) {
                findings.extend(expected.compare(path, Some(size)));
            }
        };
        if self.locations.covers(location) {
            self.files.list(&prefix, &mut visit).await?;
        }
        self.progress.files_expected(open.len());
        let mut sizes = stream::iter(open.iter().map(|(path, expected)| async move {
            let found = self.files.size(path).await?;
            self.progress.file_finished();
            Ok::<_, CallError>(expected.compare(path, found))
        }))
        .buffer_unordered(CONCURRENT_FILES);
        while let Some(found) = sizes.try_next().await? {
            findings.extend(found);
        }
        Ok(findings)
    }

    async fn check_content(&self, entry: &ManifestEntry) -> Result<Vec<TableFinding>, CallError> {
        let bytes = self.files.get(&entry.path).await?;
        self.progress.file_finished();
        // A file that is missing is found by its size.
        Ok(bytes
            .map(|bytes| check_delete_file(entry, bytes.into(), self.locations))
            .unwrap_or_default())
    }
}

impl CheckedManifest {
    fn add_entries(
        &mut self,
        manifest: &str,
        entries: Vec<ManifestEntry>,
        locations: &FileLocations,
    ) {
        for (index, entry) in entries.into_iter().enumerate() {
            if entry.status == EntryStatus::Deleted || !locations.covers(&entry.path) {
                continue;
            }
            let expected = ExpectedSize {
                size: u64::try_from(entry.size).unwrap_or_default(),
                manifest: manifest.to_owned(),
                entry: index,
            };
            let is_data = entry.content == twinlake_iceberg::FileContent::Data;
            let list = if is_data {
                &mut self.data
            } else {
                &mut self.deletes
            };
            list.push((entry.path.clone(), expected));
            if is_checked_content(&entry) && !self.content.contains(&entry) {
                self.content.push(entry);
            }
        }
    }
}

impl ExpectedSize {
    fn compare(&self, path: &str, found: Option<u64>) -> Option<TableFinding> {
        let at = format!("entry {} of {}", self.entry, self.manifest);
        match found {
            None => Some(missing(path, &at)),
            Some(size) if size == self.size => None,
            Some(size) => {
                let problem = format!(
                    "it has {}; the entry says {}",
                    counted(size, "byte"),
                    self.size
                );
                Some(TableFinding::new(TableFindingKind::WrongFileSize, path, problem).at(at))
            }
        }
    }
}
