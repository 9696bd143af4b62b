//! IAM roles, each with one inline policy.

use super::{LakeSetup, if_found};
use crate::call_error;
use serde_json::Value;
use twinlake_core::CallError;
use twinlake_core::lake_setup::SetupState;

impl LakeSetup {
    /// The state of a role, without its permissions.
    ///
    /// # Errors
    /// The call failed.
    pub async fn role(&self, name: &str, trust: &Value) -> Result<SetupState, CallError> {
        const CALL: &str = "GetRole";
        let found = self.iam.get_role().role_name(name).send().await;
        let found = found.map_err(|e| call_error::from_sdk(CALL, &self.region, &e));
        let Some(role) = if_found(found)?.and_then(|found| found.role) else {
            return Ok(SetupState::Missing);
        };
        if role.path() != "/" {
            let problem = format!("a role of this name has the path {}, not /", role.path());
            return Ok(SetupState::Different(problem));
        }
        let found = self.decoded(CALL, role.assume_role_policy_document().unwrap_or_default())?;
        let state = SetupState::of_document(Some(&found), trust);
        match state.map_err(|problem| self.invalid(CALL, problem))? {
            SetupState::Different(_) => Ok(SetupState::Different(
                "it has another trust policy".to_owned(),
            )),
            state @ (SetupState::Missing | SetupState::Equal) => Ok(state),
        }
    }

    /// The state of the inline policy of a role.
    ///
    /// # Errors
    /// The call failed.
    pub async fn role_policy(
        &self,
        role: &str,
        policy: &str,
        wanted: &Value,
    ) -> Result<SetupState, CallError> {
        const CALL: &str = "GetRolePolicy";
        let call = self.iam.get_role_policy().role_name(role);
        let found = call.policy_name(policy).send().await;
        let found = found.map_err(|e| call_error::from_sdk(CALL, &self.region, &e));
        let Some(found) = if_found(found)? else {
            return Ok(SetupState::Missing);
        };
        let found = self.decoded(CALL, found.policy_document())?;
        let state = SetupState::of_document(Some(&found), wanted);
        state.map_err(|problem| self.invalid(CALL, problem))
    }

    /// IAM encodes a document as in a URL (RFC 3986).
    fn decoded(&self, call: &str, encoded: &str) -> Result<String, CallError> {
        let text = percent_encoding::percent_decode_str(encoded).decode_utf8();
        let text = text.map_err(|error| self.invalid(call, error.to_string()))?;
        Ok(text.into_owned())
    }

    /// Creates a role (`CreateRole`).
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_role(&self, name: &str, trust: &Value) -> Result<(), CallError> {
        let call = self.iam.create_role().role_name(name);
        let created = call.assume_role_policy_document(trust.to_string());
        let created = created.send().await;
        created
            .map(drop)
            .map_err(|e| call_error::from_sdk("CreateRole", &self.region, &e))
    }

    /// Gives a role its permissions (`PutRolePolicy`).
    ///
    /// # Errors
    /// The call failed.
    pub async fn put_role_policy(
        &self,
        role: &str,
        policy: &str,
        document: &Value,
    ) -> Result<(), CallError> {
        let call = self.iam.put_role_policy().role_name(role);
        let call = call.policy_name(policy);
        let put = call.policy_document(document.to_string()).send().await;
        put.map(drop)
            .map_err(|e| call_error::from_sdk("PutRolePolicy", &self.region, &e))
    }
}
