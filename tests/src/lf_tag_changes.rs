//! Regions with changes of access by LF-Tags that rest on each other.

use crate::harness::{PRIMARY, STANDBY, TestHarness, policy};
use crate::plans::excess_access;
use crate::requests::{
    call, create_database, create_table, policy_grant, table_request, table_resource, tags,
};
use serde_json::{Value, json};
use std::pin::Pin;
use std::task::Waker;
use twinlake_core::ledger::LfTagLease;
use twinlake_engine::{Clock as _, Ledger as _};
use twinlake_sim::run_until_killed;

/// Regions in sync but for two changes whose events are lost. In `sales`, a table changes two LF-Tags at
/// once, for which a grant by LF-Tags has to be suspended. In `hr`, the database gets LF-Tags of which a
/// table of somebody else in the standby must not inherit any while that grant exists, and another table
/// changes, so that the database is planned twice.
#[must_use]
pub fn harness_with_lf_tag_changes() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    for (key, values) in [("class", ["public", "secret"]), ("team", ["a", "b"])] {
        let tag = json!({"TagKey": key, "TagValues": values});
        call(&harness, PRIMARY, "CreateLFTag", tag);
    }
    for database in ["hr", "sales"] {
        create_database(&harness, database);
        for table in ["keep", "orders"] {
            create_table(&harness, PRIMARY, database, table);
        }
    }
    let assign = |resource: Value, pairs: &[(&str, &str)]| {
        let request = json!({"Resource": resource, "LFTags": tags(pairs)});
        call(&harness, PRIMARY, "AddLFTagsToResource", request);
    };
    assign(
        table_resource("orders"),
        &[("class", "public"), ("team", "a")],
    );
    let grants = [
        ("Analyst", [("class", "public"), ("team", "b")]),
        ("Bob", [("class", "secret"), ("team", "a")]),
    ];
    for (role, pairs) in &grants {
        call(
            &harness,
            PRIMARY,
            "GrantPermissions",
            policy_grant(role, pairs),
        );
    }
    harness.settle();
    create_table(&harness, STANDBY, "hr", "theirs");
    assert!(excess_access(&harness).is_empty());
    assign(
        table_resource("orders"),
        &[("class", "secret"), ("team", "b")],
    );
    assign(
        json!({"Database": {"Name": "hr"}}),
        &[("class", "public"), ("team", "b")],
    );
    call(
        &harness,
        PRIMARY,
        "UpdateTable",
        table_request("hr", "orders", &["id", "name"]),
    );
    create_table(&harness, PRIMARY, "hr", "late");
    let _ = harness.take_events();
    harness
}

/// Polls a future a number of times. Returns whether it has ended.
pub fn poll_times<T>(future: &mut Pin<&mut impl Future<Output = T>>, times: usize) -> bool {
    let mut context = std::task::Context::from_waker(Waker::noop());
    (0..times).any(|_| future.as_mut().poll(&mut context).is_ready())
}

/// Takes the lease on LF-Tags as another run, whoever has it.
///
/// # Panics
/// The ledger refuses it.
pub fn take_lease_as_another_run(harness: &TestHarness) {
    let lease = LfTagLease::taken(1, harness.sim.now(), None, None);
    let stored = harness.ledger.contents().lf_tag_lease;
    let version = stored.map(|(_, version)| version);
    let put = harness.ledger.put_lf_tag_lease(&lease, version);
    let put = run_until_killed(&harness.sim, put);
    assert!(matches!(put, Some(Ok(true))), "{put:?}");
}
