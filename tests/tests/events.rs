//! Every file in `events/` comes to a scope, an alert, or nothing for a reason; the
//! outcomes stand in `tests/events.out`. And whatever else comes, nothing panics.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use twinlake_core::event::{
    Heard, Listener, Notified, Operation, parse, parse_operation, parse_replication,
    replication_alerts,
};
use twinlake_core::grant::Terms;
use twinlake_core::{OwnRoles, Policy, Timestamp};

/// A listener in the Region and account that the event is from.
fn listener(event: &Value) -> Listener {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    Listener {
        region: text("region"),
        account: text("account"),
        ours: OwnRoles::default(),
        terms: Terms::default(),
        now: Timestamp::default(),
    }
}

fn outcome(bytes: &[u8]) -> String {
    let event: Value = serde_json::from_slice(bytes).unwrap_or_default();
    match parse(bytes, &listener(&event)) {
        Ok(Heard::Look(scope)) => {
            let looks = scope.looks.iter().map(|(subject, look)| {
                let named = match (look.deletion_named, look.partition_deletion_named) {
                    (true, _) => " (deletion named)",
                    (false, true) => " (partition deletion named)",
                    (false, false) => "",
                };
                let values = match look.values.is_empty() {
                    true => String::new(),
                    false => format!(" at {:?}", look.values),
                };
                format!("{subject} {:?}{values}{named}", look.facets)
            });
            let suspects = scope.suspects.keys().map(|atom| format!("suspect {atom}"));
            looks.chain(suspects).collect::<Vec<_>>().join("; ")
        }
        Ok(Heard::Nothing(reason)) => match parse_operation(bytes, &listener(&event)) {
            Ok(Operation::Tell(alert)) => format!("alert {}: {}", alert.kind, alert.what),
            Ok(
                Operation::Over(..)
                | Operation::Nothing(_)
                | Operation::Hand(_)
                | Operation::Told(_),
            )
            | Err(_) => {
                format!("nothing: {reason}")
            }
        },
        Err(refused) => operation(bytes, &event, &refused.0),
    }
}

fn operation(bytes: &[u8], event: &Value, refused: &str) -> String {
    match parse_operation(bytes, &listener(event)) {
        Ok(Operation::Tell(alert)) => format!("alert {}: {}", alert.kind, alert.what),
        Ok(Operation::Over(kind, subject, _)) => format!("over: {kind} {subject}"),
        Ok(Operation::Told(alert)) => format!("told by the peer: {}", alert.key()),
        Ok(Operation::Hand(hand)) => format!("hand: {} on {}", hand.action, hand.scope),
        Ok(Operation::Nothing(reason)) => format!("nothing: {reason}"),
        Err(_) => match parse_replication(bytes, Timestamp::default()) {
            Ok(Notified::Objects(notices, _)) => {
                let unmapped: Vec<_> = notices.into_iter().map(|notice| (notice, None)).collect();
                replication_alerts(&unmapped)
            }
            .iter()
            .map(|alert| format!("alert {}: {} {:?}", alert.kind, alert.what, alert.samples))
            .collect(),
            Ok(Notified::Test) => "nothing: a test of the notification".to_owned(),
            Err(other) => format!("refused: {refused} / {}", other.0),
        },
    }
}

/// The messages inside the envelopes of SQS and SNS.
fn messages(event: &Value) -> Vec<Vec<u8>> {
    let records = event["Records"].as_array().into_iter().flatten();
    let texts = records.filter_map(|record| {
        let body = record["body"].as_str();
        body.or_else(|| record["Sns"]["Message"].as_str())
    });
    texts.map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn every_file_has_its_outcome() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    files.sort();
    assert!(files.len() > 60);
    let mut told = String::new();
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&file).unwrap();
        let event: Value = serde_json::from_slice(&bytes).unwrap();
        let inside = messages(&event);
        let all = match name.starts_with("lambda-") {
            true => inside,
            false => vec![bytes],
        };
        for bytes in all {
            writeln!(told, "{name}: {}", outcome(&bytes)).unwrap();
        }
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("events.out");
    if option_env!("UPDATE").is_some() {
        std::fs::write(&beside, &told).unwrap();
    }
    let expected = std::fs::read_to_string(&beside).unwrap();
    for (got, wanted) in told.lines().zip(expected.lines()) {
        assert_eq!(got, wanted);
    }
    assert_eq!(told.lines().count(), expected.lines().count());
}

fn cloudtrail(name: &str, source: &str, request: &Value) -> Vec<u8> {
    json!({
        "source": source, "detail-type": "AWS API Call via CloudTrail",
        "region": "us-east-1", "account": "111122223333",
        "detail": {"eventSource": format!("{}.amazonaws.com", &source[4..]), "eventName": name,
                   "requestParameters": request},
    })
    .to_string()
    .into_bytes()
}

