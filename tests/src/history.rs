//! Random histories: sequences of API calls that change catalogs and permissions.

pub mod diverging;
mod lakeformation;

use crate::harness::{ADMIN_ROLE, PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness};
pub use diverging::{
    DivergingHistories, access_hazards, guarded_changes, order_sensitive_histories,
};
pub use lakeformation::{LakeFormationAction, LakeFormationActionKind, any_lakeformation_action};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One change, made by one or two API calls. The numbers select the database, then the table or
/// function, then a variant of the change.
#[derive(Clone, Debug)]
pub enum HistoryAction {
    /// Creates a database, with one table that no action deletes.
    CreateDatabase(u8),
    /// Creates a database with one table, both granted to `IAM_ALLOWED_PRINCIPALS`, as every later
    /// table in it is.
    CreateOpenDatabase(u8),
    /// Deletes a database and its contents.
    DeleteDatabase(u8),
    /// Changes the description of a database.
    UpdateDatabase(u8, u8),
    /// Creates a table. The variant selects its columns.
    CreateTable(u8, u8, u8),
    /// Updates a table. The variant selects its columns.
    UpdateTable(u8, u8, u8),
    /// Deletes a table.
    DeleteTable(u8, u8),
    /// Creates a table of somebody else: `guest` if the table number is 0, else the table of that
    /// number. It has the column `extra` beside those that the variant selects.
    CreateForeignTable(u8, u8, u8),
    /// Makes the Region grant new databases and tables to `IAM_ALLOWED_PRINCIPALS`.
    OpenRegionDefaults,
    /// Creates a partition.
    CreatePartition(u8, u8, u8),
    /// Updates a partition.
    UpdatePartition(u8, u8, u8),
    /// Deletes a partition.
    DeletePartition(u8, u8, u8),
    /// Creates a function, or updates it.
    PutFunction(u8, u8, u8),
    /// Deletes a function.
    DeleteFunction(u8, u8),
    /// Creates a partition index, or sets column statistics or a Glue tag of a table.
    PutAttachment(u8, u8, u8),
    /// Removes a partition index, column statistics or a Glue tag of a table.
    RemoveAttachment(u8, u8, u8),
    /// Changes Lake Formation metadata other than grants.
    LakeFormation(LakeFormationAction),
    /// Grants a permission.
    Grant(RandomGrant),
    /// Revokes a permission.
    Revoke(RandomGrant),
}

/// The arguments of a random grant or revoke.
#[derive(Clone, Debug)]
pub struct RandomGrant {
    grantee: u8,
    database: u8,
    table: u8,
    /// The shape of the resource, one of [`RESOURCE_SHAPES`].
    shape: u8,
    columns: u8,
    permission: u8,
    with_grant_option: bool,
}

/// The principals that random grants name.
pub const GRANTEES: [&str; 3] = [
    "arn:aws:iam::111122223333:role/Analyst",
    "arn:aws:iam::111122223333:user/ann",
    "IAM_ALLOWED_PRINCIPALS",
];

const COLUMNS: [&str; 4] = ["id", "amount", "ssn", "note"];
const PERMISSIONS: [&str; 5] = ["SELECT", "DESCRIBE", "INSERT", "ALL", "ALTER"];

/// The shapes of granted resources, see [`RandomGrant::request`]; those on tables are the most
/// frequent.
const RESOURCE_SHAPES: [u8; 22] = [
    0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 4,
];

/// Number of databases that actions change. The last one does not exist before the actions.
pub const DATABASES: u8 = 3;

/// The shape of a grant to `IAM_ALLOWED_PRINCIPALS`, which is only granted ALL: on a database, on
/// all of its tables, or on a table.
fn iam_shape(n: u8) -> u8 {
    [0, 4, 1][usize::from(n % 3)]
}

fn database(n: u8) -> String {
    format!("db{}", n % DATABASES)
}

fn table(n: u8) -> String {
    format!("t{}", n % 3)
}

/// Returns the columns whose bits are set, or `id` if none is.
fn columns(bits: u8) -> Vec<&'static str> {
    let columns = COLUMNS.iter().enumerate();
    let mut names: Vec<&str> = columns
        .filter(|(index, _)| bits & (1 << index) != 0)
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() {
        names.push("id");
    }
    names
}

