use super::arrival::is_same_key;
use super::*;
use crate::heartbeat::Heartbeat;
use crate::timestamp::Timestamp;

const KEY: &str = "arn:aws:kms:ap-south-1:111122223333:key/b";
const KMS: ObjectEncryption = ObjectEncryption::Kms(None);

fn rule(id: &str, prefix: &str) -> ReplicationRule {
    ReplicationRule {
        id: id.to_owned(),
        priority: 1,
        is_enabled: true,
        prefix: prefix.to_owned(),
        has_tag_filter: false,
        destination: "lake-b".to_owned(),
        replicates_delete_markers: true,
        replicates_modifications: true,
        replicates_kms_objects: true,
        replica_key: Some(KEY.to_owned()),
        publishes_metrics: true,
        archive_class: None,
        is_version_1: false,
    }
}

fn route(prefixes: &[&str]) -> CanaryRoute {
    CanaryRoute {
        bucket: "lake-a".to_owned(),
        destination: "lake-b".to_owned(),
        prefixes: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
    }
}

fn planned(rules: Vec<ReplicationRule>, encryption: ObjectEncryption) -> CanaryPlan {
    let encryption = Reading::Read(encryption);
    plan(&route(&["sales/"]), &Reading::Read(rules), &encryption)
}

/// The only reason why a rule that differs from a sound one by `change` is not proved.
fn reason(change: impl FnOnce(&mut ReplicationRule)) -> String {
    let mut changed = rule("sales", "sales/");
    change(&mut changed);
    let plan = planned(vec![changed], KMS);
    assert_eq!(plan.canaries, [], "{plan:?}");
    let [unproven] = plan.unproven.as_slice() else {
        panic!("{plan:?}");
    };
    unproven.reason.clone()
}

#[test]
fn the_policy_gives_one_route_for_each_pair_of_buckets_and_direction() {
    let policy = Policy::parse(
        r#"
        [[region]]
        id = "a"
        region = "us-east-1"
        account = "111122223333"

        [[region]]
        id = "b"
        region = "ap-south-1"
        account = "111122223333"

        [[location]]
        a = "s3://lake-a/raw/"
        b = "s3://lake-b/raw/"

        [[location]]
        a = "s3://lake-a/sales"
        b = "s3://lake-b/sales"

        [[location]]
        a = "s3://other-a/x/"
        b = "s3://other-b/y/"
        copied-by = "other"
        "#,
    )
    .unwrap();
    assert_eq!(routes(&policy, SiteId::A), [route(&["raw/", "sales/"])]);
    let [back] = routes(&policy, SiteId::B).try_into().unwrap();
    let buckets = (back.bucket.as_str(), back.destination.as_str());
    assert_eq!(buckets, ("lake-b", "lake-a"));
}

#[test]
fn a_canary_lies_under_the_prefix_of_its_rule_and_is_no_data_to_an_engine() {
    for (prefix, start) in [
        ("sales/", "sales/_twinlake_canary/_"),
        ("", "_twinlake_canary/_"),
        ("sa", "sa/_twinlake_canary/_"),
    ] {
        let plan = planned(vec![rule("r", prefix)], KMS);
        let [canary] = plan.canaries.as_slice() else {
            panic!("{plan:?}");
        };
        assert!(canary.key.starts_with(start), "{}", canary.key);
        assert!(canary.key.starts_with(prefix) && is_canary_key(&canary.key));
        assert_eq!(canary.replica_key.as_deref(), Some(KEY));
    }
    for key in [
        "sales/1.parquet",
        "sales/_twinlake_canary/1",
        "_twinlake_canary",
        "_x",
    ] {
        assert!(!is_canary_key(key), "{key}");
    }
}

#[test]
fn each_rule_and_each_direction_has_a_key_of_its_own() {
    let plan = planned(vec![rule("one", "sales/"), rule("two", "sales/x/")], KMS);
    assert_eq!(plan.canaries.len(), 2, "{plan:?}");
    assert_ne!(plan.canaries[0].key, plan.canaries[1].key);
    let rule = rule("one", "sales/");
    assert_ne!(key_of("lake-a", &rule), key_of("lake-b", &rule));
    assert_eq!(key_of("lake-a", &rule), plan.canaries[0].key);
}

