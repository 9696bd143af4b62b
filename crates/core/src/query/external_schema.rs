//! External schemas of Redshift: the statements that read them, what their rows mean, and which of them cannot be
//! carried. The statements that write are in `statements`.

mod statements;

pub use statements::schema_statements;

use super::object::{Fields, ObjectKey, QueryObject};
use super::rules::QueryKind;
use crate::name::Name;
use crate::policy::Policy;
use crate::timestamp::Timestamp;
use crate::topology::Epoch;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A row of a result; a column is a text, or null.
pub type WarehouseRow = Vec<Option<String>>;

/// A statement that reads. Its text is always the same: names are parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WarehouseQuery {
    /// The external schemas, each with the user that reads them: one row without a schema if there are none.
    Schemas,
    /// The grants on schemas.
    SchemaGrants,
    /// A table of an external schema. Redshift asks the Data Catalog for it, in the schema's Region and with its role,
    /// and reads no data.
    Canary {
        /// The schema.
        schema: String,
    },
}

impl WarehouseQuery {
    /// The text.
    #[must_use]
    pub const fn sql(&self) -> &'static str {
        match self {
            Self::Schemas => {
                "SELECT me.usename, me.usesuper, s.esoid, s.schemaname, s.eskind, s.databasename, s.esoptions, \
                 o.usename FROM pg_user me LEFT JOIN svv_external_schemas s ON 1 = 1 \
                 LEFT JOIN pg_user o ON o.usesysid = s.esowner WHERE me.usename = current_user"
            }
            Self::SchemaGrants => {
                "SELECT namespace_name, privilege_type, identity_name, identity_type, admin_option, \
                 privilege_scope FROM svv_schema_privileges"
            }
            Self::Canary { .. } => {
                "SELECT tablename FROM svv_external_tables WHERE schemaname = :schema LIMIT 1"
            }
        }
    }

    /// The values of the names in the text.
    #[must_use]
    pub fn parameters(&self) -> BTreeMap<String, String> {
        match self {
            Self::Schemas | Self::SchemaGrants => BTreeMap::new(),
            Self::Canary { schema } => BTreeMap::from([("schema".to_owned(), schema.clone())]),
        }
    }
}

/// Why the rows of [`WarehouseQuery::Schemas`] do not show which external schemas exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncompleteSchemas {
    /// The user sees only schemas of its own.
    NoSuperuser(String),
    /// The rows are not those of the statement.
    Malformed,
}

/// A name, and the schema or why its row cannot be read.
type ReadSchema = (ObjectKey, Result<QueryObject, String>);

/// The external schemas of a warehouse in a Region, by the rows of both statements.
///
/// # Errors
/// The rows do not show all of them.
pub fn read_external_schemas(
    (warehouse, region): (&str, &str),
    schemas: &[WarehouseRow],
    grants: &[WarehouseRow],
) -> Result<Vec<ReadSchema>, IncompleteSchemas> {
    let mut found = Vec::new();
    if schemas.is_empty() {
        return Err(IncompleteSchemas::Malformed);
    }
    for row in schemas {
        let [
            Some(user),
            Some(superuser),
            id,
            name,
            kind,
            database,
            options,
            owner,
        ] = row.as_slice()
        else {
            return Err(IncompleteSchemas::Malformed);
        };
        if !is_true(superuser) {
            return Err(IncompleteSchemas::NoSuperuser(user.clone()));
        }
        // The row of a warehouse without external schemas.
        let Some(name) = name else {
            continue;
        };
        let key = ObjectKey::within(QueryKind::ExternalSchema, warehouse, name);
        let fields = read_schema(
            (kind.as_deref(), database.as_deref()),
            options.as_deref(),
            region,
        );
        let object = fields.and_then(|mut fields| {
            let owner = owner.as_deref();
            let owner = owner.ok_or("its owner has no name in pg_user")?;
            if owner != user {
                fields.insert("Owner".to_owned(), owner.into());
            }
            add_grants(&mut fields, (name, owner), grants)?;
            let id = id.as_deref().and_then(|id| id.parse().ok());
            let id: i64 = id.ok_or("its id is not a number")?;
            let mut object = QueryObject::normalized(key.clone(), fields);
            // The id tells it from a later schema of this name, as the time of creation does elsewhere.
            object.created = Some(Timestamp::from_secs(id));
            Ok(object)
        });
        found.push((key, object));
    }
    Ok(found)
}

fn is_true(text: &str) -> bool {
    matches!(text, "true" | "t" | "1")
}

