//! A ledger whose caller dies at one of its calls: before the call, after it, or while rows are written. Calls may also
//! pause for somebody else, let others run before each of them, and fail at random.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::ops::Deref;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use twinlake_core::canary::CanaryState;
use twinlake_core::failover::EpochRecord;
use twinlake_core::heartbeat::{Channel, ChannelHealth, Heartbeat, LagSample};
use twinlake_core::ledger::{
    DeletionLog, LedgerRows, LfTagLease, ObjectCounts, PendingObjects, ResyncRun, ScanSchedule,
    ScanTarget, VerifiedRun,
};
use twinlake_core::readiness::ReadinessRecord;
use twinlake_core::topology::Epoch;
use twinlake_core::{
    CallError, CallErrorKind, Incident, LedgerRow, LfSubject, Name, Subject, SubjectState, TableId,
    Timestamp,
};
use twinlake_engine::in_memory_ledger::LedgerFile;
use twinlake_engine::ports::{ConditionalWrites, DocumentStore, StatCounters};
use twinlake_engine::{InMemoryLedger, Ledger, StatsStore};
use twinlake_sim::{Sim, yield_once};

/// Where in a call the caller dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeathPoint {
    /// The call is not made.
    Before,
    /// Of rows, the first half is written or deleted; any other call is made.
    Halfway,
    /// The call is made.
    After,
}

/// The life of a caller: its calls to all ledgers that share it.
#[derive(Clone, Debug, Default)]
pub struct CallerLife(Arc<Mutex<LifeState>>);

#[derive(Debug, Default)]
struct LifeState {
    calls: Vec<&'static str>,
    death: Option<(usize, DeathPoint)>,
    is_dead: bool,
    /// The calls that fail, with the number of calls of this name before that do not.
    failing: BTreeMap<&'static str, usize>,
    /// The call before which the caller pauses once.
    pause_at: Option<usize>,
    is_paused: bool,
    /// Whether others run before each call.
    yields: bool,
    /// The state of the generator, and how many of 100 calls fail.
    random: Option<(u64, u64)>,
}

impl LifeState {
    /// Whether the next call fails, and whether it is made all the same.
    fn next_failure(&mut self) -> Option<bool> {
        let (state, percent) = self.random.as_mut()?;
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state % 100 < *percent).then_some(*state / 100 % 2 == 0)
    }
}

