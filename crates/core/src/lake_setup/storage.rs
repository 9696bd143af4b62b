//! The storage of a lake in one Region, as `stacks/storage.yaml` makes it.

use super::{ExpirationRule, default_key_statement, document, only_tls_statement};
use crate::catalog::Registration;
use crate::readiness::ReplicationRule;
use crate::topology::AwsPartition;
use serde_json::{Value, json};

/// The prefixes with data. Each has a replication rule, a lifecycle rule and a registered location, which
/// are named after it.
pub const LAKE_PREFIXES: [&str; 3] = ["raw", "curated", "analytics"];
/// The prefix of the results of Athena. It is in no replication rule and no registered location.
pub const RESULT_PREFIX: &str = "athena-results";

/// Days after which S3 removes the parts of an unfinished upload.
const UPLOAD_DAYS: i32 = 7;

/// The storage of a lake in one Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeStorage {
    /// The beginning of the names.
    pub lake: String,
    /// The account of both Regions.
    pub account: String,
    /// The Region.
    pub region: String,
    /// The other Region of the pair.
    pub peer: String,
}

impl LakeStorage {
    fn partition(&self) -> AwsPartition {
        AwsPartition::of_region(&self.region)
    }

    fn bucket_in(&self, region: &str) -> String {
        format!("{}-{}-{region}", self.lake, self.account)
    }

