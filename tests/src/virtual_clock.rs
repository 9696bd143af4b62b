//! A clock that only calls to the Regions and waits advance, on which tests measure how long Twinlake takes.

use crate::harness::{PRIMARY, STANDBY, TWINLAKE_ROLE, TestHarness};
use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::time::Instant;
use twinlake_core::Timestamp;
use twinlake_engine::{Clock, Context, Environment, InMemoryLedger, LimitedRegion};
use twinlake_sim::{Sim, SimRegion};

/// Two simulated Regions with a limit of calls under way.
#[derive(Debug)]
pub struct LimitedEnvironment<C>(PhantomData<C>);

impl<C: Clock> Environment for LimitedEnvironment<C> {
    type Primary = LimitedRegion<SimRegion>;
    type Standby = LimitedRegion<SimRegion>;
    type Ledger = InMemoryLedger;
    type Clock = C;
}

/// The clock of the simulator, which also goes on with calls and waits.
#[derive(Clone, Debug)]
pub struct VirtualClock {
    sim: Sim,
    started: Instant,
}

impl VirtualClock {
    /// Starts the clock, within [`run`].
    #[must_use]
    pub fn start(harness: &TestHarness) -> Self {
        Self {
            sim: harness.sim.clone(),
            started: Instant::now(),
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.started.elapsed().as_millis());
        Timestamp::from_millis(self.sim.now().millis() + elapsed.unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.sim.monotonic() + self.started.elapsed()
    }
}

/// Calls by Region and operation.
pub type Calls = BTreeMap<(String, String), usize>;

/// The two Regions of a harness for one process.
#[derive(Debug)]
pub struct LimitedRegions {
    primary: LimitedRegion<SimRegion>,
    standby: LimitedRegion<SimRegion>,
    max_concurrent_calls: usize,
}

impl LimitedRegions {
    /// Limits the calls to each Region that are under way at the same time.
    #[must_use]
    pub fn new(harness: &TestHarness, max_concurrent_calls: usize) -> Self {
        let limited = |region: &str| {
            let region = harness.sim.region(region, TWINLAKE_ROLE);
            LimitedRegion::new(region, max_concurrent_calls)
        };
        Self {
            primary: limited(PRIMARY),
            standby: limited(STANDBY),
            max_concurrent_calls,
        }
    }

    /// Returns the context of a reconciliation by the clock of the simulator.
    #[must_use]
    pub fn context<'a>(&'a self, harness: &'a TestHarness) -> Context<'a, LimitedEnvironment<Sim>> {
        self.context_by(&harness.sim, harness)
    }

    /// Returns the context of a reconciliation by a clock.
    #[must_use]
    pub fn context_by<'a, C: Clock>(
        &'a self,
        clock: &'a C,
        harness: &'a TestHarness,
    ) -> Context<'a, LimitedEnvironment<C>> {
        let sim = harness.context();
        Context {
            primary: &self.primary,
            standby: &self.standby,
            ledger: sim.ledger,
            clock,
            policy: sim.policy,
            epoch: sim.epoch,
            reader_role: sim.reader_role,
            own_roles: sim.own_roles,
            max_concurrent_calls: self.max_concurrent_calls,
            approved_deletions: sim.approved_deletions,
            may_write_settings: sim.may_write_settings,
            stop_at: sim.stop_at,
            scan_window: sim.scan_window,
            lf_tag_lease: sim.lf_tag_lease,
            progress: sim.progress,
        }
    }
}

/// Sets how many milliseconds a call to the primary and one to the standby takes, and forgets the calls so far.
pub fn set_round_trips(harness: &TestHarness, [primary, standby]: [u64; 2]) {
    let mut state = harness.sim.state();
    state.set_latency(PRIMARY, Duration::from_millis(primary));
    state.set_latency(STANDBY, Duration::from_millis(standby));
    state.take_calls();
}

/// Returns the calls since the last time, and forgets them.
#[must_use]
pub fn take_calls(harness: &TestHarness) -> Calls {
    let mut calls = Calls::new();
    for call in harness.sim.state().take_calls() {
        *calls.entry((call.region, call.name)).or_default() += 1;
    }
    calls
}

/// Runs a future on the clock, and returns its result with the time that it took.
///
/// # Panics
/// The clock cannot be started.
pub fn run<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing of the system");
    runtime.block_on(async {
        let started = Instant::now();
        (future.await, started.elapsed())
    })
}
