//! The processing of message batches, the parts of a resync, and the role of a Region.

use serde_json::json;
use twinlake_core::topology::{Epoch, RegionRole};
use twinlake_core::{Alert, AlertKind, CallError, CallErrorKind, Scope, Timestamp};
use twinlake_engine::event_batch::{BatchResult, QueueMessage, run};
use twinlake_engine::region_authority::{NotReady, StackSites, region_authority};
use twinlake_engine::resync::ResyncReport;
use twinlake_engine::retry_message::ResyncPart;
use twinlake_engine::{AlertTopic, Clock as _, InMemoryLedger, Ledger as _, RetryMessage};
use twinlake_sim::{ApiError, InjectedFault, RecordedCall, run_until_killed};
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};
use twinlake_tests::history::{HistoryAction, perform, set_up_primary};

fn harness_in_sync() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    set_up_primary(&harness, &[]);
    let _ = harness.resync();
    let _ = harness.take_events();
    let _ = harness.take_calls();
    harness
}

fn update_action() -> HistoryAction {
    HistoryAction::UpdateTable(0, 0, 3)
}

#[test]
fn ten_messages_about_one_table_are_one_reconciliation() {
    let harness = harness_in_sync();
    perform(&harness, PRIMARY, &update_action());
    let bodies: Vec<Vec<u8>> = harness.take_events().into_iter().cycle().take(10).collect();
    let result = harness.deliver(&bodies).unwrap();
    assert_eq!((result.reconciled.len(), result.applied()), (1, 1));
    assert!(result.failed.is_empty());
}

#[test]
fn events_about_different_databases_are_reconciled_at_the_same_time() {
    let harness = harness_in_sync();
    for database in [0, 1] {
        perform(
            &harness,
            PRIMARY,
            &HistoryAction::UpdateTable(database, 0, 3),
        );
    }
    let bodies = harness.take_events();
    harness.sim.state().set_max_yields_per_call(1);
    let _ = harness.sim.state().take_calls();
    let result = harness.deliver(&bodies).unwrap();
    assert_eq!((result.reconciled.len(), result.applied()), (2, 2));
    let calls = harness.sim.state().take_calls();
    let is_update = |call: &RecordedCall| call.region == STANDBY && call.name == "UpdateTable";
    let updates = calls.iter().enumerate();
    let updates: Vec<usize> = updates
        .filter(|(_, call)| is_update(call))
        .map(|(index, _)| index)
        .collect();
    let [first, second] = updates[..] else {
        panic!("{updates:?}");
    };
    let between = &calls[first..second];
    assert!(
        !between.iter().any(|call| call.region == PRIMARY),
        "both were read before either was written: {between:?}"
    );
}

#[test]
fn an_event_that_names_no_object_is_split_by_database() {
    let harness = harness_in_sync();
    let event = json!({
        "source": "aws.lakeformation", "detail-type": "AWS API Call via CloudTrail",
        "region": PRIMARY, "account": "111122223333",
        "detail": {"eventSource": "lakeformation.amazonaws.com", "eventName": "RevokePermissions",
                   "requestParameters": {"omitted": "true"}},
    });
    let result = harness.deliver(&[event.to_string().into_bytes()]).unwrap();
    let sent = harness.queue.take();
    assert_eq!(
        (result.resent, sent.len()),
        (8, 8),
        "Lake Formation; base, db0, db1"
    );
    perform(&harness, PRIMARY, &update_action());
    let bodies: Vec<Vec<u8>> = sent.iter().map(|m| m.body().into_bytes()).collect();
    assert_eq!(harness.deliver(&bodies).unwrap().applied(), 1);
}

