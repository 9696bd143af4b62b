//! The policy: one TOML document that says what is replicated, between which sites, and how.
//!
//! It is symmetric: it names two sites, `a` and `b`. The [epoch](crate::topology::Epoch) says
//! which of them is primary, so a switch needs no new policy. Its digest must
//! agree in both Regions. What may differ, and must never stop replication (alert
//! thresholds, prices), is in the operation document of the engine.
//!
//! ```toml
//! [[region]]
//! id = "a"
//! region = "us-east-1"
//! account = "111122223333"
//! [[region]]
//! id = "b"
//! region = "ap-south-1"
//! account = "111122223333"
//! [[location]]
//! a = "s3://sales-us-east-1/"
//! b = "s3://sales-ap-south-1/"
//! copied-by = "s3"
//! ```

mod copied_keys;
mod draft;
mod parser;
mod pattern;
mod query;
mod scan_interval;
mod warehouse;

pub use draft::{DraftInputs, DraftWorkGroup, DraftWorkGroups, PolicyDraft, draft};
pub use parser::FORMAT;
pub use pattern::Patterns;
pub use query::{AthenaTagsPolicy, GlueToolsPolicy, QueryPolicy};
pub use scan_interval::{ScanInterval, ScanWindow};
pub use warehouse::{Warehouse, WarehouseEndpoint, WarehouseLogin, WarehouseSite};

use crate::grant::PrincipalPatterns;
use crate::location::LocationMap;
use crate::name::{Name, TableId};
use crate::topology::{BySite, Epoch, Site, SiteId};
use serde::{Deserialize, Serialize};

/// What to do with an object whose location no pair contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnmappedLocation {
    /// Put the object on hold, and report it.
    #[default]
    Refuse,
    /// Copy the entry with its location unchanged, and report that it reads the primary's bucket.
    Keep,
}

/// What to do with Iceberg tables, whose metadata files name their other files by full path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IcebergPolicy {
    /// Put the table on hold, and report it.
    #[default]
    Withhold,
    /// Copy the catalog entry unchanged, and report that its metadata names the primary's files.
    Pointer,
    /// Rewrite the metadata files in the standby, and point the catalog entry at the newest commit whose
    /// files are all there.
    Relocate,
}

/// What to do when an object was deleted in the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeletionPolicy {
    /// Delete it in the standby too, once the absence is proven.
    #[default]
    Propagate,
    /// Keep it, and report it.
    Retain,
}

/// Which column statistics are copied. Each table takes a call of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnStatisticsPolicy {
    /// The statistics of tables.
    #[default]
    Tables,
    /// None.
    None,
}

/// The tables whose data cells filters a scan of whole databases reads. Each table takes a call
/// of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataCellsFilterScan {
    /// All.
    #[default]
    All,
    /// Tables with a grant on a filter. A filter without a grant is then found only by the event
    /// that names it.
    Granted,
}

/// Whether Glue's tags on databases and tables are copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GlueTagsPolicy {
    /// They are not changed: IAM policies may depend on them.
    #[default]
    Leave,
    /// They are copied.
    Copy,
}

/// What to do where the data lake settings of both Regions differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataLakeSettingsPolicy {
    /// Differences are reported.
    #[default]
    Report,
    /// The primary's settings are merged into the standby's. Administrators that came from the
    /// primary are removed again with it; default permissions are only cleared.
    Merge,
}

/// The number of deletions that need no approval. The deletions of a plan with more are held; the
/// rest is applied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DeletionLimit {
    /// The fraction of all paired objects of a kind that one plan, or one hour, may
    /// delete: 0 to 1.
    pub fraction: f64,
    /// This number is always allowed, however small the catalog.
    pub minimum: usize,
}

impl DeletionLimit {
    /// The most objects of a kind that one plan, or one hour, may delete of `paired` ones.
    #[must_use]
    pub fn allowed(&self, paired: usize) -> usize {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of objects, times a fraction between 0 and 1"
        )]
        let by_fraction = (paired as f64 * self.fraction) as usize;
        by_fraction.max(self.minimum)
    }
}

/// A checked policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The two sites.
    pub sites: BySite<Site>,
    /// What is replicated.
    pub patterns: Patterns,
    /// Which locations hold the same objects.
    pub locations: LocationMap,
    /// Catalogs of other accounts that resource links point to, by their IDs.
    pub catalogs: Vec<BySite<String>>,
    /// Principals that have another ARN in the other site: of grants, opt-ins,
    /// administrators, and roles of registered locations.
    pub principals: Vec<BySite<String>>,
    /// Principals whose grants and opt-ins are not changed.
    pub ignored_principals: PrincipalPatterns,
    /// What to do with the data lake settings.
    pub data_lake_settings: DataLakeSettingsPolicy,
    /// What to do with unmapped locations.
    pub unmapped_location: UnmappedLocation,
    /// What to do with Iceberg tables.
    pub iceberg: IcebergPolicy,
    /// Which column statistics are copied.
    pub column_statistics: ColumnStatisticsPolicy,
    /// Which tables are searched for data cells filters.
    pub data_cells_filter_scan: DataCellsFilterScan,
    /// How often a resync lists the partitions of a table.
    pub partition_scan: ScanInterval,
    /// How often a resync reads the partition indexes and column statistics of a table, the data cells
    /// filters that nobody is granted, and the LF-Tag assignments that a search has shown to be equal.
    /// Every resync reads the other attachments: opt-ins, Glue tags, and other LF-Tag assignments.
    pub attachment_scan: ScanInterval,
    /// Whether Glue's tags are copied.
    pub glue_tags: GlueTagsPolicy,
    /// What to do with deletions.
    pub deletions: DeletionPolicy,
    /// The limit on deletions.
    pub deletion_limit: DeletionLimit,
    /// What of the query tools is replicated; `None` if nothing is.
    pub query: Option<QueryPolicy>,
    digest: String,
    text: String,
}

impl Policy {
    /// Parses and checks a policy document.
    ///
    /// # Errors
    /// What is wrong, with the line and the key.
    pub fn parse(text: &str) -> Result<Self, crate::document::DocumentError> {
        parser::parse(text)
    }

    /// A fingerprint of what the policy says; comments and layout do not count.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The document as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The primary's site at an epoch.
    #[must_use]
    pub fn primary(&self, epoch: Epoch) -> &Site {
        self.sites.get(epoch.primary())
    }

    /// The standby's site at an epoch.
    #[must_use]
    pub fn standby(&self, epoch: Epoch) -> &Site {
        self.sites.get(epoch.standby())
    }

    /// The counterpart of a catalog that resource links of a site point at, if a pair
    /// names it.
    #[must_use]
    pub fn catalog(&self, id: &str, from: SiteId) -> Option<&str> {
        let mut pairs = self.catalogs.iter();
        let pair = pairs.find(|pair| pair.get(from) == id)?;
        Some(pair.get(from.other()).as_str())
    }

    /// Whether a database is replicated, or at least some of its tables.
    #[must_use]
    pub fn covers_database(&self, name: &Name) -> bool {
        crate::heartbeat::is_database(name) || self.patterns.covers_database(name)
    }

    /// Whether a table is replicated.
    #[must_use]
    pub fn covers_table(&self, id: &TableId) -> bool {
        crate::heartbeat::is_table(id) || self.patterns.covers_table(id)
    }
}
