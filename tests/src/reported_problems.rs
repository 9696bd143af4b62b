//! What a resync and the ledger report as not in order.

use crate::harness::TestHarness;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::plan::FindingKind;
use twinlake_core::{Subject, SubjectState};
use twinlake_engine::resync::ResyncReport;

/// Descriptions of the problems of each subject.
pub type ReportedProblems = BTreeMap<Subject, BTreeSet<String>>;

/// Returns the subjects that the ledger lists in any state but in sync, with the reason.
#[must_use]
pub fn of_ledger(harness: &TestHarness) -> ReportedProblems {
    let rows = harness.ledger.contents().rows;
    let rows = rows
        .into_values()
        .filter(|row| row.state != SubjectState::InSync);
    rows.map(|row| {
        let reason = format!("{}: {}", row.state, row.reason.unwrap_or_default());
        (row.subject, BTreeSet::from([reason]))
    })
    .collect()
}

/// Returns the problems that a resync found, and those that the ledger lists. A note is no problem.
#[must_use]
pub fn of_resync(harness: &TestHarness, report: &ResyncReport) -> ReportedProblems {
    let mut problems = of_ledger(harness);
    let outcome = &report.outcome;
    let mut add = |subject: Subject, description: String| {
        problems.entry(subject).or_default().insert(description);
    };
    for finding in &outcome.findings {
        if finding.kind != FindingKind::Note {
            add(finding.subject.clone(), finding.detail.clone());
        }
    }
    for (step, error) in &outcome.failed {
        add(step.subject(), error.to_string());
    }
    for rejection in &outcome.rejections {
        for target in &rejection.targets {
            add(target.subject(), rejection.to_string());
        }
    }
    if let Some((scope, reason)) = &outcome.waiting {
        for subject in scope.read_requests.keys() {
            add(subject.clone(), reason.clone());
        }
    }
    problems
}

/// The problems, by subject, that a run has and another does not.
#[must_use]
pub fn added(problems: &ReportedProblems, without: &ReportedProblems) -> ReportedProblems {
    let mut added = ReportedProblems::new();
    for (subject, descriptions) in problems {
        let known = without.get(subject).cloned().unwrap_or_default();
        let new: BTreeSet<String> = descriptions.difference(&known).cloned().collect();
        if !new.is_empty() {
            added.insert(subject.clone(), new);
        }
    }
    added
}
