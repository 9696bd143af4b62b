//! The action for each failure reason of S3 replication.
//!
//! The reasons are those of the S3 user guide's page on replication metrics and events. AWS may
//! add reasons: the action for an unknown one is chosen by keywords in its name.

/// The second part of most actions: S3 never retries a replication with status FAILED.
const COPY_FAILED_OBJECTS: &str = "then copy the failed objects with S3 Batch Replication";

/// Whether an object that failed for this reason can be replicated neither by S3 nor by S3 Batch
/// Replication.
pub(super) fn is_permanent(reason: &str) -> bool {
    documented_action(reason).is_some_and(|action| action.ends_with('.'))
}

/// Returns the action for a failure reason, as one sentence.
pub(super) fn action_for(reason: &str) -> String {
    let by_name = documented_action(reason).map(str::to_owned);
    let action = by_name.unwrap_or_else(|| action_by_keywords(reason));
    match action.strip_suffix('.') {
        Some(complete) => format!("{complete}."),
        None => format!("{action}, {COPY_FAILED_OBJECTS}."),
    }
}

/// The documented reasons and their actions. An action that ends with a full stop is complete; to
/// the others, [`COPY_FAILED_OBJECTS`] is appended.
const DOCUMENTED_ACTIONS: &[(&[&str], &str)] = &[
    (
        &["AssumeRoleNotPermitted"],
        "Allow s3.amazonaws.com to assume the replication role, in the role's trust policy",
    ),
    (
        &["InitiateReplicationNotPermitted"],
        "Give the replication role s3:InitiateReplication on the source objects",
    ),
    (
        &["SrcReplicationNotPending"],
        "No replication is pending for these versions: compare them with their replicas.",
    ),
    (
        &["SrcBucketReplicationConfigMissing"],
        "Restore the replication configuration of the source bucket",
    ),
    (
        &["SrcBucketInvalidRegion", "DstBucketInvalidRegion"],
        "Correct the Region of the bucket in the replication rule or the batch job",
    ),
    (
        &["SrcBucketNotFound"],
        "Correct the source bucket in the replication rule or the batch job",
    ),
    (
        &["SrcKeyNotFound", "SrcObjectNotFound", "SrcVersionNotFound"],
        "The source object was deleted before S3 replicated it: no action, unless it is needed.",
    ),
    (
        &["SrcObjectNotEligible"],
        "S3 does not replicate this kind of object: copy it with another tool if it is needed.",
    ),
    (
        &["SrcGetAclNotPermitted"],
        "Give the replication role s3:GetObjectVersionAcl on the source objects",
    ),
    (
        &["SrcGetLegalHoldNotPermitted"],
        "Give the replication role s3:GetObjectLegalHold on the source objects",
    ),
    (
        &["SrcGetObjectNotPermitted", "SrcHeadObjectNotPermitted"],
        "Give the replication role s3:GetObjectVersionForReplication on the source objects, \
             and kms:Decrypt on their key",
    ),
    (
        &["SrcGetRetentionNotPermitted"],
        "Give the replication role s3:GetObjectRetention on the source objects",
    ),
    (
        &["SrcGetTaggingNotPermitted"],
        "Give the replication role s3:GetObjectVersionTagging on the source objects",
    ),
    (
        &["SrcKmsKeyInvalidState"],
        "Enable the KMS key of the source objects",
    ),
    (
        &["DstBucketNotFound"],
        "Create the destination bucket, or correct its name in the replication rule",
    ),
    (
        &["DstBucketObjectLockConfigMissing"],
        "Enable Object Lock on the destination bucket, as on the source bucket",
    ),
    (
        &["DstBucketUnversioned"],
        "Enable versioning on the destination bucket",
    ),
    (
        &["DstObjectHardDeleted"],
        "The version of the replica was deleted permanently: upload the object again if it is needed.",
    ),
    (
        &["DstVersionNotFound"],
        "The replica to be changed does not exist: upload the source object again.",
    ),
    (
        &["DstDelObjNotPermitted"],
        "Give the replication role s3:ReplicateDelete on the destination bucket",
    ),
    (
        &[
            "DstMultipartCompleteNotPermitted",
            "DstMultipartInitNotPermitted",
            "DstMultipartUploadNotPermitted",
            "DstPutObjectNotPermitted",
        ],
        "Give the replication role s3:ReplicateObject on the destination bucket, and \
             kms:Encrypt on the replicas' key",
    ),
    (
        &["DstPutAclNotPermitted"],
        "Give the replication role s3:ReplicateObject and s3:ObjectOwnerOverrideToBucketOwner \
             on the destination bucket",
    ),
    (
        &["DstPutLegalHoldNotPermitted"],
        "Give the replication role s3:PutObjectLegalHold on the destination bucket",
    ),
    (
        &["DstPutRetentionNotPermitted"],
        "Give the replication role s3:PutObjectRetention on the destination bucket",
    ),
    (
        &["DstPutTaggingNotPermitted"],
        "Give the replication role s3:ReplicateTags on the destination bucket",
    ),
    (
        &["DstKmsKeyInvalidState"],
        "Enable the KMS key of the replicas",
    ),
    (
        &["DstKmsKeyNotFound"],
        "Set ReplicaKmsKeyID in the replication rule to a KMS key of the destination's Region",
    ),
    (
        &["SrcAnnotationNotFound"],
        "The annotation of the source object was deleted: no action, unless it is needed.",
    ),
    (
        &["SrcGetObjectAnnotationNotPermitted"],
        "Allow the replication role to read the annotations of the source objects",
    ),
    (
        &["DstPutObjectAnnotationNotPermitted"],
        "Allow the replication role to write annotations in the destination bucket",
    ),
    (
        &["SrcAnnotationEncryptionUnsupported"],
        "Encrypt the annotation with a method that S3 can replicate",
    ),
    (
        &["AnnotationLimitExceeded"],
        "Remove annotations of the object until it is within the limit",
    ),
];

