//! Names in a drafted policy the trails that exist, and what they leave out.

use crate::readiness::{Reading, Trail};
use crate::render::escape;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Adds a comment for each Region.
pub(super) fn add(text: &mut String, trails: &BTreeMap<String, Reading<Vec<Trail>>>) {
    if !trails.is_empty() {
        let _ = writeln!(
            text,
            "\n# Twinlake needs a trail in each Region that logs management events, read-only ones too."
        );
    }
    for (region, trails) in trails {
        let found = match trails {
            Reading::Unread(error) => format!("could not be read: {error}"),
            Reading::Read(trails) if trails.is_empty() => {
                "none. `make deploy-audit` makes one".to_owned()
            }
            Reading::Read(trails) => {
                let found: Vec<String> = trails.iter().map(describe).collect();
                found.join("; ")
            }
        };
        let _ = writeln!(text, "#   {}: {}", escape(region), escape(&found));
    }
}

fn describe(trail: &Trail) -> String {
    let state = match &trail.is_logging {
        Reading::Unread(error) => format!("whether it logs could not be read: {error}"),
        Reading::Read(false) => "does not log".to_owned(),
        Reading::Read(true) => match &trail.selection {
            Reading::Unread(error) => format!("its event selectors could not be read: {error}"),
            Reading::Read(selected) => match (selected.writes, selected.reads) {
                (true, true) => "logs them".to_owned(),
                (true, false) => "logs write-only events".to_owned(),
                (false, true) => "logs read-only events".to_owned(),
                (false, false) => "logs no management events".to_owned(),
            },
        },
    };
    format!("{} ({state})", trail.arn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::TrailEventSelection;

    fn trail(arn: &str, is_logging: bool, writes: bool, reads: bool) -> Trail {
        Trail {
            arn: arn.to_owned(),
            is_logging: Reading::Read(is_logging),
            delivery_error: None,
            selection: Reading::Read(TrailEventSelection { writes, reads }),
            has_advanced_selectors: false,
            is_of_organization: false,
        }
    }

    #[test]
    fn each_region_has_a_comment_on_one_line() {
        let trails = vec![
            trail("one", true, true, true),
            trail("two", true, true, false),
            trail("three\nx = 1", false, true, true),
        ];
        let trails = BTreeMap::from([
            ("us-east-1".to_owned(), Reading::Read(trails)),
            ("ap-south-1".to_owned(), Reading::Read(Vec::new())),
            ("eu-west-1".to_owned(), Reading::Unread("denied".to_owned())),
        ]);
        let mut text = String::new();
        add(&mut text, &trails);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        let [india, ireland, us] = lines[..] else {
            panic!("{text}")
        };
        assert_eq!(india, "#   ap-south-1: none. `make deploy-audit` makes one");
        assert_eq!(ireland, "#   eu-west-1: could not be read: denied");
        assert!(
            us.starts_with("#   us-east-1: one (logs them); two (logs write-only events); three")
        );
        assert!(us.ends_with("(does not log)"), "{us}");
    }
}
