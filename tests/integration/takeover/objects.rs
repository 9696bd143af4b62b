//! The objects of both Regions: which of them count as given up, since when, and what stops a planned switch.

use std::collections::BTreeMap;
use twinlake_core::Timestamp;
use twinlake_core::divergence::{DivergenceReport, KeyDivergence, ListedVersion};
use twinlake_core::failover::{PendingTable, RecoveryPoint};
use twinlake_core::heartbeat::Channel;
use twinlake_core::{Name, TableId};
use twinlake_engine::divergence::compare;
use twinlake_engine::failover::FailoverError;
use twinlake_tests::takeover::object_version;
use twinlake_tests::takeover::pair::Pair;

const KEY: &str = "sales/orders/part.parquet";

/// A pair after a failover, a minute later.
fn failed_over() -> (Pair, Timestamp) {
    let pair = Pair::in_sync();
    pair.fail_over();
    pair.harness.sim.state().advance_secs(60);
    let now = pair.harness.sim.state().now();
    (pair, now)
}

fn listed(versions: &[(&str, ListedVersion)]) -> Vec<(String, ListedVersion)> {
    let versions = versions.iter().cloned();
    versions
        .map(|(key, version)| (key.to_owned(), version))
        .collect()
}

fn keys(report: &DivergenceReport) -> BTreeMap<&str, KeyDivergence> {
    let keys = report.places.iter().flat_map(|place| &place.keys);
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
    // A lifecycle rule of the primary has deleted a version that S3 had replicated to the former primary.
    pair.us.objects.versions = listed(&[
        (KEY, object_version("replica", now)),
        ("sales/orders/there.parquet", object_version("own", now)),
    ]);
    let found = pair.compare().report;
    assert_eq!(keys(&found).len(), 2);
    pair.us.objects.replicas = ["replica".to_owned()].into();
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
    pair.us.objects.replicas = (0..10).map(|n| n.to_string()).collect();
    pair.india.objects.replicas = (20..25).map(|n| n.to_string()).collect();
    let report = pair.compare().report;
    let counts = &report.places[0].counts;
    assert_eq!(counts[&KeyDivergence::OnlyInFormer], 10);
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
        reason.contains("1 keys only there, such as missing"),
        "{reason}"
    );
    pair.us.objects.versions.pop();
    let journal = pair.switch().unwrap().unwrap();
    assert_eq!(journal.not_handed_over, None);
}
