//! Classifies AWS errors by HTTP status, code and message. No other module decides by them.
//!
//! The lists of codes are not complete. So an answer that says by its status that the service failed, is
//! overloaded, or met another change is never an invalid request, whatever its code.
//!
//! The SDK does not model most errors of the Glue and Lake Formation calls, so a Rust client
//! receives them as "unhandled": only the code string distinguishes them. Where Lake Formation
//! uses one code for several causes, the message decides between "try again" and "report". What to
//! write is never decided by it: that follows from what was read.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use twinlake_core::{CallError, CallErrorKind};

/// Converts an SDK error of a call into a [`CallError`].
#[must_use]
pub fn from_sdk<E>(call: &str, region: &str, error: &SdkError<E, HttpResponse>) -> CallError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let (code, message) = match error {
        SdkError::ServiceError(context) => {
            let metadata = context.err().meta();
            (
                metadata.code().unwrap_or("Unknown").to_owned(),
                metadata.message().unwrap_or_default().to_owned(),
            )
        }
        SdkError::ConstructionFailure(_) => ("ConstructionFailure".to_owned(), error_text(error)),
        SdkError::TimeoutError(_) => ("TimeoutError".to_owned(), error_text(error)),
        SdkError::DispatchFailure(failure) => {
            let failure = failure.as_connector_error();
            match failure.and_then(std::error::Error::source) {
                Some(source) if source.is::<NotSent>() => (NOT_SENT.to_owned(), source.to_string()),
                Some(_) | None => ("DispatchFailure".to_owned(), error_text(error)),
            }
        }
        SdkError::ResponseError(_) => ("ResponseError".to_owned(), error_text(error)),
        // Variants that a later SDK version adds are failures without a service response.
        _ => ("Unknown".to_owned(), error_text(error)),
    };
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    from_status(call, region, status, (&code, &message))
}

fn error_text<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: std::error::Error + 'static,
{
    DisplayErrorContext(error).to_string()
}

/// Converts an error code and message, of a call or of one entry of a batch call, into a
/// [`CallError`], and counts it.
#[must_use]
pub fn from_code(call: &str, region: &str, code: &str, message: &str) -> CallError {
    from_status(call, region, None, (code, message))
}

fn from_status(
    call: &str,
    region: &str,
    status: Option<u16>,
    (code, message): (&str, &str),
) -> CallError {
    let kind = classify((call, status), code, message);
    // A failed condition is an expected answer to a conditional write, not an API error.
    if code != CONDITION_FAILED {
        crate::call_counter::count_error(kind);
    }
    CallError {
        kind,
        call: call.to_owned(),
        region: region.to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// The error for a request whose SDK types cannot be built from its input.
#[must_use]
pub fn from_build_error(call: &str, region: &str, error: &dyn std::error::Error) -> CallError {
    CallError::new(CallErrorKind::Invalid, call, region, error.to_string())
}

const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

/// Whether a conditional write was rejected because its condition did not hold. This is an
/// expected answer, not a failure.
#[must_use]
pub fn is_condition_failure(error: &CallError) -> bool {
    error.code == CONDITION_FAILED
}

/// Whether S3 answered that a bucket has no configuration of a kind, such as replication.
#[must_use]
pub(crate) fn is_missing_configuration(error: &CallError) -> bool {
    MISSING_CONFIGURATION_CODES.contains(&error.code.as_str())
}

const MISSING_CONFIGURATION_CODES: [&str; 6] = [
    "ReplicationConfigurationNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
    "NoSuchLifecycleConfiguration",
    "NoSuchBucketPolicy",
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
];

/// The codes with which AWS refuses a call because there are too many.
pub(crate) const THROTTLING_CODES: [&str; 8] = [
    "ThrottlingException",
    "ThrottledException",
    "Throttling",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestThrottled",
    // Of S3.
    "SlowDown",
];

/// The codes with which AWS refuses a call with status 409 for good.
const LASTING_CONFLICT_CODES: [&str; 8] = [
    // Of S3.
    "BucketAlreadyExists",
    "BucketAlreadyOwnedByYou",
    "BucketNotEmpty",
    "InvalidBucketState",
    // Of IAM.
    "EntityAlreadyExists",
    "DeleteConflict",
    "LimitExceeded",
    // Of Lambda: a name that is taken.
    "ResourceConflictException",
];

/// Whether a text is or contains the error with which AWS refuses a call because there are too many: one
/// of its codes, or the text with which Lake Formation passes on the refusal of IAM (LF-23).
pub(crate) fn is_throttling(text: &str) -> bool {
    let mut codes = THROTTLING_CODES.iter();
    codes.any(|code| text.contains(code)) || text.contains(RATE_EXCEEDED)
}

/// IAM's refusal of a call of Lake Formation, which reports it as invalid input.
const RATE_EXCEEDED: &str = "Rate exceeded";

/// The code of [`NotSent`].
const NOT_SENT: &str = "NotSent";

/// Why Twinlake did not send a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSent {
    /// It would have waited for longer than a call may.
    #[error(
        "not sent: it would have waited too long for its turn below the limit of calls a second"
    )]
    WaitsTooLong,
    /// The process may not write any more until it has read the role of the Region again.
    #[error("not sent: the lease under which this process writes has ended")]
    LeaseEnded,
}

