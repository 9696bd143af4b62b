//! Parses API calls that CloudTrail recorded.
//!
//! Request parameters may be omitted, truncated, spelled with other case, or hold keys that the
//! API does not have. They only serve to find which object changed. If they do not name it,
//! `resources[].ARN` is used; if that names nothing either, the scope is the whole database. Only
//! a record without parameters, which CloudTrail omits from large calls, leads to the whole
//! catalog. A record whose parameters name nothing that can be read is not recognized: the names
//! are chosen by the caller, who must not be able to request a scan of the catalog with each call.

use super::cloudtrail_record::{arns, is_omitted, is_own_call, no_valid_name};
use super::lenient_json::LenientJson;
use super::own_catalog::{self, ArnTarget};
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
    let event_name = record.text("eventName").unwrap_or_default();
    if let Some(reason) = ignore_reason(record, event_context) {
        return Ok(Parsed::Ignored(reason));
    }
    match source.as_str() {
        "glue.amazonaws.com" => parse_glue_call(record, &event_name, event_context),
        "lakeformation.amazonaws.com" => {
            let mut parsed = match is_heartbeat_without_parameters(record, event_context) {
                true => scope_of_heartbeat()?,
                false => cloudtrail_lakeformation::parse(record, &event_name, event_context)?,
            };
            if let (Parsed::Scope(scope), true) = (&mut parsed, is_heartbeat(record, event_context))
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
    if record.get("errorCode").exists() {
        let code = record.text("errorCode").unwrap_or_default();
        return Some(format!("the call failed with {}", quoted(&code)));
    }
    if record.text("readOnly").as_deref() == Some("true") {
        return Some("the call is read-only".to_owned());
    }
    if is_own_call(record, event_context) && !is_heartbeat(record, event_context) {
        return Some("it is a call of Twinlake".to_owned());
    }
    let recipient = record.text("recipientAccountId");
    recipient
        .filter(|account| *account != event_context.account)
        .map(|account| format!("it is the copy of account {}", quoted(&account)))
}

/// Whether the call is the heartbeat's change of its data cells filter.
fn is_heartbeat(record: LenientJson<'_>, event_context: &EventContext) -> bool {
    let data = record.get("requestParameters").get("tableData");
    let named = data.name("databaseName").zip(data.name("tableName"));
    named.is_some_and(|(database, table)| heartbeat::is_table(&TableId::new(database, table)))
        || is_heartbeat_without_parameters(record, event_context)
}

/// Whether the call is the heartbeat's change of its data cells filter, in a record without the
/// parameters of the call (D-6). Twinlake changes no other filter in the primary.
fn is_heartbeat_without_parameters(record: LenientJson<'_>, event_context: &EventContext) -> bool {
    let request = record.get("requestParameters");
    let event_name = record.text("eventName").unwrap_or_default();
    let changes_filter = ["CreateDataCellsFilter", "UpdateDataCellsFilter"];
    changes_filter.contains(&event_name.as_str())
        && (is_omitted(request) || is_omitted(request.get("tableData")))
        && is_own_call(record, event_context)
}

/// What a change of the heartbeat's filter leads to.
fn scope_of_heartbeat() -> Result<Parsed, UnrecognizedEvent> {
    let name = |text| Name::new(text).map_err(|e| UnrecognizedEvent(e.to_string()));
    let id = TableId::new(name(heartbeat::DATABASE)?, name(heartbeat::TABLE)?);
    let facets = [Facet::Definition, Facet::Grants, Facet::DataCellsFilters];
    let mut scope = Scope::default();
    scope.add(Subject::Table(id), ReadRequest::for_facets(&facets));
    Ok(Parsed::Scope(scope))
}

fn parse_glue_call(
    record: LenientJson<'_>,
    event_name: &str,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let request = record.get("requestParameters");
    if let Some(reason) = own_catalog::foreign_id(request, event_context) {
        return Ok(Parsed::Ignored(reason));
    }
    match event_name {
        "CreateUserDefinedFunction" | "UpdateUserDefinedFunction" | "DeleteUserDefinedFunction" => {
            return parse_function_call(record, event_name, event_context);
        }
        "UpdateColumnStatisticsForPartition" | "DeleteColumnStatisticsForPartition" => {
            return Ok(Parsed::Ignored(
                "column statistics of partitions are not replicated".to_owned(),
            ));
        }
        "TagResource" | "UntagResource" => {
            return parse_tagging(request, event_name, event_context);
        }
        _ => {}
    }
    let (database, tables) = match event_name {
        "CreateDatabase" => (request.get("databaseInput").name("name"), Vec::new()),
        "UpdateDatabase" | "DeleteDatabase" => (request.name("name"), Vec::new()),
        _ => (
            request.name("databaseName"),
            table_names(request, event_name),
        ),
    };
    let Some(database) = database else {
        return parse_arns(record, event_name, None, event_context);
    };
    let is_database_call = matches!(
        event_name,
        "CreateDatabase" | "UpdateDatabase" | "DeleteDatabase"
    );
    if tables.is_empty() && !is_database_call {
        return parse_arns(record, event_name, Some(database), event_context);
    }
    let foreign = own_catalog::foreign_arn(&arns(record), &database, &tables, event_context);
    if let Some(reason) = foreign {
        return Ok(Parsed::Ignored(reason));
    }
    let scope = match is_database_call {
        true => scope_of_database_call(database, event_name),
        false => scope_of_table_call(request, database, tables, event_name),
    };
    Ok(Parsed::Scope(scope))
}

fn scope_of_database_call(database: Name, event_name: &str) -> Scope {
    let read_request = match event_name {
        "DeleteDatabase" => ReadRequest {
            deletion_named: true,
            ..ReadRequest::for_facets(&WHOLE_DATABASE)
        },
        _ => ReadRequest::for_facets(&DATABASE_ITSELF),
    };
    let mut scope = Scope::default();
    scope.add(Subject::Database(database), read_request);
    scope
}

fn scope_of_table_call(
    request: LenientJson<'_>,
    database: Name,
    tables: Vec<Name>,
    event_name: &str,
) -> Scope {
    let read_request = match partition_values(request, event_name) {
        Some(values) => ReadRequest::for_partitions(values, deletes_partitions(event_name)),
        None => ReadRequest {
            deletion_named: matches!(event_name, "DeleteTable" | "BatchDeleteTable"),
            unnamed_partitions_deleted: deletes_partitions(event_name),
            ..ReadRequest::for_facets(facets_of_table_call(event_name))
        },
    };
    let mut scope = Scope::default();
    for table in tables {
        let id = TableId::new(database.clone(), table);
        scope.add(Subject::Table(id), read_request.clone());
    }
    scope
}

fn parse_function_call(
    record: LenientJson<'_>,
    event_name: &str,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let request = record.get("requestParameters");
    let named = request.name("functionName");
    let function = named.or_else(|| request.get("functionInput").name("functionName"));
    let (database, function) = match (request.name("databaseName"), function) {
        (Some(database), Some(function)) => (database, function),
        (database, _) => return parse_arns(record, event_name, database, event_context),
    };
    let names = std::slice::from_ref(&function);
    let foreign = own_catalog::foreign_arn(&arns(record), &database, names, event_context);
    if let Some(reason) = foreign {
        return Ok(Parsed::Ignored(reason));
    }
    let read_request = ReadRequest {
        deletion_named: event_name == "DeleteUserDefinedFunction",
        ..ReadRequest::for_facets(&[Facet::Definition])
    };
    let mut scope = Scope::default();
    scope.add(
        Subject::Function(FunctionId::new(database, function)),
        read_request,
    );
    Ok(Parsed::Scope(scope))
}

/// Parses a change of the Glue tags of a resource.
fn parse_tagging(
    request: LenientJson<'_>,
    event_name: &str,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let arn = request.text("resourceArn").unwrap_or_default();
    let subject = match own_catalog::arn_target(&arn, event_context) {
        ArnTarget::Database(database) => Subject::Database(database),
        ArnTarget::Table(id) => Subject::Table(id),
        ArnTarget::OtherCatalog(reason) => return Ok(Parsed::Ignored(reason)),
        ArnTarget::InvalidName => return Err(no_valid_name(event_name)),
        ArnTarget::Other => {
            return Ok(Parsed::Ignored(
                "the tagged resource is neither a database nor a table".to_owned(),
            ));
        }
    };
    let mut scope = Scope::default();
    scope.add(
        subject,
        ReadRequest::for_facets(&[Facet::Definition, Facet::GlueTags]),
    );
    Ok(Parsed::Scope(scope))
}

/// The facets that a call on a table may have changed.
fn facets_of_table_call(event_name: &str) -> &'static [Facet] {
    match event_name {
        "CreatePartitionIndex" | "DeletePartitionIndex" => &[Facet::Definition, Facet::Indexes],
        "UpdateColumnStatisticsForTable" | "DeleteColumnStatisticsForTable" => {
            &[Facet::Definition, Facet::Statistics]
        }
        "UpdateTable" => &TABLE_ITSELF,
        _ if event_name.contains("Partition") => &[Facet::Definition, Facet::Partitions],
        _ => &WHOLE_TABLE,
    }
}

