//! A scheduled run with its alerts: whatever goes wrong is told, and the next run tries again.

use super::{
    QueryToolsContext, QueryToolsOutcome, query_alerts, query_checked, query_unfinished,
    reconcile_query,
};
use crate::alerts;
use crate::ports::{AlertTopic, Clock, DocumentStore, Ledger, ReadQueryRegion, WriteQueryRegion};
use crate::time_limit;
use twinlake_core::{CallError, CallErrorKind, Timestamp};

/// How a scheduled run ended.
#[derive(Debug)]
pub enum ScheduledQueryToolsRun {
    /// It ended.
    Ended {
        /// What it did and found.
        outcome: Box<QueryToolsOutcome>,
        /// Whether its alerts could be published.
        told: Result<(), CallError>,
    },
    /// It did not end.
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
    let started = context.clock.now();
    let reason = match before_the_stop(context, reconcile_query(context)).await {
        Some(Ok(outcome)) => {
            return ScheduledQueryToolsRun::Ended {
                told: tell(context, topic, &outcome, started).await,
                outcome: Box::new(outcome),
            };
        }
        Some(Err(error)) => error.to_string(),
        None => OUT_OF_TIME.to_owned(),
    };
    let now = context.clock.now();
    let alert = query_unfinished(&reason, context.standby.region(), now);
    let told = alerts::publish(topic, context.ledger, &[alert], now).await;
    ScheduledQueryToolsRun::Unfinished {
        reason,
        told: told.map(drop),
    }
}

/// Why something was given up at `stop_at`.
const OUT_OF_TIME: &str = "the time of the function ran out";

/// What some work results in; `None` if the time of the function ran out.
async fn before_the_stop<P, S, L, C: Clock, T>(
    context: &QueryToolsContext<'_, P, S, L, C>,
    work: impl Future<Output = T>,
) -> Option<T> {
    match context.stop_at {
        None => Some(work.await),
        Some(stop_at) => time_limit::within(work, stop_at, context.clock.now()).await,
    }
}

async fn tell<P, S, L, C, A>(
    context: &QueryToolsContext<'_, P, S, L, C>,
    topic: &A,
    outcome: &QueryToolsOutcome,
    started: Timestamp,
) -> Result<(), CallError>
where
    P: ReadQueryRegion,
    S: WriteQueryRegion,
    L: DocumentStore + Ledger,
    C: Clock,
    A: AlertTopic,
{
    let (now, region) = (context.clock.now(), context.standby.region());
    let found = query_alerts(outcome, region, now);
    let checked = query_checked(outcome, started);
    let published = alerts::publish_and_resolve(topic, context.ledger, (&found, &checked), now);
    let published = before_the_stop(context, published).await;
    published.map_or_else(
        || {
            let kind = CallErrorKind::Unavailable;
            Err(CallError::new(kind, "Publish", region, OUT_OF_TIME))
        },
        |published| published.map(drop),
    )
}