impl CallerLife {
    fn lock(&self) -> MutexGuard<'_, LifeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new life, which nothing ends. Returns the names of the calls of the last one.
    pub fn begin(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.lock()).calls
    }

    /// A new life that ends at its call with this index.
    pub fn begin_until(&self, call_index: usize, point: DeathPoint) {
        *self.lock() = LifeState {
            death: Some((call_index, point)),
            ..LifeState::default()
        };
    }

    /// Lets each call of this name fail.
    pub fn fail(&self, call: &'static str) {
        self.fail_after(call, 0);
    }

    /// Lets the calls of this name fail after this many of them in this life.
    pub fn fail_after(&self, call: &'static str, successful: usize) {
        self.lock().failing.insert(call, successful);
    }

    /// Lets others run before each call.
    pub fn yield_before_calls(&self) {
        self.lock().yields = true;
    }

    /// Lets about this many of 100 calls fail from now on. Half of them take effect.
    pub fn fail_at_random(&self, seed: u64, percent: u64) {
        self.lock().random = Some((seed | 1, percent));
    }

    /// Runs a future to its end, and `meanwhile` before its call with this index, counted from the next one. Returns
    /// whether there was such a call.
    ///
    /// # Panics
    /// The future waits for something else, or the caller dies.
    pub fn run_beside<T>(
        &self,
        sim: &Sim,
        future: impl Future<Output = T>,
        call_index: usize,
        meanwhile: impl FnOnce(),
    ) -> (T, bool) {
        {
            let mut state = self.lock();
            state.pause_at = Some(state.calls.len() + call_index);
        }
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        let mut meanwhile = Some(meanwhile);
        for _ in 0..MAX_POLLS {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(value) => {
                    self.lock().pause_at = None;
                    return (value, meanwhile.is_none());
                }
                Poll::Pending => {}
            }
            assert!(!self.lock().is_dead && !sim.state().is_killed());
            let is_paused = self.lock().is_paused;
            if let Some(meanwhile) = meanwhile.take_if(|_| is_paused) {
                self.lock().is_paused = false;
                meanwhile();
            }
        }
        panic!("the caller is stuck");
    }

    /// Lets others run, or somebody else do something, before a call.
    async fn pause(&self) {
        let (is_here, yields) = {
            let mut state = self.lock();
            let next = state.calls.len();
            let is_here = state.pause_at.take_if(|at| *at <= next).is_some();
            state.is_paused |= is_here;
            (is_here, state.yields)
        };
        if is_here || yields {
            yield_once().await;
        }
    }

    /// Runs a future to its end, or returns `None` if the caller dies, here or by the kill switch of the simulator.
    ///
    /// # Panics
    /// The future waits for something else.
    pub fn run<T>(&self, sim: &Sim, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..MAX_POLLS {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(value) => return Some(value),
                Poll::Pending if self.lock().is_dead || sim.state().is_killed() => return None,
                // A future with many calls yields occasionally.
                Poll::Pending => {}
            }
        }
        panic!("the caller is stuck");
    }

    /// Makes a call, or never returns if the caller dies at it.
    ///
    /// # Errors
    /// That of the call, or the call is one that fails.
    pub async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        match self.next(name)? {
            None => call.await,
            Some(DeathPoint::Before) => pending().await,
            Some(DeathPoint::Halfway | DeathPoint::After) => {
                let _ = call.await;
                pending().await
            }
        }
    }

    /// Counts a call. Returns where in it the caller dies.
    fn next(&self, call: &'static str) -> Result<Option<DeathPoint>, CallError> {
        let mut state = self.lock();
        if state.is_dead {
            return Ok(Some(DeathPoint::Before));
        }
        let index = state.calls.len();
        state.calls.push(call);
        let made = state.calls.iter().filter(|made| **made == call).count();
        if state
            .failing
            .get(call)
            .is_some_and(|successful| made > *successful)
        {
            let kind = CallErrorKind::Denied;
            return Err(CallError::new(kind, call, "ledger", "denied"));
        }
        let death = state.death.filter(|(at, _)| *at == index);
        state.is_dead = death.is_some();
        Ok(death.map(|(_, point)| point))
    }
}

/// How many times a future is polled at most.
const MAX_POLLS: u32 = 100_000;

/// A ledger in memory whose caller may die.
#[derive(Debug, Default)]
pub struct MortalLedger {
    ledger: InMemoryLedger,
    life: CallerLife,
}

impl MortalLedger {
    /// A new ledger for a caller.
    #[must_use]
    pub fn of(life: &CallerLife) -> Self {
        Self {
            ledger: InMemoryLedger::default(),
            life: life.clone(),
        }
    }

    /// A ledger with these contents, for a caller.
    #[must_use]
    pub fn with_contents(contents: LedgerFile, life: &CallerLife) -> Self {
        Self {
            ledger: InMemoryLedger::new(contents),
            life: life.clone(),
        }
    }

    async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        self.life.pause().await;
        let failure = self.life.lock().next_failure();
        if let Some(takes_effect) = failure {
            if takes_effect {
                let _ = call.await;
            }
            let message = "it fails at random";
            let kind = CallErrorKind::Unavailable;
            return Err(CallError::new(kind, name, "ledger", message));
        }
        self.life.call(name, call).await
    }
}

impl Deref for MortalLedger {
    type Target = InMemoryLedger;

    fn deref(&self) -> &InMemoryLedger {
        &self.ledger
    }
}

impl ConditionalWrites for MortalLedger {}

/// Calls that are passed on whole.
macro_rules! pass_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(async fn $name(&self, $($argument: $type),*) -> Result<$result, CallError> {
            self.call(stringify!($name), self.ledger.$name($($argument),*)).await
        })*
    };
}

