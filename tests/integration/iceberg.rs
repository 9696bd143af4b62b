//! Iceberg tables are followed commit by commit, and never ahead of their files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "the helpers of tests stand outside of them"
)]

mod confinement;
mod interrupted;
mod lake_table;
mod limits;
mod lost_files;
#[allow(
    dead_code,
    clippy::pedantic,
    reason = "shared with the tests of the crate"
)]
#[path = "../../crates/iceberg/tests/support/mod.rs"]
mod support;
mod unneeded_files;

use futures_util::FutureExt as _;
use lake_table::{LakeTable, SOURCE, TARGET, faults, replica};
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::iceberg_replica::RelocationObstacle;
use twinlake_core::{AlertKind, Name, Subject, SubjectState, TableId};
use twinlake_engine::iceberg::{
    FileProgress, HeldFiles, MAX_HELD_BYTES, NextCheck, RelocationMemory, RelocationOutcome,
    RelocationRequest, RelocationSource, WorkLimits, relocate_with_memory,
};
use twinlake_engine::{Clock as _, Ledger as _};
use twinlake_iceberg::PathMap;
use twinlake_sim::SimTableFiles;
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};

struct Quiet;

impl FileProgress for Quiet {
    fn files_expected(&self, _: usize) {}
    fn file_finished(&self) {}
}

/// Relocates a metadata.json; `budget` is the number of looks at the clock before time runs out.
fn relocate_within(
    files: &SimTableFiles,
    metadata: &str,
    memory: &mut RelocationMemory,
    budget: usize,
) -> RelocationOutcome {
    let request = RelocationRequest {
        metadata_path: metadata.to_owned(),
        map: PathMap::new([(SOURCE, TARGET)]).unwrap(),
        table_location: None,
        pairing_id: None,
        source: RelocationSource::Replica,
    };
    let left = std::cell::Cell::new(budget);
    let is_late = || {
        let is_late = left.get() == 0;
        left.set(left.get().saturating_sub(1));
        is_late
    };
    let limits = WorkLimits {
        is_late: &is_late,
        held: &HeldFiles::new(MAX_HELD_BYTES),
    };
    let run = relocate_with_memory(files, &request, memory, limits, &Quiet);
    run.now_or_never().unwrap().unwrap()
}

fn relocate(
    files: &SimTableFiles,
    metadata: &str,
    memory: &mut RelocationMemory,
) -> RelocationOutcome {
    relocate_within(files, metadata, memory, usize::MAX)
}

fn complete(outcome: RelocationOutcome) -> String {
    match outcome {
        RelocationOutcome::Relocated(relocation) => relocation.metadata_path,
        RelocationOutcome::Pending(pending) => panic!("{pending:?}"),
        RelocationOutcome::Unfinished { left } => panic!("{left} left"),
    }
}

/// What was rewritten.
fn own_files(files: &SimTableFiles) -> BTreeMap<String, Vec<u8>> {
    let files = files.files();
    let own = files
        .iter()
        .filter(|(path, _)| path.contains("/_twinlake/"));
    own.map(|(path, content)| (path.clone(), content.clone()))
        .collect()
}

