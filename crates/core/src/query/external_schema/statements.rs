//! The statements that make an external schema what it should be.
//!
//! Each is one statement of a known form, with every name quoted. None of them is decided by another's success: after
//! each, the schema is read again, and the statements are made again from what was read.

use crate::query::object::QueryObject;
use serde_json::Value;

/// The statements from what the standby has to what it should have; `None` is no schema. What takes access away
/// comes first.
#[must_use]
pub fn schema_statements(
    current: Option<&QueryObject>,
    desired: Option<&QueryObject>,
) -> Vec<String> {
    match (current, desired) {
        (None, None) => Vec::new(),
        (None, Some(desired)) => vec![create(desired)],
        (Some(current), None) => vec![format!("DROP SCHEMA {} RESTRICT", name(current))],
        (Some(current), Some(desired)) => changes(current, desired),
    }
}

fn quoted(identifier: &str) -> String {
    format!("\"{identifier}\"")
}

fn literal(text: &str) -> String {
    format!("'{text}'")
}

fn name(object: &QueryObject) -> String {
    quoted(&object.key.id)
}

fn text<'o>(object: &'o QueryObject, field: &str) -> &'o str {
    object.text(field).unwrap_or_default()
}

fn role(text: &str) -> String {
    match text.eq_ignore_ascii_case("default") {
        true => "DEFAULT".to_owned(),
        false => literal(text),
    }
}

fn create(desired: &QueryObject) -> String {
    let mut statement = format!(
        "CREATE EXTERNAL SCHEMA {} FROM DATA CATALOG DATABASE {} REGION {} IAM_ROLE {}",
        name(desired),
        literal(text(desired, "Database")),
        literal(text(desired, "Region")),
        role(text(desired, "IamRole"))
    );
    if let Some(catalog_role) = desired.text("CatalogRole") {
        statement.push_str(" CATALOG_ROLE ");
        statement.push_str(&literal(catalog_role));
    }
    statement
}

fn changes(current: &QueryObject, desired: &QueryObject) -> Vec<String> {
    let schema = name(desired);
    let (found, wanted) = (grants(current), grants(desired));
    let revoked = found.iter().filter(|grant| !wanted.contains(grant));
    let mut statements: Vec<String> = revoked
        .map(|grant| format!("REVOKE USAGE ON SCHEMA {schema} FROM {}", grantee(grant)))
        .collect();
    if let Some(owner) = desired.text("Owner")
        && current.text("Owner") != Some(owner)
    {
        statements.push(format!("ALTER SCHEMA {schema} OWNER TO {}", quoted(owner)));
    }
    if current.text("IamRole") != desired.text("IamRole") {
        let role = role(text(desired, "IamRole"));
        statements.push(format!("ALTER EXTERNAL SCHEMA {schema} IAM_ROLE {role}"));
    }
    let granted = wanted.iter().filter(|grant| !found.contains(grant));
    statements.extend(granted.map(|grant| {
        let option = match grant.get("WithGrantOption").and_then(Value::as_bool) {
            Some(true) => " WITH GRANT OPTION",
            Some(false) | None => "",
        };
        format!(
            "GRANT USAGE ON SCHEMA {schema} TO {}{option}",
            grantee(grant)
        )
    }));
    statements
}

fn grants(object: &QueryObject) -> Vec<&Value> {
    let grants = object.field("Grants").and_then(Value::as_array);
    grants.into_iter().flatten().collect()
}

fn grantee(grant: &Value) -> String {
    let text = |field| grant.get(field).and_then(Value::as_str).unwrap_or_default();
    match text("Type") {
        "public" => "PUBLIC".to_owned(),
        "group" => format!("GROUP {}", quoted(text("Grantee"))),
        "role" => format!("ROLE {}", quoted(text("Grantee"))),
        _ => quoted(text("Grantee")),
    }
}
