//! A table with many partitions, `big.t`, in the primary.

use crate::equality_oracle;
use crate::harness::{PRIMARY, TestHarness, policy};
use crate::history::table_input;
use serde_json::{Value, json};
use twinlake_core::{CallErrorKind, LedgerRow, Name, Subject, TableId, Timestamp};
use twinlake_engine::RetryMessage;
use twinlake_engine::resync::ResyncReport;
use twinlake_sim::{ApiError, InjectedFault, run_until_killed};

/// Returns the input of a partition.
#[must_use]
pub fn partition(number: usize, version: usize) -> Value {
    json!({
        "Values": [format!("{number:07}")], "Parameters": {"v": version.to_string()},
        "StorageDescriptor": {"Location": format!("s3://lake-us/big/t/{number}/")},
    })
}

/// Returns a request about the table, with one more key.
#[must_use]
pub fn in_table(key: &str, value: &Value) -> Value {
    json!({"DatabaseName": "big", "TableName": "t", key: value})
}

/// Returns the ID of the table.
///
/// # Panics
/// Never: the names are valid.
#[must_use]
pub fn table_id() -> TableId {
    TableId::new(Name::new("big").unwrap(), Name::new("t").unwrap())
}

/// Creates partitions in the primary.
///
/// # Panics
/// An API call fails.
pub fn create_partitions(harness: &TestHarness, numbers: impl Iterator<Item = usize>) {
    let numbers: Vec<usize> = numbers.collect();
    for chunk in numbers.chunks(100) {
        let inputs: Vec<Value> = chunk.iter().map(|&n| partition(n, 0)).collect();
        let request = in_table("PartitionInputList", &json!(inputs));
        harness
            .call(PRIMARY, "BatchCreatePartition", &request)
            .unwrap();
    }
}

/// Returns a harness whose primary has one table with a number of partitions.
///
/// # Panics
/// An API call fails.
#[must_use]
pub fn harness_with_partitions(count: usize) -> TestHarness {
    let harness = TestHarness::new(policy("deletion-limit = { fraction = 0.1, minimum = 10 }"));
    let input = json!({"DatabaseInput": {"Name": "big", "CreateTableDefaultPermissions": []}});
    harness.call(PRIMARY, "CreateDatabase", &input).unwrap();
    let input = json!({"DatabaseName": "big", "TableInput": table_input("big", "t", &["id"])});
    harness.call(PRIMARY, "CreateTable", &input).unwrap();
    create_partitions(&harness, 0..count);
    let _ = harness.take_events();
    harness
}

/// Checks that both Regions are equal.
///
/// # Panics
/// They differ.
pub fn assert_regions_equal(harness: &TestHarness) {
    let found = equality_oracle::differences(&harness.sim.state(), &[]);
    assert!(found.is_empty(), "{:?}", &found[..found.len().min(5)]);
}

/// Returns the events that CloudTrail records, or those that Glue sends, and removes all events.
#[must_use]
pub fn take_events_by_channel(harness: &TestHarness, is_cloudtrail: bool) -> Vec<Vec<u8>> {
    let mut all = harness.take_events();
    let names_cloudtrail = |body: &[u8]| String::from_utf8_lossy(body).contains("via CloudTrail");
    all.retain(|body| names_cloudtrail(body) == is_cloudtrail);
    all
}

/// Runs a resync until a time, or the part of one that a message is.
///
/// # Panics
/// The ledger, which is in memory, returns an error.
pub fn run_resync_part(
    harness: &TestHarness,
    stop_at: Option<Timestamp>,
    message: Option<&RetryMessage>,
) -> ResyncReport {
    let mut context = harness.context();
    context.stop_at = stop_at;
    let part = message.map(|message| (message.part.as_ref().unwrap(), &message.scope));
    let run = twinlake_engine::resync::resync(
        &context,
        harness.resync_depth,
        part,
        Some(&harness.queue),
        &(),
    );
    run_until_killed(&harness.sim, run).unwrap().unwrap()
}

/// Deletes partitions in the primary.
///
/// # Panics
/// An API call fails.
pub fn delete_partitions(harness: &TestHarness, numbers: std::ops::Range<usize>) {
    for chunk in numbers.collect::<Vec<_>>().chunks(25) {
        let values = chunk
            .iter()
            .map(|&n| json!({"Values": partition(n, 0)["Values"]}));
        let request = in_table("PartitionsToDelete", &values.collect());
        harness
            .call(PRIMARY, "BatchDeletePartition", &request)
            .unwrap();
    }
}

/// Makes the next matching call fail, once.
pub fn inject(harness: &TestHarness, region: &str, call: &str, kind: CallErrorKind) {
    let error = ApiError::new(kind, "InjectedException", "injected");
    let fault = InjectedFault::once(region, call, error);
    harness.sim.state().inject_fault(fault);
}

/// Returns the ledger row of the table.
///
/// # Panics
/// There is none.
#[must_use]
pub fn table_row(harness: &TestHarness) -> LedgerRow {
    harness.ledger.contents().rows[&Subject::Table(table_id())].clone()
}
