//! API calls that CloudTrail recorded.
//!
//! Request parameters may be omitted, cut, re-cased or hold keys that the API
//! lacks. They only serve to find which object changed; where they do not,
//! `resources[].ARN` does, and where that does not either, the scope is the whole
//! database or the whole catalog.

use super::loose::Loose;
use super::{Heard, Listener, Refused, lake, shown};
use crate::heartbeat::{self, Channel};
use crate::name::{FunctionId, Name, TableId};
use crate::scope::{
    DATABASE_ITSELF, Facet, Look, Scope, Subject, TABLE_ITSELF, WHOLE_DATABASE, WHOLE_TABLE,
};
use std::collections::BTreeSet;

pub(super) fn parse(event: Loose<'_>, listener: &Listener) -> Result<Heard, Refused> {
    let record = event.get("detail");
    let source = record.text("eventSource").unwrap_or_default();
    let name = record.text("eventName").unwrap_or_default();
    if let Some(nothing) = no_news(record, listener) {
        return Ok(Heard::Nothing(nothing));
    }
    match source.as_str() {
        "glue.amazonaws.com" => Ok(glue(record, &name)),
        "lakeformation.amazonaws.com" => {
            let mut heard = lake::parse(record, &name, listener);
            if let (Heard::Look(scope), true) = (&mut heard, is_beat(record))
                && let Some(sent) = record.time("eventTime")
            {
                scope.beats.insert(Channel::Permissions, sent);
            }
            Ok(heard)
        }
        _ => Err(Refused(format!("CloudTrail source {}", shown(&source)))),
    }
}

/// Why a record says nothing that needs a look, if so.
fn no_news(record: Loose<'_>, listener: &Listener) -> Option<String> {
    if let Some(code) = record.text("errorCode") {
        return Some(format!("the call failed with {}", shown(&code)));
    }
    if record.text("readOnly").as_deref() == Some("true") {
        return Some("the call only read".to_owned());
    }
    if is_ours(record, listener) && !is_beat(record) {
        return Some("it is our own call".to_owned());
    }
    let recipient = record.text("recipientAccountId");
    recipient
        .filter(|account| *account != listener.account)
        .map(|account| format!("it is a copy for account {}", shown(&account)))
}

/// Whether one of our roles made the call.
pub(super) fn is_ours(record: Loose<'_>, listener: &Listener) -> bool {
    let session = record.get("userIdentity").get("sessionContext");
    let issuer = session.get("sessionIssuer").text("arn");
    issuer.is_some_and(|issuer| listener.ours.contains(&issuer))
}

/// Whether the call is the heartbeat's change of permissions.
fn is_beat(record: Loose<'_>) -> bool {
    let data = record.get("requestParameters").get("tableData");
    let named = data.name("databaseName").zip(data.name("tableName"));
    named.is_some_and(|(database, table)| heartbeat::is_table(&TableId::new(database, table)))
}

fn glue(record: Loose<'_>, name: &str) -> Heard {
    let request = record.get("requestParameters");
    if let Some(heard) = apart(request, name) {
        return heard;
    }
    let deletes = |kinds: &[&str]| kinds.contains(&name);
    let database = match name {
        "CreateDatabase" => request.get("databaseInput").name("name"),
        "UpdateDatabase" | "DeleteDatabase" => request.name("name"),
        _ => request.name("databaseName"),
    };
    let mut scope = Scope::default();
    let Some(database) = database else {
        return Heard::Look(from_arns(record, name));
    };
    match name {
        "CreateDatabase" | "UpdateDatabase" => {
            scope.look(Subject::Database(database), Look::at(&DATABASE_ITSELF));
        }
        "DeleteDatabase" => {
            let look = Look {
                deletion_named: true,
                ..Look::at(&WHOLE_DATABASE)
            };
            scope.look(Subject::Database(database), look);
        }
        _ => {
            let tables = glue_tables(request, name);
            if tables.is_empty() {
                return Heard::Look(from_arns(record, name));
            }
            let look = match named_partitions(request, name) {
                Some(values) => Look::at_values(values, deletes_partitions(name)),
                None => Look {
                    deletion_named: deletes(&["DeleteTable", "BatchDeleteTable"]),
                    partition_deletion_named: deletes_partitions(name),
                    ..Look::at(table_facets(name))
                },
            };
            for table in tables {
                let id = TableId::new(database.clone(), table);
                scope.look(Subject::Table(id), look.clone());
            }
        }
    }
    Heard::Look(scope)
}

