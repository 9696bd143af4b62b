//! Resource links. They are created and deleted, never updated; nothing is written through them.

use super::PlanBuilder;
use crate::catalog::{MaybeLink, Observed, digest};
use crate::ledger::LedgerRow;
use crate::name::Name;
use crate::scope::Subject;
use crate::snapshot::{Observation, Snapshot};
use crate::topology::Epoch;
use serde::Serialize;

/// The action where one Region, or both, have a resource link under a name.
pub(super) enum LinkConflict {
    /// Both have the same link.
    Same,
    /// The standby has a link that Twinlake made, and another link or an object is wanted. The
    /// link is deleted, and the next round creates the wanted object.
    Replace,
    /// Twinlake does not manage the standby's object; with the reason.
    Foreign(String),
}

/// Returns the action for a name under which one Region, or both, have a link.
pub(super) fn check_link_conflict<T>(
    epoch: Epoch,
    row: Option<&LedgerRow>,
    desired: &T,
    existing: &Observed<T>,
) -> LinkConflict
where
    T: MaybeLink + PartialEq + Serialize,
{
    if existing.object == *desired {
        LinkConflict::Same
    } else if is_managed_link(epoch, row, existing) {
        LinkConflict::Replace
    } else if existing.is_link() {
        let reason = "the standby has a resource link under this name, which Twinlake did not \
                      make; delete it there, or exclude the name";
        LinkConflict::Foreign(reason.to_owned())
    } else {
        let reason = "the primary has a resource link under this name, and the standby an \
                      object; delete it there, or exclude the name";
        LinkConflict::Foreign(reason.to_owned())
    }
}

/// Whether the standby's object is a link that Twinlake made or was about to make: it has the
/// target that the ledger records.
pub(super) fn is_managed_link<T: MaybeLink + Serialize>(
    epoch: Epoch,
    row: Option<&LedgerRow>,
    existing: &Observed<T>,
) -> bool {
    if !existing.is_link() {
        return false;
    }
    let digest_now = digest(&existing.object);
    let pairing = row.and_then(|row| row.pairing.as_ref());
    pairing.is_some_and(|pairing| pairing.link && pairing.has_digest(epoch.standby(), &digest_now))
        || row.is_some_and(|row| row.intends(&digest_now))
}

/// Whether a database is a resource link in a snapshot.
pub(super) fn is_database_link(snapshot: &Snapshot, name: &Name) -> bool {
    let observed = snapshot.databases.get(name).and_then(Observation::present);
    observed.is_some_and(MaybeLink::is_link)
}

/// Whether a subject is a resource link in either Region.
pub(super) fn is_link_on_either_side(builder: &PlanBuilder<'_>, subject: &Subject) -> bool {
    is_link(builder.inputs.primary, subject) || is_link(builder.inputs.standby, subject)
}

/// Whether a subject is a resource link in a snapshot.
pub(super) fn is_link(snapshot: &Snapshot, subject: &Subject) -> bool {
    match subject {
        Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => false,
        Subject::Database(name) => is_database_link(snapshot, name),
        Subject::Table(id) => {
            let observed = snapshot.tables.get(id).and_then(Observation::present);
            observed.is_some_and(MaybeLink::is_link)
        }
    }
}
