//! From the options to something that can be called.

use crate::args::Common;
use crate::store::{open_ledger, read_policy};
use crate::{CliError, out};
use std::path::PathBuf;
use twinlake_aws::{AwsRegion, DynamoLedger, SystemClock};
use twinlake_core::ledger::Epoch;
use twinlake_core::{Name, OwnRoles, Policy, Principal, Scope, TableId};
use twinlake_engine::role::standing;
use twinlake_engine::{Context, Ledger, MemoryLedger};

/// Where the ledger is.
#[derive(Debug)]
pub(crate) enum Store {
    /// Deployed in the secondary.
    Deployed(DynamoLedger),
    /// In a file.
    File(PathBuf, MemoryLedger),
    /// Nowhere: everything pairs by adoption, and nothing is remembered.
    None(MemoryLedger),
}

/// Both Regions and what is known of them.
#[derive(Debug)]
pub(crate) struct Connection {
    pub policy: Policy,
    pub epoch: Epoch,
    pub store: Store,
    primary: AwsRegion,
    secondary: AwsRegion,
    pub(crate) clock: SystemClock,
    reader: Principal,
    ours: OwnRoles,
    parallel: usize,
}

impl Connection {
    /// Connects for reading: without a ledger too.
    pub(crate) async fn open(common: &Common) -> Result<Self, CliError> {
        let (policy, epoch, store) = match (&common.policy, &common.ledger) {
            (Some(policy), Some(file)) => {
                let ledger = open_ledger(file)?;
                let epoch = ledger.epoch().await?;
                (
                    read_policy(policy)?,
                    epoch,
                    Store::File(file.clone(), ledger),
                )
            }
            (Some(policy), None) => Self::with_policy(common, read_policy(policy)?).await?,
            (None, Some(_)) => {
                let problem = "with --ledger FILE the policy is a file, too: add --policy FILE";
                return Err(CliError::Usage(problem.to_owned()));
            }
            (None, None) => Self::deployed(common).await?,
        };
        let (here, there) = (policy.primary(epoch), policy.secondary(epoch));
        let reader = match &common.role {
            Some(arn) => Principal(arn.clone()),
            None => twinlake_aws::caller(&there.region).await?,
        };
        let mut own_roles = common.own_roles.clone();
        own_roles.push(reader.0.clone());
        Ok(Self {
            primary: AwsRegion::connect(&here.region, &here.account).await,
            secondary: AwsRegion::connect(&there.region, &there.account).await,
            clock: SystemClock,
            reader,
            ours: OwnRoles::new(own_roles),
            parallel: common.parallel,
            policy,
            epoch,
            store,
        })
    }

    /// A policy from a file: with the deployed ledger, if there is one that holds
    /// the same policy.
    async fn with_policy(
        common: &Common,
        policy: Policy,
    ) -> Result<(Policy, Epoch, Store), CliError> {
        let region = &policy.secondary(Epoch(0)).region;
        let ledger = DynamoLedger::connect(region, &common.ledger_table).await;
        let why = match ledger.policy().await {
            Ok(Some(text)) if Policy::parse(&text)?.digest() == policy.digest() => {
                return Self::deployed_in(common, region).await;
            }
            Ok(Some(_)) => "the deployed ledger holds another policy".to_owned(),
            Ok(None) => "no policy was pushed to the deployed ledger".to_owned(),
            Err(fault) => format!("no deployed ledger can be read ({})", fault.code),
        };
        out::note(&format!(
            "Reading without a ledger, since {}: everything pairs by adoption.",
            twinlake_core::render::escape(&why)
        ));
        Ok((policy, Epoch(0), Store::None(MemoryLedger::default())))
    }

    async fn deployed(common: &Common) -> Result<(Policy, Epoch, Store), CliError> {
        let Some(region) = &common.region else {
            let problem = "name the policy with --policy FILE, or the Region of a deployed \
                           ledger with --region REGION";
            return Err(CliError::Usage(problem.to_owned()));
        };
        Self::deployed_in(common, region).await
    }

    /// The deployed ledger of the secondary, found from that of either Region.
    async fn deployed_in(
        common: &Common,
        region: &str,
    ) -> Result<(Policy, Epoch, Store), CliError> {
        let own = DynamoLedger::connect(region, &common.ledger_table).await;
        let text = own.policy().await?;
        let unready = || twinlake_engine::role::Unready::NoPolicy(region.to_owned());
        let policy = Policy::parse(&text.ok_or_else(unready)?)?;
        let other = match policy.first.region == region {
            true => &policy.second.region,
            false => &policy.first.region,
        };
        let peer = DynamoLedger::connect(other, &common.ledger_table).await;
        let standing = standing(region, &own, &peer).await?;
        let secondary = &standing.policy.secondary(standing.epoch).region;
        let ledger = if secondary == region { own } else { peer };
        Ok((standing.policy, standing.epoch, Store::Deployed(ledger)))
    }

    pub(crate) fn context<'a, L>(
        &'a self,
        ledger: &'a L,
        brake_released: bool,
    ) -> Context<'a, AwsRegion, AwsRegion, L, SystemClock> {
        Context {
            primary: &self.primary,
            secondary: &self.secondary,
            ledger,
            clock: &self.clock,
            policy: &self.policy,
            epoch: self.epoch,
            reader: &self.reader,
            ours: &self.ours,
            parallel: self.parallel,
            brake_released,
            writes_settings: true,
            stop_at: None,
        }
    }
}

/// The scope that names stand for; the whole catalog if there are none.
pub(crate) fn scope(names: &[String]) -> Result<Scope, CliError> {
    if names.is_empty() {
        return Ok(Scope::catalog());
    }
    let mut scope = Scope::default();
    for text in names {
        let name = |part: &str| {
            Name::new(part).map_err(|e| CliError::Usage(format!("{text:?} is no name: {e}")))
        };
        scope.absorb(match text.split_once('.') {
            Some((database, table)) => Scope::table(TableId::new(name(database)?, name(table)?)),
            None => Scope::database(name(text)?),
        });
    }
    Ok(scope)
}
