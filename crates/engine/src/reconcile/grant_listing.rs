//! When to list all grants instead of the grants of each subject.

use super::session::Session;
use crate::grant_index::GrantIndex;
use crate::observe::{GrantsToList, ObservationPair, Prefetched};
use crate::ports::Environment;
use twinlake_core::scope::{Facet, ReadRequest};
use twinlake_core::snapshot::{Observation, Snapshot};
use twinlake_core::{Plan, Step, Subject};

/// A listing of all grants with fewer calls than this is always made for at least
/// [`CHEAP_LISTING_MIN_SUBJECTS`] subjects.
const CHEAP_LISTING_MAX_CALLS: usize = 32;
const CHEAP_LISTING_MIN_SUBJECTS: usize = 4;

impl<E: Environment> Session<'_, E> {
    /// Whether whole databases are read: then one listing of all grants is cheaper than one
    /// listing per table.
    pub(super) fn has_database_scan(&self) -> bool {
        let mut requests = self.read_requests.values();
        requests.any(|request| request.facets.contains(&Facet::Contents))
    }

    /// Lists all grants of both Regions.
    pub(super) async fn list_all_grants(&self) -> ObservationPair<GrantIndex> {
        self.list_grants(GrantsToList::All).await
    }

    /// Lists the grants of both Regions that the next round reads, after those of an earlier listing. On databases that
    /// the standby lacked nobody can have made grants since that: the service refuses grants on what does not exist, and
    /// what somebody has created since then makes the creation fail. So its earlier listing stands.
    pub(super) async fn list_requested_grants(
        &self,
        earlier: Option<&ObservationPair<GrantIndex>>,
    ) -> ObservationPair<GrantIndex> {
        let wanted = self.requested_grants();
        let earlier = earlier.filter(|_| self.requests_only_new_databases());
        if let Some((_, standby @ Observation::Present(_))) = earlier {
            let mappings =
                crate::observe::principal_mappings(self.context.policy, self.context.epoch);
            let primary = Prefetched::grants_of(self.context.primary, &mappings.0, wanted).await;
            return (primary, standby.clone());
        }
        self.list_grants(wanted).await
    }

    /// Whether the next round reads only databases, and what is in databases, that the standby lacks.
    fn requests_only_new_databases(&self) -> bool {
        self.read_requests.keys().all(|subject| {
            let database = subject.database();
            let in_standby = database.and_then(|name| self.snapshots.standby.databases.get(name));
            matches!(in_standby, Some(Observation::Absent(_)))
        })
    }

    async fn list_grants(&self, wanted: GrantsToList) -> ObservationPair<GrantIndex> {
        let (primary, standby) = (self.context.primary, self.context.standby);
        let mappings = crate::observe::principal_mappings(self.context.policy, self.context.epoch);
        Prefetched::grants(primary, standby, &mappings, wanted).await
    }

    /// Whether the next round reads grants on other subjects than databases and tables.
    fn requested_grants(&self) -> GrantsToList {
        let mut requests = self.read_requests.iter();
        let is_of_other = |(subject, request): (&Subject, &ReadRequest)| match subject {
            Subject::Database(_) | Subject::Table(_) | Subject::Function(_) => false,
            Subject::Catalog | Subject::LakeFormation(_) => request.facets.contains(&Facet::Grants),
        };
        match requests.any(is_of_other) {
            true => GrantsToList::All,
            false => GrantsToList::OfObjects,
        }
    }

    /// Requests again the grants that were read by resource: only a listing of all grants proves
    /// the absence that a revoke needs.
    pub(super) fn reread_grants(&mut self) {
        let fully_listed = &self.snapshots.primary.full_grant_reads;
        let subjects = self.snapshots.primary.grants.keys();
        let read_by_resource = subjects.filter(|subject| !fully_listed.contains(*subject));
        self.read_requests = read_by_resource
            .map(|subject| (subject.clone(), ReadRequest::for_facets(&[Facet::Grants])))
            .collect();
    }

    /// Whether grants that were read by resource need a listing of all grants, in a session that
    /// made one before: a read by resource failed, or lacks a grant that this session made.
    pub(super) fn needs_grant_recheck(&self, plan: &Plan) -> bool {
        let has_failed_read = |snapshot: &Snapshot| {
            let grants = snapshot.grants.iter();
            let mut requested =
                grants.filter(|(subject, _)| self.read_requests.contains_key(*subject));
            requested.any(|(_, grants)| matches!(grants, Observation::Unknown(_)))
        };
        let snapshots = [&self.snapshots.primary, &self.snapshots.standby];
        self.grant_listing_calls.is_some()
            && (self.repeats_own_grant(plan) || snapshots.into_iter().any(has_failed_read))
    }

    /// Whether the plan makes a grant again that this session made before.
    fn repeats_own_grant(&self, plan: &Plan) -> bool {
        let named_revokes = &self.scope.named_revokes;
        let is_own = |step: &Step| matches!(step, Step::Grant { grant, .. } if named_revokes.contains_key(grant));
        plan.steps.iter().any(is_own)
    }

    /// Makes the next round list all grants if that takes fewer calls than one listing per subject
    /// and Region. The cost of listing all grants grows with the number of grants in the Region,
    /// whatever the scope.
    pub(super) fn listings_of_next_round(&self) -> Prefetched {
        let requests = self.read_requests.values();
        let subjects = requests.filter(|request| request.facets.contains(&Facet::Grants));
        let subjects = subjects.count();
        // If there are few grants in all, a listing of all of them like the session's first one is
        // the better read.
        let max_calls = match subjects {
            CHEAP_LISTING_MIN_SUBJECTS.. => CHEAP_LISTING_MAX_CALLS.max(2 * subjects),
            _ => 2 * subjects,
        };
        let mut prefetched = Prefetched::default();
        let last_calls = self
            .grant_listing_calls
            .map(|calls| match self.requested_grants() {
                GrantsToList::All => calls.all,
                GrantsToList::OfObjects => calls.of_objects,
            });
        if last_calls.is_some_and(|calls| calls < max_calls) {
            prefetched.list_grants = Some(self.requested_grants());
        }
        prefetched
    }
}

/// Number of calls that listings of both Regions take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GrantListingCalls {
    /// Of all grants.
    pub(crate) all: usize,
    /// Of those on databases and tables.
    pub(crate) of_objects: usize,
}

/// Number of calls that the listings of grants of both Regions took, if both succeeded and listed all grants.
pub(crate) fn listing_calls(prefetched: &Prefetched) -> Option<GrantListingCalls> {
    let (primary, standby) = prefetched.grants.as_ref()?;
    let (primary, standby) = (primary.present()?, standby.present()?);
    let is_partial = primary.of_objects || standby.of_objects;
    (!is_partial).then(|| GrantListingCalls {
        all: primary.calls + standby.calls,
        of_objects: primary.object_calls + standby.object_calls,
    })
}
