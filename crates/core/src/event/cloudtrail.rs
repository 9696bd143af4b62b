//! Parses API calls that CloudTrail recorded.
//!
//! Request parameters may be omitted, truncated, spelled with other case, or hold keys that the
//! API does not have. They only serve to find which object changed. If they do not name it,
//! `resources[].ARN` is used; if that names nothing either, the scope is the whole database or
//! the whole catalog.

use super::lenient_json::LenientJson;
use super::{EventContext, Parsed, UnrecognizedEvent, cloudtrail_lakeformation, quoted};
use crate::heartbeat::{self, Channel};
use crate::name::{FunctionId, Name, TableId};
use crate::scope::{
    DATABASE_ITSELF, Facet, ReadRequest, Scope, Subject, TABLE_ITSELF, WHOLE_DATABASE, WHOLE_TABLE,
};
use std::collections::BTreeSet;

pub(super) fn parse(
    event: LenientJson<'_>,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let record = event.get("detail");
    let source = record.text("eventSource").unwrap_or_default();
    let name = record.text("eventName").unwrap_or_default();
    if let Some(reason) = ignore_reason(record, event_context) {
        return Ok(Parsed::Ignored(reason));
    }
    match source.as_str() {
        "glue.amazonaws.com" => Ok(parse_glue_call(record, &name)),
        "lakeformation.amazonaws.com" => {
            let mut parsed = cloudtrail_lakeformation::parse(record, &name, event_context);
            if let (Parsed::Scope(scope), true) = (&mut parsed, is_heartbeat(record))
                && let Some(sent) = record.time("eventTime")
            {
                scope.heartbeats.insert(Channel::Permissions, sent);
            }
            Ok(parsed)
        }
        _ => Err(UnrecognizedEvent(format!(
            "unknown CloudTrail source {}",
            quoted(&source)
        ))),
    }
}

/// Returns why a record needs no action, or `None` if it needs one.
fn ignore_reason(record: LenientJson<'_>, event_context: &EventContext) -> Option<String> {
    if let Some(code) = record.text("errorCode") {
        return Some(format!("the call failed with {}", quoted(&code)));
    }
    if record.text("readOnly").as_deref() == Some("true") {
        return Some("the call is read-only".to_owned());
    }
    if is_own_call(record, event_context) && !is_heartbeat(record) {
        return Some("it is a call of Twinlake".to_owned());
    }
    let recipient = record.text("recipientAccountId");
    recipient
        .filter(|account| *account != event_context.account)
        .map(|account| format!("it is the copy of account {}", quoted(&account)))
}

/// Whether one of Twinlake's own roles made the call.
pub(super) fn is_own_call(record: LenientJson<'_>, event_context: &EventContext) -> bool {
    let session = record.get("userIdentity").get("sessionContext");
    let issuer = session.get("sessionIssuer").text("arn");
    issuer.is_some_and(|issuer| event_context.own_roles.contains(&issuer))
}

/// Whether the call is the heartbeat's update of its data cells filter.
fn is_heartbeat(record: LenientJson<'_>) -> bool {
    let data = record.get("requestParameters").get("tableData");
    let named = data.name("databaseName").zip(data.name("tableName"));
    named.is_some_and(|(database, table)| heartbeat::is_table(&TableId::new(database, table)))
}

fn parse_glue_call(record: LenientJson<'_>, name: &str) -> Parsed {
    let request = record.get("requestParameters");
    if let Some(parsed) = parse_other_calls(request, name) {
        return parsed;
    }
    let deletes = |kinds: &[&str]| kinds.contains(&name);
    let database = match name {
        "CreateDatabase" => request.get("databaseInput").name("name"),
        "UpdateDatabase" | "DeleteDatabase" => request.name("name"),
        _ => request.name("databaseName"),
    };
    let mut scope = Scope::default();
    let Some(database) = database else {
        return Parsed::Scope(scope_of_arns(record, name));
    };
    match name {
        "CreateDatabase" | "UpdateDatabase" => {
            scope.add(
                Subject::Database(database),
                ReadRequest::for_facets(&DATABASE_ITSELF),
            );
        }
        "DeleteDatabase" => {
            let read_request = ReadRequest {
                deletion_named: true,
                ..ReadRequest::for_facets(&WHOLE_DATABASE)
            };
            scope.add(Subject::Database(database), read_request);
        }
        _ => {
            let tables = table_names(request, name);
            if tables.is_empty() {
                return Parsed::Scope(scope_of_arns(record, name));
            }
            let read_request = match partition_values(request, name) {
                Some(values) => ReadRequest::for_partitions(values, deletes_partitions(name)),
                None => ReadRequest {
                    deletion_named: deletes(&["DeleteTable", "BatchDeleteTable"]),
                    partition_deletion_named: deletes_partitions(name),
                    ..ReadRequest::for_facets(facets_of_table_call(name))
                },
            };
            for table in tables {
                let id = TableId::new(database.clone(), table);
                scope.add(Subject::Table(id), read_request.clone());
            }
        }
    }
    Parsed::Scope(scope)
}

