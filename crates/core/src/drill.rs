//! A drill: everything of a takeover short of the switch, with queries as real roles. What a drill asks, how an
//! answer is judged, and the report, which names the digest of the report before it.

use crate::catalog::digest;
use crate::name::TableId;
use crate::readiness::ReadinessCounts;
use crate::render::counted;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of the reports of this Twinlake.
pub const FORMAT: u32 = 1;

/// What `[drill]` of the operation document says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrillConfig {
    /// The Athena workgroup that the queries run in. It is for drills alone, and has a byte limit.
    pub workgroup: String,
    /// The queries.
    pub checks: Vec<DrillCheck>,
}

/// What a role should come to with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillExpectation {
    /// It gets an answer.
    Allowed,
    /// It is refused.
    Denied,
}

impl DrillExpectation {
    /// The word of the operation document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }
}

/// What is read of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillQuery {
    /// These columns of one row.
    Columns(Vec<String>),
    /// The number of rows that the role sees.
    Rows,
    /// The same in both Regions, to compare them.
    RowsInBothRegions,
}

/// A query as a real role, and what it should come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillCheck {
    /// The ARN of the role.
    pub role: String,
    /// The table.
    pub table: TableId,
    /// What is read.
    pub query: DrillQuery,
    /// What it should come to.
    pub expect: DrillExpectation,
}

impl DrillCheck {
    /// The statement. It reads one row, or counts rows, and writes nothing.
    #[must_use]
    pub fn sql(&self) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let table = format!(
            "{}.{}",
            quoted(self.table.database.as_str()),
            quoted(self.table.table.as_str())
        );
        match &self.query {
            DrillQuery::Columns(columns) => {
                let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
                format!("SELECT {} FROM {table} LIMIT 1", columns.join(", "))
            }
            DrillQuery::Rows | DrillQuery::RowsInBothRegions => {
                format!("SELECT count(*) FROM {table}")
            }
        }
    }

    /// The columns that it names.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        match &self.query {
            DrillQuery::Columns(columns) => columns,
            DrillQuery::Rows | DrillQuery::RowsInBothRegions => &[],
        }
    }
}

/// How a query as a role ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryEnd {
    /// It has an answer: of a count, the number of rows.
    Answered(Option<u64>),
    /// The role was refused the data.
    Refused(String),
    /// It failed for another reason.
    Failed(String),
    /// It was cancelled by somebody, or by the byte limit of the workgroup.
    Cancelled(String),
    /// It had no answer within the time of a query, and was stopped.
    TimedOut,
    /// The role may not start queries in the workgroup, or the workgroup is not usable.
    NotStarted(String),
    /// The role could not be assumed.
    NotAssumed(String),
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillOutcome {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// Nothing was proved.
    Unknown,
}

impl DrillOutcome {
    /// The word of the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Judges the end of a query in the standby. A query that failed for another reason than a refusal proves no
/// refusal.
#[must_use]
pub fn judge(expect: DrillExpectation, end: &QueryEnd) -> (DrillOutcome, String) {
    use DrillExpectation::{Allowed, Denied};
    use DrillOutcome::{Failed, Passed, Unknown};
    match (expect, end) {
        (Allowed, QueryEnd::Answered(Some(rows))) => {
            (Passed, format!("counted {}", counted(*rows, "row")))
        }
        (Allowed, QueryEnd::Answered(None)) => (Passed, "answered".to_owned()),
        (Denied, QueryEnd::Answered(_)) => (Failed, "the role sees what it should not".to_owned()),
        (Denied, QueryEnd::Refused(reason)) => (Passed, format!("refused: {reason}")),
        (Allowed, QueryEnd::Refused(reason)) => (Failed, format!("refused: {reason}")),
        (Allowed, QueryEnd::Failed(reason)) => (Failed, format!("the query failed: {reason}")),
        (Denied, QueryEnd::Failed(reason)) => (
            Unknown,
            format!("the query failed for another reason: {reason}"),
        ),
        (Allowed, QueryEnd::NotStarted(reason)) => (Failed, format!("not started: {reason}")),
        (Denied, QueryEnd::NotStarted(reason)) => (
            Unknown,
            format!("not started, so nothing is known of the data: {reason}"),
        ),
        (_, QueryEnd::Cancelled(reason)) => (Unknown, format!("cancelled: {reason}")),
        (_, QueryEnd::TimedOut) => (Unknown, "no answer in time; it was stopped".to_owned()),
        (_, QueryEnd::NotAssumed(reason)) => {
            (Unknown, format!("the role could not be assumed: {reason}"))
        }
    }
}

/// Judges a count in both Regions.
#[must_use]
pub fn judge_counts(standby: &QueryEnd, primary: &QueryEnd) -> (DrillOutcome, String) {
    match (standby, primary) {
        (QueryEnd::Answered(Some(here)), QueryEnd::Answered(Some(there))) if here == there => (
            DrillOutcome::Passed,
            format!("counted {} in both Regions", counted(*here, "row")),
        ),
        (QueryEnd::Answered(Some(here)), QueryEnd::Answered(Some(there))) => (
            DrillOutcome::Failed,
            format!(
                "counted {} in the standby, and {there} in the primary",
                counted(*here, "row")
            ),
        ),
        (QueryEnd::Answered(_), _) => {
            let (_, reason) = judge(DrillExpectation::Allowed, primary);
            (DrillOutcome::Unknown, format!("in the primary: {reason}"))
        }
        (_, _) => judge(DrillExpectation::Allowed, standby),
    }
}

/// A check with its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillResult {
    /// The check.
    pub check: DrillCheck,
    /// The statement.
    pub sql: String,
    /// What it came to.
    pub outcome: DrillOutcome,
    /// The reason, for a reader.
    pub detail: String,
    /// When it began, as in `2026-11-30T04:00:00Z`.
    pub at: String,
    /// How long it took in the standby, with the role assumed and the answer read, in milliseconds.
    pub milliseconds: u64,
}