#[test]
fn a_flood_of_events_that_name_no_object_is_one_scan_of_the_catalog_now_and_one_later() {
    let harness = harness_in_sync();
    let event = json!({
        "source": "aws.lakeformation", "detail-type": "AWS API Call via CloudTrail",
        "region": PRIMARY, "account": "111122223333",
        "detail": {"eventSource": "lakeformation.amazonaws.com", "eventName": "RevokePermissions",
                   "requestParameters": {"omitted": "true"}},
    });
    let body = event.to_string().into_bytes();
    let mut sent = Vec::new();
    for _ in 0..25 {
        harness.deliver(std::slice::from_ref(&body)).unwrap();
        sent.extend(harness.queue.take());
        harness.sim.state().advance_secs(10);
    }
    let is_catalog = |message: &&RetryMessage| message.scope == Scope::catalog();
    let (later, now): (Vec<_>, Vec<_>) = sent.iter().partition(is_catalog);
    assert_eq!((now.len(), later.len()), (8, 1), "{sent:#?}");
    // The scan that was queued is made, and the next event after the interval, too.
    harness.sim.state().advance_secs(900);
    let queued = later[0].body().into_bytes();
    assert_eq!(harness.deliver(&[queued]).unwrap().resent, 8);
    harness.sim.state().advance_secs(900);
    assert_eq!(harness.deliver(&[body]).unwrap().resent, 8);
}

#[test]
fn scopes_beyond_the_time_limit_are_queued_again_and_acknowledged() {
    let harness = harness_in_sync();
    perform(&harness, PRIMARY, &update_action());
    let messages: Vec<QueueMessage> = harness
        .take_events()
        .into_iter()
        .enumerate()
        .map(|(index, body)| QueueMessage {
            id: index.to_string(),
            body,
            is_redelivered: false,
        })
        .collect();
    let context = harness.context();
    let ports = (&harness.queue, &harness.topic);
    let event_context = harness.event_context();
    let stop_at = Timestamp::from_secs(0);
    let files = Some(&harness.table_files);
    let running = run(&context, ports, files, &event_context, &messages, stop_at);
    let result = run_until_killed(&harness.sim, running).unwrap();
    assert_eq!((result.reconciled.len(), result.resent), (0, 1));
    assert!(result.failed.is_empty());
    let [(message, delay)] = harness.queue.take_with_delays().try_into().unwrap();
    assert_eq!((message.attempt, delay), (0, 5), "nothing was attempted");
    assert_eq!(
        harness
            .deliver(&[message.body().into_bytes()])
            .unwrap()
            .applied(),
        1
    );
}

#[test]
fn a_change_that_does_not_propagate_is_retried_and_abandoned_after_an_hour() {
    let harness = harness_in_sync();
    let grant = json!({
        "Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/New"},
        "Resource": {"Table": {"DatabaseName": "db0", "Name": "t0"}},
        "Permissions": ["SELECT"],
    });
    harness.call(PRIMARY, "GrantPermissions", &grant).unwrap();
    let fault = InjectedFault {
        times: usize::MAX,
        ..InjectedFault::once(
            STANDBY,
            "BatchGrantPermissions",
            ApiError::new(
                CallErrorKind::NotPropagated,
                "InvalidInputException",
                "Invalid principal",
            ),
        )
    };
    harness.sim.state().inject_fault(fault);
    let result = harness.deliver(&harness.take_events()).unwrap();
    assert_eq!(result.resent, 1);
    assert!(
        harness.topic.take().is_empty(),
        "no alert is published while the call is retried"
    );
    let [message] = harness.queue.take().try_into().unwrap();
    assert_eq!(message.attempt, 1);
    harness.sim.state().advance_secs(2 * 3600);
    let result = harness.deliver(&[message.body().into_bytes()]).unwrap();
    assert_eq!(result.resent, 0);
    let kinds: Vec<AlertKind> = harness
        .topic
        .take()
        .iter()
        .map(|alert| alert.kind)
        .collect();
    assert_eq!(kinds, [AlertKind::Conflict]);
}

#[test]
fn a_throttled_read_is_retried_and_a_denied_one_raises_an_alert() {
    let harness = harness_in_sync();
    perform(&harness, PRIMARY, &update_action());
    let bodies = harness.take_events();
    let error = |kind, code| ApiError::new(kind, code, "injected");
    let contended = error(CallErrorKind::Contended, "ThrottlingException");
    harness
        .sim
        .state()
        .inject_fault(InjectedFault::once(PRIMARY, "GetTable", contended));
    assert_eq!(harness.deliver(&bodies[..1]).unwrap().resent, 1);
    assert!(harness.topic.take().is_empty());
    let denied = error(CallErrorKind::Denied, "AccessDeniedException");
    harness
        .sim
        .state()
        .inject_fault(InjectedFault::once(PRIMARY, "GetTable", denied));
    let _ = harness.deliver(&bodies[..1]).unwrap();
    let kinds: Vec<AlertKind> = harness
        .topic
        .take()
        .iter()
        .map(|alert| alert.kind)
        .collect();
    assert_eq!(kinds, [AlertKind::TwinlakeAccessDenied]);
}

