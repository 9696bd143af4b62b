//! The replicated Glue objects, with every field of their input shapes.
//!
//! The types correspond to the API's input shapes (`DatabaseInput`, `TableInput`,
//! `PartitionInput`) and serialize to JSON with AWS's field names. [`Observed`] adds what a read
//! returns and an input does not accept: creation time and version.
//!
//! A list or map that is absent equals an empty one, except
//! [`Database::create_table_default_permissions`], where the difference decides whether every
//! future table is open to `IAM_ALLOWED_PRINCIPALS` (LF-15).

mod attachment;
mod comparison;
mod field_diff;
mod function;
mod lakeformation;
mod link;
mod view;

pub use attachment::{
    Attachment, AttachmentKey, BinaryStatistics, BooleanStatistics, ColumnStatistics,
    DateStatistics, DecimalNumber, DecimalStatistics, DoubleStatistics, IndexStatus,
    LongStatistics, ObservedAttachment, PartitionIndex, StatisticsData, StringStatistics,
};
pub use comparison::Comparable;
pub use field_diff::{Change, differences, digest, fingerprint};
pub use function::{Function, ResourceUri};
pub use lakeformation::{
    DataCellsFilter, DataLakeSettings, FilterColumns, NamedLfTagExpression, OptIn, Registration,
};
pub use link::MaybeLink;
pub use view::{SubObjectStatistics, ViewDefinition, ViewRepresentation, athena_view_sql};

use crate::name::Name;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The string parameters of a Glue object. Keys are case-sensitive.
pub type Parameters = BTreeMap<String, String>;

/// Input fields that this version does not replicate, by their AWS names.
///
/// They are parsed so that an object that uses one is reported instead of being copied without it.
pub type UnsupportedFields = BTreeMap<String, serde_json::Value>;

/// An object as a read returned it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed<T> {
    /// The fields of the input shape.
    pub object: T,
    /// `CreateTime`. It distinguishes a recreated object from the one that it replaced.
    pub created: Option<Timestamp>,
    /// `UpdateTime` of a table.
    #[serde(default)]
    pub updated: Option<Timestamp>,
    /// `VersionId` of a table, which an update passes as its optimistic lock.
    pub version: Option<String>,
}

/// `DatabaseInput`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Database {
    /// `Name`.
    pub name: Name,
    /// `Description`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `LocationUri`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location_uri: Option<String>,
    /// `Parameters`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
    /// `CreateTableDefaultPermissions`: absent means "open to
    /// `IAM_ALLOWED_PRINCIPALS`", an empty list means closed (LF-15).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_table_default_permissions: Option<Vec<PrincipalPermissions>>,
    /// `TargetDatabase`: present on a resource link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_database: Option<LinkTarget>,
    /// Other input fields, not replicated.
    #[serde(flatten)]
    pub unsupported_fields: UnsupportedFields,
}

impl Database {
    /// Creates a database with a name and no other field.
    #[must_use]
    pub fn named(name: Name) -> Self {
        Self {
            name,
            description: None,
            location_uri: None,
            parameters: Parameters::new(),
            create_table_default_permissions: None,
            target_database: None,
            unsupported_fields: UnsupportedFields::new(),
        }
    }
}

/// `PrincipalPermissions`: a default permission on new tables of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PrincipalPermissions {
    /// The grantee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<DataLakePrincipal>,
    /// The permissions, as AWS spells them.
    #[serde(default)]
    pub permissions: Vec<String>,
}

/// `DataLakePrincipal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataLakePrincipal {
    /// The principal as AWS spells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_lake_principal_identifier: Option<String>,
}

