//! Places in S3, and the map between those of the two Regions.

use std::fmt;

/// A bucket and a path in it. `s3://b/p`, `s3a://b/p`, `s3n://b/p` and
/// `arn:aws:s3:::b/p` name one place (LF-27).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    prefix: String,
    bucket: String,
    path: String,
}

/// Why a text names no place in S3.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Neither an S3 URI nor an S3 ARN.
    #[error("it is neither an s3:// URI nor an S3 ARN")]
    NotS3,
    /// No bucket, or one with characters that no bucket has.
    #[error("it names no valid bucket")]
    Bucket,
}

const SCHEMES: [&str; 3] = ["s3://", "s3a://", "s3n://"];

impl Location {
    /// Reads a URI or an ARN. The path is taken as it stands, byte for byte.
    ///
    /// # Errors
    /// The text is no S3 URI or ARN, or its bucket is not one.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let (prefix, rest) = split_prefix(text).ok_or(LocationError::NotS3)?;
        let (bucket, path) = match rest.split_once('/') {
            Some((bucket, path)) => (bucket, format!("/{path}")),
            None => (rest, String::new()),
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if bucket.is_empty() || !bucket.chars().all(valid) {
            return Err(LocationError::Bucket);
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            bucket: bucket.to_owned(),
            path,
        })
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// What the keys of the objects there begin with: nothing, or a path that ends in a
    /// slash.
    #[must_use]
    pub fn prefix(&self) -> String {
        match self.path.trim_matches('/') {
            "" => String::new(),
            path => format!("{path}/"),
        }
    }

    /// The place as an ARN without a slash at its end: one text for every spelling.
    #[must_use]
    pub fn as_arn(&self) -> String {
        let partition = match self.prefix.starts_with("arn:") {
            true => self.prefix.as_str(),
            false => "arn:aws:s3:::",
        };
        let path = self.path.trim_end_matches('/');
        format!("{partition}{}{path}", self.bucket)
    }

    /// What is left of `self` below `parent`, if it lies there: at a path
    /// boundary, so `s3://b/sales` does not hold `s3://b/sales2`.
    fn below<'a>(&'a self, parent: &Self) -> Option<&'a str> {
        if self.bucket != parent.bucket {
            return None;
        }
        let rest = self.path.strip_prefix(parent.path.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// Whether one of two places lies in the other, or they are one.
    fn overlaps(&self, other: &Self) -> bool {
        self.below(other).is_some() || other.below(self).is_some()
    }
}

fn split_prefix(text: &str) -> Option<(&str, &str)> {
    for scheme in SCHEMES {
        if text.len() >= scheme.len() && text.is_char_boundary(scheme.len()) {
            let (head, rest) = text.split_at(scheme.len());
            if head.eq_ignore_ascii_case(scheme) {
                return Some((head, rest));
            }
        }
    }
    let at = text.find(":s3:::")?;
    let partition = text[..at].strip_prefix("arn:")?;
    partition
        .starts_with("aws")
        .then(|| text.split_at(at + ":s3:::".len()))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.prefix, self.bucket, self.path)
    }
}

/// Two places that hold the same objects, one in each Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// In the policy's first Region.
    pub first: Location,
    /// In the second.
    pub second: Location,
}

/// Disjoint pairs of places, so that the map is one-to-one everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocationMap {
    pairs: Vec<Pair>,
}

/// What the map says of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// It has this counterpart.
    To(String),
    /// No pair holds it.
    Unmapped,
}

impl LocationMap {
    /// A map of pairs, if no place of a side lies in another one of that side.
    ///
    /// Nested places could meet on the other side: of `s3://a -> s3://x` and
    /// `s3://a/b -> s3://y`, `s3://x/b` would lead back to no place of its own.
    ///
    /// # Errors
    /// The indices of the first two pairs that overlap, the later one first.
    pub fn new(pairs: Vec<Pair>) -> Result<Self, (usize, usize)> {
        for (at, pair) in pairs.iter().enumerate() {
            let clashes = |earlier: &Pair| {
                earlier.first.overlaps(&pair.first) || earlier.second.overlaps(&pair.second)
            };
            if let Some(earlier) = pairs.iter().take(at).position(clashes) {
                return Err((at, earlier));
            }
        }
        Ok(Self { pairs })
    }

