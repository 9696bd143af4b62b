use super::*;

/// The field names of an SDK input type, from its `Debug` text.
fn fields(debug: &str) -> Vec<String> {
    let lines = debug
        .lines()
        .filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    lines
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// A census: when an upgrade of the SDK brings a field, this fails, and somebody
/// decides whether it is copied or reported. Nothing is erased in silence.
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

/// An object with every field set to something that no default has.
fn full_table() -> Table {
    serde_json::from_value(serde_json::json!({
        "Name": "orders", "Description": "d", "Owner": "o", "LastAccessTime": 1.5,
        "LastAnalyzedTime": 2, "Retention": 3, "TableType": "EXTERNAL_TABLE",
        "ViewOriginalText": "v", "ViewExpandedText": "x", "Parameters": {"classification": "orc"},
        "PartitionKeys": [{"Name": "dt", "Type": "date", "Comment": "c", "Parameters": {"k": "v"}}],
        "TargetTable": {"CatalogId": "1", "DatabaseName": "a", "Name": "b", "Region": "r"},
        "StorageDescriptor": {
            "Columns": [{"Name": "Id", "Type": "bigint", "Comment": "c", "Parameters": {"k": "v"}}],
            "Location": "s3://a/b", "AdditionalLocations": ["s3://a/c"], "InputFormat": "i",
            "OutputFormat": "o", "Compressed": true, "NumberOfBuckets": -1,
            "SerdeInfo": {"Name": "n", "SerializationLibrary": "l", "Parameters": {"path": "p"}},
            "BucketColumns": ["id"], "SortColumns": [{"Column": "id", "SortOrder": 1}],
            "Parameters": {"k": "v"}, "StoredAsSubDirectories": true,
            "SkewedInfo": {"SkewedColumnNames": ["id"], "SkewedColumnValues": ["1"],
                           "SkewedColumnValueLocationMaps": {"1": "s3://a/d"}},
        }
    }))
    .unwrap()
}

/// What a read would return of an input.
fn as_read(input: glue::TableInput) -> glue::Table {
    glue::Table::builder()
        .name(input.name)
        .set_description(input.description)
        .set_owner(input.owner)
        .set_last_access_time(input.last_access_time)
        .set_last_analyzed_time(input.last_analyzed_time)
        .retention(input.retention)
        .set_storage_descriptor(input.storage_descriptor)
        .set_partition_keys(input.partition_keys)
        .set_view_original_text(input.view_original_text)
        .set_view_expanded_text(input.view_expanded_text)
        .set_table_type(input.table_type)
        .set_parameters(input.parameters)
        .set_target_table(input.target_table)
        .set_federated_table(input.federated_table)
        .version_id("7")
        .create_time(DateTime::from_secs(9))
        .build()
        .unwrap()
}

#[test]
fn a_table_round_trips() {
    let full = full_table();
    let seen = table(as_read(table_input(&full).unwrap())).unwrap();
    assert_eq!(seen.object, full);
    assert_eq!(seen.version.as_deref(), Some("7"));
    assert_eq!(seen.created, Some(Timestamp::from_secs(9)));
}

#[test]
fn a_database_and_a_partition_round_trip() {
    let full: Database = serde_json::from_value(serde_json::json!({
        "Name": "sales", "Description": "d", "LocationUri": "s3://a", "Parameters": {"k": "v"},
        "CreateTableDefaultPermissions": [{
            "Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"},
            "Permissions": ["ALL"],
        }],
        "TargetDatabase": {"CatalogId": "1", "DatabaseName": "a", "Region": "r"},
    }))
    .unwrap();
    let input = database_input(&full).unwrap();
    let read = glue::Database::builder()
        .name(input.name)
        .set_description(input.description)
        .set_location_uri(input.location_uri)
        .set_parameters(input.parameters)
        .set_create_table_default_permissions(input.create_table_default_permissions)
        .set_target_database(input.target_database)
        .build()
        .unwrap();
    assert_eq!(database(read).unwrap().object, full);

    let full = Partition {
        values: vec!["a/b=c#,".to_owned()],
        last_access_time: Some(Timestamp(1500)),
        last_analyzed_time: Some(Timestamp(2000)),
        storage_descriptor: full_table().storage_descriptor,
        parameters: Parameters::from([("k".to_owned(), "v".to_owned())]),
        extra: Extra::new(),
    };
    let input = partition_input(&full).unwrap();
    let read = glue::Partition::builder()
        .set_values(input.values)
        .set_last_access_time(input.last_access_time)
        .set_last_analyzed_time(input.last_analyzed_time)
        .set_storage_descriptor(input.storage_descriptor)
        .set_parameters(input.parameters)
        .build();
    assert_eq!(partition(read), full);
}

#[test]
fn an_empty_default_is_sent_as_an_empty_list_and_keys_too() {
    let mut closed: Database = serde_json::from_value(serde_json::json!({"Name": "d"})).unwrap();
    assert_eq!(
        database_input(&closed)
            .unwrap()
            .create_table_default_permissions,
        None
    );
    closed.create_table_default_permissions = Some(vec![]);
    let sent = database_input(&closed).unwrap();
    assert_eq!(sent.create_table_default_permissions, Some(vec![]));
    let bare: Table = serde_json::from_value(serde_json::json!({"Name": "t"})).unwrap();
    assert_eq!(table_input(&bare).unwrap().partition_keys, Some(vec![]));
}

#[test]
fn fields_that_are_not_replicated_are_noted() {
    let federated = glue::FederatedTable::builder().build();
    let read = glue::Table::builder().name("v").federated_table(federated);
    let seen = table(read.build().unwrap()).unwrap();
    assert_eq!(
        seen.object.extra.keys().collect::<Vec<_>>(),
        ["FederatedTable"]
    );
    let federated = glue::FederatedDatabase::builder().build();
    let read = glue::Database::builder()
        .name("d")
        .federated_database(federated);
    let seen = database(read.build().unwrap()).unwrap();
    assert_eq!(
        seen.object.extra.keys().collect::<Vec<_>>(),
        ["FederatedDatabase"]
    );
    let reference = glue::SchemaReference::builder().build();
    let read = glue::StorageDescriptor::builder().schema_reference(reference);
    let seen = descriptor(read.build());
    assert_eq!(seen.extra.keys().collect::<Vec<_>>(), ["SchemaReference"]);
}

/// A property of each conversion: an object with any fields set comes back as it
/// was sent.
mod round_trips;
