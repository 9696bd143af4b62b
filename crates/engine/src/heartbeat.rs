//! The heartbeat: a change that the primary makes each minute, from which the standby measures the
//! lag of each channel.

use crate::ports::WriteRegion;
use std::collections::BTreeSet;
use twinlake_core::catalog::{Attachment, DataCellsFilter, FilterColumns};
use twinlake_core::heartbeat::{DATABASE, FILTER, TABLE};
use twinlake_core::name::NameError;
use twinlake_core::{
    CallError, CallErrorKind, Column, Database, Name, StorageDescriptor, Subject, Table, TableId,
    Timestamp,
};

/// Updates the heartbeat table and the data cells filter on it. Creates them if they do not exist,
/// whether the service reports a missing table as missing or as denied (D-2).
///
/// # Errors
/// A call failed. If the first call succeeded, its event is still a heartbeat of the catalog
/// channel.
pub async fn write_heartbeat<R: WriteRegion>(region: &R, now: Timestamp) -> Result<(), CallError> {
    let id = id().map_err(|e| {
        CallError::new(
            CallErrorKind::Invalid,
            "heartbeat",
            region.region(),
            e.to_string(),
        )
    })?;
    let table = table(&id, now);
    match region.update_table(&id.database, &table, None).await {
        Err(refused)
            if matches!(
                refused.kind,
                CallErrorKind::NotFound | CallErrorKind::Denied
            ) =>
        {
            create_heartbeat_table(region, &id, &table, refused).await?;
        }
        result => result?,
    }
    let filter = Attachment::DataCellsFilter(DataCellsFilter {
        name: FILTER.to_owned(),
        rows: Some(format!("{FILTER} = '{}'", now.millis())),
        columns: FilterColumns::Only(BTreeSet::from([id.table.clone()])),
    });
    let results = region
        .put_attachments(&Subject::Table(id), &[&filter], true)
        .await?;
    results.into_iter().collect()
}

fn id() -> Result<TableId, NameError> {
    Ok(TableId::new(Name::new(DATABASE)?, Name::new(TABLE)?))
}

/// Creates the database and the table, unless they exist. `refused` is the error of the update: a denial
/// of a table that exists is returned, because nothing was written.
async fn create_heartbeat_table<R: WriteRegion>(
    region: &R,
    id: &TableId,
    table: &Table,
    refused: CallError,
) -> Result<(), CallError> {
    let database = Database {
        description: Some(
            "Twinlake's heartbeat, from which replication lag is measured.".to_owned(),
        ),
        // No principal is granted permissions on new tables by default.
        create_table_default_permissions: Some(Vec::new()),
        ..Database::named(id.database.clone())
    };
    match region.create_database(&database).await {
        Err(error) if error.kind == CallErrorKind::AlreadyInState => {}
        result => result?,
    }
    match region.create_table(&id.database, table, &[]).await {
        Err(error) if error.kind == CallErrorKind::AlreadyInState => match refused.kind {
            CallErrorKind::Denied => Err(refused),
            CallErrorKind::NotFound
            | CallErrorKind::AlreadyInState
            | CallErrorKind::Contended
            | CallErrorKind::NotPropagated
            | CallErrorKind::Invalid
            | CallErrorKind::Unsupported
            | CallErrorKind::Unavailable => Ok(()),
        },
        result => result,
    }
}

fn table(id: &TableId, now: Timestamp) -> Table {
    let column = Column {
        name: FILTER.to_owned(),
        kind: Some("string".to_owned()),
        comment: None,
        parameters: [].into(),
    };
    Table {
        description: Some("Updated each minute by Twinlake. Contains no data.".to_owned()),
        parameters: [("twinlake.heartbeat".to_owned(), now.to_string())].into(),
        storage_descriptor: Some(StorageDescriptor {
            columns: vec![column],
            ..StorageDescriptor::default()
        }),
        ..Table::named(id.table.clone())
    }
}
