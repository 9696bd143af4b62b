//! Every interleaving of two or three handlers over one grant, with the real `plan` and
//! `audit`: reads of either side may be one write old, handlers crash and their messages
//! come again, and any number of them work at once.
//!
//! Checked in every state: no step of ours allows more than its handler last read of the
//! primary, or than was allowed before it. Checked where all is quiet: one resync with
//! fresh reads makes both sides equal.
//!
//! What stale reads can leave before that resync is printed, with the number of states:
//! fresh reads leave nothing; stale reads of the secondary leave something wider only where
//! a handler crashed between a grant and its second look (the message that comes again no
//! longer knows what was granted); stale reads of the primary can leave anything, since a
//! handler then sees the state before its own event.
//!
//! What the model leaves out: calls are atomic, there is one grant on one table, and a
//! message that the queue holds back comes later than any read stays stale.

mod world;

use stateright::{Checker, Model, Property};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use world::{Act, Level, Sides, State, World};

/// How much may happen at once, and go wrong.
#[derive(Clone, Copy)]
struct Bounds {
    handlers: usize,
    changes: usize,
    /// Crashes, and messages that come twice.
    mishaps: u8,
    may_be_stale: Sides,
}

/// One script of changes in the primary.
struct Lake {
    world: World,
    script: Vec<Level>,
    bounds: Bounds,
}

impl Model for Lake {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.bounds.handlers, self.bounds.mishaps)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Act>) {
        state.actions(&self.script, self.bounds.may_be_stale, actions);
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        state.after(&self.world, &self.script, act)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no step widens beyond what it last read",
                |_, state: &State| !state.widened,
            ),
            Property::always("no plan is refused", |_, state: &State| !state.refused),
            Property::always("one quiet resync makes both equal", |_, state: &State| {
                !state.resynced || state.primary.now == state.secondary.now
            }),
        ]
    }
}

/// Every script of so many changes from nothing: each a grant, or a grant with the option,
/// or a revoke.
fn scripts(longest: usize) -> Vec<Vec<Level>> {
    let mut all: Vec<Vec<Level>> = vec![Vec::new()];
    let mut found = Vec::new();
    for _ in 0..longest {
        let mut next = Vec::new();
        for script in &all {
            let last = script.last().copied().unwrap_or(Level::None);
            for level in [Level::None, Level::Plain, Level::Option] {
                if level != last {
                    let mut longer = script.clone();
                    longer.push(level);
                    next.push(longer);
                }
            }
        }
        found.extend(next.iter().cloned());
        all = next;
    }
    found
}

/// The two sides where all is quiet, before any resync.
type Ends = BTreeSet<(Level, Level)>;

fn check(bounds: Bounds) -> (usize, bool, Ends) {
    let (mut states, mut holds) = (0, true);
    let ends: Arc<Mutex<Ends>> = Arc::default();
    for script in scripts(bounds.changes) {
        let seen = Arc::clone(&ends);
        let length = script.len();
        let lake = Lake {
            world: World::new(),
            script: script.clone(),
            bounds,
        };
        let checker = lake
            .checker()
            .threads(2)
            .visitor(move |path: stateright::Path<State, Act>| {
                let last = path.last_state();
                if last.is_quiet(length) && !last.resynced {
                    let ends = (last.primary.now, last.secondary.now);
                    seen.lock().expect("no thread failed").insert(ends);
                }
            })
            .spawn_bfs()
            .join();
        states += checker.unique_state_count();
        for (name, path) in checker.discoveries() {
            holds = false;
            println!("VIOLATED: {name}, by the script {script:?}:");
            for (state, act) in path.into_vec() {
                println!("  {act:?}: {:?}, {:?}", state.primary, state.secondary);
            }
        }
    }
    let ends = ends.lock().expect("no thread failed").clone();
    (states, holds, ends)
}

fn main() -> std::process::ExitCode {
    let mut holds = true;
    let may_be_stale = [(false, false), (false, true), (true, false), (true, true)];
    for (handlers, changes, mishaps) in [(2, 2, 1), (2, 3, 0), (3, 2, 1)] {
        for may_be_stale in may_be_stale {
            let bounds = Bounds {
                handlers,
                changes,
                mishaps,
                may_be_stale,
            };
            let (states, held, ends) = check(bounds);
            let apart: Vec<_> = ends.iter().filter(|(here, there)| here != there).collect();
            // Fresh reads must leave nothing to the resync, and reads of the secondary
            // alone, without mishaps, nothing that is wider.
            let wider = apart.iter().any(|(here, there)| there > here);
            holds &= held
                && match may_be_stale {
                    (false, false) => apart.is_empty(),
                    (false, true) => mishaps > 0 || !wider,
                    (true, _) => true,
                };
            let stale = match may_be_stale {
                (false, false) => "fresh reads",
                (false, true) => "stale reads of the secondary",
                (true, false) => "stale reads of the primary",
                (true, true) => "stale reads of both sides",
            };
            println!(
                "{handlers} handlers, up to {changes} changes, {mishaps} mishaps, {stale}: \
                 {states} states, {}; ends before the resync (primary, secondary): {apart:?}",
                if held { "all holds" } else { "VIOLATED" }
            );
        }
    }
    match holds {
        true => std::process::ExitCode::SUCCESS,
        false => std::process::ExitCode::FAILURE,
    }
}
