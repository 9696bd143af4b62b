//! What an invocation comes to: metrics on standard output, numbers of the day in the ledger.

use crate::start::Start;
use std::collections::BTreeMap;
use std::io::Write as _;
use tracing::warn;
use twinlake_core::metric::{Metric, Point, lines};
use twinlake_core::{FaultKind, Timestamp, render};
use twinlake_engine::ports::Counts;
use twinlake_engine::{Clock as _, Journal as _, watch};

/// An invocation under way.
pub(crate) struct Invocation<'a> {
    start: &'a Start,
    began: Timestamp,
    calls: BTreeMap<&'static str, u64>,
    faults: BTreeMap<FaultKind, u64>,
}

impl<'a> Invocation<'a> {
    pub(crate) fn begin(start: &'a Start) -> Self {
        Self {
            start,
            began: start.clock.now(),
            calls: twinlake_aws::calls(),
            faults: twinlake_aws::faults(),
        }
    }

    /// Emits what came of it, with the calls that were made meanwhile.
    pub(crate) async fn end(self, mut points: Vec<Point>, mut counts: Counts) {
        let now = self.start.clock.now();
        let mut calls = twinlake_aws::calls();
        for (service, count) in &mut calls {
            let before = self.calls.get(service).copied().unwrap_or_default();
            *count = count.saturating_sub(before);
            if *count > 0 {
                let count = i64::try_from(*count).unwrap_or(i64::MAX);
                points.push(Point::of(Metric::Calls, service, count));
            }
        }
        for (kind, count) in twinlake_aws::faults() {
            let before = self.faults.get(&kind).copied().unwrap_or_default();
            let count = i64::try_from(count.saturating_sub(before)).unwrap_or(i64::MAX);
            if count > 0 {
                points.push(Point::of(Metric::Faults, &kind.to_string(), count));
            }
        }
        emit(&points, now);
        let took = u64::try_from(now.0 - self.began.0).unwrap_or_default();
        counts.extend(watch::named("calls", &calls));
        counts.insert("lambda.invocations".to_owned(), 1);
        let mb_ms = took.saturating_mul(self.start.config.memory_mb);
        counts.insert("lambda.mb_ms".to_owned(), mb_ms);
        // The day's numbers are for the digest alone.
        if let Err(fault) = self.start.ledger.count(now, &counts).await {
            warn!(fault = render::escape(&fault.to_string()), "not counted");
        }
    }
}

/// Writes metrics where CloudWatch reads them: each line is a whole JSON object, so it does
/// not go through the log.
fn emit(points: &[Point], now: Timestamp) {
    let mut out = std::io::stdout().lock();
    for line in lines(points, now) {
        // Without standard output there is nobody to tell.
        let _ = writeln!(out, "{line}");
    }
}

/// What reconciliations came to.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub reconciled: usize,
    pub applied: usize,
    pub vetoed: usize,
}

impl Work {
    pub(crate) fn points(&self) -> Vec<Point> {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        vec![
            Point::new(Metric::Reconciled, number(self.reconciled)),
            Point::new(Metric::Applied, number(self.applied)),
            Point::new(Metric::Vetoed, number(self.vetoed)),
        ]
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts::from([
            ("reconciled".to_owned(), self.reconciled as u64),
            ("applied".to_owned(), self.applied as u64),
            ("vetoed".to_owned(), self.vetoed as u64),
        ])
    }
}
