//! The size of the data lake, from which the lower bound of API calls is computed.

use crate::api_call_lower_bound::{CATALOG_PAGE_SIZE, LakeSize, PARTITION_PAGE_SIZE, pages};
use std::collections::BTreeMap;
use twinlake_core::ledger::LedgerRows;
use twinlake_core::{Name, Subject};

/// Returns the size of the data lake according to the ledger rows.
pub(super) fn lake_size_of(rows: &LedgerRows, grant_calls: usize) -> LakeSize {
    let mut size = LakeSize {
        grant_calls,
        ..LakeSize::default()
    };
    let mut tables: BTreeMap<&Name, usize> = BTreeMap::new();
    for (subject, row) in rows {
        match subject {
            Subject::Database(name) => {
                tables.entry(name).or_default();
            }
            Subject::Table(id) => {
                *tables.entry(&id.database).or_default() += 1;
                if row.partitions > 0 {
                    size.partition_pages += pages(row.partitions, PARTITION_PAGE_SIZE);
                }
            }
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => {}
        }
    }
    size.databases = tables.len();
    size.tables = tables.values().sum();
    size.table_pages = tables
        .values()
        .map(|count| pages(*count, CATALOG_PAGE_SIZE))
        .sum();
    size
}
