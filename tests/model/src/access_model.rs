//! The model of handlers that change what the standby allows: what is permitted in the two Regions,
//! the events, and handlers whose calls fail, by the rules of the reconcile loop.

use crate::calls::{CallResult, MAX_ROUNDS, Mutant, RunningPlan};
use crate::inputs::{CommonInputs, Memo};
use stateright::{Model, Property};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Mutex;
use twinlake_core::{PermissionGrant, Plan, Scope, Step};

/// What one Region has, as far as a model changes it.
pub trait AccessWorld: Copy + Debug + Eq + Ord + Hash + Send + Sync + 'static {
    /// A step of a plan.
    type Step: Copy + Debug + Eq + Ord + Hash + Send + Sync + 'static;

    /// Access is given by several parts that different steps write. A step of one handler may then
    /// combine its part with that of another, which read the primary at another time.
    const HAS_PARTS: bool;

    /// What both Regions have at first.
    fn initial() -> Vec<Self>;
    /// What one change in the primary can lead to.
    fn changes(self) -> Vec<Self>;
    /// The revoke that the event of such a change names, with whether it names the grant option.
    fn named_revoke(self, next: Self) -> Option<bool>;
    /// What is allowed, one bit for each kind of access.
    fn access(self) -> u8;
    /// What the Region has after a step.
    fn after(self, step: Self::Step) -> Self;
    /// The same without the grant.
    fn without_grant(self) -> Self;
    /// The effect of a step on the grant, if it has one.
    fn on_grant(step: Self::Step) -> Option<OnGrant>;
    /// The real plan; `None` if the audit rejects it.
    fn decide(inputs: &CommonInputs, question: &Question<Self>) -> Option<Decision<Self::Step>>;
}

/// What a step does with the grant.
pub enum OnGrant {
    /// It grants, with or without the grant option.
    Grants(bool),
    Revokes,
}

/// A grant that is revoked if the primary lacks it, whatever a listing of the standby shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedRevoke {
    pub grant_option: bool,
    /// An event named it: that is the proof. Else a handler made the grant, and the primary's lack of it needs
    /// the proof of any grant.
    pub by_event: bool,
}

impl NamedRevoke {
    /// Adds it to a scope.
    pub fn add_to(self, scope: &mut Scope, grant: &PermissionGrant) {
        match self.by_event {
            true => {
                let named = &mut scope.named_revokes;
                named.insert(grant.clone(), self.grant_option);
            }
            false => scope.add_own_grant(grant, self.grant_option),
        }
    }
}

/// What a plan depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question<W: AccessWorld> {
    pub primary: W,
    pub standby: W,
    pub named_revoke: Option<NamedRevoke>,
    /// All grants were listed.
    pub reads_all_grants: bool,
    /// The steps that were refused.
    pub held: BTreeSet<W::Step>,
}

/// A plan: the steps with the positions of those that they require, and whether a revoke needs a
/// read of all grants.
#[derive(Clone, Debug)]
pub struct Decision<S> {
    pub steps: Vec<(S, Vec<usize>)>,
    pub needs_full_grant_read: bool,
}

impl<S> Decision<S> {
    /// The decision of a real plan, with its steps converted.
    pub fn of(plan: &Plan, convert: impl Fn(&Step) -> S) -> Self {
        let steps = plan.steps.iter().map(convert);
        Self {
            steps: steps.zip(plan.requires.iter().cloned()).collect(),
            needs_full_grant_read: plan.needs_full_grant_read > 0,
        }
    }
}

/// Whether a read of the primary, and one of the standby, is stale.
pub type StaleReads = (bool, bool);

/// One Region: the current state, and the state that a stale read returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegionState<W> {
    pub current: W,
    pub previous: W,
}

impl<W: AccessWorld> RegionState<W> {
    fn set(&mut self, next: W) {
        if next != self.current {
            *self = Self {
                current: next,
                previous: self.current,
            };
        }
    }

    fn read(self, is_stale: bool) -> W {
        if is_stale {
            self.previous
        } else {
            self.current
        }
    }
}