    /// The name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> String {
        self.bucket_in(&self.region)
    }

    /// The name of the bucket of the other Region.
    #[must_use]
    pub fn peer_bucket(&self) -> String {
        self.bucket_in(&self.peer)
    }

    fn bucket_arn(&self, region: &str) -> String {
        format!("arn:{}:s3:::{}", self.partition(), self.bucket_in(region))
    }

    /// The alias of the key of the Region.
    #[must_use]
    pub fn key_alias(&self) -> String {
        format!("alias/{}", self.lake)
    }

    /// The description of the key.
    #[must_use]
    pub fn key_description(&self) -> String {
        format!("The objects of {}.", self.bucket())
    }

    /// The policy of the key.
    #[must_use]
    pub fn key_policy(&self) -> Value {
        document(vec![default_key_statement(self.partition(), &self.account)])
    }

    /// The name of the role with which S3 replicates from this Region.
    #[must_use]
    pub fn replication_role(&self) -> String {
        format!("{}-replication-{}-to-{}", self.lake, self.region, self.peer)
    }

    /// The name of the role with which Lake Formation reads and writes the registered locations.
    #[must_use]
    pub fn registration_role(&self) -> String {
        format!("{}-registration-{}", self.lake, self.region)
    }

    /// The ARN of a role of this account.
    #[must_use]
    pub fn role_arn(&self, name: &str) -> String {
        format!("arn:{}:iam::{}:role/{name}", self.partition(), self.account)
    }

    /// The ARNs of the objects with data of the bucket in a Region.
    fn objects_in(&self, region: &str) -> Vec<String> {
        let bucket = self.bucket_arn(region);
        let objects = LAKE_PREFIXES.iter();
        objects
            .map(|prefix| format!("{bucket}/{prefix}/*"))
            .collect()
    }

    /// The policy of the bucket, whose objects are encrypted with the key of this ARN.
    #[must_use]
    pub fn bucket_policy(&self, key: &str) -> Value {
        const KEY_HEADER: &str = "s3:x-amz-server-side-encryption-aws-kms-key-id";
        let bucket = self.bucket_arn(&self.region);
        // The replication role cannot decrypt objects with another key. StringNotEquals alone would also
        // deny requests that name no key.
        let no_other_key = json!({
            "Sid": "NoOtherKey",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": self.objects_in(&self.region),
            "Condition": {"Null": {KEY_HEADER: "false"}, "StringNotEquals": {KEY_HEADER: key}},
        });
        // CREATE TABLE AS SELECT without external_location would write a table that expires.
        let no_tables = json!({
            "Sid": "NoTablesAmongResults",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": [
                format!("{bucket}/{RESULT_PREFIX}/tables/*/*"),
                format!("{bucket}/{RESULT_PREFIX}/*/tables/*/*"),
            ],
        });
        document(vec![only_tls_statement(&bucket), no_other_key, no_tables])
    }

    /// The lifecycle rules of the bucket.
    #[must_use]
    pub fn lifecycle(&self, noncurrent_days: i32, result_days: i32) -> Vec<ExpirationRule> {
        let mut rules: Vec<ExpirationRule> = LAKE_PREFIXES
            .iter()
            .map(|prefix| ExpirationRule {
                id: format!("{prefix}-noncurrent-versions"),
                prefix: format!("{prefix}/"),
                noncurrent_days: Some(noncurrent_days),
                removes_delete_markers: true,
                ..ExpirationRule::default()
            })
            .collect();
        rules.push(ExpirationRule {
            id: RESULT_PREFIX.to_owned(),
            prefix: format!("{RESULT_PREFIX}/"),
            object_days: Some(result_days),
            noncurrent_days: Some(1),
            ..ExpirationRule::default()
        });
        rules.push(ExpirationRule {
            id: "incomplete-uploads".to_owned(),
            upload_days: Some(UPLOAD_DAYS),
            ..ExpirationRule::default()
        });
        rules
    }

    /// The replication rules to the bucket of the other Region, where replicas get the key of this ARN.
    #[must_use]
    pub fn replication_rules(&self, peer_key: &str) -> Vec<ReplicationRule> {
        let priorities = 1..;
        let rules = LAKE_PREFIXES.iter().zip(priorities);
        rules
            .map(|(prefix, priority)| ReplicationRule {
                id: (*prefix).to_owned(),
                priority,
                is_enabled: true,
                prefix: format!("{prefix}/"),
                has_tag_filter: false,
                destination: self.peer_bucket(),
                replicates_delete_markers: true,
                replicates_modifications: true,
                replicates_kms_objects: true,
                replica_key: Some(peer_key.to_owned()),
                publishes_metrics: true,
                archive_class: None,
                is_version_1: false,
            })
            .collect()
    }

    /// The policy of the replication role.
    #[must_use]
    pub fn replication_policy(&self, key: &str, peer_key: &str) -> Value {
        let (source, replica) = (self.bucket_arn(&self.region), self.bucket_arn(&self.peer));
        // With a Bucket Key the encryption context is the ARN of the bucket, otherwise that of the object.
        let through_s3 = |region: &str, bucket: &str| {
            json!({
                "StringEquals": {"kms:ViaService": format!("s3.{region}.amazonaws.com")},
                "StringLike": {"kms:EncryptionContext:aws:s3:arn": [bucket, format!("{bucket}/*")]},
            })
        };
        document(vec![
            allow(
                "Source",
                json!(["s3:GetReplicationConfiguration", "s3:ListBucket"]),
                json!(source),
            ),
            allow(
                "SourceObjects",
                json!([
                    "s3:GetObjectVersionForReplication",
                    "s3:GetObjectVersionAcl",
                    "s3:GetObjectVersionTagging"
                ]),
                json!(self.objects_in(&self.region)),
            ),
            allow(
                "Replicas",
                json!([
                    "s3:ReplicateObject",
                    "s3:ReplicateDelete",
                    "s3:ReplicateTags"
                ]),
                json!(self.objects_in(&self.peer)),
            ),
            allow_if(
                "SourceKey",
                json!("kms:Decrypt"),
                key,
                through_s3(&self.region, &source),
            ),
            // Bucket Keys need kms:Decrypt too; sources without encryption, kms:GenerateDataKey.
            allow_if(
                "ReplicaKey",
                json!(["kms:Encrypt", "kms:GenerateDataKey", "kms:Decrypt"]),
                peer_key,
                through_s3(&self.peer, &replica),
            ),
        ])
    }

    /// The policy of the role of the registered locations.
    #[must_use]
    pub fn registration_policy(&self, key: &str) -> Value {
        document(vec![
            allow(
                "Objects",
                json!(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]),
                json!(self.objects_in(&self.region)),
            ),
            allow(
                "List",
                json!("s3:ListBucket"),
                json!(self.bucket_arn(&self.region)),
            ),
            allow(
                "Key",
                json!([
                    "kms:Encrypt",
                    "kms:Decrypt",
                    "kms:ReEncrypt*",
                    "kms:GenerateDataKey*",
                    "kms:DescribeKey"
                ]),
                json!(key),
            ),
        ])
    }

    /// The locations that are registered with Lake Formation: the prefixes and not the bucket, since Athena
    /// does not support results in a registered location.
    #[must_use]
    pub fn registrations(&self) -> Vec<Registration> {
        let bucket = self.bucket_arn(&self.region);
        let role = self.role_arn(&self.registration_role());
        let locations = LAKE_PREFIXES.iter();
        locations
            .map(|prefix| Registration {
                arn: format!("{bucket}/{prefix}"),
                role: Some(role.clone()),
                with_federation: false,
                hybrid_access: false,
                privileged_access: false,
                owner: None,
            })
            .collect()
    }

    /// Where the workgroup, which has the name of the lake, puts the results of queries.
    #[must_use]
    pub fn result_location(&self) -> String {
        format!("s3://{}/{RESULT_PREFIX}/", self.bucket())
    }

    /// The description of the workgroup.
    #[must_use]
    pub fn workgroup_description(&self) -> String {
        format!("Queries of {}.", self.lake)
    }
}

fn allow(sid: &str, actions: Value, resources: Value) -> Value {
    json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources})
}

fn allow_if(sid: &str, actions: Value, resource: &str, condition: Value) -> Value {
    let mut statement = allow(sid, actions, json!(resource));
    if let Some(fields) = statement.as_object_mut() {
        fields.insert("Condition".to_owned(), condition);
    }
    statement
}
