//! Reads and writes files: a ledger, a plan, a policy.

use crate::CliError;
use serde::de::DeserializeOwned;
use std::path::Path;
use twinlake_core::Policy;
use twinlake_core::ledger::format;
use twinlake_engine::InMemoryLedger;
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

/// Reads the ledger of a file. Returns an empty ledger if the file does not exist.
pub(crate) fn open_ledger(path: &Path) -> Result<InMemoryLedger, CliError> {
    if !path.exists() {
        return Ok(InMemoryLedger::default());
    }
    let json: serde_json::Value = read_json(path)?;
    let found = json.get("format").and_then(serde_json::Value::as_u64);
    let found = found.and_then(|found| u32::try_from(found).ok());
    if let Some(found) = found.filter(|found| *found > format::LEDGER) {
        return Err(file_error(path, format::unknown("this ledger", found)));
    }
    let file = serde_json::from_value(json).map_err(|e| file_error(path, e))?;
    Ok(InMemoryLedger::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_file_of_a_newer_format_is_refused_with_what_to_do() {
        let path = std::env::temp_dir().join(format!("twinlake-format-{}", std::process::id()));
        std::fs::write(&path, r#"{"format": 99, "rows": []}"#).unwrap();
        let refused = open_ledger(&path).unwrap_err().to_string();
        std::fs::write(&path, r#"{"format": 1, "rows": []}"#).unwrap();
        let opened = open_ledger(&path);
        std::fs::remove_file(&path).unwrap();
        assert!(refused.contains("format 99"), "{refused}");
        assert!(refused.contains("deploy the newer version"), "{refused}");
        assert!(opened.is_ok());
    }
}
