//! Reads quotas of the account.

use crate::call_error;
use twinlake_core::readiness::ServiceQuota;
use twinlake_core::{CallError, CallErrorKind};

/// `GetServiceQuota`, which knows only quotas with a value of the account, and else
/// `GetAWSDefaultServiceQuota`.
pub(super) async fn read(
    client: &aws_sdk_servicequotas::Client,
    region: &str,
    quota: &ServiceQuota,
) -> Result<Option<f64>, CallError> {
    let applied = client
        .get_service_quota()
        .service_code(quota.service)
        .quota_code(quota.code);
    match applied.send().await {
        Ok(found) => return Ok(found.quota.and_then(|quota| quota.value)),
        Err(error) => {
            let error = call_error::from_sdk("GetServiceQuota", region, &error);
            if error.kind != CallErrorKind::NotFound {
                return Err(error);
            }
        }
    }
    let default = client
        .get_aws_default_service_quota()
        .service_code(quota.service)
        .quota_code(quota.code);
    match default.send().await {
        Ok(found) => Ok(found.quota.and_then(|quota| quota.value)),
        Err(error) => {
            let error = call_error::from_sdk("GetAWSDefaultServiceQuota", region, &error);
            match error.kind == CallErrorKind::NotFound {
                true => Ok(None),
                false => Err(error),
            }
        }
    }
}
