//! The fence: a process writes to a Region only under a lease that it takes by reading the role of the
//! Region.
//!
//! Glue and Lake Formation have no fencing token: they apply a request of the former role whenever it
//! arrives. So no request is sent once [`WRITE_LEASE_SECS`] have passed since the process began to read the
//! role. Whoever changes the epoch then waits [`FENCE_WAIT_SECS`]: the lease, the longest life of a request
//! that was sent at its end, and a margin. After that, nothing of the former role arrives any more.
//!
//! [`GuardedRegion`](crate::GuardedRegion) asks [`WriteFence::check`] before each call that writes, which
//! reads the role again when half of the lease is over. The HTTP client of the AWS adapters asks
//! [`WriteLease::is_held`] before each attempt, repeated ones included.
//!
//! [`FENCE_WAIT_SECS`]: twinlake_core::topology::FENCE_WAIT_SECS

use crate::ports::{Clock, Ledger};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;
use twinlake_core::topology::{Epoch, RegionRole, SiteId, WRITE_LEASE_SECS, region_role};
use twinlake_core::{CallError, CallErrorKind, Timestamp};

/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(WRITE_LEASE_SECS);

/// The role is read again if the lease lasts for less than this.
const RENEW_BELOW: Duration = Duration::from_secs(WRITE_LEASE_SECS / 2);

/// The moment at which a read of the role began, on both clocks.
///
/// The monotonic clock is never set; the other one goes on while a computer sleeps. A lease has ended once
/// it has on either of them.
#[derive(Clone, Copy, Debug)]
pub struct LeaseStart {
    monotonic: Duration,
    wall: Timestamp,
}

/// The lease of a process on writing to one Region. Clones share it.
#[derive(Clone, Debug)]
pub struct WriteLease<C> {
    clock: C,
    held_since: Arc<Mutex<Option<LeaseStart>>>,
}

impl<C: Clock> WriteLease<C> {
    /// A lease that is not held yet.
    #[must_use]
    pub fn new(clock: C) -> Self {
        Self {
            clock,
            held_since: Arc::default(),
        }
    }

    /// The present moment. Take it before the role is read.
    #[must_use]
    pub fn start(&self) -> LeaseStart {
        LeaseStart {
            monotonic: self.clock.monotonic(),
            wall: self.clock.now(),
        }
    }

    /// Whether a request that writes may be sent now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// How long the lease still lasts; zero if it is not held.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let Some(start) = *self.lock() else {
            return Duration::ZERO;
        };
        let monotonic = self.clock.monotonic().saturating_sub(start.monotonic);
        let wall = self
            .clock
            .now()
            .millis()
            .saturating_sub(start.wall.millis());
        let wall = Duration::from_millis(u64::try_from(wall).unwrap_or_default());
        LEASE.saturating_sub(monotonic.max(wall))
    }

    fn set(&self, start: Option<LeaseStart>) {
        *self.lock() = start;
    }

    fn lock(&self) -> MutexGuard<'_, Option<LeaseStart>> {
        let held_since = &self.held_since;
        held_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The role that a process writes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterRole {
    /// The site that it writes to.
    pub site: SiteId,
    /// The epoch that it has planned with.
    pub epoch: Epoch,
    /// The role of the site.
    pub role: RegionRole,
}

/// What holds the epoch of a Region: its ledger.
pub trait EpochSource {
    /// The epoch that it holds.
    ///
    /// # Errors
    /// It cannot be reached.
    async fn read_epoch(&self) -> Result<Epoch, CallError>;
}

impl<L: Ledger> EpochSource for L {
    async fn read_epoch(&self) -> Result<Epoch, CallError> {
        self.epoch().await
    }
}

/// The lease on a Region, and the ledgers from which it is renewed.
#[derive(Debug)]
pub struct WriteFence<L, C> {
    local: L,
    /// The ledger of the other Region; without it, the local epoch decides.
    peer: Option<L>,
    lease: WriteLease<C>,
    writer: Mutex<Option<WriterRole>>,
    /// Held while the role is read again, so that concurrent calls read it once.
    renewing: AsyncMutex<()>,
}

impl<L: EpochSource, C: Clock> WriteFence<L, C> {
    /// A fence on the Region of a ledger. Nothing is sent before [`Self::allow`].
    #[must_use]
    pub fn new(local: L, peer: Option<L>, clock: C) -> Self {
        Self {
            local,
            peer,
            lease: WriteLease::new(clock),
            writer: Mutex::default(),
            renewing: AsyncMutex::default(),
        }
    }

    /// The lease, which the adapters look at before each attempt.
    #[must_use]
    pub const fn lease(&self) -> &WriteLease<C> {
        &self.lease
    }

    /// Allows writes in a role. `read_since` is the moment at which the read of this role began; without
    /// it, the first write reads the role. A fenced Region allows none.
    pub fn allow(&self, writer: WriterRole, read_since: Option<LeaseStart>) {
        let may_write = match writer.role {
            RegionRole::Primary | RegionRole::Standby => true,
            RegionRole::Fenced => false,
        };
        *self.writer() = may_write.then_some(writer);
        self.lease.set(read_since.filter(|_| may_write));
    }

