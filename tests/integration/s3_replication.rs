//! S3 Replication notifications: failed objects are assigned to tables, and awaited until they are
//! in the bucket of the standby.

use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeSet;
use twinlake_core::event::{ParsedNotifications, parse_replication, replication_alerts};
use twinlake_core::ledger::{ExpectedReplica, PendingObjects};
use twinlake_core::{
    Alert, AlertKind, AlertState, CallError, CallErrorKind, Name, Subject, TableId, Timestamp,
};
use twinlake_engine::alerts::{self, publish_and_resolve};
use twinlake_engine::ports::StandbyObjects;
use twinlake_engine::s3_replication::AwaitedObjects;
use twinlake_engine::{Clock as _, StatsStore as _, s3_replication};
use twinlake_sim::run_until_killed;
use twinlake_tests::fixtures::harness_with_table;
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness};

const FAILED_EVENT: &str = "OperationFailedReplication";

/// The buckets of the standby.
#[derive(Default)]
struct FakeBuckets {
    keys: RefCell<BTreeSet<String>>,
    /// Every call is denied.
    denies_access: bool,
}

impl StandbyObjects for FakeBuckets {
    async fn has_arrived(&self, replica: &ExpectedReplica) -> Result<bool, CallError> {
        if self.denies_access {
            let message = "access denied".to_owned();
            return Err(CallError::new(
                CallErrorKind::Denied,
                "HeadObject",
                STANDBY,
                message,
            ));
        }
        Ok(self.keys.borrow().contains(&replica.key))
    }
}

/// Checks as each hour whether awaited objects have arrived. Returns the alert subjects of those
/// that have not.
fn recheck_pending_objects(harness: &TestHarness, buckets: &FakeBuckets) -> BTreeSet<String> {
    let alert_subjects = async {
        let stop_at = harness.sim.now().plus_secs(60);
        let recheck =
            s3_replication::recheck_pending(&harness.ledger, buckets, &harness.sim, stop_at)
                .await?;
        assert_eq!(recheck.bucket_errors.is_empty(), !buckets.denies_access);
        alerts::resolve_incidents(
            &harness.topic,
            &harness.ledger,
            &recheck.checked,
            harness.sim.now(),
        )
        .await?;
        let pending = harness.ledger.all_pending_objects().await?;
        Ok::<_, CallError>(AwaitedObjects::of(&pending).alert_subjects)
    };
    run_until_killed(&harness.sim, alert_subjects)
        .unwrap()
        .unwrap()
}

fn notification_record(name: &str, key: &str) -> serde_json::Value {
    record_with_reason(name, key, "DstBucketNotFound")
}

fn record_with_reason(name: &str, key: &str, reason: &str) -> serde_json::Value {
    json!({"eventName": format!("Replication:{name}"), "awsRegion": PRIMARY,
           "s3": {"bucket": {"name": "lake-us"}, "object": {"key": key, "versionId": "v1"}},
           "replicationEventData": {"replicationRuleId": "crr",
               "destinationBucket": "arn:aws:s3:::lake-in", "failureReason": reason}})
}

/// Buckets of the standby that have every object.
struct FullBuckets;

impl StandbyObjects for FullBuckets {
    async fn has_arrived(&self, _: &ExpectedReplica) -> Result<bool, CallError> {
        Ok(true)
    }
}

#[test]
fn a_canary_is_of_no_table_even_below_the_location_of_one() {
    let harness = harness_with_table("orders");
    let object = notification_record(FAILED_EVENT, "sales/orders/1.parquet");
    let canary = notification_record(FAILED_EVENT, "sales/orders/_twinlake_canary/_1f");
    let [alert] = process_notification(&harness, &[canary])
        .try_into()
        .unwrap();
    assert_eq!(alert.subject, "bucket lake-us rule crr: DstBucketNotFound");
    assert!(
        alert.current_state.contains("canary of Twinlake"),
        "{alert:?}"
    );
    let pending = || harness.ledger.contents().pending_objects.len();
    assert_eq!(pending(), 0);
    process_notification(&harness, &[object]);
    assert_eq!(pending(), 1, "an object beside it is of the table");
}

/// Processes a notification as the function of the standby does, where every object has arrived.
/// Returns the published alerts.
fn process_notification(harness: &TestHarness, records: &[serde_json::Value]) -> Vec<Alert> {
    process_notification_with(harness, records, &FullBuckets)
}

