//! Resyncs of large lakes by the function, which has little time and hands on the rest: each invocation ends before
//! its timeout, on a clock that only calls and waits advance.
//!
//! `make bench` runs the large ones, which are ignored elsewhere.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;
use twinlake_engine::resync::{ResyncDepth, resync};
use twinlake_engine::{Clock as _, Context, RetryMessage};
use twinlake_sim::BulkSize;
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{PRIMARY, TestHarness, TestQueue, policy};
use twinlake_tests::virtual_clock::{
    self, LimitedRegions, VirtualClock, set_round_trips, take_calls,
};

// As `template.yaml` configures the function. Its handler stops earlier, for the sake of slow calls.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(900);
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(10);
const CONCURRENT_CALLS: usize = 8;

/// More invocations are a resync that does not end.
const MAX_INVOCATIONS: usize = 2000;

/// The invocations of one resync.
#[derive(Default)]
struct Invocations {
    elapsed: Vec<Duration>,
    calls: usize,
    megabytes_before: u64,
}

impl Invocations {
    fn longest(&self) -> Duration {
        self.elapsed.iter().max().copied().unwrap_or_default()
    }

    fn print(&self, name: &str) {
        let total: Duration = self.elapsed.iter().sum();
        println!(
            "  {name}: {} calls, {} invocations, {:.0} s together, the longest {:.0} s; peak memory of the \
             process with both simulated Regions and their ledger: {} MB, {} MB of them before",
            self.calls,
            self.elapsed.len(),
            total.as_secs_f64(),
            self.longest().as_secs_f64(),
            memory_megabytes("VmHWM:"),
            self.megabytes_before,
        );
    }
}

/// The resident memory of this process, `VmRSS:`, or its peak, `VmHWM:`.
fn memory_megabytes(kind: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(kind));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0u64) / 1024
}

/// A primary with so many databases of this size, and an empty standby.
fn harness_with(databases: usize, size: BulkSize) -> TestHarness {
    let mut harness = TestHarness::new(policy("column-statistics = \"none\"\n"));
    harness.resync_depth = ResyncDepth::Scheduled;
    for number in 0..databases {
        let mut state = harness.sim.state();
        let created = state.bulk_create(PRIMARY, &format!("db{number}"), "s3://lake-us", size);
        created.unwrap();
    }
    harness
}

/// Runs a resync as the function does, one invocation after the other.
fn resync_by_function(harness: &TestHarness, timeout: Duration) -> Invocations {
    set_round_trips(harness, [10, 200]);
    let megabytes_before = memory_megabytes("VmRSS:");
    let (invocations, _) = virtual_clock::run(async {
        let clock = VirtualClock::start(harness);
        let queue = TestQueue::default();
        let mut outstanding: VecDeque<Option<RetryMessage>> = VecDeque::from([None]);
        let mut elapsed = Vec::new();
        let mut is_verified = false;
        while let Some(message) = outstanding.pop_front() {
            let started = Instant::now();
            let regions = LimitedRegions::new(harness, CONCURRENT_CALLS);
            let time = i64::try_from((timeout - SHUTDOWN_MARGIN).as_secs()).unwrap();
            let context = Context {
                stop_at: Some(clock.now().plus_secs(time)),
                ..regions.context_by(&clock, harness)
            };
            let part = message
                .as_ref()
                .and_then(|message| Some((message.part.as_ref()?, &message.scope)));
            let run = resync(&context, harness.resync_depth, part, Some(&queue), &());
            let report = run.await.expect("a ledger in memory returns no error");
            assert_eq!(report.interrupted_by, None);
            elapsed.push(started.elapsed());
            is_verified |= report.verified_at.is_some();
            outstanding.extend(queue.take().into_iter().map(Some));
            assert!(elapsed.len() < MAX_INVOCATIONS);
        }
        assert!(is_verified);
        elapsed
    });
    Invocations {
        elapsed: invocations,
        calls: take_calls(harness).values().sum(),
        megabytes_before,
    }
}

/// Calls of a resync that AWS takes and the simulator does not: in each Region four for the inventory of what is not
/// replicated, and the second forms of two listings.
const CALLS_THAT_ARE_NOT_SIMULATED: usize = 2 * 6;

