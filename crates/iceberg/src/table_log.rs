//! The logs of Delta and Hudi tables, and the manifests of symlink tables: which files the newest commits name,
//! and which paths lead out of the table.
//!
//! Nothing is rewritten: these formats name their files relative to the table, so a replica is complete once its
//! files have arrived. An absolute path, such as in a shallow clone, leads to the primary's bucket from each
//! replica.
//!
//! Sources: the Delta protocol (<https://github.com/delta-io/delta/blob/master/PROTOCOL.md>), the Hudi
//! specification (<https://hudi.apache.org/learn/tech-specs/> and `tech-specs-1point0`).

mod checkpoint;
pub mod delta;
pub mod hudi;
mod log_file;
pub mod symlink;
mod vector_path;

pub use log_file::LogFileContent;

/// The most paths that are kept of many.
const MAX_PATH_SAMPLES: usize = 5;

/// Schemes that make a path absolute also where its colon is percent-encoded.
const STORAGE_SCHEMES: [&str; 12] = [
    "s3", "s3a", "s3n", "file", "hdfs", "gs", "abfs", "abfss", "wasb", "wasbs", "dbfs", "viewfs",
];

/// Paths, counted, with some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountedPaths {
    /// Their number.
    pub count: usize,
    /// Some of them, as written.
    pub samples: Vec<String>,
}

impl CountedPaths {
    /// Adds a path.
    pub fn add(&mut self, path: &str) {
        self.count += 1;
        if self.samples.len() < MAX_PATH_SAMPLES && !self.samples.iter().any(|one| one == path) {
            self.samples.push(path.to_owned());
        }
    }
}

/// A path as a log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LoggedPath {
    /// Below the table, decoded.
    Relative(String),
    /// With a scheme, or from the root.
    Absolute,
}

/// Reads a path that is a URI, relative to the table or absolute.
fn uri_path(path: &str) -> LoggedPath {
    let decoded = percent_decoded(path);
    if has_scheme(path) || path.starts_with('/') || has_storage_scheme(&decoded) {
        return LoggedPath::Absolute;
    }
    LoggedPath::Relative(decoded)
}

/// Reads a path that is no URI, relative to the table or absolute.
fn plain_path(path: &str) -> LoggedPath {
    if has_storage_scheme(path) || path.starts_with('/') || path.contains("://") {
        return LoggedPath::Absolute;
    }
    LoggedPath::Relative(path.to_owned())
}

/// Whether a URI has a scheme (RFC 2396, section 3.1).
fn has_scheme(path: &str) -> bool {
    let Some((scheme, _)) = path.split_once(':') else {
        return false;
    };
    let mut characters = scheme.chars();
    let is_first_valid = characters.next().is_some_and(|c| c.is_ascii_alphabetic());
    is_first_valid && characters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn has_storage_scheme(path: &str) -> bool {
    let Some((scheme, rest)) = path.split_once(':') else {
        return false;
    };
    let mut known = STORAGE_SCHEMES.iter();
    rest.starts_with('/') && known.any(|known| scheme.eq_ignore_ascii_case(known))
}

/// A path without percent-encoding. What is not valid stays as it is.
fn percent_decoded(path: &str) -> String {
    if !path.contains('%') {
        return path.to_owned();
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let is_hex = |two: &&str| two.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = digits
            .filter(is_hex)
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match byte.filter(|_| first == b'%') {
            Some(byte) => {
                decoded.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_are_recognised_in_each_spelling() {
        for path in [
            "s3://lake/t/part-0.parquet",
            "s3a://lake/t/part-0.parquet",
            "S3://lake/t/part-0.parquet",
            "file:/tmp/t/part-0.parquet",
            "file:///tmp/t/part-0.parquet",
            "abfss://c@a.dfs.core.windows.net/t/p",
            "s3%3A%2F%2Flake/t/part-0.parquet",
            "s3%3a//lake/t/part%200.parquet",
            "/t/part-0.parquet",
        ] {
            assert_eq!(uri_path(path), LoggedPath::Absolute, "{path}");
        }
        for path in ["s3://lake/t/f", "s3a://lake/t/f", "file:/t/f", "/t/f"] {
            assert_eq!(plain_path(path), LoggedPath::Absolute, "{path}");
        }
    }

    #[test]
    fn relative_paths_are_decoded() {
        let relative = |path: &str| match uri_path(path) {
            LoggedPath::Relative(decoded) => decoded,
            LoggedPath::Absolute => panic!("{path}"),
        };
        assert_eq!(relative("part-0.parquet"), "part-0.parquet");
        assert_eq!(relative("d=a%20b/part-0"), "d=a b/part-0");
        // Hive escapes a colon in a directory's name, and the log escapes the percent sign.
        assert_eq!(relative("ts=10%253A00/p"), "ts=10%3A00/p");
        assert_eq!(relative("ts=10:00/p"), "ts=10:00/p");
        assert_eq!(relative("n=100%/p%zz%4"), "n=100%/p%zz%4");
        assert_eq!(relative("%+1/%ff"), "%+1/%ff");
    }

    #[test]
    fn many_paths_are_counted_and_some_are_kept() {
        let mut paths = CountedPaths::default();
        (0..100).for_each(|index| paths.add(&format!("s3://b/{index}")));
        assert_eq!((paths.count, paths.samples.len()), (100, MAX_PATH_SAMPLES));
    }
}
