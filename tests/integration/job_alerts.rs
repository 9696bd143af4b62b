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
    let open_incidents = |harness: &TestHarness| harness.ledger.contents().incidents.len();
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
    mirror(&harness, AlertState::New);
    harness.sim.state().advance_secs(27 * 3600);
    expire(&harness);
    assert_eq!(open_incidents(&harness), 0);
    assert!(
        harness.topic.take().is_empty(),
        "a mirrored alert is not published"
    );
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
