//! What differs between the objects of two places that replicate to each other, by the versions that S3 lists
//! in both.
//!
//! A replica has the version id and the time of its source. So a version that both places list was
//! replicated, whichever wrote it, and one that a single place lists was written there and has not arrived in
//! the other. Where something other than S3 copies the objects, or a bucket keeps no versions, a copy is
//! recognized by its `ETag`.

use crate::catalog::digest;
use crate::name::TableId;
use crate::timestamp::Timestamp;
use crate::topology::SiteId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The most keys of a place that a report lists. Its digest covers all of them.
pub const MAX_LISTED_KEYS: usize = 1000;

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
}

/// The versions in one place since the common point, by key. Keys are relative to the place.
pub type VersionsByKey = BTreeMap<String, BTreeSet<ListedVersion>>;

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
    /// The key, relative to the place.
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

/// What differs in a pair of places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceDivergence {
    /// The place in the former primary.
    pub former: String,
    /// The place in the primary.
    pub primary: String,
    /// Why the versions in a place are not known, or not all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unread: BTreeMap<SiteId, String>,
    /// The number of keys by divergence.
    pub counts: BTreeMap<KeyDivergence, usize>,
    /// The first keys: at most [`MAX_LISTED_KEYS`].
    pub keys: Vec<DivergentKey>,
    /// A digest of all keys of which the primary lacks versions, with these versions. What the writers of the primary
    /// do does not change it.
    pub keys_digest: String,
    /// The number of versions of unknown origin that both places list: who wrote them was not asked, because
    /// there are too many, or could not be read.
    #[serde(default)]
    pub unknown_origin: usize,
}

/// The versions of both places, and what is known of those that both have.
#[derive(Clone, Debug, Default)]
pub struct PlaceVersions {
    /// Those in the former primary.
    pub former: VersionsByKey,
    /// Those in the primary.
    pub primary: VersionsByKey,
    /// When the primary became it.
    pub switched_at: Timestamp,
    /// Of the versions that both have and that were written since the switch: the keys and version ids of
    /// those that are replicas in the primary.
    pub replicas: BTreeSet<(String, String)>,
    /// Of these versions: how many nobody knows the origin of.
    pub unknown_origin: usize,
}

impl PlaceVersions {
    /// The keys and ids of the versions that both places list and that were written since the switch. Of a
    /// delete marker S3 does not say who wrote it.
    pub fn shared_since_switch(&self) -> impl Iterator<Item = (&str, &str)> {
        let keys = self.primary.iter();
        keys.flat_map(move |(key, versions)| {
            let is_shared = move |version: &&ListedVersion| {
                let former = self.former.get(key);
                let is_object = !version.is_delete_marker && version.version_id != NULL_VERSION;
                is_object
                    && version.modified_at >= self.switched_at
                    && former.is_some_and(|former| is_in(version, former))
            };
            let shared = versions.iter().filter(is_shared);
            shared.map(move |version| (key.as_str(), version.version_id.as_str()))
        })
    }

    /// The keys and ids of the versions that the former primary alone lists. One of them that is a replica there was
    /// written in the primary, which has deleted it since, as a lifecycle rule does.
    pub fn only_in_former(&self) -> impl Iterator<Item = (&str, &str)> {
        self.former.iter().flat_map(move |(key, versions)| {
            let is_only_there = move |version: &&ListedVersion| {
                let primary = self.primary.get(key);
                let is_object = !version.is_delete_marker && version.version_id != NULL_VERSION;
                is_object && primary.is_none_or(|primary| !is_in(version, primary))
            };
            let only_there = versions.iter().filter(is_only_there);
            only_there.map(move |version| (key.as_str(), version.version_id.as_str()))
        })
    }

    /// Removes a version from those of the former primary.
    pub fn remove_from_former(&mut self, key: &str, version_id: &str) {
        if let Some(versions) = self.former.get_mut(key) {
            versions.retain(|version| version.version_id != version_id);
        }
    }

    /// Compares the places. `table_of` names the table whose location contains a key.
    #[must_use]
    pub fn compare(
        &self,
        (former, primary): (String, String),
        unread: BTreeMap<SiteId, String>,
        table_of: &dyn Fn(&str) -> Option<TableId>,
    ) -> PlaceDivergence {
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
        PlaceDivergence {
            former,
            primary,
            unread,
            counts,
            keys_digest,
            keys: divergent.into_iter().take(MAX_LISTED_KEYS).collect(),
            unknown_origin: self.unknown_origin,
        }
    }

