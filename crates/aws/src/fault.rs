//! The one place that reads AWS's error codes and messages.
//!
//! Most errors of the catalog and permission calls are not modelled, so they reach
//! a Rust client as "unhandled": only the code string tells them apart. And a code
//! alone never decides where Lake Formation uses one code for many things: there
//! the message has to be read.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use twinlake_core::{Fault, FaultKind};

/// Turns what the SDK answered into a fault.
#[must_use]
pub fn of<E, R>(call: &str, region: &str, error: &SdkError<E, R>) -> Fault
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    let (code, message) = match error {
        SdkError::ServiceError(context) => {
            let meta = context.err().meta();
            (
                meta.code().unwrap_or("Unknown").to_owned(),
                meta.message().unwrap_or_default().to_owned(),
            )
        }
        SdkError::ConstructionFailure(_) => ("ConstructionFailure".to_owned(), text(error)),
        SdkError::TimeoutError(_) => ("TimeoutError".to_owned(), text(error)),
        SdkError::DispatchFailure(_) => ("DispatchFailure".to_owned(), text(error)),
        SdkError::ResponseError(_) => ("ResponseError".to_owned(), text(error)),
        // The SDK may learn of new ways to fail; none of them is an answer.
        _ => ("Unknown".to_owned(), text(error)),
    };
    of_code(call, region, &code, &message)
}

fn text<E, R>(error: &SdkError<E, R>) -> String
where
    E: std::error::Error + 'static,
    R: std::fmt::Debug,
{
    DisplayErrorContext(error).to_string()
}

