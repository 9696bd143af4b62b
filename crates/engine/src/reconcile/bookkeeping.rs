//! Writes the ledger rows at the end of a session, and says what has to wait.

use super::OutdatedListings;
use super::problems::{Problem, Problems};
use super::session::Session;
use crate::observe::lakeformation::SUBJECTS_WITH_ITEMS;
use crate::ports::{Clock, Environment, Ledger};
use crate::versioned_item::{self, ItemUpdate, RowItem};
use std::cell::Cell;
use std::collections::BTreeSet;
use twinlake_core::audit;
use twinlake_core::catalog::Observed;
use twinlake_core::ledger::{Intent, LedgerRows, Pairing};
use twinlake_core::plan::{Finding, SubjectOutcome};
use twinlake_core::scope::{Facet, ReadRequest, WHOLE_DATABASE, WHOLE_TABLE, subject_of_grant};
use twinlake_core::snapshot::Observation;
use twinlake_core::{CallError, LedgerRow, Plan, Scope, Subject, SubjectState, Timestamp};

/// Why a subject is reconciled again whose row another run has changed.
const CONCURRENT_CHANGE: &str = "another run reconciled it at the same time";

impl<'a, E: Environment> Session<'a, E> {
    /// Writes the ledger row of each subject and completes the outcome.
    pub(super) async fn finish(&mut self, rows: &LedgerRows, plan: &Plan) -> Result<(), CallError> {
        let tables = self.snapshots.primary.tables.iter();
        self.outcome.iceberg = tables
            .filter(|(_, table)| {
                table
                    .present()
                    .is_some_and(|observed| observed.object.is_iceberg())
            })
            .map(|(id, _)| id.clone())
            .collect();
        self.record_due_tables(rows, plan);
        self.record_items();
        self.record_scanned();
        let left_to_schedule = self.snapshots.left_to_schedule.keys().cloned();
        self.outcome.left_to_schedule = left_to_schedule.collect();
        self.add_rejections_of_pages();
        self.outcome
            .findings
            .extend(std::mem::take(&mut self.earlier_findings));
        self.add_waiting_subjects(plan);
        self.record_uncompared(rows, plan);
        self.record_relisted_revokes();
        let problems = self.problems(plan);
        let in_conflict = self.write_rows(rows, plan, &problems).await?;
        for subject in in_conflict {
            if let Some(subject_outcome) = plan.subject_outcomes.get(&subject) {
                let problem = problems.get(&subject);
                self.merge_row(rows.get(&subject), &subject, subject_outcome, problem)
                    .await?;
            }
        }
        Ok(())
    }

    /// Records the items of Lake Formation that were read after steps on them.
    fn record_items(&mut self) {
        if self.outcome.outdated_listings != OutdatedListings::Items {
            return;
        }
        for lf_subject in SUBJECTS_WITH_ITEMS {
            let items = (Subject::LakeFormation(lf_subject), Facet::Items);
            let (primary, standby) = (&self.snapshots.primary, &self.snapshots.standby);
            if let (Some(in_primary), Some(in_standby)) = (
                primary.attachments.get(&items),
                standby.attachments.get(&items),
            ) {
                let read = (in_primary.clone(), in_standby.clone());
                self.outcome.items.insert(lf_subject, read);
            }
        }
    }

    /// Records what the present plan found.
    pub(super) fn record_plan(&mut self, plan: &Plan) {
        self.outcome.findings.clone_from(&plan.findings);
        let disbelieved: Vec<Finding> = self.disbelieved_findings().collect();
        self.outcome.findings.extend(disbelieved);
        self.record_partition_problems(plan);
        self.outcome.oversized.append(&mut self.snapshots.oversized);
        let subject_outcomes = &mut self.outcome.subject_outcomes;
        subject_outcomes.clone_from(&plan.subject_outcomes);
    }

    /// Records the grants that the requested scope names as revoked and that the primary lists.
    fn record_relisted_revokes(&mut self) {
        for (grant, grantable) in &self.requested_scope.named_revokes {
            let subject = subject_of_grant(grant);
            let listed = self.snapshots.primary.grants.get(&subject);
            let listed = listed.and_then(Observation::present);
            let is_named = self.requested_scope.is_named_by_event(grant);
            if is_named && listed.is_some_and(|listed| listed.contains_key(grant)) {
                let relisted = &mut self.outcome.relisted_revokes;
                let request = ReadRequest::for_facets(&[Facet::Definition, Facet::Grants]);
                relisted.add(subject, request);
                relisted.named_revokes.insert(grant.clone(), *grantable);
            }
        }
    }

