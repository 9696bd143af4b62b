//! The reconcile loop.

mod bookkeeping;
mod due_tables;
mod freeze;
mod fresh_reads;
pub(crate) mod grant_listing;
mod intents;
mod lf_tag_lease;
mod managed_keys;
mod open_reasons;
mod paging;
mod problems;
mod safeguards;
mod session;
mod stale_reads;
mod step_effects;
mod waiting;

use crate::grant_index::GrantIndex;
use crate::observe::{ObservationPair, Prefetched, Snapshots};
use crate::ports::{Clock, Environment, ReadRegion, WriteRegion};
use crate::progress::WorkProgress;
pub use due_tables::DueTable;
use lf_tag_lease::LeaseResult;
pub use lf_tag_lease::LfTagLeaseOfRun;
use session::Session;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::audit::{ApprovedDeletions, Rejection};
use twinlake_core::ledger::LedgerRows;
use twinlake_core::plan::{Finding, SubjectOutcome};
use twinlake_core::policy::ScanWindow;
use twinlake_core::render::StepCounts;
use twinlake_core::snapshot::{Attachments, Observation};
use twinlake_core::topology::Epoch;
use twinlake_core::{
    ApprovedPlan, CallError, Facet, LfSubject, Name, OwnRoles, Plan, Policy, Principal, Scope,
    Step, Subject, SubjectState, TableId, Timestamp,
};

/// The Regions, ledger, policy and limits of one reconciliation.
pub struct Context<'a, E: Environment> {
    /// The primary Region. It is only read.
    pub primary: &'a E::Primary,
    /// The standby Region.
    pub standby: &'a E::Standby,
    /// The standby's ledger.
    pub ledger: &'a E::Ledger,
    /// The clock.
    pub clock: &'a E::Clock,
    /// The policy.
    pub policy: &'a Policy,
    /// The epoch, which says which Region is primary.
    pub epoch: Epoch,
    /// Twinlake's role in the primary.
    pub reader_role: &'a Principal,
    /// All roles of Twinlake in both Regions.
    pub own_roles: &'a OwnRoles,
    /// Most AWS calls that run at the same time.
    pub max_concurrent_calls: usize,
    /// The deletions that a person has approved: the deletion limit does not hold them.
    pub approved_deletions: &'a ApprovedDeletions,
    /// Whether Twinlake's role in the standby may write the data lake settings (a separate
    /// permission).
    pub may_write_settings: bool,
    /// When to defer to a later message what can be deferred.
    pub stop_at: Option<Timestamp>,
    /// Of tables in sync, what has a scan interval is read only if their moment lies in this
    /// window; `None` reads everything. A resync sets it for its run.
    pub scan_window: Option<ScanWindow>,
    /// What the reconciliations of one run share of the lease on changes of access by LF-Tags. Without
    /// it, each takes the lease for itself.
    pub lf_tag_lease: Option<&'a LfTagLeaseOfRun>,
    /// Who is told about the progress.
    pub progress: &'a dyn WorkProgress,
}

/// Most rounds of the loop before a remaining difference waits for a later message. Those that only read or plan again
/// do not count.
pub const MAX_ROUNDS: u32 = 6;

