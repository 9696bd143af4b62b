//! Jobs of Glue are replicated with the places of the standby. Nothing here runs one, and one with bookmarks is marked.

use crate::glue_tools::{
    assert_asleep, assert_deletions_are_held, assert_lost_answers_harm_nothing, key,
    nothing_written, policy, set,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::Policy;
use twinlake_core::ledger::SubjectState;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_tests::harness::{PRIMARY, leader};
use twinlake_tests::query_lab::{Lab, findings, object};

fn job_key(name: &str) -> ObjectKey {
    key(QueryKind::Job, name)
}

/// A job with its script in a place, and more fields.
fn job(name: &str, place: &str, more: Value) -> QueryObject {
    let mut content = json!({
        "Role": "load",
        "Command": {"Name": "glueetl", "ScriptLocation": format!("s3://{place}/load.py"),
            "PythonVersion": "3"},
        "DefaultArguments": {
            "--TempDir": format!("s3://{place}/tmp/"),
            "--extra-py-files": format!("s3://{place}/a.zip, s3://{place}/b.zip"),
            "--additional-python-modules": format!("pyarrow==17,s3://{place}/c.whl"),
            "--enable-metrics": "",
            "--day": "yesterday"},
        "NonOverridableArguments": {
            "--spark-event-logs-path": format!("s3://{place}/events/")},
        "WorkerType": "G.1X",
        "NumberOfWorkers": 4,
    });
    let more = more.as_object().unwrap().clone();
    content.as_object_mut().unwrap().extend(more);
    object(job_key(name), content)
}

fn trigger(name: &str, job: &str) -> QueryObject {
    let content = json!({"Type": "SCHEDULED", "Schedule": "cron(0 1 * * ? *)",
        "State": "ACTIVATED", "Actions": [{"JobName": job}]});
    object(key(QueryKind::Trigger, name), content)
}

/// The primary with two jobs and a trigger of one.
fn filled(policy: Policy) -> Lab {
    let lab = Lab::new(policy);
    lab.primary.put(job("load", "lake-primary", json!({})));
    lab.primary.put(job("other", "lake-primary", json!({})));
    lab.primary.put(trigger("nightly", "load"));
    lab
}

fn replicated() -> Lab {
    let lab = filled(policy("")).in_sync(3);
    assert_asleep(&lab);
    lab
}

#[test]
fn a_job_is_made_with_the_places_of_the_standby_and_nothing_starts_it() {
    let pair = match leader() {
        twinlake_core::topology::SiteId::A => ["load", "load-b"],
        twinlake_core::topology::SiteId::B => ["load-b", "load"],
    };
    let principal = format!(
        "[[principal]]\na = \"arn:aws:iam::111122223333:role/{}\"\nb = \"arn:aws:iam::111122223333:role/{}\"\n",
        pair[0], pair[1]
    );
    let text = format!("{}\n{principal}", policy("").text());
    let lab = filled(Policy::parse(&text).unwrap());
    assert!(lab.resync().is_done());
    // Before the trigger that starts it; no call but the creations.
    assert_eq!(
        lab.standby.take_writes(),
        [
            "CreateJob job load",
            "CreateJob job other",
            "CreateTrigger trigger nightly"
        ]
    );
    let made = lab.in_standby("load");
    let wanted = job("load", "lake-standby", json!({"Role": "load-b"}));
    assert_eq!(made.fields, wanted.fields);
    assert_asleep(&lab);
    let rows = lab.ledger.contents().documents["query_rows"].clone();
    let outcome = lab.resync();
    assert!(outcome.is_done() && outcome.applied.is_empty() && nothing_written(&lab));
    assert_eq!(lab.ledger.contents().documents["query_rows"], rows);
}

#[test]
fn changes_follow_and_what_is_unset_in_the_primary_is_unset() {
    let lab = replicated();
    set(&lab, "load", "Timeout", json!(60));
    assert_eq!(lab.resync().applied.len(), 1);
    assert_eq!(lab.in_standby("load").field("Timeout"), Some(&json!(60)));
    let plain = json!({"DefaultArguments": {"--day": "today"}, "NonOverridableArguments": {}});
    lab.primary.put(job("load", "lake-primary", plain));
    assert_eq!(lab.resync().applied.len(), 1);
    let made = lab.in_standby("load");
    assert_eq!(
        made.field("DefaultArguments"),
        Some(&json!({"--day": "today"}))
    );
    assert_eq!(made.field("NonOverridableArguments"), None);
    assert_eq!(made.field("Timeout"), None);
}

#[test]
fn one_bad_entry_is_one_finding_that_names_it() {
    let lab = filled(policy(""));
    let arguments = |name: &str, value: &str| json!({"DefaultArguments": {name: value}});
    let held = [
        (
            "elsewhere",
            json!({"Command": {"Name": "glueetl", "ScriptLocation": "s3://elsewhere/a.py"}}),
            "Command.ScriptLocation",
        ),
        (
            "jars",
            arguments(
                "--extra-jars",
                "s3://lake-primary/a.jar,s3://elsewhere/b.jar",
            ),
            "DefaultArguments.--extra-jars: s3://elsewhere/b.jar",
        ),
        (
            "source",
            arguments("--source", "s3://lake-primary/orders/"),
            "DefaultArguments.--source names a location in S3",
        ),
        (
            "region",
            json!({"NonOverridableArguments": {"--conf": format!("spark.region={PRIMARY}")}}),
            "NonOverridableArguments.--conf names the Region",
        ),
        (
            "logs",
            json!({"LogUri": "s3://elsewhere/logs/"}),
            "LogUri: s3://elsewhere/logs/",
        ),
        (
            "encrypted",
            json!({"SecurityConfiguration": "none"}),
            "the security configuration none",
        ),
        (
            "connected",
            json!({"Connections": {"Connections": ["net"]}}),
            "the connection net",
        ),
    ];
    for (name, more, _) in &held {
        lab.primary.put(job(name, "lake-primary", more.clone()));
    }
    let nodes = json!({"CodeGenConfigurationNodes": ["node-1"]});
    lab.primary.put(job("visual", "lake-primary", nodes));
    lab.primary.put(trigger("starts-held", "source"));
    let outcome = lab.resync();
    assert_eq!(outcome.applied.len(), 3, "{outcome:#?}");
    assert!(outcome.rejections.is_empty() && outcome.failed.is_empty());
    let found = findings(&outcome, FindingKind::OnHold);
    assert_eq!(found.len(), held.len() + 1, "{found:#?}");
    for (name, _, reason) in &held {
        let start = format!("job {name}: ");
        let of_it = found.iter().find(|one| one.starts_with(&start)).unwrap();
        assert!(of_it.contains(reason), "{of_it}");
        assert_eq!(lab.state_of(&job_key(name)), SubjectState::OnHold);
    }
    assert!(
        found
            .iter()
            .any(|one| one.starts_with("trigger starts-held: it names the job source")),
        "{found:#?}"
    );
    let unsupported = findings(&outcome, FindingKind::Unsupported);
    assert!(
        unsupported.len() == 1 && unsupported[0].starts_with("job visual: "),
        "{unsupported:?}"
    );
    // Somebody makes a job of this name, and the connection that the other one names.
    lab.standby
        .put(job("source", "theirs", json!({"DefaultArguments": {}})));
    let net = json!({"ConnectionType": "NETWORK"});
    lab.standby
        .put(object(key(QueryKind::Connection, "net"), net));
    let outcome = lab.resync();
    assert_eq!(outcome.applied.len(), 2, "{outcome:#?}");
    assert_asleep(&lab);
}

#[test]
fn a_job_that_keeps_bookmarks_is_marked_and_told() {
    let lab = replicated();
    let option = |option: &str| json!({"DefaultArguments": {"--job-bookmark-option": option}});
    lab.primary
        .put(job("load", "lake-primary", option("job-bookmark-enable")));
    lab.primary
        .put(job("other", "lake-primary", option("job-bookmark-disable")));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    let notes = findings(&outcome, FindingKind::Note);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with("job load: it keeps bookmarks (job-bookmark-enable)"));
    let mark = |name: &str| lab.row_of(&job_key(name)).bookmarks;
    assert_eq!(mark("load").as_deref(), Some("job-bookmark-enable"));
    assert_eq!(mark("other"), None);
    // What no run can override decides.
    let mut fixed = job("load", "lake-primary", option("job-bookmark-enable"));
    let disabled = json!({"--job-bookmark-option": "job-bookmark-disable"});
    fixed
        .fields
        .insert("NonOverridableArguments".to_owned(), disabled);
    lab.primary.put(fixed);
    let outcome = lab.resync();
    assert!(findings(&outcome, FindingKind::Note).is_empty());
    assert_eq!(mark("load"), None);
}

