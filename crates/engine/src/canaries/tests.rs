//! Canaries between the buckets of two Regions in memory, with calls that fail.

use super::*;
use crate::InMemoryLedger;
use std::cell::{Cell, RefCell};
use twinlake_core::canary::is_canary_key;
use twinlake_core::readiness::{ObjectEncryption, ReplicationRule};

const KEY_A: &str = "arn:aws:kms:us-east-1:111122223333:key/a";
const KEY_B: &str = "arn:aws:kms:ap-south-1:111122223333:key/b";

const POLICY: &str = r#"
[[region]]
id = "a"
region = "us-east-1"
account = "111122223333"

[[region]]
id = "b"
region = "ap-south-1"
account = "111122223333"

[[location]]
a = "s3://lake-a/sales/"
b = "s3://lake-b/sales/"
"#;

#[derive(Clone)]
struct Object {
    key: String,
    version: CanaryVersion,
    head: CanaryObject,
}

/// The buckets of both Regions, between which S3 replicates at once.
struct World {
    now: Cell<Timestamp>,
    objects: RefCell<BTreeMap<String, Vec<Object>>>,
    rules: RefCell<BTreeMap<String, ReplicationRule>>,
    /// The key that replicas get.
    replica_key: RefCell<Option<String>>,
    /// Calls that fail, by name and bucket, with the kind of the error.
    failing: RefCell<BTreeMap<(&'static str, String), CallErrorKind>>,
    ledgers: [InMemoryLedger; 2],
    puts: Cell<usize>,
    versions: Cell<usize>,
}

fn rule(destination: &str, key: &str) -> ReplicationRule {
    ReplicationRule {
        id: "lake".to_owned(),
        priority: 1,
        is_enabled: true,
        prefix: "sales/".to_owned(),
        has_tag_filter: false,
        destination: destination.to_owned(),
        replicates_delete_markers: true,
        replicates_modifications: true,
        replicates_kms_objects: true,
        replica_key: Some(key.to_owned()),
        publishes_metrics: true,
        archive_class: None,
        is_version_1: false,
    }
}

impl World {
    fn new() -> Self {
        let rules = [
            ("lake-a".to_owned(), rule("lake-b", KEY_B)),
            ("lake-b".to_owned(), rule("lake-a", KEY_A)),
        ];
        Self {
            now: Cell::new(Timestamp::from_secs(1_000_000)),
            objects: RefCell::default(),
            rules: RefCell::new(rules.into()),
            replica_key: RefCell::default(),
            failing: RefCell::default(),
            ledgers: [InMemoryLedger::default(), InMemoryLedger::default()],
            puts: Cell::new(0),
            versions: Cell::new(0),
        }
    }

    fn fail(&self, call: &'static str, bucket: &str, kind: CallErrorKind) {
        let call = (call, bucket.to_owned());
        self.failing.borrow_mut().insert(call, kind);
    }

    fn check(&self, call: &'static str, bucket: &str) -> Result<(), CallError> {
        match self.failing.borrow().get(&(call, bucket.to_owned())) {
            Some(kind) => Err(CallError::new(*kind, call, "us-east-1", "failed")),
            None => Ok(()),
        }
    }

    fn add(&self, bucket: &str, key: &str, status: Option<&str>, encryption: &str) {
        let now = self.now.get();
        let mut objects = self.objects.borrow_mut();
        let versions = objects.entry(bucket.to_owned()).or_default();
        self.versions.set(self.versions.get() + 1);
        let id = format!("v{}", self.versions.get());
        versions.push(Object {
            key: key.to_owned(),
            version: CanaryVersion {
                version_id: id,
                created_at: now,
                is_latest: true,
            },
            head: CanaryObject {
                created_at: now,
                written_at: Some(now),
                replication_status: status.map(str::to_owned),
                encryption: ObjectEncryption::Kms(Some(encryption.to_owned())),
            },
        });
    }

    fn keys(&self, bucket: &str) -> Vec<String> {
        let objects = self.objects.borrow();
        let objects = objects.get(bucket).into_iter().flatten();
        objects.map(|object| object.key.clone()).collect()
    }

