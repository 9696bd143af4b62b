//! What of an object is compared with its counterpart in the other Region.

use super::{Database, LAST_DDL_TIME_PARAMETER, Partition, SCHEMA_REFERENCE_FIELD, Table};
use super::{Parameters, StorageDescriptor};

/// An object of which some fields are not compared.
pub trait Comparable {
    /// Returns the object without the fields whose difference is no reason for a write:
    /// [`LAST_DDL_TIME_PARAMETER`], which engines rewrite on every statement, and
    /// [`SCHEMA_REFERENCE_FIELD`], whose columns are compared instead.
    #[must_use]
    fn into_comparable(self) -> Self;
}

impl Comparable for Database {
    fn into_comparable(mut self) -> Self {
        remove_last_ddl_time(&mut self.parameters);
        self
    }
}

impl Comparable for Table {
    fn into_comparable(mut self) -> Self {
        remove_last_ddl_time(&mut self.parameters);
        remove_schema_reference(self.storage_descriptor.as_mut());
        self
    }
}

impl Comparable for Partition {
    fn into_comparable(mut self) -> Self {
        remove_last_ddl_time(&mut self.parameters);
        remove_schema_reference(self.storage_descriptor.as_mut());
        self
    }
}

fn remove_last_ddl_time(parameters: &mut Parameters) {
    parameters.remove(LAST_DDL_TIME_PARAMETER);
}

fn remove_schema_reference(descriptor: Option<&mut StorageDescriptor>) {
    if let Some(descriptor) = descriptor {
        descriptor.unsupported_fields.remove(SCHEMA_REFERENCE_FIELD);
    }
}
