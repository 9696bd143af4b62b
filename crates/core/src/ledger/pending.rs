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

/// So many objects of a table are looked for, for each reason.
pub const LOOKED_FOR: usize = 20;

impl Pending {
    /// Takes in that one more object is missing.
    pub fn add(&mut self, reason: &str, replica: Replica, at: Timestamp) {
        if self.reasons.is_empty() || at < self.since {
            self.since = at;
        }
        let missing = self.reasons.entry(reason.to_owned()).or_default();
        missing.count = missing.count.saturating_add(1);
        if missing.samples.len() < LOOKED_FOR && !missing.samples.contains(&replica) {
            missing.samples.push(replica);
        }
    }

    /// Takes in all that another one says.
    pub fn absorb(&mut self, other: &Self) {
        if self.reasons.is_empty() || other.since < self.since {
            self.since = other.since;
        }
        for (reason, more) in &other.reasons {
            let missing = self.reasons.entry(reason.clone()).or_default();
            missing.count = missing.count.saturating_add(more.count);
            for replica in &more.samples {
                if missing.samples.len() < LOOKED_FOR && !missing.samples.contains(replica) {
                    missing.samples.push(replica.clone());
                }
            }
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
    /// came as were missing. Answers whether it is; it is forgotten then.
    pub fn came(&mut self, reason: &str, came: &BTreeSet<Replica>) -> bool {
        let Some(missing) = self.reasons.get_mut(reason) else {
            return false;
        };
        let found = missing.drop_samples(|sample| came.contains(sample));
        let others = came.len().saturating_sub(found);
        missing.count = missing.count.saturating_sub(others);
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