    /// Checks that a call that writes may be sent now, and renews the lease if it ends soon.
    ///
    /// # Errors
    /// `Contended` if the role has changed since [`Self::allow`], if none was allowed, or if reading it
    /// took longer than a lease; the error of the ledger if the role cannot be read.
    pub async fn check(&self, region: &str) -> Result<(), CallError> {
        if self.lease.remaining() >= RENEW_BELOW {
            return Ok(());
        }
        let _renewing = self.renewing.lock().await;
        if self.lease.remaining() >= RENEW_BELOW {
            return Ok(());
        }
        let refused = |message: String| {
            CallError::new(CallErrorKind::Contended, "write lease", region, message)
        };
        let Some(writer) = *self.writer() else {
            let message = "not sent: the Region has no role in which Twinlake writes, or its role has \
                           changed since it was read";
            return Err(refused(message.to_owned()));
        };
        let start = self.lease.start();
        let found = self.read_role(writer.site).await?;
        if found != writer {
            self.lease.set(None);
            *self.writer() = None;
            return Err(refused(format!(
                "not sent: the Region was {} by epoch {}, and is {} by epoch {} now",
                writer.role, writer.epoch, found.role, found.epoch
            )));
        }
        self.lease.set(Some(start));
        match self.lease.is_held() {
            true => Ok(()),
            false => Err(refused(format!(
                "not sent: reading the role took longer than {WRITE_LEASE_SECS} s"
            ))),
        }
    }

    async fn read_role(&self, site: SiteId) -> Result<WriterRole, CallError> {
        let peer = async {
            match &self.peer {
                Some(peer) => peer.read_epoch().await.ok(),
                None => None,
            }
        };
        let (local, peer) = futures_util::future::join(self.local.read_epoch(), peer).await;
        let local = local?;
        Ok(WriterRole {
            site,
            epoch: peer.map_or(local, |peer| local.latest(peer)),
            role: region_role(site, local, peer),
        })
    }

    fn writer(&self) -> MutexGuard<'_, Option<WriterRole>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iceberg::FencedTableFiles;
    use crate::ports::TableFiles;
    use futures_util::FutureExt as _;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::Arc;
    use twinlake_core::topology::{FENCE_MARGIN_SECS, FENCE_WAIT_SECS, LONGEST_ATTEMPT_SECS};

    /// Two clocks that a test sets, in milliseconds.
    #[derive(Clone, Debug, Default)]
    struct TestClock(Rc<Cell<(u64, i64)>>);

    impl TestClock {
        fn advance(&self, monotonic_secs: u64, wall_secs: i64) {
            let (monotonic, wall) = self.0.get();
            let next = (monotonic + monotonic_secs * 1000, wall + wall_secs * 1000);
            self.0.set(next);
        }
    }

