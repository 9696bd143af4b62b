//! Adds replication rules and notifications to buckets, and turns on their versioning.

use crate::call_error;
use crate::clients::Clients;
use crate::infrastructure::buckets::to_rule;
use aws_sdk_s3::operation::get_bucket_notification_configuration::GetBucketNotificationConfigurationOutput;
use aws_sdk_s3::types::{
    BucketVersioningStatus, DeleteMarkerReplication, DeleteMarkerReplicationStatus, Destination,
    EncryptionConfiguration, Event, LambdaFunctionConfiguration, Metrics, MetricsStatus,
    NotificationConfiguration, QueueConfiguration, ReplicaModifications,
    ReplicaModificationsStatus, ReplicationConfiguration, ReplicationRule as S3ReplicationRule,
    ReplicationRuleFilter, ReplicationRuleStatus, ReplicationTime, ReplicationTimeStatus,
    ReplicationTimeValue, SourceSelectionCriteria, SseKmsEncryptedObjects,
    SseKmsEncryptedObjectsStatus, TopicConfiguration, VersioningConfiguration,
};
use aws_smithy_types::error::operation::BuildError;
use std::collections::BTreeSet;
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

    /// Adds rules (`PutBucketReplication`). A rule that is there already stays as it is. `role` is for a bucket
    /// without a configuration; another one keeps its role.
    ///
    /// # Errors
    /// A call failed, another rule has the ID of one of them, or there is neither a configuration nor a role.
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
            // The put replaces all rules: a response without them is no proof that there are none.
            Ok(found) => Some(found.replication_configuration.ok_or_else(|| {
                let message = "the response does not contain the configuration";
                let kind = CallErrorKind::Unavailable;
                CallError::new(kind, "GetBucketReplication", &self.region, message)
            })?),
            Err(error) if call_error::is_missing_configuration(&error) => None,
            Err(error) => return Err(error),
        };
        let (role, mut all) = match found {
            Some(found) => (found.role, found.rules),
            None => (role.unwrap_or_default().to_owned(), Vec::new()),
        };
        let partition = AwsPartition::of_region(&self.region);
        for rule in rules {
            let sdk_rule = to_sdk_rule(rule, partition, with_time_control)
                .map_err(|error| self.unbuildable("PutBucketReplication", &error))?;
            add_rule(&mut all, rule, sdk_rule)
                .map_err(|problem| self.invalid("PutBucketReplication", problem))?;
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
        let configuration =
            with_notification(found, queue).map_err(|error| self.unbuildable(put, &error))?;
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
        self.invalid(call, error.to_string())
    }

    fn invalid(&self, call: &str, message: String) -> CallError {
        CallError::new(CallErrorKind::Invalid, call, &self.region, message)
    }
}

/// Adds a rule to those of a bucket, unless it is there already.
fn add_rule(
    all: &mut Vec<S3ReplicationRule>,
    rule: &ReplicationRule,
    sdk_rule: S3ReplicationRule,
) -> Result<(), String> {
    match all.iter().find(|other| other.id() == sdk_rule.id()) {
        None => {
            all.push(sdk_rule);
            Ok(())
        }
        Some(other) if to_rule(other) == *rule => Ok(()),
        Some(_) => Err(format!(
            "the bucket has another rule with the ID {}; nothing was changed",
            rule.id
        )),
    }
}

/// The notifications of a bucket with all replication events to a queue, and everything else as it is. Only an
/// entry that sends replication events, and no others, to the same queue is replaced: whatever else has the `Id`
/// is somebody's.
fn with_notification(
    found: GetBucketNotificationConfigurationOutput,
    queue: &str,
) -> Result<NotificationConfiguration, BuildError> {
    let mut queues = found.queue_configurations.unwrap_or_default();
    queues.retain(|other| !is_own(other, queue));
    let topics = found.topic_configurations.unwrap_or_default();
    let functions = found.lambda_function_configurations.unwrap_or_default();
    let taken: BTreeSet<&str> = queues
        .iter()
        .filter_map(QueueConfiguration::id)
        .chain(topics.iter().filter_map(TopicConfiguration::id))
        .chain(functions.iter().filter_map(LambdaFunctionConfiguration::id))
        .collect();
    let mut id = NOTIFICATION_ID.to_owned();
    let mut number = 1;
    while taken.contains(id.as_str()) {
        number += 1;
        id = format!("{NOTIFICATION_ID}-{number}");
    }
    let added = QueueConfiguration::builder()
        .id(id)
        .queue_arn(queue)
        .events(Event::from(REPLICATION_EVENTS))
        .build()?;
    queues.push(added);
    Ok(NotificationConfiguration::builder()
        .set_topic_configurations(Some(topics))
        .set_queue_configurations(Some(queues))
        .set_lambda_function_configurations(Some(functions))
        .set_event_bridge_configuration(found.event_bridge_configuration)
        .build())
}

