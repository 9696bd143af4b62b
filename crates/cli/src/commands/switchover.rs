//! `twinlake switchover` and `twinlake failback`: makes the standby the primary while both Regions are healthy, without
//! loss, and the former primary the standby.

use super::failover::{SurvivingRegion, switch, undo};
use super::switch_options::SwitchOptions;
use crate::common_options::Common;
use crate::connect::{CommandEnvironment, CommandRegion, Connection, WithoutLedger, ledger_in};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::collections::BTreeMap;
use twinlake_aws::{Clients, DynamoLedger, S3ObjectVersions, SqsRetryQueue, SystemClock};
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::failover::{SwitchOperation, SwitchoverReadings};
use twinlake_core::grant::GrantMapping;
use twinlake_core::heartbeat::Channel;
use twinlake_core::render;
use twinlake_core::topology::Epoch;
use twinlake_engine::Context;
use twinlake_engine::Ledger as _;
use twinlake_engine::divergence::{DivergenceContext, RegionPorts};
use twinlake_engine::failover::{BothRegions, unproven_replication, writers};
use twinlake_engine::operation_document::OperationConfig;

/// Arguments of `twinlake switchover` and `twinlake failback`.
#[derive(Debug, Clone, Args)]
pub struct SwitchoverArgs {
    /// Say that nobody writes to the primary any more
    ///
    /// Twinlake does not stop writers. It lists those that Lake Formation lets write; who writes by IAM and
    /// S3 alone, it cannot see.
    #[arg(long, conflicts_with = "undo")]
    pub writers_stopped: bool,
    /// How it is asked for
    #[command(flatten)]
    pub switch: SwitchOptions,
}

/// The environment of the last resync.
type Env = CommandEnvironment;

/// Why the command needs a deployment.
const NEEDS_LEDGERS: &str = "it switches the Regions of a deployment; add --region REGION, the Region that becomes \
                             the primary";

/// The most writers that are listed.
const MAX_WRITERS: usize = 20;

/// The ledgers and the buckets of both Regions, by their roles after the switch.
struct Stores {
    next_ledger: DynamoLedger,
    former_ledger: DynamoLedger,
    next_objects: S3ObjectVersions,
    former_objects: S3ObjectVersions,
}

impl Stores {
    async fn open(ledger_table: &str, next: &str, former: &str) -> Self {
        Self {
            next_ledger: ledger_in(ledger_table, next).await,
            former_ledger: ledger_in(ledger_table, former).await,
            next_objects: S3ObjectVersions::new(&Clients::connect(next).await),
            former_objects: S3ObjectVersions::new(&Clients::connect(former).await),
        }
    }

    fn regions<'a>(
        &'a self,
        connection: &'a Connection,
        roles: &SwitchedRoles<'a>,
    ) -> DivergenceContext<'a, CommandRegion, DynamoLedger, S3ObjectVersions, SystemClock> {
        DivergenceContext {
            epoch: roles.epoch,
            ..connection.returning(
                RegionPorts {
                    region: roles.next,
                    ledger: &self.next_ledger,
                    objects: &self.next_objects,
                },
                RegionPorts {
                    region: roles.former,
                    ledger: &self.former_ledger,
                    objects: &self.former_objects,
                },
            )
        }
    }
}

/// The two Regions as the connection reads them, by their roles after the switch.
struct SwitchedRoles<'a> {
    next: &'a CommandRegion,
    former: &'a CommandRegion,
    /// The epoch after the switch.
    epoch: Epoch,
    /// Whether it is written: what is left is to hand over.
    is_written: bool,
}

impl<'a> SwitchedRoles<'a> {
    fn new(connection: &'a Connection, survivor: &SurvivingRegion) -> Self {
        let (primary, standby) = connection.regions();
        let held = connection.epoch;
        match held.primary() == survivor.site {
            true => Self {
                next: primary,
                former: standby,
                epoch: held,
                is_written: true,
            },
            false => Self {
                next: standby,
                former: primary,
                epoch: held.switched(),
                is_written: false,
            },
        }
    }
}

