//! Jobs of S3 Batch Replication: what they replicate, and which of them are under way.

use crate::catalog::digest;
use std::collections::BTreeSet;

/// The most characters that S3 allows in the description of a job.
const MAX_DESCRIPTION_CHARS: usize = 256;

/// A job of S3 Batch Replication: it replicates the objects of a location that have one of the statuses. S3
/// generates the list of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchReplicationJob {
    /// The Region of the source, in which the job runs.
    pub region: String,
    /// The account of the source.
    pub account: String,
    /// The ARN of the source bucket.
    pub bucket_arn: String,
    /// The prefix of the keys; empty for all objects.
    pub prefix: String,
    /// The replication statuses, as `NONE` or `FAILED`.
    pub statuses: BTreeSet<&'static str>,
}

/// A job of S3 Batch Operations, as `ListJobs` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBatchJob {
    /// The ID of the job.
    pub id: String,
    /// The description that it was created with; empty if it has none.
    pub description: String,
    /// The status, as `Active`.
    pub status: String,
}

impl ListedBatchJob {
    /// Whether the job does nothing any more. A status that is not known may be one of a job that runs.
    fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "Complete" | "Cancelled" | "Failed")
    }
}

impl BatchReplicationJob {
    /// The command that makes the job. Its role must trust `batchoperations.s3.amazonaws.com` and may
    /// `s3:InitiateReplication`.
    #[must_use]
    pub fn command(&self) -> String {
        let (region, account) = (&self.region, &self.account);
        let mut filter = serde_json::json!({
            "EligibleForReplication": true,
            "ObjectReplicationStatuses": self.statuses,
        });
        if !self.prefix.is_empty()
            && let Some(filter) = filter.as_object_mut()
        {
            let names = serde_json::json!({ "MatchAnyPrefix": [self.prefix] });
            filter.insert("KeyNameConstraint".to_owned(), names);
        }
        let generator = serde_json::json!({"S3JobManifestGenerator": {
            "SourceBucket": self.bucket_arn,
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

    /// The description of the job. Jobs of other objects have another one, also where it is cut.
    #[must_use]
    pub fn description(&self) -> String {
        let (bucket, prefix) = (&self.bucket_arn, &self.prefix);
        let of = digest(&(&self.account, bucket, prefix, &self.statuses));
        let of: String = of.chars().take(16).collect();
        let text = format!("Twinlake {of}: {bucket}/{prefix}");
        text.chars().take(MAX_DESCRIPTION_CHARS).collect()
    }

    /// The job among those of the account and Region that replicates the same objects and has not ended.
    #[must_use]
    pub fn under_way<'a>(&self, listed: &'a [ListedBatchJob]) -> Option<&'a ListedBatchJob> {
        let mut same = self.same_objects(listed);
        same.find(|job| !job.has_ended())
    }

    /// The client request token of the job: of two commands at the same time, or of one whose answer was lost,
    /// S3 makes one job. Once a job of these objects has ended, the next one has another token.
    #[must_use]
    pub fn client_request_token(&self, role: &str, listed: &[ListedBatchJob]) -> String {
        let ended = self.same_objects(listed).filter(|job| job.has_ended());
        let ended: BTreeSet<&str> = ended.map(|job| job.id.as_str()).collect();
        digest(&(self.description(), role, ended))
    }

    fn same_objects<'a>(
        &self,
        listed: &'a [ListedBatchJob],
    ) -> impl Iterator<Item = &'a ListedBatchJob> + use<'a> {
        let description = self.description();
        let same = listed.iter();
        same.filter(move |job| job.description == description)
    }
}

/// A text as one word of a shell.
pub(super) fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(prefix: &str) -> BatchReplicationJob {
        BatchReplicationJob {
            region: "us-east-1".to_owned(),
            account: "111122223333".to_owned(),
            bucket_arn: "arn:aws:s3:::lake".to_owned(),
            prefix: prefix.to_owned(),
            statuses: BTreeSet::from(["NONE"]),
        }
    }

    fn listed(id: &str, of: &BatchReplicationJob, status: &str) -> ListedBatchJob {
        ListedBatchJob {
            id: id.to_owned(),
            description: of.description(),
            status: status.to_owned(),
        }
    }

    #[test]
    fn a_job_of_the_same_objects_is_under_way_until_it_ends() {
        let job_of_raw = job("raw/");
        for status in ["New", "Preparing", "Active", "Suspended", "Cancelling", "?"] {
            let jobs = [
                listed("1", &job_of_raw, "Complete"),
                listed("2", &job("curated/"), "Active"),
                listed("3", &job_of_raw, status),
            ];
            let found = job_of_raw.under_way(&jobs).map(|job| job.id.as_str());
            assert_eq!(found, Some("3"), "{status}");
        }
        for status in ["Complete", "Cancelled", "Failed"] {
            assert_eq!(
                job_of_raw.under_way(&[listed("1", &job_of_raw, status)]),
                None
            );
        }
    }

    #[test]
    fn the_token_is_the_same_until_a_job_of_the_same_objects_has_ended() {
        let raw = job("raw/");
        let token = raw.client_request_token("role", &[]);
        assert_eq!(token.len(), 64);
        let other = [
            listed("1", &job("curated/"), "Complete"),
            listed("2", &raw, "Active"),
        ];
        assert_eq!(token, raw.client_request_token("role", &other));
        let ended = [listed("2", &raw, "Complete")];
        assert_ne!(token, raw.client_request_token("role", &ended));
        assert_ne!(token, raw.client_request_token("another", &[]));
        assert_ne!(token, job("curated/").client_request_token("role", &[]));
    }

    #[test]
    fn a_description_fits_and_differs_also_where_it_is_cut() {
        let long = |end: &str| job(&format!("{}{end}/", "ü".repeat(400))).description();
        assert_eq!(long("a").chars().count(), MAX_DESCRIPTION_CHARS);
        assert_ne!(long("a"), long("b"));
        let mut failed = job("raw/");
        failed.statuses = BTreeSet::from(["FAILED"]);
        assert_ne!(failed.description(), job("raw/").description());
    }
}
