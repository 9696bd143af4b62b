//! Which listings are made for the next round.

use super::work::Work;
use crate::listing::GrantIndex;
use crate::observe::{Prefetched, Sides};
use crate::ports::{Clock, Ledger, ReadRegion};
use twinlake_core::reading::{Observation, Reading};
use twinlake_core::scope::{Facet, Look};
use twinlake_core::{Plan, Step};

/// A listing of all grants that takes fewer calls than this is made for a few subjects.
const SMALL: usize = 32;
const FEW: usize = 4;

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

    /// Whether what was read by resource is to be doubted, where a reading of all grants
    /// came about before: it failed, or lacks a grant that was made in this run.
    pub(super) fn doubts(&self, plan: &Plan) -> bool {
        let unread = |side: &Reading| {
            let grants = side.grants.iter();
            let mut asked = grants.filter(|(subject, _)| self.looks.contains_key(*subject));
            asked.any(|(_, grants)| matches!(grants, Observation::Unknown(_)))
        };
        let sides = [&self.readings.primary, &self.readings.secondary];
        self.listing.is_some() && (self.grants_again(plan) || sides.into_iter().any(unread))
    }

    fn grants_again(&self, plan: &Plan) -> bool {
        let suspects = &self.scope.suspects;
        let made =
            |step: &Step| matches!(step, Step::Grant { atom, .. } if suspects.contains_key(atom));
        plan.steps.iter().any(made)
    }

    /// A fresh listing for the next round, where it is known to cost less than asking for
    /// each subject on both sides: listing all grants costs more the more there are, of
    /// whichever database.
    pub(super) async fn relist(&self) -> Prefetched {
        let looks = self.looks.values();
        let asks = looks.filter(|look| look.facets.contains(&Facet::Grants));
        let asks = asks.count();
        // Where all are few, the reading that the run began with is the better one.
        let bound = match asks {
            FEW.. => SMALL.max(2 * asks),
            _ => 2 * asks,
        };
        let mut fresh = Prefetched::default();
        if self.listing.is_some_and(|calls| calls < bound) {
            fresh.grants = Some(self.list_all_grants().await);
        }
        fresh
    }
}

/// What listing all grants of both sides took, if both were listed.
pub(crate) fn listing_calls(prefetched: &Prefetched) -> Option<usize> {
    let (here, there) = prefetched.grants.as_ref()?;
    let calls = |side: &Observation<GrantIndex>| side.present().map(|index| index.calls);
    Some(calls(here)? + calls(there)?)
}
