//! Opens the ledger and the two Regions that the options of a command name, and parses the names of
//! databases and tables.

use crate::command_ledger::{CommandFence, CommandLedger};
use crate::common_options::{Common, LedgerOptions, PolicyOptions, PrimaryOption};
pub(crate) use crate::deployed_ledger::ledger_in;
use crate::deployment_check;
use crate::file_ledger::FileLedger;
use crate::files::read_policy;
use crate::progress::TerminalProgress;
use crate::{CliError, output};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use twinlake_aws::{
    AwsInfrastructure, AwsRegion, Clients, DynamoLedger, QueryToolsRegion, SystemClock,
};
use twinlake_core::audit::{ApprovedDeletions, Rejection};
use twinlake_core::name::ObjectName;
use twinlake_core::policy::QueryPolicy;
use twinlake_core::query::{ObjectKey, QueryStep};
use twinlake_core::readiness::ReadinessReadings;
use twinlake_core::topology::Epoch;
use twinlake_core::{CallErrorKind, NextCommands, OwnRoles, Plan, Policy, Principal, Scope};
use twinlake_engine::divergence::{DivergenceContext, RegionPorts};
use twinlake_engine::operation_document::OperationConfig;
use twinlake_engine::query::{FencedQueryRegion, QueryToolsContext, new_run};
use twinlake_engine::readiness::{self, InspectedRegion, Inspection};
use twinlake_engine::region_authority::{NotReady, region_authority};
use twinlake_engine::{
    Clock as _, Context, Environment, GuardedRegion, Ledger, LimitedRegion, ReadRegion as _,
};

/// The error of a command that is given neither a policy file nor a Region to look for one.
const NO_POLICY: &str = "no policy is given; add --region REGION, either Region of a deployment, \
                         or --policy FILE";

/// A Region of a command, which writes to the standby under the lease of its role.
pub(crate) type CommandRegion = LimitedRegion<GuardedRegion<AwsRegion, DynamoLedger, SystemClock>>;

/// Athena of the standby, to which a command writes under the same lease.
type CommandQueryTools = FencedQueryRegion<QueryToolsRegion, DynamoLedger, SystemClock>;

/// The longest time that the ledger of the other Region is waited for, from wherever the command runs.
const PEER_LEDGER_TIMEOUT: Duration = Duration::from_secs(5);

/// The environment of a command.
pub(crate) struct CommandEnvironment;

impl Environment for CommandEnvironment {
    type Primary = CommandRegion;
    type Standby = CommandRegion;
    type Ledger = CommandLedger;
    type Clock = SystemClock;
}

