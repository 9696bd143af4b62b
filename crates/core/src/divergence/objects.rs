//! What differs between the objects of two locations that replicate to each other, by the versions that S3 lists
//! in both.
//!
//! A replica has the version id and the time of its source. So a version that both locations list was
//! replicated, whichever wrote it, and one that a single location lists was written there and has not arrived in
//! the other. Where something other than S3 copies the objects, or a bucket keeps no versions, a copy is
//! recognized by its `ETag`: of the current versions, or of versions of which each is the copy of one other.
//! That a location has an older version with the same content does not mean that a later one has arrived.

use crate::catalog::digest;
use crate::name::TableId;
use crate::timestamp::Timestamp;
use crate::topology::SiteId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A version of an object, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedVersion {
    /// `VersionId`; `null` for an object that was written without versioning.
    pub version_id: String,
    /// `ETag`; a delete marker has none.
    pub e_tag: Option<String>,
    /// `LastModified`: a replica has that of its source.
    pub modified_at: Timestamp,
    /// Whether it is a delete marker.
    pub is_delete_marker: bool,
    /// `IsLatest`: whether it is what readers of the key see. Other versions are noncurrent.
    pub is_latest: bool,
}

/// What a comparison of objects is for: it decides which of them count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObjectsPurpose {
    /// The report after a failover: versions since the common point.
    #[default]
    Report,
    /// A planned switch, before its epoch: of every key, readers have to see the same in both locations. Of noncurrent
    /// versions and their delete markers, those since the common point have to be there, too: S3 may still be
    /// replicating them, and lifecycle rules remove none that became noncurrent less than a day ago.
    BeforeEpoch,
    /// A planned switch, after its epoch: the same versions have to be there. Writers of the new primary may have
    /// replaced them.
    BeforeHandOver,
}

impl ObjectsPurpose {
    /// Whether versions from before the common point are compared.
    #[must_use]
    pub const fn compares_everything(self) -> bool {
        match self {
            Self::Report => false,
            Self::BeforeEpoch | Self::BeforeHandOver => true,
        }
    }
}

/// The versions in one location, by key. Keys are relative to the location.
pub type VersionsByKey = BTreeMap<String, Vec<ListedVersion>>;

/// What is known about a key that the former primary has written since the common point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyDivergence {
    /// The former primary has versions that the primary does not have.
    OnlyInFormer,
    /// Versions of the former primary have arrived in the primary since the switch, or a delete marker.
    ArrivedLate,
    /// Both Regions have written it.
    WrittenInBoth,
}

impl KeyDivergence {
    /// Whether the primary lacks something of the former primary. What has arrived late is there.
    #[must_use]
    pub const fn is_given_up(self) -> bool {
        match self {
            Self::OnlyInFormer | Self::WrittenInBoth => true,
            Self::ArrivedLate => false,
        }
    }
}

impl fmt::Display for KeyDivergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnlyInFormer => "only there",
            Self::ArrivedLate => "arrived late",
            Self::WrittenInBoth => "written in both",
        })
    }
}

/// A key that the former primary has written since the common point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DivergentKey {
    /// The key, relative to the location.
    pub key: String,
    /// The table whose location contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableId>,
    /// What is known about it.
    pub divergence: KeyDivergence,
    /// The versions of the former primary.
    pub versions: BTreeSet<String>,
    /// Whether one of these versions is a delete marker.
    pub has_delete_marker: bool,
}

/// What differs in a pair of locations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocationDivergence {
    /// The location in the former primary.
    pub former: String,
    /// The location in the primary.
    pub primary: String,
    /// Objects are compared that were written at this time or later. `None` for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why the versions in a location are not known, or not all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unread: BTreeMap<SiteId, String>,
    /// The number of keys by divergence.
    pub counts: BTreeMap<KeyDivergence, usize>,
    /// All of these keys: what a person accepts by the digest is listed. They are as many as the versions that were
    /// read, at most.
    pub keys: Vec<DivergentKey>,
    /// A digest of all keys of which the primary lacks versions, with these versions. What the writers of the primary
    /// do does not change it.
    pub keys_digest: String,
    /// The number of versions of unknown origin: who wrote them was not asked, because there are too many, or could not
    /// be read.
    #[serde(default)]
    pub unknown_origin: usize,
}

