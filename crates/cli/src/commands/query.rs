//! `plan`, `apply`, `resync` and `status` with `--domain query`: the query tools of the Regions.

use crate::common_options::{Common, LedgerOptions};
use crate::connect::{Connection, LedgerConnection, STATUS_NEEDS_LEDGER, WithoutLedger};
use crate::{CliError, CommandOutcome, output};
use clap::{Args, ValueEnum};
use std::collections::BTreeSet;
use twinlake_core::audit::AuditRule;
use twinlake_core::plan::FindingKind;
use twinlake_core::policy::QueryPolicy;
use twinlake_core::query::{
    ObjectKey, PrimarySchedule, QueryFinding, QueryKind, QueryPlan, QueryRejection, QueryRow,
    QueryStep, query_findings_text, query_plan_text, query_step_text,
};
use twinlake_core::render::{counted, one_or_many};
use twinlake_core::{Policy, render};
use twinlake_engine::Clock as _;
use twinlake_engine::query::{
    QueryStatus, QueryToolsOutcome, preview_query, read_query_ledger, reconcile_query,
};

/// What a command works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Domain {
    /// The Data Catalog and its permissions.
    #[default]
    Catalog,
    /// The query tools: Athena's workgroups, saved queries, prepared statements and data catalogs; Glue's
    /// classifiers, security configurations, jobs, workflows, crawlers and triggers; Redshift's external schemas.
    Query,
}

/// The option of the commands that work on one domain.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct DomainOption {
    /// What the command works on; `query` needs a table [query] in the policy
    #[arg(long, value_enum, default_value_t, value_name = "DOMAIN")]
    pub domain: Domain,
}

impl DomainOption {
    /// Whether the command works on the query tools.
    pub(crate) fn is_query(self) -> bool {
        self.domain == Domain::Query
    }

    /// Refuses options that only the catalog knows.
    pub(crate) fn refuse(self, given: bool, option: &str) -> Result<(), CliError> {
        match self.is_query() && given {
            true => Err(CliError::Usage(format!(
                "{option} is not for --domain query, which always covers all query tools"
            ))),
            false => Ok(()),
        }
    }
}

fn query_policy(policy: &Policy) -> Result<&QueryPolicy, CliError> {
    policy.query.as_ref().ok_or_else(|| {
        let problem = "the policy has no table [query], so nothing of the query tools is replicated; \
                       docs/policy.md describes it";
        CliError::Usage(problem.to_owned())
    })
}

/// Compares the Regions, with these deletions approved.
async fn preview(
    connection: &Connection,
    approved: &BTreeSet<ObjectKey>,
) -> Result<(QueryPlan, Vec<QueryRejection>), CliError> {
    let query = query_policy(&connection.policy)?;
    Ok(preview_query(&connection.query_context(query, approved, None)).await?)
}

/// Whether the plan has no steps, no step is rejected, and no finding needs attention.
fn is_in_sync(plan: &QueryPlan, rejections: &[QueryRejection]) -> bool {
    let mut findings = plan.findings.iter();
    let needs_attention = findings.any(|finding| finding.kind.needs_attention());
    plan.steps.is_empty() && rejections.is_empty() && !needs_attention
}

pub(crate) async fn plan(
    common: &Common,
    without_ledger: WithoutLedger<'_>,
    json: bool,
) -> Result<CommandOutcome, CliError> {
    let connection = Connection::open(common, without_ledger).await?;
    let (plan, rejections) = preview(&connection, &BTreeSet::new()).await?;
    match json {
        true => output::json(&serde_json::json!({"plan": plan, "rejections": rejections})),
        false => output::print(&query_plan_text(&plan, &rejections)),
    }
    Ok(CommandOutcome::done_if(is_in_sync(&plan, &rejections)))
}

pub(crate) async fn apply(
    common: &Common,
    yes: bool,
    approve_deletions: bool,
) -> Result<CommandOutcome, CliError> {
    let connection = Connection::open_to_write(common).await?;
    let (mut plan, mut rejections) = preview(&connection, &BTreeSet::new()).await?;
    let mut approved = BTreeSet::new();
    if approve_deletions {
        let over_limit = rejections.iter();
        let over_limit = over_limit.filter(|one| one.rule == AuditRule::DeletionLimit);
        approved = over_limit.map(|one| one.object.clone()).collect();
        (plan, rejections) = preview(&connection, &approved).await?;
    }
    output::print(&query_plan_text(&plan, &rejections));
    // Without a step nothing is asked: objects that are equal are paired, in the ledger only.
    if !yes && !plan.steps.is_empty() {
        if !output::confirm("Apply this plan?")? {
            return Ok(CommandOutcome::AttentionNeeded);
        }
        let (fresh, _) = preview(&connection, &approved).await?;
        if fresh.steps != plan.steps {
            let problem =
                "one of the Regions has changed since the plan was made; run the command again";
            return Err(CliError::Usage(problem.to_owned()));
        }
    }
    let outcome = reconcile(&connection, &approved, Some(&plan.steps)).await?;
    print_outcome(&outcome);
    Ok(CommandOutcome::done_if(outcome.is_done()))
}

