//! What the ledger knows of the log of a Delta or Hudi table in the standby: which files of the newest commits
//! have not arrived, and which paths lead out of the table.

use crate::catalog::{Observed, Table, digest};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The end of the location of a table whose entry has its real location in a SerDe parameter: Spark writes it for
/// tables of data sources.
const PLACEHOLDER_SUFFIX: &str = "__PLACEHOLDER__";

/// How long after a log was looked at it is looked at again, if nothing is missing.
pub const LOG_LOOK_SECS: i64 = 6 * 3600;

/// How early a message that has a log looked at again may arrive.
const LOOK_TOLERANCE_SECS: i64 = 10;

/// How a table names its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// The log of Delta.
    Delta,
    /// The timeline of Hudi.
    Hudi,
    /// Manifests that name each file by its full path (`SymlinkTextInputFormat`).
    SymlinkManifests,
}

impl LogFormat {
    /// What names the files, as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delta => "Delta log",
            Self::Hudi => "Hudi timeline",
            Self::SymlinkManifests => "symlink manifests",
        }
    }

    /// The format of a table; `None` if its entry names none.
    fn of(table: &Table) -> Option<Self> {
        let storage = table.storage_descriptor.as_ref();
        let input_format = storage.and_then(|storage| storage.input_format.as_deref());
        let input_format = input_format.unwrap_or_default();
        if input_format.ends_with(".SymlinkTextInputFormat") {
            return Some(Self::SymlinkManifests);
        }
        let keys = ["spark.sql.sources.provider", "table_type"];
        let values = keys.iter().filter_map(|key| table.parameters.get(*key));
        for value in values {
            if value.eq_ignore_ascii_case("delta") {
                return Some(Self::Delta);
            }
            if value.eq_ignore_ascii_case("hudi") {
                return Some(Self::Hudi);
            }
        }
        let is_hudi = input_format.starts_with("org.apache.hudi.");
        is_hudi.then_some(Self::Hudi)
    }
}

/// A table with a log, as the primary's entry has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedTable {
    /// How it names its files.
    pub format: LogFormat,
    /// The location of the table as the entry has it. Whoever made the entry had the right to use it: no file
    /// outside it is read for the table.
    pub location: String,
    /// A digest of the parameters: some engines change these with a commit.
    pub parameters: String,
    /// When the table was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
}

impl LoggedTable {
    /// The table of an entry; `None` if it has no log, or if the entry does not say where.
    #[must_use]
    pub fn of(observed: &Observed<Table>) -> Option<Self> {
        let table = &observed.object;
        if table.is_iceberg() || table.is_view() || table.target_table.is_some() {
            return None;
        }
        let storage = table.storage_descriptor.as_ref()?;
        let location = storage.location.as_deref()?.trim_end_matches('/');
        if location.is_empty() || location.ends_with(PLACEHOLDER_SUFFIX) {
            return None;
        }
        Some(Self {
            format: LogFormat::of(table)?,
            location: location.to_owned(),
            parameters: digest(&table.parameters),
            created: observed.created,
        })
    }

    /// Whether what was found of one holds for the other: the same log of the same table.
    fn is_same_log(&self, other: &Self) -> bool {
        let identity = |table: &Self| (table.format, table.location.clone(), table.created);
        identity(self) == identity(other)
    }
}

/// Files that the newest commits name and that are not there, or have another size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingLoggedFiles {
    /// Their number, as far as it is known: a commit that has not arrived names more.
    pub count: u64,
    /// One of them.
    pub first: String,
}

/// Paths that lead out of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsolutePaths {
    /// Their number.
    pub count: usize,
    /// Some of them, with the files that name them.
    pub samples: Vec<String>,
}

/// What a look at a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFindings {
    /// What has not arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<MissingLoggedFiles>,
    /// What leads out of the table.
    #[serde(default)]
    pub absolute: AbsolutePaths,
    /// Why not all of it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    /// The checkpoint whose paths were read, by the names of its files, with those that lead out of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<(String, AbsolutePaths)>,
}

/// The log of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReplica {
    /// The table as the primary's entry was when the log was looked at.
    pub table: LoggedTable,
    /// When it was looked at.
    pub looked_at: Timestamp,
    /// What was found.
    pub findings: LogFindings,
    /// Since when files are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Whether they are for longer than the objective.
    #[serde(default)]
    pub is_overdue: bool,
    /// When a reconciliation was last asked to tell people what was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Timestamp>,
    /// Whether something that was found since waits for the next look.
    #[serde(default)]
    pub has_untold_news: bool,
    /// When it is looked at again by a message that is in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_look_at: Option<Timestamp>,
}

