//! The resync: compares all databases of both Regions and corrects differences that events missed.

mod grants_at_once;
mod lake_size;
mod listings;
mod preview;
mod run_end;
mod unreplicated_inventory;

pub use preview::{expand, preview};
pub use run_end::CompleteRun;

use crate::observe::Prefetched;
use crate::ports::{Clock, Environment, Ledger, ReadRegion, RetryQueue, WriteRegion};
use crate::reconcile::grant_listing::listing_calls;
use crate::reconcile::{
    Context, LfTagLeaseOfRun, MAX_RECORDED_PARTITION_STEPS, ReconcileLogEntry, ReconcileOutcome,
    ReconcileTimer, reconcile,
};
use crate::retry_message::{
    MAX_NARROWING_DELAY_SECS, PART_DEADLINE_SECS, ResyncPart, RetryMessage,
};
use futures_util::StreamExt as _;
use futures_util::future::join;
use futures_util::stream::FuturesUnordered;
use grants_at_once::GrantsAtOnce;
use listings::{Listings, prefetch};
use run_end::{PartStart, finish_part};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::ledger::{ResyncRun, VerifiedRun};
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::policy::ScanWindow;
use twinlake_core::scope::{ReadRequest, WHOLE_DATABASE};
use twinlake_core::snapshot::Observation;
use twinlake_core::{CallError, Name, Scope, Step, Subject, TableId, Timestamp};
use unreplicated_inventory::{read_inventories, report_table_optimizers, report_unreplicated};

/// The result of a resync, or of a part of one.
#[derive(Debug, Default)]
pub struct ResyncReport {
    /// The merged outcomes of all reconciliations.
    pub outcome: ReconcileOutcome,
    /// The number of databases reconciled.
    pub databases: usize,
    /// Set when the run is complete: every subject that the ledger does not list as out of sync, on
    /// hold or blocked equaled the primary at this time, except for what was left to the schedule.
    pub verified_at: Option<Timestamp>,
    /// What all parts of the run together checked. Set with [`ResyncReport::verified_at`], if the last
    /// part could list the databases.
    pub complete_run: Option<CompleteRun>,
    /// No resync has been complete before, so the changes of this one are not drift.
    pub is_initial_sync: bool,
    /// The number of databases and tables that were left to later messages.
    pub deferred: usize,
    /// Why the part did not end: the ledger or the queue was out of reach. What was done before stands
    /// in the report, and has to be published: a repetition of the part does not find it again.
    pub interrupted_by: Option<CallError>,
    /// The number of calls to Glue and Lake Formation.
    pub api_calls: u64,
    /// The lower bound of the API calls of a whole resync. Set when this part completed the run.
    pub api_call_lower_bound: Option<usize>,
}

/// Receives the progress of a resync.
pub trait ResyncProgress {
    /// The resync starts with this number of databases.
    fn started(&self, databases: usize);
    /// One database is reconciled.
    fn database_finished(&self, name: &Name);
    /// One scope is reconciled.
    fn reconciled(&self, _: &ReconcileLogEntry) {}
}

impl ResyncProgress for () {
    fn started(&self, _: usize) {}
    fn database_finished(&self, _: &Name) {}
}

/// How much a resync reads of tables in sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResyncDepth {
    /// What has a scan interval only where it is due. After a change of the policy everything is
    /// read once.
    Scheduled,
    /// Everything.
    Full,
}

