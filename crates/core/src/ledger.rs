//! What the ledger stores: one row for each subject with its pairing and state, resync
//! runs, and the deletion budget.

mod pending_objects;

pub use pending_objects::{
    ExpectedReplica, MAX_SAMPLES_PER_REASON, MissingObjects, PendingObjects,
};

use crate::catalog::PrincipalPermissions;
use crate::scope::{Facet, Subject};
use crate::timestamp::Timestamp;
use crate::topology::{BySite, SiteId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The formats of everything that is stored: one number for each kind. A reader that
/// meets a higher one reports it and changes nothing.
pub mod format {
    /// Of a row, a resync run, an incident, and every other record of the ledger.
    pub const LEDGER: u32 = 1;

    /// Why a stored record cannot be read, and what to do.
    #[must_use]
    pub fn unknown(kind: &str, found: u32) -> String {
        format!(
            "{kind} is stored in format {found} and this Twinlake reads format {LEDGER}; deploy \
             the newer version of Twinlake here too, or use its command"
        )
    }
}

fn ledger_format() -> u32 {
    format::LEDGER
}

/// Two objects, one in each site, of which the one in the standby belongs to Twinlake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairing {
    /// When the object of each site was created. If the standby's reads otherwise one
    /// day, somebody made it anew and it no longer belongs to Twinlake.
    pub created: BySite<Option<Timestamp>>,
    /// Digest of what was last found or written in each site, where that is known.
    pub digest: BySite<Option<String>>,
    /// The standby's object is a resource link: nothing is ever written below it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub link: bool,
}

impl Pairing {
    /// Whether the object of a site has the digest that was last found or written there.
    #[must_use]
    pub fn has_digest(&self, site: SiteId, digest: &str) -> bool {
        self.digest.get(site).as_deref() == Some(digest)
    }

    /// When the object of a site was created.
    #[must_use]
    pub fn created_in(&self, site: SiteId) -> Option<Timestamp> {
        *self.created.get(site)
    }
}

/// The state of a subject. Every state but `InSync` needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectState {
    /// Equal to the primary when it was last read.
    InSync,
    /// Known to differ; the next events or the next resync bring it in sync.
    OutOfSync,
    /// Held back by the policy or the deletion limit until a person decides.
    OnHold,
    /// The catalog entry is there and its objects have not arrived yet.
    DataPending,
    /// Twinlake cannot bring it in sync; the reason says why.
    Blocked,
}

impl SubjectState {
    /// Every state but [`SubjectState::InSync`].
    pub const NOT_IN_SYNC: [Self; 4] = [
        Self::OutOfSync,
        Self::OnHold,
        Self::DataPending,
        Self::Blocked,
    ];
}

impl fmt::Display for SubjectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InSync => "in-sync",
            Self::OutOfSync => "out-of-sync",
            Self::OnHold => "on-hold",
            Self::DataPending => "data-pending",
            Self::Blocked => "blocked",
        })
    }
}

/// One change of a subject's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateTransition {
    /// When.
    pub at: Timestamp,
    /// What it became.
    pub state: SubjectState,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The most state transitions that a row keeps.
pub const MAX_HISTORY: usize = 10;

/// All that the ledger holds on one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The format of the row.
    #[serde(default = "ledger_format")]
    pub format: u32,
    /// The subject.
    pub subject: Subject,
    /// Its pairing. Without one nothing in the standby belongs to Twinlake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<Pairing>,
    /// Digest of the object that Twinlake was about to create. It is written before the
    /// call, so that after a crash the object is recognised even if the primary went on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_digest: Option<String>,
    /// Its state.
    pub state: SubjectState,
    /// Since when.
    pub since: Timestamp,
    /// Why, unless it is in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When a listing last showed the subject while it was reconciled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<Timestamp>,
    /// When the subject was last read in full and found equal to the primary, as of the
    /// last time that the row was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// The facets that were read when it was last found not to be in sync: only a read
    /// of all of them finds it in sync again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub detected_by: BTreeSet<Facet>,
    /// Whether the deletion limit holds it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over_deletion_limit: bool,
    /// The primary's own default permissions for new tables, kept while the standby's are
    /// closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_default: Option<Vec<PrincipalPermissions>>,
    /// Where the files of a table are in the primary: S3 replication notices are mapped
    /// to tables by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_location: Option<String>,
    /// The last changes of its state, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<StateTransition>,
    /// How many partitions the standby held when they were last counted.
    #[serde(default)]
    pub partitions: usize,
    /// Keys of the paired items of a Lake Formation subject: LF-Tags, LF-Tag expressions,
    /// registrations, administrators. Only those are ever removed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub managed_keys: BTreeSet<String>,
}

