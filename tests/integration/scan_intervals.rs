//! What has a scan interval: of tables in sync, what has no listing across tables.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::ledger::ResyncRun;
use twinlake_core::policy::ScanInterval;
use twinlake_core::snapshot::LfTags;
use twinlake_core::{CallErrorKind, Name, Scope, Subject, TableId};
use twinlake_engine::resync::{ResyncDepth, ResyncReport};
use twinlake_engine::retry_message::ResyncPart;
use twinlake_engine::{Clock as _, Ledger as _};
use twinlake_sim::{RecordedCall, SimState, run_interrupted, run_until_killed};
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{ADMIN_ROLE, PRIMARY, STANDBY, TestHarness, TestQueue, policy};
use twinlake_tests::history::{
    HistoryAction, LakeFormationActionKind, any_action, any_lakeformation_action, perform,
    random_actions, set_up_primary, table_input,
};
use twinlake_tests::large_table::inject;
use twinlake_tests::plans::{USES_FIXED_SEED, long_proptest_config};

const HOUR: i64 = 3600;
/// Time between two resyncs.
const INTERVAL_SECS: i64 = 6 * HOUR;

/// A harness with the scan intervals of a new policy, whose Regions are in sync.
fn harness_in_sync(before: &[HistoryAction]) -> TestHarness {
    let keys = "glue-tags = \"copy\"\ndeletion-limit = { fraction = 1.0, minimum = 10000 }";
    let mut harness = TestHarness::new(policy(keys));
    harness.resync_depth = ResyncDepth::Scheduled;
    assert_eq!(harness.policy.partition_scan, ScanInterval::Daily);
    assert_eq!(harness.policy.attachment_scan, ScanInterval::Weekly);
    set_up_primary(&harness, before);
    harness.settle();
    let _ = harness.take_events();
    harness
}

/// Any action; most often one on what has a scan interval.
fn any_lost_action() -> impl Strategy<Value = HistoryAction> {
    let is_on_filter = |action: &HistoryAction| match action {
        HistoryAction::LakeFormation(action) => matches!(
            action.kind,
            LakeFormationActionKind::PutDataCellsFilter
                | LakeFormationActionKind::DeleteDataCellsFilter
        ),
        _ => false,
    };
    let filter = any_lakeformation_action().prop_map(HistoryAction::LakeFormation);
    let filter = filter.prop_filter("a change of a filter", is_on_filter);
    let (d, t, n) = (0..2u8, 0..3u8, 0..16u8);
    let numbers = (d, t, n);
    prop_oneof![
        2 => numbers.clone().prop_map(|(d, t, n)| HistoryAction::CreatePartition(d, t, n)),
        2 => numbers.clone().prop_map(|(d, t, n)| HistoryAction::UpdatePartition(d, t, n)),
        2 => numbers.clone().prop_map(|(d, t, n)| HistoryAction::DeletePartition(d, t, n)),
        2 => numbers.clone().prop_map(|(d, t, n)| HistoryAction::PutAttachment(d, t, n)),
        2 => numbers.prop_map(|(d, t, n)| HistoryAction::RemoveAttachment(d, t, n)),
        2 => filter,
        2 => any_action(),
    ]
}

/// The LF-Tags of each table and of its columns, inherited ones included.
fn effective_lf_tags(state: &SimState, region: &str) -> BTreeMap<(TableId, Option<Name>), LfTags> {
    let mut all = BTreeMap::new();
    for (id, observed) in state.raw_tables(region) {
        let database = Subject::Database(id.database.clone());
        let table = Subject::Table(id.clone());
        let mut inherited = state.raw_lf_tags(region, &database, None);
        inherited.extend(state.raw_lf_tags(region, &table, None));
        for column in observed.object.columns() {
            let name = Name::from_service(&column.name);
            let mut of_column = inherited.clone();
            of_column.extend(state.raw_lf_tags(region, &table, Some(name.as_str())));
            all.insert((id.clone(), Some(name)), of_column);
        }
        all.insert((id, None), inherited);
    }
    all
}

/// Whether the tables of both Regions have the same LF-Tags, assigned or inherited.
fn has_equal_lf_tags(state: &SimState) -> bool {
    effective_lf_tags(state, PRIMARY) == effective_lf_tags(state, STANDBY)
}