/// Reconciles all databases, or the scope of one part of a resync run.
///
/// At [`Context::stop_at`], the remaining databases are sent to the retry queue as parts of the
/// same run.
///
/// # Errors
/// The ledger is out of reach at the start. A later failure is reported as
/// [`ResyncReport::interrupted_by`].
pub async fn resync<E: Environment<Standby: WriteRegion>, O>(
    context: &Context<'_, E>,
    depth: ResyncDepth,
    part: Option<(&ResyncPart, &Scope)>,
    retry_queue: Option<&O>,
    progress: &impl ResyncProgress,
) -> Result<ResyncReport, CallError>
where
    O: RetryQueue,
{
    let verified_run = context.ledger.verified_run().await?;
    let is_initial_sync = verified_run.is_none();
    let calls_before = context.primary.call_count();
    let (part, scope) = match part {
        Some((part, scope)) => (part.clone(), scope.clone()),
        None => (start_run(context).await?, Scope::catalog()),
    };
    let previous_started_at = verified_run
        .filter(|run| is_like_present_run(context, run))
        .map(|run| run.started_at);
    let scan_window = match depth {
        ResyncDepth::Full => None,
        ResyncDepth::Scheduled => scan_window(previous_started_at, &part),
    };
    let lf_tag_lease = LfTagLeaseOfRun::default();
    let context = &Context {
        scan_window,
        lf_tag_lease: context.lf_tag_lease.or(Some(&lf_tag_lease)),
        ..*context
    };
    let mut report = ResyncReport {
        is_initial_sync,
        ..ResyncReport::default()
    };
    let is_whole_catalog = scope.read_requests.contains_key(&Subject::Catalog);
    let (prefetched, inventories) = join(
        prefetch(context, is_whole_catalog),
        read_inventories(context, is_whole_catalog),
    )
    .await;
    let part_start = PartStart {
        grant_calls: listing_calls(&prefetched).unwrap_or_default().all,
        listed_databases: run_end::listed_databases(&prefetched),
        previous_started_at,
    };
    report_unreplicated(context, inventories, &prefetched, &mut report.outcome);
    let names = databases_in_scope(context, &scope, &prefetched, &mut report.outcome).await?;
    progress.started(names.len());
    let mut worker = ResyncWorker {
        context,
        retry_queue,
        part: &part,
        scope: scope.clone(),
        progress,
        listings: Listings::new(prefetched),
    };
    let result = worker.reconcile_part(names, &mut report).await;
    report_table_optimizers(context, &mut report.outcome).await;
    let result = match result {
        Ok(()) => finish_part(context, &part, part_start, &mut report).await,
        Err(error) => Err(error),
    };
    report.interrupted_by = result.err();
    report.api_calls = context.primary.call_count().saturating_sub(calls_before);
    Ok(report)
}

/// Whether a complete run had the present policy and epoch.
fn is_like_present_run<E: Environment>(context: &Context<'_, E>, run: &VerifiedRun) -> bool {
    run.policy_digest == context.policy.digest() && run.epoch == context.epoch.number()
}

/// The window of a run: since the last complete one, if that had the same policy and epoch. Otherwise
/// the run reads everything, also if that one had a clock that was ahead.
fn scan_window(previous_started_at: Option<Timestamp>, part: &ResyncPart) -> Option<ScanWindow> {
    let until = part.started_at()?;
    let since = previous_started_at.filter(|since| *since <= until)?;
    Some(ScanWindow { since, until })
}

async fn start_run<E: Environment>(context: &Context<'_, E>) -> Result<ResyncPart, CallError> {
    let started = context.clock.now();
    let part = ResyncPart::first(started, context.policy.digest());
    let run = ResyncRun::new(part.run.clone(), started, part.name.clone());
    context.ledger.begin_resync_run(&run).await?;
    Ok(part)
}

/// Returns the databases in a scope: those of both Regions and of the ledger, so that the ledger
/// rows of a database that was deleted in both Regions are removed too.
async fn databases_in_scope<E: Environment>(
    context: &Context<'_, E>,
    scope: &Scope,
    prefetched: &Prefetched,
    outcome: &mut ReconcileOutcome,
) -> Result<BTreeSet<Name>, CallError> {
    let database_name = |subject: &Subject| match subject {
        Subject::Database(name) => Some(name.clone()),
        Subject::Catalog | Subject::LakeFormation(_) | Subject::Table(_) | Subject::Function(_) => {
            None
        }
    };
    let mut names: BTreeSet<Name> = scope
        .read_requests
        .keys()
        .filter_map(database_name)
        .collect();
    if scope.read_requests.contains_key(&Subject::Catalog) {
        let observations = prefetched.databases.iter();
        for observation in observations.flat_map(|(primary, standby)| [primary, standby]) {
            match observation {
                Observation::Present(databases) => names.extend(databases.keys().cloned()),
                Observation::Unknown(error) => {
                    outcome.findings.insert(read_failure(error));
                }
                Observation::Absent(_) => {}
            }
        }
        let rows = context.ledger.database_rows().await?;
        names.extend(rows.keys().filter_map(|row| row.database().cloned()));
        let both_listed = prefetched
            .databases
            .as_ref()
            .is_some_and(|(primary, standby)| {
                primary.present().is_some() && standby.present().is_some()
            });
        outcome.listed_databases = both_listed.then(|| names.clone());
    }
    names.retain(|name| context.policy.covers_database(name));
    Ok(names)
}

