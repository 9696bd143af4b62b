//! What the ledger records survives: a crash at any write, a lost response, and another function that
//! reconciles the same subjects at the same time.

use serde_json::{Value, json};
use twinlake_core::plan::FindingKind;
use twinlake_core::topology::SiteId;
use twinlake_core::{CallErrorKind, LfSubject, Name, Scope, Subject, TableId};
use twinlake_engine::ReconcileOutcome;
use twinlake_engine::observe::Prefetched;
use twinlake_sim::{ApiError, InjectedFault, KillSwitch, run_interrupted};
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{ADMIN_ROLE, PRIMARY, STANDBY, TestHarness};
use twinlake_tests::history::table_input;
use twinlake_tests::plans::harness_without_deletion_limit;

const ROLE: &str = "arn:aws:iam::111122223333:role/Analyst";

fn call(harness: &TestHarness, name: &str, request: Value) {
    harness.call(PRIMARY, name, &request).unwrap();
}

fn table_request(columns: &[&str]) -> Value {
    json!({"DatabaseName": "sales", "TableInput": table_input("sales", "orders", columns)})
}

fn function_request(class: &str) -> Value {
    let input = json!({"FunctionName": "mask", "ClassName": class, "ResourceUris": []});
    json!({"DatabaseName": "sales", "FunctionName": "mask", "FunctionInput": input})
}

fn partition_request(version: &str) -> Value {
    let input = json!({
        "Values": ["2026-11-01"], "Parameters": {"version": version},
        "StorageDescriptor": {"Location": "s3://lake-us/sales/orders/dt=1/"},
    });
    json!({"DatabaseName": "sales", "TableName": "orders", "PartitionValueList": ["2026-11-01"],
           "PartitionInput": input})
}

fn filter_request(expression: &str) -> Value {
    json!({"TableData": {
        "DatabaseName": "sales", "TableName": "orders", "Name": "eu", "ColumnNames": ["id"],
        "RowFilter": {"FilterExpression": expression},
    }})
}

fn expression_request(value: &str) -> Value {
    json!({"Name": "teams", "Expression": [{"TagKey": "team", "TagValues": [value]}]})
}

fn registration_request(role: &str) -> Value {
    let role = format!("arn:aws:iam::111122223333:role/{role}");
    json!({"ResourceArn": "arn:aws:s3:::lake-us/sales", "RoleArn": role})
}

fn link_request(database: &str) -> Value {
    let target = json!({"DatabaseName": database, "Region": "eu-west-1"});
    json!({"DatabaseInput": {"Name": "shared", "TargetDatabase": target}})
}

fn grant_request(resource: &Value, permission: &str) -> Value {
    json!({"Principal": {"DataLakePrincipalIdentifier": ROLE}, "Resource": resource,
           "Permissions": [permission]})
}

fn table_resource() -> Value {
    json!({"Table": {"DatabaseName": "sales", "Name": "orders"}})
}

