//! Makes jobs of S3 Batch Replication.

use crate::call_error;
use crate::clients::Clients;
use crate::pages::all_pages;
use aws_sdk_s3control::types::{
    JobListDescriptor, JobManifestGenerator, JobManifestGeneratorFilter, JobOperation, JobReport,
    KeyNameConstraint, ReplicationStatus, S3JobManifestGenerator, S3ReplicateObjectOperation,
};
use aws_smithy_types::error::operation::BuildError;
use twinlake_core::readiness::{BatchReplicationJob, ListedBatchJob};
use twinlake_core::{CallError, CallErrorKind};

const CREATE: &str = "CreateJob";
const LIST: &str = "ListJobs";

/// The jobs of S3 Batch Operations of a Region.
#[derive(Clone, Debug)]
pub struct S3BatchReplication {
    region: String,
    s3control: aws_sdk_s3control::Client,
}

impl S3BatchReplication {
    /// The jobs of a Region.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            region: clients.region().to_owned(),
            s3control: clients.s3control(),
        }
    }

    /// The jobs of an account in the Region (`ListJobs`), those included that ended in the last 90 days.
    ///
    /// # Errors
    /// A call failed.
    pub async fn list(&self, account: &str) -> Result<Vec<ListedBatchJob>, CallError> {
        let jobs = all_pages((LIST, &self.region), |token: Option<String>| async {
            let call = self.s3control.list_jobs().account_id(account);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(|e| call_error::from_sdk(LIST, &self.region, &e))?;
            Ok((page.jobs.unwrap_or_default(), page.next_token))
        });
        Ok(jobs.await?.into_iter().map(listed).collect())
    }

    /// Creates a job, which begins without a further confirmation (`CreateJob`), and returns its ID. `role`
    /// is the ARN of the role that the job works with. The job is only created if none has the same `token`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create(
        &self,
        job: &BatchReplicationJob,
        role: &str,
        token: &str,
    ) -> Result<String, CallError> {
        let invalid =
            |problem: String| CallError::new(CallErrorKind::Invalid, CREATE, &self.region, problem);
        let generator = generator(job).map_err(|error| invalid(error.to_string()))?;
        let operation = JobOperation::builder()
            .s3_replicate_object(S3ReplicateObjectOperation::builder().build())
            .build();
        let call = self.s3control.create_job().account_id(&job.account);
        let call = call.confirmation_required(false).priority(1);
        let call = call.role_arn(role).operation(operation);
        let call = call.description(job.description());
        let call = call.client_request_token(token);
        let call = call.report(JobReport::builder().enabled(false).build());
        let created = call.manifest_generator(generator).send().await;
        let created = created.map_err(|e| call_error::from_sdk(CREATE, &self.region, &e))?;
        let id = created.job_id;
        id.ok_or_else(|| invalid("the response of S3 Control has no job ID, so the job may exist: look for it in the S3 console before you run \
                 the command again".to_owned()))
    }
}

fn listed(job: JobListDescriptor) -> ListedBatchJob {
    let status = job.status.as_ref().map(|status| status.as_str().to_owned());
    ListedBatchJob {
        id: job.job_id.unwrap_or_default(),
        description: job.description.unwrap_or_default(),
        status: status.unwrap_or_default(),
    }
}

fn generator(job: &BatchReplicationJob) -> Result<JobManifestGenerator, BuildError> {
    let statuses = job.statuses.iter();
    let statuses = statuses.map(|status| ReplicationStatus::from(*status));
    let names = (!job.prefix.is_empty()).then(|| {
        KeyNameConstraint::builder()
            .match_any_prefix(&job.prefix)
            .build()
    });
    let filter = JobManifestGeneratorFilter::builder()
        .eligible_for_replication(true)
        .set_object_replication_statuses(Some(statuses.collect()))
        .set_key_name_constraint(names)
        .build();
    let generator = S3JobManifestGenerator::builder()
        .expected_bucket_owner(&job.account)
        .source_bucket(&job.bucket_arn)
        .enable_manifest_output(false)
        .filter(filter)
        .build()?;
    Ok(JobManifestGenerator::S3JobManifestGenerator(generator))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3control::config::{BehaviorVersion, Credentials, Region};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_types::body::SdkBody;
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    /// Answers each request with a job's ID, and keeps host and body of the last one.
    #[derive(Clone, Debug, Default)]
    struct Recorder(Arc<Mutex<String>>);

    impl HttpConnector for Recorder {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let body = String::from_utf8_lossy(request.body().bytes().unwrap()).into_owned();
            *self.0.lock().unwrap() = format!("{} {body}", request.uri());
            let answer = "<CreateJobResult><JobId>job-1</JobId></CreateJobResult>";
            HttpConnectorFuture::ready(Ok(HttpResponse::new(
                200.try_into().unwrap(),
                SdkBody::from(answer),
            )))
        }
    }

    #[tokio::test]
    async fn a_job_covers_the_prefix_and_the_statuses_and_its_id_is_returned() {
        let recorder = Recorder::default();
        let connector = SharedHttpConnector::new(recorder.clone());
        let config = aws_sdk_s3control::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        let jobs = S3BatchReplication {
            region: "us-east-1".to_owned(),
            s3control: aws_sdk_s3control::Client::from_conf(config),
        };
        let job = BatchReplicationJob {
            region: "us-east-1".to_owned(),
            account: "111122223333".to_owned(),
            bucket_arn: "arn:aws:s3:::lake".to_owned(),
            prefix: "raw/".to_owned(),
            statuses: BTreeSet::from(["FAILED", "NONE"]),
        };
        assert_eq!(
            jobs.create(&job, "arn:aws:iam::111122223333:role/batch", "token")
                .await
                .unwrap(),
            "job-1"
        );
        let sent = recorder.0.lock().unwrap().clone();
        for part in [
            "111122223333.s3-control.us-east-1",
            "<ConfirmationRequired>false</ConfirmationRequired>",
            "<S3ReplicateObject></S3ReplicateObject>",
            "<SourceBucket>arn:aws:s3:::lake</SourceBucket>",
            "<EligibleForReplication>true</EligibleForReplication>",
            "<MatchAnyPrefix><member>raw/</member></MatchAnyPrefix>",
            "<member>FAILED</member><member>NONE</member>",
            "<RoleArn>arn:aws:iam::111122223333:role/batch</RoleArn>",
            "<Enabled>false</Enabled>",
            "<ClientRequestToken>token</ClientRequestToken>",
        ] {
            let is_there =
                sent.contains(part) || sent.contains(&part.replace("></S3ReplicateObject>", " />"));
            assert!(is_there, "{part} in {sent}");
        }
    }
}
