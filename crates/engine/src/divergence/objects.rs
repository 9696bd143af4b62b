//! The versions of the objects in the locations of both Regions: those since the common point, or all of them.

use super::DivergenceContext;
use crate::ports::{Clock, Ledger, ObjectVersions, PageTokens, ReadRegion};
use futures_util::{StreamExt as _, stream};
use std::collections::BTreeMap;
use twinlake_core::canary::is_canary_key;
use twinlake_core::divergence::{
    LocationDivergence, LocationVersions, ObjectsPurpose, VersionsByKey,
};
use twinlake_core::location::{Location, LocationPair};
use twinlake_core::{TableId, Timestamp};

/// The most pages of a listing of one location: a million versions. A location that has more is said to be
/// unknown beyond.
const MAX_PAGES: usize = 1000;

/// The most versions of one location whose origin is asked for.
const MAX_REPLICA_READS: usize = 1000;

/// The locations of the tables of the primary.
pub(super) type TableLocations = BTreeMap<TableId, Location>;

/// Which versions of the objects are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct ComparedSpan {
    /// What for.
    pub(super) purpose: ObjectsPurpose,
    /// The common point: what was written before it had been replicated.
    pub(super) since: Timestamp,
    /// When the primary became it.
    pub(super) switched_at: Timestamp,
}

/// Compares the locations of every pair of the policy.
pub(super) async fn compare_locations<R: ReadRegion, L: Ledger, O: ObjectVersions, C: Clock>(
    regions: &DivergenceContext<'_, R, L, O, C>,
    span: ComparedSpan,
    tables: &TableLocations,
) -> Vec<LocationDivergence> {
    let mut locations = Vec::new();
    for pair in regions.policy.locations.pairs() {
        locations.push(compare_location(regions, span, pair, tables).await);
    }
    locations
}

async fn compare_location<R: ReadRegion, L: Ledger, O: ObjectVersions, C: Clock>(
    regions: &DivergenceContext<'_, R, L, O, C>,
    span: ComparedSpan,
    pair: &LocationPair,
    tables: &TableLocations,
) -> LocationDivergence {
    let sites = (regions.epoch.standby(), regions.epoch.primary());
    let (former, primary) = (pair.sites.get(sites.0), pair.sites.get(sites.1));
    let mut unread = BTreeMap::new();
    let since = match span.purpose.compares_everything() {
        true => None,
        false => Some(span.since),
    };
    let listed = futures_util::future::join(
        list_versions(regions.former.objects, former, since),
        list_versions(regions.primary.objects, primary, since),
    );
    let (in_former, in_primary) = listed.await;
    let mut versions = LocationVersions {
        purpose: span.purpose,
        since: span.since,
        switched_at: span.switched_at,
        ..LocationVersions::default()
    };
    for (site, (found, problem), of_site) in [
        (sites.0, in_former, &mut versions.former),
        (sites.1, in_primary, &mut versions.primary),
    ] {
        *of_site = found;
        unread.extend(problem.map(|problem| (site, problem)));
    }
    // Before a planned switch nobody asks who wrote a version: the locations are equal, or nothing is switched.
    if span.purpose == ObjectsPurpose::Report {
        let most_at_once = regions.max_concurrent_calls;
        read_replica_states(
            regions.primary.objects,
            primary,
            most_at_once,
            &mut versions,
        )
        .await;
        drop_replicas(regions.former.objects, former, most_at_once, &mut versions).await;
    }
    let start = key_prefix(primary);
    let table_of = |key: &str| {
        let key = format!("{start}{key}");
        table_at(tables, primary.bucket(), &key).cloned()
    };
    let names = (former.to_string(), primary.to_string());
    versions.compare(names, unread, &table_of)
}

/// The table whose location an object is in: of locations one within another, the innermost.
fn table_at<'t>(tables: &'t TableLocations, bucket: &str, key: &str) -> Option<&'t TableId> {
    let at = tables.iter().filter(|(_, location)| {
        location.bucket() == bucket && key.starts_with(&key_prefix(location))
    });
    let innermost = at.max_by_key(|(_, location)| key_prefix(location).len());
    innermost.map(|(table, _)| table)
}

/// The keys in a location begin with this.
fn key_prefix(location: &Location) -> String {
    let prefix = location.prefix();
    match prefix.is_empty() || prefix.ends_with('/') {
        true => prefix,
        false => format!("{prefix}/"),
    }
}

