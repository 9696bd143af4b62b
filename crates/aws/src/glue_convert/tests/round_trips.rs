use super::super::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use twinlake_core::catalog::{ColumnStatistics, Function, IndexStatus, PartitionIndex};

/// Fields that an input requires.
const REQUIRED_FIELDS: [&str; 13] = [
    "Name",
    "Column",
    "SortOrder",
    "Values",
    "FunctionName",
    "ColumnName",
    "ColumnType",
    "AnalyzedTime",
    "Type",
    "IndexName",
    "Keys",
    "UnscaledValue",
    "Scale",
];
/// Fields that the service always returns: counts in statistics, plain numbers and flags.
const ALWAYS_RETURNED_FIELDS: [&str; 12] = [
    "NumberOfTrues",
    "NumberOfFalses",
    "NumberOfNulls",
    "NumberOfDistinctValues",
    "MaximumLength",
    "AverageLength",
    "MinimumValue",
    "MaximumValue",
    "Retention",
    "Compressed",
    "NumberOfBuckets",
    "StoredAsSubDirectories",
];

/// Walks through an object. At each value the next number decides whether the value stays, is
/// removed or is replaced by another value of its type.
fn mutate(value: &mut Value, key: &str, numbers: &mut impl Iterator<Item = u32>) {
    let number = numbers.next().unwrap_or_default();
    match value {
        Value::Object(fields) => {
            let removed: Vec<String> = fields
                .keys()
                .filter(|key| {
                    let number = numbers.next().unwrap_or_default();
                    let is_required = REQUIRED_FIELDS.contains(&key.as_str())
                        || ALWAYS_RETURNED_FIELDS.contains(&key.as_str());
                    number.is_multiple_of(5) && !is_required
                })
                .cloned()
                .collect();
            fields.retain(|key, _| !removed.contains(key));
            for (key, field) in fields {
                mutate(field, key, numbers);
            }
        }
        Value::Array(items) => {
            if number.is_multiple_of(3) {
                items.extend(items.first().cloned());
            }
            for item in items {
                mutate(item, key, numbers);
            }
        }
        Value::String(text) if number.is_multiple_of(2) && key != "UnscaledValue" => {
            let suffixes = match key {
                "Name" | "FunctionName" => ["", "é", "_2", " x", "/"],
                _ => ["", "é", "/=,#", "\"\n", " "],
            };
            text.push_str(suffixes[number as usize / 2 % 5]);
        }
        Value::Number(_) if number.is_multiple_of(2) => *value = json!(number % 100_000),
        Value::Bool(flag) if number.is_multiple_of(2) => *flag = !*flag,
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// Variants of `full`: objects with any subset of its fields, set to any values.
fn any_variant_of<T: DeserializeOwned + std::fmt::Debug>(full: Value) -> impl Strategy<Value = T> {
    prop::collection::vec(any::<u32>(), 200).prop_map(move |numbers| {
        let mut mutated = full.clone();
        mutate(&mut mutated, "", &mut numbers.into_iter());
        serde_json::from_value(mutated).unwrap()
    })
}

/// Compares the JSON texts, because NaN is not equal to itself and 0.0 equals -0.0.
fn assert_same_json<T: Serialize>(sent: &T, read: &T) -> Result<(), TestCaseError> {
    let text = |object: &T| serde_json::to_string(object).unwrap();
    prop_assert_eq!(text(sent), text(read));
    Ok(())
}

fn table() -> Value {
    let view = json!({
        "IsProtected": true, "IsManaged": false, "Definer": "arn:d", "ViewVersionId": 3,
        "ViewVersionToken": "t", "RefreshSeconds": 60, "LastRefreshType": "FULL",
        "SubObjects": ["arn:s"], "SubObjectVersionIds": [4], "SparkPipelineInfo": {"k": "v"},
        "SubObjectsStatistics": [{
            "SourceType": "ICEBERG", "GlueVersionId": "1", "PartitionCount": 2, "FileCount": 3,
            "TotalFileBytes": 4,
        }],
        "Representations": [{
            "Dialect": "ATHENA", "DialectVersion": "3", "ViewOriginalText": "select",
            "ValidationConnection": "c", "ViewExpandedText": "select *",
        }],
    });
    let mut full = serde_json::to_value(super::full_table()).unwrap();
    full["ViewDefinition"] = view;
    full
}

fn database() -> Value {
    json!({
        "Name": "sales", "Description": "d", "LocationUri": "s3://a", "Parameters": {"k": "v"},
        "CreateTableDefaultPermissions": [{
            "Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"},
            "Permissions": ["ALL"],
        }],
        "TargetDatabase": {"CatalogId": "1", "DatabaseName": "a", "Region": "r"},
    })
}

fn partition() -> Value {
    json!({
        "Values": ["2026", "a/b"], "LastAccessTime": 1.5, "LastAnalyzedTime": 2,
        "Parameters": {"k": "v"}, "StorageDescriptor": table()["StorageDescriptor"],
    })
}

fn function() -> Value {
    json!({
        "FunctionName": "f", "ClassName": "c", "OwnerName": "o", "FunctionType": "REGULAR_FUNCTION",
        "OwnerType": "USER", "ArtifactLocation": "s3://a/b", "GovernanceMode": "LAKE_FORMATION",
        "ResourceUris": [{"ResourceType": "JAR", "Uri": "s3://a/f.jar", "LastModified": 7}],
    })
}

fn statistics_json() -> Value {
    let number = |text: &str| json!({"UnscaledValue": text, "Scale": 2});
    let min_max = json!({
        "MinimumValue": 1, "MaximumValue": 9, "NumberOfNulls": 2, "NumberOfDistinctValues": 3,
    });
    let text = json!({
        "MaximumLength": 4, "AverageLength": 1.5, "NumberOfNulls": 2, "NumberOfDistinctValues": 3,
    });
    let mut double = min_max.clone();
    double["MinimumValue"] = json!(-0.25);
    let mut decimal = min_max.clone();
    decimal["MinimumValue"] = number("AQ==");
    decimal["MaximumValue"] = number("f/8=");
    json!({
        "ColumnName": "id", "ColumnType": "bigint", "AnalyzedTime": 5,
        "StatisticsData": {
            "Type": "LONG",
            "BooleanColumnStatisticsData":
                {"NumberOfTrues": 1, "NumberOfFalses": 2, "NumberOfNulls": 3},
            "DateColumnStatisticsData": min_max,
            "DecimalColumnStatisticsData": decimal,
            "DoubleColumnStatisticsData": double,
            "LongColumnStatisticsData": min_max,
            "StringColumnStatisticsData": text,
            "BinaryColumnStatisticsData":
                {"MaximumLength": 4, "AverageLength": 1.5, "NumberOfNulls": 2},
        },
    })
}

fn read_view(sent: glue::ViewDefinitionInput) -> glue::ViewDefinition {
    let representations = sent.representations.map(|all| {
        let read = all.into_iter().map(|one| {
            glue::ViewRepresentation::builder()
                .set_dialect(one.dialect)
                .set_dialect_version(one.dialect_version)
                .set_view_original_text(one.view_original_text)
                .set_validation_connection(one.validation_connection)
                .set_view_expanded_text(one.view_expanded_text)
                .is_stale(true)
                .build()
        });
        read.collect()
    });
    glue::ViewDefinition::builder()
        .set_is_protected(sent.is_protected)
        .set_is_managed(sent.is_managed)
        .set_definer(sent.definer)
        .set_representations(representations)
        .view_version_id(sent.view_version_id)
        .set_view_version_token(sent.view_version_token)
        .set_refresh_seconds(sent.refresh_seconds)
        .set_last_refresh_type(sent.last_refresh_type)
        .set_sub_objects(sent.sub_objects)
        .set_sub_object_version_ids(sent.sub_object_version_ids)
        .set_sub_objects_statistics(sent.sub_objects_statistics)
        .set_spark_pipeline_info(sent.spark_pipeline_info)
        .build()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(11),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_table_round_trips(sent in any_variant_of::<Table>(table())) {
        let mut input = to_sdk_table(&sent).unwrap();
        let view = input.view_definition.take().map(read_view);
        let mut read = super::as_read(input);
        read.view_definition = view;
        let observed = from_sdk_table(read);
        assert_same_json(&sent, &observed.object)?;
        prop_assert_eq!(observed.version.as_deref(), Some("7"));
        prop_assert_eq!(observed.created, Some(Timestamp::from_secs(9)));
    }

    #[test]
    fn a_database_round_trips(sent in any_variant_of::<Database>(database())) {
        let input = to_sdk_database(&sent).unwrap();
        let read = glue::Database::builder()
            .name(input.name)
            .set_description(input.description)
            .set_location_uri(input.location_uri)
            .set_parameters(input.parameters)
            .set_create_table_default_permissions(input.create_table_default_permissions)
            .set_target_database(input.target_database)
            .create_time(DateTime::from_secs(9))
            .build()
            .unwrap();
        let observed = from_sdk_database(read);
        assert_same_json(&sent, &observed.object)?;
        prop_assert_eq!(observed.created, Some(Timestamp::from_secs(9)));
    }

    #[test]
    fn a_partition_round_trips(sent in any_variant_of::<Partition>(partition())) {
        let input = to_sdk_partition(&sent).unwrap();
        let read = glue::Partition::builder()
            .set_values(input.values)
            .set_last_access_time(input.last_access_time)
            .set_last_analyzed_time(input.last_analyzed_time)
            .set_storage_descriptor(input.storage_descriptor)
            .set_parameters(input.parameters)
            .build();
        assert_same_json(&sent, &from_sdk_partition(read))?;
    }

    #[test]
    fn a_function_round_trips(sent in any_variant_of::<Function>(function())) {
        let input = to_sdk_function(&sent);
        let read = glue::UserDefinedFunction::builder()
            .set_function_name(input.function_name)
            .set_class_name(input.class_name)
            .set_owner_name(input.owner_name)
            .set_function_type(input.function_type)
            .set_owner_type(input.owner_type)
            .set_resource_uris(input.resource_uris)
            .set_artifact_location(input.artifact_location)
            .set_governance_mode(input.governance_mode)
            .database_name("Sales")
            .create_time(DateTime::from_secs(9))
            .build();
        let (id, observed) = from_sdk_function(read);
        assert_same_json(&sent, &observed.object)?;
        prop_assert_eq!(id.database.as_str(), "sales");
        prop_assert_eq!(id.function, sent.name);
        prop_assert_eq!(observed.created, Some(Timestamp::from_secs(9)));
    }

    #[test]
    fn statistics_round_trip(sent in any_variant_of::<ColumnStatistics>(statistics_json())) {
        assert_same_json(&sent, &from_sdk_column_statistics(to_sdk_column_statistics(&sent).unwrap()))?;
    }

    #[test]
    fn an_index_round_trips(
        sent in any_variant_of::<PartitionIndex>(json!({"IndexName": "i", "Keys": ["dt", "hour"]})),
        status in prop::sample::select(vec!["CREATING", "ACTIVE", "DELETING", "FAILED"]),
    ) {
        let input = to_sdk_partition_index(&sent).unwrap();
        let keys = input.keys.into_iter().map(|name| {
            glue::KeySchemaElement::builder().name(name).r#type("date").build().unwrap()
        });
        let read = glue::PartitionIndexDescriptor::builder()
            .index_name(input.index_name)
            .set_keys(Some(keys.collect()))
            .index_status(status.into())
            .build()
            .unwrap();
        let (index, index_status) = from_sdk_partition_index(read);
        prop_assert_eq!(index, sent);
        let expected = match status {
            "DELETING" => IndexStatus::Deleting,
            "FAILED" => IndexStatus::Failed,
            _ => IndexStatus::Present,
        };
        prop_assert_eq!(index_status, expected);
    }
}
