//! Converts partition indexes and column statistics.

use super::{time, to_sdk_time};
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types as glue;
use aws_smithy_types::{Blob, DateTime, base64};
use twinlake_core::catalog::{
    BinaryStatistics, BooleanStatistics, ColumnStatistics, DateStatistics, DecimalNumber,
    DecimalStatistics, DoubleStatistics, IndexStatus, LongStatistics, PartitionIndex,
    StatisticsData, StringStatistics,
};

/// Converts a partition index with its status.
#[must_use]
pub fn index(from: glue::PartitionIndexDescriptor) -> (PartitionIndex, IndexStatus) {
    let index_status = match from.index_status {
        glue::PartitionIndexStatus::Deleting => IndexStatus::Deleting,
        glue::PartitionIndexStatus::Failed => IndexStatus::Failed,
        // An index that is being created counts as present, as does a status that a later SDK
        // version adds.
        glue::PartitionIndexStatus::Active | glue::PartitionIndexStatus::Creating | _ => {
            IndexStatus::Active
        }
    };
    let index = PartitionIndex {
        keys: from.keys.into_iter().map(|key| key.name).collect(),
        index_name: from.index_name,
    };
    (index, index_status)
}

/// Converts a partition index to the SDK's type.
///
/// # Errors
/// A required field is missing.
pub fn to_sdk_index(from: &PartitionIndex) -> Result<glue::PartitionIndex, BuildError> {
    glue::PartitionIndex::builder()
        .index_name(&from.index_name)
        .set_keys(Some(from.keys.clone()))
        .build()
}

/// Converts the statistics of a column as they were read.
#[must_use]
pub fn statistics(from: glue::ColumnStatistics) -> ColumnStatistics {
    ColumnStatistics {
        column_name: from.column_name,
        column_type: from.column_type,
        analyzed_time: time(Some(from.analyzed_time)).unwrap_or_default(),
        statistics_data: from.statistics_data.map(statistics_data),
    }
}

fn statistics_data(from: glue::ColumnStatisticsData) -> StatisticsData {
    StatisticsData {
        kind: from.r#type.as_str().to_owned(),
        boolean: from
            .boolean_column_statistics_data
            .map(|d| BooleanStatistics {
                number_of_trues: d.number_of_trues,
                number_of_falses: d.number_of_falses,
                number_of_nulls: d.number_of_nulls,
            }),
        date: from.date_column_statistics_data.map(|d| DateStatistics {
            minimum_value: time(d.minimum_value),
            maximum_value: time(d.maximum_value),
            number_of_nulls: d.number_of_nulls,
            number_of_distinct_values: d.number_of_distinct_values,
        }),
        decimal: from
            .decimal_column_statistics_data
            .map(|d| DecimalStatistics {
                minimum_value: d.minimum_value.map(decimal),
                maximum_value: d.maximum_value.map(decimal),
                number_of_nulls: d.number_of_nulls,
                number_of_distinct_values: d.number_of_distinct_values,
            }),
        double: from
            .double_column_statistics_data
            .map(|d| DoubleStatistics {
                minimum_value: d.minimum_value,
                maximum_value: d.maximum_value,
                number_of_nulls: d.number_of_nulls,
                number_of_distinct_values: d.number_of_distinct_values,
            }),
        long: from.long_column_statistics_data.map(|d| LongStatistics {
            minimum_value: d.minimum_value,
            maximum_value: d.maximum_value,
            number_of_nulls: d.number_of_nulls,
            number_of_distinct_values: d.number_of_distinct_values,
        }),
        string: from
            .string_column_statistics_data
            .map(|d| StringStatistics {
                maximum_length: d.maximum_length,
                average_length: d.average_length,
                number_of_nulls: d.number_of_nulls,
                number_of_distinct_values: d.number_of_distinct_values,
            }),
        binary: from
            .binary_column_statistics_data
            .map(|d| BinaryStatistics {
                maximum_length: d.maximum_length,
                average_length: d.average_length,
                number_of_nulls: d.number_of_nulls,
            }),
    }
}

