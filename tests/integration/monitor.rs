//! Heartbeats over both channels, the lag measured from them, and the alerts of the monitor. All
//! times are those of the simulator's clock.

use serde_json::Value;
use std::collections::BTreeSet;
use twinlake_core::canary::{Canary, CanaryState, ReceivedCanaries, ReceivedCanary};
use twinlake_core::heartbeat::{Channel, ChannelHealth, DATABASE, Heartbeat};
use twinlake_core::ledger::{ExpectedReplica, PendingObjects};
use twinlake_core::topology::RegionRole;
use twinlake_core::{
    AlertKind, AlertState, CallError, CallErrorKind, LedgerRow, Name, Subject, SubjectState,
    TableId,
};
use twinlake_engine::alerts::{self, publish_and_resolve};
use twinlake_engine::cost::Prices;
use twinlake_engine::daily_digest::build_digest;
use twinlake_engine::heartbeat::write_heartbeat;
use twinlake_engine::monitor::{
    MonitorConfig, MonitorReport, check_standby, resolve_outside_standby,
};
use twinlake_engine::operation_document::{LagAlertThresholds, OperationConfig};
use twinlake_engine::{Clock as _, Ledger as _, StatsStore as _};
use twinlake_sim::{ApiError, InjectedFault, run_until_killed};
use twinlake_tests::fixtures::heartbeat_events;
use twinlake_tests::harness::{PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness, policy};

/// Seconds between two heartbeats.
const HEARTBEAT_INTERVAL_SECS: i64 = 60;

fn is_from_channel(event: &[u8], channel: Channel) -> bool {
    let is_cloudtrail = String::from_utf8_lossy(event).contains("AWS API Call via CloudTrail");
    is_cloudtrail == (channel == Channel::Permissions)
}

/// Runs the monitor with the default thresholds, and publishes its alerts.
fn run_monitor(harness: &TestHarness) -> MonitorReport {
    run_monitor_with(harness, LagAlertThresholds::default())
}

fn run_monitor_with(harness: &TestHarness, lag_thresholds: LagAlertThresholds) -> MonitorReport {
    let monitor = MonitorConfig {
        region: STANDBY,
        heartbeat_interval_secs: HEARTBEAT_INTERVAL_SECS,
        lag_thresholds,
    };
    let now = harness.sim.now();
    let report = run_until_killed(&harness.sim, check_standby(&harness.ledger, &monitor, now));
    let report = report.unwrap().unwrap();
    let published = publish_and_resolve(
        &harness.topic,
        &harness.ledger,
        (&report.alerts, &report.checked),
        now,
    );
    run_until_killed(&harness.sim, published).unwrap().unwrap();
    report
}

fn take_alerts(harness: &TestHarness) -> Vec<(AlertKind, AlertState, String)> {
    let alerts = harness.topic.take().into_iter();
    alerts
        .map(|alert| (alert.kind, alert.state, alert.subject))
        .collect()
}

/// Runs one minute: writes a heartbeat, delivers its events on the open channels after a delay in
/// seconds, and runs the monitor.
fn run_one_minute(harness: &TestHarness, open_channels: &[Channel], delay: i64) -> MonitorReport {
    let start = harness.sim.now();
    let mut events = heartbeat_events(harness);
    events.retain(|event| {
        open_channels
            .iter()
            .any(|channel| is_from_channel(event, *channel))
    });
    harness.sim.state().advance_secs(delay);
    let _ = harness.deliver(&events);
    let rest = start.plus_secs(HEARTBEAT_INTERVAL_SECS).secs() - harness.sim.now().secs();
    // The monitor runs between two heartbeats.
    harness.sim.state().advance_secs((rest / 2).max(0));
    let report = run_monitor(harness);
    let rest = start.plus_secs(HEARTBEAT_INTERVAL_SECS).secs() - harness.sim.now().secs();
    harness.sim.state().advance_secs(rest.max(0));
    report
}

