//! Runs of a takeover whose time is short, as those of the function: each ends between two steps, and the next one goes
//! on.

use std::cell::RefCell;
use std::time::Duration;
use twinlake_core::Timestamp;
use twinlake_core::failover::{
    FailoverGate, FailoverRequest, FailoverStep, FreezeMode, SwitchOperation,
};
use twinlake_engine::Clock as _;
use twinlake_engine::failover::{FailoverError, FailoverProgress, MIN_STEP_SECS, undo_failover};
use twinlake_tests::takeover::mortal_ledger::DeathPoint;
use twinlake_tests::takeover::pair::{Pair, SwitchEnd};
use twinlake_tests::takeover::ready;

/// Notes the steps that begin.
#[derive(Default)]
struct Begun(RefCell<Vec<FailoverStep>>);

impl FailoverProgress for Begun {
    fn step_started(&self, step: FailoverStep) {
        self.0.borrow_mut().push(step);
    }
    fn waiting(&self, _: Duration) {}
}

/// What an execution asks for: a failover from the epoch in which the pair begins.
fn failover(pair: &Pair, execution: &str) -> FailoverRequest {
    FailoverRequest {
        accepts_loss: true,
        seen_epoch: Some(pair.harness.epoch().number()),
        execution: Some(execution.to_owned()),
        ..FailoverRequest::default()
    }
}