/// Whether Athena failed a query because the caller may not read what it asks for. Lake Formation hides what a caller
/// may not see, so a table or column that exists is "not found" then (F-61).
pub(crate) fn is_refused_query(reason: &str) -> bool {
    const REFUSALS: [&str; 8] = [
        "Insufficient permissions",
        "Insufficient Lake Formation permission",
        "AccessDenied",
        "Access Denied",
        "not authorized",
        "COLUMN_NOT_FOUND",
        "TABLE_NOT_FOUND",
        "SCHEMA_NOT_FOUND",
    ];
    // The place for results, or a key: nothing is known of the data.
    const OF_THE_RESULTS: [&str; 3] = ["output location", "output bucket", "writing output"];
    let has = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
    has(&REFUSALS) && !has(&OF_THE_RESULTS)
}

/// The kind of an error that its HTTP status tells, whatever its code; `None` if the code decides.
fn classify_status(status: u16) -> Option<CallErrorKind> {
    match status {
        408 => Some(CallErrorKind::Unavailable),
        429 => Some(CallErrorKind::Contended),
        // Not implemented: it will not be the next time either.
        501 => Some(CallErrorKind::Unsupported),
        500.. => Some(CallErrorKind::Unavailable),
        _ => None,
    }
}

fn classify((call, status): (&str, Option<u16>), code: &str, message: &str) -> CallErrorKind {
    // Some services send "com.amazon...#Code" or "Code:http://...".
    let code = code.rsplit('#').next().unwrap_or(code);
    let code = code.split(':').next().unwrap_or(code);
    if THROTTLING_CODES.contains(&code) {
        return CallErrorKind::Contended;
    }
    if let Some(kind) = status.and_then(classify_status) {
        return kind;
    }
    let kind = classify_code(call, code, message);
    let may_end = status == Some(409) && !LASTING_CONFLICT_CODES.contains(&code);
    match may_end && kind == CallErrorKind::Invalid {
        true => CallErrorKind::Contended,
        false => kind,
    }
}

/// The reads of Athena that answer [`INVALID_REQUEST`] if the object does not exist (F-40).
const ATHENA_READS_BY_NAME: [&str; 3] = ["GetWorkGroup", "GetDataCatalog", "GetNamedQuery"];

const INVALID_REQUEST: &str = "InvalidRequestException";