fn read_failure(error: &CallError) -> Finding {
    let denied = error.kind == twinlake_core::CallErrorKind::Denied;
    Finding {
        kind: if denied {
            FindingKind::Denied
        } else {
            FindingKind::Unreadable
        },
        subject: Subject::Catalog,
        detail: error.to_string(),
    }
}

/// Returns the read requests of a scope whose subject matches a predicate.
fn subset_of(scope: &Scope, is_selected: fn(&Subject) -> bool) -> Scope {
    let mut selected = Scope::default();
    for (subject, request) in scope
        .read_requests
        .iter()
        .filter(|(subject, _)| is_selected(subject))
    {
        selected.add(subject.clone(), request.clone());
    }
    selected
}

/// The maximum number of messages among which the remaining databases of a run are distributed.
const MAX_FAN_OUT_PARTS: usize = 8;

/// The number of tables of a large database in one message.
const TABLES_PER_PART: usize = 500;

/// Most databases that are reconciled at the same time. Each holds what was read of it in memory.
const MAX_CONCURRENT_DATABASES: usize = 8;

/// Reconciles the scopes of one part of a run, and queues further parts for what is left.
struct ResyncWorker<'a, E: Environment, O, G> {
    context: &'a Context<'a, E>,
    retry_queue: Option<&'a O>,
    part: &'a ResyncPart,
    /// The scope of the part.
    scope: Scope,
    progress: &'a G,
    /// The listings that the next reconciliation starts from.
    listings: Listings,
}

