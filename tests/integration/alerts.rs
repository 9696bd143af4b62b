//! Published alerts: incidents of one cause share a message, which has the key of each; repetitions; and a message when
//! they are resolved.

use serde_json::json;
use std::collections::BTreeSet;
use twinlake_core::event::{ParsedNotifications, parse_replication, replication_alerts};
use twinlake_core::{Alert, AlertKind, AlertState, CallError, CallErrorKind, Timestamp};
use twinlake_engine::alerts::{self, CheckedSubjects, publish, publish_and_resolve};
use twinlake_engine::cost::Prices;
use twinlake_engine::daily_digest::build_digest;
use twinlake_engine::{AlertTopic, Clock as _};
use twinlake_sim::run_until_killed;
use twinlake_tests::harness::{PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, policy};
use twinlake_tests::history::table_input;

/// Returns a harness in sync, with a number of databases of one table each.
fn harness_with_databases(databases: usize) -> TestHarness {
    let harness = TestHarness::new(policy(""));
    for number in 0..databases {
        let name = format!("d{number}");
        let input = json!({"DatabaseInput": {"Name": name, "CreateTableDefaultPermissions": []}});
        harness.call(PRIMARY, "CreateDatabase", &input).unwrap();
        let input = json!({"DatabaseName": name, "TableInput": table_input(&name, "t", &["id"])});
        harness.call(PRIMARY, "CreateTable", &input).unwrap();
    }
    harness.resync();
    let _ = (harness.take_events(), harness.topic.take());
    harness
}

/// Creates a table in the primary, and an unmanaged one with the same name in the standby.
fn create_conflict(harness: &TestHarness, database: &str) {
    let other =
        json!({"DatabaseName": database, "TableInput": {"Name": "u", "Description": "mine"}});
    harness.call(STANDBY, "CreateTable", &other).unwrap();
    let input = table_input(database, "u", &["id"]);
    let input = json!({"DatabaseName": database, "TableInput": input});
    harness.call(PRIMARY, "CreateTable", &input).unwrap();
}

fn remove_conflict(harness: &TestHarness, database: &str) {
    let request = json!({"DatabaseName": database, "Name": "u"});
    harness.call(STANDBY, "DeleteTable", &request).unwrap();
}

fn resync_and_publish(harness: &TestHarness) {
    let started = harness.sim.now();
    let report = harness.resync().unwrap();
    let now = harness.sim.now();
    let alerts = alerts::from_resync_report(&report, STANDBY, now);
    let checked = CheckedSubjects::from_outcome(&report.outcome, started);
    let published = publish_and_resolve(&harness.topic, &harness.ledger, (&alerts, &checked), now);
    run_until_killed(&harness.sim, published).unwrap().unwrap();
}

/// Returns the state, subject and count of the published alerts of one kind, and removes all
/// alerts.
fn take_alerts(harness: &TestHarness, kind: AlertKind) -> Vec<(AlertState, String, usize)> {
    let alerts = harness.topic.take().into_iter();
    alerts
        .filter(|alert| alert.kind == kind)
        .map(|alert| (alert.state, alert.subject, alert.count))
        .collect()
}

fn expected(state: AlertState, subject: &str, count: usize) -> (AlertState, String, usize) {
    (state, subject.to_owned(), count)
}

#[test]
fn an_incident_is_published_once_repeated_and_resolved() {
    let harness = harness_with_databases(1);
    create_conflict(&harness, "d0");
    let events = harness.take_events();
    for _ in 0..5 {
        harness.deliver(&events).unwrap();
    }
    let first = expected(AlertState::New, "table d0.u", 1);
    assert_eq!(take_alerts(&harness, AlertKind::Conflict), [first]);
    harness.sim.state().advance_secs(3601);
    harness.deliver(&events).unwrap();
    let again = expected(AlertState::Repeated, "table d0.u", 5);
    assert_eq!(take_alerts(&harness, AlertKind::Conflict), [again]);
    remove_conflict(&harness, "d0");
    harness.deliver(&events).unwrap();
    let resolved = expected(AlertState::Resolved, "table d0.u", 6);
    assert_eq!(take_alerts(&harness, AlertKind::Conflict), [resolved]);
    harness.deliver(&events).unwrap();
    assert_eq!(take_alerts(&harness, AlertKind::Conflict), []);
}

