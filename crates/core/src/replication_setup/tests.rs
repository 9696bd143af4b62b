use super::*;

const KEYS: [&str; 2] = [
    "arn:aws:kms:us-east-1:111122223333:key/a",
    "arn:aws:kms:ap-south-1:111122223333:key/b",
];
const QUEUES: [&str; 2] = [
    "arn:aws:sqs:us-east-1:111122223333:q",
    "arn:aws:sqs:ap-south-1:111122223333:q",
];

/// A policy with location pairs, given as the prefixes of both.
fn policy(pairs: &[(&str, &str)]) -> Policy {
    let mut text = String::new();
    for (id, region) in [("a", "us-east-1"), ("b", "ap-south-1")] {
        text += &format!(
            "[[region]]\nid = \"{id}\"\nregion = \"{region}\"\naccount = \"111122223333\"\n"
        );
    }
    for (a, b) in pairs {
        text += &format!("[[location]]\na = \"s3://first/{a}\"\nb = \"s3://second/{b}\"\n");
    }
    Policy::parse(&text).unwrap()
}

/// A versioned bucket that KMS encrypts, without rules and notifications.
fn bucket(site: SiteId) -> BucketReadings {
    let (region, key) = match site {
        SiteId::A => ("us-east-1", KEYS[0]),
        SiteId::B => ("ap-south-1", KEYS[1]),
    };
    BucketReadings {
        region: Reading::Read(Some(region.to_owned())),
        versioning: Reading::Read(Versioning::Enabled),
        replication_role: Reading::Read(None),
        rules: Reading::Read(Vec::new()),
        encryption: Reading::Read(ObjectEncryption::Kms(Some(key.to_owned()))),
        lifecycle: Reading::Read(Vec::new()),
        notifications: Reading::Read(Vec::new()),
        objects: BTreeMap::new(),
    }
}

/// Both buckets of a policy with the prefix `warehouse/`, and a request to change both.
struct World {
    policy: Policy,
    readings: BySite<BTreeMap<String, BucketReadings>>,
    request: SetupRequest,
}

impl World {
    fn new() -> Self {
        let map = |name: &str, site| BTreeMap::from([(name.to_owned(), bucket(site))]);
        Self {
            policy: policy(&[("warehouse", "warehouse/")]),
            readings: BySite {
                a: map("first", SiteId::A),
                b: map("second", SiteId::B),
            },
            request: SetupRequest {
                buckets: ["first".to_owned(), "second".to_owned()].into(),
                replication_role: Some("arn:aws:iam::111122223333:role/replication".to_owned()),
                replica_keys: BTreeSet::new(),
                queues: BySite {
                    a: Some(QUEUES[0].to_owned()),
                    b: Some(QUEUES[1].to_owned()),
                },
            },
        }
    }

    fn first(&mut self) -> &mut BucketReadings {
        self.readings.a.get_mut("first").unwrap()
    }

    fn second(&mut self) -> &mut BucketReadings {
        self.readings.b.get_mut("second").unwrap()
    }

    /// The setups of `first` and `second`.
    fn plan(&self) -> [BucketSetup; 2] {
        plan(&self.policy, &self.readings, &self.request)
            .try_into()
            .unwrap()
    }

    /// The only problem of `first`, which gets no rule.
    fn problem(&self) -> String {
        let [first, _] = self.plan();
        assert!(rules_of(&first).is_empty(), "{:?}", first.changes);
        assert_eq!(first.problems.len(), 1, "{:?}", first.problems);
        first.problems[0].clone()
    }
}

fn rules_of(setup: &BucketSetup) -> Vec<ReplicationRule> {
    let rules = setup.changes.iter().filter_map(|change| match change {
        BucketChange::AddRule(rule) => Some(rule.clone()),
        BucketChange::EnableVersioning | BucketChange::AddNotification(_) => None,
    });
    rules.collect()
}

/// The rule that [`World`] lacks in `first`.
fn expected_rule() -> ReplicationRule {
    ReplicationRule {
        id: "twinlake-warehouse/".to_owned(),
        priority: 1,
        is_enabled: true,
        prefix: "warehouse/".to_owned(),
        has_tag_filter: false,
        destination: "second".to_owned(),
        replicates_delete_markers: true,
        replicates_modifications: true,
        replicates_kms_objects: true,
        replica_key: Some(KEYS[1].to_owned()),
        publishes_metrics: true,
        archive_class: None,
        is_version_1: false,
    }
}