/// Processes a notification as the function of the standby does. Returns the published alerts.
fn process_notification_with(
    harness: &TestHarness,
    records: &[serde_json::Value],
    buckets: &impl StandbyObjects,
) -> Vec<Alert> {
    let body = json!({ "Records": records }).to_string().into_bytes();
    let Ok(ParsedNotifications::Notices(notices, _)) = parse_replication(&body, harness.sim.now())
    else {
        panic!("not a notification");
    };
    let processed = async {
        let mapped = s3_replication::map_to_tables(&harness.ledger, notices).await?;
        let checked =
            s3_replication::record_failures(&harness.ledger, buckets, &mapped, harness.sim.now())
                .await?;
        let alerts = replication_alerts(&mapped);
        publish_and_resolve(
            &harness.topic,
            &harness.ledger,
            (&alerts, &checked),
            harness.sim.now(),
        )
        .await?;
        Ok::<_, CallError>(())
    };
    run_until_killed(&harness.sim, processed).unwrap().unwrap();
    harness.topic.take()
}

/// Returns the key prefix of the objects of a table.
fn key_prefix_of_table(harness: &TestHarness) -> String {
    let rows = harness.ledger.contents().rows;
    let location = rows
        .values()
        .find_map(|row| row.source_location.clone())
        .unwrap();
    location.replace("s3://lake-us/", "")
}

#[test]
fn failed_objects_are_assigned_to_their_table_until_the_samples_arrive() {
    let harness = harness_with_table("orders");
    let location = harness
        .ledger
        .contents()
        .rows
        .into_iter()
        .find_map(|(subject, row)| {
            let id = matches!(&subject, Subject::Table(id) if id.table.as_str() == "orders");
            id.then_some(row.source_location).flatten()
        });
    let location = location.unwrap();
    let key_prefix = location
        .strip_prefix("s3://lake-us/")
        .unwrap()
        .trim_end_matches('/');
    let first = process_notification(
        &harness,
        &[
            notification_record(
                "OperationFailedReplication",
                &format!("{key_prefix}/dt%3D1/a"),
            ),
            notification_record(
                "OperationFailedReplication",
                &format!("{key_prefix}/dt%3D1/b"),
            ),
            notification_record("OperationFailedReplication", &format!("{key_prefix}2/c")),
        ],
    );
    // The key of the third object has the same prefix but is outside the location.
    let alerts: Vec<_> = first
        .iter()
        .map(|alert| (alert.subject.as_str(), alert.count))
        .collect();
    let subjects = [
        "bucket lake-us rule crr: DstBucketNotFound",
        "table sales.orders: DstBucketNotFound",
    ];
    assert_eq!(alerts, [(subjects[0], 1), (subjects[1], 2)]);
    let pending = run_until_killed(&harness.sim, harness.ledger.all_pending_objects())
        .unwrap()
        .unwrap();
    let (id, (pending, _)) = pending.into_iter().next().unwrap();
    assert_eq!(
        (id.to_string().as_str(), pending.count()),
        ("sales.orders", 2)
    );

    let buckets = FakeBuckets::default();
    let pending_reasons = |buckets: &FakeBuckets| recheck_pending_objects(&harness, buckets).len();
    assert_eq!(pending_reasons(&buckets), 1);
    let denied = FakeBuckets {
        denies_access: true,
        ..FakeBuckets::default()
    };
    assert_eq!(
        pending_reasons(&denied),
        1,
        "objects that cannot be read stay pending"
    );
    buckets
        .keys
        .borrow_mut()
        .insert(format!("{key_prefix}/dt=1/a"));
    assert_eq!(pending_reasons(&buckets), 1, "one object is still missing");
    assert!(harness.topic.take().is_empty());
    buckets
        .keys
        .borrow_mut()
        .insert(format!("{key_prefix}/dt=1/b"));
    assert_eq!(pending_reasons(&buckets), 0);
    let resolved = harness.topic.take();
    assert_eq!(resolved.len(), 1);
    assert_eq!(
        (resolved[0].state, resolved[0].subject.as_str()),
        (
            AlertState::Resolved,
            "table sales.orders: DstBucketNotFound"
        )
    );
}

#[test]
fn a_late_object_is_resolved_when_s3_reports_that_it_was_replicated() {
    let harness = harness_with_table("orders");
    let rows = harness.ledger.contents().rows;
    let location = rows
        .values()
        .find_map(|row| row.source_location.clone())
        .unwrap();
    let key = location.replace("s3://lake-us/", "") + "x";
    let late = process_notification(
        &harness,
        &[notification_record("OperationMissedThreshold", &key)],
    );
    assert_eq!(late[0].kind, AlertKind::ReplicationLate);
    let arrived = process_notification(
        &harness,
        &[notification_record(
            "OperationReplicatedAfterThreshold",
            &key,
        )],
    );
    let states: Vec<AlertState> = arrived.iter().map(|alert| alert.state).collect();
    assert!(states.contains(&AlertState::Resolved), "{arrived:?}");
    assert!(harness.ledger.contents().pending_objects.is_empty());
}

