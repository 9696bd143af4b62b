//! A property over random interleavings: several people run a switchover with a freeze and undo it, while calls fail,
//! runs die, and runs are slower than their lease on the grants. At the end every grant that could be frozen is granted in
//! the primary of the moment, with its grant option, or recorded in the ledgers; and one more command gives everything
//! back.
//!
//! The interleaving is of calls to the ledgers. A call to a Region takes effect when it is sent: that none takes effect
//! later than the lease allows is shown in `write_fence`.

use super::freeze::{documents, held, undo, with_writers};
use super::freeze_runs::wait_out_the_lease;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use twinlake_core::failover::{FreezeMode, FrozenGrants};
use twinlake_core::topology::RegionRole;
use twinlake_sim::RandomFaults;
use twinlake_tests::harness::TWINLAKE_ROLE;
use twinlake_tests::takeover::object_version;
use twinlake_tests::takeover::pair::{Pair, PairRegion};

/// The seeds of one run.
const SEEDS: u64 = 150;

/// The commands of one seed.
const COMMANDS: usize = 6;

/// A pseudo-random generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

type Run<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A command that somebody runs.
fn command<'a>(pair: &'a Pair, random: &mut Random) -> Run<'a> {
    let regions = (&pair.india, &pair.us);
    pair.beat(&pair.india);
    match random.below(5) {
        0 | 1 => Box::pin(async move {
            let _ = pair.undo(regions).await;
        }),
        kind => {
            let mut request = pair.request(&pair.us);
            let freeze = match kind {
                2 => FreezeMode::None,
                _ => FreezeMode::Grants,
            };
            request.switchover.as_mut().unwrap().freeze = freeze;
            Box::pin(async move {
                let _ = pair.switch_steps(regions, &request, &()).await;
            })
        }
    }
}

/// Runs commands beside each other. Some die.
fn race(pair: &Pair, random: &mut Random) {
    let mut left = COMMANDS;
    let mut runs: Vec<Run<'_>> = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while left > 0 || !runs.is_empty() {
        if left > 0 && (runs.is_empty() || (runs.len() < 3 && random.below(40) == 0)) {
            left -= 1;
            if random.below(3) == 0 {
                wait_out_the_lease(pair);
            }
            runs.push(command(pair, random));
        }
        let at = usize::try_from(random.below(runs.len() as u64)).unwrap();
        let dies = random.below(300) == 0;
        if dies || runs[at].as_mut().poll(&mut context) != Poll::Pending {
            drop(runs.swap_remove(at));
        }
    }
}

/// The grants that a ledger holds as frozen.
fn recorded(region: &PairRegion) -> BTreeSet<String> {
    let contents = region.ledger.contents();
    let documents = contents
        .documents
        .get("frozen_grants")
        .into_iter()
        .flatten();
    let grants = documents.flat_map(|(_, (text, _))| {
        let document: FrozenGrants = serde_json::from_str(text).unwrap();
        document.to_grants()
    });
    grants
        .map(|(grant, grantable)| format!("{grant} {grantable}"))
        .collect()
}

#[test]
fn whoever_runs_beside_whom_no_frozen_grant_is_lost() {
    let (mut switched, mut stayed, mut frozen) = (0, 0, 0);
    for seed in 1..=SEEDS {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut pair = with_writers();
        let all = held(&pair, &pair.us);
        if seed % 3 > 0 {
            // Most switchovers end before the epoch.
            let later = pair.harness.sim.state().now().plus_secs(1_000_000);
            let key = "sales/orders/new.parquet".to_owned();
            pair.us
                .objects
                .versions
                .push((key, object_version("1", later)));
        }
        pair.life.yield_before_calls();
        pair.life.fail_at_random(seed, seed % 4);
        let faults = RandomFaults::new(seed, seed % 5);
        pair.harness
            .sim
            .state()
            .set_random_faults(faults, TWINLAKE_ROLE);
        race(&pair, &mut random);
        pair.life.begin();
        pair.harness.sim.state().clear_call_faults();
        wait_out_the_lease(&pair);
        let recorded_in = [recorded(&pair.india), recorded(&pair.us)];
        match pair.role(&pair.us, &pair.india) {
            RegionRole::Primary => {
                stayed += 1;
                let granted = held(&pair, &pair.us);
                frozen += usize::from(granted != all);
                for ledger in &recorded_in {
                    let either: BTreeSet<String> = granted.union(ledger).cloned().collect();
                    assert_eq!(either, all, "{seed}");
                }
                let _ = undo(&pair).unwrap();
                assert_eq!(held(&pair, &pair.us), all, "{seed}");
                assert_eq!(
                    [documents(&pair.india), documents(&pair.us)],
                    [0, 0],
                    "{seed}"
                );
                pair.settle(&pair.us, &pair.india, pair.harness.epoch());
                assert_eq!(held(&pair, &pair.india), all, "{seed}");
            }
            RegionRole::Standby | RegionRole::Fenced => {
                switched += 1;
                let former = held(&pair, &pair.us);
                let either: BTreeSet<String> = former.union(&recorded_in[1]).cloned().collect();
                assert_eq!(either, all, "{seed}: not recorded for the former primary");
                assert_eq!(held(&pair, &pair.india), all, "{seed}");
            }
        }
    }
    assert!(
        switched > 5 && stayed > 30 && frozen > 10,
        "{switched} {stayed} {frozen}"
    );
}
