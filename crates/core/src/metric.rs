//! The metrics that the functions emit, in CloudWatch's embedded metric format.
//!
//! Source: the CloudWatch user guide, "Embedded metric format specification". A log line is one
//! JSON object that names its metrics under `_aws`.

use crate::ledger::SubjectState;
use crate::timestamp::Timestamp;
use serde_json::{Map, Value, json};

/// The CloudWatch namespace of all metrics.
pub const NAMESPACE: &str = "Twinlake";

/// A metric. The template shows each on the dashboard or monitors it with an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Replication lag in seconds, by `Channel`.
    Lag,
    /// Seconds since the start of the last complete resync.
    SecondsSinceVerified,
    /// Number of subjects that differ from the primary and are being reconciled.
    OutOfSync,
    /// Number of subjects that the policy or the deletion limit holds back.
    OnHold,
    /// Number of tables with objects that S3 has not replicated yet.
    DataPending,
    /// Number of subjects that differ and that Twinlake cannot reconcile.
    Blocked,
    /// Number of messages in the dead-letter queues of this Region.
    DeadLetters,
    /// 1 for each run of the monitor function. If it is missing, nothing monitors the lag.
    MonitorRuns,
    /// 1 if the Region is the primary, else 0, of each run of the monitor that can tell.
    IsPrimary,
    /// Number of reconciliations.
    Reconciled,
    /// Number of steps applied.
    Applied,
    /// Number of plans that the audit rejected.
    PlansRejected,
    /// Number of failed AWS calls, by `Kind`. "Not found" and "already in state" do not count as
    /// failures.
    ApiErrors,
    /// Number of AWS calls, by `Service`.
    ApiCalls,
    /// Number of calls that AWS refused because there were too many, by `Service`, attempts that were
    /// repeated included.
    ThrottledCalls,
    /// The ceiling of calls a second, by `CalledRegion`, if there is one.
    CallCeiling,
    /// Number of seconds of the last ten minutes in which no calls were left below the ceiling, by
    /// `CalledRegion`.
    SecondsAtCallCeiling,
    /// Number of blockers that the last check of the readiness found.
    ReadinessBlockers,
    /// Number of warnings that the last check of the readiness found.
    ReadinessWarnings,
    /// Number of reads of the last check of the readiness that failed; at least 1 without a current check.
    ReadinessUnknown,
}

impl Metric {
    /// Every metric.
    pub const EVERY: [Self; 20] = [
        Self::Lag,
        Self::SecondsSinceVerified,
        Self::OutOfSync,
        Self::OnHold,
        Self::DataPending,
        Self::Blocked,
        Self::DeadLetters,
        Self::MonitorRuns,
        Self::IsPrimary,
        Self::Reconciled,
        Self::Applied,
        Self::PlansRejected,
        Self::ApiErrors,
        Self::ApiCalls,
        Self::ThrottledCalls,
        Self::CallCeiling,
        Self::SecondsAtCallCeiling,
        Self::ReadinessBlockers,
        Self::ReadinessWarnings,
        Self::ReadinessUnknown,
    ];

