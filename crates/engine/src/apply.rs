//! Applies an approved plan, and returns the result of every step.
//!
//! A step is applied only if every step that it requires succeeded. What is applied is therefore one
//! of the sets of steps that the audit has checked.

mod attachments;
mod call_order;
mod objects;
mod partition_batches;
mod permissions;
mod step_rules;

use crate::ports::{EntryResults, WriteRegion};
use crate::progress::WorkProgress;
use call_order::call_order;
use futures_util::future::LocalBoxFuture;
use futures_util::{StreamExt as _, stream};
use std::collections::BTreeSet;
use step_rules::{StepKind, has_intended_effect, kind_of};
use twinlake_core::{ApprovedPlan, CallError, Step};

/// The result of one step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepResult {
    /// The step took effect.
    Applied,
    /// There was nothing left to revoke or delete.
    AlreadyDone,
    /// Not attempted, since a step that it depends on failed, or the lease for it had ended.
    Skipped,
    /// Failed with this error.
    Failed(CallError),
}

/// The results of a plan: one for each step, in the plan's order.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The results; `None` for steps that were not reached.
    pub results: Vec<Option<StepResult>>,
}

/// The results of some steps, by their position in the plan.
type StepResults = Vec<(usize, Result<(), CallError>)>;

/// Calls that are made one after the other, and what becomes of their steps.
type Calls<'a> = LocalBoxFuture<'a, StepResults>;

/// The lease under which some steps of a plan are sent.
pub struct StepLease<'a, H> {
    /// Whether a step needs it.
    pub is_needed: &'a dyn Fn(&Step) -> bool,
    /// Renews it for as long as the next calls take. Returns whether nobody else has taken it.
    pub renew: H,
}

/// Most steps that are sent before the lease is renewed.
const STEPS_UNDER_LEASE: usize = 50;

struct Apply<'a, S> {
    standby: &'a S,
    needs_lease: &'a dyn Fn(&Step) -> bool,
    steps: &'a [Step],
    requires: &'a [Vec<usize>],
    /// The steps that others require.
    required: BTreeSet<usize>,
    results: Vec<Option<StepResult>>,
}

/// Applies the steps with at most `max_concurrent_calls` calls at a time. A step is sent as soon as
/// everything that comes before it is decided ([`call_order`]). Grants and revokes are sent one
/// batch after the other, since concurrent writes for one principal and resource conflict (LF-12). Steps
/// that need the lease are skipped once it is not held any more.
pub async fn apply<S: WriteRegion, H: AsyncFn() -> bool>(
    standby: &S,
    approved: &ApprovedPlan,
    max_concurrent_calls: usize,
    lease: &StepLease<'_, H>,
    progress: &dyn WorkProgress,
) -> Applied {
    let steps = approved.steps();
    let requires = &approved.plan().requires;
    let mut apply = Apply {
        standby,
        needs_lease: lease.is_needed,
        steps,
        requires,
        required: requires.iter().flatten().copied().collect(),
        results: vec![None; steps.len()],
    };
    progress.steps_expected(steps.len());
    let groups = call_order(steps, requires).into_iter();
    let groups: Vec<Vec<usize>> = groups.flat_map(|group| apply.under_lease(group)).collect();
    for positions in groups {
        let is_held = !apply.any_needs_lease(&positions) || (lease.renew)().await;
        let calls = apply.calls(&positions, is_held);
        let results: Vec<StepResults> = stream::iter(calls)
            .buffer_unordered(max_concurrent_calls.max(1))
            .inspect(|results: &StepResults| progress.steps_finished(results.len()))
            .collect()
            .await;
        for (position, result) in results.into_iter().flatten() {
            apply.record_result(position, result);
        }
    }
    Applied {
        results: apply.results,
    }
}

impl<'a, S: WriteRegion> Apply<'a, S> {
    /// Returns the calls for the steps whose requirements succeeded. None of them depends on another.
    fn calls(&mut self, positions: &[usize], is_lease_held: bool) -> Vec<Calls<'a>> {
        let runnable = self.runnable(positions, is_lease_held);
        let (steps, standby) = (self.steps, self.standby);
        let of_kind = |kind: StepKind| -> Vec<usize> {
            let all = runnable.iter().copied();
            all.filter(|position| {
                steps
                    .get(*position)
                    .is_some_and(|step| kind_of(step) == kind)
            })
            .collect()
        };
        let permissions = of_kind(StepKind::Permission);
        let mut calls = objects::calls(steps, &of_kind(StepKind::Object), standby);
        calls.extend(attachments::calls(
            steps,
            &of_kind(StepKind::Attachment),
            standby,
        ));
        calls.extend(partition_batches::calls(
            steps,
            &of_kind(StepKind::Partition),
            standby,
        ));
        calls.extend(permissions::calls(steps, permissions, standby));
        calls
    }

    fn record_result(&mut self, position: usize, result: Result<(), CallError>) {
        let Some(step) = self.steps.get(position) else {
            return;
        };
        let result = match result {
            Ok(()) => StepResult::Applied,
            Err(error) if has_intended_effect(step, &error, self.required.contains(&position)) => {
                StepResult::AlreadyDone
            }
            Err(error) => StepResult::Failed(error),
        };
        if let Some(slot) = self.results.get_mut(position) {
            *slot = Some(result);
        }
    }

    fn any_needs_lease(&self, positions: &[usize]) -> bool {
        let mut steps = positions
            .iter()
            .filter_map(|position| self.steps.get(*position));
        steps.any(|step| (self.needs_lease)(step))
    }

    /// Divides a group of steps, so that the lease is renewed before each [`STEPS_UNDER_LEASE`] steps that
    /// need it.
    fn under_lease(&self, group: Vec<usize>) -> Vec<Vec<usize>> {
        let needs_lease = |position: &usize| {
            let step = self.steps.get(*position);
            step.is_some_and(|step| (self.needs_lease)(step))
        };
        let (leased, mut first): (Vec<usize>, Vec<usize>) =
            group.into_iter().partition(needs_lease);
        let mut chunks = leased.chunks(STEPS_UNDER_LEASE);
        first.extend(chunks.next().into_iter().flatten());
        // Steps that belong to one batch call keep the order of the plan.
        first.sort_unstable();
        let later = chunks.map(<[usize]>::to_vec);
        std::iter::once(first).chain(later).collect()
    }

    /// Returns the steps that are not done yet, whose requirements succeeded and whose lease is held, and
    /// marks the others as skipped.
    fn runnable(&mut self, positions: &[usize], is_lease_held: bool) -> Vec<usize> {
        let mut runnable = Vec::new();
        for &position in positions {
            if self.results.get(position).is_some_and(Option::is_some) {
                continue;
            }
            let mut required = self.requires.get(position).into_iter().flatten();
            let is_done = required.all(|required| {
                let result = self.results.get(*required).and_then(Option::as_ref);
                matches!(result, Some(StepResult::Applied | StepResult::AlreadyDone))
            });
            let step = self.steps.get(position);
            let is_allowed = is_lease_held || step.is_some_and(|step| !(self.needs_lease)(step));
            if is_done && is_allowed {
                runnable.push(position);
            } else if let Some(result) = self.results.get_mut(position) {
                *result = Some(StepResult::Skipped);
            }
        }
        runnable
    }
}

/// Returns one result per entry. If the whole call failed, every entry gets its error.
fn per_entry(positions: &[usize], result: Result<EntryResults, CallError>) -> StepResults {
    match result {
        Ok(results) => positions.iter().copied().zip(results).collect(),
        Err(error) => positions
            .iter()
            .map(|&position| (position, Err(error.clone())))
            .collect(),
    }
}
