//! What a resync leaves to the schedule of scans: of tables in sync, what has no listing across
//! tables, or what searches show to be equal, and is not due.

use super::dependencies::has_filter_grants;
use super::{Observer, Snapshots};
use crate::ports::ReadRegion;
use twinlake_core::catalog::MaybeLink as _;
use twinlake_core::policy::{DataCellsFilterScan, ScanInterval};
use twinlake_core::snapshot::Observation;
use twinlake_core::{Facet, Name, Subject, SubjectState, TableId, Timestamp};

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
            // A search showed the same LF-Tags in both Regions. It does not tell what is assigned from what
            // is inherited.
            Facet::LfTagAssignments if self.has_equal_lf_tags(id) => self.policy.attachment_scan,
            Facet::LfTagAssignments => ScanInterval::EveryResync,
            Facet::Definition
            | Facet::Contents
            | Facet::Grants
            | Facet::GlueTags
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

    /// Whether searches showed the same LF-Tags of a table in both Regions.
    fn has_equal_lf_tags(&self, id: &TableId) -> bool {
        let differing = self.prefetched.tables_with_differing_lf_tags.as_ref();
        differing.is_some_and(|differing| !differing.contains(id))
    }

    /// Whether searches showed the same LF-Tags of a database in sync in both Regions: they show them with each of
    /// its tables. They are read when the first of these is due.
    pub(super) fn has_equal_lf_tags_in(&self, name: &Name, snapshots: &Snapshots) -> bool {
        let (Some(window), Some(differing)) = (
            self.scan_window,
            self.prefetched.tables_with_differing_lf_tags.as_ref(),
        ) else {
            return false;
        };
        let databases = [&snapshots.primary, &snapshots.standby].map(|snapshot| {
            let observed = snapshot.databases.get(name);
            observed
                .and_then(Observation::present)
                .map(|one| one.created)
        });
        if !self.is_paired_in_sync(&Subject::Database(name.clone()), databases) {
            return false;
        }
        let mut tables = snapshots.primary.tables.iter();
        let first = tables.find(|(id, _)| id.database == *name && is_in_both(id, snapshots));
        first.is_some_and(|(id, _)| !window.contains(self.policy.attachment_scan, id))
            && !differing.iter().any(|id| id.database == *name)
    }

    /// Whether the ledger says that a table is in sync, and both Regions list the tables that it pairs.
    fn is_in_sync_as_paired(&self, id: &TableId, snapshots: &Snapshots) -> bool {
        let tables = [&snapshots.primary, &snapshots.standby].map(|snapshot| {
            let observed = snapshot.tables.get(id);
            observed
                .and_then(Observation::present)
                .map(|one| one.created)
        });
        self.is_paired_in_sync(&Subject::Table(id.clone()), tables)
    }

    /// Whether the ledger says that a subject is in sync, and pairs what was created at these times in the
    /// primary and in the standby.
    fn is_paired_in_sync(
        &self,
        subject: &Subject,
        [primary, standby]: [Option<Option<Timestamp>>; 2],
    ) -> bool {
        let row = self.rows.get(subject);
        let row = row.filter(|row| row.state == SubjectState::InSync && row.intents.is_empty());
        row.and_then(|row| row.pairing.as_ref())
            .is_some_and(|pairing| {
                primary == Some(pairing.created_in(self.epoch.primary()))
                    && standby == Some(pairing.created_in(self.epoch.standby()))
            })
    }
}

/// Whether both Regions have a table that is no resource link.
fn is_in_both(id: &TableId, snapshots: &Snapshots) -> bool {
    [&snapshots.primary, &snapshots.standby]
        .iter()
        .all(|snapshot| {
            let observed = snapshot.tables.get(id).and_then(Observation::present);
            observed.is_some_and(|table| !table.is_link())
        })
}
