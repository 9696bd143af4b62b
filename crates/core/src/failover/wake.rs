//! Waking crawlers and triggers after a takeover: what Twinlake made asleep in the standby runs by itself in the new
//! primary, as it did in the former one.
//!
//! It comes after the last step, and is no stage: nothing waits for it, and the takeover is complete without it. The
//! journal keeps one [`WakeRecord`] for each kind.

use crate::query::{ObjectKey, QueryKind};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The kinds that may be woken, in this order: a trigger may start a crawler.
pub const WAKEABLE_KINDS: [QueryKind; 2] = [QueryKind::Crawler, QueryKind::Trigger];

/// How many tools that were not woken the journal names for each kind: it is part of one item of the ledger.
const MAX_NAMED_TOOLS: usize = 50;

/// What became of one crawler or trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WakeResult {
    /// It was read afterwards, and runs by itself.
    Awake,
    /// It is not for Twinlake to wake, with the reason.
    Skipped(String),
    /// It was not woken: the call was refused.
    Failed(String),
    /// Nobody knows whether it is awake.
    Unknown(String),
}

/// Why a tool is not awake, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotAwake {
    /// Whether the command tries again when it is repeated.
    pub is_tried_again: bool,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for NotAwake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What became of the tools of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeRecord {
    /// When all of them had been looked at.
    pub ended_at: Timestamp,
    /// The number of those that were found awake.
    pub awake: usize,
    /// The number of the others.
    pub not_awake: usize,
    /// The first of the others, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named: BTreeMap<String, NotAwake>,
}

impl WakeRecord {
    /// Counts a tool.
    pub fn add(&mut self, key: &ObjectKey, result: WakeResult) {
        let (is_tried_again, reason) = match result {
            WakeResult::Awake => {
                self.awake += 1;
                return;
            }
            WakeResult::Skipped(reason) => (false, format!("left asleep: {reason}")),
            WakeResult::Failed(reason) => (true, format!("not woken: {reason}")),
            WakeResult::Unknown(reason) => (true, format!("unknown whether it is awake: {reason}")),
        };
        self.not_awake += 1;
        if self.named.len() < MAX_NAMED_TOOLS {
            let not_awake = NotAwake {
                is_tried_again,
                reason,
            };
            self.named.insert(key.id.clone(), not_awake);
        }
    }

    /// Whether the next run tries to wake this one.
    #[must_use]
    pub fn tries_again(&self, name: &str) -> bool {
        self.named.get(name).is_some_and(|one| one.is_tried_again)
    }

    /// Whether the next run has nothing to do for this kind.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !self.named.values().any(|one| one.is_tried_again)
    }

    /// The record of a run that only looked at what this one had left.
    #[must_use]
    pub fn with_retried(&self, retried: Self) -> Self {
        let mut all = self.clone();
        all.ended_at = retried.ended_at;
        all.awake += retried.awake;
        let tried = |_: &String, one: &mut NotAwake| !one.is_tried_again;
        let before = all.named.len();
        all.named.retain(tried);
        all.not_awake = all.not_awake.saturating_sub(before - all.named.len()) + retried.not_awake;
        all.named.extend(retried.named);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_failed_or_is_unknown_is_tried_again_and_counted_once() {
        let key = |name: &str| ObjectKey::new(QueryKind::Crawler, name);
        let mut record = WakeRecord::default();
        record.add(&key("awake"), WakeResult::Awake);
        record.add(&key("skipped"), WakeResult::Skipped("changed".to_owned()));
        record.add(&key("denied"), WakeResult::Failed("denied".to_owned()));
        record.add(&key("lost"), WakeResult::Unknown("no answer".to_owned()));
        assert_eq!((record.awake, record.not_awake), (1, 3));
        assert!(record.tries_again("denied") && record.tries_again("lost"));
        assert!(!record.tries_again("skipped") && !record.tries_again("awake"));
        assert!(!record.is_final());
        let mut retried = WakeRecord::default();
        retried.add(&key("denied"), WakeResult::Awake);
        retried.add(&key("lost"), WakeResult::Unknown("no answer".to_owned()));
        let all = record.with_retried(retried);
        assert_eq!((all.awake, all.not_awake, all.named.len()), (2, 2, 2));
        let mut last = WakeRecord::default();
        last.add(&key("lost"), WakeResult::Awake);
        let all = all.with_retried(last);
        assert_eq!((all.awake, all.not_awake), (3, 1));
        assert!(all.is_final());
    }

    #[test]
    fn the_journal_names_a_part_and_counts_all() {
        let mut record = WakeRecord::default();
        for number in 0..60 {
            let key = ObjectKey::new(QueryKind::Trigger, &format!("t{number}"));
            record.add(&key, WakeResult::Failed("denied".to_owned()));
        }
        assert_eq!(
            (record.not_awake, record.named.len()),
            (60, MAX_NAMED_TOOLS)
        );
    }
}
