//! Reads tables by name.

use super::attachments::record_attachments;
use super::databases::database_by_name;
use super::partitions::{record_listed, record_named};
use super::{
    Observer, Snapshots, TABLE_ATTACHMENT_FACETS, absent_by_name, join, may_mean_absence,
    observation_without_target_fields, read_error_of, run_concurrently,
};
use crate::ports::ReadRegion;
use futures_util::future::join3;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::Observed;
use twinlake_core::scope::{Facet, ReadRequest};
use twinlake_core::snapshot::{Observation, Snapshot};
use twinlake_core::{CallError, CallErrorKind, Name, Subject, Table, TableId};

/// If at least this many tables of one database are requested, the database is listed instead.
const LISTING_MIN_TABLES: usize = 3;

/// A table in the primary and in the standby.
pub(super) type TableDefinition<'i> = (
    &'i TableId,
    Observation<Observed<Table>>,
    Observation<Observed<Table>>,
);

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Reads tables as requested, from their definitions where these were requested, and other attachments.
    /// Of new tables it reads every facet.
    pub(super) async fn read_tables(
        &self,
        read_requests: &[(&TableId, &ReadRequest)],
        definitions: Vec<TableDefinition<'_>>,
        mut attachments: Vec<(Subject, Facet)>,
        snapshots: &mut Snapshots,
    ) {
        let requesting = |facet: Facet| {
            read_requests
                .iter()
                .filter(move |(_, request)| request.facets.contains(&facet))
                .map(|(id, _)| *id)
        };
        let wanted: Vec<&TableId> = requesting(Facet::Definition).collect();
        self.record_table_definitions(definitions, snapshots).await;
        // Of tables that are about to be created, everything is read, whatever was requested.
        let new_tables: BTreeSet<&TableId> = wanted
            .iter()
            .copied()
            .filter(|id| self.is_new(id, snapshots))
            .collect();
        // Tables that a resync requests by name are those of a part.
        let is_scan = self.prefetched.tables_by_name && self.scan_window.is_some();
        if is_scan {
            let scanned: Vec<Subject> = subjects_of(requesting(Facet::Grants));
            self.read_grants_of(&scanned, snapshots).await;
        }
        let mut is_read = |id: &TableId, facet: Facet| {
            !is_scan || new_tables.contains(id) || self.reads_or_leaves(id, facet, snapshots)
        };
        let partitioned: BTreeSet<&TableId> = requesting(Facet::Partitions)
            .chain(new_tables.clone())
            .filter(|id| is_read(id, Facet::Partitions))
            .collect();
        let of_tables: BTreeSet<(&TableId, Facet)> = TABLE_ATTACHMENT_FACETS
            .into_iter()
            .flat_map(|facet| {
                requesting(facet)
                    .chain(new_tables.clone())
                    .map(move |id| (id, facet))
            })
            .filter(|(id, facet)| is_read(id, *facet))
            .collect();
        let of_tables = of_tables.into_iter();
        attachments.extend(of_tables.map(|(id, facet)| (Subject::Table(id.clone()), facet)));
        let by_values = read_requests.iter().filter_map(|(id, request)| {
            let is_named = !request.partition_values.is_empty() && !partitioned.contains(id);
            is_named.then_some((*id, &request.partition_values))
        });
        let partitioned: Vec<&TableId> = partitioned.iter().copied().collect();
        let (listed, named, read) = join3(
            self.list_partitions(&partitioned, snapshots),
            self.get_partitions_by_values(by_values, snapshots),
            self.get_attachments(&attachments, snapshots),
        )
        .await;
        record_listed(listed, snapshots);
        record_named(named, snapshots);
        record_attachments(read, snapshots);
        // Grants are read after what they show.
        let mut with_grants: BTreeSet<&TableId> = requesting(Facet::Grants).collect();
        // No table is created and no column is added before the grants on it are known.
        with_grants.extend(
            requesting(Facet::Definition).filter(|id| has_different_columns(id, snapshots)),
        );
        self.read_grants_of(&subjects_of(with_grants.into_iter()), snapshots)
            .await;
        let databases: BTreeSet<&Name> = requesting(Facet::Definition)
            .filter(|id| has_different_columns(id, snapshots))
            .map(|id| &id.database)
            .filter(|name| {
                let own = Subject::Database((*name).clone());
                !snapshots.standby.grants.contains_key(&own)
            })
            .collect();
        for database in databases {
            self.read_all_tables_grants(database, snapshots).await;
        }
    }

    /// Adds the definitions of tables to the snapshots. If a Region lacks one, adds the proof of its absence.
    async fn record_table_definitions(
        &self,
        definitions: Vec<TableDefinition<'_>>,
        snapshots: &mut Snapshots,
    ) {
        let mut missing_in_primary = Vec::new();
        let mut missing_in_standby = Vec::new();
        for (id, primary, standby) in definitions {
            let primary_is_absent = matches!(primary, Observation::Absent(_));
            let standby_is_absent = matches!(standby, Observation::Absent(_));
            let may_exist = self.requires_absence_proof(&Subject::Table(id.clone()));
            let is_refused =
                [read_error_of(&primary), read_error_of(&standby)].map(|one| one.is_some());
            if primary_is_absent && (standby.present().is_some() || may_exist || is_refused[0]) {
                missing_in_primary.push(id);
            }
            if standby_is_absent && (may_exist || is_refused[1]) {
                missing_in_standby.push(id);
            }
            snapshots.primary.tables.insert(id.clone(), primary);
            snapshots.standby.tables.insert(id.clone(), standby);
            // A write into a database that is a resource link goes to the link's target.
            let is_same_as_paired = self.pairing_of(id).is_some_and(|pairing| {
                let standby_table = snapshots
                    .standby
                    .tables
                    .get(id)
                    .and_then(Observation::present);
                !pairing.link
                    && standby_table.is_some_and(|table| {
                        table.created == pairing.created_in(self.epoch.standby())
                    })
            });
            let may_write =
                primary_is_absent != standby_is_absent || !(is_same_as_paired || primary_is_absent);
            if may_write && !snapshots.standby.databases.contains_key(&id.database) {
                let database = database_by_name(self.standby, &id.database).await;
                snapshots.checked_databases.insert(id.database.clone());
                snapshots
                    .standby
                    .databases
                    .insert(id.database.clone(), database);
            }
        }
        prove_table_absences(self.primary, &missing_in_primary, &mut snapshots.primary).await;
        prove_table_absences(self.standby, &missing_in_standby, &mut snapshots.standby).await;
    }

    /// Whether the primary's table has no counterpart yet, or was recreated since it was paired.
    fn is_new(&self, id: &TableId, snapshots: &Snapshots) -> bool {
        let primary = snapshots
            .primary
            .tables
            .get(id)
            .and_then(Observation::present);
        let standby = snapshots
            .standby
            .tables
            .get(id)
            .and_then(Observation::present);
        let Some(primary) = primary else {
            return false;
        };
        let pairing = self.pairing_of(id);
        standby.is_none()
            || pairing
                .is_some_and(|pairing| pairing.created_in(self.epoch.primary()) != primary.created)
    }

    /// Reads tables by name, or by listing if many tables of one database are requested. Tables that a
    /// listing lacks are read by name: only that answer can be "not found".
    pub(super) async fn get_tables<'i>(&self, ids: &[&'i TableId]) -> Vec<TableDefinition<'i>> {
        let mut counts: BTreeMap<&Name, usize> = BTreeMap::new();
        for id in ids {
            *counts.entry(&id.database).or_default() += 1;
        }
        let by_name = self.prefetched.tables_by_name;
        let counts = counts.into_iter();
        let databases = counts.filter(|(_, count)| *count >= LISTING_MIN_TABLES && !by_name);
        let calls = databases.map(|(database, _)| async move {
            let listed = join(self.primary.tables(database), self.standby.tables(database));
            (database, listed.await)
        });
        type TablesByName = BTreeMap<Name, Observed<Table>>;
        let mut listed: BTreeMap<&Name, (TablesByName, TablesByName)> = BTreeMap::new();
        for (database, (primary, standby)) in
            run_concurrently(calls, self.max_concurrent_calls).await
        {
            let by_name = |tables: Result<Vec<Observed<Table>>, CallError>| -> TablesByName {
                let tables = tables.unwrap_or_default().into_iter();
                tables
                    .map(|table| (table.object.name.clone(), table))
                    .collect()
            };
            listed.insert(database, (by_name(primary), by_name(standby)));
        }
        let calls = ids.iter().map(|id| {
            let listing = listed.get(&id.database);
            let listed_primary = listing.and_then(|(primary, _)| primary.get(&id.table).cloned());
            let listed_standby = listing.and_then(|(_, standby)| standby.get(&id.table).cloned());
            async move {
                let primary = async {
                    match listed_primary {
                        Some(observed) => Ok(observed),
                        None => self.primary.table(id).await,
                    }
                };
                let standby = async {
                    match listed_standby {
                        Some(observed) => Ok(observed),
                        None => self.standby.table(id).await,
                    }
                };
                let (primary, standby) = join(primary, standby).await;
                (
                    *id,
                    observation_without_target_fields(primary),
                    observation_without_target_fields(standby),
                )
            }
        });
        run_concurrently(calls, self.max_concurrent_calls).await
    }
}

