//! Resources and entries as they go over the wire and as they are kept.

use crate::api::items;
use crate::error::ApiError;
use crate::state::{Spelling, StoredResource};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::grant::{ALL_TABLES, Entry, EntryResource};
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
        EntryResource::Other(kind) => vec![StoredResource::Other(kind.clone())],
    }
}

pub(crate) fn is_on(listed: &EntryResource, filter: &EntryResource) -> bool {
    match filter {
        EntryResource::TableWildcard(_) => listed == filter,
        EntryResource::Table(id) => match listed {
            EntryResource::Table(other)
            | EntryResource::Columns(other, _)
            | EntryResource::ColumnWildcard(other, _) => other == id,
            EntryResource::Database(_)
            | EntryResource::TableWildcard(_)
            | EntryResource::Other(_) => false,
        },
        EntryResource::Database(_)
        | EntryResource::Columns(..)
        | EntryResource::ColumnWildcard(..)
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
        other => EntryResource::Other(other.to_owned()),
    })
}

/// Writes a listed entry as it goes over the wire.
pub(crate) fn entry_json(entry: &Entry, spelling: Spelling) -> Value {
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
    let resource = match &entry.resource {
        EntryResource::Database(name) => json!({"Database": {"Name": name.as_str()}}),
        EntryResource::Table(id) => json!({"Table": id_json(id)}),
        EntryResource::TableWildcard(name) => wildcard_json(entry, name, spelling),
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
        EntryResource::Other(kind) => json!({ kind: {} }),
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