impl Ledger for MortalLedger {
    async fn put_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        match self.life.next("put_rows")? {
            None => self.ledger.put_rows(rows).await,
            Some(point) => {
                let _ = self.ledger.put_rows(written(rows, point)).await;
                pending().await
            }
        }
    }

    async fn delete_rows(&self, rows: &[LedgerRow]) -> Result<BTreeSet<Subject>, CallError> {
        match self.life.next("delete_rows")? {
            None => self.ledger.delete_rows(rows).await,
            Some(point) => {
                let _ = self.ledger.delete_rows(written(rows, point)).await;
                pending().await
            }
        }
    }

    pass_on! {
        epoch() -> Epoch;
        epoch_record() -> Option<(EpochRecord, u64)>;
        put_epoch_record(record: &EpochRecord, expected_version: Option<u64>) -> bool;
        policy() -> Option<String>;
        put_policy(text: &str) -> ();
        operation_document() -> Option<String>;
        put_operation_document(text: &str) -> ();
        rows(subjects: &BTreeSet<Subject>) -> LedgerRows;
        database_rows() -> LedgerRows;
        rows_in_database(database: &Name) -> LedgerRows;
        put_managed_keys(subject: LfSubject, keys: &BTreeSet<String>, expected_version: Option<u64>) -> bool;
        paired_counts() -> ObjectCounts;
        put_paired_counts(counts: &ObjectCounts) -> ();
        lf_tag_lease() -> Option<(LfTagLease, u64)>;
        put_lf_tag_lease(lease: &LfTagLease, expected_version: Option<u64>) -> bool;
        deletion_log() -> Option<(DeletionLog, u64)>;
        put_deletion_log(log: &DeletionLog, expected_version: Option<u64>) -> bool;
        begin_resync_run(run: &ResyncRun) -> ();
        add_run_part(run: &str, part: &str) -> ();
        end_run_part(run: &str, part: &str, unread: bool) -> Option<ResyncRun>;
        verified_run() -> Option<VerifiedRun>;
        forget_verified_policy() -> ();
        put_verified_run(run: &VerifiedRun, now: Timestamp) -> ();
        scan_schedule(target: &ScanTarget) -> ScanSchedule;
        put_scan_schedule(target: &ScanTarget, current: ScanSchedule, updated: ScanSchedule) -> bool;
        incident(key: &str) -> Option<(Incident, u64)>;
        incidents() -> BTreeMap<String, (Incident, u64)>;
        unreadable_incidents() -> BTreeMap<String, String>;
        put_incident(key: &str, incident: Option<&Incident>, expected_version: Option<u64>) -> bool;
    }
}

/// The rows that a call has written before its caller died.
fn written(rows: &[LedgerRow], point: DeathPoint) -> &[LedgerRow] {
    match point {
        DeathPoint::Before => &[],
        DeathPoint::Halfway => &rows[..rows.len() / 2],
        DeathPoint::After => rows,
    }
}

impl DocumentStore for MortalLedger {
    pass_on! {
        documents(family: &str) -> BTreeMap<String, (String, u64)>;
        document(family: &str, id: &str) -> Option<(String, u64)>;
        put_document(family: &str, id: &str, document: Option<&str>, expected_version: Option<u64>) -> bool;
    }
}

impl StatsStore for MortalLedger {
    pass_on! {
        channel_health(channel: Channel, now: Timestamp) -> ChannelHealth;
        record_heartbeat(channel: Channel, heartbeat: Heartbeat) -> ();
        canaries() -> Option<CanaryState>;
        put_canaries(state: &CanaryState) -> ();
        put_lag_sample(sample: &LagSample) -> ();
        lag_samples(since: Timestamp) -> Vec<LagSample>;
        reserved_calls(region: &str, since: Timestamp) -> BTreeMap<Timestamp, u32>;
        rows_not_in_sync() -> LedgerRows;
        state_counts() -> BTreeMap<SubjectState, usize>;
        add_counters(at: Timestamp, counters: &StatCounters) -> ();
        counters_since(since: Timestamp) -> StatCounters;
        readiness() -> Option<(ReadinessRecord, u64)>;
        put_readiness(record: &ReadinessRecord, expected_version: Option<u64>) -> bool;
        all_pending_objects() -> BTreeMap<TableId, (PendingObjects, u64)>;
        pending_objects(table: &TableId) -> Option<(PendingObjects, u64)>;
        put_pending_objects(table: &TableId, pending: Option<&PendingObjects>, expected_version: Option<u64>) -> bool;
        relocation_memory(table: &TableId) -> Option<(String, u64)>;
        put_relocation_memory(table: &TableId, memory: &str, expected_version: Option<u64>) -> bool;
        tables_at_location(bucket: &str, prefix: &str) -> Vec<TableId>;
    }
}