#[test]
fn source_control_and_profiles_are_told_and_not_compared() {
    let lab = replicated();
    set(&lab, "load", "ProfileName", json!("small"));
    let source = json!({"Provider": "GITHUB", "Repository": "etl"});
    set(&lab, "load", "SourceControlDetails", source);
    let outcome = lab.resync();
    assert!(outcome.is_done() && nothing_written(&lab), "{outcome:#?}");
    assert_eq!(findings(&outcome, FindingKind::Note).len(), 2);
}

#[test]
fn keeps_its_hands_off() {
    let lab = filled(policy(""));
    // Equal; another content; one that the primary does not know.
    lab.standby.put(job("load", "lake-standby", json!({})));
    lab.standby.put(job("other", "theirs", json!({})));
    lab.standby.put(job("mine", "theirs", json!({})));
    let before = lab.standby.objects();
    let outcome = lab.resync();
    let unmanaged = findings(&outcome, FindingKind::Unmanaged);
    assert_eq!(unmanaged.len(), 1, "{outcome:#?}");
    assert!(unmanaged[0].starts_with("job other: "));
    assert_eq!(lab.standby.take_writes(), ["CreateTrigger trigger nightly"]);
    let after = lab.standby.objects();
    for (key, object) in before {
        assert_eq!(after[&key], object);
    }
    assert_eq!(lab.state_of(&job_key("load")), SubjectState::InSync);
    // A paired one that somebody deleted and made again is theirs, and is not deleted with the primary's.
    let lab = replicated();
    lab.standby.remove(&job_key("other"));
    lab.standby.put(job("other", "theirs", json!({})));
    lab.primary.remove(&job_key("other"));
    let _ = lab.resync();
    assert!(nothing_written(&lab));
}