#[test]
fn a_rule_without_a_canary_is_unproven_for_a_reason() {
    assert!(reason(|rule| rule.has_tag_filter = true).contains("certain tags"));
    let archive = reason(|rule| rule.archive_class = Some("GLACIER".to_owned()));
    assert!(archive.contains("class GLACIER"));
    let long = format!("sales/{}", "x".repeat(1000));
    let rules = Reading::Read(vec![rule("long", &long)]);
    let plan = plan(&route(&[&long]), &rules, &Reading::Read(KMS));
    assert!(plan.unproven[0].reason.contains("no room"), "{plan:?}");
    assert!(reason(|rule| rule.replicates_kms_objects = false).contains("with KMS"));
    let missing = "no enabled rule replicates the prefix \"sales/\" to the bucket lake-b";
    assert_eq!(reason(|rule| rule.is_enabled = false), missing);
    assert_eq!(reason(|rule| rule.destination = "x".to_owned()), missing);
    assert_eq!(reason(|rule| rule.prefix = "raw/".to_owned()), missing);
}

#[test]
fn a_prefix_of_which_only_parts_have_rules_is_unproven() {
    let planned = |prefixes: &[&str], rules: Vec<ReplicationRule>| {
        let rules = Reading::Read(rules);
        plan(&route(prefixes), &rules, &Reading::Read(KMS))
    };
    let parts = || vec![rule("r", "raw/"), rule("c", "curated/")];
    let whole_bucket = planned(&[""], parts());
    assert_eq!(whole_bucket.canaries.len(), 2, "{whole_bucket:?}");
    let [unproven] = whole_bucket.unproven.as_slice() else {
        panic!("{whole_bucket:?}");
    };
    assert_eq!(unproven.rule, None);
    for text in [
        "all of the prefix \"\" to the bucket lake-b",
        "under \"curated/\", \"raw/\": ",
    ] {
        assert!(unproven.reason.contains(text), "{unproven:?}");
    }
    // Nor do the rules of some of its keys cover a prefix.
    assert_eq!(planned(&["ra"], parts()).unproven.len(), 1);
    // Each pair has its rule, or one of a wider prefix.
    assert_eq!(planned(&["raw/", "curated/x/"], parts()).unproven, []);
    let with_rest = parts().into_iter().chain([rule("all", "")]).collect();
    assert_eq!(planned(&[""], with_rest).unproven, []);
    let many = (0..9).map(|i| rule(&format!("r{i}"), &format!("{i}/")));
    let many = planned(&[""], many.collect()).unproven.remove(0).reason;
    assert!(many.contains("\"4/\", 4 more: "), "{many}");
}

#[test]
fn a_rule_whose_keys_another_one_decides_is_unproven() {
    let mut wide = rule("wide", "");
    wide.priority = 5;
    let plan = planned(vec![rule("narrow", "sales/"), wide.clone()], KMS);
    let sent: Vec<&str> = plan
        .canaries
        .iter()
        .map(|canary| canary.rule.as_str())
        .collect();
    assert_eq!(sent, ["wide"]);
    assert!(
        plan.unproven[0]
            .reason
            .contains("rule wide has a higher priority")
    );
    wide.has_tag_filter = true;
    let plan = planned(vec![rule("narrow", "sales/"), wide], KMS);
    assert_eq!(plan.canaries[0].rule, "narrow", "a canary has no tags");
}

#[test]
fn without_a_kms_default_the_kms_part_of_a_rule_stays_unproven() {
    let plan = planned(vec![rule("sales", "sales/")], ObjectEncryption::S3);
    assert_eq!(plan.canaries[0].replica_key, None);
    assert!(
        plan.unproven[0]
            .reason
            .contains("objects that KMS encrypts")
    );
    let mut plain = rule("sales", "sales/");
    plain.replicates_kms_objects = false;
    plain.replica_key = None;
    assert_eq!(planned(vec![plain], ObjectEncryption::S3).unproven, []);
}

