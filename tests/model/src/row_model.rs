//! The model of a ledger row: a table that is created, changed, dropped and created again in the
//! primary, and handlers that replicate it and record in its row what they paired.
//!
//! A handler works as the reconcile loop of `twinlake-engine` does: it reads the row, then both
//! Regions, pairs what only an intent proves, plans, records the intent of a creation, applies the
//! steps, and reads again until a plan is empty. Then it writes the row, and merges it with the
//! stored one if that was written meanwhile. Reading the row, reading both Regions, each call and
//! each write of the row are separate actions.

mod conversions;
mod handlers;

use crate::calls::{CallResult, MAX_ROUNDS, Mutant, RunningPlan};
use crate::inputs::{CREATED, CommonInputs, Memo, Reads};
use conversions::digest_of;
use stateright::{Model, Property};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Comparable as _, digest};
use twinlake_core::grant::Grants;
use twinlake_core::ledger::Pairing;
use twinlake_core::scope::Facet;
use twinlake_core::step::StepTarget;
use twinlake_core::topology::BySite;
use twinlake_core::{LedgerRow, Step, SubjectState, Table, Timestamp};

/// What tells the content of two tables apart.
type Content = u8;
/// When an object was created: the number of creations in its Region until then.
type Created = u8;

/// The content of a table in the standby that somebody else made. The primary's is 0 or 1.
const FOREIGN: Content = 2;

/// A table in one Region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    content: Content,
    created: Created,
}

/// The pairing of a row: the creation times, and the content last read in the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct PairedObject {
    created_in_primary: Option<Created>,
    created_in_standby: Created,
    content: Content,
}

/// What the model uses of a ledger row.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Row {
    /// `None` if the row was never stored.
    version: Option<u8>,
    pairing: Option<PairedObject>,
    intents: BTreeSet<Content>,
    is_in_sync: bool,
}

impl Row {
    /// What decides whether Twinlake manages the standby's object.
    fn ownership(&self) -> (Option<PairedObject>, BTreeSet<Content>) {
        (self.pairing, self.intents.clone())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum TableStep {
    Create(Content),
    Update(Content),
    Delete,
}

/// What a handler read last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ReadObjects {
    /// The row, with the intents and pairings of the handler.
    row: Option<Row>,
    /// The stored row lacked an intent of the handler.
    has_unstored_intent: bool,
    primary: Option<Object>,
    standby: Option<Object>,
}

/// The outcome of the table by a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Outcome {
    is_in_sync: bool,
    pairing: Option<PairedObject>,
    is_gone: bool,
}

/// What a handler does next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    ReadRow,
    ReadRegions,
    RecordIntent(RunningPlan<TableStep>),
    Apply(RunningPlan<TableStep>),
    WriteRow,
    MergeRow,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Working {
    phase: Phase,
    read: ReadObjects,
    /// The outcome by the last plan; `None` if the plan has none, so that no row is written.
    outcome: Option<Outcome>,
    /// What it created last or was about to create.
    intent: Option<Content>,
    /// The pairing of an object that only an intent proves.
    intended_pairing: Option<PairedObject>,
    /// A creation was refused in an earlier round because the object exists.
    has_refused_creation: bool,
    /// The steps that failed for good.
    held: BTreeSet<StepKind>,
    rounds: u8,
    /// The message returns to the queue once the row is written.
    has_to_wait: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum StepKind {
    Write,
    Delete,
}

/// What a plan depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Question {
    primary: Option<Object>,
    standby: Option<Object>,
    pairing: Option<PairedObject>,
    intents: BTreeSet<Content>,
    held: BTreeSet<StepKind>,
}

type Decision = (Vec<(TableStep, Vec<usize>)>, Option<Outcome>);

/// An action of the model. The numbers are indexes of handlers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowAction {
    /// The primary's table changes to this content, or is dropped, which queues an event.
    ChangePrimary(Option<Content>),
    /// Somebody else puts a table of their own in the place of the standby's.
    ReplaceStandby,
    /// An idle handler takes an event.
    TakeEvent,
    /// A handler reads the row, or both Regions, or writes the row.
    Proceed(usize),
    /// A handler applies the next step of its plan, with this result.
    ApplyStep(usize, CallResult),
    /// A handler crashes, and its event is delivered again.
    CrashHandler(usize),
    /// An event is delivered twice.
    DuplicateEvent,
    /// A resync, when every intent is older than the longest run of a function.
    Resync,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowState {
    primary: Option<Object>,
    standby: Option<Object>,
    /// The number of creations in the primary and in the standby.
    creations: (Created, Created),
    row: Option<Row>,
    changes: usize,
    /// The number of queued events, which are all alike.
    queue: usize,
    /// The handlers at work, sorted, since they are interchangeable.
    handlers: Vec<Working>,
    failures_left: u8,
    may_replace: bool,
    is_resynced: bool,
    /// Twinlake wrote to a table that somebody else made.
    has_written_foreign: bool,
    /// A write of the row dropped the pairing of the table that the standby has.
    has_lost_pairing: bool,
    has_rejection: bool,
}

