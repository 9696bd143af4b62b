//! Checks of encryption with KMS: S3 leaves out encrypted objects unless a rule names a usable key.
//!
//! S3 does not check the key when a rule is stored: a wrong key shows only as failed replication
//! (S3 user guide, `replication-config-for-kms-objects`).

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::replication::{change_rule, rule_subject};
use super::{
    BucketReadings, Checked, KmsKey, ObjectEncryption, Reading, RegionReadings, ReplicationRule,
    Texts,
};
use crate::arn::Arn;
use crate::location::CopiedBy;

pub(super) fn check(checked: &mut Checked<'_>) {
    let (readings, policy, epoch) = (checked.readings, checked.policy, checked.epoch);
    for pair in policy.locations.pairs() {
        if pair.copied_by != CopiedBy::S3 {
            continue;
        }
        let primary = (&readings.primary, pair.sites.get(epoch.primary()));
        let standby = (&readings.standby, pair.sites.get(epoch.standby()));
        for ((source, from), (destination, to)) in [(primary, standby), (standby, primary)] {
            let Some(bucket) = source.buckets.get(from.bucket()) else {
                continue;
            };
            if bucket.is_missing_in(&source.region) {
                continue;
            }
            let rules = bucket.rules.read().map_or(&[][..], Vec::as_slice);
            let prefix = from.prefix();
            let applies = |rule: &&ReplicationRule| {
                rule.covers(&prefix, to.bucket()) || rule.covers_part_of(&prefix, to.bucket())
            };
            for rule in rules.iter().filter(applies) {
                let subject = rule_subject(from.bucket(), rule);
                if !rule.replicates_kms_objects {
                    check_kms_objects(checked, source, from.bucket(), rule, bucket);
                } else if let Some(key) = &rule.replica_key {
                    check_replica_key(checked, source, destination, &subject, key);
                }
            }
        }
    }
}

/// Reports a rule that leaves out encrypted objects, if the bucket has or gets any.
fn check_kms_objects(
    checked: &mut Checked<'_>,
    source: &RegionReadings,
    bucket_name: &str,
    rule: &ReplicationRule,
    bucket: &BucketReadings,
) {
    let subject = &rule_subject(bucket_name, rule);
    let by_default = match &bucket.encryption {
        Reading::Unread(error) => {
            return checked.add_unread(Check::KmsObjects, &source.region, subject, error);
        }
        Reading::Read(encryption) => matches!(encryption, ObjectEncryption::Kms(_)),
    };
    let mut samples = bucket.objects.values().filter_map(Reading::read).flatten();
    let encrypted = samples.find(|sample| matches!(sample.encryption, ObjectEncryption::Kms(_)));
    let evidence = match (by_default, encrypted) {
        (true, _) => "the bucket encrypts new objects with KMS".to_owned(),
        (false, Some(sample)) => format!("the object {} is encrypted with KMS", sample.key),
        (false, None) => return,
    };
    let texts = Texts {
        problem: format!("the rule does not replicate objects that KMS encrypts, but {evidence}"),
        effect: "S3 leaves these objects out, without a failure or a status.",
        remedy: change_rule(
            &source.region,
            bucket_name,
            "set SourceSelectionCriteria.SseKmsEncryptedObjects.Status to Enabled and \
             Destination.EncryptionConfiguration.ReplicaKmsKeyID to a key of the destination's Region",
        ),
    };
    checked.add(
        Severity::Blocker,
        Check::KmsObjects,
        &source.region,
        subject,
        texts,
    );
}

fn check_replica_key(
    checked: &mut Checked<'_>,
    source: &RegionReadings,
    destination: &RegionReadings,
    subject: &str,
    key: &str,
) {
    let effect = "Replication of encrypted objects fails: the other Region lacks them.";
    let key_region = Arn::parse(key).map(|arn| arn.region.to_owned());
    if let Some(key_region) = key_region.filter(|region| *region != destination.region) {
        let texts = Texts {
            problem: format!(
                "the key of the replicas, {key}, is in {key_region}, and the destination in {}",
                destination.region
            ),
            effect,
            remedy: format!(
                "In the rule, set Destination.EncryptionConfiguration.ReplicaKmsKeyID to a key of {}.",
                destination.region
            ),
        };
        return checked.add(
            Severity::Blocker,
            Check::ReplicaKey,
            &source.region,
            subject,
            texts,
        );
    }
    let state = match destination.keys.get(key) {
        None => return,
        Some(Reading::Unread(error)) => {
            return checked.add_unread(Check::ReplicaKey, &destination.region, key, error);
        }
        Some(Reading::Read(KmsKey { state })) => state.as_str(),
    };
    let remedy = match state {
        "Enabled" => return,
        "Disabled" => format!(
            "aws kms enable-key --region {} --key-id {key}",
            destination.region
        ),
        "PendingDeletion" => format!(
            "aws kms cancel-key-deletion --region {0} --key-id {key}; then aws kms enable-key --region \
             {0} --key-id {key}",
            destination.region
        ),
        _ => "Name another key in Destination.EncryptionConfiguration.ReplicaKmsKeyID of the rule."
            .to_owned(),
    };
    let texts = Texts {
        problem: format!("the key of the replicas, named by {subject}, is in the state {state}"),
        effect,
        remedy,
    };
    checked.add(
        Severity::Blocker,
        Check::ReplicaKey,
        &destination.region,
        key,
        texts,
    );
}