#[test]
fn an_alert_is_not_repeated_within_the_hour() {
    let harness = harness_in_sync();
    let malformed = vec![b"{".to_vec()];
    let _ = harness.deliver(&malformed);
    let _ = harness.deliver(&malformed);
    assert_eq!(harness.topic.take().len(), 1);
    harness.sim.state().advance_secs(3601);
    let _ = harness.deliver(&malformed);
    assert_eq!(harness.topic.take().len(), 1);
}

#[test]
fn a_malformed_message_does_not_fail_the_others_of_its_batch() {
    let harness = harness_in_sync();
    perform(&harness, PRIMARY, &update_action());
    let mut bodies = harness.take_events();
    bodies.insert(0, b"{".to_vec());
    let result = harness.deliver(&bodies).unwrap();
    assert_eq!(
        (result.applied(), result.failed.len(), result.ignored.len()),
        (1, 0, 1)
    );
}

fn block_on<T>(harness: &TestHarness, future: impl Future<Output = T>) -> T {
    run_until_killed(&harness.sim, future).unwrap()
}

#[test]
fn the_role_of_a_region_is_read_from_both_ledgers() {
    let harness = harness_in_sync();
    let (local, peer) = (InMemoryLedger::default(), InMemoryLedger::default());
    let switched = Epoch::new(2, harness.epoch().standby());
    local.set_epoch(harness.epoch());
    let authority = || block_on(&harness, region_authority(STANDBY, &local, &peer));
    assert!(matches!(authority(), Err(NotReady::NoPolicy(_))));
    block_on(&harness, local.put_policy(harness.policy.text())).unwrap();
    assert_eq!(authority().unwrap().role, RegionRole::Standby);
    block_on(
        &harness,
        peer.put_policy(policy("deletions = \"retain\"").text()),
    )
    .unwrap();
    assert!(matches!(authority(), Err(NotReady::PoliciesDiffer(..))));
    block_on(&harness, peer.put_policy(harness.policy.text())).unwrap();
    local.set_epoch(switched);
    assert_eq!(authority().unwrap().role, RegionRole::Primary);
    local.set_epoch(harness.epoch());
    peer.set_epoch(switched);
    let fenced = authority().unwrap();
    assert_eq!((fenced.role, fenced.epoch), (RegionRole::Fenced, switched));
    let unknown = block_on(&harness, region_authority("eu-west-1", &local, &peer));
    assert!(matches!(unknown, Err(NotReady::UnknownRegion(..))));
}

#[test]
fn a_stack_serves_only_a_policy_of_its_regions_and_account() {
    let policy = policy("");
    let account = policy.sites.a.account.as_str();
    let check = |region, peer_region, account| {
        let stack = StackSites {
            region,
            peer_region,
            account,
        };
        stack.check(&policy)
    };
    assert!(check(PRIMARY, STANDBY, account).is_ok());
    assert!(check(STANDBY, PRIMARY, account).is_ok());
    for (peer_region, account) in [("eu-west-1", account), (STANDBY, "999988887777")] {
        let error = check(PRIMARY, peer_region, account).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, NotReady::StackDiffers { .. }), "{text}");
        assert!(
            text.contains(peer_region) && text.contains(account),
            "{text}"
        );
    }
}

fn run_resync_part(
    harness: &TestHarness,
    stop_at: Option<Timestamp>,
    part: Option<(&ResyncPart, &Scope)>,
) -> ResyncReport {
    let mut context = harness.context();
    context.stop_at = stop_at;
    let run = twinlake_engine::resync::resync(
        &context,
        harness.resync_depth,
        part,
        Some(&harness.queue),
        &(),
    );
    run_until_killed(&harness.sim, run).unwrap().unwrap()
}

