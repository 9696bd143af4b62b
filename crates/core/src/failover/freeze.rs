//! The freeze of a switchover: before the last comparison, the grants of the primary that let principals write are
//! revoked there. The standby keeps them, and has them when it is the primary.
//!
//! What is revoked is stored first, as [`FrozenGrants`], with exactly the permission and the grant option that the
//! Region listed. The epoch of the record says what it means:
//!
//! | the epoch of the ledger | the frozen grants |
//! |---|---|
//! | the same | the primary counts as having them: the standby keeps and gets them |
//! | a later one, in which the Region is the standby | the primary counts as not having them: the Region does not get them |
//! | a later one, in which the Region becomes the primary again | they are granted there again |
//!
//! A grant that is frozen is at any time granted in the primary, or in a document, or somebody has revoked it where it
//! counts. So who takes a grant out of a document proves one of three:
//!
//! | who | the proof |
//! |---|---|
//! | an undo, or the Region when it becomes the primary again | the grant was granted, or the Region lists it with another grant option, or its table or database is proven to be gone; any other error keeps it |
//! | a reconciliation of the Region as the standby, and a switchover before its epoch | the primary lacks it by a complete listing that is not empty, read as an administrator, or by an event that names it; the present policy maps the grant to the primary and back; and the primary ever had it ([`FrozenGrant::is_unrestored`]) |
//! | a switchover that has handed over, in the ledger of the new primary | the ledger of the former one holds it |

use crate::grant::{
    Grants, IAM_ALLOWED_PRINCIPALS, OwnRoles, Permission, PermissionGrant, Principal, Resource,
};
use crate::scope::may_stay_listed;
use crate::topology::{Epoch, SiteId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a switchover does about the principals that may write to the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreezeMode {
    /// Nothing: a person stops them.
    #[default]
    None,
    /// It revokes their grants to write in the primary.
    Grants,
}

impl FreezeMode {
    /// Whether nothing is frozen.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Permissions that let a principal change tables and their data, or create them. DATA_LOCATION_ACCESS is among them,
/// since it leads to credentials for the location itself.
pub const WRITE_PERMISSIONS: [Permission; 8] = [
    Permission::All,
    Permission::Alter,
    Permission::CreateDatabase,
    Permission::CreateTable,
    Permission::DataLocationAccess,
    Permission::Delete,
    Permission::Drop,
    Permission::Insert,
];

/// Grants that a switchover has revoked in a Region, or is about to: one document of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenGrants {
    /// The epoch in which they were revoked. Its primary is the Region.
    pub epoch: Epoch,
    /// The grants, with the principals and locations of that Region.
    pub grants: Vec<FrozenGrant>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenGrant {
    /// The grant.
    pub grant: PermissionGrant,
    /// Whether it had the grant option.
    pub grantable: bool,
    /// Whether the Region has been the primary since without it, because it could not be granted again. The other
    /// Region then lacks it as well, which says nothing about anybody having revoked it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unrestored: bool,
}

impl FrozenGrants {
    /// The documents that hold these grants, each with at most `size` of them.
    #[must_use]
    pub fn documents_of(epoch: Epoch, grants: &Grants, size: usize) -> Vec<Self> {
        let all: Vec<FrozenGrant> = grants
            .iter()
            .map(|(grant, grantable)| FrozenGrant {
                grant: grant.clone(),
                grantable: *grantable,
                is_unrestored: false,
            })
            .collect();
        let documents = all.chunks(size.max(1)).map(|grants| Self {
            epoch,
            grants: grants.to_vec(),
        });
        documents.collect()
    }

    /// The grants.
    #[must_use]
    pub fn to_grants(&self) -> Grants {
        let grants = self.grants.iter();
        grants
            .map(|one| (one.grant.clone(), one.grantable))
            .collect()
    }

    /// The document with what `keep` keeps of each grant; `None` if nothing is left.
    #[must_use]
    pub fn kept(&self, keep: impl Fn(&FrozenGrant) -> Option<FrozenGrant>) -> Option<Self> {
        let grants: Vec<FrozenGrant> = self.grants.iter().filter_map(keep).collect();
        (!grants.is_empty()).then_some(Self {
            epoch: self.epoch,
            grants,
        })
    }

    /// The document with the grants of another one, whose grant options count.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let all = self.grants.iter().chain(&other.grants);
        let all: BTreeMap<&PermissionGrant, &FrozenGrant> =
            all.map(|frozen| (&frozen.grant, frozen)).collect();
        Self {
            epoch: self.epoch,
            grants: all.into_values().cloned().collect(),
        }
    }

    /// Whether they were revoked in the primary of this epoch.
    #[must_use]
    pub fn is_of_primary(&self, epoch: Epoch) -> bool {
        self.epoch == epoch
    }

    /// Whether a site was the primary by it, and the epoch is a later one.
    #[must_use]
    pub fn is_of_former_primary(&self, site: SiteId, epoch: Epoch) -> bool {
        self.epoch.primary() == site && self.epoch.is_before(epoch)
    }
}

/// How many grants that were not granted again the journal names: it is part of one item of the ledger.
const MAX_NAMED_GRANTS: usize = 20;

/// Grants that a Region should have again and has not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnrestoredGrants {
    /// Their number.
    pub count: usize,
    /// The first of them, with the grant option and the reason.
    pub named: BTreeMap<String, String>,
}

