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

/// Files of the commit that the standby shows which exist no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostFiles {
    /// Their number.
    pub missing: usize,
    /// Some of them.
    pub samples: Vec<String>,
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
    /// When the files of the commit that is shown were last looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
}

/// How long after a look a relocated commit is looked at again.
pub const SHOWN_LOOK_SECS: i64 = 6 * 3600;

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
    /// that does. One that is relocated is looked at again after some hours: what was rewritten may have
    /// been deleted.
    #[must_use]
    pub fn is_due(&self, entry: &IcebergEntry, found_with: &str, now: Timestamp) -> bool {
        if self.is_relocated(entry) {
            let looked_at = self.verified_at;
            return looked_at.is_none_or(|at| at.plus_secs(SHOWN_LOOK_SECS) <= now);
        }
        let Some(waiting) = self.obstacle(entry) else {
            return true;
        };
        match waiting.obstacle {
            RelocationObstacle::Refused(_) => waiting.found_with != found_with,
            RelocationObstacle::DataPending { .. }
            | RelocationObstacle::Unfinished { .. }
            | RelocationObstacle::Failed { .. } => {
                let soon = now.plus_secs(LOOK_TOLERANCE_SECS);
                waiting.next_look_at.is_none_or(|next| next <= soon)
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

    /// Records that all files of a commit are in the standby. Commits that were seen before it are
    /// forgotten.
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
        self.lost = None;
        self.verified_at = Some(now);
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
