//! Listed grants, taken apart and sorted by the subject that they are on.

use std::collections::BTreeMap;
use twinlake_core::grant::{Entry, Grants, normalize};
use twinlake_core::scope::{Subject, subject_of};

/// Every grant of a Region, by subject: what one unfiltered listing told.
#[derive(Clone, Debug, Default)]
pub struct GrantIndex {
    /// Grants by subject.
    pub by_subject: BTreeMap<Subject, Grants>,
    /// What is not replicated, by kind, counted.
    pub unsupported: BTreeMap<String, usize>,
    /// The listing held some entry, of whatever kind.
    pub any: bool,
}

impl GrantIndex {
    /// Sorts listed entries.
    #[must_use]
    pub fn new(entries: &[Entry], account: &str) -> Self {
        let (grants, unsupported) = normalize(entries, account);
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
        }
    }

    /// The grants on a subject.
    #[must_use]
    pub fn on(&self, subject: &Subject) -> Grants {
        self.by_subject.get(subject).cloned().unwrap_or_default()
    }
}