    fn divergent_key(
        &self,
        key: &str,
        former: &BTreeSet<ListedVersion>,
        table_of: &dyn Fn(&str) -> Option<TableId>,
    ) -> Option<(DivergentKey, GivenUp)> {
        let none = BTreeSet::new();
        let primary = self.primary.get(key).unwrap_or(&none);
        let (shared, only_there): (Vec<_>, Vec<_>) =
            former.iter().partition(|version| is_in(version, primary));
        let is_only_here = primary.iter().any(|version| !is_in(version, former));
        let came_late = |version: &ListedVersion| {
            let id = (key.to_owned(), version.version_id.clone());
            version.is_delete_marker || self.replicas.contains(&id)
        };
        let late: Vec<&ListedVersion> = shared
            .iter()
            .copied()
            .filter(|version| came_late(version) || version.modified_at < self.switched_at)
            .collect();
        let divergence = if is_only_here && !(only_there.is_empty() && late.is_empty()) {
            KeyDivergence::WrittenInBoth
        } else if !only_there.is_empty() {
            KeyDivergence::OnlyInFormer
        } else if late.iter().any(|version| came_late(version)) {
            KeyDivergence::ArrivedLate
        } else {
            return None;
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
}

/// A key, and the ids of its versions that the primary lacks.
type GivenUp = (String, BTreeSet<String>);

/// The version that S3 gives to objects that are written without versioning.
const NULL_VERSION: &str = "null";

/// Whether another place has this version, or a copy of the same content.
fn is_in(version: &ListedVersion, versions: &BTreeSet<ListedVersion>) -> bool {
    let has_id = version.version_id != NULL_VERSION;
    versions.iter().any(|other| {
        let is_same_version = has_id && other.version_id == version.version_id;
        let is_same_content = version.e_tag.is_some() && other.e_tag == version.e_tag;
        is_same_version || is_same_content
    })
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
                .insert(version.clone());
        }
        keys
    }

    fn compare(
        former: &[(&str, ListedVersion)],
        primary: &[(&str, ListedVersion)],
        replicas: &[(&str, &str)],
    ) -> Vec<(String, KeyDivergence)> {
        let versions = PlaceVersions {
            former: by_key(former),
            primary: by_key(primary),
            switched_at: Timestamp::from_secs(SWITCH),
            replicas: replicas
                .iter()
                .map(|(key, id)| ((*key).to_owned(), (*id).to_owned()))
                .collect(),
            unknown_origin: 0,
        };
        let places = ("s3://a/".to_owned(), "s3://b/".to_owned());
        let compared = versions.compare(places, BTreeMap::new(), &|_| None);
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
        former.get_mut("k").unwrap().insert(object("4", 1300));
        let versions = PlaceVersions {
            former,
            primary: by_key(&all),
            switched_at: Timestamp::from_secs(SWITCH),
            ..PlaceVersions::default()
        };
        let asked: Vec<_> = versions.shared_since_switch().collect();
        assert_eq!(asked, [("k", "2")]);
    }

    #[test]
    fn the_digest_covers_keys_that_are_not_listed() {
        let many = |last: &str| {
            let keys = (0..=MAX_LISTED_KEYS).map(|n| (format!("{n:05}"), object("1", 1100)));
            let mut former: VersionsByKey =
                keys.map(|(key, version)| (key, [version].into())).collect();
            let last = object(last, 1100);
            former.insert("z".to_owned(), [last].into());
            let versions = PlaceVersions {
                former,
                ..PlaceVersions::default()
            };
            let places = ("s3://a/".to_owned(), "s3://b/".to_owned());
            versions.compare(places, BTreeMap::new(), &|_| None)
        };
        let (one, other) = (many("1"), many("2"));
        assert_eq!(one.keys, other.keys);
        assert_eq!(
            one.counts[&KeyDivergence::OnlyInFormer],
            MAX_LISTED_KEYS + 2
        );
        assert_ne!(one.keys_digest, other.keys_digest);
    }
}
