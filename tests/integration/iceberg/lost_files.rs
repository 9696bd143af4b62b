//! Files of the commit that the standby shows which somebody deletes.

use super::lake_table::{LakeTable, SOURCE, TARGET, replica};
use super::unneeded_files::look_with;
use super::{Lake, complete, relocate};
use twinlake_core::iceberg_replica::{RelocationObstacle, SHOWN_LOOK_SECS};
use twinlake_core::{Alert, AlertKind, AlertState, CallError, CallErrorKind, SubjectState};
use twinlake_engine::iceberg::RelocationMemory;
use twinlake_engine::ports::TableFiles;
use twinlake_sim::SimTableFiles;

fn is_lost(alert: &Alert, state: AlertState) -> bool {
    alert.kind == AlertKind::DataLost && alert.state == state
}

#[test]
fn lost_files_of_the_commit_that_is_shown_page_and_name_the_files() {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let mut table = LakeTable::new(files, "orders");
    let first = table.append();
    table.arrive_all();
    lake.point_at("CreateTable", &first, &["id"]);
    lake.run_queue();
    let data = files
        .files()
        .keys()
        .find(|path| path.ends_with("d1.parquet"))
        .unwrap()
        .clone();
    let content = files.files()[&data].clone();
    let second = table.append();
    lake.point_at("UpdateTable", &second, &["id"]);
    table.delete(&data.replace(TARGET, SOURCE));
    for _ in 0..20 {
        lake.run_queue();
    }
    let alerts = lake.harness.topic.take();
    let lost = alerts
        .iter()
        .find(|alert| alert.kind == AlertKind::DataLost);
    assert!(
        lost.unwrap().samples[0].contains("d1.parquet"),
        "{alerts:#?}"
    );
    let row = lake.row();
    assert_eq!(row.iceberg.unwrap().lost.unwrap().missing, 1);
    table.arrive_all();
    for _ in 0..20 {
        lake.run_queue();
    }
    let replica = lake.row().iceberg.unwrap();
    assert_eq!(
        replica.lost.unwrap().missing,
        1,
        "the newer commit names it, too"
    );
    assert_ne!(replica.shown.unwrap().entry.source, second);
    let alerts = lake.harness.topic.take();
    let is_resolved = |alert: &Alert| is_lost(alert, AlertState::Resolved);
    assert!(!alerts.iter().any(is_resolved), "{alerts:#?}");
    files.files().insert(data, content);
    for _ in 0..20 {
        lake.run_queue();
    }
    let replica = lake.row().iceberg.unwrap();
    assert_eq!(replica.shown.unwrap().entry.source, second);
    assert!(lake.harness.topic.take().iter().any(is_resolved));
}

/// Nothing is committed any more, and a file is deleted in the standby alone.
#[test]
fn files_that_are_lost_while_nothing_changes_are_noticed_and_so_is_their_return() {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let mut table = LakeTable::new(files, "orders");
    table.append();
    let second = table.append();
    table.arrive_all();
    lake.point_at("CreateTable", &second, &["id"]);
    lake.run_queue();
    let lost = replica(&format!("{SOURCE}/sales/orders/data/d1.parquet"));
    let content = files.files().remove(&lost).unwrap();
    lake.look();
    assert_eq!(lake.row().state, SubjectState::InSync, "it is not due");

    lake.harness.sim.state().advance_secs(SHOWN_LOOK_SECS);
    let _ = files.take_log();
    lake.look();
    let listed = format!("list {TARGET}/sales/orders/");
    assert!(files.take_log().contains(&listed));
    let row = lake.row();
    assert_eq!(row.state, SubjectState::OutOfSync, "{row:?}");
    assert!(row.reason.unwrap().contains(&lost));
    let alerts = lake.harness.topic.take();
    assert!(
        alerts.iter().any(|one| is_lost(one, AlertState::New)),
        "{alerts:#?}"
    );

    // It is looked for again by itself, also with another size.
    files.files().insert(lost.clone(), vec![0; 3]);
    assert_eq!(lake.run_queue(), [900]);
    assert_eq!(lake.row().iceberg.unwrap().lost.unwrap().missing, 1);
    files.files().insert(lost, content);
    for _ in 0..3 {
        lake.run_queue();
    }
    assert_eq!(lake.row().state, SubjectState::InSync);
    assert_eq!(lake.run_queue(), [0_u16; 0]);
    let alerts = lake.harness.topic.take();
    assert!(
        alerts.iter().any(|one| is_lost(one, AlertState::Resolved)),
        "{alerts:#?}"
    );
}

