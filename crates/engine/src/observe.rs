//! Reads both Regions, as far as the scope requests.
//!
//! "Not found" alone does not prove that an object does not exist. If a Region answers it for an
//! object that the standby has, or according to the ledger may have, the same round gathers the rest
//! of the proof there: the parent's complete listing, that Twinlake's role is an administrator, and
//! another object that is visible.

mod attachment_mapping;
mod attachments;
mod databases;
mod dependencies;
mod grants;
pub(crate) mod lakeformation;
mod lf_subjects;
pub(crate) mod lf_tag_search;
mod partitions;
mod prefetch;
mod scan_intervals;
mod tables;

use crate::grant_index::GrantIndex;
use crate::ports::ReadRegion;
use crate::progress::WorkProgress;
use futures_util::{StreamExt as _, stream};
use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use tables::TableDefinition;
use twinlake_core::catalog::{MaybeLink, Observed};
use twinlake_core::ledger::{LedgerRows, ObjectCounts, intended_item};
use twinlake_core::partition_diff::PartitionValues;
use twinlake_core::policy::ScanWindow;
use twinlake_core::scope::ReadRequest;
use twinlake_core::snapshot::{AbsenceProof, Observation, Snapshot};
use twinlake_core::topology::Epoch;
use twinlake_core::{
    CallError, CallErrorKind, Database, Facet, Grants, LfSubject, Name, OwnRoles, Partition,
    Policy, Principal, Subject, SubjectState, TableId,
};

pub use attachment_mapping::UnmappedAttachments;
pub use databases::MAX_TABLES_PER_INVOCATION;
pub(crate) use databases::database_by_name;
pub use lakeformation::{Items, OptIns};
pub use partitions::MAX_PARTITIONS_PER_ROUND;
pub(crate) use prefetch::all_grants;
pub use prefetch::{GrantsToList, Prefetched, PrincipalMappings, principal_mappings};

/// The snapshots of both Regions that a plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Snapshots {
    /// The primary's snapshot.
    pub primary: Snapshot,
    /// The standby's snapshot.
    pub standby: Snapshot,
    /// Partitions that differ and have to be read by value in later rounds.
    pub deferred: BTreeMap<TableId, DeferredRead>,
    /// Tables whose partitions were not listed because time ran out.
    pub timed_out: BTreeSet<TableId>,
    /// Tables of databases with too many tables for one invocation. They were not read.
    pub oversized: BTreeSet<TableId>,
    /// Databases of the standby that were read by name in this round.
    pub checked_databases: BTreeSet<Name>,
    /// Whether nothing was read after the data lake settings.
    pub are_settings_newest: bool,
    /// Of tables in sync, what this run did not read because its scan is not due.
    pub left_to_schedule: BTreeMap<TableId, BTreeSet<Facet>>,
}

/// Partitions of a table that later rounds read, by their values.
#[derive(Clone, Debug, Default)]
pub struct DeferredRead {
    /// Partitions that differ.
    pub changed: Vec<PartitionValues>,
    /// Partitions that the primary lacks.
    pub missing_in_primary: Vec<PartitionValues>,
}

impl DeferredRead {
    /// Number of partitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changed.len() + self.missing_in_primary.len()
    }

    /// Whether there are no partitions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Partitions whose write the standby confirmed, as they were written; `None` for deletions.
pub type ConfirmedWrites = BTreeMap<TableId, BTreeMap<PartitionValues, Option<Partition>>>;

/// The facets of a table that are attachments.
const TABLE_ATTACHMENT_FACETS: [Facet; 5] = [
    Facet::Indexes,
    Facet::Statistics,
    Facet::GlueTags,
    Facet::DataCellsFilters,
    Facet::LfTagAssignments,
];

/// An observation in each Region: the primary's, then the standby's.
pub type ObservationPair<T> = (Observation<T>, Observation<T>);

/// The definitions of databases in both Regions.
type DatabaseDefinitions<'r> = BTreeMap<&'r Name, ObservationPair<Observed<Database>>>;

