//! `policy check`, `policy push` and `policy explain`.

use crate::common_options::Common;
use crate::connect::{Connection, ledger_in, object_name};
use crate::files::{read_policy, read_text};
use crate::{CliError, CommandOutcome, output};
use clap::Subcommand;
use std::path::PathBuf;
use twinlake_core::location::{Location, Mapped};
use twinlake_core::name::ObjectName;
use twinlake_core::topology::SiteId;
use twinlake_core::{Policy, render};
use twinlake_engine::Ledger as _;
use twinlake_engine::operation::OperationConfig;

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
        /// The policy file
        file: Option<PathBuf>,
        /// An operation file, with alert thresholds and prices, to store as well
        #[arg(long, value_name = "FILE")]
        operation: Option<PathBuf>,
    },
    /// Say what the policy does with a database, a table or a location
    Explain {
        /// A database, DATABASE.TABLE, an s3:// URI or an S3 ARN. A name that contains a dot
        /// stands in quotation marks: '"fin.hr".pay'
        name: String,
    },
}

pub(crate) async fn run(
    common: &Common,
    command: PolicyCommand,
) -> Result<CommandOutcome, CliError> {
    match command {
        PolicyCommand::Check { file } => {
            let policy = read_policy(&file)?;
            output::print(&format!("The policy is valid. Digest {}.", policy.digest()));
            Ok(CommandOutcome::Done)
        }
        PolicyCommand::Push { file, operation } => push(common, file, operation).await,
        PolicyCommand::Explain { name } => {
            let policy = match &common.policy {
                Some(file) => read_policy(file)?,
                None => Connection::open(common).await?.policy,
            };
            output::print(&render::escape(&explain(&policy, &name)?));
            Ok(CommandOutcome::Done)
        }
    }
}

/// Writes the documents to both ledgers, or fails: different policies in the two Regions
/// stop everything.
async fn push(
    common: &Common,
    file: Option<PathBuf>,
    operation: Option<PathBuf>,
) -> Result<CommandOutcome, CliError> {
    let operation = match operation {
        Some(file) => {
            let text = read_text(&file)?;
            OperationConfig::parse(&text)?;
            Some(text)
        }
        None => None,
    };
    let policy = match &file {
        Some(file) => read_policy(file)?,
        None if operation.is_some() => Connection::open(common).await?.policy,
        None => {
            let problem = "name a policy file, an operation file with --operation FILE, or both";
            return Err(CliError::Usage(problem.to_owned()));
        }
    };
    for (_, site) in policy.sites.iter() {
        let ledger = ledger_in(common, &site.region).await;
        if file.is_some() {
            ledger.put_policy(policy.text()).await?;
            output::print(&format!("Stored the policy in {}.", site.region));
        }
        if let Some(text) = &operation {
            ledger.put_operation(text).await?;
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
        match policy.locations.map(location, from) {
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