pub(crate) async fn resync(common: &Common, json: bool) -> Result<CommandOutcome, CliError> {
    let connection = Connection::open_to_write(common).await?;
    let outcome = reconcile(&connection, &BTreeSet::new(), None).await?;
    match json {
        true => output::json(&serde_json::json!({
            "applied": outcome.applied,
            "failed": outcome.failed,
            "findings": outcome.findings,
            "rejections": outcome.rejections,
            "paired": outcome.paired,
            "settled": outcome.is_settled,
        })),
        false => print_outcome(&outcome),
    }
    Ok(CommandOutcome::done_if(outcome.is_done()))
}

/// Puts to sleep in the standby what is Twinlake's and runs by itself there. Returns why it is not certain that all of it
/// sleeps.
pub(crate) async fn put_standby_to_sleep(common: &Common) -> Result<Option<String>, CliError> {
    let connection = Connection::open_to_write(common).await?;
    if connection.policy.query.is_none() {
        return Ok(None);
    }
    let none = BTreeSet::new();
    let is_sleep = |step: &&QueryStep| matches!(step, QueryStep::Sleep { .. });
    let (plan, _) = preview(&connection, &none).await?;
    let sleeps: Vec<QueryStep> = plan.steps.iter().filter(is_sleep).cloned().collect();
    let mut failed = None;
    if !sleeps.is_empty() {
        let outcome = reconcile(&connection, &none, Some(&sleeps)).await?;
        failed = outcome.failed.into_iter().next();
    }
    if let Some((step, error)) = failed {
        return Ok(Some(format!("{}: {error}", step.primary())));
    }
    // What was put to sleep is seen to sleep, and nothing that may be awake could not be read.
    let (plan, _) = preview(&connection, &none).await?;
    if let Some(step) = plan.steps.iter().find(is_sleep) {
        return Ok(Some(format!("{} is still awake", step.primary())));
    }
    if let Some(key) = plan.awake.first() {
        return Ok(Some(format!(
            "{key} runs by itself there, or could not be read, and Twinlake does not put it to sleep; stop it"
        )));
    }
    let is_unread = |finding: &&QueryFinding| {
        matches!(finding.kind, FindingKind::Unreadable | FindingKind::Denied)
    };
    let unread = plan.findings.iter().find(is_unread);
    Ok(unread.map(|finding| format!("{}: {}", finding.object, finding.detail)))
}

async fn reconcile(
    connection: &Connection,
    approved: &BTreeSet<ObjectKey>,
    confirmed: Option<&[QueryStep]>,
) -> Result<QueryToolsOutcome, CliError> {
    let query = query_policy(&connection.policy)?;
    let outcome = reconcile_query(&connection.query_context(query, approved, confirmed)).await;
    Ok(outcome?)
}

fn print_outcome(outcome: &QueryToolsOutcome) {
    for step in &outcome.applied {
        output::print(&query_step_text(step));
    }
    for (step, error) in &outcome.failed {
        let line = format!("failed: {}: {error}", step.primary());
        output::print(&render::escape(&line));
    }
    for step in &outcome.unconfirmed {
        output::print(&format!(
            "not applied, because the plan above does not have it: {}",
            query_step_text(step)
        ));
    }
    for rejection in &outcome.rejections {
        output::print(&render::escape(&format!("rejected: {rejection}")));
    }
    if !outcome.findings.is_empty() {
        output::print(&query_findings_text(&outcome.findings));
    }
    let (applied, paired) = (outcome.applied.len(), outcome.paired.total());
    let state = match outcome.is_settled {
        true => "Nothing else differs.",
        false => "Not everything is in sync, see above.",
    };
    output::print(&format!(
        "{} {} applied; {} {} paired. {state}",
        counted(applied, "change"),
        one_or_many(applied, "was", "were"),
        counted(paired, "query tool"),
        one_or_many(paired, "is", "are")
    ));
}

