//! The state of one reconciliation: what to read next, what was read, what is left to do.

use super::grant_listing::{GrantListingCalls, listing_calls};
use super::lf_tag_lease::{HeldLease, LfTagLeaseOfRun};
use super::problems::{StoredProblem, partition_of};
use super::step_effects::{facets_after, is_permanent, isolated_step, partition_values_of};
use super::waiting::{is_done, needs_time};
use super::{Context, MAX_ROUNDS, ReconcileOutcome};
use crate::apply::{Applied, StepResult};
use crate::grant_index::GrantIndex;
use crate::observe::{
    ConfirmedWrites, MAX_PARTITIONS_PER_ROUND, ObservationPair, Observer, Prefetched, Snapshots,
};
use crate::ports::{Clock, Environment, Ledger};
use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use twinlake_core::audit::{self, AuditRule, Rejection};
use twinlake_core::catalog::AttachmentKey;
use twinlake_core::grant::{Permission, Resource};
use twinlake_core::ledger::{LedgerRows, ObjectCounts, Pairing};
use twinlake_core::plan::{ExcludedSteps, Finding, FindingKind, Inputs};
use twinlake_core::scope::{DATABASE_ITSELF, Facet, KnownGrantCalls, ReadRequest};
use twinlake_core::snapshot::{Observation, Partitions};
use twinlake_core::step::StepTarget;
use twinlake_core::topology::BySite;
use twinlake_core::{
    ApprovedPlan, CallError, CallErrorKind, LfSubject, Name, PermissionGrant, Plan, Scope, Step,
    Subject, SubjectState, TableId, Timestamp,
};

