//! Objects of somebody else in the standby: Twinlake did not make them, and they differ from what it
//! would make. Some have the names of objects of the primary's histories.

use crate::equality_oracle::{self, is_about};
use crate::harness::{PRIMARY, STANDBY, TestHarness};
use crate::history::table_input;
use crate::resolution_oracle::{exists, parse_subject};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twinlake_core::{Name, Subject};

const ANALYST: &str = "arn:aws:iam::111122223333:role/Analyst";
const DESCRIPTION: &str = "somebody else's";

/// What somebody else has in the standby, by the keys of [`equality_oracle::contents`].
pub type ForeignContents = BTreeMap<String, String>;

/// Creates the foreign objects that the bits of `selection` select, in a standby that has the
/// database `db0` of the primary. Those whose parent is not selected are left out. Returns what they
/// added to the standby.
#[must_use]
pub fn create(harness: &TestHarness, selection: u64) -> ForeignContents {
    let before = equality_oracle::contents(&harness.sim.state(), STANDBY);
    for (index, (name, request)) in calls().into_iter().enumerate() {
        if selection >> index & 1 == 1 {
            let _ = harness.call(STANDBY, name, &request);
        }
    }
    let mut added = equality_oracle::contents(&harness.sim.state(), STANDBY);
    added.retain(|key, _| !before.contains_key(key));
    added
}

/// The number of bits of a selection.
#[must_use]
pub fn selection_bits() -> usize {
    calls().len()
}

fn table(database: &str, name: &str) -> (&'static str, Value) {
    let mut input = table_input(database, name, &["id", "secret"]);
    input["Description"] = json!(DESCRIPTION);
    (
        "CreateTable",
        json!({"DatabaseName": database, "TableInput": input}),
    )
}

fn database(name: &str) -> (&'static str, Value) {
    let input = json!({"Name": name, "Description": DESCRIPTION,
                       "CreateTableDefaultPermissions": []});
    ("CreateDatabase", json!({ "DatabaseInput": input }))
}

fn partition(database: &str, table: &str) -> (&'static str, Value) {
    let location = format!("s3://lake-theirs/{database}/{table}/");
    let input = json!({"Values": ["theirs"], "StorageDescriptor": {"Location": location}});
    (
        "CreatePartition",
        json!({"DatabaseName": database, "TableName": table, "PartitionInput": input}),
    )
}

fn function(database: &str, name: &str) -> (&'static str, Value) {
    let input = json!({"FunctionName": name, "ClassName": "theirs.Function"});
    (
        "CreateUserDefinedFunction",
        json!({"DatabaseName": database, "FunctionInput": input}),
    )
}

fn filter(database: &str, table: &str) -> (&'static str, Value) {
    let data = json!({"DatabaseName": database, "TableName": table, "Name": "f0",
                      "RowFilter": {"FilterExpression": "id > 99"}, "ColumnNames": ["id"]});
    ("CreateDataCellsFilter", json!({ "TableData": data }))
}

fn expression(name: &str, key: &str, value: &str) -> (&'static str, Value) {
    let expression = json!([{"TagKey": key, "TagValues": [value]}]);
    (
        "CreateLFTagExpression",
        json!({"Name": name, "Description": DESCRIPTION, "Expression": expression}),
    )
}

fn assignment(resource: Value, key: &str, value: &str) -> (&'static str, Value) {
    let tags = json!([{"TagKey": key, "TagValues": [value]}]);
    (
        "AddLFTagsToResource",
        json!({"Resource": resource, "LFTags": tags}),
    )
}

fn grant(resource: Value, permission: &str) -> (&'static str, Value) {
    let principal = json!({ "DataLakePrincipalIdentifier": ANALYST });
    (
        "GrantPermissions",
        json!({"Principal": principal, "Resource": resource, "Permissions": [permission]}),
    )
}

fn opt_in(resource: Value) -> (&'static str, Value) {
    let principal = json!({ "DataLakePrincipalIdentifier": ANALYST });
    (
        "CreateLakeFormationOptIn",
        json!({"Principal": principal, "Resource": resource}),
    )
}