/// The limits of one configuration of the model.
#[derive(Clone, Copy, Debug)]
pub struct RowBounds {
    pub handlers: usize,
    pub changes: usize,
    pub failures: u8,
    /// Somebody else replaces the standby's table once.
    pub is_replaced: bool,
}

pub struct RowModel {
    inputs: CommonInputs,
    bounds: RowBounds,
    mutant: Option<Mutant>,
    digests: BTreeMap<String, Content>,
    decisions: Memo<Question, Option<Decision>>,
}

impl RowModel {
    pub fn new(inputs: CommonInputs, bounds: RowBounds, mutant: Option<Mutant>) -> Self {
        let contents = [0, 1, FOREIGN];
        Self {
            inputs,
            bounds,
            mutant,
            digests: contents.map(|content| (digest_of(content), content)).into(),
            decisions: Memo::default(),
        }
    }
}

impl Model for RowModel {
    type State = RowState;
    type Action = RowAction;

    fn init_states(&self) -> Vec<RowState> {
        vec![RowState {
            primary: None,
            standby: None,
            creations: (0, 0),
            row: None,
            changes: 0,
            queue: 0,
            handlers: Vec::new(),
            failures_left: self.bounds.failures,
            may_replace: self.bounds.is_replaced,
            is_resynced: false,
            has_written_foreign: false,
            has_lost_pairing: false,
            has_rejection: false,
        }]
    }

    fn actions(&self, state: &RowState, actions: &mut Vec<RowAction>) {
        if state.is_resynced {
            return;
        }
        if state.changes < self.bounds.changes {
            let current = state.primary.map(|object| object.content);
            let all = [None, Some(0), Some(1)].into_iter();
            let changes = all.filter(|next| *next != current);
            actions.extend(changes.map(RowAction::ChangePrimary));
        }
        if state.may_replace && !state.has_pending_write() {
            actions.push(RowAction::ReplaceStandby);
        }
        if state.queue == 0 && state.handlers.is_empty() {
            actions.push(RowAction::Resync);
        }
        if state.queue > 0 && state.handlers.len() < self.bounds.handlers {
            actions.push(RowAction::TakeEvent);
        }
        if state.queue > 0 && state.failures_left > 0 {
            actions.push(RowAction::DuplicateEvent);
        }
        for (index, handler) in state.handlers.iter().enumerate() {
            match &handler.phase {
                Phase::Apply(_) => actions.extend(
                    CallResult::possible(state.failures_left)
                        .map(|result| RowAction::ApplyStep(index, result)),
                ),
                Phase::ReadRow
                | Phase::ReadRegions
                | Phase::RecordIntent(_)
                | Phase::WriteRow
                | Phase::MergeRow => actions.push(RowAction::Proceed(index)),
            }
            if state.failures_left > 0 {
                actions.push(RowAction::CrashHandler(index));
            }
        }
    }

