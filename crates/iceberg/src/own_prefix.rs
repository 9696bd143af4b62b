//! Where rewritten files stand: in a prefix of their own, in the table's location.
//!
//! `<table location in the standby>/_twinlake/<pairing id>/<digest>-<name of the source file>`. S3
//! replication never writes there. The prefix is inside the table's location, because Lake Formation hands
//! engines credentials for that prefix alone. Engines read the format and the codec of a file from the end
//! of its name, so the name stays. Where the key would be too long for S3, the name loses its beginning: the
//! digest tells the files apart.

use crate::path_map::{PathMap, bucket_and_key};
use crate::table_finding::{TableFinding, TableFindingKind};
use sha2::{Digest as _, Sha256};

/// The directory in a table's location that holds what Twinlake wrote.
pub const OWN_DIRECTORY: &str = "_twinlake";

/// The number of hexadecimal digits of a digest in a name.
const DIGEST_DIGITS: usize = 16;

/// The longest key of an object in S3, in bytes of UTF-8.
const MAX_KEY_BYTES: usize = 1024;

/// What stays of each name at least, in bytes: more than the names of metadata.json, lists and manifests have
/// that engines write.
const MIN_NAME_BYTES: usize = 64;

/// The prefix of one pairing of a table, with the map of its paths.
#[derive(Clone, Debug)]
pub struct OwnPrefix {
    prefix: String,
    map: PathMap,
}

/// An id that cannot be part of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no pairing id: expected 1 to 64 of the characters A-Z, a-z, 0-9, `.`, `_` and `-`, not all dots"
)]
pub struct PairingIdError(pub String);

/// Why a table has no prefix for rewritten files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnPrefixError {
    /// The id of the pairing.
    #[error(transparent)]
    PairingId(#[from] PairingIdError),
    /// The location of the table is too long.
    #[error(transparent)]
    Location(#[from] TableFinding),
}

impl OwnPrefix {
    /// The prefix of a pairing in a table's location in the standby.
    ///
    /// # Errors
    /// The id cannot be part of a path, or keys in the prefix would be too long.
    pub fn new(location: &str, pairing_id: &str, map: &PathMap) -> Result<Self, OwnPrefixError> {
        let is_valid = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if !(1..=64).contains(&pairing_id.len())
            || !pairing_id.chars().all(is_valid)
            || pairing_id.chars().all(|c| c == '.')
        {
            return Err(PairingIdError(pairing_id.to_owned()).into());
        }
        let location = location.trim_end_matches('/');
        let prefix = format!("{location}/{OWN_DIRECTORY}/{pairing_id}/");
        let own = Self {
            prefix,
            map: map.clone(),
        };
        if own.name_bytes() < MIN_NAME_BYTES {
            let problem = format!(
                "keys in {} would be longer than the {MAX_KEY_BYTES} bytes that S3 allows: move the table to a \
                 location that is shorter in the standby",
                own.prefix
            );
            let kind = TableFindingKind::KeyTooLong;
            return Err(TableFinding::new(kind, location, problem).into());
        }
        Ok(own)
    }

    /// The longest name of a source file that a key has room for, in bytes. Other locations than S3 have no limit.
    fn name_bytes(&self) -> usize {
        match bucket_and_key(&self.prefix) {
            None => usize::MAX,
            Some((_, key)) => MAX_KEY_BYTES.saturating_sub(key.len() + DIGEST_DIGITS + 1),
        }
    }

    /// The prefix, with a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.prefix
    }

    /// The path of a relocated file. It is one path for equal source path, source bytes, map and relocated
    /// bytes, so whoever repeats a relocation finds it done, and no two contents share a path.
    #[must_use]
    pub fn path_of(&self, source_path: &str, source: &[u8], relocated: &[u8]) -> String {
        let mut hasher = Sha256::new();
        for part in [
            self.map.canonical().as_bytes(),
            source_path.as_bytes(),
            source,
            relocated,
        ] {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part);
        }
        let digest = hasher.finalize();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = hex.get(..DIGEST_DIGITS).unwrap_or(&hex);
        let name = end_of(source_name(source_path), self.name_bytes());
        format!("{}{digest}-{name}", self.prefix)
    }
}

/// The end of a name, of at most so many bytes.
fn end_of(name: &str, bytes: usize) -> &str {
    let mut start = name.len().saturating_sub(bytes);
    while !name.is_char_boundary(start) {
        start += 1;
    }
    name.get(start..).unwrap_or_default()
}

