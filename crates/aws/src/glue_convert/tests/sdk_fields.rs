use super::super::*;
use crate::debug_fields::fields;

/// Fails when an SDK upgrade adds a field to an input type. Decide then whether the field is
/// replicated or reported as unsupported: an update would erase a field that is neither.
#[test]
fn every_input_field_is_known() {
    let table = glue::TableInput::builder().name("t").build().unwrap();
    assert_eq!(
        fields(&format!("{table:#?}")),
        [
            "name",
            "description",
            "owner",
            "last_access_time",
            "last_analyzed_time",
            "retention",
            "storage_descriptor",
            "partition_keys",
            "view_original_text",
            "view_expanded_text",
            "table_type",
            "parameters",
            "target_table",
            "federated_table",
            "view_definition",
        ]
    );
    let database = glue::DatabaseInput::builder().name("d").build().unwrap();
    assert_eq!(
        fields(&format!("{database:#?}")),
        [
            "name",
            "description",
            "location_uri",
            "parameters",
            "create_table_default_permissions",
            "target_database",
            "federated_database",
        ]
    );
    let partition = glue::PartitionInput::builder().build();
    assert_eq!(
        fields(&format!("{partition:#?}")),
        [
            "values",
            "last_access_time",
            "storage_descriptor",
            "parameters",
            "last_analyzed_time"
        ]
    );
}

#[test]
fn every_input_field_of_functions_and_views_is_known() {
    let function = glue::UserDefinedFunctionInput::builder().build();
    let expected = [
        "function_name",
        "class_name",
        "owner_name",
        "function_type",
        "owner_type",
        "resource_uris",
        "artifact_location",
        "governance_mode",
    ];
    assert_eq!(fields(&format!("{function:#?}")), expected);
    let uri = glue::ResourceUri::builder().build();
    assert_eq!(
        fields(&format!("{uri:#?}")),
        ["resource_type", "uri", "last_modified"]
    );
    let view = glue::ViewDefinitionInput::builder().build();
    let expected = [
        "is_protected",
        "is_managed",
        "definer",
        "representations",
        "view_version_id",
        "view_version_token",
        "refresh_seconds",
        "last_refresh_type",
        "sub_objects",
        "sub_object_version_ids",
        "sub_objects_statistics",
        "spark_pipeline_info",
    ];
    assert_eq!(fields(&format!("{view:#?}")), expected);
    let representation = glue::ViewRepresentationInput::builder().build();
    let expected = [
        "dialect",
        "dialect_version",
        "view_original_text",
        "validation_connection",
        "view_expanded_text",
    ];
    assert_eq!(fields(&format!("{representation:#?}")), expected);
    let statistics = glue::SubObjectStatistics::builder().build();
    let expected = [
        "source_type",
        "glue_version_id",
        "partition_count",
        "file_count",
        "total_file_bytes",
    ];
    assert_eq!(fields(&format!("{statistics:#?}")), expected);
}

#[test]
fn every_input_field_of_indexes_links_and_lists_is_known() {
    let index = glue::PartitionIndex::builder()
        .index_name("i")
        .keys("k")
        .build();
    assert_eq!(
        fields(&format!("{:#?}", index.unwrap())),
        ["keys", "index_name"]
    );
    let target = glue::TableIdentifier::builder().build();
    let expected = ["catalog_id", "database_name", "name", "region"];
    assert_eq!(fields(&format!("{target:#?}")), expected);
    let target = glue::DatabaseIdentifier::builder().build();
    let expected = ["catalog_id", "database_name", "region"];
    assert_eq!(fields(&format!("{target:#?}")), expected);
    let granted = glue::PrincipalPermissions::builder().build();
    assert_eq!(
        fields(&format!("{granted:#?}")),
        ["principal", "permissions"]
    );
    let order = glue::Order::builder().column("c").build().unwrap();
    assert_eq!(fields(&format!("{order:#?}")), ["column", "sort_order"]);
}

#[test]
fn every_field_of_column_statistics_is_known() {
    let one = glue::ColumnStatistics::builder()
        .column_name("c")
        .column_type("t")
        .analyzed_time(DateTime::from_secs(0))
        .build()
        .unwrap();
    let expected = [
        "column_name",
        "column_type",
        "analyzed_time",
        "statistics_data",
    ];
    assert_eq!(fields(&format!("{one:#?}")), expected);
    let data = glue::ColumnStatisticsData::builder().r#type(glue::ColumnStatisticsType::Long);
    let expected = [
        "type",
        "boolean_column_statistics_data",
        "date_column_statistics_data",
        "decimal_column_statistics_data",
        "double_column_statistics_data",
        "long_column_statistics_data",
        "string_column_statistics_data",
        "binary_column_statistics_data",
    ];
    assert_eq!(fields(&format!("{:#?}", data.build().unwrap())), expected);
}

#[test]
fn every_field_of_each_type_of_statistics_is_known() {
    let spread = [
        "minimum_value",
        "maximum_value",
        "number_of_nulls",
        "number_of_distinct_values",
    ];
    let text = [
        "maximum_length",
        "average_length",
        "number_of_nulls",
        "number_of_distinct_values",
    ];
    let of = |debug: String| fields(&debug);
    let boolean = glue::BooleanColumnStatisticsData::builder().build();
    assert_eq!(
        of(format!("{boolean:#?}")),
        ["number_of_trues", "number_of_falses", "number_of_nulls"]
    );
    assert_eq!(
        of(format!(
            "{:#?}",
            glue::DateColumnStatisticsData::builder().build()
        )),
        spread
    );
    let decimal = glue::DecimalColumnStatisticsData::builder().build();
    assert_eq!(of(format!("{decimal:#?}")), spread);
    assert_eq!(
        of(format!(
            "{:#?}",
            glue::DoubleColumnStatisticsData::builder().build()
        )),
        spread
    );
    assert_eq!(
        of(format!(
            "{:#?}",
            glue::LongColumnStatisticsData::builder().build()
        )),
        spread
    );
    assert_eq!(
        of(format!(
            "{:#?}",
            glue::StringColumnStatisticsData::builder().build()
        )),
        text
    );
    let binary = glue::BinaryColumnStatisticsData::builder().build();
    assert_eq!(of(format!("{binary:#?}")), text[..3]);
}

#[test]
fn every_nested_input_field_is_known() {
    let descriptor = glue::StorageDescriptor::builder().build();
    assert_eq!(
        fields(&format!("{descriptor:#?}")),
        [
            "columns",
            "location",
            "additional_locations",
            "input_format",
            "output_format",
            "compressed",
            "number_of_buckets",
            "serde_info",
            "bucket_columns",
            "sort_columns",
            "parameters",
            "skewed_info",
            "stored_as_sub_directories",
            "schema_reference",
        ]
    );
    let column = glue::Column::builder().name("c").build().unwrap();
    assert_eq!(
        fields(&format!("{column:#?}")),
        ["name", "type", "comment", "parameters"]
    );
    let serde = glue::SerDeInfo::builder().build();
    assert_eq!(
        fields(&format!("{serde:#?}")),
        ["name", "serialization_library", "parameters"]
    );
    let skewed = glue::SkewedInfo::builder().build();
    assert_eq!(
        fields(&format!("{skewed:#?}")),
        [
            "skewed_column_names",
            "skewed_column_values",
            "skewed_column_value_location_maps"
        ]
    );
}
