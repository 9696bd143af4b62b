//! A failover in the surviving Region: killed between any two calls and run again, undone, run by two people,
//! and without a call to anything outside that Region.

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use twinlake_core::failover::{
    FailoverJournal, FailoverRequest, FailoverStage, FailoverStep, SwitchOperation,
};
use twinlake_core::heartbeat::{Channel, Heartbeat};
use twinlake_core::topology::{Epoch, FENCE_WAIT_SECS, RegionRole, SiteId, region_role};
use twinlake_core::{CallError, CallErrorKind, Name, Scope, Timestamp};
use twinlake_engine::failover::{
    FENCE_WAIT, FailoverError, FailoverProgress, NewPrimary, preview, run, undo_failover,
};
use twinlake_engine::observe::Prefetched;
use twinlake_engine::region_authority::region_authority;
use twinlake_engine::write_fence::{EpochSource, WriteFence, WriterRole};
use twinlake_engine::{
    Clock as _, Context, Environment, GuardedRegion, InMemoryLedger, Ledger as _, StatsStore as _,
};
use twinlake_sim::{ApiError, InjectedFault, KillSwitch, Sim, SimRegion, run_until_killed};
use twinlake_tests::harness::{
    PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, epoch_led_by, leader, policy,
};
use twinlake_tests::takeover::SimTimer;

/// Databases, and whether their defaults are open in the primary.
const DATABASES: [(&str, bool); 4] = [
    ("sales", true),
    ("hr", false),
    ("finance", true),
    ("logs", true),
];

fn open_defaults() -> Value {
    json!([{
        "Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"},
        "Permissions": ["ALL"],
    }])
}

/// Two Regions in sync, with a ledger that holds the policy and the epoch.
fn replicated() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    for (name, is_open) in DATABASES {
        let defaults = if is_open { open_defaults() } else { json!([]) };
        let input = json!({"Name": name, "CreateTableDefaultPermissions": defaults});
        let request = json!({"DatabaseInput": input});
        harness.call(PRIMARY, "CreateDatabase", &request).unwrap();
    }
    harness.ledger.set_epoch(harness.epoch());
    harness.settle();
    beat(&harness);
    let _ = (harness.take_calls(), harness.take_events());
    harness
}

/// Records a heartbeat of each channel, and returns when it was sent.
fn beat(harness: &TestHarness) -> Timestamp {
    let sent = harness.sim.now();
    for channel in Channel::EVERY {
        let heartbeat = Heartbeat { sent, done: sent };
        let recorded = harness.ledger.record_heartbeat(channel, heartbeat);
        recorded.now_or_never().unwrap().unwrap();
    }
    sent
}

fn site(region: &str, harness: &TestHarness) -> SiteId {
    harness.policy.sites.find(region).unwrap()
}

fn accepted() -> FailoverRequest {
    FailoverRequest {
        accepts_loss: true,
        ..FailoverRequest::default()
    }
}

type Outcome = Result<Option<FailoverJournal>, FailoverError>;

/// Runs a failover. Returns `None` if the kill switch stopped it.
fn fail_over_with(
    harness: &TestHarness,
    request: &FailoverRequest,
    progress: &dyn FailoverProgress,
) -> Option<Outcome> {
    let region = harness.sim.region(STANDBY, TWINLAKE_ROLE);
    let timer = SimTimer(harness.sim.clone());
    let new_primary = NewPrimary {
        site: site(STANDBY, harness),
        region: &region,
        ledger: &harness.ledger,
        timer: &timer,
        policy: &harness.policy,
        max_concurrent_calls: 2,
        fence_wait: FENCE_WAIT,
        progress,
        handover: &(),
        caller: None,
        stop_at: None,
    };
    run_until_killed(&harness.sim, run(&new_primary, request))
}

fn fail_over(harness: &TestHarness) -> Outcome {
    fail_over_with(harness, &accepted(), &()).expect("nothing kills it")
}

fn defaults(harness: &TestHarness, region: &str, database: &str) -> Value {
    let found = harness.call(region, "GetDatabase", &json!({"Name": database}));
    found.unwrap()["Database"]["CreateTableDefaultPermissions"].clone()
}

