//! Histories: what people do to a lake, in random order.

mod lake;

use crate::lab::{Lab, PRIMARY, SECONDARY};
pub use lake::{LakeAct, LakeKind, lake_act};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One thing that somebody does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Makes a database, with one table that is never dropped.
    CreateDatabase(u8),
    /// Drops a database with all that is in it.
    DeleteDatabase(u8),
    /// Changes a database's description.
    DescribeDatabase(u8, u8),
    /// Makes a table with some columns.
    CreateTable(u8, u8, u8),
    /// Gives a table other columns.
    UpdateTable(u8, u8, u8),
    /// Drops a table.
    DeleteTable(u8, u8),
    /// Adds a partition.
    AddPartition(u8, u8, u8),
    /// Changes a partition.
    UpdatePartition(u8, u8, u8),
    /// Drops a partition.
    DropPartition(u8, u8, u8),
    /// Makes a function, or changes it.
    PutFunction(u8, u8, u8),
    /// Drops a function.
    DropFunction(u8, u8),
    /// Puts a partition index, the statistics of a column, or a tag on a table.
    PutPart(u8, u8, u8),
    /// Takes one of those away.
    DropPart(u8, u8, u8),
    /// Does something to what Lake Formation keeps beside grants.
    Lake(LakeAct),
    /// Grants.
    Grant(Given),
    /// Revokes.
    Revoke(Given),
}

/// Somebody's permission on something.
#[derive(Clone, Debug)]
pub struct Given {
    who: u8,
    database: u8,
    table: u8,
    shape: u8,
    columns: u8,
    permission: u8,
    option: bool,
}

/// Principals that are granted things.
pub const GRANTEES: [&str; 3] = [
    "arn:aws:iam::111122223333:role/Analyst",
    "arn:aws:iam::111122223333:user/ann",
    "IAM_ALLOWED_PRINCIPALS",
];

const COLUMNS: [&str; 4] = ["id", "amount", "ssn", "note"];
const PERMISSIONS: [&str; 5] = ["SELECT", "DESCRIBE", "INSERT", "ALL", "ALTER"];

/// The shapes of what is granted; those on tables are the most frequent.
const SHAPES: [u8; 22] = [
    0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 4,
];

fn database(n: u8) -> String {
    format!("db{}", n % 2)
}

fn table(n: u8) -> String {
    format!("t{}", n % 3)
}

/// The columns whose bits are set; never none.
fn columns(bits: u8) -> Vec<&'static str> {
    let chosen = COLUMNS.iter().enumerate();
    let mut names: Vec<&str> = chosen
        .filter(|(at, _)| bits & (1 << at) != 0)
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() {
        names.push("id");
    }
    names
}

/// Any given permission.
pub fn given() -> impl Strategy<Value = Given> {
    (
        0..3u8,
        0..2u8,
        0..3u8,
        prop::sample::select(SHAPES.to_vec()),
        0..16u8,
        0..5u8,
        any::<bool>(),
    )
        .prop_map(
            |(who, database, table, shape, columns, permission, option)| {
                // The group that stands for IAM is only ever granted ALL, whole.
                let group = who == 2;
                Given {
                    who,
                    database,
                    table,
                    shape: if group { shape % 2 * 4 } else { shape },
                    columns,
                    permission: if group { 3 } else { permission },
                    option: option && !group,
                }
            },
        )
}

