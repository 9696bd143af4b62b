//! What belongs to a subject and has calls of its own: partition indexes, column
//! statistics, Glue's tags, data cells filters, assigned LF-Tags, opt-ins; and, of the
//! lake as a whole, LF-Tags, saved expressions and registered locations.
//!
//! A part has no identity beyond its key, and goes with its owner.

use super::governed::{CellsFilter, OptIn, Registration, SavedExpression};
use crate::name::Name;
use crate::scope::Facet;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Tells the parts of one owner apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKey {
    /// A partition index, by its name.
    Index(String),
    /// The statistics of a column, by its name.
    Statistics(String),
    /// A tag, by its key.
    Tag(String),
    /// A data cells filter, by its name.
    Filter(String),
    /// An LF-Tag that is assigned to the owner itself, or to a column of it.
    Assigned {
        /// The column, unless it is the owner itself.
        column: Option<Name>,
        /// The key.
        key: String,
    },
    /// An opt-in. All of it tells it from others.
    OptIn(Box<OptIn>),
    /// One value of an LF-Tag.
    TagValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A saved LF-Tag expression, by its name.
    Expression(String),
    /// A registered location, by its ARN.
    Registration(String),
}

impl PartKey {
    /// The facet that it is read with.
    #[must_use]
    pub fn facet(&self) -> Facet {
        match self {
            Self::Index(_) => Facet::Indexes,
            Self::Statistics(_) => Facet::Statistics,
            Self::Tag(_) => Facet::Tags,
            Self::Filter(_) => Facet::Filters,
            Self::Assigned { .. } => Facet::Assigned,
            Self::OptIn(_) => Facet::OptIns,
            Self::TagValue { .. } | Self::Expression(_) | Self::Registration(_) => Facet::Items,
        }
    }
}

impl fmt::Display for PartKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(name) => write!(f, "partition index {name}"),
            Self::Statistics(column) => write!(f, "statistics of column {column}"),
            Self::Tag(key) => write!(f, "tag {key}"),
            Self::Filter(name) => write!(f, "data cells filter {name}"),
            Self::Assigned { column: None, key } => write!(f, "LF-Tag {key}"),
            Self::Assigned {
                column: Some(column),
                key,
            } => write!(f, "LF-Tag {key} of column {column}"),
            Self::OptIn(opt_in) => write!(f, "opt-in of {}", opt_in.principal),
            Self::TagValue { key, value } => write!(f, "LF-Tag {key}={value}"),
            Self::Expression(name) => write!(f, "LF-Tag expression {name}"),
            Self::Registration(arn) => write!(f, "registration of {arn}"),
        }
    }
}

/// One part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// A partition index.
    Index(PartitionIndex),
    /// The statistics of a column.
    Statistics(Box<ColumnStatistics>),
    /// A tag.
    Tag {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A data cells filter.
    Filter(CellsFilter),
    /// An LF-Tag that is assigned to the owner itself, or to a column of it; not one
    /// that it inherits.
    Assigned {
        /// The column, unless it is the owner itself.
        column: Option<Name>,
        /// The key, in lower case.
        key: String,
        /// The value, in lower case. A resource has one for each key.
        value: String,
    },
    /// An opt-in.
    OptIn(Box<OptIn>),
    /// One value of an LF-Tag. A tag without values is none.
    TagValue {
        /// The key, in lower case.
        key: String,
        /// The value, in lower case.
        value: String,
    },
    /// A saved LF-Tag expression.
    Expression(SavedExpression),
    /// A registered location.
    Registration(Registration),
}

impl Part {
    /// What tells it from the owner's other parts.
    #[must_use]
    pub fn key(&self) -> PartKey {
        match self {
            Self::Index(index) => PartKey::Index(index.index_name.clone()),
            Self::Statistics(statistics) => PartKey::Statistics(statistics.column_name.clone()),
            Self::Tag { key, .. } => PartKey::Tag(key.clone()),
            Self::Filter(filter) => PartKey::Filter(filter.name.clone()),
            Self::Assigned { column, key, .. } => PartKey::Assigned {
                column: column.clone(),
                key: key.clone(),
            },
            Self::OptIn(opt_in) => PartKey::OptIn(opt_in.clone()),
            Self::TagValue { key, value } => PartKey::TagValue {
                key: key.clone(),
                value: value.clone(),
            },
            Self::Expression(saved) => PartKey::Expression(saved.name.clone()),
            Self::Registration(place) => PartKey::Registration(place.arn.clone()),
        }
    }
}

/// A part as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenPart {
    /// The part.
    pub part: Part,
    /// Whether the service is done with it.
    pub progress: Progress,
}

/// How far the service is with a part. Only indexes take their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is there, or on its way.
    There,
    /// It is being deleted.
    Leaving,
    /// It could not be made.
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
    /// `UnscaledValue`: the bytes of a two's complement integer, in base 64.
    pub unscaled_value: String,
    /// `Scale`: where the point stands.
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
