//! `twinlake status`: shows the replication state of every object.

use crate::commands::query::{self, DomainOption};
use crate::common_options::LedgerOptions;
use crate::connect::{LedgerConnection, STATUS_NEEDS_LEDGER, WithoutLedger, scope};
use crate::former_readers::reader_lines;
use crate::readiness_line::{readiness_json, readiness_line};
use crate::status_snapshot::StatusSnapshot;
use crate::takeover_status::{StandbyRole, TakeoverState, show_without_standby};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::collections::BTreeMap;
use std::time::Duration;
use twinlake_core::heartbeat::Channel;
use twinlake_core::policy::ScanInterval;
use twinlake_core::render::{counted, one_or_many};
use twinlake_core::{LedgerRow, NextCommands, Policy, Subject, render};
use twinlake_engine::call_ceiling::OBSERVED_SECS;

/// Arguments of `twinlake status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Show only this database, or table as DATABASE.TABLE: its state, its counterpart, the S3
    /// objects that it waits for, its open alerts and its last changes of state
    ///
    /// A name that contains a dot stands in quotation marks: '"fin.hr".pay'.
    #[arg(value_name = "OBJECT")]
    pub name: Option<String>,
    /// Refresh every SECONDS until Ctrl-C [default if no number is given: 5]
    ///
    /// Write OBJECT before this option.

    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub watch: Option<u64>,
    /// The domain.
    #[command(flatten)]
    pub domain: DomainOption,
    /// Print the status as JSON
    #[arg(long)]
    pub json: bool,
    /// Show objects that are in sync, too
    #[arg(long)]
    pub all: bool,
}

/// The lag samples of the last hour are read.
const LAG_WINDOW_SECS: i64 = 3600;

/// The largest number of objects that have one state and one reason and still get a line each.
const MAX_ROWS_WITH_ONE_REASON: usize = 3;

pub(crate) async fn run(
    ledger: &LedgerOptions,
    args: &StatusArgs,
) -> Result<CommandOutcome, CliError> {
    let Some(seconds) = args.watch else {
        return show(ledger, args).await;
    };
    loop {
        output::clear();
        let outcome = show(ledger, args).await?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(outcome),
        }
    }
}

async fn show(ledger: &LedgerOptions, args: &StatusArgs) -> Result<CommandOutcome, CliError> {
    args.domain.refuse(args.name.is_some(), "OBJECT")?;
    if args.domain.is_query() {
        return query::status(ledger, args.json, args.all).await;
    }
    let without_ledger = WithoutLedger::Fails(STATUS_NEEDS_LEDGER);
    let connection = match LedgerConnection::open(ledger, without_ledger).await {
        Ok(connection) => connection,
        Err(CliError::StandbyUnreachable {
            primary,
            standby,
            error,
        }) => {
            let regions = (primary.as_str(), standby.as_str());
            return show_without_standby(ledger, regions, &error, args.json).await;
        }
        Err(error) => return Err(error),
    };
    let (policy, epoch) = (&connection.policy, connection.epoch);
    let (primary, standby) = (&policy.primary(epoch).region, &policy.standby(epoch).region);
    let (role, takeover) = match connection.ledger.is_deployed() {
        true => (
            StandbyRole::read(ledger, epoch, standby).await?,
            TakeoverState::read(ledger, epoch, (primary, standby)).await?,
        ),
        false => (StandbyRole::Follows, TakeoverState::default()),
    };
    let is_fenced = role.is_fenced();
    if let Some(line) = role.fenced_line(primary, standby).filter(|_| !args.json) {
        output::print(&line);
    }
    let status = StatusSnapshot::read(&connection, LAG_WINDOW_SECS).await?;
    if let Some(name) = &args.name {
        return show_subject(&connection, &status, name, args.json);
    }
    if args.json {
        print_json(&connection, &status, is_fenced, &takeover);
    } else {
        print_summary(&connection, &status);
        let tells_clients = connection.operation.takeover.is_some();
        for line in takeover.lines((primary, standby), tells_clients, status.now) {
            output::print(&render::escape(&line));
        }
        let switched_at = takeover.in_primary.as_ref();
        let switched_at = switched_at.and_then(|record| record.switched_at);
        for line in reader_lines((primary, standby), switched_at, status.now).await {
            output::print(&render::escape(&line));
        }
        print_open_alerts(&connection.next, &status);
        print_rows(&connection.next, &status, args.all);
    }
    let problems = status.problems(&connection.operation.lag_alert);
    let needs_person = is_fenced || takeover.is_frozen();
    Ok(CommandOutcome::done_if(
        problems.is_empty() && !needs_person,
    ))
}

