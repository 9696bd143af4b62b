//! Canaries: small objects that Twinlake writes under the prefix of each S3 replication rule, in the
//! source bucket, and looks for in the destination bucket.
//!
//! A configuration that looks right proves nothing: S3 checks neither the replication role nor the
//! keys when a rule is stored (S3 user guide, `replication-config-for-kms-objects`). A canary that is
//! seen as a replica, encrypted with the key that the rule names, proves the rule at the time at which
//! it was written. The newest one determines the lag of the channel
//! [`Storage`](crate::Channel::Storage).
//!
//! The canaries of a bucket are those of its enabled rules to the bucket of its location pair. They are
//! written without encryption headers, so that they are encrypted like other new objects of the bucket.
//! A rule that cannot be proved like this is listed with the reason.
//!
//! Each Region decides and stores which canaries it sends; the other one reads that list. So neither
//! needs rights to the buckets of its peer.

mod arrival;
mod state;
mod versions;

pub use arrival::{CanaryObject, judge};
pub use state::{
    Canary, CanaryProblem, CanaryRoute, CanaryState, INTERVAL_SECS, ReceivedCanaries,
    ReceivedCanary, SentCanaries, UnprovenReplication,
};
pub use versions::{CanaryVersion, expired_versions, newest_version};

use crate::Policy;
use crate::catalog::digest;
use crate::location::CopiedBy;
use crate::readiness::{ObjectEncryption, Reading, ReplicationRule};
use crate::render::counted;
use crate::topology::SiteId;
use std::collections::{BTreeMap, BTreeSet};

/// The directory of the canaries below the prefix of a rule. Athena, Hive, Trino and Spark take objects
/// whose name, or a directory of it, begins with an underscore for no data.
const DIRECTORY: &str = "_twinlake_canary/";

/// Before the name of a canary in its directory: engines that look at the last part of a key only hide it,
/// too.
const NAME_PREFIX: &str = "_";

/// The most prefixes of rules that a reason lists.
const MAX_LISTED_PARTS: usize = 5;

/// The longest key of an object, in bytes (S3 user guide, "Naming Amazon S3 objects").
const MAX_KEY_BYTES: usize = 1024;

/// The most canaries that one Region sends, and the most rules that it lists as unproven.
pub const MAX_CANARIES: usize = 150;

/// Whether an object is a canary, by its key. No table has it.
#[must_use]
pub fn is_canary_key(key: &str) -> bool {
    let mut parts = key.rsplit('/');
    let is_named = parts
        .next()
        .is_some_and(|name| name.starts_with(NAME_PREFIX));
    is_named && parts.next() == Some(DIRECTORY.trim_end_matches('/'))
}

/// Which canaries there are, and what they cannot prove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CanaryPlan {
    /// The canaries.
    pub canaries: Vec<Canary>,
    /// What they cannot prove.
    pub unproven: Vec<UnprovenReplication>,
}

impl CanaryPlan {
    /// Joins the plans of all routes of a Region, and leaves out what exceeds [`MAX_CANARIES`].
    #[must_use]
    pub fn join(plans: impl IntoIterator<Item = Self>) -> Self {
        let mut joined = Self::default();
        for plan in plans {
            joined.canaries.extend(plan.canaries);
            joined.unproven.extend(plan.unproven);
        }
        let left_out = joined
            .canaries
            .split_off(joined.canaries.len().min(MAX_CANARIES));
        let left_out = left_out.into_iter().map(|canary| UnprovenReplication {
            bucket: canary.bucket,
            rule: Some(canary.rule),
            reason: format!("a Region sends at most {MAX_CANARIES} canaries"),
        });
        joined.unproven.extend(left_out);
        let unlisted = joined
            .unproven
            .split_off(joined.unproven.len().min(MAX_CANARIES));
        joined
            .unproven
            .extend(unlisted.first().map(|first| UnprovenReplication {
                bucket: first.bucket.clone(),
                rule: None,
                reason: format!("and {} more", counted(unlisted.len(), "rule")),
            }));
        joined
    }
}

/// The routes that lead from the buckets of a site to those of the other one, as S3 replicates them.
/// Pairs whose prefixes differ are left out: S3 copies an object under its own key.
#[must_use]
pub fn routes(policy: &Policy, source: SiteId) -> Vec<CanaryRoute> {
    let mut prefixes: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for pair in policy.locations.pairs() {
        let (from, to) = (pair.sites.get(source), pair.sites.get(source.other()));
        if pair.copied_by == CopiedBy::S3 && from.prefix() == to.prefix() {
            let buckets = (from.bucket().to_owned(), to.bucket().to_owned());
            prefixes.entry(buckets).or_default().insert(from.prefix());
        }
    }
    let routes = prefixes
        .into_iter()
        .map(|((bucket, destination), prefixes)| CanaryRoute {
            bucket,
            destination,
            prefixes,
        });
    routes.collect()
}

