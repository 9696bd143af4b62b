//! Requests on small lakes: databases, tables with columns, grants on tables and by LF-Tags.

use crate::harness::{PRIMARY, TestHarness};
use crate::history::table_input;
use serde_json::{Value, json};

/// Makes a call in a Region.
///
/// # Panics
/// The Region refuses the call.
pub fn call(harness: &TestHarness, region: &str, name: &str, request: Value) {
    harness.call(region, name, &request).unwrap();
}

/// Creates a database in the primary, without default permissions.
///
/// # Panics
/// The Region refuses the call.
pub fn create_database(harness: &TestHarness, name: &str) {
    let input = json!({"Name": name, "CreateTableDefaultPermissions": []});
    call(
        harness,
        PRIMARY,
        "CreateDatabase",
        json!({"DatabaseInput": input}),
    );
}

/// The request that creates or updates a table with these columns.
#[must_use]
pub fn table_request(database: &str, table: &str, columns: &[&str]) -> Value {
    json!({"DatabaseName": database, "TableInput": table_input(database, table, columns)})
}

/// Creates a table with one column.
///
/// # Panics
/// The Region refuses the call.
pub fn create_table(harness: &TestHarness, region: &str, database: &str, table: &str) {
    call(
        harness,
        region,
        "CreateTable",
        table_request(database, table, &["id"]),
    );
}

/// The request that grants or revokes SELECT on a resource.
#[must_use]
pub fn permission_request(role: &str, resource: &Value) -> Value {
    let role = format!("arn:aws:iam::111122223333:role/{role}");
    json!({"Principal": {"DataLakePrincipalIdentifier": role}, "Resource": resource,
           "Permissions": ["SELECT"]})
}

/// A table of the database `sales`, as a resource.
#[must_use]
pub fn table_resource(table: &str) -> Value {
    json!({"Table": {"DatabaseName": "sales", "Name": table}})
}

/// All tables of the database `sales`, as a resource.
#[must_use]
pub fn all_tables_resource() -> Value {
    json!({"Table": {"DatabaseName": "sales", "TableWildcard": {}}})
}

/// LF-Tags with one value each, as a request has them.
#[must_use]
pub fn tags(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(key, value)| json!({"TagKey": key, "TagValues": [value]}))
        .collect()
}

/// The request that grants or revokes SELECT on the tables with these LF-Tags.
#[must_use]
pub fn policy_grant(role: &str, pairs: &[(&str, &str)]) -> Value {
    let resource = json!({"LFTagPolicy": {"ResourceType": "TABLE", "Expression": tags(pairs)}});
    permission_request(role, &resource)
}
