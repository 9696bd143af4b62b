//! Splits a script into lines, and translates the short forms of API calls into their requests.

use serde_json::{Value, json};

/// The lines of a script with their numbers, without comments and empty lines. An indented line
/// continues the one before.
pub(super) fn lines(script: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (index, line) in script.lines().enumerate() {
        let text = line.trim_end();
        if text.trim_start().starts_with('#') || text.trim().is_empty() {
            continue;
        }
        match lines.last_mut() {
            Some((_, before)) if text.starts_with(' ') => {
                before.push(' ');
                before.push_str(text.trim());
            }
            Some(_) | None => lines.push((index + 1, text.to_owned())),
        }
    }
    lines
}

/// The name and the request of the API call that the words after a Region stand for. `line` is the
/// whole line, since the JSON of `call` may contain spaces; `root_location` holds the locations of tables.
pub(super) fn api_call(
    words: &[&str],
    line: &str,
    root_location: &str,
) -> Result<(String, Value), String> {
    let (name, request) = match words {
        ["call", name, ..] => (*name, json_after(line, name)?),
        ["database", name] => (
            "CreateDatabase",
            json!({"DatabaseInput": {"Name": name, "CreateTableDefaultPermissions": []}}),
        ),
        ["link", "database", name, target, region @ ..] => (
            "CreateDatabase",
            database_link_request(name, target, region.first().copied()),
        ),
        ["link", "table", id, target, region @ ..] => (
            "CreateTable",
            table_link_request(id, target, region.first().copied())?,
        ),
        ["table", id, columns] => (
            "CreateTable",
            table_request(root_location, id, columns, "")?,
        ),
        ["table", id, columns, "by", keys] => (
            "CreateTable",
            table_request(root_location, id, columns, keys)?,
        ),
        ["columns", id, columns] => (
            "UpdateTable",
            table_request(root_location, id, columns, "")?,
        ),
        ["columns", id, columns, "by", keys] => (
            "UpdateTable",
            table_request(root_location, id, columns, keys)?,
        ),
        ["partition", id, value] => (
            "BatchCreatePartition",
            partition_request(root_location, id, value)?,
        ),
        ["drop", kind_and_names @ ..] => drop_call(kind_and_names)?,
        ["grant", permission, "on", resource @ .., "to", who] => (
            "GrantPermissions",
            permission_request(permission, resource, who)?,
        ),
        ["revoke", permission, "on", resource @ .., "from", who] => (
            "RevokePermissions",
            permission_request(permission, resource, who)?,
        ),
        _ => return Err("unknown command".to_owned()),
    };
    Ok((name.to_owned(), request))
}

/// The JSON that follows the name of an API call in a line; `{}` if none does.
fn json_after(line: &str, name: &str) -> Result<Value, String> {
    let json = line.split_once(name).map(|(_, json)| json.trim());
    let json = json.filter(|json| !json.is_empty()).unwrap_or("{}");
    serde_json::from_str(json).map_err(|e| e.to_string())
}

fn split_table_id(id: &str) -> Result<(&str, &str), String> {
    id.split_once('.')
        .ok_or_else(|| format!("{id} is not DATABASE.TABLE"))
}

fn database_link_request(name: &str, target: &str, region: Option<&str>) -> Value {
    let target = json!({"DatabaseName": target, "Region": region});
    json!({"DatabaseInput": {"Name": name, "TargetDatabase": target}})
}

fn table_link_request(id: &str, target: &str, region: Option<&str>) -> Result<Value, String> {
    let (database, table) = split_table_id(id)?;
    let (target_database, target_table) = split_table_id(target)?;
    let target = json!({"DatabaseName": target_database, "Name": target_table, "Region": region});
    let input = json!({"Name": table, "TargetTable": target});
    Ok(json!({"DatabaseName": database, "TableInput": input}))
}

