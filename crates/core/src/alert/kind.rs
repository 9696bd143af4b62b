//! The kinds of alerts, and the severity of each.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of alerts. Each has an entry in the runbook, `docs/operations.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// The standby grants access that the primary does not, and Twinlake could not revoke it.
    ExcessAccess,
    /// The audit rejected steps of a plan.
    PlanRejected,
    /// A Region has no policy, or one that is not valid, that differs from the other Region's, or
    /// that is for other Regions or another account than the stack: the functions apply nothing.
    PolicyUnusable,
    /// Deletions exceed the deletion limit and wait for the approval of a person.
    DeletionsHeld,
    /// Twinlake's role lacks a permission, or no longer sees every object.
    TwinlakeAccessDenied,
    /// The standby still differs, and repeating the reconcile does not help: an object of another
    /// owner, open default permissions, a failed call, or the maximum number of rounds was used up.
    Conflict,
    /// An object could not be read, or an event could not be parsed.
    ReadFailed,
    /// A resync corrected a difference that no event explains, or somebody else changed the
    /// standby.
    Drift,
    /// S3 did not replicate an object.
    ReplicationFailed,
    /// S3 replicated an object late, or stopped tracking it.
    ReplicationLate,
    /// The newest commit of an Iceberg table is not in the standby for longer than the objective.
    DataPending,
    /// Files of the commit that an Iceberg table shows in the standby exist no more.
    DataLost,
    /// A Glue job or crawler failed.
    JobFailed,
    /// A user's Glue or Lake Formation call was denied.
    UserAccessDenied,
    /// A dead-letter queue holds messages.
    DeadLetters,
    /// A CloudWatch alarm of Twinlake's stack is in state ALARM.
    Alarm,
    /// The lag of a channel exceeds its threshold.
    Lagging,
    /// The lag of a channel is several times its threshold: it delivers very late, or nothing at
    /// all.
    ChannelStalled,
    /// Twinlake needs more calls a second than the operation document allows it: changes wait.
    CallCeilingReached,
    /// The scheduled checks found what stands in the way of a takeover.
    ReadinessLost,
    /// The scheduled checks did not run, or could not read everything.
    ReadinessUnknown,
    /// Objects that are not replicated. Reported once a day in the digest, as counts by kind.
    NotReplicated,
    /// The daily summary.
    Digest,
}

/// How soon somebody should respond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Immediately.
    Page,
    /// Within a day.
    Warn,
    /// No response needed; reported in the daily digest.
    Digest,
}

impl AlertKind {
    /// Every kind.
    pub const EVERY: [Self; 23] = [
        Self::ExcessAccess,
        Self::PlanRejected,
        Self::PolicyUnusable,
        Self::DeletionsHeld,
        Self::TwinlakeAccessDenied,
        Self::Conflict,
        Self::ReadFailed,
        Self::Drift,
        Self::ReplicationFailed,
        Self::ReplicationLate,
        Self::DataPending,
        Self::DataLost,
        Self::JobFailed,
        Self::UserAccessDenied,
        Self::DeadLetters,
        Self::Alarm,
        Self::Lagging,
        Self::ChannelStalled,
        Self::CallCeilingReached,
        Self::ReadinessLost,
        Self::ReadinessUnknown,
        Self::NotReplicated,
        Self::Digest,
    ];

    /// Returns the kind as written in message attributes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExcessAccess => "excess-access",
            Self::PlanRejected => "plan-rejected",
            Self::PolicyUnusable => "policy-unusable",
            Self::DeletionsHeld => "deletions-held",
            Self::TwinlakeAccessDenied => "twinlake-access-denied",
            Self::Conflict => "conflict",
            Self::ReadFailed => "read-failed",
            Self::Drift => "drift",
            Self::ReplicationFailed => "replication-failed",
            Self::ReplicationLate => "replication-late",
            Self::DataPending => "data-pending",
            Self::DataLost => "data-lost",
            Self::JobFailed => "job-failed",
            Self::UserAccessDenied => "user-access-denied",
            Self::DeadLetters => "dead-letters",
            Self::Alarm => "alarm",
            Self::Lagging => "lagging",
            Self::ChannelStalled => "channel-stalled",
            Self::CallCeilingReached => "call-ceiling-reached",
            Self::ReadinessLost => "readiness-lost",
            Self::ReadinessUnknown => "readiness-unknown",
            Self::NotReplicated => "not-replicated",
            Self::Digest => "digest",
        }
    }

    /// Returns how soon somebody should respond.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::ExcessAccess
            | Self::PlanRejected
            | Self::PolicyUnusable
            | Self::DeletionsHeld
            | Self::TwinlakeAccessDenied
            | Self::DataLost
            | Self::Lagging
            | Self::ChannelStalled => Severity::Page,
            Self::Conflict
            | Self::ReadFailed
            | Self::Drift
            | Self::ReplicationFailed
            | Self::ReplicationLate
            | Self::DataPending
            | Self::JobFailed
            | Self::UserAccessDenied
            | Self::DeadLetters
            | Self::Alarm
            | Self::CallCeilingReached
            | Self::ReadinessLost
            | Self::ReadinessUnknown => Severity::Warn,
            Self::NotReplicated | Self::Digest => Severity::Digest,
        }
    }
}

impl AlertKind {
    /// Whether the alert reports a level, such as a lag or a queue length. A repetition then
    /// replaces the count of the earlier alert instead of adding to it.
    #[must_use]
    pub fn count_is_measured(self) -> bool {
        match self {
            Self::Lagging
            | Self::ChannelStalled
            | Self::DeadLetters
            | Self::ReadinessLost
            | Self::ReadinessUnknown => true,
            Self::ExcessAccess
            | Self::PlanRejected
            | Self::PolicyUnusable
            | Self::DeletionsHeld
            | Self::TwinlakeAccessDenied
            | Self::Conflict
            | Self::ReadFailed
            | Self::Drift
            | Self::ReplicationFailed
            | Self::ReplicationLate
            | Self::DataPending
            | Self::DataLost
            | Self::JobFailed
            | Self::UserAccessDenied
            | Self::Alarm
            | Self::CallCeilingReached
            | Self::NotReplicated
            | Self::Digest => false,
        }
    }

    /// Whether simultaneous alerts of this kind are combined into one message, because one cause
    /// usually affects many objects. The other kinds need an action of their own for each alert.
    #[must_use]
    pub fn is_combined(self) -> bool {
        match self {
            Self::ExcessAccess
            | Self::PlanRejected
            | Self::PolicyUnusable
            | Self::DeletionsHeld
            | Self::TwinlakeAccessDenied
            | Self::Conflict
            | Self::ReadFailed
            | Self::Drift
            | Self::DataPending
            | Self::DataLost
            | Self::UserAccessDenied => true,
            Self::ReplicationFailed
            | Self::ReplicationLate
            | Self::JobFailed
            | Self::DeadLetters
            | Self::Alarm
            | Self::Lagging
            | Self::ChannelStalled
            | Self::CallCeilingReached
            | Self::ReadinessLost
            | Self::ReadinessUnknown
            | Self::NotReplicated
            | Self::Digest => false,
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Severity {
    /// Returns the severity as written in message attributes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Warn => "warn",
            Self::Digest => "digest",
        }
    }
}

/// The position of an alert in its incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// The first message of the incident.
    New,
    /// The problem persists, or occurred again.
    Repeated,
    /// The incident is resolved.
    Resolved,
}

impl AlertState {
    /// Returns the state as written in message attributes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Repeated => "repeated",
            Self::Resolved => "resolved",
        }
    }
}
