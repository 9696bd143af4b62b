//! The page of a drill: what the template `templates/drill.html` shows. Text that somebody else wrote is escaped for
//! control and invisible characters here, and for HTML by the template.

use super::{query_words, takeover_line};
use askama::Template;
use twinlake_core::drill::{DrillReport, DrillResult, DrillVerdict, StoredDrill};
use twinlake_core::render::escape;

/// Where the report answers a requirement of a supervisor.
const REQUIREMENTS: [(&str, &str); 5] = [
    (
        "DORA, Article 11(6): tests of recovery plans, with switchovers to redundant capacity",
        "Takeover, Queries. What was not exercised is listed",
    ),
    (
        "DORA, Article 12(6): objectives for recovery time and recovery point",
        "Measurements, and the recovery point under Takeover: compare both with your objectives",
    ),
    (
        "DORA, Article 24: a programme of tests, with dated results and findings to be remedied",
        "the times, the verdict, the findings, and the digest, which is chained to the drill before",
    ),
    (
        "DORA, Article 25: tests of systems by scenarios and end to end",
        "Queries: as real roles, answered and refused",
    ),
    (
        "ISO 22301:2019, clauses 8.5 and 9.1: exercises, and what is measured",
        "the report as a whole; the review of its findings is yours",
    ),
];

/// The page of a drill.
#[derive(Template)]
#[template(path = "drill.html")]
pub(super) struct DrillPage {
    primary: String,
    standby: String,
    started_at: String,
    ended_at: String,
    caller: String,
    version: String,
    verdict: &'static str,
    is_passed: bool,
    digest: String,
    previous: String,
    readiness: String,
    findings: Vec<String>,
    takeover: String,
    steps: Vec<String>,
    verified_at: String,
    unread: Vec<String>,
    no_queries_reason: Option<String>,
    results: Vec<ResultRow>,
    milliseconds: Vec<(String, u64)>,
    wait_seconds: u64,
    not_exercised: Vec<String>,
    requirements: [(&'static str, &'static str); 5],
}

/// A row of the table of queries.
struct ResultRow {
    role: String,
    table: String,
    what: &'static str,
    sql: String,
    expect: &'static str,
    outcome: &'static str,
    detail: String,
    at: String,
    milliseconds: u64,
}

impl ResultRow {
    fn new(result: &DrillResult) -> Self {
        Self {
            role: escape(&result.check.role),
            table: escape(&result.check.table.to_string()),
            what: query_words(&result.check.query),
            sql: escape(&result.sql),
            expect: result.check.expect.as_str(),
            outcome: result.outcome.as_str(),
            detail: escape(&result.detail),
            at: result.at.clone(),
            milliseconds: result.milliseconds,
        }
    }
}

impl DrillPage {
    pub(super) fn new(report: &DrillReport, stored: &StoredDrill) -> Self {
        let escaped = |texts: &[String]| texts.iter().map(|text| escape(text)).collect();
        let counts = report.readiness.counts;
        let takeover = &report.takeover;
        let verified_at = takeover.verified_at.clone();
        Self {
            primary: report.primary.clone(),
            standby: report.standby.clone(),
            started_at: report.started_at.clone(),
            ended_at: report.ended_at.clone(),
            caller: escape(&report.caller),
            version: report.twinlake.clone(),
            verdict: stored.verdict.as_str(),
            is_passed: stored.verdict == DrillVerdict::Passed,
            digest: stored.digest.clone(),
            previous: report.previous.clone().unwrap_or_else(|| "none".to_owned()),
            readiness: format!(
                "blockers {}, warnings {}, unknown {}",
                counts.blockers, counts.warnings, counts.unknown
            ),
            findings: escaped(&report.readiness.findings),
            takeover: escape(&takeover_line(takeover)),
            steps: escaped(&takeover.steps),
            verified_at: verified_at.unwrap_or_else(|| "never".to_owned()),
            unread: escaped(&takeover.unread),
            no_queries_reason: report.no_queries_reason.as_deref().map(escape),
            results: report.results.iter().map(ResultRow::new).collect(),
            milliseconds: report.milliseconds.clone().into_iter().collect(),
            wait_seconds: report.wait_seconds,
            not_exercised: escaped(&report.not_exercised),
            requirements: REQUIREMENTS,
        }
    }
}
