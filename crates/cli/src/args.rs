//! The words of the command line.

use clap::{Args as ClapArgs, Parser, Subcommand};
use std::path::PathBuf;

/// Keeps an AWS lakehouse ready to run from a second Region.
///
/// The catalog (Glue) and its permissions (Lake Formation) are compared between two
/// Regions, and the secondary is made equal to the primary. Start with `twinlake
/// policy check`, then `twinlake plan`: neither needs anything deployed, and
/// neither writes anything.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Args {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct Common {
    /// The policy file; without it the policy in the deployed ledger is used
    #[arg(long, global = true, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Keep the ledger in a file, where nothing is deployed
    #[arg(long, global = true, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// The deployed ledger's table, of that name in both Regions
    #[arg(
        long,
        global = true,
        value_name = "TABLE",
        default_value = "twinlake-ledger"
    )]
    pub ledger_table: String,
    /// The Region to connect to for the deployed ledger, if no policy file names it
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
    /// The IAM principal that the commands run as; asked of STS if not given
    #[arg(long, global = true, value_name = "ARN")]
    pub role: Option<String>,
    /// Roles of Twinlake, by ARN or ending in `*`; their grants are not compared
    #[arg(long = "own-role", global = true, value_name = "ARN")]
    pub own_roles: Vec<String>,
    /// Calls under way at once
    #[arg(long, global = true, value_name = "N", default_value_t = 4)]
    pub parallel: usize,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what would be changed in the secondary, and why something would not be
    ///
    /// Exits with 2 when there is something to do. Writes nothing in AWS.
    Plan(PlanArgs),
    /// Show where the two Regions differ, field by field
    ///
    /// Exits with 2 when they differ. Writes nothing.
    Diff(ScopeArgs),
    /// Make the secondary equal to the primary: by a stored plan, or by a new one
    ///
    /// A stored plan is refused if either Region or the policy has moved since.
    Apply(ApplyArgs),
    /// Make deletions that the brake holds, once a person has said that they are meant
    ///
    /// Shows what would be deleted and asks. `twinlake status` lists what is held.
    Release(ReleaseArgs),
    /// Look at everything and mend what differs, as the schedule does
    Resync(ResyncArgs),
    /// Show how every replicated object stands, worst first
    ///
    /// Exits with 2 when something needs eyes: an object that is not current, a lag beyond
    /// its objective, an open alert, or no complete resync yet.
    Status(StatusArgs),
    /// Write one HTML page on how it stands, for people who do not use this tool
    Report(ReportArgs),
    /// No longer wait for objects of a table that S3 did not replicate
    ///
    /// For those that were deleted in the primary since, and so never come.
    Dismiss(DismissArgs),
    /// Send messages from dead-letter queues back to where they failed
    ///
    /// Shows what they are about and asks. Mend the cause first.
    Redrive(RedriveArgs),
    /// Show what a principal may do in each Region, down to columns and rows, and by what
    ///
    /// Exits with 2 when the Regions differ. IAM policies are not read.
    Access(AccessArgs),
    /// Give Twinlake's roles what they need: administrators, and SELECT in the primary
    ///
    /// Runs with your own rights, which must include PutDataLakeSettings in both Regions.
    /// Closes the standby's defaults for new objects. Removes nobody. What was done is
    /// written into the record, from which --undo takes it back.
    Bootstrap(BootstrapArgs),
    /// Show what Twinlake makes of an event: where it would look, or why nowhere
    Explain(ExplainArgs),
    /// Check, push or question the policy
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Run a scenario in two simulated Regions and print what comes of it
    Scenario {
        /// The script
        file: PathBuf,
    },
    /// Serve two simulated Regions of Glue and Lake Formation on 127.0.0.1
    Sandbox(SandboxArgs),
}

