//! One start-up for every function.

use crate::account::Invocation;
use crate::config::Config;
use crate::told::Told;
use twinlake_aws::{
    AwsRegion, BusPeer, DynamoLedger, SnsAlerts, SqsLetters, SqsOutbox, SystemClock,
};
use twinlake_core::event::Listener;
use twinlake_core::grant::Terms;
use twinlake_core::ledger::{Epoch, Role};
use twinlake_core::{OwnRoles, Policy, Principal, Timestamp};
use twinlake_engine::role::{Standing, Unready, standing};
use twinlake_engine::{Clock as _, Context};

/// Everything that a function keeps between invocations.
#[derive(Debug)]
pub struct Start {
    pub(crate) config: Config,
    pub(crate) primary: AwsRegion,
    pub(crate) secondary: AwsRegion,
    pub(crate) ledger: DynamoLedger,
    pub(crate) peer_ledger: DynamoLedger,
    pub(crate) alerts: SnsAlerts,
    pub(crate) outbox: SqsOutbox,
    pub(crate) peer: BusPeer,
    pub(crate) letters: SqsLetters,
    pub(crate) clock: SystemClock,
    ours: OwnRoles,
    reader: Principal,
}

impl Start {
    /// Reads the environment, sets up logging and connects. Nothing is called yet.
    ///
    /// # Errors
    /// The environment is incomplete.
    pub async fn from_environment() -> Result<Self, lambda_runtime::Error> {
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_max_level(tracing::Level::INFO)
            .init();
        let config = Config::from_environment()?;
        let (here, peer, account) = (&config.region, &config.peer_region, &config.account);
        Ok(Self {
            primary: AwsRegion::connect(peer, account).await,
            secondary: AwsRegion::connect(here, account)
                .await
                .shared_with(config.writers.clone()),
            ledger: DynamoLedger::connect(here, &config.ledger).await,
            peer_ledger: DynamoLedger::connect(peer, &config.peer_ledger).await,
            alerts: SnsAlerts::connect(here, &config.topic).await,
            outbox: SqsOutbox::connect(here, &config.queue).await,
            peer: BusPeer::connect(here).await,
            letters: SqsLetters::connect(here, config.dead_letters.clone()).await,
            clock: SystemClock,
            ours: OwnRoles::new(config.own_roles.clone()),
            reader: Principal(config.role.clone()),
            config,
        })
    }

    /// What this Region may do now.
    pub(crate) async fn standing(&self) -> Result<Standing, Unready> {
        standing(&self.config.region, &self.ledger, &self.peer_ledger).await
    }

    pub(crate) fn context<'a>(
        &'a self,
        policy: &'a Policy,
        epoch: Epoch,
        stop_at: Timestamp,
    ) -> Context<'a, AwsRegion, AwsRegion, DynamoLedger, SystemClock> {
        Context {
            primary: &self.primary,
            secondary: &self.secondary,
            ledger: &self.ledger,
            clock: &self.clock,
            policy,
            epoch,
            reader: &self.reader,
            ours: &self.ours,
            parallel: self.config.parallel,
            brake_released: false,
            writes_settings: false,
            stop_at: Some(stop_at),
        }
    }

    /// Begins to account for an invocation.
    pub(crate) fn begin(&self) -> Invocation<'_> {
        Invocation::begin(self)
    }

    /// The topic, with the peer for whom what the primary tells is to be known.
    pub(crate) fn topic(&self, role: Option<Role>) -> Told<'_> {
        Told {
            topic: &self.alerts,
            peer: (role == Some(Role::Primary)).then_some(&self.peer),
        }
    }

    pub(crate) fn ours(&self) -> &OwnRoles {
        &self.ours
    }

    /// Listens to what fails in this Region, whatever the policy says.
    pub(crate) fn own_listener(&self) -> Listener {
        Listener {
            region: self.config.region.clone(),
            account: self.config.account.clone(),
            ours: self.ours.clone(),
            terms: Terms::default(),
            now: self.clock.now(),
        }
    }

    /// Listens to this Region itself.
    pub(crate) fn local_listener(&self, policy: &Policy, epoch: Epoch) -> Listener {
        Listener {
            region: self.config.region.clone(),
            ..self.listener(policy, epoch)
        }
    }

    pub(crate) fn listener(&self, policy: &Policy, epoch: Epoch) -> Listener {
        Listener {
            region: self.config.peer_region.clone(),
            account: self.config.account.clone(),
            ours: self.ours.clone(),
            terms: Terms::of_primary(policy, epoch),
            now: self.clock.now(),
        }
    }
}
