//! `twinlake resync`: reconciles the whole catalog.

use crate::common_options::Common;
use crate::connect::{CommandEnvironment, Connection, WRITES_NEED_LEDGER, WithoutLedger};
use crate::reconcile_output::{is_complete, print_outcome};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use twinlake_aws::SqsRetryQueue;
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::{CallError, Name, render};
use twinlake_engine::Context;
use twinlake_engine::resync::{ResyncDepth, ResyncProgress, ResyncReport};

/// Arguments of `twinlake resync`.
#[derive(Debug, Clone, Args)]
pub struct ResyncArgs {
    /// Read everything, also what a resync reads only daily or weekly
    ///
    /// The policy keys partition-scan and attachment-scan say what that is.
    #[arg(long)]
    pub full: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) async fn run(common: &Common, args: &ResyncArgs) -> Result<CommandOutcome, CliError> {
    let without_ledger = WithoutLedger::Fails(WRITES_NEED_LEDGER);
    let connection = Connection::open(common, without_ledger).await?;
    let depth = match args.full {
        true => ResyncDepth::Full,
        false => ResyncDepth::Scheduled,
    };
    let report = resync_all(&connection.context(&ApprovedDeletions::None), depth).await;
    connection.ledger.save()?;
    let report = report?;
    let outcome = &report.outcome;
    if args.json {
        output::json(&serde_json::json!({
            "databases": report.databases,
            "applied": outcome.counts.total(),
            "findings": outcome.findings,
            "rejections": outcome.rejections,
            "failed": outcome.failed.iter().map(|(s, f)| (s, f)).collect::<Vec<_>>(),
            "verified_at": report.verified_at.map(|at| at.to_string()),
            "tables_left_to_schedule": outcome.left_to_schedule.len(),
            "interrupted_by": report.interrupted_by.as_ref().map(ToString::to_string),
        }));
    } else {
        print_outcome(outcome);
        let databases = report.databases;
        output::print(&match report.verified_at {
            Some(at) => {
                format!("Checked {databases} databases. The standby is verified as of {at}.")
            }
            None => format!(
                "Checked {databases} databases. The standby is not verified: something could not be read or \
                 decided, see above."
            ),
        });
        if !outcome.left_to_schedule.is_empty() {
            output::print(&format!(
                "Of {} tables in sync, partitions, indexes, statistics or filters that nobody is granted \
                 were left to a later resync within the interval of `partition-scan` or \
                 `attachment-scan`. Run `twinlake resync --full` to read everything now.",
                outcome.left_to_schedule.len()
            ));
        }
    }
    if let Some(error) = report.interrupted_by {
        return Err(error.into());
    }
    let is_done = outcome.is_settled()
        && report.verified_at.is_some()
        && is_complete(&outcome.findings, &outcome.rejections);
    Ok(CommandOutcome::done_if(is_done))
}

async fn resync_all(
    context: &Context<'_, CommandEnvironment>,
    depth: ResyncDepth,
) -> Result<ResyncReport, CallError> {
    let bar = DatabaseProgress::new();
    let retry_queue = None::<&SqsRetryQueue>;
    let report = twinlake_engine::resync::resync(context, depth, None, retry_queue, &bar).await;
    bar.0.finish_and_clear();
    report
}

/// A progress bar over the databases, hidden if standard error is not a terminal.
struct DatabaseProgress(ProgressBar);

impl DatabaseProgress {
    fn new() -> Self {
        let target = match output::is_interactive() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} databases {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl ResyncProgress for DatabaseProgress {
    fn started(&self, databases: usize) {
        self.0.set_length(databases as u64);
    }

    fn database_finished(&self, name: &Name) {
        self.0.set_message(render::escape(name.as_str()));
        self.0.inc(1);
    }
}
