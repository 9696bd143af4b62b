//! Checks whether objects have arrived in the standby's buckets.

use crate::call_error;
use crate::clients::Clients;
use twinlake_core::ledger::ExpectedReplica;
use twinlake_core::{CallError, Timestamp};
use twinlake_engine::ports::StandbyObjects;

/// Reads objects of a Region with `HeadObject`.
#[derive(Clone, Debug)]
pub struct S3Replicas {
    region: String,
    client: aws_sdk_s3::Client,
}

impl S3Replicas {
    /// The objects of a Region.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            region: clients.region().to_owned(),
            client: clients.s3(),
        }
    }

    /// The last-modified time of an object, or of one version of it; `None` if it does not exist.
    async fn last_modified_of(
        &self,
        replica: &ExpectedReplica,
        version: Option<&str>,
    ) -> Result<Option<Timestamp>, CallError> {
        let call = self
            .client
            .head_object()
            .bucket(&replica.bucket)
            .key(&replica.key)
            .set_version_id(version.map(str::to_owned));
        match call.send().await {
            Ok(found) => {
                let secs = found
                    .last_modified
                    .map(|time| time.secs())
                    .unwrap_or_default();
                Ok(Some(Timestamp::from_secs(secs)))
            }
            // A response to HEAD has no body, so only the status code identifies the error.
            Err(error) => {
                let status = error.raw_response().map(|raw| raw.status().as_u16());
                match status {
                    Some(404) => Ok(None),
                    // The version id was not issued by this bucket.
                    Some(400) if version.is_some() => Ok(None),
                    Some(403) => Err(call_error::from_code(
                        "HeadObject",
                        &self.region,
                        "AccessDenied",
                        "HeadObject returned status 403",
                    )),
                    _ => Err(call_error::from_sdk("HeadObject", &self.region, &error)),
                }
            }
        }
    }
}

impl StandbyObjects for S3Replicas {
    async fn has_arrived(&self, replica: &ExpectedReplica) -> Result<bool, CallError> {
        let version = replica.version.as_deref();
        if version.is_some() && self.last_modified_of(replica, version).await?.is_some() {
            return Ok(true);
        }
        let newest = self.last_modified_of(replica, None).await?;
        Ok(newest.is_some_and(|modified| is_same_or_newer(modified, replica)))
    }
}

/// Whether an object with this last-modified time is the expected replica or a newer object: a
/// replica keeps the time of its source object. S3 times are whole seconds.
fn is_same_or_newer(last_modified: Timestamp, replica: &ExpectedReplica) -> bool {
    last_modified.secs() >= replica.created_at.secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_older_than_the_source_is_not_the_missing_replica() {
        let replica = ExpectedReplica {
            bucket: "b".to_owned(),
            key: "k".to_owned(),
            version: None,
            created_at: Timestamp::from_millis(10_500),
        };
        let has_arrived = |secs| is_same_or_newer(Timestamp::from_secs(secs), &replica);
        assert!(!has_arrived(9) && has_arrived(10) && has_arrived(11));
    }
}
