//! What changes in the primary after the first listing of a first resync: grants on databases that the standby lacks,
//! and grants on what is outside databases. Each case is tried before every call of the run.

use crate::changes_during_runs::{
    assert_nobody_sees_what_was_never_shown, resync_interrupted, revoked_meanwhile,
};
use serde_json::{Value, json};
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};
use twinlake_tests::requests::{call, create_database, create_table, permission_request};

#[test]
fn a_new_database_shows_nobody_what_the_primary_never_showed_them() {
    assert_nobody_sees_what_was_never_shown(|| {
        let harness = TestHarness::new(policy(""));
        create_database(&harness, "sales");
        // More subjects than are read one by one.
        for table in ["keep", "orders", "refunds", "returns"] {
            create_table(&harness, PRIMARY, "sales", table);
        }
        for (role, resource) in revoked_meanwhile() {
            let request = permission_request(role, &resource);
            call(&harness, PRIMARY, "GrantPermissions", request);
        }
        harness
    });
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
    assert_eq!(resync_interrupted(&harness, 1_000_000, || ()).1, None);
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
        let (_, revoked) = resync_interrupted(&harness, call_index, || {
            call(&harness, PRIMARY, "RevokePermissions", catalog_grant());
        });
        assert!(revoked.is_some());
        let writes = standby_writes(&harness);
        let is_granted = writes.iter().any(|(_, name)| name.contains("Grant"));
        assert!(!is_granted, "before call {call_index}: {writes:?}");
    }
}
