//! The telemetry of one invocation: metrics on standard output, and counts for the daily digest in
//! the ledger.

use std::collections::BTreeMap;
use std::io::Write as _;
use tracing::warn;
use twinlake_aws::{DynamoLedger, SystemClock};
use twinlake_core::metric::{Metric, MetricPoint, log_lines};
use twinlake_core::{CallErrorKind, Timestamp, render};
use twinlake_engine::ports::StatCounters;
use twinlake_engine::{Clock as _, StatsStore as _, monitor};

/// Measures one invocation: its duration, and the API calls and errors in it.
pub(crate) struct InvocationTelemetry<'a> {
    ledger: &'a DynamoLedger,
    memory_mb: u64,
    started: Timestamp,
    calls_before: BTreeMap<&'static str, u64>,
    errors_before: BTreeMap<CallErrorKind, u64>,
    throttled_before: BTreeMap<&'static str, u64>,
}

impl<'a> InvocationTelemetry<'a> {
    /// Starts to measure. `memory_mb` is the function's memory.
    pub(crate) fn start(ledger: &'a DynamoLedger, memory_mb: u64) -> Self {
        Self {
            ledger,
            memory_mb,
            started: SystemClock.now(),
            calls_before: twinlake_aws::api_calls(),
            errors_before: twinlake_aws::api_errors(),
            throttled_before: twinlake_aws::throttled_calls(),
        }
    }

    /// Emits `points` as metrics and adds `counts` to the daily statistics, both with the API calls
    /// of this invocation.
    pub(crate) async fn finish(self, mut points: Vec<MetricPoint>, mut counts: StatCounters) {
        let now = SystemClock.now();
        let mut calls = twinlake_aws::api_calls();
        for (service, count) in &mut calls {
            let before = self.calls_before.get(service).copied().unwrap_or_default();
            *count = count.saturating_sub(before);
            if *count > 0 {
                let count = i64::try_from(*count).unwrap_or(i64::MAX);
                points.push(MetricPoint::with_dimension(
                    Metric::ApiCalls,
                    service,
                    count,
                ));
            }
        }
        for (kind, count) in twinlake_aws::api_errors() {
            let before = self.errors_before.get(&kind).copied().unwrap_or_default();
            let count = i64::try_from(count.saturating_sub(before)).unwrap_or(i64::MAX);
            if count > 0 {
                points.push(MetricPoint::with_dimension(
                    Metric::ApiErrors,
                    &kind.to_string(),
                    count,
                ));
            }
        }
        for (service, count) in twinlake_aws::throttled_calls() {
            let before = self.throttled_before.get(service).copied();
            let count = count.saturating_sub(before.unwrap_or_default());
            if count > 0 {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                points.push(MetricPoint::with_dimension(
                    Metric::ThrottledCalls,
                    service,
                    count,
                ));
            }
        }
        emit(&points, now);
        let duration_ms = u64::try_from(now.millis() - self.started.millis()).unwrap_or_default();
        counts.extend(monitor::prefixed("calls", &calls));
        counts.insert("lambda.invocations".to_owned(), 1);
        let mb_ms = duration_ms.saturating_mul(self.memory_mb);
        counts.insert("lambda.mb_ms".to_owned(), mb_ms);
        // Only the daily digest reads these counts, so a failure does not fail the invocation.
        if let Err(error) = self.ledger.add_counters(now, &counts).await {
            warn!(
                error = render::escape(&error.to_string()),
                "the counts for the daily digest were not stored"
            );
        }
    }
}

/// Writes metrics to standard output in the embedded metric format. CloudWatch requires each line
/// to be exactly one JSON object, so they bypass the logger.
fn emit(points: &[MetricPoint], now: Timestamp) {
    let mut out = std::io::stdout().lock();
    for line in log_lines(points, now) {
        // If standard output is closed, the error cannot be reported either.
        let _ = writeln!(out, "{line}");
    }
}

/// Totals of the reconciliations of one invocation.
#[derive(Debug, Default)]
pub(crate) struct ReconcileCounts {
    pub reconciled: usize,
    pub applied: usize,
    pub rejected_plans: usize,
}

impl ReconcileCounts {
    pub(crate) fn points(&self) -> Vec<MetricPoint> {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        vec![
            MetricPoint::new(Metric::Reconciled, number(self.reconciled)),
            MetricPoint::new(Metric::Applied, number(self.applied)),
            MetricPoint::new(Metric::PlansRejected, number(self.rejected_plans)),
        ]
    }

    pub(crate) fn counts(&self) -> StatCounters {
        StatCounters::from([
            ("reconciled".to_owned(), self.reconciled as u64),
            ("applied".to_owned(), self.applied as u64),
            ("plans_rejected".to_owned(), self.rejected_plans as u64),
        ])
    }
}
