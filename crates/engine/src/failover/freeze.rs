//! The freeze of a switchover: revokes the grants to write in the primary, and grants them again.
//!
//! What is revoked is stored before, in the ledgers of both Regions: the ledger of the next primary says what it keeps
//! meanwhile, and that of the former primary what it does not get until it is the primary again. Nothing is granted that
//! these documents do not hold, nor what the Region lists with another grant option.
//!
//! A freeze, in this order:
//!
//! 1. It takes the lease on the grants ([`GrantsLease`](super::grants_lease::GrantsLease)). A gate has let it pass:
//!    no undo may still grant.
//! 2. It lists the grants, and takes over the documents of its epoch in both ledgers, with every grant that it is about
//!    to revoke, and with the grant option that the Region lists.
//! 3. It revokes, as long as it has the lease.
//!
//! An undo refuses while a freeze may revoke. Else it takes the lease, reads the documents, grants what they hold as long
//! as it has the lease, and takes out of exactly these documents what was granted. A grant that fails stays, for whatever
//! reason, unless its table or database is proven gone.

use super::frozen_documents::{
    StoredFreeze, grants_of, of_both, prune, stored, take_out, take_over,
};
use super::grant_calls::{all_listed, listed, send};
use super::grants_lease::GrantsPermit;
use super::grants_restore::{UnfrozenGrants, grant_again};
use crate::ports::{DocumentStore, ReadRegion, WriteRegion};
use futures_util::future::{join, join3};
use std::collections::BTreeMap;
use twinlake_core::catalog::digest;
use twinlake_core::failover::{
    FrozenGrant, FrozenGrants, UnstoppedReason, WRITE_PERMISSIONS, WriteAccess,
};
use twinlake_core::grant::{GrantMapping, ListedPermission, normalize, to_batch_entries};
use twinlake_core::render::counted;
use twinlake_core::scope::subject_of_grant;
use twinlake_core::topology::Epoch;
use twinlake_core::{
    CallError, CallErrorKind, Grants, OwnRoles, PermissionGrant, Policy, Principal, Subject,
};

/// The grants of one document: it stays far below the 400 KB of an item.
const GRANTS_PER_DOCUMENT: usize = 100;

/// Grants with the principals and locations of another mapping. What the mapping does not know is left out.
pub(crate) fn mapped(grants: &Grants, mapping: &GrantMapping) -> Grants {
    let entries = to_batch_entries(grants).into_iter();
    let entries: Vec<ListedPermission> = entries.map(|(entry, _)| entry).collect();
    normalize(&entries, mapping).0
}

/// The policy, the epoch before the switchover, and the roles of Twinlake.
#[derive(Clone, Copy, Debug)]
pub struct FreezeTerms<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The epoch in which the Region is the primary that is frozen.
    pub epoch: Epoch,
    /// All roles of Twinlake.
    pub own_roles: &'a OwnRoles,
}

