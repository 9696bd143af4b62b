//! Parts of a database or a table: partition indexes, column statistics, tags, data
//! cells filters, assigned LF-Tags, opt-ins.

use super::{Draft, FindingKind};
use crate::catalog::{
    CellsFilter, FilterColumns, Part, PartKey, Progress, Seen, SeenPart, Table, digest,
};
use crate::grant::{Atom, Resource};
use crate::ledger::State;
use crate::name::TableId;
use crate::policy::Deletions;
use crate::reading::{Observation, Parts};
use crate::scope::{Facet, Subject};
use crate::step::{RevokeCause, Step};
use std::collections::BTreeSet;

/// The facets that are parts.
pub(super) const FACETS: [Facet; 6] = [
    Facet::Indexes,
    Facet::Statistics,
    Facet::Tags,
    Facet::Filters,
    Facet::Assigned,
    Facet::OptIns,
];

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
        let put = put(subject, key, &seen.part, there.get(key));
        match put.is_some().then(|| dangles(draft, subject, &seen.part)) {
            Some(Some(column)) => {
                let detail = format!(
                    "its {key} is not copied: the table has no column {column}; mend the filter \
                     in the primary"
                );
                draft.find(FindingKind::Held, subject, detail);
            }
            Some(None) | None => puts.extend(put),
        }
    }
    let puts = puts.into_iter().map(|step| tighten(draft, there, step));
    let puts: Vec<Step> = puts.collect();
    let removes = removals(draft, subject, facet, wanted, there);
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

/// A column that a data cells filter names and the primary's table lacks: the service
/// refuses to make such a filter.
fn dangles(draft: &Draft<'_>, subject: &Subject, part: &Part) -> Option<crate::Name> {
    let (Subject::Table(id), Part::Filter(filter)) = (subject, part) else {
        return None;
    };
    let here = draft.inputs.primary.tables.get(id);
    let here = names(here.and_then(Observation::present));
    let mut named = named(filter).iter();
    named.find(|name| !here.contains(name.as_str())).cloned()
}

fn named(filter: &CellsFilter) -> &BTreeSet<crate::Name> {
    match &filter.columns {
        FilterColumns::Only(names) | FilterColumns::AllBut(names) => names,
    }
}

/// A data cells filter that is changed goes before anything is shown anew, if it can.
/// If it names columns that are still to come, nobody holds it meanwhile.
fn tighten(draft: &mut Draft<'_>, there: &Parts, step: Step) -> Step {
    let Step::PutPart {
        subject: Subject::Table(id),
        part: Part::Filter(filter),
        ..
    } = &step
    else {
        return step;
    };
    if !there.contains_key(&PartKey::Filter(filter.name.clone())) {
        return step;
    }
    let tightens = has_columns(draft, id, filter);
    if !tightens {
        step_aside(draft, id, &filter.name);
    }
    Step::PutPart {
        subject: Subject::Table(id.clone()),
        part: Part::Filter(filter.clone()),
        tightens,
    }
}

/// Whether the secondary's table has every column that a filter names.
fn has_columns(draft: &Draft<'_>, id: &TableId, filter: &CellsFilter) -> bool {
    let named = named(filter);
    let table = draft.inputs.secondary.tables.get(id);
    let table = table.and_then(Observation::present);
    let known = names(table);
    // What a column that is to go would show meanwhile.
    let here = draft.inputs.primary.tables.get(id);
    let here = names(here.and_then(Observation::present));
    let shows = match &filter.columns {
        FilterColumns::Only(_) => false,
        FilterColumns::AllBut(_) => !known.is_subset(&here),
    };
    !shows && named.iter().all(|name| known.contains(name.as_str()))
}

fn names(table: Option<&Seen<Table>>) -> BTreeSet<String> {
    let columns = table.into_iter().flat_map(|seen| seen.object.columns());
    columns.map(|column| column.name.to_lowercase()).collect()
}

