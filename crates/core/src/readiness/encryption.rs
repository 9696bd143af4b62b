//! Checks of encryption with KMS: S3 leaves out encrypted objects unless a rule names a usable key.
//!
//! S3 does not check the key when a rule is stored: a wrong key shows only as failed replication
//! (S3 user guide, `replication-config-for-kms-objects`).

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::replication::{Route, change_rule, deciding_rules, routes, rule_subject};
use super::{
    BucketDirection, Checked, ObjectEncryption, ObjectSample, Reading, RegionReadings,
    ReplicationRule, Texts,
};
use crate::arn::Arn;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(checked: &mut Checked<'_>) {
    let mut of_rules = BTreeSet::new();
    for route in routes(checked) {
        let rules = route.bucket.rules.read().map_or(&[][..], Vec::as_slice);
        for rule in deciding_rules(checked, &route, rules) {
            if !rule.replicates_kms_objects {
                check_kms_objects(checked, &route, rule);
            } else if let Some(key) = &rule.replica_key {
                check_replica_key(checked, &route, rule, key);
                of_rules.insert(key.clone());
            }
        }
    }
    check_present_keys(checked, &of_rules);
}

/// Without the way back a takeover still works.
fn severity_of(route: &Route<'_>) -> Severity {
    match route.direction {
        BucketDirection::Forward => Severity::Blocker,
        BucketDirection::Reverse => Severity::Warning,
    }
}

/// Reports a rule that leaves out encrypted objects, if there are any or the bucket encrypts new ones.
fn check_kms_objects(checked: &mut Checked<'_>, route: &Route<'_>, rule: &ReplicationRule) {
    let subject = &rule_subject(route.from.bucket(), rule);
    let by_default = match &route.bucket.encryption {
        Reading::Unread(error) => {
            return checked.add_unread(Check::KmsObjects, route.region, subject, error);
        }
        Reading::Read(encryption) => matches!(encryption, ObjectEncryption::Kms(_)),
    };
    let is_encrypted = |object: &&&ObjectSample| {
        object.key.starts_with(&rule.prefix)
            && matches!(object.encryption, ObjectEncryption::Kms(_))
    };
    let samples = objects_in(checked, route);
    let encrypted = samples.iter().find(is_encrypted);
    let evidence = match (by_default, encrypted) {
        (true, _) => "the bucket encrypts new objects with KMS".to_owned(),
        (false, Some(object)) => format!("the object {} is encrypted with KMS", object.key),
        (false, None) => return,
    };
    let texts = Texts {
        problem: format!("the rule does not replicate objects that KMS encrypts, but {evidence}"),
        effect: "S3 leaves these objects out, without a failure or a status.",
        remedy: change_rule(
            route.region,
            route.from.bucket(),
            rule,
            "set SourceSelectionCriteria.SseKmsEncryptedObjects.Status to Enabled and \
             Destination.EncryptionConfiguration.ReplicaKmsKeyID to a key of the destination's Region",
        ),
    };
    checked.add(
        severity_of(route),
        Check::KmsObjects,
        route.region,
        subject,
        texts,
    );
}

/// The sampled objects of the bucket that a route leads from.
pub(super) fn objects_in<'a>(checked: &Checked<'a>, route: &Route<'_>) -> Vec<&'a ObjectSample> {
    let primary = match route.direction {
        BucketDirection::Forward => route.from.bucket(),
        BucketDirection::Reverse => route.to.bucket(),
    };
    let bucket = checked.readings.primary.buckets.get(primary);
    let samples = bucket
        .into_iter()
        .flat_map(|bucket| bucket.objects.values());
    let samples = samples.filter_map(Reading::read).flatten();
    let here = samples.filter_map(|sample| match route.direction {
        BucketDirection::Forward => Some(&sample.object),
        BucketDirection::Reverse => sample.replica.read()?.as_ref(),
    });
    here.collect()
}

