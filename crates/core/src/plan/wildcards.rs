//! Grants on all tables of a database: they open whatever is there or comes.

use super::grants::{Ignored, ignored};
use super::{Draft, FindingKind};
use crate::ledger::State;
use crate::reading::Observation;
use crate::scope::{Facet, Subject};
use crate::step::Step;
use std::collections::BTreeSet;

/// Grants on all tables of a database, decided when every table of it has been:
/// one that the primary lacks and that stays would be opened by them.
pub(super) fn plan(draft: &mut Draft<'_>) {
    for (database, atom, grantable) in std::mem::take(&mut draft.wildcards) {
        match table_beyond(draft, &database) {
            None => draft.steps.push(Step::Grant { atom, grantable }),
            Some(why) => {
                let subject = Subject::Database(database);
                let reason = format!("{atom} waits, since {why}");
                // Where the tables are looked at too, the answer is final.
                let look = draft.inputs.scope.looks.get(&subject);
                let whole = draft.inputs.scope.looks.contains_key(&Subject::Catalog)
                    || look.is_some_and(|look| look.facets.contains(&Facet::Contents));
                let (state, kind) = match whole {
                    true => (State::Blocked, FindingKind::Foreign),
                    false => (State::Behind, FindingKind::Unreadable),
                };
                draft.leave(&subject, state, kind, reason);
            }
        }
    }
}

fn table_beyond(draft: &Draft<'_>, database: &crate::Name) -> Option<String> {
    let makes = |step: &Step| matches!(step, Step::CreateDatabase { database: made } if made.name == *database);
    let inputs = draft.inputs;
    let Some(there) = inputs.secondary.listed.get(database) else {
        let made = draft.steps.iter().any(makes);
        return (!made).then(|| "the secondary's tables were not listed".to_owned());
    };
    let here = inputs.primary.listed.get(database);
    let is_deleted = |name: &crate::Name| {
        let of = |id: &crate::TableId| id.database == *database && id.table == *name;
        let goes = |step: &Step| matches!(step, Step::DeleteTable { id } if of(id));
        draft.steps.iter().any(goes)
    };
    let mut beyond = there.iter();
    let stays = beyond.find(|name| !here.is_some_and(|h| h.contains(*name)) && !is_deleted(name));
    let stays = stays.map(|name| format!("the secondary holds {name}, which the primary lacks"));
    stays.or_else(|| column_beyond(draft, database))
}

/// A column that a table of the secondary keeps after the primary dropped it.
fn column_beyond(draft: &Draft<'_>, database: &crate::Name) -> Option<String> {
    let inputs = draft.inputs;
    let tables = inputs.secondary.tables.iter();
    for (id, there) in tables.filter(|(id, _)| id.database == *database) {
        let here = inputs.primary.tables.get(id).and_then(Observation::present);
        let (Some(here), Some(there)) = (here, there.present()) else {
            continue;
        };
        let known: BTreeSet<&str> = here.object.columns().map(|c| c.name.as_str()).collect();
        let mut columns = there.object.columns().map(|c| c.name.as_str());
        let updates =
            |step: &Step| matches!(step, Step::UpdateTable { id: updated, .. } if updated == id);
        if let Some(column) = columns.find(|column| !known.contains(column))
            && !draft.steps.iter().any(updates)
        {
            let table = &id.table;
            return Some(format!(
                "{table} in the secondary keeps the column {column}, which the primary dropped"
            ));
        }
    }
    None
}

/// A grant on all tables of the database that the secondary holds and the primary
/// does not: it would open whatever is made or shown anew there. Where the
/// database's own grants are read, this plan takes it away first.
pub(super) fn beyond(draft: &Draft<'_>, database: &crate::Name) -> Option<String> {
    let inputs = draft.inputs;
    let there = match inputs.secondary.wildcards.get(database)? {
        Observation::Present(there) => there,
        Observation::Absent(_) | Observation::Unknown(_) => {
            return Some("the grants on all tables of its database were not read".to_owned());
        }
    };
    let here = inputs.primary.wildcards.get(database);
    let here = here.and_then(Observation::present);
    let ignored = ignored(draft).unwrap_or(Ignored::ours(inputs.ours));
    let beyond = there.keys().find(|atom| {
        !ignored.contains(&atom.principal) && !here.is_some_and(|here| here.contains_key(atom))
    });
    beyond.map(|atom| format!("it waits until {atom} is gone from the secondary"))
}