/// `DatabaseIdentifier` or `TableIdentifier`: the target of a resource link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LinkTarget {
    /// `CatalogId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog_id: Option<String>,
    /// `DatabaseName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_name: Option<String>,
    /// `Name`, on a table link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Region`, on a cross-Region link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// `TableInput`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Table {
    /// `Name`.
    pub name: Name,
    /// `Description`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `Owner`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `LastAccessTime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_access_time: Option<Timestamp>,
    /// `LastAnalyzedTime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_analyzed_time: Option<Timestamp>,
    /// `Retention`.
    #[serde(default)]
    pub retention: i32,
    /// `StorageDescriptor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_descriptor: Option<StorageDescriptor>,
    /// `PartitionKeys`: always sent, even if empty (GL-02).
    #[serde(default)]
    pub partition_keys: Vec<Column>,
    /// `ViewOriginalText`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_original_text: Option<String>,
    /// `ViewExpandedText`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_expanded_text: Option<String>,
    /// `TableType`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_type: Option<String>,
    /// `Parameters`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
    /// `TargetTable`: present on a resource link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_table: Option<LinkTarget>,
    /// `ViewDefinition`: present on a multi-dialect view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_definition: Option<ViewDefinition>,
    /// Other input fields, not replicated.
    #[serde(flatten)]
    pub unsupported_fields: UnsupportedFields,
}

impl Table {
    /// Creates a table with a name and no other field.
    #[must_use]
    pub fn named(name: Name) -> Self {
        Self {
            name,
            description: None,
            owner: None,
            last_access_time: None,
            last_analyzed_time: None,
            retention: 0,
            storage_descriptor: None,
            partition_keys: Vec::new(),
            view_original_text: None,
            view_expanded_text: None,
            table_type: None,
            parameters: Parameters::new(),
            target_table: None,
            view_definition: None,
            unsupported_fields: UnsupportedFields::new(),
        }
    }

    /// Whether the table is an Iceberg table, whose entry points to a metadata file (GL-01).
    #[must_use]
    pub fn is_iceberg(&self) -> bool {
        let has_table_type = self
            .parameters
            .get("table_type")
            .is_some_and(|kind| kind.eq_ignore_ascii_case("iceberg"));
        has_table_type || self.parameters.contains_key("metadata_location")
    }

    /// Whether the table is a view of any kind, which has no data of its own.
    #[must_use]
    pub fn is_view(&self) -> bool {
        let kind = self.table_type.as_deref();
        self.view_definition.is_some()
            || kind.is_some_and(|kind| kind.to_ascii_uppercase().ends_with("VIEW"))
    }

    /// Whether a table format (Delta, Hudi) or Spark maintains its own parameters on the table.
    #[must_use]
    pub fn has_format_parameters(&self) -> bool {
        let formats = ["delta", "hudi"];
        let kind = self.parameters.get("table_type");
        let is_format = |kind: &String| formats.iter().any(|f| kind.eq_ignore_ascii_case(f));
        kind.is_some_and(is_format) || self.parameters.contains_key("spark.sql.sources.provider")
    }

    /// Returns all columns, including the partition keys.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        let data_columns = self.storage_descriptor.iter().flat_map(|sd| &sd.columns);
        data_columns.chain(&self.partition_keys)
    }
}

/// `Column`. The name keeps its case, because it is copied unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Column {
    /// `Name`.
    pub name: String,
    /// `Type`, a Hive type.
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `Comment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// `Parameters`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
}

/// `StorageDescriptor`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StorageDescriptor {
    /// `Columns`.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// `Location`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// `AdditionalLocations`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_locations: Vec<String>,
    /// `InputFormat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_format: Option<String>,
    /// `OutputFormat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_format: Option<String>,
    /// `Compressed`.
    #[serde(default)]
    pub compressed: bool,
    /// `NumberOfBuckets`.
    #[serde(default)]
    pub number_of_buckets: i32,
    /// `SerdeInfo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serde_info: Option<SerDeInfo>,
    /// `BucketColumns`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bucket_columns: Vec<String>,
    /// `SortColumns`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sort_columns: Vec<Order>,
    /// `Parameters`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
    /// `SkewedInfo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skewed_info: Option<SkewedInfo>,
    /// `StoredAsSubDirectories`.
    #[serde(default)]
    pub stored_as_sub_directories: bool,
    /// Other input fields, not replicated (`SchemaReference`).
    #[serde(flatten)]
    pub unsupported_fields: UnsupportedFields,
}

/// `SerDeInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SerDeInfo {
    /// `Name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `SerializationLibrary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serialization_library: Option<String>,
    /// `Parameters`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
}

