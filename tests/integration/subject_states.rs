//! The state of a subject in the ledger, and its history.

use serde_json::json;
use std::collections::BTreeSet;
use twinlake_core::scope::{DATABASE_ITSELF, ReadRequest, WHOLE_DATABASE, WHOLE_TABLE};
use twinlake_core::{CallErrorKind, Facet, LfSubject, Name, Scope, Subject, SubjectState, TableId};
use twinlake_engine::observe::Prefetched;
use twinlake_engine::{Clock as _, Ledger as _};
use twinlake_sim::{ApiError, InjectedFault, run_interrupted, run_until_killed};
use twinlake_tests::fixtures::harness_with_table;
use twinlake_tests::harness::{ACCOUNT, PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, policy};
use twinlake_tests::history::{HistoryAction, set_up_primary, table_input};
use twinlake_tests::resolution_oracle::open_problems;

#[test]
fn a_row_keeps_the_history_of_its_states() {
    let harness = harness_with_table("orders");
    let request = json!({"DatabaseName": "sales", "Name": "orders"});
    harness.call(STANDBY, "DeleteTable", &request).unwrap();
    let unmanaged =
        json!({"DatabaseName": "sales", "TableInput": {"Name": "orders", "Description": "x"}});
    harness.call(STANDBY, "CreateTable", &unmanaged).unwrap();
    harness.resync();
    harness.call(STANDBY, "DeleteTable", &request).unwrap();
    harness.resync();
    let rows = harness.ledger.contents().rows;
    let row = rows
        .values()
        .find(|row| row.subject.to_string() == "table sales.orders");
    let states: Vec<SubjectState> = row
        .unwrap()
        .history
        .iter()
        .map(|change| change.state)
        .collect();
    assert_eq!(
        states,
        [
            SubjectState::InSync,
            SubjectState::Blocked,
            SubjectState::InSync
        ]
    );
}

#[test]
fn a_blocked_lf_tag_expression_is_in_sync_after_the_conflict_is_removed() {
    let harness = TestHarness::new(policy(""));
    for (region, value) in [(PRIMARY, "ours"), (STANDBY, "theirs")] {
        let tag = json!({"TagKey": "team", "TagValues": ["ours", "theirs"]});
        harness.call(region, "CreateLFTag", &tag).unwrap();
        let body = json!([{"TagKey": "team", "TagValues": [value]}]);
        let expression = json!({"Name": "mine", "Expression": body});
        harness
            .call(region, "CreateLFTagExpression", &expression)
            .unwrap();
    }
    let state = || {
        harness.resync();
        harness.ledger.contents().rows[&Subject::LakeFormation(LfSubject::LfTagExpressions)].state
    };
    assert_eq!(state(), SubjectState::Blocked);
    let request = json!({"Name": "mine"});
    harness
        .call(STANDBY, "DeleteLFTagExpression", &request)
        .unwrap();
    assert_eq!(state(), SubjectState::InSync);
}

fn state_of(harness: &TestHarness, subject: &Subject) -> SubjectState {
    harness.ledger.contents().rows[subject].state
}

/// Reads some facets of a subject, while the calls to the primary in `failing` are denied.
fn read(harness: &TestHarness, subject: &Subject, facets: &[Facet], failing: &[&str]) {
    for call in failing {
        harness.sim.state().inject_fault(InjectedFault {
            region: Some(PRIMARY.to_owned()),
            call: Some((*call).to_owned()),
            skip_calls: 0,
            times: usize::MAX,
            error: ApiError::new(CallErrorKind::Denied, "TestException", "set to fail"),
            takes_effect: false,
        });
    }
    let mut scope = Scope::default();
    scope.add(subject.clone(), ReadRequest::for_facets(facets));
    harness.reconcile(&scope).unwrap();
    harness.sim.state().clear_call_faults();
}

