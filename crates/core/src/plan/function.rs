//! User-defined functions.

use super::{Draft, FindingKind, database::leave_withheld, link};
use crate::catalog::{Function, Seen, differences, digest};
use crate::ledger::{Pairing, Row, State};
use crate::name::FunctionId;
use crate::policy::Deletions;
use crate::reading::Observation;
use crate::scope::Subject;
use crate::step::Step;

pub(super) fn plan(draft: &mut Draft<'_>, id: &FunctionId) {
    let subject = Subject::Function(id.clone());
    let inputs = draft.inputs;
    let (Some(primary), Some(secondary)) = (
        inputs.primary.functions.get(id),
        inputs.secondary.functions.get(id),
    ) else {
        return;
    };
    if !inputs.policy.covers_database(&id.database) {
        return;
    }
    // What a link shows below it belongs to its target.
    let sides = [inputs.primary, inputs.secondary];
    if sides.iter().any(|r| link::leads_elsewhere(r, &id.database)) {
        let here = link::leads_elsewhere(inputs.primary, &id.database);
        if inputs.rows.contains_key(&subject) || (!here && primary.present().is_some()) {
            let reason = "its database is a resource link".to_owned();
            draft.leave(&subject, State::Blocked, FindingKind::Foreign, reason);
        }
        return;
    }
    match (primary, secondary) {
        (Observation::Unknown(fault), _) | (_, Observation::Unknown(fault)) => {
            draft.leave_unread(&subject, fault);
        }
        (Observation::Absent(proof), Observation::Absent(_)) => {
            let standing = draft.forget(&subject, proof);
            draft.standings.insert(subject, standing);
        }
        (Observation::Absent(proof), Observation::Present(there)) => {
            if !is_paired(inputs.rows.get(&subject), there) {
                return;
            }
            if !proof.is_complete() {
                let reason = "it seems gone from the primary, and that is not proven".to_owned();
                draft.leave(&subject, State::Behind, FindingKind::Denied, reason);
            } else if inputs.policy.deletions == Deletions::Retain {
                let reason = "it is gone from the primary, and the policy retains it".to_owned();
                draft.leave(&subject, State::Held, FindingKind::Held, reason);
            } else {
                draft.steps.push(Step::DeleteFunction { id: id.clone() });
                let standing = draft.keep(&subject, State::Behind, None);
                draft.standings.insert(subject, standing);
            }
        }
        (Observation::Present(wanted), observed) => {
            settle(draft, id, wanted, observed.present());
        }
    }
}

fn settle(
    draft: &mut Draft<'_>,
    id: &FunctionId,
    wanted: &Seen<Function>,
    observed: Option<&Seen<Function>>,
) {
    let subject = Subject::Function(id.clone());
    if let Some((state, kind, reason)) = super::table::parent_trouble(draft, &id.database) {
        return draft.leave(&subject, state, kind, reason);
    }
    let desired = match draft.translator.function(&wanted.object) {
        Ok(desired) => desired,
        Err(withheld) => return leave_withheld(draft, &subject, withheld),
    };
    for note in &desired.notes {
        draft.find(FindingKind::Note, &subject, note.clone());
    }
    let function = desired.object;
    let mut standing = draft.keep(&subject, State::Current, None);
    let id = id.clone();
    match observed {
        None => draft.steps.push(Step::CreateFunction { id, function }),
        Some(there) => {
            let row = draft.inputs.rows.get(&subject);
            let intended = row.and_then(|row| row.intended.as_deref());
            let ours = is_paired(row, there)
                || there.object == function
                || intended == Some(digest(&there.object).as_str());
            if !ours {
                let reason = "the secondary has another function under this name, which Twinlake \
                              did not make"
                    .to_owned();
                return draft.leave(&subject, State::Blocked, FindingKind::Foreign, reason);
            }
            standing.pairing = Some(Pairing {
                primary_created: wanted.created,
                secondary_created: there.created,
                digest: digest(&there.object),
                link: false,
            });
            if there.object != function {
                draft.steps.push(Step::UpdateFunction {
                    id,
                    changes: differences(&there.object, &function),
                    function,
                });
            }
        }
    }
    draft.standings.insert(subject, standing);
}

fn is_paired(row: Option<&Row>, there: &Seen<Function>) -> bool {
    let pairing = row.and_then(|row| row.pairing.as_ref());
    pairing.is_some_and(|pairing| pairing.secondary_created == there.created)
}