#[test]
fn what_cannot_be_read_is_unproven() {
    let denied = || "AccessDenied".to_owned();
    let rules = Reading::Read(vec![rule("sales", "sales/")]);
    for (plan, what) in [
        (
            plan(
                &route(&["sales/"]),
                &Reading::Unread(denied()),
                &Reading::Read(KMS),
            ),
            "rules",
        ),
        (
            plan(&route(&["sales/"]), &rules, &Reading::Unread(denied())),
            "encryption",
        ),
    ] {
        assert_eq!(plan.canaries, []);
        let reason = &plan.unproven[0].reason;
        assert!(
            reason.contains(what) && reason.contains("AccessDenied"),
            "{reason}"
        );
    }
}

#[test]
fn a_region_sends_a_limited_number_and_says_what_is_left_out() {
    let prefixes: BTreeSet<String> = (0..400).map(|i| format!("sales/{i}/")).collect();
    let rules = prefixes.iter().map(|prefix| rule(prefix, prefix)).collect();
    let route = CanaryRoute {
        prefixes,
        ..route(&[])
    };
    let plan = plan(&route, &Reading::Read(rules), &Reading::Read(KMS));
    let plan = CanaryPlan::join([plan]);
    assert_eq!(plan.canaries.len(), MAX_CANARIES);
    assert!(plan.unproven[0].reason.contains("at most 150"));
    let last = plan.unproven.last().unwrap();
    assert_eq!(last.reason, "and 100 rules more");
}