/// Makes the reads of one round.
pub struct Observer<'a, P, S> {
    /// The primary Region.
    pub primary: &'a P,
    /// The standby Region.
    pub standby: &'a S,
    /// The policy. Of objects that it excludes, only the definition is read.
    pub policy: &'a Policy,
    /// The epoch, which says which Region is primary.
    pub epoch: Epoch,
    /// How principals and locations of each Region are translated.
    pub mappings: &'a PrincipalMappings,
    /// Twinlake's role in the primary, which has to be an administrator there.
    pub reader_role: &'a Principal,
    /// All roles of Twinlake in both Regions.
    pub own_roles: &'a OwnRoles,
    /// The ledger rows of the subjects, which say what is paired.
    pub rows: &'a LedgerRows,
    /// Most AWS calls that run at the same time.
    pub max_concurrent_calls: usize,
    /// Listings that cover many subjects.
    pub prefetched: &'a Prefetched,
    /// All grants, if the round lists them itself.
    pub own_grant_listing: OnceCell<ObservationPair<GrantIndex>>,
    /// How many more partitions this round may keep with their whole definition.
    pub remaining_partitions: Cell<usize>,
    /// Partition writes that the standby confirmed in the previous round.
    pub confirmed_writes: &'a ConfirmedWrites,
    /// Tables of which an event named the deletion of partitions.
    pub named_partition_deletions: BTreeSet<TableId>,
    /// Whether databases with more than [`MAX_TABLES_PER_INVOCATION`] tables are left to the caller,
    /// which splits them into several messages.
    pub defers_oversized_databases: bool,
    /// Of tables in sync, what has a scan interval is read only if their moment lies in this
    /// window.
    pub scan_window: Option<ScanWindow>,
    /// Tables that plans of this session change: everything is read of them.
    pub changed_tables: &'a BTreeSet<TableId>,
    /// Whether time ran out.
    pub is_out_of_time: &'a dyn Fn() -> bool,
    /// Who is told about the progress.
    pub progress: &'a dyn WorkProgress,
}

/// The observation of an object that was read by name. What is not returned may be absent whatever
/// the error, unless another attempt may return it: which codes mean a missing object, AWS
/// documents for few calls (F-1, LF-08). A refused read counts as an absence only if a listing lacks
/// the object too ([`refused_or_absent`]).
fn observation<T>(result: Result<T, CallError>) -> Observation<T> {
    match result {
        Ok(value) => Observation::Present(value),
        Err(error) if error.kind == CallErrorKind::NotFound => Observation::Absent(AbsenceProof {
            not_returned: true,
            ..AbsenceProof::default()
        }),
        Err(error) if may_mean_absence(error.kind) => Observation::Absent(AbsenceProof {
            not_returned: true,
            read_error: Some(error),
            ..AbsenceProof::default()
        }),
        Err(error) => Observation::Unknown(error),
    }
}

/// Whether a call for a missing object may fail with this kind of error.
fn may_mean_absence(kind: CallErrorKind) -> bool {
    match kind {
        CallErrorKind::NotFound
        | CallErrorKind::AlreadyInState
        | CallErrorKind::Denied
        | CallErrorKind::Invalid => true,
        // The service returned the object.
        CallErrorKind::Unsupported => false,
        CallErrorKind::Contended | CallErrorKind::NotPropagated | CallErrorKind::Unavailable => {
            false
        }
    }
}

/// The error of a read by name that was refused, so that only a listing tells whether the object
/// exists.
fn read_error_of<T>(observed: &Observation<T>) -> Option<&CallError> {
    match observed {
        Observation::Absent(proof) => proof.read_error.as_ref(),
        Observation::Present(_) | Observation::Unknown(_) => None,
    }
}

/// A refused read of an object that no listing was found to lack: whether it exists is unknown.
fn refused_or_absent<T>(observed: Observation<T>) -> Observation<T> {
    match observed {
        Observation::Absent(AbsenceProof {
            read_error: Some(error),
            unlisted: false,
            ..
        }) => Observation::Unknown(error),
        Observation::Present(_) | Observation::Absent(_) | Observation::Unknown(_) => observed,
    }
}

/// The observation of an object itself: of a resource link without the properties that a read
/// shows of its target.
pub(crate) fn observation_without_target_fields<T: MaybeLink>(
    result: Result<T, CallError>,
) -> Observation<T> {
    observation(result.map(MaybeLink::without_target_fields))
}

/// The observation of something that belongs to an existing object: "not found" counts as a
/// failed read.
fn present_or_unknown<T>(result: Result<T, CallError>) -> Observation<T> {
    match result {
        Ok(value) => Observation::Present(value),
        Err(error) => Observation::Unknown(error),
    }
}

/// Runs calls, at most `max_concurrent_calls` at a time. The results are in no particular order.
pub(crate) async fn run_concurrently<T, F: Future<Output = T>>(
    calls: impl Iterator<Item = F>,
    max_concurrent_calls: usize,
) -> Vec<T> {
    stream::iter(calls)
        .buffer_unordered(max_concurrent_calls.max(1))
        .collect()
        .await
}

