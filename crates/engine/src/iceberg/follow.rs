//! Follows the commits of an Iceberg table: relocates the newest one whose files are all in the standby, and
//! records it in the ledger. A reconciliation then points the catalog entry at it.

mod lost_files;
mod stored_memory;
#[cfg(test)]
mod tests;
mod unneeded_removal;

use super::{
    FileProgress, HeldFiles, IcebergError, RelocationOutcome, RelocationRequest, RelocationSource,
    WorkLimits, relocate_with_memory,
};
use crate::ports::{Clock, Ledger, StatsStore, TableFiles};
use crate::retry_message::RetryMessage;
use crate::time_limit;
use crate::versioned_item::{self, ItemUpdate, RowItem};
use lost_files::lost_files;
use std::collections::BTreeSet;
use stored_memory::{StoreOutcome, StoredMemory};
use twinlake_core::iceberg_replica::{
    DueIcebergTable, IcebergEntry, IcebergReplica, LostFiles, RelocatedCommit, RelocationObstacle,
    SHOWN_LOOK_SECS, WaitingCommit,
};
use twinlake_core::location::Location;
use twinlake_core::scope::{Facet, ReadRequest};
use twinlake_core::topology::Epoch;
use twinlake_core::{
    CallError, CallErrorKind, LedgerRow, Policy, Scope, Subject, TableId, Timestamp,
};
use twinlake_iceberg::{PathMap, TableFindingKind};
use unneeded_removal::begin_removal;

/// How long after a look a commit that is not complete is looked at again.
pub const LOOK_INTERVAL_SECS: u16 = 60;
/// As [`LOOK_INTERVAL_SECS`], of a commit that waits for more than [`SLOW_LOOKS_AFTER_SECS`].
pub(crate) const SLOW_LOOK_INTERVAL_SECS: u16 = 900;
pub(crate) const SLOW_LOOKS_AFTER_SECS: i64 = 3600;
/// How long before its end a look begins nothing that takes long.
pub const STOP_MARGIN_SECS: i64 = 15;
/// How long a commit may wait before people are told: what S3 Replication Time Control promises.
pub(crate) const OVERDUE_SECS: i64 = 900;
/// How long a commit is retried by messages; the resync goes on from there.
const DEADLINE_SECS: i64 = 3600;
/// How often the files of the commit that is shown are looked for while a newer one is not complete, and while
/// some are lost.
const SHOWN_CHECK_INTERVAL_SECS: u16 = 900;

/// What tables are followed with.
#[derive(Debug)]
pub struct Follower<'a, F, L, C> {
    /// The files of the standby.
    pub files: &'a F,
    /// The ledger of the standby.
    pub ledger: &'a L,
    /// The clock.
    pub clock: &'a C,
    /// The files in memory, of all tables together.
    pub held: &'a HeldFiles,
    /// The policy, whose location pairs map the paths.
    pub policy: &'a Policy,
    /// The epoch, which says which site is the primary.
    pub epoch: Epoch,
}

/// What follows from a look at a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCheck {
    /// The table is to be reconciled, or looked at, at once.
    AtOnce,
    /// The table is looked at again after so many seconds.
    Later(u16),
    /// Nothing is to be done: no other commit can be shown before the next event or resync.
    None,
}

impl NextCheck {
    /// The message that has a table looked at again, with its delay in seconds.
    #[must_use]
    pub fn message(self, id: &TableId, now: Timestamp) -> Option<(RetryMessage, u16)> {
        let delay = match self {
            Self::AtOnce => 0,
            Self::Later(delay) => delay,
            Self::None => return None,
        };
        let mut scope = Scope::default();
        let request = ReadRequest::for_facets(&[Facet::Definition]);
        scope.add(Subject::Table(id.clone()), request);
        let message = RetryMessage::new(scope, now.plus_secs(DEADLINE_SECS));
        Some((message, delay))
    }
}

/// How a look at the files ended.
#[derive(Debug, Default)]
struct Look {
    /// The commit that is complete.
    relocated: Option<RelocatedCommit>,
    /// Why the newest commit is not that one.
    obstacle: Option<RelocationObstacle>,
    /// What is missing of the commit that is shown then, or why that is not known, if it was to be looked for.
    check: Option<Result<Option<LostFiles>, String>>,
    /// Whether something was rewritten or found that the next look need not repeat.
    has_progressed: bool,
}

