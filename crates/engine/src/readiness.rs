//! Reads what the checks of the readiness look at: the buckets of the location pairs, the keys of
//! their replicas, trails, data lake settings, and where the tables lie.

mod access;
mod references;

use crate::failover::abandoned_grants;
use crate::observe::run_concurrently;
use crate::operation_document::OperationConfig;
use crate::ports::{Ledger, ReadIam, ReadInfrastructure, ReadRegion, StatsStore};
use futures_util::future::{join, join4};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Attachment, MaybeLink as _};
use twinlake_core::location::{CopiedBy, Location};
use twinlake_core::readiness::{
    BucketReadings, CHECKED_QUOTAS, DeployedPolicy, DeploymentReadings, KmsKey, ObjectEncryption,
    ObjectSample, QuotaReadings, ReadinessReadings, Reading, RegionReadings, SampledObject,
    TableLocation,
};
use twinlake_core::topology::{Epoch, SiteId};
use twinlake_core::{
    CallError, CallErrorKind, Facet, LfSubject, Name, Policy, Principal, Subject, Table, TableId,
    Timestamp,
};

/// Calls under way at a time, in each of the two Regions.
pub(crate) const MAX_CONCURRENT_CALLS: usize = 8;

/// The locations of tables whose objects are looked at.
const MAX_SAMPLED_LOCATIONS: usize = 100;

