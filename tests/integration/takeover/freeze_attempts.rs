//! Several runs that change the grants of one primary: an undo at any call of a freeze that is slower than its lease, a
//! new switchover at any call of such an undo, a freeze that is repeated after one that reached one ledger only, or after
//! somebody changed a grant option.

use super::freeze::{
    GRANTS, WRITES, change, documents, frozen, held, reads, switch, there, undo, with_writers,
};
use super::freeze_runs::wait_out_the_lease;
use serde_json::json;
use std::collections::BTreeSet;
use twinlake_core::CallErrorKind;
use twinlake_core::failover::{
    FailoverRequest, FailoverStage, FreezeMode, FrozenGrants, UndoRefusal,
};
use twinlake_core::topology::RegionRole;
use twinlake_engine::Clock as _;
use twinlake_engine::failover::{FailoverError, undo_failover};
use twinlake_engine::readiness::read_deployment;
use twinlake_sim::{ApiError, InjectedFault};
use twinlake_tests::harness::PRIMARY;
use twinlake_tests::takeover::pair::{Pair, PairRegion};

/// More writers than one call revokes.
const MORE_WRITERS: usize = 25;

/// The lake of [`with_writers`], with more writers.
fn with_many_writers() -> Pair {
    let pair = with_writers();
    for index in 0..MORE_WRITERS {
        let principal = format!("W{index}Etl");
        change(
            &pair,
            PRIMARY,
            "GrantPermissions",
            (&principal, "orders", "INSERT"),
        );
    }
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    pair.beat(&pair.india);
    let _ = (pair.harness.sim.state().take_calls(), pair.life.begin());
    pair
}

/// The request for a switchover with a freeze.
fn request(pair: &Pair, former: &PairRegion) -> FailoverRequest {
    let mut request = pair.request(former);
    request.switchover.as_mut().unwrap().freeze = FreezeMode::Grants;
    request
}

/// The grants in the documents of a ledger, with their grant options.
fn recorded(region: &PairRegion) -> BTreeSet<String> {
    let contents = region.ledger.contents();
    let documents = contents
        .documents
        .get("frozen_grants")
        .into_iter()
        .flatten();
    let documents = documents.map(|(_, (text, _))| text);
    let grants = documents.flat_map(|text| {
        let document: FrozenGrants = serde_json::from_str(text).unwrap();
        document.to_grants()
    });
    grants
        .map(|(grant, grantable)| format!("{grant} {grantable}"))
        .collect()
}

/// Undoes until nothing is left to undo. The primary has everything then, and nothing is recorded.
fn undo_to_the_end(pair: &Pair, all: &BTreeSet<String>, at: &str) {
    match undo(pair).unwrap() {
        Ok(_) | Err(FailoverError::NotUndone(UndoRefusal::NothingToUndo)) => {}
        Err(error) => panic!("{at}: {error}"),
    }
    assert_eq!(&held(pair, &pair.us), all, "{at}");
    let left = [documents(&pair.india), documents(&pair.us)];
    assert_eq!(left, [0, 0], "{at}");
}

#[test]
fn an_undo_at_any_call_of_a_freeze_gives_everything_back() {
    let (mut undone, mut index) = (0, 0);
    loop {
        let pair = with_many_writers();
        let all = held(&pair, &pair.us);
        let request = request(&pair, &pair.us);
        let run = pair.switch_steps((&pair.india, &pair.us), &request, &());
        let mut is_undone = false;
        let (end, is_reached) = pair.life.run_beside(&pair.harness.sim, run, index, || {
            wait_out_the_lease(&pair);
            is_undone = undo(&pair).unwrap().is_ok();
        });
        if !is_reached {
            break;
        }
        let at = format!("call {index}: {end:?}");
        if is_undone {
            undone += 1;
            assert!(end.is_err(), "{at}");
            assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Primary);
            assert_eq!(held(&pair, &pair.us), all, "{at}");
            undo_to_the_end(&pair, &all, &at);
            // A resync that read the primary before the grants, and the ledger after them, takes them for revoked.
            pair.settle(&pair.us, &pair.india, pair.harness.epoch());
        }
        assert_eq!(held(&pair, &pair.india), all, "{at}");
        index += 1;
    }
    assert!(undone > 20, "{undone}");
}

#[test]
fn a_switchover_begun_at_any_call_of_an_undo_keeps_what_it_revokes_recorded() {
    let mut index = 0;
    loop {
        let pair = frozen();
        let all = held(&pair, &pair.india);
        let run = pair.undo((&pair.india, &pair.us));
        let mut end = None;
        let (undone, is_reached) = pair.life.run_beside(&pair.harness.sim, run, index, || {
            wait_out_the_lease(&pair);
            end = Some(there(&pair).unwrap());
        });
        if !is_reached {
            break;
        }
        let at = format!("call {index}: {undone:?} beside {end:?}");
        let (granted, recorded) = (held(&pair, &pair.us), recorded(&pair.us));
        let either: BTreeSet<String> = granted.union(&recorded).cloned().collect();
        assert_eq!(either, all, "{at}");
        undo_to_the_end(&pair, &all, &at);
        pair.settle(&pair.us, &pair.india, pair.harness.epoch());
        assert_eq!(held(&pair, &pair.india), all, "{at}");
        index += 1;
    }
    assert!(index > 8, "{index}");
}

