//! The tables of the store, and reads and writes in them.

use super::{FileLedger, read_rest};
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition,
    WriteTransaction,
};
use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use twinlake_core::ledger::LedgerRows;
use twinlake_core::{CallError, LedgerRow, LfSubject, Subject};
use twinlake_engine::in_memory_ledger::LedgerFile;
use twinlake_engine::ports::next_version;

/// The key of a row: the rank of its kind of subject, then the names. The rows of the tables of one database follow
/// one another.
pub(super) type RowKey<'k> = (u8, &'k str, &'k str);

pub(super) const ROWS: TableDefinition<'_, RowKey<'static>, &str> = TableDefinition::new("rows");
pub(super) const ITEMS: TableDefinition<'_, (&str, &str), (u64, &str)> =
    TableDefinition::new("items");
pub(super) const METADATA: TableDefinition<'_, &str, &str> = TableDefinition::new("contents");

pub(super) const FORMAT_KEY: &str = "format";
pub(super) const SINGLETONS_KEY: &str = "rest";

pub(super) type StoreResult<T> = Result<T, Box<dyn Error + Send + Sync>>;

pub(super) const DATABASE_RANK: u8 = 2;
pub(super) const FUNCTION_RANK: u8 = 3;
pub(super) const TABLE_RANK: u8 = 4;

pub(super) fn row_key(subject: &Subject) -> RowKey<'_> {
    match subject {
        Subject::Catalog => (0, "", ""),
        Subject::LakeFormation(lf_subject) => (1, lf_subject_key(*lf_subject), ""),
        Subject::Database(name) => (DATABASE_RANK, name.as_str(), ""),
        Subject::Function(id) => (FUNCTION_RANK, id.database.as_str(), id.function.as_str()),
        Subject::Table(id) => (TABLE_RANK, id.database.as_str(), id.table.as_str()),
    }
}

/// The key of a Lake Formation subject, as in the deployed ledger.
fn lf_subject_key(lf_subject: LfSubject) -> &'static str {
    match lf_subject {
        LfSubject::LfTags => "lf-tags",
        LfSubject::LfTagExpressions => "lf-tag-expressions",
        LfSubject::DataLocations => "data-locations",
        LfSubject::Permissions => "permissions",
        LfSubject::Settings => "settings",
    }
}

pub(super) fn parse_singletons(contents: &ReadOnlyTable<&str, &str>) -> StoreResult<LedgerFile> {
    let stored = contents.get(SINGLETONS_KEY)?.ok_or("it has no contents")?;
    Ok(serde_json::from_str(stored.value())?)
}

/// Reads the row of a key.
pub(super) fn row_at(
    rows: &impl ReadableTable<RowKey<'static>, &'static str>,
    key: RowKey<'_>,
) -> StoreResult<Option<LedgerRow>> {
    let stored = rows.get(key)?;
    let row = stored.map(|stored| serde_json::from_str(stored.value()));
    Ok(row.transpose()?)
}

