//! Where rewritten files stand: in a prefix of their own, in the table's place.
//!
//! `<table location in the standby>/_twinlake/<pairing id>/<digest>-<name of the source file>`. S3
//! replication never writes there. The prefix is inside the table's location, because Lake Formation hands
//! engines credentials for that prefix alone. Engines read the format and the codec of a file from the end
//! of its name, so the name stays.

use crate::path_map::PathMap;
use sha2::{Digest as _, Sha256};

/// The directory in a table's location that holds what Twinlake wrote.
pub const OWN_DIRECTORY: &str = "_twinlake";

/// The number of hexadecimal digits of a digest in a name.
const DIGEST_DIGITS: usize = 16;

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

impl OwnPrefix {
    /// The prefix of a pairing in a table's location in the standby.
    ///
    /// # Errors
    /// The id cannot be part of a path.
    pub fn new(location: &str, pairing_id: &str, map: &PathMap) -> Result<Self, PairingIdError> {
        let is_valid = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if !(1..=64).contains(&pairing_id.len())
            || !pairing_id.chars().all(is_valid)
            || pairing_id.chars().all(|c| c == '.')
        {
            return Err(PairingIdError(pairing_id.to_owned()));
        }
        let location = location.trim_end_matches('/');
        Ok(Self {
            prefix: format!("{location}/{OWN_DIRECTORY}/{pairing_id}/"),
            map: map.clone(),
        })
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
        format!("{}{digest}-{}", self.prefix, source_name(source_path))
    }
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
    fn an_id_is_one_component_of_a_path() {
        let map = PathMap::default();
        for id in ["", "..", "a/b", "a b", "ä"] {
            assert!(OwnPrefix::new("s3://b/t", id, &map).is_err(), "{id}");
        }
    }
}