pub(super) struct Session<'a, E: Environment> {
    pub(super) context: &'a Context<'a, E>,
    /// When the session began: everything that it read is at least as new.
    pub(super) started: Timestamp,
    /// The scope of the plan: the requested scope and what this session added to it.
    pub(super) scope: Scope,
    /// What the next round reads.
    pub(super) read_requests: BTreeMap<Subject, ReadRequest>,
    pub(super) snapshots: Snapshots,
    pub(super) outcome: ReconcileOutcome,
    /// Grants whose revoke Lake Formation has confirmed in this session.
    pub(super) confirmed_revokes: BTreeSet<PermissionGrant>,
    /// Grants of which a revoke was answered, in an earlier round, that the service does not know them.
    pub(super) unknown_grants: BTreeSet<PermissionGrant>,
    /// Creations that were refused in an earlier round because the object exists.
    pub(super) refused_creations: BTreeSet<StepTarget>,
    /// Since when the rows of subjects say that they are not in sync.
    pub(super) out_of_sync_since: BTreeMap<Subject, Timestamp>,
    /// Deletions that are counted against the deletion limit and not made yet.
    pub(super) charged_deletions: ObjectCounts,
    /// Number of partitions of the standby's tables, where all partitions were read.
    pub(super) partition_counts: BTreeMap<TableId, usize>,
    /// Findings of earlier pages and of full partition scans.
    pub(super) earlier_findings: BTreeSet<Finding>,
    /// Rounds of the current page.
    pub(super) page_rounds: u32,
    /// Pages of partitions after the first one.
    pub(super) pages: u32,
    /// The requested scope, as it is sent again if something has to wait.
    pub(super) requested_scope: Scope,
    /// Partition writes that the standby confirmed in the last round.
    pub(super) confirmed_writes: ConfirmedWrites,
    /// Problems that a scan of all partitions of a table found.
    pub(super) partition_problems: BTreeMap<Subject, (SubjectState, String)>,
    /// Tables with partition deletions, proven by a listing of all partitions of the primary.
    pub(super) tables_with_deletions: BTreeSet<TableId>,
    /// What plans have asked for since the last round that read what changed.
    pub(super) needed: BTreeSet<(Subject, Facet)>,
    /// The next round adds its reads to those before it: nothing was written in between.
    pub(super) next_read_adds: bool,
    /// The steps that are not planned: they failed, wait, or were rejected.
    pub(super) excluded_steps: ExcludedSteps,
    /// What the audit rejected in this round, with the rule.
    pub(super) rejected: BTreeMap<StepTarget, AuditRule>,
    /// Steps that have to wait for a later message while the rest goes on, with the reason.
    pub(super) postponed: Vec<(Step, String)>,
    /// Subjects of grants that this session revoked to grant them again, and did not grant again.
    pub(super) suspended_subjects: BTreeSet<Subject>,
    /// The rejections of steps on partitions: later rounds do not plan these again.
    pub(super) rejected_partitions: BTreeMap<StepTarget, Rejection>,
    /// Most partitions of which one round keeps the whole definition.
    pub(super) max_partitions: usize,
    /// Calls that the last listing of all grants of both Regions took.
    pub(super) grant_listing_calls: Option<GrantListingCalls>,
    /// The grants that the last round listed itself.
    pub(super) listed_grants: Option<ObservationPair<GrantIndex>>,
    /// A random number that tells the intents of this session from others.
    pub(super) run: u64,
    /// What this session was about to create or created: by subject, the digest of the object.
    pub(super) intents: BTreeMap<Subject, String>,
    /// The pairings of the round before; `None` in the first round.
    pub(super) known_pairings: Option<BTreeMap<Subject, BySite<Option<Timestamp>>>>,
    /// The problems that the ledger had of subjects before this session read them.
    pub(super) known_problems: BTreeMap<Subject, StoredProblem>,
    /// Whether the policy was compared with that of the last complete resync run.
    pub(super) compared_policy: bool,
    /// Tables that plans of this session change: everything of them is read.
    pub(super) changed_tables: BTreeSet<TableId>,
    /// The lease on changes of access by LF-Tags, while this session holds it.
    pub(super) lf_tag_lease: Option<HeldLease>,
    /// What this session shares of it with others.
    pub(super) lf_tag_lease_of_run: LfTagLeaseOfRun,
    /// Changes of access by LF-Tags that wait until the rest of their plan was applied.
    pub(super) awaiting_turn: BTreeSet<StepTarget>,
    /// Whether such changes waited before.
    pub(super) has_narrowed_first: bool,
    /// What events say of grants that the primary may list late.
    pub(super) grant_calls: Option<KnownGrantCalls>,
    /// The grants of which the listing was not believed.
    pub(super) disbelieved_grants: BTreeSet<PermissionGrant>,
    /// The grants that a freeze has taken out of what was read of the primary.
    pub(super) withheld_grants: BTreeSet<PermissionGrant>,
    /// For which disturbance of the lease this session has read everything again.
    pub(super) known_disturbance: Option<Timestamp>,
    /// Whether steps were sent.
    pub(super) has_applied: bool,
    /// What was read again because a plan removes it.
    pub(super) reread_removals: BTreeSet<(Subject, AttachmentKey)>,
    /// Subjects whose grants were read again after the definitions.
    pub(super) reread_grants: BTreeSet<Subject>,
    /// Dropped databases whose contents were read again.
    pub(super) reread_databases: BTreeSet<Name>,
    /// Subjects whose stored row lacks the intent of this session: another run deleted the row.
    pub(super) unstored_intents: BTreeSet<Subject>,
    /// The pairings of objects that only an intent proves to be Twinlake's.
    pub(super) intended_pairings: BTreeMap<Subject, Pairing>,
    /// The intents of this session on items of Lake Formation subjects.
    pub(super) item_intents: BTreeMap<LfSubject, BTreeSet<String>>,
    /// The managed keys as they are stored, with their version; the rows also have those that intents prove.
    pub(super) stored_managed_keys: BTreeMap<LfSubject, (BTreeSet<String>, Option<u64>)>,
}

