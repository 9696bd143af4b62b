//! Reads functions of databases, and the attachments of databases and tables.

use super::databases::database_by_name;
use super::lakeformation::empty_if_unsupported;
use super::tables::absence_of_parent;
use super::{
    Observer, Snapshots, absent_by_name, confirm_absence, join, observation, present_or_unknown,
    read_error_of, run_concurrently,
};
use crate::ports::ReadRegion;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Function, MaybeLink as _, Observed};
use twinlake_core::policy::{ColumnStatisticsPolicy, GlueTagsPolicy};
use twinlake_core::snapshot::{AbsenceProof, Attachments, Observation, Snapshot, by_key};
use twinlake_core::{CallError, Facet, FunctionId, Name, Subject};

/// A kind of attachments to read: the subject, the facet, and the columns in the primary and in
/// the standby. `None` if the standby has no such subject.
type AttachmentRequest<'a> = (&'a Subject, Facet, Vec<String>, Option<Vec<String>>);

/// The attachments of one kind of a subject, as they were read.
pub(super) struct ReadAttachments {
    owner: (Subject, Facet),
    primary: Observation<Attachments>,
    /// `None` if the standby has no such subject.
    standby: Option<Observation<Attachments>>,
}

type ListedFunctions = BTreeMap<FunctionId, Observed<Function>>;

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Reads every function of a database in both Regions, and every paired function.
    pub(super) async fn read_functions(&self, database: &Name, snapshots: &mut Snapshots) {
        let (primary, standby) = match &self.prefetched.functions {
            Some((primary, standby)) => (
                functions_in(primary, &snapshots.primary, database),
                functions_in(standby, &snapshots.standby, database),
            ),
            None => {
                join(
                    list_functions(self.primary, &snapshots.primary, database),
                    list_functions(self.standby, &snapshots.standby, database),
                )
                .await
            }
        };
        record_listing(&mut snapshots.primary, database, &primary);
        record_listing(&mut snapshots.standby, database, &standby);
        let listings = [&primary, &standby];
        let mut union: BTreeSet<FunctionId> = BTreeSet::new();
        for listed in listings.iter().filter_map(|listing| listing.present()) {
            union.extend(listed.keys().cloned());
        }
        union.extend(self.rows.keys().filter_map(|subject| match subject {
            Subject::Function(id) if id.database == *database => Some(id.clone()),
            Subject::Function(_)
            | Subject::Table(_)
            | Subject::Database(_)
            | Subject::LakeFormation(_)
            | Subject::Catalog => None,
        }));
        for id in union {
            let has_tables = |snapshot: &Snapshot| {
                let tables = snapshot.table_names.get(database);
                tables.is_some_and(|tables| !tables.is_empty())
            };
            let mut primary_function =
                listed_function(&primary, &id, has_tables(&snapshots.primary));
            let mut standby_function =
                listed_function(&standby, &id, has_tables(&snapshots.standby));
            let may_exist = self.requires_absence_proof(&Subject::Function(id.clone()));
            if may_exist {
                let by_name = self.standby.function(&id);
                standby_function = confirm_absence(standby_function, by_name).await;
            }
            if may_exist || standby_function.present().is_some() {
                let by_name = self.primary.function(&id);
                primary_function = confirm_absence(primary_function, by_name).await;
            }
            snapshots
                .primary
                .functions
                .insert(id.clone(), primary_function);
            snapshots.standby.functions.insert(id, standby_function);
        }
    }

    /// Reads one function by name. If a Region lacks it, adds the proof of its absence.
    pub(super) async fn read_function(&self, id: &FunctionId, snapshots: &mut Snapshots) {
        let (primary, standby) = join(self.primary.function(id), self.standby.function(id)).await;
        let (mut primary, mut standby) = (observation(primary), observation(standby));
        let may_exist = self.requires_absence_proof(&Subject::Function(id.clone()));
        let is_absent =
            |observed: &Observation<Observed<Function>>| matches!(observed, Observation::Absent(_));
        let refusals = [&primary, &standby].map(|observed| read_error_of(observed).cloned());
        let [primary_refusal, standby_refusal] = refusals;
        let is_wanted = may_exist || standby.present().is_some() || primary_refusal.is_some();
        if is_absent(&primary) && is_wanted {
            primary = prove_function_absence(self.primary, id, primary_refusal.as_ref()).await;
        }
        if is_absent(&standby) && (may_exist || standby_refusal.is_some()) {
            standby = prove_function_absence(self.standby, id, standby_refusal.as_ref()).await;
        }
        // A function created in a database that is a resource link is created in the link's target.
        if !snapshots.standby.databases.contains_key(&id.database) {
            let observed = database_by_name(self.standby, &id.database).await;
            snapshots
                .standby
                .databases
                .insert(id.database.clone(), observed);
            snapshots.checked_databases.insert(id.database.clone());
        }
        snapshots.primary.functions.insert(id.clone(), primary);
        snapshots.standby.functions.insert(id.clone(), standby);
    }

    /// Reads the attachments of these kinds, of subjects that exist.
    pub(super) async fn read_attachments(
        &self,
        wanted: &[(Subject, Facet)],
        snapshots: &mut Snapshots,
    ) {
        let read = self.get_attachments(wanted, snapshots).await;
        record_attachments(read, snapshots);
    }

    /// Returns the attachments of these kinds, of subjects that exist.
    pub(super) async fn get_attachments(
        &self,
        wanted: &[(Subject, Facet)],
        snapshots: &Snapshots,
    ) -> Vec<ReadAttachments> {
        let wanted: Vec<AttachmentRequest<'_>> = wanted
            .iter()
            .filter(|(_, facet)| self.is_replicated(*facet))
            .filter_map(|(subject, facet)| {
                let primary_columns = columns_to_read(&snapshots.primary, subject, *facet)?;
                let standby_columns = columns_to_read(&snapshots.standby, subject, *facet);
                Some((subject, *facet, primary_columns, standby_columns))
            })
            .collect();
        self.progress.reads_expected(wanted.len());
        let calls = wanted.iter().map(
            |(subject, facet, primary_columns, standby_columns)| async move {
                let standby = async {
                    match standby_columns {
                        Some(columns) => {
                            Some(self.standby.attachments(subject, *facet, columns).await)
                        }
                        None => None,
                    }
                };
                let primary = self.primary.attachments(subject, *facet, primary_columns);
                let (primary, standby) = join(primary, standby).await;
                self.progress.read_finished();
                let primary = present_or_unknown(primary.map(by_key));
                let standby = standby.map(|listed| present_or_unknown(listed.map(by_key)));
                let (primary, standby) = match facet {
                    // A Region may not support tags on tables.
                    Facet::GlueTags => tags_if_supported(primary, standby),
                    Facet::Definition
                    | Facet::Partitions
                    | Facet::Grants
                    | Facet::Contents
                    | Facet::Indexes
                    | Facet::Statistics
                    | Facet::DataCellsFilters
                    | Facet::LfTagAssignments
                    | Facet::OptIns
                    | Facet::Items => (primary, standby),
                };
                ReadAttachments {
                    owner: ((*subject).clone(), *facet),
                    primary,
                    standby,
                }
            },
        );
        run_concurrently(calls, self.max_concurrent_calls).await
    }

    /// Whether the policy replicates the attachments of a facet.
    fn is_replicated(&self, facet: Facet) -> bool {
        match facet {
            Facet::Indexes => true,
            Facet::Statistics => self.policy.column_statistics == ColumnStatisticsPolicy::Tables,
            Facet::GlueTags => self.policy.glue_tags == GlueTagsPolicy::Copy,
            Facet::DataCellsFilters => true,
            Facet::LfTagAssignments => !self.has_no_lf_tags(),
            Facet::Definition
            | Facet::Partitions
            | Facet::Grants
            | Facet::Contents
            | Facet::OptIns
            | Facet::Items => false,
        }
    }
}

