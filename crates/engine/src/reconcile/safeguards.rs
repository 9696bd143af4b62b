//! Checks and records before a write: the deletion limit, intents, moved databases.

use super::paging::deferred_reason;
use super::session::Session;
use crate::observe::observation_of_own;
use crate::ports::{Clock, Environment, Ledger, ReadRegion};
use std::collections::BTreeSet;
use twinlake_core::audit::{self, DeletionBudget, Rejection};
use twinlake_core::catalog::{Comparable as _, MaybeLink as _, Observed, digest};
use twinlake_core::ledger::{LedgerRows, ObjectCounts};
use twinlake_core::snapshot::Observation;
use twinlake_core::{
    ApprovedPlan, CallError, Database, LedgerRow, Name, Plan, Step, Subject, SubjectState, TableId,
};

/// How often a plan is made again without the steps that the audit rejected.
const MAX_REPLANS: u32 = 4;

impl<E: Environment> Session<'_, E> {
    /// Audits a plan. If steps of it are rejected, they are held back and the rest is planned again;
    /// at last only what takes access away is left. Returns `None` if nothing can be applied;
    /// `plan` is the last plan.
    pub(super) async fn approve(
        &mut self,
        rows: &LedgerRows,
        plan: &mut Plan,
    ) -> Result<Option<ApprovedPlan>, CallError> {
        for replans in 0..=MAX_REPLANS {
            if plan.is_empty() {
                return Ok(None);
            }
            let deletion_budget = self.deletion_budget(plan).await?;
            let audited = audit::audit(&self.inputs(rows), plan.clone(), &deletion_budget);
            let rejections = match audited {
                Ok(approved) => return Ok(Some(approved)),
                Err(rejections) => rejections,
            };
            let reason = rejections.first().map(Rejection::to_string);
            self.hold_rejected(rejections);
            if replans + 1 >= MAX_REPLANS {
                self.held_steps.opening = reason;
            }
            *plan = self.plan(rows);
        }
        Ok(None)
    }

    /// The deletions that the deletion limit compares a plan with.
    pub(super) async fn deletion_budget(&self, plan: &Plan) -> Result<DeletionBudget, CallError> {
        if audit::deletions(&plan.steps) == ObjectCounts::default() {
            return Ok(DeletionBudget::default());
        }
        let ledger = self.context.ledger;
        let recent = ledger
            .deletions_in_last_hour(self.context.clock.now())
            .await?;
        Ok(DeletionBudget {
            paired: ledger.paired_counts().await?,
            // Deletions that this session charged before are attempted again, not additional.
            deleted_last_hour: subtract(&recent, &self.charged_deletions),
            upcoming: ObjectCounts {
                partitions: self
                    .snapshots
                    .deferred
                    .values()
                    .map(|deferred| deferred.missing_in_primary.len())
                    .sum(),
                ..ObjectCounts::default()
            },
            approved: self.context.deletions_approved && self.page_rounds <= 1,
        })
    }

    /// Records in the ledger what the plan is about to create and delete. After a crash the
    /// objects that Twinlake created are recognised, and the deletion limit has counted the
    /// deletions.
    pub(super) async fn record_intents(
        &mut self,
        rows: &LedgerRows,
        approved: &ApprovedPlan,
    ) -> Result<(), CallError> {
        let now = self.context.clock.now();
        let mut intended: LedgerRows = LedgerRows::new();
        for step in approved.steps() {
            let digest = match step {
                Step::CreateDatabase { database } => digest(&database.clone().into_comparable()),
                Step::CreateTable { table, .. } => digest(&table.clone().into_comparable()),
                Step::CreateFunction { function, .. } => digest(function),
                Step::UpdateDatabase { .. }
                | Step::UpdateTable { .. }
                | Step::CreatePartition { .. }
                | Step::UpdatePartition { .. }
                | Step::UpdateFunction { .. }
                | Step::DeleteFunction { .. }
                | Step::PutAttachment { .. }
                | Step::PutSettings { .. }
                | Step::RemoveAttachment { .. }
                | Step::Grant { .. }
                | Step::Revoke { .. }
                | Step::DeletePartition { .. }
                | Step::DeleteTable { .. }
                | Step::DeleteDatabase { .. } => continue,
            };
            let subject = step.subject();
            let old = rows.get(&subject).cloned();
            let row = old
                .unwrap_or_else(|| LedgerRow::new(subject.clone(), SubjectState::OutOfSync, now));
            let intent_digest = Some(digest);
            intended.insert(
                subject,
                LedgerRow {
                    intent_digest,
                    ..row
                },
            );
        }
        for (id, deferred) in &self.snapshots.deferred {
            let subject = Subject::Table(id.clone());
            let known_row = intended
                .remove(&subject)
                .or_else(|| rows.get(&subject).cloned());
            if let Some(row) = known_row {
                let out_of_sync = LedgerRow {
                    state: SubjectState::OutOfSync,
                    reason: Some(deferred_reason(deferred)),
                    ..row
                };
                intended.insert(subject, out_of_sync);
            }
        }
        if !intended.is_empty() {
            let rows: Vec<LedgerRow> = intended.into_values().collect();
            self.context.ledger.put_rows(&rows).await?;
        }
        for step in approved.steps() {
            // The primary's full listing lacked the partition. Later rounds read by name and may
            // delete it, too.
            if let Step::DeletePartition { id, values } = step {
                self.allow_partition_deletion(id, values);
                self.tables_with_deletions.insert(id.clone());
            }
        }
        let deletions = audit::deletions(approved.steps());
        if deletions != ObjectCounts::default() {
            let additional = subtract(&deletions, &self.charged_deletions);
            if additional != ObjectCounts::default() {
                self.context
                    .ledger
                    .record_deletions(now, &additional)
                    .await?;
            }
            self.charged_deletions = deletions;
        }
        Ok(())
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
            let current = observation_of_own(self.context.standby.database(&name).await);
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

/// Subtracts counts by kind, down to 0.
pub(super) fn subtract(a: &ObjectCounts, b: &ObjectCounts) -> ObjectCounts {
    ObjectCounts {
        databases: a.databases.saturating_sub(b.databases),
        tables: a.tables.saturating_sub(b.tables),
        partitions: a.partitions.saturating_sub(b.partitions),
    }
}