/// The versions of both locations, and what is known of those that both have.
#[derive(Clone, Debug, Default)]
pub struct LocationVersions {
    /// Those in the former primary.
    pub former: VersionsByKey,
    /// Those in the primary.
    pub primary: VersionsByKey,
    /// What they are compared for.
    pub purpose: ObjectsPurpose,
    /// The common point.
    pub since: Timestamp,
    /// When the primary became it.
    pub switched_at: Timestamp,
    /// Of the versions that both have and that were written since the switch: the keys and version ids of
    /// those that are replicas in the primary.
    pub replicas: BTreeSet<(String, String)>,
    /// Of these versions, and of those that the primary has deleted: how many nobody knows the origin of.
    pub unknown_origin: usize,
}

impl LocationVersions {
    /// The keys and ids of the versions that both locations list and that were written since the switch. Of a
    /// delete marker S3 does not say who wrote it.
    pub fn shared_since_switch(&self) -> impl Iterator<Item = (&str, &str)> {
        let keys = self.primary.iter();
        keys.flat_map(move |(key, versions)| {
            let is_shared = move |version: &&ListedVersion| {
                let former = self.former.get(key);
                let is_object = !version.is_delete_marker && version.version_id != NULL_VERSION;
                is_object
                    && version.modified_at >= self.switched_at
                    && former
                        .is_some_and(|former| lists(former, version) || has_copy(former, version))
            };
            let shared = versions.iter().filter(is_shared);
            shared.map(move |version| (key.as_str(), version.version_id.as_str()))
        })
    }

    /// The keys and ids of the versions that the former primary alone lists, of keys that the primary has deleted
    /// since by a delete marker of its own. One of them that is a replica there was written in the primary, as far as
    /// the location shows: S3 does not say of which bucket an object is a replica, and another bucket may replicate to
    /// the former primary. So without that marker, it counts as only there.
    pub fn deleted_in_primary(&self) -> impl Iterator<Item = (&str, &str)> {
        self.former.iter().flat_map(move |(key, former)| {
            let primary = self.primary.get(key).map_or(&[][..], Vec::as_slice);
            let markers = primary
                .iter()
                .filter(|version| version.is_delete_marker && !lists(former, version));
            let deleted_at = markers.map(|marker| marker.modified_at).max();
            let (_, only_there) = matched(former, primary);
            let candidates = only_there.into_iter().filter(move |version| {
                let is_object = !version.is_delete_marker && version.version_id != NULL_VERSION;
                is_object && deleted_at.is_some_and(|at| version.modified_at <= at)
            });
            candidates.map(move |version| (key.as_str(), version.version_id.as_str()))
        })
    }

    /// Removes a version from those of the former primary.
    pub fn remove_from_former(&mut self, key: &str, version_id: &str) {
        if let Some(versions) = self.former.get_mut(key) {
            versions.retain(|version| version.version_id != version_id);
        }
    }

    /// Compares the locations. `table_of` names the table whose location contains a key.
    #[must_use]
    pub fn compare(
        &self,
        (former, primary): (String, String),
        unread: BTreeMap<SiteId, String>,
        table_of: &dyn Fn(&str) -> Option<TableId>,
    ) -> LocationDivergence {
        let keys = self.former.iter();
        let divergent: Vec<(DivergentKey, GivenUp)> = keys
            .filter_map(|(key, versions)| self.divergent_key(key, versions, table_of))
            .collect();
        let given_up = divergent.iter().map(|(_, given_up)| given_up);
        let keys_digest = digest(
            &given_up
                .filter(|(_, ids)| !ids.is_empty())
                .collect::<Vec<_>>(),
        );
        let divergent: Vec<DivergentKey> = divergent.into_iter().map(|(key, _)| key).collect();
        let mut counts = BTreeMap::new();
        for key in &divergent {
            *counts.entry(key.divergence).or_default() += 1;
        }
        LocationDivergence {
            former,
            primary,
            since: Some(self.since).filter(|since| {
                *since > Timestamp::default() && !self.purpose.compares_everything()
            }),
            unread,
            counts,
            keys_digest,
            keys: divergent,
            unknown_origin: self.unknown_origin,
        }
    }

