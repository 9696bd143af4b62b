//! Security configurations. A mode that is not set equals the one that encrypts nothing.

use super::{as_value, entries, fields, text, timestamp, unless_default};
use aws_sdk_glue::types as glue;
use serde_json::{Value, json};
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};

/// The mode that encrypts nothing.
const DISABLED: &str = "DISABLED";

pub(in crate::glue_tools) fn from_security_configuration(
    found: &glue::SecurityConfiguration,
) -> QueryObject {
    let encryption = found.encryption_configuration.as_ref();
    let object = json!({"EncryptionConfiguration": encryption.map(encryption_to_json)});
    let name = found.name.as_deref().unwrap_or_default();
    let key = ObjectKey::new(QueryKind::SecurityConfiguration, name);
    QueryObject {
        created: timestamp(found.created_time_stamp.as_ref()),
        ..QueryObject::normalized(key, fields(object))
    }
}

fn encryption_to_json(found: &glue::EncryptionConfiguration) -> Value {
    let mode = |mode: Option<&str>| unless_default(mode, DISABLED).map(str::to_owned);
    let s3 = found.s3_encryption.as_ref();
    json!({
        "S3Encryption": s3.map(|all| all.iter().map(|one| json!({
            "S3EncryptionMode": mode(one.s3_encryption_mode.as_ref().map(|one| one.as_str())),
            "KmsKeyArn": one.kms_key_arn})).collect::<Value>()),
        "CloudWatchEncryption": found.cloud_watch_encryption.as_ref().map(|one| json!({
            "CloudWatchEncryptionMode":
                mode(one.cloud_watch_encryption_mode.as_ref().map(|one| one.as_str())),
            "KmsKeyArn": one.kms_key_arn})),
        "JobBookmarksEncryption": found.job_bookmarks_encryption.as_ref().map(|one| json!({
            "JobBookmarksEncryptionMode":
                mode(one.job_bookmarks_encryption_mode.as_ref().map(|one| one.as_str())),
            "KmsKeyArn": one.kms_key_arn})),
        "DataQualityEncryption": found.data_quality_encryption.as_ref().map(|one| json!({
            "DataQualityEncryptionMode":
                mode(one.data_quality_encryption_mode.as_ref().map(|one| one.as_str())),
            "KmsKeyArn": one.kms_key_arn})),
    })
}

/// What a creation takes. As the console does, it names the mode of each part; that of data quality only if it is set,
/// since Glue knew the other three first.
pub(in crate::glue_tools) fn to_encryption_configuration(
    object: &QueryObject,
) -> glue::EncryptionConfiguration {
    let value = as_value(&object.fields);
    let none = Value::Null;
    let value = value.get("EncryptionConfiguration").unwrap_or(&none);
    let part = |name: &str| value.get(name).unwrap_or(&none);
    let s3 = entries(value, "S3Encryption", to_s3_encryption);
    let cloud_watch = part("CloudWatchEncryption");
    let bookmarks = part("JobBookmarksEncryption");
    let data_quality = value.get("DataQualityEncryption").map(|one| {
        glue::DataQualityEncryption::builder()
            .data_quality_encryption_mode(mode(one, "DataQualityEncryptionMode").as_str().into())
            .set_kms_key_arn(text(one, "KmsKeyArn"))
            .build()
    });
    glue::EncryptionConfiguration::builder()
        .set_s3_encryption(s3.or_else(|| Some(vec![to_s3_encryption(&none)])))
        .cloud_watch_encryption(
            glue::CloudWatchEncryption::builder()
                .cloud_watch_encryption_mode(
                    mode(cloud_watch, "CloudWatchEncryptionMode")
                        .as_str()
                        .into(),
                )
                .set_kms_key_arn(text(cloud_watch, "KmsKeyArn"))
                .build(),
        )
        .job_bookmarks_encryption(
            glue::JobBookmarksEncryption::builder()
                .job_bookmarks_encryption_mode(
                    mode(bookmarks, "JobBookmarksEncryptionMode")
                        .as_str()
                        .into(),
                )
                .set_kms_key_arn(text(bookmarks, "KmsKeyArn"))
                .build(),
        )
        .set_data_quality_encryption(data_quality)
        .build()
}

fn to_s3_encryption(one: &Value) -> glue::S3Encryption {
    glue::S3Encryption::builder()
        .s3_encryption_mode(mode(one, "S3EncryptionMode").as_str().into())
        .set_kms_key_arn(text(one, "KmsKeyArn"))
        .build()
}

fn mode(value: &Value, name: &str) -> String {
    text(value, name).unwrap_or_else(|| DISABLED.to_owned())
}
