//! The SDK's clients of one Region, over one configuration that the process loads once.

use crate::call_counter::{CountCalls, Service};
use crate::call_error;
use crate::call_limits::{CallLimits, MAX_WAIT};
use crate::limited_http::{LimitedHttpClient, RecordThrottling, http_client};
use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3control::config::endpoint::{Params, ResolveEndpoint};
use aws_smithy_runtime_api::client::endpoint::EndpointFuture;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::endpoint::Endpoint;
use std::time::Duration;
use tokio::sync::OnceCell;
use twinlake_core::arn::Arn;
use twinlake_core::topology::LONGEST_ATTEMPT_SECS;
use twinlake_core::{CallError, Principal};

/// The name that Twinlake's calls carry in their user agent.
pub const APP_NAME: &str = "twinlake";

/// Credentials, HTTP client, retries and time-outs, shared by the clients of all Regions.
static CONFIG: OnceCell<(SdkConfig, SharedHttpClient)> = OnceCell::const_new();

/// The longest time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest times that a service takes.
#[derive(Clone, Copy)]
struct Timeouts {
    /// For a response.
    response: Duration,
    /// For a call with its repetitions.
    call: Duration,
}

const TIMEOUTS: Timeouts = Timeouts {
    response: Duration::from_secs(10),
    call: Duration::from_secs(30),
};

/// Lake Formation may take long for a batch of grants and for a page of a listing (F-11). A call that is
/// given up although the service still works on it would be repeated in vain.
const LAKE_FORMATION_TIMEOUTS: Timeouts = Timeouts {
    response: Duration::from_secs(LONGEST_ATTEMPT_SECS),
    call: Duration::from_secs(90),
};

/// Makes the clients of one Region. Each counts its calls, except that of STS.
#[derive(Clone, Debug)]
pub struct Clients {
    region: String,
    config: SdkConfig,
    http_client: SharedHttpClient,
    limits: CallLimits,
}

/// A client of a service whose limits Twinlake shares with production.
macro_rules! limited_client {
    ($name:ident, $sdk:ident, $service:ident, $timeouts:ident) => {
        pub(crate) fn $name(&self) -> $sdk::Client {
            let config = $sdk::config::Builder::from(&self.config)
                .interceptor(CountCalls(Service::$service))
                .interceptor(RecordThrottling {
                    service: Service::$service,
                    limits: self.limits.clone(),
                })
                .http_client(LimitedHttpClient {
                    inner: self.http_client.clone(),
                    limits: self.limits.clone(),
                    response_timeout: $timeouts.response,
                })
                .timeout_config(timeout_config($timeouts, MAX_WAIT));
            $sdk::Client::from_conf(config.build())
        }
    };
}

macro_rules! client {
    ($name:ident, $sdk:ident, $service:ident) => {
        pub(crate) fn $name(&self) -> $sdk::Client {
            let config = $sdk::config::Builder::from(&self.config);
            let counter = CountCalls(Service::$service);
            $sdk::Client::from_conf(config.interceptor(counter).build())
        }
    };
}

impl Clients {
    /// Loads the configuration, if no Region has yet, and sets the Region. Makes no call.
    pub async fn connect(region: &str) -> Self {
        let (config, http_client) = CONFIG.get_or_init(load).await;
        let region_name = aws_config::Region::new(region.to_owned());
        Self {
            region: region.to_owned(),
            config: config.to_builder().region(region_name).build(),
            http_client: http_client.clone(),
            limits: CallLimits::new(region),
        }
    }

    /// The limits of the calls to Glue and Lake Formation.
    #[must_use]
    pub const fn limits(&self) -> &CallLimits {
        &self.limits
    }