impl FreezeTerms<'_> {
    /// The mapping of the primary's grants to themselves.
    fn of_primary(&self) -> GrantMapping {
        GrantMapping::of_standby(self.policy, self.epoch.switched())
    }

    /// Whether the policy covers the resource of a grant.
    fn covers(&self, grant: &PermissionGrant) -> bool {
        match subject_of_grant(grant) {
            Subject::Database(name) => self.policy.covers_database(&name),
            Subject::Table(id) => self.policy.covers_table(&id),
            Subject::LakeFormation(_) => true,
            Subject::Catalog | Subject::Function(_) => false,
        }
    }

    /// The grants by which others than Twinlake may write in the primary: those that a freeze revokes, since the standby
    /// has them, or gets them when it is the primary again, and the others.
    ///
    /// # Errors
    /// The grants of a Region, the administrators of the primary, or the ledger of the standby cannot be read.
    pub async fn write_access<P: ReadRegion, S: ReadRegion, L: DocumentStore>(
        &self,
        primary: &P,
        (standby, standby_ledger): (&S, &L),
    ) -> Result<WriteAccess, CallError> {
        let all = self.read_access(primary, (standby, standby_ledger)).await;
        all.map(|(access, _)| access)
    }

    /// The same, with all grants of the primary.
    async fn read_access<P: ReadRegion, S: ReadRegion, L: DocumentStore>(
        &self,
        primary: &P,
        (standby, standby_ledger): (&S, &L),
    ) -> Result<(WriteAccess, Grants), CallError> {
        let own = self.of_primary();
        let to_standby = GrantMapping::of_primary(self.policy, self.epoch);
        let of_standby = GrantMapping::of_standby(self.policy, self.epoch);
        let (in_primary, in_standby, settings) = join3(
            all_listed(primary, &own),
            listed(standby, &of_standby),
            primary.settings(),
        )
        .await;
        let (in_primary, in_standby, settings) = (in_primary?, in_standby?, settings?);
        let mut in_standby: Grants = in_standby.grants().collect();
        let stored = stored(standby_ledger).await?;
        add_withheld(&mut in_standby, &stored, self.epoch);
        let is_in_standby = |grant: &PermissionGrant, grantable: bool| {
            let wanted = mapped(&Grants::from([(grant.clone(), grantable)]), &to_standby);
            let has = |(one, option): (&PermissionGrant, &bool)| {
                in_standby.get(one).is_some_and(|has| *has || !option)
            };
            self.covers(grant) && !wanted.is_empty() && wanted.iter().all(has)
        };
        let administrators = &settings.administrators;
        let mut access =
            WriteAccess::new(&in_primary, administrators, self.own_roles, is_in_standby);
        let ignored = &self.policy.ignored_principals;
        if !ignored.texts().is_empty() {
            let all = normalize(&primary.all_grants().await?, &GrantMapping::default()).0;
            let ignored = all.keys().filter(|grant| {
                ignored.contains(&grant.principal.0)
                    && WRITE_PERMISSIONS.contains(&grant.permission)
                    && !self.own_roles.contains(&grant.principal.0)
            });
            for grant in ignored {
                access.add_other(&grant.principal, UnstoppedReason::Ignored);
            }
        }
        Ok((access, in_primary))
    }
}

/// The primary of a switchover, in which grants to write are revoked.
pub struct FrozenRegion<'a, W, L> {
    /// The Region.
    pub region: &'a W,
    /// The ledger of the Region that becomes the primary.
    pub next_ledger: &'a L,
    /// The ledger of the Region itself.
    pub former_ledger: &'a L,
    /// What the freeze rests on.
    pub terms: FreezeTerms<'a>,
    /// Who calls, if known: what a data lake administrator does not find is gone.
    pub caller: Option<&'a Principal>,
}

