//! Drafts a policy from what a primary Region shows: the rules that replicate its buckets, and where
//! its tables lie.

mod query_tools;
mod trails;

pub use query_tools::{DraftWorkGroup, DraftWorkGroups};

use super::Policy;
use crate::document::DocumentError;
use crate::location::{Location, Mapped};
use crate::readiness::{Reading, ReplicationRule, TableLocation, Trail, count_tables, shorten};
use crate::render::{counted, escape};
use crate::topology::{Site, SiteId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What a policy is drafted from.
#[derive(Clone, Debug)]
pub struct DraftInputs {
    /// The primary: site `a` of the policy.
    pub primary: Site,
    /// The standby: site `b` of the policy.
    pub standby: Site,
    /// The number of databases of the primary, without resource links.
    pub databases: usize,
    /// The tables whose data is in S3, with their locations.
    pub tables: Vec<TableLocation>,
    /// The rules of each bucket that holds data of a table, by bucket.
    pub rules: BTreeMap<String, Reading<Vec<ReplicationRule>>>,
    /// The Region of each bucket that a rule names as its destination; `None` if there is no such
    /// bucket.
    pub destinations: BTreeMap<String, Reading<Option<String>>>,
    /// The aliases of the keys that the rules name for replicas, by the key as a rule names it.
    pub key_aliases: BTreeMap<String, Reading<Vec<String>>>,
    /// The trails of both Regions, by Region.
    pub trails: BTreeMap<String, Reading<Vec<Trail>>>,
    /// The workgroups of Athena of the primary.
    pub workgroups: Reading<DraftWorkGroups>,
    /// Those of the standby.
    pub standby_workgroups: Reading<DraftWorkGroups>,
    /// What the primary holds that Twinlake does not replicate, by kind.
    pub not_replicated: BTreeMap<String, usize>,
}

/// A pair of locations that a rule replicates.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DraftPair {
    bucket: String,
    prefix: String,
    destination: String,
    rule: String,
    /// Of the replicas of objects that KMS encrypts.
    replica_key: Option<String>,
}

/// A drafted policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDraft {
    /// The document, with comments.
    pub text: String,
    /// The number of tables inside the pairs.
    pub tables_in_pairs: usize,
    /// The number of tables outside every pair.
    pub tables_outside: usize,
}

/// Drafts a policy. The document is valid: it has passed [`Policy::parse`].
///
/// # Errors
/// The two Regions make no valid policy, such as one Region twice.
pub fn draft(inputs: &DraftInputs) -> Result<PolicyDraft, DocumentError> {
    let (pairs, conflicts) = pairs(inputs);
    let mut text = heading(inputs);
    for pair in &pairs {
        let tables = count_tables(tables_below(inputs, &pair.bucket, &pair.prefix).count());
        let key = match &pair.replica_key {
            Some(key) => format!(
                "# The KMS key of replicas: {}{}\n",
                escape(key),
                aliases_of(inputs, key)
            ),
            None => String::new(),
        };
        let _ = write!(
            text,
            "\n# Rule {} of the bucket {} replicates it; {tables}.\n{key}[[location]]\na = {}\nb = {}\n",
            escape(&pair.rule),
            pair.bucket,
            quoted(&format!("s3://{}/{}", pair.bucket, pair.prefix)),
            quoted(&format!("s3://{}/{}", pair.destination, pair.prefix)),
        );
    }
    let policy = Policy::parse(&text)?;
    let is_outside = |table: &&TableLocation| {
        let mapped = policy
            .locations
            .counterpart_from(SiteId::A, &table.location);
        !matches!(mapped, Ok(Mapped::To(_)))
    };
    let outside: Vec<&TableLocation> = inputs.tables.iter().filter(is_outside).collect();
    add_outside(&mut text, inputs, &outside);
    for conflict in conflicts {
        let _ = writeln!(text, "# {}", escape(&conflict));
    }
    add_not_replicated(&mut text, inputs);
    query_tools::add(&mut text, &inputs.workgroups, &inputs.standby_workgroups);
    trails::add(&mut text, &inputs.trails);
    Policy::parse(&text)?;
    Ok(PolicyDraft {
        tables_in_pairs: inputs.tables.len() - outside.len(),
        tables_outside: outside.len(),
        text,
    })
}

