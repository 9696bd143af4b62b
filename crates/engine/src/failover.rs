//! Runs a failover or a switchover: the steps that [`twinlake_core::failover`] decides, in the Region that becomes
//! the primary.
//!
//! A failover calls the ledger and Glue of that Region, and nothing else: the primary is gone, and nobody asks
//! it. A switchover also has a [`Handover`], by which it asks the other Region. Both may be killed between any
//! two calls and run again, on another machine too, and two people may run them at once.

mod defaults;
pub(crate) mod freeze;
pub(crate) mod frozen_documents;
mod grant_calls;
mod grants_lease;
mod grants_restore;
mod handover;
mod wake;

pub use freeze::{FreezeTerms, FrozenRegion};
pub use frozen_documents::{FrozenCounts, frozen_grants};
pub use grants_lease::GrantsPermit;
pub use grants_restore::UnfrozenGrants;
pub use handover::{BothRegions, Handover, writers};
pub use wake::{FencedWakeTools, WakeProgress, kinds_to_wake, wake};

use crate::ports::{Clock, DocumentStore, Ledger, StatsStore, WriteRegion};
use grants_lease::GrantsLease;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use twinlake_core::failover::{
    EpochRecord, FailoverDecision, FailoverJournal, FailoverRefusal, FailoverRequest, FailoverStep,
    RecoveryPoint, SwitchOperation, SwitchStepResult, UndoRefusal, after_step, decide, undo,
};
use twinlake_core::heartbeat::Channel;
use twinlake_core::topology::{Epoch, FENCE_WAIT_SECS, SiteId};
use twinlake_core::{CallError, CallErrorKind, Policy, Principal, Timestamp, canary};

/// Waits, for a failover.
pub trait Timer: Clock {
    /// Waits for this long.
    async fn sleep(&self, duration: Duration);
}

/// Who is told about the progress of a failover.
pub trait FailoverProgress {
    /// A step begins, at the earliest after the one before it was stored.
    fn step_started(&self, step: FailoverStep);
    /// The failover still waits for this long.
    fn waiting(&self, left: Duration);
}

impl FailoverProgress for () {
    fn step_started(&self, _: FailoverStep) {}
    fn waiting(&self, _: Duration) {}
}

/// The surviving Region.
pub struct NewPrimary<'a, R, L, T, H = ()> {
    /// Its site.
    pub site: SiteId,
    /// Its catalog.
    pub region: &'a R,
    /// Its ledger.
    pub ledger: &'a L,
    /// The clock, and what waits.
    pub timer: &'a T,
    /// The policy of its ledger.
    pub policy: &'a Policy,
    /// The most calls to Glue at the same time.
    pub max_concurrent_calls: usize,
    /// How long to wait until nothing of the former epoch takes effect any more: [`FENCE_WAIT`], unless both
    /// Regions are only simulated.
    pub fence_wait: Duration,
    /// Who is told.
    pub progress: &'a dyn FailoverProgress,
    /// The other Region, for a switchover.
    pub handover: &'a H,
    /// Who calls, if known. It is asked for only where [`has_frozen_grants`] says so.
    pub caller: Option<&'a Principal>,
    /// When whoever runs it is ended; `None` if nobody ends it. After the epoch, no step begins shortly before, but the
    /// first one of the run: a run that is repeated goes on in any case.
    pub stop_at: Option<Timestamp>,
}