impl<E: Environment<Standby: WriteRegion>, O: RetryQueue, G: ResyncProgress>
    ResyncWorker<'_, E, O, G>
{
    /// Whether what is left has to be sent to the retry queue.
    fn is_out_of_time(&self) -> bool {
        let stop_at = self.context.stop_at;
        self.retry_queue.is_some()
            && stop_at.is_some_and(|stop_at| self.context.clock.now() >= stop_at)
    }

    /// Whether another database is likely to end in time. One that is begun is not interrupted, so there must be
    /// twice the time that the slowest one took.
    fn has_time_for_another(&self, slowest_millis: i64) -> bool {
        let stop_at = self.context.stop_at.filter(|_| self.retry_queue.is_some());
        let now = self.context.clock.now();
        stop_at.is_none_or(|stop_at| now.millis() + 2 * slowest_millis < stop_at.millis())
    }

    /// Reconciles the scope of the part, in an order in which what others refer to comes first.
    async fn reconcile_part(
        &mut self,
        names: BTreeSet<Name>,
        report: &mut ResyncReport,
    ) -> Result<(), CallError> {
        let is_whole_catalog = self.scope.read_requests.contains_key(&Subject::Catalog);
        if is_whole_catalog {
            // Databases and tables refer to these items, so the items are created first.
            let items = Scope::lake_formation_without_grants();
            self.reconcile(&items, report).await?;
        }
        let lake_formation = subset_of(&self.scope, |subject| {
            matches!(subject, Subject::LakeFormation(_))
        });
        if !lake_formation.is_empty() {
            self.reconcile(&lake_formation, report).await?;
        }
        let tables = subset_of(&self.scope, |subject| matches!(subject, Subject::Table(_)));
        if !tables.is_empty() {
            self.listings.read_tables_by_name(true);
            self.reconcile(&tables, report).await?;
            self.listings.read_tables_by_name(false);
        }
        self.reconcile_databases(names, report).await?;
        if is_whole_catalog && self.is_out_of_time() {
            self.enqueue_part(Scope::lake_formation(), 0, report)
                .await?;
        } else if is_whole_catalog {
            // LF-Tag policy grants come last: they give access to the resources that this run has
            // tagged.
            let mut not_in_sync = report.outcome.not_in_sync.keys();
            let is_item = |subject: &Subject| matches!(subject, Subject::LakeFormation(_));
            let has_changes = report.outcome.counts.total() > 0;
            self.listings
                .prepare_last(self.context, has_changes, not_in_sync.any(is_item))
                .await;
            self.reconcile(&Scope::lake_formation(), report).await?;
        }
        Ok(())
    }

    /// Reconciles a scope and merges its outcome into the report.
    async fn reconcile(
        &mut self,
        scope: &Scope,
        report: &mut ResyncReport,
    ) -> Result<(), CallError> {
        let prefetched = self.listings.current(self.context).await;
        let mut outcome = run_reconcile(self.context, scope, &prefetched, self.progress).await?;
        drop(prefetched);
        self.listings.take_items(&mut outcome);
        self.listings.record(&outcome);
        let queued = self.enqueue_remainder(&mut outcome, report).await;
        merge(&mut report.outcome, outcome);
        queued
    }

    /// Reconciles databases, several at a time: none requires another. What is left when time runs
    /// out becomes further parts of the run. After a failure no further database is begun, and those
    /// under way are finished: they may have suspended grants.
    async fn reconcile_databases(
        &mut self,
        mut names: BTreeSet<Name>,
        report: &mut ResyncReport,
    ) -> Result<(), CallError> {
        let (context, progress, listings) = (self.context, self.progress, &self.listings);
        let most = context
            .max_concurrent_calls
            .clamp(1, MAX_CONCURRENT_DATABASES);
        let mut running = FuturesUnordered::new();
        let mut outcomes: BTreeMap<Name, ReconcileOutcome> = BTreeMap::new();
        let mut failure = Ok(());
        let mut slowest_millis = 0;
        let mut grants = GrantsAtOnce::new(listings.grants_by_database().await);
        loop {
            while failure.is_ok()
                && running.len() < most
                && self.has_time_for_another(slowest_millis)
                && names.first().is_some_and(|name| grants.has_room_for(name))
                && let Some(name) = names.pop_first()
            {
                grants.begin(&name);
                let began = context.clock.now();
                running.push(async move {
                    let prefetched = listings.current(context).await;
                    let scope = Scope::database(name.clone());
                    let outcome = run_reconcile(context, &scope, &prefetched, progress).await;
                    (name, outcome, context.clock.now().millis() - began.millis())
                });
            }
            let Some((name, outcome, took_millis)) = running.next().await else {
                break;
            };
            slowest_millis = slowest_millis.max(took_millis);
            grants.end(&name);
            let result = match outcome {
                Ok(mut outcome) => {
                    listings.record(&outcome);
                    let queued = self.enqueue_remainder(&mut outcome, report).await;
                    report.databases += 1;
                    progress.database_finished(&name);
                    outcomes.insert(name, outcome);
                    queued
                }
                Err(error) => Err(error),
            };
            failure = failure.and(result);
        }
        // In the order of the names, so that a report does not depend on which call was faster.
        for outcome in outcomes.into_values() {
            merge(&mut report.outcome, outcome);
        }
        failure?;
        if !names.is_empty() {
            self.fan_out(names, report).await?;
        }
        Ok(())
    }

    /// If the reconciliation ran out of time, or waits for another run, its remaining scope becomes a part of its own.
    async fn enqueue_remainder(
        &self,
        outcome: &mut ReconcileOutcome,
        report: &mut ResyncReport,
    ) -> Result<(), CallError> {
        // A part that changed nothing although it had a whole invocation for itself is not repeated:
        // the next resync finds what waits.
        let is_repeated = |scope: &Scope| *scope == self.scope && outcome.counts.total() == 0;
        let delay = match outcome.awaits_lease {
            Some(until) => Some(self.secs_until(until)),
            None => outcome.out_of_time.then_some(0),
        };
        if let (Some(delay), Some((scope, _))) = (delay, &outcome.waiting)
            && self.retry_queue.is_some()
            && (outcome.awaits_lease.is_some() || !is_repeated(scope))
        {
            let subjects = scope.read_requests.keys().cloned();
            outcome.left_to_parts.extend(subjects);
            let (narrowing, rest) = scope.clone().divide(&outcome.narrowing_waits);
            if !narrowing.is_empty() {
                // Whoever holds the lease mostly gives it back long before it ends.
                let delay = delay.min(MAX_NARROWING_DELAY_SECS);
                self.enqueue_part(narrowing, delay, report).await?;
            }
            if !rest.is_empty() {
                self.enqueue_part(rest, delay, report).await?;
            }
            outcome.waiting = None;
            // The part says so if its changes of LF-Tags still wait.
            let is_revoke = |step: &Step| matches!(step, Step::Revoke { .. });
            outcome.unrevoked.retain(|(step, _)| is_revoke(step));
        }
        let oversized: Vec<TableId> = std::mem::take(&mut outcome.oversized).into_iter().collect();
        let subjects = oversized.iter().cloned().map(Subject::Table);
        outcome.left_to_parts.extend(subjects);
        for selected in oversized.chunks(TABLES_PER_PART) {
            let mut scope = Scope::default();
            for id in selected {
                scope.merge(Scope::table(id.clone()));
            }
            self.enqueue_part(scope, 0, report).await?;
        }
        Ok(())
    }

    /// Distributes databases among several parts, so that several invocations process them.
    async fn fan_out(
        &self,
        names: BTreeSet<Name>,
        report: &mut ResyncReport,
    ) -> Result<(), CallError> {
        let mut parts: Vec<Scope> = vec![Scope::default(); MAX_FAN_OUT_PARTS.min(names.len())];
        let count = parts.len().max(1);
        for (index, name) in names.into_iter().enumerate() {
            if let Some(part) = parts.get_mut(index % count) {
                part.add(
                    Subject::Database(name),
                    ReadRequest::for_facets(&WHOLE_DATABASE),
                );
            }
        }
        for part in parts {
            self.enqueue_part(part, 0, report).await?;
        }
        Ok(())
    }

    /// The seconds until a time, at most as many as SQS can delay a message.
    fn secs_until(&self, until: Timestamp) -> u16 {
        const MAX_SECS: i64 = 900;
        let secs = until.secs() - self.context.clock.now().secs();
        u16::try_from(secs.clamp(1, MAX_SECS)).unwrap_or_default()
    }

    /// Sends a scope as a part of the same run, to be received after some seconds. The run is complete
    /// only when all its parts are.
    async fn enqueue_part(
        &self,
        scope: Scope,
        delay: u16,
        report: &mut ResyncReport,
    ) -> Result<(), CallError> {
        let Some(retry_queue) = self.retry_queue else {
            return Ok(());
        };
        // The name is derived from that of this part: what two parts leave is not the same, though
        // the scope may be, and a part that is delivered again leaves the same.
        let digest = twinlake_core::catalog::digest(&(&self.part.name, &scope));
        let next = ResyncPart {
            run: self.part.run.clone(),
            name: digest.get(..16).unwrap_or(&digest).to_owned(),
        };
        let is_catalog_subject = |subject: &&Subject| !matches!(subject, Subject::LakeFormation(_));
        report.deferred += scope
            .read_requests
            .keys()
            .filter(is_catalog_subject)
            .count();
        let ledger = self.context.ledger;
        ledger.add_run_part(&next.run, &next.name).await?;
        let deadline = self.context.clock.now().plus_secs(PART_DEADLINE_SECS);
        let message = RetryMessage {
            part: Some(next),
            ..RetryMessage::new(scope, deadline)
        };
        retry_queue.send(&message, delay).await
    }
}

