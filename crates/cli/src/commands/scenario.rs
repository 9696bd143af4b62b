//! `twinlake scenario`: runs a script in two simulated Regions and prints its transcript.
//!
//! A line that starts with `#` is a comment; an indented line continues the one before. The
//! Regions are `us-east-1` (the primary) and `ap-south-1`.
//!
//! | line | effect |
//! |---|---|
//! | `policy KEY = VALUE` | sets a key of the policy |
//! | `REGION call NAME JSON` | makes an API call as an administrator |
//! | `REGION database NAME` | creates a database without default permissions for tables |
//! | `REGION table DB.T COL,COL [by KEY,KEY]` | creates a table |
//! | `REGION columns DB.T COL,COL` | replaces the columns of a table |
//! | `REGION partition DB.T VALUE` | creates a partition |
//! | `REGION drop database\|table NAME`, `... drop partition DB.T VALUE` | deletes |
//! | `REGION grant PERMISSION[+] on RESOURCE to NAME` | grants, `+` with grant option |
//! | `REGION revoke PERMISSION on RESOURCE from NAME` | revokes |
//! | `quirk NAME on\|off` | switches a quirk of the simulator |
//! | `stale-listings REGION on\|off` | listings of grants omit the last write |
//! | `lake-access REGION on\|off` | Twinlake's role is granted SELECT on all tables of new databases |
//! | `wait SECONDS` | advances the clock |
//! | `open-defaults REGION` | new objects are granted to `IAM_ALLOWED_PRINCIPALS` |
//! | `remove-access REGION` | removes all permissions of Twinlake's role |
//! | `fail REGION CALL CODE [xN]` | the next N calls fail |
//! | `plan [NAME]`, `resync` | runs the command, and prints its result |
//! | `deliver [lost\|twice\|reversed]` | delivers the events since the last delivery, and prints the result |
//! | `grants REGION`, `tables REGION`, `filters REGION`, `ledger`, `calls`, `alerts` | prints them |
//!
//! A RESOURCE is `database NAME`, `DB.*`, `DB.T`, `DB.T(COL,COL)` or `DB.T(*-COL,COL)`.

mod parser;
mod recorder;
mod runner;

use crate::files::read_text;
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::path::PathBuf;
use twinlake_core::topology::SiteId;

/// Arguments of `twinlake scenario`.
#[derive(Debug, Clone, Args)]
pub struct ScenarioArgs {
    /// The script
    pub file: PathBuf,
}

pub(crate) fn run(args: &ScenarioArgs) -> Result<CommandOutcome, CliError> {
    let script = read_text(&args.file)?;
    output::print(&play(&script).map_err(CliError::Usage)?);
    Ok(CommandOutcome::Done)
}

/// Runs a script with the policy's site `a` as primary, and returns its transcript.
///
/// # Errors
/// A line is not valid; the text names it.
pub fn play(script: &str) -> Result<String, String> {
    play_led_by(script, SiteId::A)
}

/// Runs a script with a given site as primary, and returns its transcript.
///
/// # Errors
/// A line is not valid; the text names it.
pub fn play_led_by(script: &str, leader: SiteId) -> Result<String, String> {
    let mut runner = runner::ScenarioRunner::new(leader);
    for (number, line) in parser::lines(script) {
        runner
            .execute(&line)
            .map_err(|problem| format!("line {number}: {problem}: {line}"))?;
    }
    Ok(runner.into_transcript())
}
