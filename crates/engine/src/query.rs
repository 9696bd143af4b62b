//! Keeps the query tools of the standby equal to those of the primary: the loop of the domain
//! [`twinlake_core::query`].
//!
//! Observe both Regions, plan, read by name what the plan asks for, audit, apply, and observe again until a
//! plan is empty. It is the loop of the catalog without its leases and parts: everything is read in one pass. Steps that
//! take access away, or put a tool to sleep, come first; what is held, rejected or failed otherwise holds none of them
//! back.

mod apply;
mod external_schemas;
mod fenced;
mod handover;
mod ledger;
mod observe;
mod report;
mod scheduled;
mod status;

pub use fenced::FencedQueryRegion;
pub(crate) use handover::hand_over_query_rows;
pub use ledger::{QueryResyncRecord, read_query_ledger};
pub use report::{query_alerts, query_checked, query_unfinished};
pub use scheduled::{ScheduledQueryToolsRun, resync_query_tools};
pub use status::QueryStatus;
pub use twinlake_core::query::QUERY_SUBJECT;

use crate::ports::{Clock, DocumentStore, ReadQueryRegion, WriteQueryRegion};
use apply::apply;
use external_schemas::WarehouseRegion;
use ledger::QueryLedger;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use twinlake_core::audit::AuditRule;
use twinlake_core::ledger::SubjectState;
use twinlake_core::plan::FindingKind;
use twinlake_core::policy::QueryPolicy;
use twinlake_core::query::{
    ApprovedQueryPlan, HeldObject, HeldObjects, ObjectKey, QueryCounts, QueryDeletionBudget,
    QueryFinding, QueryInputs, QueryPlan, QueryRejection, QueryRows, QuerySnapshot, QueryStep,
    audit_query, plan_query,
};
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, Policy, Timestamp};

/// The most rounds of one run. A first round changes, a second one finds nothing left; what another run does
/// meanwhile may need more.
const MAX_ROUNDS: usize = 4;
/// Why a step is not applied that the confirmed plan does not have.
const UNCONFIRMED: &str =
    "a Region has changed since the plan was confirmed, and this was not part of it";
/// Why an object does not count as equal at the end of a run.
const UNFINISHED: &str =
    "it differed, and the run ended before it was made equal and compared again";
/// How often a plan is made again without the steps that the audit rejected.
const MAX_REPLANS: usize = 4;

/// A random number that tells the intents of one run from those of others.
#[must_use]
pub fn new_run() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// What a run works with.
#[derive(Debug)]
pub struct QueryToolsContext<'a, P, S, L, C> {
    /// The primary.
    pub primary: &'a P,
    /// The standby.
    pub standby: &'a S,
    /// The ledger of the standby.
    pub ledger: &'a L,
    /// The clock.
    pub clock: &'a C,
    /// The policy, and its part about the query tools.
    pub policy: (&'a Policy, &'a QueryPolicy),
    /// Which site is primary.
    pub epoch: Epoch,
    /// Objects of the primary whose deletion a person has approved.
    pub approved_deletions: &'a BTreeSet<ObjectKey>,
    /// The steps that a person has confirmed: no other one is applied. `None` for a run that nobody watches.
    pub confirmed: Option<&'a [QueryStep]>,
    /// The number of this run, see [`new_run`].
    pub run: u64,
    /// No step is begun after this time.
    pub stop_at: Option<Timestamp>,
}

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryToolsOutcome {
    /// The steps that succeeded.
    pub applied: Vec<QueryStep>,
    /// The steps that failed, with the error.
    pub failed: Vec<(QueryStep, CallError)>,
    /// What holds something back or is not replicated, as of the last plan.
    pub findings: BTreeSet<QueryFinding>,
    /// What the audit rejected.
    pub rejections: BTreeSet<QueryRejection>,
    /// Steps that would have been needed, and that nobody confirmed, as of the last plans.
    pub unconfirmed: Vec<QueryStep>,
    /// Objects that were to be changed when the run ended, and were not compared after that.
    pub unfinished: BTreeMap<ObjectKey, String>,
    /// The paired objects at the end.
    pub paired: QueryCounts,
    /// Every step of the last plan was tried. Not so if time ran out, or other runs were in the way.
    pub is_complete: bool,
    /// Everything was read, and nothing differs but what the findings name.
    pub is_settled: bool,
}

impl QueryToolsOutcome {
    /// Whether nothing is left to do or to look at.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let mut findings = self.findings.iter();
        self.is_settled
            && self.rejections.is_empty()
            && self.unconfirmed.is_empty()
            && !findings.any(|finding| finding.kind.needs_attention())
    }
}

