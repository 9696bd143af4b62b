//! What the ledger stores: one row for each subject with its pairing and state, resync
//! runs, and the deletion budget.

mod item_keys;
mod lf_tag_lease;
mod object_counts;
mod pending_objects;
mod scan_schedule;

pub use item_keys::{
    admin_intent, admin_key, dated_intent, has_item_intent, intended_item, item_intent,
    item_under_way, managed_item_key, read_only_admin_key,
};
pub use lf_tag_lease::{EarlierHolder, LfTagLease};
pub use object_counts::{DeletionCounts, ObjectCounts};
pub use pending_objects::{
    ExpectedReplica, MAX_SAMPLES_PER_REASON, MissingObjects, PendingObjects,
};
pub use scan_schedule::{
    CATALOG_SCAN_INTERVAL_SECS, PARTITION_SCAN_INTERVAL_SECS, ScanDecision, ScanSchedule,
    ScanTarget,
};

use crate::catalog::PrincipalPermissions;
use crate::grant::PermissionGrant;
use crate::iceberg_replica::IcebergReplica;
use crate::log_replica::LogReplica;
use crate::scope::{Facet, GrantCallTimes, LfSubject, Subject};
use crate::timestamp::Timestamp;
use crate::topology::{BySite, Epoch, SiteId};
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

    /// Whether the pairing is of the object of a site that was created at this time. An object without a creation
    /// time cannot be told from another one of its name.
    #[must_use]
    pub fn is_of_object(&self, site: SiteId, created: Option<Timestamp>) -> bool {
        created.is_some() && self.created_in(site) == created
    }

    /// The pairing to record of a subject whose row another run may have changed from `base` to
    /// `stored`, while this one found `found`. A pairing that either of them found is kept. If both
    /// found one, that of the newer object of the standby is: an object that was recreated has a
    /// later creation time. The creation time in the primary is the earlier of the two, which says
    /// that the table was recreated until a reconciliation has read all its partitions.
    #[must_use]
    pub fn merge(
        base: Option<&Self>,
        found: Option<Self>,
        stored: Option<&Self>,
        epoch: Epoch,
    ) -> Option<Self> {
        let (Some(stored), Some(mut new)) = (stored, found.clone()) else {
            return stored.cloned().or(found);
        };
        if new.is_of_newer_object(stored, epoch) || base == Some(stored) {
            return Some(match stored.is_of_newer_object(&new, epoch) {
                true => stored.clone(),
                false => new,
            });
        }
        if base == Some(&new) || stored.is_of_newer_object(&new, epoch) {
            return Some(stored.clone());
        }
        let primary = epoch.primary();
        let (ours, theirs) = (new.created_in(primary), stored.created_in(primary));
        *new.created.get_mut(primary) = ours.min(theirs).or(ours);
        Some(new)
    }

    /// Whether it pairs a newer object of the standby than another pairing.
    #[must_use]
    pub fn is_of_newer_object(&self, other: &Self, epoch: Epoch) -> bool {
        self.created_in(epoch.standby()) > other.created_in(epoch.standby())
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
    /// Held back by the policy; or its deletions are held by the deletion limit, until a person
    /// approves them, or the hour is over.
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

/// The most values of partitions that a row keeps in [`LedgerRow::problem_partitions`].
pub const MAX_PROBLEM_PARTITIONS: usize = 20;

/// The most intents that a row keeps.
const MAX_INTENTS: usize = 8;

/// The longest time between an intent and the end of its call: the time limit of a Lambda function
/// (15 minutes), and a minute for the call that it made last.
const LONGEST_RUN_SECS: i64 = 16 * 60;

/// An object that one run of a function is about to create. They sort by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Intent {
    /// When it was recorded.
    pub at: Timestamp,
    /// A random number of the run.
    pub run: u64,
    /// The digest of the object.
    pub digest: String,
}

impl Intent {
    /// Whether the run that recorded it may still be making the call.
    #[must_use]
    pub fn is_recent(&self, now: Timestamp) -> bool {
        may_be_under_way(self.at, now)
    }
}

