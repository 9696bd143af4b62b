//! `twinlake divergence`: what the former primary has, has changed or has deleted, and the primary has not; and the
//! acceptance that it is given up.

use crate::common_options::Common;
use crate::connect::{CommandRegion, Connection, WithoutLedger, ledger_in};
use crate::files::write_json;
use crate::takeover_status::disputed_line;
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use twinlake_aws::{Clients, DynamoLedger, S3ObjectVersions, SystemClock};
use twinlake_core::divergence::{
    DivergenceReport, FormerChangeKind, KeyDivergence, LocationDivergence,
};
use twinlake_core::failover::EpochRecord;
use twinlake_core::render::{self, StepCounts, counted, counted_objects, one_or_many};
use twinlake_core::step_kind::ObjectKind;
use twinlake_core::topology::Epoch;
use twinlake_engine::divergence::{
    AcceptError, Divergence, DivergenceContext, RegionPorts, accept, compare, finish_interrupted,
};
use twinlake_engine::{Ledger as _, ReadRegion as _};

/// Arguments of `twinlake divergence`.
#[derive(Debug, Clone, Args)]
pub struct DivergenceArgs {
    /// Write the whole report to this file, as JSON, with every object and every key that it counts
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Accept the report with this digest: what it lists is given up, and the former primary becomes
    /// the standby; requires --out
    ///
    /// The report is made again, and written to the file of --out before anything else is. If its
    /// digest is another one, nothing is accepted.
    #[arg(long, value_name = "DIGEST", requires = "out")]
    pub accept: Option<String>,
    /// Do not ask for confirmation; only with --accept
    #[arg(long, requires = "accept")]
    pub yes: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Why the command needs the ledgers of a deployment.
const NEEDS_LEDGERS: &str = "what the former primary has changed is told by the ledgers of a deployment; add \
                             --region REGION, either of its Regions";

/// The most lines of a list that are printed.
const MAX_LINES: usize = 30;

/// The ledgers and the buckets of both Regions.
struct BothRegions {
    primary_ledger: DynamoLedger,
    former_ledger: DynamoLedger,
    primary_objects: S3ObjectVersions,
    former_objects: S3ObjectVersions,
    record: EpochRecord,
    /// The epoch that the former primary holds.
    held: Epoch,
}

impl BothRegions {
    async fn open(common: &Common, connection: &Connection) -> Result<Self, CliError> {
        let (primary, former) = connection.regions();
        let (primary, former) = (primary.region(), former.region());
        let primary_ledger = ledger_in(&common.ledger.ledger_table, primary).await;
        let former_ledger = ledger_in(&common.ledger.ledger_table, former).await;
        let held = former_ledger.epoch().await?;
        let record = primary_ledger.epoch_record().await?;
        Ok(Self {
            primary_objects: S3ObjectVersions::new(&Clients::connect(primary).await),
            former_objects: S3ObjectVersions::new(&Clients::connect(former).await),
            primary_ledger,
            former_ledger,
            record: record.map(|(record, _)| record).unwrap_or_default(),
            held,
        })
    }
}

/// Fails if the former primary is not fenced.
fn check_fenced(
    epoch: Epoch,
    held: Epoch,
    (primary, former): (&str, &str),
) -> Result<(), CliError> {
    if held.is_before(epoch) {
        return Ok(());
    }
    Err(CliError::Usage(match held.is_disputed_by(epoch) {
        true => disputed_line(held.number(), (primary, former)),
        false => format!(
            "{former} is the standby by epoch {}: nothing has diverged; `twinlake plan --region {former}` \
             compares the Regions",
            epoch.number()
        ),
    }))
}

pub(crate) async fn run(
    common: &Common,
    args: &DivergenceArgs,
) -> Result<CommandOutcome, CliError> {
    if common.ledger.ledger.is_some() {
        return Err(CliError::Usage(NEEDS_LEDGERS.to_owned()));
    }
    let connection = Connection::open(common, WithoutLedger::Fails(NEEDS_LEDGERS)).await?;
    let both = BothRegions::open(common, &connection).await?;
    let command = DivergenceCommand {
        connection: &connection,
        both: &both,
        args,
    };
    if let Some(digest) = &args.accept
        && command.finish_interrupted(digest).await?
    {
        return Ok(CommandOutcome::Done);
    }
    let (primary, former) = connection.regions();
    let names = (primary.region(), former.region());
    check_fenced(connection.epoch, both.held, names)?;
    let regions = command.regions();
    let divergence = command.read(&regions).await?;
    let report = &divergence.report;
    match args.json {
        true => output::json(&WholeReport::of(report)),
        false => output::print(&report_text(report)),
    }
    match &args.accept {
        Some(digest) => command.accept(&regions, divergence, digest).await,
        None => {
            if !args.json {
                print_next(report);
            }
            Ok(CommandOutcome::done_if(report.is_empty()))
        }
    }
}

/// The Regions, with the ports of this command.
type CommandContext<'a> =
    DivergenceContext<'a, CommandRegion, DynamoLedger, S3ObjectVersions, SystemClock>;

/// A report as `--json` and the file of `--out` have it.
#[derive(Serialize)]
struct WholeReport<'a> {
    digest: String,
    report: &'a DivergenceReport,
}

