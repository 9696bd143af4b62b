//! The monitor, which runs each minute: measures the lag of the primary's changes and of objects, the
//! time since the last complete resync, and the number of messages in the dead-letter queues.

use crate::alerts::CheckedSubjects;
use crate::call_ceiling::CeilingUse;
use crate::dead_letter_summary;
use crate::operation_document::LagAlertThresholds;
use crate::ports::{DeadLetterQueues, Ledger, StatCounters, StatsStore};
use crate::s3_replication::tables_that_only_await_objects;
use crate::takeover_readiness;
use std::collections::BTreeMap;
use twinlake_core::canary::{ReceivedCanaries, ReceivedCanary};
use twinlake_core::heartbeat::{Channel, LagSample, STALLED_LAG_FACTOR, is_near_limit};
use twinlake_core::readiness::ReadinessCounts;
use twinlake_core::render::{counted, one_or_many};
use twinlake_core::topology::RegionRole;
use twinlake_core::{Alert, AlertKind, CallError, SubjectState, Timestamp};

/// The result of one monitor run.
#[derive(Clone, Debug, Default)]
pub struct MonitorReport {
    /// The lag of each channel in seconds: of events only in the standby, of objects from the peer in
    /// both Regions.
    pub lags: BTreeMap<Channel, i64>,
    /// When monitoring began. Only in the standby.
    pub monitored_since: Option<Timestamp>,
    /// Seconds since the start of the last complete resync, or since monitoring began if there was
    /// none. Only in the standby.
    pub seconds_since_verified: Option<i64>,
    /// The number of subjects in each state other than in sync. Only in the standby.
    pub state_counts: BTreeMap<SubjectState, usize>,
    /// The number of messages in each dead-letter queue.
    pub dead_letters: BTreeMap<String, usize>,
    /// How the ceilings of calls were used lately, by called Region; `None` for one without a ceiling. Only
    /// in the standby.
    pub call_ceilings: BTreeMap<String, Option<CeilingUse>>,
    /// The findings of the last check of the readiness. Only in the standby.
    pub readiness: Option<ReadinessCounts>,
    /// The alerts to publish.
    pub alerts: Vec<Alert>,
    /// What this run checked: it resolves incidents.
    pub checked: CheckedSubjects,
}

/// The configuration of the monitor.
#[derive(Clone, Copy, Debug)]
pub struct MonitorConfig<'a> {
    /// The Region that the monitor runs in.
    pub region: &'a str,
    /// Seconds between heartbeats.
    pub heartbeat_interval_secs: i64,
    /// The lag from which on alerts are published, by channel.
    pub lag_thresholds: LagAlertThresholds,
}

/// Measures the lag of the channels from the primary, stores a sample of it, and counts what is not in sync.
///
/// # Errors
/// The ledger is out of reach.
pub async fn check_standby<L: Ledger + StatsStore>(
    ledger: &L,
    monitor: &MonitorConfig<'_>,
    now: Timestamp,
) -> Result<MonitorReport, CallError> {
    let mut report = MonitorReport::default();
    let mut monitored_since = now;
    for (channel, action) in [
        (Channel::Catalog, CATALOG_ACTION),
        (Channel::Permissions, PERMISSIONS_ACTION),
    ] {
        let health = ledger.channel_health(channel, now).await?;
        monitored_since = monitored_since.min(health.since);
        let lag = health.lag(monitor.heartbeat_interval_secs, now);
        compare_lag(&mut report, channel, (lag, true), monitor, now, |kind| {
            lag_alert(kind, (channel, action), lag, monitor, now)
        });
    }
    check_storage(ledger, monitor, now, &mut report).await?;
    let lag_of = |channel: Channel| report.lags.get(&channel).copied();
    let sample = LagSample {
        at: now,
        catalog: lag_of(Channel::Catalog).unwrap_or_default(),
        permissions: lag_of(Channel::Permissions).unwrap_or_default(),
        storage: lag_of(Channel::Storage),
    };
    ledger.put_lag_sample(&sample).await?;
    report.monitored_since = Some(monitored_since);
    let verified_at = ledger.verified_at().await?;
    // Without a complete resync, the time counts from the start of monitoring.
    // A later time than now is of a clock that was ahead.
    let verified_at = verified_at.filter(|at| *at <= now.plus_secs(CLOCK_SKEW_SECS));
    let verified_at = verified_at.unwrap_or(monitored_since);
    report.seconds_since_verified = Some(now.secs() - verified_at.secs());
    report.state_counts = ledger.state_counts().await?;
    let pending = tables_that_only_await_objects(ledger).await?.len();
    *report
        .state_counts
        .entry(SubjectState::DataPending)
        .or_default() += pending;
    Ok(report)
}