/// Creates an object of every kind in the primary.
fn create_everything(harness: &TestHarness) {
    let input = json!({"Name": "sales", "CreateTableDefaultPermissions": []});
    call(harness, "CreateDatabase", json!({"DatabaseInput": input}));
    let keep =
        json!({"DatabaseName": "sales", "TableInput": table_input("sales", "keep", &["id"])});
    call(harness, "CreateTable", keep);
    call(harness, "CreateTable", table_request(&["id", "amount"]));
    call(harness, "CreatePartition", partition_request("1"));
    call(
        harness,
        "CreateUserDefinedFunction",
        function_request("org.example.Mask"),
    );
    call(harness, "CreateDatabase", link_request("first"));
    let index = json!({"DatabaseName": "sales", "TableName": "orders",
                       "PartitionIndex": {"IndexName": "by_day", "Keys": ["dt"]}});
    call(harness, "CreatePartitionIndex", index);
    let arn = "arn:aws:glue:us-east-1:111122223333:table/sales/orders";
    call(
        harness,
        "TagResource",
        json!({"ResourceArn": arn, "TagsToAdd": {"team": "a"}}),
    );
    call(
        harness,
        "CreateLFTag",
        json!({"TagKey": "keep", "TagValues": ["x"]}),
    );
    call(
        harness,
        "CreateLFTag",
        json!({"TagKey": "team", "TagValues": ["a", "b"]}),
    );
    let keep = json!({"Name": "keep", "Expression": [{"TagKey": "keep", "TagValues": ["x"]}]});
    call(harness, "CreateLFTagExpression", keep);
    call(harness, "CreateLFTagExpression", expression_request("a"));
    let keep = json!({"ResourceArn": "arn:aws:s3:::lake-us/keep", "RoleArn": ROLE});
    call(harness, "RegisterResource", keep);
    call(harness, "RegisterResource", registration_request("First"));
    let tags = json!([{"TagKey": "team", "TagValues": ["a"]}]);
    let assignment = json!({"Resource": table_resource(), "LFTags": tags});
    call(harness, "AddLFTagsToResource", assignment);
    call(harness, "CreateDataCellsFilter", filter_request("id > 1"));
    let principal = json!({"DataLakePrincipalIdentifier": ROLE});
    let opt_in = json!({"Principal": principal, "Resource": table_resource()});
    call(harness, "CreateLakeFormationOptIn", opt_in);
    let tag = json!({"LFTag": {"TagKey": "team", "TagValues": ["a"]}});
    let expression = json!({"LFTagExpression": {"Name": "teams"}});
    for (resource, permission) in [
        (table_resource(), "SELECT"),
        (json!({"Catalog": {}}), "CREATE_DATABASE"),
        (tag, "ASSOCIATE"),
        (expression, "DESCRIBE"),
    ] {
        call(
            harness,
            "GrantPermissions",
            grant_request(&resource, permission),
        );
    }
}

/// Changes the content of everything in the primary, so that nothing in the standby equals it.
fn change_everything(harness: &TestHarness) {
    let input = json!({"Name": "sales", "Description": "v2", "CreateTableDefaultPermissions": []});
    call(
        harness,
        "UpdateDatabase",
        json!({"Name": "sales", "DatabaseInput": input}),
    );
    call(harness, "UpdateTable", table_request(&["id", "note"]));
    call(harness, "UpdatePartition", partition_request("2"));
    call(
        harness,
        "UpdateUserDefinedFunction",
        function_request("org.example.Mask2"),
    );
    call(harness, "DeleteDatabase", json!({"Name": "shared"}));
    call(harness, "CreateDatabase", link_request("second"));
    call(harness, "UpdateLFTagExpression", expression_request("b"));
    call(harness, "UpdateResource", registration_request("Second"));
    call(harness, "UpdateDataCellsFilter", filter_request("id > 2"));
}

/// Deletes in the primary what belongs to the whole catalog, the function, and the table.
fn delete_catalog_items(harness: &TestHarness) {
    let function = json!({"DatabaseName": "sales", "FunctionName": "mask"});
    call(harness, "DeleteUserDefinedFunction", function);
    call(harness, "DeleteDatabase", json!({"Name": "shared"}));
    let tag = json!({"LFTag": {"TagKey": "team", "TagValues": ["a"]}});
    let expression = json!({"LFTagExpression": {"Name": "teams"}});
    for (resource, permission) in [(tag, "ASSOCIATE"), (expression, "DESCRIBE")] {
        call(
            harness,
            "RevokePermissions",
            grant_request(&resource, permission),
        );
    }
    let tags = json!([{"TagKey": "team", "TagValues": ["a"]}]);
    let assignment = json!({"Resource": table_resource(), "LFTags": tags});
    call(harness, "RemoveLFTagsFromResource", assignment);
    call(harness, "DeleteLFTagExpression", json!({"Name": "teams"}));
    call(harness, "DeleteLFTag", json!({"TagKey": "team"}));
    let arn = "arn:aws:s3:::lake-us/sales";
    call(harness, "DeregisterResource", json!({"ResourceArn": arn}));
    let table = json!({"DatabaseName": "sales", "Name": "orders"});
    call(harness, "DeleteTable", table);
}

fn assert_nothing_is_foreign(outcome: &ReconcileOutcome, context: &str) {
    let findings = outcome.findings.iter();
    let foreign: Vec<_> = findings
        .filter(|finding| finding.kind == FindingKind::Unmanaged)
        .collect();
    assert!(foreign.is_empty(), "{context}: {foreign:#?}");
}

