//! The size of the data lake, from which the lower bound of API calls is computed.

use crate::api_call_lower_bound::{CATALOG_PAGE_SIZE, LakeSize, PARTITION_PAGE_SIZE, pages};
use crate::ports::Environment;
use crate::reconcile::Context;
use std::collections::BTreeMap;
use twinlake_core::ledger::LedgerRows;
use twinlake_core::policy::ScanInterval;
use twinlake_core::{Name, Subject, TableId};

/// Returns the size of the data lake according to the ledger rows, as far as the run reads it.
pub(super) fn lake_size_of<E: Environment>(
    rows: &LedgerRows,
    grant_calls: usize,
    context: &Context<'_, E>,
) -> LakeSize {
    let policy = context.policy;
    let is_read = |interval: ScanInterval, id: &TableId| {
        let window = context.scan_window;
        window.is_none_or(|window| window.contains(interval, id))
    };
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
                if is_read(policy.attachment_scan, id) {
                    size.tables_with_attachments += 1;
                }
                if row.partitions > 0 && is_read(policy.partition_scan, id) {
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
