//! The freeze of a switchover: revokes the grants to write in the primary, and grants them again.
//!
//! What is revoked is stored before, in the ledgers of both Regions: the ledger of the next primary says what it keeps
//! meanwhile, and that of the former primary what it does not get until it is the primary again. Both are the documents
//! of the family [`FAMILY`]. Nothing is granted that they do not hold, and nothing that the Region lists anyway.

use super::frozen_documents::{FAMILY, StoredFreeze, forget, grants_of, prune, stored, to_text};
use super::grants_lease::GrantsPermit;
use crate::grant_index::GrantIndex;
use crate::observe::{GrantsToList, all_grants};
use crate::ports::{
    DocumentStore, EntryResults, MAX_PERMISSIONS_PER_BATCH, ReadRegion, WriteRegion,
};
use futures_util::future::{join, join3};
use std::collections::BTreeMap;
use twinlake_core::catalog::digest;
use twinlake_core::failover::{
    FrozenGrants, UnrestoredGrants, UnstoppedReason, WRITE_PERMISSIONS, WriteAccess,
};
use twinlake_core::grant::{GrantMapping, ListedPermission, normalize, to_batch_entries};
use twinlake_core::render::counted;
use twinlake_core::scope::subject_of_grant;
use twinlake_core::topology::{Epoch, SiteId};
use twinlake_core::{CallError, CallErrorKind, Grants, OwnRoles, PermissionGrant, Policy, Subject};

/// The grants of one document: it stays far below the 400 KB of an item.
const GRANTS_PER_DOCUMENT: usize = 100;

/// Grants with the principals and locations of another mapping. What the mapping does not know is left out.
pub(crate) fn mapped(grants: &Grants, mapping: &GrantMapping) -> Grants {
    let entries = to_batch_entries(grants).into_iter();
    let entries: Vec<ListedPermission> = entries.map(|(entry, _)| entry).collect();
    normalize(&entries, mapping).0
}

/// All grants of a Region.
async fn listed<R: ReadRegion>(region: &R, mapping: &GrantMapping) -> Result<Grants, CallError> {
    let index: GrantIndex = all_grants(region, mapping, GrantsToList::All).await?;
    Ok(index.by_subject.into_values().flatten().collect())
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
        let own = self.of_primary();
        let to_standby = GrantMapping::of_primary(self.policy, self.epoch);
        let of_standby = GrantMapping::of_standby(self.policy, self.epoch);
        let (in_primary, in_standby, settings) = join3(
            listed(primary, &own),
            listed(standby, &of_standby),
            primary.settings(),
        )
        .await;
        let (in_primary, mut in_standby, settings) = (in_primary?, in_standby?, settings?);
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
        Ok(access)
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
}

/// What became of the grants that were granted again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnfrozenGrants {
    /// The number of those that the Region has again.
    pub granted: usize,
    /// Those that it never takes again, with the reason.
    pub refused: BTreeMap<String, String>,
    /// Those that it may take later. They stay recorded.
    pub left: UnrestoredGrants,
}

/// What became of each grant that was granted again.
#[derive(Debug, Default)]
struct Regranted {
    granted: usize,
    refused: BTreeMap<String, String>,
    /// Those that may be granted later.
    left: BTreeMap<PermissionGrant, CallError>,
}

