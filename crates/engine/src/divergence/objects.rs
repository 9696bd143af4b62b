//! The versions of the objects in the places of both Regions since the common point.

use super::ReturningRegion;
use crate::ports::{Clock, Ledger, ObjectVersions, ReadRegion};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::canary::is_canary_key;
use twinlake_core::divergence::{PlaceDivergence, PlaceVersions, VersionsByKey};
use twinlake_core::location::{Location, LocationPair};
use twinlake_core::{TableId, Timestamp};

/// The most pages of a listing of one place: a million versions. A place that has more is said to be
/// unknown beyond.
const MAX_PAGES: usize = 1000;

/// The most versions of one place whose origin is asked for.
const MAX_ORIGINS: usize = 1000;

/// The locations of the tables of the primary.
pub(super) type TableLocations = BTreeMap<TableId, Location>;

/// Compares the places of every pair of the policy.
pub(super) async fn compare_places<R: ReadRegion, L: Ledger, O: ObjectVersions, C: Clock>(
    regions: &ReturningRegion<'_, R, L, O, C>,
    times: (Timestamp, Timestamp),
    tables: &TableLocations,
) -> Vec<PlaceDivergence> {
    let mut places = Vec::new();
    for pair in regions.policy.locations.pairs() {
        places.push(compare_place(regions, times, pair, tables).await);
    }
    places
}

async fn compare_place<R: ReadRegion, L: Ledger, O: ObjectVersions, C: Clock>(
    regions: &ReturningRegion<'_, R, L, O, C>,
    (since, switched_at): (Timestamp, Timestamp),
    pair: &LocationPair,
    tables: &TableLocations,
) -> PlaceDivergence {
    let sites = (regions.epoch.standby(), regions.epoch.primary());
    let (former, primary) = (pair.sites.get(sites.0), pair.sites.get(sites.1));
    let mut unread = BTreeMap::new();
    let listed = futures_util::future::join(
        list_versions(regions.former.objects, former, since),
        list_versions(regions.primary.objects, primary, since),
    );
    let (in_former, in_primary) = listed.await;
    let mut versions = PlaceVersions {
        switched_at,
        ..PlaceVersions::default()
    };
    for (site, (found, problem), of_site) in [
        (sites.0, in_former, &mut versions.former),
        (sites.1, in_primary, &mut versions.primary),
    ] {
        *of_site = found;
        unread.extend(problem.map(|problem| (site, problem)));
    }
    find_origins(regions.primary.objects, primary, &mut versions).await;
    drop_replicas(regions.former.objects, former, &mut versions).await;
    let start = key_prefix(primary);
    let table_of = |key: &str| {
        let key = format!("{start}{key}");
        let mut at = tables.iter().filter(|(_, location)| {
            location.bucket() == primary.bucket() && key.starts_with(&key_prefix(location))
        });
        at.next().map(|(table, _)| table.clone())
    };
    let names = (former.to_string(), primary.to_string());
    versions.compare(names, unread, &table_of)
}

/// The keys in a location begin with this.
fn key_prefix(location: &Location) -> String {
    let prefix = location.prefix();
    match prefix.is_empty() || prefix.ends_with('/') {
        true => prefix,
        false => format!("{prefix}/"),
    }
}

/// Lists the versions in a place that were written at a time or later, and why some are not known.
async fn list_versions<O: ObjectVersions>(
    objects: &O,
    place: &Location,
    since: Timestamp,
) -> (VersionsByKey, Option<String>) {
    let start = key_prefix(place);
    let mut versions = VersionsByKey::new();
    let mut after = None;
    for _ in 0..MAX_PAGES {
        let page = match objects.versions_page(place.bucket(), &start, after).await {
            Ok(page) => page,
            Err(error) => return (versions, Some(format!("{}: {}", error.call, error.kind))),
        };
        for (key, version) in page.versions {
            let Some(relative) = key.strip_prefix(&start) else {
                continue;
            };
            if version.modified_at >= since && !is_canary_key(&key) {
                let of_key = versions.entry(relative.to_owned());
                of_key.or_default().insert(version);
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return (versions, None),
        }
    }
    let problem = format!("it has more versions than the {MAX_PAGES} pages that are listed");
    (versions, Some(problem))
}

/// Drops the versions that the former primary alone has and that are replicas of the primary's: the primary has deleted
/// them. What cannot be asked stays.
async fn drop_replicas<O: ObjectVersions>(
    objects: &O,
    former: &Location,
    versions: &mut PlaceVersions,
) {
    let start = key_prefix(former);
    let only_there: Vec<(String, String)> = versions
        .only_in_former()
        .take(MAX_ORIGINS)
        .map(|(key, id)| (key.to_owned(), id.to_owned()))
        .collect();
    for (key, id) in only_there {
        let path = format!("{start}{key}");
        if matches!(
            objects.is_replica(former.bucket(), &path, &id).await,
            Ok(true)
        ) {
            versions.remove_from_former(&key, &id);
        }
    }
}

/// Asks the primary which of the versions that both places have are replicas.
async fn find_origins<O: ObjectVersions>(
    objects: &O,
    primary: &Location,
    versions: &mut PlaceVersions,
) {
    let start = key_prefix(primary);
    let shared: Vec<(String, String)> = versions
        .shared_since_switch()
        .map(|(key, id)| (key.to_owned(), id.to_owned()))
        .collect();
    let mut replicas = BTreeSet::new();
    let mut unknown = shared.len().saturating_sub(MAX_ORIGINS);
    for (key, id) in shared.into_iter().take(MAX_ORIGINS) {
        let path = format!("{start}{key}");
        match objects.is_replica(primary.bucket(), &path, &id).await {
            Ok(true) => drop(replicas.insert((key, id))),
            Ok(false) => {}
            Err(_) => unknown += 1,
        }
    }
    versions.replicas = replicas;
    versions.unknown_origin = unknown;
}