impl UnrestoredGrants {
    /// Counts them, and names the first ones.
    pub fn new(grants: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut all = Self::default();
        for (grant, reason) in grants {
            all.count += 1;
            if all.named.len() < MAX_NAMED_GRANTS {
                all.named.insert(grant, reason);
            }
        }
        all
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.count == 0
    }
}

/// Why revoking grants does not stop a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnstoppedReason {
    /// `IAM_ALLOWED_PRINCIPALS`.
    IamAllowed,
    /// A data lake administrator grants itself anything.
    Administrator,
    /// It holds `ALL`. What a revoke of `ALL`, or beside it, does to its other permissions is not documented.
    Super,
    /// The policy ignores the principal.
    Ignored,
    /// The standby does not have the grant, so that nothing would keep it.
    NotInStandby,
    /// Lake Formation may list the grant for days after its revoke (LF-07), so that nothing tells whether it is back.
    ListedAfterRevoke,
}

impl fmt::Display for UnstoppedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IamAllowed => "it stands for every principal that IAM policies allow",
            Self::Administrator => "it is a data lake administrator",
            Self::Super => "it has ALL (Super), which Twinlake does not revoke",
            Self::Ignored => "the policy ignores it",
            Self::NotInStandby => "the standby does not have the grant",
            Self::ListedAfterRevoke => {
                "Lake Formation may list CREATE_DATABASE for days after its revoke"
            }
        })
    }
}

/// Who may write in the primary, as Lake Formation knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteAccess {
    /// The grants that a freeze revokes, each with whether it has the grant option.
    pub revocable: Grants,
    /// The number of the others, by principal and reason.
    pub others: BTreeMap<(Principal, UnstoppedReason), usize>,
}

impl WriteAccess {
    /// Divides what a Region lists. `is_in_standby` says whether the standby has a grant, with its grant option.
    #[must_use]
    pub fn new(
        listed: &Grants,
        administrators: &BTreeSet<Principal>,
        own_roles: &OwnRoles,
        is_in_standby: impl Fn(&PermissionGrant, bool) -> bool,
    ) -> Self {
        let holds_all = listed
            .keys()
            .filter(|grant| grant.permission == Permission::All);
        let holds_all: BTreeSet<(&Principal, &Resource)> = holds_all
            .map(|grant| (&grant.principal, &grant.resource))
            .collect();
        let mut access = Self::default();
        let writes = listed.iter().filter(|(grant, _)| {
            WRITE_PERMISSIONS.contains(&grant.permission) && !own_roles.contains(&grant.principal.0)
        });
        for (grant, grantable) in writes {
            let principal = &grant.principal;
            let reason = if principal.0 == IAM_ALLOWED_PRINCIPALS {
                UnstoppedReason::IamAllowed
            } else if administrators.contains(principal) {
                UnstoppedReason::Administrator
            } else if holds_all.contains(&(principal, &grant.resource)) {
                UnstoppedReason::Super
            } else if may_stay_listed(grant) {
                UnstoppedReason::ListedAfterRevoke
            } else if !is_in_standby(grant, *grantable) {
                UnstoppedReason::NotInStandby
            } else {
                access.revocable.insert(grant.clone(), *grantable);
                continue;
            };
            access.add_other(principal, reason);
        }
        access
    }

