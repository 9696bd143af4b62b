//! The trait for what IAM says of roles and users.

use std::collections::BTreeMap;
use twinlake_core::CallError;
use twinlake_core::readiness::{PolicyDocument, SimulatedCall, SimulatedDecision};

/// Reads roles, and simulates calls of principals.
pub trait ReadIam {
    /// The trust policy of a role (`GetRole`), by its ARN; `None` if there is no role of this ARN.
    ///
    /// # Errors
    /// The call failed or was denied, or the policy is none.
    async fn role_trust(&self, arn: &str) -> Result<Option<PolicyDocument>, CallError>;

    /// The ARN of the role or user that has the name of a principal (`GetRole`, `GetUser`); `None` if
    /// there is none.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn named_principal(&self, arn: &str) -> Result<Option<String>, CallError>;

    /// `SimulatePrincipalPolicy`: the decision on each action; `None` if there is no such principal.
    ///
    /// # Errors
    /// The call failed or was denied.
    async fn simulate(
        &self,
        call: &SimulatedCall,
    ) -> Result<Option<BTreeMap<String, SimulatedDecision>>, CallError>;
}
