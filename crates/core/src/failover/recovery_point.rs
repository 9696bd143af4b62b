//! What a failover loses: how far the surviving Region is behind, as its own ledger knows it.

use crate::heartbeat::{Channel, ChannelHealth};
use crate::ledger::{LedgerRow, LedgerRows, PendingObjects, SubjectState};
use crate::name::TableId;
use crate::scope::Subject;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most subjects, and the most tables with pending objects, that a journal lists. The rows of the ledger
/// name all of them.
pub const MAX_LISTED_SUBJECTS: usize = 100;

/// A subject that is not in sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BehindSubject {
    /// The subject.
    pub subject: Subject,
    /// Its state.
    pub state: SubjectState,
    /// Since when.
    pub since: Timestamp,
    /// When it was last found equal to the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal_at: Option<Timestamp>,
    /// The reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A table with files that had not arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingTable {
    /// The table.
    pub table: TableId,
    /// The number of its objects that S3 has not replicated.
    pub objects: usize,
    /// Since when.
    pub since: Timestamp,
}

/// How far the surviving Region is behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryPoint {
    /// When this was read.
    pub read_at: Timestamp,
    /// The number of paired databases.
    pub databases: usize,
    /// When the last heartbeat was sent that arrived, by channel: changes that were made before it have
    /// arrived, as far as no event was lost. For S3, the canary of the slowest replication rule.
    pub heartbeats: BTreeMap<Channel, Timestamp>,
    /// The start of the last complete resync: what is not listed equalled the primary then, or later.
    pub verified_at: Option<Timestamp>,
    /// The number of subjects in each state other than in sync.
    pub not_in_sync: BTreeMap<SubjectState, usize>,
    /// Those subjects, the longest out of sync first: at most [`MAX_LISTED_SUBJECTS`].
    pub behind: Vec<BehindSubject>,
    /// All those subjects. A journal keeps them as [`FailoverJournal::left_out`](super::FailoverJournal::left_out),
    /// where it goes on without them.
    #[serde(skip)]
    pub all_behind: BTreeSet<Subject>,
    /// The number of tables with pending objects.
    pub pending_tables: usize,
    /// Those tables, the longest pending first: at most [`MAX_LISTED_SUBJECTS`].
    pub pending: Vec<PendingTable>,
    /// What of this could not be read, with the reason: it is unknown.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unread: BTreeSet<String>,
}

impl RecoveryPoint {
    /// Computes it from what the ledger holds: the rows of databases, the rows that are not in sync, the
    /// health of the channels, the start of the last complete resync, and the pending objects.
    #[must_use]
    pub fn new(
        read_at: Timestamp,
        (databases, not_in_sync): (&LedgerRows, &LedgerRows),
        channels: &BTreeMap<Channel, ChannelHealth>,
        verified_at: Option<Timestamp>,
        pending: &BTreeMap<TableId, PendingObjects>,
    ) -> Self {
        let is_behind = |row: &&LedgerRow| row.state != SubjectState::InSync;
        let mut rows: Vec<&LedgerRow> = not_in_sync.values().filter(is_behind).collect();
        rows.sort_by_key(|row| row.since);
        let mut counts = BTreeMap::new();
        for row in &rows {
            *counts.entry(row.state).or_default() += 1;
        }
        let mut tables: Vec<PendingTable> = pending
            .iter()
            .map(|(table, pending)| PendingTable {
                table: table.clone(),
                objects: pending.count(),
                since: pending.since,
            })
            .collect();
        tables.sort_by_key(|table| table.since);
        let all_behind = rows.iter().map(|row| row.subject.clone()).collect();
        let behind = rows.into_iter().take(MAX_LISTED_SUBJECTS);
        Self {
            read_at,
            databases: databases
                .values()
                .filter(|row| row.pairing.is_some())
                .count(),
            heartbeats: channels
                .iter()
                .filter_map(|(channel, health)| Some((*channel, health.last?.sent)))
                .collect(),
            verified_at,
            not_in_sync: counts,
            behind: behind.map(BehindSubject::of_row).collect(),
            all_behind,
            pending_tables: tables.len(),
            pending: tables.into_iter().take(MAX_LISTED_SUBJECTS).collect(),
            unread: BTreeSet::new(),
        }
    }

    /// When the last heartbeat was sent that had arrived on every channel of events; `None` if one is unknown.
    #[must_use]
    pub fn arrived_until(&self) -> Option<Timestamp> {
        let sent = Channel::OF_EVENTS.map(|channel| self.heartbeats.get(&channel).copied());
        sent.into_iter().min().flatten()
    }
}

impl BehindSubject {
    fn of_row(row: &LedgerRow) -> Self {
        Self {
            subject: row.subject.clone(),
            state: row.state,
            since: row.since,
            equal_at: row.verified_at,
            reason: row.reason.clone(),
        }
    }
}
