//! Registered locations.

use super::Answer;
use crate::api::{Caller, page, text};
use crate::error::ApiError;
use crate::state::World;
use serde_json::{Value, json};
use twinlake_core::catalog::Registration;
use twinlake_core::location::Location;

/// The service-linked role of an account.
pub(crate) fn linked_role(account: &str) -> String {
    format!(
        "arn:aws:iam::{account}:role/aws-service-role/lakeformation.amazonaws.com/\
         AWSServiceRoleForLakeFormationDataAccess"
    )
}

fn place(r: &Value) -> Result<String, ApiError> {
    let arn = text(r, "ResourceArn")?;
    let place = Location::parse(arn).map_err(|e| ApiError::invalid(e.to_string()))?;
    Ok(place.as_arn())
}

fn registration(r: &Value) -> Result<Registration, ApiError> {
    let flag = |key: &str| r.get(key).and_then(Value::as_bool).unwrap_or_default();
    let words = |key: &str| r.get(key).and_then(Value::as_str).map(str::to_owned);
    let linked = flag("UseServiceLinkedRole");
    Ok(Registration {
        arn: place(r)?,
        role: words("RoleArn").filter(|_| !linked),
        with_federation: flag("WithFederation"),
        hybrid_access: flag("HybridAccessEnabled"),
        privileged_access: flag("WithPrivilegedAccess"),
        owner: words("ExpectedResourceOwnerAccount"),
    })
}

impl World {
    pub(super) fn register(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let one = registration(r)?;
        let region = self.region_mut(c.region)?;
        if region.registrations.contains_key(&one.arn) {
            return Err(ApiError::already_exists("Resource"));
        }
        region.registrations.insert(one.arn.clone(), one);
        Ok(json!({}))
    }

    /// Does not edit what is registered with the service-linked role (LF-27).
    pub(super) fn update_registration(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let one = registration(r)?;
        let region = self.region_mut(c.region)?;
        let known = region.registrations.get_mut(&one.arn);
        let known = known.ok_or_else(ApiError::not_found)?;
        if known.role.is_none() || one.role.is_none() {
            return Err(ApiError::invalid("a location of the service-linked role"));
        }
        *known = Registration {
            privileged_access: known.privileged_access,
            ..one
        };
        Ok(json!({}))
    }

    pub(super) fn deregister(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let arn = place(r)?;
        let gone = self.region_mut(c.region)?.registrations.remove(&arn);
        gone.map(|_| json!({})).ok_or_else(ApiError::not_found)
    }

    pub(super) fn list_registrations(&self, c: Caller<'_>, r: &Value) -> Answer {
        let all: Vec<&Registration> = match self.is_blind(c.region, c.principal) {
            true => Vec::new(),
            false => self.region(c.region)?.registrations.values().collect(),
        };
        let linked = linked_role(&self.account);
        Ok(page(r, "ResourceInfoList", 1000, &all, |one| {
            json!({
                "ResourceArn": one.arn, "RoleArn": one.role.as_ref().unwrap_or(&linked),
                "WithFederation": one.with_federation,
                "HybridAccessEnabled": one.hybrid_access,
                "WithPrivilegedAccess": one.privileged_access,
                "ExpectedResourceOwnerAccount": one.owner,
            })
        }))
    }
}
