use super::*;

/// A security configuration in which every field is set.
fn full() -> QueryObject {
    let key = |name: &str| format!("arn:aws:kms:us-east-1:111122223333:key/{name}");
    let content = json!({"EncryptionConfiguration": {
        "S3Encryption": [{"S3EncryptionMode": "SSE-KMS", "KmsKeyArn": key("s3")}],
        "CloudWatchEncryption": {
            "CloudWatchEncryptionMode": "SSE-KMS", "KmsKeyArn": key("logs")},
        "JobBookmarksEncryption": {
            "JobBookmarksEncryptionMode": "CSE-KMS", "KmsKeyArn": key("bookmarks")},
        "DataQualityEncryption": {
            "DataQualityEncryptionMode": "SSE-KMS", "KmsKeyArn": key("quality")}}});
    object(QueryKind::SecurityConfiguration, content)
}

/// The object as it is read after its creation.
fn written(object: &QueryObject) -> QueryObject {
    let found = glue::SecurityConfiguration::builder()
        .name("x")
        .encryption_configuration(to_encryption_configuration(object))
        .build();
    from_security_configuration(&found)
}

#[test]
fn every_field_of_security_configurations_round_trips() {
    let full = full();
    assert_eq!(written(&full), full);
    let parts = without_each(&full);
    assert_eq!(parts.len(), 8);
    for (path, part) in parts {
        assert_eq!(written(&part), part, "{path}");
    }
}

#[test]
fn a_part_that_encrypts_nothing_equals_an_unset_one_and_is_named() {
    let bare = object(QueryKind::SecurityConfiguration, json!({}));
    assert_eq!(written(&bare), bare);
    let input = to_encryption_configuration(&bare);
    let s3 = &input.s3_encryption()[0];
    assert_eq!(s3.s3_encryption_mode().unwrap().as_str(), "DISABLED");
    let logs = input.cloud_watch_encryption().unwrap();
    let mode = logs.cloud_watch_encryption_mode().unwrap();
    assert_eq!(mode.as_str(), "DISABLED");
    let bookmarks = input.job_bookmarks_encryption().unwrap();
    let mode = bookmarks.job_bookmarks_encryption_mode().unwrap();
    assert_eq!(mode.as_str(), "DISABLED");
    assert!(input.data_quality_encryption().is_none());
}

#[test]
fn the_time_of_a_creation_is_read() {
    let found = glue::SecurityConfiguration::builder()
        .name("x")
        .created_time_stamp(aws_smithy_types::DateTime::from_millis(1500))
        .build();
    let created = from_security_configuration(&found).created;
    assert_eq!(created, Some(Timestamp::from_millis(1500)));
}

#[test]
fn every_field_of_security_configurations_is_known() {
    use aws_sdk_glue::operation::create_security_configuration::CreateSecurityConfigurationInput;
    let create = CreateSecurityConfigurationInput::builder();
    assert_known(&[
        (
            debug(&glue::SecurityConfiguration::builder().build()),
            "name created_time_stamp encryption_configuration",
        ),
        (
            debug(&create.build().unwrap()),
            "name encryption_configuration",
        ),
        (
            debug(&glue::EncryptionConfiguration::builder().build()),
            "s3_encryption cloud_watch_encryption job_bookmarks_encryption data_quality_encryption",
        ),
        (
            debug(&glue::S3Encryption::builder().build()),
            "s3_encryption_mode kms_key_arn",
        ),
        (
            debug(&glue::CloudWatchEncryption::builder().build()),
            "cloud_watch_encryption_mode kms_key_arn",
        ),
        (
            debug(&glue::JobBookmarksEncryption::builder().build()),
            "job_bookmarks_encryption_mode kms_key_arn",
        ),
        (
            debug(&glue::DataQualityEncryption::builder().build()),
            "data_quality_encryption_mode kms_key_arn",
        ),
    ]);
}
