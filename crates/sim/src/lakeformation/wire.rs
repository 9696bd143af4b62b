//! Conversion of resources and permission entries between AWS's JSON and the permission store.

use crate::api::{array_field, column_names, column_names_json};
use crate::error::ApiError;
use crate::state::{StoredResource, WildcardFormat};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::grant::{
    ALL_TABLES, LfTagExpression, LfTagPolicy, LfTagPolicyTarget, ListedPermission, ListedResource,
};
use twinlake_core::{Name, TableId};

/// Returns the resources that one permission of a grant is stored on. SELECT is stored by column
/// (LF-01).
pub(crate) fn stored_resources(resource: &ListedResource, permission: &str) -> Vec<StoredResource> {
    let is_select = permission == "SELECT";
    match resource {
        ListedResource::Database(name) => vec![StoredResource::Database(name.clone())],
        ListedResource::Table(id) if is_select => {
            vec![StoredResource::ColumnWildcard(id.clone(), BTreeSet::new())]
        }
        ListedResource::Table(id) => vec![StoredResource::Table(id.clone())],
        ListedResource::TableWildcard(name) if is_select => {
            vec![StoredResource::AllTablesAllColumns(name.clone())]
        }
        ListedResource::TableWildcard(name) => vec![StoredResource::AllTables(name.clone())],
        ListedResource::Columns(id, names) => names
            .iter()
            .map(|name| StoredResource::Column(id.clone(), name.clone()))
            .collect(),
        ListedResource::ColumnWildcard(id, excluded) => {
            vec![StoredResource::ColumnWildcard(id.clone(), excluded.clone())]
        }
        ListedResource::DataCellsFilter(id, name) => {
            vec![StoredResource::DataCellsFilter(id.clone(), name.clone())]
        }
        ListedResource::Catalog => vec![StoredResource::Catalog],
        ListedResource::DataLocation(arn) => vec![StoredResource::DataLocation(arn.clone())],
        ListedResource::LfTag(key, values) => values
            .iter()
            .map(|value| StoredResource::LfTag(key.clone(), value.clone()))
            .collect(),
        ListedResource::LfTagPolicy(target, policy) => {
            vec![StoredResource::LfTagPolicy(*target, policy.clone())]
        }
        ListedResource::LfTagExpression(name) => {
            vec![StoredResource::LfTagExpression(name.clone())]
        }
        ListedResource::Other(kind) => vec![StoredResource::Other(kind.clone())],
    }
}

/// Whether `ListPermissions` with a resource filter returns a listed resource.
pub(crate) fn matches_filter(listed: &ListedResource, filter: &ListedResource) -> bool {
    match filter {
        ListedResource::TableWildcard(_) => listed == filter,
        ListedResource::Table(id) => match listed {
            ListedResource::Table(other)
            | ListedResource::Columns(other, _)
            | ListedResource::DataCellsFilter(other, _)
            | ListedResource::ColumnWildcard(other, _) => other == id,
            ListedResource::Database(_)
            | ListedResource::TableWildcard(_)
            | ListedResource::Catalog
            | ListedResource::DataLocation(_)
            | ListedResource::LfTag(..)
            | ListedResource::LfTagPolicy(..)
            | ListedResource::LfTagExpression(_)
            | ListedResource::Other(_) => false,
        },
        ListedResource::Database(_)
        | ListedResource::Columns(..)
        | ListedResource::ColumnWildcard(..)
        | ListedResource::DataCellsFilter(..)
        | ListedResource::Catalog
        | ListedResource::DataLocation(_)
        | ListedResource::LfTag(..)
        | ListedResource::LfTagPolicy(..)
        | ListedResource::LfTagExpression(_)
        | ListedResource::Other(_) => listed == filter,
    }
}

