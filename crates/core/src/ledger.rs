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

/// Format numbers of stored records. A reader that finds a higher number than it knows reports
/// it and changes nothing.
pub mod format {
    /// The format of every record of the ledger.
    pub const LEDGER: u32 = 1;

    /// Why a stored record cannot be read, and what to do.
    #[must_use]
    pub fn unknown(kind: &str, found: u32) -> String {
        format!(
            "{kind} is stored in format {found} and this Twinlake reads format {LEDGER}; deploy \
             the newer version of Twinlake in this Region too, or use its command"
        )
    }
}

fn ledger_format() -> u32 {
    format::LEDGER
}

/// Two objects, one in each site. Twinlake manages the one in the standby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairing {
    /// When the object of each site was created. If the creation time in the standby differs later,
    /// somebody else recreated the object, and Twinlake does not manage it.
    pub created: BySite<Option<Timestamp>>,
    /// Digest of the object that was last read or written in each site, if it is known.
    pub digest: BySite<Option<String>>,
    /// The standby's object is a resource link: nothing is ever written below it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub link: bool,
}

impl Pairing {
    /// Whether this is the digest of the object that was last read or written in the site.
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
    /// When the state changed.
    pub at: Timestamp,
    /// The new state.
    pub state: SubjectState,
    /// The reason, unless the subject is in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The most state transitions that a row keeps.
pub const MAX_HISTORY: usize = 10;

/// The row of one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The format of the row.
    #[serde(default = "ledger_format")]
    pub format: u32,
    /// The subject.
    pub subject: Subject,
    /// The pairing. Without one, Twinlake does not manage the standby's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<Pairing>,
    /// Digest of the object that Twinlake is about to create. It is stored before the call, so that
    /// after a crash the object is recognised even if the primary's has changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_digest: Option<String>,
    /// The state.
    pub state: SubjectState,
    /// When it entered this state.
    pub since: Timestamp,
    /// The reason for the state, unless it is in sync.
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
    /// The location of the files of a table in the primary. S3 replication notices are mapped to
    /// tables by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_location: Option<String>,
    /// The last changes of its state, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<StateTransition>,
    /// Number of partitions in the standby, as last counted.
    #[serde(default)]
    pub partitions: usize,
    /// Keys of the paired items of a Lake Formation subject: LF-Tags, LF-Tag expressions,
    /// registrations, administrators. Twinlake removes only these.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub managed_keys: BTreeSet<String>,
}

impl LedgerRow {
    /// Whether the standby may have an object that Twinlake made or manages: the row has a pairing,
    /// or records the intent to create it.
    #[must_use]
    pub fn may_have_object(&self) -> bool {
        self.pairing.is_some() || self.intent_digest.is_some()
    }

    /// Whether the deletion limit holds its deletion until a person approves it.
    #[must_use]
    pub fn is_over_deletion_limit(&self) -> bool {
        self.over_deletion_limit && self.state == SubjectState::OnHold
    }

    /// Returns the row with the history of the row that it replaces, and with its own state
    /// transition.
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

    /// Creates a row without a pairing.
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

/// When all partitions of a table were last scanned because of an event, and when the next scan
/// is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionScanSchedule {
    /// The last scan.
    pub last_scan_at: Option<Timestamp>,
    /// The next scan, if one is scheduled.
    pub next_scan_at: Option<Timestamp>,
}

/// The decision on an event that requests a scan of a table's partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionScan {
    /// Scan now.
    Now,
    /// Scan at this time: another scan has just been made.
    At(Timestamp),
    /// A scan that is already scheduled for this time covers the event.
    Covered(Timestamp),
}

/// The minimum interval between two partition scans of one table that events request.
pub const PARTITION_SCAN_INTERVAL_SECS: i64 = 300;

impl PartitionScanSchedule {
    /// Decides on one more event, and returns the schedule that follows.
    ///
    /// A scan that is scheduled for later reads what changed before it, so it covers
    /// every event until then.
    #[must_use]
    pub fn request(self, now: Timestamp) -> (PartitionScan, Self) {
        let due = self.next_scan_at.filter(|next| *next <= now);
        let last_scan_at = self.last_scan_at.max(due);
        let earliest = last_scan_at.map(|last| last.plus_secs(PARTITION_SCAN_INTERVAL_SECS));
        match (self.next_scan_at.filter(|next| *next > now), earliest) {
            (Some(next), _) => (PartitionScan::Covered(next), self),
            (None, Some(earliest)) if earliest > now => {
                let updated = Self {
                    last_scan_at,
                    next_scan_at: Some(earliest),
                };
                (PartitionScan::At(earliest), updated)
            }
            (None, _) => {
                let updated = Self {
                    last_scan_at: Some(now),
                    next_scan_at: None,
                };
                (PartitionScan::Now, updated)
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
    pub started_at: Timestamp,
    /// Parts that have not ended yet, by name.
    pub outstanding_parts: BTreeSet<String>,
    /// Whether a part could not be read; such a run verifies nothing.
    #[serde(default)]
    pub has_unread_part: bool,
}

impl ResyncRun {
    /// A run that starts with one outstanding part.
    #[must_use]
    pub fn new(id: String, started_at: Timestamp, part: String) -> Self {
        Self {
            format: format::LEDGER,
            id,
            started_at,
            outstanding_parts: BTreeSet::from([part]),
            has_unread_part: false,
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