#[test]
fn what_reached_one_ledger_only_is_in_both_before_anything_is_revoked() {
    for first in 0..2 {
        let pair = with_writers();
        let all = held(&pair, &pair.us);
        pair.life.fail_after("put_document", first);
        assert!(matches!(there(&pair), Some(Err(FailoverError::Call(_)))));
        assert_eq!(held(&pair, &pair.us), all);
        assert_eq!([documents(&pair.india), documents(&pair.us)], [first, 0]);
        pair.life.begin();
        let error = ApiError::new(CallErrorKind::Denied, "InjectedException", "it is injected");
        let mut fault = InjectedFault::once(PRIMARY, "RevokePermissions", error);
        fault.times = usize::MAX;
        pair.harness.sim.state().inject_fault(fault);
        assert!(matches!(
            there(&pair),
            Some(Err(FailoverError::NotFrozen(_)))
        ));
        assert_eq!([documents(&pair.india), documents(&pair.us)], [1, 1]);
        assert_eq!(recorded(&pair.us), recorded(&pair.india));
    }
}

/// Grants in the primary, with these permissions of which one has the grant option or none has.
fn grant(pair: &Pair, permission: &str, with_option: bool) {
    let options = if with_option {
        vec![permission]
    } else {
        Vec::new()
    };
    let request = json!({
        "Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Etl"},
        "Resource": {"Table": {"DatabaseName": "sales", "Name": "orders"}},
        "Permissions": [permission],
        "PermissionsWithGrantOption": options,
    });
    pair.harness
        .call(PRIMARY, "GrantPermissions", &request)
        .unwrap();
}

#[test]
fn a_grant_option_that_somebody_changes_between_two_attempts_counts() {
    let pair = frozen();
    let before = held(&pair, &pair.india);
    // INSERT had the option, and ALTER had not.
    grant(&pair, "INSERT", false);
    grant(&pair, "ALTER", true);
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    pair.beat(&pair.india);
    let refused = there(&pair).unwrap();
    assert!(
        matches!(refused, Err(FailoverError::NotVerified(_))),
        "{refused:?}"
    );
    let wanted: BTreeSet<String> = before
        .iter()
        .map(|text| match text {
            text if text.starts_with("INSERT") => text.replace(" true", " false"),
            text if text.starts_with("ALTER") => text.replace(" false", " true"),
            text => text.clone(),
        })
        .collect();
    assert_ne!(wanted, before);
    assert_eq!(held(&pair, &pair.us), reads(&before));
    assert_eq!(recorded(&pair.us), recorded(&pair.india));
    assert_eq!(held(&pair, &pair.india), wanted);
    undo(&pair).unwrap().unwrap();
    assert_eq!(held(&pair, &pair.us), wanted);
}

#[test]
fn an_undo_names_the_operation_that_it_does_not_undo_and_tells_what_stays_revoked() {
    let pair = frozen();
    let of_failover = || {
        let run = undo_failover(&*pair.india.ledger, &pair.harness.sim);
        twinlake_tests::takeover::ready(run)
    };
    let refused = of_failover().unwrap_err().to_string();
    assert!(refused.contains("twinlake switchover --undo"), "{refused}");
    assert_eq!(documents(&pair.india), 1);
    // A failover takes its place, and is undone before its epoch.
    let request = FailoverRequest {
        accepts_loss: true,
        ..FailoverRequest::default()
    };
    pair.life.begin();
    pair.life.fail_after("put_epoch_record", 1);
    assert!(matches!(
        pair.fail_over_with(&pair.india, &request),
        Some(Err(FailoverError::Call(_)))
    ));
    pair.life.begin();
    let refused = undo(&pair).unwrap().unwrap_err().to_string();
    assert!(refused.contains("twinlake failover --undo"), "{refused}");
    assert_eq!(of_failover().unwrap(), WRITES);
    let all = held(&pair, &pair.india);
    assert_eq!(undo(&pair).unwrap().unwrap().granted, WRITES);
    assert_eq!(held(&pair, &pair.us), all);
}

#[test]
fn grants_that_are_revoked_for_a_switchover_that_does_not_go_on_are_a_finding() {
    let abandoned = |pair: &Pair| {
        let now = pair.harness.sim.now();
        let read = read_deployment(&*pair.us.ledger, &*pair.india.ledger, now);
        let readings = twinlake_tests::takeover::ready(read);
        *readings.abandoned_grants.read().unwrap()
    };
    let pair = frozen();
    assert_eq!(abandoned(&pair), 0, "it may still go on");
    pair.harness.sim.state().advance_secs(3601);
    assert_eq!(abandoned(&pair), WRITES);
    pair.life.fail("put_document");
    assert!(undo(&pair).unwrap().is_err());
    pair.life.begin();
    let journal = pair.record(&pair.india).failover.unwrap();
    assert_eq!(journal.stage, FailoverStage::Undone);
    assert_eq!(abandoned(&pair), 0, "the undo may still grant");
    wait_out_the_lease(&pair);
    assert_eq!(abandoned(&pair), WRITES);
    undo(&pair).unwrap().unwrap();
    assert_eq!(abandoned(&pair), 0);
}

#[test]
fn a_failback_freezes_the_other_region_in_documents_of_its_own() {
    let pair = with_writers();
    there(&pair).unwrap().unwrap();
    let epoch = pair.record(&pair.india).epoch;
    pair.settle(&pair.india, &pair.us, epoch);
    pair.harness.sim.state().advance_secs(600);
    pair.beat(&pair.us);
    let back = switch(&pair, (&pair.us, &pair.india)).unwrap();
    assert_eq!(back.unwrap().unwrap().unfrozen, WRITES);
    assert_eq!(recorded(&pair.india).len(), WRITES);
    assert_eq!(GRANTS.len(), held(&pair, &pair.us).len());
}
