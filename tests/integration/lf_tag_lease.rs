//! Runs and reconciliations that change access by LF-Tags at the same time, and the lease by which they
//! wait for each other.

use serde_json::json;
use std::collections::BTreeSet;
use std::pin::pin;
use twinlake_core::{Name, Scope};
use twinlake_engine::observe::Prefetched;
use twinlake_engine::{
    Clock as _, Context, Environment, InMemoryLedger, LfTagLeaseOfRun, LimitedRegion,
};
use twinlake_sim::{Sim, SimRegion, run_interrupted, run_until_killed, yield_once};
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, TestQueue, policy};
use twinlake_tests::lf_tag_changes::{
    harness_with_lf_tag_changes, poll_times, take_lease_as_another_run,
};
use twinlake_tests::plans::excess_access;
use twinlake_tests::requests::{
    call, create_database, create_table, permission_request, table_resource, tags,
};

fn database_scope(name: &str) -> Scope {
    Scope::database(Name::new(name).unwrap())
}

#[test]
fn two_runs_that_change_lf_tags_open_nothing_to_each_other() {
    for (one, other) in [("sales", "hr"), ("hr", "sales")] {
        for call_index in 0.. {
            let harness = harness_with_lf_tag_changes();
            let moment = format!("{other} before call {call_index} of {one}");
            let (scope, prefetched) = (database_scope(one), Prefetched::default());
            let context = harness.context();
            let first = twinlake_engine::reconcile(&context, &scope, &prefetched);
            let (_, meanwhile) = run_interrupted(&harness.sim, first, call_index, || {
                harness.reconcile(&database_scope(other)).unwrap();
                excess_access(&harness)
            });
            let Some(excess) = meanwhile else {
                break;
            };
            assert_eq!(excess, BTreeSet::new(), "{moment}");
            assert_eq!(excess_access(&harness), BTreeSet::new(), "after {moment}");
            harness.settle();
            assert_eq!(
                excess_access(&harness),
                BTreeSet::new(),
                "{moment}, then a resync"
            );
            // What the table of somebody else holds back is missing, and nothing else.
            let differences = equality_oracle::differences(&harness.sim.state(), &[]);
            let others: Vec<_> = differences
                .iter()
                .filter(|one| !one.contains("hr"))
                .collect();
            assert!(others.is_empty(), "{moment}: {others:?}");
        }
    }
}

#[test]
fn reconciliations_of_one_run_take_turns_and_read_again() {
    for (max_yields, head_start) in [1, 3, 8].into_iter().flat_map(|max_yields| {
        let starts = (0..240).step_by(3);
        starts.map(move |head_start| (max_yields, head_start))
    }) {
        let harness = harness_with_lf_tag_changes();
        harness.sim.state().advance_secs(100);
        harness.sim.state().set_max_yields_per_call(max_yields);
        let lease = LfTagLeaseOfRun::default();
        let context = Context {
            lf_tag_lease: Some(&lease),
            ..harness.context()
        };
        let prefetched = Prefetched::default();
        let (hr, sales) = (database_scope("hr"), database_scope("sales"));
        let later = async {
            for _ in 0..head_start {
                yield_once().await;
            }
            twinlake_engine::reconcile(&context, &hr, &prefetched).await
        };
        let first = twinlake_engine::reconcile(&context, &sales, &prefetched);
        let both = futures_util::future::join(first, later);
        let (first, later) = run_until_killed(&harness.sim, both).unwrap();
        assert!(first.unwrap().waiting.is_none() && later.unwrap().waiting.is_none());
        assert_eq!(
            excess_access(&harness),
            BTreeSet::new(),
            "{max_yields}, {head_start}"
        );
    }
}