/// The interval within which a difference is found. Searches by LF-Tags do not tell what is assigned to a
/// table from what it inherits.
fn interval_of(difference: &str, has_equal_lf_tags: bool) -> ScanInterval {
    let (_, key) = difference.split_once(' ').unwrap_or_default();
    match key.split('|').next() {
        Some("partition") => ScanInterval::Daily,
        Some("attachment") => ScanInterval::Weekly,
        Some("lakeformation") if key.starts_with("lakeformation|filter|") => ScanInterval::Weekly,
        Some("lakeformation") if key.starts_with("lakeformation|assigned|") => {
            match has_equal_lf_tags {
                true => ScanInterval::Weekly,
                false => ScanInterval::EveryResync,
            }
        }
        Some(_) | None => ScanInterval::EveryResync,
    }
}

/// Whatever events are lost: resyncs find it within its interval, and at once what each of them
/// reads.
#[test]
fn lost_changes_are_found_within_their_scan_interval() {
    let (waited, cases): (Cell<u32>, Cell<u32>) = Default::default();
    proptest!(long_proptest_config(), |(
        before in random_actions(12),
        after in prop::collection::vec(any_lost_action(), 1..8),
    )| {
        let harness = harness_in_sync(&before);
        for action in &after {
            perform(&harness, PRIMARY, action);
        }
        let _ = harness.take_events();
        let mut elapsed = 0;
        let mut left: BTreeSet<String> = BTreeSet::new();
        // A week, one interval for the first resync after it, and one for what that finds to need.
        while elapsed < 7 * 24 * HOUR + 2 * INTERVAL_SECS {
            harness.sim.state().advance_secs(INTERVAL_SECS);
            elapsed += INTERVAL_SECS;
            harness.resync();
            let differences = equality_oracle::differences(&harness.sim.state(), &[]);
            let has_equal_lf_tags = has_equal_lf_tags(&harness.sim.state());
            for difference in &differences {
                let interval = interval_of(difference, has_equal_lf_tags);
                let period = interval.period_secs().unwrap_or_default();
                prop_assert!(
                    elapsed < period + 2 * INTERVAL_SECS,
                    "{difference} after {elapsed} s"
                );
            }
            left.extend(differences);
        }
        waited.set(waited.get() + u32::from(!left.is_empty()));
        cases.set(cases.get() + 1);
    });
    let (waited, cases) = (waited.get(), cases.get());
    println!(
        "lost_changes_are_found_within_their_scan_interval: {waited} of {cases} cases had to wait"
    );
    assert!(
        !USES_FIXED_SEED || waited > 10,
        "{waited} of {cases} waited"
    );
}

/// The calls of which each reads one table.
const CALLS_PER_TABLE: [&str; 4] = [
    "GetPartitions",
    "GetPartitionIndexes",
    "GetColumnStatisticsForTable",
    "ListDataCellsFilter",
];

fn calls_per_table(harness: &TestHarness) -> usize {
    let calls = harness.sim.state().take_calls();
    let of_table = calls
        .iter()
        .filter(|call| CALLS_PER_TABLE.contains(&call.name.as_str()));
    of_table.count()
}

#[test]
fn tables_in_sync_are_read_one_by_one_only_when_they_are_due() {
    let harness = harness_in_sync(&[]);
    let _ = harness.sim.state().take_calls();
    harness.sim.state().advance_secs(1);
    let report = harness.resync().unwrap();
    assert_eq!(calls_per_table(&harness), 0);
    assert!(!report.outcome.left_to_schedule.is_empty());
    assert!(report.verified_at.is_some());
    harness.sim.state().advance_secs(8 * 24 * HOUR);
    harness.resync();
    assert!(calls_per_table(&harness) > 0);
}

#[test]
fn everything_is_read_after_a_change_of_the_policy() {
    let mut harness = harness_in_sync(&[]);
    let _ = harness.sim.state().take_calls();
    harness.policy = policy("glue-tags = \"copy\"\npartition-scan = \"weekly\"");
    harness.sim.state().advance_secs(1);
    let report = harness.resync().unwrap();
    assert!(calls_per_table(&harness) > 0);
    assert!(report.outcome.left_to_schedule.is_empty());
}

fn base_table() -> TableId {
    TableId::new(Name::new("base").unwrap(), Name::new("keep").unwrap())
}

fn run_part(harness: &TestHarness, part: &ResyncPart, scope: &Scope) -> ResyncReport {
    let context = harness.context();
    let run = twinlake_engine::resync::resync(
        &context,
        harness.resync_depth,
        Some((part, scope)),
        Some(&harness.queue),
        &(),
    );
    run_until_killed(&harness.sim, run).unwrap().unwrap()
}

