//! What a run takes upon itself before it writes, and what it leaves for later.

use super::work::Work;
use crate::observe::{Later, observe_own};
use crate::ports::{Clock, Ledger, ReadRegion};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::audit::{self, BrakeReading};
use twinlake_core::catalog::{Linkable as _, Seen};
use twinlake_core::ledger::{Rows, Tally};
use twinlake_core::plan::Finding;
use twinlake_core::reading::{Observation, Partitions, Reading};
use twinlake_core::scope::{Facet, Look};
use twinlake_core::sweep::Values;
use twinlake_core::{
    ApprovedPlan, Database, Fault, Name, Plan, Row, Scope, State, Step, Subject, TableId,
};

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
            to_follow: Tally {
                partitions: self.readings.later.values().map(|l| l.gone.len()).sum(),
                ..Tally::default()
            },
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
        let mut intended: Rows = Rows::new();
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
                | Step::PutSettings { .. }
                | Step::RemovePart { .. }
                | Step::Grant { .. }
                | Step::Revoke { .. }
                | Step::DeletePartition { .. }
                | Step::DeleteTable { .. }
                | Step::DeleteDatabase { .. } => continue,
            };
            let subject = step.subject();
            let old = rows.get(&subject).cloned();
            let row = old.unwrap_or_else(|| Row::new(subject.clone(), State::Behind, now));
            let intended_digest = Some(digest);
            intended.insert(
                subject,
                Row {
                    intended: intended_digest,
                    ..row
                },
            );
        }
        for (id, later) in &self.readings.later {
            let subject = Subject::Table(id.clone());
            let known = intended
                .remove(&subject)
                .or_else(|| rows.get(&subject).cloned());
            if let Some(row) = known {
                let behind = Row {
                    state: State::Behind,
                    reason: Some(to_follow(later)),
                    ..row
                };
                intended.insert(subject, behind);
            }
        }
        if !intended.is_empty() {
            let rows: Vec<Row> = intended.into_values().collect();
            self.context.ledger.put_rows(&rows).await?;
        }
        for step in approved.steps() {
            // A later round reads by name, and what all listings lacked may go then, too.
            if let Step::DeletePartition { id, values } = step {
                self.may_delete(id, values);
                self.deleting.insert(id.clone());
            }
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
        // What could not be read in this share would not be in the next one.
        let unread = |partitions: &Observation<Partitions>| match partitions {
            Observation::Unknown(_) => true,
            Observation::Present(_) | Observation::Absent(_) => false,
        };
        let is_unread =
            |reading: &Reading, id: &TableId| reading.partitions.get(id).is_some_and(unread);
        let (primary, secondary) = (&self.readings.primary, &self.readings.secondary);
        let open = |id: &&TableId| !is_unread(primary, id) && !is_unread(secondary, id);
        let tables: Vec<TableId> = self.readings.later.keys().filter(open).cloned().collect();
        if tables.is_empty() {
            return false;
        }
        let now = self.context.clock.now();
        let late = self.context.stop_at.is_some_and(|stop_at| now >= stop_at);
        if late && (self.shares > 0 || self.outcome.rounds > 1) {
            let mut scope = Scope::default();
            let mut left = 0;
            for id in tables {
                left += self.readings.later.get(&id).map_or(0, Later::len);
                let subject = Subject::Table(id);
                let asked = self.asked.looks.get(&subject);
                let look = Look {
                    partition_deletion_named: asked
                        .is_some_and(|look| look.partition_deletion_named),
                    ..Look::at(&[Facet::Definition, Facet::Partitions])
                };
                scope.look(subject, look);
            }
            let reason = format!("time ran out with {left} partitions to go");
            self.outcome.waiting = Some((scope, reason));
            self.outcome.out_of_time = true;
            return false;
        }
        self.earlier.extend(plan.findings.iter().cloned());
        self.looks = self.next_share(&tables);
        self.shares += 1;
        self.rounds = 0;
        true
    }

    /// Whether a database that is about to be written in is another one by now, or has
    /// become a link: whatever were written in its name would be written in its target.
    /// What was asked for by name in this very round is not asked for again.
    pub(super) async fn has_moved(&mut self, approved: &ApprovedPlan) -> bool {
        let mut made: BTreeSet<Name> = BTreeSet::new();
        let mut written: BTreeSet<Name> = BTreeSet::new();
        for step in approved.steps() {
            if let Step::CreateDatabase { database } = step {
                made.insert(database.name.clone());
            }
            let subject = step.subject();
            // A table that is there was told by its creation time.
            let anew = matches!(step, Step::CreateTable { .. } | Step::CreateFunction { .. });
            if anew || matches!(subject, Subject::Database(_)) {
                written.extend(subject.database().cloned());
            }
        }
        let asked = &self.readings.asked;
        written.retain(|name| !made.contains(name) && !asked.contains(name));
        let mut moved = false;
        for name in written {
            let now = observe_own(self.context.secondary.database(&name).await);
            let then = self.readings.secondary.databases.get(&name);
            let identity = |seen: Option<&Seen<Database>>| seen.map(|s| (s.created, s.is_link()));
            let then = identity(then.and_then(Observation::present));
            moved |= then != identity(now.present());
            self.readings.asked.insert(name.clone());
            self.readings.secondary.databases.insert(name, now);
        }
        moved
    }

    /// What the secondary confirmed need not be read again there; should the primary
    /// lack it by then, it was only just made here and goes.
    pub(super) fn confirm(&mut self, step: &Step) {
        if let Step::CreatePartition { id, partition }
        | Step::UpdatePartition { id, partition, .. } = step
        {
            let values = partition.values.clone();
            if matches!(step, Step::CreatePartition { .. }) {
                self.may_delete(id, &values);
            }
            let confirmed = self.confirmed.entry(id.clone()).or_default();
            confirmed.insert(values, Some(partition.clone()));
        }
        if let Step::DeletePartition { id, values } = step {
            let confirmed = self.confirmed.entry(id.clone()).or_default();
            confirmed.insert(values.clone(), None);
        }
    }

    /// Notes that a partition may be deleted whatever a later listing shows.
    pub(super) fn may_delete(&mut self, id: &TableId, values: &[String]) {
        let look = self.scope.looks.entry(Subject::Table(id.clone()));
        look.or_default().deletable.insert(values.to_vec());
    }

    pub(super) fn count_partition(&mut self, step: &Step) {
        if let Step::CreatePartition { id, .. } = step
            && let Some(count) = self.partitions.get_mut(id)
        {
            *count += 1;
        }
        if let Step::DeletePartition { id, .. } = step
            && let Some(count) = self.partitions.get_mut(id)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// Remembers what a look at all partitions of a table found: a later round, which
    /// looks at some by name, would not.
    pub(super) fn remember_trouble(&mut self, plan: &Plan) {
        for (subject, standing) in &plan.standings {
            if standing.partitions.is_none() {
                continue;
            }
            let reason = standing.reason.clone().unwrap_or_default();
            match standing.state {
                State::Current | State::DataPending => {
                    self.trouble.remove(subject);
                }
                State::Held | State::Behind | State::Blocked => {
                    self.trouble
                        .insert(subject.clone(), (standing.state, reason));
                    let about = |finding: &&Finding| finding.subject == *subject;
                    self.earlier
                        .extend(plan.findings.iter().filter(about).cloned());
                }
            }
        }
    }

    fn next_share(&mut self, tables: &[TableId]) -> BTreeMap<Subject, Look> {
        // Where the first share of what the primary lacks was not deleted, the others
        // are not either.
        for (id, later) in &mut self.readings.later {
            if !self.deleting.contains(id) {
                later.gone.clear();
            }
        }
        let mut next: BTreeMap<Subject, Look> = BTreeMap::new();
        let mut room = self.keep;
        for id in tables {
            let Some(later) = self.readings.later.get_mut(id) else {
                continue;
            };
            let mut take = |from: &mut Vec<Values>| {
                let some = from.split_off(from.len() - room.min(from.len()));
                room -= some.len();
                some
            };
            let (changed, gone) = (take(&mut later.changed), take(&mut later.gone));
            for values in &gone {
                let look = self.scope.looks.entry(Subject::Table(id.clone()));
                look.or_default().deletable.insert(values.clone());
            }
            let values: BTreeSet<Values> = changed.into_iter().chain(gone).collect();
            if !values.is_empty() {
                next.entry(Subject::Table(id.clone())).or_default().values = values;
            }
        }
        self.readings.later.retain(|_, later| !later.is_empty());
        next
    }
}

/// Why a table is behind while partitions of it are left for later.
pub(super) fn to_follow(later: &Later) -> String {
    format!("{} of its partitions are to follow", later.len())
}

pub(super) fn minus(a: &Tally, b: &Tally) -> Tally {
    Tally {
        databases: a.databases.saturating_sub(b.databases),
        tables: a.tables.saturating_sub(b.tables),
        partitions: a.partitions.saturating_sub(b.partitions),
    }
}
