//! The command line: the list of commands. The arguments of a command are in its module under
//! `commands`.

use crate::commands::access::AccessArgs;
use crate::commands::apply::ApplyArgs;
use crate::commands::approve_deletions::ApproveDeletionsArgs;
use crate::commands::bootstrap::BootstrapArgs;
use crate::commands::explain::ExplainArgs;
use crate::commands::pending::PendingCommand;
use crate::commands::plan::PlanArgs;
use crate::commands::policy::PolicyCommand;
use crate::commands::redrive::RedriveArgs;
use crate::commands::report::ReportArgs;
use crate::commands::resync::ResyncArgs;
use crate::commands::sandbox::SandboxArgs;
use crate::commands::scenario::ScenarioArgs;
use crate::commands::status::StatusArgs;
use crate::common_options::WithCommon;
use clap::{Parser, Subcommand};

/// Replicates Glue Data Catalog metadata and Lake Formation permissions to a standby Region.
///
/// Twinlake compares the catalogs and the permissions of two Regions and makes the standby equal
/// to the primary. Start with `twinlake policy check`, then `twinlake plan`: neither needs a
/// deployment, and neither writes anything.
#[derive(Debug, Parser)]
#[command(name = "twinlake", version, max_term_width = 100)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the changes that would make the standby equal to the primary, field by field
    ///
    /// Also shows which changes are withheld, and why. Exits with 2 if there are changes. Writes
    /// nothing in AWS.
    #[command(visible_alias = "diff")]
    Plan(WithCommon<PlanArgs>),
    /// Make the standby equal to the primary: apply a new plan, or a stored one
    ///
    /// A new plan covers the databases and tables that are named, or the whole catalog. A stored plan
    /// is refused if the policy or either Region has changed since it was made. Shows the plan and
    /// asks for confirmation.
    Apply(WithCommon<ApplyArgs>),
    /// Apply deletions that are held because they exceed the deletion limit
    ///
    /// Shows the deletions and asks for confirmation. `twinlake status` lists the held deletions.
    ApproveDeletions(WithCommon<ApproveDeletionsArgs>),
    /// Reconcile the whole catalog now, as the scheduled resync does
    ///
    /// Applies all changes without asking; deletions beyond the deletion limit stay held. Exits with
    /// 2 if something is held back, failed or could not be read.
    Resync(WithCommon<ResyncArgs>),
    /// Show the replication lag, the open alerts, and the objects that are not in sync
    ///
    /// Reads what the deployed functions, or the last command with this ledger, have recorded; `twinlake
    /// plan` compares the two Regions. Exits with 2 if attention is needed: an object is not in sync,
    /// a lag exceeds its threshold or is unknown, an alert is open, or no resync has completed yet.
    Status(WithCommon<StatusArgs>),
    /// Write the status as a self-contained HTML page
    Report(WithCommon<ReportArgs>),
    /// Manage S3 objects that a table waits for
    #[command(subcommand)]
    Pending(PendingCommand),
    /// Send messages from dead-letter queues back to their source queues
    ///
    /// Shows the subjects of the messages and asks for confirmation. Fix the cause first.
    Redrive(WithCommon<RedriveArgs>),
    /// Compare the permissions of a principal in both Regions, down to columns and rows
    ///
    /// Names the grants behind each permission. Exits with 2 if the Regions differ. IAM policies
    /// are not evaluated.
    Access(WithCommon<AccessArgs>),
    /// Give Twinlake's roles their rights: data lake administrator, and SELECT in the primary
    ///
    /// Runs with your own rights, which must include PutDataLakeSettings in both Regions. Clears
    /// the default permissions for new databases and tables of the standby. Removes nobody. The
    /// changes are recorded in the file of --record. Keep it: --undo needs it to revert them.
    Bootstrap(BootstrapArgs),
    /// Show what an event leads to: which objects are read, or why it is ignored
    Explain(ExplainArgs),
    /// Check a policy, store it in both Regions, or show what it does with an object
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Run a scenario script in two simulated Regions and print its transcript
    Scenario(ScenarioArgs),
    /// Serve two simulated Regions of Glue and Lake Formation on 127.0.0.1
    Sandbox(SandboxArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// The long options that the help of a command lists.
    fn options(path: &[&str]) -> Vec<String> {
        let mut command = Cli::command();
        command.build();
        let mut found = &command;
        for name in path {
            found = found.find_subcommand(name).unwrap();
        }
        let listed = found.get_arguments().filter(|arg| !arg.is_hide_set());
        let mut options: Vec<String> = listed
            .filter_map(|arg| arg.get_long())
            .filter(|long| *long != "help")
            .map(str::to_owned)
            .collect();
        options.sort();
        options
    }

    #[test]
    fn the_definition_of_the_commands_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_lists_only_the_options_that_it_reads() {
        assert!(options(&["scenario"]).is_empty());
        assert!(options(&["policy", "check"]).is_empty());
        assert_eq!(
            options(&["sandbox"]),
            [
                "account",
                "events-to",
                "port",
                "reader-role",
                "twinlake-role",
                "with-region"
            ]
        );
        assert_eq!(
            options(&["policy", "push"]),
            ["ledger-table", "operation", "region"]
        );
        assert_eq!(
            options(&["explain"]),
            ["ignore-role", "json", "policy", "primary"]
        );
        assert_eq!(
            options(&["resync"]),
            [
                "caller-arn",
                "ignore-role",
                "json",
                "ledger",
                "ledger-table",
                "parallel",
                "policy",
                "primary",
                "region"
            ]
        );
    }

    #[test]
    fn a_required_option_shows_no_default() {
        let parse = |args: &[&str]| Cli::try_parse_from(args).map(drop);
        let without_policy = parse(&["twinlake", "bootstrap", "--undo"]).unwrap_err();
        assert!(without_policy.to_string().contains("--policy <FILE>"));
        assert!(parse(&["twinlake", "bootstrap", "--undo", "--policy", "p.toml"]).is_ok());
        let stored_and_named = parse(&["twinlake", "apply", "--plan", "plan.json", "sales"]);
        assert!(stored_and_named.is_err());
    }
}
