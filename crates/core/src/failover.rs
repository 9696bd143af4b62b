//! A switch: the standby becomes the primary. What is decided about it, as functions of what the ledger of that
//! Region holds. There are two operations: a failover, because the primary is gone, and a switchover, in which
//! both Regions are healthy and nothing is lost.
//!
//! The ledger keeps one [`EpochRecord`]: the epoch, and the journal of the last switch. Each change of it
//! is one conditional write, so the epoch and the stage of the journal cannot contradict each other, and two
//! people who run the command at the same time carry on with the same switch.
//!
//! | stage | next step of a failover | next step of a switchover | undo |
//! |---|---|---|---|
//! | `started` | write the epoch of the journal | with a freeze: revoke the grants to write in the primary; else as `grants-frozen` | close the journal, and grant again what was revoked |
//! | `grants-frozen` | - | verify that nothing would be lost | the same |
//! | `verified` | - | write the epoch of the journal | the same |
//! | `epoch-written` | wait until nothing of the former epoch takes effect any more | the same | none |
//! | `writers-stopped` | restore the defaults of the databases | the same | none |
//! | `defaults-restored` | - | hand over: the former primary becomes the standby | none |
//! | `completed` | none | none | none |
//!
//! A step is done once its stage is stored. A switch that died between any two calls goes on with the step
//! of the stored stage, on whatever machine.

mod freeze;
mod gates;
mod invocation;
mod journal;
mod recovery_point;
mod wake;

pub use freeze::{
    FreezeMode, FrozenGrant, FrozenGrants, UnrestoredGrants, UnstoppedReason, WRITE_PERMISSIONS,
    WriteAccess,
};
pub use gates::{FailoverGate, FailoverRefusal, ForceableGate, MIN_SECS_BETWEEN_SWITCHES};
pub use invocation::{InvalidInvocation, TakeoverInput, TakeoverInvocation, TakeoverInvoker};
pub use journal::{Announcement, FailoverJournal};
pub use recovery_point::{BehindSubject, MAX_LISTED_SUBJECTS, PendingTable, RecoveryPoint};
pub use wake::{NotAwake, WAKEABLE_KINDS, WaitingTools, WakeRecord, WakeResult};

use crate::heartbeat::Channel;
use crate::name::Name;
use crate::timestamp::Timestamp;
use crate::topology::{Epoch, SiteId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The epoch as a ledger stores it, with the last failover in this Region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch.
    #[serde(flatten)]
    pub epoch: Epoch,
    /// When the epoch was written by a failover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched_at: Option<Timestamp>,
    /// The journal of the last failover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverJournal>,
    /// The report about the former primary that a person accepted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedDivergence>,
    /// The last executions that began a switch, the oldest first: at most [`MAX_KEPT_EXECUTIONS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executions: Vec<BegunExecution>,
}

/// An execution of a state machine, or of a plan of ARC Region switch, that began a switch. It may be repeated at any
/// time, and switches nothing in another epoch than the one in which it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunExecution {
    /// What tells it from others.
    pub id: String,
    /// The number of the epoch in which it began.
    pub epoch: u64,
}

/// The number of executions that the record keeps.
const MAX_KEPT_EXECUTIONS: usize = 16;

impl EpochRecord {
    /// The number of the epoch in which an execution began a switch, if it did.
    #[must_use]
    pub fn begun_in(&self, execution: &str) -> Option<u64> {
        let begun = self.executions.iter().find(|begun| begun.id == execution);
        begun.map(|begun| begun.epoch)
    }

    /// The record with a switch that begins, or begins anew.
    fn begin(&self, request: &FailoverRequest, journal: FailoverJournal) -> Self {
        let mut record = self.clone();
        if let Some(id) = &request.execution
            && self.begun_in(id).is_none()
        {
            let surplus = (record.executions.len() + 1).saturating_sub(MAX_KEPT_EXECUTIONS);
            record.executions.drain(..surplus);
            record.executions.push(BegunExecution {
                id: id.clone(),
                epoch: self.epoch.number(),
            });
        }
        record.failover = Some(journal);
        record
    }

    /// The report that was accepted in this epoch, if it is the one with this digest, where one is given.
    #[must_use]
    pub fn acceptance(&self, digest: Option<&str>) -> Option<&AcceptedDivergence> {
        self.accepted.as_ref().filter(|accepted| {
            digest.is_none_or(|digest| accepted.digest == digest)
                && accepted.epoch == self.epoch.number()
        })
    }