/// Generates the arguments of a grant.
pub fn any_grant() -> impl Strategy<Value = RandomGrant> {
    (
        0..3u8,
        0..2u8,
        0..3u8,
        prop::sample::select(RESOURCE_SHAPES.to_vec()),
        0..16u8,
        0..5u8,
        any::<bool>(),
    )
        .prop_map(
            |(grantee, database, table, shape, columns, permission, with_grant_option)| {
                let is_iam_group = grantee == 2;
                RandomGrant {
                    grantee,
                    database,
                    table,
                    shape: if is_iam_group {
                        iam_shape(shape)
                    } else {
                        shape
                    },
                    columns,
                    permission: if is_iam_group { 3 } else { permission },
                    with_grant_option: with_grant_option && !is_iam_group,
                }
            },
        )
}

/// Generates any action; grants and revokes are the most frequent.
pub fn any_action() -> impl Strategy<Value = HistoryAction> {
    let (d, t, n) = (0..2u8, 0..3u8, 0..16u8);
    prop_oneof![
        2 => d.clone().prop_map(HistoryAction::CreateDatabase),
        1 => d.clone().prop_map(HistoryAction::DeleteDatabase),
        1 => (d.clone(), n.clone()).prop_map(|(d, n)| HistoryAction::UpdateDatabase(d, n)),
        6 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| HistoryAction::CreateTable(d, t, n)),
        4 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| HistoryAction::UpdateTable(d, t, n)),
        2 => (d.clone(), t.clone()).prop_map(|(d, t)| HistoryAction::DeleteTable(d, t)),
        3 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| HistoryAction::CreatePartition(d, t, n)),
        2 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| HistoryAction::UpdatePartition(d, t, n)),
        2 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| HistoryAction::DeletePartition(d, t, n)),
        2 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| HistoryAction::PutFunction(d, t, n)),
        1 => (d.clone(), t.clone()).prop_map(|(d, t)| HistoryAction::DeleteFunction(d, t)),
        3 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| HistoryAction::PutAttachment(d, t, n)),
        2 => (d, t, n).prop_map(|(d, t, n)| HistoryAction::RemoveAttachment(d, t, n)),
        10 => any_lakeformation_action().prop_map(HistoryAction::LakeFormation),
        12 => any_grant().prop_map(HistoryAction::Grant),
        8 => any_grant().prop_map(HistoryAction::Revoke),
    ]
}

/// Generates an action that grants or withdraws access. The actions are on two tables of one
/// database, so that they affect each other.
fn any_access_change() -> impl Strategy<Value = HistoryAction> {
    let grant = (
        prop::sample::select(vec![0u8, 0, 0, 0, 1, 2]),
        mostly_first_table(),
        prop::sample::select(vec![1u8, 2, 3, 3, 4, 4, 6, 6, 6, 7, 7, 7, 8, 9]),
        // Expressions with an LF-Tag that is assigned.
        prop::sample::select(vec![2u8, 4, 8, 10]),
        prop::sample::select(vec![0u8, 0, 0, 1, 3]),
    )
        .prop_map(|(grantee, table, shape, columns, permission)| RandomGrant {
            grantee,
            database: 0,
            table,
            shape: if grantee == 2 {
                iam_shape(shape)
            } else {
                shape
            },
            columns,
            permission: if grantee == 2 { 3 } else { permission },
            with_grant_option: false,
        })
        .boxed();
    let (t, n) = (mostly_first_table(), 0..16u8);
    prop_oneof![
        1 => (t.clone(), n.clone()).prop_map(|(t, n)| HistoryAction::CreateTable(0, t, n)),
        3 => (t.clone(), n).prop_map(|(t, n)| HistoryAction::UpdateTable(0, t, n)),
        1 => t.prop_map(|t| HistoryAction::DeleteTable(0, t)),
        12 => lakeformation::any_access_change().prop_map(HistoryAction::LakeFormation),
        10 => grant.clone().prop_map(HistoryAction::Grant),
        6 => grant.prop_map(HistoryAction::Revoke),
    ]
}

/// Generates the number of the first table four times as often as that of the second.
fn mostly_first_table() -> impl Strategy<Value = u8> + Clone {
    prop::sample::select(vec![0u8, 0, 0, 0, 1])
}

/// Generates a history of fewer than `length_limit` actions that grant or withdraw access.
pub fn access_changes(length_limit: usize) -> impl Strategy<Value = Vec<HistoryAction>> {
    prop::collection::vec(any_access_change(), 1..length_limit)
}

/// Generates a history of fewer than `length_limit` actions.
pub fn random_actions(length_limit: usize) -> impl Strategy<Value = Vec<HistoryAction>> {
    prop::collection::vec(any_action(), 1..length_limit)
}

