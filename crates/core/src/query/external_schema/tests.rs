use super::*;
use crate::query::audit::{StatementBounds, audit_statement};

const ROLE: &str = "arn:aws:iam::111122223333:role/spectrum";

fn row(columns: &[&str]) -> WarehouseRow {
    let column = |text: &&str| (*text != "null").then(|| (*text).to_owned());
    columns.iter().map(column).collect()
}

/// A row of the first statement, as the user `twinlake`.
fn schema(name: &str, kind: &str, options: &str, owner: &str) -> WarehouseRow {
    row(&[
        "twinlake", "true", "100134", name, kind, "sales", options, owner,
    ])
}

fn read(schemas: &[WarehouseRow], grants: &[WarehouseRow]) -> Vec<ReadSchema> {
    read_external_schemas(("reports", "us-east-1"), schemas, grants).unwrap()
}

fn one(schemas: WarehouseRow, grants: &[WarehouseRow]) -> QueryObject {
    let mut found = read(&[schemas], grants);
    assert_eq!(found.len(), 1);
    found.remove(0).1.unwrap()
}

fn options() -> String {
    json!({ "IAM_ROLE": ROLE }).to_string()
}

#[test]
fn a_schema_without_a_region_reads_the_catalog_of_its_own() {
    let without = one(schema("s", "1", &options(), "etl"), &[]);
    let with = json!({"IAM_ROLE": ROLE, "REGION": "us-east-1"}).to_string();
    assert_eq!(without, one(schema("s", "1", &with, "etl"), &[]));
    assert_eq!(without.text("Region"), Some("us-east-1"));
    assert_eq!(without.text("Owner"), Some("etl"));
    assert_eq!(without.created, Some(Timestamp::from_secs(100_134)));
    // One that belongs to the reading user belongs to the reading user in the standby.
    let own = one(schema("s", "1", &options(), "twinlake"), &[]);
    assert_eq!(own.text("Owner"), None);
}

#[test]
fn grants_are_those_of_usage_without_the_owners_own() {
    let grants = [
        row(&["s", "USAGE", "zoe", "user", "f", "SCHEMA"]),
        row(&["s", "USAGE", "etl", "user", "f", "SCHEMA"]),
        row(&["s", "USAGE", "etl", "role", "f", "SCHEMA"]),
        row(&["s", "USAGE", "anna", "user", "true", "SCHEMA"]),
        row(&["s", "USAGE", "null", "public", "f", "null"]),
        row(&["s", "CREATE", "anna", "user", "f", "SCHEMA"]),
        row(&["s", "USAGE", "anna", "user", "f", "TABLES"]),
        row(&["other", "USAGE", "ben", "user", "f", "SCHEMA"]),
    ];
    let object = one(schema("s", "1", &options(), "etl"), &grants);
    let expected = json!([
        {"Type": "public"},
        {"Type": "role", "Grantee": "etl"},
        {"Type": "user", "Grantee": "anna", "WithGrantOption": true},
        {"Type": "user", "Grantee": "zoe"},
    ]);
    assert_eq!(object.field("Grants"), Some(&expected));
    assert_eq!(notes(&object).len(), 2, "{:?}", notes(&object));
}

#[test]
fn a_bad_row_is_one_bad_schema_and_lost_rights_are_no_empty_listing() {
    let found = read(
        &[
            schema("bad", "1", "{", "etl"),
            schema("nameless", "1", &options(), "null"),
            schema("good", "1", &options(), "etl"),
        ],
        &[],
    );
    let is_good: Vec<bool> = found.iter().map(|(_, object)| object.is_ok()).collect();
    assert_eq!(is_good, [false, false, true]);
    let none = row(&[
        "twinlake", "t", "null", "null", "null", "null", "null", "null",
    ]);
    assert_eq!(read(std::slice::from_ref(&none), &[]), Vec::new());
    let location = ("reports", "us-east-1");
    let mut denied = none;
    denied[1] = Some("f".to_owned());
    assert_eq!(
        read_external_schemas(location, &[denied], &[]),
        Err(IncompleteSchemas::NoSuperuser("twinlake".to_owned()))
    );
    for rows in [vec![], vec![row(&["twinlake", "true"])]] {
        assert_eq!(
            read_external_schemas(location, &rows, &[]),
            Err(IncompleteSchemas::Malformed)
        );
    }
}

#[test]
fn each_change_is_one_statement_that_the_audit_knows_and_revokes_come_first() {
    let grants = |names: &[&str]| -> Vec<WarehouseRow> {
        let grant = |name: &&str| row(&["s", "USAGE", name, "user", "f", "SCHEMA"]);
        names.iter().map(grant).collect()
    };
    let current = one(schema("s", "1", &options(), "twinlake"), &grants(&["ben"]));
    let other = options().replace("spectrum", "spectrum2");
    let desired = one(schema("s", "1", &other, "etl"), &grants(&["anna"]));
    let statements = schema_statements(Some(&current), Some(&desired));
    assert_eq!(
        statements,
        [
            "REVOKE USAGE ON SCHEMA \"s\" FROM \"ben\"".to_owned(),
            "ALTER SCHEMA \"s\" OWNER TO \"etl\"".to_owned(),
            format!("ALTER EXTERNAL SCHEMA \"s\" IAM_ROLE '{ROLE}2'"),
            "GRANT USAGE ON SCHEMA \"s\" TO \"anna\"".to_owned(),
        ]
    );
    assert_eq!(schema_statements(Some(&desired), Some(&desired)), [""; 0]);
    let create = schema_statements(None, Some(&desired));
    assert_eq!(create.len(), 1, "grants and owner come later: {create:?}");
    let drop = schema_statements(Some(&current), None);
    assert_eq!(drop, ["DROP SCHEMA \"s\" RESTRICT"]);
    let bounds = StatementBounds {
        schema: "s",
        database: "sales",
        region: "us-east-1",
    };
    for statement in statements.iter().chain(&create).chain(&drop) {
        assert!(audit_statement(statement, &bounds).is_ok(), "{statement}");
    }
}
