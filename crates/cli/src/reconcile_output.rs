//! Prints plans and the outcome of a reconciliation, for `plan`, `apply` and `resync`.

use crate::output;
use std::collections::BTreeSet;
use twinlake_core::audit::Rejection;
use twinlake_core::plan::Finding;
use twinlake_core::{NextCommands, Plan, PlanSummary, plan_summary, render};
use twinlake_engine::ReconcileOutcome;

/// Prints one line for each rejection of the audit.
fn print_rejections(rejections: &[Rejection]) {
    for rejection in rejections {
        output::print(&render::escape(&format!("REJECTED {rejection}")));
    }
}

/// Whether no step is rejected and no finding needs attention. Failed and waiting steps are
/// [`ReconcileOutcome::is_settled`].
pub(crate) fn nothing_needs_attention(
    findings: &BTreeSet<Finding>,
    rejections: &[Rejection],
) -> bool {
    rejections.is_empty()
        && !findings
            .iter()
            .any(|finding| finding.kind.needs_attention())
}

/// Prints the steps of a plan and its summary, which ends with the verdict.
pub(crate) fn print_plan(plan: &Plan, summary: &PlanSummary) {
    output::print(&(render::steps(&plan.steps) + &summary.text()));
}

/// Prints the findings, rejections and failures of a reconciliation, and what it applied.
pub(crate) fn print_outcome(outcome: &ReconcileOutcome, next: &NextCommands) {
    let findings = plan_summary::finding_groups(&outcome.findings, next);
    for line in plan_summary::findings_text(&findings, false) {
        output::print(&render::escape(&line));
    }
    print_rejections(&outcome.rejections);
    for (step, error) in &outcome.failed {
        let line = format!("FAILED {}: {error}", render::step(step));
        output::print(&render::escape(&line));
    }
    if let Some((_, reason)) = &outcome.waiting {
        output::print(&render::escape(&format!("DEFERRED: {reason}")));
    }
    let counts = outcome.counts;
    output::print(&format!(
        "Applied: {} created, {} changed, {} deleted, {} granted, {} revoked.",
        counts.created, counts.changed, counts.deleted, counts.granted, counts.revoked
    ));
}
