//! Takes the lease on changes of access by LF-Tags before such changes, and gives it back.

use super::session::Session;
use crate::ports::{Clock, Environment};
use crate::versioned_item::{self, ItemUpdate, LfTagLeaseItem};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use tokio::sync::{Mutex, MutexGuard};
use twinlake_core::ledger::{EarlierHolder, LfTagLease};
use twinlake_core::plan::changes_access_by_lf_tags;
use twinlake_core::scope::{Facet, ReadRequest};
use twinlake_core::{ApprovedPlan, CallError, LfSubject, Plan, Step, Subject, Timestamp};

/// What the reconciliations of one run share of the lease: the run holds it for one of them at a time.
#[derive(Debug)]
pub struct LfTagLeaseOfRun {
    holder: u64,
    turn: Mutex<()>,
}

impl Default for LfTagLeaseOfRun {
    fn default() -> Self {
        Self {
            holder: RandomState::new().build_hasher().finish(),
            turn: Mutex::new(()),
        }
    }
}

/// The lease as a session holds it.
pub(super) struct HeldLease<'a> {
    lease: LfTagLease,
    /// Keeps the other reconciliations of the run waiting.
    turn: Option<MutexGuard<'a, ()>>,
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
}

impl<'a, E: Environment> Session<'a, E> {
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
        let mut steps = approved.steps().iter();
        if !steps.any(|step| changes_access_by_lf_tags(step, standby)) {
            return Ok(LeaseResult::Held);
        }
        let now = self.context.clock.now();
        let of_run = self.context.lf_tag_lease;
        let (known, turn) = match (self.lf_tag_lease.take(), of_run) {
            (Some(held), _) if !held.lease.ends_soon(now) => {
                self.lf_tag_lease = Some(held);
                return Ok(LeaseResult::Held);
            }
            (Some(held), _) => (Some(held.lease), held.turn),
            (None, Some(of_run)) => (None, Some(of_run.turn.lock().await)),
            (None, None) => (None, None),
        };
        let now = self.context.clock.now();
        if self.context.stop_at.is_some_and(|stop_at| now >= stop_at) {
            return Ok(LeaseResult::Busy(now));
        }
        let (lease, earlier) = match self.write_lease(now).await? {
            Ok(leases) => leases,
            Err(until) => return Ok(LeaseResult::Busy(until)),
        };
        let holder = lease.holder;
        self.lf_tag_lease = Some(HeldLease { lease, turn });
        let is_renewed = known.is_some() && known == earlier;
        let earlier = earlier.filter(|_| !is_renewed);
        let earlier_holder = |since: Timestamp| {
            let earlier = earlier.as_ref();
            earlier.map_or(EarlierHolder::None, |one| one.earlier_holder(holder, since))
        };
        let listed = listed_since.map_or(EarlierHolder::None, earlier_holder);
        Ok(match (earlier_holder(self.started), listed) {
            (EarlierHolder::None, EarlierHolder::None) => LeaseResult::Held,
            // Only what was listed before this session began is older.
            (EarlierHolder::None, _) => self.read_again_after(EarlierHolder::SameRun),
            (earlier, _) => self.read_again_after(earlier),
        })
    }

    /// Stores the lease of this run. Returns it with the lease before it, or when the lease of another
    /// run ends.
    async fn write_lease(
        &self,
        now: Timestamp,
    ) -> Result<Result<(LfTagLease, Option<LfTagLease>), Timestamp>, CallError> {
        let of_run = self.context.lf_tag_lease;
        let holder = of_run.map_or(self.run, |of_run| of_run.holder);
        let stop_at = self.context.stop_at;
        let ledger = self.context.ledger;
        let item = LfTagLeaseItem { ledger };
        versioned_item::update(&item, None, |stored: Option<LfTagLease>| {
            let other = stored.as_ref();
            match other.and_then(|lease| lease.held_by_other_until(holder, now)) {
                Some(until) => ItemUpdate::Keep(Err(until)),
                None => {
                    let lease = LfTagLease::taken(holder, now, stop_at, stored.as_ref());
                    ItemUpdate::Put(lease.clone(), Ok((lease, stored)))
                }
            }
        })
        .await
    }

    fn read_again_after(&mut self, earlier: EarlierHolder) -> LeaseResult {
        match earlier {
            EarlierHolder::None => return LeaseResult::Held,
            EarlierHolder::SameRun => {
                // Other databases may have suspended grants by LF-Tags, which the next plan asks for.
                let is_item = |subject: &Subject| matches!(subject, Subject::LakeFormation(_));
                self.needed.retain(|(subject, _)| !is_item(subject));
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

    /// Lets the changes of access by LF-Tags of a plan wait for a later message.
    pub(super) fn postpone_lf_tag_changes(&mut self, plan: &Plan, until: Timestamp) {
        let reason = match until > self.context.clock.now() {
            true => {
                format!(
                    "another run changes access by LF-Tags, and has reserved that until {until}"
                )
            }
            false => "time ran out while another run changed access by LF-Tags".to_owned(),
        };
        let standby = &self.snapshots.standby;
        let changes = plan.steps.iter();
        let changes: Vec<Step> = changes
            .filter(|step| changes_access_by_lf_tags(step, standby))
            .cloned()
            .collect();
        for step in changes {
            let held = &mut self.held_steps.targets;
            held.insert(step.target(), reason.clone());
            self.postponed.push((step, reason.clone()));
        }
        self.outcome.awaits_lease = Some(until);
    }

    /// Gives the lease back. If that fails, it ends by itself, and whoever takes it then restores what
    /// this session may have suspended.
    pub(super) async fn give_back_lf_tag_lease(&mut self) {
        let Some(held) = self.lf_tag_lease.take() else {
            return;
        };
        let ledger = self.context.ledger;
        let now = self.context.clock.now();
        let item = LfTagLeaseItem { ledger };
        let given_back = versioned_item::update(&item, None, |stored| match stored {
            Some(lease) if lease.holder == held.lease.holder => {
                ItemUpdate::Put(lease.given_back(now), ())
            }
            Some(_) | None => ItemUpdate::Keep(()),
        });
        drop(given_back.await);
    }
}
