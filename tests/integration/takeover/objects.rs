//! The objects of both Regions: which of them count as given up, since when, and what stops a planned switch.

use std::collections::BTreeMap;
use twinlake_core::canary::{Canary, CanaryState, ReceivedCanary};
use twinlake_core::divergence::{DivergenceReport, KeyDivergence, ListedVersion};
use twinlake_core::failover::{
    FailoverStep, ForceableGate, PendingTable, RecoveryPoint, SwitchStepResult, after_step,
};
use twinlake_core::heartbeat::{Channel, ChannelHealth, Heartbeat};
use twinlake_core::{Name, Policy, TableId, Timestamp};
use twinlake_engine::divergence::compare;
use twinlake_engine::failover::{FailoverError, unproven_replication};
use twinlake_engine::{Ledger as _, StatsStore as _};
use twinlake_tests::harness::policy;
use twinlake_tests::takeover::pair::Pair;
use twinlake_tests::takeover::{object_version, ready};

const KEY: &str = "sales/orders/part.parquet";

/// A pair after a failover, a minute later.
fn failed_over() -> (Pair, Timestamp) {
    let pair = Pair::in_sync();
    pair.fail_over();
    pair.harness.sim.state().advance_secs(60);
    let now = pair.harness.sim.state().now();
    (pair, now)
}

fn marker(id: &str, at: Timestamp) -> ListedVersion {
    ListedVersion {
        e_tag: None,
        is_delete_marker: true,
        ..object_version(id, at)
    }
}

fn listed(versions: &[(&str, ListedVersion)]) -> Vec<(String, ListedVersion)> {
    let versions = versions.iter().cloned();
    versions
        .map(|(key, version)| (key.to_owned(), version))
        .collect()
}

fn keys(report: &DivergenceReport) -> BTreeMap<&str, KeyDivergence> {
    let keys = report.locations.iter().flat_map(|location| &location.keys);
    keys.map(|key| (key.key.as_str(), key.divergence)).collect()
}

#[test]
fn canaries_are_no_objects_of_the_lake() {
    let (mut pair, now) = failed_over();
    let canary = "sales/_twinlake_canary/_0123";
    let other = "sales/_twinlake_canary/mine";
    pair.us.objects.versions = listed(&[
        (canary, object_version("1", now)),
        (other, object_version("2", now)),
    ]);
    let report = pair.compare().report;
    assert_eq!(keys(&report), [(other, KeyDivergence::OnlyInFormer)].into());
}

#[test]
fn what_the_primary_wrote_and_has_deleted_since_is_not_given_up() {
    let (mut pair, now) = failed_over();
    // S3 had replicated a version to the former primary. The primary has deleted it, and a lifecycle rule its version.
    pair.us.objects.versions = listed(&[
        (KEY, object_version("replica", now)),
        ("sales/orders/there.parquet", object_version("own", now)),
    ]);
    let found = pair.compare().report;
    assert_eq!(keys(&found).len(), 2);
    pair.us.objects.replicas = ["replica".to_owned()].into();
    // Without a trace of that, it may be a replica of a third bucket.
    assert_eq!(keys(&pair.compare().report).len(), 2);
    pair.india.objects.versions = listed(&[(KEY, marker("deleted", now))]);
    let found = pair.compare().report;
    assert_eq!(
        keys(&found),
        [("sales/orders/there.parquet", KeyDivergence::OnlyInFormer)].into()
    );
    // What cannot be asked stays in the report.
    pair.us.objects.denies_origins = true;
    assert_eq!(keys(&pair.compare().report).len(), 2);
}

#[test]
fn origins_are_asked_several_at_a_time_and_not_all_at_once() {
    let (mut pair, now) = failed_over();
    let key = |n: usize| format!("sales/orders/{n:03}.parquet");
    let of = |from: usize, to: usize| {
        let versions = (from..to).map(|n| (key(n), object_version(&n.to_string(), now)));
        versions.collect::<Vec<_>>()
    };
    pair.us.objects.versions = of(0, 40);
    pair.india.objects.versions = of(20, 40);
    let markers = (0..20).map(|n| (key(n), marker(&format!("deleted {n}"), now)));
    pair.india.objects.versions.extend(markers);
    pair.us.objects.replicas = (0..10).map(|n| n.to_string()).collect();
    pair.india.objects.replicas = (20..25).map(|n| n.to_string()).collect();
    let report = pair.compare().report;
    let counts = &report.locations[0].counts;
    assert_eq!(counts[&KeyDivergence::WrittenInBoth], 10);
    assert_eq!(counts[&KeyDivergence::ArrivedLate], 5);
    for objects in [&pair.us.objects, &pair.india.objects] {
        let most = objects.most_at_once();
        assert!((2..=4).contains(&most), "{most}");
    }
}

