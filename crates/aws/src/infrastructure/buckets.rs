//! Reads the configuration of a bucket, and a few of its objects.

use crate::call_error;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_bucket::HeadBucketError;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::types::{
    BucketVersioningStatus, DeleteMarkerReplicationStatus, Event, ExpirationStatus, FilterRuleName,
    LifecycleRule as S3LifecycleRule, MetricsStatus, NotificationConfigurationFilter,
    ReplicaModificationsStatus, ReplicationRule as S3ReplicationRule, ReplicationRuleStatus,
    ServerSideEncryption, SseKmsEncryptedObjectsStatus,
};
use std::collections::BTreeMap;
use twinlake_core::CallError;
use twinlake_core::arn::Arn;
use twinlake_core::canary::is_canary_key;
use twinlake_core::readiness::{
    BucketReadings, LifecycleRule, ObjectEncryption, ObjectSample, ReplicationRule, S3EventTarget,
    Versioning,
};

/// The objects of a location that are looked at, of each end of the listing's times.
const SAMPLES_PER_END: usize = 2;

/// The storage classes from which an object is restored before it is read.
const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

type Client = aws_sdk_s3::Client;

/// Reads the configuration of a bucket. Its objects are left out.
pub(super) async fn read(client: &Client, region: &str, bucket: &str) -> BucketReadings {
    let replication = replication(client, region, bucket).await;
    BucketReadings {
        region: region_of(client, region, bucket).await.into(),
        versioning: versioning(client, region, bucket).await.into(),
        replication_role: replication.as_ref().map(|found| found.role.clone()).into(),
        rules: replication.map(|found| found.rules).into(),
        encryption: encryption(client, region, bucket).await.into(),
        lifecycle: lifecycle(client, region, bucket).await.into(),
        notifications: notifications(client, region, bucket).await.into(),
        objects: BTreeMap::new(),
    }
}

/// `HeadBucket`: the Region of the bucket, or `None` if there is no such bucket.
pub(super) async fn region_of(
    client: &Client,
    region: &str,
    bucket: &str,
) -> Result<Option<String>, CallError> {
    match client.head_bucket().bucket(bucket).send().await {
        Ok(found) => Ok(Some(
            found.bucket_region.unwrap_or_else(|| region.to_owned()),
        )),
        Err(error) => missing_bucket_or_failed(region, &error),
    }
}

/// What an error of `HeadBucket` means: the other Region that the bucket is in, or `None` if there is no such
/// bucket.
pub(crate) fn missing_bucket_or_failed(
    region: &str,
    error: &SdkError<HeadBucketError>,
) -> Result<Option<String>, CallError> {
    // A response to HEAD has no body: its status and its headers say all.
    let response = error.raw_response();
    let status = response.map(|raw| raw.status().as_u16());
    let named = response.and_then(|raw| raw.headers().get("x-amz-bucket-region"));
    match (status, named) {
        (Some(404), _) => Ok(None),
        (Some(301 | 400), Some(named)) => Ok(Some(named.to_owned())),
        (Some(403), _) => Err(call_error::from_code(
            "HeadBucket",
            region,
            "AccessDenied",
            "HeadBucket returned status 403",
        )),
        _ => Err(call_error::from_sdk("HeadBucket", region, error)),
    }
}

async fn versioning(client: &Client, region: &str, bucket: &str) -> Result<Versioning, CallError> {
    let found = client.get_bucket_versioning().bucket(bucket).send().await;
    let found = found.map_err(|e| call_error::from_sdk("GetBucketVersioning", region, &e))?;
    Ok(match found.status {
        None => Versioning::Off,
        Some(BucketVersioningStatus::Enabled) => Versioning::Enabled,
        Some(_) => Versioning::Suspended,
    })
}

/// The result of a read, with the default in place of the error that says that the bucket has no such
/// configuration.
fn or_default<T: Default>(result: Result<T, CallError>) -> Result<T, CallError> {
    match result {
        Err(error) if call_error::is_missing_configuration(&error) => Ok(T::default()),
        Ok(_) | Err(_) => result,
    }
}

