//! What assigned LF-Tags open on the way.
//!
//! A table inherits the LF-Tags of its database, and a column those of its table, until
//! it has its own. So a table that is made, a column that is added and a tag that is
//! changed may satisfy a grant in between that they satisfy neither before nor after.
//! Such a grant steps aside for the length of the plan. What would stay open afterwards
//! is not done at all.

mod place;

use super::tags::{self, grants_of, rule_of, take_extra};
use super::{Draft, FindingKind, grants};
use crate::catalog::Table;
use crate::grant::Atom;
use crate::ledger::State;
use crate::name::{Name, TableId};
use crate::reading::Observation;
use crate::scope::{Facet, Subject};
use crate::step::Step;
use place::{Opens, Place};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn plan(draft: &mut Draft<'_>) {
    loop {
        draft.steps.sort_by_key(|step| (step.phase(), step.rank()));
        let Some(held) = settle(draft) else {
            return;
        };
        hold(draft, held);
    }
}

/// A subject that is left as it is, and why.
struct Held {
    subject: Subject,
    reason: String,
}

fn hold(draft: &mut Draft<'_>, held: Held) {
    let of_database = matches!(held.subject, Subject::Database(_));
    draft.steps.retain(|step| {
        let goes = match of_database {
            true => assigns(step),
            false => !matches!(step, Step::Revoke { .. }),
        };
        !(goes && step.subject() == held.subject)
    });
    draft.waits.insert(held.subject.clone());
    let (state, kind) = (State::Behind, FindingKind::Unreadable);
    draft.leave(&held.subject, state, kind, held.reason);
    draft.blame(&held.subject, Facet::Assigned);
}

/// Whether a step assigns an LF-Tag or takes one away.
fn assigns(step: &Step) -> bool {
    if let Step::PutPart { part, .. } = step {
        return part.key().facet() == Facet::Assigned;
    }
    matches!(step, Step::RemovePart { key, .. } if key.facet() == Facet::Assigned)
}

/// Steps of one subject that bear on what LF-Tags open.
fn moves(step: &Step, inputs: &super::Inputs<'_>) -> bool {
    match step {
        Step::PutPart { part, .. } => part.key().facet() == Facet::Assigned,
        Step::RemovePart { key, .. } => key.facet() == Facet::Assigned,
        Step::CreateTable { .. } => true,
        Step::UpdateTable { .. } => {
            columns_by(step, inputs).is_some_and(|(now, then)| !then.is_subset(&now))
        }
        Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutSettings { .. }
        | Step::Grant { .. }
        | Step::Revoke { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => false,
    }
}

/// Whether a step takes columns away, and so ends what a tag opened.
fn drops_columns(step: &Step, inputs: &super::Inputs<'_>) -> bool {
    columns_by(step, inputs).is_some_and(|(now, then)| !now.is_subset(&then))
}

/// A table's columns before and after a step that updates it.
fn columns_by(step: &Step, inputs: &super::Inputs<'_>) -> Option<(BTreeSet<Name>, BTreeSet<Name>)> {
    let Step::UpdateTable { id, table, .. } = step else {
        return None;
    };
    let now = inputs.secondary.tables.get(id);
    let now = now.and_then(Observation::present).map(|seen| &seen.object);
    Some((columns(now), columns(Some(table))))
}

fn columns(table: Option<&Table>) -> BTreeSet<Name> {
    let all = table.into_iter().flat_map(Table::columns);
    all.filter_map(|column| Name::new(&column.name).ok())
        .collect()
}

/// Finds the grants that have to step aside; answers the first subject that has to be
/// left as it is.
fn settle(draft: &mut Draft<'_>) -> Option<Held> {
    let inputs = &draft.inputs;
    let first = draft.steps.iter().find(|step| moves(step, inputs))?;
    let first = first.subject();
    let mut steps: BTreeMap<Subject, Vec<Step>> = BTreeMap::new();
    let bear = |step: &&Step| moves(step, inputs) || drops_columns(step, inputs);
    for step in draft.steps.iter().filter(bear) {
        steps.entry(step.subject()).or_default().push(step.clone());
    }
    let reading = draft.inputs.secondary;
    let unread = |subject: &Subject, reason: &str| {
        let (subject, reason) = (subject.clone(), reason.to_owned());
        Some(Held { subject, reason })
    };
    let Some(there) = grants_of(reading) else {
        return unread(&first, "the grants by LF-Tag policies were not read");
    };
    let ignored = grants::ignored(draft).unwrap_or_default();
    let held: Vec<(Atom, bool)> = there
        .iter()
        .filter(|(atom, _)| rule_of(atom).is_some() && !ignored.contains(&atom.principal))
        .map(|(atom, grantable)| (atom.clone(), *grantable))
        .collect();
    if held.is_empty() {
        return None;
    }
    let mut aside: BTreeSet<Atom> = BTreeSet::new();
    for subject in affected(draft, &steps) {
        let place = match Place::of(draft, &subject, &steps) {
            Ok(place) => place,
            Err(held) => return Some(held),
        };
        for (atom, _) in &held {
            match place.opens(draft, atom) {
                Opens::Nothing => {}
                Opens::InBetween => {
                    aside.insert(atom.clone());
                }
                Opens::ForGood if is_extra(draft, atom) => {
                    aside.insert(atom.clone());
                }
                Opens::ForGood => {
                    let subject = place.blamed;
                    let reason = format!("{atom} would open more of it than in the primary");
                    return Some(Held { subject, reason });
                }
            }
        }
    }
    step_aside(draft, &first, &held, &aside)
}

/// Takes the grants away that would open something on the way; those that the primary
/// lacks for good, if that is proven.
fn step_aside(
    draft: &mut Draft<'_>,
    first: &Subject,
    held: &[(Atom, bool)],
    aside: &BTreeSet<Atom>,
) -> Option<Held> {
    for (atom, grantable) in held.iter().filter(|(atom, _)| aside.contains(atom)) {
        if !is_extra(draft, atom) {
            let here = grants_of(draft.inputs.primary).and_then(|all| all.get(atom));
            let grantable = *grantable && here.is_some_and(|may_grant| *may_grant);
            tags::aside(draft, atom.clone(), grantable);
            continue;
        }
        if let Some(reason) = take_extra(draft, atom, *grantable) {
            let subject = first.clone();
            return Some(Held { subject, reason });
        }
    }
    None
}

fn is_extra(draft: &Draft<'_>, atom: &Atom) -> bool {
    let here = grants_of(draft.inputs.primary);
    !here.is_some_and(|here| here.contains_key(atom))
}

/// The databases and tables whose LF-Tags or columns change, and the tables that
/// inherit from such a database.
fn affected(draft: &Draft<'_>, steps: &BTreeMap<Subject, Vec<Step>>) -> BTreeSet<Subject> {
    let mut all: BTreeSet<Subject> = steps.keys().cloned().collect();
    for subject in steps.keys() {
        if let Subject::Database(name) = subject {
            let listed = draft.inputs.secondary.listed.get(name);
            let tables = listed.into_iter().flatten();
            all.extend(
                tables.map(|table| Subject::Table(TableId::new(name.clone(), table.clone()))),
            );
        }
    }
    all
}