/// The result of a reconciliation.
#[derive(Clone, Debug, Default)]
pub struct ReconcileOutcome {
    /// Number of rounds: how often both Regions were read.
    pub rounds: u32,
    /// The applied steps, in order. Steps on partitions are recorded up to
    /// [`MAX_RECORDED_PARTITION_STEPS`].
    pub applied: Vec<Step>,
    /// Counts of all applied steps.
    pub counts: StepCounts,
    /// The findings of the last plan and of earlier pages.
    pub findings: BTreeSet<Finding>,
    /// Why the audit rejected steps of the last plan. These steps and those that require them were
    /// not applied.
    pub rejections: Vec<Rejection>,
    /// Steps that failed permanently, with the error.
    pub failed: Vec<(Step, CallError)>,
    /// Revokes that have not succeeded yet. Until they do, the standby may allow what the primary
    /// does not.
    pub unrevoked: Vec<(Step, CallError)>,
    /// Grants that an event named as revoked and that the primary still lists, with what to read again.
    pub relisted_revokes: Scope,
    /// What still differs and may resolve itself: the scope to reconcile again, and the reason.
    pub waiting: Option<(Scope, String)>,
    /// The subjects of which steps wait that may take access away.
    pub narrowing_waits: BTreeSet<Subject>,
    /// Whether it waits only because time ran out.
    pub out_of_time: bool,
    /// Until when another run has reserved the changes of access by LF-Tags for which this one waits.
    pub awaits_lease: Option<Timestamp>,
    /// Tables of databases with too many tables for one invocation. They were not read; the
    /// caller splits them into several messages.
    pub oversized: BTreeSet<TableId>,
    /// Tables of which something was not read because its scan is not due.
    pub left_to_schedule: BTreeSet<TableId>,
    /// Subjects that were left to other messages of the same resync run. They were not checked.
    pub left_to_parts: BTreeSet<Subject>,
    /// What the steps on Lake Formation subjects that were sent make old of its listings.
    pub outdated_listings: OutdatedListings,
    /// The LF-Tags, named LF-Tag expressions and registrations as they were read last, if steps on them were
    /// sent.
    pub items: BTreeMap<LfSubject, ObservationPair<Attachments>>,
    /// Iceberg tables in the primary.
    pub iceberg: Vec<TableId>,
    /// Tables whose files are to be relocated or looked at.
    pub unrelocated: BTreeMap<TableId, DueTable>,
    /// The outcome of each subject that was read, by the last plan.
    pub subject_outcomes: BTreeMap<Subject, SubjectOutcome>,
    /// The requested subjects that were read.
    pub scanned: BTreeSet<Subject>,
    /// The requested databases that were read with their whole contents.
    pub fully_scanned: BTreeSet<Name>,
    /// The databases of both Regions and of the ledger, where a resync listed all of them. What
    /// belongs to another database exists nowhere.
    pub listed_databases: Option<BTreeSet<Name>>,
    /// The subjects whose ledger rows are not in sync, with their state.
    pub not_in_sync: BTreeMap<Subject, SubjectState>,
    /// The reasons of those rows.
    pub reasons: BTreeMap<Subject, String>,
    /// Subjects with a problem that was found in something that was not read completely this time:
    /// no incident of theirs is resolved.
    pub not_fully_read: BTreeSet<Subject>,
}

/// Which listings of Lake Formation are old after some steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutdatedListings {
    /// None.
    #[default]
    None,
    /// Those of LF-Tags, named LF-Tag expressions and registrations.
    Items,
    /// All.
    All,
}

impl OutdatedListings {
    /// Which listings a step makes old. Each database reads again itself what its own steps change.
    fn by(step: &Step) -> Self {
        let is_item = match step {
            Step::PutAttachment { attachment, .. } => attachment.key().facet() == Facet::Items,
            Step::RemoveAttachment { key, .. } => key.facet() == Facet::Items,
            Step::Grant { .. }
            | Step::Revoke { .. }
            | Step::CreateDatabase { .. }
            | Step::UpdateDatabase { .. }
            | Step::CreateTable { .. }
            | Step::UpdateTable { .. }
            | Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeleteFunction { .. }
            | Step::PutSettings { .. }
            | Step::DeletePartition { .. }
            | Step::DeleteTable { .. }
            | Step::DeleteDatabase { .. } => false,
        };
        match (is_item, step.subject()) {
            (true, _) => Self::Items,
            (false, Subject::LakeFormation(_)) => Self::All,
            (
                false,
                Subject::Catalog | Subject::Database(_) | Subject::Table(_) | Subject::Function(_),
            ) => Self::None,
        }
    }
}

