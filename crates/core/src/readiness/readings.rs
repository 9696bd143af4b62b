//! What the checks of the readiness look at, as it was read.

use super::{
    AccessReadings, CatalogReferences, IcebergTable, PartitionSamples, PolicyDocument,
    QuotaReadings, Reading, TableOptimizer,
};
use crate::arn::Arn;
use crate::canary::CanaryState;
use crate::catalog::{DataLakeSettings, Registration};
use crate::grant::Principal;
use crate::name::TableId;
use crate::timestamp::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that the checks look at.
#[derive(Clone, Debug)]
pub struct ReadinessReadings {
    /// The primary.
    pub primary: RegionReadings,
    /// The standby.
    pub standby: RegionReadings,
    /// The managed tables of the primary whose data is in S3.
    pub tables: Reading<Vec<TableLocation>>,
    /// The principal that reads. Lake Formation hides objects from one that is no administrator.
    pub reader: Principal,
    /// The number of locations of tables whose objects were not sampled.
    pub unsampled_locations: usize,
    /// The roles of Twinlake, as the operator names them. Empty if none is named.
    pub twinlake_roles: BTreeSet<Principal>,
    /// The deployment of Twinlake; `None` if the ledger is kept in a file.
    pub deployment: Option<DeploymentReadings>,
    /// What was read of IAM.
    pub access: AccessReadings,
    /// What the catalog of the primary points at.
    pub references: Reading<CatalogReferences>,
    /// The files of the functions of the primary, by the name of the function.
    pub function_files: Reading<BTreeMap<String, Vec<String>>>,
    /// Partitions of the primary that were looked at.
    pub partitions: PartitionSamples,
    /// What deletes files of the Iceberg tables of the primary, by table; a limited number.
    pub iceberg_tables: BTreeMap<TableId, IcebergTable>,
    /// Number of further Iceberg tables.
    pub unsampled_iceberg_tables: usize,
}

/// What was read of the ledgers of a deployment.
#[derive(Clone, Debug)]
pub struct DeploymentReadings {
    /// The policy in the primary's ledger.
    pub primary_policy: Reading<DeployedPolicy>,
    /// The policy in the standby's ledger.
    pub standby_policy: Reading<DeployedPolicy>,
    /// The canaries in the primary's ledger; `None` if the function has not run.
    pub primary_canaries: Reading<Option<CanaryState>>,
    /// The canaries in the standby's ledger; `None` if the function has not run.
    pub standby_canaries: Reading<Option<CanaryState>>,
    /// When the ledgers were read.
    pub read_at: Timestamp,
    /// Seconds since the start of the last complete resync; `None` if there was none.
    pub seconds_since_verified: Reading<Option<i64>>,
    /// The age beyond which that resync no longer counts, in seconds.
    pub verified_age_limit_secs: i64,
    /// The number of grants that are revoked in the primary for a switchover that is not under way.
    pub abandoned_grants: Reading<usize>,
}

/// The policy in the ledger of a Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeployedPolicy {
    /// There is no ledger: no stack is deployed.
    NoLedger,
    /// No policy was stored.
    None,
    /// The digest of the policy.
    Digest(String),
}

/// A table and its location.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableLocation {
    /// The table.
    pub table: TableId,
    /// `StorageDescriptor.Location`.
    pub location: String,
    /// Whether it is an Iceberg table.
    pub is_iceberg: bool,
}

/// What was read of one Region.
#[derive(Clone, Debug)]
pub struct RegionReadings {
    /// The Region, as in `us-east-1`.
    pub region: String,
    /// The buckets of the location pairs, by name.
    pub buckets: BTreeMap<String, BucketReadings>,
    /// The keys that rules name for replicas in this Region, and those of replicas and of the default
    /// encryption that are there, by ARN or alias.
    pub keys: BTreeMap<String, Reading<KmsKey>>,
    /// The trails that record calls of this Region.
    pub trails: Reading<Vec<Trail>>,
    /// The data lake settings.
    pub settings: Reading<DataLakeSettings>,
    /// The locations that are registered with Lake Formation.
    pub registrations: Reading<Vec<Registration>>,
    /// The number of objects of each kind that Twinlake does not replicate.
    pub not_replicated: BTreeMap<String, usize>,
    /// Settings of the catalog that are compared and never written, by name, as texts that are equal if
    /// the settings are.
    pub catalog_settings: BTreeMap<String, String>,
    /// The kinds and settings that could not be read, with the errors.
    pub unread_inventory: BTreeMap<String, String>,
    /// Quotas of the account in this Region.
    pub quotas: QuotaReadings,
    /// The instance of Identity Center that Lake Formation is connected to; `None` if it is to none.
    pub identity_center: Reading<Option<String>>,
    /// The optimizers that are enabled on the Iceberg tables that were looked at.
    pub optimizers: Reading<Vec<TableOptimizer>>,
}

