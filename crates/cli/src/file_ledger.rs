//! A ledger in a file: an embedded store, of which a command reads only the rows that it needs.
//!
//! | table | key | holds |
//! |---|---|---|
//! | `rows` | kind, database, name ([`RowKey`]) | a [`LedgerRow`](twinlake_core::LedgerRow) as JSON |
//! | `items` | family, id | a JSON text with its version: documents, pending objects, memories of relocations |
//! | `contents` | `format`, `rest` | the format of the file; what a ledger has once, as a [`LedgerFile`] without rows and items |
//!
//! Each write is one transaction, which is on the disk when the call returns: a command that is killed leaves what
//! it wrote until then. One command at a time has the file open. A file that does not exist is created by the first
//! write, so that a command that only reads leaves none.

mod conversion;
mod ledger;
mod stats;
mod tables;

use crate::CliError;
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use tables::{FORMAT_KEY, ITEMS, METADATA, ROWS, SINGLETONS_KEY, StoreResult, parse_singletons};
use twinlake_core::ledger::format;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::InMemoryLedger;
use twinlake_engine::in_memory_ledger::LedgerFile;

/// The most that the store keeps of the file in memory, in bytes.
const CACHE_BYTES: usize = 16 << 20;

/// A ledger in a file.
#[derive(Debug)]
pub(crate) struct FileLedger {
    path: PathBuf,
    /// The store; empty as long as the file does not exist.
    database: OnceLock<Database>,
    /// What a ledger has once, as it is in the file.
    rest: InMemoryLedger,
    /// Whoever creates the file.
    creation: Mutex<()>,
}

impl FileLedger {
    /// Opens the ledger of a file; it is empty if the file does not exist. Converts a file of the earlier format,
    /// JSON, and keeps that file beside it.
    ///
    /// # Errors
    /// Another command uses the file; it is no ledger, or one of a newer version of Twinlake; it cannot be read or
    /// converted.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        conversion::convert_json(path)?;
        if !path.exists() {
            return Ok(Self::with(path, OnceLock::new(), LedgerFile::default()));
        }
        let database = builder().open(path);
        let database = database.map_err(|error| open_error(path, &error))?;
        let rest = read_rest(&database).map_err(|error| {
            file_error(path, format!("it is not a ledger of Twinlake: {error}"))
        })?;
        if rest.format > format::LEDGER {
            let problem = format::unknown("this ledger", rest.format);
            return Err(file_error(path, problem));
        }
        Ok(Self::with(path, database.into(), rest))
    }

    fn with(path: &Path, database: OnceLock<Database>, rest: LedgerFile) -> Self {
        Self {
            path: path.to_owned(),
            database,
            rest: InMemoryLedger::new(rest),
            creation: Mutex::new(()),
        }
    }

    /// The store, which is created if the file does not exist.
    fn writable(&self) -> StoreResult<&Database> {
        // Nothing is half done behind a poisoned lock: the store is set last.
        let _creation = self.creation.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = self.database.get() {
            return Ok(database);
        }
        // Another command may have created it since this one began.
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&self.path)?;
        let backend = FileBackend::new(file)?;
        let database = builder().create_with_backend(backend)?;
        initialize(&database, &self.rest.contents())?;
        Ok(self.database.get_or_init(|| database))
    }

    /// The error of a call that could not be made.
    fn call_error(&self, call: &str, error: &(dyn std::error::Error + Send + Sync)) -> CallError {
        let path = self.path.display();
        let message = format!("the ledger {path} cannot be used: {error}");
        CallError::new(CallErrorKind::Unavailable, call, "the ledger file", message)
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Makes the tables of a new store.
fn initialize(database: &Database, rest: &LedgerFile) -> StoreResult<()> {
    let transaction = database.begin_write()?;
    {
        transaction.open_table(ROWS)?;
        transaction.open_table(ITEMS)?;
        let mut contents = transaction.open_table(METADATA)?;
        contents.insert(FORMAT_KEY, format::LEDGER.to_string().as_str())?;
        contents.insert(SINGLETONS_KEY, serde_json::to_string(rest)?.as_str())?;
    }
    transaction.commit()?;
    Ok(())
}

/// Reads what a ledger has once. Of a newer format it reads no more than that.
fn read_rest(database: &Database) -> StoreResult<LedgerFile> {
    let contents = database.begin_read()?.open_table(METADATA)?;
    let stored = contents.get(FORMAT_KEY)?;
    let stored = stored.ok_or("it has no format")?;
    let found: u32 = stored.value().parse()?;
    if found > format::LEDGER {
        return Ok(LedgerFile {
            format: found,
            ..LedgerFile::default()
        });
    }
    parse_singletons(&contents)
}

fn file_error(path: &Path, problem: impl ToString) -> CliError {
    CliError::File {
        path: path.display().to_string(),
        problem: problem.to_string(),
    }
}

/// Why another command may not use the file.
const IN_USE: &str = "another command uses this ledger; run this one again when that has ended";

fn open_error(path: &Path, error: &DatabaseError) -> CliError {
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
        return file_error(path, IN_USE);
    }
    let problem = format!("it is not a ledger of Twinlake, or damaged: {error}");
    file_error(path, problem)
}

#[cfg(test)]
mod tests;
