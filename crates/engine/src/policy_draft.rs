//! Reads what a policy is drafted from: the tables of the primary, and the rules of their buckets.

use crate::ports::{ReadInfrastructure, ReadRegion};
use crate::readiness::data_location;
use futures_util::future::{join, join_all};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::MaybeLink as _;
use twinlake_core::location::Location;
use twinlake_core::policy::DraftInputs;
use twinlake_core::readiness::{Reading, ReplicationRule, TableLocation};
use twinlake_core::topology::Site;
use twinlake_core::{CallError, TableId};

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
    let (tables, inventory) = join(tables(catalog), catalog.unreplicated_inventory()).await;
    let mut inputs = tables?;
    let buckets: BTreeSet<String> = inputs
        .tables
        .iter()
        .filter_map(|table| Location::parse(&table.location).ok())
        .map(|location| location.bucket().to_owned())
        .collect();
    let read = buckets.into_iter().map(async |bucket| {
        let rules = infrastructure.bucket(&bucket).await.rules;
        (bucket, rules)
    });
    let rules: BTreeMap<String, Reading<Vec<ReplicationRule>>> =
        join_all(read).await.into_iter().collect();
    let named = rules.values().filter_map(Reading::read).flatten();
    let destinations: BTreeSet<String> = named.map(|rule| rule.destination.clone()).collect();
    let read = destinations.into_iter().map(async |bucket| {
        let region = infrastructure.bucket_region(&bucket).await;
        (bucket, region.into())
    });
    let destinations = join_all(read).await.into_iter().collect();
    Ok(DraftInputs {
        primary,
        standby,
        databases: inputs.databases,
        tables: std::mem::take(&mut inputs.tables),
        rules,
        destinations,
        not_replicated: inventory.kinds,
    })
}

/// The tables of the primary.
struct TablesOfPrimary {
    databases: usize,
    tables: Vec<TableLocation>,
}

async fn tables<R: ReadRegion>(catalog: &R) -> Result<TablesOfPrimary, CallError> {
    let databases = catalog.databases().await?;
    let names: Vec<_> = databases
        .into_iter()
        .filter(|database| !database.object.is_link())
        .map(|database| database.object.name)
        .collect();
    let mut found = TablesOfPrimary {
        databases: names.len(),
        tables: Vec::new(),
    };
    let listings = names.iter().map(|name| catalog.tables(name));
    for (name, tables) in names.iter().zip(join_all(listings).await) {
        for table in tables? {
            let table = table.object;
            let id = TableId::new(name.clone(), table.name.clone());
            if table.is_link() {
                continue;
            }
            let is_iceberg = table.is_iceberg();
            let location = data_location(table);
            if let Some(location) = location.filter(|location| Location::is_s3(location)) {
                found.tables.push(TableLocation {
                    table: id,
                    location,
                    is_iceberg,
                });
            }
        }
    }
    found.tables.sort();
    Ok(found)
}
