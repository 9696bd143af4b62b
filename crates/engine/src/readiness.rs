//! Reads what the checks of the readiness look at: the buckets of the location pairs, the keys of
//! their replicas, trails, data lake settings, and where the tables lie.

use crate::ports::{Ledger, ReadInfrastructure, ReadRegion};
use futures_util::future::{join, join4};
use futures_util::stream::{self, StreamExt as _};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Attachment, MaybeLink as _};
use twinlake_core::location::{CopiedBy, Location};
use twinlake_core::readiness::{
    BucketReadings, DeployedPolicy, DeploymentReadings, KmsKey, ReadinessReadings, Reading,
    RegionReadings, TableLocation,
};
use twinlake_core::topology::{Epoch, SiteId};
use twinlake_core::{
    CallError, CallErrorKind, Facet, LfSubject, Policy, Principal, Subject, TableId, Timestamp,
};

/// Calls under way at a time, in each of the two Regions.
const MAX_CONCURRENT_CALLS: usize = 8;

/// Reads the policies in the ledgers of a deployment, and when the last complete resync began.
pub async fn read_deployment<L: Ledger>(
    primary: &L,
    standby: &L,
    now: Timestamp,
) -> DeploymentReadings {
    let verified_at = standby.verified_at().await;
    DeploymentReadings {
        primary_policy: deployed_policy(primary).await,
        standby_policy: deployed_policy(standby).await,
        seconds_since_verified: verified_at
            .map(|at| at.map(|at| now.secs() - at.secs()))
            .into(),
    }
}

async fn deployed_policy<L: Ledger>(ledger: &L) -> Reading<DeployedPolicy> {
    match ledger.policy().await {
        Ok(None) => Reading::Read(DeployedPolicy::None),
        Ok(Some(text)) => match Policy::parse(&text) {
            Ok(policy) => Reading::Read(DeployedPolicy::Digest(policy.digest().to_owned())),
            Err(error) => Reading::Unread(error.to_string()),
        },
        Err(error) if error.kind == CallErrorKind::NotFound => {
            Reading::Read(DeployedPolicy::NoLedger)
        }
        Err(error) => Reading::Unread(error.to_string()),
    }
}

/// One Region: its catalog, and what lies around it.
#[derive(Clone, Copy, Debug)]
pub struct InspectedRegion<'a, R, I> {
    /// Glue and Lake Formation.
    pub catalog: &'a R,
    /// Buckets, keys and trails.
    pub infrastructure: &'a I,
}

/// Reads what the checks look at. A read that fails is part of the result.
pub async fn read<R: ReadRegion, I: ReadInfrastructure>(
    primary: InspectedRegion<'_, R, I>,
    standby: InspectedRegion<'_, R, I>,
    policy: &Policy,
    epoch: Epoch,
    twinlake_roles: BTreeSet<Principal>,
    deployment: Option<DeploymentReadings>,
) -> ReadinessReadings {
    let (of_primary, of_standby, tables) = {
        let reads = join(
            read_region(&primary, policy, epoch.primary()),
            read_region(&standby, policy, epoch.standby()),
        );
        let ((of_primary, of_standby), tables) =
            join(reads, table_locations(primary.catalog, policy)).await;
        (of_primary, of_standby, tables)
    };
    let mut readings = ReadinessReadings {
        primary: of_primary,
        standby: of_standby,
        tables: tables.into(),
        twinlake_roles,
        deployment,
    };
    let keys = join(
        replica_keys(&readings.standby, primary.infrastructure),
        replica_keys(&readings.primary, standby.infrastructure),
    );
    (readings.primary.keys, readings.standby.keys) = keys.await;
    readings
}

