//! The changes that let S3 replicate between the buckets of the policy's location pairs, where the
//! buckets exist.
//!
//! A change only adds: versioning, a replication rule, a notification. Where something else is there
//! that the addition would override or contradict, there is a problem in words instead of a change.

use crate::Policy;
use crate::arn::Arn;
use crate::lake_setup::SetupState;
use crate::location::{CopiedBy, Location};
use crate::readiness::{
    BucketReadings, ObjectEncryption, Reading, ReplicationRule, RuleGap, S3EventTarget, Versioning,
};
use crate::topology::{BySite, SiteId};
use std::collections::{BTreeMap, BTreeSet};

/// All events of S3 replication. Source: S3 user guide, "Supported event types".
pub const REPLICATION_EVENTS: &str = "s3:Replication:*";
/// The four events that [`REPLICATION_EVENTS`] stands for.
const EACH_REPLICATION_EVENT: [&str; 4] = [
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationNotTracked",
    "s3:Replication:OperationReplicatedAfterThreshold",
];
/// The longest `ID` of a rule, in characters.
const MAX_RULE_ID_CHARS: usize = 255;

/// What the operator asks for.
#[derive(Clone, Debug, Default)]
pub struct SetupRequest {
    /// The buckets that may be changed.
    pub buckets: BTreeSet<String>,
    /// The ARN of the role for buckets without a replication configuration. The others have one.
    pub replication_role: Option<String>,
    /// The ARNs of the KMS keys for replicas, at most one in each Region. Without one, the key is the
    /// default of the destination bucket.
    pub replica_keys: BTreeSet<String>,
    /// The ARN of the queue that receives the notifications of each site's buckets.
    pub queues: BySite<Option<String>>,
}

/// The changes to one bucket, and what stands in the way of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSetup {
    /// The site of the bucket.
    pub site: SiteId,
    /// The name of the bucket.
    pub bucket: String,
    /// The changes, in the order in which they are made.
    pub changes: Vec<BucketChange>,
    /// Why something was left as it is, one sentence each.
    pub problems: Vec<String>,
}

/// One change to a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketChange {
    /// Turns on versioning, which S3 requires of both buckets.
    EnableVersioning,
    /// Adds a replication rule to those that are there.
    AddRule(ReplicationRule),
    /// Sends [`REPLICATION_EVENTS`] to the queue with this ARN, besides the notifications that are
    /// there.
    AddNotification(String),
}

impl BucketChange {
    /// The change in words that follow "would". Untrusted text in it is not escaped.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::EnableVersioning => {
                "turn on versioning: overwritten and deleted objects are kept and charged"
                    .to_owned()
            }
            Self::AddRule(rule) => {
                let objects = match rule.prefix.as_str() {
                    "" => "all objects".to_owned(),
                    prefix => format!("the objects under {prefix}"),
                };
                let key = match &rule.replica_key {
                    Some(key) => format!("the KMS key of replicas is {key}"),
                    None => "objects that KMS encrypts are left out".to_owned(),
                };
                format!(
                    "add the replication rule {} with priority {}: {objects} to {}; {key}",
                    rule.id, rule.priority, rule.destination
                )
            }
            Self::AddNotification(queue) => format!("send {REPLICATION_EVENTS} to {queue}"),
        }
    }
}

/// The buckets of the location pairs that S3 copies, by site.
#[must_use]
pub fn buckets_of(policy: &Policy) -> BySite<BTreeSet<String>> {
    let names = |site| {
        let pairs = copied_by_s3(policy);
        pairs
            .map(|pair| pair.get(site).bucket().to_owned())
            .collect()
    };
    BySite {
        a: names(SiteId::A),
        b: names(SiteId::B),
    }
}

/// Plans the changes to the requested buckets. `readings` has every bucket of [`buckets_of`].
#[must_use]
pub fn plan(
    policy: &Policy,
    readings: &BySite<BTreeMap<String, BucketReadings>>,
    request: &SetupRequest,
) -> Vec<BucketSetup> {
    let buckets = buckets_of(policy);
    let mut setups = Vec::new();
    for (site, names) in buckets.iter() {
        for name in names.intersection(&request.buckets) {
            let setup = BucketPlanner {
                policy,
                readings,
                request,
                site,
            };
            setups.push(setup.plan(name));
        }
    }
    setups
}

fn copied_by_s3(policy: &Policy) -> impl Iterator<Item = &BySite<Location>> {
    let pairs = policy.locations.pairs().iter();
    pairs
        .filter(|pair| pair.copied_by == CopiedBy::S3)
        .map(|pair| &pair.sites)
}

/// Plans the changes to a bucket of one site.
struct BucketPlanner<'a> {
    policy: &'a Policy,
    readings: &'a BySite<BTreeMap<String, BucketReadings>>,
    request: &'a SetupRequest,
    site: SiteId,
}

