//! The kinds of alerts, and how soon a person should look.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of alerts. Each has a row in the README that says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// The secondary shows access that the primary lacks, and it could not be
    /// removed.
    Widening,
    /// The auditor refused a plan, or the brake held it.
    Vetoed,
    /// Our role lacks a right, or no longer sees everything.
    Denied,
    /// Still different after the allowed rounds.
    Diverged,
    /// It could not be observed.
    Unreadable,
    /// The resync mended what no event explained.
    Drift,
    /// S3 did not replicate an object.
    ReplicationFailed,
    /// S3 replicated an object late, or stopped tracking it.
    ReplicationLate,
    /// A Glue job or crawler failed.
    JobFailed,
    /// Somebody was refused access.
    Unauthorized,
    /// Messages wait in a dead-letter queue.
    DeadLetters,
    /// A CloudWatch alarm of ours went off.
    Alarm,
    /// A channel is behind its objective.
    Lagging,
    /// Nothing comes over a channel.
    Silent,
    /// What is not replicated, by kind and count. It is gathered for the digest.
    Unsupported,
    /// How the last day went.
    Digest,
}

/// How soon a person should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// At once.
    Page,
    /// Within the day.
    Warn,
    /// Once a day, gathered.
    Digest,
}

impl AlertKind {
    /// Every kind.
    pub const EVERY: [Self; 16] = [
        Self::Widening,
        Self::Vetoed,
        Self::Denied,
        Self::Diverged,
        Self::Unreadable,
        Self::Drift,
        Self::ReplicationFailed,
        Self::ReplicationLate,
        Self::JobFailed,
        Self::Unauthorized,
        Self::DeadLetters,
        Self::Alarm,
        Self::Lagging,
        Self::Silent,
        Self::Unsupported,
        Self::Digest,
    ];

    /// The kind as it stands in message attributes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Widening => "widening",
            Self::Vetoed => "vetoed",
            Self::Denied => "denied",
            Self::Diverged => "diverged",
            Self::Unreadable => "unreadable",
            Self::Drift => "drift",
            Self::ReplicationFailed => "replication-failed",
            Self::ReplicationLate => "replication-late",
            Self::JobFailed => "job-failed",
            Self::Unauthorized => "unauthorized",
            Self::DeadLetters => "dead-letters",
            Self::Alarm => "alarm",
            Self::Lagging => "lagging",
            Self::Silent => "silent",
            Self::Unsupported => "unsupported",
            Self::Digest => "digest",
        }
    }

    /// How soon a person should look.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Widening | Self::Vetoed | Self::Denied | Self::Lagging | Self::Silent => {
                Severity::Page
            }
            Self::Diverged
            | Self::Unreadable
            | Self::Drift
            | Self::ReplicationFailed
            | Self::ReplicationLate
            | Self::JobFailed
            | Self::Unauthorized
            | Self::DeadLetters
            | Self::Alarm => Severity::Warn,
            Self::Unsupported | Self::Digest => Severity::Digest,
        }
    }
}

impl AlertKind {
    /// Whether what is found of it is how it stands, such as a lag, so that finding it again
    /// is no more of it.
    #[must_use]
    pub fn is_level(self) -> bool {
        match self {
            Self::Lagging | Self::Silent | Self::DeadLetters => true,
            Self::Widening
            | Self::Vetoed
            | Self::Denied
            | Self::Diverged
            | Self::Unreadable
            | Self::Drift
            | Self::ReplicationFailed
            | Self::ReplicationLate
            | Self::JobFailed
            | Self::Unauthorized
            | Self::Alarm
            | Self::Unsupported
            | Self::Digest => false,
        }
    }

    /// Whether several of its alerts at once are one message: what has one cause is mostly
    /// found in many places. Of the others each says something else, and what to do.
    #[must_use]
    pub fn is_told_together(self) -> bool {
        match self {
            Self::Widening
            | Self::Vetoed
            | Self::Denied
            | Self::Diverged
            | Self::Unreadable
            | Self::Drift
            | Self::Unauthorized => true,
            Self::ReplicationFailed
            | Self::ReplicationLate
            | Self::JobFailed
            | Self::DeadLetters
            | Self::Alarm
            | Self::Lagging
            | Self::Silent
            | Self::Unsupported
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
    /// The severity as it stands in message attributes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Warn => "warn",
            Self::Digest => "digest",
        }
    }
}

/// Where in its trouble an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// The first message.
    New,
    /// It lasts, or came again.
    Again,
    /// It is over.
    Resolved,
}

impl AlertState {
    /// The state as it stands in message attributes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Again => "again",
            Self::Resolved => "resolved",
        }
    }
}