/// Returns the values of the partitions that a call names, or `None` unless every entry names
/// its partition: CloudTrail truncates large requests.
fn partition_values(request: LenientJson<'_>, event_name: &str) -> Option<BTreeSet<Vec<String>>> {
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
    match event_name {
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

fn deletes_partitions(event_name: &str) -> bool {
    matches!(event_name, "DeletePartition" | "BatchDeletePartition")
}

fn table_names(request: LenientJson<'_>, event_name: &str) -> Vec<Name> {
    match event_name {
        "BatchDeleteTable" => request.names("tablesToDelete"),
        "CreateTable" | "UpdateTable" => {
            let named = request.get("tableInput").name("name");
            named.or_else(|| request.name("name")).into_iter().collect()
        }
        "DeleteTable" => request.name("name").into_iter().collect(),
        _ => request.name("tableName").into_iter().collect(),
    }
}

/// Whether a request has a text where the name of a table or a function is expected.
fn has_object_name(request: LenientJson<'_>) -> bool {
    let texts = ["name", "tableName", "functionName"].map(|key| request.text(key));
    let inputs = [
        request.get("tableInput").text("name"),
        request.get("functionInput").text("functionName"),
    ];
    let listed = request.get("tablesToDelete").items().next();
    texts.iter().chain(&inputs).any(Option::is_some) || listed.is_some()
}

/// Parses a record by its ARNs, because its parameters have no valid names, or only that of a
/// database.
///
/// An ARN beside those of another catalog proves no deletion: the call was on one of them.
fn parse_arns(
    record: LenientJson<'_>,
    event_name: &str,
    database: Option<Name>,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let arns = arns(record);
    let targets: Vec<ArnTarget> = arns
        .iter()
        .map(|arn| own_catalog::arn_target(arn, event_context))
        .collect();
    let other_catalog = targets.iter().find_map(|target| match target {
        ArnTarget::OtherCatalog(reason) => Some(reason.clone()),
        ArnTarget::Database(_)
        | ArnTarget::Table(_)
        | ArnTarget::InvalidName
        | ArnTarget::Other => None,
    });
    let scope = scope_of_targets(&targets, event_name, other_catalog.is_none());
    if !scope.is_empty() {
        return Ok(Parsed::Scope(scope));
    }
    if let Some(reason) = other_catalog {
        return Ok(Parsed::Ignored(reason));
    }
    let request = record.get("requestParameters");
    if targets.contains(&ArnTarget::InvalidName) || has_object_name(request) {
        return Err(no_valid_name(event_name));
    }
    match database {
        Some(database) => Ok(Parsed::Scope(Scope::database(database))),
        None if is_omitted(request) => Ok(Parsed::Scope(Scope::catalog())),
        None => Err(no_valid_name(event_name)),
    }
}

/// The tables among the targets, or else the databases.
fn scope_of_targets(targets: &[ArnTarget], event_name: &str, may_name_deletion: bool) -> Scope {
    let mut scope = Scope::default();
    for target in targets {
        if let ArnTarget::Table(id) = target {
            let read_request = ReadRequest {
                deletion_named: may_name_deletion && event_name == "DeleteTable",
                unnamed_partitions_deleted: may_name_deletion && deletes_partitions(event_name),
                ..ReadRequest::for_facets(facets_of_table_call(event_name))
            };
            scope.add(Subject::Table(id.clone()), read_request);
        }
    }
    if !scope.is_empty() || targets.contains(&ArnTarget::InvalidName) {
        return scope;
    }
    for target in targets {
        if let ArnTarget::Database(database) = target {
            let read_request = ReadRequest {
                deletion_named: may_name_deletion && event_name == "DeleteDatabase",
                ..ReadRequest::for_facets(&WHOLE_DATABASE)
            };
            scope.add(Subject::Database(database.clone()), read_request);
        }
    }
    scope
}
