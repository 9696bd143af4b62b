//! When events say that a grant was made and revoked, for grants that AWS may list long after their revoke
//! (LF-07).

use crate::grant::{Grants, Permission, PermissionGrant, Resource};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// When a grant was made and revoked last, as far as events say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantCallTimes {
    /// The time of the last call that granted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_at: Option<Timestamp>,
    /// The time of the last call that revoked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl GrantCallTimes {
    /// Adds what other events say.
    pub fn merge(&mut self, other: Self) {
        self.granted_at = self.granted_at.max(other.granted_at);
        self.revoked_at = self.revoked_at.max(other.revoked_at);
    }

    /// Whether the last call revoked it. Of calls in the same second the order is not known: then the listing
    /// decides.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.revoked_at > self.granted_at
    }
}

/// What events say of grants that the primary may list late, by whether it lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownGrantCalls {
    /// Of those that it lists.
    listed: BTreeMap<PermissionGrant, GrantCallTimes>,
    /// Of those that it does not list: that is not needed any more.
    unlisted: BTreeMap<PermissionGrant, GrantCallTimes>,
}

impl KnownGrantCalls {
    /// Removes from a listing of the primary the grants that it still shows although, by the events, the last call
    /// revoked them (LF-07: for days), and adds them to `disbelieved`. Once the listing lacks a grant, its calls need
    /// not be remembered. `stored` is what the ledger has, `named` what events of this scope
    /// name; `disbelieved` has the grants that were taken out of the listing before.
    #[must_use]
    pub fn disbelieve(
        stored: &BTreeMap<PermissionGrant, GrantCallTimes>,
        named: &BTreeMap<PermissionGrant, GrantCallTimes>,
        listing: &mut Grants,
        disbelieved: &mut BTreeSet<PermissionGrant>,
    ) -> Self {
        let mut calls = stored.clone();
        for (grant, times) in named {
            calls.entry(grant.clone()).or_default().merge(*times);
        }
        for (grant, times) in &calls {
            if times.is_revoked() && listing.remove(grant).is_some() {
                disbelieved.insert(grant.clone());
            }
        }
        let is_listed =
            |grant: &PermissionGrant| listing.contains_key(grant) || disbelieved.contains(grant);
        let (listed, unlisted) = calls.into_iter().partition(|(grant, _)| is_listed(grant));
        Self { listed, unlisted }
    }

    /// Records in what the ledger has what is known of the grants that the primary lists, and removes the rest.
    /// What another run has stored meanwhile stays.
    pub fn record_in(&self, stored: &mut BTreeMap<PermissionGrant, GrantCallTimes>) {
        stored.retain(|grant, times| self.unlisted.get(grant) != Some(times));
        for (grant, times) in &self.listed {
            stored.entry(grant.clone()).or_default().merge(*times);
        }
    }
}

/// Whether a listing may show a grant long after its revoke: CREATE_DATABASE (LF-07).
#[must_use]
pub fn may_stay_listed(grant: &PermissionGrant) -> bool {
    grant.resource == Resource::Catalog && grant.permission == Permission::CreateDatabase
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_call_decides_in_whatever_order_the_events_arrive() {
        let at = |secs| Some(Timestamp::from_secs(secs));
        let granted = |secs| GrantCallTimes {
            granted_at: at(secs),
            revoked_at: None,
        };
        let revoked = |secs| GrantCallTimes {
            granted_at: None,
            revoked_at: at(secs),
        };
        let is_revoked = |calls: [GrantCallTimes; 3]| {
            let mut both_ways = [calls, [calls[2], calls[1], calls[0]]].map(|calls| {
                let mut merged = GrantCallTimes::default();
                calls.into_iter().for_each(|one| merged.merge(one));
                merged.is_revoked()
            });
            assert_eq!(both_ways[0], both_ways[1]);
            std::mem::take(&mut both_ways[0])
        };
        assert!(!is_revoked([granted(1), granted(5), revoked(3)]));
        assert!(is_revoked([granted(1), granted(3), revoked(5)]));
        assert!(
            !is_revoked([granted(5), revoked(3), revoked(5)]),
            "of the same second"
        );
        assert!(!GrantCallTimes::default().is_revoked());
    }
}
