//! What follows from a look, and when the next one is.

use super::*;

fn entry(source: &str) -> IcebergEntry {
    IcebergEntry {
        source: source.to_owned(),
        location: "s3://lake/t".to_owned(),
        columns: "c".to_owned(),
        created: None,
    }
}

fn look_with(obstacle: RelocationObstacle) -> Look {
    Look {
        obstacle: Some(obstacle),
        ..Look::default()
    }
}

fn pending() -> RelocationObstacle {
    RelocationObstacle::DataPending {
        missing: 1,
        first: "d1".to_owned(),
    }
}

fn denied(error: &str) -> RelocationObstacle {
    RelocationObstacle::Failed {
        error: error.to_owned(),
        is_denied: true,
        is_permanent: true,
    }
}

fn apply(replica: &mut IcebergReplica, source: &str, look: &Look, secs: i64) -> NextCheck {
    let now = Timestamp::from_millis(0).plus_secs(secs);
    apply_look(replica, &entry(source), look, (now, "p".to_owned()))
}

#[test]
fn looks_at_a_commit_become_rare() {
    let mut replica = IcebergReplica::default();
    let look = look_with(pending());
    assert_eq!(apply(&mut replica, "m1", &look, 0), NextCheck::Later(60));
    assert_eq!(apply(&mut replica, "m1", &look, 3599), NextCheck::Later(60));
    assert_eq!(
        apply(&mut replica, "m1", &look, 3600),
        NextCheck::Later(900)
    );
    let waiting = replica.waiting.clone().unwrap();
    let next = Timestamp::from_millis(0).plus_secs(4500);
    assert!(waiting.is_overdue && waiting.next_look_at == Some(next));
    // The entry shows a newer commit: the wait begins again.
    let mut advanced = look_with(pending());
    advanced.relocated = Some(RelocatedCommit {
        entry: entry("m1"),
        metadata_location: "m1'".to_owned(),
        previous_metadata_location: None,
    });
    assert_eq!(
        apply(&mut replica, "m2", &advanced, 4000),
        NextCheck::AtOnce
    );
    let waiting = replica.waiting.clone().unwrap();
    assert!(!waiting.is_overdue && waiting.since == Timestamp::from_millis(0).plus_secs(4000));
}

#[test]
fn what_cannot_pass_by_itself_is_reported_once_for_each_commit() {
    let mut replica = IcebergReplica::default();
    let first = apply(&mut replica, "m1", &look_with(denied("call 1")), 0);
    assert_eq!(first, NextCheck::AtOnce);
    let again = apply(&mut replica, "m1", &look_with(denied("call 2")), 60);
    assert_eq!(again, NextCheck::None);
    let newer = apply(&mut replica, "m2", &look_with(denied("call 2")), 120);
    assert_eq!(
        newer,
        NextCheck::AtOnce,
        "the finding names the newest commit"
    );
}

#[test]
fn a_look_that_does_not_get_on_is_not_repeated_at_once() {
    let mut replica = IcebergReplica::default();
    let mut look = look_with(RelocationObstacle::Unfinished { left: 1 });
    assert_eq!(apply(&mut replica, "m1", &look, 0), NextCheck::Later(60));
    look.has_progressed = true;
    assert_eq!(apply(&mut replica, "m1", &look, 60), NextCheck::AtOnce);
    assert_eq!(apply(&mut replica, "m1", &look, 900), NextCheck::AtOnce);
    assert!(replica.waiting.unwrap().is_overdue);
}