impl<F: TableFiles, L: Ledger + StatsStore, C: Clock> Follower<'_, F, L, C> {
    /// Looks at a table. The look ends at `stop_at` at the latest, and what it did until then is recorded: the
    /// rest is for another call.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    pub async fn look(
        &self,
        id: &TableId,
        table: &DueIcebergTable,
        stop_at: Timestamp,
    ) -> Result<NextCheck, CallError> {
        let (entry, subject) = (&table.entry, Subject::Table(id.clone()));
        let mut rows = self.ledger.rows(&BTreeSet::from([subject.clone()])).await?;
        let Some(row) = rows.remove(&subject) else {
            // The reconciliation that found the table writes its row, and sends a message if it cannot.
            return Ok(NextCheck::Later(LOOK_INTERVAL_SECS));
        };
        let mut replica = row.iceberg.unwrap_or_default();
        if !replica.is_due(entry, &found_with(self.policy), self.clock.now()) {
            return Ok(NextCheck::None);
        }
        replica.record_seen(entry);
        let mut memory = StoredMemory::load(self.files, self.ledger, id, self.epoch).await?;
        let is_late = || self.clock.now().plus_secs(STOP_MARGIN_SECS) >= stop_at;
        // If the shown metadata.json cannot be read, nothing is removed; the look says why.
        let pointer = table.standby_pointer.as_deref();
        let now = self.clock.now();
        let due = memory.memory.due_removals(now);
        let due: BTreeSet<&str> = due.filter_map(unneeded_removal::table_location).collect();
        let location = row.source_location.as_deref();
        let unshared = self.unshared_locations((id, location), due).await?;
        let removal = begin_removal(self.files, &mut memory, &replica, pointer, (now, &unshared));
        let unneeded = removal.await.unwrap_or_default();
        let mut look = Look::default();
        let tries = self.try_commits(&replica, entry, (&mut memory, &mut look), &is_late);
        if time_limit::within(tries, stop_at, self.clock.now())
            .await
            .is_none()
            && look.relocated.is_none()
            && look.obstacle.is_none()
        {
            look.obstacle = Some(RelocationObstacle::Unfinished { left: 1 });
        }
        match memory.store(self.files, self.ledger, id).await? {
            StoreOutcome::Unchanged => {}
            StoreOutcome::Stored => {
                look.has_progressed = true;
                unneeded_removal::remove(self.files, &unneeded, &is_late).await;
            }
            StoreOutcome::Overtaken => return Ok(NextCheck::Later(LOOK_INTERVAL_SECS)),
            StoreOutcome::Failed(error) => {
                look.relocated = None;
                look.obstacle = Some(obstacle_of(error.into()));
            }
        }
        self.record(&subject, &replica, entry, look).await
    }

    /// Those of the locations in the standby that no entry has but that of the table itself. Another one may show a
    /// commit of which the memory of this table knows nothing: also at a former location of the table, where the file
    /// names of a table that has it now are the same.
    async fn unshared_locations(
        &self,
        (id, own): (&TableId, Option<&str>),
        locations: BTreeSet<&str>,
    ) -> Result<BTreeSet<String>, CallError> {
        let own = own.and_then(|own| Location::parse(own).ok());
        let Ok(map) = path_map(self.policy, self.epoch) else {
            return Ok(BTreeSet::new());
        };
        let mut unshared = BTreeSet::new();
        for location in locations {
            let source = map.source_of(location);
            let Some(Ok(source)) = source.map(|source| Location::parse(&source)) else {
                continue;
            };
            let (bucket, prefix) = (source.bucket(), source.prefix());
            let tables = self.ledger.tables_at_location(bucket, &prefix).await?;
            let is_own = own
                .as_ref()
                .is_some_and(|own| own.bucket() == bucket && own.prefix() == prefix);
            let is_unshared = match is_own {
                true => tables == [id.clone()],
                false => tables.is_empty(),
            };
            if is_unshared {
                unshared.insert(location.to_owned());
            }
        }
        Ok(unshared)
    }

    async fn try_commits(
        &self,
        replica: &IcebergReplica,
        newest: &IcebergEntry,
        (memory, look): (&mut StoredMemory, &mut Look),
        is_late: &dyn Fn() -> bool,
    ) {
        let is_shown = replica.is_relocated(newest);
        for commit in replica.candidates(newest) {
            match self.relocate(&commit, memory, is_late).await {
                Ok(relocated) => {
                    look.relocated = Some(relocated);
                    break;
                }
                // What is missing of the commit that is shown is lost, which the check says.
                Err(RelocationObstacle::DataPending { .. }) if is_shown => break,
                Err(obstacle) if commit == *newest => look.obstacle = Some(obstacle),
                Err(_) => {}
            }
            if is_late() {
                return;
            }
            if is_shown {
                break;
            }
        }
        let waits = look.obstacle.is_some() && !is_shown;
        if is_check_due(replica, waits, self.clock.now()) && !is_late() {
            self.check_shown(replica, newest, (memory, look), is_late)
                .await;
        }
    }

    /// Looks for all files of the commit that is shown after this look.
    async fn check_shown(
        &self,
        replica: &IcebergReplica,
        newest: &IcebergEntry,
        (memory, look): (&mut StoredMemory, &mut Look),
        is_late: &dyn Fn() -> bool,
    ) {
        let Some(shown) = look.relocated.as_ref().or(replica.shown.as_ref()).cloned() else {
            return;
        };
        if look.relocated.is_none() && shown.entry != *newest {
            // What was rewritten of it may be gone, and is written again.
            let _ = self.relocate(&shown.entry, memory, is_late).await;
        }
        let found = lost_files(self.files, &shown.metadata_location, self.held, is_late).await;
        let lost = match found {
            Ok(Some(lost)) => lost,
            Ok(None) => {
                let reason = "there was no time to look for all of them".to_owned();
                look.check = Some(Err(reason));
                return;
            }
            Err(error) => {
                look.check = Some(Err(error.to_string()));
                return;
            }
        };
        if lost.missing == 0 {
            look.check = Some(Ok(None));
            return;
        }
        memory.memory.forget_found();
        if Some(&shown.entry) == replica.shown.as_ref().map(|shown| &shown.entry) {
            look.check = Some(Ok(Some(lost)));
            return;
        }
        // Files that came with earlier commits are gone: the entry does not move, and the next look says whether
        // they are lost for the commit that it shows, too.
        look.relocated = None;
        look.obstacle
            .get_or_insert(RelocationObstacle::DataPending {
                missing: lost.missing,
                first: lost.samples.into_iter().next().unwrap_or_default(),
            });
    }

    /// Relocates one commit, or says what stands in the way.
    async fn relocate(
        &self,
        commit: &IcebergEntry,
        memory: &mut StoredMemory,
        is_late: &dyn Fn() -> bool,
    ) -> Result<RelocatedCommit, RelocationObstacle> {
        let map = path_map(self.policy, self.epoch).map_err(RelocationObstacle::Refused)?;
        let request = RelocationRequest {
            metadata_path: commit.source.clone(),
            map,
            table_location: Some(commit.location.clone()),
            pairing_id: None,
            source: RelocationSource::Replica,
        };
        let known = &mut memory.memory;
        let limits = WorkLimits {
            is_late,
            held: self.held,
        };
        match relocate_with_memory(self.files, &request, known, limits, &NoProgress).await {
            Ok(RelocationOutcome::Relocated(relocated)) => Ok(RelocatedCommit {
                entry: commit.clone(),
                metadata_location: relocated.metadata_path,
                previous_metadata_location: relocated.previous_metadata,
            }),
            Ok(RelocationOutcome::Pending(files)) => Err(RelocationObstacle::DataPending {
                missing: files.len(),
                first: files
                    .first()
                    .map(|file| file.path.clone())
                    .unwrap_or_default(),
            }),
            Ok(RelocationOutcome::Unfinished { left }) => {
                Err(RelocationObstacle::Unfinished { left })
            }
            Err(error) => Err(obstacle_of(error)),
        }
    }

    /// Records a look in the row of the table. If another run recorded one meanwhile, that one stays.
    async fn record(
        &self,
        subject: &Subject,
        base: &IcebergReplica,
        entry: &IcebergEntry,
        look: Look,
    ) -> Result<NextCheck, CallError> {
        let now = self.clock.now();
        let item = RowItem {
            ledger: self.ledger,
            subject,
        };
        versioned_item::update(&item, None, |stored: Option<LedgerRow>| {
            let Some(row) = stored else {
                return ItemUpdate::Keep(NextCheck::Later(LOOK_INTERVAL_SECS));
            };
            let mut replica = row.iceberg.clone().unwrap_or_default();
            if replica.shown != base.shown {
                return ItemUpdate::Keep(NextCheck::Later(LOOK_INTERVAL_SECS));
            }
            replica.record_seen(entry);
            let next = apply_look(&mut replica, entry, &look, (now, found_with(self.policy)));
            let row = LedgerRow {
                iceberg: Some(replica),
                ..row
            };
            ItemUpdate::Put(row, next)
        })
        .await
    }
}

