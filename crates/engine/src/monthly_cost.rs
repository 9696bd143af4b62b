//! Projects what Twinlake costs in a month in which nothing changes, from the size of a data lake.
//!
//! The numbers of alarms, metrics, queues and scheduled runs are those of `template.yaml` with the default
//! parameters; the calls of a heartbeat are counted ones. `tests/local/test_costs.py` fails if they differ.

use crate::api_call_lower_bound::{CATALOG_PAGE_SIZE, pages};
use crate::call_projection::{
    DatabaseInventory, LakeInventory, ProjectedCalls, UnchangedResyncCalls, first_resync,
    unchanged_resync,
};
use crate::cost::{
    CLOUDWATCH_ALARM_MONTH, CLOUDWATCH_DASHBOARD_MONTH, CLOUDWATCH_METRIC_MONTH, DYNAMODB_READS,
    DYNAMODB_WRITES, EVENTBRIDGE_EVENTS, GLUE_CALLS, LAMBDA_GB_SECONDS, LAMBDA_INVOCATIONS, Prices,
    S3_HEADS, S3_MILLION_LISTINGS, SQS_CALLS,
};
use twinlake_core::Policy;

/// Resyncs a day.
pub const RESYNCS_PER_DAY: usize = 4;
const DAYS: f64 = 30.0;
/// Runs of the heartbeat in both Regions, of the monitor, and of what they set off, in a month.
const HEARTBEATS: f64 = DAYS * 24.0 * 60.0;
/// Runs of the check of S3 replication, in each Region and month.
const REPLICATION_CHECKS: f64 = DAYS * 24.0;
/// Runs of the readiness checks, and of the canaries in each Region, in a month.
const READINESS_CHECKS: f64 = DAYS * 48.0;
const CANARIES: f64 = DAYS * 24.0 * 12.0;
/// What the readiness checks call at most, whatever the size of the lake: what is not replicated is counted in
/// both Regions, the functions are listed, and the partitions of some tables are sampled.
const READINESS_GLUE_CALLS: usize = 9;
const READINESS_SAMPLED_TABLES: usize = 50;
const READINESS_S3_LISTINGS: f64 = 100.0;
const READINESS_S3_HEADS: f64 = 800.0;
/// What one run of the heartbeats and monitors of both Regions costs.
const HEARTBEAT: HeartbeatUsage = HeartbeatUsage {
    glue_calls: 9.2,
    lake_formation_calls: 14.0,
    dynamodb_calls: 78.0,
    sqs_calls: 43.0,
    events: 9.6,
    invocations: 11.0,
};
/// In each Region.
const METRICS: f64 = 24.0;
const ALARMS: f64 = 11.0;
const QUEUES: f64 = 6.0;
/// Assumption: Lambda keeps five long polls of 20 seconds open on an empty queue.
const POLLS_PER_QUEUE: f64 = 5.0 * DAYS * 24.0 * 3600.0 / 20.0;
/// Assumptions: the duration of a call to Glue or Lake Formation, and of an invocation without its calls.
const CALL_SECS: f64 = 0.05;
const INVOCATION_SECS: f64 = 0.2;
const MAX_CONCURRENT_CALLS: f64 = 8.0;
const RESYNC_GB: f64 = 1.0;
const HANDLER_GB: f64 = 0.5;
const READINESS_GB: f64 = 1.0;
const CANARY_GB: f64 = 0.125;
/// Assumption: a resync reads the row of each database and table, of 1 KB, and a read is of 4 KB.
const ROWS_PER_READ: f64 = 4.0;
const MILLION: f64 = 1_000_000.0;

struct HeartbeatUsage {
    glue_calls: f64,
    lake_formation_calls: f64,
    dynamodb_calls: f64,
    sqs_calls: f64,
    events: f64,
    invocations: f64,
}

/// The projected calls and the cost in US dollars.
#[derive(Clone, Debug, PartialEq)]
pub struct CostProjection {
    /// The calls of the first resync.
    pub first_resync: ProjectedCalls,
    /// The calls of a resync while nothing changes.
    pub unchanged_resync: UnchangedResyncCalls,
    /// The mean of those.
    pub average_resync: ProjectedCalls,
    /// Calls to Glue and Lake Formation in a month, heartbeats included. CloudTrail records each.
    pub calls_per_month: f64,
    /// The cost of a month by service.
    pub by_service: Vec<(&'static str, f64)>,
    /// Of the first resync, the calls to Glue and the time of Lambda.
    pub first_resync_cost: f64,
}

impl CostProjection {
    /// The cost of a month.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.by_service.iter().map(|(_, dollars)| dollars).sum()
    }
}

