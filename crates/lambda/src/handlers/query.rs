//! What the scheduled resync does beside the catalog: it keeps the query tools equal.

use crate::runtime::Runtime;
use std::collections::BTreeSet;
use tracing::{info, warn};
use twinlake_core::{CallError, Timestamp, render};
use twinlake_engine::query::{
    QueryToolsContext, QueryToolsOutcome, ScheduledQueryToolsRun, new_run, resync_query_tools,
};
use twinlake_engine::region_authority::RegionAuthority;

/// Reconciles the query tools if the policy has the section `[query]`. Whatever goes wrong is an alert, and the
/// catalog's resync does not notice; the next resync tries again.
///
/// # Errors
/// What is wrong could not be published.
pub(crate) async fn keep_query_tools_equal(
    runtime: &Runtime,
    authority: &RegionAuthority,
    stop_at: Timestamp,
) -> Result<(), CallError> {
    let Some(query) = &authority.policy.query else {
        return Ok(());
    };
    let approved_deletions = BTreeSet::new();
    let context = QueryToolsContext {
        primary: &runtime.peer_query_tools,
        standby: &runtime.local_query_tools,
        ledger: &runtime.ledger,
        clock: &runtime.clock,
        policy: (&authority.policy, query),
        epoch: authority.epoch,
        approved_deletions: &approved_deletions,
        confirmed: None,
        run: new_run(),
        stop_at: Some(stop_at),
    };
    match resync_query_tools(&context, &runtime.alert_topic).await {
        ScheduledQueryToolsRun::Ended { outcome, told } => {
            log(&outcome);
            told
        }
        ScheduledQueryToolsRun::Unfinished { reason, told } => {
            let reason = render::escape(&reason);
            warn!(reason, "the resync of the query tools did not end");
            told
        }
    }
}

fn log(outcome: &QueryToolsOutcome) {
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
