//! Wakes the crawlers and triggers of a new primary, which Twinlake has made there asleep: after the last step of a
//! takeover, one kind after the other, each proved by reading it again.
//!
//! A person asks for it by `wake` in `[takeover]` of the operation document. Nothing else waits for it. What a row of
//! the ledger pairs is woken, if its counterpart was seen to run by itself while the other Region was the primary last. A trigger that starts a job with
//! bookmarks stays asleep: bookmarks cannot be carried, and the first run would read
//! everything again.

use super::{MAX_ATTEMPTS, stored_record};
use crate::ports::{Clock, Ledger, WakeTools};
use crate::query::read_query_ledger;
use crate::write_fence::{EpochSource, WriteFence};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use twinlake_core::failover::{
    EpochRecord, FailoverJournal, FailoverStage, WAKEABLE_KINDS, WakeRecord, WakeResult,
};
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject, QueryRow, QueryRows};
use twinlake_core::topology::{Epoch, SiteId};
use twinlake_core::{CallError, CallErrorKind};

/// What is woken only under the lease of the Region's role.
pub struct FencedWakeTools<W, L, C> {
    tools: W,
    fence: Arc<WriteFence<L, C>>,
}

impl<W, L, C> FencedWakeTools<W, L, C> {
    /// Puts a fence before the writes.
    #[must_use]
    pub const fn new(tools: W, fence: Arc<WriteFence<L, C>>) -> Self {
        Self { tools, fence }
    }
}

impl<W: WakeTools, L: EpochSource, C: Clock> WakeTools for FencedWakeTools<W, L, C> {
    fn region(&self) -> &str {
        self.tools.region()
    }

    async fn list(&self, kind: QueryKind) -> Result<Vec<QueryObject>, CallError> {
        self.tools.list(kind).await
    }

    async fn read(&self, key: &ObjectKey) -> Result<QueryObject, CallError> {
        self.tools.read(key).await
    }

    async fn wake(&self, key: &ObjectKey, cron: Option<&str>) -> Result<(), CallError> {
        self.fence.check(self.tools.region()).await?;
        self.tools.wake(key, cron).await
    }
}

/// Who is told about the progress.
pub trait WakeProgress {
    /// A kind begins, with the number of its tools.
    fn kind_started(&self, kind: QueryKind, tools: usize);
}

impl WakeProgress for () {
    fn kind_started(&self, _: QueryKind, _: usize) {}
}

/// The journal of a completed takeover that made this site the primary, in whose epoch the ledger still is.
fn completed(record: &EpochRecord, site: SiteId) -> Option<&FailoverJournal> {
    let journal = record.failover.as_ref()?;
    let is_current = record.epoch.primary() == site && journal.to == record.epoch;
    (is_current && journal.stage == FailoverStage::Completed).then_some(journal)
}

/// The kinds that a completed takeover has still to wake, of those that are wanted.
#[must_use]
pub fn kinds_to_wake(
    record: &EpochRecord,
    site: SiteId,
    wanted: &BTreeSet<QueryKind>,
) -> Vec<QueryKind> {
    let Some(journal) = completed(record, site) else {
        return Vec::new();
    };
    let is_left = |kind: &QueryKind| {
        journal
            .woken
            .get(kind)
            .is_none_or(|known| !known.is_final())
    };
    let kinds = WAKEABLE_KINDS.into_iter();
    kinds
        .filter(|kind| wanted.contains(kind) && is_left(kind))
        .collect()
}

