//! Implements the ports of the query tools of a Region: the calls of Athena here, those of Glue in `glue_tools`, those of
//! Redshift in `redshift_data`.

mod convert;
mod read;
mod warehouses;
mod write;

use crate::call_error;
use crate::clients::Clients;
use crate::glue_tools::GlueTools;
use crate::redshift_data::RedshiftData;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use twinlake_core::CallError;
use twinlake_core::query::{ObjectKey, QueryKind};

/// Entries of a `BatchGetNamedQuery` call, and pages of the listings (Athena's limits).
const MAX_PER_CALL: usize = 50;
/// Entries of a `BatchGetPreparedStatement` call (Athena's limit).
const MAX_STATEMENTS_PER_CALL: usize = 256;

/// Athena, and the tools of Glue, in one Region of one account.
#[derive(Clone, Debug)]
pub struct QueryToolsRegion {
    region: String,
    partition: String,
    account: String,
    athena: aws_sdk_athena::Client,
    glue_tools: GlueTools,
    redshift_data: RedshiftData,
}

impl QueryToolsRegion {
    /// The Region of some clients, in an account.
    #[must_use]
    pub fn new(clients: &Clients, account: &str) -> Self {
        let partition = twinlake_core::topology::AwsPartition::of_region(clients.region());
        Self {
            region: clients.region().to_owned(),
            partition: partition.to_string(),
            account: account.to_owned(),
            athena: clients.athena(),
            glue_tools: GlueTools::new(clients.region(), clients.glue()),
            redshift_data: RedshiftData::new(clients),
        }
    }

    /// Converts an SDK error of a call.
    fn failed<E>(&self, call: &str) -> impl Fn(SdkError<E, HttpResponse>) -> CallError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let (call, region) = (call.to_owned(), self.region.clone());
        move |error| call_error::from_sdk(&call, &region, &error)
    }

    /// The ARN by which the tags of an object are named; only workgroups and data catalogs have tags.
    fn arn(&self, key: &ObjectKey) -> Option<String> {
        let resource = match key.kind {
            QueryKind::WorkGroup => "workgroup",
            QueryKind::DataCatalog => "datacatalog",
            QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Job
            | QueryKind::Workflow
            | QueryKind::Crawler
            | QueryKind::Trigger
            | QueryKind::ExternalSchema => return None,
        };
        let Self {
            partition,
            region,
            account,
            ..
        } = self;
        Some(format!(
            "arn:{partition}:athena:{region}:{account}:{resource}/{}",
            key.id
        ))
    }
}
