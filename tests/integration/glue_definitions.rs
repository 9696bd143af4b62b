//! What crawlers and triggers name: security configurations are replicated with the keys of the standby.

use crate::glue_tools::{
    assert_asleep, assert_deletions_are_held, assert_lost_answers_harm_nothing, crawler, key,
    nothing_written, policy, set,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::Policy;
use twinlake_core::ledger::SubjectState;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_tests::harness::{PRIMARY, STANDBY};
use twinlake_tests::query_lab::{Lab, findings, kms, object};

const ACCOUNT: &str = "111122223333";

fn sse(name: &str) -> ObjectKey {
    key(QueryKind::SecurityConfiguration, name)
}

/// A security configuration that encrypts objects and logs.
fn security(name: &str, kms_key: &str) -> QueryObject {
    let encryption = json!({
        "S3Encryption": [{"S3EncryptionMode": "SSE-KMS", "KmsKeyArn": kms_key}],
        "CloudWatchEncryption": {"CloudWatchEncryptionMode": "SSE-KMS", "KmsKeyArn": kms_key}});
    object(sse(name), json!({ "EncryptionConfiguration": encryption }))
}

fn key_of(object: &QueryObject) -> Vec<String> {
    let encryption = &object.fields["EncryptionConfiguration"];
    let parts = ["/S3Encryption/0", "/CloudWatchEncryption"];
    let keys = parts.map(|part| format!("{part}/KmsKeyArn"));
    let keys = keys.iter().map(|path| encryption.pointer(path).unwrap());
    keys.map(|key| key.as_str().unwrap().to_owned()).collect()
}

/// The primary with two security configurations, one of which a crawler names.
fn filled(policy: Policy) -> Lab {
    let lab = Lab::new(policy);
    lab.primary.put(security("sse", &kms(PRIMARY)));
    lab.primary.put(security("other", &kms(PRIMARY)));
    let more = json!({"CrawlerSecurityConfiguration": "sse", "Classifiers": []});
    lab.primary
        .put(crawler("orders", "s3://lake-primary/orders/", more));
    lab
}

fn replicated() -> Lab {
    let lab = filled(policy("")).in_sync(3);
    assert_asleep(&lab);
    lab
}

#[test]
fn a_security_configuration_is_made_before_what_names_it_with_the_keys_of_the_standby() {
    let lab = filled(policy(""));
    assert!(lab.resync().is_done());
    assert_eq!(
        lab.standby.take_writes(),
        [
            "CreateSecurityConfiguration security configuration other",
            "CreateSecurityConfiguration security configuration sse",
            "CreateCrawler crawler orders"
        ]
    );
    let keys = key_of(&lab.in_standby("sse"));
    assert_eq!(keys, [kms(STANDBY), kms(STANDBY)]);
    let rows = lab.ledger.contents().documents["query_rows"].clone();
    let outcome = lab.resync();
    assert!(outcome.is_done() && outcome.applied.is_empty() && nothing_written(&lab));
    assert_eq!(lab.ledger.contents().documents["query_rows"], rows);
}

#[test]
fn a_key_that_a_pair_names_by_its_alias_or_id_is_mapped_by_its_arn() {
    let arn = |region: &str, name: &str| format!("arn:aws:kms:{region}:{ACCOUNT}:{name}");
    let pair = |primary: &str, standby: &str| {
        let [a, b] = match twinlake_tests::harness::leader() {
            twinlake_core::topology::SiteId::A => [primary, standby],
            twinlake_core::topology::SiteId::B => [standby, primary],
        };
        format!("\n[[query.kms-key]]\na = \"{a}\"\nb = \"{b}\"\n")
    };
    let text = [
        policy("").text().to_owned(),
        pair("alias/jobs", "alias/jobs-standby"),
        pair("1234-p", "1234-s"),
        pair("mrk-1", "mrk-1"),
    ];
    let lab = Lab::new(Policy::parse(&text.concat()).unwrap());
    let cases = [
        ("alias", "alias/jobs", "alias/jobs-standby"),
        ("id", "key/1234-p", "key/1234-s"),
        ("both", "key/mrk-1", "key/mrk-1"),
    ];
    for (name, primary, _) in cases {
        lab.primary.put(security(name, &arn(PRIMARY, primary)));
    }
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    for (name, _, standby) in cases {
        let keys = key_of(&lab.in_standby(name));
        let wanted = arn(STANDBY, standby);
        assert_eq!(keys, [wanted.clone(), wanted], "{name}");
    }
}

#[test]
fn one_bad_entry_is_one_finding() {
    let lab = filled(policy(""));
    let other_region = format!("arn:aws:kms:{PRIMARY}:{ACCOUNT}:key/unpaired");
    lab.primary.put(security("unpaired", &other_region));
    let names = json!({"CrawlerSecurityConfiguration": "unpaired", "Classifiers": []});
    lab.primary
        .put(crawler("items", "s3://lake-primary/items/", names));
    let outcome = lab.resync();
    assert_eq!(outcome.applied.len(), 3, "{outcome:#?}");
    let held = findings(&outcome, FindingKind::OnHold);
    // Each of its keys, and the crawler that names it.
    assert_eq!(held.len(), 3, "{held:#?}");
    assert!(
        held[0].starts_with("crawler items: it names the security configuration unpaired"),
        "{held:#?}"
    );
    for (one, path) in held[1..]
        .iter()
        .zip(["CloudWatchEncryption", "S3Encryption"])
    {
        assert!(one.starts_with("security configuration unpaired: "));
        assert!(one.contains(path) && one.contains(&other_region), "{one}");
    }
    assert_eq!(lab.state_of(&sse("unpaired")), SubjectState::OnHold);
    // Somebody makes one of this name in the standby: it stays as it is, and the crawler may name it.
    lab.standby.put(security("unpaired", "alias/theirs"));
    let outcome = lab.resync();
    assert_eq!(outcome.applied.len(), 1, "{outcome:#?}");
    let keys = key_of(&lab.in_standby("unpaired"));
    assert_eq!(keys, ["alias/theirs", "alias/theirs"]);
    assert_asleep(&lab);
}

#[test]
fn a_difference_is_a_finding_until_a_person_deletes_the_standbys() {
    let lab = replicated();
    let changed = json!({"S3Encryption": [{"S3EncryptionMode": "SSE-S3"}]});
    set(&lab, "sse", "EncryptionConfiguration", changed.clone());
    let outcome = lab.resync();
    let unmanaged = findings(&outcome, FindingKind::Unmanaged);
    assert_eq!(unmanaged.len(), 1, "{outcome:#?}");
    assert!(
        unmanaged[0].contains("EncryptionConfiguration differs")
            && unmanaged[0].contains("delete the standby's"),
        "{unmanaged:?}"
    );
    assert!(nothing_written(&lab));
    // What names it is not held back by this.
    set(&lab, "orders", "TablePrefix", json!("t_"));
    assert_eq!(lab.resync().applied.len(), 1);
    assert_eq!(lab.in_standby("orders").text("TablePrefix"), Some("t_"));
    lab.standby.remove(&sse("sse"));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(
        lab.in_standby("sse").field("EncryptionConfiguration"),
        Some(&changed)
    );
}

#[test]
fn keeps_its_hands_off() {
    let lab = filled(policy(""));
    // Equal; another content; one that the primary does not know.
    lab.standby.put(security("sse", &kms(STANDBY)));
    lab.standby.put(security("other", "alias/theirs"));
    lab.standby.put(security("mine", "alias/mine"));
    let before = lab.standby.objects();
    let outcome = lab.resync();
    let unmanaged = findings(&outcome, FindingKind::Unmanaged);
    assert_eq!(unmanaged.len(), 1, "{outcome:#?}");
    assert!(unmanaged[0].starts_with("security configuration other: "));
    assert_eq!(lab.standby.take_writes(), ["CreateCrawler crawler orders"]);
    let after = lab.standby.objects();
    for (key, object) in before {
        assert_eq!(after[&key], object);
    }
    assert_eq!(lab.state_of(&sse("sse")), SubjectState::InSync);
    // A paired one that somebody deleted and made again is theirs, and is not deleted with the primary's.
    let lab = replicated();
    lab.standby.remove(&sse("other"));
    lab.standby.put(security("other", "alias/theirs"));
    lab.primary.remove(&sse("other"));
    let _ = lab.resync();
    assert!(nothing_written(&lab));
}

#[test]
fn lost_rights_and_lost_answers_delete_and_double_nothing() {
    assert_lost_answers_harm_nothing(
        &replicated(),
        &filled(policy("")),
        "SecurityConfiguration",
        &sse("other"),
    );
}

#[test]
fn deletions_follow_with_proof_and_within_the_limit() {
    let lab = replicated();
    lab.primary.remove(&sse("other"));
    assert!(lab.resync().is_done());
    assert_eq!(
        lab.standby.take_writes(),
        ["DeleteSecurityConfiguration security configuration other"]
    );
    // The last one: nothing shows that the listing shows everything.
    let more: Value = json!({"CrawlerSecurityConfiguration": ""});
    lab.primary
        .put(crawler("orders", "s3://lake-primary/orders/", more));
    lab.primary.remove(&sse("sse"));
    let outcome = lab.resync();
    let unread = findings(&outcome, FindingKind::Unreadable);
    assert!(
        unread
            .iter()
            .any(|one| one.contains("no other security configuration is listed")),
        "{unread:?}"
    );
    let limit = "deletion-limit = { fraction = 0.1, minimum = 1 }\n";
    let lab = filled(policy(limit));
    for number in 0..3 {
        lab.primary
            .put(security(&format!("c{number}"), &kms(PRIMARY)));
    }
    assert!(lab.resync().is_done());
    let _ = lab.standby.take_writes();
    let gone: BTreeSet<ObjectKey> = (0..3).map(|number| sse(&format!("c{number}"))).collect();
    assert_deletions_are_held(&lab, &gone);
}
