//! What the checks look at of the primary's catalog: what it points at, and its Iceberg tables.

use super::Reading;
use crate::catalog::{LinkTarget, Table, athena_view_sql};
use crate::name::{Name, TableId};
use std::collections::{BTreeMap, BTreeSet};

/// What the replicated part of the primary's catalog points at.
#[derive(Clone, Debug, Default)]
pub struct CatalogReferences {
    /// Every database of the primary, resource links included.
    pub databases: BTreeSet<Name>,
    /// Every table of the databases that are replicated, resource links included.
    pub tables: BTreeSet<TableId>,
    /// The resource links, by the name of the link.
    pub links: BTreeMap<String, LinkTarget>,
    /// The texts of the queries of views.
    pub views: BTreeMap<TableId, Vec<String>>,
}

impl CatalogReferences {
    /// Adds a table, with what it points at.
    pub fn add_table(&mut self, id: &TableId, table: &Table) {
        self.tables.insert(id.clone());
        if let Some(target) = &table.target_table {
            self.links.insert(id.to_string(), target.clone());
        }
        let definition = table.view_definition.iter();
        let representations = definition.flat_map(|view| &view.representations);
        let of_dialects = representations.filter_map(|text| text.view_original_text.as_deref());
        let own = [&table.view_original_text, &table.view_expanded_text];
        let own = own.into_iter().filter_map(|text| text.as_deref());
        let texts: Vec<String> = of_dialects.chain(own).filter_map(athena_view_sql).collect();
        if table.is_view() && !texts.is_empty() {
            self.views.insert(id.clone(), texts);
        }
    }
}

/// The partitions that were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSamples {
    /// For each table that was looked at, the first partitions: their number, and the locations that no
    /// pair holds.
    pub tables: BTreeMap<TableId, Reading<SampledPartitions>>,
    /// Number of further partitioned tables.
    pub unsampled_tables: usize,
}

/// The first partitions of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampledPartitions {
    /// Their number.
    pub looked_at: usize,
    /// Whether there are more.
    pub has_more: bool,
    /// The locations of those whose data lies in S3 and in no pair.
    pub outside: Vec<String>,
}

/// The property of a table with the age at which snapshots expire.
pub(super) const EXPIRY: &str = "history.expire.max-snapshot-age-ms";

/// What the catalog says about the files of an Iceberg table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IcebergTable {
    /// `history.expire.max-snapshot-age-ms`, where the engine wrote it to the catalog too.
    pub snapshot_age_ms: Option<i64>,
}

impl IcebergTable {
    /// Reads the parameters of a table.
    #[must_use]
    pub fn from_parameters(parameters: &BTreeMap<String, String>) -> Self {
        Self {
            snapshot_age_ms: parameters
                .get(EXPIRY)
                .and_then(|age| age.trim().parse().ok()),
        }
    }
}

/// An optimizer of a table (`BatchGetTableOptimizer`) that is enabled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableOptimizer {
    /// The table.
    pub table: TableId,
    /// What it does.
    pub kind: OptimizerKind,
    /// The days that an optimizer of the kind [`OptimizerKind::Retention`] keeps snapshots.
    pub retention_days: Option<i32>,
}

/// `TableOptimizerType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptimizerKind {
    /// It rewrites small files.
    Compaction,
    /// It expires snapshots.
    Retention,
    /// It deletes files that no snapshot names.
    OrphanFileDeletion,
}

impl OptimizerKind {
    /// The type as AWS spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compaction => "compaction",
            Self::Retention => "retention",
            Self::OrphanFileDeletion => "orphan_file_deletion",
        }
    }
}