fn all_defaults(harness: &TestHarness, region: &str) -> Vec<Value> {
    let databases = DATABASES.iter();
    databases
        .map(|(name, _)| defaults(harness, region, name))
        .collect()
}

/// What a failover leaves behind, without its times.
fn end(harness: &TestHarness) -> (Epoch, FailoverStage, Vec<Value>) {
    let contents = harness.ledger.contents();
    let journal = contents.epoch_record.unwrap().0.failover.unwrap();
    let defaults = all_defaults(harness, STANDBY);
    (contents.epoch, journal.stage, defaults)
}

#[test]
fn the_survivor_is_primary_with_the_defaults_of_the_former_primary() {
    let harness = replicated();
    let closed = vec![json!([]); DATABASES.len()];
    assert_eq!(
        all_defaults(&harness, STANDBY),
        closed,
        "a standby's are closed"
    );
    let before = harness.sim.now();
    let journal = fail_over(&harness).unwrap().unwrap();
    assert_eq!((journal.restored, journal.unrestored.len()), (3, 0));
    assert_eq!(
        all_defaults(&harness, STANDBY),
        all_defaults(&harness, PRIMARY)
    );
    let epoch = harness.ledger.contents().epoch;
    let role = region_role(site(STANDBY, &harness), epoch, None);
    assert_eq!(role, RegionRole::Primary);
    let waited = harness.sim.now().secs() - before.secs();
    assert!(
        waited >= i64::try_from(FENCE_WAIT_SECS).unwrap(),
        "{waited}"
    );
    let written = journal.reached[&FailoverStage::EpochWritten];
    let stopped = journal.reached[&FailoverStage::WritersStopped];
    let waited = stopped.secs() - written.secs();
    assert!(
        waited >= i64::try_from(FENCE_WAIT_SECS).unwrap(),
        "{waited}"
    );
}

#[test]
fn no_defaults_are_restored_before_the_writers_have_stopped() {
    struct Watch<'a>(&'a TestHarness, Cell<u32>);
    impl FailoverProgress for Watch<'_> {
        fn step_started(&self, step: FailoverStep) {
            let epoch = self.0.ledger.contents().epoch;
            let is_switched = epoch != self.0.epoch();
            assert_eq!(is_switched, step != FailoverStep::WriteEpoch, "{step:?}");
        }
        fn waiting(&self, _: Duration) {
            self.1.set(self.1.get() + 1);
            let closed = vec![json!([]); DATABASES.len()];
            assert_eq!(all_defaults(self.0, STANDBY), closed);
        }
    }
    let harness = replicated();
    let watch = Watch(&harness, Cell::default());
    fail_over_with(&harness, &accepted(), &watch)
        .unwrap()
        .unwrap();
    assert!(u64::from(watch.1.get()) >= FENCE_WAIT_SECS);
}

#[test]
fn only_glue_in_the_surviving_region_is_called() {
    let harness = replicated();
    fail_over(&harness).unwrap();
    let calls = harness.sim.state().take_calls();
    let called: BTreeSet<(String, String)> = calls
        .iter()
        .map(|call| (call.region.clone(), call.name.clone()))
        .collect();
    let allowed =
        ["GetDatabase", "UpdateDatabase"].map(|name| (STANDBY.to_owned(), name.to_owned()));
    assert_eq!(called, allowed.into());
}

#[test]
fn killed_between_any_two_calls_and_run_again_it_ends_the_same() {
    let uninterrupted = replicated();
    fail_over(&uninterrupted).unwrap();
    let calls = uninterrupted.sim.state().take_calls().len();
    let expected = end(&uninterrupted);
    assert!(
        calls >= 9,
        "three databases are read, written and read again: {calls}"
    );
    for call_index in 0..calls {
        for after_effect in [false, true] {
            let harness = replicated();
            harness.sim.state().set_kill_switch(KillSwitch {
                call_index,
                after_effect,
            });
            let killed = fail_over_with(&harness, &accepted(), &());
            assert!(killed.is_none(), "call {call_index} was not reached");
            harness.sim.state().clear_call_faults();
            fail_over(&harness).unwrap();
            assert_eq!(end(&harness), expected, "{call_index} {after_effect}");
        }
    }
}

