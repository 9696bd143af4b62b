//! Checks every interleaving of two or three handlers over one grant, with the real `plan` and
//! `audit`, once with each site as primary. Reads of either Region may be one write old, handlers
//! crash, messages are delivered twice, and any number of handlers work at the same time.
//!
//! Checked in every state: no step allows more than its handler last read in the primary, or than
//! was allowed before. Checked when no event is left: one resync without stale reads makes both
//! Regions equal.
//!
//! For each configuration the number of states is printed, and the grant levels of the two Regions
//! that differ before the resync. Without stale reads there are none. Stale reads of the standby
//! leave a higher level in the standby only where a handler crashed between a grant and its next
//! read: the message that is delivered again does not know what was granted. Stale reads of the
//! primary can leave any difference, since a handler then reads the state before its own event.
//!
//! Assumptions: calls are atomic, there is one grant on one table, and a message that returns to
//! the queue is delivered later than any read stays stale.

mod world;

use stateright::{Checker, Model, Property};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use twinlake_core::topology::{Epoch, SiteId};
use world::{GrantLevel, ModelAction, ModelState, PlanningContext, StaleReads};

/// The limits of one configuration of the model.
#[derive(Clone, Copy)]
struct Bounds {
    handlers: usize,
    changes: usize,
    /// The maximum number of crashes and of messages that are delivered twice.
    failures: u8,
    may_be_stale: StaleReads,
}

/// The model of one script of changes in the primary.
struct GrantModel {
    context: PlanningContext,
    script: Vec<GrantLevel>,
    bounds: Bounds,
}

impl Model for GrantModel {
    type State = ModelState;
    type Action = ModelAction;

    fn init_states(&self) -> Vec<ModelState> {
        vec![ModelState::new(self.bounds.handlers, self.bounds.failures)]
    }

    fn actions(&self, state: &ModelState, actions: &mut Vec<ModelAction>) {
        state.actions(&self.script, self.bounds.may_be_stale, actions);
    }

    fn next_state(&self, state: &ModelState, action: ModelAction) -> Option<ModelState> {
        state.next(&self.context, &self.script, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no step widens access beyond what its handler last read",
                |_, state: &ModelState| !state.has_widened,
            ),
            Property::always("no plan is rejected", |_, state: &ModelState| {
                !state.has_rejection
            }),
            Property::always(
                "one resync makes both Regions equal",
                |_, state: &ModelState| {
                    !state.is_resynced || state.primary.current == state.standby.current
                },
            ),
        ]
    }
}

/// Returns every script of 1 to `max_changes` changes that starts with nothing granted. Each change
/// sets another level.
fn scripts(max_changes: usize) -> Vec<Vec<GrantLevel>> {
    let mut previous: Vec<Vec<GrantLevel>> = vec![Vec::new()];
    let mut all = Vec::new();
    for _ in 0..max_changes {
        let mut next = Vec::new();
        for script in &previous {
            let last = script.last().copied().unwrap_or(GrantLevel::None);
            for level in [
                GrantLevel::None,
                GrantLevel::Permission,
                GrantLevel::GrantOption,
            ] {
                if level != last {
                    let mut longer = script.clone();
                    longer.push(level);
                    next.push(longer);
                }
            }
        }
        all.extend(next.iter().cloned());
        previous = next;
    }
    all
}

/// The grant levels in the primary and in the standby when no event is left, before any resync.
type FinalLevels = BTreeSet<(GrantLevel, GrantLevel)>;

/// Checks all scripts in an epoch. Returns the number of states, whether every property holds, and
/// the final levels.
fn check(epoch: Epoch, bounds: Bounds) -> (usize, bool, FinalLevels) {
    let (mut states, mut holds) = (0, true);
    let final_levels: Arc<Mutex<FinalLevels>> = Arc::default();
    for script in scripts(bounds.changes) {
        let collected = Arc::clone(&final_levels);
        let length = script.len();
        let model = GrantModel {
            context: PlanningContext::new(epoch),
            script: script.clone(),
            bounds,
        };
        let checker = model
            .checker()
            .threads(2)
            .visitor(move |path: stateright::Path<ModelState, ModelAction>| {
                let last = path.last_state();
                if last.is_quiet(length) && !last.is_resynced {
                    let levels = (last.primary.current, last.standby.current);
                    collected.lock().expect("no thread failed").insert(levels);
                }
            })
            .spawn_bfs()
            .join();
        states += checker.unique_state_count();
        for (name, path) in checker.discoveries() {
            holds = false;
            println!("VIOLATED: {name}, by the script {script:?}:");
            for (state, action) in path.into_vec() {
                println!("  {action:?}: {:?}, {:?}", state.primary, state.standby);
            }
        }
    }
    let final_levels = final_levels.lock().expect("no thread failed").clone();
    (states, holds, final_levels)
}

/// Checks every configuration in an epoch and prints the results. Returns whether all of them are
/// as expected.
fn check_epoch(epoch: Epoch) -> bool {
    let region = PlanningContext::new(epoch).primary().region.clone();
    println!("epoch {epoch}, in {region}:");
    let mut is_ok = true;
    let mut total = 0;
    let may_be_stale = [(false, false), (false, true), (true, false), (true, true)];
    for (handlers, changes, failures) in [(2, 2, 1), (2, 3, 0), (3, 2, 1)] {
        for may_be_stale in may_be_stale {
            let bounds = Bounds {
                handlers,
                changes,
                failures,
                may_be_stale,
            };
            let (states, holds, final_levels) = check(epoch, bounds);
            total += states;
            let different: Vec<_> = final_levels
                .iter()
                .filter(|(primary, standby)| primary != standby)
                .collect();
            // Without stale reads the Regions are equal before the resync. With stale reads of the
            // standby alone, and without failures, the standby allows nothing more.
            let is_wider = different.iter().any(|(primary, standby)| standby > primary);
            is_ok &= holds
                && match may_be_stale {
                    (false, false) => different.is_empty(),
                    (false, true) => failures > 0 || !is_wider,
                    (true, _) => true,
                };
            let reads = match may_be_stale {
                (false, false) => "no stale reads",
                (false, true) => "stale reads of the standby",
                (true, false) => "stale reads of the primary",
                (true, true) => "stale reads of both Regions",
            };
            println!(
                "  {handlers} handlers, up to {changes} changes, {failures} failures, {reads}: \
                 {states} states, {}; differences before the resync (primary, standby): \
                 {different:?}",
                if holds {
                    "all properties hold"
                } else {
                    "VIOLATED"
                }
            );
        }
    }
    println!("  {total} states in all");
    is_ok
}

fn main() -> std::process::ExitCode {
    let epochs = [Epoch::INITIAL, Epoch::new(1, SiteId::B)];
    let mut is_ok = true;
    for epoch in epochs {
        is_ok &= check_epoch(epoch);
    }
    match is_ok {
        true => std::process::ExitCode::SUCCESS,
        false => std::process::ExitCode::FAILURE,
    }
}
