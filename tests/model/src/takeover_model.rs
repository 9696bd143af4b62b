//! The model of two Regions that change over: a partition, functions in flight in both Regions, a failover or a
//! switchover in either, the return of the former primary, the acceptance of what it has, and the way back.
//!
//! Decisions are the real ones: [`decide`], [`after_step`], [`undo`], [`region_role`], and the constants of the fence.
//! Reading and writing a ledger, sending a request, and its effect are separate actions. A command may end between
//! any two of them, and another one may begin. A function plans what it read in the primary; its request takes effect
//! at any moment of its life, or never.
//!
//! Written again here, since the engine's are asynchronous: the lease (`write_fence`), the steps of a switch
//! (`failover::run`), and the acceptance (`divergence::accept`).
//!
//! Assumptions: a put of a ledger is atomic and conditional; a request takes effect within the longest attempt, without
//! the margin; people change nothing in a former primary between the comparison of an acceptance and its last write,
//! which nothing in Glue or Lake Formation could prevent.

mod commands;

use crate::calls::Mutant;
use stateright::{Model, Property};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use twinlake_core::Timestamp;
use twinlake_core::failover::{EpochRecord, FailoverStage, SwitchOperation, undo};
use twinlake_core::topology::{
    Epoch, FENCE_WAIT_SECS, LONGEST_ATTEMPT_SECS, RegionRole, SiteId, WRITE_LEASE_SECS, region_role,
};

/// The seconds of one tick of the model's clock.
const TICK_SECS: u64 = WRITE_LEASE_SECS;
const LEASE: u8 = (WRITE_LEASE_SECS / TICK_SECS) as u8;
const ATTEMPT: u8 = (LONGEST_ATTEMPT_SECS / TICK_SECS) as u8;
const WAIT: u8 = (FENCE_WAIT_SECS / TICK_SECS) as u8;
/// All times are whole ticks.
const _: () = assert!(LONGEST_ATTEMPT_SECS % TICK_SECS == 0 && FENCE_WAIT_SECS % TICK_SECS == 0);

/// What the catalog of a Region allows.
type Level = u8;
const LEVELS: Level = 2;

/// The record of a ledger. Its hash is of what a model changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Record(EpochRecord);

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let record = &self.0;
        record.epoch.hash(state);
        record
            .accepted
            .as_ref()
            .map(|accepted| accepted.epoch)
            .hash(state);
        let journal = record.failover.as_ref();
        journal
            .map(|journal| (journal.stage as u8, journal.operation as u8, journal.to))
            .hash(state);
    }
}

/// One Region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Region {
    record: Record,
    version: u8,
    level: Level,
    /// It holds changes of people that the primary lacks, and that nobody has accepted to lose.
    has_unaccepted: bool,
}

/// A function in one Region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Function {
    Idle,
    /// It has read the epoch of its own ledger.
    ReadsPeer {
        site: SiteId,
        local: Epoch,
        age: u8,
    },
    /// It is the standby's, and has read the primary.
    Planned {
        site: SiteId,
        epoch: Epoch,
        level: Level,
        age: u8,
    },
}

/// A request that may still take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    site: SiteId,
    epoch: Epoch,
    level: Level,
    life: u8,
}

/// A command that somebody runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Command {
    /// A switch to a site, with the record that it works on and its version.
    Switch {
        site: SiteId,
        record: Record,
        version: u8,
        is_stored: bool,
        waited: u8,
    },
    /// An acceptance: the primary, the epoch of its ledger, and the version of the former primary's record.
    Accept {
        primary: SiteId,
        epoch: Epoch,
        former_version: u8,
        is_noted: bool,
    },
}

/// The state of both Regions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    regions: [Region; 2],
    is_partitioned: bool,
    functions: Vec<Function>,
    requests: Vec<Request>,
    commands: Vec<Command>,
    changes_left: u8,
    partitions_left: u8,
    commands_left: u8,
    /// The sites in which requests of an epoch took effect, by its number.
    applied: BTreeMap<u64, BTreeSet<SiteId>>,
    violations: BTreeSet<&'static str>,
}

