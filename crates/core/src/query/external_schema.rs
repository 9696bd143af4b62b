//! External schemas of Redshift: the statements that read them, what their rows mean, and which of them cannot be
//! carried. The statements that write are in `statements`.
//!
//! A part that cannot be read is the field `Unread`: nothing is given to anybody then, and what is known is enough to take
//! access away.

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
        let of_catalog = (kind.as_deref(), database.as_deref());
        let mut fields = read_schema(of_catalog, options.as_deref(), region);
        fields.insert("ReadingUser".to_owned(), user.as_str().into());
        let owner = owner.as_deref();
        match owner {
            Some(owner) if owner == user => {}
            Some(owner) => {
                fields.insert("Owner".to_owned(), owner.into());
            }
            None => add_unread(&mut fields, "Owner", "its owner has no name in pg_user"),
        }
        let object = read_identity(&key, id.as_deref(), (fields, owner), grants);
        found.push((key, object));
    }
    Ok(found)
}

/// The schema with its grants, and with the id that tells it from a later schema of this name, as the time of creation
/// does elsewhere.
fn read_identity(
    key: &ObjectKey,
    id: Option<&str>,
    (mut fields, owner): (Fields, Option<&str>),
    grants: &[WarehouseRow],
) -> Result<QueryObject, String> {
    add_grants(&mut fields, (&key.id, owner), grants)?;
    let id = id.and_then(|id| id.parse().ok());
    let id: i64 = id.ok_or("its id is not a number")?;
    let mut object = QueryObject::normalized(key.clone(), fields);
    object.created = Some(Timestamp::from_secs(id));
    Ok(object)
}

/// Records why a part of the schema is not known.
fn add_unread(fields: &mut Fields, part: &str, reason: &str) {
    let unread = fields.entry("Unread".to_owned());
    if let Value::Object(unread) = unread.or_insert_with(|| json!({})) {
        unread.insert(part.to_owned(), reason.into());
    }
}

/// The parts of a schema that could not be read, each with the reason.
pub(super) fn unread_parts(object: &QueryObject) -> Vec<String> {
    let unread = object.field("Unread").and_then(Value::as_object);
    let unread = unread.into_iter().flatten();
    unread
        .filter_map(|(_, reason)| reason.as_str().map(str::to_owned))
        .collect()
}

fn is_true(text: &str) -> bool {
    matches!(text, "true" | "t" | "1")
}

