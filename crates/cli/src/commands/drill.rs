//! `twinlake drill`: everything of a takeover short of the switch, with queries as real roles, and a dated report.

mod history;
mod page;

use crate::common_options::Common;
use crate::connect::{Connection, WithoutLedger, ledger_in};
use crate::{CliError, CommandOutcome, address_check, output};
use clap::Args;
use history::History;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use twinlake_aws::{AthenaRoleQueries, Clients, SystemClock};
use twinlake_core::drill::{
    DrillConfig, DrillExpectation, DrillOutcome, DrillQuery, DrillReport, DrillResult,
    DrillVerdict, DrilledReadiness, FORMAT, StoredDrill, ValidatedTakeover,
};
use twinlake_core::failover::{FailoverRequest, ForceableGate};
use twinlake_core::readiness::{self, ReadinessCounts, ReadinessFinding, ReadinessSeverity};
use twinlake_core::render::{self, counted};
use twinlake_core::topology::FENCE_WAIT_SECS;
use twinlake_engine::Clock as _;
use twinlake_engine::drill::{Drill, DrilledRegion, validated};
use twinlake_engine::failover;
use twinlake_engine::operation_document::OperationConfig;

/// Arguments of `twinlake drill`.
#[derive(Debug, Clone, Args)]
pub struct DrillArgs {
    /// The directory of the reports, each of which has the digest of the one before
    #[arg(long, value_name = "DIRECTORY", default_value = "twinlake-drills")]
    pub history: PathBuf,
    /// Only check that no report of the directory was changed or removed, and list them
    #[arg(long, conflicts_with = "no_queries")]
    pub verify_history: bool,
    /// Make no queries
    #[arg(long)]
    pub no_queries: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Why the command needs a deployment.
const NEEDS_LEDGERS: &str =
    "it drills the takeover of a deployment; add --region REGION, either of its Regions";

/// What no drill of this version does.
const NOT_EXERCISED: [&str; 4] = [
    "the switch itself: the epoch, the wait and the default permissions of databases",
    "writers: no query writes, and no job, crawler or trigger is started",
    "the clients' own way to the Region: drivers, dashboards, DNS records and logins",
    "the outage of the primary: both Regions are asked",
];

pub(crate) async fn run(common: &Common, args: &DrillArgs) -> Result<CommandOutcome, CliError> {
    if args.verify_history {
        return verify(args);
    }
    let ledgers = &common.ledger;
    let (Some(_), None, None) = (&ledgers.region, &ledgers.policy, &ledgers.ledger) else {
        return Err(CliError::Usage(NEEDS_LEDGERS.to_owned()));
    };
    // A history that cannot be continued is told before anything is done.
    History::read(&args.history)?;
    let connection = Connection::open(common, WithoutLedger::Fails(NEEDS_LEDGERS)).await?;
    let report = drill(common, args, &connection).await?;
    // Read again: somebody else may have drilled meanwhile.
    let history = History::read(&args.history)?;
    let report = DrillReport {
        previous: history.last_digest.clone(),
        ..report
    };
    let stored = history.store(&report)?;
    if args.json {
        output::json(&stored.drill);
    } else {
        print_report(&report, &stored.drill);
        output::print(&format!(
            "Report: {} and {}.",
            stored.json.display(),
            stored.html.display()
        ));
    }
    Ok(CommandOutcome::done_if(
        report.verdict() == DrillVerdict::Passed,
    ))
}

/// Lists the reports, if none was changed or removed.
fn verify(args: &DrillArgs) -> Result<CommandOutcome, CliError> {
    let history = History::read(&args.history)?;
    if args.json {
        let drills: BTreeMap<_, _> = history.drills.into_iter().collect();
        output::json(&drills);
        return Ok(CommandOutcome::Done);
    }
    for (name, drill) in &history.drills {
        let line = format!(
            "{name}: {}, digest {}",
            drill.verdict.as_str(),
            drill.digest
        );
        output::print(&render::escape(&line));
    }
    output::print(&format!(
        "{} reports. Each follows the one before it, and none was changed. The last digest stands for all of them: \
         compare it with one that was kept elsewhere.",
        history.drills.len()
    ));
    Ok(CommandOutcome::Done)
}

/// Does all parts of a drill.
async fn drill(
    common: &Common,
    args: &DrillArgs,
    connection: &Connection,
) -> Result<DrillReport, CliError> {
    let (policy, epoch) = (&connection.policy, connection.epoch);
    let standby = policy.standby(epoch);
    let clock = SystemClock;
    let started_at = clock.now();
    let (operation, invalid) = OperationConfig::load(&connection.ledger).await?;
    if let Some(error) = invalid {
        return Err(error.into());
    }
    let mut timer = PartTimer::new(&clock);
    let mut findings = readiness::check(
        &connection.readiness(&common.ledger, BTreeSet::new()).await,
        policy,
        epoch,
    );
    if let Some(takeover) = &operation.takeover {
        findings.extend(address_check::findings(takeover, policy, epoch).await);
    }
    timer.finish("readiness checks");
    let takeover = validate(common, connection, &standby.region, &clock).await?;
    timer.finish("validation of the takeover");
    let asked = match (&operation.drill, args.no_queries) {
        (_, true) => Err("--no-queries was given".to_owned()),
        (None, false) => Err("the operation document has no [drill]".to_owned()),
        (Some(config), false) => queries(connection, config).await,
    };
    timer.finish("queries");
    let (results, no_queries_reason) = match asked {
        Ok(results) => (results, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    let first = results.iter().find(|result| {
        result.check.expect == DrillExpectation::Allowed && result.outcome == DrillOutcome::Passed
    });
    let mut milliseconds = timer.milliseconds;
    milliseconds.extend(first.map(|first| {
        let what = "first right answer, with the role assumed";
        (what.to_owned(), first.milliseconds)
    }));
    let mut not_exercised = NOT_EXERCISED.map(str::to_owned).to_vec();
    not_exercised.extend(
        no_queries_reason
            .iter()
            .map(|reason| format!("queries: {reason}")),
    );
    Ok(DrillReport {
        version: FORMAT,
        twinlake: env!("CARGO_PKG_VERSION").to_owned(),
        previous: None,
        primary: policy.primary(epoch).region.clone(),
        standby: standby.region.clone(),
        caller: connection.caller().to_owned(),
        started_at: started_at.to_string(),
        ended_at: clock.now().to_string(),
        readiness: drilled_readiness(&findings),
        takeover,
        no_queries_reason,
        results,
        milliseconds,
        wait_seconds: FENCE_WAIT_SECS,
        not_exercised,
    })
}

/// Asks what a failover would do now. It accepts loss, as the real one has to, and the time since the last switch is no
/// obstacle for a drill.
async fn validate(
    common: &Common,
    connection: &Connection,
    standby: &str,
    clock: &SystemClock,
) -> Result<ValidatedTakeover, CliError> {
    let ledger = ledger_in(&common.ledger.ledger_table, standby).await;
    let request = FailoverRequest {
        accepts_loss: true,
        forced: [ForceableGate::MinimumInterval].into(),
        ..FailoverRequest::default()
    };
    let site = connection.epoch.primary().other();
    let preview = failover::preview(site, &ledger, clock, &request).await?;
    if preview.record.epoch != connection.epoch {
        return Err(CliError::Usage(format!(
            "{standby} does not hold epoch {}: it is fenced, or somebody has just switched the Regions; see `twinlake \
             status --region {standby}`",
            connection.epoch.number()
        )));
    }
    Ok(validated(&preview, clock.now()))
}

/// Makes the queries of the operation document.
///
/// # Errors
/// Why none was made.
async fn queries(
    connection: &Connection,
    config: &DrillConfig,
) -> Result<Vec<DrillResult>, String> {
    let (primary, standby) = connection.regions();
    let of = async |region: &str| AthenaRoleQueries::new(&Clients::connect(region).await);
    let (policy, epoch) = (&connection.policy, connection.epoch);
    let here = of(&policy.standby(epoch).region).await;
    let there = of(&policy.primary(epoch).region).await;
    let drill = Drill {
        standby: DrilledRegion {
            catalog: standby,
            queries: &here,
        },
        primary: DrilledRegion {
            catalog: primary,
            queries: &there,
        },
        timer: &SystemClock,
        config,
    };
    drill.run().await
}

/// Measures the parts of a drill.
struct PartTimer<'a> {
    clock: &'a SystemClock,
    since: std::time::Duration,
    milliseconds: BTreeMap<String, u64>,
}

impl<'a> PartTimer<'a> {
    fn new(clock: &'a SystemClock) -> Self {
        Self {
            clock,
            since: clock.monotonic(),
            milliseconds: BTreeMap::new(),
        }
    }

    /// The part since the one before has ended.
    fn finish(&mut self, part: &str) {
        let now = self.clock.monotonic();
        let took = now.saturating_sub(self.since).as_millis();
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        self.milliseconds.insert(part.to_owned(), took);
        self.since = now;
    }
}

fn drilled_readiness(findings: &[ReadinessFinding]) -> DrilledReadiness {
    let matter = findings.iter().filter(|finding| match finding.severity {
        ReadinessSeverity::Blocker | ReadinessSeverity::Unknown => true,
        ReadinessSeverity::Warning | ReadinessSeverity::Note => false,
    });
    let lines = matter.map(|finding| {
        format!(
            "{} {} in {}: {}: {}",
            finding.severity.as_str(),
            finding.check.as_str(),
            finding.region,
            finding.subject,
            finding.problem
        )
    });
    DrilledReadiness {
        findings: lines.collect(),
        counts: ReadinessCounts::of(findings),
    }
}

fn print_report(report: &DrillReport, stored: &StoredDrill) {
    output::print(&format!(
        "Drill of {} as the successor of {}: {}.",
        report.standby,
        report.primary,
        stored.verdict.as_str()
    ));
    let counts = report.readiness.counts;
    output::print(&format!(
        "Readiness: blockers {}, warnings {}, unknown {}.",
        counts.blockers, counts.warnings, counts.unknown
    ));
    for finding in &report.readiness.findings {
        output::print(&render::escape(&format!("  {finding}")));
    }
    output::print(&render::escape(&takeover_line(&report.takeover)));
    for unread in &report.takeover.unread {
        output::print(&render::escape(&format!("  unread: {unread}")));
    }
    match &report.no_queries_reason {
        Some(reason) => output::print(&render::escape(&format!("Queries: none, since {reason}."))),
        None => print_results(&report.results),
    }
    for (what, milliseconds) in &report.milliseconds {
        output::print(&format!("Measured: {what}: {milliseconds} ms."));
    }
    output::print(&format!(
        "Not measured: a takeover waits {} s after the epoch.",
        report.wait_seconds
    ));
    output::print(&format!("Digest: {}.", stored.digest));
}

fn takeover_line(takeover: &ValidatedTakeover) -> String {
    let seconds = takeover.recovery_point_seconds.iter();
    let seconds: Vec<String> = seconds
        .map(|(channel, seconds)| format!("{channel} {seconds} s"))
        .collect();
    let point = match seconds.is_empty() {
        true => "unknown".to_owned(),
        false => seconds.join(", "),
    };
    let would = match &takeover.refusal {
        Some(refusal) => format!("would be refused: {refusal}"),
        None => "would start now".to_owned(),
    };
    format!(
        "Failover: {would}; epoch {}; recovery point: {point}; {} not in sync.",
        takeover.epoch,
        counted(takeover.not_in_sync, "object")
    )
}

fn print_results(results: &[DrillResult]) {
    let count = |outcome| {
        let of_outcome = results.iter().filter(|result| result.outcome == outcome);
        of_outcome.count()
    };
    output::print(&format!(
        "Queries: {} passed, {} failed, {} unknown.",
        count(DrillOutcome::Passed),
        count(DrillOutcome::Failed),
        count(DrillOutcome::Unknown)
    ));
    for result in results {
        if result.outcome != DrillOutcome::Passed {
            output::print(&render::escape(&result_line(result)));
        }
    }
}

fn result_line(result: &DrillResult) -> String {
    format!(
        "  {} as {} (should be {}): {}: {}",
        result.outcome.as_str(),
        result.check.role,
        result.check.expect.as_str(),
        result.sql,
        result.detail
    )
}

/// What a query reads, in words.
fn query_words(query: &DrillQuery) -> &'static str {
    match query {
        DrillQuery::Columns(_) => "columns of one row",
        DrillQuery::Rows => "number of rows",
        DrillQuery::RowsInBothRegions => "number of rows in both Regions",
    }
}
