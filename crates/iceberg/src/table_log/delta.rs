//! The log of a Delta table: commits, checkpoints, and the actions in them.

use super::checkpoint;
use super::log_file::{LogFileContent, add_path, add_vector};
use super::vector_path::vector_path;
use super::{LoggedPath, uri_path};
use crate::table_finding::TableFinding;
use bytes::Bytes;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The directory of the log in a table.
pub const DELTA_LOG_DIRECTORY: &str = "_delta_log";
/// The directory in the log with the sidecars of checkpoints.
pub const SIDECAR_DIRECTORY: &str = "_sidecars";
/// The name of the file that names a checkpoint.
pub const LAST_CHECKPOINT: &str = "_last_checkpoint";

/// The digits of a version in the name of a file.
const VERSION_DIGITS: usize = 20;

/// A checkpoint: its files by their names in the log, with their sizes. Several if it has parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaCheckpoint {
    /// The version of the table.
    pub version: u64,
    /// The files.
    pub files: Vec<(String, u64)>,
}

/// What a listing of a log shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeltaLog {
    commits: BTreeMap<u64, u64>,
    checkpoints: BTreeMap<u64, Vec<(String, u64)>>,
    parts: BTreeMap<(u64, u32), BTreeMap<u32, (String, u64)>>,
    sidecars: BTreeMap<String, u64>,
    has_last_checkpoint: bool,
}

/// Versions that a log lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingVersions {
    /// Their number.
    pub count: u64,
    /// The lowest.
    pub first: u64,
}

impl DeltaLog {
    /// Adds a file of the listing, by its name relative to the log.
    pub fn add(&mut self, name: &str, size: u64) {
        if let Some(sidecar) = name.strip_prefix(&format!("{SIDECAR_DIRECTORY}/")) {
            self.sidecars.insert(sidecar.to_owned(), size);
            return;
        }
        if name == LAST_CHECKPOINT {
            self.has_last_checkpoint = true;
            return;
        }
        let Some((version, kind)) = name.split_once('.') else {
            return;
        };
        let Some(version) = parse_digits(version, VERSION_DIGITS) else {
            return;
        };
        let file = (name.to_owned(), size);
        let words: Vec<&str> = kind.split('.').collect();
        match words.as_slice() {
            ["json"] => drop(self.commits.insert(version, size)),
            ["checkpoint", "parquet"] | ["checkpoint", _, "parquet" | "json"] => {
                self.checkpoints.entry(version).or_default().push(file);
            }
            ["checkpoint", part, parts, "parquet"] => {
                let numbers = part.parse::<u32>().ok().zip(parts.parse::<u32>().ok());
                if let Some((part, parts)) = numbers.filter(|(part, of)| (1..=*of).contains(part)) {
                    let of_checkpoint = self.parts.entry((version, parts)).or_default();
                    of_checkpoint.insert(part, file);
                }
            }
            _ => {}
        }
    }

