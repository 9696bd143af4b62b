//! How large the lake is, for the floor that its calls are measured against.

use std::collections::BTreeMap;
use twinlake_core::floor::{PAGE, PARTITION_PAGE, Size, pages};
use twinlake_core::ledger::Rows;
use twinlake_core::{Name, Subject};

/// How large the lake is by the ledger's rows.
pub(super) fn size_of(rows: &Rows, grant_calls: usize) -> Size {
    let mut size = Size {
        grant_calls,
        ..Size::default()
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
                    size.partition_pages += pages(row.partitions, PARTITION_PAGE);
                }
            }
            Subject::Catalog | Subject::Lake(_) | Subject::Function(_) => {}
        }
    }
    size.databases = tables.len();
    size.tables = tables.values().sum();
    size.table_pages = tables.values().map(|count| pages(*count, PAGE)).sum();
    size
}