fn documented_action(reason: &str) -> Option<&'static str> {
    let mut actions = DOCUMENTED_ACTIONS.iter();
    let found = actions.find(|(reasons, _)| reasons.contains(&reason));
    found.map(|(_, action)| *action)
}

/// Returns the action for an unknown reason, by keywords in it.
fn action_by_keywords(reason: &str) -> String {
    let contains = |part: &str| reason.contains(part);
    let side = match reason.starts_with("Dst") {
        true => "destination",
        false => "source",
    };
    if contains("Kms") {
        format!("Check the KMS key of the {side}, and the replication role's permissions on it")
    } else if contains("NotPermitted") {
        format!("Give the replication role the permission on the {side} that the reason names")
    } else if reason.starts_with("Dst") {
        "Correct the destination bucket or its objects, as the reason says".to_owned()
    } else {
        "Correct the cause that the reason names".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reason that AWS documents.
    const DOCUMENTED: &str = "AssumeRoleNotPermitted InitiateReplicationNotPermitted \
        SrcReplicationNotPending SrcBucketReplicationConfigMissing SrcBucketInvalidRegion \
        SrcBucketNotFound SrcKeyNotFound SrcObjectNotEligible SrcObjectNotFound \
        SrcVersionNotFound SrcGetAclNotPermitted SrcGetLegalHoldNotPermitted \
        SrcGetObjectNotPermitted SrcGetRetentionNotPermitted SrcGetTaggingNotPermitted \
        SrcHeadObjectNotPermitted SrcKmsKeyInvalidState DstBucketInvalidRegion DstBucketNotFound \
        DstBucketObjectLockConfigMissing DstBucketUnversioned DstObjectHardDeleted \
        DstVersionNotFound DstDelObjNotPermitted DstMultipartCompleteNotPermitted \
        DstMultipartInitNotPermitted DstMultipartUploadNotPermitted DstPutAclNotPermitted \
        DstPutLegalHoldNotPermitted DstPutObjectNotPermitted DstPutRetentionNotPermitted \
        DstPutTaggingNotPermitted DstKmsKeyInvalidState DstKmsKeyNotFound SrcAnnotationNotFound \
        SrcGetObjectAnnotationNotPermitted DstPutObjectAnnotationNotPermitted \
        SrcAnnotationEncryptionUnsupported AnnotationLimitExceeded";

    #[test]
    fn every_documented_reason_has_its_own_action() {
        assert_eq!(DOCUMENTED.split_whitespace().count(), 39);
        for reason in DOCUMENTED.split_whitespace() {
            assert!(documented_action(reason).is_some(), "{reason}");
        }
    }

    #[test]
    fn the_action_for_an_unknown_reason_is_chosen_by_keywords() {
        assert_eq!(
            action_for("DstQuantumKmsKeyLost"),
            "Check the KMS key of the destination, and the replication role's permissions on it, \
             then copy the failed objects with S3 Batch Replication."
        );
        assert!(
            action_for("no reason given").starts_with("Correct the cause that the reason names")
        );
        assert!(action_for("SrcObjectNotFound").ends_with("unless it is needed."));
    }
}
