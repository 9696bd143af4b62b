//! The model of a grant that the primary may list long after its revoke: CREATE_DATABASE (LF-07). Events say
//! when it was granted and revoked, and the ledger row of the permissions remembers that while the primary lists
//! the grant ([`KnownGrantCalls`]).
//!
//! A handler reads the row, then both Regions, does not believe a listing that its row and its event
//! contradict, plans, applies the steps, reads again until a plan is empty, and then records what it knows in
//! the row as it is stored by then. Reading the row, reading both Regions, each call and the write of the row are
//! separate actions. What the row is conditional on is not part of this model: a write that meets another one
//! reads the row again and merges, as one action here.

mod conversions;

use crate::access_model::{Decision, NamedRevoke, OnGrant};
use crate::calls::{CallResult, MAX_ROUNDS, Mutant, RunningPlan};
use crate::inputs::{CommonInputs, Memo};
use stateright::{Model, Property};
use std::collections::BTreeSet;
use twinlake_core::PermissionGrant;

/// The time of a change: the number of changes until then.
type Time = u8;

/// When the grant was made and revoked last, as far as somebody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantCalls {
    granted_at: Option<Time>,
    revoked_at: Option<Time>,
}

impl GrantCalls {
    fn merged(self, other: Self) -> Self {
        Self {
            granted_at: self.granted_at.max(other.granted_at),
            revoked_at: self.revoked_at.max(other.revoked_at),
        }
    }

    /// Whether the last call revoked it. It is computed here apart from the code that is checked.
    fn is_last_revoke(self) -> bool {
        match (self.granted_at, self.revoked_at) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(granted), Some(revoked)) => revoked > granted,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LateListingStep {
    Grant,
    Revoke,
}

impl LateListingStep {
    const fn on_grant(self) -> OnGrant {
        match self {
            Self::Grant => OnGrant::Grants(false),
            Self::Revoke => OnGrant::Revokes,
        }
    }
}

/// A queued event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct QueuedEvent {
    calls: GrantCalls,
    named_revoke: Option<NamedRevoke>,
}

/// What a plan depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Question {
    primary: bool,
    standby: bool,
    named_revoke: Option<NamedRevoke>,
    reads_all_grants: bool,
    held: BTreeSet<LateListingStep>,
}

/// What a handler does next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    ReadRow,
    ReadRegions,
    /// It records what it knows in the row, if that was not written since, before it applies the plan.
    RecordCalls(RunningPlan<LateListingStep>),
    Apply(RunningPlan<LateListingStep>),
    WriteRow,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Working {
    event: QueuedEvent,
    named_revoke: Option<NamedRevoke>,
    phase: Phase,
    /// The row as it was read last, with its version.
    row: GrantCalls,
    version: u8,
    /// What it has to record in the row: calls, and whether the primary listed the grant.
    known: Option<(GrantCalls, bool)>,
    /// A listing of this handler was not believed.
    has_disbelieved: bool,
    reads_all_grants: bool,
    rounds: u8,
    has_revoked: bool,
    held: BTreeSet<LateListingStep>,
    /// The message returns to the queue once the row is written.
    has_to_wait: bool,
}

/// An action of the model. The numbers are indexes of handlers and of queued events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LateListingAction {
    /// The primary's grant is made or revoked, which queues an event. A revoked grant stays listed.
    ChangePrimary,
    /// The primary lists the revoked grant no longer.
    EndListing,
    /// An idle handler takes an event.
    TakeEvent(usize),
    /// A handler reads the row, or writes it.
    Proceed(usize),
    /// A handler reads both Regions. The flag says whether the read of the standby is one write old.
    ReadRegions(usize, bool),
    /// A handler applies the next step of its plan, with this result.
    ApplyStep(usize, CallResult),
    /// A handler crashes, and its event is delivered again.
    CrashHandler(usize),
    /// An event is delivered twice.
    DuplicateEvent(usize),
    /// A resync, which no event tells anything.
    Resync,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LateListingState {
    is_granted: bool,
    is_listed: bool,
    /// What the standby has, and had before the last write.
    standby: (bool, bool),
    row: GrantCalls,
    /// The version of the row, which each write increments.
    version: u8,
    changes: Time,
    queue: Vec<QueuedEvent>,
    /// The handlers at work, sorted, since they are interchangeable.
    handlers: Vec<Working>,
    failures_left: u8,
    has_refusal: bool,
    is_resynced: bool,
    /// A step granted what its handler knew to be revoked.
    has_granted_revoked: bool,
    has_rejection: bool,
}

