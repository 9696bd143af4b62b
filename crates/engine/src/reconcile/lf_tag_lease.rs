//! Takes the lease on changes of access by LF-Tags before such changes, and gives it back.

use super::session::Session;
use crate::apply::{Applied, StepLease, apply};
use crate::ports::{Clock, Environment, Ledger, ReadRegion as _, WriteRegion};
use crate::time_limit;
use crate::versioned_item::{self, ItemUpdate, LfTagLeaseItem};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Mutex as AsyncMutex, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use twinlake_core::catalog::AttachmentKey;
use twinlake_core::ledger::{EarlierHolder, LfTagLease};
use twinlake_core::plan::{LfTagChange, drops_columns, lf_tag_change};
use twinlake_core::scope::{Facet, ReadRequest};
use twinlake_core::snapshot::{Observation, Snapshot};
use twinlake_core::step::Phase;
use twinlake_core::{
    ApprovedPlan, CallError, CallErrorKind, LfSubject, Plan, Step, Subject, Timestamp,
};

/// What the reconciliations of one run share of the lease. Those that only assign LF-Tags may change
/// access together: what they open depends on the LF-Tags of their own database and on the grants by
/// LF-Tags, which none of them changes. One that changes such grants, or named expressions, does so
/// alone.
#[derive(Clone, Debug)]
pub struct LfTagLeaseOfRun {
    holder: u64,
    turn: Arc<RwLock<()>>,
    /// Held while the lease is written.
    writing: Arc<AsyncMutex<()>>,
    shared: Arc<Mutex<Shared>>,
}

/// What a run knows of its lease.
#[derive(Debug, Default)]
struct Shared {
    /// Number of reconciliations that hold it.
    holders: usize,
    /// The lease as this run wrote it last.
    written: Option<LfTagLease>,
    /// The lease before this run took it.
    earlier: Option<LfTagLease>,
    /// When one that held it alone ended last.
    alone_until: Option<Timestamp>,
    /// When one that held it together with others ended last.
    together_until: Option<Timestamp>,
    /// Whether a reconciliation ended without giving it back, since `disturbed_at` was set.
    died: bool,
    /// When a reconciliation of this run was last found to have ended so, or another run to have held the
    /// lease while this run counted on it.
    disturbed_at: Option<Timestamp>,
}

impl Shared {
    /// Whether something happened since `since` that only reading everything again shows. `known` is what
    /// the reconciliation has read everything again for.
    fn is_disturbed(&self, known: Option<Timestamp>, since: Timestamp) -> bool {
        self.disturbed_at != known && self.disturbed_at.is_some_and(|at| at >= since)
    }

    /// Dates the end of a reconciliation that did not give the lease back: its end itself cannot ask for
    /// the time.
    fn date_deaths(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.died) {
            self.disturbed_at = self.disturbed_at.max(Some(now));
        }
    }

    /// What others did since `since`, before a reconciliation that makes such a change.
    fn earlier_holder(&self, run: u64, change: LfTagChange, since: Timestamp) -> EarlierHolder {
        let of_other = self.earlier.as_ref();
        let of_other = of_other.map_or(EarlierHolder::None, |one| one.earlier_holder(run, since));
        let is_recent = |at: Option<Timestamp>| at.is_some_and(|at| at >= since);
        let together_matters = match change {
            LfTagChange::Grants => true,
            LfTagChange::Assignments => false,
        };
        let by_run =
            is_recent(self.alone_until) || (together_matters && is_recent(self.together_until));
        match of_other {
            EarlierHolder::None if by_run => EarlierHolder::SameRun,
            EarlierHolder::None
            | EarlierHolder::SameRun
            | EarlierHolder::OtherRun
            | EarlierHolder::Died => of_other,
        }
    }
}

impl Default for LfTagLeaseOfRun {
    fn default() -> Self {
        Self {
            holder: RandomState::new().build_hasher().finish(),
            turn: Arc::default(),
            writing: Arc::default(),
            shared: Arc::default(),
        }
    }
}

