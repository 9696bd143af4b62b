//! What a session reads again, because the primary or another run changed it meanwhile; and which grants of a listing it
//! does not believe, because events say that they were revoked (LF-07).

use super::bookkeeping::full_request;
use super::session::Session;
use crate::ports::{Clock as _, Environment};
use std::collections::BTreeMap;
use twinlake_core::ledger::LedgerRows;
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::scope::{Facet, KnownGrantCalls, ReadRequest, WHOLE_DATABASE};
use twinlake_core::snapshot::{Observation, Snapshot};
use twinlake_core::topology::BySite;
use twinlake_core::{LedgerRow, LfSubject, Name, Subject, SubjectState, Timestamp};

/// The subject of the grants on the catalog.
const PERMISSIONS: Subject = Subject::LakeFormation(LfSubject::Permissions);

impl<E: Environment> Session<'_, E> {
    /// Makes this round read what another run has recreated or deleted since the round before: rows are read in each round, and objects only where this session changed something.
    pub(super) fn reread_changed_pairings(&mut self, rows: &LedgerRows) {
        let pairings = pairings_of(rows);
        if let Some(known) = self.known_pairings.replace(pairings.clone()) {
            // The rows of this round may be of more subjects.
            let changed = known
                .iter()
                .filter(|(subject, created)| pairings.get(*subject) != Some(*created));
            for (subject, _) in changed {
                let request = full_request(subject);
                self.scope.add(subject.clone(), request.clone());
                let next = self.read_requests.entry(subject.clone()).or_default();
                next.facets.extend(request.facets);
            }
        }
    }

    /// Removes from the primary's listing the grants that it still shows although, by the events, the last call
    /// revoked them: it may show them for days (LF-07). Once the listing lacks a grant, its calls are forgotten.
    pub(super) fn disbelieve_revoked_grants(&mut self, rows: &LedgerRows) {
        let listed = self.snapshots.primary.grants.get_mut(&PERMISSIONS);
        let Some(Observation::Present(listed)) = listed else {
            return;
        };
        let stored = rows.get(&PERMISSIONS).map(|row| row.grant_calls.clone());
        self.grant_calls = Some(KnownGrantCalls::disbelieve(
            &stored.unwrap_or_default(),
            &self.scope.grant_calls,
            listed,
            &mut self.disbelieved_grants,
        ));
    }

    /// What is told of the grants of which the listing of the primary was not believed.
    pub(super) fn disbelieved_findings(&self) -> impl Iterator<Item = Finding> {
        self.disbelieved_grants.iter().map(|grant| Finding {
            kind: FindingKind::Unsupported,
            subject: PERMISSIONS,
            detail: format!(
                "the primary lists {grant}, and the last call that events report revoked it: it is not in the \
                 standby; if it was granted since, grant it again in the primary"
            ),
        })
    }

    /// The row of the permissions with what events say of grants that the primary lists. What another run
    /// has stored meanwhile stays.
    pub(super) fn with_grant_calls(&self, row: LedgerRow) -> LedgerRow {
        let calls = self.grant_calls.as_ref();
        let Some(calls) = calls.filter(|_| row.subject == PERMISSIONS) else {
            return row;
        };
        let mut row = row;
        calls.record_in(&mut row.grant_calls);
        row
    }

    /// The row of the permissions, to be stored before grants are made or revoked. A concurrent run whose row lacks a
    /// revoke that an event of this run reported would believe the listing, and grant again.
    pub(super) fn permissions_row_with_grant_calls(&self, rows: &LedgerRows) -> Option<LedgerRow> {
        self.grant_calls.as_ref()?;
        let stored = rows.get(&PERMISSIONS).cloned();
        let is_stored = stored.is_some();
        let row = self.with_grant_calls(stored.unwrap_or_else(|| {
            let now = self.context.clock.now();
            LedgerRow::new(PERMISSIONS, SubjectState::OutOfSync, now)
        }));
        (is_stored || !row.grant_calls.is_empty()).then_some(row)
    }

    /// Records the pairings that this session itself has written.
    pub(super) fn know_pairings(&mut self, rows: &LedgerRows) {
        self.known_pairings = Some(pairings_of(rows));
    }

    /// Makes the next round read everything in the databases that the primary dropped after this
    /// session had read some of it: what was read before is older than the drop, in the standby
    /// too, where another run may have acted on it. Returns whether there are such databases.
    pub(super) fn reread_dropped_databases(&mut self) -> bool {
        if self.outcome.rounds == 1 {
            return false;
        }
        let primary = &self.snapshots.primary;
        let dropped = primary.databases.iter().filter(|(name, database)| {
            let request = self.read_requests.get(&Subject::Database((*name).clone()));
            let was_just_read =
                request.is_some_and(|request| request.facets.contains(&Facet::Contents));
            matches!(database, Observation::Absent(_))
                && !was_just_read
                && !self.reread_databases.contains(*name)
                && [primary, &self.snapshots.standby].map(|snapshot| has_objects(snapshot, name))
                    != [false; 2]
        });
        let dropped: Vec<Name> = dropped.map(|(name, _)| name.clone()).collect();
        if dropped.is_empty() {
            return false;
        }
        self.read_requests.clear();
        for name in dropped {
            for snapshot in [&mut self.snapshots.primary, &mut self.snapshots.standby] {
                forget_objects(snapshot, &name);
            }
            self.reread_databases.insert(name.clone());
            let request = ReadRequest::for_facets(&WHOLE_DATABASE);
            let subject = Subject::Database(name);
            self.scope.add(subject.clone(), request.clone());
            self.read_requests.insert(subject, request);
        }
        self.next_read_adds = true;
        true
    }
}

/// When the paired object of each subject was created in each site.
fn pairings_of(rows: &LedgerRows) -> BTreeMap<Subject, BySite<Option<Timestamp>>> {
    let paired = rows.iter().filter_map(|(subject, row)| {
        let pairing = row.pairing.as_ref()?;
        Some((subject.clone(), pairing.created))
    });
    paired.collect()
}

/// Whether a snapshot has a table or function of a database.
fn has_objects(snapshot: &Snapshot, database: &Name) -> bool {
    let mut tables = snapshot.tables.iter();
    let mut functions = snapshot.functions.iter();
    tables.any(|(id, table)| id.database == *database && table.present().is_some())
        || functions.any(|(id, function)| id.database == *database && function.present().is_some())
}

/// Removes what a snapshot has of the tables and functions of a database.
fn forget_objects(snapshot: &mut Snapshot, database: &Name) {
    snapshot.tables.retain(|id, _| id.database != *database);
    snapshot.partitions.retain(|id, _| id.database != *database);
    snapshot.functions.retain(|id, _| id.database != *database);
    snapshot.attachments.retain(|(subject, _), _| {
        matches!(subject, Subject::Database(_)) || subject.database() != Some(database)
    });
}