/// Decides which canaries prove the rules of a route.
#[must_use]
pub fn plan(
    route: &CanaryRoute,
    rules: &Reading<Vec<ReplicationRule>>,
    encryption: &Reading<ObjectEncryption>,
) -> CanaryPlan {
    let unproven = |rule: Option<&ReplicationRule>, reason: String| UnprovenReplication {
        bucket: route.bucket.clone(),
        rule: rule.map(|rule| rule.id.clone()),
        reason,
    };
    let mut plan = CanaryPlan::default();
    let (rules, encryption) = match (rules, encryption) {
        (Reading::Read(rules), Reading::Read(encryption)) => (rules, encryption),
        (Reading::Unread(error), _) => {
            let reason = format!("its replication rules could not be read: {error}");
            plan.unproven.push(unproven(None, reason));
            return plan;
        }
        (_, Reading::Unread(error)) => {
            let reason = format!("its default encryption could not be read: {error}");
            plan.unproven.push(unproven(None, reason));
            return plan;
        }
    };
    let of_route: Vec<&ReplicationRule> = rules
        .iter()
        .filter(|rule| rule.is_enabled && rule.destination == route.destination)
        .filter(|rule| route.prefixes.iter().any(|prefix| overlaps(prefix, rule)))
        .collect();
    for prefix in &route.prefixes {
        if let Some(reason) = uncovered(prefix, &of_route, &route.destination) {
            plan.unproven.push(unproven(None, reason));
        }
    }
    for rule in &of_route {
        let key = key_of(&route.bucket, rule);
        match replica_key(rule, &key, &of_route, encryption) {
            Ok(replica_key) => plan.canaries.push(Canary {
                bucket: route.bucket.clone(),
                rule: rule.id.clone(),
                prefix: rule.prefix.clone(),
                key,
                destination: route.destination.clone(),
                replica_key,
            }),
            Err(reason) => plan.unproven.push(unproven(Some(rule), reason)),
        }
        if rule.replicates_kms_objects && *encryption == ObjectEncryption::S3 {
            let reason = "for objects that KMS encrypts: the bucket encrypts new objects with keys of S3, so it \
                          is not known which key they have";
            plan.unproven.push(unproven(Some(rule), reason.to_owned()));
        }
    }
    plan
}

/// Why the rules do not replicate everything under a prefix; `None` if one of them does.
fn uncovered(prefix: &str, of_route: &[&ReplicationRule], destination: &str) -> Option<String> {
    if of_route.iter().any(|rule| prefix.starts_with(&rule.prefix)) {
        return None;
    }
    let parts: BTreeSet<&str> = of_route
        .iter()
        .map(|rule| rule.prefix.as_str())
        .filter(|part| part.starts_with(prefix))
        .collect();
    if parts.is_empty() {
        return Some(format!(
            "no enabled rule replicates the prefix \"{prefix}\" to the bucket {destination}"
        ));
    }
    let mut listed: Vec<String> = (parts.iter().take(MAX_LISTED_PARTS))
        .map(|part| format!("\"{part}\""))
        .collect();
    if parts.len() > MAX_LISTED_PARTS {
        listed.push(format!("{} more", parts.len() - MAX_LISTED_PARTS));
    }
    Some(format!(
        "no enabled rule replicates all of the prefix \"{prefix}\" to the bucket {destination}, only what is under \
         {}: give the rest a rule, or name these prefixes in the location pairs instead",
        listed.join(", ")
    ))
}

fn overlaps(prefix: &str, rule: &ReplicationRule) -> bool {
    prefix.starts_with(&rule.prefix) || rule.prefix.starts_with(prefix)
}

/// The key of the canary of a rule. It stays the same as long as the rule keeps its `ID` and prefix, and
/// differs from that of a rule of the other direction with the same `ID`.
fn key_of(bucket: &str, rule: &ReplicationRule) -> String {
    let name: String = digest(&(bucket, &rule.id)).chars().take(16).collect();
    let prefix = &rule.prefix;
    let slash = match prefix.is_empty() || prefix.ends_with('/') {
        true => "",
        false => "/",
    };
    format!("{prefix}{slash}{DIRECTORY}{NAME_PREFIX}{name}")
}

/// The KMS key that the replica of a canary must have, or why a rule can have no canary.
fn replica_key(
    rule: &ReplicationRule,
    key: &str,
    of_route: &[&ReplicationRule],
    encryption: &ObjectEncryption,
) -> Result<Option<String>, String> {
    if rule.has_tag_filter {
        return Err("it replicates only objects with certain tags".to_owned());
    }
    if let Some(class) = &rule.archive_class {
        return Err(format!(
            "it stores replicas in the class {class}, which bills each of them for months"
        ));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err("its prefix leaves no room for the key of a canary".to_owned());
    }
    // Of the rules to one destination that match an object, the one with the highest priority applies.
    let deciding = of_route
        .iter()
        .filter(|other| !other.has_tag_filter && key.starts_with(&other.prefix))
        .max_by_key(|other| other.priority);
    if let Some(other) = deciding.filter(|other| other.priority > rule.priority) {
        return Err(format!(
            "rule {} has a higher priority and the same keys",
            other.id
        ));
    }
    match (encryption, rule.replicates_kms_objects, &rule.replica_key) {
        (ObjectEncryption::S3, _, _) => Ok(None),
        (ObjectEncryption::Kms(_), true, Some(replica_key)) => Ok(Some(replica_key.clone())),
        (ObjectEncryption::Kms(_), _, _) => Err(
            "the bucket encrypts new objects with KMS, and the rule does not replicate them"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests;
