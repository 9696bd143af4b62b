//! Incidents about more subjects than an alert lists, where a resync checks their database in parts.

use serde_json::json;
use twinlake_core::alert::MAX_AFFECTED;
use twinlake_core::{AlertKind, AlertState};
use twinlake_engine::Clock as _;
use twinlake_engine::alerts::{self, CheckedSubjects, publish_and_resolve};
use twinlake_engine::observe::MAX_TABLES_PER_INVOCATION;
use twinlake_sim::run_until_killed;
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};
use twinlake_tests::history::table_input;
use twinlake_tests::large_table::run_resync_part;

/// Runs a resync of which a large database becomes parts, and publishes the alerts of each part as
/// the resync function does. Returns the kinds of the incidents that were reported as resolved.
fn resync_in_parts_and_publish(harness: &TestHarness) -> Vec<AlertKind> {
    harness.sim.state().advance_secs(1);
    let stop_at = Some(harness.sim.now().plus_secs(1_000_000));
    let mut messages = vec![None];
    let mut verified = Vec::new();
    while let Some(message) = messages.pop() {
        let started = harness.sim.now();
        let report = run_resync_part(harness, stop_at, message.as_ref());
        harness.sim.state().advance_secs(1);
        let now = harness.sim.now();
        let alerts = alerts::from_resync_report(&report, STANDBY, now);
        let checked = CheckedSubjects::from_resync_report(&report, started);
        let published =
            publish_and_resolve(&harness.topic, &harness.ledger, (&alerts, &checked), now);
        run_until_killed(&harness.sim, published).unwrap().unwrap();
        verified.extend(report.verified_at);
        messages.extend(harness.queue.take().into_iter().map(Some));
    }
    assert_eq!(verified.len(), 1, "the last part completes the run");
    let alerts = harness.topic.take().into_iter();
    alerts
        .filter(|alert| alert.state == AlertState::Resolved)
        .map(|alert| alert.kind)
        .collect()
}

#[test]
fn an_incident_about_more_subjects_than_it_lists_is_resolved_by_a_resync_in_parts() {
    let harness = TestHarness::new(policy("column-statistics = \"none\""));
    let input = json!({"DatabaseInput": {"Name": "big", "CreateTableDefaultPermissions": []}});
    harness.call(PRIMARY, "CreateDatabase", &input).unwrap();
    harness.resync();
    let name = |number: usize| format!("t{number:04}");
    for number in 0..=MAX_TABLES_PER_INVOCATION {
        let input = table_input("big", &name(number), &["id"]);
        let input = json!({"DatabaseName": "big", "TableInput": input});
        harness.call(PRIMARY, "CreateTable", &input).unwrap();
    }
    // Twinlake does not manage these tables.
    for number in 0..=MAX_AFFECTED {
        let table = json!({"Name": name(number), "Description": "mine"});
        let input = json!({"DatabaseName": "big", "TableInput": table});
        harness.call(STANDBY, "CreateTable", &input).unwrap();
    }
    let remove = |number: usize| {
        let request = json!({"DatabaseName": "big", "Name": name(number)});
        harness.call(STANDBY, "DeleteTable", &request).unwrap();
    };
    assert_eq!(resync_in_parts_and_publish(&harness), []);
    let incidents = harness.ledger.contents().incidents;
    let is_overflowed = |kind| {
        let mut of_kind = incidents.values();
        of_kind.any(|(incident, _)| incident.alert.kind == kind && incident.overflowed)
    };
    assert!(is_overflowed(AlertKind::Conflict) && is_overflowed(AlertKind::Drift));
    (1..=MAX_AFFECTED).for_each(remove);
    assert_eq!(
        resync_in_parts_and_publish(&harness),
        [],
        "one table is in conflict still"
    );
    remove(0);
    assert_eq!(
        resync_in_parts_and_publish(&harness),
        [AlertKind::Conflict],
        "the run created the last table, which is drift"
    );
    assert_eq!(
        resync_in_parts_and_publish(&harness),
        [],
        "parts of the run before may have reported drift"
    );
    assert_eq!(resync_in_parts_and_publish(&harness), [AlertKind::Drift]);
}
