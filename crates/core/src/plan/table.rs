//! Tables and their partitions.

use super::link::{self, Meeting};
use super::{
    Draft, Facets, FindingKind, Inputs, database::leave_withheld, grants, pairing, part,
    partitions, reader, wildcards,
};
use crate::catalog::{DRIFTING_PARAMETER, Linkable as _, Seen, Table, differences, digest};
use crate::ledger::{Pairing, Row, State};
use crate::name::{Name, TableId};
use crate::policy::Deletions;
use crate::reading::{Observation, Proof};
use crate::scope::{Facet, Subject};
use crate::step::Step;
use crate::translate::{Desired, Withheld};
use std::collections::BTreeSet;

pub(super) fn plan(draft: &mut Draft<'_>, id: &TableId, facets: &Facets) {
    let subject = Subject::Table(id.clone());
    let inputs = draft.inputs;
    let (Some(primary), Some(secondary)) = (
        inputs.primary.tables.get(id),
        inputs.secondary.tables.get(id),
    ) else {
        return;
    };
    if !inputs.policy.covers_table(id) {
        return;
    }
    // What a link shows below it belongs to its target.
    let sides = [inputs.primary, inputs.secondary];
    if sides.iter().any(|r| link::leads_elsewhere(r, &id.database)) {
        let missing = primary.present().is_some() && secondary_only(inputs, id);
        if missing || inputs.rows.contains_key(&subject) {
            let reason = "its database is a resource link".to_owned();
            draft.leave(&subject, State::Blocked, FindingKind::Foreign, reason);
        }
        let row = inputs.rows.get(&subject);
        let beyond = !link::leads_elsewhere(inputs.secondary, &id.database)
            && secondary
                .present()
                .is_some_and(|there| is_paired(row, there));
        if beyond {
            grants::plan_revokes_only(draft, &subject);
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
            delete(draft, id, &subject, proof, there);
        }
        (Observation::Present(wanted), observed) => {
            if let Some((state, kind, reason)) = parent_trouble(draft, &id.database) {
                draft.leave(&subject, state, kind, reason);
                let row = draft.inputs.rows.get(&subject);
                if observed
                    .present()
                    .is_some_and(|there| is_paired(row, there))
                {
                    grants::plan_revokes_only(draft, &subject);
                }
                return;
            }
            match draft.translator.table(&wanted.object) {
                Ok(desired) => {
                    settle(draft, id, facets, wanted, desired, observed.present());
                }
                Err(withheld) => withhold(draft, &subject, withheld, observed.present()),
            }
        }
    }
}

/// Whether the table's database is a link in the secondary and none in the primary.
fn secondary_only(inputs: Inputs<'_>, id: &TableId) -> bool {
    link::leads_elsewhere(inputs.secondary, &id.database)
        && !link::leads_elsewhere(inputs.primary, &id.database)
}

/// Keeps a table back. What was copied of it earlier stays, and its grants go on
/// being narrowed with the primary's.
fn withhold(
    draft: &mut Draft<'_>,
    subject: &Subject,
    withheld: Withheld,
    observed: Option<&Seen<Table>>,
) {
    leave_withheld(draft, subject, withheld);
    let row = draft.inputs.rows.get(subject);
    if observed.is_some_and(|there| is_paired(row, there)) {
        grants::plan_revokes_only(draft, subject);
    }
}

/// Why nothing may be written into the table's database, if so, and how that leaves
/// the table.
pub(super) fn parent_trouble(
    draft: &Draft<'_>,
    database: &Name,
) -> Option<(State, FindingKind, String)> {
    let parent = Subject::Database(database.clone());
    let foreign = |reason: String| Some((State::Blocked, FindingKind::Foreign, reason));
    let unread = |reason: &str| {
        let reason = reason.to_owned();
        Some((State::Behind, FindingKind::Unreadable, reason))
    };
    if let Some(standing) = draft.standings.get(&parent) {
        return match (&standing.reason, standing.gone) {
            (None, false) if standing.state == State::Current => None,
            (None, false) => unread("its database is about to be made anew"),
            (reason, _) => foreign(format!(
                "its database is not replicated: {}",
                reason.as_deref().unwrap_or("it is gone")
            )),
        };
    }
    let row = draft.inputs.rows.get(&parent);
    let Some(pairing) = row.and_then(|row| row.pairing.as_ref()) else {
        // It would have been looked at, too, had it not been when the look began.
        return unread("its database is only just being paired");
    };
    match draft.inputs.secondary.databases.get(database) {
        // Not asked for: nothing is made or deleted in it by this plan.
        None => None,
        Some(Observation::Present(seen)) if seen.created != pairing.secondary_created => {
            unread("its database was made anew in the secondary")
        }
        Some(Observation::Present(_)) => None,
        Some(Observation::Absent(_)) => unread("its database is gone from the secondary"),
        Some(Observation::Unknown(_)) => unread("its database in the secondary was not read"),
    }
}

