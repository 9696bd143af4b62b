//! The judgement of a canary in the destination bucket.

use super::{Canary, CanaryProblem};
use crate::arn::Arn;
use crate::readiness::ObjectEncryption;
use crate::timestamp::Timestamp;

/// `ReplicationStatus` of a replica.
const REPLICA: &str = "REPLICA";

/// The metadata of a canary in the destination bucket, as `HeadObject` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryObject {
    /// `LastModified`: a replica has that of its source.
    pub created_at: Timestamp,
    /// When the canary was written, as its metadata says; `None` if it does not.
    pub written_at: Option<Timestamp>,
    /// `ReplicationStatus`.
    pub replication_status: Option<String>,
    /// How it is encrypted.
    pub encryption: ObjectEncryption,
}

/// Judges the newest version of a canary in the destination bucket: when it was written, if it is a replica
/// with the right key.
///
/// # Errors
/// Why it proves nothing.
pub fn judge(
    canary: &Canary,
    object: Option<&CanaryObject>,
    now: Timestamp,
) -> Result<Timestamp, CanaryProblem> {
    let object = object.ok_or(CanaryProblem::Absent)?;
    if object.replication_status.as_deref() != Some(REPLICA) {
        return Err(CanaryProblem::NotReplica(object.replication_status.clone()));
    }
    match (&canary.replica_key, &object.encryption) {
        (None, ObjectEncryption::S3) => {}
        (Some(expected), ObjectEncryption::Kms(Some(found))) if is_same_key(expected, found) => {}
        (Some(_), ObjectEncryption::S3) => return Err(CanaryProblem::OtherKey(None)),
        (_, ObjectEncryption::Kms(found)) => {
            let found = found.clone().unwrap_or_else(|| "aws/s3".to_owned());
            return Err(CanaryProblem::OtherKey(Some(found)));
        }
    }
    // Whoever wrote the metadata cannot make a canary newer than S3 and the clock say.
    let written_at = object.written_at.unwrap_or(object.created_at);
    Ok(written_at.min(object.created_at.plus_secs(1)).min(now))
}

/// Whether the KMS key of a replica is the one that a rule names. An alias may stand for any key of its
/// Region and account.
pub(super) fn is_same_key(expected: &str, found: &str) -> bool {
    let (Some(expected_arn), Some(found_arn)) = (Arn::parse(expected), Arn::parse(found)) else {
        // S3 reports ARNs; a rule may name the ID of a key or an alias.
        let id = expected.strip_prefix("key/").unwrap_or(expected);
        return expected.starts_with("alias/") || found.rsplit('/').next() == Some(id);
    };
    match expected_arn.resource.starts_with("alias/") {
        true => {
            expected_arn.region == found_arn.region && expected_arn.account == found_arn.account
        }
        false => expected == found,
    }
}
