//! What a run meets that changes while it reads and writes: the primary, the rights of Twinlake's role,
//! and the standby by another run. Each case is tried before every call of the run.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::{CallError, CallErrorKind, Name, Scope};
use twinlake_engine::observe::Prefetched;
use twinlake_engine::resync::ResyncReport;
use twinlake_engine::{
    Clock as _, Context, Environment, InMemoryLedger, LfTagLeaseOfRun, LimitedRegion, RetryMessage,
    RetryQueue,
};
use twinlake_sim::{
    ApiError, InjectedFault, Quirk, Sim, SimRegion, run_interrupted, run_until_killed, yield_once,
};
use twinlake_tests::access_oracle::AccessComparison;
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{
    ADMIN_ROLE, PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, TestQueue, policy,
};
use twinlake_tests::history::table_input;
use twinlake_tests::plans::{access_comparison, excess_access};

fn call(harness: &TestHarness, region: &str, name: &str, request: Value) {
    harness.call(region, name, &request).unwrap();
}

fn create_database(harness: &TestHarness, name: &str) {
    let input = json!({"Name": name, "CreateTableDefaultPermissions": []});
    call(
        harness,
        PRIMARY,
        "CreateDatabase",
        json!({"DatabaseInput": input}),
    );
}

fn table_request(database: &str, table: &str, columns: &[&str]) -> Value {
    json!({"DatabaseName": database, "TableInput": table_input(database, table, columns)})
}

fn create_table(harness: &TestHarness, region: &str, database: &str, table: &str) {
    call(
        harness,
        region,
        "CreateTable",
        table_request(database, table, &["id"]),
    );
}

fn permission_request(role: &str, resource: &Value) -> Value {
    let role = format!("arn:aws:iam::111122223333:role/{role}");
    json!({"Principal": {"DataLakePrincipalIdentifier": role}, "Resource": resource,
           "Permissions": ["SELECT"]})
}

fn table_resource(table: &str) -> Value {
    json!({"Table": {"DatabaseName": "sales", "Name": table}})
}

fn all_tables_resource() -> Value {
    json!({"Table": {"DatabaseName": "sales", "TableWildcard": {}}})
}

/// Regions in sync: the Analyst may read one table of the database, the Auditor all of them.
fn harness_in_sync() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    create_database(&harness, "sales");
    for table in ["keep", "orders", "refunds"] {
        create_table(&harness, PRIMARY, "sales", table);
    }
    let grants = [
        ("Analyst", table_resource("orders")),
        ("Auditor", all_tables_resource()),
        ("Keeper", table_resource("keep")),
    ];
    for (role, resource) in &grants {
        call(
            &harness,
            PRIMARY,
            "GrantPermissions",
            permission_request(role, resource),
        );
    }
    harness.settle();
    assert!(excess_access(&harness).is_empty());
    harness
}

/// Runs a resync of everything, with something that happens before its call with this index. Returns the
/// report and what `meanwhile` returned; `None` if there is no such call.
fn resync_interrupted<T>(
    harness: &TestHarness,
    call_index: usize,
    meanwhile: impl FnOnce() -> T,
) -> (ResyncReport, Option<T>) {
    let context = harness.context();
    let depth = harness.resync_depth;
    let run = twinlake_engine::resync::resync(&context, depth, None, None::<&TestQueue>, &());
    let (report, result) = run_interrupted(&harness.sim, run, call_index, meanwhile);
    (report.unwrap(), result)
}

#[test]
fn nobody_sees_what_the_primary_never_showed_them() {
    let mut shown = 0;
    for call_index in 0.. {
        let harness = harness_in_sync();
        let before = access_comparison(&harness.sim);
        let (_, after) = resync_interrupted(&harness, call_index, || {
            let revoked = [
                ("Analyst", table_resource("orders")),
                ("Auditor", all_tables_resource()),
            ];
            for (role, resource) in &revoked {
                call(
                    &harness,
                    PRIMARY,
                    "RevokePermissions",
                    permission_request(role, resource),
                );
            }
            let update = table_request("sales", "orders", &["id", "ssn"]);
            call(&harness, PRIMARY, "UpdateTable", update);
            create_table(&harness, PRIMARY, "sales", "salaries");
            access_comparison(&harness.sim)
        });
        let Some(after) = after else {
            break;
        };
        let state = harness.sim.state();
        let excess = |comparison: &AccessComparison| comparison.excess(&state);
        let never_shown: BTreeSet<_> = excess(&before)
            .intersection(&excess(&after))
            .cloned()
            .collect();
        assert!(
            never_shown.is_empty(),
            "before call {call_index}: {never_shown:?}"
        );
        shown += usize::from(
            equality_oracle::contents(&state, STANDBY)
                .keys()
                .any(|key| key.contains("salaries")),
        );
    }
    assert!(shown > 0, "the run saw the change");
}

