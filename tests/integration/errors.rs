//! Every known error response of Lake Formation, classified by `twinlake-aws` and handled by the
//! engine, for reads and writes: nothing is marked in sync that is not.

use CallErrorKind::{
    AlreadyInState, Contended, Denied, Invalid, NotFound, NotPropagated, Unavailable, Unsupported,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::{AlertKind, CallErrorKind, Name, Subject, SubjectState, TableId};
use twinlake_engine::Ledger as _;
use twinlake_sim::{ApiError, InjectedFault};
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};
use twinlake_tests::{equality_oracle, history};

/// The expected result of a write that fails with an error response.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    /// The write counts as applied.
    Applied,
    /// The table is out of sync and the write is retried until it succeeds. An alert follows after
    /// a time limit.
    Retried,
    /// The table is out of sync, nothing is retried, and an alert is published at once.
    Alert(AlertKind),
}

struct ErrorResponse {
    code: &'static str,
    message: &'static str,
    kind: CallErrorKind,
    grant: Expected,
    revoke: Expected,
}

const fn error_response(
    (code, message): (&'static str, &'static str),
    kind: CallErrorKind,
    (grant, revoke): (Expected, Expected),
) -> ErrorResponse {
    ErrorResponse {
        code,
        message,
        kind,
        grant,
        revoke,
    }
}

const INVALID_INPUT: &str = "InvalidInputException";
const FINAL: (Expected, Expected) = (
    Expected::Alert(AlertKind::Conflict),
    Expected::Alert(AlertKind::ExcessAccess),
);
const RETRIED: (Expected, Expected) = (Expected::Retried, Expected::Retried);

const ERROR_RESPONSES: [ErrorResponse; 25] = [
    error_response(
        ("EntityNotFoundException", "Entity Not Found"),
        NotFound,
        (Expected::Retried, Expected::Applied),
    ),
    error_response(
        (
            INVALID_INPUT,
            "No permissions revoked. Grantee has no permissions to revoke.",
        ),
        AlreadyInState,
        (Expected::Retried, Expected::Applied),
    ),
    error_response(
        (
            INVALID_INPUT,
            "No permissions revoked. Revoking Tag permissions on Tags that grantee does not have",
        ),
        AlreadyInState,
        (Expected::Retried, Expected::Applied),
    ),
    error_response(
        (
            INVALID_INPUT,
            "cannot grant/revoke permission on non-existent column",
        ),
        AlreadyInState,
        (Expected::Retried, Expected::Applied),
    ),
    error_response(
        (
            "ConcurrentModificationException",
            "Permission update/Delete failed for Resource",
        ),
        Contended,
        RETRIED,
    ),
    error_response(
        (
            "ConcurrentModificationException",
            "Please retry in a short while",
        ),
        Contended,
        RETRIED,
    ),
    error_response(("ThrottlingException", "Rate exceeded"), Contended, RETRIED),
    error_response(("ThrottledException", "Rate exceeded"), Contended, RETRIED),
    error_response(("Throttling", "Rate exceeded"), Contended, RETRIED),
    error_response(("RequestLimitExceeded", ""), Contended, RETRIED),
    error_response(("TooManyRequestsException", ""), Contended, RETRIED),
    error_response(
        (
            INVALID_INPUT,
            "Rate exceeded (Service: AmazonIdentityManagement; Status Code: 400)",
        ),
        Contended,
        RETRIED,
    ),
    error_response(
        (INVALID_INPUT, "Invalid principal, x"),
        NotPropagated,
        RETRIED,
    ),
    error_response(
        (INVALID_INPUT, "Grantee has no permissions"),
        NotPropagated,
        RETRIED,
    ),
    error_response(
        (INVALID_INPUT, "You must register the S3 path"),
        NotPropagated,
        RETRIED,
    ),
    error_response(
        (
            "AccessDeniedException",
            "Resource does not exist or requester is not authorized to access requested permissions.",
        ),
        NotPropagated,
        RETRIED,
    ),
    error_response(
        (
            "AccessDeniedException",
            "Insufficient Lake Formation permission(s): Required Alter on orders",
        ),
        Denied,
        (
            Expected::Alert(AlertKind::TwinlakeAccessDenied),
            Expected::Alert(AlertKind::ExcessAccess),
        ),
    ),
    error_response(
        (INVALID_INPUT, "Permissions modification is invalid."),
        Invalid,
        FINAL,
    ),
    error_response(
        (
            INVALID_INPUT,
            "Database cannot be a link for this operation when called on a table",
        ),
        Invalid,
        FINAL,
    ),
    error_response((INVALID_INPUT, "Illegal combination"), Invalid, FINAL),
    error_response(
        (
            INVALID_INPUT,
            "Resource must have one of the have either the catalog, table or database field \
             populated.",
        ),
        Invalid,
        FINAL,
    ),
    error_response(("FederationSourceException", ""), Unsupported, FINAL),
    error_response(("OperationTimeoutException", ""), Unavailable, RETRIED),
    error_response(("InternalServiceException", ""), Unavailable, RETRIED),
    error_response(("TimeoutError", "no answer"), Unavailable, RETRIED),
];

