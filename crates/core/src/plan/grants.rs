//! Grants of one subject: what to take away, then what to give.

use super::{Draft, FindingKind};
use crate::grant::{Atom, Grants, Principal, Resource};
use crate::ledger::State;
use crate::reading::{Observation, Reading, Settings};
use crate::scope::{Subject, subject_of};
use crate::step::{RevokeCause, Step};
use std::collections::{BTreeMap, BTreeSet};

/// Plans the grants of a subject whose counterpart is ours. Answers whether every
/// grant that the secondary has too much is taken away by the plan.
pub(super) fn plan(draft: &mut Draft<'_>, subject: &Subject) -> bool {
    reconcile(draft, subject, true)
}

/// Takes away what the primary no longer grants, and gives nothing.
pub(super) fn plan_revokes_only(draft: &mut Draft<'_>, subject: &Subject) {
    reconcile(draft, subject, false);
}

fn reconcile(draft: &mut Draft<'_>, subject: &Subject, gives: bool) -> bool {
    let inputs = draft.inputs;
    let (Some(primary), Some(secondary)) = (
        inputs.primary.grants.get(subject),
        inputs.secondary.grants.get(subject),
    ) else {
        return true;
    };
    let (wanted, there) = match (primary, secondary) {
        (Observation::Present(wanted), Observation::Present(there)) => (wanted, there),
        (Observation::Unknown(fault), _) | (_, Observation::Unknown(fault)) => {
            let pairing = draft
                .standings
                .get(subject)
                .and_then(|standing| standing.pairing.clone());
            draft.leave_unread(subject, fault);
            if let Some(standing) = draft.standings.get_mut(subject) {
                standing.pairing = pairing;
            }
            return false;
        }
        (Observation::Absent(_), _) | (_, Observation::Absent(_)) => return true,
    };
    let suspects = suspects(draft, subject);
    if wanted == there && suspects.is_empty() {
        return true;
    }
    let Some(ignored) = ignored(draft) else {
        let reason = "the data lake settings could not be read, so its grants wait".to_owned();
        draft.leave(subject, State::Behind, FindingKind::Denied, reason);
        return false;
    };
    let compared = |grants: &Grants| -> Grants {
        let kept = grants
            .iter()
            .filter(|(atom, _)| !ignored.contains(&atom.principal));
        kept.map(|(atom, grantable)| (atom.clone(), *grantable))
            .collect()
    };
    let (wanted, there) = (compared(wanted), compared(there));
    let mut revokes = revokes(&wanted, &there, &suspects, &ignored);
    let narrowed = hold_unproven(draft, subject, &wanted, &suspects, &mut revokes);
    if gives && narrowed {
        replace_iam_allowed(&wanted, &there, &mut revokes);
    }
    if gives && narrowed {
        for (atom, grantable) in grants(&wanted, &there, &revokes) {
            draft.steps.push(Step::Grant { atom, grantable });
        }
    }
    let revokes = revokes
        .into_iter()
        .map(|(atom, cause)| Step::Revoke { atom, cause });
    draft.steps.extend(revokes);
    narrowed
}

/// Takes away every grant on a subject that is about to be deleted.
pub(super) fn revoke_all(draft: &mut Draft<'_>, subject: &Subject) {
    let Some(there) = draft.inputs.secondary.grants.get(subject) else {
        return;
    };
    let ignored = ignored(draft).unwrap_or_default();
    let atoms = there.present().into_iter().flat_map(Grants::keys);
    let steps: Vec<Step> = atoms
        .filter(|atom| !ignored.contains(&atom.principal))
        .map(|atom| Step::Revoke {
            atom: atom.clone(),
            cause: RevokeCause::Deletion,
        })
        .collect();
    draft.steps.extend(steps);
}

/// Principals whose grants are not compared: administrators of either Region,
/// whose implicit rights look explicit, and our own roles (LF-06). `None` if the
/// settings of a Region could not be read.
fn ignored(draft: &Draft<'_>) -> Option<BTreeSet<Principal>> {
    let settings = |reading: &Reading| -> Option<BTreeSet<Principal>> {
        let present = reading.settings.as_ref().and_then(Observation::present);
        present.map(|settings: &Settings| settings.administrators.clone())
    };
    let mut ignored = settings(draft.inputs.primary)?;
    ignored.extend(settings(draft.inputs.secondary)?);
    ignored.extend(draft.inputs.ours.iter().cloned());
    Some(ignored)
}

