//! The guarantee of `verified_at`: every subject that the ledger does not list as out of sync
//! equalled the primary at that time.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::collections::BTreeSet;
use twinlake_core::ledger::VerifiedRun;
use twinlake_core::{CallErrorKind, Subject, SubjectState};
use twinlake_engine::{Clock as _, Ledger as _};
use twinlake_sim::{ApiError, InjectedFault, KillSwitch, RandomFaults, run_until_killed};
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness};
use twinlake_tests::history::{HistoryAction, perform, random_actions, set_up_primary};
use twinlake_tests::plans::{harness_without_deletion_limit, proptest_config};

/// Returns the subjects that the ledger lists in any state but in sync.
fn subjects_not_in_sync(harness: &TestHarness) -> BTreeSet<Subject> {
    let rows = harness.ledger.contents().rows;
    let rows = rows
        .values()
        .filter(|row| row.state != SubjectState::InSync);
    rows.map(|row| row.subject.clone()).collect()
}

/// The write that is rejected, or none.
const REJECTED_CALLS: [Option<&str>; 7] = [
    None,
    Some("CreateTable"),
    Some("UpdateTable"),
    Some("DeleteTable"),
    Some("CreateDatabase"),
    Some("BatchCreatePartition"),
    Some("BatchGrantPermissions"),
];

/// The actions before both Regions are in sync, the actions whose events are lost, the call at
/// which the first resync is killed, the actions before the second resync, the seed and percentage
/// of random faults in it, and the write that it is always refused.
type History = (
    Vec<HistoryAction>,
    Vec<HistoryAction>,
    usize,
    Vec<HistoryAction>,
    u64,
    u64,
    Option<&'static str>,
);

/// Returns whether the second resync set `verified_at`, and whether listed differences remain.
fn run_history(
    (before, lost, kill_at_call, before_second_resync, fault_seed, percent, rejected_call): History,
) -> Result<(bool, bool), TestCaseError> {
    let harness = harness_without_deletion_limit();
    set_up_primary(&harness, &before);
    let _ = harness.resync();
    for action in &lost {
        perform(&harness, PRIMARY, action);
    }
    let _ = harness.take_events();
    harness.sim.state().set_kill_switch(KillSwitch {
        call_index: kill_at_call,
        after_effect: kill_at_call % 2 == 0,
    });
    let _ = harness.resync();
    harness.sim.state().clear_call_faults();
    // The Regions change before the second resync.
    for action in &before_second_resync {
        perform(&harness, PRIMARY, action);
    }
    let _ = harness.take_events();
    harness
        .sim
        .state()
        .set_random_faults(RandomFaults::new(fault_seed, percent), TWINLAKE_ROLE);
    if let Some(call) = rejected_call {
        harness.sim.state().inject_fault(InjectedFault {
            region: Some(STANDBY.to_owned()),
            call: Some(call.to_owned()),
            skip_calls: 0,
            times: usize::MAX,
            error: ApiError::new(CallErrorKind::Invalid, "InvalidInputException", "rejected"),
            takes_effect: false,
        });
    }
    let report = harness.resync();
    harness.sim.state().clear_call_faults();
    let Some(verified_at) = report.and_then(|report| report.verified_at) else {
        return Ok((false, false));
    };
    prop_assert_eq!(
        harness
            .ledger
            .contents()
            .verified_run
            .map(|run| run.started_at),
        Some(verified_at)
    );
    let listed = subjects_not_in_sync(&harness);
    let (covered, uncovered): (Vec<String>, Vec<String>) =
        equality_oracle::differences(&harness.sim.state(), &[])
            .into_iter()
            .partition(|difference| {
                let is_about = |subject| equality_oracle::is_about(difference, subject);
                listed.iter().any(is_about)
            });
    prop_assert!(uncovered.is_empty(), "{uncovered:#?}\nlisted: {listed:?}");
    Ok((true, !covered.is_empty()))
}

#[test]
fn verified_at_is_true_of_every_subject_that_is_not_listed() {
    let (verified, with_differences) = (Cell::new(0u32), Cell::new(0u32));
    let cases = proptest_config();
    let all = cases.cases;
    let history = (
        random_actions(15),
        random_actions(15),
        0..60usize,
        random_actions(8),
        any::<u64>(),
        prop::sample::select(vec![0u64, 1, 2, 5, 10]),
        prop::sample::select(REJECTED_CALLS.to_vec()),
    );
    let result = TestRunner::new(cases).run(&history, |history| {
        let (is_verified, has_differences) = run_history(history)?;
        verified.set(verified.get() + u32::from(is_verified));
        with_differences.set(with_differences.get() + u32::from(has_differences));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let (verified, with_differences) = (verified.get(), with_differences.get());
    println!(
        "{verified} of {all} resyncs set verified_at, the others could not read everything; \
         {with_differences} of them left differences, which were listed"
    );
    assert!(
        verified > all / 5 && with_differences > all / 50,
        "{verified} and {with_differences} of {all}"
    );
}

/// One run of a computer whose clock is a day ahead.
#[test]
fn a_run_that_is_dated_in_the_future_hides_no_later_one() {
    let harness = harness_without_deletion_limit();
    set_up_primary(&harness, &[]);
    harness.settle();
    let ahead = VerifiedRun {
        started_at: harness.sim.now().plus_secs(86_400),
        ..harness.ledger.contents().verified_run.unwrap()
    };
    let put = harness.ledger.put_verified_run(&ahead, ahead.started_at);
    run_until_killed(&harness.sim, put).unwrap().unwrap();
    let report = harness.resync().unwrap();
    let stored = harness.ledger.contents().verified_run.unwrap();
    assert_eq!(report.verified_at, Some(stored.started_at));
    assert!(stored.started_at <= harness.sim.now());
}
