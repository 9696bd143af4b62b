//! `policy check`, `policy push` and `policy explain`.

use crate::args::{Common, PolicyCommand};
use crate::connect::Connection;
use crate::store::read_policy;
use crate::{CliError, Left, out};
use std::path::Path;
use twinlake_aws::DynamoLedger;
use twinlake_core::location::{Location, Mapped};
use twinlake_core::{Name, Policy, TableId, render};
use twinlake_engine::Ledger as _;

pub(crate) async fn policy(common: &Common, command: PolicyCommand) -> Result<Left, CliError> {
    match command {
        PolicyCommand::Check { file } => {
            let policy = read_policy(&file)?;
            out::print(&format!("The policy is valid. Digest {}.", policy.digest()));
            Ok(Left::Nothing)
        }
        PolicyCommand::Push { file } => push(common, &file).await,
        PolicyCommand::Explain { name } => {
            let policy = match &common.policy {
                Some(file) => read_policy(file)?,
                None => Connection::open(common).await?.policy,
            };
            out::print(&render::escape(&explain(&policy, &name)?));
            Ok(Left::Nothing)
        }
    }
}

/// Both ledgers get the document, or the command fails: different policies in the
/// two Regions stop everything.
async fn push(common: &Common, file: &Path) -> Result<Left, CliError> {
    let policy = read_policy(file)?;
    for side in [&policy.first, &policy.second] {
        let ledger = DynamoLedger::connect(&side.region, &common.ledger_table).await;
        ledger.put_policy(policy.text()).await?;
        out::print(&format!("Pushed to {}.", side.region));
    }
    Ok(Left::Nothing)
}

fn explain(policy: &Policy, name: &str) -> Result<String, CliError> {
    if Location::parse(name).is_ok() {
        return Ok(explain_location(policy, name));
    }
    let part = |text: &str| {
        Name::new(text).map_err(|e| CliError::Usage(format!("{name:?} is no name: {e}")))
    };
    let (what, covered) = match name.split_once('.') {
        Some((database, table)) => {
            let id = TableId::new(part(database)?, part(table)?);
            let covered = policy.covers_table(&id);
            (format!("Table {id}"), covered)
        }
        None => {
            let name = part(name)?;
            let covered = policy.covers_database(&name);
            (format!("Database {name}"), covered)
        }
    };
    Ok(match covered {
        true => format!("{what} is replicated."),
        false => format!("{what} is not replicated: no `include` takes it, or an `exclude` does."),
    })
}

fn explain_location(policy: &Policy, place: &str) -> String {
    let (first, second) = (&policy.first.region, &policy.second.region);
    let told = |to_second: bool, from: &str, to: &str| match policy.locations.map(place, to_second)
    {
        Ok(Mapped::To(there)) => Some(format!("{place} in {from} is {there} in {to}.")),
        Ok(Mapped::Unmapped) | Err(_) => None,
    };
    let told: Vec<String> = [told(true, first, second), told(false, second, first)]
        .into_iter()
        .flatten()
        .collect();
    if told.is_empty() {
        return format!("No [[location]] pair holds {place}; `unmapped-location` says what then.");
    }
    told.join(" ")
}
