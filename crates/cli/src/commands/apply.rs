//! `twinlake apply`: makes the standby equal to the primary.

use crate::commands::plan::StoredPlan;
use crate::commands::query::{self, DomainOption};
use crate::common_options::Common;
use crate::connect::{Connection, scope};
use crate::files::read_json;
use crate::reconcile_output::{nothing_needs_attention, print_outcome, print_plan};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::path::PathBuf;
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::plan_summary::Verdict;
use twinlake_core::{CallError, Plan, PlanSummary, Scope};
use twinlake_engine::observe::Prefetched;
use twinlake_engine::{ReconcileOutcome, reconcile};

/// Arguments of `twinlake apply`.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// Apply the plan that `twinlake plan --out` has stored in this file; not together with OBJECT
    ///
    /// The command makes a new plan for the objects of the stored one. If both are equal, it
    /// reconciles these objects; if not, it applies nothing and fails.
    #[arg(long, value_name = "FILE", conflicts_with = "names")]
    pub plan: Option<PathBuf>,
    /// A database, or a table as DATABASE.TABLE, that the new plan covers [default: the whole catalog]
    ///
    /// A name that contains a dot stands in quotation marks: '"fin.hr".pay'.
    #[arg(value_name = "OBJECT")]
    pub names: Vec<String>,
    /// The domain.
    #[command(flatten)]
    pub domain: DomainOption,
    /// Apply without asking for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Apply the deletions of the plan that is shown even if they exceed the deletion limit
    ///
    /// `twinlake approve-deletions` does the same for all objects whose deletions are held.

    #[arg(long)]
    pub approve_deletions: bool,
    /// Whether a person named the objects as those whose deletions are approved
    #[arg(skip)]
    pub names_deletions: bool,
}

impl ApplyArgs {
    /// What to read. Where AWS refuses to read a deleted object by name, the person who names it
    /// stands for the event that is missing.
    fn scope(&self) -> Result<Scope, CliError> {
        let mut scope = scope(&self.names)?;
        for request in scope.read_requests.values_mut() {
            request.deletion_named |= self.names_deletions;
        }
        Ok(scope)
    }

    /// What to do if the plan that was stored or shown is not the present one.
    fn next_command(&self) -> &'static str {
        match self.plan {
            Some(_) => "make a new plan with `twinlake plan --out FILE`",
            None => "run the command again",
        }
    }

    /// The deletions that the shown plan contains although they exceed the limit.
    fn shown_deletions(&self) -> ApprovedDeletions {
        match self.approve_deletions {
            true => ApprovedDeletions::All,
            false => ApprovedDeletions::None,
        }
    }

    /// The deletions that are approved by the approval of a shown plan: no others.
    fn approved_deletions(&self, shown: &Plan) -> ApprovedDeletions {
        match self.approve_deletions {
            true => ApprovedDeletions::shown(&shown.steps),
            false => ApprovedDeletions::None,
        }
    }
}

pub(crate) async fn run(common: &Common, args: &ApplyArgs) -> Result<CommandOutcome, CliError> {
    args.domain.refuse(!args.names.is_empty(), "OBJECT")?;
    args.domain.refuse(args.plan.is_some(), "--plan")?;
    if args.domain.is_query() {
        return query::apply(common, args.yes, args.approve_deletions).await;
    }
    let connection = Connection::open_to_write(common).await?;
    let stored: Option<StoredPlan> = args.plan.as_deref().map(read_json).transpose()?;
    let scope = match &stored {
        Some(stored) => stored.scope.clone(),
        None => args.scope()?,
    };
    let shown = &args.shown_deletions();
    let (plan, rejections) = connection.preview(&scope, shown).await?;
    if let Some(stored) = &stored {
        check_unchanged(&stored.plan, &plan, args.next_command())?;
    }
    let summary = PlanSummary::new(&plan, &rejections, &connection.next);
    print_plan(&plan, &summary);
    if plan.is_empty() {
        return Ok(CommandOutcome::done_if(summary.verdict == Verdict::Equal));
    }
    if !args.yes {
        if !output::confirm("Apply this plan?")? {
            return Ok(CommandOutcome::AttentionNeeded);
        }
        // Only the confirmed plan may be applied.
        let (fresh, _) = connection.preview(&scope, shown).await?;
        check_unchanged(&plan, &fresh, args.next_command())?;
    }
    let approved = args.approved_deletions(&plan);
    let outcome = reconcile_scope(&connection, &scope, &approved).await?;
    print_outcome(&outcome, &connection.next);
    let is_done =
        outcome.is_settled() && nothing_needs_attention(&outcome.findings, &outcome.rejections);
    Ok(CommandOutcome::done_if(is_done))
}

async fn reconcile_scope(
    connection: &Connection,
    scope: &Scope,
    approved: &ApprovedDeletions,
) -> Result<ReconcileOutcome, CallError> {
    let context = connection.context(approved);
    let scope = twinlake_engine::resync::expand(&context, scope).await?;
    connection.progress.begin("Applying the plan");
    let outcome = reconcile(&context, &scope, &Prefetched::default()).await;
    connection.progress.end();
    outcome
}

/// Fails if the policy or one of the Regions has changed since the first plan was made. The steps
/// of a plan depend only on the two Regions and the policy, so different steps mean a change.
fn check_unchanged(first: &Plan, fresh: &Plan, next_command: &str) -> Result<(), CliError> {
    let changed = if first.policy_digest != fresh.policy_digest || first.epoch != fresh.epoch {
        "the policy or the primary"
    } else if first.steps != fresh.steps {
        "one of the Regions"
    } else {
        return Ok(());
    };
    Err(CliError::Usage(format!(
        "{changed} has changed since the plan was made; {next_command}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_person_who_names_an_object_names_its_deletion() {
        for names_deletions in [false, true] {
            let args = ApplyArgs {
                plan: None,
                domain: DomainOption::default(),
                names: vec!["sales.orders".to_owned()],
                yes: true,
                approve_deletions: true,
                names_deletions,
            };
            let scope = args.scope().unwrap();
            let mut requests = scope.read_requests.values();
            assert!(requests.all(|request| request.deletion_named == names_deletions));
        }
    }
}
