//! Reads databases, and every table of a database.

use super::dependencies::has_filter_grants;
use super::{
    Observer, Snapshots, TABLE_ATTACHMENT_FACETS, join, observation_of_own, run_concurrently,
};
use crate::ports::ReadRegion;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{MaybeLink, Observed};
use twinlake_core::policy::DataCellsFilterScan;
use twinlake_core::scope::{Facet, ReadRequest};
use twinlake_core::snapshot::{AbsenceProof, Observation, Snapshot};
use twinlake_core::{
    CallError, CallErrorKind, Database, Grants, Name, Pairing, PermissionGrant, Resource, Subject,
    Table, TableId,
};

/// A listing of tables; `None` if the database does not exist or is a resource link.
type TableListing = Option<Result<Vec<Observed<Table>>, CallError>>;

/// Most tables of one database that one invocation reads.
pub const MAX_TABLES_PER_INVOCATION: usize = 2000;

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Reads a database as requested.
    pub(super) async fn read_database(
        &self,
        name: &Name,
        request: &ReadRequest,
        snapshots: &mut Snapshots,
    ) {
        let subject = Subject::Database(name.clone());
        if request.facets.contains(&Facet::Definition) {
            let (primary, standby) = self.read_database_definitions(name).await;
            if self.prefetched.databases.is_none() {
                snapshots.checked_databases.insert(name.clone());
            }
            let is_missing =
                matches!(primary, Observation::Absent(_)) && standby.present().is_some();
            snapshots.primary.databases.insert(name.clone(), primary);
            snapshots.standby.databases.insert(name.clone(), standby);
            if is_missing {
                self.check_database_listing(name, snapshots).await;
            }
        }
        if request.facets.contains(&Facet::Grants) {
            self.read_grants(&subject, snapshots).await;
        }
        let standby = snapshots.standby.databases.get(name);
        let is_new = !matches!(standby, Some(Observation::Present(_)));
        if request.facets.contains(&Facet::GlueTags) || is_new {
            self.read_attachments(&[(subject.clone(), Facet::GlueTags)], snapshots)
                .await;
        }
        if request.facets.contains(&Facet::LfTagAssignments) || is_new {
            self.read_attachments(&[(subject.clone(), Facet::LfTagAssignments)], snapshots)
                .await;
        }
        let is_absent = matches!(
            snapshots.primary.databases.get(name),
            Some(Observation::Absent(_))
        );
        if request.facets.contains(&Facet::Contents) || is_absent {
            self.read_contents(name, snapshots).await;
        } else if self.needs_table_names(name, snapshots) {
            self.list_table_names(name, snapshots).await;
        }
    }

    /// Lists the table names of a database. They matter if a grant on all tables is missing: it would
    /// give access to tables that the primary lacks.
    pub(super) async fn list_table_names(&self, name: &Name, snapshots: &mut Snapshots) {
        let (primary, standby) = join(self.primary.tables(name), self.standby.tables(name)).await;
        let listings = [
            (primary, &mut snapshots.primary),
            (standby, &mut snapshots.standby),
        ];
        for (listed, snapshot) in listings {
            match listed {
                Ok(listed) => {
                    let names = listed.into_iter().map(|observed| observed.object.name);
                    snapshot.table_names.insert(name.clone(), names.collect());
                }
                Err(_) => {
                    snapshot.table_names.remove(name);
                }
            }
        }
    }

    /// Reads a database in both Regions: from the prefetched listing, or by name.
    pub(super) async fn read_database_definitions(
        &self,
        name: &Name,
    ) -> (
        Observation<Observed<Database>>,
        Observation<Observed<Database>>,
    ) {
        let Some((all_primary, all_standby)) = &self.prefetched.databases else {
            let (primary, standby) =
                join(self.primary.database(name), self.standby.database(name)).await;
            return (observation_of_own(primary), observation_of_own(standby));
        };
        let listed = |all: &Observation<BTreeMap<Name, Observed<Database>>>| match all {
            Observation::Present(all) => match all.get(name) {
                Some(observed) => Observation::Present(observed.clone()),
                None => Observation::Absent(AbsenceProof {
                    unlisted: true,
                    sibling_seen: !all.is_empty(),
                    ..AbsenceProof::default()
                }),
            },
            Observation::Absent(proof) => Observation::Absent(proof.clone()),
            Observation::Unknown(error) => Observation::Unknown(error.clone()),
        };
        let mut primary = listed(all_primary);
        let mut standby = listed(all_standby);
        // A listing may be older than the ledger row.
        let row = self.rows.get(&Subject::Database(name.clone()));
        let is_paired = row.is_some_and(|row| row.pairing.is_some());
        if is_paired && matches!(standby, Observation::Absent(_)) {
            standby = observation_of_own(self.standby.database(name).await);
        }
        if let Observation::Absent(proof) = &mut primary
            && (is_paired || standby.present().is_some())
        {
            match self.primary.database(name).await {
                Err(error) if error.kind == CallErrorKind::NotFound => proof.not_found = true,
                Err(error) => primary = Observation::Unknown(error),
                // Created after the listing.
                Ok(observed) => primary = Observation::Present(observed.without_target_fields()),
            }
        }
        (primary, standby)
    }

    /// Checks that the complete listing of databases also lacks a database that the primary does not
    /// know by name.
    pub(super) async fn check_database_listing(&self, name: &Name, snapshots: &mut Snapshots) {
        let Some(Observation::Absent(proof)) = snapshots.primary.databases.get_mut(name) else {
            return;
        };
        if proof.unlisted {
            return;
        }
        match self.primary.databases().await {
            Ok(all) => {
                proof.unlisted = all.iter().all(|observed| observed.object.name != *name);
                proof.sibling_seen = all.iter().any(|observed| observed.object.name != *name);
            }
            Err(error) => {
                snapshots
                    .primary
                    .databases
                    .insert(name.clone(), Observation::Unknown(error));
            }
        }
    }

    /// Lists the tables of a database in each Region where it exists and is no resource link.
    async fn list_tables_of_both(
        &self,
        database: &Name,
        snapshots: &Snapshots,
    ) -> (TableListing, TableListing) {
        let exists = |snapshot: &Snapshot| {
            snapshot
                .databases
                .get(database)
                .is_some_and(|observed| observed.present().is_some())
        };
        let is_link = |snapshot: &Snapshot| {
            let observed = snapshot.databases.get(database);
            let observed = observed.and_then(Observation::present);
            observed.is_some_and(MaybeLink::is_link)
        };
        let is_listable = |snapshot: &Snapshot| exists(snapshot) && !is_link(snapshot);
        let list_primary = is_listable(&snapshots.primary);
        let list_standby = is_listable(&snapshots.standby);
        join(
            async {
                if list_primary {
                    Some(self.primary.tables(database).await)
                } else {
                    None
                }
            },
            async {
                if list_standby {
                    Some(self.standby.tables(database).await)
                } else {
                    None
                }
            },
        )
        .await
    }

    /// Reads every table and function of a database in both Regions.
    pub(super) async fn read_contents(&self, database: &Name, snapshots: &mut Snapshots) {
        let (primary, standby) = self.list_tables_of_both(database, snapshots).await;
        let parent = snapshots.primary.databases.get(database).cloned();
        let mut union: BTreeSet<TableId> = BTreeSet::new();
        let mut tables_by_region: Vec<BTreeMap<TableId, Observed<Table>>> = Vec::new();
        for (listed, snapshot) in [
            (primary, &mut snapshots.primary),
            (standby, &mut snapshots.standby),
        ] {
            let mut tables = BTreeMap::new();
            match listed {
                Some(Ok(listed)) => {
                    let names = listed.iter().map(|observed| observed.object.name.clone());
                    snapshot
                        .table_names
                        .insert(database.clone(), names.collect());
                    for observed in listed.into_iter().map(Observed::without_target_fields) {
                        let id = TableId::new(database.clone(), observed.object.name.clone());
                        tables.insert(id, observed);
                    }
                }
                Some(Err(error)) => {
                    snapshot.table_names.remove(database);
                    snapshot
                        .databases
                        .insert(database.clone(), Observation::Unknown(error));
                }
                None => {}
            }
            union.extend(tables.keys().cloned());
            tables_by_region.push(tables);
        }
        let standby = tables_by_region.pop().unwrap_or_default();
        let primary = tables_by_region.pop().unwrap_or_default();
        union.extend(self.tables_with_rows_in(database));
        let is_in_primary = matches!(parent, Some(Observation::Present(_)));
        if self.defers_oversized_databases
            && is_in_primary
            && union.len() > MAX_TABLES_PER_INVOCATION
        {
            // Too many tables for one invocation: the caller splits them into several messages.
            snapshots.oversized.extend(union);
            self.read_functions(database, snapshots).await;
            return;
        }
        self.record_tables(database, &union, (primary, standby), parent, snapshots)
            .await;
        self.read_table_facets(&union, snapshots).await;
        self.read_functions(database, snapshots).await;
    }

    /// The tables of a database that have a ledger row.
    pub(super) fn tables_with_rows_in(&self, database: &Name) -> impl Iterator<Item = TableId> {
        let rows = self.rows.keys().filter_map(|subject| match subject {
            Subject::Table(id) if id.database == *database => Some(id.clone()),
            Subject::Table(_)
            | Subject::Function(_)
            | Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Database(_) => None,
        });
        rows.collect::<Vec<_>>().into_iter()
    }

    /// Records the listed tables of a database. Paired tables that the primary's listing lacks are
    /// read by name.
    pub(super) async fn record_tables(
        &self,
        database: &Name,
        union: &BTreeSet<TableId>,
        (mut primary, mut standby): (
            BTreeMap<TableId, Observed<Table>>,
            BTreeMap<TableId, Observed<Table>>,
        ),
        parent: Option<Observation<Observed<Database>>>,
        snapshots: &mut Snapshots,
    ) {
        let is_listed = snapshots.primary.table_names.contains_key(database);
        let has_tables = !primary.is_empty();
        let missing: Vec<&TableId> = union
            .iter()
            .filter(|id| !primary.contains_key(*id) && self.is_paired(id))
            .collect();
        let mut read_by_name: BTreeMap<TableId, Result<Observed<Table>, CallError>> =
            BTreeMap::new();
        if is_listed {
            let calls = missing
                .into_iter()
                .map(|id| async move { (id.clone(), self.primary.table(id).await) });
            read_by_name = run_concurrently(calls, self.max_concurrent_calls)
                .await
                .into_iter()
                .collect();
        }
        for id in union {
            let observed = match (primary.remove(id), read_by_name.remove(id), &parent) {
                (Some(observed), _, _) | (None, Some(Ok(observed)), _) => {
                    Observation::Present(observed.without_target_fields())
                }
                (None, Some(Err(error)), _) if error.kind != CallErrorKind::NotFound => {
                    Observation::Unknown(error)
                }
                (None, Some(Err(_)), _) => Observation::Absent(AbsenceProof {
                    not_found: true,
                    unlisted: true,
                    sibling_seen: has_tables,
                    ..AbsenceProof::default()
                }),
                // The absence of the database proves the absence of everything in it.
                (None, None, Some(Observation::Absent(proof))) => {
                    Observation::Absent(proof.clone())
                }
                (None, None, Some(Observation::Unknown(error))) => {
                    Observation::Unknown(error.clone())
                }
                (None, None, Some(Observation::Present(_)) | None) => {
                    Observation::Absent(AbsenceProof::default())
                }
            };
            snapshots.primary.tables.insert(id.clone(), observed);
            let standby_table = match standby.remove(id) {
                Some(observed) => Observation::Present(observed),
                None => match snapshots.standby.databases.get(database) {
                    Some(Observation::Unknown(error)) => Observation::Unknown(error.clone()),
                    Some(Observation::Present(_) | Observation::Absent(_)) | None => {
                        Observation::Absent(AbsenceProof::default())
                    }
                },
            };
            snapshots.standby.tables.insert(id.clone(), standby_table);
        }
    }

    /// Reads partitions, grants, opt-ins and attachments of tables that the policy covers.
    pub(super) async fn read_table_facets(
        &self,
        union: &BTreeSet<TableId>,
        snapshots: &mut Snapshots,
    ) {
        let covered: Vec<&TableId> = union
            .iter()
            .filter(|id| self.policy.covers_table(id))
            .collect();
        self.scan_partitions(&covered, snapshots).await;
        for id in &covered {
            let subject = Subject::Table((*id).clone());
            self.read_grants(&subject, snapshots).await;
        }
        let mut with_opt_ins: Vec<Subject> = covered
            .iter()
            .map(|id| Subject::Table((*id).clone()))
            .collect();
        with_opt_ins.extend(
            covered
                .first()
                .map(|id| Subject::Database(id.database.clone())),
        );
        if !with_opt_ins.is_empty() {
            self.read_opt_ins(&with_opt_ins, snapshots).await;
        }
        let attachments: Vec<(Subject, Facet)> = covered
            .iter()
            .flat_map(|id| {
                TABLE_ATTACHMENT_FACETS.map(|facet| (Subject::Table((*id).clone()), facet))
            })
            .filter(|(subject, facet)| {
                *facet != Facet::DataCellsFilters
                    || self.policy.data_cells_filter_scan == DataCellsFilterScan::All
                    || has_filter_grants(subject, snapshots)
            })
            .collect();
        self.read_attachments(&attachments, snapshots).await;
    }

    /// Whether a grant on all tables of a database may be missing.
    fn needs_table_names(&self, name: &Name, snapshots: &Snapshots) -> bool {
        let subject = Subject::Database(name.clone());
        let all_tables_grants = |snapshot: &Snapshot| -> Grants {
            let grants = snapshot.grants.get(&subject).and_then(Observation::present);
            let wildcard = |grant: &PermissionGrant| {
                let of_others = !self.own_roles.contains(&grant.principal.0);
                matches!(grant.resource, Resource::AllTables(_)) && of_others
            };
            let all = grants.into_iter().flatten();
            all.filter(|(grant, _)| wildcard(grant))
                .map(|(grant, grantable)| (grant.clone(), *grantable))
                .collect()
        };
        let grants_differ =
            all_tables_grants(&snapshots.primary) != all_tables_grants(&snapshots.standby);
        let standby = snapshots.standby.databases.get(name);
        grants_differ && standby.is_none_or(|observed| observed.present().is_some())
    }

    pub(super) fn is_paired(&self, id: &TableId) -> bool {
        self.pairing_of(id).is_some()
    }

    pub(super) fn pairing_of(&self, id: &TableId) -> Option<&Pairing> {
        let row = self.rows.get(&Subject::Table(id.clone()));
        row.and_then(|row| row.pairing.as_ref())
    }
}