/// Reads the policies and canaries in the ledgers of a deployment, and when the last complete resync began.
pub async fn read_deployment<L: Ledger + StatsStore>(
    primary: &L,
    standby: &L,
    now: Timestamp,
) -> DeploymentReadings {
    let verified_at = standby.verified_at().await;
    // An unreadable document changes nothing: the defaults apply.
    let operation = OperationConfig::load(standby).await;
    let operation = operation
        .map(|(operation, _)| operation)
        .unwrap_or_default();
    DeploymentReadings {
        primary_policy: deployed_policy(primary).await,
        standby_policy: deployed_policy(standby).await,
        primary_canaries: primary.canaries().await.into(),
        standby_canaries: standby.canaries().await.into(),
        read_at: now,
        seconds_since_verified: verified_at
            .map(|at| {
                at.map(|at| now.secs() - at.secs())
                    .filter(|age| *age >= -60)
            })
            .into(),
        verified_age_limit_secs: operation.verified_age_limit_secs(),
        abandoned_grants: abandoned_grants(standby, now).await.into(),
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

/// Who reads, and what is known of the deployment.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The principal that reads.
    pub reader: Principal,
    /// The roles of Twinlake, as the operator names them.
    pub twinlake_roles: BTreeSet<Principal>,
    /// The deployment; `None` if the ledger is kept in a file.
    pub deployment: Option<DeploymentReadings>,
}

/// Reads what the checks look at. A read that fails is part of the result.
pub async fn read<P: ReadRegion, S: ReadRegion, I: ReadInfrastructure + ReadIam>(
    primary: InspectedRegion<'_, P, I>,
    standby: InspectedRegion<'_, S, I>,
    policy: &Policy,
    epoch: Epoch,
    inspection: Inspection,
) -> ReadinessReadings {
    let regions = join(
        read_region(&primary, policy, epoch.primary()),
        read_region(&standby, policy, epoch.standby()),
    );
    let catalog = references::read(primary.catalog, policy, epoch);
    let ((of_primary, of_standby), catalog) = join(regions, catalog).await;
    let mut readings = ReadinessReadings {
        primary: of_primary,
        standby: of_standby,
        tables: catalog.tables,
        reader: inspection.reader,
        unsampled_locations: 0,
        twinlake_roles: inspection.twinlake_roles,
        deployment: inspection.deployment,
        access: access::unread(),
        references: catalog.references,
        function_files: catalog.function_files,
        partitions: catalog.partitions,
        iceberg_tables: catalog.iceberg_tables,
        unsampled_iceberg_tables: catalog.unsampled_iceberg_tables,
    };
    sample_objects(&mut readings, &primary, &standby, policy, epoch).await;
    let keys = join(
        keys(
            primary.infrastructure,
            keys_of(
                &readings.standby,
                &readings.primary,
                &readings.primary,
                |sample| Some(&sample.object),
            ),
        ),
        keys(
            standby.infrastructure,
            keys_of(
                &readings.primary,
                &readings.standby,
                &readings.primary,
                |sample| sample.replica.read()?.as_ref(),
            ),
        ),
    );
    (readings.primary.keys, readings.standby.keys) = keys.await;
    let (account, iceberg_tables) = (&policy.primary(epoch).account, &readings.iceberg_tables);
    let iceberg_tables: Vec<TableId> = iceberg_tables.keys().cloned().collect();
    let optimizers = join(
        primary
            .infrastructure
            .enabled_optimizers(account, &iceberg_tables),
        standby
            .infrastructure
            .enabled_optimizers(account, &iceberg_tables),
    );
    let (of_primary, of_standby) = optimizers.await;
    readings.primary.optimizers = of_primary.into();
    readings.standby.optimizers = of_standby.into();
    let roles = readings.twinlake_roles.clone();
    readings.access = access::read(&readings, &primary, &roles, policy, epoch).await;
    readings
}

async fn read_region<R: ReadRegion, I: ReadInfrastructure>(
    region: &InspectedRegion<'_, R, I>,
    policy: &Policy,
    site: SiteId,
) -> RegionReadings {
    let data_locations = Subject::LakeFormation(LfSubject::DataLocations);
    let infrastructure = join4(
        read_buckets(region.infrastructure, policy, site),
        region.infrastructure.trails(),
        quotas(region.infrastructure),
        region.infrastructure.identity_center_instance(),
    );
    let ((buckets, trails, quotas, identity_center), settings, inventory, registrations) = join4(
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
        unread_inventory: inventory.unread,
        quotas,
        identity_center: identity_center.into(),
        optimizers: Reading::Read(Vec::new()),
    }
}

async fn quotas<I: ReadInfrastructure>(infrastructure: &I) -> QuotaReadings {
    let calls = CHECKED_QUOTAS.into_iter().map(async |quota| {
        let value = infrastructure.service_quota(&quota).await;
        (quota, value.into())
    });
    let quotas = run_concurrently(calls, MAX_CONCURRENT_CALLS).await;
    quotas.into_iter().collect()
}

/// Reads the buckets of the location pairs in one site, without their objects.
async fn read_buckets<I: ReadInfrastructure>(
    infrastructure: &I,
    policy: &Policy,
    site: SiteId,
) -> BTreeMap<String, BucketReadings> {
    let pairs = policy.locations.pairs().iter();
    let names: BTreeSet<&str> = pairs.map(|pair| pair.sites.get(site).bucket()).collect();
    let calls = names
        .into_iter()
        .map(async |name| (name.to_owned(), infrastructure.bucket(name).await));
    run_concurrently(calls, MAX_CONCURRENT_CALLS)
        .await
        .into_iter()
        .collect()
}

/// A location of tables whose objects are looked at: its bucket, the bucket of the replicas, and the
/// prefix of both.
type SampledLocation = (String, String, String);

/// Looks at a few objects of the locations of tables that S3 replicates, and at their replicas. Of more
/// than [`MAX_SAMPLED_LOCATIONS`] locations it takes some at equal distances.
async fn sample_objects<P: ReadRegion, S: ReadRegion, I: ReadInfrastructure>(
    readings: &mut ReadinessReadings,
    primary: &InspectedRegion<'_, P, I>,
    standby: &InspectedRegion<'_, S, I>,
    policy: &Policy,
    epoch: Epoch,
) {
    let locations = sampled_locations(readings, policy, epoch);
    let step = locations.len().div_ceil(MAX_SAMPLED_LOCATIONS).max(1);
    let chosen: Vec<&SampledLocation> = locations.iter().step_by(step).collect();
    readings.unsampled_locations = locations.len() - chosen.len();
    let samples = chosen.into_iter().map(async |(bucket, replicas, prefix)| {
        let objects = primary.infrastructure.sample_objects(bucket, prefix).await;
        let sampled = match objects {
            Err(error) => Reading::Unread(error.to_string()),
            Ok(objects) => {
                let mut sampled = Vec::new();
                for object in objects {
                    let replica = standby.infrastructure.object(replicas, &object.key).await;
                    sampled.push(SampledObject {
                        object,
                        replica: replica.into(),
                    });
                }
                Reading::Read(sampled)
            }
        };
        (bucket.clone(), prefix.clone(), sampled)
    });
    for (bucket, prefix, sampled) in run_concurrently(samples, MAX_CONCURRENT_CALLS).await {
        if let Some(bucket) = readings.primary.buckets.get_mut(&bucket) {
            bucket.objects.insert(prefix, sampled);
        }
    }
}

fn sampled_locations(
    readings: &ReadinessReadings,
    policy: &Policy,
    epoch: Epoch,
) -> BTreeSet<SampledLocation> {
    let tables = readings.tables.read().map_or(&[][..], Vec::as_slice);
    let locations = tables.iter().filter_map(|table| {
        let location = Location::parse(&table.location).ok()?;
        let mut pairs = policy.locations.pairs().iter();
        let pair = pairs.find(|pair| pair.sites.get(epoch.primary()).contains(&location))?;
        let replicas = pair.sites.get(epoch.standby());
        let is_same_key = pair.sites.get(epoch.primary()).prefix() == replicas.prefix();
        (pair.copied_by == CopiedBy::S3 && is_same_key).then(|| {
            let bucket = location.bucket().to_owned();
            (bucket, replicas.bucket().to_owned(), location.prefix())
        })
    });
    locations.collect()
}

/// The keys that matter in a Region: those that the rules of the other one name for replicas, those of
/// the default encryption, and those of the objects there that were looked at.
fn keys_of(
    source: &RegionReadings,
    region: &RegionReadings,
    primary: &RegionReadings,
    object_in: impl Fn(&SampledObject) -> Option<&ObjectSample>,
) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let rules = source
        .buckets
        .values()
        .filter_map(|bucket| bucket.rules.read());
    keys.extend(rules.flatten().filter_map(|rule| rule.replica_key.clone()));
    let mut add = |encryption: &ObjectEncryption| {
        if let ObjectEncryption::Kms(Some(key)) = encryption {
            keys.insert(key.clone());
        }
    };
    for bucket in region.buckets.values() {
        bucket.encryption.read().map(&mut add);
    }
    let buckets = primary.buckets.values();
    let samples = buckets.flat_map(|bucket| bucket.objects.values());
    for sample in samples.filter_map(Reading::read).flatten() {
        if let Some(object) = object_in(sample) {
            add(&object.encryption);
        }
    }
    keys
}