/// The rules of `GetBucketReplication`.
pub(crate) async fn rules(
    client: &Client,
    region: &str,
    bucket: &str,
) -> Result<Vec<ReplicationRule>, CallError> {
    let found = replication(client, region, bucket).await?;
    Ok(found.rules)
}

/// The replication configuration of a bucket.
#[derive(Default)]
struct Replication {
    role: Option<String>,
    rules: Vec<ReplicationRule>,
}

/// `GetBucketReplication`; an empty one if the bucket has none.
async fn replication(
    client: &Client,
    region: &str,
    bucket: &str,
) -> Result<Replication, CallError> {
    let found = client.get_bucket_replication().bucket(bucket).send().await;
    let found = found.map_err(|e| call_error::from_sdk("GetBucketReplication", region, &e));
    let configuration = or_default(found.map(|found| found.replication_configuration))?;
    Ok(
        configuration.map_or_else(Replication::default, |configuration| Replication {
            rules: configuration.rules.iter().map(to_rule).collect(),
            role: Some(configuration.role).filter(|role| !role.is_empty()),
        }),
    )
}

pub(crate) fn to_rule(rule: &S3ReplicationRule) -> ReplicationRule {
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    // A rule of version 1 has its prefix outside a filter, in a field that is deprecated.
    #[allow(deprecated, reason = "rules of version 1 have this field")]
    let version_1_prefix = rule.prefix();
    let prefix = filter
        .and_then(|filter| filter.prefix())
        .or_else(|| and.and_then(|and| and.prefix()))
        .or(version_1_prefix);
    let has_tag_filter = filter.is_some_and(|filter| filter.tag().is_some())
        || and.is_some_and(|and| !and.tags().is_empty());
    let destination = rule.destination();
    let bucket = destination.map_or("", |destination| destination.bucket());
    let criteria = rule.source_selection_criteria();
    let modifications = criteria.and_then(|criteria| criteria.replica_modifications());
    let kms = criteria.and_then(|criteria| criteria.sse_kms_encrypted_objects());
    let delete_markers = rule.delete_marker_replication();
    ReplicationRule {
        id: rule.id().unwrap_or_default().to_owned(),
        priority: rule.priority().unwrap_or_default(),
        is_enabled: *rule.status() == ReplicationRuleStatus::Enabled,
        prefix: prefix.unwrap_or_default().to_owned(),
        has_tag_filter,
        destination: Arn::parse(bucket)
            .map_or(bucket, |arn| arn.resource)
            .to_owned(),
        replicates_delete_markers: match filter {
            None => true,
            Some(_) => delete_markers.is_some_and(|replication| {
                replication.status() == Some(&DeleteMarkerReplicationStatus::Enabled)
            }),
        },
        replicates_modifications: modifications
            .is_some_and(|found| *found.status() == ReplicaModificationsStatus::Enabled),
        replicates_kms_objects: kms
            .is_some_and(|found| *found.status() == SseKmsEncryptedObjectsStatus::Enabled),
        replica_key: destination
            .and_then(|destination| destination.encryption_configuration())
            .and_then(|encryption| encryption.replica_kms_key_id())
            .map(str::to_owned),
        publishes_metrics: destination
            .and_then(|destination| destination.metrics())
            .is_some_and(|metrics| *metrics.status() == MetricsStatus::Enabled),
        archive_class: destination
            .and_then(|destination| destination.storage_class())
            .filter(|class| ARCHIVES.contains(&class.as_str()))
            .map(|class| class.as_str().to_owned()),
        is_version_1: filter.is_none(),
    }
}

/// The default encryption of `GetBucketEncryption`.
pub(crate) async fn encryption(
    client: &Client,
    region: &str,
    bucket: &str,
) -> Result<ObjectEncryption, CallError> {
    let found = client.get_bucket_encryption().bucket(bucket).send().await;
    let found = found.map_err(|e| call_error::from_sdk("GetBucketEncryption", region, &e));
    let configuration = or_default(found.map(|found| found.server_side_encryption_configuration))?;
    let rules = configuration.map(|configuration| configuration.rules);
    let rules = rules.unwrap_or_default();
    let default = rules
        .iter()
        .find_map(|rule| rule.apply_server_side_encryption_by_default());
    Ok(default.map_or(ObjectEncryption::S3, |default| {
        object_encryption(Some(default.sse_algorithm()), default.kms_master_key_id())
    }))
}

