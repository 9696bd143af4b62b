//! `twinlake switchover` and `twinlake failback`: makes the standby the primary while both Regions are healthy, without
//! loss, and the former primary the standby.

use super::failover::{SurvivingRegion, cli_error, parse_gate, switch};
use crate::common_options::Common;
use crate::connect::{CommandEnvironment, CommandRegion, Connection, WithoutLedger, ledger_in};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_aws::{Clients, DynamoLedger, S3ObjectVersions, SqsRetryQueue, SystemClock};
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::failover::{FailoverRequest, ForceableGate, SwitchoverReadings};
use twinlake_core::grant::PrincipalMapping;
use twinlake_core::heartbeat::Channel;
use twinlake_core::render;
use twinlake_core::topology::Epoch;
use twinlake_engine::Context;
use twinlake_engine::Ledger as _;
use twinlake_engine::divergence::{DivergedRegion, ReturningRegion};
use twinlake_engine::failover::{BothRegions, undo_failover, writers};
use twinlake_engine::operation_document::OperationConfig;

/// Arguments of `twinlake switchover` and `twinlake failback`.
#[derive(Debug, Clone, Args)]
pub struct SwitchoverArgs {
    /// Show every step, and refuse as the real command would; change nothing
    #[arg(long)]
    pub validate_only: bool,
    /// Say that nobody writes to the primary any more
    ///
    /// Twinlake does not stop writers. It lists those that Lake Formation lets write; who writes by IAM and
    /// S3 alone, it cannot see.
    #[arg(long)]
    pub writers_stopped: bool,
    /// Undo a switchover that has not written its epoch yet
    #[arg(long, conflicts_with_all = ["validate_only", "writers_stopped", "force", "epoch"])]
    pub undo: bool,
    /// Refuse unless the ledger holds this epoch, as `--validate-only` shows it
    #[arg(long, value_name = "NUMBER")]
    pub epoch: Option<u64>,
    /// Open a gate by its name, as the refusal shows it; repeatable
    #[arg(long, value_name = "GATE", value_parser = parse_gate)]
    pub force: Vec<ForceableGate>,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Wait this long instead of two minutes; only with an AWS on this computer
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub local_wait: Option<u64>,
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
        (next, former): (&'a CommandRegion, &'a CommandRegion),
        epoch: Epoch,
    ) -> ReturningRegion<'a, CommandRegion, DynamoLedger, S3ObjectVersions, SystemClock> {
        ReturningRegion {
            epoch,
            ..connection.returning(
                DivergedRegion {
                    region: next,
                    ledger: &self.next_ledger,
                    objects: &self.next_objects,
                },
                DivergedRegion {
                    region: former,
                    ledger: &self.former_ledger,
                    objects: &self.former_objects,
                },
            )
        }
    }
}

pub(crate) async fn run(
    common: &Common,
    args: &SwitchoverArgs,
) -> Result<CommandOutcome, CliError> {
    let options = &common.ledger;
    let (Some(region), None, None) = (&options.region, &options.policy, &options.ledger) else {
        return Err(CliError::Usage(NEEDS_LEDGERS.to_owned()));
    };
    let survivor =
        SurvivingRegion::open(&options.ledger_table, region, args.json, args.local_wait).await?;
    if args.undo {
        let undone = undo_failover(&survivor.ledger, &SystemClock).await;
        undone.map_err(cli_error)?;
        output::print("The switchover is undone. It had changed nothing but its journal.");
        return Ok(CommandOutcome::Done);
    }
    let former = survivor.other_region();
    let stores = Stores::open(&options.ledger_table, region, former).await;
    let held = survivor.ledger.epoch().await?;
    // Once this Region is the primary, what is left is to hand over.
    let is_written = held.primary() == survivor.site;
    let connection = match is_written {
        true => Connection::open(common, WithoutLedger::Fails(NEEDS_LEDGERS)).await?,
        false => Connection::open_to_write(common).await?,
    };
    if connection.epoch != held {
        return Err(CliError::Usage(format!(
            "{region} holds epoch {held}, and {former} holds epoch {}: one of them is fenced; run `twinlake \
             divergence` first",
            connection.epoch
        )));
    }
    let request = request(args, &survivor, &stores).await?;
    let none = ApprovedDeletions::None;
    let (primary, standby) = connection.regions();
    let (regions, epoch) = match is_written {
        true => ((primary, standby), held),
        false => ((standby, primary), held.switched()),
    };
    if !is_written {
        print_writers(args, &connection, former).await?;
    }
    let handover: BothRegions<
        '_,
        Env,
        CommandRegion,
        DynamoLedger,
        S3ObjectVersions,
        SqsRetryQueue,
    > = BothRegions {
        context: (!is_written).then(|| Context {
            progress: &(),
            ..connection.context(&none)
        }),
        regions: stores.regions(&connection, regions, epoch),
        queue: None,
    };
    let question = format!("Make {region} the primary, and {former} the standby?");
    let confirmation = match args.yes {
        true => None,
        false => Some(question.as_str()),
    };
    switch(
        &survivor,
        &request,
        &handover,
        args.validate_only,
        confirmation,
    )
    .await
}

async fn request(
    args: &SwitchoverArgs,
    survivor: &SurvivingRegion,
    stores: &Stores,
) -> Result<FailoverRequest, CliError> {
    let (operation, _) = OperationConfig::load(&survivor.ledger).await?;
    let limits = Channel::EVERY.map(|channel| (channel, operation.lag_alert.of(channel)));
    Ok(FailoverRequest {
        accepts_loss: false,
        seen_epoch: args.epoch,
        forced: args.force.iter().copied().collect::<BTreeSet<_>>(),
        switchover: Some(SwitchoverReadings {
            peer_epoch: stores.former_ledger.epoch().await.ok(),
            writers_stopped: args.writers_stopped,
            lag_limits: BTreeMap::from(limits),
        }),
    })
}

/// Lists who may still write to the primary, as far as Lake Formation knows.
async fn print_writers(
    args: &SwitchoverArgs,
    connection: &Connection,
    primary: &str,
) -> Result<(), CliError> {
    if args.json {
        return Ok(());
    }
    let mapping = PrincipalMapping::of_primary(&connection.policy, connection.epoch);
    let all = writers(connection.regions().0, &mapping, connection.own_roles()).await?;
    let mut by_principal: BTreeMap<&str, usize> = BTreeMap::new();
    for grant in &all {
        *by_principal.entry(grant.principal.0.as_str()).or_default() += 1;
    }
    output::print(&format!(
        "Twinlake stops no writers. In {primary}, {} principals have Lake Formation permissions to write; others \
         may write by IAM and S3 alone, which cannot be seen from here:",
        by_principal.len()
    ));
    for (principal, count) in by_principal.iter().take(MAX_WRITERS) {
        output::print(&render::escape(&format!(
            "  {principal}: {count} permissions"
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