/// Each facet of each kind of subject, and the calls that read it.
fn facets_and_calls() -> Vec<(Subject, Facet, Vec<&'static str>)> {
    let part = |text: &str| Name::new(text).unwrap();
    let database = Subject::Database(part("db0"));
    let table = Subject::Table(TableId::new(part("db0"), part("t1")));
    let tags = Subject::LakeFormation(LfSubject::LfTags);
    vec![
        (
            database.clone(),
            Facet::Definition,
            vec!["GetDatabase", "GetDatabases"],
        ),
        (database.clone(), Facet::Grants, vec!["ListPermissions"]),
        (database.clone(), Facet::Contents, vec!["GetTables"]),
        (database.clone(), Facet::GlueTags, vec!["GetTags"]),
        (
            database.clone(),
            Facet::LfTagAssignments,
            vec!["GetResourceLFTags"],
        ),
        (database, Facet::OptIns, vec!["ListLakeFormationOptIns"]),
        (
            table.clone(),
            Facet::Definition,
            vec!["GetTable", "GetTables"],
        ),
        (table.clone(), Facet::Grants, vec!["ListPermissions"]),
        (table.clone(), Facet::Partitions, vec!["GetPartitions"]),
        (table.clone(), Facet::Indexes, vec!["GetPartitionIndexes"]),
        (
            table.clone(),
            Facet::Statistics,
            vec!["GetColumnStatisticsForTable"],
        ),
        (table.clone(), Facet::GlueTags, vec!["GetTags"]),
        (
            table.clone(),
            Facet::DataCellsFilters,
            vec!["ListDataCellsFilter"],
        ),
        (
            table.clone(),
            Facet::LfTagAssignments,
            vec!["GetResourceLFTags"],
        ),
        (table, Facet::OptIns, vec!["ListLakeFormationOptIns"]),
        (tags.clone(), Facet::Items, vec!["ListLFTags"]),
        (tags, Facet::Grants, vec!["ListPermissions"]),
    ]
}

#[test]
fn only_a_read_of_what_could_not_be_read_finds_the_subject_in_sync() {
    let harness = TestHarness::new(policy("glue-tags = \"copy\""));
    set_up_primary(&harness, &[HistoryAction::CreatePartition(0, 1, 0)]);
    harness.settle();
    for (subject, facet, calls) in facets_and_calls() {
        let all: &[Facet] = match &subject {
            Subject::Table(_) => &WHOLE_TABLE,
            Subject::Database(_) => &WHOLE_DATABASE,
            Subject::LakeFormation(_) => &[Facet::Items, Facet::Grants],
            Subject::Catalog | Subject::Function(_) => unreachable!(),
        };
        assert_eq!(
            state_of(&harness, &subject),
            SubjectState::InSync,
            "{subject}"
        );
        let requested = [&DATABASE_ITSELF[..1], &[facet]].concat();
        read(&harness, &subject, &requested, &calls);
        let state = state_of(&harness, &subject);
        assert_eq!(
            state,
            SubjectState::OutOfSync,
            "{subject}: {facet:?} was not read"
        );
        // Every read is of the definition. A read of all contents is one of all tables.
        if facet != Facet::Definition {
            let mut others = all.to_vec();
            others.retain(|one| ![facet, Facet::Contents].contains(one));
            read(&harness, &subject, &others, &[]);
            let state = state_of(&harness, &subject);
            let missing = format!("{subject}: {others:?} are not {facet:?}");
            assert_eq!(state, SubjectState::OutOfSync, "{missing}");
        }
        read(&harness, &subject, &requested, &[]);
        assert_eq!(
            state_of(&harness, &subject),
            SubjectState::InSync,
            "{subject}: {facet:?}"
        );
    }
}

fn orders() -> Subject {
    Subject::Table(TableId::new(
        Name::new("sales").unwrap(),
        Name::new("orders").unwrap(),
    ))
}

fn is_open(harness: &TestHarness, subject: &str) -> bool {
    let open = open_problems(harness);
    open.iter().any(|(_, affected)| affected == subject)
}

/// Creates a data cells filter on the table, or changes it.
fn put_filter(harness: &TestHarness, call: &str, expression: &str) {
    let filter = json!({"TableData": {
        "DatabaseName": "sales", "TableName": "orders", "Name": "eu", "ColumnNames": ["id"],
        "TableCatalogId": ACCOUNT, "RowFilter": {"FilterExpression": expression},
    }});
    harness.call(PRIMARY, call, &filter).unwrap();
}

#[test]
fn a_filter_that_scans_leave_out_is_read_while_it_has_a_problem() {
    let mut harness = harness_with_table("orders");
    harness.policy = policy("data-cells-filter-scan = \"granted\"");
    put_filter(&harness, "CreateDataCellsFilter", "id > 1");
    let events = harness.take_events();
    harness.sim.state().inject_fault(InjectedFault {
        times: usize::MAX,
        ..InjectedFault::once(
            STANDBY,
            "CreateDataCellsFilter",
            ApiError::new(CallErrorKind::Denied, "AccessDeniedException", "denied"),
        )
    });
    harness.deliver(&events).unwrap();
    assert_ne!(state_of(&harness, &orders()), SubjectState::InSync);
    harness.resync_and_publish();
    assert_ne!(state_of(&harness, &orders()), SubjectState::InSync);
    harness.sim.state().clear_call_faults();
    harness.resync_and_publish();
    assert_eq!(state_of(&harness, &orders()), SubjectState::InSync);
    assert_eq!(harness.sim.state().raw_data_cells_filters(STANDBY).len(), 1);
}

