//! `twinlake resync`: reconciles the whole catalog.

use crate::commands::query::{self, DomainOption};
use crate::common_options::Common;
use crate::connect::Connection;
use crate::reconcile_output::{nothing_needs_attention, print_outcome};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use twinlake_aws::SqsRetryQueue;
use twinlake_core::CallError;
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::render::counted;
use twinlake_engine::Context;
use twinlake_engine::resync::{ResyncDepth, ResyncReport};

/// Arguments of `twinlake resync`.
#[derive(Debug, Clone, Args)]
pub struct ResyncArgs {
    /// Read everything, also what a resync reads only daily or weekly
    ///
    /// The policy keys partition-scan and attachment-scan say what that is.
    #[arg(long)]
    pub full: bool,
    /// The domain.
    #[command(flatten)]
    pub domain: DomainOption,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) async fn run(common: &Common, args: &ResyncArgs) -> Result<CommandOutcome, CliError> {
    args.domain.refuse(args.full, "--full")?;
    if args.domain.is_query() {
        return query::resync(common, args.json).await;
    }
    let connection = Connection::open_to_write(common).await?;
    let depth = match args.full {
        true => ResyncDepth::Full,
        false => ResyncDepth::Scheduled,
    };
    let report = resync_all(&connection, depth).await?;
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
        print_outcome(outcome, &connection.next);
        let checked = counted(report.databases, "database");
        output::print(&match report.verified_at {
            Some(at) => {
                format!("Checked {checked}. The standby is verified as of {at}.")
            }
            None => format!(
                "Checked {checked}. The standby is not verified: something could not be read or \
                 decided, see above."
            ),
        });
        if !outcome.left_to_schedule.is_empty() {
            output::print(&format!(
                "Of {} in sync, partitions, indexes, statistics or filters that nobody is granted \
                 were left to a later resync within the interval of `partition-scan` or \
                 `attachment-scan`. Run `twinlake resync --full` to read everything now.",
                counted(outcome.left_to_schedule.len(), "table")
            ));
        }
    }
    if let Some(error) = report.interrupted_by {
        return Err(error.into());
    }
    let is_done = outcome.is_settled()
        && report.verified_at.is_some()
        && nothing_needs_attention(&outcome.findings, &outcome.rejections);
    Ok(CommandOutcome::done_if(is_done))
}

async fn resync_all(
    connection: &Connection,
    depth: ResyncDepth,
) -> Result<ResyncReport, CallError> {
    let approved = ApprovedDeletions::None;
    let context = Context {
        // The databases are counted, several of which are reconciled at once.
        progress: &(),
        ..connection.context(&approved)
    };
    let retry_queue = None::<&SqsRetryQueue>;
    let progress = &connection.progress;
    progress.begin("Reconciling");
    let report =
        twinlake_engine::resync::resync(&context, depth, None, retry_queue, progress).await;
    progress.end();
    report
}