/// The aliases of a key, in parentheses; nothing if it has none.
fn aliases_of(inputs: &DraftInputs, key: &str) -> String {
    match inputs.key_aliases.get(key) {
        None => String::new(),
        Some(Reading::Read(aliases)) if aliases.is_empty() => String::new(),
        Some(Reading::Read(aliases)) => format!(" ({})", escape(&aliases.join(", "))),
        Some(Reading::Unread(error)) => {
            format!(" (its aliases could not be read: {})", escape(error))
        }
    }
}

fn heading(inputs: &DraftInputs) -> String {
    let mut text =
        "# Drafted by `twinlake init`. Every key: docs/policy.md\nversion = 1\n".to_owned();
    let iceberg_tables = inputs
        .tables
        .iter()
        .filter(|table| table.is_iceberg)
        .count();
    if iceberg_tables > 0 {
        let _ = write!(
            text,
            "\n# Iceberg tables: {iceberg_tables}. They are not created in the standby; with \"relocate\" they are, if the \
             stack has\n# the rights of docs/iceberg.md.\niceberg = \"withhold\"\n"
        );
    }
    let sites = [
        ("a", &inputs.primary, "primary"),
        ("b", &inputs.standby, "standby"),
    ];
    for (id, site, position) in sites {
        let _ = write!(
            text,
            "\n# The {position} at first.\n[[region]]\nid = \"{id}\"\nregion = {}\naccount = {}\n",
            quoted(&site.region),
            quoted(&site.account),
        );
    }
    text
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The pairs of the rules to buckets of the standby, and why rules make none.
fn pairs(inputs: &DraftInputs) -> (Vec<DraftPair>, Vec<String>) {
    let mut pairs: Vec<DraftPair> = Vec::new();
    let mut conflicts = Vec::new();
    for (bucket, rules) in &inputs.rules {
        let rules = match rules {
            Reading::Read(rules) => rules,
            Reading::Unread(error) => {
                conflicts.push(format!(
                    "The rules of the bucket {bucket} could not be read: {error}"
                ));
                continue;
            }
        };
        // The shortest prefix first: it contains the others.
        let mut rules: Vec<&ReplicationRule> = rules.iter().collect();
        rules.sort_by_key(|rule| (rule.prefix.len(), -rule.priority));
        for rule in rules {
            if let Some(reason) = unusable(inputs, rule) {
                conflicts.push(format!("Rule {} of the bucket {bucket} {reason}.", rule.id));
                continue;
            }
            for prefix in prefixes(inputs, bucket, &rule.prefix) {
                let pair = DraftPair {
                    bucket: bucket.clone(),
                    prefix,
                    destination: rule.destination.clone(),
                    rule: rule.id.clone(),
                    replica_key: rule.replica_key.clone(),
                };
                add_pair(&mut pairs, &mut conflicts, pair);
            }
        }
    }
    (pairs, conflicts)
}

/// Why a rule replicates nothing to the standby, or not all of its prefix.
fn unusable(inputs: &DraftInputs, rule: &ReplicationRule) -> Option<String> {
    if !rule.is_enabled {
        return Some("is disabled".to_owned());
    }
    if rule.has_tag_filter {
        return Some("replicates only objects with certain tags".to_owned());
    }
    let destination = &rule.destination;
    match inputs.destinations.get(destination) {
        Some(Reading::Read(Some(region))) if *region == inputs.standby.region => None,
        Some(Reading::Read(Some(region))) => Some(format!(
            "replicates to {destination} in {region}, not to the standby"
        )),
        Some(Reading::Read(None)) => {
            Some(format!("replicates to {destination}, which does not exist"))
        }
        Some(Reading::Unread(error)) => Some(format!(
            "replicates to {destination}, which could not be read: {error}"
        )),
        None => Some(format!("replicates to {destination}, which was not read")),
    }
}

/// The directories that a rule covers. A prefix that does not end at a slash, such as `sal`, covers
/// whole directories only below it: those that hold a table.
fn prefixes(inputs: &DraftInputs, bucket: &str, prefix: &str) -> BTreeSet<String> {
    if prefix.is_empty() || prefix.ends_with('/') {
        return BTreeSet::from([prefix.to_owned()]);
    }
    let below = tables_below(inputs, bucket, prefix);
    let directory = |location: Location| {
        let path = location.prefix();
        let rest = path.get(prefix.len()..)?;
        let end = prefix.len() + rest.find('/')? + 1;
        path.get(..end).map(str::to_owned)
    };
    below.filter_map(directory).collect()
}

/// The locations of tables in a bucket whose keys have a prefix.
fn tables_below<'a>(
    inputs: &'a DraftInputs,
    bucket: &'a str,
    prefix: &'a str,
) -> impl Iterator<Item = Location> + 'a {
    let locations = inputs.tables.iter();
    let locations = locations.filter_map(|table| Location::parse(&table.location).ok());
    locations.filter(move |location| {
        location.bucket() == bucket && location.prefix().starts_with(prefix)
    })
}

