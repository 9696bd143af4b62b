//! Alerts of jobs: mirrored from the peer, and resolved by a later success.

use twinlake_core::{Alert, AlertKind, AlertState, Timestamp};
use twinlake_engine::{Clock as _, alerts};
use twinlake_sim::run_until_killed;
use twinlake_tests::harness::{PRIMARY, TestHarness, policy};

fn job_alert(state: AlertState, at: Timestamp) -> Alert {
    let sentences = ["a", "b", "c"].map(str::to_owned);
    Alert {
        state,
        ..Alert::new(AlertKind::JobFailed, PRIMARY, "job nightly", sentences, at)
    }
}

#[test]
fn a_mirrored_alert_is_resolved_by_the_peer_or_expires() {
    let harness = TestHarness::new(policy(""));
    let open_incidents = |harness: &TestHarness| {
        let incidents = harness.ledger.contents().incidents;
        let open = incidents.values();
        open.filter(|(incident, _)| !incident.is_resolved_copy())
            .count()
    };
    let mirror = |harness: &TestHarness, state| {
        let alert = job_alert(state, harness.sim.now());
        let mirrored = async { alerts::mirror_peer_alert(&harness.ledger, &alert).await };
        run_until_killed(&harness.sim, mirrored).unwrap().unwrap();
    };
    let expire = |harness: &TestHarness| {
        let expired =
            alerts::expire_incidents(&harness.topic, &harness.ledger, 1, harness.sim.now());
        run_until_killed(&harness.sim, expired).unwrap().unwrap();
    };
    mirror(&harness, AlertState::New);
    assert_eq!(open_incidents(&harness), 1);
    // A local check does not resolve a mirrored alert, and it does not expire yet.
    let checked = alerts::CheckedSubjects::default().with_resolved(
        AlertKind::JobFailed,
        "job nightly",
        harness.sim.now(),
    );
    let resolved =
        alerts::resolve_incidents(&harness.topic, &harness.ledger, &checked, harness.sim.now());
    run_until_killed(&harness.sim, resolved).unwrap().unwrap();
    expire(&harness);
    assert_eq!(open_incidents(&harness), 1);
    mirror(&harness, AlertState::Resolved);
    assert_eq!(open_incidents(&harness), 0);
    harness.sim.state().advance_secs(1);
    mirror(&harness, AlertState::New);
    assert_eq!(open_incidents(&harness), 1);
    harness.sim.state().advance_secs(27 * 3600);
    expire(&harness);
    assert_eq!(open_incidents(&harness), 0);
    assert!(
        harness.topic.take().is_empty(),
        "a mirrored alert is not published"
    );
}

/// The messages of two incidents of the peer, one after the other, in every order and each of them twice.
#[test]
fn the_order_in_which_the_messages_of_the_peer_arrive_does_not_matter() {
    let at = Timestamp::from_secs;
    let message = |state, since: i64, detected: i64| Alert {
        since: at(since),
        ..job_alert(state, at(detected))
    };
    let all = [
        message(AlertState::New, 10, 10),
        message(AlertState::Repeated, 10, 20),
        message(AlertState::Resolved, 10, 30),
        message(AlertState::New, 40, 40),
    ];
    for order in 0..all.len().pow(4) {
        let order = [order % 4, order / 4 % 4, order / 16 % 4, order / 64];
        let is_permutation = order
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len()
            == 4;
        for last in 0..if is_permutation { 4 } else { 0 } {
            let harness = TestHarness::new(policy(""));
            for index in order.into_iter().chain([last]) {
                let alert = &all[index];
                let mirrored = async { alerts::mirror_peer_alert(&harness.ledger, alert).await };
                run_until_killed(&harness.sim, mirrored).unwrap().unwrap();
            }
            let incidents = harness.ledger.contents().incidents;
            let open: Vec<Timestamp> = incidents
                .values()
                .filter(|(incident, _)| !incident.is_resolved_copy())
                .map(|(incident, _)| incident.alert.since)
                .collect();
            assert_eq!(open, [at(40)], "{order:?}, then {last}");
        }
    }
}

#[test]
fn a_resolved_incident_of_the_peer_is_not_opened_again_by_a_late_message() {
    let harness = TestHarness::new(policy(""));
    let at = Timestamp::from_secs;
    let opened = job_alert(AlertState::New, at(10));
    let resolved = Alert {
        detected_at: at(20),
        state: AlertState::Resolved,
        ..opened.clone()
    };
    for alert in [&resolved, &opened, &resolved] {
        let mirrored = async { alerts::mirror_peer_alert(&harness.ledger, alert).await };
        run_until_killed(&harness.sim, mirrored).unwrap().unwrap();
        let incidents = harness.ledger.contents().incidents;
        assert!(
            incidents
                .values()
                .all(|(incident, _)| incident.is_resolved_copy())
        );
    }
}

#[test]
fn only_the_newest_event_of_each_subject_in_a_batch_counts() {
    let at = Timestamp::from_secs;
    let successes = |secs| vec![(AlertKind::JobFailed, "job nightly".to_owned(), at(secs))];
    let mut alerts = vec![job_alert(AlertState::New, at(10))];
    let _ = alerts::keep_newest(&mut alerts, successes(20));
    assert!(alerts.is_empty(), "a later run succeeded");
    let mut alerts = vec![job_alert(AlertState::New, at(30))];
    let _ = alerts::keep_newest(&mut alerts, successes(20));
    assert_eq!(alerts.len(), 1, "a later run failed");
}

#[test]
fn an_older_success_does_not_resolve_a_newer_failure() {
    let harness = TestHarness::new(policy(""));
    let now = harness.sim.now();
    let failed = [job_alert(AlertState::New, now)];
    let published = alerts::publish(&harness.topic, &harness.ledger, &failed, now);
    run_until_killed(&harness.sim, published).unwrap().unwrap();
    let _ = harness.topic.take();
    let resolved_by_success = |at: Timestamp| {
        let subject = "job nightly".to_owned();
        let checked =
            alerts::keep_newest(&mut Vec::new(), vec![(AlertKind::JobFailed, subject, at)]);
        let resolved =
            alerts::resolve_incidents(&harness.topic, &harness.ledger, &checked, harness.sim.now());
        run_until_killed(&harness.sim, resolved).unwrap().unwrap();
        harness.topic.take().len()
    };
    assert_eq!(resolved_by_success(now.plus_secs(-60)), 0, "delivered late");
    assert_eq!(resolved_by_success(now.plus_secs(60)), 1);
}