impl<'a> WholeReport<'a> {
    fn of(report: &'a DivergenceReport) -> Self {
        Self {
            digest: report.digest(),
            report,
        }
    }
}

/// What the command works on.
struct DivergenceCommand<'a> {
    connection: &'a Connection,
    both: &'a BothRegions,
    args: &'a DivergenceArgs,
}

impl<'a> DivergenceCommand<'a> {
    fn regions(&self) -> CommandContext<'a> {
        let (primary, former) = self.connection.regions();
        let both = self.both;
        self.connection.returning(
            RegionPorts {
                region: primary,
                ledger: &both.primary_ledger,
                objects: &both.primary_objects,
            },
            RegionPorts {
                region: former,
                ledger: &both.former_ledger,
                objects: &both.former_objects,
            },
        )
    }

    /// Completes the acceptance of this report, if it was killed at its end. Returns whether the report is accepted.
    async fn finish_interrupted(&self, digest: &str) -> Result<bool, CliError> {
        let (primary, both) = (self.connection.regions().0.region(), self.both);
        let at = (primary, both.held);
        let ledger = &both.primary_ledger;
        let finished = finish_interrupted(ledger, &SystemClock, at, Some(digest)).await?;
        if finished {
            self.print_accepted();
        }
        Ok(finished)
    }

    /// Compares the Regions, and writes the report to the file of `--out`.
    async fn read(&self, regions: &CommandContext<'_>) -> Result<Divergence, CliError> {
        self.connection.progress.begin("Comparing the Regions");
        let found = compare(regions, &self.both.record).await;
        self.connection.progress.end();
        let divergence = found?;
        write_report(&divergence.report, self.args)?;
        Ok(divergence)
    }

    /// Asks, and accepts the report with this digest.
    async fn accept(
        &self,
        regions: &CommandContext<'_>,
        divergence: Divergence,
        digest: &str,
    ) -> Result<CommandOutcome, CliError> {
        // A report that is not the accepted one is refused before anybody is asked.
        let divergence = match self.args.yes || divergence.report.digest() != digest {
            true => divergence,
            false => {
                if !confirm_report(&divergence.report)? {
                    return Ok(CommandOutcome::AttentionNeeded);
                }
                // The question may have stood open for long. Of a large report only one is held in memory.
                drop(divergence);
                self.read(regions).await?
            }
        };
        let accepted = accept(regions, &divergence, digest).await;
        accepted.map_err(|error| accept_error(error, &divergence.report.former_region))?;
        self.print_accepted();
        Ok(CommandOutcome::Done)
    }

    fn print_accepted(&self) {
        let (primary, former) = self.connection.regions();
        let (primary, former) = (primary.region(), former.region());
        let epoch = self.connection.epoch.number();
        if !self.args.json {
            output::print(&format!(
                "{former} is the standby by epoch {epoch}. The next resync makes it equal to {primary}; `twinlake \
                 resync --region {former}` does it now. Deletions beyond the deletion limit stay held until `twinlake \
                 approve-deletions --region {former}`."
            ));
        }
    }
}

/// Writes the report to the file of `--out`.
fn write_report(report: &DivergenceReport, args: &DivergenceArgs) -> Result<(), CliError> {
    let Some(file) = &args.out else {
        return Ok(());
    };
    write_json(file, &WholeReport::of(report))
}

fn confirm_report(report: &DivergenceReport) -> Result<bool, CliError> {
    output::confirm(&format!(
        "Give up what is listed, and make {} the standby of {}?",
        report.former_region, report.primary_region
    ))
}

fn accept_error(error: AcceptError, former: &str) -> CliError {
    match error {
        AcceptError::Call(error) => CliError::Usage(format!(
            "{error}; accepting goes on when you run the same command again; until then {former} stays fenced"
        )),
        AcceptError::Unconfirmed(error) => CliError::Usage(format!(
            "{error}; {former} may be the standby already, since this call came after the epoch was sent; run the \
             same command again, which completes the acceptance"
        )),
        refused @ (AcceptError::Changed { .. }
        | AcceptError::Unread { .. }
        | AcceptError::FailoverUnderWay
        | AcceptError::NotFenced { .. }) => CliError::Usage(refused.to_string()),
    }
}

