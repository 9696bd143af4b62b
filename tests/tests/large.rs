//! Tables with many partitions: no event lists one of them more than it must, and a
//! look at all of them holds only so much in memory.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use twinlake_core::{Name, Row, State, Subject, TableId, Timestamp};
use twinlake_engine::observe::KEPT;
use twinlake_engine::ports::SEGMENTS;
use twinlake_engine::resync::Report;
use twinlake_engine::{Clock as _, Ledger as _, Message};
use twinlake_sim::run_until_killed;
use twinlake_tests::history::table_input;
use twinlake_tests::lab::{Lab, PRIMARY, SECONDARY, policy};
use twinlake_tests::twin;

fn partition(number: usize, version: usize) -> Value {
    json!({
        "Values": [format!("{number:07}")], "Parameters": {"v": version.to_string()},
        "StorageDescriptor": {"Location": format!("s3://lake-us/big/t/{number}/")},
    })
}

fn in_table(key: &str, value: &Value) -> Value {
    json!({"DatabaseName": "big", "TableName": "t", key: value})
}

fn id() -> TableId {
    TableId::new(Name::new("big").unwrap(), Name::new("t").unwrap())
}

fn add(lab: &Lab, numbers: impl Iterator<Item = usize>) {
    let numbers: Vec<usize> = numbers.collect();
    for some in numbers.chunks(100) {
        let inputs: Vec<Value> = some.iter().map(|&n| partition(n, 0)).collect();
        let request = in_table("PartitionInputList", &json!(inputs));
        lab.call(PRIMARY, "BatchCreatePartition", &request).unwrap();
    }
}

/// A laboratory with one table of so many partitions.
fn lab_with(count: usize) -> Lab {
    let lab = Lab::new(policy("brake = { share = 0.1, minimum = 10 }"));
    let input = json!({"DatabaseInput": {"Name": "big", "CreateTableDefaultPermissions": []}});
    lab.call(PRIMARY, "CreateDatabase", &input).unwrap();
    let input = json!({"DatabaseName": "big", "TableInput": table_input("big", "t", &["id"])});
    lab.call(PRIMARY, "CreateTable", &input).unwrap();
    add(&lab, 0..count);
    let _ = lab.take_events();
    lab
}

fn calls(lab: &Lab) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in lab.sim.world().take_calls() {
        *counts.entry(call.name).or_default() += 1;
    }
    counts
}

fn equal(lab: &Lab) {
    let found = twin::differences(&lab.sim.world(), &[]);
    assert!(found.is_empty(), "{:?}", &found[..found.len().min(5)]);
}

/// The events that CloudTrail records, or those of Glue itself.
fn events(lab: &Lab, recorded: bool) -> Vec<Vec<u8>> {
    let mut all = lab.take_events();
    let is_recorded = |body: &[u8]| String::from_utf8_lossy(body).contains("via CloudTrail");
    all.retain(|body| is_recorded(body) == recorded);
    all
}

fn resync_until(lab: &Lab, stop_at: Option<Timestamp>, message: Option<&Message>) -> Report {
    let mut context = lab.context();
    context.stop_at = stop_at;
    let part = message.map(|message| (message.part.as_ref().unwrap(), &message.scope));
    let run = twinlake_engine::resync::resync(&context, part, Some(&lab.queue), &());
    run_until_killed(&lab.sim, run).unwrap().unwrap()
}

#[test]
fn a_changed_partition_is_asked_for_by_its_values() {
    let lab = lab_with(3000);
    lab.resync();
    let _ = calls(&lab);
    let mut request = in_table("PartitionValueList", &partition(7, 0)["Values"]);
    request["PartitionInput"] = partition(7, 1);
    lab.call(PRIMARY, "UpdatePartition", &request).unwrap();
    let _ = calls(&lab);
    let answer = lab.deliver(&events(&lab, true)).unwrap();
    assert_eq!((answer.applied(), answer.failed.len()), (1, 0));
    let made = calls(&lab);
    assert_eq!(made.get("GetPartitions"), None, "{made:?}");
    assert!(made.values().sum::<usize>() <= 6, "{made:?}");
    equal(&lab);

    let dropped = in_table(
        "PartitionsToDelete",
        &json!([{"Values": partition(8, 0)["Values"]}]),
    );
    lab.call(PRIMARY, "BatchDeletePartition", &dropped).unwrap();
    let _ = calls(&lab);
    assert_eq!(lab.deliver(&events(&lab, true)).unwrap().applied(), 1);
    let made = calls(&lab);
    assert!(made.values().sum::<usize>() <= 6, "{made:?}");
    equal(&lab);
}

