//! Maps the locations in parameters that engines read. Every other parameter is free text, and is
//! copied unchanged.

use super::{Notes, Translator, Withheld};
use crate::catalog::Parameters;
use crate::location::{Location, Mapped};

/// The object or the part of an object that has the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParameterOwner {
    /// A table of Delta, Hudi or Spark: see [`crate::Table::has_format_parameters`].
    FormatTable,
    /// Any other table.
    Table,
    /// A partition.
    Partition,
    /// The storage descriptor of a table or partition.
    StorageDescriptor,
    /// The SerDe of a storage descriptor.
    SerDe,
}

use ParameterOwner::{FormatTable, Partition, SerDe, StorageDescriptor, Table};

/// How the value of a parameter holds locations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    /// The value is one location.
    Location,
    /// The value is a JSON list of glob patterns, each for a location or for a part of a path.
    Patterns,
}

/// A parameter that an engine reads as a location.
struct LocationParameter {
    key: &'static str,
    owners: &'static [ParameterOwner],
    syntax: Syntax,
}

/// The parameters that are mapped, with the engines that read them. The pointers of Iceberg tables
/// (`metadata_location`) have a rule of their own: [`IcebergPolicy`](crate::policy::IcebergPolicy).
const LOCATION_PARAMETERS: [LocationParameter; 6] = [
    // Athena, where it computes partitions instead of listing them:
    // https://docs.aws.amazon.com/athena/latest/ug/partition-projection-setting-up.html
    LocationParameter {
        key: "storage.location.template",
        owners: &[Table, FormatTable],
        syntax: Syntax::Location,
    },
    // Hive, Spark and Trino: the file with the schema of an Avro table. Hive reads it from the
    // properties of the table and of the SerDe, and `metatool -updateLocation` maps both:
    // https://cwiki.apache.org/confluence/display/Hive/AvroSerDe (HIVE-3443, HIVE-10324)
    LocationParameter {
        key: "avro.schema.url",
        owners: &[Table, FormatTable, Partition, StorageDescriptor, SerDe],
        syntax: Syntax::Location,
    },
    // Glue: crawlers store the exclude patterns of their target with the tables that they create:
    // https://docs.aws.amazon.com/glue/latest/dg/define-crawler.html#crawler-data-stores-exclude
    LocationParameter {
        key: "exclusions",
        owners: &[Table, FormatTable, Partition, StorageDescriptor],
        syntax: Syntax::Patterns,
    },
    // Spark, also for Delta and Hudi: the option `path` of a data source, which it keeps in the
    // SerDe: https://spark.apache.org/docs/latest/sql-data-sources-load-save-functions.html.
    // Trino reads the same option of a Delta table.
    LocationParameter {
        key: "path",
        owners: &[SerDe, FormatTable],
        syntax: Syntax::Location,
    },
    // Native Delta tables of Glue crawlers:
    // https://docs.aws.amazon.com/glue/latest/dg/crawler-configuration-options.html
    LocationParameter {
        key: "location",
        owners: &[FormatTable],
        syntax: Syntax::Location,
    },
    // Flink: the options of a generic table, with a prefix (`CatalogPropertiesUtil`), here of the
    // filesystem connector:
    // https://nightlies.apache.org/flink/flink-docs-stable/docs/connectors/table/hive/hive_catalog/
    LocationParameter {
        key: "flink.path",
        owners: &[Table, FormatTable],
        syntax: Syntax::Location,
    },
];

/// A parameter for people, which may name any location.
const COMMENT_PARAMETER: &str = "comment";

/// The maximum number of parameters that one note names.
const MAX_NAMED_PARAMETERS: usize = 3;

