//! The conversions between the model's calls and the real ones, and the real plan.

use super::{GrantCalls, LateListingStep, Question, Time};
use crate::access_model::Decision;
use crate::inputs::{CommonInputs, Reads};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::grant::{Grants, Permission, PermissionGrant, Resource};
use twinlake_core::scope::{Facet, GrantCallTimes, KnownGrantCalls, ReadRequest};
use twinlake_core::step::StepTarget;
use twinlake_core::{LfSubject, Scope, Step, Subject, Timestamp};

type CallsByGrant = BTreeMap<PermissionGrant, GrantCallTimes>;

/// The subject of the grant.
const PERMISSIONS: Subject = Subject::LakeFormation(LfSubject::Permissions);

pub(super) fn grant(inputs: &CommonInputs) -> PermissionGrant {
    PermissionGrant {
        principal: inputs.role("Maker"),
        resource: Resource::Catalog,
        permission: Permission::CreateDatabase,
        condition: None,
    }
}

fn listing_of(grant: &PermissionGrant, is_listed: bool) -> Grants {
    let listed = is_listed.then(|| (grant.clone(), false));
    listed.into_iter().collect()
}

fn by_grant(grant: &PermissionGrant, calls: GrantCalls) -> CallsByGrant {
    let at = |time: Option<Time>| time.map(|time| Timestamp::from_secs(i64::from(time)));
    let times = GrantCallTimes {
        granted_at: at(calls.granted_at),
        revoked_at: at(calls.revoked_at),
    };
    let known = (calls != GrantCalls::default()).then(|| (grant.clone(), times));
    known.into_iter().collect()
}

fn calls_of(grant: &PermissionGrant, stored: &CallsByGrant) -> GrantCalls {
    let time = |at: Timestamp| Time::try_from(at.secs()).expect("few changes are made");
    let times = stored.get(grant).copied().unwrap_or_default();
    GrantCalls {
        granted_at: times.granted_at.map(time),
        revoked_at: times.revoked_at.map(time),
    }
}

/// What is believed of a listing of the primary: whether it has the grant, and whether it was taken out of the
/// listing.
pub(super) fn believed(
    grant: &PermissionGrant,
    (stored, named): (GrantCalls, GrantCalls),
    is_listed: bool,
) -> (bool, bool) {
    let mut listing = listing_of(grant, is_listed);
    let mut disbelieved = BTreeSet::new();
    let (stored, named) = (by_grant(grant, stored), by_grant(grant, named));
    let _ = KnownGrantCalls::disbelieve(&stored, &named, &mut listing, &mut disbelieved);
    (listing.contains_key(grant), disbelieved.contains(grant))
}

/// What the row has after a handler that knows these calls, and that saw the primary list the grant or not,
/// has recorded them in what is stored.
pub(super) fn recorded(
    grant: &PermissionGrant,
    stored: GrantCalls,
    (calls, is_listed): (GrantCalls, bool),
) -> GrantCalls {
    let mut listing = listing_of(grant, is_listed);
    let known = by_grant(grant, calls);
    let mut disbelieved = BTreeSet::new();
    let known =
        KnownGrantCalls::disbelieve(&known, &BTreeMap::new(), &mut listing, &mut disbelieved);
    let mut stored = by_grant(grant, stored);
    known.record_in(&mut stored);
    calls_of(grant, &stored)
}

pub(super) fn decide(
    inputs: &CommonInputs,
    question: &Question,
) -> Option<Decision<LateListingStep>> {
    let grant = grant(inputs);
    let snapshot = |is_granted: bool, is_primary| {
        let mut snapshot = inputs.snapshot(is_primary);
        inputs.add_permissions(&mut snapshot, listing_of(&grant, is_granted));
        if question.reads_all_grants {
            snapshot.full_grant_reads.insert(PERMISSIONS);
            snapshot.nonempty_full_grant_reads.insert(PERMISSIONS);
        }
        snapshot
    };
    let mut scope = Scope::default();
    let request = ReadRequest::for_facets(&[Facet::Definition, Facet::Grants]);
    scope.add(PERMISSIONS, request);
    if let Some(named) = question.named_revoke {
        named.add_to(&mut scope, &grant);
    }
    let held = question.held.iter().map(|step| match step {
        LateListingStep::Grant => StepTarget::Grant(grant.clone()),
        LateListingStep::Revoke => StepTarget::Revoke(grant.clone()),
    });
    let reads = Reads {
        scope: &scope,
        primary: &snapshot(question.primary, true),
        standby: &snapshot(question.standby, false),
        row: None,
        held: held.collect(),
    };
    let approved = inputs.plan_and_audit(reads)?;
    Some(Decision::of(approved.plan(), |step| match step {
        Step::Grant { .. } => LateListingStep::Grant,
        Step::Revoke { .. } => LateListingStep::Revoke,
        other => panic!("this model has no {other:?}"),
    }))
}