/// The log entry of one reconciliation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileLogEntry {
    /// The scope.
    pub subject: String,
    /// The trigger: `event`, `retry` (a retry message) or `resync`.
    pub cause: &'static str,
    /// Number of rounds.
    pub rounds: u32,
    /// Number of applied steps.
    pub steps: usize,
    /// Calls to Glue and Lake Formation meanwhile, retries included. A resync reconciles several
    /// databases at once: the calls of one count for the others, too.
    pub calls: u64,
    /// Duration.
    pub milliseconds: i64,
    /// The result, as [`ReconcileOutcome::status`] names it.
    pub outcome: &'static str,
    /// Why it is not settled: at most [`MAX_LOGGED_REASONS`] reasons.
    pub reasons: Vec<String>,
}

/// Most reasons that a [`ReconcileLogEntry`] contains.
pub const MAX_LOGGED_REASONS: usize = 20;

/// Measures the duration and the calls of one reconciliation.
#[derive(Clone, Copy, Debug)]
pub struct ReconcileTimer {
    calls: u64,
    started: Timestamp,
}

impl ReconcileTimer {
    /// Starts the timer.
    pub fn begin<E: Environment>(context: &Context<'_, E>) -> Self {
        Self {
            calls: context.primary.call_count(),
            started: context.clock.now(),
        }
    }

    /// Returns the log entry of the reconciliation.
    pub fn end<E: Environment>(
        self,
        context: &Context<'_, E>,
        scope: &Scope,
        cause: &'static str,
        outcome: &ReconcileOutcome,
    ) -> ReconcileLogEntry {
        ReconcileLogEntry {
            subject: scope.to_string(),
            cause,
            rounds: outcome.rounds,
            steps: outcome.counts.total(),
            calls: context.primary.call_count().saturating_sub(self.calls),
            milliseconds: context.clock.now().millis() - self.started.millis(),
            outcome: outcome.status(),
            reasons: outcome.open_reasons().take(MAX_LOGGED_REASONS).collect(),
        }
    }
}

/// Most steps on partitions that [`ReconcileOutcome::applied`] records.
pub const MAX_RECORDED_PARTITION_STEPS: usize = 1000;

impl ReconcileOutcome {
    /// Records an applied step.
    pub fn record_applied(&mut self, step: &Step) {
        self.counts.add(step);
        let is_partition_step = step_effects::partition_values_of(step).is_some();
        if !is_partition_step || self.applied.len() < MAX_RECORDED_PARTITION_STEPS {
            self.applied.push(step.clone());
        }
    }

    /// Whether the last plan was empty: nothing waits, was rejected or failed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.waiting.is_none() && self.rejections.is_empty() && self.failed.is_empty()
    }

    /// The result in a word: `rejected` (a plan was rejected), `failed`, `waiting`, `unread` (a read
    /// failed), both as `waiting, unread`, or `settled`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if !self.rejections.is_empty() {
            "rejected"
        } else if !self.failed.is_empty() {
            "failed"
        } else {
            match (self.waiting.is_some(), self.is_fully_read()) {
                (true, true) => "waiting",
                (true, false) => "waiting, unread",
                (false, false) => "unread",
                (false, true) => "settled",
            }
        }
    }

    /// Whether every subject could be read.
    #[must_use]
    pub fn is_fully_read(&self) -> bool {
        !self.findings.iter().any(is_read_failure)
    }
}

/// Whether something was not read.
const fn is_read_failure(finding: &Finding) -> bool {
    finding.kind.is_failed_read()
}