/// Resyncs until nothing waits, and compares the Regions.
fn assert_converges(harness: &TestHarness, context: &str) {
    // What another function was about to create is remembered as long as a function may run.
    harness.sim.state().advance_secs(20 * 60);
    let mut report = harness.resync().unwrap();
    assert_nothing_is_foreign(&report.outcome, context);
    // A partition index that is being deleted is waited for (GL-06), and the absence of an object
    // that was never made is proven once its siblings are there.
    let has_unproven_absence = |report: &ReconcileOutcome| {
        let mut findings = report.findings.iter();
        findings.any(|finding| finding.kind == FindingKind::Denied)
    };
    for _ in 0..3 {
        if report.outcome.waiting.is_some() || has_unproven_absence(&report.outcome) {
            report = harness.resync().unwrap();
        }
    }
    assert_nothing_is_foreign(&report.outcome, context);
    assert!(
        report.outcome.is_settled(),
        "{context}: {:#?}",
        report.outcome
    );
    let differences = equality_oracle::differences(&harness.sim.state(), &[]);
    assert!(
        differences.is_empty(),
        "{context}: {differences:#?}, {:#?}",
        report.outcome.findings
    );
    let contents = harness.ledger.contents();
    for row in contents.rows.values() {
        assert!(row.intents.is_empty(), "{context}: {row:#?}");
        let mut keys = row.managed_keys.iter();
        assert!(!keys.any(|key| key.contains('=')), "{context}: {row:#?}");
    }
}

/// The indexes and names of the calls that a first resync makes to write.
fn write_calls() -> Vec<(usize, String)> {
    let harness = harness_without_deletion_limit();
    create_everything(&harness);
    let _ = harness.take_calls();
    harness.resync().unwrap();
    let calls = harness.sim.state().take_calls();
    let is_read = |name: &str| {
        ["Get", "List", "Search", "BatchGet", "Describe"]
            .iter()
            .any(|verb| name.starts_with(verb))
    };
    let calls = calls.into_iter().map(|call| call.name).enumerate();
    calls.filter(|(_, name)| !is_read(name)).collect()
}

#[test]
fn a_crash_at_any_write_leaves_nothing_that_the_next_run_takes_for_foreign() {
    let writes = write_calls();
    for expected in [
        "CreateDatabase",
        "CreateTable",
        "BatchCreatePartition",
        "CreateUserDefinedFunction",
        "TagResource",
        "CreateLFTag",
        "CreateLFTagExpression",
        "RegisterResource",
        "AddLFTagsToResource",
        "CreateDataCellsFilter",
        "CreateLakeFormationOptIn",
        "BatchGrantPermissions",
    ] {
        assert!(
            writes.iter().any(|(_, name)| name == expected),
            "{expected}: {writes:?}"
        );
    }
    let changes: [fn(&TestHarness); 3] = [|_| {}, change_everything, delete_catalog_items];
    for (call_index, name) in &writes {
        for after_effect in [false, true] {
            for (number, change) in changes.iter().enumerate() {
                let harness = harness_without_deletion_limit();
                create_everything(&harness);
                let kill = KillSwitch {
                    call_index: *call_index,
                    after_effect,
                };
                harness.sim.state().set_kill_switch(kill);
                assert!(harness.resync().is_none());
                harness.sim.state().clear_call_faults();
                change(&harness);
                let context = format!("{name} {call_index}, {after_effect}, change {number}");
                assert_converges(&harness, &context);
            }
        }
    }
}

#[test]
fn what_a_call_with_a_lost_response_created_is_not_foreign() {
    for (call_index, name) in write_calls() {
        for change in [change_everything, delete_catalog_items] {
            let harness = harness_without_deletion_limit();
            create_everything(&harness);
            let error = ApiError::new(CallErrorKind::Unavailable, "InternalFailure", "lost");
            harness.sim.state().inject_fault(InjectedFault {
                region: None,
                call: None,
                skip_calls: call_index,
                times: 1,
                error,
                takes_effect: true,
            });
            harness.resync().unwrap();
            harness.sim.state().clear_call_faults();
            change(&harness);
            assert_converges(&harness, &format!("{name} {call_index}"));
        }
    }
}

