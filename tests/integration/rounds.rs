//! The limit of rounds of a reconciliation: it is for rounds that write. Those that only read again, or
//! plan again without what has to wait, leave the full number of attempts to a write that meets contention.

use serde_json::{Value, json};
use std::pin::pin;
use twinlake_core::scope::ReadRequest;
use twinlake_core::{CallErrorKind, Facet, LfSubject, Name, Scope, Step, Subject, TableId};
use twinlake_engine::observe::Prefetched;
use twinlake_engine::reconcile::MAX_ROUNDS;
use twinlake_engine::{Context, LfTagLeaseOfRun, ReconcileOutcome};
use twinlake_sim::{ApiError, InjectedFault, run_interrupted, run_until_killed, yield_once};
use twinlake_tests::harness::{ACCOUNT, PRIMARY, STANDBY, TestHarness, policy};
use twinlake_tests::lf_tag_changes::{
    harness_with_lf_tag_changes, poll_times, take_lease_as_another_run,
};
use twinlake_tests::requests::{
    call, create_database, create_table, permission_request, policy_grant, table_request,
    table_resource, tags,
};

/// Attempts of a write within the limit of rounds, without the last one.
const FAILURES: usize = MAX_ROUNDS as usize - 1;

/// Makes a write of the standby fail in each round but the last one that may write.
fn fail_until_the_last_round(harness: &TestHarness, write: &str) {
    let contended = ApiError::new(
        CallErrorKind::Contended,
        "ConcurrentModificationException",
        "injected",
    );
    harness.sim.state().inject_fault(InjectedFault {
        times: FAILURES,
        ..InjectedFault::once(STANDBY, write, contended)
    });
}

/// Asserts that the run made its write in the last attempt, after more rounds than write.
fn assert_made_at_last(outcome: &ReconcileOutcome) {
    assert!(outcome.is_settled(), "{outcome:?}");
    assert!(!outcome.applied.is_empty(), "{outcome:?}");
    // The last round finds nothing left.
    assert!(
        outcome.rounds > MAX_ROUNDS + 1,
        "no round was repeated: {}",
        outcome.rounds
    );
}

/// Regions in sync, with a table that the Analyst may read.
fn harness_in_sync() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    create_database(&harness, "sales");
    create_table(&harness, PRIMARY, "sales", "orders");
    let grant = permission_request("Analyst", &table_resource("orders"));
    call(&harness, PRIMARY, "GrantPermissions", grant);
    harness
}

fn orders() -> TableId {
    let name = |text| Name::new(text).unwrap();
    TableId::new(name("sales"), name("orders"))
}

fn scope_of(subject: Subject, facet: Facet) -> Scope {
    let mut scope = Scope::default();
    let facets = [Facet::Definition, facet];
    scope.add(subject, ReadRequest::for_facets(&facets));
    scope
}

#[test]
fn a_write_without_further_reads_has_as_many_attempts_as_rounds() {
    for (failures, is_made) in [(FAILURES, true), (FAILURES + 1, false)] {
        let harness = harness_in_sync();
        harness.settle();
        let update = table_request("sales", "orders", &["id", "name"]);
        call(&harness, PRIMARY, "UpdateTable", update);
        fail_until_the_last_round(&harness, "UpdateTable");
        if failures > FAILURES {
            fail_until_the_last_round(&harness, "UpdateTable");
        }
        let scope = scope_of(Subject::Table(orders()), Facet::Definition);
        let outcome = harness.reconcile(&scope).unwrap();
        assert_eq!(outcome.is_settled(), is_made, "{outcome:?}");
    }
}

#[test]
fn what_a_plan_asks_for_takes_no_attempt() {
    let harness = harness_in_sync();
    let tag = json!({"TagKey": "class", "TagValues": ["public", "secret"]});
    call(&harness, PRIMARY, "CreateLFTag", tag);
    let tagged =
        json!({"Resource": table_resource("orders"), "LFTags": tags(&[("class", "public")])});
    call(&harness, PRIMARY, "AddLFTagsToResource", tagged);
    harness.settle();
    let grant = policy_grant("Analyst", &[("class", "public")]);
    call(&harness, PRIMARY, "GrantPermissions", grant);
    fail_until_the_last_round(&harness, "GrantPermissions");
    let permissions = Subject::LakeFormation(LfSubject::Permissions);
    let outcome = harness.reconcile(&scope_of(permissions, Facet::Grants));
    assert_made_at_last(&outcome.unwrap());
}

