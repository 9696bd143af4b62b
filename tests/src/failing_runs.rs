//! Runs Twinlake while writes of it fail.

use crate::faults::{AccessEffect, FaultRules, Write, any_fault_rules};
use crate::faulty_standby::{FaultyEnvironment, FaultyStandby, Widening};
use crate::harness::{STANDBY, TWINLAKE_ROLE, TestHarness, TestQueue};
use crate::history::DivergingHistories;
use crate::plans::{
    access_comparison, apply_step, diverge, harness_with_drift, preview_everything,
    scope_of_everything,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use twinlake_core::{Step, Subject};
use twinlake_engine::Context;
use twinlake_engine::observe::Prefetched;
use twinlake_sim::{Quirk, Sim, SimState, run_until_killed};

/// What makes Twinlake read and write the Regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// One reconciliation of everything.
    Everything,
    /// A resync, database by database.
    Resync,
    /// Events of the primary that were not lost, in batches of this size.
    Events(usize),
}

/// Generates a trigger.
pub fn any_trigger() -> impl Strategy<Value = Trigger> {
    prop_oneof![
        4 => Just(Trigger::Everything),
        1 => Just(Trigger::Resync),
        2 => Just(Trigger::Events(100)),
        1 => Just(Trigger::Events(1)),
    ]
}

/// Regions that diverge, and how writes fail while Twinlake makes them equal.
#[derive(Clone, Debug)]
pub struct FailureCase {
    /// The actions before both Regions are in sync, then those in the primary and in the standby.
    pub histories: DivergingHistories,
    /// Whether the events of each action in the primary are lost. Missing entries: they are not.
    pub lost: Vec<bool>,
    /// What makes Twinlake run.
    pub trigger: Trigger,
    /// Which writes fail.
    pub rules: FaultRules,
    /// Whether grants on deleted tables remain.
    pub grants_remain: bool,
}

/// Generates cases of the given histories.
pub fn any_failure_case(
    histories: impl Strategy<Value = DivergingHistories>,
) -> impl Strategy<Value = FailureCase> {
    let lost = (
        prop::collection::vec(0..100_u8, 32),
        prop::sample::select(vec![100_u8, 60, 20]),
    )
        .prop_map(|(rolls, least)| rolls.into_iter().map(|roll| roll >= least).collect());
    (
        histories,
        lost,
        any_trigger(),
        any_fault_rules(),
        any::<bool>(),
    )
        .prop_map(
            |(histories, lost, trigger, rules, grants_remain)| FailureCase {
                histories,
                lost,
                trigger,
                rules,
                grants_remain,
            },
        )
}

/// What was seen while writes failed.
#[derive(Debug)]
pub struct FailingRun {
    /// The access that writes gave and that the primary does not allow.
    pub widenings: Vec<Widening>,
    /// What a step of the plan for everything gives where an executor blocks steps only by the
    /// object of the failed ones.
    pub widening_if_blocked_by_subject: Option<Widening>,
    /// Whether a write failed that only takes access away.
    pub closing_write_failed: bool,
    /// The writes in order, with how they failed.
    pub log: Vec<String>,
}

/// How often a trigger is repeated, so that writes that failed for a while succeed.
const REPETITIONS: usize = 2;

/// Runs Twinlake in a case: while writes fail by its rules, and at last a resync in which none fails.
///
/// # Panics
/// The ledger, which is in memory, returns an error.
#[must_use]
pub fn run_failure_case(case: &FailureCase) -> FailingRun {
    let (before, in_primary, in_standby) = &case.histories;
    let harness = harness_with_drift(before, &[], &[]);
    let quirk = Quirk::GrantsRemainAfterTableDeletion;
    harness.sim.state().set_quirk(quirk, case.grants_remain);
    let events = diverge(&harness, in_primary, in_standby)
        .into_iter()
        .enumerate();
    let is_lost = |index: &usize| case.lost.get(*index).copied().unwrap_or_default();
    let kept = events.filter(|(index, _)| !is_lost(index));
    let kept: Vec<Vec<u8>> = kept.flat_map(|(_, bodies)| bodies).collect();
    let (plan, _) = preview_everything(&harness);
    let state = harness.sim.state().clone();
    FailingRun {
        widening_if_blocked_by_subject: widening_if_blocked_by_subject(
            state,
            &plan.steps,
            &case.rules,
        ),
        ..run_with_failures(&harness, case.trigger, &kept, &case.rules)
    }
}

