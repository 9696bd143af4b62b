//! Resources and entries as they go over the wire and as they are kept.

use crate::api::items;
use crate::error::ApiError;
use crate::state::{Spelling, StoredResource};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::grant::{ALL_TABLES, Entry, EntryResource, TagExpression, TagRule, TagTarget};
use twinlake_core::{Name, TableId};

/// Where one permission of a grant is kept: SELECT apart from the rest (LF-01).
pub(crate) fn places(resource: &EntryResource, permission: &str) -> Vec<StoredResource> {
    let select = permission == "SELECT";
    match resource {
        EntryResource::Database(name) => vec![StoredResource::Database(name.clone())],
        EntryResource::Table(id) if select => {
            vec![StoredResource::Columns(id.clone(), BTreeSet::new())]
        }
        EntryResource::Table(id) => vec![StoredResource::Table(id.clone())],
        EntryResource::TableWildcard(name) if select => {
            vec![StoredResource::AllColumns(name.clone())]
        }
        EntryResource::TableWildcard(name) => vec![StoredResource::AllTables(name.clone())],
        EntryResource::Columns(id, names) => names
            .iter()
            .map(|name| StoredResource::Column(id.clone(), name.clone()))
            .collect(),
        EntryResource::ColumnWildcard(id, excluded) => {
            vec![StoredResource::Columns(id.clone(), excluded.clone())]
        }
        EntryResource::Filter(id, name) => vec![StoredResource::Filter(id.clone(), name.clone())],
        EntryResource::Catalog => vec![StoredResource::Catalog],
        EntryResource::Location(place) => vec![StoredResource::Location(place.clone())],
        EntryResource::Tag(key, values) => values
            .iter()
            .map(|value| StoredResource::Tag(key.clone(), value.clone()))
            .collect(),
        EntryResource::TagPolicy(target, rule) => {
            vec![StoredResource::TagPolicy(*target, rule.clone())]
        }
        EntryResource::Expression(name) => vec![StoredResource::Expression(name.clone())],
        EntryResource::Other(kind) => vec![StoredResource::Other(kind.clone())],
    }
}

pub(crate) fn is_on(listed: &EntryResource, filter: &EntryResource) -> bool {
    match filter {
        EntryResource::TableWildcard(_) => listed == filter,
        EntryResource::Table(id) => match listed {
            EntryResource::Table(other)
            | EntryResource::Columns(other, _)
            | EntryResource::Filter(other, _)
            | EntryResource::ColumnWildcard(other, _) => other == id,
            EntryResource::Database(_)
            | EntryResource::TableWildcard(_)
            | EntryResource::Catalog
            | EntryResource::Location(_)
            | EntryResource::Tag(..)
            | EntryResource::TagPolicy(..)
            | EntryResource::Expression(_)
            | EntryResource::Other(_) => false,
        },
        EntryResource::Database(_)
        | EntryResource::Columns(..)
        | EntryResource::ColumnWildcard(..)
        | EntryResource::Filter(..)
        | EntryResource::Catalog
        | EntryResource::Location(_)
        | EntryResource::Tag(..)
        | EntryResource::TagPolicy(..)
        | EntryResource::Expression(_)
        | EntryResource::Other(_) => listed == filter,
    }
}

/// Reads a `Resource` as it comes over the wire.
pub(crate) fn parse_resource(json: &Value) -> Result<EntryResource, ApiError> {
    let object = json.as_object().filter(|object| !object.is_empty());
    let Some((kind, resource)) = object.and_then(|object| object.iter().next()) else {
        let message = "Resource must have one of the have either the catalog, table or database \
                       field populated.";
        return Err(ApiError::invalid(message));
    };
    let name = |key: &str| crate::api::name(resource, key);
    let text = |key: &str| crate::api::text(resource, key).map(str::to_owned);
    Ok(match kind.as_str() {
        "Database" => EntryResource::Database(name("Name")?),
        "Table" if resource.get("TableWildcard").is_some_and(|w| !w.is_null()) => {
            EntryResource::TableWildcard(name("DatabaseName")?)
        }
        "Table" | "TableWithColumns"
            if resource.get("Name").and_then(Value::as_str) == Some(ALL_TABLES) =>
        {
            EntryResource::TableWildcard(name("DatabaseName")?)
        }
        "Table" => EntryResource::Table(TableId::new(name("DatabaseName")?, name("Name")?)),
        "TableWithColumns" => {
            let id = TableId::new(name("DatabaseName")?, name("Name")?);
            let names = |list: &[Value]| -> Result<BTreeSet<Name>, ApiError> {
                let texts = list.iter().filter_map(Value::as_str);
                texts
                    .map(|text| Name::new(text).map_err(|e| ApiError::invalid(e.to_string())))
                    .collect()
            };
            match resource.get("ColumnWildcard").filter(|w| !w.is_null()) {
                Some(wildcard) => EntryResource::ColumnWildcard(
                    id,
                    names(items(wildcard, "ExcludedColumnNames"))?,
                ),
                None => EntryResource::Columns(id, names(items(resource, "ColumnNames"))?),
            }
        }
        "DataCellsFilter" => {
            let id = TableId::new(name("DatabaseName")?, name("TableName")?);
            EntryResource::Filter(id, text("Name")?)
        }
        "Catalog" => EntryResource::Catalog,
        "DataLocation" => EntryResource::Location(text("ResourceArn")?),
        "LFTag" => EntryResource::Tag(text("TagKey")?.to_lowercase(), values(resource)),
        "LFTagPolicy" => {
            let target = TagTarget::parse(&text("ResourceType")?)
                .ok_or_else(|| ApiError::invalid("ResourceType"))?;
            let rule = match resource.get("ExpressionName").and_then(Value::as_str) {
                Some(name) => TagRule::Saved(name.to_owned()),
                None => TagRule::Inline(parse_expression(resource)),
            };
            EntryResource::TagPolicy(target, rule)
        }
        "LFTagExpression" => EntryResource::Expression(text("Name")?),
        other => EntryResource::Other(other.to_owned()),
    })
}

