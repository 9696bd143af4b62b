//! What bounds the work on a table: the time of a function, and the other tables of its batch.

use super::lake_table::{LakeTable, SOURCE, TARGET};
use super::{Lake, complete, relocate, relocate_within};
use futures_util::FutureExt as _;
use serde_json::json;
use std::cell::Cell;
use twinlake_core::CallError;
use twinlake_engine::Clock as _;
use twinlake_engine::event_batch::{QueueMessage, run};
use twinlake_engine::iceberg::{RelocationMemory, RelocationOutcome};
use twinlake_engine::ports::TableFiles;
use twinlake_sim::SimTableFiles;
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness};

#[test]
fn no_listing_of_the_location_begins_once_time_ran_out() {
    let files = SimTableFiles::default();
    let mut table = LakeTable::new(&files, "orders");
    let metadata = table.append_files(1001);
    table.arrive_all();
    let mut memory = RelocationMemory::default();
    let listings = || {
        let location = format!("list {TARGET}/sales/orders/");
        let log = files.take_log();
        log.iter().filter(|call| **call == location).count()
    };
    // The time suffices for the manifest.
    let outcome = relocate_within(&files, &metadata, &mut memory, 1);
    let RelocationOutcome::Unfinished { left } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!((left, listings()), (801, 0));
    // The rest is one listing where there is time for it.
    complete(relocate(&files, &metadata, &mut memory));
    assert_eq!(listings(), 1);
}

#[test]
fn a_thousand_files_are_looked_for_singly() {
    let files = SimTableFiles::default();
    let mut table = LakeTable::new(&files, "orders");
    let metadata = table.append_files(1000);
    table.arrive_all();
    complete(relocate(
        &files,
        &metadata,
        &mut RelocationMemory::default(),
    ));
    let log = files.take_log();
    let count = |call: &str| log.iter().filter(|one| one.starts_with(call)).count();
    // The own prefix alone is listed.
    assert_eq!((count("list"), count("size")), (1, 1000));
}

/// The files, which are looked at only once the table `zzz` stands in the standby.
struct FilesAfterJobs<'a> {
    files: &'a SimTableFiles,
    harness: &'a TestHarness,
    looks: Cell<usize>,
}

impl FilesAfterJobs<'_> {
    fn look(&self) -> &SimTableFiles {
        let request = json!({"DatabaseName": "sales", "Name": "zzz"});
        let other = self.harness.call(STANDBY, "GetTable", &request);
        assert!(other.is_ok(), "a file was touched before all jobs ended");
        self.looks.set(self.looks.get() + 1);
        self.files
    }
}

impl TableFiles for FilesAfterJobs<'_> {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, CallError> {
        self.look().get(path).await
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, CallError> {
        self.look().size(path).await
    }

    async fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64)) -> Result<(), CallError> {
        self.look().list(prefix, visit).await
    }

    async fn create(&self, path: &str, content: Vec<u8>) -> Result<bool, CallError> {
        self.look().create(path, content).await
    }

    async fn remove(&self, path: &str) -> Result<(), CallError> {
        self.look().remove(path).await
    }
}

#[test]
fn all_jobs_of_a_batch_are_reconciled_before_files_are_touched() {
    let lake = Lake::new();
    let harness = &lake.harness;
    let mut table = LakeTable::new(&harness.table_files, "orders");
    let metadata = table.append();
    table.arrive_all();
    let create = |name: &str, parameters: serde_json::Value| {
        let columns = [json!({"Name": "id", "Type": "int"})];
        let input = json!({"DatabaseName": "sales", "TableInput": {
            "Name": name, "TableType": "EXTERNAL_TABLE", "PartitionKeys": [],
            "StorageDescriptor": {"Columns": columns, "Location": format!("{SOURCE}/sales/{name}")},
            "Parameters": parameters}});
        harness.call(PRIMARY, "CreateTable", &input).unwrap();
        harness.take_events()
    };
    let iceberg = json!({"table_type": "ICEBERG", "metadata_location": metadata});
    let mut bodies = create("orders", iceberg);
    bodies.extend(create("zzz", json!({})));
    let messages = bodies.into_iter().enumerate();
    let messages: Vec<QueueMessage> = messages
        .map(|(index, body)| QueueMessage {
            id: index.to_string(),
            body,
            is_redelivered: false,
        })
        .collect();
    let files = FilesAfterJobs {
        files: &harness.table_files,
        harness,
        looks: Cell::new(0),
    };
    let (context, event_context) = (harness.context(), harness.event_context());
    let ports = (&harness.queue, &harness.topic);
    let stop_at = harness.sim.now().plus_secs(1000);
    let running = run(
        &context,
        ports,
        Some(&files),
        &event_context,
        &messages,
        stop_at,
    );
    let result = running.now_or_never().unwrap();
    assert!(
        result.failed.is_empty() && files.looks.get() > 0,
        "{result:?}"
    );
    // The look found the commit complete: a reconciliation follows at once, which moves the entry.
    let delays: Vec<u16> = (harness.queue.take_with_delays().into_iter())
        .map(|(message, delay)| {
            harness.deliver(&[message.body().into_bytes()]).unwrap();
            delay
        })
        .collect();
    assert_eq!(delays, [0]);
    assert!(lake.pointer().is_some());
}