#[test]
fn a_channel_is_measured_only_by_its_own_events() {
    let harness = TestHarness::new(policy(""));
    let events = heartbeat_events(&harness);
    for event in events
        .iter()
        .filter(|event| is_from_channel(event, Channel::Catalog))
    {
        let _ = harness.deliver(std::slice::from_ref(event));
    }
    let channel_health = |harness: &TestHarness| harness.ledger.contents().heartbeats;
    // The first heartbeat creates the table, and the next ones update it.
    for event in heartbeat_events(&harness)
        .iter()
        .filter(|event| is_from_channel(event, Channel::Catalog))
    {
        let _ = harness.deliver(std::slice::from_ref(event));
    }
    assert_eq!(
        channel_health(&harness).keys().copied().collect::<Vec<_>>(),
        [Channel::Catalog]
    );
    for event in heartbeat_events(&harness)
        .iter()
        .filter(|event| is_from_channel(event, Channel::Permissions))
    {
        let _ = harness.deliver(std::slice::from_ref(event));
    }
    assert!(channel_health(&harness).contains_key(&Channel::Permissions));
    // The heartbeat objects are replicated.
    let state = harness.sim.state();
    let databases = state.raw_databases(STANDBY);
    assert!(databases.keys().any(|name| name.as_str() == DATABASE));
}

#[test]
fn a_heartbeat_counts_only_when_the_standby_is_in_sync() {
    let harness = TestHarness::new(policy(""));
    for _ in 0..2 {
        let _ = harness.deliver(&heartbeat_events(&harness));
    }
    let before = harness.ledger.contents().heartbeats[&Channel::Catalog];
    harness
        .sim
        .state()
        .remove_read_access(STANDBY, TWINLAKE_ROLE);
    let _ = harness.deliver(&heartbeat_events(&harness));
    assert_eq!(
        harness.ledger.contents().heartbeats[&Channel::Catalog].last,
        before.last
    );
}

#[test]
fn a_closed_channel_raises_an_alert_for_itself_as_soon_as_its_threshold_allows() {
    let harness = TestHarness::new(policy(""));
    for channel in Channel::OF_EVENTS {
        for _ in 0..5 {
            let report = run_one_minute(&harness, &Channel::OF_EVENTS, 2);
            assert!(report.alerts.is_empty(), "{:?}", report.alerts);
        }
        let _ = take_alerts(&harness);
        let others: Vec<Channel> = Channel::OF_EVENTS
            .into_iter()
            .filter(|other| *other != channel)
            .collect();
        let threshold = LagAlertThresholds::default().of(channel);
        let mut missed_heartbeats = 0;
        let first = loop {
            missed_heartbeats += 1;
            run_one_minute(&harness, &others, 2);
            if let Some(first) = harness.topic.take().into_iter().next() {
                break first;
            }
            assert!(missed_heartbeats < 60, "no alert for {channel}");
        };
        assert_eq!(first.kind, AlertKind::Lagging);
        assert_eq!(first.subject, format!("channel {channel}"));
        assert_eq!(
            missed_heartbeats,
            threshold / HEARTBEAT_INTERVAL_SECS + 1,
            "{channel}"
        );
        let recovered = run_one_minute(&harness, &Channel::OF_EVENTS, 2);
        assert!(recovered.alerts.is_empty());
        let resolved = (AlertKind::Lagging, AlertState::Resolved, first.subject);
        assert_eq!(take_alerts(&harness), [resolved]);
    }
}

#[test]
fn the_measured_lag_equals_the_delay_of_the_events() {
    let harness = TestHarness::new(policy(""));
    for delay in [0, 7, 25, 50] {
        let mut report = MonitorReport::default();
        for _ in 0..3 {
            report = run_one_minute(&harness, &Channel::OF_EVENTS, delay);
        }
        for channel in Channel::OF_EVENTS {
            let lag = report.lags[&channel];
            // The clock of the simulator advances by a second with each write.
            let stored = harness
                .ledger
                .contents()
                .lag_samples
                .last()
                .and_then(|last| last.lag(channel));
            assert_eq!(
                stored,
                Some(lag),
                "it is stored for the status and the report"
            );
            assert!(
                (delay..delay + 10).contains(&lag),
                "{channel}: {lag} of {delay}"
            );
        }
    }
}

