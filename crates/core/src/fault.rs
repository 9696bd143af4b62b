//! What an AWS call came to when it did not succeed.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The classes of failure that Twinlake tells apart.
///
/// They are made from AWS's error codes and messages in one file only, the
/// adapter's `fault.rs`; everything else reasons about the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The service said that the object is not there. By itself no proof of
    /// absence: a lost right is answered alike.
    Absent,
    /// What was asked for is already so.
    AlreadyDone,
    /// Throttled, or another writer was at the same object. Worth trying again.
    Busy,
    /// Something has not propagated yet (IAM, a registration, a column).
    NotYet,
    /// Not allowed, or absent: the service does not say which (LF-08).
    Denied,
    /// The request itself is wrong. Repeating it cannot help.
    Invalid,
    /// A kind of object that Twinlake does not replicate.
    Unsupported,
    /// The service failed or could not be reached.
    Unavailable,
}

impl FaultKind {
    /// Whether the same call may succeed later with nobody doing anything.
    #[must_use]
    pub fn is_passing(self) -> bool {
        match self {
            Self::Busy | Self::NotYet | Self::Unavailable => true,
            Self::Absent | Self::AlreadyDone | Self::Denied | Self::Invalid | Self::Unsupported => {
                false
            }
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "absent",
            Self::AlreadyDone => "already done",
            Self::Busy => "busy",
            Self::NotYet => "not yet",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
        })
    }
}

/// A failed call: its class, and the service's own words for a person to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{call} in {region}: {kind} ({code}: {message})")]
pub struct Fault {
    /// The class, which is all that decisions rest on.
    pub kind: FaultKind,
    /// The API call, as AWS spells it.
    pub call: String,
    /// The Region that answered.
    pub region: String,
    /// AWS's error code, or a word of the client's for a call without an answer.
    pub code: String,
    /// AWS's message. Untrusted text: escape it before showing it.
    pub message: String,
}

impl Fault {
    /// A fault of our own making, for what no AWS answer covers.
    #[must_use]
    pub fn new(kind: FaultKind, call: &str, region: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            call: call.to_owned(),
            region: region.to_owned(),
            code: "Twinlake".to_owned(),
            message: message.into(),
        }
    }
}
