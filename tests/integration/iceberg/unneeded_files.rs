//! Rewritten files that no commit needs any more are removed, and those that one needs never are.

use super::lake_table::{LakeTable, SOURCE, faults};
use super::{Lake, act, complete, id, own_files, relocate};
use futures_util::FutureExt as _;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;
use twinlake_core::iceberg_replica::{DueIcebergTable, RelocationObstacle};
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, TableId};
use twinlake_engine::iceberg::{
    Follower, HeldFiles, MAX_HELD_BYTES, NextCheck, REMOVAL_SECS, RelocationMemory,
    UNNEEDED_GRACE_SECS,
};
use twinlake_engine::ports::{StatsStore as _, TableFiles};
use twinlake_engine::{Clock as _, InMemoryLedger};
use twinlake_sim::SimTableFiles;
use twinlake_tests::harness::PRIMARY;

/// What a relocation that remembers nothing writes: what is needed.
pub fn needed_files(files: &SimTableFiles, metadata: &str) -> BTreeSet<String> {
    let fresh = SimTableFiles::default();
    for (path, content) in files.files().iter() {
        if !path.contains("/_twinlake/") {
            fresh.files().insert(path.clone(), content.clone());
        }
    }
    complete(relocate(&fresh, metadata, &mut RelocationMemory::default()));
    own_files(&fresh).into_keys().collect()
}

pub fn own_paths(files: &SimTableFiles) -> BTreeSet<String> {
    let own = own_files(files).into_keys();
    own.filter(|path| !path.contains("/index-")).collect()
}

impl Lake {
    pub fn commit(&self, table: &LakeTable<'_>, metadata: &str) {
        table.arrive_all();
        let is_first = self.pointer().is_none();
        let call = if is_first {
            "CreateTable"
        } else {
            "UpdateTable"
        };
        self.point_at(call, metadata, &["id"]);
        self.run_queue();
    }

    /// Lets time pass, with the looks that a resync brings.
    pub fn wait_hours(&self, hours: i64) {
        for _ in 0..hours.div_euclid(7) + 1 {
            self.harness.sim.state().advance_secs(7 * 3600);
            self.look();
        }
    }
}