fn run_with_failures(
    harness: &TestHarness,
    trigger: Trigger,
    events: &[Vec<u8>],
    rules: &FaultRules,
) -> FailingRun {
    let client = harness.sim.region(STANDBY, TWINLAKE_ROLE);
    let standby = FaultyStandby::new(&harness.sim, client, rules.clone());
    let context = harness.context_with_standby::<FaultyEnvironment>(&standby);
    match trigger {
        Trigger::Everything => {
            let scope = scope_of_everything();
            for _ in 0..=REPETITIONS {
                let prefetched = Prefetched::default();
                let run = twinlake_engine::reconcile(&context, &scope, &prefetched);
                let outcome = run_until_killed(&harness.sim, run).unwrap().unwrap();
                if outcome.is_settled() {
                    break;
                }
            }
        }
        Trigger::Resync => resync(harness, &context),
        Trigger::Events(size) => {
            for bodies in events.chunks(size) {
                let _ = harness.deliver_in(&context, bodies);
            }
            for _ in 0..REPETITIONS {
                let retries = harness.queue.take().into_iter();
                let bodies: Vec<Vec<u8>> = retries.map(|one| one.body().into_bytes()).collect();
                let _ = harness.deliver_in(&context, &bodies);
            }
        }
    }
    standby.clear_faults();
    resync(harness, &context);
    FailingRun {
        widenings: standby.widenings(),
        widening_if_blocked_by_subject: None,
        closing_write_failed: standby.has_closing_write_failed(),
        log: standby.log(),
    }
}

fn resync(harness: &TestHarness, context: &Context<'_, FaultyEnvironment>) {
    let run = twinlake_engine::resync::resync(
        context,
        harness.resync_depth,
        None,
        None::<&TestQueue>,
        &(),
    );
    let report = run_until_killed(&harness.sim, run).unwrap();
    let _ = report.expect("a ledger in memory returns no error");
}

/// Whether a step is attempted where only failures on its own object and database block it: the rule
/// that requirements replace.
fn blocks_by_subject(steps: &[Step], failed: &BTreeSet<usize>, index: usize) -> bool {
    let subject = steps[index].subject();
    let database = subject.database().cloned().map(Subject::Database);
    !matches!(steps[index], Step::Revoke { .. })
        && failed.iter().any(|failed| {
            let failed = steps[*failed].subject();
            failed == subject || Some(&failed) == database.as_ref()
        })
}

/// Applies a plan from a state as an executor would that looks only at the objects of failed steps.
/// Returns the first access that a step gives and that the primary does not allow.
fn widening_if_blocked_by_subject(
    state: SimState,
    steps: &[Step],
    rules: &FaultRules,
) -> Option<Widening> {
    let sim = Sim::new(state);
    let comparison = access_comparison(&sim);
    let mut excess: Option<BTreeSet<_>> = None;
    let mut failed = BTreeSet::new();
    for (index, step) in steps.iter().enumerate() {
        if blocks_by_subject(steps, &failed, index) {
            continue;
        }
        let write = Write::of_step(step);
        let fault = rules.find(&write);
        if fault.is_some() {
            failed.insert(index);
        }
        if fault.is_some_and(|fault| !fault.takes_effect) {
            continue;
        }
        match write.effect {
            AccessEffect::Unrelated => apply_step(&sim, step),
            AccessEffect::Closes => {
                apply_step(&sim, step);
                excess = None;
            }
            AccessEffect::MayOpen => {
                let before = excess.unwrap_or_else(|| comparison.excess(&sim.state()));
                apply_step(&sim, step);
                let now = comparison.excess(&sim.state());
                let rights: BTreeSet<_> = now.difference(&before).cloned().collect();
                if !rights.is_empty() {
                    let write = write.name;
                    return Some(Widening { write, rights });
                }
                excess = Some(now);
            }
        }
    }
    None
}
