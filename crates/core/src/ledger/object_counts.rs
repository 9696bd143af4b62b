//! Counts of objects by kind.

use serde::{Deserialize, Serialize};

/// Object counts by kind: of what is paired, or of what was deleted within an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectCounts {
    /// Databases.
    pub databases: usize,
    /// Tables.
    pub tables: usize,
    /// Partitions.
    pub partitions: usize,
    /// LF-Tag values, LF-Tag expressions and registered locations.
    #[serde(default)]
    pub items: usize,
}

/// Counts of deletions, by the kinds of a domain.
pub trait DeletionCounts: Clone + Default {
    /// Adds counts by kind.
    #[must_use]
    fn plus(self, other: Self) -> Self;
}

impl DeletionCounts for ObjectCounts {
    fn plus(self, other: Self) -> Self {
        Self {
            databases: self.databases.saturating_add(other.databases),
            tables: self.tables.saturating_add(other.tables),
            partitions: self.partitions.saturating_add(other.partitions),
            items: self.items.saturating_add(other.items),
        }
    }
}

impl ObjectCounts {
    /// Subtracts counts by kind, down to 0.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            databases: self.databases.saturating_sub(other.databases),
            tables: self.tables.saturating_sub(other.tables),
            partitions: self.partitions.saturating_sub(other.partitions),
            items: self.items.saturating_sub(other.items),
        }
    }
}
