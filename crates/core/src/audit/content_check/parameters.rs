//! The parameters whose value is a location, and the check of values that are lists of patterns.

use super::{ContentCheck, Kind, split_scheme};

/// How the value of a parameter holds locations.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// It is one location.
    Location,
    /// It is a JSON list of glob patterns.
    Patterns,
}

/// Returns how the parameter at a path holds locations; `None` if it is free text.
pub(super) fn syntax(path: &[&str], kind: Kind) -> Option<Syntax> {
    let is_table_or_partition = kind.is_table || kind.is_partition;
    match path {
        ["Parameters", "flink.path" | "storage.location.template"] if kind.is_table => {
            Some(Syntax::Location)
        }
        ["Parameters", "location" | "path"] if kind.is_delta_hudi_or_spark => {
            Some(Syntax::Location)
        }
        ["Parameters", "avro.schema.url"] if is_table_or_partition => Some(Syntax::Location),
        ["Parameters", "exclusions"] if is_table_or_partition => Some(Syntax::Patterns),
        ["StorageDescriptor", "Parameters", "avro.schema.url"]
        | [
            "StorageDescriptor",
            "SerdeInfo",
            "Parameters",
            "avro.schema.url" | "path",
        ] => Some(Syntax::Location),
        ["StorageDescriptor", "Parameters", "exclusions"] => Some(Syntax::Patterns),
        _ => None,
    }
}

/// Checks the value of a parameter with patterns. Every pattern must be the counterpart of the
/// primary's, except one without a bucket of its own.
///
/// # Errors
/// The first pattern that differs and may not.
pub(super) fn check_patterns(
    content: &ContentCheck<'_>,
    primary: &str,
    sent: &str,
    kind: Kind,
) -> Result<(), String> {
    let list = |text: &str| serde_json::from_str::<Vec<String>>(text).ok();
    let (Some(primary_list), Some(sent_list)) = (list(primary), list(sent)) else {
        return content.check_location(primary, sent, kind.keeps_locations);
    };
    if primary_list.len() != sent_list.len() {
        return Err(format!("{sent} has another number of patterns"));
    }
    let mut pairs = primary_list.iter().zip(&sent_list);
    pairs.try_for_each(
        |(primary, sent)| match primary == sent && !names_bucket(primary) {
            true => Ok(()),
            false => content.check_location(primary, sent, kind.keeps_locations),
        },
    )
}

