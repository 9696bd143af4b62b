//! Reads what the readiness checks look at in a Region beside its catalog: buckets and objects, encryption keys, trails,
//! quotas, table optimizers, the Identity Center instance of Lake Formation, and what IAM says of roles and users.

pub(crate) mod buckets;
mod iam;
mod keys;
mod optimizers;
mod quotas;
mod trails;

use crate::call_error;
use crate::clients::Clients;
use aws_sdk_lakeformation::operation::describe_lake_formation_identity_center_configuration::DescribeLakeFormationIdentityCenterConfigurationOutput as IdentityCenterConfiguration;
use twinlake_core::readiness::{
    BucketReadings, KmsKey, ObjectSample, ReplicationRule, ServiceQuota, TableOptimizer, Trail,
};
use twinlake_core::{CallError, CallErrorKind, TableId};
use twinlake_engine::ports::ReadInfrastructure;

/// What the readiness checks read of a Region beside its catalog.
#[derive(Clone, Debug)]
pub struct AwsInfrastructure {
    region: String,
    s3: aws_sdk_s3::Client,
    kms: aws_sdk_kms::Client,
    iam: aws_sdk_iam::Client,
    quotas: aws_sdk_servicequotas::Client,
    glue: aws_sdk_glue::Client,
    lakeformation: aws_sdk_lakeformation::Client,
    cloudtrail: aws_sdk_cloudtrail::Client,
}

impl AwsInfrastructure {
    /// The infrastructure of a Region.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            region: clients.region().to_owned(),
            s3: clients.s3(),
            kms: clients.kms(),
            iam: clients.iam(),
            quotas: clients.servicequotas(),
            glue: clients.glue(),
            lakeformation: clients.lakeformation(),
            cloudtrail: clients.cloudtrail(),
        }
    }
}

impl ReadInfrastructure for AwsInfrastructure {
    async fn bucket(&self, bucket: &str) -> BucketReadings {
        buckets::read(&self.s3, &self.region, bucket).await
    }

    async fn replication_rules(&self, bucket: &str) -> Result<Vec<ReplicationRule>, CallError> {
        buckets::rules(&self.s3, &self.region, bucket).await
    }

    async fn bucket_region(&self, bucket: &str) -> Result<Option<String>, CallError> {
        buckets::region_of(&self.s3, &self.region, bucket).await
    }

    async fn object(&self, bucket: &str, key: &str) -> Result<Option<ObjectSample>, CallError> {
        buckets::object(&self.s3, &self.region, bucket, key).await
    }

    async fn sample_objects(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<ObjectSample>, CallError> {
        buckets::sample_objects(&self.s3, &self.region, bucket, prefix).await
    }

    async fn kms_key(&self, key: &str) -> Result<KmsKey, CallError> {
        keys::read(&self.kms, &self.region, key).await
    }

    async fn trails(&self) -> Result<Vec<Trail>, CallError> {
        trails::read(&self.cloudtrail, &self.region).await
    }

    async fn service_quota(&self, quota: &ServiceQuota) -> Result<Option<f64>, CallError> {
        quotas::read(&self.quotas, &self.region, quota).await
    }

    async fn identity_center_instance(&self) -> Result<Option<String>, CallError> {
        const CALL: &str = "DescribeLakeFormationIdentityCenterConfiguration";
        let call = self
            .lakeformation
            .describe_lake_formation_identity_center_configuration();
        let found = call.send().await;
        match found.map_err(|e| call_error::from_sdk(CALL, &self.region, &e)) {
            Ok(found) => instance_of((CALL, &self.region), found).map(Some),
            Err(error) if error.kind == CallErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn enabled_optimizers(
        &self,
        account: &str,
        tables: &[TableId],
    ) -> Result<Vec<TableOptimizer>, CallError> {
        optimizers::read(&self.glue, &self.region, account, tables).await
    }
}

/// The Identity Center instance that a configuration names. Without one it is not known: the application that the
/// configuration also names is no instance, and is another one in each Region.
fn instance_of(
    (call, region): (&str, &str),
    configuration: IdentityCenterConfiguration,
) -> Result<String, CallError> {
    configuration.instance_arn.ok_or_else(|| {
        let problem = "the configuration names no Identity Center instance";
        CallError::new(CallErrorKind::Invalid, call, region, problem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_not_taken_for_an_instance() {
        let instance = "arn:aws:sso:::instance/ssoins-1";
        let configuration = IdentityCenterConfiguration::builder()
            .application_arn("arn:aws:sso::111122223333:application/ssoins-1/apl-1");
        let named = configuration.clone().instance_arn(instance).build();
        let call = ("Describe", "us-east-1");
        assert_eq!(instance_of(call, named), Ok(instance.to_owned()));
        assert!(instance_of(call, configuration.build()).is_err());
    }
}