impl<'a, E: Environment> Session<'a, E> {
    /// Starts a session. Adds the database of a table or function to the scope unless the ledger
    /// pairs it: Twinlake writes only into paired databases.
    pub(super) async fn begin(
        context: &'a Context<'a, E>,
        scope: &Scope,
    ) -> Result<Self, CallError> {
        let mut scope = scope.clone();
        let parents: BTreeSet<Subject> = scope
            .read_requests
            .keys()
            .filter(|subject| matches!(subject, Subject::Table(_) | Subject::Function(_)))
            .filter_map(|subject| subject.database().cloned().map(Subject::Database))
            .collect();
        let rows = context.ledger.rows(&parents).await?;
        for parent in parents {
            let pairing = rows.get(&parent).and_then(|row| row.pairing.as_ref());
            if pairing.is_none_or(|pairing| pairing.link) {
                scope.add(parent, ReadRequest::for_facets(&DATABASE_ITSELF));
            }
        }
        let read_requests = scope.read_requests.clone();
        let requested_scope = scope.clone();
        Ok(Self {
            context,
            started: context.clock.now(),
            scope,
            read_requests,
            snapshots: Snapshots::default(),
            outcome: ReconcileOutcome::default(),
            confirmed_revokes: BTreeSet::new(),
            unknown_grants: BTreeSet::new(),
            refused_creations: BTreeSet::new(),
            out_of_sync_since: BTreeMap::new(),
            charged_deletions: ObjectCounts::default(),
            partition_counts: BTreeMap::new(),
            earlier_findings: BTreeSet::new(),
            page_rounds: 0,
            pages: 0,
            requested_scope,
            confirmed_writes: ConfirmedWrites::new(),
            partition_problems: BTreeMap::new(),
            tables_with_deletions: BTreeSet::new(),
            excluded_steps: ExcludedSteps {
                settings: !context.may_write_settings,
                ..ExcludedSteps::default()
            },
            rejected: BTreeMap::new(),
            needed: BTreeSet::new(),
            next_read_adds: false,
            postponed: Vec::new(),
            suspended_subjects: BTreeSet::new(),
            rejected_partitions: BTreeMap::new(),
            max_partitions: MAX_PARTITIONS_PER_ROUND,
            grant_listing_calls: None,
            listed_grants: None,
            run: RandomState::new().build_hasher().finish(),
            intents: BTreeMap::new(),
            known_pairings: None,
            known_problems: BTreeMap::new(),
            compared_policy: false,
            changed_tables: BTreeSet::new(),
            lf_tag_lease: None,
            lf_tag_lease_of_run: context.lf_tag_lease.cloned().unwrap_or_default(),
            awaiting_turn: BTreeSet::new(),
            has_narrowed_first: false,
            grant_calls: None,
            disbelieved_grants: BTreeSet::new(),
            withheld_grants: BTreeSet::new(),
            known_disturbance: None,
            has_applied: false,
            reread_removals: BTreeSet::new(),
            reread_grants: BTreeSet::new(),
            reread_databases: BTreeSet::new(),
            unstored_intents: BTreeSet::new(),
            intended_pairings: BTreeMap::new(),
            item_intents: BTreeMap::new(),
            stored_managed_keys: BTreeMap::new(),
        })
    }

    /// Reads the ledger rows of the scope's subjects and of their databases.
    pub(super) async fn rows(&self) -> Result<LedgerRows, CallError> {
        let mut subjects: BTreeSet<Subject> = BTreeSet::new();
        let mut rows = LedgerRows::new();
        for (subject, request) in &self.scope.read_requests {
            match subject {
                Subject::Database(name) if request.facets.contains(&Facet::Contents) => {
                    rows.extend(self.context.ledger.rows_in_database(name).await?);
                }
                Subject::Catalog
                | Subject::LakeFormation(_)
                | Subject::Database(_)
                | Subject::Table(_)
                | Subject::Function(_) => {
                    if matches!(subject, Subject::LakeFormation(_)) {
                        // Grants of one Lake Formation subject depend on what is paired of another.
                        subjects.extend(LfSubject::EVERY.map(Subject::LakeFormation));
                    }
                    subjects.insert(subject.clone());
                    let parent = subject.database().cloned().map(Subject::Database);
                    subjects.extend(parent);
                }
            }
        }
        subjects.retain(|subject| !rows.contains_key(subject));
        rows.extend(self.context.ledger.rows(&subjects).await?);
        Ok(rows)
    }