/// An action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Tick,
    PartitionBegins,
    PartitionEnds,
    PersonChanges(SiteId, Level),
    FunctionReadsEpoch(usize, SiteId),
    /// It reads the peer's epoch if it can, and the primary.
    FunctionPlans(usize, bool),
    /// It reads the role again, the peer's epoch if it can.
    FunctionRenews(usize, bool),
    FunctionSends(usize),
    TakesEffect(Request),
    GetsLost(Request),
    BeginsSwitch(SiteId, SwitchOperation),
    BeginsAcceptance(SiteId),
    Undoes(SiteId),
    CommandGoesOn(usize),
    CommandDies(usize),
}

const LATE: &str = "nothing takes effect after the writers have stopped";
const TWO_REGIONS: &str = "one Region at most is written to in an epoch";
const UNACCEPTED: &str = "nothing is overwritten that nobody has accepted to lose";
const EPOCH_BACK: &str = "no epoch goes back";
const DISPUTED: &str = "an epoch has one primary";

/// How much happens.
#[derive(Clone, Copy, Debug)]
pub struct TakeoverBounds {
    pub functions: usize,
    pub changes: u8,
    pub partitions: u8,
    pub commands: u8,
}

/// The model.
pub struct TakeoverModel {
    epoch: Epoch,
    bounds: TakeoverBounds,
    mutant: Option<Mutant>,
    has_come_back: AtomicBool,
}

fn index(site: SiteId) -> usize {
    match site {
        SiteId::A => 0,
        SiteId::B => 1,
    }
}

impl TakeoverModel {
    pub fn new(epoch: Epoch, bounds: TakeoverBounds, mutant: Option<Mutant>) -> Self {
        Self {
            epoch,
            bounds,
            mutant,
            has_come_back: AtomicBool::new(false),
        }
    }

    /// Whether a state was reached in which the first primary is the primary again and the other one follows it.
    pub fn has_come_back(&self) -> bool {
        self.has_come_back.load(Ordering::Relaxed)
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn note_return(&self, state: &State) {
        let [a, b] = &state.regions;
        let (a, b) = (a.record.0.epoch, b.record.0.epoch);
        if a == b && a.number() > self.epoch.number() + 1 && a.primary() == self.epoch.primary() {
            self.has_come_back.store(true, Ordering::Relaxed);
        }
    }
}

impl State {
    fn region(&self, site: SiteId) -> &Region {
        &self.regions[index(site)]
    }

    fn region_mut(&mut self, site: SiteId) -> &mut Region {
        &mut self.regions[index(site)]
    }

    fn epoch(&self, site: SiteId) -> Epoch {
        self.region(site).record.0.epoch
    }

    /// Writes a record if the stored one still has a version.
    fn put(&mut self, site: SiteId, record: EpochRecord, version: u8) -> bool {
        let stored = self.epoch(site);
        let region = self.region_mut(site);
        if region.version != version {
            return false;
        }
        let is_switch = record.epoch != stored && record.epoch.primary() == site;
        region.record = Record(record);
        region.version += 1;
        let epoch = self.epoch(site);
        if epoch.is_before(stored) {
            self.violations.insert(EPOCH_BACK);
        }
        let other = self.epoch(site.other());
        if other.number() == epoch.number() && other.primary() != epoch.primary() {
            self.violations.insert(DISPUTED);
        }
        if is_switch {
            // What the former primary has and this Region lacks is for a person to decide.
            let differs = self.region(site).level != self.region(site.other()).level;
            let former = self.region_mut(site.other());
            former.has_unaccepted |= differs;
            self.region_mut(site).has_unaccepted = false;
        }
        true
    }

    /// The epoch of the peer, if it can be read.
    fn peer_epoch(&self, site: SiteId, is_read: bool) -> Option<Epoch> {
        (is_read && !self.is_partitioned).then(|| self.epoch(site.other()))
    }

    fn change(&mut self, site: SiteId, level: Level) {
        self.changes_left -= 1;
        let is_former = self.epoch(site).is_before(self.epoch(site.other()));
        let region = self.region_mut(site);
        region.level = level;
        region.has_unaccepted |= is_former;
    }

