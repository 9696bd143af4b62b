//! Checks that S3 replication can copy the objects of each location pair.

use super::Policy;
use crate::document::{DocumentError, DocumentSource};
use crate::location::CopiedBy;
use crate::topology::SiteId;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

/// The positions of the pairs in the document.
#[derive(Deserialize)]
struct Pairs {
    #[serde(default)]
    location: Vec<Spanned<IgnoredAny>>,
}

impl Policy {
    /// Checks that the locations of each pair that S3 copies have the same path: S3 replication copies
    /// an object under its own key (S3 API reference, `Destination` has no prefix).
    ///
    /// [`Self::parse`] accepts such a pair, so that functions whose ledger holds an older policy go on
    /// with it. Whoever writes or stores a policy calls this.
    ///
    /// # Errors
    /// The first pair with two paths, with its line.
    pub fn check_copied_keys(&self) -> Result<(), DocumentError> {
        let pairs = self.locations.pairs().iter();
        let is_impossible = |pair: &crate::location::LocationPair| {
            let prefix = |site| pair.sites.get(site).prefix();
            pair.copied_by == CopiedBy::S3 && prefix(SiteId::A) != prefix(SiteId::B)
        };
        let Some((at, pair)) = pairs.enumerate().find(|(_, pair)| is_impossible(pair)) else {
            return Ok(());
        };
        let source = DocumentSource {
            document: "policy",
            text: self.text(),
        };
        let positions: Pairs = source.parse()?;
        let position = positions
            .location
            .get(at)
            .map_or(0, |pair| pair.span().start);
        let problem = format!(
            "S3 replication copies each object under its own key, and the paths of {} and {} differ; \
             give both the same path, or add copied-by = \"other\" if something else copies the objects",
            pair.sites.a, pair.sites.b
        );
        Err(source.error(position, "location", problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITES: &str = "[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
         [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n";

    fn problem(pairs: &str) -> Option<String> {
        let policy = Policy::parse(&format!("{SITES}{pairs}")).unwrap();
        let error = policy.check_copied_keys().err()?;
        Some(error.to_string())
    }

    #[test]
    fn paths_that_differ_are_refused_with_their_line_unless_something_else_copies() {
        let sound = "[[location]]\na = \"s3://x/raw\"\nb = \"arn:aws:s3:::y/raw/\"\n";
        assert_eq!(problem(sound), None);
        assert_eq!(
            problem("[[location]]\na = \"s3://x\"\nb = \"s3a://y/\"\n"),
            None
        );
        let other = "[[location]]\na = \"s3://z/raw\"\nb = \"s3://w/dr/raw\"\n";
        let found = problem(&format!("{sound}{other}")).unwrap();
        assert!(
            found.starts_with("policy line 12, key `location`: ")
                && found.contains("s3://z/raw and s3://w/dr/raw differ"),
            "{found}"
        );
        assert_eq!(problem(&format!("{other}copied-by = \"other\"\n")), None);
        assert!(problem(&format!("{other}copied-by = \"s3\"\n")).is_some());
        assert!(problem("[[location]]\na = \"s3://z/Raw\"\nb = \"s3://w/raw\"\n").is_some());
        assert!(problem("[[location]]\na = \"s3://z/raw\"\nb = \"s3://w\"\n").is_some());
    }
}