/// `Order`: a sort column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Order {
    /// `Column`.
    pub column: String,
    /// `SortOrder`: 1 ascending, 0 descending.
    pub sort_order: i32,
}

/// `SkewedInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SkewedInfo {
    /// `SkewedColumnNames`.
    #[serde(default)]
    pub skewed_column_names: Vec<String>,
    /// `SkewedColumnValues`.
    #[serde(default)]
    pub skewed_column_values: Vec<String>,
    /// `SkewedColumnValueLocationMaps`: the location of each skewed value.
    #[serde(default)]
    pub skewed_column_value_location_maps: Parameters,
}

/// `PartitionInput`. The values identify the partition. They may contain any character, so they are
/// never joined into one string (GL-08).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Partition {
    /// `Values`, one for each partition key.
    pub values: Vec<String>,
    /// `LastAccessTime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_access_time: Option<Timestamp>,
    /// `LastAnalyzedTime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_analyzed_time: Option<Timestamp>,
    /// `StorageDescriptor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_descriptor: Option<StorageDescriptor>,
    /// `Parameters`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: Parameters,
    /// Other input fields, not replicated.
    #[serde(flatten)]
    pub unsupported_fields: UnsupportedFields,
}

impl Partition {
    /// Creates a partition with its values and no other field.
    #[must_use]
    pub fn named(values: Vec<String>) -> Self {
        Self {
            values,
            last_access_time: None,
            last_analyzed_time: None,
            storage_descriptor: None,
            parameters: Parameters::new(),
            unsupported_fields: UnsupportedFields::new(),
        }
    }
}

/// The parameter that Hive rewrites on every statement. It is sent with each write, and its value is
/// never the reason for one.
pub const LAST_DDL_TIME_PARAMETER: &str = "transient_lastDdlTime";

/// The field of a storage descriptor that names a schema in the Glue Schema Registry. A read returns
/// the columns of that schema, and the standby gets those columns instead of the reference (GL-03).
pub const SCHEMA_REFERENCE_FIELD: &str = "SchemaReference";

#[cfg(test)]
mod tests {
    use super::*;

    fn table(json: serde_json::Value) -> Table {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn absent_equals_empty_except_for_the_table_defaults() {
        let bare = table(serde_json::json!({"Name": "t"}));
        let empty = table(serde_json::json!({"Name": "t", "Parameters": {}, "PartitionKeys": []}));
        assert_eq!(bare, empty);
        let open: Database = serde_json::from_value(serde_json::json!({"Name": "d"})).unwrap();
        let closed: Database = serde_json::from_value(
            serde_json::json!({"Name": "d", "CreateTableDefaultPermissions": []}),
        )
        .unwrap();
        assert_ne!(open, closed);
    }

    #[test]
    fn unsupported_fields_are_kept_to_be_reported() {
        let read = table(serde_json::json!({"Name": "v", "FederatedTable": {"Identifier": "x"}}));
        assert!(read.unsupported_fields.contains_key("FederatedTable"));
    }

    #[test]
    fn differences_name_the_field_and_both_values() {
        let current = table(serde_json::json!({"Name": "t", "Parameters": {"a": "1", "b": "2"}}));
        let desired = table(serde_json::json!({"Name": "t", "Parameters": {"a": "9"}}));
        let changes = differences(&current, &desired);
        let fields: Vec<&str> = changes.iter().map(|c| c.field.as_str()).collect();
        assert_eq!(fields, ["Parameters.a", "Parameters.b"]);
        assert_eq!(changes[1].desired, None);
    }

    #[test]
    fn either_parameter_identifies_an_iceberg_table() {
        let by_type =
            table(serde_json::json!({"Name": "t", "Parameters": {"table_type": "ICEBERG"}}));
        let by_pointer = table(
            serde_json::json!({"Name": "t", "Parameters": {"metadata_location": "s3://b/m.json"}}),
        );
        assert!(by_type.is_iceberg() && by_pointer.is_iceberg());
        assert!(!table(serde_json::json!({"Name": "t"})).is_iceberg());
    }
}