/// How far the clocks of two functions may differ.
const CLOCK_SKEW_SECS: i64 = 60;

/// Whether a run that recorded something at a time may still be at work. A time further ahead than any clock is of no
/// run: nothing waits for its end.
fn may_be_under_way(at: Timestamp, now: Timestamp) -> bool {
    at.plus_secs(LONGEST_RUN_SECS) > now && at <= now.plus_secs(CLOCK_SKEW_SECS)
}

/// The row of one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The format of the row.
    #[serde(default = "ledger_format")]
    pub format: u32,
    /// The version of the stored row, which each write increments; `None` if the row was never
    /// stored. A row is written only if the stored one still has this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The subject.
    pub subject: Subject,
    /// The pairing. Without one, Twinlake does not manage the standby's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<Pairing>,
    /// What Twinlake is about to create. It is stored before the call, so that after a crash the
    /// object is recognised even if the primary's has changed since.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub intents: BTreeSet<Intent>,
    /// The state.
    pub state: SubjectState,
    /// When it entered this state.
    pub since: Timestamp,
    /// The reason for the state, unless it is in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the subject's database was last scanned in full, as of the last time that the row was
    /// written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<Timestamp>,
    /// When the subject was last read in full and found equal to the primary, as of the
    /// last time that the row was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// The facets that its problems were found in: only a read of all of them finds it in sync
    /// again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub problem_facets: BTreeSet<Facet>,
    /// The values of partitions that could not be made equal: a read of them, or of all partitions,
    /// finds it in sync again. At most [`MAX_PROBLEM_PARTITIONS`]; of more,
    /// [`LedgerRow::problem_facets`] names all partitions.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub problem_partitions: BTreeSet<Vec<String>>,
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
    /// The relocation of an Iceberg table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iceberg: Option<IcebergReplica>,
    /// What was found of the log of a Delta or Hudi table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogReplica>,
    /// The last changes of its state, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<StateTransition>,
    /// Number of partitions in the standby, as last counted.
    #[serde(default)]
    pub partitions: usize,
    /// Keys of the paired items of a Lake Formation subject: LF-Tags, LF-Tag expressions,
    /// registrations, administrators. Twinlake removes only these. Among them are the intents
    /// ([`item_intent`]) of items that were about to be created.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub managed_keys: BTreeSet<String>,
    /// The version of `managed_keys`: they are written apart from the rest of the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_keys_version: Option<u64>,
    /// Of the Lake Formation permissions: when events say that grants were made and revoked which the primary
    /// lists, and might list after their revoke.
    #[serde(
        default,
        with = "crate::scope::pairs",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub grant_calls: BTreeMap<PermissionGrant, GrantCallTimes>,
}

impl LedgerRow {
    /// Whether the standby may have an object that Twinlake made or manages: the row has a pairing,
    /// or records the intent to create it.
    #[must_use]
    pub fn may_have_object(&self) -> bool {
        self.pairing.is_some() || !self.intents.is_empty()
    }

    /// Whether Twinlake was about to create the object that has this digest.
    #[must_use]
    pub fn intends(&self, digest: &str) -> bool {
        self.intents.iter().any(|intent| intent.digest == digest)
    }

    /// Records that a run is about to create an object with this digest. Returns whether that was
    /// not recorded. Of many intents, the newest are kept.
    pub fn record_intent(&mut self, run: u64, digest: &str, now: Timestamp) -> bool {
        let is_same = |intent: &Intent| intent.run == run && intent.digest == digest;
        if self.intents.iter().any(is_same) {
            return false;
        }
        self.intents.insert(Intent {
            at: now,
            run,
            digest: digest.to_owned(),
        });
        while self.intents.len() > MAX_INTENTS {
            self.intents.pop_first();
        }
        true
    }

