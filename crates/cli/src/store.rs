//! Files: a ledger, a plan, a policy.

use crate::CliError;
use serde::de::DeserializeOwned;
use std::path::Path;
use twinlake_core::Policy;
use twinlake_engine::MemoryLedger;

fn failed(path: &Path, problem: impl ToString) -> CliError {
    CliError::File {
        path: path.display().to_string(),
        problem: problem.to_string(),
    }
}

pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|e| failed(path, e))
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, CliError> {
    serde_json::from_slice(&read_bytes(path)?).map_err(|e| failed(path, e))
}

pub(crate) fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| failed(path, e))?;
    write_text(path, &text)
}

pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), CliError> {
    // A reader never sees half of it.
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, text).map_err(|e| failed(&beside, e))?;
    std::fs::rename(&beside, path).map_err(|e| failed(path, e))
}

pub(crate) fn read_policy(path: &Path) -> Result<Policy, CliError> {
    let text = std::fs::read_to_string(path).map_err(|e| failed(path, e))?;
    Policy::parse(&text).map_err(|e| failed(path, e))
}

/// The ledger in a file; an empty one where there is no file yet.
pub(crate) fn open_ledger(path: &Path) -> Result<MemoryLedger, CliError> {
    if path.exists() {
        Ok(MemoryLedger::new(read_json(path)?))
    } else {
        Ok(MemoryLedger::default())
    }
}
