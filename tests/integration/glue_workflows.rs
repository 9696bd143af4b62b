//! Workflows of Glue with their triggers are replicated, and nothing of them runs in the standby.

use crate::glue_tools::{
    assert_asleep, assert_deletions_are_held, assert_lost_answers_harm_nothing, key,
    nothing_written, policy, set,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::ledger::SubjectState;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_core::{CallErrorKind, Policy};
use twinlake_tests::harness::PRIMARY;
use twinlake_tests::query_lab::{Lab, findings, object};

fn flow(name: &str) -> ObjectKey {
    key(QueryKind::Workflow, name)
}

fn workflow(name: &str, more: Value) -> QueryObject {
    let mut content = json!({"Description": "each night", "DefaultRunProperties": {"day": ""}});
    let more = more.as_object().unwrap().clone();
    content.as_object_mut().unwrap().extend(more);
    object(flow(name), content)
}

/// A trigger that runs by itself in a workflow.
fn trigger(name: &str, workflow: &str, more: Value) -> QueryObject {
    let mut content = json!({"Type": "SCHEDULED", "Schedule": "cron(0 1 * * ? *)",
        "State": "ACTIVATED", "WorkflowName": workflow, "Actions": [{"JobName": "load"}]});
    let more = more.as_object().unwrap().clone();
    content.as_object_mut().unwrap().extend(more);
    object(key(QueryKind::Trigger, name), content)
}

/// The primary with two workflows, one of which has two triggers, and a job.
fn filled(policy: Policy) -> Lab {
    let lab = Lab::new(policy);
    lab.primary.put_job("load", None);
    lab.primary.put(workflow("night", json!({})));
    lab.primary.put(workflow("other", json!({})));
    lab.primary.put(trigger("start", "night", json!({})));
    let follows = json!({"Type": "CONDITIONAL", "Schedule": null, "Predicate": {"Conditions": [
        {"LogicalOperator": "EQUALS", "JobName": "load", "State": "SUCCEEDED"}]}});
    lab.primary.put(trigger("follows", "night", follows));
    lab
}

fn replicated() -> Lab {
    let lab = filled(policy("")).in_sync(5);
    assert_asleep(&lab);
    lab
}

#[test]
fn a_workflow_is_made_before_its_triggers_and_nothing_of_it_runs() {
    let lab = filled(policy(""));
    assert!(lab.resync().is_done());
    assert_eq!(
        lab.standby.take_writes(),
        [
            "CreateJob job load",
            "CreateWorkflow workflow night",
            "CreateWorkflow workflow other",
            "CreateTrigger trigger follows",
            "CreateTrigger trigger start"
        ]
    );
    assert_eq!(lab.in_standby("start").text("WorkflowName"), Some("night"));
    // A property without a value stays.
    assert_eq!(
        lab.in_standby("night").field("DefaultRunProperties"),
        Some(&json!({"day": ""}))
    );
    assert_asleep(&lab);
    let rows = lab.ledger.contents().documents["query_rows"].clone();
    let outcome = lab.resync();
    assert!(outcome.is_done() && outcome.applied.is_empty() && nothing_written(&lab));
    assert_eq!(lab.ledger.contents().documents["query_rows"], rows);
    set(&lab, "night", "MaxConcurrentRuns", json!(2));
    assert_eq!(lab.resync().applied.len(), 1);
    let night = lab.in_standby("night");
    assert_eq!(night.field("MaxConcurrentRuns"), Some(&json!(2)));
    // No update unsets it.
    lab.primary.put(workflow("night", json!({})));
    let unmanaged = findings(&lab.resync(), FindingKind::Unmanaged);
    assert!(
        unmanaged.len() == 1 && unmanaged[0].contains("MaxConcurrentRuns is not set"),
        "{unmanaged:?}"
    );
}

#[test]
fn one_bad_entry_is_one_finding() {
    let lab = filled(policy(""));
    let properties = |value: &str| json!({"DefaultRunProperties": {"source": value}});
    lab.primary
        .put(workflow("places", properties("s3://lake-primary/in/")));
    lab.primary.put(workflow("region", properties(PRIMARY)));
    lab.primary.put(trigger("held", "places", json!({})));
    let event = json!({"Type": "EVENT", "Schedule": null});
    lab.primary.put(trigger("event", "night", event));
    let outcome = lab.resync();
    assert_eq!(outcome.applied.len(), 5, "{outcome:#?}");
    assert!(outcome.rejections.is_empty() && outcome.failed.is_empty());
    let held = findings(&outcome, FindingKind::OnHold);
    assert_eq!(held.len(), 3, "{held:#?}");
    let reasons = [
        "trigger held: it names the workflow places, which is not replicated",
        "workflow places: DefaultRunProperties.source names a location in S3",
        "workflow region: DefaultRunProperties.source names the Region",
    ];
    for (found, reason) in held.iter().zip(reasons) {
        assert!(found.starts_with(reason), "{found}");
    }
    // EVENT triggers are not made before a takeover, in a workflow or not.
    let unsupported = findings(&outcome, FindingKind::Unsupported);
    assert!(
        unsupported.len() == 1 && unsupported[0].starts_with("trigger event: "),
        "{unsupported:?}"
    );
    assert_asleep(&lab);
    // A workflow of somebody else gets no trigger.
    let theirs = object(flow("places"), json!({"Description": "theirs"}));
    lab.standby.put(theirs);
    lab.primary.put(workflow("places", json!({})));
    let outcome = lab.resync();
    assert!(outcome.applied.is_empty(), "{outcome:#?}");
    assert_eq!(findings(&outcome, FindingKind::Unmanaged).len(), 1);
}

#[test]
fn keeps_its_hands_off() {
    let lab = filled(policy(""));
    lab.standby.put(workflow("night", json!({})));
    lab.standby
        .put(workflow("other", json!({"Description": "theirs"})));
    lab.standby.put(workflow("mine", json!({})));
    let before = lab.standby.objects();
    let outcome = lab.resync();
    let unmanaged = findings(&outcome, FindingKind::Unmanaged);
    assert_eq!(unmanaged.len(), 1, "{outcome:#?}");
    assert!(unmanaged[0].starts_with("workflow other: "));
    let after = lab.standby.objects();
    for (key, object) in before {
        assert_eq!(after[&key], object);
    }
    assert_eq!(lab.state_of(&flow("night")), SubjectState::InSync);
    // A workflow with a trigger of somebody else is not deleted.
    let lab = replicated();
    lab.standby.put(trigger(
        "theirs",
        "other",
        json!({"State": "CREATED", "Schedule": "cron(0 9 * * ? *)"}),
    ));
    lab.primary.remove(&flow("other"));
    let outcome = lab.resync();
    let unmanaged = findings(&outcome, FindingKind::Unmanaged);
    assert!(
        unmanaged
            .iter()
            .any(|one| one.starts_with("workflow other: ") && one.contains("triggers that stay")),
        "{outcome:#?}"
    );
    assert!(nothing_written(&lab));
    lab.standby.remove(&key(QueryKind::Trigger, "theirs"));
    assert!(lab.resync().is_done());
    assert_eq!(lab.standby.take_writes(), ["DeleteWorkflow workflow other"]);
}

#[test]
fn lost_rights_and_lost_answers_delete_and_double_nothing() {
    assert_lost_answers_harm_nothing(
        &replicated(),
        &filled(policy("")),
        "Workflow",
        &flow("other"),
    );
}

#[test]
fn a_workflow_goes_after_its_triggers_with_proof_and_within_the_limit() {
    let lab = replicated();
    lab.primary
        .put(trigger("apart", "other", json!({"WorkflowName": null})));
    assert!(lab.resync().is_done());
    let _ = lab.standby.take_writes();
    let gone = [
        key(QueryKind::Trigger, "start"),
        key(QueryKind::Trigger, "follows"),
        flow("night"),
    ];
    for key in &gone {
        lab.primary.remove(key);
    }
    // A trigger that cannot be deleted keeps the workflow.
    lab.standby
        .fail("DeleteTrigger", CallErrorKind::Unavailable, 1);
    let outcome = lab.resync();
    assert_eq!(outcome.failed.len(), 1, "{outcome:#?}");
    assert!(lab.standby.objects().contains_key(&flow("night")));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    let writes = lab.standby.take_writes();
    let last = writes.last().unwrap();
    assert_eq!(last, "DeleteWorkflow workflow night");
    // The last one: nothing shows that the listing shows everything.
    lab.primary.remove(&flow("other"));
    let unread = findings(&lab.resync(), FindingKind::Unreadable);
    assert!(
        unread
            .iter()
            .any(|one| one.contains("no other workflow is listed")),
        "{unread:?}"
    );
    let lab = filled(policy("deletion-limit = { fraction = 0.1, minimum = 1 }\n"));
    let names = ["a", "b", "c"];
    for name in names {
        lab.primary.put(workflow(name, json!({})));
    }
    assert!(lab.resync().is_done());
    let _ = lab.standby.take_writes();
    let gone: BTreeSet<ObjectKey> = names.into_iter().map(flow).collect();
    assert_deletions_are_held(&lab, &gone);
}
