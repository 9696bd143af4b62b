//! Parts of a database or a table: partition indexes, column statistics, tags.

use super::{Draft, FindingKind};
use crate::catalog::{Part, PartKey, Progress, SeenPart, digest};
use crate::ledger::State;
use crate::policy::Deletions;
use crate::reading::{Observation, Parts};
use crate::scope::{Facet, Subject};
use crate::step::Step;

/// The facets that are parts.
pub(super) const FACETS: [Facet; 3] = [Facet::Indexes, Facet::Statistics, Facet::Tags];

/// Plans the parts of a subject whose counterpart is ours.
pub(super) fn plan(draft: &mut Draft<'_>, subject: &Subject, facet: Facet) {
    let inputs = draft.inputs;
    let at = (subject.clone(), facet);
    let Some(primary) = inputs.primary.parts.get(&at) else {
        return;
    };
    // What is about to be made has none yet.
    let none = Observation::Present(Parts::new());
    let secondary = inputs.secondary.parts.get(&at).unwrap_or(&none);
    let (wanted, there) = match (primary, secondary) {
        (Observation::Present(wanted), Observation::Present(there)) => (wanted, there),
        (Observation::Unknown(fault), _) | (_, Observation::Unknown(fault)) => {
            let fault = fault.clone();
            return draft.leave_unread(subject, &fault);
        }
        (Observation::Absent(_), _) | (_, Observation::Absent(_)) => return,
    };
    let mut puts = Vec::new();
    for (key, seen) in wanted.iter().filter(|(_, seen)| is_wanted(seen)) {
        puts.extend(put(subject, key, &seen.part, there.get(key)));
    }
    let removes = removals(draft, subject, wanted, there);
    // What goes makes room first (GL-06).
    let (goes, comes): (Vec<Step>, Vec<Step>) = puts
        .into_iter()
        .partition(|step| matches!(step, Step::RemovePart { .. }));
    draft
        .steps
        .extend(removes.into_iter().chain(goes).chain(comes));
    let failed = there
        .iter()
        .find(|(_, seen)| seen.progress == Progress::Failed);
    if let Some((key, _)) = failed {
        let reason = format!("the secondary could not make the {key}; delete it there");
        draft.leave(subject, State::Blocked, FindingKind::Held, reason);
    }
}

/// Parts that the primary lacks.
fn removals(draft: &mut Draft<'_>, subject: &Subject, wanted: &Parts, there: &Parts) -> Vec<Step> {
    let extra = there.iter().filter(|(key, seen)| {
        // One that the primary could not make may be there all the same.
        let here = wanted.get(*key).map(|seen| seen.progress);
        let gone = matches!(here, None | Some(Progress::Leaving));
        seen.progress == Progress::There && gone
    });
    let extra: Vec<&PartKey> = extra.map(|(key, _)| key).collect();
    if let (Some(first), Deletions::Retain) = (extra.first(), draft.inputs.policy.deletions) {
        let reason = format!("the policy retains its {first}, which the primary lacks");
        draft.leave(subject, State::Held, FindingKind::Held, reason);
        return Vec::new();
    }
    let remove = |key: &PartKey| Step::RemovePart {
        subject: subject.clone(),
        key: key.clone(),
    };
    extra.into_iter().map(remove).collect()
}

fn is_wanted(seen: &SeenPart) -> bool {
    seen.progress == Progress::There
}

fn put(subject: &Subject, key: &PartKey, part: &Part, there: Option<&SeenPart>) -> Option<Step> {
    let put = Step::PutPart {
        subject: subject.clone(),
        part: part.clone(),
    };
    let Some(there) = there else {
        return Some(put);
    };
    // By digest, since numbers that are none never equal themselves.
    let same = digest(&there.part) == digest(part);
    match (there.progress, part) {
        (Progress::There, _) if same => None,
        // Somebody has to look why.
        (Progress::Failed, _) => None,
        // It cannot be changed: it goes, and comes again in the next round.
        (Progress::There, Part::Index(_)) => Some(Step::RemovePart {
            subject: subject.clone(),
            key: key.clone(),
        }),
        (Progress::There, Part::Statistics(_) | Part::Tag { .. }) | (Progress::Leaving, _) => {
            Some(put)
        }
    }
}

/// Plans every part of a subject that was read, if the subject is settled.
pub(super) fn plan_all(draft: &mut Draft<'_>, subject: &Subject) {
    for facet in FACETS {
        let standing = draft.standings.get(subject);
        let held = standing.is_some_and(|s| matches!(s.state, State::Current | State::Held));
        if held {
            let before = standing.cloned();
            plan(draft, subject, facet);
            if draft.standings.get(subject) != before.as_ref() {
                draft.blame(subject, facet);
            }
        }
    }
}
