//! The lower bound of the API calls of a resync of an unchanged data lake, computed from the page
//! and batch limits of the APIs. The actual number of calls is compared with it.

use twinlake_core::policy::{ColumnStatisticsPolicy, DataCellsFilterScan, GlueTagsPolicy, Policy};

/// The size of a data lake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LakeSize {
    /// Databases.
    pub databases: usize,
    /// Pages of `GetTables`, summed over all databases.
    pub table_pages: usize,
    /// Tables.
    pub tables: usize,
    /// Tables of which the run reads what has no listing across tables.
    pub tables_with_attachments: usize,
    /// Pages of `GetPartitions`, summed over the tables of which the run lists the partitions.
    pub partition_pages: usize,
    /// Calls that list all grants of both Regions.
    pub grant_calls: usize,
}

/// Items per page of `GetDatabases` and `GetTables` (Glue's limit).
pub const CATALOG_PAGE_SIZE: usize = 100;
/// Items per page of `GetPartitions` (Glue's limit).
pub const PARTITION_PAGE_SIZE: usize = 1000;
/// Calls that a resync makes once per Region: functions, LF-Tags, LF-Tag expressions,
/// registrations, opt-ins and settings; and, only counted or compared, connections, catalogs, the
/// encryption settings and the resource policy.
const SINGLE_CALLS: usize = 10;

/// Returns the number of pages for `items` items. An empty listing has one page.
#[must_use]
pub fn pages(items: usize, page_size: usize) -> usize {
    items.div_ceil(page_size).max(1)
}

/// Returns the minimum number of calls to Glue and Lake Formation that verify that a data lake of
/// this size is equal in both Regions. Partition indexes, column statistics, data cells filters
/// and Glue tags have no listing across tables and are read table by table.
#[must_use]
pub fn resync_lower_bound(size: &LakeSize, policy: &Policy) -> usize {
    let mut per_object_calls = size.tables_with_attachments;
    if policy.column_statistics == ColumnStatisticsPolicy::Tables {
        per_object_calls += size.tables_with_attachments;
    }
    if policy.data_cells_filter_scan == DataCellsFilterScan::All {
        per_object_calls += size.tables_with_attachments;
    }
    if policy.glue_tags == GlueTagsPolicy::Copy {
        per_object_calls += size.tables + size.databases;
    }
    let calls_per_region = pages(size.databases, CATALOG_PAGE_SIZE)
        + SINGLE_CALLS
        + size.table_pages
        + size.partition_pages
        + per_object_calls;
    2 * calls_per_region + size.grant_calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facets_without_a_listing_cost_one_call_per_table_and_region() {
        let regions = "[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
                     [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n";
        let size = LakeSize {
            databases: 11,
            table_pages: 11,
            tables: 1001,
            tables_with_attachments: 1001,
            partition_pages: 1010,
            grant_calls: 30,
        };
        let lower_bound = |keys: &str| {
            let policy = Policy::parse(&format!("{keys}{regions}")).unwrap();
            resync_lower_bound(&size, &policy)
        };
        assert_eq!(lower_bound(""), 2 * (1 + 10 + 11 + 1010 + 3 * 1001) + 30);
        let reduced =
            lower_bound("column-statistics = \"none\"\ndata-cells-filter-scan = \"granted\"\n");
        assert_eq!(lower_bound("") - reduced, 4 * 1001);
    }
}
