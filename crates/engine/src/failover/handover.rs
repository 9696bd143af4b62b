//! What a switchover does with both Regions: before the epoch it makes sure that nothing is lost, and at the end
//! it makes the former primary the standby.

use super::freeze::{FreezeTerms, FrozenRegion, check_before_epoch};
use super::frozen_documents::{forget, grants_of, stored};
use super::grants_lease::GrantsPermit;
use crate::divergence::{
    AcceptError, DivergenceContext, accept, compare_for, finish_interrupted, is_change_left_out,
};
use crate::grant_index::GrantIndex;
use crate::ports::{
    DocumentStore, Environment, Ledger, ObjectVersions, ReadRegion, RetryQueue, WriteRegion,
};
use crate::reconcile::Context;
use crate::resync::{ResyncDepth, resync};
use std::collections::BTreeSet;
use twinlake_core::divergence::{DivergenceReport, FormerChange, ObjectsPurpose};
use twinlake_core::failover::{EpochRecord, WRITE_PERMISSIONS};
use twinlake_core::grant::GrantMapping;
use twinlake_core::render::{and_more, counted};
use twinlake_core::{CallError, OwnRoles, PermissionGrant, Step};

/// The other Region, for a switchover. A failover has none: nobody asks the other Region.
pub trait Handover {
    /// Revokes the grants to write in the primary, as long as the permit holds. Returns their number, or why some could
    /// not be revoked.
    ///
    /// # Errors
    /// A call failed.
    async fn freeze<P: GrantsPermit>(
        &self,
        record: &EpochRecord,
        permit: &P,
    ) -> Result<Result<usize, String>, CallError>;

    /// Makes the standby equal to the primary, and looks for anything that it lacks. Returns the reason if it
    /// lacks something, or if that is not known.
    ///
    /// # Errors
    /// A call failed.
    async fn verify(&self, record: &EpochRecord) -> Result<Option<String>, CallError>;

    /// Makes the former primary the standby, if it has nothing that would be given up. Returns the reason if it
    /// did not. May be repeated.
    ///
    /// # Errors
    /// A call failed.
    async fn hand_over(&self, record: &EpochRecord) -> Result<Option<String>, CallError>;
}

/// Nobody asks the other Region.
impl Handover for () {
    async fn freeze<P: GrantsPermit>(
        &self,
        _: &EpochRecord,
        _: &P,
    ) -> Result<Result<usize, String>, CallError> {
        Ok(Err("the other Region is not asked".to_owned()))
    }

    async fn verify(&self, _: &EpochRecord) -> Result<Option<String>, CallError> {
        Ok(Some("the other Region is not asked".to_owned()))
    }

    async fn hand_over(&self, _: &EpochRecord) -> Result<Option<String>, CallError> {
        Ok(Some("the other Region was not asked".to_owned()))
    }
}

/// Both Regions of a switchover.
pub struct BothRegions<'a, E: Environment, R, W, L, O, Q> {
    /// The reconciliation of the standby, in the epoch before the switch; `None` once the epoch is written.
    pub context: Option<Context<'a, E>>,
    /// Both Regions, in the epoch after the switch.
    pub regions: DivergenceContext<'a, R, L, O, E::Clock>,
    /// The former primary, to revoke the grants to write in it.
    pub former_writes: &'a W,
    /// Without a deadline, nothing is sent to it.
    pub queue: Option<&'a Q>,
}

