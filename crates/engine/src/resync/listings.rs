//! The listings that the reconciliations of a resync start from.

use crate::grant_index::GrantIndex;
use crate::observe::Prefetched;
use crate::observe::lf_tag_search::tables_with_differing_lf_tags;
use crate::ports::{Clock as _, Environment, Ledger as _};
use crate::reconcile::{Context, OutdatedListings, ReconcileOutcome};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tokio::sync::Mutex;
use twinlake_core::grant::Resource;
use twinlake_core::snapshot::Observation;
use twinlake_core::{LfSubject, Name, PermissionGrant, Subject, TableId};

/// Makes the listings of a run, or of a part of one.
pub(super) async fn prefetch<E: Environment>(
    context: &Context<'_, E>,
    is_whole_catalog: bool,
) -> Prefetched {
    let mappings = crate::observe::principal_mappings(context.policy, context.epoch);
    let listed_since = Some(context.clock.now());
    let listed = Prefetched::everything(context.primary, context.standby, &mappings).await;
    // A part of a run reads few tables, and searches cover the whole catalog.
    let tables_with_differing_lf_tags = match context.scan_window.is_some() && is_whole_catalog {
        true => search_by_lf_tags(context, &listed).await,
        false => None,
    };
    Prefetched {
        listed_since,
        tables_with_differing_lf_tags,
        ..listed
    }
}

/// Searches for the tables whose LF-Tags differ, if Twinlake's roles are shown everything.
async fn search_by_lf_tags<E: Environment>(
    context: &Context<'_, E>,
    listed: &Prefetched,
) -> Option<BTreeSet<TableId>> {
    let (primary, standby) = listed.settings.as_ref()?;
    let (primary, standby) = (primary.present()?, standby.present()?);
    let mut standby_administrators = standby.administrators.iter();
    let is_administrator = primary.administrators.contains(context.reader_role)
        && standby_administrators.any(|role| context.own_roles.contains(&role.0));
    if !is_administrator {
        return None;
    }
    let (in_primary, in_standby) = listed.lake_formation.as_ref()?;
    let tables = context.ledger.paired_counts().await.ok()?.tables;
    tables_with_differing_lf_tags(
        (context.primary, in_primary),
        (context.standby, in_standby),
        tables,
        context.max_concurrent_calls,
    )
    .await
}

/// The listings that the reconciliations of a run share.
pub(super) struct Listings {
    prefetched: Mutex<Rc<Prefetched>>,
    /// What reconciliations have changed since it was listed.
    outdated: Cell<OutdatedListings>,
}

impl Listings {
    pub(super) fn new(prefetched: Prefetched) -> Self {
        Self {
            prefetched: Mutex::new(Rc::new(prefetched)),
            outdated: Cell::default(),
        }
    }

    /// Returns the listings, after listing again what a reconciliation has changed. A reconciliation
    /// waits for this itself: its calls need permits that others hold, who have to go on meanwhile.
    pub(super) async fn current<E: Environment>(&self, context: &Context<'_, E>) -> Rc<Prefetched> {
        let mut prefetched = self.prefetched.lock().await;
        let outdated = self.outdated.take();
        if prefetched.grants.is_none() {
            return Rc::clone(&prefetched);
        }
        let mappings = crate::observe::principal_mappings(context.policy, context.epoch);
        let (primary, standby) = (context.primary, context.standby);
        match outdated {
            OutdatedListings::None => {}
            OutdatedListings::Items => {
                let items = Prefetched::lake_formation(primary, standby, &mappings).await;
                Rc::make_mut(&mut prefetched).lake_formation = Some(items);
            }
            OutdatedListings::All => {
                let listings = Rc::make_mut(&mut prefetched);
                listings.listed_since = Some(context.clock.now());
                listings
                    .refresh_lake_formation(primary, standby, &mappings)
                    .await;
            }
        }
        Rc::clone(&prefetched)
    }