const LACKS_OBJECTS: &str = "Replication of encrypted objects fails: the other Region lacks them.";

fn check_replica_key(
    checked: &mut Checked<'_>,
    route: &Route<'_>,
    rule: &ReplicationRule,
    key: &str,
) {
    let subject = &rule_subject(route.from.bucket(), rule);
    let destination = match route.direction {
        BucketDirection::Forward => &checked.readings.standby,
        BucketDirection::Reverse => &checked.readings.primary,
    };
    let key_region = Arn::parse(key).map(|arn| arn.region.to_owned());
    if let Some(key_region) = key_region.filter(|region| *region != destination.region) {
        let texts = Texts {
            problem: format!(
                "the key of the replicas, {key}, is in {key_region}, and the destination in {}",
                destination.region
            ),
            effect: LACKS_OBJECTS,
            remedy: change_rule(
                route.region,
                route.from.bucket(),
                rule,
                "set Destination.EncryptionConfiguration.ReplicaKmsKeyID to a key of the destination's Region",
            ),
        };
        return checked.add(
            severity_of(route),
            Check::ReplicaKey,
            route.region,
            subject,
            texts,
        );
    }
    let problem = format!("the key of the replicas, named by {subject}, is in the state");
    check_key(
        checked,
        destination,
        key,
        severity_of(route),
        &problem,
        LACKS_OBJECTS,
    );
}

/// Checks the keys of the replicas that are there, and of the default encryption of the standby's buckets,
/// without those that rules name.
fn check_present_keys(checked: &mut Checked<'_>, of_rules: &BTreeSet<String>) {
    let standby = &checked.readings.standby;
    let mut keys: BTreeMap<String, (&str, String)> = BTreeMap::new();
    for route in routes(checked) {
        if route.direction == BucketDirection::Forward {
            continue;
        }
        let bucket = route.from.bucket();
        if let Some(ObjectEncryption::Kms(Some(key))) = route.bucket.encryption.read() {
            let what = format!("the default key of the bucket {bucket} is in the state");
            keys.insert(key.clone(), ("New objects cannot be written there.", what));
        }
        for object in objects_in(checked, &route) {
            if let ObjectEncryption::Kms(Some(key)) = &object.encryption {
                let what = format!("the key of replicas such as {} is in the state", object.key);
                keys.insert(key.clone(), ("These replicas cannot be read.", what));
            }
        }
    }
    // A key of another Region encrypts nothing here.
    let is_here = |key: &str| Arn::parse(key).is_none_or(|arn| arn.region == standby.region);
    keys.retain(|key, _| !of_rules.contains(key) && is_here(key));
    for (key, (effect, problem)) in keys {
        check_key(checked, standby, &key, Severity::Blocker, &problem, effect);
    }
}

/// Reports a key that is not usable. `problem` ends before the state.
fn check_key(
    checked: &mut Checked<'_>,
    region: &RegionReadings,
    key: &str,
    severity: Severity,
    problem: &str,
    effect: &'static str,
) {
    let name = &region.region;
    let found = match region.keys.get(key) {
        None => return,
        Some(Reading::Unread(error)) => {
            return checked.add_unread(Check::ReplicaKey, name, key, error);
        }
        Some(Reading::Read(found)) => found,
    };
    let (arn, state) = (&found.arn, found.state.as_str());
    let enable = format!("aws kms enable-key --region {name} --key-id {arn}");
    let remedy = match state {
        "Enabled" => return,
        "Disabled" => enable,
        "PendingDeletion" => {
            format!("aws kms cancel-key-deletion --region {name} --key-id {arn} && {enable}")
        }
        _ => "Name another key in Destination.EncryptionConfiguration.ReplicaKmsKeyID of the rule."
            .to_owned(),
    };
    let texts = Texts {
        problem: format!("{problem} {state}"),
        effect,
        remedy,
    };
    checked.add(severity, Check::ReplicaKey, name, key, texts);
}