impl LfTagLeaseOfRun {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the lease of this run again, unless somebody else has written it since. Returns whether this run
    /// still has it.
    async fn renew<L: Ledger>(
        &self,
        ledger: &L,
        now: Timestamp,
        stop_at: Option<Timestamp>,
    ) -> bool {
        let _writing = self.writing.lock().await;
        let written = self.lock().written.clone();
        let item = LfTagLeaseItem { ledger };
        let renewed =
            versioned_item::update(&item, None, |stored: Option<LfTagLease>| {
                match stored.filter(|stored| Some(stored) == written.as_ref()) {
                    Some(stored) => {
                        let lease = LfTagLease::taken(self.holder, now, stop_at, Some(&stored));
                        ItemUpdate::Put(lease.clone(), Some(lease))
                    }
                    None => ItemUpdate::Keep(None),
                }
            });
        let Ok(renewed) = renewed.await else {
            return false;
        };
        let mut shared = self.lock();
        match renewed {
            Some(lease) => {
                shared.written = Some(lease);
                true
            }
            None => {
                shared.disturbed_at = shared.disturbed_at.max(Some(now));
                false
            }
        }
    }

    /// Stores the lease of this run. Returns when the lease of another run ends, if there is one.
    async fn write<L: Ledger>(
        &self,
        ledger: &L,
        now: Timestamp,
        stop_at: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, CallError> {
        let item = LfTagLeaseItem { ledger };
        let holder = self.holder;
        let result = versioned_item::update(&item, None, |stored: Option<LfTagLease>| {
            let other = stored.as_ref();
            match other.and_then(|lease| lease.held_by_other_until(holder, now)) {
                Some(until) => ItemUpdate::Keep(Err(until)),
                None => {
                    let lease = LfTagLease::taken(holder, now, stop_at, stored.as_ref());
                    ItemUpdate::Put(lease.clone(), Ok((lease, stored)))
                }
            }
        })
        .await?;
        Ok(match result {
            Err(until) => Some(until),
            Ok((lease, stored)) => {
                let mut shared = self.lock();
                // While it was held, nobody else can have changed anything.
                match shared.written.as_ref() {
                    None => shared.earlier = stored,
                    Some(_) if shared.written == stored => {}
                    // It had ended, and another run took it.
                    Some(_) => {
                        shared.earlier = stored;
                        shared.disturbed_at = shared.disturbed_at.max(Some(now));
                    }
                }
                shared.written = Some(lease);
                None
            }
        })
    }
}

/// The lease as a session holds it.
pub(super) struct HeldLease {
    of_run: LfTagLeaseOfRun,
    turn: Turn,
    is_given_back: bool,
}

/// Keeps the other reconciliations of the run waiting; those that only assign LF-Tags wait for
/// [`Turn::Alone`] only.
enum Turn {
    Together { _guard: OwnedRwLockReadGuard<()> },
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

impl Turn {
    /// The turn, if nobody has to be waited for.
    fn at_once(of_run: &LfTagLeaseOfRun, change: LfTagChange) -> Option<Self> {
        let turn = of_run.turn.clone();
        match change {
            LfTagChange::Assignments => {
                let guard = turn.try_read_owned().ok();
                guard.map(|guard| Self::Together { _guard: guard })
            }
            LfTagChange::Grants => {
                let guard = turn.try_write_owned().ok();
                guard.map(|guard| Self::Alone { _guard: guard })
            }
        }
    }

    /// The turn once the others have ended; `None` if the time of the invocation ends before.
    async fn wait(
        of_run: &LfTagLeaseOfRun,
        change: LfTagChange,
        times: (Option<Timestamp>, Timestamp),
    ) -> Option<Self> {
        let turn = of_run.turn.clone();
        match change {
            LfTagChange::Assignments => {
                let guard = time_limit::before(turn.read_owned(), times).await;
                guard.map(|guard| Self::Together { _guard: guard })
            }
            LfTagChange::Grants => {
                let guard = time_limit::before(turn.write_owned(), times).await;
                guard.map(|guard| Self::Alone { _guard: guard })
            }
        }
    }