impl LedgerRow {
    /// Whether the deletion limit holds its deletion until a person approves it.
    #[must_use]
    pub fn is_over_deletion_limit(&self) -> bool {
        self.over_deletion_limit && self.state == SubjectState::OnHold
    }

    /// The row with the history of the row that it replaces, and its own change of state.
    #[must_use]
    pub fn with_history_of(mut self, old: Option<&Self>) -> Self {
        self.history = old.map(|old| old.history.clone()).unwrap_or_default();
        if old.is_none_or(|old| old.state != self.state) {
            let change = StateTransition {
                at: self.since,
                state: self.state,
                reason: self.reason.clone(),
            };
            self.history.insert(0, change);
            self.history.truncate(MAX_HISTORY);
        }
        self
    }

    /// A row that pairs nothing yet.
    #[must_use]
    pub fn new(subject: Subject, state: SubjectState, since: Timestamp) -> Self {
        Self {
            format: format::LEDGER,
            subject,
            pairing: None,
            intent_digest: None,
            state,
            since,
            reason: None,
            listed_at: None,
            verified_at: None,
            detected_by: BTreeSet::new(),
            over_deletion_limit: false,
            table_default: None,
            source_location: None,
            history: Vec::new(),
            partitions: 0,
            managed_keys: BTreeSet::new(),
        }
    }
}

/// Rows by subject.
pub type LedgerRows = BTreeMap<Subject, LedgerRow>;

/// Object counts by kind: of what is paired, or of what was deleted within an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectCounts {
    /// Databases.
    pub databases: usize,
    /// Tables.
    pub tables: usize,
    /// Partitions.
    pub partitions: usize,
}

/// When all partitions of a table were last scanned because an event asked for it, and
/// when the next scan is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionScanSchedule {
    /// The last scan.
    pub last: Option<Timestamp>,
    /// The next scan, if one is scheduled.
    pub next: Option<Timestamp>,
}

/// What the schedule decides on an event that asks for a scan of a table's partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionScan {
    /// Scan now.
    Now,
    /// Scan at this time: another scan has just been made.
    At(Timestamp),
    /// A scan that is already scheduled for this time covers the event.
    Covered(Timestamp),
}

/// The shortest time between two partition scans of one table that events ask for.
pub const PARTITION_SCAN_INTERVAL_SECS: i64 = 300;

impl PartitionScanSchedule {
    /// Decides on one more event, and returns the schedule that follows.
    ///
    /// A scan that is scheduled for later reads what changed before it, so it covers
    /// every event until then.
    #[must_use]
    pub fn request(self, now: Timestamp) -> (PartitionScan, Self) {
        let due = self.next.filter(|next| *next <= now);
        let last = self.last.max(due);
        let free = last.map(|last| last.plus_secs(PARTITION_SCAN_INTERVAL_SECS));
        match (self.next.filter(|next| *next > now), free) {
            (Some(next), _) => (PartitionScan::Covered(next), self),
            (None, Some(free)) if free > now => {
                let next = Some(free);
                (PartitionScan::At(free), Self { last, next })
            }
            (None, _) => {
                let last = Some(now);
                (PartitionScan::Now, Self { last, next: None })
            }
        }
    }
}

/// One resync from start to end, over however many messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResyncRun {
    /// The format of the record.
    #[serde(default = "ledger_format")]
    pub format: u32,
    /// Identifies the run.
    pub id: String,
    /// When its first read began: `verified_at`, if the run completes.
    pub started: Timestamp,
    /// Parts that have not ended yet, by name.
    pub outstanding: BTreeSet<String>,
    /// Whether a part could not be read; such a run verifies nothing.
    #[serde(default)]
    pub unread: bool,
}

impl ResyncRun {
    /// A run that starts with one outstanding part.
    #[must_use]
    pub fn new(id: String, started: Timestamp, part: String) -> Self {
        Self {
            format: format::LEDGER,
            id,
            started,
            outstanding: BTreeSet::from([part]),
            unread: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_events_cause_one_partition_scan_in_five_minutes_and_the_last_is_covered() {
        let at = Timestamp::from_secs;
        let mut schedule = PartitionScanSchedule::default();
        let mut request = |now| {
            let (decision, next) = schedule.request(at(now));
            schedule = next;
            decision
        };
        assert_eq!(request(0), PartitionScan::Now);
        assert_eq!(request(10), PartitionScan::At(at(300)));
        assert_eq!(request(20), PartitionScan::Covered(at(300)));
        assert_eq!(request(299), PartitionScan::Covered(at(300)));
        assert_eq!(
            request(300),
            PartitionScan::At(at(600)),
            "the scan that was due at 300 may have read it already"
        );
        assert_eq!(request(1200), PartitionScan::Now);
    }
}
