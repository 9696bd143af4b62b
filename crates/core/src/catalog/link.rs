//! Resource links: catalog entries that refer to a database or table in another catalog or Region.
//!
//! A read of a link returns its target's fields, and an update of it writes the target (GL-12). So a
//! link consists of its name and target only; it is created and deleted, never updated.

use super::{Database, Observed, Table};

/// An object that may be a resource link.
pub trait MaybeLink {
    /// Whether the object is a resource link.
    fn is_link(&self) -> bool;

    /// Returns a link without its target's fields, and any other object unchanged.
    #[must_use]
    fn without_target_fields(self) -> Self;
}

impl MaybeLink for Database {
    fn is_link(&self) -> bool {
        self.target_database.is_some()
    }

    fn without_target_fields(self) -> Self {
        if !self.is_link() {
            return self;
        }
        Self {
            target_database: self.target_database,
            ..Self::named(self.name)
        }
    }
}

impl MaybeLink for Table {
    fn is_link(&self) -> bool {
        self.target_table.is_some()
    }

    fn without_target_fields(self) -> Self {
        if !self.is_link() {
            return self;
        }
        Self {
            target_table: self.target_table,
            ..Self::named(self.name)
        }
    }
}

impl<T: MaybeLink> MaybeLink for Observed<T> {
    fn is_link(&self) -> bool {
        self.object.is_link()
    }

    fn without_target_fields(self) -> Self {
        Self {
            object: self.object.without_target_fields(),
            ..self
        }
    }
}
