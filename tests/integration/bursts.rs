//! A thousand updates of a thousand different tables within ten seconds: when they are in the standby, on a
//! clock that only calls and waits advance.

use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use twinlake_core::CallError;
use twinlake_engine::event_batch::{self, BatchResult, QueueMessage};
use twinlake_engine::resync::ResyncDepth;
use twinlake_engine::{Clock as _, RetryMessage, RetryQueue};
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{PRIMARY, TestHarness, policy};
use twinlake_tests::history::table_input;
use twinlake_tests::virtual_clock::{self, Calls, LimitedRegions, set_round_trips, take_calls};

const UPDATES: usize = 1000;
const UPDATES_WITHIN: Duration = Duration::from_secs(10);
/// The bar, from the first update.
const IN_STEP_WITHIN: Duration = Duration::from_secs(60);

/// How `template.yaml` configures the queue, its event source and the function.
#[derive(Clone, Copy)]
struct Settings {
    queue_delay: Duration,
    batch_size: usize,
    batch_window: Duration,
    invocations: usize,
    calls: usize,
    timeout: Duration,
}

impl Settings {
    fn of_template() -> Self {
        let template = include_str!("../../template.yaml");
        let number = |section: &str, key: &str| -> u64 {
            let (_, after) = template.split_once(section).unwrap();
            let (_, after) = after.split_once(key).unwrap();
            after.split_whitespace().next().unwrap().parse().unwrap()
        };
        let default = |parameter: &str| number(&format!("\n  {parameter}:\n"), "Default:");
        let of_source = |key: &str| number("\n  CatalogEvent:\n", key);
        Self {
            queue_delay: Duration::from_secs(default("QueueDelaySeconds")),
            batch_size: usize::try_from(of_source("BatchSize:")).unwrap(),
            batch_window: Duration::from_secs(of_source("MaximumBatchingWindowInSeconds:")),
            invocations: usize::try_from(default("EventFunctionMaxConcurrency")).unwrap(),
            calls: usize::try_from(default("MaxConcurrentCalls")).unwrap(),
            timeout: Duration::from_secs(default("EventFunctionTimeoutSeconds")),
        }
    }
}

/// Most messages of one response of SQS, and how often an event source asks.
const RECEIVED_AT_ONCE: usize = 10;
const RECEIVE_INTERVAL: Duration = Duration::from_millis(20);
/// What a function needs for the policy and the epoch of both ledgers, and to publish its metrics.
const INVOCATION_OVERHEAD: Duration = Duration::from_millis(500);

/// A queue whose messages are visible after a delay.
#[derive(Default)]
struct DelayQueue {
    messages: RefCell<BTreeMap<(Instant, usize), Vec<u8>>>,
    sent: Cell<usize>,
    /// Whether nobody but the functions sends more.
    is_complete: Cell<bool>,
    /// Batches that are collected or processed.
    under_way: Cell<usize>,
}

impl DelayQueue {
    fn push(&self, body: Vec<u8>, delay: Duration) {
        let number = self.sent.replace(self.sent.get() + 1);
        let mut messages = self.messages.borrow_mut();
        messages.insert((Instant::now() + delay, number), body);
    }

    /// Takes up to so many visible messages.
    fn receive(&self, most: usize) -> Vec<QueueMessage> {
        let mut messages = self.messages.borrow_mut();
        let mut received = Vec::new();
        while received.len() < most
            && let Some(first) = messages.first_entry()
            && first.key().0 <= Instant::now()
        {
            let ((_, number), body) = first.remove_entry();
            received.push(QueueMessage {
                id: number.to_string(),
                body,
                is_redelivered: false,
            });
        }
        received
    }

    /// Collects a batch as an event source does. `None` if no more can come.
    async fn next_batch(&self, settings: Settings) -> Option<Vec<QueueMessage>> {
        let most = settings.batch_size;
        let mut batch = self.receive(RECEIVED_AT_ONCE);
        while batch.is_empty() {
            let is_empty = self.messages.borrow().is_empty();
            if self.is_complete.get() && is_empty && self.under_way.get() == 0 {
                return None;
            }
            sleep(RECEIVE_INTERVAL).await;
            batch = self.receive(RECEIVED_AT_ONCE);
        }
        self.under_way.set(self.under_way.get() + 1);
        let until = Instant::now() + settings.batch_window;
        while batch.len() < most && Instant::now() < until {
            sleep(RECEIVE_INTERVAL).await;
            batch.extend(self.receive(RECEIVED_AT_ONCE.min(most - batch.len())));
        }
        Some(batch)
    }
}

impl RetryQueue for DelayQueue {
    async fn send(&self, message: &RetryMessage, delay: u16) -> Result<(), CallError> {
        let delay = Duration::from_secs(delay.into());
        self.push(message.body().into_bytes(), delay);
        Ok(())
    }
}

