//! The engine's ports over AWS's SDK.
//!
//! Thin by intent: a call, its pages, its batches, and the conversion between the
//! SDK's types and the core's. No decision is made here.
//!
//! # Invariants
//!
//! - Only [`fault`] looks at error codes and messages.
//! - A listing is complete or it failed: no page is left out.
//! - Every entry of a batch call has its own result (LF-13).
//! - Nothing here reads the environment; the SDK's own configuration does.

mod calls;
pub mod convert;
pub mod fault;
pub mod grants;
pub mod lake;
pub mod ledger;
mod letters;
mod messages;
mod region;
mod replicas;

use std::time::Duration;

pub use calls::{calls, faults};
pub use ledger::DynamoLedger;
pub use letters::{Letter, SqsLetters, queues_of};
pub use messages::{BusPeer, SnsAlerts, SqsOutbox, SystemClock};
pub use region::AwsRegion;
pub use replicas::S3Replicas;

/// The name that Twinlake's calls carry in their user agent.
pub const APP_NAME: &str = "twinlake";

/// The SDK's configuration for a Region: standard retries, and the app name.
///
/// Standard and not adaptive retries: the adaptive limiter is shared by all calls
/// of a client and stalls them after one throttle.
pub async fn sdk_config(region: &str) -> aws_config::SdkConfig {
    let retries = aws_config::retry::RetryConfig::standard().with_max_attempts(4);
    // Without these a Region that accepts and does not answer hangs its caller.
    let timeouts = aws_config::timeout::TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_secs(30))
        .build();
    let loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new(region.to_owned()))
        .retry_config(retries)
        .timeout_config(timeouts);
    match aws_config::AppName::new(APP_NAME) {
        Ok(name) => loader.app_name(name).load().await,
        Err(_) => loader.load().await,
    }
}

/// The IAM principal that the process calls as: a user's ARN, or the role's of an
/// assumed role (without its path, which the session's name does not carry).
///
/// # Errors
/// There are no credentials, or they are not valid.
pub async fn caller(region: &str) -> Result<twinlake_core::Principal, twinlake_core::Fault> {
    let client = aws_sdk_sts::Client::new(&sdk_config(region).await);
    let answer = client.get_caller_identity().send().await;
    let answer = answer.map_err(|e| fault::of("GetCallerIdentity", region, &e))?;
    Ok(twinlake_core::Principal(role_of(
        &answer.arn.unwrap_or_default(),
    )))
}

fn role_of(arn: &str) -> String {
    let Some((head, session)) = arn.split_once(":assumed-role/") else {
        return arn.to_owned();
    };
    let role = session.split('/').next().unwrap_or(session);
    format!("{}:role/{role}", head.replacen(":sts:", ":iam:", 1))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_session_is_its_role() {
        assert_eq!(
            super::role_of("arn:aws:sts::111122223333:assumed-role/Ops/ann"),
            "arn:aws:iam::111122223333:role/Ops"
        );
        let user = "arn:aws:iam::111122223333:user/ann";
        assert_eq!(super::role_of(user), user);
    }
}
