//! The logs of Delta and Hudi tables in the standby are looked at: what has not arrived, and what leads out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests stand outside of them"
)]

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::{AlertKind, LedgerRow, Name, Subject, SubjectState, TableId};
use twinlake_engine::iceberg::NextCheck;
use twinlake_engine::{Clock as _, Ledger as _};
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};

const SOURCE: &str = "s3://lake-us/sales/orders";
const TARGET: &str = "s3://lake-in/replica/sales/orders";
/// The size of a data file.
const DATA_BYTES: usize = 5;

fn delta() -> Value {
    json!({"spark.sql.sources.provider": "delta", "path": SOURCE})
}

fn hudi() -> Value {
    json!({"spark.sql.sources.provider": "hudi", "path": SOURCE})
}

/// A harness with the database `sales`, whose table `orders` has files in the standby.
struct Lake {
    harness: TestHarness,
}

impl Lake {
    fn new(rules: &str) -> Self {
        let harness = TestHarness::new(policy(rules));
        let input =
            json!({"DatabaseInput": {"Name": "sales", "CreateTableDefaultPermissions": []}});
        harness.call(PRIMARY, "CreateDatabase", &input).unwrap();
        harness.resync();
        let _ = (harness.take_events(), harness.topic.take());
        Self { harness }
    }

    /// Adds a file of the standby, by its path below the table.
    fn arrive(&self, name: &str, content: impl Into<Vec<u8>>) {
        let path = format!("{TARGET}/{name}");
        self.harness
            .table_files
            .files()
            .insert(path, content.into());
    }

    fn arrive_data(&self, name: &str) {
        self.arrive(name, vec![0; DATA_BYTES]);
    }

    /// A commit of the Delta log that adds files.
    fn commit(&self, version: u64, added: &[&str]) {
        let lines = added.iter().map(|path| {
            let add = json!({"path": path, "partitionValues": {}, "size": DATA_BYTES,
                "modificationTime": 1, "dataChange": true});
            json!({"add": add}).to_string()
        });
        let text: Vec<String> = lines.collect();
        self.arrive(&format!("_delta_log/{version:020}.json"), text.join("\n"));
    }

    /// Registers or updates the entry, and delivers its events.
    fn register(&self, call: &str, parameters: &Value, storage: &Value) {
        let mut descriptor =
            json!({"Columns": [{"Name": "id", "Type": "int"}], "Location": SOURCE});
        let extra = storage.as_object().unwrap().clone();
        descriptor.as_object_mut().unwrap().extend(extra);
        let input = json!({"DatabaseName": "sales", "TableInput": {
            "Name": "orders", "TableType": "EXTERNAL_TABLE", "PartitionKeys": [],
            "StorageDescriptor": descriptor, "Parameters": parameters}});
        self.harness.call(PRIMARY, call, &input).unwrap();
        let events = self.harness.take_events();
        self.harness.deliver(&events).unwrap();
    }

    fn create(&self, parameters: &Value) {
        self.register("CreateTable", parameters, &json!({}));
        self.run_queue();
    }

    /// Delivers the messages that are due at once. Returns the delays of the others, with their bodies.
    fn run_queue(&self) -> Vec<(Vec<u8>, u16)> {
        let mut later = Vec::new();
        for _ in 0..20 {
            let messages = self.harness.queue.take_with_delays();
            let (now, delayed): (Vec<_>, Vec<_>) =
                messages.into_iter().partition(|(_, delay)| *delay == 0);
            let delayed = delayed.into_iter();
            later.extend(delayed.map(|(one, delay)| (one.body().into_bytes(), delay)));
            if now.is_empty() {
                return later;
            }
            let bodies: Vec<Vec<u8>> = now.iter().map(|(one, _)| one.body().into_bytes()).collect();
            self.harness.deliver(&bodies).unwrap();
        }
        panic!("messages are sent without end");
    }

