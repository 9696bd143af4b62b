//! Changes that somebody else makes to managed objects of the standby.

use serde_json::json;
use twinlake_core::event::{OperationalEvent, OutOfBandChange, parse_operational_event};
use twinlake_core::{LfSubject, Subject, SubjectState};
use twinlake_engine::out_of_band_changes;
use twinlake_sim::run_until_killed;
use twinlake_tests::fixtures::{harness_with_table, heartbeat_events};
use twinlake_tests::harness::{STANDBY, TWINLAKE_ROLE, TestHarness};

#[test]
fn a_change_of_a_managed_object_raises_an_alert_and_other_changes_do_not() {
    let harness = harness_with_table("orders");
    let mut event_context = harness.event_context();
    event_context.region = STANDBY.to_owned();
    let unmanaged = json!({"DatabaseName": "sales", "TableInput": {"Name": "mine"}});
    harness.call(STANDBY, "CreateTable", &unmanaged).unwrap();
    let request =
        json!({"DatabaseName": "sales", "TableInput": {"Name": "orders", "Description": "x"}});
    harness.call(STANDBY, "UpdateTable", &request).unwrap();
    let events = harness.sim.state().take_events();
    let mut assessed = Vec::new();
    for emitted in events {
        let body = emitted.event.to_string().into_bytes();
        if let Ok(OperationalEvent::OutOfBandChange(change)) =
            parse_operational_event(&body, &event_context)
        {
            let alert =
                out_of_band_changes::assess(&harness.ledger, &change, STANDBY, &harness.policy);
            assessed.extend(run_until_killed(&harness.sim, alert).unwrap().unwrap());
        }
    }
    let subjects: Vec<&str> = assessed
        .iter()
        .map(|(alert, _)| alert.subject.as_str())
        .collect();
    assert_eq!(subjects, ["table sales.orders"]);
    let outcome = harness.reconcile(&assessed[0].1).unwrap();
    assert_eq!(outcome.counts.total(), 1, "the change is reverted");
}

#[test]
fn changes_by_twinlake_are_not_out_of_band() {
    let harness = harness_with_table("orders");
    let mut event_context = harness.event_context();
    event_context.region = STANDBY.to_owned();
    let _ = harness.deliver(&heartbeat_events(&harness));
    harness.resync();
    for emitted in harness.sim.state().take_events() {
        let body = emitted.event.to_string().into_bytes();
        let parsed = parse_operational_event(&body, &event_context);
        assert!(
            !matches!(parsed, Ok(OperationalEvent::OutOfBandChange(_))),
            "{parsed:?}"
        );
    }
}

/// Returns the out-of-band changes among the emitted events.
fn parse_changes(harness: &TestHarness) -> Vec<OutOfBandChange> {
    let mut event_context = harness.event_context();
    event_context.region = STANDBY.to_owned();
    let events = harness.sim.state().take_events().into_iter();
    let bodies = events.map(|emitted| emitted.event.to_string().into_bytes());
    let parsed = bodies.filter_map(
        |body| match parse_operational_event(&body, &event_context) {
            Ok(OperationalEvent::OutOfBandChange(change)) => Some(change),
            _ => None,
        },
    );
    parsed.collect()
}

#[test]
fn a_deletion_in_the_standby_names_no_deletion_or_revoke_in_the_primary() {
    let harness = harness_with_table("orders");
    let request = json!({"DatabaseName": "sales", "Name": "orders"});
    harness.call(STANDBY, "DeleteTable", &request).unwrap();
    let request = json!({"DatabaseName": "sales", "TableName": "other", "PartitionsToDelete": []});
    let _ = harness.call(STANDBY, "BatchDeletePartition", &request);
    let revoke = json!({"Principal": {"DataLakePrincipalIdentifier": TWINLAKE_ROLE},
        "Resource": {"Database": {"Name": "sales"}}, "Permissions": ["DESCRIBE"]});
    let _ = harness.call(STANDBY, "RevokePermissions", &revoke);
    let changes = parse_changes(&harness);
    assert!(!changes.is_empty());
    for change in changes {
        assert!(change.scope.named_revokes.is_empty());
        for read_request in change.scope.read_requests.values() {
            assert!(!read_request.deletion_named && !read_request.unnamed_partitions_deleted);
            assert!(read_request.deletable_partitions.is_empty());
        }
    }
}

#[test]
fn changes_of_objects_on_hold_and_of_reported_settings_raise_no_alert() {
    let harness = harness_with_table("orders");
    let request =
        json!({"DatabaseName": "sales", "TableInput": {"Name": "orders", "Description": "x"}});
    harness.call(STANDBY, "UpdateTable", &request).unwrap();
    let settings = json!({"DataLakeSettings": {"DataLakeAdmins": [
        {"DataLakePrincipalIdentifier": TWINLAKE_ROLE}], "Parameters": {"x": "y"}}});
    let _ = harness.call(STANDBY, "PutDataLakeSettings", &settings);
    let changes = parse_changes(&harness);
    let is_about_settings = |change: &OutOfBandChange| {
        change
            .scope
            .read_requests
            .contains_key(&Subject::LakeFormation(LfSubject::Settings))
    };
    assert_eq!(
        changes
            .iter()
            .filter(|change| is_about_settings(change))
            .count(),
        1
    );
    let mut contents = harness.ledger.contents();
    for row in contents.rows.values_mut() {
        row.state = SubjectState::OnHold;
        row.managed_keys.insert("mark".to_owned());
    }
    let ledger = twinlake_engine::InMemoryLedger::new(contents);
    for change in &changes {
        let alert = out_of_band_changes::assess(&ledger, change, STANDBY, &harness.policy);
        assert_eq!(
            run_until_killed(&harness.sim, alert).unwrap().unwrap(),
            None
        );
    }
}
