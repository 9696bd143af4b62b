//! What changes in the primary after the first listing of a first resync: grants on databases that the standby lacks,
//! and grants on what is outside databases. Each case is tried before every call of the run.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_sim::run_interrupted;
use twinlake_tests::access_oracle::AccessComparison;
use twinlake_tests::equality_oracle;
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, TestQueue, policy};
use twinlake_tests::plans::access_comparison;
use twinlake_tests::requests::{
    all_tables_resource, call, create_database, create_table, permission_request, table_request,
    table_resource,
};

/// Runs the first resync, with something that happens before its call with this index. Returns what `meanwhile`
/// returned; `None` if there is no such call.
fn first_resync_interrupted<T>(
    harness: &TestHarness,
    call_index: usize,
    meanwhile: impl FnOnce() -> T,
) -> Option<T> {
    let context = harness.context();
    let depth = harness.resync_depth;
    let run = twinlake_engine::resync::resync(&context, depth, None, None::<&TestQueue>, &());
    let (report, result) = run_interrupted(&harness.sim, run, call_index, meanwhile);
    report.unwrap();
    result
}

#[test]
fn a_new_database_shows_nobody_what_the_primary_never_showed_them() {
    let grants = [
        ("Analyst", table_resource("orders")),
        ("Auditor", all_tables_resource()),
    ];
    let mut shown = 0;
    for call_index in 0.. {
        let harness = TestHarness::new(policy(""));
        create_database(&harness, "sales");
        // More subjects than are read one by one.
        for table in ["keep", "orders", "refunds", "returns"] {
            create_table(&harness, PRIMARY, "sales", table);
        }
        for (role, resource) in &grants {
            let request = permission_request(role, resource);
            call(&harness, PRIMARY, "GrantPermissions", request);
        }
        let before = access_comparison(&harness.sim);
        let after = first_resync_interrupted(&harness, call_index, || {
            for (role, resource) in &grants {
                let request = permission_request(role, resource);
                call(&harness, PRIMARY, "RevokePermissions", request);
            }
            let update = table_request("sales", "orders", &["id", "ssn"]);
            call(&harness, PRIMARY, "UpdateTable", update);
            create_table(&harness, PRIMARY, "sales", "salaries");
            access_comparison(&harness.sim)
        });
        let Some(after) = after else {
            break;
        };
        let state = harness.sim.state();
        let excess = |comparison: &AccessComparison| comparison.excess(&state);
        let never_shown: BTreeSet<_> = excess(&before)
            .intersection(&excess(&after))
            .cloned()
            .collect();
        assert!(
            never_shown.is_empty(),
            "before call {call_index}: {never_shown:?}"
        );
        let standby = equality_oracle::contents(&state, STANDBY);
        shown += usize::from(standby.keys().any(|key| key.contains("salaries")));
    }
    assert!(shown > 0, "the run saw the change");
}

/// A primary with a table, and somebody who may create databases.
fn harness_with_grant_outside_databases() -> TestHarness {
    let harness = TestHarness::new(policy(""));
    call(&harness, PRIMARY, "GrantPermissions", catalog_grant());
    create_database(&harness, "sales");
    create_table(&harness, PRIMARY, "sales", "orders");
    let _ = harness.sim.state().take_calls();
    harness
}

fn catalog_grant() -> Value {
    json!({
        "Principal": {"DataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Steward"},
        "Resource": {"Catalog": {}},
        "Permissions": ["CREATE_DATABASE"],
    })
}

/// The calls that changed the standby, in order, each with its place among all calls.
fn standby_writes(harness: &TestHarness) -> Vec<(usize, String)> {
    let calls = harness.sim.state().take_calls().into_iter().enumerate();
    let is_write = |name: &str| {
        let verbs = ["Create", "Grant", "BatchGrant", "Update", "Add"];
        verbs.iter().any(|verb| name.starts_with(verb))
    };
    calls
        .filter(|(_, call)| call.region == STANDBY && is_write(&call.name))
        .map(|(index, call)| (index, call.name))
        .collect()
}

#[test]
fn what_is_outside_databases_is_not_granted_by_a_listing_from_before_the_changes() {
    let harness = harness_with_grant_outside_databases();
    assert_eq!(first_resync_interrupted(&harness, 1_000_000, || ()), None);
    let writes = standby_writes(&harness);
    let position = |name: &str| {
        let found = writes.iter().find(|(_, write)| write.contains(name));
        found.unwrap_or_else(|| panic!("{name}: {writes:?}")).0
    };
    let (table_created, granted) = (position("CreateTable"), position("Grant"));
    assert!(table_created < granted, "{writes:?}");
    // The grant is revoked while the run works on databases, after it had listed all grants.
    for call_index in 0..=table_created {
        let harness = harness_with_grant_outside_databases();
        let revoked = first_resync_interrupted(&harness, call_index, || {
            call(&harness, PRIMARY, "RevokePermissions", catalog_grant());
        });
        assert!(revoked.is_some());
        let writes = standby_writes(&harness);
        let is_granted = writes.iter().any(|(_, name)| name.contains("Grant"));
        assert!(!is_granted, "before call {call_index}: {writes:?}");
    }
}