fn filter_on_orders() -> Value {
    json!({"TableCatalogId": ACCOUNT, "DatabaseName": "sales", "TableName": "orders", "Name": "rows",
           "ColumnNames": ["id"], "RowFilter": {"AllRowsWildcard": {}}})
}

#[test]
fn the_listing_of_all_grants_before_a_revoke_takes_no_attempt() {
    let harness = harness_in_sync();
    harness.settle();
    let revoked = permission_request("Analyst", &table_resource("orders"));
    call(&harness, PRIMARY, "RevokePermissions", revoked);
    fail_until_the_last_round(&harness, "RevokePermissions");
    let scope = scope_of(Subject::Table(orders()), Facet::Grants);
    assert_made_at_last(&harness.reconcile(&scope).unwrap());
}

#[test]
fn a_second_look_at_what_is_removed_takes_no_attempt() {
    let harness = harness_in_sync();
    let filter = json!({"TableData": filter_on_orders()});
    call(&harness, PRIMARY, "CreateDataCellsFilter", filter);
    harness.settle();
    let deleted = json!({"TableCatalogId": ACCOUNT, "DatabaseName": "sales", "TableName": "orders",
                         "Name": "rows"});
    call(&harness, PRIMARY, "DeleteDataCellsFilter", deleted);
    fail_until_the_last_round(&harness, "DeleteDataCellsFilter");
    let scope = scope_of(Subject::Table(orders()), Facet::DataCellsFilters);
    assert_made_at_last(&harness.reconcile(&scope).unwrap());
}

#[test]
fn a_second_look_at_the_grants_on_what_is_shown_takes_no_attempt() {
    let harness = harness_in_sync();
    harness.settle();
    let update = table_request("sales", "orders", &["id", "name"]);
    call(&harness, PRIMARY, "UpdateTable", update);
    fail_until_the_last_round(&harness, "UpdateTable");
    assert_made_at_last(&harness.resync().unwrap().outcome);
}

#[test]
fn reading_again_after_another_run_had_the_lease_takes_no_attempt() {
    let mut repeated = 0;
    for call_index in 0.. {
        let harness = harness_with_lf_tag_changes();
        let scope = Scope::database(Name::new("sales").unwrap());
        let (context, prefetched) = (harness.context(), Prefetched::default());
        let run = twinlake_engine::reconcile(&context, &scope, &prefetched);
        let (outcome, meanwhile) = run_interrupted(&harness.sim, run, call_index, || {
            let other = Scope::database(Name::new("hr").unwrap());
            harness.reconcile(&other).unwrap();
            fail_until_the_last_round(&harness, "AddLFTagsToResource");
        });
        if meanwhile.is_none() {
            break;
        }
        let outcome = outcome.unwrap();
        let is_assignment = |step: &Step| matches!(step, Step::PutAttachment { .. });
        assert!(
            outcome.applied.iter().any(is_assignment),
            "before call {call_index}: {outcome:?}"
        );
        repeated += usize::from(outcome.rounds > MAX_ROUNDS + 1);
    }
    assert!(repeated > 0);
}

/// A database with a change of LF-Tags, which needs the lease, and one of a table, which does not.
fn harness_with_two_changes() -> TestHarness {
    let harness = harness_in_sync();
    let tag = json!({"TagKey": "class", "TagValues": ["public", "secret"]});
    call(&harness, PRIMARY, "CreateLFTag", tag);
    harness.settle();
    let tagged =
        json!({"Resource": table_resource("orders"), "LFTags": tags(&[("class", "public")])});
    call(&harness, PRIMARY, "AddLFTagsToResource", tagged);
    let revoked = permission_request("Analyst", &table_resource("orders"));
    call(&harness, PRIMARY, "RevokePermissions", revoked);
    harness
}