/// A queued event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueuedEvent {
    /// `Some` if the message names a revoke.
    named_revoke: Option<NamedRevoke>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Working<W: AccessWorld> {
    event: QueuedEvent,
    named_revoke: Option<NamedRevoke>,
    /// The next read lists all grants.
    reads_all_grants: bool,
    /// The plan that is applied; `None` if the next action is a read.
    plan: Option<RunningPlan<W::Step>>,
    /// What the handler last read in the primary.
    primary_read: W,
    rounds: u8,
    /// A revoke was confirmed, so a listing that still shows the grant is ignored (LF-07).
    has_revoked: bool,
    held: BTreeSet<W::Step>,
}

/// An action of the model. The numbers are indexes of handlers and of queued events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AccessAction<W> {
    /// Something changes in the primary, which queues an event.
    ChangePrimary(W),
    /// An idle handler takes an event.
    TakeEvent(usize),
    /// A handler reads both Regions and makes a plan.
    ReadRegions(usize, StaleReads),
    /// A handler applies the next step of its plan, with this result.
    ApplyStep(usize, CallResult),
    /// A handler crashes, and its event is delivered again.
    CrashHandler(usize),
    /// An event is delivered twice.
    DuplicateEvent(usize),
    /// A resync reads both Regions without stale reads and applies its plans without failures.
    Resync,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccessState<W: AccessWorld> {
    pub primary: RegionState<W>,
    pub standby: RegionState<W>,
    changes: usize,
    queue: Vec<QueuedEvent>,
    /// The handlers at work, sorted, since they are interchangeable.
    handlers: Vec<Working<W>>,
    /// The number of failures that may still happen.
    failures_left: u8,
    /// A step failed for good, so the next resync is what corrects it.
    has_refusal: bool,
    is_resynced: bool,
    /// A step allowed more than its handler last read in the primary and than was allowed before.
    has_widened: bool,
    /// The audit rejected a plan.
    has_rejection: bool,
}

/// The limits of one configuration of a model.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub handlers: usize,
    pub changes: usize,
    /// The maximum number of failed calls, crashes and messages that are delivered twice.
    pub failures: u8,
    pub may_be_stale: StaleReads,
}

/// A difference of the Regions (primary, standby) when no event is left, before any resync.
pub type Difference<W> = (W, W);

pub struct AccessModel<W: AccessWorld> {
    inputs: CommonInputs,
    bounds: Bounds,
    mutant: Option<Mutant>,
    decisions: Memo<Question<W>, Option<Decision<W::Step>>>,
    /// The differences before the resync: without and with a step that failed for good.
    differences: [Mutex<BTreeSet<Difference<W>>>; 2],
}

impl<W: AccessWorld> AccessModel<W> {
    pub fn new(inputs: CommonInputs, bounds: Bounds, mutant: Option<Mutant>) -> Self {
        Self {
            inputs,
            bounds,
            mutant,
            decisions: Memo::default(),
            differences: Default::default(),
        }
    }

    /// The differences before the resync: of histories without, or with, a step that failed for
    /// good.
    pub fn differences(&self, has_refusal: bool) -> BTreeSet<Difference<W>> {
        let [without, with] = &self.differences;
        let of = if has_refusal { with } else { without };
        of.lock().expect("no thread failed").clone()
    }

    fn decide(&self, question: &Question<W>) -> Option<Decision<W::Step>> {
        self.decisions
            .answer(question, |question| W::decide(&self.inputs, question))
    }
}

impl<W: AccessWorld> Model for AccessModel<W> {
    type State = AccessState<W>;
    type Action = AccessAction<W>;

    fn init_states(&self) -> Vec<AccessState<W>> {
        let states = W::initial().into_iter().map(|initial| {
            let region = RegionState {
                current: initial,
                previous: initial,
            };
            AccessState {
                primary: region,
                standby: region,
                changes: 0,
                queue: Vec::new(),
                handlers: Vec::new(),
                failures_left: self.bounds.failures,
                has_refusal: false,
                is_resynced: false,
                has_widened: false,
                has_rejection: false,
            }
        });
        states.collect()
    }