    fn divergent_key(
        &self,
        key: &str,
        former: &[ListedVersion],
        table_of: &dyn Fn(&str) -> Option<TableId>,
    ) -> Option<(DivergentKey, GivenUp)> {
        let primary = self.primary.get(key).map_or(&[][..], Vec::as_slice);
        let (shared, only_there) = matched(former, primary);
        let only_there: Vec<&ListedVersion> = only_there
            .into_iter()
            .filter(|version| self.counts(version, primary))
            .collect();
        let came_late = |version: &ListedVersion| {
            let id = (key.to_owned(), version.version_id.clone());
            version.is_delete_marker || self.replicas.contains(&id)
        };
        let late: Vec<&ListedVersion> = shared
            .into_iter()
            .filter(|_| !self.purpose.compares_everything())
            .filter(|version| came_late(version) || version.modified_at < self.switched_at)
            .collect();
        let is_only_here = !matched(primary, former).1.is_empty();
        let divergence = if is_only_here && !only_there.is_empty() {
            KeyDivergence::WrittenInBoth
        } else if !only_there.is_empty() {
            KeyDivergence::OnlyInFormer
        } else {
            let any_came_late = late.iter().any(|version| came_late(version));
            let late = (late.len(), any_came_late);
            self.divergence_of_shared(former, primary, is_only_here, late)?
        };
        let ids = only_there.iter().map(|version| version.version_id.clone());
        let given_up: GivenUp = (key.to_owned(), ids.collect());
        let versions = only_there.into_iter().chain(late);
        let versions: BTreeSet<&ListedVersion> = versions.collect();
        let divergent = DivergentKey {
            key: key.to_owned(),
            table: table_of(key),
            divergence,
            has_delete_marker: versions.iter().any(|version| version.is_delete_marker),
            versions: versions
                .into_iter()
                .map(|version| version.version_id.clone())
                .collect(),
        };
        Some((divergent, given_up))
    }

    /// What is known of a key of which the primary has all versions that count.
    fn divergence_of_shared(
        &self,
        former: &[ListedVersion],
        primary: &[ListedVersion],
        is_only_here: bool,
        late: (usize, bool),
    ) -> Option<KeyDivergence> {
        let (late, any_came_late) = late;
        match self.purpose {
            ObjectsPurpose::Report if is_only_here && late > 0 => {
                Some(KeyDivergence::WrittenInBoth)
            }
            ObjectsPurpose::Report => any_came_late.then_some(KeyDivergence::ArrivedLate),
            ObjectsPurpose::BeforeEpoch => {
                (!see_the_same(former, primary)).then_some(KeyDivergence::WrittenInBoth)
            }
            ObjectsPurpose::BeforeHandOver => None,
        }
    }

    /// Whether a version counts that the primary does not list.
    fn counts(&self, version: &ListedVersion, primary: &[ListedVersion]) -> bool {
        if !self.purpose.compares_everything() {
            return true;
        }
        match version.is_latest {
            // Where the primary shows no object, either, there is nothing to delete.
            true => !version.is_delete_marker || current_object(primary).is_some(),
            false => version.modified_at >= self.since,
        }
    }
}

/// A key, and the ids of its versions that the primary lacks.
type GivenUp = (String, BTreeSet<String>);

