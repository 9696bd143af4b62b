//! Looks at the log of a Delta table.

use super::log_look::{LogLook, NamedFile, NamedSize, absolute_paths, merge};
use crate::iceberg::IcebergError;
use crate::ports::TableFiles;
use twinlake_core::log_replica::{AbsolutePaths, LogFindings};
use twinlake_iceberg::table_log::LogFileContent;
use twinlake_iceberg::table_log::delta::{
    AddedFile, DELTA_LOG_DIRECTORY, DeltaActions, DeltaCheckpoint, DeltaLog, LAST_CHECKPOINT,
    SIDECAR_DIRECTORY, read_checkpoint_file, read_last_checkpoint,
};

/// The most commits that are read: those since the checkpoint.
const MAX_COMMITS: usize = 100;
/// The least number of commits that are read, if there are so many: also from before the checkpoint.
const MIN_COMMITS: usize = 10;

fn in_log(name: &str) -> String {
    format!("{DELTA_LOG_DIRECTORY}/{name}")
}

fn parse_checkpoint_file(path: &str, bytes: Vec<u8>) -> Result<LogFileContent, IcebergError> {
    Ok(read_checkpoint_file(path, bytes)?)
}

impl From<&AddedFile> for NamedFile {
    fn from(file: &AddedFile) -> Self {
        Self {
            path: file.path.clone(),
            size: match file.is_least_size {
                true => NamedSize::AtLeast(file.size),
                false => NamedSize::Exact(file.size),
            },
        }
    }
}

impl<F: TableFiles> LogLook<'_, F> {
    /// Looks at the newest commits and the checkpoint. Of a checkpoint that is known, the paths are not read again.
    pub(super) async fn look_at_delta(&mut self, known: &LogFindings) -> Result<(), IcebergError> {
        let mut log = DeltaLog::default();
        self.list(DELTA_LOG_DIRECTORY, |name, size| log.add(name, size))
            .await?;
        if log.is_empty() {
            let first = self.path(&in_log(&DeltaLog::commit_name(0)));
            self.add_missing(1, &first);
            return Ok(());
        }
        if let Some(missing) = log.missing_versions() {
            let first = self.path(&in_log(&DeltaLog::commit_name(missing.first)));
            self.add_missing(missing.count, &first);
        }
        let checkpoint = log.checkpoint();
        self.look_at_last_checkpoint(&log, checkpoint.as_ref())
            .await?;
        let mut actions = DeltaActions::default();
        for (version, size) in log.newest_commits(MIN_COMMITS, MAX_COMMITS) {
            let name = in_log(&DeltaLog::commit_name(version));
            let read = self
                .read(&name, Some(size), |path, bytes| {
                    Ok(actions.read_commit(path, &bytes)?)
                })
                .await?;
            if let Some(content) = read {
                self.add_absolute(&name, &content.absolute);
            }
        }
        if let Some(checkpoint) = checkpoint {
            self.look_at_checkpoint(&log, &checkpoint, known).await?;
        }
        let added = actions.added_files().into_iter().map(NamedFile::from);
        let added = added.collect();
        Ok(self.look_for(added).await?)
    }

    /// Compares the checkpoint that `_last_checkpoint` names with those that are there: a newer one will do.
    async fn look_at_last_checkpoint(
        &mut self,
        log: &DeltaLog,
        newest: Option<&DeltaCheckpoint>,
    ) -> Result<(), IcebergError> {
        if !log.has_last_checkpoint() {
            return Ok(());
        }
        let name = in_log(LAST_CHECKPOINT);
        let named = self
            .read(&name, None, |path, bytes| {
                Ok(read_last_checkpoint(path, &bytes)?)
            })
            .await?;
        let newest = newest.map(|checkpoint| checkpoint.version);
        if let Some(named) = named.filter(|named| newest < Some(*named)) {
            let path = self.path(&in_log(&format!("{named:020}.checkpoint.parquet")));
            self.add_missing(1, &path);
        }
        Ok(())
    }

    async fn look_at_checkpoint(
        &mut self,
        log: &DeltaLog,
        checkpoint: &DeltaCheckpoint,
        known: &LogFindings,
    ) -> Result<(), IcebergError> {
        let names: Vec<&str> = checkpoint
            .files
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let id = names.join(" ");
        if let Some((_, absolute)) = known.checkpoint.as_ref().filter(|(known, _)| *known == id) {
            merge(&mut self.findings.absolute, absolute);
            self.findings.checkpoint = Some((id, absolute.clone()));
            return Ok(());
        }
        let mut absolute = AbsolutePaths::default();
        let (mut is_whole, mut sidecars) = (true, Vec::new());
        for (name, size) in &checkpoint.files {
            let name = in_log(name);
            match self.read(&name, Some(*size), parse_checkpoint_file).await? {
                Some(content) => {
                    merge(&mut absolute, &absolute_paths(&name, &content.absolute));
                    sidecars.extend(content.sidecars);
                }
                None => is_whole = false,
            }
        }
        for (sidecar, size) in sidecars {
            let name = in_log(&format!("{SIDECAR_DIRECTORY}/{sidecar}"));
            if log.sidecar(&sidecar) != Some(size) {
                let path = self.path(&name);
                self.add_missing(1, &path);
                is_whole = false;
                continue;
            }
            match self.read(&name, Some(size), parse_checkpoint_file).await? {
                Some(content) => merge(&mut absolute, &absolute_paths(&name, &content.absolute)),
                None => is_whole = false,
            }
        }
        merge(&mut self.findings.absolute, &absolute);
        if is_whole {
            self.findings.checkpoint = Some((id, absolute));
        }
        Ok(())
    }
}