    /// Records the subjects of scanned databases that are not in sync and that the plan does not compare,
    /// since the policy leaves them out: nothing was found of them.
    fn record_uncompared(&mut self, rows: &LedgerRows, plan: &Plan) {
        for (subject, row) in rows {
            let database = subject.database();
            let is_scanned = database.is_some_and(|name| self.outcome.fully_scanned.contains(name));
            if is_scanned
                && row.state != SubjectState::InSync
                && !plan.subject_outcomes.contains_key(subject)
            {
                self.outcome.not_fully_read.insert(subject.clone());
            }
        }
    }

    /// Writes the rows that change. Returns the subjects whose row another run has changed.
    async fn write_rows(
        &mut self,
        rows: &LedgerRows,
        plan: &Plan,
        problems: &Problems,
    ) -> Result<BTreeSet<Subject>, CallError> {
        let mut changed_rows = Vec::new();
        let mut gone = Vec::new();
        let mut in_conflict = BTreeSet::new();
        for (subject, subject_outcome) in &plan.subject_outcomes {
            let old = rows.get(subject);
            if subject_outcome.gone {
                gone.extend(old);
                continue;
            }
            let is_outdated = !self.record_managed_keys(subject, subject_outcome).await?
                || self.is_of_older_object(subject_outcome, old);
            let mut row = match is_outdated {
                true => self.new_row(subject, old, &self.outdated(subject, subject_outcome), None),
                false => self.new_row(subject, old, subject_outcome, problems.get(subject)),
            };
            let has_newer_problem = old.is_some_and(|old| self.is_newer_problem(old));
            self.record_state(&row, has_newer_problem);
            if is_outdated {
                self.reconcile_again(subject);
            }
            if Some(&row) != old || self.unstored_intents.contains(subject) {
                self.set_read_times(&mut row);
                changed_rows.push(row);
            }
        }
        let now = self.context.clock.now();
        let (kept, obsolete) = self.rows_of_missing_objects(gone, rows);
        changed_rows.extend(
            kept.into_iter()
                .filter_map(|row| row_without_problem(row, now)),
        );
        if !changed_rows.is_empty() {
            in_conflict.extend(self.context.ledger.put_rows(&changed_rows).await?);
        }
        if !obsolete.is_empty() {
            in_conflict.extend(self.context.ledger.delete_rows(&obsolete).await?);
        }
        Ok(in_conflict)
    }

    /// Writes the row of a subject whose stored row another run has changed since this session
    /// read it. What the other one paired or was about to create is kept. If that differs from what
    /// this session's decision rests on, the subject is reconciled again.
    async fn merge_row(
        &mut self,
        base: Option<&LedgerRow>,
        subject: &Subject,
        subject_outcome: &SubjectOutcome,
        problem: Option<&Problem>,
    ) -> Result<(), CallError> {
        // A write of this session whose response was lost is no change of another run.
        let own_row = self.new_row(subject, base, subject_outcome, problem);
        let known = [base.map(ownership).unwrap_or_default(), ownership(&own_row)];
        let ledger = self.context.ledger;
        let item = RowItem { ledger, subject };
        let has_newer_problem = Cell::new(false);
        let merged = versioned_item::update(&item, None, |stored| {
            let newer = stored
                .as_ref()
                .filter(|stored| self.is_newer_problem(stored));
            has_newer_problem.set(newer.is_some());
            let is_outdated = stored
                .as_ref()
                .is_some_and(|stored| !known.contains(&ownership(stored)));
            let may_forget = stored.as_ref().is_some_and(|row| self.may_forget(row));
            if subject_outcome.gone && (!may_forget || is_outdated) {
                return ItemUpdate::Keep(None);
            }
            if subject_outcome.gone {
                return ItemUpdate::Delete(None);
            }
            let stored_pairing = stored.as_ref().and_then(|row| row.pairing.as_ref());
            let merged_outcome = SubjectOutcome {
                pairing: Pairing::merge(
                    base.and_then(|base| base.pairing.as_ref()),
                    subject_outcome.pairing.clone(),
                    stored_pairing,
                    self.context.epoch,
                ),
                ..subject_outcome.clone()
            };
            let is_confirmed = subject_outcome.state == SubjectState::InSync
                && problem.is_none()
                && merged_outcome.pairing == subject_outcome.pairing;
            let mut row = match is_outdated && !is_confirmed {
                true => self.new_row(
                    subject,
                    stored.as_ref(),
                    &self.outdated(subject, &merged_outcome),
                    None,
                ),
                false => self.new_row(subject, stored.as_ref(), &merged_outcome, problem),
            };
            if Some(&row) == stored.as_ref() {
                return ItemUpdate::Keep(Some(row));
            }
            self.set_read_times(&mut row);
            ItemUpdate::Put(row.clone(), Some(row))
        })
        .await?;
        if let Some(row) = merged {
            self.record_state(&row, has_newer_problem.get());
            if row.reason.as_deref() == Some(CONCURRENT_CHANGE) {
                self.reconcile_again(subject);
            }
        }
        Ok(())
    }