fn read_schema(
    (kind, database): (Option<&str>, Option<&str>),
    options: Option<&str>,
    region: &str,
) -> Fields {
    let options = options.filter(|text| !text.is_empty()).unwrap_or("{}");
    let options: Option<Map<String, Value>> = serde_json::from_str(options).ok();
    let mut fields = Fields::from([
        ("Kind".to_owned(), kind_text(kind).into()),
        ("Database".to_owned(), database.unwrap_or_default().into()),
        // Without the option, a schema reads the catalog of its own Region.
        ("Region".to_owned(), region.into()),
    ]);
    if options.is_none() {
        add_unread(&mut fields, "Options", "its options are no JSON object");
    }
    let mut others = Vec::new();
    for (name, value) in options.into_iter().flatten() {
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
    fields
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
    (schema, owner): (&str, Option<&str>),
    grants: &[WarehouseRow],
) -> Result<(), String> {
    let (mut usage, mut unknown, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for row in grants {
        if matches!(row.first(), Some(Some(of)) if of != schema) {
            continue;
        }
        let [
            Some(_),
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
        if grantee_type == "user" && Some(grantee) == owner {
            continue;
        }
        let is_of_schema = scope.as_deref().is_none_or(|scope| scope == "SCHEMA");
        if privilege == "USAGE" && is_of_schema {
            let is_known = matches!(grantee_type.as_str(), "public" | "user" | "role" | "group");
            let is_public = grantee_type == "public";
            let grantee = if is_public { "" } else { grantee };
            if !is_known {
                let reason =
                    format!("it grants USAGE to a grantee of the unknown kind {grantee_type}");
                add_unread(fields, "Grants", &reason);
            }
            if is_public || (is_known && is_quotable(grantee)) {
                let option = option.as_deref().is_some_and(is_true);
                usage.push((grantee_type.clone(), grantee.to_owned(), option));
            } else {
                // Nothing that is not known is granted, or revoked from somebody of the same name.
                unknown.push(json!({"Type": grantee_type, "Grantee": grantee}));
            }
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
    fields.insert("UnknownGrants".to_owned(), Value::Array(unknown));
    fields.insert("OtherGrants".to_owned(), Value::Array(others));
    Ok(())
}

/// Whether a text can be a quoted identifier or a literal of the statements that Twinlake writes.
fn is_quotable(text: &str) -> bool {
    let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\'' | '\\');
    !text.is_empty() && text.chars().all(is_plain)
}

/// The texts of an object that statements name, but for its name and its grantees.
fn named_texts(object: &QueryObject) -> Vec<&str> {
    let fields = ["Database", "Region", "IamRole", "CatalogRole", "Owner"];
    let texts = fields.iter().filter_map(|name| object.text(name));
    texts.collect()
}

/// Why no statement names the external schema of this key; `None` if some may.
pub(super) fn unnameable(key: &ObjectKey) -> Option<String> {
    if key.kind != QueryKind::ExternalSchema {
        return None;
    }
    if !is_quotable(&key.id) {
        return Some(not_quotable(&key.id));
    }
    // By a parameter of the database, a quoted name reaches the schema of the same name in small letters.
    let has_capitals = key.id.chars().any(|c| c.is_ascii_uppercase());
    has_capitals.then(|| {
        "its name has capital letters, with which a statement may reach another schema: Twinlake writes none for it"
            .to_owned()
    })
}

fn not_quotable(text: &str) -> String {
    format!(
        "{text} has characters that Twinlake writes in no statement: quotation marks, backslashes, or others than ASCII"
    )
}

/// Why an external schema is not replicated, whatever the policy says of its parts.
pub(super) fn unsupported(object: &QueryObject, policy: &Policy, epoch: Epoch) -> Vec<String> {
    if object.key.kind != QueryKind::ExternalSchema {
        return Vec::new();
    }
    let mut reasons: Vec<String> = unnameable(&object.key).into_iter().collect();
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
            reasons.push(not_quotable(text));
        }
    }
    reasons
}

/// What a reader should know of an external schema that is replicated.
pub(super) fn notes(object: &QueryObject) -> Vec<String> {
    if object.key.kind != QueryKind::ExternalSchema {
        return Vec::new();
    }
    let others = object.field("OtherGrants").and_then(Value::as_array);
    let others = others.into_iter().flatten().filter_map(Value::as_str);
    let others =
        others.map(|grant| format!("the grant of {grant} is not replicated: only USAGE is"));
    let unknown = entries(object, "UnknownGrants").map(|grant| {
        let grant = unknown_grant_text(grant);
        format!(
            "the grant of {grant} is not replicated: Twinlake writes no statement for this grantee"
        )
    });
    others.chain(unknown).collect()
}

fn entries<'o>(object: &'o QueryObject, field: &str) -> impl Iterator<Item = &'o Value> {
    let entries = object.field(field).and_then(Value::as_array);
    entries.into_iter().flatten()
}

fn unknown_grant_text(grant: &Value) -> String {
    let text = |field| grant.get(field).and_then(Value::as_str).unwrap_or_default();
    format!("USAGE to {} {}", text("Type"), text("Grantee"))
}

/// An external schema of the standby without what the primary's does not give: grants of USAGE, and its owner, which the
/// reading user replaces; `None` if it gives nothing more.
pub(super) fn narrowed(primary: &QueryObject, standby: &QueryObject) -> Option<QueryObject> {
    let mut narrowed = standby.clone();
    let unknown: Vec<&Value> = entries(primary, "UnknownGrants")
        .filter_map(|grant| grant.get("Grantee"))
        .collect();
    // A grantee that the primary lists in a way that is not known may be the same.
    let is_given = |grant: &&Value| {
        entries(primary, "Grants").any(|given| given == *grant)
            || grant
                .get("Grantee")
                .is_some_and(|name| unknown.contains(&name))
    };
    let kept: Vec<Value> = entries(standby, "Grants")
        .filter(is_given)
        .cloned()
        .collect();
    match kept.is_empty() {
        true => narrowed.fields.remove("Grants"),
        false => narrowed.fields.insert("Grants".to_owned(), kept.into()),
    };
    let owner_is_known = primary.field("Unread.Owner").is_none();
    if owner_is_known && primary.text("Owner") != standby.text("Owner") {
        narrowed.fields.remove("Owner");
    }
    (narrowed != *standby).then_some(narrowed)
}

/// What an external schema of the standby gives, the primary's does not, and Twinlake cannot take away.
pub(super) fn excess_unknown_grants(primary: &QueryObject, standby: &QueryObject) -> Vec<String> {
    let excess = entries(standby, "UnknownGrants")
        .filter(|grant| !entries(primary, "UnknownGrants").any(|given| given == *grant));
    excess.map(unknown_grant_text).collect()
}

#[cfg(test)]
mod tests;
