//! Checks every interleaving of handlers with the real `plan`, `audit` and `Pairing::merge`, once with
//! each site as primary. Handlers crash, messages are delivered twice, calls fail, and any number
//! of handlers work on one subject at the same time. There are five models:
//!
//! - a grant on a table ([`grant`]), where reads of either Region may be one write old. What an event names as
//!   revoked is revoked if the primary lacks it; what a handler granted itself needs the proof of any grant;
//! - a data cells filter, its table and a grant on it ([`filter`]), whose plans have steps that
//!   require others;
//! - a grant that the primary may list long after its revoke ([`late_listing`]), with the ledger row that
//!   remembers what events said of it;
//! - the ledger row of a table ([`row_model`]), with its version, intents and pairing. Somebody else
//!   may put a table of their own in the place of the standby's;
//! - two Regions that change over ([`takeover_model`]), with functions in flight in both of them.
//!
//! A call takes effect, or fails without effect, fails with effect, loses its response behind which
//! it took effect, or is refused for good ([`calls::CallResult`]). A step is applied only if every
//! step that it requires succeeded. After a failure the handler reads again, in its next round or
//! when its message is delivered again.
//!
//! Checked in every state:
//!
//! - No step allows more than its handler last read in the primary, or than was allowed before.
//!   Where several steps give access together (the filter), this holds for one handler. A step of
//!   one of several handlers may meet the steps of another, which read the primary at another
//!   time; then it is checked that what is wider is gone once all handlers have ended.
//! - No step grants what its handler knows, from its event or from the row, to be revoked by the last call; and
//!   what events revoked is gone once all handlers have ended, although the primary still lists it.
//! - No write of a row loses the pairing of the table that the standby has. Nothing that somebody
//!   else made is written or paired.
//!
//! Checked when no event is left: one resync without stale reads and without failures makes both
//! Regions equal, and takes nothing that Twinlake made for foreign.
//!
//! For each configuration the number of states is printed, and what differs between the Regions
//! before the resync, if no step failed for good. Without stale reads nothing does. Stale reads of
//! the standby leave a higher level in the standby only where a handler crashed, or a response was
//! lost, between a grant and its next read: the message that is delivered again does not know what
//! was granted. Stale reads of the primary can leave any difference, since a handler then reads the
//! state before its own event.
//!
//! To show that the properties can fail, each fault of [`calls::Mutant`] is put into a model, which must
//! then violate one.
//!
//! Assumptions: the primary lists a revoked grant without a break, or no longer; calls are atomic, and both Regions are read in one action; the steps of a plan are
//! sent one after the other; a message that returns to the queue is delivered later than any read
//! stays stale; nobody replaces a table while an update or deletion of it is on its way; all
//! functions have ended when the last resync begins. The rules of the reconcile loop and of the
//! executor are written again in the models, since the engine's are asynchronous.

mod access_model;
mod calls;
mod filter;
mod grant;
mod inputs;
mod late_listing;
mod row_model;
mod takeover_model;

use access_model::{AccessModel, AccessWorld, Bounds, Difference};
use calls::Mutant;
use filter::FilteredTable;
use grant::GrantLevel;
use inputs::CommonInputs;
use late_listing::{LateListingBounds, LateListingModel};
use row_model::{RowBounds, RowModel};
use stateright::{Checker, HasDiscoveries, Model};
use std::collections::BTreeSet;
use std::hash::Hash;
use std::process::ExitCode;
use std::time::Instant;
use takeover_model::{TakeoverBounds, TakeoverModel};
use twinlake_core::topology::{Epoch, SiteId};

/// What the check of one configuration found.
struct Checked {
    states: usize,
    /// The names of the violated properties.
    violated: BTreeSet<&'static str>,
}

