//! Reads grants on a subject.

use super::{ObservationPair, Observer, Prefetched, Snapshots, join, run_concurrently};
use crate::grant_index::GrantIndex;
use crate::ports::{GrantFilter, PermissionResourceType, ReadRegion};
use futures_util::future::join_all;
use twinlake_core::catalog::MaybeLink as _;
use twinlake_core::grant::{GrantMapping, ListedPermission};
use twinlake_core::snapshot::{Observation, Snapshot};
use twinlake_core::{CallError, CallErrorKind, Grants, Name, Subject};

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Reads the grants on a subject: from the listing of all grants, or by resource.
    pub(super) async fn read_grants(&self, subject: &Subject, snapshots: &mut Snapshots) {
        if let Some((primary, standby)) = self.listed_grants_on(subject) {
            let listings = [
                (primary, &mut snapshots.primary),
                (standby, &mut snapshots.standby),
            ];
            for (index, snapshot) in listings {
                let grants = match index {
                    Observation::Present(index) => {
                        snapshot.full_grant_reads.insert(subject.clone());
                        if index.proves_absence_on(subject) {
                            snapshot.nonempty_full_grant_reads.insert(subject.clone());
                        } else {
                            snapshot.nonempty_full_grant_reads.remove(subject);
                        }
                        Observation::Present(index.on(subject))
                    }
                    Observation::Absent(proof) => Observation::Absent(proof.clone()),
                    Observation::Unknown(error) => Observation::Unknown(error.clone()),
                };
                snapshot.grants.insert(subject.clone(), grants);
            }
            return;
        }
        let listed = self.list_grants_of_both(subject, snapshots).await;
        record_grants(subject, listed, snapshots);
    }

    /// Reads the grants on several subjects at the same time.
    pub(super) async fn read_grants_of(&self, subjects: &[Subject], snapshots: &mut Snapshots) {
        let mut by_resource = Vec::new();
        for subject in subjects {
            match self.listed_grants_on(subject) {
                Some(_) => self.read_grants(subject, snapshots).await,
                None => by_resource.push(subject),
            }
        }
        let read_only: &Snapshots = snapshots;
        let calls = by_resource.into_iter().map(|subject| async move {
            (subject, self.list_grants_of_both(subject, read_only).await)
        });
        for (subject, listed) in run_concurrently(calls, self.max_concurrent_calls).await {
            record_grants(subject, listed, snapshots);
        }
    }

    async fn list_grants_of_both(
        &self,
        subject: &Subject,
        snapshots: &Snapshots,
    ) -> ObservationPair<Grants> {
        let primary_is_link = is_link(&snapshots.primary, subject);
        let standby_is_link = is_link(&snapshots.standby, subject);
        join(
            self.list_grants(
                self.primary,
                subject,
                (primary_is_link, exists(&snapshots.primary, subject)),
                &self.mappings.0,
            ),
            self.list_grants(
                self.standby,
                subject,
                (standby_is_link, exists(&snapshots.standby, subject)),
                &self.mappings.1,
            ),
        )
        .await
    }

    /// The listings of all grants of both Regions.
    pub(super) fn listed_grants(&self) -> Option<&ObservationPair<GrantIndex>> {
        let prefetched = self.prefetched.grants.as_ref();
        prefetched.or_else(|| self.own_grant_listing.get())
    }

    /// Lists the grants that the round lists itself.
    pub(super) async fn list_own_grants(&self) {
        if let Some(wanted) = self.prefetched.list_grants {
            let listed =
                Prefetched::grants(self.primary, self.standby, self.mappings, wanted).await;
            self.own_grant_listing.get_or_init(|| listed);
        }
    }

    /// The listings of all grants of both Regions, if they are complete for a subject.
    pub(super) fn listed_grants_on(
        &self,
        subject: &Subject,
    ) -> Option<&ObservationPair<GrantIndex>> {
        let of_objects = |listed: &Observation<GrantIndex>| {
            listed.present().is_some_and(|index| index.of_objects)
        };
        let is_object = match subject {
            Subject::Database(_) | Subject::Table(_) => true,
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => false,
        };
        let listed = self.listed_grants();
        listed
            .filter(|(primary, standby)| is_object || !(of_objects(primary) || of_objects(standby)))
    }

    /// Reads the grants on all tables of a database. Those of the standby would give access to a new
    /// table; those of the primary show whether Twinlake's role sees all tables.
    pub(super) async fn read_all_tables_grants(&self, database: &Name, snapshots: &mut Snapshots) {
        let filter = GrantFilter::AllTables(database.clone());
        let subject = Subject::Database(database.clone());
        let in_primary = exists(&snapshots.primary, &subject);
        let in_standby = exists(&snapshots.standby, &subject);
        let index = |listed: Result<Vec<ListedPermission>, CallError>,
                     mapping: &GrantMapping,
                     exists: bool| match listed {
            Ok(entries) => {
                let index = GrantIndex::new(&entries, mapping);
                Observation::Present(index.on(&subject))
            }
            Err(error) if error.kind == CallErrorKind::NotFound && !exists => {
                Observation::Present(Grants::new())
            }
            Err(error) => Observation::Unknown(error),
        };
        let (primary, standby) = join(
            self.primary.grants_on(&filter),
            self.standby.grants_on(&filter),
        )
        .await;
        let (primary, standby) = (
            index(primary, &self.mappings.0, in_primary),
            index(standby, &self.mappings.1, in_standby),
        );
        snapshots
            .primary
            .all_tables_grants
            .insert(database.clone(), primary);
        snapshots
            .standby
            .all_tables_grants
            .insert(database.clone(), standby);
    }

    /// Lists the grants on a subject by resource.
    pub(super) async fn list_grants<R: ReadRegion>(
        &self,
        region: &R,
        subject: &Subject,
        (is_link, exists): (bool, bool),
        mapping: &GrantMapping,
    ) -> Observation<Grants> {
        let filters = match subject {
            Subject::Catalog | Subject::Function(_) => Vec::new(),
            Subject::LakeFormation(lf_subject) => {
                let types = PermissionResourceType::for_subject(*lf_subject).iter();
                types.map(|kind| GrantFilter::Type(*kind)).collect()
            }
            // Grants on the tables below a resource link cannot be listed by the link's name (LF-24).
            Subject::Database(name) if is_link => vec![GrantFilter::Database(name.clone())],
            Subject::Database(name) => vec![
                GrantFilter::Database(name.clone()),
                GrantFilter::AllTables(name.clone()),
            ],
            Subject::Table(id) => vec![GrantFilter::Table(id.clone())],
        };
        let mut entries = Vec::new();
        let listings = filters.iter().map(|filter| region.grants_on(filter));
        for listing in join_all(listings).await {
            match listing {
                Ok(listed) => entries.extend(listed),
                // A resource that does not exist has no grants. Of one that was just read, the answer says nothing.
                Err(error) if error.kind == CallErrorKind::NotFound && !exists => {}
                Err(error) => return Observation::Unknown(error),
            }
        }
        let index = GrantIndex::new(&entries, mapping);
        Observation::Present(index.on(subject))
    }
}

