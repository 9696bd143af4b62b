//! Plan preview and result output, shared by `plan`, `apply` and `resync`.

use crate::connect::Connection;
use crate::{CliError, output};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use twinlake_core::audit::Rejection;
use twinlake_core::plan::Finding;
use twinlake_core::{Plan, Scope, render};
use twinlake_engine::ReconcileOutcome;

/// The error of a command that writes, where there is no ledger.
pub(super) const NO_LEDGER: &str = "this command writes only with a ledger that holds this \
                                    policy; run `twinlake policy push FILE`, or keep a ledger \
                                    in a file with --ledger FILE";

/// A plan in a file, with the scope it was made for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredPlan {
    pub(super) scope: Scope,
    pub(super) plan: Plan,
}

/// Makes a plan for a scope and audits it. Writes nothing. Returns the steps that would be applied,
/// and why others would not.
pub(super) async fn preview(
    connection: &Connection,
    scope: &Scope,
    deletions_approved: bool,
) -> Result<(Plan, Vec<Rejection>), CliError> {
    let context = connection.context(deletions_approved);
    Ok(twinlake_engine::resync::preview(&context, scope).await?)
}

pub(super) fn print_rejections(rejections: &[Rejection]) {
    for rejection in rejections {
        output::print(&render::escape(&format!("REJECTED {rejection}")));
    }
}

/// Whether nothing is held back, unreadable or rejected.
pub(super) fn is_complete(findings: &BTreeSet<Finding>, rejections: &[Rejection]) -> bool {
    rejections.is_empty()
        && !findings
            .iter()
            .any(|finding| finding.kind.needs_attention())
}

fn print_findings(findings: &BTreeSet<Finding>) {
    for finding in findings {
        let line = format!("! {}: {}", finding.subject, finding.detail);
        output::print(&render::escape(&line));
    }
}

/// Prints the findings, rejections and failures of a reconciliation, and what it applied.
pub(super) fn print_outcome(outcome: &ReconcileOutcome) {
    print_findings(&outcome.findings);
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
