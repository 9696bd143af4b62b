//! Which path of the primary is which path of the standby.

use std::fmt::Write as _;

/// The spellings of one storage: engines write `s3a://` and `s3n://` for `s3://`, and `file:/` or a
/// bare path for `file:///`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    S3,
    File,
}

/// A path without its scheme, and without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RootLocation {
    storage: Storage,
    /// As written: `s3://`, `s3a://`, `file:` ...
    scheme: String,
    rest: String,
}

/// A location of the primary and the location of the standby that holds the same files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PathPair {
    source: RootLocation,
    target: RootLocation,
}

/// Maps paths by pairs of locations. The longest source that covers a path decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathMap {
    pairs: Vec<PathPair>,
}

/// Why a pair of locations is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathMapError {
    /// The text is no path of S3 and no absolute local path.
    #[error("{0}: expected s3://BUCKET, s3://BUCKET/PREFIX, or an absolute local path")]
    NoLocation(String),
    /// A location is mapped to itself, or into itself.
    #[error(
        "{source_location} is mapped to {target}, which lies in it: a path would be mapped twice"
    )]
    Overlap {
        /// The location of the primary.
        source_location: String,
        /// The location of the standby.
        target: String,
    },
    /// Two pairs have one source.
    #[error("{0} is mapped twice")]
    Repeated(String),
}

fn split(path: &str) -> Option<(Storage, &str, &str)> {
    for scheme in ["s3://", "s3a://", "s3n://"] {
        if let Some(rest) = path.strip_prefix(scheme) {
            return Some((Storage::S3, scheme, rest));
        }
    }
    for scheme in ["file://", "file:", ""] {
        if let Some(rest) = path.strip_prefix(scheme)
            && rest.starts_with('/')
        {
            return Some((Storage::File, scheme, rest));
        }
    }
    None
}

impl RootLocation {
    fn parse(text: &str) -> Result<Self, PathMapError> {
        let no_location = || PathMapError::NoLocation(text.to_owned());
        let (storage, scheme, rest) = split(text).ok_or_else(no_location)?;
        let rest = rest.trim_end_matches('/');
        if rest.is_empty()
            || rest.starts_with("//")
            || (storage == Storage::S3 && rest.starts_with('/'))
        {
            return Err(no_location());
        }
        Ok(Self {
            storage,
            scheme: scheme.to_owned(),
            rest: rest.to_owned(),
        })
    }

    /// What follows this location in a path: empty, or a text that begins with a slash.
    fn tail<'p>(&self, storage: Storage, rest: &'p str) -> Option<&'p str> {
        if storage != self.storage {
            return None;
        }
        let tail = rest.strip_prefix(self.rest.as_str())?;
        (tail.is_empty() || tail.starts_with('/')).then_some(tail)
    }

    fn text(&self) -> String {
        format!("{}{}", self.scheme, self.rest)
    }
}

impl PathMap {
    /// Makes a map from pairs of a location of the primary and one of the standby, as in
    /// `("s3://lake-use1/sales", "s3://lake-aps1/sales")`.
    ///
    /// # Errors
    /// A text is no location, two pairs have one source, or a target lies in its source.
    pub fn new<'p>(
        pairs: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Self, PathMapError> {
        let mut map = Self::default();
        for (source, target) in pairs {
            let pair = PathPair {
                source: RootLocation::parse(source)?,
                target: RootLocation::parse(target)?,
            };
            if (pair.source.tail(pair.target.storage, &pair.target.rest)).is_some() {
                return Err(PathMapError::Overlap {
                    source_location: source.to_owned(),
                    target: target.to_owned(),
                });
            }
            let is_same = |other: &PathPair| {
                other.source.storage == pair.source.storage && other.source.rest == pair.source.rest
            };
            if map.pairs.iter().any(is_same) {
                return Err(PathMapError::Repeated(source.to_owned()));
            }
            map.pairs.push(pair);
        }
        map.pairs.sort_by(|a, b| {
            (b.source.rest.len().cmp(&a.source.rest.len())).then(a.source.rest.cmp(&b.source.rest))
        });
        Ok(map)
    }

    /// The path in the standby; `None` if no pair covers the path. The scheme stays as written.
    #[must_use]
    pub fn map(&self, path: &str) -> Option<String> {
        let (storage, scheme, rest) = split(path)?;
        self.pairs.iter().find_map(|pair| {
            let tail = pair.source.tail(storage, rest)?;
            let target = &pair.target;
            let scheme = match target.storage == storage {
                true => scheme,
                false => &target.scheme,
            };
            // Millions of paths are mapped: this is several times faster than `format!`.
            let mut mapped = String::with_capacity(scheme.len() + target.rest.len() + tail.len());
            mapped.push_str(scheme);
            mapped.push_str(&target.rest);
            mapped.push_str(tail);
            Some(mapped)
        })
    }

