//! The gates of a switch: what must hold before it starts, each with its limit and the measured value.

use super::{
    EpochRecord, FailoverRequest, FailoverStage, FreezeMode, RecoveryPoint, SwitchoverReadings,
};
use crate::heartbeat::Channel;
use crate::ledger::SubjectState;
use crate::render::{and_more, counted, one_or_many};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// The least time between two switches, in seconds. It keeps a repeated or automatic request from
/// switching to and fro.
pub const MIN_SECS_BETWEEN_SWITCHES: i64 = 600;

/// A gate that a person may force by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForceableGate {
    /// At least [`MIN_SECS_BETWEEN_SWITCHES`] have passed since the last switch.
    MinimumInterval,
    /// At least one database is replicated.
    ReplicatedDatabases,
    /// Of a switchover: every object is in sync. An object that can never be, because Twinlake does not
    /// replicate it, is named, and a person may go on without it: without those that are named when the gate is
    /// asked, and no others.
    InSync,
    /// Of a switchover: canaries prove all S3 replication to the Region.
    StorageProof,
}

impl ForceableGate {
    /// Every gate that may be forced.
    pub const EVERY: [Self; 4] = [
        Self::MinimumInterval,
        Self::ReplicatedDatabases,
        Self::InSync,
        Self::StorageProof,
    ];

    /// The name by which it is forced.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MinimumInterval => "minimum-interval",
            Self::ReplicatedDatabases => "replicated-databases",
            Self::InSync => "in-sync",
            Self::StorageProof => "storage-proof",
        }
    }
}

/// A gate of a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailoverGate {
    /// The person accepts the loss of what has not arrived.
    AcceptedLoss,
    /// The epoch is the one that the person has seen.
    SeenEpoch,
    /// The execution that asks has not switched before, and nobody has undone what it began.
    FirstExecution,
    /// Of a switchover: the primary holds the same epoch.
    PeerEpoch,
    /// Of a switchover: no undo is granting again what an earlier run has revoked.
    UndoEnded,
    /// Of a switchover: the person says that nobody writes to the primary any more.
    WritersStopped,
    /// Of a switchover: how far the Region is behind could be read.
    LagKnown,
    /// Of a switchover: the lag of a channel is within its limit.
    Lag(Channel),
    /// Of a switchover: all objects in S3 have arrived.
    PendingObjects,
    /// A gate that may be forced.
    Forceable(ForceableGate),
}

impl fmt::Display for FailoverGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AcceptedLoss => "accepted-loss",
            Self::SeenEpoch => "seen-epoch",
            Self::FirstExecution => "first-execution",
            Self::PeerEpoch => "peer-epoch",
            Self::UndoEnded => "undo-ended",
            Self::WritersStopped => "writers-stopped",
            Self::Lag(channel) => return write!(f, "{channel}-lag"),
            Self::LagKnown => "lag-known",
            Self::PendingObjects => "pending-objects",
            Self::Forceable(gate) => gate.as_str(),
        })
    }
}

/// Why a failover does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gate {gate} is closed: {limit}, and {measured}; {action}")]
pub struct FailoverRefusal {
    /// The gate.
    pub gate: FailoverGate,
    /// What it requires, as a clause.
    pub limit: String,
    /// What was found, in the same unit.
    pub measured: String,
    /// What to do.
    pub action: String,
}

/// Whether the switch has begun before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It has not.
    Anew,
    /// It has, and its resync may have been killed.
    Already,
}

/// Checks the gates in order.
pub(super) fn check(
    record: &EpochRecord,
    request: &FailoverRequest,
    recovery_point: &RecoveryPoint,
    begun: Begun,
) -> Result<(), FailoverRefusal> {
    check_seen_epoch(record, request)?;
    check_first_execution(record, request)?;
    let refused = |gate: ForceableGate, limit: String, measured: String| FailoverRefusal {
        gate: FailoverGate::Forceable(gate),
        limit,
        measured,
        action: format!("if it is intended, add `--force {}`", gate.as_str()),
    };
    let forces = |gate: ForceableGate| request.forced.contains(&gate);
    let interval = ForceableGate::MinimumInterval;
    if let Some(at) = record.switched_at.filter(|_| !forces(interval)) {
        let age = recovery_point.read_at.secs().saturating_sub(at.secs());
        if age < MIN_SECS_BETWEEN_SWITCHES {
            let limit = format!("at least {MIN_SECS_BETWEEN_SWITCHES} s lie between two switches");
            let measured = format!("the last one was {age} s ago, at {at}");
            return Err(refused(interval, limit, measured));
        }
    }
    let replicated = ForceableGate::ReplicatedDatabases;
    if recovery_point.databases == 0 && !forces(replicated) {
        let limit = "the ledger of this Region pairs at least 1 database".to_owned();
        let measured = "it pairs 0: nothing was replicated to this Region".to_owned();
        return Err(refused(replicated, limit, measured));
    }
    if let Some(readings) = &request.switchover {
        return check_switchover(record, readings, recovery_point, (begun, &request.forced));
    }
    match request.accepts_loss {
        true => Ok(()),
        false => Err(FailoverRefusal {
            gate: FailoverGate::AcceptedLoss,
            limit: "what had not arrived from the primary must be accepted as lost".to_owned(),
            measured: "it was not accepted".to_owned(),
            action: "read what is listed as behind, and add `--accept-loss`".to_owned(),
        }),
    }
}