/// The encryption that a response names.
pub(crate) fn object_encryption(
    algorithm: Option<&ServerSideEncryption>,
    key: Option<&str>,
) -> ObjectEncryption {
    match algorithm {
        Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse) => {
            ObjectEncryption::Kms(key.map(str::to_owned))
        }
        Some(_) | None => ObjectEncryption::S3,
    }
}

async fn lifecycle(
    client: &Client,
    region: &str,
    bucket: &str,
) -> Result<Vec<LifecycleRule>, CallError> {
    let found = client.get_bucket_lifecycle_configuration().bucket(bucket);
    let found = found.send().await;
    let found =
        found.map_err(|e| call_error::from_sdk("GetBucketLifecycleConfiguration", region, &e));
    let rules = or_default(found.map(|found| found.rules))?;
    Ok(rules
        .unwrap_or_default()
        .iter()
        .map(lifecycle_rule)
        .collect())
}

fn lifecycle_rule(rule: &S3LifecycleRule) -> LifecycleRule {
    let filter = rule.filter();
    // A rule of the older form has its prefix outside a filter, in a field that is deprecated.
    #[allow(deprecated, reason = "rules of the older form have this field")]
    let older_prefix = rule.prefix();
    let prefix = filter
        .and_then(|filter| filter.prefix())
        .or_else(|| {
            filter
                .and_then(|filter| filter.and())
                .and_then(|and| and.prefix())
        })
        .or(older_prefix);
    let and = filter.and_then(|filter| filter.and());
    // What selects objects besides the prefix, which has two forms.
    let selection = (
        filter.map(|filter| {
            let sizes = (
                filter.object_size_greater_than(),
                filter.object_size_less_than(),
            );
            (filter.tag(), sizes)
        }),
        and.map(|and| {
            let sizes = (and.object_size_greater_than(), and.object_size_less_than());
            (and.tags(), sizes)
        }),
    );
    let is_by_prefix = filter.is_none_or(|filter| {
        let has_size =
            filter.object_size_greater_than().is_some() || filter.object_size_less_than().is_some();
        filter.tag().is_none() && !has_size && filter.and().is_none()
    });
    let expiration = rule.expiration();
    let is_archive =
        |class: &aws_sdk_s3::types::TransitionStorageClass| ARCHIVES.contains(&class.as_str());
    let transitions = rule.transitions().iter();
    let archives = transitions.filter(|one| one.storage_class().is_some_and(is_archive));
    let archive = archives.clone().find_map(|one| one.storage_class());

    LifecycleRule {
        id: rule.id().unwrap_or_default().to_owned(),
        is_enabled: *rule.status() == ExpirationStatus::Enabled,
        prefix: prefix.unwrap_or_default().to_owned(),
        definition: format!(
            "{prefix:?} {selection:?} {expiration:?} {:?}",
            rule.transitions()
        ),
        expires_objects: expiration
            .is_some_and(|expiration| expiration.days().is_some() || expiration.date().is_some()),
        expires_after_days: expiration
            .and_then(|expiration| expiration.days())
            .filter(|_| is_by_prefix),
        archive_class: archive.map(|class| class.as_str().to_owned()),
        archives_after_days: archives
            .filter_map(|transition| transition.days())
            .min()
            .filter(|_| is_by_prefix),
    }
}