    /// The pairs, as given.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// The counterpart of a place, in the second Region if `to_second`; the
    /// spelling (scheme, slashes) is kept.
    ///
    /// # Errors
    /// The text names no place in S3.
    pub fn map(&self, text: &str, to_second: bool) -> Result<Mapped, LocationError> {
        let location = Location::parse(text)?;
        Ok(match self.forward(&location, to_second) {
            Some(there) => Mapped::To(there.to_string()),
            None => Mapped::Unmapped,
        })
    }

    fn forward(&self, location: &Location, to_second: bool) -> Option<Location> {
        let mut sided = self.pairs.iter().map(|pair| match to_second {
            true => (&pair.first, &pair.second),
            false => (&pair.second, &pair.first),
        });
        let (rest, there) =
            sided.find_map(|(here, there)| location.below(here).map(|rest| (rest, there)))?;
        Some(Location {
            prefix: location.prefix.clone(),
            bucket: there.bucket.clone(),
            path: format!("{}{rest}", there.path.trim_end_matches('/')),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Result<LocationMap, (usize, usize)> {
        let pair = |&(first, second): &(&str, &str)| Pair {
            first: Location::parse(first).unwrap(),
            second: Location::parse(second).unwrap(),
        };
        LocationMap::new(pairs.iter().map(pair).collect())
    }

    fn to(text: &str) -> Result<Mapped, LocationError> {
        Ok(Mapped::To(text.to_owned()))
    }

    #[test]
    fn a_place_is_mapped_at_a_path_boundary() {
        let map = map(&[
            ("s3://a/sales2", "s3://x/sales2"),
            ("s3://a/sales/", "s3://y/eu"),
            ("s3://b/", "s3://w"),
            ("s3://q/p", "s3://z"),
        ])
        .unwrap();
        assert_eq!(map.map("s3://a/sales/t/", true), to("s3://y/eu/t/"));
        assert_eq!(map.map("s3://a/sales", true), to("s3://y/eu"));
        assert_eq!(map.map("s3://a/sales2/t", true), to("s3://x/sales2/t"));
        assert_eq!(map.map("s3://a/sales22", true), Ok(Mapped::Unmapped));
        assert_eq!(map.map("s3a://b/t//u", true), to("s3a://w/t//u"));
        assert_eq!(map.map("arn:aws:s3:::b/t", true), to("arn:aws:s3:::w/t"));
        assert_eq!(map.map("s3://q/p/r", true), to("s3://z/r"));
        assert_eq!(map.map("s3://z/r", false), to("s3://q/p/r"));
        assert_eq!(map.map("s3://other/t", true), Ok(Mapped::Unmapped));
    }

    #[test]
    fn a_bucket_name_in_the_path_or_in_another_name_is_left_alone() {
        let map = map(&[("s3://sales", "s3://sales-dr")]).unwrap();
        assert_eq!(
            map.map("s3://sales/sales/x", true),
            to("s3://sales-dr/sales/x")
        );
        assert_eq!(map.map("s3://sales2/x", true), Ok(Mapped::Unmapped));
    }

    #[test]
    fn a_map_whose_places_overlap_is_refused() {
        let overlapping: [[(&str, &str); 2]; 4] = [
            [("s3://a", "s3://x"), ("arn:aws:s3:::a/", "s3://y")],
            [("s3://a", "s3://x"), ("s3://b", "s3://x/")],
            [("s3://a", "s3://x"), ("s3://a/b", "s3://y")],
            [("s3://a", "s3://x/b/c"), ("s3://b", "s3://x/b")],
        ];
        for pairs in overlapping {
            assert_eq!(map(&pairs), Err((1, 0)), "{pairs:?}");
        }
        assert!(map(&[("s3://a/b", "s3://x"), ("s3://a/bc", "s3://y")]).is_ok());
    }

    #[test]
    fn what_is_no_place_in_s3_is_said_to_be_none() {
        for text in ["hdfs://nn/x", "file:/tmp", "", "sales/orders"] {
            assert_eq!(Location::parse(text), Err(LocationError::NotS3), "{text}");
        }
        for text in ["s3://", "s3:///x", "s3://a b/x", "arn:aws:s3:::"] {
            assert_eq!(Location::parse(text), Err(LocationError::Bucket), "{text}");
        }
    }
}
