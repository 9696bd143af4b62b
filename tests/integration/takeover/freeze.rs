//! A switchover with a freeze: the grants to write are revoked in the former primary and kept in the new one, whoever
//! dies where; undone before the epoch they are granted again, and at the failback, as far as the other Region still
//! has them.

use super::interrupted::deaths;
use serde_json::json;
use std::collections::BTreeSet;
use twinlake_core::CallErrorKind;
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::failover::{
    FailoverJournal, FailoverRequest, ForceableGate, FreezeMode, UndoRefusal,
};
use twinlake_core::grant::{GrantMapping, normalize};
use twinlake_core::scope::{DATABASE_ITSELF, ReadRequest, subject_of_grant};
use twinlake_core::topology::RegionRole;
use twinlake_core::{Permission, PermissionGrant, Scope};
use twinlake_engine::failover::{FailoverError, UnfrozenGrants};
use twinlake_engine::observe::Prefetched;
use twinlake_engine::{Clock as _, ReadRegion as _, reconcile};
use twinlake_sim::{ApiError, InjectedFault, KillSwitch};
use twinlake_tests::harness::PRIMARY;
use twinlake_tests::takeover::object_version;
use twinlake_tests::takeover::pair::{Pair, PairEnd, PairRegion};

pub(super) fn change(
    pair: &Pair,
    region: &str,
    call: &str,
    (principal, on, permission): (&str, &str, &str),
) {
    let resource = match on {
        "orders" => json!({"Table": {"DatabaseName": "sales", "Name": "orders"}}),
        "tables" => json!({"Table": {"DatabaseName": "sales", "TableWildcard": {}}}),
        "sales" => json!({"Database": {"Name": "sales"}}),
        _ => panic!("{on}"),
    };
    let mut request = json!({
        "Principal": {"DataLakePrincipalIdentifier": format!("arn:aws:iam::111122223333:role/{principal}")},
        "Resource": resource,
        "Permissions": [permission],
    });
    if permission == "INSERT" {
        request["PermissionsWithGrantOption"] = json!(["INSERT"]);
    }
    pair.harness.call(region, call, &request).unwrap();
}

/// The grants of a writer and of a reader. INSERT has the grant option.
pub(super) const GRANTS: [(&str, &str, &str); 6] = [
    ("Etl", "orders", "INSERT"),
    ("Etl", "orders", "ALTER"),
    ("Etl", "tables", "DELETE"),
    ("Etl", "sales", "CREATE_TABLE"),
    ("Etl", "orders", "SELECT"),
    ("Analyst", "orders", "SELECT"),
];

/// How many of them let somebody write.
pub(super) const WRITES: usize = 4;

/// A lake with a writer and a reader, in sync.
pub(super) fn with_writers() -> Pair {
    let pair = Pair::in_sync();
    for grant in GRANTS {
        change(&pair, PRIMARY, "GrantPermissions", grant);
    }
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    pair.beat(&pair.india);
    let _ = (pair.harness.sim.state().take_calls(), pair.life.begin());
    pair
}

/// What the writer and the reader may do in a Region.
pub(super) fn held(pair: &Pair, region: &PairRegion) -> BTreeSet<String> {
    let listed = pair.run(region.region.all_grants()).unwrap().unwrap();
    let grants = normalize(&listed, &GrantMapping::default()).0;
    let _ = pair.harness.sim.state().take_calls();
    let of_both = grants.into_iter().filter(|(grant, _)| {
        grant.principal.0.ends_with("Etl") || grant.principal.0.ends_with("Analyst")
    });
    of_both
        .map(|(grant, grantable)| format!("{grant} {grantable}"))
        .collect()
}

/// What is left of these if nobody may write.
pub(super) fn reads(held: &BTreeSet<String>) -> BTreeSet<String> {
    let reads = held.iter().filter(|text| text.starts_with("SELECT"));
    reads.cloned().collect()
}

pub(super) fn documents(region: &PairRegion) -> usize {
    let documents = region.ledger.contents().documents;
    documents.get("frozen_grants").map_or(0, |all| all.len())
}

pub(super) type End = Option<Result<Option<FailoverJournal>, FailoverError>>;

pub(super) fn switch(pair: &Pair, (next, former): (&PairRegion, &PairRegion)) -> End {
    let mut request = pair.request(former);
    request.switchover.as_mut().unwrap().freeze = FreezeMode::Grants;
    pair.switch_with((next, former), &request, &())
}

