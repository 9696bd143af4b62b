//! A bound on the grants of the databases that are reconciled at the same time.

use std::collections::BTreeMap;
use twinlake_core::Name;

/// Most grants, in one Region, of the databases that are reconciled at the same time; a database with more is alone.
/// A reconciliation takes a few KB for each.
const MAX_GRANTS_AT_ONCE: usize = 20_000;

/// The grants of the databases that are under way.
pub(super) struct GrantsAtOnce {
    by_database: BTreeMap<Name, usize>,
    under_way: usize,
}

impl GrantsAtOnce {
    /// Takes how many grants there are on each database and on what is in it.
    pub(super) fn new(by_database: BTreeMap<Name, usize>) -> Self {
        Self {
            by_database,
            under_way: 0,
        }
    }

    fn of(&self, name: &Name) -> usize {
        self.by_database.get(name).copied().unwrap_or_default()
    }

    /// Whether a database can be begun beside those under way.
    pub(super) fn has_room_for(&self, name: &Name) -> bool {
        self.under_way == 0 || self.under_way + self.of(name) <= MAX_GRANTS_AT_ONCE
    }

    /// Counts a database that is begun.
    pub(super) fn begin(&mut self, name: &Name) {
        self.under_way += self.of(name);
    }

    /// Counts a database that is done.
    pub(super) fn end(&mut self, name: &Name) {
        self.under_way = self.under_way.saturating_sub(self.of(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_with_many_grants_wait_for_each_other_and_others_do_not() {
        let name = |text: &str| Name::new(text).unwrap();
        let counts = [
            ("a", 15_000),
            ("b", 5_000),
            ("c", 5_001),
            ("huge", 1_000_000),
        ];
        let counts = counts.map(|(text, count)| (name(text), count));
        let mut grants = GrantsAtOnce::new(BTreeMap::from(counts));
        assert!(grants.has_room_for(&name("huge")), "it is alone");
        grants.begin(&name("a"));
        assert!(grants.has_room_for(&name("b")) && !grants.has_room_for(&name("c")));
        assert!(grants.has_room_for(&name("without-grants")));
        assert!(!grants.has_room_for(&name("huge")));
        grants.end(&name("a"));
        assert!(grants.has_room_for(&name("huge")));
    }
}
