//! What earlier relocations of a table did: so that a commit costs its new files, and not the table.

mod file_graph;
mod unneeded_files;

pub use unneeded_files::{REMOVAL_SECS, UNNEEDED_GRACE_SECS};

use file_graph::FileGraph;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::Timestamp;
use twinlake_core::topology::Epoch;
use twinlake_iceberg::{PathMap, RelocatedFile, RelocatedKind, Relocations, TableMetadata};
use unneeded_files::UnneededFiles;

/// The most snapshots that are remembered. Files of forgotten ones are looked for again where a new manifest
/// names them.
const MAX_SNAPSHOTS: usize = 2000;

/// What was rewritten of a table, and which files were found. A file of a table never changes, so it stays
/// true for as long as the rewritten files are there. What no commit needs any more is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelocationMemory {
    /// The directory of the rewritten files.
    pub prefix: String,
    /// The pairs of locations that they were rewritten by.
    pub map: String,
    /// The epoch in which they were rewritten. A takeover makes them the table's own: they are never removed
    /// after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The rewritten metadata.json, manifest lists, manifests and delete files.
    pub relocations: Relocations,
    /// Which of them name which.
    #[serde(default)]
    graph: FileGraph,
    /// Rewritten files that were there before, by their paths in the standby. They are never removed.
    #[serde(default)]
    adopted: BTreeSet<String>,
    #[serde(default)]
    unneeded: UnneededFiles,
    /// Rewritten manifests, by their source paths, of which not all files were found yet.
    pub unchecked: BTreeSet<String>,
    /// Snapshots of metadata that was relocated: all their files were found.
    pub snapshots: BTreeSet<i64>,
    /// The metadata.json files that the present look was asked for, by their source paths.
    #[serde(skip)]
    wanted: BTreeSet<String>,
}

/// What a run rewrote and read.
#[derive(Default)]
pub(super) struct RewrittenFiles {
    /// What is rewritten, earlier and now.
    pub(super) relocations: Relocations,
    /// Those that did not exist before, by their paths in the standby.
    pub(super) created: BTreeSet<String>,
    /// What files name that is rewritten, by their source paths.
    pub(super) names: BTreeMap<String, Vec<String>>,
}

impl RelocationMemory {
    /// An empty memory of an epoch.
    pub(super) fn of_epoch(epoch: Epoch) -> Self {
        Self {
            epoch: Some(epoch),
            ..Self::default()
        }
    }

    /// The memory, as far as it is one of this directory and these pairs, and its files are there. A file
    /// that is missing, such as after a job that deletes files that no table names, is forgotten with all
    /// that name it: if a commit still needs it, it is written again.
    pub(super) fn of(
        mut self,
        prefix: &str,
        map: &PathMap,
        existing: &BTreeMap<String, u64>,
    ) -> Self {
        let map = map.canonical();
        if self.prefix != prefix || self.map != map || !self.is_whole() {
            self.release_all();
            self = Self {
                prefix: prefix.to_owned(),
                map,
                epoch: self.epoch,
                unneeded: self.unneeded,
                ..Self::default()
            };
        }
        let is_there = |path: &str| existing.contains_key(path);
        self.unneeded
            .forget(|path| path.starts_with(prefix) && !is_there(path));
        let is_missing = |file: &RelocatedFile| existing.get(&file.path) != Some(&file.length);
        let files = self.relocations.iter();
        let missing: BTreeSet<String> = files
            .filter(|(_, file)| is_missing(file))
            .map(|(source, _)| source.to_owned())
            .collect();
        if !missing.is_empty() {
            let forgotten = self.graph.with_dependents(&missing);
            self.forget(|source| !forgotten.contains(source), &missing);
        }
        self
    }

    /// Whether it is known of each rewritten file what it names.
    fn is_whole(&self) -> bool {
        let mut files = self.relocations.iter();
        files.all(|(source, file)| match file.kind {
            RelocatedKind::Metadata | RelocatedKind::ManifestList | RelocatedKind::Manifest => {
                self.graph.knows(source)
            }
            RelocatedKind::PositionDeletes(_) | RelocatedKind::DeletionVectors => true,
        })
    }

    /// Forgets the files that a predicate of the source path does not keep. Those that this memory wrote
    /// are unneeded then, except the missing ones.
    fn forget(&mut self, is_kept: impl Fn(&str) -> bool, missing: &BTreeSet<String>) {
        let (adopted, unneeded) = (&mut self.adopted, &mut self.unneeded);
        self.relocations.retain(|source, file| {
            let is_kept = is_kept(source);
            if !is_kept && !adopted.remove(&file.path) && !missing.contains(source) {
                unneeded.release(file.path.clone());
            }
            is_kept
        });
        let relocations = &self.relocations;
        self.unchecked
            .retain(|source| relocations.get(source).is_some());
    }

    fn release_all(&mut self) {
        self.forget(|_| false, &BTreeSet::new());
    }

    /// Says that a metadata.json is looked at: what it needs is kept.
    pub(super) fn want(&mut self, metadata_source: &str) {
        self.wanted.insert(metadata_source.to_owned());
    }

    /// Ends a look.
    pub(super) fn end_look(&mut self) {
        self.wanted.clear();
    }