impl<E, R, W, L, O, Q> Handover for BothRegions<'_, E, R, W, L, O, Q>
where
    E: Environment<Standby: WriteRegion>,
    R: ReadRegion,
    W: WriteRegion,
    L: Ledger + DocumentStore,
    O: ObjectVersions,
    Q: RetryQueue,
{
    async fn freeze<P: GrantsPermit>(
        &self,
        record: &EpochRecord,
        permit: &P,
    ) -> Result<Result<usize, String>, CallError> {
        let frozen = FrozenRegion {
            region: self.former_writes,
            next_ledger: self.regions.primary.ledger,
            former_ledger: self.regions.former.ledger,
            terms: FreezeTerms {
                policy: self.regions.policy,
                epoch: record.epoch,
                own_roles: self.regions.own_roles,
            },
            caller: Some(self.regions.reader_role),
        };
        frozen.freeze(self.regions.primary.region, permit).await
    }

    async fn verify(&self, record: &EpochRecord) -> Result<Option<String>, CallError> {
        if let Some(context) = &self.context {
            let report = resync(context, ResyncDepth::Full, None, self.queue, &()).await?;
            let next = self.regions.primary.region.region();
            let journal = record.failover.as_ref();
            let left_out = journal.map(|journal| journal.left_out.clone());
            let left_out = left_out.unwrap_or_default();
            let reasons = report.outcome.reasons_to_differ(context.policy, &left_out);
            if let [first, others @ ..] = reasons.as_slice() {
                return Ok(Some(format!(
                    "{next} may differ after a resync: {first}{}; `twinlake resync --region {next}` shows all",
                    and_more(others.len())
                )));
            }
            if report.verified_at.is_none() {
                return Ok(Some(format!(
                    "the last resync was not complete: run `twinlake resync --region {next}`, which says why"
                )));
            }
        }
        let report = compare_for(&self.regions, record, ObjectsPurpose::BeforeEpoch).await?;
        let report = report.report;
        let ledger = self.regions.primary.ledger;
        // What an earlier switchover has revoked in the next primary is granted there again after the epoch.
        let at = (record.epoch.standby(), record.epoch);
        let withheld = grants_of(&stored(ledger).await?, |frozen| {
            frozen.is_of_former_primary(at.0, at.1)
        });
        let is_withheld = |change: &FormerChange| {
            let step = change.step.as_ref();
            step.is_some_and(
                |step| matches!(step, Step::Grant { grant, .. } if withheld.contains_key(grant)),
            )
        };
        // The defaults of a standby are closed; the ledger keeps those of the primary.
        let given_up = given_up(&report, |change| {
            !change.is_table_default() && !is_withheld(change) && counts(record, change)
        });
        if given_up.is_some() {
            return Ok(given_up);
        }
        let regions = (self.regions.primary.region, self.regions.former.region);
        let terms = (self.regions.policy, record.epoch);
        check_before_epoch(regions, ledger, terms, self.regions.reader_role).await
    }

    async fn hand_over(&self, record: &EpochRecord) -> Result<Option<String>, CallError> {
        let held = self.regions.former.ledger.epoch().await?;
        if held == self.regions.epoch {
            let primary = &self.regions.primary;
            let at = (primary.region.region(), held);
            finish_interrupted(primary.ledger, self.regions.clock, at, None).await?;
            self.forget_frozen().await?;
            return Ok(None);
        }
        let divergence = compare_for(&self.regions, record, ObjectsPurpose::BeforeHandOver).await?;
        if let Some(reason) = given_up(&divergence.report, |change| counts(record, change)) {
            return Ok(Some(reason));
        }
        let digest = divergence.report.digest();
        match accept(&self.regions, &divergence, &digest).await {
            Ok(()) => {
                self.forget_frozen().await?;
                Ok(None)
            }
            Err(AcceptError::Call(error) | AcceptError::Unconfirmed(error)) => Err(error),
            Err(
                refused @ (AcceptError::Changed { .. }
                | AcceptError::Unread { .. }
                | AcceptError::FailoverUnderWay
                | AcceptError::NotFenced { .. }),
            ) => Ok(Some(refused.to_string())),
        }
    }
}

impl<E: Environment, R, W, L: DocumentStore, O, Q> BothRegions<'_, E, R, W, L, O, Q> {
    /// Forgets in the ledger of the primary what is frozen in the former one, whose own ledger knows it.
    async fn forget_frozen(&self) -> Result<(), CallError> {
        let at = (self.regions.epoch.standby(), self.regions.epoch);
        forget(self.regions.primary.ledger, |frozen| {
            frozen.is_of_former_primary(at.0, at.1)
        })
        .await
    }
}

/// Whether a change of the former primary stops the switchover: it does not go on without its subject.
fn counts(record: &EpochRecord, change: &FormerChange) -> bool {
    let journal = record.failover.as_ref();
    journal.is_none_or(|journal| !is_change_left_out(change, &journal.left_out))
}

/// What would be given up, as a clause; `None` if nothing is, and all of it is known.
fn given_up(report: &DivergenceReport, counts: impl Fn(&FormerChange) -> bool) -> Option<String> {
    let region = &report.former_region;
    if let Some(reason) = report.unread.first() {
        return Some(format!("{region} could not be compared: {reason}"));
    }
    let mut changes = report.changes.iter().filter(|change| counts(change));
    if let Some(change) = changes.next() {
        let more = and_more(changes.count());
        return Some(format!(
            "{region} has what the other Region has not: {} ({}){more}",
            change.text.trim(),
            change.kind
        ));
    }
    for location in &report.locations {
        if let Some(reason) = location.unread.values().next() {
            return Some(format!(
                "the objects in {} are not known: {reason}",
                location.former
            ));
        }
        // What has arrived, late or not, is not given up.
        let mut lacking = location
            .counts
            .iter()
            .filter(|(kind, _)| kind.is_given_up());
        if let Some((kind, count)) = lacking.next() {
            let key = location.keys.iter().find(|key| key.divergence == *kind);
            let example = key.map(|key| format!(", such as {}", key.key));
            return Some(format!(
                "objects in {} have not arrived, or are hidden: {} {kind}{}",
                counted(*count, "key"),
                location.former,
                example.unwrap_or_default()
            ));
        }
    }
    None
}

/// The grants of the primary by which others than Twinlake may write there: nobody revokes them for a
/// switchover. Principals that write by IAM and S3 alone have none.
///
/// # Errors
/// The grants cannot be listed.
pub async fn writers<R: ReadRegion>(
    primary: &R,
    mapping: &GrantMapping,
    own_roles: &OwnRoles,
) -> Result<BTreeSet<PermissionGrant>, CallError> {
    let listed = primary.all_grants().await?;
    let index = GrantIndex::new(&listed, mapping);
    let all = index.grants().map(|(grant, _)| grant);
    let writes = |grant: &PermissionGrant| {
        WRITE_PERMISSIONS.contains(&grant.permission) && !own_roles.contains(&grant.principal.0)
    };
    Ok(all.filter(writes).collect())
}
