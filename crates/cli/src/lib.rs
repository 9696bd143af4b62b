//! `twinlake`: the functions of the engine by hand.
//!
//! The commands share `plan`, `audit` and `reconcile` with the Lambda functions;
//! what is here are words, files and progress bars.
//!
//! # Invariants
//!
//! - Everything that is printed goes through [`out`], and untrusted text through
//!   [`twinlake_core::render::escape`].
//! - Exit codes: 0 nothing to do or done, 2 something to do or left to do, 1 an
//!   error.

mod access;
pub mod args;
mod bootstrap;
mod connect;
mod dismiss;
mod explain;
mod known;
pub mod out;
mod policy;
mod reconcile;
mod redrive;
mod report;
mod sandbox;
pub mod scenario;
mod status;
mod store;

use args::{Args, Command};
use std::process::ExitCode;

/// Why a command failed, in words for the person who gave it.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A file could not be read or written.
    #[error("{path}: {problem}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A call to AWS failed.
    #[error("{0}")]
    Fault(#[from] twinlake_core::Fault),
    /// The policy is not valid.
    #[error("{0}")]
    Policy(#[from] twinlake_core::policy::PolicyError),
    /// The two Regions are not ready.
    #[error("{0}")]
    Unready(#[from] twinlake_engine::role::Unready),
    /// What was asked for cannot be done.
    #[error("{0}")]
    Usage(String),
}

/// Whether anything is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// Something.
    Something,
}

/// Runs one command.
pub async fn run(args: Args) -> ExitCode {
    let done = match args.command {
        Command::Plan(plan) => reconcile::plan(&args.common, &plan).await,
        Command::Diff(diff) => reconcile::diff(&args.common, &diff).await,
        Command::Apply(apply) => reconcile::apply(&args.common, &apply).await,
        Command::Release(release) => reconcile::release(&args.common, &release).await,
        Command::Resync(resync) => reconcile::resync(&args.common, &resync).await,
        Command::Status(status) => status::status(&args.common, &status).await,
        Command::Report(report) => report::report(&args.common, &report).await,
        Command::Dismiss(dismiss) => dismiss::dismiss(&args.common, &dismiss).await,
        Command::Redrive(redrive) => redrive::redrive(&args.common, &redrive).await,
        Command::Access(asked) => access::access(&args.common, &asked).await,
        Command::Bootstrap(bootstrap) => bootstrap::bootstrap(&args.common, &bootstrap).await,
        Command::Explain(event) => explain::explain(&args.common, &event),
        Command::Policy(command) => policy::policy(&args.common, command).await,
        Command::Scenario { file } => scenario::command(&file),
        Command::Sandbox(sandbox) => sandbox::sandbox(&sandbox).await,
    };
    match done {
        Ok(Left::Nothing) => ExitCode::SUCCESS,
        Ok(Left::Something) => ExitCode::from(2),
        Err(error) => {
            out::error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
