//! A switchover and the way back: nothing is lost, the former primary follows, and a run that was killed goes on
//! to the same end.

use serde_json::json;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;
use twinlake_core::CallErrorKind;
use twinlake_core::failover::{
    FailoverGate, FailoverJournal, FailoverRequest, FailoverStage, FailoverStep, FreezeMode,
    SwitchOperation, SwitchoverReadings,
};
use twinlake_core::grant::GrantMapping;
use twinlake_core::topology::RegionRole;
use twinlake_engine::divergence::{accept, compare};
use twinlake_engine::failover::{FENCE_WAIT, FailoverError, FailoverProgress, writers};
use twinlake_sim::{ApiError, InjectedFault, KillSwitch, run_until_killed};
use twinlake_tests::equality_oracle::differences;
use twinlake_tests::harness::{PRIMARY, STANDBY};
use twinlake_tests::takeover::pair::{Pair, open_defaults};
use twinlake_tests::takeover::{object_version, ready};

#[test]
fn both_regions_change_roles_and_nothing_is_lost() {
    let pair = Pair::in_sync();
    // Not replicated yet when the switchover starts.
    pair.create_table(&pair.us, "last");
    let journal = pair.switch().unwrap().unwrap();
    assert_eq!(journal.stage, FailoverStage::Completed);
    assert_eq!(journal.not_handed_over, None);
    assert_eq!(journal.restored, 1);
    assert_eq!(pair.defaults(&pair.india), open_defaults());
    assert_eq!(pair.role(&pair.india, &pair.us), RegionRole::Primary);
    assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Standby);
    pair.create_table(&pair.india, "new");
    let epoch = pair.harness.epoch().switched();
    pair.settle(&pair.india, &pair.us, epoch);
    let names = json!({"DatabaseName": "sales"});
    let tables = pair.harness.call(PRIMARY, "GetTables", &names).unwrap();
    let tables = tables["TableList"].as_array().unwrap().iter();
    let tables: BTreeSet<&str> = tables
        .map(|table| table["Name"].as_str().unwrap())
        .collect();
    assert_eq!(tables, ["items", "last", "new", "orders"].into());
    assert_eq!(pair.defaults(&pair.us), json!([]), "a standby's are closed");
}

#[test]
fn the_way_back_ends_where_it_began() {
    let pair = Pair::in_sync();
    pair.switch().unwrap();
    let epoch = pair.harness.epoch().switched();
    pair.settle(&pair.india, &pair.us, epoch);
    pair.harness.sim.state().advance_secs(600);
    pair.beat(&pair.us);
    let request = pair.request(&pair.india);
    let back = pair.switch_with((&pair.us, &pair.india), &request, &());
    let journal = back.unwrap().unwrap().unwrap();
    assert_eq!(journal.not_handed_over, None);
    assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Primary);
    assert_eq!(pair.role(&pair.india, &pair.us), RegionRole::Standby);
    assert_eq!(pair.us.ledger.contents().epoch, epoch.switched());
    pair.settle(&pair.us, &pair.india, epoch.switched());
    assert_eq!(pair.defaults(&pair.us), open_defaults());
    assert_eq!(pair.defaults(&pair.india), json!([]));
    let found = differences(&pair.harness.sim.state(), &[]);
    let found: Vec<_> = found
        .iter()
        .filter(|one| !one.contains("database|sales"))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn killed_between_any_two_calls_and_run_again_it_ends_the_same() {
    let uninterrupted = Pair::in_sync();
    uninterrupted.switch().unwrap();
    let calls = uninterrupted.harness.sim.state().take_calls().len();
    let expected = uninterrupted.end(&uninterrupted.india, &uninterrupted.us);
    for call_index in 0..calls {
        let pair = Pair::in_sync();
        pair.harness.sim.state().set_kill_switch(KillSwitch {
            call_index,
            after_effect: call_index % 2 == 0,
        });
        let request = pair.request(&pair.us);
        let killed = pair.switch_with((&pair.india, &pair.us), &request, &());
        assert!(killed.is_none(), "call {call_index} was not reached");
        pair.harness.sim.state().clear_call_faults();
        pair.switch().unwrap();
        assert_eq!(pair.end(&pair.india, &pair.us), expected, "{call_index}");
    }
}

