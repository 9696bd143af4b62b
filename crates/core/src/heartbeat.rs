//! Heartbeats: small changes that the primary makes to objects of its own every minute, and that
//! are replicated in the same way as all other changes.
//!
//! One is a change to a Glue table, which Glue's own event reports. The other one is a change to a
//! data cells filter on that table, which only CloudTrail reports. When the handler of such an event
//! has applied the change in the standby, it records when the change was made and when it was
//! applied. The newest heartbeat of each channel determines the channel's lag.
//!
//! The time of a heartbeat on the catalog channel is the event's `time`, which AWS sets when it
//! sends the event, so the lag does not include Glue's own delay. CloudTrail's `eventTime` is the
//! time of the API call itself.
//!
//! The channel of S3's objects is measured by [`canaries`](crate::canary) instead, in both directions.

use crate::name::{Name, TableId};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The heartbeat database, in both Regions. Every policy covers it.
pub const DATABASE: &str = "twinlake_heartbeat";
/// The heartbeat table.
pub const TABLE: &str = "heartbeat";
/// The name of the data cells filter on the heartbeat table, and of the table's only column.
pub const FILTER: &str = "heartbeat";

/// Whether a database is the heartbeat database.
#[must_use]
pub fn is_database(name: &Name) -> bool {
    name.as_str() == DATABASE
}

/// Whether a table is the heartbeat table.
#[must_use]
pub fn is_table(id: &TableId) -> bool {
    is_database(&id.database) && id.table.as_str() == TABLE
}

/// A channel over which the primary's changes reach the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// Glue's own events, through the catalog event queue.
    Catalog,
    /// CloudTrail records, through the permission event queue.
    Permissions,
    /// Objects, by S3 replication.
    Storage,
}

impl Channel {
    /// Every channel.
    pub const EVERY: [Self; 3] = [Self::Catalog, Self::Permissions, Self::Storage];

    /// The channels of events, which only a standby receives.
    pub const OF_EVENTS: [Self; 2] = [Self::Catalog, Self::Permissions];

    /// Returns the channel's name in metrics and in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Permissions => "permissions",
            Self::Storage => "storage",
        }
    }

    /// Describes what the channel carries, for messages.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Catalog => "catalog changes (Glue events)",
            Self::Permissions => "permission changes (CloudTrail)",
            Self::Storage => "objects (S3 replication)",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A heartbeat that was replicated to the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// When the change was made in the primary.
    pub sent: Timestamp,
    /// When the standby was verified to be in sync after the change.
    pub done: Timestamp,
}

/// The last heartbeat of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelHealth {
    /// When the monitoring of the channel began.
    pub since: Timestamp,
    /// The newest heartbeat that has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Heartbeat>,
}

/// The lag of a channel compared with its alert threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LagStatus {
    /// Below the threshold.
    WithinThreshold,
    /// At or above the threshold.
    Lagging,
    /// At or above [`STALLED_LAG_FACTOR`] times the threshold.
    Stalled,
}

/// The multiple of its alert threshold from which on a channel's lag counts as stalled.
pub const STALLED_LAG_FACTOR: i64 = 4;

impl ChannelHealth {
    /// Records a heartbeat, unless a newer one is recorded.
    #[must_use]
    pub fn record(self, heartbeat: Heartbeat) -> Self {
        let newer = self.last.is_none_or(|last| last.sent < heartbeat.sent);
        Self {
            last: if newer { Some(heartbeat) } else { self.last },
            ..self
        }
    }

    /// Returns the channel's lag in seconds: the delay of the newest heartbeat, or the time by which
    /// the next heartbeat is overdue, whichever is greater. Heartbeats are `interval` seconds apart.
    #[must_use]
    pub fn lag(&self, interval: i64, now: Timestamp) -> i64 {
        let overdue = |since: Timestamp| now.secs().saturating_sub(since.secs()) - interval;
        match self.last {
            Some(heartbeat) => {
                let delay = heartbeat.done.secs().saturating_sub(heartbeat.sent.secs());
                delay.max(overdue(heartbeat.sent)).max(0)
            }
            None => overdue(self.since).max(0),
        }
    }
}

/// Compares a lag with an alert threshold, both in seconds.
#[must_use]
pub fn lag_status(lag: i64, threshold: i64) -> LagStatus {
    if lag >= threshold.saturating_mul(STALLED_LAG_FACTOR) {
        LagStatus::Stalled
    } else if lag >= threshold {
        LagStatus::Lagging
    } else {
        LagStatus::WithinThreshold
    }
}

/// Whether a lag is above three quarters of a limit. An open alert for that limit is not resolved
/// then, because the lag may reach the limit again soon.
#[must_use]
pub fn is_near_limit(lag: i64, limit: i64) -> bool {
    lag.saturating_mul(4) > limit.saturating_mul(3)
}

/// The lag of each channel at one time. The ledger keeps the samples of the last days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LagSample {
    /// When the lag was measured.
    pub at: Timestamp,
    /// Lag of the catalog channel in seconds.
    pub catalog: i64,
    /// Lag of the permission channel in seconds.
    pub permissions: i64,
    /// Lag of the objects in seconds, if there are canaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<i64>,
}

impl LagSample {
    /// Returns the lag of a channel in seconds; `None` if it was not measured.
    #[must_use]
    pub fn lag(&self, channel: Channel) -> Option<i64> {
        match channel {
            Channel::Catalog => Some(self.catalog),
            Channel::Permissions => Some(self.permissions),
            Channel::Storage => self.storage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn heartbeat(sent: i64, done: i64) -> Heartbeat {
        Heartbeat {
            sent: at(sent),
            done: at(done),
        }
    }

    #[test]
    fn the_lag_is_the_delay_of_the_newest_heartbeat_until_the_next_is_overdue() {
        let health = ChannelHealth {
            since: at(0),
            last: Some(heartbeat(600, 607)),
        };
        assert_eq!(health.lag(60, at(610)), 7);
        assert_eq!(health.lag(60, at(667)), 7);
        assert_eq!(
            health.lag(60, at(700)),
            40,
            "the heartbeat of 660 is missing"
        );
    }

    #[test]
    fn a_channel_without_heartbeats_lags_from_the_start_of_monitoring() {
        let health = ChannelHealth {
            since: at(0),
            last: None,
        };
        assert_eq!(health.lag(60, at(30)), 0);
        assert_eq!(health.lag(60, at(400)), 340);
    }

    #[test]
    fn an_older_heartbeat_that_arrives_late_changes_nothing() {
        let health = ChannelHealth {
            since: at(0),
            last: Some(heartbeat(600, 607)),
        };
        assert_eq!(health.record(heartbeat(540, 900)), health);
        assert_eq!(
            health.record(heartbeat(660, 661)).last,
            Some(heartbeat(660, 661))
        );
    }

    #[test]
    fn the_lag_status_depends_on_the_threshold() {
        let statuses = [89, 90, 359, 360].map(|lag| lag_status(lag, 90));
        let (within, lagging) = (LagStatus::WithinThreshold, LagStatus::Lagging);
        assert_eq!(statuses, [within, lagging, lagging, LagStatus::Stalled]);
    }
}