fn print_json(
    connection: &LedgerConnection,
    status: &StatusSnapshot,
    is_fenced: bool,
    takeover: &TakeoverState,
) {
    let rows: Vec<_> = status.rows.values().collect();
    let lag = status.current_lag().map(|sample| {
        let channels = Channel::EVERY.into_iter().filter_map(|channel| {
            let value = serde_json::json!({
                "seconds": sample.lag(channel)?, "lag_alert_seconds": connection.operation.lag_alert.of(channel),
            });
            Some((channel.as_str().to_owned(), value))
        });
        serde_json::Map::from_iter(channels)
    });
    let pending = status.pending_objects.iter().map(|(id, pending)| {
        serde_json::json!({"table": id.to_string(), "count": pending.count(),
                           "since": pending.since.to_string(), "reasons": pending.reasons.keys().collect::<Vec<_>>()})
    });
    let call_ceilings = status.call_ceilings.iter().map(|(region, used)| {
        let value = serde_json::json!({
            "calls_per_second": used.ceiling, "calls": used.calls,
            "seconds_at_ceiling": used.secs_at_ceiling, "of_seconds": OBSERVED_SECS,
        });
        (region.clone(), value)
    });
    let call_ceilings = serde_json::Map::from_iter(call_ceilings);
    let states = status.counts().into_keys();
    let next = states.map(|state| (state.to_string(), connection.next.state(state, None).into()));
    let next = serde_json::Map::from_iter(next);
    let readiness = status.readiness.as_ref();
    let readiness = readiness.map(|record| readiness_json(record, &connection.next, status.now));
    let json = serde_json::json!({
        "epoch": connection.epoch,
        "primary": connection.policy.primary(connection.epoch),
        "standby": connection.policy.standby(connection.epoch),
        "fenced": is_fenced,
        "freeze": takeover.freeze_json(),
        "verified_at": status.verified_at.map(|at| at.to_string()),
        "lag": lag,
        "canaries": canaries_json(status),
        "open": status.open_alerts.iter().map(|alert| {
            serde_json::from_str(&alert.json()).unwrap_or_default()
        }).collect::<Vec<serde_json::Value>>(),
        "data_pending": pending.collect::<Vec<_>>(),
        "not_replicated": status.not_replicated,
        "call_ceilings": call_ceilings,
        "readiness": readiness,
        "rows": rows,
        "next": next,
    });
    output::json(&json);
}

/// The rules that canaries prove or should prove, and those that none can prove.
fn canaries_json(status: &StatusSnapshot) -> Option<serde_json::Value> {
    let state = status.canaries.as_ref()?;
    let rules = state.both_directions().map(|known| {
        serde_json::json!({
            "bucket": known.canary.bucket, "destination": known.canary.destination, "rule": known.canary.rule,
            "key": known.canary.key, "seconds": known.lag(status.now), "state": known.describe(),
            "arrived": known.health.last.map(|last| last.sent.to_string()),
        })
    });
    Some(serde_json::json!({
        "looked_at": state.received.at.to_string(),
        "rules": rules.collect::<Vec<_>>(),
        "unproven": state.unproven().collect::<Vec<_>>(),
    }))
}