/// Parses a `Resource` of a request.
pub(crate) fn parse_resource(json: &Value) -> Result<ListedResource, ApiError> {
    let object = json.as_object().filter(|object| !object.is_empty());
    let Some((kind, resource)) = object.and_then(|object| object.iter().next()) else {
        // The service's text.
        let message = "Resource must have one of the have either the catalog, table or database \
                       field populated.";
        return Err(ApiError::invalid(message));
    };
    let name = |key: &str| crate::api::required_name(resource, key);
    let text = |key: &str| crate::api::required_text(resource, key).map(str::to_owned);
    Ok(match kind.as_str() {
        "Database" => ListedResource::Database(name("Name")?),
        "Table" if resource.get("TableWildcard").is_some_and(|w| !w.is_null()) => {
            ListedResource::TableWildcard(name("DatabaseName")?)
        }
        "Table" | "TableWithColumns"
            if resource.get("Name").and_then(Value::as_str) == Some(ALL_TABLES) =>
        {
            ListedResource::TableWildcard(name("DatabaseName")?)
        }
        "Table" => ListedResource::Table(TableId::new(name("DatabaseName")?, name("Name")?)),
        "TableWithColumns" => {
            let id = TableId::new(name("DatabaseName")?, name("Name")?);
            match resource.get("ColumnWildcard").filter(|w| !w.is_null()) {
                Some(wildcard) => ListedResource::ColumnWildcard(
                    id,
                    column_names(array_field(wildcard, "ExcludedColumnNames"))?,
                ),
                None => {
                    let columns = column_names(array_field(resource, "ColumnNames"))?;
                    ListedResource::Columns(id, columns)
                }
            }
        }
        "DataCellsFilter" => {
            let id = TableId::new(name("DatabaseName")?, name("TableName")?);
            ListedResource::DataCellsFilter(id, text("Name")?)
        }
        "Catalog" => ListedResource::Catalog,
        "DataLocation" => ListedResource::DataLocation(text("ResourceArn")?),
        "LFTag" => {
            ListedResource::LfTag(text("TagKey")?.to_lowercase(), lowercase_values(resource))
        }
        "LFTagPolicy" => {
            let target = LfTagPolicyTarget::parse(&text("ResourceType")?)
                .ok_or_else(|| ApiError::invalid("ResourceType is invalid"))?;
            let policy = match resource.get("ExpressionName").and_then(Value::as_str) {
                Some(name) => LfTagPolicy::NamedExpression(name.to_owned()),
                None => LfTagPolicy::Expression(parse_expression(resource)),
            };
            ListedResource::LfTagPolicy(target, policy)
        }
        "LFTagExpression" => ListedResource::LfTagExpression(text("Name")?),
        other => ListedResource::Other(other.to_owned()),
    })
}

/// Returns the values of an LF-Tag in lower case, as Lake Formation stores them.
fn lowercase_values(tag: &Value) -> BTreeSet<String> {
    let values = array_field(tag, "TagValues")
        .iter()
        .filter_map(Value::as_str);
    values.map(str::to_lowercase).collect()
}

/// Parses the `Expression` of a request: a list of tag keys with their values.
pub(crate) fn parse_expression(holder: &Value) -> LfTagExpression {
    let mut expression = LfTagExpression::new();
    for one in array_field(holder, "Expression") {
        let key = one.get("TagKey").and_then(Value::as_str);
        let key = key.unwrap_or_default().to_lowercase();
        expression
            .entry(key)
            .or_default()
            .extend(lowercase_values(one));
    }
    expression
}

/// Renders an LF-Tag expression as JSON.
pub(crate) fn expression_json(expression: &LfTagExpression) -> Value {
    let all = expression.iter();
    all.map(|(key, values)| json!({"TagKey": key, "TagValues": values}))
        .collect()
}

/// Renders a resource other than a database, table or column as JSON.
fn non_table_json(resource: &ListedResource) -> Value {
    match resource {
        ListedResource::DataCellsFilter(id, name) => json!({"DataCellsFilter": {
            "DatabaseName": id.database.as_str(), "TableName": id.table.as_str(), "Name": name,
        }}),
        ListedResource::Catalog => json!({"Catalog": {}}),
        ListedResource::DataLocation(arn) => json!({"DataLocation": {"ResourceArn": arn}}),
        ListedResource::LfTag(key, values) => {
            json!({"LFTag": {"TagKey": key, "TagValues": values}})
        }
        ListedResource::LfTagPolicy(target, LfTagPolicy::NamedExpression(name)) => {
            json!({"LFTagPolicy": {
                "ResourceType": target.as_str(), "Expression": [], "ExpressionName": name,
            }})
        }
        ListedResource::LfTagPolicy(target, LfTagPolicy::Expression(expression)) => {
            json!({"LFTagPolicy": {
                "ResourceType": target.as_str(), "Expression": expression_json(expression),
            }})
        }
        ListedResource::LfTagExpression(name) => json!({"LFTagExpression": {"Name": name}}),
        ListedResource::Other(kind) => json!({ kind: {} }),
        ListedResource::Database(_)
        | ListedResource::Table(_)
        | ListedResource::TableWildcard(_)
        | ListedResource::Columns(..)
        | ListedResource::ColumnWildcard(..) => Value::Null,
    }
}

/// Renders a resource as JSON; a table wildcard as `Table` with `TableWildcard`.
pub(crate) fn resource_json(resource: &ListedResource) -> Value {
    let id_json =
        |id: &TableId| json!({"DatabaseName": id.database.as_str(), "Name": id.table.as_str()});
    let with_field = |mut json: Value, key: &str, value: Value| {
        if let Some(object) = json.as_object_mut() {
            object.insert(key.to_owned(), value);
        }
        json
    };
    match resource {
        ListedResource::Database(name) => json!({"Database": {"Name": name.as_str()}}),
        ListedResource::Table(id) => json!({"Table": id_json(id)}),
        ListedResource::TableWildcard(name) => {
            json!({"Table": {"DatabaseName": name.as_str(), "TableWildcard": {}}})
        }
        ListedResource::Columns(id, columns) => {
            let columns = column_names_json(columns);
            json!({"TableWithColumns": with_field(id_json(id), "ColumnNames", columns)})
        }
        ListedResource::ColumnWildcard(id, excluded) => {
            let wildcard = match excluded.is_empty() {
                true => json!({}),
                false => json!({"ExcludedColumnNames": column_names_json(excluded)}),
            };
            json!({"TableWithColumns": with_field(id_json(id), "ColumnWildcard", wildcard)})
        }
        ListedResource::DataCellsFilter(..)
        | ListedResource::Catalog
        | ListedResource::DataLocation(_)
        | ListedResource::LfTag(..)
        | ListedResource::LfTagPolicy(..)
        | ListedResource::LfTagExpression(_)
        | ListedResource::Other(_) => non_table_json(resource),
    }
}