/// Calls on what is neither a database nor a table.
fn apart(request: Loose<'_>, name: &str) -> Option<Heard> {
    let mut scope = Scope::default();
    match name {
        "CreateUserDefinedFunction" | "UpdateUserDefinedFunction" | "DeleteUserDefinedFunction" => {
            let named = request.name("functionName");
            let function = named.or_else(|| request.get("functionInput").name("functionName"));
            let (Some(database), Some(function)) = (request.name("databaseName"), function) else {
                return Some(Heard::Look(Scope::catalog()));
            };
            let look = Look {
                deletion_named: name == "DeleteUserDefinedFunction",
                ..Look::at(&[Facet::Definition])
            };
            scope.look(Subject::Function(FunctionId::new(database, function)), look);
        }
        "UpdateColumnStatisticsForPartition" | "DeleteColumnStatisticsForPartition" => {
            return Some(Heard::Nothing(
                "statistics of partitions are not replicated by this version".to_owned(),
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
                    return Some(Heard::Nothing(
                        "it tags no database and no table".to_owned(),
                    ));
                }
            };
            scope.look(subject, Look::at(&[Facet::Definition, Facet::Tags]));
        }
        _ => return None,
    }
    Some(Heard::Look(scope))
}

/// What a call on a table may have changed.
fn table_facets(name: &str) -> &'static [Facet] {
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

/// The partitions that a call names by their values. `None` unless each entry names
/// one: CloudTrail cuts large requests.
fn named_partitions(request: Loose<'_>, name: &str) -> Option<BTreeSet<Vec<String>>> {
    let values = |list: Loose<'_>| -> Option<Vec<String>> {
        let values: Option<Vec<String>> = list.items().map(Loose::as_text).collect();
        values.filter(|values| !values.is_empty())
    };
    let all = |lists: Vec<Loose<'_>>| -> Option<BTreeSet<Vec<String>>> {
        let named: Option<BTreeSet<Vec<String>>> = lists.into_iter().map(values).collect();
        named.filter(|named| !named.is_empty())
    };
    let entries = |key: &str, inner: &str| {
        let entries = request.get(key).items();
        entries.map(|entry| entry.get(inner)).collect::<Vec<_>>()
    };
    match name {
        "CreatePartition" => all(vec![input(request)]),
        "BatchCreatePartition" => all(entries("partitionInputList", "values")),
        "UpdatePartition" => all(vec![request.get("partitionValueList"), input(request)]),
        "BatchUpdatePartition" => {
            let mut lists = entries("entries", "partitionValueList");
            lists.extend(request.get("entries").items().map(input));
            all(lists)
        }
        "DeletePartition" => all(vec![request.get("partitionValues")]),
        "BatchDeletePartition" => all(entries("partitionsToDelete", "values")),
        _ => None,
    }
}

/// The values of the partition that is sent.
fn input(holder: Loose<'_>) -> Loose<'_> {
    holder.get("partitionInput").get("values")
}

fn deletes_partitions(name: &str) -> bool {
    matches!(name, "DeletePartition" | "BatchDeletePartition")
}

fn glue_tables(request: Loose<'_>, name: &str) -> Vec<Name> {
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

/// The scope that the ARNs of a record name; without any, the whole catalog.
fn from_arns(record: Loose<'_>, name: &str) -> Scope {
    let mut scope = Scope::default();
    let arns = record.get("resources").items();
    for arn in arns.filter_map(|resource| resource.text("ARN")) {
        let Some((_, path)) = arn.split_once(":table/") else {
            continue;
        };
        if let Some((database, table)) = path.split_once('/')
            && let (Ok(database), Ok(table)) = (Name::new(database), Name::new(table))
        {
            let look = Look {
                deletion_named: name == "DeleteTable",
                partition_deletion_named: deletes_partitions(name),
                ..Look::at(table_facets(name))
            };
            scope.look(Subject::Table(TableId::new(database, table)), look);
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
            let look = Look {
                deletion_named: name == "DeleteDatabase",
                ..Look::at(&WHOLE_DATABASE)
            };
            scope.look(Subject::Database(database), look);
        }
    }
    if scope.is_empty() {
        return Scope::catalog();
    }
    scope
}
