//! `dismiss`: objects that never come are no longer waited for.

use crate::args::{Common, DismissArgs};
use crate::connect::{Connection, Store, scope};
use crate::store::write_json;
use crate::{CliError, Left, out};
use twinlake_core::{Fault, Subject, TableId};
use twinlake_engine::{Journal, replication};

pub(crate) async fn dismiss(common: &Common, args: &DismissArgs) -> Result<Left, CliError> {
    let connection = Connection::open(common).await?;
    let mut tables = Vec::new();
    for subject in scope(&args.tables)?.looks.into_keys() {
        match subject {
            Subject::Table(id) => tables.push(id),
            other @ (Subject::Catalog
            | Subject::Lake(_)
            | Subject::Database(_)
            | Subject::Function(_)) => {
                let problem = format!("{other} is no table; name one as DATABASE.TABLE");
                return Err(CliError::Usage(problem));
            }
        }
    }
    match &connection.store {
        Store::Deployed(ledger) => forget(ledger, &tables).await?,
        Store::File(file, ledger) => {
            forget(ledger, &tables).await?;
            write_json(file, &ledger.book())?;
        }
        Store::None(_) => {
            let problem = "no ledger is deployed, so nothing is waited for".to_owned();
            return Err(CliError::Usage(problem));
        }
    }
    Ok(Left::Nothing)
}

async fn forget<L: Journal>(ledger: &L, tables: &[TableId]) -> Result<(), Fault> {
    let pendings = ledger.pendings().await?;
    for table in tables {
        let Some((pending, version)) = pendings.get(table) else {
            let line = format!("Nothing is waited for of {table}.");
            out::print(&twinlake_core::render::escape(&line));
            continue;
        };
        let (_, what) = replication::told(pending);
        let line = match ledger.put_pending(table, None, Some(*version)).await? {
            true => format!("No longer waited for of {table}: {what}."),
            false => format!("More is missing of {table} meanwhile; look at it again."),
        };
        out::print(&twinlake_core::render::escape(&line));
    }
    Ok(())
}