#[test]
fn a_reconciliation_that_dies_with_the_lease_misleads_none_of_those_that_wait() {
    let mut ended_early = 0;
    for (max_yields, polls) in [1, 3].into_iter().flat_map(|max_yields| {
        let polls = 1..120;
        polls.map(move |polls| (max_yields, polls))
    }) {
        let harness = harness_with_lf_tag_changes();
        create_database(&harness, "ops");
        create_table(&harness, PRIMARY, "ops", "orders");
        let resource = json!({"Database": {"Name": "ops"}});
        let tagged = json!({"Resource": resource, "LFTags": tags(&[("class", "public")])});
        call(&harness, PRIMARY, "AddLFTagsToResource", tagged);
        harness.sim.state().advance_secs(100);
        harness.sim.state().set_max_yields_per_call(max_yields);
        let lease = LfTagLeaseOfRun::default();
        let context = Context {
            lf_tag_lease: Some(&lease),
            ..harness.context()
        };
        let prefetched = Prefetched::default();
        let [sales, hr, ops] = ["sales", "hr", "ops"].map(database_scope);
        let dying = async {
            let dying = twinlake_engine::reconcile(&context, &sales, &prefetched);
            let end = async {
                for _ in 0..polls {
                    yield_once().await;
                }
            };
            let (dying, end) = (std::pin::pin!(dying), std::pin::pin!(end));
            let ended = futures_util::future::select(dying, end).await;
            matches!(ended, futures_util::future::Either::Right(_))
        };
        let all = futures_util::future::join3(
            dying,
            twinlake_engine::reconcile(&context, &hr, &prefetched),
            twinlake_engine::reconcile(&context, &ops, &prefetched),
        );
        let (died, hr, ops) = run_until_killed(&harness.sim, all).unwrap();
        ended_early += usize::from(died);
        assert!(hr.is_ok() && ops.is_ok());
        let moment = format!("{max_yields}, {polls}");
        assert_eq!(excess_access(&harness), BTreeSet::new(), "{moment}");
        harness.sim.state().advance_secs(3600);
        harness.settle();
        assert_eq!(
            excess_access(&harness),
            BTreeSet::new(),
            "{moment}, then a resync"
        );
    }
    assert!(ended_early > 50, "{ended_early}");
}

#[test]
fn databases_of_one_run_are_given_lf_tags_at_the_same_time() {
    let harness = TestHarness::new(policy(""));
    call(
        &harness,
        PRIMARY,
        "CreateLFTag",
        json!({"TagKey": "class", "TagValues": ["public"]}),
    );
    for database in ["hr", "sales"] {
        create_database(&harness, database);
        create_table(&harness, PRIMARY, database, "orders");
    }
    harness.settle();
    for database in ["hr", "sales"] {
        let request = json!({"Resource": {"Database": {"Name": database}},
                             "LFTags": tags(&[("class", "public")])});
        call(&harness, PRIMARY, "AddLFTagsToResource", request);
    }
    harness.sim.state().set_max_yields_per_call(1);
    harness.sim.state().advance_secs(100);
    let _ = harness.sim.state().take_calls();
    let lease = LfTagLeaseOfRun::default();
    let context = Context {
        lf_tag_lease: Some(&lease),
        ..harness.context()
    };
    let prefetched = Prefetched::default();
    let (hr, sales) = (database_scope("hr"), database_scope("sales"));
    let both = futures_util::future::join(
        twinlake_engine::reconcile(&context, &hr, &prefetched),
        twinlake_engine::reconcile(&context, &sales, &prefetched),
    );
    let (hr, sales) = run_until_killed(&harness.sim, both).unwrap();
    assert!(hr.unwrap().waiting.is_none() && sales.unwrap().waiting.is_none());
    let calls = harness.sim.state().take_calls();
    let assigned = calls.iter().enumerate();
    let assigned: Vec<usize> = assigned
        .filter(|(_, call)| call.region == STANDBY && call.name == "AddLFTagsToResource")
        .map(|(index, _)| index)
        .collect();
    let [first, second] = assigned[..] else {
        panic!("{assigned:?}");
    };
    let between = &calls[first + 1..second];
    let is_verification = |name: &str| name == "GetResourceLFTags";
    assert!(
        !between.iter().any(|call| is_verification(&call.name)),
        "{between:?}"
    );
}

/// The simulator with a limit of calls under way, as functions and commands use it.
struct LimitedEnvironment;

impl Environment for LimitedEnvironment {
    type Primary = LimitedRegion<SimRegion>;
    type Standby = LimitedRegion<SimRegion>;
    type Ledger = InMemoryLedger;
    type Clock = Sim;
}

