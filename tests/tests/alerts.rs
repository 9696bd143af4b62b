//! What people are told: once, under one key however often it is found, and when it is
//! over.

use serde_json::json;
use std::collections::BTreeSet;
use twinlake_core::event::{Notified, parse_replication, replication_alerts};
use twinlake_core::price::Prices;
use twinlake_core::{Alert, AlertKind, AlertState, Fault, FaultKind, Timestamp};
use twinlake_engine::alerts::{self, Looked, conclude, publish};
use twinlake_engine::digest::digest;
use twinlake_engine::{Alerts, Clock as _};
use twinlake_sim::run_until_killed;
use twinlake_tests::history::table_input;
use twinlake_tests::lab::{Lab, PRIMARY, ROLE, SECONDARY, policy};

/// A laboratory with so many databases of one table each, in step.
fn lab_with(databases: usize) -> Lab {
    let lab = Lab::new(policy(""));
    for number in 0..databases {
        let name = format!("d{number}");
        let input = json!({"DatabaseInput": {"Name": name, "CreateTableDefaultPermissions": []}});
        lab.call(PRIMARY, "CreateDatabase", &input).unwrap();
        let input = json!({"DatabaseName": name, "TableInput": table_input(&name, "t", &["id"])});
        lab.call(PRIMARY, "CreateTable", &input).unwrap();
    }
    lab.resync();
    let _ = (lab.take_events(), lab.topic.take());
    lab
}

/// Somebody else's table in the secondary, in the way of one of the primary's.
fn put_in_the_way(lab: &Lab, database: &str) {
    let other =
        json!({"DatabaseName": database, "TableInput": {"Name": "u", "Description": "mine"}});
    lab.call(SECONDARY, "CreateTable", &other).unwrap();
    let input = table_input(database, "u", &["id"]);
    let input = json!({"DatabaseName": database, "TableInput": input});
    lab.call(PRIMARY, "CreateTable", &input).unwrap();
}

fn take_away(lab: &Lab, database: &str) {
    let gone = json!({"DatabaseName": database, "Name": "u"});
    lab.call(SECONDARY, "DeleteTable", &gone).unwrap();
}

fn resync(lab: &Lab) {
    let began = lab.sim.now();
    let report = lab.resync().unwrap();
    let now = lab.sim.now();
    let found = alerts::of_report(&report, SECONDARY, now);
    let looked = Looked::of(&report.outcome, began);
    let told = conclude(&lab.topic, &lab.ledger, (&found, &looked), now);
    run_until_killed(&lab.sim, told).unwrap().unwrap();
}

/// What was told of one kind, as state, subject and count.
fn told(lab: &Lab, kind: AlertKind) -> Vec<(AlertState, String, usize)> {
    let all = lab.topic.take().into_iter();
    all.filter(|alert| alert.kind == kind)
        .map(|alert| (alert.state, alert.subject, alert.count))
        .collect()
}

fn said(state: AlertState, subject: &str, count: usize) -> (AlertState, String, usize) {
    (state, subject.to_owned(), count)
}

#[test]
fn a_trouble_is_told_once_however_often_it_is_delivered_and_when_it_is_over() {
    let lab = lab_with(1);
    put_in_the_way(&lab, "d0");
    let events = lab.take_events();
    for _ in 0..5 {
        lab.deliver(&events).unwrap();
    }
    let first = said(AlertState::New, "table d0.u", 1);
    assert_eq!(told(&lab, AlertKind::Diverged), [first]);
    lab.sim.world().pass_secs(3601);
    lab.deliver(&events).unwrap();
    let again = said(AlertState::Again, "table d0.u", 5);
    assert_eq!(told(&lab, AlertKind::Diverged), [again]);
    take_away(&lab, "d0");
    lab.deliver(&events).unwrap();
    let over = said(AlertState::Resolved, "table d0.u", 6);
    assert_eq!(told(&lab, AlertKind::Diverged), [over]);
    lab.deliver(&events).unwrap();
    assert_eq!(told(&lab, AlertKind::Diverged), []);
}

