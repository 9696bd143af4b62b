//! Objects of tables that S3 has not replicated to the standby yet.

use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The objects of one table that S3 has not replicated to the standby yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingObjects {
    /// When the first of them was reported.
    pub since: Timestamp,
    /// The missing objects, by the subject of the alert that reported them: the table and, if the
    /// replication failed, the failure reason.
    pub reasons: BTreeMap<String, MissingObjects>,
    /// When the hourly check last looked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_at: Option<Timestamp>,
}

/// The missing objects that alerts with one subject reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingObjects {
    /// Number of objects that S3 has reported.
    pub count: usize,
    /// Some of the objects, at most [`MAX_SAMPLES_PER_REASON`]. The reason is not resolved while one
    /// of them is missing.
    pub samples: Vec<ExpectedReplica>,
}

impl MissingObjects {
    /// Removes the samples that have arrived, and returns their number.
    fn remove_samples(&mut self, has_arrived: impl Fn(&ExpectedReplica) -> bool) -> usize {
        let before = self.samples.len();
        self.samples.retain(|sample| !has_arrived(sample));
        let removed = before - self.samples.len();
        self.count = self.count.saturating_sub(removed);
        removed
    }
}

/// An object that should exist in the standby.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExpectedReplica {
    /// The standby's bucket.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// The version, which S3 replication preserves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the source object was created. S3 replication preserves this time, so an object in the
    /// standby that is at least as new has arrived.
    #[serde(default)]
    pub created_at: Timestamp,
}

impl ExpectedReplica {
    /// Whether both are the same object and version.
    #[must_use]
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.bucket == other.bucket && self.key == other.key && self.version == other.version
    }
}

/// Maximum number of objects of a table that are checked for each reason.
pub const MAX_SAMPLES_PER_REASON: usize = 20;

impl PendingObjects {
    /// Adds one missing object.
    pub fn add(&mut self, reason: &str, replica: ExpectedReplica, at: Timestamp) {
        let missing = MissingObjects {
            count: 1,
            samples: vec![replica],
        };
        self.merge(&Self {
            since: at,
            reasons: BTreeMap::from([(reason.to_owned(), missing)]),
            looked_at: None,
        });
    }

    /// Adds all missing objects of `other`. An object that is already a sample, because S3 reported
    /// it twice, is not counted again.
    pub fn merge(&mut self, other: &Self) {
        if self.reasons.is_empty() || other.since < self.since {
            self.since = other.since;
        }
        for (reason, added) in &other.reasons {
            let missing = self.reasons.entry(reason.clone()).or_default();
            let mut duplicates = 0;
            for replica in &added.samples {
                if missing
                    .samples
                    .iter()
                    .any(|sample| sample.is_same_object(replica))
                {
                    duplicates += 1;
                } else if missing.samples.len() < MAX_SAMPLES_PER_REASON {
                    missing.samples.push(replica.clone());
                }
            }
            missing.count = missing
                .count
                .saturating_add(added.count.saturating_sub(duplicates));
        }
    }

    /// Removes the samples that were found in the standby. Removes and returns the reasons without
    /// a missing sample.
    pub fn remove_arrived(
        &mut self,
        has_arrived: impl Fn(&ExpectedReplica) -> bool,
    ) -> BTreeSet<String> {
        let mut resolved = BTreeSet::new();
        for (reason, missing) in &mut self.reasons {
            missing.remove_samples(&has_arrived);
            if missing.samples.is_empty() {
                resolved.insert(reason.clone());
            }
        }
        self.reasons.retain(|reason, _| !resolved.contains(reason));
        resolved
    }

    /// Records objects of one reason that S3 reported as replicated late. The reason is resolved,
    /// and removed, when as many objects have arrived as were missing and no sample is missing.
    /// Returns whether it is resolved.
    pub fn record_arrivals(&mut self, reason: &str, arrived: &BTreeSet<ExpectedReplica>) -> bool {
        let Some(missing) = self.reasons.get_mut(reason) else {
            return false;
        };
        let removed = missing
            .remove_samples(|sample| arrived.iter().any(|replica| replica.is_same_object(sample)));
        let not_sampled = arrived.len().saturating_sub(removed);
        // S3 also reports objects that a check had already found, so the samples are a lower bound.
        let remaining = missing.count.saturating_sub(not_sampled);
        missing.count = remaining.max(missing.samples.len());
        let is_resolved = missing.count == 0;
        if is_resolved {
            self.reasons.remove(reason);
        }
        is_resolved
    }

    /// Returns the number of objects that S3 has reported as missing.
    #[must_use]
    pub fn count(&self) -> usize {
        let counts = self.reasons.values().map(|missing| missing.count);
        counts.fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(key: &str) -> ExpectedReplica {
        ExpectedReplica {
            bucket: "b".to_owned(),
            key: key.to_owned(),
            version: None,
            created_at: Timestamp::from_millis(1),
        }
    }

    fn missing(keys: &[&str]) -> PendingObjects {
        let mut pending = PendingObjects::default();
        for key in keys {
            pending.add("late", replica(key), Timestamp::from_millis(2));
        }
        pending
    }

    fn record_arrival(pending: &mut PendingObjects, key: &str) -> bool {
        pending.record_arrivals("late", &BTreeSet::from([replica(key)]))
    }

    #[test]
    fn an_object_that_is_reported_twice_is_counted_once() {
        let mut pending = missing(&["a", "a"]);
        pending.merge(&missing(&["a"]));
        assert_eq!(pending.count(), 1);
        assert!(record_arrival(&mut pending, "a"));
    }

    #[test]
    fn an_arrival_that_a_check_found_first_does_not_count_for_another_object() {
        let mut pending = missing(&["a", "b"]);
        assert!(
            pending
                .remove_arrived(|replica| replica.key == "b")
                .is_empty()
        );
        assert!(!record_arrival(&mut pending, "b"), "a is missing");
        assert_eq!(pending.count(), 1);
        assert!(record_arrival(&mut pending, "a"));
    }

    #[test]
    fn a_check_resolves_a_reason_without_missing_samples_whatever_its_count() {
        let keys: Vec<String> = (0..MAX_SAMPLES_PER_REASON + 5)
            .map(|n| n.to_string())
            .collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut pending = missing(&keys);
        for key in &keys[..MAX_SAMPLES_PER_REASON] {
            assert!(!record_arrival(&mut pending, key));
        }
        assert_eq!(pending.count(), 5);
        assert_eq!(pending.remove_arrived(|_| false).len(), 1);
        assert!(pending.reasons.is_empty());
    }
}