fn check_seen_epoch(
    record: &EpochRecord,
    request: &FailoverRequest,
) -> Result<(), FailoverRefusal> {
    let number = record.epoch.number();
    match request.seen_epoch.filter(|seen| *seen != number) {
        None => Ok(()),
        Some(seen) => Err(FailoverRefusal {
            gate: FailoverGate::SeenEpoch,
            limit: format!("the request is for epoch {seen}"),
            measured: format!("the ledger of this Region holds epoch {}", record.epoch),
            action: "somebody has switched meanwhile: look again with `--validate-only`".to_owned(),
        }),
    }
}

/// Checks that an execution that is repeated, for whatever reason, neither switches back nor begins again what a person
/// has undone.
fn check_first_execution(
    record: &EpochRecord,
    request: &FailoverRequest,
) -> Result<(), FailoverRefusal> {
    let Some(execution) = &request.execution else {
        return Ok(());
    };
    let begun = record.begun_in(execution);
    let is_undone = record.failover.as_ref().is_some_and(|journal| {
        journal.stage == FailoverStage::Undone && journal.execution.as_ref() == Some(execution)
    });
    let measured = match begun.filter(|epoch| *epoch != record.epoch.number()) {
        Some(epoch) => format!(
            "it began in epoch {epoch}, and the ledger of this Region holds epoch {}",
            record.epoch
        ),
        None if is_undone => "somebody has undone what it began".to_owned(),
        None => return Ok(()),
    };
    Err(FailoverRefusal {
        gate: FailoverGate::FirstExecution,
        limit: "an execution switches once, in the epoch in which it began".to_owned(),
        measured,
        action:
            "look again with `--validate-only`, and start another execution if it is still wanted"
                .to_owned(),
    })
}

fn waiting_tables(count: usize) -> String {
    let wait = one_or_many(count, "waits", "wait");
    format!("{} {wait} for objects", counted(count, "table"))
}

/// Checks the gates of a switchover: both Regions are healthy, and nothing is known that would be lost. What is
/// not known refuses.
fn check_switchover(
    record: &EpochRecord,
    readings: &SwitchoverReadings,
    point: &RecoveryPoint,
    (begun, forced): (Begun, &BTreeSet<ForceableGate>),
) -> Result<(), FailoverRefusal> {
    let refused = |gate, limit: String, measured: String, action: &str| FailoverRefusal {
        gate,
        limit,
        measured,
        action: action.to_owned(),
    };
    let region = &readings.region;
    if readings.peer_epoch != Some(record.epoch) {
        let limit = format!("the primary holds epoch {}", record.epoch);
        let measured = match readings.peer_epoch {
            Some(epoch) => format!("it holds epoch {epoch}"),
            None => "its ledger cannot be reached".to_owned(),
        };
        let action = format!(
            "if the primary is gone, use `twinlake failover --region {region} --accept-loss`"
        );
        return Err(refused(FailoverGate::PeerEpoch, limit, measured, &action));
    }
    check_undo_ended(record, point)?;
    if let Some(unread) = point.unread.first() {
        let limit = "the ledger of this Region tells how far it is behind".to_owned();
        let measured = format!("it does not: {unread}");
        let action = "correct the cause";
        return Err(refused(FailoverGate::LagKnown, limit, measured, action));
    }
    check_lags(readings, point)?;
    if !forced.contains(&ForceableGate::StorageProof) {
        check_storage_proof(readings)?;
    }
    if point.pending_tables > 0 {
        let limit = "all objects in S3 have arrived".to_owned();
        let measured = waiting_tables(point.pending_tables);
        let action = format!(
            "wait for S3, or run `twinlake pending dismiss DATABASE.TABLE --region {region}` for those that will \
             never arrive"
        );
        return Err(refused(
            FailoverGate::PendingObjects,
            limit,
            measured,
            &action,
        ));
    }
    match forced.contains(&ForceableGate::InSync) {
        true => check_left_out(point)?,
        false => check_in_sync(point, begun, region)?,
    }
    if !readings.writers_stopped {
        let measured = "it was not said".to_owned();
        let (limit, action) = match readings.freeze {
            FreezeMode::None => (
                "nobody writes to the primary any more",
                "stop the writers that are listed, and those that write by IAM and S3, and add \
                 `--writers-stopped`",
            ),
            FreezeMode::Grants => (
                "nobody writes to the primary whom a revoke does not stop",
                "stop those that are listed, those that write by IAM and S3, and jobs that hold credentials, and \
                 add `--writers-stopped`",
            ),
        };
        let limit = limit.to_owned();
        return Err(refused(
            FailoverGate::WritersStopped,
            limit,
            measured,
            action,
        ));
    }
    Ok(())
}

