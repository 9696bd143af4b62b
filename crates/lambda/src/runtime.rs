//! The start-up that all functions share: configuration, logging and AWS clients.

use crate::config::Config;
use crate::mirrored_alerts::MirroredAlerts;
use crate::telemetry::InvocationTelemetry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use twinlake_aws::{
    AwsRegion, Clients, DefaultEventBus, DynamoLedger, QueryToolsRegion, S3TableFiles,
    SharedCeiling, SnsAlerts, SqsDeadLetterQueues, SqsRetryQueue, SsmParameters, SystemClock,
};
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::event::EventContext;
use twinlake_core::grant::GrantMapping;
use twinlake_core::topology::{Epoch, RegionRole};
use twinlake_core::{OwnRoles, Policy, Principal, Timestamp};
use twinlake_engine::iceberg::{FencedTableFiles, MAX_HELD_BYTES};
use twinlake_engine::operation_document::OperationConfig;
use twinlake_engine::query::FencedQueryRegion;
use twinlake_engine::region_authority::{NotReady, RegionAuthority, StackSites, region_authority};
use twinlake_engine::write_fence::{WriteFence, WriterRole};
use twinlake_engine::{
    Clock as _, Context, Environment, GuardedRegion, LfTagLeaseOfRun, LimitedRegion,
};

/// The environment of a function that reconciles.
pub(crate) struct FunctionEnvironment;

impl Environment for FunctionEnvironment {
    type Primary = LimitedRegion<AwsRegion>;
    type Standby = LocalRegion;
    type Ledger = DynamoLedger;
    type Clock = SystemClock;
}

/// The Region that a function runs in: it writes there under the lease of its role.
pub(crate) type LocalRegion = LimitedRegion<GuardedRegion<AwsRegion, DynamoLedger, SystemClock>>;

/// The state that a function keeps between invocations.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) config: Config,
    /// The Region that the function runs in.
    pub(crate) local: LocalRegion,
    /// The other Region.
    pub(crate) peer: LimitedRegion<AwsRegion>,
    /// Athena of the Region that the function runs in, written under the same lease.
    pub(crate) local_query_tools: FencedQueryRegion<QueryToolsRegion, DynamoLedger, SystemClock>,
    /// Athena of the other Region.
    pub(crate) peer_query_tools: QueryToolsRegion,
    /// The ledger of the local Region.
    pub(crate) ledger: DynamoLedger,
    pub(crate) peer_ledger: DynamoLedger,
    /// The lease under which this process writes to the local Region.
    fence: Arc<WriteFence<DynamoLedger, SystemClock>>,
    pub(crate) alert_topic: SnsAlerts,
    pub(crate) retry_queue: SqsRetryQueue,
    /// The files of Iceberg tables in the local Region; `None` in functions that leave them to another one.
    pub(crate) table_files: Option<FencedTableFiles<S3TableFiles, DynamoLedger, SystemClock>>,
    /// The queue of the function that relocates Iceberg tables.
    pub(crate) catalog_queue: SqsRetryQueue,
    /// The default event bus of the local Region. A rule on it forwards Twinlake's own events to
    /// the peer Region's bus.
    pub(crate) default_bus: DefaultEventBus,
    pub(crate) dead_letter_queues: SqsDeadLetterQueues,
    /// The address for clients in the local Region.
    pub(crate) address_parameter: SsmParameters,
    pub(crate) clock: SystemClock,
    /// The lease on changes of access by LF-Tags, as the reconciliations of this process share it.
    lf_tag_lease: LfTagLeaseOfRun,
    own_roles: OwnRoles,
    function_role: Principal,
    /// The clients of this Region and of the other one. Others would have limits of their own.
    pub(crate) clients: [Clients; 2],
    /// When the ceilings of the calls are read from the ledger again.
    read_ceilings_at: Mutex<Option<Timestamp>>,
}

/// The longest time that the peer's ledger is waited for: while the peer does not answer, the local epoch
/// decides, and the work of this Region must not wait for it.
const PEER_LEDGER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a change of the ceilings of calls may take to reach a function.
const CEILINGS_AGE_SECS: i64 = 60;

impl Runtime {
    /// Reads the environment, sets up logging and creates the AWS clients. Makes no AWS call.
    ///
    /// # Errors
    /// An environment variable is missing or invalid.
    pub async fn from_environment() -> Result<Self, lambda_runtime::Error> {
        init_logging();
        let config = Config::from_environment()?;
        let local = Clients::connect(&config.region).await;
        let peer = Clients::connect(&config.peer_region).await;
        let account = &config.account;
        let dead_letter_queues = config.dead_letter_queues.clone();
        let ledger = DynamoLedger::new(&local, &config.ledger_table);
        let peer_table = &config.peer_ledger_table;
        let peer_ledger = DynamoLedger::of_peer(&peer, peer_table, PEER_LEDGER_TIMEOUT);
        let fence = WriteFence::new(ledger.clone(), Some(peer_ledger.clone()), SystemClock);
        let fence = Arc::new(fence);
        local.limits().require_lease(fence.lease().clone());
        let local_query_tools = QueryToolsRegion::new(&local, account);
        let local_query_tools = FencedQueryRegion::new(local_query_tools, Some(Arc::clone(&fence)));
        let local_region = AwsRegion::new(&local, account);
        let local_region = GuardedRegion::new(local_region, Some(Arc::clone(&fence)));
        Ok(Self {
            local: LimitedRegion::new(local_region, config.max_concurrent_calls),
            peer: LimitedRegion::new(AwsRegion::new(&peer, account), config.max_concurrent_calls),
            local_query_tools,
            peer_query_tools: QueryToolsRegion::new(&peer, account),
            ledger,
            peer_ledger,
            fence: Arc::clone(&fence),
            alert_topic: SnsAlerts::new(&local, &config.alert_topic_arn),
            retry_queue: SqsRetryQueue::new(&local, &config.retry_queue_url),
            table_files: config.catalog_queue_url.is_empty().then(|| {
                let files = S3TableFiles::new(&local).with_max_file_bytes(MAX_HELD_BYTES);
                FencedTableFiles::new(files, &config.region, Arc::clone(&fence))
            }),
            catalog_queue: SqsRetryQueue::new(&local, &config.catalog_queue_url),
            default_bus: DefaultEventBus::new(&local),
            dead_letter_queues: SqsDeadLetterQueues::new(&local, dead_letter_queues),
            address_parameter: SsmParameters::new(&local),
            clock: SystemClock,
            lf_tag_lease: LfTagLeaseOfRun::default(),
            own_roles: OwnRoles::new(config.role_arns.clone())
                .with_writers(config.writer_role_arns.clone()),
            function_role: Principal(config.function_role_arn.clone()),
            clients: [local, peer],
            read_ceilings_at: Mutex::default(),
            config,
        })
    }