/// Checks a model, and prints the number of states and the history of each violation. Returns the
/// result, and what `inspect` finds in the model.
fn check<M, R>(title: &str, model: M, inspect: impl FnOnce(&M) -> R) -> (Checked, R)
where
    M: Model + Send + Sync + 'static,
    M::State: std::fmt::Debug + Clone + Hash + PartialEq + Send + Sync + 'static,
    M::Action: std::fmt::Debug + Clone + PartialEq + Send + Sync,
{
    let begin = Instant::now();
    let checker = model
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let states = checker.unique_state_count();
    let seconds = begin.elapsed().as_secs_f32();
    println!("  {title}: {states} states, {seconds:.1} s");
    let mut violated = BTreeSet::new();
    for (name, path) in checker.discoveries() {
        violated.insert(name);
        println!("    VIOLATED: {name}:");
        let steps = path.into_vec();
        for action in steps.iter().filter_map(|(_, action)| action.as_ref()) {
            println!("      {action:?}");
        }
        println!("      {:?}", steps.last().map(|(state, _)| state));
    }
    let inspected = inspect(checker.model());
    (Checked { states, violated }, inspected)
}

fn check_access<W: AccessWorld>(
    name: &str,
    epoch: Epoch,
    bounds: Bounds,
    is_expected: impl Fn(&Difference<W>, bool) -> bool,
) -> (usize, bool) {
    let reads = match bounds.may_be_stale {
        (false, false) => "no stale reads",
        (false, true) => "stale reads of the standby",
        (true, false) => "stale reads of the primary",
        (true, true) => "stale reads of both Regions",
    };
    let Bounds {
        handlers,
        changes,
        failures,
        ..
    } = bounds;
    let title = format!(
        "{name}, {handlers} handlers, up to {changes} changes, {failures} failures, {reads}"
    );
    let model = AccessModel::<W>::new(CommonInputs::new(epoch), bounds, None);
    let (checked, differences) = check(&title, model, |model| {
        [false, true].map(|has_refusal| model.differences(has_refusal))
    });
    let mut is_ok = checked.violated.is_empty();
    for (has_refusal, found) in [false, true].into_iter().zip(&differences) {
        let unexpected: Vec<_> = found
            .iter()
            .filter(|difference| !is_expected(difference, has_refusal))
            .collect();
        if !unexpected.is_empty() {
            println!("    UNEXPECTED before the resync, refused {has_refusal}: {unexpected:?}");
            is_ok = false;
        }
    }
    let [without, _] = differences;
    if !without.is_empty() {
        println!("    differences before the resync (primary, standby): {without:?}");
    }
    (checked.states, is_ok)
}

/// The numbers of handlers, changes and failures of the models of one grant.
const GRANT_BOUNDS: [(usize, usize, u8); 3] = [(2, 2, 1), (2, 3, 0), (3, 2, 1)];

/// The numbers of handlers, changes and failures of the models of a filter.
const FILTER_BOUNDS: [(usize, usize, u8); 4] = [(1, 3, 2), (2, 2, 2), (2, 3, 1), (3, 2, 1)];

/// The numbers of handlers, changes and failures of the models of a row, and whether somebody else
/// replaces the table.
const ROW_BOUNDS: [(usize, usize, u8, bool); 4] = [
    (1, 3, 1, true),
    (2, 2, 1, false),
    (2, 3, 0, true),
    (2, 3, 1, false),
];

/// The numbers of handlers, changes and failures of the models of a grant that is listed late, and whether reads
/// of the standby may be stale.
const LATE_LISTING_BOUNDS: [(usize, u8, u8, bool); 4] = [
    (2, 3, 1, false),
    (2, 4, 0, false),
    (2, 3, 0, true),
    (3, 3, 0, false),
];

fn check_late_listing(epoch: Epoch, bounds: LateListingBounds) -> (usize, bool) {
    let LateListingBounds {
        handlers,
        changes,
        failures,
        is_standby_stale,
    } = bounds;
    let reads = match is_standby_stale {
        true => "stale reads of the standby",
        false => "no other stale reads",
    };
    let title = format!(
        "a grant that stays listed after its revoke, {handlers} handlers, up to {changes} changes, {failures} \
         failures, {reads}"
    );
    let model = LateListingModel::new(CommonInputs::new(epoch), bounds, None);
    let (checked, ()) = check(&title, model, |_| ());
    (checked.states, checked.violated.is_empty())
}