fn grant(role: &str) -> Value {
    json!({
        "Principal": {"DataLakePrincipalIdentifier":
            format!("arn:aws:iam::111122223333:role/{role}")},
        "Resource": {"Table": {"DatabaseName": "sales", "Name": "orders"}},
        "Permissions": ["INSERT"],
    })
}

fn call(harness: &TestHarness, name: &str, request: &Value) {
    harness.call(PRIMARY, name, request).unwrap();
}

/// Returns a harness in sync with a table that the role `Analyst` may write to.
fn harness_with_table() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    let sales = json!({"DatabaseInput": {"Name": "sales", "CreateTableDefaultPermissions": []}});
    call(&harness, "CreateDatabase", &sales);
    let input = history::table_input("sales", "orders", &["id"]);
    let orders = json!({"DatabaseName": "sales", "TableInput": input});
    call(&harness, "CreateTable", &orders);
    call(&harness, "GrantPermissions", &grant("Analyst"));
    let _ = harness.resync();
    let _ = harness.take_events();
    assert_eq!(differences(&harness), Vec::<String>::new());
    harness
}

fn differences(harness: &TestHarness) -> Vec<String> {
    equality_oracle::differences(&harness.sim.state(), &[])
}

fn table_state(harness: &TestHarness) -> SubjectState {
    let id = TableId::new(Name::new("sales").unwrap(), Name::new("orders").unwrap());
    let orders = Subject::Table(id);
    let subjects = BTreeSet::from([orders.clone()]);
    let rows = twinlake_sim::run_until_killed(&harness.sim, harness.ledger.rows(&subjects))
        .unwrap()
        .unwrap();
    rows[&orders].state
}

fn take_alert_kinds(harness: &TestHarness) -> BTreeSet<AlertKind> {
    harness
        .topic
        .take()
        .iter()
        .map(|alert| alert.kind)
        .collect()
}

/// Makes all further calls of an operation fail.
fn inject_error(
    harness: &TestHarness,
    region: &str,
    call: &str,
    error: ApiError,
    takes_effect: bool,
) {
    harness.sim.state().inject_fault(InjectedFault {
        times: usize::MAX,
        takes_effect,
        ..InjectedFault::once(region, call, error)
    });
}

fn deliver_events(harness: &TestHarness) {
    let _ = harness.deliver(&harness.take_events()).unwrap();
}

/// Delivers the queued messages five times.
fn deliver_retries(harness: &TestHarness) {
    for _ in 0..5 {
        let bodies: Vec<Vec<u8>> = harness
            .queue
            .take()
            .iter()
            .map(|message| message.body().into_bytes())
            .collect();
        let _ = harness.deliver(&bodies).unwrap();
    }
}

