//! `twinlake approve-deletions`: applies the plan of objects with held deletions, with the
//! deletions.

use crate::commands::apply::{self, ApplyArgs};
use crate::commands::query::DomainOption;
use crate::common_options::Common;
use crate::connect::{LedgerConnection, STATUS_NEEDS_LEDGER, WithoutLedger};
use crate::status_snapshot::StatusSnapshot;
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use twinlake_core::name::ObjectName;
use twinlake_core::{Subject, render};

/// Arguments of `twinlake approve-deletions`.
#[derive(Debug, Clone, Args)]
pub struct ApproveDeletionsArgs {
    /// A database, or a table as DATABASE.TABLE [default: all objects with held deletions]
    ///
    /// A name that contains a dot stands in quotation marks: '"fin.hr".pay'. Naming an object here
    /// stands for the event of its deletion, where that is missing.
    #[arg(value_name = "OBJECT")]
    pub names: Vec<String>,
    /// Apply without asking for confirmation
    #[arg(long)]
    pub yes: bool,
}

/// Runs `apply` for the databases and tables with held deletions, without the deletion limit.
pub(crate) async fn run(
    common: &Common,
    args: &ApproveDeletionsArgs,
) -> Result<CommandOutcome, CliError> {
    let mut names = args.names.clone();
    let mut are_items_held = false;
    if names.is_empty() {
        let without_ledger = WithoutLedger::Fails(STATUS_NEEDS_LEDGER);
        let connection = LedgerConnection::open(&common.ledger, without_ledger).await?;
        let rows = StatusSnapshot::read(&connection, 0).await?.rows;
        let held = rows.values().filter(|row| row.over_deletion_limit);
        are_items_held = held
            .clone()
            .any(|row| matches!(row.subject, Subject::LakeFormation(_)));
        names = held
            .filter_map(|row| match &row.subject {
                Subject::Database(name) => Some(ObjectName::Database(name.clone()).to_string()),
                Subject::Table(id) => Some(ObjectName::Table(id.clone()).to_string()),
                Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => None,
            })
            .collect();
    }
    if names.is_empty() && !are_items_held {
        output::print("No deletions are held.");
        return Ok(CommandOutcome::Done);
    }
    let objects = match are_items_held {
        // LF-Tags, expressions and locations have no name on the command line: the plan of everything has them.
        true => {
            names.clear();
            "the whole catalog, because deletions of LF-Tags, LF-Tag expressions or registered locations are held"
                .to_owned()
        }
        false => render::escape(&names.join(", ")),
    };
    output::print(&format!(
        "The whole plan of these objects follows, and its deletions and revokes at its end: {objects}."
    ));
    let apply_args = ApplyArgs {
        domain: DomainOption::default(),
        plan: None,
        names,
        yes: args.yes,
        approve_deletions: true,
        names_deletions: !args.names.is_empty(),
    };
    apply::run(common, &apply_args).await
}
