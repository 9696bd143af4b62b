//! Tables with many partitions: an event reads no more partitions than necessary, and a complete
//! scan keeps a limited number of them in memory.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use twinlake_core::{LedgerRow, Subject, SubjectState};
use twinlake_engine::observe::MAX_PARTITIONS_PER_ROUND;
use twinlake_engine::ports::PARTITION_SEGMENTS;
use twinlake_engine::{Clock as _, Ledger as _};
use twinlake_sim::run_until_killed;
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};
use twinlake_tests::history::table_input;
use twinlake_tests::large_table::{
    assert_regions_equal, create_partitions, harness_with_partitions, in_table, partition,
    run_resync_part, table_id, take_events_by_channel,
};

fn take_call_counts(harness: &TestHarness) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in harness.sim.state().take_calls() {
        *counts.entry(call.name).or_default() += 1;
    }
    counts
}

#[test]
fn a_changed_partition_is_read_by_its_values() {
    let harness = harness_with_partitions(3000);
    harness.resync();
    let _ = take_call_counts(&harness);
    let mut request = in_table("PartitionValueList", &partition(7, 0)["Values"]);
    request["PartitionInput"] = partition(7, 1);
    harness.call(PRIMARY, "UpdatePartition", &request).unwrap();
    let _ = take_call_counts(&harness);
    let result = harness
        .deliver(&take_events_by_channel(&harness, true))
        .unwrap();
    assert_eq!((result.applied(), result.failed.len()), (1, 0));
    let counts = take_call_counts(&harness);
    assert_eq!(counts.get("GetPartitions"), None, "{counts:?}");
    assert!(counts.values().sum::<usize>() <= 6, "{counts:?}");
    assert_regions_equal(&harness);

    let request = in_table(
        "PartitionsToDelete",
        &json!([{"Values": partition(8, 0)["Values"]}]),
    );
    harness
        .call(PRIMARY, "BatchDeletePartition", &request)
        .unwrap();
    let _ = take_call_counts(&harness);
    assert_eq!(
        harness
            .deliver(&take_events_by_channel(&harness, true))
            .unwrap()
            .applied(),
        1
    );
    let counts = take_call_counts(&harness);
    assert!(counts.values().sum::<usize>() <= 6, "{counts:?}");
    assert_regions_equal(&harness);
}

#[test]
fn a_named_partition_of_a_table_that_is_not_in_sync_reads_the_table() {
    let harness = harness_with_partitions(3);
    create_partitions(&harness, 5..6);
    let result = harness
        .deliver(&take_events_by_channel(&harness, true))
        .unwrap();
    assert!(result.failed.is_empty());
    assert_regions_equal(&harness);
    // The table is recreated in the standby by somebody else: Twinlake no longer manages it.
    let request = json!({"DatabaseName": "big", "Name": "t"});
    harness.call(STANDBY, "DeleteTable", &request).unwrap();
    let unmanaged = json!({"DatabaseName": "big", "TableInput": {"Name": "t", "Description": "mine",
                       "PartitionKeys": [{"Name": "dt", "Type": "string"}]}});
    harness.call(STANDBY, "CreateTable", &unmanaged).unwrap();
    create_partitions(&harness, 6..7);
    harness
        .deliver(&take_events_by_channel(&harness, true))
        .unwrap();
    assert!(harness.sim.state().raw_partitions(STANDBY)[&table_id()].is_empty());
}

#[test]
fn native_events_of_a_table_lead_to_one_scan_in_five_minutes() {
    let harness = harness_with_partitions(1500);
    harness.resync();
    let mut listings = 0;
    for number in 2000..2020 {
        create_partitions(&harness, number..number + 1);
        let native_events = take_events_by_channel(&harness, false);
        let _ = take_call_counts(&harness);
        harness.deliver(&native_events).unwrap();
        listings += take_call_counts(&harness)
            .get("GetPartitions")
            .copied()
            .unwrap_or_default();
    }
    assert_eq!(listings, 4, "one scan of two pages in each Region");
    let messages = harness.queue.take();
    assert_eq!(messages.len(), 1, "{messages:?}");
    harness.sim.state().advance_secs(300);
    harness.deliver(&[messages[0].body().into_bytes()]).unwrap();
    assert_regions_equal(&harness);
}