fn classify_code(call: &str, code: &str, message: &str) -> CallErrorKind {
    match code {
        "EntityNotFoundException" | "ResourceNotFoundException" => CallErrorKind::NotFound,
        // Of IAM and of Service Quotas.
        "NoSuchEntity" | "NoSuchResourceException" => CallErrorKind::NotFound,
        // Of S3 and of CloudTrail.
        "NoSuchBucket" | "TrailNotFoundException" => CallErrorKind::NotFound,
        // Of SSM.
        "ParameterNotFound" => CallErrorKind::NotFound,
        "TooManyUpdates" => CallErrorKind::Contended,
        "NotFoundException" if call == "DescribeKey" => CallErrorKind::NotFound,
        _ if MISSING_CONFIGURATION_CODES.contains(&code) => CallErrorKind::NotFound,
        INVALID_REQUEST if ATHENA_READS_BY_NAME.contains(&call) => CallErrorKind::NotFound,
        "AlreadyExistsException" => CallErrorKind::AlreadyInState,
        // Of a crawler whose schedule is stopped, or runs, already.
        "SchedulerNotRunningException" | "SchedulerRunningException" => {
            CallErrorKind::AlreadyInState
        }
        // Of a crawler that runs, or whose schedule is changing: it can be changed later.
        "CrawlerRunningException"
        | "CrawlerStoppingException"
        | "SchedulerTransitioningException" => CallErrorKind::Contended,
        // A partition index stays in the states of creation and deletion for a while (GL-06).
        "ConflictException" if call.contains("PartitionIndex") => CallErrorKind::NotPropagated,
        "ResourceNumberLimitExceededException" if message.contains("simultaneously") => {
            CallErrorKind::NotPropagated
        }
        // Of the Redshift Data API.
        "ActiveStatementsExceededException"
        | "ActiveSessionsExceededException"
        | "ActiveWaitingRequestsExceededException" => CallErrorKind::Contended,
        "DatabaseConnectionException" | "QueryTimeoutException" => CallErrorKind::Unavailable,
        "ConcurrentModificationException"
        | "ConflictException"
        | CONDITION_FAILED
        | "TransactionConflictException"
        | "ResourceNotReadyException"
        | "VersionMismatchException"
        | NOT_SENT => CallErrorKind::Contended,
        "AccessDeniedException"
        | "AccessDenied"
        | "AuthorizationError"
        | "AuthorizationErrorException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "ExpiredToken" => classify_denial(call, message),
        // Missing permissions on the KMS key of an encrypted catalog.
        "GlueEncryptionException" | "KMSAccessDeniedException" => CallErrorKind::Denied,
        "InvalidInputException" => classify_invalid_input(message),
        "FederationSourceException" | "UnsupportedOperationException" => CallErrorKind::Unsupported,
        "ConditionalRequestConflict" | "OperationAborted" => CallErrorKind::Contended,
        // Entries of batch calls have no status.
        "OperationTimeoutException"
        | "InternalServiceException"
        | "InternalServerException"
        | "InternalException"
        | "ServiceFailure"
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
        | "Unknown" => CallErrorKind::Unavailable,
        _ => CallErrorKind::Invalid,
    }
}

/// Lake Formation also denies a write that is sent before an IAM change has propagated (LF-11,
/// LF-29), so such a denial is `NotPropagated`. A denied read is `Denied`: the denial may be
/// permanent.
fn classify_denial(call: &str, message: &str) -> CallErrorKind {
    const NO_CATALOG_PERMISSION: &str = "Insufficient Lake Formation permission(s) on Catalog";
    const PERMISSION_WRITES: [&str; 6] = [
        "GrantPermissions",
        "RevokePermissions",
        "BatchGrantPermissions",
        "BatchRevokePermissions",
        "AddLFTagsToResource",
        "RemoveLFTagsFromResource",
    ];
    let is_propagating = match call.contains("OptIn") {
        true => message.contains(NO_CATALOG_PERMISSION),
        false => {
            PERMISSION_WRITES.contains(&call)
                && message.contains("not authorized to access requested")
        }
    };
    match is_propagating {
        true => CallErrorKind::NotPropagated,
        false => CallErrorKind::Denied,
    }
}

fn classify_invalid_input(message: &str) -> CallErrorKind {
    // Tested first: this message also contains "Grantee has no permissions" (LF-10).
    if message.starts_with("No permissions revoked") {
        return CallErrorKind::AlreadyInState;
    }
    let contains = |text: &str| message.contains(text);
    if contains("non-existent column") {
        CallErrorKind::AlreadyInState
    } else if contains("Operation not supported") {
        // This kind of object does not have what was requested (GL-04).
        CallErrorKind::Unsupported
    } else if contains(RATE_EXCEEDED) {
        // IAM throttling, reported as invalid input (LF-23).
        CallErrorKind::Contended
    } else if contains("Invalid principal")
        || contains("Grantee has no permissions")
        || contains("register the S3 path")
    {
        CallErrorKind::NotPropagated
    } else {
        CallErrorKind::Invalid
    }
}

/// Codes that tests of other files answer with.
#[cfg(test)]
pub(crate) mod codes {
    pub(crate) const INVALID_INPUT: &str = "InvalidInputException";
    pub(crate) const ALREADY_EXISTS: &str = "AlreadyExistsException";
}