    /// The record, in which a switchover has handed over if somebody has accepted a report since.
    #[must_use]
    pub fn with_later_handover(&self) -> Self {
        let mut record = self.clone();
        let accepted = self.acceptance(None);
        let is_accepted = accepted.is_some_and(|accepted| accepted.completed_at.is_some());
        if let Some(journal) = record.failover.as_mut().filter(|_| is_accepted) {
            journal.not_handed_over = None;
        }
        record
    }
}

/// A report about a former primary that a person accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedDivergence {
    /// The number of the epoch that the report was made in.
    pub epoch: u64,
    /// The digest of the report.
    pub digest: String,
    /// When it was accepted.
    pub at: Timestamp,
    /// When the former primary became the standby by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

/// How far a failover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverStage {
    /// The journal is stored; nothing else has changed.
    Started,
    /// Of a switchover with a freeze: the grants to write are revoked in the primary.
    GrantsFrozen,
    /// Of a switchover: both Regions were compared, and nothing would be lost.
    Verified,
    /// The epoch is written: this Region is the primary, and nothing is undone any more.
    EpochWritten,
    /// Nothing that was sent under the former epoch can take effect any more.
    WritersStopped,
    /// Of a switchover: the defaults of the databases are restored, or the journal says which are not.
    DefaultsRestored,
    /// Everything is done, or the journal says what is not.
    Completed,
    /// It was undone before the epoch was written.
    Undone,
}

impl fmt::Display for FailoverStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::GrantsFrozen => "grants-frozen",
            Self::Verified => "verified",
            Self::EpochWritten => "epoch-written",
            Self::WritersStopped => "writers-stopped",
            Self::DefaultsRestored => "defaults-restored",
            Self::Completed => "completed",
            Self::Undone => "undone",
        })
    }
}

/// What is done to make a standby the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchOperation {
    /// The primary is gone. It is not asked, and what has not arrived is lost.
    #[default]
    Failover,
    /// Both Regions are healthy. Nothing is lost.
    Switchover,
}

impl SwitchOperation {
    /// The command.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Switchover => "switchover",
        }
    }

    /// Its steps, in order. [`FailoverStep::FreezeGrants`] is left out without a freeze.
    #[must_use]
    pub fn steps(self) -> &'static [FailoverStep] {
        match self {
            Self::Failover => &[
                FailoverStep::WriteEpoch,
                FailoverStep::WaitForWriters,
                FailoverStep::RestoreDefaults,
            ],
            Self::Switchover => &[
                FailoverStep::FreezeGrants,
                FailoverStep::Verify,
                FailoverStep::WriteEpoch,
                FailoverStep::WaitForWriters,
                FailoverStep::RestoreDefaults,
                FailoverStep::HandOver,
            ],
        }
    }
}

/// What a switch does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverStep {
    /// Revoke the grants to write in the primary, each after it was stored.
    FreezeGrants,
    /// Make the standby equal to the primary, and compare both Regions.
    Verify,
    /// Write the epoch in which this Region is the primary.
    WriteEpoch,
    /// Wait for [`FENCE_WAIT_SECS`](crate::topology::FENCE_WAIT_SECS).
    WaitForWriters,
    /// Give the databases the default permissions for new tables that they had in the former primary.
    RestoreDefaults,
    /// Compare both Regions again, and make the former primary the standby if nothing is given up by it.
    HandOver,
}

impl FailoverStep {
    /// What the step does, as a clause.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::FreezeGrants => {
                "revoke the grants to write in the primary, and keep them in the standby"
            }
            Self::Verify => {
                "resync the standby, and compare both Regions: nothing may be missing in the standby"
            }
            Self::WriteEpoch => "write the epoch in which this Region is the primary",
            Self::WaitForWriters => "wait until nothing that was sent before takes effect any more",
            Self::RestoreDefaults => {
                "restore the default permissions for new tables of the databases"
            }
            Self::HandOver => {
                "compare both Regions again, and make the former primary the standby if it has nothing that \
                 this Region lacks"
            }
        }
    }
}

/// What a person asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailoverRequest {
    /// Whether the person accepts that changes are lost that had not arrived.
    pub accepts_loss: bool,
    /// The number of the epoch that the person has seen, if named.
    pub seen_epoch: Option<u64>,
    /// The gates that the person forces.
    pub forced: BTreeSet<ForceableGate>,
    /// What a switchover rests on; `None` for a failover.
    pub switchover: Option<SwitchoverReadings>,
    /// What tells the execution that asks from others, if it may be repeated.
    pub execution: Option<String>,
}

