//! Whether the standby could take over: findings from what was read of both Regions beside the
//! catalog, such as buckets, S3 replication rules, encryption keys, trails and data lake settings.
//!
//! Whether the catalogs and the permissions are equal is decided elsewhere, by the plan. The checks
//! here find what no plan shows: objects that S3 does not replicate, a Region whose changes nobody
//! records, a standby that is open by default.
//!
//! A read that was denied or failed is a finding of the severity [`ReadinessSeverity::Unknown`],
//! and never passes a check.

mod access_readings;
mod batch_job;
mod canaries;
mod catalog;
mod catalog_readings;
mod deployment;
mod encryption;
mod iam_remedy;
mod iceberg;
mod identity_center;
mod lake_formation;
mod lifecycle;
mod objects;
mod policy_document;
mod quota_readings;
mod quotas;
mod reading;
mod readings;
mod record;
mod references;
mod replication;
mod replication_role;
mod rule_gaps;
mod sql_names;
mod tables;
mod trails;
mod user_access;

pub use access_readings::{
    AccessReadings, Decisions, GrantedPrincipal, GrantedPrincipals, SimulatedCall,
    SimulatedDecision,
};
pub use batch_job::{BatchReplicationJob, ListedBatchJob};
pub use catalog_readings::{
    CatalogReferences, IcebergTable, OptimizerKind, PartitionSamples, SampledPartitions,
    TableOptimizer,
};
pub use objects::{UnjudgedSamples, batch_replication_jobs, unjudged_samples};
pub use policy_document::PolicyDocument;
pub use quota_readings::{CHECKED_QUOTAS, QuotaReadings, ServiceQuota};
pub use reading::Reading;
pub use readings::{
    BucketDirection, BucketReadings, DeployedPolicy, DeploymentReadings, KmsKey, LifecycleRule,
    ObjectEncryption, ObjectSample, ReadinessReadings, RegionReadings, ReplicationRule,
    S3EventTarget, SampledObject, TableLocation, Trail, TrailEventSelection, Versioning,
};
pub use references::is_location_outside;
pub use replication_role::replication_calls;
pub use rule_gaps::RuleGap;
pub use user_access::{calls_to_compare, granted_principals, query_calls};

pub use record::{
    KnownReadiness, MAX_READINESS_AGE_SECS, ReadinessCounts, ReadinessRecord, ReadinessReport,
    TakeoverReadiness,
};

pub(crate) use replication::{count_tables, shorten};

use crate::Policy;
use crate::topology::Epoch;
use serde::{Deserialize, Serialize};

/// What a finding means for a takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadinessSeverity {
    /// After a takeover, data or access is missing or wrong.
    Blocker,
    /// A takeover works, but data is late or stale, or the way back or the alerts are missing.
    Warning,
    /// The check could not read what it needs.
    Unknown,
    /// Nothing has to be done; the operator should know it.
    Note,
}

impl ReadinessSeverity {
    /// The severity as it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocker => "blocker",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Note => "note",
        }
    }
}

/// A check. Its name is stable: scripts select findings by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadinessCheck {
    /// The bucket of a location pair exists, in the Region of its site.
    Bucket,
    /// The bucket keeps versions, without which S3 replicates nothing.
    Versioning,
    /// An enabled rule replicates a location of the primary to its counterpart.
    ReplicationRule,
    /// An enabled rule replicates back, for the way back after a takeover.
    ReverseReplicationRule,
    /// The rule replicates delete markers.
    DeleteMarkers,
    /// The rule replicates changes of the metadata of replicas.
    ReplicaModifications,
    /// The rule publishes metrics and events of failures.
    ReplicationMetrics,
    /// S3 sends notifications of failed replication to a queue.
    ReplicationNotifications,
    /// The rule replicates objects that KMS encrypts, with a key of the destination.
    KmsObjects,
    /// The key of the replicas is usable.
    ReplicaKey,
    /// S3 may assume the role of the replication configuration, which may do what replication needs.
    ReplicationRole,
    /// The policies of the keys let the role use them.
    KeyPolicy,
    /// The replicas can be read without being restored first.
    StorageClass,
    /// Objects that are there have been replicated.
    ObjectStatus,
    /// Lifecycle rules delete the same objects in both Regions.
    Lifecycle,
    /// Tables lie inside the location pairs.
    TableLocations,
    /// A trail records the calls that tell Twinlake of permission changes.
    Trail,
    /// Twinlake's roles are data lake administrators.
    Administrators,
    /// New databases and tables of the standby are closed.
    DefaultPermissions,
    /// Locations that Lake Formation manages in the primary are registered in the standby.
    Registrations,
    /// IAM lets the principals that hold grants read in the standby what they read in the primary.
    UserAccess,
    /// The principals that hold grants exist.
    DeletedPrincipals,
    /// Lake Formation is connected to Identity Center in both Regions.
    IdentityCenter,
    /// The quotas of the standby are not below those of the primary.
    Quotas,
    /// Resource links, views and functions point at what is replicated.
    References,
    /// Partitions lie inside the location pairs.
    PartitionLocations,
    /// Nothing deletes files of Iceberg tables that the standby needs.
    IcebergMaintenance,
    /// Iceberg tables can be read in the standby.
    IcebergTables,
    /// Settings of the catalog that Twinlake does not write are equal.
    CatalogSettings,
    /// What Twinlake does not replicate.
    NotReplicated,
    /// Both Regions have a stack with this policy.
    Deployment,
    /// A resync has completed lately.
    Resync,
    /// No grants are revoked in the primary for a switchover that is not under way.
    FrozenGrants,
    /// The scheduled checks could read everything within their time limit.
    TimeLimit,
    /// Objects that Twinlake writes under each replication rule arrive as replicas.
    Canary,
    /// Clients are told which Region is the primary. Only `twinlake doctor` checks it.
    ClientAddress,
}

