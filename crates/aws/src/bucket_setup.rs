//! Adds replication rules and notifications to buckets, and turns on their versioning.

use crate::call_error;
use crate::clients::Clients;
use aws_sdk_s3::types::{
    BucketVersioningStatus, DeleteMarkerReplication, DeleteMarkerReplicationStatus, Destination,
    EncryptionConfiguration, Event, Metrics, MetricsStatus, NotificationConfiguration,
    QueueConfiguration, ReplicaModifications, ReplicaModificationsStatus, ReplicationConfiguration,
    ReplicationRule as S3ReplicationRule, ReplicationRuleFilter, ReplicationRuleStatus,
    ReplicationTime, ReplicationTimeStatus, ReplicationTimeValue, SourceSelectionCriteria,
    SseKmsEncryptedObjects, SseKmsEncryptedObjectsStatus, VersioningConfiguration,
};
use aws_smithy_types::error::operation::BuildError;
use twinlake_core::readiness::ReplicationRule;
use twinlake_core::replication_setup::REPLICATION_EVENTS;
use twinlake_core::topology::AwsPartition;
use twinlake_core::{CallError, CallErrorKind};

/// The only threshold that S3 Replication Time Control has.
const TIME_CONTROL_MINUTES: i32 = 15;
/// The `Id` of the notification that is added.
const NOTIFICATION_ID: &str = "twinlake";

/// Changes the configuration of the buckets of a Region.
///
/// S3 has no call that adds a rule or a notification: each put replaces the whole configuration. So
/// each method reads it, adds to it and puts it, and what the SDK knows of the rest stays as it is.
/// Two writers at the same time can lose one of their changes: S3 has no condition on these calls.
#[derive(Clone, Debug)]
pub struct S3BucketSetup {
    region: String,
    s3: aws_sdk_s3::Client,
}

impl S3BucketSetup {
    /// The buckets of a Region.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            region: clients.region().to_owned(),
            s3: clients.s3(),
        }
    }

    /// Turns on versioning (`PutBucketVersioning`).
    ///
    /// # Errors
    /// The call failed.
    pub async fn enable_versioning(&self, bucket: &str) -> Result<(), CallError> {
        let enabled = VersioningConfiguration::builder()
            .status(BucketVersioningStatus::Enabled)
            .build();
        let call = self.s3.put_bucket_versioning().bucket(bucket);
        let response = call.versioning_configuration(enabled).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("PutBucketVersioning", &self.region, &e))
    }

    /// Adds rules (`PutBucketReplication`). A rule replaces the one that has its ID, so that a repetition
    /// changes nothing. `role` is for a bucket without a configuration; another one keeps its role.
    ///
    /// # Errors
    /// A call failed, or there is neither a configuration nor a role.
    pub async fn add_rules(
        &self,
        bucket: &str,
        rules: &[ReplicationRule],
        role: Option<&str>,
        with_time_control: bool,
    ) -> Result<(), CallError> {
        let found = self.s3.get_bucket_replication().bucket(bucket).send();
        let found = found
            .await
            .map_err(|e| call_error::from_sdk("GetBucketReplication", &self.region, &e));
        let found = match found {
            Ok(found) => found.replication_configuration,
            Err(error) if call_error::is_missing_configuration(&error) => None,
            Err(error) => return Err(error),
        };
        let (role, mut all) = match found {
            Some(found) => (found.role, found.rules),
            None => (role.unwrap_or_default().to_owned(), Vec::new()),
        };
        let partition = AwsPartition::of_region(&self.region);
        for rule in rules {
            let rule = to_sdk_rule(rule, partition, with_time_control)
                .map_err(|error| self.unbuildable("PutBucketReplication", &error))?;
            all.retain(|other| other.id() != rule.id());
            all.push(rule);
        }
        let configuration = ReplicationConfiguration::builder()
            .role(role)
            .set_rules(Some(all))
            .build()
            .map_err(|error| self.unbuildable("PutBucketReplication", &error))?;
        let call = self.s3.put_bucket_replication().bucket(bucket);
        let response = call.replication_configuration(configuration).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("PutBucketReplication", &self.region, &e))
    }

    /// Sends all replication events to a queue (`PutBucketNotificationConfiguration`). S3 checks that it
    /// may send to the queue.
    ///
    /// # Errors
    /// A call failed.
    pub async fn add_notification(&self, bucket: &str, queue: &str) -> Result<(), CallError> {
        let call = self.s3.get_bucket_notification_configuration();
        let found = call.bucket(bucket).send().await.map_err(|e| {
            call_error::from_sdk("GetBucketNotificationConfiguration", &self.region, &e)
        })?;
        let put = "PutBucketNotificationConfiguration";
        let added = QueueConfiguration::builder()
            .id(NOTIFICATION_ID)
            .queue_arn(queue)
            .events(Event::from(REPLICATION_EVENTS))
            .build()
            .map_err(|error| self.unbuildable(put, &error))?;
        let mut queues = found.queue_configurations.unwrap_or_default();
        queues.retain(|other| other.id() != Some(NOTIFICATION_ID));
        queues.push(added);
        let configuration = NotificationConfiguration::builder()
            .set_topic_configurations(found.topic_configurations)
            .set_queue_configurations(Some(queues))
            .set_lambda_function_configurations(found.lambda_function_configurations)
            .set_event_bridge_configuration(found.event_bridge_configuration)
            .build();
        let call = self.s3.put_bucket_notification_configuration();
        let call = call
            .bucket(bucket)
            .notification_configuration(configuration);
        let response = call.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk(put, &self.region, &e))
    }

    /// The error of a request that lacks a required field.
    fn unbuildable(&self, call: &str, error: &BuildError) -> CallError {
        CallError::new(
            CallErrorKind::Invalid,
            call,
            &self.region,
            error.to_string(),
        )
    }
}