/// Lists the versions in a location, of a time or later if one is given, and why some are not known.
async fn list_versions<O: ObjectVersions>(
    objects: &O,
    location: &Location,
    since: Option<Timestamp>,
) -> (VersionsByKey, Option<String>) {
    let start = key_prefix(location);
    let mut versions = VersionsByKey::new();
    let (mut after, mut markers) = (None, PageTokens::default());
    for _ in 0..MAX_PAGES {
        let page = match objects
            .versions_page(location.bucket(), &start, after)
            .await
        {
            Ok(page) => page,
            Err(error) => return (versions, Some(format!("{}: {}", error.call, error.kind))),
        };
        for (key, version) in page.versions {
            let Some(relative) = key.strip_prefix(&start) else {
                continue;
            };
            let is_of_span = since.is_none_or(|since| version.modified_at >= since);
            if is_of_span && !is_canary_key(&key) {
                // Most keys have one version.
                let of_key = versions.entry(relative.to_owned());
                of_key
                    .or_insert_with(|| Vec::with_capacity(1))
                    .push(version);
            }
        }
        after = page.next;
        let marker = after.as_ref().map(|marker| format!("{marker:?}"));
        match markers.next(marker, ("ListObjectVersions", location.bucket())) {
            Ok(Some(_)) => {}
            Ok(None) => return (versions, None),
            Err(error) => return (versions, Some(error.to_string())),
        }
    }
    let problem = format!("it has more versions than the {MAX_PAGES} pages that are listed");
    (versions, Some(problem))
}

/// Drops the versions that the former primary alone has and that are replicas of the primary's, which has deleted
/// their keys since. What cannot be asked stays, and so does a replica without that trace: it may be one of another
/// bucket, which S3 does not replicate onwards.
async fn drop_replicas<O: ObjectVersions>(
    objects: &O,
    former: &Location,
    most_at_once: usize,
    versions: &mut LocationVersions,
) {
    let mut only_there: Vec<VersionKey> = versions
        .deleted_in_primary()
        .map(|(key, id)| (key.to_owned(), id.to_owned()))
        .collect();
    let beyond = only_there.len().saturating_sub(MAX_REPLICA_READS);
    only_there.truncate(MAX_REPLICA_READS);
    versions.unknown_origin += beyond;
    for ((key, id), is_replica) in
        ask_replica_states(objects, former, most_at_once, only_there).await
    {
        match is_replica {
            Some(true) => versions.remove_from_former(&key, &id),
            Some(false) => {}
            None => versions.unknown_origin += 1,
        }
    }
}

/// Asks the primary which of the versions that both locations have are replicas.
async fn read_replica_states<O: ObjectVersions>(
    objects: &O,
    primary: &Location,
    most_at_once: usize,
    versions: &mut LocationVersions,
) {
    let shared: Vec<VersionKey> = versions
        .shared_since_switch()
        .map(|(key, id)| (key.to_owned(), id.to_owned()))
        .collect();
    let beyond = shared.len().saturating_sub(MAX_REPLICA_READS);
    let asked = shared.into_iter().take(MAX_REPLICA_READS).collect();
    let origins = ask_replica_states(objects, primary, most_at_once, asked).await;
    let unread = origins.iter().filter(|(_, origin)| origin.is_none());
    versions.unknown_origin = beyond + unread.count();
    let replicas = origins.into_iter();
    let replicas = replicas.filter(|(_, is_replica)| *is_replica == Some(true));
    versions.replicas = replicas.map(|(version, _)| version).collect();
}

/// A key, relative to its location, and the id of a version.
type VersionKey = (String, String);

/// Asks which of these versions are replicas, several at a time; `None` for those that could not be asked.
async fn ask_replica_states<O: ObjectVersions>(
    objects: &O,
    location: &Location,
    most_at_once: usize,
    versions: Vec<VersionKey>,
) -> Vec<(VersionKey, Option<bool>)> {
    let start = key_prefix(location);
    let asked = versions.into_iter().map(|(key, id)| {
        let path = format!("{start}{key}");
        async move {
            let is_replica = objects.is_replica(location.bucket(), &path, &id).await;
            ((key, id), is_replica.ok())
        }
    });
    let asked = stream::iter(asked).buffer_unordered(most_at_once.max(1));
    asked.collect().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::Name;

    #[test]
    fn an_object_belongs_to_the_table_of_the_innermost_location() {
        let id = |name: &str| TableId::new(Name::new("d").unwrap(), Name::new(name).unwrap());
        let at = |text: &str| Location::parse(text).unwrap();
        let tables = TableLocations::from([
            (id("a"), at("s3://lake/raw")),
            (id("b"), at("s3://lake/raw/orders")),
            (id("c"), at("s3://lake/rawer")),
        ]);
        let found = |key: &str| table_at(&tables, "lake", key).cloned();
        assert_eq!(found("raw/orders/1"), Some(id("b")));
        assert_eq!(found("raw/items/1"), Some(id("a")));
        assert_eq!(found("rawer/1"), Some(id("c")));
        assert_eq!(found("other/1"), None);
        assert_eq!(table_at(&tables, "mine", "raw/1"), None);
    }
}