/// Records the lag of a channel. Raises the alerts whose limits it has reached, and resolves the others, if the
/// lag is that of something that arrived, unless it may reach them again soon.
fn compare_lag(
    report: &mut MonitorReport,
    channel: Channel,
    (lag, has_arrived): (i64, bool),
    monitor: &MonitorConfig<'_>,
    now: Timestamp,
    alert: impl Fn(AlertKind) -> Alert,
) {
    let threshold = monitor.lag_thresholds.of(channel);
    report.lags.insert(channel, lag);
    for (kind, limit) in limits(threshold) {
        if lag >= limit {
            report.alerts.push(alert(kind));
        } else if has_arrived && !is_near_limit(lag, limit) {
            let checked = std::mem::take(&mut report.checked);
            report.checked = checked.with_resolved(kind, &channel_subject(channel), now);
        }
    }
}

/// The alerts about a lag, each with the lag from which on it is raised.
fn limits(threshold: i64) -> [(AlertKind, i64); 2] {
    let stalled = threshold.saturating_mul(STALLED_LAG_FACTOR);
    [
        (AlertKind::Lagging, threshold),
        (AlertKind::ChannelStalled, stalled),
    ]
}

/// Measures the lag of S3's objects from the peer by its canaries, which arrive in both Regions. Without any,
/// there is no lag, and nothing is resolved: what is not measured may still be late.
///
/// # Errors
/// The ledger is out of reach.
pub async fn check_storage<L: StatsStore>(
    ledger: &L,
    monitor: &MonitorConfig<'_>,
    now: Timestamp,
    report: &mut MonitorReport,
) -> Result<(), CallError> {
    let received = ledger.canaries().await?.unwrap_or_default().received;
    let channel = Channel::Storage;
    let Some(lag) = received.lag(now) else {
        return Ok(());
    };
    let measured = (lag, received.have_arrived());
    compare_lag(report, channel, measured, monitor, now, |kind| {
        storage_alert(kind, &received, lag, monitor, now)
    });
    Ok(())
}

/// How far the clocks of two functions may differ.
pub(crate) const CLOCK_SKEW_SECS: i64 = 60;

/// The most rules that an alert names.
const MAX_NAMED_RULES: usize = 20;

fn storage_alert(
    kind: AlertKind,
    received: &ReceivedCanaries,
    lag: i64,
    monitor: &MonitorConfig<'_>,
    now: Timestamp,
) -> Alert {
    let channel = Channel::Storage;
    let threshold = monitor.lag_thresholds.of(channel);
    let is_late = |canary: &&ReceivedCanary| canary.lag(now) >= threshold;
    let mut late: Vec<&ReceivedCanary> = received.canaries.iter().filter(is_late).collect();
    late.sort_by_key(|canary| std::cmp::Reverse(canary.lag(now)));
    let describe = |late: &&ReceivedCanary| {
        let canary = &late.canary;
        let (secs, state) = (late.lag(now), late.describe());
        format!(
            "{} to {}: {secs} s; {state}",
            canary.subject(),
            canary.destination
        )
    };
    let worst = late.first().map(describe).unwrap_or_default();
    let sentences = [
        format!(
            "{} {} of {} {} it; the worst: {worst}.",
            lag_summary(kind, channel, lag, threshold),
            late.len(),
            counted(received.canaries.len(), "S3 replication rule"),
            one_or_many(late.len(), "exceeds", "exceed")
        ),
        "Objects that were written under these rules within that time may be missing in the destination \
         bucket."
            .to_owned(),
        format!(
            "Run `twinlake doctor --region {region}`, and check the rule, its role and the key of the replicas. Check that the \
             canary function runs in both Regions; it last looked in {region} at {}.",
            received.at,
            region = monitor.region
        ),
    ];
    let subject = channel_subject(channel);
    Alert {
        samples: late.iter().take(MAX_NAMED_RULES).map(describe).collect(),
        ..Alert::new(kind, monitor.region, &subject, sentences, now)
    }
}

/// Returns the incidents of the channels of events and of the readiness as resolved if this Region is known
/// not to be the standby: only a standby receives changes, and is checked.
#[must_use]
pub fn resolve_outside_standby(role: Option<RegionRole>, now: Timestamp) -> CheckedSubjects {
    let mut checked = CheckedSubjects::default();
    if matches!(role, None | Some(RegionRole::Standby)) {
        return checked;
    }
    for channel in Channel::OF_EVENTS {
        for (kind, _) in limits(0) {
            checked = checked.with_resolved(kind, &channel_subject(channel), now);
        }
    }
    takeover_readiness::resolve_readiness_alerts(checked, now)
}

/// Adds the findings of the last check of the readiness to the report of a monitor run in the standby, and
/// an alert if the readiness is not known.
///
/// # Errors
/// The ledger is out of reach.
pub async fn check_readiness<L: StatsStore>(
    ledger: &L,
    region: &str,
    now: Timestamp,
    report: &mut MonitorReport,
) -> Result<(), CallError> {
    let record = ledger.readiness().await?;
    let record = record.map(|(record, _)| record).unwrap_or_default();
    report.readiness = Some(record.counts_at(now));
    let since = report.monitored_since.unwrap_or(now);
    let (alert, checked) = takeover_readiness::unknown_readiness_alert(&record, since, region, now);
    report.alerts.extend(alert);
    report.checked.join(checked);
    Ok(())
}

