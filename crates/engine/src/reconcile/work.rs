//! One reconciliation under way.

use super::after::{alone, drop_idle, facets_after, is_creation, is_for_good, is_index, values_of};
use super::relist::listing_calls;
use super::share::minus;
use super::{Context, Outcome, ROUNDS};
use crate::apply::{Applied, Done};
use crate::observe::{Confirmed, KEPT, Observer, Prefetched, Readings};
use crate::ports::{Clock, Ledger, ReadRegion};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::audit;
use twinlake_core::ledger::{Rows, Tally};
use twinlake_core::plan::{Finding, Inputs};
use twinlake_core::reading::{Observation, Partitions};
use twinlake_core::scope::{DATABASE_ITSELF, Facet, Look};
use twinlake_core::{
    ApprovedPlan, Fault, FaultKind, Lake, Plan, Scope, State, Step, Subject, TableId,
};

pub(super) struct Work<'a, P, S, L, C> {
    pub(super) context: &'a Context<'a, P, S, L, C>,
    pub(super) scope: Scope,
    /// What is read in the next round.
    pub(super) looks: BTreeMap<Subject, Look>,
    pub(super) readings: Readings,
    pub(super) outcome: Outcome,
    /// Grants whose revoke the service has confirmed in this run.
    pub(super) revoked: BTreeSet<twinlake_core::Atom>,
    /// Deletions that this run was charged for and has not made yet.
    pub(super) charged: Tally,
    /// How many partitions the secondary's tables hold, where all were looked at.
    pub(super) partitions: BTreeMap<TableId, usize>,
    /// Findings on partitions that are done with.
    pub(super) earlier: BTreeSet<Finding>,
    /// How often both sides were read for the present share of the work.
    pub(super) rounds: u32,
    /// The shares of partitions that were taken up after the first one.
    pub(super) shares: u32,
    /// What was asked for, as it is sent again where something has to wait.
    pub(super) asked: Scope,
    /// What the secondary confirmed in the last round.
    pub(super) confirmed: Confirmed,
    /// What a look at all of a table's partitions found to be in the way.
    pub(super) trouble: BTreeMap<Subject, (State, String)>,
    /// Tables of which partitions are deleted, since all of the primary's lack them.
    pub(super) deleting: BTreeSet<TableId>,
    /// Steps that concern only themselves and have to wait, while the rest goes on.
    pub(super) aside: Vec<(Step, Fault)>,
    /// How many partitions are kept whole in one round.
    pub(super) keep: usize,
    /// Calls that the last listing of all grants took, on both sides.
    pub(super) listing: Option<usize>,
}

