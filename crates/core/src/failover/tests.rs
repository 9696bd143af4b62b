mod executions;
mod grants;

use super::*;
use crate::heartbeat::{Channel, ChannelHealth, Heartbeat};
use crate::ledger::{LedgerRow, LedgerRows, Pairing, SubjectState};
use crate::scope::Subject;
use crate::topology::BySite;

const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

fn recovery_point() -> RecoveryPoint {
    RecoveryPoint {
        read_at: NOW,
        databases: 2,
        ..RecoveryPoint::default()
    }
}

fn accepted() -> FailoverRequest {
    FailoverRequest {
        accepts_loss: true,
        ..FailoverRequest::default()
    }
}

fn forced_interval() -> FailoverRequest {
    FailoverRequest {
        forced: [ForceableGate::MinimumInterval].into(),
        ..accepted()
    }
}

fn decide_at_b(record: &EpochRecord, request: &FailoverRequest) -> FailoverDecision {
    decide(record, SiteId::B, request, &recovery_point()).unwrap()
}

fn refusal(record: &EpochRecord, request: &FailoverRequest) -> FailoverRefusal {
    decide(record, SiteId::B, request, &recovery_point()).unwrap_err()
}

fn started() -> EpochRecord {
    let decision = decide_at_b(&EpochRecord::default(), &accepted());
    let FailoverDecision::Start(record) = decision else {
        panic!("{decision:?}");
    };
    record
}

fn no_results() -> SwitchStepResult {
    SwitchStepResult::default()
}

/// The records of a failover, one for each stage.
fn records() -> Vec<EpochRecord> {
    let mut records = vec![started()];
    for &step in SwitchOperation::Failover.steps() {
        let last = records.last().unwrap();
        assert_eq!(last.failover.as_ref().unwrap().next_step(), Some(step));
        let later = NOW.plus_secs(60);
        records.push(after_step(last, step, later, no_results()));
    }
    records
}

#[test]
fn the_epoch_changes_with_its_step_and_with_no_other() {
    let epochs: Vec<Epoch> = records().iter().map(|record| record.epoch).collect();
    let (before, after) = (Epoch::INITIAL, Epoch::new(1, SiteId::B));
    assert_eq!(epochs, [before, after, after, after]);
}

#[test]
fn every_stage_is_resumed_and_a_completed_failover_is_never_repeated() {
    for (index, record) in records().into_iter().enumerate() {
        // Until the epoch is written the gates hold, and afterwards whatever the caller says.
        if index == 0 {
            let gate = refusal(&record, &FailoverRequest::default()).gate;
            assert_eq!(gate, FailoverGate::AcceptedLoss);
        }
        let others = Some(FailoverRequest::default()).filter(|_| index > 0);
        for request in [accepted()].into_iter().chain(others) {
            let decision = decide_at_b(&record, &request);
            match index {
                3 => assert_eq!(decision, FailoverDecision::AlreadyPrimary),
                _ => assert_eq!(decision, FailoverDecision::Resume(record.clone())),
            }
        }
    }
}

#[test]
fn a_journal_of_a_replaced_epoch_neither_goes_on_nor_passes_for_a_switch() {
    let replaced = Epoch::new(3, SiteId::A);
    for record in &records()[..3] {
        let record = EpochRecord {
            epoch: replaced,
            ..record.clone()
        };
        let FailoverDecision::Start(next) = decide_at_b(&record, &forced_interval()) else {
            panic!("{record:?}");
        };
        let journal = next.failover.unwrap();
        assert_eq!((journal.from, journal.to), (replaced, replaced.switched()));
    }
}

#[test]
fn a_repetition_restores_only_what_a_completed_switch_left_over() {
    let name = Name::new("sales").unwrap();
    let result = SwitchStepResult {
        restored: 3,
        unrestored: BTreeMap::from([(name.clone(), "denied".to_owned())]),
        ..SwitchStepResult::default()
    };
    let restoring = &records()[2];
    assert_eq!(restoring.failover.as_ref().unwrap().left_to_restore(), None);
    let completed = after_step(restoring, FailoverStep::RestoreDefaults, NOW, result);
    let FailoverDecision::Resume(again) = decide_at_b(&completed, &accepted()) else {
        panic!("it is not resumed");
    };
    let left = again.failover.as_ref().unwrap().left_to_restore().unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), [&name]);
    let result = SwitchStepResult {
        restored: 1,
        ..SwitchStepResult::default()
    };
    let restored = after_step(&again, FailoverStep::RestoreDefaults, NOW, result);
    assert_eq!(restored.failover.unwrap().restored, 4);
}

