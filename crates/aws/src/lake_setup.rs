//! Reads and makes what `twinlake setup` makes: keys, buckets, roles, registered locations, a workgroup, a
//! trail.
//!
//! Each thing has a method that reads its state, which changes nothing, and one that makes it.

mod buckets;
mod catalog;
mod keys;
mod roles;
mod trails;

pub use keys::SetupKey;

use crate::call_error;
use crate::clients::Clients;
use twinlake_core::{CallError, CallErrorKind};

/// What the setup reads and makes in one Region.
#[derive(Clone, Debug)]
pub struct LakeSetup {
    region: String,
    account: String,
    s3: aws_sdk_s3::Client,
    kms: aws_sdk_kms::Client,
    iam: aws_sdk_iam::Client,
    athena: aws_sdk_athena::Client,
    lakeformation: aws_sdk_lakeformation::Client,
    cloudtrail: aws_sdk_cloudtrail::Client,
}

impl LakeSetup {
    /// The setup of a Region in an account. Each call about a bucket fails if another account owns it.
    #[must_use]
    pub fn new(clients: &Clients, account: &str) -> Self {
        Self {
            region: clients.region().to_owned(),
            account: account.to_owned(),
            s3: clients.s3(),
            kms: clients.kms(),
            iam: clients.iam(),
            athena: clients.athena(),
            lakeformation: clients.lakeformation(),
            cloudtrail: clients.cloudtrail(),
        }
    }

    /// The error of a response or a request that is not as the API defines it.
    fn invalid(&self, call: &str, problem: impl Into<String>) -> CallError {
        CallError::new(CallErrorKind::Invalid, call, &self.region, problem)
    }

    /// What a response that says that there is something must contain. Without it, the setup would put its own in
    /// place of what is there.
    fn required<T>(&self, call: &str, part: Option<T>) -> Result<T, CallError> {
        part.ok_or_else(|| self.invalid(call, "the response does not contain what was asked for"))
    }

    fn build_error(&self, call: &str, error: &dyn std::error::Error) -> CallError {
        call_error::from_build_error(call, &self.region, error)
    }
}

/// The result of a read, with `None` in place of the error that there is nothing of this name.
fn if_found<T>(result: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind == CallErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
