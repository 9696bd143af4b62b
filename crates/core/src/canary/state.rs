//! Canaries as the ledgers hold them: what a Region sends, and what it has seen of its peer's.

use crate::heartbeat::{ChannelHealth, Heartbeat};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Seconds between two canaries of a rule.
pub const INTERVAL_SECS: i64 = 300;

/// A canary of a rule that was disabled or removed is expected for this long, unless another rule covers
/// its key: so an accident raises an alert, and an intended change ends it.
const UNLISTED_SECS: i64 = 7 * 86_400;

/// Two buckets between which S3 replicates, in one direction, as the policy pairs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryRoute {
    /// The source bucket.
    pub bucket: String,
    /// The destination bucket.
    pub destination: String,
    /// The prefixes of the keys of the location pairs.
    pub prefixes: BTreeSet<String>,
}

/// The canary of a replication rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Canary {
    /// The source bucket.
    pub bucket: String,
    /// `ID` of the rule.
    pub rule: String,
    /// The prefix of the rule.
    pub prefix: String,
    /// The key of the object, in both buckets.
    pub key: String,
    /// The destination bucket.
    pub destination: String,
    /// The KMS key that the replica must have, as the rule names it; `None` if the source bucket
    /// encrypts with keys of S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_key: Option<String>,
}

/// A rule, or a whole route, that no canary can prove.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnprovenReplication {
    /// The source bucket.
    pub bucket: String,
    /// `ID` of the rule; `None` if it is about the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why, as a clause.
    pub reason: String,
}

impl UnprovenReplication {
    /// The rule or the bucket, as messages name it.
    #[must_use]
    pub fn subject(&self) -> String {
        match &self.rule {
            Some(rule) => rule_subject(rule, &self.bucket),
            None => format!("bucket {}", self.bucket),
        }
    }
}

/// How a rule is named in messages.
fn rule_subject(rule: &str, bucket: &str) -> String {
    format!("rule {rule} of the bucket {bucket}")
}

impl Canary {
    /// The rule of the canary, as messages name it.
    #[must_use]
    pub fn subject(&self) -> String {
        rule_subject(&self.rule, &self.bucket)
    }
}

/// What a Region sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentCanaries {
    /// When it was sent.
    pub at: Timestamp,
    /// The canaries.
    pub canaries: Vec<Canary>,
    /// What they cannot prove.
    #[serde(default)]
    pub unproven: Vec<UnprovenReplication>,
    /// Why canaries were not written, or old versions of them not deleted, by key.
    #[serde(default)]
    pub failures: BTreeMap<String, String>,
    /// Whether the Region is fenced, and sends nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_fenced: bool,
}

/// What a Region sends and receives, as its ledger holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryState {
    /// The canaries in the Region's own buckets.
    pub sent: SentCanaries,
    /// The canaries of the peer that have arrived in the Region's buckets.
    pub received: ReceivedCanaries,
    /// The canaries of the Region that have arrived in its peer's buckets, as the peer's ledger last said.
    #[serde(default)]
    pub confirmed: ReceivedCanaries,
}

impl CanaryState {
    /// The canaries of both directions, as each was last seen where it arrives.
    pub fn both_directions(&self) -> impl Iterator<Item = &ReceivedCanary> {
        self.received
            .canaries
            .iter()
            .chain(&self.confirmed.canaries)
    }

    /// What canaries cannot prove, in both directions.
    pub fn unproven(&self) -> impl Iterator<Item = &UnprovenReplication> {
        self.received.unproven.iter().chain(&self.sent.unproven)
    }
}

/// Why the newest version of a canary in the destination bucket proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CanaryProblem {
    /// There is none.
    Absent,
    /// It is no replica, or one whose change S3 has not replicated back; with its `ReplicationStatus`.
    NotReplica(Option<String>),
    /// It is encrypted with another key than the rule names; `None` for a key of S3.
    OtherKey(Option<String>),
    /// It could not be read, for this reason.
    Unread(String),
}

impl fmt::Display for CanaryProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no canary is in the destination bucket"),
            Self::NotReplica(None) => f.write_str(
                "the newest canary in the destination bucket was not written by S3 replication",
            ),
            Self::NotReplica(Some(status)) => write!(
                f,
                "the newest canary in the destination bucket has the replication status {status}"
            ),
            Self::OtherKey(None) => f.write_str("the replica is not encrypted with KMS"),
            Self::OtherKey(Some(key)) => write!(f, "the replica is encrypted with the key {key}"),
            Self::Unread(error) => write!(f, "the destination bucket could not be read: {error}"),
        }
    }
}