#[test]
fn databases_that_are_reconciled_at_once_open_nothing_and_wait_for_each_other_to_no_end() {
    for (limit, max_yields) in [1, 2, 4, 16].into_iter().flat_map(|limit| {
        let times = [1, 3, 8];
        times.into_iter().map(move |time| (limit, time))
    }) {
        let harness = harness_with_lf_tag_changes();
        for number in 0..24 {
            create_database(&harness, &format!("warehouse{number}"));
            create_table(&harness, PRIMARY, &format!("warehouse{number}"), "orders");
        }
        harness.sim.state().set_max_yields_per_call(max_yields);
        let (primary, standby) = (
            LimitedRegion::new(harness.sim.region(PRIMARY, TWINLAKE_ROLE), limit),
            LimitedRegion::new(harness.sim.region(STANDBY, TWINLAKE_ROLE), limit),
        );
        let context = harness.context();
        let context: Context<'_, LimitedEnvironment> = Context {
            primary: &primary,
            standby: &standby,
            ledger: context.ledger,
            clock: context.clock,
            policy: context.policy,
            epoch: context.epoch,
            reader_role: context.reader_role,
            own_roles: context.own_roles,
            max_concurrent_calls: limit,
            approved_deletions: context.approved_deletions,
            may_write_settings: context.may_write_settings,
            stop_at: None,
            scan_window: None,
            lf_tag_lease: None,
            progress: &(),
        };
        let run = twinlake_engine::resync::resync(
            &context,
            harness.resync_depth,
            None,
            None::<&TestQueue>,
            &(),
        );
        let report = run_until_killed(&harness.sim, run).unwrap().unwrap();
        assert_eq!(report.databases, 26, "{limit} at once, {max_yields}");
        assert_eq!(
            excess_access(&harness),
            BTreeSet::new(),
            "{limit} at once, {max_yields}"
        );
    }
}

#[test]
fn time_that_runs_out_before_the_lease_is_not_taken_for_another_run() {
    let harness = harness_with_lf_tag_changes();
    let context = Context {
        stop_at: Some(harness.sim.now()),
        ..harness.context()
    };
    let (scope, prefetched) = (database_scope("sales"), Prefetched::default());
    let run = twinlake_engine::reconcile(&context, &scope, &prefetched);
    let outcome = run_until_killed(&harness.sim, run).unwrap().unwrap();
    assert_eq!(outcome.awaits_lease, None);
    assert!(outcome.out_of_time && outcome.waiting.is_some());
    assert_eq!(
        outcome.unrevoked.len(),
        2,
        "both LF-Tags of the table may narrow"
    );
}

/// Regions in sync but for an LF-Tag on each of 120 tables.
fn harness_with_many_lf_tag_changes() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    let tag = json!({"TagKey": "class", "TagValues": ["public"]});
    call(&harness, PRIMARY, "CreateLFTag", tag);
    create_database(&harness, "sales");
    let tables: Vec<String> = (0..120).map(|number| format!("t{number}")).collect();
    for table in &tables {
        create_table(&harness, PRIMARY, "sales", table);
    }
    harness.settle();
    for table in &tables {
        let tagged = json!({"Resource": table_resource(table),
                            "LFTags": tags(&[("class", "public")])});
        call(&harness, PRIMARY, "AddLFTagsToResource", tagged);
    }
    let _ = harness.sim.state().take_calls();
    harness
}

#[test]
fn a_command_sends_no_lf_tags_once_its_lease_is_about_to_end() {
    let calls_with_pause_before = |call_index: usize| {
        let harness = harness_with_many_lf_tag_changes();
        let (scope, context) = (database_scope("sales"), harness.context());
        let prefetched = Prefetched::default();
        let run = twinlake_engine::reconcile(&context, &scope, &prefetched);
        let (outcome, _) = run_interrupted(&harness.sim, run, call_index, || {
            harness.sim.state().advance_secs(3600);
        });
        assert!(outcome.unwrap().waiting.is_none());
        let calls = harness.sim.state().take_calls();
        calls
            .into_iter()
            .map(|call| call.name)
            .collect::<Vec<String>>()
    };
    let is_tagged = |name: &String| name == "AddLFTagsToResource";
    let calls = calls_with_pause_before(usize::MAX / 2);
    let first = calls.iter().position(is_tagged).unwrap();
    let calls = calls_with_pause_before(first + 1);
    let in_a_row = calls[first..].iter().take_while(|name| is_tagged(name));
    assert_eq!(in_a_row.count(), 50);
    assert_eq!(calls.iter().filter(|name| is_tagged(name)).count(), 120);
}

