use super::configuration::to_json;
use super::*;
use crate::debug_fields::fields as sdk_fields;

/// A workgroup in which every field of the configuration is set.
fn full() -> QueryObject {
    let object = json!({
        "State": "ENABLED",
        "Description": "for reports",
        "Configuration": {
            "ResultConfiguration": {
                "OutputLocation": "s3://results/x/",
                "EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": "key-1"},
                "ExpectedBucketOwner": "111122223333",
                "AclConfiguration": {"S3AclOption": "BUCKET_OWNER_FULL_CONTROL"},
            },
            "ManagedQueryResultsConfiguration": {
                "Enabled": true, "EncryptionConfiguration": {"KmsKey": "key-2"}},
            "EnforceWorkGroupConfiguration": true,
            "PublishCloudWatchMetricsEnabled": true,
            "BytesScannedCutoffPerQuery": 10_000_000,
            "RequesterPaysEnabled": true,
            "EngineVersion": {"SelectedEngineVersion": "Athena engine version 3"},
            "AdditionalConfiguration": "{}",
            "ExecutionRole": "arn:aws:iam::111122223333:role/spark",
            "MonitoringConfiguration": {
                "CloudWatchLoggingConfiguration": {
                    "Enabled": true, "LogGroup": "/g", "LogStreamNamePrefix": "p",
                    "LogTypes": {"SPARK_DRIVER": ["STDOUT"]}},
                "ManagedLoggingConfiguration": {"Enabled": true, "KmsKey": "key-3"},
                "S3LoggingConfiguration": {
                    "Enabled": true, "KmsKey": "key-4", "LogLocation": "s3://logs/"},
            },
            "EngineConfiguration": {
                "CoordinatorDpuSize": 1, "MaxConcurrentDpus": 40, "DefaultExecutorDpuSize": 1,
                "AdditionalConfigs": {"a": "b"}, "SparkProperties": {"c": "d"},
                "Classifications": [{"Name": "n", "Properties": {"e": "f"}}]},
            "CustomerContentEncryptionConfiguration": {"KmsKey": "key-5"},
            "EnableMinimumEncryptionConfiguration": true,
            "IdentityCenterConfiguration": {
                "EnableIdentityCenter": true,
                "IdentityCenterInstanceArn": "arn:aws:sso:::instance/ssoins-1"},
            "QueryResultsS3AccessGrantsConfiguration": {
                "EnableS3AccessGrants": true, "CreateUserLevelPrefix": true,
                "AuthenticationType": "DIRECTORY_IDENTITY"},
        },
    });
    QueryObject::normalized(ObjectKey::new(QueryKind::WorkGroup, "w"), fields(object))
}

/// The object as it is read after it was created by `to_configuration`.
fn created(object: &QueryObject) -> QueryObject {
    let configuration = to_configuration(object).unwrap();
    let mut read = object.fields.clone();
    read.insert("Configuration".to_owned(), to_json(&configuration));
    QueryObject::normalized(object.key.clone(), read)
}

/// The paths of the leaves of a value.
fn leaves(path: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| leaves(&format!("{path}/{name}"), value))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            vec![path.to_owned()]
        }
    }
}

fn without(object: &QueryObject, path: &str) -> QueryObject {
    let mut value = serde_json::to_value(&object.fields).unwrap();
    let (parent, name) = path.rsplit_once('/').unwrap();
    value
        .pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove(name);
    QueryObject::normalized(object.key.clone(), fields(value))
}

#[test]
fn every_field_of_a_configuration_round_trips_alone_and_with_the_others() {
    let full = full();
    assert_eq!(created(&full), full);
    let value = serde_json::to_value(&full.fields).unwrap();
    let paths = leaves("", &value);
    assert!(paths.len() > 30, "{paths:?}");
    // Required beside their neighbours.
    let required = [
        "EncryptionOption",
        "AuthenticationType",
        "MaxConcurrentDpus",
    ];
    for path in paths
        .iter()
        .filter(|path| !required.iter().any(|name| path.ends_with(name)))
    {
        let part = without(&full, path);
        assert_ne!(part, full, "{path}");
        assert_eq!(created(&part), part, "without {path}");
    }
}