    /// Returns the policy, the epoch and the role of this Region, read now from both ledgers, and allows
    /// this process to write in that role.
    pub(crate) async fn authority(&self) -> Result<RegionAuthority, NotReady> {
        let read_since = self.fence.lease().start();
        let authority = region_authority(&self.config.region, &self.ledger, &self.peer_ledger);
        let (authority, ()) =
            futures_util::future::join(authority, self.read_call_ceilings()).await;
        let authority = authority?;
        let stack = StackSites {
            region: &self.config.region,
            peer_region: &self.config.peer_region,
            account: &self.config.account,
        };
        stack.check(&authority.policy)?;
        let writer = WriterRole {
            site: authority.local,
            epoch: authority.epoch,
            role: authority.role,
        };
        self.fence.allow(writer, Some(read_since));
        Ok(authority)
    }

    /// Sets the ceilings of the calls as the operation document has them. While it cannot be read or is
    /// not valid, the present ones stay.
    async fn read_call_ceilings(&self) {
        let now = self.clock.now();
        let lock = || {
            let read_at = self.read_ceilings_at.lock();
            read_at.unwrap_or_else(PoisonError::into_inner)
        };
        if lock().is_some_and(|at| now < at) {
            return;
        }
        if let Ok((operation, None)) = OperationConfig::load(&self.ledger).await {
            for limits in self.clients.iter().map(Clients::limits) {
                let ceiling = operation.max_calls_per_second.get(limits.region());
                let shared_by: Arc<dyn SharedCeiling> = Arc::new(self.ledger.clone());
                limits.set_ceiling(ceiling.copied(), Some(shared_by));
            }
            *lock() = Some(now.plus_secs(CEILINGS_AGE_SECS));
        }
    }

    /// Returns the context for reconciliations in the standby: the peer is the primary, the local
    /// Region the standby.
    pub(crate) fn context<'a>(
        &'a self,
        policy: &'a Policy,
        epoch: Epoch,
        stop_at: Timestamp,
    ) -> Context<'a, FunctionEnvironment> {
        Context {
            primary: &self.peer,
            standby: &self.local,
            ledger: &self.ledger,
            clock: &self.clock,
            policy,
            epoch,
            reader_role: &self.function_role,
            own_roles: &self.own_roles,
            max_concurrent_calls: self.config.max_concurrent_calls,
            approved_deletions: &ApprovedDeletions::None,
            may_write_settings: false,
            stop_at: Some(stop_at),
            scan_window: None,
            lf_tag_lease: Some(&self.lf_tag_lease),
            progress: &(),
        }
    }

    /// Starts the telemetry of one invocation.
    pub(crate) fn start_telemetry(&self) -> InvocationTelemetry<'_> {
        InvocationTelemetry::start(&self.ledger, self.config.memory_mb)
    }

    /// Returns the alert topic of this Region. Where this Region is the primary, published alerts
    /// are also mirrored to the standby.
    pub(crate) fn topic(&self, role: Option<RegionRole>) -> MirroredAlerts<'_> {
        MirroredAlerts {
            topic: &self.alert_topic,
            local_bus: (role == Some(RegionRole::Primary)).then_some(&self.default_bus),
        }
    }

    pub(crate) fn own_roles(&self) -> &OwnRoles {
        &self.own_roles
    }

    /// Returns the context for operations events (job failures, refused access) of this Region,
    /// which do not depend on the policy.
    pub(crate) fn operations_event_context(&self) -> EventContext {
        EventContext {
            region: self.config.region.clone(),
            account: self.config.account.clone(),
            own_roles: self.own_roles.clone(),
            grant_mapping: GrantMapping::default(),
            now: self.clock.now(),
        }
    }

    /// Returns the context for catalog events of this Region.
    pub(crate) fn local_event_context(&self, policy: &Policy, epoch: Epoch) -> EventContext {
        EventContext {
            region: self.config.region.clone(),
            ..self.peer_event_context(policy, epoch)
        }
    }

    /// Returns the context for catalog and permission events of the peer Region.
    pub(crate) fn peer_event_context(&self, policy: &Policy, epoch: Epoch) -> EventContext {
        EventContext {
            region: self.config.peer_region.clone(),
            account: self.config.account.clone(),
            own_roles: self.own_roles.clone(),
            grant_mapping: GrantMapping::of_primary(policy, epoch),
            now: self.clock.now(),
        }
    }
}

/// Writes a JSON object for each line of the log.
pub(crate) fn init_logging() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_max_level(tracing::Level::INFO)
        .init();
}
