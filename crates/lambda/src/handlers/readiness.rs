//! The scheduled checks of the readiness.

use crate::handlers::stop_at;
use crate::runtime::Runtime;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use std::time::Duration;
use tracing::{info, warn};
use twinlake_aws::AwsInfrastructure;
use twinlake_core::readiness::{self as checks, ReadinessFinding, ReadinessReport};
use twinlake_core::topology::RegionRole;
use twinlake_core::{Principal, Timestamp, render};
use twinlake_engine::ports::StatCounters;
use twinlake_engine::readiness::{InspectedRegion, Inspection, read, read_deployment};
use twinlake_engine::region_authority::{NotReady, RegionAuthority};
use twinlake_engine::{Clock as _, alerts, takeover_readiness};

/// The buckets, keys and trails of both Regions.
#[derive(Debug)]
pub struct InspectedInfrastructure {
    local: AwsInfrastructure,
    peer: AwsInfrastructure,
}

impl InspectedInfrastructure {
    /// Uses the clients of the function, whose calls count in its limits. Makes no AWS call.
    #[must_use]
    pub fn of(runtime: &Runtime) -> Self {
        let [local, peer] = &runtime.clients;
        Self {
            local: AwsInfrastructure::new(local),
            peer: AwsInfrastructure::new(peer),
        }
    }
}

/// Runs the checks of `twinlake doctor` in the standby, stores the result, and publishes one alert for all
/// blockers. Does nothing in another Region.
///
/// # Errors
/// The ledger or the topic is out of reach, or there is no valid policy. The monitor function reports that
/// results are missing.
pub async fn readiness(
    runtime: &Runtime,
    infrastructure: &InspectedInfrastructure,
    event: LambdaEvent<Value>,
) -> Result<Value, Error> {
    let stop_at = stop_at(event.context.deadline);
    let authority = match runtime.authority().await {
        Ok(authority) if authority.role == RegionRole::Standby => authority,
        Ok(authority) => {
            let role = authority.role.to_string();
            info!(role, "nothing checked: this Region is not the standby");
            return Ok(Value::Null);
        }
        Err(NotReady::Ledger(error)) => return Err(error.into()),
        // The monitor function publishes the alert for this.
        Err(not_ready) => {
            let reason = render::escape(&not_ready.to_string());
            warn!(
                reason,
                "nothing checked: the role of this Region is unknown"
            );
            return Ok(Value::Null);
        }
    };
    let telemetry = runtime.start_telemetry();
    let report = check(runtime, infrastructure, &authority, stop_at).await;
    let stored = takeover_readiness::record(&runtime.ledger, &report).await;
    let now = runtime.clock.now();
    let (alert, checked) = takeover_readiness::blockers_alert(&report, &runtime.config.region, now);
    let alerts: Vec<_> = alert.into_iter().collect();
    let found = (alerts.as_slice(), &checked);
    // Without a ledger an alert is sent, too.
    let published =
        alerts::publish_and_resolve(&runtime.alert_topic, &runtime.ledger, found, now).await;
    telemetry.finish(Vec::new(), StatCounters::new()).await;
    stored?;
    published?;
    Ok(Value::Null)
}

/// Reads both Regions and runs all checks.
async fn check(
    runtime: &Runtime,
    infrastructure: &InspectedInfrastructure,
    authority: &RegionAuthority,
    stop_at: Timestamp,
) -> ReadinessReport {
    let started = runtime.clock.now();
    let findings = find(runtime, infrastructure, authority, started);
    let report = end_in_time(findings, &runtime.config.region, started, stop_at).await;
    let counts = report.counts;
    info!(
        blockers = counts.blockers,
        warnings = counts.warnings,
        unknown = counts.unknown,
        notes = counts.notes,
        "readiness checked"
    );
    report
}

/// The report of the findings of checks that started at `started`. If they are not found before `stop_at`,
/// the readiness is unknown.
async fn end_in_time(
    findings: impl Future<Output = Vec<ReadinessFinding>>,
    region: &str,
    started: Timestamp,
    stop_at: Timestamp,
) -> ReadinessReport {
    let time_left = u64::try_from(stop_at.millis() - started.millis()).unwrap_or_default();
    match tokio::time::timeout(Duration::from_millis(time_left), findings).await {
        Ok(findings) => {
            log_findings(&findings);
            ReadinessReport::new(&findings, started)
        }
        Err(_) => {
            let secs = stop_at.secs() - started.secs();
            warn!(seconds = secs, "not everything could be read in time");
            ReadinessReport::incomplete(region, secs, started)
        }
    }
}

async fn find(
    runtime: &Runtime,
    infrastructure: &InspectedInfrastructure,
    authority: &RegionAuthority,
    started: Timestamp,
) -> Vec<ReadinessFinding> {
    // The peer is the primary.
    let primary = InspectedRegion {
        catalog: &runtime.peer,
        infrastructure: &infrastructure.peer,
    };
    let standby = InspectedRegion {
        catalog: &runtime.local,
        infrastructure: &infrastructure.local,
    };
    let (policy, epoch) = (&authority.policy, authority.epoch);
    let roles = runtime.config.writer_role_arns.iter().cloned();
    let deployment = read_deployment(&runtime.peer_ledger, &runtime.ledger, started).await;
    let inspection = Inspection {
        reader: Principal(runtime.config.function_role_arn.clone()),
        twinlake_roles: roles.map(Principal).collect(),
        deployment: Some(deployment),
    };
    let readings = read(primary, standby, policy, epoch, inspection).await;
    checks::check(&readings, policy, epoch)
}

/// Writes a log line for each of the first findings. The subject of one is a name of the lake.
fn log_findings(findings: &[ReadinessFinding]) {
    const MAX_LOGGED: usize = 50;
    for finding in findings.iter().take(MAX_LOGGED) {
        info!(
            severity = finding.severity.as_str(),
            check = finding.check.as_str(),
            finding_region = finding.region,
            subject = render::escape(&finding.subject),
            problem = render::escape(&finding.problem),
            "finding"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::readiness::ReadinessCheck;

    #[tokio::test]
    async fn checks_that_do_not_end_in_time_are_unknown() {
        let started = Timestamp::from_secs(100);
        let sound = end_in_time(async { Vec::new() }, "ap-south-1", started, started).await;
        assert_eq!(sound, ReadinessReport::new(&[], started));
        for stop_at in [started, started.plus_secs(-1)] {
            let endless = std::future::pending();
            let report = end_in_time(endless, "ap-south-1", started, stop_at).await;
            assert_eq!(report.counts.unknown, 1);
            assert!(report.unknown_checks.contains(&ReadinessCheck::TimeLimit));
        }
    }
}