impl<W: WriteRegion, L: DocumentStore> FrozenRegion<'_, W, L> {
    /// Revokes the grants to write, each after it was stored in both ledgers. Returns their number, or why some could
    /// not be revoked.
    ///
    /// # Errors
    /// A read failed, a ledger cannot be reached, or the permit was lost. It may be repeated.
    pub(crate) async fn freeze<S: ReadRegion, P: GrantsPermit>(
        &self,
        standby: &S,
        permit: &P,
    ) -> Result<Result<usize, String>, CallError> {
        let mut documents = self.documents().await?;
        let standby = (standby, self.next_ledger);
        let (access, listed) = self.terms.read_access(self.region, standby).await?;
        add_listed(&mut documents, self.terms.epoch, &access.revocable, &listed);
        for (id, document) in &documents {
            permit.renew().await?;
            for ledger in [self.next_ledger, self.former_ledger] {
                take_over(ledger, id, document).await?;
            }
        }
        let failures = send(&access.revocable, permit, async |entries| {
            self.region.revoke(entries).await
        })
        .await?;
        // What is gone by now was revoked by an attempt whose answer was lost, or by a run beside this one, and stays
        // recorded. That somebody else revoked it since it was listed cannot be told apart.
        let mut failed = failures.iter().filter(|(_, error)| !is_gone(error));
        let Some((grant, error)) = failed.next() else {
            return Ok(Ok(self.grants().await?.len()));
        };
        Ok(Err(format!(
            "{} to write could not be revoked in {}, such as {grant}: {error}",
            counted(failed.count() + 1, "grant"),
            self.region.region()
        )))
    }

    /// The documents of this freeze by their ids, each with what either ledger has of it.
    async fn documents(&self) -> Result<BTreeMap<String, FrozenGrants>, CallError> {
        let (next, former) = self.stored().await?;
        Ok(of_both([&next, &former], |_| true))
    }

    /// What the ledgers hold of this freeze: that of the next primary, and that of the Region.
    async fn stored(&self) -> Result<(Vec<StoredFreeze>, Vec<StoredFreeze>), CallError> {
        let (next, former) = join(stored(self.next_ledger), stored(self.former_ledger)).await;
        let (mut next, mut former) = (next?, former?);
        for all in [&mut next, &mut former] {
            all.retain(|one| one.frozen.is_of_primary(self.terms.epoch));
        }
        Ok((next, former))
    }

    /// The grants that are frozen in the Region.
    ///
    /// # Errors
    /// A ledger cannot be reached.
    pub async fn grants(&self) -> Result<Grants, CallError> {
        let documents = self.documents().await?.into_values();
        Ok(documents.flat_map(|one| one.to_grants()).collect())
    }

    /// Whether a ledger holds anything of this freeze.
    ///
    /// # Errors
    /// A ledger cannot be reached.
    pub(crate) async fn has_frozen(&self) -> Result<bool, CallError> {
        Ok(!self.documents().await?.is_empty())
    }

    /// Grants again what the freeze has revoked, and forgets what was granted. The rest stays recorded. No freeze may
    /// revoke any more.
    ///
    /// # Errors
    /// A read failed, a ledger cannot be reached, or the permit was lost. It may be repeated.
    pub(crate) async fn unfreeze<P: GrantsPermit>(
        &self,
        permit: &P,
    ) -> Result<UnfrozenGrants, CallError> {
        let (next, former) = self.stored().await?;
        let documents = of_both([&next, &former], |_| true).into_values();
        let grants: Grants = documents.flat_map(|one| one.to_grants()).collect();
        let site = self.terms.policy.primary(self.terms.epoch);
        let again = grant_again((self.region, site), &grants, self.caller, permit).await?;
        permit.renew().await?;
        let keep = |one: &FrozenGrant| again.left.contains_key(&one.grant).then(|| one.clone());
        // The next primary keeps the grants until its document is gone, and who repeats this finds it there.
        for (ledger, stored) in [(self.former_ledger, former), (self.next_ledger, next)] {
            for one in &stored {
                // Who has written it since counts on what it holds.
                take_out(ledger, one, keep).await?;
            }
        }
        Ok(again.counted(&grants))
    }
}

/// Adds the grants that are about to be revoked to the documents of a freeze. Every grant that the Region lists gets the
/// grant option that it lists.
fn add_listed(
    documents: &mut BTreeMap<String, FrozenGrants>,
    epoch: Epoch,
    revocable: &Grants,
    listed: &Grants,
) {
    let mut new = revocable.clone();
    for frozen in documents.values_mut().flat_map(|one| &mut one.grants) {
        new.remove(&frozen.grant);
        if let Some(option) = listed.get(&frozen.grant) {
            frozen.grantable = *option;
        }
    }
    for document in FrozenGrants::documents_of(epoch, &new, GRANTS_PER_DOCUMENT) {
        let id = format!("{}-{}", epoch.number(), digest(&document));
        let stored = documents.get(&id);
        let whole = stored.map_or_else(|| document.clone(), |stored| stored.with(&document));
        documents.insert(id, whole);
    }
}

/// Whether the service says that the grant was not there.
fn is_gone(error: &CallError) -> bool {
    matches!(
        error.kind,
        CallErrorKind::NotFound | CallErrorKind::AlreadyInState
    )
}

