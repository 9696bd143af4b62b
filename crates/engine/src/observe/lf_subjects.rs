//! Reads Lake Formation subjects, with the LF-Tags and expressions that their grants refer to.

use super::lakeformation::{
    SUBJECTS_WITH_ITEMS, empty_if_unsupported, lf_tag_policy_grants, list_items, unsupported,
};
use super::{Items, ObservationPair, Observer, Snapshots, join, run_concurrently};
use crate::ports::ReadRegion;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::scope::ReadRequest;
use twinlake_core::snapshot::{Attachments, LfTagPolicyGrants, Observation};
use twinlake_core::{CallError, Facet, Grants, LfSubject, Subject};

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Reads the requested Lake Formation subjects: first their items, then the grants, which are so at least
    /// as new as what they give access to, and then what decides about grants by LF-Tags.
    pub(super) async fn read_lf_subjects(
        &self,
        read_requests: &BTreeMap<Subject, ReadRequest>,
        snapshots: &mut Snapshots,
    ) {
        let requests: Vec<(LfSubject, &ReadRequest)> = read_requests
            .iter()
            .filter_map(|(subject, request)| match subject {
                Subject::LakeFormation(lf_subject) => Some((*lf_subject, request)),
                Subject::Catalog
                | Subject::Database(_)
                | Subject::Table(_)
                | Subject::Function(_) => None,
            })
            .collect();
        let wanted: BTreeSet<LfSubject> = requests
            .iter()
            .flat_map(|(lf_subject, request)| items_to_read(*lf_subject, request, snapshots))
            .collect();
        self.read_items(&wanted, snapshots).await;
        let requesting = |facet: Facet| -> Vec<Subject> {
            let all = requests.iter();
            let requesting = all.filter(|(_, request)| request.facets.contains(&facet));
            requesting
                .map(|(lf_subject, _)| Subject::LakeFormation(*lf_subject))
                .collect()
        };
        self.read_grants_of(&requesting(Facet::Grants), snapshots)
            .await;
        self.use_policy_grants_of(&requesting(Facet::Grants), snapshots);
        let is_requested = |wanted| requests.iter().any(|(one, _)| *one == wanted);
        if is_requested(LfSubject::LfTagExpressions) {
            self.read_lf_tag_policy_grants(snapshots).await;
        }
        let with_opt_ins = requesting(Facet::OptIns);
        if !with_opt_ins.is_empty() {
            self.read_opt_ins(&with_opt_ins, snapshots).await;
        }
        if is_requested(LfSubject::Permissions) || is_requested(LfSubject::LfTagExpressions) {
            self.search_by_lf_tags(snapshots).await;
        }
    }

    /// Takes the grants by LF-Tag policies from the grants that were just listed by resource type, unless they
    /// were read for this round.
    fn use_policy_grants_of(&self, subjects: &[Subject], snapshots: &mut Snapshots) {
        let permissions = Subject::LakeFormation(LfSubject::Permissions);
        if !subjects.contains(&permissions) || self.listed_grants_on(&permissions).is_some() {
            return;
        }
        for snapshot in [&mut snapshots.primary, &mut snapshots.standby] {
            if snapshot.lf_tag_policy_grants.is_some() {
                continue;
            }
            let listed = snapshot.grants.get(&permissions);
            let policies = listed.map(|listed| match listed {
                Observation::Present(grants) => Observation::Present(policies_of(grants)),
                Observation::Absent(proof) => Observation::Absent(proof.clone()),
                Observation::Unknown(error) => Observation::Unknown(error.clone()),
            });
            snapshot.lf_tag_policy_grants = policies;
        }
    }

    /// Reads the items of Lake Formation subjects: from the prefetched listings, or all at the same time.
    pub(super) async fn read_items(
        &self,
        lf_subjects: &BTreeSet<LfSubject>,
        snapshots: &mut Snapshots,
    ) {
        let calls = lf_subjects
            .iter()
            .map(|lf_subject| async move { (*lf_subject, self.get_items(*lf_subject).await) });
        for (lf_subject, (unsupported, (primary, standby))) in
            run_concurrently(calls, self.max_concurrent_calls).await
        {
            let known = &mut snapshots.standby.unsupported_items;
            match unsupported {
                Some(error) => drop(known.insert(lf_subject, error)),
                None => drop(known.remove(&lf_subject)),
            }
            let items = (Subject::LakeFormation(lf_subject), Facet::Items);
            snapshots.primary.attachments.insert(items.clone(), primary);
            snapshots.standby.attachments.insert(items, standby);
        }
    }

    /// The items of both Regions, with the error if the standby answers that it does not support them.
    async fn get_items(
        &self,
        lf_subject: LfSubject,
    ) -> (Option<CallError>, ObservationPair<Attachments>) {
        if let Some((primary, standby)) = &self.prefetched.lake_formation {
            let of = |all: &Items| all.by_subject.get(&lf_subject).cloned();
            let none = || Observation::Present(Attachments::new());
            let items = (
                of(primary).unwrap_or_else(none),
                of(standby).unwrap_or_else(none),
            );
            return (standby.unsupported.get(&lf_subject).cloned(), items);
        }
        let ((primary, _), (standby, _)) = join(
            list_items(self.primary, lf_subject, &self.mappings.0),
            list_items(self.standby, lf_subject, &self.mappings.1),
        )
        .await;
        let error = unsupported(&standby).cloned();
        let items = empty_if_unsupported((primary, standby), |items| !items.is_empty());
        (error, items)
    }
}

/// The subjects whose items are to be read for one of them: its own if they are requested, and those that its
/// grants refer to unless they were read before.
fn items_to_read(
    lf_subject: LfSubject,
    request: &ReadRequest,
    snapshots: &Snapshots,
) -> Vec<LfSubject> {
    let referenced: &[LfSubject] = match lf_subject {
        LfSubject::LfTags | LfSubject::LfTagExpressions | LfSubject::Permissions => {
            &[LfSubject::LfTags, LfSubject::LfTagExpressions]
        }
        LfSubject::DataLocations | LfSubject::Settings => &[],
    };
    let is_read = |of: &LfSubject| {
        let items = (Subject::LakeFormation(*of), Facet::Items);
        snapshots.primary.attachments.contains_key(&items)
            && snapshots.standby.attachments.contains_key(&items)
    };
    let reads_own =
        SUBJECTS_WITH_ITEMS.contains(&lf_subject) && request.facets.contains(&Facet::Items);
    let referenced = referenced.iter().copied();
    referenced
        .filter(|of| !is_read(of) || *of == lf_subject)
        .chain(reads_own.then_some(lf_subject))
        .collect()
}

/// The grants by LF-Tag policies among others.
fn policies_of(grants: &Grants) -> LfTagPolicyGrants {
    LfTagPolicyGrants {
        grants: lf_tag_policy_grants(grants.clone()),
        ..LfTagPolicyGrants::default()
    }
}
