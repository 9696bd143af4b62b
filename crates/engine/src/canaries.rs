//! Sends canaries from the buckets of the local Region, and looks for those of its peer there.
//!
//! Both Regions do so, whichever is primary: the way back is needed after a takeover. What a step cannot
//! do is part of the result, and holds back nothing else. A run is repeated after
//! [`INTERVAL_SECS`](twinlake_core::canary::INTERVAL_SECS), and two runs at once do no harm.

use crate::alerts::{CANARY_BUCKET_PREFIX, CheckedSubjects};
use crate::ports::{CanaryBuckets, Clock, StatsStore};
use futures_util::StreamExt as _;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::canary::{
    self, Canary, CanaryObject, CanaryPlan, CanaryProblem, CanaryState, CanaryVersion,
    ReceivedCanaries, ReceivedCanary, SentCanaries, UnprovenReplication, expired_versions, judge,
    newest_version,
};
use twinlake_core::topology::SiteId;
use twinlake_core::{Alert, AlertKind, CallError, CallErrorKind, Policy, Timestamp};

/// Calls to S3 under way at a time.
const MAX_CONCURRENT_CALLS: usize = 8;

/// With this many versions of a canary left after old ones were deleted, no further one is written.
const MAX_KEPT_VERSIONS: usize = 1000;

/// One run in a Region.
#[derive(Clone, Copy, Debug)]
pub struct CanaryRun<'a, L, B, C> {
    /// The ledger of the local Region.
    pub ledger: &'a L,
    /// The ledger of its peer, which is only read.
    pub peer_ledger: &'a L,
    /// The buckets of the local Region.
    pub buckets: &'a B,
    /// The clock.
    pub clock: &'a C,
    /// The policy.
    pub policy: &'a Policy,
    /// The site of the local Region.
    pub site: SiteId,
    /// Whether the Region may write: a fenced one only looks.
    pub may_write: bool,
    /// No canary is begun after this time.
    pub stop_at: Timestamp,
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct CanaryReport {
    /// What was stored in the ledger.
    pub state: CanaryState,
    /// The buckets in which a call was denied, with the first error.
    pub denied: BTreeMap<String, CallError>,
    /// The buckets in which no call failed.
    pub without_errors: BTreeSet<String>,
}

/// The buckets that a run called, each with its last error; a denial stays.
#[derive(Default)]
struct BucketErrors(BTreeMap<String, Option<CallError>>);

impl BucketErrors {
    fn add(&mut self, bucket: &str, error: Option<CallError>) {
        let known = self.0.entry(bucket.to_owned()).or_default();
        // A denial lasts until somebody ends it, so it counts before other errors.
        let is_denial = |error: &CallError| error.kind == CallErrorKind::Denied;
        if known.as_ref().is_none_or(|known| !is_denial(known)) && error.is_some() {
            *known = error;
        }
    }
}

