//! The events that AWS would send of a change: Glue's own, and CloudTrail's.

use crate::api::{Caller, items};
use crate::state::World;
use serde_json::{Map, Value, json};

/// An event on the default bus of a Region.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// The Region whose bus it is on.
    pub region: String,
    /// The event.
    pub event: Value,
}

const GLUE: [&str; 12] = [
    "CreateDatabase",
    "UpdateDatabase",
    "DeleteDatabase",
    "CreateTable",
    "UpdateTable",
    "DeleteTable",
    "BatchDeleteTable",
    "CreatePartition",
    "BatchCreatePartition",
    "UpdatePartition",
    "BatchUpdatePartition",
    "DeletePartition",
];

/// Calls of Glue that only CloudTrail tells of.
const GLUE_APART: [&str; 9] = [
    "CreateUserDefinedFunction",
    "UpdateUserDefinedFunction",
    "DeleteUserDefinedFunction",
    "CreatePartitionIndex",
    "DeletePartitionIndex",
    "UpdateColumnStatisticsForTable",
    "DeleteColumnStatisticsForTable",
    "TagResource",
    "UntagResource",
];

const LAKE: [&str; 20] = [
    "GrantPermissions",
    "RevokePermissions",
    "BatchGrantPermissions",
    "BatchRevokePermissions",
    "PutDataLakeSettings",
    "CreateLFTag",
    "UpdateLFTag",
    "DeleteLFTag",
    "AddLFTagsToResource",
    "RemoveLFTagsFromResource",
    "CreateLFTagExpression",
    "UpdateLFTagExpression",
    "DeleteLFTagExpression",
    "CreateDataCellsFilter",
    "UpdateDataCellsFilter",
    "DeleteDataCellsFilter",
    "RegisterResource",
    "DeregisterResource",
    "CreateLakeFormationOptIn",
    "DeleteLakeFormationOptIn",
];

impl World {
    /// Tells of a call that succeeded, if it changed something.
    pub(crate) fn emit(&mut self, c: Caller<'_>, call: &str, request: &Value, answer: &Value) {
        let apart = GLUE_APART.contains(&call);
        let glue = apart || GLUE.contains(&call) || call == "BatchDeletePartition";
        if !glue && !LAKE.contains(&call) && call != "UpdateResource" {
            return;
        }
        if glue
            && !apart
            && let Some((detail_type, detail)) = native(call, request)
        {
            let event = self.envelope(c, "aws.glue", detail_type, detail);
            self.push(c, event);
        }
        let (source, host) = match glue {
            true => ("aws.glue", "glue.amazonaws.com"),
            false => ("aws.lakeformation", "lakeformation.amazonaws.com"),
        };
        let response = lower_first(answer);
        let empty = response.as_object().is_some_and(Map::is_empty);
        let detail = json!({
            "eventVersion": "1.11",
            "userIdentity": identity(c.principal, &self.account),
            "eventTime": self.now().to_string(),
            "eventSource": host,
            "eventName": call,
            "awsRegion": c.region,
            "requestParameters": lower_first(request),
            "responseElements": if empty { Value::Null } else { response },
            "readOnly": false,
            "managementEvent": true,
            "eventCategory": "Management",
            "eventType": "AwsApiCall",
            "recipientAccountId": self.account,
        });
        let event = self.envelope(c, source, "AWS API Call via CloudTrail", detail);
        self.push(c, event);
    }

    fn push(&mut self, c: Caller<'_>, event: Value) {
        self.events.push_back(Emitted {
            region: c.region.to_owned(),
            event,
        });
    }

    fn envelope(&mut self, c: Caller<'_>, source: &str, detail_type: &str, detail: Value) -> Value {
        let number = self.next_version();
        json!({
            "version": "0",
            "id": format!("00000000-0000-4000-8000-{number:0>12}"),
            "detail-type": detail_type,
            "source": source,
            "account": self.account,
            "time": self.now().to_string(),
            "region": c.region,
            "resources": [],
            "detail": detail,
        })
    }
}

fn identity(principal: &str, account: &str) -> Value {
    let session = principal
        .replacen(":iam:", ":sts:", 1)
        .replacen(":role/", ":assumed-role/", 1);
    json!({
        "type": "AssumedRole",
        "arn": format!("{session}/session"),
        "accountId": account,
        "sessionContext": {"sessionIssuer": {"type": "Role", "arn": principal, "accountId": account}},
    })
}

/// Glue's own event of a call; `UpdateDatabase` has none.
fn native(call: &str, request: &Value) -> Option<(&'static str, Value)> {
    const DATABASE: &str = "Glue Data Catalog Database State Change";
    const TABLE: &str = "Glue Data Catalog Table State Change";
    let text = |value: &Value, key: &str| value.get(key).cloned().unwrap_or_default();
    let input = |key: &str| request.get(key).cloned().unwrap_or_default();
    let of_database = |name: Value, tables: Value| json!({"databaseName": name, "typeOfChange": call, "changedTables": tables});
    let database = text(request, "DatabaseName");
    Some(match call {
        "CreateDatabase" => {
            let name = text(&input("DatabaseInput"), "Name");
            (DATABASE, of_database(name, json!([])))
        }
        "DeleteDatabase" => (DATABASE, of_database(text(request, "Name"), json!([]))),
        "CreateTable" => {
            let tables = json!([text(&input("TableInput"), "Name")]);
            (DATABASE, of_database(database, tables))
        }
        "DeleteTable" => (
            DATABASE,
            of_database(database, json!([text(request, "Name")])),
        ),
        "BatchDeleteTable" => (DATABASE, of_database(database, input("TablesToDelete"))),
        "UpdateDatabase" => return None,
        _ => {
            let table = match call {
                "UpdateTable" => text(&input("TableInput"), "Name"),
                _ => text(request, "TableName"),
            };
            let detail = json!({
                "databaseName": database, "tableName": table, "typeOfChange": call,
                "changedPartitions": changed(request),
            });
            (TABLE, detail)
        }
    })
}

/// Partition values as display text, in the form that real events have.
fn changed(request: &Value) -> Vec<String> {
    let shown = |values: &Value| {
        let texts = values.as_array().into_iter().flatten();
        let texts: Vec<&str> = texts.filter_map(Value::as_str).collect();
        format!("[{}]", texts.join(", "))
    };
    let listed = ["PartitionInputList", "PartitionsToDelete", "Entries"];
    let entries = listed.iter().flat_map(|key| items(request, key));
    entries
        .filter_map(|entry| {
            entry
                .get("Values")
                .or_else(|| entry.get("PartitionValueList"))
        })
        .map(shown)
        .collect()
}

/// Keys as CloudTrail writes them. Keys of user maps are left as they are.
fn lower_first(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let pairs = object.iter().map(|(key, value)| {
                let mut chars = key.chars();
                let first = chars.next().map(|c| c.to_ascii_lowercase());
                let lowered: String = first.into_iter().chain(chars).collect();
                let inner = match key.as_str() {
                    "Parameters" | "TagsToAdd" => value.clone(),
                    _ => lower_first(value),
                };
                (lowered, inner)
            });
            Value::Object(pairs.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(lower_first).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