#[test]
fn it_is_not_over_while_another_table_of_the_database_is_in_it() {
    let lab = lab_with(1);
    put_in_the_way(&lab, "d0");
    let events = lab.take_events();
    let other = json!({"DatabaseName": "d0", "TableInput": {"Name": "v", "Description": "mine"}});
    lab.call(SECONDARY, "CreateTable", &other).unwrap();
    let input = json!({"DatabaseName": "d0", "TableInput": table_input("d0", "v", &["id"])});
    lab.call(PRIMARY, "CreateTable", &input).unwrap();
    resync(&lab);
    let first = said(AlertState::New, "table d0.u and 1 more", 2);
    assert_eq!(told(&lab, AlertKind::Diverged), [first]);
    take_away(&lab, "d0");
    lab.deliver(&events).unwrap();
    resync(&lab);
    assert_eq!(told(&lab, AlertKind::Diverged), []);
    let gone = json!({"DatabaseName": "d0", "Name": "v"});
    lab.call(SECONDARY, "DeleteTable", &gone).unwrap();
    resync(&lab);
    let over = told(&lab, AlertKind::Diverged);
    assert_eq!(over.len(), 1, "{over:?}");
    assert_eq!(over[0].0, AlertState::Resolved);
}

#[test]
fn one_cause_in_many_databases_is_one_message() {
    let lab = lab_with(7);
    for number in 0..7 {
        put_in_the_way(&lab, &format!("d{number}"));
    }
    resync(&lab);
    let diverged = |alert: &Alert| alert.kind == AlertKind::Diverged;
    let sent: Vec<Alert> = lab.topic.take().into_iter().filter(diverged).collect();
    let first = sent
        .iter()
        .map(|alert| (alert.state, alert.subject.clone(), alert.count));
    let first: Vec<_> = first.collect();
    assert_eq!(first, [said(AlertState::New, "table d0.u and 6 more", 7)]);
    // It is found under the key of any of them, which is what the ledger has.
    let known: BTreeSet<String> = lab.ledger.book().alerts.into_keys().collect();
    assert_eq!(sent[0].keys.len(), 7);
    assert!(sent[0].keys.is_subset(&known) && known.contains(&sent[0].key()));
    for number in 0..7 {
        take_away(&lab, &format!("d{number}"));
    }
    resync(&lab);
    let over = said(AlertState::Resolved, "table d0.u and 6 more", 7);
    assert_eq!(told(&lab, AlertKind::Diverged), [over]);
}

#[test]
fn lost_rights_are_over_when_everything_is_seen_again() {
    let lab = lab_with(2);
    lab.sim.world().take_rights(PRIMARY, ROLE);
    resync(&lab);
    let lost = lab.topic.take();
    let denied = lost.iter().filter(|alert| alert.kind == AlertKind::Denied);
    assert!(denied.count() > 0, "{lost:?}");
    let keys: Vec<String> = lost.iter().map(Alert::key).collect();
    resync(&lab);
    assert!(lab.topic.take().is_empty(), "it was told already");
    lab.sim.world().give_rights_back(PRIMARY, ROLE);
    resync(&lab);
    let over = lab.topic.take();
    let mut ended: Vec<String> = over.iter().map(Alert::key).collect();
    assert!(over.iter().all(|alert| alert.state == AlertState::Resolved));
    ended.retain(|key| keys.contains(key));
    assert_eq!(ended.len(), keys.len(), "{over:?}");
}

/// A topic out of reach.
struct Broken;

impl Alerts for Broken {
    async fn publish(&self, _: &Alert) -> Result<(), Fault> {
        let message = "it is out of reach".to_owned();
        Err(Fault::new(
            FaultKind::Unavailable,
            "Publish",
            SECONDARY,
            message,
        ))
    }
}

#[test]
fn what_could_not_be_told_to_be_over_is_told_by_a_later_look() {
    let lab = lab_with(1);
    put_in_the_way(&lab, "d0");
    resync(&lab);
    take_away(&lab, "d0");
    let _ = lab.topic.take();
    let began = lab.sim.now();
    let report = lab.resync().unwrap();
    let looked = Looked::of(&report.outcome, began);
    let lost = conclude(&Broken, &lab.ledger, (&[], &looked), lab.sim.now());
    assert!(run_until_killed(&lab.sim, lost).unwrap().is_err());
    resync(&lab);
    let over = said(AlertState::Resolved, "table d0.u", 1);
    assert_eq!(told(&lab, AlertKind::Diverged), [over]);
}

