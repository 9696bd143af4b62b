//! `twinlake scenario`: runs a script in two simulated Regions and prints its transcript. A script
//! consists of these commands:
//!
#![doc = "```text"]
#![doc = include_str!("scenario/language.txt")]
#![doc = "```"]

mod parser;
mod recorder;
mod runner;

use crate::files::{read_answers, read_text};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::path::PathBuf;
use twinlake_core::topology::SiteId;
use twinlake_sim::QuirkAnswers;

/// The commands of a script, as the help of `twinlake scenario` and the documentation of this
/// module show them.
pub(crate) const LANGUAGE: &str = include_str!("scenario/language.txt");

/// Arguments of `twinlake scenario`.
#[derive(Debug, Clone, Args)]
pub struct ScenarioArgs {
    /// The script: tests/scenarios/*.txt are examples; --help lists the commands
    #[arg(value_name = "SCRIPT")]
    pub file: PathBuf,
    /// What AWS answered to `make live` (live-answers.json): the Regions then behave so. A `quirk`
    /// line of the script overrides it
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
}

pub(crate) fn run(args: &ScenarioArgs) -> Result<CommandOutcome, CliError> {
    let script = read_text(&args.file)?;
    let answers = read_answers(args.answers.as_deref())?;
    let runner = runner::ScenarioRunner::new(SiteId::A, &answers);
    let transcript = run_lines(&script, runner).map_err(CliError::Usage)?;
    output::print(&transcript);
    Ok(CommandOutcome::Done)
}

/// Runs a script and returns its transcript: each line with what it printed. `primary` is the site
/// of the policy that is the primary; the command uses site `a`.
///
/// # Errors
/// A line is not valid. The message names it.
pub fn run_script(script: &str, primary: SiteId) -> Result<String, String> {
    let no_answers = QuirkAnswers::default();
    run_lines(script, runner::ScenarioRunner::new(primary, &no_answers))
}

fn run_lines(script: &str, mut runner: runner::ScenarioRunner) -> Result<String, String> {
    for (number, line) in parser::lines(script) {
        runner
            .execute(&line)
            .map_err(|problem| format!("line {number}: {problem}: {line}"))?;
    }
    Ok(runner.into_transcript())
}