#[test]
fn a_completed_failover_restores_again_what_it_could_not() {
    let record = records().remove(2);
    let name = Name::new("sales").unwrap();
    let unrestored = BTreeMap::from([(name.clone(), "denied".to_owned())]);
    let step = FailoverStep::RestoreDefaults;
    let result = SwitchStepResult {
        restored: 3,
        unrestored,
        ..SwitchStepResult::default()
    };
    let record = after_step(&record, step, NOW, result);
    let FailoverDecision::Resume(resumed) = decide_at_b(&record, &accepted()) else {
        panic!("it is not resumed");
    };
    let journal = resumed.failover.clone().unwrap();
    assert_eq!(journal.next_step(), Some(FailoverStep::RestoreDefaults));
    let completed = after_step(&resumed, step, NOW, no_results());
    let decision = decide_at_b(&completed, &accepted());
    assert_eq!(decision, FailoverDecision::AlreadyPrimary);
}

#[test]
fn it_is_undone_until_the_epoch_is_written() {
    let records = records();
    let undone = undo(&records[0], SwitchOperation::Failover, NOW).unwrap();
    assert_eq!(undone.epoch, Epoch::INITIAL);
    assert_eq!(
        undone.failover.as_ref().unwrap().stage,
        FailoverStage::Undone
    );
    assert!(matches!(
        decide_at_b(&undone, &accepted()),
        FailoverDecision::Start(_)
    ));
    for record in &records[1..3] {
        let refused = UndoRefusal::EpochWritten(Epoch::new(1, SiteId::B), "failover");
        assert_eq!(undo(record, SwitchOperation::Failover, NOW), Err(refused));
    }
    for record in [&records[3], &undone, &EpochRecord::default()] {
        assert_eq!(
            undo(record, SwitchOperation::Failover, NOW),
            Err(UndoRefusal::NothingToUndo)
        );
    }
}

#[test]
fn a_closed_gate_names_its_limit_and_the_measured_value() {
    let initial = EpochRecord::default();
    let text = refusal(&initial, &FailoverRequest::default()).to_string();
    assert!(text.contains("add `--accept-loss`"), "{text}");

    let seen = FailoverRequest {
        seen_epoch: Some(4),
        ..accepted()
    };
    let text = refusal(&initial, &seen).to_string();
    assert!(text.contains("the request is for epoch 4, and"), "{text}");
    assert!(text.contains("holds epoch 0 (primary: site a)"), "{text}");

    let switched = EpochRecord {
        epoch: Epoch::new(2, SiteId::A),
        switched_at: Some(NOW.plus_secs(-599)),
        ..EpochRecord::default()
    };
    let refused = refusal(&switched, &accepted());
    assert!(
        refused.to_string().contains("the last one was 599 s ago"),
        "{refused}"
    );
    let forced = FailoverRequest {
        forced: [ForceableGate::MinimumInterval].into(),
        ..accepted()
    };
    assert!(matches!(
        decide_at_b(&switched, &forced),
        FailoverDecision::Start(_)
    ));
    let earlier = EpochRecord {
        switched_at: Some(NOW.plus_secs(-600)),
        ..switched
    };
    let FailoverDecision::Start(record) = decide_at_b(&earlier, &accepted()) else {
        panic!("600 s are enough");
    };
    assert_eq!(record.failover.unwrap().to, Epoch::new(3, SiteId::B));
}

#[test]
fn a_region_without_replicated_databases_takes_over_only_if_forced() {
    let empty = RecoveryPoint {
        databases: 0,
        ..recovery_point()
    };
    let request = |forced: &[ForceableGate]| FailoverRequest {
        forced: forced.iter().copied().collect(),
        ..accepted()
    };
    let record = EpochRecord::default();
    let refused = decide(&record, SiteId::B, &request(&[]), &empty).unwrap_err();
    let gate = ForceableGate::ReplicatedDatabases;
    assert_eq!(refused.gate, FailoverGate::Forceable(gate));
    let forced = decide(&record, SiteId::B, &request(&[gate]), &empty);
    assert!(matches!(forced, Ok(FailoverDecision::Start(_))));
}