async fn read_region<R: ReadRegion, I: ReadInfrastructure>(
    region: &InspectedRegion<'_, R, I>,
    policy: &Policy,
    site: SiteId,
) -> RegionReadings {
    let data_locations = Subject::LakeFormation(LfSubject::DataLocations);
    let infrastructure = join(
        read_buckets(region.infrastructure, policy, site),
        region.infrastructure.trails(),
    );
    let ((buckets, trails), settings, inventory, registrations) = join4(
        infrastructure,
        region.catalog.settings(),
        region.catalog.unreplicated_inventory(),
        region
            .catalog
            .attachments(&data_locations, Facet::Items, &[]),
    )
    .await;
    let registrations = registrations.map(|listed| {
        let attachments = listed.into_iter().map(|listed| listed.attachment);
        let registration = |attachment| match attachment {
            Attachment::Registration(registration) => Some(registration),
            Attachment::Index(_)
            | Attachment::Statistics(_)
            | Attachment::GlueTag { .. }
            | Attachment::DataCellsFilter(_)
            | Attachment::LfTagAssignment { .. }
            | Attachment::OptIn(_)
            | Attachment::LfTagValue { .. }
            | Attachment::NamedExpression(_) => None,
        };
        attachments.filter_map(registration).collect()
    });
    RegionReadings {
        region: region.catalog.region().to_owned(),
        buckets,
        keys: BTreeMap::new(),
        trails: trails.into(),
        settings: settings.map(|settings| settings.data_lake_settings).into(),
        registrations: registrations.into(),
        not_replicated: inventory.kinds,
        catalog_settings: inventory.settings,
    }
}

/// Reads the buckets of the location pairs in one site, and objects of the locations that S3
/// replicates.
async fn read_buckets<I: ReadInfrastructure>(
    infrastructure: &I,
    policy: &Policy,
    site: SiteId,
) -> BTreeMap<String, BucketReadings> {
    let pairs = policy.locations.pairs();
    let names: BTreeSet<&str> = pairs
        .iter()
        .map(|pair| pair.sites.get(site).bucket())
        .collect();
    let calls = names
        .into_iter()
        .map(async |name| (name.to_owned(), infrastructure.bucket(name).await));
    let mut buckets: BTreeMap<String, BucketReadings> = run(calls).await.into_iter().collect();
    let replicated = pairs.iter().filter(|pair| pair.copied_by == CopiedBy::S3);
    let locations = replicated.map(|pair| pair.sites.get(site));
    let samples = locations.map(async |location: &Location| {
        let (bucket, prefix) = (location.bucket(), location.prefix());
        let objects = infrastructure.sample_objects(bucket, &prefix).await;
        (bucket.to_owned(), prefix, objects)
    });
    for (bucket, prefix, objects) in run(samples).await {
        if let Some(bucket) = buckets.get_mut(&bucket) {
            bucket.objects.insert(prefix, objects.into());
        }
    }
    buckets
}

/// Reads the keys that the rules of a Region name for their replicas, in the Region of the replicas.
async fn replica_keys<I: ReadInfrastructure>(
    source: &RegionReadings,
    destination: &I,
) -> BTreeMap<String, Reading<KmsKey>> {
    let rules = source
        .buckets
        .values()
        .filter_map(|bucket| bucket.rules.read());
    let keys: BTreeSet<&String> = rules
        .flatten()
        .filter_map(|rule| rule.replica_key.as_ref())
        .collect();
    let calls = keys
        .into_iter()
        .map(async |key| (key.clone(), destination.kms_key(key).await.into()));
    run(calls).await.into_iter().collect()
}

/// The managed tables whose data is in S3, with their locations.
async fn table_locations<R: ReadRegion>(
    catalog: &R,
    policy: &Policy,
) -> Result<Vec<TableLocation>, CallError> {
    let databases = catalog.databases().await?;
    let databases = databases.into_iter().map(|database| database.object);
    let managed = databases
        .filter(|database| !database.is_link() && policy.covers_database(&database.name))
        .collect::<Vec<_>>();
    let listings = managed.iter().map(async |database| {
        let tables = catalog.tables(&database.name).await?;
        let tables = tables.into_iter().filter_map(|table| {
            let id = TableId::new(database.name.clone(), table.object.name.clone());
            let is_managed = policy.covers_table(&id) && !table.object.is_link();
            let is_iceberg = table.object.is_iceberg();
            let location = table.object.storage_descriptor?.location?;
            (is_managed && Location::is_s3(&location)).then_some(TableLocation {
                table: id,
                location,
                is_iceberg,
            })
        });
        Ok(tables.collect::<Vec<_>>())
    });
    let listings: Vec<Result<Vec<TableLocation>, CallError>> = run(listings).await;
    let mut locations = Vec::new();
    for listing in listings {
        locations.extend(listing?);
    }
    locations.sort();
    Ok(locations)
}

async fn run<T, F: Future<Output = T>>(calls: impl Iterator<Item = F>) -> Vec<T> {
    stream::iter(calls)
        .buffer_unordered(MAX_CONCURRENT_CALLS)
        .collect()
        .await
}
