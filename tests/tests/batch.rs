//! What a function does with a batch of messages, and what a Region may do at all.

use serde_json::json;
use twinlake_core::ledger::{Epoch, Role};
use twinlake_core::{AlertKind, FaultKind, Scope, Timestamp};
use twinlake_engine::batch::{Received, run};
use twinlake_engine::message::Part;
use twinlake_engine::resync::Report;
use twinlake_engine::role::{Unready, standing};
use twinlake_engine::{Clock as _, Ledger as _, MemoryLedger};
use twinlake_sim::{ApiError, Trouble, run_until_killed};
use twinlake_tests::history::{Act, perform, settle};
use twinlake_tests::lab::{Lab, PRIMARY, SECONDARY, policy};

fn lab() -> Lab {
    let lab = Lab::new(policy(""));
    settle(&lab, &[]);
    let _ = lab.resync();
    let _ = lab.take_events();
    let _ = lab.take_calls();
    lab
}

fn update() -> Act {
    Act::UpdateTable(0, 0, 3)
}

#[test]
fn ten_messages_about_one_table_are_one_reconciliation() {
    let lab = lab();
    perform(&lab, PRIMARY, &update());
    let bodies: Vec<Vec<u8>> = lab.take_events().into_iter().cycle().take(10).collect();
    let answer = lab.deliver(&bodies).unwrap();
    assert_eq!((answer.reconciled.len(), answer.applied()), (1, 1));
    assert!(answer.failed.is_empty());
}

#[test]
fn an_event_that_names_nothing_is_handed_out_by_database() {
    let lab = lab();
    let event = json!({
        "source": "aws.lakeformation", "detail-type": "AWS API Call via CloudTrail",
        "region": PRIMARY, "account": "111122223333",
        "detail": {"eventSource": "lakeformation.amazonaws.com", "eventName": "RevokePermissions",
                   "requestParameters": {"omitted": "true"}},
    });
    let answer = lab.deliver(&[event.to_string().into_bytes()]).unwrap();
    let sent = lab.queue.take();
    assert_eq!(
        (answer.waiting, sent.len()),
        (8, 8),
        "the lake; base, db0, db1"
    );
    perform(&lab, PRIMARY, &update());
    let bodies: Vec<Vec<u8>> = sent.iter().map(|m| m.body().into_bytes()).collect();
    assert_eq!(lab.deliver(&bodies).unwrap().applied(), 1);
}

#[test]
fn what_time_does_not_allow_is_sent_again_and_acknowledged() {
    let lab = lab();
    perform(&lab, PRIMARY, &update());
    let received: Vec<Received> = lab
        .take_events()
        .into_iter()
        .enumerate()
        .map(|(at, body)| Received {
            id: at.to_string(),
            body,
        })
        .collect();
    let context = lab.context();
    let ports = (&lab.queue, &lab.topic);
    let listener = lab.listener();
    let late = Timestamp::from_secs(0);
    let running = run(&context, ports, &listener, &received, late);
    let answer = run_until_killed(&lab.sim, running).unwrap();
    assert_eq!((answer.reconciled.len(), answer.waiting), (0, 1));
    assert!(answer.failed.is_empty());
    let [message] = lab.queue.take().try_into().unwrap();
    assert_eq!(message.attempt, 1);
    assert_eq!(
        lab.deliver(&[message.body().into_bytes()])
            .unwrap()
            .applied(),
        1
    );
}

#[test]
fn what_has_not_propagated_waits_and_is_given_up_in_the_end() {
    let lab = lab();
    let grant = json!({
        "Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/New"},
        "Resource": {"Table": {"DatabaseName": "db0", "Name": "t0"}},
        "Permissions": ["SELECT"],
    });
    lab.call(PRIMARY, "GrantPermissions", &grant).unwrap();
    let trouble = Trouble {
        times: usize::MAX,
        ..Trouble::once(
            SECONDARY,
            "BatchGrantPermissions",
            ApiError::new(
                FaultKind::NotYet,
                "InvalidInputException",
                "Invalid principal",
            ),
        )
    };
    lab.sim.world().order(trouble);
    let answer = lab.deliver(&lab.take_events()).unwrap();
    assert_eq!(answer.waiting, 1);
    assert!(
        lab.topic.take().is_empty(),
        "a passing trouble is nobody's business yet"
    );
    let [message] = lab.queue.take().try_into().unwrap();
    assert_eq!(message.attempt, 1);
    lab.sim.world().pass_secs(2 * 3600);
    let answer = lab.deliver(&[message.body().into_bytes()]).unwrap();
    assert_eq!(answer.waiting, 0);
    let kinds: Vec<AlertKind> = lab.topic.take().iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [AlertKind::Diverged]);
}

#[test]
fn a_throttled_read_waits_and_a_denied_one_pages() {
    let lab = lab();
    perform(&lab, PRIMARY, &update());
    let bodies = lab.take_events();
    let error = |kind, code| ApiError::new(kind, code, "as ordered");
    let busy = error(FaultKind::Busy, "ThrottlingException");
    lab.sim
        .world()
        .order(Trouble::once(PRIMARY, "GetTable", busy));
    assert_eq!(lab.deliver(&bodies[..1]).unwrap().waiting, 1);
    assert!(lab.topic.take().is_empty());
    let denied = error(FaultKind::Denied, "AccessDeniedException");
    lab.sim
        .world()
        .order(Trouble::once(PRIMARY, "GetTable", denied));
    let _ = lab.deliver(&bodies[..1]).unwrap();
    let kinds: Vec<AlertKind> = lab.topic.take().iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [AlertKind::Denied]);
}

