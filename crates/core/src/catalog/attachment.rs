//! Attachments: what belongs to a subject and has API calls of its own. Partition indexes, column
//! statistics, Glue tags, data cells filters, LF-Tag assignments and opt-ins belong to a database,
//! table or function; LF-Tags, named LF-Tag expressions and registered locations belong to an
//! [`LfSubject`](crate::scope::LfSubject).
//!
//! An attachment has no identity beyond its key, and is deleted with its owner.

use super::lakeformation::{DataCellsFilter, NamedLfTagExpression, OptIn, Registration};
use crate::name::Name;
use crate::scope::{DeletedItem, Facet};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Identifies an attachment among those of its owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachmentKey {
    /// A partition index, by its name.
    Index(String),
    /// The statistics of a column, by its name.
    Statistics(String),
    /// A Glue tag, by its key.
    GlueTag(String),
    /// A data cells filter, by its name.
    DataCellsFilter(String),
    /// An LF-Tag assigned to the owner itself, or to one of its columns.
    LfTagAssignment {
        /// The column, or `None` for the owner itself.
        column: Option<Name>,
        /// The key.
        key: String,
    },
    /// An opt-in. It has no key of its own, so all of its fields identify it.
    OptIn(Box<OptIn>),
    /// One value of an LF-Tag.
    LfTagValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A named LF-Tag expression, by its name.
    NamedExpression(String),
    /// A registered location, by its ARN.
    Registration(String),
}

impl AttachmentKey {
    /// Whether an event names this item as deleted.
    #[must_use]
    pub fn is_named_by(&self, deleted: &DeletedItem) -> bool {
        match deleted {
            DeletedItem::LfTag(tag) => matches!(self, Self::LfTagValue { key, .. } if key == tag),
            DeletedItem::LfTagValue {
                key: tag,
                value: gone,
            } => {
                matches!(self, Self::LfTagValue { key, value } if key == tag && value == gone)
            }
            DeletedItem::NamedExpression(name) => {
                matches!(self, Self::NamedExpression(own) if own == name)
            }
            DeletedItem::Registration(arn) => matches!(self, Self::Registration(own) if own == arn),
            DeletedItem::Unnamed => false,
        }
    }

    /// Returns the facet that the attachment is read with.
    #[must_use]
    pub fn facet(&self) -> Facet {
        match self {
            Self::Index(_) => Facet::Indexes,
            Self::Statistics(_) => Facet::Statistics,
            Self::GlueTag(_) => Facet::GlueTags,
            Self::DataCellsFilter(_) => Facet::DataCellsFilters,
            Self::LfTagAssignment { .. } => Facet::LfTagAssignments,
            Self::OptIn(_) => Facet::OptIns,
            Self::LfTagValue { .. } | Self::NamedExpression(_) | Self::Registration(_) => {
                Facet::Items
            }
        }
    }
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(name) => write!(f, "partition index {name}"),
            Self::Statistics(column) => write!(f, "statistics of column {column}"),
            Self::GlueTag(key) => write!(f, "Glue tag {key}"),
            Self::DataCellsFilter(name) => write!(f, "data cells filter {name}"),
            Self::LfTagAssignment { column: None, key } => write!(f, "LF-Tag {key}"),
            Self::LfTagAssignment {
                column: Some(column),
                key,
            } => write!(f, "LF-Tag {key} of column {column}"),
            Self::OptIn(opt_in) => write!(f, "opt-in of {}", opt_in.principal),
            Self::LfTagValue { key, value } => write!(f, "LF-Tag {key}={value}"),
            Self::NamedExpression(name) => write!(f, "LF-Tag expression {name}"),
            Self::Registration(arn) => write!(f, "registration of {arn}"),
        }
    }
}

/// One attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attachment {
    /// A partition index.
    Index(PartitionIndex),
    /// The statistics of a column.
    Statistics(Box<ColumnStatistics>),
    /// A Glue tag.
    GlueTag {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A data cells filter.
    DataCellsFilter(DataCellsFilter),
    /// An LF-Tag assigned to the owner itself, or to one of its columns. Inherited LF-Tags are not
    /// attachments.
    LfTagAssignment {
        /// The column, or `None` for the owner itself.
        column: Option<Name>,
        /// The key, in lower case.
        key: String,
        /// The value, in lower case. A resource has one value for each key.
        value: String,
    },
    /// An opt-in.
    OptIn(Box<OptIn>),
    /// One value of an LF-Tag. An LF-Tag exists only with at least one value.
    LfTagValue {
        /// The key, in lower case.
        key: String,
        /// The value, in lower case.
        value: String,
    },
    /// A named LF-Tag expression.
    NamedExpression(NamedLfTagExpression),
    /// A registered location.
    Registration(Registration),
}

impl Attachment {
    /// Returns the key that identifies it among the owner's attachments.
    #[must_use]
    pub fn key(&self) -> AttachmentKey {
        match self {
            Self::Index(index) => AttachmentKey::Index(index.index_name.clone()),
            Self::Statistics(statistics) => {
                AttachmentKey::Statistics(statistics.column_name.clone())
            }
            Self::GlueTag { key, .. } => AttachmentKey::GlueTag(key.clone()),
            Self::DataCellsFilter(filter) => AttachmentKey::DataCellsFilter(filter.name.clone()),
            Self::LfTagAssignment { column, key, .. } => AttachmentKey::LfTagAssignment {
                column: column.clone(),
                key: key.clone(),
            },
            Self::OptIn(opt_in) => AttachmentKey::OptIn(opt_in.clone()),
            Self::LfTagValue { key, value } => AttachmentKey::LfTagValue {
                key: key.clone(),
                value: value.clone(),
            },
            Self::NamedExpression(named) => AttachmentKey::NamedExpression(named.name.clone()),
            Self::Registration(registration) => {
                AttachmentKey::Registration(registration.arn.clone())
            }
        }
    }
}