/// While one reconciliation of a run changes access by LF-Tags, another one of the run waits for its turn. A
/// revoke of the other one does not.
#[test]
fn a_revoke_does_not_wait_for_the_turn_of_another_reconciliation() {
    let mut waited = 0;
    for polls in 1..120 {
        let harness = harness_with_lf_tag_changes();
        let grant = permission_request("Leaver", &json!({"Database": {"Name": "hr"}}));
        call(&harness, PRIMARY, "GrantPermissions", grant.clone());
        call(&harness, STANDBY, "GrantPermissions", grant.clone());
        call(&harness, PRIMARY, "RevokePermissions", grant);
        let is_revoked = || {
            let standby = equality_oracle::contents(&harness.sim.state(), STANDBY);
            !standby.keys().any(|key| key.contains("Leaver"))
        };
        assert!(!is_revoked());
        harness.sim.state().advance_secs(100);
        harness.sim.state().set_max_yields_per_call(1);
        let lease = LfTagLeaseOfRun::default();
        let context = Context {
            lf_tag_lease: Some(&lease),
            ..harness.context()
        };
        let prefetched = Prefetched::default();
        let (hr, sales) = (database_scope("hr"), database_scope("sales"));
        let mut first = pin!(twinlake_engine::reconcile(&context, &sales, &prefetched));
        if poll_times(&mut first, polls) {
            break;
        }
        let mut other = pin!(twinlake_engine::reconcile(&context, &hr, &prefetched));
        let has_ended = poll_times(&mut other, 2_000);
        waited += usize::from(!has_ended);
        assert!(is_revoked(), "after {polls} polls of the first");
        if !has_ended {
            let (first, other) =
                run_until_killed(&harness.sim, futures_util::future::join(first, other)).unwrap();
            assert!(first.unwrap().waiting.is_none() && other.unwrap().waiting.is_none());
            let differences = equality_oracle::differences(&harness.sim.state(), &[]);
            let others = differences.iter().filter(|one| !one.contains("hr"));
            assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new());
        }
    }
    assert!(waited > 5, "{waited}");
}

/// Whoever has a clock that is ahead takes a lease that has not ended. The run that held it sends nothing more
/// that needs it, and the next one restores what it has suspended.
#[test]
fn a_run_sends_nothing_under_a_lease_that_another_has_taken() {
    let is_revoke = |name: &str| name.ends_with("RevokePermissions");
    let run = |call_index: usize| {
        let harness = harness_with_lf_tag_changes();
        let _ = harness.sim.state().take_calls();
        let context = Context {
            stop_at: Some(harness.sim.now().plus_secs(60)),
            ..harness.context()
        };
        let (scope, prefetched) = (database_scope("sales"), Prefetched::default());
        let run = twinlake_engine::reconcile(&context, &scope, &prefetched);
        let (outcome, _) = run_interrupted(&harness.sim, run, call_index, || {
            take_lease_as_another_run(&harness);
        });
        let calls = harness.sim.state().take_calls();
        let names = calls.into_iter().map(|call| call.name);
        (harness, outcome.unwrap(), names.collect::<Vec<String>>())
    };
    let (_, outcome, calls) = run(usize::MAX / 2);
    assert!(outcome.waiting.is_none());
    let suspends = calls.iter().position(|name| is_revoke(name)).unwrap();
    let (harness, outcome, calls) = run(suspends);
    assert!(is_revoke(&calls[suspends]) && outcome.waiting.is_some());
    let needs_lease = ["AddLFTagsToResource", "BatchGrantPermissions"];
    let later = calls[suspends..].iter();
    let sent: Vec<&String> = later
        .filter(|name| needs_lease.contains(&name.as_str()))
        .collect();
    assert_eq!(sent, Vec::<&String>::new());
    assert_eq!(excess_access(&harness), BTreeSet::new());
    harness.sim.state().advance_secs(3600);
    harness.settle();
    assert_eq!(excess_access(&harness), BTreeSet::new());
    let differences = equality_oracle::differences(&harness.sim.state(), &[]);
    assert!(
        !differences.iter().any(|one| one.contains("sales")),
        "{differences:?}"
    );
}