/// A rule in the form of the SDK. It has a filter, so it is of version 2.
pub(crate) fn to_sdk_rule(
    rule: &ReplicationRule,
    partition: AwsPartition,
    with_time_control: bool,
) -> Result<S3ReplicationRule, BuildError> {
    let filter = ReplicationRuleFilter::builder()
        .prefix(&rule.prefix)
        .build();
    let delete_markers = status(
        rule.replicates_delete_markers,
        DeleteMarkerReplicationStatus::Enabled,
        DeleteMarkerReplicationStatus::Disabled,
    );
    let delete_markers = DeleteMarkerReplication::builder().status(delete_markers);
    S3ReplicationRule::builder()
        .id(&rule.id)
        .priority(rule.priority)
        .status(status(
            rule.is_enabled,
            ReplicationRuleStatus::Enabled,
            ReplicationRuleStatus::Disabled,
        ))
        .filter(filter)
        .delete_marker_replication(delete_markers.build())
        .source_selection_criteria(selection_criteria(rule)?)
        .destination(destination(rule, partition, with_time_control)?)
        .build()
}

fn selection_criteria(rule: &ReplicationRule) -> Result<SourceSelectionCriteria, BuildError> {
    let modifications = ReplicaModifications::builder()
        .status(status(
            rule.replicates_modifications,
            ReplicaModificationsStatus::Enabled,
            ReplicaModificationsStatus::Disabled,
        ))
        .build()?;
    // S3 takes this option and a key together, or neither.
    let kms = match rule.replicates_kms_objects {
        true => Some(
            SseKmsEncryptedObjects::builder()
                .status(SseKmsEncryptedObjectsStatus::Enabled)
                .build()?,
        ),
        false => None,
    };
    Ok(SourceSelectionCriteria::builder()
        .replica_modifications(modifications)
        .set_sse_kms_encrypted_objects(kms)
        .build())
}

fn destination(
    rule: &ReplicationRule,
    partition: AwsPartition,
    with_time_control: bool,
) -> Result<Destination, BuildError> {
    let minutes = ReplicationTimeValue::builder()
        .minutes(TIME_CONTROL_MINUTES)
        .build();
    // Metrics have a threshold with time control, and must not have one without it.
    let metrics = Metrics::builder()
        .status(status(
            rule.publishes_metrics,
            MetricsStatus::Enabled,
            MetricsStatus::Disabled,
        ))
        .set_event_threshold(with_time_control.then(|| minutes.clone()))
        .build()?;
    let time = ReplicationTime::builder()
        .status(ReplicationTimeStatus::Enabled)
        .time(minutes)
        .build()?;
    let key = rule.replica_key.clone().map(|key| {
        EncryptionConfiguration::builder()
            .replica_kms_key_id(key)
            .build()
    });
    Destination::builder()
        .bucket(format!("arn:{partition}:s3:::{}", rule.destination))
        .set_encryption_configuration(key)
        .metrics(metrics)
        .set_replication_time(with_time_control.then_some(time))
        .build()
}

fn status<T>(is_enabled: bool, enabled: T, disabled: T) -> T {
    if is_enabled { enabled } else { disabled }
}