/// Adds grants that were listed by resource to the snapshots.
fn record_grants(
    subject: &Subject,
    (primary, standby): ObservationPair<Grants>,
    snapshots: &mut Snapshots,
) {
    for (grants, snapshot) in [
        (primary, &mut snapshots.primary),
        (standby, &mut snapshots.standby),
    ] {
        // A listing by resource does not prove an absence.
        snapshot.full_grant_reads.remove(subject);
        snapshot.nonempty_full_grant_reads.remove(subject);
        snapshot.grants.insert(subject.clone(), grants);
    }
}

/// Whether the snapshot shows the database or table.
pub(super) fn exists(snapshot: &Snapshot, subject: &Subject) -> bool {
    match subject {
        Subject::Database(name) => {
            let observed = snapshot.databases.get(name);
            observed.and_then(Observation::present).is_some()
        }
        Subject::Table(id) => {
            let observed = snapshot.tables.get(id);
            observed.and_then(Observation::present).is_some()
        }
        Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => false,
    }
}

fn is_link(snapshot: &Snapshot, subject: &Subject) -> bool {
    match subject {
        Subject::Database(name) => {
            let observed = snapshot.databases.get(name).and_then(Observation::present);
            observed.is_some_and(|observed| observed.is_link())
        }
        Subject::Catalog | Subject::LakeFormation(_) | Subject::Table(_) | Subject::Function(_) => {
            false
        }
    }
}
