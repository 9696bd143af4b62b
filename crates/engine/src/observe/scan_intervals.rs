//! What a resync leaves to the schedule of scans: of tables in sync, what has no listing across
//! tables and is not due.

use super::dependencies::has_filter_grants;
use super::{Observer, Snapshots};
use crate::ports::ReadRegion;
use twinlake_core::policy::{DataCellsFilterScan, ScanInterval};
use twinlake_core::snapshot::Observation;
use twinlake_core::{Facet, Subject, SubjectState, TableId};

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Whether this run reads a facet of a table. Everything is read of a table that is not known to be
    /// in sync, or that was created since it was paired.
    fn is_due(&self, id: &TableId, facet: Facet, snapshots: &Snapshots) -> bool {
        let Some(window) = self.scan_window else {
            return true;
        };
        let interval = match facet {
            Facet::Partitions => self.policy.partition_scan,
            Facet::Indexes | Facet::Statistics | Facet::DataCellsFilters => {
                self.policy.attachment_scan
            }
            Facet::Definition
            | Facet::Contents
            | Facet::Grants
            | Facet::GlueTags
            | Facet::LfTagAssignments
            | Facet::OptIns
            | Facet::Items => ScanInterval::EveryResync,
        };
        window.contains(interval, id)
            || self.changed_tables.contains(id)
            || !self.is_in_sync_as_paired(id, snapshots)
    }

    /// Whether a scan reads a facet of a table; if not, records that it is left to the schedule.
    /// The grants on the table are read before: filters that somebody is granted are always read.
    pub(super) fn reads_or_leaves(
        &self,
        id: &TableId,
        facet: Facet,
        snapshots: &mut Snapshots,
    ) -> bool {
        if facet == Facet::DataCellsFilters {
            if has_filter_grants(&Subject::Table(id.clone()), snapshots) {
                return true;
            }
            if self.policy.data_cells_filter_scan == DataCellsFilterScan::Granted {
                // Only a read of the filters ends a problem with them.
                let row = self.rows.get(&Subject::Table(id.clone()));
                let row = row.filter(|row| row.state != SubjectState::InSync);
                return row.is_some_and(|row| row.problem_facets.contains(&facet));
            }
        }
        let is_due = self.is_due(id, facet, snapshots);
        if !is_due {
            let left = snapshots.left_to_schedule.entry(id.clone()).or_default();
            left.insert(facet);
        }
        is_due
    }

    /// Whether the ledger says that a table is in sync, and both Regions list the tables that it pairs.
    fn is_in_sync_as_paired(&self, id: &TableId, snapshots: &Snapshots) -> bool {
        let row = self.rows.get(&Subject::Table(id.clone()));
        let row = row.filter(|row| row.state == SubjectState::InSync && row.intents.is_empty());
        let Some(pairing) = row.and_then(|row| row.pairing.as_ref()) else {
            return false;
        };
        let sites = [
            (&snapshots.primary, self.epoch.primary()),
            (&snapshots.standby, self.epoch.standby()),
        ];
        sites.into_iter().all(|(snapshot, site)| {
            let observed = snapshot.tables.get(id).and_then(Observation::present);
            observed.is_some_and(|table| table.created == pairing.created_in(site))
        })
    }
}
