//! The heartbeat: what the primary changes each minute, so that the lag of its changes can
//! be told in the standby.

use crate::ports::WriteRegion;
use std::collections::BTreeSet;
use twinlake_core::catalog::{CellsFilter, FilterColumns, Part};
use twinlake_core::heartbeat::{DATABASE, FILTER, TABLE};
use twinlake_core::name::NameError;
use twinlake_core::{
    Column, Database, Fault, FaultKind, Name, StorageDescriptor, Subject, Table, TableId, Timestamp,
};

/// Changes the heartbeat's table, and the data cells filter on it. Makes both where they are
/// not there yet.
///
/// # Errors
/// A call failed. What the first one told of is a heartbeat all the same.
pub async fn beat<R: WriteRegion>(region: &R, now: Timestamp) -> Result<(), Fault> {
    let id = id().map_err(|e| {
        Fault::new(
            FaultKind::Invalid,
            "heartbeat",
            region.region(),
            e.to_string(),
        )
    })?;
    let table = table(&id, now);
    match region.update_table(&id.database, &table, None).await {
        Err(fault) if fault.kind == FaultKind::Absent => make(region, &id, &table).await?,
        result => result?,
    }
    let filter = Part::Filter(CellsFilter {
        name: FILTER.to_owned(),
        rows: Some(format!("{FILTER} = '{}'", now.0)),
        columns: FilterColumns::Only(BTreeSet::from([id.table.clone()])),
    });
    let results = region.put_parts(&Subject::Table(id), &[&filter]).await?;
    results.into_iter().collect()
}

fn id() -> Result<TableId, NameError> {
    Ok(TableId::new(Name::new(DATABASE)?, Name::new(TABLE)?))
}

async fn make<R: WriteRegion>(region: &R, id: &TableId, table: &Table) -> Result<(), Fault> {
    let database = Database {
        description: Some("Twinlake's heartbeat: the lag of changes is told by it.".to_owned()),
        // Closed: nobody is granted anything on it.
        create_table_default_permissions: Some(Vec::new()),
        ..Database::named(id.database.clone())
    };
    for made in [
        region.create_database(&database).await,
        region.create_table(&id.database, table, &[]).await,
    ] {
        match made {
            Err(fault) if fault.kind == FaultKind::AlreadyDone => {}
            result => result?,
        }
    }
    Ok(())
}

fn table(id: &TableId, now: Timestamp) -> Table {
    let column = Column {
        name: FILTER.to_owned(),
        kind: Some("string".to_owned()),
        comment: None,
        parameters: [].into(),
    };
    Table {
        description: Some("It is changed each minute, and holds nothing.".to_owned()),
        parameters: [("twinlake.beat".to_owned(), now.to_string())].into(),
        storage_descriptor: Some(StorageDescriptor {
            columns: vec![column],
            ..StorageDescriptor::default()
        }),
        ..Table::named(id.table.clone())
    }
}