impl BucketPlanner<'_> {
    fn plan(&self, name: &str) -> BucketSetup {
        let mut setup = BucketSetup {
            site: self.site,
            bucket: name.to_owned(),
            changes: Vec::new(),
            problems: Vec::new(),
        };
        let bucket = match self.existing(self.site, name) {
            Ok(bucket) => bucket,
            Err(problem) => {
                setup.problems.push(problem);
                return setup;
            }
        };
        match &bucket.versioning {
            Reading::Unread(error) => {
                let problem = format!("Its versioning could not be read: {error}.");
                setup.problems.push(problem);
                return setup;
            }
            Reading::Read(Versioning::Enabled) => {}
            Reading::Read(Versioning::Off | Versioning::Suspended) => {
                setup.changes.push(BucketChange::EnableVersioning);
            }
        }
        match self.new_rules(name, bucket) {
            Ok(rules) => setup
                .changes
                .extend(rules.into_iter().map(BucketChange::AddRule)),
            Err(problem) => setup.problems.push(problem),
        }
        match self.new_notification(bucket) {
            Ok(queue) => setup
                .changes
                .extend(queue.map(BucketChange::AddNotification)),
            Err(problem) => setup.problems.push(problem),
        }
        setup
    }

    /// A bucket that exists in the Region of a site, or the problem in words.
    fn existing(&self, site: SiteId, name: &str) -> Result<&BucketReadings, String> {
        let region = &self.policy.sites.get(site).region;
        let missing = || format!("There is no bucket {name} in {region}.");
        let bucket = self.readings.get(site).get(name).ok_or_else(missing)?;
        match &bucket.region {
            Reading::Unread(error) => Err(format!("The bucket {name} could not be read: {error}.")),
            Reading::Read(None) => Err(missing()),
            Reading::Read(Some(found)) if found == region => Ok(bucket),
            Reading::Read(Some(found)) => Err(format!(
                "The bucket {name} is in {found}, and the policy places it in {region}."
            )),
        }
    }

    /// The rules that are missing in a bucket. If one of them cannot be added, none is.
    fn new_rules(
        &self,
        name: &str,
        bucket: &BucketReadings,
    ) -> Result<Vec<ReplicationRule>, String> {
        let mut rules = match &bucket.rules {
            Reading::Unread(error) => {
                return Err(format!("Its replication rules could not be read: {error}."));
            }
            Reading::Read(rules) => rules.clone(),
        };
        let found = rules.len();
        for pair in copied_by_s3(self.policy) {
            let (from, to) = (pair.get(self.site), pair.get(self.site.other()));
            if from.bucket() != name {
                continue;
            }
            if from.prefix() != to.prefix() {
                return Err(format!(
                    "S3 replication keeps the keys of the objects, and {from} and {to} have different prefixes."
                ));
            }
            let destination = self.existing(self.site.other(), to.bucket())?;
            self.check_destination(to, destination)?;
            let key = self.replica_key(bucket, to, destination)?;
            rules.extend(missing_rule(&rules, from, to.bucket(), key)?);
        }
        let added = rules.split_off(found);
        if !added.is_empty() && found == 0 && self.request.replication_role.is_none() {
            return Err(
                "It has no replication configuration: name the role that S3 replicates with, \
                 --replication-role ARN."
                    .to_owned(),
            );
        }
        Ok(added)
    }

    /// The destination must be versioned, or become so in the same run.
    fn check_destination(&self, to: &Location, bucket: &BucketReadings) -> Result<(), String> {
        let name = to.bucket();
        match &bucket.versioning {
            Reading::Read(Versioning::Enabled) => Ok(()),
            Reading::Read(_) if self.request.buckets.contains(name) => Ok(()),
            Reading::Read(_) => Err(format!(
                "The destination {name} is not versioned: add --attach {name}."
            )),
            Reading::Unread(error) => Err(format!(
                "The versioning of the destination {name} could not be read: {error}."
            )),
        }
    }

    /// The key with which S3 encrypts replicas of objects that KMS encrypts; `None` if there are no
    /// such objects by default.
    fn replica_key(
        &self,
        source: &BucketReadings,
        to: &Location,
        destination: &BucketReadings,
    ) -> Result<Option<String>, String> {
        let region = &self.policy.sites.get(self.site.other()).region;
        let is_there = |key: &str| Arn::parse(key).is_some_and(|arn| arn.region == region);
        if let Some(key) = self.request.replica_keys.iter().find(|key| is_there(key)) {
            return Ok(Some(key.clone()));
        }
        let name_key = format!("name a KMS key of {region}, --replica-key ARN");
        match (&source.encryption, &destination.encryption) {
            (_, Reading::Read(ObjectEncryption::Kms(Some(key)))) if is_there(key) => {
                Ok(Some(key.clone()))
            }
            (Reading::Read(ObjectEncryption::S3), Reading::Read(ObjectEncryption::S3)) => Ok(None),
            (Reading::Unread(error), _) | (_, Reading::Unread(error)) => Err(format!(
                "The default encryption of the buckets could not be read: {error}; {name_key}."
            )),
            (Reading::Read(_), Reading::Read(_)) => Err(format!(
                "KMS encrypts the objects of one of the buckets, and the default encryption of {} \
                 names no key by its ARN: {name_key}.",
                to.bucket()
            )),
        }
    }

    fn new_notification(&self, bucket: &BucketReadings) -> Result<Option<String>, String> {
        let Some(queue) = self.request.queues.get(self.site) else {
            let region = &self.policy.sites.get(self.site).region;
            return Err(format!(
                "Its replication notifications are sent nowhere by this command: {region} has no \
                 queue of a Twinlake stack. Repeat the command after the deployment."
            ));
        };
        let targets = match &bucket.notifications {
            Reading::Unread(error) => {
                return Err(format!("Its notifications could not be read: {error}."));
            }
            Reading::Read(targets) => targets,
        };
        match notification_state(targets, queue) {
            SetupState::Equal => Ok(None),
            SetupState::Missing => Ok(Some(queue.clone())),
            SetupState::Different(problem) => Err(problem),
        }
    }
}

