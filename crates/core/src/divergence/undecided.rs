//! What the plan in the other direction does not decide: objects, partitions, grants and attachments of the former
//! primary that the policy or the mapping withholds from the primary. The plan has no step for them, and the plan
//! that follows the acceptance may remove or overwrite them.

use super::{ComparedRegions, FormerChange, is_heartbeat};
use crate::plan::{FindingKind, Plan};
use crate::scope::Subject;
use crate::step::Step;
use std::collections::{BTreeMap, BTreeSet};

/// Why the plan does not decide about a subject. Empty for what the primary does not have at all.
pub type UndecidedReasons = BTreeSet<String>;

/// The subjects that the former primary has and that are in sync neither as they are nor by the steps of the
/// plan, with the reasons. What could not be read is not among them, and neither is what concerns the catalog as a
/// whole: such things are neither compared nor written in any direction.
#[must_use]
pub fn undecided_subjects(
    reverse: &Plan,
    regions: &ComparedRegions,
) -> BTreeMap<Subject, UndecidedReasons> {
    let mut undecided: BTreeMap<Subject, UndecidedReasons> = BTreeMap::new();
    let mut add = |subject: &Subject, reason: &str| {
        let is_there = match subject {
            Subject::Catalog => false,
            Subject::LakeFormation(_) => true,
            Subject::Database(_) | Subject::Table(_) | Subject::Function(_) => {
                regions.in_former.contains_key(subject)
            }
        };
        if is_there && !is_heartbeat(subject) {
            let reasons = undecided.entry(subject.clone()).or_default();
            reasons.insert(reason.to_owned());
        }
    };
    let mut found: BTreeSet<&Subject> = BTreeSet::new();
    for finding in &reverse.findings {
        if finding.kind != FindingKind::Note {
            found.insert(&finding.subject);
        }
        if finding.kind != FindingKind::Note && !finding.kind.is_failed_read() {
            add(&finding.subject, &finding.detail);
        }
    }
    for (subject, outcome) in &reverse.subject_outcomes {
        if let Some(reason) = outcome.reason.as_ref().filter(|_| !found.contains(subject)) {
            add(subject, reason);
        }
    }
    undecided
}

/// What only the former primary has and no change of this list creates: Twinlake does not replicate it, or its
/// database does not exist in the primary.
#[must_use]
pub fn uncreated_subjects(
    changes: &[FormerChange],
    regions: &ComparedRegions,
) -> BTreeSet<Subject> {
    let creates = |change: &&FormerChange| match change.step {
        Some(
            Step::CreateDatabase { .. } | Step::CreateTable { .. } | Step::CreateFunction { .. },
        ) => true,
        Some(_) | None => false,
    };
    let created = changes.iter().filter(creates);
    let created: BTreeSet<&Subject> = created.map(|change| &change.subject).collect();
    let only_there = regions.in_former.keys();
    let only_there = only_there
        .filter(|subject| !regions.in_primary.contains_key(*subject) && !created.contains(subject));
    only_there.cloned().collect()
}