fn check_rows(epoch: Epoch, bounds: RowBounds) -> (usize, bool) {
    let RowBounds {
        handlers,
        changes,
        failures,
        is_replaced,
    } = bounds;
    let replaced = match is_replaced {
        true => ", replaced by somebody else",
        false => "",
    };
    let title = format!(
        "a row, {handlers} handlers, up to {changes} changes, {failures} failures{replaced}"
    );
    let model = RowModel::new(CommonInputs::new(epoch), bounds, None);
    let (checked, ()) = check(&title, model, |_| ());
    (checked.states, checked.violated.is_empty())
}

/// The numbers of functions, changes by people, partitions and commands of the models of a takeover.
const TAKEOVER_BOUNDS: [(usize, u8, u8, u8); 3] = [(1, 1, 1, 2), (2, 0, 1, 1), (1, 0, 0, 3)];

fn check_takeover(epoch: Epoch, bounds: (usize, u8, u8, u8)) -> (usize, bool) {
    let (functions, changes, partitions, commands) = bounds;
    let title = format!(
        "a takeover, {functions} functions, up to {changes} changes by people, {partitions} partitions, {commands} \
         commands"
    );
    let bounds = TakeoverBounds {
        functions,
        changes,
        partitions,
        commands,
    };
    let model = TakeoverModel::new(epoch, bounds, None);
    let (checked, has_come_back) = check(&title, model, TakeoverModel::has_come_back);
    // A failover, the acceptance of what is lost, and a switchover back.
    let is_reached = has_come_back || commands < 3;
    if !is_reached {
        println!("    NOT REACHED: the first primary is the primary again");
    }
    (checked.states, checked.violated.is_empty() && is_reached)
}

/// The models that the arguments name; all of them without arguments.
struct Wanted(BTreeSet<String>);

impl Wanted {
    fn from_arguments() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    fn of<T, const N: usize>(&self, name: &str, bounds: [T; N]) -> impl Iterator<Item = T> {
        let is_wanted = self.0.is_empty() || self.0.contains(name);
        bounds.into_iter().filter(move |_| is_wanted)
    }
}

/// Checks every configuration in an epoch and prints the results. Returns whether all of them are
/// as expected.
fn check_epoch(epoch: Epoch, wanted: &Wanted) -> bool {
    let region = CommonInputs::new(epoch).primary().region.clone();
    println!("epoch {epoch}, in {region}:");
    let mut results = Vec::new();
    let may_be_stale = [(false, false), (false, true), (true, false), (true, true)];
    for (handlers, changes, failures) in wanted.of("grant", GRANT_BOUNDS) {
        for may_be_stale in may_be_stale {
            let bounds = Bounds {
                handlers,
                changes,
                failures,
                may_be_stale,
            };
            // Without stale reads the Regions are equal before the resync, unless a step failed for
            // good. With stale reads of the standby alone, and without failures, the standby allows
            // nothing more.
            let is_expected = move |(primary, standby): &(GrantLevel, GrantLevel), has_refusal| {
                match may_be_stale {
                    (false, false) => has_refusal,
                    (false, true) => failures > 0 || standby <= primary,
                    (true, _) => true,
                }
            };
            results.push(check_access::<GrantLevel>(
                "a grant",
                epoch,
                bounds,
                is_expected,
            ));
        }
    }
    for (handlers, changes, failures) in wanted.of("filter", FILTER_BOUNDS) {
        let bounds = Bounds {
            handlers,
            changes,
            failures,
            may_be_stale: (false, false),
        };
        let name = "a filter with a grant";
        results.push(check_access::<FilteredTable>(
            name,
            epoch,
            bounds,
            |_, has_refusal| has_refusal,
        ));
    }
    for (handlers, changes, failures, is_standby_stale) in
        wanted.of("late-listing", LATE_LISTING_BOUNDS)
    {
        let bounds = LateListingBounds {
            handlers,
            changes,
            failures,
            is_standby_stale,
        };
        results.push(check_late_listing(epoch, bounds));
    }
    for (handlers, changes, failures, is_replaced) in wanted.of("row", ROW_BOUNDS) {
        let bounds = RowBounds {
            handlers,
            changes,
            failures,
            is_replaced,
        };
        results.push(check_rows(epoch, bounds));
    }
    for bounds in wanted.of("takeover", TAKEOVER_BOUNDS) {
        results.push(check_takeover(epoch, bounds));
    }
    let total: usize = results.iter().map(|(states, _)| states).sum();
    println!("  {total} states in all");
    results.iter().all(|(_, is_ok)| *is_ok)
}

