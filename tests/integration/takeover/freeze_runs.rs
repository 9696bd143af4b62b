//! A freeze and its undo beside each other, and grants that cannot be granted again after a failover.

use super::freeze::{WRITES, documents, held, switch, there, undo, undo_later, with_writers};
use std::cell::Cell;
use twinlake_core::CallErrorKind;
use twinlake_core::failover::{
    FailoverGate, FailoverJournal, FailoverRefusal, FailoverRequest, FailoverStage, ForceableGate,
    FreezeMode, UndoRefusal,
};
use twinlake_core::topology::{FENCE_WAIT_SECS, RegionRole};
use twinlake_engine::Clock as _;
use twinlake_engine::failover::{FailoverError, frozen_grants};
use twinlake_sim::{ApiError, InjectedFault, KillSwitch};
use twinlake_tests::harness::PRIMARY;
use twinlake_tests::takeover::pair::Pair;
use twinlake_tests::takeover::ready;

/// Runs a switchover with a freeze, in whose middle somebody does something.
fn there_beside(
    pair: &Pair,
    at: usize,
    act: &dyn Fn(),
) -> Result<Option<FailoverJournal>, FailoverError> {
    let mut request = pair.request(&pair.us);
    request.switchover.as_mut().unwrap().freeze = FreezeMode::Grants;
    let end = pair.switch_beside((&pair.india, &pair.us), &request, at, act);
    end.expect("nothing kills it")
}

/// Lets so much time pass that a run which goes on now has lost its lease.
pub(super) fn wait_out_the_lease(pair: &Pair) {
    let secs = i64::try_from(FENCE_WAIT_SECS).unwrap();
    pair.harness.sim.state().advance_secs(secs);
}

#[test]
fn an_undo_beside_a_running_freeze_is_refused_and_the_freeze_goes_on() {
    // Before the documents are stored, and before the revokes are sent.
    for at in [1, 2] {
        let pair = with_writers();
        let refusals = Cell::new(0);
        let journal = there_beside(&pair, at, &|| {
            let undone = undo(&pair).unwrap();
            let Err(FailoverError::NotUndone(UndoRefusal::GrantsChange(until))) = undone else {
                panic!("{at}: {undone:?}");
            };
            let now = pair.harness.sim.now();
            assert!((60..=120).contains(&(until.secs() - now.secs())), "{until}");
            refusals.set(refusals.get() + 1);
        });
        let journal = journal.unwrap().unwrap();
        assert_eq!(refusals.get(), 1, "{at}: nobody undid it");
        assert_eq!(journal.frozen, WRITES, "{at}");
        assert_eq!(journal.grants_change_until, None, "{at}");
        assert!(journal.frozen_since.is_some(), "{at}");
    }
}

#[test]
fn a_run_that_is_so_slow_that_it_was_undone_revokes_nothing_more() {
    for at in [1, 2] {
        let pair = with_writers();
        let all = held(&pair, &pair.us);
        let undone = Cell::new(0);
        let stopped = there_beside(&pair, at, &|| {
            wait_out_the_lease(&pair);
            undo(&pair).unwrap().unwrap();
            undone.set(undone.get() + 1);
        });
        let Err(FailoverError::Call(error)) = stopped else {
            panic!("{at}: {stopped:?}");
        };
        assert_eq!(error.kind, CallErrorKind::Contended, "{at}: {error}");
        assert!(error.to_string().contains("undo"), "{at}: {error}");
        assert_eq!(undone.get(), 1, "{at}");
        assert_eq!(held(&pair, &pair.us), all, "{at}");
        let kept = [documents(&pair.india), documents(&pair.us)];
        // The slow run had stored what it would have revoked: another undo forgets it.
        let _ = undo_later(&pair);
        assert_eq!(held(&pair, &pair.us), all, "{at}");
        assert!(kept[1] <= kept[0], "{at}: {kept:?}");
    }
}

