//! Grants and revokes permissions in batches.

use super::{Calls, StepResults, per_entry};
use crate::ports::{EntryResults, MAX_PERMISSIONS_PER_BATCH, WriteRegion};
use futures_util::FutureExt as _;
use std::collections::BTreeMap;
use twinlake_core::grant::{Grants, ListedPermission, to_batch_entries};
use twinlake_core::{CallError, CallErrorKind, PermissionGrant, Step};

/// One entry of a batch with the grants that it combines.
type BatchEntry = (ListedPermission, Vec<PermissionGrant>);

/// Entries that are still to be sent.
#[derive(Default)]
struct PendingEntries {
    /// Entries to send in batches of [`MAX_PERMISSIONS_PER_BATCH`].
    batched: Vec<BatchEntry>,
    /// Entries of a call that failed as a whole. Each is sent alone, so that an entry that the
    /// service rejects does not block the others.
    single: Vec<BatchEntry>,
    /// Number of entries that were denied in a call of their own, while no call succeeded.
    denied_alone: usize,
}

/// After this many entries were denied alone and no call succeeded, a denial is taken to concern
/// every entry.
const MAX_ENTRIES_DENIED_ALONE: usize = 20;

impl PendingEntries {
    fn next_batch(&mut self) -> Option<Vec<BatchEntry>> {
        if !self.batched.is_empty() {
            let count = self.batched.len().min(MAX_PERMISSIONS_PER_BATCH);
            return Some(self.batched.drain(..count).collect());
        }
        self.single.pop().map(|entry| vec![entry])
    }

    /// Whether a call failed as a whole with an error that one of its entries may have caused. Such
    /// an error does not say which entries are affected.
    fn may_concern_one_entry(&self, result: &Result<EntryResults, CallError>) -> bool {
        result.as_ref().is_err_and(|error| match error.kind {
            CallErrorKind::NotFound
            | CallErrorKind::AlreadyInState
            | CallErrorKind::NotPropagated
            | CallErrorKind::Invalid
            | CallErrorKind::Unsupported => true,
            CallErrorKind::Denied => self.denied_alone < MAX_ENTRIES_DENIED_ALONE,
            CallErrorKind::Contended | CallErrorKind::Unavailable => false,
        })
    }

    fn count_denials(&mut self, result: &Result<EntryResults, CallError>) {
        match result {
            Ok(_) => self.denied_alone = 0,
            Err(error) => self.denied_alone += usize::from(error.kind == CallErrorKind::Denied),
        }
    }
}

/// Returns the calls for grants and for revokes, one batch after the other: concurrent writes for one
/// principal and resource conflict (LF-12).
pub(super) fn calls<'a, S: WriteRegion>(
    steps: &'a [Step],
    positions: Vec<usize>,
    standby: &'a S,
) -> Option<Calls<'a>> {
    if positions.is_empty() {
        return None;
    }
    let is_revoke = |position: &usize| matches!(steps.get(*position), Some(Step::Revoke { .. }));
    let calls = async move {
        let (revokes, grants): (Vec<usize>, Vec<usize>) =
            positions.into_iter().partition(is_revoke);
        let mut results = send_batches(steps, &revokes, true, standby).await;
        results.extend(send_batches(steps, &grants, false, standby).await);
        results
    };
    Some(calls.boxed_local())
}

/// Sends grants, or revokes, in batches.
async fn send_batches<S: WriteRegion>(
    steps: &[Step],
    positions: &[usize],
    revokes: bool,
    standby: &S,
) -> StepResults {
    let mut positions_by_grant: BTreeMap<PermissionGrant, usize> = BTreeMap::new();
    let mut grants = Grants::new();
    for &position in positions {
        if let Some(
            Step::Grant { grant, grantable }
            | Step::Revoke {
                grant, grantable, ..
            },
        ) = steps.get(position)
        {
            grants.insert(grant.clone(), *grantable);
            positions_by_grant.insert(grant.clone(), position);
        }
    }
    let mut pending = PendingEntries {
        batched: to_batch_entries(&grants),
        ..PendingEntries::default()
    };
    let mut results = StepResults::new();
    while let Some(batch) = pending.next_batch() {
        let entries: Vec<&ListedPermission> = batch.iter().map(|(entry, _)| entry).collect();
        let result = match revokes {
            true => standby.revoke(&entries).await,
            false => standby.grant(&entries).await,
        };
        if batch.len() > 1 && pending.may_concern_one_entry(&result) {
            pending.single.extend(batch);
            continue;
        }
        pending.count_denials(&result);
        let all: Vec<usize> = (0..batch.len()).collect();
        for (index, result) in per_entry(&all, result) {
            let grants_of_entry = batch.get(index).map(|(_, of_entry)| of_entry.as_slice());
            let grants_of_entry = grants_of_entry.unwrap_or_default();
            if grants_of_entry.len() > 1 && may_concern_one_grant(&result) {
                let alone = grants_of_entry.iter().flat_map(|grant| {
                    let grantable = grants.get(grant).copied().unwrap_or_default();
                    to_batch_entries(&Grants::from([(grant.clone(), grantable)]))
                });
                pending.batched.extend(alone);
                continue;
            }
            for grant in grants_of_entry {
                if let Some(&position) = positions_by_grant.get(grant) {
                    results.push((position, result.clone()));
                }
            }
        }
    }
    results
}

/// Whether the error of an entry may concern only one of its permissions or columns: one missing
/// column fails the whole entry, with an error that is told from others only by its text.
fn may_concern_one_grant(result: &Result<(), CallError>) -> bool {
    result.as_ref().is_err_and(|error| match error.kind {
        CallErrorKind::AlreadyInState | CallErrorKind::Invalid | CallErrorKind::Unsupported => true,
        CallErrorKind::NotFound
        | CallErrorKind::Contended
        | CallErrorKind::NotPropagated
        | CallErrorKind::Denied
        | CallErrorKind::Unavailable => false,
    })
}