/// A commit each ten minutes for days, while the primary expires snapshots and merges manifests.
#[test]
fn what_is_kept_and_what_a_look_costs_stay_bounded() {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let mut table = LakeTable::new(files, "orders");
    let mut sizes = Vec::new();
    let mut removed = 0;
    for number in 0..500 {
        let metadata = match number % 10 {
            3 => table.delete_rows(),
            8 => table.rewrite_manifests(),
            9 => table.expire_but(5),
            _ => table.append(),
        };
        let _ = files.take_log();
        lake.commit(&table, &metadata);
        let log = files.take_log();
        removed += log.iter().filter(|call| call.starts_with("remove")).count();
        let memories = lake.harness.ledger.contents().relocation_memories;
        let own = own_files(files);
        let index = own.iter().find(|(path, _)| path.contains("/index-"));
        let memory = index.map_or(memories[&id()].0.len(), |(_, content)| content.len());
        sizes.push((memory, log.len(), own.len()));
        if number % 50 == 49 {
            let shown = lake.pointer().unwrap();
            assert!(shown.ends_with(&metadata[metadata.len() - 21..]), "{shown}");
            assert_eq!(faults(files, &shown), Vec::<String>::new());
        }
        lake.harness.sim.state().advance_secs(600);
    }
    assert!(removed > 500, "{removed}");
    let most = |range: std::ops::Range<usize>| {
        let sizes = &sizes[range];
        let of = |pick: fn(&(usize, usize, usize)) -> usize| sizes.iter().map(pick).max().unwrap();
        [of(|one| one.0), of(|one| one.1), of(|one| one.2)]
    };
    // A day has 144 commits: from then on, as much is removed as is written.
    let (earlier, later) = (most(200..300), most(400..500));
    for (earlier, later) in earlier.into_iter().zip(later) {
        assert!(later <= earlier + earlier / 10, "{earlier} became {later}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the primary commits, and however much time passes: the commit that is shown is complete, and in
    /// the end nothing is left that it does not need.
    #[test]
    fn only_what_is_not_needed_is_removed(
        actions in proptest::collection::vec((any::<u8>(), 0..40_i64), 1..14),
    ) {
        let lake = Lake::new();
        let files = &lake.harness.table_files;
        let mut table = LakeTable::new(files, "orders");
        let mut metadata = table.append();
        lake.commit(&table, &metadata);
        for (action, hours) in actions {
            metadata = act(&mut table, action);
            lake.commit(&table, &metadata);
            lake.wait_hours(hours);
            let shown = lake.pointer().unwrap();
            prop_assert_eq!(faults(files, &shown), Vec::<String>::new());
        }
        lake.wait_hours(50);
        let shown = lake.pointer().unwrap();
        prop_assert_eq!(faults(files, &shown), Vec::<String>::new());
        prop_assert_eq!(own_paths(files), needed_files(files, &metadata));
    }
}

/// A lake whose first metadata.json is due to be removed, the primary's metadata files, and its table.
fn with_unneeded_file(lake: &Lake) -> (LakeTable<'_>, [String; 2], String) {
    let mut table = LakeTable::new(&lake.harness.table_files, "orders");
    let first = table.append();
    lake.commit(&table, &first);
    let unneeded = lake.pointer().unwrap();
    let second = table.append();
    lake.commit(&table, &second);
    (table, [first, second], unneeded)
}

fn exists(lake: &Lake, path: &str) -> bool {
    lake.harness.table_files.files().contains_key(path)
}

#[test]
fn nothing_is_removed_before_its_time() {
    let lake = Lake::new();
    let (_table, _, unneeded) = with_unneeded_file(&lake);
    lake.wait_hours(1);
    assert!(exists(&lake, &unneeded));
    // The look seven hours after the commit finds that the entry shows it.
    lake.harness
        .sim
        .state()
        .advance_secs(UNNEEDED_GRACE_SECS - 3600);
    lake.look();
    assert!(exists(&lake, &unneeded));
    lake.wait_hours(14);
    assert!(!exists(&lake, &unneeded));
}

#[test]
fn nothing_is_removed_while_the_entry_shows_what_somebody_else_wrote() {
    let lake = Lake::new();
    let (_table, _, unneeded) = with_unneeded_file(&lake);
    lake.wait_hours(1);
    let (files, epoch) = (&lake.harness.table_files, lake.harness.epoch());
    let before = own_paths(files);
    let other = "s3://lake-in/replica/other.metadata.json".to_owned();
    for pointer in [Some(other), None] {
        lake.harness
            .sim
            .state()
            .advance_secs(2 * UNNEEDED_GRACE_SECS);
        look_with(&lake, files, pointer, epoch);
        assert_eq!(own_paths(files), before);
    }
    lake.harness.sim.state().advance_secs(7 * 3600);
    look_with(&lake, files, lake.pointer(), epoch);
    assert!(!exists(&lake, &unneeded));
}

/// A table that moves leaves rewritten files behind, which no listing of its new directory has.
#[test]
fn the_files_of_an_earlier_directory_are_removed_once() {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let mut table = LakeTable::new(files, "orders");
    let first = table.append();
    lake.commit(&table, &first);
    let earlier = own_paths(files);
    let mut moved = LakeTable::new(files, "moved");
    let second = moved.append();
    moved.arrive_all();
    let location = format!("{SOURCE}/sales/moved");
    lake.point_in(&location, "UpdateTable", &second, &["id"]);
    lake.run_queue();
    assert!(lake.pointer().unwrap().contains("/moved/"));
    let _ = files.take_log();
    lake.wait_hours(200);
    let log = files.take_log();
    let removed = log.iter().filter(|call| call.starts_with("remove")).count();
    assert_eq!(removed, earlier.len(), "{log:#?}");
    assert_eq!(own_paths(files), needed_files(files, &second));
}

/// Two tables change their names: what one entry leaves behind, the other one shows under the same file names.
#[test]
fn the_files_of_an_earlier_directory_stay_while_another_entry_has_its_location() {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let mut table = LakeTable::new(files, "orders");
    let first = table.append();
    lake.commit(&table, &first);
    let shown = lake.pointer().unwrap();
    let earlier = own_paths(files);
    let mut moved = LakeTable::new(files, "moved");
    let second = moved.append();
    moved.arrive_all();
    lake.point_in(
        &format!("{SOURCE}/sales/moved"),
        "UpdateTable",
        &second,
        &["id"],
    );
    create_entry(&lake, "orders_old", &first);
    assert!(lake.pointer().unwrap().contains("/moved/"));
    for _ in 0..30 {
        lake.wait_hours(1);
        assert!(own_paths(files).is_superset(&earlier));
        assert_eq!(faults(files, &shown), Vec::<String>::new());
    }
}

/// After a takeover the files are the table's own, also if the Region becomes the standby again.
#[test]
fn what_was_written_in_an_earlier_epoch_is_never_removed() {
    let lake = Lake::new();
    let (_table, _, unneeded) = with_unneeded_file(&lake);
    lake.wait_hours(1);
    let before = own_paths(&lake.harness.table_files);
    let epoch = lake.harness.epoch();
    let epoch = Epoch::new(epoch.number() + 2, epoch.primary());
    for _ in 0..9 {
        lake.harness.sim.state().advance_secs(7 * 3600);
        look_with(&lake, &lake.harness.table_files, lake.pointer(), epoch);
    }
    assert_eq!(own_paths(&lake.harness.table_files), before);
    assert!(exists(&lake, &unneeded));
}

/// The primary goes back to a commit whose file is being removed: it is shown once nobody can be at it.
#[test]
fn a_file_that_is_needed_again_while_it_is_removed_waits() {
    let lake = Lake::new();
    let (mut table, [first, _], unneeded) = with_unneeded_file(&lake);
    lake.wait_hours(35);
    assert!(!exists(&lake, &unneeded));
    let shown = lake.pointer().unwrap();
    let third = table.append();
    lake.commit(&table, &third);
    let before = own_paths(&lake.harness.table_files);
    // The look of this commit begins the removal of the one before it.
    lake.harness.sim.state().advance_secs(6 * 3600);
    lake.look();
    lake.harness.sim.state().advance_secs(UNNEEDED_GRACE_SECS);
    lake.look();
    let removed: Vec<&String> = before.iter().filter(|path| !exists(&lake, path)).collect();
    assert_eq!(removed, [&shown]);
    let second = shown.rsplit_once("-0000").unwrap().1;
    let second = format!("{SOURCE}/sales/orders/metadata/0000{second}");
    let began = lake.harness.sim.now();
    lake.point_at("UpdateTable", &second, &["id"]);
    let waiting = lake.row().iceberg.unwrap().waiting.unwrap();
    assert!(matches!(
        waiting.obstacle,
        RelocationObstacle::Unfinished { .. }
    ));
    for _ in 0..60 {
        if lake.pointer().unwrap() == shown {
            break;
        }
        let may_exist = lake.harness.sim.now() >= began.plus_secs(REMOVAL_SECS - 120);
        assert!(
            may_exist || !exists(&lake, &shown),
            "it is written while somebody may remove it"
        );
        lake.run_queue();
    }
    assert_eq!(lake.pointer().unwrap(), shown);
    assert!(lake.harness.sim.now() >= began.plus_secs(REMOVAL_SECS - 120));
    assert_eq!(
        faults(&lake.harness.table_files, &shown),
        Vec::<String>::new()
    );
    let _ = first;
}

/// Looks at the table directly, with this pointer in the standby's entry.
pub fn look_with(
    lake: &Lake,
    files: &impl TableFiles,
    standby_pointer: Option<String>,
    epoch: Epoch,
) -> NextCheck {
    let follower = Follower {
        files,
        ledger: &lake.harness.ledger,
        clock: &lake.harness.sim,
        held: &HeldFiles::new(MAX_HELD_BYTES),
        policy: &lake.harness.policy,
        epoch,
    };
    let shown = lake.row().iceberg.unwrap();
    let entry = match shown.waiting {
        Some(waiting) => waiting.entry,
        None => shown.shown.unwrap().entry,
    };
    let table = DueIcebergTable {
        entry,
        standby_pointer,
    };
    let stop_at = lake.harness.sim.now().plus_secs(1000);
    let id = id();
    let look = follower.look(&id, &table, stop_at);
    look.now_or_never().unwrap().unwrap()
}

/// Files, of which another function records a memory when the first one is added.
struct FilesWithAnotherFunction<'a> {
    files: &'a SimTableFiles,
    ledger: &'a InMemoryLedger,
    table: TableId,
}

impl TableFiles for FilesWithAnotherFunction<'_> {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, CallError> {
        self.files.get(path).await
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, CallError> {
        self.files.size(path).await
    }

    async fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64)) -> Result<(), CallError> {
        self.files.list(prefix, visit).await
    }

    async fn create(&self, path: &str, content: Vec<u8>) -> Result<bool, CallError> {
        let stored = self.ledger.relocation_memory(&self.table).await?;
        let (body, version) = stored.map_or(("{}".to_owned(), None), |(body, version)| {
            (body, Some(version))
        });
        self.ledger
            .put_relocation_memory(&self.table, &body, version)
            .await?;
        self.files.create(path, content).await
    }

    async fn remove(&self, path: &str) -> Result<(), CallError> {
        self.files.remove(path).await
    }
}