impl<'a, P, S, L, C> Work<'a, P, S, L, C>
where
    P: ReadRegion,
    S: ReadRegion,
    L: Ledger,
    C: Clock,
{
    /// Adds the database to the scope where it is not known to be paired: nothing
    /// is written into a database that is not.
    pub(super) async fn begin(
        context: &'a Context<'a, P, S, L, C>,
        scope: &Scope,
    ) -> Result<Self, Fault> {
        let mut scope = scope.clone();
        let parents: BTreeSet<Subject> = scope
            .looks
            .keys()
            .filter(|subject| matches!(subject, Subject::Table(_) | Subject::Function(_)))
            .filter_map(|subject| subject.database().cloned().map(Subject::Database))
            .collect();
        let rows = context.ledger.rows(&parents).await?;
        for parent in parents {
            let pairing = rows.get(&parent).and_then(|row| row.pairing.as_ref());
            if pairing.is_none_or(|pairing| pairing.link) {
                scope.look(parent, Look::at(&DATABASE_ITSELF));
            }
        }
        let looks = scope.looks.clone();
        let asked = scope.clone();
        Ok(Self {
            context,
            scope,
            looks,
            readings: Readings::default(),
            outcome: Outcome::default(),
            revoked: BTreeSet::new(),
            charged: Tally::default(),
            partitions: BTreeMap::new(),
            earlier: BTreeSet::new(),
            rounds: 0,
            shares: 0,
            asked,
            confirmed: Confirmed::new(),
            trouble: BTreeMap::new(),
            deleting: BTreeSet::new(),
            aside: Vec::new(),
            keep: KEPT,
            listing: None,
        })
    }

    pub(super) async fn rows(&self) -> Result<Rows, Fault> {
        let mut subjects: BTreeSet<Subject> = BTreeSet::new();
        let mut rows = Rows::new();
        for (subject, look) in &self.scope.looks {
            match subject {
                Subject::Database(name) if look.facets.contains(&Facet::Contents) => {
                    rows.extend(self.context.ledger.rows_in(name).await?);
                }
                Subject::Catalog
                | Subject::Lake(_)
                | Subject::Database(_)
                | Subject::Table(_)
                | Subject::Function(_) => {
                    if matches!(subject, Subject::Lake(_)) {
                        // What is paired of one bears on the grants of another.
                        subjects.extend(Lake::EVERY.map(Subject::Lake));
                    }
                    subjects.insert(subject.clone());
                    let parent = subject.database().cloned().map(Subject::Database);
                    subjects.extend(parent);
                }
            }
        }
        subjects.retain(|subject| !rows.contains_key(subject));
        rows.extend(self.context.ledger.rows(&subjects).await?);
        Ok(rows)
    }

    pub(super) async fn observe(&mut self, prefetched: &Prefetched) -> Result<Rows, Fault> {
        let rows = self.rows().await?;
        self.listing = listing_calls(prefetched).or(self.listing);
        let is_late = || {
            let stop_at = self.context.stop_at;
            stop_at.is_some_and(|stop_at| self.context.clock.now() >= stop_at)
        };
        let confirmed = std::mem::take(&mut self.confirmed);
        self.readings.asked.clear();
        let terms = crate::observe::terms(self.context.policy, self.context.epoch);
        for reading in [&mut self.readings.primary, &mut self.readings.secondary] {
            reading.tag_grants = None;
            reading.tagged.clear();
        }
        let observer = Observer {
            room: Cell::new(self.keep),
            confirmed: &confirmed,
            is_late: &is_late,
            shares: self.context.stop_at.is_some() && self.outcome.rounds <= 1,
            primary: self.context.primary,
            secondary: self.context.secondary,
            policy: self.context.policy,
            epoch: self.context.epoch,
            terms: &terms,
            reader: self.context.reader,
            ours: self.context.ours,
            rows: &rows,
            parallel: self.context.parallel,
            prefetched,
        };
        let asks_settings = !self.scope.suspects.is_empty();
        observer
            .read(&self.looks, asks_settings, &mut self.readings)
            .await;
        self.forget_revoked();
        for (id, seen) in &self.readings.primary.partitions {
            let there = self.readings.secondary.partitions.get(id);
            let total = match (seen, there) {
                // A table that is about to be made has none.
                (Observation::Present(_), None) => Some(0),
                (Observation::Present(_), Some(there)) => {
                    there.present().and_then(Partitions::total)
                }
                (Observation::Absent(_) | Observation::Unknown(_), _) => None,
            };
            if let Some(total) = total {
                self.partitions.entry(id.clone()).or_insert(total);
            }
        }
        Ok(rows)
    }

    pub(super) fn inputs<'i>(&'i self, rows: &'i Rows) -> Inputs<'i> {
        Inputs {
            scope: &self.scope,
            epoch: self.context.epoch,
            policy: self.context.policy,
            primary: &self.readings.primary,
            secondary: &self.readings.secondary,
            rows,
            ours: self.context.ours,
            reader: self.context.reader,
        }
    }

    /// The plan, without what has already failed for good in this run.
    pub(super) fn plan(&self, rows: &Rows) -> Plan {
        let mut plan = twinlake_core::plan(&self.inputs(rows));
        let given_up: BTreeSet<Subject> = self
            .outcome
            .failed
            .iter()
            .filter(|(step, _)| alone(step).is_none())
            .map(|(step, _)| step.subject())
            .collect();
        let mut left: BTreeSet<Subject> = BTreeSet::new();
        let mut indexed: BTreeSet<Subject> = BTreeSet::new();
        let made: BTreeSet<Subject> = plan
            .steps
            .iter()
            .filter(|s| is_creation(s))
            .map(Step::subject)
            .collect();
        if !self.context.writes_settings {
            plan.steps
                .retain(|step| !matches!(step, Step::PutSettings { .. }));
        }
        plan.steps.retain(|step| {
            let late = self.is_aside(step);
            let mut out = late || self.rests_on(&given_up, step);
            // One index of a table at a time (GL-06), but for those that come with it.
            if !out && is_index(step) && !made.contains(&step.subject()) {
                out = !indexed.insert(step.subject());
                return !out;
            }
            if out {
                left.insert(step.subject());
            }
            !out
        });
        if !left.is_empty() {
            drop_idle(&mut plan.steps);
        }
        // What is left out did not come about, and is not to be written down as if.
        for subject in left {
            if let Some(standing) = plan.standings.get_mut(&subject)
                && standing.state == State::Current
            {
                standing.state = State::Behind;
                standing.reason = Some("something that it rests on failed".to_owned());
            }
        }
        plan
    }

    /// A revoke that the service has confirmed counts, even if a listing still shows
    /// the grant: lists show what is not there (LF-07).
    fn forget_revoked(&mut self) {
        for grants in self.readings.secondary.grants.values_mut() {
            if let Observation::Present(grants) = grants {
                grants.retain(|atom, _| !self.revoked.contains(atom));
            }
        }
        if let Some(Observation::Present(tags)) = &mut self.readings.secondary.tag_grants {
            tags.grants.retain(|atom, _| !self.revoked.contains(atom));
        }
    }

    fn is_aside(&self, step: &Step) -> bool {
        let one = alone(step);
        one.is_some() && self.aside.iter().any(|(other, _)| alone(other) == one)
    }

    /// Whether a step is left out, since something it rests on failed for good.
    fn rests_on(&self, given_up: &BTreeSet<Subject>, step: &Step) -> bool {
        if let Step::Revoke { atom, .. } = step {
            let same = |(failed, _): &(Step, Fault)| matches!(failed, Step::Revoke { atom: other, .. } if other == atom);
            return self.outcome.failed.iter().any(same);
        }
        if let Some(one) = alone(step) {
            let mut failed = self.outcome.failed.iter();
            if failed.any(|(other, _)| alone(other).as_ref() == Some(&one)) {
                return true;
            }
        }
        let subject = step.subject();
        let parent = subject.database().cloned().map(Subject::Database);
        let below = parent
            .as_ref()
            .is_some_and(|parent| given_up.contains(parent));
        let whole = matches!(step, Step::DeleteDatabase { .. })
            || step.phase() == twinlake_core::step::Phase::Wildcards;
        let above = whole
            && given_up
                .iter()
                .any(|other| other.database() == subject.database());
        given_up.contains(&subject) || below || above
    }

    /// Takes the outcomes in and decides what to read again. Answers whether
    /// another round can help.
    pub(super) fn absorb(&mut self, approved: &ApprovedPlan, applied: &Applied) -> bool {
        let mut next: BTreeMap<Subject, Look> = BTreeMap::new();
        let mut passing: Option<Fault> = None;
        for (step, done) in approved.steps().iter().zip(&applied.outcomes) {
            let subject = step.subject();
            match done {
                Some(done @ (Done::Applied | Done::WasSo)) => {
                    self.outcome.unrevoked.retain(|(other, _)| other != step);
                    self.remember_grant(step);
                    self.settle_charge(step);
                    self.count_partition(step);
                    self.confirm(step);
                    if *done == Done::Applied {
                        self.outcome.note(step);
                    }
                }
                Some(Done::Failed(fault)) if is_for_good(fault) => {
                    self.outcome.failed.push((step.clone(), fault.clone()));
                }
                Some(Done::Failed(fault))
                    if fault.kind == FaultKind::NotYet && alone(step).is_some() =>
                {
                    self.aside.push((step.clone(), fault.clone()));
                }
                Some(Done::Failed(fault)) => {
                    self.outcome.unrevoked.retain(|(other, _)| other != step);
                    if matches!(step, Step::Revoke { .. }) {
                        self.outcome.unrevoked.push((step.clone(), fault.clone()));
                    }
                    passing = Some(fault.clone());
                }
                Some(Done::Skipped) | None => {}
            }
            let look = next.entry(subject.clone()).or_default();
            look.facets.extend(facets_after(step));
            look.values.extend(values_of(step).map(<[String]>::to_vec));
            if let Some(asked) = self.scope.looks.get(&subject) {
                look.deletion_named |= asked.deletion_named;
                look.partition_deletion_named |= asked.partition_deletion_named;
            }
            // Proven for the plan that did it, so the ledger may forget it.
            look.deletion_named |= matches!(done, Some(Done::Applied | Done::WasSo))
                && matches!(
                    step,
                    Step::DeleteTable { .. }
                        | Step::DeleteFunction { .. }
                        | Step::DeleteDatabase { .. }
                );
        }
        for (subject, look) in &mut next {
            if let Some(asked) = self.scope.looks.get(subject) {
                look.deletable.clone_from(&asked.deletable);
            }
        }
        self.looks = next;
        let waits = passing.filter(|fault| {
            matches!(fault.kind, FaultKind::NotYet | FaultKind::Unavailable)
                || self.rounds >= ROUNDS
        });
        match waits {
            Some(fault) => {
                let mut rest = self.asked.clone();
                rest.suspects.clone_from(&self.scope.suspects);
                self.outcome.waiting = Some((rest, fault.to_string()));
                false
            }
            None => true,
        }
    }

    /// A deletion that was made is no longer charged for another try.
    fn settle_charge(&mut self, step: &Step) {
        let made = audit::deletions(std::slice::from_ref(step));
        self.charged = minus(&self.charged, &made);
    }

    /// What was granted here is a suspect from now on: should the primary lack it
    /// in a later round, it is revoked whatever the secondary's listing shows,
    /// since that listing may be one write old.
    pub(super) fn remember_grant(&mut self, step: &Step) {
        match step {
            Step::Grant { atom, grantable } => {
                self.scope.suspects.insert(atom.clone(), *grantable);
                self.revoked.remove(atom);
            }
            Step::Revoke { atom, .. } => {
                self.scope.suspects.remove(atom);
                self.revoked.insert(atom.clone());
            }
            Step::CreateDatabase { .. }
            | Step::UpdateDatabase { .. }
            | Step::CreateTable { .. }
            | Step::UpdateTable { .. }
            | Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeleteFunction { .. }
            | Step::PutPart { .. }
            | Step::PutSettings { .. }
            | Step::RemovePart { .. }
            | Step::DeletePartition { .. }
            | Step::DeleteTable { .. }
            | Step::DeleteDatabase { .. } => {}
        }
    }
}
