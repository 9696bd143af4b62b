//! Limits how often Glue and Lake Formation are called in one Region: every request that the SDK sends
//! waits before it is sent, pages and repeated attempts included.
//!
//! Two limits apply. After AWS has refused an operation, this process calls it less often
//! ([`CallRate`]), and all operations together if it refused several. And the operation document may set
//! a ceiling of calls a second for everything that Twinlake does in the Region. The functions share it
//! through the ledger: each reserves a part of the calls of the present second with a conditional write.
//! Limits on the event sources would have to divide the ceiling among the functions in advance, most of
//! which are idle.

use crate::call_rate::CallRate;
use crate::system_clock::SystemClock;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use twinlake_core::CallError;
use twinlake_engine::Clock as _;
use twinlake_engine::call_ceiling::reserved_at_once;
use twinlake_engine::write_fence::WriteLease;

/// The longest time that a call waits for its turn. What waits longer fails, and is tried again later:
/// a function must not be kept busy by waiting, and a write must not be sent long after the reads
/// that it rests on.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(10);

/// The longest time for a reservation in the ledger, and how long a process then counts for itself.
const RESERVATION_TIMEOUT: Duration = Duration::from_secs(1);
const COUNTS_ALONE: Duration = Duration::from_secs(10);

/// How the names of the operations of Glue and Lake Formation begin that change nothing.
const READ_PREFIXES: [&str; 4] = ["Get", "List", "Search", "BatchGet"];

/// The limits of the calls of a process to Glue and Lake Formation in one Region. Clones share them.
#[derive(Clone, Debug)]
pub struct CallLimits {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    region: String,
    started: Instant,
    rates: Mutex<Rates>,
    ceiling: Mutex<Option<Ceiling>>,
    /// The lease without which no call that writes is sent.
    write_lease: OnceLock<WriteLease<SystemClock>>,
    /// Who waits for the next second holds it, so that the others wait behind.
    reserved: AsyncMutex<Reserved>,
}

/// The rates of the calls.
#[derive(Debug, Default)]
struct Rates {
    by_operation: BTreeMap<String, CallRate>,
    /// The rate of all calls. It is limited if several operations are refused at about the same time:
    /// they share a limit then (F-20).
    of_all: CallRate,
    /// When each operation was refused last.
    refused_at: BTreeMap<String, Duration>,
}

/// Refusals of two operations within this time are due to one limit.
const SAME_CAUSE: Duration = Duration::from_secs(10);

/// How long the rate of all calls stays limited after the last such refusal. An operation that has a
/// limit of its own stays limited by that.
const LIMITS_ALL: Duration = Duration::from_secs(60);

impl Rates {
    /// Reserves a call of an operation. Returns how long it has to wait; `None` if that is longer than
    /// [`MAX_WAIT`].
    fn reserve(&mut self, operation: &str, now: Duration) -> Option<Duration> {
        let rate = self.by_operation.entry(operation.to_owned()).or_default();
        let wait = rate.wait(now).max(self.of_all.wait(now));
        if wait > MAX_WAIT {
            return None;
        }
        rate.reserve(now + wait, fastrand::f64());
        self.of_all.reserve(now + wait, fastrand::f64());
        Some(wait)
    }

    fn record(&mut self, operation: &str, is_refused: bool, now: Duration) {
        let rate = self.by_operation.entry(operation.to_owned()).or_default();
        if !is_refused {
            rate.answered(now);
            self.of_all.answered(now);
            self.of_all.forget_limit_after(LIMITS_ALL, now);
            return;
        }
        rate.refused(now);
        self.refused_at.insert(operation.to_owned(), now);
        let is_recent = |at: &Duration| *at + SAME_CAUSE >= now;
        if self.refused_at.values().filter(|at| is_recent(at)).count() > 1 {
            self.of_all.refused(now);
        }
    }
}