#[test]
fn an_incident_is_open_while_another_table_of_the_database_is_affected() {
    let harness = harness_with_databases(1);
    create_conflict(&harness, "d0");
    let events = harness.take_events();
    let other = json!({"DatabaseName": "d0", "TableInput": {"Name": "v", "Description": "mine"}});
    harness.call(STANDBY, "CreateTable", &other).unwrap();
    let input = json!({"DatabaseName": "d0", "TableInput": table_input("d0", "v", &["id"])});
    harness.call(PRIMARY, "CreateTable", &input).unwrap();
    resync_and_publish(&harness);
    let first = expected(AlertState::New, "table d0.u and 1 more", 2);
    assert_eq!(take_alerts(&harness, AlertKind::Conflict), [first]);
    remove_conflict(&harness, "d0");
    harness.deliver(&events).unwrap();
    resync_and_publish(&harness);
    assert_eq!(take_alerts(&harness, AlertKind::Conflict), []);
    let request = json!({"DatabaseName": "d0", "Name": "v"});
    harness.call(STANDBY, "DeleteTable", &request).unwrap();
    resync_and_publish(&harness);
    let resolved = take_alerts(&harness, AlertKind::Conflict);
    assert_eq!(resolved.len(), 1, "{resolved:?}");
    assert_eq!(resolved[0].0, AlertState::Resolved);
}

#[test]
fn one_cause_in_many_databases_is_one_message() {
    let harness = harness_with_databases(7);
    for number in 0..7 {
        create_conflict(&harness, &format!("d{number}"));
    }
    resync_and_publish(&harness);
    let is_conflict = |alert: &Alert| alert.kind == AlertKind::Conflict;
    let published: Vec<Alert> = harness
        .topic
        .take()
        .into_iter()
        .filter(is_conflict)
        .collect();
    let first = published
        .iter()
        .map(|alert| (alert.state, alert.subject.clone(), alert.count));
    let first: Vec<_> = first.collect();
    assert_eq!(
        first,
        [expected(AlertState::New, "table d0.u and 6 more", 7)]
    );
    // The ledger has the incident of each table; the message has the keys of all.
    let known: BTreeSet<String> = harness.ledger.contents().incidents.into_keys().collect();
    assert_eq!(published[0].keys.len(), 7);
    assert!(published[0].keys.is_subset(&known) && known.contains(&published[0].key()));
    for number in 0..7 {
        remove_conflict(&harness, &format!("d{number}"));
    }
    resync_and_publish(&harness);
    let resolved = expected(AlertState::Resolved, "table d0.u and 6 more", 7);
    assert_eq!(take_alerts(&harness, AlertKind::Conflict), [resolved]);
}

#[test]
fn lost_access_is_resolved_when_everything_is_read_again() {
    let harness = harness_with_databases(2);
    harness
        .sim
        .state()
        .remove_read_access(PRIMARY, TWINLAKE_ROLE);
    resync_and_publish(&harness);
    let opened = harness.topic.take();
    let denied = opened
        .iter()
        .filter(|alert| alert.kind == AlertKind::TwinlakeAccessDenied);
    assert!(denied.count() > 0, "{opened:?}");
    let keys: Vec<String> = opened.iter().map(Alert::key).collect();
    resync_and_publish(&harness);
    assert!(harness.topic.take().is_empty(), "it was published before");
    harness
        .sim
        .state()
        .restore_read_access(PRIMARY, TWINLAKE_ROLE);
    resync_and_publish(&harness);
    let resolved = harness.topic.take();
    let mut resolved_keys: Vec<String> = resolved.iter().map(Alert::key).collect();
    assert!(
        resolved
            .iter()
            .all(|alert| alert.state == AlertState::Resolved)
    );
    resolved_keys.retain(|key| keys.contains(key));
    assert_eq!(resolved_keys.len(), keys.len(), "{resolved:?}");
}

/// A topic that is out of reach.
struct UnreachableTopic;

