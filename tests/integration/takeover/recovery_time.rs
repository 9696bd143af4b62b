//! The time from the command of a failover to its end, on the clock of the simulator: the waits, and the calls at an
//! assumed time each.

use serde_json::json;
use std::cell::Cell;
use std::time::Duration;
use twinlake_core::failover::{FailoverRequest, FailoverStage, FailoverStep};
use twinlake_core::topology::{
    FENCE_MARGIN_SECS, FENCE_WAIT_SECS, LONGEST_ATTEMPT_SECS, WRITE_LEASE_SECS,
};
use twinlake_engine::Clock as _;
use twinlake_engine::failover::{FailoverProgress, MAX_CONCURRENT_RESTORES};
use twinlake_tests::harness::PRIMARY;
use twinlake_tests::takeover::pair::{Pair, open_defaults};

/// What one call is assumed to take, in milliseconds.
const CALL_MILLIS: u64 = 100;

/// The databases with default permissions that docs/takeover.md names.
const DATABASES: u64 = 350;

/// The longest time that docs/takeover.md names, in seconds.
const OBJECTIVE_SECS: u64 = 150;

/// Notes when each step began, on the clock of the simulator.
struct Steps<'a>(&'a Pair, Cell<Option<Duration>>, Cell<Duration>);

impl FailoverProgress for Steps<'_> {
    fn step_started(&self, step: FailoverStep) {
        let now = self.0.harness.sim.monotonic();
        match step {
            FailoverStep::WaitForWriters => self.1.set(Some(now)),
            FailoverStep::RestoreDefaults => {
                self.2.set(now.saturating_sub(self.1.get().unwrap()));
            }
            FailoverStep::FreezeGrants
            | FailoverStep::Verify
            | FailoverStep::WriteEpoch
            | FailoverStep::HandOver => {}
        }
    }
    fn waiting(&self, _: Duration) {}
}

/// A lake with so many more databases, with default permissions for new tables.
fn lake(databases: u64) -> Pair {
    let pair = Pair::in_sync();
    for number in 0..databases {
        let input =
            json!({"Name": format!("d{number}"), "CreateTableDefaultPermissions": open_defaults()});
        let request = json!({ "DatabaseInput": input });
        pair.harness
            .call(PRIMARY, "CreateDatabase", &request)
            .unwrap();
    }
    pair.settle(&pair.us, &pair.india, pair.harness.epoch());
    let _ = (pair.harness.sim.state().take_calls(), pair.life.begin());
    pair
}

/// The seconds of waits, the calls to Glue, and the calls to the ledger of a failover.
fn measured(databases: u64) -> (u64, u64, u64) {
    let pair = lake(databases);
    let steps = Steps(&pair, Cell::default(), Cell::default());
    let request = FailoverRequest {
        accepts_loss: true,
        ..FailoverRequest::default()
    };
    let end = pair.fail_over_watched(&pair.india, &request, &steps);
    let journal = end.unwrap().unwrap().unwrap();
    assert_eq!(journal.stage, FailoverStage::Completed);
    let glue = pair.harness.sim.state().take_calls().len();
    let ledger = pair.life.begin().len();
    // The first right answer of the new primary.
    let name = json!({"Name": "sales"});
    let found = pair.harness.call(pair.india.name, "GetDatabase", &name);
    let database = found.unwrap()["Database"].clone();
    assert_eq!(database["CreateTableDefaultPermissions"], open_defaults());
    let count = |calls: usize| u64::try_from(calls).unwrap();
    (steps.2.get().as_secs(), count(glue), count(ledger))
}

#[test]
fn a_failover_with_the_default_waits_ends_within_150_seconds() {
    let (wait, glue, ledger) = measured(0);
    // The only wait, and what it is made of.
    assert_eq!(
        WRITE_LEASE_SECS + LONGEST_ATTEMPT_SECS + FENCE_MARGIN_SECS,
        FENCE_WAIT_SECS
    );
    assert_eq!(wait, FENCE_WAIT_SECS);
    let (_, more_glue, more_ledger) = measured(4);
    assert_eq!(
        more_ledger, ledger,
        "the calls to the ledger do not grow with the lake"
    );
    let per_database = (more_glue - glue) / 4;
    assert_eq!(per_database, 3, "read, write, read again");
    let concurrent = u64::try_from(MAX_CONCURRENT_RESTORES).unwrap();
    let calls = ledger + (glue + per_database * DATABASES).div_ceil(concurrent);
    let secs = wait + (calls * CALL_MILLIS).div_ceil(1000);
    assert!(
        secs <= OBJECTIVE_SECS,
        "{wait} s of waits, {ledger} calls to the ledger, {glue} to Glue and {per_database} for each database: {secs} s"
    );
}