/// The version that S3 gives to objects that are written without versioning.
const NULL_VERSION: &str = "null";

/// Whether a location lists this version by its id.
fn lists(versions: &[ListedVersion], version: &ListedVersion) -> bool {
    let has_id = version.version_id != NULL_VERSION;
    let mut all = versions.iter();
    has_id && all.any(|other| other.version_id == version.version_id)
}

/// Whether a location lists a version with the same content.
fn has_copy(versions: &[ListedVersion], version: &ListedVersion) -> bool {
    versions.iter().any(|other| is_same_content(version, other))
}

fn is_same_content(one: &ListedVersion, other: &ListedVersion) -> bool {
    one.e_tag.is_some() && one.e_tag == other.e_tag
}

/// The object that readers of a key see.
fn current_object(versions: &[ListedVersion]) -> Option<&ListedVersion> {
    let mut latest = versions.iter().filter(|version| version.is_latest);
    latest.next().filter(|version| !version.is_delete_marker)
}

/// Whether readers of a key see the same in both locations.
fn see_the_same(one: &[ListedVersion], other: &[ListedVersion]) -> bool {
    match (current_object(one), current_object(other)) {
        (None, None) => true,
        (Some(one), Some(version)) => {
            lists(std::slice::from_ref(version), one) || is_same_content(one, version)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Parts the versions of a key in one location into those that the other location has, by their ids or as copies, and
/// those that it has not. A current version is there if the current one of the other location has its content, or if a
/// copy is left for it after each older version had one. Of a noncurrent version any copy will do.
fn matched<'a>(
    versions: &'a [ListedVersion],
    others: &[ListedVersion],
) -> (Vec<&'a ListedVersion>, Vec<&'a ListedVersion>) {
    let (mut shared, mut left): (Vec<_>, Vec<_>) =
        versions.iter().partition(|version| lists(others, version));
    left.sort_by_key(|version| (version.is_latest, version.modified_at));
    let current = current_object(others).filter(|other| {
        let current = current_object(versions);
        current.is_some_and(|version| is_same_content(version, other))
    });
    let mut copies: Vec<&ListedVersion> = others
        .iter()
        .filter(|other| !lists(versions, other) && Some(*other) != current)
        .collect();
    let mut only_there = Vec::new();
    for version in left {
        let mut all = copies.iter();
        let is_there = if version.is_latest && current.is_some() {
            true
        } else if let Some(at) = all.position(|other| is_same_content(version, other)) {
            copies.swap_remove(at);
            true
        } else {
            !version.is_latest && has_copy(others, version)
        };
        match is_there {
            true => shared.push(version),
            false => only_there.push(version),
        }
    }
    (shared, only_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWITCH: i64 = 1000;

    fn object(id: &str, secs: i64) -> ListedVersion {
        ListedVersion {
            version_id: id.to_owned(),
            e_tag: Some(format!("content of {id}")),
            modified_at: Timestamp::from_secs(secs),
            is_delete_marker: false,
            is_latest: false,
        }
    }

    fn marker(id: &str, secs: i64) -> ListedVersion {
        ListedVersion {
            e_tag: None,
            is_delete_marker: true,
            ..object(id, secs)
        }
    }

    fn by_key(versions: &[(&str, ListedVersion)]) -> VersionsByKey {
        let mut keys = VersionsByKey::new();
        for (key, version) in versions {
            keys.entry((*key).to_owned())
                .or_default()
                .push(version.clone());
        }
        for versions in keys.values_mut() {
            let newest = versions
                .iter_mut()
                .max_by_key(|version| version.modified_at);
            newest.unwrap().is_latest = true;
        }
        keys
    }

    fn compare(
        former: &[(&str, ListedVersion)],
        primary: &[(&str, ListedVersion)],
        replicas: &[(&str, &str)],
    ) -> Vec<(String, KeyDivergence)> {
        let versions = LocationVersions {
            former: by_key(former),
            primary: by_key(primary),
            switched_at: Timestamp::from_secs(SWITCH),
            replicas: replicas
                .iter()
                .map(|(key, id)| ((*key).to_owned(), (*id).to_owned()))
                .collect(),
            ..LocationVersions::default()
        };
        let locations = ("s3://a/".to_owned(), "s3://b/".to_owned());
        let compared = versions.compare(locations, BTreeMap::new(), &|_| None);
        let keys = compared.keys.into_iter();
        keys.map(|key| (key.key, key.divergence)).collect()
    }

    #[test]
    fn a_version_that_only_the_former_primary_has_is_listed_whenever_it_was_written() {
        let before = [("k", object("1", 900)), ("m", marker("2", 1100))];
        let found = compare(&before, &[], &[]);
        let only = KeyDivergence::OnlyInFormer;
        assert_eq!(found, [("k".to_owned(), only), ("m".to_owned(), only)]);
    }

    #[test]
    fn what_the_primary_alone_has_written_is_not_listed() {
        assert_eq!(compare(&[], &[("k", object("1", 1100))], &[]), []);
        // It has been replicated to the former primary, and a newer one has not yet.
        let shared = ("k", object("1", 1100));
        let newer = ("k", object("2", 1200));
        assert_eq!(
            compare(
                std::slice::from_ref(&shared),
                &[shared.clone(), newer.clone()],
                &[]
            ),
            []
        );
        // The former primary wrote the one that both have.
        let found = compare(
            std::slice::from_ref(&shared),
            &[shared.clone(), newer],
            &[("k", "1")],
        );
        assert_eq!(found, [("k".to_owned(), KeyDivergence::WrittenInBoth)]);
    }

    #[test]
    fn what_arrived_late_is_listed_and_delete_markers_always_are() {
        let replica = ("k", object("1", 1100));
        let shared = std::slice::from_ref(&replica);
        assert_eq!(compare(shared, shared, &[]), []);
        let late = KeyDivergence::ArrivedLate;
        assert_eq!(
            compare(shared, shared, &[("k", "1")]),
            [("k".to_owned(), late)]
        );
        let hidden = ("k", marker("2", 900));
        let shared = std::slice::from_ref(&hidden);
        assert_eq!(compare(shared, shared, &[]), [("k".to_owned(), late)]);
        // Written before the switch, and arrived: nothing is wrong, unless the primary has written since.
        let early = ("k", object("1", 900));
        let shared = std::slice::from_ref(&early);
        assert_eq!(compare(shared, shared, &[]), []);
        let both = [early.clone(), ("k", object("3", 1100))];
        let found = compare(shared, &both, &[]);
        assert_eq!(found, [("k".to_owned(), KeyDivergence::WrittenInBoth)]);
    }

    #[test]
    fn a_copy_without_version_ids_is_recognized_by_its_content() {
        let copied = object("null", 900);
        let copy = ListedVersion {
            modified_at: Timestamp::from_secs(905),
            ..copied.clone()
        };
        assert_eq!(compare(&[("k", copied)], &[("k", copy)], &[]), []);
        let other = ListedVersion {
            e_tag: Some("other".to_owned()),
            ..object("null", 1100)
        };
        let found = compare(&[("k", object("null", 1100))], &[("k", other)], &[]);
        assert_eq!(found, [("k".to_owned(), KeyDivergence::WrittenInBoth)]);
    }

    #[test]
    fn only_objects_since_the_switch_are_asked_for_their_origin() {
        let all = [
            ("k", object("1", 900)),
            ("k", object("2", 1100)),
            ("k", marker("3", 1200)),
            ("k", object("null", 1100)),
        ];
        let mut former = by_key(&all);
        former.get_mut("k").unwrap().push(object("4", 1300));
        let versions = LocationVersions {
            former,
            primary: by_key(&all),
            switched_at: Timestamp::from_secs(SWITCH),
            ..LocationVersions::default()
        };
        let asked: Vec<_> = versions.shared_since_switch().collect();
        assert_eq!(asked, [("k", "2")]);
    }

    /// What a planned switch finds in a key, before its epoch and before it hands over. The common point is [`SWITCH`].
    fn planned(former: &[ListedVersion], primary: &[ListedVersion]) -> [Option<KeyDivergence>; 2] {
        let of_key = |versions: &[ListedVersion]| {
            let versions: Vec<_> = versions.iter().map(|one| ("k", one.clone())).collect();
            by_key(&versions)
        };
        [ObjectsPurpose::BeforeEpoch, ObjectsPurpose::BeforeHandOver].map(|purpose| {
            let versions = LocationVersions {
                former: of_key(former),
                primary: of_key(primary),
                purpose,
                since: Timestamp::from_secs(SWITCH),
                ..LocationVersions::default()
            };
            let locations = ("s3://a/".to_owned(), "s3://b/".to_owned());
            let compared = versions.compare(locations, BTreeMap::new(), &|_| None);
            assert_eq!(compared.since, None);
            compared.keys.first().map(|key| key.divergence)
        })
    }

    fn content(id: &str, content: &str, secs: i64) -> ListedVersion {
        ListedVersion {
            e_tag: Some(content.to_owned()),
            ..object(id, secs)
        }
    }

    const ONLY: Option<KeyDivergence> = Some(KeyDivergence::OnlyInFormer);
    const BOTH: Option<KeyDivergence> = Some(KeyDivergence::WrittenInBoth);

    #[test]
    fn an_older_version_with_the_same_content_does_not_stand_for_a_newer_one() {
        let (first, second, third) = (
            content("1", "A", 1100),
            content("2", "B", 1200),
            content("3", "A", 1300),
        );
        let all = [first.clone(), second.clone(), third.clone()];
        let deleted = marker("2", 1200);
        let around_marker = [first.clone(), deleted.clone(), third];
        // Copies that something else than S3 made have other ids, or none.
        let copied = [content("x", "A", 1110), content("y", "B", 1210)];
        let null = [content("null", "B", 1210)];
        for (former, primary) in [
            (&all, vec![first.clone(), second]),
            (&around_marker, vec![first, deleted]),
            (&all, copied.to_vec()),
        ] {
            assert_eq!(planned(former, &primary), [ONLY, ONLY], "{primary:?}");
            let of_key = |versions: &[ListedVersion]| {
                let versions = versions.iter().map(|one| ("k", one.clone()));
                versions.collect::<Vec<_>>()
            };
            let found = compare(&of_key(former), &of_key(&primary), &[]);
            assert_eq!(found, [("k".to_owned(), KeyDivergence::OnlyInFormer)]);
        }
        assert!(planned(&all, &null).iter().all(Option::is_some));
        // An operator has copied it: readers see the same, and so they do once the copy has come back.
        let by_hand = content("z", "B", 1300);
        let written = [content("1", "A", 1100), content("2", "B", 1200)];
        let there = [content("1", "A", 1100), by_hand.clone()];
        assert_eq!(planned(&written, &there), [None, None]);
        let back = [written[0].clone(), written[1].clone(), by_hand];
        assert_eq!(planned(&back, &there), [None, None]);
    }

    #[test]
    fn before_the_epoch_the_current_versions_count_whenever_they_were_written() {
        let old = content("1", "A", 10);
        assert_eq!(planned(std::slice::from_ref(&old), &[]), [ONLY, ONLY]);
        let replaced = [old.clone(), content("2", "B", 20)];
        // A lifecycle rule of one bucket has removed the old version.
        assert_eq!(planned(&replaced, &replaced[1..]), [None, None]);
        assert_eq!(planned(&replaced[1..], &replaced), [None, None]);
        // S3 may still be replicating what is new.
        let recent = [content("1", "A", 1100), content("2", "B", 1200)];
        assert_eq!(planned(&recent, &recent[1..]), [ONLY, ONLY]);
        // The other Region hides it behind an object or a delete marker of its own.
        let here = [old.clone(), content("9", "C", 30)];
        assert_eq!(planned(std::slice::from_ref(&old), &here), [BOTH, None]);
        let hidden = [old.clone(), marker("9", 30)];
        assert_eq!(planned(std::slice::from_ref(&old), &hidden), [BOTH, None]);
    }

    #[test]
    fn a_deletion_counts_where_the_other_location_still_shows_an_object() {
        let (old, deleted) = (content("1", "A", 10), marker("2", 20));
        let former = [old.clone(), deleted.clone()];
        assert_eq!(planned(&former, &[old]), [ONLY, ONLY]);
        assert_eq!(planned(&former, &[]), [None, None]);
        // Each lifecycle rule makes its own.
        assert_eq!(planned(&former, &[marker("3", 21)]), [None, None]);
        assert_eq!(planned(&former, &[deleted]), [None, None]);
    }

    #[test]
    fn where_nothing_is_found_before_the_epoch_readers_see_the_same_in_both() {
        let choices = [
            object("1", 10),
            content("2", "content of 1", 20),
            marker("3", 30),
            content("4", "B", 1100),
            content("5", "content of 1", 1200),
            marker("6", 1300),
            content("null", "B", 1400),
        ];
        let chosen = |bits: usize| -> Vec<ListedVersion> {
            let chosen = choices.iter().enumerate();
            let chosen = chosen.filter(|(at, _)| bits & (1 << at) != 0);
            chosen.map(|(_, version)| version.clone()).collect()
        };
        let seen = |versions: &[ListedVersion]| {
            let newest = versions.iter().max_by_key(|version| version.modified_at);
            newest.and_then(|version| version.e_tag.clone())
        };
        let mut equal = 0;
        for former in 1..1 << choices.len() {
            for primary in 0..1 << choices.len() {
                let (former, primary) = (chosen(former), chosen(primary));
                if planned(&former, &primary)[0].is_none() {
                    assert_eq!(seen(&former), seen(&primary), "{former:?} {primary:?}");
                    equal += 1;
                }
                if former == primary {
                    assert_eq!(planned(&former, &primary), [None, None]);
                }
            }
        }
        assert!(equal > choices.len());
    }

    #[test]
    fn a_replica_is_asked_about_only_if_the_primary_has_deleted_its_key_itself() {
        let former = by_key(&[
            ("deleted", object("1", 1100)),
            ("later", object("2", 1300)),
            ("untraced", object("3", 1100)),
            ("replicated", object("4", 1100)),
            ("replicated", marker("5", 1200)),
        ]);
        let primary = by_key(&[
            ("deleted", marker("6", 1200)),
            ("later", marker("7", 1200)),
            ("replicated", marker("5", 1200)),
        ]);
        let versions = LocationVersions {
            former,
            primary,
            ..LocationVersions::default()
        };
        let asked: Vec<_> = versions.deleted_in_primary().collect();
        assert_eq!(asked, [("deleted", "1")]);
    }

    #[test]
    fn every_key_that_is_counted_is_listed_and_the_digest_covers_all() {
        let many = |last: &str| {
            let keys = (0..5000).map(|n| (format!("{n:05}"), object("1", 1100)));
            let mut former: VersionsByKey =
                keys.map(|(key, version)| (key, vec![version])).collect();
            former.insert("z".to_owned(), vec![object(last, 1100)]);
            let versions = LocationVersions {
                former,
                ..LocationVersions::default()
            };
            let locations = ("s3://a/".to_owned(), "s3://b/".to_owned());
            versions.compare(locations, BTreeMap::new(), &|_| None)
        };
        let (one, other) = (many("1"), many("2"));
        assert_eq!(one.counts[&KeyDivergence::OnlyInFormer], 5001);
        assert_eq!(one.keys.len(), 5001);
        assert_ne!(one.keys_digest, other.keys_digest);
    }
}
