//! What the ledger knows of the relocation of an Iceberg table: which commit its entry in the standby may
//! show, and why it is not the newest one.

use crate::catalog::{Column, Observed, Table, digest};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The parameter of an Iceberg table's entry that names its metadata.json (GL-01).
pub const METADATA_LOCATION: &str = "metadata_location";
/// The parameter that names the metadata.json before it.
pub const PREVIOUS_METADATA_LOCATION: &str = "previous_metadata_location";

/// A commit as the primary's entry shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcebergEntry {
    /// `metadata_location`: the metadata.json of the commit.
    pub source: String,
    /// The location of the table as the entry has it; empty if it has none. Whoever made the entry had the
    /// right to use it: no file outside it is read for the table.
    #[serde(default)]
    pub location: String,
    /// A digest of the columns that the entry has.
    pub columns: String,
    /// When the table was created: a table that replaces another one has other commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
}

impl IcebergEntry {
    /// The commit that an entry shows; `None` if the entry names no metadata.json.
    #[must_use]
    pub fn of(observed: &Observed<Table>) -> Option<Self> {
        let columns: Vec<&Column> = observed.object.columns().collect();
        let source = observed.object.parameters.get(METADATA_LOCATION)?;
        let storage = observed.object.storage_descriptor.as_ref();
        let location = storage.and_then(|storage| storage.location.clone());
        Some(Self {
            source: source.clone(),
            location: location.unwrap_or_default(),
            columns: digest(&columns),
            created: observed.created,
        })
    }

    /// Whether another commit of the same table has the columns of this one.
    fn may_stand_for(&self, other: &Self) -> bool {
        self.columns == other.columns && self.created == other.created
    }
}

/// A relocated commit: all its files are in the standby, and name each other there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelocatedCommit {
    /// The commit in the primary.
    pub entry: IcebergEntry,
    /// The relocated metadata.json.
    pub metadata_location: String,
    /// The replica of the metadata.json before it, as its log says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_metadata_location: Option<String>,
}

/// Why a commit could not be relocated yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelocationObstacle {
    /// Files have not arrived.
    DataPending {
        /// Their number, as far as it is known: a manifest that has not arrived names more.
        missing: usize,
        /// One of them.
        first: String,
    },
    /// There was no time yet to rewrite all files.
    Unfinished {
        /// The number of files that are known to be left.
        left: usize,
    },
    /// A file is refused: of a format or kind that is not relocated.
    Refused(String),
    /// A file could not be read or written.
    Failed {
        /// The error.
        error: String,
        /// Whether a permission is missing.
        is_denied: bool,
        /// Whether only a change, such as of a permission, can help: the same call fails again.
        #[serde(default)]
        is_permanent: bool,
    },
}

/// A commit that is not relocated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingCommit {
    /// The commit in the primary.
    pub entry: IcebergEntry,
    /// Since when the entry in the standby shows an older commit, or none.
    pub since: Timestamp,
    /// When it is looked at again by a message that is in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_look_at: Option<Timestamp>,
    /// Whether it waits for longer than the objective.
    #[serde(default)]
    pub is_overdue: bool,
    /// Why.
    pub obstacle: RelocationObstacle,
    /// The policy and the version of Twinlake that the obstacle was found with: a refusal holds for them.
    #[serde(default)]
    pub found_with: String,
}

/// Files of the commit that the standby shows which exist no more, or have another size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostFiles {
    /// Their number.
    pub missing: usize,
    /// Some of them.
    pub samples: Vec<String>,
    /// When they are looked for again by a message that is in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_look_at: Option<Timestamp>,
}

/// An Iceberg table whose files are to be relocated or looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueIcebergTable {
    /// The commit that the primary's entry shows.
    pub entry: IcebergEntry,
    /// The metadata.json that the entry in the standby shows; `None` if there is none.
    pub standby_pointer: Option<String>,
}

/// The relocation of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcebergReplica {
    /// The commit that the entry in the standby may show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<RelocatedCommit>,
    /// The newest commit, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitingCommit>,
    /// Commits that were seen since the one that is shown, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<IcebergEntry>,
    /// What is missing of the commit that is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostFiles>,
    /// When all files of the commit that was shown then were last looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// When they were last to be looked for, also if that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Timestamp>,
    /// Why they were not looked for, if that failed for longer than [`UNVERIFIED_SECS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
}

/// How long after all files of the commit that is shown were looked for they are looked for again.
pub const SHOWN_LOOK_SECS: i64 = 6 * 3600;

