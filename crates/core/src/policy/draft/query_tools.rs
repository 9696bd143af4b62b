//! Drafts the table `[query]` from the workgroups of Athena that exist: where results are written, and with which
//! keys, in workgroups of one name in both Regions.

use super::quoted;
use crate::policy::Policy;
use crate::readiness::Reading;
use crate::render::escape;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The workgroup that each Region has.
const DEFAULT_WORKGROUP: &str = "primary";

/// What a draft needs of a workgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftWorkGroup {
    /// Where its queries write results.
    pub result_location: Option<String>,
    /// The KMS keys that it names.
    pub kms_keys: BTreeSet<String>,
}

/// The workgroups of one Region, by name.
pub type DraftWorkGroups = BTreeMap<String, Reading<DraftWorkGroup>>;

/// Adds the table, or says why it lacks something; nothing where no workgroup was made or changed.
pub(super) fn add(
    text: &mut String,
    primary: &Reading<DraftWorkGroups>,
    standby: &Reading<DraftWorkGroups>,
) {
    let groups = match primary {
        Reading::Read(groups) => groups,
        Reading::Unread(error) => {
            let error = escape(error);
            let _ = writeln!(
                text,
                "\n# Athena's workgroups could not be read: {error}. Add the table [query] if they are to be replicated."
            );
            return;
        }
    };
    let is_unchanged = |(name, group): (&String, &Reading<DraftWorkGroup>)| {
        name == DEFAULT_WORKGROUP && group.read() == Some(&DraftWorkGroup::default())
    };
    if groups.iter().all(is_unchanged) {
        return;
    }
    let names: Vec<&str> = groups.keys().map(String::as_str).collect();
    let _ = writeln!(
        text,
        "\n# Athena's workgroups, with what is in them, are replicated: {}.\n# Without this table, Twinlake reads and \
         writes nothing of Athena.\n[query]",
        escape(&names.join(", "))
    );
    let mut drafted = Drafted::default();
    for (name, group) in groups {
        drafted.add_group(text, name, group, standby);
    }
    for (table, name, subject) in &drafted.open {
        let line = format!(
            "The workgroup {name} names {subject}, and the standby shows no counterpart: add a [[query.{table}]] pair."
        );
        let _ = writeln!(text, "# {}", escape(&line));
    }
    if let Reading::Unread(error) = standby {
        let line = format!("The workgroups of the standby could not be read: {error}");
        let _ = writeln!(text, "# {}", escape(&line));
    }
}

