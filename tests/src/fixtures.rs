//! Regions with a fixed content, and the events of a heartbeat.

use crate::harness::{PRIMARY, TWINLAKE_ROLE, TestHarness, policy};
use crate::history::table_input;
use serde_json::json;
use twinlake_engine::{Clock as _, heartbeat};
use twinlake_sim::run_until_killed;

/// Returns a harness in sync with the database `sales`, a table of the given name, and a table
/// `other`.
///
/// # Panics
/// An API call fails.
#[must_use]
pub fn harness_with_table(name: &str) -> TestHarness {
    let harness = TestHarness::new(policy(""));
    let input = json!({"DatabaseInput": {"Name": "sales", "CreateTableDefaultPermissions": []}});
    harness.call(PRIMARY, "CreateDatabase", &input).unwrap();
    for name in [name, "other"] {
        let input =
            json!({"DatabaseName": "sales", "TableInput": table_input("sales", name, &["id"])});
        harness.call(PRIMARY, "CreateTable", &input).unwrap();
    }
    harness.resync();
    let _ = (harness.sim.state().take_events(), harness.topic.take());
    harness
}

/// Writes a heartbeat in the primary. Returns the events of the primary.
///
/// # Panics
/// The heartbeat cannot be written.
#[must_use]
pub fn heartbeat_events(harness: &TestHarness) -> Vec<Vec<u8>> {
    let region = harness.sim.region(PRIMARY, TWINLAKE_ROLE);
    let now = harness.sim.now();
    run_until_killed(&harness.sim, heartbeat::write_heartbeat(&region, now))
        .unwrap()
        .unwrap();
    harness.take_events()
}