/// Makes a change whose replication fails with an error response, first permanently and then no
/// longer, and checks the result.
fn check_write(response: &ErrorResponse, name: &str, is_batch: bool, expected: Expected) {
    let case = format!(
        "{name} (batch call fails: {is_batch}): {}: {}",
        response.code, response.message
    );
    let error = ApiError::new(response.kind, response.code, response.message);
    let harness = harness_with_table();
    match name {
        "GrantPermissions" => call(&harness, name, &grant("Writer")),
        _ => call(&harness, name, &grant("Analyst")),
    }
    let failing_call = if is_batch {
        format!("Batch{name}")
    } else {
        name.to_owned()
    };
    inject_error(
        &harness,
        STANDBY,
        &failing_call,
        error,
        expected == Expected::Applied,
    );
    deliver_events(&harness);
    if expected == Expected::Applied {
        assert_eq!(table_state(&harness), SubjectState::InSync, "{case}");
        assert_eq!(take_alert_kinds(&harness), BTreeSet::new(), "{case}");
        assert_eq!(differences(&harness), Vec::<String>::new(), "{case}");
        return;
    }
    assert_eq!(differences(&harness).len(), 1, "{case}");
    assert_ne!(table_state(&harness), SubjectState::InSync, "{case}");
    let kinds = take_alert_kinds(&harness);
    if let Expected::Alert(kind) = expected {
        assert_eq!(kinds, BTreeSet::from([kind]), "{case}");
        assert_eq!(harness.queue.take(), Vec::new(), "{case}");
    } else {
        assert_eq!(kinds, BTreeSet::new(), "{case}");
        let is_revoke = name == "RevokePermissions";
        harness.sim.state().advance_secs(400);
        deliver_retries(&harness);
        let has_alert = take_alert_kinds(&harness).contains(&AlertKind::ExcessAccess);
        assert_eq!(
            has_alert, is_revoke,
            "a revoke that fails for minutes raises an alert: {case}"
        );
        harness.sim.state().clear_injected_faults();
        deliver_retries(&harness);
        assert_eq!(differences(&harness), Vec::<String>::new(), "{case}");
        assert_eq!(table_state(&harness), SubjectState::InSync, "{case}");
        return;
    }
    harness.sim.state().clear_injected_faults();
    let _ = harness.resync();
    assert_eq!(differences(&harness), Vec::<String>::new(), "{case}");
    assert_eq!(table_state(&harness), SubjectState::InSync, "{case}");
}

#[test]
fn every_error_response_has_its_kind() {
    for response in &ERROR_RESPONSES {
        let error = twinlake_aws::call_error::from_code(
            "BatchGrantPermissions",
            "x",
            response.code,
            response.message,
        );
        assert_eq!(
            error.kind, response.kind,
            "{}: {}",
            response.code, response.message
        );
    }
}

#[test]
fn a_grant_that_fails_never_counts_as_applied() {
    for response in &ERROR_RESPONSES {
        check_write(response, "GrantPermissions", false, response.grant);
        check_write(response, "GrantPermissions", true, response.grant);
    }
}

#[test]
fn a_revoke_that_fails_counts_as_applied_if_the_grant_is_gone() {
    for response in &ERROR_RESPONSES {
        check_write(response, "RevokePermissions", false, response.revoke);
        check_write(response, "RevokePermissions", true, response.revoke);
    }
}

/// The answer that the standby does not know a grant proves nothing while its listing shows it.
#[test]
fn a_revoke_of_an_unknown_grant_is_retried_while_the_grant_is_listed() {
    let unknown = ERROR_RESPONSES
        .iter()
        .filter(|response| response.revoke == Expected::Applied);
    for response in unknown {
        check_write(response, "RevokePermissions", false, Expected::Retried);
        check_write(response, "RevokePermissions", true, Expected::Retried);
    }
}

#[test]
fn a_grant_that_fails_for_an_hour_raises_an_alert() {
    for response in ERROR_RESPONSES
        .iter()
        .filter(|response| response.grant == Expected::Retried)
    {
        let harness = harness_with_table();
        call(&harness, "GrantPermissions", &grant("Writer"));
        let error = ApiError::new(response.kind, response.code, response.message);
        inject_error(&harness, STANDBY, "GrantPermissions", error, false);
        deliver_events(&harness);
        harness.sim.state().advance_secs(3_601);
        deliver_retries(&harness);
        assert_eq!(
            take_alert_kinds(&harness),
            BTreeSet::from([AlertKind::Conflict]),
            "{}",
            response.message
        );
        assert_ne!(
            table_state(&harness),
            SubjectState::InSync,
            "{}",
            response.message
        );
    }
}

/// The result of each entry is unknown after a batch call failed, so each entry is sent in a call
/// of its own. An entry that the service rejects does not block the others.
#[test]
fn the_entries_of_a_failed_batch_call_are_sent_one_by_one() {
    for response in &ERROR_RESPONSES {
        let harness = harness_with_table();
        call(&harness, "GrantPermissions", &grant("Writer"));
        deliver_events(&harness);
        for role in ["Analyst", "Writer"] {
            call(&harness, "RevokePermissions", &grant(role));
        }
        let error = ApiError::new(response.kind, response.code, response.message);
        let once = InjectedFault::once(STANDBY, "BatchRevokePermissions", error);
        harness.sim.state().inject_fault(once);
        deliver_events(&harness);
        deliver_retries(&harness);
        assert_eq!(
            differences(&harness),
            Vec::<String>::new(),
            "{}",
            response.message
        );
    }
}