    /// Reads both Regions as the current read requests say, and returns the ledger rows.
    pub(super) async fn observe(
        &mut self,
        prefetched: &Prefetched,
    ) -> Result<LedgerRows, CallError> {
        let mut rows = self.rows().await?;
        self.know_problems(&rows, prefetched.listed_since);
        self.reread_changed_pairings(&rows);
        self.restore_own_intents(&mut rows);
        for row in rows
            .values()
            .filter(|row| row.state != SubjectState::InSync)
        {
            let since = &mut self.out_of_sync_since;
            since.entry(row.subject.clone()).or_insert(row.since);
        }
        self.grant_listing_calls = listing_calls(prefetched).or(self.grant_listing_calls);
        let is_out_of_time = || {
            let stop_at = self.context.stop_at;
            stop_at.is_some_and(|stop_at| self.context.clock.now() >= stop_at)
        };
        let confirmed_writes = std::mem::take(&mut self.confirmed_writes);
        self.snapshots.checked_databases.clear();
        let mappings = crate::observe::principal_mappings(self.context.policy, self.context.epoch);
        let next_read_adds = std::mem::take(&mut self.next_read_adds);
        if !next_read_adds {
            // What plans asked for before is forgotten with its answers.
            self.needed.clear();
            for snapshot in [&mut self.snapshots.primary, &mut self.snapshots.standby] {
                snapshot.lf_tag_policy_grants = None;
                snapshot.lf_tagged_resources.clear();
            }
        }
        let observer = Observer {
            remaining_partitions: Cell::new(self.max_partitions),
            confirmed_writes: &confirmed_writes,
            named_partition_deletions: self.named_partition_deletions(),
            is_out_of_time: &is_out_of_time,
            defers_oversized_databases: self.context.stop_at.is_some() && self.outcome.rounds <= 1,
            primary: self.context.primary,
            standby: self.context.standby,
            policy: self.context.policy,
            epoch: self.context.epoch,
            mappings: &mappings,
            reader_role: self.context.reader_role,
            own_roles: self.context.own_roles,
            rows: &rows,
            // What a plan asks for is read at once.
            scan_window: self.context.scan_window.filter(|_| !next_read_adds),
            changed_tables: &self.changed_tables,
            max_concurrent_calls: self.context.max_concurrent_calls,
            prefetched,
            own_grant_listing: OnceCell::new(),
            progress: self.context.progress,
        };
        let needs_settings = !self.scope.named_revokes.is_empty();
        observer
            .read(&self.read_requests, needs_settings, &mut self.snapshots)
            .await;
        self.listed_grants = observer.own_grant_listing.into_inner();
        self.drop_confirmed_revokes();
        self.disbelieve_revoked_grants(&rows);
        self.apply_frozen_grants().await?;
        for (id, primary) in &self.snapshots.primary.partitions {
            let standby = self.snapshots.standby.partitions.get(id);
            let total = match (primary, standby) {
                // The standby lacks the table, so it has no partitions.
                (Observation::Present(_), None) => Some(0),
                (Observation::Present(_), Some(standby)) => {
                    standby.present().and_then(Partitions::total)
                }
                (Observation::Absent(_) | Observation::Unknown(_), _) => None,
            };
            if let Some(total) = total {
                self.partition_counts.entry(id.clone()).or_insert(total);
            }
        }
        self.recognize_intended_items(&mut rows);
        Ok(rows)
    }

    /// The tables of which an event named the deletion of partitions.
    fn named_partition_deletions(&self) -> BTreeSet<TableId> {
        let requests = self.scope.read_requests.iter();
        let named = requests.filter_map(|(subject, request)| match subject {
            Subject::Table(id) if request.unnamed_partitions_deleted => Some(id.clone()),
            Subject::Table(_)
            | Subject::Catalog
            | Subject::LakeFormation(_)
            | Subject::Database(_)
            | Subject::Function(_) => None,
        });
        named.collect()
    }

    pub(super) fn inputs<'i>(&'i self, rows: &'i LedgerRows) -> Inputs<'i> {
        Inputs {
            scope: &self.scope,
            epoch: self.context.epoch,
            policy: self.context.policy,
            primary: &self.snapshots.primary,
            standby: &self.snapshots.standby,
            rows,
            own_roles: self.context.own_roles,
            reader_role: self.context.reader_role,
            excluded_steps: &self.excluded_steps,
        }
    }

    /// Plans the difference.
    pub(super) fn plan(&self, rows: &LedgerRows) -> Plan {
        twinlake_core::plan(&self.inputs(rows))
    }

    /// Holds the steps that break a rule back in the plans of this round.
    pub(super) fn hold_rejected(&mut self, rejections: Vec<Rejection>) {
        for rejection in rejections {
            for target in &rejection.targets {
                let held = &mut self.excluded_steps.targets;
                held.insert(target.clone(), rejection.to_string());
                self.rejected.insert(target.clone(), rejection.rule);
            }
            self.outcome.rejections.push(rejection);
        }
    }

    /// Lets this round, in which nothing was written, not count against the limit of rounds.
    pub(super) fn repeat_round(&mut self) {
        self.page_rounds = self.page_rounds.saturating_sub(1);
    }