    /// Lets a time pass, and looks as after a resync.
    fn look_after(&self, secs: i64) {
        self.harness.sim.state().advance_secs(secs);
        let due = self.harness.resync().unwrap().outcome.unrelocated;
        for id in due.keys() {
            let (message, _) = NextCheck::AtOnce
                .message(id, self.harness.sim.now())
                .unwrap();
            self.harness
                .deliver(&[message.body().into_bytes()])
                .unwrap();
        }
        self.run_queue();
    }

    fn row(&self) -> LedgerRow {
        let id = TableId::new(Name::from_service("sales"), Name::from_service("orders"));
        let subject = Subject::Table(id);
        let subjects = BTreeSet::from([subject.clone()]);
        let rows = self.harness.ledger.rows(&subjects).now_or_never();
        rows.unwrap().unwrap().remove(&subject).unwrap()
    }

    fn assert_state(&self, state: SubjectState, parts: &[&str]) {
        let row = self.row();
        let reason = row.reason.unwrap_or_default();
        assert_eq!(row.state, state, "{reason}");
        for part in parts {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        let request = json!({"DatabaseName": "sales", "Name": "orders"});
        let table = self.harness.call(STANDBY, "GetTable", &request).unwrap();
        let location = &table["Table"]["StorageDescriptor"]["Location"];
        assert!(
            location.as_str().unwrap().starts_with(TARGET),
            "the entry is replicated: {table}"
        );
    }

    fn alerts(&self, kind: AlertKind) -> usize {
        let alerts = self.harness.topic.take();
        alerts.iter().filter(|alert| alert.kind == kind).count()
    }
}

const RELOCATE: &str = "iceberg = \"relocate\"";

#[test]
fn a_delta_log_ahead_of_its_files_is_data_pending_until_they_arrive() {
    let lake = Lake::new(RELOCATE);
    lake.commit(0, &["part-0.parquet", "d=a%20b/part-1.parquet"]);
    lake.arrive_data("part-0.parquet");
    lake.create(&delta());
    let file = format!("{TARGET}/d=a b/part-1.parquet");
    lake.assert_state(SubjectState::DataPending, &["at least 1 file has", &file]);
    // It is there, with another size.
    lake.arrive("d=a b/part-1.parquet", vec![0; DATA_BYTES + 1]);
    lake.look_after(60);
    lake.assert_state(SubjectState::DataPending, &[&file]);
    assert_eq!(lake.alerts(AlertKind::DataPending), 0);
    lake.look_after(900);
    assert_eq!(lake.alerts(AlertKind::DataPending), 1);
    lake.arrive_data("d=a b/part-1.parquet");
    lake.look_after(900);
    lake.assert_state(SubjectState::InSync, &[]);
}

#[test]
fn a_table_whose_files_are_missing_is_looked_at_by_a_message_of_its_own() {
    let lake = Lake::new(RELOCATE);
    lake.commit(0, &["part-0.parquet"]);
    lake.register("CreateTable", &delta(), &json!({}));
    let later = lake.run_queue();
    let [(body, 60)] = later.as_slice() else {
        panic!("{} messages", later.len());
    };
    lake.arrive_data("part-0.parquet");
    lake.harness.sim.state().advance_secs(60);
    lake.harness.deliver(std::slice::from_ref(body)).unwrap();
    assert!(lake.run_queue().is_empty(), "nothing is missing any more");
    lake.assert_state(SubjectState::InSync, &[]);
}

#[test]
fn gaps_and_a_checkpoint_that_is_not_there_are_data_pending() {
    let lake = Lake::new(RELOCATE);
    (0..5)
        .filter(|version| *version != 2)
        .for_each(|version| lake.commit(version, &[]));
    lake.arrive("_delta_log/_last_checkpoint", r#"{"version":3,"size":9}"#);
    lake.create(&delta());
    let gap = format!("{TARGET}/_delta_log/{:020}.json", 2);
    lake.assert_state(SubjectState::DataPending, &["at least 2 files have", &gap]);
    lake.commit(2, &[]);
    lake.look_after(60);
    let checkpoint = format!("{TARGET}/_delta_log/{:020}.checkpoint.parquet", 3);
    lake.assert_state(
        SubjectState::DataPending,
        &["at least 1 file has", &checkpoint],
    );
    // A checkpoint of version 2 of the format, whose sidecar comes later.
    let sidecar = r#"{"checkpointMetadata":{"version":3}}
{"sidecar":{"path":"s.json","sizeInBytes":2,"modificationTime":1}}"#;
    lake.arrive(
        &format!("_delta_log/{:020}.checkpoint.a-b.json", 3),
        sidecar,
    );
    lake.look_after(60);
    lake.assert_state(SubjectState::DataPending, &["_delta_log/_sidecars/s.json"]);
    lake.arrive("_delta_log/_sidecars/s.json", "{}");
    lake.look_after(60);
    lake.assert_state(SubjectState::InSync, &[]);
}

#[test]
fn a_shallow_clone_is_blocked_with_the_file_and_the_path_until_it_is_rewritten() {
    let lake = Lake::new(RELOCATE);
    lake.commit(
        0,
        &["s3://lake-us/sales/source/part-0.parquet", "part-1.parquet"],
    );
    lake.arrive_data("part-1.parquet");
    lake.create(&delta());
    let path = "_delta_log/00000000000000000000.json: s3://lake-us/sales/source/part-0.parquet";
    lake.assert_state(
        SubjectState::Blocked,
        &["names 1 file by its full path", path],
    );
    // Looked at again after hours, also while it is blocked.
    lake.look_after(7 * 3600);
    lake.assert_state(SubjectState::Blocked, &[path]);
    lake.commit(0, &["part-1.parquet"]);
    lake.look_after(7 * 3600);
    lake.assert_state(SubjectState::InSync, &[]);
}

#[test]
fn a_checkpoint_is_read_once_and_what_it_names_stays_known() {
    let lake = Lake::new(RELOCATE);
    let clone = r#"{"add":{"path":"s3://lake-us/x/p.parquet","size":5}}"#;
    lake.arrive(&format!("_delta_log/{:020}.checkpoint.a-b.json", 0), clone);
    lake.commit(0, &[]);
    lake.create(&delta());
    lake.assert_state(SubjectState::Blocked, &["s3://lake-us/x/p.parquet"]);
    let _ = lake.harness.table_files.take_log();
    lake.look_after(7 * 3600);
    let log = lake.harness.table_files.take_log();
    assert!(
        log.iter()
            .any(|call| call.ends_with(&format!("{:020}.json", 0))),
        "{log:?}"
    );
    assert!(
        !log.iter()
            .any(|call| call.starts_with("get") && call.contains("checkpoint")),
        "{log:?}"
    );
    lake.assert_state(SubjectState::Blocked, &["s3://lake-us/x/p.parquet"]);
}

#[test]
fn a_hudi_timeline_ahead_of_its_files_is_data_pending_until_they_arrive() {
    let lake = Lake::new(RELOCATE);
    lake.create(&hudi());
    let properties = format!("{TARGET}/.hoodie/hoodie.properties");
    lake.assert_state(SubjectState::DataPending, &["Hudi timeline", &properties]);
    lake.arrive(".hoodie/hoodie.properties", "hoodie.table.version=6\n");
    let stat =
        json!({"fileId": "f-0", "path": "p/f-0_0-1-2_1.parquet", "fileSizeInBytes": DATA_BYTES});
    let commit = json!({"partitionToWriteStats": {"p": [stat]}, "operationType": "UPSERT"});
    lake.arrive(".hoodie/20240601120000000.commit", commit.to_string());
    lake.look_after(60);
    let file = format!("{TARGET}/p/f-0_0-1-2_1.parquet");
    lake.assert_state(SubjectState::DataPending, &["at least 1 file has", &file]);
    lake.arrive_data("p/f-0_0-1-2_1.parquet");
    lake.look_after(60);
    lake.assert_state(SubjectState::InSync, &[]);
}

#[test]
fn a_bootstrapped_hudi_table_is_blocked_and_an_instant_in_avro_is_said_to_be_unread() {
    let lake = Lake::new(RELOCATE);
    let base = "hoodie.bootstrap.base.path=s3\\://lake-us/source\n";
    lake.arrive(".hoodie/hoodie.properties", base);
    lake.create(&hudi());
    lake.assert_state(
        SubjectState::Blocked,
        &["hoodie.bootstrap.base.path=s3://lake-us/source"],
    );
    lake.arrive(".hoodie/hoodie.properties", "hoodie.table.version=8\n");
    lake.arrive(
        ".hoodie/timeline/20240601120000000_20240601120001000.commit",
        b"Obj\x01".to_vec(),
    );
    lake.look_after(7 * 3600);
    lake.assert_state(SubjectState::InSync, &[]);
    let findings = lake.harness.resync().unwrap().outcome.findings;
    let is_note = |detail: &str| detail.contains("is in Avro, which is not read (table version 8)");
    assert!(
        findings.iter().any(|finding| is_note(&finding.detail)),
        "{findings:?}"
    );
}

#[test]
fn manifests_of_a_symlink_table_lead_out_until_they_are_made_again_in_the_standby() {
    let lake = Lake::new(RELOCATE);
    lake.arrive("manifest", format!("{SOURCE}/part-0.parquet\n"));
    let format = "org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat";
    lake.register("CreateTable", &json!({}), &json!({"InputFormat": format}));
    lake.run_queue();
    lake.assert_state(
        SubjectState::Blocked,
        &[&format!("manifest: {SOURCE}/part-0.parquet")],
    );
    lake.arrive("manifest", format!("{TARGET}/part-0.parquet\n"));
    lake.look_after(7 * 3600);
    lake.assert_state(SubjectState::InSync, &[]);
}

#[test]
fn nothing_is_read_and_nothing_claimed_without_the_policy() {
    let lake = Lake::new("");
    lake.commit(0, &["s3://lake-us/x/part-0.parquet", "part-1.parquet"]);
    lake.create(&delta());
    lake.look_after(7 * 3600);
    lake.assert_state(SubjectState::InSync, &[]);
    assert_eq!(lake.harness.table_files.take_log(), Vec::<String>::new());
}

#[test]
fn nothing_outside_the_location_is_read_whatever_the_log_says() {
    let lake = Lake::new(RELOCATE);
    lake.commit(
        0,
        &[
            "../other/part-0.parquet",
            "s3://lake-in/replica/other/p",
            "%2e%2e/p",
        ],
    );
    let sidecars = r#"{"sidecar":{"path":"../../../other/1.json","sizeInBytes":2}}
{"sidecar":{"path":"s3://lake-in/replica/other/2.json","sizeInBytes":2}}"#;
    lake.arrive(
        &format!("_delta_log/{:020}.checkpoint.a-b.json", 0),
        sidecars,
    );
    lake.create(&delta());
    lake.look_after(7 * 3600);
    let log = lake.harness.table_files.take_log();
    assert!(!log.is_empty());
    for call in log {
        let (_, path) = call.split_once(' ').unwrap();
        assert!(path.starts_with(&format!("{TARGET}/")), "{call}");
    }
}

#[test]
fn a_log_that_cannot_be_read_is_said_to_be_unread_and_the_table_stays_in_sync() {
    let lake = Lake::new(RELOCATE);
    lake.harness.table_files.lose(TARGET);
    lake.create(&delta());
    lake.assert_state(SubjectState::InSync, &[]);
    let findings = lake.harness.resync().unwrap().outcome.findings;
    let is_note = |detail: &str| detail.contains("was not looked at in full");
    assert!(
        findings.iter().any(|finding| is_note(&finding.detail)),
        "{findings:?}"
    );
}
