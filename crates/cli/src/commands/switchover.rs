//! `twinlake switchover` and `twinlake failback`: makes the standby the primary while both Regions are healthy, without
//! loss, and the former primary the standby.

use super::failover::{cli_error, print_left, switch};
use super::surviving_region::NewPrimaryRegion;
use super::switch_options::SwitchOptions;
use super::takeover_wake::wake_tools;
use crate::common_options::Common;
use crate::connect::{CommandEnvironment, CommandRegion, Connection, WithoutLedger, ledger_in};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::collections::BTreeMap;
use std::sync::Arc;
use twinlake_aws::{
    AwsRegion, Clients, DynamoLedger, S3ObjectVersions, SqsRetryQueue, SystemClock,
};
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::failover::{FreezeMode, SwitchoverReadings};
use twinlake_core::grant::GrantMapping;
use twinlake_core::heartbeat::Channel;
use twinlake_core::topology::{Epoch, RegionRole};
use twinlake_core::{OwnRoles, render};
use twinlake_engine::divergence::{DivergenceContext, RegionPorts};
use twinlake_engine::failover::{
    BothRegions, FreezeTerms, FrozenRegion, undo_switchover, unproven_replication, writers,
};
use twinlake_engine::operation_document::OperationConfig;
use twinlake_engine::write_fence::{WriteFence, WriterRole};
use twinlake_engine::{Context, GuardedRegion, Ledger as _};

/// Arguments of `twinlake switchover` and `twinlake failback`.
#[derive(Debug, Clone, Args)]
pub struct SwitchoverArgs {
    /// Say that nobody writes to the primary any more
    ///
    /// Twinlake stops no writers, or, with `freeze = "grants"` in the operation document, those whose grants it can
    /// revoke. It lists the others that Lake Formation lets write; who writes by IAM and S3 alone, it cannot see.
    #[arg(long, conflicts_with = "undo")]
    pub writers_stopped: bool,
    /// How it is asked for
    #[command(flatten)]
    pub switch: SwitchOptions,
}

/// The environment of the last resync.
type Env = CommandEnvironment;