/// The limits of one configuration of the model.
#[derive(Clone, Copy, Debug)]
pub struct LateListingBounds {
    pub handlers: usize,
    pub changes: u8,
    pub failures: u8,
    /// A read of the standby may be one write old.
    pub is_standby_stale: bool,
}

pub struct LateListingModel {
    inputs: CommonInputs,
    grant: PermissionGrant,
    bounds: LateListingBounds,
    mutant: Option<Mutant>,
    decisions: Memo<Question, Option<Decision<LateListingStep>>>,
}

impl LateListingModel {
    pub fn new(inputs: CommonInputs, bounds: LateListingBounds, mutant: Option<Mutant>) -> Self {
        Self {
            grant: conversions::grant(&inputs),
            inputs,
            bounds,
            mutant,
            decisions: Memo::default(),
        }
    }
}

impl Model for LateListingModel {
    type State = LateListingState;
    type Action = LateListingAction;

    fn init_states(&self) -> Vec<LateListingState> {
        vec![LateListingState {
            is_granted: false,
            is_listed: false,
            standby: (false, false),
            row: GrantCalls::default(),
            version: 0,
            changes: 0,
            queue: Vec::new(),
            handlers: Vec::new(),
            failures_left: self.bounds.failures,
            has_refusal: false,
            is_resynced: false,
            has_granted_revoked: false,
            has_rejection: false,
        }]
    }

    fn actions(&self, state: &LateListingState, actions: &mut Vec<LateListingAction>) {
        if state.is_resynced {
            return;
        }
        if state.changes < self.bounds.changes {
            actions.push(LateListingAction::ChangePrimary);
        }
        if state.is_listed && !state.is_granted {
            actions.push(LateListingAction::EndListing);
        }
        if state.is_quiet() {
            actions.push(LateListingAction::Resync);
        }
        let events = 0..state.queue.len();
        if state.handlers.len() < self.bounds.handlers {
            actions.extend(events.clone().map(LateListingAction::TakeEvent));
        }
        if state.failures_left > 0 {
            actions.extend(events.map(LateListingAction::DuplicateEvent));
            let handlers = 0..state.handlers.len();
            actions.extend(handlers.map(LateListingAction::CrashHandler));
        }
        for (index, handler) in state.handlers.iter().enumerate() {
            match handler.phase {
                Phase::ReadRow | Phase::RecordCalls(_) | Phase::WriteRow => {
                    actions.push(LateListingAction::Proceed(index));
                }
                Phase::ReadRegions => {
                    let (current, previous) = state.standby;
                    let is_stale = self.bounds.is_standby_stale && current != previous;
                    let reads = [false, true].into_iter().filter(|stale| is_stale || !stale);
                    actions.extend(reads.map(|stale| LateListingAction::ReadRegions(index, stale)));
                }
                Phase::Apply(_) => actions.extend(
                    CallResult::possible(state.failures_left)
                        .map(|result| LateListingAction::ApplyStep(index, result)),
                ),
            }
        }
    }

    fn next_state(
        &self,
        state: &LateListingState,
        action: LateListingAction,
    ) -> Option<LateListingState> {
        let mut next = state.clone();
        match action {
            LateListingAction::ChangePrimary => next.change_primary(),
            LateListingAction::EndListing => next.is_listed = false,
            LateListingAction::TakeEvent(event) => {
                let event = next.queue.remove(event);
                next.handlers.push(Working::new(event));
            }
            LateListingAction::Proceed(index) => self.proceed(&mut next, index),
            LateListingAction::ReadRegions(index, is_stale) => {
                self.read_regions(&mut next, index, is_stale);
            }
            LateListingAction::ApplyStep(index, result) => {
                self.apply_step(&mut next, index, result)?;
            }
            LateListingAction::CrashHandler(index) => {
                let event = next.handlers.remove(index).event;
                next.queue.push(event);
                next.failures_left -= 1;
            }
            LateListingAction::DuplicateEvent(event) => {
                next.queue.push(*next.queue.get(event)?);
                next.failures_left -= 1;
            }
            LateListingAction::Resync => self.resync(&mut next)?,
        }
        next.queue.sort();
        next.handlers.sort();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no step grants what its handler knows to be revoked",
                |_, state: &LateListingState| !state.has_granted_revoked,
            ),
            Property::always(
                "what events revoked is gone once every handler has ended, whatever is listed",
                |model: &Self, state: &LateListingState| {
                    let has_gaps = model.bounds.is_standby_stale && model.bounds.failures > 0;
                    let is_wider = state.standby.0 && !state.is_granted;
                    !state.is_quiet() || state.has_refusal || has_gaps || !is_wider
                },
            ),
            Property::always(
                "one resync makes both Regions equal, whatever is listed",
                |_, state: &LateListingState| {
                    !state.is_resynced || state.is_granted == state.standby.0
                },
            ),
            Property::always("no plan is rejected", |_, state: &LateListingState| {
                !state.has_rejection
            }),
        ]
    }
}