/// Returns the `TableInput` of a table partitioned by `dt`.
#[must_use]
pub fn table_input(database: &str, name: &str, columns: &[&str]) -> Value {
    let columns: Vec<Value> = columns
        .iter()
        .map(|column| json!({"Name": column, "Type": "string"}))
        .collect();
    json!({
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": [{"Name": "dt", "Type": "string"}],
        "Parameters": {"classification": "parquet"},
        "StorageDescriptor": {
            "Columns": columns,
            "Location": format!("s3://lake-us/{database}/{name}/"),
            "SerdeInfo": {"SerializationLibrary": "parquet"},
        }
    })
}

fn partition_input(database: &str, table: &str, n: u8, version: u8) -> Value {
    json!({
        "Values": [format!("2026-11-{:02}", n % 4)],
        "Parameters": {"version": version.to_string()},
        "StorageDescriptor": {"Location": format!("s3://lake-us/{database}/{table}/dt={n}/")},
    })
}

/// Makes the API calls of an action in a Region, as a data lake administrator. Errors are ignored.
pub fn perform(harness: &TestHarness, region: &str, action: &HistoryAction) {
    for (name, request) in calls(action) {
        let mut text = request.to_string();
        if region == STANDBY {
            text = text.replace("arn:aws:s3:::lake-us/", "arn:aws:s3:::lake-in/replica/");
        }
        let request = serde_json::from_str(&text).expect("the request is JSON");
        let _ = harness.call(region, name, &request);
    }
}

/// Creates databases, tables, LF-Tags and a grant in the primary, then performs the actions there.
/// The database `base` has a table and a grant that no action changes.
pub fn set_up_primary(harness: &TestHarness, actions: &[HistoryAction]) {
    let base = json!({"DatabaseInput": {"Name": "base", "CreateTableDefaultPermissions": []}});
    let _ = harness.call(PRIMARY, "CreateDatabase", &base);
    let keep = json!({"DatabaseName": "base", "TableInput": table_input("base", "keep", &["id"])});
    let _ = harness.call(PRIMARY, "CreateTable", &keep);
    let grant = json!({
        "Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Keeper"},
        "Resource": {"Table": {"DatabaseName": "base", "Name": "keep"}},
        "Permissions": ["DESCRIBE"],
    });
    let _ = harness.call(PRIMARY, "GrantPermissions", &grant);
    for (name, request) in lakeformation::initial_lf_tags() {
        let _ = harness.call(PRIMARY, name, &request);
    }
    for database in 0..2 {
        perform(harness, PRIMARY, &HistoryAction::CreateDatabase(database));
        for table in 0..2 {
            perform(
                harness,
                PRIMARY,
                &HistoryAction::CreateTable(database, table, 15),
            );
        }
    }
    for action in actions {
        perform(harness, PRIMARY, action);
    }
}

