//! An Iceberg table that commits files in the primary, and S3 replication that copies them in any order.

use super::support::{Entry, FileKind, ListEntry, ManifestFile, encode_list, encode_puffin};
use std::collections::BTreeSet;
use twinlake_iceberg::{
    FileContent, TableMetadata, bucket_and_key, read_deletion_vectors, read_manifest,
    read_manifest_list,
};
use twinlake_sim::SimTableFiles;

pub const SOURCE: &str = "s3://lake-us";
pub const TARGET: &str = "s3://lake-in/replica";
/// The size of a data file that the entries of the encoder give.
const DATA_BYTES: usize = 1234;

/// The path of the replica of a file.
pub fn replica(path: &str) -> String {
    format!("{TARGET}{}", path.strip_prefix(SOURCE).unwrap())
}

struct Snapshot {
    id: i64,
    list: String,
    manifests: Vec<(String, usize)>,
}

/// A table and what it has committed.
pub struct LakeTable<'f> {
    files: &'f SimTableFiles,
    location: String,
    next: i64,
    snapshots: Vec<Snapshot>,
    log: Vec<String>,
    /// Live data files, with the snapshots that added them.
    data: Vec<(String, i64)>,
    /// The files that each commit added, without metadata.json.
    pub added: Vec<String>,
}

impl<'f> LakeTable<'f> {
    pub fn new(files: &'f SimTableFiles, name: &str) -> Self {
        Self {
            files,
            location: format!("{SOURCE}/sales/{name}"),
            next: 1,
            snapshots: Vec::new(),
            log: Vec::new(),
            data: Vec::new(),
            added: Vec::new(),
        }
    }

    fn write(&mut self, name: &str, content: Vec<u8>) -> (String, usize) {
        let path = format!("{}/{name}", self.location);
        let length = content.len();
        self.files.files().insert(path.clone(), content);
        self.added.push(path.clone());
        (path, length)
    }

    fn write_manifest(&mut self, entries: Vec<Entry>) -> (String, usize) {
        let name = format!("metadata/m{}-{}.avro", self.next, self.added.len());
        let manifest = ManifestFile {
            entries,
            codec: "deflate",
            ..ManifestFile::default()
        };
        self.write(&name, manifest.encode())
    }

    fn commit_snapshot(&mut self, manifests: Vec<(String, usize)>) -> String {
        let listed: Vec<ListEntry> = manifests
            .iter()
            .map(|(path, length)| ListEntry {
                path: path.clone(),
                length: i64::try_from(*length).unwrap(),
                summary: String::new(),
                rows: Some(1),
            })
            .collect();
        let name = format!("metadata/snap-{}.avro", self.next);
        let (list, _) = self.write(&name, encode_list(&listed, "null"));
        self.snapshots.push(Snapshot {
            id: self.next,
            list,
            manifests,
        });
        self.write_metadata()
    }

