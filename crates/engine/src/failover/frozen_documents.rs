//! The documents of the ledgers that hold what a freeze has revoked: the family [`FAMILY`].

use super::MAX_ATTEMPTS;
use crate::ports::DocumentStore;
use std::collections::BTreeMap;
use twinlake_core::failover::FrozenGrants;
use twinlake_core::topology::{Epoch, SiteId};
use twinlake_core::{CallError, CallErrorKind, Grants, PermissionGrant};

/// The documents with [`FrozenGrants`].
pub(super) const FAMILY: &str = "frozen_grants";

/// A stored document with its id and version.
pub(crate) struct StoredFreeze {
    id: String,
    version: u64,
    /// What it holds.
    pub(crate) frozen: FrozenGrants,
}

/// Reads what a ledger holds.
///
/// # Errors
/// It cannot be reached, or not be understood.
pub(crate) async fn stored<L: DocumentStore>(ledger: &L) -> Result<Vec<StoredFreeze>, CallError> {
    let documents = ledger.documents(FAMILY).await?.into_iter();
    let parsed = documents.map(|(id, (text, version))| {
        let frozen = serde_json::from_str(&text).map_err(|error| {
            let message = format!("the frozen grants {id} cannot be read: {error}");
            CallError::new(CallErrorKind::Invalid, "ledger", "this Region", message)
        })?;
        Ok(StoredFreeze {
            id,
            version,
            frozen,
        })
    });
    parsed.collect()
}

/// The grants of the documents that are wanted.
pub(crate) fn grants_of(
    stored: &[StoredFreeze],
    is_wanted: impl Fn(&FrozenGrants) -> bool,
) -> Grants {
    let wanted = stored.iter().filter(|one| is_wanted(&one.frozen));
    wanted.flat_map(|one| one.frozen.to_grants()).collect()
}

/// Writes the wanted documents again, with the grants that `keep` keeps and the grant option that it says.
///
/// # Errors
/// The ledger cannot be reached.
pub(crate) async fn prune<L: DocumentStore>(
    ledger: &L,
    stored: &[StoredFreeze],
    is_wanted: impl Fn(&StoredFreeze) -> bool,
    keep: impl Fn(&PermissionGrant, bool) -> Option<bool>,
) -> Result<(), CallError> {
    for one in stored.iter().filter(|one| is_wanted(one)) {
        let before = one.frozen.to_grants();
        let after = before.iter().filter_map(|(grant, grantable)| {
            let grantable = keep(grant, *grantable)?;
            Some((grant.clone(), grantable))
        });
        let after: Grants = after.collect();
        if after == before {
            continue;
        }
        let gone: Vec<&PermissionGrant> = before
            .keys()
            .filter(|grant| !after.contains_key(*grant))
            .collect();
        rewrite(ledger, one, &after, &gone).await?;
    }
    Ok(())
}

/// Writes a document with what is left of it. If somebody else has written it meanwhile, what is gone is taken out of
/// what they left: each knows of other grants that they are gone.
async fn rewrite<L: DocumentStore>(
    ledger: &L,
    read: &StoredFreeze,
    after: &Grants,
    gone: &[&PermissionGrant],
) -> Result<(), CallError> {
    let (mut after, mut version) = (after.clone(), read.version);
    for attempt in 0..MAX_ATTEMPTS {
        let documents = FrozenGrants::documents_of(read.frozen.epoch, &after, after.len());
        let text = documents.first().map(to_text);
        let expected = Some(version);
        if ledger
            .put_document(FAMILY, &read.id, text.as_deref(), expected)
            .await?
        {
            return Ok(());
        }
        ledger.wait_after_conflict(attempt).await;
        let all = stored(ledger).await?;
        let Some(now) = all.into_iter().find(|one| one.id == read.id) else {
            return Ok(());
        };
        version = now.version;
        after = now.frozen.to_grants();
        after.retain(|grant, _| !gone.contains(&grant));
    }
    let message = "others keep changing the frozen grants; run the command again";
    Err(CallError::new(
        CallErrorKind::Contended,
        "ledger",
        "this Region",
        message,
    ))
}

pub(super) fn to_text(document: &FrozenGrants) -> String {
    // Keys of maps are texts, so writing to memory cannot fail.
    serde_json::to_string(document).unwrap_or_default()
}

/// Deletes the documents that are not needed any more.
///
/// # Errors
/// The ledger cannot be reached.
pub(crate) async fn forget<L: DocumentStore>(
    ledger: &L,
    is_unneeded: impl Fn(&FrozenGrants) -> bool,
) -> Result<(), CallError> {
    let stored = stored(ledger).await?;
    prune(ledger, &stored, |one| is_unneeded(&one.frozen), |_, _| None).await
}

/// What of the grants of a Region is frozen, by its ledger: the number by principal.
///
/// # Errors
/// The ledger cannot be reached.
pub async fn frozen_grants<L: DocumentStore>(
    ledger: &L,
    epoch: Epoch,
) -> Result<FrozenCounts, CallError> {
    let stored = stored(ledger).await?;
    let count = |is_wanted: &dyn Fn(&FrozenGrants) -> bool| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for grant in grants_of(&stored, is_wanted).into_keys() {
            *counts.entry(grant.principal.0).or_default() += 1;
        }
        counts
    };
    Ok(FrozenCounts {
        in_primary: count(&|frozen| frozen.is_of_primary(epoch)),
        in_standby: count(&|frozen| frozen.is_of_former_primary(epoch.standby(), epoch)),
    })
}

/// How many grants of each principal are frozen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrozenCounts {
    /// In the primary: a switchover from it is under way, or has ended early.
    pub in_primary: BTreeMap<String, usize>,
    /// In the standby, which was the primary before: it gets them when it is the primary again.
    pub in_standby: BTreeMap<String, usize>,
}

/// Gives a ledger that was lost what is frozen in its Region.
///
/// # Errors
/// A ledger cannot be reached.
pub(crate) async fn copy_to_former<L: DocumentStore>(
    primary: &L,
    former: &L,
    (site, epoch): (SiteId, Epoch),
) -> Result<(), CallError> {
    for one in stored(primary).await? {
        if one.frozen.is_of_former_primary(site, epoch) {
            let text = to_text(&one.frozen);
            former
                .put_document(FAMILY, &one.id, Some(&text), None)
                .await?;
        }
    }
    Ok(())
}
