//! The states of the model, the actions between them, and the inputs of the real plan and audit.

use std::collections::BTreeMap;
use std::sync::Mutex;
use twinlake_core::audit::{DeletionBudget, audit};
use twinlake_core::catalog::{Observed, digest};
use twinlake_core::grant::{Grants, OwnRoles, Permission, PermissionGrant, Principal, Resource};
use twinlake_core::ledger::{LedgerRows, Pairing};
use twinlake_core::plan::{HeldSteps, Inputs, plan};
use twinlake_core::scope::{Facet, ReadRequest};
use twinlake_core::snapshot::{Observation, ObservedSettings, Snapshot};
use twinlake_core::topology::{BySite, Epoch, Site};
use twinlake_core::{
    LedgerRow, Name, Policy, Scope, Step, Subject, SubjectState, Table, TableId, Timestamp,
};

/// What is granted: nothing, the permission, or the permission with the grant option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantLevel {
    None,
    Permission,
    GrantOption,
}

impl GrantLevel {
    fn grants(self, grant: &PermissionGrant) -> Grants {
        match self {
            Self::None => Grants::new(),
            Self::Permission => Grants::from([(grant.clone(), false)]),
            Self::GrantOption => Grants::from([(grant.clone(), true)]),
        }
    }
}

/// Whether a read of the primary, and one of the standby, is stale.
pub type StaleReads = (bool, bool);

/// The grant in one Region: the current level, and the level that a stale read returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegionState {
    pub current: GrantLevel,
    pub previous: GrantLevel,
}

impl RegionState {
    fn set(&mut self, level: GrantLevel) {
        *self = Self {
            current: level,
            previous: self.current,
        };
    }