    fn write_metadata(&mut self) -> String {
        let current = self.snapshots.last().map_or(-1, |snapshot| snapshot.id);
        let snapshots: Vec<String> = self
            .snapshots
            .iter()
            .map(|one| {
                format!(
                    r#"{{"snapshot-id":{},"timestamp-ms":{},"manifest-list":"{}"}}"#,
                    one.id, one.id, one.list
                )
            })
            .collect();
        let log: Vec<String> = self
            .log
            .iter()
            .map(|path| format!(r#"{{"timestamp-ms":1,"metadata-file":"{path}"}}"#))
            .collect();
        let text = format!(
            r#"{{"format-version":2,"table-uuid":"u-1","location":"{}","current-snapshot-id":{current},"snapshots":[{}],"metadata-log":[{}],"properties":{{}}}}"#,
            self.location,
            snapshots.join(","),
            log.join(",")
        );
        let name = format!("metadata/{:05}-x.metadata.json", self.next);
        let path = format!("{}/{name}", self.location);
        self.files.files().insert(path.clone(), text.into_bytes());
        self.log.push(path.clone());
        self.next += 1;
        path
    }

    fn manifests(&self) -> Vec<(String, usize)> {
        let last = self.snapshots.last();
        last.map(|snapshot| snapshot.manifests.clone())
            .unwrap_or_default()
    }

    /// Adds rows: one data file. Returns the metadata.json.
    pub fn append(&mut self) -> String {
        self.append_files(1)
    }

    /// Adds rows in data files that one manifest names. Returns the metadata.json.
    pub fn append_files(&mut self, count: usize) -> String {
        let snapshot = self.next;
        let mut entries = Vec::new();
        for index in 0..count {
            let name = match index {
                0 => format!("data/d{snapshot}.parquet"),
                _ => format!("data/d{snapshot}-{index}.parquet"),
            };
            let (path, _) = self.write(&name, vec![0; DATA_BYTES]);
            self.data.push((path.clone(), snapshot));
            entries.push(Entry {
                path,
                snapshot,
                ..Entry::sample()
            });
        }
        let added = self.write_manifest(entries);
        let mut manifests = self.manifests();
        manifests.insert(0, added);
        self.commit_snapshot(manifests)
    }

    /// Deletes rows of the oldest data file by a deletion vector.
    pub fn delete_rows(&mut self) -> String {
        let Some((data, _)) = self.data.first().cloned() else {
            return self.append();
        };
        let name = format!("data/v{}.puffin", self.next);
        let (path, _) = self.write(&name, encode_puffin(&[(data.clone(), vec![1, 2, 3])]));
        let added = self.write_manifest(vec![Entry {
            path,
            snapshot: self.next,
            kind: FileKind::PositionDeletes,
            format: "PUFFIN".to_owned(),
            referenced: Some(data),
            ..Entry::sample()
        }]);
        let mut manifests = self.manifests();
        manifests.push(added);
        self.commit_snapshot(manifests)
    }

    /// Rewrites the manifests of the data files into one, and removes the deletes.
    pub fn rewrite_manifests(&mut self) -> String {
        let entries: Vec<Entry> = self
            .data
            .iter()
            .map(|(path, snapshot)| Entry {
                path: path.clone(),
                status: 0,
                snapshot: *snapshot,
                sequence: Some(1),
                ..Entry::sample()
            })
            .collect();
        if entries.is_empty() {
            return self.append();
        }
        let merged = self.write_manifest(entries);
        self.commit_snapshot(vec![merged])
    }

    /// Forgets all snapshots but the last, and deletes what only they name.
    pub fn expire(&mut self) -> String {
        self.expire_but(1)
    }

    /// Forgets all snapshots but the last ones, and deletes what only they name.
    pub fn expire_but(&mut self, kept: usize) -> String {
        let kept = self
            .snapshots
            .split_off(self.snapshots.len().saturating_sub(kept));
        let old = std::mem::replace(&mut self.snapshots, kept);
        let kept = self
            .snapshots
            .iter()
            .flat_map(|snapshot| &snapshot.manifests);
        let kept: BTreeSet<String> = kept.map(|(path, _)| path.clone()).collect();
        for snapshot in old {
            self.delete(&snapshot.list);
            for (path, _) in &snapshot.manifests {
                if !kept.contains(path) {
                    self.delete(path);
                }
            }
        }
        self.write_metadata()
    }

    /// Goes back to the first snapshot. The files of the others stay.
    pub fn roll_back(&mut self) -> String {
        self.snapshots.truncate(1);
        let kept = self.snapshots.first().map_or(0, |snapshot| snapshot.id);
        self.data.retain(|(_, snapshot)| *snapshot <= kept);
        self.write_metadata()
    }

    /// Deletes a file in both Regions, as a delete marker that is replicated does.
    pub fn delete(&self, path: &str) {
        let mut files = self.files.files();
        files.remove(path);
        files.remove(&replica(path));
    }

    /// The files of the primary that have not arrived.
    pub fn outstanding(&self) -> Vec<String> {
        let files = self.files.files();
        let of_primary = files.keys().filter(|path| path.starts_with(&self.location));
        of_primary
            .filter(|path| !files.contains_key(&replica(path)))
            .cloned()
            .collect()
    }

    /// Replicates one file.
    pub fn arrive(&self, path: &str) {
        let mut files = self.files.files();
        if let Some(content) = files.get(path).cloned() {
            files.insert(replica(path), content);
        }
    }

    /// Replicates everything.
    pub fn arrive_all(&self) {
        for path in self.outstanding() {
            self.arrive(&path);
        }
    }
}

/// What is wrong with the files that a metadata.json of the standby reaches: each must be there, in the
/// standby, and data files must have the size that the entry says.
pub fn faults(files: &SimTableFiles, metadata_path: &str) -> Vec<String> {
    let files = files.files();
    let mut faults = Vec::new();
    let mut read = |path: &str| -> Vec<u8> {
        let (bucket, _) = bucket_and_key(path).unwrap();
        if bucket != "lake-in" {
            faults.push(format!("{path} lies in the primary"));
        }
        files.get(path).cloned().unwrap_or_else(|| {
            faults.push(format!("{path} is missing"));
            Vec::new()
        })
    };
    let bytes = read(metadata_path);
    let Ok(metadata) = TableMetadata::parse(metadata_path, &bytes) else {
        faults.push(format!("{metadata_path} is no metadata"));
        return faults;
    };
    let mut wrong = Vec::new();
    for snapshot in metadata.snapshots {
        let list = snapshot.manifest_list.unwrap();
        let bytes = read(&list);
        for manifest in read_manifest_list(&list, &bytes).unwrap_or_default() {
            let bytes = read(&manifest.path);
            if i64::try_from(bytes.len()).unwrap() != manifest.length {
                wrong.push(format!("{} has another length", manifest.path));
            }
            let Ok(manifest) = read_manifest(&manifest.path, &bytes) else {
                continue;
            };
            for entry in manifest.entries {
                let content = read(&entry.path);
                if i64::try_from(content.len()).unwrap() != entry.size {
                    wrong.push(format!("{} has another size", entry.path));
                }
                if entry.content == FileContent::PositionDeletes {
                    for vector in read_deletion_vectors(&entry.path, &content).unwrap_or_default() {
                        if !vector.referenced_data_file.starts_with(TARGET) {
                            wrong.push(format!("{} deletes from the primary", entry.path));
                        }
                    }
                }
            }
        }
    }
    faults.extend(wrong);
    faults
}
