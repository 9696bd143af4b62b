//! The state of the model, and what may happen in it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use twinlake_core::audit::{BrakeReading, audit};
use twinlake_core::catalog::{Seen, digest};
use twinlake_core::grant::{Atom, Grants, OwnRoles, Permission, Principal, Resource};
use twinlake_core::ledger::{Epoch, Pairing, Rows};
use twinlake_core::plan::{Inputs, plan};
use twinlake_core::reading::{Observation, Reading, Settings};
use twinlake_core::scope::{Facet, Look};
use twinlake_core::{
    Name, Policy, Row, Scope, State as Standing, Step, Subject, Table, TableId, Timestamp,
};

/// What is granted: nothing, the permission, or the permission with the grant option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    None,
    Plain,
    Option,
}

impl Level {
    fn grants(self, atom: &Atom) -> Grants {
        match self {
            Self::None => Grants::new(),
            Self::Plain => Grants::from([(atom.clone(), false)]),
            Self::Option => Grants::from([(atom.clone(), true)]),
        }
    }
}

/// Of the primary, and of the secondary.
pub type Sides = (bool, bool);

/// One side: as it is, and as a stale read shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Side {
    pub now: Level,
    pub before: Level,
}

impl Side {
    fn set(&mut self, level: Level) {
        *self = Self {
            now: level,
            before: self.now,
        };
    }

    fn read(self, stale: bool) -> Level {
        if stale { self.before } else { self.now }
    }
}

