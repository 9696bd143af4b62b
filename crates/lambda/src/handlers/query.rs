//! The part of the scheduled resync that keeps the query tools equal.

use crate::runtime::Runtime;
use std::collections::BTreeSet;
use std::time::Duration;
use tracing::{info, warn};
use twinlake_core::{CallError, Timestamp, render};
use twinlake_engine::query::{
    QueryContext, QueryOutcome, new_run, query_alerts, query_checked, query_unfinished,
    reconcile_query,
};
use twinlake_engine::region_authority::RegionAuthority;
use twinlake_engine::{Clock as _, alerts};

/// Reconciles the query tools if the policy has a table for them. Whatever goes wrong is an alert, and the
/// catalog's resync does not notice; the next resync tries again.
///
/// # Errors
/// The alert could not be published.
pub(crate) async fn resync_query_tools(
    runtime: &Runtime,
    authority: &RegionAuthority,
    stop_at: Timestamp,
) -> Result<(), CallError> {
    let left = stop_at.0.saturating_sub(runtime.clock.now().0);
    let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
    let reason = match tokio::time::timeout(left, run(runtime, authority, stop_at)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the time of the function ran out".to_owned(),
    };
    let escaped = render::escape(&reason);
    warn!(
        reason = escaped,
        "the resync of the query tools did not end"
    );
    let now = runtime.clock.now();
    let alert = query_unfinished(&reason, &runtime.config.region, now);
    alerts::publish(&runtime.alert_topic, &runtime.ledger, &[alert], now).await?;
    Ok(())
}

async fn run(
    runtime: &Runtime,
    authority: &RegionAuthority,
    stop_at: Timestamp,
) -> Result<(), CallError> {
    let Some(query) = &authority.policy.query else {
        return Ok(());
    };
    let started = runtime.clock.now();
    let approved_deletions = BTreeSet::new();
    let context = QueryContext {
        primary: &runtime.peer_athena,
        standby: &runtime.local_athena,
        ledger: &runtime.ledger,
        clock: &runtime.clock,
        policy: (&authority.policy, query),
        epoch: authority.epoch,
        approved_deletions: &approved_deletions,
        confirmed: None,
        run: new_run(),
        stop_at: Some(stop_at),
    };
    let outcome = reconcile_query(&context).await?;
    log(&outcome);
    let now = runtime.clock.now();
    let found = query_alerts(&outcome, &runtime.config.region, now);
    let checked = query_checked(&outcome, started);
    let topic = &runtime.alert_topic;
    alerts::publish_and_resolve(topic, &runtime.ledger, (&found, &checked), now).await
}

fn log(outcome: &QueryOutcome) {
    for (step, error) in &outcome.failed {
        let object = render::escape(&step.primary().to_string());
        warn!(
            object,
            error = render::escape(&error.to_string()),
            "step failed"
        );
    }
    info!(
        applied = outcome.applied.len(),
        failed = outcome.failed.len(),
        findings = outcome.findings.len(),
        rejections = outcome.rejections.len(),
        paired = outcome.paired.total(),
        settled = outcome.is_settled,
        "resync of the query tools"
    );
}
