//! What the policy or the mapping withholds from the standby: no switchover loses it, and no acceptance gives it up
//! unless the report names it.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::divergence::{DivergenceReport, FormerChange, FormerChangeKind};
use twinlake_core::failover::{FailoverGate, FailoverStage, ForceableGate};
use twinlake_core::iceberg_replica::{IcebergEntry, IcebergReplica, RelocatedCommit};
use twinlake_core::topology::RegionRole;
use twinlake_core::{LedgerRow, Name, Subject, SubjectState, TableId};
use twinlake_engine::Ledger as _;
use twinlake_engine::failover::FailoverError;
use twinlake_engine::ports::ReadRegion as _;
use twinlake_tests::harness::{PRIMARY, policy};
use twinlake_tests::history::table_input;
use twinlake_tests::takeover::pair::Pair;
use twinlake_tests::takeover::ready;

fn table(name: &str) -> Subject {
    let (database, table) = (Name::from_service("sales"), Name::from_service(name));
    Subject::Table(TableId::new(database, table))
}

/// Calls the primary; no event of it arrives.
fn call(pair: &Pair, name: &str, request: &Value) {
    pair.harness.call(PRIMARY, name, request).unwrap();
}

/// Moves a table out of the pairs of the policy.
fn move_elsewhere(pair: &Pair, name: &str, to: &str) {
    let text = table_input("sales", name, &["id"]).to_string();
    let input: Value = serde_json::from_str(&text.replace("s3://lake-us/", to)).unwrap();
    let request = json!({"DatabaseName": "sales", "TableInput": input});
    call(pair, "UpdateTable", &request);
}

/// Adds a partition to a table, outside of the pairs of the policy.
fn add_partition(pair: &Pair, name: &str, value: &str) {
    let input = json!({
        "Values": [value],
        "StorageDescriptor": {"Location": format!("s3://elsewhere/{value}/")},
    });
    let request = json!({"DatabaseName": "sales", "TableName": name, "PartitionInput": input});
    call(pair, "CreatePartition", &request);
}

/// Creates or updates an Iceberg table, whose entry shows a commit.
fn put_iceberg(pair: &Pair, operation: &str, name: &str, commit: &str) {
    let input = json!({
        "Name": name, "TableType": "EXTERNAL_TABLE", "PartitionKeys": [],
        "StorageDescriptor": {
            "Columns": [{"Name": "id", "Type": "int"}], "Location": format!("s3://lake-us/sales/{name}"),
        },
        "Parameters": {
            "table_type": "ICEBERG",
            "metadata_location": format!("s3://lake-us/sales/{name}/metadata/{commit}.json"),
        },
    });
    let request = json!({"DatabaseName": "sales", "TableInput": input});
    call(pair, operation, &request);
}

fn grant(pair: &Pair, principal: &str, name: &str) {
    let request = json!({
        "Principal": {"DataLakePrincipalIdentifier": format!("arn:aws:iam::111122223333:role/{principal}")},
        "Resource": {"Table": {"DatabaseName": "sales", "Name": name}},
        "Permissions": ["SELECT"],
    });
    call(pair, "GrantPermissions", &request);
}

/// A lake whose Iceberg table `ice` has its first commit in the standby.
fn relocated() -> Pair {
    let pair = Pair::in_sync_under(policy("iceberg = \"relocate\""));
    put_iceberg(&pair, "CreateTable", "ice", "1");
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    let Subject::Table(id) = table("ice") else {
        panic!("it is a table");
    };
    let observed = pair.run(pair.us.region.table(&id)).unwrap().unwrap();
    let shown = RelocatedCommit {
        entry: IcebergEntry::of(&observed).unwrap(),
        metadata_location: "s3://lake-in/replica/sales/ice/metadata/1.json".to_owned(),
        previous_metadata_location: None,
    };
    let row = pair.india.ledger.contents().rows[&table("ice")].clone();
    let row = LedgerRow {
        iceberg: Some(IcebergReplica {
            shown: Some(shown),
            ..IcebergReplica::default()
        }),
        ..row
    };
    ready(pair.india.ledger.put_rows(&[row])).unwrap();
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    let row = pair.india.ledger.contents().rows[&table("ice")].clone();
    assert_eq!(row.state, SubjectState::InSync, "{row:?}");
    pair.beat(&pair.india);
    pair
}

/// A switchover, of which nothing but the journal may have changed.
fn refusal(pair: &Pair) -> String {
    let refused = pair.switch();
    let Err(FailoverError::NotVerified(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Primary);
    reason
}

/// What the report says of a table.
fn changes_of<'r>(report: &'r DivergenceReport, name: &str) -> Vec<&'r FormerChange> {
    let changes = report.changes.iter();
    changes
        .filter(|change| change.subject == table(name))
        .collect()
}

#[test]
fn a_table_that_was_moved_out_of_the_pairs_stops_a_switchover() {
    let pair = Pair::in_sync();
    move_elsewhere(&pair, "orders", "s3://elsewhere/");
    let reason = refusal(&pair);
    assert!(reason.contains("sales.orders"), "{reason}");
    assert!(reason.contains("s3://elsewhere/"), "{reason}");
}

#[test]
fn a_partition_outside_of_the_pairs_stops_a_switchover() {
    let pair = Pair::in_sync();
    add_partition(&pair, "orders", "2026-11-01");
    let reason = refusal(&pair);
    assert!(reason.contains("sales.orders"), "{reason}");
    assert!(reason.contains("1 of its partitions"), "{reason}");
}