    fn actions(&self, state: &AccessState<W>, actions: &mut Vec<AccessAction<W>>) {
        if state.is_resynced {
            return;
        }
        if state.changes < self.bounds.changes {
            let changes = state.primary.current.changes().into_iter();
            actions.extend(changes.map(AccessAction::ChangePrimary));
        }
        if state.is_quiet() {
            actions.push(AccessAction::Resync);
            let (primary, standby) = (state.primary.current, state.standby.current);
            if primary != standby {
                let [without, with] = &self.differences;
                let of = if state.has_refusal { with } else { without };
                of.lock()
                    .expect("no thread failed")
                    .insert((primary, standby));
            }
        }
        let events = 0..state.queue.len();
        if state.handlers.len() < self.bounds.handlers {
            actions.extend(events.clone().map(AccessAction::TakeEvent));
        }
        if state.failures_left > 0 {
            actions.extend(events.map(AccessAction::DuplicateEvent));
            actions.extend((0..state.handlers.len()).map(AccessAction::CrashHandler));
        }
        for (index, handler) in state.handlers.iter().enumerate() {
            match handler.plan {
                None => actions.extend(
                    state
                        .reads(self.bounds.may_be_stale)
                        .map(|stale| AccessAction::ReadRegions(index, stale)),
                ),
                Some(_) => actions.extend(
                    CallResult::possible(state.failures_left)
                        .map(|result| AccessAction::ApplyStep(index, result)),
                ),
            }
        }
    }

    fn next_state(
        &self,
        state: &AccessState<W>,
        action: AccessAction<W>,
    ) -> Option<AccessState<W>> {
        let mut next = state.clone();
        match action {
            AccessAction::ChangePrimary(changed) => next.change_primary(changed),
            AccessAction::TakeEvent(event) => {
                let event = next.queue.remove(event);
                let primary_read = next.primary.current;
                next.handlers.push(Working::new(event, primary_read));
            }
            AccessAction::ReadRegions(index, stale) => {
                self.read_regions(&mut next, index, stale)?
            }
            AccessAction::ApplyStep(index, result) => self.apply_step(&mut next, index, result)?,
            AccessAction::CrashHandler(index) => {
                let event = next.handlers.remove(index).event;
                next.queue.push(event);
                next.failures_left -= 1;
            }
            AccessAction::DuplicateEvent(event) => {
                next.queue.push(*next.queue.get(event)?);
                next.failures_left -= 1;
            }
            AccessAction::Resync => self.resync(&mut next)?,
        }
        next.queue.sort();
        next.handlers.sort();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no step widens access beyond what its handler last read",
                |model: &Self, state: &AccessState<W>| {
                    !state.has_widened || (W::HAS_PARTS && model.bounds.handlers > 1)
                },
            ),
            Property::always(
                "what is wider is gone once every handler has ended",
                |model: &Self, state: &AccessState<W>| {
                    let (primary, standby) = (state.primary.current, state.standby.current);
                    let is_stale = model.bounds.may_be_stale != (false, false);
                    let is_wider = standby.access() & !primary.access() != 0;
                    !state.is_quiet() || is_stale || state.has_refusal || !is_wider
                },
            ),
            Property::always("no plan is rejected", |_, state: &AccessState<W>| {
                !state.has_rejection
            }),
            Property::always(
                "one resync makes both Regions equal",
                |_, state: &AccessState<W>| {
                    !state.is_resynced || state.primary.current == state.standby.current
                },
            ),
        ]
    }
}

impl<W: AccessWorld> AccessModel<W> {
    fn read_regions(
        &self,
        next: &mut AccessState<W>,
        index: usize,
        stale: StaleReads,
    ) -> Option<()> {
        let primary = next.primary.read(stale.0);
        let listed_in_standby = next.standby.read(stale.1);
        let handler = next.handlers.get_mut(index)?;
        handler.primary_read = primary;
        let question = Question {
            primary,
            standby: match handler.has_revoked {
                true => listed_in_standby.without_grant(),
                false => listed_in_standby,
            },
            named_revoke: handler.named_revoke,
            reads_all_grants: handler.reads_all_grants,
            held: handler.held.clone(),
        };
        match self.decide(&question) {
            None => next.has_rejection = true,
            // A revoke that no event named needs a read of all grants.
            Some(decision) if decision.needs_full_grant_read && !handler.reads_all_grants => {
                handler.reads_all_grants = true;
            }
            Some(decision) if decision.steps.is_empty() => {
                next.handlers.remove(index);
            }
            Some(decision) => {
                handler.rounds += 1;
                if handler.rounds > MAX_ROUNDS {
                    next.return_to_queue(index);
                } else {
                    handler.plan = Some(RunningPlan::new(decision.steps));
                }
            }
        }
        Some(())
    }