/// Which way the rules of a bucket replicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketDirection {
    /// From the primary to the standby.
    Forward,
    /// From the standby to the primary.
    Reverse,
}

/// What was read of one bucket.
#[derive(Clone, Debug)]
pub struct BucketReadings {
    /// `BucketRegion` of `HeadBucket`; `None` if there is no such bucket.
    pub region: Reading<Option<String>>,
    /// `GetBucketVersioning`.
    pub versioning: Reading<Versioning>,
    /// `Role` of `GetBucketReplication`; `None` without a configuration.
    pub replication_role: Reading<Option<String>>,
    /// The rules of `GetBucketReplication`.
    pub rules: Reading<Vec<ReplicationRule>>,
    /// The default encryption of `GetBucketEncryption`.
    pub encryption: Reading<ObjectEncryption>,
    /// The rules of `GetBucketLifecycleConfiguration`.
    pub lifecycle: Reading<Vec<LifecycleRule>>,
    /// The targets of `GetBucketNotificationConfiguration`.
    pub notifications: Reading<Vec<S3EventTarget>>,
    /// A few objects of locations of tables, by prefix. Only of the primary.
    pub objects: BTreeMap<String, Reading<Vec<SampledObject>>>,
}

impl BucketReadings {
    /// Whether the bucket is known not to be in a Region: no other read of it says anything then.
    #[must_use]
    pub fn is_missing_in(&self, region: &str) -> bool {
        self.region
            .read()
            .is_some_and(|found| found.as_deref() != Some(region))
    }
}

/// The state of a bucket's versioning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It was never switched on.
    Off,
    /// New objects get versions.
    Enabled,
    /// It was switched on once, and new objects get none.
    Suspended,
}

/// A rule of a replication configuration, of version 1 or 2.
///
/// Source: S3 API reference, `ReplicationRule`. A rule without `Filter` is of version 1: it
/// replicates delete markers, and cannot replicate changes of replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationRule {
    /// `ID`.
    pub id: String,
    /// `Priority`: of the rules to one destination that match an object, the highest one applies.
    pub priority: i32,
    /// `Status` is `Enabled`.
    pub is_enabled: bool,
    /// The prefix of the keys; empty for all objects.
    pub prefix: String,
    /// Whether the rule only replicates objects with certain tags.
    pub has_tag_filter: bool,
    /// The name of the destination bucket.
    pub destination: String,
    /// Whether delete markers of users are replicated.
    pub replicates_delete_markers: bool,
    /// Whether metadata changes of replicas are replicated.
    pub replicates_modifications: bool,
    /// Whether objects that KMS encrypts are replicated.
    pub replicates_kms_objects: bool,
    /// `ReplicaKmsKeyID`.
    pub replica_key: Option<String>,
    /// Whether metrics, and with them events of failures, are published.
    pub publishes_metrics: bool,
    /// The storage class of the replicas, if objects have to be restored from it before they are read.
    pub archive_class: Option<String>,
    /// Whether the rule is of version 1.
    pub is_version_1: bool,
}

impl ReplicationRule {
    /// Whether the rule replicates each object with this prefix to a bucket.
    #[must_use]
    pub fn covers(&self, prefix: &str, destination: &str) -> bool {
        self.concerns(destination) && prefix.starts_with(&self.prefix)
    }

    /// Whether the rule replicates some but not all objects with this prefix to a bucket.
    #[must_use]
    pub fn covers_part_of(&self, prefix: &str, destination: &str) -> bool {
        let is_narrower = self.prefix.starts_with(prefix) && self.prefix.len() > prefix.len();
        let is_same_bucket = self.is_enabled && self.destination == destination;
        let overlaps = is_narrower || prefix.starts_with(&self.prefix);
        is_same_bucket && overlaps && !self.covers(prefix, destination)
    }

    fn concerns(&self, destination: &str) -> bool {
        self.is_enabled && !self.has_tag_filter && self.destination == destination
    }
}

