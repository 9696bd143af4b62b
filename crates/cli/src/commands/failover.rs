//! `twinlake failover`: makes the standby the primary, because the primary is gone. Calls the ledger and Glue
//! of the surviving Region, and nothing else.

use super::surviving_region::NewPrimaryRegion;
use super::switch_options::SwitchOptions;
use super::takeover_wake::wake_tools;
use crate::output::duration;
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use twinlake_aws::{AwsRegion, Clients, SystemClock};
use twinlake_core::failover::{
    FailoverDecision, FailoverJournal, FailoverRequest, FailoverStep, RecoveryPoint,
    SwitchOperation, UnrestoredGrants,
};
use twinlake_core::heartbeat::Channel;
use twinlake_core::render::{counted, one_or_many};
use twinlake_core::topology::{Epoch, FENCE_WAIT_SECS, RegionRole, WRITE_LEASE_SECS};
use twinlake_core::{Timestamp, render};
use twinlake_engine::failover::{
    self, FailoverError, FailoverPreview, FailoverProgress, Handover, MAX_CONCURRENT_RESTORES,
    NewPrimary, undo_failover,
};
use twinlake_engine::write_fence::{WriteFence, WriterRole};
use twinlake_engine::{Clock as _, GuardedRegion};

/// Arguments of `twinlake failover`.
#[derive(Debug, Clone, Args)]
pub struct FailoverArgs {
    /// The surviving Region, which becomes the primary
    #[arg(long, value_name = "REGION")]
    pub region: String,
    /// The DynamoDB table of the deployment's ledger in that Region
    #[arg(long, value_name = "TABLE", default_value = crate::common_options::DEFAULT_LEDGER_TABLE)]
    pub ledger_table: String,
    /// Accept that changes are lost that had not arrived from the primary
    #[arg(long, conflicts_with = "undo")]
    pub accept_loss: bool,
    /// How it is asked for
    #[command(flatten)]
    pub switch: SwitchOptions,
}

pub(crate) async fn run(args: &FailoverArgs) -> Result<CommandOutcome, CliError> {
    let options = &args.switch;
    let new_primary = NewPrimaryRegion::open(&args.ledger_table, &args.region, options).await?;
    if options.undo {
        return undo(&new_primary).await;
    }
    let request = options.request(args.accept_loss, None);
    let question = format!(
        "Make {} the primary, and lose what has not arrived from {}?",
        args.region,
        new_primary.other_region()
    );
    let outcome = switch(&new_primary, &request, &(), options, &question).await?;
    if !options.validate_only {
        wake_tools(&new_primary, None).await;
    }
    Ok(outcome)
}

/// Undoes what is under way.
async fn undo(new_primary: &NewPrimaryRegion) -> Result<CommandOutcome, CliError> {
    let undone = undo_failover(&new_primary.ledger, &SystemClock).await;
    let frozen = undone.map_err(|error| cli_error(error, "run the same command again"))?;
    if new_primary.is_quiet {
        output::json(&serde_json::json!({ "undone": "failover", "frozen": frozen }));
        return Ok(CommandOutcome::done_if(frozen == 0));
    }
    output::print("The failover is undone. It had changed nothing but its journal.");
    if frozen > 0 {
        output::print(&format!(
            "{} to write {} revoked in {} by a switchover before it: `twinlake switchover --region {} --undo` grants \
             them again.",
            counted(frozen, "grant"),
            one_or_many(frozen, "is", "are"),
            new_primary.other_region(),
            new_primary.region
        ));
    }
    Ok(CommandOutcome::done_if(frozen == 0))
}