/// What is to be done with the table itself.
enum Verdict {
    /// It stays as it is.
    Keep(Option<Pairing>),
    /// It is made, or changed.
    Write(Box<Step>, Option<Pairing>),
    /// A link of ours goes, to make room for what is wanted.
    Replace,
    /// It is left alone.
    Leave(State, FindingKind, String),
}

fn judge(
    draft: &Draft<'_>,
    id: &TableId,
    wanted: &Seen<Table>,
    desired: Table,
    observed: Option<&Seen<Table>>,
) -> Verdict {
    let row = draft.inputs.rows.get(&Subject::Table(id.clone()));
    let id = id.clone();
    let Some(there) = observed else {
        let table = desired;
        return Verdict::Write(Box::new(Step::CreateTable { id, table }), None);
    };
    if there.is_link() || desired.is_link() {
        return match link::meet(row, &desired, there) {
            Meeting::Same => Verdict::Keep(Some(pairing(wanted, there, &there.object))),
            Meeting::Replace => Verdict::Replace,
            Meeting::Foreign(why) => Verdict::Leave(State::Blocked, FindingKind::Foreign, why),
        };
    }
    if let Err(why) = is_ours(row, there, &desired) {
        return Verdict::Leave(State::Blocked, FindingKind::Foreign, why);
    }
    let database = draft.inputs.secondary.databases.get(&id.database);
    if !is_paired(row, there) && database.and_then(Observation::present).is_none() {
        // Through a link the name would show another database's table.
        let why = "its database in the secondary was not read".to_owned();
        return Verdict::Leave(State::Behind, FindingKind::Unreadable, why);
    }
    if let Some(why) = dialect_beyond(&there.object, &desired) {
        return Verdict::Leave(State::Blocked, FindingKind::Unsupported, why);
    }
    let now = comparable(&there.object);
    let pairing = Some(pairing(wanted, there, &now));
    if now == desired {
        return Verdict::Keep(pairing);
    }
    let step = Step::UpdateTable {
        id,
        changes: differences(&now, &desired),
        table: desired,
        version: there.version.clone(),
    };
    Verdict::Write(Box::new(step), pairing)
}

fn settle(
    draft: &mut Draft<'_>,
    id: &TableId,
    facets: &Facets,
    wanted: &Seen<Table>,
    desired: Desired<Table>,
    observed: Option<&Seen<Table>>,
) {
    let subject = Subject::Table(id.clone());
    for note in &desired.notes {
        draft.find(FindingKind::Note, &subject, note.clone());
    }
    let (change, pairing) = match judge(draft, id, wanted, desired.object, observed) {
        Verdict::Keep(pairing) => (None, pairing),
        Verdict::Write(step, pairing) => (Some(*step), pairing),
        Verdict::Replace => return delete_now(draft, id, &subject),
        Verdict::Leave(state, kind, why) => {
            draft.leave(&subject, state, kind, why);
            let row = draft.inputs.rows.get(&subject);
            if observed.is_some_and(|there| is_paired(row, there)) {
                grants::plan_revokes_only(draft, &subject);
            }
            return;
        }
    };
    let mut standing = draft.keep(&subject, State::Current, None);
    standing.pairing = pairing.or(standing.pairing);
    draft.standings.insert(subject.clone(), standing);
    write(draft, id, facets, change, observed);
    draft.blame(&subject, Facet::Grants);
    if draft.is_settled(&subject) {
        partitions::plan(draft, id, &subject);
        let read = draft.inputs.primary.partitions.get(id);
        if read.and_then(Observation::present).is_some() {
            draft.blame(&subject, Facet::Partitions);
        }
        part::plan_all(draft, &subject);
    }
}

/// Plans the grants and, unless it would show something to whom it must not, the
/// change of the table.
fn write(
    draft: &mut Draft<'_>,
    id: &TableId,
    facets: &Facets,
    change: Option<Step>,
    observed: Option<&Seen<Table>>,
) {
    let subject = Subject::Table(id.clone());
    let opens = change
        .as_ref()
        .is_some_and(|step| shows_more(step, observed));
    let beyond = opens.then(|| wildcards::beyond(draft, &id.database));
    let filtered = change
        .as_ref()
        .is_some_and(|step| shows_otherwise(step, observed) && !reader::sees(draft.inputs, id));
    let reason = match filtered {
        true => Some(reader::REASON.to_owned()),
        false => beyond.flatten(),
    };
    if let Some(reason) = reason {
        if filtered {
            draft.waits.insert(subject.clone());
        }
        draft.leave(&subject, State::Behind, FindingKind::Unreadable, reason);
        // What is not there yet is granted nothing, and what is there only loses.
        if observed.is_some() {
            grants::plan_revokes_only(draft, &subject);
        }
        return;
    }
    let read = draft.inputs.primary.grants.contains_key(&subject);
    let narrowed = match facets.contains(&Facet::Grants) || read {
        true => grants::plan(draft, &subject),
        false => !opens,
    };
    match change {
        // Whoever holds a stale grant on the table would see what is new in it, too.
        Some(_) if !narrowed => {
            let reason = "it is changed once grants that the primary no longer shows are \
                          proven to be gone there"
                .to_owned();
            draft.leave(&subject, State::Behind, FindingKind::Unreadable, reason);
        }
        Some(step) => draft.steps.push(step),
        None => {}
    }
}

