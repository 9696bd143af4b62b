//! What a run takes upon itself before it writes, and what it leaves for later.

use super::work::Work;
use crate::observe::KEPT;
use crate::ports::{Clock, Ledger, ReadRegion};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::audit::{self, BrakeReading};
use twinlake_core::ledger::{Rows, Tally};
use twinlake_core::scope::{Facet, Look};
use twinlake_core::sweep::Values;
use twinlake_core::{ApprovedPlan, Fault, Plan, Row, Scope, State, Step, Subject};

impl<P, S, L, C> Work<'_, P, S, L, C>
where
    P: ReadRegion,
    S: ReadRegion,
    L: Ledger,
    C: Clock,
{
    pub(super) async fn brake(&self, plan: &Plan) -> Result<BrakeReading, Fault> {
        if audit::deletions(&plan.steps) == Tally::default() {
            return Ok(BrakeReading::default());
        }
        // What this run was charged before is being tried again, not spent anew.
        let spent = self.context.ledger.spent(self.context.clock.now()).await?;
        let own = &self.charged;
        Ok(BrakeReading {
            paired: self.context.ledger.paired().await?,
            spent: minus(&spent, own),
            released: self.context.brake_released && self.rounds <= 1,
        })
    }

    /// Writes down what is about to be made and deleted, before it is: after a
    /// crash our own objects are recognised, and the brake has counted.
    pub(super) async fn intend(
        &mut self,
        rows: &Rows,
        approved: &ApprovedPlan,
    ) -> Result<(), Fault> {
        let now = self.context.clock.now();
        let mut intended = Vec::new();
        for step in approved.steps() {
            let digest = match step {
                Step::CreateDatabase { database } => twinlake_core::catalog::digest(database),
                Step::CreateTable { table, .. } => twinlake_core::catalog::digest(table),
                Step::CreateFunction { function, .. } => twinlake_core::catalog::digest(function),
                Step::UpdateDatabase { .. }
                | Step::UpdateTable { .. }
                | Step::CreatePartition { .. }
                | Step::UpdatePartition { .. }
                | Step::UpdateFunction { .. }
                | Step::DeleteFunction { .. }
                | Step::PutPart { .. }
                | Step::RemovePart { .. }
                | Step::Grant { .. }
                | Step::Revoke { .. }
                | Step::DeletePartition { .. }
                | Step::DeleteTable { .. }
                | Step::DeleteDatabase { .. } => continue,
            };
            let subject = step.subject();
            let old = rows.get(&subject).cloned();
            let row = old.unwrap_or_else(|| Row::new(subject, State::Behind, now));
            intended.push(Row {
                intended: Some(digest),
                ..row
            });
        }
        for (id, later) in &self.readings.later {
            let subject = Subject::Table(id.clone());
            if let Some(row) = rows.get(&subject).filter(|row| row.pairing.is_some()) {
                intended.push(Row {
                    state: State::Behind,
                    reason: Some(format!("{} of its partitions are to follow", later.len())),
                    ..row.clone()
                });
            }
        }
        if !intended.is_empty() {
            self.context.ledger.put_rows(&intended).await?;
        }
        let goes = audit::deletions(approved.steps());
        if goes != Tally::default() {
            let anew = minus(&goes, &self.charged);
            if anew != Tally::default() {
                self.context.ledger.spend(now, &anew).await?;
            }
            self.charged = goes;
        }
        Ok(())
    }

    /// Goes on to the next share of the partitions that differ and were not kept whole,
    /// if there are any and there is time.
    pub(super) fn take_more(&mut self, plan: &Plan) -> bool {
        let now = self.context.clock.now();
        let mut next: BTreeMap<Subject, Look> = BTreeMap::new();
        let mut left = 0;
        let late = self.context.stop_at.is_some_and(|stop_at| now >= stop_at);
        for (id, later) in &mut self.readings.later {
            left += later.len();
            let share: BTreeSet<Values> = later.drain(later.len().saturating_sub(KEPT)..).collect();
            let look = next.entry(Subject::Table(id.clone())).or_default();
            look.values = share;
        }
        self.readings.later.retain(|_, later| !later.is_empty());
        if next.is_empty() {
            return false;
        }
        if late {
            let mut scope = Scope::default();
            for subject in next.into_keys() {
                scope.look(subject, Look::at(&[Facet::Definition, Facet::Partitions]));
            }
            let reason = format!("time ran out with {left} partitions to go");
            self.outcome.waiting = Some((scope, reason));
            self.outcome.out_of_time = true;
            return false;
        }
        self.earlier.extend(plan.findings.iter().cloned());
        self.looks = next;
        self.rounds = 0;
        true
    }
}

pub(super) fn minus(a: &Tally, b: &Tally) -> Tally {
    Tally {
        databases: a.databases.saturating_sub(b.databases),
        tables: a.tables.saturating_sub(b.tables),
        partitions: a.partitions.saturating_sub(b.partitions),
    }
}