fn suspects(draft: &Draft<'_>, subject: &Subject) -> BTreeMap<Atom, bool> {
    let all = draft.inputs.scope.suspects.iter();
    let account = &draft.inputs.policy.secondary(draft.inputs.epoch).account;
    all.filter(|(atom, _)| subject_of(atom) == *subject && atom.principal.is_replicated(account))
        .map(|(atom, option)| (atom.clone(), *option))
        .collect()
}

fn revokes(
    wanted: &Grants,
    there: &Grants,
    suspects: &BTreeMap<Atom, bool>,
    ignored: &BTreeSet<Principal>,
) -> BTreeMap<Atom, RevokeCause> {
    let mut revokes = BTreeMap::new();
    for (atom, grantable) in there {
        match wanted.get(atom) {
            None => {
                revokes.insert(atom.clone(), RevokeCause::Extra);
            }
            Some(may_grant) if *grantable && !may_grant => {
                revokes.insert(atom.clone(), RevokeCause::Replace);
            }
            Some(_) => {}
        }
    }
    for (atom, option) in suspects {
        if ignored.contains(&atom.principal) {
            continue;
        }
        match wanted.get(atom) {
            None => {
                revokes.insert(atom.clone(), RevokeCause::Suspect);
            }
            Some(may_grant) if *option && !may_grant => {
                revokes.insert(atom.clone(), RevokeCause::Replace);
            }
            Some(_) => {}
        }
    }
    revokes
}

/// Drops the revokes that rest on an absence nobody proved: not named by an
/// event, and read without the standing that shows everything. Answers whether
/// all of them stay.
fn hold_unproven(
    draft: &mut Draft<'_>,
    subject: &Subject,
    wanted: &Grants,
    suspects: &BTreeMap<Atom, bool>,
    revokes: &mut BTreeMap<Atom, RevokeCause>,
) -> bool {
    let primary = draft.inputs.primary;
    let controlled = primary.grants_controlled.contains(subject);
    if primary.administrator && controlled {
        return true;
    }
    let before = revokes.len();
    revokes.retain(|atom, _| wanted.contains_key(atom) || suspects.contains_key(atom));
    let dropped = before - revokes.len();
    if dropped == 0 {
        return true;
    }
    let (kind, why) = if primary.administrator {
        (
            FindingKind::Unreadable,
            "the primary shows no grant at all there",
        )
    } else {
        (
            FindingKind::Denied,
            "our role is no longer a data lake administrator there",
        )
    };
    let reason = format!("{dropped} grants seem revoked, and that is not proven: {why}");
    draft.leave(subject, State::Behind, kind, reason);
    false
}

/// While `IAM_ALLOWED_PRINCIPALS` holds a table, a column grant there is stored as
/// a grant on every column (LF-14): so it steps aside and is given again last.
fn replace_iam_allowed(wanted: &Grants, there: &Grants, revokes: &mut BTreeMap<Atom, RevokeCause>) {
    let is_column = |atom: &Atom| match atom.resource {
        Resource::Column(..) | Resource::ColumnsExcept(..) => true,
        Resource::Database(_) | Resource::AllTables(_) | Resource::Table(_) => false,
    };
    let gives_columns = grants(wanted, there, revokes).keys().any(is_column);
    if !gives_columns {
        return;
    }
    let group = Principal::iam_allowed();
    for atom in there.keys() {
        if atom.principal == group && !revokes.contains_key(atom) {
            revokes.insert(atom.clone(), RevokeCause::Replace);
        }
    }
}

fn grants(wanted: &Grants, there: &Grants, revokes: &BTreeMap<Atom, RevokeCause>) -> Grants {
    let is_missing = |atom: &Atom, grantable: bool| {
        let held = there.get(atom).filter(|_| !revokes.contains_key(atom));
        held.is_none_or(|held| grantable && !held)
    };
    wanted
        .iter()
        .filter(|(atom, grantable)| is_missing(atom, **grantable))
        .map(|(atom, grantable)| (atom.clone(), *grantable))
        .collect()
}
