//! The timeline of a Hudi table: its properties, its completed instants, and the files that they wrote.

use super::{CountedPaths, LoggedPath, plain_path};
use crate::table_finding::TableFinding;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The directory of the timeline in a table.
pub const HUDI_DIRECTORY: &str = ".hoodie";
/// The name of the properties in it.
pub const PROPERTIES: &str = "hoodie.properties";
/// Where the timeline of table version 8 stands in it, unless the properties say otherwise.
const TIMELINE_DIRECTORY: &str = "timeline";
/// The directory in it with the index of a bootstrapped table, which names files outside the table.
const BOOTSTRAP_INDEX: &str = ".aux/.bootstrap/";

/// The first bytes of an Avro file.
const AVRO_MAGIC: &[u8] = b"Obj\x01";
/// The end of the name of a file that another tool wrote and the timeline took in.
const EXTERNAL_SUFFIX: &str = "_hudiext";

/// What `hoodie.properties` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HudiProperties {
    /// `hoodie.table.version`.
    pub table_version: Option<u32>,
    /// Values that are absolute paths, such as `hoodie.bootstrap.base.path`, with their keys: `key=path`.
    pub absolute: CountedPaths,
    /// `hoodie.timeline.path`.
    timeline: Option<String>,
}

/// An instant that is completed and wrote files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HudiInstant {
    /// When it was completed, or requested if the name does not say; in the order of time.
    at: String,
    /// The name of the file, relative to `.hoodie`.
    pub name: String,
    /// In bytes.
    pub size: u64,
}

/// What a listing of `.hoodie` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HudiTimeline {
    instants: BTreeSet<HudiInstant>,
    has_bootstrap_index: bool,
}

impl HudiTimeline {
    /// Adds a file of the listing, by its name relative to `.hoodie`.
    pub fn add(&mut self, name: &str, size: u64, properties: &HudiProperties) {
        self.has_bootstrap_index |= name.starts_with(BOOTSTRAP_INDEX);
        let timeline = properties.timeline.as_deref().unwrap_or(TIMELINE_DIRECTORY);
        let file = match name.rsplit_once('/') {
            Some((directory, file)) if directory == timeline => file,
            Some(_) => return,
            None => name,
        };
        let Some((times, action)) = file.split_once('.') else {
            return;
        };
        let is_instant = times
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'_');
        if is_instant && ["commit", "deltacommit", "replacecommit"].contains(&action) {
            let (requested, completed) = times.split_once('_').unwrap_or((times, times));
            let at = if completed.is_empty() {
                requested
            } else {
                completed
            };
            self.instants.insert(HudiInstant {
                at: at.to_owned(),
                name: name.to_owned(),
                size,
            });
        }
    }

    /// The newest instants, oldest first.
    #[must_use]
    pub fn newest_instants(&self, most: usize) -> Vec<HudiInstant> {
        let mut newest: Vec<_> = self.instants.iter().rev().take(most).cloned().collect();
        newest.reverse();
        newest
    }

    /// Whether the table is bootstrapped: an index names files outside it.
    #[must_use]
    pub const fn has_bootstrap_index(&self) -> bool {
        self.has_bootstrap_index
    }
}

/// Reads `hoodie.properties`.
///
/// # Errors
/// It is no text.
pub fn read_hudi_properties(path: &str, bytes: &[u8]) -> Result<HudiProperties, TableFinding> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| TableFinding::malformed(path, "it is no text in UTF-8"))?;
    let mut properties = HudiProperties::default();
    for line in text.lines().map(str::trim_start) {
        let Some((key, value)) = line
            .split_once('=')
            .filter(|_| !line.starts_with(['#', '!']))
        else {
            continue;
        };
        let (key, value) = (key.trim(), unescaped(value.trim()));
        match key {
            "hoodie.table.version" => properties.table_version = value.parse().ok(),
            "hoodie.timeline.path" => properties.timeline = Some(value.clone()),
            _ => {}
        }
        let is_location = key.ends_with(".path") || key.ends_with("basepath");
        if is_location && plain_path(&value) == LoggedPath::Absolute {
            properties.absolute.add(&format!("{key}={value}"));
        }
    }
    Ok(properties)
}

/// A value of a properties file without the backslashes before `:`, `=` and others.
fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            character => text.push(character),
        }
    }
    text
}

/// How an instant is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstantEncoding {
    /// JSON, of table versions before 8.
    Json,
    /// Avro, which is not read.
    Avro,
    /// Nothing.
    Empty,
}

