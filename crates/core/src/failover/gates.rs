//! The gates of a failover: what must hold before it starts, each with its limit and the measured value.

use super::{EpochRecord, FailoverRequest, RecoveryPoint};
use serde::{Deserialize, Serialize};
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
}

impl ForceableGate {
    /// Every gate that may be forced.
    pub const EVERY: [Self; 2] = [Self::MinimumInterval, Self::ReplicatedDatabases];

    /// The name by which it is forced.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MinimumInterval => "minimum-interval",
            Self::ReplicatedDatabases => "replicated-databases",
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
    /// A gate that may be forced.
    Forceable(ForceableGate),
}

impl fmt::Display for FailoverGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AcceptedLoss => "accepted-loss",
            Self::SeenEpoch => "seen-epoch",
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

/// Checks the gates in order.
pub(super) fn check(
    record: &EpochRecord,
    request: &FailoverRequest,
    recovery_point: &RecoveryPoint,
) -> Result<(), FailoverRefusal> {
    check_seen_epoch(record, request)?;
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
