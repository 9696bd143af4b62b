//! Buckets and their configuration.

use super::{LakeSetup, if_found};
use crate::bucket_setup::to_sdk_rule;
use crate::call_error;
use crate::infrastructure::buckets::{missing_bucket_or_failed, to_rule};
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint,
    BucketVersioningStatus, CreateBucketConfiguration, ExpirationStatus, LifecycleExpiration,
    LifecycleRule, LifecycleRuleFilter, NoncurrentVersionExpiration, ObjectOwnership,
    OwnershipControls, OwnershipControlsRule, PublicAccessBlockConfiguration,
    ReplicationConfiguration, ReplicationTimeStatus, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};
use serde_json::Value;
use twinlake_core::CallError;
use twinlake_core::lake_setup::{BucketEncryption, ExpirationRule, SetupState};
use twinlake_core::readiness::ReplicationRule;
use twinlake_core::topology::AwsPartition;

/// The Region whose buckets are made without a location constraint.
const DEFAULT_BUCKET_REGION: &str = "us-east-1";

impl LakeSetup {
    /// The state of a bucket of this name. S3 shares the names among all accounts of a partition.
    ///
    /// # Errors
    /// The call failed.
    pub async fn bucket(&self, bucket: &str) -> Result<SetupState, CallError> {
        let call = self.s3.head_bucket().bucket(bucket);
        let found = match call.expected_bucket_owner(&self.account).send().await {
            Ok(found) => found.bucket_region,
            Err(error) => match missing_bucket_or_failed(&self.region, &error) {
                Ok(None) => return Ok(SetupState::Missing),
                Ok(Some(region)) => Some(region),
                Err(error) if error.kind == twinlake_core::CallErrorKind::Denied => {
                    return Ok(SetupState::Different(format!(
                        "the name is taken: the bucket belongs to another account than {}, or you may not \
                         read it",
                        self.account
                    )));
                }
                Err(error) => return Err(error),
            },
        };
        Ok(match found {
            Some(region) if region != self.region => {
                SetupState::Different(format!("the name is taken: the bucket is in {region}"))
            }
            Some(_) | None => SetupState::Equal,
        })
    }

