//! The documents of the ledgers that hold what a freeze has revoked: the family [`FAMILY`].
//!
//! Several runs may write one document. A run that is about to revoke takes over every document of its epoch: it writes
//! it, in both ledgers, whether or not it changes ([`take_over`]). A run that has granted again takes out of a document
//! what it has granted only if nobody has written the document since it was read before the grants ([`take_out`]): a
//! document that was taken over meanwhile stays. What is known to be revoked for good is taken out of whatever the
//! document holds by then ([`prune`]).

use super::MAX_ATTEMPTS;
use crate::ports::DocumentStore;
use std::collections::BTreeMap;
use twinlake_core::failover::{FrozenGrant, FrozenGrants};
use twinlake_core::topology::{Epoch, SiteId};
use twinlake_core::{CallError, CallErrorKind, Grants};

/// The documents with [`FrozenGrants`].
const FAMILY: &str = "frozen_grants";

/// A stored document with its id and version.
pub(crate) struct StoredFreeze {
    pub(super) id: String,
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
    let parsed = documents.map(|(id, (text, version))| parse(id, &text, version));
    parsed.collect()
}

/// Reads one document.
async fn stored_one<L: DocumentStore>(
    ledger: &L,
    id: &str,
) -> Result<Option<StoredFreeze>, CallError> {
    let found = ledger.document(FAMILY, id).await?;
    let parsed = found.map(|(text, version)| parse(id.to_owned(), &text, version));
    parsed.transpose()
}

fn parse(id: String, text: &str, version: u64) -> Result<StoredFreeze, CallError> {
    let frozen = serde_json::from_str(text).map_err(|error| {
        let message = format!("the frozen grants {id} cannot be read: {error}");
        CallError::new(CallErrorKind::Invalid, "ledger", "this Region", message)
    })?;
    Ok(StoredFreeze {
        id,
        version,
        frozen,
    })
}

fn to_text(document: &FrozenGrants) -> String {
    // Keys of maps are texts, so writing to memory cannot fail.
    serde_json::to_string(document).unwrap_or_default()
}

/// The grants of the documents that are wanted.
pub(crate) fn grants_of(
    stored: &[StoredFreeze],
    is_wanted: impl Fn(&FrozenGrants) -> bool,
) -> Grants {
    let wanted = stored.iter().filter(|one| is_wanted(&one.frozen));
    wanted.flat_map(|one| one.frozen.to_grants()).collect()
}

/// The documents of two ledgers by their ids, each with the grants of both.
pub(super) fn of_both(
    ledgers: [&[StoredFreeze]; 2],
    is_wanted: impl Fn(&FrozenGrants) -> bool,
) -> BTreeMap<String, FrozenGrants> {
    let mut all: BTreeMap<String, FrozenGrants> = BTreeMap::new();
    for one in ledgers.into_iter().flatten() {
        if is_wanted(&one.frozen) {
            let known = all.get(&one.id);
            let both = known.map(|known| known.with(&one.frozen));
            all.insert(one.id.clone(), both.unwrap_or_else(|| one.frozen.clone()));
        }
    }
    all
}

/// Writes a document with at least these grants, and with their grant options. Its version changes in any case.
///
/// # Errors
/// The ledger cannot be reached, or others keep changing the document.
pub(super) async fn take_over<L: DocumentStore>(
    ledger: &L,
    id: &str,
    wanted: &FrozenGrants,
) -> Result<(), CallError> {
    for attempt in 0..MAX_ATTEMPTS {
        let found = stored_one(ledger, id).await?;
        let version = found.as_ref().map(|one| one.version);
        let whole = found.map_or_else(|| wanted.clone(), |one| one.frozen.with(wanted));
        let text = to_text(&whole);
        if ledger
            .put_document(FAMILY, id, Some(&text), version)
            .await?
        {
            return Ok(());
        }
        ledger.wait_after_conflict(attempt).await;
    }
    Err(others())
}

/// Writes a document with what `keep` keeps, unless somebody has written it since it was read.
///
/// # Errors
/// The ledger cannot be reached.
pub(super) async fn take_out<L: DocumentStore>(
    ledger: &L,
    read: &StoredFreeze,
    keep: impl Fn(&FrozenGrant) -> Option<FrozenGrant>,
) -> Result<bool, CallError> {
    let after = read.frozen.kept(keep);
    if after.as_ref() == Some(&read.frozen) {
        return Ok(true);
    }
    let text = after.as_ref().map(to_text);
    let expected = Some(read.version);
    ledger
        .put_document(FAMILY, &read.id, text.as_deref(), expected)
        .await
}

