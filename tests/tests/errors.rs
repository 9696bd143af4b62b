//! Every answer that Lake Formation is known to give, read by the real classifier and met
//! by the real engine, in reading and in writing: nothing is marked done that was not.

use FaultKind::{Absent, AlreadyDone, Busy, Denied, Invalid, NotYet, Unavailable, Unsupported};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::{AlertKind, FaultKind, Name, State, Subject, TableId};
use twinlake_engine::Ledger as _;
use twinlake_sim::{ApiError, Trouble};
use twinlake_tests::lab::{Lab, PRIMARY, SECONDARY, policy};
use twinlake_tests::{history, twin};

/// What is to come of a write that is answered so.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// It is done.
    Done,
    /// It is behind, and sent again until it works; people hear of it when that lasts.
    Later,
    /// It is behind, nothing is sent again, and people hear of it at once.
    Told(AlertKind),
}

struct Answer {
    code: &'static str,
    message: &'static str,
    kind: FaultKind,
    grant: Then,
    revoke: Then,
}

const fn answer(
    (code, message): (&'static str, &'static str),
    kind: FaultKind,
    (grant, revoke): (Then, Then),
) -> Answer {
    Answer {
        code,
        message,
        kind,
        grant,
        revoke,
    }
}

const INPUT: &str = "InvalidInputException";
const REFUSED: (Then, Then) = (
    Then::Told(AlertKind::Diverged),
    Then::Told(AlertKind::Widening),
);
const WAITS: (Then, Then) = (Then::Later, Then::Later);

const ANSWERS: [Answer; 25] = [
    answer(
        ("EntityNotFoundException", "Entity Not Found"),
        Absent,
        (Then::Later, Then::Done),
    ),
    answer(
        (
            INPUT,
            "No permissions revoked. Grantee has no permissions to revoke.",
        ),
        AlreadyDone,
        (Then::Later, Then::Done),
    ),
    answer(
        (
            INPUT,
            "No permissions revoked. Revoking Tag permissions on Tags that grantee does not have",
        ),
        AlreadyDone,
        (Then::Later, Then::Done),
    ),
    answer(
        (
            INPUT,
            "cannot grant/revoke permission on non-existent column",
        ),
        AlreadyDone,
        (Then::Later, Then::Done),
    ),
    answer(
        (
            "ConcurrentModificationException",
            "Permission update/Delete failed for Resource",
        ),
        Busy,
        WAITS,
    ),
    answer(
        (
            "ConcurrentModificationException",
            "Please retry in a short while",
        ),
        Busy,
        WAITS,
    ),
    answer(("ThrottlingException", "Rate exceeded"), Busy, WAITS),
    answer(("ThrottledException", "Rate exceeded"), Busy, WAITS),
    answer(("Throttling", "Rate exceeded"), Busy, WAITS),
    answer(("RequestLimitExceeded", ""), Busy, WAITS),
    answer(("TooManyRequestsException", ""), Busy, WAITS),
    answer(
        (
            INPUT,
            "Rate exceeded (Service: AmazonIdentityManagement; Status Code: 400)",
        ),
        Busy,
        WAITS,
    ),
    answer((INPUT, "Invalid principal, x"), NotYet, WAITS),
    answer((INPUT, "Grantee has no permissions"), NotYet, WAITS),
    answer((INPUT, "You must register the S3 path"), NotYet, WAITS),
    answer(
        (
            "AccessDeniedException",
            "Resource does not exist or requester is not authorized to access requested permissions.",
        ),
        NotYet,
        WAITS,
    ),
    answer(
        (
            "AccessDeniedException",
            "Insufficient Lake Formation permission(s): Required Alter on orders",
        ),
        Denied,
        (
            Then::Told(AlertKind::Denied),
            Then::Told(AlertKind::Widening),
        ),
    ),
    answer(
        (INPUT, "Permissions modification is invalid."),
        Invalid,
        REFUSED,
    ),
    answer(
        (
            INPUT,
            "Database cannot be a link for this operation when called on a table",
        ),
        Invalid,
        REFUSED,
    ),
    answer((INPUT, "Illegal combination"), Invalid, REFUSED),
    answer(
        (
            INPUT,
            "Resource must have one of the have either the catalog, table or database field \
             populated.",
        ),
        Invalid,
        REFUSED,
    ),
    answer(("FederationSourceException", ""), Unsupported, REFUSED),
    answer(("OperationTimeoutException", ""), Unavailable, WAITS),
    answer(("InternalServiceException", ""), Unavailable, WAITS),
    answer(("TimeoutError", "no answer"), Unavailable, WAITS),
];

fn grant(who: &str) -> Value {
    json!({
        "Principal": {"DataLakePrincipalIdentifier":
            format!("arn:aws:iam::111122223333:role/{who}")},
        "Resource": {"Table": {"DatabaseName": "sales", "Name": "orders"}},
        "Permissions": ["INSERT"],
    })
}