/// Takes a filter from all who hold it, to give it back when it is changed.
fn step_aside(draft: &mut Draft<'_>, id: &TableId, name: &str) {
    let resource = Resource::Filter(id.clone(), name.to_owned());
    let subject = Subject::Table(id.clone());
    let readings = [draft.inputs.primary, draft.inputs.secondary];
    let [here, there] = readings.map(|reading| {
        let grants = reading.grants.get(&subject);
        grants.and_then(Observation::present)
    });
    let (Some(here), Some(there)) = (here, there) else {
        return;
    };
    let ignored = super::grants::ignored(draft).unwrap_or_default();
    let kept: Vec<(Atom, bool)> = there
        .iter()
        .filter(|(atom, _)| atom.resource == resource && !ignored.contains(&atom.principal))
        .filter_map(|(atom, held)| Some((atom.clone(), *held && *here.get(atom)?)))
        .collect();
    for (atom, grantable) in kept {
        let is_planned =
            |step: &Step| matches!(step, Step::Revoke { atom: other, .. } if *other == atom);
        if !draft.steps.iter().any(is_planned) {
            draft.steps.push(Step::Revoke {
                atom: atom.clone(),
                grantable,
                cause: RevokeCause::Replace,
            });
            draft.steps.push(Step::Grant { atom, grantable });
        }
    }
}

/// Why a grant on a data cells filter cannot be given: the primary lacks the filter, or it
/// is not copied.
pub(super) fn missing_filter(draft: &Draft<'_>, atom: &Atom) -> Option<String> {
    let Resource::Filter(id, name) = &atom.resource else {
        return None;
    };
    let at = (Subject::Table(id.clone()), Facet::Filters);
    let key = PartKey::Filter(name.clone());
    let here = draft.inputs.primary.parts.get(&at)?.present()?;
    let there = draft.inputs.secondary.parts.get(&at);
    let there = there.and_then(Observation::present);
    match here.get(&key) {
        None => Some(format!("its table has no data cells filter {name}")),
        Some(_) if there.is_some_and(|there| there.contains_key(&key)) => None,
        Some(seen) => dangles(draft, &at.0, &seen.part)
            .map(|column| format!("the filter names the column {column}, which is gone")),
    }
}

/// Whether parts of a facet say who may do what, so that an absence of one is proven
/// only while we see everything.
fn is_permission(facet: Facet) -> bool {
    match facet {
        Facet::Filters | Facet::Assigned | Facet::OptIns => true,
        Facet::Definition
        | Facet::Partitions
        | Facet::Grants
        | Facet::Contents
        | Facet::Indexes
        | Facet::Statistics
        | Facet::Tags
        | Facet::Items => false,
    }
}

/// Parts that the primary lacks.
fn removals(
    draft: &mut Draft<'_>,
    subject: &Subject,
    facet: Facet,
    wanted: &Parts,
    there: &Parts,
) -> Vec<Step> {
    let extra = there.iter().filter(|(key, seen)| {
        // One that the primary could not make may be there all the same.
        let here = wanted.get(*key).map(|seen| seen.progress);
        let gone = matches!(here, None | Some(Progress::Leaving));
        seen.progress == Progress::There && gone
    });
    let extra: Vec<&PartKey> = extra.map(|(key, _)| key).collect();
    if let (Some(first), true, false) = (
        extra.first(),
        is_permission(facet),
        draft.inputs.primary.administrator,
    ) {
        let reason = format!(
            "its {first} seems gone, and that is not proven: our role is no longer a data lake \
             administrator in the primary"
        );
        draft.leave(subject, State::Behind, FindingKind::Denied, reason);
        return Vec::new();
    }
    if let (Some(first), Deletions::Retain, false) = (
        extra.first(),
        draft.inputs.policy.deletions,
        is_permission(facet),
    ) {
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
        tightens: false,
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
        (
            Progress::There,
            Part::Statistics(_)
            | Part::Tag { .. }
            | Part::Filter(_)
            | Part::Assigned { .. }
            | Part::OptIn(_)
            | Part::TagValue { .. }
            | Part::Expression(_)
            | Part::Registration(_),
        )
        | (Progress::Leaving, _) => Some(put),
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