/// Turns a code and a message, of a call or of one entry of a batch, into a fault.
#[must_use]
pub fn of_code(call: &str, region: &str, code: &str, message: &str) -> Fault {
    let kind = classify(call, code, message);
    // A condition that does not hold is an answer to a conditional write.
    if code != FAILED_CONDITION {
        crate::calls::came_to(kind);
    }
    Fault {
        kind,
        call: call.to_owned(),
        region: region.to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// What the SDK's own types cannot be built from.
#[must_use]
pub fn unbuildable(call: &str, region: &str, error: &dyn std::error::Error) -> Fault {
    Fault::new(FaultKind::Invalid, call, region, error.to_string())
}

const FAILED_CONDITION: &str = "ConditionalCheckFailedException";

/// Whether a conditional write was refused for its condition: an answer, not a
/// failure.
#[must_use]
pub fn is_failed_condition(fault: &Fault) -> bool {
    fault.code == FAILED_CONDITION
}

const THROTTLES: [&str; 7] = [
    "ThrottlingException",
    "ThrottledException",
    "Throttling",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestThrottled",
];

fn classify(call: &str, code: &str, message: &str) -> FaultKind {
    // Some services write "com.amazon...#Code" or "Code:http://...".
    let code = code.rsplit('#').next().unwrap_or(code);
    let code = code.split(':').next().unwrap_or(code);
    if THROTTLES.contains(&code) {
        return FaultKind::Busy;
    }
    match code {
        "EntityNotFoundException" | "ResourceNotFoundException" => FaultKind::Absent,
        "AlreadyExistsException" => FaultKind::AlreadyDone,
        // An index on its way in or out takes its time (GL-06).
        "ConflictException" if call.contains("PartitionIndex") => FaultKind::NotYet,
        "ResourceNumberLimitExceededException" if message.contains("simultaneously") => {
            FaultKind::NotYet
        }
        "ConcurrentModificationException"
        | "ConflictException"
        | FAILED_CONDITION
        | "TransactionConflictException"
        | "ResourceNotReadyException"
        | "VersionMismatchException" => FaultKind::Busy,
        "AccessDeniedException"
        | "AccessDenied"
        | "AuthorizationError"
        | "AuthorizationErrorException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "ExpiredToken" => denied(call, message),
        // Rights to the key of an encrypted catalog.
        "GlueEncryptionException" | "KMSAccessDeniedException" => FaultKind::Denied,
        "InvalidInputException" => invalid_input(message),
        "FederationSourceException" | "UnsupportedOperationException" => FaultKind::Unsupported,
        "OperationTimeoutException"
        | "InternalServiceException"
        | "InternalFailure"
        | "InternalServerError"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "FederationSourceRetryableException"
        | "InvalidStateException"
        | "TimeoutError"
        | "DispatchFailure"
        | "ResponseError"
        | "Unknown" => FaultKind::Unavailable,
        _ => FaultKind::Invalid,
    }
}

/// What is written before IAM has propagated is answered with a denial, too (LF-11,
/// LF-29). A read that is answered so is denied: it may be for good.
fn denied(call: &str, message: &str) -> FaultKind {
    const OPT_IN: &str = "Insufficient Lake Formation permission(s) on Catalog";
    const WRITES: [&str; 6] = [
        "GrantPermissions",
        "RevokePermissions",
        "BatchGrantPermissions",
        "BatchRevokePermissions",
        "AddLFTagsToResource",
        "RemoveLFTagsFromResource",
    ];
    let passing = match call.contains("OptIn") {
        true => message.contains(OPT_IN),
        false => WRITES.contains(&call) && message.contains("not authorized to access requested"),
    };
    match passing {
        true => FaultKind::NotYet,
        false => FaultKind::Denied,
    }
}

fn invalid_input(message: &str) -> FaultKind {
    // First, since this text goes on with "Grantee has no...", too (LF-10).
    if message.starts_with("No permissions revoked") {
        return FaultKind::AlreadyDone;
    }
    let says = |part: &str| message.contains(part);
    if says("non-existent column") {
        FaultKind::AlreadyDone
    } else if says("Operation not supported") {
        // What this kind of object does not have (GL-04).
        FaultKind::Unsupported
    } else if says("Rate exceeded") {
        // IAM's throttling in disguise (LF-23).
        FaultKind::Busy
    } else if says("Invalid principal")
        || says("Grantee has no permissions")
        || says("register the S3 path")
    {
        FaultKind::NotYet
    } else {
        FaultKind::Invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultKind::{Absent, AlreadyDone, Busy, Denied, Invalid, NotYet, Unavailable, Unsupported};

    const INPUT: &str = "InvalidInputException";

    /// Each row is an answer that was seen or is documented, with its class.
    const ROWS: [(&str, &str, &str, FaultKind); 36] = [
        (
            "BatchGrantPermissions",
            "AccessDeniedException",
            "Resource does not exist or requester is not authorized to access requested permissions.",
            NotYet,
        ),
        (
            "AddLFTagsToResource",
            "AccessDeniedException",
            "User is not authorized to access requested permissions",
            NotYet,
        ),
        (
            "CreatePartitionIndex",
            "ResourceNumberLimitExceededException",
            "Only 1 index can be created or deleted simultaneously per table.",
            NotYet,
        ),
        (
            "CreatePartitionIndex",
            "ResourceNumberLimitExceededException",
            "Partition index limit exceeded. Maximum: 3",
            Invalid,
        ),
        (
            "DeletePartitionIndex",
            "ConflictException",
            "Index is not in a state to be deleted",
            NotYet,
        ),
        (
            "GetPartitionIndexes",
            INPUT,
            "Operation not supported on Multi Dialect Views",
            Unsupported,
        ),
        (
            "GetTable",
            "EntityNotFoundException",
            "Entity Not Found",
            Absent,
        ),
        (
            "GrantPermissions",
            INPUT,
            "No permissions revoked. Grantee has no permissions to revoke.",
            AlreadyDone,
        ),
        (
            "RevokePermissions",
            INPUT,
            "No permissions revoked. Revoking Tag permissions on Tags that grantee does not have permissions on.",
            AlreadyDone,
        ),
        (
            "RevokePermissions",
            INPUT,
            "cannot grant/revoke permission on non-existent column.",
            AlreadyDone,
        ),
        (
            "CreateTable",
            "AlreadyExistsException",
            "Table already exists.",
            AlreadyDone,
        ),
        (
            "GrantPermissions",
            "ConcurrentModificationException",
            "Permission update/Delete failed for Resource",
            Busy,
        ),
        ("GetTable", "ThrottlingException", "Rate exceeded", Busy),
        ("GetTable", "ThrottledException", "Rate exceeded", Busy),
        ("GetTable", "Throttling", "Rate exceeded", Busy),
        ("GetTable", "RequestLimitExceeded", "", Busy),
        ("GetTable", "TooManyRequestsException", "", Busy),
        (
            "GrantPermissions",
            INPUT,
            "Rate exceeded (Service: AmazonIdentityManagement; Status Code: 400)",
            Busy,
        ),
        (
            "GrantPermissions",
            INPUT,
            "Invalid principal, arn:aws:iam::1:role/x",
            NotYet,
        ),
        (
            "GrantPermissions",
            INPUT,
            "Grantee has no permissions",
            NotYet,
        ),
        (
            "GrantPermissions",
            INPUT,
            "You must register the S3 path",
            NotYet,
        ),
        (
            "CreateLakeFormationOptIn",
            "AccessDeniedException",
            "Insufficient Lake Formation permission(s) on Catalog",
            NotYet,
        ),
        (
            "GetTable",
            "AccessDeniedException",
            "Resource does not exist or requester is not authorized to access requested permissions.",
            Denied,
        ),
        ("GetTable", "AccessDenied", "", Denied),
        (
            "CreateDatabase",
            "AccessDeniedException",
            "Insufficient Lake Formation permission(s): Required Create Database on Catalog",
            Denied,
        ),
        (
            "GetTable",
            "GlueEncryptionException",
            "Insufficient encryption key permissions for Glue API",
            Denied,
        ),
        (
            "GrantPermissions",
            INPUT,
            "Permissions modification is invalid.",
            Invalid,
        ),
        (
            "ListPermissions",
            INPUT,
            "Database cannot be a link for this operation when called on a table",
            Invalid,
        ),
        ("GrantPermissions", INPUT, "Illegal combination", Invalid),
        (
            "GrantPermissions",
            INPUT,
            "Resource must have one of the have either the catalog, table or database field populated.",
            Invalid,
        ),
        (
            "CreateTable",
            "ResourceNumberLimitExceededException",
            "",
            Invalid,
        ),
        ("GetTable", "FederationSourceException", "", Unsupported),
        ("GetTable", "OperationTimeoutException", "", Unavailable),
        ("GetTable", "InternalServiceException", "", Unavailable),
        (
            "GetTable",
            "com.amazonaws.glue#InternalFailure",
            "",
            Unavailable,
        ),
        (
            "GetTable",
            "DispatchFailure",
            "connection refused",
            Unavailable,
        ),
    ];

    #[test]
    fn every_known_answer_has_its_class() {
        for (call, code, message, kind) in ROWS {
            assert_eq!(classify(call, code, message), kind, "{code}: {message}");
        }
    }

    #[test]
    fn a_fault_keeps_the_services_words_for_people() {
        let fault = of_code("GetTable", "us-east-1", "AccessDeniedException", "not you");
        assert_eq!(
            fault.to_string(),
            "GetTable in us-east-1: denied (AccessDeniedException: not you)"
        );
    }
}