fn call(lab: &Lab, name: &str, request: &Value) {
    lab.call(PRIMARY, name, request).unwrap();
}

/// A synchronised table that the analyst may write to.
fn lab() -> Lab {
    let lab = Lab::new(policy(""));
    let sales = json!({"DatabaseInput": {"Name": "sales", "CreateTableDefaultPermissions": []}});
    call(&lab, "CreateDatabase", &sales);
    let input = history::table_input("sales", "orders", &["id"]);
    let orders = json!({"DatabaseName": "sales", "TableInput": input});
    call(&lab, "CreateTable", &orders);
    call(&lab, "GrantPermissions", &grant("Analyst"));
    let _ = lab.resync();
    let _ = lab.take_events();
    assert_eq!(differences(&lab), Vec::<String>::new());
    lab
}

fn differences(lab: &Lab) -> Vec<String> {
    twin::differences(&lab.sim.world(), &[])
}

fn state(lab: &Lab) -> State {
    let id = TableId::new(Name::new("sales").unwrap(), Name::new("orders").unwrap());
    let orders = Subject::Table(id);
    let asked = BTreeSet::from([orders.clone()]);
    let rows = twinlake_sim::run_until_killed(&lab.sim, lab.ledger.rows(&asked))
        .unwrap()
        .unwrap();
    rows[&orders].state
}

fn kinds(lab: &Lab) -> BTreeSet<AlertKind> {
    lab.topic.take().iter().map(|alert| alert.kind).collect()
}

/// From now on every such call fails.
fn spoil(lab: &Lab, region: &str, call: &str, error: ApiError, with_effect: bool) {
    lab.sim.world().order(Trouble {
        times: usize::MAX,
        with_effect,
        ..Trouble::once(region, call, error)
    });
}

fn events(lab: &Lab) {
    let _ = lab.deliver(&lab.take_events()).unwrap();
}

/// Delivers what was sent to wait, as often as anything is.
fn again(lab: &Lab) {
    for _ in 0..5 {
        let bodies: Vec<Vec<u8>> = lab
            .queue
            .take()
            .iter()
            .map(|m| m.body().into_bytes())
            .collect();
        let _ = lab.deliver(&bodies).unwrap();
    }
}

/// Makes a change whose replication is answered so, for good, and then no longer.
fn write(at: &Answer, name: &str, whole: bool, then: Then) {
    let case = format!("{name} (whole: {whole}): {}: {}", at.code, at.message);
    let error = ApiError::new(at.kind, at.code, at.message);
    let lab = lab();
    match name {
        "GrantPermissions" => call(&lab, name, &grant("Writer")),
        _ => call(&lab, name, &grant("Analyst")),
    }
    let spoilt = if whole {
        format!("Batch{name}")
    } else {
        name.to_owned()
    };
    spoil(&lab, SECONDARY, &spoilt, error, then == Then::Done);
    events(&lab);
    if then == Then::Done {
        assert_eq!(state(&lab), State::Current, "{case}");
        assert_eq!(kinds(&lab), BTreeSet::new(), "{case}");
        assert_eq!(differences(&lab), Vec::<String>::new(), "{case}");
        return;
    }
    assert_eq!(differences(&lab).len(), 1, "{case}");
    assert_ne!(state(&lab), State::Current, "{case}");
    let told = kinds(&lab);
    if let Then::Told(kind) = then {
        assert_eq!(told, BTreeSet::from([kind]), "{case}");
        assert_eq!(lab.queue.take(), Vec::new(), "{case}");
    } else {
        assert_eq!(told, BTreeSet::new(), "{case}");
        let narrows = name == "RevokePermissions";
        lab.sim.world().pass_secs(400);
        again(&lab);
        let told = kinds(&lab).contains(&AlertKind::Widening);
        assert_eq!(
            told, narrows,
            "what stays wider is told after minutes: {case}"
        );
        lab.sim.world().end_trouble();
        again(&lab);
        assert_eq!(differences(&lab), Vec::<String>::new(), "{case}");
        assert_eq!(state(&lab), State::Current, "{case}");
        return;
    }
    lab.sim.world().end_trouble();
    let _ = lab.resync();
    assert_eq!(differences(&lab), Vec::<String>::new(), "{case}");
    assert_eq!(state(&lab), State::Current, "{case}");
}

#[test]
fn every_answer_is_classified_as_it_is_meant() {
    for at in &ANSWERS {
        let fault = twinlake_aws::fault::of_code("BatchGrantPermissions", "x", at.code, at.message);
        assert_eq!(fault.kind, at.kind, "{}: {}", at.code, at.message);
    }
}