/// Which S3 replication rules no canary proves, and why.
fn unproven_lines(status: &StatusSnapshot) -> Vec<String> {
    let Some(state) = &status.canaries else {
        return Vec::new();
    };
    let mut lines: Vec<String> = state
        .unproven()
        .take(MAX_ROWS_WITH_ONE_REASON)
        .map(|unproven| {
            let line = format!(
                "Unproven S3 replication: {}: {}.",
                unproven.subject(),
                unproven.reason
            );
            render::escape(&line)
        })
        .collect();
    let more = state.unproven().count() - lines.len();
    if more > 0 {
        lines.push(format!(
            "Unproven S3 replication: {more} more (--json lists them)."
        ));
    }
    lines
}

/// What resyncs read only daily or weekly, as an addition to the time of the last one.
fn scan_intervals(policy: &Policy) -> String {
    let within = |what: &str, interval: ScanInterval| match interval {
        ScanInterval::EveryResync => None,
        ScanInterval::Daily => Some(format!("{what} within the day before it")),
        ScanInterval::Weekly => Some(format!("{what} within the week before it")),
    };
    let partitions = within("partitions", policy.partition_scan);
    let attachments = within(
        "indexes, statistics and filters that nobody is granted",
        policy.attachment_scan,
    );
    let intervals = partitions.into_iter().chain(attachments);
    intervals.map(|text| format!("; {text}")).collect()
}

fn print_summary(connection: &LedgerConnection, status: &StatusSnapshot) {
    let primary = connection.policy.primary(connection.epoch);
    let standby = connection.policy.standby(connection.epoch);
    let verified = match status.verified_at {
        Some(at) => format!(
            "verified as of {at}: what is in-sync equalled the primary at that time or later{}",
            scan_intervals(&connection.policy)
        ),
        None => "not verified: no resync has completed yet".to_owned(),
    };
    let counts = status.counts();
    let counts: Vec<String> = counts
        .iter()
        .map(|(state, n)| format!("{n} {state}"))
        .collect();
    output::print(&format!(
        "Primary {}, standby {}, {verified}.",
        primary.region, standby.region
    ));
    let problems = status.problems(&connection.operation.lag_alert);
    output::print(&match problems.is_empty() {
        true => "Every object is in sync, and no alert is open.".to_owned(),
        false => format!("Attention needed: {}.", problems.join(", ")),
    });
    if let Some(readiness) = &status.readiness {
        let line = readiness_line(readiness, &standby.region, &connection.next, status.now);
        output::print(&format!("Takeover: {}.", render::escape(&line)));
    }
    if status.needs_resync() {
        output::print(&format!("Next: run {}.", connection.next.resync()));
    }
    output::print(&match counts.is_empty() {
        true => "Objects: none is replicated yet.".to_owned(),
        false => format!("Objects: {}.", counts.join(", ")),
    });
    let lag = match (status.current_lag(), status.lag_samples.last()) {
        (Some(lag), _) => {
            let storage = match lag.storage {
                Some(storage) => format!("{storage} s"),
                None => "not measured".to_owned(),
            };
            let (catalog, permissions) = (lag.catalog, lag.permissions);
            format!("Lag: catalog {catalog} s, permissions {permissions} s, storage {storage}.")
        }
        (None, Some(last)) => format!("Lag: last measured at {}.", last.at),
        (None, None) => "Lag: not measured.".to_owned(),
    };
    output::print(&lag);
    for line in unproven_lines(status) {
        output::print(&line);
    }
    for (region, used) in &status.call_ceilings {
        output::print(&format!(
            "Calls to {region}: at most {} a second. In the last {OBSERVED_SECS} s Twinlake reserved {}, and \
             could reserve no more in {} s.",
            used.ceiling, used.calls, used.secs_at_ceiling
        ));
    }
}

fn print_open_alerts(next: &NextCommands, status: &StatusSnapshot) {
    for alert in &status.open_alerts {
        let line = format!(
            "{:<6} {} {} in {} since {}, {}: {}",
            alert.kind.severity().as_str(),
            alert.kind,
            alert.subject,
            alert.region,
            alert.since,
            counted(alert.total, "occurrence"),
            alert.summary
        );
        output::print(&render::escape(&line));
        let line = format!("       next: {}", next.alert(alert));
        output::print(&render::escape(&line));
    }
}

