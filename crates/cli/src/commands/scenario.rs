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
//! | `REGION table DB.T COL,COL [by KEY,KEY]` | creates a table, partitioned by the keys |
//! | `REGION columns DB.T COL,COL [by KEY,KEY]` | replaces the columns and partition keys of a table |
//! | `REGION link database NAME DB [REGION]` | creates a resource link to a database |
//! | `REGION link table DB.T DB.T [REGION]` | creates a resource link (first name) to a table |
//! | `REGION partition DB.T VALUE` | creates a partition |
//! | `REGION drop database\|table NAME`, `... drop partition DB.T VALUE` | deletes |
//! | `REGION grant PERMISSION[+] on RESOURCE to NAME` | grants; `+`: with grant option |
//! | `REGION revoke PERMISSION on RESOURCE from NAME` | revokes |
//! | `quirk NAME on\|off` | switches a quirk of the simulator; `crates/sim/src/quirk.rs` lists them |
//! | `stale-listings REGION on\|off` | listings of grants omit the last write |
//! | `lake-access REGION on\|off` | Twinlake's role is granted SELECT on all tables of new databases |
//! | `wait SECONDS` | advances the clock |
//! | `open-defaults REGION` | new objects are granted to `IAM_ALLOWED_PRINCIPALS` |
//! | `remove-access REGION` | removes all permissions of Twinlake's role |
//! | `fail REGION CALL CODE [xN]` | the next N calls of this API fail, by default one |
//! | `plan [NAME ...]`, `resync` | runs the command, and prints its result |
//! | `deliver [lost\|twice\|reversed]` | delivers the events since the last delivery, and prints the result |
//! | `grants REGION`, `tables REGION`, `filters REGION`, `opt-ins REGION`, `ledger` | prints what exists |
//! | `calls`, `alerts` | prints the API calls, or the alerts, since they were last printed |
//!
//! A RESOURCE is `database NAME`, `DB.*`, `DB.T`, `DB.T(COL,COL)`, or `DB.T(*-COL,COL)` for all
//! columns except these. The NAME in a grant is a role of the account, or
//! `IAM_ALLOWED_PRINCIPALS`. The last REGION of a link is that of its target; by default it is that
//! of the link.

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
    /// The script: tests/scenarios/*.txt are examples
    #[arg(value_name = "SCRIPT")]
    pub file: PathBuf,
}

pub(crate) fn run(args: &ScenarioArgs) -> Result<CommandOutcome, CliError> {
    let script = read_text(&args.file)?;
    let transcript = run_script(&script, SiteId::A).map_err(CliError::Usage)?;
    output::print(&transcript);
    Ok(CommandOutcome::Done)
}

/// Runs a script and returns its transcript: each line with what it printed. `primary` is the site
/// of the policy that is the primary; the command uses site `a`.
///
/// # Errors
/// A line is not valid. The message names it.
pub fn run_script(script: &str, primary: SiteId) -> Result<String, String> {
    let mut runner = runner::ScenarioRunner::new(primary);
    for (number, line) in parser::lines(script) {
        runner
            .execute(&line)
            .map_err(|problem| format!("line {number}: {problem}: {line}"))?;
    }
    Ok(runner.into_transcript())
}
