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
    let unread: Vec<Vec<String>> = found
        .iter()
        .map(|(_, object)| unread_parts(object.as_ref().unwrap()))
        .collect();
    assert_eq!(unread[0], ["its options are no JSON object"]);
    assert_eq!(unread[1], ["its owner has no name in pg_user"]);
    assert_eq!(unread[2], [""; 0]);
    // Without its id, nobody can tell it from a later one.
    let mut anonymous = schema("s", "1", &options(), "etl");
    anonymous[2] = Some("x".to_owned());
    assert!(read(&[anonymous], &[])[0].1.is_err());
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
    let mut statements = schema_statements(Some(&current), Some(&desired));
    assert_eq!(statements, ["REVOKE USAGE ON SCHEMA \"s\" FROM \"ben\""]);
    // Nothing else is made before that has had effect, and nobody gets access before the role.
    let narrowed = one(schema("s", "1", &options(), "twinlake"), &[]);
    let role = schema_statements(Some(&narrowed), Some(&desired));
    assert_eq!(
        role,
        [format!("ALTER EXTERNAL SCHEMA \"s\" IAM_ROLE '{ROLE}2'")]
    );
    let with_role = one(schema("s", "1", &other, "twinlake"), &[]);
    let given = schema_statements(Some(&with_role), Some(&desired));
    assert_eq!(
        given,
        [
            "ALTER SCHEMA \"s\" OWNER TO \"etl\"",
            "GRANT USAGE ON SCHEMA \"s\" TO \"anna\"",
        ]
    );
    // An owner that it should not have makes room for the reading user first.
    let owned = one(schema("s", "1", &other, "ben"), &[]);
    let disowned = schema_statements(Some(&owned), Some(&desired));
    assert_eq!(disowned, ["ALTER SCHEMA \"s\" OWNER TO \"twinlake\""]);
    statements.extend(role.into_iter().chain(given).chain(disowned));
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

#[test]
fn what_narrows_takes_only_what_the_primary_is_known_not_to_give() {
    let grants = |rows: &[[&str; 2]]| -> Vec<WarehouseRow> {
        let grant = |of: &[&str; 2]| row(&["s", "USAGE", of[1], of[0], "f", "SCHEMA"]);
        rows.iter().map(grant).collect()
    };
    let standby_grants = grants(&[["public", "null"], ["user", "anna"], ["group", "team"]]);
    let standby = one(schema("s", "1", &options(), "ben"), &standby_grants);
    let primary =
        |owner: &str, rows: &[[&str; 2]]| one(schema("s", "1", &options(), owner), &grants(rows));
    let same = primary(
        "ben",
        &[["public", "null"], ["user", "anna"], ["group", "team"]],
    );
    assert_eq!(narrowed(&same, &standby), None);
    // The user that has the name of a group is another one.
    let fewer = primary("etl", &[["user", "anna"], ["user", "team"]]);
    let left = narrowed(&fewer, &standby).unwrap();
    let anna = json!([{"Type": "user", "Grantee": "anna"}]);
    assert_eq!(
        (left.field("Grants"), left.text("Owner")),
        (Some(&anna), None)
    );
    // A kind of grantee that is not known may be the same one; an unknown owner, too.
    let unknown = primary("null", &[["user", "anna"], ["GROUP", "team"]]);
    assert_eq!(unread_parts(&unknown).len(), 2);
    let left = narrowed(&unknown, &standby).unwrap();
    let kept = json!([{"Type": "group", "Grantee": "team"}, {"Type": "user", "Grantee": "anna"}]);
    assert_eq!(
        (left.field("Grants"), left.text("Owner")),
        (Some(&kept), Some("ben"))
    );
}

#[test]
fn a_grantee_that_is_not_known_or_cannot_be_named_is_no_grant() {
    let mut grants = Vec::new();
    for (of, name) in [
        ("GROUP", "team"),
        ("user", "José"),
        ("user", "null"),
        ("iam", "anna"),
    ] {
        grants.push(row(&["s", "USAGE", name, of, "f", "SCHEMA"]));
    }
    let object = one(schema("s", "1", &options(), "twinlake"), &grants);
    assert_eq!(object.field("Grants"), None);
    let mut none = object.clone();
    none.fields.remove("UnknownGrants");
    assert_eq!(schema_statements(Some(&none), Some(&object)), [""; 0]);
    let told = notes(&object).join("\n");
    assert!(told.contains("USAGE to user José"), "{told}");
    assert_eq!(excess_unknown_grants(&none, &object).len(), 4);
    assert_eq!(excess_unknown_grants(&object, &object), [""; 0]);
}

#[test]
fn a_name_with_capitals_is_in_no_statement() {
    let key = |name: &str| ObjectKey::within(QueryKind::ExternalSchema, "reports", name);
    assert_eq!(unnameable(&key("sales_2")), None);
    assert!(
        unnameable(&key("Sales"))
            .unwrap()
            .contains("capital letters")
    );
    assert!(unnameable(&key("e\"tl")).is_some());
    let bounds = StatementBounds {
        schema: "Sales",
        database: "sales",
        region: "us-east-1",
    };
    for text in [
        "DROP SCHEMA \"Sales\" RESTRICT",
        "REVOKE USAGE ON SCHEMA \"Sales\" FROM PUBLIC",
    ] {
        assert!(audit_statement(text, &bounds).is_err(), "{text}");
    }
}