/// Returns the API calls of an action.
#[must_use]
pub fn calls(action: &HistoryAction) -> Vec<(&'static str, Value)> {
    let in_table = |d: u8, t: u8| json!({"DatabaseName": database(d), "TableName": table(t)});
    let with = |mut json: Value, key: &str, value: Value| {
        json[key] = value;
        json
    };
    match action {
        HistoryAction::CreateDatabase(d) => {
            let name = database(*d);
            let input = json!({"Name": name, "CreateTableDefaultPermissions": []});
            let keep = table_input(&name, "keep", &["id"]);
            vec![
                ("CreateDatabase", json!({"DatabaseInput": input})),
                (
                    "CreateTable",
                    json!({"DatabaseName": name, "TableInput": keep}),
                ),
            ]
        }
        HistoryAction::CreateOpenDatabase(d) => {
            let name = database(*d);
            let open = json!([{
                "Principal": {"DataLakePrincipalIdentifier": GRANTEES[2]}, "Permissions": ["ALL"],
            }]);
            let input = json!({"Name": name, "CreateTableDefaultPermissions": open});
            let on_database = RandomGrant {
                grantee: 2,
                database: *d,
                table: 0,
                shape: 0,
                columns: 0,
                permission: 3,
                with_grant_option: false,
            };
            let keep = table_input(&name, "keep", &["id"]);
            vec![
                ("CreateDatabase", json!({"DatabaseInput": input})),
                ("GrantPermissions", on_database.request()),
                (
                    "CreateTable",
                    json!({"DatabaseName": name, "TableInput": keep}),
                ),
            ]
        }
        HistoryAction::OpenRegionDefaults => {
            let principal = |principal: &str| json!({"DataLakePrincipalIdentifier": principal});
            let open = json!([{"Principal": principal(GRANTEES[2]), "Permissions": ["ALL"]}]);
            let settings = json!({
                "DataLakeAdmins": [principal(TWINLAKE_ROLE), principal(ADMIN_ROLE)],
                "CreateDatabaseDefaultPermissions": open,
                "CreateTableDefaultPermissions": open,
                "Parameters": {"CROSS_ACCOUNT_VERSION": "4", "SET_CONTEXT": "TRUE"},
            });
            vec![(
                "PutDataLakeSettings",
                json!({ "DataLakeSettings": settings }),
            )]
        }
        HistoryAction::CreateForeignTable(d, t, n) => {
            let name = match t {
                0 => "guest".to_owned(),
                t => table(*t),
            };
            let columns = [columns(*n), vec!["extra"]].concat();
            let input = table_input(&database(*d), &name, &columns);
            vec![(
                "CreateTable",
                json!({"DatabaseName": database(*d), "TableInput": input}),
            )]
        }
        HistoryAction::DeleteDatabase(d) => vec![("DeleteDatabase", json!({"Name": database(*d)}))],
        HistoryAction::UpdateDatabase(d, n) => {
            let name = database(*d);
            let input = json!({
                "Name": name, "Description": format!("take {n}"),
                "CreateTableDefaultPermissions": [],
            });
            vec![(
                "UpdateDatabase",
                json!({"Name": name, "DatabaseInput": input}),
            )]
        }
        HistoryAction::CreateTable(d, t, n) | HistoryAction::UpdateTable(d, t, n) => {
            let call = match action {
                HistoryAction::CreateTable(..) => "CreateTable",
                _ => "UpdateTable",
            };
            let input = table_input(&database(*d), &table(*t), &columns(*n));
            let request = json!({"DatabaseName": database(*d), "TableInput": input});
            // Each table has a partition that no action deletes.
            let keep = partition_input(&database(*d), &table(*t), 0, 0);
            let keep = with(in_table(*d, *t), "PartitionInput", keep);
            vec![(call, request), ("CreatePartition", keep)]
        }
        HistoryAction::DeleteTable(d, t) => {
            vec![(
                "DeleteTable",
                json!({"DatabaseName": database(*d), "Name": table(*t)}),
            )]
        }
        HistoryAction::CreatePartition(d, t, n) => {
            let input = partition_input(&database(*d), &table(*t), *n, *n);
            let request = with(in_table(*d, *t), "PartitionInputList", json!([input]));
            vec![("BatchCreatePartition", request)]
        }
        HistoryAction::UpdatePartition(d, t, n) => {
            let input = partition_input(&database(*d), &table(*t), *n, n + 1);
            let request = with(
                in_table(*d, *t),
                "PartitionValueList",
                input["Values"].clone(),
            );
            vec![("UpdatePartition", with(request, "PartitionInput", input))]
        }
        HistoryAction::DeletePartition(d, t, n) => {
            let values = partition_input("", "", n % 3 + 1, 0)["Values"].clone();
            let deleted = json!([{ "Values": values }]);
            let request = with(in_table(*d, *t), "PartitionsToDelete", deleted);
            vec![("BatchDeletePartition", request)]
        }
        HistoryAction::PutFunction(d, f, n) => {
            let name = format!("f{}", f % 3);
            let input = json!({
                "FunctionName": name, "ClassName": format!("org.example.F{n}"),
                "ResourceUris": [{"ResourceType": "JAR", "Uri": "s3://lake-us/code/f.jar"}],
            });
            let request = json!({
                "DatabaseName": database(*d), "FunctionName": name, "FunctionInput": input,
            });
            vec![
                ("CreateUserDefinedFunction", request.clone()),
                ("UpdateUserDefinedFunction", request),
            ]
        }
        HistoryAction::DeleteFunction(d, f) => {
            let name = format!("f{}", f % 3);
            let request = json!({"DatabaseName": database(*d), "FunctionName": name});
            vec![("DeleteUserDefinedFunction", request)]
        }
        HistoryAction::PutAttachment(d, t, n) => vec![attachment_call(*d, *t, *n, true)],
        HistoryAction::RemoveAttachment(d, t, n) => vec![attachment_call(*d, *t, *n, false)],
        HistoryAction::LakeFormation(action) => action.calls(),
        HistoryAction::Grant(grant) => vec![("GrantPermissions", grant.request())],
        HistoryAction::Revoke(grant) => vec![("RevokePermissions", grant.request())],
    }
}

