//! Connections of Glue are replicated without secrets, with the networks of the standby.

use crate::glue_tools::{
    assert_deletions_are_held, assert_lost_answers_harm_nothing, key, nothing_written, policy, set,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::Policy;
use twinlake_core::ledger::SubjectState;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_tests::harness::{PRIMARY, STANDBY, leader};
use twinlake_tests::query_lab::{Lab, findings, object};

fn net(name: &str) -> ObjectKey {
    key(QueryKind::Connection, name)
}

fn secret(region: &str) -> String {
    format!("arn:aws:secretsmanager:{region}:111122223333:secret:orders-AbCdEf")
}

/// A connection with a secret in a subnet, and more properties.
fn connection(name: &str, region: &str, subnet: &str, more: Value) -> QueryObject {
    let mut properties = json!({"JDBC_CONNECTION_URL": "jdbc:mysql://db.internal/orders",
        "SECRET_ID": secret(region), "CUSTOM_JDBC_CERT_STRING": ""});
    let more = more.as_object().unwrap().clone();
    properties.as_object_mut().unwrap().extend(more);
    let content = json!({"ConnectionType": "JDBC", "ConnectionProperties": properties,
        "PhysicalConnectionRequirements": {"SubnetId": subnet, "SecurityGroupIdList": [subnet]}});
    object(net(name), content)
}

/// The policy with pairs of networks.
fn paired(more: &str) -> Policy {
    let [a, b] = match leader() {
        twinlake_core::topology::SiteId::A => ["subnet-p", "subnet-s"],
        twinlake_core::topology::SiteId::B => ["subnet-s", "subnet-p"],
    };
    let pair = format!("\n[[query.network]]\na = \"{a}\"\nb = \"{b}\"\n");
    Policy::parse(&format!("{}{pair}", policy(more).text())).unwrap()
}

/// The primary with two connections, of which a job names one.
fn filled(policy: Policy) -> Lab {
    let lab = Lab::new(policy);
    for name in ["orders", "other"] {
        lab.primary
            .put(connection(name, PRIMARY, "subnet-p", json!({})));
    }
    let content = json!({"Role": "load", "Command": {"Name": "glueetl"},
        "Connections": {"Connections": ["orders"]}});
    lab.primary
        .put(object(key(QueryKind::Job, "load"), content));
    lab
}

fn replicated() -> Lab {
    filled(paired("")).in_sync(3)
}

#[test]
fn a_connection_names_the_replica_of_its_secret_and_the_networks_of_the_standby() {
    let lab = filled(paired(""));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(
        lab.standby.take_writes(),
        [
            "CreateConnection connection orders",
            "CreateConnection connection other",
            "CreateJob job load"
        ]
    );
    let wanted = connection("orders", STANDBY, "subnet-s", json!({}));
    assert_eq!(lab.in_standby("orders").fields, wanted.fields);
    let notes = findings(&outcome, FindingKind::Note);
    assert!(
        notes.len() == 2 && notes[0].contains(&secret(STANDBY)),
        "{notes:?}"
    );
    let outcome = lab.resync();
    assert!(outcome.is_done() && outcome.applied.is_empty() && nothing_written(&lab));
    set(&lab, "orders", "Description", json!("changed"));
    assert_eq!(lab.resync().applied.len(), 1);
    assert_ne!(paired("").digest(), policy("").digest());
}

#[test]
fn one_bad_entry_is_one_finding_that_says_what_to_do() {
    let lab = filled(paired(""));
    let put =
        |name: &str, more: Value| lab.primary.put(connection(name, PRIMARY, "subnet-p", more));
    put(
        "driver",
        json!({"JDBC_DRIVER_JAR_URI": "s3://elsewhere/a.jar"}),
    );
    put(
        "host",
        json!({"HOST": format!("db.{PRIMARY}.rds.amazonaws.com")}),
    );
    put("secret", json!({"SECRET_ID": secret("eu-west-1")}));
    let apart = connection("apart", PRIMARY, "subnet-x", json!({}));
    lab.primary.put(apart);
    let mut password = connection("password", PRIMARY, "subnet-p", json!({}));
    password
        .fields
        .insert("Passwords".to_owned(), json!("USERNAME"));
    lab.primary.put(password);
    let mut more = connection("saas", PRIMARY, "subnet-p", json!({}));
    let not_carried = json!("AuthenticationConfiguration");
    more.fields.insert("NotCarried".to_owned(), not_carried);
    lab.primary.put(more);
    let outcome = lab.resync();
    assert_eq!(outcome.applied.len(), 3, "{outcome:#?}");
    assert!(outcome.rejections.is_empty() && outcome.failed.is_empty());
    let held = findings(&outcome, FindingKind::OnHold);
    let reasons = [
        "connection apart: PhysicalConnectionRequirements.SecurityGroupIdList: no [[query.network]]",
        "connection apart: PhysicalConnectionRequirements.SubnetId: no [[query.network]]",
        "connection driver: ConnectionProperties.JDBC_DRIVER_JAR_URI: s3://elsewhere/a.jar",
        "connection host: ConnectionProperties.HOST names the Region",
        "connection secret: ConnectionProperties.SECRET_ID: ",
    ];
    assert_eq!(held.len(), reasons.len(), "{held:#?}");
    for (found, reason) in held.iter().zip(reasons) {
        assert!(found.starts_with(reason), "{found}");
    }
    let unsupported = findings(&outcome, FindingKind::Unsupported);
    assert!(
        unsupported.len() == 2
            && unsupported[0].contains("Secrets Manager")
            && unsupported[1].contains("AuthenticationConfiguration"),
        "{unsupported:?}"
    );
}

#[test]
fn keeps_its_hands_off() {
    let lab = filled(paired(""));
    lab.standby
        .put(connection("orders", STANDBY, "subnet-s", json!({})));
    lab.standby
        .put(connection("other", STANDBY, "subnet-theirs", json!({})));
    lab.standby
        .put(connection("mine", STANDBY, "subnet-theirs", json!({})));
    let before = lab.standby.objects();
    let outcome = lab.resync();
    let unmanaged = findings(&outcome, FindingKind::Unmanaged);
    assert_eq!(unmanaged.len(), 1, "{outcome:#?}");
    assert!(unmanaged[0].starts_with("connection other: "));
    assert_eq!(lab.standby.take_writes(), ["CreateJob job load"]);
    let after = lab.standby.objects();
    for (key, object) in before {
        assert_eq!(after[&key], object);
    }
    assert_eq!(lab.state_of(&net("orders")), SubjectState::InSync);
}

#[test]
fn lost_rights_and_lost_answers_delete_and_double_nothing() {
    assert_lost_answers_harm_nothing(
        &replicated(),
        &filled(paired("")),
        "Connection",
        &net("other"),
    );
}

#[test]
fn deletions_follow_with_proof_and_within_the_limit() {
    let lab = replicated();
    lab.primary.remove(&net("other"));
    assert!(lab.resync().is_done());
    assert_eq!(
        lab.standby.take_writes(),
        ["DeleteConnection connection other"]
    );
    lab.primary.remove(&net("orders"));
    let unread = findings(&lab.resync(), FindingKind::Unreadable);
    assert!(
        unread
            .iter()
            .any(|one| one.contains("no other connection is listed")),
        "{unread:?}"
    );
    assert!(nothing_written(&lab));
    let lab = filled(paired("deletion-limit = { fraction = 0.1, minimum = 1 }\n"));
    let names = ["a", "b", "c"];
    for name in names {
        lab.primary
            .put(connection(name, PRIMARY, "subnet-p", json!({})));
    }
    assert!(lab.resync().is_done());
    let _ = lab.standby.take_writes();
    let gone: BTreeSet<ObjectKey> = names.into_iter().map(net).collect();
    assert_deletions_are_held(&lab, &gone);
}