/// Changes what the ledger knows of a table by a look at it that ended at `now`, with the policy and version
/// `found_with`.
fn apply_look(
    replica: &mut IcebergReplica,
    entry: &IcebergEntry,
    look: &Look,
    (now, found_with): (Timestamp, String),
) -> NextCheck {
    let before = (replica.shown.clone(), replica.lost.clone());
    let of_shown = |waiting: &&WaitingCommit| replica.is_relocated(&waiting.entry);
    let waited_since = replica.waiting.as_ref();
    let waited_since = waited_since.filter(|waiting| !of_shown(waiting) || waiting.entry == *entry);
    let waited_since = waited_since.map(|waiting| waiting.since);
    let earlier = replica.waiting.clone();
    if let Some(commit) = &look.relocated {
        replica.record_relocated(commit.clone(), now);
    }
    if let Some(check) = &look.check {
        replica.record_check(check.clone(), now);
    }
    let has_advanced = before.0 != replica.shown;
    let has_changed = has_advanced || !is_same_loss(before.1.as_ref(), replica.lost.as_ref());
    let Some(obstacle) = &look.obstacle else {
        replica.waiting = None;
        return next_look_for_lost(replica.lost.as_mut(), has_changed, now);
    };
    let since = waited_since.filter(|_| !has_advanced).unwrap_or(now);
    let next = next_look(obstacle, look.has_progressed, (since, now));
    let is_known =
        earlier.is_some_and(|one| one.entry == *entry && is_same_obstacle(&one.obstacle, obstacle));
    let next = match next {
        // A refusal is for the reconciliation, and so is an older commit that can be shown. It looks again.
        NextCheck::None if !is_known || has_changed => NextCheck::AtOnce,
        NextCheck::Later(_) if has_changed => NextCheck::AtOnce,
        NextCheck::AtOnce | NextCheck::Later(_) | NextCheck::None => next,
    };
    replica.waiting = Some(WaitingCommit {
        entry: entry.clone(),
        since,
        next_look_at: match next {
            NextCheck::Later(delay) => Some(now.plus_secs(i64::from(delay))),
            NextCheck::AtOnce | NextCheck::None => None,
        },
        // What does not pass by itself is told at once.
        is_overdue: since.plus_secs(OVERDUE_SECS) <= now || is_permanent(obstacle),
        obstacle: obstacle.clone(),
        found_with,
    });
    next
}

