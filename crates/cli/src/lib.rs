//! The `twinlake` command line: runs the functions of the engine for an operator.
//!
//! The commands share `plan`, `audit` and `reconcile` with the Lambda functions. This crate adds
//! arguments, text output, files and progress bars.
//!
//! # Invariants
//!
//! - All output goes through [`output`], and untrusted text through
//!   [`twinlake_core::render::escape`].
//! - Exit codes: 0 the command is done and nothing is left to do, 2 attention is needed (for
//!   example, a plan has steps), 1 an error; an error in the arguments, too.

mod address_check;
mod command_ledger;
pub mod command_line;
mod commands;
pub mod common_options;
mod connect;
mod deployed_ledger;
mod deployment_check;
mod file_ledger;
mod files;
mod former_readers;
mod local_table_files;
pub mod output;
mod progress;
mod projection_text;
mod readiness_line;
mod reconcile_output;
mod stack_names;
mod status_snapshot;
mod takeover_status;

pub use commands::scenario;

use command_line::{Cli, Command};
use common_options::{WithCommon, WithLedger};
use std::process::ExitCode;

/// Why a command failed, as shown to the operator.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A file could not be read or written.
    #[error("{path}: {problem}")]
    File {
        /// The path of the file.
        path: String,
        /// The reason.
        problem: String,
    },
    /// A call to AWS failed.
    #[error("{0}")]
    CallError(#[from] twinlake_core::CallError),
    /// The policy is not valid.
    #[error("{0}")]
    Policy(#[from] twinlake_core::document::DocumentError),
    /// The two Regions are not ready.
    #[error("{0}")]
    NotReady(#[from] twinlake_engine::region_authority::NotReady),
    /// The ledger of the standby cannot be read.
    #[error(
        "{primary} is the primary, and the ledger of {standby}, the standby, cannot be read: {error}; if {standby} is \
         gone, {primary} leads without a standby until it returns, see docs/takeover.md"
    )]
    StandbyUnreachable {
        /// The Region of the primary.
        primary: String,
        /// The Region of the standby.
        standby: String,
        /// The error.
        error: Box<twinlake_core::CallError>,
    },
    /// The arguments, or the state of the deployment, do not allow the command.
    #[error("{0}")]
    Usage(String),
}

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// Nothing is left to do (exit code 0).
    Done,
    /// Something is left to do, or to look at (exit code 2).
    AttentionNeeded,
}

impl CommandOutcome {
    /// `Done` if `is_done` is true, else `AttentionNeeded`.
    fn done_if(is_done: bool) -> Self {
        if is_done {
            Self::Done
        } else {
            Self::AttentionNeeded
        }
    }
}

/// Runs one command and prints its error, if any.
pub async fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Init(args) => commands::init::run(&args).await,
        Command::Plan(WithCommon { common, args }) => commands::plan::run(&common, &args).await,
        Command::Apply(WithCommon { common, args }) => commands::apply::run(&common, &args).await,
        Command::ApproveDeletions(WithCommon { common, args }) => {
            commands::approve_deletions::run(&common, &args).await
        }
        Command::Resync(WithCommon { common, args }) => commands::resync::run(&common, &args).await,
        Command::Status(WithLedger { ledger, args }) => commands::status::run(&ledger, &args).await,
        Command::Report(WithLedger { ledger, args }) => commands::report::run(&ledger, &args).await,
        Command::Pending(command) => commands::pending::run(command).await,
        Command::Doctor(WithCommon { common, args }) => commands::doctor::run(&common, &args).await,
        Command::Redrive(args) => commands::redrive::run(&args).await,
        Command::Access(WithCommon { common, args }) => commands::access::run(&common, &args).await,
        Command::Bootstrap(args) => commands::bootstrap::run(&args).await,
        Command::Uninstall(args) => commands::uninstall::run(&args).await,
        Command::Failover(args) => commands::failover::run(&args).await,
        Command::Divergence(WithCommon { common, args }) => {
            commands::divergence::run(&common, &args).await
        }
        Command::Switchover(WithCommon { common, args })
        | Command::Failback(WithCommon { common, args }) => {
            commands::switchover::run(&common, &args).await
        }
        Command::Drill(WithCommon { common, args }) => commands::drill::run(&common, &args).await,
        Command::Explain(args) => commands::explain::run(&args),
        Command::Policy(command) => commands::policy::run(command).await,
        Command::Scenario(args) => commands::scenario::run(&args),
        Command::Sandbox(args) => commands::sandbox::run(&args).await,
        Command::Iceberg(command) => commands::iceberg::run(&command).await,
        Command::Setup(command) => commands::setup::run(&command).await,
    };
    match result.and_then(|outcome| output::finish().map(|()| outcome)) {
        Ok(CommandOutcome::Done) => ExitCode::SUCCESS,
        Ok(CommandOutcome::AttentionNeeded) => ExitCode::from(2),
        Err(error) => {
            output::error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
