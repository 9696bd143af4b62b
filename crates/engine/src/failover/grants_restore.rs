//! Grants again what a freeze has revoked: for an undo, and in a Region that has become the primary again.

use super::frozen_documents::{grants_of, prune, stored};
use super::grant_calls::{listed, send};
use super::grants_lease::GrantsPermit;
use crate::ports::{DocumentStore, ReadRegion, WriteRegion};
use std::collections::BTreeMap;
use twinlake_core::failover::{FrozenGrant, FrozenGrants, UnrestoredGrants};
use twinlake_core::grant::GrantMapping;
use twinlake_core::scope::subject_of_grant;
use twinlake_core::topology::{Epoch, Site, SiteId};
use twinlake_core::{
    CallError, CallErrorKind, Grants, Name, PermissionGrant, Policy, Principal, Subject,
};

/// What became of the grants that were granted again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnfrozenGrants {
    /// The number of those that the Region has again.
    pub granted: usize,
    /// Those that it never takes again, with the reason.
    pub refused: BTreeMap<String, String>,
    /// Those that stay recorded.
    pub left: UnrestoredGrants,
}

/// Grants again in a Region that has become the primary what was frozen in it, and forgets what was granted, and
/// what is on a table or database that is proven to be gone. What is not granted for another reason holds up no takeover:
/// it stays recorded, and is granted when this is repeated.
///
/// # Errors
/// The ledger cannot be reached.
pub(super) async fn restore<W: WriteRegion, L: DocumentStore>(
    region: &W,
    ledger: &L,
    policy: &Policy,
    (site, epoch): (SiteId, Epoch),
    caller: Option<&Principal>,
) -> Result<UnfrozenGrants, CallError> {
    let is_frozen = |frozen: &FrozenGrants| frozen.is_of_former_primary(site, epoch);
    let stored = stored(ledger).await?;
    let grants = grants_of(&stored, is_frozen);
    if grants.is_empty() {
        return Ok(UnfrozenGrants::default());
    }
    let own = (region, policy.sites.get(site));
    let again = match grant_again(own, &grants, caller, &()).await {
        Ok(again) => again,
        // Without a list of the grants, nothing says that somebody granted them otherwise.
        Err(error) => Regranted::none(&grants, &error),
    };
    let keep = |one: &FrozenGrant| {
        again.left.contains_key(&one.grant).then(|| FrozenGrant {
            is_unrestored: true,
            ..one.clone()
        })
    };
    prune(ledger, stored, is_frozen, keep).await?;
    Ok(again.counted(&grants))
}

/// What became of each grant that was to be granted again. The others were granted.
#[derive(Debug, Default)]
pub(super) struct Regranted {
    /// Those that are on a table or database that is gone, with the error of the grant.
    gone: BTreeMap<PermissionGrant, String>,
    /// Those that were not granted, with the reason.
    pub(super) left: BTreeMap<PermissionGrant, String>,
}

impl Regranted {
    /// None was granted.
    fn none(grants: &Grants, error: &CallError) -> Self {
        let left = grants.keys();
        Self {
            left: left
                .map(|grant| (grant.clone(), error.to_string()))
                .collect(),
            ..Self::default()
        }
    }

    /// What it comes to, by number and by name.
    pub(super) fn counted(self, grants: &Grants) -> UnfrozenGrants {
        let granted = grants.len() - self.gone.len() - self.left.len();
        let named = |(grant, reason): (PermissionGrant, String)| {
            let option = match grants.get(&grant) {
                Some(true) => " with grant option",
                Some(false) | None => "",
            };
            (format!("{grant}{option}"), reason)
        };
        UnfrozenGrants {
            granted,
            refused: self.gone.into_iter().map(named).collect(),
            left: UnrestoredGrants::new(self.left.into_iter().map(named)),
        }
    }
}

/// Grants again, unless the Region lists the grant with another grant option: then somebody has granted it since. A
/// listing may be one write old, so what it shows unchanged is granted, too.
///
/// # Errors
/// The grants cannot be listed, or the permit was lost: what is left is not sent.
pub(super) async fn grant_again<W: WriteRegion, P: GrantsPermit>(
    (region, site): (&W, &Site),
    grants: &Grants,
    caller: Option<&Principal>,
    permit: &P,
) -> Result<Regranted, CallError> {
    if grants.is_empty() {
        return Ok(Regranted::default());
    }
    let listed = listed(region, &GrantMapping::as_listed(site)).await?;
    let listed: Grants = listed.grants().collect();
    let mut missing = grants.clone();
    missing.retain(|grant, option| listed.get(grant).is_none_or(|listed| listed == option));
    let failures = send(&missing, permit, async |entries| {
        region.grant(entries).await
    })
    .await?;
    let mut objects: BTreeMap<Subject, bool> = BTreeMap::new();
    let mut again = Regranted::default();
    for (grant, error) in failures {
        let is_refused = match error.kind {
            CallErrorKind::AlreadyInState => continue,
            CallErrorKind::NotFound => true,
            CallErrorKind::Invalid
            | CallErrorKind::Unsupported
            | CallErrorKind::Contended
            | CallErrorKind::NotPropagated
            | CallErrorKind::Denied
            | CallErrorKind::Unavailable => false,
        };
        let subject = subject_of_grant(&grant);
        if is_refused && !objects.contains_key(&subject) {
            let is_gone = is_object_gone(region, &subject, caller).await;
            objects.insert(subject.clone(), is_gone);
        }
        let all = match is_refused && objects.get(&subject) == Some(&true) {
            true => &mut again.gone,
            false => &mut again.left,
        };
        all.insert(grant, error.to_string());
    }
    Ok(again)
}

/// Whether a table or database is proven to be gone: neither a read by name nor a complete listing with
/// others in it has it, for a caller who is a data lake administrator before and after.
async fn is_object_gone<R: ReadRegion>(
    region: &R,
    subject: &Subject,
    caller: Option<&Principal>,
) -> bool {
    let Some(caller) = caller else {
        return false;
    };
    let is_administrator = async || {
        let settings = region.settings().await;
        settings.is_ok_and(|settings| settings.administrators.contains(caller))
    };
    if !is_administrator().await {
        return false;
    }
    let is_missing = match subject {
        Subject::Table(id) => {
            let by_name = region.table(id).await.err();
            let listed = region.tables(&id.database).await.unwrap_or_default();
            let is_listed = listed.iter().any(|table| table.object.name == id.table);
            by_name.is_some_and(|error| error.kind == CallErrorKind::NotFound)
                && !is_listed
                && (!listed.is_empty() || is_database_gone(region, &id.database).await)
        }
        Subject::Database(name) => is_database_gone(region, name).await,
        Subject::Catalog | Subject::Function(_) | Subject::LakeFormation(_) => false,
    };
    is_missing && is_administrator().await
}

async fn is_database_gone<R: ReadRegion>(region: &R, name: &Name) -> bool {
    let by_name = region.database(name).await.err();
    let listed = region.databases().await.unwrap_or_default();
    by_name.is_some_and(|error| error.kind == CallErrorKind::NotFound)
        && !listed.is_empty()
        && listed.iter().all(|database| database.object.name != *name)
}