/// The state of the notifications of a bucket that should send all replication events to a queue.
#[must_use]
pub fn notification_state(targets: &[S3EventTarget], queue: &str) -> SetupState {
    if targets
        .iter()
        .any(|target| target.target == queue && is_complete(target))
    {
        return SetupState::Equal;
    }
    match targets.iter().find(|target| has_replication_events(target)) {
        None => SetupState::Missing,
        Some(target) => SetupState::Different(format!(
            "It sends replication events to {} already, and S3 sends an event to one target only. Let them \
             go to an SNS topic, and subscribe {queue} to it; or remove them there and repeat the command.",
            target.target
        )),
    }
}

fn has_replication_events(target: &S3EventTarget) -> bool {
    target
        .events
        .iter()
        .any(|event| event.starts_with("s3:Replication:"))
}

/// Whether a target gets every replication event of every object.
fn is_complete(target: &S3EventTarget) -> bool {
    let has = |event: &str| target.events.contains(event);
    let all = has(REPLICATION_EVENTS) || EACH_REPLICATION_EVENT.iter().all(|event| has(event));
    all && target.prefix.is_empty() && !target.has_suffix
}

/// The rule for a location, if no rule does what it would do.
///
/// # Errors
/// Another rule to the same destination replicates some of the objects: of two such rules S3 applies
/// the one with the higher priority, so that an addition would override one of them.
fn missing_rule(
    rules: &[ReplicationRule],
    from: &Location,
    destination: &str,
    replica_key: Option<String>,
) -> Result<Option<ReplicationRule>, String> {
    let prefix = from.prefix();
    let overlaps = |rule: &&ReplicationRule| {
        rule.destination == destination
            && (rule.prefix.starts_with(&prefix) || prefix.starts_with(&rule.prefix))
    };
    let overlapping: Vec<&ReplicationRule> = rules.iter().filter(overlaps).collect();
    for rule in &overlapping {
        let lacks = lacking(rule, &prefix, destination, replica_key.is_some());
        if !lacks.is_empty() {
            return Err(format!(
                "The rule {} replicates objects of {from} to {destination}, and {}. Correct or remove \
                 it, and repeat the command.",
                rule.id,
                lacks.join(", ")
            ));
        }
    }
    if !overlapping.is_empty() {
        return Ok(None);
    }
    let id = match prefix.as_str() {
        "" => "twinlake".to_owned(),
        prefix => format!("twinlake-{prefix}"),
    };
    if id.chars().count() > MAX_RULE_ID_CHARS || rules.iter().any(|rule| rule.id == id) {
        return Err(format!(
            "The ID {id} of the rule for {from} is too long, or another rule has it: add the rule \
             yourself."
        ));
    }
    let highest = rules.iter().map(|rule| rule.priority).max();
    let priority = highest.map_or(Some(1), |highest| highest.checked_add(1));
    Ok(Some(ReplicationRule {
        id,
        priority: priority
            .ok_or("A rule has the highest priority that there is: lower it.".to_owned())?,
        is_enabled: true,
        prefix,
        has_tag_filter: false,
        destination: destination.to_owned(),
        replicates_delete_markers: true,
        replicates_modifications: true,
        replicates_kms_objects: replica_key.is_some(),
        replica_key,
        publishes_metrics: true,
        archive_class: None,
        is_version_1: false,
    }))
}

/// What a rule lacks to replicate a location completely, as clauses.
fn lacking(
    rule: &ReplicationRule,
    prefix: &str,
    destination: &str,
    needs_kms: bool,
) -> Vec<&'static str> {
    let mut lacks = Vec::new();
    if !rule.is_enabled {
        lacks.push("is disabled");
    } else if !rule.covers(prefix, destination) {
        lacks.push("does not cover all of them");
    }
    lacks.extend(rule.gaps(needs_kms).into_iter().map(RuleGap::clause));
    lacks
}

#[cfg(test)]
mod tests;