/// The calls of a resync on average over a week of four a day, in which nothing changes.
fn calls_of_an_unchanged_week(databases: usize, tables: usize) -> usize {
    const RESYNCS: usize = 7 * 4;
    let mut harness = harness_with(
        databases,
        BulkSize {
            tables,
            partitions_per_table: 1,
            grants_per_table: 1,
        },
    );
    harness.policy = policy("");
    harness.resync();
    let found = equality_oracle::differences(&harness.sim.state(), &[]);
    assert!(found.is_empty(), "{:?}", found.first());
    let _ = take_calls(&harness);
    let mut calls = 0;
    for _ in 0..RESYNCS {
        harness.sim.state().advance_secs(6 * 3600);
        harness.resync();
        calls += take_calls(&harness).values().sum::<usize>() + CALLS_THAT_ARE_NOT_SIMULATED;
    }
    let average = calls.div_ceil(RESYNCS);
    println!(
        "{} tables in {databases} databases, unchanged: {average} calls a resync, on average over a week of four a day",
        databases * tables,
    );
    average
}

#[test]
fn a_week_of_resyncs_of_few_tables() {
    // As for the ten thousand tables of `make bench`: 0.8 calls a table. The listings that every resync makes are on top.
    assert!(calls_of_an_unchanged_week(3, 50) <= 3 * 50 * 8 / 10 + 70);
}

/// Runs the first resync and an unchanged one.
fn measure(name: &str, databases: usize, size: BulkSize, timeout: Duration) -> [Invocations; 2] {
    println!(
        "{name}, resynchronized by the function with a timeout of {} s:",
        timeout.as_secs()
    );
    let harness = harness_with(databases, size);
    let first = resync_by_function(&harness, timeout);
    first.print("first");
    let found = equality_oracle::differences(&harness.sim.state(), &[]);
    assert!(found.is_empty(), "{:?}", found.first());
    harness.sim.state().advance_secs(3600);
    let unchanged = resync_by_function(&harness, timeout);
    unchanged.print("unchanged");
    for invocations in [&first, &unchanged] {
        assert!(
            invocations.longest() < timeout,
            "{:?}",
            invocations.longest()
        );
    }
    [first, unchanged]
}

#[test]
fn each_invocation_of_a_resync_ends_before_its_timeout() {
    let size = BulkSize {
        tables: 50,
        partitions_per_table: 2,
        grants_per_table: 2,
    };
    let [first, _] = measure(
        "20 databases of 50 tables",
        20,
        size,
        Duration::from_secs(60),
    );
    assert!(first.elapsed.len() > 1, "it is too small to be handed on");
}

#[test]
#[ignore = "takes minutes; `make bench` runs it"]
fn a_hundred_thousand_tables() {
    let of = |tables| BulkSize {
        tables,
        ..BulkSize::default()
    };
    measure(
        "100,000 tables in 1,000 databases",
        1000,
        of(100),
        FUNCTION_TIMEOUT,
    );
}

#[test]
#[ignore = "takes minutes; `make bench` runs it"]
fn large_databases() {
    let of = |tables| BulkSize {
        tables,
        ..BulkSize::default()
    };
    measure(
        "20,000 tables in 10 databases",
        10,
        of(2000),
        FUNCTION_TIMEOUT,
    );
}

#[test]
#[ignore = "takes minutes; `make bench` runs it"]
fn a_million_partitions_of_one_table() {
    let size = BulkSize {
        tables: 1,
        partitions_per_table: 1_000_000,
        grants_per_table: 0,
    };
    measure(
        "1,000,000 partitions of one table",
        1,
        size,
        FUNCTION_TIMEOUT,
    );
}

#[test]
#[ignore = "takes minutes; `make bench` runs it"]
fn a_million_grants() {
    let size = BulkSize {
        tables: 100,
        partitions_per_table: 0,
        grants_per_table: 100,
    };
    measure(
        "1,000,000 grants on 10,000 tables",
        100,
        size,
        FUNCTION_TIMEOUT,
    );
}
