//! A function that is killed at any of its calls, before or after it took effect, while it relocates a commit or removes
//! files: its messages are delivered again, and the end is the same.

use super::Lake;
use super::lake_table::{LakeTable, SOURCE, faults};
use super::unneeded_files::{needed_files, own_paths};
use std::collections::BTreeSet;
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::{CallError, SubjectState};
use twinlake_engine::event_batch::{self, QueueMessage};
use twinlake_engine::iceberg::UNNEEDED_GRACE_SECS;
use twinlake_engine::ports::TableFiles;
use twinlake_engine::{Clock as _, Context, Environment, RetryMessage, RetryQueue};
use twinlake_sim::{KillSwitch, Sim, SimRegion, SimTableFiles};
use twinlake_tests::harness::TestQueue;
use twinlake_tests::takeover::mortal_ledger::{CallerLife, DeathPoint, MortalLedger};

/// How long after it was received a message is delivered again.
const VISIBILITY_SECS: i64 = 900;

struct MortalEnvironment;

impl Environment for MortalEnvironment {
    type Primary = SimRegion;
    type Standby = SimRegion;
    type Ledger = MortalLedger;
    type Clock = Sim;
}

/// The files of tables, and the queue, of a caller that may die.
struct Mortal<'a, T> {
    inner: &'a T,
    life: &'a CallerLife,
}

impl TableFiles for Mortal<'_, SimTableFiles> {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, CallError> {
        self.life.call("get", self.inner.get(path)).await
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, CallError> {
        self.life.call("size", self.inner.size(path)).await
    }

    async fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64)) -> Result<(), CallError> {
        self.life.call("list", self.inner.list(prefix, visit)).await
    }

    async fn create(&self, path: &str, content: Vec<u8>) -> Result<bool, CallError> {
        self.life
            .call("create", self.inner.create(path, content))
            .await
    }

    async fn remove(&self, path: &str) -> Result<(), CallError> {
        self.life.call("remove", self.inner.remove(path)).await
    }
}

impl RetryQueue for Mortal<'_, TestQueue> {
    async fn send(&self, message: &RetryMessage, delay: u16) -> Result<(), CallError> {
        self.life
            .call("send", self.inner.send(message, delay))
            .await
    }
}

/// What the function does when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    FirstCommit,
    LaterCommit,
    Removal,
}

/// Where it is killed.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// At a call to the ledger, the files or the queue.
    Port(usize, DeathPoint),
    /// At a call to a catalog.
    Region(usize, bool),
}

/// What there is in the end.
#[derive(Debug, PartialEq, Eq)]
struct End {
    pointer: Option<String>,
    files: BTreeSet<String>,
    state: SubjectState,
}

impl Lake {
    /// The table in a state in which the messages that are returned do the work, and its newest metadata.json.
    fn prepare(&self, work: Work) -> (LakeTable<'_>, String, Vec<Vec<u8>>) {
        let mut table = LakeTable::new(&self.harness.table_files, "orders");
        let location = format!("{SOURCE}/sales/orders");
        let mut metadata = table.append();
        if work != Work::FirstCommit {
            self.commit(&table, &metadata);
        }
        match work {
            Work::FirstCommit | Work::LaterCommit => {
                table.append();
                metadata = table.delete_rows();
                table.arrive_all();
                let call = match work {
                    Work::FirstCommit => "CreateTable",
                    Work::LaterCommit | Work::Removal => "UpdateTable",
                };
                let events = self.change_entry(&location, call, &metadata, &["id"]);
                (table, metadata, events)
            }
            Work::Removal => {
                table.delete_rows();
                metadata = table.rewrite_manifests();
                self.commit(&table, &metadata);
                metadata = table.expire();
                self.commit(&table, &metadata);
                self.wait_hours(1);
                self.harness.sim.state().advance_secs(UNNEEDED_GRACE_SECS);
                let messages = self.due_looks();
                (table, metadata, messages)
            }
        }
    }

    /// Processes messages, and those that follow at once, one batch after the other. Returns the batch in which the
    /// function was killed.
    fn work(&self, life: &CallerLife, messages: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
        let mut due = messages;
        for _ in 0..20 {
            if due.is_empty() {
                return None;
            }
            let is_alive = self.process(life, &due);
            if let Some(pointer) = self.pointer() {
                let faults = faults(&self.harness.table_files, &pointer);
                assert_eq!(
                    faults,
                    Vec::<String>::new(),
                    "the entry is ahead of its files"
                );
            }
            if !is_alive {
                return Some(due);
            }
            let sent = self.harness.queue.take_with_delays();
            let (now, later): (Vec<_>, Vec<_>) =
                sent.into_iter().partition(|(_, delay)| *delay == 0);
            due = now
                .into_iter()
                .map(|(one, _)| one.body().into_bytes())
                .collect();
            let queue = &self.harness.queue;
            for (message, delay) in later {
                futures_util::FutureExt::now_or_never(queue.send(&message, delay))
                    .unwrap()
                    .unwrap();
            }
        }
        panic!("messages are sent without end");
    }