/// A primary of tables in so many databases, and a standby in step with it.
fn harness_in_step(databases: usize) -> TestHarness {
    let mut harness = TestHarness::new(policy(""));
    harness.resync_depth = ResyncDepth::Scheduled;
    for d in 0..databases {
        let input = json!({"Name": database(d), "CreateTableDefaultPermissions": []});
        let request = json!({"DatabaseInput": input});
        harness.call(PRIMARY, "CreateDatabase", &request).unwrap();
    }
    for number in 0..UPDATES {
        update(&harness, "CreateTable", number, databases, "before");
    }
    let report = harness.resync().unwrap();
    assert!(report.outcome.is_settled());
    let _ = (harness.take_events(), harness.take_calls());
    harness
}

fn database(number: usize) -> String {
    format!("db{number}")
}

fn update(harness: &TestHarness, call: &str, number: usize, databases: usize, comment: &str) {
    let database = database(number % databases);
    let mut input: Value = table_input(&database, &format!("t{number}"), &["id"]);
    input["Description"] = json!(comment);
    let request = json!({"DatabaseName": database, "TableInput": input});
    harness.call(PRIMARY, call, &request).unwrap();
}

/// What became of a burst.
struct Burst {
    in_step_after: Duration,
    calls: Calls,
    invocations: usize,
    longest_invocation: Duration,
    failed: usize,
}

impl Burst {
    fn print(&self, name: &str) {
        let total: usize = self.calls.values().sum();
        println!(
            "{name}: in step after {:?}; {total} calls, {} invocations, the longest {:?}",
            self.in_step_after, self.invocations, self.longest_invocation
        );
        for ((region, call), count) in &self.calls {
            println!("  {region:<12} {call:<32} {count:>5}");
        }
    }
}

/// One of the concurrent invocations of a function, again and again until no message is left.
async fn consume(
    harness: &TestHarness,
    (queue, settings): (&DelayQueue, Settings),
    results: &RefCell<Vec<(BatchResult, Duration)>>,
) {
    while let Some(batch) = queue.next_batch(settings).await {
        let started = Instant::now();
        sleep(INVOCATION_OVERHEAD).await;
        let regions = LimitedRegions::new(harness, settings.calls);
        let context = regions.context(harness);
        let stop_at = harness.sim.now().plus_secs(1_000_000);
        let event_context = harness.event_context();
        let ports = (queue, &harness.topic);
        let files = Some(&harness.table_files);
        let run = event_batch::run(&context, ports, files, &event_context, &batch, stop_at);
        let result = run.await;
        results.borrow_mut().push((result, started.elapsed()));
        queue.under_way.set(queue.under_way.get() - 1);
    }
}

fn run_burst(databases: usize, settings: Settings) -> Burst {
    let harness = harness_in_step(databases);
    set_round_trips(&harness, [10, 200]);
    let queue = DelayQueue::default();
    let results = RefCell::new(Vec::new());
    let send = async {
        let started = Instant::now();
        for number in 0..UPDATES {
            let at =
                UPDATES_WITHIN * u32::try_from(number).unwrap() / u32::try_from(UPDATES).unwrap();
            sleep_until(started + at).await;
            update(&harness, "UpdateTable", number, databases, "after");
            for event in harness.take_events() {
                queue.push(event, settings.queue_delay);
            }
        }
        queue.is_complete.set(true);
    };
    let workers =
        (0..settings.invocations).map(|_| consume(&harness, (&queue, settings), &results));
    let all = async { tokio::join!(send, futures_util::future::join_all(workers)) };
    let (_, in_step_after) = virtual_clock::run(all);
    let found = equality_oracle::differences(&harness.sim.state(), &[]);
    assert!(found.is_empty(), "{found:?}");
    assert!(harness.topic.take().is_empty());
    let results = results.into_inner();
    Burst {
        in_step_after,
        calls: take_calls(&harness),
        invocations: results.len(),
        longest_invocation: results.iter().map(|(_, elapsed)| *elapsed).max().unwrap(),
        failed: results.iter().map(|(result, _)| result.failed.len()).sum(),
    }
}

#[test]
fn a_thousand_updates_are_in_step_within_a_minute() {
    let settings = Settings::of_template();
    // In one database the listings are long, and in a thousand no two tables share one.
    for databases in [1, 1000] {
        let burst = run_burst(databases, settings);
        burst.print(&format!("{databases} databases"));
        assert_eq!(
            burst.failed, 0,
            "messages would end in the dead-letter queue"
        );
        assert!(burst.longest_invocation < settings.timeout);
        assert!(burst.in_step_after <= IN_STEP_WITHIN);
        // Twice the definition, the grants once, and the update, in both Regions: however the tables are spread.
        assert!(burst.calls.values().sum::<usize>() <= 10 * UPDATES);
    }
}