/// Wakes what the last takeover of this site has left asleep. Returns what the journal says then, by kind.
///
/// # Errors
/// The ledger cannot be reached, or others keep changing the record. It may be repeated.
pub async fn wake<W: WakeTools, L: Ledger, C: Clock>(
    tools: &W,
    (ledger, clock): (&L, &C),
    site: SiteId,
    wanted: &BTreeSet<QueryKind>,
    progress: &impl WakeProgress,
) -> Result<BTreeMap<QueryKind, WakeRecord>, CallError> {
    let record = stored_record(ledger).await?.0;
    let kinds = kinds_to_wake(&record, site, wanted);
    if kinds.is_empty() {
        let journal = completed(&record, site);
        return Ok(journal
            .map(|journal| journal.woken.clone())
            .unwrap_or_default());
    }
    // The rows of a standby name the objects of the primary that it followed.
    let (rows, _) = read_query_ledger(ledger, site.other()).await?;
    let mut known = BTreeMap::new();
    for kind in kinds {
        let before = completed(&record, site).and_then(|journal| journal.woken.get(&kind));
        let asleep = asleep(&rows, (kind, site), &record, before);
        progress.kind_started(kind, asleep.len());
        let jobs = jobs_with_bookmarks(&rows, site);
        let mut woken = wake_kind(tools, (kind, record.epoch, &jobs), &asleep).await;
        woken.ended_at = clock.now();
        let woken = match before {
            Some(before) => before.with_retried(woken),
            None => woken,
        };
        known = note(ledger, site, (kind, woken)).await?;
    }
    Ok(known)
}

/// The rows of what ran by itself before the takeover, by the object of this site. After an earlier run, only of what
/// that one has left.
fn asleep<'r>(
    rows: &'r QueryRows,
    (kind, site): (QueryKind, SiteId),
    record: &EpochRecord,
    before: Option<&WakeRecord>,
) -> BTreeMap<ObjectKey, &'r QueryRow> {
    let of_kind = rows.values().filter_map(|row| {
        let key = row.key_in(site).filter(|key| key.kind == kind)?;
        row.pairing.as_ref()?;
        row.asleep_since_switch(record.epoch)?;
        before
            .is_none_or(|before| before.tries_again(&key.id))
            .then(|| (key.clone(), row))
    });
    of_kind.collect()
}

/// The jobs of this site that keep bookmarks by the ledger, each with its option.
fn jobs_with_bookmarks(rows: &QueryRows, site: SiteId) -> BTreeMap<String, String> {
    let paired = rows.values().filter(|row| row.pairing.is_some());
    let jobs = paired.filter_map(|row| {
        let option = row.bookmarks.clone()?;
        Some((row.key_in(site)?.id.clone(), option))
    });
    jobs.collect()
}

async fn wake_kind<W: WakeTools>(
    tools: &W,
    (kind, epoch, jobs): (QueryKind, Epoch, &BTreeMap<String, String>),
    asleep: &BTreeMap<ObjectKey, &QueryRow>,
) -> WakeRecord {
    let mut woken = WakeRecord::default();
    if asleep.is_empty() {
        return woken;
    }
    let listed = tools.list(kind).await;
    let found = listed.map(|objects| {
        let objects = objects.into_iter();
        let by_key = objects.map(|object| (object.key.clone(), object));
        by_key.collect::<BTreeMap<ObjectKey, QueryObject>>()
    });
    for (at, (key, row)) in asleep.iter().enumerate() {
        if woken.is_full() {
            woken.leave_waiting(key, asleep.len() - at);
            break;
        }
        let object = found.as_ref().map(|found| found.get(key));
        let result = match object {
            Ok(Some(object)) => wake_one(tools, (object, jobs), row, epoch).await,
            Ok(None) => WakeResult::Skipped("it is not there any more".to_owned()),
            Err(error) => WakeResult::Unknown(error.to_string()),
        };
        woken.add(key, result);
    }
    woken
}