#[test]
fn bare_buckets_get_versioning_a_rule_and_a_notification_in_both_directions() {
    let mut world = World::new();
    world.first().versioning = Reading::Read(Versioning::Off);
    world.second().versioning = Reading::Read(Versioning::Suspended);
    let [first, second] = world.plan();
    let changes = |rule, queue: &str| {
        vec![
            BucketChange::EnableVersioning,
            BucketChange::AddRule(rule),
            BucketChange::AddNotification(queue.to_owned()),
        ]
    };
    assert_eq!(first.changes, changes(expected_rule(), QUEUES[0]));
    let back = ReplicationRule {
        destination: "first".to_owned(),
        replica_key: Some(KEYS[0].to_owned()),
        ..expected_rule()
    };
    assert_eq!(second.changes, changes(back, QUEUES[1]));
    assert_eq!((first.problems, second.problems), (vec![], vec![]));
}

#[test]
fn nothing_is_added_where_all_is_there() {
    let mut world = World::new();
    // A broader rule of somebody else does, and so do the four events one by one.
    world.first().rules = Reading::Read(vec![ReplicationRule {
        id: "all".to_owned(),
        prefix: String::new(),
        ..expected_rule()
    }]);
    world.first().notifications = Reading::Read(vec![S3EventTarget {
        target: QUEUES[0].to_owned(),
        events: EACH_REPLICATION_EVENT.map(str::to_owned).into(),
        prefix: String::new(),
        has_suffix: false,
    }]);
    world.request.replication_role = None;
    let [first, _] = world.plan();
    assert_eq!((first.changes, first.problems), (vec![], vec![]));
}

#[test]
fn only_requested_buckets_are_changed() {
    let mut world = World::new();
    world.request.buckets = ["first".to_owned()].into();
    let setups = plan(&world.policy, &world.readings, &world.request);
    assert_eq!(setups.len(), 1);
    assert_eq!(
        (setups[0].site, setups[0].bucket.as_str()),
        (SiteId::A, "first")
    );
    // Neither is the destination, even if S3 requires it.
    world.second().versioning = Reading::Read(Versioning::Off);
    let setups = plan(&world.policy, &world.readings, &world.request);
    assert!(rules_of(&setups[0]).is_empty());
    assert!(setups[0].problems[0].contains("--attach second"));
}

