//! What earlier relocations of a table did: so that a commit costs its new files, and not the table.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_iceberg::{PathMap, RelocatedFile, RelocatedKind, Relocations, TableMetadata};

/// The most snapshots that are remembered. Files of forgotten ones are looked for again where a new manifest
/// names them.
const MAX_SNAPSHOTS: usize = 2000;

/// What was rewritten of a table, and which files were found. A file of a table never changes, so it stays
/// true for as long as the rewritten files are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelocationMemory {
    /// The directory of the rewritten files.
    pub prefix: String,
    /// The pairs of places that they were rewritten by.
    pub map: String,
    /// The rewritten manifest lists, manifests and delete files.
    pub relocations: Relocations,
    /// Rewritten manifests, by their source paths, of which not all files were found yet.
    pub unchecked: BTreeSet<String>,
    /// Snapshots of metadata that was relocated: all their files were found.
    pub snapshots: BTreeSet<i64>,
}

impl RelocationMemory {
    /// The memory, as far as it is one of this directory and these pairs. If a rewritten file is missing,
    /// such as after a job that deletes files that no table names, everything is looked at again: the
    /// source of the file may be gone too, and only the lists say whether it is still needed.
    pub(super) fn of(self, prefix: &str, map: &PathMap, existing: &BTreeMap<String, u64>) -> Self {
        let map = map.canonical();
        let is_there = |file: &RelocatedFile| existing.get(&file.path) == Some(&file.length);
        let is_valid = self.prefix == prefix
            && self.map == map
            && self.relocations.iter().all(|(_, file)| is_there(file));
        match is_valid {
            true => self,
            false => Self {
                prefix: prefix.to_owned(),
                map,
                ..Self::default()
            },
        }
    }

    /// Remembers what was rewritten. The files of the manifests are not known to be there.
    pub(super) fn remember(
        &mut self,
        relocations: &Relocations,
        needed: &BTreeMap<String, Vec<(String, u64)>>,
    ) {
        for (source, file) in relocations.iter() {
            let is_new = self.relocations.get(source).is_none();
            if is_new && file.kind == RelocatedKind::Manifest {
                self.unchecked.insert(source.to_owned());
            }
            if is_new {
                self.relocations.insert(source.to_owned(), file.clone());
            }
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
    }

    /// Remembers that all files of a metadata were found. Lists of other snapshots are forgotten.
    pub(super) fn complete(&mut self, metadata: &TableMetadata) {
        if self.snapshots.len() > MAX_SNAPSHOTS {
            self.snapshots.clear();
        }
        let snapshots = metadata.snapshots.iter();
        self.snapshots
            .extend(snapshots.map(|snapshot| snapshot.snapshot_id));
        let lists: BTreeSet<&str> = (metadata.snapshots.iter())
            .filter_map(|snapshot| snapshot.manifest_list.as_deref())
            .collect();
        self.relocations.retain(|source, file| {
            file.kind != RelocatedKind::ManifestList || lists.contains(source)
        });
    }
}
