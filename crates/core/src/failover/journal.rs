//! The journal of a switch, as the epoch's record holds it.

use super::{
    FailoverRequest, FailoverStage, FailoverStep, ForceableGate, FreezeMode, RecoveryPoint,
    SwitchOperation, UnrestoredGrants, WakeRecord,
};
use crate::name::Name;
use crate::query::QueryKind;
use crate::scope::Subject;
use crate::timestamp::Timestamp;
use crate::topology::Epoch;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The journal of a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverJournal {
    /// The operation.
    #[serde(default)]
    pub operation: SwitchOperation,
    /// The epoch that it replaces. A failover never replaces another one, so repeating it never
    /// switches back.
    pub from: Epoch,
    /// The epoch that it writes.
    pub to: Epoch,
    /// The stage.
    pub stage: FailoverStage,
    /// When each stage was reached.
    pub reached: BTreeMap<FailoverStage, Timestamp>,
    /// The execution that asked for it, if it may be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// The gates that a person forced.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forced: BTreeSet<ForceableGate>,
    /// The subjects that were not in sync when the forced gate `in-sync` was asked: a switchover goes on although the
    /// former primary has something of them that this Region lacks. What it has of any other subject refuses.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<Subject>,
    /// Of a switchover: whether it revokes the grants to write in the primary.
    #[serde(default, skip_serializing_if = "FreezeMode::is_none")]
    pub freeze: FreezeMode,
    /// The number of grants that it has revoked in the primary.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub frozen: usize,
    /// The number of grants that an earlier switchover had revoked in this Region, and that this one has granted again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unfrozen: usize,
    /// Those that can never be granted again, with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub still_frozen: BTreeMap<String, String>,
    /// Those that could not be granted again yet: they stay recorded, and the command tries again when it is repeated.
    #[serde(default, skip_serializing_if = "UnrestoredGrants::is_none")]
    pub left_frozen: UnrestoredGrants,
    /// Of a switchover with a freeze: since when grants are revoked in the primary by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_since: Option<Timestamp>,
    /// Until when a run that revokes grants, or an undo that grants them again, may still change them. It is written
    /// before they change, and renewed; nobody else changes them before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants_change_until: Option<Timestamp>,
    /// What was behind when it started.
    pub recovery_point: RecoveryPoint,
    /// The number of databases with restored defaults.
    #[serde(default)]
    pub restored: usize,
    /// The databases whose defaults could not be restored, with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unrestored: BTreeMap<Name, String>,
    /// Of a switchover: why the former primary did not become the standby by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_handed_over: Option<String>,
    /// What clients have been told; `None` before, and without `[takeover]` in the operation document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<Announcement>,
    /// What became of the crawlers and triggers that were to be woken, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub woken: BTreeMap<QueryKind, WakeRecord>,
}

impl FailoverJournal {
    pub(super) fn new(
        from: Epoch,
        request: &FailoverRequest,
        mut recovery_point: RecoveryPoint,
    ) -> Self {
        let behind = std::mem::take(&mut recovery_point.all_behind);
        let goes_without = request.forced.contains(&ForceableGate::InSync)
            && request.operation() == SwitchOperation::Switchover;
        Self {
            left_out: match goes_without {
                true => behind,
                false => BTreeSet::new(),
            },
            from,
            operation: request.operation(),
            to: from.switched(),
            stage: FailoverStage::Started,
            reached: [(FailoverStage::Started, recovery_point.read_at)].into(),
            execution: request.execution.clone(),
            forced: request.forced.clone(),
            freeze: request.freeze(),
            frozen: 0,
            unfrozen: 0,
            still_frozen: BTreeMap::new(),
            left_frozen: UnrestoredGrants::default(),
            frozen_since: None,
            grants_change_until: None,
            recovery_point,
            restored: 0,
            unrestored: BTreeMap::new(),
            not_handed_over: None,
            announced: None,
            woken: BTreeMap::new(),
        }
    }

    /// Whether the epoch is not written yet.
    #[must_use]
    pub fn is_before_epoch(&self) -> bool {
        match self.stage {
            FailoverStage::Started | FailoverStage::GrantsFrozen | FailoverStage::Verified => true,
            FailoverStage::EpochWritten
            | FailoverStage::WritersStopped
            | FailoverStage::DefaultsRestored
            | FailoverStage::Completed
            | FailoverStage::Undone => false,
        }
    }

    /// The next step; `None` if there is nothing left to do.
    #[must_use]
    pub fn next_step(&self) -> Option<FailoverStep> {
        match self.stage {
            FailoverStage::Started => Some(match self.operation {
                SwitchOperation::Failover => FailoverStep::WriteEpoch,
                SwitchOperation::Switchover => match self.freeze {
                    FreezeMode::Grants => FailoverStep::FreezeGrants,
                    FreezeMode::None => FailoverStep::Verify,
                },
            }),
            FailoverStage::GrantsFrozen => Some(FailoverStep::Verify),
            FailoverStage::Verified => Some(FailoverStep::WriteEpoch),
            FailoverStage::EpochWritten => Some(FailoverStep::WaitForWriters),
            FailoverStage::WritersStopped => Some(FailoverStep::RestoreDefaults),
            FailoverStage::DefaultsRestored => Some(FailoverStep::HandOver),
            FailoverStage::Completed | FailoverStage::Undone => None,
        }
    }

    /// The databases whose defaults are restored: those that a completed switch left over, since others may have been
    /// closed by somebody meanwhile; `None` for all.
    #[must_use]
    pub fn left_to_restore(&self) -> Option<&BTreeMap<Name, String>> {
        let was_completed = self.reached.contains_key(&FailoverStage::Completed);
        Some(&self.unrestored).filter(|_| was_completed)
    }

    /// The same journal, with what the one that it replaces knows of grants that are revoked in this epoch.
    pub(super) fn replacing(mut self, replaced: Option<&Self>) -> Self {
        if let Some(replaced) = replaced.filter(|replaced| replaced.from == self.from) {
            self.frozen_since = replaced.frozen_since;
            self.grants_change_until = replaced.grants_change_until;
        }
        self
    }

    /// Until when somebody else may still change grants, if that is after `now`.
    #[must_use]
    pub fn changes_grants_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.grants_change_until.filter(|until| *until > now)
    }

    /// The same journal in a later stage.
    pub(super) fn at(mut self, stage: FailoverStage, now: Timestamp) -> Self {
        self.stage = stage;
        self.reached.insert(stage, now);
        self
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What clients have been told of a takeover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// When the parameter of the new primary was found to hold its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_at: Option<Timestamp>,
    /// When the event was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_at: Option<Timestamp>,
}
