//! Objects in the secondary's buckets.

use crate::calls::{Counted, Service};
use crate::fault;
use twinlake_core::ledger::Replica;
use twinlake_core::{Fault, Timestamp};
use twinlake_engine::ports::Replicas;

/// `HeadObject` in a Region.
#[derive(Clone, Debug)]
pub struct S3Replicas {
    region: String,
    client: aws_sdk_s3::Client,
}

impl S3Replicas {
    /// The buckets of a Region.
    pub async fn connect(region: &str) -> Self {
        Self {
            region: region.to_owned(),
            client: aws_sdk_s3::Client::from_conf(
                aws_sdk_s3::config::Builder::from(&crate::sdk_config(region).await)
                    .interceptor(Counted(Service::S3))
                    .build(),
            ),
        }
    }

    /// When the object, or the version of it, was last changed, if it is there.
    async fn changed(
        &self,
        replica: &Replica,
        version: Option<&str>,
    ) -> Result<Option<Timestamp>, Fault> {
        let call = self
            .client
            .head_object()
            .bucket(&replica.bucket)
            .key(&replica.key)
            .set_version_id(version.map(str::to_owned));
        match call.send().await {
            Ok(found) => {
                let secs = found.last_modified.map(|at| at.secs()).unwrap_or_default();
                Ok(Some(Timestamp::from_secs(secs)))
            }
            // An answer to HEAD has no body, so only the status says what is wrong.
            Err(error) => {
                let status = error.raw_response().map(|raw| raw.status().as_u16());
                match status {
                    Some(404) => Ok(None),
                    // A version id that is none of this bucket's.
                    Some(400) if version.is_some() => Ok(None),
                    Some(403) => Err(fault::of_code(
                        "HeadObject",
                        &self.region,
                        "AccessDenied",
                        "the answer is 403",
                    )),
                    _ => Err(fault::of("HeadObject", &self.region, &error)),
                }
            }
        }
    }
}

impl Replicas for S3Replicas {
    async fn has_arrived(&self, replica: &Replica) -> Result<bool, Fault> {
        let version = replica.version.as_deref();
        if version.is_some() && self.changed(replica, version).await?.is_some() {
            return Ok(true);
        }
        let newest = self.changed(replica, None).await?;
        Ok(newest.is_some_and(|at| is_as_new(at, replica)))
    }
}

/// Whether what was last changed then is the object, or a newer one: a replica keeps the time
/// of its source. Times of S3 are of whole seconds.
fn is_as_new(changed: Timestamp, replica: &Replica) -> bool {
    changed.secs() >= replica.made.secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_version_of_an_object_is_not_the_one_that_is_missing() {
        let replica = Replica {
            bucket: "b".to_owned(),
            key: "k".to_owned(),
            version: None,
            made: Timestamp(10_500),
        };
        let is_there = |secs| is_as_new(Timestamp::from_secs(secs), &replica);
        assert!(!is_there(9) && is_there(10) && is_there(11));
    }
}