#[test]
fn what_arrives_late_changes_the_report_and_not_its_digest() {
    let (mut pair, now) = failed_over();
    pair.us.objects.versions = listed(&[("only", object_version("1", now))]);
    let before = pair.compare().report;
    let late = ("late", object_version("2", now));
    pair.us
        .objects
        .versions
        .extend(listed(std::slice::from_ref(&late)));
    pair.india.objects.versions = listed(&[late]);
    pair.india.objects.replicas = ["2".to_owned()].into();
    let after = pair.compare().report;
    assert_eq!(keys(&after)["late"], KeyDivergence::ArrivedLate);
    assert_eq!(after.digest(), before.digest());
    // Before it had arrived, it was given up, and the digest covered it.
    pair.india.objects.versions.clear();
    assert_ne!(pair.compare().report.digest(), before.digest());
}

const DAY_SECS: i64 = 86_400;

/// The report of a failover with this recovery point, and the objects that were written at these times.
fn report_with(point: RecoveryPoint, written: &[i64]) -> (Timestamp, usize) {
    let (mut pair, _) = failed_over();
    let mut record = pair.record(&pair.india);
    record.failover.as_mut().unwrap().recovery_point = point;
    let versions = written.iter().map(|secs| {
        let id = secs.to_string();
        (
            format!("sales/orders/{id}"),
            object_version(&id, Timestamp::from_secs(*secs)),
        )
    });
    pair.us.objects.versions = versions.collect();
    let regions = pair.regions(&pair.india, &pair.us, record.epoch);
    let report = pair
        .run(compare(&regions, &record))
        .unwrap()
        .unwrap()
        .report;
    (report.since, keys(&report).len())
}

#[test]
fn objects_count_from_a_day_before_the_last_canary_else_resync_and_before_the_oldest_missing_one() {
    let at = Timestamp::from_secs;
    let (canary, verified) = (at(1_000_000), at(900_000));
    let around = |time: i64| [time - DAY_SECS - 1, time - DAY_SECS, time];
    let with_canary = RecoveryPoint {
        heartbeats: [(Channel::Storage, canary)].into(),
        verified_at: Some(verified),
        ..RecoveryPoint::default()
    };
    let found = report_with(with_canary.clone(), &around(1_000_000));
    assert_eq!(found, (at(1_000_000 - DAY_SECS), 2));
    let without_canary = RecoveryPoint {
        heartbeats: BTreeMap::new(),
        ..with_canary.clone()
    };
    let found = report_with(without_canary, &around(900_000));
    assert_eq!(found, (at(900_000 - DAY_SECS), 2));
    let table = |name: &str, since: i64| PendingTable {
        table: TableId::new(Name::new("sales").unwrap(), Name::new(name).unwrap()),
        objects: 1,
        since: at(since),
    };
    let with_missing = RecoveryPoint {
        pending: vec![table("items", 950_000), table("orders", 800_000)],
        ..with_canary.clone()
    };
    let found = report_with(with_missing, &around(800_000));
    assert_eq!(found, (at(800_000 - DAY_SECS), 2));
    // What is missing since the canary does not move it.
    let later = RecoveryPoint {
        pending: vec![table("orders", 1_100_000)],
        ..with_canary
    };
    let found = report_with(later, &around(1_000_000));
    assert_eq!(found, (at(1_000_000 - DAY_SECS), 2));
    // Nobody knows what has arrived.
    let found = report_with(RecoveryPoint::default(), &around(DAY_SECS + 1));
    assert_eq!(found, (Timestamp::default(), 3));
}