fn register(location: &str) -> (&'static str, Value) {
    let role = "arn:aws:iam::111122223333:role/Theirs";
    (
        "RegisterResource",
        json!({"ResourceArn": location, "RoleArn": role}),
    )
}

/// The index in [`calls`] of the assignment of an LF-Tag of the primary to a foreign table.
const ASSIGNS_LF_TAG_OF_PRIMARY: usize = 20;

/// Whether a selection assigns an LF-Tag of the primary to a foreign table: a grant by that LF-Tag
/// would open the table.
#[must_use]
pub fn assigns_lf_tag_of_primary(selection: u64) -> bool {
    selection >> ASSIGNS_LF_TAG_OF_PRIMARY & 1 == 1
}

fn calls() -> Vec<(&'static str, Value)> {
    let on_table =
        |database: &str, name: &str| json!({"Table": {"DatabaseName": database, "Name": name}});
    let on_database = |name: &str| json!({"Database": {"Name": name}});
    let on_filter = |database: &str, table: &str| {
        json!({"DataCellsFilter":
            {"DatabaseName": database, "TableName": table, "Name": "f0"}})
    };
    let policy = json!({"LFTagPolicy": {"ResourceType": "TABLE",
        "Expression": [{"TagKey": "theirs", "TagValues": ["a"]}]}});
    vec![
        // 0: objects. `db1`, `db0.t2` and the function `db0.f2` are names of histories.
        database("theirs"),
        table("theirs", "orders"),
        partition("theirs", "orders"),
        database("db1"),
        table("db1", "t0"),
        table("db0", "mine"),
        partition("db0", "mine"),
        table("db0", "t2"),
        partition("db0", "t2"),
        function("db0", "mine"),
        // 10
        function("db0", "f2"),
        function("theirs", "mine"),
        (
            "CreateLFTag",
            json!({"TagKey": "theirs", "TagValues": ["a", "b"]}),
        ),
        (
            "UpdateLFTag",
            json!({"TagKey": "k0", "TagValuesToAdd": ["theirs"]}),
        ),
        expression("e0", "k1", "v2"),
        expression("theirs", "theirs", "a"),
        assignment(on_table("db0", "mine"), "theirs", "a"),
        assignment(on_database("theirs"), "theirs", "b"),
        assignment(on_table("db0", "mine"), "k0", "theirs"),
        filter("db0", "mine"),
        // 20
        assignment(on_table("db0", "mine"), "k0", "v0"),
        filter("db0", "t2"),
        grant(on_table("db0", "mine"), "SELECT"),
        grant(on_table("db0", "t2"), "SELECT"),
        grant(on_table("theirs", "orders"), "INSERT"),
        grant(on_database("theirs"), "DESCRIBE"),
        grant(on_database("db1"), "ALTER"),
        grant(on_filter("db0", "mine"), "SELECT"),
        grant(on_filter("db0", "t2"), "SELECT"),
        grant(
            json!({"LFTag": {"TagKey": "theirs", "TagValues": ["a"]}}),
            "DESCRIBE",
        ),
        // 30
        grant(policy, "SELECT"),
        grant(json!({"LFTagExpression": {"Name": "theirs"}}), "DESCRIBE"),
        opt_in(on_table("db0", "mine")),
        opt_in(on_table("theirs", "orders")),
        opt_in(on_table("db0", "t2")),
        register("arn:aws:s3:::lake-theirs/x"),
        register("arn:aws:s3:::lake-in/replica/db1"),
    ]
}

/// Why a difference between the Regions is due to somebody else's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// The difference is somebody else's object.
    Foreign,
    /// Somebody else's object has the name.
    NameTaken,
    /// The change would open or delete somebody else's object.
    WouldAffect,
}

