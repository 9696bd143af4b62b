//! The metrics that the functions emit, as CloudWatch's embedded metric format has them.
//!
//! Source: the CloudWatch user guide, "Embedded metric format specification". A line is one
//! JSON object that names its metrics under `_aws`.

use crate::ledger::State;
use crate::timestamp::Timestamp;
use serde_json::{Map, Value, json};

/// The namespace of all of them.
pub const NAMESPACE: &str = "Twinlake";

/// A metric. Each is on the dashboard or in an alarm of the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Seconds that a channel is behind, by `Channel`.
    Lag,
    /// Seconds since the start of the last complete resync.
    VerifiedAge,
    /// Subjects that differ and are worked on.
    Behind,
    /// Subjects that are kept back.
    Held,
    /// Tables whose files have not all arrived.
    DataPending,
    /// Subjects that cannot be brought in step.
    Blocked,
    /// Messages in the dead-letter queues of this Region.
    DeadLetters,
    /// One for each look of the lag function: if it is missing, nobody watches.
    Watched,
    /// Reconciliations.
    Reconciled,
    /// Steps that were applied.
    Applied,
    /// Plans that were refused.
    Vetoed,
    /// Calls to AWS that failed, by `Kind`; that something is absent is no failure.
    Faults,
    /// Calls to AWS, by `Service`.
    Calls,
}

impl Metric {
    /// Every metric.
    pub const EVERY: [Self; 13] = [
        Self::Lag,
        Self::VerifiedAge,
        Self::Behind,
        Self::Held,
        Self::DataPending,
        Self::Blocked,
        Self::DeadLetters,
        Self::Watched,
        Self::Reconciled,
        Self::Applied,
        Self::Vetoed,
        Self::Faults,
        Self::Calls,
    ];

    /// The metric's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lag => "Lag",
            Self::VerifiedAge => "VerifiedAge",
            Self::Behind => "Behind",
            Self::Held => "Held",
            Self::DataPending => "DataPending",
            Self::Blocked => "Blocked",
            Self::DeadLetters => "DeadLetters",
            Self::Watched => "Watched",
            Self::Reconciled => "Reconciled",
            Self::Applied => "Applied",
            Self::Vetoed => "Vetoed",
            Self::Faults => "Faults",
            Self::Calls => "Calls",
        }
    }

    /// The one dimension that it has, if any.
    #[must_use]
    pub fn dimension(self) -> Option<&'static str> {
        match self {
            Self::Lag => Some("Channel"),
            Self::Faults => Some("Kind"),
            Self::Calls => Some("Service"),
            Self::VerifiedAge
            | Self::Behind
            | Self::Held
            | Self::DataPending
            | Self::Blocked
            | Self::DeadLetters
            | Self::Watched
            | Self::Reconciled
            | Self::Applied
            | Self::Vetoed => None,
        }
    }

    /// The metric that counts subjects in a state.
    #[must_use]
    pub fn of_state(state: State) -> Option<Self> {
        match state {
            State::Current => None,
            State::Behind => Some(Self::Behind),
            State::Held => Some(Self::Held),
            State::DataPending => Some(Self::DataPending),
            State::Blocked => Some(Self::Blocked),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Lag | Self::VerifiedAge => "Seconds",
            Self::Behind
            | Self::Held
            | Self::DataPending
            | Self::Blocked
            | Self::DeadLetters
            | Self::Watched
            | Self::Reconciled
            | Self::Applied
            | Self::Vetoed
            | Self::Faults
            | Self::Calls => "Count",
        }
    }
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Which.
    pub metric: Metric,
    /// What its dimension is, if it has one.
    pub of: Option<String>,
    /// How much.
    pub value: i64,
}

impl Point {
    /// A value of a metric without a dimension.
    #[must_use]
    pub fn new(metric: Metric, value: i64) -> Self {
        Self {
            metric,
            of: None,
            value,
        }
    }

    /// A value of a metric with a dimension.
    #[must_use]
    pub fn of(metric: Metric, dimension: &str, value: i64) -> Self {
        Self {
            metric,
            of: Some(dimension.to_owned()),
            value,
        }
    }
}

/// The lines to log: one for all values without a dimension, and one for each other one.
#[must_use]
pub fn lines(points: &[Point], now: Timestamp) -> Vec<String> {
    let (plain, dimensioned): (Vec<&Point>, Vec<&Point>) =
        points.iter().partition(|point| point.of.is_none());
    let mut lines = Vec::new();
    if !plain.is_empty() {
        lines.push(line(&plain, now));
    }
    lines.extend(dimensioned.into_iter().map(|point| line(&[point], now)));
    lines
}

fn line(points: &[&Point], now: Timestamp) -> String {
    let mut root = Map::new();
    let mut dimensions: Vec<&str> = Vec::new();
    for point in points {
        if let (Some(name), Some(of)) = (point.metric.dimension(), &point.of) {
            dimensions.push(name);
            root.insert(name.to_owned(), Value::from(of.as_str()));
        }
        root.insert(point.metric.as_str().to_owned(), point.value.into());
    }
    let metrics = points
        .iter()
        .map(|point| json!({"Name": point.metric.as_str(), "Unit": point.metric.unit()}));
    let directive = json!({
        "Namespace": NAMESPACE,
        "Dimensions": [dimensions],
        "Metrics": metrics.collect::<Vec<_>>(),
    });
    root.insert(
        "_aws".to_owned(),
        json!({"Timestamp": now.0, "CloudWatchMetrics": [directive]}),
    );
    Value::Object(root).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_metrics_and_has_a_value_for_each() {
        let points = [
            Point::new(Metric::Applied, 3),
            Point::of(Metric::Lag, "catalog", 7),
            Point::new(Metric::Vetoed, 0),
        ];
        let lines: Vec<Value> = lines(&points, Timestamp(1_763_633_730_500))
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                json!({"_aws": {"Timestamp": 1_763_633_730_500_i64, "CloudWatchMetrics": [{
                    "Namespace": "Twinlake", "Dimensions": [[]],
                    "Metrics": [{"Name": "Applied", "Unit": "Count"},
                                {"Name": "Vetoed", "Unit": "Count"}]}]},
                    "Applied": 3, "Vetoed": 0}),
                json!({"_aws": {"Timestamp": 1_763_633_730_500_i64, "CloudWatchMetrics": [{
                    "Namespace": "Twinlake", "Dimensions": [["Channel"]],
                    "Metrics": [{"Name": "Lag", "Unit": "Seconds"}]}]},
                    "Channel": "catalog", "Lag": 7}),
            ]
        );
    }
}