/// Counts the calls of several processes to a Region.
pub trait SharedCeiling: fmt::Debug + Send + Sync {
    /// Reserves calls to a Region in a second since the Unix epoch, of at most `most`. Returns whether
    /// they were left.
    fn reserve_calls<'a>(
        &'a self,
        region: &'a str,
        second: i64,
        calls: u32,
        most: u32,
    ) -> BoxFuture<'a, Result<bool, CallError>>;
}

/// The most calls a second that are sent to a Region.
#[derive(Clone, Debug)]
struct Ceiling {
    calls_per_second: u32,
    /// What several processes share the ceiling through; `None` if it is of this process alone.
    shared_by: Option<Arc<dyn SharedCeiling>>,
}

/// The calls that this process has reserved.
#[derive(Debug, Default)]
struct Reserved {
    /// The second in which they may be sent, since the Unix epoch.
    second: i64,
    left: u32,
    /// Whether the second has no more calls.
    is_used_up: bool,
    /// Until when this process does not ask what it shares the ceiling through, which did not answer.
    counts_alone_until: Option<Instant>,
}

impl CallLimits {
    pub(crate) fn new(region: &str) -> Self {
        Self {
            shared: Arc::new(Shared {
                region: region.to_owned(),
                started: Instant::now(),
                rates: Mutex::default(),
                ceiling: Mutex::default(),
                write_lease: OnceLock::new(),
                reserved: AsyncMutex::default(),
            }),
        }
    }

    /// Sets the most calls a second to the Region, at least 1; `None` for no ceiling. All
    /// processes with the same `shared_by` share it; while that is out of reach, each has the whole of it.
    pub fn set_ceiling(
        &self,
        calls_per_second: Option<u32>,
        shared_by: Option<Arc<dyn SharedCeiling>>,
    ) {
        let ceiling = &self.shared.ceiling;
        let mut ceiling = ceiling.lock().unwrap_or_else(PoisonError::into_inner);
        *ceiling = calls_per_second.map(|calls| Ceiling {
            calls_per_second: calls.max(1),
            shared_by,
        });
    }

    /// From now on, sends a call that writes only while this lease is held. The first lease stays.
    pub fn require_lease(&self, lease: WriteLease<SystemClock>) {
        let _ = self.shared.write_lease.set(lease);
    }

    /// Whether a call of an operation may be sent as far as the lease is concerned.
    pub(crate) fn is_leased(&self, operation: &str) -> bool {
        let is_read = READ_PREFIXES
            .iter()
            .any(|prefix| operation.starts_with(prefix));
        let lease = self.shared.write_lease.get();
        is_read || lease.is_none_or(WriteLease::is_held)
    }

    /// The Region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.shared.region
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        let rates = &self.shared.rates;
        rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ceiling(&self) -> Option<Ceiling> {
        let ceiling = &self.shared.ceiling;
        let ceiling = ceiling.lock().unwrap_or_else(PoisonError::into_inner);
        ceiling.clone()
    }

    fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Waits until an operation may be called. Returns whether it may: not if that would take longer
    /// than [`MAX_WAIT`].
    pub(crate) async fn wait(&self, operation: &str) -> bool {
        let deadline = Instant::now() + MAX_WAIT;
        let wait = self.rates().reserve(operation, self.elapsed());
        let Some(wait) = wait else {
            return false;
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        match self.ceiling() {
            None => true,
            Some(ceiling) => self.wait_below(&ceiling, deadline).await,
        }
    }

    async fn wait_below(&self, ceiling: &Ceiling, deadline: Instant) -> bool {
        let reserved = tokio::time::timeout_at(deadline, self.shared.reserved.lock()).await;
        let Ok(mut reserved) = reserved else {
            return false;
        };
        loop {
            let (second, rest) = second_and_rest();
            if reserved.second != second {
                *reserved = Reserved {
                    second,
                    counts_alone_until: reserved.counts_alone_until,
                    ..Reserved::default()
                };
            }
            if reserved.left == 0 && !reserved.is_used_up {
                self.reserve(ceiling, &mut reserved).await;
                if second_and_rest().0 != reserved.second {
                    continue;
                }
            }
            if reserved.left > 0 {
                reserved.left -= 1;
                return true;
            }
            let next = Instant::now() + rest;
            if next > deadline {
                return false;
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// Reserves calls of a second. If what this process shares the ceiling through does not answer, it has
    /// the whole ceiling for itself for some time.
    async fn reserve(&self, ceiling: &Ceiling, reserved: &mut Reserved) {
        let counts_alone = reserved.counts_alone_until;
        let counts_alone = counts_alone.is_some_and(|until| Instant::now() < until);
        let shared_by = ceiling.shared_by.as_ref().filter(|_| !counts_alone);
        if let Some(shared_by) = shared_by {
            let calls = reserved_at_once(ceiling.calls_per_second);
            let (region, second) = (&self.shared.region, reserved.second);
            let answer = shared_by.reserve_calls(region, second, calls, ceiling.calls_per_second);
            match tokio::time::timeout(RESERVATION_TIMEOUT, answer).await {
                Ok(Ok(is_reserved)) => {
                    reserved.left = if is_reserved { calls } else { 0 };
                    reserved.is_used_up = !is_reserved;
                    return;
                }
                Ok(Err(_)) | Err(_) => {
                    reserved.counts_alone_until = Some(Instant::now() + COUNTS_ALONE);
                    reserved.second = second_and_rest().0;
                }
            }
        }
        reserved.left = ceiling.calls_per_second;
        reserved.is_used_up = true;
    }

    /// Records whether AWS refused a call of an operation because there were too many.
    pub(crate) fn record(&self, operation: &str, is_refused: bool) {
        let now = self.elapsed();
        self.rates().record(operation, is_refused, now);
    }
}

/// The present second since the Unix epoch, and how much of it is left.
fn second_and_rest() -> (i64, Duration) {
    let now = SystemClock.now().millis();
    let rest = 1000 - now.rem_euclid(1000);
    let rest = Duration::from_millis(u64::try_from(rest).unwrap_or_default());
    (now.div_euclid(1000), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_second_has_more_calls_than_the_ceiling() {
        let limits = CallLimits::new("us-east-1");
        limits.set_ceiling(Some(8), None);
        let sent = Mutex::new(BTreeMap::<i64, u32>::new());
        let calls = (0..20).map(|_| async {
            assert!(limits.wait("GetTables").await);
            let mut sent = sent.lock().unwrap();
            *sent.entry(second_and_rest().0).or_default() += 1;
        });
        futures_util::future::join_all(calls).await;
        let sent = sent.into_inner().unwrap();
        assert!(sent.values().all(|calls| *calls <= 8), "{sent:?}");
        assert_eq!(sent.values().sum::<u32>(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_would_wait_too_long_is_not_sent() {
        let limits = CallLimits::new("us-east-1");
        limits.set_ceiling(Some(1), None);
        let reserved = limits.shared.reserved.lock().await;
        assert!(!limits.wait("GetTables").await, "others wait before it");
        drop(reserved);
        assert!(limits.wait("GetTables").await);
    }

    #[test]
    fn without_the_lease_only_reads_are_sent() {
        let limits = CallLimits::new("us-east-1");
        let reads = [
            "GetTables",
            "ListPermissions",
            "SearchTablesByLFTags",
            "BatchGetPartition",
        ];
        let writes = [
            "UpdateTable",
            "BatchGrantPermissions",
            "PutDataLakeSettings",
            "",
        ];
        let leased = |operations: &[&str]| operations.iter().all(|one| limits.is_leased(one));
        assert!(leased(&reads) && leased(&writes), "no lease is required");
        limits.require_lease(WriteLease::new(SystemClock));
        assert!(leased(&reads));
        assert!(!writes.iter().any(|one| limits.is_leased(one)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_slows_the_operation_and_no_other() {
        let limits = CallLimits::new("us-east-1");
        for _ in 0..20 {
            assert!(limits.wait("GetTables").await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        limits.record("GetTables", true);
        limits.record("GetTables", true);
        let before = Instant::now();
        for _ in 0..5 {
            assert!(limits.wait("GetTables").await);
        }
        let refused = before.elapsed();
        assert!(refused >= Duration::from_millis(200), "{refused:?}");
        let before = Instant::now();
        assert!(limits.wait("GetPartitions").await);
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_of_two_operations_slow_all_for_a_minute() {
        let limits = CallLimits::new("us-east-1");
        for operation in ["GetTables", "GetPartitions"] {
            for _ in 0..10 {
                assert!(limits.wait(operation).await);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            limits.record(operation, true);
        }
        let wait_of_five = || async {
            let before = Instant::now();
            for _ in 0..5 {
                assert!(limits.wait("GetDatabases").await);
                limits.record("GetDatabases", false);
            }
            before.elapsed()
        };
        let slowed = wait_of_five().await;
        assert!(slowed >= Duration::from_millis(200), "{slowed:?}");
        tokio::time::sleep(LIMITS_ALL).await;
        limits.record("GetDatabases", false);
        assert_eq!(wait_of_five().await, Duration::ZERO);
    }

    /// Counts for several processes, or does not answer.
    #[derive(Debug, Default)]
    struct Counter {
        calls: Mutex<BTreeMap<i64, u32>>,
        asked: Mutex<u32>,
        is_out_of_reach: bool,
    }

    impl SharedCeiling for Counter {
        fn reserve_calls<'a>(
            &'a self,
            _: &'a str,
            second: i64,
            calls: u32,
            most: u32,
        ) -> BoxFuture<'a, Result<bool, CallError>> {
            *self.asked.lock().unwrap() += 1;
            let mut counted = self.calls.lock().unwrap();
            let counted = counted.entry(second).or_default();
            let are_left = *counted + calls <= most;
            *counted += if are_left { calls } else { 0 };
            let is_out_of_reach = self.is_out_of_reach;
            Box::pin(async move {
                match is_out_of_reach {
                    true => std::future::pending().await,
                    false => Ok(are_left),
                }
            })
        }
    }

    /// The calls of 20 callers, half of them of another process, by second.
    async fn sent_by_two_processes(counter: &Arc<Counter>) -> BTreeMap<i64, u32> {
        let processes = [CallLimits::new("us-east-1"), CallLimits::new("us-east-1")];
        for limits in &processes {
            limits.set_ceiling(Some(8), Some(Arc::clone(counter) as Arc<dyn SharedCeiling>));
        }
        let sent = Mutex::new(BTreeMap::<i64, u32>::new());
        let calls = (0..20).map(|number| {
            let (limits, sent) = (&processes[number % 2], &sent);
            async move {
                assert!(limits.wait("GetTables").await);
                let mut sent = sent.lock().unwrap();
                *sent.entry(second_and_rest().0).or_default() += 1;
            }
        });
        futures_util::future::join_all(calls).await;
        sent.into_inner().unwrap()
    }

    #[tokio::test]
    async fn processes_share_a_ceiling() {
        let sent = sent_by_two_processes(&Arc::default()).await;
        assert!(sent.values().all(|calls| *calls <= 8), "{sent:?}");
        assert_eq!(sent.values().sum::<u32>(), 20);
    }

    #[tokio::test]
    async fn without_an_answer_each_process_has_the_ceiling_for_itself() {
        let counter = Arc::new(Counter {
            is_out_of_reach: true,
            ..Counter::default()
        });
        let sent = sent_by_two_processes(&counter).await;
        assert!(sent.values().all(|calls| *calls <= 16), "{sent:?}");
        assert_eq!(*counter.asked.lock().unwrap(), 2, "once by each");
    }
}