#[test]
fn a_notice_of_an_arrival_is_believed_only_if_the_object_is_in_the_bucket() {
    let harness = harness_with_table("orders");
    let key = key_prefix_of_table(&harness) + "x";
    let record = |name: &str| [notification_record(name, &key)];
    process_notification(&harness, &record("OperationMissedThreshold"));
    let arrived = record("OperationReplicatedAfterThreshold");
    let mut buckets = FakeBuckets::default();
    let is_pending = || !harness.ledger.contents().pending_objects.is_empty();
    process_notification_with(&harness, &arrived, &buckets);
    assert!(is_pending(), "the object is not in the bucket");
    buckets.keys.borrow_mut().insert(key.clone());
    buckets.denies_access = true;
    process_notification_with(&harness, &arrived, &buckets);
    assert!(is_pending(), "the bucket cannot be read");
    buckets.denies_access = false;
    let alerts = process_notification_with(&harness, &arrived, &buckets);
    assert!(!is_pending());
    let mut states = alerts.iter().map(|alert| alert.state);
    assert!(
        states.any(|state| state == AlertState::Resolved),
        "{alerts:?}"
    );
}

#[test]
fn each_failure_reason_is_resolved_only_by_its_own_objects() {
    let harness = harness_with_table("orders");
    let keys = key_prefix_of_table(&harness);
    let failed_record = |n: usize| {
        record_with_reason(
            FAILED_EVENT,
            &format!("{keys}{n}"),
            "DstPutObjectNotPermitted",
        )
    };
    let first: Vec<_> = (0..25).map(failed_record).collect();
    process_notification(&harness, &first);
    process_notification(
        &harness,
        &[record_with_reason(
            FAILED_EVENT,
            &format!("{keys}late"),
            "DstKmsKeyInvalidState",
        )],
    );
    let buckets = FakeBuckets::default();
    let arrived = (0..20).map(|n| format!("{keys}{n}"));
    buckets.keys.borrow_mut().extend(arrived);
    let left = recheck_pending_objects(&harness, &buckets);
    assert_eq!(left.len(), 1);
    assert!(
        left.iter()
            .all(|reason| reason.ends_with("DstKmsKeyInvalidState")),
        "{left:?}"
    );
    let resolved: Vec<String> = harness
        .topic
        .take()
        .into_iter()
        .map(|alert| alert.subject)
        .collect();
    assert_eq!(resolved.len(), 1);
    assert!(
        resolved[0].ends_with("DstPutObjectNotPermitted"),
        "{resolved:?}"
    );
}

#[test]
fn objects_that_cannot_arrive_raise_an_alert_and_are_not_awaited() {
    let harness = harness_with_table("orders");
    let keys = key_prefix_of_table(&harness);
    let mut deletion =
        record_with_reason(FAILED_EVENT, &format!("{keys}b"), "DstDelObjNotPermitted");
    deletion["replicationEventData"]["s3Operation"] = json!("OBJECT_DELETE_MARKER");
    let alerts = process_notification(
        &harness,
        &[
            record_with_reason(FAILED_EVENT, &format!("{keys}a"), "SrcObjectNotFound"),
            deletion,
        ],
    );
    assert_eq!(alerts.iter().map(|alert| alert.count).sum::<usize>(), 2);
    assert!(harness.ledger.contents().pending_objects.is_empty());
    // No check can resolve these alerts, so they expire if the failure does not recur.
    let expired_count = |harness: &TestHarness| {
        let now = harness.sim.now();
        let expired = alerts::expire_incidents(&harness.topic, &harness.ledger, 3600, now);
        run_until_killed(&harness.sim, expired).unwrap().unwrap();
        let alerts = harness.topic.take().into_iter();
        alerts.map(|alert| alert.count).sum::<usize>()
    };
    assert_eq!(expired_count(&harness), 0);
    harness.sim.state().advance_secs(3601);
    assert_eq!(expired_count(&harness), 2);
    // The alert for a missing object does not expire.
    process_notification(
        &harness,
        &[notification_record(
            "OperationMissedThreshold",
            &format!("{keys}c"),
        )],
    );
    harness.sim.state().advance_secs(3601);
    assert_eq!(expired_count(&harness), 0);
}

#[test]
fn the_policy_supplies_a_destination_that_s3_does_not_report() {
    let harness = harness_with_table("orders");
    let mut record = notification_record(
        "OperationNotTracked",
        &format!("{}x", key_prefix_of_table(&harness)),
    );
    record["replicationEventData"] = json!({});
    let body = json!({ "Records": [record] }).to_string().into_bytes();
    let Ok(ParsedNotifications::Notices(notices, _)) = parse_replication(&body, harness.sim.now())
    else {
        panic!("not a notification");
    };
    assert_eq!(notices[0].replica(), None);
    let epoch = harness.epoch();
    let notice = s3_replication::with_destination(notices[0].clone(), &harness.policy, epoch);
    assert_eq!(notice.replica().unwrap().bucket, "lake-in");
}