/// The name of the file that was written first: without the digest of an earlier relocation, so that names
/// do not grow when a table goes back and forth.
fn source_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_own = path.rsplit('/').nth(2) == Some(OWN_DIRECTORY);
    match name.split_once('-') {
        Some((digest, rest))
            if is_own
                && digest.len() == DIGEST_DIGITS
                && digest.chars().all(|c| c.is_ascii_hexdigit()) =>
        {
            rest
        }
        Some(_) | None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_depends_on_each_input_and_keeps_the_name() {
        let map = PathMap::new([("s3://a", "s3://b")]).unwrap();
        let own = OwnPrefix::new("s3://b/t/", "id-1", &map).unwrap();
        let path = own.path_of("s3://a/t/metadata/m0.avro", b"x", b"y");
        let name = path.strip_prefix("s3://b/t/_twinlake/id-1/").unwrap();
        assert_eq!((name.len(), name.get(16..)), (24, Some("-m0.avro")));
        assert_ne!(path, own.path_of("s3://a/t/metadata2/m0.avro", b"x", b"y"));
        assert_ne!(path, own.path_of("s3://a/t/metadata/m0.avro", b"z", b"y"));
        assert_ne!(path, own.path_of("s3://a/t/metadata/m0.avro", b"x", b"z"));
        let other = PathMap::new([("s3://a", "s3://b"), ("s3://c", "s3://d")]).unwrap();
        let other = OwnPrefix::new("s3://b/t", "id-1", &other).unwrap();
        assert_ne!(path, other.path_of("s3://a/t/metadata/m0.avro", b"x", b"y"));
        let back = own.path_of(&path, b"x", b"y");
        assert_eq!(back.rsplit('/').next().unwrap().len(), 24);
    }

    #[test]
    fn a_key_is_never_too_long_and_keeps_the_end_of_the_name() {
        let map = PathMap::default();
        // Without the name: `_twinlake/id-1/`, the digest and a hyphen.
        let fixed = "/_twinlake/id-1/".len() + DIGEST_DIGITS + 1;
        let location = |bytes: usize| format!("s3://b/{}", "x".repeat(bytes - fixed));
        let own = OwnPrefix::new(&location(900), "id-1", &map).unwrap();
        let path = |name: &str| own.path_of(&format!("s3://a/t/data/{name}"), b"x", b"y");
        let key_bytes = |path: &str| bucket_and_key(path).unwrap().1.len();
        let fits = format!("{}.parquet", "n".repeat(116));
        assert!(path(&fits).ends_with(&format!("-{fits}")));
        assert_eq!(key_bytes(&path(&fits)), MAX_KEY_BYTES);
        let long = format!("{}.gz.metadata.json", "n".repeat(400));
        assert_eq!(key_bytes(&path(&long)), MAX_KEY_BYTES);
        assert!(path(&long).ends_with("nn.gz.metadata.json"));
        // A character is not cut in two.
        let wide = format!("{}a.avro", "ä".repeat(200));
        assert_eq!(key_bytes(&path(&wide)), MAX_KEY_BYTES);
        let wide = format!("{}.avro", "ä".repeat(200));
        assert_eq!(key_bytes(&path(&wide)), MAX_KEY_BYTES - 1);
        // Two names with the same end.
        assert_ne!(path(&long), path(&format!("other-{long}")));
    }

    #[test]
    fn a_location_without_room_for_names_is_refused_and_says_what_to_do() {
        let map = PathMap::default();
        let fixed = "/_twinlake/id-1/".len() + DIGEST_DIGITS + 1;
        let location = |bytes: usize| format!("s3://b/{}", "x".repeat(bytes - fixed));
        let most = MAX_KEY_BYTES - MIN_NAME_BYTES;
        assert!(OwnPrefix::new(&location(most), "id-1", &map).is_ok());
        let error = OwnPrefix::new(&location(most + 1), "id-1", &map).unwrap_err();
        let OwnPrefixError::Location(finding) = error else {
            panic!("{error}");
        };
        assert_eq!(finding.kind, TableFindingKind::KeyTooLong);
        assert_eq!(finding.file, location(most + 1));
        assert!(finding.detail.contains("move the table"), "{finding}");
        let local = format!("file:///{}", "x".repeat(2000));
        assert!(OwnPrefix::new(&local, "id-1", &map).is_ok());
    }

    #[test]
    fn an_id_is_one_component_of_a_path() {
        let map = PathMap::default();
        for id in ["", "..", "a/b", "a b", "ä"] {
            assert!(OwnPrefix::new("s3://b/t", id, &map).is_err(), "{id}");
        }
    }
}