    /// Remembers what was rewritten. The files of the manifests are not known to be there.
    pub(super) fn remember(
        &mut self,
        rewritten: &RewrittenFiles,
        needed: &BTreeMap<String, Vec<(String, u64)>>,
    ) {
        for (source, named) in &rewritten.names {
            self.graph.record(source, named);
        }
        for (source, file) in rewritten.relocations.iter() {
            let known = self.relocations.get(source).map(|known| &known.path);
            if known == Some(&file.path) {
                continue;
            }
            if file.kind == RelocatedKind::Manifest {
                self.unchecked.insert(source.to_owned());
            }
            if let Some(other) = known.cloned()
                && !self.adopted.remove(&other)
            {
                self.unneeded.release(other);
            }
            let is_ours = self.unneeded.reclaim(&file.path);
            match is_ours || rewritten.created.contains(&file.path) {
                true => drop(self.adopted.remove(&file.path)),
                false => drop(self.adopted.insert(file.path.clone())),
            }
            self.relocations.insert(source.to_owned(), file.clone());
        }
        // A manifest that is rewritten again was read again.
        let known = |source: &&String| self.relocations.get(source).is_some();
        self.unchecked.extend(needed.keys().filter(known).cloned());
    }

    /// Remembers which manifests name only files that are there.
    pub(super) fn record_found(
        &mut self,
        needed: &BTreeMap<String, Vec<(String, u64)>>,
        missing: &BTreeSet<&str>,
    ) {
        for (manifest, files) in needed {
            if !files
                .iter()
                .any(|(path, _)| missing.contains(path.as_str()))
            {
                self.unchecked.remove(manifest);
            }
        }
    }

    /// Forgets that files were found, since some are gone: those of every manifest are looked for again, also
    /// where a later commit names them.
    pub(super) fn forget_found(&mut self) {
        let files = self.relocations.iter();
        let manifests = files.filter(|(_, file)| file.kind == RelocatedKind::Manifest);
        let manifests: Vec<String> = manifests.map(|(source, _)| source.to_owned()).collect();
        self.unchecked.extend(manifests);
        self.snapshots.clear();
        // Manifests are looked at where a list is read that names them.
        let lists = self.relocations.iter();
        let lists = lists.filter(|(_, file)| file.kind == RelocatedKind::ManifestList);
        let lists: BTreeSet<String> = lists.map(|(source, _)| source.to_owned()).collect();
        self.forget(|source| !lists.contains(source), &BTreeSet::new());
    }

    /// Remembers that all files of a metadata were found. What no metadata needs that the look was asked for
    /// is forgotten.
    pub(super) fn complete(&mut self, metadata: &TableMetadata) {
        if self.snapshots.len() > MAX_SNAPSHOTS {
            self.snapshots.clear();
        }
        let snapshots = metadata.snapshots.iter();
        self.snapshots
            .extend(snapshots.map(|snapshot| snapshot.snapshot_id));
        let reached = self.graph.reached(&self.wanted);
        self.forget(|source| reached.contains(source), &BTreeSet::new());
        self.graph.keep(&reached);
        self.wanted.clear();
    }

    /// Whether a file is being removed: it may not be used.
    pub(super) fn is_being_removed(&self, path: &str) -> bool {
        self.unneeded.is_being_removed(path)
    }

    /// Records that the catalog entry shows the commit that was relocated last.
    pub(super) fn record_shown(&mut self, now: Timestamp) {
        self.unneeded.record_shown(now);
    }

    /// Whether a file is unneeded, or is being removed.
    pub(super) fn is_unneeded(&self, path: &str) -> bool {
        self.unneeded.has(path)
    }

    /// The unneeded files that are to be removed.
    pub(super) fn due_removals(&self, now: Timestamp) -> impl Iterator<Item = &str> {
        self.unneeded.due(now)
    }

    /// Whether one of these paths is that of a file which was rewritten.
    pub(super) fn names_own_files(&self, paths: &BTreeSet<&str>) -> bool {
        let mut files = self.relocations.iter();
        let is_rewritten = files.any(|(_, file)| paths.contains(file.path.as_str()));
        is_rewritten || paths.iter().any(|path| self.unneeded.has(path))
    }

    /// Those of the paths that a listing of the present directory of rewritten files does not have, since the table had
    /// another location or identity then.
    pub(super) fn elsewhere(&self, paths: &[String]) -> Vec<String> {
        let paths = paths.iter();
        let elsewhere = paths.filter(|path| !path.starts_with(&self.prefix));
        elsewhere.cloned().collect()
    }

    /// Forgets unneeded files that are gone.
    pub(super) fn forget_removed(&mut self, gone: &BTreeSet<String>) {
        self.unneeded.forget_removed(gone);
    }

    /// Records that the unneeded files which are due are removed, and returns their paths. None of them is
    /// returned if the memory does not know all that the shown metadata.json needs: `named` are the paths in the
    /// standby of all manifest lists, and of manifests without a list, that it names. Files that may not be removed
    /// stay unneeded.
    pub(super) fn begin_removal(
        &mut self,
        named: &BTreeSet<&str>,
        now: Timestamp,
        may_be_removed: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let files = self.relocations.iter();
        let sources: BTreeMap<&str, &str> = files
            .map(|(source, file)| (file.path.as_str(), source))
            .collect();
        let roots: Option<BTreeSet<String>> = named
            .iter()
            .map(|path| sources.get(path).map(|source| (*source).to_owned()))
            .collect();
        let Some(roots) = roots else {
            return Vec::new();
        };
        let reached = self.graph.reached(&roots);
        let is_known = |source: &String| self.relocations.get(source).is_some();
        if !self.is_whole() || !reached.iter().all(is_known) {
            return Vec::new();
        }
        self.unneeded.begin_removal(now, may_be_removed)
    }
}