fn shows_more(step: &Step, observed: Option<&Seen<Table>>) -> bool {
    let Step::UpdateTable { table, .. } = step else {
        return true;
    };
    let now = shown(observed);
    table.columns().any(|c| !now.contains(c.name.as_str()))
}

/// Whether the step changes which columns there are.
fn shows_otherwise(step: &Step, observed: Option<&Seen<Table>>) -> bool {
    let Step::UpdateTable { table, .. } = step else {
        return true;
    };
    let wanted: BTreeSet<&str> = table.columns().map(|column| column.name.as_str()).collect();
    wanted != shown(observed)
}

fn shown(observed: Option<&Seen<Table>>) -> BTreeSet<&str> {
    let columns = observed
        .into_iter()
        .flat_map(|there| there.object.columns());
    columns.map(|column| column.name.as_str()).collect()
}

fn comparable(table: &Table) -> Table {
    let mut table = table.clone();
    table.parameters.remove(DRIFTING_PARAMETER);
    table
}

fn is_paired(row: Option<&Row>, there: &Seen<Table>) -> bool {
    let paired = row
        .and_then(|row| row.pairing.as_ref())
        .is_some_and(|pairing| pairing.secondary_created == there.created);
    match there.is_link() {
        true => link::is_own(row, there),
        false => paired,
    }
}

/// A dialect of a view that the primary dropped: an update adds and replaces
/// dialects, and takes none away.
fn dialect_beyond(there: &Table, desired: &Table) -> Option<String> {
    let dialects = |table: &Table| -> BTreeSet<String> {
        let views = table.view_definition.iter();
        let all = views.flat_map(|view| &view.representations);
        all.filter_map(|r| r.dialect.clone()).collect()
    };
    let beyond = dialects(there)
        .difference(&dialects(desired))
        .next()
        .cloned()?;
    Some(format!(
        "the primary's view dropped the dialect {beyond}; drop it in the secondary by hand"
    ))
}

fn is_ours(row: Option<&Row>, there: &Seen<Table>, desired: &Table) -> Result<(), String> {
    let now = comparable(&there.object);
    let intended = row
        .and_then(|row| row.intended.as_ref())
        .is_some_and(|intended| *intended == digest(&now));
    if is_paired(row, there) || intended || now == *desired {
        return Ok(());
    }
    let fields: Vec<String> = differences(&now, desired)
        .into_iter()
        .map(|change| change.field)
        .collect();
    Err(format!(
        "the secondary has another table under this name, which Twinlake did not make; \
         it differs in {}",
        fields.join(", ")
    ))
}

fn delete(
    draft: &mut Draft<'_>,
    id: &TableId,
    subject: &Subject,
    proof: &Proof,
    there: &Seen<Table>,
) {
    if !is_paired(draft.inputs.rows.get(subject), there) {
        return;
    }
    if !proof.is_complete() {
        let why = if proof.administrator {
            "no event named the deletion, and nothing else was seen in its database"
        } else {
            "our role is no longer a data lake administrator there"
        };
        let reason = format!("it seems gone from the primary, and that is not proven: {why}");
        draft.leave(subject, State::Behind, FindingKind::Denied, reason);
        grants::plan_suspects_only(draft, subject);
    } else if draft.inputs.policy.deletions == Deletions::Retain {
        let reason = "it is gone from the primary, and the policy retains it".to_owned();
        draft.leave(subject, State::Held, FindingKind::Held, reason);
        grants::plan_suspects_only(draft, subject);
    } else {
        delete_now(draft, id, subject);
    }
}

fn delete_now(draft: &mut Draft<'_>, id: &TableId, subject: &Subject) {
    // Grants may outlive the table they are on, and would open a table made
    // anew under its name.
    if !grants::revoke_all(draft, subject) {
        return;
    }
    draft.steps.push(Step::DeleteTable { id: id.clone() });
    let standing = draft.keep(subject, State::Behind, None);
    draft.standings.insert(subject.clone(), standing);
}