/// What one round read and planned.
struct Round {
    primary: QuerySnapshot,
    standby: QuerySnapshot,
    plan: QueryPlan,
}

/// Compares the Regions. Writes nothing. Returns the plan without the steps that the audit rejects, and the
/// rejections.
///
/// # Errors
/// The ledger cannot be read. A Region that cannot be read is a finding.
pub async fn preview_query<P, S, L, C>(
    context: &QueryToolsContext<'_, P, S, L, C>,
) -> Result<(QueryPlan, Vec<QueryRejection>), CallError>
where
    P: ReadQueryRegion,
    S: ReadQueryRegion,
    L: DocumentStore,
    C: Clock,
{
    let ledger = QueryLedger::open(context.ledger, context.epoch.primary()).await?;
    let mut held = HeldObjects::new();
    let mut rejections = Vec::new();
    let mut round = observe_and_plan(context, &ledger.rows, &held).await;
    for _ in 0..=MAX_REPLANS {
        let inputs = context.inputs(&round, &ledger.rows, &held);
        let budget = context.budget(
            &ledger.rows,
            ledger.deleted_last_hour(context.clock.now()).await?,
        );
        match audit_query(&inputs, round.plan.clone(), &budget) {
            Ok(_) => break,
            Err(found) => {
                hold_rejected(&mut held, &found);
                rejections.extend(found);
                round.plan = plan_query(&context.inputs(&round, &ledger.rows, &held));
            }
        }
    }
    round.plan.findings = without_held(&round.plan, &held);
    Ok((round.plan, rejections))
}

/// Makes the standby equal to the primary.
///
/// # Errors
/// The ledger cannot be reached. A Region that cannot be read, and a step that fails, are part of the result.
pub async fn reconcile_query<P, S, L, C>(
    context: &QueryToolsContext<'_, P, S, L, C>,
) -> Result<QueryToolsOutcome, CallError>
where
    P: ReadQueryRegion,
    S: WriteQueryRegion,
    L: DocumentStore,
    C: Clock,
{
    let mut ledger = QueryLedger::open(context.ledger, context.epoch.primary()).await?;
    let mut outcome = QueryToolsOutcome::default();
    let started = context.clock.now();
    let mut held = HeldObjects::new();
    let mut compared = BTreeSet::new();
    let mut told = BTreeSet::new();
    for _ in 0..MAX_ROUNDS {
        let mut round = observe_and_plan(context, &ledger.rows, &held).await;
        let approved = approve(context, &ledger, &mut round, (&mut held, &mut outcome)).await?;
        if approved.is_some() {
            ledger.adopt(context, &round).await?;
        }
        outcome.findings = without_held(&round.plan, &held);
        outcome.unfinished = changes(&round.plan);
        compared = equal_by(&round.plan);
        let is_approved = approved.is_some();
        let Some(approved) = approved.filter(|approved| !approved.steps().is_empty()) else {
            outcome.is_complete = is_approved;
            outcome.is_settled = held.is_empty() && outcome.failed.is_empty();
            break;
        };
        if !ledger
            .record_intents(context, approved.steps(), &round.standby)
            .await?
        {
            // Another run is at work; its rows are read again.
            ledger = QueryLedger::open(context.ledger, context.epoch.primary()).await?;
            continue;
        }
        let results = apply(context, &mut ledger, &approved).await?;
        for (step, error) in results.failed {
            hold(&mut held, &step, format!("a step failed: {error}"));
            outcome.failed.push((step, error));
        }
        for step in results.applied.iter().filter(|step| step.is_deletion()) {
            outcome.unfinished.remove(step.primary());
        }
        told.extend(results.applied.iter().filter_map(QueryStep::finding));
        outcome.applied.extend(results.applied);
        if results.is_cut_short {
            break;
        }
    }
    outcome.findings.extend(told);
    let now = context.clock.now();
    ledger
        .record_states(context.epoch, (&problems(&outcome), &compared), now)
        .await?;
    outcome.is_settled &= !outcome
        .findings
        .iter()
        .any(|finding| finding.kind.is_failed_read());
    outcome.paired = QueryCounts::paired(&ledger.rows);
    ledger.record_run(started, &outcome).await?;
    Ok(outcome)
}