/// What the gates of a switchover look at, beside the recovery point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwitchoverReadings {
    /// The Region that becomes the primary, as the commands of a refusal name it.
    pub region: String,
    /// The epoch that the ledger of the primary holds; `None` if it cannot be reached.
    pub peer_epoch: Option<Epoch>,
    /// Whether the person says that nobody writes to the primary any more.
    pub writers_stopped: bool,
    /// The longest lag of each channel that is allowed, in seconds.
    pub lag_limits: BTreeMap<Channel, i64>,
    /// What of the S3 replication to the Region that becomes the primary no canary proves, with the reason.
    pub unproven_replication: BTreeSet<String>,
    /// Whether the grants to write are revoked in the primary.
    pub freeze: FreezeMode,
}

impl FailoverRequest {
    /// What is asked for.
    #[must_use]
    pub fn operation(&self) -> SwitchOperation {
        match self.switchover {
            None => SwitchOperation::Failover,
            Some(_) => SwitchOperation::Switchover,
        }
    }

    fn freeze(&self) -> FreezeMode {
        let readings = self.switchover.as_ref();
        readings.map(|readings| readings.freeze).unwrap_or_default()
    }
}

/// How a request goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailoverDecision {
    /// A new failover starts with this record.
    Start(EpochRecord),
    /// The failover of the stored record goes on.
    Resume(EpochRecord),
    /// This Region is the primary, and the last failover has nothing left to do.
    AlreadyPrimary,
}

/// Decides about a request to make `site` the primary, by the record of its ledger.
///
/// # Errors
/// The first gate that does not let it pass.
pub fn decide(
    record: &EpochRecord,
    site: SiteId,
    request: &FailoverRequest,
    recovery_point: &RecoveryPoint,
) -> Result<FailoverDecision, FailoverRefusal> {
    let open = record.failover.as_ref().filter(|journal| {
        // The journal of an epoch that another switch has replaced says nothing of this one.
        let epoch = match journal.is_before_epoch() {
            true => journal.from,
            false => journal.to,
        };
        journal.next_step().is_some() && epoch == record.epoch
    });
    match open {
        Some(journal) if !journal.is_before_epoch() => {
            return Ok(FailoverDecision::Resume(record.clone()));
        }
        // Until its epoch is written, a switch gives way to one of the other kind. One of the same kind begins anew
        // within it: what was read and compared may be of yesterday.
        Some(journal) if journal.operation == request.operation() => {
            gates::check(record, request, recovery_point, gates::Begun::Already)?;
            let anew = FailoverJournal::new(record.epoch, request, recovery_point.clone());
            let anew = anew.replacing(Some(journal));
            return Ok(FailoverDecision::Resume(record.begin(request, anew)));
        }
        Some(_) | None => {}
    }
    if record.epoch.primary() == site {
        let is_incomplete = |journal: &FailoverJournal| {
            let is_left = !journal.unrestored.is_empty() || !journal.left_frozen.is_none();
            journal.to == record.epoch && is_left
        };
        return Ok(match record.failover.clone().filter(is_incomplete) {
            Some(journal) => FailoverDecision::Resume(EpochRecord {
                failover: Some(FailoverJournal {
                    stage: FailoverStage::WritersStopped,
                    ..journal
                }),
                ..record.clone()
            }),
            None => FailoverDecision::AlreadyPrimary,
        });
    }
    gates::check(record, request, recovery_point, gates::Begun::Anew)?;
    let anew = FailoverJournal::new(record.epoch, request, recovery_point.clone());
    let anew = anew.replacing(record.failover.as_ref());
    Ok(FailoverDecision::Start(record.begin(request, anew)))
}

/// What a step has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwitchStepResult {
    /// Of [`FailoverStep::FreezeGrants`]: the number of revoked grants.
    pub frozen: usize,
    /// Of [`FailoverStep::RestoreDefaults`]: the number of grants that were granted again.
    pub unfrozen: usize,
    /// Of [`FailoverStep::RestoreDefaults`]: the grants that can never be granted again, with the reason.
    pub still_frozen: BTreeMap<String, String>,
    /// Of [`FailoverStep::RestoreDefaults`]: the grants that were not granted again, and stay recorded.
    pub left_frozen: UnrestoredGrants,
    /// Of [`FailoverStep::RestoreDefaults`]: the number of databases with restored defaults.
    pub restored: usize,
    /// Of [`FailoverStep::RestoreDefaults`]: the others, with the reason.
    pub unrestored: BTreeMap<Name, String>,
    /// Of [`FailoverStep::HandOver`]: why the former primary did not become the standby.
    pub not_handed_over: Option<String>,
}