/// Asserts that the revoke was made, in the last attempt.
fn assert_revoked(outcome: &ReconcileOutcome, moment: &str) {
    let is_revoke = |step: &Step| matches!(step, Step::Revoke { .. });
    assert!(
        outcome.applied.iter().any(is_revoke),
        "{moment}: {outcome:?}"
    );
}

#[test]
fn planning_again_without_what_waits_for_the_lease_takes_no_attempt() {
    let harness = harness_with_two_changes();
    take_lease_as_another_run(&harness);
    fail_until_the_last_round(&harness, "RevokePermissions");
    let scope = Scope::database(Name::new("sales").unwrap());
    let outcome = harness.reconcile(&scope).unwrap();
    assert!(outcome.waiting.is_some(), "the LF-Tag waits: {outcome:?}");
    assert_revoked(&outcome, "while another run has the lease");
}

#[test]
fn planning_again_without_what_waits_for_its_turn_takes_no_attempt() {
    for head_start in (0..200).step_by(4) {
        let harness = harness_with_two_changes();
        create_database(&harness, "hr");
        create_table(&harness, PRIMARY, "hr", "orders");
        let grant = policy_grant("Bob", &[("class", "secret")]);
        call(&harness, PRIMARY, "GrantPermissions", grant);
        harness.sim.state().set_max_yields_per_call(5);
        fail_until_the_last_round(&harness, "RevokePermissions");
        let lease = LfTagLeaseOfRun::default();
        let context = Context {
            lf_tag_lease: Some(&lease),
            ..harness.context()
        };
        let prefetched = Prefetched::default();
        let permissions = Subject::LakeFormation(LfSubject::Permissions);
        let alone = scope_of(permissions, Facet::Grants);
        let scope = Scope::database(Name::new("sales").unwrap());
        let later = async {
            for _ in 0..head_start {
                yield_once().await;
            }
            twinlake_engine::reconcile(&context, &scope, &prefetched).await
        };
        let first = twinlake_engine::reconcile(&context, &alone, &prefetched);
        let both = futures_util::future::join(first, later);
        let (first, later) = run_until_killed(&harness.sim, both).unwrap();
        assert!(first.unwrap().is_settled());
        assert_revoked(&later.unwrap(), &format!("{head_start}"));
    }
}

/// Another reconciliation of the run changes grants by LF-Tags, for which it needs the lease alone. A revoke goes
/// first, and has as many attempts as rounds: planning again without the LF-Tags takes none.
#[test]
fn what_goes_first_while_the_lease_is_held_has_as_many_attempts_as_rounds() {
    let mut waited = 0;
    for polls in 1..400 {
        let harness = harness_with_two_changes();
        let grant = policy_grant("Bob", &[("class", "secret")]);
        call(&harness, PRIMARY, "GrantPermissions", grant);
        harness.sim.state().set_max_yields_per_call(1);
        fail_until_the_last_round(&harness, "RevokePermissions");
        let lease = LfTagLeaseOfRun::default();
        let context = Context {
            lf_tag_lease: Some(&lease),
            ..harness.context()
        };
        let prefetched = Prefetched::default();
        let permissions = Subject::LakeFormation(LfSubject::Permissions);
        let alone = scope_of(permissions, Facet::Grants);
        let scope = Scope::database(Name::new("sales").unwrap());
        let mut first = pin!(twinlake_engine::reconcile(&context, &alone, &prefetched));
        if poll_times(&mut first, polls) {
            break;
        }
        let mut later = pin!(twinlake_engine::reconcile(&context, &scope, &prefetched));
        if poll_times(&mut later, 5_000) {
            continue;
        }
        waited += 1;
        let both = futures_util::future::join(first, later);
        let (first, later) = run_until_killed(&harness.sim, both).unwrap();
        assert!(first.unwrap().is_settled());
        assert_revoked(&later.unwrap(), &format!("after {polls} polls"));
    }
    assert!(waited > 0, "the lease was never held by the other one");
}
