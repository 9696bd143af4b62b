//! Problems with partitions of a table: what they hold back, what the ledger and the alerts tell of them,
//! and what ends them.

use serde_json::json;
use twinlake_core::audit::{ApprovedDeletions, AuditRule};
use twinlake_core::ledger::ResyncRun;
use twinlake_core::scope::ReadRequest;
use twinlake_core::{
    AlertKind, AlertState, CallError, CallErrorKind, Facet, Scope, Subject, SubjectState,
};
use twinlake_engine::alerts::{self, CheckedSubjects, publish_and_resolve};
use twinlake_engine::event_batch::{QueueMessage, run};
use twinlake_engine::observe::{MAX_PARTITIONS_PER_ROUND, Prefetched};
use twinlake_engine::retry_message::ResyncPart;
use twinlake_engine::{Clock as _, Ledger as _, RetryMessage, RetryQueue};
use twinlake_sim::run_until_killed;
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};
use twinlake_tests::history::table_input;
use twinlake_tests::large_table::{
    assert_regions_equal, create_partitions, delete_partitions, harness_with_partitions, in_table,
    inject, partition, run_resync_part, table_id, table_row, take_events_by_channel,
};

#[test]
fn a_page_with_a_step_that_has_to_wait_is_followed_by_the_next() {
    let count = MAX_PARTITIONS_PER_ROUND + 300;
    let harness = harness_with_partitions(count);
    let unavailable = CallErrorKind::Unavailable;
    inject(&harness, STANDBY, "BatchCreatePartition", unavailable);
    let report = harness.resync().unwrap();
    assert!(report.outcome.waiting.is_some());
    let created = harness.sim.state().raw_partitions(STANDBY)[&table_id()].len();
    assert!(
        created > MAX_PARTITIONS_PER_ROUND && created < count,
        "{created}"
    );
    assert_eq!(table_row(&harness).state, SubjectState::OutOfSync);
    harness.resync();
    assert_regions_equal(&harness);
    assert_eq!(table_row(&harness).state, SubjectState::InSync);
}

#[test]
fn held_deletions_are_reported_although_other_partitions_are_created() {
    let harness = harness_with_partitions(100);
    harness.resync();
    delete_partitions(&harness, 0..50);
    create_partitions(&harness, 100..101);
    let report = harness.resync().unwrap();
    let rules = report.outcome.rejections.iter().map(|one| one.rule);
    assert_eq!(rules.collect::<Vec<_>>(), [AuditRule::DeletionLimit]);
    let row = table_row(&harness);
    assert_eq!(
        (row.state, row.over_deletion_limit),
        (SubjectState::OnHold, true)
    );
    let partitions = harness.sim.state().raw_partitions(STANDBY)[&table_id()].len();
    assert_eq!(partitions, 101);
}

#[test]
fn the_row_of_a_table_tells_the_worst_of_its_problems() {
    let harness = harness_with_partitions(3);
    harness.resync();
    let mut unmapped = partition(7, 0);
    unmapped["StorageDescriptor"]["Location"] = json!("s3://elsewhere/7/");
    let request = in_table("PartitionInputList", &json!([unmapped, partition(8, 0)]));
    harness
        .call(PRIMARY, "BatchCreatePartition", &request)
        .unwrap();
    let unavailable = CallErrorKind::Unavailable;
    inject(&harness, STANDBY, "BatchCreatePartition", unavailable);
    let report = harness.resync().unwrap();
    let row = table_row(&harness);
    assert_eq!(row.state, SubjectState::OnHold, "{row:?}");
    assert!(report.outcome.waiting.is_some(), "the other problem");
    harness.sim.state().reject_partition(STANDBY, &["0000009"]);
    create_partitions(&harness, 9..10);
    let report = harness.resync().unwrap();
    let row = table_row(&harness);
    assert_eq!(row.state, SubjectState::Blocked, "{row:?}");
    let held = report.outcome.findings.iter();
    let mut held = held.filter(|finding| finding.subject == row.subject);
    assert!(
        held.any(|finding| finding
            .detail
            .contains("1 of its partitions is not replicated")),
        "the finding tells the other problem"
    );
}