impl InstantEncoding {
    /// Recognises the encoding of an instant.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [] => Self::Empty,
            bytes if bytes.starts_with(AVRO_MAGIC) => Self::Avro,
            _ => Self::Json,
        }
    }
}

/// A file that an instant wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// The path below the table.
    pub path: String,
    /// The size in bytes, if it is known: a log file may be extended.
    pub size: Option<u64>,
}

/// The newest file of each file group, by the instants that were read, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HudiFiles {
    newest: BTreeMap<(String, String), WrittenFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommitMetadata {
    #[serde(default)]
    partition_to_write_stats: BTreeMap<String, Vec<WriteStat>>,
    #[serde(default)]
    partition_to_replace_file_ids: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WriteStat {
    #[serde(default)]
    file_id: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    file_size_in_bytes: Option<i64>,
}

impl HudiFiles {
    /// Reads an instant in JSON. Returns the absolute paths in it.
    ///
    /// # Errors
    /// It is not what the specification says.
    pub fn read_instant(&mut self, path: &str, bytes: &[u8]) -> Result<CountedPaths, TableFinding> {
        let parsed: Result<CommitMetadata, _> = serde_json::from_slice(bytes);
        let parsed = parsed.map_err(|error| TableFinding::malformed(path, error.to_string()))?;
        let mut absolute = CountedPaths::default();
        for (partition, ids) in parsed.partition_to_replace_file_ids {
            for id in ids {
                self.newest.remove(&(partition.clone(), id));
            }
        }
        for (partition, stats) in parsed.partition_to_write_stats {
            for stat in stats {
                let Some(path) = stat.path else {
                    continue;
                };
                let LoggedPath::Relative(path) = plain_path(&path) else {
                    absolute.add(&path);
                    continue;
                };
                let size = stat.file_size_in_bytes;
                let size = size.and_then(|size| u64::try_from(size).ok());
                let file = WrittenFile {
                    size: size.filter(|size| *size > 0 && !is_log_file(&path)),
                    path: without_external_suffix(&path).to_owned(),
                };
                let id = stat.file_id.unwrap_or_else(|| path.clone());
                self.newest.insert((partition.clone(), id), file);
            }
        }
        Ok(absolute)
    }

    /// The newest file of each file group that was not replaced.
    pub fn newest_files(&self) -> impl Iterator<Item = &WrittenFile> {
        self.newest.values()
    }
}

/// Whether a file is a log file of a merge-on-read table: `.<id>_<time>.log.<version>_<token>`.
fn is_log_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with('.') && name.contains(".log.")
}

