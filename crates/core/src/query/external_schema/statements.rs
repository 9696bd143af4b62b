//! The statements that make an external schema what it should be.
//!
//! Each is one statement of a known form, with every name quoted. They are made from what was read last: after each, the
//! schema is read again. What takes access away is tried before anything else, and as long as some of it is left, nothing
//! is made that gives access; nobody gets access before the role is the right one, since a schema reads with its role.

use crate::query::object::QueryObject;
use serde_json::Value;

/// The statements that may be sent now, on the way from what the standby has to what it should have; `None` is no schema.
/// There are more once these have taken effect.
#[must_use]
pub fn schema_statements(
    current: Option<&QueryObject>,
    desired: Option<&QueryObject>,
) -> Vec<String> {
    match (current, desired) {
        (None, None) => Vec::new(),
        (None, Some(desired)) => vec![create(desired)],
        (Some(current), None) => vec![format!("DROP SCHEMA {} RESTRICT", name(current))],
        (Some(current), Some(desired)) => {
            let parts = [
                narrowing(current, desired),
                role_change(current, desired),
                widening(current, desired),
            ];
            let mut parts = parts.into_iter().filter(|part| !part.is_empty());
            parts.next().unwrap_or_default()
        }
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

/// What takes access away: from grantees, and from an owner, whom the reading user replaces.
fn narrowing(current: &QueryObject, desired: &QueryObject) -> Vec<String> {
    let schema = name(current);
    let wanted = grants(desired);
    let revoked = grants(current)
        .into_iter()
        .filter(|grant| !wanted.contains(grant));
    let mut statements: Vec<String> = revoked
        .filter_map(grantee)
        .map(|grantee| format!("REVOKE USAGE ON SCHEMA {schema} FROM {grantee}"))
        .collect();
    if current.text("Owner").is_some() && current.text("Owner") != desired.text("Owner") {
        let reading_user = quoted(text(current, "ReadingUser"));
        statements.push(format!("ALTER SCHEMA {schema} OWNER TO {reading_user}"));
    }
    statements
}

fn role_change(current: &QueryObject, desired: &QueryObject) -> Vec<String> {
    if current.text("IamRole") == desired.text("IamRole") {
        return Vec::new();
    }
    let role = role(text(desired, "IamRole"));
    let schema = name(current);
    vec![format!("ALTER EXTERNAL SCHEMA {schema} IAM_ROLE {role}")]
}

/// What gives access: to the owner, and to grantees.
fn widening(current: &QueryObject, desired: &QueryObject) -> Vec<String> {
    let schema = name(current);
    let found = grants(current);
    let owner = desired.text("Owner");
    let owner = owner.filter(|owner| current.text("Owner") != Some(*owner));
    let owner = owner.map(|owner| format!("ALTER SCHEMA {schema} OWNER TO {}", quoted(owner)));
    let granted = grants(desired)
        .into_iter()
        .filter(|grant| !found.contains(grant));
    let granted = granted.filter_map(|grant| {
        let option = match grant.get("WithGrantOption").and_then(Value::as_bool) {
            Some(true) => " WITH GRANT OPTION",
            Some(false) | None => "",
        };
        let grantee = grantee(grant)?;
        Some(format!(
            "GRANT USAGE ON SCHEMA {schema} TO {grantee}{option}"
        ))
    });
    owner.into_iter().chain(granted).collect()
}

fn grants(object: &QueryObject) -> Vec<&Value> {
    let grants = object.field("Grants").and_then(Value::as_array);
    grants.into_iter().flatten().collect()
}

/// A grantee; `None` for a kind that is not known.
fn grantee(grant: &Value) -> Option<String> {
    let text = |field| grant.get(field).and_then(Value::as_str).unwrap_or_default();
    match text("Type") {
        "public" => Some("PUBLIC".to_owned()),
        "user" => Some(quoted(text("Grantee"))),
        "group" => Some(format!("GROUP {}", quoted(text("Grantee")))),
        "role" => Some(format!("ROLE {}", quoted(text("Grantee")))),
        _ => None,
    }
}
