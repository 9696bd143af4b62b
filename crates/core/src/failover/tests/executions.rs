//! Executions of a state machine or of a plan, which may be repeated at any time.

use super::*;

fn executed_by(execution: &str) -> FailoverRequest {
    FailoverRequest {
        execution: Some(execution.to_owned()),
        ..forced_interval()
    }
}

#[test]
fn an_execution_switches_once_however_often_it_is_repeated() {
    let FailoverDecision::Start(record) = decide_at_b(&EpochRecord::default(), &executed_by("x"))
    else {
        panic!("it begins");
    };
    assert_eq!(record.begun_in("x"), Some(0));
    // It goes on with what it has begun, and its record is kept once.
    let FailoverDecision::Resume(again) = decide_at_b(&record, &executed_by("x")) else {
        panic!("it goes on");
    };
    assert_eq!(again.executions, record.executions);
    let mut done = record;
    for &step in SwitchOperation::Failover.steps() {
        done = after_step(&done, step, NOW, no_results());
    }
    let repeated = decide_at_b(&done, &executed_by("x"));
    assert_eq!(repeated, FailoverDecision::AlreadyPrimary);
    // Somebody has switched back since. The journal of this Region may be gone.
    let back = EpochRecord {
        epoch: Epoch::new(2, SiteId::A),
        failover: None,
        ..done
    };
    let refused = refusal(&back, &executed_by("x"));
    assert_eq!(refused.gate, FailoverGate::FirstExecution);
    let text = refused.to_string();
    assert!(
        text.contains("began in epoch 0, and the ledger of this Region holds epoch 2"),
        "{text}"
    );
    let other = decide_at_b(&back, &executed_by("y"));
    assert!(matches!(other, FailoverDecision::Start(_)));
    let person = decide_at_b(&back, &forced_interval());
    assert!(matches!(person, FailoverDecision::Start(_)));
}

#[test]
fn an_execution_does_not_begin_again_what_a_person_has_undone() {
    let FailoverDecision::Start(record) = decide_at_b(&EpochRecord::default(), &executed_by("x"))
    else {
        panic!("it begins");
    };
    let undone = undo(&record, SwitchOperation::Failover, NOW).unwrap();
    let refused = refusal(&undone, &executed_by("x"));
    assert_eq!(refused.gate, FailoverGate::FirstExecution);
    assert!(
        refused.to_string().contains("somebody has undone"),
        "{refused}"
    );
    let other = decide_at_b(&undone, &executed_by("y"));
    assert!(matches!(other, FailoverDecision::Start(_)));
}

#[test]
fn the_record_keeps_the_last_executions() {
    let mut record = EpochRecord::default();
    for execution in 0..20 {
        let FailoverDecision::Start(next) =
            decide_at_b(&record, &executed_by(&execution.to_string()))
        else {
            panic!("it begins");
        };
        record = undo(&next, SwitchOperation::Failover, NOW).unwrap();
    }
    assert_eq!(record.executions.len(), 16);
    assert_eq!(
        (record.begun_in("3"), record.begun_in("4")),
        (None, Some(0))
    );
}