    impl Clock for TestClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.get().1)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.get().0)
        }
    }

    /// An epoch, or none if it is out of reach.
    #[derive(Clone, Debug)]
    struct TestLedger(Rc<Cell<Option<Epoch>>>);

    impl Default for TestLedger {
        fn default() -> Self {
            Self(Rc::new(Cell::new(Some(Epoch::INITIAL))))
        }
    }

    impl EpochSource for TestLedger {
        async fn read_epoch(&self) -> Result<Epoch, CallError> {
            let error = || CallError::new(CallErrorKind::Unavailable, "GetItem", "x", "down");
            self.0.get().ok_or_else(error)
        }
    }

    const STANDBY: WriterRole = WriterRole {
        site: SiteId::B,
        epoch: Epoch::INITIAL,
        role: RegionRole::Standby,
    };

    type Fence = WriteFence<TestLedger, TestClock>;

    fn fence(peer: Option<TestLedger>) -> (Fence, TestLedger, TestClock) {
        let (ledger, clock) = (TestLedger::default(), TestClock::default());
        let fence = WriteFence::new(ledger.clone(), peer, clock.clone());
        (fence, ledger, clock)
    }

    fn may_send(fence: &Fence) -> bool {
        let checked = fence.check("ap-south-1").now_or_never();
        checked.expect("the ledgers do not wait").is_ok()
    }

    #[test]
    fn the_lease_counts_from_the_start_of_the_read_on_whichever_clock_went_further() {
        for (monotonic, wall, remaining) in [
            (0, 0, 30),
            (12, 12, 18),
            (12, -3600, 18),
            (0, 3600, 0),
            (29, 0, 1),
            (30, 0, 0),
        ] {
            let (fence, _, clock) = fence(None);
            fence.allow(STANDBY, Some(fence.lease().start()));
            clock.advance(monotonic, wall);
            let expected = Duration::from_secs(remaining);
            assert_eq!(fence.lease().remaining(), expected, "{monotonic} {wall}");
        }
    }

    #[test]
    fn without_a_role_nothing_is_sent_and_the_first_write_reads_it() {
        let (fence, _, _) = fence(None);
        assert!(!may_send(&fence));
        let fenced = WriterRole {
            role: RegionRole::Fenced,
            ..STANDBY
        };
        fence.allow(fenced, Some(fence.lease().start()));
        assert!(!may_send(&fence) && !fence.lease().is_held());
        fence.allow(STANDBY, None);
        assert!(!fence.lease().is_held());
        assert!(may_send(&fence) && fence.lease().is_held());
    }

    /// The property that a switch rests on: whenever the epoch is written, nothing is sent once the lease
    /// that could have been read before has ended.
    #[test]
    fn after_a_switch_nothing_is_sent_longer_than_the_lease_lasts() {
        for written_at in 0..120 {
            for every in [1, 4, 7, 16, 29] {
                let (fence, ledger, clock) = fence(None);
                fence.allow(STANDBY, Some(fence.lease().start()));
                let mut last_sent = 0;
                for second in 0..300 {
                    if second == written_at {
                        ledger.0.set(Some(Epoch::new(1, SiteId::B)));
                    }
                    let is_sent = second % every == 0 && may_send(&fence);
                    // An attempt that the SDK repeats, between two calls.
                    if is_sent || fence.lease().is_held() {
                        last_sent = second;
                    }
                    clock.advance(1, 1);
                }
                assert!(
                    last_sent < written_at + WRITE_LEASE_SECS,
                    "{written_at} {every}"
                );
                assert!(
                    written_at == 0 || last_sent >= written_at - 1,
                    "{written_at} {every}"
                );
            }
        }
        assert_eq!(
            FENCE_WAIT_SECS - LONGEST_ATTEMPT_SECS - FENCE_MARGIN_SECS,
            WRITE_LEASE_SECS
        );
    }

    /// Counts the calls that write.
    #[derive(Debug, Default)]
    struct CountedFiles(Cell<usize>);

    impl TableFiles for &CountedFiles {
        async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, CallError> {
            Ok(None)
        }

        async fn size(&self, _: &str) -> Result<Option<u64>, CallError> {
            Ok(None)
        }

        async fn list(&self, _: &str, _: &mut dyn FnMut(&str, u64)) -> Result<(), CallError> {
            Ok(())
        }

        async fn create(&self, _: &str, _: Vec<u8>) -> Result<bool, CallError> {
            self.0.set(self.0.get() + 1);
            Ok(true)
        }

        async fn remove(&self, _: &str) -> Result<(), CallError> {
            self.0.set(self.0.get() + 1);
            Ok(())
        }
    }

    #[test]
    #[expect(
        clippy::arc_with_non_send_sync,
        reason = "the clocks of the test are no threads'"
    )]
    fn files_of_tables_are_written_in_the_role_that_was_allowed_only() {
        let counted = CountedFiles::default();
        let (fence, ledger, clock) = fence(None);
        fence.allow(STANDBY, Some(fence.lease().start()));
        let files = FencedTableFiles::new(&counted, "ap-south-1", Arc::new(fence));
        let write = || {
            let created = files.create("s3://b/k", Vec::new()).now_or_never();
            let removed = files.remove("s3://b/k").now_or_never();
            (created.unwrap().is_ok(), removed.unwrap().is_ok())
        };
        assert_eq!(write(), (true, true));
        ledger.0.set(Some(Epoch::new(1, SiteId::B)));
        clock.advance(30, 30);
        assert_eq!((write(), counted.0.get()), ((false, false), 2));
        assert!(files.get("s3://b/k").now_or_never().unwrap().is_ok());
    }

    #[test]
    fn a_higher_epoch_of_the_peer_ends_the_lease_for_good() {
        let peer = TestLedger::default();
        let (fence, _, clock) = fence(Some(peer.clone()));
        fence.allow(STANDBY, Some(fence.lease().start()));
        peer.0.set(Some(Epoch::new(1, SiteId::B)));
        assert!(may_send(&fence), "the lease is younger than the epoch");
        clock.advance(16, 16);
        let error = fence.check("ap-south-1").now_or_never().unwrap();
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("is fenced by epoch 1 (primary: site b) now"),
            "{text}"
        );
        assert!(!fence.lease().is_held());
        peer.0.set(Some(Epoch::INITIAL));
        assert!(
            !may_send(&fence),
            "only a new reading of everything allows writes"
        );
    }

    #[test]
    fn a_peer_out_of_reach_changes_nothing_and_a_local_ledger_out_of_reach_ends_the_lease() {
        let (local, peer) = (TestLedger::default(), TestLedger::default());
        let clock = TestClock::default();
        let fence = WriteFence::new(local.clone(), Some(peer.clone()), clock.clone());
        fence.allow(STANDBY, Some(fence.lease().start()));
        let check = || fence.check("ap-south-1").now_or_never().unwrap();
        peer.0.set(None);
        clock.advance(20, 20);
        assert!(check().is_ok());
        local.0.set(None);
        clock.advance(20, 20);
        assert_eq!(check().unwrap_err().kind, CallErrorKind::Unavailable);
        assert!(fence.lease().is_held(), "what was read before still holds");
        clock.advance(10, 10);
        assert!(!fence.lease().is_held());
    }
}