/// Makes the standby equal to the primary within a scope.
///
/// # Guarantees
/// - Returns only when a plan from fresh reads of what changed is empty, or reports what still
///   differs and why.
/// - Several callers may run it at once, it may be killed between any two calls, and it may be
///   repeated: the standby never allows more than the primary did when it was last read.
///
/// # Assumptions
/// - The local Region is the standby. The caller has just checked it.
///
/// # Caveats
/// - Reads of the primary may be stale. Only a later event or resync corrects the result.
///
/// # Errors
/// The ledger cannot be reached. The outcome reports all other errors.
pub async fn reconcile<E: Environment<Standby: WriteRegion>>(
    context: &Context<'_, E>,
    scope: &Scope,
    prefetched: &Prefetched,
) -> Result<ReconcileOutcome, CallError> {
    let mut session = Session::begin(context, scope).await?;
    let result = run_rounds(&mut session, prefetched).await;
    // After a failure, what was sent may have suspended grants: whoever takes the lease once it has ended
    // restores them.
    if result.is_ok() || !session.has_applied {
        session.give_back_lf_tag_lease().await;
    }
    result.map(|()| session.outcome)
}

/// Most subjects of which the grants are read again one by one and not by a listing of all grants.
const MAX_GRANTS_READ_ONE_BY_ONE: usize = 4;

/// The listings that a round starts from.
struct RoundListings<'a> {
    prefetched: Cow<'a, Prefetched>,
    /// Whether all grants were listed since this session wrote.
    are_all_grants_listed: bool,
}

impl RoundListings<'_> {
    /// Sets the grants that the next round starts from.
    fn set_grants(&mut self, grants: Option<ObservationPair<GrantIndex>>) {
        let is_partial = |listed: &Observation<GrantIndex>| {
            listed.present().is_some_and(|index| index.of_objects)
        };
        let listed = grants.as_ref();
        self.are_all_grants_listed =
            listed.is_some_and(|(primary, standby)| !is_partial(primary) && !is_partial(standby));
        let prefetched = self.prefetched.to_mut();
        prefetched.grants = grants;
        prefetched.list_grants = None;
    }

    /// Drops all listings. The next round makes its own, but for the listing of all grants if it reads
    /// whole databases.
    async fn renew<E: Environment>(&mut self, session: &Session<'_, E>) {
        let grants = match session.has_database_scan() {
            true => Some(session.list_all_grants().await),
            false => None,
        };
        self.are_all_grants_listed = grants.is_some();
        self.prefetched = Cow::Owned(Prefetched {
            grants,
            ..Prefetched::default()
        });
    }
}

/// Runs the rounds of a session until nothing is left to do, or what is left waits.
async fn run_rounds<E: Environment<Standby: WriteRegion>>(
    session: &mut Session<'_, E>,
    prefetched: &Prefetched,
) -> Result<(), CallError> {
    let mut prefetched = Cow::Borrowed(prefetched);
    if prefetched.grants.is_none() && session.has_database_scan() {
        prefetched.to_mut().grants = Some(session.list_all_grants().await);
    }
    let mut listings = RoundListings {
        are_all_grants_listed: prefetched.grants.is_some(),
        prefetched,
    };
    loop {
        session.begin_round();
        let mut rows = session.observe(&listings.prefetched).await?;
        if let Some(listed) = session.listed_grants.take() {
            listings.set_grants(Some(listed));
        }
        if session.pair_intended_objects(&rows) || session.reread_dropped_databases() {
            continue;
        }
        let mut plan = session.plan(&rows);
        if reads_more(session, &plan, &mut listings).await {
            continue;
        }
        session.record_plan(&plan);
        let is_given_up = !plan.is_empty() && session.page_rounds > MAX_ROUNDS;
        if is_given_up {
            session.give_up(&plan);
        }
        let approved = match plan.is_empty() || is_given_up {
            true => None,
            false => session.approve(&rows, &mut plan, true).await?,
        };
        let Some(approved) = approved else {
            if session.resume_lf_tag_changes() {
                session.read_requests.clear();
                continue;
            }
            if session.next_page(&plan) {
                // Other runs need not wait for all partitions of a table.
                if plan.is_empty() && session.suspended_subjects.is_empty() {
                    session.give_back_lf_tag_lease().await;
                }
                listings.prefetched = Cow::Owned(Prefetched::default());
                continue;
            }
            return session.finish(&rows, &plan).await;
        };
        if !may_apply(session, (&plan, &approved), &mut listings).await? {
            continue;
        }
        let outdated = approved.steps().iter().map(OutdatedListings::by);
        let outdated = outdated.chain([session.outcome.outdated_listings]).max();
        session.outcome.outdated_listings = outdated.unwrap_or_default();
        if !session.record_intents(&mut rows, &approved).await? {
            listings.prefetched.to_mut().databases = None;
            continue;
        }
        session.forget_other_policy().await?;
        session.know_pairings(&rows);
        session.allow_partition_deletions(&approved);
        session.has_applied = true;
        let applied = session.apply(&approved).await;
        session.record_results(&approved, &applied);
        session.resume_lf_tag_changes();
        listings.prefetched = Cow::Owned(session.listings_of_next_round());
        listings.are_all_grants_listed = false;
    }
}

