//! Projects the calls to Glue and Lake Formation of resyncs from the size of a data lake, before
//! anything is deployed.
//!
//! The terms follow the reads and writes of a resync: per Region, per database, per table, and per page
//! or batch of the APIs. Not counted, because no cheap call counts them: attachments that are created
//! (partition indexes, column statistics, data cells filters, assignments of LF-Tags), functions, retries,
//! and the further parts of a run that has no time for the whole lake.

use crate::api_call_lower_bound::{CATALOG_PAGE_SIZE, PARTITION_PAGE_SIZE, pages};
use crate::grant_index::LIST_PERMISSIONS_PAGE_SIZE;
use crate::ports::{
    MAX_PARTITIONS_PER_CREATE, MAX_PARTITIONS_PER_GET, MAX_PERMISSIONS_PER_BATCH,
    PermissionResourceType,
};
use std::ops::{Add, AddAssign};
use twinlake_core::Policy;
use twinlake_core::policy::{
    ColumnStatisticsPolicy, DataCellsFilterScan, GlueTagsPolicy, ScanInterval,
};

/// What a primary holds, as far as listings of databases, tables and grants show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LakeInventory {
    /// The databases, without resource links.
    pub databases: Vec<DatabaseInventory>,
    /// Resource links to databases.
    pub database_links: usize,
    /// Entries that `ListPermissions` lists without a filter.
    pub grants: usize,
    /// LF-Tags.
    pub lf_tags: usize,
}

/// What a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseInventory {
    /// The tables, resource links included.
    pub tables: Vec<TableInventory>,
    /// Entries of [`LakeInventory::grants`] on the database and in it.
    pub grants: usize,
}

/// What decides the calls that a table costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableInventory {
    /// Whether it is a resource link.
    pub is_link: bool,
    /// The columns that may have statistics: those of views and partition keys have none.
    pub columns: usize,
    /// Whether it has partition keys.
    pub is_partitioned: bool,
    /// The number of partitions, if they were counted.
    pub partitions: Option<usize>,
    /// Whether the policy lets it be created in the standby.
    pub is_carried: bool,
}

/// A number of calls to each of the two services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectedCalls {
    /// Calls to Glue.
    pub glue: usize,
    /// Calls to Lake Formation.
    pub lake_formation: usize,
}

impl ProjectedCalls {
    const fn new(glue: usize, lake_formation: usize) -> Self {
        Self {
            glue,
            lake_formation,
        }
    }

    /// The calls to both services.
    #[must_use]
    pub const fn total(self) -> usize {
        self.glue + self.lake_formation
    }

    const fn times(self, factor: usize) -> Self {
        Self::new(self.glue * factor, self.lake_formation * factor)
    }

    const fn divided_by(self, divisor: usize) -> Self {
        Self::new(
            self.glue.div_ceil(divisor),
            self.lake_formation.div_ceil(divisor),
        )
    }
}

impl Add for ProjectedCalls {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::new(
            self.glue + other.glue,
            self.lake_formation + other.lake_formation,
        )
    }
}

impl AddAssign for ProjectedCalls {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// The calls of a resync of an unchanged lake that is in sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnchangedResyncCalls {
    /// What every resync reads.
    pub always: ProjectedCalls,
    /// What [`Policy::partition_scan`] spreads over resyncs.
    pub partition_scan: ProjectedCalls,
    /// What [`Policy::attachment_scan`] spreads over resyncs.
    pub attachment_scan: ProjectedCalls,
}

impl UnchangedResyncCalls {
    /// The calls of a resync that reads everything, as `twinlake resync --full` does.
    #[must_use]
    pub fn full(&self) -> ProjectedCalls {
        self.always + self.partition_scan + self.attachment_scan
    }

    /// The mean over a period, with so many resyncs a day.
    #[must_use]
    pub fn average(&self, policy: &Policy, resyncs_per_day: usize) -> ProjectedCalls {
        let spread = |interval: ScanInterval| match interval {
            ScanInterval::EveryResync => 1,
            ScanInterval::Daily => resyncs_per_day.max(1),
            ScanInterval::Weekly => 7 * resyncs_per_day.max(1),
        };
        self.always
            + self
                .partition_scan
                .divided_by(spread(policy.partition_scan))
            + self
                .attachment_scan
                .divided_by(spread(policy.attachment_scan))
    }
}