impl LogReplica {
    /// Whether what was found holds for the primary's entry.
    #[must_use]
    pub fn is_of(&self, table: &LoggedTable) -> bool {
        self.table.is_same_log(table)
    }

    /// Whether to look at the log now: the entry is another one, files are missing and no message is in the queue
    /// that looks for them, or it was not looked at for some hours.
    #[must_use]
    pub fn is_due(&self, table: &LoggedTable, now: Timestamp) -> bool {
        let soon = now.plus_secs(LOOK_TOLERANCE_SECS);
        let is_time = self.next_look_at.is_none_or(|next| next <= soon);
        self.table != *table
            || (self.findings.missing.is_some() && is_time)
            || self.looked_at.plus_secs(LOG_LOOK_SECS) <= now
    }

    /// Whether paths lead out of the table: the replica cannot be read without the primary.
    #[must_use]
    pub fn leads_out(&self) -> bool {
        self.findings.absolute.count > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn observed(table: serde_json::Value) -> Observed<Table> {
        Observed {
            object: serde_json::from_value(table).unwrap(),
            created: Some(Timestamp::from_millis(1)),
            updated: None,
            version: None,
        }
    }

    fn format_of(table: serde_json::Value) -> Option<LogFormat> {
        LoggedTable::of(&observed(table)).map(|table| table.format)
    }

    #[test]
    fn the_entry_names_the_format_in_each_way() {
        let storage = json!({"Location": "s3://lake-us/t/"});
        for (parameters, format) in [
            (
                json!({"spark.sql.sources.provider": "delta"}),
                Some(LogFormat::Delta),
            ),
            (json!({"table_type": "DELTA"}), Some(LogFormat::Delta)),
            (
                json!({"spark.sql.sources.provider": "hudi"}),
                Some(LogFormat::Hudi),
            ),
            (json!({"spark.sql.sources.provider": "parquet"}), None),
            (
                json!({"table_type": "ICEBERG", "spark.sql.sources.provider": "delta"}),
                None,
            ),
            (json!({}), None),
        ] {
            let table =
                json!({"Name": "t", "Parameters": parameters, "StorageDescriptor": storage});
            assert_eq!(format_of(table.clone()), format, "{table}");
        }
        for (class, format) in [
            (
                "org.apache.hudi.hadoop.HoodieParquetInputFormat",
                LogFormat::Hudi,
            ),
            (
                "org.apache.hudi.hadoop.realtime.HoodieParquetRealtimeInputFormat",
                LogFormat::Hudi,
            ),
            (
                "org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat",
                LogFormat::SymlinkManifests,
            ),
        ] {
            let storage = json!({"Location": "s3://lake-us/t", "InputFormat": class});
            let table = json!({"Name": "t", "StorageDescriptor": storage});
            assert_eq!(format_of(table), Some(format), "{class}");
        }
    }

    #[test]
    fn an_entry_without_a_location_of_its_own_is_not_looked_at() {
        for location in ["", "s3://lake-us/sales.db/t-__PLACEHOLDER__"] {
            let table = json!({"Name": "t", "Parameters": {"table_type": "DELTA"},
                "StorageDescriptor": {"Location": location}});
            assert_eq!(format_of(table), None, "{location}");
        }
    }

    #[test]
    fn a_log_is_looked_at_again_in_hours_and_while_files_are_missing_by_message() {
        let table = observed(json!({"Name": "t", "Parameters": {"table_type": "DELTA"},
            "StorageDescriptor": {"Location": "s3://lake-us/t"}}));
        let table = LoggedTable::of(&table).unwrap();
        let now = Timestamp::from_millis(1_000_000);
        let mut replica = LogReplica {
            table: table.clone(),
            looked_at: now,
            findings: LogFindings::default(),
            since: None,
            is_overdue: false,
            told_at: None,
            has_untold_news: false,
            next_look_at: None,
        };
        assert!(!replica.is_due(&table, now.plus_secs(LOG_LOOK_SECS - 1)));
        assert!(replica.is_due(&table, now.plus_secs(LOG_LOOK_SECS)));
        replica.findings.missing = Some(MissingLoggedFiles {
            count: 1,
            first: "f".to_owned(),
        });
        assert!(replica.is_due(&table, now), "no message looks for it");
        replica.next_look_at = Some(now.plus_secs(60));
        assert!(!replica.is_due(&table, now));
        assert!(replica.is_due(&table, now.plus_secs(60)));
        let changed = LoggedTable {
            parameters: "another commit".to_owned(),
            ..table.clone()
        };
        assert!(replica.is_due(&changed, now) && replica.is_of(&changed));
        let recreated = LoggedTable {
            created: None,
            ..table
        };
        assert!(!replica.is_of(&recreated));
    }
}