fn subjects_of<'i>(ids: impl Iterator<Item = &'i TableId>) -> Vec<Subject> {
    ids.map(|id| Subject::Table(id.clone())).collect()
}

/// Adds to tables that a Region does not know by name whether the complete listing of their database
/// lacks them too.
async fn prove_table_absences<R: ReadRegion>(
    region: &R,
    missing: &[&TableId],
    snapshot: &mut Snapshot,
) {
    let mut by_database: BTreeMap<&Name, Vec<&TableId>> = BTreeMap::new();
    for id in missing {
        by_database.entry(&id.database).or_default().push(id);
    }
    for (database, ids) in by_database {
        let listed = region.tables(database).await;
        let absent_database = match &listed {
            Err(error) => absence_of_parent(region, database, error).await,
            Ok(_) => None,
        };
        for id in ids {
            let read_error = snapshot.tables.get(id).and_then(read_error_of).cloned();
            let names = |all: &[Observed<Table>]| {
                let names = all.iter().map(|observed| &observed.object.name);
                absent_by_name(&id.table, names, read_error.as_ref())
            };
            let observed = match (&absent_database, &listed) {
                (Some(absent), _) => absent.clone(),
                (None, Ok(all)) => names(all),
                (None, Err(error)) => Observation::Unknown(error.clone()),
            };
            snapshot.tables.insert(id.clone(), observed);
        }
    }
}

