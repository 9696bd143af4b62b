//! Why a reconciliation is not settled, and why the standby may differ from the primary after it.

use super::{ReconcileOutcome, is_read_failure};
use std::collections::BTreeSet;
use twinlake_core::plan::FindingKind;
use twinlake_core::policy::DeletionPolicy;
use twinlake_core::{Policy, Subject};

impl ReconcileOutcome {
    /// Why the standby may differ from the primary: what is not settled, and what is held. Where the policy retains
    /// what the primary deletes, that is as it should be. What concerns objects of `left_out` alone is known; of a
    /// failed read it is not known what it concerns.
    pub(crate) fn reasons_to_differ(
        &self,
        policy: &Policy,
        left_out: &BTreeSet<Subject>,
    ) -> Vec<String> {
        let retains = policy.deletions == DeletionPolicy::Retain;
        let is_left_out = |subject: &Subject| is_object(subject) && left_out.contains(subject);
        let held = self.findings.iter().filter(|finding| {
            let kind = finding.kind;
            let is_known =
                retains && kind == FindingKind::OnHold || left_out.contains(&finding.subject);
            kind.needs_attention() && !kind.is_failed_read() && !is_known
        });
        let held = held.map(|finding| format!("{}: {}", finding.subject, finding.detail));
        self.reasons(is_left_out).chain(held).collect()
    }

    /// Why it is not settled: the rejections, the errors of steps, what was not read, and what waits.
    pub(super) fn open_reasons(&self) -> impl Iterator<Item = String> {
        self.reasons(|_| false)
    }

    /// As [`Self::open_reasons`], without the rejections and errors that concern only subjects that are left out.
    fn reasons(&self, is_left_out: impl Fn(&Subject) -> bool) -> impl Iterator<Item = String> {
        let mut reasons = Vec::new();
        for rejection in &self.rejections {
            let mut targets = rejection.targets.iter();
            let is_known = !rejection.targets.is_empty()
                && targets.all(|target| is_left_out(&target.subject()));
            if !is_known {
                reasons.push(rejection.to_string());
            }
        }
        for (step, error) in &self.failed {
            if !is_left_out(&step.subject()) {
                reasons.push(error.to_string());
            }
        }
        for finding in self.findings.iter().filter(|one| is_read_failure(one)) {
            reasons.push(format!("{}: {}", finding.subject, finding.detail));
        }
        let waiting = self.waiting.iter().map(|(_, reason)| reason.clone());
        reasons.into_iter().chain(waiting)
    }
}

/// Whether a subject is an object of the catalog: others stand for everything of their kind.
const fn is_object(subject: &Subject) -> bool {
    match subject {
        Subject::Database(_) | Subject::Table(_) | Subject::Function(_) => true,
        Subject::Catalog | Subject::LakeFormation(_) => false,
    }
}
