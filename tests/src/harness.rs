//! A harness of two simulated Regions and one ledger, in which tests run Twinlake.

use serde_json::Value;
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::event::EventContext;
use twinlake_core::grant::GrantMapping;
use twinlake_core::topology::{Epoch, SiteId};
use twinlake_core::{OwnRoles, Policy, Principal, Scope};
use twinlake_engine::alerts::{self, CheckedSubjects};
use twinlake_engine::event_batch::{BatchResult, QueueMessage};
use twinlake_engine::observe::Prefetched;
use twinlake_engine::resync::{ResyncDepth, ResyncReport};
use twinlake_engine::{
    AlertTopic, Clock, Context, Environment, InMemoryLedger, ReconcileOutcome, RetryMessage,
    RetryQueue, WriteRegion, event_batch,
};
use twinlake_sim::{Sim, SimEnvironment, SimRegion, SimState, SimTableFiles, run_until_killed};

/// The Region of the primary.
pub const PRIMARY: &str = "us-east-1";
/// The Region of the standby.
pub const STANDBY: &str = "ap-south-1";
/// A Region that the policy does not name.
pub const UNRELATED_REGION: &str = "eu-west-1";
/// The account of all Regions.
pub const ACCOUNT: &str = "111122223333";
/// The IAM role of Twinlake.
pub const TWINLAKE_ROLE: &str = "arn:aws:iam::111122223333:role/twinlake";
/// The IAM role of a data lake administrator of both Regions.
pub const ADMIN_ROLE: &str = "arn:aws:iam::111122223333:role/Admin";

/// Returns the site that is primary: `TWINLAKE_PRIMARY_SITE`, `a` or `b`; `a` if it is not set.
///
/// The Region of the primary is [`PRIMARY`] in both cases: with site `b` as primary, the policy
/// assigns the Regions to the other sites. Only the use of the epoch can differ, so every test
/// must have the same result.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the only setting of the tests that is read from the environment"
)]
pub fn leader() -> SiteId {
    match std::env::var("TWINLAKE_PRIMARY_SITE").as_deref() {
        Ok("b") => SiteId::B,
        Ok(_) | Err(_) => SiteId::A,
    }
}

/// Returns the epoch in which a site is primary.
#[must_use]
pub fn epoch_led_by(leader: SiteId) -> Epoch {
    match leader {
        SiteId::A => Epoch::INITIAL,
        SiteId::B => Epoch::new(1, leader),
    }
}

/// Returns a policy with the given keys, in which [`PRIMARY`] is the Region of the [`leader`].
///
/// # Panics
/// The policy is not valid.
#[must_use]
pub fn policy(keys: &str) -> Policy {
    policy_led_by(keys, leader())
}

/// Returns a policy with the given keys, in which [`PRIMARY`] is the Region of a leader.
///
/// # Panics
/// The policy is not valid.
#[must_use]
pub fn policy_led_by(keys: &str, leader: SiteId) -> Policy {
    let (primary, standby) = (leader, leader.other());
    let text = format!(
        r#"{keys}
[[region]]
id = "{primary}"
region = "{PRIMARY}"
account = "{ACCOUNT}"
[[region]]
id = "{standby}"
region = "{STANDBY}"
account = "{ACCOUNT}"
[[location]]
{primary} = "s3://lake-us"
{standby} = "s3://lake-in/replica"
copied-by = "other"
"#
    );
    Policy::parse(&text).expect("the policy of the harness is valid")
}

/// Two simulated Regions, a ledger, a policy, and what Twinlake published and queued.
#[derive(Debug)]
pub struct TestHarness {
    /// The simulated Regions.
    pub sim: Sim,
    /// The ledger of the standby.
    pub ledger: InMemoryLedger,
    /// The policy.
    pub policy: Policy,
    primary: SimRegion,
    standby: SimRegion,
    reader_role: Principal,
    own_roles: OwnRoles,
    /// The files of tables of both Regions.
    pub table_files: SimTableFiles,
    /// How much resyncs read; everything by default.
    pub resync_depth: ResyncDepth,
    /// The published alerts.
    pub topic: CollectedAlerts,
    /// The messages queued for a retry.
    pub queue: TestQueue,
}

/// Collects published alerts.
#[derive(Debug, Default)]
pub struct CollectedAlerts(std::sync::Mutex<Vec<twinlake_core::Alert>>);

impl CollectedAlerts {
    /// Returns the alerts and removes them.
    pub fn take(&self) -> Vec<twinlake_core::Alert> {
        std::mem::take(&mut self.0.lock().expect("no test panics while it publishes"))
    }
}

impl AlertTopic for CollectedAlerts {
    async fn publish(&self, alert: &twinlake_core::Alert) -> Result<(), twinlake_core::CallError> {
        let mut alerts = self.0.lock().expect("no test panics while it publishes");
        alerts.push(alert.clone());
        Ok(())
    }
}

