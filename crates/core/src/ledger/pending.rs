//! Objects of tables that S3 has not brought to the secondary.

use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Objects of a table that S3 has not brought to the secondary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Since when.
    pub since: Timestamp,
    /// What is missing, by what people were told of it.
    pub reasons: BTreeMap<String, Missing>,
}

/// What is missing for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// How many objects S3 has told of.
    pub count: usize,
    /// Some of them: while one of these is missing, it is not over.
    pub samples: Vec<Replica>,
}

impl Missing {
    /// Takes samples out, and answers how many.
    fn drop_samples(&mut self, is_there: impl Fn(&Replica) -> bool) -> usize {
        let before = self.samples.len();
        self.samples.retain(|sample| !is_there(sample));
        let found = before - self.samples.len();
        self.count = self.count.saturating_sub(found);
        found
    }
}

/// An object that ought to be in the secondary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Replica {
    /// The secondary's bucket.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// The version, which S3 replication keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the source object was made, which its replica keeps: what is as new has arrived.
    #[serde(default)]
    pub made: Timestamp,
}

impl Replica {
    /// Whether both are of the same object and version.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.bucket == other.bucket && self.key == other.key && self.version == other.version
    }
}

/// So many objects of a table are looked for, for each reason.
pub const LOOKED_FOR: usize = 20;

impl Pending {
    /// Takes in that one more object is missing.
    pub fn add(&mut self, reason: &str, replica: Replica, at: Timestamp) {
        let missing = Missing {
            count: 1,
            samples: vec![replica],
        };
        self.absorb(&Self {
            since: at,
            reasons: BTreeMap::from([(reason.to_owned(), missing)]),
        });
    }

    /// Takes in all that another one says. What is known already, since it was told of twice,
    /// is not counted again.
    pub fn absorb(&mut self, other: &Self) {
        if self.reasons.is_empty() || other.since < self.since {
            self.since = other.since;
        }
        for (reason, more) in &other.reasons {
            let missing = self.reasons.entry(reason.clone()).or_default();
            let mut known = 0;
            for replica in &more.samples {
                if missing.samples.iter().any(|known| known.is(replica)) {
                    known += 1;
                } else if missing.samples.len() < LOOKED_FOR {
                    missing.samples.push(replica.clone());
                }
            }
            missing.count = missing
                .count
                .saturating_add(more.count.saturating_sub(known));
        }
    }

    /// Takes out objects that were found. Answers the reasons of which no sample is missing
    /// any more; they are forgotten.
    pub fn take_out(&mut self, is_there: impl Fn(&Replica) -> bool) -> BTreeSet<String> {
        let mut over = BTreeSet::new();
        for (reason, missing) in &mut self.reasons {
            missing.drop_samples(&is_there);
            if missing.samples.is_empty() {
                over.insert(reason.clone());
            }
        }
        self.reasons.retain(|reason, _| !over.contains(reason));
        over
    }

    /// Takes in that S3 told of objects that came late, of some reason: it is over when as many
    /// came as were missing, and none of the samples is. Answers whether it is; it is forgotten
    /// then.
    pub fn came(&mut self, reason: &str, came: &BTreeSet<Replica>) -> bool {
        let Some(missing) = self.reasons.get_mut(reason) else {
            return false;
        };
        let found = missing.drop_samples(|sample| came.iter().any(|came| came.is(sample)));
        let others = came.len().saturating_sub(found);
        // One that a look had found before is told of, too.
        let left = missing.count.saturating_sub(others);
        missing.count = left.max(missing.samples.len());
        let is_over = missing.count == 0;
        if is_over {
            self.reasons.remove(reason);
        }
        is_over
    }

    /// How many objects S3 has told of.
    #[must_use]
    pub fn count(&self) -> usize {
        let counts = self.reasons.values().map(|missing| missing.count);
        counts.fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(key: &str) -> Replica {
        Replica {
            bucket: "b".to_owned(),
            key: key.to_owned(),
            version: None,
            made: Timestamp(1),
        }
    }

    fn missing(keys: &[&str]) -> Pending {
        let mut pending = Pending::default();
        for key in keys {
            pending.add("late", replica(key), Timestamp(2));
        }
        pending
    }

    fn came(pending: &mut Pending, key: &str) -> bool {
        pending.came("late", &BTreeSet::from([replica(key)]))
    }

    #[test]
    fn what_is_told_of_twice_is_missing_once() {
        let mut pending = missing(&["a", "a"]);
        pending.absorb(&missing(&["a"]));
        assert_eq!(pending.count(), 1);
        assert!(came(&mut pending, "a"));
    }

    #[test]
    fn what_a_look_found_and_s3_tells_of_too_is_not_taken_for_another() {
        let mut pending = missing(&["a", "b"]);
        assert!(pending.take_out(|replica| replica.key == "b").is_empty());
        assert!(!came(&mut pending, "b"), "a is missing");
        assert_eq!(pending.count(), 1);
        assert!(came(&mut pending, "a"));
    }

    #[test]
    fn when_no_sample_is_missing_a_look_ends_it_whatever_was_counted() {
        let keys: Vec<String> = (0..LOOKED_FOR + 5).map(|n| n.to_string()).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut pending = missing(&keys);
        for key in &keys[..LOOKED_FOR] {
            assert!(!came(&mut pending, key));
        }
        assert_eq!(pending.count(), 5);
        assert_eq!(pending.take_out(|_| false).len(), 1);
        assert!(pending.reasons.is_empty());
    }
}
