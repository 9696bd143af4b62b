//! Errors as the services answer them.

use twinlake_core::{Fault, FaultKind};

/// An error answer: AWS's code and message, with the class that it means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The error code, as in `EntityNotFoundException`.
    pub code: String,
    /// The message.
    pub message: String,
    /// What it means.
    pub kind: FaultKind,
}

impl ApiError {
    /// An error answer.
    #[must_use]
    pub fn new(kind: FaultKind, code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            kind,
        }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            FaultKind::Absent,
            "EntityNotFoundException",
            "Entity Not Found",
        )
    }

    pub(crate) fn already_exists(what: &str) -> Self {
        let message = format!("{what} already exists.");
        Self::new(FaultKind::AlreadyDone, "AlreadyExistsException", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Invalid, "InvalidInputException", message)
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Denied, "AccessDeniedException", message)
    }

    pub(crate) fn concurrent(message: impl Into<String>) -> Self {
        let code = "ConcurrentModificationException";
        Self::new(FaultKind::Busy, code, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(FaultKind::NotYet, "ConflictException", message)
    }

    pub(crate) fn throttled() -> Self {
        Self::new(FaultKind::Busy, "ThrottlingException", "Rate exceeded")
    }

    pub(crate) fn in_trouble() -> Self {
        let code = "InternalServiceException";
        Self::new(FaultKind::Unavailable, code, "An internal error occurred.")
    }

    pub(crate) fn one_index_at_a_time() -> Self {
        Self::new(
            FaultKind::NotYet,
            "ResourceNumberLimitExceededException",
            "Only 1 index can be created or deleted simultaneously per table.",
        )
    }

    pub(crate) fn too_many_indexes() -> Self {
        Self::new(
            FaultKind::Invalid,
            "ResourceNumberLimitExceededException",
            "Partition index limit exceeded. Maximum: 3",
        )
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Unsupported, "InvalidInputException", message)
    }

    /// Revoking what is not held (LF-10).
    pub(crate) fn nothing_to_revoke() -> Self {
        Self::new(
            FaultKind::AlreadyDone,
            "InvalidInputException",
            "No permissions revoked. Grantee has no permissions to revoke on this resource.",
        )
    }

    /// Naming a column that the table lacks.
    pub(crate) fn no_such_column() -> Self {
        Self::new(
            FaultKind::AlreadyDone,
            "InvalidInputException",
            "cannot grant/revoke permission on non-existent column.",
        )
    }

    pub(crate) fn fault(self, call: &str, region: &str) -> Fault {
        Fault {
            kind: self.kind,
            call: call.to_owned(),
            region: region.to_owned(),
            code: self.code,
            message: self.message,
        }
    }
}
