//! Operations on registered data locations.

use super::ApiResult;
use crate::api::{page, required_text};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::SimState;
use serde_json::{Value, json};
use twinlake_core::catalog::Registration;
use twinlake_core::location::Location;

/// Returns the ARN of Lake Formation's service-linked role of an account.
pub(crate) fn service_linked_role(account: &str) -> String {
    format!(
        "arn:aws:iam::{account}:role/aws-service-role/lakeformation.amazonaws.com/\
         AWSServiceRoleForLakeFormationDataAccess"
    )
}

fn location_arn(request: &Value) -> Result<String, ApiError> {
    let arn = required_text(request, "ResourceArn")?;
    // The table buckets of S3 Tables are registered by their own ARNs.
    if arn.split(':').nth(2) == Some("s3tables") {
        return Ok(arn.to_owned());
    }
    let location = Location::parse(arn).map_err(|e| ApiError::invalid(e.to_string()))?;
    Ok(location.without_trailing_slash())
}

fn parse_registration(request: &Value) -> Result<Registration, ApiError> {
    let flag = |key: &str| {
        request
            .get(key)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    };
    let text = |key: &str| request.get(key).and_then(Value::as_str).map(str::to_owned);
    let uses_linked_role = flag("UseServiceLinkedRole");
    Ok(Registration {
        arn: location_arn(request)?,
        role: text("RoleArn").filter(|_| !uses_linked_role),
        with_federation: flag("WithFederation"),
        hybrid_access: flag("HybridAccessEnabled"),
        privileged_access: flag("WithPrivilegedAccess"),
        owner: text("ExpectedResourceOwnerAccount"),
    })
}

impl SimState {
    pub(super) fn register(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let registration = parse_registration(request)?;
        let region = self.region_mut(caller.region)?;
        if region.registrations.contains_key(&registration.arn) {
            return Err(ApiError::already_exists("Resource"));
        }
        region
            .registrations
            .insert(registration.arn.clone(), registration);
        Ok(json!({}))
    }

    /// Rejects changes of a location that is registered with the service-linked role (LF-27).
    pub(super) fn update_registration(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let registration = parse_registration(request)?;
        let region = self.region_mut(caller.region)?;
        let known = region.registrations.get_mut(&registration.arn);
        let known = known.ok_or_else(ApiError::not_found)?;
        if known.role.is_none() || registration.role.is_none() {
            return Err(ApiError::invalid(
                "a registration with the service-linked role cannot be updated",
            ));
        }
        *known = Registration {
            privileged_access: known.privileged_access,
            ..registration
        };
        Ok(json!({}))
    }

    pub(super) fn deregister(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let arn = location_arn(request)?;
        let removed = self.region_mut(caller.region)?.registrations.remove(&arn);
        removed.map(|_| json!({})).ok_or_else(ApiError::not_found)
    }

    pub(super) fn list_registrations(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let all: Vec<&Registration> = match self.sees_empty_catalog(caller.region, caller.principal)
        {
            true => Vec::new(),
            false => self.region(caller.region)?.registrations.values().collect(),
        };
        let linked_role = service_linked_role(&self.account);
        Ok(page(request, "ResourceInfoList", 1000, &all, |one| {
            json!({
                "ResourceArn": one.arn, "RoleArn": one.role.as_ref().unwrap_or(&linked_role),
                "WithFederation": one.with_federation,
                "HybridAccessEnabled": one.hybrid_access,
                "WithPrivilegedAccess": one.privileged_access,
                "ExpectedResourceOwnerAccount": one.owner,
            })
        }))
    }
}
