//! Locations in S3, and the map between those of the two sites.

use crate::topology::{AwsPartition, BySite, SiteId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A bucket and a path in it. `s3://b/p`, `s3a://b/p`, `s3n://b/p` and
/// `arn:aws:s3:::b/p` are spellings of one location (LF-27).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    prefix: String,
    bucket: String,
    path: String,
}

/// Why a text is not a location in S3.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Neither an S3 URI nor an S3 ARN.
    #[error("it is neither an s3:// URI nor the ARN of a bucket or prefix")]
    NotS3,
    /// No bucket, or one with characters that no bucket has.
    #[error("it names no valid bucket")]
    Bucket,
}

const SCHEMES: [&str; 3] = ["s3://", "s3a://", "s3n://"];

impl Location {
    /// Parses a URI or an ARN. The path is kept byte for byte.
    ///
    /// # Errors
    /// The text is neither an S3 URI nor an S3 ARN, or its bucket is not valid.
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

    /// Whether a text is meant as a location in S3: a URI with a scheme of S3, or an ARN of S3. The
    /// text may still not be one that [`Self::parse`] accepts, such as the ARN of an access point.
    #[must_use]
    pub fn is_s3(text: &str) -> bool {
        let text = text.trim();
        if let Some(arn) = text.strip_prefix("arn:") {
            return arn.split(':').nth(1) == Some("s3");
        }
        let is_scheme = |scheme: &str| {
            let mut known = SCHEMES.iter().filter_map(|known| known.split_once(':'));
            known.any(|(known, _)| known.eq_ignore_ascii_case(scheme))
        };
        text.split_once(':')
            .is_some_and(|(scheme, _)| is_scheme(scheme))
    }

    /// The words for a data location that the policy pairs with none.
    pub const NO_PAIR: &'static str = "a data location that no [[location]] pair holds";

    /// Why no counterpart of a data location is known, in words that follow "on" or "of".
    #[must_use]
    pub fn describe_unmapped(text: &str) -> &'static str {
        match Self::is_s3(text) {
            true => Self::NO_PAIR,
            false => "a data location that is no S3 bucket or prefix",
        }
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix of the keys of its objects: empty, or a path that ends in a slash.
    #[must_use]
    pub fn prefix(&self) -> String {
        match self.path.trim_matches('/') {
            "" => String::new(),
            path => format!("{path}/"),
        }
    }

    /// The location as an ARN without a trailing slash: one text for every spelling. A URI gets the
    /// given partition; an ARN keeps its own.
    #[must_use]
    pub fn as_arn(&self, partition: AwsPartition) -> String {
        let prefix = match self.prefix.starts_with("arn:") {
            true => self.prefix.clone(),
            false => format!("arn:{partition}:s3:::"),
        };
        let path = self.path.trim_end_matches('/');
        format!("{prefix}{}{path}", self.bucket)
    }

    /// The location in its own spelling, without a trailing slash.
    #[must_use]
    pub fn without_trailing_slash(&self) -> String {
        let path = self.path.trim_end_matches('/');
        format!("{}{}{path}", self.prefix, self.bucket)
    }

    /// The path of `self` relative to `parent`, if `parent` contains it. `s3://b/sales` does not
    /// contain `s3://b/sales2`.
    fn relative_to<'a>(&'a self, parent: &Self) -> Option<&'a str> {
        if self.bucket != parent.bucket {
            return None;
        }
        let rest = self.path.strip_prefix(parent.path.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// Whether another location is equal to this one, or lies in it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.relative_to(self).is_some()
    }

    /// Whether one of the two locations contains the other, or both are equal.
    fn overlaps(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
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

/// Disjoint pairs of locations, so that the map is one-to-one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocationMap {
    pairs: Vec<LocationPair>,
}

/// The result of mapping a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// Its counterpart in the other site.
    To(String),
    /// No pair contains it.
    Unmapped,
}

impl LocationMap {
    /// Creates a map of pairs, if no location of a site contains another one of that site.
    ///
    /// With nested locations the map could not be reversed: with `s3://a -> s3://x` and
    /// `s3://a/b -> s3://y`, no location maps to `s3://x/b`.
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

