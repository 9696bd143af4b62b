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

    /// What is left of `self` below `parent`, if it lies there: at a path
    /// boundary, so `s3://b/sales` does not hold `s3://b/sales2`.
    fn below<'a>(&'a self, parent: &Self) -> Option<&'a str> {
        if self.bucket != parent.bucket {
            return None;
        }
        let rest = self.path.strip_prefix(parent.path.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// The place without its scheme and without a trailing slash: what two
    /// spellings of one place have in common.
    fn place(&self) -> (&str, &str) {
        (&self.bucket, self.path.trim_end_matches('/'))
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

/// One-to-one pairs of places.
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
    /// It maps to a place that maps back to another one, so two places of one
    /// Region would share it.
    Ambiguous(String),
}

impl LocationMap {
    /// A map of pairs, if it is one-to-one.
    ///
    /// # Errors
    /// The index of the pair, of those that share a place, which came later.
    pub fn new(pairs: Vec<Pair>) -> Result<Self, usize> {
        for (at, pair) in pairs.iter().enumerate() {
            let clashes = |earlier: &Pair| {
                earlier.first.place() == pair.first.place()
                    || earlier.second.place() == pair.second.place()
            };
            if pairs.iter().take(at).any(clashes) {
                return Err(at);
            }
        }
        Ok(Self { pairs })
    }

    /// The pairs, as given.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// The counterpart of a place, in the second Region if `to_second`. The
    /// longest matching prefix decides; the spelling (scheme, slashes) is kept.
    ///
    /// # Errors
    /// The text names no place in S3.
    pub fn map(&self, text: &str, to_second: bool) -> Result<Mapped, LocationError> {
        let location = Location::parse(text)?;
        let Some(there) = self.forward(&location, to_second) else {
            return Ok(Mapped::Unmapped);
        };
        match self.forward(&there, !to_second) {
            Some(back) if back.place() == location.place() => Ok(Mapped::To(there.to_string())),
            Some(_) | None => Ok(Mapped::Ambiguous(there.to_string())),
        }
    }

    fn forward(&self, location: &Location, to_second: bool) -> Option<Location> {
        let sided = self.pairs.iter().map(|pair| match to_second {
            true => (&pair.first, &pair.second),
            false => (&pair.second, &pair.first),
        });
        let (rest, there) = sided
            .filter_map(|(here, there)| location.below(here).map(|rest| (rest, there)))
            .min_by_key(|(rest, _)| rest.len())?;
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

    fn map(pairs: &[(&str, &str)]) -> Result<LocationMap, usize> {
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
    fn the_longest_prefix_decides_at_a_path_boundary() {
        let map = map(&[
            ("s3://a", "s3://x"),
            ("s3://a/sales/", "s3://y/eu"),
            ("s3://q/p", "s3://z"),
        ])
        .unwrap();
        assert_eq!(map.map("s3://a/sales/t/", true), to("s3://y/eu/t/"));
        assert_eq!(map.map("s3://a/sales", true), to("s3://y/eu"));
        assert_eq!(map.map("s3://a/sales2/t", true), to("s3://x/sales2/t"));
        assert_eq!(map.map("s3a://a/t//u", true), to("s3a://x/t//u"));
        assert_eq!(map.map("arn:aws:s3:::a/t", true), to("arn:aws:s3:::x/t"));
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
    fn a_map_that_is_not_one_to_one_is_refused() {
        assert_eq!(
            map(&[("s3://a", "s3://x"), ("arn:aws:s3:::a/", "s3://y")]),
            Err(1)
        );
        assert_eq!(map(&[("s3://a", "s3://x"), ("s3://b", "s3://x/")]), Err(1));
        // Nested prefixes are fine until two places meet in one.
        let nested = map(&[("s3://a", "s3://x"), ("s3://b", "s3://x/b")]).unwrap();
        assert_eq!(
            nested.map("s3://a/b/c", true),
            Ok(Mapped::Ambiguous("s3://x/b/c".to_owned()))
        );
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
