//! The calls of a freeze and of its undo: lists all grants of a Region, and sends grants or revokes in batches.

use super::grants_lease::GrantsPermit;
use crate::grant_index::GrantIndex;
use crate::observe::{GrantsToList, all_grants};
use crate::ports::{EntryResults, MAX_PERMISSIONS_PER_BATCH, PermissionResourceType, ReadRegion};
use twinlake_core::grant::{GrantMapping, ListedPermission, to_batch_entries};
use twinlake_core::{CallError, Grants, PermissionGrant};

/// All grants of a Region that it lists. Where it refuses to list a type, some may be missing.
pub(super) async fn listed<R: ReadRegion>(
    region: &R,
    mapping: &GrantMapping,
) -> Result<GrantIndex, CallError> {
    all_grants(region, mapping, GrantsToList::All).await
}

/// All grants of a Region.
///
/// # Errors
/// The Region also refuses to list a type of grants on databases and tables: what only that listing shows is not known.
pub(super) async fn all_listed<R: ReadRegion>(
    region: &R,
    mapping: &GrantMapping,
) -> Result<Grants, CallError> {
    let index = listed(region, mapping).await?;
    let mut refused = index.refused_types.iter();
    let of_objects = refused.find(|(kind, _)| PermissionResourceType::OBJECT_TYPES.contains(kind));
    match of_objects {
        Some((_, error)) => Err(error.clone()),
        None => Ok(index.grants().collect()),
    }
}

/// Sends each grant as an entry of its own, one batch after the other. Returns those that failed.
///
/// # Errors
/// The permit was lost: the batches that are left are not sent.
pub(super) async fn send<P: GrantsPermit>(
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
        if send_batch(batch, &call, &mut failures).await.is_ok() {
            continue;
        }
        // An error of the whole call may be that of one entry.
        for one in batch.chunks(1) {
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