#[test]
fn what_is_not_known_refuses_nothing() {
    let unknown = RecoveryPoint {
        databases: 1,
        read_at: NOW,
        ..RecoveryPoint::default()
    };
    assert_eq!(unknown.arrived_until(), None);
    let decision = decide(&EpochRecord::default(), SiteId::B, &accepted(), &unknown);
    assert!(matches!(decision, Ok(FailoverDecision::Start(_))));
}

#[test]
fn a_record_without_a_failover_is_stored_as_before() {
    let text = r#"{"epoch":3,"primary":"b"}"#;
    let record: EpochRecord = serde_json::from_str(text).unwrap();
    assert_eq!(record.epoch, Epoch::new(3, SiteId::B));
    assert_eq!(serde_json::to_string(&record).unwrap(), text);
    for record in records() {
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<EpochRecord>(&text).unwrap(), record);
        // A reader of the epoch alone understands it, too.
        assert_eq!(serde_json::from_str::<Epoch>(&text).unwrap(), record.epoch);
    }
}

#[test]
fn the_recovery_point_is_the_older_heartbeat_and_lists_the_longest_behind_first() {
    let row = |name: &str, state: SubjectState, since: i64| {
        let subject = Subject::Database(Name::new(name).unwrap());
        let mut row = LedgerRow::new(subject, state, Timestamp::from_secs(since));
        row.pairing = Some(Pairing {
            created: BySite::default(),
            digest: BySite::default(),
            link: false,
        });
        (row.subject.clone(), row)
    };
    let databases: LedgerRows = [
        row("new", SubjectState::OutOfSync, 50),
        row("old", SubjectState::Blocked, 20),
        row("same", SubjectState::InSync, 10),
    ]
    .into();
    let heartbeat = |sent: i64| ChannelHealth {
        since: Timestamp::from_secs(0),
        last: Some(Heartbeat {
            sent: Timestamp::from_secs(sent),
            done: Timestamp::from_secs(sent + 4),
        }),
    };
    let mut channels = BTreeMap::from([
        (Channel::Catalog, heartbeat(540)),
        (Channel::Permissions, heartbeat(480)),
        (Channel::Storage, heartbeat(100)),
    ]);
    let read = |channels: &BTreeMap<Channel, ChannelHealth>| {
        let rows = (&databases, &databases);
        RecoveryPoint::new(NOW, rows, channels, None, &BTreeMap::new())
    };
    let point = read(&channels);
    assert_eq!(point.arrived_until(), Some(Timestamp::from_secs(480)));
    assert_eq!(
        point.heartbeats[&Channel::Storage],
        Timestamp::from_secs(100)
    );
    assert_eq!(point.databases, 3);
    let behind: Vec<String> = point
        .behind
        .iter()
        .map(|one| one.subject.to_string())
        .collect();
    assert_eq!(behind.len(), 2);
    assert!(
        behind[0].contains("old") && behind[1].contains("new"),
        "{behind:?}"
    );
    assert_eq!(point.not_in_sync.values().sum::<usize>(), 2);
    channels.get_mut(&Channel::Permissions).unwrap().last = None;
    assert_eq!(read(&channels).arrived_until(), None);
}

fn switchover() -> FailoverRequest {
    FailoverRequest {
        switchover: Some(SwitchoverReadings {
            peer_epoch: Some(Epoch::INITIAL),
            writers_stopped: true,
            lag_limits: [(Channel::Catalog, 75), (Channel::Storage, 1800)].into(),
            unproven_replication: BTreeSet::new(),
            freeze: FreezeMode::None,
            region: "ap-south-1".to_owned(),
        }),
        ..FailoverRequest::default()
    }
}

fn healthy() -> RecoveryPoint {
    RecoveryPoint {
        heartbeats: [(Channel::Catalog, NOW.plus_secs(-75))].into(),
        ..recovery_point()
    }
}

fn readings(change: impl FnOnce(&mut SwitchoverReadings)) -> FailoverRequest {
    let mut request = switchover();
    change(request.switchover.as_mut().unwrap());
    request
}

