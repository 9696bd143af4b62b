//! AWS prices, from which the running cost of Twinlake is estimated.
//!
//! Source: AWS's public price pages for us-east-1 as of [`AS_OF`], without free tiers. The `[prices]`
//! table of the operation document overrides single prices. Calls to Lake Formation are free.

use serde::Serialize;
use std::collections::BTreeMap;

/// The month of the prices.
pub const AS_OF: &str = "2025-11";

/// Prices in US dollars, by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prices(BTreeMap<&'static str, f64>);

/// Per million calls to the Glue Data Catalog.
pub const GLUE_CALLS: &str = "glue-million-calls";
/// Per million Lambda invocations.
pub const LAMBDA_INVOCATIONS: &str = "lambda-million-invocations";
/// Per million GB-seconds of Lambda on arm64.
pub const LAMBDA_GB_SECONDS: &str = "lambda-million-gb-seconds";
/// Per million strongly consistent DynamoDB reads of items of up to 4 KB.
pub const DYNAMODB_READS: &str = "dynamodb-million-reads";
/// Per million DynamoDB writes of items of up to 1 KB.
pub const DYNAMODB_WRITES: &str = "dynamodb-million-writes";
/// Per million SQS calls.
pub const SQS_CALLS: &str = "sqs-million-calls";
/// Per million messages published to SNS.
pub const SNS_MESSAGES: &str = "sns-million-messages";
/// Per million EventBridge events that cross Regions or are custom events.
pub const EVENTBRIDGE_EVENTS: &str = "eventbridge-million-events";
/// Per million `HeadObject` calls.
pub const S3_HEADS: &str = "s3-million-heads";
/// Per custom metric and month.
pub const CLOUDWATCH_METRIC_MONTH: &str = "cloudwatch-metric-month";
/// Per alarm and month.
pub const CLOUDWATCH_ALARM_MONTH: &str = "cloudwatch-alarm-month";
/// Per dashboard and month.
pub const CLOUDWATCH_DASHBOARD_MONTH: &str = "cloudwatch-dashboard-month";

/// A price of what S3, KMS and CloudTrail do beside Twinlake.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataPrice {
    /// US dollars.
    pub dollars: f64,
    /// For how much of what.
    pub unit: &'static str,
}

/// GB in the TB of the price pages.
const GB_PER_TB: f64 = 1024.0;

/// What replicated data and its keys cost. Nobody knows the amount of data before S3 replicates it.
pub const DATA_PRICES: [DataPrice; 8] = [
    DataPrice {
        dollars: 0.02 * GB_PER_TB,
        unit: "per TB replicated, for the transfer to another Region",
    },
    DataPrice {
        dollars: 0.023 * GB_PER_TB,
        unit: "per TB and month of replicas in S3 Standard, noncurrent versions included",
    },
    DataPrice {
        dollars: 0.015 * GB_PER_TB,
        unit: "per TB replicated with Replication Time Control",
    },
    DataPrice {
        dollars: 5.00,
        unit: "per million objects replicated, for the PUT requests",
    },
    DataPrice {
        dollars: 1.00,
        unit: "per million objects that S3 Batch Replication copies",
    },
    DataPrice {
        dollars: 3.00,
        unit: "per million requests to KMS; bucket keys reduce their number",
    },
    DataPrice {
        dollars: 1.00,
        unit: "per KMS key and month",
    },
    DataPrice {
        dollars: 0.30,
        unit: "per S3 replication rule, direction and month, for canaries",
    },
];

/// Per million listings of objects in S3.
pub const S3_MILLION_LISTINGS: f64 = 5.00;

/// Per million management events that a second trail of a Region copies.
pub const TRAIL_COPY_MILLION_EVENTS: f64 = 20.00;

impl Default for Prices {
    fn default() -> Self {
        Self(BTreeMap::from([
            (GLUE_CALLS, 1.00),
            (LAMBDA_INVOCATIONS, 0.20),
            (LAMBDA_GB_SECONDS, 13.3334),
            (DYNAMODB_READS, 0.125),
            (DYNAMODB_WRITES, 0.625),
            (SQS_CALLS, 0.40),
            (SNS_MESSAGES, 0.50),
            (EVENTBRIDGE_EVENTS, 1.00),
            (S3_HEADS, 0.40),
            (CLOUDWATCH_METRIC_MONTH, 0.30),
            (CLOUDWATCH_ALARM_MONTH, 0.10),
            (CLOUDWATCH_DASHBOARD_MONTH, 3.00),
        ]))
    }
}

impl Prices {
    /// Returns a price in US dollars, or 0 if there is none of that name.
    #[must_use]
    pub fn price(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Returns the names of all prices.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.keys().copied()
    }

    /// Sets a price. Returns whether there is a price of that name.
    pub fn set(&mut self, name: &str, price: f64) -> bool {
        let current = self.0.get_mut(name);
        current.map(|current| *current = price).is_some()
    }

    /// Returns the cost of one day in US dollars, from its counts of calls by service, of Lambda
    /// invocations and of their duration. Every DynamoDB call is priced as a write, which costs more
    /// than a read.
    #[must_use]
    pub fn daily_cost(&self, counts: &BTreeMap<String, u64>) -> f64 {
        const MILLION: f64 = 1_000_000.0;
        const MB_MS_IN_GB_S: f64 = 1024.0 * 1000.0;
        let count = |name: &str| {
            let count = counts.get(name).copied().unwrap_or_default();
            f64::from(u32::try_from(count).unwrap_or(u32::MAX))
        };
        let mb_ms = counts.get("lambda.mb_ms").copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "costs are shown in cents")]
        let gb_seconds = mb_ms as f64 / MB_MS_IN_GB_S;
        let dollars = [
            count("calls.glue") * self.price(GLUE_CALLS),
            count("calls.dynamodb") * self.price(DYNAMODB_WRITES),
            count("calls.sqs") * self.price(SQS_CALLS),
            count("calls.sns") * self.price(SNS_MESSAGES),
            count("calls.events") * self.price(EVENTBRIDGE_EVENTS),
            count("calls.s3") * self.price(S3_HEADS),
            count("lambda.invocations") * self.price(LAMBDA_INVOCATIONS),
            gb_seconds * self.price(LAMBDA_GB_SECONDS),
        ];
        dollars.iter().sum::<f64>() / MILLION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daily_cost_is_the_sum_over_calls_and_invocations() {
        let counts = [
            ("calls.glue", 2_000_000),
            ("calls.lakeformation", 5_000_000),
            ("lambda.invocations", 1_000_000),
            ("lambda.mb_ms", 1_024_000_000_000),
        ];
        let counts = counts.map(|(name, count)| (name.to_owned(), count));
        let mut prices = Prices::default();
        let cost = prices.daily_cost(&counts.clone().into());
        assert!((cost - (2.0 + 0.2 + 13.3334)).abs() < 1e-6, "{cost}");
        assert!(prices.set(GLUE_CALLS, 0.0) && !prices.set("unknown", 1.0));
        let cost = prices.daily_cost(&counts.into());
        assert!((cost - 13.5334).abs() < 1e-6, "{cost}");
    }
}