    fn take_effect(&mut self, request: Request) {
        self.requests.retain(|other| *other != request);
        let record = &self.region(request.site).record.0;
        let has_stopped = record
            .failover
            .as_ref()
            .is_some_and(|journal| match journal.stage {
                FailoverStage::WritersStopped
                | FailoverStage::DefaultsRestored
                | FailoverStage::Completed => true,
                FailoverStage::Started
                | FailoverStage::GrantsFrozen
                | FailoverStage::Verified
                | FailoverStage::EpochWritten
                | FailoverStage::Undone => false,
            });
        let is_primary = record.epoch.primary() == request.site;
        if has_stopped && is_primary && request.epoch.is_before(record.epoch) {
            self.violations.insert(LATE);
        }
        if self.region(request.site).has_unaccepted {
            self.violations.insert(UNACCEPTED);
        }
        let sites = self.applied.entry(request.epoch.number()).or_default();
        sites.insert(request.site);
        if sites.len() > 1 {
            self.violations.insert(TWO_REGIONS);
        }
        self.region_mut(request.site).level = request.level;
    }

    /// Gives states that differ only in which function or request comes first the same form.
    fn normalize(&mut self) {
        self.functions.sort_by_key(|function| match *function {
            Function::Idle => (0, SiteId::A, 0, 0, 0),
            Function::ReadsPeer { site, local, age } => (1, site, local.number(), age, 0),
            Function::Planned {
                site,
                epoch,
                level,
                age,
            } => (2, site, epoch.number(), age, level),
        });
        let order = |request: &Request| {
            (
                request.site,
                request.epoch.number(),
                request.level,
                request.life,
            )
        };
        self.requests.sort_by_key(order);
        self.requests.dedup();
    }

    fn tick(&mut self) {
        for function in &mut self.functions {
            match function {
                Function::Idle => {}
                Function::ReadsPeer { age, .. } | Function::Planned { age, .. } => {
                    *age = LEASE.min(*age + 1)
                }
            }
        }
        let requests = std::mem::take(&mut self.requests).into_iter();
        let alive = requests.filter(|request| request.life > 0);
        self.requests = alive
            .map(|request| Request {
                life: request.life - 1,
                ..request
            })
            .collect();
        for command in &mut self.commands {
            if let Command::Switch { waited, .. } = command {
                *waited = WAIT.min(*waited + 1);
            }
        }
    }
}

impl TakeoverModel {
    fn plan(&self, state: &mut State, function: usize, sees_peer: bool) -> Option<()> {
        let Function::ReadsPeer { site, local, age } = state.functions[function] else {
            return None;
        };
        let peer = state.peer_epoch(site, sees_peer);
        let age = match self.is(Mutant::CountsLeaseFromTheEnd) {
            true => 0,
            false => age,
        };
        // Whoever cannot read the primary plans nothing.
        state.functions[function] = match region_role(site, local, peer) {
            RegionRole::Standby if !state.is_partitioned => Function::Planned {
                site,
                epoch: peer.map_or(local, |peer| local.latest(peer)),
                level: state.region(site.other()).level,
                age,
            },
            RegionRole::Standby | RegionRole::Primary | RegionRole::Fenced => Function::Idle,
        };
        Some(())
    }

    fn renew(state: &mut State, function: usize, sees_peer: bool) -> Option<()> {
        let Function::Planned {
            site, epoch, level, ..
        } = state.functions[function]
        else {
            return None;
        };
        let local = state.epoch(site);
        let peer = state.peer_epoch(site, sees_peer);
        let found = peer.map_or(local, |peer| local.latest(peer));
        let is_equal = found == epoch && region_role(site, local, peer) == RegionRole::Standby;
        state.functions[function] = match is_equal {
            true => Function::Planned {
                site,
                epoch,
                level,
                age: 0,
            },
            false => Function::Idle,
        };
        Some(())
    }

    fn send(&self, state: &mut State, function: usize) -> Option<()> {
        let Function::Planned {
            site,
            epoch,
            level,
            age,
        } = state.functions[function]
        else {
            return None;
        };
        if age >= LEASE && !self.is(Mutant::SendsWithoutLease) {
            return None;
        }
        // As many requests are under way as there are functions.
        if state.requests.len() >= state.functions.len() {
            return None;
        }
        state.requests.push(Request {
            site,
            epoch,
            level,
            life: ATTEMPT,
        });
        Some(())
    }

