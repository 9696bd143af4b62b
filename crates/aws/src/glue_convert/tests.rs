use super::*;

/// Every field of the SDK types is known to the converters.
mod sdk_fields;

/// A table with every field set to a value other than its default.
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

/// The table that a read returns after this input was written.
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
fn an_empty_default_and_empty_partition_keys_are_sent_as_empty_lists() {
    let mut closed: Database = serde_json::from_value(serde_json::json!({"Name": "d"})).unwrap();
    assert_eq!(
        to_sdk_database(&closed)
            .unwrap()
            .create_table_default_permissions,
        None
    );
    closed.create_table_default_permissions = Some(vec![]);
    let sent = to_sdk_database(&closed).unwrap();
    assert_eq!(sent.create_table_default_permissions, Some(vec![]));
    let bare: Table = serde_json::from_value(serde_json::json!({"Name": "t"})).unwrap();
    assert_eq!(to_sdk_table(&bare).unwrap().partition_keys, Some(vec![]));
}

#[test]
fn unsupported_fields_are_recorded() {
    let federated = glue::FederatedTable::builder().build();
    let read = glue::Table::builder().name("v").federated_table(federated);
    let observed = from_sdk_table(read.build().unwrap());
    assert_eq!(
        observed
            .object
            .unsupported_fields
            .keys()
            .collect::<Vec<_>>(),
        ["FederatedTable"]
    );
    let federated = glue::FederatedDatabase::builder().build();
    let read = glue::Database::builder()
        .name("d")
        .federated_database(federated);
    let observed = from_sdk_database(read.build().unwrap());
    assert_eq!(
        observed
            .object
            .unsupported_fields
            .keys()
            .collect::<Vec<_>>(),
        ["FederatedDatabase"]
    );
    let reference = glue::SchemaReference::builder().build();
    let read = glue::StorageDescriptor::builder().schema_reference(reference);
    let observed = from_sdk_storage_descriptor(read.build());
    assert_eq!(
        observed.unsupported_fields.keys().collect::<Vec<_>>(),
        ["SchemaReference"]
    );
}

#[test]
fn the_times_of_a_table_are_read() {
    let read = glue::Table::builder()
        .name("t")
        .create_time(DateTime::from_secs(9))
        .update_time(DateTime::from_secs(11))
        .build();
    let observed = from_sdk_table(read.unwrap());
    let at = |secs| Some(Timestamp::from_secs(secs));
    assert_eq!((observed.created, observed.updated), (at(9), at(11)));
}

#[test]
fn no_name_of_a_listing_is_refused() {
    let long = "\u{e9}".repeat(255);
    for text in ["caf\u{c3}\u{80}x", "a.b", "MixedCase", "a\u{0}b", "", &long] {
        let read = glue::Table::builder().name(text).build().unwrap();
        assert_eq!(from_sdk_table(read).object.name.as_listed(), text);
        let read = glue::Database::builder().name(text).build().unwrap();
        assert_eq!(from_sdk_database(read).object.name.as_listed(), text);
        let read = glue::UserDefinedFunction::builder();
        let read = read.function_name(text).database_name("sales").build();
        let (id, observed) = from_sdk_function(read);
        assert_eq!(id.function.as_listed(), text);
        let sent = to_sdk_function(&observed.object);
        assert_eq!(sent.function_name.as_deref(), Some(text));
    }
}

/// Property test of each conversion: an object with any fields set is read back as it was sent.
mod round_trips;