/// Adds to a database that a Region does not know by name whether the complete listing lacks it too.
/// The absence of a database is that of everything in it.
pub(super) async fn prove_database_absence<R: ReadRegion, T>(
    region: &R,
    name: &Name,
    read_error: Option<&CallError>,
) -> Observation<T> {
    match region.databases().await {
        Ok(all) => {
            let names = all.iter().map(|observed| &observed.object.name);
            absent_by_name(name, names, read_error)
        }
        Err(error) => Observation::Unknown(error),
    }
}

/// The absence of the database of objects that could not be listed in it, if the error may mean
/// that it is missing and the listing of databases lacks it.
pub(super) async fn absence_of_parent<R: ReadRegion, T>(
    region: &R,
    database: &Name,
    error: &CallError,
) -> Option<Observation<T>> {
    if !may_mean_absence(error.kind) {
        return None;
    }
    let read_error = (error.kind != CallErrorKind::NotFound).then_some(error);
    Some(prove_database_absence(region, database, read_error).await)
}

/// The databases in which a grant by LF-Tags may give new access: those of tables that are about to
/// be created or changed in columns or LF-Tags, and those whose own LF-Tags differ.
pub(super) fn databases_with_new_access(snapshots: &Snapshots) -> BTreeSet<Subject> {
    let is_in_primary = |id: &TableId| {
        let observed = snapshots.primary.tables.get(id);
        observed.and_then(Observation::present).is_some()
    };
    let tables = snapshots.primary.tables.keys();
    let changed = tables.filter(|id| is_in_primary(id) && has_different_columns(id, snapshots));
    let mut databases: BTreeSet<Subject> = changed
        .map(|id| Subject::Database(id.database.clone()))
        .collect();
    for (owner, assigned) in &snapshots.primary.attachments {
        let standby = snapshots
            .standby
            .attachments
            .get(owner)
            .and_then(Observation::present);
        let differs = assigned.present().is_some_and(|assigned| match standby {
            Some(standby) => assigned != standby,
            None => !assigned.is_empty(),
        });
        if owner.1 == Facet::LfTagAssignments && differs {
            databases.extend(owner.0.database().cloned().map(Subject::Database));
        }
    }
    databases
}

/// Whether a table exists in one Region only, or has different columns or columns of other types.
pub(super) fn has_different_columns(id: &TableId, snapshots: &Snapshots) -> bool {
    let columns = |snapshot: &Snapshot| -> Option<Vec<(String, Option<String>)>> {
        let observed = snapshot.tables.get(id).and_then(Observation::present)?;
        let columns = observed.object.columns();
        let columns = columns.map(|column| (column.name.clone(), column.kind.clone()));
        Some(columns.collect())
    };
    columns(&snapshots.primary) != columns(&snapshots.standby)
}