/// The path of a file that another tool wrote: without the `_<instant>_hudiext` that the timeline adds.
fn without_external_suffix(path: &str) -> &str {
    let name = path.strip_suffix(EXTERNAL_SUFFIX);
    let name = name.and_then(|name| name.rsplit_once('_'));
    name.map_or(path, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROPERTIES_TEXT: &str = "#Updated at 2024-06-01T00:00:00Z
#Sat Jun 01 00:00:00 UTC 2024
hoodie.table.name=orders
hoodie.table.version=6
hoodie.table.type=COPY_ON_WRITE
hoodie.timeline.layout.version=1
hoodie.archivelog.folder=archived
hoodie.table.keygenerator.class=org.apache.hudi.keygen.SimpleKeyGenerator
hoodie.table.checksum=2702201862
";

    /// A commit as Hudi 0.14 writes it.
    const COMMIT: &str = r#"{
  "partitionToWriteStats" : {
    "d=2024/06" : [ {
      "fileId" : "2d6b-0", "path" : "d=2024/06/2d6b-0_0-12-30_20240601120000000.parquet",
      "prevCommit" : "null", "numWrites" : 4, "totalWriteBytes" : 435321, "totalWriteErrors" : 0,
      "partitionPath" : "d=2024/06", "fileSizeInBytes" : 435321, "minEventTime" : null, "runtimeStats" : null
    } ]
  },
  "compacted" : false,
  "extraMetadata" : { "schema" : "{\"type\":\"record\"}" },
  "operationType" : "UPSERT"
}"#;

    fn paths(files: &HudiFiles) -> Vec<(&str, Option<u64>)> {
        let files = files.newest_files();
        files.map(|file| (file.path.as_str(), file.size)).collect()
    }

    #[test]
    fn properties_say_the_version_and_name_a_bootstrap_base() {
        let read = |text: &str| read_hudi_properties("p", text.as_bytes()).unwrap();
        let properties = read(PROPERTIES_TEXT);
        assert_eq!(properties.table_version, Some(6));
        assert_eq!(properties.absolute.count, 0);
        let bootstrapped = read("hoodie.bootstrap.base.path=s3\\://lake-us/src\n");
        let expected = ["hoodie.bootstrap.base.path=s3://lake-us/src"];
        assert_eq!(bootstrapped.absolute.samples, expected);
        assert!(read_hudi_properties("p", b"\xff").is_err());
    }

    #[test]
    fn completed_instants_of_both_layouts_are_found_in_order() {
        let properties = HudiProperties::default();
        let mut timeline = HudiTimeline::default();
        for name in [
            "20240601130000000.deltacommit",
            "20240601120000000.commit",
            "20240601120000000.commit.requested",
            "20240601120000000.inflight",
            "20240601125959000.clean",
            "20240601125959000.rollback",
            "timeline/20240601140000000_20240601150000000.commit",
            "timeline/20240601141000000_20240601142000000.replacecommit",
            "timeline/20240601143000000.commit.requested",
            "archived/.commits_.archive.1_1-0-1",
            "metadata/.hoodie/20240601130000000.deltacommit",
            "hoodie.properties",
        ] {
            timeline.add(name, 1, &properties);
        }
        let names = |most| -> Vec<String> {
            let newest = timeline.newest_instants(most).into_iter();
            newest.map(|instant| instant.name).collect()
        };
        let expected = [
            "20240601120000000.commit",
            "20240601130000000.deltacommit",
            "timeline/20240601141000000_20240601142000000.replacecommit",
            "timeline/20240601140000000_20240601150000000.commit",
        ];
        assert_eq!(names(9), expected);
        assert_eq!(names(1), expected[3..]);
        assert!(!timeline.has_bootstrap_index());
        timeline.add(".aux/.bootstrap/.fileids/x.hfile", 1, &properties);
        assert!(timeline.has_bootstrap_index());
    }

    #[test]
    fn the_newest_file_of_each_group_is_needed() {
        let mut files = HudiFiles::default();
        let absolute = files.read_instant("1.commit", COMMIT.as_bytes()).unwrap();
        assert_eq!(absolute, CountedPaths::default());
        let first = "d=2024/06/2d6b-0_0-12-30_20240601120000000.parquet";
        assert_eq!(paths(&files), [(first, Some(435_321))]);
        let second = r#"{"partitionToWriteStats":{"d=2024/06":[{"fileId":"2d6b-0","path":"d=2024/06/.2d6b-0_20240601120000000.log.1_0-1-2","fileSizeInBytes":99}]},"operationType":"UPSERT"}"#;
        files
            .read_instant("2.deltacommit", second.as_bytes())
            .unwrap();
        let log = "d=2024/06/.2d6b-0_20240601120000000.log.1_0-1-2";
        assert_eq!(paths(&files), [(log, None)], "a log file may be extended");
        let replaced = r#"{"partitionToWriteStats":{"":[{"fileId":"n","path":"part-0.parquet_20240601130000000_hudiext","fileSizeInBytes":7}]},"partitionToReplaceFileIds":{"d=2024/06":["2d6b-0"]}}"#;
        files
            .read_instant("3.replacecommit", replaced.as_bytes())
            .unwrap();
        assert_eq!(paths(&files), [("part-0.parquet", Some(7))]);
    }

    #[test]
    fn absolute_paths_are_found_and_what_cannot_be_read_is_recognised() {
        let mut files = HudiFiles::default();
        let text = r#"{"partitionToWriteStats":{"p":[{"fileId":"a","path":"s3://lake-us/src/a.parquet"},{"fileId":"b"}]}}"#;
        let absolute = files.read_instant("1.commit", text.as_bytes()).unwrap();
        assert_eq!(absolute.samples, ["s3://lake-us/src/a.parquet"]);
        assert_eq!(files.newest_files().count(), 0);
        assert!(files.read_instant("1.commit", b"7").is_err());
        assert_eq!(InstantEncoding::of(b"Obj\x01\x04"), InstantEncoding::Avro);
        assert_eq!(InstantEncoding::of(b"{}"), InstantEncoding::Json);
        assert_eq!(InstantEncoding::of(b""), InstantEncoding::Empty);
    }
}