/// Checks that no undo may still be granting again what an earlier run has revoked.
fn check_undo_ended(record: &EpochRecord, point: &RecoveryPoint) -> Result<(), FailoverRefusal> {
    let undone = record.failover.as_ref();
    let undone = undone.filter(|journal| journal.stage == FailoverStage::Undone);
    let changes = undone.and_then(|journal| journal.changes_grants_until(point.read_at));
    let Some(until) = changes else {
        return Ok(());
    };
    Err(FailoverRefusal {
        gate: FailoverGate::UndoEnded,
        limit: "no undo is granting again what was revoked".to_owned(),
        measured: format!("one may still do so until {until}"),
        action: "let it end, or wait until that time".to_owned(),
    })
}

/// Checks that each channel has delivered lately, as far as it is measured.
fn check_lags(readings: &SwitchoverReadings, point: &RecoveryPoint) -> Result<(), FailoverRefusal> {
    let region = &readings.region;
    for (channel, limit) in &readings.lag_limits {
        let sent = point.heartbeats.get(channel).copied();
        // Whether there should be canaries, the next gate says.
        if sent.is_none() && *channel == Channel::Storage {
            continue;
        }
        let lag = sent.map(|sent| point.read_at.secs().saturating_sub(sent.secs()));
        if lag.is_some_and(|lag| lag <= *limit) {
            continue;
        }
        return Err(FailoverRefusal {
            gate: FailoverGate::Lag(*channel),
            limit: format!("the {channel} lag is at most {limit} s"),
            measured: match lag {
                Some(lag) if *channel == Channel::Storage => {
                    format!("the last canary of its slowest rule that arrived was sent {lag} s ago")
                }
                Some(lag) => format!("its last heartbeat that arrived was sent {lag} s ago"),
                None => "no heartbeat has arrived".to_owned(),
            },
            action: format!(
                "wait, or see what `twinlake status --region {region}` and `twinlake doctor --region {region}` report"
            ),
        });
    }
    Ok(())
}

/// Checks that no S3 replication to the Region is without a canary that has arrived.
fn check_storage_proof(readings: &SwitchoverReadings) -> Result<(), FailoverRefusal> {
    let Some(first) = readings.unproven_replication.first() else {
        return Ok(());
    };
    let gate = ForceableGate::StorageProof;
    let more = and_more(readings.unproven_replication.len() - 1);
    Err(FailoverRefusal {
        gate: FailoverGate::Forceable(gate),
        limit: "canaries have arrived under each S3 replication rule to this Region".to_owned(),
        measured: format!("it is not known that S3 replicates: {first}{more}"),
        action: format!(
            "see what `twinlake doctor --region {}` reports; to rest on the comparison of all objects alone, add `--force {}`",
            readings.region,
            gate.as_str()
        ),
    })
}

/// The longest list of subjects without which a switchover goes on, in bytes of their names: the journal names them,
/// and is part of one item of the ledger, which may have 400 KB.
pub(super) const MAX_LEFT_OUT_BYTES: usize = 150_000;

/// What a subject takes in the journal beside its name, in bytes.
const LEFT_OUT_OVERHEAD: usize = 40;

/// Checks that the journal can name everything that a switchover goes without.
fn check_left_out(point: &RecoveryPoint) -> Result<(), FailoverRefusal> {
    let names = point.all_behind.iter().map(ToString::to_string);
    let bytes: usize = names.map(|name| name.len() + LEFT_OUT_OVERHEAD).sum();
    if bytes <= MAX_LEFT_OUT_BYTES {
        return Ok(());
    }
    Err(FailoverRefusal {
        gate: FailoverGate::Forceable(ForceableGate::InSync),
        limit: format!(
            "what it goes without is named in the journal, in at most {MAX_LEFT_OUT_BYTES} bytes"
        ),
        measured: format!(
            "{} not in sync, whose names take {}",
            counted(point.all_behind.len(), "object"),
            counted(bytes, "byte")
        ),
        action:
            "leave out databases or tables that are never replicated by `exclude` in the policy"
                .to_owned(),
    })
}

/// Checks that every object is in sync. What the resync of this switch may have left out of sync does not count: the
/// next one makes it equal, or names it.
fn check_in_sync(point: &RecoveryPoint, begun: Begun, region: &str) -> Result<(), FailoverRefusal> {
    let mut counts = point.not_in_sync.iter();
    let is_behind = counts.any(|(state, count)| match state {
        SubjectState::OutOfSync => *count > 0 && begun == Begun::Anew,
        SubjectState::DataPending | SubjectState::OnHold | SubjectState::Blocked => *count > 0,
        SubjectState::InSync => false,
    });
    if !is_behind {
        return Ok(());
    }
    let counts = point.not_in_sync.iter();
    let counts: Vec<String> = counts.map(|(state, n)| format!("{n} {state}")).collect();
    Err(FailoverRefusal {
        gate: FailoverGate::Forceable(ForceableGate::InSync),
        limit: "every object is in sync".to_owned(),
        measured: counts.join(", "),
        action: format!(
            "run `twinlake resync --region {region}`; to go without what cannot be replicated, add `--force \
             in-sync`"
        ),
    })
}
