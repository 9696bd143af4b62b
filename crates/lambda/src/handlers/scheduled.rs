//! The handlers that run on a schedule: heartbeat, monitor and daily digest.

use crate::handlers::not_ready_alert;
use crate::runtime::Runtime;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use std::time::Duration;
use tracing::info;
use twinlake_core::CallError;
use twinlake_core::client_address::TakeoverConfig;
use twinlake_core::metric::{Metric, MetricPoint};
use twinlake_core::topology::RegionRole;
use twinlake_engine::Clock as _;
use twinlake_engine::client_address::{self, AnnounceResult, Announcer};
use twinlake_engine::monitor::{self, MonitorConfig, MonitorReport};
use twinlake_engine::operation_document::OperationConfig;
use twinlake_engine::ports::StatCounters;
use twinlake_engine::region_authority::{NotReady, RegionAuthority};
use twinlake_engine::{alerts, call_ceiling, daily_digest, heartbeat};

/// Writes the heartbeat in the primary. Does nothing in the standby.
///
/// # Errors
/// A call failed. The missing heartbeat shows as lag in the standby.
pub async fn heartbeat(runtime: &Runtime, _: LambdaEvent<Value>) -> Result<Value, Error> {
    let telemetry = runtime.start_telemetry();
    let role = runtime
        .authority()
        .await
        .ok()
        .map(|authority| authority.role);
    if role == Some(RegionRole::Primary) {
        // The primary is the Region that this function runs in.
        heartbeat::write_heartbeat(&runtime.local, runtime.clock.now()).await?;
    }
    info!(written = role == Some(RegionRole::Primary), "heartbeat");
    telemetry.finish(Vec::new(), StatCounters::new()).await;
    Ok(Value::Null)
}

/// Checks the lag of each channel, the time since the last complete resync, and the dead-letter
/// queues. Runs each minute.
///
/// # Errors
/// The ledger, a queue or the topic is out of reach. A CloudWatch alarm fires if this function
/// stops running.
pub async fn monitor(runtime: &Runtime, _: LambdaEvent<Value>) -> Result<Value, Error> {
    let telemetry = runtime.start_telemetry();
    let now = runtime.clock.now();
    let region = runtime.config.region.as_str();
    let mut report = MonitorReport::default();
    let authority = match runtime.authority().await {
        Ok(authority) => {
            report.checked = monitor::resolve_outside_standby(Some(authority.role), now);
            Some(authority)
        }
        Err(NotReady::Ledger(error)) => return Err(error.into()),
        // Nothing is applied, no heartbeat is written and no lag is measured.
        Err(not_ready) => {
            report.alerts.push(not_ready_alert(&not_ready, runtime));
            None
        }
    };
    let role = authority.as_ref().map(|authority| authority.role);
    let is_ready = authority.is_some();
    let (operation, invalid) = OperationConfig::load(&runtime.ledger).await?;
    let is_valid = invalid.is_none();
    let monitor_config = MonitorConfig {
        region,
        heartbeat_interval_secs: runtime.config.heartbeat_interval_secs,
        lag_thresholds: operation.lag_alert,
    };
    if role == Some(RegionRole::Standby) {
        report = monitor::check_standby(&runtime.ledger, &monitor_config, now).await?;
        monitor::check_readiness(&runtime.ledger, region, now, &mut report).await?;
        // With an invalid document, running functions keep the ceilings that they have.
        if is_valid {
            check_ceilings(runtime, &operation, &mut report).await?;
        }
    }
    if is_ready && role != Some(RegionRole::Standby) {
        // Objects also come back from the standby.
        monitor::check_storage(&runtime.ledger, &monitor_config, now, &mut report).await?;
        let regions = [region, &runtime.config.peer_region];
        let none = regions.map(|region| (region.to_owned(), None)).into();
        report.checked =
            call_ceiling::ceiling_alerts(&none, region, now, std::mem::take(&mut report.checked)).1;
    }
    if is_ready {
        let checked = std::mem::take(&mut report.checked);
        report.checked = checked.with_healthy(alerts::POLICY_SUBJECT, now);
    }
    // In every role: an invalid document also keeps clients from being told.
    match invalid {
        Some(error) => report
            .alerts
            .push(alerts::invalid_operation(&error, region, now)),
        None => {
            let checked = std::mem::take(&mut report.checked);
            report.checked = checked.with_healthy(alerts::OPERATION_SUBJECT, now);
        }
    }
    if let Some(authority) = authority.as_ref().filter(|_| is_valid) {
        announce(runtime, authority, operation.takeover.as_ref(), &mut report).await;
    }
    // An unreachable queue must not prevent the lag metrics and alerts, so its error is returned
    // last.
    let dead_letters =
        monitor::check_dead_letters(&runtime.dead_letter_queues, region, now, &mut report).await;
    let mut points = points(&report);
    let is_primary = role.map(|role| i64::from(role == RegionRole::Primary));
    points.extend(is_primary.map(|is_primary| MetricPoint::new(Metric::IsPrimary, is_primary)));
    info!(
        lag_seconds = ?report.lags,
        seconds_since_verified = report.seconds_since_verified,
        dead_letters = report.dead_letters.values().sum::<usize>(),
        "monitor run completed"
    );
    update_incidents(runtime, role, &report).await?;
    telemetry.finish(points, StatCounters::new()).await;
    dead_letters?;
    Ok(Value::Null)
}

