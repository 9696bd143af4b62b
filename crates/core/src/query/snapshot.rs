//! The result of one round of reads of the query tools of one Region.

use super::object::{ObjectKey, QueryObject};
use super::row::{QueryRow, QueryRows};
use super::rules::ControlObject;
use super::rules::QueryKind;
use crate::call_error::{CallError, CallErrorKind};
use crate::ledger::SubjectState;
use crate::snapshot::{AbsenceProof, Observation};
use crate::topology::SiteId;
use std::collections::BTreeMap;

/// What was read of one Region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuerySnapshot {
    /// The objects that the listings named, and those that were read by name. An object of which the read
    /// failed is [`Observation::Unknown`].
    pub objects: BTreeMap<ObjectKey, Observation<QueryObject>>,
    /// The listings that were made, by kind and workgroup, each complete or with its error.
    pub listings: BTreeMap<(QueryKind, Option<String>), Result<(), CallError>>,
    /// The number of objects of each kind that are only counted.
    pub counted: BTreeMap<String, usize>,
    /// The external schemas that were queried, each with the error of its canary query.
    pub canaries: BTreeMap<ObjectKey, Result<(), CallError>>,
}

impl QuerySnapshot {
    /// The object, if it was read.
    #[must_use]
    pub fn present(&self, key: &ObjectKey) -> Option<&QueryObject> {
        self.objects.get(key).and_then(Observation::present)
    }

    /// The objects that were read.
    pub fn all_present(&self) -> impl Iterator<Item = &QueryObject> {
        self.objects.values().filter_map(Observation::present)
    }

    /// Why it is not known which objects of a kind exist in a workgroup; `None` if the listing is complete,
    /// or the workgroup does not exist by a complete listing.
    #[must_use]
    pub fn listing_error(&self, key: &ObjectKey) -> Option<String> {
        match self.listings.get(&(key.kind, key.parent.clone())) {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(error.to_string()),
            None => {
                let parent = key.parent_key();
                match parent.as_ref().map(|parent| self.objects.get(parent)) {
                    // A workgroup that does not exist holds nothing.
                    Some(None) => parent.and_then(|parent| self.listing_error(&parent)),
                    Some(Some(Observation::Absent(proof))) if proof.is_complete() => None,
                    Some(Some(_)) | None => Some("it was not listed".to_owned()),
                }
            }
        }
    }

    /// Whether the control object of the listing that would name this key was read, in a Region of which the rows pair
    /// objects.
    #[must_use]
    pub fn control_seen(&self, key: &ObjectKey, (rows, site): (&QueryRows, SiteId)) -> bool {
        let mut siblings = self.all_present().filter(|other| {
            other.key.kind == key.kind && other.key.parent == key.parent && other.key != *key
        });
        match (key.kind.rules().control, key.parent_key()) {
            (ControlObject::Named(name), _) => {
                self.present(&ObjectKey::new(key.kind, name)).is_some()
            }
            (ControlObject::Parent, Some(parent)) => {
                let parent_is_gone = matches!(
                    self.objects.get(&parent),
                    Some(Observation::Absent(proof)) if proof.is_complete()
                );
                self.present(&parent).is_some() || parent_is_gone
            }
            (ControlObject::Parent, None) => false,
            (ControlObject::Sibling, _) => siblings.next().is_some(),
            (ControlObject::PairedSibling, _) => {
                let missing = rows.get(key);
                let missing = missing.filter(|row| row.state != SubjectState::InSync);
                // One that was found after the other was missed may be of another database.
                let was_seen_with_it = |row: &QueryRow| {
                    row.state == SubjectState::InSync
                        && missing.is_none_or(|missing| row.since < missing.since)
                };
                siblings.any(|other| {
                    let row = rows.get(&other.key);
                    row.is_some_and(|row| row.pairs(site, other) && was_seen_with_it(row))
                })
            }
        }
    }

    /// Records the result of a read by name of an object that the listing did not name.
    pub fn record_read(
        &mut self,
        key: &ObjectKey,
        result: Result<QueryObject, CallError>,
        known: (&QueryRows, SiteId),
    ) {
        let observation = match result {
            Ok(object) => Observation::Present(object),
            Err(error) if error.kind.is_transient() => Observation::Unknown(error),
            Err(error) => {
                let is_documented = error.kind == CallErrorKind::NotFound;
                let control_seen = self.control_seen(key, known);
                Observation::Absent(AbsenceProof {
                    not_returned: true,
                    read_error: (!is_documented).then_some(error),
                    unlisted: self.listing_error(key).is_none(),
                    // These listings need one right for all objects; the control object shows it.
                    is_administrator: control_seen,
                    sibling_seen: control_seen,
                    deletion_named: false,
                })
            }
        };
        self.objects.insert(key.clone(), observation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::object::Fields;
    use crate::timestamp::Timestamp;
    use crate::topology::Epoch;

    #[test]
    fn only_a_paired_schema_of_the_same_database_shows_that_another_is_gone() {
        let epoch = Epoch::INITIAL;
        let key =
            |parent: &str, name: &str| ObjectKey::within(QueryKind::ExternalSchema, parent, name);
        let schema = |parent: &str, name: &str, id: i64| QueryObject {
            created: Some(Timestamp::from_secs(id)),
            ..QueryObject::normalized(key(parent, name), Fields::new())
        };
        let seen = |parent: &str, id: i64, state, since: i64| {
            let (known, now) = (schema(parent, "s", 7), schema(parent, "s", id));
            let at = Timestamp::from_secs;
            let mut row = QueryRow::new(epoch, &known.key, "", at(since));
            row.pair(epoch, &known, &known);
            row.set_state(state, None, at(since));
            let mut missing = QueryRow::new(epoch, &key("w", "gone"), "", at(100));
            missing.reason = Some("it is missing".to_owned());
            let rows = QueryRows::from([(known.key, row), (key("w", "gone"), missing)]);
            let mut snapshot = QuerySnapshot::default();
            let object = Observation::Present(now.clone());
            snapshot.objects.insert(now.key, object);
            snapshot.control_seen(&key("w", "gone"), (&rows, epoch.primary()))
        };
        assert!(seen("w", 7, SubjectState::InSync, 99));
        assert!(!seen("other", 7, SubjectState::InSync, 99));
        assert!(!seen("w", 8, SubjectState::InSync, 99), "made again");
        assert!(!seen("w", 7, SubjectState::OutOfSync, 99));
        assert!(
            !seen("w", 7, SubjectState::InSync, 100),
            "after it was missed"
        );
    }
}
