//! `twinlake report`: writes the status as a self-contained HTML page.

mod chart;
mod page;

use crate::common_options::LedgerOptions;
use crate::connect::{LedgerConnection, STATUS_NEEDS_LEDGER, WithoutLedger};
use crate::files::write_text;
use crate::status_snapshot::StatusSnapshot;
use crate::{CliError, CommandOutcome, output};
use askama::Template as _;
use clap::Args;
use page::ReportPage;
use std::path::PathBuf;

/// Arguments of `twinlake report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "twinlake-report.html")]
    pub out: PathBuf,
    /// The number of days that the lag chart covers, up to 7
    #[arg(long, value_name = "DAYS", default_value_t = 1,
          value_parser = clap::value_parser!(i64).range(1..=7))]
    pub days: i64,
}

pub(crate) async fn run(
    ledger: &LedgerOptions,
    args: &ReportArgs,
) -> Result<CommandOutcome, CliError> {
    let without_ledger = WithoutLedger::Fails(STATUS_NEEDS_LEDGER);
    let connection = LedgerConnection::open(ledger, without_ledger).await?;
    let status = StatusSnapshot::read(&connection, args.days * 86_400).await?;
    let page = ReportPage::new(
        (
            &connection.policy.primary(connection.epoch).region,
            &connection.policy.standby(connection.epoch).region,
        ),
        &connection.next,
        &connection.operation.lag_alert,
        &status,
        args.days,
    );
    let html = page.render().map_err(|e| CliError::File {
        path: args.out.display().to_string(),
        problem: e.to_string(),
    })?;
    write_text(&args.out, &html)?;
    output::print(&format!("Wrote the report to {}.", args.out.display()));
    Ok(CommandOutcome::Done)
}
