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

/// How many tools that were not woken the journal names for each kind: it is part of one item of the ledger. Once as many
/// are to be tried again, the others wait.
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
    /// Some of the others, by name: all that are tried again, before those that are not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named: BTreeMap<String, NotAwake>,
    /// Those that were not looked at, because as many as can be named are tried again first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitingTools>,
}

/// Tools that a run did not look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingTools {
    /// The first of them by name; what comes after it was not looked at either.
    pub first: String,
    /// Their number, which `not_awake` counts, too.
    pub count: usize,
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
        if self.named.len() >= MAX_NAMED_TOOLS && is_tried_again {
            let mut named = self.named.iter();
            let other = named.find(|(_, one)| !one.is_tried_again);
            let other = other.map(|(name, _)| name.clone());
            if let Some(other) = other {
                self.named.remove(&other);
            }
        }
        if self.named.len() < MAX_NAMED_TOOLS {
            let not_awake = NotAwake {
                is_tried_again,
                reason,
            };
            self.named.insert(key.id.clone(), not_awake);
        }
    }

    /// Whether no more can be named that is tried again: then the others have to [wait](Self::leave_waiting).
    #[must_use]
    pub fn is_full(&self) -> bool {
        let named = self.named.values();
        named.filter(|one| one.is_tried_again).count() >= MAX_NAMED_TOOLS
    }

    /// Leaves the tools from this one on, in the order of their names, to the next run.
    pub fn leave_waiting(&mut self, first: &ObjectKey, count: usize) {
        self.not_awake += count;
        self.waiting = Some(WaitingTools {
            first: first.id.clone(),
            count,
        });
    }

    /// Whether the next run tries to wake this one.
    #[must_use]
    pub fn tries_again(&self, name: &str) -> bool {
        let waiting = self.waiting.as_ref();
        let waits = waiting.is_some_and(|waiting| name >= waiting.first.as_str());
        waits || self.named.get(name).is_some_and(|one| one.is_tried_again)
    }

    /// Whether the next run has nothing to do for this kind.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.waiting.is_none() && !self.named.values().any(|one| one.is_tried_again)
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
        let waited = all.waiting.map_or(0, |waiting| waiting.count);
        let left = all.not_awake.saturating_sub(before - all.named.len());
        all.not_awake = left.saturating_sub(waited) + retried.not_awake;
        all.waiting = retried.waiting;
        all.named.extend(retried.named);
        while all.named.len() > MAX_NAMED_TOOLS {
            let mut named = all.named.iter();
            let Some((name, _)) = named.find(|(_, one)| !one.is_tried_again) else {
                break;
            };
            let name = name.clone();
            all.named.remove(&name);
        }
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

    /// A run over tools by name, of which some fail.
    fn run(
        before: Option<&WakeRecord>,
        names: &[String],
        result: impl Fn(&str) -> WakeResult,
    ) -> (WakeRecord, Vec<String>) {
        let left = names
            .iter()
            .filter(|name| before.is_none_or(|before| before.tries_again(name)));
        let left: Vec<&String> = left.collect();
        let (mut record, mut tried) = (WakeRecord::default(), Vec::new());
        for (at, name) in left.iter().enumerate() {
            let key = ObjectKey::new(QueryKind::Trigger, name);
            if record.is_full() {
                record.leave_waiting(&key, left.len() - at);
                break;
            }
            tried.push((*name).clone());
            record.add(&key, result(name));
        }
        let record = before.map_or(record.clone(), |before| before.with_retried(record));
        (record, tried)
    }

    #[test]
    fn more_than_the_journal_names_are_all_tried_again_and_none_that_was_woken() {
        let names: Vec<String> = (0..160).map(|number| format!("t{number:03}")).collect();
        let failed = |_: &str| WakeResult::Failed("denied".to_owned());
        let (first, tried) = run(None, &names, failed);
        assert_eq!(tried.len(), MAX_NAMED_TOOLS);
        assert_eq!((first.not_awake, first.named.len()), (160, MAX_NAMED_TOOLS));
        assert!(!first.is_final());
        // Those named and some more are woken; then others fail.
        let (second, tried) = run(Some(&first), &names, |name| match name < "t070" {
            true => WakeResult::Awake,
            false => WakeResult::Failed("denied".to_owned()),
        });
        assert_eq!(tried.len(), 120);
        assert_eq!((second.awake, second.not_awake), (70, 90));
        let (third, tried) = run(Some(&second), &names, |_| WakeResult::Awake);
        assert_eq!(tried, names[70..]);
        assert_eq!((third.awake, third.not_awake), (160, 0));
        assert!(third.is_final());
    }

    #[test]
    fn those_that_are_tried_again_are_named_before_those_that_are_not() {
        let names: Vec<String> = (0..60).map(|number| format!("t{number:02}")).collect();
        let (record, _) = run(None, &names, |name| match name < "t55" {
            true => WakeResult::Skipped("it starts the job x".to_owned()),
            false => WakeResult::Failed("denied".to_owned()),
        });
        assert_eq!(
            (record.not_awake, record.named.len()),
            (60, MAX_NAMED_TOOLS)
        );
        assert!(!record.is_final());
        let (record, tried) = run(Some(&record), &names, |_| WakeResult::Awake);
        assert_eq!(tried, names[55..]);
        assert_eq!((record.awake, record.not_awake), (5, 55));
        assert!(record.is_final());
    }
}