#[test]
fn foreign_rules_keep_their_effect() {
    let other = |prefix: &str, destination: &str, priority| ReplicationRule {
        id: "other".to_owned(),
        prefix: prefix.to_owned(),
        destination: destination.to_owned(),
        priority,
        ..expected_rule()
    };
    // Rules to other buckets, or of other objects, are no matter; the priorities stay different.
    for rule in [other("", "third", 7), other("logs/", "second", 7)] {
        let mut world = World::new();
        world.first().rules = Reading::Read(vec![rule]);
        world.request.replication_role = None;
        let [first, _] = world.plan();
        let expected = ReplicationRule {
            priority: 8,
            ..expected_rule()
        };
        assert_eq!(rules_of(&first), [expected]);
    }
    let cases = [
        (other("warehouse/sales/", "second", 1), "does not cover all"),
        (
            ReplicationRule {
                has_tag_filter: true,
                ..other("", "second", 1)
            },
            "does not cover all",
        ),
        (
            ReplicationRule {
                is_enabled: false,
                ..other("", "second", 1)
            },
            "is disabled",
        ),
        (
            ReplicationRule {
                replicates_delete_markers: false,
                ..other("", "second", 1)
            },
            "delete markers",
        ),
        (
            ReplicationRule {
                replicates_modifications: false,
                ..other("", "second", 1)
            },
            "ReplicaModifications",
        ),
        (
            ReplicationRule {
                replicates_kms_objects: false,
                ..other("", "second", 1)
            },
            "KMS encrypts",
        ),
        (
            ReplicationRule {
                publishes_metrics: false,
                archive_class: None,
                is_version_1: false,
                ..other("", "second", 1)
            },
            "no metrics",
        ),
    ];
    for (rule, expected) in cases {
        let mut world = World::new();
        // A complete rule beside it does not help: the other one may have the higher priority.
        world.first().rules = Reading::Read(vec![rule, other("", "second", 2)]);
        let problem = world.problem();
        assert!(problem.contains("The rule other"), "{problem}");
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn the_pairs_of_one_bucket_get_rules_of_different_priorities() {
    let mut world = World::new();
    world.policy = policy(&[("warehouse", "warehouse"), ("logs", "logs")]);
    let rules = rules_of(&world.plan()[0]);
    let found: Vec<_> = rules
        .iter()
        .map(|r| (r.prefix.as_str(), r.priority))
        .collect();
    assert_eq!(found, [("warehouse/", 1), ("logs/", 2)]);
}

#[test]
fn what_could_not_be_read_is_not_changed() {
    let unread = || "denied".to_owned();
    let mut world = World::new();
    world.first().rules = Reading::Unread(unread());
    assert!(
        world
            .problem()
            .contains("replication rules could not be read")
    );
    let mut world = World::new();
    world.first().notifications = Reading::Unread(unread());
    let [first, _] = world.plan();
    assert_eq!(first.changes, [BucketChange::AddRule(expected_rule())]);
    assert!(first.problems[0].contains("notifications could not be read"));
    let mut world = World::new();
    world.first().versioning = Reading::Unread(unread());
    assert!(world.problem().contains("versioning could not be read"));
    assert_eq!(world.plan()[0].changes, []);
    let mut world = World::new();
    world.second().versioning = Reading::Unread(unread());
    assert!(
        world
            .problem()
            .contains("destination second could not be read")
    );
    let mut world = World::new();
    world.first().region = Reading::Unread(unread());
    assert!(world.problem().contains("could not be read"));
    let mut world = World::new();
    world.second().encryption = Reading::Unread(unread());
    assert!(
        world
            .problem()
            .contains("encryption of the buckets could not be read")
    );
}

#[test]
fn buckets_that_do_not_fit_the_policy_are_not_changed() {
    let mut world = World::new();
    world.first().region = Reading::Read(None);
    assert_eq!(world.problem(), "There is no bucket first in us-east-1.");
    let mut world = World::new();
    world.second().region = Reading::Read(Some("eu-west-1".to_owned()));
    assert!(world.problem().contains("second is in eu-west-1"));
    let mut world = World::new();
    world.policy = policy(&[("warehouse", "lake")]);
    assert!(world.problem().contains("different prefixes"));
    let mut world = World::new();
    world.request.replication_role = None;
    assert!(world.problem().contains("--replication-role"));
}

#[test]
fn the_key_of_replicas_is_one_of_the_destination() {
    let encrypted =
        |key: Option<&str>| Reading::Read(ObjectEncryption::Kms(key.map(str::to_owned)));
    let key_of = |world: &World| rules_of(&world.plan()[0])[0].replica_key.clone();
    // A key that is not named by an ARN, the key of S3, or a key of another Region does not do.
    for key in [Some("alias/lake"), None, Some(KEYS[0])] {
        let mut world = World::new();
        world.second().encryption = encrypted(key);
        assert!(world.problem().contains("--replica-key"));
        world.request.replica_keys = KEYS.map(str::to_owned).into();
        assert_eq!(key_of(&world).as_deref(), Some(KEYS[1]));
    }
    // KMS encrypts the source only: without a key S3 would leave out its objects.
    let mut world = World::new();
    world.second().encryption = Reading::Read(ObjectEncryption::S3);
    assert!(world.problem().contains("--replica-key"));
    world.first().encryption = Reading::Read(ObjectEncryption::S3);
    let [first, _] = world.plan();
    assert!(!rules_of(&first)[0].replicates_kms_objects);
    assert_eq!(rules_of(&first)[0].replica_key, None);
}

#[test]
fn replication_events_go_to_one_target() {
    let target = |target: &str, events: &[&str]| S3EventTarget {
        target: target.to_owned(),
        events: events.iter().map(|event| (*event).to_owned()).collect(),
        prefix: String::new(),
        has_suffix: false,
    };
    let mut world = World::new();
    world.first().notifications = Reading::Read(vec![target("other", &["s3:ObjectCreated:*"])]);
    let [first, _] = world.plan();
    let add = BucketChange::AddNotification(QUEUES[0].to_owned());
    assert_eq!(first.changes[1..], [add]);
    let complete = target(QUEUES[0], &[REPLICATION_EVENTS]);
    let taken = [
        target("other", &[EACH_REPLICATION_EVENT[0]]),
        target(QUEUES[0], &[EACH_REPLICATION_EVENT[0]]),
        S3EventTarget {
            prefix: "logs/".to_owned(),
            ..complete.clone()
        },
        S3EventTarget {
            has_suffix: true,
            ..complete
        },
    ];
    for taken in taken {
        world.first().notifications = Reading::Read(vec![taken.clone()]);
        let [first, _] = world.plan();
        assert_eq!(first.changes, [BucketChange::AddRule(expected_rule())]);
        assert!(first.problems[0].contains(&taken.target));
    }
    world.request.queues.a = None;
    world.first().notifications = Reading::Read(Vec::new());
    let [first, _] = world.plan();
    assert_eq!(first.changes, [BucketChange::AddRule(expected_rule())]);
    assert!(first.problems[0].contains("us-east-1 has no queue"));
}