    /// Begins a round: what the audit rejected before may pass from what is read now.
    pub(super) fn begin_round(&mut self) {
        self.outcome.rounds += 1;
        self.page_rounds += 1;
        for rejection in std::mem::take(&mut self.outcome.rejections) {
            let partitions = rejection
                .targets
                .iter()
                .filter(|one| partition_of(one).is_some());
            let kept = partitions.map(|target| (target.clone(), rejection.clone()));
            self.rejected_partitions.extend(kept);
        }
        for target in std::mem::take(&mut self.rejected).into_keys() {
            self.excluded_steps.targets.remove(&target);
        }
        self.excluded_steps.widening = None;
        let held = &self.excluded_steps.targets;
        let unrevoked = &mut self.outcome.unrevoked;
        unrevoked.retain(|(step, _)| held.contains_key(&step.target()));
    }

    /// Removes grants with a confirmed revoke from the standby's snapshot: listings can still
    /// show them for a while (LF-07).
    fn drop_confirmed_revokes(&mut self) {
        for grants in self.snapshots.standby.grants.values_mut() {
            if let Observation::Present(grants) = grants {
                grants.retain(|grant, _| !self.confirmed_revokes.contains(grant));
            }
        }
        if let Some(extra) = &mut self.snapshots.standby.extra_iam_grants {
            extra.retain(|grant| !self.confirmed_revokes.contains(grant));
        }
        if let Some(Observation::Present(tags)) = &mut self.snapshots.standby.lf_tag_policy_grants {
            tags.grants
                .retain(|grant, _| !self.confirmed_revokes.contains(grant));
        }
    }

    fn record_success(&mut self, step: &Step, result: &StepResult) {
        self.record_permission(step, result);
        self.discharge_deletions(step);
        self.count_partition(step);
        self.record_confirmed_write(step);
        self.rejected_partitions.remove(&step.target());
        if *result == StepResult::Applied {
            self.outcome.record_applied(step);
        }
    }

    /// Records the results of the steps and decides what to read again. Steps that a later round
    /// cannot make either wait for a later message; everything that does not rest on them goes on.
    pub(super) fn record_results(&mut self, approved: &ApprovedPlan, applied: &Applied) {
        let mut next: BTreeMap<Subject, ReadRequest> = BTreeMap::new();
        let mut transient: Vec<(Step, CallError)> = Vec::new();
        for (step, result) in approved.steps().iter().zip(&applied.results) {
            let subject = step.subject();
            if let (Step::Grant { grant, .. }, Some(StepResult::Failed(_))) = (step, result) {
                // It may have taken effect: the next listing decides.
                self.confirmed_revokes.remove(grant);
            }
            match result {
                Some(result @ (StepResult::Applied | StepResult::AlreadyDone)) => {
                    self.record_success(step, result);
                }
                Some(StepResult::Failed(error)) if is_permanent(error) => {
                    self.hold_failed(step, error);
                    self.outcome.failed.push((step.clone(), error.clone()));
                }
                Some(StepResult::Failed(error))
                    if error.kind == CallErrorKind::NotPropagated
                        && isolated_step(step).is_some() =>
                {
                    self.hold_failed(step, error);
                    self.postponed.push((step.clone(), error.to_string()));
                }
                Some(StepResult::Failed(error)) if self.is_hidden_object(step, error) => {
                    self.hold_failed(step, error);
                    self.earlier_findings.insert(hidden_object(step, error));
                }
                Some(StepResult::Failed(error)) if self.is_listed_late(step, error) => {
                    self.end_listed_late(step, error);
                }
                Some(StepResult::Failed(error)) => {
                    if matches!(step, Step::Revoke { .. }) {
                        self.outcome.unrevoked.push((step.clone(), error.clone()));
                    }
                    transient.push((step.clone(), error.clone()));
                }
                Some(StepResult::Skipped) | None => {}
            }
            let request = next.entry(subject.clone()).or_default();
            request.facets.extend(facets_after(step));
            request
                .partition_values
                .extend(partition_values_of(step).map(<[String]>::to_vec));
            if let Some(scope) = self.scope.read_requests.get(&subject) {
                request.deletion_named |= scope.deletion_named;
                request.unnamed_partitions_deleted |= scope.unnamed_partitions_deleted;
                request.deleted_items.extend(scope.deleted_items.clone());
            }
            // The plan with this deletion proved the absence, so the ledger row may go.
            request.deletion_named |=
                matches!(result, Some(StepResult::Applied | StepResult::AlreadyDone))
                    && matches!(
                        step,
                        Step::DeleteTable { .. }
                            | Step::DeleteFunction { .. }
                            | Step::DeleteDatabase { .. }
                    );
        }
        for (subject, request) in &mut next {
            if let Some(scope) = self.scope.read_requests.get(subject) {
                request
                    .deletable_partitions
                    .clone_from(&scope.deletable_partitions);
            }
        }
        self.read_requests = next;
        self.keep_suspended_grants_in_scope(approved, applied);
        let is_last_round = self.page_rounds >= MAX_ROUNDS;
        transient.retain(|(_, error)| is_last_round || needs_time(error));
        if let Some((_, error)) = transient.last() {
            let undone = approved.steps().iter().zip(&applied.results);
            let undone = undone.filter(|(_, result)| !is_done(result));
            let undone: BTreeSet<Subject> = undone.map(|(step, _)| step.subject()).collect();
            self.wait_for(&undone, error.to_string());
        }
        for (step, error) in transient {
            self.hold_failed(&step, &error);
            self.postponed.push((step, error.to_string()));
        }
    }

