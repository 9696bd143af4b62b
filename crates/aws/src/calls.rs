//! Counts the calls that this process makes, repeats of the SDK's included.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use twinlake_core::FaultKind;

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

/// The kinds of faults that are trouble, in the order of their counters. That something is
/// absent, or done already, is an answer.
const TROUBLE: [FaultKind; 6] = [
    FaultKind::Busy,
    FaultKind::NotYet,
    FaultKind::Denied,
    FaultKind::Invalid,
    FaultKind::Unsupported,
    FaultKind::Unavailable,
];

static FAULTS: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

/// Counts what a call, or an entry of one, came to.
pub(crate) fn came_to(kind: FaultKind) {
    if let Some(counter) = counter_of(kind) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn counter_of(kind: FaultKind) -> Option<&'static AtomicU64> {
    let at = TROUBLE.iter().position(|trouble| *trouble == kind)?;
    FAULTS.get(at)
}

/// The calls that failed in this process so far, by kind.
#[must_use]
pub fn faults() -> BTreeMap<FaultKind, u64> {
    let counts = FAULTS.iter().map(|counter| counter.load(Ordering::Relaxed));
    TROUBLE.into_iter().zip(counts).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_trouble_is_counted_and_what_is_an_answer_is_not() {
        let denied = || faults()[&FaultKind::Denied];
        let before = denied();
        let _ = crate::fault::of_code("GetTable", "r", "AccessDenied", "no");
        assert!(denied() > before);
        assert!(TROUBLE.into_iter().all(|kind| counter_of(kind).is_some()));
        assert!(counter_of(FaultKind::Absent).is_none());
        assert!(counter_of(FaultKind::AlreadyDone).is_none());
    }
}