/// A request to create or update a row filter of the base table.
fn row_filter(expression: &str) -> Value {
    json!({"TableData": {
        "DatabaseName": "base", "TableName": "keep", "Name": "rows", "ColumnNames": ["id"],
        "RowFilter": {"FilterExpression": expression},
    }})
}

#[test]
fn a_part_of_a_run_reads_the_filters_that_somebody_is_granted() {
    let harness = harness_in_sync(&[]);
    let call = |name: &str, request: Value| {
        harness.call(PRIMARY, name, &request).unwrap();
    };
    call("CreateDataCellsFilter", row_filter("id > 1"));
    let principal = "arn:aws:iam::111122223333:role/Analyst";
    let filter = json!({"DatabaseName": "base", "TableName": "keep", "Name": "rows"});
    let granted = json!({
        "Principal": {"DataLakePrincipalIdentifier": principal}, "Permissions": ["SELECT"],
        "Resource": {"DataCellsFilter": filter},
    });
    call("GrantPermissions", granted);
    harness.settle();
    call("UpdateDataCellsFilter", row_filter("id > 2"));
    let _ = (harness.take_events(), harness.sim.state().take_calls());
    harness.sim.state().advance_secs(1);
    let part = ResyncPart::first(harness.sim.now(), harness.policy.digest());
    let report = run_part(&harness, &part, &Scope::table(base_table()));
    assert_eq!(report.outcome.counts.total(), 1);
    let differences = equality_oracle::differences(&harness.sim.state(), &[]);
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn what_another_policy_wrote_is_read_by_the_next_run() {
    let mut harness = harness_in_sync(&[]);
    let usual = harness.policy.clone();
    harness.policy = policy("glue-tags = \"copy\"\npartition-scan = \"weekly\"");
    let create = json!({"DatabaseName": "base", "TableInput": table_input("base", "new", &["id"])});
    harness.call(PRIMARY, "CreateTable", &create).unwrap();
    harness.deliver(&harness.take_events());
    harness.policy = usual;
    let _ = harness.sim.state().take_calls();
    harness.sim.state().advance_secs(1);
    let report = harness.resync().unwrap();
    assert!(report.outcome.left_to_schedule.is_empty());
    assert!(calls_per_table(&harness) > 0);
}

#[test]
fn a_run_whose_policy_changed_meanwhile_verifies_nothing() {
    let harness = harness_in_sync(&[]);
    harness.sim.state().advance_secs(1);
    let part = ResyncPart::first(harness.sim.now(), "another");
    let run = ResyncRun::new(part.run.clone(), harness.sim.now(), part.name.clone());
    let begun = harness.ledger.begin_resync_run(&run);
    run_until_killed(&harness.sim, begun).unwrap().unwrap();
    let report = run_part(&harness, &part, &Scope::catalog());
    assert_eq!(report.verified_at, None);
}

/// A harness in sync with tables `t0` to `t9` of a database with an LF-Tag, of which `t0` has one of its own.
fn harness_with_tagged_tables() -> TestHarness {
    let mut harness = TestHarness::new(policy(""));
    harness.resync_depth = ResyncDepth::Scheduled;
    let call = |name: &str, request: Value| harness.call(PRIMARY, name, &request).unwrap();
    let database = json!({"Name": "base", "CreateTableDefaultPermissions": []});
    call("CreateDatabase", json!({"DatabaseInput": database}));
    for key in ["team", "class"] {
        call(
            "CreateLFTag",
            json!({"TagKey": key, "TagValues": ["x", "y"]}),
        );
    }
    for table in 0..10 {
        let input = table_input("base", &format!("t{table}"), &["id", "name"]);
        call(
            "CreateTable",
            json!({"DatabaseName": "base", "TableInput": input}),
        );
    }
    assign(
        &harness,
        PRIMARY,
        &json!({"Database": {"Name": "base"}}),
        "team",
    );
    assign(&harness, PRIMARY, &table_resource("t0"), "class");
    harness.settle();
    let _ = (harness.take_events(), harness.take_calls());
    harness.sim.state().advance_secs(1);
    harness
}

fn table_resource(table: &str) -> Value {
    json!({"Table": {"DatabaseName": "base", "Name": table}})
}

fn assign(harness: &TestHarness, region: &str, resource: &Value, key: &str) {
    let tags = json!([{"TagKey": key, "TagValues": ["x"]}]);
    let request = json!({"Resource": resource, "LFTags": tags});
    harness
        .call(region, "AddLFTagsToResource", &request)
        .unwrap();
}

/// The searches by LF-Tags and the reads of LF-Tags since the last count.
fn lf_tag_reads(harness: &TestHarness) -> (usize, usize) {
    let calls = harness.sim.state().take_calls();
    let count = |name: &str| calls.iter().filter(|call| call.name == name).count();
    (count("SearchTablesByLFTags"), count("GetResourceLFTags"))
}

#[test]
fn lf_tags_of_tables_in_sync_are_searched_and_those_that_differ_are_read() {
    let harness = harness_with_tagged_tables();
    let report = harness.resync().unwrap();
    // Two LF-Tags in two Regions.
    assert_eq!(lf_tag_reads(&harness), (4, 0));
    assert!(report.verified_at.is_some());
    let column = json!({"TableWithColumns": {
        "DatabaseName": "base", "Name": "t1", "ColumnNames": ["name"],
    }});
    assign(&harness, PRIMARY, &column, "class");
    assign(&harness, STANDBY, &table_resource("t2"), "class");
    let _ = (harness.take_events(), harness.take_calls());
    harness.sim.state().advance_secs(1);
    let report = harness.resync().unwrap();
    assert_eq!(report.outcome.counts.total(), 2);
    let differences = equality_oracle::differences(&harness.sim.state(), &[]);
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn what_equals_an_inherited_lf_tag_is_found_within_its_scan_interval() {
    let harness = harness_with_tagged_tables();
    assign(&harness, STANDBY, &table_resource("t3"), "team");
    let _ = harness.take_events();
    assert_eq!(harness.resync().unwrap().outcome.counts.total(), 0);
    harness.sim.state().advance_secs(7 * 24 * HOUR);
    assert_eq!(harness.resync().unwrap().outcome.counts.total(), 1);
}

/// Runs a resync; before its first read of LF-Tags, those of the database are removed in the primary. Returns
/// the number of calls before that read.
fn resync_while_untagged(harness: &TestHarness, call_index: usize) -> usize {
    let context = harness.context();
    let depth = harness.resync_depth;
    let run = twinlake_engine::resync::resync(&context, depth, None, None::<&TestQueue>, &());
    let untag = json!({"Resource": {"Database": {"Name": "base"}},
                       "LFTags": [{"TagKey": "team", "TagValues": ["x"]}]});
    let (report, _) = run_interrupted(&harness.sim, run, call_index, || {
        let untagged = harness.call(PRIMARY, "RemoveLFTagsFromResource", &untag);
        untagged.unwrap();
    });
    report.unwrap();
    let calls = harness.sim.state().take_calls();
    let is_read = |call: &RecordedCall| call.name == "GetResourceLFTags";
    calls.iter().position(is_read).unwrap()
}

/// A table has an LF-Tag in the standby that it also inherits, and its database loses it after the searches.
#[test]
fn the_lf_tags_of_tables_are_read_before_those_that_they_inherit_change() {
    let prepare = || {
        let harness = harness_with_tagged_tables();
        assign(&harness, STANDBY, &table_resource("t4"), "team");
        // So the LF-Tags of the database are read.
        assign(&harness, PRIMARY, &table_resource("t5"), "class");
        let _ = (harness.take_events(), harness.take_calls());
        harness
    };
    let call_index = resync_while_untagged(&prepare(), usize::MAX / 2);
    let harness = prepare();
    resync_while_untagged(&harness, call_index);
    let differences = equality_oracle::differences(&harness.sim.state(), &[]);
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn lf_tags_are_read_table_by_table_where_searches_do_not_show_all() {
    let harness = harness_with_tagged_tables();
    // Ten tables and one database in two Regions.
    let all = 22;
    inject(
        &harness,
        STANDBY,
        "SearchTablesByLFTags",
        CallErrorKind::Denied,
    );
    harness.resync();
    assert_eq!(lf_tag_reads(&harness).1, all);
    harness.sim.state().advance_secs(1);
    assert_eq!(
        harness.resync().map(|_| lf_tag_reads(&harness)),
        Some((4, 0))
    );
    harness.sim.state().advance_secs(1);
    let administrators = json!([{"DataLakePrincipalIdentifier": ADMIN_ROLE}]);
    let settings = json!({"DataLakeSettings": {"DataLakeAdmins": administrators}});
    harness
        .call(STANDBY, "PutDataLakeSettings", &settings)
        .unwrap();
    let _ = harness.take_calls();
    harness.resync();
    assert_eq!(lf_tag_reads(&harness), (0, all));
}