#[test]
fn killed_between_any_two_steps_and_run_again_it_ends_the_same() {
    struct DiesAt(FailoverStep);
    impl FailoverProgress for DiesAt {
        fn step_started(&self, step: FailoverStep) {
            assert!(step != self.0, "dies");
        }
        fn waiting(&self, _: Duration) {}
    }
    let uninterrupted = Pair::in_sync();
    uninterrupted.switch().unwrap();
    for &step in SwitchOperation::Switchover.steps() {
        let pair = Pair::in_sync();
        let dies = std::panic::AssertUnwindSafe(|| {
            let mut request = pair.request(&pair.us);
            request.switchover.as_mut().unwrap().freeze = FreezeMode::Grants;
            let _ = pair.switch_with((&pair.india, &pair.us), &request, &DiesAt(step));
        });
        assert!(std::panic::catch_unwind(dies).is_err());
        pair.switch().unwrap();
        assert_eq!(
            pair.end(&pair.india, &pair.us),
            uninterrupted.end(&uninterrupted.india, &uninterrupted.us),
            "{step:?}"
        );
    }
}

#[test]
fn never_two_primaries_and_never_a_standby_before_it_has_the_rows() {
    struct Watch<'a>(&'a Pair, Cell<u32>);
    impl Watch<'_> {
        fn check(&self) {
            let pair = self.0;
            let roles = (
                pair.role(&pair.us, &pair.india),
                pair.role(&pair.india, &pair.us),
            );
            let before = (RegionRole::Primary, RegionRole::Standby);
            let during = (RegionRole::Fenced, RegionRole::Primary);
            assert!(roles == before || roles == during, "{roles:?}");
            self.1.set(self.1.get() + 1);
        }
    }
    impl FailoverProgress for Watch<'_> {
        fn step_started(&self, _: FailoverStep) {
            self.check();
        }
        fn waiting(&self, _: Duration) {
            self.check();
        }
    }
    let pair = Pair::in_sync();
    let watch = Watch(&pair, Cell::default());
    let request = pair.request(&pair.us);
    let switched = pair.switch_with((&pair.india, &pair.us), &request, &watch);
    switched.unwrap().unwrap();
    assert!(u64::from(watch.1.get()) > FENCE_WAIT.as_secs());
}

#[test]
fn what_somebody_writes_during_the_switch_leaves_the_former_primary_fenced_until_it_is_accepted() {
    struct Writer<'a>(&'a Pair);
    impl FailoverProgress for Writer<'_> {
        fn step_started(&self, step: FailoverStep) {
            if step == FailoverStep::WaitForWriters {
                self.0.create_table(&self.0.us, "late");
            }
        }
        fn waiting(&self, _: Duration) {}
    }
    let pair = Pair::in_sync();
    let request = pair.request(&pair.us);
    let switched = pair.switch_with((&pair.india, &pair.us), &request, &Writer(&pair));
    let journal = switched.unwrap().unwrap().unwrap();
    let reason = journal.not_handed_over.unwrap();
    assert!(reason.contains("late"), "{reason}");
    assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Fenced);
    let epoch = pair.harness.epoch().switched();
    let regions = pair.regions(&pair.india, &pair.us, epoch);
    let record = || pair.india.ledger.contents().epoch_record.unwrap().0;
    let before = record();
    assert!(
        before
            .with_later_handover()
            .failover
            .unwrap()
            .not_handed_over
            .is_some()
    );
    let compared = run_until_killed(&pair.harness.sim, compare(&regions, &before));
    let divergence = compared.unwrap().unwrap();
    ready(accept(&regions, &divergence, &divergence.report.digest())).unwrap();
    assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Standby);
    let after = record().with_later_handover();
    assert_eq!(after.failover.unwrap().not_handed_over, None);
}

#[test]
fn objects_that_have_not_arrived_stop_it_before_the_epoch_and_it_can_be_undone() {
    let mut pair = Pair::in_sync();
    let before = pair.india.ledger.contents();
    let later = pair.harness.sim.state().now().plus_secs(60);
    let key = "sales/orders/new.parquet".to_owned();
    let objects = &mut pair.us.objects.versions;
    objects.push((key, object_version("1", later)));
    let refused = pair.switch();
    let Err(FailoverError::NotVerified(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("sales/orders/new.parquet"), "{reason}");
    assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Primary);
    ready(pair.undo((&pair.india, &pair.us))).unwrap();
    let after = pair.india.ledger.contents();
    assert_eq!((after.epoch, &after.rows), (before.epoch, &before.rows));
    let journal = after.epoch_record.unwrap().0.failover.unwrap();
    assert_eq!(journal.stage, FailoverStage::Undone);
    pair.us.objects.versions.clear();
    pair.switch().unwrap();
}

/// Makes the Analyst lose a grant in the primary, while the standby refuses the revoke.
fn revoke_that_is_refused(pair: &Pair) {
    let grant = json!({
        "Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Analyst"},
        "Resource": {"Table": {"DatabaseName": "sales", "Name": "orders"}},
        "Permissions": ["SELECT"],
    });
    let harness = &pair.harness;
    harness.call(PRIMARY, "GrantPermissions", &grant).unwrap();
    pair.settle(&pair.us, &pair.india, harness.epoch());
    harness.call(PRIMARY, "RevokePermissions", &grant).unwrap();
    fail_always(pair, STANDBY, "RevokePermissions", CallErrorKind::Denied);
}