/// The primary, written to under a lease on being the primary.
type FormerWrites = GuardedRegion<AwsRegion, DynamoLedger, SystemClock>;

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
    fn new(connection: &'a Connection, new_primary: &NewPrimaryRegion) -> Self {
        let (primary, standby) = connection.regions();
        let held = connection.epoch;
        match held.primary() == new_primary.site {
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
    let new_primary = NewPrimaryRegion::open(&ledgers.ledger_table, region, options).await?;
    let former = new_primary.other_region();
    let stores = Stores::open(&ledgers.ledger_table, region, former).await;
    let former_writes = former_writes(&new_primary, &stores).await?;
    if options.undo {
        return undo(&new_primary, &stores, &former_writes).await;
    }
    let connection = connect(common, &new_primary).await?;
    let readings = readings(args.writers_stopped, &new_primary, &stores).await?;
    let roles = SwitchedRoles::new(&connection, &new_primary);
    if !roles.is_written && !options.json {
        match readings.freeze {
            FreezeMode::None => print_writers(&connection, former).await?,
            FreezeMode::Grants => print_freeze(&connection, &stores, former).await?,
        }
    }
    let none = ApprovedDeletions::None;
    let handover: BothRegions<
        '_,
        Env,
        CommandRegion,
        FormerWrites,
        DynamoLedger,
        S3ObjectVersions,
        SqsRetryQueue,
    > = BothRegions {
        context: (!roles.is_written).then(|| Context {
            progress: &(),
            ..connection.context(&none)
        }),
        regions: stores.regions(&connection, &roles),
        former_writes: &former_writes,
        queue: None,
    };
    let request = options.request(false, Some(readings));
    let question = format!("Make {region} the primary, and {former} the standby?");
    let outcome = switch(&new_primary, &request, &handover, options, &question).await?;
    if !options.validate_only {
        wake_tools(&new_primary, Some(common)).await;
    }
    Ok(outcome)
}

/// Connects to both Regions: to write to the standby, until the epoch is written.
async fn connect(common: &Common, new_primary: &NewPrimaryRegion) -> Result<Connection, CliError> {
    let held = new_primary.ledger.epoch().await?;
    let connection = match held.primary() == new_primary.site {
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
    let primary = &new_primary.policy.sites.get(newest.primary()).region;
    Err(CliError::Usage(format!(
        "{} holds epoch {}, and the deployment epoch {}: a Region is fenced; run `twinlake divergence --region \
         {primary}` first",
        new_primary.region,
        new_primary.epoch_text(held),
        new_primary.epoch_text(connection.epoch),
    )))
}

/// The primary, to revoke grants there and to grant them again.
async fn former_writes(
    new_primary: &NewPrimaryRegion,
    stores: &Stores,
) -> Result<FormerWrites, CliError> {
    let clients = Clients::connect(new_primary.other_region()).await;
    let (former, next) = (&stores.former_ledger, &new_primary.ledger);
    let fence = WriteFence::new(former.clone(), Some(next.clone()), SystemClock);
    let site = new_primary.site.other();
    let writer = WriterRole {
        site,
        epoch: new_primary.ledger.epoch().await?,
        role: RegionRole::Primary,
    };
    fence.allow(writer, None);
    clients.limits().require_lease(fence.lease().clone());
    let account = &new_primary.policy.sites.get(site).account;
    let region = AwsRegion::new(&clients, account);
    Ok(GuardedRegion::new(region, Some(Arc::new(fence))))
}

/// Undoes what is under way, and grants again what was revoked.
async fn undo(
    new_primary: &NewPrimaryRegion,
    stores: &Stores,
    former_writes: &FormerWrites,
) -> Result<CommandOutcome, CliError> {
    let no_roles = OwnRoles::new(Vec::new());
    let caller = new_primary.caller_if_frozen().await?;
    let frozen = FrozenRegion {
        region: former_writes,
        next_ledger: &new_primary.ledger,
        former_ledger: &stores.former_ledger,
        terms: FreezeTerms {
            policy: &new_primary.policy,
            epoch: new_primary.ledger.epoch().await?,
            own_roles: &no_roles,
        },
        caller: caller.as_ref(),
    };
    let undone = undo_switchover(new_primary.site, &SystemClock, &frozen).await;
    let undone = undone.map_err(|error| cli_error(error, AGAIN))?;
    let is_done = undone.refused.is_empty() && undone.left.is_none();
    if new_primary.is_quiet {
        output::json(&serde_json::json!({
            "undone": "switchover", "granted_again": undone.granted, "gone": undone.refused, "not_granted": undone.left,
        }));
        return Ok(CommandOutcome::done_if(is_done));
    }
    if undone.granted == 0 && is_done {
        output::print("The switchover is undone. It had changed nothing but its journal.");
        return Ok(CommandOutcome::Done);
    }
    output::print(&format!(
        "The switchover is undone. {} that it had revoked in {} {} granted again.",
        render::counted(undone.granted, "grant"),
        new_primary.other_region(),
        render::one_or_many(undone.granted, "is", "are")
    ));
    for (grant, reason) in &undone.refused {
        let line =
            format!("  not granted again, since its table or database is gone: {grant}: {reason}");
        output::print(&render::escape(&line));
    }
    if !undone.left.is_none() {
        let count = undone.left.count;
        let line = format!(
            "{} could not be granted again, and {} recorded; {} keeps what it has of them: correct the cause, and run \
             the same command again.",
            render::counted(count, "grant"),
            render::one_or_many(count, "stays", "stay"),
            new_primary.region
        );
        print_left(&undone.left, &line);
    }
    Ok(CommandOutcome::done_if(is_done))
}

/// What to do when an undo ends early.
const AGAIN: &str = "run the same command again: it grants what is not granted yet";

/// What the gates look at, beside how far the Region is behind.
async fn readings(
    writers_stopped: bool,
    new_primary: &NewPrimaryRegion,
    stores: &Stores,
) -> Result<SwitchoverReadings, CliError> {
    let (operation, _) = OperationConfig::load(&new_primary.ledger).await?;
    let limits = Channel::EVERY.map(|channel| (channel, operation.lag_alert.of(channel)));
    Ok(SwitchoverReadings {
        region: new_primary.region.clone(),
        peer_epoch: stores.former_ledger.epoch().await.ok(),
        writers_stopped,
        lag_limits: BTreeMap::from(limits),
        unproven_replication: unproven_replication(
            new_primary.site,
            &new_primary.ledger,
            &new_primary.policy,
        )
        .await,
        freeze: operation
            .takeover
            .map(|takeover| takeover.freeze)
            .unwrap_or_default(),
    })
}

/// Lists whose grants to write are revoked, and who may write in the primary all the same.
async fn print_freeze(
    connection: &Connection,
    stores: &Stores,
    primary: &str,
) -> Result<(), CliError> {
    let terms = FreezeTerms {
        policy: &connection.policy,
        epoch: connection.epoch,
        own_roles: connection.own_roles(),
    };
    let (leads, follows) = connection.regions();
    let standby = (follows, &stores.next_ledger);
    let access = terms.write_access(leads, standby).await?;
    let mut frozen: BTreeMap<&str, usize> = BTreeMap::new();
    for grant in access.revocable.keys() {
        *frozen.entry(grant.principal.0.as_str()).or_default() += 1;
    }
    output::print(&format!(
        "{} to write of {} {} revoked in {primary}, and granted again when it is the primary again, or by `--undo`:",
        render::counted(access.revocable.len(), "grant"),
        render::counted(frozen.len(), "principal"),
        render::one_or_many(access.revocable.len(), "is", "are")
    ));
    let frozen = frozen.into_iter();
    print_listed(frozen.map(|(principal, count)| format!("{principal}: {count}")));
    output::print(
        "A revoke does not stop who writes by IAM and S3 alone, nor a job that holds credentials of Lake Formation until \
         they expire, nor:",
    );
    let others = access.others.iter();
    print_listed(others.map(|((principal, reason), count)| {
        format!(
            "{principal}, {}: {reason}",
            render::counted(*count, "permission")
        )
    }));
    Ok(())
}

/// Prints the first lines of a list.
fn print_listed(lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    for line in lines.iter().take(MAX_WRITERS) {
        output::print(&render::escape(&format!("  {line}")));
    }
    if lines.is_empty() {
        output::print("  none that Lake Formation knows");
    }
    let more = lines.len().saturating_sub(MAX_WRITERS);
    if more > 0 {
        output::print(&format!("  and {more} more"));
    }
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
        "Twinlake stops no writers without `freeze` in the operation document. In {primary}, {} {} Lake Formation permissions to write; others \
         may write by IAM and S3 alone, which cannot be seen from here:",
        render::counted(by_principal.len(), "principal"),
        render::one_or_many(by_principal.len(), "has", "have")
    ));
    let by_principal = by_principal.into_iter();
    print_listed(by_principal.map(|(principal, count)| {
        format!("{principal}: {}", render::counted(count, "permission"))
    }));
    Ok(())
}