    /// Creates a bucket in this Region.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_bucket(&self, bucket: &str) -> Result<(), CallError> {
        let location = (self.region != DEFAULT_BUCKET_REGION).then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(self.region.as_str()))
                .build()
        });
        let call = self.s3.create_bucket().bucket(bucket);
        let created = call.set_create_bucket_configuration(location).send().await;
        created
            .map(drop)
            .map_err(|e| call_error::from_sdk("CreateBucket", &self.region, &e))
    }

    /// The state of the versioning. Where it is suspended, it is missing: replication needs it.
    ///
    /// # Errors
    /// The call failed.
    pub async fn versioning(&self, bucket: &str) -> Result<SetupState, CallError> {
        let call = self.s3.get_bucket_versioning().bucket(bucket);
        let found = call.expected_bucket_owner(&self.account).send().await;
        let found =
            found.map_err(|e| call_error::from_sdk("GetBucketVersioning", &self.region, &e));
        let status = if_found(found)?.and_then(|found| found.status);
        Ok(match status == Some(BucketVersioningStatus::Enabled) {
            true => SetupState::Equal,
            false => SetupState::Missing,
        })
    }

    /// Whether the bucket owner owns all objects, without ACLs.
    ///
    /// # Errors
    /// The call failed.
    pub async fn ownership(&self, bucket: &str) -> Result<SetupState, CallError> {
        let call = self.s3.get_bucket_ownership_controls().bucket(bucket);
        let found = call.expected_bucket_owner(&self.account).send().await;
        let found =
            found.map_err(|e| call_error::from_sdk("GetBucketOwnershipControls", &self.region, &e));
        let controls = if_found(found)?.and_then(|found| found.ownership_controls);
        let rules = controls.map(|controls| controls.rules);
        let found = rules.and_then(|rules| rules.into_iter().next());
        let found = found.map(|rule| rule.object_ownership);
        let wanted = ObjectOwnership::BucketOwnerEnforced;
        Ok(SetupState::of(found.as_ref(), &wanted, |found| {
            format!("its ObjectOwnership is {}", found.as_str())
        }))
    }

    /// Turns off the ACLs of the bucket.
    ///
    /// # Errors
    /// The call failed.
    pub async fn enforce_ownership(&self, bucket: &str) -> Result<(), CallError> {
        const CALL: &str = "PutBucketOwnershipControls";
        let rule = OwnershipControlsRule::builder()
            .object_ownership(ObjectOwnership::BucketOwnerEnforced)
            .build()
            .map_err(|error| self.build_error(CALL, &error))?;
        let controls = OwnershipControls::builder().rules(rule).build();
        let controls = controls.map_err(|error| self.build_error(CALL, &error))?;
        let call = self.s3.put_bucket_ownership_controls().bucket(bucket);
        let call = call.expected_bucket_owner(&self.account);
        let put = call.ownership_controls(controls).send().await;
        put.map(drop)
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
    }

    /// Whether all public access is blocked. A bucket without such a configuration counts as missing; one that
    /// blocks less counts as different, since somebody chose it.
    ///
    /// # Errors
    /// The call failed.
    pub async fn public_access_block(&self, bucket: &str) -> Result<SetupState, CallError> {
        let call = self.s3.get_public_access_block().bucket(bucket);
        let found = call.expected_bucket_owner(&self.account).send().await;
        let found =
            found.map_err(|e| call_error::from_sdk("GetPublicAccessBlock", &self.region, &e));
        let found = if_found(found)?.and_then(|found| found.public_access_block_configuration);
        let wanted = all_public_access_blocked();
        Ok(SetupState::of(found.as_ref(), &wanted, |_| {
            "it blocks public access only in part".to_owned()
        }))
    }

    /// Blocks all public access.
    ///
    /// # Errors
    /// The call failed.
    pub async fn block_public_access(&self, bucket: &str) -> Result<(), CallError> {
        let call = self.s3.put_public_access_block().bucket(bucket);
        let call = call.expected_bucket_owner(&self.account);
        let call = call.public_access_block_configuration(all_public_access_blocked());
        let put = call.send().await;
        put.map(drop)
            .map_err(|e| call_error::from_sdk("PutPublicAccessBlock", &self.region, &e))
    }

    /// The state of the default encryption. SSE-S3, which every new bucket has, counts as missing where a KMS key is
    /// wanted.
    ///
    /// # Errors
    /// The call failed.
    pub async fn encryption(
        &self,
        bucket: &str,
        wanted: &BucketEncryption,
    ) -> Result<SetupState, CallError> {
        let call = self.s3.get_bucket_encryption().bucket(bucket);
        let found = call.expected_bucket_owner(&self.account).send().await;
        let found =
            found.map_err(|e| call_error::from_sdk("GetBucketEncryption", &self.region, &e));
        let found = if_found(found)?.and_then(|found| found.server_side_encryption_configuration);
        let rule = found.and_then(|found| found.rules.into_iter().next());
        let has_bucket_key = rule.as_ref().and_then(|rule| rule.bucket_key_enabled) == Some(true);
        let default = rule.and_then(|rule| rule.apply_server_side_encryption_by_default);
        let uses_s3 = default
            .as_ref()
            .is_none_or(|default| default.sse_algorithm == ServerSideEncryption::Aes256);
        Ok(match wanted {
            BucketEncryption::S3 if uses_s3 => SetupState::Equal,
            BucketEncryption::Kms(_) if uses_s3 => SetupState::Missing,
            BucketEncryption::Kms(key)
                if has_bucket_key
                    && default.as_ref().and_then(|d| d.kms_master_key_id.as_ref()) == Some(key) =>
            {
                SetupState::Equal
            }
            BucketEncryption::S3 | BucketEncryption::Kms(_) => {
                let key = default.as_ref().and_then(|d| d.kms_master_key_id());
                SetupState::Different(format!(
                    "its default encryption is {} with the key {}, S3 Bucket Keys {}",
                    default
                        .as_ref()
                        .map_or("AES256", |d| d.sse_algorithm.as_str()),
                    key.unwrap_or("of the service"),
                    if has_bucket_key { "on" } else { "off" }
                ))
            }
        })
    }

    /// Encrypts new objects with a KMS key by default.
    ///
    /// # Errors
    /// The call failed.
    pub async fn encrypt_with(&self, bucket: &str, key: &str) -> Result<(), CallError> {
        const CALL: &str = "PutBucketEncryption";
        let default = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(ServerSideEncryption::AwsKms)
            .kms_master_key_id(key)
            .build()
            .map_err(|error| self.build_error(CALL, &error))?;
        let rule = ServerSideEncryptionRule::builder()
            .bucket_key_enabled(true)
            .apply_server_side_encryption_by_default(default)
            .build();
        let configuration = ServerSideEncryptionConfiguration::builder()
            .rules(rule)
            .build()
            .map_err(|error| self.build_error(CALL, &error))?;
        let call = self.s3.put_bucket_encryption().bucket(bucket);
        let call = call.expected_bucket_owner(&self.account);
        let call = call.server_side_encryption_configuration(configuration);
        let put = call.send().await;
        put.map(drop)
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
    }

    /// The state of the lifecycle rules.
    ///
    /// # Errors
    /// The call failed.
    pub async fn lifecycle(
        &self,
        bucket: &str,
        wanted: &[ExpirationRule],
    ) -> Result<SetupState, CallError> {
        const CALL: &str = "GetBucketLifecycleConfiguration";
        let call = self.s3.get_bucket_lifecycle_configuration().bucket(bucket);
        let found = call.expected_bucket_owner(&self.account).send().await;
        let found = found.map_err(|e| call_error::from_sdk(CALL, &self.region, &e));
        let rules = if_found(found)?.map(|found| self.required(CALL, found.rules));
        let rules = rules.transpose()?;
        let found = rules.map(|rules| by_id(rules.into_iter().map(with_filter).collect()));
        let wanted = by_id(self.sdk_lifecycle(wanted)?);
        Ok(SetupState::of(found.as_ref(), &wanted, |found| {
            let ids = |rules: &[LifecycleRule]| -> String {
                let ids: Vec<&str> = rules.iter().filter_map(LifecycleRule::id).collect();
                ids.join(", ")
            };
            format!(
                "its lifecycle rules are {}; the setup sets {}. Compare `aws s3api \
                 get-bucket-lifecycle-configuration --bucket {bucket}` with stacks/storage.yaml",
                ids(found),
                ids(&wanted)
            )
        }))
    }

    /// Sets the lifecycle rules of a bucket that has none.
    ///
    /// # Errors
    /// The call failed.
    pub async fn put_lifecycle(
        &self,
        bucket: &str,
        rules: &[ExpirationRule],
    ) -> Result<(), CallError> {
        const CALL: &str = "PutBucketLifecycleConfiguration";
        let configuration = BucketLifecycleConfiguration::builder()
            .set_rules(Some(self.sdk_lifecycle(rules)?))
            .build()
            .map_err(|error| self.build_error(CALL, &error))?;
        let call = self.s3.put_bucket_lifecycle_configuration().bucket(bucket);
        let call = call.expected_bucket_owner(&self.account);
        let put = call.lifecycle_configuration(configuration).send().await;
        put.map(drop)
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
    }

    fn sdk_lifecycle(&self, rules: &[ExpirationRule]) -> Result<Vec<LifecycleRule>, CallError> {
        let rules = rules.iter().map(to_sdk_lifecycle_rule);
        rules
            .collect::<Result<_, _>>()
            .map_err(|error| self.build_error("PutBucketLifecycleConfiguration", &error))
    }

    /// The policy of a bucket, as text.
    ///
    /// # Errors
    /// The call failed.
    pub async fn bucket_policy_text(&self, bucket: &str) -> Result<Option<String>, CallError> {
        let call = self.s3.get_bucket_policy().bucket(bucket);
        let found = call.expected_bucket_owner(&self.account).send().await;
        const CALL: &str = "GetBucketPolicy";
        let found = found.map_err(|e| call_error::from_sdk(CALL, &self.region, &e));
        let policy = if_found(found)?.map(|found| self.required(CALL, found.policy));
        policy.transpose()
    }

    /// The state of the policy of a bucket.
    ///
    /// # Errors
    /// The call failed.
    pub async fn bucket_policy_state(
        &self,
        bucket: &str,
        wanted: &Value,
    ) -> Result<SetupState, CallError> {
        let found = self.bucket_policy_text(bucket).await?;
        let state = SetupState::of_document(found.as_deref(), wanted);
        state.map_err(|problem| self.invalid("GetBucketPolicy", problem))
    }

    /// Sets the policy of a bucket.
    ///
    /// # Errors
    /// The call failed.
    pub async fn put_bucket_policy(&self, bucket: &str, policy: &Value) -> Result<(), CallError> {
        let call = self.s3.put_bucket_policy().bucket(bucket);
        let call = call.expected_bucket_owner(&self.account);
        let put = call.policy(policy.to_string()).send().await;
        put.map(drop)
            .map_err(|e| call_error::from_sdk("PutBucketPolicy", &self.region, &e))
    }

    /// The state of the replication configuration.
    ///
    /// # Errors
    /// The call failed.
    pub async fn replication(
        &self,
        bucket: &str,
        role: &str,
        rules: &[ReplicationRule],
        with_time_control: bool,
    ) -> Result<SetupState, CallError> {
        let call = self.s3.get_bucket_replication().bucket(bucket);
        let found = call.expected_bucket_owner(&self.account).send().await;
        let found =
            found.map_err(|e| call_error::from_sdk("GetBucketReplication", &self.region, &e));
        let found = if_found(found)?
            .map(|found| self.required("GetBucketReplication", found.replication_configuration));
        let found = found.transpose()?;
        let mut found_rules = found.iter().flat_map(|found| &found.rules);
        let lacks_time_control = with_time_control && !found_rules.all(has_time_control);
        let found = found.map(|found| {
            let mut rules: Vec<ReplicationRule> = found.rules.iter().map(to_rule).collect();
            rules.sort_by_key(|rule| rule.priority);
            (found.role, rules)
        });
        let wanted = (role.to_owned(), rules.to_vec());
        let state = SetupState::of(found.as_ref(), &wanted, |(role, rules)| {
            let ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
            format!(
                "it has the rules {} with the role {role}. Compare `aws s3api get-bucket-replication --bucket \
                 {bucket}` with stacks/storage.yaml",
                ids.join(", ")
            )
        });
        if state == SetupState::Equal && lacks_time_control {
            let difference = "its rules have no Replication Time Control".to_owned();
            return Ok(SetupState::Different(difference));
        }
        Ok(state)
    }

    /// Sets the replication configuration of a bucket that has none.
    ///
    /// # Errors
    /// The call failed.
    pub async fn put_replication(
        &self,
        bucket: &str,
        role: &str,
        rules: &[ReplicationRule],
        with_time_control: bool,
    ) -> Result<(), CallError> {
        const CALL: &str = "PutBucketReplication";
        let partition = AwsPartition::of_region(&self.region);
        let rules = rules
            .iter()
            .map(|rule| to_sdk_rule(rule, partition, with_time_control));
        let rules = rules
            .collect::<Result<_, _>>()
            .map_err(|error| self.build_error(CALL, &error))?;
        let configuration = ReplicationConfiguration::builder()
            .role(role)
            .set_rules(Some(rules))
            .build()
            .map_err(|error| self.build_error(CALL, &error))?;
        let call = self.s3.put_bucket_replication().bucket(bucket);
        let call = call.expected_bucket_owner(&self.account);
        let put = call.replication_configuration(configuration).send().await;
        put.map(drop)
            .map_err(|e| call_error::from_sdk(CALL, &self.region, &e))
    }
}