/// Checks a model with a fault in it. Returns whether a property fails, as it must.
fn finds<M>(mutant: Mutant, model: M) -> bool
where
    M: Model + Send + Sync + 'static,
    M::State: std::fmt::Debug + Clone + Hash + PartialEq + Send + Sync + 'static,
    M::Action: std::fmt::Debug + Clone + PartialEq + Send + Sync,
{
    let checker = model
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let violated: Vec<&str> = checker.discoveries().into_keys().collect();
    println!("  {mutant:?}: violates {violated:?}");
    !violated.is_empty()
}

/// Checks that each fault breaks a property. Returns whether all of them do.
fn check_mutants() -> bool {
    println!("mutants:");
    let inputs = || CommonInputs::new(Epoch::INITIAL);
    let bounds = Bounds {
        handlers: 1,
        changes: 2,
        failures: 1,
        may_be_stale: (false, false),
    };
    let mutant = Mutant::IgnoresRequirements;
    let filter = AccessModel::<FilteredTable>::new(inputs(), bounds, Some(mutant));
    let mut are_found = finds(mutant, filter);
    let mutant = Mutant::HidesGrantsThatFailed;
    let bounds = Bounds {
        handlers: 2,
        changes: 3,
        ..bounds
    };
    let filter = AccessModel::<FilteredTable>::new(inputs(), bounds, Some(mutant));
    are_found &= finds(mutant, filter);
    let late_bounds = LateListingBounds {
        handlers: 1,
        changes: 2,
        failures: 0,
        is_standby_stale: false,
    };
    let mutant = Mutant::RecordsCallsAtTheEnd;
    let two_handlers = LateListingBounds {
        handlers: 2,
        ..late_bounds
    };
    are_found &= finds(
        mutant,
        LateListingModel::new(inputs(), two_handlers, Some(mutant)),
    );
    for mutant in [Mutant::IgnoresGrantCalls, Mutant::ForgetsGrantCalls] {
        let model = LateListingModel::new(inputs(), late_bounds, Some(mutant));
        are_found &= finds(mutant, model);
    }
    let row_bounds = RowBounds {
        handlers: 2,
        changes: 3,
        failures: 1,
        is_replaced: false,
    };
    for mutant in [
        Mutant::WritesRowsUnconditionally,
        Mutant::RecordsNoIntents,
        Mutant::ForgetsSharedIntents,
        Mutant::ClearsIntentsOfOthers,
        Mutant::PairsAtTheEnd,
    ] {
        are_found &= finds(mutant, RowModel::new(inputs(), row_bounds, Some(mutant)));
    }
    let takeover_bounds = TakeoverBounds {
        functions: 1,
        changes: 1,
        partitions: 1,
        commands: 3,
    };
    for mutant in [
        Mutant::CountsLeaseFromTheEnd,
        Mutant::SendsWithoutLease,
        Mutant::WaitsForTheLeaseOnly,
        Mutant::HandsOverUncompared,
    ] {
        let model = TakeoverModel::new(Epoch::INITIAL, takeover_bounds, Some(mutant));
        are_found &= finds(mutant, model);
    }
    // A failover, two acceptances of it, and a failover back between the steps of the second one.
    let mutant = Mutant::AcceptsUnconditionally;
    let command_bounds = TakeoverBounds {
        functions: 0,
        changes: 0,
        partitions: 0,
        commands: 4,
    };
    let model = TakeoverModel::new(Epoch::INITIAL, command_bounds, Some(mutant));
    are_found &= finds(mutant, model);
    are_found
}

fn main() -> ExitCode {
    let epochs = [Epoch::INITIAL, Epoch::new(1, SiteId::B)];
    let wanted = Wanted::from_arguments();
    let mut is_ok = true;
    for epoch in epochs {
        is_ok &= check_epoch(epoch, &wanted);
    }
    is_ok &= check_mutants();
    match is_ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