    async fn run_with(&self, site: SiteId, may_write: bool, secs: i64) -> CanaryReport {
        let [a, b] = &self.ledgers;
        let (ledger, peer_ledger) = match site {
            SiteId::A => (a, b),
            SiteId::B => (b, a),
        };
        let run = CanaryRun {
            ledger,
            peer_ledger,
            buckets: self,
            clock: self,
            policy: &Policy::parse(POLICY).unwrap(),
            site,
            may_write,
            stop_at: self.now.get().plus_secs(secs),
        };
        run.run().await.unwrap()
    }

    async fn run(&self, site: SiteId) -> CanaryReport {
        self.run_with(site, true, 60).await
    }

    /// Both functions run, and five minutes pass.
    async fn round(&self) -> [CanaryReport; 2] {
        let reports = [self.run(SiteId::A).await, self.run(SiteId::B).await];
        self.now.set(self.now.get().plus_secs(300));
        reports
    }

    /// The lag of the objects that a site receives.
    async fn lag(&self, site: SiteId) -> Option<i64> {
        let [a, b] = &self.ledgers;
        let ledger = match site {
            SiteId::A => a,
            SiteId::B => b,
        };
        let state = ledger.canaries().await.unwrap()?;
        state.received.lag(self.now.get())
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        self.now.get()
    }

    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.now.get().millis()).unwrap_or_default())
    }
}

impl CanaryBuckets for World {
    async fn replication_rules(&self, bucket: &str) -> Result<Vec<ReplicationRule>, CallError> {
        self.check("rules", bucket)?;
        Ok(self
            .rules
            .borrow()
            .get(bucket)
            .cloned()
            .into_iter()
            .collect())
    }

    async fn default_encryption(&self, bucket: &str) -> Result<ObjectEncryption, CallError> {
        self.check("encryption", bucket)?;
        Ok(ObjectEncryption::Kms(None))
    }

    async fn put(&self, canary: &Canary, _: Timestamp) -> Result<(), CallError> {
        self.check("put", &canary.bucket)?;
        self.puts.set(self.puts.get() + 1);
        self.add(&canary.bucket, &canary.key, Some("COMPLETED"), "source");
        let rules = self.rules.borrow();
        if let Some(rule) = rules.get(&canary.bucket).filter(|rule| rule.is_enabled) {
            let key = self
                .replica_key
                .borrow()
                .clone()
                .or(rule.replica_key.clone());
            self.add(
                &rule.destination,
                &canary.key,
                Some("REPLICA"),
                &key.unwrap(),
            );
        }
        Ok(())
    }

    async fn versions(&self, bucket: &str, key: &str) -> Result<Vec<CanaryVersion>, CallError> {
        self.check("versions", bucket)?;
        let objects = self.objects.borrow();
        let objects = objects.get(bucket).into_iter().flatten();
        let of_key = objects.filter(|object| object.key == key);
        Ok(of_key.map(|object| object.version.clone()).collect())
    }