/// Renders a permission entry as JSON.
pub(crate) fn entry_json(entry: &ListedPermission, wildcard_format: WildcardFormat) -> Value {
    let resource = match &entry.resource {
        ListedResource::TableWildcard(name) => wildcard_json(entry, name, wildcard_format),
        ListedResource::Database(_)
        | ListedResource::Table(_)
        | ListedResource::Columns(..)
        | ListedResource::ColumnWildcard(..)
        | ListedResource::DataCellsFilter(..)
        | ListedResource::Catalog
        | ListedResource::DataLocation(_)
        | ListedResource::LfTag(..)
        | ListedResource::LfTagPolicy(..)
        | ListedResource::LfTagExpression(_)
        | ListedResource::Other(_) => resource_json(&entry.resource),
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

/// Renders a table wildcard in the form that `ListPermissions` returns (LF-01, LF-02).
fn wildcard_json(
    entry: &ListedPermission,
    database: &Name,
    wildcard_format: WildcardFormat,
) -> Value {
    let database = database.as_str();
    let is_select_only = entry
        .permissions
        .iter()
        .all(|permission| permission == "SELECT");
    match (
        wildcard_format.select_as_column_wildcard && is_select_only,
        wildcard_format.as_all_tables,
    ) {
        (true, _) => json!({"TableWithColumns": {
            "DatabaseName": database, "Name": ALL_TABLES, "ColumnWildcard": {},
        }}),
        (false, true) => json!({"Table": {
            "DatabaseName": database, "Name": ALL_TABLES, "TableWildcard": {},
        }}),
        (false, false) => json!({"Table": {"DatabaseName": database, "TableWildcard": {}}}),
    }
}

/// Whether `ListPermissions` with this `ResourceType`, a `DataLakeResourceType`, returns a listed
/// resource.
pub(crate) fn is_of_type(listed: &ListedResource, resource_type: &str) -> bool {
    match listed {
        ListedResource::Database(_) => resource_type == "DATABASE",
        ListedResource::Table(_)
        | ListedResource::TableWildcard(_)
        | ListedResource::Columns(..)
        | ListedResource::ColumnWildcard(..)
        | ListedResource::DataCellsFilter(..) => resource_type == "TABLE",
        ListedResource::Catalog => resource_type == "CATALOG",
        ListedResource::DataLocation(_) => resource_type == "DATA_LOCATION",
        ListedResource::LfTag(..) => resource_type == "LF_TAG",
        ListedResource::LfTagPolicy(target, _) => {
            resource_type == "LF_TAG_POLICY"
                || resource_type == format!("LF_TAG_POLICY_{}", target.as_str())
        }
        ListedResource::LfTagExpression(_) => resource_type == "LF_NAMED_TAG_EXPRESSION",
        ListedResource::Other(_) => false,
    }
}

/// Returns the table that a stored resource is, or is part of.
pub(crate) fn resource_table(resource: &StoredResource) -> Option<&TableId> {
    match resource {
        StoredResource::Table(id)
        | StoredResource::Column(id, _)
        | StoredResource::ColumnWildcard(id, _)
        | StoredResource::DataCellsFilter(id, _) => Some(id),
        StoredResource::Database(_)
        | StoredResource::AllTables(_)
        | StoredResource::AllTablesAllColumns(_)
        | StoredResource::Catalog
        | StoredResource::DataLocation(_)
        | StoredResource::LfTag(..)
        | StoredResource::LfTagPolicy(..)
        | StoredResource::LfTagExpression(_)
        | StoredResource::Other(_) => None,
    }
}

/// Returns the database that a stored resource is, or is part of.
pub(crate) fn resource_database(resource: &StoredResource) -> Option<&Name> {
    match resource {
        StoredResource::Database(name)
        | StoredResource::AllTables(name)
        | StoredResource::AllTablesAllColumns(name) => Some(name),
        StoredResource::Table(id)
        | StoredResource::Column(id, _)
        | StoredResource::ColumnWildcard(id, _)
        | StoredResource::DataCellsFilter(id, _) => Some(&id.database),
        StoredResource::Catalog
        | StoredResource::DataLocation(_)
        | StoredResource::LfTag(..)
        | StoredResource::LfTagPolicy(..)
        | StoredResource::LfTagExpression(_)
        | StoredResource::Other(_) => None,
    }
}