impl<L: StatsStore, B: CanaryBuckets, C: Clock> CanaryRun<'_, L, B, C> {
    /// Sends the canaries of the local Region, looks for those of its peer, and stores the result.
    ///
    /// # Errors
    /// The local ledger is out of reach. What fails in S3 or in the peer's ledger is part of the result.
    pub async fn run(&self) -> Result<CanaryReport, CallError> {
        let earlier = self.ledger.canaries().await?.unwrap_or_default();
        let mut errors = BucketErrors::default();
        let sent = self.send_all(earlier.sent, &mut errors).await;
        let peer = self
            .peer_ledger
            .canaries()
            .await
            .map_err(|error| error.to_string());
        let (list, confirmed) = match peer {
            Ok(peer) => {
                let peer = peer.unwrap_or_default();
                (Ok(peer.sent), peer.received)
            }
            Err(error) => (Err(error), earlier.confirmed),
        };
        let received = self.look_for_all(earlier.received, list, &mut errors).await;
        let state = CanaryState {
            sent,
            received,
            confirmed,
        };
        self.ledger.put_canaries(&state).await?;
        let mut report = CanaryReport {
            state,
            ..CanaryReport::default()
        };
        for (bucket, error) in errors.0 {
            match error {
                None => drop(report.without_errors.insert(bucket)),
                Some(error) if error.kind == CallErrorKind::Denied => {
                    report.denied.insert(bucket, error);
                }
                Some(_) => {}
            }
        }
        Ok(report)
    }

    async fn send_all(&self, earlier: SentCanaries, errors: &mut BucketErrors) -> SentCanaries {
        let at = self.clock.now();
        let plan = self.plan(&earlier, errors).await;
        if !self.may_write {
            return unsent_while_fenced(plan, at);
        }
        let sending = plan.canaries.iter().map(async |canary| {
            let sent = self.send(canary).await;
            (canary, sent.err())
        });
        let mut failures = BTreeMap::new();
        for (canary, error) in run_concurrently(sending).await {
            if let Some(error) = &error {
                failures.insert(canary.key.clone(), error.to_string());
            }
            errors.add(&canary.bucket, error);
        }
        SentCanaries {
            at,
            canaries: plan.canaries,
            unproven: plan.unproven,
            failures,
            is_fenced: false,
        }
    }

    /// The canaries of the Region's buckets. While the rules or the default encryption of a bucket cannot be
    /// read, its earlier canaries are sent.
    async fn plan(&self, earlier: &SentCanaries, errors: &mut BucketErrors) -> CanaryPlan {
        let mut plans = Vec::new();
        for route in canary::routes(self.policy, self.site) {
            let rules = self.buckets.replication_rules(&route.bucket).await;
            let encryption = self.buckets.default_encryption(&route.bucket).await;
            let error = rules.as_ref().err().or(encryption.as_ref().err()).cloned();
            let is_unread = error.is_some();
            errors.add(&route.bucket, error);
            let mut plan = canary::plan(&route, &rules.into(), &encryption.into());
            if is_unread {
                let of_route = earlier.canaries.iter().filter(|canary| {
                    canary.bucket == route.bucket && canary.destination == route.destination
                });
                plan.canaries.extend(of_route.cloned());
            }
            plans.push(plan);
        }
        CanaryPlan::join(plans)
    }

    /// Deletes old versions of a canary, and writes a new one.
    async fn send(&self, canary: &Canary) -> Result<(), CallError> {
        self.check_time()?;
        let (bucket, key) = (&canary.bucket, &canary.key);
        let versions = self.buckets.versions(bucket, key).await?;
        let (deleted, deletion) = self.delete_expired(bucket, key, &versions).await;
        let kept = versions.len() - deleted;
        if kept >= MAX_KEPT_VERSIONS {
            let reason = format!("{kept} versions of it are there and are not deleted");
            let error = self.error(CallErrorKind::Invalid, reason);
            return Err(deletion.err().unwrap_or(error));
        }
        self.buckets.put(canary, self.clock.now()).await?;
        deletion
    }

    async fn look_for_all(
        &self,
        earlier: ReceivedCanaries,
        list: Result<SentCanaries, String>,
        errors: &mut BucketErrors,
    ) -> ReceivedCanaries {
        let routes = canary::routes(self.policy, self.site.other());
        let mut received = earlier.with_expected(list, &routes, self.clock.now());
        let looks = received.canaries.iter().map(async |known| {
            let (seen, error) = self.look_for(known).await;
            (seen, error, self.clock.now())
        });
        let seen = run_concurrently(looks).await;
        for (known, (seen, error, at)) in received.canaries.iter_mut().zip(seen) {
            errors.add(&known.canary.destination, error);
            known.record(seen, at);
        }
        received
    }

    /// Looks for the newest version of a canary, and deletes old ones. Returns when it was written or
    /// what is wrong with it, and the error of a call.
    async fn look_for(
        &self,
        known: &ReceivedCanary,
    ) -> (Result<Timestamp, CanaryProblem>, Option<CallError>) {
        let (bucket, key) = (&known.canary.destination, &known.canary.key);
        let (versions, object) = match self.read_newest(bucket, key).await {
            Ok(read) => read,
            Err(error) => {
                return (Err(CanaryProblem::Unread(error.to_string())), Some(error));
            }
        };
        let seen = judge(&known.canary, object.as_ref(), self.clock.now());
        let deletion = match self.may_write {
            true => self.delete_expired(bucket, key, &versions).await.1,
            false => Ok(()),
        };
        (seen, deletion.err())
    }

    /// All versions of a canary, and the metadata of the newest one.
    async fn read_newest(
        &self,
        bucket: &str,
        key: &str,
    ) -> Result<(Vec<CanaryVersion>, Option<CanaryObject>), CallError> {
        self.check_time()?;
        let versions = self.buckets.versions(bucket, key).await?;
        let object = match newest_version(&versions) {
            Some(newest) => self.buckets.object(bucket, key, &newest.version_id).await?,
            None => None,
        };
        Ok((versions, object))
    }

    /// Deletes old versions of a canary. Returns the number of those that were deleted, and the first
    /// error, after which it ends.
    async fn delete_expired(
        &self,
        bucket: &str,
        key: &str,
        versions: &[CanaryVersion],
    ) -> (usize, Result<(), CallError>) {
        let mut deleted = 0;
        for version in expired_versions(versions, self.clock.now()) {
            let id = &version.version_id;
            if let Err(error) = self.buckets.delete_version(bucket, key, id).await {
                return (deleted, Err(error));
            }
            deleted += 1;
        }
        (deleted, Ok(()))
    }

    fn check_time(&self) -> Result<(), CallError> {
        match self.clock.now() < self.stop_at {
            true => Ok(()),
            false => Err(self.error(
                CallErrorKind::Unavailable,
                "the function had no time left".to_owned(),
            )),
        }
    }

    fn error(&self, kind: CallErrorKind, reason: String) -> CallError {
        let region = &self.policy.sites.get(self.site).region;
        CallError::new(kind, "canary", region, reason)
    }
}