/// Values of an LF-Tag, as they are stored: in lower case.
fn values(tag: &Value) -> BTreeSet<String> {
    let values = items(tag, "TagValues").iter().filter_map(Value::as_str);
    values.map(str::to_lowercase).collect()
}

/// `Expression`: a list of keys with their values.
pub(crate) fn parse_expression(holder: &Value) -> TagExpression {
    let mut expression = TagExpression::new();
    for one in items(holder, "Expression") {
        let key = one.get("TagKey").and_then(Value::as_str);
        let key = key.unwrap_or_default().to_lowercase();
        expression.entry(key).or_default().extend(values(one));
    }
    expression
}

/// An expression as it goes over the wire.
pub(crate) fn expression_json(expression: &TagExpression) -> Value {
    let all = expression.iter();
    all.map(|(key, values)| json!({"TagKey": key, "TagValues": values}))
        .collect()
}

/// A resource that is no table and no database, as it goes over the wire.
fn lake_json(resource: &EntryResource) -> Value {
    match resource {
        EntryResource::Filter(id, name) => json!({"DataCellsFilter": {
            "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(), "Name": name,
        }}),
        EntryResource::Catalog => json!({"Catalog": {}}),
        EntryResource::Location(place) => json!({"DataLocation": {"ResourceArn": place}}),
        EntryResource::Tag(key, values) => {
            json!({"LFTag": {"TagKey": key, "TagValues": values}})
        }
        EntryResource::TagPolicy(target, TagRule::Saved(name)) => json!({"LFTagPolicy": {
            "ResourceType": target.as_str(), "Expression": [], "ExpressionName": name,
        }}),
        EntryResource::TagPolicy(target, TagRule::Inline(expression)) => json!({"LFTagPolicy": {
            "ResourceType": target.as_str(), "Expression": expression_json(expression),
        }}),
        EntryResource::Expression(name) => json!({"LFTagExpression": {"Name": name}}),
        EntryResource::Other(kind) => json!({ kind: {} }),
        EntryResource::Database(_)
        | EntryResource::Table(_)
        | EntryResource::TableWildcard(_)
        | EntryResource::Columns(..)
        | EntryResource::ColumnWildcard(..) => Value::Null,
    }
}

/// A resource as it goes over the wire; of a wildcard the plain spelling.
pub(crate) fn resource_json(resource: &EntryResource) -> Value {
    let names = |names: &BTreeSet<Name>| -> Vec<String> {
        names.iter().map(|name| name.as_str().to_owned()).collect()
    };
    let id_json =
        |id: &TableId| json!({"DatabaseName": id.database.as_str(), "Name": id.table.as_str()});
    let with = |mut json: Value, key: &str, value: Value| {
        if let Some(object) = json.as_object_mut() {
            object.insert(key.to_owned(), value);
        }
        json
    };
    match resource {
        EntryResource::Database(name) => json!({"Database": {"Name": name.as_str()}}),
        EntryResource::Table(id) => json!({"Table": id_json(id)}),
        EntryResource::TableWildcard(name) => {
            json!({"Table": {"DatabaseName": name.as_str(), "TableWildcard": {}}})
        }
        EntryResource::Columns(id, columns) => {
            json!({"TableWithColumns": with(id_json(id), "ColumnNames", json!(names(columns)))})
        }
        EntryResource::ColumnWildcard(id, excluded) => {
            let wildcard = match excluded.is_empty() {
                true => json!({}),
                false => json!({"ExcludedColumnNames": names(excluded)}),
            };
            json!({"TableWithColumns": with(id_json(id), "ColumnWildcard", wildcard)})
        }
        EntryResource::Filter(..)
        | EntryResource::Catalog
        | EntryResource::Location(_)
        | EntryResource::Tag(..)
        | EntryResource::TagPolicy(..)
        | EntryResource::Expression(_)
        | EntryResource::Other(_) => lake_json(resource),
    }
}