#[test]
fn a_switchover_verifies_before_the_epoch_and_hands_over_at_its_end() {
    for freeze in [FreezeMode::None, FreezeMode::Grants] {
        let request = readings(|all| all.freeze = freeze);
        let is_left_out =
            |step: FailoverStep| step == FailoverStep::FreezeGrants && freeze == FreezeMode::None;
        let steps = SwitchOperation::Switchover.steps().iter().copied();
        let initial = EpochRecord::default();
        let started = decide(&initial, SiteId::B, &request, &healthy());
        let Ok(FailoverDecision::Start(mut record)) = started else {
            panic!("{started:?}");
        };
        let first = record.clone();
        for step in steps.filter(|step| !is_left_out(*step)) {
            assert_eq!(record.failover.as_ref().unwrap().next_step(), Some(step));
            let is_before = matches!(
                step,
                FailoverStep::FreezeGrants | FailoverStep::Verify | FailoverStep::WriteEpoch
            );
            let epoch = if is_before {
                Epoch::INITIAL
            } else {
                Epoch::new(1, SiteId::B)
            };
            assert_eq!(record.epoch, epoch, "{step:?}");
            assert_eq!(
                undo(&record, SwitchOperation::Switchover, NOW).is_ok(),
                is_before,
                "{step:?}"
            );
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<EpochRecord>(&text).unwrap(), record);
            let resumed = decide(&record, SiteId::B, &request, &healthy());
            // What was compared before may be of yesterday: until the epoch it begins anew.
            let next = if is_before { &first } else { &record };
            assert_eq!(resumed, Ok(FailoverDecision::Resume(next.clone())));
            record = after_step(&record, step, NOW, no_results());
        }
        let again = decide(&record, SiteId::B, &request, &healthy());
        assert_eq!(again, Ok(FailoverDecision::AlreadyPrimary));
    }
}

#[test]
fn a_failover_takes_the_place_of_a_switchover_until_the_epoch_and_completes_it_after() {
    let initial = EpochRecord::default();
    let started = decide(&initial, SiteId::B, &switchover(), &healthy());
    let Ok(FailoverDecision::Start(record)) = started else {
        panic!("{started:?}");
    };
    let verified = after_step(&record, FailoverStep::Verify, NOW, no_results());
    for record in [record, verified.clone()] {
        let FailoverDecision::Start(next) = decide_at_b(&record, &accepted()) else {
            panic!("a switchover that changed nothing stands in the way");
        };
        assert_eq!(next.failover.unwrap().operation, SwitchOperation::Failover);
        // It still needs the consent to the loss.
        let refused = refusal(&record, &FailoverRequest::default());
        assert_eq!(refused.gate, FailoverGate::AcceptedLoss);
    }
    let written = after_step(&verified, FailoverStep::WriteEpoch, NOW, no_results());
    let decision = decide_at_b(&written, &accepted());
    assert_eq!(decision, FailoverDecision::Resume(written));
}

fn refused(request: &FailoverRequest, point: &RecoveryPoint) -> FailoverRefusal {
    let decision = decide(&EpochRecord::default(), SiteId::B, request, point);
    decision.unwrap_err()
}

fn gate(request: &FailoverRequest, point: &RecoveryPoint) -> FailoverGate {
    refused(request, point).gate
}

fn assert_names_command(request: &FailoverRequest, point: &RecoveryPoint, command: &str) {
    let text = refused(request, point).to_string();
    assert!(text.contains(&format!("`twinlake {command}`")), "{text}");
}