    /// Whether people may change a Region: not while what it has is compared and accepted.
    fn may_change(state: &State, site: SiteId) -> bool {
        !state.commands.iter().any(|command| match command {
            Command::Accept { primary, .. } => primary.other() == site,
            Command::Switch { .. } => false,
        })
    }
}

impl Model for TakeoverModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let region = Region {
            record: Record(EpochRecord {
                epoch: self.epoch,
                ..EpochRecord::default()
            }),
            ..Region::default()
        };
        vec![State {
            regions: [region.clone(), region],
            is_partitioned: false,
            functions: vec![Function::Idle; self.bounds.functions],
            requests: Vec::new(),
            commands: Vec::new(),
            changes_left: self.bounds.changes,
            partitions_left: self.bounds.partitions,
            commands_left: self.bounds.commands,
            applied: BTreeMap::new(),
            violations: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // Time passes only where something measures it.
        let is_measured = !state.requests.is_empty()
            || !state.commands.is_empty()
            || state
                .functions
                .iter()
                .any(|function| *function != Function::Idle);
        actions.extend(is_measured.then_some(Action::Tick));
        match state.is_partitioned {
            true => actions.push(Action::PartitionEnds),
            false => actions.extend((state.partitions_left > 0).then_some(Action::PartitionBegins)),
        }
        for site in SiteId::ALL {
            if state.changes_left > 0 && Self::may_change(state, site) {
                let level = (state.region(site).level + 1) % LEVELS;
                actions.push(Action::PersonChanges(site, level));
            }
            if state.commands_left > 0 {
                actions.push(Action::BeginsSwitch(site, SwitchOperation::Failover));
                actions.push(Action::BeginsSwitch(site, SwitchOperation::Switchover));
                actions.push(Action::BeginsAcceptance(site));
                actions.push(Action::Undoes(site));
            }
        }
        for (at, function) in state.functions.iter().enumerate() {
            match function {
                Function::Idle => {
                    actions.extend(SiteId::ALL.map(|site| Action::FunctionReadsEpoch(at, site)));
                }
                Function::ReadsPeer { .. } => {
                    actions.extend([true, false].map(|sees| Action::FunctionPlans(at, sees)));
                }
                Function::Planned { .. } => {
                    actions.push(Action::FunctionSends(at));
                    actions.extend([true, false].map(|sees| Action::FunctionRenews(at, sees)));
                }
            }
        }
        for request in &state.requests {
            actions.extend([Action::TakesEffect(*request), Action::GetsLost(*request)]);
        }
        for at in 0..state.commands.len() {
            actions.extend([Action::CommandGoesOn(at), Action::CommandDies(at)]);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => state.tick(),
            Action::PartitionBegins => {
                state.is_partitioned = true;
                state.partitions_left -= 1;
            }
            Action::PartitionEnds => state.is_partitioned = false,
            Action::PersonChanges(site, level) => state.change(site, level),
            Action::FunctionReadsEpoch(at, site) => {
                let local = state.epoch(site);
                state.functions[at] = Function::ReadsPeer {
                    site,
                    local,
                    age: 0,
                };
            }
            Action::FunctionPlans(at, sees_peer) => self.plan(&mut state, at, sees_peer)?,
            Action::FunctionRenews(at, sees_peer) => Self::renew(&mut state, at, sees_peer)?,
            Action::FunctionSends(at) => self.send(&mut state, at)?,
            Action::TakesEffect(request) => state.take_effect(request),
            Action::GetsLost(request) => state.requests.retain(|other| *other != request),
            Action::BeginsSwitch(site, operation) => {
                Self::begin_switch(&mut state, site, operation)?
            }
            Action::BeginsAcceptance(site) => Self::begin_acceptance(&mut state, site)?,
            Action::Undoes(site) => {
                let region = state.region(site);
                let (record, version) = (&region.record.0, region.version);
                let journal = record.failover.as_ref();
                let operation = journal.map(|journal| journal.operation).unwrap_or_default();
                let record = undo(record, operation, Timestamp::default()).ok()?;
                state.commands_left -= 1;
                state.put(site, record, version);
            }
            Action::CommandGoesOn(at) => self.command_goes_on(&mut state, at)?,
            Action::CommandDies(at) => drop(state.commands.remove(at)),
        }
        state.normalize();
        self.note_return(&state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(LATE, |_, state: &State| !state.violations.contains(LATE)),
            Property::always(TWO_REGIONS, |_, state: &State| {
                !state.violations.contains(TWO_REGIONS)
            }),
            Property::always(UNACCEPTED, |_, state: &State| {
                !state.violations.contains(UNACCEPTED)
            }),
            Property::always(EPOCH_BACK, |_, state: &State| {
                !state.violations.contains(EPOCH_BACK)
            }),
            Property::always(DISPUTED, |_, state: &State| {
                !state.violations.contains(DISPUTED)
            }),
        ]
    }
}