#[test]
fn an_update_names_what_it_removes() {
    let full = full();
    let updates = |current: &QueryObject, desired: &QueryObject| {
        to_configuration_updates(current, desired).unwrap()
    };
    assert_eq!(updates(&full, &full), None);
    let bare = QueryObject::normalized(full.key.clone(), fields(json!({"State": "ENABLED"})));
    let removed = updates(&full, &bare).unwrap();
    let results = removed.result_configuration_updates.unwrap();
    for flag in [
        results.remove_output_location,
        results.remove_encryption_configuration,
        results.remove_expected_bucket_owner,
        results.remove_acl_configuration,
        removed.remove_bytes_scanned_cutoff_per_query,
        removed.remove_customer_content_encryption_configuration,
        removed
            .managed_query_results_configuration_updates
            .unwrap()
            .remove_encryption_configuration,
    ] {
        assert_eq!(flag, Some(true));
    }
    assert_eq!(removed.enforce_work_group_configuration, Some(false));
    let added = updates(&bare, &full).unwrap();
    let results = added.result_configuration_updates.unwrap();
    assert_eq!(results.output_location.as_deref(), Some("s3://results/x/"));
    assert_eq!(results.remove_output_location, None);
    assert_eq!(added.bytes_scanned_cutoff_per_query, Some(10_000_000));
    assert_eq!(added.remove_bytes_scanned_cutoff_per_query, None);
}

#[test]
fn every_leaf_that_can_be_changed_is_in_the_update() {
    let full = full();
    let bare = QueryObject::normalized(full.key.clone(), fields(json!({"State": "ENABLED"})));
    let update = |desired: &QueryObject| to_configuration_updates(&bare, desired).unwrap();
    let value = serde_json::to_value(&full.fields).unwrap();
    let required = [
        "EncryptionOption",
        "AuthenticationType",
        "MaxConcurrentDpus",
    ];
    for path in leaves("", &value) {
        let is_elsewhere = !path.starts_with("/Configuration/");
        // Fixed at creation.
        let is_fixed = path.contains("IdentityCenterConfiguration");
        if is_elsewhere || is_fixed || required.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        assert_ne!(update(&without(&full, &path)), update(&full), "{path}");
    }
}

/// Fails when an SDK upgrade adds a field to an input. Decide then whether it is replicated, mapped or
/// reported: an object would lose a field that is none of these.
#[test]
fn every_input_field_of_workgroups_is_known() {
    let configuration = athena::WorkGroupConfiguration::builder().build();
    assert_eq!(
        sdk_fields(&format!("{configuration:#?}")),
        [
            "result_configuration",
            "managed_query_results_configuration",
            "enforce_work_group_configuration",
            "publish_cloud_watch_metrics_enabled",
            "bytes_scanned_cutoff_per_query",
            "requester_pays_enabled",
            "engine_version",
            "additional_configuration",
            "execution_role",
            "monitoring_configuration",
            "engine_configuration",
            "customer_content_encryption_configuration",
            "enable_minimum_encryption_configuration",
            "identity_center_configuration",
            "query_results_s3_access_grants_configuration",
            "system_table_statuses",
        ]
    );
    let updates = athena::WorkGroupConfigurationUpdates::builder().build();
    assert_eq!(
        sdk_fields(&format!("{updates:#?}")),
        [
            "enforce_work_group_configuration",
            "result_configuration_updates",
            "managed_query_results_configuration_updates",
            "publish_cloud_watch_metrics_enabled",
            "bytes_scanned_cutoff_per_query",
            "remove_bytes_scanned_cutoff_per_query",
            "requester_pays_enabled",
            "engine_version",
            "remove_customer_content_encryption_configuration",
            "additional_configuration",
            "execution_role",
            "customer_content_encryption_configuration",
            "enable_minimum_encryption_configuration",
            "query_results_s3_access_grants_configuration",
            "monitoring_configuration",
            "engine_configuration",
        ]
    );
}

/// Compares the fields of SDK values, each by its `Debug` text, with those that are known.
fn assert_known(cases: &[(String, &str)]) {
    for (debug, expected) in cases {
        assert_eq!(sdk_fields(debug).join(" "), *expected);
    }
}

