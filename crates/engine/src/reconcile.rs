//! The loop itself.

mod after;
mod record;
pub(crate) mod relist;
mod share;
mod work;

use crate::apply::apply;
use crate::observe::{Prefetched, Readings};
use crate::ports::{Clock, Ledger, ReadRegion, WriteRegion};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::audit::{self, Veto};
use twinlake_core::ledger::{Epoch, Rows};
use twinlake_core::plan::{Finding, FindingKind, Standing};
use twinlake_core::render::Counts;
use twinlake_core::{
    Fault, Name, OwnRoles, Plan, Policy, Principal, Scope, State, Step, Subject, TableId, Timestamp,
};
use work::Work;

/// Everything that one reconciliation works with.
#[derive(Debug)]
pub struct Context<'a, P, S, L, C> {
    /// The primary, which is only read.
    pub primary: &'a P,
    /// The secondary.
    pub secondary: &'a S,
    /// The secondary's ledger.
    pub ledger: &'a L,
    /// Tells the time.
    pub clock: &'a C,
    /// The policy.
    pub policy: &'a Policy,
    /// Who is primary.
    pub epoch: Epoch,
    /// Our role in the primary.
    pub reader: &'a Principal,
    /// All our roles.
    pub ours: &'a OwnRoles,
    /// Calls under way at once.
    pub parallel: usize,
    /// A person has said that the deletions are meant, however many.
    pub brake_released: bool,
    /// Whether the data lake settings may be written: that takes a right of its own.
    pub writes_settings: bool,
    /// When to leave what can be left to a later message.
    pub stop_at: Option<Timestamp>,
}

/// How often the loop goes round before it leaves a difference to a later try.
pub const ROUNDS: u32 = 6;

/// How a reconciliation ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How often both Regions were read.
    pub rounds: u32,
    /// The steps that were applied, in order; of partitions only the first
    /// [`NOTED`].
    pub applied: Vec<Step>,
    /// All that were applied, counted.
    pub counts: Counts,
    /// What a person should know, by the last plan.
    pub findings: BTreeSet<Finding>,
    /// Why a plan was refused; nothing of it was applied.
    pub vetoes: Vec<Veto>,
    /// Steps that failed for good, with the reason.
    pub failed: Vec<(Step, Fault)>,
    /// Revokes that have not come about yet: while one is open, the secondary may
    /// allow what the primary does not.
    pub unrevoked: Vec<(Step, Fault)>,
    /// The subject whose plan was refused.
    pub vetoed: Option<Subject>,
    /// What still differs and may settle by itself: to be looked at again.
    pub waiting: Option<(Scope, String)>,
    /// It waits because time ran out, and nothing is wrong.
    pub out_of_time: bool,
    /// Tables of a database that has too many: not looked at, to be shared out.
    pub too_many: BTreeSet<TableId>,
    /// Iceberg tables that the primary showed.
    pub iceberg: Vec<TableId>,
    /// The subjects that were looked at, and how they were left.
    pub standings: BTreeMap<Subject, Standing>,
    /// The subjects that were asked for and looked at.
    pub looked: BTreeSet<Subject>,
    /// Of those the databases that were looked at with all that is in them.
    pub whole: BTreeSet<Name>,
    /// The subjects whose rows do not say that they are in step.
    pub ill: BTreeMap<Subject, State>,
    /// Why, as their rows say.
    pub reasons: BTreeMap<Subject, String>,
}

/// One reconciliation, as it is logged: nothing of a grant but names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciled {
    /// Whom it was about.
    pub subject: String,
    /// What asked for it: `event`, `again` or `resync`.
    pub cause: &'static str,
    /// How often both Regions were read.
    pub rounds: u32,
    /// Steps that were applied.
    pub steps: usize,
    /// Calls to Glue and Lake Formation, repeats counted.
    pub calls: u64,
    /// How long it took.
    pub milliseconds: i64,
    /// How it ended: `settled`, `waiting`, `failed` or `vetoed`.
    pub outcome: &'static str,
}

/// Measures one reconciliation from its start.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    calls: u64,
    began: Timestamp,
}

impl Measure {
    /// Begins to measure.
    pub fn begin<P: ReadRegion, S, L, C: Clock>(context: &Context<'_, P, S, L, C>) -> Self {
        Self {
            calls: context.primary.calls(),
            began: context.clock.now(),
        }
    }

    /// What it came to.
    pub fn end<P: ReadRegion, S, L, C: Clock>(
        self,
        context: &Context<'_, P, S, L, C>,
        scope: &Scope,
        cause: &'static str,
        outcome: &Outcome,
    ) -> Reconciled {
        Reconciled {
            subject: scope.to_string(),
            cause,
            rounds: outcome.rounds,
            steps: outcome.counts.total(),
            calls: context.primary.calls().saturating_sub(self.calls),
            milliseconds: context.clock.now().0 - self.began.0,
            outcome: outcome.ended(),
        }
    }
}

/// So many steps on partitions are remembered one by one.
pub const NOTED: usize = 1000;

impl Outcome {
    /// Takes a step in that was applied.
    pub fn note(&mut self, step: &Step) {
        self.counts.add(step);
        let of_partition = after::values_of(step).is_some();
        if !of_partition || self.applied.len() < NOTED {
            self.applied.push(step.clone());
        }
    }