/// When a commit is looked at again that waits since `since`.
fn next_look(
    obstacle: &RelocationObstacle,
    has_progressed: bool,
    (since, now): (Timestamp, Timestamp),
) -> NextCheck {
    let later = match since.plus_secs(SLOW_LOOKS_AFTER_SECS) <= now {
        true => SLOW_LOOK_INTERVAL_SECS,
        false => LOOK_INTERVAL_SECS,
    };
    match obstacle {
        RelocationObstacle::Unfinished { .. } if has_progressed => NextCheck::AtOnce,
        RelocationObstacle::Refused(_)
        | RelocationObstacle::Failed {
            is_permanent: true, ..
        } => NextCheck::None,
        RelocationObstacle::Unfinished { .. }
        | RelocationObstacle::DataPending { .. }
        | RelocationObstacle::Failed { .. } => NextCheck::Later(later),
    }
}

/// Whether a failure stays until somebody changes something.
const fn is_permanent(obstacle: &RelocationObstacle) -> bool {
    matches!(
        obstacle,
        RelocationObstacle::Failed {
            is_permanent: true,
            ..
        }
    )
}

/// Whether an obstacle needs no new report. The text of an error may differ with each call.
fn is_same_obstacle(one: &RelocationObstacle, other: &RelocationObstacle) -> bool {
    one == other || (is_permanent(one) && is_permanent(other))
}