/// Shows what a failover or switchover would do, asks for confirmation, and does it.
pub(super) async fn switch<H: Handover>(
    new_primary: &NewPrimaryRegion,
    request: &FailoverRequest,
    handover: &H,
    options: &SwitchOptions,
    question: &str,
) -> Result<CommandOutcome, CliError> {
    let preview =
        failover::preview(new_primary.site, &new_primary.ledger, &SystemClock, request).await?;
    if !new_primary.is_quiet {
        print_preview(new_primary, request.operation(), &preview);
    }
    let next = match &preview.decision {
        Ok(FailoverDecision::Start(record) | FailoverDecision::Resume(record)) => record,
        Ok(FailoverDecision::AlreadyPrimary) => {
            let record = preview.record.with_later_handover();
            print_end(new_primary, record.epoch, record.failover.as_ref());
            let journal = record.failover;
            let is_done = journal.is_none_or(|journal| has_nothing_left(&journal, request));
            return Ok(CommandOutcome::done_if(is_done));
        }
        Err(refusal) => return Err(CliError::Usage(refusal.to_string())),
    };
    let journal = next.failover.as_ref();
    let to = journal.map_or(next.epoch, |journal| journal.to);
    if options.validate_only {
        if new_primary.is_quiet {
            output::json(&serde_json::json!({
                "epoch": preview.record.epoch, "next": next, "recovery_point": preview.recovery_point,
            }));
        }
        return Ok(CommandOutcome::Done);
    }
    // Until the epoch is written, a person may decide otherwise.
    let is_cancellable = journal.is_none_or(FailoverJournal::is_before_epoch);
    if let Some(question) = options.confirmation(question).filter(|_| is_cancellable)
        && !output::confirm(question)?
    {
        return Ok(CommandOutcome::AttentionNeeded);
    }
    let journal = take_over(new_primary, request, to, handover).await?;
    print_end(new_primary, to, journal.as_ref());
    let is_done = journal.is_none_or(|journal| has_nothing_left(&journal, request));
    Ok(CommandOutcome::done_if(is_done))
}

/// Whether no default permissions and no grants are left to restore and, in a switchover, nothing is left to hand over.
fn has_nothing_left(journal: &FailoverJournal, request: &FailoverRequest) -> bool {
    let is_handed_over = journal.not_handed_over.is_none();
    let hands_over = request.operation() == SwitchOperation::Switchover;
    let is_restored = journal.unrestored.is_empty() && journal.left_frozen.is_none();
    is_restored && (is_handed_over || !hands_over)
}

/// Runs the steps. What they write in Glue is sent under a lease on the role that the Region has by then.
async fn take_over<H: Handover>(
    new_primary: &NewPrimaryRegion,
    request: &FailoverRequest,
    to: Epoch,
    handover: &H,
) -> Result<Option<FailoverJournal>, CliError> {
    let clients = Clients::connect(&new_primary.region).await;
    let fence = Arc::new(WriteFence::new(
        new_primary.ledger.clone(),
        None,
        SystemClock,
    ));
    let writer = WriterRole {
        site: new_primary.site,
        epoch: to,
        role: RegionRole::Primary,
    };
    fence.allow(writer, None);
    clients.limits().require_lease(fence.lease().clone());
    let account = &new_primary.policy.sites.get(new_primary.site).account;
    let region = GuardedRegion::new(AwsRegion::new(&clients, account), Some(fence));
    let progress = PrintedProgress {
        is_quiet: new_primary.is_quiet,
        last_printed: Cell::default(),
    };
    let caller = new_primary.caller_if_frozen().await?;
    let run = NewPrimary {
        site: new_primary.site,
        region: &region,
        ledger: &new_primary.ledger,
        timer: &SystemClock,
        policy: &new_primary.policy,
        max_concurrent_calls: MAX_CONCURRENT_RESTORES,
        fence_wait: new_primary.fence_wait,
        progress: &progress,
        handover,
        caller: caller.as_ref(),
        stop_at: None,
    };
    let operation = request.operation().as_str();
    let again = format!("the {operation} goes on when you run the same command again");
    let journal = failover::run(&run, request).await;
    journal.map_err(|error| cli_error(error, &again))
}

/// The error of a command. `again` says how it goes on after a call that failed.
pub(super) fn cli_error(error: FailoverError, again: &str) -> CliError {
    match error {
        refused @ (FailoverError::Refused(_)
        | FailoverError::NotUndone(_)
        | FailoverError::NotVerified(_)
        | FailoverError::NotFrozen(_)
        | FailoverError::Stopped(_)
        | FailoverError::UndoneMeanwhile) => CliError::Usage(refused.to_string()),
        FailoverError::Call(mut error) => {
            error.message = format!("{}; {again}", error.message);
            error.into()
        }
    }
}

