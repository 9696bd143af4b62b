//! The handler that sends canaries, and looks for those of the peer.

use crate::handlers::stop_at;
use crate::runtime::Runtime;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use tracing::{info, warn};
use twinlake_aws::{Clients, S3Canaries};
use twinlake_core::render;
use twinlake_core::topology::RegionRole;
use twinlake_engine::canaries::{self, CanaryReport, CanaryRun};
use twinlake_engine::ports::StatCounters;
use twinlake_engine::{Clock as _, alerts};

/// Sends the canaries of this Region, and looks for those of its peer. Runs in both Regions every five
/// minutes, whichever is primary.
///
/// # Errors
/// The ledger or the topic is out of reach. What fails in S3 shows as lag.
pub async fn canaries(runtime: &Runtime, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let telemetry = runtime.start_telemetry();
    let authority = match runtime.authority().await {
        Ok(authority) => authority,
        // The monitor publishes the alert for this.
        Err(not_ready) => {
            info!(
                reason = render::escape(&not_ready.to_string()),
                "no canaries"
            );
            return Ok(Value::Null);
        }
    };
    let region = runtime.config.region.as_str();
    let Some(site) = authority.policy.sites.find(region) else {
        return Ok(Value::Null);
    };
    let run = CanaryRun {
        ledger: &runtime.ledger,
        peer_ledger: &runtime.peer_ledger,
        buckets: &S3Canaries::new(&Clients::connect(region).await),
        clock: &runtime.clock,
        policy: &authority.policy,
        site,
        may_write: authority.role != RegionRole::Fenced,
        stop_at: stop_at(event.context.deadline),
    };
    let report = run.run().await?;
    log(&report);
    let now = runtime.clock.now();
    let (found, checked) = canaries::denials(&report, region, now);
    let topic = runtime.topic(Some(authority.role));
    alerts::publish_and_resolve(&topic, &runtime.ledger, (&found, &checked), now).await?;
    telemetry.finish(Vec::new(), StatCounters::new()).await;
    Ok(Value::Null)
}

fn log(report: &CanaryReport) {
    let state = &report.state;
    for (key, error) in &state.sent.failures {
        let (key, error) = (render::escape(key), render::escape(error));
        warn!(key, error, "canary not sent");
    }
    for known in &state.received.canaries {
        if known.problem.is_some() {
            let rule = render::escape(&known.canary.subject());
            let state = render::escape(&known.describe());
            warn!(rule, state, "no sound canary");
        }
    }
    info!(
        sent = state.sent.canaries.len(),
        received = state.received.canaries.len(),
        unproven = state.sent.unproven.len(),
        "canaries"
    );
}