/// What a person runs to wake what ran by itself before the last switch.
fn wake_line(row: &QueryRow, schedule: &PrimarySchedule, region: &str) -> String {
    let keys = [&row.keys.a, &row.keys.b];
    let key = keys.into_iter().flatten().next();
    let name = key.map(|key| key.id.as_str()).unwrap_or_default();
    let name = shell_word(name);
    let is_crawler = key.is_some_and(|key| key.kind == QueryKind::Crawler);
    let command = match schedule.cron.as_ref().filter(|_| is_crawler) {
        Some(cron) => format!(
            "aws glue update-crawler-schedule --region {region} --crawler-name {name} --schedule {}",
            shell_word(cron)
        ),
        None => format!("aws glue start-trigger --region {region} --name {name}"),
    };
    let cron = schedule.cron.as_deref().unwrap_or("by its conditions");
    format!(
        "asleep       {} ran {cron} before the switch; to wake it: {command}",
        row.description
    )
}

/// A text as one word of a shell.
fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

pub(crate) async fn status(
    options: &LedgerOptions,
    json: bool,
    all: bool,
) -> Result<CommandOutcome, CliError> {
    let without_ledger = WithoutLedger::Fails(STATUS_NEEDS_LEDGER);
    let connection = LedgerConnection::open(options, without_ledger).await?;
    let query = query_policy(&connection.policy)?;
    let (rows, record) = read_query_ledger(&connection.ledger, connection.epoch.primary()).await?;
    let status = QueryStatus {
        rows: &rows,
        record: record.as_ref(),
        query,
    };
    let not_in_sync = status.not_in_sync();
    let limit = connection.operation.verified_age_limit_secs();
    let problems = status.problems(connection.clock.now(), limit);
    let settled_at = record.as_ref().and_then(|record| record.settled_at);
    if json {
        output::json(&serde_json::json!({
            "settled_at": settled_at.map(|at| at.to_string()),
            "last_run_at": record.as_ref().map(|record| record.started_at.to_string()),
            "paired": record.as_ref().map(|record| &record.paired),
            "findings": record.as_ref().map(|record| &record.findings),
            "rows": rows.values().collect::<Vec<_>>(),
            "problems": problems,
        }));
    } else {
        let paired = record
            .as_ref()
            .map(|record| record.paired.clone())
            .unwrap_or_default();
        for kind in QueryKind::EVERY {
            output::print(&format!("{:<20} {} paired", kind.as_str(), paired.of(kind)));
        }
        for row in rows.values().filter(|row| all || not_in_sync.contains(row)) {
            let reason = row.reason.as_deref().unwrap_or_default();
            let line = format!(
                "{:<12} {} since {} {reason}",
                row.state.to_string(),
                row.description,
                row.since
            );
            output::print(render::escape(&line).trim_end());
        }
        let region = &connection.policy.primary(connection.epoch).region;
        for row in rows.values() {
            if let Some(schedule) = row.asleep_since_switch(connection.epoch) {
                output::print(&render::escape(&wake_line(row, schedule, region)));
            }
        }
        let findings = record.iter().flat_map(|record| record.findings.clone());
        output::print(&query_findings_text(&findings.collect()));
        output::print(&match settled_at {
            Some(at) => format!(
                "The query tools were last read completely, and left in order, by the run of {at}."
            ),
            None => "No run has read all query tools and left them in order yet.".to_owned(),
        });
        if !problems.is_empty() {
            output::print(&format!("Attention needed: {}.", problems.join(", ")));
        }
    }
    Ok(CommandOutcome::done_if(problems.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::Timestamp;
    use twinlake_core::topology::Epoch;

    fn line(kind: QueryKind, name: &str, cron: Option<&str>) -> String {
        let key = ObjectKey::new(kind, name);
        let row = QueryRow::new(Epoch::INITIAL, &key, &key.to_string(), Timestamp::default());
        let schedule = PrimarySchedule {
            cron: cron.map(str::to_owned),
            epoch: Epoch::INITIAL,
        };
        wake_line(&row, &schedule, "ap-south-1")
    }

    #[test]
    fn the_line_of_what_sleeps_ends_with_the_command_that_wakes_it() {
        let cron = "cron(0 1 * * ? *)";
        assert_eq!(
            line(QueryKind::Crawler, "it's", Some(cron)),
            "asleep       crawler it's ran cron(0 1 * * ? *) before the switch; to wake it: aws glue \
             update-crawler-schedule --region ap-south-1 --crawler-name 'it'\\''s' --schedule 'cron(0 1 * * ? *)'"
        );
        for cron in [Some(cron), None] {
            let line = line(QueryKind::Trigger, "t", cron);
            assert!(
                line.ends_with("aws glue start-trigger --region ap-south-1 --name 't'"),
                "{line}"
            );
        }
    }
}