#[test]
fn a_commit_that_is_not_relocated_stops_a_switchover_and_a_relocated_one_does_not() {
    let pair = relocated();
    put_iceberg(&pair, "UpdateTable", "ice", "2");
    let reason = refusal(&pair);
    assert!(reason.contains("sales.ice"), "{reason}");
    assert!(
        reason.contains("the standby shows an older commit"),
        "{reason}"
    );
    let pair = relocated();
    let journal = pair.switch().unwrap().unwrap();
    assert_eq!(journal.not_handed_over, None);
}

#[test]
fn a_location_of_a_database_outside_of_the_pairs_stops_a_switchover() {
    let pair = Pair::in_sync();
    let input = json!({"Name": "sales", "LocationUri": "s3://elsewhere/sales"});
    let request = json!({"Name": "sales", "DatabaseInput": input});
    call(&pair, "UpdateDatabase", &request);
    let reason = refusal(&pair);
    assert!(reason.contains("s3://elsewhere/sales"), "{reason}");
}

#[test]
fn grants_and_commits_of_an_iceberg_table_are_in_the_report_and_in_its_digest() {
    let pair = relocated();
    pair.fail_over();
    assert!(pair.compare().report.changes.is_empty());
    grant(&pair, "Late", "ice");
    let report = pair.compare().report;
    let [granted] = changes_of(&report, "ice")[..] else {
        panic!("{:?}", report.changes);
    };
    assert!(granted.text.contains("Late"), "{granted:?}");
    put_iceberg(&pair, "UpdateTable", "ice", "2");
    let second = pair.compare().report;
    let kinds: BTreeSet<FormerChangeKind> = changes_of(&second, "ice")
        .iter()
        .map(|change| change.kind)
        .collect();
    assert!(
        kinds.contains(&FormerChangeKind::NotComparable),
        "{kinds:?}"
    );
    put_iceberg(&pair, "UpdateTable", "ice", "3");
    let third = pair.compare().report;
    let digests: BTreeSet<String> = [report, second, third]
        .iter()
        .map(DivergenceReport::digest)
        .collect();
    assert_eq!(digests.len(), 3);
}

#[test]
fn whatever_changes_of_something_withheld_is_another_report() {
    let pair = Pair::in_sync();
    put_iceberg(&pair, "CreateTable", "ice", "1");
    pair.fail_over();
    move_elsewhere(&pair, "orders", "s3://elsewhere/");
    let report = pair.compare().report;
    assert_eq!(
        changes_of(&report, "ice")[0].kind,
        FormerChangeKind::OnlyThere
    );
    let [moved] = changes_of(&report, "orders")[..] else {
        panic!("{:?}", report.changes);
    };
    assert_eq!(moved.kind, FormerChangeKind::NotComparable);
    let changes: [&dyn Fn(&Pair); 5] = [
        &|pair| move_elsewhere(pair, "orders", "s3://elsewhere/again/"),
        &|pair| add_partition(pair, "orders", "2026-11-02"),
        &|pair| grant(pair, "Late", "orders"),
        &|pair| grant(pair, "Late", "ice"),
        &|pair| put_iceberg(pair, "UpdateTable", "ice", "2"),
    ];
    let mut digests: BTreeSet<String> = [report.digest()].into();
    for (index, change) in changes.iter().enumerate() {
        change(&pair);
        let is_new = digests.insert(pair.compare().report.digest());
        assert!(is_new, "change {index} is not in the digest");
    }
    // The primary is written to all the time.
    let last = pair.compare().report.digest();
    pair.create_table(&pair.india, "new");
    assert_eq!(pair.compare().report.digest(), last);
}

#[test]
fn a_forced_switchover_goes_without_what_was_named_and_leaves_it_where_it_is() {
    let pair = Pair::in_sync();
    put_iceberg(&pair, "CreateTable", "ice", "1");
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    let refused = pair.switch();
    let Err(FailoverError::Refused(refusal)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal.gate, FailoverGate::Forceable(ForceableGate::InSync));
    let mut request = pair.request(&pair.us);
    request.forced = [ForceableGate::InSync].into();
    let switched = pair.switch_with((&pair.india, &pair.us), &request, &());
    let journal = switched.unwrap().unwrap().unwrap();
    assert_eq!(journal.stage, FailoverStage::Completed);
    assert_eq!(journal.not_handed_over, None);
    assert_eq!(journal.left_out, [table("ice")].into());
    assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Standby);
    let epoch = pair.harness.epoch().switched();
    pair.settle(&pair.india, &pair.us, epoch);
    call(
        &pair,
        "GetTable",
        &json!({"DatabaseName": "sales", "Name": "ice"}),
    );
}

#[test]
fn a_forced_switchover_refuses_what_was_not_named() {
    let pair = Pair::in_sync();
    put_iceberg(&pair, "CreateTable", "ice", "1");
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    // The ledger does not know of it when the gate is asked.
    put_iceberg(&pair, "CreateTable", "ice2", "1");
    let mut request = pair.request(&pair.us);
    request.forced = [ForceableGate::InSync].into();
    let refused = pair.switch_with((&pair.india, &pair.us), &request, &());
    let refused = refused.unwrap();
    let Err(FailoverError::NotVerified(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("table sales.ice2"), "{reason}");
    assert!(!reason.contains("more"), "{reason}");
    assert_eq!(pair.role(&pair.us, &pair.india), RegionRole::Primary);
}