/// A failover that dies where a step begins, which is between two writes of the ledger.
#[test]
fn killed_between_any_two_steps_and_run_again_it_ends_the_same() {
    struct DiesAt(FailoverStep);
    impl FailoverProgress for DiesAt {
        fn step_started(&self, step: FailoverStep) {
            assert!(step != self.0, "dies");
        }
        fn waiting(&self, _: Duration) {}
    }
    let uninterrupted = replicated();
    fail_over(&uninterrupted).unwrap();
    for &step in SwitchOperation::Failover.steps() {
        let harness = replicated();
        let dies = std::panic::AssertUnwindSafe(|| {
            let _ = fail_over_with(&harness, &accepted(), &DiesAt(step));
        });
        assert!(std::panic::catch_unwind(dies).is_err());
        // Another person. Until the epoch is written, the gates hold for everybody.
        let request = match step {
            FailoverStep::WriteEpoch => accepted(),
            FailoverStep::FreezeGrants
            | FailoverStep::Verify
            | FailoverStep::WaitForWriters
            | FailoverStep::RestoreDefaults
            | FailoverStep::HandOver => FailoverRequest::default(),
        };
        fail_over_with(&harness, &request, &()).unwrap().unwrap();
        assert_eq!(end(&harness), end(&uninterrupted), "{step:?}");
    }
}

#[test]
fn repeating_it_never_switches_back() {
    let harness = replicated();
    fail_over(&harness).unwrap();
    let after = harness.ledger.contents();
    let _ = harness.take_calls();
    for _ in 0..3 {
        harness.sim.state().advance_secs(3600);
        fail_over(&harness).unwrap();
    }
    assert_eq!(harness.ledger.contents(), after);
    assert_eq!(harness.take_calls(), (0, 0));
}

#[test]
fn it_is_undone_before_the_epoch_and_refused_after() {
    struct StopsAtEpoch;
    impl FailoverProgress for StopsAtEpoch {
        fn step_started(&self, _: FailoverStep) {
            panic!("stops");
        }
        fn waiting(&self, _: Duration) {}
    }
    let harness = replicated();
    let before = harness.ledger.contents();
    let stops = std::panic::AssertUnwindSafe(|| {
        let _ = fail_over_with(&harness, &accepted(), &StopsAtEpoch);
    });
    assert!(std::panic::catch_unwind(stops).is_err());
    let undo = || {
        let undone = undo_failover(&harness.ledger, &harness.sim).now_or_never();
        undone.expect("a ledger in memory does not wait")
    };
    undo().unwrap();
    let mut after = harness.ledger.contents();
    let (record, _) = after.epoch_record.take().unwrap();
    assert_eq!(record.failover.unwrap().stage, FailoverStage::Undone);
    assert_eq!(after, before, "nothing but the journal has changed");
    assert!(matches!(undo(), Err(FailoverError::NotUndone(_))));
    fail_over(&harness).unwrap();
    assert!(matches!(undo(), Err(FailoverError::NotUndone(_))));
}

#[test]
fn two_people_at_once_carry_on_with_one_failover() {
    let harness = replicated();
    // The other one runs it whole while the first one waits; later both have come to the end.
    struct RunsMeanwhile<'a>(&'a TestHarness, Cell<bool>);
    impl FailoverProgress for RunsMeanwhile<'_> {
        fn step_started(&self, step: FailoverStep) {
            if step == FailoverStep::WaitForWriters && !self.1.replace(true) {
                fail_over(self.0).unwrap();
            }
        }
        fn waiting(&self, _: Duration) {}
    }
    let meanwhile = RunsMeanwhile(&harness, Cell::default());
    let journal = fail_over_with(&harness, &accepted(), &meanwhile)
        .unwrap()
        .unwrap();
    assert_eq!(journal.unwrap().stage, FailoverStage::Completed);
    assert_eq!(harness.ledger.contents().epoch, harness.epoch().switched());
}