/// Why a failover ended before it was completed. It goes on when it is run again.
#[derive(Debug, thiserror::Error)]
pub enum FailoverError {
    /// A gate is closed.
    #[error("{0}")]
    Refused(#[from] FailoverRefusal),
    /// The failover cannot be undone.
    #[error("{0}")]
    NotUndone(#[from] UndoRefusal),
    /// Somebody undid it.
    #[error(
        "somebody has undone this takeover, or begun it anew, meanwhile; run the command again if it is still wanted"
    )]
    UndoneMeanwhile,
    /// A switchover would lose something. Nothing but the journal, and what is frozen, has changed.
    #[error("nothing was switched: {0}")]
    NotVerified(String),
    /// A grant to write could not be revoked.
    #[error("nothing was switched: {0}; {GIVE_BACK}")]
    NotFrozen(String),
    /// The time of this run is over.
    #[error("stopped before the step \"{}\", since little time was left; run it again", .0.description())]
    Stopped(FailoverStep),
    /// A call failed.
    #[error("{0}")]
    Call(#[from] CallError),
}

/// How a person gets back what a freeze has revoked.
const GIVE_BACK: &str =
    "run the command again, or with `--undo`, which grants again what was revoked";

/// How many times a record that others change at the same time is read again.
const MAX_ATTEMPTS: u32 = 16;

/// How long a switch waits after it has written the epoch.
pub const FENCE_WAIT: Duration = Duration::from_secs(FENCE_WAIT_SECS);

/// The concurrent calls to Glue while a command restores the defaults of databases.
pub const MAX_CONCURRENT_RESTORES: usize = 4;

/// After the epoch, no step but the first one of a run begins within this time before the run is ended: 300 s are enough for the wait for
/// writers, and for the defaults of some thousand databases.
pub const MIN_STEP_SECS: i64 = 300;

/// How often the progress of the wait is told.
const WAIT_INTERVAL: Duration = Duration::from_secs(1);

/// What a failover would do.
#[derive(Debug)]
pub struct FailoverPreview {
    /// The stored record.
    pub record: EpochRecord,
    /// How far the Region is behind.
    pub recovery_point: RecoveryPoint,
    /// Whether it would start, go on, or has nothing to do, or why it is refused.
    pub decision: Result<FailoverDecision, FailoverRefusal>,
}

/// Reads how far the Region is behind and decides about a request. Changes nothing.
///
/// # Errors
/// The ledger of the Region cannot be reached.
pub async fn preview<L: Ledger + StatsStore, C: Clock>(
    site: SiteId,
    ledger: &L,
    clock: &C,
    request: &FailoverRequest,
) -> Result<FailoverPreview, CallError> {
    let recovery_point = read_recovery_point(ledger, clock).await?;
    let record = stored_record(ledger).await?.0;
    let decision = decide(&record, site, request, &recovery_point);
    Ok(FailoverPreview {
        record,
        recovery_point,
        decision,
    })
}

/// Makes the Region the primary: starts a failover, or goes on with the one that the ledger holds. Returns the
/// journal of the last failover; `None` if the Region is the primary without one.
///
/// # Errors
/// A gate is closed, or a call failed. After a failed call, run it again.
pub async fn run<R: WriteRegion, L: Ledger + StatsStore, T: Timer, H: Handover>(
    new_primary: &NewPrimary<'_, R, L, T, H>,
    request: &FailoverRequest,
) -> Result<Option<FailoverJournal>, FailoverError> {
    let ledger = new_primary.ledger;
    let recovery_point = read_recovery_point(ledger, new_primary.timer).await?;
    let mut has_begun = false;
    for attempt in 0..MAX_ATTEMPTS {
        let (stored, version) = stored_record(ledger).await?;
        let (record, version) = match decide(&stored, new_primary.site, request, &recovery_point)? {
            FailoverDecision::AlreadyPrimary => return Ok(stored.failover),
            FailoverDecision::Resume(record) => (record, version),
            FailoverDecision::Start(_) if has_begun => return Err(FailoverError::UndoneMeanwhile),
            FailoverDecision::Start(record) => {
                if !ledger.put_epoch_record(&record, version).await? {
                    ledger.wait_after_conflict(attempt).await;
                    continue;
                }
                (record, Some(version.map_or(0, |version| version + 1)))
            }
        };
        has_begun = true;
        if let Some(journal) = run_steps(new_primary, record, version).await? {
            return Ok(Some(journal));
        }
        ledger.wait_after_conflict(attempt).await;
    }
    let message = "others keep changing the epoch record; run the command again";
    let kind = CallErrorKind::Contended;
    Err(CallError::new(kind, "failover", "this Region", message).into())
}

/// Whether a ledger holds grants that a switchover has revoked, of whichever epoch.
///
/// # Errors
/// The ledger cannot be reached.
pub async fn has_frozen_grants<L: DocumentStore>(ledger: &L) -> Result<bool, CallError> {
    Ok(!frozen_documents::stored(ledger).await?.is_empty())
}

/// How long a switchover that revokes grants may take before they count as abandoned.
const MAX_FREEZE_SECS: i64 = 3600;

/// The number of grants that are revoked in the primary for a switchover that is not under way, by the ledger of the
/// standby. One that has reached no stage for [`MAX_FREEZE_SECS`] is not, unless a run of it, or an undo, changes grants.
///
/// # Errors
/// The ledger cannot be reached.
pub(crate) async fn abandoned_grants<L: Ledger>(
    ledger: &L,
    now: Timestamp,
) -> Result<usize, CallError> {
    let (record, _) = stored_record(ledger).await?;
    let is_under_way = |journal: &FailoverJournal| {
        let newest = journal.reached.values().max();
        let is_young = newest.is_some_and(|at| now <= at.plus_secs(MAX_FREEZE_SECS));
        let is_open = journal.is_before_epoch() && journal.from == record.epoch;
        let is_going_on = is_open && journal.operation == SwitchOperation::Switchover;
        journal.changes_grants_until(now).is_some() || (is_going_on && is_young)
    };
    match record.failover.as_ref().is_some_and(is_under_way) {
        true => Ok(0),
        false => count_in_primary(ledger, record.epoch).await,
    }
}

/// Undoes a failover that has not written its epoch. Returns the number of grants that a switchover before it has revoked
/// in the primary: they stay revoked until that is undone, too.
///
/// # Errors
/// There is none, or the epoch is written; or a call failed.
pub async fn undo_failover<L: Ledger, C: Clock>(
    ledger: &L,
    clock: &C,
) -> Result<usize, FailoverError> {
    close_journal(ledger, clock, SwitchOperation::Failover).await?;
    let epoch = ledger.epoch().await?;
    Ok(count_in_primary(ledger, epoch).await?)
}

/// The number of grants that are frozen in the primary of an epoch, by the ledger of the standby.
async fn count_in_primary<L: DocumentStore>(ledger: &L, epoch: Epoch) -> Result<usize, CallError> {
    Ok(frozen_grants(ledger, epoch)
        .await?
        .in_primary
        .values()
        .sum())
}

/// Notes that an operation is undone.
async fn close_journal<L: Ledger, C: Clock>(
    ledger: &L,
    clock: &C,
    operation: SwitchOperation,
) -> Result<(), FailoverError> {
    for attempt in 0..MAX_ATTEMPTS {
        let (stored, version) = stored_record(ledger).await?;
        let undone = undo(&stored, operation, clock.now())?;
        if ledger.put_epoch_record(&undone, version).await? {
            return Ok(());
        }
        ledger.wait_after_conflict(attempt).await;
    }
    let message = "others keep changing the epoch record; run the command again";
    let kind = CallErrorKind::Contended;
    Err(CallError::new(kind, "failover", "this Region", message).into())
}

/// Undoes a switchover to `site` that has not written its epoch, and grants again what it has revoked in the primary. It
/// may be repeated.
///
/// # Errors
/// There is none, a run of it may still revoke grants, or the epoch is written; or a call failed.
pub async fn undo_switchover<W: WriteRegion, L: Ledger, C: Clock>(
    site: SiteId,
    clock: &C,
    frozen: &FrozenRegion<'_, W, L>,
) -> Result<UnfrozenGrants, FailoverError> {
    let ledger = frozen.next_ledger;
    match close_journal(ledger, clock, SwitchOperation::Switchover).await {
        // Whoever undid it may not have come to the grants.
        Err(FailoverError::NotUndone(UndoRefusal::NothingToUndo))
            if ledger.epoch().await? == frozen.terms.epoch
                && frozen.terms.epoch.standby() == site
                && frozen.has_frozen().await? => {}
        undone => undone?,
    }
    if !frozen.has_frozen().await? {
        return Ok(UnfrozenGrants::default());
    }
    let (record, version) = stored_record(ledger).await?;
    let begun_anew = record.failover.as_ref();
    let begun_anew = begun_anew.filter(|journal| journal.is_before_epoch());
    let is_begun_anew = begun_anew.is_some_and(|journal| journal.from == record.epoch);
    if is_begun_anew || record.epoch != frozen.terms.epoch {
        return Err(FailoverError::UndoneMeanwhile);
    }
    let lease = GrantsLease::take(ledger, clock, (record, version)).await?;
    let unfrozen = frozen.unfreeze(&lease).await?;
    // A lease is not released after a failure: a request may still take effect.
    if unfrozen.left.is_none() {
        lease.release().await?;
    }
    Ok(unfrozen)
}

/// Runs the steps that are left. Returns the completed journal, or `None` if somebody else wrote the record
/// meanwhile.
async fn run_steps<R: WriteRegion, L: Ledger + StatsStore, T: Timer, H: Handover>(
    new_primary: &NewPrimary<'_, R, L, T, H>,
    mut record: EpochRecord,
    mut version: Option<u64>,
) -> Result<Option<FailoverJournal>, FailoverError> {
    let mut is_first = true;
    loop {
        let step = record
            .failover
            .as_ref()
            .and_then(FailoverJournal::next_step);
        let Some(step) = step else {
            return Ok(record.failover);
        };
        if !is_first && stops_before(step, new_primary.stop_at, new_primary.timer.now()) {
            return Err(FailoverError::Stopped(step));
        }
        is_first = false;
        new_primary.progress.step_started(step);
        let mut result = SwitchStepResult::default();
        match step {
            FailoverStep::FreezeGrants => {
                if let Some(journal) = &mut record.failover {
                    let now = new_primary.timer.now();
                    journal.frozen_since = journal.frozen_since.or(Some(now));
                }
                let at = (record.clone(), version);
                let lease = GrantsLease::take(new_primary.ledger, new_primary.timer, at).await?;
                // A lease is not released after a failure: a request may still take effect.
                let frozen = new_primary.handover.freeze(&record, &lease).await?;
                result.frozen = frozen.map_err(FailoverError::NotFrozen)?;
                (record, version) = lease.into_record();
            }
            FailoverStep::Verify => {
                if let Some(reason) = new_primary.handover.verify(&record).await? {
                    let journal = record.failover.as_ref();
                    let is_frozen = journal.is_some_and(|journal| !journal.freeze.is_none());
                    return Err(FailoverError::NotVerified(match is_frozen {
                        true => format!("{reason}; {GIVE_BACK}"),
                        false => reason,
                    }));
                }
            }
            // The epoch is written together with the stage, below.
            FailoverStep::WriteEpoch => {}
            FailoverStep::WaitForWriters => wait_for_writers(new_primary).await,
            FailoverStep::RestoreDefaults => {
                let journal = record.failover.as_ref();
                let from = journal.map_or(record.epoch, |journal| journal.from);
                let only = journal.and_then(FailoverJournal::left_to_restore);
                let restored = defaults::restore(new_primary, from, only).await?;
                (result.restored, result.unrestored) = (restored.restored, restored.unrestored);
                let (region, ledger) = (new_primary.region, new_primary.ledger);
                let at = (new_primary.site, record.epoch);
                let (policy, caller) = (new_primary.policy, new_primary.caller);
                let unfrozen = grants_restore::restore(region, ledger, policy, at, caller).await?;
                (result.unfrozen, result.still_frozen) = (unfrozen.granted, unfrozen.refused);
                result.left_frozen = unfrozen.left;
            }
            FailoverStep::HandOver => {
                result.not_handed_over = new_primary.handover.hand_over(&record).await?;
                // Handing over notes the acceptance in the same record.
                (record, version) = stored_record(new_primary.ledger).await?;
                let next = record
                    .failover
                    .as_ref()
                    .and_then(FailoverJournal::next_step);
                if next != Some(step) {
                    return Ok(None);
                }
            }
        }
        record = after_step(&record, step, new_primary.timer.now(), result);
        if !new_primary
            .ledger
            .put_epoch_record(&record, version)
            .await?
        {
            return Ok(None);
        }
        version = Some(version.map_or(0, |version| version + 1));
    }
}

/// Whether a run ends before a step because it would be ended in the middle of it.
fn stops_before(step: FailoverStep, stop_at: Option<Timestamp>, now: Timestamp) -> bool {
    let goes_on = match step {
        // What was read and compared before the epoch holds for this moment: a later run would begin anew.
        FailoverStep::FreezeGrants | FailoverStep::Verify | FailoverStep::WriteEpoch => false,
        FailoverStep::WaitForWriters | FailoverStep::RestoreDefaults | FailoverStep::HandOver => {
            true
        }
    };
    goes_on && stop_at.is_some_and(|stop_at| now.plus_secs(MIN_STEP_SECS) > stop_at)
}

/// What of the S3 replication to a site no canary proves, by what its ledger holds. What cannot be read is unproven.
pub async fn unproven_replication<L: StatsStore>(
    site: SiteId,
    ledger: &L,
    policy: &Policy,
) -> BTreeSet<String> {
    let routes = canary::routes(policy, site.other());
    match ledger.canaries().await {
        Ok(state) => state.unwrap_or_default().received.unproven_routes(&routes),
        Err(error) => BTreeSet::from([format!("canaries could not be read: {error}")]),
    }
}

/// Waits until nothing that was sent under the former epoch takes effect any more. The wait begins anew when
/// a failover goes on: another machine's clock says nothing about how long the first one has waited.
async fn wait_for_writers<R, L, T: Timer, H>(new_primary: &NewPrimary<'_, R, L, T, H>) {
    let started = new_primary.timer.monotonic();
    loop {
        let waited = new_primary.timer.monotonic().saturating_sub(started);
        let left = new_primary.fence_wait.saturating_sub(waited);
        new_primary.progress.waiting(left);
        if left.is_zero() {
            return;
        }
        new_primary.timer.sleep(left.min(WAIT_INTERVAL)).await;
    }
}

async fn stored_record<L: Ledger>(ledger: &L) -> Result<(EpochRecord, Option<u64>), CallError> {
    let stored = ledger.epoch_record().await?;
    let (record, version) = stored.unzip();
    Ok((record.unwrap_or_default(), version))
}

/// Reads how far the Region is behind. What cannot be read is unknown, and holds up no failover.
async fn read_recovery_point<L: Ledger + StatsStore, C: Clock>(
    ledger: &L,
    clock: &C,
) -> Result<RecoveryPoint, CallError> {
    let now = clock.now();
    let databases = ledger.database_rows().await?;
    let mut unread = BTreeSet::new();
    let rows = ledger.rows_not_in_sync().await;
    let not_in_sync = known("objects that are not in sync", rows, &mut unread);
    let mut channels = BTreeMap::new();
    for channel in Channel::OF_EVENTS {
        match ledger.channel_health(channel, now).await {
            Ok(health) => drop(channels.insert(channel, health)),
            Err(error) => drop(unread.insert(format!("{}: {error}", channel.description()))),
        }
    }
    let canaries = known("canaries", ledger.canaries().await, &mut unread);
    let storage = canaries.unwrap_or_default().received.oldest_health();
    channels.extend(storage.map(|health| (Channel::Storage, health)));
    let pending = ledger.all_pending_objects().await;
    let pending = known("objects that have not arrived", pending, &mut unread);
    let pending = pending.into_iter();
    let pending = pending
        .map(|(table, (pending, _))| (table, pending))
        .collect();
    let verified_at = known("the last resync", ledger.verified_at().await, &mut unread);
    let rows = (&databases, &not_in_sync);
    let point = RecoveryPoint::new(now, rows, &channels, verified_at, &pending);
    Ok(RecoveryPoint { unread, ..point })
}

fn known<T: Default>(what: &str, read: Result<T, CallError>, unread: &mut BTreeSet<String>) -> T {
    read.unwrap_or_else(|error| {
        unread.insert(format!("{what}: {error}"));
        T::default()
    })
}
