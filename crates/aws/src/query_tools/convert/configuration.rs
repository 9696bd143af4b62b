//! The configuration of a workgroup.

use super::map_of;
use aws_sdk_athena::error::BuildError;
use aws_sdk_athena::types as athena;
use serde_json::{Value, json};
use twinlake_core::query::QueryObject;

pub(super) fn to_json(found: &athena::WorkGroupConfiguration) -> Value {
    json!({
        "ResultConfiguration": found.result_configuration.as_ref().map(result_to_json),
        "ManagedQueryResultsConfiguration":
            found.managed_query_results_configuration.as_ref().map(|managed| json!({
                "Enabled": managed.enabled,
                "EncryptionConfiguration": managed.encryption_configuration.as_ref()
                    .map(|encryption| json!({"KmsKey": encryption.kms_key})),
            })),
        "EnforceWorkGroupConfiguration": found.enforce_work_group_configuration,
        "PublishCloudWatchMetricsEnabled": found.publish_cloud_watch_metrics_enabled,
        "BytesScannedCutoffPerQuery": found.bytes_scanned_cutoff_per_query,
        "RequesterPaysEnabled": found.requester_pays_enabled,
        "EngineVersion": found.engine_version.as_ref().map(|version| json!({
            "SelectedEngineVersion": version.selected_engine_version,
            "EffectiveEngineVersion": version.effective_engine_version,
        })),
        "AdditionalConfiguration": found.additional_configuration,
        "ExecutionRole": found.execution_role,
        "MonitoringConfiguration": found.monitoring_configuration.as_ref().map(monitoring_to_json),
        "EngineConfiguration": found.engine_configuration.as_ref().map(engine_to_json),
        "CustomerContentEncryptionConfiguration":
            found.customer_content_encryption_configuration.as_ref()
                .map(|encryption| json!({"KmsKey": encryption.kms_key})),
        "EnableMinimumEncryptionConfiguration": found.enable_minimum_encryption_configuration,
        "IdentityCenterConfiguration": found.identity_center_configuration.as_ref().map(|center| json!({
            "EnableIdentityCenter": center.enable_identity_center,
            "IdentityCenterInstanceArn": center.identity_center_instance_arn,
        })),
        "QueryResultsS3AccessGrantsConfiguration":
            found.query_results_s3_access_grants_configuration.as_ref().map(|grants| json!({
                "EnableS3AccessGrants": grants.enable_s3_access_grants,
                "CreateUserLevelPrefix": grants.create_user_level_prefix,
                "AuthenticationType": grants.authentication_type.as_str(),
            })),
        "SystemTableStatuses": found.system_table_statuses.as_ref().map(|statuses| {
            let statuses = statuses.iter();
            statuses.map(|status| json!({
                "TableName": status.table_name.as_str(),
                "Enabled": status.enabled,
            })).collect::<Vec<Value>>()
        }),
    })
}

fn result_to_json(found: &athena::ResultConfiguration) -> Value {
    json!({
        "OutputLocation": found.output_location,
        "EncryptionConfiguration": found.encryption_configuration.as_ref().map(|encryption| json!({
            "EncryptionOption": encryption.encryption_option.as_str(),
            "KmsKey": encryption.kms_key,
        })),
        "ExpectedBucketOwner": found.expected_bucket_owner,
        "AclConfiguration": found.acl_configuration.as_ref()
            .map(|acl| json!({"S3AclOption": acl.s3_acl_option.as_str()})),
    })
}

fn monitoring_to_json(found: &athena::MonitoringConfiguration) -> Value {
    json!({
        "CloudWatchLoggingConfiguration":
            found.cloud_watch_logging_configuration.as_ref().map(|logging| json!({
                "Enabled": logging.enabled,
                "LogGroup": logging.log_group,
                "LogStreamNamePrefix": logging.log_stream_name_prefix,
                "LogTypes": logging.log_types,
            })),
        "ManagedLoggingConfiguration": found.managed_logging_configuration.as_ref().map(|logging| json!({
            "Enabled": logging.enabled,
            "KmsKey": logging.kms_key,
        })),
        "S3LoggingConfiguration": found.s3_logging_configuration.as_ref().map(|logging| json!({
            "Enabled": logging.enabled,
            "KmsKey": logging.kms_key,
            "LogLocation": logging.log_location,
        })),
    })
}

fn engine_to_json(found: &athena::EngineConfiguration) -> Value {
    json!({
        "CoordinatorDpuSize": found.coordinator_dpu_size,
        // The SDK answers 0 for an absent one.
        "MaxConcurrentDpus": (found.max_concurrent_dpus != 0).then_some(found.max_concurrent_dpus),
        "DefaultExecutorDpuSize": found.default_executor_dpu_size,
        "AdditionalConfigs": map_of(found.additional_configs.as_ref()),
        "SparkProperties": map_of(found.spark_properties.as_ref()),
        "Classifications": found.classifications.as_ref().map(|classifications| {
            let classifications = classifications.iter();
            classifications.map(|one| json!({
                "Name": one.name,
                "Properties": map_of(one.properties.as_ref()),
            })).collect::<Vec<Value>>()
        }),
    })
}

