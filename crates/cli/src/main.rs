//! The `twinlake` binary.

use clap::Parser as _;
use std::process::ExitCode;
use twinlake_cli::command_line::Cli;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => twinlake_cli::run(cli).await,
        Err(error) => {
            // A closed pipe is no reason for another error.
            let _ = error.print();
            match error.use_stderr() {
                // Not clap's exit code 2, which means that attention is needed.
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            }
        }
    }
}
