//! The state of a subject in the ledger, and its history.

use serde_json::json;
use twinlake_core::scope::{DATABASE_ITSELF, ReadRequest, WHOLE_DATABASE, WHOLE_TABLE};
use twinlake_core::{CallErrorKind, Facet, LfSubject, Name, Scope, Subject, SubjectState, TableId};
use twinlake_sim::{ApiError, InjectedFault};
use twinlake_tests::fixtures::harness_with_table;
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};
use twinlake_tests::history::{HistoryAction, set_up_primary};

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
    harness.sim.state().clear_all_faults();
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