/// How long the files of the commit that is shown may not be looked for until people are told: two looks failed.
pub const UNVERIFIED_SECS: i64 = 2 * SHOWN_LOOK_SECS;

/// How early a message that has a commit looked at again may arrive.
const LOOK_TOLERANCE_SECS: i64 = 10;

/// The most commits in [`IcebergReplica::seen`].
pub const MAX_SEEN_COMMITS: usize = 16;

impl IcebergReplica {
    /// The commit that the entry in the standby may show while the primary's shows `entry`: that one, or
    /// an older one of the table with the same columns.
    #[must_use]
    pub fn commit_for(&self, entry: &IcebergEntry) -> Option<&RelocatedCommit> {
        let shown = self.shown.as_ref()?;
        (shown.entry == *entry || shown.entry.may_stand_for(entry)).then_some(shown)
    }

    /// Whether the entry in the standby may show this commit of the primary's entry.
    #[must_use]
    pub fn is_relocated(&self, entry: &IcebergEntry) -> bool {
        let shown = self.shown.as_ref();
        shown.is_some_and(|commit| commit.entry == *entry)
    }

    /// Why a commit is not relocated; `None` if it was not tried yet.
    #[must_use]
    pub fn obstacle(&self, entry: &IcebergEntry) -> Option<&WaitingCommit> {
        self.waiting.as_ref().filter(|one| one.entry == *entry)
    }

    /// Whether to relocate the commit of an entry now: it is not relocated, it was not refused with the
    /// policy and version `found_with` (as [`WaitingCommit::found_with`]), and no message is in the queue
    /// that does. One that is relocated is looked at again after some hours, as its files may have been
    /// deleted, and earlier if some were, or if what was rewritten could not be looked at.
    #[must_use]
    pub fn is_due(&self, entry: &IcebergEntry, found_with: &str, now: Timestamp) -> bool {
        let soon = now.plus_secs(LOOK_TOLERANCE_SECS);
        let is_time = |next: Option<Timestamp>| next.is_none_or(|next| next <= soon);
        if self.is_relocated(entry) {
            let is_failed = (self.obstacle(entry)).is_some_and(|one| is_time(one.next_look_at));
            let is_lost = (self.lost.as_ref()).is_some_and(|lost| is_time(lost.next_look_at));
            return is_failed || is_lost || self.is_check_due(SHOWN_LOOK_SECS, now);
        }
        let Some(waiting) = self.obstacle(entry) else {
            return true;
        };
        match waiting.obstacle {
            RelocationObstacle::Refused(_) => waiting.found_with != found_with,
            RelocationObstacle::DataPending { .. }
            | RelocationObstacle::Unfinished { .. }
            | RelocationObstacle::Failed { .. } => is_time(waiting.next_look_at),
        }
    }

    /// Whether the files of the commit that is shown were not to be looked for in so many seconds.
    #[must_use]
    pub fn is_check_due(&self, interval_secs: i64, now: Timestamp) -> bool {
        let last = self.verified_at.max(self.tried_at);
        last.is_none_or(|at| at.plus_secs(interval_secs) <= now)
    }

    /// Records what is missing of the commit that is shown, or why that is not known.
    pub fn record_check(&mut self, check: Result<Option<LostFiles>, String>, now: Timestamp) {
        self.tried_at = Some(now);
        match check {
            Ok(lost) => {
                self.lost = lost;
                self.verified_at = Some(now);
                self.unverified = None;
            }
            Err(reason) => {
                let verified = self.verified_at;
                let is_long = verified.is_none_or(|at| at.plus_secs(UNVERIFIED_SECS) <= now);
                self.unverified = is_long.then_some(reason);
            }
        }
    }

    /// Whether a commit of the table is refused. A policy or version that differs may accept it.
    #[must_use]
    pub fn is_refused(&self, entry: &IcebergEntry) -> bool {
        self.obstacle(entry)
            .is_some_and(|waiting| matches!(waiting.obstacle, RelocationObstacle::Refused(_)))
    }

    /// Whether the entry in the standby shows an older commit for too long, also if the newest one was not
    /// tried yet.
    #[must_use]
    pub fn is_overdue(&self, entry: &IcebergEntry) -> bool {
        let of_table = |waiting: &&WaitingCommit| waiting.entry.created == entry.created;
        let waiting = self.waiting.as_ref().filter(of_table);
        !self.is_relocated(entry) && waiting.is_some_and(|waiting| waiting.is_overdue)
    }