/// An event: whether it named a revoke, and of the grant option alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Event {
    revoked: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Handler {
    Idle,
    Working {
        event: Event,
        suspect: Option<bool>,
        whole: bool,
        /// The steps that are left of the plan; none before a read.
        todo: Option<Vec<Move>>,
        read: Level,
        rounds: u8,
        /// It has confirmed a revoke, and believes no listing that shows it (LF-07).
        revoked: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Move {
    Grant(bool),
    Revoke,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Change,
    Take(usize, usize),
    Read(usize, Sides),
    Apply(usize),
    Crash(usize),
    Double(usize),
    Resync,
}

/// So many rounds a handler goes before the queue takes over.
const ROUNDS: u8 = 6;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub primary: Side,
    pub secondary: Side,
    changed: usize,
    queue: Vec<Event>,
    handlers: Vec<Handler>,
    mishaps: u8,
    pub resynced: bool,
    pub widened: bool,
    pub refused: bool,
}

impl State {
    pub fn new(handlers: usize, mishaps: u8) -> Self {
        let none = Side {
            now: Level::None,
            before: Level::None,
        };
        Self {
            primary: none,
            secondary: none,
            changed: 0,
            queue: Vec::new(),
            handlers: vec![Handler::Idle; handlers],
            mishaps,
            resynced: false,
            widened: false,
            refused: false,
        }
    }

    /// Nothing is under way, and nothing is to come.
    pub fn is_quiet(&self, changes: usize) -> bool {
        let idle = self
            .handlers
            .iter()
            .all(|handler| *handler == Handler::Idle);
        idle && self.queue.is_empty() && self.changed == changes
    }

    /// What may happen next, where reads of the two sides may be one write old or not.
    pub fn actions(&self, script: &[Level], may_be_stale: Sides, actions: &mut Vec<Act>) {
        if self.resynced {
            return;
        }
        if self.changed < script.len() {
            actions.push(Act::Change);
        }
        if self.is_quiet(script.len()) {
            actions.push(Act::Resync);
        }
        // Idle handlers are alike: the first one takes.
        let idle = self
            .handlers
            .iter()
            .position(|handler| *handler == Handler::Idle);
        if let Some(at) = idle {
            actions.extend((0..self.queue.len()).map(|event| Act::Take(at, event)));
        }
        if self.mishaps > 0 {
            actions.extend((0..self.queue.len()).map(Act::Double));
        }
        for (at, handler) in self.handlers.iter().enumerate() {
            let Handler::Working { todo, .. } = handler else {
                continue;
            };
            match todo {
                None => actions.extend(self.reads(may_be_stale).map(|old| Act::Read(at, old))),
                Some(_) => actions.push(Act::Apply(at)),
            }
            if self.mishaps > 0 {
                actions.push(Act::Crash(at));
            }
        }
    }

    fn reads(&self, may_be_stale: Sides) -> impl Iterator<Item = Sides> {
        let here = may_be_stale.0 && self.primary.now != self.primary.before;
        let there = may_be_stale.1 && self.secondary.now != self.secondary.before;
        [(false, false), (true, false), (false, true), (true, true)]
            .into_iter()
            .filter(move |old| (here || !old.0) && (there || !old.1))
    }

    pub fn after(&self, world: &World, script: &[Level], act: Act) -> Option<Self> {
        let mut next = self.clone();
        match act {
            Act::Change => next.change(*script.get(self.changed)?),
            Act::Take(at, event) => {
                let event = next.queue.remove(event);
                *next.handlers.get_mut(at)? = Handler::Working {
                    event,
                    suspect: event.revoked,
                    whole: false,
                    todo: None,
                    read: Level::None,
                    rounds: 0,
                    revoked: false,
                };
            }
            Act::Read(at, old) => next.read(world, at, old)?,
            Act::Apply(at) => next.apply(at)?,
            Act::Crash(at) => {
                if let Handler::Working { event, .. } = next.handlers.get(at)? {
                    next.queue.push(*event);
                    next.queue.sort();
                }
                *next.handlers.get_mut(at)? = Handler::Idle;
                next.mishaps -= 1;
            }
            Act::Double(event) => {
                next.queue.push(*next.queue.get(event)?);
                next.queue.sort();
                next.mishaps -= 1;
            }
            Act::Resync => {
                let (moves, _) = world.decide(next.primary.now, next.secondary.now, None, true)?;
                for one in moves {
                    next.make(one);
                }
                next.resynced = true;
            }
        }
        Some(next)
    }

    fn change(&mut self, level: Level) {
        let revoked = match (self.primary.now, level) {
            (Level::None, _) | (Level::Plain, Level::Option) => None,
            (_, Level::None) => Some(self.primary.now == Level::Option),
            (_, _) => Some(true),
        };
        self.primary.set(level);
        self.changed += 1;
        self.queue.push(Event { revoked });
        self.queue.sort();
    }

    fn read(&mut self, world: &World, at: usize, stale: Sides) -> Option<()> {
        let here = self.primary.read(stale.0);
        let seen = self.secondary.read(stale.1);
        let Handler::Working {
            suspect,
            whole,
            todo,
            read,
            rounds,
            revoked,
            ..
        } = self.handlers.get_mut(at)?
        else {
            return None;
        };
        let there = if *revoked { Level::None } else { seen };
        *read = here;
        match world.decide(here, there, *suspect, *whole) {
            None => self.refused = true,
            // What no event named needs the reading of all grants.
            Some((_, unproven)) if unproven && !*whole => *whole = true,
            Some((moves, _)) if moves.is_empty() => *self.handlers.get_mut(at)? = Handler::Idle,
            Some((moves, _)) => {
                *rounds += 1;
                if *rounds > ROUNDS {
                    return self.later(at);
                }
                *todo = Some(moves);
            }
        }
        Some(())
    }

    /// Leaves the rest to the queue, which waits for longer than a read stays stale.
    fn later(&mut self, at: usize) -> Option<()> {
        let handler = self.handlers.get_mut(at)?;
        if let Handler::Working { event, .. } = std::mem::replace(handler, Handler::Idle) {
            self.queue.push(event);
            self.queue.sort();
        }
        for side in [&mut self.primary, &mut self.secondary] {
            side.before = side.now;
        }
        Some(())
    }

    fn apply(&mut self, at: usize) -> Option<()> {
        let before = self.secondary.now;
        let Handler::Working {
            todo,
            read,
            suspect,
            whole,
            revoked,
            ..
        } = self.handlers.get_mut(at)?
        else {
            return None;
        };
        let left = todo.as_mut()?;
        let one = left.remove(0);
        if left.is_empty() {
            *todo = None;
            *whole = false;
        }
        let allowed = before.max(*read);
        match one {
            // What was granted here is a suspect from now on.
            Move::Grant(option) => {
                *suspect = Some(option);
                *revoked = false;
            }
            Move::Revoke => {
                *suspect = None;
                *revoked = true;
            }
        }
        self.make(one);
        self.widened |= self.secondary.now > allowed;
        Some(())
    }

    /// Makes a step in the secondary, as Lake Formation would.
    fn make(&mut self, one: Move) {
        let now = self.secondary.now;
        let level = match one {
            Move::Revoke => Level::None,
            Move::Grant(true) => Level::Option,
            Move::Grant(false) => now.max(Level::Plain),
        };
        if level != now {
            self.secondary.set(level);
        }
    }
}

/// What is read of both sides, what is suspected, and whether all grants were read.
type Asked = (Level, Level, Option<bool>, bool);
/// The steps, and whether some wait for a reading of all grants; none if refused.
type Decided = Option<(Vec<Move>, bool)>;

/// What the real plan is made from, but for the grants.
pub struct World {
    policy: Policy,
    table: Table,
    rows: Rows,
    atom: Atom,
    reader: Principal,
    ours: OwnRoles,
    decided: Mutex<BTreeMap<Asked, Decided>>,
}

impl World {
    pub fn new() -> Self {
        let text = "[first]\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
                    [second]\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n";
        let policy = Policy::parse(text).expect("the policy is valid");
        let name = |text: &str| Name::new(text).expect("the name is valid");
        let id = TableId::new(name("d"), name("t"));
        let table = table();
        let pairing = Pairing {
            primary_created: Some(Timestamp(1)),
            secondary_created: Some(Timestamp(1)),
            digest: digest(&table),
            link: false,
        };
        let mut rows = Rows::new();
        for subject in [Subject::Database(name("d")), Subject::Table(id.clone())] {
            let row = Row {
                pairing: Some(pairing.clone()),
                ..Row::new(subject.clone(), Standing::Current, Timestamp(1))
            };
            rows.insert(subject, row);
        }
        Self {
            policy,
            table,
            rows,
            atom: Atom {
                principal: Principal("arn:aws:iam::111122223333:role/Analyst".to_owned()),
                resource: Resource::Table(id),
                permission: Permission::Select,
                condition: None,
            },
            reader: Principal("arn:aws:iam::111122223333:role/twinlake".to_owned()),
            ours: OwnRoles::default(),
            decided: Mutex::default(),
        }
    }

    fn reading(&self, level: Level, whole: bool) -> Reading {
        let Resource::Table(id) = &self.atom.resource else {
            return Reading::default();
        };
        let subject = Subject::Table(id.clone());
        let seen = Seen {
            object: self.table.clone(),
            created: Some(Timestamp(1)),
            version: None,
        };
        let mut reading = Reading {
            administrator: true,
            settings: Some(Observation::Present(Settings::default())),
            ..Reading::default()
        };
        reading
            .tables
            .insert(id.clone(), Observation::Present(seen));
        let grants = Observation::Present(level.grants(&self.atom));
        reading.grants.insert(subject.clone(), grants);
        if whole {
            reading.grants_whole.insert(subject.clone());
            reading.grants_controlled.insert(subject);
        }
        reading
    }

    /// What the real plan and the real auditor say, asked once for each reading.
    fn decide(&self, here: Level, there: Level, suspect: Option<bool>, whole: bool) -> Decided {
        let asked = (here, there, suspect, whole);
        let mut decided = self.decided.lock().expect("no thread failed");
        decided
            .entry(asked)
            .or_insert_with(|| self.ask(asked))
            .clone()
    }

    fn ask(&self, (here, there, suspect, whole): Asked) -> Decided {
        let Resource::Table(id) = &self.atom.resource else {
            return None;
        };
        let mut scope = Scope::default();
        let look = Look::at(&[Facet::Definition, Facet::Grants]);
        scope.look(Subject::Table(id.clone()), look);
        scope.suspects = suspect
            .map(|option| BTreeMap::from([(self.atom.clone(), option)]))
            .unwrap_or_default();
        let (primary, secondary) = (self.reading(here, whole), self.reading(there, whole));
        let inputs = Inputs {
            scope: &scope,
            epoch: Epoch(0),
            policy: &self.policy,
            primary: &primary,
            secondary: &secondary,
            rows: &self.rows,
            ours: &self.ours,
            reader: &self.reader,
        };
        let plan = plan(&inputs);
        let unproven = plan.unproven > 0;
        let approved = audit(&inputs, plan, &BrakeReading::default()).ok()?;
        let moves = approved.steps().iter().filter_map(|step| match step {
            Step::Grant { grantable, .. } => Some(Move::Grant(*grantable)),
            Step::Revoke { .. } => Some(Move::Revoke),
            _ => None,
        });
        Some((moves.collect(), unproven))
    }
}

fn table() -> Table {
    serde_json::from_value(serde_json::json!({"Name": "t"})).expect("a table is JSON")
}