/// What a refusal holds for: the policy, whose pairs map the paths, and the version of Twinlake.
pub(crate) fn found_with(policy: &Policy) -> String {
    format!("{} {}", env!("CARGO_PKG_VERSION"), policy.digest())
}

/// Whether the files of the commit that is shown are to be looked for; `waits` if a newer one is not complete.
fn is_check_due(replica: &IcebergReplica, waits: bool, now: Timestamp) -> bool {
    let often = i64::from(SHOWN_CHECK_INTERVAL_SECS);
    let waits_long = replica
        .waiting
        .as_ref()
        .is_some_and(|waiting| waits && waiting.since.plus_secs(often) <= now);
    let interval = match waits_long || replica.lost.is_some() {
        true => often,
        false => SHOWN_LOOK_SECS,
    };
    replica.is_check_due(interval, now)
}

/// Whether the same files are lost as before.
fn is_same_loss(one: Option<&LostFiles>, other: Option<&LostFiles>) -> bool {
    let files = |lost: &LostFiles| (lost.missing, lost.samples.clone());
    one.map(files) == other.map(files)
}

/// When a table is looked at again whose newest commit is shown. What changed is for a reconciliation first,
/// which finds lost files due for a look, since no message is in the queue.
fn next_look_for_lost(
    lost: Option<&mut LostFiles>,
    has_changed: bool,
    now: Timestamp,
) -> NextCheck {
    let next = now.plus_secs(i64::from(SHOWN_CHECK_INTERVAL_SECS));
    match (lost, has_changed) {
        (_, true) => NextCheck::AtOnce,
        (None, false) => NextCheck::None,
        (Some(lost), false) => {
            lost.next_look_at = Some(next);
            NextCheck::Later(SHOWN_CHECK_INTERVAL_SECS)
        }
    }
}

/// The paths of the primary and those of the standby, by the location pairs of the policy.
pub(crate) fn path_map(policy: &Policy, epoch: Epoch) -> Result<PathMap, String> {
    let pairs: Vec<(String, String)> = (policy.locations.pairs().iter())
        .map(|pair| {
            let location = |site| pair.sites.get(site).without_trailing_slash();
            (location(epoch.primary()), location(epoch.standby()))
        })
        .collect();
    let pairs = pairs.iter();
    PathMap::new(pairs.map(|(source, target)| (source.as_str(), target.as_str())))
        .map_err(|error| format!("the location pairs of the policy cannot map its paths: {error}"))
}

fn obstacle_of(error: IcebergError) -> RelocationObstacle {
    match error {
        // Deleted between two reads, or half of what another run writes.
        IcebergError::Refused(finding) if finding.kind == TableFindingKind::MissingFile => {
            RelocationObstacle::Failed {
                error: finding.to_string(),
                is_denied: false,
                is_permanent: false,
            }
        }
        IcebergError::Refused(finding) => RelocationObstacle::Refused(finding.to_string()),
        IcebergError::PairingId(error) => RelocationObstacle::Refused(error.to_string()),
        IcebergError::Call(error) => RelocationObstacle::Failed {
            is_denied: error.kind == CallErrorKind::Denied,
            is_permanent: !error.kind.is_transient(),
            error: error.to_string(),
        },
    }
}

struct NoProgress;

impl FileProgress for NoProgress {
    fn files_expected(&self, _: usize) {}
    fn file_finished(&self) {}
}
