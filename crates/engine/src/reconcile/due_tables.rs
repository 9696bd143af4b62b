//! Which tables' files are to be relocated or looked at after a session.

use super::session::Session;
use crate::iceberg;
use crate::ports::{Clock as _, Environment};
use twinlake_core::catalog::{Observed, Table};
use twinlake_core::iceberg_replica::{DueIcebergTable, IcebergEntry, METADATA_LOCATION};
use twinlake_core::ledger::LedgerRows;
use twinlake_core::log_replica::LoggedTable;
use twinlake_core::policy::IcebergPolicy;
use twinlake_core::snapshot::Observation;
use twinlake_core::{LedgerRow, Plan, Subject, SubjectState, TableId};

/// A table whose files are to be relocated or looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DueTable {
    /// An Iceberg table.
    Iceberg(DueIcebergTable),
    /// A table of Delta or Hudi, or with symlink manifests.
    Logged(LoggedTable),
}

impl<E: Environment> Session<'_, E> {
    /// Records the tables whose files are to be relocated or looked at: those that Twinlake manages or is to
    /// create.
    pub(super) fn record_due_tables(&mut self, rows: &LedgerRows, plan: &Plan) {
        // This policy comes with the rights to read the files of tables.
        if self.context.policy.iceberg != IcebergPolicy::Relocate {
            return;
        }
        for (subject, outcome) in &plan.subject_outcomes {
            let Subject::Table(id) = subject else {
                continue;
            };
            let table = self.snapshots.primary.tables.get(id);
            let Some(table) = table.and_then(Observation::present) else {
                continue;
            };
            let row = rows.get(subject);
            let due = match table.object.is_iceberg() {
                true => self.due_iceberg_table(id, table, (row, outcome.state)),
                false => self.due_logged_table(table, (row, outcome.state)),
            };
            if let Some(due) = due {
                self.outcome.unrelocated.insert(id.clone(), due);
            }
        }
    }

    fn due_iceberg_table(
        &self,
        id: &TableId,
        table: &Observed<Table>,
        (row, state): (Option<&LedgerRow>, SubjectState),
    ) -> Option<DueTable> {
        let entry = IcebergEntry::of(table)?;
        let replica = row.and_then(|row| row.iceberg.as_ref());
        let may_follow = match state {
            SubjectState::InSync | SubjectState::OutOfSync | SubjectState::DataPending => true,
            // Refused, which may have been by another policy; or somebody else's.
            SubjectState::Blocked => replica.is_some_and(|replica| replica.is_refused(&entry)),
            // Held by the policy.
            SubjectState::OnHold => false,
        };
        let found_with = iceberg::found_with(self.context.policy);
        let now = self.context.clock.now();
        let is_due = replica.is_none_or(|replica| replica.is_due(&entry, &found_with, now));
        if !may_follow || !is_due {
            return None;
        }
        let standby = self.snapshots.standby.tables.get(id);
        let standby = standby.and_then(Observation::present);
        let pointer = standby.and_then(|one| one.object.parameters.get(METADATA_LOCATION));
        Some(DueTable::Iceberg(DueIcebergTable {
            entry,
            standby_pointer: pointer.cloned(),
        }))
    }

    fn due_logged_table(
        &self,
        table: &Observed<Table>,
        (row, state): (Option<&LedgerRow>, SubjectState),
    ) -> Option<DueTable> {
        let table = LoggedTable::of(table)?;
        let replica = row.and_then(|row| row.log.as_ref());
        let may_look = match state {
            SubjectState::InSync | SubjectState::OutOfSync | SubjectState::DataPending => true,
            // By paths that lead out of the table; or somebody else's.
            SubjectState::Blocked => replica.is_some_and(|replica| replica.leads_out()),
            SubjectState::OnHold => false,
        };
        let now = self.context.clock.now();
        let is_due = replica.is_none_or(|replica| replica.is_due(&table, now));
        (may_look && is_due).then_some(DueTable::Logged(table))
    }
}