#[test]
fn an_undo_stops_a_run_that_had_read_the_journal() {
    struct UndoneMeanwhile<'a>(&'a TestHarness, Cell<bool>);
    impl FailoverProgress for UndoneMeanwhile<'_> {
        fn step_started(&self, step: FailoverStep) {
            if step == FailoverStep::WriteEpoch && !self.1.replace(true) {
                let undone = undo_failover(&self.0.ledger, &self.0.sim).now_or_never();
                undone.unwrap().unwrap();
                assert_eq!(self.0.ledger.contents().epoch, self.0.epoch());
            }
        }
        fn waiting(&self, _: Duration) {}
    }
    let harness = replicated();
    let meanwhile = UndoneMeanwhile(&harness, Cell::default());
    let outcome = fail_over_with(&harness, &accepted(), &meanwhile).unwrap();
    assert!(matches!(outcome, Err(FailoverError::UndoneMeanwhile)));
    assert_eq!(harness.ledger.contents().epoch, harness.epoch());
}

#[test]
fn a_database_that_somebody_replaced_or_opened_is_named_and_left_alone() {
    let harness = replicated();
    let name = json!({"Name": "sales"});
    harness.call(STANDBY, "DeleteDatabase", &name).unwrap();
    harness.sim.state().advance_secs(5);
    let input = json!({"Name": "sales", "CreateTableDefaultPermissions": []});
    let request = json!({"DatabaseInput": input});
    harness.call(STANDBY, "CreateDatabase", &request).unwrap();
    let input = json!({"Name": "finance", "CreateTableDefaultPermissions": [{
        "Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Other"},
        "Permissions": ["SELECT"],
    }]});
    let request = json!({"Name": "finance", "DatabaseInput": input});
    harness.call(STANDBY, "UpdateDatabase", &request).unwrap();
    let before = (
        defaults(&harness, STANDBY, "sales"),
        defaults(&harness, STANDBY, "finance"),
    );
    let journal = fail_over(&harness).unwrap().unwrap();
    let reasons: Vec<(&str, &str)> = journal
        .unrestored
        .iter()
        .map(|(name, reason)| (name.as_str(), reason.as_str()))
        .collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(
        reasons[0].1.contains("other defaults") && reasons[1].1.contains("replaced"),
        "{reasons:?}"
    );
    let after = (
        defaults(&harness, STANDBY, "sales"),
        defaults(&harness, STANDBY, "finance"),
    );
    assert_eq!(after, before);
    assert_eq!(journal.restored, 1);
}

#[test]
fn a_refused_write_is_named_and_restored_by_the_next_run_and_a_throttled_one_is_not_skipped() {
    let harness = replicated();
    let fault = |kind, times| InjectedFault {
        region: Some(STANDBY.to_owned()),
        call: Some("UpdateDatabase".to_owned()),
        skip_calls: 0,
        times,
        error: ApiError::new(kind, "Injected", "refused"),
        takes_effect: false,
    };
    harness
        .sim
        .state()
        .inject_fault(fault(CallErrorKind::Contended, 1));
    assert!(matches!(fail_over(&harness), Err(FailoverError::Call(_))));
    harness.sim.state().clear_injected_faults();
    harness
        .sim
        .state()
        .inject_fault(fault(CallErrorKind::Denied, usize::MAX));
    let journal = fail_over(&harness).unwrap().unwrap();
    // One was written beside the throttled call of the first run.
    assert!(!journal.unrestored.is_empty(), "{journal:?}");
    harness.sim.state().clear_injected_faults();
    let journal = fail_over(&harness).unwrap().unwrap();
    assert_eq!((journal.restored, journal.unrestored.len()), (3, 0));
    assert_eq!(
        all_defaults(&harness, STANDBY),
        all_defaults(&harness, PRIMARY)
    );
}

#[test]
fn the_journal_keeps_what_was_behind_when_it_started() {
    let harness = replicated();
    let sent = beat(&harness);
    harness.sim.state().advance_secs(41);
    let request = accepted();
    let site = site(STANDBY, &harness);
    let shown = preview(site, &harness.ledger, &harness.sim, &request);
    let shown = shown.now_or_never().unwrap().unwrap();
    assert_eq!(shown.recovery_point.arrived_until(), Some(sent));
    assert!(
        harness.ledger.contents().epoch_record.is_none(),
        "a preview stores nothing"
    );
    let journal = fail_over(&harness).unwrap().unwrap();
    assert_eq!(journal.recovery_point.arrived_until(), Some(sent));
    assert_eq!(journal.recovery_point.databases, DATABASES.len());
    assert!(journal.recovery_point.verified_at.is_some());
}