#[test]
fn every_field_inside_a_configuration_is_known() {
    let full = to_configuration(&full()).unwrap();
    let result = full.result_configuration.unwrap();
    let managed = full.managed_query_results_configuration.unwrap();
    let monitoring = full.monitoring_configuration.unwrap();
    let engine = full.engine_configuration.unwrap();
    let updates = athena::ResultConfigurationUpdates::builder().build();
    let managed_updates = athena::ManagedQueryResultsConfigurationUpdates::builder().build();
    let cases = [
        (
            format!("{result:#?}"),
            "output_location encryption_configuration expected_bucket_owner acl_configuration",
        ),
        (
            format!("{:#?}", result.encryption_configuration.unwrap()),
            "encryption_option kms_key",
        ),
        (
            format!("{:#?}", result.acl_configuration.unwrap()),
            "s3_acl_option",
        ),
        (
            format!("{updates:#?}"),
            "output_location remove_output_location encryption_configuration remove_encryption_configuration expected_bucket_owner remove_expected_bucket_owner acl_configuration remove_acl_configuration",
        ),
        (format!("{managed:#?}"), "enabled encryption_configuration"),
        (
            format!("{managed_updates:#?}"),
            "enabled encryption_configuration remove_encryption_configuration",
        ),
        (
            format!("{:#?}", full.engine_version.unwrap()),
            "selected_engine_version effective_engine_version",
        ),
        (
            format!("{monitoring:#?}"),
            "cloud_watch_logging_configuration managed_logging_configuration s3_logging_configuration",
        ),
        (
            format!(
                "{:#?}",
                monitoring.cloud_watch_logging_configuration.unwrap()
            ),
            "enabled log_group log_stream_name_prefix log_types",
        ),
        (
            format!("{:#?}", monitoring.managed_logging_configuration.unwrap()),
            "enabled kms_key",
        ),
        (
            format!("{:#?}", monitoring.s3_logging_configuration.unwrap()),
            "enabled kms_key log_location",
        ),
        (
            format!("{engine:#?}"),
            "coordinator_dpu_size max_concurrent_dpus default_executor_dpu_size additional_configs spark_properties classifications",
        ),
        (
            format!(
                "{:#?}",
                full.customer_content_encryption_configuration.unwrap()
            ),
            "kms_key",
        ),
        (
            format!("{:#?}", full.identity_center_configuration.unwrap()),
            "enable_identity_center identity_center_instance_arn",
        ),
        (
            format!(
                "{:#?}",
                full.query_results_s3_access_grants_configuration.unwrap()
            ),
            "enable_s3_access_grants create_user_level_prefix authentication_type",
        ),
    ];
    assert_known(&cases);
}

#[test]
fn every_input_field_of_the_calls_is_known() {
    use aws_sdk_athena::operation as calls;
    let create = calls::create_work_group::CreateWorkGroupInput::builder()
        .build()
        .unwrap();
    let update = calls::update_work_group::UpdateWorkGroupInput::builder()
        .build()
        .unwrap();
    let query = calls::create_named_query::CreateNamedQueryInput::builder()
        .build()
        .unwrap();
    let changed = calls::update_named_query::UpdateNamedQueryInput::builder()
        .build()
        .unwrap();
    let statement = calls::create_prepared_statement::CreatePreparedStatementInput::builder()
        .build()
        .unwrap();
    let replaced = calls::update_prepared_statement::UpdatePreparedStatementInput::builder()
        .build()
        .unwrap();
    let catalog = calls::create_data_catalog::CreateDataCatalogInput::builder()
        .build()
        .unwrap();
    let other = calls::update_data_catalog::UpdateDataCatalogInput::builder()
        .build()
        .unwrap();
    let cases = [
        (
            format!("{create:#?}"),
            "name configuration description tags",
        ),
        (
            format!("{update:#?}"),
            "work_group description configuration_updates state",
        ),
        (
            format!("{query:#?}"),
            "name description database query_string client_request_token work_group",
        ),
        (
            format!("{changed:#?}"),
            "named_query_id name description query_string",
        ),
        (
            format!("{statement:#?}"),
            "statement_name work_group query_statement description",
        ),
        (
            format!("{replaced:#?}"),
            "statement_name work_group query_statement description",
        ),
        (
            format!("{catalog:#?}"),
            "name type description parameters tags",
        ),
        (format!("{other:#?}"), "name type description parameters"),
    ];
    assert_known(&cases);
}