/// The record after a step has succeeded.
#[must_use]
pub fn after_step(
    record: &EpochRecord,
    step: FailoverStep,
    now: Timestamp,
    result: SwitchStepResult,
) -> EpochRecord {
    let Some(mut journal) = record.failover.clone() else {
        return record.clone();
    };
    let mut next = record.clone();
    let stage = match step {
        FailoverStep::FreezeGrants => {
            journal.frozen = result.frozen;
            journal.grants_change_until = None;
            FailoverStage::GrantsFrozen
        }
        FailoverStep::Verify => FailoverStage::Verified,
        FailoverStep::WriteEpoch => {
            (next.epoch, next.switched_at) = (journal.to, Some(now));
            FailoverStage::EpochWritten
        }
        FailoverStep::WaitForWriters => FailoverStage::WritersStopped,
        FailoverStep::RestoreDefaults => {
            let before = match journal.left_to_restore() {
                Some(_) => journal.restored,
                None => 0,
            };
            journal.restored = before + result.restored;
            journal.unrestored = result.unrestored;
            journal.unfrozen += result.unfrozen;
            journal.still_frozen.extend(result.still_frozen);
            journal.left_frozen = result.left_frozen;
            match journal.operation {
                SwitchOperation::Switchover
                    if !journal.reached.contains_key(&FailoverStage::Completed) =>
                {
                    FailoverStage::DefaultsRestored
                }
                SwitchOperation::Failover | SwitchOperation::Switchover => FailoverStage::Completed,
            }
        }
        FailoverStep::HandOver => {
            journal.not_handed_over = result.not_handed_over;
            FailoverStage::Completed
        }
    };
    next.failover = Some(journal.at(stage, now));
    next
}

/// Why a failover is not undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UndoRefusal {
    /// No failover was started.
    #[error("no failover or switchover is under way in this Region")]
    NothingToUndo,
    /// The other operation is under way.
    #[error("a {0} is under way in this Region: undo it with `twinlake {0} --undo`")]
    OtherOperation(&'static str),
    /// A run revokes grants, or has until a moment ago.
    #[error(
        "a run of the switchover may still revoke grants until {0}: end it if it runs, and undo the switchover after \
         that time"
    )]
    GrantsChange(Timestamp),
    /// The epoch is written.
    #[error(
        "the {1} has written epoch {0}: it cannot be undone any more, because writers may count on this \
         Region being the primary; run the same `twinlake {1}` again to complete it, and `twinlake failback` to go \
         back"
    )]
    EpochWritten(Epoch, &'static str),
}

/// The record after an operation is undone, which it can be until the epoch is written.
///
/// # Errors
/// There is nothing to undo, the other operation is under way, or the epoch is written.
pub fn undo(
    record: &EpochRecord,
    operation: SwitchOperation,
    now: Timestamp,
) -> Result<EpochRecord, UndoRefusal> {
    let Some(journal) = record.failover.clone() else {
        return Err(UndoRefusal::NothingToUndo);
    };
    match journal.stage {
        FailoverStage::Started | FailoverStage::GrantsFrozen | FailoverStage::Verified => {
            // What is frozen is granted again by an undo of a switchover alone.
            if journal.operation != operation {
                return Err(UndoRefusal::OtherOperation(journal.operation.as_str()));
            }
            if let Some(until) = journal.changes_grants_until(now) {
                return Err(UndoRefusal::GrantsChange(until));
            }
            Ok(EpochRecord {
                failover: Some(journal.at(FailoverStage::Undone, now)),
                ..record.clone()
            })
        }
        FailoverStage::EpochWritten
        | FailoverStage::WritersStopped
        | FailoverStage::DefaultsRestored => Err(UndoRefusal::EpochWritten(
            journal.to,
            journal.operation.as_str(),
        )),
        FailoverStage::Completed | FailoverStage::Undone => Err(UndoRefusal::NothingToUndo),
    }
}

#[cfg(test)]
mod tests;