#[test]
fn a_stalled_channel_raises_two_alerts_that_a_heartbeat_resolves() {
    let harness = TestHarness::new(policy(""));
    run_one_minute(&harness, &Channel::OF_EVENTS, 1);
    run_one_minute(&harness, &Channel::OF_EVENTS, 1);
    let _ = take_alerts(&harness);
    harness.sim.state().advance_secs(4 * 900 + 120);
    run_monitor(&harness);
    let keys = |harness: &TestHarness| {
        let all = harness.topic.take().into_iter();
        all.map(|alert| (alert.state, alert.key(), alert.subject))
            .collect::<BTreeSet<_>>()
    };
    let first = keys(&harness);
    assert_eq!(first.len(), 4, "each channel has its own keys: {first:?}");
    run_one_minute(&harness, &[Channel::Catalog], 1);
    run_one_minute(&harness, &[Channel::Catalog], 1);
    let of_channel = |state: AlertState, channel: &str| {
        let alerts = first
            .iter()
            .filter(|(_, _, subject)| subject.ends_with(channel));
        alerts
            .map(|(_, key, subject)| (state, key.clone(), subject.clone()))
            .collect::<BTreeSet<_>>()
    };
    let resolved = |harness: &TestHarness| {
        let mut alerts = keys(harness);
        alerts.retain(|(state, ..)| *state == AlertState::Resolved);
        alerts
    };
    assert_eq!(
        resolved(&harness),
        of_channel(AlertState::Resolved, "catalog")
    );
    run_one_minute(&harness, &Channel::OF_EVENTS, 1);
    run_one_minute(&harness, &Channel::OF_EVENTS, 1);
    assert_eq!(
        resolved(&harness),
        of_channel(AlertState::Resolved, "permissions")
    );
}

/// Records heartbeats that were sent after the given seconds and arrived 5 s later, and runs the
/// monitor at the second `phase` of each minute. Returns the second of the first alert.
fn first_alert_at(sent: &[i64], phase: i64) -> Option<i64> {
    let harness = TestHarness::new(policy(""));
    let start = harness.sim.now();
    let mut heartbeats = sent.iter().map(|secs| start.plus_secs(*secs)).peekable();
    for second in 0..400 {
        let now = start.plus_secs(second);
        while let Some(sent) = heartbeats.next_if(|sent| sent.plus_secs(5) <= now) {
            for channel in Channel::OF_EVENTS {
                let recorded = harness
                    .ledger
                    .record_heartbeat(channel, Heartbeat { sent, done: now });
                run_until_killed(&harness.sim, recorded).unwrap().unwrap();
            }
        }
        let elapsed = harness.sim.now().secs() - start.secs();
        harness.sim.state().advance_secs((second - elapsed).max(0));
        if second % HEARTBEAT_INTERVAL_SECS == phase && !run_monitor(&harness).alerts.is_empty() {
            return Some(second);
        }
    }
    None
}

#[test]
fn one_lost_and_one_late_heartbeat_raise_no_alert_and_missing_ones_raise_one_in_time() {
    for phase in [0, 5, 14, 16, 30, 45, 59] {
        // The scheduler starts each heartbeat within the minute that it is due (D-10).
        for sent in [
            [0, 60, 180, 240, 360],
            [0, 119, 120, 239, 300],
            [0, 60, 239, 299, 360],
        ] {
            assert_eq!(first_alert_at(&sent, phase), None, "{phase}: {sent:?}");
        }
        let first_alert = first_alert_at(&[0, 60], phase).expect("no heartbeat arrives any more");
        // The heartbeat that was due at 120 is overdue by the threshold at 255.
        assert!(
            (255..255 + 60).contains(&first_alert),
            "{phase}: {first_alert}"
        );
    }
}

/// Stores that canaries of rules were written this many seconds ago, and arrived at once.
fn put_canaries(harness: &TestHarness, ages: &[i64]) {
    let now = harness.sim.now();
    let canaries = ages.iter().enumerate().map(|(number, age)| {
        let sent = now.plus_secs(-age);
        ReceivedCanary {
            canary: Canary {
                bucket: "lake-us".to_owned(),
                rule: format!("rule{number}"),
                prefix: String::new(),
                key: format!("_twinlake_canary/_{number}"),
                destination: "lake-in".to_owned(),
                replica_key: None,
            },
            is_sent: true,
            unsent_reason: None,
            listed_at: now,
            send_failure: None,
            health: ChannelHealth {
                since: sent,
                last: Some(Heartbeat { sent, done: sent }),
            },
            problem: None,
        }
    });
    let state = CanaryState {
        received: ReceivedCanaries {
            canaries: canaries.collect(),
            ..ReceivedCanaries::default()
        },
        ..CanaryState::default()
    };
    run_until_killed(&harness.sim, harness.ledger.put_canaries(&state))
        .unwrap()
        .unwrap();
}