    /// Whether there is neither a commit nor a checkpoint.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.checkpoint().is_none()
    }

    /// Whether there is a file that names a checkpoint.
    #[must_use]
    pub fn has_last_checkpoint(&self) -> bool {
        self.has_last_checkpoint
    }

    /// The newest checkpoint of which all parts are there.
    #[must_use]
    pub fn checkpoint(&self) -> Option<DeltaCheckpoint> {
        let whole = self.checkpoints.iter().next_back();
        let whole =
            whole.and_then(|(version, files)| Some((*version, vec![files.last()?.clone()])));
        let mut parts = self.parts.iter().rev();
        let parts = parts.find(|((_, of), found)| usize::try_from(*of) == Ok(found.len()));
        let parts =
            parts.map(|((version, _), found)| (*version, found.values().cloned().collect()));
        let newest = whole
            .into_iter()
            .chain(parts)
            .max_by_key(|(version, _)| *version);
        newest.map(|(version, files)| DeltaCheckpoint { version, files })
    }

    /// The size of a sidecar by its name; `None` if it is not there.
    #[must_use]
    pub fn sidecar(&self, name: &str) -> Option<u64> {
        self.sidecars.get(name).copied()
    }

    /// The newest commits, oldest first, by version with the sizes: those since the checkpoint and at least `few`,
    /// and no more than `most`.
    #[must_use]
    pub fn newest_commits(&self, few: usize, most: usize) -> Vec<(u64, u64)> {
        let checkpoint = self.checkpoint().map(|checkpoint| checkpoint.version);
        let is_after = |version: u64| checkpoint.is_none_or(|checkpoint| version > checkpoint);
        let newest = self.commits.iter().rev().take(most).enumerate();
        let newest = newest.take_while(|(index, (version, _))| *index < few || is_after(**version));
        let mut newest: Vec<_> = newest
            .map(|(_, (version, size))| (*version, *size))
            .collect();
        newest.reverse();
        newest
    }

    /// The versions that are missing between the newest checkpoint, or the first version, and the newest commit.
    #[must_use]
    pub fn missing_versions(&self) -> Option<MissingVersions> {
        let newest = *self.commits.keys().next_back()?;
        let checkpoint = self.checkpoint().map(|checkpoint| checkpoint.version);
        let from = match checkpoint {
            Some(checkpoint) if checkpoint >= newest => return None,
            Some(checkpoint) => checkpoint + 1,
            None => 0,
        };
        let mut first = from;
        let mut found: u64 = 0;
        for version in self.commits.range(from..).map(|(version, _)| *version) {
            found += 1;
            if version == first {
                first = first.saturating_add(1);
            }
        }
        let expected = (newest - from).saturating_add(1);
        let count = expected.saturating_sub(found);
        (count > 0).then_some(MissingVersions { count, first })
    }

    /// The name of a commit's file.
    #[must_use]
    pub fn commit_name(version: u64) -> String {
        format!("{version:0VERSION_DIGITS$}.json")
    }
}

/// A number of so many digits.
fn parse_digits(text: &str, digits: usize) -> Option<u64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The version of the checkpoint that `_last_checkpoint` names.
///
/// # Errors
/// It is not what the protocol says.
pub fn read_last_checkpoint(path: &str, bytes: &[u8]) -> Result<u64, TableFinding> {
    #[derive(Deserialize)]
    struct LastCheckpoint {
        version: u64,
    }
    let parsed: Result<LastCheckpoint, _> = serde_json::from_slice(bytes);
    let parsed = parsed.map_err(|error| TableFinding::malformed(path, error.to_string()))?;
    Ok(parsed.version)
}

/// A file of a table that a commit adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedFile {
    /// The path below the table.
    pub path: String,
    /// The size in bytes; the least size if it is a file of deletion vectors.
    pub size: u64,
    /// Whether a longer file is the right one, too.
    pub is_least_size: bool,
}

/// What the read commits did, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeltaActions {
    /// The live files by path and deletion vector.
    live: BTreeMap<(String, String), Vec<AddedFile>>,
}

