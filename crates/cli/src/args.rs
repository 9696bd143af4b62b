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
use crate::common_options::Common;
use clap::{Parser, Subcommand};

/// Replicates Glue Data Catalog metadata and Lake Formation permissions to a standby Region.
///
/// Twinlake compares the catalogs and the permissions of two Regions and makes the standby equal
/// to the primary. Start with `twinlake policy check`, then `twinlake plan`: neither needs a
/// deployment, and neither writes anything.
#[derive(Debug, Parser)]
#[command(name = "twinlake", version, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
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
    Plan(PlanArgs),
    /// Make the standby equal to the primary, with a stored plan or a new one
    ///
    /// A stored plan is refused if the policy or either Region has changed since.
    Apply(ApplyArgs),
    /// Apply deletions that are held because they exceed the deletion limit
    ///
    /// Shows the deletions and asks for confirmation. `twinlake status` lists the held deletions.
    ApproveDeletions(ApproveDeletionsArgs),
    /// Reconcile the whole catalog now, as the scheduled resync does
    Resync(ResyncArgs),
    /// Show the replication state of every object, worst first
    ///
    /// Exits with 2 if attention is needed: an object is not in sync, a lag exceeds its limit, an
    /// alert is open, or no resync has completed yet.
    Status(StatusArgs),
    /// Write the status as a self-contained HTML page
    Report(ReportArgs),
    /// Manage S3 objects that a table waits for
    #[command(subcommand)]
    Pending(PendingCommand),
    /// Send messages from dead-letter queues back to their source queues
    ///
    /// Shows the subjects of the messages and asks for confirmation. Fix the cause first.
    Redrive(RedriveArgs),
    /// Compare the permissions of a principal in both Regions, down to columns and rows
    ///
    /// Names the grants behind each permission. Exits with 2 if the Regions differ. IAM policies
    /// are not evaluated.
    Access(AccessArgs),
    /// Give Twinlake's roles their rights: data lake administrator, and SELECT in the primary
    ///
    /// Runs with your own rights, which must include PutDataLakeSettings in both Regions. Clears
    /// the default permissions for new databases and tables of the standby. Removes nobody. The
    /// changes are recorded in a file, from which --undo reverts them.
    Bootstrap(BootstrapArgs),
    /// Show what an event leads to: which objects are read, or why it is ignored
    Explain(ExplainArgs),
    /// Check, push or explain the policy
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Run a scenario script in two simulated Regions and print its transcript
    Scenario(ScenarioArgs),
    /// Serve two simulated Regions of Glue and Lake Formation on 127.0.0.1
    Sandbox(SandboxArgs),
}
