//! Reads what a policy is drafted from: the tables of the primary, and the rules of their buckets.

use crate::observe::run_concurrently;
use crate::ports::{ReadInfrastructure, ReadRegion};
use crate::readiness::{MAX_CONCURRENT_CALLS, databases, tables_in_s3};
use futures_util::future::join;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::CallError;
use twinlake_core::location::Location;
use twinlake_core::policy::DraftInputs;
use twinlake_core::readiness::{Reading, ReplicationRule};
use twinlake_core::topology::Site;

/// Reads the primary, and the Regions of the buckets that its rules name. A bucket that cannot be read
/// is part of the result.
///
/// # Errors
/// The databases, or the tables of one, cannot be listed.
pub async fn read<R: ReadRegion, I: ReadInfrastructure>(
    catalog: &R,
    infrastructure: &I,
    primary: Site,
    standby: Site,
) -> Result<DraftInputs, CallError> {
    let (databases, inventory) = join(databases(catalog), catalog.unreplicated_inventory()).await;
    let databases = databases?;
    let tables = tables_in_s3(catalog, &databases).await?;
    let locations = tables
        .iter()
        .filter_map(|table| Location::parse(&table.location).ok());
    let buckets: BTreeSet<String> = locations.map(|found| found.bucket().to_owned()).collect();
    let read = buckets.into_iter().map(async |bucket| {
        let rules = infrastructure.replication_rules(&bucket).await;
        (bucket, rules.into())
    });
    let rules: BTreeMap<String, Reading<Vec<ReplicationRule>>> =
        run_concurrently(read, MAX_CONCURRENT_CALLS)
            .await
            .into_iter()
            .collect();
    let named = rules.values().filter_map(Reading::read).flatten();
    let destinations: BTreeSet<String> = named.map(|rule| rule.destination.clone()).collect();
    let read = destinations.into_iter().map(async |bucket| {
        let region = infrastructure.bucket_region(&bucket).await;
        (bucket, region.into())
    });
    let destinations = run_concurrently(read, MAX_CONCURRENT_CALLS)
        .await
        .into_iter()
        .collect();
    Ok(DraftInputs {
        primary,
        standby,
        databases: databases.len(),
        tables,
        rules,
        destinations,
        not_replicated: inventory.kinds,
    })
}