/// The Glue tags of an object in both Regions; in the standby only if it has the object.
fn tags_if_supported(
    primary: Observation<Attachments>,
    standby: Option<Observation<Attachments>>,
) -> (Observation<Attachments>, Option<Observation<Attachments>>) {
    let has_object = standby.is_some();
    let standby = standby.unwrap_or_else(|| Observation::Present(Attachments::new()));
    let (primary, standby) = empty_if_unsupported((primary, standby), |tags| !tags.is_empty());
    (primary, has_object.then_some(standby))
}

/// Adds attachments that were read to the snapshots.
pub(super) fn record_attachments(read: Vec<ReadAttachments>, snapshots: &mut Snapshots) {
    for one in read {
        match one.standby {
            Some(listed) => {
                let attachments = &mut snapshots.standby.attachments;
                attachments.insert(one.owner.clone(), listed);
            }
            None => {
                snapshots.standby.attachments.remove(&one.owner);
            }
        }
        snapshots.primary.attachments.insert(one.owner, one.primary);
    }
}

/// The columns to read, or `None` if the subject does not exist in the Region or cannot have
/// attachments of this kind. Only statistics are read by column; for the others the list is empty.
fn columns_to_read(snapshot: &Snapshot, subject: &Subject, facet: Facet) -> Option<Vec<String>> {
    match subject {
        Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => None,
        Subject::Database(name) => {
            let observed = snapshot
                .databases
                .get(name)
                .and_then(Observation::present)?;
            let has_attachments = matches!(facet, Facet::GlueTags | Facet::LfTagAssignments);
            (has_attachments && !observed.is_link()).then(Vec::new)
        }
        Subject::Table(id) => {
            let observed = snapshot.tables.get(id).and_then(Observation::present)?;
            let table = &observed.object;
            if table.is_link() {
                return None;
            }
            match facet {
                Facet::Indexes if table.partition_keys.is_empty() => None,
                Facet::Statistics => {
                    let stored = table.storage_descriptor.iter().flat_map(|sd| &sd.columns);
                    let names: Vec<String> = stored.map(|column| column.name.clone()).collect();
                    (!names.is_empty() && !table.is_view()).then_some(names)
                }
                Facet::Indexes
                | Facet::GlueTags
                | Facet::DataCellsFilters
                | Facet::LfTagAssignments => Some(Vec::new()),
                Facet::Definition
                | Facet::Partitions
                | Facet::Grants
                | Facet::Contents
                | Facet::OptIns
                | Facet::Items => None,
            }
        }
    }
}

