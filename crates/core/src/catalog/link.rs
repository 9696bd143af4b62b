//! Resource links: names that stand for an object elsewhere.
//!
//! A read of a link shows its target's fields, and an update of it writes the
//! target (GL-12), so a link is only its name and where it points: it is created
//! and deleted, never updated.

use super::{Database, Seen, Table};

/// An object that may be a resource link.
pub trait Linkable {
    /// Whether it is one.
    fn is_link(&self) -> bool;

    /// The object without what belongs to the target, if it is a link.
    #[must_use]
    fn own(self) -> Self;
}

impl Linkable for Database {
    fn is_link(&self) -> bool {
        self.target_database.is_some()
    }

    fn own(self) -> Self {
        if !self.is_link() {
            return self;
        }
        Self {
            target_database: self.target_database,
            ..Self::named(self.name)
        }
    }
}

impl Linkable for Table {
    fn is_link(&self) -> bool {
        self.target_table.is_some()
    }

    fn own(self) -> Self {
        if !self.is_link() {
            return self;
        }
        Self {
            target_table: self.target_table,
            ..Self::named(self.name)
        }
    }
}

impl<T: Linkable> Linkable for Seen<T> {
    fn is_link(&self) -> bool {
        self.object.is_link()
    }

    fn own(self) -> Self {
        Self {
            object: self.object.own(),
            ..self
        }
    }
}
