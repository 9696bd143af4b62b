//! What is frozen in a Region when it becomes the primary again: what cannot be granted holds up nothing and stays
//! recorded, and only a proof takes anything out of the documents.

use super::freeze::{WRITES, documents, held, switch, there, undo, with_writers};
use serde_json::json;
use twinlake_core::CallErrorKind;
use twinlake_core::failover::{FailoverJournal, FailoverRequest, FailoverStage, ForceableGate};
use twinlake_engine::ReadRegion as _;
use twinlake_engine::ports::PermissionResourceType;
use twinlake_sim::{ApiError, InjectedFault, UnusualAnswer};
use twinlake_tests::harness::{PRIMARY, STANDBY, policy};
use twinlake_tests::takeover::pair::Pair;

/// A pair after a switchover with a freeze, in sync.
fn switched() -> Pair {
    let pair = with_writers();
    there(&pair).unwrap().unwrap();
    let epoch = pair.record(&pair.india).epoch;
    pair.settle(&pair.india, &pair.us, epoch);
    pair
}

fn fail(pair: &Pair, call: &str, kind: CallErrorKind) {
    let error = ApiError::new(kind, "InjectedException", "it is injected");
    let mut fault = InjectedFault::once(PRIMARY, call, error);
    fault.times = usize::MAX;
    pair.harness.sim.state().inject_fault(fault);
}

/// A failover to the former primary.
fn back(pair: &Pair) -> FailoverJournal {
    let request = FailoverRequest {
        accepts_loss: true,
        forced: [ForceableGate::MinimumInterval].into(),
        ..FailoverRequest::default()
    };
    let end = pair.fail_over_with(&pair.us, &request);
    end.unwrap().unwrap().unwrap()
}

#[test]
fn grants_that_are_refused_hold_up_no_failover_and_are_granted_when_it_is_repeated() {
    for (call, kind) in [
        ("GrantPermissions", CallErrorKind::Denied),
        ("GrantPermissions", CallErrorKind::NotFound),
        ("GrantPermissions", CallErrorKind::Invalid),
        ("GrantPermissions", CallErrorKind::Unsupported),
        ("GrantPermissions", CallErrorKind::NotPropagated),
        ("GrantPermissions", CallErrorKind::Unavailable),
        ("ListPermissions", CallErrorKind::Denied),
    ] {
        let pair = switched();
        let all = held(&pair, &pair.india);
        fail(&pair, call, kind);
        let journal = back(&pair);
        let at = format!("{call} {kind:?}: {:?}", journal.left_frozen);
        assert_eq!(journal.stage, FailoverStage::Completed, "{at}");
        assert_eq!(
            (journal.unfrozen, journal.left_frozen.count),
            (0, WRITES),
            "{at}"
        );
        assert!(journal.still_frozen.is_empty(), "{at}");
        let mut named = journal.left_frozen.named.keys();
        assert!(
            named.any(|text| text.ends_with("Etl with grant option")),
            "{at}"
        );
        assert_eq!(documents(&pair.us), 1, "{at}");
        pair.harness.sim.state().clear_call_faults();
        let journal = back(&pair);
        assert_eq!(
            (journal.unfrozen, journal.left_frozen.count),
            (WRITES, 0),
            "{at}"
        );
        assert_eq!(held(&pair, &pair.us), all, "{at}");
        assert_eq!(documents(&pair.us), 0, "{at}");
    }
}

#[test]
fn an_undo_forgets_what_it_has_granted_and_nothing_else() {
    let pair = super::freeze::frozen();
    let all = held(&pair, &pair.india);
    let error = ApiError::new(
        CallErrorKind::Invalid,
        "InjectedException",
        "it is injected",
    );
    let fault = InjectedFault::once(PRIMARY, "GrantPermissions", error);
    pair.harness.sim.state().inject_fault(fault);
    let undone = undo(&pair).unwrap().unwrap();
    assert_eq!((undone.granted, undone.left.count), (WRITES - 1, 1));
    assert_eq!(held(&pair, &pair.us).len(), all.len() - 1);
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    assert_eq!(held(&pair, &pair.india), all, "the standby keeps it");
    assert_eq!(undo(&pair).unwrap().unwrap().left.count, 0);
    assert_eq!(held(&pair, &pair.us), all);
    assert_eq!([documents(&pair.india), documents(&pair.us)], [0, 0]);
}

#[test]
fn a_table_that_is_proven_gone_takes_its_grants_with_it() {
    for is_administrator in [true, false] {
        let pair = switched();
        let table = json!({"DatabaseName": "sales", "Name": "orders"});
        pair.harness.call(PRIMARY, "DeleteTable", &table).unwrap();
        if !is_administrator {
            fail(&pair, "GetDataLakeSettings", CallErrorKind::Denied);
        }
        let journal = back(&pair);
        let gone = if is_administrator { 2 } else { 0 };
        let at = format!("{is_administrator}: {journal:?}");
        assert_eq!(journal.unfrozen, WRITES - 2, "{at}");
        assert_eq!(journal.still_frozen.len(), gone, "{at}");
        assert_eq!(journal.left_frozen.count, 2 - gone, "{at}");
        assert_eq!(documents(&pair.us), usize::from(!is_administrator), "{at}");
    }
}

