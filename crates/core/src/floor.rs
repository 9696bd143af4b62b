//! The fewest calls that a resync of an unchanged lake can take, by the page and batch limits
//! of the APIs: what the calls that were made are measured against.

use crate::policy::{Filters, Policy, Statistics, Tags};

/// How large a lake is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Databases.
    pub databases: usize,
    /// Pages of `GetTables` of all databases together.
    pub table_pages: usize,
    /// Tables.
    pub tables: usize,
    /// Pages of `GetPartitions` of all tables together.
    pub partition_pages: usize,
    /// Calls that the readings of all grants of both Regions take.
    pub grant_calls: usize,
}

/// A page of `GetDatabases` or `GetTables` (Glue's limit).
pub const PAGE: usize = 100;
/// A page of `GetPartitions` (Glue's limit).
pub const PARTITION_PAGE: usize = 1000;
/// What the catalog has once: functions, LF-Tags, saved expressions, registrations, opt-ins,
/// settings; and what is only counted or compared: connections, catalogs, the encryption, the
/// resource policy.
const ONCE: usize = 10;

/// Pages that so many items take; there is one even if it is empty.
#[must_use]
pub fn pages(items: usize, page: usize) -> usize {
    items.div_ceil(page).max(1)
}

/// The fewest calls to Glue and Lake Formation that find a lake of this size equal on both
/// sides. What has no listing (partition indexes, column statistics, data cells filters,
/// tags) is asked for table by table.
#[must_use]
pub fn of_resync(size: &Size, policy: &Policy) -> usize {
    let mut parts = size.tables;
    if policy.statistics == Statistics::Tables {
        parts += size.tables;
    }
    if policy.filters == Filters::All {
        parts += size.tables;
    }
    if policy.tags == Tags::Copy {
        parts += size.tables + size.databases;
    }
    let side = pages(size.databases, PAGE) + ONCE + size.table_pages + size.partition_pages + parts;
    2 * side + size.grant_calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_listing_costs_a_call_a_table_and_side() {
        let sides = "[first]\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
                     [second]\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n";
        let size = Size {
            databases: 11,
            table_pages: 11,
            tables: 1001,
            partition_pages: 1010,
            grant_calls: 30,
        };
        let of = |keys: &str| {
            let policy = Policy::parse(&format!("{keys}{sides}")).unwrap();
            of_resync(&size, &policy)
        };
        assert_eq!(of(""), 2 * (1 + 10 + 11 + 1010 + 3 * 1001) + 30);
        let lean = of("statistics = \"none\"\nfilters = \"granted\"\n");
        assert_eq!(of("") - lean, 4 * 1001);
    }
}
