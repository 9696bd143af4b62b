//! `twinlake pending`: manages S3 objects that a table waits for.

use crate::common_options::{LedgerOptions, WithLedger};
use crate::connect::{LedgerConnection, WithoutLedger, scope};
use crate::{CliError, CommandOutcome, output};
use clap::{Args, Subcommand};
use twinlake_core::{CallError, Subject, TableId, render};
use twinlake_engine::{StatsStore, s3_replication};

/// The commands of `twinlake pending`.
#[derive(Debug, Subcommand)]
pub enum PendingCommand {
    /// Stop waiting for S3 objects of tables that S3 did not replicate
    ///
    /// Use it for objects that have been deleted in the primary meanwhile, so that they never
    /// arrive. `twinlake status TABLE` shows the objects. Exits with 0 if each table waits for no
    /// object, and with 2 if more objects were reported meanwhile.
    Dismiss(WithLedger<DismissArgs>),
}

/// Arguments of `twinlake pending dismiss`.
#[derive(Debug, Clone, Args)]
pub struct DismissArgs {
    /// Tables, as DATABASE.TABLE
    ///
    /// A name that contains a dot stands in quotation marks: '"fin.hr".pay'.
    #[arg(value_name = "TABLE", required = true)]
    pub tables: Vec<String>,
}

pub(crate) async fn run(command: PendingCommand) -> Result<CommandOutcome, CliError> {
    match command {
        PendingCommand::Dismiss(WithLedger { ledger, args }) => dismiss(&ledger, &args).await,
    }
}

/// Why the command needs a ledger.
const NEEDS_LEDGER: &str = "without a ledger no objects are pending; name the deployed ledger with \
                            --region REGION";

async fn dismiss(ledger: &LedgerOptions, args: &DismissArgs) -> Result<CommandOutcome, CliError> {
    let without_ledger = WithoutLedger::Fails(NEEDS_LEDGER);
    let connection = LedgerConnection::open(ledger, without_ledger).await?;
    let mut tables = Vec::new();
    for subject in scope(&args.tables)?.read_requests.into_keys() {
        match subject {
            Subject::Table(id) => tables.push(id),
            other @ (Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Database(_)
            | Subject::Function(_)) => {
                let problem = format!("{other} is not a table; name a table as DATABASE.TABLE");
                return Err(CliError::Usage(problem));
            }
        }
    }
    let all_dismissed = dismiss_pending(&connection.ledger, &tables).await?;
    Ok(CommandOutcome::done_if(all_dismissed))
}

/// Removes the pending objects of the tables. Returns whether none of them has any left.
async fn dismiss_pending<L: StatsStore>(ledger: &L, tables: &[TableId]) -> Result<bool, CallError> {
    let all_pending = ledger.all_pending_objects().await?;
    let mut all_dismissed = true;
    for table in tables {
        let Some((pending, version)) = all_pending.get(table) else {
            let line = format!("No objects of {table} are pending.");
            output::print(&render::escape(&line));
            continue;
        };
        let (_, description) = s3_replication::describe_pending(pending);
        let dismissed = ledger
            .put_pending_objects(table, None, Some(*version))
            .await?;
        let line = match dismissed {
            true => format!("Dismissed the pending objects of {table}: {description}."),
            false => format!(
                "Not dismissed: more objects of {table} are missing since the command began. \
                 Run `twinlake status {table}` with the same options."
            ),
        };
        output::print(&render::escape(&line));
        all_dismissed &= dismissed;
    }
    Ok(all_dismissed)
}
