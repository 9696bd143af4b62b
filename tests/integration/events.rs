//! Parses every file in `events/` and compares the result (a scope, an alert, or the reason why the
//! event is ignored) with `tests/events.out`. Parses random and malformed input, which must not
//! panic.

mod permission_calls;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use twinlake_core::event::{
    EventContext, OperationalEvent, Parsed, ParsedNotifications, parse, parse_operational_event,
    parse_replication, replication_alerts,
};
use twinlake_core::grant::GrantMapping;
use twinlake_core::scope::Scope;
use twinlake_core::{OwnRoles, Policy, Timestamp};

/// Returns the context of the Region and account that an event is from.
fn event_context(event: &Value) -> EventContext {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    EventContext {
        region: text("region"),
        account: text("account"),
        own_roles: OwnRoles::default(),
        grant_mapping: GrantMapping::default(),
        now: Timestamp::default(),
    }
}

fn describe_event(bytes: &[u8]) -> String {
    let event: Value = serde_json::from_slice(bytes).unwrap_or_default();
    match parse(bytes, &event_context(&event)) {
        Ok(Parsed::Scope(scope)) => {
            let read_requests = scope.read_requests.iter().map(|(subject, read_request)| {
                let items = read_request.deleted_items.iter();
                let items: Vec<String> = items.map(|item| format!("{item:?}")).collect();
                let items = match items.is_empty() {
                    true => String::new(),
                    false => format!(" (deletion of {})", items.join(", ")),
                };
                let named = match (
                    read_request.deletion_named,
                    read_request.unnamed_partitions_deleted,
                    read_request.deletable_partitions.is_empty(),
                ) {
                    (true, _, _) => " (deletion named)",
                    (false, true, _) => " (deletion of unnamed partitions)",
                    (false, false, false) => " (deletion of the partitions named)",
                    (false, false, true) => "",
                };
                let values = match read_request.partition_values.is_empty() {
                    true => String::new(),
                    false => format!(" at {:?}", read_request.partition_values),
                };
                format!("{subject} {:?}{values}{named}{items}", read_request.facets)
            });
            let named_revokes = scope
                .named_revokes
                .keys()
                .map(|grant| format!("revoke of {grant}"));
            read_requests
                .chain(named_revokes)
                .collect::<Vec<_>>()
                .join("; ")
        }
        Ok(Parsed::Ignored(reason)) => match parse_operational_event(bytes, &event_context(&event))
        {
            Ok(OperationalEvent::Alert(alert)) => {
                format!("alert {}: {}", alert.kind, alert.summary)
            }
            Ok(
                OperationalEvent::Resolved(..)
                | OperationalEvent::Ignored(_)
                | OperationalEvent::OutOfBandChange(_)
                | OperationalEvent::PeerAlert(_),
            )
            | Err(_) => {
                format!("ignored: {reason}")
            }
        },
        Err(reason) => describe_operational_event(bytes, &event, &reason.0),
    }
}

fn describe_operational_event(bytes: &[u8], event: &Value, reason: &str) -> String {
    match parse_operational_event(bytes, &event_context(event)) {
        Ok(OperationalEvent::Alert(alert)) => format!("alert {}: {}", alert.kind, alert.summary),
        Ok(OperationalEvent::Resolved(kind, subject, _)) => format!("resolved: {kind} {subject}"),
        Ok(OperationalEvent::PeerAlert(alert)) => format!("alert of the peer: {}", alert.key()),
        Ok(OperationalEvent::OutOfBandChange(change)) => {
            format!("out-of-band change: {} on {}", change.action, change.scope)
        }
        Ok(OperationalEvent::Ignored(reason)) => format!("ignored: {reason}"),
        Err(_) => match parse_replication(bytes, Timestamp::default()) {
            Ok(ParsedNotifications::Notices(notices, _)) => {
                let unmapped: Vec<_> = notices.into_iter().map(|notice| (notice, None)).collect();
                replication_alerts(&unmapped)
            }
            .iter()
            .map(|alert| {
                format!(
                    "alert {}: {} {:?}",
                    alert.kind, alert.summary, alert.samples
                )
            })
            .collect(),
            Ok(ParsedNotifications::TestEvent) => "ignored: a test event of S3".to_owned(),
            Err(other) => format!("not recognized: {reason} / {}", other.0),
        },
    }
}