/// What the other one removes may be what this one relied on.
#[test]
fn a_look_that_another_function_overtook_records_and_removes_nothing() {
    let lake = Lake::new();
    let (mut table, _, unneeded) = with_unneeded_file(&lake);
    lake.wait_hours(1);
    lake.harness
        .sim
        .state()
        .advance_secs(2 * UNNEEDED_GRACE_SECS);
    let pointer = lake.pointer();
    let third = table.append();
    lake.point_at("UpdateTable", &third, &["id"]);
    table.arrive_all();
    let _ = lake.harness.queue.take();
    lake.harness.sim.state().advance_secs(60);
    let files = FilesWithAnotherFunction {
        files: &lake.harness.table_files,
        ledger: &lake.harness.ledger,
        table: id(),
    };
    let before = own_paths(&lake.harness.table_files);
    let next = look_with(&lake, &files, pointer.clone(), lake.harness.epoch());
    assert_eq!(next, NextCheck::Later(60));
    let replica = lake.row().iceberg.unwrap();
    assert_ne!(replica.shown.unwrap().entry.source, third);
    let after = own_paths(&lake.harness.table_files);
    assert!(before.is_subset(&after), "nothing is removed");
    let next = look_with(
        &lake,
        &lake.harness.table_files,
        pointer,
        lake.harness.epoch(),
    );
    assert_eq!(next, NextCheck::AtOnce);
    assert_eq!(
        lake.row().iceberg.unwrap().shown.unwrap().entry.source,
        third
    );
    let _ = unneeded;
}

/// Registers the table `orders` under another name.
fn create_entry(lake: &Lake, name: &str, metadata: &str) {
    let input = json!({"DatabaseName": "sales", "TableInput": {
        "Name": name, "TableType": "EXTERNAL_TABLE", "PartitionKeys": [],
        "StorageDescriptor": {
            "Columns": [{"Name": "id", "Type": "int"}], "Location": format!("{SOURCE}/sales/orders"),
        },
        "Parameters": {"table_type": "ICEBERG", "metadata_location": metadata}}});
    lake.harness.call(PRIMARY, "CreateTable", &input).unwrap();
    let events = lake.harness.take_events();
    lake.harness.deliver(&events).unwrap();
    lake.run_queue();
}

/// Somebody registers the table under another name, at the commit before the newest.
#[test]
fn nothing_is_removed_while_two_entries_have_one_location() {
    let lake = Lake::new();
    let (_, [first, _], unneeded) = with_unneeded_file(&lake);
    create_entry(&lake, "copy", &first);
    lake.wait_hours(60);
    assert!(lake.harness.table_files.files().contains_key(&unneeded));
}