#[cfg(test)]
mod tests {
    use super::*;
    use CallErrorKind::{
        AlreadyInState, Contended, Denied, Invalid, NotFound, NotPropagated, Unavailable,
        Unsupported,
    };

    const INVALID_INPUT: &str = "InvalidInputException";

    #[test]
    fn a_query_is_refused_by_rights_on_the_data_only() {
        let refused = [
            "COLUMN_NOT_FOUND: line 1:8: Column 'salary' cannot be resolved or requester is not authorized to access \
             requested resources",
            "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.sales.orders' does not exist",
            "Insufficient permissions to execute the query. Principal does not have any privilege on specified resource",
            "com.amazonaws.services.s3.model.AmazonS3Exception: Access Denied (Service: Amazon S3; Status Code: 403)",
        ];
        for reason in refused {
            assert!(is_refused_query(reason), "{reason}");
        }
        let others = [
            "Query exhausted resources at this scale factor",
            "HIVE_BAD_DATA: Error parsing field value",
            "Access Denied when writing output to url: s3://results/x",
            "Unable to verify/create output bucket results: AccessDenied",
        ];
        for reason in others {
            assert!(!is_refused_query(reason), "{reason}");
        }
    }

    /// Observed or documented errors (call, code, message) and their kind.
    const CASES: [(&str, &str, &str, CallErrorKind); 41] = [
        ("GetParameter", "ParameterNotFound", "", NotFound),
        ("PutParameter", "TooManyUpdates", "", Contended),
        ("GetBucketPolicy", "NoSuchBucketPolicy", "", NotFound),
        ("GetBucketVersioning", "NoSuchBucket", "", NotFound),
        ("GetTrail", "TrailNotFoundException", "", NotFound),
        (
            "BatchGrantPermissions",
            "AccessDeniedException",
            "Resource does not exist or requester is not authorized to access requested permissions.",
            NotPropagated,
        ),
        (
            "AddLFTagsToResource",
            "AccessDeniedException",
            "User is not authorized to access requested permissions",
            NotPropagated,
        ),
        (
            "CreatePartitionIndex",
            "ResourceNumberLimitExceededException",
            "Only 1 index can be created or deleted simultaneously per table.",
            NotPropagated,
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
            NotPropagated,
        ),
        (
            "GetPartitionIndexes",
            INVALID_INPUT,
            "Operation not supported on Multi Dialect Views",
            Unsupported,
        ),
        (
            "GetTable",
            "EntityNotFoundException",
            "Entity Not Found",
            NotFound,
        ),
        (
            "GrantPermissions",
            INVALID_INPUT,
            "No permissions revoked. Grantee has no permissions to revoke.",
            AlreadyInState,
        ),
        (
            "RevokePermissions",
            INVALID_INPUT,
            "No permissions revoked. Revoking Tag permissions on Tags that grantee does not have permissions on.",
            AlreadyInState,
        ),
        (
            "RevokePermissions",
            INVALID_INPUT,
            "cannot grant/revoke permission on non-existent column.",
            AlreadyInState,
        ),
        (
            "CreateTable",
            "AlreadyExistsException",
            "Table already exists.",
            AlreadyInState,
        ),
        (
            "GrantPermissions",
            "ConcurrentModificationException",
            "Permission update/Delete failed for Resource",
            Contended,
        ),
        (
            "GetTable",
            "ThrottlingException",
            "Rate exceeded",
            Contended,
        ),
        ("GetTable", "ThrottledException", "Rate exceeded", Contended),
        ("GetTable", "Throttling", "Rate exceeded", Contended),
        ("GetTable", "RequestLimitExceeded", "", Contended),
        ("GetTable", "TooManyRequestsException", "", Contended),
        (
            "GrantPermissions",
            INVALID_INPUT,
            "Rate exceeded (Service: AmazonIdentityManagement; Status Code: 400)",
            Contended,
        ),
        (
            "GrantPermissions",
            INVALID_INPUT,
            "Invalid principal, arn:aws:iam::1:role/x",
            NotPropagated,
        ),
        (
            "GrantPermissions",
            INVALID_INPUT,
            "Grantee has no permissions",
            NotPropagated,
        ),
        (
            "GrantPermissions",
            INVALID_INPUT,
            "You must register the S3 path",
            NotPropagated,
        ),
        (
            "CreateLakeFormationOptIn",
            "AccessDeniedException",
            "Insufficient Lake Formation permission(s) on Catalog",
            NotPropagated,
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
            INVALID_INPUT,
            "Permissions modification is invalid.",
            Invalid,
        ),
        (
            "ListPermissions",
            INVALID_INPUT,
            "Database cannot be a link for this operation when called on a table",
            Invalid,
        ),
        (
            "GrantPermissions",
            INVALID_INPUT,
            "Illegal combination",
            Invalid,
        ),
        (
            "GrantPermissions",
            INVALID_INPUT,
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
    fn a_refusal_for_too_many_calls_is_recognized_by_code_and_by_the_text_of_iam() {
        for text in [
            r#"{"__type": "com.amazonaws.glue#ThrottlingException"}"#,
            "ThrottledException:http://internal/",
            r#"{"__type": "InvalidInputException", "message": "Rate exceeded (Service: IAM)"}"#,
        ] {
            assert!(is_throttling(text), "{text}");
        }
        for text in ["ConcurrentModificationException", "ServiceUnavailable", ""] {
            assert!(!is_throttling(text), "{text}");
        }
    }

    #[test]
    fn every_known_error_has_its_kind() {
        for (call, code, message, kind) in CASES {
            let found = classify((call, None), code, message);
            assert_eq!(found, kind, "{code}: {message}");
            let found = classify((call, Some(400)), code, message);
            assert_eq!(found, kind, "{code}: {message}");
        }
    }

    #[test]
    fn only_a_request_that_the_service_refused_is_invalid_whatever_its_code() {
        for (status, kind) in [
            (400, Invalid),
            (403, Invalid),
            (404, Invalid),
            (408, Unavailable),
            (409, Contended),
            (412, Invalid),
            (429, Contended),
            (500, Unavailable),
            (501, Unsupported),
            (502, Unavailable),
            (503, Unavailable),
            (504, Unavailable),
        ] {
            let code = "SomethingNewException";
            let found = classify(("GetWorkGroup", Some(status)), code, "");
            assert_eq!(found, kind, "{status}");
        }
        let of_athena = |status| classify(("GetWorkGroup", Some(status)), INVALID_REQUEST, "");
        assert_eq!((of_athena(400), of_athena(500)), (NotFound, Unavailable));
        let of_a_write = classify(("UpdateWorkGroup", Some(400)), INVALID_REQUEST, "");
        assert_eq!(of_a_write, Invalid);
        for code in LASTING_CONFLICT_CODES {
            assert_eq!(classify(("CreateBucket", Some(409)), code, ""), Invalid);
        }
        assert_eq!(
            classify(("PutObject", Some(503)), "SlowDown", ""),
            Contended
        );
    }

    /// A response as the SDK hands it over, with an error that it does not model.
    #[test]
    fn the_status_of_a_response_reaches_the_kind() {
        for (status, kind) in [(400, Invalid), (409, Contended), (503, Unavailable)] {
            let body = aws_smithy_types::body::SdkBody::empty();
            let raw = HttpResponse::new(status.try_into().unwrap(), body);
            let metadata = aws_smithy_types::error::ErrorMetadata::builder();
            let metadata = metadata.code("SomethingNewException").build();
            let error = aws_sdk_s3::operation::get_object::GetObjectError::generic(metadata);
            let error = from_sdk("GetObject", "r", &SdkError::service_error(error, raw));
            assert_eq!(
                (error.kind, error.code.as_str()),
                (kind, "SomethingNewException")
            );
        }
    }

    #[test]
    fn a_schedule_that_runs_already_is_as_it_should_be() {
        for code in ["SchedulerRunningException", "SchedulerNotRunningException"] {
            let error = from_code("StartCrawlerSchedule", "r", code, "it is so");
            assert_eq!(error.kind, CallErrorKind::AlreadyInState, "{code}");
        }
    }

    #[test]
    fn the_error_text_contains_code_and_message_of_the_service() {
        let error = from_code("GetTable", "us-east-1", "AccessDeniedException", "not you");
        assert_eq!(
            error.to_string(),
            "GetTable in us-east-1: denied (AccessDeniedException: not you)"
        );
    }
}