    /// Whether a function other than the one of this run may be creating the object at this moment:
    /// it recorded an intent within the time that a function may run.
    #[must_use]
    pub fn is_creation_under_way(&self, run: u64, now: Timestamp) -> bool {
        let mut intents = self.intents.iter();
        intents.any(|intent| intent.run != run && intent.is_recent(now))
    }

    /// Removes the intents of a run, and those of functions that have ended.
    pub fn forget_intents(&mut self, run: u64, now: Timestamp) {
        self.intents
            .retain(|intent| intent.run != run && intent.is_recent(now));
    }

    /// Whether a table has files of a commit, or of its log, that are missing, cannot be looked for, or cannot be used:
    /// its state may rest on them, and Twinlake looks at them again by itself.
    #[must_use]
    pub fn waits_for_files(&self) -> bool {
        let of_iceberg = self.iceberg.as_ref().is_some_and(|replica| {
            replica.waiting.is_some() || replica.lost.is_some() || replica.unverified.is_some()
        });
        let of_log = self.log.as_ref().is_some_and(|log| {
            log.findings.missing.is_some() || log.leads_out() || log.findings.unread.is_some()
        });
        of_iceberg || of_log
    }

    /// The version of the row after it is written. That of a new row is the time since when it has its state: a
    /// row that is deleted and made again must not get a version that it had before.
    #[must_use]
    pub fn next_version(&self) -> u64 {
        let first = u64::try_from(self.since.millis()).unwrap_or_default();
        self.version.map_or(first, |version| version + 1)
    }

    /// Whether the deletion limit holds deletions of it, until a person approves them, or the hour
    /// is over.
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

    /// The row of a Lake Formation subject of which only managed keys are stored: something of it
    /// was about to be created. Its state began at no known time.
    #[must_use]
    pub fn of_managed_keys(lf_subject: LfSubject, managed_keys: BTreeSet<String>) -> Self {
        let subject = Subject::LakeFormation(lf_subject);
        let state = SubjectState::OutOfSync;
        Self {
            managed_keys,
            ..Self::new(subject, state, Timestamp::default())
        }
    }

    /// Creates a row without a pairing.
    #[must_use]
    pub fn new(subject: Subject, state: SubjectState, since: Timestamp) -> Self {
        Self {
            format: format::LEDGER,
            version: None,
            subject,
            pairing: None,
            intents: BTreeSet::new(),
            state,
            since,
            reason: None,
            listed_at: None,
            verified_at: None,
            problem_facets: BTreeSet::new(),
            problem_partitions: BTreeSet::new(),
            over_deletion_limit: false,
            table_default: None,
            source_location: None,
            iceberg: None,
            log: None,
            history: Vec::new(),
            partitions: 0,
            managed_keys: BTreeSet::new(),
            managed_keys_version: None,
            grant_calls: BTreeMap::new(),
        }
    }
}

/// Rows by subject.
pub type LedgerRows = BTreeMap<Subject, LedgerRow>;

/// The deletions of the last hour that count against the deletion limit, by minute since the Unix
/// epoch. One item of the ledger holds them all, so that a conditional write spends of the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionLog<C = ObjectCounts>(BTreeMap<i64, C>);

/// The deletion limit counts the deletions of this many minutes.
const DELETION_WINDOW_MINUTES: i64 = 60;

impl<C: DeletionCounts> DeletionLog<C> {
    /// The deletions in the hour before `now`.
    #[must_use]
    pub fn last_hour(&self, now: Timestamp) -> C {
        let counts = self
            .0
            .range(Self::first_minute(now)..)
            .map(|(_, counts)| counts.clone());
        counts.fold(C::default(), C::plus)
    }

    /// The log with more deletions, without those before the last hour.
    #[must_use]
    pub fn with(mut self, now: Timestamp, counts: C) -> Self {
        self.0 = self.0.split_off(&Self::first_minute(now));
        let minute = self.0.entry(now.secs().div_euclid(60)).or_default();
        *minute = minute.clone().plus(counts);
        self
    }