/// Calls to each Region, whatever it holds. Glue: `GetConnections`, `GetCatalogs`, the encryption settings,
/// the resource policy, and `GetUserDefinedFunctions` twice. Lake Formation: LF-Tags, LF-Tag expressions,
/// registrations, opt-ins, settings.
const CALLS_PER_REGION: ProjectedCalls = ProjectedCalls::new(6, 5);
/// Calls of a resync that changed something, to list the opt-ins of both Regions again.
const OPT_IN_VERIFICATION: usize = 2;
/// Calls of a resync that changed something where there are grants by LF-Tags, to list LF-Tags, LF-Tag expressions,
/// registrations, opt-ins, settings, and the grants on them again in both Regions.
const LF_TAG_VERIFICATION: usize = 25;
/// Further calls of a first resync if there are LF-Tags: the listings after they are created.
const FIRST_LF_TAGS: usize = 2;
/// Calls for each LF-Tag that is created: `CreateLFTag` and `GetLFTag`.
const CALLS_PER_CREATED_LF_TAG: usize = 2;
/// From this number of tables of a database on, they are verified by a listing instead of by name.
const MIN_LISTED_TABLES: usize = 3;
/// From this number of a database's subjects on, itself included, a cheap listing of all grants is used.
const MIN_LISTED_SUBJECTS: usize = 4;
/// A listing of all grants of fewer calls than this is cheap.
const CHEAP_LISTING_MAX_CALLS: usize = 32;
/// The maximum number of columns of one `GetColumnStatisticsForTable`.
const COLUMNS_PER_STATISTICS_CALL: usize = 100;

/// Projects the calls of a resync after which nothing has changed.
#[must_use]
pub fn unchanged_resync(lake: &LakeInventory, policy: &Policy) -> UnchangedResyncCalls {
    let mut calls = UnchangedResyncCalls::default();
    let database_pages = pages(
        lake.databases.len() + lake.database_links,
        CATALOG_PAGE_SIZE,
    );
    calls.always = (CALLS_PER_REGION + ProjectedCalls::new(database_pages, 0)).times(2);
    calls.always.lake_formation += grant_listings(lake, listing_calls);
    let searches = lf_tag_searches(lake);
    let are_searched = searches.is_some();
    calls.always.lake_formation += searches.unwrap_or_default();
    for database in &lake.databases {
        let carried = database.tables.iter().filter(|table| table.is_carried);
        calls.always.glue += pages(database.tables.len(), CATALOG_PAGE_SIZE);
        calls.always.glue += pages(carried.count(), CATALOG_PAGE_SIZE);
        let is_any_carried = database.tables.iter().any(|table| table.is_carried);
        let mut of_database = tag_reads(lake, policy).times(2);
        if are_searched && is_any_carried {
            of_database.lake_formation = 0;
        }
        calls.always += of_database;
        for table in database.tables.iter().filter(|table| !table.is_link) {
            let partitions = ProjectedCalls::new(partition_pages(table), 0);
            let attachments = attachment_reads(table, policy);
            if table.is_carried {
                let mut tags = tag_reads(lake, policy).times(2);
                if are_searched {
                    calls.attachment_scan.lake_formation +=
                        std::mem::take(&mut tags.lake_formation);
                }
                calls.always += tags;
                calls.partition_scan += partitions.times(2);
                calls.attachment_scan += attachments.times(2);
            } else {
                // What is not in sync is read in every resync. The standby lacks it.
                calls.always += tag_reads(lake, policy) + partitions + attachments;
            }
        }
    }
    calls
}

/// Projects the calls of the first resync into a standby that is empty.
#[must_use]
pub fn first_resync(lake: &LakeInventory, policy: &Policy) -> ProjectedCalls {
    let database_pages = pages(
        lake.databases.len() + lake.database_links,
        CATALOG_PAGE_SIZE,
    );
    let mut calls = CALLS_PER_REGION.times(2) + ProjectedCalls::new(database_pages + 1, 0);
    calls.lake_formation += listing_calls(lake.grants) + listing_calls(0);
    let object_listing = object_listing_calls(lake.grants) + object_listing_calls(0);
    if lake.databases.is_empty() && lake.database_links == 0 && lake.lf_tags == 0 {
        return calls;
    }
    if lake.lf_tags == 0 {
        calls.lake_formation += OPT_IN_VERIFICATION;
    } else {
        // Whoever has LF-Tags mostly grants by them.
        calls.lake_formation += LF_TAG_VERIFICATION;
        calls.lake_formation += FIRST_LF_TAGS + CALLS_PER_CREATED_LF_TAG * lake.lf_tags;
    }
    for database in &lake.databases {
        calls += first_resync_of(database, lake, policy, object_listing);
    }
    // A resource link is created, and read in both Regions.
    calls.glue += 3 * lake.database_links;
    calls
}