fn act(table: &mut LakeTable<'_>, action: u8) -> String {
    match action % 8 {
        0..=2 => table.append(),
        3 | 4 => table.delete_rows(),
        5 => table.rewrite_manifests(),
        6 => table.expire(),
        _ => table.roll_back(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A commit costs its new files, and the result is that of a relocation that remembers nothing.
    #[test]
    fn incremental_equals_full(actions in proptest::collection::vec(any::<u8>(), 1..12)) {
        let files = SimTableFiles::default();
        let mut table = LakeTable::new(&files, "orders");
        let mut memory = RelocationMemory::default();
        for action in actions {
            let before: BTreeSet<String> = table.added.iter().cloned().collect();
            let metadata = act(&mut table, action);
            table.arrive_all();
            let _ = files.take_log();
            let path = complete(relocate(&files, &metadata, &mut memory));
            let log = files.take_log();
            let count = |call: &str| log.iter().filter(|one| one.starts_with(call)).count();
            let is_rewritten = |path: &&String| !path.ends_with(".parquet");
            let added: Vec<&String> = table.added.iter().filter(|path| !before.contains(*path)).collect();
            let new = added.iter().filter(|path| is_rewritten(path)).count() + 1;
            prop_assert!(count("create") <= new, "{} of {new}: {log:#?}", count("create"));
            // The metadata, each new file that names others at most three times, and the new data files.
            prop_assert!(count("get") <= 1 + 3 * new, "{log:#?}");
            prop_assert!(count("size") <= added.len(), "{log:#?}");
            let fresh = SimTableFiles::default();
            for (path, content) in files.files().iter().filter(|(path, _)| !path.contains("/_twinlake/")) {
                fresh.files().insert(path.clone(), content.clone());
            }
            let again = complete(relocate(&fresh, &metadata, &mut RelocationMemory::default()));
            prop_assert_eq!(&path, &again);
            let all = own_files(&files);
            for (path, content) in own_files(&fresh) {
                prop_assert_eq!(all.get(&path), Some(&content), "{}", path);
            }
            prop_assert_eq!(faults(&files, &path), Vec::<String>::new());
        }
    }

    /// Files arrive in any order, and some never do. What is relocated is complete; time may run out at any
    /// moment; once everything is there, so is the newest commit.
    #[test]
    fn never_ahead_of_data(
        actions in proptest::collection::vec(any::<u8>(), 1..8),
        order in proptest::collection::vec((any::<prop::sample::Index>(), 0..40_usize), 0..60),
    ) {
        let files = SimTableFiles::default();
        let mut table = LakeTable::new(&files, "orders");
        let mut memory = RelocationMemory::default();
        let commits: Vec<String> = actions.iter().map(|action| act(&mut table, *action)).collect();
        for (index, budget) in order {
            let outstanding = table.outstanding();
            if outstanding.is_empty() {
                break;
            }
            table.arrive(index.get::<String>(&outstanding));
            for metadata in [index.get::<String>(&commits), commits.last().unwrap()] {
                let outcome = relocate_within(&files, metadata, &mut memory, budget);
                if let RelocationOutcome::Relocated(relocation) = outcome {
                    prop_assert_eq!(faults(&files, &relocation.metadata_path), Vec::<String>::new());
                }
            }
        }
        table.arrive_all();
        let path = complete(relocate(&files, commits.last().unwrap(), &mut memory));
        prop_assert_eq!(faults(&files, &path), Vec::<String>::new());
    }

    /// What was rewritten and is deleted by somebody is written again, whatever it is.
    #[test]
    fn own_prefix_heals(
        actions in proptest::collection::vec(any::<u8>(), 1..8),
        deleted in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let files = SimTableFiles::default();
        let mut table = LakeTable::new(&files, "orders");
        let mut memory = RelocationMemory::default();
        let mut metadata = String::new();
        let mut path = String::new();
        for action in actions {
            metadata = act(&mut table, action);
            table.arrive_all();
            path = complete(relocate(&files, &metadata, &mut memory));
        }
        let own: Vec<String> = own_files(&files).into_keys().collect();
        for index in deleted {
            files.files().remove(index.get::<String>(&own));
        }
        prop_assert_eq!(&complete(relocate(&files, &metadata, &mut memory)), &path);
        prop_assert_eq!(faults(&files, &path), Vec::<String>::new());
    }
}

#[test]
fn a_first_relocation_goes_on_where_time_ran_out() {
    let files = SimTableFiles::default();
    let mut table = LakeTable::new(&files, "orders");
    let metadata: Vec<String> = (0..20).map(|_| table.append()).collect();
    table.arrive_all();
    let mut memory = RelocationMemory::default();
    let mut written = BTreeSet::new();
    for round in 0..20 {
        let outcome = relocate_within(&files, metadata.last().unwrap(), &mut memory, 5);
        let log = files.take_log();
        let created: Vec<String> = log
            .into_iter()
            .filter(|one| one.starts_with("create"))
            .collect();
        for path in created {
            assert!(written.insert(path.clone()), "written twice: {path}");
        }
        match outcome {
            RelocationOutcome::Unfinished { .. } => {}
            RelocationOutcome::Pending(pending) => panic!("{pending:?}"),
            RelocationOutcome::Relocated(relocation) => {
                assert!(round > 3, "it took {round} rounds");
                assert_eq!(
                    faults(&files, &relocation.metadata_path),
                    Vec::<String>::new()
                );
                return;
            }
        }
    }
    panic!("it is never finished");
}

/// A harness with the database `sales` and the Iceberg table `orders`, of which nothing has arrived.
struct Lake {
    harness: TestHarness,
}

fn id() -> TableId {
    TableId::new(Name::from_service("sales"), Name::from_service("orders"))
}

impl Lake {
    fn new() -> Self {
        let harness = TestHarness::new(policy("iceberg = \"relocate\""));
        let input =
            json!({"DatabaseInput": {"Name": "sales", "CreateTableDefaultPermissions": []}});
        harness.call(PRIMARY, "CreateDatabase", &input).unwrap();
        harness.resync();
        let _ = (harness.take_events(), harness.topic.take());
        Self { harness }
    }

    /// Registers or updates the entry, and delivers the events of it.
    fn point_at(&self, call: &str, metadata: &str, columns: &[&str]) {
        self.point_in(&format!("{SOURCE}/sales/orders"), call, metadata, columns);
    }

    /// As [`Self::point_at`], of an entry with this location.
    fn point_in(&self, location: &str, call: &str, metadata: &str, columns: &[&str]) {
        let events = self.change_entry(location, call, metadata, columns);
        self.harness.deliver(&events).unwrap();
    }

    /// Registers or updates the entry, and returns the events of it.
    fn change_entry(
        &self,
        location: &str,
        call: &str,
        metadata: &str,
        columns: &[&str],
    ) -> Vec<Vec<u8>> {
        let columns: Vec<_> = columns
            .iter()
            .map(|name| json!({"Name": name, "Type": "int"}))
            .collect();
        let input = json!({"DatabaseName": "sales", "TableInput": {
            "Name": "orders", "TableType": "EXTERNAL_TABLE", "PartitionKeys": [],
            "StorageDescriptor": {"Columns": columns, "Location": location},
            "Parameters": {"table_type": "ICEBERG", "metadata_location": metadata,
                           "previous_metadata_location": "s3://lake-us/x"}}});
        self.harness.call(PRIMARY, call, &input).unwrap();
        self.harness.take_events()
    }

    /// Delivers the messages that are due at once until there are none; then advances the clock by the longest delay of the
    /// others, delivers these, and returns their delays.
    fn run_queue(&self) -> Vec<u16> {
        let mut later = Vec::new();
        for _ in 0..20 {
            let (now, delayed): (Vec<_>, Vec<_>) = (self.harness.queue.take_with_delays())
                .into_iter()
                .partition(|(_, delay)| *delay == 0);
            later.extend(delayed);
            if now.is_empty() {
                break;
            }
            let bodies: Vec<Vec<u8>> = now.iter().map(|(one, _)| one.body().into_bytes()).collect();
            self.harness.deliver(&bodies).unwrap();
        }
        let delays: Vec<u16> = later.iter().map(|(_, delay)| *delay).collect();
        if let Some(longest) = delays.iter().max() {
            self.harness.sim.state().advance_secs(i64::from(*longest));
            let bodies: Vec<Vec<u8>> = later
                .iter()
                .map(|(one, _)| one.body().into_bytes())
                .collect();
            self.harness.deliver(&bodies).unwrap();
        }
        delays
    }

    fn pointer(&self) -> Option<String> {
        let request = json!({"DatabaseName": "sales", "Name": "orders"});
        let table = self.harness.call(STANDBY, "GetTable", &request).ok()?;
        let pointer = &table["Table"]["Parameters"]["metadata_location"];
        Some(pointer.as_str().unwrap().to_owned())
    }

    /// Looks at the table if it is due, as after a resync.
    fn look(&self) {
        for message in self.due_looks() {
            self.harness.deliver(&[message]).unwrap();
        }
        self.run_queue();
    }

    /// The messages by which a resync has tables looked at that are due.
    fn due_looks(&self) -> Vec<Vec<u8>> {
        let unrelocated = self.harness.resync().unwrap().outcome.unrelocated;
        let now = self.harness.sim.now();
        let messages = unrelocated.keys().map(|id| {
            let message = NextCheck::AtOnce.message(id, now);
            message.unwrap().0.body().into_bytes()
        });
        messages.collect()
    }

    fn row(&self) -> twinlake_core::LedgerRow {
        let subject = Subject::Table(id());
        let subjects = BTreeSet::from([subject.clone()]);
        let rows = self.harness.ledger.rows(&subjects);
        rows.now_or_never()
            .unwrap()
            .unwrap()
            .remove(&subject)
            .unwrap()
    }
}

#[test]
fn the_entry_follows_the_newest_complete_commit() {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let mut table = LakeTable::new(files, "orders");
    let first = table.append();
    lake.point_at("CreateTable", &first, &["id"]);
    assert_eq!(lake.pointer(), None, "nothing has arrived");
    assert_eq!(lake.row().state, SubjectState::DataPending);
    assert_eq!(
        lake.run_queue(),
        [60],
        "it is looked at once a minute, by one message"
    );
    table.arrive_all();
    assert_eq!(lake.run_queue(), [60]);
    lake.run_queue();
    let shown = lake.pointer().unwrap();
    assert!(
        shown.starts_with("s3://lake-in/replica/sales/orders/_twinlake/u-1/"),
        "{shown}"
    );
    assert_eq!(faults(files, &shown), Vec::<String>::new());
    assert_eq!(
        (lake.row().state, lake.run_queue().len()),
        (SubjectState::InSync, 0)
    );

    // Two commits, of which only the first is complete: it is shown. Grants on the table are as ever.
    let second = table.append();
    lake.point_at("UpdateTable", &second, &["id"]);
    let third = table.append();
    let mut late = table.outstanding();
    late.retain(|path| !path.contains("metadata/00") && path.contains("d3"));
    assert_eq!(late.len(), 1, "{late:?}");
    for path in table.outstanding() {
        if !late.contains(&path) {
            table.arrive(&path);
        }
    }
    lake.point_at("UpdateTable", &third, &["id"]);
    let _ = lake.run_queue();
    let _ = lake.run_queue();
    let older = lake.pointer().unwrap();
    assert!(older.ends_with("00002-x.metadata.json"), "{older}");
    assert_eq!(faults(files, &older), Vec::<String>::new());
    let row = lake.row();
    assert_eq!(row.state, SubjectState::DataPending);
    assert!(
        row.reason.as_ref().unwrap().contains("d3.parquet"),
        "{row:?}"
    );
    let grant = json!({"Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Analyst"},
        "Resource": {"Table": {"DatabaseName": "sales", "Name": "orders"}}, "Permissions": ["SELECT"]});
    lake.harness
        .call(PRIMARY, "GrantPermissions", &grant)
        .unwrap();
    let result = lake.harness.deliver(&lake.harness.take_events()).unwrap();
    assert!(result.applied() > 0, "a grant waits for no commit");

    // A rollback in the primary is followed.
    table.arrive_all();
    let _ = (lake.run_queue(), lake.run_queue());
    assert!(lake.pointer().unwrap().ends_with("00003-x.metadata.json"));
    let back = table.roll_back();
    table.arrive_all();
    lake.point_at("UpdateTable", &back, &["id"]);
    lake.run_queue();
    assert_eq!(lake.row().state, SubjectState::InSync);
    let shown = lake.pointer().unwrap();
    assert!(shown.ends_with("00004-x.metadata.json"), "{shown}");
    assert_eq!(faults(files, &shown), Vec::<String>::new());
}

#[test]
fn columns_change_with_the_commit_that_has_them() {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let mut table = LakeTable::new(files, "orders");
    let first = table.append();
    table.arrive_all();
    lake.point_at("CreateTable", &first, &["id"]);
    lake.run_queue();
    let shown = lake.pointer().unwrap();
    let second = table.append();
    lake.point_at("UpdateTable", &second, &["id", "price"]);
    lake.run_queue();
    let request = json!({"DatabaseName": "sales", "Name": "orders"});
    let columns = || {
        let table = lake.harness.call(STANDBY, "GetTable", &request).unwrap();
        let columns = &table["Table"]["StorageDescriptor"]["Columns"];
        columns.as_array().unwrap().len()
    };
    assert_eq!((lake.pointer().unwrap(), columns()), (shown, 1));
    table.arrive_all();
    let _ = (lake.run_queue(), lake.run_queue());
    assert_eq!(columns(), 2);
    assert!(lake.pointer().unwrap().ends_with("00002-x.metadata.json"));
}

#[test]
fn a_commit_that_stays_incomplete_is_told_and_so_is_its_end() {
    let lake = Lake::new();
    let mut table = LakeTable::new(&lake.harness.table_files, "orders");
    let first = table.append();
    lake.point_at("CreateTable", &first, &["id"]);
    let kinds = || -> Vec<(AlertKind, String)> {
        let alerts = lake.harness.topic.take().into_iter();
        alerts
            .map(|alert| (alert.kind, alert.state.as_str().to_owned()))
            .collect()
    };
    for _ in 0..14 {
        assert_eq!(lake.run_queue(), [60]);
    }
    assert_eq!(kinds(), []);
    for _ in 0..3 {
        lake.run_queue();
    }
    assert_eq!(kinds(), [(AlertKind::DataPending, "new".to_owned())]);
    table.arrive_all();
    for _ in 0..3 {
        lake.run_queue();
    }
    assert!(lake.pointer().is_some());
    assert_eq!(kinds(), [(AlertKind::DataPending, "resolved".to_owned())]);
}

/// A memory that is too long for the ledger is an object, of which one stays.
#[test]
fn a_long_memory_is_an_object_that_is_replaced() {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let name = "x".repeat(880);
    let location = format!("{SOURCE}/sales/{name}");
    let mut table = LakeTable::new(files, &name);
    let commits: Vec<String> = (0..100).map(|_| table.append()).collect();
    let first = &commits[99];
    table.arrive_all();
    lake.point_in(&location, "CreateTable", first, &["id"]);
    lake.run_queue();
    let indexes = || -> Vec<String> {
        let files = files.files();
        let all = files.keys().filter(|path| path.contains("/index-"));
        all.cloned().collect()
    };
    let before = indexes();
    assert_eq!(before.len(), 1, "{:?}", lake.row());
    let memory = lake.harness.ledger.contents().relocation_memories;
    assert!(memory[&id()].0.len() < 4000 && memory[&id()].0.contains(&before[0]));
    let _ = files.take_log();
    let second = table.append();
    table.arrive_all();
    lake.point_in(&location, "UpdateTable", &second, &["id"]);
    lake.run_queue();
    let log = files.take_log();
    let created = log.iter().filter(|call| call.starts_with("create")).count();
    assert_eq!(
        created, 4,
        "manifest, list, metadata.json and index: {log:#?}"
    );
    assert!(indexes().len() == 1 && indexes() != before);
    assert!(lake.pointer().unwrap().ends_with("00101-x.metadata.json"));
}

#[test]
fn a_memory_that_the_ledger_can_hold_writes_no_index_object() {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let mut table = LakeTable::new(files, "orders");
    for _ in 0..3 {
        let metadata = table.append();
        lake.commit(&table, &metadata);
    }
    let memories = lake.harness.ledger.contents().relocation_memories;
    assert!(!memories[&id()].0.contains("/index-"));
    let files = files.files();
    assert!(files.keys().all(|path| !path.contains("/index-")));
}

#[test]
fn what_is_refused_is_blocked_and_not_asked_for_again() {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let path = format!("{SOURCE}/sales/orders/metadata/00001-x.metadata.json");
    let text = r#"{"format-version":9,"location":"s3://lake-us/sales/orders"}"#;
    files
        .files()
        .insert(replica(&path), text.as_bytes().to_vec());
    lake.point_at("CreateTable", &path, &["id"]);
    lake.run_queue();
    let row = lake.row();
    assert_eq!(row.state, SubjectState::Blocked);
    assert!(row.reason.unwrap().contains("format version 9"));
    assert!(matches!(
        row.iceberg.unwrap().waiting.unwrap().obstacle,
        RelocationObstacle::Refused(_)
    ));
    let _ = files.take_log();
    lake.harness.resync();
    assert_eq!((files.take_log(), lake.pointer()), (Vec::new(), None));
}

#[test]
fn a_resync_leaves_what_is_not_relocated_to_the_function_with_the_files() {
    let lake = Lake::new();
    let mut table = LakeTable::new(&lake.harness.table_files, "orders");
    let first = table.append();
    lake.point_at("CreateTable", &first, &["id"]);
    let _ = lake.harness.queue.take();
    let outcome = lake.harness.resync().unwrap().outcome;
    assert!(outcome.unrelocated.is_empty(), "a message is in the queue");
    lake.harness.sim.state().advance_secs(120);
    let outcome = lake.harness.resync().unwrap().outcome;
    assert_eq!(outcome.unrelocated.keys().collect::<Vec<_>>(), [&id()]);
}