    fn read(self, is_stale: bool) -> GrantLevel {
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
    /// `Some` if the event names a revoke, with whether it names the grant option.
    named_revoke: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Handler {
    Idle,
    Working {
        event: QueuedEvent,
        named_revoke: Option<bool>,
        /// The next read lists all grants.
        reads_all_grants: bool,
        /// The remaining steps of the plan; `None` if the next action is a read.
        remaining_steps: Option<Vec<GrantStep>>,
        /// What the handler last read in the primary.
        primary_read: GrantLevel,
        rounds: u8,
        /// A revoke was confirmed, so a listing that still shows the grant is ignored (LF-07).
        has_revoked: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum GrantStep {
    /// A grant, with or without the grant option.
    Grant(bool),
    Revoke,
}

/// An action of the model. The numbers are indexes of handlers and of queued events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelAction {
    /// The grant changes in the primary, which queues an event.
    ChangePrimary,
    /// A handler takes an event.
    TakeEvent(usize, usize),
    /// A handler reads both Regions and makes a plan.
    ReadRegions(usize, StaleReads),
    /// A handler applies the next step of its plan.
    ApplyStep(usize),
    /// A handler crashes, and its event is delivered again.
    CrashHandler(usize),
    /// An event is delivered twice.
    DuplicateEvent(usize),
    /// A resync reads both Regions without stale reads and applies its plan.
    Resync,
}

/// The maximum number of rounds of a handler, after which the event returns to the queue.
const MAX_ROUNDS: u8 = 6;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelState {
    pub primary: RegionState,
    pub standby: RegionState,
    /// The number of changes made in the primary.
    changes: usize,
    queue: Vec<QueuedEvent>,
    handlers: Vec<Handler>,
    /// The number of crashes and duplicates that may still happen.
    failures_left: u8,
    pub is_resynced: bool,
    /// A step allowed more than its handler last read in the primary and than was allowed before.
    pub has_widened: bool,
    /// The audit rejected a plan.
    pub has_rejection: bool,
}

impl ModelState {
    pub fn new(handlers: usize, failures: u8) -> Self {
        let none = RegionState {
            current: GrantLevel::None,
            previous: GrantLevel::None,
        };
        Self {
            primary: none,
            standby: none,
            changes: 0,
            queue: Vec::new(),
            handlers: vec![Handler::Idle; handlers],
            failures_left: failures,
            is_resynced: false,
            has_widened: false,
            has_rejection: false,
        }
    }

    /// Whether all changes were made and no event is queued or handled.
    pub fn is_quiet(&self, changes: usize) -> bool {
        let is_idle = self
            .handlers
            .iter()
            .all(|handler| *handler == Handler::Idle);
        is_idle && self.queue.is_empty() && self.changes == changes
    }

    /// Adds the possible actions. Reads of a Region are stale only if `may_be_stale` allows it.
    pub fn actions(
        &self,
        script: &[GrantLevel],
        may_be_stale: StaleReads,
        actions: &mut Vec<ModelAction>,
    ) {
        if self.is_resynced {
            return;
        }
        if self.changes < script.len() {
            actions.push(ModelAction::ChangePrimary);
        }
        if self.is_quiet(script.len()) {
            actions.push(ModelAction::Resync);
        }
        // Idle handlers are interchangeable: the first one takes the event.
        let idle = self
            .handlers
            .iter()
            .position(|handler| *handler == Handler::Idle);
        if let Some(index) = idle {
            let events = 0..self.queue.len();
            actions.extend(events.map(|event| ModelAction::TakeEvent(index, event)));
        }
        if self.failures_left > 0 {
            actions.extend((0..self.queue.len()).map(ModelAction::DuplicateEvent));
        }
        for (index, handler) in self.handlers.iter().enumerate() {
            let Handler::Working {
                remaining_steps, ..
            } = handler
            else {
                continue;
            };
            match remaining_steps {
                None => actions.extend(
                    self.reads(may_be_stale)
                        .map(|stale| ModelAction::ReadRegions(index, stale)),
                ),
                Some(_) => actions.push(ModelAction::ApplyStep(index)),
            }
            if self.failures_left > 0 {
                actions.push(ModelAction::CrashHandler(index));
            }
        }
    }

    fn reads(&self, may_be_stale: StaleReads) -> impl Iterator<Item = StaleReads> {
        let primary = may_be_stale.0 && self.primary.current != self.primary.previous;
        let standby = may_be_stale.1 && self.standby.current != self.standby.previous;
        [(false, false), (true, false), (false, true), (true, true)]
            .into_iter()
            .filter(move |stale| (primary || !stale.0) && (standby || !stale.1))
    }

    /// Returns the state after an action.
    pub fn next(
        &self,
        context: &PlanningContext,
        script: &[GrantLevel],
        action: ModelAction,
    ) -> Option<Self> {
        let mut next = self.clone();
        match action {
            ModelAction::ChangePrimary => next.change_primary(*script.get(self.changes)?),
            ModelAction::TakeEvent(index, event) => {
                let event = next.queue.remove(event);
                *next.handlers.get_mut(index)? = Handler::Working {
                    event,
                    named_revoke: event.named_revoke,
                    reads_all_grants: false,
                    remaining_steps: None,
                    primary_read: GrantLevel::None,
                    rounds: 0,
                    has_revoked: false,
                };
            }
            ModelAction::ReadRegions(index, stale) => next.read_regions(context, index, stale)?,
            ModelAction::ApplyStep(index) => next.apply_step(index)?,
            ModelAction::CrashHandler(index) => {
                if let Handler::Working { event, .. } = next.handlers.get(index)? {
                    next.queue.push(*event);
                    next.queue.sort();
                }
                *next.handlers.get_mut(index)? = Handler::Idle;
                next.failures_left -= 1;
            }
            ModelAction::DuplicateEvent(event) => {
                next.queue.push(*next.queue.get(event)?);
                next.queue.sort();
                next.failures_left -= 1;
            }
            ModelAction::Resync => {
                let (steps, _) =
                    context.decide(next.primary.current, next.standby.current, None, true)?;
                for step in steps {
                    next.apply_in_standby(step);
                }
                next.is_resynced = true;
            }
        }
        Some(next)
    }

    fn change_primary(&mut self, level: GrantLevel) {
        let named_revoke = match (self.primary.current, level) {
            (GrantLevel::None, _) | (GrantLevel::Permission, GrantLevel::GrantOption) => None,
            (_, GrantLevel::None) => Some(self.primary.current == GrantLevel::GrantOption),
            (_, _) => Some(true),
        };
        self.primary.set(level);
        self.changes += 1;
        self.queue.push(QueuedEvent { named_revoke });
        self.queue.sort();
    }

    fn read_regions(
        &mut self,
        context: &PlanningContext,
        index: usize,
        stale: StaleReads,
    ) -> Option<()> {
        let primary = self.primary.read(stale.0);
        let listed_in_standby = self.standby.read(stale.1);
        let Handler::Working {
            named_revoke,
            reads_all_grants,
            remaining_steps,
            primary_read,
            rounds,
            has_revoked,
            ..
        } = self.handlers.get_mut(index)?
        else {
            return None;
        };
        let standby = if *has_revoked {
            GrantLevel::None
        } else {
            listed_in_standby
        };
        *primary_read = primary;
        match context.decide(primary, standby, *named_revoke, *reads_all_grants) {
            None => self.has_rejection = true,
            // A revoke that no event named needs a read of all grants.
            Some((_, needs_full_grant_read)) if needs_full_grant_read && !*reads_all_grants => {
                *reads_all_grants = true;
            }
            Some((steps, _)) if steps.is_empty() => {
                *self.handlers.get_mut(index)? = Handler::Idle;
            }
            Some((steps, _)) => {
                *rounds += 1;
                if *rounds > MAX_ROUNDS {
                    return self.return_to_queue(index);
                }
                *remaining_steps = Some(steps);
            }
        }
        Some(())
    }

    /// Returns the event of a handler to the queue. The retry delay is longer than a read stays
    /// stale.
    fn return_to_queue(&mut self, index: usize) -> Option<()> {
        let handler = self.handlers.get_mut(index)?;
        if let Handler::Working { event, .. } = std::mem::replace(handler, Handler::Idle) {
            self.queue.push(event);
            self.queue.sort();
        }
        for region in [&mut self.primary, &mut self.standby] {
            region.previous = region.current;
        }
        Some(())
    }

    fn apply_step(&mut self, index: usize) -> Option<()> {
        let before = self.standby.current;
        let Handler::Working {
            remaining_steps,
            primary_read,
            named_revoke,
            reads_all_grants,
            has_revoked,
            ..
        } = self.handlers.get_mut(index)?
        else {
            return None;
        };
        let steps = remaining_steps.as_mut()?;
        let step = steps.remove(0);
        if steps.is_empty() {
            *remaining_steps = None;
            *reads_all_grants = false;
        }
        let allowed = before.max(*primary_read);
        match step {
            // From now on, a revoke of this grant counts as named.
            GrantStep::Grant(with_grant_option) => {
                *named_revoke = Some(with_grant_option);
                *has_revoked = false;
            }
            GrantStep::Revoke => {
                *named_revoke = None;
                *has_revoked = true;
            }
        }
        self.apply_in_standby(step);
        self.has_widened |= self.standby.current > allowed;
        Some(())
    }

    /// Applies a step in the standby, as Lake Formation would.
    fn apply_in_standby(&mut self, step: GrantStep) {
        let current = self.standby.current;
        let level = match step {
            GrantStep::Revoke => GrantLevel::None,
            GrantStep::Grant(true) => GrantLevel::GrantOption,
            GrantStep::Grant(false) => current.max(GrantLevel::Permission),
        };
        if level != current {
            self.standby.set(level);
        }
    }
}

/// The grant level read in the primary and in the standby, the revoke that an event named, and
/// whether all grants were read.
type Question = (GrantLevel, GrantLevel, Option<bool>, bool);
/// The steps, and whether a revoke needs a read of all grants; `None` if the audit rejected the
/// plan.
type Decision = Option<(Vec<GrantStep>, bool)>;

/// The inputs of the real plan and audit that do not change: everything but the grants.
pub struct PlanningContext {
    epoch: Epoch,
    policy: Policy,
    table: Table,
    rows: LedgerRows,
    grant: PermissionGrant,
    reader_role: Principal,
    own_roles: OwnRoles,
    decisions: Mutex<BTreeMap<Question, Decision>>,
}

impl PlanningContext {
    /// Creates the inputs for the primary of an epoch. The policy is the same for each.
    pub fn new(epoch: Epoch) -> Self {
        let text = "[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
                    [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n";
        let policy = Policy::parse(text).expect("the policy is valid");
        let name = |text: &str| Name::new(text).expect("the name is valid");
        let id = TableId::new(name("d"), name("t"));
        let table = table();
        let created = Some(Timestamp(1));
        let table_digest = Some(digest(&table));
        let pairing = Pairing {
            created: BySite {
                a: created,
                b: created,
            },
            digest: BySite {
                a: table_digest.clone(),
                b: table_digest,
            },
            link: false,
        };
        let mut rows = LedgerRows::new();
        for subject in [Subject::Database(name("d")), Subject::Table(id.clone())] {
            let row = LedgerRow {
                pairing: Some(pairing.clone()),
                ..LedgerRow::new(subject.clone(), SubjectState::InSync, Timestamp(1))
            };
            rows.insert(subject, row);
        }
        let role = |name: &str| {
            let primary = policy.sites.get(epoch.primary());
            let (partition, account) = (primary.partition(), &primary.account);
            Principal(format!("arn:{partition}:iam::{account}:role/{name}"))
        };
        Self {
            epoch,
            table,
            rows,
            grant: PermissionGrant {
                principal: role("Analyst"),
                resource: Resource::Table(id),
                permission: Permission::Select,
                condition: None,
            },
            reader_role: role("twinlake"),
            own_roles: OwnRoles::default(),
            decisions: Mutex::default(),
            policy,
        }
    }

    /// The site that is primary in the epoch, as the policy defines it.
    pub fn primary(&self) -> &Site {
        self.policy.sites.get(self.epoch.primary())
    }

    fn snapshot(&self, level: GrantLevel, has_all_grants: bool) -> Snapshot {
        let Resource::Table(id) = &self.grant.resource else {
            return Snapshot::default();
        };
        let subject = Subject::Table(id.clone());
        let observed = Observed {
            object: self.table.clone(),
            created: Some(Timestamp(1)),
            version: None,
        };
        let mut snapshot = Snapshot {
            is_administrator: true,
            settings: Some(Observation::Present(ObservedSettings::default())),
            ..Snapshot::default()
        };
        snapshot
            .tables
            .insert(id.clone(), Observation::Present(observed));
        let grants = Observation::Present(level.grants(&self.grant));
        snapshot.grants.insert(subject.clone(), grants);
        if has_all_grants {
            snapshot.full_grant_reads.insert(subject.clone());
            snapshot.nonempty_full_grant_reads.insert(subject);
        }
        snapshot
    }

    /// Returns the result of the real plan and audit, which run once for each set of reads.
    fn decide(
        &self,
        primary: GrantLevel,
        standby: GrantLevel,
        named_revoke: Option<bool>,
        reads_all_grants: bool,
    ) -> Decision {
        let question = (primary, standby, named_revoke, reads_all_grants);
        let mut decisions = self.decisions.lock().expect("no thread failed");
        decisions
            .entry(question)
            .or_insert_with(|| self.plan_and_audit(question))
            .clone()
    }

    fn plan_and_audit(
        &self,
        (primary, standby, named_revoke, reads_all_grants): Question,
    ) -> Decision {
        let Resource::Table(id) = &self.grant.resource else {
            return None;
        };
        let mut scope = Scope::default();
        let read_request = ReadRequest::for_facets(&[Facet::Definition, Facet::Grants]);
        scope.add(Subject::Table(id.clone()), read_request);
        scope.named_revokes = named_revoke
            .map(|with_grant_option| BTreeMap::from([(self.grant.clone(), with_grant_option)]))
            .unwrap_or_default();
        let primary = self.snapshot(primary, reads_all_grants);
        let standby = self.snapshot(standby, reads_all_grants);
        let inputs = Inputs {
            scope: &scope,
            epoch: self.epoch,
            policy: &self.policy,
            primary: &primary,
            standby: &standby,
            rows: &self.rows,
            own_roles: &self.own_roles,
            reader_role: &self.reader_role,
            held_steps: &HeldSteps::default(),
        };
        let plan = plan(&inputs);
        let needs_full_grant_read = plan.needs_full_grant_read > 0;
        let approved = audit(&inputs, plan, &DeletionBudget::default()).ok()?;
        let steps = approved.steps().iter().filter_map(|step| match step {
            Step::Grant { grantable, .. } => Some(GrantStep::Grant(*grantable)),
            Step::Revoke { .. } => Some(GrantStep::Revoke),
            _ => None,
        });
        Some((steps.collect(), needs_full_grant_read))
    }
}

fn table() -> Table {
    serde_json::from_value(serde_json::json!({"Name": "t"})).expect("a table is JSON")
}
