//! The `twinlake` binary.

use clap::Parser as _;
use std::process::ExitCode;
use twinlake_cli::args::Cli;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    twinlake_cli::run(Cli::parse()).await
}