#[test]
fn differences_beyond_the_memory_limit_are_read_by_name_afterwards() {
    let count = MAX_PARTITIONS_PER_ROUND + 2500;
    let harness = harness_with_partitions(count);
    let report = harness.resync().unwrap();
    assert!(report.outcome.is_settled() && report.verified_at.is_some());
    assert_regions_equal(&harness);
    assert!(
        report.outcome.applied.len() < 1100,
        "only some of the steps are kept"
    );
    assert!(report.outcome.counts.created >= count);
    let rows = harness.ledger.contents().rows;
    assert_eq!(rows[&Subject::Table(table_id())].partitions, count);
    let _ = take_call_counts(&harness);
    assert!(harness.resync().unwrap().outcome.applied.is_empty());
    let pages = 2 * count.div_ceil(1000);
    let read = take_call_counts(&harness)["GetPartitions"];
    assert!(
        (pages..=pages + 2 * PARTITION_SEGMENTS).contains(&read),
        "{read}"
    );
}

#[test]
fn a_table_known_to_be_large_is_read_in_segments() {
    let harness = harness_with_partitions(25_000);
    harness.resync();
    let _ = take_call_counts(&harness);
    assert!(harness.resync().unwrap().outcome.applied.is_empty());
    let pages = take_call_counts(&harness)["GetPartitions"];
    assert!(
        (50..=70).contains(&pages),
        "ten segments in each Region, and no page twice: {pages}"
    );
    assert_regions_equal(&harness);
}

#[test]
fn a_listing_without_end_is_a_failed_read_and_changes_nothing() {
    // In pages one after the other, and in segments.
    for count in [3000, 25_000] {
        let harness = harness_with_partitions(count);
        harness.resync();
        harness.sim.state().repeat_page_tokens(true);
        let report = harness.resync().unwrap();
        assert!(report.outcome.applied.is_empty() && report.verified_at.is_none());
        let row = harness.ledger.contents().rows[&Subject::Table(table_id())].clone();
        let reason = row.reason.unwrap();
        assert!(reason.contains("page token"), "{reason}");
        harness.sim.state().repeat_page_tokens(false);
        assert!(harness.resync().unwrap().verified_at.is_some());
        assert_regions_equal(&harness);
    }
}

#[test]
fn objects_beyond_the_time_limit_are_a_further_part_of_the_resync() {
    let harness = harness_with_partitions(MAX_PARTITIONS_PER_ROUND + 500);
    let now = harness.sim.now();
    // The database is started before the time limit, and its table is not complete afterwards.
    let report = run_resync_part(&harness, Some(now.plus_secs(1)), None);
    assert_eq!((report.deferred, report.verified_at), (1, None));
    let row = &harness.ledger.contents().rows[&Subject::Table(table_id())];
    assert!(
        row.reason.as_ref().is_some_and(|r| r.contains("500")),
        "{row:?}"
    );
    let [table_message, lakeformation_message] = harness.queue.take().try_into().unwrap();
    let rest = run_resync_part(&harness, None, Some(&table_message));
    assert_eq!(rest.verified_at, None, "Lake Formation is not read yet");
    let rest = run_resync_part(&harness, None, Some(&lakeformation_message));
    assert_eq!(rest.verified_at, Some(now));
    assert_regions_equal(&harness);
    let row = &harness.ledger.contents().rows[&Subject::Table(table_id())];
    assert_eq!(
        (row.partitions, &row.reason),
        (MAX_PARTITIONS_PER_ROUND + 500, &None)
    );
}

#[test]
fn single_deletions_add_up_to_the_deletion_limit_of_the_hour() {
    let harness = harness_with_partitions(1000);
    harness.resync();
    let mut applied = 0;
    for number in 0..200 {
        let values = json!([{"Values": partition(number, 0)["Values"]}]);
        let request = in_table("PartitionsToDelete", &values);
        harness
            .call(PRIMARY, "BatchDeletePartition", &request)
            .unwrap();
        applied += harness
            .deliver(&take_events_by_channel(&harness, true))
            .unwrap()
            .applied();
        assert!(
            number > 0 || applied == 1,
            "one deletion is within the limit"
        );
    }
    assert_eq!(
        applied, 100,
        "a tenth of the paired partitions within the hour"
    );
    let alerts = harness.topic.take();
    assert!(
        alerts
            .iter()
            .any(|alert| alert.kind == twinlake_core::AlertKind::DeletionsHeld)
    );
    let row = &harness.ledger.contents().rows[&Subject::Table(table_id())];
    assert_eq!(row.state, SubjectState::OnHold, "{row:?}");
    // An hour later the deletions no longer count, and a resync applies those that were held.
    harness.sim.state().advance_secs(3700);
    let report = harness.resync().unwrap();
    assert_eq!(report.outcome.counts.deleted, 100);
    assert_regions_equal(&harness);
}

