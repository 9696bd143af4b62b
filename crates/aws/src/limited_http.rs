//! The SDK's HTTP client with the limits of a Region: it waits before each request is sent. The SDK sends
//! every page and every repeated attempt through it.

use crate::call_counter::{Service, count_throttled};
use crate::call_error::{self, NotSent};
use crate::call_limits::CallLimits;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, Metadata};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use std::time::Duration;

/// The HTTP client of the process, with TLS as the SDK sets it up by default.
pub(crate) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build_https()
}

/// An HTTP client that waits for its turn before it sends a request.
#[derive(Clone, Debug)]
pub(crate) struct LimitedHttpClient {
    pub(crate) inner: SharedHttpClient,
    pub(crate) limits: CallLimits,
    /// The longest time from sending a request to its response.
    pub(crate) response_timeout: Duration,
}

impl HttpClient for LimitedHttpClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(LimitedConnector {
            inner: self.inner.http_connector(settings, components),
            limits: self.limits.clone(),
            response_timeout: self.response_timeout,
        })
    }
}

#[derive(Clone, Debug)]
struct LimitedConnector {
    inner: SharedHttpConnector,
    limits: CallLimits,
    response_timeout: Duration,
}

/// The operation of a request: Glue names it in a header, Lake Formation in the path.
fn operation_of(request: &HttpRequest) -> String {
    let target = request.headers().get("x-amz-target");
    let target = target.and_then(|target| target.rsplit('.').next());
    let path = || request.uri().rsplit('/').next();
    target.or_else(path).unwrap_or_default().to_owned()
}

impl HttpConnector for LimitedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self {
            inner,
            limits,
            response_timeout,
        } = self.clone();
        HttpConnectorFuture::new(async move {
            let operation = operation_of(&request);
            if !limits.wait(&operation).await {
                return Err(ConnectorError::other(NotSent::WaitsTooLong.into(), None));
            }
            // After the wait, and before each repetition by the SDK.
            if !limits.is_leased(&operation) {
                return Err(ConnectorError::other(NotSent::LeaseEnded.into(), None));
            }
            let response = tokio::time::timeout(response_timeout, inner.call(request)).await;
            response.unwrap_or_else(|late| Err(ConnectorError::timeout(late.into())))
        })
    }
}

/// An SDK interceptor that records which calls AWS refused because there were too many.
#[derive(Clone, Debug)]
pub(crate) struct RecordThrottling {
    pub(crate) service: Service,
    pub(crate) limits: CallLimits,
}

/// Whether AWS refused a call because there were too many. Where the error stands depends on the protocol.
fn is_throttled(response: &HttpResponse) -> bool {
    if response.status().is_success() {
        return false;
    }
    let code = response
        .headers()
        .get("x-amzn-errortype")
        .unwrap_or_default();
    let body = response.body().bytes().unwrap_or_default();
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let is_named = |field: &str| {
        let text = body.get(field).and_then(serde_json::Value::as_str);
        text.is_some_and(call_error::is_throttling)
    };
    response.status().as_u16() == 429
        || call_error::is_throttling(code)
        || ["__type", "code", "message", "Message"]
            .into_iter()
            .any(is_named)
}

#[dyn_dispatch_hint]
impl Intercept for RecordThrottling {
    fn name(&self) -> &'static str {
        "RecordThrottling"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_throttled = is_throttled(context.response());
        if is_throttled {
            count_throttled(self.service);
        }
        if let Some(metadata) = config.load::<Metadata>() {
            self.limits.record(metadata.name(), is_throttled);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system_clock::SystemClock;
    use aws_smithy_types::body::SdkBody;
    use twinlake_engine::write_fence::WriteLease;

    fn response(status: u16, header: Option<&str>, body: &str) -> HttpResponse {
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        if let Some(code) = header {
            let code = code.to_owned();
            response.headers_mut().insert("x-amzn-errortype", code);
        }
        response
    }

    #[test]
    fn a_refusal_is_recognized_wherever_the_protocol_names_it() {
        let code = call_error::THROTTLING_CODES[0];
        let body = format!(r#"{{"__type": "{code}"}}"#);
        for (status, header, body, throttled) in [
            (200, None, body.as_str(), false),
            (400, None, body.as_str(), true),
            (400, Some(code), "{}", true),
            (429, None, "", true),
            (503, None, "{}", false),
        ] {
            let response = response(status, header, body);
            assert_eq!(
                is_throttled(&response),
                throttled,
                "{status} {header:?} {body}"
            );
        }
    }

    /// Answers every request.
    #[derive(Debug)]
    struct Answers;

    impl HttpConnector for Answers {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            HttpConnectorFuture::ready(Ok(response(200, None, "{}")))
        }
    }

    #[tokio::test]
    async fn an_attempt_that_writes_is_not_sent_without_the_lease() {
        let limits = CallLimits::new("us-east-1");
        let connector = LimitedConnector {
            inner: SharedHttpConnector::new(Answers),
            limits: limits.clone(),
            response_timeout: Duration::from_secs(10),
        };
        let is_sent = async |operation: &str| {
            let mut request = HttpRequest::new(SdkBody::empty());
            let target = format!("AWSGlue.{operation}");
            request.headers_mut().insert("x-amz-target", target);
            connector.call(request).await.is_ok()
        };
        assert!(is_sent("UpdateTable").await, "no lease is required");
        let lease = WriteLease::new(SystemClock);
        limits.require_lease(lease);
        assert!(is_sent("GetTables").await);
        assert!(!is_sent("UpdateTable").await);
    }

    #[test]
    fn both_protocols_name_the_operation() {
        let mut glue = HttpRequest::new(SdkBody::empty());
        glue.headers_mut()
            .insert("x-amz-target", "AWSGlue.GetTables");
        assert_eq!(operation_of(&glue), "GetTables");
        let mut lake_formation = HttpRequest::new(SdkBody::empty());
        let uri = "https://lakeformation.us-east-1.amazonaws.com/ListPermissions";
        lake_formation.set_uri(uri).unwrap();
        assert_eq!(operation_of(&lake_formation), "ListPermissions");
    }
}
