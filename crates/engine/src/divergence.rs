//! The return of a former primary: what it has and the primary has not, and what happens once a person has
//! accepted that this is given up.
//!
//! Until then the Region is fenced: its ledger holds a lower epoch than that of the primary. [`compare`] reads
//! both Regions and writes nothing. [`accept`] writes to the two ledgers: it notes the acceptance, gives the
//! former primary the rows by which it is the standby of the primary, and, last, the epoch. It may be killed
//! between any two calls and run again.

mod accept;
mod former_content;
mod objects;
mod pairing;

pub use accept::{AcceptError, accept, finish_interrupted};

use crate::in_memory_ledger::{InMemoryLedger, LedgerFile};
use crate::ports::{Clock, Environment, Ledger, ObjectVersions, ReadRegion};
use crate::progress::WorkProgress;
use crate::reconcile::Context;
use crate::resync::preview;
use objects::ComparedSpan;
use pairing::PairedRegions;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use twinlake_core::audit::{ApprovedDeletions, Rejection};
use twinlake_core::divergence::{
    ComparedRegions, DivergenceReport, FormerChange, FormerChangeKind, ObjectsPurpose,
    former_changes, uncreated_subjects, undecided_subjects,
};
use twinlake_core::failover::EpochRecord;
use twinlake_core::heartbeat::Channel;
use twinlake_core::ledger::LedgerRows;
use twinlake_core::topology::Epoch;
use twinlake_core::{
    CallError, LfSubject, OwnRoles, Plan, Policy, Principal, Scope, Subject, Timestamp,
};

/// What a comparison reads and an acceptance writes in one of the two Regions.
#[derive(Debug)]
pub struct RegionPorts<'a, R, L, O> {
    /// Its catalog.
    pub region: &'a R,
    /// Its ledger.
    pub ledger: &'a L,
    /// The objects of its buckets.
    pub objects: &'a O,
}

/// What a comparison of the primary and the former primary works with.
pub struct DivergenceContext<'a, R, L, O, C> {
    /// The primary, whose ledger holds the epoch.
    pub primary: RegionPorts<'a, R, L, O>,
    /// The former primary.
    pub former: RegionPorts<'a, R, L, O>,
    /// The clock.
    pub clock: &'a C,
    /// The policy of the primary's ledger.
    pub policy: &'a Policy,
    /// The epoch of the primary's ledger.
    pub epoch: Epoch,
    /// The principal that reads.
    pub reader_role: &'a Principal,
    /// All roles of Twinlake.
    pub own_roles: &'a OwnRoles,
    /// The most calls at the same time.
    pub max_concurrent_calls: usize,
    /// Who is told about the progress.
    pub progress: &'a dyn WorkProgress,
}

/// What a comparison found.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// The report.
    pub report: DivergenceReport,
    /// The rows by which the former primary is the standby of the primary: everything in it is paired with
    /// what the primary has under the name, or with nothing.
    pub rows: LedgerRows,
}

/// The Regions of a comparison, with rows in memory.
struct Comparison<R, C>(PhantomData<(R, C)>);

impl<R: ReadRegion, C: Clock> Environment for Comparison<R, C> {
    type Primary = R;
    type Standby = R;
    type Ledger = InMemoryLedger;
    type Clock = C;
}

/// The Lake Formation subjects whose rows hold the keys of what Twinlake manages.
const SUBJECTS_WITH_KEYS: [LfSubject; 4] = [
    LfSubject::LfTags,
    LfSubject::LfTagExpressions,
    LfSubject::DataLocations,
    LfSubject::Settings,
];

/// Compares the two Regions after a failover.
///
/// # Errors
/// A ledger cannot be reached, or the databases of a Region cannot be listed. Other reads that fail are in
/// the report.
pub async fn compare<R: ReadRegion, L: Ledger, O: ObjectVersions, C: Clock>(
    regions: &DivergenceContext<'_, R, L, O, C>,
    record: &EpochRecord,
) -> Result<Divergence, CallError> {
    compare_for(regions, record, ObjectsPurpose::Report).await
}

/// Compares the two Regions, and of the objects those that count for this purpose.
pub(crate) async fn compare_for<R: ReadRegion, L: Ledger, O: ObjectVersions, C: Clock>(
    regions: &DivergenceContext<'_, R, L, O, C>,
    record: &EpochRecord,
    purpose: ObjectsPurpose,
) -> Result<Divergence, CallError> {
    let read_at = regions.clock.now();
    let survivor_rows = all_rows(regions.primary.ledger).await?;
    let left_out = left_out_subjects(record, purpose);
    let mut paired = PairedRegions::read(regions, &survivor_rows, read_at).await?;
    paired.unpair(&left_out);
    let (plan, _) = regions.preview(&paired.rows, false).await?;
    let reverse = regions.preview(&paired.reverse_rows, true).await?;
    let mut unread = paired.unread;
    // What the other plan could not read, the next resync says: nothing is given up by it.
    let exists = |subject: &Subject| paired.in_primary.contains_key(subject);
    let is_compared = |subject: &Subject| !is_left_out(subject, &left_out);
    unread.extend(unread_in(&reverse.0, &reverse.1, |subject| {
        let database = subject.database().cloned().map(Subject::Database);
        database.is_none_or(|database| exists(&database)) && is_compared(subject)
    }));
    let compared = ComparedRegions {
        rows: survivor_rows,
        in_former: paired.in_former,
        in_primary: paired.in_primary,
        table_defaults: paired.table_defaults,
    };
    let (mut changes, bookkeeping) = former_changes(&reverse.0, regions.policy, &compared);
    let mut undecided = undecided_subjects(&reverse.0, &compared);
    for subject in uncreated_subjects(&changes, &compared) {
        undecided.entry(subject).or_default();
    }
    undecided.retain(|subject, _| !is_left_out(subject, &left_out));
    let found = former_content::read_undecided(regions, &compared, &undecided).await;
    changes.extend(found.0);
    unread.extend(found.1);
    let since = common_point(record);
    let switched_at = record.switched_at.unwrap_or(since);
    let span = ComparedSpan {
        purpose,
        since,
        switched_at,
    };
    let locations = objects::compare_locations(regions, span, &paired.primary_tables).await;
    Ok(Divergence {
        report: DivergenceReport {
            epoch: regions.epoch,
            policy_digest: regions.policy.digest().to_owned(),
            former_region: regions.former.region.region().to_owned(),
            primary_region: regions.primary.region.region().to_owned(),
            since,
            read_at,
            changes,
            bookkeeping,
            locations,
            unread,
            plan,
        },
        rows: paired.rows,
    })
}