    /// The Region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whether calls go to an AWS on this computer: the endpoint of all services is on the loopback interface.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let endpoint = self.config.endpoint_url().unwrap_or_default();
        let host = endpoint
            .split_once("://")
            .map_or(endpoint, |(_, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        host == "127.0.0.1" || host == "localhost"
    }

    limited_client!(glue, aws_sdk_glue, Glue, TIMEOUTS);
    limited_client!(
        lakeformation,
        aws_sdk_lakeformation,
        LakeFormation,
        LAKE_FORMATION_TIMEOUTS
    );
    limited_client!(athena, aws_sdk_athena, Athena, TIMEOUTS);
    limited_client!(
        redshift_data_writer,
        aws_sdk_redshiftdata,
        RedshiftData,
        TIMEOUTS
    );
    client!(redshift_data_reader, aws_sdk_redshiftdata, RedshiftData);
    client!(dynamodb, aws_sdk_dynamodb, DynamoDb);

    /// A client of DynamoDB whose calls end after `limit`, repetitions included.
    pub(crate) fn dynamodb_within(&self, limit: Duration) -> aws_sdk_dynamodb::Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(limit)
            .operation_timeout(limit)
            .build();
        let config = aws_sdk_dynamodb::config::Builder::from(&self.config)
            .interceptor(CountCalls(Service::DynamoDb))
            .timeout_config(timeouts);
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    client!(sns, aws_sdk_sns, Sns);
    client!(sqs, aws_sdk_sqs, Sqs);
    client!(eventbridge, aws_sdk_eventbridge, EventBridge);
    client!(s3, aws_sdk_s3, S3);
    client!(kms, aws_sdk_kms, Kms);
    client!(iam, aws_sdk_iam, Iam);
    client!(servicequotas, aws_sdk_servicequotas, Quotas);
    client!(cloudtrail, aws_sdk_cloudtrail, CloudTrail);
    client!(ssm, aws_sdk_ssm, Ssm);

    /// A client of STS in this Region.
    pub(crate) fn sts(&self) -> aws_sdk_sts::Client {
        aws_sdk_sts::Client::new(&self.config)
    }

    /// A client of Athena with other credentials.
    pub(crate) fn athena_as(
        &self,
        credentials: aws_sdk_athena::config::Credentials,
    ) -> aws_sdk_athena::Client {
        let config = aws_sdk_athena::config::Builder::from(&self.config)
            .interceptor(CountCalls(Service::Athena))
            .credentials_provider(credentials);
        aws_sdk_athena::Client::from_conf(config.build())
    }

    /// A client of S3 Control.
    pub(crate) fn s3control(&self) -> aws_sdk_s3control::Client {
        let config = aws_sdk_s3control::config::Builder::from(&self.config);
        let mut config = config.interceptor(CountCalls(Service::S3Control));
        if let Some(url) = self.config.endpoint_url()
            && self.is_local()
        {
            config.set_endpoint_resolver(Some(
                LoopbackS3Control(url.to_owned()).into_shared_resolver(),
            ));
        }
        aws_sdk_s3control::Client::from_conf(config.build())
    }

    /// Returns the IAM principal that the process calls as: the ARN of a user, or the role of an
    /// assumed role (without its path, which STS does not report).
    ///
    /// # Errors
    /// There are no credentials, or they are not valid.
    pub async fn caller(&self) -> Result<Principal, CallError> {
        let response = self.sts().get_caller_identity().send().await;
        let response =
            response.map_err(|e| call_error::from_sdk("GetCallerIdentity", &self.region, &e))?;
        let arn = response.arn.unwrap_or_default();
        let role = Arn::parse(&arn).map(Arn::without_session);
        Ok(Principal(role.unwrap_or(arn)))
    }
}

/// The endpoint of S3 Control of an AWS on this computer. The SDK puts the account before the name of the host;
/// no such name resolves to the loopback interface.
#[derive(Debug)]
struct LoopbackS3Control(String);

impl ResolveEndpoint for LoopbackS3Control {
    fn resolve_endpoint<'a>(&'a self, _: &'a Params) -> EndpointFuture<'a> {
        EndpointFuture::ready(Ok(Endpoint::builder().url(self.0.clone()).build()))
    }
}

/// Without time-outs a Region that accepts a connection and does not answer blocks its caller. `wait` is
/// the longest time that a request waits before it is sent.
fn timeout_config(timeouts: Timeouts, wait: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(timeouts.response + wait)
        .operation_timeout(timeouts.call + wait)
        .build()
}

/// Standard and not adaptive retries: the adaptive limiter is shared by all calls of a client and stalls
/// them after one throttle. [`CallLimits`] slows down only the operation that was refused.
async fn load() -> (SdkConfig, SharedHttpClient) {
    let retries = aws_config::retry::RetryConfig::standard().with_max_attempts(4);
    let http_client = http_client();
    let loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .retry_config(retries)
        .timeout_config(timeout_config(TIMEOUTS, Duration::ZERO))
        .http_client(http_client.clone());
    let loader = match aws_config::AppName::new(APP_NAME) {
        Ok(name) => loader.app_name(name),
        Err(_) => loader,
    };
    (loader.load().await, http_client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_ledger_of_the_other_region_is_waited_for_as_long_as_the_caller_says() {
        let limit = Duration::from_secs(1);
        let clients = Clients::connect("us-east-1").await;
        let client = clients.dynamodb_within(limit);
        let timeouts = client.config().timeout_config().unwrap();
        assert_eq!(timeouts.operation_timeout(), Some(limit));
        assert_eq!(timeouts.connect_timeout(), Some(limit));
    }

    #[tokio::test]
    async fn lake_formation_may_take_a_minute_for_an_attempt_and_glue_may_not() {
        let clients = Clients::connect("us-east-1").await;
        let attempt = |config: Option<&TimeoutConfig>| {
            config.and_then(TimeoutConfig::operation_attempt_timeout)
        };
        let lakeformation = clients.lakeformation();
        let longest = attempt(lakeformation.config().timeout_config());
        assert_eq!(longest, Some(Duration::from_secs(60) + MAX_WAIT));
        let glue = clients.glue();
        let longest = attempt(glue.config().timeout_config());
        assert_eq!(longest, Some(Duration::from_secs(10) + MAX_WAIT));
    }
}