impl AlertTopic for UnreachableTopic {
    async fn publish(&self, _: &Alert) -> Result<(), CallError> {
        let message = "the topic is out of reach".to_owned();
        Err(CallError::new(
            CallErrorKind::Unavailable,
            "Publish",
            STANDBY,
            message,
        ))
    }
}

#[test]
fn a_resolution_that_could_not_be_published_is_published_by_a_later_resync() {
    let harness = harness_with_databases(1);
    create_conflict(&harness, "d0");
    resync_and_publish(&harness);
    remove_conflict(&harness, "d0");
    let _ = harness.topic.take();
    let started = harness.sim.now();
    let report = harness.resync().unwrap();
    let checked = CheckedSubjects::from_outcome(&report.outcome, started);
    let failing = publish_and_resolve(
        &UnreachableTopic,
        &harness.ledger,
        (&[], &checked),
        harness.sim.now(),
    );
    assert!(run_until_killed(&harness.sim, failing).unwrap().is_err());
    resync_and_publish(&harness);
    let resolved = expected(AlertState::Resolved, "table d0.u", 1);
    assert_eq!(take_alerts(&harness, AlertKind::Conflict), [resolved]);
}

#[test]
fn a_success_that_could_not_be_published_is_published_by_the_next_one() {
    let harness = TestHarness::new(policy(""));
    let sentences = ["a", "b", "c"].map(str::to_owned);
    let now = harness.sim.now();
    let job = [Alert::new(
        AlertKind::JobFailed,
        PRIMARY,
        "job x",
        sentences,
        now,
    )];
    let published = publish(&harness.topic, &harness.ledger, &job, now);
    run_until_killed(&harness.sim, published).unwrap().unwrap();
    let _ = harness.topic.take();
    let resolved = CheckedSubjects::default().with_resolved(AlertKind::JobFailed, "job x", now);
    let failing = alerts::resolve_incidents(&UnreachableTopic, &harness.ledger, &resolved, now);
    assert!(run_until_killed(&harness.sim, failing).unwrap().is_err());
    let resolving = alerts::resolve_incidents(&harness.topic, &harness.ledger, &resolved, now);
    run_until_killed(&harness.sim, resolving).unwrap().unwrap();
    let resolved = expected(AlertState::Resolved, "job x", 1);
    assert_eq!(take_alerts(&harness, AlertKind::JobFailed), [resolved]);
    assert!(harness.ledger.contents().incidents.is_empty());
}

/// A topic that runs an action of another function while its first message is published.
struct ActingTopic<'a, F> {
    harness: &'a TestHarness,
    action: std::cell::Cell<Option<F>>,
}

impl<F: AsyncFnOnce()> AlertTopic for ActingTopic<'_, F> {
    async fn publish(&self, alert: &Alert) -> Result<(), CallError> {
        if let Some(action) = self.action.take() {
            action().await;
        }
        self.harness.topic.publish(alert).await
    }
}

/// Opens an incident and resolves it. While the resolution is published, another function runs
/// `action`, which gets the check that found the incident resolved and the alerts that opened it.
fn while_resolved_is_published<F: AsyncFnOnce()>(
    harness: &TestHarness,
    action: impl FnOnce(CheckedSubjects, Vec<Alert>) -> F,
) {
    create_conflict(harness, "d0");
    let report = harness.resync().unwrap();
    let now = harness.sim.now();
    let found = alerts::from_resync_report(&report, STANDBY, now);
    let published = publish(&harness.topic, &harness.ledger, &found, now);
    run_until_killed(&harness.sim, published).unwrap().unwrap();
    assert_eq!(take_alerts(harness, AlertKind::Conflict).len(), 1);
    remove_conflict(harness, "d0");
    let checked = CheckedSubjects::from_outcome(&harness.resync().unwrap().outcome, now);
    let action = std::cell::Cell::new(Some(action(checked.clone(), found)));
    let topic = ActingTopic { harness, action };
    let resolved = publish_and_resolve(&topic, &harness.ledger, (&[], &checked), now);
    run_until_killed(&harness.sim, resolved).unwrap().unwrap();
}

