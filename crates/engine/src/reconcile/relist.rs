//! Which listings are made for the next round.

use super::work::{INDEX_FROM, Work};
use crate::listing::GrantIndex;
use crate::observe::{Prefetched, Sides};
use crate::ports::{Clock, Ledger, ReadRegion};
use twinlake_core::scope::{Facet, Look};

impl<P, S, L, C> Work<'_, P, S, L, C>
where
    P: ReadRegion,
    S: ReadRegion,
    L: Ledger,
    C: Clock,
{
    /// Whether whole databases are looked at: then one listing of all grants is
    /// cheaper than one for each table.
    pub(super) fn has_contents(&self) -> bool {
        let mut looks = self.looks.values();
        looks.any(|look| look.facets.contains(&Facet::Contents))
    }

    pub(super) async fn list_all_grants(&self) -> Sides<GrantIndex> {
        let terms = crate::observe::terms(self.context.policy, self.context.epoch);
        Prefetched::grants(self.context.primary, self.context.secondary, &terms).await
    }

    /// Asks again for the grants that were read by resource alone, since a revoke rests
    /// on what only a reading of all of them can show.
    pub(super) fn look_at_all_grants(&mut self) {
        let whole = &self.readings.primary.grants_whole;
        let subjects = self.readings.primary.grants.keys();
        let looks = subjects.filter(|subject| !whole.contains(*subject));
        self.looks = looks
            .map(|subject| (subject.clone(), Look::at(&[Facet::Grants])))
            .collect();
    }

    /// Fresh listings for the next round, where they cost less than asking for each
    /// subject.
    pub(super) async fn relist(&self) -> Prefetched {
        let asks = |facet: Facet| {
            let looks = self.looks.values();
            looks.filter(|look| look.facets.contains(&facet)).count()
        };
        let mut fresh = Prefetched::default();
        if asks(Facet::Grants) >= INDEX_FROM {
            fresh.grants = Some(self.list_all_grants().await);
        }
        fresh
    }
}