    fn apply_step(
        &self,
        next: &mut AccessState<W>,
        index: usize,
        result: CallResult,
    ) -> Option<()> {
        let before = next.standby.current;
        let handler = next.handlers.get_mut(index)?;
        let plan = handler.plan.as_mut()?;
        let step = plan.next_step()?;
        plan.record(result, self.mutant);
        let has_to_wait = plan.has_to_wait;
        let is_done = plan.next_step().is_none();
        let allowed = before.access() | handler.primary_read.access();
        let may_be_granted = matches!(W::on_grant(step), Some(OnGrant::Grants(_)))
            && self.mutant != Some(Mutant::HidesGrantsThatFailed);
        handler.has_revoked &= !may_be_granted;
        match (result, W::on_grant(step)) {
            // From now on, a revoke of this grant counts as named.
            (CallResult::Applied, Some(OnGrant::Grants(with_grant_option))) => {
                let named = handler.named_revoke;
                handler.named_revoke = Some(NamedRevoke {
                    grant_option: with_grant_option,
                    by_event: named.is_some_and(|named| named.by_event),
                });
                handler.has_revoked = false;
            }
            (CallResult::Applied, Some(OnGrant::Revokes)) => {
                handler.named_revoke = None;
                handler.has_revoked = true;
            }
            (CallResult::Refused, _) => {
                handler.held.insert(step);
                next.has_refusal = true;
            }
            (CallResult::Applied, None)
            | (CallResult::Failed | CallResult::FailedWithEffect | CallResult::TimedOut, _) => {}
        }
        if is_done {
            handler.plan = None;
            handler.reads_all_grants = false;
        }
        if result != CallResult::Applied {
            next.failures_left -= 1;
        }
        if result.has_effect() {
            next.standby.set(before.after(step));
        }
        next.has_widened |= next.standby.current.access() & !allowed != 0;
        if is_done && has_to_wait {
            next.return_to_queue(index);
        }
        Some(())
    }

    fn resync(&self, next: &mut AccessState<W>) -> Option<()> {
        next.is_resynced = true;
        for _ in 0..MAX_ROUNDS {
            let question = Question {
                primary: next.primary.current,
                standby: next.standby.current,
                named_revoke: None,
                reads_all_grants: true,
                held: BTreeSet::new(),
            };
            let Some(decision) = self.decide(&question) else {
                next.has_rejection = true;
                return Some(());
            };
            if decision.steps.is_empty() {
                return Some(());
            }
            for (step, _) in decision.steps {
                next.standby.set(next.standby.current.after(step));
            }
        }
        Some(())
    }
}

impl<W: AccessWorld> Working<W> {
    fn new(event: QueuedEvent, primary_read: W) -> Self {
        Self {
            event,
            named_revoke: event.named_revoke,
            reads_all_grants: false,
            plan: None,
            primary_read,
            rounds: 0,
            has_revoked: false,
            held: BTreeSet::new(),
        }
    }
}

impl<W: AccessWorld> AccessState<W> {
    fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.handlers.is_empty()
    }

    fn reads(&self, may_be_stale: StaleReads) -> impl Iterator<Item = StaleReads> {
        let primary = may_be_stale.0 && self.primary.current != self.primary.previous;
        let standby = may_be_stale.1 && self.standby.current != self.standby.previous;
        [(false, false), (true, false), (false, true), (true, true)]
            .into_iter()
            .filter(move |stale| (primary || !stale.0) && (standby || !stale.1))
    }

    fn change_primary(&mut self, changed: W) {
        let named_revoke = self.primary.current.named_revoke(changed);
        let named_revoke = named_revoke.map(|grant_option| NamedRevoke {
            grant_option,
            by_event: true,
        });
        self.primary.set(changed);
        self.changes += 1;
        self.queue.push(QueuedEvent { named_revoke });
    }

    /// Returns the message of a handler to the queue, with the revokes that count as named. The
    /// retry delay is longer than a read stays stale.
    fn return_to_queue(&mut self, index: usize) {
        let handler = self.handlers.remove(index);
        let named_revoke = handler.named_revoke;
        self.queue.push(QueuedEvent { named_revoke });
        for region in [&mut self.primary, &mut self.standby] {
            region.previous = region.current;
        }
    }
}
