//! Resources and entries as they go over the wire and as they are kept.

use crate::api::items;
use crate::error::ApiError;
use crate::state::StoredResource;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::grant::{ALL_TABLES, Entry, EntryResource};
use twinlake_core::{Name, TableId};

/// Where one permission of a grant is kept: SELECT apart from the rest (LF-01).
pub(crate) fn places(resource: &EntryResource, permission: &str) -> Vec<StoredResource> {
    let select = permission == "SELECT";
    let wildcard = |id: &TableId| id.table.as_str().eq_ignore_ascii_case(ALL_TABLES);
    match resource {
        EntryResource::Database(name) => vec![StoredResource::Database(name.clone())],
        EntryResource::Table(id) if wildcard(id) => places(
            &EntryResource::TableWildcard(id.database.clone()),
            permission,
        ),
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
    let on_wildcard = |database: &Name| match listed {
        EntryResource::TableWildcard(name) => name == database,
        EntryResource::Table(id) | EntryResource::ColumnWildcard(id, _) => {
            id.database == *database && id.table.as_str().eq_ignore_ascii_case(ALL_TABLES)
        }
        EntryResource::Database(_) | EntryResource::Columns(..) | EntryResource::Other(_) => false,
    };
    match filter {
        EntryResource::TableWildcard(database) => on_wildcard(database),
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
pub(crate) fn entry_json(entry: &Entry) -> Value {
    let names = |names: &BTreeSet<Name>| -> Vec<String> {
        names.iter().map(|name| name.as_str().to_owned()).collect()
    };
    let id_json = |id: &TableId| {
        let table = match id.table.as_str().eq_ignore_ascii_case(ALL_TABLES) {
            true => ALL_TABLES,
            false => id.table.as_str(),
        };
        json!({"DatabaseName": id.database.as_str(), "Name": table})
    };
    let with = |mut json: Value, key: &str, value: Value| {
        if let Some(object) = json.as_object_mut() {
            object.insert(key.to_owned(), value);
        }
        json
    };
    let resource = match &entry.resource {
        EntryResource::Database(name) => json!({"Database": {"Name": name.as_str()}}),
        EntryResource::Table(id) if id.table.as_str().eq_ignore_ascii_case(ALL_TABLES) => {
            json!({"Table": with(id_json(id), "TableWildcard", json!({}))})
        }
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