/// How long before a canary an object may have been written that S3 has not replicated: S3 replicates large objects
/// later than small ones, and tries again for hours.
const REPLICATION_SECS: i64 = 86_400;

/// The time until which everything in S3 has arrived, as far as anybody knows: a day before the last canary that had
/// arrived, else before the last complete resync, and before the oldest object that was reported as missing. Without
/// any, everything is listed.
fn common_point(record: &EpochRecord) -> Timestamp {
    let point = record
        .failover
        .as_ref()
        .map(|journal| &journal.recovery_point);
    let canary = point.and_then(|point| point.heartbeats.get(&Channel::Storage).copied());
    let verified = point.and_then(|point| point.verified_at);
    let missing = point.and_then(|point| point.pending.iter().map(|table| table.since).min());
    match canary.or(verified) {
        Some(arrived) => {
            let arrived = missing.map_or(arrived, |missing| missing.min(arrived));
            arrived.plus_secs(-REPLICATION_SECS)
        }
        None => Timestamp::default(),
    }
}

/// The subjects without which a switchover goes on, as its journal names them. A report for a person leaves out
/// none.
fn left_out_subjects(record: &EpochRecord, purpose: ObjectsPurpose) -> BTreeSet<Subject> {
    let journal = match purpose {
        ObjectsPurpose::Report => None,
        ObjectsPurpose::BeforeEpoch | ObjectsPurpose::BeforeHandOver => record.failover.as_ref(),
    };
    let left_out = journal.map(|journal| journal.left_out.clone());
    left_out.unwrap_or_default()
}

/// Whether nothing that is said of a subject counts. Of the Lake Formation subjects, which hold everything of a kind,
/// only what cannot be compared is left out.
fn is_left_out(subject: &Subject, left_out: &BTreeSet<Subject>) -> bool {
    match subject {
        Subject::Catalog | Subject::LakeFormation(_) => false,
        Subject::Database(_) | Subject::Table(_) | Subject::Function(_) => {
            left_out.contains(subject)
        }
    }
}

/// Whether a switchover goes on although the former primary has this.
pub(crate) fn is_change_left_out(change: &FormerChange, left_out: &BTreeSet<Subject>) -> bool {
    is_left_out(&change.subject, left_out)
        || (change.kind == FormerChangeKind::NotComparable && left_out.contains(&change.subject))
}

/// What could not be read or decided, of the reverse plan, where it counts. What lies in a database that the primary
/// does not have is given up with it, and need not be read.
fn unread_in(
    plan: &Plan,
    rejections: &[Rejection],
    counts: impl Fn(&Subject) -> bool,
) -> BTreeSet<String> {
    let findings = plan.findings.iter();
    let failed = findings.filter(|one| one.kind.is_failed_read() && counts(&one.subject));
    let failed = failed.map(|one| format!("{}: {}", one.subject, one.detail));
    let rejections = rejections.iter();
    failed
        .chain(rejections.map(|rejection| format!("not decided: {rejection}")))
        .collect()
}

/// All rows of a ledger.
async fn all_rows<L: Ledger>(ledger: &L) -> Result<LedgerRows, CallError> {
    let mut rows = ledger.database_rows().await?;
    let databases: BTreeSet<_> = rows.keys().filter_map(Subject::database).cloned().collect();
    for database in &databases {
        rows.extend(ledger.rows_in_database(database).await?);
    }
    let lf_subjects = LfSubject::EVERY.map(Subject::LakeFormation);
    rows.extend(ledger.rows(&lf_subjects.into()).await?);
    Ok(rows)
}

impl<R: ReadRegion, L: Ledger, O: ObjectVersions, C: Clock> DivergenceContext<'_, R, L, O, C> {
    /// Plans what would make one Region equal to the other. Deletions are shown, however many.
    async fn preview(
        &self,
        rows: &LedgerRows,
        is_reverse: bool,
    ) -> Result<(Plan, Vec<Rejection>), CallError> {
        let ledger = InMemoryLedger::new(LedgerFile {
            rows: rows.clone(),
            ..LedgerFile::default()
        });
        let (primary, former) = (self.primary.region, self.former.region);
        let (leads, follows, epoch) = match is_reverse {
            false => (primary, former, self.epoch),
            true => (former, primary, self.epoch.switched()),
        };
        let context: Context<'_, Comparison<R, C>> = Context {
            primary: leads,
            standby: follows,
            ledger: &ledger,
            clock: self.clock,
            policy: self.policy,
            epoch,
            reader_role: self.reader_role,
            own_roles: self.own_roles,
            max_concurrent_calls: self.max_concurrent_calls,
            approved_deletions: &ApprovedDeletions::All,
            may_write_settings: true,
            stop_at: None,
            scan_window: None,
            lf_tag_lease: None,
            progress: self.progress,
        };
        preview(&context, &Scope::catalog()).await
    }
}
