//! Reads databases, and every table of a database.

use super::attachments::record_attachments;
use super::partitions::record_listed;
use super::tables::prove_database_absence;
use super::{
    ObservationPair, Observer, Snapshots, TABLE_ATTACHMENT_FACETS, confirm_absence, join,
    observation_without_target_fields, read_error_of, run_concurrently,
};
use crate::ports::ReadRegion;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{MaybeLink, Observed};
use twinlake_core::scope::{Facet, ReadRequest};
use twinlake_core::snapshot::{AbsenceProof, Observation, Snapshot};
use twinlake_core::{
    CallError, Database, Grants, Name, Pairing, PermissionGrant, Resource, Subject, Table, TableId,
};

/// A listing of tables; `None` if the database does not exist or is a resource link.
type TableListing = Option<Result<Vec<Observed<Table>>, CallError>>;

/// Most tables of one database that one invocation reads.
pub const MAX_TABLES_PER_INVOCATION: usize = 2000;

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Reads a database as requested, from its definitions in both Regions if these were requested. Returns
    /// the attachments that are still to be read.
    pub(super) async fn read_database(
        &self,
        name: &Name,
        (request, definition): (&ReadRequest, Option<ObservationPair<Observed<Database>>>),
        snapshots: &mut Snapshots,
    ) -> Vec<(Subject, Facet)> {
        let subject = Subject::Database(name.clone());
        if let Some((mut primary, mut standby)) = definition {
            if self.prefetched.databases.is_none() {
                snapshots.checked_databases.insert(name.clone());
            }
            let may_exist = self.requires_absence_proof(&subject);
            let is_refused =
                [read_error_of(&primary), read_error_of(&standby)].map(|one| one.is_some());
            if may_exist || standby.present().is_some() || is_refused[0] {
                primary = with_listing(self.primary, name, primary).await;
            }
            if may_exist || is_refused[1] {
                standby = with_listing(self.standby, name, standby).await;
            }
            snapshots.primary.databases.insert(name.clone(), primary);
            snapshots.standby.databases.insert(name.clone(), standby);
        }
        if request.facets.contains(&Facet::Grants) {
            self.read_grants(&subject, snapshots).await;
        }
        let standby = snapshots.standby.databases.get(name);
        let is_new = !matches!(standby, Some(Observation::Present(_)));
        let attachments = [Facet::GlueTags, Facet::LfTagAssignments].into_iter();
        let attachments = attachments.filter(|facet| is_new || request.facets.contains(facet));
        let attachments: Vec<(Subject, Facet)> =
            attachments.map(|facet| (subject.clone(), facet)).collect();
        let is_absent = matches!(
            snapshots.primary.databases.get(name),
            Some(Observation::Absent(_))
        );
        if request.facets.contains(&Facet::Contents) || is_absent {
            self.read_contents(name, attachments, snapshots).await;
            return Vec::new();
        }
        if self.needs_table_names(name, snapshots) {
            self.list_table_names(name, snapshots).await;
        }
        attachments
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
            return (
                observation_without_target_fields(primary),
                observation_without_target_fields(standby),
            );
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
        let (mut primary, mut standby) = (listed(all_primary), listed(all_standby));
        let may_exist = self.requires_absence_proof(&Subject::Database(name.clone()));
        let own = |read: Result<Observed<Database>, CallError>| {
            read.map(MaybeLink::without_target_fields)
        };
        if may_exist {
            let by_name = async { own(self.standby.database(name).await) };
            standby = confirm_absence(standby, by_name).await;
        }
        if may_exist || standby.present().is_some() {
            let by_name = async { own(self.primary.database(name).await) };
            primary = confirm_absence(primary, by_name).await;
        }
        (primary, standby)
    }

    /// Lists the tables of a database in each Region where it exists and is no resource link.
    async fn list_tables_of_both(
        &self,
        database: &Name,
        snapshots: &Snapshots,
    ) -> (TableListing, TableListing) {
        // A failed read of the database says nothing about its tables.
        let may_exist = |snapshot: &Snapshot| {
            snapshot
                .databases
                .get(database)
                .is_some_and(|observed| !matches!(observed, Observation::Absent(_)))
        };
        let is_link = |snapshot: &Snapshot| {
            let observed = snapshot.databases.get(database);
            let observed = observed.and_then(Observation::present);
            observed.is_some_and(MaybeLink::is_link)
        };
        let is_listable = |snapshot: &Snapshot| may_exist(snapshot) && !is_link(snapshot);
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

    /// Reads every table and function of a database in both Regions, and other attachments.
    async fn read_contents(
        &self,
        database: &Name,
        attachments: Vec<(Subject, Facet)>,
        snapshots: &mut Snapshots,
    ) {
        let (primary, standby) = self.list_tables_of_both(database, snapshots).await;
        let parent = snapshots.primary.databases.get(database);
        let is_in_primary = matches!(parent, Some(Observation::Present(_)));
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
                    let known = snapshot.databases.get(database);
                    if !matches!(known, Some(Observation::Unknown(_))) {
                        let unknown = Observation::Unknown(error);
                        snapshot.databases.insert(database.clone(), unknown);
                    }
                }
                None => {}
            }
            union.extend(tables.keys().cloned());
            tables_by_region.push(tables);
        }
        let standby = tables_by_region.pop().unwrap_or_default();
        let primary = tables_by_region.pop().unwrap_or_default();
        union.extend(self.tables_with_rows_in(database));
        if self.defers_oversized_databases
            && is_in_primary
            && union.len() > MAX_TABLES_PER_INVOCATION
        {
            // Too many tables for one invocation: the caller splits them into several messages.
            snapshots.oversized.extend(union);
            self.read_attachments(&attachments, snapshots).await;
            self.read_functions(database, snapshots).await;
            return;
        }
        let snapshot = &mut snapshots.primary;
        self.record_tables(self.primary, (database, primary), &union, snapshot)
            .await;
        let snapshot = &mut snapshots.standby;
        self.record_tables(self.standby, (database, standby), &union, snapshot)
            .await;
        self.read_table_facets(&union, attachments, snapshots).await;
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

    /// Records the listed tables of a database in one Region. Of those that the listing lacks, the
    /// tables that the ledger ties to an object of the standby are read by name.
    async fn record_tables<R: ReadRegion>(
        &self,
        region: &R,
        (database, mut listed): (&Name, BTreeMap<TableId, Observed<Table>>),
        union: &BTreeSet<TableId>,
        snapshot: &mut Snapshot,
    ) {
        let parent = snapshot.databases.get(database).cloned();
        let has_tables = !listed.is_empty();
        let is_listed = snapshot.table_names.contains_key(database)
            && matches!(parent, Some(Observation::Present(_)));
        let missing = union.iter().filter(|id| {
            let may_exist = self.requires_absence_proof(&Subject::Table((*id).clone()));
            is_listed && !listed.contains_key(*id) && may_exist
        });
        let calls = missing.map(|id| async move { (id.clone(), region.table(id).await) });
        let read = run_concurrently(calls, self.max_concurrent_calls).await;
        let mut by_name: BTreeMap<TableId, Result<Observed<Table>, CallError>> =
            read.into_iter().collect();
        for id in union {
            let unlisted = AbsenceProof {
                unlisted: true,
                sibling_seen: has_tables,
                ..AbsenceProof::default()
            };
            let observed = match (listed.remove(id), by_name.remove(id), &parent) {
                (Some(observed), _, _) => Observation::Present(observed.without_target_fields()),
                (None, Some(read), _) => match observation_without_target_fields(read) {
                    Observation::Absent(by_name) => Observation::Absent(AbsenceProof {
                        not_returned: true,
                        read_error: by_name.read_error,
                        ..unlisted
                    }),
                    found @ (Observation::Present(_) | Observation::Unknown(_)) => found,
                },
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
            snapshot.tables.insert(id.clone(), observed);
        }
    }

    /// Reads partitions, grants, opt-ins and attachments of tables that the policy covers, and other
    /// attachments.
    async fn read_table_facets(
        &self,
        union: &BTreeSet<TableId>,
        mut attachments: Vec<(Subject, Facet)>,
        snapshots: &mut Snapshots,
    ) {
        let covered: Vec<&TableId> = union
            .iter()
            .filter(|id| self.policy.covers_table(id))
            .collect();
        for id in &covered {
            snapshots.left_to_schedule.remove(*id);
            let subject = Subject::Table((*id).clone());
            self.read_grants(&subject, snapshots).await;
        }
        let partitioned: Vec<&TableId> = covered
            .iter()
            .copied()
            .filter(|id| self.reads_or_leaves(id, Facet::Partitions, snapshots))
            .collect();
        attachments.retain(|(subject, facet)| match subject {
            Subject::Database(name) if *facet == Facet::LfTagAssignments => {
                !self.has_equal_lf_tags_in(name, snapshots)
            }
            Subject::Database(_)
            | Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Table(_)
            | Subject::Function(_) => true,
        });
        for id in &covered {
            let subject = Subject::Table((*id).clone());
            for facet in TABLE_ATTACHMENT_FACETS {
                if self.reads_or_leaves(id, facet, snapshots) {
                    attachments.push((subject.clone(), facet));
                }
            }
        }
        let (listed, read) = join(
            self.list_partitions(&partitioned, snapshots),
            self.get_attachments(&attachments, snapshots),
        )
        .await;
        record_listed(listed, snapshots);
        record_attachments(read, snapshots);
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

    pub(super) fn pairing_of(&self, id: &TableId) -> Option<&Pairing> {
        let row = self.rows.get(&Subject::Table(id.clone()));
        row.and_then(|row| row.pairing.as_ref())
    }
}

/// Reads a database by name. If the read is refused, the listing says whether it exists.
pub(crate) async fn database_by_name<R: ReadRegion>(
    region: &R,
    name: &Name,
) -> Observation<Observed<Database>> {
    let observed = observation_without_target_fields(region.database(name).await);
    match read_error_of(&observed) {
        Some(_) => with_listing(region, name, observed).await,
        None => observed,
    }
}

/// Adds the complete listing of databases to a database that a read by name did not return.
async fn with_listing<R: ReadRegion>(
    region: &R,
    name: &Name,
    observed: Observation<Observed<Database>>,
) -> Observation<Observed<Database>> {
    match observed {
        Observation::Absent(proof) if !proof.unlisted => {
            prove_database_absence(region, name, proof.read_error.as_ref()).await
        }
        Observation::Present(_) | Observation::Absent(_) | Observation::Unknown(_) => observed,
    }
}
