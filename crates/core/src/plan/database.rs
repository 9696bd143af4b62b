//! Databases.

use super::link::{self, Meeting};
use super::{Draft, Facets, FindingKind, grants, pairing, part, unreadable};
use crate::catalog::{Database, Linkable as _, Seen, differences, digest};
use crate::grant::{Atom, Permission, Principal, Resource};
use crate::ledger::{Row, State};
use crate::name::Name;
use crate::policy::Deletions;
use crate::reading::Observation;
use crate::scope::{Facet, Subject};
use crate::step::Step;
use crate::translate::{Desired, Withheld};

pub(super) fn plan(draft: &mut Draft<'_>, name: &Name, facets: &Facets) {
    let subject = Subject::Database(name.clone());
    let inputs = draft.inputs;
    let (Some(primary), Some(secondary)) = (
        inputs.primary.databases.get(name),
        inputs.secondary.databases.get(name),
    ) else {
        return;
    };
    if !inputs.policy.covers_database(name) {
        return;
    }
    match (primary, secondary) {
        (Observation::Unknown(fault), _) | (_, Observation::Unknown(fault)) => {
            draft.leave_unread(&subject, fault);
        }
        (Observation::Absent(proof), Observation::Absent(_)) => {
            let standing = draft.forget(&subject, proof);
            draft.standings.insert(subject.clone(), standing);
        }
        // Decided when every table below it has been.
        (Observation::Absent(_), Observation::Present(_)) => {}
        (Observation::Present(wanted), observed) => {
            match draft.translator.database(&wanted.object) {
                Ok(desired) => settle(draft, &subject, wanted, desired, observed.present()),
                Err(withheld) => leave_withheld(draft, &subject, withheld),
            }
        }
    }
    for reading in [inputs.primary, inputs.secondary] {
        if let Some(Err(fault)) = reading.functions_listed.get(name) {
            let detail = format!("its functions could not be listed: {fault}");
            draft.find(unreadable(fault), &subject, detail);
        }
    }
    if draft.is_settled(&subject) && !link::is_subject(draft, &subject) {
        // What its parts come to is no reason to leave alone what is in it.
        let own = draft.standings.get(&subject).cloned();
        part::plan_all(draft, &subject);
        let with_parts = draft.standings.get(&subject).cloned();
        if let (Some(own), Some(with_parts)) = (own, with_parts)
            && own != with_parts
        {
            draft.standings.insert(subject.clone(), own);
            draft.afterwards.insert(subject.clone(), with_parts);
        }
    }
    if !facets.contains(&Facet::Grants) {
        return;
    }
    if draft.is_settled(&subject) {
        grants::plan(draft, &subject);
    } else if primary.present().is_some() && is_paired_now(draft, &subject, name) {
        grants::plan_revokes_only(draft, &subject);
    }
}

/// Whether the ledger pairs the database with the one that is there now.
fn is_paired_now(draft: &Draft<'_>, subject: &Subject, name: &Name) -> bool {
    let there = draft.inputs.secondary.databases.get(name);
    let row = draft.inputs.rows.get(subject);
    let pairing = row.and_then(|row| row.pairing.as_ref());
    there.and_then(Observation::present).is_some_and(|there| {
        !there.is_link()
            && pairing.is_some_and(|pairing| pairing.secondary_created == there.created)
    })
}

pub(super) fn leave_withheld(draft: &mut Draft<'_>, subject: &Subject, withheld: Withheld) {
    match withheld {
        Withheld::Held(reason) => draft.leave(subject, State::Held, FindingKind::Held, reason),
        Withheld::Unsupported(kind) => {
            draft.leave(subject, State::Blocked, FindingKind::Unsupported, kind);
        }
    }
}

fn settle(
    draft: &mut Draft<'_>,
    subject: &Subject,
    wanted: &Seen<Database>,
    desired: Desired<Database>,
    observed: Option<&Seen<Database>>,
) {
    for note in &desired.notes {
        draft.find(FindingKind::Note, subject, note.clone());
    }
    let mut standing = draft.keep(subject, State::Current, None);
    standing
        .table_default
        .clone_from(&wanted.object.create_table_default_permissions);
    match observed {
        None => {
            if let Some(reason) = opens_at_birth(draft, &desired.object.name) {
                draft.leave(subject, State::Blocked, FindingKind::DefaultsOpen, reason);
                return;
            }
            let database = desired.object;
            draft.steps.push(Step::CreateDatabase { database });
        }
        Some(there) if there.is_link() || desired.object.is_link() => {
            let row = draft.inputs.rows.get(subject);
            match link::meet(row, &desired.object, there) {
                Meeting::Same => {
                    standing.pairing = Some(pairing(wanted, there, &there.object));
                }
                Meeting::Replace => {
                    delete_link(draft, &desired.object.name, subject);
                    return;
                }
                Meeting::Foreign(reason) => {
                    draft.leave(subject, State::Blocked, FindingKind::Foreign, reason);
                    return;
                }
            }
        }
        Some(there) => {
            let now = comparable(&there.object);
            if let Err(reason) = is_ours(draft.inputs.rows.get(subject), there, &desired.object) {
                draft.leave(subject, State::Blocked, FindingKind::Foreign, reason);
                return;
            }
            standing.pairing = Some(pairing(wanted, there, &now));
            if now != desired.object {
                draft.steps.push(Step::UpdateDatabase {
                    closes: now.create_table_default_permissions != Some(Vec::new()),
                    changes: differences(&now, &desired.object),
                    database: desired.object,
                });
            }
        }
    }
    draft.standings.insert(subject.clone(), standing);
}

fn comparable(database: &Database) -> Database {
    let mut database = database.clone();
    database
        .parameters
        .remove(crate::catalog::DRIFTING_PARAMETER);
    database
}

