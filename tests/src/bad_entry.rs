//! One entry of the primary that cannot be replicated: Twinlake does not know its kind, or the
//! standby refuses it.

use crate::equality_oracle;
use crate::harness::{PRIMARY, STANDBY, TestHarness};
use crate::history::table_input;
use proptest::prelude::*;
use serde_json::{Value, json};
use twinlake_core::{FunctionId, LfSubject, Name, Subject, TableId};
use twinlake_sim::Quirk;

/// A text of every bad entry, and of nothing else. The standby refuses writes that contain it.
const MARK: &str = "zz-bad";

/// The kinds of bad entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadEntry {
    /// A grant on a kind of resource that Twinlake does not know.
    GrantOnUnknownResource,
    /// A grant of a permission that Twinlake does not know.
    GrantOfUnknownPermission,
    /// A grant to a principal of an unknown kind.
    GrantToUnknownPrincipal,
    /// An opt-in on a kind of resource that Twinlake does not know.
    OptInOnUnknownResource,
    /// The registration of a location outside every pair of the policy.
    UnmappedRegistration,
    /// A grant whose principal the standby refuses.
    RefusedGrant,
    /// A partition with two values, of a table with one partition key.
    PartitionWithTwoValues,
    /// A partition that the standby refuses.
    RefusedPartition,
    /// A function whose class name the standby refuses.
    RefusedFunction,
    /// A table that the standby refuses.
    RefusedTable,
    /// A database that the standby refuses.
    RefusedDatabase,
    /// A data cells filter whose expression the standby refuses, with a grant on it.
    RefusedFilter,
    /// A data cells filter of a column that was dropped since, with a grant on it.
    FilterOfDroppedColumn,
    /// A Glue tag that the standby refuses.
    RefusedGlueTag,
    /// A value of an LF-Tag that the standby refuses.
    RefusedLfTagValue,
    /// A named LF-Tag expression that the standby refuses.
    RefusedExpression,
    /// An opt-in that the standby refuses.
    RefusedOptIn,
}

/// Generates a kind.
pub fn any_bad_entry() -> impl Strategy<Value = BadEntry> {
    prop::sample::select(BadEntry::EVERY.to_vec())
}

fn principal(name: &str) -> Value {
    json!({"DataLakePrincipalIdentifier": name})
}

fn role() -> String {
    format!("arn:aws:iam::111122223333:role/{MARK}")
}

impl BadEntry {
    /// Every kind.
    pub const EVERY: [Self; 17] = [
        Self::GrantOnUnknownResource,
        Self::GrantOfUnknownPermission,
        Self::GrantToUnknownPrincipal,
        Self::OptInOnUnknownResource,
        Self::UnmappedRegistration,
        Self::RefusedGrant,
        Self::PartitionWithTwoValues,
        Self::RefusedPartition,
        Self::RefusedFunction,
        Self::RefusedTable,
        Self::RefusedDatabase,
        Self::RefusedFilter,
        Self::FilterOfDroppedColumn,
        Self::RefusedGlueTag,
        Self::RefusedLfTagValue,
        Self::RefusedExpression,
        Self::RefusedOptIn,
    ];

    /// Makes the standby refuse what it refuses. Both runs of a comparison need it.
    pub fn prepare(harness: &TestHarness) {
        let mut state = harness.sim.state();
        state.set_quirk(Quirk::InvalidPartitionFailsBatch, true);
        state.refuse_writes_with(STANDBY, MARK);
    }

    /// The subject that the entry belongs to. `table` is the table that it is placed on.
    #[must_use]
    pub fn subject(self, table: &TableId) -> Subject {
        let name = || Name::new(MARK).expect("the name is valid");
        match self {
            Self::GrantOnUnknownResource
            | Self::GrantOfUnknownPermission
            | Self::GrantToUnknownPrincipal
            | Self::OptInOnUnknownResource
            | Self::UnmappedRegistration => Subject::Catalog,
            Self::RefusedGrant
            | Self::PartitionWithTwoValues
            | Self::RefusedPartition
            | Self::RefusedFilter
            | Self::FilterOfDroppedColumn
            | Self::RefusedGlueTag
            | Self::RefusedOptIn => Subject::Table(table.clone()),
            Self::RefusedFunction => {
                Subject::Function(FunctionId::new(table.database.clone(), name()))
            }
            Self::RefusedTable => Subject::Table(TableId::new(table.database.clone(), name())),
            Self::RefusedDatabase => Subject::Database(name()),
            Self::RefusedLfTagValue => Subject::LakeFormation(LfSubject::LfTags),
            Self::RefusedExpression => Subject::LakeFormation(LfSubject::LfTagExpressions),
        }
    }

