//! Grants of one subject: what to take away, then what to give.

use super::{Draft, FindingKind, lake, link, part, tags};
use crate::grant::{Atom, Grants, OwnRoles, Permission, Principal, Resource};
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
    // Below a link stands what belongs to its target.
    let compared = |grants: &Grants, is_link: bool| -> Grants {
        let kept = grants.iter().filter(|(atom, _)| {
            let is_left = ignored.contains(&atom.principal) || (is_link && !is_whole(atom));
            !is_left && lake::concerns(draft, &atom.resource)
        });
        kept.map(|(atom, grantable)| (atom.clone(), *grantable))
            .collect()
    };
    let wanted = compared(wanted, link::is_at(inputs.primary, subject));
    let there = compared(there, link::is_at(inputs.secondary, subject));
    let wanted = without_dangling(draft, subject, wanted, &there);
    let mut revokes = revokes(&wanted, &there, &suspects, &ignored);
    let narrowed = hold_unproven(draft, subject, &wanted, &suspects, &mut revokes);
    if gives && narrowed {
        step_aside(&wanted, &there, &mut revokes);
    }
    if gives && narrowed {
        for (atom, grantable) in grants(&wanted, &there, &revokes) {
            give(draft, subject, atom, grantable);
        }
    }
    let revokes = revokes.into_iter().map(|(atom, cause)| Step::Revoke {
        grantable: there.get(&atom) == Some(&true) || suspects.get(&atom) == Some(&true),
        atom,
        cause,
    });
    draft.steps.extend(revokes);
    narrowed
}

/// Plans a grant. One that opens whatever comes is decided later, or only where it opens
/// nothing beyond the primary.
fn give(draft: &mut Draft<'_>, subject: &Subject, atom: Atom, grantable: bool) {
    match &atom.resource {
        Resource::AllTables(database) => {
            draft.wildcards.push((database.clone(), atom, grantable));
        }
        Resource::TagPolicy { target, rule } => match tags::opens_beyond(draft, *target, rule) {
            None => draft.steps.push(Step::Grant { atom, grantable }),
            Some((state, kind, why)) => {
                let reason = format!("{atom} waits, since {why}");
                draft.leave(subject, state, kind, reason);
            }
        },
        Resource::Database(_)
        | Resource::Table(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::Filter(..)
        | Resource::Catalog
        | Resource::Location(_)
        | Resource::Tag { .. }
        | Resource::Expression(_) => draft.steps.push(Step::Grant { atom, grantable }),
    }
}

/// A grant on the object itself and on nothing below it.
fn is_whole(atom: &Atom) -> bool {
    match atom.resource {
        Resource::Database(_) | Resource::Table(_) => true,
        Resource::AllTables(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::Filter(..)
        | Resource::Catalog
        | Resource::Location(_)
        | Resource::Tag { .. }
        | Resource::TagPolicy { .. }
        | Resource::Expression(_) => false,
    }
}

/// Takes away what a revoke has named, where nothing else about the subject can be
/// decided.
pub(super) fn plan_suspects_only(draft: &mut Draft<'_>, subject: &Subject) {
    let suspects = suspects(draft, subject);
    let primary = draft.inputs.primary.grants.get(subject);
    let Some(wanted) = primary.and_then(Observation::present) else {
        return;
    };
    let Some(ignored) = ignored(draft) else {
        return;
    };
    let steps: Vec<Step> = suspects
        .iter()
        .filter(|(atom, _)| !wanted.contains_key(atom) && !ignored.contains(&atom.principal))
        .map(|(atom, grantable)| Step::Revoke {
            atom: atom.clone(),
            grantable: *grantable,
            cause: RevokeCause::Suspect,
        })
        .collect();
    draft.steps.extend(steps);
}

/// Takes away every grant on a subject that is about to be deleted. Answers whether
/// that can be planned.
pub(super) fn revoke_all(draft: &mut Draft<'_>, subject: &Subject) -> bool {
    let Some(there) = draft.inputs.secondary.grants.get(subject) else {
        return true;
    };
    let Some(ignored) = ignored(draft) else {
        let reason = "the data lake settings could not be read, so it stays".to_owned();
        draft.leave(subject, State::Behind, FindingKind::Unreadable, reason);
        return false;
    };
    let is_link = link::is_at(draft.inputs.secondary, subject);
    let atoms = there.present().into_iter().flatten();
    let steps: Vec<Step> = atoms
        .filter(|(atom, _)| !ignored.contains(&atom.principal) && (!is_link || is_whole(atom)))
        .map(|(atom, grantable)| Step::Revoke {
            atom: atom.clone(),
            grantable: *grantable,
            cause: RevokeCause::Deletion,
        })
        .collect();
    draft.steps.extend(steps);
    true
}

/// Principals whose grants are not compared: administrators of either Region,
/// whose implicit rights look explicit, and our own roles (LF-06). `None` if the
/// settings of a Region could not be read.
pub(super) fn ignored<'a>(draft: &Draft<'a>) -> Option<Ignored<'a>> {
    let settings = |reading: &Reading| -> Option<BTreeSet<Principal>> {
        let present = reading.settings.as_ref().and_then(Observation::present);
        present.map(|settings: &Settings| settings.administrators.clone())
    };
    let mut administrators = settings(draft.inputs.primary)?;
    administrators.extend(settings(draft.inputs.secondary)?);
    Some(Ignored {
        administrators,
        ours: Some(draft.inputs.ours),
    })
}