/// Prints each step, and the wait every ten seconds.
struct PrintedProgress {
    is_quiet: bool,
    /// The seconds that were left when the wait was printed last.
    last_printed: Cell<Option<u64>>,
}

impl FailoverProgress for PrintedProgress {
    fn step_started(&self, step: FailoverStep) {
        if !self.is_quiet {
            output::print(&format!("Step: {}.", step.description()));
        }
    }

    fn waiting(&self, left: Duration) {
        let left = left.as_secs().next_multiple_of(10);
        if !self.is_quiet && self.last_printed.replace(Some(left)) != Some(left) {
            output::note(&format!("  at most {left} s left"));
        }
    }
}

fn print_preview(
    new_primary: &NewPrimaryRegion,
    operation: SwitchOperation,
    preview: &FailoverPreview,
) {
    let record = &preview.record;
    let asked = match operation {
        SwitchOperation::Failover => "; it is not asked",
        SwitchOperation::Switchover => "",
    };
    output::print(&format!(
        "{} holds epoch {}. The other Region is {}{asked}.",
        new_primary.region,
        new_primary.epoch_text(record.epoch),
        new_primary.other_region()
    ));
    let (next, point) = match &preview.decision {
        Ok(FailoverDecision::AlreadyPrimary) => return,
        Ok(FailoverDecision::Resume(next)) => {
            let journal = next.failover.as_ref();
            let under_way = journal.map_or(operation, |journal| journal.operation);
            output::print(&format!(
                "A {} is under way and goes on.",
                under_way.as_str()
            ));
            let point = journal.map(|journal| &journal.recovery_point);
            (Some(next), point.unwrap_or(&preview.recovery_point))
        }
        Ok(FailoverDecision::Start(next)) => (Some(next), &preview.recovery_point),
        Err(_) => (None, &preview.recovery_point),
    };
    print_recovery_point(new_primary, point, SystemClock.now());
    let Some(journal) = next.and_then(|next| next.failover.as_ref()) else {
        return;
    };
    print_left_out(new_primary, journal);
    let to = new_primary.epoch_text(journal.to);
    output::print(&format!("The steps to epoch {to}:"));
    let from = journal.next_step();
    let steps = journal.operation.steps().iter().copied();
    let steps = steps.skip_while(|step| Some(*step) != from);
    for step in
        steps.filter(|step| !journal.freeze.is_none() || *step != FailoverStep::FreezeGrants)
    {
        let line = match step {
            FailoverStep::WriteEpoch => format!("{}; undone until then", step.description()),
            FailoverStep::WaitForWriters => format!(
                "{}: {FENCE_WAIT_SECS} s, the lease of {WRITE_LEASE_SECS} s under which writers write, the \
                 longest life of a request that one of them sends last, and a margin",
                step.description()
            ),
            FailoverStep::FreezeGrants
            | FailoverStep::Verify
            | FailoverStep::RestoreDefaults
            | FailoverStep::HandOver => step.description().to_owned(),
        };
        output::print(&format!("  - {line}"));
    }
}

/// Prints what is lost, in the words of `status`.
fn nothing_arrived(channel: Channel) -> &'static str {
    match channel {
        Channel::Catalog | Channel::Permissions => "no heartbeat has arrived",
        Channel::Storage => "no canary has arrived under each replication rule",
    }
}

