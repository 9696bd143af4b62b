//! Partition indexes and column statistics.

use super::{time, time_back};
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types as glue;
use aws_smithy_types::{Blob, DateTime, base64};
use twinlake_core::catalog::{
    BinaryStatistics, BooleanStatistics, ColumnStatistics, DateStatistics, DecimalNumber,
    DecimalStatistics, DoubleStatistics, LongStatistics, PartitionIndex, Progress, StatisticsData,
    StringStatistics,
};

/// An index as it was read, and how far the service is with it.
#[must_use]
pub fn index(from: glue::PartitionIndexDescriptor) -> (PartitionIndex, Progress) {
    let progress = match from.index_status {
        glue::PartitionIndexStatus::Deleting => Progress::Leaving,
        glue::PartitionIndexStatus::Failed => Progress::Failed,
        // The SDK may learn of new states; one that is on its way is as good as there.
        glue::PartitionIndexStatus::Active | glue::PartitionIndexStatus::Creating | _ => {
            Progress::There
        }
    };
    let index = PartitionIndex {
        keys: from.keys.into_iter().map(|key| key.name).collect(),
        index_name: from.index_name,
    };
    (index, progress)
}

/// An index as it is sent.
///
/// # Errors
/// The SDK refuses to build it.
pub fn index_back(from: &PartitionIndex) -> Result<glue::PartitionIndex, BuildError> {
    glue::PartitionIndex::builder()
        .index_name(&from.index_name)
        .set_keys(Some(from.keys.clone()))
        .build()
}

/// The statistics of a column as they were read.
#[must_use]
pub fn statistics(from: glue::ColumnStatistics) -> ColumnStatistics {
    ColumnStatistics {
        column_name: from.column_name,
        column_type: from.column_type,
        analyzed_time: time(Some(from.analyzed_time)).unwrap_or_default(),
        statistics_data: from.statistics_data.map(data),
    }
}

fn data(from: glue::ColumnStatisticsData) -> StatisticsData {
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

/// The statistics of a column as they are sent.
///
/// # Errors
/// The SDK refuses to build them.
pub fn statistics_back(from: &ColumnStatistics) -> Result<glue::ColumnStatistics, BuildError> {
    let data = from.statistics_data.as_ref().map(data_back).transpose()?;
    glue::ColumnStatistics::builder()
        .column_name(&from.column_name)
        .column_type(&from.column_type)
        .analyzed_time(DateTime::from_millis(from.analyzed_time.0))
        .set_statistics_data(data)
        .build()
}

fn data_back(from: &StatisticsData) -> Result<glue::ColumnStatisticsData, BuildError> {
    let boolean = from.boolean.map(|d| {
        glue::BooleanColumnStatisticsData::builder()
            .number_of_trues(d.number_of_trues)
            .number_of_falses(d.number_of_falses)
            .number_of_nulls(d.number_of_nulls)
            .build()
    });
    let date = from.date.map(|d| {
        glue::DateColumnStatisticsData::builder()
            .set_minimum_value(time_back(d.minimum_value))
            .set_maximum_value(time_back(d.maximum_value))
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
        .set_decimal_column_statistics_data(from.decimal.as_ref().map(decimals_back).transpose()?)
        .set_double_column_statistics_data(double)
        .set_long_column_statistics_data(long)
        .set_string_column_statistics_data(string)
        .set_binary_column_statistics_data(binary)
        .build()
}

fn decimals_back(
    from: &DecimalStatistics,
) -> Result<glue::DecimalColumnStatisticsData, BuildError> {
    let number = |from: &DecimalNumber| {
        // What was read came from bytes; what does not decode was never read.
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