/// Runs without time left: after the epoch, each begins one step only.
fn runs(pair: &Pair, run: impl Fn(&Begun) -> SwitchEnd) -> Vec<Vec<FailoverStep>> {
    pair.stop_at.set(Some(Timestamp::from_millis(0)));
    let mut runs = Vec::new();
    for _ in 0..8 {
        let begun = Begun::default();
        let end = run(&begun).expect("nothing kills it");
        runs.push(begun.0.take());
        match end {
            Ok(journal) => {
                assert_eq!(journal.unwrap().next_step(), None);
                return runs;
            }
            Err(FailoverError::Stopped(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it does not end: {runs:?}");
}

#[test]
fn a_failover_that_stops_before_each_step_comes_to_the_same_end() {
    let whole = Pair::in_sync();
    whole.fail_over();
    let pair = Pair::in_sync();
    let steps = runs(&pair, |begun| {
        pair.fail_over_watched(&pair.india, &failover(&pair, "x"), begun)
    });
    assert_eq!(
        steps,
        [
            vec![FailoverStep::WriteEpoch],
            vec![FailoverStep::WaitForWriters],
            vec![FailoverStep::RestoreDefaults],
        ]
    );
    let end = |pair: &Pair| pair.end(&pair.india, &pair.us);
    assert_eq!(end(&pair), end(&whole));
    // Repeated, it begins no step, and changes nothing.
    let record = pair.record(&pair.india);
    let begun = Begun::default();
    let again = pair.fail_over_watched(&pair.india, &failover(&pair, "x"), &begun);
    again.unwrap().unwrap();
    assert!(begun.0.take().is_empty());
    assert_eq!(pair.record(&pair.india), record);
}

#[test]
fn a_switchover_that_stops_before_each_step_comes_to_the_same_end() {
    let before_epoch = [FailoverStep::Verify, FailoverStep::WriteEpoch];
    for (freeze, first) in [
        (FreezeMode::None, before_epoch.to_vec()),
        (
            FreezeMode::Grants,
            [&[FailoverStep::FreezeGrants][..], &before_epoch].concat(),
        ),
    ] {
        let request = |pair: &Pair| {
            let mut request = pair.request(&pair.us);
            request.switchover.as_mut().unwrap().freeze = freeze;
            request
        };
        let switch = |pair: &Pair, begun: &Begun| {
            pair.switch_with((&pair.india, &pair.us), &request(pair), begun)
        };
        let whole = Pair::in_sync();
        switch(&whole, &Begun::default()).unwrap().unwrap();
        let pair = Pair::in_sync();
        let steps = runs(&pair, |begun| switch(&pair, begun));
        assert_eq!(
            steps,
            [
                first,
                vec![FailoverStep::WaitForWriters],
                vec![FailoverStep::RestoreDefaults],
                vec![FailoverStep::HandOver],
            ]
        );
        let end = |pair: &Pair| pair.end(&pair.india, &pair.us);
        assert_eq!(end(&pair), end(&whole));
    }
}

#[test]
fn every_step_begins_if_there_is_time_for_it() {
    let pair = Pair::in_sync();
    let start = pair.harness.sim.now();
    let begun = Begun::default();
    // The wait for writers passes on this clock before the last step.
    pair.stop_at.set(Some(start.plus_secs(MIN_STEP_SECS)));
    let end = pair.fail_over_watched(&pair.india, &failover(&pair, "x"), &begun);
    let stopped = end.unwrap().unwrap_err();
    assert!(
        matches!(
            stopped,
            FailoverError::Stopped(FailoverStep::RestoreDefaults)
        ),
        "{stopped}"
    );
    let pair = Pair::in_sync();
    let start = pair.harness.sim.now();
    pair.stop_at.set(Some(start.plus_secs(2 * MIN_STEP_SECS)));
    let begun = Begun::default();
    let end = pair.fail_over_watched(&pair.india, &failover(&pair, "x"), &begun);
    end.unwrap().unwrap();
    assert_eq!(begun.0.take(), SwitchOperation::Failover.steps());
}

#[test]
fn an_execution_neither_goes_on_after_an_undo_nor_switches_back_after_a_failback() {
    let gate = |end: SwitchEnd| match end.unwrap() {
        Err(FailoverError::Refused(refusal)) => refusal.gate,
        other => panic!("{other:?}"),
    };
    // It died after it had begun; a person undoes it; its next invocation comes late.
    let pair = Pair::in_sync();
    pair.life.begin();
    pair.fail_over_with(&pair.india, &failover(&pair, "x"))
        .unwrap()
        .unwrap();
    let calls = pair.life.begin();
    let begins = calls.iter().position(|call| *call == "put_epoch_record");
    let pair = Pair::in_sync();
    pair.life.begin_until(begins.unwrap(), DeathPoint::After);
    let died = pair.fail_over_with(&pair.india, &failover(&pair, "x"));
    assert!(died.is_none());
    pair.life.begin();
    ready(undo_failover(&pair.india.ledger, &pair.harness.sim)).unwrap();
    let late = pair.fail_over_with(&pair.india, &failover(&pair, "x"));
    assert_eq!(gate(late), FailoverGate::FirstExecution);
    let other = pair.fail_over_with(&pair.india, &failover(&pair, "y"));
    other.unwrap().unwrap();

    // There by an execution without an epoch, and back by a switchover: the former primary has another journal.
    let pair = Pair::in_sync();
    let by_plan = FailoverRequest {
        seen_epoch: None,
        ..failover(&pair, "plan/1")
    };
    let there = FailoverRequest {
        execution: by_plan.execution.clone(),
        ..pair.request(&pair.us)
    };
    let switched = pair.switch_with((&pair.india, &pair.us), &there, &());
    switched.unwrap().unwrap();
    pair.settle(&pair.india, &pair.us, pair.record(&pair.india).epoch);
    pair.harness.sim.state().advance_secs(600);
    pair.beat(&pair.us);
    let back = pair.switch_with((&pair.us, &pair.india), &pair.request(&pair.india), &());
    back.unwrap().unwrap();
    pair.harness.sim.state().advance_secs(600);
    pair.settle(&pair.us, &pair.india, pair.record(&pair.us).epoch);
    let record = pair.record(&pair.india);
    assert_eq!(record.epoch.number(), pair.harness.epoch().number() + 2);
    let late = pair.fail_over_with(&pair.india, &by_plan);
    assert_eq!(gate(late), FailoverGate::FirstExecution);
    assert_eq!(pair.record(&pair.india), record);
}
