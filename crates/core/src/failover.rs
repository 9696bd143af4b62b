//! A failover: the standby takes over because the primary is gone. What is decided about it, as functions of
//! what the ledger of the surviving Region holds.
//!
//! The ledger keeps one [`EpochRecord`]: the epoch, and the journal of the last failover. Each change of it
//! is one conditional write, so the epoch and the stage of the journal cannot contradict each other, and two
//! people who run the command at the same time carry on with the same failover.
//!
//! | stage | its next step | undo |
//! |---|---|---|
//! | `started` | write the epoch of the journal | close the journal: nothing else was changed |
//! | `epoch-written` | wait until nothing of the former epoch takes effect any more | none |
//! | `writers-stopped` | restore the defaults of the databases | none |
//! | `completed` | none | none |
//!
//! A step is done once its stage is stored. A failover that died between any two calls goes on with the step
//! of the stored stage, on whatever machine.

mod gates;
mod recovery_point;

pub use gates::{FailoverGate, FailoverRefusal, ForceableGate, MIN_SECS_BETWEEN_SWITCHES};
pub use recovery_point::{BehindSubject, MAX_LISTED_SUBJECTS, PendingTable, RecoveryPoint};

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
}

/// How far a failover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverStage {
    /// The journal is stored; nothing else has changed.
    Started,
    /// The epoch is written: this Region is the primary, and nothing is undone any more.
    EpochWritten,
    /// Nothing that was sent under the former epoch can take effect any more.
    WritersStopped,
    /// Everything is done, or the journal says what is not.
    Completed,
    /// It was undone before the epoch was written.
    Undone,
}

impl fmt::Display for FailoverStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::EpochWritten => "epoch-written",
            Self::WritersStopped => "writers-stopped",
            Self::Completed => "completed",
            Self::Undone => "undone",
        })
    }
}

/// What a failover does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverStep {
    /// Write the epoch in which this Region is the primary.
    WriteEpoch,
    /// Wait for [`FENCE_WAIT_SECS`](crate::topology::FENCE_WAIT_SECS).
    WaitForWriters,
    /// Give the databases the default permissions for new tables that they had in the former primary.
    RestoreDefaults,
}

impl FailoverStep {
    /// Every step, in order.
    pub const EVERY: [Self; 3] = [
        Self::WriteEpoch,
        Self::WaitForWriters,
        Self::RestoreDefaults,
    ];

    /// What the step does, as a clause.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::WriteEpoch => "write the epoch in which this Region is the primary",
            Self::WaitForWriters => "wait until nothing that was sent before takes effect any more",
            Self::RestoreDefaults => {
                "restore the default permissions for new tables of the databases"
            }
        }
    }
}

/// The journal of a failover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverJournal {
    /// The epoch that it replaces. A failover never replaces another one, so repeating it never
    /// switches back.
    pub from: Epoch,
    /// The epoch that it writes.
    pub to: Epoch,
    /// The stage.
    pub stage: FailoverStage,
    /// When each stage was reached.
    pub reached: BTreeMap<FailoverStage, Timestamp>,
    /// The gates that a person forced.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forced: BTreeSet<ForceableGate>,
    /// What was behind when it started.
    pub recovery_point: RecoveryPoint,
    /// The number of databases with restored defaults.
    #[serde(default)]
    pub restored: usize,
    /// The databases whose defaults could not be restored, with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unrestored: BTreeMap<Name, String>,
}

impl FailoverJournal {
    fn new(from: Epoch, request: &FailoverRequest, recovery_point: RecoveryPoint) -> Self {
        Self {
            from,
            to: from.switched(),
            stage: FailoverStage::Started,
            reached: [(FailoverStage::Started, recovery_point.read_at)].into(),
            forced: request.forced.clone(),
            recovery_point,
            restored: 0,
            unrestored: BTreeMap::new(),
        }
    }

    /// The next step; `None` if there is nothing left to do.
    #[must_use]
    pub fn next_step(&self) -> Option<FailoverStep> {
        match self.stage {
            FailoverStage::Started => Some(FailoverStep::WriteEpoch),
            FailoverStage::EpochWritten => Some(FailoverStep::WaitForWriters),
            FailoverStage::WritersStopped => Some(FailoverStep::RestoreDefaults),
            FailoverStage::Completed | FailoverStage::Undone => None,
        }
    }

    /// The same journal in a later stage.
    fn at(mut self, stage: FailoverStage, now: Timestamp) -> Self {
        self.stage = stage;
        self.reached.insert(stage, now);
        self
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
    if let Some(journal) = &record.failover
        && journal.next_step().is_some()
    {
        return Ok(FailoverDecision::Resume(record.clone()));
    }
    if record.epoch.primary() == site {
        let is_incomplete = |journal: &FailoverJournal| !journal.unrestored.is_empty();
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
    gates::check(record, request, recovery_point)?;
    let journal = FailoverJournal::new(record.epoch, request, recovery_point.clone());
    Ok(FailoverDecision::Start(EpochRecord {
        failover: Some(journal),
        ..record.clone()
    }))
}

/// The record after a step has succeeded. `restored` and `unrestored` are the results of
/// [`FailoverStep::RestoreDefaults`].
#[must_use]
pub fn after_step(
    record: &EpochRecord,
    step: FailoverStep,
    now: Timestamp,
    (restored, unrestored): (usize, BTreeMap<Name, String>),
) -> EpochRecord {
    let Some(journal) = record.failover.clone() else {
        return record.clone();
    };
    match step {
        FailoverStep::WriteEpoch => EpochRecord {
            epoch: journal.to,
            switched_at: Some(now),
            failover: Some(journal.at(FailoverStage::EpochWritten, now)),
        },
        FailoverStep::WaitForWriters => EpochRecord {
            failover: Some(journal.at(FailoverStage::WritersStopped, now)),
            ..record.clone()
        },
        FailoverStep::RestoreDefaults => {
            let mut journal = journal.at(FailoverStage::Completed, now);
            (journal.restored, journal.unrestored) = (restored, unrestored);
            EpochRecord {
                failover: Some(journal),
                ..record.clone()
            }
        }
    }
}

/// Why a failover is not undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UndoRefusal {
    /// No failover was started.
    #[error("no failover is under way in this Region")]
    NothingToUndo,
    /// The epoch is written.
    #[error(
        "the failover has written epoch {0}: it cannot be undone any more, because writers may count on this \
         Region being the primary; run `twinlake failover --accept-loss` again to complete it"
    )]
    EpochWritten(Epoch),
}

/// The record after the failover is undone, which it can be until the epoch is written.
///
/// # Errors
/// There is nothing to undo, or the epoch is written.
pub fn undo(record: &EpochRecord, now: Timestamp) -> Result<EpochRecord, UndoRefusal> {
    let Some(journal) = record.failover.clone() else {
        return Err(UndoRefusal::NothingToUndo);
    };
    match journal.stage {
        FailoverStage::Started => Ok(EpochRecord {
            failover: Some(journal.at(FailoverStage::Undone, now)),
            ..record.clone()
        }),
        FailoverStage::EpochWritten | FailoverStage::WritersStopped => {
            Err(UndoRefusal::EpochWritten(journal.to))
        }
        FailoverStage::Completed | FailoverStage::Undone => Err(UndoRefusal::NothingToUndo),
    }
}

#[cfg(test)]
mod tests;