    /// Whether a fresh plan was empty at the end.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.waiting.is_none() && self.vetoes.is_empty() && self.failed.is_empty()
    }

    /// How it ended, in a word.
    #[must_use]
    pub fn ended(&self) -> &'static str {
        if !self.vetoes.is_empty() {
            "vetoed"
        } else if !self.failed.is_empty() {
            "failed"
        } else if self.waiting.is_some() {
            "waiting"
        } else if !self.is_read() {
            "unread"
        } else {
            "settled"
        }
    }

    /// Whether every subject could be read and decided.
    #[must_use]
    pub fn is_read(&self) -> bool {
        let unread = |finding: &Finding| match finding.kind {
            FindingKind::Denied | FindingKind::Unreadable => true,
            FindingKind::Foreign
            | FindingKind::DefaultsOpen
            | FindingKind::Held
            | FindingKind::Unsupported
            | FindingKind::Note => false,
        };
        !self.findings.iter().any(unread)
    }
}

/// Makes the secondary equal to the primary in a scope.
///
/// # Guarantees
/// - Ends only when a plan from fresh reads of what changed is empty, or says what
///   still differs and why.
/// - May be run by several callers at once, be killed between any two calls, and
///   be run again: the secondary is never left wider than the primary was last
///   read.
///
/// # Assumptions
/// - This Region is the standby; the caller checked it just before.
///
/// # Caveats
/// - Reads of the primary may be old; only a later event or resync cures that.
///
/// # Errors
/// The ledger is out of reach. Everything else is told in the outcome.
pub async fn reconcile<P, S, L, C>(
    context: &Context<'_, P, S, L, C>,
    scope: &Scope,
    prefetched: &Prefetched,
) -> Result<Outcome, Fault>
where
    P: ReadRegion,
    S: WriteRegion,
    L: Ledger,
    C: Clock,
{
    let mut work = Work::begin(context, scope).await?;
    let mut fresh = Cow::Borrowed(prefetched);
    if fresh.grants.is_none() && work.has_contents() {
        fresh.to_mut().grants = Some(work.list_all_grants().await);
    }
    let mut all_read = fresh.grants.is_some();
    loop {
        work.outcome.rounds += 1;
        work.rounds += 1;
        let rows = work.observe(&fresh).await?;
        let plan = work.plan(&rows);
        if (plan.unproven > 0 || work.doubts(&plan)) && !all_read {
            all_read = true;
            fresh.to_mut().grants = Some(work.list_all_grants().await);
            work.look_at_all_grants();
            continue;
        }
        work.outcome.findings.clone_from(&plan.findings);
        work.remember_trouble(&plan);
        work.outcome.too_many.append(&mut work.readings.too_many);
        work.outcome.standings.clone_from(&plan.standings);
        if plan.is_empty() && work.take_more(&plan) {
            fresh = Cow::Owned(Prefetched::default());
            continue;
        }
        if plan.is_empty() || work.rounds > ROUNDS {
            work.finish(&rows, &plan).await?;
            return Ok(work.outcome);
        }
        let brake = work.brake(&plan).await?;
        let approved = match audit::audit(&work.inputs(&rows), plan.clone(), &brake) {
            Ok(approved) => approved,
            Err(vetoes) => {
                work.outcome.vetoes = vetoes;
                work.outcome.vetoed = plan.steps.first().map(Step::subject);
                work.finish(&rows, &plan).await?;
                return Ok(work.outcome);
            }
        };
        if work.has_moved(&approved).await {
            fresh.to_mut().databases = None;
            continue;
        }
        work.intend(&rows, &approved).await?;
        let applied = apply(context.secondary, &approved, context.parallel).await;
        if !work.absorb(&approved, &applied) {
            work.finish(&rows, &plan).await?;
            return Ok(work.outcome);
        }
        fresh = Cow::Owned(work.relist().await);
        all_read = fresh.grants.is_some();
    }
}

/// Reads both Regions once and plans; nothing is written anywhere.
///
/// # Errors
/// The ledger is out of reach.
pub async fn preview<P, S, L, C>(
    context: &Context<'_, P, S, L, C>,
    scope: &Scope,
    prefetched: &Prefetched,
) -> Result<(Plan, Result<(), Vec<Veto>>), Fault>
where
    P: ReadRegion,
    S: ReadRegion,
    L: Ledger,
    C: Clock,
{
    let mut work = Work::begin(context, scope).await?;
    // A person is shown all of it.
    work.keep = usize::MAX;
    let mut rows = work.observe(prefetched).await?;
    let mut plan = work.plan(&rows);
    if plan.unproven > 0 && prefetched.grants.is_none() {
        let grants = Some(work.list_all_grants().await);
        work.look_at_all_grants();
        rows = work
            .observe(&Prefetched {
                grants,
                ..prefetched.clone()
            })
            .await?;
        plan = work.plan(&rows);
    }
    let brake = work.brake(&plan).await?;
    let judged = audit::audit(&work.inputs(&rows), plan.clone(), &brake);
    Ok((plan, judged.map(drop)))
}

/// Reads both Regions once, as far as a scope asks, with the ledger's rows; grants by
/// the reading of all of them, or by resource.
///
/// # Errors
/// The ledger is out of reach.
pub async fn observe_once<P, S, L, C>(
    context: &Context<'_, P, S, L, C>,
    scope: &Scope,
    all_grants: bool,
) -> Result<(Rows, Readings), Fault>
where
    P: ReadRegion,
    S: ReadRegion,
    L: Ledger,
    C: Clock,
{
    let mut work = Work::begin(context, scope).await?;
    let grants = match all_grants {
        true => Some(work.list_all_grants().await),
        false => None,
    };
    let prefetched = Prefetched {
        grants,
        ..Prefetched::default()
    };
    let rows = work.observe(&prefetched).await?;
    Ok((rows, work.readings))
}