/// The report for people.
fn report_text(report: &DivergenceReport) -> String {
    let (former, primary) = (&report.former_region, &report.primary_region);
    let mut lines = vec![format!(
        "{former} is fenced: {primary} is the primary by epoch {}. This is what {former} has, has changed or has \
         deleted, and {primary} has not. Accepting the report gives up all of it, except the keys marked '{}'.",
        report.epoch.number(),
        KeyDivergence::ArrivedLate
    )];
    let mut counts: BTreeMap<(FormerChangeKind, ObjectKind), usize> = BTreeMap::new();
    for change in &report.changes {
        *counts.entry((change.kind, change.object)).or_default() += 1;
    }
    lines.push(match counts.is_empty() {
        true => "Catalog and permissions: nothing.".to_owned(),
        false => {
            let counts = counts.iter();
            let counts = counts
                .map(|((kind, object), n)| format!("{} {kind}", counted_objects(*n, *object)));
            let counts: Vec<String> = counts.collect();
            format!("Catalog and permissions: {}.", counts.join(", "))
        }
    });
    for change in report.changes.iter().take(MAX_LINES) {
        let text = render::escape(change.text.trim().lines().next().unwrap_or_default());
        lines.push(format!("  - {}: {text}", change.kind));
    }
    lines.extend(more(report.changes.len()));
    if report.bookkeeping > 0 {
        lines.push(format!(
            "  {} {} only in what engines and crawlers record, such as counts and times.",
            report.bookkeeping,
            one_or_many(report.bookkeeping, "differs", "differ")
        ));
    }
    for location in &report.locations {
        lines.extend(location_lines(location, report));
    }
    if !report.unread.is_empty() {
        lines.push("Not compared, so the report cannot be accepted:".to_owned());
        let unread = report.unread.iter().take(MAX_LINES);
        lines.extend(unread.map(|reason| format!("  - {}", render::escape(reason))));
        lines.extend(more(report.unread.len()));
    }
    let mut steps = StepCounts::default();
    for step in &report.plan.steps {
        steps.add(step);
    }
    lines.push(format!(
        "To make {former} equal to {primary}, Twinlake would apply {} now.",
        counted(steps.total(), "step")
    ));
    lines.push(format!("Digest: {}", report.digest()));
    lines.join("\n")
}

fn more(count: usize) -> Option<String> {
    let left = count.checked_sub(MAX_LINES).filter(|left| *left > 0)?;
    Some(format!(
        "  and {left} more; `--out FILE` writes all of them"
    ))
}

fn location_lines(location: &LocationDivergence, report: &DivergenceReport) -> Vec<String> {
    let counts = location.counts.iter();
    let counts: Vec<String> = counts
        .map(|(kind, n)| format!("{} {kind}", counted(*n, "key")))
        .collect();
    let found = match counts.is_empty() {
        true => "nothing".to_owned(),
        false => counts.join(", "),
    };
    let compared = match location.since {
        Some(since) => format!(" since {since}: {found}. Older ones are not compared"),
        None => format!(": {found}"),
    };
    let mut lines = vec![render::escape(&format!(
        "Objects in {}{compared}. Twinlake changes none of them.",
        location.former
    ))];
    for key in location.keys.iter().take(MAX_LINES) {
        let table = key.table.as_ref().map(|table| format!(" of {table}"));
        let marker = match key.has_delete_marker {
            true => ", with a delete marker",
            false => "",
        };
        let line = format!(
            "  - {}: {}{}{marker}",
            key.divergence,
            key.key,
            table.unwrap_or_default()
        );
        lines.push(render::escape(&line));
    }
    lines.extend(more(location.keys.len()));
    for (site, reason) in &location.unread {
        let what = match *site == report.epoch.primary() {
            true => &location.primary,
            false => &location.former,
        };
        let line = format!("  unknown: what else is in {what}: {reason}");
        lines.push(render::escape(&line));
    }
    if location.unknown_origin > 0 {
        lines.push(format!(
            "  unknown: which Region wrote {}",
            counted(location.unknown_origin, "version")
        ));
    }
    lines
}

fn print_next(report: &DivergenceReport) {
    output::print(&format!(
        "Keep what you need of it first: create it again in {}, and copy objects. Then accept the rest:\n  twinlake \
         divergence --region {} --accept {} --out FILE\nThe digest depends on --ignore-role, --ledger-table and the role \
         that you run as: repeat all three.",
        report.primary_region,
        report.primary_region,
        report.digest()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::topology::SiteId;
    use twinlake_core::{CallError, CallErrorKind};

    #[test]
    fn only_a_region_with_an_older_epoch_is_compared_and_the_refusal_says_why() {
        let epoch = Epoch::new(3, SiteId::B);
        let checked = |held| {
            let checked = check_fenced(epoch, held, ("ap-south-1", "us-east-1"));
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(checked(Epoch::new(2, SiteId::A)), Ok(()));
        let standby = checked(epoch).unwrap_err();
        assert!(standby.contains("nothing has diverged"), "{standby}");
        let disputed = checked(Epoch::new(3, SiteId::A)).unwrap_err();
        assert!(
            disputed.contains("hold epoch 3 with different primaries"),
            "{disputed}"
        );
    }

    #[test]
    fn a_failed_acceptance_says_whether_the_region_stays_fenced() {
        let error = || CallError::new(CallErrorKind::Unavailable, "PutItem", "us-east-1", "no");
        let told = |error| accept_error(error, "us-east-1").to_string();
        let before = told(AcceptError::Call(error()));
        assert!(before.contains("us-east-1 stays fenced"), "{before}");
        let after = told(AcceptError::Unconfirmed(error()));
        assert!(!after.contains("stays fenced"), "{after}");
        assert!(after.contains("may be the standby already"), "{after}");
    }
}