/// Whether a plan has to be made again after further reads, which the next round makes.
async fn reads_more<E: Environment>(
    session: &mut Session<'_, E>,
    plan: &Plan,
    listings: &mut RoundListings<'_>,
) -> bool {
    if listings.prefetched.is_older_than_changes && !plan.is_empty() {
        session.repeat_round();
        session.reread_everything();
        listings.renew(session).await;
        return true;
    }
    if (plan.needs_full_grant_read > 0 || session.needs_grant_recheck(plan))
        && !listings.are_all_grants_listed
    {
        listings.are_all_grants_listed = true;
        listings.prefetched.to_mut().grants = Some(session.list_all_grants().await);
        session.reread_grants();
        session.repeat_round();
        return true;
    }
    if session.read_needs(plan) || session.read_changed_tables(plan) {
        return true;
    }
    if session.reread_removed(plan) {
        session.repeat_round();
        let listed = listings.prefetched.to_mut();
        (listed.opt_ins, listed.lake_formation) = (None, None);
        return true;
    }
    let listed_since = listings.prefetched.listed_since;
    if session.reread_older_grants(plan, listed_since) {
        session.repeat_round();
        let is_listed = session.read_requests.len() > MAX_GRANTS_READ_ONE_BY_ONE;
        listings.set_grants(match is_listed {
            true => {
                let earlier = listings.prefetched.grants.as_ref();
                Some(session.list_requested_grants(earlier).await)
            }
            false => None,
        });
        return true;
    }
    false
}

/// Whether an approved plan may be applied: nobody else changes access by LF-Tags, and what it rests on
/// is still true. If not, the next round reads again.
async fn may_apply<E: Environment>(
    session: &mut Session<'_, E>,
    (plan, approved): (&Plan, &ApprovedPlan),
    listings: &mut RoundListings<'_>,
) -> Result<bool, CallError> {
    let listed_since = listings.prefetched.listed_since;
    match session.take_lf_tag_lease(approved, listed_since).await? {
        LeaseResult::Held => {}
        LeaseResult::ReadsAgain => {
            session.repeat_round();
            listings.renew(session).await;
            return Ok(false);
        }
        LeaseResult::NarrowsFirst => {
            session.repeat_round();
            session.narrow_first(plan);
            session.read_requests.clear();
            return Ok(false);
        }
        result @ (LeaseResult::Busy(_) | LeaseResult::OutOfTime) => {
            session.repeat_round();
            session.postpone_lf_tag_changes(plan, result.held_until());
            session.read_requests.clear();
            return Ok(false);
        }
    }
    if session.has_lost_sight(approved).await {
        session.reread_everything();
        listings.renew(session).await;
        return Ok(false);
    }
    if session.databases_changed(approved).await {
        listings.prefetched.to_mut().databases = None;
        return Ok(false);
    }
    Ok(true)
}