#[test]
fn a_success_that_could_not_be_told_is_told_by_the_next_one() {
    let lab = Lab::new(policy(""));
    let words = ["a", "b", "c"].map(str::to_owned);
    let now = lab.sim.now();
    let job = [Alert::new(
        AlertKind::JobFailed,
        PRIMARY,
        "job x",
        words,
        now,
    )];
    let sent = publish(&lab.topic, &lab.ledger, &job, now);
    run_until_killed(&lab.sim, sent).unwrap().unwrap();
    let _ = lab.topic.take();
    let over = Looked::default().and_over(AlertKind::JobFailed, "job x", now);
    let lost = alerts::heal(&Broken, &lab.ledger, &over, now);
    assert!(run_until_killed(&lab.sim, lost).unwrap().is_err());
    let heal = alerts::heal(&lab.topic, &lab.ledger, &over, now);
    run_until_killed(&lab.sim, heal).unwrap().unwrap();
    let over = said(AlertState::Resolved, "job x", 1);
    assert_eq!(told(&lab, AlertKind::JobFailed), [over]);
    assert!(lab.ledger.book().alerts.is_empty());
}

/// A topic during whose first message another function acts.
struct Amid<'a, F> {
    lab: &'a Lab,
    act: std::cell::Cell<Option<F>>,
}

impl<F: AsyncFnOnce()> Alerts for Amid<'_, F> {
    async fn publish(&self, alert: &Alert) -> Result<(), Fault> {
        if let Some(act) = self.act.take() {
            act().await;
        }
        self.lab.topic.publish(alert).await
    }
}

/// A trouble that is over, and the look that found so; while people are told of that, another
/// function acts.
fn over_while<F: AsyncFnOnce()>(lab: &Lab, act: impl FnOnce(Looked, Vec<Alert>) -> F) {
    put_in_the_way(lab, "d0");
    let report = lab.resync().unwrap();
    let now = lab.sim.now();
    let found = alerts::of_report(&report, SECONDARY, now);
    let sent = publish(&lab.topic, &lab.ledger, &found, now);
    run_until_killed(&lab.sim, sent).unwrap().unwrap();
    assert_eq!(told(lab, AlertKind::Diverged).len(), 1);
    take_away(lab, "d0");
    let looked = Looked::of(&lab.resync().unwrap().outcome, now);
    let act = std::cell::Cell::new(Some(act(looked.clone(), found)));
    let topic = Amid { lab, act };
    let over = conclude(&topic, &lab.ledger, (&[], &looked), now);
    run_until_killed(&lab.sim, over).unwrap().unwrap();
}

#[test]
fn two_functions_that_find_it_over_say_so_once() {
    let lab = lab_with(1);
    over_while(&lab, |looked, _| {
        let lab = &lab;
        async move || {
            let over = conclude(&lab.topic, &lab.ledger, (&[], &looked), lab.sim.now());
            over.await.unwrap();
            assert_eq!(lab.topic.take(), [], "the first one says it");
        }
    });
    let over = said(AlertState::Resolved, "table d0.u", 1);
    assert_eq!(told(&lab, AlertKind::Diverged), [over]);
}

#[test]
fn what_comes_again_while_it_is_told_to_be_over_is_told_after_that() {
    let lab = lab_with(1);
    over_while(&lab, |_, found| {
        let lab = &lab;
        async move || {
            let again = publish(&lab.topic, &lab.ledger, &found, lab.sim.now());
            again.await.unwrap();
            assert_eq!(lab.topic.take(), [], "it waits for the first one");
        }
    });
    let over = said(AlertState::Resolved, "table d0.u", 1);
    let anew = said(AlertState::New, "table d0.u", 1);
    assert_eq!(told(&lab, AlertKind::Diverged), [over, anew]);
}

/// The clock of the laboratory starts at a fixed time; a message says when it began.
#[test]
fn a_repeat_says_since_when_and_how_many() {
    let lab = lab_with(1);
    put_in_the_way(&lab, "d0");
    let events = lab.take_events();
    lab.deliver(&events).unwrap();
    let since: Timestamp = lab.topic.take()[0].since;
    lab.sim.world().pass_secs(3600);
    lab.deliver(&events).unwrap();
    let again = lab.topic.take().remove(0);
    assert_eq!((again.since, again.total), (since, 2));
    let text = again.text();
    assert!(
        text.contains(&format!("Since {since}, 2 in all.")),
        "{text}"
    );
}