/// Returns the messages in the records of SQS and SNS.
fn messages(event: &Value) -> Vec<Vec<u8>> {
    let records = event["Records"].as_array().into_iter().flatten();
    let texts = records.filter_map(|record| {
        let body = record["body"].as_str();
        body.or_else(|| record["Sns"]["Message"].as_str())
    });
    texts.map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn every_event_file_is_parsed_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    files.sort();
    assert!(files.len() > 60);
    let mut described = String::new();
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&file).unwrap();
        let event: Value = serde_json::from_slice(&bytes).unwrap();
        let messages = messages(&event);
        let all = match name.starts_with("lambda-") {
            true => messages,
            false => vec![bytes],
        };
        for bytes in all {
            writeln!(described, "{name}: {}", describe_event(&bytes)).unwrap();
        }
    }
    let expected_path = Path::new(env!("CARGO_MANIFEST_DIR")).join("events.out");
    if option_env!("UPDATE").is_some() {
        std::fs::write(&expected_path, &described).unwrap();
    }
    let expected = std::fs::read_to_string(&expected_path).unwrap();
    for (line, expected_line) in described.lines().zip(expected.lines()) {
        assert_eq!(line, expected_line);
    }
    assert_eq!(described.lines().count(), expected.lines().count());
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
fn malformed_events_are_not_recognized() {
    let deeply_nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let too_large = json!({"source": "aws.glue", "x": "y".repeat(256 * 1024)}).to_string();
    let long_name = json!({"source": "aws.glue", "region": "us-east-1", "account": "111122223333",
        "detail-type": "Glue Data Catalog Table State Change",
        "detail": {"databaseName": "d".repeat(300), "tableName": "t"}})
    .to_string();
    let control_character = long_name.replace(&"d".repeat(300), "a\\u001b[2J");
    let cases = [
        "",
        "{",
        "null",
        "[]",
        "\"x\"",
        "{}",
        "\u{feff}{}",
        &deeply_nested,
        &too_large,
        &long_name,
        &control_character,
        "{\"source\": 1, \"detail\": []}",
    ];
    for case in cases {
        let text = describe_event(case.as_bytes());
        assert!(text.starts_with("not recognized"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn omitted_parameters_widen_the_scope() {
    let omitted = json!({"omitted": "true", "reason": "requestParameters too large"});
    let cases = [
        ("UpdateTable", "aws.glue"),
        ("GrantPermissions", "aws.lakeformation"),
        ("BatchRevokePermissions", "aws.lakeformation"),
        ("SomethingNew", "aws.glue"),
    ];
    for (name, source) in cases {
        let text = describe_event(&cloudtrail(name, source, &omitted));
        assert!(text.starts_with("catalog"), "{name}: {text}");
    }
    // An unknown operation that names a table has the scope of that table.
    let known = json!({"databaseName": "sales", "tableName": "orders"});
    let text = describe_event(&cloudtrail("SomethingNew", "aws.glue", &known));
    assert!(text.starts_with("table sales.orders"), "{text}");
}

#[test]
fn a_call_on_another_catalog_is_refused_with_a_reason() {
    let orders = json!({"databaseName": "sales", "name": "orders"});
    let filter = json!({"databaseName": "sales", "tableName": "orders", "name": "f"});
    let with = |object: &Value, key: &str, id: &str| {
        let mut object = object.clone();
        object[key] = json!(id);
        object
    };
    let who = json!({"dataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Analyst"});
    for id in [
        "111122223333:s3tablescatalog/analytics-bucket",
        "111122223333:federated",
        "444455556666",
        "s3tablescatalog",
    ] {
        let table = json!({"table": with(&orders, "catalogId", id)});
        let entry = |resource: &Value| json!({"principal": who, "resource": resource, "permissions": ["SELECT"]});
        let lake_formation = [
            ("RevokePermissions", entry(&table)),
            (
                "RevokePermissions",
                with(&entry(&json!({"table": orders})), "catalogId", id),
            ),
            ("GrantPermissions", entry(&json!({"catalog": {"id": id}}))),
            (
                "RevokePermissions",
                entry(&json!({"dataCellsFilter": with(&filter, "tableCatalogId", id)})),
            ),
            (
                "RevokePermissions",
                entry(&json!({"lfTag": {"catalogId": id, "tagKey": "a", "tagValues": ["b"]}})),
            ),
            (
                "BatchRevokePermissions",
                json!({"entries": [entry(&table)]}),
            ),
            ("AddLFTagsToResource", json!({"resource": table})),
            (
                "DeleteLakeFormationOptIn",
                json!({"principal": who, "resource": table}),
            ),
            ("DeleteDataCellsFilter", with(&filter, "tableCatalogId", id)),
            (
                "UpdateDataCellsFilter",
                json!({"tableData": with(&filter, "tableCatalogId", id)}),
            ),
            ("DeleteLFTag", json!({"catalogId": id, "tagKey": "a"})),
            ("PutDataLakeSettings", json!({"catalogId": id})),
        ];
        let glue = [
            ("DeleteTable", with(&orders, "catalogId", id)),
            ("DeleteDatabase", json!({"name": "sales", "catalogId": id})),
            (
                "BatchDeletePartition",
                json!({"databaseName": "sales", "tableName": "orders", "catalogId": id}),
            ),
            (
                "DeleteUserDefinedFunction",
                json!({"databaseName": "sales", "functionName": "f", "catalogId": id}),
            ),
        ];
        let lake_formation = lake_formation
            .map(|(name, request)| (name, cloudtrail(name, "aws.lakeformation", &request)));
        let glue = glue.map(|(name, request)| (name, cloudtrail(name, "aws.glue", &request)));
        for (name, event) in lake_formation.into_iter().chain(glue) {
            let text = describe_event(&event);
            let reason = format!("ignored: it is about \"{id}\", which is not the default catalog");
            assert!(text.starts_with(&reason), "{name}: {text}");
        }
    }
}

#[test]
fn an_arn_of_another_catalog_is_refused_with_a_reason() {
    let nested = "111122223333:table/s3tablescatalog/analytics-bucket/sales/orders";
    let omitted = json!({"omitted": "true"});
    let orders = json!({"databaseName": "sales", "name": "orders"});
    for (path, request) in [
        (nested, &omitted),
        ("444455556666:table/sales/orders", &omitted),
        ("111122223333:table/federated/sales/orders", &orders),
        (nested, &orders),
    ] {
        let mut event: Value =
            serde_json::from_slice(&cloudtrail("DeleteTable", "aws.glue", request)).unwrap();
        let arn = format!("arn:aws:glue:us-east-1:{path}");
        event["detail"]["resources"] = json!([{"ARN": arn}]);
        let text = describe_event(event.to_string().as_bytes());
        assert!(text.starts_with("ignored: it is about"), "{path}: {text}");
        let native = json!({
            "source": "aws.glue", "detail-type": "Glue Data Catalog Database State Change",
            "region": "us-east-1", "account": "111122223333", "resources": [arn],
            "detail": {"typeOfChange": "DeleteTable", "databaseName": "sales",
                       "changedTables": ["orders"]},
        });
        let text = describe_event(native.to_string().as_bytes());
        assert!(text.starts_with("ignored: it is about"), "{path}: {text}");
    }
    let tagged = json!({"resourceArn": format!("arn:aws:glue:us-east-1:{nested}")});
    let text = describe_event(&cloudtrail("TagResource", "aws.glue", &tagged));
    assert!(text.starts_with("ignored: it is about"), "{text}");
}

#[test]
fn a_name_that_cannot_be_read_does_not_widen_the_scope() {
    let bad = ["", "a\u{1b}[2J", &"x".repeat(5000)];
    for bad in bad {
        let table = json!({"databaseName": "sales", "name": bad});
        let calls = [
            ("DeleteTable", "aws.glue", table.clone()),
            (
                "CreateTable",
                "aws.glue",
                json!({"databaseName": "sales", "tableInput": {"name": bad}}),
            ),
            ("UpdateDatabase", "aws.glue", json!({"name": bad})),
            (
                "BatchDeleteTable",
                "aws.glue",
                json!({"databaseName": "sales", "tablesToDelete": [bad]}),
            ),
            (
                "DeleteUserDefinedFunction",
                "aws.glue",
                json!({"databaseName": "sales", "functionName": bad}),
            ),
            (
                "SomethingNew",
                "aws.glue",
                json!({"databaseName": bad, "tableName": "t"}),
            ),
            (
                "GrantPermissions",
                "aws.lakeformation",
                json!({"resource": {"table": table}}),
            ),
            (
                "BatchRevokePermissions",
                "aws.lakeformation",
                json!({"entries": [{"resource": {"database": {"name": bad}}}]}),
            ),
            (
                "AddLFTagsToResource",
                "aws.lakeformation",
                json!({"resource": {"table": table}}),
            ),
            (
                "CreateDataCellsFilter",
                "aws.lakeformation",
                json!({"tableData": {"databaseName": "sales", "tableName": bad}}),
            ),
            (
                "CreateLakeFormationOptIn",
                "aws.lakeformation",
                json!({"resource": {"database": {"name": bad}}}),
            ),
        ];
        for (name, source, request) in calls {
            let text = describe_event(&cloudtrail(name, source, &request));
            let reason = format!("not recognized: no valid name in \"{name}\"");
            assert!(text.starts_with(&reason), "{name} {bad:?}: {text}");
        }
    }
    let nothing_revoked = json!({"entries": []});
    let text = describe_event(&cloudtrail(
        "BatchRevokePermissions",
        "aws.lakeformation",
        &nothing_revoked,
    ));
    assert!(text.starts_with("ignored"), "{text}");
    let only_database = json!({"databaseName": "sales"});
    let text = describe_event(&cloudtrail("UpdateTable", "aws.glue", &only_database));
    assert!(text.starts_with("database sales"), "{text}");
    assert!(!text.contains("deletion named"), "{text}");
}

#[test]
fn own_calls_and_events_of_other_regions_are_ignored() {
    let mut event: Value = serde_json::from_slice(&cloudtrail(
        "UpdateDatabase",
        "aws.glue",
        &json!({"name": "sales"}),
    ))
    .unwrap();
    let role = "arn:aws:iam::111122223333:role/twinlake/x";
    event["detail"]["userIdentity"] = json!({"sessionContext": {"sessionIssuer": {"arn": role}}});
    let mut event_context = event_context(&event);
    let bytes = event.to_string().into_bytes();
    assert!(matches!(
        parse(&bytes, &event_context),
        Ok(Parsed::Scope(_))
    ));
    event_context.own_roles =
        OwnRoles::new(["arn:aws:iam::111122223333:role/twinlake/*".to_owned()]);
    assert!(matches!(
        parse(&bytes, &event_context),
        Ok(Parsed::Ignored(_))
    ));
    event_context.own_roles = OwnRoles::default();
    event_context.region = "eu-west-1".to_owned();
    assert!(matches!(
        parse(&bytes, &event_context),
        Ok(Parsed::Ignored(_))
    ));
}

/// Generates any JSON value. Its keys include those of events.
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
        let _ = describe_event(&bytes);
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
        let text = describe_event(event.to_string().as_bytes());
        prop_assert!(!text.is_empty());
        let _ = describe_event(detail.to_string().as_bytes());
    }

    #[test]
    fn arbitrary_policies_give_an_error_that_names_a_line(text in "[a-z\\[\\]=\"\n.{},0-9 ]{0,80}") {
        if let Err(error) = Policy::parse(&text) {
            prop_assert!(error.line >= 1 && error.line <= text.lines().count().max(1) + 1, "{error}");
        }
    }
}