async fn keys<I: ReadInfrastructure>(
    infrastructure: &I,
    names: BTreeSet<String>,
) -> BTreeMap<String, Reading<KmsKey>> {
    let calls = names.into_iter().map(async |name| {
        let key = infrastructure.kms_key(&name).await;
        (name, key.into())
    });
    run_concurrently(calls, MAX_CONCURRENT_CALLS)
        .await
        .into_iter()
        .collect()
}

/// Lists the tables of databases, and keeps of each what `summarize` returns.
///
/// # Errors
/// The listing of a database failed.
pub(crate) async fn list_tables<R: ReadRegion, T>(
    catalog: &R,
    databases: &[Name],
    summarize: impl Fn(&Name, Table) -> T,
) -> Result<Vec<T>, CallError> {
    let summarize = &summarize;
    let calls = databases.iter().map(async |database| {
        let tables = catalog.tables(database).await?.into_iter();
        let tables = tables.map(|table| summarize(database, table.object));
        Ok::<Vec<T>, CallError>(tables.collect())
    });
    let listed = run_concurrently(calls, MAX_CONCURRENT_CALLS).await;
    let listed: Result<Vec<Vec<T>>, CallError> = listed.into_iter().collect();
    Ok(listed?.into_iter().flatten().collect())
}

/// A table with its location, if its data is in S3 and it is no resource link.
pub(crate) fn table_in_s3(database: &Name, table: Table) -> Option<TableLocation> {
    if table.is_link() {
        return None;
    }
    let id = TableId::new(database.clone(), table.name.clone());
    let is_iceberg = table.is_iceberg();
    let location = data_location(table).filter(|location| Location::is_s3(location))?;
    Some(TableLocation {
        table: id,
        location,
        is_iceberg,
    })
}

/// The location of a table's data: that of its storage descriptor, or the metadata file of an Iceberg
/// table, of which some engines write no descriptor.
fn data_location(mut table: Table) -> Option<String> {
    let storage = table
        .storage_descriptor
        .and_then(|storage| storage.location);
    storage.or_else(|| table.parameters.remove("metadata_location"))
}
