//! `twinlake plan`: shows the changes that would make the standby equal to the primary.

use crate::commands::query::{self, DomainOption};
use crate::common_options::{Common, PrimaryOption};
use crate::connect::{Connection, WithoutLedger, scope};
use crate::files::write_json;
use crate::reconcile_output::print_plan;
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::plan_summary::Verdict;
use twinlake_core::{Plan, PlanSummary, Scope};

/// Arguments of `twinlake plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// A database, or a table as DATABASE.TABLE [default: the whole catalog]
    ///
    /// A name that contains a dot stands in quotation marks: '"fin.hr".pay'.
    #[arg(value_name = "OBJECT")]
    pub names: Vec<String>,
    /// Print only the summary: counts by kind and action, findings, and every deletion and revoke
    #[arg(long)]
    pub summary: bool,
    /// Print the plan, or with --summary the summary, as JSON
    #[arg(long)]
    pub json: bool,
    /// Store the plan in this file, for `twinlake apply --plan`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The domain.
    #[command(flatten)]
    pub domain: DomainOption,
    /// The primary, if no ledger says it.
    #[command(flatten)]
    pub primary: PrimaryOption,
}

/// The file of `--out`: a plan, with the scope it was made for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredPlan {
    pub(super) scope: Scope,
    pub(super) plan: Plan,
}

pub(crate) async fn run(common: &Common, args: &PlanArgs) -> Result<CommandOutcome, CliError> {
    let without_ledger = WithoutLedger::Compares(&args.primary);
    args.domain.refuse(!args.names.is_empty(), "OBJECT")?;
    args.domain.refuse(args.out.is_some(), "--out")?;
    args.domain.refuse(args.summary, "--summary")?;
    if args.domain.is_query() {
        return query::plan(common, without_ledger, args.json).await;
    }
    let connection = Connection::open(common, without_ledger).await?;
    let scope = scope(&args.names)?;
    let approval = &ApprovedDeletions::None;
    let (plan, rejections) = connection.preview(&scope, approval).await?;
    if let Some(file) = &args.out {
        let stored = StoredPlan {
            scope,
            plan: plan.clone(),
        };
        write_json(file, &stored)?;
    }
    let summary = PlanSummary::new(&plan, &rejections, &connection.next);
    match (args.json, args.summary) {
        (true, true) => output::json(&summary),
        (true, false) => output::json(&plan),
        (false, true) => output::print(&summary.text()),
        (false, false) => print_plan(&plan, &summary),
    }
    Ok(CommandOutcome::done_if(summary.verdict == Verdict::Equal))
}