/// What a fenced Region sends: nothing, and why.
fn unsent_while_fenced(plan: CanaryPlan, at: Timestamp) -> SentCanaries {
    let unsent = plan.canaries.into_iter().map(|canary| UnprovenReplication {
        bucket: canary.bucket,
        rule: Some(canary.rule),
        reason: "its Region is fenced, and writes nothing".to_owned(),
    });
    SentCanaries {
        at,
        unproven: plan.unproven.into_iter().chain(unsent).collect(),
        is_fenced: true,
        ..SentCanaries::default()
    }
}

/// Awaits calls, some at a time, and returns their results in the order of the calls.
async fn run_concurrently<T, F: Future<Output = T>>(calls: impl Iterator<Item = F>) -> Vec<T> {
    let calls = futures_util::stream::iter(calls);
    calls.buffered(MAX_CONCURRENT_CALLS).collect().await
}

/// The alerts about denied calls of a run, and the incidents that it found resolved.
#[must_use]
pub fn denials(
    report: &CanaryReport,
    region: &str,
    now: Timestamp,
) -> (Vec<Alert>, CheckedSubjects) {
    let subject = |bucket: &str| format!("{CANARY_BUCKET_PREFIX}{bucket}");
    let alerts = report.denied.iter().map(|(bucket, error)| {
        let sentences = [
            format!("Twinlake is not allowed to write, read or delete its canaries in the bucket {bucket}: {error}."),
            "Whether S3 replicates from or to this bucket is not proved.".to_owned(),
            format!(
                "Check that the stack parameter CanaryBucketArns of the stack in {region} names the bucket, and \
                 that the bucket's policy and the policy of its key allow it (docs/operations.md, Canaries)."
            ),
        ];
        let subject = subject(bucket);
        Alert::new(AlertKind::TwinlakeAccessDenied, region, &subject, sentences, now)
    });
    let mut checked = CheckedSubjects::default();
    for bucket in &report.without_errors {
        let kind = AlertKind::TwinlakeAccessDenied;
        checked = checked.with_resolved(kind, &subject(bucket), now);
    }
    (alerts.collect(), checked)
}

#[cfg(test)]
mod tests;