    /// Returns the metric's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lag => "Lag",
            Self::SecondsSinceVerified => "SecondsSinceVerified",
            Self::OutOfSync => "OutOfSync",
            Self::OnHold => "OnHold",
            Self::DataPending => "DataPending",
            Self::Blocked => "Blocked",
            Self::DeadLetters => "DeadLetters",
            Self::MonitorRuns => "MonitorRuns",
            Self::IsPrimary => "IsPrimary",
            Self::Reconciled => "Reconciled",
            Self::Applied => "Applied",
            Self::PlansRejected => "PlansRejected",
            Self::ApiErrors => "ApiErrors",
            Self::ApiCalls => "ApiCalls",
            Self::ThrottledCalls => "ThrottledCalls",
            Self::CallCeiling => "CallCeiling",
            Self::SecondsAtCallCeiling => "SecondsAtCallCeiling",
            Self::ReadinessBlockers => "ReadinessBlockers",
            Self::ReadinessWarnings => "ReadinessWarnings",
            Self::ReadinessUnknown => "ReadinessUnknown",
        }
    }

    /// Returns the name of the metric's dimension, if it has one.
    #[must_use]
    pub fn dimension(self) -> Option<&'static str> {
        match self {
            Self::Lag => Some("Channel"),
            Self::ApiErrors => Some("Kind"),
            Self::ApiCalls => Some("Service"),
            Self::ThrottledCalls => Some("Service"),
            Self::CallCeiling => Some("CalledRegion"),
            Self::SecondsAtCallCeiling => Some("CalledRegion"),
            Self::SecondsSinceVerified
            | Self::OutOfSync
            | Self::OnHold
            | Self::DataPending
            | Self::Blocked
            | Self::DeadLetters
            | Self::MonitorRuns
            | Self::IsPrimary
            | Self::Reconciled
            | Self::Applied
            | Self::PlansRejected
            | Self::ReadinessBlockers
            | Self::ReadinessWarnings
            | Self::ReadinessUnknown => None,
        }
    }

    /// Returns the metric that counts the subjects in a state.
    #[must_use]
    pub fn of_state(state: SubjectState) -> Option<Self> {
        match state {
            SubjectState::InSync => None,
            SubjectState::OutOfSync => Some(Self::OutOfSync),
            SubjectState::OnHold => Some(Self::OnHold),
            SubjectState::DataPending => Some(Self::DataPending),
            SubjectState::Blocked => Some(Self::Blocked),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Lag | Self::SecondsSinceVerified | Self::SecondsAtCallCeiling => "Seconds",
            Self::CallCeiling => "Count/Second",
            Self::OutOfSync
            | Self::OnHold
            | Self::DataPending
            | Self::Blocked
            | Self::DeadLetters
            | Self::MonitorRuns
            | Self::IsPrimary
            | Self::Reconciled
            | Self::Applied
            | Self::PlansRejected
            | Self::ApiErrors
            | Self::ApiCalls
            | Self::ThrottledCalls
            | Self::ReadinessBlockers
            | Self::ReadinessWarnings
            | Self::ReadinessUnknown => "Count",
        }
    }
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricPoint {
    /// The metric.
    pub metric: Metric,
    /// The value of the metric's dimension, if it has one.
    pub dimension_value: Option<String>,
    /// The value, in the metric's unit.
    pub value: i64,
}

impl MetricPoint {
    /// Creates a value of a metric without a dimension.
    #[must_use]
    pub fn new(metric: Metric, value: i64) -> Self {
        Self {
            metric,
            dimension_value: None,
            value,
        }
    }

    /// Creates a value of a metric with a dimension.
    #[must_use]
    pub fn with_dimension(metric: Metric, dimension: &str, value: i64) -> Self {
        Self {
            metric,
            dimension_value: Some(dimension.to_owned()),
            value,
        }
    }
}

/// Returns the log lines: one for all values without a dimension, and one for each value with a
/// dimension.
#[must_use]
pub fn log_lines(points: &[MetricPoint], now: Timestamp) -> Vec<String> {
    let (plain, with_dimension): (Vec<&MetricPoint>, Vec<&MetricPoint>) = points
        .iter()
        .partition(|point| point.dimension_value.is_none());
    let mut lines = Vec::new();
    if !plain.is_empty() {
        lines.push(log_line(&plain, now));
    }
    lines.extend(
        with_dimension
            .into_iter()
            .map(|point| log_line(&[point], now)),
    );
    lines
}

fn log_line(points: &[&MetricPoint], now: Timestamp) -> String {
    let mut root = Map::new();
    let mut dimensions: Vec<&str> = Vec::new();
    for point in points {
        if let (Some(name), Some(value)) = (point.metric.dimension(), &point.dimension_value) {
            dimensions.push(name);
            root.insert(name.to_owned(), Value::from(value.as_str()));
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
        json!({"Timestamp": now.millis(), "CloudWatchMetrics": [directive]}),
    );
    Value::Object(root).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_names_its_metrics_and_has_a_value_for_each() {
        let points = [
            MetricPoint::new(Metric::Applied, 3),
            MetricPoint::with_dimension(Metric::Lag, "catalog", 7),
            MetricPoint::new(Metric::PlansRejected, 0),
        ];
        let lines: Vec<Value> = log_lines(&points, Timestamp::from_millis(1_763_633_730_500))
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                json!({"_aws": {"Timestamp": 1_763_633_730_500_i64, "CloudWatchMetrics": [{
                    "Namespace": "Twinlake", "Dimensions": [[]],
                    "Metrics": [{"Name": "Applied", "Unit": "Count"},
                                {"Name": "PlansRejected", "Unit": "Count"}]}]},
                    "Applied": 3, "PlansRejected": 0}),
                json!({"_aws": {"Timestamp": 1_763_633_730_500_i64, "CloudWatchMetrics": [{
                    "Namespace": "Twinlake", "Dimensions": [["Channel"]],
                    "Metrics": [{"Name": "Lag", "Unit": "Seconds"}]}]},
                    "Channel": "catalog", "Lag": 7}),
            ]
        );
    }
}