    fn next_state(&self, state: &RowState, action: RowAction) -> Option<RowState> {
        let mut next = state.clone();
        match action {
            RowAction::ChangePrimary(content) => next.change_primary(content),
            RowAction::ReplaceStandby => {
                next.standby = Some(next.create(FOREIGN));
                next.may_replace = false;
            }
            RowAction::TakeEvent => {
                next.queue -= 1;
                next.handlers.push(Working::new());
            }
            RowAction::Proceed(index) => {
                let handler = next.handlers.remove(index);
                self.proceed(&mut next, handler);
            }
            RowAction::ApplyStep(index, result) => {
                if result != CallResult::Applied {
                    next.failures_left -= 1;
                }
                let handler = next.handlers.remove(index);
                self.apply_step(&mut next, handler, result);
            }
            RowAction::CrashHandler(index) => {
                next.handlers.remove(index);
                next.queue += 1;
                next.failures_left -= 1;
            }
            RowAction::DuplicateEvent => {
                next.queue += 1;
                next.failures_left -= 1;
            }
            RowAction::Resync => self.resync(&mut next),
        }
        next.handlers.sort();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no table that somebody else made is written",
                |_, state: &RowState| !state.has_written_foreign,
            ),
            Property::always(
                "no write of the row loses the pairing of the table that the standby has",
                |_, state: &RowState| !state.has_lost_pairing,
            ),
            Property::always("no plan is rejected", |_, state: &RowState| {
                !state.has_rejection
            }),
            Property::always(
                "after one resync, no table that Twinlake made is taken for another",
                |_, state: &RowState| {
                    let content = |object: Option<Object>| object.map(|object| object.content);
                    !state.is_resynced
                        || state.is_foreign()
                        || content(state.primary) == content(state.standby)
                },
            ),
            Property::always(
                "no row pairs a table that somebody else made",
                |_, state: &RowState| {
                    let paired = state.row.as_ref().and_then(|row| row.pairing);
                    let paired = paired.map(|paired| paired.created_in_standby);
                    !state.is_foreign() || paired != state.standby.map(|object| object.created)
                },
            ),
        ]
    }
}

impl Working {
    fn new() -> Self {
        Self {
            phase: Phase::ReadRow,
            read: ReadObjects {
                row: None,
                has_unstored_intent: false,
                primary: None,
                standby: None,
            },
            outcome: None,
            intent: None,
            intended_pairing: None,
            has_refused_creation: false,
            held: BTreeSet::new(),
            rounds: 0,
            has_to_wait: false,
        }
    }

    /// Whether the object that a pairing names was seen in the standby.
    fn is_paired_object_seen(&self, pairing: Option<PairedObject>) -> bool {
        let created = self.read.standby.map(|object| object.created);
        created.is_some() && created == pairing.map(|paired| paired.created_in_standby)
    }

    /// Begins the next round.
    fn read_again(&mut self) {
        self.phase = Phase::ReadRow;
    }
}

impl RowState {
    fn create(&mut self, content: Content) -> Object {
        self.creations.1 += 1;
        Object {
            content,
            created: self.creations.1,
        }
    }

    fn is_foreign(&self) -> bool {
        self.standby.is_some_and(|object| object.content == FOREIGN)
    }

    /// Whether an update or deletion is on its way. Glue's calls go by name, so what somebody else
    /// puts in the place of the table after the plan is not told apart.
    fn has_pending_write(&self) -> bool {
        self.handlers.iter().any(|handler| match &handler.phase {
            Phase::Apply(plan) | Phase::RecordIntent(plan) => {
                plan.remaining().any(|step| match step {
                    TableStep::Update(_) | TableStep::Delete => true,
                    TableStep::Create(_) => false,
                })
            }
            Phase::ReadRow | Phase::ReadRegions | Phase::WriteRow | Phase::MergeRow => false,
        })
    }

    fn change_primary(&mut self, content: Option<Content>) {
        self.primary = match (self.primary, content) {
            (_, None) => None,
            (Some(object), Some(content)) => Some(Object { content, ..object }),
            (None, Some(content)) => {
                self.creations.0 += 1;
                Some(Object {
                    content,
                    created: self.creations.0,
                })
            }
        };
        self.changes += 1;
        self.queue += 1;
    }

    fn stored_version(&self) -> Option<u8> {
        self.row.as_ref().and_then(|row| row.version)
    }

    /// Writes the row, or deletes it, if the stored one has the expected version. Returns whether it
    /// did.
    fn write_row(
        &mut self,
        row: Option<Row>,
        expected: Option<u8>,
        mutant: Option<Mutant>,
    ) -> bool {
        let is_unconditional = mutant == Some(Mutant::WritesRowsUnconditionally);
        if self.stored_version() != expected && !is_unconditional {
            return false;
        }
        let created = self.standby.map(|object| object.created);
        let pairs = |row: Option<&Row>| {
            let paired = row.and_then(|row| row.pairing);
            let paired = paired.map(|paired| paired.created_in_standby);
            paired.is_some() && paired == created
        };
        self.has_lost_pairing |= pairs(self.row.as_ref()) && !pairs(row.as_ref());
        let version = Some(expected.map_or(0, |version| version + 1));
        self.row = row.map(|row| Row { version, ..row });
        true
    }
}