pub(crate) async fn run(
    common: &Common,
    args: &SwitchoverArgs,
) -> Result<CommandOutcome, CliError> {
    let ledgers = &common.ledger;
    let (Some(region), None, None) = (&ledgers.region, &ledgers.policy, &ledgers.ledger) else {
        return Err(CliError::Usage(NEEDS_LEDGERS.to_owned()));
    };
    let options = &args.switch;
    let survivor = SurvivingRegion::open(&ledgers.ledger_table, region, options).await?;
    if options.undo {
        return undo(&survivor, SwitchOperation::Switchover).await;
    }
    let former = survivor.other_region();
    let stores = Stores::open(&ledgers.ledger_table, region, former).await;
    let connection = connect(common, &survivor).await?;
    let readings = readings(args.writers_stopped, &survivor, &stores).await?;
    let roles = SwitchedRoles::new(&connection, &survivor);
    if !roles.is_written && !options.json {
        print_writers(&connection, former).await?;
    }
    let none = ApprovedDeletions::None;
    let handover: BothRegions<
        '_,
        Env,
        CommandRegion,
        DynamoLedger,
        S3ObjectVersions,
        SqsRetryQueue,
    > = BothRegions {
        context: (!roles.is_written).then(|| Context {
            progress: &(),
            ..connection.context(&none)
        }),
        regions: stores.regions(&connection, &roles),
        queue: None,
    };
    let request = options.request(false, Some(readings));
    let question = format!("Make {region} the primary, and {former} the standby?");
    switch(&survivor, &request, &handover, options, &question).await
}

/// Connects to both Regions: to write to the standby, until the epoch is written.
async fn connect(common: &Common, survivor: &SurvivingRegion) -> Result<Connection, CliError> {
    let held = survivor.ledger.epoch().await?;
    let connection = match held.primary() == survivor.site {
        true => Connection::open(common, WithoutLedger::Fails(NEEDS_LEDGERS)).await?,
        false => Connection::open_to_write(common).await?,
    };
    if connection.epoch == held {
        return Ok(connection);
    }
    let newest = match held.is_before(connection.epoch) {
        true => connection.epoch,
        false => held,
    };
    let primary = &survivor.policy.sites.get(newest.primary()).region;
    Err(CliError::Usage(format!(
        "{} holds epoch {}, and the deployment epoch {}: a Region is fenced; run `twinlake divergence --region \
         {primary}` first",
        survivor.region,
        survivor.epoch_text(held),
        survivor.epoch_text(connection.epoch),
    )))
}

/// What the gates look at, beside how far the Region is behind.
async fn readings(
    writers_stopped: bool,
    survivor: &SurvivingRegion,
    stores: &Stores,
) -> Result<SwitchoverReadings, CliError> {
    let (operation, _) = OperationConfig::load(&survivor.ledger).await?;
    let limits = Channel::EVERY.map(|channel| (channel, operation.lag_alert.of(channel)));
    Ok(SwitchoverReadings {
        region: survivor.region.clone(),
        peer_epoch: stores.former_ledger.epoch().await.ok(),
        writers_stopped,
        lag_limits: BTreeMap::from(limits),
        unproven_replication: unproven_replication(
            survivor.site,
            &survivor.ledger,
            &survivor.policy,
        )
        .await,
    })
}

/// Lists who may still write to the primary, as far as Lake Formation knows.
async fn print_writers(connection: &Connection, primary: &str) -> Result<(), CliError> {
    let mapping = GrantMapping::of_primary(&connection.policy, connection.epoch);
    let all = writers(connection.regions().0, &mapping, connection.own_roles()).await?;
    let mut by_principal: BTreeMap<&str, usize> = BTreeMap::new();
    for grant in &all {
        *by_principal.entry(grant.principal.0.as_str()).or_default() += 1;
    }
    output::print(&format!(
        "Twinlake stops no writers. In {primary}, {} {} Lake Formation permissions to write; others \
         may write by IAM and S3 alone, which cannot be seen from here:",
        render::counted(by_principal.len(), "principal"),
        render::one_or_many(by_principal.len(), "has", "have")
    ));
    for (principal, count) in by_principal.iter().take(MAX_WRITERS) {
        output::print(&render::escape(&format!(
            "  {principal}: {}",
            render::counted(*count, "permission")
        )));
    }
    if let Some(more) = by_principal
        .len()
        .checked_sub(MAX_WRITERS)
        .filter(|more| *more > 0)
    {
        output::print(&format!("  and {more} more"));
    }
    Ok(())
}