/// A canary that a Region expects from its peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedCanary {
    /// The canary.
    pub canary: Canary,
    /// Whether the peer still sends it, as far as its list could be read.
    pub is_sent: bool,
    /// Why the peer does not send it, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsent_reason: Option<String>,
    /// When the peer's list last named it.
    pub listed_at: Timestamp,
    /// Why the peer did not write it, or did not delete old versions of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_failure: Option<String>,
    /// The newest canary that was seen as a sound replica: when it was written, and when it was first
    /// seen.
    pub health: ChannelHealth,
    /// Why the newest version proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<CanaryProblem>,
}

/// The canaries of the peer, as a Region last saw them in its buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedCanaries {
    /// When they were looked for.
    pub at: Timestamp,
    /// The expected canaries.
    pub canaries: Vec<ReceivedCanary>,
    /// What the peer's canaries cannot prove.
    #[serde(default)]
    pub unproven: Vec<UnprovenReplication>,
    /// Why the peer's list could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_list: Option<String>,
}

impl ReceivedCanary {
    /// Records what was seen at `now`.
    pub fn record(&mut self, seen: Result<Timestamp, CanaryProblem>, now: Timestamp) {
        self.problem = seen.as_ref().err().cloned();
        if let Ok(sent) = seen {
            self.health = self.health.record(Heartbeat { sent, done: now });
        }
    }

    /// The lag of the rule in seconds: how long its newest canary took until it was seen, or the time by
    /// which the next one is overdue, whichever is greater.
    #[must_use]
    pub fn lag(&self, now: Timestamp) -> i64 {
        self.health.lag(INTERVAL_SECS, now)
    }

    /// Whether its Region still writes it, and the newest version is a sound replica.
    fn is_proof(&self) -> bool {
        self.is_sent
            && self.send_failure.is_none()
            && self.problem.is_none()
            && self.health.last.is_some()
    }

    /// What is known of the newest canary, as a clause.
    #[must_use]
    pub fn describe(&self) -> String {
        if let Some(failure) = &self.send_failure {
            return format!("its Region reports: {failure}");
        }
        if !self.is_sent {
            return match &self.unsent_reason {
                Some(reason) => format!("no canary is written under it any more: {reason}"),
                None => "the rule is disabled, or no longer there".to_owned(),
            };
        }
        match (&self.problem, self.health.last) {
            (Some(problem), _) => problem.to_string(),
            (None, Some(last)) => {
                format!("the newest one that arrived was written at {}", last.sent)
            }
            (None, None) => "none was looked for yet".to_owned(),
        }
    }
}

impl ReceivedCanary {
    /// A canary that the peer lists, with what is known of it from earlier looks.
    fn listed(canary: &Canary, known: Option<Self>, sent: &SentCanaries, now: Timestamp) -> Self {
        let since = ChannelHealth {
            since: now,
            last: None,
        };
        Self {
            canary: canary.clone(),
            is_sent: true,
            unsent_reason: None,
            listed_at: now,
            send_failure: sent.failures.get(&canary.key).cloned(),
            health: known.as_ref().map_or(since, |known| known.health),
            problem: known.and_then(|known| known.problem),
        }
    }

    /// Whether a canary that the peer does not list any more is still looked for: it was listed lately, and no
    /// listed rule covers it. A fenced peer sends none. That the peer knows why its rule has none any more is no
    /// proof that objects arrive.
    fn is_still_expected(&self, sent: &SentCanaries, now: Timestamp) -> bool {
        let is_covered = sent.canaries.iter().any(|other| {
            other.bucket == self.canary.bucket
                && other.destination == self.canary.destination
                && self.canary.key.starts_with(&other.prefix)
        });
        let is_recent = self.listed_at.plus_secs(UNLISTED_SECS) > now;
        is_recent && !is_covered && !sent.is_fenced
    }

    /// Why the peer says that the rule has no canary.
    fn reason_in(&self, sent: &SentCanaries) -> Option<String> {
        let mut unproven = sent.unproven.iter();
        let of_rule = unproven.find(|unproven| {
            unproven.bucket == self.canary.bucket
                && unproven.rule.as_ref() == Some(&self.canary.rule)
        });
        of_rule.map(|unproven| unproven.reason.clone())
    }
}