#[test]
fn an_item_that_somebody_else_makes_after_a_failed_creation_is_foreign() {
    let harness = harness_without_deletion_limit();
    create_everything(&harness);
    let fault = InjectedFault {
        times: usize::MAX,
        ..InjectedFault::once(
            STANDBY,
            "CreateLFTagExpression",
            ApiError::new(CallErrorKind::Unavailable, "InternalFailure", "not made"),
        )
    };
    harness.sim.state().inject_fault(fault);
    harness.resync().unwrap();
    harness.sim.state().clear_call_faults();
    let other = json!({"Name": "teams", "Expression": [{"TagKey": "team", "TagValues": ["b"]}]});
    let request = json!({"TagKey": "team", "TagValues": ["a", "b"]});
    let _ = harness.call(STANDBY, "CreateLFTag", &request);
    harness
        .call(STANDBY, "CreateLFTagExpression", &other)
        .unwrap();
    let report = harness.resync().unwrap();
    let subject = Subject::LakeFormation(LfSubject::LfTagExpressions);
    let mut findings = report.outcome.findings.iter();
    assert!(
        findings
            .any(|finding| finding.subject == subject && finding.kind == FindingKind::Unmanaged),
        "{:#?}",
        report.outcome.findings
    );
}

fn sales() -> Scope {
    Scope::database(Name::new("sales").unwrap())
}

fn orders() -> TableId {
    TableId::new(Name::new("sales").unwrap(), Name::new("orders").unwrap())
}

/// Something that happens while a function reconciles the database, before another one does so.
type Meanwhile = fn(&TestHarness);

const MEANWHILE: [(&str, Meanwhile); 4] = [
    ("nothing changed", |_| {}),
    ("the table changed", |harness| {
        call(harness, "UpdateTable", table_request(&["id", "note"]));
    }),
    ("the standby's table was lost", |harness| {
        let request = json!({"DatabaseName": "sales", "Name": "orders"});
        harness.sim.state().advance_secs(5);
        let _ = harness.call(STANDBY, "DeleteTable", &request);
        call(harness, "UpdateTable", table_request(&["id", "note"]));
    }),
    ("the database was dropped", |harness| {
        call(harness, "DeleteDatabase", json!({"Name": "sales"}));
    }),
];

fn assert_row_is_paired_with_the_table(harness: &TestHarness, context: &str) {
    let Some(table) = harness.sim.state().raw_tables(STANDBY).remove(&orders()) else {
        return;
    };
    let rows = harness.ledger.contents().rows;
    let row = &rows[&Subject::Table(orders())];
    let standby: SiteId = harness.epoch().standby();
    let paired = row
        .pairing
        .as_ref()
        .map(|pairing| pairing.created_in(standby));
    assert!(
        paired == Some(table.created) || !row.intents.is_empty(),
        "{context}: {row:#?}, {:?}",
        table.created
    );
}

#[test]
fn two_functions_on_one_database_lose_no_pairing_and_no_intent() {
    for (name, meanwhile) in MEANWHILE {
        for is_replicated in [false, true] {
            for call_index in 0.. {
                let harness = harness_without_deletion_limit();
                create_everything(&harness);
                if is_replicated {
                    harness.resync().unwrap();
                    call(&harness, "UpdateTable", table_request(&["id"]));
                }
                let context = format!("{name}, {is_replicated}, before call {call_index}");
                let (reconciled, other) = {
                    let engine_context = harness.context();
                    let prefetched = Prefetched::default();
                    let scope = sales();
                    let first = twinlake_engine::reconcile(&engine_context, &scope, &prefetched);
                    run_interrupted(&harness.sim, first, call_index, || {
                        meanwhile(&harness);
                        harness.reconcile(&sales()).unwrap()
                    })
                };
                let Some(other) = other else {
                    break;
                };
                assert_nothing_is_foreign(&other, &format!("the other function, {context}"));
                assert_nothing_is_foreign(&reconciled.unwrap(), &context);
                assert_row_is_paired_with_the_table(&harness, &context);
                if name == "the database was dropped" {
                    let _ = harness.resync().unwrap();
                } else {
                    change_everything(&harness);
                }
                assert_converges(&harness, &context);
            }
        }
    }
}

