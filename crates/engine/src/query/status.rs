//! Whether the query tools of the standby are in order, by the ledger alone.

use super::ledger::QueryResyncRecord;
use twinlake_core::Timestamp;
use twinlake_core::ledger::SubjectState;
use twinlake_core::policy::QueryPolicy;
use twinlake_core::query::{QueryRow, QueryRows};

/// What the ledger says about the query tools.
#[derive(Clone, Copy, Debug)]
pub struct QueryStatus<'a> {
    /// The rows.
    pub rows: &'a QueryRows,
    /// The record of the last run that ended.
    pub record: Option<&'a QueryResyncRecord>,
    /// The policy.
    pub query: &'a QueryPolicy,
}

impl QueryStatus<'_> {
    /// The rows that are not in sync, in the order of their keys. Those that the policy excludes are left out:
    /// no run compares them.
    #[must_use]
    pub fn not_in_sync(&self) -> Vec<&QueryRow> {
        let covered = self
            .rows
            .iter()
            .filter(|(key, _)| key.is_covered(self.query));
        covered
            .map(|(_, row)| row)
            .filter(|row| row.state != SubjectState::InSync)
            .collect()
    }

    /// Why the query tools are not known to be in order at `now`, as clauses. They are, and there are none, if
    /// the last run began in the last `max_age_secs`, read everything, and left nothing that needs attention.
    #[must_use]
    pub fn problems(&self, now: Timestamp, max_age_secs: i64) -> Vec<String> {
        let mut problems = Vec::new();
        match self.not_in_sync().len() {
            0 => {}
            1 => problems.push("1 query tool is not in sync".to_owned()),
            count => problems.push(format!("{count} query tools are not in sync")),
        }
        let Some(record) = self.record else {
            problems.push("no resync of them has ended yet".to_owned());
            return problems;
        };
        let started = record.started_at;
        if record.settled_at != Some(started) {
            problems.push(format!(
                "the run of {started} did not read everything and leave it in order"
            ));
        }
        let is_recent =
            started <= now.plus_secs(MAX_CLOCK_SKEW_SECS) && now <= started.plus_secs(max_age_secs);
        if !is_recent {
            problems.push(format!("the last run that ended is of {started}"));
        }
        let findings = record.findings.iter();
        match findings
            .filter(|finding| finding.kind.needs_attention())
            .count()
        {
            0 => {}
            1 => problems.push("1 finding needs attention".to_owned()),
            count => problems.push(format!("{count} findings need attention")),
        }
        problems
    }
}

/// By how much the clock of the function that ran may be ahead, in seconds.
const MAX_CLOCK_SKEW_SECS: i64 = 60;
