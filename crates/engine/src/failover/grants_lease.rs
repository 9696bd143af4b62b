//! The lease on the grants of the primary, in the journal of a switchover: one run at a time revokes them, or grants
//! them again.
//!
//! The run writes [`grants_change_until`](twinlake_core::failover::FailoverJournal) before it changes anything, and
//! writes it anew before each batch, always on the condition that nobody else has written the record since. So an undo
//! that comes while the lease holds refuses, and one that comes later stops a run that is only slow: its next batch is
//! not sent. [`FENCE_WAIT_SECS`] cover the batch that is under way.

use crate::ports::{Clock, Ledger};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use twinlake_core::failover::EpochRecord;
use twinlake_core::topology::FENCE_WAIT_SECS;
use twinlake_core::{CallError, CallErrorKind, Timestamp};

/// For how long a lease is not renewed.
const RENEW_AFTER: Duration = Duration::from_secs(10);

/// Whether grants may still be changed.
pub trait GrantsPermit {
    /// Asks before a batch is sent, or what is recorded is changed.
    ///
    /// # Errors
    /// Somebody else has taken over, or the ledger cannot be reached: nothing is sent any more.
    async fn renew(&self) -> Result<(), CallError>;
}

/// After the epoch, nobody takes back what is granted again.
impl GrantsPermit for () {
    async fn renew(&self) -> Result<(), CallError> {
        Ok(())
    }
}

/// The lease of one run.
pub(crate) struct GrantsLease<'a, L, C> {
    ledger: &'a L,
    clock: &'a C,
    held: Mutex<HeldLease>,
}

#[derive(Clone)]
struct HeldLease {
    record: EpochRecord,
    version: Option<u64>,
    renewed: Duration,
}

impl<'a, L: Ledger, C: Clock> GrantsLease<'a, L, C> {
    /// Takes the lease in a record with its version, also from whom it belongs to: two runs revoke the same.
    ///
    /// # Errors
    /// The record was changed meanwhile, or the ledger cannot be reached.
    pub(crate) async fn take(
        ledger: &'a L,
        clock: &'a C,
        (record, version): (EpochRecord, Option<u64>),
    ) -> Result<Self, CallError> {
        let renewed = clock.monotonic();
        let lease = Self {
            ledger,
            clock,
            held: Mutex::new(HeldLease {
                record,
                version,
                renewed,
            }),
        };
        let until = clock.now().plus_secs(LEASE_SECS);
        lease.write(Some(until)).await?;
        Ok(lease)
    }

    /// Ends the lease: somebody else may change the grants at once.
    ///
    /// # Errors
    /// As for [`GrantsPermit::renew`].
    pub(crate) async fn release(self) -> Result<(), CallError> {
        self.write(None).await
    }

    /// The record as the lease has written it, with its version.
    pub(crate) fn into_record(self) -> (EpochRecord, Option<u64>) {
        let held = self.held.into_inner();
        let held = held.unwrap_or_else(PoisonError::into_inner);
        (held.record, held.version)
    }

    async fn write(&self, until: Option<Timestamp>) -> Result<(), CallError> {
        let mut next = self.lock().clone();
        next.renewed = self.clock.monotonic();
        if let Some(journal) = &mut next.record.failover {
            journal.grants_change_until = until;
        }
        let is_written = self.ledger.put_epoch_record(&next.record, next.version);
        if !is_written.await? {
            let message =
                "another run of the command, or an undo, changes the grants; this one has stopped";
            let kind = CallErrorKind::Contended;
            return Err(CallError::new(kind, "freeze", "this Region", message));
        }
        next.version = Some(next.version.map_or(0, |version| version + 1));
        *self.lock() = next;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HeldLease> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a lease holds, in seconds.
const LEASE_SECS: i64 = FENCE_WAIT_SECS.cast_signed();

impl<L: Ledger, C: Clock> GrantsPermit for GrantsLease<'_, L, C> {
    async fn renew(&self) -> Result<(), CallError> {
        let renewed = self.lock().renewed;
        let age = self.clock.monotonic().saturating_sub(renewed);
        if age < RENEW_AFTER {
            return Ok(());
        }
        let until = self.clock.now().plus_secs(LEASE_SECS);
        self.write(Some(until)).await
    }
}
