//! `plan`, `diff`, `apply` and `resync`.

use crate::args::{ApplyArgs, Common, PlanArgs, ReleaseArgs, ResyncArgs, ScopeArgs};
use crate::connect::{Connection, Store, scope};
use crate::store::{read_json, write_json};
use crate::{CliError, Left, out};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use twinlake_aws::{AwsRegion, SqsOutbox, SystemClock};
use twinlake_core::audit::Veto;
use twinlake_core::plan::Finding;
use twinlake_core::{Name, Plan, Scope, Subject, render};
use twinlake_engine::resync::Progress;
use twinlake_engine::{Context, Ledger, Outcome, reconcile};

const NO_LEDGER: &str = "nothing is written without a ledger that holds this policy; push it \
                         with `twinlake policy push`, or keep a ledger in a file with \
                         --ledger FILE";

/// A plan in a file.
#[derive(Debug, Serialize, Deserialize)]
struct StoredPlan {
    scope: Scope,
    plan: Plan,
}

pub(crate) async fn plan(common: &Common, args: &PlanArgs) -> Result<Left, CliError> {
    let connection = Connection::open(common).await?;
    let scope = scope(&args.scope.names)?;
    let (plan, vetoes) = preview(&connection, &scope).await?;
    if let Some(file) = &args.out {
        let stored = StoredPlan {
            scope,
            plan: plan.clone(),
        };
        write_json(file, &stored)?;
    }
    if args.scope.json {
        out::print(&pretty(&plan));
    } else {
        out::print(&render::plan(&plan));
        print_vetoes(&vetoes);
    }
    Ok(left(plan.is_empty()))
}

pub(crate) async fn diff(common: &Common, args: &ScopeArgs) -> Result<Left, CliError> {
    let connection = Connection::open(common).await?;
    let (plan, _) = preview(&connection, &scope(&args.names)?).await?;
    if args.json {
        out::print(&pretty(&plan.steps));
    } else if plan.is_empty() {
        out::print("The Regions do not differ.");
    } else {
        out::print(&render::plan(&plan));
    }
    Ok(left(plan.is_empty()))
}

pub(crate) async fn apply(common: &Common, args: &ApplyArgs) -> Result<Left, CliError> {
    let connection = Connection::open(common).await?;
    let stored: Option<StoredPlan> = args.plan.as_deref().map(read_json).transpose()?;
    let scope = match &stored {
        Some(stored) => stored.scope.clone(),
        None => scope(&args.names)?,
    };
    if matches!(connection.store, Store::None(_)) {
        return Err(CliError::Usage(NO_LEDGER.to_owned()));
    }
    let (plan, vetoes) = preview(&connection, &scope).await?;
    if let Some(stored) = &stored {
        refuse_if_moved(&stored.plan, &plan)?;
    }
    out::print(&render::plan(&plan));
    if plan.is_empty() {
        return Ok(Left::Nothing);
    }
    let braked = vetoes
        .iter()
        .all(|veto| veto.rule == twinlake_core::audit::Rule::Brake);
    let released = braked && args.release_brake;
    if !vetoes.is_empty() && !released {
        print_vetoes(&vetoes);
        let problem = "the plan was refused, and nothing of it was applied";
        return Err(CliError::Usage(problem.to_owned()));
    }
    if !args.yes {
        if !confirm("Apply this plan? Only `yes` is taken for an answer.")? {
            return Ok(Left::Something);
        }
        // What was confirmed is what is applied.
        refuse_if_moved(&plan, &preview(&connection, &scope).await?.0)?;
    }
    let outcome = match &connection.store {
        Store::Deployed(ledger) => settle(&connection, ledger, &scope, args).await?,
        Store::None(_) => return Err(CliError::Usage(NO_LEDGER.to_owned())),
        Store::File(file, ledger) => {
            let outcome = settle(&connection, ledger, &scope, args).await;
            write_json(file, &ledger.book())?;
            outcome?
        }
    };
    print_outcome(&outcome);
    Ok(left(outcome.is_settled()))
}

/// Applies what the brake holds, with the brake released for this once.
pub(crate) async fn release(common: &Common, args: &ReleaseArgs) -> Result<Left, CliError> {
    let mut names = args.names.clone();
    if names.is_empty() {
        let rows = crate::status::rows(&Connection::open(common).await?).await?;
        let held = rows.values().filter(|row| row.is_braked());
        names = held
            .filter_map(|row| match &row.subject {
                Subject::Database(name) => Some(name.to_string()),
                Subject::Table(id) => Some(id.to_string()),
                Subject::Catalog | Subject::Lake(_) | Subject::Function(_) => None,
            })
            .collect();
    }
    if names.is_empty() {
        out::print("The brake holds nothing.");
        return Ok(Left::Nothing);
    }
    let apply_args = ApplyArgs {
        plan: None,
        names,
        yes: args.yes,
        release_brake: true,
    };
    apply(common, &apply_args).await
}