/// Any act; grants and revokes are the most frequent.
pub fn act() -> impl Strategy<Value = Act> {
    let (d, t, n) = (0..2u8, 0..3u8, 0..16u8);
    prop_oneof![
        2 => d.clone().prop_map(Act::CreateDatabase),
        1 => d.clone().prop_map(Act::DeleteDatabase),
        1 => (d.clone(), n.clone()).prop_map(|(d, n)| Act::DescribeDatabase(d, n)),
        6 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| Act::CreateTable(d, t, n)),
        4 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| Act::UpdateTable(d, t, n)),
        2 => (d.clone(), t.clone()).prop_map(|(d, t)| Act::DeleteTable(d, t)),
        3 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| Act::AddPartition(d, t, n)),
        2 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| Act::UpdatePartition(d, t, n)),
        2 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| Act::DropPartition(d, t, n)),
        2 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| Act::PutFunction(d, t, n)),
        1 => (d.clone(), t.clone()).prop_map(|(d, t)| Act::DropFunction(d, t)),
        3 => (d.clone(), t.clone(), n.clone()).prop_map(|(d, t, n)| Act::PutPart(d, t, n)),
        2 => (d, t, n).prop_map(|(d, t, n)| Act::DropPart(d, t, n)),
        10 => lake_act().prop_map(Act::Lake),
        12 => given().prop_map(Act::Grant),
        8 => given().prop_map(Act::Revoke),
    ]
}

/// One of the acts that open or close something, all about two tables of one database, so
/// that they meet.
fn risky() -> impl Strategy<Value = Act> {
    let given = (
        prop::sample::select(vec![0u8, 0, 0, 0, 1, 2]),
        mostly_one(),
        prop::sample::select(vec![1u8, 2, 3, 3, 4, 4, 6, 6, 6, 7, 7, 7, 8, 9]),
        // What names an LF-Tag that is assigned.
        prop::sample::select(vec![2u8, 4, 8, 10]),
        prop::sample::select(vec![0u8, 0, 0, 1, 3]),
    )
        .prop_map(|(who, table, shape, columns, permission)| Given {
            who,
            database: 0,
            table,
            shape: if who == 2 { shape % 2 * 4 } else { shape },
            columns,
            permission: if who == 2 { 3 } else { permission },
            option: false,
        })
        .boxed();
    let (t, n) = (mostly_one(), 0..16u8);
    prop_oneof![
        1 => (t.clone(), n.clone()).prop_map(|(t, n)| Act::CreateTable(0, t, n)),
        3 => (t.clone(), n).prop_map(|(t, n)| Act::UpdateTable(0, t, n)),
        1 => t.prop_map(|t| Act::DeleteTable(0, t)),
        12 => lake::risky().prop_map(Act::Lake),
        10 => given.clone().prop_map(Act::Grant),
        6 => given.prop_map(Act::Revoke),
    ]
}

/// One table much more often than the other.
fn mostly_one() -> impl Strategy<Value = u8> + Clone {
    prop::sample::select(vec![0u8, 0, 0, 0, 1])
}

/// A history in which much is opened and closed.
pub fn risky_acts(longest: usize) -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(risky(), 1..longest)
}

/// What happened before both Regions were equal, and then in each of them.
pub type Histories = (Vec<Act>, Vec<Act>, Vec<Act>);