/// The pairs that were drafted, by table and text in the primary, and what has no pair.
#[derive(Default)]
struct Drafted {
    pairs: BTreeMap<(&'static str, String), String>,
    open: BTreeSet<(&'static str, String, String)>,
}

impl Drafted {
    fn add_group(
        &mut self,
        text: &mut String,
        name: &str,
        group: &Reading<DraftWorkGroup>,
        standby: &Reading<DraftWorkGroups>,
    ) {
        let group = match group {
            Reading::Read(group) => group,
            Reading::Unread(error) => {
                let line = format!("The workgroup {name} could not be read: {error}");
                let _ = writeln!(text, "# {}", escape(&line));
                return;
            }
        };
        let peer = standby.read().and_then(|groups| groups.get(name));
        let peer = peer.and_then(Reading::read);
        let of_peer = peer.and_then(|peer| peer.result_location.as_deref());
        if let Some(location) = &group.result_location {
            let pair = of_peer.map(|of_peer| without_common_end(location, of_peer));
            self.add_pair(text, name, "result-location", (location, pair));
        }
        let keys = peer.map(|peer| &peer.kms_keys);
        for key in &group.kms_keys {
            // Which of several keys is which cannot be seen.
            let only = keys.filter(|keys| keys.len() == 1 && group.kms_keys.len() == 1);
            let pair = only.and_then(|keys| keys.first());
            let pair = pair.map(|peer| (key.clone(), peer.clone()));
            self.add_pair(text, name, "kms-key", (key, pair));
        }
    }

    /// Adds a pair that the policy accepts beside those before it.
    fn add_pair(
        &mut self,
        text: &mut String,
        name: &str,
        table: &'static str,
        (subject, pair): (&str, Option<(String, String)>),
    ) {
        let Some((a, b)) = pair else {
            self.open
                .insert((table, name.to_owned(), subject.to_owned()));
            return;
        };
        if self.pairs.get(&(table, a.clone())) == Some(&b) {
            return;
        }
        let comment = format!("Of the workgroup {name}.");
        let added = format!(
            "\n# {}\n[[query.{table}]]\na = {}\nb = {}\n",
            escape(&comment),
            quoted(&a),
            quoted(&b)
        );
        match Policy::parse(&format!("{text}{added}")) {
            Ok(_) => {
                text.push_str(&added);
                self.pairs.insert((table, a), b);
            }
            Err(error) => {
                let line =
                    format!("The workgroup {name} pairs {a} with {b}, which is not added: {error}");
                let _ = writeln!(text, "# {}", escape(&line));
            }
        }
    }
}

/// Two locations without the directories at their ends that are the same: `s3://a/etl/` and `s3://b/etl/` are
/// `s3://a/` and `s3://b/`.
fn without_common_end(one: &str, other: &str) -> (String, String) {
    let (mut one, mut other) = (one.trim_end_matches('/'), other.trim_end_matches('/'));
    while let (Some((left, name)), Some((right, same))) =
        (one.rsplit_once('/'), other.rsplit_once('/'))
    {
        // `s3:/` is what stands before a bucket.
        if name != same || left.ends_with(":/") || right.ends_with(":/") {
            break;
        }
        (one, other) = (left, right);
    }
    (format!("{one}/"), format!("{other}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n[[region]]\nid = \
         \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n";

    fn groups(of: &[(&str, Option<&str>, &[&str])]) -> Reading<DraftWorkGroups> {
        let groups = of.iter().map(|(name, location, keys)| {
            let group = DraftWorkGroup {
                result_location: location.map(str::to_owned),
                kms_keys: keys.iter().map(|&key| key.to_owned()).collect(),
            };
            ((*name).to_owned(), Reading::Read(group))
        });
        Reading::Read(groups.collect())
    }

    /// The text that is added, which is part of a valid policy.
    fn added(primary: &Reading<DraftWorkGroups>, standby: &Reading<DraftWorkGroups>) -> String {
        let mut text = BASE.to_owned();
        add(&mut text, primary, standby);
        Policy::parse(&text).unwrap();
        text.strip_prefix(BASE).unwrap().to_owned()
    }

    #[test]
    fn workgroups_of_one_name_pair_their_locations_and_keys() {
        let primary = groups(&[
            ("bi", Some("s3://results-a/bi/"), &["alias/a"]),
            ("etl", Some("s3://results-a/etl"), &["alias/a"]),
            ("primary", None, &[]),
        ]);
        let standby = groups(&[
            ("bi", Some("s3://results-b/bi"), &["alias/b"]),
            ("etl", Some("s3://results-b/etl/"), &["alias/b"]),
            ("other", Some("s3://x/"), &[]),
        ]);
        let text = added(&primary, &standby);
        assert!(
            text.contains("are replicated: bi, etl, primary.\n"),
            "{text}"
        );
        let pair = |table, a, b| format!("[[query.{table}]]\na = \"{a}\"\nb = \"{b}\"\n");
        for pair in [
            pair("result-location", "s3://results-a/", "s3://results-b/"),
            pair("kms-key", "alias/a", "alias/b"),
        ] {
            assert_eq!(text.matches(&pair).count(), 1, "{pair}: {text}");
        }
        assert!(!text.contains("no counterpart"), "{text}");
    }

    #[test]
    fn what_has_no_counterpart_or_contradicts_is_named() {
        let primary = groups(&[
            ("bi", Some("s3://results-a/x/"), &["k1", "k2"]),
            ("etl", Some("s3://results-a/x/"), &[]),
            ("new\n[x]", Some("s3://new/"), &["k3"]),
        ]);
        let standby = groups(&[
            ("bi", Some("s3://results-b/y/"), &["k4"]),
            ("etl", Some("s3://results-b/z/"), &[]),
        ]);
        let text = added(&primary, &standby);
        assert_eq!(
            text.matches("[[query.result-location]]\na").count(),
            1,
            "{text}"
        );
        assert!(
            text.contains("etl pairs s3://results-a/x/ with s3://results-b/z/, which is not added")
        );
        for subject in ["bi names k1", "bi names k2", "names s3://new/", "names k3"] {
            assert!(text.contains(subject), "{subject}: {text}");
        }
        let (_, query) = text.split_once("[query]\n").unwrap();
        assert!(!query.contains("\n[x]"), "{query}");
    }

    #[test]
    fn without_workgroups_there_is_no_table_and_what_is_denied_is_said() {
        let unchanged = groups(&[("primary", None, &[])]);
        assert_eq!(added(&unchanged, &unchanged), "");
        let denied = || Reading::Unread("denied".to_owned());
        let text = added(&denied(), &unchanged);
        assert!(text.contains("could not be read: denied") && !text.contains("\n[query]"));
        let text = added(&groups(&[("etl", Some("s3://r/"), &[])]), &denied());
        assert!(
            text.contains("\n[query]\n# The workgroup etl names s3://r/"),
            "{text}"
        );
        assert!(text.contains("of the standby could not be read: denied"));
        let one = DraftWorkGroups::from([("etl".to_owned(), Reading::Unread("no".to_owned()))]);
        let text = added(&Reading::Read(one), &unchanged);
        assert!(
            text.contains("The workgroup etl could not be read: no"),
            "{text}"
        );
    }

    #[test]
    fn equal_directories_at_the_end_are_left_out_but_no_bucket() {
        let cut = |one, other| without_common_end(one, other);
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!(cut("s3://a/x/y", "s3://b/x/y/"), pair("s3://a/", "s3://b/"));
        assert_eq!(
            cut("s3://a/1/y/", "s3://b/2/y/"),
            pair("s3://a/1/", "s3://b/2/")
        );
        assert_eq!(cut("s3://a/y/", "s3://a/y/"), pair("s3://a/", "s3://a/"));
        assert_eq!(cut("s3://a", "s3://b/a"), pair("s3://a/", "s3://b/a/"));
    }
}