/// How an object, or by default a new object of a bucket, is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectEncryption {
    /// With a key of S3 (SSE-S3), or not at all.
    S3,
    /// With a KMS key (SSE-KMS or DSSE-KMS): its ARN or alias; `None` is the key `aws/s3`.
    Kms(Option<String>),
}

/// A rule of a lifecycle configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    /// `ID`.
    pub id: String,
    /// `Status` is `Enabled`.
    pub is_enabled: bool,
    /// The prefix of the keys; empty for all objects.
    pub prefix: String,
    /// The filter and the actions, in a text that is equal for equal rules.
    pub definition: String,
    /// Whether the rule deletes current objects.
    pub expires_objects: bool,
    /// The age in days at which it deletes all objects with the prefix; `None` if it also selects by
    /// tags or sizes, or deletes at a date.
    pub expires_after_days: Option<i32>,
    /// The storage class to which the rule moves current objects, if Athena cannot read it.
    pub archive_class: Option<String>,
    /// The age in days at which it moves all objects with the prefix there; `None` if it also selects by tags or
    /// sizes, or moves them at a date.
    pub archives_after_days: Option<i32>,
}

/// A target of a bucket's notifications. EventBridge gets no events of replication, and is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3EventTarget {
    /// The ARN of the queue, topic or function.
    pub target: String,
    /// The events, such as `s3:Replication:OperationFailedReplication`.
    pub events: BTreeSet<String>,
    /// The prefix of the keys; empty for all objects.
    pub prefix: String,
    /// Whether the target only gets events of keys with a certain suffix.
    pub has_suffix: bool,
}

impl S3EventTarget {
    /// The logical ID of the queue for replication notifications in Twinlake's stack.
    pub const QUEUE: &str = "ReplicationQueue";

    /// Whether what is sent to the target can reach Twinlake: it has the name of a queue of its stack, which
    /// CloudFormation names `STACK-ReplicationQueue-SUFFIX`, or it is a topic, whose subscribers are not
    /// known.
    #[must_use]
    pub fn may_reach_twinlake(&self) -> bool {
        Arn::parse(&self.target).is_some_and(|arn| match arn.service {
            "sqs" => arn.resource.contains(&format!("-{}-", Self::QUEUE)),
            "sns" => true,
            _ => false,
        })
    }
}

/// An object of the primary that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampledObject {
    /// The object.
    pub object: ObjectSample,
    /// The object of the same key in the standby's bucket; `None` if there is none.
    pub replica: Reading<Option<ObjectSample>>,
}

/// An object and what its metadata says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSample {
    /// The key.
    pub key: String,
    /// `ReplicationStatus`; `None` if no rule covered the object when it was written.
    pub replication_status: Option<String>,
    /// Its encryption.
    pub encryption: ObjectEncryption,
}

/// `DescribeKey`, and `GetKeyPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsKey {
    /// The ARN of the key itself, where the key was named by an alias.
    pub arn: String,
    /// `KeyState`, such as `Enabled` or `PendingDeletion`.
    pub state: String,
    /// The policy of the key.
    pub policy: Reading<PolicyDocument>,
}

/// A trail that records calls of a Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// The ARN.
    pub arn: String,
    /// `IsLogging` in this Region.
    pub is_logging: Reading<bool>,
    /// `LatestDeliveryError`, if the last delivery failed.
    pub delivery_error: Option<String>,
    /// What it records.
    pub selection: Reading<TrailEventSelection>,
    /// Whether it has advanced event selectors, which basic ones would replace.
    pub has_advanced_selectors: bool,
    /// Whether it is the trail of an organization, which a member account cannot change.
    pub is_of_organization: bool,
}

impl Trail {
    /// Whether the trail records all management events of the Region now.
    ///
    /// # Errors
    /// What was not read of it could decide: the error of that read.
    pub fn records_all_management_events(&self) -> Result<bool, &str> {
        match (&self.is_logging, &self.selection) {
            (Reading::Read(false), _) => Ok(false),
            (_, Reading::Read(selection)) if !(selection.writes && selection.reads) => Ok(false),
            (Reading::Read(true), Reading::Read(_)) => Ok(true),
            (Reading::Unread(error), _) | (_, Reading::Unread(error)) => Err(error),
        }
    }
}

/// Which management events a trail records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrailEventSelection {
    /// Management events that write.
    pub writes: bool,
    /// Management events that only read, such as `GetDataAccess`.
    pub reads: bool,
}