#[test]
fn a_deleted_table_counts_as_one_deletion_whatever_its_partitions() {
    // The smallest limit that allows one deletion.
    let mut harness = harness_with_partitions(20);
    harness.policy = policy("deletion-limit = { fraction = 0.0, minimum = 1 }");
    harness.resync();
    let request = json!({"DatabaseName": "big", "Name": "t"});
    harness.call(PRIMARY, "DeleteTable", &request).unwrap();
    assert_eq!(
        harness
            .deliver(&take_events_by_channel(&harness, true))
            .unwrap()
            .applied(),
        1
    );
    assert!(harness.topic.take().is_empty());
    assert_regions_equal(&harness);
}

#[test]
fn a_rejected_partition_does_not_fail_the_others() {
    let count = MAX_PARTITIONS_PER_ROUND + 300;
    let harness = harness_with_partitions(count);
    harness.sim.state().reject_partition(STANDBY, &["0000007"]);
    let report = harness.resync().unwrap();
    assert_eq!(
        report.outcome.failed.len(),
        1,
        "{:?}",
        report.outcome.failed
    );
    let created = harness.sim.state().raw_partitions(STANDBY)[&table_id()].len();
    assert_eq!(
        created,
        count - 1,
        "the others of its batch, and those read by name"
    );
    let row = &harness.ledger.contents().rows[&Subject::Table(table_id())];
    assert_eq!(row.state, SubjectState::Blocked, "{row:?}");
    let _ = take_call_counts(&harness);
    let second = harness.resync().unwrap();
    assert_eq!(second.outcome.failed.len(), 1);
    assert!(second.outcome.applied.is_empty());
}

#[test]
fn an_update_leaves_no_archived_version() {
    let harness = harness_with_partitions(3);
    harness.resync();
    let input = json!({"DatabaseName": "big", "TableInput": table_input("big", "t", &["id", "x"])});
    harness.call(PRIMARY, "UpdateTable", &input).unwrap();
    assert_eq!(harness.resync().unwrap().outcome.counts.changed, 1);
    let state = harness.sim.state();
    let archived = [PRIMARY, STANDBY].map(|region| state.archived_versions(region));
    assert_eq!(archived, [1, 0]);
}

#[test]
fn an_empty_listing_proves_no_deletion() {
    let harness = TestHarness::new(policy(
        "deletion-limit = { fraction = 1.0, minimum = 1000000 }",
    ));
    let input = json!({"DatabaseInput": {"Name": "big", "CreateTableDefaultPermissions": []}});
    harness.call(PRIMARY, "CreateDatabase", &input).unwrap();
    let input = json!({"DatabaseName": "big", "TableInput": table_input("big", "t", &["id"])});
    harness.call(PRIMARY, "CreateTable", &input).unwrap();
    harness.resync();
    for chunk in (0..MAX_PARTITIONS_PER_ROUND + 500)
        .collect::<Vec<_>>()
        .chunks(100)
    {
        let inputs: Vec<Value> = chunk.iter().map(|&n| partition(n, 0)).collect();
        let request = in_table("PartitionInputList", &json!(inputs));
        harness
            .call(STANDBY, "BatchCreatePartition", &request)
            .unwrap();
    }
    let report = harness.resync().unwrap();
    assert_eq!(report.outcome.counts.deleted, 0);
    assert_eq!(
        harness.sim.state().raw_partitions(STANDBY)[&table_id()].len(),
        MAX_PARTITIONS_PER_ROUND + 500
    );
    // As soon as the primary lists one partition, the deletion of the others is proven.
    create_partitions(&harness, 0..1);
    let report = harness.resync().unwrap();
    assert_eq!(
        report.outcome.counts.deleted,
        MAX_PARTITIONS_PER_ROUND + 499
    );
    assert_regions_equal(&harness);
}

