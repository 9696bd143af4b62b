//! Two Regions, one ledger, and Twinlake between them.

use serde_json::Value;
use twinlake_core::event::Listener;
use twinlake_core::grant::Terms;
use twinlake_core::ledger::Epoch;
use twinlake_core::{OwnRoles, Policy, Principal, Scope};
use twinlake_engine::batch::{Answer, Received};
use twinlake_engine::observe::Prefetched;
use twinlake_engine::resync::Report;
use twinlake_engine::{Alerts, Clock, Context, MemoryLedger, Message, Outbox, Outcome, batch};
use twinlake_sim::{Sim, SimRegion, World, run_until_killed};

/// The primary.
pub const PRIMARY: &str = "us-east-1";
/// The secondary.
pub const SECONDARY: &str = "ap-south-1";
/// A Region that is not Twinlake's business.
pub const ELSEWHERE: &str = "eu-west-1";
/// The account of both.
pub const ACCOUNT: &str = "111122223333";
/// Twinlake's role.
pub const ROLE: &str = "arn:aws:iam::111122223333:role/twinlake";
/// A person who administers both lakes.
pub const ADMIN: &str = "arn:aws:iam::111122223333:role/Admin";

const SIDES: &str = r#"
[first]
region = "us-east-1"
account = "111122223333"
[second]
region = "ap-south-1"
account = "111122223333"
[[location]]
first = "s3://lake-us"
second = "s3://lake-in/replica"
"#;

/// A policy with some keys of its own.
///
/// # Panics
/// The policy is not valid.
#[must_use]
pub fn policy(keys: &str) -> Policy {
    Policy::parse(&format!("{keys}\n{SIDES}")).expect("the laboratory's policy is valid")
}

/// Two Regions with Twinlake between them.
#[derive(Debug)]
pub struct Lab {
    /// The Regions.
    pub sim: Sim,
    /// The secondary's ledger.
    pub ledger: MemoryLedger,
    /// The policy.
    pub policy: Policy,
    primary: SimRegion,
    secondary: SimRegion,
    reader: Principal,
    ours: OwnRoles,
    /// What was published.
    pub topic: Collected,
    /// What was sent to wait.
    pub queue: Queue,
}

/// A topic that keeps what it is told.
#[derive(Debug, Default)]
pub struct Collected(std::sync::Mutex<Vec<twinlake_core::Alert>>);

impl Collected {
    /// Takes the alerts out.
    pub fn take(&self) -> Vec<twinlake_core::Alert> {
        std::mem::take(&mut self.0.lock().expect("no test panics while it publishes"))
    }
}

impl Alerts for Collected {
    async fn publish(&self, alert: &twinlake_core::Alert) -> Result<(), twinlake_core::Fault> {
        let mut all = self.0.lock().expect("no test panics while it publishes");
        all.push(alert.clone());
        Ok(())
    }
}

/// A queue that keeps what it is sent.
#[derive(Debug, Default)]
pub struct Queue(std::sync::Mutex<Vec<Message>>);

impl Queue {
    /// Takes the messages out.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.0.lock().expect("no test panics while it sends"))
    }
}

impl Outbox for Queue {
    async fn send(&self, message: &Message, _: u16) -> Result<(), twinlake_core::Fault> {
        let mut all = self.0.lock().expect("no test panics while it sends");
        all.push(message.clone());
        Ok(())
    }
}

impl Lab {
    /// An empty laboratory under a policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let mut world = World::new(ACCOUNT, &[PRIMARY, SECONDARY, ELSEWHERE]);
        for region in [PRIMARY, SECONDARY] {
            world.add_administrator(region, ROLE);
            world.add_administrator(region, ADMIN);
        }
        world.set_reader(PRIMARY, Some(ROLE));
        let sim = Sim::new(world);
        Self {
            primary: sim.region(PRIMARY, ROLE),
            secondary: sim.region(SECONDARY, ROLE),
            sim,
            ledger: MemoryLedger::default(),
            policy,
            reader: Principal(ROLE.to_owned()),
            ours: OwnRoles::new([ROLE.to_owned()]),
            topic: Collected::default(),
            queue: Queue::default(),
        }
    }

    /// What a reconciliation works with.
    #[must_use]
    pub fn context(&self) -> Context<'_, SimRegion, SimRegion, MemoryLedger, Sim> {
        Context {
            primary: &self.primary,
            secondary: &self.secondary,
            ledger: &self.ledger,
            clock: &self.sim,
            policy: &self.policy,
            epoch: Epoch(0),
            reader: &self.reader,
            ours: &self.ours,
            parallel: 4,
            brake_released: false,
            writes_settings: true,
            stop_at: None,
        }
    }

    /// What Twinlake listens to.
    #[must_use]
    pub fn listener(&self) -> Listener {
        Listener {
            region: PRIMARY.to_owned(),
            account: ACCOUNT.to_owned(),
            ours: self.ours.clone(),
            terms: Terms::of_primary(&self.policy, Epoch(0)),
            now: self.sim.now(),
        }
    }

    /// Makes a call as a person.
    ///
    /// # Errors
    /// The service's answer.
    pub fn call(
        &self,
        region: &str,
        name: &str,
        request: &Value,
    ) -> Result<Value, twinlake_sim::ApiError> {
        self.sim.world().call(region, ADMIN, name, request)
    }

    /// Reconciles a scope; `None` if the handler was killed.
    ///
    /// # Panics
    /// The ledger, which is in memory, was out of reach.
    pub fn reconcile(&self, scope: &Scope) -> Option<Outcome> {
        let context = self.context();
        let fresh = Prefetched::default();
        let outcome = run_until_killed(
            &self.sim,
            twinlake_engine::reconcile(&context, scope, &fresh),
        )?;
        Some(outcome.expect("a ledger in memory is in reach"))
    }

    /// Looks at everything; `None` if it was killed.
    ///
    /// # Panics
    /// The ledger, which is in memory, was out of reach.
    pub fn resync(&self) -> Option<Report> {
        let context = self.context();
        let whole = twinlake_engine::resync::resync(&context, None, None::<&Queue>, &());
        let report = run_until_killed(&self.sim, whole)?;
        Some(report.expect("a ledger in memory is in reach"))
    }

    /// Hands a batch of message bodies to the handler; `None` if it was killed.
    pub fn deliver(&self, bodies: &[Vec<u8>]) -> Option<Answer> {
        let received: Vec<Received> = bodies
            .iter()
            .enumerate()
            .map(|(at, body)| Received {
                id: at.to_string(),
                body: body.clone(),
            })
            .collect();
        let context = self.context();
        let late = self.sim.now().plus_secs(1_000_000);
        let listener = self.listener();
        let ports = (&self.queue, &self.topic);
        let run = batch::run(&context, ports, &listener, &received, late);
        run_until_killed(&self.sim, run)
    }

    /// The primary's events since they were last taken, as message bodies.
    #[must_use]
    pub fn take_events(&self) -> Vec<Vec<u8>> {
        let events = self.sim.world().take_events();
        events
            .into_iter()
            .filter(|emitted| emitted.region == PRIMARY)
            .map(|emitted| emitted.event.to_string().into_bytes())
            .collect()
    }

    /// The calls since they were last taken: reads, then writes.
    #[must_use]
    pub fn take_calls(&self) -> (usize, usize) {
        let calls = self.sim.world().take_calls();
        let is_read = |name: &str| name.starts_with("Get") || name.starts_with("List");
        let reads = calls.iter().filter(|call| is_read(&call.name)).count();
        (reads, calls.len() - reads)
    }
}