#[test]
fn two_functions_that_resolve_an_incident_publish_it_once() {
    let harness = harness_with_databases(1);
    while_resolved_is_published(&harness, |checked, _| {
        let harness = &harness;
        async move || {
            let resolved = publish_and_resolve(
                &harness.topic,
                &harness.ledger,
                (&[], &checked),
                harness.sim.now(),
            );
            resolved.await.unwrap();
            assert_eq!(harness.topic.take(), [], "the first function publishes it");
        }
    });
    let resolved = expected(AlertState::Resolved, "table d0.u", 1);
    assert_eq!(take_alerts(&harness, AlertKind::Conflict), [resolved]);
}

#[test]
fn an_incident_that_recurs_while_its_resolution_is_published_is_published_afterwards() {
    let harness = harness_with_databases(1);
    while_resolved_is_published(&harness, |_, found| {
        let harness = &harness;
        async move || {
            let again = publish(&harness.topic, &harness.ledger, &found, harness.sim.now());
            again.await.unwrap();
            assert_eq!(
                harness.topic.take(),
                [],
                "it is published after the resolution"
            );
        }
    });
    let resolved = expected(AlertState::Resolved, "table d0.u", 1);
    let recurred = expected(AlertState::New, "table d0.u", 1);
    assert_eq!(
        take_alerts(&harness, AlertKind::Conflict),
        [resolved, recurred]
    );
}

#[test]
fn a_repeated_alert_names_the_start_and_the_number_of_occurrences() {
    let harness = harness_with_databases(1);
    create_conflict(&harness, "d0");
    let events = harness.take_events();
    harness.deliver(&events).unwrap();
    let since: Timestamp = harness.topic.take()[0].since;
    harness.sim.state().advance_secs(3600);
    harness.deliver(&events).unwrap();
    let again = harness.topic.take().remove(0);
    assert_eq!((again.since, again.total), (since, 2));
    let text = again.text();
    assert!(
        text.contains(&format!("Since {since}: 2 occurrences.")),
        "{text}"
    );
}

#[test]
fn every_alert_kind_has_a_section_in_the_operations_page() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, alerts) = page.split_once("\n## Alerts\n").unwrap();
    let alerts = alerts.split("\n## ").next().unwrap();
    // Each message links to the anchor of its heading.
    let sections: Vec<(&str, &str)> = alerts
        .split("\n### ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .collect();
    for kind in AlertKind::EVERY {
        let section = sections
            .iter()
            .find(|(heading, _)| *heading == kind.as_str());
        let start = format!("\nSeverity: `{}`. ", kind.severity().as_str());
        assert!(
            section.is_some_and(|(_, text)| {
                text.starts_with(&start) && text.len() > start.len() + 20
            }),
            "{kind}"
        );
    }
    assert_eq!(
        sections.len(),
        AlertKind::EVERY.len(),
        "a section without a kind"
    );
}

/// Returns a notification of objects that S3 failed to replicate.
fn failed_objects(from: usize, count: usize) -> Vec<u8> {
    let records: Vec<_> = (from..from + count)
        .map(|number| {
            json!({"eventName": "Replication:OperationFailedReplication", "awsRegion": PRIMARY,
                   "s3": {"bucket": {"name": "lake-us"}, "object": {"key": format!("t/{number}")}},
                   "replicationEventData": {"replicationRuleId": "crr",
                       "destinationBucket": "arn:aws:s3:::lake-ap",
                       "failureReason": "DstKmsKeyInvalidState"}})
        })
        .collect();
    json!({ "Records": records }).to_string().into_bytes()
}

/// Repeats open incidents, as the monitor function does each minute.
fn renotify(harness: &TestHarness) {
    let now = harness.sim.now();
    let published = alerts::renotify_open_incidents(&harness.topic, &harness.ledger, now);
    run_until_killed(&harness.sim, published).unwrap().unwrap();
}

