//! Errors of AWS API calls, by kind.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of failed calls that Twinlake distinguishes.
///
/// Only `call_error.rs` of the `aws` crate maps AWS's error codes and messages to a kind; all other
/// code decides by the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallErrorKind {
    /// The service returned "not found". That alone does not prove the absence: it may also be the
    /// response to a lost permission.
    NotFound,
    /// The requested state already exists: the name to create is taken, or there is nothing to
    /// revoke.
    AlreadyInState,
    /// The call was throttled, or another writer changed the same object. A retry can succeed.
    Contended,
    /// A change on which the call depends has not propagated yet (IAM, a registration, a column).
    NotPropagated,
    /// Access denied, or the object does not exist: the service does not say which (LF-08).
    Denied,
    /// The request is invalid. A retry cannot succeed.
    Invalid,
    /// The service does not offer the operation: for this kind of object, or in this Region.
    Unsupported,
    /// The service failed, or is unreachable.
    Unavailable,
}

impl CallErrorKind {
    /// Whether the same call can succeed later without any intervention.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::Contended | Self::NotPropagated | Self::Unavailable => true,
            Self::NotFound
            | Self::AlreadyInState
            | Self::Denied
            | Self::Invalid
            | Self::Unsupported => false,
        }
    }
}

impl fmt::Display for CallErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::AlreadyInState => "already in state",
            Self::Contended => "contended",
            Self::NotPropagated => "not propagated",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
        })
    }
}

/// A failed call: its kind, and the service's error code and message for display.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{call} in {region}: {kind} ({code}: {message})")]
pub struct CallError {
    /// The kind, which is the only field that decisions depend on.
    pub kind: CallErrorKind,
    /// The API call, as AWS spells it.
    pub call: String,
    /// The Region that was called.
    pub region: String,
    /// AWS's error code, or the client's for a call without a response.
    pub code: String,
    /// AWS's message. It is untrusted: escape it before display.
    pub message: String,
}

impl CallError {
    /// Creates an error that Twinlake itself detects, with the code `Twinlake`.
    #[must_use]
    pub fn new(kind: CallErrorKind, call: &str, region: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            call: call.to_owned(),
            region: region.to_owned(),
            code: "Twinlake".to_owned(),
            message: message.into(),
        }
    }
}