#[test]
fn a_table_is_in_sync_once_the_partition_that_failed_is_made() {
    let harness = harness_with_partitions(3);
    harness.resync();
    let _ = harness.take_events();
    create_partitions(&harness, 3..4);
    let events = take_events_by_channel(&harness, true);
    let denied = CallErrorKind::Denied;
    inject(&harness, STANDBY, "BatchCreatePartition", denied);
    harness.deliver(&events).unwrap();
    assert_eq!(table_row(&harness).state, SubjectState::Blocked);
    create_partitions(&harness, 4..5);
    let other = take_events_by_channel(&harness, true);
    harness.deliver(&other).unwrap();
    let row = table_row(&harness);
    assert_eq!(row.state, SubjectState::Blocked, "{row:?}");
    harness.deliver(&events).unwrap();
    assert_eq!(table_row(&harness).state, SubjectState::InSync);
    assert_regions_equal(&harness);
}

/// A queue that is out of reach.
struct UnreachableQueue;

impl RetryQueue for UnreachableQueue {
    async fn send(&self, _: &RetryMessage, _: u16) -> Result<(), CallError> {
        let kind = CallErrorKind::Unavailable;
        Err(CallError::new(kind, "SendMessage", STANDBY, "injected"))
    }
}

#[test]
fn a_scan_that_could_not_be_queued_is_not_counted_as_scheduled() {
    let harness = harness_with_partitions(3);
    harness.resync();
    let change = |number: usize| {
        create_partitions(&harness, number..number + 1);
        take_events_by_channel(&harness, false)
    };
    harness.deliver(&change(10)).unwrap();
    let events = change(11);
    // The scan cannot be queued, the table cannot be read at once, and neither can that be queued.
    inject(&harness, PRIMARY, "GetTable", CallErrorKind::Unavailable);
    let messages: Vec<QueueMessage> = events
        .iter()
        .map(|body| QueueMessage {
            id: "1".to_owned(),
            body: body.clone(),
            is_redelivered: false,
        })
        .collect();
    let (context, event_context) = (harness.context(), harness.event_context());
    let ports = (&UnreachableQueue, &harness.topic);
    let stop_at = harness.sim.now().plus_secs(1000);
    let files = Some(&harness.table_files);
    let running = run(&context, ports, files, &event_context, &messages, stop_at);
    let result = run_until_killed(&harness.sim, running).unwrap();
    assert_eq!(result.failed.len(), 1);
    // The message is delivered again.
    harness.deliver(&events).unwrap();
    let queued = harness.queue.take();
    let bodies: Vec<Vec<u8>> = queued.iter().map(|one| one.body().into_bytes()).collect();
    harness.deliver(&bodies).unwrap();
    assert_regions_equal(&harness);
}

#[test]
fn a_part_that_leaves_its_own_scope_after_some_work_is_continued() {
    let harness = harness_with_partitions(10);
    harness.resync();
    create_partitions(&harness, 10..MAX_PARTITIONS_PER_ROUND + 500);
    let now = harness.sim.now();
    let part = ResyncPart::first(now, harness.policy.digest());
    let resync_run = ResyncRun::new(part.run.clone(), now, part.name.clone());
    let begun = harness.ledger.begin_resync_run(&resync_run);
    run_until_killed(&harness.sim, begun).unwrap().unwrap();
    let mut scope = Scope::default();
    let facets = [Facet::Definition, Facet::Partitions];
    let request = ReadRequest::for_facets(&facets);
    scope.add(Subject::Table(table_id()), request);
    let message = RetryMessage {
        part: Some(part),
        ..RetryMessage::new(scope, now)
    };
    let first = run_resync_part(&harness, Some(now.plus_secs(1)), Some(&message));
    assert_eq!(first.verified_at, None);
    let [rest] = harness.queue.take().try_into().unwrap();
    assert_eq!(rest.scope, message.scope);
    assert_ne!(rest.part, message.part);
    let last = run_resync_part(&harness, None, Some(&rest));
    assert_eq!(last.verified_at, Some(now));
    assert_regions_equal(&harness);
}