#[test]
fn hostile_events_are_refused_or_harmless() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let big = json!({"source": "aws.glue", "x": "y".repeat(256 * 1024)}).to_string();
    let long = json!({"source": "aws.glue", "region": "us-east-1", "account": "111122223333",
        "detail-type": "Glue Data Catalog Table State Change",
        "detail": {"databaseName": "d".repeat(300), "tableName": "t"}})
    .to_string();
    let control = long.replace(&"d".repeat(300), "a\\u001b[2J");
    let cases = [
        "",
        "{",
        "null",
        "[]",
        "\"x\"",
        "{}",
        "\u{feff}{}",
        &deep,
        &big,
        &long,
        &control,
        "{\"source\": 1, \"detail\": []}",
    ];
    for case in cases {
        let text = outcome(case.as_bytes());
        assert!(text.starts_with("refused"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn what_is_cut_or_omitted_widens_the_scope() {
    let omitted = json!({"omitted": "true", "reason": "requestParameters too large"});
    let cases = [
        ("UpdateTable", "aws.glue"),
        ("GrantPermissions", "aws.lakeformation"),
        ("BatchRevokePermissions", "aws.lakeformation"),
        ("SomethingNew", "aws.glue"),
    ];
    for (name, source) in cases {
        let text = outcome(&cloudtrail(name, source, &omitted));
        assert!(text.starts_with("catalog"), "{name}: {text}");
    }
    // An unknown change of a known table is a look at that table.
    let known = json!({"databaseName": "sales", "tableName": "orders"});
    let text = outcome(&cloudtrail("SomethingNew", "aws.glue", &known));
    assert!(text.starts_with("table sales.orders"), "{text}");
}

#[test]
fn our_own_calls_and_other_regions_lead_nowhere() {
    let mut event: Value = serde_json::from_slice(&cloudtrail(
        "UpdateDatabase",
        "aws.glue",
        &json!({"name": "sales"}),
    ))
    .unwrap();
    let role = "arn:aws:iam::111122223333:role/twinlake/x";
    event["detail"]["userIdentity"] = json!({"sessionContext": {"sessionIssuer": {"arn": role}}});
    let mut listener = listener(&event);
    let bytes = event.to_string().into_bytes();
    assert!(matches!(parse(&bytes, &listener), Ok(Heard::Look(_))));
    listener.ours = OwnRoles::new(["arn:aws:iam::111122223333:role/twinlake/*".to_owned()]);
    assert!(matches!(parse(&bytes, &listener), Ok(Heard::Nothing(_))));
    listener.ours = OwnRoles::default();
    listener.region = "eu-west-1".to_owned();
    assert!(matches!(parse(&bytes, &listener), Ok(Heard::Nothing(_))));
}

/// Any JSON, with the names that events use among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    let words = prop_oneof![
        Just("detail".to_owned()),
        Just("requestParameters".to_owned()),
        Just("eventName".to_owned()),
        Just("databaseName".to_owned()),
        Just("tableName".to_owned()),
        Just("resource".to_owned()),
        Just("table".to_owned()),
        Just("entries".to_owned()),
        Just("Records".to_owned()),
        Just("s3".to_owned()),
        Just("permissions".to_owned()),
        Just("changedTables".to_owned()),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!("GrantPermissions")),
        Just(json!("RevokePermissions")),
        Just(json!("sales")),
        Just(json!("SELECT")),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((words.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_124),
        ..ProptestConfig::default()
    })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = outcome(&bytes);
        let _ = Policy::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn arbitrary_shapes_never_panic(
        detail in any_json(),
        source in prop_oneof![
            Just("aws.glue"), Just("aws.lakeformation"), Just("aws.cloudwatch"), Just("twinlake"),
        ],
        kind in prop_oneof![
            Just("AWS API Call via CloudTrail"), Just("Glue Data Catalog Table State Change"),
            Just("Glue Data Catalog Database State Change"), Just("Glue Job State Change"),
            Just("Glue Statistics Task Failed"), Just("CloudWatch Alarm State Change"),
            Just("Alert"), Just("S3 Replication"),
        ],
    ) {
        let event = json!({
            "source": source, "detail-type": kind, "region": "r", "account": "a", "detail": detail,
        });
        let text = outcome(event.to_string().as_bytes());
        prop_assert!(!text.is_empty());
        let _ = outcome(detail.to_string().as_bytes());
    }

    #[test]
    fn arbitrary_policies_give_an_error_that_names_a_line(text in "[a-z\\[\\]=\"\n.{},0-9 ]{0,80}") {
        if let Err(error) = Policy::parse(&text) {
            prop_assert!(error.line >= 1 && error.line <= text.lines().count().max(1) + 1, "{error}");
        }
    }
}