    /// Whether the path lies in a location of the standby and in none of the primary.
    #[must_use]
    pub fn is_mapped(&self, path: &str) -> bool {
        let Some((storage, _, rest)) = split(path) else {
            return false;
        };
        self.map(path).is_none()
            && (self.pairs.iter()).any(|pair| pair.target.tail(storage, rest).is_some())
    }

    /// The path in the primary that is mapped to this path; `None` if there is none.
    #[must_use]
    pub fn source_of(&self, path: &str) -> Option<String> {
        let (storage, scheme, rest) = split(path)?;
        let candidates = self.pairs.iter().filter_map(|pair| {
            let tail = pair.target.tail(storage, rest)?;
            let scheme = match pair.source.storage == storage {
                true => scheme,
                false => &pair.source.scheme,
            };
            Some(format!("{scheme}{}{tail}", pair.source.rest))
        });
        // Of a pair that another one overrides, the path is mapped elsewhere.
        candidates
            .into_iter()
            .find(|source| self.map(source).as_deref() == Some(path))
    }

    /// The pairs as a text that is equal for equal maps.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        for pair in &self.pairs {
            let _ = writeln!(text, "{} {}", pair.source.text(), pair.target.text());
        }
        text
    }
}

/// The locations that the files of a table may lie in.
#[derive(Clone, Debug, Default)]
pub struct FileLocations(Vec<RootLocation>);

impl FileLocations {
    /// Parses locations, as in `s3://lake-aps1/sales`.
    ///
    /// # Errors
    /// A text is no location.
    pub fn new<'p>(locations: impl IntoIterator<Item = &'p str>) -> Result<Self, PathMapError> {
        locations
            .into_iter()
            .map(RootLocation::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a path lies in one of the locations.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        let Some((storage, _, rest)) = split(path) else {
            return false;
        };
        self.0
            .iter()
            .any(|location| location.tail(storage, rest).is_some())
    }
}

/// Bucket and key of a path of S3.
#[must_use]
pub fn bucket_and_key(path: &str) -> Option<(&str, &str)> {
    match split(path)? {
        (Storage::S3, _, rest) => Some(rest.split_once('/').unwrap_or((rest, ""))),
        (Storage::File, ..) => None,
    }
}

/// The path in the local file system of `file:///a/b`, `file:/a/b` or `/a/b`.
#[must_use]
pub fn local_path(path: &str) -> Option<&str> {
    match split(path)? {
        (Storage::File, _, rest) => Some(rest),
        (Storage::S3, ..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> PathMap {
        PathMap::new([
            ("s3://a/wh", "s3://b/lake"),
            ("s3a://a/wh/t/", "s3://c"),
            ("/tmp/x", "file:///tmp/y"),
        ])
        .unwrap()
    }

    #[test]
    fn the_longest_source_decides_and_the_scheme_stays() {
        let map = map();
        let mapped = |path| map.map(path);
        assert_eq!(mapped("s3://a/wh/u/f").as_deref(), Some("s3://b/lake/u/f"));
        assert_eq!(mapped("s3n://a/wh/t/f").as_deref(), Some("s3n://c/f"));
        assert_eq!(
            mapped("s3://a/wh/t2/f").as_deref(),
            Some("s3://b/lake/t2/f")
        );
        assert_eq!(mapped("s3://a/wh").as_deref(), Some("s3://b/lake"));
        assert_eq!(mapped("s3://a/wh//f").as_deref(), Some("s3://b/lake//f"));
        assert_eq!(mapped("file:/tmp/x/f").as_deref(), Some("file:/tmp/y/f"));
        for outside in [
            "s3://a/who/f",
            "s3://aa/wh/f",
            "gs://a/wh/f",
            "wh/f",
            "S3://a/wh/f",
            "",
        ] {
            assert_eq!(mapped(outside), None, "{outside}");
        }
        assert_eq!(
            map.source_of("s3://b/lake/u/f").as_deref(),
            Some("s3://a/wh/u/f")
        );
        assert_eq!(
            map.source_of("s3://b/lake/t/f"),
            None,
            "t lies in the bucket c"
        );
        assert!(map.is_mapped("s3://b/lake/u/f") && !map.is_mapped("s3://a/wh/u"));
    }

    #[test]
    fn invalid_pairs_are_refused() {
        for (source, target) in [
            ("s3://a", "s3://a/b"),
            ("s3://a", "s3a://a"),
            ("s3://", "s3://b"),
            ("gs://a", "s3://b"),
            ("s3:///k", "s3://b"),
            ("a/b", "s3://b"),
        ] {
            assert!(
                PathMap::new([(source, target)]).is_err(),
                "{source} {target}"
            );
        }
        assert!(PathMap::new([("s3://a", "s3://b"), ("s3a://a/", "s3://c")]).is_err());
    }

    #[test]
    fn locations_are_compared_by_whole_components() {
        let locations = FileLocations::new(["s3://b/lake"]).unwrap();
        assert!(locations.covers("s3a://b/lake/f") && !locations.covers("s3://b/lake2/f"));
    }
}