impl LateListingModel {
    /// A handler reads the row, or records in it what it knows and ends.
    fn proceed(&self, next: &mut LateListingState, index: usize) {
        let mut handler = next.handlers.remove(index);
        let recorded = |handler: &Working, stored: GrantCalls| match handler.known {
            Some(known) => conversions::recorded(&self.grant, stored, known),
            None => stored,
        };
        // A row that does not change from how it was read is not written.
        let changes_row = recorded(&handler, handler.row) != handler.row;
        match handler.phase.clone() {
            Phase::ReadRow => {
                (handler.row, handler.version) = (next.row, next.version);
                handler.phase = Phase::ReadRegions;
                next.handlers.push(handler);
                return;
            }
            Phase::RecordCalls(plan) => {
                handler.phase = match !changes_row || handler.version == next.version {
                    true => Phase::Apply(plan),
                    false => Phase::ReadRow,
                };
                if changes_row && handler.version == next.version {
                    next.row = recorded(&handler, next.row);
                    next.version += 1;
                    (handler.row, handler.version) = (next.row, next.version);
                }
                next.handlers.push(handler);
                return;
            }
            Phase::ReadRegions | Phase::Apply(_) => {}
            Phase::WriteRow => {
                if changes_row {
                    let row = recorded(&handler, next.row);
                    next.version += u8::from(row != next.row);
                    next.row = row;
                }
            }
        }
        if handler.has_to_wait {
            next.queue.push(QueuedEvent {
                named_revoke: handler.named_revoke,
                ..handler.event
            });
            // The retry delay is longer than a read stays stale.
            next.standby.1 = next.standby.0;
        }
    }

    /// Reads both Regions and plans with what the handler believes of the listing.
    fn read_regions(&self, next: &mut LateListingState, index: usize, is_stale: bool) {
        let is_listed = next.is_listed;
        let (current, previous) = next.standby;
        let Some(handler) = next.handlers.get_mut(index) else {
            return;
        };
        let is_in_primary = self.believe(handler, is_listed);
        let question = Question {
            primary: is_in_primary,
            standby: !handler.has_revoked && if is_stale { previous } else { current },
            named_revoke: handler.named_revoke,
            reads_all_grants: handler.reads_all_grants,
            held: handler.held.clone(),
        };
        match self.decide(&question) {
            None => next.has_rejection = true,
            Some(decision) if decision.needs_full_grant_read && !handler.reads_all_grants => {
                handler.reads_all_grants = true;
                handler.phase = Phase::ReadRow;
            }
            Some(decision) if decision.steps.is_empty() => handler.phase = Phase::WriteRow,
            Some(decision) => {
                handler.rounds += 1;
                if handler.rounds > MAX_ROUNDS {
                    handler.has_to_wait = true;
                    handler.phase = Phase::WriteRow;
                } else {
                    let plan = RunningPlan::new(decision.steps);
                    handler.phase = match self.mutant == Some(Mutant::RecordsCallsAtTheEnd) {
                        true => Phase::Apply(plan),
                        false => Phase::RecordCalls(plan),
                    };
                }
            }
        }
    }

    /// Whether the primary has the grant, as a handler believes that reads a listing. Notes what the handler
    /// has to record in the row.
    fn believe(&self, handler: &mut Working, is_listed: bool) -> bool {
        let is_mutant = |mutant| self.mutant == Some(mutant);
        let stored =
            match is_mutant(Mutant::IgnoresGrantCalls) || is_mutant(Mutant::ForgetsGrantCalls) {
                true => GrantCalls::default(),
                false => handler.row,
            };
        let named = match is_mutant(Mutant::IgnoresGrantCalls) {
            true => GrantCalls::default(),
            false => handler.event.calls,
        };
        let (is_believed, is_disbelieved) =
            conversions::believed(&self.grant, (stored, named), is_listed);
        handler.has_disbelieved |= is_disbelieved;
        let is_listed = is_believed || handler.has_disbelieved;
        handler.known = Some((stored.merged(named), is_listed));
        is_believed
    }

