//! Reads and writes files: a plan, a policy.

use crate::CliError;
use serde::de::DeserializeOwned;
use std::path::Path;
use twinlake_core::Policy;
use twinlake_sim::QuirkAnswers;

fn file_error(path: &Path, problem: impl ToString) -> CliError {
    CliError::File {
        path: path.display().to_string(),
        problem: problem.to_string(),
    }
}

pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|e| file_error(path, e))
}

pub(crate) fn read_text(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|e| file_error(path, e))
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, CliError> {
    serde_json::from_slice(&read_bytes(path)?).map_err(|e| file_error(path, e))
}

pub(crate) fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| file_error(path, e))?;
    write_text(path, &text)
}

pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), CliError> {
    // Renamed into place, so that a reader never sees a part of the file.
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, text).map_err(|e| file_error(&temporary, e))?;
    std::fs::rename(&temporary, path).map_err(|e| file_error(path, e))
}

pub(crate) fn read_policy(path: &Path) -> Result<Policy, CliError> {
    let text = read_text(path)?;
    Policy::parse(&text).map_err(|e| file_error(path, e))
}

/// Reads the answers of `make live` for the simulator. Without a file there are none.
pub(crate) fn read_answers(path: Option<&Path>) -> Result<QuirkAnswers, CliError> {
    let Some(path) = path else {
        return Ok(QuirkAnswers::default());
    };
    QuirkAnswers::parse(&read_text(path)?).map_err(|e| file_error(path, e))
}