impl<W: WriteRegion, L: DocumentStore> FrozenRegion<'_, W, L> {
    /// Revokes the grants to write, each after it was stored in both ledgers. Returns their number, or why some could
    /// not be revoked.
    ///
    /// # Errors
    /// A read failed, or a ledger cannot be reached. It may be repeated.
    pub(crate) async fn freeze<S: ReadRegion, P: GrantsPermit>(
        &self,
        standby: &S,
        permit: &P,
    ) -> Result<Result<usize, String>, CallError> {
        let known = self.grants().await?;
        let standby = (standby, self.next_ledger);
        let access = self.terms.write_access(self.region, standby).await?;
        let mut new = access.revocable.clone();
        new.retain(|grant, _| !known.contains_key(grant));
        let documents = FrozenGrants::documents_of(self.terms.epoch, &new, GRANTS_PER_DOCUMENT);
        for document in &documents {
            let id = format!("{}-{}", self.terms.epoch.number(), digest(document));
            let text = to_text(document);
            permit.renew().await?;
            for ledger in [self.next_ledger, self.former_ledger] {
                // A document of this id has the same content.
                ledger.put_document(FAMILY, &id, Some(&text), None).await?;
            }
        }
        let failures = send(&access.revocable, permit, async |entries| {
            self.region.revoke(entries).await
        })
        .await?;
        // What is gone by now was revoked by an attempt whose answer was lost, or by a run beside this one, and stays
        // recorded. That somebody else revoked it since it was listed cannot be told apart.
        let failed: Vec<_> = failures
            .into_iter()
            .filter(|(_, error)| !is_gone(error))
            .collect();
        if let Some((grant, error)) = failed.first() {
            return Ok(Err(format!(
                "{} to write could not be revoked in {}, such as {grant}: {error}",
                counted(failed.len(), "grant"),
                self.region.region()
            )));
        }
        Ok(Ok(self.grants().await?.len()))
    }

    /// The grants that are frozen in the Region.
    ///
    /// # Errors
    /// A ledger cannot be reached.
    pub async fn grants(&self) -> Result<Grants, CallError> {
        let (next, former) = join(stored(self.next_ledger), stored(self.former_ledger)).await;
        let is_wanted = |frozen: &FrozenGrants| frozen.is_of_primary(self.terms.epoch);
        let mut grants = grants_of(&next?, is_wanted);
        grants.extend(grants_of(&former?, is_wanted));
        Ok(grants)
    }

    /// Whether the ledger of the Region that becomes the primary holds anything of this freeze.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    pub(crate) async fn has_frozen(&self) -> Result<bool, CallError> {
        let stored = stored(self.next_ledger).await?;
        let mut frozen = stored.iter().map(|one| &one.frozen);
        Ok(frozen.any(|frozen| frozen.is_of_primary(self.terms.epoch)))
    }

    /// Grants again what the freeze has revoked, and forgets it.
    ///
    /// # Errors
    /// A read failed, a ledger cannot be reached, or a grant may succeed later. It may be repeated.
    pub(crate) async fn unfreeze<P: GrantsPermit>(
        &self,
        permit: &P,
    ) -> Result<UnfrozenGrants, CallError> {
        // A freeze writes there first, and an undo forgets there last.
        if !self.has_frozen().await? {
            return Ok(UnfrozenGrants::default());
        }
        let grants = self.grants().await?;
        let own = self.terms.of_primary();
        let again = grant_again(self.region, &own, &grants, permit).await?;
        if let Some(error) = again.left.into_values().next() {
            return Err(error);
        }
        permit.renew().await?;
        // The next primary keeps the grants until its document is gone, and who repeats this finds it there.
        for ledger in [self.former_ledger, self.next_ledger] {
            forget(ledger, |frozen| frozen.is_of_primary(self.terms.epoch)).await?;
        }
        Ok(UnfrozenGrants {
            granted: again.granted,
            refused: again.refused,
            left: UnrestoredGrants::default(),
        })
    }
}

/// Grants again in a Region that has become the primary what was frozen in it, and forgets it. What Lake Formation does
/// not take now, whatever the reason, holds up no takeover: it stays recorded, and is granted when this is repeated.
///
/// # Errors
/// The ledger cannot be reached.
pub(super) async fn restore<W: WriteRegion, L: DocumentStore>(
    region: &W,
    ledger: &L,
    policy: &Policy,
    (site, epoch): (SiteId, Epoch),
) -> Result<UnfrozenGrants, CallError> {
    let is_frozen = |frozen: &FrozenGrants| frozen.is_of_former_primary(site, epoch);
    let stored = stored(ledger).await?;
    let grants = grants_of(&stored, is_frozen);
    if grants.is_empty() {
        return Ok(UnfrozenGrants::default());
    }
    let own = GrantMapping::of_standby(policy, epoch.switched());
    let again = match grant_again(region, &own, &grants, &()).await {
        Ok(again) => again,
        // Without a list of the grants, none is known to be missing.
        Err(error) => Regranted {
            left: grants
                .into_keys()
                .map(|grant| (grant, error.clone()))
                .collect(),
            ..Regranted::default()
        },
    };
    let keep = |grant: &PermissionGrant, option: bool| {
        let is_left = again.left.contains_key(grant);
        is_left.then_some(option)
    };
    prune(ledger, &stored, |one| is_frozen(&one.frozen), keep).await?;
    let left = again.left.iter();
    Ok(UnfrozenGrants {
        left: UnrestoredGrants::new(left.map(|(grant, error)| (grant, error.to_string()))),
        granted: again.granted,
        refused: again.refused,
    })
}