/// Where to look.
#[derive(Debug, Clone, ClapArgs)]
pub struct ScopeArgs {
    /// A database, or a table as DATABASE.TABLE; everything if not given
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `plan`.
#[derive(Debug, Clone, ClapArgs)]
pub struct PlanArgs {
    /// Where to look
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Store the plan for `twinlake apply`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `apply`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ApplyArgs {
    /// A plan stored by `twinlake plan --out`
    #[arg(long, value_name = "FILE", conflicts_with = "names")]
    pub plan: Option<PathBuf>,
    /// A database, or a table as DATABASE.TABLE; everything if not given
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// The deletions are meant, even if they are more than the brake lets pass
    #[arg(long)]
    pub release_brake: bool,
}

/// `release`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ReleaseArgs {
    /// A database, or a table as DATABASE.TABLE; all that the brake holds if not given
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `resync`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ResyncArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `status`.
#[derive(Debug, Clone, ClapArgs)]
pub struct StatusArgs {
    /// A database, or a table as DATABASE.TABLE: how it stands, and how it came to
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Show it again every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub watch: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show what is current, too
    #[arg(long)]
    pub all: bool,
}

/// `report`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ReportArgs {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "twinlake-report.html")]
    pub out: PathBuf,
    /// How many days of lag to draw, up to 7
    #[arg(long, value_name = "DAYS", default_value_t = 1,
          value_parser = clap::value_parser!(i64).range(1..=7))]
    pub days: i64,
}

/// `dismiss`.
#[derive(Debug, Clone, ClapArgs)]
pub struct DismissArgs {
    /// Tables, as DATABASE.TABLE
    #[arg(value_name = "TABLE", required = true)]
    pub tables: Vec<String>,
}

/// `redrive`.
#[derive(Debug, Clone, ClapArgs)]
pub struct RedriveArgs {
    /// The queues, as the alert names them (Catalog, Permission, Replication, Operations,
    /// Standing, Resync, Forward); all if not given
    #[arg(value_name = "QUEUE")]
    pub queues: Vec<String>,
    /// The stack's name, of both Regions or of either
    #[arg(long, value_name = "NAME", default_value = "twinlake")]
    pub stack: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `access`.
#[derive(Debug, Clone, ClapArgs)]
pub struct AccessArgs {
    /// Who: an ARN, an account, or IAM_ALLOWED_PRINCIPALS, as the primary knows it
    #[arg(value_name = "PRINCIPAL")]
    pub principal: String,
    /// A database, or a table as DATABASE.TABLE
    #[arg(value_name = "RESOURCE")]
    pub resource: String,
}

/// `bootstrap`.
#[derive(Debug, Clone, ClapArgs)]
pub struct BootstrapArgs {
    /// A role of Twinlake, from the output `Roles` of either stack; may be repeated
    #[arg(long = "for", value_name = "ARN")]
    pub roles: Vec<String>,
    /// Show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Take back what the record says was done
    #[arg(long)]
    pub undo: bool,
    /// Where it is written down what was done
    #[arg(long, value_name = "FILE", default_value = "twinlake-bootstrap.json")]
    pub record: PathBuf,
}

/// `explain`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ExplainArgs {
    /// The event, as EventBridge delivers it or as S3 notifies
    #[arg(value_name = "EVENT.json")]
    pub file: PathBuf,
    /// Print the scope as JSON
    #[arg(long)]
    pub json: bool,
}

/// `policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check a policy file; errors name the line and the key
    Check {
        /// The file
        file: PathBuf,
    },
    /// Store a policy file in the ledgers of both Regions
    Push {
        /// The file
        file: PathBuf,
    },
    /// Say what the policy does with a database, a table or a location
    Explain {
        /// A database, DATABASE.TABLE, an s3:// URI or an S3 ARN
        name: String,
    },
}

/// `sandbox`.
#[derive(Debug, Clone, ClapArgs)]
pub struct SandboxArgs {
    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 5312)]
    pub port: u16,
    /// The account
    #[arg(long, default_value = "111122223333")]
    pub account: String,
    /// The Regions
    #[arg(long = "with-region", value_name = "REGION",
          default_values_t = ["us-east-1".to_owned(), "ap-south-1".to_owned()])]
    pub regions: Vec<String>,
    /// An EventBridge endpoint that is told of every change, as AWS would tell it
    #[arg(long, value_name = "URL")]
    pub events_to: Option<String>,
    /// Whom Twinlake's own calls are taken for
    #[arg(long, value_name = "ARN")]
    pub twinlake_role: Option<String>,
    /// Who is granted SELECT on all tables of each database that is made in the first
    /// Region, as the function of a deployed primary sees to
    #[arg(long, value_name = "ARN")]
    pub shown_to: Option<String>,
}