#[test]
fn a_named_partition_of_a_table_that_is_not_in_step_brings_the_table() {
    let lab = lab_with(3);
    add(&lab, 5..6);
    let answer = lab.deliver(&events(&lab, true)).unwrap();
    assert!(answer.failed.is_empty());
    equal(&lab);
    // Somebody made the table anew in the secondary: it is no longer ours to write.
    let gone = json!({"DatabaseName": "big", "Name": "t"});
    lab.call(SECONDARY, "DeleteTable", &gone).unwrap();
    let other = json!({"DatabaseName": "big", "TableInput": {"Name": "t", "Description": "mine",
                       "PartitionKeys": [{"Name": "dt", "Type": "string"}]}});
    lab.call(SECONDARY, "CreateTable", &other).unwrap();
    add(&lab, 6..7);
    lab.deliver(&events(&lab, true)).unwrap();
    assert!(lab.sim.world().raw_partitions(SECONDARY)[&id()].is_empty());
}

#[test]
fn native_events_of_a_table_come_to_one_look_in_five_minutes() {
    let lab = lab_with(1500);
    lab.resync();
    let mut asked = 0;
    for number in 2000..2020 {
        add(&lab, number..number + 1);
        let native = events(&lab, false);
        let _ = calls(&lab);
        lab.deliver(&native).unwrap();
        asked += calls(&lab)
            .get("GetPartitions")
            .copied()
            .unwrap_or_default();
    }
    assert_eq!(asked, 4, "one look of two pages on each side");
    let later = lab.queue.take();
    assert_eq!(later.len(), 1, "{later:?}");
    lab.sim.world().pass_secs(300);
    lab.deliver(&[later[0].body().into_bytes()]).unwrap();
    equal(&lab);
}

#[test]
fn what_differs_beyond_what_is_kept_follows_by_name() {
    let count = KEPT + 2500;
    let lab = lab_with(count);
    let report = lab.resync().unwrap();
    assert!(report.outcome.is_settled() && report.verified_at.is_some());
    equal(&lab);
    assert!(
        report.outcome.applied.len() < 1100,
        "only some are remembered"
    );
    assert!(report.outcome.counts.created >= count);
    let rows = lab.ledger.book().rows;
    assert_eq!(rows[&Subject::Table(id())].partitions, count);
    let _ = calls(&lab);
    assert!(lab.resync().unwrap().outcome.applied.is_empty());
    let pages = 2 * count.div_ceil(1000);
    let read = calls(&lab)["GetPartitions"];
    assert!((pages..=pages + 2 * SEGMENTS).contains(&read), "{read}");
}

#[test]
fn a_table_known_to_be_large_is_read_in_segments() {
    let lab = lab_with(25_000);
    lab.resync();
    let _ = calls(&lab);
    assert!(lab.resync().unwrap().outcome.applied.is_empty());
    let pages = calls(&lab)["GetPartitions"];
    assert!(
        (50..=70).contains(&pages),
        "ten segments a side, no page twice: {pages}"
    );
    equal(&lab);
}

#[test]
fn what_time_does_not_allow_is_a_part_of_the_run_of_its_own() {
    let lab = lab_with(KEPT + 500);
    let now = lab.sim.now();
    // The database is begun before time runs out, and its table is not finished after.
    let report = resync_until(&lab, Some(now.plus_secs(1)), None);
    assert_eq!((report.handed_on, report.verified_at), (1, None));
    let behind = &lab.ledger.book().rows[&Subject::Table(id())];
    assert!(
        behind.reason.as_ref().is_some_and(|r| r.contains("500")),
        "{behind:?}"
    );
    let [of_table, of_lake] = lab.queue.take().try_into().unwrap();
    let rest = resync_until(&lab, None, Some(&of_table));
    assert_eq!(rest.verified_at, None, "the lake is not looked at yet");
    let rest = resync_until(&lab, None, Some(&of_lake));
    assert_eq!(rest.verified_at, Some(now));
    equal(&lab);
    let current = &lab.ledger.book().rows[&Subject::Table(id())];
    assert_eq!((current.partitions, &current.reason), (KEPT + 500, &None));
}