    /// Whether something else rests on the entry, and may wait for it: beside a grant to
    /// `IAM_ALLOWED_PRINCIPALS`, only opt-ins keep principals to their own grants.
    #[must_use]
    pub fn carries(self, key: &str, table: &TableId) -> bool {
        let database = Subject::Database(table.database.clone());
        // What an opt-in on an unknown resource limits is not known.
        let is_held = self == Self::OptInOnUnknownResource
            || (self == Self::RefusedOptIn && equality_oracle::is_about(key, &database));
        is_held && key.starts_with("grant|") && key.ends_with("|IAM_ALLOWED_PRINCIPALS")
    }

    /// Places the entry in the primary. Errors are ignored, since the history may have deleted what
    /// it belongs to.
    pub fn place(self, harness: &TestHarness, table: &TableId) {
        for (name, request) in self.calls(table) {
            let _ = harness.call(PRIMARY, name, &request);
        }
    }

    /// Places entries of every kind beside it that can be replicated.
    pub fn place_neighbours(harness: &TestHarness, table: &TableId) {
        let (database, name) = (table.database.as_str(), table.table.as_str());
        let on_table = json!({"Table": {"DatabaseName": database, "Name": name}});
        let analyst = principal("arn:aws:iam::111122223333:role/Analyst");
        let arn = format!("arn:aws:glue:us-east-1:111122223333:table/{database}/{name}");
        let partition = json!({"Values": ["2026-11-08"], "StorageDescriptor":
            {"Location": format!("s3://lake-us/{database}/{name}/good/")}});
        let function = json!({"FunctionName": "good", "ClassName": "org.example.Good"});
        let calls = [
            (
                "CreatePartition",
                json!({"DatabaseName": database, "TableName": name, "PartitionInput": partition}),
            ),
            (
                "GrantPermissions",
                json!({"Principal": analyst, "Resource": on_table, "Permissions": ["DESCRIBE"]}),
            ),
            (
                "CreateLakeFormationOptIn",
                json!({"Principal": analyst, "Resource": on_table}),
            ),
            (
                "TagResource",
                json!({"ResourceArn": arn, "TagsToAdd": {"good": "x"}}),
            ),
            (
                "CreateUserDefinedFunction",
                json!({"DatabaseName": database, "FunctionInput": function}),
            ),
            (
                "UpdateLFTag",
                json!({"TagKey": "k1", "TagValuesToAdd": ["good"]}),
            ),
            (
                "CreateTable",
                json!({"DatabaseName": database,
                       "TableInput": table_input(database, "good", &["id"])}),
            ),
        ];
        for (name, request) in calls {
            let _ = harness.call(PRIMARY, name, &request);
        }
    }

    /// Whether the primary still has the entry.
    #[must_use]
    pub fn is_in_primary(harness: &TestHarness) -> bool {
        let contents = equality_oracle::contents(&harness.sim.state(), PRIMARY);
        let mut entries = contents.iter();
        entries.any(|(key, value)| Self::is_own(key, value))
    }

    /// Whether an entry of [`equality_oracle::contents`] is a bad one.
    #[must_use]
    pub fn is_own(key: &str, value: &str) -> bool {
        key.contains(MARK) || value.contains(MARK)
    }