/// Adds the rows from a key on, as long as `is_wanted` holds of their keys, of which `keeps` holds.
pub(super) fn add_rows_from(
    rows: &ReadOnlyTable<RowKey<'static>, &'static str>,
    first: RowKey<'_>,
    is_wanted: impl Fn(RowKey<'_>) -> bool,
    keeps: impl Fn(&LedgerRow) -> bool,
    found: &mut LedgerRows,
) -> StoreResult<()> {
    for entry in rows.range(first..)? {
        let (key, stored) = entry?;
        if !is_wanted(key.value()) {
            break;
        }
        let row: LedgerRow = serde_json::from_str(stored.value())?;
        if keeps(&row) {
            found.insert(row.subject.clone(), row);
        }
    }
    Ok(())
}

impl FileLedger {
    /// Reads from the store; the default if the file does not exist.
    pub(super) fn read<T: Default>(
        &self,
        call: &str,
        read: impl FnOnce(&ReadTransaction) -> StoreResult<T>,
    ) -> Result<T, CallError> {
        let Some(database) = self.database.get() else {
            return Ok(T::default());
        };
        let result = database
            .begin_read()
            .map_err(Into::into)
            .and_then(|transaction| read(&transaction));
        result.map_err(|error| self.call_error(call, error.as_ref()))
    }

    /// Writes in one transaction.
    pub(super) fn write<T>(
        &self,
        call: &str,
        write: impl FnOnce(&WriteTransaction) -> StoreResult<T>,
    ) -> Result<T, CallError> {
        let try_write = || -> StoreResult<T> {
            let transaction = self.writable()?.begin_write()?;
            let result = write(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        try_write().map_err(|error| self.call_error(call, error.as_ref()))
    }

    /// Changes what a ledger has one of, such as the epoch, and stores it.
    pub(super) async fn change<T>(
        &self,
        call: &str,
        change: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let begin = || -> StoreResult<_> { Ok(self.writable()?.begin_write()?) };
        // It waits for other writers, so the later of two changes is stored last.
        let transaction = begin().map_err(|error| self.call_error(call, error.as_ref()))?;
        let before = self.rest.contents();
        // The ledger in memory never waits.
        let result = change.await?;
        let store = || -> StoreResult<()> {
            let rest = serde_json::to_string(&self.rest.contents())?;
            transaction
                .open_table(METADATA)?
                .insert(SINGLETONS_KEY, rest.as_str())?;
            transaction.commit()?;
            Ok(())
        };
        store().map_err(|error| {
            // What could not be stored is not known either, unless the file has it after all.
            let in_file = self.database.get().map(read_rest);
            self.rest
                .set_contents(in_file.and_then(Result::ok).unwrap_or(before));
            self.call_error(call, error.as_ref())
        })?;
        Ok(result)
    }

    /// The rows from a key on, as [`add_rows_from`] adds them.
    pub(super) fn rows_from(
        &self,
        call: &str,
        first: RowKey<'_>,
        is_wanted: impl Fn(RowKey<'_>) -> bool,
        keeps: impl Fn(&LedgerRow) -> bool,
    ) -> Result<LedgerRows, CallError> {
        self.read(call, |transaction| {
            let mut found = LedgerRows::new();
            let rows = transaction.open_table(ROWS)?;
            add_rows_from(&rows, first, is_wanted, keeps, &mut found)?;
            Ok(found)
        })
    }

    /// The items of a family with their versions, by id.
    pub(super) fn items(&self, family: &str) -> Result<BTreeMap<String, (String, u64)>, CallError> {
        self.read("items", |transaction| {
            let mut found = BTreeMap::new();
            for entry in transaction.open_table(ITEMS)?.range((family, "")..)? {
                let (key, stored) = entry?;
                let (of_family, id) = key.value();
                if of_family != family {
                    break;
                }
                let (version, text) = stored.value();
                found.insert(id.to_owned(), (text.to_owned(), version));
            }
            Ok(found)
        })
    }

    /// One item with its version.
    pub(super) fn item(&self, family: &str, id: &str) -> Result<Option<(String, u64)>, CallError> {
        self.read("item", |transaction| {
            let items = transaction.open_table(ITEMS)?;
            let stored = items.get((family, id))?;
            Ok(stored.map(|stored| {
                let (version, text) = stored.value();
                (text.to_owned(), version)
            }))
        })
    }

    /// Stores an item, or deletes it if `None`, if its version is still `expected_version`. Returns whether it did.
    pub(super) fn put_item(
        &self,
        (family, id): (&str, &str),
        text: Option<&str>,
        expected_version: Option<u64>,
    ) -> Result<bool, CallError> {
        self.write("put_item", |transaction| {
            let mut items = transaction.open_table(ITEMS)?;
            let version = items.get((family, id))?.map(|stored| stored.value().0);
            if version != expected_version {
                return Ok(false);
            }
            let next = next_version(version);
            match text {
                Some(text) => drop(items.insert((family, id), (next, text))?),
                None => drop(items.remove((family, id))?),
            }
            Ok(true)
        })
    }
}