    /// Records in the outcome the state of a subject as its row has it.
    fn record_state(&mut self, row: &LedgerRow, has_newer_problem: bool) {
        let subject = &row.subject;
        let is_unread = has_newer_problem || self.has_unread_problem(row);
        let outcome = &mut self.outcome;
        outcome.not_in_sync.remove(subject);
        outcome.reasons.remove(subject);
        outcome.not_fully_read.remove(subject);
        if row.state != SubjectState::InSync {
            outcome.not_in_sync.insert(subject.clone(), row.state);
            let reason = row.reason.clone();
            let reason = reason.map(|reason| (subject.clone(), reason));
            outcome.reasons.extend(reason);
        }
        if is_unread {
            outcome.not_fully_read.insert(subject.clone());
        }
    }

    /// Whether the row of a subject that exists nowhere may be deleted. While another run may be
    /// creating the object, the row keeps its intent.
    fn may_forget(&self, row: &LedgerRow) -> bool {
        !row.is_creation_under_way(self.run, self.context.clock.now())
    }

    /// Divides the rows of objects that exist nowhere into those that stay and those that go. The row of
    /// a database stays with any row of its contents: without it, no run finds these.
    fn rows_of_missing_objects<'r>(
        &self,
        gone: Vec<&'r LedgerRow>,
        rows: &LedgerRows,
    ) -> (Vec<&'r LedgerRow>, Vec<LedgerRow>) {
        let (may_go, mut kept): (Vec<&LedgerRow>, Vec<&LedgerRow>) =
            gone.into_iter().partition(|row| self.may_forget(row));
        let (databases, contents): (Vec<&LedgerRow>, Vec<&LedgerRow>) = may_go
            .into_iter()
            .partition(|row| matches!(row.subject, Subject::Database(_)));
        let mut obsolete: Vec<LedgerRow> = contents.into_iter().cloned().collect();
        let leaving: BTreeSet<Subject> = obsolete.iter().map(|row| row.subject.clone()).collect();
        for database in databases {
            let in_database = |subject: &Subject| {
                *subject != database.subject && subject.database() == database.subject.database()
            };
            let mut staying = rows.keys().filter(|subject| !leaving.contains(*subject));
            match staying.any(in_database) {
                true => kept.push(database),
                false => obsolete.push(database.clone()),
            }
        }
        (kept, obsolete)
    }

    /// Whether the row pairs a newer object of the standby than the one that this session read:
    /// another run recreated it, and this session did not read it again.
    fn is_of_older_object(&self, outcome: &SubjectOutcome, row: Option<&LedgerRow>) -> bool {
        let paired = row.and_then(|row| row.pairing.as_ref());
        let mut pairs = paired.zip(outcome.pairing.as_ref()).into_iter();
        pairs.any(|(paired, found)| paired.is_of_newer_object(found, self.context.epoch))
    }

    /// The outcome of a subject whose row another run has changed: what was found of it is no
    /// longer true.
    fn outdated(&self, subject: &Subject, subject_outcome: &SubjectOutcome) -> SubjectOutcome {
        SubjectOutcome {
            state: SubjectState::OutOfSync,
            reason: Some(CONCURRENT_CHANGE.to_owned()),
            problem_facets: self.planned_facets(subject),
            ..subject_outcome.clone()
        }
    }

    /// Lets a subject wait for another message. What was found of it is no longer true.
    fn reconcile_again(&mut self, subject: &Subject) {
        let reason = CONCURRENT_CHANGE.to_owned();
        let is_other = |finding: &Finding| finding.subject != *subject;
        self.outcome.findings.retain(is_other);
        let requested = self.requested_scope.read_requests.get(subject).cloned();
        let request = requested.unwrap_or_else(|| full_request(subject));
        let waiting = &mut self.outcome.waiting;
        let (scope, _) = waiting.get_or_insert_with(|| (Scope::default(), reason));
        scope.add(subject.clone(), request);
    }

    fn record_scanned(&mut self) {
        for (subject, request) in &self.requested_scope.read_requests {
            self.outcome.scanned.insert(subject.clone());
            if let Subject::Database(name) = subject
                && request.facets.contains(&Facet::Contents)
                && self.is_read(subject, Facet::Contents)
            {
                self.outcome.fully_scanned.insert(name.clone());
            }
        }
    }

    /// Sets the times of a row that is written anyway: a time alone is no reason to write one.
    fn set_read_times(&self, row: &mut LedgerRow) {
        let database = row.subject.database();
        let is_listed = database.is_some_and(|name| self.outcome.fully_scanned.contains(name));
        let requested = self.scope.read_requests.get(&row.subject);
        let full = full_request(&row.subject);
        let is_fully_read =
            is_listed || requested.is_some_and(|request| request.facets.is_superset(&full.facets));
        if is_listed {
            row.listed_at = Some(self.started);
        }
        let is_left_to_schedule = match &row.subject {
            Subject::Table(id) => self.snapshots.left_to_schedule.contains_key(id),
            Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Database(_)
            | Subject::Function(_) => false,
        };
        if is_fully_read && !is_left_to_schedule && row.state == SubjectState::InSync {
            row.verified_at = Some(self.started);
        }
    }

    /// Returns the row of a subject after the session.
    fn new_row(
        &self,
        subject: &Subject,
        old: Option<&LedgerRow>,
        subject_outcome: &SubjectOutcome,
        problem: Option<&Problem>,
    ) -> LedgerRow {
        let now = self.context.clock.now();
        let worse = problem.filter(|problem| problem.state > subject_outcome.state);
        let (state, reason) = match worse {
            Some(problem) => (problem.state, Some(problem.reason.clone())),
            None => (subject_outcome.state, subject_outcome.reason.clone()),
        };
        let mut row = row_of(subject, old, subject_outcome, (state, reason), now);
        row.over_deletion_limit = self.is_over_deletion_limit(subject);
        let paired = old.and_then(|old| old.pairing.as_ref());
        row.pairing = Pairing::merge(paired, row.pairing, paired, self.context.epoch);
        if self.is_paired_object_seen(subject, row.pairing.as_ref()) {
            row.forget_intents(self.run, now);
        }
        let known = old.and_then(|old| old.pairing.as_ref());
        let partition_count = match subject {
            Subject::Table(id) => self.partition_counts.get(id).copied(),
            Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Database(_)
            | Subject::Function(_) => None,
        };
        row.partitions = partition_count.unwrap_or(row.partitions);
        row.source_location = self.source_location(subject).or(row.source_location);
        let epoch = self.context.epoch;
        let is_incomplete = !self.outcome.rejections.is_empty()
            || self.has_unread_partitions(subject, partition_count);
        // While partitions of a recreated table are missing, the old creation time in the row
        // says that the table was recreated.
        if let (Some(known), Some(pairing), true) = (known, &mut row.pairing, is_incomplete)
            && known.created_in(epoch.standby()) == pairing.created_in(epoch.standby())
        {
            let primary = epoch.primary();
            *pairing.created.get_mut(primary) = known.created_in(primary);
        }
        self.keep_earlier_problems(old, (subject_outcome, problem), &mut row);
        self.with_grant_calls(row).with_history_of(old)
    }

    /// Whether the object that a pairing names was seen in the standby. Until then, the intent of a
    /// creation is kept: the call may have taken effect although it failed.
    fn is_paired_object_seen(&self, subject: &Subject, pairing: Option<&Pairing>) -> bool {
        let standby = &self.snapshots.standby;
        let created = match subject {
            Subject::Catalog | Subject::LakeFormation(_) => None,
            Subject::Database(name) => created_of(standby.databases.get(name)),
            Subject::Table(id) => created_of(standby.tables.get(id)),
            Subject::Function(id) => created_of(standby.functions.get(id)),
        };
        let paired = pairing.map(|pairing| pairing.created_in(self.context.epoch.standby()));
        created.is_some() && created == paired
    }

    /// The location of a table's files in the primary, if the table was read there.
    fn source_location(&self, subject: &Subject) -> Option<String> {
        let Subject::Table(id) = subject else {
            return None;
        };
        let table = self.snapshots.primary.tables.get(id)?.present()?;
        let storage = table.object.storage_descriptor.as_ref()?;
        let location = storage.location.clone();
        location.filter(|location| !location.is_empty())
    }

    /// Whether partitions of a table are still to be read.
    fn has_unread_partitions(&self, subject: &Subject, partition_count: Option<usize>) -> bool {
        let Subject::Table(id) = subject else {
            return partition_count.is_none();
        };
        let table = self.snapshots.primary.tables.get(id);
        let table = table.and_then(Observation::present);
        let is_partitioned =
            table.is_some_and(|observed| !observed.object.partition_keys.is_empty());
        self.snapshots.deferred.contains_key(id) || (is_partitioned && partition_count.is_none())
    }

    /// Whether deletions of a subject were rejected because of the deletion limit.
    fn is_over_deletion_limit(&self, subject: &Subject) -> bool {
        let mut rejected = self.rejected.iter();
        rejected.any(|(target, rule)| {
            *rule == audit::AuditRule::DeletionLimit && target.subject() == *subject
        })
    }
}

