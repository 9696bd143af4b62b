//! Opens the two Regions and the ledger that the options of a command name, and parses the names
//! of databases and tables.

use crate::command_ledger::CommandLedger;
use crate::common_options::Common;
use crate::files::{open_ledger, read_policy};
use crate::{CliError, output};
use twinlake_aws::{AwsRegion, Clients, DynamoLedger, SystemClock};
use twinlake_core::audit::Rejection;
use twinlake_core::name::ObjectName;
use twinlake_core::topology::Epoch;
use twinlake_core::{OwnRoles, Plan, Policy, Principal, Scope};
use twinlake_engine::operation::OperationConfig;
use twinlake_engine::region_authority::{NotReady, region_authority};
use twinlake_engine::{Context, Environment, Ledger};

/// The error of a command that is given neither a policy file nor a Region to look for one.
const NO_POLICY: &str = "no policy is given; add --region REGION, either Region of a deployment, \
                         or --policy FILE";

/// The environment of a command.
pub(crate) struct CommandEnvironment;

impl Environment for CommandEnvironment {
    type Primary = AwsRegion;
    type Standby = AwsRegion;
    type Ledger = CommandLedger;
    type Clock = SystemClock;
}

/// The two Regions, with the policy, the ledger and the caller of the command.
#[derive(Debug)]
pub(crate) struct Connection {
    pub policy: Policy,
    pub operation: OperationConfig,
    pub epoch: Epoch,
    pub ledger: CommandLedger,
    primary: AwsRegion,
    standby: AwsRegion,
    pub(crate) clock: SystemClock,
    reader: Principal,
    own_roles: OwnRoles,
    parallel: usize,
}

impl Connection {
    /// Connects to both Regions. Without a ledger the command can read, and not write.
    pub(crate) async fn open(common: &Common) -> Result<Self, CliError> {
        let (policy, epoch, ledger) = match (&common.policy, &common.ledger) {
            (Some(policy), Some(file)) => {
                let ledger = open_ledger(file)?;
                let epoch = ledger.epoch().await?;
                (
                    read_policy(policy)?,
                    epoch,
                    CommandLedger::in_file(file.clone(), ledger),
                )
            }
            (Some(policy), None) => Self::with_policy(common, read_policy(policy)?).await?,
            (None, Some(_)) => {
                let problem =
                    "--ledger FILE requires --policy FILE: the policy is not in a ledger file";
                return Err(CliError::Usage(problem.to_owned()));
            }
            (None, None) => Self::deployed(common).await?,
        };
        let operation = OperationConfig::load(&ledger).await?;
        if let (_, Some(error)) = &operation {
            output::note(&format!("The defaults hold, since the {error}"));
        }
        let (primary, standby) = (policy.primary(epoch), policy.standby(epoch));
        let clients = Clients::connect(&standby.region).await;
        let reader = match &common.caller_arn {
            Some(arn) => Principal(arn.clone()),
            None => clients.caller().await?,
        };
        let mut own_roles = common.ignored_roles.clone();
        own_roles.push(reader.0.clone());
        Ok(Self {
            primary: AwsRegion::new(&Clients::connect(&primary.region).await, &primary.account),
            standby: AwsRegion::new(&clients, &standby.account),
            clock: SystemClock,
            reader,
            own_roles: OwnRoles::new(own_roles),
            parallel: common.parallel,
            policy,
            operation: operation.0,
            epoch,
            ledger,
        })
    }

    /// A policy from a file: with the deployed ledger, if either Region has one that holds
    /// the same policy.
    async fn with_policy(
        common: &Common,
        policy: Policy,
    ) -> Result<(Policy, Epoch, CommandLedger), CliError> {
        let mut reason = String::new();
        for (_, site) in policy.sites.iter() {
            let ledger = ledger_in(&common.ledger_table, &site.region).await;
            reason = match ledger.policy().await {
                Ok(Some(text)) if Policy::parse(&text)?.digest() == policy.digest() => {
                    return Self::deployed_in(common, &site.region).await;
                }
                Ok(Some(_)) => "the deployed ledger holds another policy".to_owned(),
                Ok(None) => "no policy was pushed to the deployed ledger".to_owned(),
                Err(error) => format!("no deployed ledger can be read ({})", error.code),
            };
        }
        let epoch = requested_epoch(common.primary.as_deref(), &policy)?;
        output::note(&format!(
            "Twinlake works without a ledger, since {}: objects that are equal in both Regions \
             count as paired. {} is taken as the primary; name another one with --primary.",
            twinlake_core::render::escape(&reason),
            policy.primary(epoch).region
        ));
        Ok((policy, epoch, CommandLedger::none()))
    }

    async fn deployed(common: &Common) -> Result<(Policy, Epoch, CommandLedger), CliError> {
        let Some(region) = &common.region else {
            return Err(CliError::Usage(NO_POLICY.to_owned()));
        };
        Self::deployed_in(common, region).await
    }

    /// The deployed ledger of the standby, found from that of either Region.
    async fn deployed_in(
        common: &Common,
        region: &str,
    ) -> Result<(Policy, Epoch, CommandLedger), CliError> {
        let local = ledger_in(&common.ledger_table, region).await;
        let policy = policy_in(&local, region).await?;
        let peer = policy.sites.find(region).map(|site| site.other());
        let peer = peer.map_or(region, |site| policy.sites.get(site).region.as_str());
        let peer = ledger_in(&common.ledger_table, peer).await;
        let authority = region_authority(region, &local, &peer).await?;
        let is_standby = authority.local == authority.epoch.standby();
        let ledger = if is_standby { local } else { peer };
        Ok((
            authority.policy,
            authority.epoch,
            CommandLedger::deployed(ledger),
        ))
    }

    /// Makes a plan for a scope and audits it. Writes nothing. Returns the plan without the
    /// rejected steps, and the rejections.
    pub(crate) async fn preview(
        &self,
        scope: &Scope,
        deletions_approved: bool,
    ) -> Result<(Plan, Vec<Rejection>), CliError> {
        let context = self.context(deletions_approved);
        Ok(twinlake_engine::resync::preview(&context, scope).await?)
    }

    /// The context of a reconciliation without a deadline.
    pub(crate) fn context(&self, deletions_approved: bool) -> Context<'_, CommandEnvironment> {
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
            deletions_approved,
            may_write_settings: true,
            stop_at: None,
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
    Ok(Epoch::led_by(site))
}

/// The epoch of a command that reads no ledger itself: by `--primary`, else the latest epoch in the
/// deployed ledgers that can be read.
///
/// # Errors
/// `--primary` names neither Region of the policy.
pub(crate) async fn known_epoch(
    primary: Option<&str>,
    ledger_table: &str,
    policy: &Policy,
) -> Result<Epoch, CliError> {
    if primary.is_some() {
        return requested_epoch(primary, policy);
    }
    let mut known = Epoch::INITIAL;
    for (_, site) in policy.sites.iter() {
        let ledger = ledger_in(ledger_table, &site.region).await;
        known = ledger
            .epoch()
            .await
            .map_or(known, |epoch| known.latest(epoch));
    }
    Ok(known)
}

/// The deployed ledger of a Region.
pub(crate) async fn ledger_in(ledger_table: &str, region: &str) -> DynamoLedger {
    DynamoLedger::new(&Clients::connect(region).await, ledger_table)
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

async fn policy_in(ledger: &DynamoLedger, region: &str) -> Result<Policy, CliError> {
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