#[test]
fn single_deletions_add_up_to_the_budget_and_one_by_itself_passes() {
    let lab = lab_with(1000);
    lab.resync();
    let mut applied = 0;
    for number in 0..200 {
        let values = json!([{"Values": partition(number, 0)["Values"]}]);
        let request = in_table("PartitionsToDelete", &values);
        lab.call(PRIMARY, "BatchDeletePartition", &request).unwrap();
        applied += lab.deliver(&events(&lab, true)).unwrap().applied();
        assert!(
            number > 0 || applied == 1,
            "a single one is no mass deletion"
        );
    }
    assert_eq!(applied, 100, "a tenth of what is paired, within the hour");
    let told = lab.topic.take();
    assert!(
        told.iter()
            .any(|alert| alert.kind == twinlake_core::AlertKind::Vetoed)
    );
    let held = &lab.ledger.book().rows[&Subject::Table(id())];
    assert_eq!(held.state, State::Held, "{held:?}");
    // An hour later the budget is free again, and a resync takes up what was held.
    lab.sim.world().pass_secs(3700);
    let report = lab.resync().unwrap();
    assert_eq!(report.outcome.counts.deleted, 100);
    equal(&lab);
}

#[test]
fn an_event_that_names_the_deletion_of_one_table_is_not_held() {
    // The tightest brake that lets a single one pass.
    let mut lab = lab_with(20);
    lab.policy = policy("brake = { share = 0.0, minimum = 1 }");
    lab.resync();
    let gone = json!({"DatabaseName": "big", "Name": "t"});
    lab.call(PRIMARY, "DeleteTable", &gone).unwrap();
    assert_eq!(lab.deliver(&events(&lab, true)).unwrap().applied(), 1);
    assert!(lab.topic.take().is_empty());
    equal(&lab);
}

#[test]
fn a_partition_that_is_refused_fails_alone() {
    let count = KEPT + 300;
    let lab = lab_with(count);
    lab.sim.world().refuse_partition(SECONDARY, &["0000007"]);
    let report = lab.resync().unwrap();
    assert_eq!(
        report.outcome.failed.len(),
        1,
        "{:?}",
        report.outcome.failed
    );
    let made = lab.sim.world().raw_partitions(SECONDARY)[&id()].len();
    assert_eq!(
        made,
        count - 1,
        "its neighbours, and those that followed by name"
    );
    let row = &lab.ledger.book().rows[&Subject::Table(id())];
    assert_eq!(row.state, State::Blocked, "{row:?}");
    let _ = calls(&lab);
    let again = lab.resync().unwrap();
    assert_eq!(again.outcome.failed.len(), 1);
    assert!(again.outcome.applied.is_empty());
}

#[test]
fn an_update_leaves_no_archived_version() {
    let lab = lab_with(3);
    lab.resync();
    let input = json!({"DatabaseName": "big", "TableInput": table_input("big", "t", &["id", "x"])});
    lab.call(PRIMARY, "UpdateTable", &input).unwrap();
    assert_eq!(lab.resync().unwrap().outcome.counts.changed, 1);
    let world = lab.sim.world();
    let archived = [PRIMARY, SECONDARY].map(|region| world.archived_versions(region));
    assert_eq!(archived, [1, 0]);
}

#[test]
fn an_empty_listing_proves_nothing_however_much_the_secondary_holds() {
    let lab = Lab::new(policy("brake = { share = 1.0, minimum = 1000000 }"));
    let input = json!({"DatabaseInput": {"Name": "big", "CreateTableDefaultPermissions": []}});
    lab.call(PRIMARY, "CreateDatabase", &input).unwrap();
    let input = json!({"DatabaseName": "big", "TableInput": table_input("big", "t", &["id"])});
    lab.call(PRIMARY, "CreateTable", &input).unwrap();
    lab.resync();
    for some in (0..KEPT + 500).collect::<Vec<_>>().chunks(100) {
        let inputs: Vec<Value> = some.iter().map(|&n| partition(n, 0)).collect();
        let request = in_table("PartitionInputList", &json!(inputs));
        lab.call(SECONDARY, "BatchCreatePartition", &request)
            .unwrap();
    }
    let report = lab.resync().unwrap();
    assert_eq!(report.outcome.counts.deleted, 0);
    assert_eq!(
        lab.sim.world().raw_partitions(SECONDARY)[&id()].len(),
        KEPT + 500
    );
    // Once the primary shows one, the others are known to be too many.
    add(&lab, 0..1);
    let report = lab.resync().unwrap();
    assert_eq!(report.outcome.counts.deleted, KEPT + 499);
    equal(&lab);
}