/// Returns the record of an event of one object version at a time in seconds.
fn record_of_version(name: &str, key: &str, version: &str, at: i64) -> serde_json::Value {
    let mut record = notification_record(name, key);
    record["s3"]["object"]["versionId"] = json!(version);
    record["eventTime"] = json!(Timestamp::from_secs(at).to_string());
    record
}

#[test]
fn only_the_replicated_version_is_resolved() {
    let harness = harness_with_table("orders");
    let key = key_prefix_of_table(&harness) + "x";
    let missed = |version, at| record_of_version("OperationMissedThreshold", &key, version, at);
    let arrived =
        |version, at| record_of_version("OperationReplicatedAfterThreshold", &key, version, at);
    process_notification(&harness, &[missed("v1", 100), missed("v2", 110)]);
    let first = process_notification(&harness, &[arrived("v1", 200)]);
    let is_resolved = |alerts: &[Alert]| {
        alerts
            .iter()
            .any(|alert| alert.state == AlertState::Resolved)
    };
    assert!(
        !is_resolved(&first),
        "the other version is missing: {first:?}"
    );
    let pendings = harness.ledger.contents().pending_objects;
    assert_eq!(pendings.values().map(|(p, _)| p.count()).sum::<usize>(), 1);
    assert!(is_resolved(&process_notification(
        &harness,
        &[arrived("v2", 300)]
    )));
}

#[test]
fn many_late_objects_are_resolved_when_as_many_arrived_as_were_late() {
    let harness = harness_with_table("orders");
    let keys = key_prefix_of_table(&harness);
    let records = |name: &str, from: usize, to: usize| -> Vec<_> {
        let key = |n: usize| format!("{keys}{n}");
        (from..to)
            .map(|n| notification_record(name, &key(n)))
            .collect()
    };
    process_notification(&harness, &records("OperationMissedThreshold", 0, 50));
    // The samples are the first late objects, and usually arrive first.
    let arrived = process_notification(
        &harness,
        &records("OperationReplicatedAfterThreshold", 0, 49),
    );
    assert!(
        arrived
            .iter()
            .all(|alert| alert.state != AlertState::Resolved),
        "{arrived:?}"
    );
    let arrived = process_notification(
        &harness,
        &records("OperationReplicatedAfterThreshold", 49, 50),
    );
    assert!(
        arrived
            .iter()
            .any(|alert| alert.state == AlertState::Resolved),
        "{arrived:?}"
    );
}

/// Buckets of the standby in which nothing has arrived. Each look takes a time.
struct SlowBuckets<'a> {
    harness: &'a TestHarness,
    secs: i64,
    looked_for: RefCell<Vec<String>>,
}

impl StandbyObjects for SlowBuckets<'_> {
    async fn has_arrived(&self, replica: &ExpectedReplica) -> Result<bool, CallError> {
        self.looked_for.borrow_mut().push(replica.key.clone());
        self.harness.sim.state().advance_secs(self.secs);
        Ok(false)
    }
}

#[test]
fn tables_take_turns_when_the_time_of_the_hourly_check_is_too_short_for_all() {
    let harness = harness_with_table("orders");
    for n in 0..7 {
        let name = Name::new(&format!("t{n}")).unwrap();
        let table = TableId::new(Name::new("sales").unwrap(), name);
        let mut pending = PendingObjects::default();
        let replica = ExpectedReplica {
            bucket: "lake-in".to_owned(),
            key: n.to_string(),
            version: None,
            created_at: harness.sim.now(),
        };
        pending.add("late", replica, harness.sim.now());
        let put = async {
            let stored = harness
                .ledger
                .put_pending_objects(&table, Some(&pending), None);
            stored.await
        };
        assert!(run_until_killed(&harness.sim, put).unwrap().unwrap());
    }
    let buckets = SlowBuckets {
        harness: &harness,
        secs: 30,
        looked_for: RefCell::default(),
    };
    let recheck = || {
        let stop_at = harness.sim.now().plus_secs(60);
        let check =
            s3_replication::recheck_pending(&harness.ledger, &buckets, &harness.sim, stop_at);
        let checked = run_until_killed(&harness.sim, check).unwrap().unwrap();
        assert!(
            checked.tables_left == 0 || checked.reachable_buckets.is_empty(),
            "not everything in the bucket was looked for"
        );
        harness.sim.state().advance_secs(3600);
        (checked.tables, checked.tables_left)
    };
    assert_eq!([recheck(), recheck(), recheck()], [(2, 5); 3]);
    // A table that is added meanwhile, or a fixed number of tables, changes no turns.
    assert_eq!(recheck(), (2, 5));
    let looked_for = buckets.looked_for.borrow().join("");
    assert_eq!(looked_for, "01234560");
}
