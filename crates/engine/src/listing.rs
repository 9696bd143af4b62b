//! Listed grants, taken apart and sorted by the subject that they are on.

use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::Atom;
use twinlake_core::grant::{Entry, Grants, Terms, normalize};
use twinlake_core::scope::{Subject, subject_of};

/// Entries that one page of `ListPermissions` holds at most.
pub const PAGE: usize = 1000;

/// Every grant of a Region, by subject: what all listings together told.
#[derive(Clone, Debug, Default)]
pub struct GrantIndex {
    /// Grants by subject.
    pub by_subject: BTreeMap<Subject, Grants>,
    /// What is not replicated, by kind, counted.
    pub unsupported: BTreeMap<String, usize>,
    /// A listing held some entry, of whatever kind.
    pub any: bool,
    /// The calls that it took, by pages of [`PAGE`] entries; 0 for part of a listing.
    pub calls: usize,
    /// Grants that only one of two readings showed.
    pub disputed: BTreeSet<Atom>,
}

impl GrantIndex {
    /// Sorts listed entries.
    #[must_use]
    pub fn new(entries: &[Entry], terms: &Terms) -> Self {
        let (grants, unsupported) = normalize(entries, terms);
        let mut by_subject: BTreeMap<Subject, Grants> = BTreeMap::new();
        for (atom, grantable) in grants {
            by_subject
                .entry(subject_of(&atom))
                .or_default()
                .insert(atom, grantable);
        }
        Self {
            by_subject,
            unsupported,
            any: !entries.is_empty(),
            calls: 0,
            disputed: BTreeSet::new(),
        }
    }

    /// Takes a second reading in. A grant is there if either showed it.
    #[must_use]
    pub fn beside(mut self, other: Self) -> Self {
        self.disputed = self.lacking(&other).chain(other.lacking(&self)).collect();
        for (subject, grants) in other.by_subject {
            let known = self.by_subject.entry(subject).or_default();
            for (atom, grantable) in grants {
                *known.entry(atom).or_default() |= grantable;
            }
        }
        for (kind, count) in other.unsupported {
            let known = self.unsupported.entry(kind).or_default();
            *known = (*known).max(count);
        }
        self.any |= other.any;
        self
    }

    /// What of this one another does not have.
    fn lacking<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Atom> + 'a {
        self.by_subject.iter().flat_map(|(subject, grants)| {
            let known = other.by_subject.get(subject);
            let has = move |atom: &Atom| known.is_some_and(|known| known.contains_key(atom));
            grants.keys().filter(move |atom| !has(atom)).cloned()
        })
    }

    /// The grants on a subject.
    #[must_use]
    pub fn on(&self, subject: &Subject) -> Grants {
        self.by_subject.get(subject).cloned().unwrap_or_default()
    }
}
