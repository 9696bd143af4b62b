//! `scenario`: a script about two simulated Regions, and what comes of it.
//!
//! A script is lines; `#` begins a remark, and an indented line continues the one
//! before. Names of Regions are `us-east-1` (the primary) and `ap-south-1`.
//!
//! | line | does |
//! |---|---|
//! | `policy KEY = VALUE` | sets a key of the policy |
//! | `REGION call NAME JSON` | makes a call as an administrator |
//! | `REGION database NAME` | creates a database, closed |
//! | `REGION table DB.T COL,COL [by KEY,KEY]` | creates a table |
//! | `REGION columns DB.T COL,COL` | gives it other columns |
//! | `REGION partition DB.T VALUE` | adds a partition |
//! | `REGION drop database\|table NAME`, `... drop partition DB.T VALUE` | deletes |
//! | `REGION grant PERMISSION[+] on RESOURCE to NAME` | grants, `+` with grant option |
//! | `REGION revoke PERMISSION on RESOURCE from NAME` | revokes |
//! | `quirk NAME on\|off` | switches a quirk |
//! | `old-lists REGION on\|off` | lets its listings of grants be one write old |
//! | `reader REGION on\|off` | whether our role is granted what is made there |
//! | `wait SECONDS` | lets time pass |
//! | `open-defaults REGION`, `take-rights REGION` | spoils a Region |
//! | `fail REGION CALL CODE [xN]` | the next N calls fail |
//! | `plan [NAME]`, `resync`, `deliver [lost\|twice\|reversed]` | does it, and prints |
//! | `grants REGION`, `tables REGION`, `ledger`, `calls`, `alerts` | prints |
//!
//! A RESOURCE is `database NAME`, `DB.*`, `DB.T`, `DB.T(COL,COL)` or `DB.T(*-COL,COL)`.

mod script;
mod stage;
mod tray;

use crate::{CliError, Left, out};
use std::path::Path;

pub(crate) fn command(file: &Path) -> Result<Left, CliError> {
    let text = std::fs::read_to_string(file).map_err(|e| CliError::File {
        path: file.display().to_string(),
        problem: e.to_string(),
    })?;
    out::print(&play(&text).map_err(CliError::Usage)?);
    Ok(Left::Nothing)
}

/// Plays a script; answers everything that it printed.
///
/// # Errors
/// A line is not understood; the text names it.
pub fn play(script: &str) -> Result<String, String> {
    let mut stage = stage::Stage::new();
    for (number, line) in script::lines(script) {
        stage
            .perform(&line)
            .map_err(|problem| format!("line {number}: {problem}: {line}"))?;
    }
    Ok(stage.into_transcript())
}