#[test]
fn the_slowest_rule_is_the_lag_of_the_objects_and_raises_the_alerts_of_a_channel() {
    let harness = TestHarness::new(policy(""));
    for _ in 0..3 {
        run_one_minute(&harness, &Channel::OF_EVENTS, 1);
    }
    let _ = take_alerts(&harness);
    let after = |ages: &[i64]| {
        put_canaries(&harness, ages);
        let lag = run_monitor(&harness).lags.get(&Channel::Storage).copied();
        let samples = harness.ledger.contents().lag_samples;
        assert_eq!(samples.last().unwrap().storage, lag, "it is stored");
        let alerts = harness.topic.take().into_iter();
        let of_storage: Vec<_> = alerts
            .filter(|alert| alert.subject == "channel storage")
            .collect();
        (lag, of_storage)
    };
    // A canary is due every five minutes.
    assert_eq!(after(&[60, 360]), (Some(60), vec![]));
    assert_eq!(after(&[60, 2099]).0, Some(1799));
    let (lag, alerts) = after(&[60, 2100, 2200]);
    assert_eq!(lag, Some(1900));
    let [alert] = alerts.as_slice() else {
        panic!("{alerts:?}");
    };
    assert_eq!(
        (alert.kind, alert.state),
        (AlertKind::Lagging, AlertState::New)
    );
    assert!(
        alert.summary.contains("2 of 3 S3 replication rules"),
        "{}",
        alert.summary
    );
    assert!(alert.summary.contains("rule rule2 of the bucket lake-us"));
    assert_eq!(alert.samples.len(), 2);
    let kinds = |alerts: &[twinlake_core::Alert]| -> Vec<_> {
        alerts
            .iter()
            .map(|alert| (alert.kind, alert.state))
            .collect()
    };
    let (_, stalled) = after(&[7500]);
    assert_eq!(
        kinds(&stalled),
        [(AlertKind::ChannelStalled, AlertState::New)]
    );
    // What is not measured is not in order: only a canary that arrived resolves.
    assert_eq!(after(&[]), (None, vec![]));
    let resolved = [AlertKind::Lagging, AlertKind::ChannelStalled];
    let resolved = BTreeSet::from(resolved.map(|kind| (kind, AlertState::Resolved)));
    let (lag, arrived) = after(&[60]);
    assert_eq!(lag, Some(0));
    assert_eq!(
        kinds(&arrived).into_iter().collect::<BTreeSet<_>>(),
        resolved
    );
}

#[test]
fn a_lag_near_its_threshold_is_not_resolved() {
    let harness = TestHarness::new(policy(""));
    let operation = "[lag-alert-seconds]\ncatalog = 100\npermissions = 9000\n";
    let thresholds = OperationConfig::parse(operation).unwrap().lag_alert;
    let states_at = |lag: i64| {
        let heartbeat = Heartbeat {
            sent: harness.sim.now().plus_secs(-lag),
            done: harness.sim.now(),
        };
        let recorded = harness.ledger.record_heartbeat(Channel::Catalog, heartbeat);
        run_until_killed(&harness.sim, recorded).unwrap().unwrap();
        run_monitor_with(&harness, thresholds);
        let states = take_alerts(&harness).into_iter().map(|(_, state, _)| state);
        let states: Vec<AlertState> = states.collect();
        harness.sim.state().advance_secs(60);
        states
    };
    assert_eq!(states_at(110), [AlertState::New]);
    assert_eq!(states_at(80), [], "it may soon exceed the threshold again");
    assert_eq!(states_at(75), [AlertState::Resolved]);
}

#[test]
fn channel_alerts_are_resolved_outside_the_standby_and_age_counts_from_the_first_run() {
    let harness = TestHarness::new(policy(""));
    run_monitor(&harness);
    harness.sim.state().advance_secs(4000);
    let report = run_monitor(&harness);
    assert_eq!(
        report.seconds_since_verified,
        Some(4000),
        "no resync was complete"
    );
    assert!(!harness.topic.take().is_empty());
    let open_incidents_as = |role: Option<RegionRole>| {
        let checked = resolve_outside_standby(role, harness.sim.now());
        let resolved =
            alerts::resolve_incidents(&harness.topic, &harness.ledger, &checked, harness.sim.now());
        run_until_killed(&harness.sim, resolved).unwrap().unwrap();
        harness.ledger.contents().incidents.len()
    };
    assert_ne!(open_incidents_as(None), 0, "the role is not known");
    assert_ne!(open_incidents_as(Some(RegionRole::Standby)), 0);
    assert_eq!(open_incidents_as(Some(RegionRole::Primary)), 0);
}