impl ReadinessCheck {
    /// The name of the check.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Versioning => "versioning",
            Self::ReplicationRule => "replication-rule",
            Self::ReverseReplicationRule => "reverse-replication-rule",
            Self::DeleteMarkers => "delete-markers",
            Self::ReplicaModifications => "replica-modifications",
            Self::ReplicationMetrics => "replication-metrics",
            Self::ReplicationNotifications => "replication-notifications",
            Self::KmsObjects => "kms-objects",
            Self::ReplicaKey => "replica-key",
            Self::ReplicationRole => "replication-role",
            Self::KeyPolicy => "key-policy",
            Self::StorageClass => "storage-class",
            Self::ObjectStatus => "object-status",
            Self::Lifecycle => "lifecycle",
            Self::TableLocations => "table-locations",
            Self::Trail => "trail",
            Self::Administrators => "administrators",
            Self::DefaultPermissions => "default-permissions",
            Self::Registrations => "registrations",
            Self::UserAccess => "user-access",
            Self::DeletedPrincipals => "deleted-principals",
            Self::IdentityCenter => "identity-center",
            Self::Quotas => "quotas",
            Self::References => "references",
            Self::PartitionLocations => "partition-locations",
            Self::IcebergMaintenance => "iceberg-maintenance",
            Self::IcebergTables => "iceberg-tables",
            Self::CatalogSettings => "catalog-settings",
            Self::NotReplicated => "not-replicated",
            Self::Deployment => "deployment",
            Self::Resync => "resync",
            Self::FrozenGrants => "frozen-grants",
            Self::TimeLimit => "time-limit",
            Self::Canary => "canary",
            Self::ClientAddress => "client-address",
        }
    }
}

/// Something that stands between the standby and a takeover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReadinessFinding {
    /// What it means for a takeover. Findings are sorted by it.
    pub severity: ReadinessSeverity,
    /// The check that found it.
    pub check: ReadinessCheck,
    /// The Region to change.
    pub region: String,
    /// What it is about: a bucket, a rule, a key, a trail.
    pub subject: String,
    /// What was found.
    pub problem: String,
    /// What it means for a takeover, as a sentence.
    pub effect: String,
    /// The command that corrects it, or what to do.
    pub remedy: String,
}

/// Everything that a check looks at.
struct Checked<'a> {
    readings: &'a ReadinessReadings,
    policy: &'a Policy,
    epoch: Epoch,
    findings: Vec<ReadinessFinding>,
}

impl<'a> Checked<'a> {
    fn new(readings: &'a ReadinessReadings, policy: &'a Policy, epoch: Epoch) -> Self {
        Self {
            readings,
            policy,
            epoch,
            findings: Vec::new(),
        }
    }

    /// A finding, to be completed by the caller.
    fn add(
        &mut self,
        severity: ReadinessSeverity,
        check: ReadinessCheck,
        region: &str,
        subject: &str,
        texts: Texts,
    ) {
        self.findings.push(ReadinessFinding {
            severity,
            check,
            region: region.to_owned(),
            subject: subject.to_owned(),
            problem: texts.problem,
            effect: texts.effect.to_owned(),
            remedy: texts.remedy,
        });
    }

    /// Reports a read that was denied or failed.
    fn add_unread(&mut self, check: ReadinessCheck, region: &str, subject: &str, error: &str) {
        self.add(
            ReadinessSeverity::Unknown,
            check,
            region,
            subject,
            Texts {
                problem: format!("could not be read: {error}"),
                effect: "Whether the standby could take over is not known here.",
                remedy: format!(
                    "Give {} the right to make the call, and run the check again.",
                    self.readings.reader
                ),
            },
        );
    }
}

/// The texts of a finding.
struct Texts {
    problem: String,
    effect: &'static str,
    remedy: String,
}

/// Runs all checks. The findings are sorted: blockers first, then by check, Region and subject.
#[must_use]
pub fn check(readings: &ReadinessReadings, policy: &Policy, epoch: Epoch) -> Vec<ReadinessFinding> {
    let mut checked = Checked::new(readings, policy, epoch);
    replication::check(&mut checked);
    encryption::check(&mut checked);
    replication_role::check(&mut checked);
    objects::check(&mut checked);
    lifecycle::check(&mut checked);
    tables::check(&mut checked);
    trails::check(&mut checked);
    lake_formation::check(&mut checked);
    user_access::check(&mut checked);
    identity_center::check(&mut checked);
    quotas::check(&mut checked);
    references::check(&mut checked);
    iceberg::check(&mut checked);
    catalog::check(&mut checked);
    deployment::check(&mut checked);
    let mut findings = checked.findings;
    findings.sort();
    findings.dedup();
    findings
}

#[cfg(test)]
mod tests;