    fn first_minute(now: Timestamp) -> i64 {
        now.secs().div_euclid(60) - DELETION_WINDOW_MINUTES + 1
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

/// The last complete resync run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedRun {
    /// When it began.
    pub started_at: Timestamp,
    /// The digest of the policy that it had.
    pub policy_digest: String,
    /// The number of the epoch that it ran in.
    pub epoch: u64,
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
    fn a_row_that_is_deleted_and_made_again_gets_no_version_that_it_had() {
        let row = |secs| {
            LedgerRow::new(
                Subject::Catalog,
                SubjectState::InSync,
                Timestamp::from_secs(secs),
            )
        };
        let mut versions = Vec::new();
        let mut first = row(100);
        for _ in 0..5 {
            first.version = Some(first.next_version());
            versions.extend(first.version);
        }
        assert!(versions.is_sorted() && !versions.contains(&row(101).next_version()));
    }

    #[test]
    fn an_object_without_a_creation_time_is_no_paired_object() {
        let site = Epoch::INITIAL.standby();
        let at = |secs| Some(Timestamp::from_secs(secs));
        let pairing = |created| Pairing {
            created: BySite::from_roles(Epoch::INITIAL, None, created),
            digest: BySite::from_roles(Epoch::INITIAL, None, None),
            link: false,
        };
        assert!(pairing(at(1)).is_of_object(site, at(1)));
        assert!(!pairing(at(1)).is_of_object(site, at(2)));
        assert!(!pairing(at(1)).is_of_object(site, None));
        assert!(!pairing(None).is_of_object(site, None));
    }

    #[test]
    fn the_pairing_of_two_functions_is_that_of_the_newest_object_of_the_standby() {
        let epoch = Epoch::INITIAL;
        let pairing = |primary, standby| {
            let at = |secs| Some(Timestamp::from_secs(secs));
            Some(Pairing {
                created: BySite::from_roles(epoch, at(primary), at(standby)),
                digest: BySite::from_roles(epoch, None, None),
                link: false,
            })
        };
        let merge = |base: &Option<Pairing>, found: &Option<Pairing>, stored: &Option<Pairing>| {
            Pairing::merge(base.as_ref(), found.clone(), stored.as_ref(), epoch)
        };
        let (old, new) = (pairing(1, 5), pairing(1, 9));
        for base in [None, old.clone()] {
            assert_eq!(merge(&base, &base, &new), new, "only the other one paired");
            assert_eq!(merge(&base, &new, &base), new, "only this one paired");
            assert_eq!(
                merge(&base, &new, &None),
                new,
                "the other one deleted the row"
            );
        }
        assert_eq!(merge(&new, &old, &new), new, "an old read");
        for base in [None, pairing(1, 3)] {
            assert_eq!(merge(&base, &old, &new), new);
            assert_eq!(merge(&base, &new, &old), new);
            // The partitions of a recreated table may be missing still.
            assert_eq!(merge(&base, &pairing(7, 5), &old), old);
            assert_eq!(merge(&base, &old, &pairing(7, 5)), old);
        }
    }

    #[test]
    fn a_count_that_is_too_large_does_not_wrap() {
        let most = ObjectCounts {
            databases: usize::MAX,
            tables: usize::MAX,
            partitions: usize::MAX,
            items: usize::MAX,
        };
        assert_eq!(most.plus(most), most);
    }

    #[test]
    fn a_deletion_counts_for_an_hour_and_the_log_forgets_older_ones() {
        let at = Timestamp::from_secs;
        let tables = |tables| ObjectCounts {
            tables,
            ..ObjectCounts::default()
        };
        let log = DeletionLog::default().with(at(59), tables(2));
        let log = log.with(at(60), tables(3));
        assert_eq!(log.last_hour(at(3599)), tables(5));
        assert_eq!(log.last_hour(at(3600)), tables(3));
        assert_eq!(log.last_hour(at(3660)), tables(0));
        let log = log.with(at(3600), tables(1));
        assert_eq!(log.0.len(), 2, "{log:?}");
        assert_eq!(log.last_hour(at(3600)), tables(4));
    }
}
