//! Checks and records before a write: the deletion limit, moved databases.

use super::session::Session;
use crate::observe::{DeferredRead, database_by_name};
use crate::ports::{Clock, Environment, Ledger};
use crate::versioned_item::{self, DeletionLogItem, ItemUpdate};
use std::collections::BTreeSet;
use twinlake_core::audit::{self, DeletionBudget, Rejection};
use twinlake_core::catalog::{MaybeLink as _, Observed};
use twinlake_core::ledger::{LedgerRows, ObjectCounts};
use twinlake_core::snapshot::Observation;
use twinlake_core::step::StepTarget;
use twinlake_core::{ApprovedPlan, CallError, Database, Name, Plan, Step, Subject, TableId};

/// How often a plan is made again without the steps that the audit rejected.
const MAX_REPLANS: u32 = 4;

impl<E: Environment> Session<'_, E> {
    /// Before this session writes under another policy than the last complete resync run had: what it
    /// writes, the next run must read.
    pub(super) async fn forget_other_policy(&mut self) -> Result<(), CallError> {
        if std::mem::replace(&mut self.compared_policy, true) {
            return Ok(());
        }
        let (ledger, digest) = (self.context.ledger, self.context.policy.digest());
        let run = ledger.verified_run().await?;
        if run.is_some_and(|run| !run.policy_digest.is_empty() && run.policy_digest != digest) {
            ledger.forget_verified_policy().await?;
        }
        Ok(())
    }

    /// Audits a plan. If steps of it are rejected, they are held back and the rest is planned again;
    /// at last only what takes access away is left. Returns `None` if nothing can be applied;
    /// `plan` is the last plan. `spends` says that the plan is about to be applied: then its
    /// deletions are counted in the ledger.
    pub(super) async fn approve(
        &mut self,
        rows: &LedgerRows,
        plan: &mut Plan,
        spends: bool,
    ) -> Result<Option<ApprovedPlan>, CallError> {
        for replans in 0..=MAX_REPLANS {
            if plan.is_empty() {
                return Ok(None);
            }
            let rejections = match self.audit(rows, plan, spends).await? {
                Ok(approved) => {
                    if spends {
                        self.charged_deletions = audit::deletions(approved.steps());
                    }
                    return Ok(Some(approved));
                }
                Err(rejections) => rejections,
            };
            let reason = rejections.first().map(Rejection::to_string);
            self.hold_rejected(rejections);
            if replans + 1 >= MAX_REPLANS {
                self.excluded_steps.widening = reason;
            }
            *plan = self.plan(rows);
        }
        Ok(None)
    }

    /// Audits a plan, and counts its deletions against the deletion limit if it is approved and
    /// `spends`. Both are one conditional write: if another run has deleted something
    /// meanwhile, the plan is audited again.
    async fn audit(
        &self,
        rows: &LedgerRows,
        plan: &Plan,
        spends: bool,
    ) -> Result<Result<ApprovedPlan, Vec<Rejection>>, CallError> {
        let inputs = self.inputs(rows);
        let deletions = audit::deletions(&plan.steps);
        if deletions == ObjectCounts::default() {
            let budget = DeletionBudget::default();
            return Ok(audit::audit(&inputs, plan.clone(), &budget));
        }
        let ledger = self.context.ledger;
        let paired = ledger.paired_counts().await?;
        let additional = deletions.minus(self.charged_deletions);
        let now = self.context.clock.now();
        let item = DeletionLogItem { ledger };
        versioned_item::update(&item, None, |log| {
            let log = log.unwrap_or_default();
            let budget = self.deletion_budget(paired, log.last_hour(now));
            let audited = audit::audit(&inputs, plan.clone(), &budget);
            match audited.is_ok() && spends && additional != ObjectCounts::default() {
                true => ItemUpdate::Put(log.with(now, additional), audited),
                false => ItemUpdate::Keep(audited),
            }
        })
        .await
    }

    /// The deletions that the deletion limit compares a plan with.
    fn deletion_budget(&self, paired: ObjectCounts, last_hour: ObjectCounts) -> DeletionBudget {
        let approved = self.context.approved_deletions;
        let limited_in = |id: &TableId, deferred: &DeferredRead| {
            let missing = deferred.missing_in_primary.iter();
            let targets = missing.map(|values| StepTarget::Partition(id.clone(), values.clone()));
            targets.filter(|target| !approved.contains(target)).count()
        };
        let deferred = self.snapshots.deferred.iter();
        DeletionBudget {
            paired,
            // Deletions that this session charged before are attempted again, not additional.
            deleted_last_hour: last_hour.minus(self.charged_deletions),
            upcoming: ObjectCounts {
                partitions: deferred
                    .map(|(id, deferred)| limited_in(id, deferred))
                    .sum(),
                ..ObjectCounts::default()
            },
            approved: approved.clone(),
        }
    }

    /// Allows the partition deletions of a plan in later rounds, too: the primary's full listing
    /// lacked the partitions, and later rounds read by name.
    pub(super) fn allow_partition_deletions(&mut self, approved: &ApprovedPlan) {
        for step in approved.steps() {
            if let Step::DeletePartition { id, values } = step {
                self.allow_partition_deletion(id, values);
                self.tables_with_deletions.insert(id.clone());
            }
        }
    }

    /// Reads again the standby's databases that the plan writes into, and returns whether one was
    /// replaced or became a resource link: writes through a link go to its target. Databases
    /// that this round read by name are not read again.
    pub(super) async fn databases_changed(&mut self, approved: &ApprovedPlan) -> bool {
        let mut created: BTreeSet<Name> = BTreeSet::new();
        let mut written: BTreeSet<Name> = BTreeSet::new();
        for step in approved.steps() {
            if let Step::CreateDatabase { database } = step {
                created.insert(database.name.clone());
            }
            let subject = step.subject();
            // The creation time of an existing table already identifies it.
            let creates = matches!(step, Step::CreateTable { .. } | Step::CreateFunction { .. });
            if creates || matches!(subject, Subject::Database(_)) {
                written.extend(subject.database().cloned());
            }
        }
        let checked = &self.snapshots.checked_databases;
        written.retain(|name| !created.contains(name) && !checked.contains(name));
        let mut changed = false;
        for name in written {
            let current = database_by_name(self.context.standby, &name).await;
            let earlier = self.snapshots.standby.databases.get(&name);
            let identity = |observed: Option<&Observed<Database>>| {
                observed.map(|database| (database.created, database.is_link()))
            };
            let earlier = identity(earlier.and_then(Observation::present));
            changed |= earlier != identity(current.present());
            self.snapshots.checked_databases.insert(name.clone());
            self.snapshots.standby.databases.insert(name, current);
        }
        changed
    }

    /// Allows the deletion of a partition in later rounds, whatever their listings show.
    pub(super) fn allow_partition_deletion(&mut self, id: &TableId, values: &[String]) {
        let requests = &mut self.scope.read_requests;
        let request = requests.entry(Subject::Table(id.clone())).or_default();
        request.deletable_partitions.insert(values.to_vec());
    }
}
