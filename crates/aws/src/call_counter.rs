//! Counts the AWS requests that this process sends (the SDK's retries included, those to STS not)
//! and the errors it receives.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use twinlake_core::CallErrorKind;

/// The AWS services whose calls are counted: all but STS, which only commands call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    Glue,
    LakeFormation,
    DynamoDb,
    Sns,
    Sqs,
    EventBridge,
    S3,
    Kms,
    Iam,
    Quotas,
    CloudTrail,
    Athena,
    S3Control,
    Ssm,
    RedshiftData,
}

/// One counter for each service, in the order of [`Service`].
static CALL_COUNTS: [AtomicU64; 15] = [const { AtomicU64::new(0) }; 15];

impl Service {
    const ALL: [Self; 15] = [
        Self::Glue,
        Self::LakeFormation,
        Self::DynamoDb,
        Self::Sns,
        Self::Sqs,
        Self::EventBridge,
        Self::S3,
        Self::Kms,
        Self::Iam,
        Self::Quotas,
        Self::CloudTrail,
        Self::Athena,
        Self::S3Control,
        Self::Ssm,
        Self::RedshiftData,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Glue => "glue",
            Self::LakeFormation => "lakeformation",
            Self::DynamoDb => "dynamodb",
            Self::Sns => "sns",
            Self::Sqs => "sqs",
            Self::EventBridge => "events",
            Self::S3 => "s3",
            Self::Kms => "kms",
            Self::Iam => "iam",
            Self::Quotas => "servicequotas",
            Self::CloudTrail => "cloudtrail",
            Self::Athena => "athena",
            Self::S3Control => "s3control",
            Self::Ssm => "ssm",
            Self::RedshiftData => "redshift-data",
        }
    }

    fn counter(self) -> Option<&'static AtomicU64> {
        CALL_COUNTS.get(self as usize)
    }

    /// The number of requests sent to the service since the process started.
    pub(crate) fn calls(self) -> u64 {
        let counter = self.counter();
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// One counter of refused calls for each service, in the order of [`Service`].
static THROTTLED_COUNTS: [AtomicU64; 15] = [const { AtomicU64::new(0) }; 15];

/// Counts a call that the service refused because there were too many.
pub(crate) fn count_throttled(service: Service) {
    if let Some(counter) = THROTTLED_COUNTS.get(service as usize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The number of calls of this process so far, by service, that Glue and Lake Formation refused because
/// there were too many, attempts that the SDK repeated included.
#[must_use]
pub fn throttled_calls() -> BTreeMap<&'static str, u64> {
    let services = [Service::Glue, Service::LakeFormation];
    let count = |service: Service| {
        let counter = THROTTLED_COUNTS.get(service as usize);
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    };
    services
        .map(|service| (service.as_str(), count(service)))
        .into()
}

/// The number of requests that this process has sent so far, by service. Those to STS are not
/// counted.
#[must_use]
pub fn api_calls() -> BTreeMap<&'static str, u64> {
    let counts = Service::ALL.map(|service| (service.as_str(), service.calls()));
    counts.into()
}

/// The error kinds that are counted, in the order of their counters. `NotFound` and
/// `AlreadyInState` are expected answers and are not counted.
const COUNTED_KINDS: [CallErrorKind; 6] = [
    CallErrorKind::Contended,
    CallErrorKind::NotPropagated,
    CallErrorKind::Denied,
    CallErrorKind::Invalid,
    CallErrorKind::Unsupported,
    CallErrorKind::Unavailable,
];

/// One counter for each kind, in the order of [`COUNTED_KINDS`].
static ERROR_COUNTS: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

/// Counts the failure of a call, or of one entry of a batch call.
pub(crate) fn count_error(kind: CallErrorKind) {
    if let Some(counter) = error_counter(kind) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn error_counter(kind: CallErrorKind) -> Option<&'static AtomicU64> {
    let index = COUNTED_KINDS.iter().position(|counted| *counted == kind)?;
    ERROR_COUNTS.get(index)
}

/// The number of failures in this process so far, by kind: failed calls and failed entries of
/// batch calls.
#[must_use]
pub fn api_errors() -> BTreeMap<CallErrorKind, u64> {
    let counts = ERROR_COUNTS
        .iter()
        .map(|counter| counter.load(Ordering::Relaxed));
    COUNTED_KINDS.into_iter().zip(counts).collect()
}

/// An SDK interceptor that counts every request sent to a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountCalls(pub(crate) Service);

#[dyn_dispatch_hint]
impl Intercept for CountCalls {
    fn name(&self) -> &'static str {
        "CountCalls"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(counter) = self.0.counter() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_expected_answers_are_not() {
        let denied = || api_errors()[&CallErrorKind::Denied];
        let before = denied();
        let _ = crate::call_error::from_code("GetTable", "r", "AccessDenied", "no");
        assert!(denied() > before);
        assert!(
            COUNTED_KINDS
                .into_iter()
                .all(|kind| error_counter(kind).is_some())
        );
        assert!(error_counter(CallErrorKind::NotFound).is_none());
        assert!(error_counter(CallErrorKind::AlreadyInState).is_none());
    }
}