fn has_time_control(rule: &aws_sdk_s3::types::ReplicationRule) -> bool {
    let destination = rule.destination.as_ref();
    let time = destination.and_then(|destination| destination.replication_time.as_ref());
    time.is_some_and(|time| time.status == ReplicationTimeStatus::Enabled)
}

fn all_public_access_blocked() -> PublicAccessBlockConfiguration {
    PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .block_public_policy(true)
        .ignore_public_acls(true)
        .restrict_public_buckets(true)
        .build()
}

fn by_id(mut rules: Vec<LifecycleRule>) -> Vec<LifecycleRule> {
    rules.sort_by(|a, b| a.id.cmp(&b.id));
    rules
}

/// A rule with its prefix in the filter, where the older form has it outside.
fn with_filter(mut rule: LifecycleRule) -> LifecycleRule {
    #[allow(deprecated, reason = "rules of the older form have this field")]
    let older_prefix = rule.prefix.take();
    let has_other_filter = rule.filter.as_ref().is_some_and(|filter| {
        filter.prefix.is_some() || *filter != LifecycleRuleFilter::builder().build()
    });
    if !has_other_filter {
        let prefix = older_prefix.unwrap_or_default();
        rule.filter = Some(LifecycleRuleFilter::builder().prefix(prefix).build());
    }
    rule
}

fn to_sdk_lifecycle_rule(
    rule: &ExpirationRule,
) -> Result<LifecycleRule, aws_smithy_types::error::operation::BuildError> {
    let expiration = (rule.object_days.is_some() || rule.removes_delete_markers).then(|| {
        LifecycleExpiration::builder()
            .set_days(rule.object_days)
            .set_expired_object_delete_marker(rule.removes_delete_markers.then_some(true))
            .build()
    });
    let noncurrent = rule.noncurrent_days.map(|days| {
        NoncurrentVersionExpiration::builder()
            .noncurrent_days(days)
            .build()
    });
    let uploads = rule.upload_days.map(|days| {
        AbortIncompleteMultipartUpload::builder()
            .days_after_initiation(days)
            .build()
    });
    LifecycleRule::builder()
        .id(&rule.id)
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix(&rule.prefix).build())
        .set_expiration(expiration)
        .set_noncurrent_version_expiration(noncurrent)
        .set_abort_incomplete_multipart_upload(uploads)
        .build()
}
