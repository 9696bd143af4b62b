//! What IAM says of a sound pair.

use super::super::*;
use std::collections::BTreeMap;

pub(super) const REPLICATION_ROLE: &str = "arn:aws:iam::111122223333:role/replication";
pub(super) const ANALYST: &str = "arn:aws:iam::111122223333:role/analyst";

/// The default policy of a key, which lets the policies of IAM decide.
pub(super) fn delegating_policy() -> PolicyDocument {
    document(
        r#"{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
            "Action": "kms:*", "Resource": "*"}]}"#,
    )
}

pub(super) fn document(text: &str) -> PolicyDocument {
    PolicyDocument::parse(text).unwrap()
}

/// Roles that exist, and one principal with grants.
pub(super) fn access() -> AccessReadings {
    let trust = document(
        r#"{"Statement": [{"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "sts:AssumeRole"}]}"#,
    );
    let principal = GrantedPrincipal {
        primary: ANALYST.to_owned(),
        standby: ANALYST.to_owned(),
        table: "sales/orders".to_owned(),
    };
    AccessReadings {
        roles: BTreeMap::from([(REPLICATION_ROLE.to_owned(), Reading::Read(Some(trust)))]),
        simulations: BTreeMap::new(),
        principals: Reading::Read(GrantedPrincipals {
            chosen: vec![principal],
            ..GrantedPrincipals::default()
        }),
        missing_principals: BTreeMap::new(),
    }
}

/// Allows every call that a check asks for and that was not simulated yet.
pub(super) fn simulate_missing(readings: &mut ReadinessReadings, policy: &Policy) {
    let epoch = Epoch::INITIAL;
    let mut calls = replication_calls(readings, policy, epoch);
    if let Reading::Read(granted) = &readings.access.principals {
        for principal in &granted.chosen {
            let (standby, primary) = (policy.standby(epoch), policy.primary(epoch));
            calls.extend(query_calls(&principal.standby, &principal.table, standby));
            calls.extend(query_calls(&principal.primary, &principal.table, primary));
        }
    }
    for call in calls {
        let allowed = all(SimulatedDecision::Allowed)(&call);
        readings.access.simulations.entry(call).or_insert(allowed);
    }
}

/// One decision on every action of a call.
pub(super) fn all(
    decision: SimulatedDecision,
) -> impl Fn(&SimulatedCall) -> Reading<Option<Decisions>> {
    move |call| {
        Reading::Read(Some(
            call.actions.iter().map(|a| (a.clone(), decision)).collect(),
        ))
    }
}
