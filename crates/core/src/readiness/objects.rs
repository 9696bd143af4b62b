//! Checks of a few objects of the tables: whether the standby has them. A rule only replicates objects that
//! are written after it, and `COMPLETED` speaks of any destination.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{BatchReplicationJob, Checked, ReadinessReadings, Reading, SampledObject, Texts};
use crate::Policy;
use crate::location::{CopiedBy, Location};
use crate::render::{counted, one_or_many};
use crate::topology::Epoch;
use std::collections::BTreeSet;

/// The status of an object that S3 failed to replicate. S3 does not try again by itself.
const FAILED: &str = "FAILED";
/// The status of an object that S3 has not replicated yet.
const PENDING: &str = "PENDING";

pub(super) fn check(checked: &mut Checked<'_>) {
    for (location, missing) in missing_objects(checked) {
        missing.report(checked, &location);
    }
    add_unsampled(checked);
}

/// The jobs that replicate the objects which the standby is known to lack, one for each location.
#[must_use]
pub fn batch_replication_jobs(
    readings: &ReadinessReadings,
    policy: &Policy,
    epoch: Epoch,
) -> Vec<BatchReplicationJob> {
    let mut checked = Checked::new(readings, policy, epoch);
    let missing = missing_objects(&mut checked).into_iter();
    let jobs = missing.map(|(location, missing)| {
        let found = missing.by_reason().into_iter();
        let found = found.filter(|(found, _, _)| found.is_some());
        let statuses = found.map(|(_, _, status)| status).collect();
        job(&checked, &location, statuses)
    });
    jobs.filter(|job| !job.statuses.is_empty()).collect()
}

/// What the samples do not tell: there may be objects that a job would replicate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnjudgedSamples {
    /// The number of reads of samples that failed.
    pub failed_reads: usize,
    /// The number of sampled objects that the standby lacks and that S3 is still replicating.
    pub pending: usize,
    /// The number of locations of which no object was looked at.
    pub unsampled_locations: usize,
}

impl UnjudgedSamples {
    /// A clause for each number that is not 0.
    #[must_use]
    pub fn clauses(self) -> Vec<String> {
        let Self {
            failed_reads,
            pending,
            unsampled_locations,
        } = self;
        let clauses = [
            (
                failed_reads,
                format!("{} failed", counted(failed_reads, "read")),
            ),
            (
                pending,
                format!(
                    "S3 is still replicating {}",
                    counted(pending, "sampled object")
                ),
            ),
            (
                unsampled_locations,
                format!(
                    "of {} no object was looked at",
                    counted(unsampled_locations, "location")
                ),
            ),
        ];
        let told = clauses.into_iter().filter(|(number, _)| *number > 0);
        told.map(|(_, clause)| clause).collect()
    }
}

/// What [`batch_replication_jobs`] could not judge.
#[must_use]
pub fn unjudged_samples(
    readings: &ReadinessReadings,
    policy: &Policy,
    epoch: Epoch,
) -> UnjudgedSamples {
    let mut checked = Checked::new(readings, policy, epoch);
    let mut unjudged = UnjudgedSamples {
        unsampled_locations: readings.unsampled_locations,
        ..UnjudgedSamples::default()
    };
    for (_, missing) in missing_objects(&mut checked) {
        unjudged.failed_reads += missing.failed_reads;
        unjudged.pending += missing.pending;
    }
    unjudged
}

/// The missing objects of each location of the primary that S3 replicates.
fn missing_objects(checked: &mut Checked<'_>) -> Vec<(Location, MissingObjects)> {
    let (readings, policy, epoch) = (checked.readings, checked.policy, checked.epoch);
    let mut locations = Vec::new();
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
                    missing.failed_reads += 1;
                }
                Reading::Read(samples) => missing.add(checked, samples),
            }
        }
        locations.push((location.clone(), missing));
    }
    locations
}

/// The sampled objects that the standby lacks, by the reason: each with their number and an example.
#[derive(Default)]
struct MissingObjects {
    sampled: usize,
    failed_reads: usize,
    pending: usize,
    never: Option<(usize, String)>,
    failed: Option<(usize, String)>,
    elsewhere: Option<(usize, String)>,
}

/// The number of missing objects and the key of one, what is known of them, and their replication status.
type MissingForReason = (Option<(usize, String)>, &'static str, &'static str);

impl MissingObjects {
    fn add(&mut self, checked: &mut Checked<'_>, samples: &[SampledObject]) {
        for sample in samples {
            self.sampled += 1;
            match &sample.replica {
                Reading::Read(Some(_)) => continue,
                Reading::Unread(error) => {
                    let region = &checked.readings.standby.region;
                    checked.add_unread(Check::ObjectStatus, region, &sample.object.key, error);
                    self.failed_reads += 1;
                    continue;
                }
                Reading::Read(None) => {}
            }
            let reason = match sample.object.replication_status.as_deref() {
                None => &mut self.never,
                Some(FAILED) => &mut self.failed,
                Some(PENDING) => {
                    self.pending += 1;
                    continue;
                }
                Some(_) => &mut self.elsewhere,
            };
            let (count, _) = reason.get_or_insert_with(|| (0, sample.object.key.clone()));
            *count += 1;
        }
    }

    /// The missing objects of each reason: what is known of them, and their replication status.
    fn by_reason(self) -> [MissingForReason; 3] {
        [
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
        ]
    }

    fn report(self, checked: &mut Checked<'_>, location: &Location) {
        let sampled = self.sampled;
        for (found, state, status) in self.by_reason() {
            let Some((count, example)) = found else {
                continue;
            };
            let texts = Texts {
                problem: format!(
                    "{count} of {} {} not in the standby, and {state}; for example {example}",
                    counted(sampled, "sampled object"),
                    one_or_many(count, "is", "are")
                ),
                effect: "Queries in the standby miss these objects.",
                remedy: format!(
                    "{} # or add to the options of `twinlake doctor`: --fix batch --batch-role ROLE_ARN",
                    job(checked, location, BTreeSet::from([status])).command()
                ),
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
        problem: format!(
            "of {} of tables no object was looked at",
            counted(count, "further location")
        ),
        effect: "Objects from before the rule may be missing there.",
        remedy: "S3 Inventory lists the replication status of each object.".to_owned(),
    };
    let region = &checked.readings.primary.region;
    checked.add(Severity::Note, Check::ObjectStatus, region, "tables", texts);
}

fn job(
    checked: &Checked<'_>,
    location: &Location,
    statuses: BTreeSet<&'static str>,
) -> BatchReplicationJob {
    let site = checked.policy.primary(checked.epoch);
    BatchReplicationJob {
        region: site.region.clone(),
        account: site.account.clone(),
        bucket_arn: format!("arn:{}:s3:::{}", site.partition(), location.bucket()),
        prefix: location.prefix(),
        statuses,
    }
}
