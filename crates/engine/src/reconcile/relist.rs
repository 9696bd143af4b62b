//! Which listings are made for the next round.

use super::work::Work;
use crate::listing::GrantIndex;
use crate::observe::{Prefetched, Sides};
use crate::ports::{Clock, Ledger, ReadRegion};
use twinlake_core::reading::Observation;
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

    /// A fresh listing for the next round, where it is known to cost less than asking for
    /// each subject on both sides: listing all grants costs more the more there are, of
    /// whichever database.
    pub(super) async fn relist(&self) -> Prefetched {
        let looks = self.looks.values();
        let asks = looks.filter(|look| look.facets.contains(&Facet::Grants));
        let one_by_one = 2 * asks.count();
        let mut fresh = Prefetched::default();
        if self.listing.is_some_and(|calls| calls < one_by_one) {
            fresh.grants = Some(self.list_all_grants().await);
        }
        fresh
    }
}

/// What listing all grants of both sides took, if both were listed.
pub(super) fn listing_calls(prefetched: &Prefetched) -> Option<usize> {
    let (here, there) = prefetched.grants.as_ref()?;
    let calls = |side: &Observation<GrantIndex>| side.present().map(|index| index.calls);
    Some(calls(here)? + calls(there)?)
}