/// What a command does if no ledger holds its policy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WithoutLedger<'o> {
    /// It compares the two Regions, and takes the Region of `--primary` as the primary.
    Compares(&'o PrimaryOption),
    /// As [`Self::Compares`], also where the ledgers of a deployment hold no valid policy, or two
    /// different ones.
    Inspects(&'o PrimaryOption),
    /// It fails: it needs what only a ledger knows. The text is a clause that says what it cannot
    /// do, and what to run instead.
    Fails(&'static str),
}

/// Why a command that writes to a Region needs a ledger.
const WRITES_NEED_LEDGER: &str = "this command writes only with a ledger that holds \
     this policy; run `twinlake policy push FILE`, or keep a ledger in a file with --ledger FILE";
/// Why a command that shows the status needs a ledger.
pub(crate) const STATUS_NEEDS_LEDGER: &str = "without a ledger the status is unknown; run \
     `twinlake plan` to compare the Regions without a ledger";

/// Why a command with a policy file does not use the ledger of a Region.
enum Unusable {
    /// There is none for this policy.
    Reason(String),
    /// There is one, and it cannot be used.
    Error(CliError),
}

/// The policy and the ledger of a command.
#[derive(Debug)]
pub(crate) struct LedgerConnection {
    pub policy: Policy,
    pub operation: OperationConfig,
    pub epoch: Epoch,
    pub ledger: CommandLedger,
    pub clock: SystemClock,
    /// The commands that an operator runs next.
    pub next: NextCommands,
}

impl LedgerConnection {
    /// Opens the policy and the ledger that the options name.
    pub(crate) async fn open(
        options: &LedgerOptions,
        without_ledger: WithoutLedger<'_>,
    ) -> Result<Self, CliError> {
        let (policy, epoch, ledger) = match (&options.policy, &options.ledger) {
            (Some(policy), Some(file)) => {
                let ledger = FileLedger::open(file)?;
                let epoch = ledger.epoch().await?;
                (read_policy(policy)?, epoch, CommandLedger::in_file(ledger))
            }
            (Some(policy), None) => {
                let policy = read_policy(policy)?;
                Self::with_policy(options, policy, without_ledger).await?
            }
            (None, Some(_)) => {
                let problem =
                    "--ledger FILE requires --policy FILE: the policy is not in a ledger file";
                return Err(CliError::Usage(problem.to_owned()));
            }
            (None, None) => Self::deployed(options, without_ledger).await?,
        };
        let operation = OperationConfig::load(&ledger).await?;
        if let (_, Some(error)) = &operation {
            output::note(&format!("The defaults hold, since the {error}"));
        }
        let next = options.next_commands(&policy.standby(epoch).region);
        Ok(Self {
            next,
            policy,
            operation: operation.0,
            epoch,
            ledger,
            clock: SystemClock,
        })
    }

    /// A policy from a file: with the deployed ledger, if either Region has one that holds
    /// the same policy.
    async fn with_policy(
        options: &LedgerOptions,
        policy: Policy,
        without_ledger: WithoutLedger<'_>,
    ) -> Result<(Policy, Epoch, CommandLedger), CliError> {
        let mut reason = String::new();
        for (_, site) in policy.sites.iter() {
            let ledger = ledger_in(&options.ledger_table, &site.region).await;
            let found = match ledger.policy().await {
                Ok(Some(text)) => {
                    let ledger = (site.region.as_str(), text.as_str());
                    Self::deployed_with(options, &policy, ledger, without_ledger).await
                }
                Ok(None) => Err(Unusable::Reason(
                    "no policy was pushed to the deployed ledger".to_owned(),
                )),
                Err(error) => Err(Unusable::Reason(format!(
                    "no deployed ledger can be read ({})",
                    error.code
                ))),
            };
            reason = match (found, without_ledger) {
                (Ok(found), _) => return Ok(found),
                (Err(Unusable::Reason(reason)), _) => reason,
                (Err(Unusable::Error(error)), WithoutLedger::Inspects(_)) => error.to_string(),
                (
                    Err(Unusable::Error(error)),
                    WithoutLedger::Compares(_) | WithoutLedger::Fails(_),
                ) => return Err(error),
            };
        }
        let primary = match without_ledger {
            WithoutLedger::Compares(option) | WithoutLedger::Inspects(option) => {
                option.primary.as_deref()
            }
            WithoutLedger::Fails(problem) => {
                return Err(CliError::Usage(format!("{reason}: {problem}")));
            }
        };
        let epoch = requested_epoch(primary, &policy)?;
        output::note(&format!(
            "Twinlake works without a ledger, since {}: objects that are equal in both Regions \
             count as paired. {} is taken as the primary; name another one with --primary.",
            twinlake_core::render::escape(&reason),
            policy.primary(epoch).region
        ));
        Ok((policy, epoch, CommandLedger::none()))
    }

    /// The deployed ledger, if the policy in the ledger of a Region is the given one.
    async fn deployed_with(
        options: &LedgerOptions,
        policy: &Policy,
        (region, text): (&str, &str),
        without_ledger: WithoutLedger<'_>,
    ) -> Result<(Policy, Epoch, CommandLedger), Unusable> {
        let stored = Policy::parse(text).map_err(|error| Unusable::Error(error.into()))?;
        if stored.digest() != policy.digest() {
            let reason = "the deployed ledger holds another policy".to_owned();
            return Err(Unusable::Reason(reason));
        }
        let found = Self::deployed_in(options, region, without_ledger).await;
        found.map_err(Unusable::Error)
    }

    async fn deployed(
        options: &LedgerOptions,
        without_ledger: WithoutLedger<'_>,
    ) -> Result<(Policy, Epoch, CommandLedger), CliError> {
        let Some(region) = &options.region else {
            return Err(CliError::Usage(NO_POLICY.to_owned()));
        };
        Self::deployed_in(options, region, without_ledger).await
    }

    /// The deployed ledger of the standby, found from that of either Region.
    async fn deployed_in(
        options: &LedgerOptions,
        region: &str,
        without_ledger: WithoutLedger<'_>,
    ) -> Result<(Policy, Epoch, CommandLedger), CliError> {
        let local = ledger_in(&options.ledger_table, region).await;
        let policy = policy_in(&local, region).await?;
        let peer = policy.sites.find(region).map(|site| site.other());
        let peer = peer.map_or(region, |site| policy.sites.get(site).region.as_str());
        let table = &options.ledger_table;
        let peer_clients = Clients::connect(peer).await;
        let limited =
            |clients: &Clients| DynamoLedger::of_peer(clients, table, PEER_LEDGER_TIMEOUT);
        let authority = region_authority(region, &local, &limited(&peer_clients)).await?;
        let is_standby = authority.local == authority.epoch.standby();
        let ledger = match is_standby {
            true => CommandLedger::deployed(local, limited(&peer_clients)),
            false => {
                let primary = limited(&Clients::connect(region).await);
                match (limited(&peer_clients).epoch().await, without_ledger) {
                    (Ok(_), _) => {
                        CommandLedger::deployed(DynamoLedger::new(&peer_clients, table), primary)
                    }
                    (Err(error), WithoutLedger::Compares(_) | WithoutLedger::Inspects(_)) => {
                        output::note(&format!(
                            "Twinlake works without a ledger, since that of {peer}, the standby, cannot be \
                             read ({}): objects that are equal in both Regions count as paired.",
                            twinlake_core::render::escape(&error.code)
                        ));
                        CommandLedger::none()
                    }
                    (Err(error), WithoutLedger::Fails(_)) => {
                        return Err(CliError::StandbyUnreachable {
                            primary: region.to_owned(),
                            standby: peer.to_owned(),
                            error: Box::new(error),
                        });
                    }
                }
            }
        };
        Ok((authority.policy, authority.epoch, ledger))
    }
}

/// The two Regions, with the policy, the ledger and the caller of the command.
#[derive(Debug)]
pub(crate) struct Connection {
    pub policy: Policy,
    pub epoch: Epoch,
    pub ledger: CommandLedger,
    /// The commands that an operator runs next.
    pub next: NextCommands,
    /// The progress of reads and writes.
    pub progress: TerminalProgress,
    primary: CommandRegion,
    standby: CommandRegion,
    fence: Option<Arc<CommandFence>>,
    primary_query_tools: QueryToolsRegion,
    standby_query_tools: CommandQueryTools,
    primary_infrastructure: AwsInfrastructure,
    standby_infrastructure: AwsInfrastructure,
    clock: SystemClock,
    reader: Principal,
    own_roles: OwnRoles,
    parallel: usize,
}

impl Connection {
    /// Connects to both Regions. A command that can work without a ledger writes nothing.
    pub(crate) async fn open(
        common: &Common,
        without_ledger: WithoutLedger<'_>,
    ) -> Result<Self, CliError> {
        let LedgerConnection {
            policy,
            operation,
            epoch,
            ledger,
            clock,
            next,
        } = LedgerConnection::open(&common.ledger, without_ledger).await?;
        let (primary, standby) = (policy.primary(epoch), policy.standby(epoch));
        let primary_clients = Clients::connect(&primary.region).await;
        let clients = Clients::connect(&standby.region).await;
        for limits in [primary_clients.limits(), clients.limits()] {
            match common.max_calls_per_second {
                Some(ceiling) => limits.set_ceiling(Some(ceiling), None),
                None => {
                    let ceiling = operation.max_calls_per_second.get(limits.region());
                    limits.set_ceiling(ceiling.copied(), ledger.shared_ceiling());
                }
            }
        }
        let fence = ledger.write_fence(epoch);
        if let Some(fence) = &fence {
            clients.limits().require_lease(fence.lease().clone());
        }
        let primary_region = AwsRegion::new(&primary_clients, &primary.account);
        let primary_region = GuardedRegion::new(primary_region, None);
        let standby_region = AwsRegion::new(&clients, &standby.account);
        let standby_region = GuardedRegion::new(standby_region, fence.clone());
        let standby_query_tools = QueryToolsRegion::new(&clients, &standby.account);
        let standby_query_tools = FencedQueryRegion::new(standby_query_tools, fence.clone());
        let reader = match &common.caller_arn {
            Some(arn) => Principal(arn.clone()),
            None => clients.caller().await?,
        };
        let mut own_roles = common.ignored_roles.clone();
        own_roles.push(reader.0.clone());
        Ok(Self {
            next: next.with_role(&reader.0),
            progress: TerminalProgress::new(),
            primary: LimitedRegion::new(primary_region, common.parallel),
            standby: LimitedRegion::new(standby_region, common.parallel),
            fence,
            primary_query_tools: QueryToolsRegion::new(&primary_clients, &primary.account),
            standby_query_tools,
            primary_infrastructure: AwsInfrastructure::new(&primary_clients),
            standby_infrastructure: AwsInfrastructure::new(&clients),
            clock,
            reader,
            own_roles: OwnRoles::new(own_roles),
            parallel: common.parallel,
            policy,
            epoch,
            ledger,
        })
    }

    /// The IAM principal that the command runs as.
    pub(crate) fn caller(&self) -> &str {
        &self.reader.0
    }

    /// Connects to both Regions to write to the standby, which needs a ledger.
    ///
    /// # Errors
    /// As for [`Self::open`]; the standby is fenced: it was primary by the epoch that its own ledger holds; or the
    /// ledger is a file, and the Regions have a deployed one.
    pub(crate) async fn open_to_write(common: &Common) -> Result<Self, CliError> {
        let connection = Self::open(common, WithoutLedger::Fails(WRITES_NEED_LEDGER)).await?;
        let Some(fence) = &connection.fence else {
            if !common.no_deployment {
                let table = &common.ledger.ledger_table;
                deployment_check::refuse_beside_deployment(table, &connection.policy).await?;
            }
            return Ok(connection);
        };
        let region = connection.standby.region();
        match fence.check(region).await {
            Ok(()) => Ok(connection),
            Err(error) if error.kind == CallErrorKind::Contended => Err(CliError::Usage(format!(
                "Twinlake writes nothing in {region}: {}; docs/takeover.md says what to do about a Region \
                 that is fenced",
                error.message
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// The primary and the standby, of which the latter may be fenced.
    pub(crate) const fn regions(&self) -> (&CommandRegion, &CommandRegion) {
        (&self.primary, &self.standby)
    }

    /// The roles whose grants are not compared.
    pub(crate) const fn own_roles(&self) -> &OwnRoles {
        &self.own_roles
    }

    /// The two Regions after a failover, for a comparison.
    pub(crate) fn returning<'a, L, O>(
        &'a self,
        primary: RegionPorts<'a, CommandRegion, L, O>,
        former: RegionPorts<'a, CommandRegion, L, O>,
    ) -> DivergenceContext<'a, CommandRegion, L, O, SystemClock> {
        DivergenceContext {
            primary,
            former,
            clock: &self.clock,
            policy: &self.policy,
            epoch: self.epoch,
            reader_role: &self.reader,
            own_roles: &self.own_roles,
            max_concurrent_calls: self.parallel,
            progress: &self.progress,
        }
    }

    /// Makes a plan for a scope and audits it. Writes nothing. Returns the plan without the
    /// rejected steps, and the rejections.
    pub(crate) async fn preview(
        &self,
        scope: &Scope,
        deletions: &ApprovedDeletions,
    ) -> Result<(Plan, Vec<Rejection>), CliError> {
        let context = self.context(deletions);
        self.progress.begin("Comparing the Regions");
        let preview = twinlake_engine::resync::preview(&context, scope).await;
        self.progress.end();
        Ok(preview?)
    }

    /// Reads what the checks of the readiness look at. A read that fails is part of the result.
    pub(crate) async fn readiness(
        &self,
        options: &LedgerOptions,
        twinlake_roles: BTreeSet<Principal>,
    ) -> ReadinessReadings {
        let ledger = async |region: &str| ledger_in(&options.ledger_table, region).await;
        let deployment = match &options.ledger {
            Some(_) => None,
            None => {
                let primary = ledger(self.primary.region()).await;
                let standby = ledger(self.standby.region()).await;
                let now = self.clock.now();
                Some(readiness::read_deployment(&primary, &standby, now).await)
            }
        };
        let primary = InspectedRegion {
            catalog: &self.primary,
            infrastructure: &self.primary_infrastructure,
        };
        let standby = InspectedRegion {
            catalog: &self.standby,
            infrastructure: &self.standby_infrastructure,
        };
        let inspection = Inspection {
            reader: self.reader.clone(),
            twinlake_roles,
            deployment,
        };
        readiness::read(primary, standby, &self.policy, self.epoch, inspection).await
    }

    /// The context of a run over the query tools without a deadline.
    pub(crate) fn query_context<'a>(
        &'a self,
        query: &'a QueryPolicy,
        approved_deletions: &'a BTreeSet<ObjectKey>,
        confirmed: Option<&'a [QueryStep]>,
    ) -> QueryToolsContext<'a, QueryToolsRegion, CommandQueryTools, CommandLedger, SystemClock>
    {
        QueryToolsContext {
            primary: &self.primary_query_tools,
            standby: &self.standby_query_tools,
            ledger: &self.ledger,
            clock: &self.clock,
            policy: (&self.policy, query),
            epoch: self.epoch,
            approved_deletions,
            confirmed,
            run: new_run(),
            stop_at: None,
        }
    }

    /// The context of a reconciliation without a deadline.
    pub(crate) fn context<'a>(
        &'a self,
        approved_deletions: &'a ApprovedDeletions,
    ) -> Context<'a, CommandEnvironment> {
        Context {
            primary: &self.primary,
            standby: &self.standby,
            ledger: &self.ledger,
            clock: &self.clock,
            policy: &self.policy,
            epoch: self.epoch,
            reader_role: &self.reader,
            own_roles: &self.own_roles,
            max_concurrent_calls: self.parallel,
            approved_deletions,
            may_write_settings: true,
            stop_at: None,
            scan_window: None,
            lf_tag_lease: None,
            progress: &self.progress,
        }
    }
}

/// The epoch of a command without a ledger: the primary is the Region of `--primary`, by default
/// site `a`.
///
/// # Errors
/// `--primary` names neither Region of the policy.
pub(crate) fn requested_epoch(primary: Option<&str>, policy: &Policy) -> Result<Epoch, CliError> {
    let Some(region) = primary else {
        return Ok(Epoch::INITIAL);
    };
    let site = policy.sites.find(region).ok_or_else(|| {
        let (a, b) = (&policy.sites.a.region, &policy.sites.b.region);
        CliError::Usage(format!(
            "--primary {region}: the policy names {a} and {b}; name one of them"
        ))
    })?;
    Ok(Epoch::without_ledger(site))
}

/// The epoch of a command that reads no ledger itself: by `--primary`, else the latest epoch in the
/// deployed ledgers, else the initial one.
///
/// # Errors
/// `--primary` names neither Region of the policy; or without it, a ledger cannot be read.
pub(crate) async fn known_epoch(
    primary: Option<&str>,
    ledger_table: &str,
    policy: &Policy,
) -> Result<Epoch, CliError> {
    if primary.is_some() {
        return requested_epoch(primary, policy);
    }
    let deployed = deployment_check::deployed_epoch(ledger_table, policy).await?;
    Ok(deployed.unwrap_or(Epoch::INITIAL))
}

/// The policy that the deployed ledger of a Region holds.
///
/// # Errors
/// No Region is given, or its ledger cannot be read or holds no valid policy.
pub(crate) async fn deployed_policy(
    ledger_table: &str,
    region: Option<&str>,
) -> Result<Policy, CliError> {
    let Some(region) = region else {
        return Err(CliError::Usage(NO_POLICY.to_owned()));
    };
    policy_in(&ledger_in(ledger_table, region).await, region).await
}

/// The policy that the options name: of a file, or of a deployment.
///
/// # Errors
/// As for [`deployed_policy`], or the file holds no valid policy.
pub(crate) async fn policy_of(options: &PolicyOptions) -> Result<Policy, CliError> {
    match &options.policy {
        Some(file) => read_policy(file),
        None => deployed_policy(&options.ledger_table, options.region.as_deref()).await,
    }
}

/// The policy that a ledger holds.
///
/// # Errors
/// It cannot be read or holds no valid policy.
pub(crate) async fn policy_in(ledger: &DynamoLedger, region: &str) -> Result<Policy, CliError> {
    let text = ledger.policy().await?;
    let text = text.ok_or_else(|| NotReady::NoPolicy(region.to_owned()))?;
    Ok(Policy::parse(&text)?)
}

/// Parses the names of databases and tables; no name is the whole catalog.
pub(crate) fn scope(names: &[String]) -> Result<Scope, CliError> {
    if names.is_empty() {
        return Ok(Scope::catalog());
    }
    let mut scope = Scope::default();
    for text in names {
        scope.merge(match object_name(text)? {
            ObjectName::Database(name) => Scope::database(name),
            ObjectName::Table(id) => Scope::table(id),
        });
    }
    Ok(scope)
}

/// Parses the name of a database or a table.
pub(crate) fn object_name(text: &str) -> Result<ObjectName, CliError> {
    ObjectName::parse(text)
        .map_err(|e| CliError::Usage(format!("{text} names no database or table: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::{Name, Subject, TableId};

    #[test]
    fn a_name_with_dots_is_put_in_quotation_marks() {
        let name = |text| Name::new(text).unwrap();
        let subjects = |text: &str| -> Vec<Subject> {
            let scope = scope(&[text.to_owned()]).unwrap();
            scope.read_requests.into_keys().collect()
        };
        let pay = Subject::Table(TableId::new(name("fin.hr"), name("pay")));
        assert_eq!(subjects("\"fin.hr\".pay"), [pay]);
        assert_eq!(subjects("\"fin.hr\""), [Subject::Database(name("fin.hr"))]);
        let hr = Subject::Table(TableId::new(name("fin"), name("hr")));
        assert_eq!(subjects("fin.hr"), [hr]);
        let error = scope(&["fin.hr.pay".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("\"fin.hr\".pay"), "{error}");
    }
}
