//! The calls of a resync and how many of them follow one another, on a clock that only calls advance.

use serde_json::{Value, json};
use std::time::Duration;
use twinlake_engine::resync::{ResyncDepth, ResyncReport, resync};
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{ACCOUNT, PRIMARY, TestHarness, TestQueue, policy};
use twinlake_tests::history::table_input;
use twinlake_tests::virtual_clock::{self, Calls, LimitedRegions, set_round_trips, take_calls};

const DATABASES: usize = 3;
const TABLES: usize = 10;
const PARTITIONS: usize = 20;
const GRANTS: usize = 55;

/// A lake with LF-Tags and data cells filters.
fn harness_with_small_lake(tables: usize) -> TestHarness {
    harness_with_lake(tables, true)
}

/// Returns a harness whose primary has 3 databases of so many tables, each with 20 partitions, and 55 grants.
fn harness_with_lake(tables: usize, with_lf_tags: bool) -> TestHarness {
    let mut harness = TestHarness::new(policy(""));
    harness.resync_depth = ResyncDepth::Scheduled;
    let call = |name: &str, request: Value| harness.call(PRIMARY, name, &request).unwrap();
    for d in 0..DATABASES {
        let database = format!("db{d}");
        let input = json!({"Name": database, "CreateTableDefaultPermissions": []});
        call("CreateDatabase", json!({"DatabaseInput": input}));
        for t in 0..tables {
            let table = format!("t{t}");
            let input = table_input(&database, &table, &["id"]);
            call(
                "CreateTable",
                json!({"DatabaseName": database, "TableInput": input}),
            );
            let partitions: Vec<Value> = (0..PARTITIONS).map(partition).collect();
            call(
                "BatchCreatePartition",
                json!({
                    "DatabaseName": database, "TableName": table, "PartitionInputList": partitions,
                }),
            );
        }
    }
    if with_lf_tags {
        add_lf_tags_and_filters(&harness, tables);
    }
    for n in 0..GRANTS {
        call(
            "GrantPermissions",
            grant(n % DATABASES, n / DATABASES % TABLES, n),
        );
    }
    let _ = (harness.take_events(), harness.take_calls());
    harness
}

/// Adds LF-Tags on the databases and on every second table, and a data cells filter on the first table of each database.
/// The LF-Tags have one value, since the simulator's port writes each value by calls of its own.
fn add_lf_tags_and_filters(harness: &TestHarness, tables: usize) {
    let call = |name: &str, request: Value| harness.call(PRIMARY, name, &request).unwrap();
    for (key, value) in [("team", "sales"), ("class", "secret")] {
        call("CreateLFTag", json!({"TagKey": key, "TagValues": [value]}));
    }
    for d in 0..DATABASES {
        let database = format!("db{d}");
        tag(
            harness,
            &json!({"Database": {"Name": database}}),
            "team",
            "sales",
        );
        for t in (0..tables).step_by(2) {
            let table = json!({"Table": {"DatabaseName": database, "Name": format!("t{t}")}});
            tag(harness, &table, "class", "secret");
        }
        call(
            "CreateDataCellsFilter",
            json!({"TableData": {
                "TableCatalogId": ACCOUNT, "DatabaseName": database, "TableName": "t0", "Name": "rows",
                "ColumnNames": ["id"], "RowFilter": {"AllRowsWildcard": {}},
            }}),
        );
    }
}

fn partition(number: usize) -> Value {
    json!({"Values": [format!("{number:07}")],
           "StorageDescriptor": {"Location": format!("s3://lake-us/p/{number}/")}})
}

fn tag(harness: &TestHarness, resource: &Value, key: &str, value: &str) {
    let tags = json!([{"TagKey": key, "TagValues": [value]}]);
    let request = json!({"Resource": resource, "LFTags": tags});
    harness
        .call(PRIMARY, "AddLFTagsToResource", &request)
        .unwrap();
}

fn grant(database: usize, table: usize, role: usize) -> Value {
    json!({
        "Principal": {"DataLakePrincipalIdentifier": format!("arn:aws:iam::{ACCOUNT}:role/R{role}")},
        "Resource": {"Table": {"DatabaseName": format!("db{database}"), "Name": format!("t{table}")}},
        "Permissions": ["SELECT"],
    })
}

/// A resync with its calls and its time.
struct Measured {
    report: ResyncReport,
    calls: Calls,
    elapsed: Duration,
}

impl Measured {
    fn total(&self) -> usize {
        self.calls.values().sum()
    }

    fn writes(&self) -> usize {
        let is_read = |name: &str| {
            let name = name.trim_start_matches("Batch");
            ["Get", "List", "Search"]
                .iter()
                .any(|verb| name.starts_with(verb))
        };
        let calls = self.calls.iter();
        calls
            .filter(|((_, name), _)| !is_read(name))
            .map(|(_, count)| count)
            .sum()
    }