/// Prints the objects by state, the worst first, and for each state what to do next.
fn print_rows(next: &NextCommands, status: &StatusSnapshot, all: bool) {
    let rows = status.worst_first(all);
    for of_state in rows.chunk_by(|one, other| one.state == other.state) {
        let Some(first) = of_state.first() else {
            continue;
        };
        let (state, count) = (first.state, of_state.len());
        let heading = format!("{state} ({count}). Next: {}.", next.state(state, None));
        output::print(&render::escape(&heading));
        for line in row_lines(of_state, all) {
            output::print(&line);
        }
    }
    let held = status
        .rows
        .values()
        .filter(|row| row.over_deletion_limit)
        .count();
    if held > 0 {
        output::print(&format!(
            "Held deletions: {held}. They exceed the deletion limit; if they are intended, run \
             `twinlake approve-deletions` with the same --region, or --policy and --ledger."
        ));
    }
}

/// The lines of objects in one state. Unless `all` are wanted, many with one reason share a line.
fn row_lines(rows: &[&LedgerRow], all: bool) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<&LedgerRow>> = BTreeMap::new();
    for row in rows {
        let reason = row.reason.as_deref().unwrap_or_default();
        by_reason.entry(reason).or_default().push(row);
    }
    let shares_line = |row: &LedgerRow| {
        let reason = row.reason.as_deref().unwrap_or_default();
        let alike = by_reason.get(reason).map_or(0, Vec::len);
        !all && !reason.is_empty() && alike > MAX_ROWS_WITH_ONE_REASON
    };
    let mut lines: Vec<String> = rows
        .iter()
        .filter(|row| !shares_line(row))
        .map(|row| row_line(row))
        .collect();
    for (reason, rows) in &by_reason {
        let Some(oldest) = rows.iter().min_by_key(|row| row.since) else {
            continue;
        };
        if shares_line(oldest) {
            let line = format!(
                "{:<12} {} and {} more (--all lists them) since {} {reason}",
                oldest.state.to_string(),
                oldest.subject,
                rows.len() - 1,
                oldest.since
            );
            lines.push(render::escape(&line));
        }
    }
    lines
}

fn row_line(row: &LedgerRow) -> String {
    let reason = row.reason.as_deref().unwrap_or_default();
    let line = format!(
        "{:<12} {} since {} {reason}",
        row.state.to_string(),
        row.subject,
        row.since
    );
    render::escape(&line).trim_end().to_owned()
}

/// Prints one subject with its last state changes; for a database, also those of its tables.
fn show_subject(
    connection: &LedgerConnection,
    status: &StatusSnapshot,
    name: &str,
    json: bool,
) -> Result<CommandOutcome, CliError> {
    let requested = scope(&[name.to_owned()])?.read_requests;
    let is_requested = |subject: &Subject| {
        let database = subject.database().cloned().map(Subject::Database);
        requested.contains_key(subject)
            || database.is_some_and(|database| requested.contains_key(&database))
    };
    let rows: Vec<&LedgerRow> = status
        .rows
        .values()
        .filter(|row| is_requested(&row.subject))
        .collect();
    if rows.is_empty() {
        let problem = format!(
            "the ledger has no entry for {name}; to see whether the policy includes it, run `twinlake \
             policy explain {name}` with the same --region or --policy"
        );
        return Err(CliError::Usage(problem));
    }
    if json {
        output::json(&rows);
    } else {
        for row in &rows {
            print_subject(connection, status, row);
        }
    }
    let needs_attention = rows.iter().any(|row| status.needs_attention(row));
    Ok(CommandOutcome::done_if(!needs_attention))
}