fn table_request(
    root_location: &str,
    id: &str,
    columns: &str,
    keys: &str,
) -> Result<Value, String> {
    let (database, table) = split_table_id(id)?;
    let list = |names: &str| -> Vec<Value> {
        let names = names.split(',').filter(|name| !name.is_empty());
        names
            .map(|name| json!({"Name": name, "Type": "string"}))
            .collect()
    };
    Ok(json!({"DatabaseName": database, "TableInput": {
        "Name": table,
        "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": list(keys),
        "StorageDescriptor": {
            "Columns": list(columns), "Location": format!("{root_location}/{database}/{table}/"),
        },
    }}))
}

fn partition_request(root_location: &str, id: &str, value: &str) -> Result<Value, String> {
    let (database, table) = split_table_id(id)?;
    let location = format!("{root_location}/{database}/{table}/{value}/");
    let input = json!({"Values": [value], "StorageDescriptor": {"Location": location}});
    Ok(json!({"DatabaseName": database, "TableName": table, "PartitionInputList": [input]}))
}

/// The API call of `drop`.
fn drop_call(words: &[&str]) -> Result<(&'static str, Value), String> {
    match words {
        ["database", name] => Ok(("DeleteDatabase", json!({"Name": name}))),
        ["table", id] => {
            let (database, table) = split_table_id(id)?;
            let request = json!({"DatabaseName": database, "Name": table});
            Ok(("DeleteTable", request))
        }
        ["partition", id, value] => {
            let (database, table) = split_table_id(id)?;
            let request = json!({
                "DatabaseName": database, "TableName": table,
                "PartitionsToDelete": [{"Values": [value]}],
            });
            Ok(("BatchDeletePartition", request))
        }
        _ => Err("unknown command".to_owned()),
    }
}

/// The request of `GrantPermissions` and `RevokePermissions`. `who` names a role of the account, or
/// is `IAM_ALLOWED_PRINCIPALS`.
fn permission_request(permission: &str, resource: &[&str], who: &str) -> Result<Value, String> {
    let (permission, option) = match permission.strip_suffix('+') {
        Some(permission) => (permission, vec![permission]),
        None => (permission, vec![]),
    };
    let principal = match who {
        "IAM_ALLOWED_PRINCIPALS" => who.to_owned(),
        name => format!("arn:aws:iam::111122223333:role/{name}"),
    };
    Ok(json!({
        "Principal": {"DataLakePrincipalIdentifier": principal},
        "Resource": lakeformation_resource(resource)?,
        "Permissions": [permission],
        "PermissionsWithGrantOption": option,
    }))
}

/// The `Resource` of a grant, from its short form.
fn lakeformation_resource(words: &[&str]) -> Result<Value, String> {
    if let ["database", name] = words {
        return Ok(json!({"Database": {"Name": name}}));
    }
    let [id] = words else {
        return Err(
            "a resource is `database NAME`, DATABASE.TABLE, DATABASE.* or DATABASE.TABLE(COLUMNS)"
                .to_owned(),
        );
    };
    let (database, rest) = split_table_id(id)?;
    let Some((table, columns)) = rest.split_once('(') else {
        return Ok(match rest {
            "*" => json!({"Table": {"DatabaseName": database, "TableWildcard": {}}}),
            table => json!({"Table": {"DatabaseName": database, "Name": table}}),
        });
    };
    let columns = columns.trim_end_matches(')');
    let mut table_with_columns = json!({"DatabaseName": database, "Name": table});
    let (key, value) = match columns.strip_prefix("*-") {
        Some(excluded) => {
            let names: Vec<&str> = excluded.split(',').collect();
            ("ColumnWildcard", json!({"ExcludedColumnNames": names}))
        }
        None => {
            let names: Vec<&str> = columns.split(',').collect();
            ("ColumnNames", json!(names))
        }
    };
    if let Some(object) = table_with_columns.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
    Ok(json!({ "TableWithColumns": table_with_columns }))
}