fn denied() -> ApiError {
    ApiError::new(CallErrorKind::Denied, "AccessDeniedException", "denied")
}

#[test]
fn a_heartbeat_is_created_where_a_missing_table_is_reported_as_denied() {
    let harness = TestHarness::new(policy(""));
    let region = harness.sim.region(PRIMARY, TWINLAKE_ROLE);
    let write = || {
        let fault = InjectedFault::once(PRIMARY, "UpdateTable", denied());
        harness.sim.state().inject_fault(fault);
        run_until_killed(&harness.sim, write_heartbeat(&region, harness.sim.now())).unwrap()
    };
    write().unwrap();
    let events = harness.take_events();
    let is_delivered = |channel| events.iter().any(|event| is_from_channel(event, channel));
    assert!(
        Channel::OF_EVENTS.into_iter().all(is_delivered),
        "{}",
        events.len()
    );
    let error = write().unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Denied, "the table exists");
}

#[test]
fn a_record_without_parameters_is_a_heartbeat() {
    let harness = TestHarness::new(policy(""));
    let _ = harness.deliver(&heartbeat_events(&harness));
    let before = harness.ledger.contents().heartbeats[&Channel::Permissions];
    harness.sim.state().advance_secs(HEARTBEAT_INTERVAL_SECS);
    let events = heartbeat_events(&harness).into_iter();
    let without_parameters: Vec<Vec<u8>> = events
        .filter(|event| String::from_utf8_lossy(event).contains("UpdateDataCellsFilter"))
        .map(|event| {
            let mut event: Value = serde_json::from_slice(&event).unwrap();
            event["detail"]["requestParameters"] = Value::Null;
            event.to_string().into_bytes()
        })
        .collect();
    assert!(!without_parameters.is_empty());
    let result = harness.deliver(&without_parameters).unwrap();
    assert!(result.ignored.is_empty() && result.failed.is_empty());
    let after = harness.ledger.contents().heartbeats[&Channel::Permissions];
    assert!(after.last > before.last, "{after:?}");
}

/// A table of which objects are missing has one state, and is counted once.
#[test]
fn a_table_is_counted_in_one_state() {
    let harness = TestHarness::new(policy(""));
    let now = harness.sim.now();
    let named = |name: &str| Name::new(name).unwrap();
    let id = |name: &str| TableId::new(named("d"), named(name));
    let tables = [
        ("whole", SubjectState::InSync),
        ("awaits", SubjectState::InSync),
        ("commit", SubjectState::DataPending),
        ("other", SubjectState::OutOfSync),
    ];
    let rows = tables.map(|(name, state)| LedgerRow::new(Subject::Table(id(name)), state, now));
    let replica = ExpectedReplica {
        bucket: "lake-in".to_owned(),
        key: "t/f".to_owned(),
        version: None,
        created_at: now,
    };
    let mut pending = PendingObjects::default();
    pending.add("late", replica, now);
    let put = async {
        harness.ledger.put_rows(&rows).await?;
        // The last one has no entry yet.
        for name in ["awaits", "commit", "other", "unknown"] {
            let ledger = &harness.ledger;
            ledger
                .put_pending_objects(&id(name), Some(&pending), None)
                .await?;
        }
        Ok::<_, CallError>(())
    };
    run_until_killed(&harness.sim, put).unwrap().unwrap();
    let report = run_monitor(&harness);
    assert_eq!(report.state_counts[&SubjectState::DataPending], 2);
    assert_eq!(report.state_counts[&SubjectState::OutOfSync], 1);
    let prices = Prices::default();
    let digest = build_digest(&harness.ledger, &prices, STANDBY, now);
    let digest = run_until_killed(&harness.sim, digest).unwrap().unwrap();
    let text = format!("{digest:?}");
    assert!(text.contains("2 data-pending"), "{text}");
}