    /// The counterpart, in the other site, of a location of `site`. The spelling (scheme, slashes) is kept.
    ///
    /// # Errors
    /// The text is not a location in S3.
    pub fn counterpart_from(&self, site: SiteId, text: &str) -> Result<Mapped, LocationError> {
        let location = Location::parse(text)?;
        Ok(match self.counterpart_location(&location, site) {
            Some(mapped) => Mapped::To(mapped.to_string()),
            None => Mapped::Unmapped,
        })
    }

    /// Whether a text is a location in S3 that lies in a location of `site`.
    #[must_use]
    pub fn contains(&self, site: SiteId, text: &str) -> bool {
        Location::parse(text)
            .is_ok_and(|location| self.counterpart_location(&location, site).is_some())
    }

    fn counterpart_location(&self, location: &Location, from: SiteId) -> Option<Location> {
        let (rest, target) = self.pairs.iter().find_map(|pair| {
            let rest = location.relative_to(pair.sites.get(from))?;
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
    fn a_location_is_mapped_at_a_path_boundary() {
        let map = map(&[
            ("s3://a/sales2", "s3://x/sales2"),
            ("s3://a/sales/", "s3://y/eu"),
            ("s3://b/", "s3://w"),
            ("s3://q/p", "s3://z"),
        ])
        .unwrap();
        assert_eq!(
            map.counterpart_from(SiteId::A, "s3://a/sales/t/"),
            to("s3://y/eu/t/")
        );
        assert_eq!(
            map.counterpart_from(SiteId::A, "s3://a/sales"),
            to("s3://y/eu")
        );
        assert_eq!(
            map.counterpart_from(SiteId::A, "s3://a/sales2/t"),
            to("s3://x/sales2/t")
        );
        assert_eq!(
            map.counterpart_from(SiteId::A, "s3://a/sales22"),
            Ok(Mapped::Unmapped)
        );
        assert_eq!(
            map.counterpart_from(SiteId::A, "s3a://b/t//u"),
            to("s3a://w/t//u")
        );
        assert_eq!(
            map.counterpart_from(SiteId::A, "arn:aws:s3:::b/t"),
            to("arn:aws:s3:::w/t")
        );
        assert_eq!(
            map.counterpart_from(SiteId::A, "s3://q/p/r"),
            to("s3://z/r")
        );
        assert_eq!(
            map.counterpart_from(SiteId::B, "s3://z/r"),
            to("s3://q/p/r")
        );
        assert_eq!(
            map.counterpart_from(SiteId::A, "s3://other/t"),
            Ok(Mapped::Unmapped)
        );
    }

    #[test]
    fn a_bucket_name_in_the_path_or_in_another_name_is_left_alone() {
        let map = map(&[("s3://sales", "s3://sales-dr")]).unwrap();
        assert_eq!(
            map.counterpart_from(SiteId::A, "s3://sales/sales/x"),
            to("s3://sales-dr/sales/x")
        );
        assert_eq!(
            map.counterpart_from(SiteId::A, "s3://sales2/x"),
            Ok(Mapped::Unmapped)
        );
    }

    #[test]
    fn a_map_whose_locations_overlap_is_refused() {
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
    fn schemes_and_arns_of_s3_are_told_from_others() {
        for text in [
            "s3://a/x",
            "S3A://a",
            "s3n:/a",
            " s3://a",
            "s3:///x",
            "arn:aws:s3:::a/x",
            "arn:aws-cn:s3:::a",
            "arn:aws:s3:us-east-1:111122223333:accesspoint/p",
        ] {
            assert!(Location::is_s3(text), "{text}");
        }
        for text in [
            "",
            " ",
            "file:/s3://a",
            "hdfs://nn/x",
            "s3tables://a",
            "s3",
            "jdbc:s3://a",
            "arn:aws:s3tables:us-east-1:111122223333:bucket/*",
            "arn:aws:kinesis:us-east-1:111122223333:stream/s3",
        ] {
            assert!(!Location::is_s3(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_location_in_s3_is_said_to_be_none() {
        for text in ["hdfs://nn/x", "file:/tmp", "", "sales/orders"] {
            assert_eq!(Location::parse(text), Err(LocationError::NotS3), "{text}");
        }
        for text in ["s3://", "s3:///x", "s3://a b/x", "arn:aws:s3:::"] {
            assert_eq!(Location::parse(text), Err(LocationError::Bucket), "{text}");
        }
    }
}