/// Regions in sync, in which another run holds the lease on LF-Tags.
fn harness_with_lease_of_another_run() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    for (key, values) in [("class", ["public", "secret"]), ("team", ["a", "b"])] {
        let tag = json!({"TagKey": key, "TagValues": values});
        call(&harness, PRIMARY, "CreateLFTag", tag);
    }
    create_database(&harness, "sales");
    for table in ["orders", "items"] {
        create_table(&harness, PRIMARY, "sales", table);
    }
    for resource in [
        table_resource("orders"),
        json!({"Database": {"Name": "sales"}}),
    ] {
        let tagged = json!({"Resource": resource, "LFTags": tags(&[("class", "public")])});
        call(&harness, PRIMARY, "AddLFTagsToResource", tagged);
    }
    harness.settle();
    let _ = harness.take_events();
    take_lease_as_another_run(&harness);
    harness
}

fn block_on<T>(harness: &TestHarness, future: impl Future<Output = T>) -> T {
    run_until_killed(&harness.sim, future).unwrap()
}

/// Delivers the events and then the messages of each next attempt. Returns the delays.
fn delays_of_attempts(harness: &TestHarness, attempts: usize) -> Vec<u16> {
    let mut bodies = harness.take_events();
    let mut delays = Vec::new();
    for _ in 0..attempts {
        harness.deliver(&bodies).unwrap();
        let sent = harness.queue.take_with_delays();
        delays.extend(sent.iter().map(|(_, delay)| *delay));
        let messages = sent.iter().map(|(message, _)| message.body());
        bodies = messages.map(String::into_bytes).collect();
    }
    delays
}

#[test]
fn what_may_take_access_away_is_tried_again_after_seconds_while_another_run_holds_the_lease() {
    let harness = harness_with_lease_of_another_run();
    let secret = json!({"Resource": table_resource("orders"),
                        "LFTags": tags(&[("class", "secret")])});
    call(&harness, PRIMARY, "AddLFTagsToResource", secret);
    let delays = delays_of_attempts(&harness, 8);
    assert_eq!(delays.len(), 8, "{delays:?}");
    let are_short = delays.iter().all(|delay| (3..=20).contains(delay));
    assert!(are_short, "{delays:?}");
    let harness = harness_with_lease_of_another_run();
    let new = json!({"Resource": table_resource("items"), "LFTags": tags(&[("team", "a")])});
    call(&harness, PRIMARY, "AddLFTagsToResource", new);
    let delays = delays_of_attempts(&harness, 8);
    assert_eq!(
        delays,
        [5, 10, 20, 40, 80, 160, 320, 640],
        "a new LF-Tag only gives access"
    );
}

#[test]
fn an_lf_tag_is_removed_from_a_database_while_another_run_holds_the_lease() {
    let harness = harness_with_lease_of_another_run();
    let untagged = json!({"Resource": {"Database": {"Name": "sales"}},
                          "LFTags": tags(&[("class", "public")])});
    call(&harness, PRIMARY, "RemoveLFTagsFromResource", untagged);
    harness.deliver(&harness.take_events()).unwrap();
    assert_eq!(
        equality_oracle::differences(&harness.sim.state(), &[]),
        Vec::<String>::new()
    );
    assert_eq!(harness.queue.take(), []);
}

#[test]
fn a_resync_part_that_may_take_access_away_does_not_wait_for_the_end_of_the_lease() {
    let harness = harness_with_lease_of_another_run();
    let secret = json!({"Resource": table_resource("orders"),
                        "LFTags": tags(&[("class", "secret")])});
    call(&harness, PRIMARY, "AddLFTagsToResource", secret);
    let context = Context {
        stop_at: Some(harness.sim.now().plus_secs(1_000_000)),
        ..harness.context()
    };
    let queue = Some(&harness.queue);
    let run = twinlake_engine::resync::resync(&context, harness.resync_depth, None, queue, &());
    let report = block_on(&harness, run).unwrap();
    let outcome = &report.outcome;
    assert!(
        outcome.waiting.is_none() && outcome.unrevoked.is_empty(),
        "the part says so"
    );
    let sent = harness.queue.take_with_delays();
    let delays: Vec<u16> = sent.iter().map(|(_, delay)| *delay).collect();
    assert!(
        !delays.is_empty() && delays.iter().all(|delay| *delay <= 20),
        "{sent:#?}"
    );
}