#[test]
fn what_the_policy_stops_mapping_is_not_taken_for_revoked() {
    let ignoring = || policy("ignored-principals = [\"arn:aws:iam::111122223333:role/Etl\"]");
    let mut pair = switched();
    let all = held(&pair, &pair.india);
    let epoch = pair.record(&pair.india).epoch;
    pair.harness.policy = ignoring();
    pair.settle(&pair.india, &pair.us, epoch);
    assert_eq!(documents(&pair.us), 1);
    // The last look before the epoch takes it for revoked no more than the resyncs do.
    pair.harness.sim.state().advance_secs(600);
    pair.beat(&pair.us);
    let journal = switch(&pair, (&pair.us, &pair.india)).unwrap().unwrap();
    assert_eq!(journal.unwrap().unfrozen, WRITES);
    assert_eq!(held(&pair, &pair.us), all);
}

#[test]
fn a_location_that_leaves_the_policy_is_not_taken_for_revoked() {
    let grant = json!({
        "Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Etl"},
        "Resource": {"DataLocation": {"ResourceArn": "arn:aws:s3:::lake-us/raw"}},
        "Permissions": ["DATA_LOCATION_ACCESS"],
    });
    let mut pair = with_writers();
    let location = json!({"ResourceArn": "arn:aws:s3:::lake-us/raw", "UseServiceLinkedRole": true});
    pair.harness
        .call(PRIMARY, "RegisterResource", &location)
        .unwrap();
    pair.harness
        .call(PRIMARY, "GrantPermissions", &grant)
        .unwrap();
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    pair.beat(&pair.india);
    let journal = there(&pair).unwrap().unwrap().unwrap();
    assert_eq!(journal.frozen, WRITES + 1);
    let epoch = pair.record(&pair.india).epoch;
    pair.settle(&pair.india, &pair.us, epoch);
    let text = pair
        .harness
        .policy
        .text()
        .replace("s3://lake-us\"", "s3://lake-us/other\"");
    let text = text.replace("s3://lake-in/replica\"", "s3://lake-in/replica/other\"");
    pair.harness.policy = twinlake_core::Policy::parse(&text).unwrap();
    pair.settle(&pair.india, &pair.us, epoch);
    let is_granted = |pair: &Pair| {
        let listed = pair.run(pair.us.region.all_grants()).unwrap().unwrap();
        format!("{listed:?}").contains("lake-us/raw")
    };
    assert!(!is_granted(&pair));
    assert_eq!(back(&pair).unfrozen, WRITES + 1);
    assert!(is_granted(&pair));
}

/// The way back with a policy that freezes nothing any more.
#[test]
fn a_switchover_without_a_freeze_gives_back_what_an_earlier_one_revoked() {
    let pair = switched();
    let all = held(&pair, &pair.india);
    pair.harness.sim.state().advance_secs(600);
    pair.beat(&pair.us);
    let request = pair.request(&pair.india);
    let journal = pair.switch_with((&pair.us, &pair.india), &request, &());
    assert_eq!(journal.unwrap().unwrap().unwrap().unfrozen, WRITES);
    assert_eq!(held(&pair, &pair.us), all);
    assert_eq!([documents(&pair.india), documents(&pair.us)], [0, 0]);
}

/// A grant that was frozen, and that somebody revokes in the new primary: it is forgotten only where its lack is proven.
#[test]
fn a_type_of_grants_that_a_region_refuses_to_list_proves_no_revoke() {
    let pair = switched();
    let grant = json!({
        "Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Etl"},
        "Resource": {"Table": {"DatabaseName": "sales", "Name": "orders"}},
        "Permissions": ["INSERT"],
    });
    pair.harness
        .call(STANDBY, "RevokePermissions", &grant)
        .unwrap();
    let answer = |refuses| {
        let refused = UnusualAnswer::RefusesGrantsOfType(PermissionResourceType::Table);
        let mut state = pair.harness.sim.state();
        state.set_unusual_answer(STANDBY, refused, refuses);
    };
    let frozen = || {
        let documents = pair.us.ledger.contents().documents;
        documents.get("frozen_grants").cloned()
    };
    let before = frozen();
    pair.harness.sim.state().advance_secs(600);
    pair.beat(&pair.us);
    answer(true);
    assert!(switch(&pair, (&pair.us, &pair.india)).unwrap().is_err());
    let request = pair.request(&pair.india);
    let switch_back = || pair.switch_with((&pair.us, &pair.india), &request, &());
    assert!(switch_back().unwrap().is_err());
    assert_eq!(frozen(), before);
    answer(false);
    let journal = switch_back().unwrap().unwrap().unwrap();
    assert_eq!(journal.unfrozen, WRITES - 1);
}
