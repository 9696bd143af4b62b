//! A pair of Regions in which every check passes, and its parts to change.

use super::super::*;
use super::sound_access::{REPLICATION_ROLE, access, delegating_policy, simulate_missing};
use crate::canary::{self, CanaryRoute, CanaryState, ReceivedCanaries, SentCanaries};
use crate::catalog::{DataLakeSettings, Registration};
use crate::grant::Principal;
use crate::name::{Name, TableId};
use crate::timestamp::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const POLICY: &str = r#"
[[region]]
id = "a"
region = "us-east-1"
account = "111122223333"

[[region]]
id = "b"
region = "ap-south-1"
account = "111122223333"

[[location]]
a = "s3://lake-a/sales/"
b = "s3://lake-b/sales/"
"#;
pub(super) const ROLE: &str = "arn:aws:iam::111122223333:role/twinlake/resync";
pub(super) const KEY_A: &str = "arn:aws:kms:us-east-1:111122223333:key/a";
pub(super) const KEY_B: &str = "arn:aws:kms:ap-south-1:111122223333:key/b";

pub(super) fn rule(destination: &str, key: &str) -> ReplicationRule {
    ReplicationRule {
        id: "sales".to_owned(),
        priority: 1,
        is_enabled: true,
        prefix: "sales/".to_owned(),
        has_tag_filter: false,
        destination: destination.to_owned(),
        replicates_delete_markers: true,
        replicates_modifications: true,
        replicates_kms_objects: true,
        replica_key: Some(key.to_owned()),
        publishes_metrics: true,
        archive_class: None,
        is_version_1: false,
    }
}

/// When the ledgers of the pair were read.
pub(super) const READ_AT: Timestamp = Timestamp::from_millis(1_000_000_000);

/// The canaries that a Region receives: one, which arrived a minute before it was looked for.
pub(super) fn canaries(source: &str, destination: &str, key: &str) -> CanaryState {
    let route = CanaryRoute {
        bucket: source.to_owned(),
        destination: destination.to_owned(),
        prefixes: BTreeSet::from(["sales/".to_owned()]),
    };
    let rules = Reading::Read(vec![rule(destination, key)]);
    let encryption = Reading::Read(ObjectEncryption::Kms(None));
    let planned = canary::plan(&route, &rules, &encryption);
    let list = SentCanaries {
        canaries: planned.canaries,
        ..SentCanaries::default()
    };
    let looked_at = READ_AT.plus_secs(-60);
    let mut received =
        ReceivedCanaries::default().with_expected(Ok(list), &[route], READ_AT.plus_secs(-7200));
    received.at = looked_at;
    received.canaries[0].record(Ok(looked_at.plus_secs(-60)), looked_at);
    CanaryState {
        received,
        ..CanaryState::default()
    }
}

/// An object with a replica.
pub(super) fn sample(status: Option<&str>) -> SampledObject {
    let object = |status: Option<&str>, key: &str| ObjectSample {
        key: "sales/orders/1.parquet".to_owned(),
        replication_status: status.map(str::to_owned),
        encryption: ObjectEncryption::Kms(Some(key.to_owned())),
    };
    SampledObject {
        object: object(status, KEY_A),
        replica: Reading::Read(Some(object(Some("REPLICA"), KEY_B))),
    }
}

/// An object without a replica.
pub(super) fn missing(status: Option<&str>) -> Reading<Vec<SampledObject>> {
    Reading::Read(vec![SampledObject {
        replica: Reading::Read(None),
        ..sample(status)
    }])
}

pub(super) fn bucket(region: &str, destination: &str, key: &str) -> BucketReadings {
    BucketReadings {
        region: Reading::Read(Some(region.to_owned())),
        versioning: Reading::Read(Versioning::Enabled),
        replication_role: Reading::Read(Some(REPLICATION_ROLE.to_owned())),
        rules: Reading::Read(vec![rule(destination, key)]),
        encryption: Reading::Read(ObjectEncryption::Kms(None)),
        lifecycle: Reading::Read(Vec::new()),
        notifications: Reading::Read(vec![S3EventTarget {
            target: "arn:aws:sqs:us-east-1:111122223333:twinlake-ReplicationQueue-1A2B".to_owned(),
            events: BTreeSet::from(["s3:Replication:*".to_owned()]),
            prefix: String::new(),
            has_suffix: false,
        }]),
        objects: BTreeMap::new(),
    }
}

