//! Counts the calls that this process makes, repeats of the SDK's included.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The services that are called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    Glue,
    LakeFormation,
    DynamoDb,
    Sns,
    Sqs,
    EventBridge,
    S3,
}

/// One counter for each service, in the order of [`Service`].
static COUNTS: [AtomicU64; 7] = [const { AtomicU64::new(0) }; 7];

impl Service {
    const EVERY: [Self; 7] = [
        Self::Glue,
        Self::LakeFormation,
        Self::DynamoDb,
        Self::Sns,
        Self::Sqs,
        Self::EventBridge,
        Self::S3,
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
        }
    }

    fn counter(self) -> Option<&'static AtomicU64> {
        COUNTS.get(self as usize)
    }

    /// Calls to it so far.
    pub(crate) fn calls(self) -> u64 {
        let counter = self.counter();
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// The calls that this process has made so far, by service.
#[must_use]
pub fn calls() -> BTreeMap<&'static str, u64> {
    let counts = Service::EVERY.map(|service| (service.as_str(), service.calls()));
    counts.into()
}

/// Counts every request that is sent to a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted(pub(crate) Service);

#[dyn_dispatch_hint]
impl Intercept for Counted {
    fn name(&self) -> &'static str {
        "Counted"
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