impl<P, S, L, C: Clock> QueryToolsContext<'_, P, S, L, C> {
    fn inputs<'r>(
        &'r self,
        round: &'r Round,
        rows: &'r QueryRows,
        held: &'r HeldObjects,
    ) -> QueryInputs<'r> {
        QueryInputs {
            primary: &round.primary,
            standby: &round.standby,
            rows,
            policy: self.policy.0,
            query: self.policy.1,
            epoch: self.epoch,
            held,
            run: (self.clock.now(), self.run),
        }
    }

    fn budget(&self, rows: &QueryRows, deleted_last_hour: QueryCounts) -> QueryDeletionBudget {
        QueryDeletionBudget {
            paired: QueryCounts::paired(rows),
            deleted_last_hour,
            approved: self.approved_deletions.clone(),
        }
    }
}

async fn observe_and_plan<P, S, L, C>(
    context: &QueryToolsContext<'_, P, S, L, C>,
    rows: &QueryRows,
    held: &HeldObjects,
) -> Round
where
    P: ReadQueryRegion,
    S: ReadQueryRegion,
    C: Clock,
{
    let query = context.policy.1;
    let (primary, standby) = futures_util::future::join(
        observe::observe(context.primary, (query, context.epoch.primary()), true),
        observe::observe(context.standby, (query, context.epoch.standby()), false),
    )
    .await;
    let mut round = Round {
        primary,
        standby,
        plan: QueryPlan::default(),
    };
    loop {
        round.plan = plan_query(&context.inputs(&round, rows, held));
        let needs: Vec<ObjectKey> = round
            .plan
            .needs
            .iter()
            .filter(|key| !round.primary.objects.contains_key(*key))
            .cloned()
            .collect();
        let canaries = std::mem::take(&mut round.plan.canaries);
        if needs.is_empty() && canaries.is_empty() {
            return round;
        }
        for key in needs {
            let site = (query, context.epoch.primary());
            let result = match WarehouseRegion::of(context.primary, site, &key) {
                Some(warehouse) => warehouse.read(&key).await,
                None => context.primary.read(&key).await,
            };
            let known = (rows, context.epoch.primary());
            round.primary.record_read(&key, result, known);
        }
        for key in canaries {
            let site = (query, context.epoch.standby());
            if let Some(warehouse) = WarehouseRegion::of(context.standby, site, &key) {
                let result = warehouse.canary(&key).await;
                round.standby.canaries.insert(key, result);
            }
        }
    }
}

/// Audits a plan; without the steps that are rejected it is made again. What it deletes is counted in the
/// ledger by the same conditional write that compares it with the limit.
async fn approve<P, S, L, C>(
    context: &QueryToolsContext<'_, P, S, L, C>,
    ledger: &QueryLedger<'_, L>,
    round: &mut Round,
    (held, outcome): (&mut HeldObjects, &mut QueryToolsOutcome),
) -> Result<Option<ApprovedQueryPlan>, CallError>
where
    P: ReadQueryRegion,
    S: ReadQueryRegion,
    L: DocumentStore,
    C: Clock,
{
    for _ in 0..=MAX_REPLANS {
        hold_unconfirmed(context, ledger, round, (&mut *held, &mut *outcome));
        let audited = ledger
            .charge_deletions(context.clock.now(), &round.plan, |deleted| {
                let budget = context.budget(&ledger.rows, deleted);
                audit_query(
                    &context.inputs(round, &ledger.rows, held),
                    round.plan.clone(),
                    &budget,
                )
            })
            .await?;
        match audited {
            Ok(approved) => return Ok(Some(approved)),
            Err(rejections) => {
                hold_rejected(held, &rejections);
                outcome.rejections.extend(rejections);
                round.plan = plan_query(&context.inputs(round, &ledger.rows, held));
            }
        }
    }
    Ok(None)
}

/// Holds what nobody has confirmed, and plans again until the rest is confirmed.
fn hold_unconfirmed<P, S, L, C: Clock>(
    context: &QueryToolsContext<'_, P, S, L, C>,
    ledger: &QueryLedger<'_, L>,
    round: &mut Round,
    (held, outcome): (&mut HeldObjects, &mut QueryToolsOutcome),
) {
    let Some(confirmed) = context.confirmed else {
        return;
    };
    loop {
        let steps = round.plan.steps.iter();
        let unconfirmed: Vec<QueryStep> = steps
            .filter(|step| !confirmed.contains(step))
            .cloned()
            .collect();
        if unconfirmed.is_empty() {
            return;
        }
        for step in &unconfirmed {
            hold(held, step, UNCONFIRMED.to_owned());
        }
        outcome.unconfirmed.extend(unconfirmed);
        round.plan = plan_query(&context.inputs(round, &ledger.rows, held));
    }
}