#[test]
fn every_kind_has_its_row_in_the_readme() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let rows: Vec<&str> = readme.lines().filter(|row| row.starts_with("| ")).collect();
    for kind in AlertKind::EVERY {
        // The anchor is what each message leads to.
        let severity = kind.severity().as_str();
        let start = format!("| <a id=\"{kind}\"></a>{kind} | {severity} | ");
        let row = rows.iter().find(|row| row.starts_with(&start));
        assert!(
            row.is_some_and(|row| row.len() > start.len() + 20),
            "{start}"
        );
    }
    let severities = ["page", "warn", "digest"].map(|severity| format!(" | {severity} | "));
    let of_alerts = rows.iter().filter(|row| {
        let mut some = severities.iter();
        some.any(|severity| row.contains(severity.as_str()))
    });
    assert_eq!(
        of_alerts.count(),
        AlertKind::EVERY.len(),
        "a row without a kind"
    );
}

/// A notification of objects that S3 gave up.
fn given_up(from: usize, count: usize) -> Vec<u8> {
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

/// What the lag function does each minute.
fn remind(lab: &Lab) {
    let now = lab.sim.now();
    let told = alerts::remind(&lab.topic, &lab.ledger, now);
    run_until_killed(&lab.sim, told).unwrap().unwrap();
}

#[test]
fn what_lasts_is_told_again_though_nobody_finds_it_once_more() {
    let lab = Lab::new(policy(""));
    let words = ["a", "b", "c"].map(str::to_owned);
    let now = lab.sim.now();
    let found = |kind| Alert::new(kind, PRIMARY, "one", words.clone(), now);
    let kinds = [
        AlertKind::JobFailed,
        AlertKind::Unauthorized,
        AlertKind::Drift,
    ];
    let all = kinds.map(found);
    let sent = publish(&lab.topic, &lab.ledger, &all, now);
    run_until_killed(&lab.sim, sent).unwrap().unwrap();
    assert_eq!(lab.topic.take().len(), 3);
    let mut told = Vec::new();
    for hour in 1..=40 {
        lab.sim.world().pass_secs(3600);
        remind(&lab);
        let again = lab.topic.take().into_iter();
        told.extend(again.map(|alert| (hour, alert.kind, alert.state, alert.total)));
    }
    // What fades, and what was mended, is not repeated when it has not come again.
    let again = |hour| (hour, AlertKind::JobFailed, AlertState::Again, 1);
    assert_eq!(told, [1, 4, 12, 36].map(again));
}

#[test]
fn what_nobody_finds_again_for_two_weeks_is_given_up_and_said_to_be() {
    let lab = Lab::new(policy(""));
    let words = ["a", "b", "c"].map(str::to_owned);
    let now = lab.sim.now();
    let job = [Alert::new(
        AlertKind::JobFailed,
        PRIMARY,
        "job gone",
        words,
        now,
    )];
    let sent = publish(&lab.topic, &lab.ledger, &job, now);
    run_until_killed(&lab.sim, sent).unwrap().unwrap();
    let day = || {
        lab.sim.world().pass_secs(86_400);
        remind(&lab);
        let now = lab.sim.now();
        let fade = alerts::fade(&lab.topic, &lab.ledger, 3600, now);
        run_until_killed(&lab.sim, fade).unwrap().unwrap();
    };
    (0..13).for_each(|_| day());
    let told = lab.topic.take();
    assert!(told.len() > 10, "it lasts: {}", told.len());
    assert!(told.iter().all(|alert| alert.state != AlertState::Resolved));
    day();
    let last = lab.topic.take().pop().unwrap();
    assert_eq!(last.state, AlertState::Resolved);
    assert!(last.what.ends_with("is given up.") && last.now.contains("nor that it is over"));
}

#[test]
fn what_is_well_ends_though_another_thing_of_the_same_trouble_is_found_again() {
    let lab = lab_with(1);
    put_in_the_way(&lab, "d0");
    let other = json!({"DatabaseName": "d0", "TableInput": {"Name": "v", "Description": "mine"}});
    lab.call(SECONDARY, "CreateTable", &other).unwrap();
    let input = json!({"DatabaseName": "d0", "TableInput": table_input("d0", "v", &["id"])});
    lab.call(PRIMARY, "CreateTable", &input).unwrap();
    resync(&lab);
    take_away(&lab, "d0");
    let began = lab.sim.now();
    let report = lab.resync().unwrap();
    // What the look itself found is noted some time after it began.
    lab.sim.world().pass_secs(60);
    let now = lab.sim.now();
    let found = alerts::of_report(&report, SECONDARY, now);
    let looked = Looked::of(&report.outcome, began);
    let told = conclude(&lab.topic, &lab.ledger, (&found, &looked), now);
    run_until_killed(&lab.sim, told).unwrap().unwrap();
    let left = lab.ledger.book().alerts;
    let mut left = left
        .values()
        .filter(|(e, _)| e.alert.kind == AlertKind::Diverged);
    let about = &left.next().unwrap().0.alert.about;
    assert_eq!(about, &BTreeSet::from(["table d0.v".to_owned()]));
}

#[test]
fn a_look_that_began_earlier_does_not_end_what_was_found_since() {
    let lab = lab_with(1);
    let began = lab.sim.now();
    let looked = Looked::of(&lab.resync().unwrap().outcome, began);
    lab.sim.world().pass_secs(60);
    put_in_the_way(&lab, "d0");
    lab.deliver(&lab.take_events()).unwrap();
    assert_eq!(told(&lab, AlertKind::Diverged).len(), 1);
    let late = conclude(&lab.topic, &lab.ledger, (&[], &looked), lab.sim.now());
    run_until_killed(&lab.sim, late).unwrap().unwrap();
    assert_eq!(told(&lab, AlertKind::Diverged), []);
    take_away(&lab, "d0");
    lab.sim.world().pass_secs(60);
    resync(&lab);
    assert_eq!(told(&lab, AlertKind::Diverged).len(), 1);
}

#[test]
fn two_jobs_are_two_messages_and_each_says_what_to_do() {
    let lab = Lab::new(policy(""));
    let words = ["a", "b", "c"].map(str::to_owned);
    let now = lab.sim.now();
    let jobs = ["job x", "job y"]
        .map(|job| Alert::new(AlertKind::JobFailed, PRIMARY, job, words.clone(), now));
    let sent = publish(&lab.topic, &lab.ledger, &jobs, now);
    run_until_killed(&lab.sim, sent).unwrap().unwrap();
    let keys: Vec<String> = lab.topic.take().iter().map(Alert::key).collect();
    assert_eq!(keys, jobs.map(|job| job.key()));
}

#[test]
fn the_digest_counts_what_is_kept_back_whoever_looked_last() {
    let lab = lab_with(1);
    for name in ["x", "y", "z"] {
        let mut input = table_input("d0", name, &["id"]);
        input["Parameters"] =
            json!({"table_type": "ICEBERG", "metadata_location": "s3://lake-us/m"});
        let input = json!({"DatabaseName": "d0", "TableInput": input});
        lab.call(PRIMARY, "CreateTable", &input).unwrap();
    }
    let events = lab.take_events();
    resync(&lab);
    // An event on one of them looks at that one alone.
    lab.deliver(&events[..1]).unwrap();
    let digest = async {
        let prices = Prices::default();
        digest(&lab.ledger, &prices, SECONDARY, lab.sim.now()).await
    };
    let digest = run_until_killed(&lab.sim, digest).unwrap().unwrap();
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
        digest.samples.contains(&"3 held".to_owned()),
        "{:?}",
        digest.samples
    );
}