#[test]
fn a_resync_out_of_time_queues_the_rest_and_verifies_after_the_last_part() {
    let harness = TestHarness::new(policy(""));
    set_up_primary(&harness, &[]);
    let now = harness.sim.now();
    let first = run_resync_part(&harness, Some(now), None);
    assert_eq!((first.databases, first.deferred), (0, 3));
    assert_eq!(first.verified_at, None);
    let messages = harness.queue.take();
    assert_eq!(
        messages.len(),
        4,
        "Lake Formation and three databases, each in a message of its own"
    );
    let (mut databases, mut verified) = (0, Vec::new());
    for message in messages.iter().chain(messages.first()) {
        let report = run_resync_part(
            &harness,
            None,
            Some((message.part.as_ref().unwrap(), &message.scope)),
        );
        databases += report.databases;
        verified.extend(report.verified_at);
    }
    // The first message was delivered again, after the run was complete.
    assert_eq!(databases, 4);
    assert_eq!(
        verified,
        [now],
        "the start of the run, not of its last part, and only once"
    );
}

#[test]
fn a_database_with_many_tables_is_split_into_parts() {
    let harness = TestHarness::new(policy("column-statistics = \"none\""));
    set_up_primary(&harness, &[]);
    let count = twinlake_engine::observe::MAX_TABLES_PER_INVOCATION + 100;
    for number in 0..count {
        let input = json!({"Name": format!("many{number}")});
        let request = json!({"DatabaseName": "db0", "TableInput": input});
        harness.call(PRIMARY, "CreateTable", &request).unwrap();
    }
    let now = harness.sim.now();
    let far_future = Some(now.plus_secs(1_000_000));
    let first = run_resync_part(&harness, far_future, None);
    assert_eq!((first.databases, first.verified_at), (3, None));
    let messages = harness.queue.take();
    assert!(messages.len() > 4, "{}", messages.len());
    let mut verified = None;
    for message in &messages {
        assert!(message.body().len() < 256 * 1024);
        let part = message.part.as_ref().unwrap();
        verified = run_resync_part(&harness, far_future, Some((part, &message.scope))).verified_at;
    }
    assert_eq!(verified, Some(now));
    let table_count = harness.sim.state().raw_tables(STANDBY).len();
    assert_eq!(table_count, harness.sim.state().raw_tables(PRIMARY).len());
}

fn grant_on_t0(harness: &TestHarness, role: &str) -> Vec<Vec<u8>> {
    let grant = json!({
        "Principal": {"DataLakePrincipalIdentifier": format!("arn:aws:iam::111122223333:role/{role}")},
        "Resource": {"Table": {"DatabaseName": "db0", "Name": "t0"}},
        "Permissions": ["SELECT"],
    });
    harness.call(PRIMARY, "GrantPermissions", &grant).unwrap();
    harness.take_events()
}

/// Returns a harness in which no grant succeeds, and the message for the next attempt at one.
fn harness_with_waiting_grant() -> (TestHarness, RetryMessage) {
    let harness = harness_in_sync();
    let fault = InjectedFault {
        times: usize::MAX,
        ..InjectedFault::once(
            STANDBY,
            "BatchGrantPermissions",
            ApiError::new(CallErrorKind::NotPropagated, "InvalidInputException", "x"),
        )
    };
    harness.sim.state().inject_fault(fault);
    let events = grant_on_t0(&harness, "Old");
    harness.deliver(&events).unwrap();
    let [message] = harness.queue.take().try_into().unwrap();
    (harness, message)
}

fn bodies_of(messages: &[RetryMessage]) -> Vec<Vec<u8>> {
    messages.iter().map(|one| one.body().into_bytes()).collect()
}

#[test]
fn a_new_request_neither_postpones_the_alert_of_an_old_one_nor_is_given_up_with_it() {
    let (harness, old) = harness_with_waiting_grant();
    harness.sim.state().advance_secs(3400);
    let mut bodies = grant_on_t0(&harness, "New");
    bodies.push(old.body().into_bytes());
    harness.deliver(&bodies).unwrap();
    assert!(harness.topic.take().is_empty());
    let sent = harness.queue.take();
    let deadlines: Vec<Timestamp> = sent.iter().map(|message| message.deadline).collect();
    assert_eq!(deadlines.len(), 2, "{sent:#?}");
    assert!(deadlines[0] == old.deadline && deadlines[1] > old.deadline.plus_secs(3000));
    harness.sim.state().advance_secs(300);
    harness.deliver(&bodies_of(&sent)).unwrap();
    let kinds: Vec<AlertKind> = harness.topic.take().iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [AlertKind::Conflict], "of the old request");
    let left = harness.queue.take();
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(left[0].deadline, deadlines[1]);
}

