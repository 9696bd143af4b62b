//! The same history with either site as primary has the same steps, the same findings, and the same
//! final state of both Regions.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use twinlake_core::render;
use twinlake_core::topology::SiteId;
use twinlake_tests::harness::{TestHarness, policy_led_by};
use twinlake_tests::history::{HistoryAction, random_actions, set_up_primary};

/// Returns the steps, findings and ledger rows of two resyncs after a history, and the final state
/// of the Regions, as text.
fn result(history: &[HistoryAction], leader: SiteId) -> (Vec<String>, String) {
    let harness = TestHarness::new(policy_led_by("glue-tags = \"copy\"", leader));
    set_up_primary(&harness, history);
    let mut lines = Vec::new();
    for _ in 0..2 {
        let report = harness.resync().expect("nothing kills the resync");
        lines.extend(report.outcome.applied.iter().map(render::step));
        lines.extend(
            report
                .outcome
                .findings
                .iter()
                .map(|finding| format!("{finding:?}")),
        );
        let failed = report.outcome.failed.iter();
        lines.extend(failed.map(|(step, error)| format!("{}: {error}", render::step(step))));
    }
    let rows = harness.ledger.contents().rows;
    let rows = rows.values().map(|row| {
        let pairing = row.pairing.as_ref().map(|pairing| {
            let (primary, standby) = (leader, leader.other());
            let digests = (pairing.digest.get(primary), pairing.digest.get(standby));
            format!(
                "{:?} {:?} {digests:?} {}",
                pairing.created_in(primary),
                pairing.created_in(standby),
                pairing.link
            )
        });
        format!("{} {} {:?} {pairing:?}", row.subject, row.state, row.reason)
    });
    lines.extend(rows);
    (lines, format!("{:?}", harness.sim.state()))
}

proptest! {
    #![proptest_config(Config {
        cases: 48,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_128),
        ..Config::default()
    })]

    #[test]
    fn results_are_the_same_with_either_leader(history in random_actions(24)) {
        let (a, state_a) = result(&history, SiteId::A);
        let (b, state_b) = result(&history, SiteId::B);
        prop_assert_eq!(a, b);
        prop_assert_eq!(state_a, state_b);
    }
}