fn print_subject(connection: &LedgerConnection, status: &StatusSnapshot, row: &LedgerRow) {
    output::print(&row_line(row));
    let (next, standby) = (&connection.next, connection.epoch.standby());
    let of_files = match &row.subject {
        Subject::Table(table) => Some(table).filter(|_| row.waits_for_files()),
        Subject::Catalog
        | Subject::LakeFormation(_)
        | Subject::Database(_)
        | Subject::Function(_) => None,
    };
    let next_command = match of_files {
        Some(table) => next.state_of_files(row.state, table),
        None => next.state(row.state, Some(&row.subject)),
    };
    let mut facts = vec![format!("next: {next_command}")];
    if let Some(pairing) = &row.pairing {
        let created = pairing.created_in(standby).map(|at| at.to_string());
        let created = created.unwrap_or_else(|| "an unknown time".to_owned());
        facts.push(format!(
            "its counterpart in the standby was created at {created}"
        ));
    } else {
        facts.push("it has no counterpart in the standby".to_owned());
    }
    facts.extend(
        row.source_location
            .iter()
            .map(|location| format!("its files are at {location}")),
    );
    if let Some(at) = row.verified_at {
        facts.push(format!("it was equal to the primary as of {at}, or later"));
    }
    if let Some(at) = row.listed_at {
        facts.push(format!("its database was listed at {at}, or later"));
    }
    if row.partitions > 0 {
        facts.push(format!(
            "{} at the last count",
            counted(row.partitions, "partition")
        ));
    }
    facts.extend(pending_objects(status, &row.subject));
    let alerts = status.open_alerts.iter();
    let alerts = alerts.filter(|alert| alert.is_about(&row.subject));
    facts.extend(alerts.map(|alert| {
        let next = next.alert(alert);
        format!(
            "open alert {} in {}: {} Next: {next}.",
            alert.kind, alert.region, alert.summary
        )
    }));
    facts.extend(row.history.iter().map(|change| {
        let reason = change.reason.as_deref().unwrap_or_default();
        format!("{} {} {reason}", change.at, change.state)
    }));
    for fact in facts {
        output::print(render::escape(&format!("    {fact}")).trim_end());
    }
}

/// The S3 objects that a table waits for: for each reason their number, and those that are checked.
fn pending_objects(status: &StatusSnapshot, subject: &Subject) -> Vec<String> {
    let Subject::Table(id) = subject else {
        return Vec::new();
    };
    let pending = status.pending_objects.get(id).into_iter();
    let mut lines = Vec::new();
    for (reason, missing) in pending.flat_map(|pending| &pending.reasons) {
        lines.push(format!(
            "{} {} not arrived ({reason}); {} of them {} checked:",
            counted(missing.count, "object"),
            one_or_many(missing.count, "has", "have"),
            missing.samples.len(),
            one_or_many(missing.samples.len(), "is", "are")
        ));
        let samples = missing.samples.iter();
        lines.extend(samples.map(|object| format!("    s3://{}/{}", object.bucket, object.key)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::{Name, SubjectState, Timestamp};

    fn row(name: &str, since: i64, reason: &str) -> LedgerRow {
        let subject = Subject::Database(Name::new(name).unwrap());
        let mut row = LedgerRow::new(
            subject,
            SubjectState::OutOfSync,
            Timestamp::from_secs(since),
        );
        row.reason = Some(reason.to_owned());
        row
    }

    #[test]
    fn many_objects_with_one_reason_share_a_line_unless_all_are_wanted() {
        let mut rows = vec![row("other", 1, "no answer")];
        rows.extend((0..4).map(|i| row(&format!("d{i}"), 20 - i, "hidden")));
        let rows: Vec<&LedgerRow> = rows.iter().collect();
        let lines = row_lines(&rows, false);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("database other since") && lines[0].ends_with("no answer"));
        let shared = "database d3 and 3 more (--all lists them) since 1970-01-01T00:00:17Z hidden";
        assert!(lines[1].ends_with(shared), "{}", lines[1]);
        assert_eq!(row_lines(&rows, true).len(), 5);
        assert_eq!(row_lines(&rows[..4], false).len(), 4);
    }
}
