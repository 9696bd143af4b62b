//! A revoke that an event names is made however little else can be read, and its event stays in the queue until then.

use twinlake_core::{AlertKind, CallErrorKind};
use twinlake_sim::{ApiError, InjectedFault};
use twinlake_tests::harness::{PRIMARY, STANDBY, TestHarness, policy};
use twinlake_tests::requests::{
    call, create_database, create_table, permission_request, table_resource,
};

const ROLE: &str = "Analyst";

/// A pair in sync in which a role has SELECT on a table, and the events of the revoke in the primary.
fn with_revoke() -> (TestHarness, Vec<Vec<u8>>) {
    let harness = TestHarness::new(policy(""));
    create_database(&harness, "sales");
    create_table(&harness, PRIMARY, "sales", "orders");
    let request = permission_request(ROLE, &table_resource("orders"));
    call(&harness, PRIMARY, "GrantPermissions", request.clone());
    let _ = harness.resync();
    assert!(is_granted(&harness));
    let _ = harness.take_events();
    call(&harness, PRIMARY, "RevokePermissions", request);
    let events = harness.take_events();
    (harness, events)
}

fn is_granted(harness: &TestHarness) -> bool {
    let listed = harness.call(STANDBY, "ListPermissions", &serde_json::json!({}));
    listed.unwrap().to_string().contains(ROLE)
}

fn fail(harness: &TestHarness, region: &str, name: &str, kind: CallErrorKind) {
    let error = ApiError::new(kind, "InjectedException", "it is injected");
    let mut fault = InjectedFault::once(region, name, error);
    fault.times = usize::MAX;
    harness.sim.state().inject_fault(fault);
}

#[test]
fn it_waits_in_the_queue_while_the_data_lake_settings_cannot_be_read() {
    for region in [PRIMARY, STANDBY] {
        for kind in [
            CallErrorKind::Contended,
            CallErrorKind::Unavailable,
            CallErrorKind::Denied,
        ] {
            let (harness, events) = with_revoke();
            fail(&harness, region, "GetDataLakeSettings", kind);
            let result = harness.deliver(&events).unwrap();
            let at = format!("{region} {kind:?}: {result:?}");
            assert_eq!(result.resent, 1, "{at}");
            let alerts = harness.topic.take();
            let denied = alerts
                .iter()
                .filter(|alert| alert.kind == AlertKind::TwinlakeAccessDenied);
            assert_eq!(
                denied.count() > 0,
                kind == CallErrorKind::Denied,
                "{at}: {alerts:?}"
            );
            harness.sim.state().clear_call_faults();
            assert!(is_granted(&harness), "{at}");
            let messages = harness.queue.take();
            let bodies: Vec<Vec<u8>> = messages
                .iter()
                .map(|message| message.body().into_bytes())
                .collect();
            let _ = harness.deliver(&bodies).unwrap();
            assert!(!is_granted(&harness), "{at}");
        }
    }
}

#[test]
fn it_is_made_while_the_standby_refuses_to_list_grants() {
    let (harness, events) = with_revoke();
    fail(&harness, STANDBY, "ListPermissions", CallErrorKind::Denied);
    let result = harness.deliver(&events).unwrap();
    assert_eq!(result.resent, 0, "nothing is left of the event: {result:?}");
    let alerts = harness.topic.take();
    let kinds: Vec<AlertKind> = alerts.iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [AlertKind::TwinlakeAccessDenied], "{alerts:?}");
    harness.sim.state().clear_call_faults();
    assert!(!is_granted(&harness));
}
