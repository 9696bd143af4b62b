//! A scheduled run with its alerts: whatever goes wrong is told, and the next run tries again.

use super::{
    QueryToolsContext, QueryToolsOutcome, query_alerts, query_checked, query_unfinished,
    reconcile_query,
};
use crate::alerts;
use crate::ports::{AlertTopic, Clock, DocumentStore, Ledger, ReadQueryRegion, WriteQueryRegion};
use crate::time_limit;
use twinlake_core::CallError;

/// How a scheduled run ended.
#[derive(Debug)]
pub enum ScheduledQueryToolsRun {
    /// It ended, and its alerts are published.
    Ended(Box<QueryToolsOutcome>),
    /// It did not end, or its alerts were not published.
    Unfinished {
        /// Why, as a clause.
        reason: String,
        /// Whether the alert that says so could be published.
        told: Result<(), CallError>,
    },
}

/// Reconciles the query tools until `stop_at` of the context, publishes what is wrong, and resolves the incidents
/// that are over. A run that does not end is an alert itself.
pub async fn resync_query_tools<P, S, L, C, A>(
    context: &QueryToolsContext<'_, P, S, L, C>,
    topic: &A,
) -> ScheduledQueryToolsRun
where
    P: ReadQueryRegion,
    S: WriteQueryRegion,
    L: DocumentStore + Ledger,
    C: Clock,
    A: AlertTopic,
{
    let work = reconcile_and_tell(context, topic);
    let ended = match context.stop_at {
        None => Some(work.await),
        Some(stop_at) => time_limit::within(work, stop_at, context.clock.now()).await,
    };
    let reason = match ended {
        Some(Ok(outcome)) => return ScheduledQueryToolsRun::Ended(Box::new(outcome)),
        Some(Err(error)) => error.to_string(),
        None => "the time of the function ran out".to_owned(),
    };
    let now = context.clock.now();
    let alert = query_unfinished(&reason, context.standby.region(), now);
    let told = alerts::publish(topic, context.ledger, &[alert], now).await;
    ScheduledQueryToolsRun::Unfinished {
        reason,
        told: told.map(drop),
    }
}

async fn reconcile_and_tell<P, S, L, C, A>(
    context: &QueryToolsContext<'_, P, S, L, C>,
    topic: &A,
) -> Result<QueryToolsOutcome, CallError>
where
    P: ReadQueryRegion,
    S: WriteQueryRegion,
    L: DocumentStore + Ledger,
    C: Clock,
    A: AlertTopic,
{
    let started = context.clock.now();
    let outcome = reconcile_query(context).await?;
    let now = context.clock.now();
    let found = query_alerts(&outcome, context.standby.region(), now);
    let checked = query_checked(&outcome, started);
    alerts::publish_and_resolve(topic, context.ledger, (&found, &checked), now).await?;
    Ok(outcome)
}
