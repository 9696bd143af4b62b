//! Reads encryption keys and their policies.

use crate::call_error;
use twinlake_core::readiness::{KmsKey, PolicyDocument};
use twinlake_core::{CallError, CallErrorKind};

/// `DescribeKey`, and `GetKeyPolicy`, which takes no alias.
pub(super) async fn read(
    client: &aws_sdk_kms::Client,
    region: &str,
    key: &str,
) -> Result<KmsKey, CallError> {
    let found = client.describe_key().key_id(key).send().await;
    let found = found.map_err(|e| call_error::from_sdk("DescribeKey", region, &e))?;
    let metadata = found.key_metadata;
    let state = metadata.as_ref().and_then(|metadata| metadata.key_state());
    let state = state.map_or("unknown", |state| state.as_str()).to_owned();
    let arn = metadata.and_then(|metadata| metadata.arn);
    let arn = arn.unwrap_or_else(|| key.to_owned());
    Ok(KmsKey {
        policy: policy(client, region, &arn).await.into(),
        state,
        arn,
    })
}

async fn policy(
    client: &aws_sdk_kms::Client,
    region: &str,
    arn: &str,
) -> Result<PolicyDocument, CallError> {
    const CALL: &str = "GetKeyPolicy";
    let found = client.get_key_policy().key_id(arn).policy_name("default");
    let found = found.send().await;
    let found = found.map_err(|e| call_error::from_sdk(CALL, region, &e))?;
    let text = found.policy.unwrap_or_default();
    PolicyDocument::parse(&text)
        .map_err(|problem| CallError::new(CallErrorKind::Invalid, CALL, region, problem))
}