/// The calls for one database, which the first resync creates and then verifies.
fn first_resync_of(
    database: &DatabaseInventory,
    lake: &LakeInventory,
    policy: &Policy,
    first_listing: usize,
) -> ProjectedCalls {
    let carried = database.tables.iter().filter(|table| table.is_carried);
    let carried = carried.count();
    // `CreateDatabase`, and `GetDatabase` in both Regions.
    let mut calls = ProjectedCalls::new(3, 0) + tag_reads(lake, policy);
    calls.glue += pages(database.tables.len(), CATALOG_PAGE_SIZE);
    calls.glue += match carried {
        0..MIN_LISTED_TABLES => 2 * carried,
        _ => pages(database.tables.len(), CATALOG_PAGE_SIZE) + pages(carried, CATALOG_PAGE_SIZE),
    };
    let subjects = 1 + carried;
    let max_listing = match subjects {
        MIN_LISTED_SUBJECTS.. => CHEAP_LISTING_MAX_CALLS.max(2 * subjects),
        _ => 2 * subjects,
    };
    calls.lake_formation += match first_listing < max_listing {
        true => grant_listings(lake, object_listing_calls),
        // In both Regions; those on a database and on all its tables are two listings.
        false => 2 * (subjects + 1),
    };
    calls.lake_formation += database.grants.div_ceil(MAX_PERMISSIONS_PER_BATCH);
    for table in &database.tables {
        if table.is_carried {
            calls.glue += 1;
        }
        if table.is_link {
            continue;
        }
        calls += tag_reads(lake, policy) + attachment_reads(table, policy);
        calls.glue += partition_pages(table);
        if table.is_carried {
            let partitions = table.partitions.unwrap_or_default();
            calls.glue += partitions.div_ceil(MAX_PARTITIONS_PER_CREATE);
            // The verification reads them by their values, in the primary.
            calls.glue += partitions.div_ceil(MAX_PARTITIONS_PER_GET);
        }
    }
    calls
}

/// The calls that list grants of both Regions. In the standby the creator of each database and table,
/// Twinlake's role, has a grant on it besides.
fn grant_listings(lake: &LakeInventory, listing_calls: fn(usize) -> usize) -> usize {
    let tables = lake.databases.iter().flat_map(|database| &database.tables);
    let created = lake.databases.len() + tables.filter(|table| table.is_carried).count();
    listing_calls(lake.grants) + listing_calls(lake.grants + created)
}

/// The calls that list all grants of a Region: without a filter, and by resource type, of which those on
/// tables are listed with and without related ones. Most grants are on tables.
fn listing_calls(grants: usize) -> usize {
    let other_types = PermissionResourceType::ALL.len() - 1;
    3 * pages(grants, LIST_PERMISSIONS_PAGE_SIZE) + other_types
}

/// The calls that list the grants on databases and tables of a Region: without a filter, and of two types.
fn object_listing_calls(grants: usize) -> usize {
    3 * pages(grants, LIST_PERMISSIONS_PAGE_SIZE) + PermissionResourceType::OBJECT_TYPES.len() - 1
}

fn partition_pages(table: &TableInventory) -> usize {
    match table.is_partitioned {
        true => pages(table.partitions.unwrap_or_default(), PARTITION_PAGE_SIZE),
        false => 0,
    }
}

/// The calls that read what has no listing across tables, of one table in one Region.
fn attachment_reads(table: &TableInventory, policy: &Policy) -> ProjectedCalls {
    let mut calls = ProjectedCalls::default();
    if table.is_partitioned {
        calls.glue += 1;
    }
    if policy.column_statistics == ColumnStatisticsPolicy::Tables {
        calls.glue += table.columns.div_ceil(COLUMNS_PER_STATISTICS_CALL);
    }
    if policy.data_cells_filter_scan == DataCellsFilterScan::All {
        calls.lake_formation += 1;
    }
    calls
}