    /// How many grants there are on each database and on what is in it, in the Region that has more. Empty if the
    /// grants were not listed.
    pub(super) async fn grants_by_database(&self) -> BTreeMap<Name, usize> {
        let prefetched = Rc::clone(&*self.prefetched.lock().await);
        let mut counts: BTreeMap<Name, usize> = BTreeMap::new();
        let (primary, standby) = match &prefetched.grants {
            Some((primary, standby)) => (primary.present(), standby.present()),
            None => return counts,
        };
        for index in [primary, standby].into_iter().flatten() {
            for (name, count) in index.counts_by_database() {
                let known = counts.entry(name).or_default();
                *known = (*known).max(count);
            }
        }
        counts
    }

    /// Prepares the reconciliation of Lake Formation that ends a run. After changes, or with subjects out of sync,
    /// it starts from new listings: what a run creates may be shown by a grant that was revoked, or hidden by an
    /// opt-in that was made, since its first listing. These leave out the grants: the listing of all grants grows with
    /// their number, and few of them are on LF-Tags. Where no grant is by LF-Tags, none of those outside databases shows
    /// what a run creates: then only the opt-ins are listed again, and everything else before it is changed.
    pub(super) async fn prepare_last<E: Environment>(
        &mut self,
        context: &Context<'_, E>,
        has_changes: bool,
        has_problems: bool,
    ) {
        let mappings = crate::observe::principal_mappings(context.policy, context.epoch);
        let (primary, standby) = (context.primary, context.standby);
        let is_outdated = self.outdated.get() == OutdatedListings::All;
        let listed = Rc::make_mut(self.prefetched.get_mut());
        if has_problems || is_outdated || (has_changes && may_have_grants_by_lf_tags(listed)) {
            let listed =
                Prefetched::lake_formation_without_grants(primary, standby, &mappings).await;
            *self = Self::new(listed);
        } else if has_changes {
            listed.opt_ins = Some(Prefetched::opt_ins(primary, standby, &mappings).await);
            listed.is_older_than_changes = true;
        }
    }

    /// Takes over the items that a reconciliation changed and then read again, if it ended with nothing left to
    /// do.
    pub(super) fn take_items(&mut self, outcome: &mut ReconcileOutcome) {
        let items = std::mem::take(&mut outcome.items);
        let is_complete = outcome.is_settled() && outcome.is_fully_read();
        let listed = Rc::make_mut(self.prefetched.get_mut());
        if let Some((primary, standby)) = &mut listed.lake_formation
            && outcome.outdated_listings == OutdatedListings::Items
            && is_complete
        {
            for (lf_subject, (in_primary, in_standby)) in items {
                primary.by_subject.insert(lf_subject, in_primary);
                standby.by_subject.insert(lf_subject, in_standby);
            }
            outcome.outdated_listings = OutdatedListings::None;
        }
    }

    /// Records what a reconciliation has changed.
    pub(super) fn record(&self, outcome: &ReconcileOutcome) {
        self.outdated
            .set(self.outdated.get().max(outcome.outdated_listings));
    }

    /// Sets whether tables are read by name, however many.
    pub(super) fn read_tables_by_name(&mut self, by_name: bool) {
        Rc::make_mut(self.prefetched.get_mut()).tables_by_name = by_name;
    }
}

/// Whether a Region may have grants by LF-Tags. The standby may have no grants at all.
fn may_have_grants_by_lf_tags(listed: &Prefetched) -> bool {
    let permissions = Subject::LakeFormation(LfSubject::Permissions);
    let is_by_lf_tags =
        |grant: &PermissionGrant| matches!(grant.resource, Resource::LfTagPolicy { .. });
    let may_have = |listed: &Observation<GrantIndex>, may_be_empty: bool| match listed {
        Observation::Present(index) => {
            let is_complete = match may_be_empty {
                true => !index.is_partly_refused(&permissions),
                false => index.proves_absence_on(&permissions),
            };
            !is_complete || index.on(&permissions).keys().any(is_by_lf_tags)
        }
        Observation::Absent(_) | Observation::Unknown(_) => true,
    };
    let listed = listed.grants.as_ref();
    listed.is_none_or(|(primary, standby)| may_have(primary, false) || may_have(standby, true))
}