impl Translator<'_> {
    /// Maps the locations in the parameters of one owner. Adds one note if other parameters name
    /// locations of the primary that have a counterpart.
    ///
    /// # Errors
    /// The policy holds the object back, since no pair holds a location.
    pub(super) fn map_parameters(
        self,
        owner: ParameterOwner,
        parameters: &mut Parameters,
        notes: Notes<'_>,
    ) -> Result<(), Withheld> {
        let mut unknown = Vec::new();
        for (key, value) in parameters {
            let mut known = LOCATION_PARAMETERS.iter();
            let known = known.find(|known| known.key == key && known.owners.contains(&owner));
            match known.map(|known| known.syntax) {
                Some(Syntax::Location) => self.map_location_parameter(key, value, notes)?,
                Some(Syntax::Patterns) => self.map_patterns(key, value, notes)?,
                None if key != COMMENT_PARAMETER && self.names_mapped_location(value) => {
                    unknown.push(key.as_str());
                }
                None => {}
            }
        }
        if !unknown.is_empty() {
            let more = match unknown.len().saturating_sub(MAX_NAMED_PARAMETERS) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            unknown.truncate(MAX_NAMED_PARAMETERS);
            notes.push(format!(
                "its parameters that name locations of the primary are copied as they are, since no \
                 engine is known to read them: {}{more}",
                unknown.join(", ")
            ));
        }
        Ok(())
    }

    /// Maps the value of a parameter, unless it is not a URI: other SerDes and formats may use the
    /// key for something else.
    fn map_location_parameter(
        self,
        key: &str,
        value: &mut String,
        notes: Notes<'_>,
    ) -> Result<(), Withheld> {
        match Location::is_s3(value) || value.contains("://") {
            true => self.map_location(key, value, notes),
            false => Ok(()),
        }
    }

    /// Maps the locations in a JSON list of glob patterns. A pattern without a bucket, or with a
    /// wildcard in it, matches in both Regions.
    fn map_patterns(self, key: &str, value: &mut String, notes: Notes<'_>) -> Result<(), Withheld> {
        let Ok(patterns) = serde_json::from_str::<Vec<String>>(value) else {
            return self.map_location_parameter(key, value, notes);
        };
        let mut mapped = patterns.clone();
        for pattern in &mut mapped {
            if Location::parse(pattern).is_ok() {
                self.map_location(key, pattern, notes)?;
            }
        }
        if mapped != patterns {
            *value = serde_json::Value::from(mapped).to_string();
        }
        Ok(())
    }

    /// Whether a text names a location of the primary, alone or among other words, that a pair of
    /// the policy holds.
    fn names_mapped_location(self, text: &str) -> bool {
        if !text.contains("://") && !text.contains(":s3:::") {
            return false;
        }
        let is_separator = |c: char| c.is_whitespace() || "\"'`,;=()[]{}<>".contains(c);
        text.split(is_separator).any(|word| {
            let mapped = self.policy.locations.counterpart_from(self.source(), word);
            matches!(mapped, Ok(Mapped::To(_)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Desired;
    use super::*;
    use crate::policy::Policy;
    use crate::topology::{Epoch, SiteId};
    use serde_json::json;

    fn policy(extra: &str) -> Policy {
        let text = format!(
            "{extra}\n[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
             [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n\
             [[location]]\na = \"s3://a\"\nb = \"s3://b/dr\"\ncopied-by = \"other\"\n"
        );
        Policy::parse(&text).unwrap()
    }

    fn table(json: serde_json::Value) -> crate::Table {
        serde_json::from_value(json).unwrap()
    }

    fn translated(policy: &Policy, parameters: serde_json::Value) -> Desired<crate::Table> {
        let read = table(json!({"Name": "t", "Parameters": parameters}));
        let translator = Translator::new(policy, Epoch::INITIAL);
        translator.table(&read).unwrap()
    }

    #[test]
    fn parameters_that_engines_read_are_mapped_wherever_they_are() {
        let policy = policy("");
        let at = |root: &str| {
            table(json!({
                "Name": "t",
                "Parameters": {
                    "avro.schema.url": format!("{root}/s.avsc"),
                    "exclusions": format!("[\"{root}/_tmp/**\",\"**.pdf\",\"s3://*/x\"]"),
                    "flink.path": format!("{root}/t"),
                    "storage.location.template": format!("{root}/${{dt}}"),
                },
                "StorageDescriptor": {
                    "Parameters": {"exclusions": format!("[\"{root}/[_.]*\"]")},
                    "SerdeInfo": {"Parameters": {
                        "avro.schema.url": format!("{root}/s.avsc"), "path": format!("{root}/t"),
                    }},
                },
            }))
        };
        let there = Translator::new(&policy, Epoch::INITIAL).table(&at("s3://a"));
        let there = there.unwrap();
        assert_eq!(
            (there.object.clone(), there.notes),
            (at("s3://b/dr"), vec![])
        );
        let back = Translator::new(&policy, Epoch::new(1, SiteId::B));
        assert_eq!(back.table(&there.object).unwrap().object, at("s3://a"));
    }

    #[test]
    fn a_schema_of_a_partition_is_mapped() {
        let policy = policy("");
        let at = |root: &str| -> crate::Partition {
            let url = format!("{root}/s.avsc");
            serde_json::from_value(json!({
                "Values": ["1"], "Parameters": {"avro.schema.url": url},
                "StorageDescriptor": {"SerdeInfo": {"Parameters": {"avro.schema.url": url}}},
            }))
            .unwrap()
        };
        let there = Translator::new(&policy, Epoch::INITIAL).partition(&at("s3a://a"));
        assert_eq!(there.unwrap().object, at("s3a://b/dr"));
    }

    #[test]
    fn a_value_outside_every_pair_is_an_unmapped_location() {
        for value in [r#"["s3://elsewhere/**"]"#, "s3://elsewhere/**"] {
            let read = table(json!({"Name": "t", "Parameters": {"exclusions": value}}));
            let refuse = policy("");
            let held = Translator::new(&refuse, Epoch::INITIAL).table(&read);
            assert!(matches!(held, Err(Withheld::OnHold(reason)) if reason.contains("elsewhere")));
            let keep = policy("unmapped-location = \"keep\"");
            let kept = translated(&keep, json!({"exclusions": value}));
            assert_eq!((kept.object, kept.notes.len()), (read, 1));
        }
    }

    #[test]
    fn a_value_that_is_no_location_of_s3_is_kept() {
        let policy = policy("");
        let notes = |value: &str| {
            let parameters = json!({"avro.schema.url": value, "exclusions": value});
            let kept = translated(&policy, parameters.clone());
            let read = table(json!({"Name": "t", "Parameters": parameters}));
            assert_eq!(kept.object, read);
            kept.notes
        };
        assert_eq!(notes("schema.avsc"), Vec::<String>::new());
        assert_eq!(notes("[1, \"x\"]"), Vec::<String>::new());
        assert!(notes("hdfs://nn/s.avsc")[0].contains("is not in S3"));
    }

    #[test]
    fn other_parameters_stay_and_are_named_once_if_they_name_a_mapped_location() {
        let policy = policy("");
        let parameters = json!({
            "backup": "see s3://a/old, s3://a/older", "comment": "s3://a/x", "flink.paths": "s3://a",
            "other": "s3://elsewhere", "policy": "{\"Resource\":\"arn:aws:s3:::a/x\"}",
        });
        let kept = translated(&policy, parameters.clone());
        assert_eq!(
            kept.object,
            table(json!({"Name": "t", "Parameters": parameters}))
        );
        assert_eq!(kept.notes.len(), 1, "{:?}", kept.notes);
        assert!(kept.notes[0].ends_with(": backup, flink.paths, policy"));
    }
}
