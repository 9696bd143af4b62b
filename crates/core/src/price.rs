//! What AWS charges, so that people are told what Twinlake costs them.
//!
//! One table, of AWS's public price pages for us-east-1 as they were known on [`AS_OF`],
//! beyond every free tier. The policy's `[prices]` overrides single prices. Calls to Lake
//! Formation are free.

use serde::Serialize;
use std::collections::BTreeMap;

/// When the prices were known to be these.
pub const AS_OF: &str = "2025-11";

/// US dollars by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prices(BTreeMap<&'static str, f64>);

/// For a million calls to Glue's catalog.
pub const GLUE: &str = "glue-million-calls";
/// For a million invocations of Lambda.
pub const INVOCATIONS: &str = "lambda-million-invocations";
/// For a million GB-seconds of Lambda (arm64).
pub const GB_SECONDS: &str = "lambda-million-gb-seconds";
/// For a million reads of an item of up to 4 KB, strongly consistent.
pub const READS: &str = "dynamodb-million-reads";
/// For a million writes of an item of up to 1 KB.
pub const WRITES: &str = "dynamodb-million-writes";
/// For a million calls to SQS.
pub const SQS: &str = "sqs-million-calls";
/// For a million messages published to SNS.
pub const SNS: &str = "sns-million-messages";
/// For a million events that cross Regions, or are our own.
pub const EVENTS: &str = "eventbridge-million-events";
/// For a million `HeadObject`.
pub const S3: &str = "s3-million-heads";
/// For a month of one custom metric.
pub const METRIC: &str = "cloudwatch-metric-month";
/// For a month of one alarm.
pub const ALARM: &str = "cloudwatch-alarm-month";
/// For a month of the dashboard.
pub const DASHBOARD: &str = "cloudwatch-dashboard-month";

impl Default for Prices {
    fn default() -> Self {
        Self(BTreeMap::from([
            (GLUE, 1.00),
            (INVOCATIONS, 0.20),
            (GB_SECONDS, 13.3334),
            (READS, 0.125),
            (WRITES, 0.625),
            (SQS, 0.40),
            (SNS, 0.50),
            (EVENTS, 1.00),
            (S3, 0.40),
            (METRIC, 0.30),
            (ALARM, 0.10),
            (DASHBOARD, 3.00),
        ]))
    }
}

impl Prices {
    /// A price in US dollars.
    #[must_use]
    pub fn of(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.keys().copied()
    }

    /// Sets a price; answers whether there is one of that name.
    pub fn set(&mut self, name: &str, price: f64) -> bool {
        let known = self.0.get_mut(name);
        known.map(|known| *known = price).is_some()
    }

    /// What the numbers of a day come to, in US dollars: calls by service, invocations and
    /// their time. A call to DynamoDB counts as a write, the dearer of both.
    #[must_use]
    pub fn of_day(&self, counts: &BTreeMap<String, u64>) -> f64 {
        const MILLION: f64 = 1_000_000.0;
        const MB_MS_IN_GB_S: f64 = 1024.0 * 1000.0;
        let count = |name: &str| {
            let count = counts.get(name).copied().unwrap_or_default();
            f64::from(u32::try_from(count).unwrap_or(u32::MAX))
        };
        let mb_ms = counts.get("lambda.mb_ms").copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "money is told to the cent")]
        let gb_seconds = mb_ms as f64 / MB_MS_IN_GB_S;
        let dollars = [
            count("calls.glue") * self.of(GLUE),
            count("calls.dynamodb") * self.of(WRITES),
            count("calls.sqs") * self.of(SQS),
            count("calls.sns") * self.of(SNS),
            count("calls.events") * self.of(EVENTS),
            count("calls.s3") * self.of(S3),
            count("lambda.invocations") * self.of(INVOCATIONS),
            gb_seconds * self.of(GB_SECONDS),
        ];
        dollars.iter().sum::<f64>() / MILLION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_costs_what_its_calls_do() {
        let counts = [
            ("calls.glue", 2_000_000),
            ("calls.lakeformation", 5_000_000),
            ("lambda.invocations", 1_000_000),
            ("lambda.mb_ms", 1_024_000_000_000),
        ];
        let counts = counts.map(|(name, count)| (name.to_owned(), count));
        let mut prices = Prices::default();
        let day = prices.of_day(&counts.clone().into());
        assert!((day - (2.0 + 0.2 + 13.3334)).abs() < 1e-6, "{day}");
        assert!(prices.set(GLUE, 0.0) && !prices.set("tea", 1.0));
        let day = prices.of_day(&counts.into());
        assert!((day - 13.5334).abs() < 1e-6, "{day}");
    }
}