#[test]
fn only_a_resync_scans_a_very_large_table_and_events_read_named_partitions() {
    let harness = harness_with_partitions(20);
    harness.resync();
    let subject = Subject::Table(table_id());
    let row = harness.ledger.contents().rows[&subject].clone();
    let large_row = LedgerRow {
        partitions: 300_000,
        ..row
    };
    run_until_killed(&harness.sim, harness.ledger.put_rows(&[large_row]))
        .unwrap()
        .unwrap();
    create_partitions(&harness, 20..21);
    let all = harness.take_events();
    let names_cloudtrail =
        |body: &&Vec<u8>| String::from_utf8_lossy(body).contains("via CloudTrail");
    let (cloudtrail_events, native_events): (Vec<_>, Vec<_>) =
        all.iter().partition(names_cloudtrail);
    let _ = take_call_counts(&harness);
    harness
        .deliver(&native_events.into_iter().cloned().collect::<Vec<_>>())
        .unwrap();
    assert_eq!(take_call_counts(&harness).get("GetPartitions"), None);
    let row = harness.ledger.contents().rows[&subject].clone();
    assert_eq!(row.state, SubjectState::OutOfSync, "{row:?}");
    harness
        .deliver(&cloudtrail_events.into_iter().cloned().collect::<Vec<_>>())
        .unwrap();
    assert_eq!(take_call_counts(&harness).get("GetPartitions"), None);
    assert_regions_equal(&harness);
    assert_eq!(
        harness.ledger.contents().rows[&subject].state,
        SubjectState::OutOfSync,
        "until a resync has read all partitions"
    );
    harness.resync();
    assert_eq!(
        harness.ledger.contents().rows[&subject].state,
        SubjectState::InSync
    );
}

#[test]
fn the_state_that_a_resync_found_is_kept_by_an_event_of_another_partition() {
    let harness = harness_with_partitions(5);
    let mut unmapped = partition(7, 0);
    unmapped["StorageDescriptor"]["Location"] = json!("s3://elsewhere/7/");
    let request = in_table("PartitionInputList", &json!([unmapped]));
    harness
        .call(PRIMARY, "BatchCreatePartition", &request)
        .unwrap();
    harness.resync();
    let _ = harness.take_events();
    let state = || harness.ledger.contents().rows[&Subject::Table(table_id())].state;
    assert_eq!(state(), SubjectState::OnHold);
    create_partitions(&harness, 8..9);
    assert_eq!(
        harness
            .deliver(&take_events_by_channel(&harness, true))
            .unwrap()
            .applied(),
        1
    );
    let input = json!({"DatabaseName": "big", "TableInput": table_input("big", "t", &["id", "x"])});
    harness.call(PRIMARY, "UpdateTable", &input).unwrap();
    assert_eq!(
        harness
            .deliver(&take_events_by_channel(&harness, true))
            .unwrap()
            .applied(),
        1
    );
    assert_eq!(
        state(),
        SubjectState::OnHold,
        "because of the unmapped partition"
    );
    let request = in_table(
        "PartitionsToDelete",
        &json!([{"Values": unmapped["Values"]}]),
    );
    harness
        .call(PRIMARY, "BatchDeletePartition", &request)
        .unwrap();
    harness.resync();
    assert_eq!(state(), SubjectState::InSync);
    assert_regions_equal(&harness);
}

#[test]
fn a_blocked_table_is_in_sync_with_the_next_event_after_the_conflict_is_removed() {
    let harness = harness_with_partitions(2);
    let request = json!({"DatabaseInput": {"Name": "big", "CreateTableDefaultPermissions": []}});
    harness.call(STANDBY, "CreateDatabase", &request).unwrap();
    let unmanaged =
        json!({"DatabaseName": "big", "TableInput": {"Name": "t", "Description": "mine"}});
    harness.call(STANDBY, "CreateTable", &unmanaged).unwrap();
    harness.resync();
    let state = || harness.ledger.contents().rows[&Subject::Table(table_id())].state;
    assert_eq!(state(), SubjectState::Blocked);
    let request = json!({"DatabaseName": "big", "Name": "t"});
    harness.call(STANDBY, "DeleteTable", &request).unwrap();
    let input = json!({"DatabaseName": "big", "TableInput": table_input("big", "t", &["id", "x"])});
    harness.call(PRIMARY, "UpdateTable", &input).unwrap();
    harness
        .deliver(&take_events_by_channel(&harness, true))
        .unwrap();
    assert_eq!(state(), SubjectState::InSync);
    assert_regions_equal(&harness);
}