/// Principals whose grants are left alone.
#[derive(Default)]
pub(super) struct Ignored<'a> {
    administrators: BTreeSet<Principal>,
    ours: Option<&'a OwnRoles>,
}

impl<'a> Ignored<'a> {
    /// Our own roles alone.
    pub(super) fn ours(ours: &'a OwnRoles) -> Self {
        Self {
            administrators: BTreeSet::new(),
            ours: Some(ours),
        }
    }
}

impl Ignored<'_> {
    pub(super) fn contains(&self, principal: &Principal) -> bool {
        self.administrators.contains(principal)
            || self.ours.is_some_and(|ours| ours.contains(&principal.0))
    }
}

fn suspects(draft: &Draft<'_>, subject: &Subject) -> BTreeMap<Atom, bool> {
    let all = draft.inputs.scope.suspects.iter();
    let is_link = link::is_at(draft.inputs.secondary, subject);
    all.filter(|(atom, _)| subject_of(atom) == *subject)
        .filter(|(atom, _)| !is_link || is_whole(atom))
        .filter(|(atom, _)| lake::concerns(draft, &atom.resource))
        .map(|(atom, option)| (atom.clone(), *option))
        .collect()
}

fn revokes(
    wanted: &Grants,
    there: &Grants,
    suspects: &BTreeMap<Atom, bool>,
    ignored: &Ignored<'_>,
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
    let whole = [primary, draft.inputs.secondary]
        .iter()
        .all(|reading| reading.grants_whole.contains(subject));
    let controlled = whole && primary.grants_controlled.contains(subject);
    if primary.administrator && controlled {
        return true;
    }
    let before = revokes.len();
    revokes.retain(|atom, _| wanted.contains_key(atom) || suspects.contains_key(atom));
    let dropped = before - revokes.len();
    if dropped == 0 {
        return true;
    }
    if !whole {
        draft.unproven += dropped;
        let reason = format!("{dropped} grants seem revoked, and not all grants were read");
        draft.leave(subject, State::Behind, FindingKind::Unreadable, reason);
        return false;
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

/// A column that a grant names and the primary's table lacks. Such a grant gives
/// nothing, and the service refuses to make it anew.
fn missing_column(draft: &Draft<'_>, atom: &Atom) -> Option<crate::Name> {
    let (id, named) = match &atom.resource {
        Resource::Column(id, column) => (id, BTreeSet::from([column.clone()])),
        Resource::ColumnsExcept(id, excluded) => (id, excluded.clone()),
        Resource::Database(_)
        | Resource::AllTables(_)
        | Resource::Table(_)
        | Resource::Filter(..)
        | Resource::Catalog
        | Resource::Location(_)
        | Resource::Tag { .. }
        | Resource::TagPolicy { .. }
        | Resource::Expression(_) => return None,
    };
    let table = draft.inputs.primary.tables.get(id)?.present()?;
    let known: BTreeSet<String> = table
        .object
        .columns()
        .map(|column| column.name.to_lowercase())
        .collect();
    named
        .into_iter()
        .find(|name| !known.contains(name.as_str()))
}

/// What stands in the way of a column grant steps aside, and is given again after
/// it: `IAM_ALLOWED_PRINCIPALS` on the table, beside which a column grant is stored
/// as one on every column (LF-14), and the principal's own SELECT on the whole
/// table, beside which it is refused (LF-16).
fn step_aside(wanted: &Grants, there: &Grants, revokes: &mut BTreeMap<Atom, RevokeCause>) {
    let group = Principal::iam_allowed();
    let missing = grants(wanted, there, revokes);
    let given: BTreeSet<&Principal> = missing
        .keys()
        .filter(|atom| atom.is_by_column() && atom.principal != group)
        .map(|atom| &atom.principal)
        .collect();
    for atom in there.keys() {
        let whole = atom.permission == Permission::Select && !atom.is_by_column();
        let in_the_way = match atom.principal == group {
            true => !given.is_empty(),
            false => whole && given.contains(&atom.principal),
        };
        if in_the_way && wanted.contains_key(atom) && !revokes.contains_key(atom) {
            revokes.insert(atom.clone(), RevokeCause::Replace);
        }
    }
}

/// Leaves out the grants that the service would refuse to make: on columns that the
/// primary's table lacks. They give nothing there either.
fn without_dangling(
    draft: &mut Draft<'_>,
    subject: &Subject,
    mut wanted: Grants,
    there: &Grants,
) -> Grants {
    let missing: Vec<Atom> = grants(&wanted, there, &BTreeMap::new())
        .into_keys()
        .collect();
    for atom in missing {
        let missing = match missing_column(draft, &atom) {
            Some(column) => Some(format!("its table has no column {column}")),
            None => part::missing_filter(draft, &atom).or_else(|| lake::missing(draft, &atom)),
        };
        if let Some(why) = missing {
            let detail = format!("{atom} is not copied: {why}; revoke it in the primary");
            draft.find(FindingKind::Held, subject, detail);
            if !there.contains_key(&atom) {
                wanted.remove(&atom);
            }
        }
    }
    wanted
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