#[test]
fn a_storm_of_ten_thousand_objects_is_one_message_and_no_count_is_lost() {
    let lab = Lab::new(policy(""));
    let note = |body: &[u8]| {
        let now = lab.sim.now();
        let Ok(Notified::Objects(notices, _)) = parse_replication(body, now) else {
            panic!("it is a notification");
        };
        let unmapped: Vec<_> = notices.into_iter().map(|notice| (notice, None)).collect();
        let found = replication_alerts(&unmapped);
        let sent = publish(&lab.topic, &lab.ledger, &found, now);
        run_until_killed(&lab.sim, sent).unwrap().unwrap();
    };
    for storm in 0..100 {
        note(&given_up(storm * 100, 100));
    }
    let first = lab.topic.take();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!((first[0].count, first[0].state), (100, AlertState::New));
    // Nothing comes any more, and people learn of the rest all the same.
    let again = |secs: i64| {
        lab.sim.world().pass_secs(secs);
        remind(&lab);
        lab.topic.take()
    };
    assert_eq!(again(3598), []);
    let again = again(2);
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!((again[0].count, again[0].total), (9_900, 10_000));
    assert_eq!(again[0].key(), first[0].key());
    assert!(
        again[0].todo.starts_with("Enable the KMS key"),
        "{:?}",
        again[0].todo
    );
}