/// Whether a pattern starts with a bucket that has no wildcard.
fn names_bucket(pattern: &str) -> bool {
    let bucket = split_scheme(pattern).and_then(|(_, rest)| rest.split('/').next());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    bucket.is_some_and(|bucket| !bucket.is_empty() && bucket.chars().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::topology::Epoch;
    use serde_json::{Value, json};

    fn policy(extra: &str) -> Policy {
        let text = format!(
            "{extra}\n[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
             [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n\
             [[location]]\na = \"s3://a\"\nb = \"s3://b/dr\"\ncopied-by = \"other\"\n"
        );
        Policy::parse(&text).unwrap()
    }

    /// Whether the audit accepts a table or partition with these fields for the primary's.
    fn accepts(policy: &Policy, identity: &Value, primary: &Value, sent: &Value) -> bool {
        let content = ContentCheck {
            policy,
            epoch: Epoch::INITIAL,
        };
        let with_identity = |fields: &Value| {
            let mut object = identity.clone();
            for (key, value) in fields.as_object().into_iter().flatten() {
                object[key.as_str()] = value.clone();
            }
            object
        };
        content
            .check(&with_identity(primary), &with_identity(sent))
            .is_ok()
    }

    #[test]
    fn parameters_that_engines_read_have_to_be_mapped_and_others_unchanged() {
        let policy = policy("");
        let table = json!({"Name": "t", "PartitionKeys": []});
        let top = |key: &str, value: &str| json!({"Parameters": {key: value}});
        let serde = |key: &str, value: &str| json!({"StorageDescriptor": {"SerdeInfo": {"Parameters": {key: value}}}});
        for key in ["avro.schema.url", "flink.path", "storage.location.template"] {
            assert!(accepts(
                &policy,
                &table,
                &top(key, "s3://a/x"),
                &top(key, "s3://b/dr/x")
            ));
            assert!(!accepts(
                &policy,
                &table,
                &top(key, "s3://a/x"),
                &top(key, "s3://a/x")
            ));
            assert!(!accepts(
                &policy,
                &table,
                &top(key, "hdfs://a"),
                &top(key, "hdfs://b/dr")
            ));
            assert!(accepts(
                &policy,
                &table,
                &top(key, "hdfs://a"),
                &top(key, "hdfs://a")
            ));
        }
        for key in ["path", "avro.schema.url"] {
            assert!(accepts(
                &policy,
                &table,
                &serde(key, "s3://a"),
                &serde(key, "s3://b/dr")
            ));
            assert!(!accepts(
                &policy,
                &table,
                &serde(key, "s3://a"),
                &serde(key, "s3://a")
            ));
        }
        for key in ["path", "comment", "url"] {
            assert!(!accepts(
                &policy,
                &table,
                &top(key, "s3://a"),
                &top(key, "s3://b/dr")
            ));
            assert!(accepts(
                &policy,
                &table,
                &top(key, "s3://a"),
                &top(key, "s3://a")
            ));
        }
        let partition = json!({"Values": ["1"]});
        let key = "avro.schema.url";
        assert!(accepts(
            &policy,
            &partition,
            &top(key, "s3://a"),
            &top(key, "s3://b/dr")
        ));
        let database = json!({"Name": "d"});
        assert!(!accepts(
            &policy,
            &database,
            &top(key, "s3://a"),
            &top(key, "s3://b/dr")
        ));
    }

    #[test]
    fn each_pattern_is_checked() {
        let table = json!({"Name": "t", "PartitionKeys": []});
        let patterns = |list: &str| json!({"Parameters": {"exclusions": list}});
        let refuse = policy("");
        let is_accepted = |primary: &str, sent: &str| {
            accepts(&refuse, &table, &patterns(primary), &patterns(sent))
        };
        assert!(is_accepted(
            r#"["s3://a/_*", "**.pdf", "s3://*/x"]"#,
            r#"["s3://b/dr/_*","**.pdf","s3://*/x"]"#
        ));
        assert!(is_accepted("[]", "[]") && is_accepted("x", "x"));
        for (primary, sent) in [
            (r#"["s3://a/x"]"#, r#"["s3://a/x"]"#),
            (r#"["s3://a/x"]"#, r#"["s3://b/dr/y"]"#),
            (r#"["s3://a/x","y"]"#, r#"["s3://b/dr/x"]"#),
            (r#"["**.pdf"]"#, r#"["**.doc"]"#),
            (r#"["s3://elsewhere/x"]"#, r#"["s3://elsewhere/x"]"#),
            ("x", "y"),
        ] {
            assert!(!is_accepted(primary, sent), "{primary} {sent}");
        }
        let keep = policy("unmapped-location = \"keep\"");
        let unmapped = patterns(r#"["s3://elsewhere/x"]"#);
        assert!(accepts(&keep, &table, &unmapped, &unmapped));
    }

    #[test]
    fn a_location_outside_s3_has_to_be_unchanged() {
        let policy = policy("");
        let database = json!({"Name": "d"});
        let at = |location: &str| json!({"LocationUri": location});
        for location in [
            "file:/a",
            " ",
            "hdfs://a/x",
            "arn:aws:s3tables:us-east-1:1:bucket/a",
        ] {
            assert!(
                accepts(&policy, &database, &at(location), &at(location)),
                "{location}"
            );
        }
        assert!(!accepts(
            &policy,
            &database,
            &at("hdfs://a/x"),
            &at("hdfs://b/dr/x")
        ));
        assert!(!accepts(
            &policy,
            &database,
            &at("s3://a/x"),
            &at("s3://a/x")
        ));
    }
}