#[test]
fn a_very_large_table_is_left_to_the_resync_but_for_what_is_named() {
    let lab = lab_with(20);
    lab.resync();
    let subject = Subject::Table(id());
    let row = lab.ledger.book().rows[&subject].clone();
    let large = Row {
        partitions: 300_000,
        ..row
    };
    run_until_killed(&lab.sim, lab.ledger.put_rows(&[large]))
        .unwrap()
        .unwrap();
    add(&lab, 20..21);
    let all = lab.take_events();
    let is_recorded = |body: &&Vec<u8>| String::from_utf8_lossy(body).contains("via CloudTrail");
    let (recorded, native): (Vec<_>, Vec<_>) = all.iter().partition(is_recorded);
    let _ = calls(&lab);
    lab.deliver(&native.into_iter().cloned().collect::<Vec<_>>())
        .unwrap();
    assert_eq!(calls(&lab).get("GetPartitions"), None);
    let behind = lab.ledger.book().rows[&subject].clone();
    assert_eq!(behind.state, State::Behind, "{behind:?}");
    lab.deliver(&recorded.into_iter().cloned().collect::<Vec<_>>())
        .unwrap();
    assert_eq!(calls(&lab).get("GetPartitions"), None);
    equal(&lab);
    assert_eq!(
        lab.ledger.book().rows[&subject].state,
        State::Behind,
        "until all are seen"
    );
    lab.resync();
    assert_eq!(lab.ledger.book().rows[&subject].state, State::Current);
}

#[test]
fn what_a_look_at_all_found_is_not_taken_back_by_an_event_about_another() {
    let lab = lab_with(5);
    let mut stray = partition(7, 0);
    stray["StorageDescriptor"]["Location"] = json!("s3://elsewhere/7/");
    let request = in_table("PartitionInputList", &json!([stray]));
    lab.call(PRIMARY, "BatchCreatePartition", &request).unwrap();
    lab.resync();
    let _ = lab.take_events();
    let state = || lab.ledger.book().rows[&Subject::Table(id())].state;
    assert_eq!(state(), State::Held);
    add(&lab, 8..9);
    assert_eq!(lab.deliver(&events(&lab, true)).unwrap().applied(), 1);
    let input = json!({"DatabaseName": "big", "TableInput": table_input("big", "t", &["id", "x"])});
    lab.call(PRIMARY, "UpdateTable", &input).unwrap();
    assert_eq!(lab.deliver(&events(&lab, true)).unwrap().applied(), 1);
    assert_eq!(state(), State::Held, "by the stray one");
    let gone = in_table("PartitionsToDelete", &json!([{"Values": stray["Values"]}]));
    lab.call(PRIMARY, "BatchDeletePartition", &gone).unwrap();
    lab.resync();
    assert_eq!(state(), State::Current);
    equal(&lab);
}

/// What an event found, the next event of its kind takes back.
#[test]
fn a_foreign_table_that_was_moved_away_is_current_with_the_next_event() {
    let lab = lab_with(2);
    let foreign = json!({"DatabaseInput": {"Name": "big", "CreateTableDefaultPermissions": []}});
    lab.call(SECONDARY, "CreateDatabase", &foreign).unwrap();
    let mine = json!({"DatabaseName": "big", "TableInput": {"Name": "t", "Description": "mine"}});
    lab.call(SECONDARY, "CreateTable", &mine).unwrap();
    lab.resync();
    let state = || lab.ledger.book().rows[&Subject::Table(id())].state;
    assert_eq!(state(), State::Blocked);
    let gone = json!({"DatabaseName": "big", "Name": "t"});
    lab.call(SECONDARY, "DeleteTable", &gone).unwrap();
    let input = json!({"DatabaseName": "big", "TableInput": table_input("big", "t", &["id", "x"])});
    lab.call(PRIMARY, "UpdateTable", &input).unwrap();
    lab.deliver(&events(&lab, true)).unwrap();
    assert_eq!(state(), State::Current);
    equal(&lab);
}
