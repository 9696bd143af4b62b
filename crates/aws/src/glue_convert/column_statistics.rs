//! Converts column statistics.

use super::{from_sdk_time, to_sdk_time};
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types as glue;
use aws_smithy_types::{Blob, DateTime, base64};
use twinlake_core::catalog::{
    BinaryStatistics, BooleanStatistics, ColumnStatistics, DateStatistics, DecimalNumber,
    DecimalStatistics, DoubleStatistics, LongStatistics, StatisticsData, StringStatistics,
};

/// Converts the statistics of a column as they were read.
#[must_use]
pub fn from_sdk_column_statistics(from: glue::ColumnStatistics) -> ColumnStatistics {
    ColumnStatistics {
        column_name: from.column_name,
        column_type: from.column_type,
        analyzed_time: from_sdk_time(Some(from.analyzed_time)).unwrap_or_default(),
        statistics_data: from.statistics_data.map(from_sdk_statistics_data),
    }
}

fn from_sdk_statistics_data(from: glue::ColumnStatisticsData) -> StatisticsData {
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
            minimum_value: from_sdk_time(d.minimum_value),
            maximum_value: from_sdk_time(d.maximum_value),
            number_of_nulls: d.number_of_nulls,
            number_of_distinct_values: d.number_of_distinct_values,
        }),
        decimal: from
            .decimal_column_statistics_data
            .map(|d| DecimalStatistics {
                minimum_value: d.minimum_value.map(from_sdk_decimal),
                maximum_value: d.maximum_value.map(from_sdk_decimal),
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

fn from_sdk_decimal(from: glue::DecimalNumber) -> DecimalNumber {
    DecimalNumber {
        unscaled_value: base64::encode(from.unscaled_value.as_ref()),
        scale: from.scale,
    }
}

/// Converts the statistics of a column to the SDK's type.
///
/// # Errors
/// A required field is missing.
pub fn to_sdk_column_statistics(
    from: &ColumnStatistics,
) -> Result<glue::ColumnStatistics, BuildError> {
    let data = from
        .statistics_data
        .as_ref()
        .map(to_sdk_statistics_data)
        .transpose()?;
    glue::ColumnStatistics::builder()
        .column_name(&from.column_name)
        .column_type(&from.column_type)
        .analyzed_time(DateTime::from_millis(from.analyzed_time.millis()))
        .set_statistics_data(data)
        .build()
}

fn to_sdk_statistics_data(from: &StatisticsData) -> Result<glue::ColumnStatisticsData, BuildError> {
    let decimal = from.decimal.as_ref().map(to_sdk_decimal_statistics);
    glue::ColumnStatisticsData::builder()
        .r#type(glue::ColumnStatisticsType::from(from.kind.as_str()))
        .set_boolean_column_statistics_data(from.boolean.map(to_sdk_boolean_statistics))
        .set_date_column_statistics_data(from.date.map(to_sdk_date_statistics))
        .set_decimal_column_statistics_data(decimal.transpose()?)
        .set_double_column_statistics_data(from.double.map(to_sdk_double_statistics))
        .set_long_column_statistics_data(from.long.map(to_sdk_long_statistics))
        .set_string_column_statistics_data(from.string.map(to_sdk_string_statistics))
        .set_binary_column_statistics_data(from.binary.map(to_sdk_binary_statistics))
        .build()
}

fn to_sdk_boolean_statistics(from: BooleanStatistics) -> glue::BooleanColumnStatisticsData {
    glue::BooleanColumnStatisticsData::builder()
        .number_of_trues(from.number_of_trues)
        .number_of_falses(from.number_of_falses)
        .number_of_nulls(from.number_of_nulls)
        .build()
}

fn to_sdk_date_statistics(from: DateStatistics) -> glue::DateColumnStatisticsData {
    glue::DateColumnStatisticsData::builder()
        .set_minimum_value(to_sdk_time(from.minimum_value))
        .set_maximum_value(to_sdk_time(from.maximum_value))
        .number_of_nulls(from.number_of_nulls)
        .number_of_distinct_values(from.number_of_distinct_values)
        .build()
}

fn to_sdk_double_statistics(from: DoubleStatistics) -> glue::DoubleColumnStatisticsData {
    glue::DoubleColumnStatisticsData::builder()
        .minimum_value(from.minimum_value)
        .maximum_value(from.maximum_value)
        .number_of_nulls(from.number_of_nulls)
        .number_of_distinct_values(from.number_of_distinct_values)
        .build()
}

fn to_sdk_long_statistics(from: LongStatistics) -> glue::LongColumnStatisticsData {
    glue::LongColumnStatisticsData::builder()
        .minimum_value(from.minimum_value)
        .maximum_value(from.maximum_value)
        .number_of_nulls(from.number_of_nulls)
        .number_of_distinct_values(from.number_of_distinct_values)
        .build()
}

fn to_sdk_string_statistics(from: StringStatistics) -> glue::StringColumnStatisticsData {
    glue::StringColumnStatisticsData::builder()
        .maximum_length(from.maximum_length)
        .average_length(from.average_length)
        .number_of_nulls(from.number_of_nulls)
        .number_of_distinct_values(from.number_of_distinct_values)
        .build()
}

fn to_sdk_binary_statistics(from: BinaryStatistics) -> glue::BinaryColumnStatisticsData {
    glue::BinaryColumnStatisticsData::builder()
        .maximum_length(from.maximum_length)
        .average_length(from.average_length)
        .number_of_nulls(from.number_of_nulls)
        .build()
}

fn to_sdk_decimal_statistics(
    from: &DecimalStatistics,
) -> Result<glue::DecimalColumnStatisticsData, BuildError> {
    let number = |from: &DecimalNumber| {
        // `from_sdk_decimal` encoded the value when it was read, so it always decodes.
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
