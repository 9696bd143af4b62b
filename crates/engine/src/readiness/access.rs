//! Reads what IAM says of the roles of S3 replication, and of the principals that hold grants.

use super::InspectedRegion;
use crate::observe::run_concurrently;
use crate::ports::{ReadIam, ReadRegion};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use twinlake_core::readiness::{
    self, AccessReadings, Decisions, GrantedPrincipal, ReadinessReadings, Reading, SimulatedCall,
};
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, CallErrorKind, Policy, Principal};

/// Calls to IAM under way at a time: it is one service for all Regions, and its limits are low.
const MAX_CONCURRENT_IAM_CALLS: usize = 4;

/// IAM, until a call is not answered: while IAM does not answer, each further call would take its whole
/// time-out.
struct Iam<'a, I> {
    port: &'a I,
    unanswered: OnceLock<String>,
}

impl<I> Iam<'_, I> {
    async fn read<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> Reading<T> {
        if let Some(error) = self.unanswered.get() {
            return Reading::Unread(error.clone());
        }
        let result = call.await;
        if let Err(error) = &result
            && error.kind == CallErrorKind::Unavailable
        {
            self.unanswered.get_or_init(|| error.to_string());
        }
        result.into()
    }
}

type Simulations = BTreeMap<SimulatedCall, Reading<Option<Decisions>>>;

/// What is known before IAM was read.
pub(super) fn unread() -> AccessReadings {
    AccessReadings {
        roles: BTreeMap::new(),
        simulations: BTreeMap::new(),
        principals: Reading::Unread("it was not read".to_owned()),
        missing_principals: BTreeMap::new(),
    }
}

/// Reads the roles that `readings` name and the principals with grants, and simulates their calls.
pub(super) async fn read<R: ReadRegion, I: ReadIam>(
    readings: &ReadinessReadings,
    primary: &InspectedRegion<'_, R, I>,
    twinlake_roles: &BTreeSet<Principal>,
    policy: &Policy,
    epoch: Epoch,
) -> AccessReadings {
    let iam = &Iam {
        port: primary.infrastructure,
        unanswered: OnceLock::new(),
    };
    let calls = readiness::replication_calls(readings, policy, epoch);
    let mut simulations = simulate(iam, calls).await;
    let principals = primary
        .catalog
        .all_grants()
        .await
        .map(|grants| readiness::granted_principals(&grants, twinlake_roles, policy, epoch));
    let chosen = principals
        .as_ref()
        .map_or(&[][..], |found| found.chosen.as_slice());
    let queries = |principal: &GrantedPrincipal| {
        readiness::query_calls(&principal.standby, &principal.table, policy.standby(epoch))
    };
    simulations.extend(simulate(iam, chosen.iter().flat_map(queries).collect()).await);
    let compared = chosen
        .iter()
        .flat_map(|principal| readiness::calls_to_compare(principal, &simulations, policy, epoch));
    let compared: BTreeSet<SimulatedCall> = compared.collect();
    simulations.extend(simulate(iam, compared).await);
    AccessReadings {
        roles: roles(iam, readings).await,
        missing_principals: missing_principals(iam, &simulations).await,
        simulations,
        principals: principals.into(),
    }
}

async fn roles<I: ReadIam>(
    iam: &Iam<'_, I>,
    readings: &ReadinessReadings,
) -> BTreeMap<String, Reading<Option<readiness::PolicyDocument>>> {
    let regions = [&readings.primary, &readings.standby].into_iter();
    let buckets = regions.flat_map(|region| region.buckets.values());
    let roles: BTreeSet<&String> = buckets
        .filter_map(|bucket| bucket.replication_role.read()?.as_ref())
        .collect();
    let calls = roles
        .into_iter()
        .map(async |role| (role.clone(), iam.read(iam.port.role_trust(role)).await));
    let read = run_concurrently(calls, MAX_CONCURRENT_IAM_CALLS).await;
    read.into_iter().collect()
}

async fn simulate<I: ReadIam>(iam: &Iam<'_, I>, calls: BTreeSet<SimulatedCall>) -> Simulations {
    let calls = calls.into_iter().map(async |call| {
        let result = iam.read(iam.port.simulate(&call)).await;
        (call, result)
    });
    let results = run_concurrently(calls, MAX_CONCURRENT_IAM_CALLS).await;
    results.into_iter().collect()
}

/// Looks up by name the principals that simulations did not find.
async fn missing_principals<I: ReadIam>(
    iam: &Iam<'_, I>,
    simulations: &Simulations,
) -> BTreeMap<String, Reading<Option<String>>> {
    let missing: BTreeSet<&String> = simulations
        .iter()
        .filter(|(_, result)| matches!(result, Reading::Read(None)))
        .map(|(call, _)| &call.principal)
        .collect();
    let calls = missing.into_iter().map(async |principal| {
        let found = iam.read(iam.port.named_principal(principal)).await;
        (principal.clone(), found)
    });
    let found = run_concurrently(calls, MAX_CONCURRENT_IAM_CALLS).await;
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn iam_is_not_asked_again_once_it_does_not_answer() {
        let iam = Iam {
            port: &(),
            unanswered: OnceLock::new(),
        };
        let failed = |kind| {
            let error = CallError::new(kind, "GetRole", "us-east-1", "no answer");
            async move { Err::<(), _>(error) }
        };
        let read = |reading: Reading<()>| reading == Reading::Read(());
        assert!(!read(iam.read(failed(CallErrorKind::Denied)).await));
        assert!(read(iam.read(async { Ok(()) }).await));
        assert!(!read(iam.read(failed(CallErrorKind::Unavailable)).await));
        assert!(!read(iam.read(async { Ok(()) }).await));
    }
}