/// A topic that is out of reach.
struct UnreachableTopic;

impl AlertTopic for UnreachableTopic {
    async fn publish(&self, _: &Alert) -> Result<(), CallError> {
        let kind = CallErrorKind::Unavailable;
        Err(CallError::new(kind, "Publish", STANDBY, "injected"))
    }
}

fn deliver_with_topic(
    harness: &TestHarness,
    topic: &impl AlertTopic,
    bodies: &[Vec<u8>],
) -> BatchResult {
    let messages: Vec<QueueMessage> = bodies
        .iter()
        .enumerate()
        .map(|(index, body)| QueueMessage {
            id: index.to_string(),
            body: body.clone(),
            is_redelivered: false,
        })
        .collect();
    let (context, event_context) = (harness.context(), harness.event_context());
    let ports = (&harness.queue, topic);
    let stop_at = harness.sim.now().plus_secs(1_000_000);
    let files = Some(&harness.table_files);
    let running = run(&context, ports, files, &event_context, &messages, stop_at);
    run_until_killed(&harness.sim, running).unwrap()
}

#[test]
fn nothing_is_queued_while_the_alert_of_the_same_work_cannot_be_published() {
    let (harness, old) = harness_with_waiting_grant();
    harness.sim.state().advance_secs(3700);
    let mut bodies = grant_on_t0(&harness, "New");
    bodies.push(old.body().into_bytes());
    let result = deliver_with_topic(&harness, &UnreachableTopic, &bodies);
    assert_eq!(result.failed.len(), bodies.len(), "all are delivered again");
    assert!(harness.queue.take().is_empty());
    let result = deliver_with_topic(&harness, &harness.topic, &bodies);
    assert!(result.failed.is_empty());
    assert_eq!(harness.topic.take().len(), 1);
    assert_eq!(harness.queue.take().len(), 1);
}

#[test]
fn the_log_says_why_a_reconciliation_waits() {
    let (harness, message) = harness_with_waiting_grant();
    let result = harness.deliver(&bodies_of(&[message])).unwrap();
    let [entry] = result.reconciled.as_slice() else {
        panic!("{:?}", result.reconciled);
    };
    assert_eq!((entry.cause, entry.outcome), ("retry", "waiting"));
    let [reason] = entry.reasons.as_slice() else {
        panic!("{:?}", entry.reasons);
    };
    assert!(reason.contains("BatchGrantPermissions"), "{reason}");
}

#[test]
fn events_about_a_database_and_its_tables_share_a_reconciliation() {
    let harness = harness_in_sync();
    let principal = |role: &str| json!({"DataLakePrincipalIdentifier": role});
    let all_tables = json!({"Table": {"DatabaseName": "db0", "TableWildcard": {}}});
    let opt_in = json!({"Principal": principal("arn:aws:iam::111122223333:role/Analyst"),
                        "Resource": all_tables});
    harness
        .call(PRIMARY, "CreateLakeFormationOptIn", &opt_in)
        .unwrap();
    let open = json!({"Principal": principal("IAM_ALLOWED_PRINCIPALS"), "Permissions": ["ALL"],
                      "Resource": {"Table": {"DatabaseName": "db0", "Name": "t0"}}});
    harness.call(PRIMARY, "GrantPermissions", &open).unwrap();
    let _ = harness.resync();
    let _ = harness.take_events();
    harness
        .call(PRIMARY, "DeleteLakeFormationOptIn", &opt_in)
        .unwrap();
    harness.call(PRIMARY, "RevokePermissions", &open).unwrap();
    let events = harness.take_events();
    let denied = ApiError::new(CallErrorKind::Denied, "AccessDeniedException", "x");
    let fault = InjectedFault::once(STANDBY, "BatchRevokePermissions", denied);
    harness.sim.state().inject_fault(fault);
    let result = harness.deliver(&events).unwrap();
    assert_eq!(result.reconciled.len(), 1, "{:?}", result.reconciled);
    let opt_ins = harness.sim.state().raw_opt_ins(STANDBY);
    assert_eq!(opt_ins.len(), 1, "the revoke failed, so the opt-in stays");
    harness.resync();
    assert!(harness.sim.state().raw_opt_ins(STANDBY).is_empty());
}