pub(super) fn there(pair: &Pair) -> End {
    switch(pair, (&pair.india, &pair.us))
}

/// Runs the command until it switches.
fn resume(pair: &Pair) {
    for _ in 0..3 {
        match there(pair).unwrap() {
            Ok(_) => return,
            Err(FailoverError::NotVerified(_)) => {
                pair.harness.sim.state().advance_secs(1000);
                pair.beat(&pair.india);
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it does not switch");
}

pub(super) fn undo(pair: &Pair) -> Option<Result<UnfrozenGrants, FailoverError>> {
    pair.run(pair.undo((&pair.india, &pair.us)))
}

/// Undoes it, once nothing that a dead run has sent can take effect any more.
pub(super) fn undo_later(pair: &Pair) -> Option<Result<UnfrozenGrants, FailoverError>> {
    let refused = undo(pair);
    let Some(Err(FailoverError::NotUndone(UndoRefusal::GrantsChange(until)))) = &refused else {
        return refused;
    };
    let now = pair.harness.sim.now();
    assert!(*until > now, "{until}");
    let wait = until.secs() - now.secs();
    pair.harness.sim.state().advance_secs(wait);
    undo(pair)
}

/// What a switch leaves behind.
fn end(pair: &Pair) -> (PairEnd, [BTreeSet<String>; 2], [usize; 2]) {
    (
        pair.end(&pair.india, &pair.us),
        [held(pair, &pair.india), held(pair, &pair.us)],
        [documents(&pair.india), documents(&pair.us)],
    )
}

/// A pair that an object which has not arrived keeps from switching, after its grants were frozen.
pub(super) fn frozen() -> Pair {
    let mut pair = with_writers();
    let later = pair.harness.sim.state().now().plus_secs(60);
    let key = "sales/orders/new.parquet".to_owned();
    let objects = &mut pair.us.objects.versions;
    objects.push((key, object_version("1", later)));
    let refused = there(&pair).unwrap();
    let Err(FailoverError::NotVerified(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("--undo"), "{reason}");
    pair
}

#[test]
fn writers_are_stopped_in_the_former_primary_and_write_in_the_new_one() {
    let pair = with_writers();
    let before = held(&pair, &pair.us);
    let journal = there(&pair).unwrap().unwrap().unwrap();
    assert_eq!((journal.frozen, journal.not_handed_over), (WRITES, None));
    assert_eq!(held(&pair, &pair.india), before);
    assert_eq!(held(&pair, &pair.us), reads(&before));
    assert_eq!([documents(&pair.india), documents(&pair.us)], [0, 1]);
    // It follows, and does not get them, nor keep one that somebody grants there.
    let epoch = pair.record(&pair.india).epoch;
    change(&pair, PRIMARY, "GrantPermissions", GRANTS[1]);
    pair.settle(&pair.india, &pair.us, epoch);
    assert_eq!(held(&pair, &pair.us), reads(&before));
    assert_eq!(held(&pair, &pair.india), before);
}

#[test]
fn killed_at_any_call_to_a_region_it_ends_the_same() {
    let whole = with_writers();
    there(&whole).unwrap().unwrap();
    let calls = whole.harness.sim.state().take_calls().len();
    let expected = end(&whole);
    for call_index in 0..calls {
        let pair = with_writers();
        pair.harness.sim.state().set_kill_switch(KillSwitch {
            call_index,
            after_effect: call_index % 2 == 0,
        });
        assert!(there(&pair).is_none(), "call {call_index} was not reached");
        pair.harness.sim.state().clear_call_faults();
        resume(&pair);
        assert_eq!(end(&pair), expected, "{call_index}");
    }
}

#[test]
fn killed_at_any_call_to_a_ledger_it_ends_the_same_and_undone_before_the_epoch_nothing_has_changed()
{
    let whole = with_writers();
    let before = held(&whole, &whole.us);
    whole.life.begin();
    there(&whole).unwrap().unwrap();
    let calls = whole.life.begin();
    let stored = calls.iter().position(|call| *call == "put_document");
    let written = calls.iter().rposition(|call| *call == "put_epoch_record");
    assert!(stored.is_some() && written.is_some(), "{calls:?}");
    let expected = end(&whole);
    let mut undone = 0;
    for (index, point) in deaths(&calls) {
        let at = format!("{index} {point:?}");
        let pair = with_writers();
        pair.life.begin_until(index, point);
        assert!(there(&pair).is_none(), "{at}: it was not reached");
        pair.life.begin();
        if pair.role(&pair.us, &pair.india) == RegionRole::Primary {
            // Another pair goes on.
            match undo_later(&pair).unwrap() {
                Ok(_) => undone += 1,
                Err(FailoverError::NotUndone(UndoRefusal::NothingToUndo)) => {}
                Err(error) => panic!("{at}: {error}"),
            }
            assert_eq!(held(&pair, &pair.us), before, "{at}");
            assert_eq!(
                [documents(&pair.india), documents(&pair.us)],
                [0, 0],
                "{at}"
            );
        }
        resume(&pair);
        assert_eq!(end(&pair), expected, "{at}");
    }
    assert!(undone > 3, "{undone}");
}

#[test]
fn killed_between_a_document_and_its_revoke_the_freeze_goes_on() {
    let whole = with_writers();
    there(&whole).unwrap().unwrap();
    let calls = whole.life.begin();
    let expected = end(&whole);
    for (index, point) in deaths(&calls) {
        let pair = with_writers();
        pair.life.begin_until(index, point);
        assert!(there(&pair).is_none());
        pair.life.begin();
        // What is revoked is stored in both ledgers by then.
        let lost = held(&pair, &pair.us).len() < GRANTS.len();
        let is_before = pair.role(&pair.us, &pair.india) == RegionRole::Primary;
        assert!(
            !(lost && is_before) || documents(&pair.india) > 0,
            "{index}"
        );
        assert!(!lost || documents(&pair.us) > 0, "{index}");
        resume(&pair);
        assert_eq!(end(&pair), expected, "{index} {point:?}");
    }
}

#[test]
fn undone_and_killed_while_it_is_undone_everything_is_granted_again() {
    let whole = frozen();
    let all = held(&whole, &whole.india);
    assert_eq!(all.len(), GRANTS.len());
    assert_eq!(held(&whole, &whole.us), reads(&all));
    whole.life.begin();
    assert_eq!(undo(&whole).unwrap().unwrap().granted, WRITES);
    let ledger_calls = whole.life.begin().len();
    let region_calls = whole.harness.sim.state().take_calls().len();
    assert_eq!(held(&whole, &whole.us), all);
    assert!(undo(&whole).unwrap().is_err(), "nothing is left to undo");
    for index in 0..ledger_calls + region_calls {
        let pair = frozen();
        let _ = (pair.harness.sim.state().take_calls(), pair.life.begin());
        match index.checked_sub(ledger_calls) {
            None => {
                let point = twinlake_tests::takeover::mortal_ledger::DeathPoint::After;
                pair.life.begin_until(index, point);
            }
            Some(call_index) => pair.harness.sim.state().set_kill_switch(KillSwitch {
                call_index,
                after_effect: true,
            }),
        }
        assert!(undo(&pair).is_none(), "{index}");
        pair.life.begin();
        pair.harness.sim.state().clear_call_faults();
        match undo(&pair).unwrap() {
            Ok(_) | Err(FailoverError::NotUndone(UndoRefusal::NothingToUndo)) => {}
            Err(error) => panic!("{index}: {error}"),
        }
        assert_eq!(held(&pair, &pair.us), all, "{index}");
        assert_eq!(held(&pair, &pair.india), all, "{index}");
        assert_eq!(
            [documents(&pair.india), documents(&pair.us)],
            [0, 0],
            "{index}"
        );
    }
}

#[test]
fn a_failback_grants_again_what_the_other_region_still_grants() {
    let pair = with_writers();
    let all = held(&pair, &pair.us);
    there(&pair).unwrap().unwrap();
    let epoch = pair.record(&pair.india).epoch;
    pair.settle(&pair.india, &pair.us, epoch);
    // Somebody revokes ALTER where it counts, while the other Region does not have it.
    change(&pair, pair.india.name, "RevokePermissions", GRANTS[1]);
    pair.harness.sim.state().advance_secs(600);
    pair.beat(&pair.us);
    let back = switch(&pair, (&pair.us, &pair.india));
    let journal = back.unwrap().unwrap().unwrap();
    assert_eq!((journal.unfrozen, journal.frozen), (WRITES - 1, WRITES - 1));
    let mut left = all.clone();
    left.retain(|text| !text.starts_with("ALTER"));
    assert_eq!(held(&pair, &pair.us), left);
    assert_eq!(held(&pair, &pair.india), reads(&all));
    pair.settle(&pair.us, &pair.india, epoch.switched());
    assert_eq!(held(&pair, &pair.us), left);
    assert_eq!(held(&pair, &pair.india), reads(&all));
    assert_eq!([documents(&pair.india), documents(&pair.us)], [1, 0]);
}

#[test]
fn a_failover_to_the_former_primary_grants_again_what_the_lost_region_had_when_it_was_read() {
    let pair = with_writers();
    let all = held(&pair, &pair.us);
    there(&pair).unwrap().unwrap();
    let epoch = pair.record(&pair.india).epoch;
    change(&pair, pair.india.name, "RevokePermissions", GRANTS[1]);
    pair.settle(&pair.india, &pair.us, epoch);
    let request = FailoverRequest {
        accepts_loss: true,
        forced: [ForceableGate::MinimumInterval].into(),
        ..FailoverRequest::default()
    };
    let end = pair.fail_over_with(&pair.us, &request);
    assert_eq!(end.unwrap().unwrap().unwrap().unfrozen, WRITES - 1);
    let mut left = all;
    left.retain(|text| !text.starts_with("ALTER"));
    assert_eq!(held(&pair, &pair.us), left);
}

/// What an event about the revoke of INSERT requests.
fn revoke_event(pair: &Pair) -> Scope {
    let listed = pair.run(pair.india.region.all_grants()).unwrap().unwrap();
    let mut grants = normalize(&listed, &GrantMapping::default()).0.into_keys();
    let insert: PermissionGrant = grants
        .find(|grant| grant.permission == Permission::Insert && grant.principal.0.ends_with("Etl"))
        .unwrap();
    let mut scope = Scope::default();
    let request = ReadRequest::for_facets(&DATABASE_ITSELF);
    scope.add(subject_of_grant(&insert), request);
    scope.named_revokes.insert(insert, true);
    scope
}

#[test]
fn the_standby_keeps_what_is_frozen_whatever_events_and_resyncs_say() {
    let none = ApprovedDeletions::None;
    let handle = |pair: &Pair| {
        let context = pair.context(&pair.us, &pair.india, pair.harness.epoch(), &none);
        let (scope, prefetched) = (revoke_event(pair), Prefetched::default());
        pair.run(reconcile(&context, &scope, &prefetched))
            .unwrap()
            .unwrap();
        held(pair, &pair.india)
    };
    let pair = frozen();
    let all = held(&pair, &pair.india);
    assert_eq!(handle(&pair), all);
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    assert_eq!(held(&pair, &pair.india), all);
    // A revoke that somebody else has made is carried.
    let pair = with_writers();
    change(&pair, PRIMARY, "RevokePermissions", GRANTS[0]);
    assert_eq!(handle(&pair).len(), all.len() - 1);
}

#[test]
fn a_revoke_that_fails_stops_it() {
    let fail = |pair: &Pair, kind| {
        let error = ApiError::new(kind, "InjectedException", "it is injected");
        let fault = InjectedFault::once(PRIMARY, "RevokePermissions", error);
        pair.harness.sim.state().inject_fault(fault);
    };
    let pair = with_writers();
    let all = held(&pair, &pair.us);
    fail(&pair, CallErrorKind::Denied);
    let refused = there(&pair).unwrap();
    let Err(error @ FailoverError::NotFrozen(_)) = refused else {
        panic!("{refused:?}");
    };
    let text = error.to_string();
    assert!(
        text.contains("1 grant to write could not be revoked in us-east-1")
            && text.contains("--undo"),
        "{text}"
    );
    assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Primary);
    undo_later(&pair).unwrap().unwrap();
    assert_eq!(held(&pair, &pair.us), all);
}

#[test]
fn a_revoke_whose_answer_is_lost_is_given_back() {
    for kind in [CallErrorKind::Unavailable, CallErrorKind::Contended] {
        let pair = with_writers();
        let all = held(&pair, &pair.us);
        let error = ApiError::new(kind, "InjectedException", "it is injected");
        let mut fault = InjectedFault::once(PRIMARY, "RevokePermissions", error);
        fault.takes_effect = true;
        pair.harness.sim.state().inject_fault(fault);
        // The grant is gone when the call is repeated.
        while !matches!(there(&pair), Some(Ok(_))) {
            assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Primary);
        }
        let record = pair.record(&pair.india);
        assert_eq!(record.failover.unwrap().frozen, WRITES, "{kind:?}");
        assert_eq!(held(&pair, &pair.india), all, "{kind:?}");
    }
}