fn print_recovery_point(new_primary: &NewPrimaryRegion, point: &RecoveryPoint, now: Timestamp) {
    let age = |at: Timestamp| duration(now.secs().saturating_sub(at.secs()));
    output::print("What this Region knows of the primary:");
    for channel in Channel::EVERY {
        let what = channel.description();
        output::print(&match point.heartbeats.get(&channel) {
            Some(at) => format!("  - {what}: arrived until {at}, {} ago", age(*at)),
            None => format!("  - {what}: unknown, {}", nothing_arrived(channel)),
        });
    }
    for unread in &point.unread {
        output::print(&format!(
            "  - unknown, since it could not be read: {}",
            render::escape(unread)
        ));
    }
    output::print(&match point.verified_at {
        Some(at) => format!(
            "  - verified as of {at}, {} ago: what is not listed here equalled the primary then, or later",
            age(at)
        ),
        None => "  - not verified: no resync has completed".to_owned(),
    });
    output::print(&in_sync_line(point));
    for one in &point.behind {
        let equal = match one.equal_at {
            Some(at) => format!("equal to the primary at {at} or later"),
            None => "not known to have been equal".to_owned(),
        };
        let reason = one.reason.as_deref().unwrap_or_default();
        let line = format!(
            "    {} {} since {}, {equal} {reason}",
            one.state, one.subject, one.since
        );
        output::print(render::escape(&line).trim_end());
    }
    for one in &point.pending {
        let (table, objects, since) = (&one.table, one.objects, one.since);
        let line = format!(
            "    {} of {table} {} not arrived, since {since}",
            counted(objects, "file"),
            one_or_many(objects, "has", "have")
        );
        output::print(&render::escape(&line));
    }
    let all: usize = point.not_in_sync.values().sum();
    let unlisted = all.saturating_sub(point.behind.len())
        + point.pending_tables.saturating_sub(point.pending.len());
    if unlisted > 0 {
        output::print(&format!(
            "    and {unlisted} more; until the epoch is written, `twinlake status --all --region {}` lists them",
            new_primary.region
        ));
    }
}

/// Says whether the objects were in sync. Only what was read says so.
fn in_sync_line(point: &RecoveryPoint) -> String {
    let counts = point.not_in_sync.iter();
    let counts: Vec<String> = counts.map(|(state, n)| format!("{n} {state}")).collect();
    let line = match (counts.is_empty(), point.unread.is_empty()) {
        (false, _) => format!("objects that were not in sync: {}", counts.join(", ")),
        (true, false) => "whether every object was in sync is not known".to_owned(),
        (true, true) if point.pending_tables > 0 => {
            "every object was in sync, but for files that had not arrived".to_owned()
        }
        (true, true) => "every object was in sync".to_owned(),
    };
    format!("  - {line}")
}

/// The most objects without which a switchover goes on that are printed. The journal names all.
const MAX_LEFT_OUT_LINES: usize = 100;

/// Says without which objects a switchover goes on.
fn print_left_out(new_primary: &NewPrimaryRegion, journal: &FailoverJournal) {
    if journal.left_out.is_empty() {
        return;
    }
    output::print(&format!(
        "It goes on without {} of {} not in sync. Twinlake neither compares nor changes them there; \
         {} may lack them, or have them as they were:",
        counted(journal.left_out.len(), "object"),
        new_primary.other_region(),
        new_primary.region
    ));
    for subject in journal.left_out.iter().take(MAX_LEFT_OUT_LINES) {
        output::print(&render::escape(&format!("  - {subject}")));
    }
    let more = journal.left_out.len().saturating_sub(MAX_LEFT_OUT_LINES);
    if more > 0 {
        output::print(&format!("  and {more} more; `--json` names all of them"));
    }
}

/// Says what a freeze has revoked, and what was granted again.
fn print_frozen(new_primary: &NewPrimaryRegion, journal: &FailoverJournal) {
    let (region, other) = (&new_primary.region, new_primary.other_region());
    if journal.frozen > 0 {
        output::print(&format!(
            "{} to write {} revoked in {other} until it is the primary again.",
            counted(journal.frozen, "grant"),
            one_or_many(journal.frozen, "is", "are")
        ));
    }
    if journal.unfrozen > 0 {
        output::print(&format!(
            "{} to write, revoked when {region} was the primary before, {} granted again.",
            counted(journal.unfrozen, "grant"),
            one_or_many(journal.unfrozen, "is", "are")
        ));
    }
    if let Some(line) = left_frozen_line(journal, region) {
        print_left(&journal.left_frozen, &line);
    }
    for (grant, reason) in &journal.still_frozen {
        let line =
            format!("  not granted again, since its table or database is gone: {grant}: {reason}");
        output::print(&render::escape(&line));
    }
}