#[test]
fn what_has_arrived_late_stops_no_planned_switch_and_what_has_not_arrived_does() {
    let mut pair = Pair::in_sync();
    let later = pair.harness.sim.state().now().plus_secs(60);
    let late = ("late", object_version("1", later));
    pair.us.objects.versions = listed(std::slice::from_ref(&late));
    pair.india.objects.versions = listed(&[late]);
    pair.india.objects.replicas = ["1".to_owned()].into();
    let missing = ("missing", object_version("2", later));
    pair.us.objects.versions.extend(listed(&[missing]));
    let refused = pair.switch();
    let Err(FailoverError::NotVerified(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        reason.contains("in 1 key have not arrived")
            && reason.contains("only there, such as missing"),
        "{reason}"
    );
    pair.us.objects.versions.pop();
    let journal = pair.switch().unwrap().unwrap();
    assert_eq!(journal.not_handed_over, None);
}

/// Why a planned switch changed nothing.
fn not_verified(pair: &Pair) -> String {
    match pair.switch() {
        Err(FailoverError::NotVerified(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_planned_switch_compares_objects_of_any_age() {
    let mut pair = Pair::in_sync();
    let now = pair.harness.sim.state().now();
    let old = (KEY, object_version("old", now.plus_secs(-400 * DAY_SECS)));
    pair.us.objects.versions = listed(&[old.clone(), ("new", object_version("new", now))]);
    pair.india.objects.versions = listed(&[("new", object_version("new", now))]);
    // A canary of this moment proves nothing about what was there before its rule.
    let canary = ReceivedCanary {
        canary: Canary {
            bucket: "lake-us".to_owned(),
            rule: "all".to_owned(),
            prefix: String::new(),
            key: "_twinlake_canary/_1".to_owned(),
            destination: "lake-in".to_owned(),
            replica_key: None,
        },
        is_sent: true,
        unsent_reason: None,
        listed_at: now,
        send_failure: None,
        health: ChannelHealth {
            since: now,
            last: Some(Heartbeat {
                sent: now,
                done: now,
            }),
        },
        problem: None,
    };
    let mut state = CanaryState::default();
    state.received.canaries.push(canary);
    ready(pair.india.ledger.put_canaries(&state)).unwrap();
    let reason = not_verified(&pair);
    assert!(reason.contains(KEY), "{reason}");
    let location = pair.us.objects.versions.first().unwrap().clone();
    pair.india.objects.versions.push(location);
    let journal = pair.switch().unwrap().unwrap();
    assert_eq!(journal.not_handed_over, None);
    let storage = journal.recovery_point.heartbeats.get(&Channel::Storage);
    assert_eq!(storage, Some(&now));
}

#[test]
fn replicas_of_a_third_bucket_stop_a_planned_switch() {
    let mut pair = Pair::in_sync();
    let now = pair.harness.sim.state().now();
    pair.us.objects.versions = listed(&[(KEY, object_version("landed", now))]);
    pair.us.objects.replicas = ["landed".to_owned()].into();
    let reason = not_verified(&pair);
    assert!(reason.contains(KEY), "{reason}");
    // Nor does a delete marker of the other Region open it: readers see the object in one Region only.
    let later = now.plus_secs(1);
    pair.india.objects.versions = listed(&[(KEY, marker("deleted", later))]);
    let reason = not_verified(&pair);
    assert!(reason.contains("written in both"), "{reason}");
}

#[test]
fn what_the_new_primary_writes_before_it_hands_over_leaves_nothing_behind() {
    let pair = Pair::in_sync();
    let now = pair.harness.sim.state().now();
    let old = object_version("old", now.plus_secs(-400 * DAY_SECS));
    let mut pair = pair;
    pair.us.objects.versions = listed(&[(KEY, old.clone())]);
    pair.india.objects.versions = listed(&[(KEY, old), (KEY, object_version("new", now))]);
    // Before the epoch it is a difference that readers see.
    let reason = not_verified(&pair);
    assert!(reason.contains("written in both"), "{reason}");
    let record = pair.record(&pair.india);
    let verified = after_step(
        &record,
        FailoverStep::Verify,
        now,
        SwitchStepResult::default(),
    );
    let written = after_step(
        &verified,
        FailoverStep::WriteEpoch,
        now,
        SwitchStepResult::default(),
    );
    let version = pair
        .india
        .ledger
        .contents()
        .epoch_record
        .map(|(_, version)| version);
    assert!(ready(pair.india.ledger.put_epoch_record(&written, version)).unwrap());
    let journal = pair.switch().unwrap().unwrap();
    assert_eq!(journal.not_handed_over, None);
}

#[test]
fn the_report_says_of_each_location_since_when_its_objects_are_compared() {
    let (pair, _) = failed_over();
    let report = pair.compare().report;
    assert!(!report.locations.is_empty());
    for location in &report.locations {
        assert_eq!(location.since, Some(report.since));
    }
}

#[test]
fn what_s3_replicates_needs_canaries_before_a_planned_switch() {
    let pair = Pair::in_sync();
    let ledger = &pair.india.ledger;
    let copied = policy("");
    let by_s3 = copied
        .text()
        .replace("s3://lake-in/replica", "s3://lake-in");
    let by_s3 = Policy::parse(&by_s3.replace("copied-by = \"other\"", "")).unwrap();
    let site = by_s3.sites.find(pair.india.name).unwrap();
    assert!(ready(unproven_replication(site, ledger, &copied)).is_empty());
    let unproven = ready(unproven_replication(site, ledger, &by_s3));
    assert_eq!(unproven.len(), 1, "{unproven:?}");
    let mut request = pair.request(&pair.us);
    request.switchover.as_mut().unwrap().unproven_replication = unproven;
    let refused = pair.switch_with((&pair.india, &pair.us), &request, &());
    let Some(Err(FailoverError::Refused(refusal))) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal.gate.to_string(), "storage-proof");
    request.forced = [ForceableGate::StorageProof].into();
    let switched = pair.switch_with((&pair.india, &pair.us), &request, &());
    assert!(switched.unwrap().is_ok());
}
