//! Glue's own catalog events.
//!
//! Names are taken from `detail`; the ARN in `resources` is not always that of
//! the object. The text in `changedPartitions` comes in two formats and cannot be
//! reversed, so partitions are listed again.

use super::loose::Loose;
use super::{Heard, Refused, shown};
use crate::heartbeat::{self, Channel};
use crate::name::TableId;
use crate::scope::{
    DATABASE_ITSELF, Facet, Look, Scope, Subject, TABLE_ITSELF, WHOLE_DATABASE, WHOLE_TABLE,
};

pub(super) fn database(event: Loose<'_>) -> Result<Heard, Refused> {
    let detail = event.get("detail");
    // UpdateTable was once documented under this type, and tells its table apart.
    if detail.get("tableName").exists() {
        return table(event);
    }
    let database = detail
        .name("databaseName")
        .ok_or_else(|| Refused(format!("no valid database name in {}", change(detail))))?;
    let tables = detail.names("changedTables");
    let kind = detail.text("typeOfChange").unwrap_or_default();
    let deletes_tables = matches!(kind.as_str(), "DeleteTable" | "BatchDeleteTable");
    let mut scope = Scope::default();
    for table in tables {
        let look = Look {
            deletion_named: deletes_tables,
            ..Look::at(&WHOLE_TABLE)
        };
        let id = TableId::new(database.clone(), table);
        scope.look(Subject::Table(id), look);
    }
    if scope.is_empty() {
        let look = match kind.as_str() {
            "CreateDatabase" | "UpdateDatabase" => Look::at(&DATABASE_ITSELF),
            "DeleteDatabase" => Look {
                deletion_named: true,
                ..Look::at(&WHOLE_DATABASE)
            },
            _ => Look::at(&WHOLE_DATABASE),
        };
        scope.look(Subject::Database(database), look);
    }
    Ok(Heard::Look(scope))
}

pub(super) fn table(event: Loose<'_>) -> Result<Heard, Refused> {
    let detail = event.get("detail");
    let (Some(database), Some(table)) = (detail.name("databaseName"), detail.name("tableName"))
    else {
        return Err(Refused(format!(
            "no valid table name in {}",
            change(detail)
        )));
    };
    let look = match detail.text("typeOfChange").unwrap_or_default().as_str() {
        "CreatePartition" | "BatchCreatePartition" | "UpdatePartition" | "BatchUpdatePartition" => {
            Look::at(&[Facet::Definition, Facet::Partitions])
        }
        "DeletePartition" | "BatchDeletePartition" => Look {
            partition_deletion_named: true,
            ..Look::at(&[Facet::Definition, Facet::Partitions])
        },
        "UpdateTable" => Look::at(&TABLE_ITSELF),
        _ => Look::at(&WHOLE_TABLE),
    };
    let id = TableId::new(database, table);
    let mut scope = Scope::default();
    if heartbeat::is_table(&id)
        && let Some(sent) = event.time("time")
    {
        scope.beats.insert(Channel::Catalog, sent);
    }
    scope.look(Subject::Table(id), look);
    Ok(Heard::Look(scope))
}

fn change(detail: Loose<'_>) -> String {
    shown(&detail.text("typeOfChange").unwrap_or_default())
}