/// Prints a line about grants that were not granted again, and the first of them.
pub(super) fn print_left(left: &UnrestoredGrants, line: &str) {
    output::print(&render::escape(line));
    for (grant, reason) in &left.named {
        output::print(&render::escape(&format!("  {grant}: {reason}")));
    }
    let more = left.count.saturating_sub(left.named.len());
    if more > 0 {
        output::print(&format!("  and {more} more"));
    }
}

/// What is said of grants to write that a Region does not have again yet, though it is the primary.
pub(crate) fn left_frozen_line(journal: &FailoverJournal, region: &str) -> Option<String> {
    let left = Some(journal.left_frozen.count).filter(|left| *left > 0)?;
    Some(format!(
        "{} to write, revoked when {region} was the primary before, could not be granted again, and {} recorded: \
         correct the cause, as a data lake administrator of {region}, and run the same `twinlake {}` again.",
        counted(left, "grant"),
        one_or_many(left, "stays", "stay"),
        journal.operation.as_str()
    ))
}

fn print_end(new_primary: &NewPrimaryRegion, epoch: Epoch, journal: Option<&FailoverJournal>) {
    if new_primary.is_quiet {
        output::json(&serde_json::json!({ "epoch": epoch, "journal": journal }));
        return;
    }
    let (region, other) = (&new_primary.region, new_primary.other_region());
    let number = epoch.number();
    output::print(&format!("{region} is the primary by epoch {number}."));
    if let Some(journal) = journal {
        print_left_out(new_primary, journal);
        output::print(&format!(
            "The default permissions for new tables of {} are as they were in {other}.",
            counted(journal.restored, "database")
        ));
        for (database, reason) in &journal.unrestored {
            let line = format!(
                "  not of {database}: {reason}. New tables in it get no default permissions; correct the \
                 cause and run the command again."
            );
            output::print(&render::escape(&line));
        }
        print_frozen(new_primary, journal);
    }
    output::print(&format!(
        "Tell the users: the lake is in {region}. Databases, tables and permissions have the same names; \
         Athena, Glue, Lake Formation and Redshift Spectrum are used there. Writers write to the locations in \
         {region}:"
    ));
    for pair in new_primary.policy.locations.pairs() {
        let location = pair.sites.get(new_primary.site).without_trailing_slash();
        output::print(&render::escape(&format!("  {location}")));
    }
    output::print(&match journal {
        Some(FailoverJournal {
            operation: SwitchOperation::Switchover,
            not_handed_over: None,
            ..
        }) => format!("{other} is the standby, and follows {region}."),
        Some(FailoverJournal {
            operation: SwitchOperation::Switchover,
            not_handed_over: Some(reason),
            ..
        }) => render::escape(&format!(
            "{other} is fenced, and not the standby yet: {reason}. Run `twinlake divergence --region {region}`."
        )),
        Some(FailoverJournal {
            operation: SwitchOperation::Failover,
            ..
        })
        | None => format!(
            "When {other} returns, Twinlake changes nothing there: it is fenced. `twinlake divergence --region \
             {region}` says what to do; so does docs/takeover.md."
        ),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::SubjectState;

    #[test]
    fn only_what_was_read_says_that_every_object_was_in_sync() {
        let mut point = RecoveryPoint::default();
        assert_eq!(in_sync_line(&point), "  - every object was in sync");
        point.pending_tables = 1;
        let but_for = "  - every object was in sync, but for files that had not arrived";
        assert_eq!(in_sync_line(&point), but_for);
        point.unread.insert("objects".to_owned());
        assert!(in_sync_line(&point).ends_with("is not known"));
        point.not_in_sync.insert(SubjectState::OutOfSync, 2);
        assert!(in_sync_line(&point).contains("not in sync: 2 "));
    }
}