#[test]
fn an_open_incident_is_repeated_without_new_occurrences() {
    let harness = TestHarness::new(policy(""));
    let sentences = ["a", "b", "c"].map(str::to_owned);
    let now = harness.sim.now();
    let alert = |kind| Alert::new(kind, PRIMARY, "one", sentences.clone(), now);
    let kinds = [
        AlertKind::JobFailed,
        AlertKind::UserAccessDenied,
        AlertKind::Drift,
    ];
    let opened = kinds.map(alert);
    let published = publish(&harness.topic, &harness.ledger, &opened, now);
    run_until_killed(&harness.sim, published).unwrap().unwrap();
    assert_eq!(harness.topic.take().len(), 3);
    let mut repeated = Vec::new();
    for hour in 1..=40 {
        harness.sim.state().advance_secs(3600);
        renotify(&harness);
        let alerts = harness.topic.take().into_iter();
        repeated.extend(alerts.map(|alert| (hour, alert.kind, alert.state, alert.total)));
    }
    // Incidents that expire, and corrected drift, are repeated only if they recur.
    let expected = |hour| (hour, AlertKind::JobFailed, AlertState::Repeated, 1);
    assert_eq!(repeated, [1, 4, 12, 36].map(expected));
}

#[test]
fn an_incident_without_occurrences_for_two_weeks_is_abandoned_with_a_message() {
    let harness = TestHarness::new(policy(""));
    let sentences = ["a", "b", "c"].map(str::to_owned);
    let now = harness.sim.now();
    let job = [Alert::new(
        AlertKind::JobFailed,
        PRIMARY,
        "job gone",
        sentences,
        now,
    )];
    let published = publish(&harness.topic, &harness.ledger, &job, now);
    run_until_killed(&harness.sim, published).unwrap().unwrap();
    let day = || {
        harness.sim.state().advance_secs(86_400);
        renotify(&harness);
        let now = harness.sim.now();
        let expiring = alerts::expire_incidents(&harness.topic, &harness.ledger, 3600, now);
        run_until_killed(&harness.sim, expiring).unwrap().unwrap();
    };
    (0..13).for_each(|_| day());
    let alerts = harness.topic.take();
    assert!(alerts.len() > 10, "it is repeated: {}", alerts.len());
    assert!(
        alerts
            .iter()
            .all(|alert| alert.state != AlertState::Resolved)
    );
    day();
    let last = harness.topic.take().pop().unwrap();
    assert_eq!(last.state, AlertState::Resolved);
    assert!(
        last.summary.ends_with("is abandoned.")
            && last.current_state.contains("not verified as resolved")
    );
}

#[test]
fn an_affected_object_is_resolved_although_another_one_of_the_incident_is_not() {
    let harness = harness_with_databases(1);
    create_conflict(&harness, "d0");
    let other = json!({"DatabaseName": "d0", "TableInput": {"Name": "v", "Description": "mine"}});
    harness.call(STANDBY, "CreateTable", &other).unwrap();
    let input = json!({"DatabaseName": "d0", "TableInput": table_input("d0", "v", &["id"])});
    harness.call(PRIMARY, "CreateTable", &input).unwrap();
    resync_and_publish(&harness);
    remove_conflict(&harness, "d0");
    let started = harness.sim.now();
    let report = harness.resync().unwrap();
    // The alerts of the resync are recorded some time after it started.
    harness.sim.state().advance_secs(60);
    let now = harness.sim.now();
    let alerts = alerts::from_resync_report(&report, STANDBY, now);
    let checked = CheckedSubjects::from_outcome(&report.outcome, started);
    let published = publish_and_resolve(&harness.topic, &harness.ledger, (&alerts, &checked), now);
    run_until_killed(&harness.sim, published).unwrap().unwrap();
    let incidents = harness.ledger.contents().incidents;
    let mut conflicts = incidents
        .values()
        .filter(|(incident, _)| incident.alert.kind == AlertKind::Conflict);
    let affected = &conflicts.next().unwrap().0.alert.affected;
    assert_eq!(affected, &BTreeSet::from(["table d0.v".to_owned()]));
}