#[test]
fn lost_rights_and_lost_answers_delete_and_double_nothing() {
    assert_lost_answers_harm_nothing(&replicated(), &filled(policy("")), "Job", &job_key("other"));
}

#[test]
fn deletions_follow_with_proof_and_within_the_limit() {
    let lab = replicated();
    lab.primary.remove(&job_key("other"));
    assert!(lab.resync().is_done());
    assert_eq!(lab.standby.take_writes(), ["DeleteJob job other"]);
    // The last one: nothing shows that the listing shows everything.
    lab.primary.remove(&job_key("load"));
    let outcome = lab.resync();
    let unread = findings(&outcome, FindingKind::Unreadable);
    assert!(
        unread
            .iter()
            .any(|one| one.contains("no other job is listed")),
        "{unread:?}"
    );
    assert!(nothing_written(&lab));
    let lab = filled(policy("deletion-limit = { fraction = 0.1, minimum = 1 }\n"));
    let names = ["a", "b", "c"];
    for name in names {
        lab.primary.put(job(name, "lake-primary", json!({})));
    }
    assert!(lab.resync().is_done());
    let _ = lab.standby.take_writes();
    let gone: BTreeSet<ObjectKey> = names.into_iter().map(job_key).collect();
    assert_deletions_are_held(&lab, &gone);
}