/// Writes a listed entry as it goes over the wire.
pub(crate) fn entry_json(entry: &Entry, spelling: Spelling) -> Value {
    let resource = match &entry.resource {
        EntryResource::TableWildcard(name) => wildcard_json(entry, name, spelling),
        EntryResource::Database(_)
        | EntryResource::Table(_)
        | EntryResource::Columns(..)
        | EntryResource::ColumnWildcard(..)
        | EntryResource::Filter(..)
        | EntryResource::Catalog
        | EntryResource::Location(_)
        | EntryResource::Tag(..)
        | EntryResource::TagPolicy(..)
        | EntryResource::Expression(_)
        | EntryResource::Other(_) => resource_json(&entry.resource),
    };
    let mut json = json!({
        "Principal": {"DataLakePrincipalIdentifier": entry.principal.0},
        "Resource": resource,
        "Permissions": entry.permissions,
        "PermissionsWithGrantOption": entry.grantable,
    });
    if let (Some(condition), Some(object)) = (&entry.condition, json.as_object_mut()) {
        object.insert("Condition".to_owned(), json!({"Expression": condition}));
    }
    json
}

/// A wildcard, in the spelling that the service lists it in (LF-01, LF-02).
fn wildcard_json(entry: &Entry, database: &Name, spelling: Spelling) -> Value {
    let database = database.as_str();
    let only_select = entry
        .permissions
        .iter()
        .all(|permission| permission == "SELECT");
    match (spelling.select_apart && only_select, spelling.by_name) {
        (true, _) => json!({"TableWithColumns": {
            "DatabaseName": database, "Name": ALL_TABLES, "ColumnWildcard": {},
        }}),
        (false, true) => json!({"Table": {
            "DatabaseName": database, "Name": ALL_TABLES, "TableWildcard": {},
        }}),
        (false, false) => json!({"Table": {"DatabaseName": database, "TableWildcard": {}}}),
    }
}

/// Whether a listed resource is of a `DataLakeResourceType`.
pub(crate) fn is_of_type(listed: &EntryResource, kind: &str) -> bool {
    match listed {
        EntryResource::Database(_) => kind == "DATABASE",
        EntryResource::Table(_)
        | EntryResource::TableWildcard(_)
        | EntryResource::Columns(..)
        | EntryResource::ColumnWildcard(..)
        | EntryResource::Filter(..) => kind == "TABLE",
        EntryResource::Catalog => kind == "CATALOG",
        EntryResource::Location(_) => kind == "DATA_LOCATION",
        EntryResource::Tag(..) => kind == "LF_TAG",
        EntryResource::TagPolicy(target, _) => {
            kind == "LF_TAG_POLICY" || kind == format!("LF_TAG_POLICY_{}", target.as_str())
        }
        EntryResource::Expression(_) => kind == "LF_NAMED_TAG_EXPRESSION",
        EntryResource::Other(_) => false,
    }
}

/// The table that a stored grant is on or in.
pub(crate) fn resource_table(resource: &StoredResource) -> Option<&TableId> {
    match resource {
        StoredResource::Table(id)
        | StoredResource::Column(id, _)
        | StoredResource::Columns(id, _)
        | StoredResource::Filter(id, _) => Some(id),
        StoredResource::Database(_)
        | StoredResource::AllTables(_)
        | StoredResource::AllColumns(_)
        | StoredResource::Catalog
        | StoredResource::Location(_)
        | StoredResource::Tag(..)
        | StoredResource::TagPolicy(..)
        | StoredResource::Expression(_)
        | StoredResource::Other(_) => None,
    }
}

/// The database that a stored grant is on or in.
pub(crate) fn resource_database(resource: &StoredResource) -> Option<&Name> {
    match resource {
        StoredResource::Database(name)
        | StoredResource::AllTables(name)
        | StoredResource::AllColumns(name) => Some(name),
        StoredResource::Table(id)
        | StoredResource::Column(id, _)
        | StoredResource::Columns(id, _)
        | StoredResource::Filter(id, _) => Some(&id.database),
        StoredResource::Catalog
        | StoredResource::Location(_)
        | StoredResource::Tag(..)
        | StoredResource::TagPolicy(..)
        | StoredResource::Expression(_)
        | StoredResource::Other(_) => None,
    }
}
