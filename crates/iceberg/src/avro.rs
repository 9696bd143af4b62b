//! Avro object container files: what Iceberg's manifests and manifest lists are.
//!
//! A file is walked by the schema in its header. Values that are not edited are copied as bytes, so
//! fields and attributes that this crate does not know stay as they are.

pub(crate) mod container;
pub(crate) mod cursor;
pub(crate) mod fields;
pub(crate) mod schema;
