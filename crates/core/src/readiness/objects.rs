//! Checks of a few objects of each location: a rule only replicates objects that are written after it.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{Checked, ObjectSample, Reading, Texts};
use crate::location::CopiedBy;

/// The status of an object that S3 failed to replicate. S3 does not try again by itself.
const FAILED: &str = "FAILED";

pub(super) fn check(checked: &mut Checked<'_>) {
    let (readings, policy, epoch) = (checked.readings, checked.policy, checked.epoch);
    for pair in policy.locations.pairs() {
        let location = pair.sites.get(epoch.primary());
        let Some(bucket) = readings.primary.buckets.get(location.bucket()) else {
            continue;
        };
        let region = &readings.primary.region;
        if pair.copied_by != CopiedBy::S3 || bucket.is_missing_in(region) {
            continue;
        }
        let samples = match bucket.objects.get(&location.prefix()) {
            None => continue,
            Some(Reading::Unread(error)) => {
                let subject = location.without_trailing_slash();
                checked.add_unread(Check::ObjectStatus, region, &subject, error);
                continue;
            }
            Some(Reading::Read(samples)) => samples,
        };
        let (bucket, prefix) = (location.bucket(), location.prefix());
        let never = count(samples, |status| status.is_none());
        let failed = count(samples, |status| status == Some(FAILED));
        for (found, state) in [
            (
                never,
                "have no replication status: no rule covered them when they were written",
            ),
            (
                failed,
                "have the replication status FAILED: S3 does not try again by itself",
            ),
        ] {
            let Some((found, example)) = found else {
                continue;
            };
            let texts = Texts {
                problem: format!(
                    "{found} of {} sampled objects {state}; for example {example}",
                    samples.len()
                ),
                effect: "The standby lacks these objects.",
                remedy: batch_replication(region, bucket, &prefix, &policy.primary(epoch).account),
            };
            let subject = location.without_trailing_slash();
            checked.add(
                Severity::Blocker,
                Check::ObjectStatus,
                region,
                &subject,
                texts,
            );
        }
    }
}

/// The number of samples whose status fulfils a condition, with the key of the first one.
fn count(
    samples: &[ObjectSample],
    condition: impl Fn(Option<&str>) -> bool,
) -> Option<(usize, &str)> {
    let mut found = samples
        .iter()
        .filter(|sample| condition(sample.replication_status.as_deref()));
    let first = found.next()?;
    Some((found.count() + 1, first.key.as_str()))
}

/// The command that replicates old and failed objects. S3 generates the list of objects; the role must
/// trust `batchoperations.s3.amazonaws.com` and may `s3:InitiateReplication`.
fn batch_replication(region: &str, bucket: &str, prefix: &str, account: &str) -> String {
    let filter = match prefix {
        "" => String::new(),
        prefix => format!(",KeyNameConstraint={{MatchAnyPrefix=[{prefix}]}}"),
    };
    format!(
        "aws s3control create-job --region {region} --account-id {account} --operation \
         S3ReplicateObject={{}} --priority 1 --no-confirmation-required --role-arn \
         BATCH_REPLICATION_ROLE_ARN --report Enabled=false --manifest-generator \
         'S3JobManifestGenerator={{SourceBucket=arn:aws:s3:::{bucket},EnableManifestOutput=false,\
         Filter={{EligibleForReplication=true,ObjectReplicationStatuses=[NONE,FAILED]{filter}}}}}'"
    )
}
