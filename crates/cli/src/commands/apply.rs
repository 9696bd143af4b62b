//! `twinlake apply`: makes the standby equal to the primary.

use crate::commands::plan::StoredPlan;
use crate::common_options::Common;
use crate::connect::{Connection, scope};
use crate::files::read_json;
use crate::reconcile_output::{is_complete, print_outcome, print_rejections};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::path::PathBuf;
use twinlake_core::audit::AuditRule;
use twinlake_core::{CallError, Plan, Scope, render};
use twinlake_engine::observe::Prefetched;
use twinlake_engine::{ReconcileOutcome, reconcile};

/// Arguments of `twinlake apply`.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// Apply the plan that `twinlake plan --out` has stored in this file, instead of a new one; not
    /// together with OBJECT
    #[arg(long, value_name = "FILE", conflicts_with = "names")]
    pub plan: Option<PathBuf>,
    /// A database, or a table as DATABASE.TABLE, that the new plan covers [default: the whole catalog]
    #[arg(value_name = "OBJECT")]
    pub names: Vec<String>,
    /// Apply without asking for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Apply the deletions even if they exceed the deletion limit
    #[arg(long)]
    pub approve_deletions: bool,
}

pub(crate) async fn run(common: &Common, args: &ApplyArgs) -> Result<CommandOutcome, CliError> {
    let connection = Connection::open(common).await?;
    let stored: Option<StoredPlan> = args.plan.as_deref().map(read_json).transpose()?;
    let scope = match &stored {
        Some(stored) => stored.scope.clone(),
        None => scope(&args.names)?,
    };
    connection.ledger.require_kept()?;
    let approved = args.approve_deletions;
    let (plan, rejections) = connection.preview(&scope, approved).await?;
    if let Some(stored) = &stored {
        check_unchanged(&stored.plan, &plan)?;
    }
    output::print(&render::plan(&plan));
    print_rejections(&rejections);
    if rejections
        .iter()
        .any(|rejection| rejection.rule == AuditRule::DeletionLimit)
    {
        output::print(
            "If the deletions are intended, run `twinlake approve-deletions` with the same --region, or \
             --policy and --ledger.",
        );
    }
    if plan.is_empty() {
        let is_complete = is_complete(&plan.findings, &rejections);
        return Ok(CommandOutcome::done_if(is_complete));
    }
    if !args.yes {
        if !output::confirm("Apply this plan?")? {
            return Ok(CommandOutcome::AttentionNeeded);
        }
        // Only the confirmed plan may be applied.
        let (fresh, _) = connection.preview(&scope, approved).await?;
        check_unchanged(&plan, &fresh)?;
    }
    let outcome = reconcile_scope(&connection, &scope, args).await;
    connection.ledger.save()?;
    let outcome = outcome?;
    print_outcome(&outcome);
    let is_complete = is_complete(&outcome.findings, &outcome.rejections);
    Ok(CommandOutcome::done_if(outcome.is_settled() && is_complete))
}

async fn reconcile_scope(
    connection: &Connection,
    scope: &Scope,
    args: &ApplyArgs,
) -> Result<ReconcileOutcome, CallError> {
    let context = connection.context(args.approve_deletions);
    let scope = twinlake_engine::resync::expand(&context, scope).await?;
    reconcile(&context, &scope, &Prefetched::default()).await
}

/// Fails if the policy or one of the Regions has changed since the first plan was made. The steps
/// of a plan depend only on the two Regions and the policy, so different steps mean a change.
fn check_unchanged(stored: &Plan, fresh: &Plan) -> Result<(), CliError> {
    if stored.policy_digest != fresh.policy_digest || stored.epoch != fresh.epoch {
        let problem = "the policy or the primary has changed since the plan was made; \
                       make a new plan with `twinlake plan --out FILE`";
        return Err(CliError::Usage(problem.to_owned()));
    }
    if stored.steps != fresh.steps {
        let problem = "one of the Regions has changed since the plan was made; \
                       make a new plan with `twinlake plan --out FILE`";
        return Err(CliError::Usage(problem.to_owned()));
    }
    Ok(())
}