/// Reads both Regions once and plans without writing anything. Returns the plan that would be
/// applied, and why other steps were rejected.
///
/// # Errors
/// The ledger cannot be reached.
pub async fn preview<E: Environment>(
    context: &Context<'_, E>,
    scope: &Scope,
    prefetched: &Prefetched,
) -> Result<(Plan, Vec<Rejection>), CallError> {
    let mut session = Session::begin(context, scope).await?;
    // The preview shows every partition, not one page.
    session.max_partitions = usize::MAX;
    let mut rows = session.observe(prefetched).await?;
    let mut plan = session.plan(&rows);
    if plan.needs_full_grant_read > 0 && prefetched.grants.is_none() {
        let grants = Some(session.list_all_grants().await);
        session.reread_grants();
        rows = session
            .observe(&Prefetched {
                grants,
                ..prefetched.clone()
            })
            .await?;
        plan = session.plan(&rows);
    }
    while session.read_needs(&plan) || session.read_changed_tables(&plan) {
        rows = session.observe(prefetched).await?;
        plan = session.plan(&rows);
    }
    session.approve(&rows, &mut plan, false).await?;
    Ok((plan, session.outcome.rejections))
}

/// Reads the ledger rows and both Regions once, as far as the scope requests. Grants are read by a
/// listing of all grants.
///
/// # Errors
/// The ledger cannot be reached.
pub async fn observe_once<E: Environment>(
    context: &Context<'_, E>,
    scope: &Scope,
) -> Result<(LedgerRows, Snapshots), CallError> {
    let mut session = Session::begin(context, scope).await?;
    let prefetched = Prefetched {
        grants: Some(session.list_all_grants().await),
        ..Prefetched::default()
    };
    let rows = session.observe(&prefetched).await?;
    Ok((rows, session.snapshots))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::plan::FindingKind;

    #[test]
    fn the_log_names_each_open_reason() {
        let finding = |kind, detail: &str| Finding {
            kind,
            subject: Subject::Catalog,
            detail: detail.to_owned(),
        };
        let step = Step::DeleteDatabase {
            name: Name::new("sales").unwrap(),
        };
        let error = |text: &str| {
            CallError::new(
                twinlake_core::CallErrorKind::Invalid,
                "DeleteDatabase",
                "x",
                text,
            )
        };
        let outcome = ReconcileOutcome {
            rejections: vec![Rejection {
                rule: twinlake_core::audit::AuditRule::WiderAccess,
                detail: "rejected".to_owned(),
                targets: BTreeSet::new(),
            }],
            failed: vec![(step, error("failed"))],
            findings: [
                finding(FindingKind::Unreadable, "unread"),
                finding(FindingKind::Note, "no failure of a read"),
            ]
            .into(),
            waiting: Some((Scope::catalog(), "waits".to_owned())),
            ..ReconcileOutcome::default()
        };
        let reasons: Vec<String> = outcome.open_reasons().collect();
        let expected = ["rejected", "failed", "unread", "waits"];
        assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
        for (reason, text) in reasons.iter().zip(expected) {
            assert!(reason.contains(text), "{reason}");
        }
    }

    #[test]
    fn the_status_tells_that_something_was_not_read_while_something_waits() {
        let unread = Finding {
            kind: FindingKind::Unreadable,
            subject: Subject::Catalog,
            detail: String::new(),
        };
        let outcome = |waits: bool, findings: &[Finding]| ReconcileOutcome {
            waiting: waits.then(|| (Scope::catalog(), String::new())),
            findings: findings.iter().cloned().collect(),
            ..ReconcileOutcome::default()
        };
        assert_eq!(outcome(false, &[]).status(), "settled");
        assert_eq!(outcome(true, &[]).status(), "waiting");
        let unread = [unread];
        assert_eq!(outcome(false, &unread).status(), "unread");
        assert_eq!(outcome(true, &unread).status(), "waiting, unread");
    }
}