#[test]
fn a_problem_that_another_function_found_meanwhile_is_kept() {
    let mut kept = 0;
    for call_index in 0.. {
        let harness = harness_with_table("orders");
        let update = json!({"DatabaseName": "sales", "TableInput": table_input("sales", "orders", &["id", "name"])});
        harness.call(PRIMARY, "UpdateTable", &update).unwrap();
        let scope = Scope::database(Name::new("sales").unwrap());
        let (context, prefetched) = (harness.context(), Prefetched::default());
        let first = twinlake_engine::reconcile(&context, &scope, &prefetched);
        let (_, since) = run_interrupted(&harness.sim, first, call_index, || {
            let mut row = harness.ledger.contents().rows[&orders()].clone();
            row.state = SubjectState::Blocked;
            row.since = harness.sim.now();
            row.problem_facets = BTreeSet::from([Facet::Definition, Facet::Indexes]);
            row.reason = Some("the index could not be created".to_owned());
            let stored = harness.ledger.put_rows(std::slice::from_ref(&row));
            run_until_killed(&harness.sim, stored).unwrap().unwrap();
            row.since
        });
        if since.is_none() {
            break;
        }
        // Before the session reads the ledger, the problem is an earlier one.
        let is_kept = state_of(&harness, &orders()) == SubjectState::Blocked;
        assert!(is_kept || kept == 0, "before call {call_index}");
        kept += usize::from(is_kept);
        harness.resync();
        assert_eq!(state_of(&harness, &orders()), SubjectState::InSync);
    }
    assert!(kept > 5, "{kept}");
}

#[test]
fn a_table_that_the_policy_leaves_out_keeps_its_alert() {
    let mut harness = harness_with_table("orders");
    harness.sim.state().inject_fault(InjectedFault {
        times: usize::MAX,
        ..InjectedFault::once(
            STANDBY,
            "UpdateTable",
            ApiError::new(CallErrorKind::Denied, "AccessDeniedException", "denied"),
        )
    });
    let update = json!({"DatabaseName": "sales", "TableInput": table_input("sales", "orders", &["id", "name"])});
    harness.call(PRIMARY, "UpdateTable", &update).unwrap();
    harness.resync_and_publish();
    assert!(is_open(&harness, "table sales.orders"));
    harness.policy = policy("exclude = [\"sales.orders\"]");
    harness.resync_and_publish();
    assert!(is_open(&harness, "table sales.orders"));
    harness.sim.state().clear_call_faults();
    harness.policy = policy("");
    harness.resync_and_publish();
    harness.resync_and_publish();
    assert!(!is_open(&harness, "table sales.orders"));
}

#[test]
fn a_problem_of_a_table_that_nobody_sees_any_more_stays() {
    let harness = harness_with_table("orders");
    let theirs =
        json!({"DatabaseName": "sales", "TableInput": {"Name": "late", "Description": "x"}});
    harness.call(STANDBY, "CreateTable", &theirs).unwrap();
    let ours =
        json!({"DatabaseName": "sales", "TableInput": table_input("sales", "late", &["id"])});
    harness.call(PRIMARY, "CreateTable", &ours).unwrap();
    harness.resync_and_publish();
    assert!(is_open(&harness, "table sales.late"));
    // It is gone in the standby, and Twinlake sees nothing in the primary.
    let request = json!({"DatabaseName": "sales", "Name": "late"});
    harness.call(STANDBY, "DeleteTable", &request).unwrap();
    harness
        .sim
        .state()
        .remove_read_access(PRIMARY, TWINLAKE_ROLE);
    harness.resync_and_publish();
    assert!(is_open(&harness, "table sales.late"));
    harness
        .sim
        .state()
        .restore_read_access(PRIMARY, TWINLAKE_ROLE);
    harness.call(PRIMARY, "DeleteTable", &request).unwrap();
    harness.resync_and_publish();
    assert!(!is_open(&harness, "table sales.late"));
}