    fn calls(self, table: &TableId) -> Vec<(&'static str, Value)> {
        let (database, name) = (table.database.as_str(), table.table.as_str());
        let on_table = json!({"Table": {"DatabaseName": database, "Name": name}});
        let grant = |grantee: &str, resource: Value, permission: &str| {
            json!({"Principal": principal(grantee), "Resource": resource,
                   "Permissions": [permission]})
        };
        let location = format!("s3://lake-us/{database}/{name}/{MARK}/");
        match self {
            Self::GrantOnUnknownResource => {
                let resource = json!({ MARK: {} });
                vec![("GrantPermissions", grant(&role(), resource, "SELECT"))]
            }
            Self::GrantOfUnknownPermission => {
                vec![("GrantPermissions", grant(&role(), on_table, "UNHEARD_OF"))]
            }
            Self::GrantToUnknownPrincipal => {
                let grantee = format!("AROA-{MARK}");
                vec![("GrantPermissions", grant(&grantee, on_table, "SELECT"))]
            }
            Self::RefusedGrant => vec![("GrantPermissions", grant(&role(), on_table, "DESCRIBE"))],
            Self::OptInOnUnknownResource => {
                let resource = json!({ MARK: {} });
                let request = json!({"Principal": principal(&role()), "Resource": resource});
                vec![("CreateLakeFormationOptIn", request)]
            }
            Self::RefusedOptIn => {
                let request = json!({"Principal": principal(&role()), "Resource": on_table});
                vec![("CreateLakeFormationOptIn", request)]
            }
            Self::UnmappedRegistration => {
                let request = json!({"ResourceArn": format!("arn:aws:s3:::{MARK}/x"),
                                     "RoleArn": role()});
                vec![("RegisterResource", request)]
            }
            Self::PartitionWithTwoValues | Self::RefusedPartition => {
                let values = match self {
                    Self::PartitionWithTwoValues => json!(["2026-11-09", MARK]),
                    _ => json!([MARK]),
                };
                let mut request = json!({"DatabaseName": database, "TableName": name});
                let storage = json!({ "Location": location });
                request["PartitionInput"] = json!({"Values": values, "StorageDescriptor": storage});
                vec![("CreatePartition", request)]
            }
            Self::RefusedFunction => {
                let input = json!({"FunctionName": MARK, "ClassName": "not a class",
                                   "OwnerName": "o", "OwnerType": "USER"});
                let request = json!({"DatabaseName": database, "FunctionInput": input});
                vec![("CreateUserDefinedFunction", request)]
            }
            Self::RefusedTable => {
                let input = table_input(database, MARK, &["id"]);
                let request = json!({"DatabaseName": database, "TableInput": input});
                vec![("CreateTable", request)]
            }
            Self::RefusedDatabase => {
                let input = json!({"Name": MARK, "CreateTableDefaultPermissions": []});
                vec![("CreateDatabase", json!({"DatabaseInput": input}))]
            }
            Self::RefusedFilter | Self::FilterOfDroppedColumn => self.filter_calls(table),
            Self::RefusedGlueTag => {
                let arn = format!("arn:aws:glue:us-east-1:111122223333:table/{database}/{name}");
                let request = json!({"ResourceArn": arn, "TagsToAdd": {MARK: "x"}});
                vec![("TagResource", request)]
            }
            Self::RefusedLfTagValue => {
                let request = json!({"TagKey": "k1", "TagValuesToAdd": [MARK]});
                vec![("UpdateLFTag", request)]
            }
            Self::RefusedExpression => {
                let expression = json!([{"TagKey": "k1", "TagValues": ["v0"]}]);
                let request = json!({"Name": MARK, "Expression": expression});
                vec![("CreateLFTagExpression", request)]
            }
        }
    }

    fn filter_calls(self, table: &TableId) -> Vec<(&'static str, Value)> {
        let (database, name) = (table.database.as_str(), table.table.as_str());
        let is_dropped = self == Self::FilterOfDroppedColumn;
        let rows = match is_dropped {
            true => json!({"AllRowsWildcard": {}}),
            false => json!({"FilterExpression": format!("id = '{MARK}'")}),
        };
        let column = if is_dropped { "doomed" } else { "id" };
        let data = json!({"DatabaseName": database, "TableName": name, "Name": MARK,
                          "RowFilter": rows, "ColumnNames": [column]});
        let filter = json!({"DataCellsFilter":
            {"DatabaseName": database, "TableName": name, "Name": MARK}});
        let grant = json!({"Principal": principal("arn:aws:iam::111122223333:role/Analyst"),
                           "Resource": filter, "Permissions": ["SELECT"]});
        let table_with = |columns: &[&str]| {
            let input = table_input(database, name, columns);
            (
                "UpdateTable",
                json!({"DatabaseName": database, "TableInput": input}),
            )
        };
        let create = ("CreateDataCellsFilter", json!({ "TableData": data }));
        let grant = ("GrantPermissions", grant);
        match is_dropped {
            true => vec![
                table_with(&["id", "doomed"]),
                create,
                grant,
                table_with(&["id"]),
            ],
            false => vec![create, grant],
        }
    }
}
