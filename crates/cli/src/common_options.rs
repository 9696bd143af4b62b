//! The options that several commands share: those that select a policy and a ledger, and those of
//! the commands that read both Regions.

use clap::Args;
use std::path::{Path, PathBuf};
use twinlake_core::NextCommands;
use twinlake_core::next_command::shell_word;

/// The default name of the ledger's DynamoDB table, as in the template.
pub(crate) const DEFAULT_LEDGER_TABLE: &str = "twinlake-ledger";

/// The heading of the options that select the policy and the ledger.
const POLICY_AND_LEDGER: &str = "Policy and ledger";
/// The heading of the options that concern calls to AWS.
const CALLS_TO_AWS: &str = "Calls to AWS";

/// The arguments of a command that reads both Regions: its own, and those of all such commands.
#[derive(Debug, Clone, Args)]
pub struct WithCommon<A: Args> {
    /// The command's own arguments.
    #[command(flatten)]
    pub args: A,
    /// The options of every command that reads both Regions.
    #[command(flatten)]
    pub common: Common,
}

/// The arguments of a command that reads a ledger, and no Region: its own, and those of all such
/// commands.
#[derive(Debug, Clone, Args)]
pub struct WithLedger<A: Args> {
    /// The command's own arguments.
    #[command(flatten)]
    pub args: A,
    /// The options of every command that reads a ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// Options of every command that reads a policy, and neither its ledger nor a Region.
#[derive(Debug, Clone, Args)]
pub struct PolicyOptions {
    /// The policy file [default: the policy of the deployment in --region]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Either Region of a deployment; required unless --policy is given
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// The DynamoDB table of the deployment's ledger, which holds its policy
    #[arg(long, value_name = "TABLE", default_value = DEFAULT_LEDGER_TABLE)]
    pub ledger_table: String,
}

/// Options of every command that reads a ledger.
#[derive(Debug, Clone, Args)]
pub struct LedgerOptions {
    /// The policy file [default: the policy of the deployment in --region]
    ///
    /// Without --ledger, the command uses the deployed ledger if that holds the same policy. If it
    /// does not, `plan`, `access` and `doctor` work without a ledger; the other commands fail, and need
    /// --ledger.
    #[arg(long, value_name = "FILE", help_heading = POLICY_AND_LEDGER)]
    pub policy: Option<PathBuf>,
    /// Either Region of a deployment; required unless --policy is given
    ///
    /// From this Region, the command finds the policy and the ledger of the deployment. With
    /// --policy it is not used: the policy names both Regions.
    #[arg(long, value_name = "REGION", help_heading = POLICY_AND_LEDGER)]
    pub region: Option<String>,
    /// The DynamoDB table of the ledger: Twinlake's record of the objects that it replicates and of
    /// their states. It has the same name in both Regions
    #[arg(long, value_name = "TABLE", default_value = DEFAULT_LEDGER_TABLE,
          help_heading = POLICY_AND_LEDGER)]
    pub ledger_table: String,
    /// Keep the ledger in this file instead of a DynamoDB table; requires --policy
    #[arg(long, value_name = "FILE", help_heading = POLICY_AND_LEDGER)]
    pub ledger: Option<PathBuf>,
}

impl LedgerOptions {
    /// The commands that an operator runs next, with the same options.
    pub(crate) fn next_commands(&self, standby: &str) -> NextCommands {
        let path = |path: &Path| shell_word(&path.to_string_lossy());
        let policy = self.policy.as_deref().map(path);
        let mut options = Vec::new();
        match (&policy, &self.region) {
            (Some(policy), _) => options.push(format!("--policy {policy}")),
            (None, Some(region)) => options.push(format!("--region {}", shell_word(region))),
            (None, None) => {}
        }
        if let Some(ledger) = &self.ledger {
            options.push(format!("--ledger {}", path(ledger)));
        }
        if self.ledger_table != DEFAULT_LEDGER_TABLE {
            options.push(format!("--ledger-table {}", shell_word(&self.ledger_table)));
        }
        NextCommands::new(&options.join(" "), policy.as_deref(), standby)
    }
}

/// The option of every command that can work without a ledger.
#[derive(Debug, Clone, Args)]
pub struct PrimaryOption {
    /// The Region that is primary, if no ledger says it [default: the policy's region "a"]
    #[arg(long, value_name = "REGION", help_heading = POLICY_AND_LEDGER)]
    pub primary: Option<String>,
}

/// Options of every command that reads both Regions.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The policy and the ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// Write with a ledger in a file although it cannot be read whether the Regions have a deployed one
    ///
    /// A command that writes with --ledger reads first that neither Region has the ledger of a deployment:
    /// that one says which Region is primary. Add this option only if Twinlake is deployed in neither.
    #[arg(long, requires = "ledger", help_heading = POLICY_AND_LEDGER)]
    pub no_deployment: bool,
    /// The IAM principal that the command runs as [default: as STS reports it]
    ///
    /// STS omits the path of a role. Give the ARN if the role has a path.
    #[arg(long, value_name = "ARN", help_heading = CALLS_TO_AWS)]
    pub caller_arn: Option<String>,
    /// A role whose grants are not compared, as an ARN or a prefix that ends in `*`; repeatable
    ///
    /// Use it for the roles of the deployed functions. The grants of the principal that the command
    /// runs as are never compared.
    #[arg(long = "ignore-role", value_name = "ARN", help_heading = CALLS_TO_AWS)]
    pub ignored_roles: Vec<String>,
    /// The maximum number of concurrent calls to AWS in each Region
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = CALLS_TO_AWS)]
    pub parallel: usize,
    /// Send at most N calls a second to Glue and Lake Formation in each Region [default: as the
    /// deployment's operation document says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
          help_heading = CALLS_TO_AWS)]
    pub max_calls_per_second: Option<u32>,
}