/// Checks whether the complete listing of the database lacks a function, too, that a read by name did not find.
async fn prove_function_absence<R: ReadRegion>(
    region: &R,
    id: &FunctionId,
    read_error: Option<&CallError>,
) -> Observation<Observed<Function>> {
    match region.functions(Some(&id.database)).await {
        Ok(all) => absent_by_name(id, all.iter().map(|(listed, _)| listed), read_error),
        Err(error) => {
            let absent = absence_of_parent(region, &id.database, &error).await;
            absent.unwrap_or(Observation::Unknown(error))
        }
    }
}

/// Lists the functions of a database. A resource link has none.
async fn list_functions<R: ReadRegion>(
    region: &R,
    snapshot: &Snapshot,
    database: &Name,
) -> Observation<ListedFunctions> {
    match snapshot.databases.get(database) {
        Some(Observation::Present(observed)) if !observed.is_link() => {
            let listed = region.functions(Some(database)).await;
            present_or_unknown(listed.map(|all| all.into_iter().collect()))
        }
        Some(Observation::Present(_)) | None => Observation::Present(ListedFunctions::new()),
        Some(Observation::Absent(proof)) => Observation::Absent(proof.clone()),
        Some(Observation::Unknown(error)) => Observation::Unknown(error.clone()),
    }
}

/// Records whether the functions of a database could be listed. A database that does not exist or
/// is a resource link counts as listed.
fn record_listing(snapshot: &mut Snapshot, database: &Name, listed: &Observation<ListedFunctions>) {
    let result = match listed {
        Observation::Present(_) | Observation::Absent(_) => Ok(()),
        Observation::Unknown(error) => Err(error.clone()),
    };
    snapshot.function_listings.insert(database.clone(), result);
}

/// The functions of one database from a listing of all functions.
fn functions_in(
    listed: &Observation<ListedFunctions>,
    snapshot: &Snapshot,
    database: &Name,
) -> Observation<ListedFunctions> {
    // The absence of the database proves the absence of everything in it.
    if let Some(Observation::Absent(proof)) = snapshot.databases.get(database) {
        return Observation::Absent(proof.clone());
    }
    match listed {
        Observation::Present(all) => {
            let in_database = all.iter().filter(|(id, _)| id.database == *database);
            Observation::Present(
                in_database
                    .map(|(id, function)| (id.clone(), function.clone()))
                    .collect(),
            )
        }
        Observation::Absent(proof) => Observation::Absent(proof.clone()),
        Observation::Unknown(error) => Observation::Unknown(error.clone()),
    }
}

/// One function from a listing. The tables of its database count as other objects of the parent.
fn listed_function(
    listed: &Observation<ListedFunctions>,
    id: &FunctionId,
    has_tables: bool,
) -> Observation<Observed<Function>> {
    match listed {
        Observation::Present(all) => match all.get(id) {
            Some(observed) => Observation::Present(observed.clone()),
            None => Observation::Absent(AbsenceProof {
                unlisted: true,
                sibling_seen: has_tables || !all.is_empty(),
                ..AbsenceProof::default()
            }),
        },
        Observation::Absent(proof) => Observation::Absent(proof.clone()),
        Observation::Unknown(error) => Observation::Unknown(error.clone()),
    }
}