/// The calls that search both Regions by each LF-Tag, if each table has all of them; `None` if reading each
/// table takes fewer.
fn lf_tag_searches(lake: &LakeInventory) -> Option<usize> {
    let tables = lake.databases.iter().flat_map(|database| &database.tables);
    let carried = tables.filter(|table| table.is_carried).count();
    let searches = 2 * lake.lf_tags * pages(carried, CATALOG_PAGE_SIZE);
    (0 < searches && searches <= 2 * carried).then_some(searches)
}

/// The calls that read the LF-Tags and Glue tags of one database or table in one Region.
fn tag_reads(lake: &LakeInventory, policy: &Policy) -> ProjectedCalls {
    ProjectedCalls::new(
        usize::from(policy.glue_tags == GlueTagsPolicy::Copy),
        usize::from(lake.lf_tags > 0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGIONS: &str = "[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
                           [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n";

    fn lake(databases: usize, tables: usize, table: &TableInventory) -> LakeInventory {
        let database = DatabaseInventory {
            tables: vec![table.clone(); tables],
            grants: 0,
        };
        LakeInventory {
            databases: vec![database; databases],
            ..LakeInventory::default()
        }
    }

    fn policy(keys: &str) -> Policy {
        Policy::parse(&format!("{keys}{REGIONS}")).unwrap()
    }

    fn plain() -> TableInventory {
        TableInventory {
            columns: 1,
            is_carried: true,
            ..TableInventory::default()
        }
    }

    #[test]
    fn a_lake_costs_the_calls_that_were_counted() {
        let partitioned = TableInventory {
            is_partitioned: true,
            partitions: Some(2),
            ..plain()
        };
        let large = TableInventory {
            partitions: Some(1500),
            ..partitioned.clone()
        };
        // Counted against the sandbox: the first resync, an unchanged one, and a full one.
        for (lake, counted) in [
            (lake(1, 0, &plain()), [56, 48, 48]),
            (lake(1, 1, &plain()), [63, 48, 52]),
            (lake(1, 1, &partitioned), [67, 48, 56]),
            (lake(1, 2, &plain()), [70, 48, 56]),
            (lake(1, 2, &large), [110, 48, 68]),
            (lake(1, 3, &plain()), [71, 48, 60]),
            (lake(4, 3, &partitioned), [188, 54, 150]),
            (lake(1, 250, &plain()), [818, 52, 1052]),
        ] {
            let policy = policy("");
            let unchanged = unchanged_resync(&lake, &policy);
            let projected = [
                first_resync(&lake, &policy).total(),
                unchanged.always.total(),
                unchanged.full().total(),
            ];
            assert_eq!(projected, counted, "{} databases", lake.databases.len());
        }
    }

    #[test]
    fn the_average_spreads_what_the_policy_leaves_to_a_schedule() {
        let partitioned = TableInventory {
            is_partitioned: true,
            ..plain()
        };
        let lake = lake(1, 280, &partitioned);
        let average = |keys: &str| {
            let policy = policy(keys);
            unchanged_resync(&lake, &policy).average(&policy, 4).total()
        };
        let always = 46 + 2 * 3;
        assert_eq!(average(""), always + 2 * 280 / 4 + 3 * 2 * 280 / 28);
        let every = "partition-scan = \"every-resync\"\nattachment-scan = \"every-resync\"\n";
        assert_eq!(average(every), always + 4 * 2 * 280);
    }

    #[test]
    fn a_table_that_is_not_carried_is_read_in_the_primary_by_every_resync() {
        let held = TableInventory {
            is_carried: false,
            ..plain()
        };
        let policy = policy("");
        let unchanged = unchanged_resync(&lake(1, 10, &held), &policy);
        assert_eq!(unchanged.always.total(), 48 + 2 * 10);
        assert_eq!(unchanged.full(), unchanged.always);
    }

    #[test]
    fn lf_tags_cost_searches_and_a_read_of_each_table_in_each_interval() {
        let lake = LakeInventory {
            lf_tags: 1,
            ..lake(1, 5, &plain())
        };
        let policy = policy("");
        let unchanged = unchanged_resync(&lake, &policy);
        assert_eq!(
            (unchanged.always.total(), unchanged.full().total()),
            (50, 80)
        );
        assert_eq!(first_resync(&lake, &policy).total(), 110);
        // More LF-Tags than tables: each table is read.
        let lake = LakeInventory { lf_tags: 6, ..lake };
        let unchanged = unchanged_resync(&lake, &policy);
        assert_eq!(
            (unchanged.always.total(), unchanged.full().total()),
            (60, 80)
        );
    }
}
