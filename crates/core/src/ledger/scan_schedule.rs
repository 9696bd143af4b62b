//! How often scans are made that events request.

use super::CLOCK_SKEW_SECS;
use crate::name::TableId;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// When the catalog, or all partitions of a table, were last scanned because of an event, and when
/// the next scan is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSchedule {
    /// The last scan.
    pub last_scan_at: Option<Timestamp>,
    /// The next scan, if one is scheduled.
    pub next_scan_at: Option<Timestamp>,
}

/// What a scan reads that events request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanTarget {
    /// The whole catalog.
    Catalog,
    /// All partitions of a table.
    Partitions(TableId),
}

impl ScanTarget {
    /// The least time between two scans of the target.
    #[must_use]
    pub fn interval_secs(&self) -> i64 {
        match self {
            Self::Catalog => CATALOG_SCAN_INTERVAL_SECS,
            Self::Partitions(_) => PARTITION_SCAN_INTERVAL_SECS,
        }
    }
}

/// The decision on an event that requests a scan of the catalog or of a table's partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanDecision {
    /// Scan now.
    Now,
    /// Scan at this time: another scan has just been made.
    At(Timestamp),
    /// A scan that is already scheduled for this time covers the event.
    Covered(Timestamp),
}

/// The minimum interval between two partition scans of one table that events request.
pub const PARTITION_SCAN_INTERVAL_SECS: i64 = 300;

/// The minimum interval between two scans of the whole catalog that events request. It delays what
/// an event without parameters revoked, so it is no longer than CloudTrail's own delay.
pub const CATALOG_SCAN_INTERVAL_SECS: i64 = 300;

impl ScanSchedule {
    /// Decides on one more event, where scans are at least `interval_secs` apart, and returns the
    /// schedule that follows.
    ///
    /// A scan that is scheduled for later reads what changed before it, so it covers
    /// every event until then. Times further ahead than a schedule sets them, with the difference of two clocks, are
    /// of no scan.
    #[must_use]
    pub fn request(self, now: Timestamp, interval_secs: i64) -> (ScanDecision, Self) {
        let is_possible = |ahead_secs: i64| {
            let latest = now.plus_secs(ahead_secs.saturating_add(CLOCK_SKEW_SECS));
            move |at: &Timestamp| *at <= latest
        };
        let stored = Self {
            last_scan_at: self.last_scan_at.filter(is_possible(0)),
            next_scan_at: self.next_scan_at.filter(is_possible(interval_secs)),
        };
        stored.decide(now, interval_secs)
    }

    fn decide(self, now: Timestamp, interval_secs: i64) -> (ScanDecision, Self) {
        let due = self.next_scan_at.filter(|next| *next <= now);
        let last_scan_at = self.last_scan_at.max(due);
        let earliest = last_scan_at.map(|last| last.plus_secs(interval_secs));
        match (self.next_scan_at.filter(|next| *next > now), earliest) {
            (Some(next), _) => (ScanDecision::Covered(next), self),
            (None, Some(earliest)) if earliest > now => {
                let updated = Self {
                    last_scan_at,
                    next_scan_at: Some(earliest),
                };
                (ScanDecision::At(earliest), updated)
            }
            (None, _) => {
                let updated = Self {
                    last_scan_at: Some(now),
                    next_scan_at: None,
                };
                (ScanDecision::Now, updated)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn many_events_cause_one_partition_scan_in_five_minutes_and_the_last_is_covered() {
        let mut schedule = ScanSchedule::default();
        let mut request = |now| {
            let (decision, next) = schedule.request(at(now), PARTITION_SCAN_INTERVAL_SECS);
            schedule = next;
            decision
        };
        assert_eq!(request(0), ScanDecision::Now);
        assert_eq!(request(10), ScanDecision::At(at(300)));
        assert_eq!(request(20), ScanDecision::Covered(at(300)));
        assert_eq!(request(299), ScanDecision::Covered(at(300)));
        assert_eq!(
            request(300),
            ScanDecision::At(at(600)),
            "the scan that was due at 300 may have read it already"
        );
        assert_eq!(request(1200), ScanDecision::Now);
    }

    #[test]
    fn a_scan_that_no_schedule_sets_so_far_ahead_covers_no_event() {
        let years = at(100 * 365 * 86_400);
        let interval = PARTITION_SCAN_INTERVAL_SECS;
        for stored in [
            ScanSchedule {
                last_scan_at: Some(at(10)),
                next_scan_at: Some(years),
            },
            ScanSchedule {
                last_scan_at: Some(years),
                next_scan_at: None,
            },
        ] {
            let (decision, updated) = stored.request(at(1000), interval);
            assert_eq!(decision, ScanDecision::Now, "{stored:?}");
            assert_eq!(updated.last_scan_at, Some(at(1000)));
        }
        let ahead = ScanSchedule {
            last_scan_at: Some(at(1030)),
            next_scan_at: Some(at(1330)),
        };
        let (decision, _) = ahead.request(at(1000), interval);
        assert_eq!(decision, ScanDecision::Covered(at(1330)), "another clock");
    }
}