/// A commit each hour puts the look off no longer than its interval, and one that names the file is not shown.
#[test]
fn files_that_are_lost_are_noticed_while_commits_go_on() {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let mut table = LakeTable::new(files, "orders");
    let first = table.append();
    table.arrive_all();
    lake.point_at("CreateTable", &first, &["id"]);
    lake.run_queue();
    let lost = replica(&format!("{SOURCE}/sales/orders/data/d1.parquet"));
    let content = files.files().remove(&lost).unwrap();
    let mut commit = String::new();
    for hour in 1..=6 {
        lake.harness.sim.state().advance_secs(3600);
        commit = table.append();
        table.arrive_all();
        files.files().remove(&lost);
        lake.point_at("UpdateTable", &commit, &["id"]);
        lake.run_queue();
        let replica = lake.row().iceberg.unwrap();
        let source = replica.shown.unwrap().entry.source;
        assert_eq!(source == commit, hour < 6, "{hour}: {source}");
    }
    for _ in 0..3 {
        lake.run_queue();
    }
    let replica = lake.row().iceberg.unwrap();
    assert!(replica.lost.unwrap().samples[0].contains("d1.parquet"));
    let waiting = replica.waiting.unwrap();
    assert_eq!(waiting.entry.source, commit);
    assert!(matches!(
        waiting.obstacle,
        RelocationObstacle::DataPending { missing: 1, .. }
    ));
    files.files().insert(lost, content);
    for _ in 0..20 {
        lake.run_queue();
    }
    let replica = lake.row().iceberg.unwrap();
    assert_eq!(
        (replica.shown.unwrap().entry.source, replica.lost),
        (commit, None)
    );
}

/// A rewritten file that is deleted is no loss: it is written again, and it alone is read again.
#[test]
fn a_rewritten_file_that_is_missing_costs_what_names_it() {
    let files = SimTableFiles::default();
    let mut table = LakeTable::new(&files, "orders");
    let commits: Vec<String> = (0..30).map(|_| table.append()).collect();
    table.arrive_all();
    let mut memory = RelocationMemory::default();
    let last = commits.last().unwrap();
    let path = complete(relocate(&files, last, &mut memory));
    // The newest manifest is named by the newest list only.
    let newest = |path: &&String| path.contains("/_twinlake/") && path.contains("-m30-");
    let manifest = files.files().keys().find(newest).unwrap().clone();
    files.files().remove(&manifest);
    let _ = files.take_log();
    assert_eq!(complete(relocate(&files, last, &mut memory)), path);
    let log = files.take_log();
    let reads = log.iter().filter(|call| call.starts_with("get")).count();
    assert!(
        reads <= 4,
        "metadata.json, the list twice, the manifest: {log:#?}"
    );
    assert!(log.contains(&format!("create {manifest}")));
}

/// Files whose locations are not listed, except the directories of rewritten files.
struct UnlistedFiles<'a>(&'a SimTableFiles);

impl TableFiles for UnlistedFiles<'_> {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, CallError> {
        self.0.get(path).await
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, CallError> {
        self.0.size(path).await
    }

    async fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64)) -> Result<(), CallError> {
        if prefix.contains("/_twinlake/") {
            return self.0.list(prefix, visit).await;
        }
        let kind = CallErrorKind::Unavailable;
        Err(CallError::new(kind, "ListObjectsV2", "S3", "slow down"))
    }

    async fn create(&self, path: &str, content: Vec<u8>) -> Result<bool, CallError> {
        self.0.create(path, content).await
    }

    async fn remove(&self, path: &str) -> Result<(), CallError> {
        self.0.remove(path).await
    }
}

#[test]
fn files_that_cannot_be_looked_for_are_told_after_two_looks() {
    let lake = Lake::new();
    let mut table = LakeTable::new(&lake.harness.table_files, "orders");
    let first = table.append();
    table.arrive_all();
    lake.point_at("CreateTable", &first, &["id"]);
    lake.run_queue();
    let files = UnlistedFiles(&lake.harness.table_files);
    let mut states = Vec::new();
    for _ in 0..2 {
        lake.harness.sim.state().advance_secs(SHOWN_LOOK_SECS);
        look_with(&lake, &files, lake.pointer(), lake.harness.epoch());
        lake.harness.resync();
        states.push(lake.row().state);
    }
    assert_eq!(states, [SubjectState::InSync, SubjectState::DataPending]);
    let reason = lake.row().reason.unwrap();
    assert!(
        reason.contains("were not looked for") && reason.contains("slow down"),
        "{reason}"
    );
    lake.harness.sim.state().advance_secs(SHOWN_LOOK_SECS);
    lake.look();
    lake.harness.resync();
    assert_eq!(lake.row().state, SubjectState::InSync);
}
