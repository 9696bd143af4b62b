//! Error responses of the services.

use twinlake_core::{CallError, CallErrorKind};

/// An error response: AWS's code and message, with the class that Twinlake assigns to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The error code, as in `EntityNotFoundException`.
    pub code: String,
    /// The message.
    pub message: String,
    /// The class of the error.
    pub kind: CallErrorKind,
}

impl ApiError {
    /// Creates an error response.
    #[must_use]
    pub fn new(kind: CallErrorKind, code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            kind,
        }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            CallErrorKind::NotFound,
            "EntityNotFoundException",
            "Entity Not Found",
        )
    }

    pub(crate) fn already_exists(what: &str) -> Self {
        let message = format!("{what} already exists.");
        Self::new(
            CallErrorKind::AlreadyInState,
            "AlreadyExistsException",
            message,
        )
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(CallErrorKind::Invalid, "InvalidInputException", message)
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(CallErrorKind::Denied, "AccessDeniedException", message)
    }

    pub(crate) fn concurrent_modification(message: impl Into<String>) -> Self {
        let code = "ConcurrentModificationException";
        Self::new(CallErrorKind::Contended, code, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(CallErrorKind::NotPropagated, "ConflictException", message)
    }

    pub(crate) fn throttled() -> Self {
        Self::new(
            CallErrorKind::Contended,
            "ThrottlingException",
            "Rate exceeded",
        )
    }

    pub(crate) fn internal_error() -> Self {
        let code = "InternalServiceException";
        Self::new(
            CallErrorKind::Unavailable,
            code,
            "An internal error occurred.",
        )
    }

    pub(crate) fn concurrent_index_change() -> Self {
        Self::new(
            CallErrorKind::NotPropagated,
            "ResourceNumberLimitExceededException",
            "Only 1 index can be created or deleted simultaneously per table.",
        )
    }

    pub(crate) fn too_many_indexes() -> Self {
        Self::new(
            CallErrorKind::Invalid,
            "ResourceNumberLimitExceededException",
            "Partition index limit exceeded. Maximum: 3",
        )
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(CallErrorKind::Unsupported, "InvalidInputException", message)
    }

    /// The response to a revoke of a permission that the principal does not hold (LF-10).
    pub(crate) fn nothing_to_revoke() -> Self {
        Self::new(
            CallErrorKind::AlreadyInState,
            "InvalidInputException",
            "No permissions revoked. Grantee has no permissions to revoke on this resource.",
        )
    }

    /// The response to a grant or revoke that names a column the table does not have.
    pub(crate) fn no_such_column() -> Self {
        Self::new(
            CallErrorKind::AlreadyInState,
            "InvalidInputException",
            "cannot grant/revoke permission on non-existent column.",
        )
    }

    pub(crate) fn into_call_error(self, call: &str, region: &str) -> CallError {
        CallError {
            kind: self.kind,
            call: call.to_owned(),
            region: region.to_owned(),
            code: self.code,
            message: self.message,
        }
    }
}