/// Whether a failover would start now, as `--validate-only` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatedTakeover {
    /// The number of the epoch.
    pub epoch: u64,
    /// The steps that it would take, as clauses.
    pub steps: Vec<String>,
    /// The gate that is closed, with its limit and the measured value; `None` if it would start.
    pub refusal: Option<String>,
    /// Seconds since what had arrived was sent, by channel: the recovery point that a failover would have.
    pub recovery_point_seconds: BTreeMap<String, i64>,
    /// When the last complete resync began.
    pub verified_at: Option<String>,
    /// The objects that are not in sync.
    pub not_in_sync: usize,
    /// The tables that wait for objects in S3.
    pub tables_with_pending_objects: usize,
    /// What could not be read.
    pub unread: Vec<String>,
}

/// What the checks of the readiness found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrilledReadiness {
    /// The number of findings.
    pub counts: ReadinessCounts,
    /// Blockers and what could not be read, as lines.
    pub findings: Vec<String>,
}

/// What a drill came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillVerdict {
    /// Everything was as it should be, and queries were made that should be answered, and that should be refused.
    Passed,
    /// Nothing failed, and something was not proved.
    Incomplete,
    /// Something was not as it should be.
    Failed,
}

impl DrillVerdict {
    /// The word of the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }
}

/// The report of a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillReport {
    /// The format of the report.
    pub version: u32,
    /// The version of Twinlake.
    pub twinlake: String,
    /// The digest of the report before; `None` for the first one.
    pub previous: Option<String>,
    /// The Region of the primary.
    pub primary: String,
    /// The Region that would take over.
    pub standby: String,
    /// Who drilled: the principal of the caller.
    pub caller: String,
    /// When the drill began, as in `2026-11-30T04:00:00Z`.
    pub started_at: String,
    /// When it ended.
    pub ended_at: String,
    /// The readiness.
    pub readiness: DrilledReadiness,
    /// The takeover, validated.
    pub takeover: ValidatedTakeover,
    /// Why no query was made, if none was.
    pub no_queries_reason: Option<String>,
    /// The queries.
    pub results: Vec<DrillResult>,
    /// The measured durations in milliseconds, by what was done.
    pub milliseconds: BTreeMap<String, u64>,
    /// The waits of a takeover that no drill makes, in seconds.
    pub wait_seconds: u64,
    /// What the drill did not do.
    pub not_exercised: Vec<String>,
}

impl DrillReport {
    /// What the drill came to.
    #[must_use]
    pub fn verdict(&self) -> DrillVerdict {
        let has = |outcome| self.results.iter().any(|result| result.outcome == outcome);
        let is_tested = |expect| {
            let mut passed = self.results.iter();
            passed.any(|result| {
                result.check.expect == expect && result.outcome == DrillOutcome::Passed
            })
        };
        if self.readiness.counts.blockers > 0
            || self.takeover.refusal.is_some()
            || has(DrillOutcome::Failed)
        {
            return DrillVerdict::Failed;
        }
        let is_whole = self.readiness.counts.unknown == 0
            && self.takeover.unread.is_empty()
            && !has(DrillOutcome::Unknown)
            && is_tested(DrillExpectation::Allowed)
            && is_tested(DrillExpectation::Denied);
        match is_whole {
            true => DrillVerdict::Passed,
            false => DrillVerdict::Incomplete,
        }
    }
}

/// A stored report: the digest covers everything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredDrill {
    /// The digest of `report`, which the next report names.
    pub digest: String,
    /// What the drill came to.
    pub verdict: DrillVerdict,
    /// The report, as it was written.
    pub report: serde_json::Value,
}

impl StoredDrill {
    /// The report with its digest.
    ///
    /// # Errors
    /// The report cannot be written as JSON.
    pub fn new(report: &DrillReport) -> Result<Self, serde_json::Error> {
        let verdict = report.verdict();
        let report = serde_json::to_value(report)?;
        Ok(Self {
            digest: digest_of(verdict, &report),
            verdict,
            report,
        })
    }

    fn previous(&self) -> Option<&str> {
        self.report.get("previous")?.as_str()
    }
}

fn digest_of(verdict: DrillVerdict, report: &serde_json::Value) -> String {
    digest(&(verdict, report))
}

/// Checks a history, the oldest report first, each with its name. Returns the digest of the last report.
///
/// # Errors
/// A report was changed, or the report that one names is not the one before it.
pub fn check_history(history: &[(String, StoredDrill)]) -> Result<Option<String>, String> {
    let mut previous: Option<&str> = None;
    for (name, drill) in history {
        if digest_of(drill.verdict, &drill.report) != drill.digest {
            return Err(format!(
                "{name} was changed: its digest is not that of its content"
            ));
        }
        if drill.previous() != previous {
            return Err(format!(
                "{name} does not follow the report before it: one is missing, was added or was replaced"
            ));
        }
        previous = Some(&drill.digest);
    }
    Ok(previous.map(str::to_owned))
}

#[cfg(test)]
mod tests;