/// Reconciles a scope and reports it.
async fn run_reconcile<E: Environment<Standby: WriteRegion>>(
    context: &Context<'_, E>,
    scope: &Scope,
    prefetched: &Prefetched,
    progress: &impl ResyncProgress,
) -> Result<ReconcileOutcome, CallError> {
    let timer = ReconcileTimer::begin(context);
    // Several of these large futures are under way at once.
    let outcome = Box::pin(reconcile(context, scope, prefetched)).await?;
    progress.reconciled(&timer.end(context, scope, "resync", &outcome));
    Ok(outcome)
}

fn merge(total: &mut ReconcileOutcome, part: ReconcileOutcome) {
    total.rounds = total.rounds.max(part.rounds);
    total.counts.merge(&part.counts);
    let remaining = MAX_RECORDED_PARTITION_STEPS.saturating_sub(total.applied.len());
    total
        .applied
        .extend(part.applied.into_iter().take(remaining));
    total.findings.extend(part.findings);
    total.rejections.extend(part.rejections);
    // A database and the subjects outside databases may plan the same step.
    for failure in part.failed {
        if !total.failed.contains(&failure) {
            total.failed.push(failure);
        }
    }
    total.unrevoked.extend(part.unrevoked);
    // What reconciles a subject last knows its state: its row keeps the problems that it did not
    // look at.
    for subject in &part.scanned {
        total.not_in_sync.remove(subject);
        total.reasons.remove(subject);
        total.not_fully_read.remove(subject);
    }
    total.scanned.extend(part.scanned);
    total.fully_scanned.extend(part.fully_scanned);
    total.not_in_sync.extend(part.not_in_sync);
    total.reasons.extend(part.reasons);
    total.not_fully_read.extend(part.not_fully_read);
    total.iceberg.extend(part.iceberg);
    total.unrelocated.extend(part.unrelocated);
    total.left_to_schedule.extend(part.left_to_schedule);
    total.left_to_parts.extend(part.left_to_parts);
    if let Some((scope, reason)) = part.waiting {
        match &mut total.waiting {
            Some((merged_scope, _)) => merged_scope.merge(scope),
            none @ None => *none = Some((scope, reason)),
        }
    }
}