    /// Counts a grant that is not revoked.
    pub fn add_other(&mut self, principal: &Principal, reason: UnstoppedReason) {
        *self.others.entry((principal.clone(), reason)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Name, TableId};

    fn grant(principal: &str, permission: Permission) -> PermissionGrant {
        let name = |text: &str| Name::new(text).unwrap();
        PermissionGrant {
            principal: Principal(principal.to_owned()),
            resource: Resource::Table(TableId::new(name("sales"), name("orders"))),
            permission,
            condition: None,
        }
    }

    #[test]
    fn only_write_grants_whose_revoke_stops_the_principal_and_can_be_undone_are_revocable() {
        let listed: Grants = [
            (grant("etl", Permission::Insert), true),
            (grant("etl", Permission::Select), false),
            (grant("admin", Permission::Insert), false),
            (grant("owner", Permission::All), false),
            (grant("owner", Permission::Insert), false),
            (grant("twinlake", Permission::Alter), false),
            (grant("new", Permission::Drop), false),
            (grant(IAM_ALLOWED_PRINCIPALS, Permission::All), false),
        ]
        .into();
        let access = WriteAccess::new(
            &listed,
            &[Principal("admin".to_owned())].into(),
            &OwnRoles::new(["twinlake".to_owned()]),
            |grant, grantable| {
                grant.principal.0 != "new" && (grantable || grant.principal.0 != "etl")
            },
        );
        let revocable: Grants = [(grant("etl", Permission::Insert), true)].into();
        assert_eq!(access.revocable, revocable);
        let others: Vec<(&str, UnstoppedReason, usize)> = access
            .others
            .iter()
            .map(|((principal, reason), count)| (principal.0.as_str(), *reason, *count))
            .collect();
        let expected = [
            (IAM_ALLOWED_PRINCIPALS, UnstoppedReason::IamAllowed, 1),
            ("admin", UnstoppedReason::Administrator, 1),
            ("new", UnstoppedReason::NotInStandby, 1),
            ("owner", UnstoppedReason::Super, 2),
        ];
        assert_eq!(others, expected);
    }

    #[test]
    fn documents_keep_each_grant_with_its_option_and_say_what_they_mean_in_each_epoch() {
        let grants: Grants = [
            (grant("etl", Permission::Insert), true),
            (grant("etl", Permission::Alter), false),
            (grant("other", Permission::Drop), false),
        ]
        .into();
        let first = Epoch::new(4, SiteId::B);
        let documents = FrozenGrants::documents_of(first, &grants, 2);
        assert_eq!(documents.len(), 2);
        let stored: Vec<FrozenGrants> = documents
            .iter()
            .map(|one| serde_json::from_str(&serde_json::to_string(one).unwrap()).unwrap())
            .collect();
        let again: Grants = stored.iter().flat_map(FrozenGrants::to_grants).collect();
        assert_eq!(again, grants);
        let document = &stored[0];
        assert!(document.is_of_primary(first));
        assert!(!document.is_of_primary(first.switched()));
        assert!(document.is_of_former_primary(SiteId::B, first.switched()));
        assert!(!document.is_of_former_primary(SiteId::A, first.switched()));
        assert!(!document.is_of_former_primary(SiteId::B, first));
    }
}