async fn wake_one<W: WakeTools>(
    tools: &W,
    (object, jobs): (&QueryObject, &BTreeMap<String, String>),
    row: &QueryRow,
    epoch: Epoch,
) -> WakeResult {
    if !row.pairs(epoch.primary(), object) {
        let reason = "somebody has changed or replaced it since it was replicated";
        return WakeResult::Skipped(reason.to_owned());
    }
    if object.is_awake() {
        return WakeResult::Awake;
    }
    if !row.ran_in_former_primary(epoch) {
        let reason = "it was not seen to run by itself in the former primary, but before that one was the primary";
        return WakeResult::Skipped(reason.to_owned());
    }
    if let Some(result) = kept_by_bookmarks(tools, object, jobs).await {
        return result;
    }
    let cron = row
        .schedule
        .as_ref()
        .and_then(|schedule| schedule.cron.as_deref());
    if object.key.kind == QueryKind::Crawler && cron.is_none() {
        let reason = "its schedule in the former primary is not known";
        return WakeResult::Skipped(reason.to_owned());
    }
    let mut unclear = "it was started, and is not shown as started yet".to_owned();
    if let Err(error) = tools.wake(&object.key, cron).await {
        match error.kind {
            CallErrorKind::Denied
            | CallErrorKind::NotFound
            | CallErrorKind::Invalid
            | CallErrorKind::Unsupported => return WakeResult::Failed(error.to_string()),
            // It may have taken effect all the same.
            CallErrorKind::AlreadyInState
            | CallErrorKind::Contended
            | CallErrorKind::NotPropagated
            | CallErrorKind::Unavailable => unclear = error.to_string(),
        }
    }
    match tools.read(&object.key).await {
        Ok(found) if found.is_awake() => WakeResult::Awake,
        Ok(_) => WakeResult::Unknown(unclear),
        Err(error) => WakeResult::Unknown(format!("{unclear}, and reading it failed: {error}")),
    }
}

/// Why a trigger stays asleep because of the jobs that it starts; `None` if nothing speaks against it.
/// What a run of a job does is decided by the arguments that nothing overrides, then by the trigger's, then by what the
/// ledger knows of the job in the former primary, then by its default.
async fn kept_by_bookmarks<W: WakeTools>(
    tools: &W,
    object: &QueryObject,
    jobs: &BTreeMap<String, String>,
) -> Option<WakeResult> {
    for (job, given) in object.started_jobs() {
        let found = tools.read(&ObjectKey::new(QueryKind::Job, &job)).await;
        let option = found.map(|found| {
            let fixed = found.fixed_bookmark_option().map(str::to_owned);
            let known = jobs.get(&job).cloned();
            let default = found.bookmark_option().map(str::to_owned);
            fixed.or(given).or(known).or(default)
        });
        match option {
            Ok(Some(option)) if option != QueryObject::NO_BOOKMARKS => {
                return Some(WakeResult::Skipped(format!(
                    "it starts the job {job}, which uses bookmarks ({option}): its first run reads everything again"
                )));
            }
            Ok(_) => {}
            Err(error) if error.kind == CallErrorKind::NotFound => {
                let reason = format!("it starts the job {job}, which does not exist here");
                return Some(WakeResult::Skipped(reason));
            }
            Err(error) => {
                return Some(WakeResult::Failed(format!(
                    "it starts the job {job}, and whether that uses bookmarks could not be read: {error}"
                )));
            }
        }
    }
    None
}

/// Notes in the journal what became of a kind.
async fn note<L: Ledger>(
    ledger: &L,
    site: SiteId,
    (kind, woken): (QueryKind, WakeRecord),
) -> Result<BTreeMap<QueryKind, WakeRecord>, CallError> {
    for attempt in 0..MAX_ATTEMPTS {
        let (mut record, version) = stored_record(ledger).await?;
        if completed(&record, site).is_none() {
            return Ok(BTreeMap::from([(kind, woken)]));
        }
        let Some(journal) = &mut record.failover else {
            return Ok(BTreeMap::from([(kind, woken)]));
        };
        journal.woken.insert(kind, woken.clone());
        let known = journal.woken.clone();
        if ledger.put_epoch_record(&record, version).await? {
            return Ok(known);
        }
        ledger.wait_after_conflict(attempt).await;
    }
    let message = "others keep changing the epoch record; run the command again";
    let kind = CallErrorKind::Contended;
    Err(CallError::new(kind, "wake", "this Region", message))
}
