//! Grants that a switchover changes, and those that could not be granted again.

use super::*;

/// The record of a switchover whose run may change grants for another minute.
fn changing_grants() -> EpochRecord {
    let request = readings(|all| all.freeze = FreezeMode::Grants);
    let started = decide(&EpochRecord::default(), SiteId::B, &request, &healthy());
    let Ok(FailoverDecision::Start(mut record)) = started else {
        panic!("{started:?}");
    };
    let journal = record.failover.as_mut().unwrap();
    journal.grants_change_until = Some(NOW.plus_secs(60));
    journal.frozen_since = Some(NOW);
    record
}

#[test]
fn an_undo_waits_until_no_run_can_revoke_any_more() {
    let record = changing_grants();
    let refused = undo(&record, SwitchOperation::Switchover, NOW.plus_secs(59)).unwrap_err();
    assert_eq!(refused, UndoRefusal::GrantsChange(NOW.plus_secs(60)));
    let undone = undo(&record, SwitchOperation::Switchover, NOW.plus_secs(60)).unwrap();
    assert_eq!(undone.failover.unwrap().stage, FailoverStage::Undone);
    // Once the step is done, nothing is revoked any more.
    let frozen = after_step(&record, FailoverStep::FreezeGrants, NOW, no_results());
    undo(&frozen, SwitchOperation::Switchover, NOW).unwrap();
}

#[test]
fn a_new_switchover_waits_for_an_undo_that_grants_and_a_failover_does_not() {
    let mut undone = undo(
        &changing_grants(),
        SwitchOperation::Switchover,
        NOW.plus_secs(60),
    )
    .unwrap();
    let until = NOW.plus_secs(200);
    undone.failover.as_mut().unwrap().grants_change_until = Some(until);
    let at = |now: Timestamp| RecoveryPoint {
        read_at: now,
        heartbeats: [(Channel::Catalog, now)].into(),
        ..healthy()
    };
    let refused = decide(&undone, SiteId::B, &switchover(), &at(until.plus_secs(-1))).unwrap_err();
    assert_eq!(refused.gate, FailoverGate::UndoEnded);
    decide(&undone, SiteId::B, &switchover(), &at(until)).unwrap();
    let started = decide(&undone, SiteId::B, &accepted(), &at(NOW)).unwrap();
    assert!(matches!(started, FailoverDecision::Start(_)), "{started:?}");
}

#[test]
fn a_run_that_begins_anew_keeps_since_when_grants_are_frozen() {
    let record = changing_grants();
    let again = decide(&record, SiteId::B, &switchover(), &healthy()).unwrap();
    let FailoverDecision::Resume(again) = again else {
        panic!("{again:?}");
    };
    let journal = again.failover.unwrap();
    assert_eq!(journal.frozen_since, Some(NOW));
    assert_eq!(journal.grants_change_until, Some(NOW.plus_secs(60)));
}

#[test]
fn grants_that_are_left_are_tried_again_and_nothing_else_is_done() {
    let restoring = &records()[2];
    let result = SwitchStepResult {
        restored: 3,
        unfrozen: 2,
        left_frozen: UnrestoredGrants {
            count: 1,
            named: [("INSERT".to_owned(), "denied".to_owned())].into(),
        },
        ..SwitchStepResult::default()
    };
    let completed = after_step(restoring, FailoverStep::RestoreDefaults, NOW, result);
    let FailoverDecision::Resume(again) = decide_at_b(&completed, &accepted()) else {
        panic!("it is not resumed");
    };
    let journal = again.failover.as_ref().unwrap();
    assert_eq!(journal.next_step(), Some(FailoverStep::RestoreDefaults));
    assert_eq!(journal.left_to_restore(), Some(&BTreeMap::new()));
    let done = after_step(&again, FailoverStep::RestoreDefaults, NOW, no_results());
    assert!(done.failover.as_ref().unwrap().left_frozen.is_none());
    assert_eq!(
        decide_at_b(&done, &accepted()),
        FailoverDecision::AlreadyPrimary
    );
}

#[test]
fn an_undo_of_the_other_operation_is_refused_and_named() {
    let (failover, switchover) = (started(), changing_grants());
    for (record, other, command) in [
        (&failover, SwitchOperation::Switchover, "failover"),
        (&switchover, SwitchOperation::Failover, "switchover"),
    ] {
        let refused = undo(record, other, NOW).unwrap_err();
        assert_eq!(refused, UndoRefusal::OtherOperation(command));
        let text = refused.to_string();
        assert!(
            text.contains(&format!("`twinlake {command} --undo`")),
            "{text}"
        );
    }
}