    fn decide(&self, question: &Question) -> Option<Decision<LateListingStep>> {
        let compute = |question: &Question| conversions::decide(&self.inputs, question);
        self.decisions.answer(question, compute)
    }

    fn apply_step(
        &self,
        next: &mut LateListingState,
        index: usize,
        result: CallResult,
    ) -> Option<()> {
        let handler = next.handlers.get_mut(index)?;
        let Phase::Apply(mut plan) = handler.phase.clone() else {
            return None;
        };
        let step = plan.next_step()?;
        plan.record(result, self.mutant);
        let knew = handler.row.merged(handler.event.calls);
        handler.record(step, result);
        handler.has_to_wait |= plan.has_to_wait;
        handler.reads_all_grants &= plan.next_step().is_some();
        handler.phase = match plan.next_step() {
            Some(_) => Phase::Apply(plan),
            None if handler.has_to_wait => Phase::WriteRow,
            None => Phase::ReadRow,
        };
        next.has_refusal |= result == CallResult::Refused;
        next.failures_left -= u8::from(result != CallResult::Applied);
        if result.has_effect() {
            next.set_standby(step == LateListingStep::Grant);
            next.has_granted_revoked |= step == LateListingStep::Grant && knew.is_last_revoke();
        }
        Some(())
    }

    /// One handler without an event, without stale reads and without failures reads and writes until it ends.
    fn resync(&self, next: &mut LateListingState) -> Option<()> {
        next.is_resynced = true;
        next.handlers.push(Working {
            reads_all_grants: true,
            ..Working::new(QueuedEvent {
                calls: GrantCalls::default(),
                named_revoke: None,
            })
        });
        while let Some(handler) = next.handlers.first() {
            match handler.phase {
                Phase::ReadRow | Phase::RecordCalls(_) | Phase::WriteRow => self.proceed(next, 0),
                Phase::ReadRegions => self.read_regions(next, 0, false),
                Phase::Apply(_) => self.apply_step(next, 0, CallResult::Applied)?,
            }
            if next.has_rejection {
                return Some(());
            }
        }
        Some(())
    }
}

impl Working {
    fn new(event: QueuedEvent) -> Self {
        Self {
            event,
            named_revoke: event.named_revoke,
            phase: Phase::ReadRow,
            row: GrantCalls::default(),
            version: 0,
            known: None,
            has_disbelieved: false,
            reads_all_grants: false,
            rounds: 0,
            has_revoked: false,
            held: BTreeSet::new(),
            has_to_wait: false,
        }
    }

    /// Records the result of a step, as the reconcile loop does.
    fn record(&mut self, step: LateListingStep, result: CallResult) {
        if step == LateListingStep::Grant {
            self.has_revoked = false;
        }
        match (result, step.on_grant()) {
            // From now on, a revoke of this grant counts as named.
            (CallResult::Applied, OnGrant::Grants(grant_option)) => {
                let by_event = self.named_revoke.is_some_and(|named| named.by_event);
                self.named_revoke = Some(NamedRevoke {
                    grant_option,
                    by_event,
                });
            }
            (CallResult::Applied, OnGrant::Revokes) => {
                self.named_revoke = None;
                self.has_revoked = true;
            }
            (CallResult::Refused, _) => {
                self.held.insert(step);
            }
            (CallResult::Failed | CallResult::FailedWithEffect | CallResult::TimedOut, _) => {}
        }
    }
}

impl LateListingState {
    fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.handlers.is_empty()
    }

    fn set_standby(&mut self, is_granted: bool) {
        if self.standby.0 != is_granted {
            self.standby = (is_granted, self.standby.0);
        }
    }

    fn change_primary(&mut self) {
        self.changes += 1;
        self.is_granted = !self.is_granted;
        self.is_listed = true;
        let at = Some(self.changes);
        let event = match self.is_granted {
            true => QueuedEvent {
                calls: GrantCalls {
                    granted_at: at,
                    revoked_at: None,
                },
                named_revoke: None,
            },
            false => QueuedEvent {
                calls: GrantCalls {
                    granted_at: None,
                    revoked_at: at,
                },
                named_revoke: Some(NamedRevoke {
                    grant_option: false,
                    by_event: true,
                }),
            },
        };
        self.queue.push(event);
    }
}
