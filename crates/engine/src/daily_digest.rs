//! The daily digest: what is not replicated, the maximum lag, the drift that resyncs corrected, and
//! the cost of the last day.

use crate::cost::{AS_OF, Prices};
use crate::monitor;
use crate::ports::{Ledger, StatsStore};
use crate::s3_replication::tables_that_only_await_objects;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::heartbeat::Channel;
use twinlake_core::render::{counted, one_or_many};
use twinlake_core::{Alert, AlertKind, CallError, SubjectState, Timestamp};

const DAY_SECS: i64 = 86_400;
/// The maximum number of lines about what is not replicated.
const MAX_UNREPLICATED_LINES: usize = 40;

/// Builds the digest of the 24 hours before `now`.
///
/// # Errors
/// The ledger is out of reach.
pub async fn build_digest<L: Ledger + StatsStore>(
    ledger: &L,
    prices: &Prices,
    region: &str,
    now: Timestamp,
) -> Result<Alert, CallError> {
    let since = now.plus_secs(-DAY_SECS);
    let counts = ledger.counters_since(since).await?;
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    let kinds = unreplicated_counts(ledger).await?;
    let max_lags = monitor::max_lags(ledger, since).await?;
    let lag = |channel: Channel| match max_lags.get(&channel) {
        Some(secs) => format!("{secs} s"),
        None => "not measured".to_owned(),
    };
    let mut samples = vec![
        format!(
            "maximum lag: catalog {}, permissions {}, storage {}",
            lag(Channel::Catalog),
            lag(Channel::Permissions),
            lag(Channel::Storage)
        ),
        match ledger.verified_at().await? {
            Some(at) => format!("verified as of {at}"),
            None => "not verified: no resync has completed yet".to_owned(),
        },
        format!(
            "{} applied, {} of them drift that a resync corrected",
            counted(count("applied"), "step"),
            count("drift")
        ),
        describe_calls(&counts),
        format!(
            "estimated cost ${:.2}, from the AWS prices for us-east-1 as of {AS_OF} or those of \
             the operation document; without metrics, alarms and logs",
            prices.daily_cost(&counts)
        ),
    ];
    samples.extend(describe_states(ledger).await?);
    let total: usize = kinds.values().sum();
    let more = kinds.len().saturating_sub(MAX_UNREPLICATED_LINES);
    samples.extend(
        kinds
            .iter()
            .take(MAX_UNREPLICATED_LINES)
            .map(|(kind, count)| format!("not replicated, {count} x {kind}")),
    );
    if more > 0 {
        samples.push(format!("and {}", counted(more, "more kind")));
    }
    let sentences = [
        format!("Daily digest of the 24 hours up to {now}."),
        match total {
            0 => format!(
                "Everything that the policy covers is replicated, or `twinlake status --region \
                 {region}` lists it."
            ),
            count => {
                format!(
                    "{count} {} not replicated, listed below by kind.",
                    one_or_many(count, "object or setting is", "objects or settings are")
                )
            }
        },
        "No immediate action is needed. Where a line below names a policy key, a change of that \
         key replicates what the line lists. Any other line names what prevents the replication, \
         or a kind that is not supported."
            .to_owned(),
    ];
    Ok(Alert {
        affected: BTreeSet::new(),
        group: now.day(),
        count: total.max(1),
        samples,
        ..Alert::new(AlertKind::Digest, region, &now.day(), sentences, now)
    })
}

/// Returns one line for each state other than in sync, with the number of its subjects.
async fn describe_states<L: Ledger + StatsStore>(ledger: &L) -> Result<Vec<String>, CallError> {
    let rows = ledger.rows_not_in_sync().await?;
    let mut counts: BTreeMap<SubjectState, usize> = BTreeMap::new();
    for row in rows.values() {
        *counts.entry(row.state).or_default() += 1;
    }
    let pending = tables_that_only_await_objects(ledger).await?.len();
    if pending > 0 {
        *counts.entry(SubjectState::DataPending).or_default() += pending;
    }
    Ok(counts
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect())
}

/// Returns a line with the number of API calls, and those of resyncs compared with the lower bound.
fn describe_calls(counts: &BTreeMap<String, u64>) -> String {
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    let total = count("calls.glue") + count("calls.lakeformation");
    let (resync_calls, lower_bound) = (count("resync.calls"), count("resync.lower_bound"));
    let comparison = match lower_bound {
        0 => "no resync was complete".to_owned(),
        lower_bound => {
            let hundredths = resync_calls.saturating_mul(100) / lower_bound;
            format!(
                "{resync_calls} by {} with a lower bound of {lower_bound}, x{}.{:02}",
                counted(count("resyncs"), "resync"),
                hundredths / 100,
                hundredths % 100
            )
        }
    };
    format!(
        "{} to Glue and Lake Formation: {comparison}",
        counted(total, "call")
    )
}

/// Returns what is not replicated, by kind and count, according to the last scans: subjects that
/// are on hold or blocked, and findings that have no ledger row.
///
/// # Errors
/// The ledger is out of reach.
pub async fn unreplicated_counts<L: Ledger + StatsStore>(
    ledger: &L,
) -> Result<BTreeMap<String, usize>, CallError> {
    let verified_at = ledger.verified_at().await?;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for row in ledger.rows_not_in_sync().await?.values() {
        let is_unreplicated = matches!(row.state, SubjectState::OnHold | SubjectState::Blocked);
        // Objects whose deletion the limit holds back are in the standby.
        if is_unreplicated && !row.is_over_deletion_limit() {
            let reason = row.reason.as_deref().unwrap_or("no reason recorded");
            *kinds.entry(reason.to_owned()).or_default() += 1;
        }
    }
    for (incident, _) in ledger.incidents().await?.into_values() {
        let alert = &incident.alert;
        // What the last complete resync did not find again no longer exists.
        let is_outdated = |at: Timestamp| verified_at.is_some_and(|verified| at < verified);
        let is_open = alert.kind == AlertKind::NotReplicated && !incident.is_resolved_copy();
        if !is_open || is_outdated(alert.detected_at) {
            continue;
        }
        for (sample, _) in incident
            .not_replicated
            .iter()
            .filter(|(_, at)| !is_outdated(**at))
        {
            let (_, detail) = sample.split_once(": ").unwrap_or(("", sample));
            let (count, kind) = match detail.split_once(" x ") {
                Some((count, kind)) => (count.parse().unwrap_or(1), kind),
                None => (1, detail),
            };
            *kinds.entry(kind.to_owned()).or_default() += count;
        }
        let unnamed = alert.count.saturating_sub(alert.samples.len());
        if unnamed > 0 {
            *kinds.entry("of other kinds".to_owned()).or_default() += unnamed;
        }
    }
    Ok(kinds)
}
