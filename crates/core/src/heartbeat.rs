//! Heartbeats: small changes that the primary makes to objects of its own each minute, and
//! that travel the same way as everybody's.
//!
//! One is a change to a Glue table, of which Glue's own event tells; the other one is a
//! change to a data cells filter on it, of which only CloudTrail tells. When the handler of
//! such an event has made the secondary equal, it notes when the change was made and when it
//! was done. From the newest of them the lag of each channel is told.
//!
//! The time of a beat on the catalog's channel is the event's `time`, which AWS sets when it
//! sends the event: what Glue takes before that is not in the figure. CloudTrail's
//! `eventTime` is that of the call itself.

use crate::name::{Name, TableId};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The database of the heartbeat, in both Regions. Every policy covers it.
pub const DATABASE: &str = "twinlake_heartbeat";
/// Its table.
pub const TABLE: &str = "beat";
/// The data cells filter on the table, and the table's one column.
pub const FILTER: &str = "beat";

/// Whether a database is the heartbeat's.
#[must_use]
pub fn is_database(name: &Name) -> bool {
    name.as_str() == DATABASE
}

/// Whether a table is the heartbeat's.
#[must_use]
pub fn is_table(id: &TableId) -> bool {
    is_database(&id.database) && id.table.as_str() == TABLE
}

/// A way that changes come from the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// Glue's own events, over the queue of catalog changes.
    Catalog,
    /// CloudTrail's records, over the queue of permission changes.
    Permissions,
}

impl Channel {
    /// Every channel.
    pub const EVERY: [Self; 2] = [Self::Catalog, Self::Permissions];

    /// The channel as it stands in metrics and in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Permissions => "permissions",
        }
    }

    /// What the channel brings, for people.
    #[must_use]
    pub fn brings(self) -> &'static str {
        match self {
            Self::Catalog => "changes of the catalog (Glue's own events)",
            Self::Permissions => "changes of permissions (CloudTrail)",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A heartbeat that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Beat {
    /// When the primary was changed.
    pub sent: Timestamp,
    /// When the secondary was found equal after it.
    pub done: Timestamp,
}

/// What is known of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// Since when the channel is watched.
    pub since: Timestamp,
    /// The newest beat that has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Beat>,
}

/// How a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Within its objective.
    Fresh,
    /// Behind its objective.
    Lagging,
    /// Nothing has come for [`SILENT_AFTER`] objectives.
    Silent,
}

/// So many times its objective a channel may lag before it counts as silent.
pub const SILENT_AFTER: i64 = 4;

impl Pulse {
    /// Takes in a beat; the newest one counts.
    #[must_use]
    pub fn hear(self, beat: Beat) -> Self {
        let newer = self.last.is_none_or(|last| last.sent < beat.sent);
        Self {
            last: if newer { Some(beat) } else { self.last },
            ..self
        }
    }

    /// How far the channel is behind, in seconds: what the newest beat took, or how long the
    /// one after it is overdue, whichever is more. Beats are `interval` seconds apart.
    #[must_use]
    pub fn lag(&self, interval: i64, now: Timestamp) -> i64 {
        let overdue = |since: Timestamp| now.secs().saturating_sub(since.secs()) - interval;
        match self.last {
            Some(beat) => {
                let took = beat.done.secs().saturating_sub(beat.sent.secs());
                took.max(overdue(beat.sent)).max(0)
            }
            None => overdue(self.since).max(0),
        }
    }
}

/// How a lag stands against an objective, both in seconds.
#[must_use]
pub fn judge(lag: i64, objective: i64) -> Verdict {
    if lag >= objective.saturating_mul(SILENT_AFTER) {
        Verdict::Silent
    } else if lag >= objective {
        Verdict::Lagging
    } else {
        Verdict::Fresh
    }
}

/// Whether a lag is so near to its limit that it may be over it again at once: then nobody is
/// told that it is over.
#[must_use]
pub fn is_near(lag: i64, limit: i64) -> bool {
    lag.saturating_mul(4) > limit.saturating_mul(3)
}

/// The lag of each channel at one time, as the ledger keeps it for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Seconds behind on the catalog's channel.
    pub catalog: i64,
    /// Seconds behind on the permissions' channel.
    pub permissions: i64,
}

impl Sample {
    /// The lag of a channel.
    #[must_use]
    pub fn of(&self, channel: Channel) -> i64 {
        match channel {
            Channel::Catalog => self.catalog,
            Channel::Permissions => self.permissions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn beat(sent: i64, done: i64) -> Beat {
        Beat {
            sent: at(sent),
            done: at(done),
        }
    }

    #[test]
    fn the_lag_is_what_the_newest_beat_took_until_the_next_is_overdue() {
        let pulse = Pulse {
            since: at(0),
            last: Some(beat(600, 607)),
        };
        assert_eq!(pulse.lag(60, at(610)), 7);
        assert_eq!(pulse.lag(60, at(667)), 7);
        assert_eq!(pulse.lag(60, at(700)), 40, "the one of 660 has not come");
    }

    #[test]
    fn a_channel_that_never_beat_lags_since_it_is_watched() {
        let pulse = Pulse {
            since: at(0),
            last: None,
        };
        assert_eq!(pulse.lag(60, at(30)), 0);
        assert_eq!(pulse.lag(60, at(400)), 340);
    }

    #[test]
    fn an_older_beat_that_comes_late_changes_nothing() {
        let pulse = Pulse {
            since: at(0),
            last: Some(beat(600, 607)),
        };
        assert_eq!(pulse.hear(beat(540, 900)), pulse);
        assert_eq!(pulse.hear(beat(660, 661)).last, Some(beat(660, 661)));
    }

    #[test]
    fn the_verdict_is_by_objective() {
        let verdicts = [89, 90, 359, 360].map(|lag| judge(lag, 90));
        let (fresh, lagging) = (Verdict::Fresh, Verdict::Lagging);
        assert_eq!(verdicts, [fresh, lagging, lagging, Verdict::Silent]);
    }
}