/// The row of an object that exists nowhere, and with which nothing is wrong. `None` if the stored row
/// says so.
fn row_without_problem(row: &LedgerRow, now: Timestamp) -> Option<LedgerRow> {
    (row.state != SubjectState::InSync).then(|| LedgerRow {
        state: SubjectState::InSync,
        since: now,
        reason: None,
        over_deletion_limit: false,
        problem_facets: BTreeSet::new(),
        problem_partitions: BTreeSet::new(),
        ..row.clone()
    })
}

/// What decides whether Twinlake manages the standby's object.
fn ownership(row: &LedgerRow) -> (Option<Pairing>, BTreeSet<Intent>) {
    (row.pairing.clone(), row.intents.clone())
}

/// When an object was created, if it was seen.
fn created_of<T>(observation: Option<&Observation<Observed<T>>>) -> Option<Option<Timestamp>> {
    let observed = observation.and_then(Observation::present);
    observed.map(|observed| observed.created)
}

/// A read request for everything that a subject has.
pub(super) fn full_request(subject: &Subject) -> ReadRequest {
    match subject {
        Subject::Table(_) => ReadRequest::for_facets(&WHOLE_TABLE),
        Subject::Database(_) => ReadRequest::for_facets(&WHOLE_DATABASE),
        Subject::LakeFormation(lf_subject) => ReadRequest::for_facets(lf_subject.facets()),
        Subject::Catalog | Subject::Function(_) => ReadRequest::for_facets(&[Facet::Definition]),
    }
}

