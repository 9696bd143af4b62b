//! Reads roles, and simulates calls of principals.

use super::AwsInfrastructure;
use crate::call_error;
use crate::pages::{all_pages, next_token};
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, PolicyEvaluationDecisionType};
use std::collections::BTreeMap;
use twinlake_core::readiness::{PolicyDocument, SimulatedCall, SimulatedDecision};
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::ReadIam;

const SIMULATE: &str = "SimulatePrincipalPolicy";

/// The result of a read, with `None` in place of the error that there is nothing of this name.
fn if_found<T>(result: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind == CallErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn name_in(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

impl ReadIam for AwsInfrastructure {
    async fn role_trust(&self, arn: &str) -> Result<Option<PolicyDocument>, CallError> {
        const CALL: &str = "GetRole";
        let found = self.iam.get_role().role_name(name_in(arn)).send().await;
        let found = found.map_err(|e| call_error::from_sdk(CALL, &self.region, &e));
        let role = if_found(found)?.and_then(|found| found.role);
        // A role of this name with another path has another ARN.
        let Some(role) = role.filter(|role| role.arn() == arn) else {
            return Ok(None);
        };
        // IAM encodes the document as in a URL (RFC 3986).
        let encoded = role.assume_role_policy_document().unwrap_or_default();
        let invalid =
            |problem: String| CallError::new(CallErrorKind::Invalid, CALL, &self.region, problem);
        let text = percent_encoding::percent_decode_str(encoded).decode_utf8();
        let text = text.map_err(|error| invalid(error.to_string()))?;
        PolicyDocument::parse(&text).map(Some).map_err(invalid)
    }

    async fn named_principal(&self, arn: &str) -> Result<Option<String>, CallError> {
        let name = name_in(arn);
        if arn.contains(":user/") {
            let found = self.iam.get_user().user_name(name).send().await;
            let found = found.map_err(|e| call_error::from_sdk("GetUser", &self.region, &e));
            let user = if_found(found)?.and_then(|found| found.user);
            return Ok(user.map(|user| user.arn));
        }
        let found = self.iam.get_role().role_name(name).send().await;
        let found = found.map_err(|e| call_error::from_sdk("GetRole", &self.region, &e));
        let role = if_found(found)?.and_then(|found| found.role);
        Ok(role.map(|role| role.arn))
    }

    async fn simulate(
        &self,
        call: &SimulatedCall,
    ) -> Result<Option<BTreeMap<String, SimulatedDecision>>, CallError> {
        let context = call.context.iter().map(|(key, value)| {
            ContextEntry::builder()
                .context_key_name(key)
                .context_key_values(value)
                .context_key_type(ContextKeyTypeEnum::String)
                .build()
        });
        let request = self
            .iam
            .simulate_principal_policy()
            .policy_source_arn(&call.principal)
            .set_action_names(Some(call.actions.iter().cloned().collect()))
            .resource_arns(&call.resource)
            .set_context_entries(Some(context.collect()));
        let listing = (SIMULATE, self.region.as_str());
        let results = all_pages(listing, |marker: Option<String>| async {
            let page = request.clone().set_marker(marker).send().await;
            let page = page.map_err(|e| call_error::from_sdk(SIMULATE, &self.region, &e))?;
            let next = next_token(listing, page.is_truncated, page.marker)?;
            Ok((page.evaluation_results.unwrap_or_default(), next))
        });
        let Some(results) = if_found(results.await)? else {
            return Ok(None);
        };
        let mut decisions = BTreeMap::new();
        for result in results {
            let decision = self.decision(result.eval_decision())?;
            decisions.insert(result.eval_action_name().to_owned(), decision);
        }
        let is_decided = |action: &&String| decisions.contains_key(*action);
        match call.actions.iter().find(|action| !is_decided(action)) {
            Some(action) => Err(self.undecided(&format!("no decision on {action}"))),
            None => Ok(Some(decisions)),
        }
    }
}

impl AwsInfrastructure {
    fn decision(
        &self,
        decision: &PolicyEvaluationDecisionType,
    ) -> Result<SimulatedDecision, CallError> {
        match decision.as_str() {
            "allowed" => Ok(SimulatedDecision::Allowed),
            "explicitDeny" => Ok(SimulatedDecision::ExplicitDeny),
            "implicitDeny" => Ok(SimulatedDecision::ImplicitDeny),
            other => Err(self.undecided(&format!("the decision {other}"))),
        }
    }

    fn undecided(&self, problem: &str) -> CallError {
        CallError::new(CallErrorKind::Invalid, SIMULATE, &self.region, problem)
    }
}
