//! The default permissions for new tables after a takeover: none that the primary, as last read, had closed.

use serde_json::{Value, json};
use twinlake_core::Name;
use twinlake_core::failover::FailoverJournal;
use twinlake_tests::harness::{PRIMARY, STANDBY, policy};
use twinlake_tests::takeover::pair::{Pair, open_defaults};

/// Sets the default permissions of the database of a Region, and its location.
fn set_defaults(pair: &Pair, region: &str, defaults: &Value, location: Option<&str>) {
    let mut input = json!({"Name": "sales", "CreateTableDefaultPermissions": defaults});
    if let Some(location) = location {
        input["LocationUri"] = json!(location);
    }
    let request = json!({"Name": "sales", "DatabaseInput": input});
    pair.harness
        .call(region, "UpdateDatabase", &request)
        .unwrap();
}

fn journal(pair: &Pair) -> FailoverJournal {
    pair.record(&pair.india).failover.unwrap()
}

#[test]
fn a_database_that_is_withheld_opens_nothing_that_the_primary_has_closed() {
    let pair = Pair::in_sync();
    set_defaults(&pair, PRIMARY, &json!([]), Some("s3://other/sales"));
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    pair.fail_over();
    assert_eq!(pair.defaults(&pair.india), json!([]));
    assert_eq!(
        (journal(&pair).restored, journal(&pair).unrestored.len()),
        (0, 0)
    );
}

#[test]
fn a_database_that_is_withheld_gets_what_the_primary_has_opened() {
    let pair = Pair::in_sync();
    set_defaults(&pair, PRIMARY, &json!([]), None);
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    set_defaults(&pair, PRIMARY, &open_defaults(), Some("s3://other/sales"));
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    pair.fail_over();
    assert_eq!(pair.defaults(&pair.india), open_defaults());
}

#[test]
fn a_database_that_the_policy_does_not_cover_any_more_stays_closed_and_is_named() {
    let mut pair = Pair::in_sync();
    pair.harness.policy = policy("exclude = [\"sales\"]");
    set_defaults(&pair, PRIMARY, &json!([]), None);
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    pair.fail_over();
    assert_eq!(pair.defaults(&pair.india), json!([]));
    let unrestored = journal(&pair).unrestored;
    let reason = &unrestored[&Name::from_service("sales")];
    assert!(reason.contains("the policy does not cover it"), "{reason}");
}

#[test]
fn the_report_has_defaults_that_were_closed_there_and_not_those_that_were_opened_here() {
    let pair = Pair::in_sync();
    pair.fail_over();
    assert!(pair.compare().report.changes.is_empty());
    set_defaults(&pair, PRIMARY, &json!([]), None);
    let changes = pair.compare().report.changes;
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].is_table_default(), "{changes:?}");

    let pair = Pair::in_sync();
    set_defaults(&pair, PRIMARY, &json!([]), None);
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    pair.fail_over();
    set_defaults(&pair, STANDBY, &open_defaults(), None);
    let changes = pair.compare().report.changes;
    assert!(changes.is_empty(), "{changes:?}");
}