fn text(value: Option<&Value>, name: &str) -> Option<String> {
    value?.get(name)?.as_str().map(str::to_owned)
}

fn flag(value: Option<&Value>, name: &str) -> bool {
    value
        .and_then(|value| value.get(name))
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

fn number(value: Option<&Value>, name: &str) -> Option<i64> {
    value?.get(name)?.as_i64()
}

fn small_number(value: Option<&Value>, name: &str) -> Option<i32> {
    number(value, name).and_then(|number| i32::try_from(number).ok())
}

/// The texts of an object, in the map that the SDK takes.
fn texts<M: FromIterator<(String, String)>>(value: Option<&Value>, name: &str) -> Option<M> {
    let entries = value?.get(name)?.as_object()?.iter();
    let entries =
        entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    Some(entries.collect())
}

/// The configuration of a new workgroup. Flags are sent also where they are off: Athena's defaults for some
/// are on.
pub(in crate::query_tools) fn to_configuration(
    object: &QueryObject,
) -> Result<athena::WorkGroupConfiguration, BuildError> {
    let at = |path: &str| object.field(&format!("Configuration.{path}"));
    let whole = object.field("Configuration");
    let center = at("IdentityCenterConfiguration");
    let builder = athena::WorkGroupConfiguration::builder()
        .set_result_configuration(at("ResultConfiguration").map(to_result).transpose()?)
        .set_managed_query_results_configuration(
            at("ManagedQueryResultsConfiguration")
                .map(to_managed)
                .transpose()?,
        )
        .enforce_work_group_configuration(flag(whole, "EnforceWorkGroupConfiguration"))
        .publish_cloud_watch_metrics_enabled(flag(whole, "PublishCloudWatchMetricsEnabled"))
        .set_bytes_scanned_cutoff_per_query(number(whole, "BytesScannedCutoffPerQuery"))
        .requester_pays_enabled(flag(whole, "RequesterPaysEnabled"))
        .set_engine_version(at("EngineVersion").map(to_engine_version))
        .set_additional_configuration(text(whole, "AdditionalConfiguration"))
        .set_execution_role(text(whole, "ExecutionRole"))
        .set_monitoring_configuration(
            at("MonitoringConfiguration")
                .map(to_monitoring)
                .transpose()?,
        )
        .set_engine_configuration(at("EngineConfiguration").map(to_engine))
        .set_customer_content_encryption_configuration(to_content_encryption(object)?)
        .set_enable_minimum_encryption_configuration(
            flag(whole, "EnableMinimumEncryptionConfiguration").then_some(true),
        )
        .set_identity_center_configuration(center.map(|center| {
            athena::IdentityCenterConfiguration::builder()
                .enable_identity_center(flag(Some(center), "EnableIdentityCenter"))
                .set_identity_center_instance_arn(text(Some(center), "IdentityCenterInstanceArn"))
                .build()
        }))
        .set_query_results_s3_access_grants_configuration(to_access_grants(object)?);
    Ok(builder.build())
}

fn to_result(value: &Value) -> Result<athena::ResultConfiguration, BuildError> {
    let value = Some(value);
    Ok(athena::ResultConfiguration::builder()
        .set_output_location(text(value, "OutputLocation"))
        .set_encryption_configuration(to_encryption(value)?)
        .set_expected_bucket_owner(text(value, "ExpectedBucketOwner"))
        .set_acl_configuration(to_acl(value)?)
        .build())
}

fn to_encryption(
    result: Option<&Value>,
) -> Result<Option<athena::EncryptionConfiguration>, BuildError> {
    let Some(value) = result.and_then(|result| result.get("EncryptionConfiguration")) else {
        return Ok(None);
    };
    let option = text(Some(value), "EncryptionOption");
    let built = athena::EncryptionConfiguration::builder()
        .set_encryption_option(option.as_deref().map(athena::EncryptionOption::from))
        .set_kms_key(text(Some(value), "KmsKey"))
        .build()?;
    Ok(Some(built))
}

fn to_acl(result: Option<&Value>) -> Result<Option<athena::AclConfiguration>, BuildError> {
    let Some(value) = result.and_then(|result| result.get("AclConfiguration")) else {
        return Ok(None);
    };
    let option = text(Some(value), "S3AclOption");
    let option = option.as_deref().map(athena::S3AclOption::from);
    athena::AclConfiguration::builder()
        .set_s3_acl_option(option)
        .build()
        .map(Some)
}

fn managed_encryption(
    managed: &Value,
) -> Result<Option<athena::ManagedQueryResultsEncryptionConfiguration>, BuildError> {
    let encryption = managed.get("EncryptionConfiguration");
    let Some(key) = text(encryption, "KmsKey") else {
        return Ok(None);
    };
    athena::ManagedQueryResultsEncryptionConfiguration::builder()
        .kms_key(key)
        .build()
        .map(Some)
}

fn to_managed(value: &Value) -> Result<athena::ManagedQueryResultsConfiguration, BuildError> {
    Ok(athena::ManagedQueryResultsConfiguration::builder()
        .enabled(flag(Some(value), "Enabled"))
        .set_encryption_configuration(managed_encryption(value)?)
        .build())
}

fn to_engine_version(value: &Value) -> athena::EngineVersion {
    athena::EngineVersion::builder()
        .set_selected_engine_version(text(Some(value), "SelectedEngineVersion"))
        .build()
}

fn to_monitoring(value: &Value) -> Result<athena::MonitoringConfiguration, BuildError> {
    let cloudwatch = value.get("CloudWatchLoggingConfiguration").map(|logging| {
        let types = logging.get("LogTypes").cloned();
        let types = types.and_then(|types| serde_json::from_value(types).ok());
        let logging = Some(logging);
        athena::CloudWatchLoggingConfiguration::builder()
            .enabled(flag(logging, "Enabled"))
            .set_log_group(text(logging, "LogGroup"))
            .set_log_stream_name_prefix(text(logging, "LogStreamNamePrefix"))
            .set_log_types(types)
            .build()
    });
    let managed = value.get("ManagedLoggingConfiguration").map(|logging| {
        let logging = Some(logging);
        athena::ManagedLoggingConfiguration::builder()
            .enabled(flag(logging, "Enabled"))
            .set_kms_key(text(logging, "KmsKey"))
            .build()
    });
    let s3 = value.get("S3LoggingConfiguration").map(|logging| {
        let logging = Some(logging);
        athena::S3LoggingConfiguration::builder()
            .enabled(flag(logging, "Enabled"))
            .set_kms_key(text(logging, "KmsKey"))
            .set_log_location(text(logging, "LogLocation"))
            .build()
    });
    Ok(athena::MonitoringConfiguration::builder()
        .set_cloud_watch_logging_configuration(cloudwatch.transpose()?)
        .set_managed_logging_configuration(managed.transpose()?)
        .set_s3_logging_configuration(s3.transpose()?)
        .build())
}

fn to_engine(value: &Value) -> athena::EngineConfiguration {
    let classifications = value.get("Classifications").and_then(Value::as_array);
    let classifications = classifications.map(|classifications| {
        let classifications = classifications.iter().map(Some);
        classifications
            .map(|one| {
                athena::Classification::builder()
                    .set_name(text(one, "Name"))
                    .set_properties(texts(one, "Properties"))
                    .build()
            })
            .collect()
    });
    let value = Some(value);
    athena::EngineConfiguration::builder()
        .set_coordinator_dpu_size(small_number(value, "CoordinatorDpuSize"))
        .set_max_concurrent_dpus(small_number(value, "MaxConcurrentDpus"))
        .set_default_executor_dpu_size(small_number(value, "DefaultExecutorDpuSize"))
        .set_additional_configs(texts(value, "AdditionalConfigs"))
        .set_spark_properties(texts(value, "SparkProperties"))
        .set_classifications(classifications)
        .build()
}

fn to_content_encryption(
    object: &QueryObject,
) -> Result<Option<athena::CustomerContentEncryptionConfiguration>, BuildError> {
    let encryption = object.field("Configuration.CustomerContentEncryptionConfiguration");
    let Some(key) = text(encryption, "KmsKey") else {
        return Ok(None);
    };
    athena::CustomerContentEncryptionConfiguration::builder()
        .kms_key(key)
        .build()
        .map(Some)
}

fn to_access_grants(
    object: &QueryObject,
) -> Result<Option<athena::QueryResultsS3AccessGrantsConfiguration>, BuildError> {
    let Some(value) = object.field("Configuration.QueryResultsS3AccessGrantsConfiguration") else {
        return Ok(None);
    };
    let kind = text(Some(value), "AuthenticationType");
    athena::QueryResultsS3AccessGrantsConfiguration::builder()
        .enable_s3_access_grants(flag(Some(value), "EnableS3AccessGrants"))
        .create_user_level_prefix(flag(Some(value), "CreateUserLevelPrefix"))
        .set_authentication_type(kind.as_deref().map(athena::AuthenticationType::from))
        .build()
        .map(Some)
}

/// The update that turns one configuration into another; `None` if they are equal. What the new one lacks is
/// removed, where the service has a way to.
pub(in crate::query_tools) fn to_configuration_updates(
    current: &QueryObject,
    desired: &QueryObject,
) -> Result<Option<athena::WorkGroupConfigurationUpdates>, BuildError> {
    let (now, next) = (current.comparable(), desired.comparable());
    if now.get("Configuration") == next.get("Configuration") {
        return Ok(None);
    }
    let differs = |path: &str| {
        let path = format!("Configuration.{path}");
        current.field(&path) != desired.field(&path)
    };
    let whole = desired.field("Configuration");
    let new = to_configuration(desired)?;
    let lacks = |path: &str| desired.field(&format!("Configuration.{path}")).is_none();
    let content = "CustomerContentEncryptionConfiguration";
    let cutoff = "BytesScannedCutoffPerQuery";
    let mut updates = athena::WorkGroupConfigurationUpdates::builder()
        .enforce_work_group_configuration(flag(whole, "EnforceWorkGroupConfiguration"))
        .publish_cloud_watch_metrics_enabled(flag(whole, "PublishCloudWatchMetricsEnabled"))
        .requester_pays_enabled(flag(whole, "RequesterPaysEnabled"))
        .set_bytes_scanned_cutoff_per_query(new.bytes_scanned_cutoff_per_query)
        .set_remove_bytes_scanned_cutoff_per_query(
            (differs(cutoff) && lacks(cutoff)).then_some(true),
        )
        .set_customer_content_encryption_configuration(
            new.customer_content_encryption_configuration,
        )
        .set_remove_customer_content_encryption_configuration(
            (differs(content) && lacks(content)).then_some(true),
        );
    if differs("ResultConfiguration") {
        updates = updates.result_configuration_updates(to_result_updates(current, desired)?);
    }
    if differs("ManagedQueryResultsConfiguration") {
        updates = updates
            .managed_query_results_configuration_updates(to_managed_updates(current, desired)?);
    }
    if differs("EngineVersion") {
        updates = updates.set_engine_version(new.engine_version);
    }
    if differs("AdditionalConfiguration") {
        let additional = new.additional_configuration.unwrap_or_default();
        updates = updates.additional_configuration(additional);
    }
    if differs("ExecutionRole") {
        updates = updates.set_execution_role(new.execution_role);
    }
    if differs("EnableMinimumEncryptionConfiguration") {
        let minimum = flag(whole, "EnableMinimumEncryptionConfiguration");
        updates = updates.enable_minimum_encryption_configuration(minimum);
    }
    if differs("QueryResultsS3AccessGrantsConfiguration") {
        let grants = new.query_results_s3_access_grants_configuration;
        updates = updates.set_query_results_s3_access_grants_configuration(grants);
    }
    if differs("MonitoringConfiguration") {
        updates = updates.set_monitoring_configuration(new.monitoring_configuration);
    }
    if differs("EngineConfiguration") {
        updates = updates.set_engine_configuration(new.engine_configuration);
    }
    Ok(Some(updates.build()))
}

fn to_result_updates(
    current: &QueryObject,
    desired: &QueryObject,
) -> Result<athena::ResultConfigurationUpdates, BuildError> {
    let result = |object: &QueryObject| object.field("Configuration.ResultConfiguration").cloned();
    let (now, next) = (result(current), result(desired));
    let removes = |name: &str| {
        let has = |result: &Option<Value>| {
            result
                .as_ref()
                .is_some_and(|result| result.get(name).is_some())
        };
        (has(&now) && !has(&next)).then_some(true)
    };
    let next = next.as_ref();
    Ok(athena::ResultConfigurationUpdates::builder()
        .set_output_location(text(next, "OutputLocation"))
        .set_remove_output_location(removes("OutputLocation"))
        .set_encryption_configuration(to_encryption(next)?)
        .set_remove_encryption_configuration(removes("EncryptionConfiguration"))
        .set_expected_bucket_owner(text(next, "ExpectedBucketOwner"))
        .set_remove_expected_bucket_owner(removes("ExpectedBucketOwner"))
        .set_acl_configuration(to_acl(next)?)
        .set_remove_acl_configuration(removes("AclConfiguration"))
        .build())
}

fn to_managed_updates(
    current: &QueryObject,
    desired: &QueryObject,
) -> Result<athena::ManagedQueryResultsConfigurationUpdates, BuildError> {
    let path = "Configuration.ManagedQueryResultsConfiguration";
    let next = desired.field(path);
    let encryption = next.map(managed_encryption).transpose()?.flatten();
    let had_key = current
        .field(&format!("{path}.EncryptionConfiguration"))
        .is_some();
    Ok(athena::ManagedQueryResultsConfigurationUpdates::builder()
        .enabled(flag(next, "Enabled"))
        .set_remove_encryption_configuration((had_key && encryption.is_none()).then_some(true))
        .set_encryption_configuration(encryption)
        .build())
}