#[test]
fn an_approval_holds_for_the_run_and_only_for_the_deletions_that_were_shown() {
    let mut harness = harness_with_partitions(100);
    harness.policy = policy("deletion-limit = { fraction = 0.0, minimum = 0 }");
    harness.resync();
    delete_partitions(&harness, 0..20);
    let shown = {
        let mut context = harness.context();
        context.approved_deletions = &ApprovedDeletions::All;
        let scope = Scope::catalog();
        let preview = twinlake_engine::resync::preview(&context, &scope);
        let (plan, rejections) = run_until_killed(&harness.sim, preview).unwrap().unwrap();
        assert!(rejections.is_empty());
        plan.steps
    };
    let approved = ApprovedDeletions::shown(&shown);
    delete_partitions(&harness, 50..51);
    inject(
        &harness,
        STANDBY,
        "BatchDeletePartition",
        CallErrorKind::Contended,
    );
    let mut context = harness.context();
    context.approved_deletions = &approved;
    let scope = Scope::database(table_id().database);
    let prefetched = Prefetched::default();
    let running = twinlake_engine::reconcile(&context, &scope, &prefetched);
    let outcome = run_until_killed(&harness.sim, running).unwrap().unwrap();
    let rules: Vec<AuditRule> = outcome.rejections.iter().map(|one| one.rule).collect();
    assert_eq!(
        rules,
        [AuditRule::DeletionLimit],
        "of the one that was not shown"
    );
    let left = harness.sim.state().raw_partitions(STANDBY)[&table_id()].len();
    assert_eq!(left, 80);
}

fn resync_and_publish(harness: &TestHarness) {
    let started = harness.sim.now();
    let report = harness.resync().unwrap();
    let now = harness.sim.now();
    let found = alerts::from_resync_report(&report, STANDBY, now);
    let checked = CheckedSubjects::from_outcome(&report.outcome, started);
    let found = (&found[..], &checked);
    let published = publish_and_resolve(&harness.topic, &harness.ledger, found, now);
    run_until_killed(&harness.sim, published).unwrap().unwrap();
}

#[test]
fn an_incident_stays_open_while_what_it_was_found_in_is_not_read() {
    let harness = harness_with_partitions(3);
    let grant = |role: &str| {
        let role = format!("arn:aws:iam::111122223333:role/{role}");
        json!({"Principal": {"DataLakePrincipalIdentifier": role}, "Permissions": ["SELECT"],
               "Resource": {"Table": {"DatabaseName": "big", "Name": "t"}}})
    };
    for role in ["Analyst", "Keeper"] {
        harness
            .call(PRIMARY, "GrantPermissions", &grant(role))
            .unwrap();
    }
    resync_and_publish(&harness);
    let update = |columns: &[&str]| {
        let input = json!({"DatabaseName": "big", "TableInput": table_input("big", "t", columns)});
        harness.call(PRIMARY, "UpdateTable", &input).unwrap();
        let _ = harness.take_events();
    };
    let partition_event = |number: usize| {
        create_partitions(&harness, number..number + 1);
        take_events_by_channel(&harness, true)
    };
    let excess_access = || {
        let alerts = harness.topic.take().into_iter();
        let alerts = alerts.filter(|alert| alert.kind == AlertKind::ExcessAccess);
        alerts.map(|alert| alert.state).collect::<Vec<AlertState>>()
    };
    // The events of a revoke and of a new column are lost. The event of a partition finds both.
    harness
        .call(PRIMARY, "RevokePermissions", &grant("Analyst"))
        .unwrap();
    update(&["id", "extra"]);
    let denied = CallErrorKind::Denied;
    inject(&harness, STANDBY, "BatchRevokePermissions", denied);
    harness.deliver(&partition_event(10)).unwrap();
    assert_eq!(excess_access(), [AlertState::New]);
    // The columns are equal again, so the event of another partition reads no grants.
    update(&["id"]);
    harness.sim.state().advance_secs(400);
    harness.deliver(&partition_event(11)).unwrap();
    assert_eq!(excess_access(), []);
    assert_eq!(table_row(&harness).state, SubjectState::Blocked);
    resync_and_publish(&harness);
    assert_eq!(excess_access(), [AlertState::Resolved]);
    assert_eq!(table_row(&harness).state, SubjectState::InSync);
}