#[test]
fn what_is_not_known_or_behind_refuses_a_switchover() {
    let unreachable = readings(|all| all.peer_epoch = None);
    assert_eq!(gate(&unreachable, &healthy()), FailoverGate::PeerEpoch);
    let failover = "failover --region ap-south-1 --accept-loss";
    assert_names_command(&unreachable, &healthy(), failover);
    let other = readings(|all| all.peer_epoch = Some(Epoch::new(1, SiteId::A)));
    assert_eq!(gate(&other, &healthy()), FailoverGate::PeerEpoch);
    let unsaid = readings(|all| all.writers_stopped = false);
    assert_eq!(gate(&unsaid, &healthy()), FailoverGate::WritersStopped);
    let late = RecoveryPoint {
        heartbeats: [(Channel::Catalog, NOW.plus_secs(-76))].into(),
        ..recovery_point()
    };
    let refusal = refused(&switchover(), &late);
    assert_eq!(refusal.gate, FailoverGate::Lag(Channel::Catalog));
    let text = refusal.to_string();
    assert!(
        text.contains("at most 75 s") && text.contains("76 s ago"),
        "{text}"
    );
    let unknown = recovery_point();
    assert_eq!(
        gate(&switchover(), &unknown),
        FailoverGate::Lag(Channel::Catalog)
    );
    let mut stale = healthy();
    stale
        .heartbeats
        .insert(Channel::Storage, NOW.plus_secs(-1801));
    assert_eq!(
        gate(&switchover(), &stale),
        FailoverGate::Lag(Channel::Storage)
    );
    assert_names_command(&switchover(), &stale, "doctor --region ap-south-1");
    let unproven = readings(|all| all.unproven_replication = ["rule r".to_owned()].into());
    let closed = refused(&unproven, &healthy());
    let proof = ForceableGate::StorageProof;
    assert_eq!(closed.gate, FailoverGate::Forceable(proof));
    let text = closed.to_string();
    assert!(
        text.contains("rule r")
            && text.contains("`--force storage-proof`")
            && text.contains("`twinlake doctor --region ap-south-1`"),
        "{text}"
    );
    let forced = FailoverRequest {
        forced: [proof].into(),
        ..unproven
    };
    let decision = decide(&EpochRecord::default(), SiteId::B, &forced, &healthy());
    assert!(
        matches!(decision, Ok(FailoverDecision::Start(_))),
        "{decision:?}"
    );
}

#[test]
fn what_the_standby_waits_for_refuses_a_switchover() {
    let waiting = RecoveryPoint {
        pending_tables: 1,
        ..healthy()
    };
    assert_eq!(gate(&switchover(), &waiting), FailoverGate::PendingObjects);
    let dismiss = "pending dismiss DATABASE.TABLE --region ap-south-1";
    assert_names_command(&switchover(), &waiting, dismiss);
    let behind = RecoveryPoint {
        not_in_sync: [(SubjectState::Blocked, 2)].into(),
        ..healthy()
    };
    let in_sync = ForceableGate::InSync;
    assert_names_command(&switchover(), &behind, "resync --region ap-south-1");
    let closed = refused(&switchover(), &behind);
    assert_eq!(closed.gate, FailoverGate::Forceable(in_sync));
    assert!(closed.to_string().contains("2 blocked"), "{closed}");
    let forced = FailoverRequest {
        forced: [in_sync].into(),
        ..switchover()
    };
    let decision = decide(&EpochRecord::default(), SiteId::B, &forced, &behind);
    assert!(
        matches!(decision, Ok(FailoverDecision::Start(_))),
        "{decision:?}"
    );
}

fn named(tables: usize) -> RecoveryPoint {
    let subject = |index: usize| Subject::Database(Name::from_service(&format!("db{index}")));
    RecoveryPoint {
        not_in_sync: [(SubjectState::OnHold, tables)].into(),
        all_behind: (0..tables).map(subject).collect(),
        ..healthy()
    }
}

#[test]
fn a_forced_switchover_names_what_it_goes_without() {
    let forced = FailoverRequest {
        forced: [ForceableGate::InSync].into(),
        ..switchover()
    };
    let point = named(2);
    let started = decide(&EpochRecord::default(), SiteId::B, &forced, &point);
    let Ok(FailoverDecision::Start(record)) = started else {
        panic!("{started:?}");
    };
    let text = serde_json::to_string(&record).unwrap();
    let stored: EpochRecord = serde_json::from_str(&text).unwrap();
    assert_eq!(stored, record);
    assert_eq!(stored.failover.unwrap().left_out, point.all_behind);
    // One that nobody forced leaves nothing out, nor does a failover.
    for (request, point) in [(switchover(), named(0)), (accepted(), named(2))] {
        let started = decide(&EpochRecord::default(), SiteId::B, &request, &point);
        let Ok(FailoverDecision::Start(record)) = started else {
            panic!("{started:?}");
        };
        assert_eq!(record.failover.unwrap().left_out, BTreeSet::new());
    }
    // More than an item of the ledger may hold is refused before anything starts.
    let closed = refused(&forced, &named(4_000));
    assert_eq!(closed.gate, FailoverGate::Forceable(ForceableGate::InSync));
    assert!(closed.to_string().contains("4000 objects"), "{closed}");
}