/// Histories in which something is opened and somebody is shut out at once: in another order
/// of the same steps he sees it for a moment.
pub fn crossings() -> impl Strategy<Value = Histories> {
    let given = |who: u8, shape: u8, columns: u8| Given {
        who,
        database: 0,
        table: 0,
        shape,
        columns,
        permission: if who == 2 { 3 } else { 0 },
        option: false,
    };
    let lake = |kind: LakeKind, n: u8| Act::Lake(LakeAct::on_first(kind, n));
    let leaves = |given: Given, before: Vec<Act>, act: Act| {
        let before = [before, vec![Act::Grant(given.clone())]].concat();
        (before, vec![Act::Revoke(given), act], Vec::new())
    };
    // LF-Tags are k0=v1 and k0=v2, the filter is f0; see the numbers' meaning in `lake`.
    let (tag_of_table, tag_of_column) = (18, 9);
    let cases = vec![
        leaves(given(0, 1, 0), Vec::new(), Act::CreateTable(0, 2, 15)),
        leaves(
            given(0, 7, 4),
            vec![
                lake(LakeKind::Assign, tag_of_table),
                lake(LakeKind::Assign, tag_of_column),
            ],
            lake(LakeKind::Unassign, tag_of_column),
        ),
        leaves(
            given(0, 7, 4),
            Vec::new(),
            lake(LakeKind::Assign, tag_of_table),
        ),
        (
            vec![Act::Grant(given(0, 7, 2))],
            vec![lake(LakeKind::Assign, tag_of_table)],
            Vec::new(),
        ),
        // The filter is wider in the secondary, and is granted.
        (
            vec![lake(LakeKind::PutFilter, 16)],
            vec![Act::Grant(given(0, 6, 2))],
            vec![lake(LakeKind::PutFilter, 0)],
        ),
        leaves(
            given(0, 6, 2),
            vec![lake(LakeKind::PutFilter, 16)],
            lake(LakeKind::PutFilter, 0),
        ),
        leaves(
            given(2, 4, 0),
            vec![lake(LakeKind::OptIn, 1)],
            lake(LakeKind::OptOut, 1),
        ),
        leaves(given(0, 3, 12), Vec::new(), Act::Grant(given(0, 3, 14))),
        leaves(
            given(0, 1, 0),
            vec![Act::UpdateTable(0, 0, 1)],
            Act::UpdateTable(0, 0, 15),
        ),
        leaves(
            given(0, 4, 0),
            vec![Act::UpdateTable(0, 0, 1)],
            Act::UpdateTable(0, 0, 15),
        ),
    ];
    let chosen = prop::sample::select(cases);
    (chosen, risky_acts(3), risky_acts(3)).prop_map(|((before, here, there), noise, more)| {
        (before, [here, noise].concat(), [there, more].concat())
    })
}

/// Any history.
pub fn acts(longest: usize) -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(act(), 1..longest)
}

/// A table as people make it.
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

/// Does something in a Region, as a person. What cannot be done is not done.
pub fn perform(lab: &Lab, region: &str, act: &Act) {
    for (name, request) in calls(act) {
        let mut text = request.to_string();
        if region == SECONDARY {
            text = text.replace("arn:aws:s3:::lake-us/", "arn:aws:s3:::lake-in/replica/");
        }
        let request = serde_json::from_str(&text).expect("it was JSON");
        let _ = lab.call(region, name, &request);
    }
}

/// Lives a history in the primary, upon a lake that is not empty: `base` with a
/// table and a grant that nobody ever touches.
pub fn settle(lab: &Lab, acts: &[Act]) {
    let base = json!({"DatabaseInput": {"Name": "base", "CreateTableDefaultPermissions": []}});
    let _ = lab.call(PRIMARY, "CreateDatabase", &base);
    let keep = json!({"DatabaseName": "base", "TableInput": table_input("base", "keep", &["id"])});
    let _ = lab.call(PRIMARY, "CreateTable", &keep);
    let grant = json!({
        "Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Keeper"},
        "Resource": {"Table": {"DatabaseName": "base", "Name": "keep"}},
        "Permissions": ["DESCRIBE"],
    });
    let _ = lab.call(PRIMARY, "GrantPermissions", &grant);
    for (name, request) in lake::vocabulary() {
        let _ = lab.call(PRIMARY, name, &request);
    }
    for database in 0..2 {
        perform(lab, PRIMARY, &Act::CreateDatabase(database));
        for table in 0..2 {
            perform(lab, PRIMARY, &Act::CreateTable(database, table, 15));
        }
    }
    for act in acts {
        perform(lab, PRIMARY, act);
    }
}