/// Projects the calls and the cost for a data lake.
#[must_use]
pub fn project(lake: &LakeInventory, policy: &Policy, prices: &Prices) -> CostProjection {
    let first = first_resync(lake, policy);
    let unchanged_resync = unchanged_resync(lake, policy);
    let unchanged = unchanged_resync.average(policy, RESYNCS_PER_DAY);
    let resyncs = DAYS * number(RESYNCS_PER_DAY);
    let price = |name: &str| prices.price(name) / MILLION;
    let lambda = |gb: f64, invocations: f64, calls: f64| {
        let seconds = invocations * INVOCATION_SECS + calls * CALL_SECS / MAX_CONCURRENT_CALLS;
        invocations * price(LAMBDA_INVOCATIONS) + seconds * gb * price(LAMBDA_GB_SECONDS)
    };
    let heartbeat_calls = HEARTBEAT.glue_calls + HEARTBEAT.lake_formation_calls;
    let tables = lake.databases.iter().map(|database| database.tables.len());
    let rows = number(tables.sum::<usize>() + lake.databases.len());
    let readiness_glue_calls = number(readiness_glue_calls(lake));
    let readiness_calls = readiness_glue_calls + READINESS_S3_LISTINGS + READINESS_S3_HEADS;
    let glue_calls = resyncs * number(unchanged.glue)
        + HEARTBEATS * HEARTBEAT.glue_calls
        + READINESS_CHECKS * readiness_glue_calls;
    let polls = 2.0 * QUEUES * POLLS_PER_QUEUE;
    let cloudwatch = METRICS * prices.price(CLOUDWATCH_METRIC_MONTH)
        + ALARMS * prices.price(CLOUDWATCH_ALARM_MONTH)
        + prices.price(CLOUDWATCH_DASHBOARD_MONTH);
    let by_service = vec![
        ("CloudWatch metrics, alarms, dashboards", 2.0 * cloudwatch),
        (
            "SQS",
            (polls + HEARTBEATS * HEARTBEAT.sqs_calls) * price(SQS_CALLS),
        ),
        (
            "DynamoDB",
            HEARTBEATS * HEARTBEAT.dynamodb_calls * price(DYNAMODB_WRITES)
                + resyncs * rows / ROWS_PER_READ * price(DYNAMODB_READS),
        ),
        ("Glue calls", glue_calls * price(GLUE_CALLS)),
        (
            "EventBridge",
            HEARTBEATS * HEARTBEAT.events * price(EVENTBRIDGE_EVENTS),
        ),
        (
            "Lambda",
            lambda(RESYNC_GB, resyncs, resyncs * number(unchanged.total()))
                + lambda(
                    HANDLER_GB,
                    HEARTBEATS * HEARTBEAT.invocations + 2.0 * REPLICATION_CHECKS,
                    HEARTBEATS * heartbeat_calls,
                )
                + lambda(
                    READINESS_GB,
                    READINESS_CHECKS,
                    READINESS_CHECKS * readiness_calls,
                )
                + lambda(CANARY_GB, 2.0 * CANARIES, 0.0),
        ),
        (
            "S3 requests of the readiness checks",
            READINESS_CHECKS
                * (READINESS_S3_LISTINGS * S3_MILLION_LISTINGS / MILLION
                    + READINESS_S3_HEADS * price(S3_HEADS)),
        ),
    ];
    CostProjection {
        first_resync: first,
        unchanged_resync,
        average_resync: unchanged,
        calls_per_month: resyncs * number(unchanged.total()) + HEARTBEATS * heartbeat_calls,
        by_service,
        first_resync_cost: number(first.glue) * price(GLUE_CALLS)
            + lambda(RESYNC_GB, 1.0, number(first.total())),
    }
}

/// The most calls to Glue of one readiness check.
fn readiness_glue_calls(lake: &LakeInventory) -> usize {
    let tables = |database: &DatabaseInventory| pages(database.tables.len(), CATALOG_PAGE_SIZE);
    let listings: usize = lake.databases.iter().map(tables).sum();
    let tables = lake.databases.iter().flat_map(|database| &database.tables);
    let partitioned = tables.filter(|table| table.is_partitioned).count();
    pages(lake.databases.len(), CATALOG_PAGE_SIZE)
        + listings
        + READINESS_GLUE_CALLS
        + partitioned.min(READINESS_SAMPLED_TABLES)
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
