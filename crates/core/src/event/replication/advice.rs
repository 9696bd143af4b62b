//! What to do about each reason that S3 gives for a failed replication.
//!
//! The reasons are those of the S3 user guide's page on replication metrics and events. The
//! list is open: AWS adds to it, and an unknown one is advised on by its words.

/// Afterwards, since S3 never tries again what has FAILED.
const COPY: &str = "then copy what failed with S3 Batch Replication";

/// Whether an object that failed for a reason is never copied by itself nor by a batch job.
pub(super) fn is_final(reason: &str) -> bool {
    known(reason).is_some_and(|todo| todo.ends_with('.'))
}

/// What to do about a reason.
pub(super) fn on(reason: &str) -> String {
    let by_name = known(reason).map(str::to_owned);
    let todo = by_name.unwrap_or_else(|| by_words(reason));
    match todo.strip_suffix('.') {
        Some(whole) => format!("{whole}."),
        None => format!("{todo}, {COPY}."),
    }
}

/// The documented reasons, with what to do. What ends in a full stop needs no copy afterwards.
const KNOWN: &[(&[&str], &str)] = &[
    (
        &["AssumeRoleNotPermitted"],
        "Let S3 (s3.amazonaws.com) assume the replication role in its trust policy",
    ),
    (
        &["InitiateReplicationNotPermitted"],
        "Give the replication role s3:InitiateReplication on the source objects",
    ),
    (
        &["SrcReplicationNotPending"],
        "Nothing is pending for these versions: compare them with their replicas.",
    ),
    (
        &["SrcBucketReplicationConfigMissing"],
        "Put the replication configuration back on the source bucket",
    ),
    (
        &["SrcBucketInvalidRegion", "DstBucketInvalidRegion"],
        "Name buckets of the right Regions in the replication rule or the batch job",
    ),
    (
        &["SrcBucketNotFound"],
        "Name a source bucket that exists in the rule or the batch job",
    ),
    (
        &["SrcKeyNotFound", "SrcObjectNotFound", "SrcVersionNotFound"],
        "The source object was deleted before it was copied: nothing, unless it is missed.",
    ),
    (
        &["SrcObjectNotEligible"],
        "The object is one that S3 does not replicate: copy it yourself if it is needed.",
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
        "Enable the source objects' KMS key again",
    ),
    (
        &["DstBucketNotFound"],
        "Make the destination bucket, or name the right one in the rule",
    ),
    (
        &["DstBucketObjectLockConfigMissing"],
        "Turn Object Lock on for the destination bucket, as it is for the source",
    ),
    (
        &["DstBucketUnversioned"],
        "Turn versioning on for the destination bucket",
    ),
    (
        &["DstObjectHardDeleted"],
        "The replica's version was deleted on purpose: upload the object again if it is needed.",
    ),
    (
        &["DstVersionNotFound"],
        "The replica that was to be changed is gone: upload the source object again.",
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
        "Enable the KMS key of the replicas again",
    ),
    (
        &["DstKmsKeyNotFound"],
        "Name a KMS key of the destination's Region as ReplicaKmsKeyID in the rule",
    ),
    (
        &["SrcAnnotationNotFound"],
        "The source object's annotation was deleted: nothing, unless it is missed.",
    ),
    (
        &["SrcGetObjectAnnotationNotPermitted"],
        "Let the replication role read the source objects' annotations",
    ),
    (
        &["DstPutObjectAnnotationNotPermitted"],
        "Let the replication role write annotations in the destination bucket",
    ),
    (
        &["SrcAnnotationEncryptionUnsupported"],
        "Encrypt the annotation in a way that S3 replicates",
    ),
    (
        &["AnnotationLimitExceeded"],
        "Remove annotations that are over the limit",
    ),
];

fn known(reason: &str) -> Option<&'static str> {
    let mut known = KNOWN.iter();
    let found = known.find(|(reasons, _)| reasons.contains(&reason));
    found.map(|(_, todo)| *todo)
}

/// What the words of an unknown reason say.
fn by_words(reason: &str) -> String {
    let is = |part: &str| reason.contains(part);
    let side = match reason.starts_with("Dst") {
        true => "destination",
        false => "source",
    };
    if is("Kms") {
        format!("Look at the KMS key on the {side}'s side and the role's rights to it")
    } else if is("NotPermitted") {
        format!("Give the replication role the right on the {side} that the reason names")
    } else if reason.starts_with("Dst") {
        "Mend the destination as the reason says".to_owned()
    } else {
        "Mend what the reason names".to_owned()
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
    fn every_documented_reason_has_advice_of_its_own() {
        assert_eq!(DOCUMENTED.split_whitespace().count(), 39);
        for reason in DOCUMENTED.split_whitespace() {
            assert!(known(reason).is_some(), "{reason}");
        }
    }

    #[test]
    fn an_unknown_reason_is_advised_on_by_its_words() {
        assert_eq!(
            on("DstQuantumKmsKeyLost"),
            "Look at the KMS key on the destination's side and the role's rights to it, then \
             copy what failed with S3 Batch Replication."
        );
        assert!(on("no reason given").starts_with("Mend what the reason names"));
        assert!(on("SrcObjectNotFound").ends_with("unless it is missed."));
    }
}
