//! The state of a subject in the ledger, and its history.

use serde_json::json;
use twinlake_core::{LfSubject, Subject, SubjectState};
use twinlake_tests::fixtures::harness_with_table;
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};

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