/// An object that exists already, from a call whose response was lost or from another caller, is
/// read and compared, and not assumed to be equal.
#[test]
fn an_object_that_exists_already_is_compared() {
    let principal =
        json!({"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Analyst"});
    let orders = json!({"Table": {"DatabaseName": "sales", "Name": "orders"}});
    let changes = [
        (
            "CreateTable",
            json!({"DatabaseName": "sales",
            "TableInput": history::table_input("sales", "returns", &["id"])}),
        ),
        (
            "CreateLFTag",
            json!({"TagKey": "tier", "TagValues": ["gold"]}),
        ),
        (
            "CreateLakeFormationOptIn",
            json!({"Principal": principal, "Resource": orders}),
        ),
        (
            "RegisterResource",
            json!({"ResourceArn": "arn:aws:s3:::lake-us/x",
            "UseServiceLinkedRole": true}),
        ),
        (
            "CreateDataCellsFilter",
            json!({"TableData": {"TableCatalogId": "111122223333",
            "DatabaseName": "sales", "TableName": "orders", "Name": "few",
            "ColumnNames": ["id"], "RowFilter": {"FilterExpression": "id = 'x'"}}}),
        ),
    ];
    for (name, request) in changes {
        for takes_effect in [true, false] {
            let harness = harness_with_table();
            call(&harness, name, &request);
            let message = "already exists";
            let error = ApiError::new(AlreadyInState, "AlreadyExistsException", message);
            inject_error(&harness, STANDBY, name, error, takes_effect);
            deliver_events(&harness);
            let is_missing = !differences(&harness).is_empty();
            assert_eq!(
                is_missing,
                !takes_effect,
                "{name}: {:?}",
                differences(&harness)
            );
            // A table that exists and cannot be read is not attempted again: its role lost rights.
            let is_hidden = !takes_effect && name == "CreateTable";
            let is_retried = !takes_effect && !is_hidden;
            assert_eq!(!harness.queue.take().is_empty(), is_retried, "{name}");
            let kinds = take_alert_kinds(&harness);
            assert_eq!(
                kinds.contains(&AlertKind::TwinlakeAccessDenied),
                is_hidden,
                "{name}"
            );
            harness.sim.state().clear_injected_faults();
            let _ = harness.resync();
            assert_eq!(differences(&harness), Vec::<String>::new(), "{name}");
        }
    }
}

/// Whatever error a read of grants or of the table returns: nothing is revoked or deleted because
/// of it, and the table is not assumed to be in sync.
#[test]
fn a_read_that_fails_proves_nothing() {
    for response in &ERROR_RESPONSES {
        for (region, name) in [
            (PRIMARY, "ListPermissions"),
            (STANDBY, "ListPermissions"),
            (PRIMARY, "GetTable"),
            (PRIMARY, "GetTables"),
        ] {
            let kind =
                twinlake_aws::call_error::from_code(name, "x", response.code, response.message)
                    .kind;
            let case = format!(
                "{name} in {region}: {}: {}",
                response.code, response.message
            );
            let harness = harness_with_table();
            call(&harness, "GrantPermissions", &grant("Writer"));
            let error = ApiError::new(kind, response.code, response.message);
            inject_error(&harness, region, name, error, false);
            let before = differences(&harness);
            deliver_events(&harness);
            let is_in_sync = differences(&harness).is_empty();
            assert!(
                is_in_sync || table_state(&harness) != SubjectState::InSync,
                "{case}"
            );
            let _ = harness.resync();
            assert!(
                differences(&harness)
                    .iter()
                    .all(|difference| before.contains(difference)),
                "{case}"
            );
            let is_in_sync = differences(&harness).is_empty();
            assert!(
                is_in_sync || table_state(&harness) != SubjectState::InSync,
                "{case}"
            );
            harness.sim.state().advance_secs(3_601);
            deliver_retries(&harness);
            harness.sim.state().clear_injected_faults();
            let _ = harness.resync();
            assert_eq!(differences(&harness), Vec::<String>::new(), "{case}");
            assert_eq!(table_state(&harness), SubjectState::InSync, "{case}");
        }
    }
}