/// Writes the wanted documents with what `keep` keeps of what they hold when they are written.
///
/// # Errors
/// The ledger cannot be reached, or others keep changing a document.
pub(crate) async fn prune<L: DocumentStore>(
    ledger: &L,
    stored: Vec<StoredFreeze>,
    is_wanted: impl Fn(&FrozenGrants) -> bool,
    keep: impl Fn(&FrozenGrant) -> Option<FrozenGrant>,
) -> Result<(), CallError> {
    for mut one in stored.into_iter().filter(|one| is_wanted(&one.frozen)) {
        let mut attempt = 0;
        while !take_out(ledger, &one, &keep).await? {
            if attempt >= MAX_ATTEMPTS {
                return Err(others());
            }
            ledger.wait_after_conflict(attempt).await;
            attempt += 1;
            match stored_one(ledger, &one.id).await? {
                Some(now) => one = now,
                None => break,
            }
        }
    }
    Ok(())
}

fn others() -> CallError {
    let message = "others keep changing the frozen grants; run the command again";
    let kind = CallErrorKind::Contended;
    CallError::new(kind, "ledger", "this Region", message)
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
    prune(ledger, stored, is_unneeded, |_| None).await
}

/// Gives the ledger of a former primary what is frozen in its Region, as far as it lacks it.
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
            take_over(former, &one.id, &one.frozen).await?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InMemoryLedger;
    use futures_util::FutureExt as _;
    use twinlake_core::grant::Resource;
    use twinlake_core::{Name, Permission, PermissionGrant, Principal, TableId};

    const EPOCH: Epoch = Epoch::INITIAL;

    fn frozen(principal: &str, grantable: bool) -> FrozenGrant {
        let table = TableId::new(Name::new("sales").unwrap(), Name::new("orders").unwrap());
        FrozenGrant {
            grant: PermissionGrant {
                principal: Principal(principal.to_owned()),
                resource: Resource::Table(table),
                permission: Permission::Insert,
                condition: None,
            },
            grantable,
            is_unrestored: false,
        }
    }

    fn document(grants: &[FrozenGrant]) -> FrozenGrants {
        FrozenGrants {
            epoch: EPOCH,
            grants: grants.to_vec(),
        }
    }

    fn now<T>(future: impl Future<Output = Result<T, CallError>>) -> T {
        let result = future.now_or_never();
        result.expect("a ledger in memory does not wait").unwrap()
    }

    fn read(ledger: &InMemoryLedger) -> Vec<StoredFreeze> {
        now(stored(ledger))
    }

    #[test]
    fn what_was_taken_over_since_it_was_read_is_not_taken_out() {
        let ledger = InMemoryLedger::default();
        let whole = document(&[frozen("a", true), frozen("b", false)]);
        now(take_over(&ledger, "0-x", &whole));
        let before = read(&ledger).remove(0);
        // The same content, by somebody who counts on it.
        now(take_over(&ledger, "0-x", &whole));
        assert!(!now(take_out(&ledger, &before, |_| None)));
        assert_eq!(read(&ledger)[0].frozen, whole);
        let newest = read(&ledger).remove(0);
        assert!(now(take_out(&ledger, &newest, |one| {
            one.grantable.then(|| one.clone())
        })));
        assert_eq!(read(&ledger)[0].frozen, document(&[frozen("a", true)]));
    }

    #[test]
    fn a_document_that_holds_less_gets_the_rest_and_the_options_of_who_takes_it_over() {
        let ledger = InMemoryLedger::default();
        now(take_over(
            &ledger,
            "0-x",
            &document(&[frozen("a", true), frozen("c", true)]),
        ));
        now(take_over(
            &ledger,
            "0-x",
            &document(&[frozen("a", false), frozen("b", true)]),
        ));
        let all = [frozen("a", false), frozen("b", true), frozen("c", true)];
        assert_eq!(read(&ledger)[0].frozen, document(&all));
    }

    #[test]
    fn what_is_decided_about_a_document_holds_for_what_others_have_made_of_it() {
        let ledger = InMemoryLedger::default();
        now(take_over(
            &ledger,
            "0-x",
            &document(&[frozen("a", true), frozen("b", true)]),
        ));
        let before = read(&ledger);
        // Somebody else knows that `b` is revoked.
        now(take_over(&ledger, "0-x", &document(&[])));
        let newest = read(&ledger).remove(0);
        let without_b = |one: &FrozenGrant| (one.grant.principal.0 == "a").then(|| one.clone());
        assert!(now(take_out(&ledger, &newest, without_b)));
        // Who read it before has found out that `a` has lost the option.
        let reduced = |one: &FrozenGrant| {
            Some(FrozenGrant {
                grantable: false,
                ..one.clone()
            })
        };
        now(prune(&ledger, before, |_| true, reduced));
        assert_eq!(read(&ledger)[0].frozen, document(&[frozen("a", false)]));
    }

    #[test]
    fn a_former_primary_gets_what_its_ledger_lacks_of_a_document_that_it_has() {
        let (primary, former) = (InMemoryLedger::default(), InMemoryLedger::default());
        let whole = document(&[frozen("a", true), frozen("b", false)]);
        now(take_over(&primary, "0-x", &whole));
        now(take_over(&former, "0-x", &document(&[frozen("a", true)])));
        let at = (EPOCH.primary(), EPOCH.switched());
        now(copy_to_former(&primary, &former, at));
        assert_eq!(read(&former)[0].frozen, whole);
    }
}
