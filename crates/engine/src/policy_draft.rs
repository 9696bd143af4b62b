//! Reads what a policy is drafted from: the tables of the primary, and the rules of their buckets; and
//! the size of the primary, from which calls and cost are projected.

mod inventory;

use crate::call_projection::LakeInventory;
use crate::observe::run_concurrently;
use crate::ports::{ReadInfrastructure, ReadQueryRegion, ReadRegion};
use crate::readiness::{MAX_CONCURRENT_CALLS, list_tables};
use futures_util::future::join;
use inventory::ListedTable;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::MaybeLink as _;
use twinlake_core::location::Location;
use twinlake_core::policy::{DraftInputs, DraftWorkGroup, DraftWorkGroups};
use twinlake_core::query::QueryKind;
use twinlake_core::readiness::{Reading, ReplicationRule, TableLocation, Trail};
use twinlake_core::topology::Site;
use twinlake_core::{CallError, Name, Policy};

/// What was read of a primary.
#[derive(Clone, Debug)]
pub struct DraftReadings {
    /// What the policy is drafted from.
    pub inputs: DraftInputs,
    databases: Vec<Name>,
    database_links: usize,
    tables: Vec<ListedTable>,
}

/// Reads the primary (but not the aliases of keys, and the workgroups), the Regions of the buckets that its rules name, and the trails of both Regions, of
/// which `infrastructure` has the primary's first. A bucket or trail that cannot be read is part of the
/// result.
///
/// # Errors
/// The databases, or the tables of one, cannot be listed.
pub async fn read<R: ReadRegion, I: ReadInfrastructure>(
    catalog: &R,
    infrastructure: (&I, &I),
    primary: Site,
    standby: Site,
) -> Result<DraftReadings, CallError> {
    let (listed, inventory) = join(catalog.databases(), catalog.unreplicated_inventory()).await;
    let listed = listed?.into_iter().map(|database| database.object);
    let (links, own): (Vec<_>, Vec<_>) = listed.partition(|database| database.is_link());
    let databases: Vec<Name> = own.into_iter().map(|database| database.name).collect();
    let tables = list_tables(catalog, &databases, ListedTable::new).await?;
    let located = tables.iter().filter_map(|table| table.location.clone());
    let mut located: Vec<_> = located.collect();
    located.sort();
    let (rules, destinations) = read_rules(infrastructure.0, &located).await;
    let trails = join(infrastructure.0.trails(), infrastructure.1.trails()).await;
    let trails: BTreeMap<String, Reading<Vec<Trail>>> = BTreeMap::from([
        (primary.region.clone(), trails.0.into()),
        (standby.region.clone(), trails.1.into()),
    ]);
    Ok(DraftReadings {
        inputs: DraftInputs {
            primary,
            standby,
            databases: databases.len(),
            tables: located,
            rules,
            destinations,
            key_aliases: BTreeMap::new(),
            trails,
            workgroups: Reading::Read(BTreeMap::new()),
            standby_workgroups: Reading::Read(BTreeMap::new()),
            not_replicated: inventory.kinds,
        },
        database_links: links.len(),
        databases,
        tables,
    })
}

/// The fields of a workgroup that name KMS keys.
const WORKGROUP_KEYS: [&str; 3] = [
    "Configuration.ResultConfiguration.EncryptionConfiguration.KmsKey",
    "Configuration.ManagedQueryResultsConfiguration.EncryptionConfiguration.KmsKey",
    "Configuration.CustomerContentEncryptionConfiguration.KmsKey",
];

/// The places and keys of a Region's workgroups. A workgroup that cannot be read is part of the result.
async fn workgroups<Q: ReadQueryRegion>(athena: &Q) -> Reading<DraftWorkGroups> {
    let listed = athena.list(QueryKind::WorkGroup, None, false).await;
    let groups = listed.map(|groups| {
        let groups = groups.into_iter().map(|(key, group)| {
            let group = group.map(|group| DraftWorkGroup {
                result_location: group
                    .text("Configuration.ResultConfiguration.OutputLocation")
                    .map(str::to_owned),
                kms_keys: (WORKGROUP_KEYS.iter())
                    .filter_map(|path| group.text(path).map(str::to_owned))
                    .collect(),
            });
            (key.id, group.into())
        });
        groups.collect()
    });
    groups.into()
}

impl DraftReadings {
    /// Adds the workgroups of Athena of both Regions to what the policy is drafted from.
    pub async fn add_workgroups<Q: ReadQueryRegion>(&mut self, primary: &Q, standby: &Q) {
        let (of_primary, of_standby) = join(workgroups(primary), workgroups(standby)).await;
        self.inputs.workgroups = of_primary;
        self.inputs.standby_workgroups = of_standby;
    }

    /// Reads the rest of the size of the primary: grants, LF-Tags, and the partitions of tables, as far
    /// as few calls count them. What Twinlake carries is decided by a policy.
    ///
    /// # Errors
    /// Grants, LF-Tags or partitions cannot be listed.
    pub async fn lake_inventory<R: ReadRegion>(
        &self,
        catalog: &R,
        policy: &Policy,
    ) -> Result<LakeInventory, CallError> {
        inventory::read(
            catalog,
            (self.databases.as_slice(), self.database_links),
            &self.tables,
            policy,
        )
        .await
    }
}

type Rules = BTreeMap<String, Reading<Vec<ReplicationRule>>>;
type Destinations = BTreeMap<String, Reading<Option<String>>>;

/// The rules of the buckets of tables, and the Regions of their destinations.
async fn read_rules<I: ReadInfrastructure>(
    infrastructure: &I,
    tables: &[TableLocation],
) -> (Rules, Destinations) {
    let locations = tables
        .iter()
        .filter_map(|table| Location::parse(&table.location).ok());
    let buckets: BTreeSet<String> = locations.map(|found| found.bucket().to_owned()).collect();
    let read = buckets.into_iter().map(async |bucket| {
        let rules = infrastructure.replication_rules(&bucket).await;
        (bucket, rules.into())
    });
    let rules: Rules = run_concurrently(read, MAX_CONCURRENT_CALLS)
        .await
        .into_iter()
        .collect();
    let named = rules.values().filter_map(Reading::read).flatten();
    let destinations: BTreeSet<String> = named.map(|rule| rule.destination.clone()).collect();
    let read = destinations.into_iter().map(async |bucket| {
        let region = infrastructure.bucket_region(&bucket).await;
        (bucket, region.into())
    });
    let destinations = run_concurrently(read, MAX_CONCURRENT_CALLS).await;
    (rules, destinations.into_iter().collect())
}