/// What a switchover checks before it writes the epoch: the next primary has everything that is frozen in the former
/// one. Returns the first grant that it lacks. What was frozen in the next primary itself and the former one does not
/// grant any more is forgotten, so that it is not granted again.
///
/// # Errors
/// The grants of a Region cannot be listed, or the ledger cannot be reached.
pub(super) async fn check_before_epoch<R: ReadRegion, L: DocumentStore>(
    (next, former): (&R, &R),
    ledger: &L,
    (policy, epoch): (&Policy, Epoch),
    reader: &Principal,
) -> Result<Option<String>, CallError> {
    let stored = stored(ledger).await?;
    if stored.is_empty() {
        return Ok(None);
    }
    let to_next = GrantMapping::of_primary(policy, epoch);
    let of_next = GrantMapping::of_standby(policy, epoch);
    let (in_next, index) = join(listed(next, &of_next), listed(former, &to_next)).await;
    let (in_next, index) = (in_next?, index?);
    // The listing proves something only if the caller still sees everything after it.
    let is_administrator = former.settings().await?.administrators.contains(reader);
    let proves_absence = |grant: &PermissionGrant| {
        is_administrator && index.proves_absence_on(&subject_of_grant(grant))
    };
    let mut in_next: Grants = in_next.grants().collect();
    let mut in_former: Grants = index.grants().collect();
    let frozen = grants_of(&stored, |frozen| frozen.is_of_primary(epoch));
    let frozen = mapped(&frozen, &to_next);
    for (grant, grantable) in &frozen {
        in_former.entry(grant.clone()).or_insert(*grantable);
    }
    add_withheld(&mut in_next, &stored, epoch);
    let is_former = |frozen: &FrozenGrants| frozen.is_of_former_primary(epoch.standby(), epoch);
    let keep = |one: &FrozenGrant| {
        let is_proven = proves_absence(&one.grant) && is_mapped_back((policy, epoch), &one.grant);
        after_reading(one, in_former.get(&one.grant).copied(), is_proven)
    };
    prune(ledger, stored, is_former, keep).await?;
    let mut wanted = frozen.into_iter();
    let lacks =
        wanted.find(|(grant, grantable)| in_next.get(grant).is_none_or(|has| *grantable && !has));
    Ok(lacks.map(|(grant, _)| {
        format!(
            "{} lacks a grant that is revoked in {}: {grant}",
            next.region(),
            former.region()
        )
    }))
}

/// What is kept of a grant that is frozen in the standby after the primary was read. `option` is the grant option with
/// which the primary has it, `None` if it was not found there. Only a proof takes anything away.
pub(crate) fn after_reading(
    frozen: &FrozenGrant,
    option: Option<bool>,
    is_proven: bool,
) -> Option<FrozenGrant> {
    let Some(option) = option else {
        let is_revoked = is_proven && !frozen.is_unrestored;
        return (!is_revoked).then(|| frozen.clone());
    };
    Some(FrozenGrant {
        grantable: frozen.grantable && (option || !is_proven),
        is_unrestored: false,
        grant: frozen.grant.clone(),
    })
}

/// Whether the policy maps a grant of the standby to one of the primary, and that one back: only then does its absence
/// from the mapped grants of the primary say anything.
pub(crate) fn is_mapped_back(
    (policy, epoch): (&Policy, Epoch),
    in_standby: &PermissionGrant,
) -> bool {
    let wanted = Grants::from([(in_standby.clone(), false)]);
    let in_primary = mapped(&wanted, &GrantMapping::of_primary(policy, epoch.switched()));
    mapped(&in_primary, &GrantMapping::of_primary(policy, epoch)) == wanted
}

/// Adds to the grants of a standby those that it gets when it is the primary again.
fn add_withheld(in_standby: &mut Grants, stored: &[StoredFreeze], epoch: Epoch) {
    let withheld = grants_of(stored, |frozen| {
        frozen.is_of_former_primary(epoch.standby(), epoch)
    });
    for (grant, grantable) in withheld {
        in_standby.entry(grant).or_insert(grantable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frozen(grantable: bool, is_unrestored: bool) -> FrozenGrant {
        FrozenGrant {
            grant: PermissionGrant {
                principal: Principal("arn:aws:iam::111122223333:role/Etl".to_owned()),
                resource: twinlake_core::Resource::Catalog,
                permission: twinlake_core::Permission::CreateDatabase,
                condition: None,
            },
            grantable,
            is_unrestored,
        }
    }

    #[test]
    fn only_a_proof_takes_a_frozen_grant_or_its_option_away() {
        for is_unrestored in [false, true] {
            for grantable in [false, true] {
                let one = frozen(grantable, is_unrestored);
                assert_eq!(after_reading(&one, None, false), Some(one.clone()));
                // A Region that never had it again says nothing by lacking it.
                let kept = Some(one.clone()).filter(|_| is_unrestored);
                assert_eq!(after_reading(&one, None, true), kept);
                let (with, without) = (frozen(grantable, false), frozen(false, false));
                for (option, is_proven, expected) in [
                    (true, true, &with),
                    (true, false, &with),
                    (false, false, &with),
                    (false, true, &without),
                ] {
                    let after = after_reading(&one, Some(option), is_proven);
                    assert_eq!(after.as_ref(), Some(expected), "{option} {is_proven}");
                }
            }
        }
    }
}
