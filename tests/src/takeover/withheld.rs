//! Changes in a former primary that are withheld from the primary, and what a report says of them.

use crate::harness::{PRIMARY, STANDBY, TestHarness};
use crate::history::table_input;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::divergence::{DivergenceReport, FormerChangeKind};
use twinlake_core::step::RevokeCause;
use twinlake_core::{Step, Subject};

/// The databases of the new primary whose default permissions are open, and closed in the former primary.
///
/// # Panics
/// They cannot be listed.
#[must_use]
pub fn databases_opened(harness: &TestHarness) -> BTreeSet<String> {
    let open = |region: &str| -> BTreeSet<String> {
        let found = harness.call(region, "GetDatabases", &json!({}));
        let found = found.unwrap();
        let databases = found["DatabaseList"].as_array().unwrap().iter();
        let open = databases.filter(|one| {
            let defaults = one["CreateTableDefaultPermissions"].as_array();
            defaults.is_some_and(|defaults| !defaults.is_empty())
        });
        open.map(|one| one["Name"].as_str().unwrap().to_owned())
            .collect()
    };
    open(STANDBY).difference(&open(PRIMARY)).cloned().collect()
}

/// Makes changes in the former primary that are withheld from the primary, by the bits of a number: a table and a
/// partition outside of the pairs, an Iceberg table with a grant, a database outside of the pairs.
///
/// # Panics
/// The databases cannot be listed.
pub fn withhold(harness: &TestHarness, bits: u8) {
    let call = |name: &str, request: &Value| harness.call(PRIMARY, name, request);
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.map(|one| one["Name"].as_str().unwrap().to_owned())
            .collect()
    };
    let databases = names(&call("GetDatabases", &json!({})).unwrap()["DatabaseList"]);
    for database in &databases {
        let request = json!({"DatabaseName": database});
        let Ok(found) = call("GetTables", &request) else {
            continue;
        };
        for (index, table) in names(&found["TableList"]).iter().enumerate() {
            if bits & 1 != 0 && index % 2 == 0 {
                let mut input = table_input(database, table, &[]);
                input["StorageDescriptor"] = found["TableList"][index]["StorageDescriptor"].clone();
                let text = input
                    .to_string()
                    .replace("s3://lake-us/", "s3://elsewhere/");
                let input: Value = serde_json::from_str(&text).unwrap();
                let request = json!({"DatabaseName": database, "TableInput": input});
                let _ = call("UpdateTable", &request);
            }
            if bits & 2 != 0 {
                let input = json!({
                    "Values": ["2026-12-01"],
                    "StorageDescriptor": {"Location": "s3://elsewhere/dt=2026-12-01/"},
                });
                let request =
                    json!({"DatabaseName": database, "TableName": table, "PartitionInput": input});
                let _ = call("CreatePartition", &request);
            }
        }
        if bits & 4 != 0 {
            let mut input = table_input(database, "ice", &["c0"]);
            input["Parameters"] =
                json!({"table_type": "ICEBERG", "metadata_location": "s3://lake-us/ice/1.json"});
            let request = json!({"DatabaseName": database, "TableInput": input});
            let _ = call("CreateTable", &request);
            let request = json!({
                "Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Late"},
                "Resource": {"Table": {"DatabaseName": database, "Name": "ice"}},
                "Permissions": ["SELECT"],
            });
            let _ = call("GrantPermissions", &request);
        }
    }
    if let (Some(database), true) = (databases.last(), bits & 8 != 0) {
        let input = json!({"Name": database, "LocationUri": "s3://elsewhere/",
                           "CreateTableDefaultPermissions": []});
        let request = json!({"Name": database, "DatabaseInput": input});
        let _ = call("UpdateDatabase", &request);
    }
}

/// The steps that take something away from the former primary once the report is accepted, and whose subject the
/// report does not name, nor its database as one that is only there.
#[must_use]
pub fn unnamed_steps(report: &DivergenceReport) -> Vec<String> {
    let named: BTreeSet<&Subject> = report.changes.iter().map(|one| &one.subject).collect();
    let only_there = report.changes.iter();
    let only_there = only_there.filter(|one| one.kind == FormerChangeKind::OnlyThere);
    let only_there: BTreeSet<&Subject> = only_there.map(|one| &one.subject).collect();
    let takes_away = |step: &&Step| {
        let is_revoke =
            matches!(step, Step::Revoke { cause, .. } if *cause != RevokeCause::Replace);
        is_revoke
            || matches!(
                step,
                Step::DeleteDatabase { .. }
                    | Step::DeleteTable { .. }
                    | Step::DeleteFunction { .. }
                    | Step::DeletePartition { .. }
                    | Step::RemoveAttachment { .. }
            )
    };
    let is_named = |step: &&Step| {
        let subject = step.subject();
        let database = subject.database().cloned().map(Subject::Database);
        named.contains(&subject) || database.is_some_and(|database| only_there.contains(&database))
    };
    let steps = report.plan.steps.iter().filter(takes_away);
    let unnamed = steps.filter(|step| !is_named(step));
    unnamed.map(|step| format!("{step:?}")).collect()
}
