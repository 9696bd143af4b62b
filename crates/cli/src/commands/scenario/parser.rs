//! Splits a script into lines, and translates the short forms of API calls.

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

/// The API calls for the words that follow a Region.
pub(super) fn calls(
    words: &[&str],
    rest: &str,
    bucket: &str,
) -> Result<Vec<(String, Value)>, String> {
    let one = |name: &str, request: Value| Ok(vec![(name.to_owned(), request)]);
    match words {
        ["call", name, ..] => {
            let json = rest.split_once(name).map(|(_, json)| json.trim());
            let json = json.filter(|json| !json.is_empty()).unwrap_or("{}");
            let request = serde_json::from_str(json).map_err(|e| e.to_string())?;
            one(name, request)
        }
        ["database", name] => one(
            "CreateDatabase",
            json!({"DatabaseInput": {"Name": name, "CreateTableDefaultPermissions": []}}),
        ),
        ["link", "database", name, target, region @ ..] => one(
            "CreateDatabase",
            json!({"DatabaseInput": {
                "Name": name,
                "TargetDatabase": {"DatabaseName": target, "Region": region.first()},
            }}),
        ),
        ["link", "table", id, target, region @ ..] => {
            let ((database, table), (target_database, name)) = (split(id)?, split(target)?);
            let target =
                json!({"DatabaseName": target_database, "Name": name, "Region": region.first()});
            let input = json!({"Name": table, "TargetTable": target});
            let request = json!({"DatabaseName": database, "TableInput": input});
            one("CreateTable", request)
        }
        ["table", id, columns] => one("CreateTable", table(bucket, id, columns, "")?),
        ["table", id, columns, "by", keys] => one("CreateTable", table(bucket, id, columns, keys)?),
        ["columns", id, columns] => one("UpdateTable", table(bucket, id, columns, "")?),
        ["columns", id, columns, "by", keys] => {
            one("UpdateTable", table(bucket, id, columns, keys)?)
        }
        ["partition", id, value] => {
            let (database, table) = split(id)?;
            let location = format!("{bucket}/{database}/{table}/{value}/");
            let input = json!({"Values": [value], "StorageDescriptor": {"Location": location}});
            let request = json!({
                "DatabaseName": database, "TableName": table, "PartitionInputList": [input],
            });
            one("BatchCreatePartition", request)
        }
        ["drop", "database", name] => one("DeleteDatabase", json!({"Name": name})),
        ["drop", "table", id] => {
            let (database, table) = split(id)?;
            one(
                "DeleteTable",
                json!({"DatabaseName": database, "Name": table}),
            )
        }
        ["drop", "partition", id, value] => {
            let (database, table) = split(id)?;
            let request = json!({
                "DatabaseName": database, "TableName": table,
                "PartitionsToDelete": [{"Values": [value]}],
            });
            one("BatchDeletePartition", request)
        }
        ["grant", permission, "on", resource @ .., "to", who] => {
            one("GrantPermissions", entry(permission, resource, who)?)
        }
        ["revoke", permission, "on", resource @ .., "from", who] => {
            one("RevokePermissions", entry(permission, resource, who)?)
        }
        _ => Err("unknown command".to_owned()),
    }
}

fn split(id: &str) -> Result<(&str, &str), String> {
    id.split_once('.')
        .ok_or_else(|| format!("{id} is not DATABASE.TABLE"))
}

fn table(bucket: &str, id: &str, columns: &str, keys: &str) -> Result<Value, String> {
    let (database, table) = split(id)?;
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
            "Columns": list(columns), "Location": format!("{bucket}/{database}/{table}/"),
        },
    }}))
}

fn entry(permission: &str, resource: &[&str], who: &str) -> Result<Value, String> {
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
        "Resource": target(resource)?,
        "Permissions": [permission],
        "PermissionsWithGrantOption": option,
    }))
}

fn target(words: &[&str]) -> Result<Value, String> {
    if let ["database", name] = words {
        return Ok(json!({"Database": {"Name": name}}));
    }
    let [id] = words else {
        return Err("a resource is one word".to_owned());
    };
    let (database, rest) = split(id)?;
    let Some((table, columns)) = rest.split_once('(') else {
        return Ok(match rest {
            "*" => json!({"Table": {"DatabaseName": database, "TableWildcard": {}}}),
            table => json!({"Table": {"DatabaseName": database, "Name": table}}),
        });
    };
    let columns = columns.trim_end_matches(')');
    let mut with = json!({"DatabaseName": database, "Name": table});
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
    if let Some(object) = with.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
    Ok(json!({ "TableWithColumns": with }))
}
