//! The command line.

use clap::Parser as _;
use std::process::ExitCode;
use twinlake_cli::args::Args;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    twinlake_cli::run(Args::parse()).await
}