#[test]
fn a_check_that_started_earlier_does_not_resolve_a_later_incident() {
    let harness = harness_with_databases(1);
    let started = harness.sim.now();
    let checked = CheckedSubjects::from_outcome(&harness.resync().unwrap().outcome, started);
    harness.sim.state().advance_secs(60);
    create_conflict(&harness, "d0");
    harness.deliver(&harness.take_events()).unwrap();
    assert_eq!(take_alerts(&harness, AlertKind::Conflict).len(), 1);
    let published = publish_and_resolve(
        &harness.topic,
        &harness.ledger,
        (&[], &checked),
        harness.sim.now(),
    );
    run_until_killed(&harness.sim, published).unwrap().unwrap();
    assert_eq!(take_alerts(&harness, AlertKind::Conflict), []);
    remove_conflict(&harness, "d0");
    harness.sim.state().advance_secs(60);
    resync_and_publish(&harness);
    assert_eq!(take_alerts(&harness, AlertKind::Conflict).len(), 1);
}

#[test]
fn two_failed_jobs_are_two_alerts() {
    let harness = TestHarness::new(policy(""));
    let sentences = ["a", "b", "c"].map(str::to_owned);
    let now = harness.sim.now();
    let jobs = ["job x", "job y"]
        .map(|job| Alert::new(AlertKind::JobFailed, PRIMARY, job, sentences.clone(), now));
    let published = publish(&harness.topic, &harness.ledger, &jobs, now);
    run_until_killed(&harness.sim, published).unwrap().unwrap();
    let keys: Vec<String> = harness.topic.take().iter().map(Alert::key).collect();
    assert_eq!(keys, jobs.map(|job| job.key()));
}

#[test]
fn the_digest_counts_objects_on_hold_after_a_partial_scan() {
    let harness = harness_with_databases(1);
    for name in ["x", "y", "z"] {
        let mut input = table_input("d0", name, &["id"]);
        input["Parameters"] =
            json!({"table_type": "ICEBERG", "metadata_location": "s3://lake-us/m"});
        let input = json!({"DatabaseName": "d0", "TableInput": input});
        harness.call(PRIMARY, "CreateTable", &input).unwrap();
    }
    let events = harness.take_events();
    resync_and_publish(&harness);
    // The event of one table reads only that table.
    harness.deliver(&events[..1]).unwrap();
    let digest = async {
        let prices = Prices::default();
        build_digest(&harness.ledger, &prices, STANDBY, harness.sim.now()).await
    };
    let digest = run_until_killed(&harness.sim, digest).unwrap().unwrap();
    let of_iceberg = "not replicated, 3 x it is an Iceberg table";
    let lines = digest.samples.iter();
    assert_eq!(
        lines.filter(|line| line.starts_with(of_iceberg)).count(),
        1,
        "{:?}",
        digest.samples
    );
    assert_eq!(digest.count, 3);
    assert!(
        digest.samples.contains(&"3 on-hold".to_owned()),
        "{:?}",
        digest.samples
    );
}

#[test]
fn ten_thousand_failed_objects_are_one_alert_and_every_object_is_counted() {
    let harness = TestHarness::new(policy(""));
    let process = |body: &[u8]| {
        let now = harness.sim.now();
        let Ok(ParsedNotifications::Notices(notices, _)) = parse_replication(body, now) else {
            panic!("not a notification");
        };
        let unmapped: Vec<_> = notices.into_iter().map(|notice| (notice, None)).collect();
        let alerts = replication_alerts(&unmapped);
        let published = publish(&harness.topic, &harness.ledger, &alerts, now);
        run_until_killed(&harness.sim, published).unwrap().unwrap();
    };
    for batch in 0..100 {
        process(&failed_objects(batch * 100, 100));
    }
    let first = harness.topic.take();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!((first[0].count, first[0].state), (100, AlertState::New));
    // No further notification arrives, and the other objects are reported all the same.
    let alerts_after = |secs: i64| {
        harness.sim.state().advance_secs(secs);
        renotify(&harness);
        harness.topic.take()
    };
    assert_eq!(alerts_after(3598), []);
    let repeated = alerts_after(2);
    assert_eq!(repeated.len(), 1, "{repeated:?}");
    assert_eq!((repeated[0].count, repeated[0].total), (9_900, 10_000));
    assert_eq!(repeated[0].key(), first[0].key());
    assert!(
        repeated[0].action.starts_with("Enable the KMS key"),
        "{:?}",
        repeated[0].action
    );
}