    fn allows(&self, change: LfTagChange) -> bool {
        match (self, change) {
            (Self::Alone { .. }, _) | (Self::Together { .. }, LfTagChange::Assignments) => true,
            (Self::Together { .. }, LfTagChange::Grants) => false,
        }
    }
}

impl HeldLease {
    /// Ends this session's part of it. Returns whether it was the last one of the run.
    fn end(&mut self, now: Timestamp) -> bool {
        self.is_given_back = true;
        let mut shared = self.of_run.lock();
        shared.holders = shared.holders.saturating_sub(1);
        let until = match self.turn {
            Turn::Together { .. } => &mut shared.together_until,
            Turn::Alone { .. } => &mut shared.alone_until,
        };
        *until = (*until).max(Some(now));
        shared.holders == 0 && !shared.died
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        if !self.is_given_back {
            let mut shared = self.of_run.lock();
            shared.holders = shared.holders.saturating_sub(1);
            shared.died = true;
        }
    }
}

/// How a session goes on that needs the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseResult {
    /// It holds the lease, and what it read is true.
    Held,
    /// It holds the lease, and has to read again what others may have changed.
    ReadsAgain,
    /// Another run holds the lease.
    Busy(Timestamp),
    /// Time ran out while other reconciliations of this run held it.
    OutOfTime,
    /// Another reconciliation of this run holds it, and the plan takes access away by steps that do not need it.
    NarrowsFirst,
}

impl LeaseResult {
    /// Until when another run holds the lease.
    pub(super) const fn held_until(self) -> Option<Timestamp> {
        match self {
            Self::Busy(until) => Some(until),
            Self::Held | Self::ReadsAgain | Self::OutOfTime | Self::NarrowsFirst => None,
        }
    }
}

/// Whether a subject has an attachment in the standby, as far as that was read.
fn has_attachment(standby: &Snapshot, subject: &Subject, key: &AttachmentKey) -> bool {
    let existing = standby.attachments.get(&(subject.clone(), key.facet()));
    let existing = existing.and_then(Observation::present);
    existing.is_some_and(|existing| existing.contains_key(key))
}

/// Whether an object, or a column, inherits an LF-Tag in the standby that it gets a value of its own of.
fn replaces_inherited(standby: &Snapshot, subject: &Subject, key: &AttachmentKey) -> bool {
    let AttachmentKey::LfTagAssignment { column, key } = key else {
        return false;
    };
    let whole = AttachmentKey::LfTagAssignment {
        column: None,
        key: key.clone(),
    };
    let database = subject.database().cloned().map(Subject::Database);
    (column.is_some() && has_attachment(standby, subject, &whole))
        || database.is_some_and(|database| has_attachment(standby, &database, &whole))
}

/// Whether a change of access by LF-Tags may take access away: it removes or changes an assignment, or
/// replaces an inherited one.
fn takes_access_away(step: &Step, standby: &Snapshot) -> bool {
    match step {
        Step::PutAttachment {
            subject,
            attachment,
            ..
        } => {
            let key = attachment.key();
            has_attachment(standby, subject, &key) || replaces_inherited(standby, subject, &key)
        }
        Step::RemoveAttachment { .. } => true,
        Step::Revoke { .. }
        | Step::Grant { .. }
        | Step::CreateDatabase { .. }
        | Step::UpdateDatabase { .. }
        | Step::CreateTable { .. }
        | Step::UpdateTable { .. }
        | Step::CreatePartition { .. }
        | Step::UpdatePartition { .. }
        | Step::CreateFunction { .. }
        | Step::UpdateFunction { .. }
        | Step::DeleteFunction { .. }
        | Step::PutSettings { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => false,
    }
}

/// Whether a step may take access away, whatever else it does.
pub(super) fn may_narrow(step: &Step, standby: &Snapshot) -> bool {
    step.phase() <= Phase::FilterUpdates
        || takes_access_away(step, standby)
        || drops_columns(step, standby)
}

/// For how long the lease has to last before steps under it are sent: the calls of
/// the steps that are sent together at the lowest ceiling.
const SECS_OF_STEPS: i64 = 45;

impl<E: Environment<Standby: WriteRegion>> Session<'_, E> {
    /// Applies a plan, and its changes of access by LF-Tags for as long as the lease lasts and nobody else has
    /// taken it: whoever takes it may have another clock. A function is stopped before its lease ends.
    pub(super) async fn apply(&self, approved: &ApprovedPlan) -> Applied {
        let context = self.context;
        let of_run = &self.lf_tag_lease_of_run;
        let renew = async || {
            let now = context.clock.now();
            let lasts = context.stop_at.is_some() || {
                let later = now.plus_secs(SECS_OF_STEPS);
                let shared = of_run.lock();
                let lease = shared.written.as_ref();
                lease.is_some_and(|lease| !lease.ends_soon(later))
            };
            lasts && of_run.renew(context.ledger, now, context.stop_at).await
        };
        let lease = StepLease {
            is_needed: &|step| lf_tag_change(step, &self.snapshots.standby).is_some(),
            renew,
        };
        let max_concurrent_calls = context.max_concurrent_calls;
        let progress = context.progress;
        apply(
            context.standby,
            approved,
            max_concurrent_calls,
            &lease,
            progress,
        )
        .await
    }
}

impl<E: Environment> Session<'_, E> {
    /// Takes the lease if a plan changes access by LF-Tags, and makes the next round read again what
    /// others may have changed since this session read it, or since `listed_since` what it starts from.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    pub(super) async fn take_lf_tag_lease(
        &mut self,
        approved: &ApprovedPlan,
        listed_since: Option<Timestamp>,
    ) -> Result<LeaseResult, CallError> {
        let standby = &self.snapshots.standby;
        let steps = approved.steps().iter();
        let changes = steps.filter_map(|step| lf_tag_change(step, standby));
        let Some(change) = changes.max() else {
            return Ok(LeaseResult::Held);
        };
        let (now, stop_at) = (self.context.clock.now(), self.context.stop_at);
        let of_run = self.lf_tag_lease_of_run.clone();
        let (known, started) = (self.known_disturbance, self.started);
        if let Some(held) = &self.lf_tag_lease {
            let is_undisturbed = {
                let mut shared = of_run.lock();
                shared.date_deaths(now);
                let ends_soon = |lease: &LfTagLease| lease.ends_soon(now);
                !shared.written.as_ref().is_none_or(ends_soon)
                    && !shared.is_disturbed(known, started)
            };
            if held.turn.allows(change) && is_undisturbed {
                return Ok(LeaseResult::Held);
            }
            if !held.turn.allows(change) {
                self.give_back_lf_tag_lease().await;
            }
        }
        let is_first = self.lf_tag_lease.is_none();
        let turn = match (self.lf_tag_lease.is_some(), Turn::at_once(&of_run, change)) {
            (true, _) => None,
            (false, Some(turn)) => Some(turn),
            (false, None) if self.narrows_first(approved) => return Ok(LeaseResult::NarrowsFirst),
            (false, None) => {
                let Some(turn) = Turn::wait(&of_run, change, (stop_at, now)).await else {
                    return Ok(LeaseResult::OutOfTime);
                };
                Some(turn)
            }
        };
        let now = self.context.clock.now();
        let Some(writing) = time_limit::before(of_run.writing.lock(), (stop_at, now)).await else {
            return Ok(LeaseResult::OutOfTime);
        };
        let now = self.context.clock.now();
        if stop_at.is_some_and(|stop_at| now >= stop_at) {
            return Ok(LeaseResult::OutOfTime);
        }
        // Who joins others renews the lease: its writes may take longer than is left of it.
        if let Some(until) = of_run.write(self.context.ledger, now, stop_at).await? {
            return Ok(LeaseResult::Busy(until));
        }
        let mut shared = of_run.lock();
        if let Some(turn) = turn {
            shared.holders += 1;
            self.lf_tag_lease = Some(HeldLease {
                of_run: of_run.clone(),
                turn,
                is_given_back: false,
            });
        }
        shared.date_deaths(now);
        let since_all = listed_since.map_or(started, |listed| listed.min(started));
        let is_disturbed = shared.is_disturbed(known, since_all);
        self.known_disturbance = shared.disturbed_at;
        let since = |since: Timestamp| shared.earlier_holder(of_run.holder, change, since);
        let result = match (since(self.started), listed_since.map(since)) {
            _ if is_disturbed => EarlierHolder::Died,
            _ if !is_first => EarlierHolder::None,
            // Only what was listed before this session began is older.
            (EarlierHolder::None, Some(EarlierHolder::None) | None) => EarlierHolder::None,
            (EarlierHolder::None, Some(_)) => EarlierHolder::SameRun,
            (earlier, _) => earlier,
        };
        drop(shared);
        drop(writing);
        Ok(self.read_again_after(result))
    }

    /// Whether a plan takes access away by steps that need no lease, and this session has not let its other
    /// steps wait for these before.
    fn narrows_first(&self, approved: &ApprovedPlan) -> bool {
        let standby = &self.snapshots.standby;
        let narrows =
            |step: &Step| lf_tag_change(step, standby).is_none() && may_narrow(step, standby);
        !self.has_narrowed_first && approved.steps().iter().any(narrows)
    }

    /// Holds the changes of access by LF-Tags of a plan until the rest of it was applied.
    pub(super) fn narrow_first(&mut self, plan: &Plan) {
        self.has_narrowed_first = true;
        let standby = &self.snapshots.standby;
        let changes = plan.steps.iter();
        let changes = changes.filter(|step| lf_tag_change(step, standby).is_some());
        for target in changes.map(Step::target) {
            let reason = "another reconciliation of this run changes access by LF-Tags".to_owned();
            self.excluded_steps.targets.insert(target.clone(), reason);
            self.awaiting_turn.insert(target);
        }
    }

    /// Plans again what waited until the rest of its plan was applied. Returns whether something did.
    pub(super) fn resume_lf_tag_changes(&mut self) -> bool {
        let awaiting = std::mem::take(&mut self.awaiting_turn);
        for target in &awaiting {
            self.excluded_steps.targets.remove(target);
        }
        !awaiting.is_empty()
    }

    fn read_again_after(&mut self, earlier: EarlierHolder) -> LeaseResult {
        match earlier {
            EarlierHolder::None => return LeaseResult::Held,
            EarlierHolder::SameRun => {
                // Other databases may have suspended grants by LF-Tags.
                let is_item = |subject: &Subject| matches!(subject, Subject::LakeFormation(_));
                self.read_requests.clone_from(&self.scope.read_requests);
                self.read_requests.retain(|subject, _| is_item(subject));
                for snapshot in [&mut self.snapshots.primary, &mut self.snapshots.standby] {
                    snapshot
                        .attachments
                        .retain(|(subject, _), _| !is_item(subject));
                }
            }
            EarlierHolder::OtherRun => self.reread_everything(),
            EarlierHolder::Died => {
                let permissions = Subject::LakeFormation(LfSubject::Permissions);
                let facets = [Facet::Definition, Facet::Grants];
                self.scope
                    .add(permissions, ReadRequest::for_facets(&facets));
                self.reread_everything();
            }
        }
        LeaseResult::ReadsAgain
    }

    /// Lets the changes of access by LF-Tags of a plan wait for a later message: until another run's lease
    /// ends, or because time ran out.
    pub(super) fn postpone_lf_tag_changes(&mut self, plan: &Plan, until: Option<Timestamp>) {
        let reason = match until {
            Some(until) => {
                format!(
                    "another run changes access by LF-Tags, and has reserved that until {until}"
                )
            }
            None => "time ran out before access by LF-Tags was changed".to_owned(),
        };
        let standby = &self.snapshots.standby;
        let changes = plan.steps.iter();
        let changes: Vec<(Step, bool)> = changes
            .filter(|step| lf_tag_change(step, standby).is_some())
            .map(|step| (step.clone(), takes_access_away(step, standby)))
            .collect();
        for (step, takes_access_away) in changes {
            let held = &mut self.excluded_steps.targets;
            held.insert(step.target(), reason.clone());
            if takes_access_away {
                let region = self.context.standby.region();
                let operation = "the lease on LF-Tags";
                let kind = CallErrorKind::Contended;
                let error = CallError::new(kind, operation, region, &reason);
                self.outcome.unrevoked.push((step.clone(), error));
            }
            self.postponed.push((step, reason.clone()));
        }
        self.outcome.awaits_lease = until;
        self.outcome.out_of_time |= until.is_none();
    }

    /// Gives the lease back; the last reconciliation of the run that holds it gives it back to others.
    /// If that fails, it ends by itself, and whoever takes it then restores what this session may have
    /// suspended.
    pub(super) async fn give_back_lf_tag_lease(&mut self) {
        let Some(mut held) = self.lf_tag_lease.take() else {
            return;
        };
        let of_run = held.of_run.clone();
        let _writing = of_run.writing.lock().await;
        let now = self.context.clock.now();
        if !held.end(now) {
            return;
        }
        let ledger = self.context.ledger;
        let item = LfTagLeaseItem { ledger };
        let given_back = versioned_item::update(&item, None, |stored| match stored {
            Some(lease) if lease.holder == of_run.holder => {
                ItemUpdate::Put(lease.given_back(now), ())
            }
            Some(_) | None => ItemUpdate::Keep(()),
        });
        drop(given_back.await);
        of_run.lock().written = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InMemoryLedger;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    async fn held_alone(of_run: &LfTagLeaseOfRun) -> HeldLease {
        of_run.lock().holders += 1;
        HeldLease {
            of_run: of_run.clone(),
            turn: Turn::Alone {
                _guard: of_run.turn.clone().write_owned().await,
            },
            is_given_back: false,
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_turn_after_the_end_of_the_invocation() {
        let of_run = LfTagLeaseOfRun::default();
        let held = held_alone(&of_run).await;
        for change in [LfTagChange::Assignments, LfTagChange::Grants] {
            let turn = Turn::wait(&of_run, change, (Some(at(9)), at(10)));
            let limit = std::time::Duration::from_secs(20);
            let turn = tokio::time::timeout(limit, turn).await;
            assert!(turn.unwrap().is_none(), "{change:?}");
        }
        drop(held);
        let times = (Some(at(11)), at(10));
        let turn = Turn::wait(&of_run, LfTagChange::Grants, times);
        assert!(turn.await.is_some());
    }

    #[tokio::test]
    async fn every_reconciliation_that_began_before_learns_that_one_died() {
        let of_run = LfTagLeaseOfRun::default();
        drop(held_alone(&of_run).await);
        let mut shared = of_run.lock();
        shared.date_deaths(at(10));
        let died = shared.disturbed_at;
        for _ in 0..2 {
            assert!(shared.is_disturbed(None, at(9)));
        }
        assert!(!shared.is_disturbed(died, at(9)), "it has read everything");
        assert!(!shared.is_disturbed(None, at(11)), "it began later");
    }

    #[tokio::test]
    async fn a_lease_that_was_given_back_disturbs_nobody() {
        let of_run = LfTagLeaseOfRun::default();
        assert!(held_alone(&of_run).await.end(at(10)));
        let mut shared = of_run.lock();
        shared.date_deaths(at(11));
        assert!(!shared.is_disturbed(None, at(0)));
        let earlier = shared.earlier_holder(1, LfTagChange::Assignments, at(10));
        assert_eq!(earlier, EarlierHolder::SameRun);
    }

    #[tokio::test]
    async fn a_run_learns_that_another_held_its_lease_after_that_had_ended() {
        let (ledger, run) = (InMemoryLedger::default(), LfTagLeaseOfRun::default());
        let other = LfTagLeaseOfRun::default();
        assert_eq!(run.write(&ledger, at(0), None).await.unwrap(), None);
        assert_eq!(run.write(&ledger, at(900), None).await.unwrap(), None);
        assert!(!run.lock().is_disturbed(None, at(0)), "it was renewed");
        let until = other.write(&ledger, at(901), None).await.unwrap();
        let until = until.unwrap();
        assert_eq!(other.write(&ledger, until, None).await.unwrap(), None);
        let until = run.write(&ledger, until, None).await.unwrap().unwrap();
        assert_eq!(run.write(&ledger, until, None).await.unwrap(), None);
        assert!(run.lock().is_disturbed(None, at(0)));
    }
}