/// Takes the rights of Twinlake's role in the primary away: all of them, or only those of an
/// administrator, so that it still sees the objects and not the grants on them.
fn take_rights_away(harness: &TestHarness, all: bool) {
    if all {
        harness.sim.state().remove_access(PRIMARY, TWINLAKE_ROLE);
        return;
    }
    let mut state = harness.sim.state();
    state.set_quirk(Quirk::OthersListTheirOwnGrants, true);
    drop(state);
    let admins = json!([{"DataLakePrincipalIdentifier": ADMIN_ROLE}]);
    let settings = json!({"DataLakeSettings": {"DataLakeAdmins": admins}});
    call(harness, PRIMARY, "PutDataLakeSettings", settings);
}

#[test]
fn nothing_is_taken_away_that_twinlake_may_not_see_any_more() {
    for all in [true, false] {
        for call_index in 0.. {
            let harness = harness_in_sync();
            // The run has something to write, and reads again after it.
            let late = permission_request("Late", &table_resource("orders"));
            call(&harness, PRIMARY, "GrantPermissions", late);
            create_table(&harness, PRIMARY, "sales", "late");
            let before = equality_oracle::contents(&harness.sim.state(), STANDBY);
            let (_, done) = resync_interrupted(&harness, call_index, || {
                take_rights_away(&harness, all);
            });
            if done.is_none() {
                break;
            }
            let after = equality_oracle::contents(&harness.sim.state(), STANDBY);
            let is_missing = |key: &&String| !after.contains_key(*key);
            let missing: Vec<&String> = before.keys().filter(is_missing).collect();
            assert!(missing.is_empty(), "before call {call_index}: {missing:?}");
        }
    }
}

fn tags(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(key, value)| json!({"TagKey": key, "TagValues": [value]}))
        .collect()
}

fn policy_grant(role: &str, pairs: &[(&str, &str)]) -> Value {
    let resource = json!({"LFTagPolicy": {"ResourceType": "TABLE", "Expression": tags(pairs)}});
    permission_request(role, &resource)
}

/// Regions in sync but for two changes whose events are lost. In `sales`, a table changes two LF-Tags at
/// once, for which a grant by LF-Tags has to be suspended. In `hr`, the database gets LF-Tags of which a
/// table of somebody else in the standby must not inherit any while that grant exists, and another table
/// changes, so that the database is planned twice.
fn harness_with_lf_tag_changes() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    for (key, values) in [("class", ["public", "secret"]), ("team", ["a", "b"])] {
        let tag = json!({"TagKey": key, "TagValues": values});
        call(&harness, PRIMARY, "CreateLFTag", tag);
    }
    for database in ["hr", "sales"] {
        create_database(&harness, database);
        for table in ["keep", "orders"] {
            create_table(&harness, PRIMARY, database, table);
        }
    }
    let assign = |resource: Value, pairs: &[(&str, &str)]| {
        let request = json!({"Resource": resource, "LFTags": tags(pairs)});
        call(&harness, PRIMARY, "AddLFTagsToResource", request);
    };
    assign(
        table_resource("orders"),
        &[("class", "public"), ("team", "a")],
    );
    let grants = [
        ("Analyst", [("class", "public"), ("team", "b")]),
        ("Bob", [("class", "secret"), ("team", "a")]),
    ];
    for (role, pairs) in &grants {
        call(
            &harness,
            PRIMARY,
            "GrantPermissions",
            policy_grant(role, pairs),
        );
    }
    harness.settle();
    create_table(&harness, STANDBY, "hr", "theirs");
    assert!(excess_access(&harness).is_empty());
    assign(
        table_resource("orders"),
        &[("class", "secret"), ("team", "b")],
    );
    assign(
        json!({"Database": {"Name": "hr"}}),
        &[("class", "public"), ("team", "b")],
    );
    call(
        &harness,
        PRIMARY,
        "UpdateTable",
        table_request("hr", "orders", &["id", "name"]),
    );
    create_table(&harness, PRIMARY, "hr", "late");
    let _ = harness.take_events();
    harness
}

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
    for (call_time, head_start) in [1, 3, 8].into_iter().flat_map(|call_time| {
        let starts = (0..240).step_by(3);
        starts.map(move |head_start| (call_time, head_start))
    }) {
        let harness = harness_with_lf_tag_changes();
        harness.sim.state().advance_secs(100);
        harness.sim.state().set_call_time(call_time);
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
            "{call_time}, {head_start}"
        );
    }
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
    harness.sim.state().set_call_time(1);
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
    for (limit, call_time) in [1, 2, 4, 16].into_iter().flat_map(|limit| {
        let times = [1, 3, 8];
        times.into_iter().map(move |time| (limit, time))
    }) {
        let harness = harness_with_lf_tag_changes();
        for number in 0..24 {
            create_database(&harness, &format!("warehouse{number}"));
            create_table(&harness, PRIMARY, &format!("warehouse{number}"), "orders");
        }
        harness.sim.state().set_call_time(call_time);
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
        };
        let run = twinlake_engine::resync::resync(
            &context,
            harness.resync_depth,
            None,
            None::<&TestQueue>,
            &(),
        );
        let report = run_until_killed(&harness.sim, run).unwrap().unwrap();
        assert_eq!(report.databases, 26, "{limit} at once, {call_time}");
        assert_eq!(
            excess_access(&harness),
            BTreeSet::new(),
            "{limit} at once, {call_time}"
        );
    }
}