fn canary() -> Canary {
    planned(vec![rule("sales", "sales/")], KMS)
        .canaries
        .remove(0)
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn replica() -> CanaryObject {
    CanaryObject {
        created_at: at(1000),
        written_at: Some(Timestamp::from_millis(1_000_400)),
        replication_status: Some("REPLICA".to_owned()),
        encryption: ObjectEncryption::Kms(Some(KEY.to_owned())),
    }
}

fn judged(change: impl FnOnce(&mut CanaryObject)) -> Result<Timestamp, CanaryProblem> {
    let mut object = replica();
    change(&mut object);
    judge(&canary(), Some(&object), at(2000))
}

#[test]
fn only_a_replica_with_the_key_of_the_rule_proves_it() {
    assert_eq!(judged(|_| {}), Ok(Timestamp::from_millis(1_000_400)));
    assert_eq!(judge(&canary(), None, at(2000)), Err(CanaryProblem::Absent));
    for status in [None, Some("COMPLETED"), Some("FAILED"), Some("PENDING")] {
        let status = status.map(str::to_owned);
        let judged = judged(|object| object.replication_status.clone_from(&status));
        assert_eq!(judged, Err(CanaryProblem::NotReplica(status)));
    }
    let plain = judged(|object| object.encryption = ObjectEncryption::S3);
    assert_eq!(plain, Err(CanaryProblem::OtherKey(None)));
    let other = "arn:aws:kms:ap-south-1:111122223333:key/c".to_owned();
    let with_other = judged(|object| {
        object.encryption = ObjectEncryption::Kms(Some(other.clone()));
    });
    assert_eq!(with_other, Err(CanaryProblem::OtherKey(Some(other))));
    let unnamed = judged(|object| object.encryption = KMS);
    assert!(matches!(unnamed, Err(CanaryProblem::OtherKey(Some(_)))));
    let of_s3 = Canary {
        replica_key: None,
        ..canary()
    };
    assert!(judge(&of_s3, Some(&replica()), at(2000)).is_err());
}

#[test]
fn an_alias_stands_for_any_key_of_its_region_and_account() {
    let alias = "arn:aws:kms:ap-south-1:111122223333:alias/lake";
    assert!(is_same_key(alias, KEY));
    assert!(!is_same_key(
        alias,
        "arn:aws:kms:us-east-1:111122223333:key/b"
    ));
    assert!(!is_same_key(
        alias,
        "arn:aws:kms:ap-south-1:999999999999:key/b"
    ));
    assert!(is_same_key("b", KEY) && is_same_key("alias/lake", KEY) && !is_same_key("c", KEY));
}

#[test]
fn metadata_cannot_make_a_canary_newer() {
    let future = judged(|object| object.written_at = Some(at(1_000_000)));
    assert_eq!(future, Ok(at(1001)), "bounded by the time that S3 gives");
    assert_eq!(judged(|object| object.written_at = None), Ok(at(1000)));
    let ahead = judged(|object| {
        object.created_at = at(9000);
        object.written_at = None;
    });
    assert_eq!(ahead, Ok(at(2000)), "bounded by the clock");
    assert_eq!(judged(|object| object.written_at = Some(at(5))), Ok(at(5)));
}

fn sent(canaries: &[Canary]) -> Result<SentCanaries, String> {
    Ok(SentCanaries {
        canaries: canaries.to_vec(),
        ..SentCanaries::default()
    })
}

/// What is expected after the canary arrived at 1000, and after another list at `now`.
fn after(list: Result<SentCanaries, String>, now: i64) -> ReceivedCanaries {
    let routes = [route(&["sales/"])];
    let mut received =
        ReceivedCanaries::default().with_expected(sent(&[canary()]), &routes, at(900));
    received.canaries[0].record(Ok(at(1000)), at(1100));
    received.with_expected(list, &routes, at(now))
}

#[test]
fn a_listed_canary_keeps_what_was_seen_of_it() {
    let kept = after(sent(&[canary()]), 1200);
    let health = kept.canaries[0].health;
    let seen = Heartbeat {
        sent: at(1000),
        done: at(1100),
    };
    assert_eq!((health.since, health.last), (at(900), Some(seen)));
    assert_eq!(
        kept.lag(at(1200)),
        Some(100),
        "it took 100 s until it was seen"
    );
    assert_eq!(
        kept.lag(at(5000)),
        Some(3700),
        "the next one was due at 1300"
    );
    assert_eq!(ReceivedCanaries::default().lag(at(5000)), None);
}

#[test]
fn the_oldest_canary_says_until_when_objects_have_arrived() {
    assert_eq!(ReceivedCanaries::default().oldest_health(), None);
    let mut received = after(sent(&[canary()]), 1200);
    let mut newer = received.canaries[0].clone();
    newer.record(Ok(at(1150)), at(1180));
    received.canaries.push(newer);
    let last = |received: &ReceivedCanaries| received.oldest_health().unwrap().last;
    assert_eq!(last(&received).unwrap().sent, at(1000));
    assert!(received.have_arrived());
    received.canaries[1].health.last = None;
    assert!(!received.have_arrived());
    assert_eq!(last(&received), None, "nothing has arrived under one rule");
}

#[test]
fn a_canary_of_a_disabled_rule_stays_expected_for_a_week() {
    let kept = after(sent(&[]), 4000);
    assert_eq!(kept.lag(at(4000)), Some(2700));
    assert!(kept.canaries[0].describe().contains("disabled"));
    let week = 900 + 7 * 86_400;
    assert_eq!(after(sent(&[]), week - 1).canaries.len(), 1);
    assert_eq!(after(sent(&[]), week).canaries.len(), 0);
}

#[test]
fn an_unlisted_canary_is_not_expected_if_another_rule_covers_it() {
    let renamed = planned(vec![rule("renamed", "sales/")], KMS).canaries;
    let kept = after(sent(&renamed), 1200);
    let rules: Vec<&str> = kept
        .canaries
        .iter()
        .map(|known| known.canary.rule.as_str())
        .collect();
    assert_eq!(rules, ["renamed"]);
    let routes = [route(&["sales/"])];
    let received = ReceivedCanaries::default().with_expected(sent(&[canary()]), &routes, at(900));
    let unpaired = received.with_expected(sent(&[canary()]), &[], at(950));
    assert_eq!(
        unpaired.canaries,
        [],
        "the policy no longer pairs the buckets"
    );
}

#[test]
fn a_rule_that_becomes_unproven_keeps_its_canary_and_says_why() {
    let kms = "the bucket encrypts new objects with KMS, and the rule does not replicate them";
    for reason in [kms, "it replicates only objects with certain tags"] {
        let unproven = || {
            Ok(SentCanaries {
                unproven: vec![UnprovenReplication {
                    bucket: "lake-a".to_owned(),
                    rule: Some("sales".to_owned()),
                    reason: reason.to_owned(),
                }],
                ..SentCanaries::default()
            })
        };
        let kept = after(unproven(), 4000);
        assert_eq!(kept.lag(at(4000)), Some(2700), "{reason}");
        assert!(kept.canaries[0].describe().contains(reason));
        assert_eq!(kept.oldest_health().unwrap().last.unwrap().sent, at(1000));
        let week = 900 + 7 * 86_400;
        assert_eq!(after(unproven(), week).canaries, []);
        // One that never had a canary is silent.
        let routes = [route(&["sales/"])];
        let never = ReceivedCanaries::default().with_expected(unproven(), &routes, at(900));
        assert_eq!((never.canaries.len(), never.have_arrived()), (0, false));
    }
}

#[test]
fn a_route_is_unproven_until_a_canary_has_arrived_under_each_of_its_rules() {
    let routes = [route(&["sales/"])];
    let unproven = |received: &ReceivedCanaries| -> String {
        let all: Vec<String> = received.unproven_routes(&routes).into_iter().collect();
        all.join("; ")
    };
    let none = ReceivedCanaries::default();
    assert_eq!(
        unproven(&none),
        "no canary is expected from the bucket lake-a to lake-b"
    );
    assert!(none.unproven_routes(&[]).is_empty());
    let mut received = ReceivedCanaries::default().with_expected(sent(&[canary()]), &routes, at(0));
    assert!(unproven(&received).contains("none was looked for yet"));
    received.canaries[0].record(Ok(at(60)), at(60));
    assert_eq!(unproven(&received), "");
    // What the canary of the rule does not cover does not count; another rule, or the bucket, does.
    let note = |rule: Option<&str>, bucket: &str| UnprovenReplication {
        bucket: bucket.to_owned(),
        rule: rule.map(str::to_owned),
        reason: "for a reason".to_owned(),
    };
    let own = canary().rule;
    received.unproven = vec![note(Some(&own), "lake-a"), note(None, "lake-z")];
    assert_eq!(unproven(&received), "");
    received.unproven = vec![note(Some("other"), "lake-a"), note(None, "lake-a")];
    assert_eq!(
        unproven(&received),
        "bucket lake-a: for a reason; rule other of the bucket lake-a: for a reason"
    );
    received.unproven.clear();
    for break_it in [
        |one: &mut ReceivedCanary| one.is_sent = false,
        |one: &mut ReceivedCanary| one.send_failure = Some("denied".to_owned()),
        |one: &mut ReceivedCanary| one.problem = Some(CanaryProblem::Absent),
        |one: &mut ReceivedCanary| one.canary.destination = "elsewhere".to_owned(),
    ] {
        let mut broken = received.clone();
        break_it(&mut broken.canaries[0]);
        assert_ne!(unproven(&broken), "", "{broken:?}");
    }
    received.unread_list = Some("denied".to_owned());
    assert!(unproven(&received).contains("could not be read: denied"));
}

#[test]
fn a_list_that_cannot_be_read_changes_nothing() {
    let kept = after(Err("no answer".to_owned()), 4000);
    assert_eq!(kept.unread_list.as_deref(), Some("no answer"));
    assert_eq!(kept.lag(at(4000)), Some(2700));
    assert!(kept.canaries[0].is_sent);
}

#[test]
fn the_description_names_the_first_cause() {
    let mut received = after(sent(&[canary()]), 1200).canaries.remove(0);
    assert!(
        received
            .describe()
            .contains("written at 1970-01-01T00:16:40Z")
    );
    received.record(Err(CanaryProblem::OtherKey(None)), at(1300));
    assert_eq!(received.describe(), "the replica is not encrypted with KMS");
    assert_eq!(received.lag(at(1400)), 100, "a wrong key is no arrival");
    received.send_failure = Some("PutObject: denied".to_owned());
    assert_eq!(received.describe(), "its Region reports: PutObject: denied");
}
