//! Readings of the ledger that fail: a planned switch does not start without them, and a failover does.

use twinlake_core::failover::{FailoverGate, FailoverRequest};
use twinlake_engine::failover::FailoverError;
use twinlake_tests::takeover::pair::Pair;

/// The calls by which a switch reads how far the Region is behind, and what their failure leaves unknown.
const READINGS: [(&str, &str); 5] = [
    ("rows_not_in_sync", "objects that are not in sync"),
    ("channel_health", "catalog changes"),
    ("canaries", "canaries"),
    ("all_pending_objects", "objects that have not arrived"),
    ("verified_run", "the last resync"),
];

#[test]
fn a_reading_that_fails_refuses_a_planned_switch_and_no_failover() {
    for (call, unknown) in READINGS {
        let pair = Pair::in_sync();
        pair.life.fail(call);
        let refused = pair.switch();
        let Err(FailoverError::Refused(refusal)) = refused else {
            panic!("{call}: {refused:?}");
        };
        assert_eq!(refusal.gate, FailoverGate::LagKnown, "{call}");
        assert!(refusal.measured.contains(unknown), "{call}: {refusal}");
        let request = FailoverRequest {
            accepts_loss: true,
            ..FailoverRequest::default()
        };
        let end = pair.fail_over_with(&pair.india, &request);
        let journal = end.unwrap().unwrap().unwrap();
        let unread = journal.recovery_point.unread;
        assert!(
            unread.iter().any(|one| one.contains(unknown)),
            "{call}: {unread:?}"
        );
        assert!(
            unread.iter().all(|one| one.contains("denied")),
            "{call}: {unread:?}"
        );
    }
}