/// Adds a pair, unless it overlaps with one that is there: the pairs of a policy are one-to-one.
fn add_pair(pairs: &mut Vec<DraftPair>, conflicts: &mut Vec<String>, pair: DraftPair) {
    let overlaps = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
    let clash = pairs.iter().find(|other| {
        let is_same = other.bucket == pair.bucket || other.destination == pair.destination;
        is_same && overlaps(&other.prefix, &pair.prefix)
    });
    match clash {
        None => pairs.push(pair),
        Some(other) if (&other.bucket, &other.destination) == (&pair.bucket, &pair.destination) => {
        }
        Some(other) => conflicts.push(format!(
            "Rule {} replicates s3://{}/{} to {}, which overlaps with rule {} of the bucket {}.",
            pair.rule, pair.bucket, pair.prefix, pair.destination, other.rule, other.bucket
        )),
    }
}

fn add_outside(text: &mut String, inputs: &DraftInputs, outside: &[&TableLocation]) {
    let mut by_bucket: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for table in outside {
        let bucket = Location::parse(&table.location).map_or_else(
            |_| table.location.clone(),
            |found| found.bucket().to_owned(),
        );
        by_bucket
            .entry(bucket)
            .or_default()
            .push(table.table.to_string());
    }
    if by_bucket.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n# These tables are outside every pair: Twinlake holds them (unmapped-location = \"refuse\"). \
         Replicate\n# their buckets and add pairs, or exclude them."
    );
    for (bucket, tables) in by_bucket {
        let has_rules = match inputs.rules.get(&bucket) {
            Some(Reading::Read(rules)) if rules.is_empty() => "no replication rule",
            Some(Reading::Read(_)) => "no rule for them",
            Some(Reading::Unread(_)) => "the rules could not be read",
            None => "no bucket of S3",
        };
        let _ = writeln!(
            text,
            "#   {}: {}, {has_rules}: {}",
            escape(&bucket),
            count_tables(tables.len()),
            escape(&shorten(&tables))
        );
    }
}

