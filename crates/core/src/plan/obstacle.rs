//! Why a step is left out of a plan, and what that makes of its subject.

use super::{FindingKind, PlanBuilder};
use crate::ledger::SubjectState;
use crate::scope::{Facet, Subject};

pub(super) struct Obstacle {
    pub(super) state: SubjectState,
    pub(super) kind: FindingKind,
    pub(super) reason: String,
}

impl Obstacle {
    /// A later read may show that the step is safe.
    pub(super) fn until_read(reason: impl Into<String>) -> Self {
        Self {
            state: SubjectState::OutOfSync,
            kind: FindingKind::Unreadable,
            reason: reason.into(),
        }
    }

    /// The standby has something that Twinlake does not manage, and reading again changes nothing.
    pub(super) fn unmanaged(reason: impl Into<String>) -> Self {
        Self {
            state: SubjectState::Blocked,
            kind: FindingKind::Unmanaged,
            reason: reason.into(),
        }
    }

    /// Records that a subject is not in sync. `facet` is what has to be read to see the obstacle again.
    pub(super) fn record(self, builder: &mut PlanBuilder<'_>, subject: &Subject, facet: Facet) {
        builder.plan_facet(subject, facet, |builder| {
            builder.mark_not_in_sync(subject, self.state, self.kind, self.reason);
        });
    }
}