pub(crate) async fn resync(common: &Common, args: &ResyncArgs) -> Result<Left, CliError> {
    let connection = Connection::open(common).await?;
    let report = match &connection.store {
        Store::Deployed(ledger) => look_at_all(connection.context(ledger, false)).await?,
        Store::File(file, ledger) => {
            let report = look_at_all(connection.context(ledger, false)).await;
            write_json(file, &ledger.book())?;
            report?
        }
        Store::None(_) => return Err(CliError::Usage(NO_LEDGER.to_owned())),
    };
    let outcome = &report.outcome;
    if args.json {
        out::print(&pretty(&serde_json::json!({
            "databases": report.databases,
            "applied": outcome.counts.total(),
            "findings": outcome.findings,
            "vetoes": outcome.vetoes,
            "failed": outcome.failed.iter().map(|(s, f)| (s, f)).collect::<Vec<_>>(),
            "verified_at": report.verified_at.map(|at| at.to_string()),
        })));
    } else {
        print_outcome(outcome);
        out::print(&match report.verified_at {
            Some(at) => format!(
                "Looked at {} databases; verified as of {at}.",
                report.databases
            ),
            None => format!(
                "Looked at {} databases; not verified, since not everything could be read.",
                report.databases
            ),
        });
    }
    Ok(left(outcome.is_settled() && report.verified_at.is_some()))
}

fn left(nothing: bool) -> Left {
    if nothing {
        Left::Nothing
    } else {
        Left::Something
    }
}

fn pretty<T: Serialize>(value: &T) -> String {
    render::escape_json(&serde_json::to_string_pretty(value).unwrap_or_default())
}

type Preview = (Plan, Vec<Veto>);

async fn preview(connection: &Connection, scope: &Scope) -> Result<Preview, CliError> {
    Ok(match &connection.store {
        Store::Deployed(ledger) => preview_all(connection.context(ledger, false), scope).await?,
        Store::File(_, ledger) | Store::None(ledger) => {
            preview_all(connection.context(ledger, false), scope).await?
        }
    })
}

async fn preview_all<L: Ledger>(
    context: Context<'_, AwsRegion, AwsRegion, L, SystemClock>,
    scope: &Scope,
) -> Result<Preview, twinlake_core::Fault> {
    let (plan, judged) = twinlake_engine::resync::preview(&context, scope).await?;
    Ok((plan, judged.err().unwrap_or_default()))
}

async fn settle<L: Ledger>(
    connection: &Connection,
    ledger: &L,
    scope: &Scope,
    args: &ApplyArgs,
) -> Result<Outcome, twinlake_core::Fault> {
    let context = connection.context(ledger, args.release_brake);
    let scope = twinlake_engine::resync::expand(&context, scope).await?;
    reconcile(
        &context,
        &scope,
        &twinlake_engine::observe::Prefetched::default(),
    )
    .await
}

async fn look_at_all<L: Ledger>(
    context: Context<'_, AwsRegion, AwsRegion, L, SystemClock>,
) -> Result<twinlake_engine::resync::Report, twinlake_core::Fault> {
    let bar = Bar::new();
    let report = twinlake_engine::resync::resync(&context, None, None::<&SqsOutbox>, &bar).await;
    bar.0.finish_and_clear();
    report
}

/// Steps are a function of what both Regions and the policy say: a fresh plan that
/// differs means that one of them moved.
fn refuse_if_moved(stored: &Plan, fresh: &Plan) -> Result<(), CliError> {
    if stored.policy_digest != fresh.policy_digest || stored.epoch != fresh.epoch {
        let problem = "the policy or the primary has changed since the plan was stored; \
                       make a new one with `twinlake plan --out FILE`";
        return Err(CliError::Usage(problem.to_owned()));
    }
    if stored.steps != fresh.steps {
        let problem = "one of the Regions has moved since the plan was stored; make a new one \
                       with `twinlake plan --out FILE`";
        return Err(CliError::Usage(problem.to_owned()));
    }
    Ok(())
}

pub(crate) fn confirm(question: &str) -> Result<bool, CliError> {
    out::note(question);
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|e| CliError::Usage(e.to_string()))?;
    Ok(line.trim() == "yes")
}

fn print_vetoes(vetoes: &[Veto]) {
    for veto in vetoes {
        out::print(&render::escape(&format!("VETO {veto}")));
    }
}

fn print_findings(findings: &BTreeSet<Finding>) {
    for finding in findings {
        let line = format!("! {}: {}", finding.subject, finding.detail);
        out::print(&render::escape(&line));
    }
}

fn print_outcome(outcome: &Outcome) {
    print_findings(&outcome.findings);
    print_vetoes(&outcome.vetoes);
    for (step, fault) in &outcome.failed {
        let line = format!("FAILED {}: {fault}", render::step(step));
        out::print(&render::escape(&line));
    }
    if let Some((_, reason)) = &outcome.waiting {
        out::print(&render::escape(&format!("LEFT for a later try: {reason}")));
    }
    let counts = outcome.counts;
    out::print(&format!(
        "Applied: {} created, {} changed, {} deleted, {} granted, {} revoked.",
        counts.created, counts.changed, counts.deleted, counts.granted, counts.revoked
    ));
}

/// A progress bar, quiet without a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let target = match out::is_watched() {
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

impl Progress for Bar {
    fn total(&self, databases: usize) {
        self.0.set_length(databases as u64);
    }

    fn database(&self, name: &Name) {
        self.0.set_message(render::escape(name.as_str()));
        self.0.inc(1);
    }
}