/// The calls that an act is made of.
#[must_use]
pub fn calls(act: &Act) -> Vec<(&'static str, Value)> {
    let in_table = |d: u8, t: u8| json!({"DatabaseName": database(d), "TableName": table(t)});
    let with = |mut json: Value, key: &str, value: Value| {
        json[key] = value;
        json
    };
    match act {
        Act::CreateDatabase(d) => {
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
        Act::DeleteDatabase(d) => vec![("DeleteDatabase", json!({"Name": database(*d)}))],
        Act::DescribeDatabase(d, n) => {
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
        Act::CreateTable(d, t, n) | Act::UpdateTable(d, t, n) => {
            let call = match act {
                Act::CreateTable(..) => "CreateTable",
                _ => "UpdateTable",
            };
            let input = table_input(&database(*d), &table(*t), &columns(*n));
            let request = json!({"DatabaseName": database(*d), "TableInput": input});
            // Something that is never dropped stands beside every partition.
            let keep = partition_input(&database(*d), &table(*t), 0, 0);
            let keep = with(in_table(*d, *t), "PartitionInput", keep);
            vec![(call, request), ("CreatePartition", keep)]
        }
        Act::DeleteTable(d, t) => {
            vec![(
                "DeleteTable",
                json!({"DatabaseName": database(*d), "Name": table(*t)}),
            )]
        }
        Act::AddPartition(d, t, n) => {
            let input = partition_input(&database(*d), &table(*t), *n, *n);
            let request = with(in_table(*d, *t), "PartitionInputList", json!([input]));
            vec![("BatchCreatePartition", request)]
        }
        Act::UpdatePartition(d, t, n) => {
            let input = partition_input(&database(*d), &table(*t), *n, n + 1);
            let request = with(
                in_table(*d, *t),
                "PartitionValueList",
                input["Values"].clone(),
            );
            vec![("UpdatePartition", with(request, "PartitionInput", input))]
        }
        Act::DropPartition(d, t, n) => {
            let values = partition_input("", "", n % 3 + 1, 0)["Values"].clone();
            let dropped = json!([{ "Values": values }]);
            let request = with(in_table(*d, *t), "PartitionsToDelete", dropped);
            vec![("BatchDeletePartition", request)]
        }
        Act::PutFunction(d, f, n) => {
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
        Act::DropFunction(d, f) => {
            let name = format!("f{}", f % 3);
            let request = json!({"DatabaseName": database(*d), "FunctionName": name});
            vec![("DeleteUserDefinedFunction", request)]
        }
        Act::PutPart(d, t, n) => vec![part_call(*d, *t, *n, true)],
        Act::DropPart(d, t, n) => vec![part_call(*d, *t, *n, false)],
        Act::Lake(act) => act.calls(),
        Act::Grant(given) => vec![("GrantPermissions", given.request())],
        Act::Revoke(given) => vec![("RevokePermissions", given.request())],
    }
}

/// A call that puts or drops a part of a table: which kind is in the lowest bits.
fn part_call(d: u8, t: u8, n: u8, puts: bool) -> (&'static str, Value) {
    let (database, table) = (database(d), table(t));
    let column = COLUMNS[usize::from(n / 4) % 2];
    let mut request = json!({"DatabaseName": database, "TableName": table});
    let (call, key, value) = match (n % 3, puts) {
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
            let one = json!({
                "ColumnName": column, "ColumnType": "string", "AnalyzedTime": 1_790_000_000,
                "StatisticsData": data,
            });
            (
                "UpdateColumnStatisticsForTable",
                "ColumnStatisticsList",
                json!([one]),
            )
        }
        (1, false) => (
            "DeleteColumnStatisticsForTable",
            "ColumnName",
            json!(column),
        ),
        (_, puts) => {
            let arn = format!("arn:aws:glue:us-east-1:111122223333:table/{database}/{table}");
            request = json!({ "ResourceArn": arn });
            match puts {
                true => ("TagResource", "TagsToAdd", json!({"team": n.to_string()})),
                false => ("UntagResource", "TagsToRemove", json!(["team"])),
            }
        }
    };
    request[key] = value;
    (call, request)
}

impl Given {
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
                "ResourceType": "TABLE", "Expression": lake::expression(self.columns),
            }}),
            8 => json!({"LFTagPolicy": {
                "ResourceType": "DATABASE", "Expression": lake::expression(self.columns),
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
        let options: &[&str] = if self.option { &[permission] } else { &[] };
        json!({
            "Principal": {"DataLakePrincipalIdentifier": GRANTEES[usize::from(self.who) % 3]},
            "Resource": resource,
            "Permissions": [permission],
            "PermissionsWithGrantOption": options,
        })
    }
}