/// Takes the canary with the same bucket and key out of those that were known.
fn take_known(earlier: &mut Vec<ReceivedCanary>, canary: &Canary) -> Option<ReceivedCanary> {
    let is_same = |known: &ReceivedCanary| {
        known.canary.bucket == canary.bucket && known.canary.key == canary.key
    };
    let at = earlier.iter().position(is_same)?;
    Some(earlier.swap_remove(at))
}

impl ReceivedCanaries {
    /// The canaries to look for at `now`: those that the peer lists, and those that it listed before and
    /// that no listed rule covers. `routes` lead from the peer's buckets. A list that could not be read
    /// changes nothing.
    #[must_use]
    pub fn with_expected(
        self,
        list: Result<SentCanaries, String>,
        routes: &[CanaryRoute],
        now: Timestamp,
    ) -> Self {
        let (sent, unread_list) = match list {
            Ok(sent) => (sent, None),
            Err(error) => {
                return Self {
                    at: now,
                    unread_list: Some(error),
                    ..self
                };
            }
        };
        let is_routed = |canary: &Canary| {
            routes.iter().any(|route| {
                route.bucket == canary.bucket && route.destination == canary.destination
            })
        };
        let mut earlier = self.canaries;
        let listed = sent.canaries.iter().filter(|canary| is_routed(canary));
        let mut canaries: Vec<ReceivedCanary> = listed
            .map(|canary| {
                let known = take_known(&mut earlier, canary);
                ReceivedCanary::listed(canary, known, &sent, now)
            })
            .collect();
        let unlisted = earlier
            .into_iter()
            .filter(|known| is_routed(&known.canary) && known.is_still_expected(&sent, now));
        canaries.extend(unlisted.map(|known| ReceivedCanary {
            is_sent: false,
            unsent_reason: known.reason_in(&sent),
            send_failure: None,
            ..known
        }));
        Self {
            at: now,
            canaries,
            unproven: sent.unproven,
            unread_list,
        }
    }

    /// What of the routes of the policy to this Region no canary proves, with the reason, as clauses. A rule with a canary
    /// that has arrived is proven, although its Region says what that canary does not cover.
    #[must_use]
    pub fn unproven_routes(&self, routes: &[CanaryRoute]) -> BTreeSet<String> {
        let mut unproven = BTreeSet::new();
        if let Some(error) = self.unread_list.as_ref().filter(|_| !routes.is_empty()) {
            unproven.insert(format!("the list of canaries could not be read: {error}"));
        }
        for route in routes {
            let is_of_route = |known: &&ReceivedCanary| {
                known.canary.bucket == route.bucket && known.canary.destination == route.destination
            };
            let of_route: Vec<&ReceivedCanary> = self.canaries.iter().filter(is_of_route).collect();
            if of_route.is_empty() {
                unproven.insert(format!(
                    "no canary is expected from the bucket {} to {}",
                    route.bucket, route.destination
                ));
            }
            let missing = of_route.iter().filter(|known| !known.is_proof());
            unproven.extend(
                missing.map(|known| format!("{}: {}", known.canary.subject(), known.describe())),
            );
            let of_bucket = self.unproven.iter().filter(|one| {
                let has_canary = of_route
                    .iter()
                    .any(|known| one.rule.as_ref() == Some(&known.canary.rule));
                one.bucket == route.bucket && !has_canary
            });
            unproven.extend(of_bucket.map(|one| format!("{}: {}", one.subject(), one.reason)));
        }
        unproven
    }

    /// Whether a canary has arrived under each rule that is expected to have one, and there is one.
    #[must_use]
    pub fn have_arrived(&self) -> bool {
        let mut healths = self.canaries.iter().map(|canary| canary.health);
        !self.canaries.is_empty() && healths.all(|health| health.last.is_some())
    }

    /// The largest lag of a rule in seconds; `None` without a canary.
    #[must_use]
    pub fn lag(&self, now: Timestamp) -> Option<i64> {
        self.canaries.iter().map(|canary| canary.lag(now)).max()
    }

    /// The health of the rule whose newest canary is the oldest, or of one without a canary that arrived;
    /// `None` if no canary is expected.
    #[must_use]
    pub fn oldest_health(&self) -> Option<ChannelHealth> {
        let healths = self.canaries.iter().map(|canary| canary.health);
        healths.min_by_key(|health| health.last.map(|last| last.sent))
    }
}