/// Whether the database in the secondary is the counterpart of the primary's, or
/// equals what we would make; the default for new tables does not count, since
/// it is closed on adoption.
fn is_ours(row: Option<&Row>, there: &Seen<Database>, desired: &Database) -> Result<(), String> {
    let mut now = comparable(&there.object);
    let paired = row
        .and_then(|row| row.pairing.as_ref())
        .is_some_and(|pairing| pairing.secondary_created == there.created);
    let intended = row
        .and_then(|row| row.intended.as_ref())
        .is_some_and(|intended| *intended == digest(&now));
    now.create_table_default_permissions = Some(Vec::new());
    if paired || intended || now == *desired {
        return Ok(());
    }
    let fields: Vec<String> = differences(&now, desired)
        .into_iter()
        .map(|change| change.field)
        .collect();
    Err(format!(
        "the secondary has another object under this name, which Twinlake did not make; \
         it differs in {}",
        fields.join(", ")
    ))
}

/// Why creating the database would open it, if it would: the secondary's settings
/// grant every new database to `IAM_ALLOWED_PRINCIPALS`, and the primary does not.
fn opens_at_birth(draft: &Draft<'_>, name: &Name) -> Option<String> {
    let settings = match &draft.inputs.secondary.settings {
        Some(Observation::Present(settings)) => settings,
        Some(Observation::Absent(_) | Observation::Unknown(_)) | None => {
            return Some("the secondary's data lake settings could not be read".to_owned());
        }
    };
    if !settings.database_defaults_open {
        return None;
    }
    let open = Atom {
        principal: Principal::iam_allowed(),
        resource: Resource::Database(name.clone()),
        permission: Permission::All,
        condition: None,
    };
    let subject = Subject::Database(name.clone());
    let grants = draft.inputs.primary.grants.get(&subject);
    let primary_open = grants
        .and_then(Observation::present)
        .is_some_and(|grants| grants.contains_key(&open));
    (!primary_open).then(|| {
        "the secondary's data lake settings open every new database to IAM_ALLOWED_PRINCIPALS, \
         and the primary's is closed; clear CreateDatabaseDefaultPermissions there"
            .to_owned()
    })
}

/// Databases that are gone from the primary: deleted once every table in them is.
pub(super) fn plan_deletions(draft: &mut Draft<'_>) {
    let inputs = draft.inputs;
    for (name, primary) in &inputs.primary.databases {
        let Observation::Absent(proof) = primary else {
            continue;
        };
        let subject = Subject::Database(name.clone());
        let row = inputs.rows.get(&subject);
        let Some(there) = inputs
            .secondary
            .databases
            .get(name)
            .and_then(Observation::present)
        else {
            continue;
        };
        let pairing = row.and_then(|row| row.pairing.as_ref());
        let made = pairing.is_some_and(|pairing| pairing.secondary_created == there.created);
        let ours = match there.is_link() {
            true => link::is_own(row, there),
            false => made,
        };
        if !ours {
            continue;
        }
        if !proof.is_complete() {
            let reason = "it seems gone from the primary, and that is not proven".to_owned();
            draft.leave(&subject, State::Behind, FindingKind::Denied, reason);
            grants::plan_suspects_only(draft, &subject);
        } else if inputs.policy.deletions == Deletions::Retain {
            let reason = "it is gone from the primary, and the policy retains it".to_owned();
            draft.leave(&subject, State::Held, FindingKind::Held, reason);
            grants::plan_suspects_only(draft, &subject);
        } else if there.is_link() {
            delete_link(draft, name, &subject);
        } else {
            delete(draft, name, &subject);
        }
    }
}

/// Deletes a link that we made; what it points at stays.
fn delete_link(draft: &mut Draft<'_>, name: &Name, subject: &Subject) {
    if !grants::revoke_all(draft, subject) {
        return;
    }
    let name = name.clone();
    draft.steps.push(Step::DeleteDatabase { name });
    let standing = draft.keep(subject, State::Behind, None);
    draft.standings.insert(subject.clone(), standing);
}

fn delete(draft: &mut Draft<'_>, name: &Name, subject: &Subject) {
    let secondary = draft.inputs.secondary;
    let functions = secondary.functions_listed.get(name);
    if !secondary.listed.contains_key(name) || !functions.is_some_and(Result::is_ok) {
        let reason = "its content in the secondary was not listed".to_owned();
        draft.leave(subject, State::Behind, FindingKind::Unreadable, reason);
        return;
    }
    let is_deleted = |id: &crate::TableId| {
        let goes = |step: &Step| matches!(step, Step::DeleteTable { id: gone } if gone == id);
        draft.steps.iter().any(goes)
    };
    let mut tables = secondary.tables.iter();
    let stays = tables
        .find(|(id, seen)| id.database == *name && seen.present().is_some() && !is_deleted(id));
    let function_stays = secondary.functions.iter().find(|(id, seen)| {
        let goes = |step: &Step| matches!(step, Step::DeleteFunction { id: gone } if gone == *id);
        id.database == *name && seen.present().is_some() && !draft.steps.iter().any(goes)
    });
    let stays = stays.map(|(id, _)| id.table.to_string());
    let stays = stays.or(function_stays.map(|(id, _)| format!("function {}", id.function)));
    if let Some(what) = stays {
        let reason = format!("it is gone from the primary, and {what} stays in it");
        draft.leave(subject, State::Blocked, FindingKind::Foreign, reason);
        return;
    }
    if !grants::revoke_all(draft, subject) {
        return;
    }
    draft
        .steps
        .push(Step::DeleteDatabase { name: name.clone() });
    let standing = draft.keep(subject, State::Behind, None);
    draft.standings.insert(subject.clone(), standing);
}