fn row_of(
    subject: &Subject,
    old: Option<&LedgerRow>,
    subject_outcome: &SubjectOutcome,
    (state, reason): (SubjectState, Option<String>),
    now: Timestamp,
) -> LedgerRow {
    let has_begun = |old: &&LedgerRow| old.state == state && old.since != Timestamp::default();
    let same_state = old.filter(has_begun);
    LedgerRow {
        version: old.and_then(|old| old.version),
        subject: subject.clone(),
        pairing: subject_outcome.pairing.clone(),
        intents: old.map(|old| old.intents.clone()).unwrap_or_default(),
        state,
        since: same_state.map_or(now, |old| old.since),
        reason,
        over_deletion_limit: false,
        problem_facets: old
            .map(|old| old.problem_facets.clone())
            .unwrap_or_default(),
        problem_partitions: old
            .map(|old| old.problem_partitions.clone())
            .unwrap_or_default(),
        source_location: old.and_then(|old| old.source_location.clone()),
        iceberg: old.and_then(|old| old.iceberg.clone()),
        log: old.and_then(|old| old.log.clone()),
        listed_at: old.and_then(|old| old.listed_at),
        verified_at: old.and_then(|old| old.verified_at),
        history: Vec::new(),
        table_default: subject_outcome
            .table_default
            .clone()
            .or_else(|| old.and_then(|old| old.table_default.clone())),
        partitions: old.map_or(0, |old| old.partitions),
        grant_calls: old.map(|old| old.grant_calls.clone()).unwrap_or_default(),
        ..LedgerRow::new(subject.clone(), state, now).with_managed_keys_of(old)
    }
}