    fn count(&self, call: &str) -> usize {
        let calls = self.calls.iter();
        calls
            .filter(|((_, name), _)| name == call)
            .map(|(_, count)| count)
            .sum()
    }

    fn print(&self, name: &str) {
        println!(
            "{name}: {} calls, {} writes, {:?}",
            self.total(),
            self.writes(),
            self.elapsed
        );
        for ((region, call), count) in &self.calls {
            println!("  {region:<12} {call:<32} {count:>5}");
        }
    }
}

/// Runs a resync in which a call takes this long in the primary and in the standby, with at most so many
/// calls to each Region under way.
fn run_resync(harness: &TestHarness, round_trips: [u64; 2], parallel: usize) -> Measured {
    set_round_trips(harness, round_trips);
    let regions = LimitedRegions::new(harness, parallel);
    let context = regions.context(harness);
    let run = resync(
        &context,
        harness.resync_depth,
        None,
        None::<&TestQueue>,
        &(),
    );
    let (report, elapsed) = virtual_clock::run(run);
    let report = report.expect("a ledger in memory returns no error");
    let calls = take_calls(harness);
    Measured {
        report,
        calls,
        elapsed,
    }
}

/// The round trips to the standby that follow one another: the time, if only calls to the standby take any.
fn depth(harness: &TestHarness) -> u64 {
    const ROUND_TRIP_MS: u64 = 200;
    let measured = run_resync(harness, [0, ROUND_TRIP_MS], 100_000);
    let elapsed = u64::try_from(measured.elapsed.as_millis()).unwrap();
    assert_eq!(elapsed % ROUND_TRIP_MS, 0);
    elapsed / ROUND_TRIP_MS
}

fn assert_regions_equal(harness: &TestHarness) {
    let found = equality_oracle::differences(&harness.sim.state(), &[]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_calls_of_a_resync() {
    let harness = harness_with_small_lake(TABLES);
    let first = run_resync(&harness, [10, 200], 16);
    assert_regions_equal(&harness);
    first.print("first");
    assert_eq!((first.total(), first.writes()), (396, 89));
    assert_grant_listings(&first);
    harness.sim.state().advance_secs(1);
    let unchanged = run_resync(&harness, [10, 200], 16);
    unchanged.print("unchanged");
    assert!(unchanged.report.verified_at.is_some());
    assert_eq!((unchanged.total(), unchanged.writes()), (44, 0));
    // AWS takes six more in each Region: four for the inventory of what is not replicated, and the second forms
    // of two listings.
    assert!(unchanged.total() + 2 * 6 <= 60);
}

/// All grants of both Regions are listed once. Each database lists those on databases and tables twice: before it shows
/// what came later than the first listing, in the primary only, since the standby lacked the database; and after it made
/// grants.
fn assert_grant_listings(first: &Measured) {
    assert_eq!(
        first.count("ListPermissions"),
        2 * 10 + DATABASES * 3 + 2 * DATABASES * 3
    );
}

#[test]
fn the_calls_of_a_first_resync_without_lf_tags() {
    let harness = harness_with_lake(TABLES, false);
    let first = run_resync(&harness, [10, 200], 16);
    assert_regions_equal(&harness);
    first.print("first, without LF-Tags");
    assert_eq!((first.total(), first.writes()), (294, 66));
    assert_grant_listings(&first);
    // At the end of a run that changed something the opt-ins are listed again.
    assert_eq!(first.count("ListLakeFormationOptIns"), 2 * 2);
    assert_eq!(first.count("ListLFTags"), 2);
}

#[test]
fn a_resync_takes_as_long_as_its_longest_chain_of_calls() {
    let depths = [TABLES, 2 * TABLES].map(|tables| {
        let harness = harness_with_small_lake(tables);
        let first = depth(&harness);
        harness.sim.state().advance_secs(1);
        (first, depth(&harness))
    });
    println!("round trips deep, first and unchanged: {depths:?}");
    // Not more for twice as many tables.
    assert_eq!(depths, [(12, 3); 2]);
}

#[test]
fn sixteen_calls_at_once_are_enough_for_a_small_lake() {
    let harness = harness_with_small_lake(TABLES);
    let first = run_resync(&harness, [10, 200], 16);
    assert!(
        first.elapsed <= Duration::from_secs(4),
        "{:?}",
        first.elapsed
    );
    harness.sim.state().advance_secs(1);
    let unchanged = run_resync(&harness, [10, 200], 16);
    assert!(
        unchanged.elapsed <= Duration::from_millis(2500),
        "{:?}",
        unchanged.elapsed
    );
}