/// Reads by name what a listing lacks: the listing may be older than the object.
async fn confirm_absence<T>(
    listed: Observation<T>,
    by_name: impl Future<Output = Result<T, CallError>>,
) -> Observation<T> {
    let Observation::Absent(proof) = listed else {
        return listed;
    };
    match observation(by_name.await) {
        Observation::Absent(by_name) => Observation::Absent(AbsenceProof {
            not_returned: true,
            read_error: by_name.read_error,
            ..proof
        }),
        found @ (Observation::Present(_) | Observation::Unknown(_)) => found,
    }
}

/// The observation of an object that a complete listing of its parent lacks, or shows although a
/// read by name did not return it: with `read_error`, because it was refused.
fn absent_by_name<'a, K: PartialEq + 'a, T>(
    key: &K,
    mut listed: impl Iterator<Item = &'a K> + Clone,
    read_error: Option<&CallError>,
) -> Observation<T> {
    refused_or_absent(Observation::Absent(AbsenceProof {
        not_returned: true,
        read_error: read_error.cloned(),
        unlisted: listed.clone().all(|other| other != key),
        sibling_seen: listed.any(|other| other != key),
        ..AbsenceProof::default()
    }))
}

async fn join<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    futures_util::future::join(a, b).await
}

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Reads the requested facets into the snapshots. They replace what earlier rounds read.
    pub async fn read(
        &self,
        read_requests: &BTreeMap<Subject, ReadRequest>,
        always_needs_settings: bool,
        snapshots: &mut Snapshots,
    ) {
        snapshots.are_settings_newest = false;
        let with_contents = |(subject, request): &(&Subject, &ReadRequest)| {
            matches!(subject, Subject::Database(_)) && request.facets.contains(&Facet::Contents)
        };
        let whole_databases = read_requests.iter().filter(with_contents).count();
        self.progress.databases_expected(whole_databases);
        let mut databases: Vec<(&Name, &ReadRequest)> = Vec::new();
        let mut tables: Vec<(&TableId, &ReadRequest)> = Vec::new();
        for (subject, request) in read_requests {
            match subject {
                Subject::Database(name) => databases.push((name, request)),
                Subject::Table(id) => tables.push((id, request)),
                Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => {}
            }
        }
        let ((mut definitions, of_tables), ()) = join(
            self.get_definitions(&databases, &tables),
            self.list_own_grants(),
        )
        .await;
        if let Some((Observation::Present(primary), Observation::Present(standby))) =
            self.listed_grants()
        {
            let is_whole = standby.refused_types.is_empty();
            snapshots.standby.extra_iam_grants =
                is_whole.then(|| standby.extra_iam_grants(primary));
        }
        self.read_lf_subjects(read_requests, snapshots).await;
        let mut attachments = Vec::new();
        for (name, request) in databases {
            let read = (request, definitions.remove(name));
            attachments.extend(self.read_database(name, read, snapshots).await);
            if request.facets.contains(&Facet::Contents) {
                self.progress.database_read(name);
            }
        }
        self.read_tables(&tables, of_tables, attachments, snapshots)
            .await;
        self.read_dependencies(read_requests, snapshots).await;
        for subject in read_requests.keys() {
            if let Subject::Function(id) = subject {
                self.read_function(id, snapshots).await;
            }
        }
        if read_requests.contains_key(&Subject::LakeFormation(LfSubject::Settings)) {
            self.read_settings(snapshots).await;
        }
        let is_known = snapshots.primary.settings.is_some() && snapshots.standby.settings.is_some();
        let needs_settings = always_needs_settings
            || self.needs_settings(snapshots)
            || self.has_permission_problem(read_requests);
        if self.needs_absence_proof(snapshots) || (needs_settings && !is_known) {
            self.read_settings(snapshots).await;
        }
        self.complete_proofs(read_requests, snapshots);
    }

    /// Reads the requested definitions of databases and tables at the same time.
    async fn get_definitions<'r>(
        &self,
        databases: &[(&'r Name, &ReadRequest)],
        tables: &[(&'r TableId, &ReadRequest)],
    ) -> (DatabaseDefinitions<'r>, Vec<TableDefinition<'r>>) {
        let is_wanted = |request: &ReadRequest| request.facets.contains(&Facet::Definition);
        let wanted = databases.iter().filter(|(_, request)| is_wanted(request));
        let calls = wanted
            .map(|(name, _)| async move { (*name, self.read_database_definitions(name).await) });
        let wanted = tables.iter().filter(|(_, request)| is_wanted(request));
        let wanted: Vec<&TableId> = wanted.map(|(id, _)| *id).collect();
        let (databases, tables) = join(
            run_concurrently(calls, self.max_concurrent_calls),
            self.get_tables(&wanted),
        )
        .await;
        (databases.into_iter().collect(), tables)
    }

    /// Whether the data lake settings matter: they decide whose grants are compared, whether an
    /// absence is proven, and whether a new database would be open to everyone. They are read only
    /// if one of these matters.
    fn needs_settings(&self, snapshots: &Snapshots) -> bool {
        let grants_differ = snapshots
            .primary
            .grants
            .iter()
            .any(|(subject, grants)| snapshots.standby.grants.get(subject) != Some(grants));
        let databases_differ = snapshots.primary.databases.iter().any(|(name, observed)| {
            let standby = snapshots.standby.databases.get(name);
            let in_standby = standby.and_then(Observation::present).is_some();
            observed.present().is_some() != in_standby
        });
        let all_tables_grants_differ =
            snapshots
                .standby
                .all_tables_grants
                .iter()
                .any(|(name, standby)| {
                    let primary = snapshots.primary.all_tables_grants.get(name);
                    primary.and_then(Observation::present) != standby.present()
                        && !self.has_only_own_grants(standby)
                });
        let lf_tag_policy_grants = [&snapshots.primary, &snapshots.standby].map(|snapshot| {
            let observed = snapshot.lf_tag_policy_grants.as_ref();
            let observed = observed.and_then(Observation::present);
            observed.is_some_and(|observed| !observed.grants.is_empty())
        });
        grants_differ
            || databases_differ
            || all_tables_grants_differ
            || lf_tag_policy_grants.contains(&true)
            || dependencies::has_extra_permission_attachments(snapshots)
    }

    /// Whether a problem was found in the permissions of a requested subject: only an administrator
    /// sees whether it is gone.
    fn has_permission_problem(&self, read_requests: &BTreeMap<Subject, ReadRequest>) -> bool {
        let rows = read_requests
            .keys()
            .filter_map(|subject| self.rows.get(subject));
        let mut rows = rows.filter(|row| row.state != SubjectState::InSync);
        rows.any(|row| row.problem_facets.iter().any(|facet| facet.is_permission()))
    }

    fn has_only_own_grants(&self, grants: &Observation<Grants>) -> bool {
        let all = grants.present().into_iter().flat_map(Grants::keys);
        all.into_iter()
            .all(|grant| self.own_roles.contains(&grant.principal.0))
    }

    async fn read_settings(&self, snapshots: &mut Snapshots) {
        snapshots.are_settings_newest = self.prefetched.settings.is_none();
        let (primary, standby) = match &self.prefetched.settings {
            Some(settings) => settings.clone(),
            None => Prefetched::settings(self.primary, self.standby).await,
        };
        snapshots.primary.settings = Some(primary);
        snapshots.standby.settings = Some(standby);
        let settings = snapshots.primary.settings.as_ref();
        snapshots.primary.is_administrator = settings
            .and_then(Observation::present)
            .is_some_and(|settings| settings.administrators.contains(self.reader_role));
        let settings = snapshots.standby.settings.as_ref();
        snapshots.standby.is_administrator =
            settings
                .and_then(Observation::present)
                .is_some_and(|settings| {
                    let mut administrators = settings.administrators.iter();
                    administrators.any(|principal| self.own_roles.contains(&principal.0))
                });
    }

    /// Whether a subject that neither Region shows is forgotten by a proof only: the ledger ties it to
    /// an object that the standby may have, or has a problem of it.
    fn requires_absence_proof(&self, subject: &Subject) -> bool {
        let row = self.rows.get(subject);
        row.is_some_and(|row| row.may_have_object() || row.state != SubjectState::InSync)
    }

    /// Adds to the proof of each absence whether Twinlake's role is an administrator and whether an
    /// event named the deletion.
    fn complete_proofs(
        &self,
        read_requests: &BTreeMap<Subject, ReadRequest>,
        snapshots: &mut Snapshots,
    ) {
        let is_deletion_named = |subject: &Subject| {
            read_requests
                .get(subject)
                .is_some_and(|request| request.deletion_named)
        };
        let is_named_with_database = |subject: Subject, database: &Name| {
            is_deletion_named(&subject) || is_deletion_named(&Subject::Database(database.clone()))
        };
        for snapshot in [&mut snapshots.primary, &mut snapshots.standby] {
            resolve_refusals(&mut snapshot.databases);
            resolve_refusals(&mut snapshot.tables);
            resolve_refusals(&mut snapshot.functions);
            let administrator = snapshot.is_administrator;
            let complete = |proof: &mut AbsenceProof, is_named: bool| {
                proof.is_administrator = administrator;
                proof.deletion_named |= is_named;
            };
            for (name, observed) in &mut snapshot.databases {
                if let Observation::Absent(proof) = observed {
                    complete(proof, is_deletion_named(&Subject::Database(name.clone())));
                }
            }
            for (id, observed) in &mut snapshot.functions {
                if let Observation::Absent(proof) = observed {
                    let subject = Subject::Function(id.clone());
                    complete(proof, is_named_with_database(subject, &id.database));
                }
            }
            for (id, observed) in &mut snapshot.tables {
                if let Observation::Absent(proof) = observed {
                    let subject = Subject::Table(id.clone());
                    complete(proof, is_named_with_database(subject, &id.database));
                }
            }
        }
    }

    /// Whether an absence has to be proven: an object that the standby has, or may have, is not
    /// found in a Region. Then this round has to read whether Twinlake's roles are administrators
    /// there.
    fn needs_absence_proof(&self, snapshots: &Snapshots) -> bool {
        let (primary, standby) = (&snapshots.primary, &snapshots.standby);
        needs_proof(&primary.databases, &standby.databases, |name| {
            self.requires_absence_proof(&Subject::Database(name.clone()))
        }) || needs_proof(&primary.tables, &standby.tables, |id| {
            self.requires_absence_proof(&Subject::Table(id.clone()))
        }) || needs_proof(&primary.functions, &standby.functions, |id| {
            self.requires_absence_proof(&Subject::Function(id.clone()))
        })
    }
}

/// Marks as unknown what a read refused and no listing lacks.
fn resolve_refusals<K: Ord, T>(observed: &mut BTreeMap<K, Observation<T>>) {
    for one in observed.values_mut() {
        if let Some(error) = read_error_of(one).cloned()
            && !matches!(one, Observation::Absent(proof) if proof.unlisted)
        {
            *one = Observation::Unknown(error);
        }
    }
}

fn needs_proof<K: Ord, T>(
    primary: &BTreeMap<K, Observation<T>>,
    standby: &BTreeMap<K, Observation<T>>,
    requires_absence_proof: impl Fn(&K) -> bool,
) -> bool {
    let is_absent = |observed: &Observation<T>| matches!(observed, Observation::Absent(_));
    let is_in_standby = |key: &K| {
        let observed = standby.get(key);
        observed.and_then(Observation::present).is_some()
    };
    let mut absent_in_primary = primary.iter().filter(|(_, observed)| is_absent(observed));
    let mut absent_in_standby = standby.iter().filter(|(_, observed)| is_absent(observed));
    absent_in_primary.any(|(key, _)| is_in_standby(key) || requires_absence_proof(key))
        || absent_in_standby.any(|(key, _)| requires_absence_proof(key))
}

/// Counts the paired objects of ledger rows by kind.
#[must_use]
pub fn count_paired(rows: &LedgerRows) -> ObjectCounts {
    let mut counts = ObjectCounts::default();
    for row in rows.values() {
        let is_item = |key: &&String| intended_item(key).is_none();
        match &row.subject {
            Subject::LakeFormation(
                LfSubject::LfTags | LfSubject::LfTagExpressions | LfSubject::DataLocations,
            ) => counts.items += row.managed_keys.iter().filter(is_item).count(),
            Subject::LakeFormation(LfSubject::Permissions | LfSubject::Settings)
            | Subject::Catalog
            | Subject::Database(_)
            | Subject::Table(_)
            | Subject::Function(_) => {}
        }
    }
    for row in rows.values().filter(|row| row.pairing.is_some()) {
        match row.subject {
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => {}
            Subject::Database(_) => counts.databases += 1,
            Subject::Table(_) => {
                counts.tables += 1;
                counts.partitions += row.partitions;
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_shows_an_object_does_not_prove_its_absence() {
        let proof = |listed: &[&str]| match absent_by_name::<_, ()>(&"orders", listed.iter(), None)
        {
            Observation::Absent(proof) => (proof.unlisted, proof.sibling_seen),
            Observation::Present(()) | Observation::Unknown(_) => panic!("it is not absent"),
        };
        assert_eq!(proof(&["orders"]), (false, false));
        assert_eq!(proof(&["orders", "items"]), (false, true));
        assert_eq!(proof(&["items"]), (true, true));
        assert_eq!(proof(&[]), (true, false));
    }
}
