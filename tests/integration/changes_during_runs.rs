//! What a run meets that changes while it reads and writes: the primary, the rights of Twinlake's role,
//! and the standby by another run. Each case is tried before every call of the run.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::resync::ResyncReport;
use twinlake_engine::{Clock as _, Context, RetryMessage, RetryQueue};
use twinlake_sim::{
    ApiError, InjectedFault, KillSwitch, Quirk, run_interrupted, run_until_killed, run_watched,
};
use twinlake_tests::access_oracle::AccessComparison;
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{
    ADMIN_ROLE, PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, TestQueue, policy,
};
use twinlake_tests::plans::{access_comparison, excess_access};
use twinlake_tests::requests::{
    all_tables_resource, call, create_database, create_table, permission_request, policy_grant,
    table_request, table_resource, tags,
};

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
pub(crate) fn resync_interrupted<T>(
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

/// While a resync runs, the primary revokes what the Analyst and the Auditor may read, and then shows more. Before whichever
/// call that happens, the standby shows nobody what the primary never showed them.
pub(crate) fn assert_nobody_sees_what_was_never_shown(build: impl Fn() -> TestHarness) {
    let mut shown = 0;
    for call_index in 0.. {
        let harness = build();
        let before = access_comparison(&harness.sim);
        let (_, after) = resync_interrupted(&harness, call_index, || {
            for (role, resource) in revoked_meanwhile() {
                let request = permission_request(role, &resource);
                call(&harness, PRIMARY, "RevokePermissions", request);
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
        let standby = equality_oracle::contents(&state, STANDBY);
        shown += usize::from(standby.keys().any(|key| key.contains("salaries")));
    }
    assert!(shown > 0, "the run saw the change");
}

/// The grants in `sales` that are revoked meanwhile.
pub(crate) fn revoked_meanwhile() -> [(&'static str, Value); 2] {
    [
        ("Analyst", table_resource("orders")),
        ("Auditor", all_tables_resource()),
    ]
}

#[test]
fn nobody_sees_what_the_primary_never_showed_them() {
    assert_nobody_sees_what_was_never_shown(harness_in_sync);
}

/// Regions in sync: the Clerk may read one column of a table by a data cells filter, and Bob what is
/// secret, which is nothing.
fn harness_with_filter_and_policy_grant() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    let tag = json!({"TagKey": "class", "TagValues": ["public", "secret"]});
    call(&harness, PRIMARY, "CreateLFTag", tag);
    create_database(&harness, "sales");
    call(
        &harness,
        PRIMARY,
        "CreateTable",
        table_request("sales", "clients", &["id", "ssn"]),
    );
    create_table(&harness, PRIMARY, "sales", "keep");
    let filter = json!({"TableData": filter_data(&["id"])});
    call(&harness, PRIMARY, "CreateDataCellsFilter", filter);
    for grant in [
        permission_request("Clerk", &filter_resource()),
        policy_grant("Bob", &[("class", "secret")]),
    ] {
        call(&harness, PRIMARY, "GrantPermissions", grant);
    }
    harness.settle();
    assert!(excess_access(&harness).is_empty());
    harness
}

fn filter_data(columns: &[&str]) -> Value {
    json!({"TableCatalogId": "111122223333", "DatabaseName": "sales", "TableName": "clients",
           "Name": "some", "ColumnNames": columns, "RowFilter": {"AllRowsWildcard": {}}})
}

fn filter_resource() -> Value {
    json!({"DataCellsFilter": {"TableCatalogId": "111122223333", "DatabaseName": "sales",
                               "TableName": "clients", "Name": "some"}})
}

#[test]
fn nobody_sees_by_a_filter_or_lf_tags_what_the_primary_never_showed_them() {
    let mut shown = [0; 2];
    for call_index in 0.. {
        let harness = harness_with_filter_and_policy_grant();
        let before = access_comparison(&harness.sim);
        let (context, depth) = (harness.context(), harness.resync_depth);
        let run = twinlake_engine::resync::resync(&context, depth, None, None::<&TestQueue>, &());
        let change = || {
            for revoke in [
                permission_request("Clerk", &filter_resource()),
                policy_grant("Bob", &[("class", "secret")]),
            ] {
                call(&harness, PRIMARY, "RevokePermissions", revoke);
            }
            let filter = json!({"TableData": filter_data(&["id", "ssn"])});
            call(&harness, PRIMARY, "UpdateDataCellsFilter", filter);
            let tagged = json!({"Resource": table_resource("keep"),
                                "LFTags": tags(&[("class", "secret")])});
            call(&harness, PRIMARY, "AddLFTagsToResource", tagged);
            access_comparison(&harness.sim)
        };
        let watch = |after: &AccessComparison| {
            let state = harness.sim.state();
            let (before, after) = (before.excess(&state), after.excess(&state));
            let never_shown: Vec<_> = before.intersection(&after).collect();
            assert!(
                never_shown.is_empty(),
                "changed before call {call_index}: {never_shown:?}"
            );
        };
        let (report, after) = run_watched(&harness.sim, run, call_index, change, watch);
        report.unwrap();
        let Some(after) = after else {
            break;
        };
        watch(&after);
        let contents = equality_oracle::contents(&harness.sim.state(), STANDBY);
        let has = |text: &str| {
            contents
                .values()
                .any(|value| value.to_string().contains(text))
        };
        shown[0] += usize::from(has("ssn\"],") || has("ssn\"]}"));
        shown[1] += usize::from(has("secret"));
    }
    assert!(shown.iter().all(|times| *times > 0), "{shown:?}");
}

/// Takes the rights of Twinlake's role in the primary away: all of them, or only those of an
/// administrator, so that it still sees the objects and not the grants on them.
fn take_rights_away(harness: &TestHarness, all: bool) {
    if all {
        harness
            .sim
            .state()
            .remove_read_access(PRIMARY, TWINLAKE_ROLE);
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
            let _ = harness.sim.state().take_calls();
            let (_, done) = resync_interrupted(&harness, call_index, || {
                take_rights_away(&harness, all);
            });
            if done.is_none() {
                break;
            }
            let calls = harness.sim.state().take_calls();
            let mut revokes = calls.iter().filter(|call| call.name.contains("Revoke"));
            assert!(
                revokes.next().is_none(),
                "before call {call_index}: the run revokes what it has granted"
            );
            let after = equality_oracle::contents(&harness.sim.state(), STANDBY);
            let is_missing = |key: &&String| !after.contains_key(*key);
            let missing: Vec<&String> = before.keys().filter(is_missing).collect();
            assert!(missing.is_empty(), "before call {call_index}: {missing:?}");
        }
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

#[test]
fn a_message_of_a_function_that_died_after_its_grant_is_looked_at_again() {
    let role = "Late";
    let grant = permission_request(role, &table_resource("keep"));
    let mut left = 0;
    for call_index in 0.. {
        let harness = harness_in_sync();
        let _ = harness.take_events();
        call(&harness, PRIMARY, "GrantPermissions", grant.clone());
        let events = harness.take_events();
        harness.sim.state().set_kill_switch(KillSwitch {
            call_index,
            after_effect: true,
        });
        if harness.deliver(&events).is_some() {
            break;
        }
        harness.sim.state().clear_call_faults();
        // Another function handles the revoke while the first one has read the grant and not made it.
        call(&harness, PRIMARY, "RevokePermissions", grant.clone());
        harness.sim.state().set_stale_grant_listings(STANDBY, true);
        let context = harness.context();
        harness.deliver_messages(&context, &events, true).unwrap();
        left += usize::from(!excess_access(&harness).is_empty());
        harness.sim.state().set_stale_grant_listings(STANDBY, false);
        harness.deliver_retries();
        assert!(
            excess_access(&harness).is_empty(),
            "killed at call {call_index}"
        );
    }
    assert!(left > 0, "no listing was older than the grant");
}

/// AWS may list CREATE_DATABASE for days after its revoke (LF-07), also in the primary.
#[test]
fn a_revoked_create_database_is_revoked_although_the_primary_still_lists_it() {
    for with_grant_option in [false, true] {
        for prefix in ["", "Batch"] {
            check_revoked_create_database(with_grant_option, prefix);
        }
    }
}

fn create_database_request() -> Value {
    let maker = permission_request("Maker", &json!({"Catalog": {}}));
    json!({"Principal": maker["Principal"], "Resource": maker["Resource"],
           "Permissions": ["CREATE_DATABASE"]})
}

/// Whether the Maker may create databases in the standby.
fn may_create_databases(harness: &TestHarness) -> bool {
    let granted = equality_oracle::contents(&harness.sim.state(), STANDBY);
    let mut granted = granted.iter();
    granted.any(|(key, value)| key.contains("Maker") && value.contains("CREATE_DATABASE"))
}

/// One function handles a grant, and another one its revoke, while the primary lists the grant: neither leaves
/// it in the standby, whichever is interrupted where.
#[test]
fn a_grant_that_stays_listed_is_not_left_by_functions_on_it_and_on_its_revoke_at_the_same_time() {
    for is_revoke_interrupted in [false, true] {
        for call_index in 0.. {
            let harness = harness_in_sync();
            let _ = harness.take_events();
            let request = create_database_request();
            call(&harness, PRIMARY, "GrantPermissions", request.clone());
            let granted = harness.take_events();
            let mut state = harness.sim.state();
            state.set_quirk(Quirk::RevokedCreateDatabaseStaysListed, true);
            state.advance_secs(10);
            drop(state);
            call(&harness, PRIMARY, "RevokePermissions", request);
            let revoked = harness.take_events();
            harness.sim.state().advance_secs(10);
            let (first, second) = match is_revoke_interrupted {
                true => (&revoked, &granted),
                false => (&granted, &revoked),
            };
            let context = harness.context();
            let run = harness.process_messages(&context, first, false);
            let (_, other) = run_interrupted(&harness.sim, run, call_index, || {
                harness.deliver(second).unwrap()
            });
            if other.is_none() {
                assert!(call_index > 4, "{call_index} calls");
                break;
            }
            harness.deliver_retries();
            assert!(
                !may_create_databases(&harness),
                "the revoke is interrupted: {is_revoke_interrupted}, before call {call_index}"
            );
        }
    }
}

fn check_revoked_create_database(with_grant_option: bool, prefix: &str) {
    let harness = harness_in_sync();
    let mut maker = create_database_request();
    if with_grant_option {
        maker["PermissionsWithGrantOption"] = json!(["CREATE_DATABASE"]);
    }
    let request = match prefix {
        "" => maker,
        _ => {
            maker["Id"] = json!("1");
            json!({"Entries": [maker]})
        }
    };
    let is_granted = || may_create_databases(&harness);
    let deliver = |events: &[Vec<u8>]| {
        harness.sim.state().advance_secs(10);
        harness.deliver(events).unwrap();
    };
    let change = |action: &str| {
        let name = format!("{prefix}{action}Permissions");
        call(&harness, PRIMARY, &name, request.clone());
        harness.take_events()
    };
    let granted = change("Grant");
    deliver(&granted);
    assert!(is_granted());
    harness
        .sim
        .state()
        .set_quirk(Quirk::RevokedCreateDatabaseStaysListed, true);
    deliver(&change("Revoke"));
    assert!(
        !is_granted(),
        "{prefix} {with_grant_option}: the primary lists it and has revoked it"
    );
    deliver(&granted);
    let report = harness.resync().unwrap();
    assert!(
        !is_granted(),
        "an older event, and a listing, prove nothing"
    );
    let findings = report.outcome.findings.iter();
    let told = findings.filter(|finding| finding.detail.contains("grant it again"));
    assert_eq!(told.count(), 1);
}

/// A batch call succeeds although its caller has no right to any of its entries.
#[test]
fn a_failed_revoke_in_a_batch_takes_nothing_from_a_table_that_somebody_else_made() {
    let harness = harness_in_sync();
    let orders = json!({"DatabaseName": "sales", "Name": "orders"});
    call(&harness, STANDBY, "DeleteTable", orders);
    let other = table_request("sales", "orders", &["id", "salary"]);
    call(&harness, STANDBY, "CreateTable", other);
    let carol = permission_request("Carol", &table_resource("orders"));
    call(&harness, STANDBY, "GrantPermissions", carol.clone());
    harness.settle();
    let is_granted = || {
        let granted = equality_oracle::contents(&harness.sim.state(), STANDBY);
        let mut granted = granted.iter();
        granted.any(|(key, value)| key.contains("Carol") && value.contains("SELECT"))
    };
    let _ = harness.take_events();
    let mut entry = carol;
    entry["Id"] = json!("1");
    call(
        &harness,
        PRIMARY,
        "BatchRevokePermissions",
        json!({"Entries": [entry]}),
    );
    let events = harness.take_events();
    assert!(String::from_utf8_lossy(&events[0]).contains("No permissions revoked"));
    harness.deliver(&events).unwrap();
    assert!(is_granted());
}

/// A run is about to create an LF-Tag and an administrator, and goes on after another run that finds neither
/// Region to have them. What it makes is Twinlake's, and goes once the primary lacks it.
#[test]
fn what_a_run_is_about_to_create_stays_managed_whatever_another_run_finds() {
    let mut is_made = [0; 2];
    for call_index in 0.. {
        let harness = TestHarness::new(policy("data-lake-settings = \"merge\""));
        create_database(&harness, "sales");
        create_table(&harness, PRIMARY, "sales", "orders");
        let keep = json!({"TagKey": "keep", "TagValues": ["yes"]});
        call(&harness, PRIMARY, "CreateLFTag", keep);
        let put_admins = |names: &[&str]| {
            let principals = names
                .iter()
                .map(|name| json!({"DataLakePrincipalIdentifier": name}));
            let admins: Vec<Value> = principals.collect();
            let settings = json!({"DataLakeSettings": {"DataLakeAdmins": admins}});
            call(&harness, PRIMARY, "PutDataLakeSettings", settings);
        };
        let newcomer = "arn:aws:iam::111122223333:role/Newcomer";
        put_admins(&[TWINLAKE_ROLE, ADMIN_ROLE]);
        harness.settle();
        put_admins(&[TWINLAKE_ROLE, ADMIN_ROLE, newcomer]);
        let tag = json!({"TagKey": "class", "TagValues": ["secret"]});
        call(&harness, PRIMARY, "CreateLFTag", tag);
        let has = |text: &str| {
            let standby = equality_oracle::contents(&harness.sim.state(), STANDBY);
            format!("{standby:?}").contains(text)
        };
        let (_, meanwhile) = resync_interrupted(&harness, call_index, || {
            let are_missing = [!has("secret"), !has("Newcomer")];
            call(&harness, PRIMARY, "DeleteLFTag", json!({"TagKey": "class"}));
            put_admins(&[TWINLAKE_ROLE, ADMIN_ROLE]);
            harness.resync().unwrap();
            are_missing
        });
        let Some(are_missing) = meanwhile else {
            break;
        };
        for (count, is_missing) in is_made.iter_mut().zip(are_missing) {
            *count += usize::from(is_missing);
        }
        for _ in 0..2 {
            harness.sim.state().advance_secs(3_600);
            harness.resync().unwrap();
        }
        let left = [has("secret"), has("Newcomer")];
        assert_eq!(left, [false; 2], "before call {call_index}");
    }
    assert!(is_made.iter().all(|count| *count > 1), "{is_made:?}");
}