fn read_schema(
    (kind, database): (Option<&str>, Option<&str>),
    options: Option<&str>,
    region: &str,
) -> Result<Fields, String> {
    let options = options.filter(|text| !text.is_empty()).unwrap_or("{}");
    let options: Map<String, Value> =
        serde_json::from_str(options).map_err(|_| "its options are no JSON object".to_owned())?;
    let mut fields = Fields::from([
        ("Kind".to_owned(), kind_text(kind).into()),
        ("Database".to_owned(), database.unwrap_or_default().into()),
        // Without the option, a schema reads the catalog of its own Region.
        ("Region".to_owned(), region.into()),
    ]);
    let mut others = Vec::new();
    for (name, value) in options {
        let text = match &value {
            Value::String(text) if text.is_empty() => continue,
            Value::Null => continue,
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let field = match name.as_str() {
            "REGION" => "Region",
            "IAM_ROLE" => "IamRole",
            "CATALOG_ROLE" => "CatalogRole",
            _ => "",
        };
        match text.filter(|_| !field.is_empty()) {
            Some(text) => {
                fields.insert(field.to_owned(), text.into());
            }
            None => others.push(Value::String(name)),
        }
    }
    fields.insert("OtherOptions".to_owned(), Value::Array(others));
    Ok(fields)
}

fn kind_text(kind: Option<&str>) -> String {
    match kind {
        Some("1") => DATA_CATALOG.to_owned(),
        Some("2") => "Hive metastore".to_owned(),
        Some("3") => "PostgreSQL".to_owned(),
        Some(other) => format!("kind {other}"),
        None => "kind unknown".to_owned(),
    }
}

/// What [`kind_text`] calls a schema of the Data Catalog.
const DATA_CATALOG: &str = "Data Catalog";

fn add_grants(
    fields: &mut Fields,
    (schema, owner): (&str, &str),
    grants: &[WarehouseRow],
) -> Result<(), String> {
    let (mut usage, mut others) = (Vec::new(), Vec::new());
    for row in grants {
        let [
            Some(of),
            Some(privilege),
            grantee,
            Some(grantee_type),
            option,
            scope,
        ] = row.as_slice()
        else {
            return Err("a row of svv_schema_privileges cannot be read".to_owned());
        };
        let grantee = grantee.as_deref().unwrap_or_default();
        // An owner has all rights without a grant, and Redshift lists them once there is any other.
        if of != schema || (grantee_type == "user" && grantee == owner) {
            continue;
        }
        let is_of_schema = scope.as_deref().is_none_or(|scope| scope == "SCHEMA");
        if privilege == "USAGE" && is_of_schema {
            let grantee = match grantee_type.as_str() {
                "public" => "",
                _ => grantee,
            };
            let option = option.as_deref().is_some_and(is_true);
            usage.push((grantee_type.clone(), grantee.to_owned(), option));
        } else {
            others.push(Value::String(format!("{privilege} to {grantee}")));
        }
    }
    usage.sort();
    usage.dedup();
    let usage = usage.into_iter().map(|(grantee_type, grantee, option)| {
        json!({"Type": grantee_type, "Grantee": grantee, "WithGrantOption": option})
    });
    fields.insert("Grants".to_owned(), usage.collect());
    fields.insert("OtherGrants".to_owned(), Value::Array(others));
    Ok(())
}

/// Whether a text can be a quoted identifier or a literal of the statements that Twinlake writes.
fn is_quotable(text: &str) -> bool {
    let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\'' | '\\');
    !text.is_empty() && text.chars().all(is_plain)
}

/// The texts of an object that statements name.
fn named_texts(object: &QueryObject) -> Vec<&str> {
    let fields = ["Database", "Region", "IamRole", "CatalogRole", "Owner"];
    let mut texts = vec![object.key.id.as_str()];
    texts.extend(fields.iter().filter_map(|name| object.text(name)));
    let grants = object.field("Grants").and_then(Value::as_array);
    let grantees = grants.into_iter().flatten();
    texts.extend(grantees.filter_map(|grant| grant.get("Grantee")?.as_str()));
    texts
}

/// Why an external schema is not replicated, whatever the policy says of its parts.
pub(super) fn unsupported(object: &QueryObject, policy: &Policy, epoch: Epoch) -> Vec<String> {
    if object.key.kind != QueryKind::ExternalSchema {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    let kind = object.text("Kind").unwrap_or_default();
    if kind != DATA_CATALOG {
        reasons.push(format!(
            "it is an external schema of {kind}: only those of the Data Catalog are replicated"
        ));
        return reasons;
    }
    let primary = &policy.primary(epoch).region;
    let region = object.text("Region").unwrap_or_default();
    if region != primary {
        reasons.push(format!(
            "it reads the catalog of {region}, which is not its own Region {primary}"
        ));
    }
    let database = object.text("Database").unwrap_or_default();
    if !Name::new(database).is_ok_and(|name| policy.covers_database(&name)) {
        reasons.push(format!(
            "it shows the database {database}, which the policy does not replicate"
        ));
    }
    if object.text("IamRole").is_none() {
        reasons.push("it has no IAM_ROLE".to_owned());
    }
    let others = object.field("OtherOptions").and_then(Value::as_array);
    for option in others.into_iter().flatten().filter_map(Value::as_str) {
        reasons.push(format!(
            "its option {option} is not known to this version of Twinlake"
        ));
    }
    for text in named_texts(object) {
        if !is_quotable(text) {
            reasons.push(format!(
                "{text} has characters that Twinlake writes in no statement: quotation marks, backslashes, or others \
                 than ASCII"
            ));
        }
    }
    reasons
}

/// What a reader should know of an external schema that is replicated.
pub(super) fn notes(object: &QueryObject) -> Vec<String> {
    let others = object.field("OtherGrants").and_then(Value::as_array);
    let others = others.into_iter().flatten().filter_map(Value::as_str);
    others
        .filter(|_| object.key.kind == QueryKind::ExternalSchema)
        .map(|grant| format!("the grant of {grant} is not replicated: only USAGE is"))
        .collect()
}

#[cfg(test)]
mod tests;