    /// Processes a batch. Returns whether the function lived on.
    fn process(&self, life: &CallerLife, messages: &[Vec<u8>]) -> bool {
        let harness = &self.harness;
        let ledger = MortalLedger::with_contents(harness.ledger.contents(), life);
        let base = harness.context();
        let context: Context<'_, MortalEnvironment> = Context {
            primary: base.primary,
            standby: base.standby,
            ledger: &ledger,
            clock: base.clock,
            policy: base.policy,
            epoch: base.epoch,
            reader_role: base.reader_role,
            own_roles: base.own_roles,
            max_concurrent_calls: base.max_concurrent_calls,
            approved_deletions: &ApprovedDeletions::None,
            may_write_settings: base.may_write_settings,
            stop_at: None,
            scan_window: None,
            lf_tag_lease: None,
            progress: &(),
        };
        let messages: Vec<QueueMessage> = (messages.iter().enumerate())
            .map(|(index, body)| QueueMessage {
                id: index.to_string(),
                body: body.clone(),
                is_redelivered: false,
            })
            .collect();
        let queue = Mortal {
            inner: &harness.queue,
            life,
        };
        let files = Mortal {
            inner: &harness.table_files,
            life,
        };
        let (events, stop_at) = (
            harness.event_context(),
            harness.sim.now().plus_secs(1_000_000),
        );
        let ports = (&queue, &harness.topic);
        let run = event_batch::run(&context, ports, Some(&files), &events, &messages, stop_at);
        let ended = life.run(&harness.sim, run);
        harness.ledger.set_contents(ledger.contents());
        if let Some(result) = &ended {
            assert!(result.failed.is_empty(), "{:?}", result.failed);
        }
        ended.is_some()
    }

    /// Lets the function go on for days, until nothing is left to remove.
    fn finish(&self) -> End {
        self.run_queue();
        self.look();
        self.wait_hours(50);
        End {
            pointer: self.pointer(),
            files: own_paths(&self.harness.table_files),
            state: self.row().state,
        }
    }
}

/// Does the work with a function that is killed once, and then again. Returns the end and whether it was killed.
fn end_after(work: Work, death: Death) -> (End, bool) {
    let lake = Lake::new();
    let (table, metadata, messages) = lake.prepare(work);
    let life = CallerLife::default();
    let shown = lake.pointer();
    match death {
        Death::Port(call, point) => life.begin_until(call, point),
        Death::Region(call_index, after_effect) => {
            let switch = KillSwitch {
                call_index,
                after_effect,
            };
            lake.harness.sim.state().set_kill_switch(switch);
        }
    }
    let unprocessed = lake.work(&life, messages);
    life.begin();
    lake.harness.sim.state().clear_call_faults();
    let is_killed = unprocessed.is_some();
    if let Some(again) = unprocessed {
        assert!(
            shown.is_none() || lake.pointer().is_some(),
            "the entry is gone"
        );
        lake.harness.sim.state().advance_secs(VISIBILITY_SECS);
        assert_eq!(lake.work(&life, again), None);
    }
    let end = lake.finish();
    let files = &lake.harness.table_files;
    let pointer = end.pointer.clone().unwrap();
    assert_eq!(faults(files, &pointer), Vec::<String>::new());
    assert_eq!(
        end.files,
        needed_files(files, &metadata),
        "{work:?} {death:?}"
    );
    drop(table);
    (end, is_killed)
}

/// The calls to ports, and the number of calls to catalogs, of the work when nothing kills the function.
fn calls_of(work: Work) -> (Vec<&'static str>, usize) {
    let lake = Lake::new();
    let (_table, _, messages) = lake.prepare(work);
    let life = CallerLife::default();
    let _ = lake.harness.sim.state().take_calls();
    assert_eq!(lake.work(&life, messages), None);
    let calls = lake.harness.sim.state().take_calls().len();
    (life.begin(), calls)
}

fn check(work: Work, expected_calls: &[&str]) {
    let (calls, region_calls) = calls_of(work);
    for expected in expected_calls {
        assert!(calls.contains(expected), "{expected}: {calls:?}");
    }
    let (expected, _) = end_after(work, Death::Port(usize::MAX, DeathPoint::Before));
    assert_eq!(expected.state, SubjectState::InSync);
    let mut deaths = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        deaths.push(Death::Port(index, DeathPoint::Before));
        deaths.push(Death::Port(index, DeathPoint::After));
        if call.ends_with("_rows") {
            deaths.push(Death::Port(index, DeathPoint::Halfway));
        }
    }
    let of_regions = (0..region_calls).flat_map(|call| [(call, false), (call, true)]);
    deaths.extend(of_regions.map(|(call, after)| Death::Region(call, after)));
    let mut killed = 0;
    for death in deaths {
        let (end, is_killed) = end_after(work, death);
        assert_eq!(end, expected, "{death:?} of {calls:?}");
        killed += usize::from(is_killed);
    }
    assert!(killed > 2 * calls.len(), "{killed} of {}", calls.len());
}

#[test]
fn a_first_commit_that_is_broken_off_at_any_call_ends_the_same() {
    check(
        Work::FirstCommit,
        &["get", "size", "create", "put_relocation_memory", "send"],
    );
}

#[test]
fn a_later_commit_that_is_broken_off_at_any_call_ends_the_same() {
    check(
        Work::LaterCommit,
        &["get", "create", "put_relocation_memory", "put_rows"],
    );
}

#[test]
fn a_removal_that_is_broken_off_at_any_call_ends_the_same_and_removes_nothing_that_is_shown() {
    check(
        Work::Removal,
        &["put_relocation_memory", "remove", "tables_at_location"],
    );
}
