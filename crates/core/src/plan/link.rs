//! Resource links: made and deleted, never updated, never written through.

use super::Draft;
use crate::catalog::{Linkable, Seen, digest};
use crate::ledger::Row;
use crate::name::Name;
use crate::reading::{Observation, Reading};
use crate::scope::Subject;
use serde::Serialize;

/// What to do where one side, or both, hold a resource link.
pub(super) enum Meeting {
    /// Both are the same link.
    Same,
    /// The secondary's is a link that we made, and another one, or an object, is
    /// wanted: it goes, and the next round makes what is wanted.
    Replace,
    /// Not ours, for this reason.
    Foreign(String),
}

/// Judges a name under which one side or both hold a link.
pub(super) fn meet<T>(row: Option<&Row>, desired: &T, there: &Seen<T>) -> Meeting
where
    T: Linkable + PartialEq + Serialize,
{
    if there.object == *desired {
        Meeting::Same
    } else if is_own(row, there) {
        Meeting::Replace
    } else if there.is_link() {
        let reason = "the secondary has a resource link under this name, which Twinlake did not \
                      make; delete it there, or exclude the name";
        Meeting::Foreign(reason.to_owned())
    } else {
        let reason = "the primary has a resource link under this name, and the secondary an \
                      object; delete it there, or exclude the name";
        Meeting::Foreign(reason.to_owned())
    }
}

/// Whether the secondary's is a link that we made, or were about to make: it points
/// where ours did.
pub(super) fn is_own<T: Linkable + Serialize>(row: Option<&Row>, there: &Seen<T>) -> bool {
    if !there.is_link() {
        return false;
    }
    let now = digest(&there.object);
    let pairing = row.and_then(|row| row.pairing.as_ref());
    let intended = row.and_then(|row| row.intended.as_ref());
    pairing.is_some_and(|pairing| pairing.link && pairing.digest == now) || intended == Some(&now)
}

/// Whether a database was read as a link.
pub(super) fn leads_elsewhere(reading: &Reading, name: &Name) -> bool {
    let seen = reading.databases.get(name).and_then(Observation::present);
    seen.is_some_and(Linkable::is_link)
}

/// Whether a subject was read as a link on either side.
pub(super) fn is_subject(draft: &Draft<'_>, subject: &Subject) -> bool {
    is_at(draft.inputs.primary, subject) || is_at(draft.inputs.secondary, subject)
}

/// Whether a subject was read as a link on one side.
pub(super) fn is_at(reading: &Reading, subject: &Subject) -> bool {
    match subject {
        Subject::Catalog | Subject::Lake(_) | Subject::Function(_) => false,
        Subject::Database(name) => leads_elsewhere(reading, name),
        Subject::Table(id) => {
            let seen = reading.tables.get(id).and_then(Observation::present);
            seen.is_some_and(Linkable::is_link)
        }
    }
}