fn fail_always(pair: &Pair, region: &str, call: &str, kind: CallErrorKind) {
    let error = ApiError::new(kind, "InjectedException", "it is injected");
    pair.harness.sim.state().inject_fault(InjectedFault {
        times: usize::MAX,
        ..InjectedFault::once(region, call, error)
    });
}

/// The comparison finds what the standby lacks. That it has too much, or was not looked at, is said by the resync.
#[test]
fn what_the_resync_leaves_open_refuses_it_and_is_quoted() {
    let unrevoked = |pair: &Pair| revoke_that_is_refused(pair);
    let undropped = |pair: &Pair| {
        let table = json!({"DatabaseName": "sales", "Name": "items"});
        let harness = &pair.harness;
        harness.call(PRIMARY, "DeleteTable", &table).unwrap();
        fail_always(pair, STANDBY, "BatchDeleteTable", CallErrorKind::Contended);
        fail_always(pair, STANDBY, "DeleteTable", CallErrorKind::Contended);
    };
    let over_limit = |pair: &Pair| {
        let harness = &pair.harness;
        for number in 0..30 {
            pair.create_table(&pair.us, &format!("old{number}"));
        }
        pair.settle(&pair.us, &pair.india, harness.epoch());
        for number in 0..30 {
            let table = json!({"DatabaseName": "sales", "Name": format!("old{number}")});
            harness.call(PRIMARY, "DeleteTable", &table).unwrap();
        }
    };
    let unread = |pair: &Pair| {
        let kind = CallErrorKind::Denied;
        fail_always(pair, PRIMARY, "ListDataCellsFilter", kind);
    };
    type Case<'a> = (&'a str, &'a dyn Fn(&Pair));
    let cases: [Case<'_>; 4] = [
        ("injected", &unrevoked),
        ("injected", &undropped),
        ("deletion", &over_limit),
        ("injected", &unread),
    ];
    for (index, (quoted, change)) in cases.into_iter().enumerate() {
        let pair = Pair::in_sync();
        change(&pair);
        let refused = pair.switch();
        let Err(FailoverError::NotVerified(reason)) = refused else {
            panic!("{index}: {refused:?}");
        };
        assert!(
            reason.contains(quoted) && reason.contains("twinlake resync"),
            "{index}: {reason}"
        );
        assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Primary);
    }
}

#[test]
fn a_primary_that_does_not_answer_and_a_quick_switch_back_are_refused() {
    let pair = Pair::in_sync();
    let gone = FailoverRequest {
        switchover: Some(SwitchoverReadings {
            writers_stopped: true,
            peer_epoch: None,
            ..SwitchoverReadings::default()
        }),
        ..FailoverRequest::default()
    };
    let gate = |refused: Option<Result<_, FailoverError>>| match refused.unwrap() {
        Err(FailoverError::Refused(refusal)) => refusal.gate.to_string(),
        other => panic!("{:?}", other.map(|_: Option<FailoverJournal>| ())),
    };
    let refused = pair.switch_with((&pair.india, &pair.us), &gone, &());
    assert_eq!(gate(refused), FailoverGate::PeerEpoch.to_string());
    pair.switch().unwrap();
    pair.beat(&pair.us);
    let back = pair.request(&pair.india);
    let refused = pair.switch_with((&pair.us, &pair.india), &back, &());
    assert_eq!(gate(refused), "minimum-interval");
}

#[test]
fn the_principals_that_may_write_are_named() {
    let pair = Pair::in_sync();
    for (principal, permission) in [("Etl", "INSERT"), ("Analyst", "SELECT"), ("Etl", "ALTER")] {
        let request = json!({
            "Principal": {"DataLakePrincipalIdentifier": format!("arn:aws:iam::111122223333:role/{principal}")},
            "Resource": {"Table": {"DatabaseName": "sales", "Name": "orders"}},
            "Permissions": [permission],
        });
        pair.harness
            .call(PRIMARY, "GrantPermissions", &request)
            .unwrap();
    }
    let mapping = GrantMapping::of_primary(&pair.harness.policy, pair.harness.epoch());
    let listed = writers(&pair.us.region, &mapping, &pair.own_roles);
    let found = run_until_killed(&pair.harness.sim, listed)
        .unwrap()
        .unwrap();
    let by = |principal: &str| {
        let grants = found.iter();
        grants
            .filter(|grant| grant.principal.0.ends_with(principal))
            .count()
    };
    assert_eq!((by("Etl"), by("Analyst"), by("twinlake")), (2, 0, 0));
}
