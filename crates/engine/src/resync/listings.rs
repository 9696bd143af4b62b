//! The listings that the reconciliations of a resync start from.

use crate::observe::Prefetched;
use crate::ports::{Clock as _, Environment};
use crate::reconcile::{Context, ReconcileOutcome};
use std::cell::Cell;
use std::rc::Rc;
use tokio::sync::Mutex;

/// The listings that the reconciliations of a run share.
pub(super) struct Listings {
    prefetched: Mutex<Rc<Prefetched>>,
    /// Whether a reconciliation has changed Lake Formation since it was listed.
    is_outdated: Cell<bool>,
}

impl Listings {
    pub(super) fn new(prefetched: Prefetched) -> Self {
        Self {
            prefetched: Mutex::new(Rc::new(prefetched)),
            is_outdated: Cell::new(false),
        }
    }

    /// Returns the listings, after listing again what a reconciliation has changed. A reconciliation
    /// waits for this itself: its calls need permits that others hold, who have to go on meanwhile.
    pub(super) async fn current<E: Environment>(&self, context: &Context<'_, E>) -> Rc<Prefetched> {
        let mut prefetched = self.prefetched.lock().await;
        if self.is_outdated.take() && prefetched.grants.is_some() {
            let mappings = crate::observe::principal_mappings(context.policy, context.epoch);
            let listings = Rc::make_mut(&mut prefetched);
            listings.listed_since = Some(context.clock.now());
            listings
                .refresh_lake_formation(context.primary, context.standby, &mappings)
                .await;
        }
        Rc::clone(&prefetched)
    }

    /// Records whether a reconciliation has changed Lake Formation.
    pub(super) fn record(&self, outcome: &ReconcileOutcome) {
        self.is_outdated
            .set(self.is_outdated.get() || outcome.changes_lake_formation);
    }

    /// Sets whether tables are read by name, however many.
    pub(super) fn read_tables_by_name(&mut self, by_name: bool) {
        Rc::make_mut(self.prefetched.get_mut()).tables_by_name = by_name;
    }
}
