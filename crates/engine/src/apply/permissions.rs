//! Grants and revokes, in batches.

use super::{Apply, spread};
use crate::ports::{EntryResults, GRANT_BATCH, WriteRegion};
use std::collections::BTreeMap;
use twinlake_core::grant::{Entry, Grants, entries};
use twinlake_core::{Atom, Fault, FaultKind, Step};

/// One entry of a batch with the atoms that it stands for.
type Sent = (Entry, Vec<Atom>);

/// What is still to be sent.
#[derive(Default)]
struct Left {
    /// To be sent together, so many at once.
    together: Vec<Sent>,
    /// Entries of a call that failed as a whole: each is asked alone, so that one that
    /// the service will not have is not in the way of the others.
    alone: Vec<Sent>,
}

impl Left {
    fn next(&mut self) -> Option<Vec<Sent>> {
        if !self.together.is_empty() {
            let many = self.together.len().min(GRANT_BATCH);
            return Some(self.together.drain(..many).collect());
        }
        self.alone.pop().map(|one| vec![one])
    }
}

impl<S: WriteRegion> Apply<'_, S> {
    /// One batch after the other: two writers of one principal and resource clash (LF-12).
    pub(super) async fn permissions(&mut self, ids: &[usize]) {
        let ids = self.runnable(ids);
        let mut places: BTreeMap<Atom, usize> = BTreeMap::new();
        let mut atoms = Grants::new();
        let mut revokes = false;
        for at in ids {
            match self.steps.get(at) {
                Some(Step::Grant { atom, grantable }) => {
                    atoms.insert(atom.clone(), *grantable);
                    places.insert(atom.clone(), at);
                }
                Some(Step::Revoke {
                    atom, grantable, ..
                }) => {
                    atoms.insert(atom.clone(), *grantable);
                    places.insert(atom.clone(), at);
                    revokes = true;
                }
                Some(_) | None => {}
            }
        }
        let mut left = Left {
            together: entries(&atoms),
            alone: Vec::new(),
        };
        while let Some(batch) = left.next() {
            let sent: Vec<&Entry> = batch.iter().map(|(entry, _)| entry).collect();
            let result = match revokes {
                true => self.secondary.revoke(&sent).await,
                false => self.secondary.grant(&sent).await,
            };
            if batch.len() > 1 && is_about_one(&result) {
                left.alone.extend(batch);
                continue;
            }
            let all: Vec<usize> = (0..batch.len()).collect();
            for (at, result) in spread(&all, result) {
                let stands_for = batch.get(at).map(|(_, atoms)| atoms.as_slice());
                let stands_for = stands_for.unwrap_or_default();
                if stands_for.len() > 1 && is_about_part(revokes, &result) {
                    left.together.extend(stands_for.iter().flat_map(|atom| {
                        let option = atoms.get(atom).copied().unwrap_or_default();
                        entries(&Grants::from([(atom.clone(), option)]))
                    }));
                    continue;
                }
                for atom in stands_for {
                    if let Some(&place) = places.get(atom) {
                        self.settle(place, result.clone());
                    }
                }
            }
        }
    }
}

/// Whether a call failed as a whole for what may be the matter with one of its entries. By
/// itself that says nothing of any of them.
fn is_about_one(result: &Result<EntryResults, Fault>) -> bool {
    result.as_ref().is_err_and(|fault| match fault.kind {
        FaultKind::Absent
        | FaultKind::AlreadyDone
        | FaultKind::NotYet
        | FaultKind::Invalid
        | FaultKind::Unsupported => true,
        FaultKind::Busy | FaultKind::Denied | FaultKind::Unavailable => false,
    })
}

/// Whether an entry's answer may be about one of several permissions or columns: one
/// column that is gone answers for all.
fn is_about_part(revokes: bool, result: &Result<(), Fault>) -> bool {
    result.as_ref().is_err_and(|fault| match fault.kind {
        FaultKind::AlreadyDone => revokes,
        FaultKind::Invalid | FaultKind::Unsupported => true,
        FaultKind::Absent
        | FaultKind::Busy
        | FaultKind::NotYet
        | FaultKind::Denied
        | FaultKind::Unavailable => false,
    })
}