/// Checks how the ceilings of a valid operation document were used.
async fn check_ceilings(
    runtime: &Runtime,
    operation: &OperationConfig,
    report: &mut MonitorReport,
) -> Result<(), CallError> {
    let (now, region) = (runtime.clock.now(), runtime.config.region.as_str());
    let regions = [region, &runtime.config.peer_region];
    let uses = call_ceiling::read_uses(&runtime.ledger, operation, regions, now).await?;
    let checked = std::mem::take(&mut report.checked);
    let (alerts, checked) = call_ceiling::ceiling_alerts(&uses, region, now, checked);
    report.alerts.extend(alerts);
    report.checked = checked;
    report.call_ceilings = uses;
    Ok(())
}

/// How long the monitor waits for the address and the event, which nothing else depends on.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(10);

/// Tells clients of the primary, if the operation document says so. What fails is an alert, and is tried again by
/// the next run.
async fn announce(
    runtime: &Runtime,
    authority: &RegionAuthority,
    takeover: Option<&TakeoverConfig>,
    report: &mut MonitorReport,
) {
    let announced = match takeover {
        Some(takeover) => {
            let announcer = Announcer {
                authority,
                local: &runtime.ledger,
                peer: &runtime.peer_ledger,
                parameter: &runtime.address_parameter,
                bus: &runtime.default_bus,
                clock: &runtime.clock,
                takeover,
            };
            match tokio::time::timeout(ANNOUNCE_LIMIT, announcer.announce()).await {
                Ok(announced) => announced
                    .map(AnnounceResult::is_told)
                    .map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", ANNOUNCE_LIMIT.as_secs())),
            }
        }
        // No client is to be told.
        None => Ok(true),
    };
    let now = runtime.clock.now();
    match announced {
        // An open alert stays as it is.
        Ok(false) => {}
        Ok(true) => {
            let checked = std::mem::take(&mut report.checked);
            report.checked = checked.with_healthy(client_address::ADDRESS_SUBJECT, now);
        }
        Err(error) => {
            let region = &runtime.config.region;
            report
                .alerts
                .push(client_address::not_announced(&error, region, now));
        }
    }
}

async fn update_incidents(
    runtime: &Runtime,
    role: Option<RegionRole>,
    report: &MonitorReport,
) -> Result<(), CallError> {
    let now = runtime.clock.now();
    let topic = runtime.topic(role);
    let (ledger, region) = (&runtime.ledger, &runtime.config.region);
    let mut found = report.alerts.clone();
    found.extend(alerts::alerts_of_unreadable_incidents(ledger, region, now).await?);
    alerts::publish_and_resolve(&topic, ledger, (&found, &report.checked), now).await?;
    alerts::expire_incidents(
        &topic,
        &runtime.ledger,
        runtime.config.alert_expiry_secs,
        now,
    )
    .await?;
    alerts::renotify_open_incidents(&topic, &runtime.ledger, now).await
}

fn points(report: &MonitorReport) -> Vec<MetricPoint> {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let dead_letters: usize = report.dead_letters.values().sum();
    let mut points = vec![
        MetricPoint::new(Metric::MonitorRuns, 1),
        MetricPoint::new(Metric::DeadLetters, number(dead_letters)),
    ];
    let lags = report.lags.iter();
    points.extend(
        lags.map(|(channel, lag)| MetricPoint::with_dimension(Metric::Lag, channel.as_str(), *lag)),
    );
    let age = report.seconds_since_verified;
    points.extend(age.map(|age| MetricPoint::new(Metric::SecondsSinceVerified, age)));
    let states = report.state_counts.iter().filter_map(|(state, count)| {
        Metric::of_state(*state).map(|metric| MetricPoint::new(metric, number(*count)))
    });
    points.extend(states);
    if let Some(readiness) = report.readiness {
        points.extend([
            MetricPoint::new(Metric::ReadinessBlockers, number(readiness.blockers)),
            MetricPoint::new(Metric::ReadinessWarnings, number(readiness.warnings)),
            MetricPoint::new(Metric::ReadinessUnknown, number(readiness.unknown)),
        ]);
    }
    let ceilings = report.call_ceilings.iter();
    for (region, used) in ceilings.filter_map(|(region, used)| Some((region, used.as_ref()?))) {
        let ceiling = i64::from(used.ceiling);
        let point = MetricPoint::with_dimension(Metric::CallCeiling, region, ceiling);
        points.push(point);
        let secs = number(used.secs_at_ceiling);
        let point = MetricPoint::with_dimension(Metric::SecondsAtCallCeiling, region, secs);
        points.push(point);
    }
    points
}

/// Publishes the daily digest from the standby.
///
/// # Errors
/// The ledger or the topic is out of reach.
pub async fn digest(runtime: &Runtime, _: LambdaEvent<Value>) -> Result<Value, Error> {
    let telemetry = runtime.start_telemetry();
    let authority = runtime.authority().await.ok();
    if authority.is_some_and(|authority| authority.role == RegionRole::Standby) {
        let now = runtime.clock.now();
        let (operation, _) = OperationConfig::load(&runtime.ledger).await?;
        let prices = &operation.prices;
        let alert =
            daily_digest::build_digest(&runtime.ledger, prices, &runtime.config.region, now)
                .await?;
        alerts::publish(&runtime.alert_topic, &runtime.ledger, &[alert], now).await?;
    }
    telemetry.finish(Vec::new(), StatCounters::new()).await;
    Ok(Value::Null)
}
