//! Listed permissions, split into single grants and indexed by subject.

use crate::ports::PermissionResourceType;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::grant::{GrantMapping, Grants, ListedPermission, normalize};
use twinlake_core::scope::{Subject, subject_of_grant};
use twinlake_core::{CallError, PermissionGrant, Principal};

/// Most entries in one page of `ListPermissions`.
pub const LIST_PERMISSIONS_PAGE_SIZE: usize = 1000;

/// The grants of one or several `ListPermissions` listings, by subject.
#[derive(Clone, Debug, Default)]
pub struct GrantIndex {
    /// Grants by subject.
    pub by_subject: BTreeMap<Subject, Grants>,
    /// Number of permissions that are not replicated, by kind.
    pub unsupported: BTreeMap<String, usize>,
    /// Whether a listing contained any entry, of whatever kind.
    pub has_entries: bool,
    /// Whether only grants on databases and tables were listed in both ways: what the index says of Lake
    /// Formation subjects is not complete.
    pub of_objects: bool,
    /// Number of calls, estimated by pages of [`LIST_PERMISSIONS_PAGE_SIZE`] entries; 0 for a part
    /// of a listing.
    pub calls: usize,
    /// Number of these calls that list grants on databases and tables.
    pub object_calls: usize,
    /// Grants that only one of two listings contained, of the types that were listed twice.
    pub inconsistent: BTreeSet<PermissionGrant>,
    /// Resource types whose own listing the Region refused, with the errors: their grants were listed once.
    pub refused_types: BTreeMap<PermissionResourceType, CallError>,
}

impl GrantIndex {
    /// Splits and indexes listed entries. The mapping translates principals and locations to those
    /// of the standby.
    #[must_use]
    pub fn new(entries: &[ListedPermission], mapping: &GrantMapping) -> Self {
        let (grants, unsupported) = normalize(entries, mapping);
        let mut by_subject: BTreeMap<Subject, Grants> = BTreeMap::new();
        for (grant, grantable) in grants {
            by_subject
                .entry(subject_of_grant(&grant))
                .or_default()
                .insert(grant, grantable);
        }
        Self {
            by_subject,
            unsupported,
            has_entries: !entries.is_empty(),
            of_objects: false,
            calls: 0,
            object_calls: 0,
            inconsistent: BTreeSet::new(),
            refused_types: BTreeMap::new(),
        }
    }

    /// Whether the listings prove that a grant on a subject that they lack does not exist: some entry was listed,
    /// and every type of grants on the subject was listed twice.
    #[must_use]
    pub fn proves_absence_on(&self, subject: &Subject) -> bool {
        self.has_entries && !self.is_partly_refused(subject)
    }

    /// Whether the Region refused to list a type of grants on a subject.
    fn is_partly_refused(&self, subject: &Subject) -> bool {
        let types = PermissionResourceType::of_grants_on(subject);
        types
            .iter()
            .any(|kind| self.refused_types.contains_key(kind))
    }

    /// Adds the types whose listing the Region refused. What only the other listing shows of them is not inconsistent.
    #[must_use]
    pub fn with_refused_types(
        mut self,
        refused: BTreeMap<PermissionResourceType, CallError>,
    ) -> Self {
        self.refused_types = refused;
        let mut inconsistent = std::mem::take(&mut self.inconsistent);
        inconsistent.retain(|grant| !self.is_partly_refused(&subject_of_grant(grant)));
        self.inconsistent = inconsistent;
        self
    }

    /// Merges a second listing. A grant is kept if either listing contains it.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        let missing_in_other = self.missing_in(&other);
        let inconsistent = missing_in_other
            .chain(other.missing_in(&self))
            .cloned()
            .collect();
        self.inconsistent = inconsistent;
        for (subject, grants) in other.by_subject {
            let known = self.by_subject.entry(subject).or_default();
            for (grant, grantable) in grants {
                *known.entry(grant).or_default() |= grantable;
            }
        }
        for (kind, count) in other.unsupported {
            let known = self.unsupported.entry(kind).or_default();
            *known = (*known).max(count);
        }
        self.has_entries |= other.has_entries;
        self
    }

    /// The grants of this index that another index lacks.
    fn missing_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a PermissionGrant> + 'a {
        self.by_subject.iter().flat_map(|(subject, grants)| {
            let known = other.by_subject.get(subject);
            let has =
                move |grant: &PermissionGrant| known.is_some_and(|known| known.contains_key(grant));
            grants.keys().filter(move |grant| !has(grant))
        })
    }

    /// The grants to `IAM_ALLOWED_PRINCIPALS` that another index lacks.
    #[must_use]
    pub fn extra_iam_grants(&self, other: &Self) -> BTreeSet<PermissionGrant> {
        self.missing_in(other)
            .filter(|grant| grant.principal == Principal::iam_allowed())
            .cloned()
            .collect()
    }

    /// The grants on a subject.
    #[must_use]
    pub fn on(&self, subject: &Subject) -> Grants {
        self.by_subject.get(subject).cloned().unwrap_or_default()
    }
}