pub(super) fn region(
    name: &str,
    bucket_name: &str,
    bucket: BucketReadings,
    key: &str,
) -> RegionReadings {
    let settings = DataLakeSettings {
        admins: BTreeSet::from([Principal(ROLE.to_owned())]),
        ..DataLakeSettings::default()
    };
    RegionReadings {
        region: name.to_owned(),
        buckets: BTreeMap::from([(bucket_name.to_owned(), bucket)]),
        keys: BTreeMap::from([(
            key.to_owned(),
            Reading::Read(KmsKey {
                arn: key.to_owned(),
                state: "Enabled".to_owned(),
                policy: Reading::Read(delegating_policy()),
            }),
        )]),
        trails: Reading::Read(vec![Trail {
            arn: format!("arn:aws:cloudtrail:{name}:111122223333:trail/audit"),
            is_logging: Reading::Read(true),
            delivery_error: None,
            selection: Reading::Read(TrailEventSelection {
                writes: true,
                reads: true,
            }),
            has_advanced_selectors: false,
            is_of_organization: false,
        }]),
        settings: Reading::Read(settings),
        registrations: Reading::Read(vec![Registration {
            arn: format!("arn:aws:s3:::{bucket_name}/sales"),
            role: None,
            with_federation: false,
            hybrid_access: false,
            privileged_access: false,
            owner: None,
        }]),
        not_replicated: BTreeMap::from([("connections".to_owned(), 0)]),
        catalog_settings: BTreeMap::from([("encryption".to_owned(), "SSE-KMS".to_owned())]),
        unread_inventory: BTreeMap::new(),
        quotas: CHECKED_QUOTAS
            .into_iter()
            .map(|quota| (quota, Reading::Read(Some(1000.0))))
            .collect(),
        identity_center: Reading::Read(None),
        optimizers: Reading::Read(Vec::new()),
    }
}

pub(super) fn table(name: &str, location: &str) -> TableLocation {
    TableLocation {
        table: TableId::new(Name::new("sales").unwrap(), Name::new(name).unwrap()),
        location: location.to_owned(),
        is_iceberg: false,
    }
}

pub(super) fn sound() -> ReadinessReadings {
    let mut of_a = bucket("us-east-1", "lake-b", KEY_B);
    let samples = Reading::Read(vec![sample(Some("COMPLETED"))]);
    of_a.objects.insert("sales/orders/".to_owned(), samples);
    let of_b = bucket("ap-south-1", "lake-a", KEY_A);
    let mut readings = ReadinessReadings {
        primary: region("us-east-1", "lake-a", of_a, KEY_A),
        standby: region("ap-south-1", "lake-b", of_b, KEY_B),
        tables: Reading::Read(vec![table("orders", "s3://lake-a/sales/orders/")]),
        reader: Principal(ROLE.to_owned()),
        unsampled_locations: 0,
        twinlake_roles: BTreeSet::from([Principal(ROLE.to_owned())]),
        deployment: Some(DeploymentReadings {
            primary_policy: deployed(),
            standby_policy: deployed(),
            primary_canaries: Reading::Read(Some(canaries("lake-b", "lake-a", KEY_A))),
            standby_canaries: Reading::Read(Some(canaries("lake-a", "lake-b", KEY_B))),
            read_at: READ_AT,
            seconds_since_verified: Reading::Read(Some(3600)),
            verified_age_limit_secs: 13 * 3600,
            abandoned_grants: Reading::Read(0),
        }),
        access: access(),
        references: Reading::Read(CatalogReferences::default()),
        function_files: Reading::Read(BTreeMap::new()),
        partitions: PartitionSamples::default(),
        iceberg_tables: BTreeMap::new(),
        unsampled_iceberg_tables: 0,
    };
    simulate_missing(&mut readings, &Policy::parse(POLICY).unwrap());
    readings
}

/// The findings after one change of the sound pair.
pub(super) fn findings(change: impl FnOnce(&mut ReadinessReadings)) -> Vec<ReadinessFinding> {
    let mut readings = sound();
    change(&mut readings);
    check(&readings, &Policy::parse(POLICY).unwrap(), Epoch::INITIAL)
}

pub(super) fn bucket_of(region: &mut RegionReadings) -> &mut BucketReadings {
    region.buckets.values_mut().next().unwrap()
}

pub(super) fn first_rule(region: &mut RegionReadings) -> &mut ReplicationRule {
    match &mut bucket_of(region).rules {
        Reading::Read(rules) => rules.first_mut().unwrap(),
        Reading::Unread(_) => panic!("the rules are read"),
    }
}

pub(super) fn settings(region: &mut RegionReadings) -> &mut DataLakeSettings {
    match &mut region.settings {
        Reading::Read(settings) => settings,
        Reading::Unread(_) => panic!("the settings are read"),
    }
}

pub(super) fn trail(region: &mut RegionReadings) -> &mut Trail {
    match &mut region.trails {
        Reading::Read(trails) => trails.first_mut().unwrap(),
        Reading::Unread(_) => panic!("the trails are read"),
    }
}

pub(super) fn lifecycle_rule(expires: bool, archive: Option<&str>) -> LifecycleRule {
    LifecycleRule {
        id: "old".to_owned(),
        is_enabled: true,
        prefix: String::new(),
        definition: format!("after 30 days, {archive:?}"),
        expires_objects: expires,
        expires_after_days: expires.then_some(30),
        archive_class: archive.map(str::to_owned),
        archives_after_days: archive.is_some().then_some(30),
    }
}

/// The policy of the pair, in a ledger.
fn deployed() -> Reading<DeployedPolicy> {
    let policy = Policy::parse(POLICY).unwrap();
    Reading::Read(DeployedPolicy::Digest(policy.digest().to_owned()))
}

pub(super) fn deployment(readings: &mut ReadinessReadings) -> &mut DeploymentReadings {
    readings.deployment.as_mut().unwrap()
}

/// Replaces the sampled objects of the primary.
pub(super) fn put_samples(readings: &mut ReadinessReadings, samples: Reading<Vec<SampledObject>>) {
    let bucket = bucket_of(&mut readings.primary);
    bucket.objects.insert("sales/orders/".to_owned(), samples);
}