fn add_not_replicated(text: &mut String, inputs: &DraftInputs) {
    let found = inputs
        .not_replicated
        .iter()
        .filter(|(_, count)| **count > 0);
    let found: Vec<String> = found
        .map(|(kind, count)| counted(*count, &escape(kind)))
        .collect();
    if !found.is_empty() {
        let _ = writeln!(
            text,
            "\n# Not replicated, and counted in the daily digest: {}",
            found.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Name, TableId};

    fn site(region: &str) -> Site {
        Site {
            region: region.to_owned(),
            account: "111122223333".to_owned(),
            role: None,
        }
    }

    fn table(name: &str, location: &str) -> TableLocation {
        TableLocation {
            table: TableId::new(Name::new("sales").unwrap(), Name::new(name).unwrap()),
            location: location.to_owned(),
            is_iceberg: false,
        }
    }

    fn rule(id: &str, prefix: &str, destination: &str) -> ReplicationRule {
        ReplicationRule {
            id: id.to_owned(),
            priority: 1,
            is_enabled: true,
            prefix: prefix.to_owned(),
            has_tag_filter: false,
            destination: destination.to_owned(),
            replicates_delete_markers: true,
            replicates_modifications: true,
            replicates_kms_objects: true,
            replica_key: None,
            publishes_metrics: true,
            archive_class: None,
            is_version_1: false,
        }
    }

    fn inputs(rules: &[(&str, Vec<ReplicationRule>)], tables: Vec<TableLocation>) -> DraftInputs {
        let in_standby = |name: &str| {
            (
                name.to_owned(),
                Reading::Read(Some("ap-south-1".to_owned())),
            )
        };
        DraftInputs {
            primary: site("us-east-1"),
            standby: site("ap-south-1"),
            databases: 1,
            tables,
            rules: rules
                .iter()
                .map(|(bucket, rules)| ((*bucket).to_owned(), Reading::Read(rules.clone())))
                .collect(),
            destinations: BTreeMap::from([
                in_standby("copy"),
                in_standby("other-copy"),
                (
                    "far".to_owned(),
                    Reading::Read(Some("eu-west-1".to_owned())),
                ),
                ("gone".to_owned(), Reading::Read(None)),
            ]),
            key_aliases: BTreeMap::new(),
            trails: BTreeMap::new(),
            workgroups: Reading::Read(BTreeMap::new()),
            standby_workgroups: Reading::Read(BTreeMap::new()),
            not_replicated: BTreeMap::new(),
        }
    }

    /// The locations of the standby for locations of the primary, by the drafted policy.
    fn mapped(inputs: &DraftInputs, location: &str) -> Option<String> {
        let policy = Policy::parse(&draft(inputs).unwrap().text).unwrap();
        match policy.locations.counterpart_from(SiteId::A, location) {
            Ok(Mapped::To(text)) => Some(text),
            Ok(Mapped::Unmapped) | Err(_) => None,
        }
    }

    #[test]
    fn each_rule_to_the_standby_is_a_pair() {
        let inputs = inputs(
            &[
                ("lake", vec![rule("all", "", "copy")]),
                ("raw", vec![rule("sales", "sales/", "other-copy")]),
            ],
            vec![
                table("orders", "s3://lake/orders/"),
                table("raw", "s3://raw/sales/x"),
            ],
        );
        assert_eq!(
            mapped(&inputs, "s3://lake/orders/").unwrap(),
            "s3://copy/orders/"
        );
        assert_eq!(
            mapped(&inputs, "s3://raw/sales/x").unwrap(),
            "s3://other-copy/sales/x"
        );
        assert_eq!(mapped(&inputs, "s3://raw/other/x"), None);
        let draft = draft(&inputs).unwrap();
        assert_eq!((draft.tables_in_pairs, draft.tables_outside), (2, 0));
    }

    #[test]
    fn a_rule_that_does_not_reach_the_standby_is_named() {
        for (rule, reason) in [
            (
                ReplicationRule {
                    is_enabled: false,
                    ..rule("r", "", "copy")
                },
                "is disabled",
            ),
            (
                ReplicationRule {
                    has_tag_filter: true,
                    ..rule("r", "", "copy")
                },
                "certain tags",
            ),
            (rule("r", "", "far"), "far in eu-west-1"),
            (rule("r", "", "gone"), "gone, which does not exist"),
            (rule("r", "", "unknown"), "unknown, which was not read"),
        ] {
            let inputs = inputs(
                &[("lake", vec![rule])],
                vec![table("orders", "s3://lake/orders/")],
            );
            let draft = draft(&inputs).unwrap();
            assert!(draft.text.contains(reason), "{reason}: {}", draft.text);
            assert!(
                draft
                    .text
                    .contains("lake: 1 table, no rule for them: sales.orders"),
                "{}",
                draft.text
            );
            assert_eq!((draft.tables_in_pairs, draft.tables_outside), (0, 1));
        }
    }

    #[test]
    fn a_prefix_inside_a_name_becomes_the_directories_that_hold_tables() {
        let inputs = inputs(
            &[("lake", vec![rule("sal", "sal", "copy")])],
            vec![
                table("orders", "s3://lake/sales/orders/"),
                table("old", "s3://lake/sales_old/orders/"),
                table("other", "s3://lake/other/"),
            ],
        );
        assert_eq!(
            mapped(&inputs, "s3://lake/sales/x").unwrap(),
            "s3://copy/sales/x"
        );
        assert_eq!(
            mapped(&inputs, "s3://lake/sales_old/x").unwrap(),
            "s3://copy/sales_old/x"
        );
        assert_eq!(mapped(&inputs, "s3://lake/salt/"), None);
    }

    #[test]
    fn overlapping_rules_make_a_valid_policy() {
        let tables = || vec![table("orders", "s3://lake/sales/orders/")];
        let nested = vec![rule("part", "sales/", "copy"), rule("all", "", "copy")];
        let inputs_of = |rules: &[(&str, Vec<ReplicationRule>)]| inputs(rules, tables());
        let same = draft(&inputs_of(&[("lake", nested)])).unwrap().text;
        assert!(!same.contains("overlaps"), "{same}");
        let two_destinations = vec![rule("one", "", "copy"), rule("two", "sales/", "other-copy")];
        let two = draft(&inputs_of(&[("lake", two_destinations)]))
            .unwrap()
            .text;
        assert!(
            two.contains("Rule two replicates s3://lake/sales/ to other-copy, which overlaps"),
            "{two}"
        );
        let shared = [
            ("lake", vec![rule("one", "", "copy")]),
            ("raw", vec![rule("two", "", "copy")]),
        ];
        assert!(
            draft(&inputs_of(&shared))
                .unwrap()
                .text
                .contains("overlaps with rule one")
        );
    }

    #[test]
    fn names_that_break_a_line_or_a_string_stay_inside_it() {
        let mut inputs = inputs(
            &[("lake", vec![rule("r\"\nx = 1", "a\"b/", "copy")])],
            vec![table("t", "s3://lake/a\"b/t/")],
        );
        inputs.not_replicated = BTreeMap::from([("connection\n[[x]]".to_owned(), 2)]);
        assert_eq!(
            mapped(&inputs, "s3://lake/a\"b/t/").unwrap(),
            "s3://copy/a\"b/t/"
        );
    }

    #[test]
    fn a_table_that_the_policy_does_not_map_lies_outside() {
        let doubled = table("doubled", "s3://lake//curated/doubled/");
        let inputs = inputs(
            &[("lake", vec![rule("r", "curated/", "copy")])],
            vec![doubled],
        );
        let draft = draft(&inputs).unwrap();
        assert_eq!((draft.tables_in_pairs, draft.tables_outside), (0, 1));
    }

    #[test]
    fn the_key_of_replicas_is_named() {
        let keyed = ReplicationRule {
            replica_key: Some("alias/lake".to_owned()),
            ..rule("r", "", "copy")
        };
        let inputs = inputs(&[("lake", vec![keyed])], Vec::new());
        let text = draft(&inputs).unwrap().text;
        assert!(
            text.contains("\n# The KMS key of replicas: alias/lake\n[[location]]"),
            "{text}"
        );
    }

    #[test]
    fn a_key_has_its_aliases_beside_it_or_why_they_are_not_known() {
        let keyed = ReplicationRule {
            replica_key: Some("arn:k".to_owned()),
            ..rule("r", "", "copy")
        };
        let mut inputs = inputs(&[("lake", vec![keyed])], Vec::new());
        let mut line = |aliases: Reading<Vec<String>>| {
            inputs.key_aliases = BTreeMap::from([("arn:k".to_owned(), aliases)]);
            let text = draft(&inputs).unwrap().text;
            let line = text.lines().find(|line| line.contains("KMS key"));
            line.unwrap().to_owned()
        };
        let known = vec!["alias/lake".to_owned(), "alias/x\n".to_owned()];
        let known = line(Reading::Read(known));
        assert_eq!(
            known,
            "# The KMS key of replicas: arn:k (alias/lake, alias/x\\u{a})"
        );
        let none = line(Reading::Read(Vec::new()));
        assert_eq!(none, "# The KMS key of replicas: arn:k");
        let unread = line(Reading::Unread("denied".to_owned()));
        assert!(unread.ends_with("(its aliases could not be read: denied)"));
    }

    #[test]
    fn a_region_that_cannot_be_paired_is_an_error() {
        let mut inputs = inputs(&[], Vec::new());
        inputs.standby = site("us-east-1");
        assert!(draft(&inputs).is_err());
    }

    #[test]
    fn iceberg_tables_and_other_kinds_are_counted() {
        let iceberg = TableLocation {
            is_iceberg: true,
            ..table("t", "s3://lake/t/")
        };
        let mut inputs = inputs(&[], vec![iceberg]);
        inputs.not_replicated =
            BTreeMap::from([("connection".to_owned(), 2), ("catalog".to_owned(), 0)]);
        let text = draft(&inputs).unwrap().text;
        assert!(text.contains("# Iceberg tables: 1."), "{text}");
        assert!(text.contains("daily digest: 2 connections\n"), "{text}");
    }
}
