//! The conversion of a ledger file of the earlier format, JSON.

use super::stats::{PENDING_OBJECTS, RELOCATIONS};
use super::tables::{ITEMS, ROWS, StoreResult, row_key};
use super::{IN_USE, builder, file_error, initialize};
use crate::files::read_json;
use crate::{CliError, output};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use twinlake_core::ledger::{LedgerRows, format};
use twinlake_engine::in_memory_ledger::LedgerFile;

/// The path of a file beside a ledger.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// What the name of the former file ends in.
pub(super) const KEPT_SUFFIX: &str = ".before-conversion.json";

/// Converts a file of JSON in place, and keeps that beside it. Does nothing with other files.
///
/// # Errors
/// Another command converts it; it is not a ledger; a file cannot be read or written.
pub(super) fn convert_json(path: &Path) -> Result<(), CliError> {
    let failed = |error: std::io::Error| file_error(path, error);
    if !is_json(path).map_err(failed)? {
        return Ok(());
    }
    let locked = File::open(path).map_err(failed)?;
    match locked.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(file_error(path, IN_USE)),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // The command that had the lock may have converted it.
    if !is_json(path).map_err(failed)? {
        return Ok(());
    }
    let contents = read_contents(path)?;
    let (new, kept) = (beside(path, ".new"), beside(path, KEPT_SUFFIX));
    let convert = || -> StoreResult<()> {
        if new.exists() {
            // A conversion that was killed left it.
            std::fs::remove_file(&new)?;
        }
        write_store(&new, contents)?;
        // The former file stays what it is until it is kept under another name.
        std::fs::copy(path, &kept)?;
        File::open(&kept)?.sync_all()?;
        std::fs::rename(&new, path)?;
        Ok(())
    };
    convert().map_err(|error| {
        file_error(
            path,
            format!("it was not converted, and is as before: {error}"),
        )
    })?;
    output::note(&format!(
        "The ledger {} was converted from JSON; the former file is kept as {}.",
        path.display(),
        kept.display()
    ));
    Ok(())
}

/// Whether a file begins as JSON does.
fn is_json(path: &Path) -> std::io::Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let mut first = [0; 64];
    let length = File::open(path)?.read(&mut first)?;
    let mut text = first.iter().take(length);
    Ok(text.find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{'))
}

fn read_contents(path: &Path) -> Result<LedgerFile, CliError> {
    let json: serde_json::Value = read_json(path)?;
    let found = json.get("format").and_then(serde_json::Value::as_u64);
    let found = found.and_then(|found| u32::try_from(found).ok());
    if let Some(found) = found.filter(|found| *found > format::LEDGER) {
        return Err(file_error(path, format::unknown("this ledger", found)));
    }
    serde_json::from_value(json).map_err(|e| file_error(path, e))
}

/// Writes a store with these contents.
pub(super) fn write_store(path: &Path, contents: LedgerFile) -> StoreResult<()> {
    let rest = LedgerFile {
        rows: LedgerRows::new(),
        pending_objects: BTreeMap::new(),
        documents: BTreeMap::new(),
        relocation_memories: BTreeMap::new(),
        ..contents.clone()
    };
    let database = builder().create(path)?;
    initialize(&database, &rest)?;
    let transaction = database.begin_write()?;
    {
        let mut rows = transaction.open_table(ROWS)?;
        for (subject, row) in &contents.rows {
            rows.insert(row_key(subject), serde_json::to_string(row)?.as_str())?;
        }
        let mut items = transaction.open_table(ITEMS)?;
        for (table, (pending, version)) in &contents.pending_objects {
            let (id, text) = (
                serde_json::to_string(table)?,
                serde_json::to_string(pending)?,
            );
            items.insert((PENDING_OBJECTS, id.as_str()), (*version, text.as_str()))?;
        }
        for (table, (memory, version)) in &contents.relocation_memories {
            let id = serde_json::to_string(table)?;
            items.insert((RELOCATIONS, id.as_str()), (*version, memory.as_str()))?;
        }
        for (family, documents) in &contents.documents {
            let family = super::ledger::document_family(family);
            for (id, (text, version)) in documents {
                items.insert((family.as_str(), id.as_str()), (*version, text.as_str()))?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}