#[test]
fn an_administrator_added_before_a_crash_is_removed_when_the_primary_removes_it() {
    let policy = twinlake_tests::harness::policy("data-lake-settings = \"merge\"");
    let harness = TestHarness::new(policy);
    create_everything(&harness);
    let settings = |admins: &[&str]| {
        let admins = admins
            .iter()
            .map(|arn| json!({"DataLakePrincipalIdentifier": arn}));
        let admins: Vec<Value> = admins.collect();
        json!({"DataLakeSettings": {"DataLakeAdmins": admins}})
    };
    let twinlake = twinlake_tests::harness::TWINLAKE_ROLE;
    call(
        &harness,
        "PutDataLakeSettings",
        settings(&[twinlake, ADMIN_ROLE, ROLE]),
    );
    let _ = harness.take_calls();
    let position = {
        let names = |harness: &TestHarness| {
            let calls = harness.sim.state().take_calls();
            calls.into_iter().map(|call| call.name).collect::<Vec<_>>()
        };
        let trial = TestHarness::new(harness.policy.clone());
        create_everything(&trial);
        call(
            &trial,
            "PutDataLakeSettings",
            settings(&[twinlake, ADMIN_ROLE, ROLE]),
        );
        let _ = trial.take_calls();
        trial.resync().unwrap();
        names(&trial)
            .iter()
            .position(|name| name == "PutDataLakeSettings")
            .unwrap()
    };
    let kill = KillSwitch {
        call_index: position,
        after_effect: true,
    };
    harness.sim.state().set_kill_switch(kill);
    assert!(harness.resync().is_none());
    harness.sim.state().clear_call_faults();
    call(
        &harness,
        "PutDataLakeSettings",
        settings(&[twinlake, ADMIN_ROLE]),
    );
    harness.resync().unwrap();
    let standby = harness
        .sim
        .state()
        .call(STANDBY, ADMIN_ROLE, "GetDataLakeSettings", &json!({}))
        .unwrap();
    assert!(!standby.to_string().contains(ROLE), "{standby}");
}

#[test]
fn two_functions_at_once_delete_no_more_than_the_limit() {
    let request = |name: &str| json!({"DatabaseName": "sales", "Name": name});
    let names = ["t0", "t1", "t2", "t3"];
    let mut deleted_at_most = 0;
    for call_index in 0.. {
        let limit = "deletion-limit = { fraction = 0.0, minimum = 2 }";
        let harness = TestHarness::new(twinlake_tests::harness::policy(limit));
        let input = json!({"Name": "sales", "CreateTableDefaultPermissions": []});
        call(&harness, "CreateDatabase", json!({"DatabaseInput": input}));
        for name in ["keep"].iter().chain(&names) {
            let input = table_input("sales", name, &["id"]);
            let request = json!({"DatabaseName": "sales", "TableInput": input});
            call(&harness, "CreateTable", request);
        }
        harness.resync().unwrap();
        let input =
            json!({"Name": "sales", "Description": "v2", "CreateTableDefaultPermissions": []});
        let update = json!({"Name": "sales", "DatabaseInput": input});
        call(&harness, "UpdateDatabase", update);
        call(&harness, "DeleteTable", request("t0"));
        call(&harness, "DeleteTable", request("t1"));
        let context = harness.context();
        let first = twinlake_engine::resync::resync(
            &context,
            harness.resync_depth,
            None,
            None::<&twinlake_tests::harness::TestQueue>,
            &(),
        );
        let (_, other) = run_interrupted(&harness.sim, first, call_index, || {
            let mut scope = Scope::default();
            for name in ["t2", "t3"] {
                call(&harness, "DeleteTable", request(name));
                let id = TableId::new(Name::new("sales").unwrap(), Name::new(name).unwrap());
                scope.merge(Scope::table(id));
            }
            let requests = scope.read_requests.values_mut();
            requests.for_each(|request| request.deletion_named = true);
            harness.reconcile(&scope).unwrap()
        });
        if other.is_none() {
            break;
        }
        let tables = harness.sim.state().raw_tables(STANDBY);
        let deleted = names.len() + 1 - tables.len();
        assert!(deleted <= 2, "before call {call_index}: {deleted} deleted");
        deleted_at_most = deleted_at_most.max(deleted);
    }
    assert_eq!(deleted_at_most, 2);
}