fn decimal(from: glue::DecimalNumber) -> DecimalNumber {
    DecimalNumber {
        unscaled_value: base64::encode(from.unscaled_value.as_ref()),
        scale: from.scale,
    }
}

/// Converts the statistics of a column to the SDK's type.
///
/// # Errors
/// A required field is missing.
pub fn to_sdk_statistics(from: &ColumnStatistics) -> Result<glue::ColumnStatistics, BuildError> {
    let data = from
        .statistics_data
        .as_ref()
        .map(to_sdk_statistics_data)
        .transpose()?;
    glue::ColumnStatistics::builder()
        .column_name(&from.column_name)
        .column_type(&from.column_type)
        .analyzed_time(DateTime::from_millis(from.analyzed_time.0))
        .set_statistics_data(data)
        .build()
}

fn to_sdk_statistics_data(from: &StatisticsData) -> Result<glue::ColumnStatisticsData, BuildError> {
    let boolean = from.boolean.map(|d| {
        glue::BooleanColumnStatisticsData::builder()
            .number_of_trues(d.number_of_trues)
            .number_of_falses(d.number_of_falses)
            .number_of_nulls(d.number_of_nulls)
            .build()
    });
    let date = from.date.map(|d| {
        glue::DateColumnStatisticsData::builder()
            .set_minimum_value(to_sdk_time(d.minimum_value))
            .set_maximum_value(to_sdk_time(d.maximum_value))
            .number_of_nulls(d.number_of_nulls)
            .number_of_distinct_values(d.number_of_distinct_values)
            .build()
    });
    let double = from.double.map(|d| {
        glue::DoubleColumnStatisticsData::builder()
            .minimum_value(d.minimum_value)
            .maximum_value(d.maximum_value)
            .number_of_nulls(d.number_of_nulls)
            .number_of_distinct_values(d.number_of_distinct_values)
            .build()
    });
    let long = from.long.map(|d| {
        glue::LongColumnStatisticsData::builder()
            .minimum_value(d.minimum_value)
            .maximum_value(d.maximum_value)
            .number_of_nulls(d.number_of_nulls)
            .number_of_distinct_values(d.number_of_distinct_values)
            .build()
    });
    let string = from.string.map(|d| {
        glue::StringColumnStatisticsData::builder()
            .maximum_length(d.maximum_length)
            .average_length(d.average_length)
            .number_of_nulls(d.number_of_nulls)
            .number_of_distinct_values(d.number_of_distinct_values)
            .build()
    });
    let binary = from.binary.map(|d| {
        glue::BinaryColumnStatisticsData::builder()
            .maximum_length(d.maximum_length)
            .average_length(d.average_length)
            .number_of_nulls(d.number_of_nulls)
            .build()
    });
    glue::ColumnStatisticsData::builder()
        .r#type(glue::ColumnStatisticsType::from(from.kind.as_str()))
        .set_boolean_column_statistics_data(boolean)
        .set_date_column_statistics_data(date)
        .set_decimal_column_statistics_data(
            from.decimal
                .as_ref()
                .map(to_sdk_decimal_statistics)
                .transpose()?,
        )
        .set_double_column_statistics_data(double)
        .set_long_column_statistics_data(long)
        .set_string_column_statistics_data(string)
        .set_binary_column_statistics_data(binary)
        .build()
}

fn to_sdk_decimal_statistics(
    from: &DecimalStatistics,
) -> Result<glue::DecimalColumnStatisticsData, BuildError> {
    let number = |from: &DecimalNumber| {
        // `decimal` encoded the value when it was read, so it always decodes.
        let bytes = base64::decode(&from.unscaled_value).unwrap_or_default();
        glue::DecimalNumber::builder()
            .unscaled_value(Blob::new(bytes))
            .scale(from.scale)
            .build()
    };
    let minimum = from.minimum_value.as_ref().map(number).transpose()?;
    let maximum = from.maximum_value.as_ref().map(number).transpose()?;
    Ok(glue::DecimalColumnStatisticsData::builder()
        .set_minimum_value(minimum)
        .set_maximum_value(maximum)
        .number_of_nulls(from.number_of_nulls)
        .number_of_distinct_values(from.number_of_distinct_values)
        .build())
}
