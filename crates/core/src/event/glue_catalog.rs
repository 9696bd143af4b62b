//! Parses the Glue Data Catalog events that Glue itself sends.
//!
//! Names are taken from `detail`. These events have no catalog id, and the ARN in `resources` is not
//! always that of the object: it only serves to refuse events of other catalogs. The text in
//! `changedPartitions` has two formats and cannot be parsed back into partition values, so all
//! partitions of the table are listed.

use super::lenient_json::LenientJson;
use super::{EventContext, Parsed, UnrecognizedEvent, own_catalog, quoted};
use crate::heartbeat::{self, Channel};
use crate::name::{Name, TableId};
use crate::scope::{
    DATABASE_ITSELF, Facet, ReadRequest, Scope, Subject, TABLE_ITSELF, WHOLE_DATABASE, WHOLE_TABLE,
};

pub(super) fn database(
    event: LenientJson<'_>,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let detail = event.get("detail");
    // AWS once documented UpdateTable under this detail-type, with the table in `tableName`.
    if detail.get("tableName").exists() {
        return table(event, event_context);
    }
    let database = detail.name("databaseName").ok_or_else(|| {
        UnrecognizedEvent(format!("no valid database name in {}", change_type(detail)))
    })?;
    let tables = detail.names("changedTables");
    if tables.is_empty() && detail.get("changedTables").items().next().is_some() {
        return Err(UnrecognizedEvent(format!(
            "no valid table name in {}",
            change_type(detail)
        )));
    }
    if let Some(reason) = foreign_catalog(event, &database, &tables, event_context) {
        return Ok(Parsed::Ignored(reason));
    }
    let kind = detail.text("typeOfChange").unwrap_or_default();
    let deletes_tables = matches!(kind.as_str(), "DeleteTable" | "BatchDeleteTable");
    let mut scope = Scope::default();
    for table in tables {
        let read_request = ReadRequest {
            deletion_named: deletes_tables,
            ..ReadRequest::for_facets(&WHOLE_TABLE)
        };
        let id = TableId::new(database.clone(), table);
        scope.add(Subject::Table(id), read_request);
    }
    if scope.is_empty() {
        let read_request = match kind.as_str() {
            "CreateDatabase" | "UpdateDatabase" => ReadRequest::for_facets(&DATABASE_ITSELF),
            "DeleteDatabase" => ReadRequest {
                deletion_named: true,
                ..ReadRequest::for_facets(&WHOLE_DATABASE)
            },
            _ => ReadRequest::for_facets(&WHOLE_DATABASE),
        };
        scope.add(Subject::Database(database), read_request);
    }
    Ok(Parsed::Scope(scope))
}

pub(super) fn table(
    event: LenientJson<'_>,
    event_context: &EventContext,
) -> Result<Parsed, UnrecognizedEvent> {
    let detail = event.get("detail");
    let (Some(database), Some(table)) = (detail.name("databaseName"), detail.name("tableName"))
    else {
        return Err(UnrecognizedEvent(format!(
            "no valid table name in {}",
            change_type(detail)
        )));
    };
    let names = std::slice::from_ref(&table);
    if let Some(reason) = foreign_catalog(event, &database, names, event_context) {
        return Ok(Parsed::Ignored(reason));
    }
    let read_request = match detail.text("typeOfChange").unwrap_or_default().as_str() {
        "CreatePartition" | "BatchCreatePartition" | "UpdatePartition" | "BatchUpdatePartition" => {
            ReadRequest::for_facets(&[Facet::Definition, Facet::Partitions])
        }
        "DeletePartition" | "BatchDeletePartition" => ReadRequest {
            unnamed_partitions_deleted: true,
            ..ReadRequest::for_facets(&[Facet::Definition, Facet::Partitions])
        },
        "UpdateTable" => ReadRequest::for_facets(&TABLE_ITSELF),
        _ => ReadRequest::for_facets(&WHOLE_TABLE),
    };
    let id = TableId::new(database, table);
    let mut scope = Scope::default();
    if heartbeat::is_table(&id)
        && let Some(sent) = event.time("time")
    {
        scope.heartbeats.insert(Channel::Catalog, sent);
    }
    scope.add(Subject::Table(id), read_request);
    Ok(Parsed::Scope(scope))
}

/// Why an event is refused that is about another catalog.
fn foreign_catalog(
    event: LenientJson<'_>,
    database: &Name,
    tables: &[Name],
    event_context: &EventContext,
) -> Option<String> {
    let by_id = own_catalog::foreign_id(event.get("detail"), event_context);
    let resources = event.get("resources").items();
    let arns: Vec<String> = resources.filter_map(LenientJson::as_text).collect();
    by_id.or_else(|| own_catalog::foreign_arn(&arns, database, tables, event_context))
}

fn change_type(detail: LenientJson<'_>) -> String {
    quoted(&detail.text("typeOfChange").unwrap_or_default())
}