/// A queue that collects messages.
#[derive(Debug, Default)]
pub struct TestQueue(std::sync::Mutex<Vec<(RetryMessage, u16)>>);

impl TestQueue {
    /// Returns the messages and removes them.
    pub fn take(&self) -> Vec<RetryMessage> {
        let messages = self.take_with_delays().into_iter();
        messages.map(|(message, _)| message).collect()
    }

    /// Returns the messages with their delays in seconds, and removes them.
    pub fn take_with_delays(&self) -> Vec<(RetryMessage, u16)> {
        std::mem::take(&mut self.0.lock().expect("no test panics while it sends"))
    }
}

impl RetryQueue for TestQueue {
    async fn send(
        &self,
        message: &RetryMessage,
        delay: u16,
    ) -> Result<(), twinlake_core::CallError> {
        let mut messages = self.0.lock().expect("no test panics while it sends");
        messages.push((message.clone(), delay));
        Ok(())
    }
}

impl TestHarness {
    /// Sets the roles of Twinlake that write to the standby.
    #[must_use]
    pub fn with_writers(self, writers: &[&str]) -> Self {
        let writers = writers.iter().map(|&writer| writer.to_owned());
        Self {
            own_roles: self.own_roles.with_writers(writers),
            ..self
        }
    }

    /// Returns a harness with empty Regions.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let mut state = SimState::new(ACCOUNT, &[PRIMARY, STANDBY, UNRELATED_REGION]);
        for region in [PRIMARY, STANDBY] {
            state.add_data_lake_admin(region, TWINLAKE_ROLE);
            state.add_data_lake_admin(region, ADMIN_ROLE);
        }
        state.set_reader_role(PRIMARY, Some(TWINLAKE_ROLE));
        let sim = Sim::new(state);
        Self {
            primary: sim.region(PRIMARY, TWINLAKE_ROLE),
            standby: sim.region(STANDBY, TWINLAKE_ROLE),
            sim,
            ledger: InMemoryLedger::default(),
            policy,
            reader_role: Principal(TWINLAKE_ROLE.to_owned()),
            own_roles: OwnRoles::new([TWINLAKE_ROLE.to_owned()]),
            table_files: SimTableFiles::default(),
            resync_depth: ResyncDepth::Full,
            topic: CollectedAlerts::default(),
            queue: TestQueue::default(),
        }
    }

    /// Returns the epoch in which [`PRIMARY`] is the Region of the primary.
    ///
    /// # Panics
    /// The policy does not name [`PRIMARY`].
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        epoch_led_by(
            self.policy
                .sites
                .find(PRIMARY)
                .expect("the policy names it"),
        )
    }

    /// Returns the context of a reconciliation.
    #[must_use]
    pub fn context(&self) -> Context<'_, SimEnvironment> {
        self.context_with_standby(&self.standby)
    }

    /// Returns the context of a reconciliation that reads and writes the standby by another client.
    #[must_use]
    pub fn context_with_standby<'a, E>(&'a self, standby: &'a E::Standby) -> Context<'a, E>
    where
        E: Environment<Primary = SimRegion, Ledger = InMemoryLedger, Clock = Sim>,
    {
        Context {
            primary: &self.primary,
            standby,
            ledger: &self.ledger,
            clock: &self.sim,
            policy: &self.policy,
            epoch: self.epoch(),
            reader_role: &self.reader_role,
            own_roles: &self.own_roles,
            max_concurrent_calls: 4,
            approved_deletions: &ApprovedDeletions::None,
            may_write_settings: true,
            stop_at: None,
            scan_window: None,
            lf_tag_lease: None,
            progress: &(),
        }
    }

    /// Returns the context in which events are parsed.
    #[must_use]
    pub fn event_context(&self) -> EventContext {
        EventContext {
            region: PRIMARY.to_owned(),
            account: ACCOUNT.to_owned(),
            own_roles: self.own_roles.clone(),
            grant_mapping: GrantMapping::of_primary(&self.policy, self.epoch()),
            now: self.sim.now(),
        }
    }

    /// Calls an API operation as [`ADMIN_ROLE`].
    ///
    /// # Errors
    /// The service's error response.
    pub fn call(
        &self,
        region: &str,
        name: &str,
        request: &Value,
    ) -> Result<Value, twinlake_sim::ApiError> {
        self.sim.state().call(region, ADMIN_ROLE, name, request)
    }

    /// Reconciles a scope. Returns `None` if the kill switch stopped the run.
    ///
    /// # Panics
    /// The ledger, which is in memory, returns an error.
    pub fn reconcile(&self, scope: &Scope) -> Option<ReconcileOutcome> {
        let context = self.context();
        let prefetched = Prefetched::default();
        let outcome = run_until_killed(
            &self.sim,
            twinlake_engine::reconcile(&context, scope, &prefetched),
        )?;
        Some(outcome.expect("a ledger in memory returns no error"))
    }

    /// Runs a complete resync. Returns `None` if the kill switch stopped the run.
    ///
    /// # Panics
    /// The ledger, which is in memory, returns an error.
    pub fn resync(&self) -> Option<ResyncReport> {
        let context = self.context();
        let run = twinlake_engine::resync::resync(
            &context,
            self.resync_depth,
            None,
            None::<&TestQueue>,
            &(),
        );
        let report = run_until_killed(&self.sim, run)?;
        Some(report.expect("a ledger in memory returns no error"))
    }

    /// Runs complete resyncs until one changes nothing and fails as the one before, at most eight.
    /// Returns the last report.
    ///
    /// # Panics
    /// The kill switch is set.
    pub fn settle(&self) -> ResyncReport {
        let mut report = self.resync().expect("the kill switch is not set");
        for _ in 1..8 {
            let failed = std::mem::take(&mut report.outcome.failed);
            report = self.resync().expect("the kill switch is not set");
            let outcome = &report.outcome;
            if outcome.applied.is_empty() && outcome.waiting.is_none() && outcome.failed == failed {
                break;
            }
        }
        report
    }

    /// Runs a complete resync, publishes its alerts and resolves incidents, as the resync function
    /// does.
    ///
    /// # Panics
    /// The kill switch is set.
    pub fn resync_and_publish(&self) -> ResyncReport {
        let started = self.sim.now();
        let report = self.resync().expect("the kill switch is not set");
        let now = self.sim.now();
        let found = alerts::from_resync_report(&report, STANDBY, now);
        let scan = CheckedSubjects::from_resync_report(&report, started)
            .with_healthy(alerts::POLICY_SUBJECT, started);
        let published =
            alerts::publish_and_resolve(&self.topic, &self.ledger, (&found, &scan), now);
        let published = run_until_killed(&self.sim, published);
        published
            .expect("the kill switch is not set")
            .expect("a ledger in memory returns no error");
        report
    }

    /// Delivers the messages of the retry queue until it is empty, at most eight times.
    pub fn deliver_retries(&self) {
        for _ in 0..8 {
            let retries = self.queue.take();
            if retries.is_empty() {
                return;
            }
            let bodies: Vec<Vec<u8>> = retries
                .iter()
                .map(|message| message.body().into_bytes())
                .collect();
            self.deliver(&bodies);
        }
    }

    /// Processes a batch of message bodies. Returns `None` if the kill switch stopped the run.
    pub fn deliver(&self, bodies: &[Vec<u8>]) -> Option<BatchResult> {
        self.deliver_in(&self.context(), bodies)
    }

    /// Processes a batch of message bodies in a context of this harness. Returns `None` if the kill
    /// switch stopped the run.
    pub fn deliver_in<E>(&self, context: &Context<'_, E>, bodies: &[Vec<u8>]) -> Option<BatchResult>
    where
        E: Environment<Standby: WriteRegion>,
    {
        self.deliver_messages(context, bodies, false)
    }

    /// Processes a batch of message bodies, which were delivered before or not. Returns `None` if the kill switch
    /// stopped the run.
    pub fn deliver_messages<E>(
        &self,
        context: &Context<'_, E>,
        bodies: &[Vec<u8>],
        is_redelivered: bool,
    ) -> Option<BatchResult>
    where
        E: Environment<Standby: WriteRegion>,
    {
        let run = self.process_messages(context, bodies, is_redelivered);
        run_until_killed(&self.sim, run)
    }

    /// Processes a batch of message bodies, which were delivered before or not.
    pub async fn process_messages<E>(
        &self,
        context: &Context<'_, E>,
        bodies: &[Vec<u8>],
        is_redelivered: bool,
    ) -> BatchResult
    where
        E: Environment<Standby: WriteRegion>,
    {
        let messages: Vec<QueueMessage> = bodies
            .iter()
            .enumerate()
            .map(|(index, body)| QueueMessage {
                id: index.to_string(),
                body: body.clone(),
                is_redelivered,
            })
            .collect();
        let stop_at = self.sim.now().plus_secs(1_000_000);
        let event_context = self.event_context();
        let ports = (&self.queue, &self.topic);
        let files = Some(&self.table_files);
        event_batch::run(context, ports, files, &event_context, &messages, stop_at).await
    }

    /// Returns the events of the primary as message bodies, and removes all events.
    #[must_use]
    pub fn take_events(&self) -> Vec<Vec<u8>> {
        let events = self.sim.state().take_events();
        events
            .into_iter()
            .filter(|emitted| emitted.region == PRIMARY)
            .map(|emitted| emitted.event.to_string().into_bytes())
            .collect()
    }

    /// Returns the number of read calls and of write calls, and removes them.
    #[must_use]
    pub fn take_calls(&self) -> (usize, usize) {
        let calls = self.sim.state().take_calls();
        let is_read = |name: &str| name.starts_with("Get") || name.starts_with("List");
        let reads = calls.iter().filter(|call| is_read(&call.name)).count();
        (reads, calls.len() - reads)
    }
}