/// Grants again, unless the Region lists the grant with another grant option: then somebody has granted it since. A
/// listing may be one write old, so what it shows unchanged is granted, too.
async fn grant_again<W: WriteRegion, P: GrantsPermit>(
    region: &W,
    own: &GrantMapping,
    grants: &Grants,
    permit: &P,
) -> Result<Regranted, CallError> {
    if grants.is_empty() {
        return Ok(Regranted::default());
    }
    let listed = listed(region, own).await?;
    let mut missing = grants.clone();
    missing.retain(|grant, option| listed.get(grant).is_none_or(|listed| listed == option));
    let failures = send(&missing, permit, async |entries| {
        region.grant(entries).await
    })
    .await?;
    let mut again = Regranted::default();
    for (grant, error) in failures {
        match error.kind {
            CallErrorKind::AlreadyInState => {}
            CallErrorKind::NotFound | CallErrorKind::Invalid | CallErrorKind::Unsupported => {
                again.refused.insert(grant.to_string(), error.to_string());
            }
            CallErrorKind::Contended
            | CallErrorKind::NotPropagated
            | CallErrorKind::Denied
            | CallErrorKind::Unavailable => drop(again.left.insert(grant, error)),
        }
    }
    again.granted = grants.len() - again.refused.len() - again.left.len();
    Ok(again)
}

/// Whether the service says that the grant was not there.
fn is_gone(error: &CallError) -> bool {
    matches!(
        error.kind,
        CallErrorKind::NotFound | CallErrorKind::AlreadyInState
    )
}

/// Sends each grant as an entry of its own, one batch after the other. Returns those that failed.
///
/// # Errors
/// The permit was lost: the batches that are left are not sent.
async fn send<P: GrantsPermit>(
    grants: &Grants,
    permit: &P,
    call: impl AsyncFn(&[&ListedPermission]) -> Result<EntryResults, CallError>,
) -> Result<Vec<(PermissionGrant, CallError)>, CallError> {
    let entries: Vec<(PermissionGrant, ListedPermission)> = grants
        .iter()
        .flat_map(|(grant, grantable)| {
            let one = to_batch_entries(&Grants::from([(grant.clone(), *grantable)]));
            one.into_iter().map(|(entry, _)| (grant.clone(), entry))
        })
        .collect();
    let mut failures = Vec::new();
    for batch in entries.chunks(MAX_PERMISSIONS_PER_BATCH) {
        permit.renew().await?;
        // An error of the whole call may be that of one entry.
        let single = match send_batch(batch, &call, &mut failures).await {
            Ok(()) => continue,
            Err(error) if batch.len() == 1 => {
                let grants = batch
                    .iter()
                    .map(|(grant, _)| (grant.clone(), error.clone()));
                failures.extend(grants);
                continue;
            }
            Err(_) => batch.chunks(1),
        };
        for one in single {
            permit.renew().await?;
            if let Err(error) = send_batch(one, &call, &mut failures).await {
                let grants = one.iter().map(|(grant, _)| (grant.clone(), error.clone()));
                failures.extend(grants);
            }
        }
    }
    Ok(failures)
}

async fn send_batch(
    batch: &[(PermissionGrant, ListedPermission)],
    call: &impl AsyncFn(&[&ListedPermission]) -> Result<EntryResults, CallError>,
    failures: &mut Vec<(PermissionGrant, CallError)>,
) -> Result<(), CallError> {
    let entries: Vec<&ListedPermission> = batch.iter().map(|(_, entry)| entry).collect();
    let results = call(&entries).await?;
    for ((grant, _), result) in batch.iter().zip(results) {
        if let Err(error) = result {
            failures.push((grant.clone(), error));
        }
    }
    Ok(())
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
    policy: &Policy,
    epoch: Epoch,
) -> Result<Option<String>, CallError> {
    let stored = stored(ledger).await?;
    if stored.is_empty() {
        return Ok(None);
    }
    let to_next = GrantMapping::of_primary(policy, epoch);
    let of_next = GrantMapping::of_standby(policy, epoch);
    let (in_next, in_former) = join(listed(next, &of_next), listed(former, &to_next)).await;
    let (mut in_next, mut in_former) = (in_next?, in_former?);
    let frozen = grants_of(&stored, |frozen| frozen.is_of_primary(epoch));
    let frozen = mapped(&frozen, &to_next);
    for (grant, grantable) in &frozen {
        in_former.entry(grant.clone()).or_insert(*grantable);
    }
    add_withheld(&mut in_next, &stored, epoch);
    let is_former = |frozen: &FrozenGrants| frozen.is_of_former_primary(epoch.standby(), epoch);
    prune(
        ledger,
        &stored,
        |one| is_former(&one.frozen),
        |grant, grantable| in_former.get(grant).map(|option| *option && grantable),
    )
    .await?;
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

/// Adds to the grants of a standby those that it gets when it is the primary again.
fn add_withheld(in_standby: &mut Grants, stored: &[StoredFreeze], epoch: Epoch) {
    let withheld = grants_of(stored, |frozen| {
        frozen.is_of_former_primary(epoch.standby(), epoch)
    });
    for (grant, grantable) in withheld {
        in_standby.entry(grant).or_insert(grantable);
    }
}