/// The objects that a plan changes, with the object as a person knows it.
fn changes(plan: &QueryPlan) -> BTreeMap<ObjectKey, String> {
    let keys = plan.steps.iter().map(QueryStep::primary);
    keys.map(|key| (key.clone(), key.to_string())).collect()
}

/// The objects that a plan found equal.
fn equal_by(plan: &QueryPlan) -> BTreeSet<ObjectKey> {
    let changed = changes(plan);
    let compared = plan.compared.iter();
    let equal = compared.filter(|key| !changed.contains_key(*key));
    equal.cloned().collect()
}

/// The findings without those that say again what was rejected or failed.
fn without_held(plan: &QueryPlan, held: &HeldObjects) -> BTreeSet<QueryFinding> {
    let findings = plan.findings.iter();
    let is_new = |finding: &&QueryFinding| {
        let reason = finding.key.as_ref().and_then(|key| held.get(key));
        reason.is_none_or(|held| held.reason != finding.detail)
    };
    findings.filter(is_new).cloned().collect()
}

/// Leaves the object of a step as it is from now on. What only takes away is still done, unless the step is that.
fn hold(held: &mut HeldObjects, step: &QueryStep, reason: String) {
    hold_object(held, step.primary(), (reason, step.is_narrowing()));
}

fn hold_rejected(held: &mut HeldObjects, rejections: &[QueryRejection]) {
    for rejection in rejections {
        let reason = rejection.detail.clone();
        hold_object(held, &rejection.object, (reason, rejection.is_of_narrowing));
    }
}

fn hold_object(held: &mut HeldObjects, key: &ObjectKey, (reason, holds_narrowing): (String, bool)) {
    let before = held.get(key).is_some_and(|held| held.holds_narrowing);
    let object = HeldObject {
        reason,
        holds_narrowing: holds_narrowing || before,
    };
    held.insert(key.clone(), object);
}

/// Why an object is not in sync.
#[derive(Clone, Debug)]
struct Problem {
    /// The object as a person knows it.
    description: String,
    state: SubjectState,
    reason: String,
}

/// The problem of each object that is not in sync; of several the last one counts: a failed step, then one
/// that nobody confirmed, a rejection, a finding, and a change after which nothing was compared.
fn problems(outcome: &QueryToolsOutcome) -> BTreeMap<ObjectKey, Problem> {
    let out_of_sync = |description: String, reason: &str| Problem {
        description,
        state: SubjectState::OutOfSync,
        reason: reason.to_owned(),
    };
    let unfinished = outcome.unfinished.iter();
    let mut problems: BTreeMap<ObjectKey, Problem> = unfinished
        .map(|(key, description)| (key.clone(), out_of_sync(description.clone(), UNFINISHED)))
        .collect();
    for finding in &outcome.findings {
        let state = match finding.kind {
            FindingKind::Denied | FindingKind::Unreadable | FindingKind::HiddenColumns => {
                SubjectState::OutOfSync
            }
            FindingKind::Unmanaged | FindingKind::DefaultsOpen | FindingKind::ChangeRequired => {
                SubjectState::Blocked
            }
            FindingKind::OnHold => SubjectState::OnHold,
            FindingKind::DataPending | FindingKind::DataOverdue | FindingKind::DataLost => {
                SubjectState::DataPending
            }
            FindingKind::Unsupported | FindingKind::Note => continue,
        };
        if let Some(key) = &finding.key {
            let problem = Problem {
                description: finding.object.clone(),
                state,
                reason: finding.detail.clone(),
            };
            problems.insert(key.clone(), problem);
        }
    }
    for rejection in &outcome.rejections {
        let state = match rejection.rule {
            AuditRule::DeletionLimit => SubjectState::OnHold,
            AuditRule::WiderAccess
            | AuditRule::Unproven
            | AuditRule::NotManaged
            | AuditRule::Altered
            | AuditRule::OtherPolicyOrEpoch
            | AuditRule::Order => SubjectState::Blocked,
        };
        let problem = Problem {
            description: rejection.object.to_string(),
            state,
            reason: rejection.detail.clone(),
        };
        problems.insert(rejection.object.clone(), problem);
    }
    for step in &outcome.unconfirmed {
        let problem = out_of_sync(step.primary().to_string(), UNCONFIRMED);
        problems.insert(step.primary().clone(), problem);
    }
    for (step, error) in &outcome.failed {
        let problem = out_of_sync(step.primary().to_string(), &error.to_string());
        problems.insert(step.primary().clone(), problem);
    }
    problems
}
