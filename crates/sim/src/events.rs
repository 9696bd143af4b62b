//! The events that AWS sends for a change: Glue Data Catalog events and CloudTrail records.

use crate::api::array_field;
use crate::caller::Caller;
use crate::state::{EmittedEvent, SimState};
use serde_json::{Map, Value, json};

/// Glue operations that produce a Glue Data Catalog event and a CloudTrail record.
const GLUE_OPERATIONS: [&str; 12] = [
    "CreateDatabase",
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
    "BatchDeletePartition",
];

/// Glue operations that produce only a CloudTrail record.
const CLOUDTRAIL_ONLY_GLUE_OPERATIONS: [&str; 10] = [
    "UpdateDatabase",
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

/// Lake Formation operations that produce a CloudTrail record.
const LAKE_FORMATION_OPERATIONS: [&str; 21] = [
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
    "UpdateResource",
    "DeregisterResource",
    "CreateLakeFormationOptIn",
    "DeleteLakeFormationOptIn",
];

impl SimState {
    /// Emits the events of a successful call, if the operation is a write.
    pub(crate) fn emit(&mut self, caller: Caller<'_>, call: &str, request: &Value, answer: &Value) {
        let has_catalog_event = GLUE_OPERATIONS.contains(&call);
        let is_glue = has_catalog_event || CLOUDTRAIL_ONLY_GLUE_OPERATIONS.contains(&call);
        if !is_glue && !LAKE_FORMATION_OPERATIONS.contains(&call) {
            return;
        }
        if has_catalog_event {
            let (detail_type, detail) = catalog_event(call, request);
            let event = self.envelope(caller, "aws.glue", detail_type, detail);
            self.push_event(caller, event);
        }
        let (source, host) = match is_glue {
            true => ("aws.glue", "glue.amazonaws.com"),
            false => ("aws.lakeformation", "lakeformation.amazonaws.com"),
        };
        let response = to_cloudtrail_keys(answer);
        let empty = response.as_object().is_some_and(Map::is_empty);
        let detail = json!({
            "eventVersion": "1.11",
            "userIdentity": user_identity(caller.principal, &self.account),
            "eventTime": self.now().to_string(),
            "eventSource": host,
            "eventName": call,
            "awsRegion": caller.region,
            "requestParameters": to_cloudtrail_keys(request),
            "responseElements": if empty { Value::Null } else { response },
            "readOnly": false,
            "managementEvent": true,
            "eventCategory": "Management",
            "eventType": "AwsApiCall",
            "recipientAccountId": self.account,
        });
        let event = self.envelope(caller, source, "AWS API Call via CloudTrail", detail);
        self.push_event(caller, event);
    }

    fn push_event(&mut self, caller: Caller<'_>, event: Value) {
        self.events.push_back(EmittedEvent {
            region: caller.region.to_owned(),
            event,
        });
    }

    fn envelope(
        &mut self,
        caller: Caller<'_>,
        source: &str,
        detail_type: &str,
        detail: Value,
    ) -> Value {
        let number = self.next_version();
        json!({
            "version": "0",
            "id": format!("00000000-0000-4000-8000-{number:0>12}"),
            "detail-type": detail_type,
            "source": source,
            "account": self.account,
            "time": self.now().to_string(),
            "region": caller.region,
            "resources": [],
            "detail": detail,
        })
    }
}

fn user_identity(principal: &str, account: &str) -> Value {
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

/// Returns detail type and detail of the Glue Data Catalog event of a call.
fn catalog_event(call: &str, request: &Value) -> (&'static str, Value) {
    const DATABASE: &str = "Glue Data Catalog Database State Change";
    const TABLE: &str = "Glue Data Catalog Table State Change";
    let text = |value: &Value, key: &str| value.get(key).cloned().unwrap_or_default();
    let input = |key: &str| request.get(key).cloned().unwrap_or_default();
    let database_event_detail = |name: Value, tables: Value| json!({"databaseName": name, "typeOfChange": call, "changedTables": tables});
    let database = text(request, "DatabaseName");
    match call {
        "CreateDatabase" => {
            let name = text(&input("DatabaseInput"), "Name");
            (DATABASE, database_event_detail(name, json!([])))
        }
        "DeleteDatabase" => (
            DATABASE,
            database_event_detail(text(request, "Name"), json!([])),
        ),
        "CreateTable" => {
            let tables = json!([text(&input("TableInput"), "Name")]);
            (DATABASE, database_event_detail(database, tables))
        }
        "DeleteTable" => (
            DATABASE,
            database_event_detail(database, json!([text(request, "Name")])),
        ),
        "BatchDeleteTable" => (
            DATABASE,
            database_event_detail(database, input("TablesToDelete")),
        ),
        _ => {
            let table = match call {
                "UpdateTable" => text(&input("TableInput"), "Name"),
                _ => text(request, "TableName"),
            };
            let detail = json!({
                "databaseName": database, "tableName": table, "typeOfChange": call,
                "changedPartitions": changed_partitions(request),
            });
            (TABLE, detail)
        }
    }
}

/// Returns partition values as display text, in the format of real events.
fn changed_partitions(request: &Value) -> Vec<String> {
    let shown = |values: &Value| {
        let texts = values.as_array().into_iter().flatten();
        let texts: Vec<&str> = texts.filter_map(Value::as_str).collect();
        format!("[{}]", texts.join(", "))
    };
    let listed = ["PartitionInputList", "PartitionsToDelete", "Entries"];
    let entries = listed.iter().flat_map(|key| array_field(request, key));
    entries
        .filter_map(|entry| {
            entry
                .get("Values")
                .or_else(|| entry.get("PartitionValueList"))
        })
        .map(shown)
        .collect()
}

/// Converts the keys to CloudTrail's format: the first letter in lower case. Keys of user-defined
/// maps stay unchanged.
fn to_cloudtrail_keys(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let pairs = object.iter().map(|(key, value)| {
                let mut chars = key.chars();
                let first = chars.next().map(|c| c.to_ascii_lowercase());
                let lowered: String = first.into_iter().chain(chars).collect();
                let inner = match key.as_str() {
                    "Parameters" | "TagsToAdd" => value.clone(),
                    _ => to_cloudtrail_keys(value),
                };
                (lowered, inner)
            });
            Value::Object(pairs.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(to_cloudtrail_keys).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