    async fn object(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<Option<CanaryObject>, CallError> {
        self.check("object", bucket)?;
        let objects = self.objects.borrow();
        let mut objects = objects.get(bucket).into_iter().flatten();
        let found =
            objects.find(|object| object.key == key && object.version.version_id == version_id);
        Ok(found.map(|object| object.head.clone()))
    }

    async fn delete_version(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<(), CallError> {
        assert!(is_canary_key(key), "{key}");
        self.check("delete", bucket)?;
        let mut objects = self.objects.borrow_mut();
        let versions = objects.entry(bucket.to_owned()).or_default();
        versions.retain(|object| object.key != key || object.version.version_id != version_id);
        Ok(())
    }
}

#[tokio::test]
async fn canaries_arrive_in_both_directions_and_their_old_versions_go() {
    let world = World::new();
    for bucket in ["lake-a", "lake-b"] {
        world.add(bucket, "sales/1.parquet", None, "source");
    }
    for _ in 0..30 {
        world.round().await;
    }
    assert_eq!(
        world.lag(SiteId::A).await,
        Some(300),
        "b writes after a has looked"
    );
    assert_eq!(world.lag(SiteId::B).await, Some(0));
    for bucket in ["lake-a", "lake-b"] {
        let keys = world.keys(bucket);
        let data = keys.iter().filter(|key| !is_canary_key(key)).count();
        assert_eq!(data, 1, "data is never deleted");
        // Of each direction those of the last hour, in steps of five minutes.
        assert!((24..=26).contains(&(keys.len() - data)), "{}", keys.len());
    }
    let state = world.ledgers[1].canaries().await.unwrap().unwrap();
    assert_eq!(state.sent.failures, BTreeMap::new());
    assert_eq!(state.unproven().count(), 0);
    // The ledger of one Region shows both directions.
    let buckets: Vec<&str> = state
        .both_directions()
        .map(|known| known.canary.destination.as_str())
        .collect();
    assert_eq!(buckets, ["lake-b", "lake-a"]);
    assert!(
        state
            .both_directions()
            .all(|known| known.lag(world.now()) <= 300)
    );
}

#[tokio::test]
async fn a_disabled_rule_stalls_its_direction_only() {
    let world = World::new();
    for _ in 0..3 {
        world.round().await;
    }
    world
        .rules
        .borrow_mut()
        .get_mut("lake-a")
        .unwrap()
        .is_enabled = false;
    for _ in 0..10 {
        world.round().await;
    }
    // The last one was written 11 rounds ago.
    assert_eq!(world.lag(SiteId::B).await, Some(3000));
    assert_eq!(world.lag(SiteId::A).await, Some(300));
    let state = world.ledgers[1].canaries().await.unwrap().unwrap();
    assert!(state.received.canaries[0].describe().contains("disabled"));
    assert!(
        state.received.unproven[0]
            .reason
            .contains("no enabled rule")
    );
    world
        .rules
        .borrow_mut()
        .get_mut("lake-a")
        .unwrap()
        .is_enabled = true;
    world.round().await;
    assert_eq!(world.lag(SiteId::B).await, Some(0), "it recovers");
}

#[tokio::test]
async fn a_rule_that_no_canary_can_prove_any_more_lags_on() {
    let changes: [fn(&mut ReplicationRule); 2] = [
        |rule| rule.replicates_kms_objects = false,
        |rule| rule.has_tag_filter = true,
    ];
    for change in changes {
        let world = World::new();
        for _ in 0..3 {
            world.round().await;
        }
        change(world.rules.borrow_mut().get_mut("lake-a").unwrap());
        for _ in 0..10 {
            world.round().await;
        }
        assert_eq!(world.lag(SiteId::B).await, Some(3000));
        let state = world.ledgers[1].canaries().await.unwrap().unwrap();
        let [unproven] = state.received.unproven.as_slice() else {
            panic!("{:?}", state.received.unproven);
        };
        let described = state.received.canaries[0].describe();
        assert!(described.ends_with(&unproven.reason), "{described}");
    }
}

#[tokio::test]
async fn a_canary_with_another_key_does_not_count() {
    let world = World::new();
    *world.replica_key.borrow_mut() = Some(KEY_A.to_owned());
    for _ in 0..3 {
        world.round().await;
    }
    assert_eq!(
        world.lag(SiteId::B).await,
        Some(600),
        "since the first look"
    );
    let state = world.ledgers[1].canaries().await.unwrap().unwrap();
    assert!(state.received.canaries[0].describe().contains(KEY_A));
    assert_eq!(
        world.lag(SiteId::A).await,
        Some(300),
        "this key is right there"
    );
}

#[tokio::test]
async fn a_failed_step_of_one_bucket_is_reported_and_holds_back_nothing_else() {
    for (call, bucket, is_sent, is_received) in [
        ("rules", "lake-a", true, true),
        ("encryption", "lake-a", true, true),
        ("put", "lake-a", false, true),
        ("versions", "lake-a", false, false),
        ("object", "lake-a", true, false),
        ("delete", "lake-a", true, true),
    ] {
        let world = World::new();
        for _ in 0..14 {
            world.round().await;
        }
        world.fail(call, bucket, CallErrorKind::Denied);
        let puts = world.puts.get();
        let [report, other] = world.round().await;
        assert_eq!(world.puts.get() - puts, 1 + usize::from(is_sent), "{call}");
        assert_eq!(report.denied.keys().collect::<Vec<_>>(), [bucket], "{call}");
        assert!(report.without_errors.is_empty(), "{call}");
        assert_eq!(other.denied.len(), 0, "{call}");
        let known = &report.state.received.canaries[0];
        assert_eq!(known.problem.is_none(), is_received, "{call}");
        let failures = &report.state.sent.failures;
        let is_told = matches!(call, "put" | "versions" | "delete");
        assert_eq!(!failures.is_empty(), is_told, "{call}: {failures:?}");
        let told = &other.state.received.canaries[0].send_failure;
        assert_eq!(told.is_some(), is_told, "{call}: the peer knows why");
    }
}

#[tokio::test]
async fn denied_calls_raise_an_alert_that_the_next_sound_run_resolves() {
    let world = World::new();
    world.fail("put", "lake-a", CallErrorKind::Denied);
    let [report, _] = world.round().await;
    let now = world.now.get();
    let (alerts, checked) = denials(&report, "us-east-1", now);
    let [alert] = alerts.as_slice() else {
        panic!("{alerts:?}");
    };
    assert_eq!(alert.kind, AlertKind::TwinlakeAccessDenied);
    assert!(alert.action.contains("CanaryBucketArns"));
    assert_eq!(checked, CheckedSubjects::default());
    world.failing.borrow_mut().clear();
    let [report, _] = world.round().await;
    let expected = CheckedSubjects::default().with_resolved(alert.kind, &alert.subject, now);
    assert_eq!(denials(&report, "us-east-1", now), (vec![], expected));
}

#[tokio::test]
async fn an_outage_is_no_denial_and_resolves_nothing() {
    let world = World::new();
    world.fail("put", "lake-a", CallErrorKind::Unavailable);
    let [report, _] = world.round().await;
    assert!(report.denied.is_empty() && report.without_errors.is_empty());
    assert_eq!(report.state.sent.failures.len(), 1);
}

#[tokio::test]
async fn versions_that_cannot_be_deleted_end_the_writing() {
    let world = World::new();
    world.fail("delete", "lake-a", CallErrorKind::Denied);
    for _ in 0..MAX_KEPT_VERSIONS {
        world.run(SiteId::A).await;
        world.now.set(world.now.get().plus_secs(300));
    }
    assert_eq!(world.keys("lake-a").len(), MAX_KEPT_VERSIONS);
    let report = world.run(SiteId::A).await;
    assert_eq!(world.keys("lake-a").len(), MAX_KEPT_VERSIONS);
    assert_eq!(report.state.sent.failures.len(), 1);
}

#[tokio::test]
async fn a_fenced_region_only_looks_and_its_peer_expects_nothing() {
    let world = World::new();
    for _ in 0..14 {
        world.round().await;
    }
    let before = (world.keys("lake-a"), world.puts.get());
    let report = world.run_with(SiteId::A, false, 60).await;
    assert_eq!((world.keys("lake-a"), world.puts.get()), before);
    assert!(report.state.sent.unproven[0].reason.contains("fenced"));
    assert!(
        report.state.received.canaries[0].problem.is_none(),
        "it looks"
    );
    world.run(SiteId::B).await;
    assert_eq!(world.lag(SiteId::B).await, None);
}

#[tokio::test]
async fn without_time_nothing_is_begun_and_the_lag_grows() {
    let world = World::new();
    for _ in 0..3 {
        world.round().await;
    }
    let puts = world.puts.get();
    let report = world.run_with(SiteId::B, true, 0).await;
    assert_eq!(world.puts.get(), puts);
    let failure = report.state.sent.failures.values().next().unwrap();
    assert!(failure.contains("no time left"), "{failure}");
    assert!(report.denied.is_empty() && report.without_errors.is_empty());
    world.now.set(world.now.get().plus_secs(3000));
    assert_eq!(world.lag(SiteId::B).await, Some(3000));
}