#[test]
fn a_grant_that_is_answered_so_is_never_done_by_it() {
    for at in &ANSWERS {
        write(at, "GrantPermissions", false, at.grant);
        write(at, "GrantPermissions", true, at.grant);
    }
}

#[test]
fn a_revoke_that_is_answered_so_is_done_if_nothing_was_left() {
    for at in &ANSWERS {
        write(at, "RevokePermissions", false, at.revoke);
        write(at, "RevokePermissions", true, at.revoke);
    }
}

#[test]
fn what_is_tried_in_vain_for_an_hour_is_told() {
    for at in ANSWERS.iter().filter(|at| at.grant == Then::Later) {
        let lab = lab();
        call(&lab, "GrantPermissions", &grant("Writer"));
        let error = ApiError::new(at.kind, at.code, at.message);
        spoil(&lab, SECONDARY, "GrantPermissions", error, false);
        events(&lab);
        lab.sim.world().pass_secs(3_601);
        again(&lab);
        assert_eq!(
            kinds(&lab),
            BTreeSet::from([AlertKind::Diverged]),
            "{}",
            at.message
        );
        assert_ne!(state(&lab), State::Current, "{}", at.message);
    }
}

/// Of a call that failed as a whole nothing is known, so each entry is asked alone; and one
/// entry that the service will not have is not in the way of the others.
#[test]
fn a_call_that_fails_as_a_whole_says_nothing_of_its_entries() {
    for at in &ANSWERS {
        let lab = lab();
        call(&lab, "GrantPermissions", &grant("Writer"));
        events(&lab);
        for who in ["Analyst", "Writer"] {
            call(&lab, "RevokePermissions", &grant(who));
        }
        let error = ApiError::new(at.kind, at.code, at.message);
        let once = Trouble::once(SECONDARY, "BatchRevokePermissions", error);
        lab.sim.world().order(once);
        events(&lab);
        again(&lab);
        match at.revoke {
            Then::Told(_) if at.kind == Denied => assert_ne!(state(&lab), State::Current),
            Then::Done | Then::Later | Then::Told(_) => {
                assert_eq!(differences(&lab), Vec::<String>::new(), "{}", at.message);
            }
        }
    }
}

/// What was made by a call whose answer was lost, or by somebody at the same moment, is
/// looked at and not taken for equal.
#[test]
fn what_exists_already_is_compared() {
    let who = json!({"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Analyst"});
    let orders = json!({"Table": {"DatabaseName": "sales", "Name": "orders"}});
    let made = [
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
            json!({"Principal": who, "Resource": orders}),
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
    for (name, request) in made {
        for with_effect in [true, false] {
            let lab = lab();
            call(&lab, name, &request);
            let message = "already exists";
            let error = ApiError::new(AlreadyDone, "AlreadyExistsException", message);
            spoil(&lab, SECONDARY, name, error, with_effect);
            events(&lab);
            let missing = !differences(&lab).is_empty();
            assert_eq!(missing, !with_effect, "{name}: {:?}", differences(&lab));
            assert_eq!(lab.queue.take().is_empty(), with_effect, "{name}");
            lab.sim.world().end_trouble();
            let _ = lab.resync();
            assert_eq!(differences(&lab), Vec::<String>::new(), "{name}");
        }
    }
}

/// Whatever a listing of grants or a look at the table is answered with: nothing is revoked
/// or deleted because of it, and it is not taken for equal.
#[test]
fn a_read_that_is_answered_so_proves_nothing() {
    for at in &ANSWERS {
        for (region, name) in [
            (PRIMARY, "ListPermissions"),
            (SECONDARY, "ListPermissions"),
            (PRIMARY, "GetTable"),
            (PRIMARY, "GetTables"),
        ] {
            let kind = twinlake_aws::fault::of_code(name, "x", at.code, at.message).kind;
            let case = format!("{name} in {region}: {}: {}", at.code, at.message);
            let lab = lab();
            call(&lab, "GrantPermissions", &grant("Writer"));
            let error = ApiError::new(kind, at.code, at.message);
            spoil(&lab, region, name, error, false);
            let before = differences(&lab);
            events(&lab);
            let equal = differences(&lab).is_empty();
            assert!(equal || state(&lab) != State::Current, "{case}");
            let _ = lab.resync();
            assert!(
                differences(&lab).iter().all(|d| before.contains(d)),
                "{case}"
            );
            let equal = differences(&lab).is_empty();
            assert!(equal || state(&lab) != State::Current, "{case}");
            lab.sim.world().pass_secs(3_601);
            again(&lab);
            lab.sim.world().end_trouble();
            let _ = lab.resync();
            assert_eq!(differences(&lab), Vec::<String>::new(), "{case}");
            assert_eq!(state(&lab), State::Current, "{case}");
        }
    }
}
