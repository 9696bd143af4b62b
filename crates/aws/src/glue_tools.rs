//! The tools of Glue: classifiers, security configurations, jobs, workflows, crawlers and triggers, as far as they sleep
//! in the standby.
//!
//! No call outside `wake` starts, schedules or activates anything, and none here runs a job or a workflow: a crawler is
//! written without a schedule, and a trigger is created without being started.

mod convert;
mod read;
mod wake;
mod write;

pub use wake::SleepingTools;

use crate::call_error;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use twinlake_core::query::{ObjectKey, QueryObject};
use twinlake_core::{CallError, CallErrorKind};

/// A listed object, or why it could not be read.
type Listed = (ObjectKey, Result<QueryObject, CallError>);

/// The tools of Glue in one Region.
#[derive(Clone, Debug)]
pub(crate) struct GlueTools {
    region: String,
    glue: aws_sdk_glue::Client,
}

impl GlueTools {
    pub(crate) fn new(region: &str, glue: aws_sdk_glue::Client) -> Self {
        Self {
            region: region.to_owned(),
            glue,
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

    fn missing_object_error(&self, call: &str) -> CallError {
        let message = "Glue answered with neither the object that was asked for nor an error code";
        CallError::new(CallErrorKind::Unavailable, call, &self.region, message)
    }

    /// The error of an update of an object that no call changes.
    pub(crate) fn no_update(&self, key: &ObjectKey) -> CallError {
        let message = format!("no call changes a {}", key.kind);
        CallError::new(CallErrorKind::Unsupported, "Update", &self.region, message)
    }

    /// The error of an object that cannot be written with the fields that it has.
    fn unwritable(&self, call: &str) -> impl Fn(String) -> CallError {
        let (call, region) = (call.to_owned(), self.region.clone());
        move |message| CallError::new(CallErrorKind::Invalid, &call, &region, message)
    }
}

/// Objects that were read with their listing.
fn listed(objects: impl Iterator<Item = QueryObject>) -> Vec<Listed> {
    objects
        .map(|object| (object.key.clone(), Ok(object)))
        .collect()
}