#[derive(Deserialize)]
struct LogLine {
    add: Option<FileAction>,
    remove: Option<FileAction>,
    cdc: Option<FileAction>,
    sidecar: Option<SidecarAction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileAction {
    path: String,
    #[serde(default)]
    size: Option<i64>,
    #[serde(default)]
    deletion_vector: Option<VectorDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VectorDescriptor {
    storage_type: String,
    path_or_inline_dv: String,
    #[serde(default)]
    offset: Option<i64>,
    #[serde(default)]
    size_in_bytes: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SidecarAction {
    path: String,
    size_in_bytes: i64,
}

impl VectorDescriptor {
    /// Tells one vector of a data file from another.
    fn unique_id(&self) -> String {
        let offset = self
            .offset
            .map(|offset| format!("@{offset}"))
            .unwrap_or_default();
        format!("{}{}{offset}", self.storage_type, self.path_or_inline_dv)
    }

    /// The file in the table that holds the vector, with its least size; `None` if it is inline, absolute, or of a
    /// kind that is not known.
    fn file(&self) -> Option<AddedFile> {
        if self.storage_type != "u" {
            return None;
        }
        let end = [self.offset, self.size_in_bytes].into_iter().flatten();
        let end = end.map(|bytes| u64::try_from(bytes).unwrap_or_default());
        Some(AddedFile {
            path: vector_path(&self.path_or_inline_dv)?,
            size: end.fold(0, u64::saturating_add),
            is_least_size: true,
        })
    }
}

impl LogFileContent {
    fn add_action(&mut self, file: &str, action: &FileAction) -> Result<(), TableFinding> {
        add_path(&mut self.absolute, &action.path);
        if let Some(vector) = &action.deletion_vector {
            let (storage, path) = (&vector.storage_type, &vector.path_or_inline_dv);
            add_vector(&mut self.absolute, storage, path)
                .map_err(|problem| TableFinding::malformed(file, problem).at(&action.path))?;
        }
        Ok(())
    }
}

/// The lines of a commit, or of a checkpoint in JSON.
fn lines<'a>(
    path: &'a str,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<LogLine, TableFinding>> + 'a {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines.map(move |(index, line)| {
        let parsed: Result<LogLine, _> = serde_json::from_slice(line);
        parsed.map_err(|error| {
            TableFinding::malformed(path, error.to_string()).at(format!("line {}", index + 1))
        })
    })
}

impl DeltaActions {
    /// Reads a commit: what it adds is live from then on, and what it removes is not.
    ///
    /// # Errors
    /// It is not what the protocol says.
    pub fn read_commit(
        &mut self,
        path: &str,
        bytes: &[u8],
    ) -> Result<LogFileContent, TableFinding> {
        let mut content = LogFileContent::default();
        let mut added = Vec::new();
        for line in lines(path, bytes) {
            let line = line?;
            for action in [&line.add, &line.remove, &line.cdc].into_iter().flatten() {
                content.add_action(path, action)?;
            }
            if let Some(removed) = &line.remove {
                self.live.remove(&key_of(removed));
            }
            added.extend(line.add);
        }
        // The actions of a commit have no order, and add and remove different files.
        for action in added {
            let LoggedPath::Relative(path) = uri_path(&action.path) else {
                continue;
            };
            let size = action.size.and_then(|size| u64::try_from(size).ok());
            let vector = action.deletion_vector.as_ref();
            let mut files: Vec<AddedFile> = vector
                .and_then(VectorDescriptor::file)
                .into_iter()
                .collect();
            files.push(AddedFile {
                path,
                size: size.unwrap_or_default(),
                is_least_size: size.is_none(),
            });
            self.live.insert(key_of(&action), files);
        }
        Ok(content)
    }

    /// The files that the read commits added and did not remove, each once.
    #[must_use]
    pub fn added_files(&self) -> Vec<&AddedFile> {
        let mut seen = BTreeSet::new();
        let files = self.live.values().flatten();
        files
            .filter(|file| seen.insert((&file.path, file.size)))
            .collect()
    }
}

fn key_of(action: &FileAction) -> (String, String) {
    let vector = action.deletion_vector.as_ref();
    let id = vector.map(VectorDescriptor::unique_id).unwrap_or_default();
    (action.path.clone(), id)
}

/// Reads a file of a checkpoint, or a sidecar: Parquet, or JSON by its name.
///
/// # Errors
/// It is not what the protocol says, or is encrypted or compressed in an unsupported way.
pub fn read_checkpoint_file(path: &str, bytes: Vec<u8>) -> Result<LogFileContent, TableFinding> {
    if !path.ends_with(".json") {
        return checkpoint::read(path, Bytes::from(bytes));
    }
    let mut content = LogFileContent::default();
    for line in lines(path, &bytes) {
        let line = line?;
        for action in [&line.add, &line.remove].into_iter().flatten() {
            content.add_action(path, action)?;
        }
        if let Some(sidecar) = &line.sidecar {
            content.add_sidecar(&sidecar.path, sidecar.size_in_bytes);
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(names: &[&str]) -> DeltaLog {
        let mut log = DeltaLog::default();
        names.iter().for_each(|name| log.add(name, 7));
        log
    }

    fn commit(version: u64) -> String {
        DeltaLog::commit_name(version)
    }

    fn versions(commits: &[(u64, u64)]) -> Vec<u64> {
        commits.iter().map(|(version, _)| *version).collect()
    }

    #[test]
    fn names_of_the_log_are_read() {
        let log = log(&[
            "00000000000000000009.json",
            "00000000000000000010.json",
            "00000000000000000010.crc",
            "00000000000000000010.checkpoint.parquet",
            "00000000000000000009.00000000000000000010.compacted.json",
            "0000000000000000011.json",
            "_last_checkpoint",
            "_sidecars/a.parquet",
            "_staged_commits/00000000000000000011.x.json",
        ]);
        assert_eq!(versions(&log.newest_commits(10, 100)), [9, 10]);
        assert_eq!(log.checkpoint().unwrap().version, 10);
        assert_eq!(
            (log.sidecar("a.parquet"), log.sidecar("b.parquet")),
            (Some(7), None)
        );
        assert!(log.has_last_checkpoint() && !log.is_empty());
        assert_eq!(log.missing_versions(), None);
    }

    #[test]
    fn the_newest_checkpoint_whose_parts_are_all_there_is_taken() {
        let part = |version: u64, part: u32, of: u32| {
            format!("{version:020}.checkpoint.{part:010}.{of:010}.parquet")
        };
        let parts = [
            part(20, 1, 3),
            part(20, 2, 3),
            part(10, 1, 2),
            part(10, 2, 2),
        ];
        let names: Vec<&str> = parts.iter().map(String::as_str).collect();
        let mut found = log(&names);
        let checkpoint = found.checkpoint().unwrap();
        assert_eq!((checkpoint.version, checkpoint.files.len()), (10, 2));
        found.add(&part(20, 3, 3), 7);
        assert_eq!(found.checkpoint().unwrap().version, 20);
        let v2 = "00000000000000000030.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json";
        found.add(v2, 7);
        assert_eq!(found.checkpoint().unwrap().files, [(v2.to_owned(), 7)]);
    }

    #[test]
    fn missing_versions_are_counted_from_the_checkpoint_or_the_first() {
        let names = [commit(0), commit(1), commit(4), commit(6)];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut found = log(&names);
        let missing = |count, first| Some(MissingVersions { count, first });
        assert_eq!(found.missing_versions(), missing(3, 2));
        found.add(&format!("{:020}.checkpoint.parquet", 4), 7);
        assert_eq!(found.missing_versions(), missing(1, 5));
        found.add(&format!("{:020}.checkpoint.parquet", 9), 7);
        assert_eq!(found.missing_versions(), None);
        let last = format!("{}.json", u64::MAX);
        assert_eq!(log(&[&last]).missing_versions(), missing(u64::MAX - 1, 0));
    }

    #[test]
    fn commits_since_the_checkpoint_are_read_and_some_before_it() {
        let names: Vec<String> = (0..40).map(commit).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut found = log(&names);
        assert_eq!(found.newest_commits(3, 100).len(), 40);
        assert_eq!(versions(&found.newest_commits(3, 5)), [35, 36, 37, 38, 39]);
        found.add(&format!("{:020}.checkpoint.parquet", 35), 7);
        assert_eq!(versions(&found.newest_commits(3, 100)), [36, 37, 38, 39]);
        found.add(&format!("{:020}.checkpoint.parquet", 39), 7);
        assert_eq!(versions(&found.newest_commits(3, 100)), [37, 38, 39]);
    }

    /// A commit as Spark writes it.
    const COMMIT: &str = r#"{"commitInfo":{"timestamp":1700000000000,"operation":"WRITE","operationParameters":{"mode":"Append","partitionBy":"[\"d\"]"},"isBlindAppend":true}}
{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}
{"metaData":{"id":"af23c9d7-fff1-4a5a-a2c8-55c59bd782aa","format":{"provider":"parquet","options":{}},"schemaString":"{}","partitionColumns":["d"],"configuration":{},"createdTime":1}}
{"add":{"path":"d=a%20b/part-00000-c7f8167c.c000.snappy.parquet","partitionValues":{"d":"a b"},"size":841454,"modificationTime":1512909768000,"dataChange":true,"stats":"{\"numRecords\":1}"}}
{"add":{"path":"part-00001-b0d1.snappy.parquet","partitionValues":{"d":null},"size":5,"modificationTime":1,"dataChange":true}}
"#;

    #[test]
    fn a_commit_adds_files_and_a_later_one_removes_them() {
        let mut actions = DeltaActions::default();
        let content = actions.read_commit("0.json", COMMIT.as_bytes()).unwrap();
        assert_eq!(content, LogFileContent::default());
        let paths = |actions: &DeltaActions| -> Vec<(String, u64)> {
            let files = actions.added_files().into_iter();
            files.map(|file| (file.path.clone(), file.size)).collect()
        };
        let first = (
            "d=a b/part-00000-c7f8167c.c000.snappy.parquet".to_owned(),
            841_454,
        );
        let second = ("part-00001-b0d1.snappy.parquet".to_owned(), 5);
        assert_eq!(paths(&actions), [first.clone(), second.clone()]);
        // A deletion vector for the second file: the file is removed and added in one commit, in any order.
        let vector = r#"{"add":{"path":"part-00001-b0d1.snappy.parquet","size":5,"deletionVector":{"storageType":"u","pathOrInlineDv":"ab^-aqEH.-t@S}K{vb[*k^","offset":4,"sizeInBytes":40,"cardinality":6}}}
{"remove":{"path":"part-00001-b0d1.snappy.parquet","deletionTimestamp":1,"dataChange":true}}"#;
        actions.read_commit("1.json", vector.as_bytes()).unwrap();
        let file = (
            "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin".to_owned(),
            44,
        );
        assert_eq!(paths(&actions), [first, file, second]);
        let removes = r#"{"remove":{"path":"d=a%20b/part-00000-c7f8167c.c000.snappy.parquet"}}"#;
        actions.read_commit("2.json", removes.as_bytes()).unwrap();
        assert_eq!(actions.added_files().len(), 2);
    }

    #[test]
    fn absolute_paths_of_each_action_are_found() {
        let clone = r#"{"add":{"path":"s3://lake-us/sales/orders/part-0.parquet","size":5}}
{"remove":{"path":"file:/tmp/t/part-1.parquet"}}
{"cdc":{"path":"s3a://lake-us/t/_change_data/cdc-0.parquet","size":5}}
{"add":{"path":"part-2.parquet","size":5,"deletionVector":{"storageType":"p","pathOrInlineDv":"s3://lake-us/t/deletion_vector_1.bin","offset":4,"sizeInBytes":40}}}
{"add":{"path":"part-3.parquet","size":5,"deletionVector":{"storageType":"i","pathOrInlineDv":"wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L","sizeInBytes":40}}}"#;
        let mut actions = DeltaActions::default();
        let content = actions.read_commit("0.json", clone.as_bytes()).unwrap();
        assert_eq!(content.absolute.count, 4, "{content:?}");
        let paths: Vec<&str> = actions
            .added_files()
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        assert_eq!(
            paths,
            ["part-2.parquet", "part-3.parquet"],
            "the others lie elsewhere"
        );
    }

    #[test]
    fn a_checkpoint_in_json_names_sidecars() {
        let text = r#"{"checkpointMetadata":{"version":364475}}
{"metaData":{"id":"x"}}
{"sidecar":{"path":"016ae953-37a9.parquet","sizeInBytes":2304522,"modificationTime":1512909768000,"tags":{}}}
{"sidecar":{"path":"s3://lake-us/t/_delta_log/_sidecars/1.parquet","sizeInBytes":1}}"#;
        let content = read_checkpoint_file("x.json", text.as_bytes().to_vec()).unwrap();
        assert_eq!(
            content.sidecars,
            [("016ae953-37a9.parquet".to_owned(), 2_304_522)]
        );
        assert_eq!(content.absolute.count, 1);
    }

    #[test]
    fn what_is_no_commit_is_a_finding_that_names_the_line() {
        let mut actions = DeltaActions::default();
        let bytes = b"{\"add\":{\"path\":\"a\",\"size\":1}}\n{\"add\":";
        let finding = actions.read_commit("7.json", bytes).unwrap_err();
        assert_eq!(
            (finding.file.as_str(), finding.entry.as_str()),
            ("7.json", "line 2")
        );
        assert!(actions.added_files().is_empty(), "half a commit is none");
        assert_eq!(
            read_last_checkpoint("l", br#"{"version":10,"size":13}"#),
            Ok(10)
        );
        assert!(read_last_checkpoint("l", b"{").is_err());
    }

    #[test]
    fn names_of_deletion_vectors_are_decoded() {
        for other in [
            "",
            "short",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
            "####################",
        ] {
            assert_eq!(vector_path(other), None, "{other}");
        }
        let path = vector_path("^-aqEH.-t@S}K{vb[*k^").unwrap();
        assert_eq!(
            path,
            "deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
        );
    }
}