#[test]
fn after_its_return_the_former_primary_is_fenced_and_the_survivor_is_primary() {
    let harness = replicated();
    fail_over(&harness).unwrap();
    // The ledger of the former primary, as it was when the Region went.
    let former = InMemoryLedger::default();
    former.set_epoch(epoch_led_by(leader()));
    for ledger in [&former, &harness.ledger] {
        let pushed = ledger.put_policy(harness.policy.text());
        pushed.now_or_never().unwrap().unwrap();
    }
    let role = |region: &str, local: &InMemoryLedger, peer: &InMemoryLedger| {
        let authority = region_authority(region, local, peer)
            .now_or_never()
            .unwrap();
        authority.unwrap().role
    };
    assert_eq!(role(PRIMARY, &former, &harness.ledger), RegionRole::Fenced);
    assert_eq!(role(STANDBY, &harness.ledger, &former), RegionRole::Primary);
}

/// The epoch of the standby's ledger, as others write it.
#[derive(Clone)]
struct SharedEpoch(Arc<Mutex<Epoch>>);

impl EpochSource for SharedEpoch {
    async fn read_epoch(&self) -> Result<Epoch, CallError> {
        Ok(*self.0.lock().unwrap())
    }
}

/// The environment of a function that writes to the standby under its lease.
struct Fenced;

impl Environment for Fenced {
    type Primary = SimRegion;
    type Standby = GuardedRegion<SimRegion, SharedEpoch, Sim>;
    type Ledger = InMemoryLedger;
    type Clock = Sim;
}

/// A reconciliation that is under way while the Region becomes the primary writes nothing once its lease has
/// ended.
#[test]
fn a_reconciliation_under_way_writes_nothing_after_the_wait() {
    let harness = replicated();
    let table = json!({"DatabaseName": "sales", "TableInput": {"Name": "orders"}});
    harness.call(PRIMARY, "CreateTable", &table).unwrap();
    let epoch = SharedEpoch(Arc::new(Mutex::new(harness.epoch())));
    let fence = Arc::new(WriteFence::new(epoch.clone(), None, harness.sim.clone()));
    let writer = WriterRole {
        site: site(STANDBY, &harness),
        epoch: harness.epoch(),
        role: RegionRole::Standby,
    };
    fence.allow(writer, Some(fence.lease().start()));
    let region = harness.sim.region(STANDBY, TWINLAKE_ROLE);
    let standby = GuardedRegion::new(region, Some(Arc::clone(&fence)));
    let context: Context<'_, Fenced> = harness.context_with_standby(&standby);
    let scope = Scope::database(Name::new("sales").unwrap());
    let prefetched = Prefetched::default();
    let writes = |harness: &TestHarness| {
        let calls = harness.sim.state().take_calls().into_iter();
        let in_standby = calls.filter(|call| call.region == STANDBY);
        in_standby
            .filter(|call| !call.name.starts_with("Get") && !call.name.starts_with("List"))
            .map(|call| call.name)
            .collect::<Vec<_>>()
    };
    let _ = writes(&harness);
    // Somebody else has written the epoch, and the lease ends while the Regions are read.
    *epoch.0.lock().unwrap() = harness.epoch().switched();
    harness.sim.state().advance_secs(31);
    let run = twinlake_engine::reconcile(&context, &scope, &prefetched);
    let outcome = run_until_killed(&harness.sim, run).unwrap().unwrap();
    assert_eq!(writes(&harness), Vec::<String>::new());
    assert!(
        outcome.waiting.is_some() || !outcome.is_settled(),
        "{outcome:?}"
    );
    // In the former epoch, the same reconciliation writes.
    *epoch.0.lock().unwrap() = harness.epoch();
    fence.allow(writer, None);
    let run = twinlake_engine::reconcile(&context, &scope, &prefetched);
    run_until_killed(&harness.sim, run).unwrap().unwrap();
    assert!(writes(&harness).contains(&"CreateTable".to_owned()));
}