/// Parses calls on functions, column statistics of partitions, and Glue tags. Returns `None` for
/// all other calls.
fn parse_other_calls(request: LenientJson<'_>, name: &str) -> Option<Parsed> {
    let mut scope = Scope::default();
    match name {
        "CreateUserDefinedFunction" | "UpdateUserDefinedFunction" | "DeleteUserDefinedFunction" => {
            let named = request.name("functionName");
            let function = named.or_else(|| request.get("functionInput").name("functionName"));
            let (Some(database), Some(function)) = (request.name("databaseName"), function) else {
                return Some(Parsed::Scope(Scope::catalog()));
            };
            let read_request = ReadRequest {
                deletion_named: name == "DeleteUserDefinedFunction",
                ..ReadRequest::for_facets(&[Facet::Definition])
            };
            scope.add(
                Subject::Function(FunctionId::new(database, function)),
                read_request,
            );
        }
        "UpdateColumnStatisticsForPartition" | "DeleteColumnStatisticsForPartition" => {
            return Some(Parsed::Ignored(
                "column statistics of partitions are not replicated".to_owned(),
            ));
        }
        "TagResource" | "UntagResource" => {
            let arn = request.text("resourceArn").unwrap_or_default();
            let path = arn.splitn(6, ':').nth(5).unwrap_or_default();
            let mut words = path.split('/').map(str::to_owned);
            let kind = words.next().unwrap_or_default();
            let names: Vec<Name> = words.filter_map(|word| Name::new(&word).ok()).collect();
            let subject = match (kind.as_str(), names.as_slice()) {
                ("database", [database]) => Subject::Database(database.clone()),
                ("table", [database, table]) => {
                    Subject::Table(TableId::new(database.clone(), table.clone()))
                }
                _ => {
                    return Some(Parsed::Ignored(
                        "the tagged resource is neither a database nor a table".to_owned(),
                    ));
                }
            };
            scope.add(
                subject,
                ReadRequest::for_facets(&[Facet::Definition, Facet::GlueTags]),
            );
        }
        _ => return None,
    }
    Some(Parsed::Scope(scope))
}

/// The facets that a call on a table may have changed.
fn facets_of_table_call(name: &str) -> &'static [Facet] {
    match name {
        "CreatePartitionIndex" | "DeletePartitionIndex" => &[Facet::Definition, Facet::Indexes],
        "UpdateColumnStatisticsForTable" | "DeleteColumnStatisticsForTable" => {
            &[Facet::Definition, Facet::Statistics]
        }
        "UpdateTable" => &TABLE_ITSELF,
        _ if name.contains("Partition") => &[Facet::Definition, Facet::Partitions],
        _ => &WHOLE_TABLE,
    }
}

/// Returns the values of the partitions that a call names, or `None` unless every entry names
/// its partition: CloudTrail truncates large requests.
fn partition_values(request: LenientJson<'_>, name: &str) -> Option<BTreeSet<Vec<String>>> {
    let values = |list: LenientJson<'_>| -> Option<Vec<String>> {
        let values: Option<Vec<String>> = list.items().map(LenientJson::as_text).collect();
        values.filter(|values| !values.is_empty())
    };
    let all = |lists: Vec<LenientJson<'_>>| -> Option<BTreeSet<Vec<String>>> {
        let named: Option<BTreeSet<Vec<String>>> = lists.into_iter().map(values).collect();
        named.filter(|named| !named.is_empty())
    };
    let entries = |key: &str, inner: &str| {
        let entries = request.get(key).items();
        entries.map(|entry| entry.get(inner)).collect::<Vec<_>>()
    };
    match name {
        "CreatePartition" => all(vec![partition_input_values(request)]),
        "BatchCreatePartition" => all(entries("partitionInputList", "values")),
        "UpdatePartition" => all(vec![
            request.get("partitionValueList"),
            partition_input_values(request),
        ]),
        "BatchUpdatePartition" => {
            let mut lists = entries("entries", "partitionValueList");
            lists.extend(request.get("entries").items().map(partition_input_values));
            all(lists)
        }
        "DeletePartition" => all(vec![request.get("partitionValues")]),
        "BatchDeletePartition" => all(entries("partitionsToDelete", "values")),
        _ => None,
    }
}

/// The values in the `partitionInput` of a request.
fn partition_input_values(parent: LenientJson<'_>) -> LenientJson<'_> {
    parent.get("partitionInput").get("values")
}

fn deletes_partitions(name: &str) -> bool {
    matches!(name, "DeletePartition" | "BatchDeletePartition")
}

fn table_names(request: LenientJson<'_>, name: &str) -> Vec<Name> {
    match name {
        "BatchDeleteTable" => request.names("tablesToDelete"),
        "CreateTable" | "UpdateTable" => {
            let named = request.get("tableInput").name("name");
            named.or_else(|| request.name("name")).into_iter().collect()
        }
        "DeleteTable" => request.name("name").into_iter().collect(),
        _ => request.name("tableName").into_iter().collect(),
    }
}

/// The scope that the ARNs of a record name, or the whole catalog if they name nothing.
fn scope_of_arns(record: LenientJson<'_>, name: &str) -> Scope {
    let mut scope = Scope::default();
    let arns = record.get("resources").items();
    for arn in arns.filter_map(|resource| resource.text("ARN")) {
        let Some((_, path)) = arn.split_once(":table/") else {
            continue;
        };
        if let Some((database, table)) = path.split_once('/')
            && let (Ok(database), Ok(table)) = (Name::new(database), Name::new(table))
        {
            let read_request = ReadRequest {
                deletion_named: name == "DeleteTable",
                partition_deletion_named: deletes_partitions(name),
                ..ReadRequest::for_facets(facets_of_table_call(name))
            };
            scope.add(Subject::Table(TableId::new(database, table)), read_request);
        }
    }
    if !scope.is_empty() {
        return scope;
    }
    let arns = record.get("resources").items();
    for arn in arns.filter_map(|resource| resource.text("ARN")) {
        if let Some((_, database)) = arn.split_once(":database/")
            && let Ok(database) = Name::new(database)
        {
            let read_request = ReadRequest {
                deletion_named: name == "DeleteDatabase",
                ..ReadRequest::for_facets(&WHOLE_DATABASE)
            };
            scope.add(Subject::Database(database), read_request);
        }
    }
    if scope.is_empty() {
        return Scope::catalog();
    }
    scope
}
