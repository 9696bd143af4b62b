//! One look at the log of a table: what is read, and what was found.

use crate::iceberg::{CONCURRENT_FILES, HeldFiles, IcebergError};
use crate::ports::TableFiles;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::BTreeMap;
use twinlake_core::CallError;
use twinlake_core::log_replica::{AbsolutePaths, LogFindings, MissingLoggedFiles};
use twinlake_iceberg::table_log::CountedPaths;

/// The most files that are looked for singly. For more, the table's location is listed.
const MAX_SINGLE_LOOKS: usize = 1000;
/// The most paths that are kept of those that lead out of a table.
const MAX_ABSOLUTE_SAMPLES: usize = 5;

/// A file that a log names: the path below the table, and the sizes that are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedFile {
    pub(super) path: String,
    pub(super) size: NamedSize,
}

/// What a log says of the size of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedSize {
    Exact(u64),
    AtLeast(u64),
}

impl NamedSize {
    const fn is(self, size: u64) -> bool {
        match self {
            Self::Exact(expected) => size == expected,
            Self::AtLeast(least) => size >= least,
        }
    }
}

/// A look at one table.
pub(super) struct LogLook<'a, F> {
    files: &'a F,
    held: &'a HeldFiles,
    /// The location in the standby. Nothing outside it is read.
    location: String,
    is_late: &'a dyn Fn() -> bool,
    pub(super) findings: LogFindings,
    /// The file that was missing at the look before.
    pub(super) missing_before: Option<String>,
    /// Whether another look may find more: time ran out, or a file could not be read.
    pub(super) is_partial: bool,
}

impl<'a, F: TableFiles> LogLook<'a, F> {
    pub(super) fn new(
        files: &'a F,
        held: &'a HeldFiles,
        location: String,
        is_late: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            files,
            held,
            location,
            is_late,
            findings: LogFindings::default(),
            missing_before: None,
            is_partial: false,
        }
    }

    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.location)
    }

    /// Calls `visit` with the name, relative to the directory, and the size of each file in it.
    pub(super) async fn list(
        &self,
        directory: &str,
        mut visit: impl FnMut(&str, u64),
    ) -> Result<(), CallError> {
        let prefix = match directory {
            "" => format!("{}/", self.location),
            directory => format!("{}/{directory}/", self.location),
        };
        let mut visit_path = |path: &str, size: u64| {
            if let Some(name) = path.strip_prefix(&prefix) {
                visit(name, size);
            }
        };
        self.files.list(&prefix, &mut visit_path).await
    }

    /// Reads a file and what is in it; `None` if it is not there, cannot be read for good, or if time ran out. Then
    /// it is recorded so. Files are held in memory one at a time.
    pub(super) async fn read<T>(
        &mut self,
        name: &str,
        size: Option<u64>,
        parse: impl FnOnce(&str, Vec<u8>) -> Result<T, IcebergError>,
    ) -> Result<Option<T>, IcebergError> {
        let held = self.held;
        let _held = held.hold(size).await;
        if (self.is_late)() {
            self.is_partial = true;
            self.add_unread("there was no time to look at all of it");
            return Ok(None);
        }
        let path = self.path(name);
        let parsed = match self.files.get(&path).await {
            Ok(Some(bytes)) => parse(&path, bytes),
            Ok(None) => {
                self.add_missing(1, &path);
                return Ok(None);
            }
            Err(error) => Err(error.into()),
        };
        match parsed {
            Ok(parsed) => Ok(Some(parsed)),
            Err(IcebergError::Call(error)) if error.kind.is_transient() => Err(error.into()),
            Err(error) => {
                self.is_partial |= matches!(error, IcebergError::Call(_));
                self.add_unread(&error.to_string());
                Ok(None)
            }
        }
    }

    /// Records why not all of the log was looked at: the first reason stays.
    pub(super) fn add_unread(&mut self, reason: &str) {
        self.findings
            .unread
            .get_or_insert_with(|| reason.to_owned());
    }

    pub(super) fn add_missing(&mut self, count: u64, path: &str) {
        let missing = self
            .findings
            .missing
            .get_or_insert_with(|| MissingLoggedFiles {
                count: 0,
                first: path.to_owned(),
            });
        missing.count = missing.count.saturating_add(count);
        // The file that was named before stays named while it is missing: what else is missing may be new.
        if self.missing_before.as_deref() == Some(path) {
            path.clone_into(&mut missing.first);
        }
    }

    /// Records absolute paths that a file of the log names.
    pub(super) fn add_absolute(&mut self, name: &str, paths: &CountedPaths) {
        let absolute = absolute_paths(name, paths);
        merge(&mut self.findings.absolute, &absolute);
    }

    /// Looks for the files that the newest commits name: where they are many, by a listing of the table's location.
    pub(super) async fn look_for(&mut self, named: Vec<NamedFile>) -> Result<(), CallError> {
        let mut open: BTreeMap<String, NamedSize> = BTreeMap::new();
        open.extend(named.into_iter().map(|file| (file.path, file.size)));
        if (self.is_late)() {
            self.is_partial = true;
            self.add_unread("there was no time to look for its files");
            return Ok(());
        }
        let missing = match open.len() > MAX_SINGLE_LOOKS {
            true => {
                let mut left = open;
                self.list("", |name, size| {
                    if left.get(name).is_some_and(|expected| expected.is(size)) {
                        left.remove(name);
                    }
                })
                .await?;
                left.into_keys().collect()
            }
            false => self.look_singly(&open).await?,
        };
        let mut missing: Vec<String> = missing;
        missing.sort();
        for name in missing {
            let path = self.path(&name);
            self.add_missing(1, &path);
        }
        Ok(())
    }

    async fn look_singly(
        &self,
        open: &BTreeMap<String, NamedSize>,
    ) -> Result<Vec<String>, CallError> {
        let looks = open.iter().map(|(name, expected)| async move {
            let size = self.files.size(&self.path(name)).await?;
            let is_there = size.is_some_and(|size| expected.is(size));
            Ok::<_, CallError>((!is_there).then(|| name.clone()))
        });
        let looks = stream::iter(looks).buffer_unordered(CONCURRENT_FILES);
        let missing: Vec<Option<String>> = looks.try_collect().await?;
        Ok(missing.into_iter().flatten().collect())
    }
}

/// The absolute paths in a file of a log, each with the name of the file.
pub(super) fn absolute_paths(name: &str, paths: &CountedPaths) -> AbsolutePaths {
    let samples = paths.samples.iter();
    AbsolutePaths {
        count: paths.count,
        samples: samples.map(|path| format!("{name}: {path}")).collect(),
    }
}

pub(super) fn merge(all: &mut AbsolutePaths, more: &AbsolutePaths) {
    all.count = all.count.saturating_add(more.count);
    all.samples.extend(more.samples.iter().cloned());
    all.samples.truncate(MAX_ABSOLUTE_SAMPLES);
}