/// An attachment as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedAttachment {
    /// The attachment.
    pub attachment: Attachment,
    /// The status of a partition index. Other attachments are always [`IndexStatus::Present`].
    pub index_status: IndexStatus,
}

/// `PartitionIndexStatus`. Only partition indexes are created and deleted asynchronously.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexStatus {
    /// `CREATING` or `ACTIVE`: the index exists, or will.
    Present,
    /// `DELETING`.
    Deleting,
    /// `FAILED`: the index could not be created.
    Failed,
}

/// `PartitionIndex`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PartitionIndex {
    /// `Keys`, in order.
    pub keys: Vec<String>,
    /// `IndexName`.
    pub index_name: String,
}

/// `ColumnStatistics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ColumnStatistics {
    /// `ColumnName`.
    pub column_name: String,
    /// `ColumnType`.
    pub column_type: String,
    /// `AnalyzedTime`.
    pub analyzed_time: Timestamp,
    /// `StatisticsData`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics_data: Option<StatisticsData>,
}

/// `ColumnStatisticsData`: the type, and the data of that type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StatisticsData {
    /// `Type`: BOOLEAN, DATE, DECIMAL, DOUBLE, LONG, STRING or BINARY.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `BooleanColumnStatisticsData`.
    #[serde(
        rename = "BooleanColumnStatisticsData",
        skip_serializing_if = "Option::is_none"
    )]
    pub boolean: Option<BooleanStatistics>,
    /// `DateColumnStatisticsData`.
    #[serde(
        rename = "DateColumnStatisticsData",
        skip_serializing_if = "Option::is_none"
    )]
    pub date: Option<DateStatistics>,
    /// `DecimalColumnStatisticsData`.
    #[serde(
        rename = "DecimalColumnStatisticsData",
        skip_serializing_if = "Option::is_none"
    )]
    pub decimal: Option<DecimalStatistics>,
    /// `DoubleColumnStatisticsData`.
    #[serde(
        rename = "DoubleColumnStatisticsData",
        skip_serializing_if = "Option::is_none"
    )]
    pub double: Option<DoubleStatistics>,
    /// `LongColumnStatisticsData`.
    #[serde(
        rename = "LongColumnStatisticsData",
        skip_serializing_if = "Option::is_none"
    )]
    pub long: Option<LongStatistics>,
    /// `StringColumnStatisticsData`.
    #[serde(
        rename = "StringColumnStatisticsData",
        skip_serializing_if = "Option::is_none"
    )]
    pub string: Option<StringStatistics>,
    /// `BinaryColumnStatisticsData`.
    #[serde(
        rename = "BinaryColumnStatisticsData",
        skip_serializing_if = "Option::is_none"
    )]
    pub binary: Option<BinaryStatistics>,
}

/// `BooleanColumnStatisticsData`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BooleanStatistics {
    /// `NumberOfTrues`.
    pub number_of_trues: i64,
    /// `NumberOfFalses`.
    pub number_of_falses: i64,
    /// `NumberOfNulls`.
    pub number_of_nulls: i64,
}

/// `DateColumnStatisticsData`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DateStatistics {
    /// `MinimumValue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_value: Option<Timestamp>,
    /// `MaximumValue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_value: Option<Timestamp>,
    /// `NumberOfNulls`.
    pub number_of_nulls: i64,
    /// `NumberOfDistinctValues`.
    pub number_of_distinct_values: i64,
}

/// `DecimalColumnStatisticsData`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DecimalStatistics {
    /// `MinimumValue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_value: Option<DecimalNumber>,
    /// `MaximumValue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_value: Option<DecimalNumber>,
    /// `NumberOfNulls`.
    pub number_of_nulls: i64,
    /// `NumberOfDistinctValues`.
    pub number_of_distinct_values: i64,
}

/// `DecimalNumber`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DecimalNumber {
    /// `UnscaledValue`: the bytes of a two's complement integer, in Base64.
    pub unscaled_value: String,
    /// `Scale`: the number of digits after the decimal point.
    pub scale: i32,
}

/// `DoubleColumnStatisticsData`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DoubleStatistics {
    /// `MinimumValue`.
    #[serde(default)]
    pub minimum_value: f64,
    /// `MaximumValue`.
    #[serde(default)]
    pub maximum_value: f64,
    /// `NumberOfNulls`.
    pub number_of_nulls: i64,
    /// `NumberOfDistinctValues`.
    pub number_of_distinct_values: i64,
}

/// `LongColumnStatisticsData`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LongStatistics {
    /// `MinimumValue`.
    #[serde(default)]
    pub minimum_value: i64,
    /// `MaximumValue`.
    #[serde(default)]
    pub maximum_value: i64,
    /// `NumberOfNulls`.
    pub number_of_nulls: i64,
    /// `NumberOfDistinctValues`.
    pub number_of_distinct_values: i64,
}

/// `StringColumnStatisticsData`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StringStatistics {
    /// `MaximumLength`.
    pub maximum_length: i64,
    /// `AverageLength`.
    pub average_length: f64,
    /// `NumberOfNulls`.
    pub number_of_nulls: i64,
    /// `NumberOfDistinctValues`.
    pub number_of_distinct_values: i64,
}

/// `BinaryColumnStatisticsData`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BinaryStatistics {
    /// `MaximumLength`.
    pub maximum_length: i64,
    /// `AverageLength`.
    pub average_length: f64,
    /// `NumberOfNulls`.
    pub number_of_nulls: i64,
}
