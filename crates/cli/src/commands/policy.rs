//! `policy check`, `policy push` and `policy explain`.

use crate::common_options::{DEFAULT_LEDGER_TABLE, PolicyOptions};
use crate::connect::{deployed_policy, ledger_in, object_name, policy_of};
use crate::files::{read_policy, read_text};
use crate::{CliError, CommandOutcome, output};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use twinlake_core::location::{Location, Mapped};
use twinlake_core::name::ObjectName;
use twinlake_core::topology::SiteId;
use twinlake_core::{Policy, render};
use twinlake_engine::Ledger as _;
use twinlake_engine::operation_document::OperationConfig;

/// `policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check a policy file; errors name the line and the key
    Check {
        /// The policy file
        file: PathBuf,
    },
    /// Store a policy, an operation document, or both, in both Regions
    ///
    /// They are stored in the ledger of each Region, where the functions read them: the DynamoDB
    /// table in which Twinlake keeps its state. The functions apply nothing while the two Regions
    /// hold different policies.
    Push(PushArgs),
    /// Show what the policy does with a database, a table or a location
    Explain(PolicyExplainArgs),
}

/// Arguments of `twinlake policy push`.
#[derive(Debug, Clone, Args)]
pub struct PushArgs {
    /// The policy file; required unless --operation is given
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The file of an operation document: rate limits, alert thresholds, prices, the address for clients and the
    /// queries of drills
    #[arg(long, value_name = "FILE")]
    pub operation: Option<PathBuf>,
    /// Either Region of the deployment; required to store an operation document without a policy
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// The DynamoDB table of the ledger; it has the same name in both Regions
    #[arg(long, value_name = "TABLE", default_value = DEFAULT_LEDGER_TABLE)]
    pub ledger_table: String,
}

/// Arguments of `twinlake policy explain`.
#[derive(Debug, Clone, Args)]
pub struct PolicyExplainArgs {
    /// A database, DATABASE.TABLE, an s3:// URI or an S3 ARN. A name that contains a dot stands in
    /// quotation marks: '"fin.hr".pay'
    #[arg(value_name = "OBJECT")]
    pub name: String,
    /// The policy.
    #[command(flatten)]
    pub policy: PolicyOptions,
}

pub(crate) async fn run(command: PolicyCommand) -> Result<CommandOutcome, CliError> {
    match command {
        PolicyCommand::Check { file } => {
            let policy = read_policy(&file)?;
            policy.check_copied_keys()?;
            let hash = policy.digest();
            output::print(&format!("The policy is valid. Policy hash {hash}."));
            Ok(CommandOutcome::Done)
        }
        PolicyCommand::Push(args) => push(&args).await,
        PolicyCommand::Explain(args) => {
            let policy = policy_of(&args.policy).await?;
            output::print(&render::escape(&explain(&policy, &args.name)?));
            Ok(CommandOutcome::Done)
        }
    }
}

/// Writes the documents to both ledgers, or fails: different policies in the two Regions
/// stop everything.
async fn push(args: &PushArgs) -> Result<CommandOutcome, CliError> {
    let operation = match &args.operation {
        Some(file) => {
            let text = read_text(file)?;
            let parsed = OperationConfig::parse(&text)?;
            Some((text, parsed))
        }
        None => None,
    };
    let policy = match &args.file {
        Some(file) => {
            let policy = read_policy(file)?;
            policy.check_copied_keys()?;
            policy
        }
        None if operation.is_some() && args.region.is_none() => {
            let problem = "add --region REGION, either Region of the deployment in which the \
                           operation document is stored";
            return Err(CliError::Usage(problem.to_owned()));
        }
        None if operation.is_some() => {
            deployed_policy(&args.ledger_table, args.region.as_deref()).await?
        }
        None => {
            let problem = "name a policy file, an operation file with --operation FILE, or both";
            return Err(CliError::Usage(problem.to_owned()));
        }
    };
    let ceilings = operation
        .iter()
        .flat_map(|(_, parsed)| parsed.max_calls_per_second.keys());
    for region in ceilings {
        if policy.sites.find(region).is_none() {
            let (a, b) = (&policy.sites.a.region, &policy.sites.b.region);
            let problem = format!(
                "the operation document has `max-calls-per-second.{region}`, and the policy names \
                 {a} and {b}"
            );
            return Err(CliError::Usage(problem));
        }
    }
    for (_, site) in policy.sites.iter() {
        let ledger = ledger_in(&args.ledger_table, &site.region).await;
        if args.file.is_some() {
            ledger.put_policy(policy.text()).await?;
            output::print(&format!("Stored the policy in {}.", site.region));
        }
        if let Some((text, _)) = &operation {
            ledger.put_operation_document(text).await?;
            output::print(&format!(
                "Stored the operation document in {}.",
                site.region
            ));
        }
    }
    Ok(CommandOutcome::Done)
}

fn explain(policy: &Policy, name: &str) -> Result<String, CliError> {
    if Location::parse(name).is_ok() {
        return Ok(explain_location(policy, name));
    }
    let (what, covered) = match object_name(name)? {
        ObjectName::Table(id) => (format!("Table {id}"), policy.covers_table(&id)),
        ObjectName::Database(name) => (format!("Database {name}"), policy.covers_database(&name)),
    };
    Ok(match covered {
        true => format!("{what} is replicated."),
        false => format!("{what} is not replicated: no `include` takes it, or an `exclude` does."),
    })
}

fn explain_location(policy: &Policy, location: &str) -> String {
    let explained = SiteId::ALL.into_iter().filter_map(|from| {
        let (source, target) = (policy.sites.get(from), policy.sites.get(from.other()));
        match policy.locations.counterpart_from(from, location) {
            Ok(Mapped::To(mapped)) => Some(format!(
                "{location} in {} is {mapped} in {}.",
                source.region, target.region
            )),
            Ok(Mapped::Unmapped) | Err(_) => None,
        }
    });
    let explained: Vec<String> = explained.collect();
    if explained.is_empty() {
        return format!(
            "No [[location]] pair holds {location}: the key `unmapped-location` decides about it."
        );
    }
    explained.join(" ")
}
