//! Pages of large partition listings: which partitions each round reads and what is known of
//! the others.

use super::session::Session;
use crate::observe::DeferredRead;
use crate::ports::{Clock, Environment};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::partition_diff::PartitionValues;
use twinlake_core::plan::Finding;
use twinlake_core::render::{counted, one_or_many};
use twinlake_core::scope::{Facet, ReadRequest};
use twinlake_core::snapshot::{Observation, Partitions, Snapshot};
use twinlake_core::{Plan, Scope, Step, Subject, SubjectState, TableId};

impl<E: Environment> Session<'_, E> {
    /// Requests the next page of deferred partitions. Returns false if there is none, or if time
    /// ran out; then the outcome says what has to wait.
    pub(super) fn next_page(&mut self, plan: &Plan) -> bool {
        // A table that could not be read in this page cannot be read in the next one either.
        let unread = |partitions: &Observation<Partitions>| match partitions {
            Observation::Unknown(_) => true,
            Observation::Present(_) | Observation::Absent(_) => false,
        };
        let is_unread =
            |snapshot: &Snapshot, id: &TableId| snapshot.partitions.get(id).is_some_and(unread);
        let (primary, standby) = (&self.snapshots.primary, &self.snapshots.standby);
        let is_readable = |id: &&TableId| !is_unread(primary, id) && !is_unread(standby, id);
        let deferred = self.snapshots.deferred.keys();
        let tables: Vec<TableId> = deferred.filter(is_readable).cloned().collect();
        if tables.is_empty() {
            return false;
        }
        let now = self.context.clock.now();
        let is_out_of_time = self.context.stop_at.is_some_and(|stop_at| now >= stop_at);
        if is_out_of_time && (self.pages > 0 || self.outcome.rounds > 1) {
            let mut scope = Scope::default();
            let mut left = 0;
            for id in tables {
                let deferred = self.snapshots.deferred.get(&id);
                left += deferred.map_or(0, DeferredRead::len);
                let subject = Subject::Table(id);
                let requested = self.requested_scope.read_requests.get(&subject);
                let request = ReadRequest {
                    unnamed_partitions_deleted: requested
                        .is_some_and(|request| request.unnamed_partitions_deleted),
                    ..ReadRequest::for_facets(&[Facet::Definition, Facet::Partitions])
                };
                scope.add(subject, request);
            }
            let reason = format!(
                "time ran out; {} {} not replicated yet",
                counted(left, "partition"),
                one_or_many(left, "is", "are")
            );
            self.outcome.out_of_time = true;
            match &mut self.outcome.waiting {
                Some((waiting, _)) => waiting.merge(scope),
                none @ None => *none = Some((scope, reason)),
            }
            return false;
        }
        self.earlier_findings.extend(plan.findings.iter().cloned());
        self.keep_partition_problems(plan);
        self.read_requests = self.next_page_requests(&tables);
        self.pages += 1;
        self.page_rounds = 0;
        true
    }

    /// Keeps the problems of tables whose partitions this page read: the next page reads others.
    fn keep_partition_problems(&mut self, plan: &Plan) {
        for (subject, outcome) in &plan.subject_outcomes {
            let Subject::Table(id) = subject else {
                continue;
            };
            let is_problem = match outcome.state {
                SubjectState::InSync | SubjectState::DataPending => false,
                SubjectState::OnHold | SubjectState::OutOfSync | SubjectState::Blocked => true,
            };
            if !is_problem || !self.snapshots.primary.partitions.contains_key(id) {
                continue;
            }
            let reason = outcome.reason.clone().unwrap_or_default();
            let known = self.partition_problems.entry(subject.clone());
            let known = known.or_insert_with(|| (outcome.state, reason.clone()));
            if outcome.state > known.0 {
                *known = (outcome.state, reason);
            }
        }
    }

    fn next_page_requests(&mut self, tables: &[TableId]) -> BTreeMap<Subject, ReadRequest> {
        // If the deletions of a table's first page were not made, those of later pages are not
        // made either.
        for (id, deferred) in &mut self.snapshots.deferred {
            if !self.tables_with_deletions.contains(id) {
                deferred.missing_in_primary.clear();
            }
        }
        let mut requests: BTreeMap<Subject, ReadRequest> = BTreeMap::new();
        let mut remaining = self.max_partitions;
        for id in tables {
            let Some(deferred) = self.snapshots.deferred.get_mut(id) else {
                continue;
            };
            let mut take = |from: &mut Vec<PartitionValues>| {
                let taken = from.split_off(from.len() - remaining.min(from.len()));
                remaining -= taken.len();
                taken
            };
            let changed = take(&mut deferred.changed);
            let missing = take(&mut deferred.missing_in_primary);
            for values in &missing {
                let in_scope = &mut self.scope.read_requests;
                let request = in_scope.entry(Subject::Table(id.clone())).or_default();
                request.deletable_partitions.insert(values.clone());
            }
            let values: BTreeSet<PartitionValues> = changed.into_iter().chain(missing).collect();
            if !values.is_empty() {
                let request = requests.entry(Subject::Table(id.clone())).or_default();
                request.partition_values = values;
            }
        }
        self.snapshots
            .deferred
            .retain(|_, deferred| !deferred.is_empty());
        requests
    }

    /// Records a partition write that the standby confirmed, so the next round does not read the
    /// partition there again. If the primary lacks a partition that this session created, the
    /// partition may be deleted.
    pub(super) fn record_confirmed_write(&mut self, step: &Step) {
        if let Step::CreatePartition { id, partition }
        | Step::UpdatePartition { id, partition, .. } = step
        {
            let values = partition.values.clone();
            if matches!(step, Step::CreatePartition { .. }) {
                self.allow_partition_deletion(id, &values);
            }
            let confirmed = self.confirmed_writes.entry(id.clone()).or_default();
            confirmed.insert(values, Some(partition.clone()));
        }
        if let Step::DeletePartition { id, values } = step {
            let confirmed = self.confirmed_writes.entry(id.clone()).or_default();
            confirmed.insert(values.clone(), None);
        }
    }

    /// Updates the number of partitions of a table after a step.
    pub(super) fn count_partition(&mut self, step: &Step) {
        if let Step::CreatePartition { id, .. } = step
            && let Some(count) = self.partition_counts.get_mut(id)
        {
            *count += 1;
        }
        if let Step::DeletePartition { id, .. } = step
            && let Some(count) = self.partition_counts.get_mut(id)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// Keeps the problems that a scan of all partitions of a table found: later rounds read some
    /// partitions by name and do not find these problems.
    pub(super) fn record_partition_problems(&mut self, plan: &Plan) {
        for (subject, outcome) in &plan.subject_outcomes {
            if outcome.partitions.is_none() {
                continue;
            }
            let reason = outcome.reason.clone().unwrap_or_default();
            match outcome.state {
                SubjectState::InSync | SubjectState::DataPending => {
                    self.partition_problems.remove(subject);
                }
                SubjectState::OnHold | SubjectState::OutOfSync | SubjectState::Blocked => {
                    self.partition_problems
                        .insert(subject.clone(), (outcome.state, reason));
                    let is_of_subject = |finding: &&Finding| finding.subject == *subject;
                    self.earlier_findings
                        .extend(plan.findings.iter().filter(is_of_subject).cloned());
                }
            }
        }
    }
}

/// Why a table is out of sync while some of its partitions are deferred.
pub(super) fn deferred_reason(deferred: &DeferredRead) -> String {
    format!(
        "{} of its partitions {} not replicated yet",
        deferred.len(),
        one_or_many(deferred.len(), "is", "are")
    )
}