/// Returns why a difference between the Regions is due to somebody else's objects, or `None` if it is
/// not.
#[must_use]
pub fn explanation(
    harness: &TestHarness,
    difference: &str,
    foreign: &ForeignContents,
    selection: u64,
) -> Option<Explanation> {
    let (verb, key) = difference.split_once(' ')?;
    if verb == "extra" && foreign.contains_key(key) {
        return Some(Explanation::Foreign);
    }
    let subject_of = |key: &String| {
        let mut parts = key.split('|');
        let (kind, name) = (parts.next()?, parts.next()?);
        match kind {
            "database" | "table" | "function" => parse_subject(&format!("{kind} {name}")),
            _ => None,
        }
    };
    let foreign_objects: Vec<Subject> = foreign.keys().filter_map(subject_of).collect();
    let is_function = difference.contains("function|");
    let takes_name = |subject: &Subject| {
        let is_kind = match subject {
            Subject::Function(_) => is_function,
            Subject::Table(_) => !is_function,
            Subject::Database(_) | Subject::LakeFormation(_) | Subject::Catalog => true,
        };
        is_kind && is_about(difference, subject)
    };
    let takes_expression =
        foreign.contains_key("lakeformation|expression|e0") && difference.contains("e0");
    let location = "lakeformation|registration|arn:aws:s3:::lake-in/replica/db1";
    let takes_location = foreign.contains_key(location) && difference.contains(location);
    if foreign_objects.iter().any(takes_name) || takes_expression || takes_location {
        return Some(Explanation::NameTaken);
    }
    let db0 = Name::from_service("db0");
    let holds_foreign = foreign_objects
        .iter()
        .any(|subject| subject.database() == Some(&db0));
    let db0 = Subject::Database(db0);
    let is_deleted = verb == "extra" && !exists(harness, PRIMARY, &db0);
    let of_database_itself = [
        "database|db0",
        "Database(\"db0\")",
        "attachment|db0|",
        "assigned|database db0|",
        "TableWildcard(\"db0\")",
        "AllTables",
    ];
    let keeps_database = is_deleted
        && of_database_itself
            .iter()
            .any(|text| difference.contains(text));
    let opens_all_tables = verb == "missing" && key.contains("AllTables");
    let opens_tagged = verb == "missing" && opens_by_lf_tags(harness, key, &foreign_objects);
    // Lake Formation deletes no value that a resource has.
    let keeps_value = assigns_lf_tag_of_primary(selection)
        && verb == "extra"
        && key.starts_with("lakeformation|tag|k0=");
    let would_affect =
        holds_foreign && (keeps_database || opens_all_tables || opens_tagged || keeps_value);
    would_affect.then_some(Explanation::WouldAffect)
}

/// Whether the grant or the LF-Tag of a key gives access to one of somebody else's tables, which has
/// LF-Tags of its own or inherits those of its database.
fn opens_by_lf_tags(harness: &TestHarness, key: &str, foreign: &[Subject]) -> bool {
    let state = harness.sim.state();
    let regions = [PRIMARY, STANDBY];
    let contents: Vec<(String, String)> = regions
        .into_iter()
        .flat_map(|region| equality_oracle::contents(&state, region))
        .collect();
    let resources = foreign.iter().flat_map(|subject| match subject {
        Subject::Table(id) => vec![format!("table {id}"), format!("database {}", id.database)],
        Subject::Database(_)
        | Subject::Function(_)
        | Subject::LakeFormation(_)
        | Subject::Catalog => Vec::new(),
    });
    let prefixes: Vec<String> = resources
        .map(|resource| format!("lakeformation|assigned|{resource}|"))
        .collect();
    let is_of_foreign_table = |key: &str| prefixes.iter().any(|prefix| key.starts_with(prefix));
    let allows = |grant: &str, lf_tag: &str, value: &str| {
        let lf_tag = lf_tag.rsplit('|').next().unwrap_or_default();
        let names = [format!("{lf_tag:?}"), value.to_owned()];
        let by_name = grant.contains("NamedExpression(");
        grant.starts_with("grant|LfTagPolicy")
            && (by_name || names.iter().all(|n| grant.contains(n)))
    };
    contents
        .iter()
        .filter(|(lf_tag, _)| is_of_foreign_table(lf_tag))
        .any(|(lf_tag, value)| {
            let is_lf_tag = key == lf_tag;
            let grants = contents.iter().map(|(grant, _)| grant.as_str());
            let mut grants = grants.filter(|grant| is_lf_tag || *grant == key);
            grants.any(|grant| allows(grant, lf_tag, value))
        })
}