/// Returns the call that adds or removes an attachment of a table. `n % 3` selects its kind.
fn attachment_call(d: u8, t: u8, n: u8, adds: bool) -> (&'static str, Value) {
    let (database, table) = (database(d), table(t));
    let column = COLUMNS[usize::from(n / 4) % 2];
    let mut request = json!({"DatabaseName": database, "TableName": table});
    let (call, key, value) = match (n % 3, adds) {
        (0, true) => {
            let index = json!({"IndexName": format!("i{}", n / 8), "Keys": ["dt"]});
            ("CreatePartitionIndex", "PartitionIndex", index)
        }
        (0, false) => (
            "DeletePartitionIndex",
            "IndexName",
            json!(format!("i{}", n / 8)),
        ),
        (1, true) => {
            let data = json!({"Type": "LONG", "LongColumnStatisticsData": {
                "MinimumValue": 1, "MaximumValue": n, "NumberOfNulls": 0,
                "NumberOfDistinctValues": n,
            }});
            let statistics = json!({
                "ColumnName": column, "ColumnType": "string", "AnalyzedTime": 1_790_000_000,
                "StatisticsData": data,
            });
            (
                "UpdateColumnStatisticsForTable",
                "ColumnStatisticsList",
                json!([statistics]),
            )
        }
        (1, false) => (
            "DeleteColumnStatisticsForTable",
            "ColumnName",
            json!(column),
        ),
        (_, adds) => {
            let arn = format!("arn:aws:glue:us-east-1:111122223333:table/{database}/{table}");
            request = json!({ "ResourceArn": arn });
            match adds {
                true => ("TagResource", "TagsToAdd", json!({"team": n.to_string()})),
                false => ("UntagResource", "TagsToRemove", json!(["team"])),
            }
        }
    };
    request[key] = value;
    (call, request)
}

impl RandomGrant {
    fn request(&self) -> Value {
        let (database, table) = (database(self.database), table(self.table));
        let columns = columns(self.columns);
        let on_table = json!({"DatabaseName": database, "Name": table});
        let with_columns = |key: &str, value: Value| {
            let mut json = on_table.clone();
            json[key] = value;
            json!({ "TableWithColumns": json })
        };
        let resource = match self.shape {
            0 => json!({"Database": {"Name": database}}),
            1 => json!({"Table": {"DatabaseName": database, "TableWildcard": {}}}),
            2 => with_columns("ColumnNames", json!(columns)),
            3 => with_columns("ColumnWildcard", json!({"ExcludedColumnNames": columns})),
            6 => json!({"DataCellsFilter": {
                "DatabaseName": database, "TableName": table,
                "Name": format!("f{}", self.columns % 2),
            }}),
            7 => json!({"LFTagPolicy": {
                "ResourceType": "TABLE", "Expression": lakeformation::expression(self.columns),
            }}),
            8 => json!({"LFTagPolicy": {
                "ResourceType": "DATABASE", "Expression": lakeformation::expression(self.columns),
            }}),
            9 => json!({"LFTagPolicy": {
                "ResourceType": "TABLE", "Expression": [],
                "ExpressionName": format!("e{}", self.columns % 2),
            }}),
            10 => json!({"LFTag": {
                "TagKey": format!("k{}", self.columns % 2),
                "TagValues": ["v0", format!("v{}", self.columns % 3)],
            }}),
            11 => json!({"Catalog": {}}),
            12 => json!({"DataLocation": {
                "ResourceArn": format!("arn:aws:s3:::lake-us/{database}/{table}"),
            }}),
            13 => json!({"LFTagExpression": {"Name": format!("e{}", self.columns % 2)}}),
            _ => json!({ "Table": on_table }),
        };
        let permission = match (self.shape, PERMISSIONS.get(usize::from(self.permission))) {
            (2 | 3 | 6, _) | (_, None) => "SELECT",
            (8, Some(_)) | (13, Some(_)) => "DESCRIBE",
            (10, Some(_)) => ["ASSOCIATE", "DESCRIBE"][usize::from(self.permission) % 2],
            (11, Some(_)) => ["CREATE_DATABASE", "CREATE_LF_TAG"][usize::from(self.permission) % 2],
            (12, Some(_)) => "DATA_LOCATION_ACCESS",
            (_, Some(permission)) => *permission,
        };
        let options: &[&str] = if self.with_grant_option {
            &[permission]
        } else {
            &[]
        };
        json!({
            "Principal": {"DataLakePrincipalIdentifier": GRANTEES[usize::from(self.grantee) % 3]},
            "Resource": resource,
            "Permissions": [permission],
            "PermissionsWithGrantOption": options,
        })
    }
}