async fn notifications(
    client: &Client,
    region: &str,
    bucket: &str,
) -> Result<Vec<S3EventTarget>, CallError> {
    let found = client
        .get_bucket_notification_configuration()
        .bucket(bucket);
    let found = found.send().await;
    let found = found
        .map_err(|e| call_error::from_sdk("GetBucketNotificationConfiguration", region, &e))?;
    let target = |arn: &str, events: &[Event], filter: Option<&NotificationConfigurationFilter>| {
        let rules = filter.and_then(|filter| filter.key());
        let rules = rules.map_or(&[][..], |key| key.filter_rules());
        let value = |name: FilterRuleName| {
            let mut rules = rules.iter().filter(|rule| rule.name() == Some(&name));
            rules
                .next()
                .and_then(|rule| rule.value())
                .unwrap_or_default()
        };
        S3EventTarget {
            target: arn.to_owned(),
            events: events
                .iter()
                .map(|event| event.as_str().to_owned())
                .collect(),
            prefix: value(FilterRuleName::Prefix).to_owned(),
            has_suffix: !value(FilterRuleName::Suffix).is_empty(),
        }
    };
    let mut targets = Vec::new();
    for queue in found.queue_configurations() {
        targets.push(target(queue.queue_arn(), queue.events(), queue.filter()));
    }
    for topic in found.topic_configurations() {
        targets.push(target(topic.topic_arn(), topic.events(), topic.filter()));
    }
    for function in found.lambda_function_configurations() {
        targets.push(target(
            function.lambda_function_arn(),
            function.events(),
            function.filter(),
        ));
    }
    Ok(targets)
}

/// The oldest and the newest objects of the first page of a listing, each read by `HeadObject`. Objects
/// that are deleted in between are left out.
pub(super) async fn sample_objects(
    client: &Client,
    region: &str,
    bucket: &str,
    prefix: &str,
) -> Result<Vec<ObjectSample>, CallError> {
    let listed = client
        .list_objects_v2()
        .bucket(bucket)
        .prefix(prefix)
        .send();
    let listed = listed
        .await
        .map_err(|e| call_error::from_sdk("ListObjectsV2", region, &e))?;
    let mut objects: Vec<(i64, &str)> = listed
        .contents()
        .iter()
        .filter(|object| !is_directory_marker(object) && !is_canary(object))
        .filter_map(|object| {
            let time = object.last_modified().map(|time| time.secs());
            Some((time.unwrap_or_default(), object.key()?))
        })
        .collect();
    objects.sort_unstable();
    let newest = objects.len().saturating_sub(SAMPLES_PER_END);
    let is_at_end = |at: usize| at < SAMPLES_PER_END || at >= newest;
    let ends = objects.iter().enumerate().filter(|(at, _)| is_at_end(*at));
    let mut samples = Vec::new();
    for (_, (_, key)) in ends {
        samples.extend(object(client, region, bucket, key).await?);
    }
    Ok(samples)
}

/// Whether an object is a canary of Twinlake. It is newer than all data, and of no table.
fn is_canary(object: &aws_sdk_s3::types::Object) -> bool {
    object.key().is_some_and(is_canary_key)
}

/// Whether an object only stands for a directory, as consoles and Hadoop write it.
fn is_directory_marker(object: &aws_sdk_s3::types::Object) -> bool {
    let key = object.key().unwrap_or_default();
    object.size() == Some(0) && (key.ends_with('/') || key.ends_with("_$folder$"))
}

/// What an error of `HeadObject` means: `None` if there is no such object. The response has no body, so its
/// status decides.
pub(crate) fn missing_or_failed<T>(
    region: &str,
    error: &SdkError<HeadObjectError>,
) -> Result<Option<T>, CallError> {
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    match status {
        Some(404) => Ok(None),
        Some(403) => Err(call_error::from_code(
            "HeadObject",
            region,
            "AccessDenied",
            "HeadObject returned status 403",
        )),
        _ => Err(call_error::from_sdk("HeadObject", region, error)),
    }
}

/// `HeadObject`; `None` if there is no such object.
pub(super) async fn object(
    client: &Client,
    region: &str,
    bucket: &str,
    key: &str,
) -> Result<Option<ObjectSample>, CallError> {
    let found = match client.head_object().bucket(bucket).key(key).send().await {
        Ok(found) => found,
        Err(error) => return missing_or_failed(region, &error),
    };
    let encryption = object_encryption(found.server_side_encryption(), found.ssekms_key_id());
    Ok(Some(ObjectSample {
        key: key.to_owned(),
        replication_status: found
            .replication_status()
            .map(|status| status.as_str().to_owned()),
        encryption,
    }))
}
