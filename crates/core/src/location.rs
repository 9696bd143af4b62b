//! Locations in S3, and the map between those of the two sites.

use crate::topology::{AwsPartition, BySite, SiteId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A bucket and a path in it. `s3://b/p`, `s3a://b/p`, `s3n://b/p` and
/// `arn:aws:s3:::b/p` name one place (LF-27).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    prefix: String,
    bucket: String,
    path: String,
}

/// Why a text names no location in S3.
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

    /// The location as an ARN without a slash at its end: one text for every spelling.
    /// A URI gets the partition that is given; an ARN keeps its own.
    #[must_use]
    pub fn as_arn(&self, partition: AwsPartition) -> String {
        let prefix = match self.prefix.starts_with("arn:") {
            true => self.prefix.clone(),
            false => format!("arn:{partition}:s3:::"),
        };
        let path = self.path.trim_end_matches('/');
        format!("{prefix}{}{path}", self.bucket)
    }

    /// The location in its own spelling, without a slash at its end.
    #[must_use]
    pub fn without_trailing_slash(&self) -> String {
        let path = self.path.trim_end_matches('/');
        format!("{}{}{path}", self.prefix, self.bucket)
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
    AwsPartition::named(partition).map(|_| text.split_at(at + ":s3:::".len()))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.prefix, self.bucket, self.path)
    }
}

/// Who copies the objects of a pair of locations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopiedBy {
    /// S3 replication: each object keeps its key, so both locations name one prefix.
    #[default]
    S3,
    /// Something else: the prefixes may differ.
    Other,
}

/// Two locations that hold the same objects, one in each site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationPair {
    /// The location of each site.
    pub sites: BySite<Location>,
    /// Who copies the objects.
    pub copied_by: CopiedBy,
}

/// Disjoint pairs of locations, so that the map is one-to-one everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocationMap {
    pairs: Vec<LocationPair>,
}

/// What the map says of a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// Its counterpart in the other site.
    To(String),
    /// No pair holds it.
    Unmapped,
}

impl LocationMap {
    /// A map of pairs, if no location of a site lies in another one of that site.
    ///
    /// Nested locations could meet in the other site: of `s3://a -> s3://x` and
    /// `s3://a/b -> s3://y`, `s3://x/b` would lead back to no location of its own.
    ///
    /// # Errors
    /// The indices of the first two pairs that overlap, the later one first.
    pub fn new(pairs: Vec<LocationPair>) -> Result<Self, (usize, usize)> {
        for (at, pair) in pairs.iter().enumerate() {
            let clashes = |earlier: &LocationPair| {
                SiteId::ALL
                    .into_iter()
                    .any(|site| earlier.sites.get(site).overlaps(pair.sites.get(site)))
            };
            if let Some(earlier) = pairs.iter().take(at).position(clashes) {
                return Err((at, earlier));
            }
        }
        Ok(Self { pairs })
    }

    /// The pairs, as given.
    #[must_use]
    pub fn pairs(&self) -> &[LocationPair] {
        &self.pairs
    }

    /// The counterpart of a location of one site in the other site. The spelling
    /// (scheme, slashes) is kept.
    ///
    /// # Errors
    /// The text names no location in S3.
    pub fn map(&self, text: &str, from: SiteId) -> Result<Mapped, LocationError> {
        let location = Location::parse(text)?;
        Ok(match self.counterpart(&location, from) {
            Some(mapped) => Mapped::To(mapped.to_string()),
            None => Mapped::Unmapped,
        })
    }

    fn counterpart(&self, location: &Location, from: SiteId) -> Option<Location> {
        let (rest, target) = self.pairs.iter().find_map(|pair| {
            let rest = location.below(pair.sites.get(from))?;
            Some((rest, pair.sites.get(from.other())))
        })?;
        Some(Location {
            prefix: location.prefix.clone(),
            bucket: target.bucket.clone(),
            path: format!("{}{rest}", target.path.trim_end_matches('/')),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Result<LocationMap, (usize, usize)> {
        let pair = |&(a, b): &(&str, &str)| LocationPair {
            sites: BySite {
                a: Location::parse(a).unwrap(),
                b: Location::parse(b).unwrap(),
            },
            copied_by: CopiedBy::Other,
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
        assert_eq!(map.map("s3://a/sales/t/", SiteId::A), to("s3://y/eu/t/"));
        assert_eq!(map.map("s3://a/sales", SiteId::A), to("s3://y/eu"));
        assert_eq!(map.map("s3://a/sales2/t", SiteId::A), to("s3://x/sales2/t"));
        assert_eq!(map.map("s3://a/sales22", SiteId::A), Ok(Mapped::Unmapped));
        assert_eq!(map.map("s3a://b/t//u", SiteId::A), to("s3a://w/t//u"));
        assert_eq!(
            map.map("arn:aws:s3:::b/t", SiteId::A),
            to("arn:aws:s3:::w/t")
        );
        assert_eq!(map.map("s3://q/p/r", SiteId::A), to("s3://z/r"));
        assert_eq!(map.map("s3://z/r", SiteId::B), to("s3://q/p/r"));
        assert_eq!(map.map("s3://other/t", SiteId::A), Ok(Mapped::Unmapped));
    }

    #[test]
    fn a_bucket_name_in_the_path_or_in_another_name_is_left_alone() {
        let map = map(&[("s3://sales", "s3://sales-dr")]).unwrap();
        assert_eq!(
            map.map("s3://sales/sales/x", SiteId::A),
            to("s3://sales-dr/sales/x")
        );
        assert_eq!(map.map("s3://sales2/x", SiteId::A), Ok(Mapped::Unmapped));
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