#[test]
fn a_new_run_beside_an_undo_is_refused_until_the_undo_cannot_grant_any_more() {
    let whole = super::freeze::frozen();
    let _ = whole.harness.sim.state().take_calls();
    undo(&whole).unwrap().unwrap();
    let calls = whole.harness.sim.state().take_calls();
    let grant = calls
        .iter()
        .position(|call| call.name.contains("GrantPermissions"))
        .unwrap();
    let pair = super::freeze::frozen();
    let _ = pair.harness.sim.state().take_calls();
    pair.harness.sim.state().set_kill_switch(KillSwitch {
        call_index: grant,
        after_effect: true,
    });
    assert!(undo(&pair).is_none(), "the undo dies while it grants");
    pair.harness.sim.state().clear_call_faults();
    let refused = there(&pair).unwrap();
    let Err(FailoverError::Refused(FailoverRefusal { gate, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(gate, FailoverGate::UndoEnded);
    // Another undo takes its place at once.
    undo(&pair).unwrap().unwrap();
    let again = there(&pair).unwrap();
    assert!(
        matches!(again, Err(FailoverError::NotVerified(_))),
        "{again:?}"
    );
}

#[test]
fn what_is_frozen_is_counted_in_the_ledger_of_either_region() {
    let pair = super::freeze::frozen();
    let epoch = pair.record(&pair.india).epoch;
    let counts = ready(frozen_grants(&*pair.india.ledger, epoch)).unwrap();
    assert_eq!(counts.in_primary.values().sum::<usize>(), WRITES);
    assert!(counts.in_standby.is_empty());
    let switched = with_writers();
    there(&switched).unwrap().unwrap();
    let epoch = switched.record(&switched.india).epoch;
    let counts = ready(frozen_grants(&*switched.us.ledger, epoch)).unwrap();
    assert!(counts.in_primary.is_empty());
    assert_eq!(counts.in_standby.values().sum::<usize>(), WRITES);
}

/// A pair whose first primary is frozen as the standby, and has to be made the primary by a failover.
fn frozen_standby() -> Pair {
    let pair = with_writers();
    there(&pair).unwrap().unwrap();
    let epoch = pair.record(&pair.india).epoch;
    pair.settle(&pair.india, &pair.us, epoch);
    pair
}

fn fail_over_to_us(pair: &Pair) -> FailoverJournal {
    let request = FailoverRequest {
        accepts_loss: true,
        forced: [ForceableGate::MinimumInterval].into(),
        ..FailoverRequest::default()
    };
    let end = pair.fail_over_with(&pair.us, &request);
    end.expect("nothing kills it").unwrap().unwrap()
}

#[test]
fn grants_that_cannot_be_granted_again_stop_no_failover_stay_recorded_and_are_granted_later() {
    let cases = [
        // Every grant, one of them, and the list of grants.
        ("GrantPermissions", 0, usize::MAX, WRITES),
        ("GrantPermissions", 1, 1, 1),
        ("ListPermissions", 0, usize::MAX, WRITES),
    ];
    for kind in [CallErrorKind::Denied, CallErrorKind::Unavailable] {
        for (call, skip_calls, times, left) in cases {
            let at = format!("{kind:?} {call} {times}");
            let pair = frozen_standby();
            let all = held(&pair, &pair.india);
            let error = ApiError::new(kind, "InjectedException", "it is injected");
            pair.harness.sim.state().inject_fault(InjectedFault {
                skip_calls,
                times,
                ..InjectedFault::once(PRIMARY, call, error)
            });
            let journal = fail_over_to_us(&pair);
            assert_eq!(journal.stage, FailoverStage::Completed, "{at}");
            assert_eq!(journal.left_frozen.count, left, "{at}");
            assert_eq!(journal.left_frozen.named.len(), left, "{at}");
            assert_eq!(journal.unfrozen, WRITES - left, "{at}");
            assert_eq!(
                pair.role(&pair.us, &pair.india),
                RegionRole::Primary,
                "{at}"
            );
            assert_eq!(documents(&pair.us), 1, "{at}: they stay recorded");
            pair.harness.sim.state().clear_call_faults();
            let journal = fail_over_to_us(&pair);
            assert!(journal.left_frozen.is_none(), "{at}");
            assert_eq!(journal.unfrozen, WRITES, "{at}");
            assert_eq!(held(&pair, &pair.us), all, "{at}");
            assert_eq!(documents(&pair.us), 0, "{at}");
            // Nothing is left: the next run changes nothing.
            let _ = pair.harness.sim.state().take_calls();
            fail_over_to_us(&pair);
            assert_eq!(pair.harness.sim.state().take_calls().len(), 0, "{at}");
        }
    }
}

#[test]
fn grants_that_cannot_be_granted_again_stop_no_failback() {
    let pair = frozen_standby();
    pair.harness.sim.state().advance_secs(600);
    pair.beat(&pair.us);
    let error = ApiError::new(CallErrorKind::Denied, "InjectedException", "it is injected");
    pair.harness.sim.state().inject_fault(InjectedFault {
        times: usize::MAX,
        ..InjectedFault::once(PRIMARY, "GrantPermissions", error)
    });
    let journal = switch(&pair, (&pair.us, &pair.india));
    let journal = journal.unwrap().unwrap().unwrap();
    assert_eq!(journal.stage, FailoverStage::Completed);
    assert_eq!(journal.left_frozen.count, WRITES);
    pair.harness.sim.state().clear_call_faults();
    let again = switch(&pair, (&pair.us, &pair.india))
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(again.left_frozen.is_none());
}