    /// Records that a grant was made or revoked. That the service does not know a grant, which the
    /// listing did not show either, is no proof: the listing may be one write old, and a lost
    /// permission is answered the same way. It counts once a later round finds the same.
    fn record_permission(&mut self, step: &Step, result: &StepResult) {
        if let (Step::Revoke { grant, .. }, StepResult::AlreadyDone) = (step, result) {
            if !self.unknown_grants.insert(grant.clone()) {
                self.scope.remove_named_revoke(grant);
            }
        } else {
            self.record_grant(step);
        }
    }

    /// Whether the standby refuses, in two rounds, to create an object because it exists, and the
    /// read between them did not show it: Twinlake cannot see it.
    fn is_hidden_object(&mut self, step: &Step, error: &CallError) -> bool {
        let creates = matches!(
            step,
            Step::CreateDatabase { .. } | Step::CreateTable { .. } | Step::CreateFunction { .. }
        );
        creates
            && error.kind == CallErrorKind::AlreadyInState
            && !self.refused_creations.insert(step.target())
    }

    /// Whether the service does not know, in two rounds, a grant that the listing shows, and that
    /// listings are known to show for a while after its revoke: CREATE_DATABASE (LF-07).
    fn is_listed_late(&mut self, step: &Step, error: &CallError) -> bool {
        let Step::Revoke { grant, .. } = step else {
            return false;
        };
        let is_unknown = matches!(
            error.kind,
            CallErrorKind::NotFound | CallErrorKind::AlreadyInState
        );
        let is_known_before = is_unknown && !self.unknown_grants.insert(grant.clone());
        is_known_before
            && grant.resource == Resource::Catalog
            && grant.permission == Permission::CreateDatabase
    }

    pub(super) fn hold_failed(&mut self, step: &Step, error: &CallError) {
        let held = &mut self.excluded_steps.targets;
        held.insert(step.target(), error.to_string());
    }

    /// Removes a deletion that was made from the deletions that are still charged.
    fn discharge_deletions(&mut self, step: &Step) {
        let deleted = audit::deletions(std::slice::from_ref(step));
        self.charged_deletions = self.charged_deletions.minus(deleted);
    }

    /// Remembers a grant that this session made: if the primary is proven to lack it in a later round, it is
    /// revoked whatever the standby's listing shows, since that listing may be one write old.
    pub(super) fn record_grant(&mut self, step: &Step) {
        match step {
            Step::Grant { grant, grantable } => {
                self.scope.add_own_grant(grant, *grantable);
                self.confirmed_revokes.remove(grant);
            }
            Step::Revoke { grant, .. } => {
                self.scope.remove_named_revoke(grant);
                self.confirmed_revokes.insert(grant.clone());
            }
            Step::CreateDatabase { .. }
            | Step::UpdateDatabase { .. }
            | Step::CreateTable { .. }
            | Step::UpdateTable { .. }
            | Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeleteFunction { .. }
            | Step::PutAttachment { .. }
            | Step::PutSettings { .. }
            | Step::RemoveAttachment { .. }
            | Step::DeletePartition { .. }
            | Step::DeleteTable { .. }
            | Step::DeleteDatabase { .. } => {}
        }
    }
}

/// The finding for an object that exists in the standby and that Twinlake cannot see.
fn hidden_object(step: &Step, error: &CallError) -> Finding {
    Finding {
        kind: FindingKind::Denied,
        subject: step.subject(),
        detail: format!("it exists in the standby, and reads there do not show it: {error}"),
    }
}
