//! The options that every command takes.

use clap::Args;
use std::path::PathBuf;

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The policy file [default: the policy in the deployed ledger]
    #[arg(long, global = true, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Keep the ledger in this file instead of the deployed ledger table
    #[arg(long, global = true, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// The DynamoDB table of the deployed ledger; it has the same name in both Regions
    #[arg(
        long,
        global = true,
        value_name = "TABLE",
        default_value = "twinlake-ledger"
    )]
    pub ledger_table: String,
    /// The Region in which to look for the deployed ledger, if --policy is not given
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
    /// The Region that is primary, where no ledger says it [default: the policy's region "a"]
    #[arg(long, global = true, value_name = "REGION")]
    pub primary: Option<String>,
    /// The IAM principal that the command runs as [default: as STS reports it]
    ///
    /// STS omits the path of a role. Give the ARN if the role has a path.
    #[arg(long, global = true, value_name = "ARN")]
    pub caller_arn: Option<String>,
    /// A role whose grants are not compared, as an ARN or a prefix that ends in `*`; repeatable
    ///
    /// Use it for the roles of the deployed functions. The role of --caller-arn is always ignored.
    #[arg(long = "ignore-role", global = true, value_name = "ARN")]
    pub ignored_roles: Vec<String>,
    /// The maximum number of concurrent calls to AWS
    #[arg(long, global = true, value_name = "N", default_value_t = 4)]
    pub parallel: usize,
}