/// A workgroup with the fields that are only read.
fn reported_workgroup() -> athena::WorkGroup {
    let version = athena::EngineVersion::builder()
        .selected_engine_version("AUTO")
        .effective_engine_version("Athena engine version 3")
        .build();
    let system_table = athena::SystemTableStatus::builder()
        .table_name(athena::SystemTableType::from("x"))
        .enabled(true)
        .build()
        .unwrap();
    let configuration = athena::WorkGroupConfiguration::builder()
        .engine_version(version)
        .system_table_statuses(system_table)
        .build();
    athena::WorkGroup::builder()
        .name("w")
        .state(athena::WorkGroupState::Disabled)
        .description("for reports")
        .configuration(configuration)
        .identity_center_application_arn("arn:aws:sso::111122223333:application/a")
        .build()
        .unwrap()
}

#[test]
fn every_field_that_is_read_is_in_the_object() {
    let workgroup = reported_workgroup();
    let catalog = athena::DataCatalog::builder()
        .name("c")
        .r#type(athena::DataCatalogType::Lambda)
        .description("of ours")
        .parameters(
            "function",
            "arn:aws:lambda:us-east-1:111122223333:function:f",
        )
        .status(athena::DataCatalogStatus::CreateFailed)
        .connection_type(athena::ConnectionType::Mysql)
        .error("it failed")
        .build()
        .unwrap();
    let query = athena::NamedQuery::builder()
        .name("daily")
        .description("each day")
        .database("sales")
        .query_string("select 1")
        .work_group("w")
        .build()
        .unwrap();
    let statement = athena::PreparedStatement::builder()
        .statement_name("by_day")
        .query_statement("select ?")
        .description("with a day")
        .build();
    let read = [
        from_workgroup(&workgroup),
        from_catalog(&catalog),
        from_named_query(&query, "id-1"),
        from_prepared_statement(&statement, "w", "by_day"),
    ];
    let expected = [
        json!({
            "State": "DISABLED", "Description": "for reports",
            "Configuration": {
                "EngineVersion": {
                    "SelectedEngineVersion": "AUTO",
                    "EffectiveEngineVersion": "Athena engine version 3"},
                "SystemTableStatuses": [
                    {"TableName": athena::SystemTableType::from("x").as_str(), "Enabled": true}]},
            "IdentityCenterApplicationArn": "arn:aws:sso::111122223333:application/a",
        }),
        json!({
            "Type": "LAMBDA", "Description": "of ours", "Status": "CREATE_FAILED",
            "Parameters": {"function": "arn:aws:lambda:us-east-1:111122223333:function:f"},
            "ConnectionType": "MYSQL", "Error": "it failed",
        }),
        json!({
            "Name": "daily", "Description": "each day", "Database": "sales",
            "QueryString": "select 1",
        }),
        json!({"QueryStatement": "select ?", "Description": "with a day"}),
    ];
    for (read, expected) in read.iter().zip(expected) {
        assert_eq!(serde_json::to_value(&read.fields).unwrap(), expected);
    }
    let parents = read.map(|object| object.key.parent);
    let in_workgroup = Some("w".to_owned());
    assert_eq!(parents, [None, None, in_workgroup.clone(), in_workgroup]);
}

#[test]
fn an_update_sends_the_values_that_have_to_be_sent_with_others() {
    let full = full();
    let bare = QueryObject::normalized(full.key.clone(), fields(json!({"State": "ENABLED"})));
    let added = to_configuration_updates(&bare, &full).unwrap().unwrap();
    assert_eq!(added.additional_configuration.as_deref(), Some("{}"));
    assert_eq!(added.enable_minimum_encryption_configuration, Some(true));
    let engine = added.engine_configuration.unwrap();
    // Without a value, the SDK takes 20.
    assert_eq!(engine.max_concurrent_dpus, 40);
    let removed = to_configuration_updates(&full, &bare).unwrap().unwrap();
    assert_eq!(removed.additional_configuration.as_deref(), Some(""));
    assert_eq!(removed.enable_minimum_encryption_configuration, Some(false));
}
