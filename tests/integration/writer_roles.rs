//! Twinlake's functions run as different roles. Each may change what another one created, because
//! every managed database is granted to all of them.

use serde_json::json;
use std::collections::BTreeSet;
use twinlake_core::CallErrorKind;
use twinlake_sim::{ApiError, InjectedFault};
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};

const WRITERS: [&str; 2] = [
    "arn:aws:iam::111122223333:role/twinlake/catalog-event",
    "arn:aws:iam::111122223333:role/twinlake/resync",
];

fn harness_with_database() -> TestHarness {
    let harness = TestHarness::new(policy("")).with_writers(&WRITERS);
    let input = json!({"DatabaseInput": {"Name": "d", "CreateTableDefaultPermissions": []}});
    harness.call(PRIMARY, "CreateDatabase", &input).unwrap();
    harness
}

/// Returns the grants of the writer roles in the standby: role, resource, permission.
fn writer_grants(harness: &TestHarness) -> BTreeSet<(String, String, String)> {
    let grants = harness.sim.state().raw_grants(STANDBY);
    let of_writers = grants
        .into_iter()
        .filter(|(grant, _)| WRITERS.contains(&grant.principal.as_str()));
    of_writers
        .flat_map(|(grant, permissions)| {
            let resource = format!("{:?}", grant.resource);
            let principal = grant.principal.clone();
            permissions
                .into_keys()
                .map(move |permission| (principal.clone(), resource.clone(), permission))
        })
        .collect()
}

#[test]
fn a_new_database_is_granted_to_every_writer_role() {
    let harness = harness_with_database();
    harness.resync();
    let grants = writer_grants(&harness);
    assert_eq!(grants.len(), 2 * WRITERS.len(), "{grants:#?}");
    assert!(grants.iter().all(|(_, _, permission)| permission == "ALL"));
    harness.resync();
    assert_eq!(writer_grants(&harness), grants);
}

#[test]
fn a_grant_to_a_writer_role_that_failed_is_made_by_the_next_resync() {
    let harness = harness_with_database();
    let denied = ApiError::new(CallErrorKind::Denied, "AccessDeniedException", "injected");
    let fault = InjectedFault {
        times: 20,
        ..InjectedFault::once(STANDBY, "BatchGrantPermissions", denied)
    };
    harness.sim.state().inject_fault(fault);
    harness.resync();
    assert_eq!(writer_grants(&harness), BTreeSet::new());
    harness.sim.state().clear_injected_faults();
    harness.resync();
    assert_eq!(writer_grants(&harness).len(), 2 * WRITERS.len());
}

#[test]
fn a_resource_link_may_be_dropped_by_every_writer_role() {
    let harness = harness_with_database();
    let link = json!({"DatabaseInput": {"Name": "l", "TargetDatabase":
        {"CatalogId": "444455556666", "DatabaseName": "d"}}});
    harness.call(PRIMARY, "CreateDatabase", &link).unwrap();
    harness.resync();
    let grants = writer_grants(&harness);
    let drops = grants
        .iter()
        .filter(|(_, _, permission)| permission == "DROP");
    assert_eq!(drops.count(), WRITERS.len(), "{grants:#?}");
}
