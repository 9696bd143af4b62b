//! Checks of a few objects of the tables: whether the standby has them. A rule only replicates objects that
//! are written after it, and `COMPLETED` speaks of any destination.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{Checked, Reading, SampledObject, Texts};
use crate::location::{CopiedBy, Location};

/// The status of an object that S3 failed to replicate. S3 does not try again by itself.
const FAILED: &str = "FAILED";
/// The status of an object that S3 has not replicated yet.
const PENDING: &str = "PENDING";

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
        let mut missing = MissingObjects::default();
        for (prefix, samples) in &bucket.objects {
            if !prefix.starts_with(&location.prefix()) {
                continue;
            }
            match samples {
                Reading::Unread(error) => {
                    let subject = format!("s3://{}/{prefix}", location.bucket());
                    checked.add_unread(Check::ObjectStatus, region, &subject, error);
                }
                Reading::Read(samples) => missing.add(checked, samples),
            }
        }
        missing.report(checked, location);
    }
    add_unsampled(checked);
}

/// The sampled objects that the standby lacks, by the reason: each with their number and an example.
#[derive(Default)]
struct MissingObjects {
    sampled: usize,
    never: Option<(usize, String)>,
    failed: Option<(usize, String)>,
    elsewhere: Option<(usize, String)>,
}

impl MissingObjects {
    fn add(&mut self, checked: &mut Checked<'_>, samples: &[SampledObject]) {
        for sample in samples {
            self.sampled += 1;
            match &sample.replica {
                Reading::Read(Some(_)) => continue,
                Reading::Unread(error) => {
                    let region = &checked.readings.standby.region;
                    checked.add_unread(Check::ObjectStatus, region, &sample.object.key, error);
                    continue;
                }
                Reading::Read(None) => {}
            }
            let reason = match sample.object.replication_status.as_deref() {
                None => &mut self.never,
                Some(FAILED) => &mut self.failed,
                Some(PENDING) => continue,
                Some(_) => &mut self.elsewhere,
            };
            let (count, _) = reason.get_or_insert_with(|| (0, sample.object.key.clone()));
            *count += 1;
        }
    }

    fn report(self, checked: &mut Checked<'_>, location: &Location) {
        let sampled = self.sampled;
        for (found, state, statuses) in [
            (
                self.never,
                "have no replication status: no rule covered them when they were written",
                "NONE",
            ),
            (
                self.failed,
                "have the replication status FAILED: S3 does not try again by itself",
                "FAILED",
            ),
            (
                self.elsewhere,
                "count as replicated: to another bucket, or the replicas were deleted",
                "COMPLETED",
            ),
        ] {
            let Some((count, example)) = found else {
                continue;
            };
            let texts = Texts {
                problem: format!(
                    "{count} of {sampled} sampled objects are not in the standby, and {state}; for \
                     example {example}"
                ),
                effect: "Queries in the standby miss these objects.",
                remedy: batch_replication(checked, location, statuses),
            };
            let region = &checked.readings.primary.region;
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

fn add_unsampled(checked: &mut Checked<'_>) {
    let count = checked.readings.unsampled_locations;
    if count == 0 {
        return;
    }
    let texts = Texts {
        problem: format!("of {count} further locations of tables no object was looked at"),
        effect: "Objects from before the rule may be missing there.",
        remedy: "S3 Inventory lists the replication status of each object.".to_owned(),
    };
    let region = &checked.readings.primary.region;
    checked.add(Severity::Note, Check::ObjectStatus, region, "tables", texts);
}

/// The command that replicates old and failed objects. S3 generates the list of objects; the role must
/// trust `batchoperations.s3.amazonaws.com` and may `s3:InitiateReplication`.
fn batch_replication(checked: &Checked<'_>, location: &Location, statuses: &str) -> String {
    let site = checked.policy.primary(checked.epoch);
    let (region, account, partition) = (&site.region, &site.account, site.partition());
    let mut filter = serde_json::json!({
        "EligibleForReplication": true,
        "ObjectReplicationStatuses": [statuses],
    });
    let prefix = location.prefix();
    if !prefix.is_empty()
        && let Some(filter) = filter.as_object_mut()
    {
        let names = serde_json::json!({ "MatchAnyPrefix": [prefix] });
        filter.insert("KeyNameConstraint".to_owned(), names);
    }
    let generator = serde_json::json!({"S3JobManifestGenerator": {
        "SourceBucket": format!("arn:{partition}:s3:::{}", location.bucket()),
        "EnableManifestOutput": false,
        "Filter": filter,
    }});
    let generator = shell_quoted(&generator.to_string());
    format!(
        "aws s3control create-job --region {region} --account-id {account} --operation \
         '{{\"S3ReplicateObject\":{{}}}}' --priority 1 --no-confirmation-required --role-arn \
         BATCH_REPLICATION_ROLE_ARN --report Enabled=false --manifest-generator {generator}"
    )
}

/// A text as one word of a shell.
pub(super) fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
