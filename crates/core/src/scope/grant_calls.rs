//! When events say that a grant was made and revoked, for grants that AWS may list long after their revoke
//! (LF-07).

use crate::grant::{Permission, PermissionGrant, Resource};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

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