/// Whether an entry sends replication events of all objects, and nothing else, to a queue.
fn is_own(entry: &QueueConfiguration, queue: &str) -> bool {
    let mut events = entry.events().iter();
    entry.queue_arn() == queue
        && entry.filter().is_none()
        && !entry.events().is_empty()
        && events.all(|event| event.as_str().starts_with("s3:Replication:"))
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

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "arn:aws:sqs:us-east-1:111122223333:twinlake-S3";

    fn entry(id: &str, queue: &str, event: &str) -> QueueConfiguration {
        let entry = QueueConfiguration::builder().id(id).queue_arn(queue);
        entry.events(Event::from(event)).build().unwrap()
    }

    fn added_to(found: GetBucketNotificationConfigurationOutput) -> Vec<QueueConfiguration> {
        let configuration = with_notification(found, QUEUE).unwrap();
        configuration.queue_configurations.unwrap()
    }

    fn of_queues(queues: Vec<QueueConfiguration>) -> GetBucketNotificationConfigurationOutput {
        GetBucketNotificationConfigurationOutput::builder()
            .set_queue_configurations(Some(queues))
            .build()
    }

    #[test]
    fn what_somebody_else_sends_stays_whatever_its_id_is() {
        let ingest = "arn:aws:sqs:us-east-1:111122223333:ingest";
        for theirs in [
            entry("twinlake", ingest, "s3:ObjectCreated:*"),
            entry("twinlake", ingest, REPLICATION_EVENTS),
            entry("twinlake", QUEUE, "s3:ObjectCreated:*"),
        ] {
            let queues = added_to(of_queues(vec![theirs.clone()]));
            let wanted = [theirs, entry("twinlake-2", QUEUE, REPLICATION_EVENTS)];
            assert_eq!(queues, wanted);
            assert_eq!(added_to(of_queues(queues.clone())), queues, "a repetition");
        }
        // Ids of topics and functions count, too.
        let topic = TopicConfiguration::builder()
            .id("twinlake")
            .topic_arn("arn:aws:sns:us-east-1:111122223333:t")
            .events(Event::from("s3:ObjectCreated:*"))
            .build()
            .unwrap();
        let function = LambdaFunctionConfiguration::builder()
            .id("twinlake-2")
            .lambda_function_arn("arn:aws:lambda:us-east-1:111122223333:function:f")
            .events(Event::from("s3:ObjectCreated:*"))
            .build()
            .unwrap();
        let found = GetBucketNotificationConfigurationOutput::builder()
            .topic_configurations(topic.clone())
            .lambda_function_configurations(function.clone())
            .build();
        let configuration = with_notification(found, QUEUE).unwrap();
        assert_eq!(
            configuration.queue_configurations()[0].id(),
            Some("twinlake-3")
        );
        assert_eq!(configuration.topic_configurations(), [topic]);
        assert_eq!(configuration.lambda_function_configurations(), [function]);
    }

    #[test]
    fn an_entry_of_an_earlier_run_is_replaced() {
        let partly = "s3:Replication:OperationFailedReplication";
        let queues = added_to(of_queues(vec![entry("twinlake", QUEUE, partly)]));
        assert_eq!(queues, [entry("twinlake", QUEUE, REPLICATION_EVENTS)]);
    }

    #[test]
    fn a_rule_of_somebody_else_with_the_same_id_is_not_replaced() {
        let rule = ReplicationRule {
            id: "twinlake".to_owned(),
            priority: 1,
            is_enabled: true,
            prefix: String::new(),
            has_tag_filter: false,
            destination: "lake-b".to_owned(),
            replicates_delete_markers: true,
            replicates_modifications: true,
            replicates_kms_objects: false,
            replica_key: None,
            publishes_metrics: true,
            archive_class: None,
            is_version_1: false,
        };
        let sdk = |rule: &ReplicationRule| {
            let partition = AwsPartition::of_region("us-east-1");
            to_sdk_rule(rule, partition, false).unwrap()
        };
        let mut all = Vec::new();
        for _ in 0..2 {
            add_rule(&mut all, &rule, sdk(&rule)).unwrap();
            assert_eq!(all, [sdk(&rule)]);
        }
        let other = ReplicationRule {
            destination: "elsewhere".to_owned(),
            ..rule
        };
        let problem = add_rule(&mut all, &other, sdk(&other)).unwrap_err();
        assert!(problem.contains("another rule with the ID twinlake"));
        assert_eq!(all.len(), 1);
    }
}