#[test]
fn an_alert_is_not_repeated_within_the_hour() {
    let lab = lab();
    let garbage = vec![b"{".to_vec()];
    let _ = lab.deliver(&garbage);
    let _ = lab.deliver(&garbage);
    assert_eq!(lab.topic.take().len(), 1);
    lab.sim.world().pass_secs(3601);
    let _ = lab.deliver(&garbage);
    assert_eq!(lab.topic.take().len(), 1);
}

#[test]
fn one_bad_message_does_not_fail_its_neighbours() {
    let lab = lab();
    perform(&lab, PRIMARY, &update());
    let mut bodies = lab.take_events();
    bodies.insert(0, b"{".to_vec());
    let answer = lab.deliver(&bodies).unwrap();
    assert_eq!(
        (answer.applied(), answer.failed.len(), answer.dropped.len()),
        (1, 0, 1)
    );
}

fn ready<T>(lab: &Lab, future: impl Future<Output = T>) -> T {
    run_until_killed(&lab.sim, future).unwrap()
}

#[test]
fn the_role_is_read_from_both_ledgers() {
    let lab = lab();
    let (own, peer) = (MemoryLedger::default(), MemoryLedger::default());
    let stands = || ready(&lab, standing(SECONDARY, &own, &peer));
    assert!(matches!(stands(), Err(Unready::NoPolicy(_))));
    ready(&lab, own.put_policy(lab.policy.text())).unwrap();
    assert_eq!(stands().unwrap().role, Role::Standby);
    ready(
        &lab,
        peer.put_policy(policy("deletions = \"retain\"").text()),
    )
    .unwrap();
    assert!(matches!(stands(), Err(Unready::Mismatch(..))));
    ready(&lab, peer.put_policy(lab.policy.text())).unwrap();
    own.set_epoch(Epoch(1));
    assert_eq!(stands().unwrap().role, Role::Primary);
    own.set_epoch(Epoch(0));
    peer.set_epoch(Epoch(1));
    let fenced = stands().unwrap();
    assert_eq!((fenced.role, fenced.epoch), (Role::Fenced, Epoch(1)));
    let stranger = ready(&lab, standing("eu-west-1", &own, &peer));
    assert!(matches!(stranger, Err(Unready::Stranger(..))));
}

fn part_of(lab: &Lab, stop_at: Option<Timestamp>, part: Option<(&Part, &Scope)>) -> Report {
    let mut context = lab.context();
    context.stop_at = stop_at;
    let run = twinlake_engine::resync::resync(&context, part, Some(&lab.queue), &());
    run_until_killed(&lab.sim, run).unwrap().unwrap()
}

#[test]
fn a_resync_out_of_time_shares_the_rest_out_and_verifies_only_when_whole() {
    let lab = Lab::new(policy(""));
    settle(&lab, &[]);
    let now = lab.sim.now();
    let first = part_of(&lab, Some(now), None);
    assert_eq!((first.databases, first.handed_on), (0, 3));
    assert_eq!(first.verified_at, None);
    let messages = lab.queue.take();
    assert_eq!(
        messages.len(),
        4,
        "the lake, and each can be worked on by another function"
    );
    let (mut databases, mut verified) = (0, Vec::new());
    for message in messages.iter().chain(messages.first()) {
        let report = part_of(
            &lab,
            None,
            Some((message.part.as_ref().unwrap(), &message.scope)),
        );
        databases += report.databases;
        verified.extend(report.verified_at);
    }
    // One was delivered twice, and after the run was over.
    assert_eq!(databases, 4);
    assert_eq!(
        verified,
        [now],
        "the start of the run, not of its last part, and once"
    );
}

#[test]
fn a_database_of_very_many_tables_is_shared_out() {
    let lab = Lab::new(policy("statistics = \"none\""));
    settle(&lab, &[]);
    let count = twinlake_engine::observe::TABLES_AT_ONCE + 100;
    for number in 0..count {
        let input = json!({"Name": format!("many{number}")});
        let request = json!({"DatabaseName": "db0", "TableInput": input});
        lab.call(PRIMARY, "CreateTable", &request).unwrap();
    }
    let now = lab.sim.now();
    let never = Some(now.plus_secs(1_000_000));
    let first = part_of(&lab, never, None);
    assert_eq!((first.databases, first.verified_at), (3, None));
    let messages = lab.queue.take();
    assert!(messages.len() > 4, "{}", messages.len());
    let mut verified = None;
    for message in &messages {
        assert!(message.body().len() < 256 * 1024);
        let part = message.part.as_ref().unwrap();
        verified = part_of(&lab, never, Some((part, &message.scope))).verified_at;
    }
    assert_eq!(verified, Some(now));
    let there = lab.sim.world().raw_tables(SECONDARY).len();
    assert_eq!(there, lab.sim.world().raw_tables(PRIMARY).len());
}