#[test]
fn an_opt_in_is_removed_only_after_two_listings_lack_it() {
    let harness = harness_in_sync();
    let principal =
        json!({"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Analyst"});
    let opt_in = json!({"Principal": principal, "Resource": table_resource("orders")});
    call(
        &harness,
        PRIMARY,
        "CreateLakeFormationOptIn",
        opt_in.clone(),
    );
    harness.settle();
    call(&harness, PRIMARY, "DeleteLakeFormationOptIn", opt_in);
    let _ = harness.sim.state().take_calls();
    harness.settle();
    let calls = harness.sim.state().take_calls();
    let removed = calls
        .iter()
        .position(|call| call.name == "DeleteLakeFormationOptIn");
    let before = calls.iter().take(removed.unwrap());
    let listings =
        before.filter(|call| call.region == PRIMARY && call.name == "ListLakeFormationOptIns");
    assert_eq!(listings.count(), 2);
}

#[test]
fn a_listing_that_the_primary_does_not_support_removes_nothing() {
    let harness = harness_in_sync();
    let principal =
        json!({"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Analyst"});
    let opt_in = json!({"Principal": principal, "Resource": table_resource("orders")});
    call(&harness, PRIMARY, "CreateLakeFormationOptIn", opt_in);
    let tag = json!({"TagKey": "class", "TagValues": ["public"]});
    call(&harness, PRIMARY, "CreateLFTag", tag);
    harness.settle();
    let before = equality_oracle::contents(&harness.sim.state(), STANDBY);
    for name in ["ListLakeFormationOptIns", "ListLFTags"] {
        let error = ApiError::new(
            CallErrorKind::Unsupported,
            "UnsupportedOperationException",
            "no",
        );
        let fault = InjectedFault::once(PRIMARY, name, error);
        harness.sim.state().inject_fault(InjectedFault {
            times: usize::MAX,
            ..fault
        });
    }
    harness.resync().unwrap();
    assert_eq!(
        equality_oracle::contents(&harness.sim.state(), STANDBY),
        before
    );
}

/// A queue that is out of reach.
struct UnreachableQueue;

impl RetryQueue for UnreachableQueue {
    async fn send(&self, _: &RetryMessage, _: u16) -> Result<(), CallError> {
        let kind = CallErrorKind::Unavailable;
        Err(CallError::new(kind, "SendMessage", STANDBY, "injected"))
    }
}

#[test]
fn an_interrupted_resync_reports_what_it_did() {
    let harness = TestHarness::new(policy(""));
    for number in 0..12 {
        create_database(&harness, &format!("db{number}"));
        create_table(&harness, PRIMARY, &format!("db{number}"), "orders");
    }
    let context = harness.context();
    let context = Context {
        stop_at: Some(harness.sim.now().plus_secs(3)),
        ..context
    };
    let run = twinlake_engine::resync::resync(
        &context,
        harness.resync_depth,
        None,
        Some(&UnreachableQueue),
        &(),
    );
    let report = run_until_killed(&harness.sim, run).unwrap().unwrap();
    assert!(report.interrupted_by.is_some());
    assert!(
        report.databases > 0 && report.databases < 12,
        "{}",
        report.databases
    );
    assert!(report.outcome.counts.total() >= report.databases);
    assert_eq!(report.verified_at, None);
}

#[test]
fn a_named_revoke_that_the_primary_still_lists_is_looked_at_again() {
    let harness = harness_in_sync();
    let _ = harness.take_events();
    let revoke = permission_request("Analyst", &table_resource("orders"));
    call(&harness, PRIMARY, "RevokePermissions", revoke);
    harness.sim.state().set_stale_grant_listings(PRIMARY, true);
    let events = harness.take_events();
    harness.deliver(&events).unwrap();
    assert!(
        !excess_access(&harness).is_empty(),
        "AWS answered with the state before the revoke"
    );
    let mut delays = Vec::new();
    for _ in 0..5 {
        let messages = harness.queue.take_with_delays();
        delays.extend(messages.iter().map(|(_, delay)| *delay));
        let messages = messages.iter().map(|(message, _)| message);
        let bodies: Vec<Vec<u8>> = messages.map(|one| one.body().into_bytes()).collect();
        if delays.len() == 2 {
            harness.sim.state().set_stale_grant_listings(PRIMARY, false);
        }
        harness.deliver(&bodies).unwrap();
    }
    assert_eq!(delays, [80, 640]);
    assert!(excess_access(&harness).is_empty());
}
