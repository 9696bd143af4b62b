//! What was read of IAM: roles, simulated calls, and the principals that hold grants.

use super::{PolicyDocument, Reading};
use std::collections::{BTreeMap, BTreeSet};

/// What was read of IAM.
#[derive(Clone, Debug)]
pub struct AccessReadings {
    /// The trust policies of the roles of the replication configurations, by ARN; `None` if there is no
    /// such role.
    pub roles: BTreeMap<String, Reading<Option<PolicyDocument>>>,
    /// The results of [`SimulatedCall`]s.
    pub simulations: BTreeMap<SimulatedCall, Reading<Option<Decisions>>>,
    /// The principals that hold grants in the primary.
    pub principals: Reading<GrantedPrincipals>,
    /// The roles and users of which a simulation said that they do not exist, looked up by name: the ARN
    /// of the one that has the name, or `None`.
    pub missing_principals: BTreeMap<String, Reading<Option<String>>>,
}

/// The decision on each action of a simulated call.
pub type Decisions = BTreeMap<String, SimulatedDecision>;

/// `SimulatePrincipalPolicy`: whether the policies of a role or user allow actions on one resource.
///
/// One call names one resource: since a change of the API a result for several is the decision about
/// all of them together (IAM API reference, `EvaluationResult`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimulatedCall {
    /// The ARN of the role or user.
    pub principal: String,
    /// The actions, as in `s3:GetObject`.
    pub actions: BTreeSet<String>,
    /// The ARN of the resource; `*` for actions that have none.
    pub resource: String,
    /// Context keys, such as `aws:RequestedRegion`, with their values.
    pub context: BTreeMap<String, String>,
}

/// `EvalDecision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulatedDecision {
    /// The policies allow the action.
    Allowed,
    /// No statement allows it.
    ImplicitDeny,
    /// A statement denies it.
    ExplicitDeny,
}

/// The principals that hold grants of Lake Formation in the primary on what is replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantedPrincipals {
    /// Roles and users of the account, of which calls are simulated.
    pub chosen: Vec<GrantedPrincipal>,
    /// Number of further roles and users of the account.
    pub unchecked: usize,
    /// Texts that stand for principals which were deleted.
    pub deleted: BTreeSet<String>,
    /// Number of users and groups of Identity Center.
    pub identity_center: usize,
}

/// A role or user with grants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrantedPrincipal {
    /// Its ARN in the primary.
    pub primary: String,
    /// The ARN of its counterpart in the standby.
    pub standby: String,
    /// A database and a table that it is granted, as in the ARN of a table.
    pub table: String,
}