    /// The commits to try, the best first: the newest, and those before it that were seen since the one
    /// that is shown and have the same columns.
    #[must_use]
    pub fn candidates(&self, newest: &IcebergEntry) -> Vec<IcebergEntry> {
        let shown = self.shown.as_ref().map(|commit| &commit.entry);
        let older =
            self.seen.iter().rev().filter(|seen| {
                *seen != newest && Some(*seen) != shown && seen.may_stand_for(newest)
            });
        std::iter::once(newest).chain(older).cloned().collect()
    }

    /// Records that the primary's entry showed a commit.
    pub fn record_seen(&mut self, entry: &IcebergEntry) {
        self.seen.retain(|seen| seen != entry);
        self.seen.push(entry.clone());
        let excess = self.seen.len().saturating_sub(MAX_SEEN_COMMITS);
        self.seen.drain(..excess);
    }

    /// Records that a commit is relocated: all files that came with it are in the standby, and of the first one
    /// of a table, or after some were lost, all files. Commits that were seen before it are forgotten.
    pub fn record_relocated(&mut self, commit: RelocatedCommit, now: Timestamp) {
        if let Some(at) = self.seen.iter().position(|seen| *seen == commit.entry) {
            self.seen.drain(..=at);
        }
        if self
            .waiting
            .as_ref()
            .is_some_and(|one| one.entry == commit.entry)
        {
            self.waiting = None;
        }
        let shown = self.shown.as_ref().map(|shown| &shown.entry);
        if shown.is_none_or(|shown| shown.created != commit.entry.created) {
            self.verified_at = Some(now);
            self.unverified = None;
        }
        if shown != Some(&commit.entry) {
            self.lost = None;
        }
        self.shown = Some(commit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(source: &str, columns: &str) -> IcebergEntry {
        IcebergEntry {
            source: source.to_owned(),
            location: "s3://lake/t".to_owned(),
            columns: columns.to_owned(),
            created: Some(Timestamp::from_millis(1)),
        }
    }

    fn relocated(entry: &IcebergEntry) -> RelocatedCommit {
        RelocatedCommit {
            entry: entry.clone(),
            metadata_location: format!("{}'", entry.source),
            previous_metadata_location: None,
        }
    }

    #[test]
    fn an_older_commit_stands_for_a_newer_one_of_the_same_table_and_columns_only() {
        let mut replica = IcebergReplica::default();
        let first = entry("m1", "c");
        replica.record_relocated(relocated(&first), Timestamp::from_millis(5));
        assert!(replica.is_relocated(&first) && replica.commit_for(&first).is_some());
        assert!(replica.commit_for(&entry("m2", "c")).is_some());
        assert!(!replica.is_relocated(&entry("m2", "c")));
        assert!(replica.commit_for(&entry("m2", "d")).is_none());
        let recreated = IcebergEntry {
            created: Some(Timestamp::from_millis(2)),
            ..entry("m2", "c")
        };
        assert!(replica.commit_for(&recreated).is_none());
    }

    #[test]
    fn candidates_are_the_newest_and_the_seen_ones_with_its_columns() {
        let mut replica = IcebergReplica::default();
        for seen in [
            entry("m1", "c"),
            entry("m2", "d"),
            entry("m3", "c"),
            entry("m4", "c"),
        ] {
            replica.record_seen(&seen);
        }
        let sources = |replica: &IcebergReplica, newest: &IcebergEntry| -> Vec<String> {
            let candidates = replica.candidates(newest).into_iter();
            candidates.map(|one| one.source).collect()
        };
        let newest = entry("m4", "c");
        assert_eq!(sources(&replica, &newest), ["m4", "m3", "m1"]);
        replica.record_relocated(relocated(&entry("m3", "c")), Timestamp::from_millis(5));
        assert_eq!(sources(&replica, &newest), ["m4"]);
        for number in 0..40 {
            replica.record_seen(&entry(&number.to_string(), "c"));
        }
        assert_eq!(replica.seen.len(), MAX_SEEN_COMMITS);
    }

    #[test]
    fn a_commit_is_due_unless_it_is_relocated_refused_or_in_the_queue() {
        let mut replica = IcebergReplica::default();
        let commit = entry("m1", "c");
        assert!(replica.is_due(&commit, "p", Timestamp::from_millis(10)));
        let waits = |obstacle, next_look_at| {
            Some(WaitingCommit {
                entry: commit.clone(),
                since: Timestamp::from_millis(1),
                next_look_at,
                is_overdue: false,
                obstacle,
                found_with: "p".to_owned(),
            })
        };
        replica.waiting = waits(
            RelocationObstacle::Unfinished { left: 1 },
            Some(Timestamp::from_millis(11).plus_secs(LOOK_TOLERANCE_SECS)),
        );
        assert!(!replica.is_due(&commit, "p", Timestamp::from_millis(10)));
        assert!(replica.is_due(&commit, "p", Timestamp::from_millis(11)));
        assert!(replica.is_due(&entry("m2", "c"), "p", Timestamp::from_millis(10)));
        replica.waiting = waits(RelocationObstacle::Refused("orc".to_owned()), None);
        assert!(replica.is_refused(&commit) && !replica.is_refused(&entry("m2", "c")));
        assert!(!replica.is_due(&commit, "p", Timestamp::from_millis(10)));
        assert!(replica.is_due(&commit, "another policy", Timestamp::from_millis(10)));
        replica.record_relocated(relocated(&commit), Timestamp::from_millis(12));
        assert!(
            !replica.is_due(&commit, "p", Timestamp::from_millis(20)) && replica.waiting.is_none()
        );
        assert!(replica.is_due(
            &commit,
            "p",
            Timestamp::from_millis(12).plus_secs(SHOWN_LOOK_SECS)
        ));
    }

    #[test]
    fn the_files_of_a_table_with_many_commits_are_looked_for_in_turn() {
        let at = |secs| Timestamp::from_millis(0).plus_secs(secs);
        let mut replica = IcebergReplica::default();
        replica.record_relocated(relocated(&entry("m1", "c")), at(0));
        replica.record_relocated(relocated(&entry("m2", "c")), at(SHOWN_LOOK_SECS - 1));
        assert!(!replica.is_check_due(SHOWN_LOOK_SECS, at(SHOWN_LOOK_SECS - 1)));
        assert!(replica.is_check_due(SHOWN_LOOK_SECS, at(SHOWN_LOOK_SECS)));
        // One that fails is not repeated with each commit, and is told once two failed.
        replica.record_check(Err("late".to_owned()), at(SHOWN_LOOK_SECS));
        assert!(!replica.is_check_due(SHOWN_LOOK_SECS, at(SHOWN_LOOK_SECS + 60)));
        assert_eq!(replica.unverified, None);
        replica.record_check(Err("late".to_owned()), at(UNVERIFIED_SECS));
        assert_eq!(replica.unverified.as_deref(), Some("late"));
        replica.record_check(Ok(None), at(UNVERIFIED_SECS + 1));
        assert_eq!(replica.unverified, None);
    }

    #[test]
    fn lost_files_are_looked_for_sooner_and_belong_to_one_commit() {
        let at = |secs| Timestamp::from_millis(0).plus_secs(secs);
        let mut replica = IcebergReplica::default();
        let first = entry("m1", "c");
        replica.record_relocated(relocated(&first), at(0));
        let lost = LostFiles {
            missing: 1,
            samples: vec!["f".to_owned()],
            next_look_at: Some(at(900)),
        };
        replica.record_check(Ok(Some(lost)), at(0));
        assert!(!replica.is_due(&first, "p", at(800)) && replica.is_due(&first, "p", at(900)));
        replica.record_relocated(relocated(&first), at(900));
        assert!(replica.lost.is_some(), "its rewritten files are there");
        replica.record_relocated(relocated(&entry("m2", "c")), at(960));
        assert_eq!(replica.lost, None);
    }

    #[test]
    fn a_table_stays_overdue_while_a_new_commit_was_not_tried_yet() {
        let mut replica = IcebergReplica::default();
        let old = entry("m1", "c");
        replica.waiting = Some(WaitingCommit {
            entry: old.clone(),
            since: Timestamp::from_millis(1),
            next_look_at: None,
            is_overdue: true,
            obstacle: RelocationObstacle::Unfinished { left: 1 },
            found_with: String::new(),
        });
        let newer = entry("m2", "c");
        assert!(replica.is_overdue(&old) && replica.is_overdue(&newer));
        let recreated = IcebergEntry {
            created: Some(Timestamp::from_millis(2)),
            ..newer.clone()
        };
        assert!(!replica.is_overdue(&recreated));
        replica.record_relocated(relocated(&newer), Timestamp::from_millis(5));
        assert!(!replica.is_overdue(&newer));
    }
}