fn channel_subject(channel: Channel) -> String {
    format!("channel {channel}")
}

/// The first sentence of an alert about a lag.
fn lag_summary(kind: AlertKind, channel: Channel, lag: i64, threshold: i64) -> String {
    let description = channel.description();
    match kind == AlertKind::ChannelStalled {
        true => format!(
            "The lag of the channel that carries {description} is {lag} s, {STALLED_LAG_FACTOR} \
             times its threshold or more: it delivers very late, or nothing at all."
        ),
        false => format!(
            "The lag of the channel that carries {description} is {lag} s; the alert threshold is \
             {threshold} s."
        ),
    }
}

const CATALOG_ACTION: &str = "In the primary, check that the heartbeat function runs, and check the \
                              rule ForwardGlueEventsRule. Check the dead-letter queues of both Regions, \
                              and in the standby the log of the catalog-event function.";
const PERMISSIONS_ACTION: &str = "In the primary, check that the trail logs management events, and check \
                                  the rule ForwardPermissionApiCallsRule. Check the dead-letter queues \
                                  of both Regions, and in the standby the log of the permission-event \
                                  function.";

fn lag_alert(
    kind: AlertKind,
    (channel, action): (Channel, &str),
    lag: i64,
    monitor: &MonitorConfig<'_>,
    now: Timestamp,
) -> Alert {
    let summary = lag_summary(kind, channel, lag, monitor.lag_thresholds.of(channel));
    let current_state = "Changes made in the primary within that time may be missing in the \
                         standby, and access that was revoked in the primary within it may still \
                         be granted in the standby.";
    let sentences = [
        summary,
        current_state.to_owned(),
        format!(
            "{action} To update the standby meanwhile, run `twinlake resync --full --region {}`. If the whole \
             Region of the primary is out of service, that fails, too: see docs/takeover.md.",
            monitor.region
        ),
    ];
    Alert::new(
        kind,
        monitor.region,
        &channel_subject(channel),
        sentences,
        now,
    )
}

/// Counts the messages in the dead-letter queues. Adds an alert, with a summary of the messages, for
/// each queue that is not empty.
///
/// # Errors
/// A queue cannot be read.
pub async fn check_dead_letters<Q: DeadLetterQueues>(
    queues: &Q,
    region: &str,
    now: Timestamp,
    report: &mut MonitorReport,
) -> Result<(), CallError> {
    report.dead_letters = queues.message_counts().await?;
    let counts: Vec<(String, usize)> = report.dead_letters.clone().into_iter().collect();
    for (queue, count) in counts {
        let subject = format!("dead letters of {queue}");
        if count == 0 {
            let checked = std::mem::take(&mut report.checked);
            report.checked = checked.with_resolved(AlertKind::DeadLetters, &subject, now);
            continue;
        }
        let bodies = queues.peek(&queue).await?;
        let sentences = [
            format!(
                "{} could not be handled and {} in the dead-letter queue of {queue}.",
                counted(count, "message"),
                one_or_many(count, "is", "are")
            ),
            format!(
                "`twinlake resync --full --region {region}` also applies the changes that catalog \
                 and permission events among them report. All others are lost unless they are sent \
                 back."
            ),
            format!(
                "Correct the cause, then run `twinlake redrive {queue} --region {region}`, which \
                 lists some of the messages and asks."
            ),
        ];
        report.alerts.push(Alert {
            count,
            samples: bodies
                .iter()
                .map(|body| dead_letter_summary::summarize(body))
                .collect(),
            ..Alert::new(AlertKind::DeadLetters, region, &subject, sentences, now)
        });
    }
    Ok(())
}

/// Returns the maximum lag of each channel since a time, in seconds.
///
/// # Errors
/// The ledger is out of reach.
pub async fn max_lags<L: StatsStore>(
    ledger: &L,
    since: Timestamp,
) -> Result<BTreeMap<Channel, i64>, CallError> {
    let samples = ledger.lag_samples(since).await?;
    let max_lags = Channel::EVERY.iter().filter_map(|channel| {
        let lags = samples.iter().filter_map(|sample| sample.lag(*channel));
        lags.max().map(|lag| (*channel, lag))
    });
    Ok(max_lags.collect())
}

/// Returns counters for the daily statistics, named `{prefix}.{name}`.
#[must_use]
pub fn prefixed(prefix: &str, counts: &BTreeMap<&'static str, u64>) -> StatCounters {
    counts
        .iter()
        .map(|(name, count)| (format!("{prefix}.{name}"), *count))
        .collect()
}
