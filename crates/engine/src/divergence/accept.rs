//! What happens once a person has accepted a report: the former primary gets the rows of a standby, and the
//! epoch. All of it is in the two ledgers; nothing is applied.

use super::{Divergence, DivergenceContext, all_rows};
use crate::failover::frozen_documents::{copy_to_former, forget};
use crate::observe::count_paired;
use crate::ports::{Clock, DocumentStore, Ledger, ObjectVersions, ReadRegion};
use crate::query::hand_over_query_rows;
use twinlake_core::failover::{AcceptedDivergence, EpochRecord, FailoverJournal, FailoverStep};
use twinlake_core::ledger::LedgerRows;
use twinlake_core::render::counted;
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, CallErrorKind, LedgerRow, Subject};

/// Why a report is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The former primary has changed, or another report was meant.
    #[error(
        "the report has the digest {found} now: {former} has changed since, or it is not the report that was \
         accepted; read it again with `twinlake divergence --region {primary}`"
    )]
    Changed {
        /// The present digest.
        found: String,
        /// The former primary.
        former: String,
        /// The primary.
        primary: String,
    },
    /// Something could not be compared.
    #[error(
        "{} failed, so nobody knows what is given up: the first is {first}; correct the cause, and \
         read the report again with `twinlake divergence --region {primary}`",
        counted(*count, "read")
    )]
    Unread {
        /// The number of reasons.
        count: usize,
        /// One of them.
        first: String,
        /// The primary.
        primary: String,
    },
    /// The failover is not completed.
    #[error("the failover or switchover has not completed; run its command again first")]
    FailoverUnderWay,
    /// The former primary is not fenced.
    #[error("{former} holds epoch {epoch}, and is not fenced: there is nothing to accept")]
    NotFenced {
        /// The Region.
        former: String,
        /// Its epoch.
        epoch: u64,
    },
    /// A ledger cannot be reached, or others changed it. The epoch of the former primary was not sent yet: it stays
    /// fenced.
    #[error("{0}")]
    Call(#[from] CallError),
    /// The same, when the epoch was sent: the former primary may be the standby already.
    #[error("{0}")]
    Unconfirmed(#[source] CallError),
}

/// Accepts a report by its digest: the former primary becomes the standby.
///
/// # Errors
/// It is not that report, or a ledger cannot be reached; run it again then.
pub async fn accept<R: ReadRegion, L, O: ObjectVersions, C: Clock>(
    regions: &DivergenceContext<'_, R, L, O, C>,
    divergence: &Divergence,
    digest: &str,
) -> Result<(), AcceptError>
where
    L: Ledger + DocumentStore,
{
    let report = &divergence.report;
    let found = report.digest();
    if found != digest {
        let former = report.former_region.clone();
        let primary = report.primary_region.clone();
        return Err(AcceptError::Changed {
            found,
            former,
            primary,
        });
    }
    if let Some(first) = report.unread.first() {
        return Err(AcceptError::Unread {
            count: report.unread.len(),
            first: first.clone(),
            primary: report.primary_region.clone(),
        });
    }
    let former = regions.former.ledger;
    let (former_record, former_version) = former.epoch_record().await?.unzip();
    let held = former.epoch().await?;
    if !held.is_before(regions.epoch) {
        return Err(AcceptError::NotFenced {
            former: report.former_region.clone(),
            epoch: held.number(),
        });
    }
    let record = record_acceptance(regions, digest).await?;
    copy_documents(regions).await?;
    write_rows(former, &report.former_region, &divergence.rows).await?;
    let ledgers = (regions.primary.ledger, former);
    hand_over_query_rows(ledgers, regions.epoch, regions.clock.now()).await?;
    former
        .put_paired_counts(&count_paired(&divergence.rows))
        .await?;
    former.forget_verified_policy().await?;
    let next = EpochRecord {
        epoch: regions.epoch,
        switched_at: record.switched_at,
        accepted: record.accepted.clone(),
        // Drops the journal of a takeover that this Region began as the primary.
        failover: None,
        // An execution that is repeated here switches nothing back.
        executions: former_record.unwrap_or_default().executions,
    };
    let written = former.put_epoch_record(&next, former_version).await;
    if !written.map_err(AcceptError::Unconfirmed)? {
        // Others may have accepted the same report.
        return Err(AcceptError::Unconfirmed(conflict_error(
            &report.former_region,
        )));
    }
    let finished = finish_accepted(
        regions.primary.ledger,
        regions.clock,
        regions.primary.region.region(),
    );
    finished.await.map_err(AcceptError::Unconfirmed)
}

fn conflict_error(region: &str) -> CallError {
    let message = "others have changed the ledger; run the command again";
    CallError::new(CallErrorKind::Contended, "accept", region, message)
}

/// Notes in the ledger of the primary what was accepted, before anything is written elsewhere.
async fn record_acceptance<R: ReadRegion, L: Ledger, O: ObjectVersions, C: Clock>(
    regions: &DivergenceContext<'_, R, L, O, C>,
    digest: &str,
) -> Result<EpochRecord, AcceptError> {
    let ledger = regions.primary.ledger;
    let region = regions.primary.region.region();
    let (record, version) = ledger.epoch_record().await?.unzip();
    let record = record.unwrap_or_default();
    if record.epoch != regions.epoch {
        return Err(conflict_error(region).into());
    }
    let next_step = record
        .failover
        .as_ref()
        .and_then(FailoverJournal::next_step);
    if next_step.is_some_and(|step| step != FailoverStep::HandOver) {
        return Err(AcceptError::FailoverUnderWay);
    }
    let accepted = AcceptedDivergence {
        epoch: regions.epoch.number(),
        digest: digest.to_owned(),
        at: regions.clock.now(),
        completed_at: None,
    };
    let record = EpochRecord {
        accepted: Some(accepted),
        ..record
    };
    match ledger.put_epoch_record(&record, version).await? {
        true => Ok(record),
        false => Err(conflict_error(region).into()),
    }
}

/// Completes an [`accept`] that was killed after its last write to the former primary. `held` is the epoch of that
/// Region. Without a `digest`, whichever report was accepted counts. Returns whether the Region is the standby by it.
///
/// # Errors
/// The ledger cannot be reached, or others changed the record.
pub async fn finish_interrupted<L: Ledger, C: Clock>(
    ledger: &L,
    clock: &C,
    (region, held): (&str, Epoch),
    digest: Option<&str>,
) -> Result<bool, CallError> {
    let record = ledger.epoch_record().await?.unzip().0.unwrap_or_default();
    let accepted = record.acceptance(digest);
    let Some(accepted) = accepted.filter(|_| held == record.epoch) else {
        return Ok(false);
    };
    if accepted.completed_at.is_none() {
        finish_accepted(ledger, clock, region).await?;
    }
    Ok(true)
}

/// Notes in the ledger of the primary that the former primary is the standby.
///
/// # Errors
/// The ledger cannot be reached, or others changed the record.
async fn finish_accepted<L: Ledger, C: Clock>(
    ledger: &L,
    clock: &C,
    region: &str,
) -> Result<(), CallError> {
    let (record, version) = ledger.epoch_record().await?.unzip();
    let record = record.unwrap_or_default();
    // The former primary holds what is frozen in it.
    let (former, epoch) = (record.epoch.standby(), record.epoch);
    forget(ledger, |frozen| frozen.is_of_former_primary(former, epoch)).await?;
    let accepted = record.accepted.clone().map(|accepted| AcceptedDivergence {
        completed_at: Some(clock.now()),
        ..accepted
    });
    let record = EpochRecord { accepted, ..record };
    match ledger.put_epoch_record(&record, version).await? {
        true => Ok(()),
        false => Err(conflict_error(region)),
    }
}

/// Gives a ledger that was lost the documents that functions need.
async fn copy_documents<R: ReadRegion, L: Ledger + DocumentStore, O: ObjectVersions, C: Clock>(
    regions: &DivergenceContext<'_, R, L, O, C>,
) -> Result<(), CallError> {
    let (primary, former) = (regions.primary.ledger, regions.former.ledger);
    if former.policy().await?.is_none() {
        former.put_policy(regions.policy.text()).await?;
    }
    if former.operation_document().await?.is_none()
        && let Some(text) = primary.operation_document().await?
    {
        former.put_operation_document(&text).await?;
    }
    let at = (regions.epoch.standby(), regions.epoch);
    copy_to_former(primary, former, at).await
}

/// Makes the rows of a ledger equal to these. The Region is fenced, so no function writes them.
async fn write_rows<L: Ledger>(
    ledger: &L,
    region: &str,
    wanted: &LedgerRows,
) -> Result<(), CallError> {
    let stored = all_rows(ledger).await?;
    let stale: Vec<LedgerRow> = stored
        .iter()
        .filter(|(subject, row)| !wanted.contains_key(*subject) && row.version.is_some())
        .map(|(_, row)| row.clone())
        .collect();
    let rows = wanted.iter().map(|(subject, row)| LedgerRow {
        version: stored.get(subject).and_then(|stored| stored.version),
        ..row.clone()
    });
    let rows: Vec<LedgerRow> = rows.collect();
    // Databases go last: the rows of what they contain are found by them.
    let (databases, others_first): (Vec<_>, Vec<_>) = stale
        .into_iter()
        .partition(|row| matches!(row.subject, Subject::Database(_)));
    let mut refused = ledger.delete_rows(&others_first).await?;
    refused.extend(ledger.delete_rows(&databases).await?);
    refused.extend(ledger.put_rows(&rows).await?);
    for (subject, row) in &stored {
        refused.extend(update_keys(ledger, subject, Some(row), wanted.get(subject)).await?);
    }
    for (subject, row) in wanted {
        if !stored.contains_key(subject) {
            refused.extend(update_keys(ledger, subject, None, Some(row)).await?);
        }
    }
    match refused.is_empty() {
        true => Ok(()),
        false => Err(conflict_error(region)),
    }
}

/// Makes the managed keys of a subject equal to those of a row. Returns the subject if another run changed them.
async fn update_keys<L: Ledger>(
    ledger: &L,
    subject: &Subject,
    stored: Option<&LedgerRow>,
    wanted: Option<&LedgerRow>,
) -> Result<Option<Subject>, CallError> {
    let Subject::LakeFormation(lf_subject) = subject else {
        return Ok(None);
    };
    let keys =
        |row: Option<&LedgerRow>| row.map(|row| row.managed_keys.clone()).unwrap_or_default();
    let wanted = keys(wanted);
    if wanted == keys(stored) {
        return Ok(None);
    }
    let version = stored.and_then(|stored| stored.managed_keys_version);
    let is_written = ledger
        .put_managed_keys(*lf_subject, &wanted, version)
        .await?;
    Ok((!is_written).then(|| subject.clone()))
}
