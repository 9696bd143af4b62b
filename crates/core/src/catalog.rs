//! The Glue objects that are replicated: every field of their input shapes.
//!
//! The types are the input halves (`DatabaseInput`, `TableInput`,
//! `PartitionInput`); what a read adds and an input does not take (creation
//! time, version) stands in [`Seen`]. In JSON they read as AWS writes them.
//!
//! A list or map that is absent equals an empty one, except
//! [`Database::create_table_default_permissions`], where the difference opens or
//! closes every future table (LF-15).

mod differ;
mod function;
mod governed;
mod link;
mod part;
mod view;

pub use differ::{Change, differences, digest, fingerprint};
pub use function::{Function, ResourceUri};
pub use governed::{
    CellsFilter, FilterColumns, LakeSettings, OptIn, Registration, SavedExpression,
};
pub use link::Linkable;
pub use part::{
    BinaryStatistics, BooleanStatistics, ColumnStatistics, DateStatistics, DecimalNumber,
    DecimalStatistics, DoubleStatistics, LongStatistics, Part, PartKey, PartitionIndex, Progress,
    SeenPart, StatisticsData, StringStatistics,
};
pub use view::{SubObjectStatistics, ViewDefinition, ViewRepresentation};

use crate::name::Name;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// String parameters, as Glue keeps them on most objects. Keys keep their case.
pub type Parameters = BTreeMap<String, String>;

/// Input fields that this version does not replicate, by their AWS names.
///
/// They are kept so that an object that uses one is reported instead of being
/// copied without it.
pub type Extra = BTreeMap<String, serde_json::Value>;

/// An object as a read returned it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen<T> {
    /// The fields an input takes.
    pub object: T,
    /// When the service says that the object was made; tells a re-made object
    /// from the one it replaced.
    pub created: Option<Timestamp>,
    /// The table version, which an update names as its optimistic lock.
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
    pub extra: Extra,
}

impl Database {
    /// A database with a name and nothing else.
    #[must_use]
    pub fn named(name: Name) -> Self {
        Self {
            name,
            description: None,
            location_uri: None,
            parameters: Parameters::new(),
            create_table_default_permissions: None,
            target_database: None,
            extra: Extra::new(),
        }
    }
}

/// `PrincipalPermissions`: what new tables of a database are granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PrincipalPermissions {
    /// Who is granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<DataLakePrincipal>,
    /// What is granted, as AWS spells it.
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

/// `DatabaseIdentifier` or `TableIdentifier`: where a resource link points.
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
    /// `PartitionKeys`: always sent, if empty as an empty list (GL-02).
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
    /// `ViewDefinition`: present on a view of several dialects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_definition: Option<ViewDefinition>,
    /// Other input fields, not replicated.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Table {
    /// A table with a name and nothing else.
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
            extra: Extra::new(),
        }
    }

    /// Whether the entry is a pointer to an Iceberg metadata file (GL-01).
    #[must_use]
    pub fn is_iceberg(&self) -> bool {
        let says_so = self
            .parameters
            .get("table_type")
            .is_some_and(|kind| kind.eq_ignore_ascii_case("iceberg"));
        says_so || self.parameters.contains_key("metadata_location")
    }

    /// Whether it is a view of whatever kind, and so holds no data of its own.
    #[must_use]
    pub fn is_view(&self) -> bool {
        let kind = self.table_type.as_deref();
        self.view_definition.is_some()
            || kind.is_some_and(|kind| kind.to_ascii_uppercase().ends_with("VIEW"))
    }

    /// Whether a table format (Delta, Hudi) or Spark keeps its own parameters here.
    #[must_use]
    pub fn has_format(&self) -> bool {
        let formats = ["delta", "hudi"];
        let kind = self.parameters.get("table_type");
        let known = |kind: &String| formats.iter().any(|f| kind.eq_ignore_ascii_case(f));
        kind.is_some_and(known) || self.parameters.contains_key("spark.sql.sources.provider")
    }

    /// Every column, partition keys included.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        let stored = self.storage_descriptor.iter().flat_map(|sd| &sd.columns);
        stored.chain(&self.partition_keys)
    }
}

/// `Column`. The name keeps its spelling: it is copied field for field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Column {
    /// `Name`.
    pub name: String,
    /// `Type`, in Hive's words.
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
    pub extra: Extra,
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
    /// `SkewedColumnValueLocationMaps`: a skewed value to its location.
    #[serde(default)]
    pub skewed_column_value_location_maps: Parameters,
}

/// `PartitionInput`. Values may hold any character; they are the identity and
/// are never joined into one string (GL-08).
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
    pub extra: Extra,
}

impl Partition {
    /// A partition with its values and nothing else.
    #[must_use]
    pub fn named(values: Vec<String>) -> Self {
        Self {
            values,
            last_access_time: None,
            last_analyzed_time: None,
            storage_descriptor: None,
            parameters: Parameters::new(),
            extra: Extra::new(),
        }
    }
}

/// The parameter that Hive rewrites at every statement; it never counts as a
/// difference, and is not copied.
pub const DRIFTING_PARAMETER: &str = "transient_lastDdlTime";

#[cfg(test)]
mod tests {
    use super::*;

    fn table(json: serde_json::Value) -> Table {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn absent_and_empty_are_one_but_for_the_table_defaults() {
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
    fn fields_that_are_not_replicated_are_kept_to_be_reported() {
        let read = table(serde_json::json!({"Name": "v", "FederatedTable": {"Identifier": "x"}}));
        assert!(read.extra.contains_key("FederatedTable"));
    }

    #[test]
    fn differences_name_the_field_and_both_values() {
        let now = table(serde_json::json!({"Name": "t", "Parameters": {"a": "1", "b": "2"}}));
        let wanted = table(serde_json::json!({"Name": "t", "Parameters": {"a": "9"}}));
        let changes = differences(&now, &wanted);
        let fields: Vec<&str> = changes.iter().map(|c| c.field.as_str()).collect();
        assert_eq!(fields, ["Parameters.a", "Parameters.b"]);
        assert_eq!(changes[1].wanted, None);
    }

    #[test]
    fn iceberg_is_told_by_either_parameter() {
        let by_type =
            table(serde_json::json!({"Name": "t", "Parameters": {"table_type": "ICEBERG"}}));
        let by_pointer = table(
            serde_json::json!({"Name": "t", "Parameters": {"metadata_location": "s3://b/m.json"}}),
        );
        assert!(by_type.is_iceberg() && by_pointer.is_iceberg());
        assert!(!table(serde_json::json!({"Name": "t"})).is_iceberg());
    }
}
